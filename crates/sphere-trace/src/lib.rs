//! Which demand does a file describe?
//!
//! [`read_file`] turns a traffic trace into a [`Trace`]: one value per step, evenly spaced, with `None` where
//! nothing is known. Three formats are read, each plain or gzip (told by the first bytes, not by the name):
//!
//! | format | looks like | becomes |
//! |---|---|---|
//! | [`Format::Counts`] | one number per line | a count per bin; the bin width is [`ReadOptions::bin`] |
//! | [`Format::Csv`] | header `timestamp_s,value` or `timestamp_s,count` | a rate as is, or a count per step; the step is inferred |
//! | [`Format::Clf`] | Common or Combined Log Format | requests counted into bins of [`ReadOptions::bin`] |
//!
//! **Missing is not zero.** A hole between two CSV rows is `None`: nobody measured. A bin of an access log
//! without a line is 0: the server was there and nobody came. (An outage of the server looks the same in its
//! log; cut it out with [`Trace::slice`] if it matters.)
//!
//! **Memory is bounded.** Input is streamed; a line may have [`MAX_LINE_BYTES`], a trace [`MAX_BINS`].
//!
//! **Strict where a program wrote the file, lenient where the world did.** One bad line of a count file or
//! CSV is an error that names file, line and text. Access logs contain what clients sent, so unreadable lines
//! are skipped, counted and reported ([`Skipped`]); more than [`MAX_SKIPPED_SHARE`] of at least
//! [`MIN_LINES_FOR_SHARE`] lines is an error.

mod clf;
mod counts;
mod csv;
mod error;
mod format;
mod lines;
mod number;
mod position;
mod read;
mod trace;

pub use clf::{MAX_FORWARD_JUMP, MAX_SKIPPED_SHARE, MIN_LINES_FOR_SHARE, OUT_OF_ORDER_TOLERANCE};
pub use csv::UNIX_TIME_FROM_S;
pub use error::{LineProblem, TraceError};
pub use format::{Format, ParseFormatError};
pub use lines::MAX_LINE_BYTES;
pub use number::MAX_VALUE;
pub use position::{ParsePositionError, Position};
pub use read::{ReadOptions, Reading, Skipped, read, read_file};
pub use trace::{Kind, MAX_BINS, RebinError, SliceError, Trace};
