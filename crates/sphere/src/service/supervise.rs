//! Who starts and stops the stages, and how does it end?
//!
//! A stage that ends by itself ends the process: the others are stopped, and the result is a failure. SIGTERM or
//! SIGINT stops all of them; they save, commit and leave within [`PATIENCE`]. A second signal ends the process at once.

use super::http;
use super::parts::Parts;
use crate::config::Config;
use sphere_kubernetes::operator::Operator;
use sphere_pipeline::BusError;
use sphere_pipeline::autoscale::AutoscaleStage;
use sphere_pipeline::cache::CacheStage;
use sphere_pipeline::collect::{CollectSettings, CollectStage, Shard};
use sphere_pipeline::forecast::ForecastStage;
use sphere_pipeline::metrics::Stage;
use sphere_pipeline::retry;
use sphere_pipeline::stage::StageError;
use std::io;
use std::net::SocketAddr;
use std::time::Duration;
use tokio::net::TcpListener;
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;
use tokio_util::task::AbortOnDropHandle;
use tracing::{error, info, warn};

/// Longest time for stages to stop.
pub const PATIENCE: Duration = Duration::from_secs(30);

/// What to run.
#[derive(Clone, Debug)]
pub struct Plan {
    /// Which stages.
    pub stages: Vec<Stage>,
    /// Which workloads the collect stage asks for.
    pub shard: Shard,
    /// When to stop by itself, in the clock's time.
    pub limit: Option<Duration>,
}

/// Why it did not end well.
#[derive(Debug, thiserror::Error)]
pub enum ServiceError {
    /// The address of the HTTP server.
    #[error("{address} can not be listened on: {error}; state another one with --listen or SPHERE_LISTEN")]
    Listen {
        /// The address.
        address: SocketAddr,
        /// Why.
        error: io::Error,
    },
    /// Signals can not be received.
    #[error("signals: {0}")]
    Signals(io::Error),
    /// A file that was named.
    #[error("{0}")]
    File(String),
    /// A stage gave up.
    #[error("the stage {stage} has ended: {error}")]
    Stage {
        /// Which.
        stage: &'static str,
        /// Why.
        error: StageError,
    },
    /// A stage did not stop.
    #[error("not all stages stopped within {} s: {stages}", PATIENCE.as_secs())]
    Stuck {
        /// Those that did not.
        stages: String,
    },
}

/// The two signals that mean: stop.
struct Signals {
    terminate: Signal,
    interrupt: Signal,
}

impl Signals {
    fn listen() -> Result<Self, ServiceError> {
        let of = |kind| signal(kind).map_err(ServiceError::Signals);
        Ok(Self { terminate: of(SignalKind::terminate())?, interrupt: of(SignalKind::interrupt())? })
    }

    async fn next(&mut self) -> &'static str {
        tokio::select! {
            _ = self.terminate.recv() => "SIGTERM",
            _ = self.interrupt.recv() => "SIGINT",
        }
    }
}

/// Cancels `stop` at the first signal and ends the process at the second.
pub fn stop_on_signals(stop: CancellationToken) -> Result<(), ServiceError> {
    let mut signals = Signals::listen()?;
    tokio::spawn(async move {
        let name = signals.next().await;
        info!("{name}: stopping; once more to end at once");
        stop.cancel();
        let name = signals.next().await;
        error!("{name} again: ending at once");
        std::process::exit(1);
    });
    Ok(())
}

fn start(parts: &Parts, config: &Config, plan: &Plan, stage: Stage) -> Result<StageFuture, StageError> {
    let source = || {
        let missing = || StageError::Failed("the configuration gives this process no metric source".into());
        parts.source.clone().ok_or_else(missing)
    };
    let (bus, store, metrics) = (parts.bus.clone(), parts.store.clone(), parts.metrics.clone());
    let (workloads, clock) = (parts.workloads.clone(), parts.clock.clone());
    Ok(match stage {
        Stage::Collect => {
            let settings = CollectSettings {
                step: config.step.0,
                delay: config.collect.delay.0,
                fill_steps: config.collect.fill_steps,
                shard: plan.shard,
            };
            let stage = CollectStage {
                source: source()?,
                bus,
                store: Some(store),
                workloads,
                clock,
                settings,
                metrics,
            };
            Box::new(move |stop| Box::pin(stage.run(stop)))
        }
        Stage::Forecast => {
            let (source, settings) = (parts.source.clone(), config.forecast_settings());
            let stage = ForecastStage { bus, store, source, workloads, clock, settings, metrics };
            Box::new(move |stop| Box::pin(stage.run(stop)))
        }
        Stage::Cache => {
            let stage = CacheStage { bus, store, clock, settings: config.cache_settings(), metrics };
            Box::new(move |stop| Box::pin(stage.run(stop)))
        }
        Stage::Autoscale => {
            let (source, target) = (source()?, parts.target.clone());
            let settings = config.autoscale_settings();
            let overseer = parts.operator.as_ref().map(Operator::overseer);
            let stage = move || AutoscaleStage {
                source: source.clone(),
                target: target.clone(),
                bus: bus.clone(),
                store: store.clone(),
                workloads: workloads.clone(),
                overseer: overseer.clone(),
                clock: clock.clone(),
                settings: settings.clone(),
                metrics: metrics.clone(),
            };
            match parts.operator.clone() {
                // It is started anew for every time this process leads.
                Some(operator) => {
                    Box::new(move |stop| Box::pin(async move { operator.run(stage, stop).await }))
                }
                None => Box::new(move |stop| Box::pin(stage().run(stop))),
            }
        }
    })
}

