//! `sphere run`, `collect`, `forecast`, `cache`, `autoscale`: the pipeline as a service.

use super::{CliError, Output, colour, print, print_json};
use clap::Args;
use serde_json::json;
use sphere::config::{
    self, BusConfig, Loaded, LogFormat, SourceConfig, Span, StoreConfig, TargetConfig, Use,
};
use sphere::service::parts::{self, Parts, PartsError};
use sphere::service::summary::Summary;
use sphere::service::supervise::{self, Plan};
use sphere::service::{live, logging};
use sphere_pipeline::BusError;
use sphere_pipeline::StoreError;
use sphere_pipeline::collect::Shard;
use sphere_pipeline::metrics::Stage;
use std::io::IsTerminal;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};
use tokio_util::sync::CancellationToken;

/// All stages, in the order of the flow.
pub const ALL: [Stage; 4] = [Stage::Collect, Stage::Forecast, Stage::Cache, Stage::Autoscale];

/// What all commands that need a configuration share.
#[derive(Clone, Debug, Args)]
pub struct ConfigArgs {
    /// The configuration file
    #[arg(long, value_name = "FILE", env = "SPHERE_CONFIG")]
    pub config: Option<PathBuf>,
    /// What is logged: error, warn, info, debug, or per part: info,sphere_kafka=debug [default: as in the file, info]
    #[arg(long, value_name = "LEVEL", env = "SPHERE_LOG_LEVEL")]
    pub log_level: Option<String>,
    /// How logs look [default: as in the file, text]
    #[arg(long, value_name = "FORMAT", env = "SPHERE_LOG_FORMAT", value_enum)]
    pub log_format: Option<LogFormat>,
}

/// What all services share.
#[derive(Clone, Debug, Args)]
pub struct ServiceArgs {
    #[command(flatten)]
    pub config: ConfigArgs,
    /// Address of /metrics, /healthz and /readyz [default: as in the file, 127.0.0.1:9464]
    #[arg(long, value_name = "ADDRESS", env = "SPHERE_LISTEN")]
    pub listen: Option<SocketAddr>,
    /// Stop after this time on the pipeline's clock (an accelerated one runs faster)
    #[arg(long = "for", value_name = "DURATION", value_parser = humantime::parse_duration)]
    pub limit: Option<Duration>,
    /// Read the configuration, say what would run, and stop
    #[arg(long)]
    pub check: bool,
    /// How the summary at the end is printed
    #[arg(long, value_enum, default_value_t = Output::Table)]
    pub output: Output,
}

/// Run the whole pipeline in one process: measure, forecast, decide, scale.
///
/// Without --config a simulated cluster with generated traffic is scaled, sixty times faster than real time. On a
/// terminal a live table shows demand, forecast and decisions.
///
/// Stops on SIGTERM, SIGINT or after --for: every stage saves what it knows, then a summary is printed. Exit code 0:
/// stopped so; 1: a stage failed; 2: the configuration can not be used (all problems are told at once).
#[derive(Debug, Args)]
#[command(after_help = "Examples:
  sphere run
  sphere run --for 1d --output json
  sphere run --check --config sphere.yaml
  SPHERE_LISTEN=0.0.0.0:9464 sphere run --config sphere.yaml --log-format json")]
pub struct RunArgs {
    #[command(flatten)]
    service: ServiceArgs,
    /// Log lines instead of the live table
    #[arg(long)]
    no_table: bool,
}

/// Run the collect stage: once per step ask the metric source, publish one sample per workload.
///
/// Several processes share the workloads by --shard. Needs `bus: {kafka: ...}` and `store: {redis: ...}`.
#[derive(Debug, Args)]
#[command(after_help = "Examples:
  sphere collect --config sphere.yaml
  sphere collect --config sphere.yaml --shard 0/3
  SPHERE_SHARD=1/3 sphere collect --config sphere.yaml")]
