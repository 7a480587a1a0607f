//! What was done, what must hold, and what was seen?
//!
//! One line per fault, on stderr as it happens and in `target/faults.md`.

use std::io::Write;
use std::path::{Path, PathBuf};

const HEADER: &str = "| fault | what must hold | seen | recovery |\n|---|---|---|---|\n";

fn file() -> PathBuf {
    let target = match std::env::var_os("CARGO_TARGET_DIR") {
        Some(folder) => PathBuf::from(folder),
        None => Path::new(env!("CARGO_MANIFEST_DIR")).join("../../target"),
    };
    target.join("faults.md")
}

/// Begins a new table.
pub fn begin() {
    std::fs::write(file(), HEADER).unwrap();
}

/// Adds a line.
pub fn line(fault: &str, must_hold: &str, seen: &str, recovery: &str) {
    let line = format!("| {fault} | {must_hold} | {seen} | {recovery} |\n");
    eprint!("{line}");
    std::fs::OpenOptions::new().append(true).open(file()).unwrap().write_all(line.as_bytes()).unwrap();
}
