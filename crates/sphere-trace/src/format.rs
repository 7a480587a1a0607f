//! Which format is this file in?
//!
//! Decided by the first [`LINES_LOOKED_AT`] lines, in this order:
//!
//! 1. a NUL byte, or invalid UTF-8 full of control characters, in the first line: binary, an error;
//! 2. the first line that is not blank is a number: counts;
//! 3. one of the lines has a time in brackets and a quoted request: an access log (the first line of a real
//!    log may be damaged);
//! 4. the first line that is not blank has a comma: CSV, whose reader then checks the columns;
//! 5. otherwise no known format, an error that shows the first line.

use crate::TraceError;
use crate::clf::parse_line;
use crate::error::excerpt;
use std::fmt;
use std::str::FromStr;

/// Enough to get past a few damaged lines.
pub const LINES_LOOKED_AT: usize = 10;

/// How a trace is written.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Format {
    /// Decide by the first lines.
    #[default]
    Auto,
    /// One number per line: a count per bin.
    Counts,
    /// Header `timestamp_s,value` or `timestamp_s,count`.
    Csv,
    /// An access log in Common or Combined Log Format.
    Clf,
}

/// Text that is no [`Format`].
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0:?} is no trace format; `auto`, `counts`, `csv` or `clf` is expected")]
pub struct ParseFormatError(String);

impl FromStr for Format {
    type Err = ParseFormatError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        match text {
            "auto" => Ok(Self::Auto),
            "counts" => Ok(Self::Counts),
            "csv" => Ok(Self::Csv),
            "clf" => Ok(Self::Clf),
            _ => Err(ParseFormatError(excerpt(text.as_bytes()))),
        }
    }
}

impl fmt::Display for Format {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Auto => "auto",
            Self::Counts => "counts",
            Self::Csv => "csv",
            Self::Clf => "clf",
        })
    }
}

/// Tells the format by the first bytes of the decompressed input.
pub(crate) fn detect(head: &[u8], file: &str) -> Result<Format, TraceError> {
    let mut lines = head.split(|byte| *byte == b'\n').map(|line| line.strip_suffix(b"\r").unwrap_or(line));
    let mut skipped = 0;
    let first = loop {
        match lines.next() {
            Some(line) if line.trim_ascii().is_empty() => skipped += 1,
            Some(line) => break line,
            None => return Err(TraceError::Empty { file: file.to_owned() }),
        }
    };
    if looks_binary(first) {
        return Err(TraceError::Binary { file: file.to_owned(), found: excerpt(first) });
    }
    let is_number =
        |line: &[u8]| std::str::from_utf8(line.trim_ascii()).is_ok_and(|text| text.parse::<f64>().is_ok());
    if is_number(first) {
        return Ok(Format::Counts);
    }
    if std::iter::once(first).chain(lines).take(LINES_LOOKED_AT).any(|line| parse_line(line).is_some()) {
        return Ok(Format::Clf);
    }
    if first.contains(&b',') {
        return Ok(Format::Csv);
    }
    Err(TraceError::UnknownFormat { file: file.to_owned(), line: skipped + 1, found: excerpt(first) })
}

/// Text has no NUL and next to no other control characters; what clients send into logs may be odd.
fn looks_binary(line: &[u8]) -> bool {
    let controls = line.iter().filter(|byte| byte.is_ascii_control() && !byte.is_ascii_whitespace()).count();
    line.contains(&0) || (std::str::from_utf8(line).is_err() && controls * 20 > line.len())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn detected(text: &str) -> Result<Format, TraceError> {
        detect(text.as_bytes(), "test")
    }

    #[test]
    fn the_first_lines_tell_the_format() {
        let log = r#"h - - [01/Jul/1995:00:00:01 -0400] "GET / HTTP/1.0" 200 1"#;
        assert!(matches!(detected("12\n13\n"), Ok(Format::Counts)));
        assert!(matches!(detected("\n\r\n 12.5"), Ok(Format::Counts)));
        assert!(matches!(detected("NaN\n"), Ok(Format::Counts)), "so that its reader can say what is wrong");
        assert!(matches!(detected("timestamp_s,count\n0,1\n"), Ok(Format::Csv)));
        assert!(matches!(detected("time,requests\n0,1\n"), Ok(Format::Csv)), "likewise");
        assert!(matches!(detected(log), Ok(Format::Clf)));
        assert!(matches!(detected(&format!("damaged, line\n{log}\n")), Ok(Format::Clf)));
    }

    #[test]
    fn what_is_no_trace_is_refused_with_what_is_accepted() {
        assert!(matches!(detected(""), Err(TraceError::Empty { .. })));
        assert!(matches!(detected(" \n\r\n"), Err(TraceError::Empty { .. })));
        assert!(matches!(detected("\u{7f}ELF\0\0"), Err(TraceError::Binary { .. })));
        let error = detected("\n{\"json\": 1}\n").unwrap_err();
        assert!(matches!(error, TraceError::UnknownFormat { line: 2, .. }));
        assert!(error.to_string().contains("Common or Combined Log Format"));
    }

    #[test]
    fn names_are_read_back() {
        for format in [Format::Auto, Format::Counts, Format::Csv, Format::Clf] {
            assert_eq!(format.to_string().parse(), Ok(format));
        }
        assert!("CLF".parse::<Format>().is_err());
    }
}
