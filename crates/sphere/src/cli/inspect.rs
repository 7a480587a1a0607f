//! `sphere verify` and `sphere show`: what happened, and why?

use super::service::{ConfigArgs, block_on, bus_error, store_error};
use super::{CliError, Output, colour, print, print_json};
use clap::Args;
use serde_json::{Value, json};
use sphere::config::{BusConfig, StoreConfig};
use sphere::service::live::{instant, lead};
use sphere::service::{logging, parts};
use sphere::table::{self, Cell};
use sphere::verify::reading::{Extent, read_all};
use sphere::verify::{Account, Ledger, Report};
use sphere_core::{Decision, Forecast, Sample, WorkloadId};
use sphere_pipeline::{Clock, Slot, wire};
use std::fmt::Write as _;
use std::time::Duration;

/// Was anything lost? Reads all topics from the beginning and accounts for every record.
///
/// Every sample is owed the forecast issued at its instant, except: before the workload's first forecast (the model was
/// not ready, or the log begins there); without demand; censored; later than a newer sample; expired (the
/// forecaster came back so late that it would have been of no use); pending (the forecaster has not come to it yet).
/// Lost is a sample whose forecaster has demonstrably gone past it in time without publishing. Records that can not
/// be read are owed a dead letter that names their place. A decision may use a forecast only while one is valid.
///
/// Exit code 1 when a sample was lost, a dead letter is missing, or a decision used an expired forecast; also when
/// not everything could be read in time. Duplicates and gaps are counted, and are no loss. Records that were deleted by
/// the topics' retention are not missed.
#[derive(Debug, Args)]
#[command(after_help = "Examples:
  sphere verify --config sphere.yaml
  sphere verify --config sphere.yaml --timeout 5m --output json")]
pub struct VerifyArgs {
    #[command(flatten)]
    config: ConfigArgs,
    /// Longest time for reading
    #[arg(long, value_name = "DURATION", default_value = "2m", value_parser = humantime::parse_duration)]
    timeout: Duration,
    /// Dead letters of records younger than this are not missed yet, on the pipeline's clock
    #[arg(long, value_name = "DURATION", default_value = "1m", value_parser = humantime::parse_duration)]
    grace: Duration,
    /// How to print the result
    #[arg(long, value_enum, default_value_t = Output::Table)]
    output: Output,
}

/// Why has this workload as many replicas as it has? Shows what the store knows about it.
#[derive(Debug, Args)]
#[command(after_help = "Examples:
  sphere show --config sphere.yaml shop/Deployment/front-end
  sphere show --config sphere.yaml shop/Deployment/front-end --history 50 --output json")]
pub struct ShowArgs {
    #[command(flatten)]
    config: ConfigArgs,
    /// namespace/Kind/name
    workload: WorkloadId,
    /// Decisions shown
    #[arg(long, value_name = "N", default_value_t = 10)]
    history: usize,
    /// How to print the result
    #[arg(long, value_enum, default_value_t = Output::Table)]
    output: Output,
}

/// Reads and accounts.
pub fn verify(args: &VerifyArgs) -> Result<(), CliError> {
    let config = args.config.load()?.config;
    if config.bus == BusConfig::Embedded {
        return Err(CliError::input(
            "bus: embedded ends with its process; there is something to verify on bus: {kafka: {...}}",
        ));
    }
    logging::start(&config.log, None).map_err(CliError::Input)?;
    let mut ledger = Ledger::new(config.step.0, args.grace);
    let group = format!("sphere-verify-{}-{}", std::process::id(), Clock::system().now().millis());
    let extent = block_on(async {
        let (clock, on_clock) = parts::clock(&config.clock);
        let bus = parts::bus(&config, &clock)?;
        read_all(bus.as_ref(), group, args.timeout, on_clock, &mut ledger).await
    })?
    .map_err(bus_error)?;
    let report = ledger.report();
    match args.output {
        Output::Json => print_json(&json!({
            "clean": report.clean(),
            "records": extent.records,
            "records_not_read": extent.left,
            "report": report,
        }))?,
        Output::Table => print(&verify_table(&report, extent))?,
    }
    if extent.left > 0 {
        let left = extent.left;
        return Err(CliError::Failed(anyhow::anyhow!(
            "{left} records could not be read within the time; see --timeout"
        )));
    }
    if !report.clean() {
        return Err(CliError::Failed(anyhow::anyhow!(
            "{} samples lost, {} dead letters missing, {} decisions on expired forecasts",
            report.total.lost,
            report.unreadable_without_letter.len(),
            report.total.decisions_on_expired
        )));
    }
    Ok(())
}

