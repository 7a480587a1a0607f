//! Small traces made on the spot.
#![allow(dead_code, reason = "each test crate uses its own part")]
#![allow(clippy::unwrap_used, reason = "a failing test is the message")]

use flate2::Compression;
use flate2::write::GzEncoder;
use sphere_trace::{Format, LineProblem, ReadOptions, Reading, TraceError, read};
use std::io::Write;
use std::time::Duration;

/// Reads `bytes` as a file called `test`.
pub fn reading_as(format: Format, bytes: impl AsRef<[u8]>) -> Result<Reading, TraceError> {
    read(bytes.as_ref(), "test", &ReadOptions { format, ..ReadOptions::default() })
}

/// Reads `bytes`, format told by its content.
pub fn reading(bytes: impl AsRef<[u8]>) -> Result<Reading, TraceError> {
    reading_as(Format::Auto, bytes)
}

/// The values of a trace that must be readable.
pub fn values(bytes: impl AsRef<[u8]>) -> Vec<Option<f64>> {
    reading(bytes).unwrap().trace.values
}

/// Line number and problem of a file with one bad line.
pub fn problem(bytes: impl AsRef<[u8]>) -> (u64, LineProblem) {
    match reading(bytes).unwrap_err() {
        TraceError::BadLine { file, line, problem, .. } => {
            assert_eq!(file, "test");
            (line, problem)
        }
        other => panic!("a bad line is expected, not {other:?}"),
    }
}

/// One gzip member.
pub fn gz(bytes: impl AsRef<[u8]>) -> Vec<u8> {
    let mut encoder = GzEncoder::new(Vec::new(), Compression::fast());
    encoder.write_all(bytes.as_ref()).unwrap();
    encoder.finish().unwrap()
}

/// A log line `second_s` seconds after midnight of 1 July 1995 in New York.
pub fn log_line(second_s: u64) -> String {
    let (day, hour, minute, second) =
        (1 + second_s / 86_400, second_s / 3600 % 24, second_s / 60 % 60, second_s % 60);
    format!(
        "host - - [{day:02}/Jul/1995:{hour:02}:{minute:02}:{second:02} -0400] \"GET / HTTP/1.0\" 200 6245\n"
    )
}

/// A log of requests at these seconds.
pub fn log(seconds_s: impl IntoIterator<Item = u64>) -> String {
    seconds_s.into_iter().map(log_line).collect()
}

pub fn seconds(seconds: u64) -> Duration {
    Duration::from_secs(seconds)
}
