//! Which pods and replicas are there, and what do they request?
//!
//! What kube-state-metrics tells. Several metrics are asked for in one query; duplicates (two replicas of the
//! exporter) fold into one, and what was scraped too long ago is left out by the query itself.

use crate::answer::Series;
use crate::config::{LabelNames, PrometheusConfig};
use crate::owners::PodKey;
use crate::promql;
use sphere_core::Timestamp;
use sphere_pipeline::Workload;
use sphere_scaling::hpa::{ConditionStatus, Phase, PodStatus, Readiness, Request};
use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::Arc;

/// One query for the newest values of `names`, kept apart by `labels`; only values above 0 if `positive`.
fn family(
    config: &PrometheusConfig,
    names: &[&str],
    labels: &[&str],
    matchers: &str,
    positive: bool,
) -> String {
    let selector = format!("{{__name__=~{},{matchers}}}", promql::quote(&names.join("|")));
    let above = if positive { " > 0" } else { "" };
    let fresh = promql::duration(config.stale_after());
    let by = labels.join(", ");
    format!("max by (__name__, {by}) ({selector}{above} and last_over_time({selector}[{fresh}]))")
}

fn instant(seconds: f64) -> Timestamp {
    Timestamp((seconds * 1000.0).round() as i64)
}

/// The pods that exist, with their standing.
pub(crate) type Pods = HashMap<PodKey, PodStatus>;

pub(crate) fn pods_query(config: &PrometheusConfig, namespaces: &str) -> String {
    let names = [
        "kube_pod_status_phase",
        "kube_pod_status_ready",
        "kube_pod_status_ready_time",
        "kube_pod_start_time",
        "kube_pod_deletion_timestamp",
    ];
    let LabelNames { namespace, pod, .. } = &config.labels;
    family(config, &names, &[namespace, pod, "phase", "condition"], namespaces, true)
}

/// A pod without a phase does not exist. Where it is not said since when a pod is ready or not, the start is taken:
/// the calculation then takes a pod that failed later for one that never was ready.
pub(crate) fn parse_pods(series: &[Series], labels: &LabelNames) -> Pods {
    #[derive(Default)]
    struct Facts {
        phase: Option<Phase>,
        ready: Option<ConditionStatus>,
        ready_at: Option<Timestamp>,
        started_at: Option<Timestamp>,
        deleted: bool,
    }
    let mut facts: HashMap<PodKey, Facts> = HashMap::new();
    for one in series {
        let Some(value) = one.measured() else { continue };
        let key = (one.label(&labels.namespace).to_owned(), one.label(&labels.pod).to_owned());
        let pod = facts.entry(key).or_default();
        match one.label("__name__") {
            "kube_pod_status_phase" => {
                pod.phase = match one.label("phase") {
                    "Pending" => Some(Phase::Pending),
                    "Running" => Some(Phase::Running),
                    "Succeeded" => Some(Phase::Succeeded),
                    "Failed" => Some(Phase::Failed),
                    _ => Some(Phase::Unknown),
                }
            }
            "kube_pod_status_ready" => {
                pod.ready = match one.label("condition") {
                    "true" => Some(ConditionStatus::True),
                    "false" => Some(ConditionStatus::False),
                    _ => Some(ConditionStatus::Unknown),
                }
            }
            "kube_pod_status_ready_time" => pod.ready_at = Some(instant(value)),
            "kube_pod_start_time" => pod.started_at = Some(instant(value)),
            "kube_pod_deletion_timestamp" => pod.deleted = true,
            _ => {}
        }
    }
    let status = |f: Facts| {
        let since = f.ready_at.or(f.started_at).unwrap_or_default();
        Some(PodStatus {
            phase: f.phase?,
            deleted: f.deleted,
            ready: f.ready.map(|status| Readiness { status, since }),
            started_at: f.started_at,
        })
    };
    facts.into_iter().filter_map(|(key, facts)| Some((key, status(facts)?))).collect()
}

/// Kinds whose replicas are told: metric of those asked for, metric of those ready, label with the name.
const KINDS: [(&str, &str, &str, &str); 3] = [
    ("Deployment", "kube_deployment_spec_replicas", "kube_deployment_status_replicas_ready", "deployment"),
    ("StatefulSet", "kube_statefulset_replicas", "kube_statefulset_status_replicas_ready", "statefulset"),
    ("ReplicaSet", "kube_replicaset_spec_replicas", "kube_replicaset_status_ready_replicas", "replicaset"),
];

