//! How many samples per second does one forecaster turn into forecasts?

use super::fixtures::{Parts, STEP, cpu_s, sample, workloads};
use super::round;
use serde_json::{Value, json};
use sphere_core::Timestamp;
use sphere_pipeline::forecast::{ForecastSettings, ForecastStage};
use sphere_pipeline::metrics::{Metrics, Stage};
use sphere_pipeline::{Clock, wire};
use std::sync::Arc;
use std::time::{Duration, Instant};
use tokio_util::sync::CancellationToken;

/// The first round of samples makes the models; the rest is measured.
pub(super) async fn measure(
    parts: &Parts,
    count: usize,
    steps: usize,
    workers: usize,
    model: &str,
) -> anyhow::Result<Value> {
    let start = Timestamp::from_secs(1_700_000_000);
    let clock = Clock::manual(start + STEP * steps as u32);
    let metrics = Arc::new(Metrics::new());
    let settings = ForecastSettings {
        step: STEP,
        workers,
        // Old samples are the point here: none of their forecasts may count as expired.
        valid_steps: 10_000,
        // Saving state is a load of its own; the steady figures have it.
        checkpoint: Duration::from_secs(3600),
        backfill: Duration::ZERO,
        ..ForecastSettings::default()
    };
    let stage = ForecastStage {
        bus: Arc::clone(&parts.bus),
        store: Arc::clone(&parts.store),
        source: None,
        workloads: workloads(count, model)?.fixed(),
        clock: clock.clone(),
        settings,
        metrics: Arc::clone(&metrics),
    };
    let publish = async |step: usize| -> anyhow::Result<()> {
        let at = start + STEP * step as u32;
        for chunk in (0..count).collect::<Vec<usize>>().chunks(5000) {
            let samples: Result<Vec<_>, _> = chunk.iter().map(|&number| sample(number, at)).collect();
            parts.bus.publish(samples?.iter().map(wire::encode).collect()).await?;
        }
        Ok(())
    };
    let handled = || -> u64 {
        ["forecast", "not_ready", "duplicate", "late", "unconfigured"]
            .iter()
            .map(|outcome| metrics.counted(Stage::Forecast, outcome))
            .sum()
    };
    let all_of = async |rounds: usize| -> anyhow::Result<()> {
        let limit = Instant::now() + Duration::from_secs(300);
        while handled() < (rounds * count) as u64 {
            anyhow::ensure!(Instant::now() < limit, "the forecaster did not finish within 300 s");
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        Ok(())
    };

    // The stage has to be a member before the log is filled, else the embedded bus has nobody to keep it for; while
    // the log is being filled it stands aside, so that only its own work is timed.
    publish(0).await?;
    let stop = CancellationToken::new();
    let first = tokio::spawn(stage.run(stop.clone()));
    all_of(1).await?;
    stop.cancel();
    first.await??;
    for step in 1..=steps {
        publish(step).await?;
    }
    let (before, cpu_before) = (handled(), cpu_s()?);
    let stage = ForecastStage {
        bus: Arc::clone(&parts.bus),
        store: Arc::clone(&parts.store),
        source: None,
        workloads: workloads(count, model)?.fixed(),
        clock,
        settings: ForecastSettings {
            step: STEP,
            workers,
            valid_steps: 10_000,
            checkpoint: Duration::from_secs(3600),
            backfill: Duration::ZERO,
            ..ForecastSettings::default()
        },
        metrics: Arc::clone(&metrics),
    };
    let (stop, started, busy_before) =
        (CancellationToken::new(), Instant::now(), metrics.busy_s(Stage::Forecast));
    let running = tokio::spawn(stage.run(stop.clone()));
    all_of(1 + steps).await?;
    let (took, cpu) = (started.elapsed(), cpu_s()? - cpu_before);
    let busy = metrics.busy_s(Stage::Forecast) - busy_before;
    let samples = (handled() - before) as f64;
    stop.cancel();
    running.await??;
    Ok(json!({
        "workloads": count,
        "samples": samples,
        "seconds": round(took.as_secs_f64()),
        "samples_per_s": (samples / took.as_secs_f64()).round(),
        "cpu_s": round(cpu),
        "samples_per_cpu_s": (samples / cpu.max(1e-3)).round(),
        "worker_us_per_sample": round(busy / samples * 1e6),
        "forecasts": metrics.counted(Stage::Forecast, "forecast"),
    }))
}
