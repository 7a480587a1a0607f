//! What does one line of `sphere decide` say?
//!
//! The shape is made to be written by hand from what an incident leaves behind: "8 ready pods at 72 % CPU, at
//! 12:03" is `{"now": "2026-03-01T12:03:00Z", "current": 8, "cpuUtilization": 0.72}`. Everything more exact is
//! optional. Unknown keys are refused.

use super::instant::Instant;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use sphere_core::{Forecast, WorkloadId};
use sphere_scaling::hpa::{MetricError, Phase, Quantity, Selector};
use sphere_scaling::{AutoscalerState, ScalingSpec};
use std::collections::BTreeMap;

/// One question: what should this workload have, under this policy, given this?
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct DecideInput {
    /// Which workload, e.g. `shop/Deployment/front-end`. A forecast for another one is refused.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub workload: Option<WorkloadId>,
    /// What is asked of it: bounds, metrics, behavior, mode, objective.
    pub policy: ScalingSpec,
    /// What is known of it now.
    pub observation: ObservationInput,
    /// What is known of its past.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub history: Option<History>,
    /// The forecast to decide on. Without it one is made from `history.demand`; without that, too, the decision
    /// is reactive.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub forecast: Option<Forecast>,
}

/// A workload at one instant. What is left out was not measured; it is not zero.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct ObservationInput {
    /// The instant decided at.
    pub now: Instant,
    /// Replicas asked for.
    pub current: u32,
    /// Replicas ready; the ready ones of `pods`, or else all of `current`, when left out.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ready: Option<u32>,
    /// Total demand, in the unit of the forecast (requests/s, cores, …).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub demand: Option<f64>,
    /// What one pod carries, in the same unit; the policy's when left out.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub capacity_per_pod: Option<f64>,
    /// Share of the capacity of the ready pods in use, where that is measured independently of the demand.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub utilization: Option<f64>,
    /// Pods are at their limit: true demand is larger than `demand`.
    #[serde(default)]
    pub censored: bool,
    /// Share of the last interval with more demand than ready capacity, 0 to 1.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub violated_share: Option<f64>,
    /// Who else scales the target, if someone does.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub conflict_with: Option<String>,
    /// The scale of the target could not be read.
    #[serde(default)]
    pub scale_unreadable: bool,
    /// Is it clear which pods belong to the target?
    #[serde(default)]
    pub selector: Selector,
    /// Short form of `metrics` for pods that are all alike: CPU of each ready pod as a share of its request,
    /// e.g. 0.72. It answers the policy's CPU metrics; others count as not fetched.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cpu_utilization: Option<f64>,
    /// One reading per metric of the policy, in its order. Left out, nothing was fetched.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub metrics: Option<Vec<ReadingInput>>,
    /// The pods one by one. Left out: `ready` pods that have been running for long, the rest of `current` pending,
    /// each requesting one unit of whatever is measured.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub pods: Option<Vec<PodInput>>,
}

/// What was measured for one metric of the policy.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub enum ReadingInput {
    /// Every ready pod uses this share of its request, e.g. 0.72. For Resource and ContainerResource.
    Utilization(f64),
    /// Every ready pod has this value. For Resource, ContainerResource and Pods.
    Average(Quantity),
    /// Pod by pod. For Resource, ContainerResource and Pods.
    Samples(Vec<SampleInput>),
    /// The one value. For Object and External.
    Value(Quantity),
    /// The value of each series. For External.
    Series(Vec<Quantity>),
    /// Nothing was measured, because of this.
    Error(MetricError),
}

/// One pod's value of one metric.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct SampleInput {
    /// Name of the pod; left out: the pod at the same place in `pods`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub pod: Option<String>,
    /// The value, e.g. `250m`.
    pub value: Quantity,
    /// End of the interval averaged over; `now` when left out.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub at: Option<Instant>,
    /// Length of the interval averaged over, seconds.
    #[serde(default = "half_minute")]
    pub window_seconds: u32,
}

/// One pod.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct PodInput {
    /// Its name; `pod-0`, `pod-1`, … by its place when left out.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub name: Option<String>,
    /// Its phase.
    #[serde(default)]
    pub phase: Phase,
    /// Is it ready? Left out: if it runs.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ready: Option<bool>,
    /// Since when it has been ready or not; its start when left out.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ready_since: Option<Instant>,
    /// When it was started; an hour ago when left out.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub started_at: Option<Instant>,
    /// It is being deleted.
    #[serde(default)]
    pub deleted: bool,
    /// Requests by resource, e.g. `{"cpu": "500m"}`. Left out together with `containers`: one unit of whatever
    /// is measured.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub requests: Option<BTreeMap<String, Quantity>>,
    /// Its containers, where requests are told by container.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub containers: Option<Vec<ContainerInput>>,
}

/// One container of a pod.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct ContainerInput {
    /// Its name.
    pub name: String,
    /// Its requests by resource.
    #[serde(default)]
    pub requests: BTreeMap<String, Quantity>,
}

/// The past of a workload. All lists run from old to new and end at or before `now`.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct History {
    /// Total demand: `[[at, value], …]`, `null` for a step without a measurement. A forecast is made of it when
    /// none is given; the demand of the observation is its newest value.
    #[serde(default)]
    pub demand: Vec<(Instant, Option<f64>)>,
    /// Width of a step of `demand`, seconds; the usual distance of its values when left out, 10 when there is none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub step_seconds: Option<f64>,
    /// Replicas asked for: `[[at, count], …]`; changes count against the policies of `behavior`.
    #[serde(default)]
    pub replicas: Vec<(Instant, u32)>,
    /// Sizes proposed, before windows and limits: `[[at, count], …]`. Left out, the windows are taken to hold
    /// `current`, as after a restart; an empty list says that there were none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub recommendations: Option<Vec<(Instant, u32)>>,
    /// Times from create to Ready, seconds.
    #[serde(default)]
    pub startups_seconds: Vec<f64>,
    /// What the autoscaler had saved.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub state: Option<AutoscalerState>,
}

fn half_minute() -> u32 {
    30
}
