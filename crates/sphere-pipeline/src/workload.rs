//! Which workloads are there, and what does their owner ask for?
//!
//! [`WorkloadSpec`] is the `spec` of a PredictiveAutoscaler plus its namespace; the configuration file holds a
//! list of them. Unknown keys are refused; [`WorkloadSpec::problems`] tells everything that can not be meant.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use sphere_core::{Mode, WorkloadId};
use sphere_forecast::registry;
use sphere_scaling::hpa::{Behavior, MetricSpec};
use sphere_scaling::safety::HoldPolicy;
use sphere_scaling::{Objective, PredictivePolicy, ScalingSpec};
use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::watch;

/// The object whose replicas are chosen: anything with a scale subresource.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct ScaleTargetRef {
    /// API version of the object, e.g. `apps/v1`.
    #[serde(default = "apps_v1")]
    pub api_version: String,
    /// Kind of the object, e.g. `Deployment`, `StatefulSet` or a custom resource.
    #[serde(default = "deployment")]
    pub kind: String,
    /// Name of the object.
    pub name: String,
}

fn apps_v1() -> String {
    "apps/v1".into()
}

fn deployment() -> String {
    "Deployment".into()
}

/// CPU in use over all pods, cores.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct CpuDemand {}

/// Requests per second, from a counter (for a histogram: its `_count`).
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct RequestsDemand {
    /// Name of the counter, e.g. `http_request_duration_seconds_count`.
    #[serde(default = "request_counter")]
    pub counter: String,
    /// Label of the counter that tells whose requests they are: `pod` (its pods are added up) or a label whose value is
    /// the name of the workload, such as `service`.
    #[serde(default = "pod_label")]
    pub label: String,
}

fn request_counter() -> String {
    "http_request_duration_seconds_count".into()
}

fn pod_label() -> String {
    "pod".into()
}

/// What is forecast: total demand over all pods, never per pod (that depends on our own actions). At most one of the
/// fields; CPU when none is given.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct DemandSpec {
    /// CPU in use over all pods, cores. What one pod carries is its limit, else its request, else its node.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cpu: Option<CpuDemand>,
    /// Requests per second over all pods, from Prometheus. Needs `capacityPerPod`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub requests: Option<RequestsDemand>,
    /// A query for Prometheus (PromQL) that answers with one value: the total demand. Needs `capacityPerPod`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub query: Option<String>,
}

/// How demand is forecast.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct ForecastSpec {
    /// What is forecast; CPU when absent.
    #[serde(default)]
    pub demand: DemandSpec,
    /// The model: `sphere`, `auto`, `last`, `mean-6`, `seasonal-naive-1d`, `last-week`, `ses`, `holt`, `damped-holt`,
    /// `hw-add-1h`, `ets`, `theta`, `arima`, `sarimax-1d`, `prophet-1d`, `mstl-1d`, `gbt`, `lstm`, `ensemble(ses;holt)`, …; `sphere
    /// evaluate --help` explains each.
    #[serde(default = "default_model")]
    pub model: String,
    /// Shortest horizon, 1 to 86400 seconds. The forecast always covers the lead time plus one step; absent: just that.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub horizon_seconds: Option<f64>,
}

fn default_model() -> String {
    "sphere".into()
}

impl Default for ForecastSpec {
    fn default() -> Self {
        Self { demand: DemandSpec::default(), model: default_model(), horizon_seconds: None }
    }
}

