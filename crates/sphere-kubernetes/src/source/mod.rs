//! What would the HPA see, and what is demand?
//!
//! [`KubernetesSource`] answers from the API server alone: pods from the shared watch, their usage from metrics.k8s.io, other
//! metrics from custom.metrics.k8s.io and external.metrics.k8s.io. Demand is CPU here. Requests per second and queries come from
//! another source, through [`DemandFrom`].

mod custom;
mod demand;
mod demand_from;
mod readings;
mod usage;

pub use demand_from::DemandFrom;

use crate::cluster::{Cluster, PodFacts, SizeFacts};
use crate::error::{ApiError, Attempt, NAME};
use async_trait::async_trait;
use custom::Versions;
use demand::Used;
use futures_util::future::join_all;
use futures_util::stream::{self, StreamExt};
use kube::core::SelectorExt;
use serde::de::DeserializeOwned;
use sphere_core::{Sample, Timestamp};
use sphere_pipeline::{History, Live, MetricSource, Problems, SourceError, Workload};
use std::collections::{HashMap, HashSet};
use std::sync::Arc;
use std::time::Duration;
use usage::{Listed, Usages};

/// Requests for sizes at once.
const SIZES_AT_ONCE: usize = 16;

/// The API server as a metric source. See the module text.
pub struct KubernetesSource {
    cluster: Arc<Cluster>,
    usages: Usages,
    versions: Versions,
}

/// A GET that is no object of a known kind.
async fn get<T: DeserializeOwned>(cluster: &Cluster, attempt: Attempt, path: &str) -> Result<T, ApiError> {
    let request = http::Request::get(path).body(Vec::new());
    let request = request.map_err(|error| ApiError::Refused {
        attempt: attempt.clone(),
        detail: format!("the path {path:?} can not be asked for: {error}"),
    })?;
    cluster.within(attempt, cluster.client().request(request)).await
}

fn no_data(detail: String) -> SourceError {
    SourceError::NoData { source_name: NAME, detail }
}

/// What is known of one workload.
struct View {
    size: SizeFacts,
    pods: Vec<Arc<PodFacts>>,
}

impl KubernetesSource {
    /// A source on a cluster that is watched.
    pub fn new(cluster: Arc<Cluster>) -> Self {
        Self { cluster, usages: Usages::default(), versions: Versions::default() }
    }

    async fn view(&self, workload: &Workload) -> Result<View, ApiError> {
        let size = self.cluster.size(workload).await?;
        let pods = match &size.selector {
            Some(selector) => self.cluster.pods_of(workload.id.namespace(), selector)?,
            // An empty or unreadable selector chooses no pods; their metrics are missing then.
            None => Vec::new(),
        };
        Ok(View { size, pods })
    }

    /// Views of all workloads, and the usage of pods in their namespaces.
    async fn look(
        &self,
        workloads: &[Arc<Workload>],
    ) -> (Vec<Result<View, ApiError>>, HashMap<String, Listed>) {
        let namespaces: HashSet<&str> = workloads.iter().map(|workload| workload.id.namespace()).collect();
        let namespaces: Vec<&str> = namespaces.into_iter().collect();
        let views = stream::iter(workloads.iter().cloned())
            .map(|workload| async move { self.view(&workload).await })
            .buffered(SIZES_AT_ONCE)
            .collect::<Vec<_>>();
        tokio::join!(views, self.usages.of(&self.cluster, &namespaces))
    }

    /// The sample of a workload, and why its demand is absent, if it is.
    async fn sample(
        &self,
        workload: &Workload,
        view: &View,
        listed: &Listed,
        at: Timestamp,
    ) -> (Sample, Option<SourceError>) {
        let used = listed
            .as_ref()
            .map(|listed| used(workload, view, listed, at, self.cluster.config().stale_after()));
        let total = |resource: &str| match &used {
            Ok(used) => used
                .total(resource, at, self.cluster.config())
                .map_err(|why| no_data(format!("{}: {why}", workload.id))),
            Err(error) => Err(SourceError::from((*error).clone())),
        };
        let wanted = &workload.spec.forecast.demand;
        let is_cpu = wanted.requests.is_none() && wanted.query.is_none();
        let demand = match is_cpu {
            true => total("cpu").map(|milli| milli / 1000.0),
            false => Err(no_data(format!(
                "{}: demand in requests or by a query is not known to the API server; a Prometheus is needed",
                workload.id
            ))),
        };
        let serving = view.pods.iter().filter(|pod| pod.serves()).count();
        let capacity = match workload.spec.capacity_per_pod {
            None if is_cpu => self.cores_per_pod(&view.pods).await,
            stated => stated,
        };
        let known = view.size.selector.is_some();
        let sample = Sample {
            workload: workload.id.clone(),
            at,
            demand: demand.as_ref().ok().copied(),
            capacity_per_pod: capacity,
            replicas: u32::try_from(view.size.scale.spec_replicas).ok(),
            ready: known.then(|| u32::try_from(serving).unwrap_or(u32::MAX)),
            censored: is_cpu && used.as_ref().is_ok_and(Used::is_censored),
            // Whole bytes; the cast saturates.
            memory_bytes: total("memory").ok().map(|milli| (milli / 1000.0) as u64),
            source: NAME.into(),
        };
        (sample, demand.err())
    }

