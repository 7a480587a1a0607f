//! How long from the start of a forecaster to the first forecast of every workload, when models learn from history?

use super::fixtures::{Known, STEP, embedded, sample, workloads};
use super::round;
use serde_json::{Value, json};
use sphere_pipeline::forecast::{ForecastSettings, ForecastStage};
use sphere_pipeline::metrics::{Metrics, Stage};
use sphere_pipeline::{Clock, wire};
use std::sync::Arc;
use std::time::{Duration, Instant};
use tokio_util::sync::CancellationToken;

/// `points` past values each; the source answers from memory, so what is timed is ours alone.
pub(super) async fn measure(count: usize, points: u32) -> anyhow::Result<Value> {
    let parts = embedded();
    let metrics = Arc::new(Metrics::new());
    let clock = Clock::system();
    let started = Instant::now();
    let stage = ForecastStage {
        bus: Arc::clone(&parts.bus),
        store: Arc::clone(&parts.store),
        source: Some(Arc::new(Known)),
        workloads: workloads(count, "sphere")?.fixed(),
        clock: clock.clone(),
        settings: ForecastSettings { step: STEP, backfill: STEP * points, ..ForecastSettings::default() },
        metrics: Arc::clone(&metrics),
    };
    let stop = CancellationToken::new();
    let running = tokio::spawn(stage.run(stop.clone()));
    let step_ms = STEP.as_millis() as i64;
    let at = sphere_core::Timestamp(clock.now().millis().div_euclid(step_ms) * step_ms);
    let samples: Result<Vec<_>, _> = (0..count).map(|number| sample(number, at)).collect();
    parts.bus.publish(samples?.iter().map(wire::encode).collect()).await?;
    let limit = started + Duration::from_secs(60);
    while metrics.counted(Stage::Forecast, "forecast") < count as u64 {
        anyhow::ensure!(Instant::now() < limit, "not all workloads had a forecast within 60 s");
        tokio::time::sleep(Duration::from_millis(2)).await;
    }
    let took = started.elapsed();
    stop.cancel();
    running.await??;
    Ok(json!({"workloads": count, "history_points": points, "seconds": round(took.as_secs_f64())}))
}
