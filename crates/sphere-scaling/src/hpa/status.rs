//! What does the autoscaler remember and report between two syncs?
//!
//! [`HpaState`] is everything: save it, and a restarted process keeps its stabilisation history. (Upstream
//! keeps the logs in memory only and re-seeds them; start from `HpaState::default()` to do the same.)

use super::behavior::{RecommendationLog, ScaleEvents};
use super::pods::ConditionStatus;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use sphere_core::Timestamp;

/// Why one metric gave no proposal.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema, thiserror::Error)]
#[serde(rename_all = "snake_case")]
pub enum MetricError {
    /// The metrics API did not answer.
    #[error("the metrics API did not answer")]
    FetchFailed,
    /// It answered with an empty list.
    #[error("the metrics API knows no value")]
    NoMetrics,
    /// The selector lists no pod.
    #[error("no pods are listed")]
    NoPods,
    /// Every pod with a sample is starting up or going away.
    #[error("no pod with a usable sample (pods may be unready)")]
    NoUsableMetrics,
    /// The samples belong to no listed pod, or requests sum to zero.
    #[error("no sample belongs to a listed pod with a request")]
    NoMatchingPods,
    /// A pod has a container without a request for the resource.
    #[error("a pod has no request for the resource")]
    MissingRequest,
    /// The container is not in one of the pods.
    #[error("a pod does not have the container")]
    ContainerNotFound,
    /// The spec names no target this source can use.
    #[error("the metric has no usable target")]
    NoTarget,
    /// The source is of a kind this version does not know, or the reading is of another kind than the metric.
    #[error("the kind of metric is unknown")]
    UnknownSource,
}

/// What a condition is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
pub enum ConditionType {
    /// Can the scale be read and written, and is a window holding it?
    AbleToScale,
    /// Could a size be computed from metrics?
    ScalingActive,
    /// Was the size cut by a limit?
    ScalingLimited,
    /// Did this autoscaler take the target to zero? (Releases from 1.36.)
    ScaledToZero,
}

/// Reasons of conditions, a closed set with the names Kubernetes gives them.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
pub enum ConditionReason {
    /// The scale could not be read.
    FailedGetScale,
    /// The scale was read; remains when metrics then fail.
    SucceededGetScale,
    /// No window changed the proposal.
    ReadyForNewScale,
    /// A recent lower proposal holds the size down.
    ScaleUpStabilized,
    /// A recent higher proposal holds the size up.
    ScaleDownStabilized,
    /// A new size was written.
    SucceededRescale,
    /// A new size could not be written.
    FailedUpdateScale,
    /// A proposal was accepted.
    ValidMetricFound,
    /// The target is at zero and stays there.
    ScalingDisabled,
    /// The selector is empty or can not be read.
    InvalidSelector,
    /// Another autoscaler selects some of the same pods.
    AmbiguousSelector,
    /// The first invalid metric is a Resource.
    FailedGetResourceMetric,
    /// The first invalid metric is a ContainerResource.
    FailedGetContainerResourceMetric,
    /// The first invalid metric is a Pods metric.
    FailedGetPodsMetric,
    /// The first invalid metric is an Object metric.
    FailedGetObjectMetric,
    /// The first invalid metric is an External metric.
    FailedGetExternalMetric,
    /// The first invalid metric has an unknown source, or there are no metrics.
    InvalidMetricSourceType,
    /// No limit changed the size.
    DesiredWithinRange,
    /// Cut to the maximum.
    TooManyReplicas,
    /// Raised to the minimum.
    TooFewReplicas,
    /// Cut to what growth is allowed now.
    ScaleUpLimit,
    /// Raised to what reduction is allowed now.
    ScaleDownLimit,
    /// This autoscaler took the target to zero.
    ScaledToZero,
    /// The last change did not lead to zero, or came from zero.
    NotScaledToZero,
}

/// One condition. Conditions keep the order in which they were first set, and their value until set again.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Condition {
    /// What it is about.
    #[serde(rename = "type")]
    pub kind: ConditionType,
    /// Does it hold?
    pub status: ConditionStatus,
    /// Why.
    pub reason: ConditionReason,
    /// When `status` last changed.
    #[serde(default)]
    pub since: Timestamp,
}

/// What one metric measured and asked for in the last sync that computed metrics.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum MetricStatus {
    /// It was computed.
    Valid(super::Proposal),
    /// It was not.
    Invalid(MetricError),
}

/// What is reported.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct HpaStatus {
    /// Replicas the target asked for when last read.
    #[serde(default)]
    pub current_replicas: i32,
    /// Replicas last decided on.
    #[serde(default)]
    pub desired_replicas: i32,
    /// When the size was last changed. Informative: it gates nothing.
    #[serde(default)]
    pub last_scale_at: Option<Timestamp>,
    /// One per metric of the spec, in its order; empty when the last sync needed none.
    #[serde(default)]
    pub metrics: Vec<MetricStatus>,
    /// Conditions.
    #[serde(default)]
    pub conditions: Vec<Condition>,
}

impl HpaStatus {
    /// The condition of a kind, if it was ever set.
    pub fn condition(&self, kind: ConditionType) -> Option<&Condition> {
        self.conditions.iter().find(|c| c.kind == kind)
    }

    pub(super) fn set(&mut self, now: Timestamp, kind: ConditionType, holds: bool, reason: ConditionReason) {
        let status = if holds { ConditionStatus::True } else { ConditionStatus::False };
        match self.conditions.iter_mut().find(|c| c.kind == kind) {
            Some(c) => {
                if c.status != status {
                    c.since = now;
                }
                (c.status, c.reason) = (status, reason);
            }
            None => self.conditions.push(Condition { kind, status, reason, since: now }),
        }
    }
}

/// Everything the autoscaler remembers.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct HpaState {
    /// What is reported.
    #[serde(default)]
    pub status: HpaStatus,
    /// Recent proposals; absent until the first sync, which seeds it with the size it finds.
    #[serde(default)]
    pub recommendations: Option<RecommendationLog>,
    /// Changes carried out; kept only with a behavior.
    #[serde(default)]
    pub events: ScaleEvents,
}
