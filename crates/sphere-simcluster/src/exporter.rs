//! What does Prometheus see of the simulated cluster?
//!
//! The names and labels that a real cluster has: cAdvisor's containers, kube-state-metrics' pods and Deployments, a
//! request histogram of the application, and a service mesh's count of requests. Counters belong to pods and die with
//! them, as in a cluster; a starting pod has its counters at 0. Of the histogram only the last bucket is there: the
//! simulator knows the latency of a workload, not of a pod. Time in `*_time` metrics is the cluster's own clock.

use crate::cluster::SimulatedCluster;
use crate::readings::memory_request;
use crate::roster::Counters;
use crate::workload::LiveWorkload;
use prometheus_client::collector::Collector;
use prometheus_client::encoding::text;
use prometheus_client::encoding::{DescriptorEncoder, EncodeLabelSet, MetricEncoder, NoLabelSet};
use prometheus_client::metrics::MetricType;
use prometheus_client::registry::Registry;
use std::fmt::{Error, Result};
use std::sync::Arc;

/// Writes the page. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Exporter {
    registry: Arc<Registry>,
}

impl Exporter {
    /// Of the page: OpenMetrics text.
    pub const CONTENT_TYPE: &'static str = "application/openmetrics-text; version=1.0.0; charset=utf-8";

    /// Shows `cluster`, without moving it on.
    pub fn new(cluster: SimulatedCluster) -> Self {
        let mut registry = Registry::default();
        registry.register_collector(Box::new(Pages { cluster }));
        Self { registry: Arc::new(registry) }
    }

    /// The page now.
    pub fn page(&self) -> std::result::Result<String, Error> {
        let mut page = String::new();
        text::encode(&mut page, &self.registry)?;
        Ok(page)
    }
}

#[derive(Debug)]
struct Pages {
    cluster: SimulatedCluster,
}

/// One workload, copied out so that the cluster need not wait for the writing.
struct WorkloadRow {
    namespace: String,
    name: String,
    replica_set: String,
    replicas: u32,
    ready: u32,
    cores: f64,
    memory_bytes: u64,
    total: Counters,
    pods: Vec<PodRow>,
}

/// One pod.
struct PodRow {
    name: String,
    started_s: f64,
    ready_s: Option<f64>,
    counted: Counters,
}

impl WorkloadRow {
    fn of(live: &LiveWorkload) -> Self {
        let replica_set = format!("{}-{}", live.id.name(), live.roster().hash());
        let pods = live.roster().pods().map(|(pod, counted)| PodRow {
            name: format!("{replica_set}-{}", pod.suffix),
            started_s: live.instant(pod.ordered_s).secs_f64(),
            ready_s: pod.ready_s.map(|ready| live.instant(ready).secs_f64()),
            counted,
        });
        Self {
            namespace: live.id.namespace().into(),
            name: live.id.name().into(),
            pods: pods.collect(),
            replica_set,
            replicas: live.replicas(),
            ready: live.ready(),
            cores: live.cpu_per_pod,
            memory_bytes: live.memory_bytes,
            total: live.roster().total(),
        }
    }
}

/// One metric of all workloads being written.
struct Metric<'a>(MetricEncoder<'a>);

impl Metric<'_> {
    fn gauge(&mut self, labels: &impl EncodeLabelSet, value: f64) -> Result {
        self.0.encode_family(labels)?.encode_gauge(&value)
    }

    fn counter(&mut self, labels: &impl EncodeLabelSet, value: f64) -> Result {
        self.0.encode_family(labels)?.encode_counter::<NoLabelSet, f64, f64>(&value, None)
    }
}

impl Collector for Pages {
    fn encode(&self, mut page: DescriptorEncoder<'_>) -> Result {
        let rows: Vec<WorkloadRow> = self.cluster.state().workloads.iter().map(WorkloadRow::of).collect();
        containers(&mut page, &rows)?;
        pods(&mut page, &rows)?;
        deployments(&mut page, &rows)?;
        requests(&mut page, &rows)
    }
}

/// Writes one metric with what `each` says about every pod.
fn per_pod(
    page: &mut DescriptorEncoder<'_>,
    rows: &[WorkloadRow],
    (name, help, kind): (&str, &str, MetricType),
    mut each: impl FnMut(&mut Metric<'_>, &WorkloadRow, &PodRow) -> Result,
) -> Result {
    let mut metric = Metric(page.encode_descriptor(name, help, None, kind)?);
    for row in rows {
        for pod in &row.pods {
            each(&mut metric, row, pod)?;
        }
    }
    Ok(())
}

fn pod_labels<'a>(row: &'a WorkloadRow, pod: &'a PodRow) -> [(&'a str, &'a str); 2] {
    [("namespace", &row.namespace), ("pod", &pod.name)]
}

