//! Which bus, store, source, target and clock does the configuration ask for?

use crate::config::{BusConfig, ClockConfig, Config, Loaded, SourceConfig, StoreConfig, TargetConfig};
use sphere_core::Timestamp;
use sphere_kafka::KafkaBus;
use sphere_kubernetes::operator::{Counters, Operator};
use sphere_pipeline::embedded::{FileStore, MemoryBus, MemoryBusConfig, MemoryStore};
use sphere_pipeline::metrics::Metrics;
use sphere_pipeline::workload::Workloads;
use sphere_pipeline::{Bus, BusError, Clock, MetricSource, NoTarget, ScaleTarget, Store, StoreError};
use sphere_prometheus::Prometheus;
use sphere_redis::RedisStore;
use sphere_sim::Profile;
use sphere_simcluster::{RemoteCluster, SimulatedCluster, TraceDemand};
use sphere_trace::{ReadOptions, TraceError, read_file};
use std::sync::Arc;
use tokio::sync::watch;

/// What stages work with.
#[derive(Clone)]
pub struct Parts {
    /// The bus.
    pub bus: Arc<dyn Bus>,
    /// The store.
    pub store: Arc<dyn Store>,
    /// The metric source; `None` where no stage of this process asks it.
    pub source: Option<Arc<dyn MetricSource>>,
    /// The scale target.
    pub target: Arc<dyn ScaleTarget>,
    /// The simulated cluster, if it is in this process.
    pub cluster: Option<SimulatedCluster>,
    /// The time.
    pub clock: Clock,
    /// The workloads.
    pub workloads: watch::Receiver<Arc<Workloads>>,
    /// Who looks after the objects behind the workloads; `None`: they are from a list.
    pub operator: Option<Operator>,
    /// What the operator counts.
    pub counters: Option<Arc<Counters>>,
    /// What is counted.
    pub metrics: Arc<Metrics>,
}

/// Why they can not be made.
#[derive(Debug, thiserror::Error)]
pub enum PartsError {
    /// The bus.
    #[error(transparent)]
    Bus(#[from] BusError),
    /// The store.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// The source.
    #[error("metric source: {0}")]
    Source(String),
    /// The target.
    #[error("scale target: {0}")]
    Target(String),
    /// The simulated cluster.
    #[error(transparent)]
    Cluster(#[from] sphere_simcluster::BuildError),
}

fn instant(text: Option<&String>) -> Option<Timestamp> {
    text?.parse::<jiff::Timestamp>().ok().map(|at| Timestamp(at.as_millisecond()))
}

/// The clock of a checked configuration, and what turns a real instant into one of its own.
pub fn clock(config: &ClockConfig) -> (Clock, impl Fn(Timestamp) -> Timestamp + use<>) {
    let real = instant(config.started_at.as_ref()).unwrap_or_else(|| Clock::system().now());
    let origin = instant(config.origin.as_ref()).unwrap_or(real);
    let speed = config.speed;
    let clock = if speed == 1.0 && origin == real {
        Clock::system()
    } else {
        Clock::accelerated(real, origin, speed)
    };
    let translate = move |at: Timestamp| {
        let passed_ms = (at.millis() - real.millis()) as f64 * speed;
        Timestamp(origin.millis().saturating_add(passed_ms as i64))
    };
    (clock, translate)
}

/// The bus alone.
pub fn bus(config: &Config, clock: &Clock) -> Result<Arc<dyn Bus>, BusError> {
    Ok(match &config.bus {
        BusConfig::Embedded => {
            Arc::new(MemoryBus::new(MemoryBusConfig { clock: clock.clone(), ..MemoryBusConfig::default() }))
        }
        BusConfig::Kafka(kafka) => Arc::new(KafkaBus::new(kafka.as_ref().clone())?),
    })
}

/// The store alone.
pub async fn store(config: &Config) -> Result<Arc<dyn Store>, StoreError> {
    Ok(match config.store() {
        StoreConfig::Memory => Arc::new(MemoryStore::new()),
        StoreConfig::File(file) => Arc::new(FileStore::open(file.path).await?),
        StoreConfig::Redis(redis) => Arc::new(RedisStore::new(*redis)?),
    })
}

/// The simulated cluster alone; `None`: there is no such section.
pub fn cluster(config: &Config, clock: &Clock) -> Result<Option<SimulatedCluster>, PartsError> {
    let build = |section| SimulatedCluster::new(section, clock.clone(), trace);
    Ok(config.simulated_cluster.as_ref().map(build).transpose()?)
}

fn trace(demand: &TraceDemand) -> Result<Profile, TraceError> {
    let trace = read_file(&demand.path, &ReadOptions::default())?.trace;
    Ok(Profile { start: trace.start, step: trace.step, rates_rps: trace.rates_per_s(1.0) })
}

/// Everything. `together`: all stages are in this process, so that the simulated cluster may be, too.
pub async fn build(loaded: &Loaded, together: bool) -> Result<Parts, PartsError> {
    let config = &loaded.config;
    let (clock, _) = clock(&config.clock);
    let cluster = if together && config.simulates() { cluster(config, &clock)? } else { None };
    let source: Option<Arc<dyn MetricSource>> = match &config.source {
        SourceConfig::SimulatedCluster => cluster.clone().map(|cluster| Arc::new(cluster) as _),
        SourceConfig::Prometheus(prometheus) => {
            let source = Prometheus::new(prometheus.as_ref().clone());
            Some(Arc::new(source.map_err(|error| PartsError::Source(error.to_string()))?))
        }
        // Refused when the configuration was read.
        SourceConfig::Kubernetes => None,
    };
    let target: Arc<dyn ScaleTarget> = match (&config.target, &cluster) {
        (TargetConfig::SimulatedCluster, Some(cluster)) => Arc::new(cluster.clone()),
        (TargetConfig::None | TargetConfig::SimulatedCluster, _) => Arc::new(NoTarget),
        (TargetConfig::RemoteCluster(remote), _) => {
            let cluster = RemoteCluster::new(&remote.url, remote.timeout.0);
            Arc::new(cluster.map_err(|error| PartsError::Target(error.to_string()))?)
        }
    };
    Ok(Parts {
        bus: bus(config, &clock)?,
        store: store(config).await?,
        source,
        target,
        cluster,
        clock,
        workloads: loaded.workloads.clone().fixed(),
        operator: None,
        counters: None,
        metrics: Arc::new(Metrics::new()),
    })
}
