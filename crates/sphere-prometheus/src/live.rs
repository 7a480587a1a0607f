//! What would the HPA see?
//!
//! Resource and ContainerResource metrics are read from cAdvisor and kube-state-metrics. Pods, Object and External
//! metrics are asked for by the query that `spec.queries` has under the name of the metric; a Pods query keeps the pod
//! label. A pod without a fresh value has no sample, which the calculation treats by its own rules.

use crate::answer::Series;
use crate::client::no_data;
use crate::config::PrometheusConfig;
use crate::gather::{Gathered, Members};
use crate::measure::Measure;
use crate::promql;
use crate::source::{Prometheus, Sampled};
use futures_util::future::join_all;
use sphere_core::Timestamp;
use sphere_pipeline::{Live, LiveReading, Problems, SourceError, Workload};
use sphere_scaling::hpa::{MetricError, MetricSpec, PodReading, PodReadings, PodSample, Request};
use std::collections::HashMap;
use std::sync::Arc;
use tokio::time::Instant;

/// Window of a custom metric, milliseconds: what Kubernetes assumes where the API gives none.
const CUSTOM_WINDOW_MS: i64 = 60_000;

/// The answers to the queries of one workload, by metric of the spec; `None` where the metric needs none.
pub(crate) type Asked = Vec<Option<Result<Vec<Series>, SourceError>>>;

/// As the calculation calls it.
fn missing(error: &SourceError) -> MetricError {
    match error {
        SourceError::NoData { .. } => MetricError::NoMetrics,
        _ => MetricError::FetchFailed,
    }
}

/// Asks the queries of all workloads.
pub(crate) async fn asked(
    source: &Prometheus,
    workloads: &[Arc<Workload>],
    at: Timestamp,
    deadline: Instant,
) -> Vec<Asked> {
    let one = |workload: &Arc<Workload>, metric: &MetricSpec| {
        let custom = matches!(
            metric,
            MetricSpec::Pods { .. } | MetricSpec::Object { .. } | MetricSpec::External { .. }
        );
        let (id, name) = (workload.id.to_string(), metric.name().to_owned());
        let query = workload.spec.queries.get(metric.name()).cloned();
        async move {
            if !custom {
                return None;
            }
            let Some(query) = query else {
                tracing::debug!(workload = %id, metric = %name, "spec.queries has no query for this metric");
                return Some(Err(no_data(format!("spec.queries has no query for the metric {name}"))));
            };
            let client = source.client();
            let fresh = promql::fresh(&query, client.config.stale_after());
            Some(client.vector(&fresh, at, deadline).await.map_err(|failure| {
                let error = SourceError::from(failure);
                tracing::warn!(workload = %id, metric = %name, %error, "no reading");
                error
            }))
        }
    };
    join_all(workloads.iter().map(|w| join_all(w.spec.metrics.iter().map(|metric| one(w, metric))))).await
}

/// Reads one workload. An error only if the pods can not be asked for, or nothing at all is known.
pub(crate) fn read(
    workload: &Workload,
    gathered: &Gathered,
    members: &Members<'_>,
    sampled: Sampled,
    asked: &Asked,
    at: Timestamp,
    config: &PrometheusConfig,
) -> Result<Live, SourceError> {
    if let Err(error) = &gathered.pods {
        return Err(error.clone());
    }
    let metrics = workload.spec.metrics.iter().zip(asked);
    let readings: Vec<LiveReading> = metrics
        .map(|(metric, asked)| {
            reading(metric, asked.as_ref(), gathered, members, at, config)
                .unwrap_or_else(LiveReading::Unavailable)
        })
        .collect();
    let problems = workload.spec.metrics.iter().zip(asked).filter_map(|(metric, asked)| {
        let error = asked.as_ref()?.as_ref().err()?;
        Some((metric.name().to_owned(), error.clone()))
    });
    let problems: Vec<(String, SourceError)> = problems.collect();
    let Sampled { sample, problem } = sampled;
    let unread = readings.iter().all(|reading| matches!(reading, LiveReading::Unavailable(_)));
    if unread && members.pods.is_empty() && sample.replicas.is_none() && sample.demand.is_none() {
        // What its owner can mend comes first.
        let asked = problems.into_iter().map(|(_, error)| error);
        let found = asked.chain(problem).min_by_key(|error| !matches!(error, SourceError::BadAnswer { .. }));
        return Err(found.unwrap_or_else(|| no_data(format!("nothing is known of {}", workload.id))));
    }
    Ok(Live {
        sample,
        pods: members.pods.iter().map(|(_, status)| *status).collect(),
        readings,
        // CPU against its limit would do for work that is bound by CPU and mislead for all other.
        utilization: None,
        mean_ready: gathered.mean_ready.as_ref().and_then(|replicas| replicas.ready(workload)),
        violated_share: None,
        problems: Problems { demand: problem, metrics: problems },
    })
}

