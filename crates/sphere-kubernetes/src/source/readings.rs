//! What was measured for each metric of a spec?

use super::View;
use super::custom::Versions;
use super::usage::Listed;
use crate::cluster::Cluster;
use crate::error::ApiError;
use futures_util::future::join_all;
use sphere_core::Timestamp;
use sphere_pipeline::{LiveReading, Workload};
use sphere_scaling::hpa::{MetricError, MetricSpec, Pod, PodReadings, ResourceSample};

/// One reading per metric, in the order of the spec.
pub(super) async fn all(
    cluster: &Cluster,
    versions: &Versions,
    workload: &Workload,
    view: &View,
    listed: &Listed,
    at: Timestamp,
) -> Vec<LiveReading> {
    let pods: Vec<Pod> = view.pods.iter().map(|facts| facts.pod.clone()).collect();
    let each = workload.spec.metrics.iter().map(|metric| {
        let pods = &pods;
        async move {
            let reading = one(cluster, versions, workload, view, pods, listed, at, metric).await;
            reading.unwrap_or_else(|why| {
                tracing::debug!(workload = %workload.id, metric = %metric.name(), %why, "kubernetes: no reading");
                LiveReading::Unavailable(why)
            })
        }
    });
    join_all(each).await
}

/// That the API knows no value, or was not reached.
fn missing(error: &ApiError) -> MetricError {
    match error {
        ApiError::NotFound { .. } => MetricError::NoMetrics,
        _ => MetricError::FetchFailed,
    }
}

fn failed(workload: &Workload, metric: &MetricSpec, error: &ApiError) -> MetricError {
    tracing::warn!(workload = %workload.id, metric = %metric.name(), %error, "kubernetes: metric");
    missing(error)
}

#[allow(
    clippy::too_many_arguments,
    reason = "the borrowed parts of one view; a struct would only rename them"
)]
async fn one(
    cluster: &Cluster,
    versions: &Versions,
    workload: &Workload,
    view: &View,
    pods: &[Pod],
    listed: &Listed,
    at: Timestamp,
    metric: &MetricSpec,
) -> Result<LiveReading, MetricError> {
    let namespace = workload.id.namespace();
    let failed = |error: ApiError| failed(workload, metric, &error);
    let resource = |resource: &str, container: Option<&str>| {
        // Without a readable selector it is not known which pods are meant; the HPA asks nothing then.
        view.size.selector.as_ref().ok_or(MetricError::NoPods)?;
        let listed = listed.as_ref().map_err(missing)?;
        let used = super::used(workload, view, listed, at, cluster.config().stale_after());
        let samples: Vec<ResourceSample> =
            used.samples.into_values().map(|usage| usage.sample.clone()).collect();
        PodReadings::from_resource(pods, &samples, resource, container, true).map(LiveReading::PerPod)
    };
    match metric {
        MetricSpec::Resource { resource: metric } => resource(&metric.name, None),
        MetricSpec::ContainerResource { container_resource: metric } => {
            resource(&metric.name, Some(&metric.container))
        }
        MetricSpec::Pods { pods: wanted } => {
            let text = view.size.selector_text.as_deref().filter(|_| view.size.selector.is_some());
            let text = text.ok_or(MetricError::NoPods)?;
            let samples = versions.of_pods(cluster, namespace, text, &wanted.metric).await.map_err(failed)?;
            PodReadings::from_custom(pods, &samples).map(LiveReading::PerPod)
        }
        MetricSpec::Object { object } => {
            let value =
                versions.of_object(cluster, namespace, &object.described_object, &object.metric).await;
            value.map(LiveReading::Object).map_err(failed)
        }
        MetricSpec::External { external } => {
            let series = versions.external(cluster, namespace, &external.metric).await.map_err(failed)?;
            if series.is_empty() { Err(MetricError::NoMetrics) } else { Ok(LiveReading::External(series)) }
        }
        MetricSpec::Unknown => Err(MetricError::UnknownSource),
    }
}
