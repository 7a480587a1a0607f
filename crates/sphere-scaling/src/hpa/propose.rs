//! Which calculation answers for a metric of the spec?
//!
//! Matches the source, the form of its target and what was measured. A reading of another kind than the
//! metric is [`MetricError::UnknownSource`], a target the source can not use is [`MetricError::NoTarget`].

use super::calculator::{self, PerPod, Proposal, Tolerance};
use super::pods::{PodReading, PodStatus};
use super::spec::{HpaConfig, MetricSpec, TargetType};
use super::status::{ConditionReason, MetricError};
use super::sync::Scale;
use sphere_core::Timestamp;

/// What was measured for one metric of the spec.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Reading<'a> {
    /// Nothing: why.
    Unavailable(MetricError),
    /// Resource, ContainerResource, Pods.
    PerPod {
        /// One per pod of the snapshot, in its order.
        pods: &'a [PodReading],
        /// Values of samples whose pod is not in the snapshot, milli-units.
        strays_milli: &'a [i64],
    },
    /// Object: the value, milli-units.
    Object(i64),
    /// External: the series, milli-units.
    External(&'a [i64]),
}

/// The reason of ScalingActive=False when this metric fails.
pub(super) fn failure_reason(metric: &MetricSpec) -> ConditionReason {
    match metric {
        MetricSpec::Resource { .. } => ConditionReason::FailedGetResourceMetric,
        MetricSpec::ContainerResource { .. } => ConditionReason::FailedGetContainerResourceMetric,
        MetricSpec::Pods { .. } => ConditionReason::FailedGetPodsMetric,
        MetricSpec::Object { .. } => ConditionReason::FailedGetObjectMetric,
        MetricSpec::External { .. } => ConditionReason::FailedGetExternalMetric,
        MetricSpec::Unknown => ConditionReason::InvalidMetricSourceType,
    }
}

/// Which form of the target counts for this source.
enum Wanted {
    Percent(i32),
    PerPod(i64),
    Total(i64),
}

fn wanted(metric: &MetricSpec) -> Result<Wanted, MetricError> {
    let target = metric.target().ok_or(MetricError::UnknownSource)?;
    let average = target.average_value.map(|q| Wanted::PerPod(q.milli()));
    let total = target.value.map(|q| Wanted::Total(q.milli()));
    let choice = match metric {
        MetricSpec::Resource { .. } | MetricSpec::ContainerResource { .. } => {
            average.or(target.average_utilization.map(Wanted::Percent))
        }
        MetricSpec::Pods { .. } => average,
        // The declared type decides for an object, the value present for an external metric.
        MetricSpec::Object { .. } => match target.kind {
            TargetType::Value => total,
            TargetType::AverageValue => average,
            TargetType::Utilization => None,
        },
        MetricSpec::External { .. } => average.or(total),
        MetricSpec::Unknown => None,
    };
    choice.ok_or(MetricError::NoTarget)
}

/// What `metric` asks for, given what was measured for it.
pub(super) fn propose_one(
    now: Timestamp,
    metric: &MetricSpec,
    reading: Reading<'_>,
    pods: &[PodStatus],
    scale: Scale,
    tolerance: Tolerance,
    config: &HpaConfig,
) -> Result<Proposal, MetricError> {
    let wanted = wanted(metric)?;
    let total = match reading {
        Reading::Unavailable(error) => return Err(error),
        Reading::PerPod { pods: readings, strays_milli } => {
            let (current, cpu) = (scale.spec_replicas, metric.is_cpu());
            let metered = PerPod { now, current, pods, readings, strays_milli, cpu, tolerance, config };
            return match (metric, wanted) {
                (MetricSpec::Object { .. } | MetricSpec::External { .. }, _) => {
                    Err(MetricError::UnknownSource)
                }
                (_, Wanted::Percent(target)) => metered.utilization(target),
                (_, Wanted::PerPod(target)) => metered.average(target),
                (_, Wanted::Total(_)) => Err(MetricError::NoTarget),
            };
        }
        Reading::Object(total) if matches!(metric, MetricSpec::Object { .. }) => total,
        Reading::External(values) if matches!(metric, MetricSpec::External { .. }) => {
            calculator::external_total(values)?
        }
        Reading::Object(_) | Reading::External(_) => return Err(MetricError::UnknownSource),
    };
    match wanted {
        Wanted::Total(target) => {
            calculator::total_target(scale.spec_replicas, total, target, pods, tolerance)
        }
        Wanted::PerPod(target) => {
            Ok(calculator::shared_target(scale.status_replicas, total, target, tolerance))
        }
        Wanted::Percent(_) => Err(MetricError::NoTarget),
    }
}