/// Replicas by kind, namespace and name.
#[derive(Debug, Default)]
pub(crate) struct Replicas {
    asked: HashMap<(&'static str, String, String), f64>,
    ready: HashMap<(&'static str, String, String), f64>,
}

impl Replicas {
    fn of(table: &HashMap<(&'static str, String, String), f64>, workload: &Workload) -> Option<f64> {
        let id = &workload.id;
        let kind = KINDS.iter().find(|k| k.0 == id.kind())?.0;
        table.get(&(kind, id.namespace().to_owned(), id.name().to_owned())).copied()
    }

    pub fn asked(&self, workload: &Workload) -> Option<u32> {
        Self::of(&self.asked, workload).map(|n| n as u32)
    }

    pub fn ready(&self, workload: &Workload) -> Option<f64> {
        Self::of(&self.ready, workload)
    }
}

/// The kinds among `workloads` that [`KINDS`] knows.
fn kinds<'a>(
    workloads: impl Iterator<Item = &'a Arc<Workload>>,
) -> Vec<&'static (&'static str, &'static str, &'static str, &'static str)> {
    let wanted: BTreeSet<&str> = workloads.map(|w| w.id.kind()).collect();
    KINDS.iter().filter(|kind| wanted.contains(kind.0)).collect()
}

/// `None`: no workload is of a kind whose replicas are told.
pub(crate) fn replicas_query<'a>(
    config: &PrometheusConfig,
    namespaces: &str,
    workloads: impl Iterator<Item = &'a Arc<Workload>>,
) -> Option<String> {
    let kinds = kinds(workloads);
    let names: Vec<&str> = kinds.iter().flat_map(|kind| [kind.1, kind.2]).collect();
    let mut labels = vec![config.labels.namespace.as_str()];
    labels.extend(kinds.iter().map(|kind| kind.3));
    (!names.is_empty()).then(|| family(config, &names, &labels, namespaces, false))
}

/// Ready replicas, averaged over the rate window (for an instant) or as they are (for a range).
pub(crate) fn ready_query<'a>(
    config: &PrometheusConfig,
    namespaces: &str,
    workloads: impl Iterator<Item = &'a Arc<Workload>>,
    mean: bool,
) -> Option<String> {
    let kinds = kinds(workloads);
    let names: Vec<&str> = kinds.iter().map(|kind| kind.2).collect();
    if names.is_empty() {
        return None;
    }
    let labels: Vec<&str> =
        std::iter::once(config.labels.namespace.as_str()).chain(kinds.iter().map(|kind| kind.3)).collect();
    let selector = format!("{{__name__=~{},{namespaces}}}", promql::quote(&names.join("|")));
    let by = labels.join(", ");
    let (over, window) =
        if mean { ("avg_over_time", config.rate_window()) } else { ("last_over_time", config.stale_after()) };
    Some(format!("max by ({by}) ({over}({selector}[{}]))", promql::duration(window)))
}

/// Kind, namespace and name that a series of [`ready_query`] is about.
fn subject(series: &Series, labels: &LabelNames) -> Option<(&'static str, String, String)> {
    let kind = KINDS.iter().find(|kind| !series.label(kind.3).is_empty())?;
    Some((kind.0, series.label(&labels.namespace).to_owned(), series.label(kind.3).to_owned()))
}

pub(crate) fn parse_replicas(series: &[Series], labels: &LabelNames) -> Replicas {
    let mut replicas = Replicas::default();
    for one in series {
        let (Some(key), Some(value)) = (subject(one, labels), one.measured()) else { continue };
        let name = one.label("__name__");
        let asked = KINDS.iter().any(|kind| kind.1 == name);
        let table = if asked { &mut replicas.asked } else { &mut replicas.ready };
        table.insert(key, value);
    }
    replicas
}

/// Ready replicas per workload and instant, from a range of [`ready_query`].
pub(crate) fn ready_over_time(
    series: &[Series],
    labels: &LabelNames,
    workloads: &[Arc<Workload>],
) -> HashMap<usize, HashMap<i64, f64>> {
    let mut of_subject = HashMap::new();
    for one in series {
        if let Some(key) = subject(one, labels) {
            of_subject.insert(key, one);
        }
    }
    let mut found = HashMap::new();
    for (index, workload) in workloads.iter().enumerate() {
        let id = &workload.id;
        let Some(kind) = KINDS.iter().find(|kind| kind.0 == id.kind()) else { continue };
        let Some(one) = of_subject.get(&(kind.0, id.namespace().to_owned(), id.name().to_owned())) else {
            continue;
        };
        let values = one.values.iter().filter_map(|p| Some((p.at_ms, p.measured()?)));
        found.insert(index, values.collect());
    }
    found
}

/// Requests and limits of a container: CPU in cores, memory in bytes.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Resources {
    cpu_request: Option<f64>,
    cpu_limit: Option<f64>,
    memory_request: Option<f64>,
    /// It runs as long as the pod: an app container or a sidecar.
    stays: bool,
}

/// What seldom changes about a pod.
#[derive(Debug, Default)]
pub(crate) struct PodStatics {
    /// Kind and name of its controller.
    pub owner: Option<(String, String)>,
    node: Option<String>,
    containers: BTreeMap<String, Resources>,
}

