//! What does a forecaster cost at a steady rate, state saved and models refitted as in production?

use super::fixtures::{STEP, Services, sample, specs};
use super::round;
use crate::service::process;
use anyhow::Context;
use serde_json::{Value, json};
use sphere_pipeline::{Bus, Clock, Topic, wire};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

/// Parts in which the samples of a step are sent, spread over it.
const SLICES: usize = 50;
/// Steps before the measurement begins.
const PAST_STEPS: i64 = 15;

/// A child that does not outlive the measurement.
struct Forecaster(Child);

impl Drop for Forecaster {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// Runs `sphere forecast` on `count` workloads at one sample per step each, spread over the step.
pub(super) async fn measure(
    services: &Services,
    count: usize,
    model: &str,
    time: Duration,
) -> anyhow::Result<Value> {
    let folder = tempfile::tempdir()?;
    let file = folder.path().join("bench.yaml");
    let config = json!({
        "step": format!("{}s", STEP.as_secs()),
        "bus": {"kafka": services.kafka},
        "store": {"redis": services.redis},
        "source": {"prometheus": {"url": "http://127.0.0.1:1"}},
        "forecast": {"backfill": "0s"},
        "listen": "127.0.0.1:0",
        "workloads": specs(count, model)?,
    });
    std::fs::write(&file, serde_json::to_vec(&config)?)?;
    let log = folder.path().join("forecast.log");
    let child = Command::new(std::env::current_exe()?)
        .args(["forecast", "--log-level", "warn", "--config"])
        .arg(&file)
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(std::fs::File::create(&log)?)
        .spawn()
        .context("sphere forecast can not be started")?;
    let pid = i32::try_from(child.id())?;
    let mut forecaster = Forecaster(child);

    let parts = services.parts();
    let clock = Clock::system();
    let step_ms = STEP.as_millis() as i64;
    // A past for every model, so that those with a first fit have had it and refit on their schedule; then some steps
    // until groups are formed and the past is digested. Not measured.
    let now_ms = clock.now().millis().div_euclid(step_ms) * step_ms;
    for step in (1..=PAST_STEPS).rev() {
        let at = sphere_core::Timestamp(now_ms - step * step_ms);
        for chunk in (0..count).collect::<Vec<usize>>().chunks(5000) {
            let samples: Result<Vec<_>, _> = chunk.iter().map(|&number| sample(number, at)).collect();
            parts.bus.publish(samples?.iter().map(wire::encode).collect()).await?;
        }
    }
    let warm_up = STEP * 3;
    let begun = Instant::now();
    let mut figures: Option<(Instant, f64, u64)> = None;
    let mut sent = 0u64;
    let mut slice = 0usize;
    let pause = STEP / SLICES as u32;
    let mut next = tokio::time::Instant::now();
    while begun.elapsed() < warm_up + time {
        if figures.is_none() && begun.elapsed() >= warm_up {
            let published = count_records(&parts.bus).await?;
            let cpu = process::cpu_s_of(Some(pid)).context("the forecaster has ended")?;
            figures = Some((Instant::now(), cpu, published));
            sent = 0;
        }
        anyhow::ensure!(
            forecaster.0.try_wait()?.is_none(),
            "the forecaster has ended:\n{}",
            std::fs::read_to_string(&log).unwrap_or_default()
        );
        // Each workload's steps end at an instant of its own, as they do with several collectors.
        let at = sphere_core::Timestamp(clock.now().millis().div_euclid(step_ms) * step_ms);
        let (from, to) = (slice * count / SLICES, (slice + 1) * count / SLICES);
        let samples: Result<Vec<_>, _> = (from..to).map(|number| sample(number, at)).collect();
        let samples = samples?;
        sent += samples.len() as u64;
        parts.bus.publish(samples.iter().map(wire::encode).collect()).await?;
        slice = (slice + 1) % SLICES;
        next += pause;
        tokio::time::sleep_until(next).await;
    }
    let (since, cpu_before, published_before) = figures.context("nothing was measured")?;
    let elapsed = since.elapsed().as_secs_f64();
    let cpu = process::cpu_s_of(Some(pid)).context("the forecaster has ended")? - cpu_before;
    let resident = process::resident_bytes_of(Some(pid)).context("the forecaster has ended")?;
    let published = count_records(&parts.bus).await? - published_before;
    Ok(json!({
        "workloads": count,
        "model": model,
        "seconds": round(elapsed),
        "samples_per_s": (sent as f64 / elapsed).round(),
        "forecasts_per_s": (published as f64 / elapsed).round(),
        "cpu_share_of_a_core": round(cpu / elapsed),
        "resident_mib": round(resident as f64 / f64::from(1 << 20)),
    }))
}

/// All forecasts in the topic: a group that never committed lags by all of them.
async fn count_records(bus: &std::sync::Arc<dyn Bus>) -> anyhow::Result<u64> {
    Ok(bus.lag("bench-count", Topic::Predictions).await?)
}
