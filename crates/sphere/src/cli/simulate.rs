//! `sphere simulate`: policies side by side on a trace.

use super::{CliError, Output, colour, print, print_json, progress, write_report};
use clap::{Args, ValueEnum};
use sphere::report;
use sphere::simulate::{Capacity, Outcome, Plan, json, report_data, summary, table};
use sphere_sim::policy::ACCEPTED;
use sphere_sim::{Contestant, Physics, Profile, Startup};
use sphere_trace::{Format, Position, ReadOptions, read_file};
use std::path::PathBuf;
use std::time::Duration;

/// Play policies side by side on a trace: what would users have felt, what would it have cost?
///
/// The trace is a count file (one number per bin), a CSV with the columns `timestamp_s,value` (requests/s) or
/// `timestamp_s,count` (requests per bin), or an access log in Common or Combined Log Format, plain or gzip. What
/// lies before --from is history that learning policies may learn from. The same settings and seed give the
/// same bytes.
#[derive(Debug, Args)]
#[command(after_help = "Examples:
  sphere simulate --trace requests.csv --startup 45s --report report.html
  sphere simulate --trace access.log.gz --peak-replicas 12 --policies hpa-70,sphere,oracle
  sphere simulate --trace counts.txt --bin 10s --scale 50 --from 11d --to 13d --startup 30s,60s,180s --output json")]
pub struct SimulateArgs {
    /// The trace: counts, CSV or access log, plain or .gz
    #[arg(long, value_name = "FILE")]
    trace: PathBuf,
    /// How the trace is written: auto, counts, csv or clf
    #[arg(long, default_value = "auto")]
    format: Format,
    /// Width of a bin of a count file or access log
    #[arg(long, value_name = "DURATION", default_value = "10s", value_parser = humantime::parse_duration)]
    bin: Duration,
    /// Factor on the demand
    #[arg(long, value_name = "X", default_value_t = 1.0, value_parser = positive, allow_negative_numbers = true)]
    scale: f64,
    /// One pod serves as much as lets N pods carry the peak [default: 20]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..=10_000), conflicts_with = "capacity")]
    peak_replicas: Option<u32>,
    /// What one pod serves, requests/s
    #[arg(long, value_name = "RPS", value_parser = positive, allow_negative_numbers = true)]
    capacity: Option<f64>,
    /// Time from create to Ready, one or several: 30s, lognormal(30s,0.5), uniform(20s,60s)
    #[arg(long, value_name = "LIST", default_value = "30s", value_parser = startups)]
    startup: Startups,
    #[command(flatten)]
    tournament: TournamentArgs,
    /// Start of the segment: time since the start (2d, 36h) or, where the trace has dates, a date or instant
    #[arg(long, value_name = "WHEN")]
    from: Option<Position>,
    /// End of the segment
    #[arg(long, value_name = "WHEN")]
    to: Option<Position>,
    /// History before the segment that policies may learn from
    #[arg(long, value_name = "DURATION", default_value = "14d", value_parser = humantime::parse_duration)]
    history: Duration,
    /// Smallest number of replicas
    #[arg(long, value_name = "N", default_value_t = 1, value_parser = clap::value_parser!(u32).range(1..=100_000))]
    min_replicas: u32,
    /// Largest number of replicas [default: twice what the peak needs]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..=100_000))]
    max_replicas: Option<u32>,
    /// Patience of a client (queue physics)
    #[arg(long, value_name = "DURATION", default_value = "5s", value_parser = client_timeout)]
    timeout: Duration,
    /// Time a request needs on an idle pod (queue physics) [default: 1 / capacity, at most 100 ms]
    #[arg(long, value_name = "DURATION", value_parser = humantime::parse_duration)]
    service_time: Option<Duration>,
}

/// What `simulate` and `demo` share.
#[derive(Clone, Debug, Args)]
pub struct TournamentArgs {
    /// Policies to compare, separated by commas
    #[arg(long, value_name = "LIST", value_delimiter = ',', long_help = format!("Policies to compare, separated by commas: {ACCEPTED}"))]
    policies: Vec<Contestant>,
    /// Number of seeds; results are means with 95 % confidence intervals [default: 5, 1 where nothing is random]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..=1000))]
    seeds: Option<u32>,
    /// First seed
    #[arg(long, value_name = "SEED", default_value_t = 1)]
    seed: u64,
    /// Service model: queue (Poisson arrivals, waiting, time-outs) or loss (no queue)
    #[arg(long, value_enum, default_value_t = PhysicsArg::Queue)]
    physics: PhysicsArg,
    /// Also sweep the targets of the HPA and the price of SPHERE: curves, and the comparison with an HPA tuned on this trace
    #[arg(long)]
    sweep: bool,
    /// Distance between swept HPA targets, percent
    #[arg(long, value_name = "PERCENT", default_value_t = 5, value_parser = clap::value_parser!(u32).range(1..=70))]
    sweep_step: u32,
    /// Show the SPEC elasticity metrics too
    #[arg(long)]
    wide: bool,
    /// How to print the result
    #[arg(long, value_enum, default_value_t = Output::Table)]
    output: Output,
    /// Write an offline HTML report with interactive plots (implies --sweep)
    #[arg(long, value_name = "FILE")]
    pub report: Option<PathBuf>,
}