pub struct CollectArgs {
    #[command(flatten)]
    service: ServiceArgs,
    /// Which share of the workloads: number (from 0) / how many
    #[arg(long, value_name = "I/N", env = "SPHERE_SHARD", value_parser = shard, default_value = "0/1")]
    shard: Shard,
}

/// Run the forecast stage: learn from samples, publish forecasts, keep model state.
///
/// As many processes as there are partitions can share the work. Needs `bus: {kafka: ...}` and
/// `store: {redis: ...}`.
#[derive(Debug, Args)]
#[command(after_help = "Example:\n  sphere forecast --config sphere.yaml --listen 127.0.0.1:0")]
pub struct ForecastArgs {
    #[command(flatten)]
    service: ServiceArgs,
}

/// Run the cache stage: keep the newest forecast and sample of every workload in the store.
///
/// Needs `bus: {kafka: ...}` and `store: {redis: ...}`.
#[derive(Debug, Args)]
#[command(after_help = "Example:\n  sphere cache --config sphere.yaml")]
pub struct CacheArgs {
    #[command(flatten)]
    service: ServiceArgs,
}

/// Run the autoscale stage: read metrics and forecasts, decide, scale. One process of it may run.
///
/// Needs `bus: {kafka: ...}` and `store: {redis: ...}`.
#[derive(Debug, Args)]
#[command(after_help = "Example:\n  sphere autoscale --config sphere.yaml")]
pub struct AutoscaleArgs {
    #[command(flatten)]
    service: ServiceArgs,
}

fn shard(text: &str) -> Result<Shard, String> {
    let parsed = text.split_once('/').and_then(|(number, of)| {
        Some(Shard { number: number.trim().parse().ok()?, of: of.trim().parse().ok()? })
    });
    match parsed {
        Some(shard) if shard.number < shard.of => Ok(shard),
        _ => Err("number/count is expected, the number from 0: 0/3, 1/3 or 2/3".into()),
    }
}

/// All stages.
pub fn run(args: &RunArgs) -> Result<(), CliError> {
    let terminal = std::io::stderr().is_terminal() && std::io::stdout().is_terminal();
    let table = terminal && !args.no_table && args.service.output == Output::Table;
    service(&args.service, &ALL, Shard { number: 0, of: 1 }, table)
}

/// One stage.
pub fn collect(args: &CollectArgs) -> Result<(), CliError> {
    service(&args.service, &[Stage::Collect], args.shard, false)
}

/// One stage.
pub fn forecast(args: &ForecastArgs) -> Result<(), CliError> {
    service(&args.service, &[Stage::Forecast], Shard { number: 0, of: 1 }, false)
}

/// One stage.
pub fn cache(args: &CacheArgs) -> Result<(), CliError> {
    service(&args.service, &[Stage::Cache], Shard { number: 0, of: 1 }, false)
}

/// One stage.
pub fn autoscale(args: &AutoscaleArgs) -> Result<(), CliError> {
    service(&args.service, &[Stage::Autoscale], Shard { number: 0, of: 1 }, false)
}

impl ConfigArgs {
    /// The file, or the built-in configuration, with what flags and environment say instead.
    pub fn load(&self) -> Result<Loaded, CliError> {
        self.load_for(Use::Pipeline)
    }

    /// The same for a purpose; the operator needs no file.
    pub fn load_for(&self, purpose: Use) -> Result<Loaded, CliError> {
        let built_in = match purpose {
            Use::Pipeline => config::built_in(),
            Use::Operator => "",
        };
        let loaded = match &self.config {
            Some(path) => config::load_for(path, purpose),
            None => config::load_text_for("(built in)", built_in, Path::new(""), purpose),
        };
        let mut loaded = loaded.map_err(CliError::Input)?;
        let log = &mut loaded.config.log;
        if let Some(level) = &self.log_level {
            log.level.clone_from(level);
        }
        if let Some(format) = self.log_format {
            log.format = format;
        }
        Ok(loaded)
    }
}