fn verify_table(report: &Report, extent: Extent) -> String {
    const ROWS: usize = 30;
    let row = |name: &str, account: &Account| {
        let why: Vec<String> = account.unanswered.iter().map(|(why, n)| format!("{n} {why}")).collect();
        let numbers = [
            account.samples,
            account.sample_duplicates,
            account.gaps,
            account.forecasts,
            account.forecasts_without_sample,
            account.lost,
            account.decisions,
            account.predictive_decisions,
            account.decisions_on_expired,
        ];
        let mut cells = vec![Cell::plain(name)];
        cells.extend(numbers.map(|n| Cell::plain(n.to_string())));
        cells.push(Cell::plain(why.join(", ")));
        cells
    };
    let mut rows = vec![row("all", &report.total)];
    // Those with losses first.
    let mut accounts: Vec<_> = report.workloads.iter().collect();
    accounts.sort_by_key(|(_, account)| std::cmp::Reverse(account.lost + account.decisions_on_expired));
    rows.extend(accounts.iter().take(ROWS).map(|(name, account)| row(name, account)));
    let header = [
        "workload",
        "samples",
        "dupl.",
        "gaps",
        "forecasts",
        "without\nsample",
        "lost",
        "decisions",
        "predictive",
        "on\nexpired",
        "no forecast owed",
    ];
    let mut text = format!("{} records read\n\n{}\n", extent.records, table::render(header, &rows, colour()));
    if accounts.len() > ROWS {
        let _ = writeln!(text, "and {} more workloads: --output json", accounts.len() - ROWS);
    }
    for (topic, reasons) in &report.dead_letters {
        let counts: Vec<String> = reasons.iter().map(|(reason, n)| format!("{n} {reason}")).collect();
        let _ = writeln!(text, "{topic}: {}", counts.join(", "));
    }
    for place in report.unreadable_without_letter.iter().take(ROWS) {
        let _ = writeln!(text, "no dead letter for {place}");
    }
    let _ = writeln!(text, "{}", if report.clean() { "nothing is missing" } else { "something is missing" });
    text
}

/// Shows one workload.
pub fn show(args: &ShowArgs) -> Result<(), CliError> {
    let config = args.config.load()?.config;
    if config.store() == StoreConfig::Memory {
        return Err(CliError::input(
            "store: memory ends with its process; there is something to see in file and redis",
        ));
    }
    logging::start(&config.log, None).map_err(CliError::Input)?;
    let id = std::slice::from_ref(&args.workload);
    let (sample, forecast, decision, lead_ms, history) = block_on(async {
        let store = parts::store(&config).await?;
        let (sample, forecast, decision, lead, history) = tokio::try_join!(
            store.get(Slot::Sample, id),
            store.get(Slot::Prediction, id),
            store.get(Slot::Decision, id),
            store.get(Slot::Lead, id),
            store.history(&args.workload, args.history),
        )?;
        let one = |mut values: Vec<Option<bytes::Bytes>>| values.pop().flatten();
        Ok((one(sample), one(forecast), one(decision), one(lead), history))
    })?
    .map_err(store_error)?;
    let sample: Option<Sample> = sample.and_then(|bytes| wire::from_json(&bytes).ok());
    let forecast: Option<Forecast> = forecast.and_then(|bytes| wire::from_json(&bytes).ok());
    let decision: Option<Decision> = decision.and_then(|bytes| wire::from_json(&bytes).ok());
    let lead = lead_ms.as_deref().and_then(lead);
    let history: Vec<Decision> = history.iter().filter_map(|bytes| wire::from_json(bytes).ok()).collect();
    if sample.is_none() && forecast.is_none() && decision.is_none() && history.is_empty() {
        return Err(CliError::Failed(anyhow::anyhow!("the store knows nothing about {}", args.workload)));
    }
    if args.output == Output::Json {
        let forecast = serde_json::to_value(&forecast).unwrap_or(Value::Null);
        return print_json(&json!({
            "workload": args.workload, "sample": sample, "forecast": forecast,
            "lead_s": lead.map(|lead| lead.as_secs_f64()), "decision": decision, "history": history,
        }));
    }
    print(&show_text(&args.workload, sample, forecast, lead, decision, &history))
}