fn milli(value: f64) -> i64 {
    // The cast saturates.
    (value * 1000.0).round() as i64
}

fn reading(
    metric: &MetricSpec,
    asked: Option<&Result<Vec<Series>, SourceError>>,
    gathered: &Gathered,
    members: &Members<'_>,
    at: Timestamp,
    config: &PrometheusConfig,
) -> Result<LiveReading, MetricError> {
    let answer = || asked.ok_or(MetricError::NoMetrics)?.as_ref().map_err(missing);
    match metric {
        MetricSpec::Resource { resource } => resources(&resource.name, None, gathered, members, at, config),
        MetricSpec::ContainerResource { container_resource: wanted } => {
            resources(&wanted.name, Some(&wanted.container), gathered, members, at, config)
        }
        MetricSpec::Pods { .. } => custom(answer()?, members, at, config),
        MetricSpec::Object { .. } => match answer()?.as_slice() {
            [one] => one.measured().map(|v| LiveReading::Object(milli(v))).ok_or(MetricError::NoMetrics),
            _ => Err(MetricError::NoMetrics),
        },
        // The series are summed: without one of them the sum would be silently low.
        MetricSpec::External { .. } => match answer()?.iter().map(Series::measured).collect() {
            Some(values) => external(values),
            None => Err(MetricError::NoMetrics),
        },
        MetricSpec::Unknown => Err(MetricError::UnknownSource),
    }
}

fn external(values: Vec<f64>) -> Result<LiveReading, MetricError> {
    if values.is_empty() {
        return Err(MetricError::NoMetrics);
    }
    Ok(LiveReading::External(values.into_iter().map(milli).collect()))
}

fn resources(
    resource: &str,
    container: Option<&str>,
    gathered: &Gathered,
    members: &Members<'_>,
    at: Timestamp,
    config: &PrometheusConfig,
) -> Result<LiveReading, MetricError> {
    let cpu = match resource {
        "cpu" => true,
        "memory" => false,
        _ => return Err(MetricError::NoMetrics),
    };
    let table: &Measure =
        if cpu { &gathered.cpu } else { &gathered.memory }.as_ref().map_err(|_| MetricError::FetchFailed)?;
    let statics = gathered.statics.as_deref().map_err(|_| MetricError::FetchFailed)?;
    if members.pods.is_empty() {
        return Err(MetricError::NoPods);
    }
    let window_ms = i64::try_from(config.rate_window().as_millis()).unwrap_or(i64::MAX);
    let pods: Vec<PodReading> = members
        .pods
        .iter()
        .map(|(key, _)| {
            let sample = table.fresh(key, at, config).and_then(|(value, scraped)| {
                let value = match container {
                    None => value.total,
                    Some(name) => value.containers.iter().find(|(known, _)| known == name)?.1,
                };
                Some(PodSample { value_milli: milli(value), at: scraped, window_ms })
            });
            let request = statics.pods.get(*key).map_or(Request::Missing, |pod| pod.request(cpu, container));
            PodReading { sample, request }
        })
        .collect();
    if pods.iter().all(|pod| pod.sample.is_none()) {
        return Err(MetricError::NoMetrics);
    }
    Ok(LiveReading::PerPod(PodReadings { pods, strays_milli: Vec::new() }))
}

fn custom(
    series: &[Series],
    members: &Members<'_>,
    at: Timestamp,
    config: &PrometheusConfig,
) -> Result<LiveReading, MetricError> {
    if members.pods.is_empty() {
        return Err(MetricError::NoPods);
    }
    let labels = &config.labels;
    let values: HashMap<(&str, &str), f64> = series
        .iter()
        .filter_map(|one| Some(((one.label(&labels.namespace), one.label(&labels.pod)), one.measured()?)))
        .collect();
    let sample = |value: &f64| PodSample { value_milli: milli(*value), at, window_ms: CUSTOM_WINDOW_MS };
    let pods: Vec<PodReading> = members
        .pods
        .iter()
        .map(|(key, _)| {
            // An aggregation may have dropped the namespace.
            let value = values.get(&(key.0.as_str(), key.1.as_str())).or_else(|| values.get(&("", &key.1)));
            PodReading { sample: value.map(sample), request: Request::Missing }
        })
        .collect();
    if pods.iter().all(|pod| pod.sample.is_none()) {
        return Err(MetricError::NoMetrics);
    }
    Ok(LiveReading::PerPod(PodReadings { pods, strays_milli: Vec::new() }))
}
