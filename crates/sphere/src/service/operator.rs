//! Which cluster, source, target and store does the configuration ask the operator to use?

use super::parts::{self, Parts, PartsError};
use crate::config::{Loaded, SourceConfig, StoreConfig};
use sphere_kubernetes::cluster::Cluster;
use sphere_kubernetes::operator::{Counters, Operator, OperatorSettings, identity, own_namespace};
use sphere_kubernetes::requests;
use sphere_kubernetes::source::{DemandFrom, KubernetesSource};
use sphere_pipeline::metrics::Metrics;
use sphere_pipeline::{Clock, MetricSource, Store};
use sphere_prometheus::Prometheus;
use std::sync::Arc;
use tokio_util::sync::CancellationToken;
use tracing::info;

/// Everything. Watches end with `stop`.
pub async fn build(loaded: &Loaded, stop: &CancellationToken) -> Result<Parts, PartsError> {
    let config = &loaded.config;
    let told = &config.operator;
    let clock = Clock::system();
    let counters = Arc::new(Counters::new());
    let client = requests::connect(told.kubeconfig.as_deref(), told.context.as_deref(), counters.requests())
        .await
        .map_err(|error| PartsError::Target(error.to_string()))?;
    let settings = settings(loaded, client.default_namespace());
    info!(
        namespace = settings.own_namespace,
        identity = settings.identity,
        looks_after = if settings.namespaces.is_empty() {
            "all namespaces".into()
        } else {
            settings.namespaces.join(", ")
        },
        dry_run = settings.dry_run,
        "operator"
    );
    let kubernetes = sphere_kubernetes::config::KubernetesConfig {
        namespaces: settings.namespaces.clone(),
        ..config.kubernetes.clone()
    };
    let cluster = Cluster::start(client, kubernetes, stop.clone());
    let operator =
        Operator::start(Arc::clone(&cluster), settings, clock.clone(), Arc::clone(&counters), stop);
    let base: Arc<dyn MetricSource> = Arc::new(KubernetesSource::new(cluster));
    let source = match &config.source {
        SourceConfig::Prometheus(prometheus) => {
            let prometheus = Prometheus::new(prometheus.as_ref().clone());
            let prometheus = prometheus.map_err(|error| PartsError::Source(error.to_string()))?;
            Arc::new(DemandFrom::new(base, Arc::new(prometheus)))
        }
        SourceConfig::Kubernetes | SourceConfig::SimulatedCluster => base,
    };
    let store = parts::store(config).await?;
    let store: Arc<dyn Store> = match config.store() {
        StoreConfig::Redis(_) => store,
        StoreConfig::Memory | StoreConfig::File(_) => operator.remembering(store),
    };
    Ok(Parts {
        bus: parts::bus(config, &clock)?,
        store,
        source: Some(source),
        target: operator.target(),
        cluster: None,
        clock,
        workloads: operator.workloads(),
        operator: Some(operator),
        counters: Some(counters),
        metrics: Arc::new(Metrics::new()),
    })
}

fn settings(loaded: &Loaded, otherwise: &str) -> OperatorSettings {
    let (config, told) = (&loaded.config, &loaded.config.operator);
    OperatorSettings {
        namespaces: if told.namespaces.is_empty() { &config.kubernetes.namespaces } else { &told.namespaces }
            .clone(),
        lease_name: told.lease.name.clone(),
        lease: told.lease.times(),
        dry_run: told.dry_run,
        step: config.step.0,
        field_manager: config.kubernetes.field_manager.clone(),
        memory_every: told.memory.0,
        ..OperatorSettings::new(own_namespace(otherwise), identity())
    }
}