    /// What one pod carries, cores: the mean over those that serve, or over all while none does.
    async fn cores_per_pod(&self, pods: &[Arc<PodFacts>]) -> Option<f64> {
        let any_serves = pods.iter().any(|pod| pod.serves());
        let asked = pods.iter().filter(|pod| !any_serves || pod.serves());
        let cores = join_all(asked.map(|pod| async move {
            match (pod.cpu_stated(), &pod.node) {
                (Some(cores), _) => Some(cores),
                (None, Some(node)) => self.cluster.allocatable_cores(node).await,
                (None, None) => None,
            }
        }))
        .await;
        let (sum, count) = cores.into_iter().flatten().fold((0.0, 0u32), |(s, n), cores| (s + cores, n + 1));
        (count > 0).then(|| sum / f64::from(count))
    }
}

/// The fresh samples of a workload: those of its pods, and those that carry its labels.
fn used<'a>(
    workload: &Workload,
    view: &'a View,
    listed: &'a [usage::Usage],
    at: Timestamp,
    stale_after: Duration,
) -> Used<'a> {
    let names: HashSet<&str> = view.pods.iter().map(|pod| pod.pod.name.as_str()).collect();
    let ours = |usage: &&usage::Usage| {
        let labelled = !usage.labels.is_empty()
            && view.size.selector.as_ref().is_some_and(|selector| selector.matches(&usage.labels));
        usage.namespace == workload.id.namespace() && (labelled || names.contains(usage.sample.pod.as_str()))
    };
    let fresh = listed.iter().filter(ours).filter(|usage| usage.is_fresh(at, stale_after));
    Used { pods: &view.pods, samples: fresh.map(|usage| (usage.sample.pod.as_str(), usage)).collect() }
}

#[async_trait]
impl MetricSource for KubernetesSource {
    fn name(&self) -> &'static str {
        NAME
    }

    async fn samples(&self, workloads: &[Arc<Workload>], at: Timestamp) -> Vec<Result<Sample, SourceError>> {
        let (views, listed) = self.look(workloads).await;
        let listed = &listed;
        let answers = workloads.iter().zip(&views).map(|(workload, view)| async move {
            let view = view.as_ref().map_err(|error| SourceError::from(error.clone()))?;
            let listed = &listed[workload.id.namespace()];
            match self.sample(workload, view, listed, at).await {
                (sample, None) => Ok(sample),
                // Scaled to zero: that there is no demand to measure is itself worth knowing.
                (sample, Some(SourceError::NoData { .. })) if sample.replicas == Some(0) => Ok(sample),
                (_, Some(problem)) => Err(problem),
            }
        });
        join_all(answers).await
    }

    async fn live(&self, workloads: &[Arc<Workload>], at: Timestamp) -> Vec<Result<Live, SourceError>> {
        let (views, listed) = self.look(workloads).await;
        let listed = &listed;
        let answers = workloads.iter().zip(&views).map(|(workload, view)| async move {
            let view = view.as_ref().map_err(|error| SourceError::from(error.clone()))?;
            let listed = &listed[workload.id.namespace()];
            let ((sample, problem), (readings, metrics)) = tokio::join!(
                self.sample(workload, view, listed, at),
                readings::all(&self.cluster, &self.versions, workload, view, listed, at)
            );
            Ok(Live {
                sample,
                pods: view.pods.iter().map(|pod| pod.pod.status).collect(),
                readings,
                // CPU against its limit would do for work that is bound by CPU and mislead for all other.
                utilization: None,
                // The watch tells what is now, not what was.
                mean_ready: None,
                violated_share: None,
                problems: Problems { demand: problem, metrics },
            })
        });
        join_all(answers).await
    }

    async fn history(
        &self,
        workloads: &[Arc<Workload>],
        _: Timestamp,
        _: Timestamp,
        _: Duration,
    ) -> Vec<Result<History, SourceError>> {
        let none = || no_data("the API server keeps no past; a Prometheus would have it".into());
        workloads.iter().map(|_| Err(none())).collect()
    }

    async fn check(&self) -> Result<(), SourceError> {
        let attempt = Attempt::on_all("get", "/version", "", "");
        self.cluster.within(attempt, self.cluster.client().apiserver_version()).await?;
        self.cluster.synced(Duration::from_millis(1)).await?;
        Ok(())
    }
}
