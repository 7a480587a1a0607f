//! What was measured for each metric of a spec?

use super::View;
use super::custom::Versions;
use super::usage::Listed;
use crate::cluster::Cluster;
use crate::error::ApiError;
use futures_util::future::join_all;
use sphere_core::Timestamp;
use sphere_pipeline::{LiveReading, SourceError, Workload};
use sphere_scaling::hpa::{MetricError, MetricSpec, Pod, PodReadings, ResourceSample};

/// Why there is no reading: for the calculation, and for people where there is more to say.
struct Unread {
    why: MetricError,
    error: Option<SourceError>,
}

impl From<MetricError> for Unread {
    fn from(why: MetricError) -> Self {
        Self { why, error: None }
    }
}

/// One reading per metric, in the order of the spec, and what people should know of those that are missing, by name.
pub(super) async fn all(
    cluster: &Cluster,
    versions: &Versions,
    workload: &Workload,
    view: &View,
    listed: &Listed,
    at: Timestamp,
) -> (Vec<LiveReading>, Vec<(String, SourceError)>) {
    let pods: Vec<Pod> = view.pods.iter().map(|facts| facts.pod.clone()).collect();
    let each = workload.spec.metrics.iter().map(|metric| {
        let pods = &pods;
        async move {
            let reading = one(cluster, versions, workload, view, pods, listed, at, metric).await;
            reading.inspect_err(|unread| {
                let (name, why) = (metric.name(), unread.why);
                tracing::debug!(workload = %workload.id, metric = %name, %why, "kubernetes: no reading");
            })
        }
    });
    let mut problems = Vec::new();
    let read = |(metric, reading): (&MetricSpec, Result<LiveReading, Unread>)| {
        reading.unwrap_or_else(|unread| {
            let error = unread.error.unwrap_or_else(|| super::no_data(unread.why.to_string()));
            problems.push((metric.name().to_owned(), error));
            LiveReading::Unavailable(unread.why)
        })
    };
    let readings = workload.spec.metrics.iter().zip(join_all(each).await).map(read).collect();
    (readings, problems)
}

/// That the API knows no value, or was not reached.
fn missing(error: &ApiError) -> MetricError {
    match error {
        ApiError::NotFound { .. } => MetricError::NoMetrics,
        _ => MetricError::FetchFailed,
    }
}

fn failed(workload: &Workload, metric: &MetricSpec, error: ApiError) -> Unread {
    tracing::warn!(workload = %workload.id, metric = %metric.name(), %error, "kubernetes: metric");
    Unread { why: missing(&error), error: Some(error.into()) }
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
) -> Result<LiveReading, Unread> {
    let namespace = workload.id.namespace();
    let failed = |error: ApiError| failed(workload, metric, error);
    let resource = |resource: &str, container: Option<&str>| {
        // Without a readable selector it is not known which pods are meant; the HPA asks nothing then.
        view.size.selector.as_ref().ok_or(MetricError::NoPods)?;
        let listed = listed
            .as_ref()
            .map_err(|error| Unread { why: missing(error), error: Some(error.clone().into()) })?;
        let used = super::used(workload, view, listed, at, cluster.config().stale_after());
        let samples: Vec<ResourceSample> =
            used.samples.into_values().map(|usage| usage.sample.clone()).collect();
        let read = PodReadings::from_resource(pods, &samples, resource, container, true);
        Ok(LiveReading::PerPod(read?))
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
            Ok(LiveReading::PerPod(PodReadings::from_custom(pods, &samples)?))
        }
        MetricSpec::Object { object } => {
            let value =
                versions.of_object(cluster, namespace, &object.described_object, &object.metric).await;
            value.map(LiveReading::Object).map_err(failed)
        }
        MetricSpec::External { external } => {
            let series = versions.external(cluster, namespace, &external.metric).await.map_err(failed)?;
            if series.is_empty() {
                return Err(MetricError::NoMetrics.into());
            }
            Ok(LiveReading::External(series))
        }
        MetricSpec::Unknown => Err(MetricError::UnknownSource.into()),
    }
}