type Ended = std::pin::Pin<Box<dyn Future<Output = Result<(), StageError>> + Send>>;
type StageFuture = Box<dyn FnOnce(CancellationToken) -> Ended + Send>;

/// Runs the stages until `stop`, the time limit, or the end of one of them.
pub async fn run(
    parts: &Parts,
    config: &Config,
    plan: &Plan,
    stop: CancellationToken,
) -> Result<(), ServiceError> {
    let address = config.listen;
    let listener =
        TcpListener::bind(address).await.map_err(|error| ServiceError::Listen { address, error })?;
    let token = http::read_token(config.metrics_token_file.as_deref()).map_err(ServiceError::File)?;
    let tls = http::read_tls(config.listen_tls.as_ref()).await.map_err(ServiceError::File)?;
    let renewal = config
        .listen_tls
        .clone()
        .zip(tls.clone())
        .map(|(files, tls)| AbortOnDropHandle::new(tokio::spawn(http::renew(files, tls))));
    let status = http::Status::new(parts.clone(), &plan.stages, token);
    if let Ok(address) = listener.local_addr() {
        let scheme = if tls.is_some() { "https" } else { "http" };
        info!("{scheme}://{address}/metrics, /healthz, /readyz");
    }
    let serving = CancellationToken::new();
    let server = tokio::spawn(http::serve(listener, tls, status.clone(), serving.clone()));

    let result = serve(parts, config, plan, &stop, &status).await;
    drop(renewal);
    serving.cancel();
    if tokio::time::timeout(Duration::from_secs(1), server).await.is_err() {
        warn!("a client of /metrics was cut off");
    }
    result
}

async fn serve(
    parts: &Parts,
    config: &Config,
    plan: &Plan,
    stop: &CancellationToken,
    status: &http::Status,
) -> Result<(), ServiceError> {
    let failed = |stage: Stage| move |error| ServiceError::Stage { stage: stage.name(), error };
    let made = retry::until_done(
        stop,
        BusError::is_transient,
        |error| warn!(%error, "the topics can not be made yet"),
        || parts.bus.create_topics(),
    )
    .await;
    let first = plan.stages.first().copied().unwrap_or(Stage::Collect);
    match made {
        None => return Ok(()),
        Some(made) => made.map_err(StageError::from).map_err(failed(first))?,
    }
    let mut stages: JoinSet<(Stage, Result<(), StageError>)> = JoinSet::new();
    let mut running: Vec<Stage> = Vec::new();
    for &stage in &plan.stages {
        let run = start(parts, config, plan, stage).map_err(failed(stage))?;
        let stop = stop.child_token();
        stages.spawn(async move { (stage, run(stop).await) });
        running.push(stage);
    }
    let names: Vec<&str> = running.iter().map(|stage| stage.name()).collect();
    info!(stages = %names.join(","), workloads = parts.workloads.borrow().all().len(), "running");

    let end = plan.limit.map(|limit| parts.clock.now() + limit);
    let timer = async {
        match end {
            Some(end) => parts.clock.sleep_until(end).await,
            None => std::future::pending().await,
        }
    };
    let mut first_failure = None;
    tokio::select! {
        () = stop.cancelled() => {}
        () = timer => info!("the time asked for has passed: stopping"),
        Some(ended) = stages.join_next() => first_failure = note(ended, &mut running, status, stop),
    }
    stop.cancel();
    let deadline = tokio::time::Instant::now() + PATIENCE;
    while !stages.is_empty() {
        match tokio::time::timeout_at(deadline, stages.join_next()).await {
            Ok(Some(ended)) => {
                let failure = note(ended, &mut running, status, stop);
                first_failure = first_failure.or(failure);
            }
            Ok(None) => break,
            Err(_) => {
                let names: Vec<&str> = running.iter().map(|stage| stage.name()).collect();
                return Err(first_failure.unwrap_or(ServiceError::Stuck { stages: names.join(", ") }));
            }
        }
    }
    first_failure.map_or(Ok(()), Err)
}

/// What the end of a stage means.
fn note(
    ended: Result<(Stage, Result<(), StageError>), tokio::task::JoinError>,
    running: &mut Vec<Stage>,
    status: &http::Status,
    stop: &CancellationToken,
) -> Option<ServiceError> {
    let (stage, result) = match ended {
        Ok(ended) => ended,
        Err(error) => {
            let stage = "(unknown)";
            return Some(ServiceError::Stage { stage, error: StageError::Failed(error.to_string()) });
        }
    };
    running.retain(|other| *other != stage);
    status.ended(stage);
    let asked = stop.is_cancelled();
    let early = || Err(StageError::Failed("it ended though nobody stopped it".into()));
    match if asked { result } else { result.and_then(|()| early()) } {
        Ok(()) => None,
        Err(error) => {
            error!(stage = stage.name(), %error, "the stage has ended");
            Some(ServiceError::Stage { stage: stage.name(), error })
        }
    }
}