/// What the owner of a workload asks for: which object to scale, within which bounds, by which metrics, and how far
/// SPHERE may act on its forecast.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct WorkloadSpec {
    /// Namespace of the target.
    pub namespace: String,
    /// The object to scale.
    pub scale_target_ref: ScaleTargetRef,
    /// Fewest replicas. 0 needs an Object or External metric. In mode `Floor` the fewest that a forecast asks for: while none is
    /// trusted, `minReplicas` of the HorizontalPodAutoscaler counts alone.
    #[serde(default = "one")]
    pub min_replicas: u32,
    /// Most replicas.
    pub max_replicas: u32,
    /// What the reactive part follows, as a HorizontalPodAutoscaler would, in autoscaling/v2 shape; CPU at 80 % of
    /// requests when absent.
    #[serde(default = "cpu_at_80")]
    pub metrics: Vec<MetricSpec>,
    /// Queries for Prometheus (PromQL) that answer for `Object` and `External` metrics, by name of the metric; for `Pods`
    /// metrics, too, where Prometheus is the only source. Metrics without a query are asked of the cluster's metrics APIs.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub queries: BTreeMap<String, String>,
    /// Limits on the speed of change, in autoscaling/v2 shape. Absent: Kubernetes' defaults for the reactive part, none
    /// for the predictive part. Present: its policies, and the windows it states, bind both.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub behavior: Option<Behavior>,
    /// How far SPHERE may act on this workload.
    #[serde(default)]
    pub mode: Mode,
    /// Which rule turns the forecast into replicas.
    #[serde(default)]
    pub policy: PredictivePolicy,
    /// What to optimise: a price or an objective.
    #[serde(default)]
    pub objective: Objective,
    /// What to do when metrics stay missing.
    #[serde(default)]
    pub fallback: HoldPolicy,
    /// A switch to stop with: decide and report, but touch nothing.
    #[serde(default)]
    pub paused: bool,
    /// What one pod carries, in the unit of the demand (cores, requests per second, …); needed where demand is not CPU.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub capacity_per_pod: Option<f64>,
    /// Time from the creation of a pod until it is Ready, to plan with until start-ups were measured, 1 to 3600 seconds.
    #[serde(default = "minute")]
    pub startup_seconds: f64,
    /// How demand is forecast.
    #[serde(default)]
    pub forecast: ForecastSpec,
}

fn one() -> u32 {
    1
}

fn minute() -> f64 {
    60.0
}

fn cpu_at_80() -> Vec<MetricSpec> {
    vec![MetricSpec::cpu_utilization(80)]
}

/// Something in a spec that can not be meant.
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
#[error("{key}: {problem}")]
pub struct WorkloadProblem {
    /// The key, with dots.
    pub key: String,
    /// The value, and what is accepted.
    pub problem: String,
}

impl WorkloadSpec {
    /// A spec with the defaults.
    pub fn new(id: &WorkloadId, min_replicas: u32, max_replicas: u32) -> Self {
        let name = id.name().to_owned();
        Self {
            namespace: id.namespace().into(),
            scale_target_ref: ScaleTargetRef { api_version: apps_v1(), kind: id.kind().into(), name },
            min_replicas,
            max_replicas,
            metrics: cpu_at_80(),
            queries: BTreeMap::new(),
            behavior: None,
            mode: Mode::default(),
            policy: PredictivePolicy::default(),
            objective: Objective::default(),
            fallback: HoldPolicy::default(),
            paused: false,
            capacity_per_pod: None,
            startup_seconds: minute(),
            forecast: ForecastSpec::default(),
        }
    }

    /// The part that scaling reads.
    pub fn scaling(&self) -> ScalingSpec {
        ScalingSpec {
            min_replicas: self.min_replicas,
            max_replicas: self.max_replicas,
            metrics: self.metrics.clone(),
            behavior: self.behavior.clone(),
            mode: self.mode,
            policy: self.policy,
            objective: self.objective,
            fallback: self.fallback,
            paused: self.paused,
            capacity_per_pod: self.capacity_per_pod,
            startup_seconds: self.startup_seconds,
        }
    }

    /// All problems at once; empty when the spec can be used on a grid of `step`.
    pub fn problems(&self, step: Duration) -> Vec<WorkloadProblem> {
        let mut found: Vec<WorkloadProblem> = self
            .scaling()
            .problems()
            .into_iter()
            .map(|p| WorkloadProblem { key: p.key.into(), problem: p.problem })
            .collect();
        let mut problem = |key: &str, problem: String| {
            found.push(WorkloadProblem { key: key.into(), problem });
        };
        let target = &self.scale_target_ref;
        if WorkloadId::new(&self.namespace, "Deployment", "web").is_err() {
            let expected = "a DNS label is expected (a-z, 0-9, '-', at most 63 characters)";
            problem("namespace", format!("{:?} given; {expected}", self.namespace));
        } else if let Err(error) = WorkloadId::new(&self.namespace, &target.kind, &target.name) {
            problem("scaleTargetRef", error.to_string());
        }
        if self.metrics.is_empty() {
            problem("metrics", "empty; at least one is expected, or the key left out for CPU".into());
        }
        if self.mode == Mode::Floor && self.min_replicas == 0 {
            problem("minReplicas", "0 given; in mode Floor the minimum of an HPA is set, at least 1".into());
        }
        if let Err(error) = registry::create(&self.forecast.model, step) {
            problem("forecast.model", error.to_string());
        }
        let demand = &self.forecast.demand;
        let given = [demand.cpu.is_some(), demand.requests.is_some(), demand.query.is_some()];
        if given.iter().filter(|given| **given).count() > 1 {
            problem("forecast.demand", "more than one of cpu, requests, query given; one expected".into());
        }
        if (demand.requests.is_some() || demand.query.is_some()) && self.capacity_per_pod.is_none() {
            problem(
                "capacityPerPod",
                "absent; what one pod carries must be stated where demand is not CPU".into(),
            );
        }
        if let Some(horizon) = self.forecast.horizon_seconds
            && !(1.0..=86_400.0).contains(&horizon)
        {
            problem("forecast.horizonSeconds", format!("{horizon} given, 1..=86400 expected"));
        }
        found
    }
}