/// What seldom changes.
#[derive(Debug, Default)]
pub(crate) struct Statics {
    pub pods: HashMap<PodKey, PodStatics>,
    /// Controllers of ReplicaSets, by namespace and name.
    pub replica_sets: HashMap<PodKey, (String, String)>,
    /// Cores of nodes.
    pub allocatable: HashMap<String, f64>,
}

pub(crate) fn statics_query(config: &PrometheusConfig, namespaces: &str) -> String {
    let names = [
        "kube_pod_owner",
        "kube_replicaset_owner",
        "kube_pod_info",
        "kube_pod_container_info",
        "kube_pod_container_resource_requests",
        "kube_pod_container_resource_limits",
        "kube_pod_init_container_info",
        "kube_pod_init_container_resource_requests",
        "kube_pod_init_container_resource_limits",
    ];
    let LabelNames { namespace, pod, container, node } = &config.labels;
    let labels = [
        namespace,
        pod,
        container,
        node,
        "resource",
        "owner_kind",
        "owner_name",
        "replicaset",
        "restart_policy",
    ];
    let matchers = format!("{namespaces},resource=~\"cpu|memory|\",owner_is_controller!=\"false\"");
    family(config, &names, &labels, &matchers, false)
}

pub(crate) fn allocatable_query(config: &PrometheusConfig) -> String {
    family(config, &["kube_node_status_allocatable"], &[&config.labels.node], "resource=\"cpu\"", true)
}

pub(crate) fn parse_statics(series: &[Series], nodes: &[Series], labels: &LabelNames) -> Statics {
    let mut statics = Statics::default();
    let owner = |one: &Series| (one.label("owner_kind").to_owned(), one.label("owner_name").to_owned());
    for one in series {
        let Some(value) = one.measured() else { continue };
        let namespace = one.label(&labels.namespace).to_owned();
        let name = one.label("__name__");
        if name == "kube_replicaset_owner" {
            let key = (namespace, one.label("replicaset").to_owned());
            statics.replica_sets.insert(key, owner(one));
            continue;
        }
        let pod = statics.pods.entry((namespace, one.label(&labels.pod).to_owned())).or_default();
        if name == "kube_pod_owner" {
            pod.owner = Some(owner(one));
            continue;
        }
        if name == "kube_pod_info" {
            pod.node = Some(one.label(&labels.node).to_owned()).filter(|node| !node.is_empty());
            continue;
        }
        let container = pod.containers.entry(one.label(&labels.container).to_owned()).or_default();
        match (name, one.label("resource")) {
            ("kube_pod_container_info", _) => container.stays = true,
            ("kube_pod_init_container_info", _) => container.stays |= one.label("restart_policy") == "Always",
            (requests, "cpu") if requests.ends_with("_requests") => container.cpu_request = Some(value),
            (requests, "memory") if requests.ends_with("_requests") => container.memory_request = Some(value),
            (limits, "cpu") if limits.ends_with("_limits") => container.cpu_limit = Some(value),
            _ => {}
        }
        // Where no info series are exported, resources of app containers say that they exist.
        container.stays |= name.starts_with("kube_pod_container_");
    }
    let cores = nodes.iter().filter_map(|one| Some((one.label(&labels.node).to_owned(), one.measured()?)));
    statics.allocatable = cores.collect();
    statics
}

impl PodStatics {
    fn staying(&self) -> impl Iterator<Item = (&String, &Resources)> {
        self.containers.iter().filter(|(_, resources)| resources.stays)
    }

    /// What the pod or one container requests: every container must, as in Kubernetes.
    pub fn request(&self, cpu: bool, container: Option<&str>) -> Request {
        let of = |r: &Resources| if cpu { r.cpu_request } else { r.memory_request };
        let milli = |value: f64| Request::Milli((value * 1000.0).round() as i64);
        if let Some(name) = container {
            return match self.staying().find(|(known, _)| *known == name) {
                Some((_, resources)) => of(resources).map_or(Request::Missing, milli),
                None => Request::ContainerNotFound,
            };
        }
        let mut values = self.staying().map(|(_, resources)| of(resources)).peekable();
        if values.peek().is_none() {
            return Request::Missing;
        }
        values.sum::<Option<f64>>().map_or(Request::Missing, milli)
    }

    /// CPU limit of the pod, cores; absent unless each container has one.
    pub fn cpu_limit(&self) -> Option<f64> {
        let sum: Option<f64> = self.staying().map(|(_, resources)| resources.cpu_limit).sum();
        sum.filter(|cores| *cores > 0.0)
    }

    /// What the pod can carry, cores: each container its limit, else its request; containers with neither add
    /// nothing, for too small a capacity is the safer error. A pod with none at all: its node.
    pub fn cpu_capacity(&self, statics: &Statics) -> Option<f64> {
        let sum: f64 = self.staying().filter_map(|(_, r)| r.cpu_limit.or(r.cpu_request)).sum();
        if sum > 0.0 {
            return Some(sum);
        }
        statics.allocatable.get(self.node.as_ref()?).copied()
    }
}
