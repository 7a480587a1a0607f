//! `sphere decide` and `sphere schema`: one decision per line of JSON.

use super::{CliError, print_json};
use clap::{Args, ValueEnum};
use sphere::decide::{self, DecideOptions};
use std::fs::File;
use std::io::{BufRead, BufReader, BufWriter, ErrorKind, Write};
use std::path::PathBuf;

/// Ask what SPHERE would have decided: one JSON object per line in, one decision with its reasons per line out.
///
/// The smallest line is
/// {"policy":{"maxReplicas":20},"observation":{"now":"2026-03-01T12:00:00Z","current":8,"cpuUtilization":0.72}}.
/// With "history":{"demand":[[at,value],…]} the forecast is made from that demand; with "forecast" it is taken as given;
/// with neither the decision is reactive. `sphere schema decide-input` describes every key. Lines that can not be
/// read are reported with line number and key on stderr, skipped, and turn the exit code into 2.
#[derive(Debug, Args)]
#[command(after_help = "Example:
  echo '{\"policy\":{\"maxReplicas\":20,\"mode\":\"Full\"},\"observation\":{\"now\":\"2026-03-01T12:00:00Z\",\"current\":8,\"cpuUtilization\":0.97}}' | sphere decide")]
pub struct DecideArgs {
    /// Lines of JSON; standard input when absent
    #[arg(value_name = "FILE")]
    file: Option<PathBuf>,
    /// Add the forecast used to each decision
    #[arg(long)]
    with_forecast: bool,
    /// Add the state to save to each decision
    #[arg(long)]
    with_state: bool,
    /// How to print: json is one object per line, table one readable sentence per line
    #[arg(long, value_enum, default_value_t = DecideOutputFormat::Json)]
    output: DecideOutputFormat,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum DecideOutputFormat {
    Json,
    Table,
}

/// Print the JSON Schemas of what sphere reads and writes.
#[derive(Debug, Args)]
#[command(after_help = "Example:\n  sphere schema decide-input")]
pub struct SchemaArgs {
    /// Name of one schema; all, in one object, when absent
    #[arg(value_name = "NAME")]
    name: Option<String>,
}

/// Decides line by line.
pub fn run(args: &DecideArgs) -> Result<(), CliError> {
    let input: Box<dyn BufRead> = match &args.file {
        Some(path) => Box::new(BufReader::new(
            File::open(path).map_err(|e| CliError::input(format!("{}: {e}", path.display())))?,
        )),
        None => Box::new(std::io::stdin().lock()),
    };
    let options = DecideOptions { with_forecast: args.with_forecast, with_state: args.with_state };
    let mut out = BufWriter::new(std::io::stdout().lock());
    let refused = |error: &decide::LineError| eprintln!("error: {error}");
    let done = match args.output {
        DecideOutputFormat::Json => decide::run(input, &mut out, options, refused),
        DecideOutputFormat::Table => {
            decide::run(input, Sentences { out: &mut out, line: Vec::new() }, options, refused)
        }
    }
    .and_then(|summary| out.flush().map(|()| summary));
    match done {
        Err(error) if error.kind() == ErrorKind::BrokenPipe => Err(CliError::OutputClosed),
        Err(error) => Err(CliError::Failed(error.into())),
        Ok(summary) if summary.refused > 0 => Err(CliError::Input(format!(
            "{} of {} lines could not be read",
            summary.refused,
            summary.refused + summary.decided
        ))),
        Ok(_) => Ok(()),
    }
}

/// Keeps the explanation of each line of JSON.
struct Sentences<W> {
    out: W,
    line: Vec<u8>,
}

impl<W: Write> Write for Sentences<W> {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        for &byte in bytes {
            if byte != b'\n' {
                self.line.push(byte);
                continue;
            }
            let decision: serde_json::Value = serde_json::from_slice(&self.line)?;
            let text = |key: &str| decision[key].as_str().unwrap_or_default().to_owned();
            writeln!(self.out, "{}", text("explanation"))?;
            self.line.clear();
        }
        Ok(bytes.len())
    }

    fn flush(&mut self) -> std::io::Result<()> {
        self.out.flush()
    }
}

/// Prints schemas.
pub fn schema(args: &SchemaArgs) -> Result<(), CliError> {
    let all = sphere::schema::all();
    match &args.name {
        None => print_json(&serde_json::to_value(&all).map_err(|e| CliError::Failed(e.into()))?),
        Some(name) => match all.get(name.as_str()) {
            Some(schema) => print_json(schema),
            None => {
                let names: Vec<&str> = all.keys().copied().collect();
                Err(CliError::input(format!("no schema {name:?}; there are {}", names.join(", "))))
            }
        },
    }
}
