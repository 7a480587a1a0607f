//! How long from a sample in the topic to the decision on it in the topic?

use super::fixtures::{Known, Parts, STEP, sample, workloads};
use super::spread_ms;
use serde_json::Value;
use sphere_pipeline::autoscale::{AutoscaleSettings, AutoscaleStage};
use sphere_pipeline::cache::{CacheSettings, CacheStage};
use sphere_pipeline::forecast::{ForecastSettings, ForecastStage, VALID_STEPS};
use sphere_pipeline::metrics::{Metrics, Stage};
use sphere_pipeline::{Clock, Event, NoTarget, Subscription, Topic, wire};
use std::collections::HashMap;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};
use tokio_util::sync::CancellationToken;

type Waiting = Arc<Mutex<HashMap<String, Instant>>>;

/// `bursts` times, `pace` apart, `burst` samples at once.
pub(super) async fn measure(
    parts: &Parts,
    count: usize,
    bursts: usize,
    burst: usize,
    pace: Duration,
) -> anyhow::Result<Value> {
    let metrics = Arc::new(Metrics::new());
    let clock = Clock::system();
    let stop = CancellationToken::new();
    let specs = workloads(count, "sphere")?;
    let forever = Duration::from_secs(100_000);
    let forecast = ForecastStage {
        bus: Arc::clone(&parts.bus),
        store: Arc::clone(&parts.store),
        source: None,
        workloads: specs.clone().fixed(),
        clock: clock.clone(),
        settings: ForecastSettings {
            step: STEP,
            backfill: Duration::ZERO,
            valid_steps: VALID_STEPS * 100,
            ..ForecastSettings::default()
        },
        metrics: Arc::clone(&metrics),
    };
    let cache = CacheStage {
        bus: Arc::clone(&parts.bus),
        store: Arc::clone(&parts.store),
        clock: clock.clone(),
        settings: CacheSettings::default(),
        metrics: Arc::clone(&metrics),
    };
    let autoscale = AutoscaleStage {
        source: Arc::new(Known),
        target: Arc::new(NoTarget),
        bus: Arc::clone(&parts.bus),
        store: Arc::clone(&parts.store),
        workloads: specs.fixed(),
        overseer: None,
        clock: clock.clone(),
        // One sync at the start; every later decision is on an announced forecast.
        settings: AutoscaleSettings { sync: forever, live_valid: forever, ..AutoscaleSettings::default() },
        metrics: Arc::clone(&metrics),
    };
    let stages = [
        tokio::spawn(forecast.run(stop.clone())),
        tokio::spawn(cache.run(stop.clone())),
        tokio::spawn(autoscale.run(stop.clone())),
    ];
    let waiting: Waiting = Waiting::default();
    let times: Arc<Mutex<Vec<Duration>>> = Arc::default();
    let reading =
        tokio::spawn(read(Arc::clone(&parts.bus), Arc::clone(&waiting), Arc::clone(&times), stop.clone()));

    // Every workload a few steps, so that models and groups are up; not measured.
    let mut at = clock.now() - STEP * 400;
    let limit = Instant::now() + Duration::from_secs(120);
    let mut rounds = 0;
    while metrics.counted(Stage::Autoscale, "decision") < (2 * count) as u64 || rounds < 3 {
        anyhow::ensure!(Instant::now() < limit, "the stages were not up within 120 s");
        at = at + STEP;
        rounds += 1;
        let samples: Result<Vec<_>, _> = (0..count).map(|number| sample(number, at)).collect();
        parts.bus.publish(samples?.iter().map(wire::encode).collect()).await?;
        tokio::time::sleep(Duration::from_secs(2)).await;
    }
    // What is still under way is not ours to time.
    tokio::time::sleep(Duration::from_secs(2)).await;

    let mut number = 0;
    let mut next = tokio::time::Instant::now();
    for _ in 0..bursts {
        if number % count == 0 {
            at = at + STEP;
        }
        let mut messages = Vec::with_capacity(burst);
        let mut keys = Vec::with_capacity(burst);
        for _ in 0..burst {
            let sample = sample(number % count, at)?;
            keys.push(sample.workload.to_string());
            messages.push(wire::encode(&sample));
            number += 1;
        }
        // The decision may come out before the acknowledgement is in: register first, set the time again after.
        let start = Instant::now();
        lock(&waiting).extend(keys.iter().map(|key| (key.clone(), start)));
        parts.bus.publish(messages).await?;
        let acknowledged = Instant::now();
        {
            let mut waiting = lock(&waiting);
            for key in keys {
                if let Some(since) = waiting.get_mut(&key) {
                    *since = acknowledged;
                }
            }
        }
        next += pace;
        tokio::time::sleep_until(next).await;
    }
    let limit = Instant::now() + Duration::from_secs(30);
    while !lock(&waiting).is_empty() && Instant::now() < limit {
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    let lost = lock(&waiting).len();
    stop.cancel();
    for stage in stages {
        stage.await??;
    }
    reading.await??;
    let mut figures = spread_ms(std::mem::take(&mut *lock(&times)));
    figures["workloads"] = count.into();
    figures["without_decision"] = lost.into();
    Ok(figures)
}

fn lock<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(std::sync::PoisonError::into_inner)
}

/// Reads decisions and notes how long each was waited for.
async fn read(
    bus: Arc<dyn sphere_pipeline::Bus>,
    waiting: Waiting,
    times: Arc<Mutex<Vec<Duration>>>,
    stop: CancellationToken,
) -> anyhow::Result<()> {
    let topics = vec![Topic::Decisions];
    let mut consumer =
        bus.subscribe(Subscription { group: "bench-decisions".into(), topics, max_records: 1000 }).await?;
    loop {
        let event = tokio::select! {
            event = consumer.next() => event?,
            () = stop.cancelled() => break,
        };
        match event {
            Event::Records(records) => {
                let now = Instant::now();
                for record in &records {
                    let key = String::from_utf8_lossy(&record.key);
                    if let Some(since) = lock(&waiting).remove(key.as_ref()) {
                        lock(&times).push(now.saturating_duration_since(since));
                    }
                }
                let ends: HashMap<_, _> = records.iter().map(|r| (r.partition, r.offset + 1)).collect();
                consumer.commit(&ends.into_iter().collect::<Vec<_>>()).await?;
            }
            Event::Revoked(partitions) => consumer.release(&partitions).await?,
            Event::Assigned(_) | Event::Lost(_) => {}
        }
    }
    Ok(consumer.close().await?)
}
