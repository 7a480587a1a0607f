//! What can be configured?
//!
//! The types of the configuration file. Every key has a default; unknown keys are refused.

use super::operator::OperatorConfig;
use super::span::Span;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use sphere_kafka::KafkaConfig;
use sphere_kubernetes::config::KubernetesConfig;
use sphere_pipeline::autoscale::AutoscaleSettings;
use sphere_pipeline::cache::CacheSettings;
use sphere_pipeline::collect::CollectSettings;
use sphere_pipeline::forecast::ForecastSettings;
use sphere_pipeline::workload::WorkloadSpec;
use sphere_prometheus::PrometheusConfig;
use sphere_redis::RedisConfig;
use sphere_scaling::hpa::HpaConfig;
use sphere_scaling::safety::ChangeLimit;
use sphere_simcluster::SimulatedClusterConfig;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

/// How time passes.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub struct ClockConfig {
    /// How much faster than real time the pipeline's clock runs; 1 is the time of day. 1..=10000
    pub speed: f64,
    /// What the clock shows at `startedAt`, RFC 3339. Absent: `startedAt`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub origin: Option<String>,
    /// Real instant at which the clock showed `origin`, RFC 3339. Processes that share a clock state the same
    /// one; with it the clock goes on after a restart. Absent: the start of the process.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub started_at: Option<String>,
}

impl Default for ClockConfig {
    fn default() -> Self {
        Self { speed: 1.0, origin: None, started_at: None }
    }
}

/// How records get from stage to stage.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub enum BusConfig {
    /// In the memory of one process, for `sphere run`.
    #[default]
    Embedded,
    /// Apache Kafka, for stages in processes of their own.
    Kafka(Box<KafkaConfig>),
}

/// A store in one file.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct FileStoreConfig {
    /// The file; its folder is made. Relative to where the process runs.
    pub path: PathBuf,
}

/// Where the newest of everything and the state of models are kept.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub enum StoreConfig {
    /// In memory: gone with the process.
    Memory,
    /// In one file, safe against a crash and a power cut; for one process.
    File(FileStoreConfig),
    /// Redis or Redis Cluster, for stages in processes of their own.
    Redis(Box<RedisConfig>),
}

/// Where measurements come from.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub enum SourceConfig {
    /// The cluster of the section `simulatedCluster`, in this process.
    SimulatedCluster,
    /// Prometheus, or what speaks its HTTP API.
    Prometheus(Box<PrometheusConfig>),
    /// The metrics APIs of the Kubernetes cluster, for `sphere operator`. There it is the default, and with `prometheus` it
    /// still answers for all that Prometheus is not asked about.
    Kubernetes,
}

/// A simulated cluster in another process (`sphere cluster`).
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct RemoteClusterConfig {
    /// Its address: `http://127.0.0.1:9797`.
    pub url: String,
    /// Longest time for one call.
    #[serde(default = "five_seconds")]
    pub timeout: Span,
}

fn five_seconds() -> Span {
    Span::secs(5)
}

/// What is scaled.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub enum TargetConfig {
    /// Nothing: decisions are published only.
    #[default]
    None,
    /// The cluster of the section `simulatedCluster`, in this process.
    SimulatedCluster,
    /// A simulated cluster in another process.
    RemoteCluster(RemoteClusterConfig),
}

/// The collect stage.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub struct CollectConfig {
    /// Time after the end of a step at which it is asked for; scrapes need a moment.
    pub delay: Span,
    /// Steps filled from the source's history after an interruption, at most.
    pub fill_steps: u32,
}

impl Default for CollectConfig {
    fn default() -> Self {
        let settings = CollectSettings::default();
        Self { delay: Span(settings.delay), fill_steps: settings.fill_steps }
    }
}

/// The forecast stage.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub struct ForecastConfig {
    /// Worker threads; absent: one per processor.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub workers: Option<usize>,
    /// Time over which one saving of all model state is spread.
    pub checkpoint: Span,
    /// History asked of the source for a workload without state; `0s`: none.
    pub backfill: Span,
    /// Longest time a backfill may take before models start without one.
    pub backfill_timeout: Span,
    /// Most records taken at once.
    pub max_records: usize,
    /// Consumer group; all forecast processes share one.
    pub group: String,
}

