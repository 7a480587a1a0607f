//! `sphere operator`: PredictiveAutoscaler objects looked after, day and night.

use super::CliError;
use super::service::{self, ALL, ServiceArgs, block_on, parts_error};
use clap::Args;
use sphere::config::Use;
use sphere::service::logging;
use sphere::service::operator;
use sphere::service::supervise::{self, Plan};
use sphere_pipeline::collect::Shard;
use std::path::PathBuf;
use std::time::Instant;
use tokio_util::sync::CancellationToken;

/// Look after the PredictiveAutoscaler objects of a Kubernetes cluster: measure, forecast, decide, scale, report.
///
/// Runs all stages in this process. Several may run: one acts, elected by a Lease, and the others keep their models warm.
/// Without --config: an in-memory bus, metrics from the cluster's metrics APIs, and what autoscalers remember in
/// ConfigMaps beside the operator. The cluster is that of the pod's service account, or of KUBECONFIG.
///
/// To stop it from touching anything: kubectl create configmap sphere-kill-switch in its namespace. One object or
/// namespace: the annotation autoscaling.sphere.dev/disabled=true.
#[derive(Debug, Args)]
#[command(after_help = "Examples:
  sphere operator --dry-run
  sphere operator --namespace shop --namespace blog
  sphere operator --config /etc/sphere/sphere.yaml --listen 0.0.0.0:9464 --log-format json
  sphere operator --check --config sphere.yaml")]
pub struct OperatorArgs {
    #[command(flatten)]
    service: ServiceArgs,
    /// A namespace to look after; repeat it for several [default: as in the file, all]
    #[arg(long, value_name = "NAME", env = "SPHERE_NAMESPACES", value_delimiter = ',')]
    namespace: Vec<String>,
    /// The kubeconfig file [default: the pod's service account, else KUBECONFIG]
    #[arg(long, value_name = "FILE")]
    kubeconfig: Option<PathBuf>,
    /// A context of the kubeconfig file [default: its current one]
    #[arg(long, value_name = "NAME")]
    context: Option<String>,
    /// Decide and log, and write nothing to the cluster: no size, no minimum, no status, no event, no lease
    #[arg(long)]
    dry_run: bool,
}

/// Runs it.
pub fn run(args: &OperatorArgs) -> Result<(), CliError> {
    let mut loaded = args.service.config.load_for(Use::Operator)?;
    let config = &mut loaded.config;
    if let Some(listen) = args.service.listen {
        config.listen = listen;
    }
    if !args.namespace.is_empty() {
        config.operator.namespaces.clone_from(&args.namespace);
    }
    config.operator.dry_run |= args.dry_run;
    if args.kubeconfig.is_some() {
        config.operator.kubeconfig.clone_from(&args.kubeconfig);
    }
    if args.context.is_some() {
        config.operator.context.clone_from(&args.context);
    }
    // Flags may have brought in what the file could not.
    if let Some((key, problem)) = config.operator.problems().into_iter().next() {
        return Err(CliError::Input(format!("operator.{key}: {problem}")));
    }
    let plan = Plan { stages: ALL.to_vec(), shard: Shard { number: 0, of: 1 }, limit: args.service.limit };
    if args.service.check {
        return service::check(&loaded, &plan, args.service.output);
    }
    logging::start(&loaded.config.log, None).map_err(CliError::Input)?;
    let (parts, ended, ran) = block_on(async {
        let stop = CancellationToken::new();
        supervise::stop_on_signals(stop.clone()).map_err(|error| CliError::Failed(error.into()))?;
        // The watches go on while the stages end.
        let watching = CancellationToken::new();
        let parts = operator::build(&loaded, &watching).await.map_err(parts_error)?;
        let started = Instant::now();
        let ended = supervise::run(&parts, &loaded.config, &plan, stop).await;
        watching.cancel();
        Ok::<_, CliError>((parts, ended, started.elapsed()))
    })??;
    service::report(&parts, ran, ran, args.service.output)?;
    ended.map_err(|error| CliError::Failed(error.into()))
}
