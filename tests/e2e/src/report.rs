//! What did a test find, and how long did it take? Rows for the table that `make e2e` prints and keeps.

use std::fmt::Write as _;
use std::io::Write as _;
use std::time::Instant;

/// One test, from its first line to its end. When dropped, a row goes to the file that `SPHERE_E2E_ROWS` names.
pub struct Report {
    name: String,
    began: Instant,
    figures: Vec<String>,
}

impl Report {
    /// Call it first in the test, with the name of the test.
    pub fn begin(name: &str) -> Self {
        Self { name: name.into(), began: Instant::now(), figures: Vec::new() }
    }

    /// A figure worth keeping, e.g. `took over in 17.2 s`.
    pub fn figure(&mut self, figure: impl Into<String>) {
        let figure = figure.into();
        eprintln!("{}: {figure}", self.name);
        self.figures.push(figure);
    }
}

impl Drop for Report {
    fn drop(&mut self) {
        let Some(file) = std::env::var_os("SPHERE_E2E_ROWS") else { return };
        let result = if std::thread::panicking() { "**FAILED**" } else { "ok" };
        let seconds = self.began.elapsed().as_secs_f64();
        let mut row = String::new();
        let _ = write!(
            row,
            "| {} | {result} | {seconds:.1} | {} |",
            self.name.replace('_', " "),
            self.figures.join("; ")
        );
        if let Ok(mut file) = std::fs::OpenOptions::new().create(true).append(true).open(file) {
            // In one write, so that rows of tests that run at once do not mix.
            let _ = file.write_all(format!("{row}\n").as_bytes());
        }
    }
}