impl Default for ForecastConfig {
    fn default() -> Self {
        let settings = ForecastSettings::default();
        Self {
            workers: None,
            checkpoint: Span(settings.checkpoint),
            backfill: Span(settings.backfill),
            backfill_timeout: Span(settings.backfill_timeout),
            max_records: settings.max_records,
            group: settings.group,
        }
    }
}

/// The cache stage.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub struct CacheConfig {
    /// Consumer group; all cache processes share one.
    pub group: String,
    /// Most records taken at once.
    pub max_records: usize,
}

impl Default for CacheConfig {
    fn default() -> Self {
        let settings = CacheSettings::default();
        Self { group: settings.group, max_records: settings.max_records }
    }
}

/// The autoscale stage. One process of it may run.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub struct AutoscaleConfig {
    /// Time from one look at everything to the next.
    pub sync: Span,
    /// Time after a multiple of `sync` at which it happens; metrics need a moment.
    pub delay: Span,
    /// From a scrape to the decision on it, part of the lead time; the forecaster plans with it, too.
    pub decision_delay: Span,
    /// Live metrics older than this are missing.
    pub live_valid: Span,
    /// Flags of the cluster's HPA controller.
    pub hpa: HpaConfig,
    /// Most replicas that all workloads together may change in a time; absent: no limit.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub change_limit: Option<ChangeLimit>,
    /// Decisions kept per workload.
    pub decisions_kept: usize,
}

impl Default for AutoscaleConfig {
    fn default() -> Self {
        let settings = AutoscaleSettings::default();
        Self {
            sync: Span(settings.sync),
            delay: Span(settings.delay),
            decision_delay: Span(settings.decision_delay),
            live_valid: Span(settings.live_valid),
            hpa: settings.hpa,
            change_limit: settings.change_limit,
            decisions_kept: settings.decisions_kept,
        }
    }
}

/// How logs look.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema, clap::ValueEnum)]
#[serde(rename_all = "camelCase")]
pub enum LogFormat {
    /// A line per event, for people.
    #[default]
    Text,
    /// A JSON object per event.
    Json,
}

/// Logs, on stderr.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub struct LogConfig {
    /// `text` or `json`.
    pub format: LogFormat,
    /// error, warn, info, debug, trace, or per part: `info,sphere_kafka=debug`.
    pub level: String,
}

impl Default for LogConfig {
    fn default() -> Self {
        Self { format: LogFormat::Text, level: "info".into() }
    }
}

/// The configuration file without its workloads.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub struct Config {
    /// Width of a step: one sample and one forecast per workload and step.
    pub step: Span,
    /// How time passes.
    pub clock: ClockConfig,
    /// How records get from stage to stage.
    pub bus: BusConfig,
    /// Where the newest of everything is kept. Absent: the file `sphere-data/state.redb`; in memory where the clock
    /// starts anew with every process, so that there is nothing to come back to.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub store: Option<StoreConfig>,
    /// Where measurements come from. Absent: the simulated cluster.
    pub source: SourceConfig,
    /// What is scaled.
    pub target: TargetConfig,
    /// The simulated cluster, for who names it as source or target, and for `sphere cluster`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub simulated_cluster: Option<SimulatedClusterConfig>,
    /// The collect stage.
    pub collect: CollectConfig,
    /// The forecast stage.
    pub forecast: ForecastConfig,
    /// The cache stage.
    pub cache: CacheConfig,
    /// The autoscale stage.
    pub autoscale: AutoscaleConfig,
    /// The Kubernetes API, for `sphere operator`.
    pub kubernetes: KubernetesConfig,
    /// `sphere operator`.
    pub operator: OperatorConfig,
    /// Address of /metrics, /healthz and /readyz.
    #[schemars(with = "String")]
    pub listen: SocketAddr,
    /// TLS for that address. Absent: plain HTTP.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub listen_tls: Option<ListenTls>,
    /// File with a token that whoever reads /metrics must present (`Authorization: Bearer …`). Absent: nobody is asked.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub metrics_token_file: Option<PathBuf>,
    /// Logs.
    pub log: LogConfig,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            step: Span::secs(10),
            clock: ClockConfig::default(),
            bus: BusConfig::default(),
            store: None,
            source: SourceConfig::SimulatedCluster,
            target: TargetConfig::default(),
            simulated_cluster: None,
            collect: CollectConfig::default(),
            forecast: ForecastConfig::default(),
            cache: CacheConfig::default(),
            autoscale: AutoscaleConfig::default(),
            kubernetes: KubernetesConfig::default(),
            operator: OperatorConfig::default(),
            listen: SocketAddr::from(([127, 0, 0, 1], 9464)),
            listen_tls: None,
            metrics_token_file: None,
            log: LogConfig::default(),
        }
    }
}

