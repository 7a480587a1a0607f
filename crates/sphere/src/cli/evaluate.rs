//! `sphere evaluate`: forecast accuracy by rolling origin.

use super::{CliError, Output, colour, print, progress};
use clap::Args;
use sphere::evaluate::{self, DEFAULT_MODELS, EvaluateError, MAX_HORIZON_STEPS, Options, Progress};
use sphere_forecast::registry::MODELS;
use sphere_trace::{Format, Position};
use std::path::PathBuf;
use std::time::Duration;

/// Score forecasting models on traces: accuracy, honesty of the quantiles, and speed.
///
/// Walks each trace once per model, forecasts at every n-th step and compares with what followed. Errors are over all
/// steps of the horizon and, for the founding system's signal, over the mean of steps 13 to 15. All models are scored on the
/// same origins. Rows where a rival wins stay in the table.
#[derive(Debug, Args)]
#[command(after_help = "Examples:
  sphere evaluate --trace requests.csv
  sphere evaluate --trace a.csv --trace b.csv.gz --models last,ses,holt,sphere --every 1 --output json
  sphere evaluate --list")]
pub struct EvaluateArgs {
    /// A trace: counts, CSV or access log, plain or .gz; may be repeated
    #[arg(long = "trace", value_name = "FILE", required_unless_present = "list")]
    traces: Vec<PathBuf>,
    /// Models to score, separated by commas (see --list)
    #[arg(long, value_name = "LIST", value_delimiter = ',', default_values_t = DEFAULT_MODELS.map(String::from))]
    models: Vec<String>,
    /// Model the summary is relative to
    #[arg(long, value_name = "MODEL", default_value = "classic-fresh")]
    baseline: String,
    /// List the models with their sources and stop
    #[arg(long)]
    list: bool,
    /// Steps ahead
    #[arg(long, value_name = "STEPS", default_value_t = 15, value_parser = horizon)]
    horizon: usize,
    /// Forecast at every n-th step
    #[arg(long, value_name = "N", default_value_t = 6, value_parser = every)]
    every: usize,
    /// Start of the part that is scored: time since the start, or a date where the trace has dates
    #[arg(long, value_name = "WHEN")]
    from: Option<Position>,
    /// End of the part that is scored
    #[arg(long, value_name = "WHEN")]
    to: Option<Position>,
    /// History before it that models learn from
    #[arg(long, value_name = "DURATION", default_value = "7d", value_parser = humantime::parse_duration)]
    history: Duration,
    /// How the traces are written: auto, counts, csv or clf
    #[arg(long, default_value = "auto")]
    format: Format,
    /// Step to evaluate at: the bin of access logs and count files, a whole multiple of the step of a CSV
    /// [default: 10s, or the CSV's own]
    #[arg(long, value_name = "DURATION", value_parser = humantime::parse_duration)]
    bin: Option<Duration>,
    /// Factor on the demand
    #[arg(long, value_name = "X", default_value_t = 1.0, allow_negative_numbers = true)]
    scale: f64,
    /// Add scores per step and per quantile to the JSON
    #[arg(long)]
    detail: bool,
    /// How to print the result
    #[arg(long, value_enum, default_value_t = Output::Table)]
    output: Output,
}

fn horizon(text: &str) -> Result<usize, String> {
    match text.parse() {
        Ok(steps) if (1..=MAX_HORIZON_STEPS).contains(&steps) => Ok(steps),
        _ => Err(format!("1 to {MAX_HORIZON_STEPS} steps are expected")),
    }
}

fn every(text: &str) -> Result<usize, String> {
    match text.parse() {
        Ok(n) if (1..=1_000_000).contains(&n) => Ok(n),
        _ => Err("1 to 1000000 is expected".into()),
    }
}

/// Scores and prints.
pub fn run(args: &EvaluateArgs) -> Result<(), CliError> {
    if args.list {
        let lines =
            MODELS.iter().map(|m| format!("{:<26}{}\n{:26}{}\n", m.form, m.description, "", m.source));
        return print(&lines.collect::<String>());
    }
    let options = Options {
        models: args.models.clone(),
        baseline: args.baseline.clone(),
        from: args.from,
        to: args.to,
        history: args.history,
        format: args.format,
        bin: args.bin,
        scale: args.scale,
        horizon_steps: args.horizon,
        stride_steps: args.every,
        ..Options::default()
    };
    let bar = progress(0, "evaluating");
    let report = evaluate::run(&args.traces, &options, &|p: Progress<'_>| {
        bar.set_length(p.total as u64);
        bar.set_position(p.done as u64);
    })
    .map_err(|e: EvaluateError| CliError::input(e))?;
    bar.finish_and_clear();
    match args.output {
        Output::Table => print(&report.table(colour())),
        Output::Json => {
            let text = report.json(args.detail).map_err(|e| CliError::Failed(e.into()))?;
            print(&(text + "\n"))
        }
    }
}
