//! What do the workloads do, according to Prometheus?
//!
//! [`Prometheus`] is the [`MetricSource`](sphere_pipeline::MetricSource) over the HTTP API of Prometheus and of what
//! speaks it (Thanos, Mimir, VictoriaMetrics). A few queries answer for all workloads; their series are matched to
//! workloads here. All queries carry the instant asked about, so a replayed or accelerated clock works.
//!
//! # What is read
//!
//! | for | metric | exporter |
//! |---|---|---|
//! | demand and usage | `container_cpu_usage_seconds_total`, `container_memory_working_set_bytes` | cAdvisor |
//! | demand in requests | the counter of the spec | the workload |
//! | pods | `kube_pod_status_phase`, `_status_ready`, `_status_ready_time`, `_start_time`, `_deletion_timestamp` | kube-state-metrics |
//! | replicas | `kube_deployment_spec_replicas`, `_status_replicas_ready`, same of StatefulSets and ReplicaSets | kube-state-metrics |
//! | owners | `kube_pod_owner`, `kube_replicaset_owner` | kube-state-metrics |
//! | requests, limits | `kube_pod_container_resource_requests`, `_limits`, `kube_pod_container_info`, `kube_node_status_allocatable` | kube-state-metrics |
//!
//! # What is never done
//!
//! - An empty answer is not 0. Zero comes only from a series that says so.
//! - NaN, infinite and negative values are absent, and so is what is older than `staleAfterSeconds`: Prometheus itself
//!   would return values up to five minutes old.
//! - A partial answer (warnings) is an error for the workloads concerned, unless `acceptPartial`.
//! - Demand is never silently low: a pod that serves for longer than the rate window and has no fresh sample (a lost
//!   node, a failed scrape) is *missing*. While at least `minReportingShare` of such pods report, each missing one
//!   counts as the mean of those; below that share there is no demand. Pods younger than the window are not expected
//!   to report. Usage of deleted pods counts as long as it lies in the window, for it was demand.
//!
//! Without kube-state-metrics pods are found by their names, replicas and requests stay unknown, and a lost node can
//! not be told from deleted pods; the HPA calculation for CPU then has no usable pods and holds.

mod answer;
mod client;
mod config;
mod gather;
mod history;
mod inventory;
mod live;
mod measure;
mod owners;
mod promql;
mod source;

pub use config::{Auth, BasicAuth, ConfigProblem, LabelNames, Method, PrometheusConfig, TlsConfig};
pub use source::{Prometheus, StartError};

/// Makes *ring* the process-wide TLS provider unless there is one. Any number of calls do no harm;
/// [`Prometheus::new`] makes one.
pub fn install_crypto() {
    // The error says that another call was first, which is what was wanted.
    let _ = rustls::crypto::ring::default_provider().install_default();
}
