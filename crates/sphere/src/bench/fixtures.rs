//! What do the measurements share?

use crate::service::process;
use anyhow::Context;
use async_trait::async_trait;
use sphere_core::{Sample, Timestamp, WorkloadId};
use sphere_kafka::KafkaBus;
use sphere_kafka::KafkaConfig;
use sphere_pipeline::embedded::{MemoryBus, MemoryBusConfig, MemoryStore, Retention};
use sphere_pipeline::{
    Bus, History, Live, LiveReading, MetricSource, Problems, SourceError, Store, Topic, Workload,
    WorkloadSpec, Workloads,
};
use sphere_redis::{RedisConfig, RedisStore};
use sphere_scaling::hpa::MetricError;
use std::sync::Arc;
use std::time::Duration;

pub(super) const STEP: Duration = Duration::from_secs(10);

/// A bus and a store to measure on.
pub(super) struct Parts {
    pub bus: Arc<dyn Bus>,
    pub store: Arc<dyn Store>,
}

/// Those of one process.
pub(super) fn embedded() -> Parts {
    let retention = Retention { records: 1 << 20, bytes: 1 << 30 };
    let config = MemoryBusConfig { partitions: 12, retention, ..MemoryBusConfig::default() };
    Parts { bus: Arc::new(MemoryBus::new(config)), store: Arc::new(MemoryStore::new()) }
}

/// A Kafka and a Redis, with topics and keys of one measurement's own.
pub(super) struct Services {
    pub kafka: KafkaConfig,
    pub redis: RedisConfig,
    bus: Arc<KafkaBus>,
    store: Arc<RedisStore>,
}

impl Services {
    pub async fn connect(kafka: &KafkaConfig, redis: &RedisConfig, name: &str) -> anyhow::Result<Self> {
        let run = format!("bench-{name}-{}", std::process::id());
        let mut kafka = kafka.clone();
        kafka.topics =
            Topic::ALL.into_iter().map(|topic| (topic, format!("{run}-{}", topic.default_name()))).collect();
        let redis = RedisConfig { prefix: run, ..redis.clone() };
        let bus = Arc::new(KafkaBus::new(kafka.clone())?);
        bus.create_topics().await.context("making topics")?;
        let store = Arc::new(RedisStore::new(redis.clone())?);
        store.check().await.context("asking Redis")?;
        Ok(Self { kafka, redis, bus, store })
    }

    pub fn parts(&self) -> Parts {
        Parts { bus: self.bus.clone(), store: self.store.clone() }
    }
}

pub(super) fn id(number: usize) -> anyhow::Result<WorkloadId> {
    Ok(WorkloadId::new("bench", "Deployment", &format!("w-{number}"))?)
}

pub(super) fn specs(count: usize, model: &str) -> anyhow::Result<Vec<WorkloadSpec>> {
    (0..count)
        .map(|number| {
            let mut spec = WorkloadSpec::new(&id(number)?, 1, 100);
            spec.forecast.model = model.into();
            spec.startup_seconds = 30.0;
            Ok(spec)
        })
        .collect()
}

pub(super) fn workloads(count: usize, model: &str) -> anyhow::Result<Workloads> {
    let all: Result<Vec<Workload>, _> = specs(count, model)?.into_iter().map(Workload::new).collect();
    Ok(Workloads::new(all?))
}

/// Demand of a workload at a step: a wave of its own, with something that looks like noise.
pub(super) fn demand(number: usize, at: Timestamp) -> f64 {
    let minutes = at.millis() as f64 / 60_000.0 + number as f64;
    let noise = ((at.millis() / 1000).wrapping_mul(7919).wrapping_add(number as i64 * 104_729) % 1000) as f64
        / 1000.0;
    8.0 + 4.0 * (minutes / 30.0).sin() + noise
}

pub(super) fn sample(number: usize, at: Timestamp) -> anyhow::Result<Sample> {
    Ok(Sample {
        workload: id(number)?,
        at,
        demand: Some(demand(number, at)),
        capacity_per_pod: Some(1.0),
        replicas: Some(12),
        ready: Some(12),
        censored: false,
        memory_bytes: Some(1 << 30),
        source: "bench".into(),
    })
}

/// A metric source that always knows the demand above.
pub(super) struct Known;

fn number_of(workload: &Workload) -> usize {
    workload.id.name().trim_start_matches("w-").parse().unwrap_or(0)
}

#[async_trait]
impl MetricSource for Known {
    fn name(&self) -> &'static str {
        "bench"
    }

    async fn samples(&self, workloads: &[Arc<Workload>], at: Timestamp) -> Vec<Result<Sample, SourceError>> {
        let unknown =
            |error: anyhow::Error| SourceError::NoData { source_name: "bench", detail: error.to_string() };
        workloads.iter().map(|w| sample(number_of(w), at).map_err(unknown)).collect()
    }

    async fn live(&self, workloads: &[Arc<Workload>], at: Timestamp) -> Vec<Result<Live, SourceError>> {
        let samples = self.samples(workloads, at).await;
        let live = |sample| Live {
            sample,
            pods: Vec::new(),
            readings: vec![LiveReading::Unavailable(MetricError::NoMetrics)],
            utilization: None,
            mean_ready: Some(12.0),
            violated_share: None,
            problems: Problems::default(),
        };
        samples.into_iter().map(|sample| sample.map(live)).collect()
    }

    async fn history(
        &self,
        workloads: &[Arc<Workload>],
        from: Timestamp,
        to: Timestamp,
        step: Duration,
    ) -> Vec<Result<History, SourceError>> {
        let steps = (to.since(from).as_millis() / step.as_millis().max(1)) as u32;
        let history = |w: &Arc<Workload>| {
            let number = number_of(w);
            let at = |k| from + step * k;
            Ok((1..=steps).map(|k| (at(k), Some(demand(number, at(k))))).collect())
        };
        workloads.iter().map(history).collect()
    }

    async fn check(&self) -> Result<(), SourceError> {
        Ok(())
    }
}

/// Processor time used by this process so far, seconds.
pub(super) fn cpu_s() -> anyhow::Result<f64> {
    process::cpu_s_of(None).context("/proc can not be read: processor time is measured on Linux only")
}
