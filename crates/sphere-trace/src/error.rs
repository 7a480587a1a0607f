//! Why can a file not be read as a trace?
//!
//! Each error names the file, the line where there is one, the offending text (shortened), and what would be
//! accepted, so that the reader can repair the file without reading this code.

use crate::{MAX_BINS, MAX_LINE_BYTES, MAX_VALUE};
use std::io;

/// Longest piece of the input quoted in an error, in characters.
const EXCERPT_CHARS: usize = 80;

/// Why a file is not a trace.
#[derive(Debug, thiserror::Error)]
pub enum TraceError {
    /// There is no such file.
    #[error("{file}: no such file")]
    NotFound {
        /// The path as given.
        file: String,
    },
    /// The path is a directory.
    #[error("{file}: is a directory; a file is expected")]
    IsDirectory {
        /// The path as given.
        file: String,
    },
    /// The operating system refused.
    #[error("{file}: can not be read")]
    Io {
        /// The path as given.
        file: String,
        /// What the operating system said.
        source: io::Error,
    },
    /// The gzip stream ends before its end mark.
    #[error("{file}: the gzip data is truncated after line {line}; is the download complete?")]
    TruncatedGzip {
        /// The path as given.
        file: String,
        /// Last line that was read whole.
        line: u64,
    },
    /// The gzip stream is damaged.
    #[error("{file}: the gzip data is corrupt after line {line}")]
    CorruptGzip {
        /// The path as given.
        file: String,
        /// Last line that was read whole.
        line: u64,
        /// What the decoder said.
        source: io::Error,
    },
    /// The file has no content.
    #[error("{file}: the file is empty; {ACCEPTED_FORMATS} is expected")]
    Empty {
        /// The path as given.
        file: String,
    },
    /// A CSV file has a header and fewer than the two rows that give it a step.
    #[error("{file}: {rows} row(s) after the header; at least 2 are needed to know the step")]
    TooFewRows {
        /// The path as given.
        file: String,
        /// Rows found.
        rows: u64,
    },
    /// The first lines fit no known format.
    #[error("{file}, line {line}: {found:?} fits no known format; {ACCEPTED_FORMATS} is expected")]
    UnknownFormat {
        /// The path as given.
        file: String,
        /// Line number, from 1.
        line: u64,
        /// The line, shortened.
        found: String,
    },
    /// The file is not text.
    #[error("{file}: binary data, starting with {found:?}; {ACCEPTED_FORMATS}, plain or gzip, is expected")]
    Binary {
        /// The path as given.
        file: String,
        /// The first bytes, escaped and shortened.
        found: String,
    },
    /// A line is longer than [`MAX_LINE_BYTES`].
    #[error("{file}, line {line}: longer than {MAX_LINE_BYTES} bytes, starting with {found:?}")]
    LineTooLong {
        /// The path as given.
        file: String,
        /// Line number, from 1.
        line: u64,
        /// How the line begins.
        found: String,
    },
    /// A line of a count file or CSV is not usable.
    #[error("{file}, line {line}: {found:?}: {problem}")]
    BadLine {
        /// The path as given.
        file: String,
        /// Line number, from 1.
        line: u64,
        /// The offending text, shortened.
        found: String,
        /// What is wrong and what is accepted.
        problem: LineProblem,
    },
    /// An access log has more unusable lines than real logs do.
    #[error(
        "{file}: {skipped} of {lines} lines are not usable, the first is line {first_line} ({found:?}: {problem})"
    )]
    TooManySkipped {
        /// The path as given.
        file: String,
        /// Unusable lines.
        skipped: u64,
        /// All lines.
        lines: u64,
        /// Number of the first unusable line, from 1.
        first_line: u64,
        /// The first unusable line, shortened.
        found: String,
        /// What is wrong with it.
        problem: LineProblem,
    },
    /// The trace would have more than [`MAX_BINS`] bins.
    #[error("{file}, line {line}: more than {MAX_BINS} bins; is the time right? A wider bin gives fewer")]
    TooManyBins {
        /// The path as given.
        file: String,
        /// Line that crossed the limit.
        line: u64,
    },
    /// The bin width asked for can not be used.
    #[error("a bin of {bin:?} can not be used; {accepted} is expected")]
    BadBin {
        /// The width asked for.
        bin: std::time::Duration,
        /// What is accepted for this format.
        accepted: &'static str,
    },
}

