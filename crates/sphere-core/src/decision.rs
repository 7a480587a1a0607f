//! How many replicas, and why?
//!
//! A [`Decision`] is a value: applying it is another's work. Its ordered [`Reason`]s are one closed set, shared
//! by status, log, metric label and dashboard.

use crate::{Distrust, Timestamp, WorkloadId};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use std::fmt;

/// How far SPHERE may act: a ladder of trust, each rung includes the safety of those below.
#[derive(
    Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, JsonSchema,
)]
pub enum Mode {
    /// Decide and publish; touch nothing.
    #[default]
    Observe,
    /// Raise the `minReplicas` of an existing HPA ahead of demand; the HPA stays in charge.
    Floor,
    /// The larger of the reactive and the predictive answer.
    ScaleOut,
    /// Predictive scale-in too, guarded by trust.
    Full,
}

/// Why a decision is what it is. Reasons appear in the order in which they shaped the number.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(tag = "reason", rename_all_fields = "snake_case")]
pub enum Reason {
    /// The forecast at the lead time asked for this many.
    ForecastAhead {
        /// Replicas the predictive policy wants.
        replicas: u32,
        /// Lead time looked at, seconds.
        lead_s: f64,
        /// Expected demand then.
        mean_demand: f64,
        /// Probability that demand then exceeds the chosen capacity.
        exceedance: f64,
    },
    /// The change was not worth its price: the gain stayed inside the dead band.
    WithinDeadBand {
        /// Replicas that would have been cheapest.
        replicas: u32,
        /// What the change would have gained, in pods.
        gain_pods: f64,
    },
    /// Demand measured now needs this many whatever the forecast says.
    ReactiveFloor {
        /// Replicas needed now.
        replicas: u32,
    },
    /// Pods are at their limit: true demand is unknown and larger.
    DemandCensored {
        /// Replicas ordered to find out.
        replicas: u32,
    },
    /// A metric asked for this many (the HPA's own calculation).
    MetricProposal {
        /// Name of the metric that decided.
        metric: String,
        /// Replicas it asked for.
        replicas: u32,
    },
    /// Usage is close enough to its target.
    WithinTolerance,
    /// Raising is limited by the scale-up policies.
    ScaleUpLimited {
        /// The largest size allowed now.
        limit: u32,
    },
    /// Lowering is limited by the scale-down policies.
    ScaleDownLimited {
        /// The smallest size allowed now.
        limit: u32,
    },
    /// A recent lower recommendation holds the size down.
    ScaleUpStabilized {
        /// The size held.
        replicas: u32,
    },
    /// A recent higher recommendation holds the size up.
    ScaleDownStabilized {
        /// The size held.
        replicas: u32,
    },
    /// Raised to minReplicas.
    TooFewReplicas {
        /// minReplicas.
        min: u32,
    },
    /// Cut to maxReplicas.
    TooManyReplicas {
        /// maxReplicas.
        max: u32,
    },
    /// The workload is scaled to zero by its owner: autoscaling is off.
    ScalingDisabled,
    /// A cooldown is running.
    CooldownActive {
        /// Seconds left.
        remaining_s: f64,
    },
    /// There is no forecast: the reactive answer stands.
    NoForecast,
    /// The forecast is out of date: the reactive answer stands.
    ForecastExpired {
        /// Seconds since it expired.
        expired_s: f64,
    },
    /// The forecast ends before the lead time.
    HorizonTooShort {
        /// Lead time needed, seconds.
        lead_s: f64,
    },
    /// The forecast has lost its trust: the reactive answer stands.
    ForecastNotTrusted {
        /// Its recent loss relative to "demand stays as it is".
        relative_loss: Option<f64>,
        /// What it lost it for, where the model tells.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        because: Option<Distrust>,
    },
    /// The forecast can not be meant for this decision: the reactive answer stands.
    ForecastImplausible {
        /// What is wrong with it.
        detail: String,
    },
    /// The capacity of one pod is not known, so the forecast can not be turned into pods.
    CapacityUnknown,
    /// No usable metric: the size is held.
    MetricsMissing {
        /// What was wrong.
        detail: String,
    },
    /// Some metrics are missing: raising is allowed, lowering is not.
    MetricsPartial {
        /// What was wrong.
        detail: String,
    },
    /// Metrics have been missing for so long that the fallback applies.
    Fallback {
        /// Fallback size.
        replicas: u32,
    },
    /// The requested share of time over capacity can not be reached.
    SloUnattainable {
        /// Share asked for.
        requested: f64,
        /// Share seen.
        achieved: f64,
    },
    /// More time was spent over capacity than asked for; the price has been raised.
    SloOverspent {
        /// Share asked for.
        requested: f64,
        /// Share seen over about the last day.
        achieved: f64,
        /// The price ratio now.
        price_ratio: f64,
    },
    /// Another writer owns the target: hands off.
    Conflict {
        /// Who.
        owner: String,
    },
    /// The cluster-wide change budget is used up.
    ChangeBudgetExhausted,
    /// Paused by its owner.
    Paused,
    /// The kill switch is on.
    KillSwitch {
        /// Which one, and why if it says so.
        by: String,
    },
    /// The mode needs something of the target that is not there.
    TargetUnsuitable {
        /// What is missing.
        detail: String,
    },
    /// A dry run: whatever the mode, nothing is touched.
    DryRun,
    /// Mode `Observe`: nothing was touched.
    ObserveOnly,
}

