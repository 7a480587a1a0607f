//! `sphere cluster` and `sphere topics`: what a distributed trial needs besides the stages.

use super::service::{ConfigArgs, block_on, bus_error, parts_error};
use super::{CliError, colour, print};
use clap::Args;
use sphere::config::BusConfig;
use sphere::service::summary::Summary;
use sphere::service::{logging, parts, supervise};
use sphere_pipeline::metrics::Metrics;
use std::net::SocketAddr;
use std::time::{Duration, Instant};
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;
use tracing::info;

/// Serve the simulated cluster over HTTP: /metrics for Prometheus, a scale API for `target: {remoteCluster: ...}`.
///
/// The section `simulatedCluster` says which workloads it has. All processes of a trial need the same `clock`. No
/// authentication: keep it on the loopback interface or on a network of its own.
#[derive(Debug, Args)]
#[command(after_help = "Example:\n  sphere cluster --config trial.yaml --listen 127.0.0.1:9797")]
pub struct ClusterArgs {
    #[command(flatten)]
    config: ConfigArgs,
    /// Address [default: simulatedCluster.listen of the file, 127.0.0.1:9797]
    #[arg(long, value_name = "ADDRESS")]
    listen: Option<SocketAddr>,
    /// Stop after this time on its clock
    #[arg(long = "for", value_name = "DURATION", value_parser = humantime::parse_duration)]
    limit: Option<Duration>,
}

/// Make the topics in Kafka that do not exist yet. Stages do the same when they start.
#[derive(Debug, Args)]
#[command(after_help = "Example:\n  sphere topics --config sphere.yaml")]
pub struct TopicsArgs {
    #[command(flatten)]
    config: ConfigArgs,
}

/// Serves.
pub fn cluster(args: &ClusterArgs) -> Result<(), CliError> {
    let loaded = args.config.load()?;
    let config = loaded.config;
    let Some(section) = &config.simulated_cluster else {
        return Err(CliError::input("the configuration has no section simulatedCluster"));
    };
    let address = args.listen.unwrap_or(section.listen);
    logging::start(&config.log, None).map_err(CliError::Input)?;
    block_on(async {
        let (clock, _) = parts::clock(&config.clock);
        let Some(cluster) = parts::cluster(&config, &clock).map_err(parts_error)? else { return Ok(()) };
        let listener = TcpListener::bind(address).await.map_err(|error| {
            CliError::Failed(anyhow::anyhow!("{address} can not be listened on: {error}"))
        })?;
        let stop = CancellationToken::new();
        supervise::stop_on_signals(stop.clone()).map_err(|error| CliError::Failed(error.into()))?;
        if let Ok(address) = listener.local_addr() {
            info!(workloads = cluster.workloads().len(), "simulated cluster: http://{address}");
        }
        let (started, began) = (Instant::now(), clock.now());
        let until = {
            let (stop, clock, limit) = (stop.clone(), clock.clone(), args.limit);
            async move {
                let timer = async {
                    match limit {
                        Some(limit) => clock.sleep_until(began + limit).await,
                        None => std::future::pending().await,
                    }
                };
                tokio::select! {
                    () = stop.cancelled() => {}
                    () = timer => {}
                }
            }
        };
        sphere_simcluster::serve(cluster.clone(), listener, until)
            .await
            .map_err(|error| CliError::Failed(error.into()))?;
        let passed = clock.now().since(began);
        let summary = Summary::of(&Metrics::new(), started.elapsed(), passed, cluster.scores());
        print(&summary.table(colour()))
    })?
}

/// Makes topics.
pub fn topics(args: &TopicsArgs) -> Result<(), CliError> {
    let config = args.config.load()?.config;
    let BusConfig::Kafka(kafka) = &config.bus else {
        return Err(CliError::input("bus: embedded has its topics already; this is for bus: {kafka: {...}}"));
    };
    logging::start(&config.log, None).map_err(CliError::Input)?;
    block_on(async {
        let (clock, _) = parts::clock(&config.clock);
        parts::bus(&config, &clock).map_err(bus_error)?.create_topics().await.map_err(bus_error)
    })??;
    let names: Vec<&str> =
        sphere_pipeline::Topic::ALL.into_iter().map(|topic| kafka.topic_name(topic)).collect();
    print(&format!("the topics are there: {}\n", names.join(", ")))
}
