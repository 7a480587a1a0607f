//! What is going on, at a glance?
//!
//! A table on the terminal, drawn anew every second from what the store has: demand, the forecast for the time a
//! replica ordered now becomes ready, sizes, and why.

use super::parts::Parts;
use crate::table::{self, Cell};
use bytes::Bytes;
use indicatif::{ProgressBar, ProgressStyle};
use sphere_core::{Decision, Forecast, Sample, Timestamp, WorkloadId};
use sphere_pipeline::workload::Workload;
use sphere_pipeline::{Slot, wire};
use std::sync::Arc;
use std::time::Duration;
use tokio_util::sync::CancellationToken;

/// Workloads shown; more would not fit.
const ROWS: usize = 15;
/// Reasons shown per workload.
const REASONS: usize = 2;

/// An empty table on stderr.
pub fn table() -> ProgressBar {
    let bar = ProgressBar::new_spinner();
    bar.set_style(ProgressStyle::with_template("{msg}").unwrap_or_else(|_| ProgressStyle::default_bar()));
    bar
}

/// What is known of a workload.
struct Row {
    sample: Option<Sample>,
    forecast: Option<Forecast>,
    decision: Option<Decision>,
    lead: Option<Duration>,
}

/// Draws until `stop`.
pub async fn draw(parts: Parts, table: ProgressBar, colour: bool, stop: CancellationToken) {
    let mut second = tokio::time::interval(Duration::from_secs(1));
    loop {
        tokio::select! {
            _ = second.tick() => {}
            () = stop.cancelled() => break,
        }
        if let Some(page) = page(&parts, colour).await {
            table.set_message(page);
            table.tick();
        }
    }
    table.finish_and_clear();
}

async fn page(parts: &Parts, colour: bool) -> Option<String> {
    let workloads = parts.workloads.borrow().clone();
    let shown: Vec<Arc<Workload>> = workloads.all().iter().take(ROWS).cloned().collect();
    let ids: Vec<WorkloadId> = shown.iter().map(|w| w.id.clone()).collect();
    let (samples, forecasts, decisions, leads) = tokio::try_join!(
        parts.store.get(Slot::Sample, &ids),
        parts.store.get(Slot::Prediction, &ids),
        parts.store.get(Slot::Decision, &ids),
        parts.store.get(Slot::Lead, &ids),
    )
    .ok()?;
    let now = parts.clock.now();
    let rows: Vec<Vec<Cell>> = shown
        .iter()
        .enumerate()
        .map(|(i, workload)| {
            let row = Row {
                sample: read(&samples[i]),
                forecast: read(&forecasts[i]),
                decision: read(&decisions[i]),
                lead: leads[i].as_deref().and_then(lead),
            };
            cells(workload, &row, now)
        })
        .collect();
    let header = ["workload", "demand", "at lead", "now", "HPA", "wants", "mode", "why"];
    let mut text = format!("{}\n\n{}", instant(now), table::render(header, &rows, colour));
    if workloads.all().len() > ROWS {
        text.push_str(&format!("\nand {} more workloads", workloads.all().len() - ROWS));
    }
    Some(text)
}

fn read<R: wire::Record>(bytes: &Option<Bytes>) -> Option<R> {
    wire::from_json(bytes.as_ref()?).ok()
}

/// Lead time as the store keeps it.
pub fn lead(bytes: &[u8]) -> Option<Duration> {
    std::str::from_utf8(bytes).ok()?.parse().ok().map(Duration::from_millis)
}

/// As people read it.
pub fn instant(at: Timestamp) -> String {
    jiff::Timestamp::from_millisecond(at.millis())
        .map_or_else(|_| at.millis().to_string(), |t| t.strftime("%a %Y-%m-%d %H:%M:%S UTC").to_string())
}

fn cells(workload: &Workload, row: &Row, now: Timestamp) -> Vec<Cell> {
    let number = |value: Option<f64>| value.map_or("-".into(), |v| format!("{v:.1}"));
    let count = |value: Option<u32>| value.map_or("-".into(), |v| v.to_string());
    let lead = row.lead.or_else(|| Duration::try_from_secs_f64(workload.spec.startup_seconds).ok());
    let ahead = row.forecast.as_ref().and_then(|forecast| forecast.at(now + lead?));
    let decision = row.decision.as_ref();
    let why = decision.map_or(String::new(), |decision| {
        let names: Vec<&str> = decision.reasons.iter().take(REASONS).map(|reason| reason.name()).collect();
        names.join(", ")
    });
    vec![
        Cell::plain(workload.id.to_string()),
        Cell::plain(number(row.sample.as_ref().and_then(|sample| sample.demand))),
        Cell::plain(number(ahead.map(|step| step.demand.mean()))),
        Cell::plain(count(decision.map(|d| d.current))),
        Cell::plain(count(decision.and_then(|d| d.reactive))),
        Cell {
            text: count(decision.map(|d| d.desired)),
            marked: decision.is_some_and(|d| d.desired != d.current),
        },
        Cell::plain(decision.map_or("-".into(), |d| format!("{:?}", d.mode))),
        Cell::plain(why),
    ]
}