impl Reason {
    /// The closed label used in metrics and conditions.
    pub fn name(&self) -> &'static str {
        match self {
            Reason::ForecastAhead { .. } => "ForecastAhead",
            Reason::WithinDeadBand { .. } => "WithinDeadBand",
            Reason::ReactiveFloor { .. } => "ReactiveFloor",
            Reason::DemandCensored { .. } => "DemandCensored",
            Reason::MetricProposal { .. } => "MetricProposal",
            Reason::WithinTolerance => "WithinTolerance",
            Reason::ScaleUpLimited { .. } => "ScaleUpLimited",
            Reason::ScaleDownLimited { .. } => "ScaleDownLimited",
            Reason::ScaleUpStabilized { .. } => "ScaleUpStabilized",
            Reason::ScaleDownStabilized { .. } => "ScaleDownStabilized",
            Reason::TooFewReplicas { .. } => "TooFewReplicas",
            Reason::TooManyReplicas { .. } => "TooManyReplicas",
            Reason::ScalingDisabled => "ScalingDisabled",
            Reason::CooldownActive { .. } => "CooldownActive",
            Reason::NoForecast => "NoForecast",
            Reason::ForecastExpired { .. } => "ForecastExpired",
            Reason::HorizonTooShort { .. } => "HorizonTooShort",
            Reason::ForecastNotTrusted { .. } => "ForecastNotTrusted",
            Reason::ForecastImplausible { .. } => "ForecastImplausible",
            Reason::CapacityUnknown => "CapacityUnknown",
            Reason::MetricsMissing { .. } => "MetricsMissing",
            Reason::MetricsPartial { .. } => "MetricsPartial",
            Reason::Fallback { .. } => "Fallback",
            Reason::SloUnattainable { .. } => "SloUnattainable",
            Reason::SloOverspent { .. } => "SloOverspent",
            Reason::Conflict { .. } => "Conflict",
            Reason::ChangeBudgetExhausted => "ChangeBudgetExhausted",
            Reason::Paused => "Paused",
            Reason::KillSwitch { .. } => "KillSwitch",
            Reason::TargetUnsuitable { .. } => "TargetUnsuitable",
            Reason::DryRun => "DryRun",
            Reason::ObserveOnly => "ObserveOnly",
        }
    }
}