/// A runtime for as long as `future` takes.
pub fn block_on<T>(future: impl Future<Output = T>) -> Result<T, CliError> {
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build();
    let runtime = runtime.map_err(|error| CliError::Failed(error.into()))?;
    let result = runtime.block_on(future);
    // What blocks a thread for longer does not hold up the end.
    runtime.shutdown_timeout(Duration::from_secs(2));
    Ok(result)
}

/// What is refused for good is a matter of configuration.
pub fn parts_error(error: PartsError) -> CliError {
    let transient = match &error {
        PartsError::Bus(error) => error.is_transient(),
        PartsError::Store(error) => error.is_transient(),
        PartsError::Source(_) | PartsError::Target(_) | PartsError::Cluster(_) => false,
    };
    if transient { CliError::Failed(error.into()) } else { CliError::input(error) }
}

/// See [`parts_error`].
pub fn bus_error(error: BusError) -> CliError {
    parts_error(error.into())
}

/// See [`parts_error`].
pub fn store_error(error: StoreError) -> CliError {
    parts_error(error.into())
}

/// What stages in processes of their own can not do without.
fn shareable(loaded: &Loaded, stage: Stage) -> Result<(), CliError> {
    let config = &loaded.config;
    let mut problems: Vec<String> = Vec::new();
    if config.bus == BusConfig::Embedded {
        problems
            .push("bus: embedded lives in one process and can not be shared; use bus: {kafka: {...}}".into());
    }
    if !matches!(config.store(), StoreConfig::Redis(_)) {
        problems.push("store: memory and file are of one process; use store: {redis: {...}}".into());
    }
    let asks = matches!(stage, Stage::Collect | Stage::Autoscale);
    if asks && config.source == SourceConfig::SimulatedCluster {
        problems.push(
            "source: simulatedCluster would be another cluster in every process; serve one with `sphere cluster`, \
             scrape it with Prometheus, and use source: {prometheus: {...}}"
                .into(),
        );
    }
    if stage == Stage::Autoscale && config.target == TargetConfig::SimulatedCluster {
        problems.push(
            "target: simulatedCluster would be another cluster in every process; serve one with `sphere cluster` \
             and use target: {remoteCluster: {url: ...}}"
                .into(),
        );
    }
    match problems.is_empty() {
        true => Ok(()),
        false => Err(CliError::Input(format!(
            "sphere {} can not run alone with this configuration; `sphere run` runs all stages in one process\n  {}",
            stage.name(),
            problems.join("\n  ")
        ))),
    }
}

fn service(args: &ServiceArgs, stages: &[Stage], shard: Shard, table: bool) -> Result<(), CliError> {
    let mut loaded = args.config.load()?;
    if let Some(listen) = args.listen {
        loaded.config.listen = listen;
    }
    if let [stage] = stages {
        shareable(&loaded, *stage)?;
    }
    let plan = Plan { stages: stages.to_vec(), shard, limit: args.limit };
    if args.check {
        return check(&loaded, &plan, args.output);
    }
    let bar = table.then(live::table);
    if table && args.config.log_level.is_none() && loaded.config.log.level == "info" {
        // The table tells the rest.
        loaded.config.log.level = "warn".into();
    }
    logging::start(&loaded.config.log, bar.clone()).map_err(CliError::Input)?;
    let (parts, ended, ran, passed) = block_on(async {
        let parts = parts::build(&loaded, stages.len() > 1).await.map_err(parts_error)?;
        let stop = CancellationToken::new();
        supervise::stop_on_signals(stop.clone()).map_err(|error| CliError::Failed(error.into()))?;
        let drawn = bar.map(|bar| tokio::spawn(live::draw(parts.clone(), bar, colour(), stop.child_token())));
        let (started, began) = (Instant::now(), parts.clock.now());
        let ended = supervise::run(&parts, &loaded.config, &plan, stop.clone()).await;
        stop.cancel();
        if let Some(drawn) = drawn {
            let _ = drawn.await;
        }
        let passed = parts.clock.now().since(began);
        Ok::<_, CliError>((parts, ended, started.elapsed(), passed))
    })??;
    report(&parts, ran, passed, args.output)?;
    ended.map_err(|error| CliError::Failed(error.into()))
}