#[derive(Clone, Copy, Debug, ValueEnum)]
enum PhysicsArg {
    #[value(alias = "default")]
    Queue,
    Loss,
}

#[derive(Clone, Debug)]
struct Startups(Vec<Startup>);

fn positive(text: &str) -> Result<f64, String> {
    match text.parse::<f64>() {
        Ok(x) if x.is_finite() && x > 0.0 => Ok(x),
        _ => Err("a number above 0 is expected".into()),
    }
}

fn client_timeout(text: &str) -> Result<Duration, String> {
    match humantime::parse_duration(text) {
        Ok(d) if (1..=3600).contains(&d.as_secs()) => Ok(d),
        _ => Err("a duration from 1s to 1h is expected".into()),
    }
}

/// Splits at commas outside parentheses.
fn startups(text: &str) -> Result<Startups, String> {
    let mut parts = vec![String::new()];
    let mut depth = 0;
    for c in text.chars() {
        depth += i32::from(c == '(') - i32::from(c == ')');
        match (c, parts.last_mut()) {
            (',', _) if depth == 0 => parts.push(String::new()),
            (c, Some(part)) => part.push(c),
            (_, None) => {}
        }
    }
    let list: Result<Vec<Startup>, _> = parts.iter().map(|p| p.parse::<Startup>()).collect();
    list.map(Startups).map_err(|e| e.to_string())
}

impl TournamentArgs {
    /// Completes a plan with what was asked for here.
    pub fn complete(&self, plan: Plan) -> Plan {
        let physics = match self.physics {
            PhysicsArg::Queue => Physics::Queue,
            PhysicsArg::Loss => Physics::Loss,
        };
        let chance =
            physics == Physics::Queue || plan.startups.iter().any(|s| !matches!(s, Startup::Fixed(_)));
        let mut contestants: Vec<Contestant> = Vec::new();
        for &contestant in &self.policies {
            if !contestants.contains(&contestant) {
                contestants.push(contestant);
            }
        }
        if contestants.is_empty() {
            contestants.clone_from(&plan.contestants);
        }
        Plan {
            physics,
            contestants,
            sweep_step_pct: (self.sweep || self.report.is_some()).then_some(self.sweep_step),
            seed: self.seed,
            seeds: self.seeds.unwrap_or(if chance { plan.seeds } else { 1 }),
            ..plan
        }
    }

    /// Is the output for programs?
    pub fn json(&self) -> bool {
        self.output == Output::Json
    }

    /// Plays a plan with a progress bar and shows what came out.
    pub fn play(&self, plan: &Plan) -> Result<Outcome, CliError> {
        let bar = progress(plan.runs() as u64, "simulating");
        let outcome = plan.play(|| bar.inc(1)).map_err(CliError::input)?;
        bar.finish_and_clear();
        if let Some(path) = &self.report {
            let page = report::render(&report_data(&outcome)).map_err(|e| CliError::Failed(e.into()))?;
            write_report(path, &page)?;
        }
        match self.output {
            Output::Json => print_json(&json(&outcome))?,
            Output::Table => {
                print(&format!("{}\n{}\n", table(&outcome, self.wide, colour()), summary(&outcome)))?;
            }
        }
        if let (Some(path), Output::Table) = (&self.report, self.output) {
            print(&format!("Report: {}\n", path.display()))?;
        }
        Ok(outcome)
    }
}

/// Reads the trace, plays, prints.
pub fn run(args: &SimulateArgs) -> Result<(), CliError> {
    let options = ReadOptions { format: args.format, bin: args.bin };
    let reading = read_file(&args.trace, &options).map_err(CliError::input)?;
    if let Some(skipped) = &reading.skipped {
        eprintln!(
            "note: {} of {} lines were skipped; the first is line {}: {}",
            skipped.lines, reading.lines, skipped.first_line, skipped.problem
        );
    }
    let trace = reading.trace;
    let part = trace
        .slice(args.from.as_ref(), args.to.as_ref())
        .map_err(|e| CliError::input(format!("{}: {e}", args.trace.display())))?;
    let step_ms = trace.step.as_millis().max(1) as i64;
    let first = ((part.start.millis() - trace.start.millis()) / step_ms) as usize;
    let plan = args.tournament.complete(Plan {
        trace: trace.name.clone(),
        profile: Profile { start: trace.start, step: trace.step, rates_rps: trace.rates_per_s(args.scale) },
        dated: trace.dated,
        segment: first..first + part.values.len(),
        scale: args.scale,
        capacity: match args.capacity {
            Some(rps) => Capacity::Rps(rps),
            None => Capacity::PeakReplicas(args.peak_replicas.unwrap_or(20)),
        },
        startups: args.startup.0.clone(),
        physics: Physics::Queue,
        contestants: Contestant::DEFAULTS.to_vec(),
        sweep_step_pct: None,
        seed: 1,
        seeds: 5,
        min_replicas: args.min_replicas,
        max_replicas: args.max_replicas,
        history: args.history,
        client_timeout_s: args.timeout.as_secs() as u32,
        service_s: args.service_time.map(|d| d.as_secs_f64()),
    });
    args.tournament.play(&plan).map(|_| ())
}
