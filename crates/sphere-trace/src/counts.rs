//! A file of one number per line: how many events fell into each bin?
//!
//! The file says nothing about time; the bin width comes from the caller. A value may be fractional.

use crate::TraceError;
use crate::error::{LineProblem, excerpt};
use crate::lines::Lines;
use crate::number::parse_demand;
use crate::trace::MAX_BINS;

/// Reads all values. Blank lines may only end the file.
pub(crate) fn read(lines: &mut Lines<'_>) -> Result<Vec<Option<f64>>, TraceError> {
    let mut values = Vec::new();
    let mut blank_at = None;
    let file = lines.file().to_owned();
    let mut number = 0;
    while let Some(line) = lines.next()? {
        number += 1;
        let bad = |line: u64, found: &[u8], problem| {
            Err(TraceError::BadLine { file: file.clone(), line, found: excerpt(found), problem })
        };
        if line.trim_ascii().is_empty() {
            blank_at.get_or_insert(number);
            continue;
        }
        if let Some(blank_at) = blank_at {
            return bad(blank_at, b"", LineProblem::Blank);
        }
        if values.len() == MAX_BINS {
            return Err(TraceError::TooManyBins { file, line: number });
        }
        match parse_demand(line) {
            Ok(value) => values.push(Some(value)),
            Err(problem) => return bad(number, line, problem),
        }
    }
    if values.is_empty() { Err(TraceError::Empty { file }) } else { Ok(values) }
}