impl fmt::Display for Reason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Reason::ForecastAhead { replicas, lead_s, mean_demand, exceedance } => write!(
                f,
                "in {lead_s:.0} s demand is expected at {mean_demand:.4}; {replicas} replicas are exceeded with probability {exceedance:.4}"
            ),
            Reason::WithinDeadBand { replicas, gain_pods } => {
                write!(f, "{replicas} would be cheaper by only {gain_pods:.2} pods: not worth an action")
            }
            Reason::ReactiveFloor { replicas } => write!(f, "demand now needs {replicas}"),
            Reason::DemandCensored { replicas } => {
                write!(f, "pods are at their limit, true demand is unknown: {replicas} to find out")
            }
            Reason::MetricProposal { metric, replicas } => write!(f, "{metric} asks for {replicas}"),
            Reason::WithinTolerance => write!(f, "usage is within tolerance of its target"),
            Reason::ScaleUpLimited { limit } => write!(f, "scale-up policies allow at most {limit} now"),
            Reason::ScaleDownLimited { limit } => {
                write!(f, "scale-down policies allow no fewer than {limit} now")
            }
            Reason::ScaleUpStabilized { replicas } => {
                write!(f, "a recent lower recommendation holds {replicas}")
            }
            Reason::ScaleDownStabilized { replicas } => {
                write!(f, "a recent higher recommendation holds {replicas}")
            }
            Reason::TooFewReplicas { min } => write!(f, "minReplicas is {min}"),
            Reason::TooManyReplicas { max } => write!(f, "maxReplicas is {max}"),
            Reason::ScalingDisabled => write!(f, "scaled to zero by its owner: autoscaling is off"),
            Reason::CooldownActive { remaining_s } => {
                write!(f, "cooling down for another {remaining_s:.0} s")
            }
            Reason::NoForecast => write!(f, "no forecast: reactive"),
            Reason::ForecastExpired { expired_s } => {
                write!(f, "the forecast expired {expired_s:.0} s ago: reactive")
            }
            Reason::HorizonTooShort { lead_s } => {
                write!(f, "the forecast ends before the lead time of {lead_s:.0} s: reactive")
            }
            Reason::ForecastNotTrusted { relative_loss, because } => {
                let loss = relative_loss.map(|loss| format!("loss {loss:.2} of no change"));
                let why: Vec<String> = because.map(|b| b.to_string()).into_iter().chain(loss).collect();
                match why.is_empty() {
                    true => write!(f, "the forecast is not trusted yet: reactive"),
                    false => write!(f, "the forecast is not trusted ({}): reactive", why.join(", ")),
                }
            }
            Reason::ForecastImplausible { detail } => {
                write!(f, "the forecast can not be meant for this decision ({detail}): reactive")
            }
            Reason::CapacityUnknown => write!(f, "the capacity of one pod is unknown: reactive"),
            Reason::MetricsMissing { detail } => write!(f, "no usable metric ({detail}): size held"),
            Reason::MetricsPartial { detail } => write!(f, "a metric is missing ({detail}): no scale-in"),
            Reason::Fallback { replicas } => write!(f, "metrics missing for too long: fallback {replicas}"),
            Reason::SloUnattainable { requested, achieved } => write!(
                f,
                "asked for {:.2} % of time over capacity, seen {:.2} %: not attainable at a sane price",
                requested * 100.0,
                achieved * 100.0
            ),
            Reason::SloOverspent { requested, achieved, price_ratio } => write!(
                f,
                "asked for {:.2} % of time over capacity, seen up to {:.2} % over a day: demand was harder to foresee than before; the price ratio was raised to {price_ratio:.0}",
                requested * 100.0,
                achieved * 100.0
            ),
            Reason::Conflict { owner } => write!(f, "{owner} also scales this target: hands off"),
            Reason::ChangeBudgetExhausted => write!(f, "the cluster-wide change budget is used up"),
            Reason::Paused => write!(f, "paused"),
            Reason::KillSwitch { by } => write!(f, "stopped by {by}"),
            Reason::TargetUnsuitable { detail } => write!(f, "{detail}: hands off"),
            Reason::DryRun => write!(f, "dry run: nothing was touched"),
            Reason::ObserveOnly => write!(f, "observe only: nothing was touched"),
        }
    }
}

/// What should be done with one workload, and why.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Decision {
    /// The workload; absent when the decision was asked for directly.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub workload: Option<WorkloadId>,
    /// When it was decided.
    pub at: Timestamp,
    /// Replicas asked for before the decision.
    pub current: u32,
    /// What the HPA would have chosen; absent when it could not decide.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reactive: Option<u32>,
    /// What the forecast asks for; absent without a usable forecast.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub predictive: Option<u32>,
    /// What the workload should have.
    pub desired: u32,
    /// The mode in force, after any automatic step down.
    pub mode: Mode,
    /// Whether the target is to be (or was) changed to `desired`.
    pub applied: bool,
    /// Why, in the order in which the reasons shaped the number.
    pub reasons: Vec<Reason>,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_json_tag_is_the_metric_label() {
        for reason in [
            Reason::NoForecast,
            Reason::ForecastAhead { replicas: 3, lead_s: 40.0, mean_demand: 1.0, exceedance: 0.1 },
            Reason::ScaleUpLimited { limit: 8 },
            Reason::ForecastNotTrusted { relative_loss: Some(2.0), because: Some(Distrust::Escaped) },
        ] {
            let json = serde_json::to_value(&reason).unwrap();
            assert_eq!(json["reason"], reason.name());
            assert_eq!(serde_json::from_value::<Reason>(json).unwrap(), reason);
        }
    }

    #[test]
    fn modes_form_a_ladder() {
        assert!(Mode::Observe < Mode::Floor && Mode::Floor < Mode::ScaleOut && Mode::ScaleOut < Mode::Full);
    }
}
