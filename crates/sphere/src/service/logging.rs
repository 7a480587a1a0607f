//! Where do logs go?
//!
//! To stderr, as lines for people or as JSON. While a live table is shown, lines appear above it. What libraries log is
//! shown from `warn` on, unless the level says otherwise. The Kubernetes client calls each refused request an error, the
//! expected ones too (no such object yet, somebody was faster); who asked says what it means, so these lines are left out.

use crate::config::{LogConfig, LogFormat};
use indicatif::ProgressBar;
use std::io::{IsTerminal, Write};
use tracing_subscriber::EnvFilter;
use tracing_subscriber::fmt::MakeWriter;

/// Writes log lines to stderr, above the live table if there is one.
#[derive(Clone)]
struct Above(Option<ProgressBar>);

impl Write for Above {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        let write = || std::io::stderr().lock().write_all(bytes);
        match &self.0 {
            Some(table) => table.suspend(write)?,
            None => write()?,
        }
        Ok(bytes.len())
    }
    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

impl MakeWriter<'_> for Above {
    type Writer = Self;
    fn make_writer(&self) -> Self {
        self.clone()
    }
}

/// Sets logging up, once per process.
pub fn start(config: &LogConfig, table: Option<ProgressBar>) -> Result<(), String> {
    let filter = EnvFilter::try_new(&config.level).map_err(|error| format!("log level: {error}"))?;
    let filter = match (config.level.contains("kube_client"), "kube_client::client::builder=off".parse()) {
        (false, Ok(without)) => filter.add_directive(without),
        _ => filter,
    };
    let colour = std::env::var_os("NO_COLOR").is_none_or(|v| v.is_empty()) && std::io::stderr().is_terminal();
    let lines = tracing_subscriber::fmt().with_env_filter(filter).with_writer(Above(table)).with_ansi(colour);
    match config.format {
        LogFormat::Text => lines.with_target(false).try_init(),
        LogFormat::Json => lines.json().flatten_event(true).try_init(),
    }
    .map_err(|error| error.to_string())
}
