//! Which commands are there, and what do they share?

mod bench;
mod cluster;
mod crd;
mod decide;
mod demo;
mod evaluate;
mod inspect;
mod operator;
mod service;
mod simulate;

use clap::{CommandFactory, Parser, Subcommand, ValueEnum};
use indicatif::{ProgressBar, ProgressStyle};
use sphere::report::write_atomically;
use std::fmt::Display;
use std::io::{ErrorKind, IsTerminal, Write};
use std::path::Path;

/// Predictive autoscaling for Kubernetes: scale ahead of demand.
#[derive(Debug, Parser)]
#[command(
    name = "sphere",
    version,
    about,
    after_help = "Start with `sphere demo`: it needs no file, no service and no network."
)]
pub struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    Demo(demo::DemoArgs),
    Simulate(Box<simulate::SimulateArgs>),
    Evaluate(evaluate::EvaluateArgs),
    Decide(decide::DecideArgs),
    Run(service::RunArgs),
    Collect(service::CollectArgs),
    Forecast(service::ForecastArgs),
    Cache(service::CacheArgs),
    Autoscale(service::AutoscaleArgs),
    Operator(operator::OperatorArgs),
    Cluster(cluster::ClusterArgs),
    Topics(cluster::TopicsArgs),
    Verify(inspect::VerifyArgs),
    Show(inspect::ShowArgs),
    Bench(bench::BenchArgs),
    Schema(decide::SchemaArgs),
    Crd(crd::CrdArgs),
    /// Print a script that teaches your shell to complete sphere's commands
    #[command(after_help = "Example:\n  sphere completions bash > /etc/bash_completion.d/sphere")]
    Completions {
        /// The shell
        shell: clap_complete::Shell,
    },
}

/// How results are printed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
pub enum Output {
    /// For people.
    #[default]
    Table,
    /// For programs: one JSON object.
    Json,
}

/// Why a command did not end well.
#[derive(Debug)]
pub enum CliError {
    /// Wrong usage or input: exit code 2.
    Input(String),
    /// Anything else: exit code 1.
    Failed(anyhow::Error),
    /// Nobody reads our output any more.
    OutputClosed,
}

impl CliError {
    /// Wrong usage or input.
    pub fn input(message: impl Display) -> Self {
        CliError::Input(message.to_string())
    }
}

impl From<anyhow::Error> for CliError {
    fn from(error: anyhow::Error) -> Self {
        CliError::Failed(error)
    }
}

/// Runs the command asked for.
pub fn run(cli: Cli) -> Result<(), CliError> {
    match cli.command {
        Command::Demo(args) => demo::run(&args),
        Command::Simulate(args) => simulate::run(&args),
        Command::Evaluate(args) => evaluate::run(&args),
        Command::Decide(args) => decide::run(&args),
        Command::Run(args) => service::run(&args),
        Command::Collect(args) => service::collect(&args),
        Command::Forecast(args) => service::forecast(&args),
        Command::Cache(args) => service::cache(&args),
        Command::Autoscale(args) => service::autoscale(&args),
        Command::Operator(args) => operator::run(&args),
        Command::Cluster(args) => cluster::cluster(&args),
        Command::Topics(args) => cluster::topics(&args),
        Command::Verify(args) => inspect::verify(&args),
        Command::Show(args) => inspect::show(&args),
        Command::Bench(args) => bench::run(&args),
        Command::Schema(args) => decide::schema(&args),
        Command::Crd(args) => crd::run(&args),
        Command::Completions { shell } => {
            let mut script = Vec::new();
            clap_complete::generate(shell, &mut Cli::command(), "sphere", &mut script);
            print(&String::from_utf8_lossy(&script))
        }
    }
}

/// Writes a result to stdout.
pub fn print(text: &str) -> Result<(), CliError> {
    let mut out = std::io::stdout().lock();
    match out.write_all(text.as_bytes()).and_then(|()| out.flush()) {
        Err(error) if error.kind() == ErrorKind::BrokenPipe => Err(CliError::OutputClosed),
        Err(error) => Err(CliError::Failed(anyhow::Error::new(error).context("stdout can not be written"))),
        Ok(()) => Ok(()),
    }
}

/// Writes a JSON result to stdout, one line per level for people who look.
pub fn print_json(value: &serde_json::Value) -> Result<(), CliError> {
    let text = serde_json::to_string_pretty(value).map_err(|e| CliError::Failed(e.into()))?;
    print(&format!("{text}\n"))
}

/// May stdout be coloured? Only a terminal, and only without `NO_COLOR` (no-color.org).
pub fn colour() -> bool {
    std::env::var_os("NO_COLOR").is_none_or(|v| v.is_empty()) && std::io::stdout().is_terminal()
}

/// A progress bar on stderr; hidden when stderr is no terminal.
pub fn progress(steps: u64, what: &'static str) -> ProgressBar {
    let style = ProgressStyle::with_template("{msg} [{bar:40}] {pos}/{len} {elapsed} (about {eta} left)")
        .unwrap_or_else(|_| ProgressStyle::default_bar())
        .progress_chars("=> ");
    ProgressBar::new(steps).with_style(style).with_message(what)
}

/// Writes a report, all or nothing, making its folder first.
pub fn write_report(path: &Path, page: &str) -> Result<(), CliError> {
    if let Some(folder) = path.parent().filter(|f| !f.as_os_str().is_empty()) {
        std::fs::create_dir_all(folder).map_err(|e| {
            CliError::Failed(anyhow::Error::new(e).context(format!("{} can not be made", folder.display())))
        })?;
    }
    write_atomically(path, page.as_bytes()).map_err(|e| CliError::Failed(e.into()))
}