/// Who we are to those who read /metrics.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct ListenTls {
    /// Certificate (PEM), with those between it and its authority. Read again when the file changes.
    pub cert_file: PathBuf,
    /// Its private key (PEM).
    pub key_file: PathBuf,
}

/// The whole configuration file.
#[derive(Clone, Debug, Default, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
#[schemars(deny_unknown_fields)]
pub struct ConfigFile {
    /// All but workloads.
    #[serde(flatten)]
    pub config: Config,
    /// What holds for every workload that does not say otherwise: any keys of a workload, each replaced as a whole.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub workload_defaults: Option<serde_json::Map<String, serde_json::Value>>,
    /// The workloads. Absent, with a simulated cluster: all of that, with `workloadDefaults`.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    #[schemars(default)]
    pub workloads: Vec<WorkloadSpec>,
    /// Another file with a list of workloads, relative to this one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub workloads_file: Option<PathBuf>,
}

impl Config {
    /// The store in force.
    pub fn store(&self) -> StoreConfig {
        match &self.store {
            Some(store) => store.clone(),
            None if self.clock_starts_anew() => StoreConfig::Memory,
            None => StoreConfig::File(FileStoreConfig { path: "sphere-data/state.redb".into() }),
        }
    }

    /// Does every process have a time of its own?
    pub fn clock_starts_anew(&self) -> bool {
        (self.clock.speed != 1.0 || self.clock.origin.is_some()) && self.clock.started_at.is_none()
    }

    /// Is the simulated cluster needed in a process that measures or scales?
    pub fn simulates(&self) -> bool {
        self.source == SourceConfig::SimulatedCluster || self.target == TargetConfig::SimulatedCluster
    }

    /// For the forecast stage.
    pub fn forecast_settings(&self) -> ForecastSettings {
        let defaults = ForecastSettings::default();
        ForecastSettings {
            step: self.step.0,
            decision_delay: self.autoscale.decision_delay.0,
            checkpoint: self.forecast.checkpoint.0,
            backfill: self.forecast.backfill.0,
            backfill_timeout: self.forecast.backfill_timeout.0,
            valid_steps: defaults.valid_steps,
            workers: self.forecast.workers.unwrap_or(defaults.workers),
            max_records: self.forecast.max_records,
            group: self.forecast.group.clone(),
        }
    }

    /// For the cache stage.
    pub fn cache_settings(&self) -> CacheSettings {
        CacheSettings { group: self.cache.group.clone(), max_records: self.cache.max_records }
    }

    /// For the autoscale stage.
    pub fn autoscale_settings(&self) -> AutoscaleSettings {
        let autoscale = &self.autoscale;
        AutoscaleSettings {
            sync: autoscale.sync.0,
            delay: autoscale.delay.0,
            decision_delay: autoscale.decision_delay.0,
            live_valid: autoscale.live_valid.0,
            hpa: autoscale.hpa.clone(),
            change_limit: autoscale.change_limit,
            decisions_kept: autoscale.decisions_kept,
        }
    }

