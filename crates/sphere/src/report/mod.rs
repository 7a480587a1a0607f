//! What happened, in one page that anyone can open?
//!
//! [`render`] makes one HTML file from [`ReportData`]: a summary sentence with headline numbers, demand
//! against ready capacity, cost against violation, the scoreboard and the settings. The file needs no network
//! and no server: style, script, data and the plotting library (compressed, see `build.rs`) are inside, and
//! its content security policy forbids requests. Numbers and tables are plain HTML, readable before, and
//! without, any script; the plots need a browser from 2023 on (`DecompressionStream`).
//!
//! Names come from outside (a trace may be called anything), so all text is escaped for the place it goes to.

mod atomic;
mod data;
mod page;
mod plots;
mod scoreboard;
mod thin;

pub use atomic::write_atomically;
pub use data::{
    Curve, CurvePoint, Estimate, ForecastBand, PolicySeries, ReportData, ScoreRow, Series, Setting, Timeline,
};
pub use page::render;
pub use thin::{hold_changes, thin};

use std::path::Path;

/// Why there is no report.
#[derive(Debug, thiserror::Error)]
pub enum ReportError {
    /// A number is NaN or infinite.
    #[error("report: {what} has the value {number}; finite numbers are expected, absent ones left out")]
    NotFinite {
        /// Policy, family or series.
        what: String,
        /// The number.
        number: f64,
    },
    /// A series has not as many values as times.
    #[error("report: {what} has {times} times and {values} values")]
    Lengths {
        /// Policy or series.
        what: String,
        /// Number of times.
        times: usize,
        /// Number of values.
        values: usize,
    },
    /// The times of a series do not rise.
    #[error("report: the times of {what} do not rise at {time_s} s")]
    TimeNotRising {
        /// Policy or series.
        what: String,
        /// The first time that is not later than the one before, seconds.
        time_s: f64,
    },
    /// The data can not be written as JSON.
    #[error("report: data that can not be encoded")]
    Encode(#[from] serde_json::Error),
    /// The file can not be written.
    #[error("{path}: can not be written")]
    Write {
        /// The path as given.
        path: String,
        /// What the operating system said.
        source: std::io::Error,
    },
}

/// Renders `data` and writes it to `path`, atomically.
///
/// # Errors
/// If `data` is inconsistent or `path` can not be written.
pub fn write_report(path: &Path, data: &ReportData) -> Result<(), ReportError> {
    write_atomically(path, render(data)?.as_bytes())
}
