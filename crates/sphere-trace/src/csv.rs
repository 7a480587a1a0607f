//! A CSV file of times and values: what was the demand at each step?
//!
//! Two columns under the header `timestamp_s,value` (a rate or level) or `timestamp_s,count` (events per
//! step). Times are seconds with at most three decimals, rising. Times from [`UNIX_TIME_FROM_S`] on are Unix
//! time and give the trace real dates; smaller ones count from an arbitrary zero.
//!
//! **The step** is the most common distance between neighbouring rows (the smallest of equals). Every other
//! distance must be a whole multiple of it: a gap, whose steps are missing, not zero. Taking the smallest
//! distance instead would let one stray row halve the step, and with it double every rate of a count file.

use crate::TraceError;
use crate::error::{LineProblem, excerpt};
use crate::lines::Lines;
use crate::number::{parse_demand, parse_finite};
use crate::trace::{Kind, MAX_BINS};
use std::collections::HashMap;

/// Times from here on (3 March 1973) are seconds since 1970; no trace is that long.
pub const UNIX_TIME_FROM_S: i64 = 100_000_000;

/// Times from here on (the year 5138) are not meant as seconds.
const TIME_LIMIT_S: f64 = 1e11;

/// The header is the first line, so that row `i` (from 0) is on line `i + 2`.
const FIRST_ROW_LINE: u64 = 2;

/// What a CSV file holds.
#[derive(Debug)]
pub(crate) struct Series {
    pub(crate) kind: Kind,
    /// Time of the first row, milliseconds.
    pub(crate) start_ms: i64,
    pub(crate) step_ms: i64,
    pub(crate) values: Vec<Option<f64>>,
}

/// Neighbouring rows at one distance.
struct Run {
    distance_ms: i64,
    rows: usize,
}

/// What the header says, if it is one of ours.
pub(crate) fn kind_of_header(line: &[u8]) -> Option<Kind> {
    let mut columns = line.split(|byte| *byte == b',').map(<[u8]>::trim_ascii);
    match (columns.next(), columns.next(), columns.next()) {
        (Some(b"timestamp_s"), Some(b"value"), None) => Some(Kind::Rate),
        (Some(b"timestamp_s"), Some(b"count"), None) => Some(Kind::Counts),
        _ => None,
    }
}

/// Reads a whole file.
pub(crate) fn read(lines: &mut Lines<'_>) -> Result<Series, TraceError> {
    let file = lines.file().to_owned();
    let bad = |line: u64, found: &[u8], problem| {
        Err(TraceError::BadLine { file: file.clone(), line, found: excerpt(found), problem })
    };
    let Some(header) = lines.next()? else { return Err(TraceError::Empty { file }) };
    let Some(kind) = kind_of_header(header) else {
        return bad(1, header, LineProblem::UnknownColumns);
    };
    let mut rows: Vec<f64> = Vec::new();
    let mut runs: Vec<Run> = Vec::new();
    let (mut start_ms, mut before_ms) = (0, 0);
    let mut blank_at = None;
    let mut number = 1;
    while let Some(line) = lines.next()? {
        number += 1;
        if line.trim_ascii().is_empty() {
            blank_at.get_or_insert(number);
            continue;
        }
        if let Some(blank_at) = blank_at {
            return bad(blank_at, b"", LineProblem::Blank);
        }
        let Some((time, value)) = two_columns(line) else {
            let columns = line.split(|byte| *byte == b',').count();
            return bad(number, line, LineProblem::ColumnCount { columns });
        };
        let at_ms = match parse_time_ms(time) {
            Ok(at_ms) => at_ms,
            Err(problem) => return bad(number, time, problem),
        };
        let value = match parse_demand(value) {
            Ok(demand) => demand,
            Err(problem) => return bad(number, value, problem),
        };
        if rows.is_empty() {
            start_ms = at_ms;
        } else {
            let distance_ms = at_ms - before_ms;
            if distance_ms <= 0 {
                let problem =
                    if distance_ms == 0 { LineProblem::DuplicateTime } else { LineProblem::UnsortedTime };
                return bad(number, time, problem);
            }
            match runs.last_mut() {
                Some(run) if run.distance_ms == distance_ms => run.rows += 1,
                _ => runs.push(Run { distance_ms, rows: 1 }),
            }
        }
        before_ms = at_ms;
        if rows.len() == MAX_BINS {
            return Err(TraceError::TooManyBins { file, line: number });
        }
        rows.push(value);
    }
    let Some(step_ms) = most_common_distance(&runs) else {
        return Err(TraceError::TooFewRows { file, rows: rows.len() as u64 });
    };
    let values = spread(&file, &rows, &runs, step_ms)?;
    Ok(Series { kind, start_ms, step_ms, values })
}

/// Splits a row at its only comma.
fn two_columns(line: &[u8]) -> Option<(&[u8], &[u8])> {
    let comma = memchr::memchr(b',', line)?;
    let (time, value) = (&line[..comma], &line[comma + 1..]);
    if memchr::memchr(b',', value).is_some() { None } else { Some((time, value)) }
}

fn parse_time_ms(text: &[u8]) -> Result<i64, LineProblem> {
    let seconds = parse_finite(text)?;
    if seconds >= TIME_LIMIT_S {
        return Err(LineProblem::TimeTooLarge);
    }
    let ms = seconds * 1000.0;
    // Decimal fractions are not exact in binary; the error at the limit above is below 0.02 ms.
    if (ms - ms.round()).abs() > 0.05 {
        return Err(LineProblem::TimeTooFine);
    }
    Ok(ms.round() as i64)
}

fn most_common_distance(runs: &[Run]) -> Option<i64> {
    let mut rows_at: HashMap<i64, usize> = HashMap::new();
    for run in runs {
        *rows_at.entry(run.distance_ms).or_default() += run.rows;
    }
    // The order of a hash map is random: the distance itself decides between equals.
    rows_at
        .into_iter()
        .max_by_key(|&(distance_ms, rows)| (rows, -distance_ms))
        .map(|(distance_ms, _)| distance_ms)
}

/// Puts each row into its step; steps without a row are missing.
fn spread(file: &str, rows: &[f64], runs: &[Run], step_ms: i64) -> Result<Vec<Option<f64>>, TraceError> {
    let mut rest = rows.iter();
    let mut values = Vec::with_capacity(rows.len());
    values.extend(rest.next().map(|first| Some(*first)));
    let mut line = FIRST_ROW_LINE;
    for run in runs {
        line += 1;
        if run.distance_ms % step_ms != 0 {
            return Err(TraceError::BadLine {
                file: file.to_owned(),
                line,
                found: format!("{} s", run.distance_ms as f64 / 1000.0),
                problem: LineProblem::UnevenStep { found_ms: run.distance_ms, step_ms },
            });
        }
        let steps = usize::try_from(run.distance_ms / step_ms).unwrap_or(usize::MAX);
        for row in rest.by_ref().take(run.rows) {
            let length = values.len().saturating_add(steps);
            if length > MAX_BINS {
                return Err(TraceError::TooManyBins { file: file.to_owned(), line });
            }
            values.resize(length - 1, None);
            values.push(Some(*row));
        }
        line += run.rows as u64 - 1;
    }
    Ok(values)
}
