//! What is the next line, in bounded memory?
//!
//! Lines are lent as byte slices out of one buffer; nothing is copied or decoded. `\n` and `\r\n` end a line,
//! the last line needs no end, a UTF-8 byte order mark at the start is dropped. gzip is told by its magic
//! bytes and decoded on the way, also with several members (concatenated files).

use crate::TraceError;
use crate::error::excerpt;
use flate2::bufread::MultiGzDecoder;
use std::io::{self, BufReader, ErrorKind, Read};

/// Longest line accepted, bytes. Web servers refuse requests of a fraction of this.
pub const MAX_LINE_BYTES: usize = 64 * 1024;

/// Several times the longest line, so that few lines have to be moved to the front; still fits the L2 cache.
const BUFFER_BYTES: usize = 4 * MAX_LINE_BYTES;

/// A stream of lines.
pub(crate) struct Lines<'a> {
    input: Box<dyn Read + 'a>,
    file: String,
    gzip: bool,
    buffer: Vec<u8>,
    /// The unread bytes are `buffer[start..end]`.
    start: usize,
    end: usize,
    at_end: bool,
    line: u64,
}

impl<'a> Lines<'a> {
    /// Starts reading; `file` names the input in errors.
    pub(crate) fn new(mut input: impl Read + 'a, file: String) -> Result<Self, TraceError> {
        let mut magic = Vec::with_capacity(2);
        if let Err(source) = input.by_ref().take(2).read_to_end(&mut magic) {
            return Err(TraceError::Io { file, source });
        }
        let gzip = magic == [0x1f, 0x8b];
        let whole = io::Cursor::new(magic).chain(input);
        let input: Box<dyn Read + 'a> = if gzip {
            Box::new(MultiGzDecoder::new(BufReader::with_capacity(BUFFER_BYTES, whole)))
        } else {
            Box::new(whole)
        };
        let buffer = vec![0; BUFFER_BYTES];
        let mut lines = Self { input, file, gzip, buffer, start: 0, end: 0, at_end: false, line: 0 };
        if lines.peek()?.starts_with(b"\xef\xbb\xbf") {
            lines.start = 3;
        }
        Ok(lines)
    }

    /// The name of the input.
    pub(crate) fn file(&self) -> &str {
        &self.file
    }

    /// Number of the line returned last, from 1.
    pub(crate) fn number(&self) -> u64 {
        self.line
    }

    /// What comes next, without consuming it: [`MAX_LINE_BYTES`], or all there is if that is less.
    pub(crate) fn peek(&mut self) -> Result<&[u8], TraceError> {
        while self.end - self.start < MAX_LINE_BYTES && self.fill()? {}
        Ok(&self.buffer[self.start..self.end])
    }

    /// The next line without its end; `None` after the last.
    pub(crate) fn next(&mut self) -> Result<Option<&[u8]>, TraceError> {
        let mut scanned = 0;
        let length = loop {
            let unread = &self.buffer[self.start..self.end];
            if let Some(newline) = memchr::memchr(b'\n', &unread[scanned..]) {
                break scanned + newline;
            }
            scanned = unread.len();
            if scanned > MAX_LINE_BYTES {
                break scanned;
            }
            if !self.fill()? {
                if scanned == 0 {
                    return Ok(None);
                }
                break scanned;
            }
        };
        self.line += 1;
        let line = &self.buffer[self.start..self.start + length];
        if length > MAX_LINE_BYTES {
            let (file, line, found) = (self.file.clone(), self.line, excerpt(line));
            return Err(TraceError::LineTooLong { file, line, found });
        }
        self.start = (self.start + length + 1).min(self.end);
        Ok(Some(line.strip_suffix(b"\r").unwrap_or(line)))
    }

    /// Reads more; false at the end of the input.
    fn fill(&mut self) -> Result<bool, TraceError> {
        if self.at_end {
            return Ok(false);
        }
        // Callers never hold more than one line and a bit, so moving it leaves room to read into.
        if self.end == self.buffer.len() {
            self.buffer.copy_within(self.start..self.end, 0);
            self.end -= self.start;
            self.start = 0;
        }
        loop {
            match self.input.read(&mut self.buffer[self.end..]) {
                Ok(read) => {
                    self.end += read;
                    self.at_end = read == 0;
                    return Ok(read > 0);
                }
                Err(e) if e.kind() == ErrorKind::Interrupted => {}
                Err(e) => return Err(self.read_error(e)),
            }
        }
    }

    fn read_error(&self, source: io::Error) -> TraceError {
        let (file, line) = (self.file.clone(), self.line);
        match source.kind() {
            ErrorKind::UnexpectedEof if self.gzip => TraceError::TruncatedGzip { file, line },
            ErrorKind::InvalidData | ErrorKind::InvalidInput if self.gzip => {
                TraceError::CorruptGzip { file, line, source }
            }
            ErrorKind::IsADirectory => TraceError::IsDirectory { file },
            _ => TraceError::Io { file, source },
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn all(input: impl Read) -> Result<Vec<Vec<u8>>, TraceError> {
        let mut lines = Lines::new(input, "test".into())?;
        let mut found = Vec::new();
        while let Some(line) = lines.next()? {
            found.push(line.to_vec());
        }
        assert_eq!(lines.number(), found.len() as u64);
        Ok(found)
    }

    /// Gives one byte at a time, the worst a pipe can do.
    struct Trickle<'a>(&'a [u8]);
    impl Read for Trickle<'_> {
        fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
            self.0.read(&mut buffer[..1])
        }
    }

    #[test]
    fn line_ends_of_all_systems_and_none_at_the_end_are_read() {
        let expected: Vec<&[u8]> = vec![b"a", b"", b"b\rc", b"d"];
        assert_eq!(all(&b"\xef\xbb\xbfa\r\n\nb\rc\r\nd"[..]).unwrap(), expected);
        assert_eq!(all(&b"a\n\nb\rc\nd\n"[..]).unwrap(), expected);
        assert_eq!(all(Trickle(b"a\n\nb\rc\nd\n")).unwrap(), expected);
        assert!(all(&b""[..]).unwrap().is_empty());
    }

    #[test]
    fn lines_that_cross_the_buffer_are_whole() {
        let text: Vec<Vec<u8>> = (0..40).map(|i| vec![b'a' + (i % 26) as u8; 50_000 + i * 300]).collect();
        assert_eq!(all(text.join(&b'\n').as_slice()).unwrap(), text);
    }

    #[test]
    fn the_longest_line_passes_and_one_byte_more_does_not() {
        let longest = vec![b'x'; MAX_LINE_BYTES];
        assert_eq!(all(longest.as_slice()).unwrap(), vec![longest]);
        let too_long = [b"ok\n".to_vec(), vec![b'x'; MAX_LINE_BYTES + 1]].concat();
        assert!(matches!(all(too_long.as_slice()), Err(TraceError::LineTooLong { line: 2, .. })));
    }

    #[test]
    fn an_endless_line_is_refused_without_being_read_whole() {
        assert!(matches!(all(io::repeat(b',')), Err(TraceError::LineTooLong { line: 1, .. })));
    }
}