    /// Everything that can not be meant, as (key, what).
    pub fn problems(&self) -> Vec<(String, String)> {
        let mut found: Vec<(String, String)> = Vec::new();
        let mut problem = |key: &str, text: String| found.push((key.into(), text));
        let day = Duration::from_secs(86_400);
        for (key, span, least, most) in [
            ("step", self.step, Duration::from_secs(1), Duration::from_secs(3600)),
            ("collect.delay", self.collect.delay, Duration::ZERO, self.step.0),
            ("forecast.checkpoint", self.forecast.checkpoint, Duration::from_secs(1), day),
            ("forecast.backfill", self.forecast.backfill, Duration::ZERO, day * 60),
            ("forecast.backfillTimeout", self.forecast.backfill_timeout, Duration::from_millis(100), day),
            ("autoscale.sync", self.autoscale.sync, Duration::from_secs(1), Duration::from_secs(3600)),
            ("autoscale.delay", self.autoscale.delay, Duration::ZERO, self.autoscale.sync.0),
            ("autoscale.decisionDelay", self.autoscale.decision_delay, Duration::ZERO, day),
            ("autoscale.liveValid", self.autoscale.live_valid, Duration::from_secs(1), day),
        ] {
            if !(least..=most).contains(&span.0) {
                problem(key, format!("{span} given, {} to {} expected", Span(least), Span(most)));
            }
        }
        for (key, count, most) in [
            ("forecast.workers", self.forecast.workers.unwrap_or(1), 1024),
            ("forecast.maxRecords", self.forecast.max_records, 100_000),
            ("cache.maxRecords", self.cache.max_records, 100_000),
            ("autoscale.decisionsKept", self.autoscale.decisions_kept, 1_000_000),
        ] {
            if !(1..=most).contains(&count) {
                problem(key, format!("{count} given, 1..={most} expected"));
            }
        }
        for (key, group) in [("forecast.group", &self.forecast.group), ("cache.group", &self.cache.group)] {
            if group.is_empty() {
                problem(key, "empty; the name of a consumer group is expected".into());
            }
        }
        if self.forecast.group == self.cache.group {
            problem("cache.group", "the same as forecast.group; each needs a group of its own".into());
        }
        if !(1.0..=10_000.0).contains(&self.clock.speed) {
            problem("clock.speed", format!("{} given, 1..=10000 expected", self.clock.speed));
        }
        for (key, instant) in
            [("clock.origin", &self.clock.origin), ("clock.startedAt", &self.clock.started_at)]
        {
            if let Some(Err(error)) = instant.as_ref().map(|text| text.parse::<jiff::Timestamp>()) {
                problem(key, format!("{error}; an instant such as 2026-01-05T00:00:00Z is expected"));
            }
        }
        let shared = matches!(self.bus, BusConfig::Kafka(_)) || matches!(self.store(), StoreConfig::Redis(_));
        if self.clock_starts_anew() && (shared || matches!(self.store(), StoreConfig::File(_))) {
            problem(
                "clock.startedAt",
                "absent; a clock that starts anew with every process can not be used with what outlives the process (bus.kafka, store.file, store.redis)".into(),
            );
        }
        if let Err(error) = tracing_subscriber::EnvFilter::try_new(&self.log.level) {
            problem("log.level", format!("{error}; error, warn, info, debug or trace is expected"));
        }
        if let BusConfig::Kafka(kafka) = &self.bus {
            kafka.problems().into_iter().for_each(|p| problem(&format!("bus.kafka.{}", p.key), p.problem));
        }
        if let StoreConfig::Redis(redis) = &self.store() {
            redis.problems().into_iter().for_each(|(key, text)| problem(&format!("store.redis.{key}"), text));
        }
        if let SourceConfig::Prometheus(source) = &self.source {
            source
                .problems()
                .into_iter()
                .for_each(|p| problem(&format!("source.prometheus.{}", p.key), p.problem));
        }
        for found in self.kubernetes.problems() {
            problem(&format!("kubernetes.{}", found.key), found.problem);
        }
        for (key, text) in self.operator.problems() {
            problem(&format!("operator.{key}"), text);
        }
        if let Some(cluster) = &self.simulated_cluster {
            cluster
                .problems()
                .into_iter()
                .for_each(|p| problem(&format!("simulatedCluster.{}", p.key), p.problem));
            let scrape = Duration::from_secs(cluster.scrape_seconds.into());
            if self.source == SourceConfig::SimulatedCluster && scrape != self.step.0 {
                problem(
                    "simulatedCluster.scrapeSeconds",
                    format!(
                        "{} given; the step is {}, and both must be the same",
                        cluster.scrape_seconds, self.step
                    ),
                );
            }
        } else if self.simulates() {
            problem("simulatedCluster", "absent, though source or target is simulatedCluster".into());
        }
        if let TargetConfig::RemoteCluster(remote) = &self.target
            && let Err(error) = sphere_simcluster::RemoteCluster::new(&remote.url, remote.timeout.0)
        {
            problem("target.remoteCluster.url", error.to_string());
        }
        found
    }
}