/// A workload under SPHERE's care: its spec, with its identity.
#[derive(Clone, Debug, PartialEq)]
pub struct Workload {
    /// Identity.
    pub id: WorkloadId,
    /// What its owner asks for.
    pub spec: WorkloadSpec,
}

impl Workload {
    /// A workload whose spec has no [problems](WorkloadSpec::problems) of name.
    pub fn new(spec: WorkloadSpec) -> Result<Self, sphere_core::ParseWorkloadIdError> {
        let target = &spec.scale_target_ref;
        let id = WorkloadId::new(&spec.namespace, &target.kind, &target.name)?;
        Ok(Self { id, spec })
    }
}

/// All workloads under SPHERE's care, at one moment. Stages watch it (`tokio::sync::watch`): a configuration file
/// gives one that stays, an operator a new one with every change.
#[derive(Clone, Debug, Default)]
pub struct Workloads {
    all: Vec<Arc<Workload>>,
    by_key: HashMap<String, Arc<Workload>>,
}

impl Workloads {
    /// In the order given; of two with the same identity the last one counts.
    pub fn new(workloads: impl IntoIterator<Item = Workload>) -> Self {
        let all: Vec<Arc<Workload>> = workloads.into_iter().map(Arc::new).collect();
        let by_key: HashMap<String, Arc<Workload>> =
            all.iter().map(|workload| (workload.id.to_string(), Arc::clone(workload))).collect();
        let counts =
            |w: &Arc<Workload>| by_key.get(&w.id.to_string()).is_some_and(|last| Arc::ptr_eq(last, w));
        Self { all: all.iter().filter(|w| counts(w)).cloned().collect(), by_key }
    }

    /// All of them.
    pub fn all(&self) -> &[Arc<Workload>] {
        &self.all
    }

    /// The one with this key (`namespace/Kind/name`).
    pub fn get(&self, key: &str) -> Option<&Arc<Workload>> {
        self.by_key.get(key)
    }

    /// A watch that never changes, for a list from a file.
    pub fn fixed(self) -> watch::Receiver<Arc<Self>> {
        watch::channel(Arc::new(self)).1
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SHORT: &str =
        r#"{"namespace": "shop", "scaleTargetRef": {"name": "front-end"}, "maxReplicas": 10}"#;

    #[test]
    fn a_short_spec_has_safe_defaults() {
        let spec: WorkloadSpec = serde_json::from_str(SHORT).unwrap();
        assert_eq!(spec.mode, Mode::Observe);
        assert!(spec.problems(Duration::from_secs(10)).is_empty());
        assert_eq!(Workload::new(spec).unwrap().id.to_string(), "shop/Deployment/front-end");
    }

    #[test]
    fn all_problems_are_told_at_once() {
        let mut spec: WorkloadSpec = serde_json::from_str(SHORT).unwrap();
        spec.namespace = "Shop".into();
        spec.min_replicas = 20;
        spec.forecast.model = "crystal-ball".into();
        spec.forecast.horizon_seconds = Some(0.0);
        spec.forecast.demand.cpu = Some(CpuDemand {});
        spec.forecast.demand.query = Some("up".into());
        let problems = spec.problems(Duration::from_secs(10));
        let keys: Vec<&str> = problems.iter().map(|p| p.key.as_str()).collect();
        assert_eq!(
            keys,
            [
                "minReplicas",
                "metrics/behavior",
                "namespace",
                "forecast.model",
                "forecast.demand",
                "capacityPerPod",
                "forecast.horizonSeconds"
            ]
        );
    }

    #[test]
    fn unknown_keys_are_refused_at_every_depth() {
        for (from, to) in [("\"maxReplicas\"", "\"maxReplica\""), ("\"name\"", "\"nam\"")] {
            assert!(serde_json::from_str::<WorkloadSpec>(&SHORT.replace(from, to)).is_err());
        }
    }
}