pub fn report(parts: &Parts, ran: Duration, passed: Duration, output: Output) -> Result<(), CliError> {
    let scores = parts.cluster.as_ref().map(|cluster| cluster.scores()).unwrap_or_default();
    let summary = Summary::of(&parts.metrics, ran, passed, scores);
    match output {
        Output::Table => print(&summary.table(colour())),
        Output::Json => print_json(&serde_json::to_value(&summary).map_err(|e| CliError::Failed(e.into()))?),
    }
}

/// Says what would run.
pub fn check(loaded: &Loaded, plan: &Plan, output: Output) -> Result<(), CliError> {
    let config = &loaded.config;
    let stages: Vec<&str> = plan.stages.iter().map(|stage| stage.name()).collect();
    let workloads = loaded.workloads.all();
    if output == Output::Json {
        let ids: Vec<String> = workloads.iter().map(|w| w.id.to_string()).collect();
        let mut settings = serde_json::to_value(config).map_err(|e| CliError::Failed(e.into()))?;
        settings["store"] = serde_json::to_value(config.store()).map_err(|e| CliError::Failed(e.into()))?;
        // Values of headers may be secrets.
        if let Some(headers) =
            settings.pointer_mut("/source/prometheus/headers").and_then(|h| h.as_object_mut())
        {
            headers.values_mut().for_each(|value| *value = "(not shown)".into());
        }
        return print_json(&json!({ "stages": stages, "config": settings, "workloads": ids }));
    }
    let bus = match &config.bus {
        BusConfig::Embedded => "embedded".into(),
        BusConfig::Kafka(kafka) => format!("kafka, {}", kafka.brokers.join(", ")),
    };
    let store = match config.store() {
        StoreConfig::Memory => "memory: nothing outlives the process".into(),
        StoreConfig::File(file) => format!("file {}", file.path.display()),
        StoreConfig::Redis(redis) => {
            format!("redis{}, {}", if redis.cluster { " cluster" } else { "" }, redis.nodes.join(", "))
        }
    };
    let simulated = || {
        format!(
            "simulated cluster, {} kinds of workloads",
            config.simulated_cluster.as_ref().map_or(0, |cluster| cluster.workloads.len())
        )
    };
    let source = match &config.source {
        SourceConfig::SimulatedCluster => simulated(),
        SourceConfig::Prometheus(prometheus) => format!("prometheus, {}", prometheus.url),
        SourceConfig::Kubernetes => "the cluster's metrics APIs".into(),
    };
    let target = match &config.target {
        TargetConfig::None => "none: decisions are published only".into(),
        TargetConfig::SimulatedCluster => "simulated cluster".into(),
        TargetConfig::RemoteCluster(remote) => format!("simulated cluster at {}", remote.url),
    };
    let mut modes: std::collections::BTreeMap<String, usize> = std::collections::BTreeMap::new();
    for workload in workloads {
        *modes.entry(format!("{:?}", workload.spec.mode)).or_default() += 1;
    }
    let modes: Vec<String> = modes.iter().map(|(mode, count)| format!("{count} {mode}")).collect();
    let clock = match config.clock.speed {
        1.0 => "time of day".into(),
        speed => format!("{speed} times as fast as real time"),
    };
    let shard = match plan.shard.of {
        1 => String::new(),
        of => format!(", shard {}/{of}", plan.shard.number),
    };
    print(&format!(
        "the configuration can be used\n  stages     {}{shard}\n  workloads  {} ({})\n  step       {}, sync {}\n  clock      {clock}\n  bus        {bus}\n  store      {store}\n  source     {source}\n  target     {target}\n  listen     {}\n",
        stages.join(", "),
        workloads.len(),
        modes.join(", "),
        config.step,
        Span(config.autoscale.sync.0),
        config.listen,
    ))
}