/// The formats in words, for messages.
pub(crate) const ACCEPTED_FORMATS: &str = "one number per line, CSV with the header `timestamp_s,value` or \
     `timestamp_s,count`, or an access log in Common or Combined Log Format";

/// What is wrong with one line, and what is accepted there.
#[derive(Clone, Copy, Debug, PartialEq, thiserror::Error)]
pub enum LineProblem {
    /// The first line of a CSV file is not a known header.
    #[error("unknown columns; the header `timestamp_s,value` or `timestamp_s,count` is expected")]
    UnknownColumns,
    /// A CSV row does not have two columns.
    #[error("{columns} column(s); 2 are expected")]
    ColumnCount {
        /// Columns found.
        columns: usize,
    },
    /// Nothing on the line.
    #[error("the line is blank; a number is expected (blank lines may only end the file)")]
    Blank,
    /// Text where a number belongs.
    #[error("not a number; a finite number of at least 0 is expected")]
    NotANumber,
    /// NaN or infinite.
    #[error("not finite; a finite number of at least 0 is expected (leave the row out if it is not known)")]
    NotFinite,
    /// Below zero.
    #[error("negative; a finite number of at least 0 is expected")]
    Negative,
    /// More than any demand can be.
    #[error("too large; at most {MAX_VALUE:e} is expected")]
    TooLarge,
    /// A time beyond the year 5000, most likely in milliseconds.
    #[error("not a time in seconds; is it in milliseconds?")]
    TimeTooLarge,
    /// A time with more than three digits after the point.
    #[error("time finer than a millisecond; seconds with at most 3 decimals are expected")]
    TimeTooFine,
    /// The same time as the row before.
    #[error("duplicate time; each row must be later than the one before")]
    DuplicateTime,
    /// Earlier than the row before.
    #[error("unsorted time; each row must be later than the one before")]
    UnsortedTime,
    /// The distance to the row before is no whole multiple of the step.
    #[error(
        "uneven step: {found_ms} ms after the row before; whole multiples of {step_ms} ms (the most common \
         distance) are expected"
    )]
    UnevenStep {
        /// Distance to the row before, milliseconds.
        found_ms: i64,
        /// The step of the file, milliseconds.
        step_ms: i64,
    },
    /// A log line without a time in brackets followed by a quoted request.
    #[error("no access log line; `host ident user [01/Jul/1995:00:00:01 -0400] \"request\" …` is expected")]
    NoLogTime,
    /// A log line much older than the lines before it.
    #[error("{age_s} s older than a line before it; logs must be in order, up to an hour")]
    TooOld {
        /// How much older than the newest line before, seconds.
        age_s: i64,
    },
    /// A log line that jumps far ahead of the lines before it.
    #[error("{ahead_s} s later than all lines before it; at most 31 days without a request are expected")]
    FarAhead {
        /// How far ahead, seconds.
        ahead_s: i64,
    },
}

/// The beginning of a piece of input, printable and short enough for a message.
pub(crate) fn excerpt(bytes: &[u8]) -> String {
    // Four bytes hold any UTF-8 character, so this cut never loses what the next one keeps.
    let head = &bytes[..bytes.len().min(EXCERPT_CHARS * 4 + 4)];
    let text = String::from_utf8_lossy(head);
    let mut short: String = text.chars().take(EXCERPT_CHARS).collect();
    if short.len() < text.len() || head.len() < bytes.len() {
        short.push('…');
    }
    short
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_excerpt_is_short_whatever_the_input() {
        assert_eq!(excerpt(b"12,abc"), "12,abc");
        assert_eq!(excerpt(&[b'x'; 10_000]).chars().count(), EXCERPT_CHARS + 1);
        assert_eq!(excerpt("ü".repeat(81).as_bytes()).chars().count(), EXCERPT_CHARS + 1);
        assert_eq!(excerpt(&[0xff; 81]).chars().count(), EXCERPT_CHARS + 1);
        assert_eq!(excerpt(&[b'x'; EXCERPT_CHARS]).chars().count(), EXCERPT_CHARS);
    }
}