fn containers(page: &mut DescriptorEncoder<'_>, rows: &[WorkloadRow]) -> Result {
    let what = ("container_cpu_usage_seconds", "CPU time used by the container", MetricType::Counter);
    per_pod(page, rows, what, |metric, row, pod| {
        let labels = (pod_labels(row, pod), [("container", row.name.as_str())]);
        metric.counter(&labels, pod.counted.cpu_pod_s * row.cores)
    })?;
    let what = ("container_memory_working_set_bytes", "Memory in use by the container", MetricType::Gauge);
    per_pod(page, rows, what, |metric, row, pod| {
        let labels = (pod_labels(row, pod), [("container", row.name.as_str())]);
        metric.gauge(&labels, row.memory_bytes as f64)
    })?;
    // Requests and limits are the same: pods can not use more than they asked for.
    for (name, help) in [
        ("kube_pod_container_resource_requests", "Resources requested by the container"),
        ("kube_pod_container_resource_limits", "Limits of the container"),
    ] {
        per_pod(page, rows, (name, help, MetricType::Gauge), |metric, row, pod| {
            let memory = memory_request(row.memory_bytes) as f64;
            for (resource, unit, value) in [("cpu", "core", row.cores), ("memory", "byte", memory)] {
                let container = [("container", row.name.as_str()), ("resource", resource), ("unit", unit)];
                metric.gauge(&(pod_labels(row, pod), container), value)?;
            }
            Ok(())
        })?;
    }
    Ok(())
}

fn pods(page: &mut DescriptorEncoder<'_>, rows: &[WorkloadRow]) -> Result {
    let gauge = MetricType::Gauge;
    per_pod(page, rows, ("kube_pod_owner", "Who owns the pod", gauge), |metric, row, pod| {
        let owner = [
            ("owner_kind", "ReplicaSet"),
            ("owner_name", row.replica_set.as_str()),
            ("owner_is_controller", "true"),
        ];
        metric.gauge(&(pod_labels(row, pod), owner), 1.0)
    })?;
    per_pod(page, rows, ("kube_pod_status_phase", "Phase of the pod", gauge), |metric, row, pod| {
        for phase in ["Pending", "Running", "Succeeded", "Failed", "Unknown"] {
            let value = if phase == "Running" { 1.0 } else { 0.0 };
            metric.gauge(&(pod_labels(row, pod), [("phase", phase)]), value)?;
        }
        Ok(())
    })?;
    per_pod(page, rows, ("kube_pod_status_ready", "Is the pod ready?", gauge), |metric, row, pod| {
        let now = if pod.ready_s.is_some() { "true" } else { "false" };
        for condition in ["true", "false", "unknown"] {
            let value = if condition == now { 1.0 } else { 0.0 };
            metric.gauge(&(pod_labels(row, pod), [("condition", condition)]), value)?;
        }
        Ok(())
    })?;
    let what = ("kube_pod_status_ready_time", "When the pod became ready, seconds of Unix time", gauge);
    per_pod(page, rows, what, |metric, row, pod| match pod.ready_s {
        Some(at) => metric.gauge(&pod_labels(row, pod), at),
        None => Ok(()),
    })?;
    for (name, help) in [
        ("kube_pod_created", "When the pod was created, seconds of Unix time"),
        ("kube_pod_start_time", "When the pod was started, seconds of Unix time"),
    ] {
        per_pod(page, rows, (name, help, gauge), |metric, row, pod| {
            metric.gauge(&pod_labels(row, pod), pod.started_s)
        })?;
    }
    Ok(())
}

fn deployments(page: &mut DescriptorEncoder<'_>, rows: &[WorkloadRow]) -> Result {
    let mut metric = Metric(page.encode_descriptor(
        "kube_replicaset_owner",
        "Who owns the ReplicaSet",
        None,
        MetricType::Gauge,
    )?);
    for row in rows {
        let labels = [
            ("namespace", row.namespace.as_str()),
            ("replicaset", &row.replica_set),
            ("owner_kind", "Deployment"),
            ("owner_name", &row.name),
            ("owner_is_controller", "true"),
        ];
        metric.gauge(&labels, 1.0)?;
    }
    type Value = fn(&WorkloadRow) -> u32;
    let values: [(&str, &str, Value); 3] = [
        ("kube_deployment_spec_replicas", "Pods asked for", |row| row.replicas),
        ("kube_deployment_status_replicas", "Pods there are", |row| row.replicas),
        ("kube_deployment_status_replicas_ready", "Pods that serve", |row| row.ready),
    ];
    for (name, help, value) in values {
        let mut metric = Metric(page.encode_descriptor(name, help, None, MetricType::Gauge)?);
        for row in rows {
            let labels = [("namespace", row.namespace.as_str()), ("deployment", &row.name)];
            metric.gauge(&labels, f64::from(value(row)))?;
        }
    }
    Ok(())
}

fn requests(page: &mut DescriptorEncoder<'_>, rows: &[WorkloadRow]) -> Result {
    let what = (
        "http_request_duration_seconds",
        "Time requests took, given-up ones included",
        MetricType::Histogram,
    );
    per_pod(page, rows, what, |metric, row, pod| {
        let labels = (pod_labels(row, pod), [("service", row.name.as_str())]);
        // Arrivals are whole numbers per workload, shared by its pods: rounded down, the count still never falls.
        let count = pod.counted.requests.max(0.0) as u64;
        metric.0.encode_family(&labels)?.encode_histogram::<NoLabelSet>(
            pod.counted.latency_s,
            count,
            &[(f64::INFINITY, count)],
            None,
        )
    })?;
    let mut metric = Metric(page.encode_descriptor(
        "istio_requests",
        "Requests answered or given up, as a service mesh counts them",
        None,
        MetricType::Counter,
    )?);
    for row in rows {
        let failed = row.total.failed.min(row.total.requests);
        for (code, value) in [("200", row.total.requests - failed), ("504", failed)] {
            let labels = [
                ("namespace", row.namespace.as_str()),
                ("destination_workload", &row.name),
                ("destination_service_name", &row.name),
                ("response_code", code),
            ];
            metric.counter(&labels, value)?;
        }
    }
    Ok(())
}