fn show_text(
    workload: &WorkloadId,
    sample: Option<Sample>,
    forecast: Option<Forecast>,
    lead: Option<Duration>,
    decision: Option<Decision>,
    history: &[Decision],
) -> String {
    let mut text = format!("{workload}\n");
    let count = |value: Option<u32>| value.map_or("-".into(), |n| n.to_string());
    match &sample {
        Some(sample) => {
            let demand = sample.demand.map_or("absent".into(), |d| format!("{d:.3}"));
            let (at, ready, replicas) = (instant(sample.at), count(sample.ready), count(sample.replicas));
            let _ = writeln!(text, "  demand     {demand} at {at}, {ready} of {replicas} replicas ready");
        }
        None => text.push_str("  demand     no sample\n"),
    }
    match &forecast {
        Some(forecast) => {
            let trust = forecast.trust;
            let standing = match (trust.trusted, trust.because) {
                (true, _) => "trusted".into(),
                (false, None) => "not trusted".into(),
                (false, Some(because)) => format!("not trusted ({because})"),
            };
            let _ = writeln!(
                text,
                "  forecast   model {}, {standing}, issued {}, valid until {}",
                forecast.model,
                instant(forecast.issued_at),
                instant(forecast.valid_until)
            );
            let ahead =
                lead.and_then(|lead| forecast.at(forecast.issued_at + lead)).or(forecast.steps.last());
            if let Some(step) = ahead {
                let _ = writeln!(
                    text,
                    "             {:.3} expected at {}, below {:.3} with 95 %",
                    step.demand.mean(),
                    instant(step.at),
                    step.demand.quantile(0.95)
                );
            }
            if let Some(coverage) = trust.coverage {
                let share = 100.0 * coverage;
                let _ = writeln!(
                    text,
                    "             {share:.1} % of recent values were below what 95 % should be"
                );
            }
            if let Some(period) = forecast.period {
                let _ = writeln!(text, "             {period}");
            }
        }
        None => text.push_str("  forecast   none, or expired\n"),
    }
    if let Some(lead) = lead {
        let _ = writeln!(text, "  lead time  {:.0} s, measured", lead.as_secs_f64());
    }
    if let Some(decision) = &decision {
        let _ = writeln!(
            text,
            "  decision   {} -> {} at {} (HPA {}, forecast {}, mode {:?}{})",
            decision.current,
            decision.desired,
            instant(decision.at),
            count(decision.reactive),
            count(decision.predictive),
            decision.mode,
            if decision.applied { "" } else { ", nothing changed" }
        );
        for reason in &decision.reasons {
            let _ = writeln!(text, "             {}: {reason}", reason.name());
        }
    }
    if !history.is_empty() {
        text.push_str("  before\n");
    }
    for past in history {
        let names: Vec<&str> = past.reasons.iter().map(|reason| reason.name()).collect();
        let _ = writeln!(
            text,
            "             {}  {} -> {}  {}",
            instant(past.at),
            past.current,
            past.desired,
            names.join(", ")
        );
    }
    text
}
