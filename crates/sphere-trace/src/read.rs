//! What is in this file?

use crate::format::detect;
use crate::lines::Lines;
use crate::{Format, Kind, LineProblem, Trace, TraceError, UNIX_TIME_FROM_S, clf, counts, csv};
use sphere_core::Timestamp;
use std::fs::File;
use std::io::{ErrorKind, Read};
use std::path::Path;
use std::time::Duration;

/// How to read a file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ReadOptions {
    /// How the trace is written; by default decided by its first lines.
    pub format: Format,
    /// Width of a bin of a count file (whole milliseconds) or access log (whole seconds); 10 s by default.
    /// A CSV file has its own.
    pub bin: Duration,
}

impl Default for ReadOptions {
    fn default() -> Self {
        Self { format: Format::Auto, bin: Duration::from_secs(10) }
    }
}

/// A trace, and what is worth saying about how it was read.
#[derive(Clone, Debug, PartialEq)]
pub struct Reading {
    /// The demand.
    pub trace: Trace,
    /// The format it was in, never [`Format::Auto`].
    pub format: Format,
    /// Lines read.
    pub lines: u64,
    /// Lines of an access log that were not usable, if any.
    pub skipped: Option<Skipped>,
}

/// Lines of an access log that were not usable.
#[derive(Clone, Debug, PartialEq)]
pub struct Skipped {
    /// How many.
    pub lines: u64,
    /// Number of the first, from 1.
    pub first_line: u64,
    /// The first, shortened.
    pub found: String,
    /// What is wrong with the first.
    pub problem: LineProblem,
}

/// Reads the file at `path`.
///
/// # Errors
/// If it is not there, not readable or not a trace; see [`TraceError`].
pub fn read_file(path: &Path, options: &ReadOptions) -> Result<Reading, TraceError> {
    let file = path.display().to_string();
    let failed = |source: std::io::Error| match source.kind() {
        ErrorKind::NotFound => TraceError::NotFound { file: file.clone() },
        _ => TraceError::Io { file: file.clone(), source },
    };
    let opened = File::open(path).map_err(failed)?;
    if opened.metadata().map_err(failed)?.is_dir() {
        return Err(TraceError::IsDirectory { file });
    }
    read(opened, &file, options)
}

/// Reads a trace from any source, e.g. a file wrapped in a progress bar. `file` names it in errors, and its
/// last component without extensions names the trace.
///
/// # Errors
/// If the source fails or is not a trace; see [`TraceError`].
pub fn read(input: impl Read, file: &str, options: &ReadOptions) -> Result<Reading, TraceError> {
    let mut lines = Lines::new(input, file.to_owned())?;
    let head = lines.peek()?;
    let format = match options.format {
        Format::Auto => detect(head, file)?,
        _ if head.is_empty() => return Err(TraceError::Empty { file: file.to_owned() }),
        format => format,
    };
    let undated = |step, kind, values| Trace {
        name: name_of(file),
        start: Timestamp(0),
        dated: false,
        utc_offset_s: 0,
        step,
        kind,
        values,
    };
    let mut skipped = None;
    let trace = match format {
        Format::Csv => {
            let series = csv::read(&mut lines)?;
            let step = Duration::from_millis(series.step_ms.unsigned_abs());
            let trace = undated(step, series.kind, series.values);
            if series.start_ms >= UNIX_TIME_FROM_S * 1000 {
                Trace { start: Timestamp(series.start_ms), dated: true, ..trace }
            } else {
                trace
            }
        }
        Format::Clf => {
            let width_s = whole_seconds(options.bin)?;
            let requests = clf::read(&mut lines, width_s)?;
            skipped = requests.skipped;
            let values = requests.counts.into_iter().map(|count| Some(f64::from(count))).collect();
            Trace {
                start: Timestamp::from_secs(requests.start_s),
                dated: true,
                utc_offset_s: requests.utc_offset_s,
                ..undated(options.bin, Kind::Counts, values)
            }
        }
        Format::Counts | Format::Auto => {
            whole_milliseconds(options.bin)?;
            undated(options.bin, Kind::Counts, counts::read(&mut lines)?)
        }
    };
    Ok(Reading { trace, format, lines: lines.number(), skipped })
}

/// At least one whole second, at most a day: the resolution of a log, and a bin that still shows a day.
fn whole_seconds(bin: Duration) -> Result<i64, TraceError> {
    let accepted = "whole seconds, from 1 s to 1 day,";
    if bin.subsec_nanos() != 0 || !(1..=86_400).contains(&bin.as_secs()) {
        return Err(TraceError::BadBin { bin, accepted });
    }
    Ok(bin.as_secs() as i64)
}

fn whole_milliseconds(bin: Duration) -> Result<(), TraceError> {
    let accepted = "whole milliseconds, from 1 ms to 1 day,";
    if !bin.as_nanos().is_multiple_of(1_000_000) || bin.is_zero() || bin.as_secs() > 86_400 {
        return Err(TraceError::BadBin { bin, accepted });
    }
    Ok(())
}

/// `nasa` for `logs/nasa.log.gz`.
fn name_of(file: &str) -> String {
    let base = Path::new(file).file_name().map_or_else(|| file.into(), |name| name.to_string_lossy());
    let base = base.strip_suffix(".gz").unwrap_or(&base);
    let stem = Path::new(base).file_stem().map_or_else(|| base.into(), |stem| stem.to_string_lossy());
    stem.into_owned()
}
