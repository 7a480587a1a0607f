//! What does the owner of a workload ask for?
//!
//! The part of a PredictiveAutoscaler that scaling reads: bounds, metrics and behavior in the shape of
//! autoscaling/v2, plus objective, mode and fallback. Unknown keys are refused.

use crate::classic::ClassicRule;
use crate::hpa::{Behavior, HpaSpec, MetricSpec};
use crate::safety::HoldPolicy;
use crate::slo::SloLoop;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use sphere_core::Mode;

/// What to optimise: how much too few replicas cost in comparison to too many. Exactly one of the fields.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub enum Objective {
    /// A price: one second over capacity is worth as much as this many times the average number of replicas for one
    /// second, 0.1 to 10000.
    PriceRatio(f64),
    /// An objective: the allowed share of time over capacity, 0.0001 to 0.2 (0.01 is one percent).
    Slo(f64),
}

impl Default for Objective {
    fn default() -> Self {
        Objective::PriceRatio(20.0)
    }
}

/// Which rule turns the forecast into replicas.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum PredictivePolicy {
    /// A replica is added while it lowers the risk of being over capacity by more than it costs.
    #[default]
    #[serde(alias = "price")]
    Price,
    /// The founding rule: thresholds on the mean of the last three predicted steps.
    #[serde(alias = "classic")]
    Classic,
}

/// What one workload is asked to be.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct ScalingSpec {
    /// Fewest replicas.
    #[serde(default = "one")]
    pub min_replicas: u32,
    /// Most replicas.
    pub max_replicas: u32,
    /// What the reactive part follows, in autoscaling/v2 shape; CPU at 80 % of requests when absent.
    #[serde(default = "default_metrics")]
    pub metrics: Vec<MetricSpec>,
    /// Limits on the speed of change. Absent: Kubernetes' defaults for the reactive part, none for the predictive
    /// part, whose dead band does that work. Present: its policies, and the windows it states, bind both.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub behavior: Option<Behavior>,
    /// How far SPHERE may act.
    #[serde(default)]
    pub mode: Mode,
    /// Which rule turns the forecast into replicas.
    #[serde(default)]
    pub policy: PredictivePolicy,
    /// What to optimise.
    #[serde(default)]
    pub objective: Objective,
    /// What to do when metrics stay missing.
    #[serde(default)]
    pub fallback: HoldPolicy,
    /// Decide, but touch nothing.
    #[serde(default)]
    pub paused: bool,
    /// What one pod carries, in the unit of the forecast demand; used where it is not measured.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub capacity_per_pod: Option<f64>,
    /// Time from create to Ready to plan with until start-ups were measured, seconds.
    #[serde(default = "minute")]
    pub startup_seconds: f64,
}

fn one() -> u32 {
    1
}

fn minute() -> f64 {
    60.0
}

fn default_metrics() -> Vec<MetricSpec> {
    vec![MetricSpec::cpu_utilization(80)]
}

/// Something in a spec that can not be meant.
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
#[error("{key}: {problem}")]
pub struct SpecProblem {
    /// The key.
    pub key: &'static str,
    /// The value, and what is accepted.
    pub problem: String,
}

impl ScalingSpec {
    /// A spec with the defaults, following CPU at 80 % of requests.
    pub fn new(min_replicas: u32, max_replicas: u32) -> Self {
        Self {
            min_replicas,
            max_replicas,
            metrics: default_metrics(),
            behavior: None,
            mode: Mode::default(),
            policy: PredictivePolicy::default(),
            objective: Objective::default(),
            fallback: HoldPolicy::default(),
            paused: false,
            capacity_per_pod: None,
            startup_seconds: minute(),
        }
    }

    /// All problems at once; empty when the spec can be used.
    pub fn problems(&self) -> Vec<SpecProblem> {
        let mut found = Vec::new();
        let mut problem = |key, problem| found.push(SpecProblem { key, problem });
        if self.max_replicas < 1 || self.max_replicas > i32::MAX as u32 {
            problem("maxReplicas", format!("{} given, 1..={} expected", self.max_replicas, i32::MAX));
        }
        if self.min_replicas > self.max_replicas {
            problem(
                "minReplicas",
                format!("{} is above maxReplicas {}", self.min_replicas, self.max_replicas),
            );
        }
        match self.objective {
            Objective::PriceRatio(ratio) if !(0.1..=10_000.0).contains(&ratio) => {
                problem("objective.priceRatio", format!("{ratio} given, 0.1..=10000 expected"));
            }
            Objective::Slo(share) => {
                if let Err(error) = SloLoop::new(share) {
                    problem("objective.slo", error.to_string());
                }
            }
            Objective::PriceRatio(_) => {}
        }
        if let Some(capacity) = self.capacity_per_pod
            && !(capacity.is_finite() && capacity > 0.0)
        {
            problem("capacityPerPod", format!("{capacity} given, a number above 0 expected"));
        }
        if !(1.0..=3600.0).contains(&self.startup_seconds) {
            problem("startupSeconds", format!("{} given, 1..=3600 expected", self.startup_seconds));
        }
        if let Err(errors) = self.hpa_spec().validate() {
            for error in errors {
                problem("metrics/behavior", error.to_string());
            }
        }
        found
    }

    /// The reactive part, as an HPA would be told.
    pub fn hpa_spec(&self) -> HpaSpec {
        let count = |n: u32| i32::try_from(n).unwrap_or(i32::MAX);
        HpaSpec {
            min_replicas: Some(count(self.min_replicas)),
            max_replicas: count(self.max_replicas),
            metrics: self.metrics.clone(),
            behavior: self.behavior.clone(),
        }
    }

    /// The founding rule within this spec's bounds.
    pub fn classic_rule(&self) -> ClassicRule {
        ClassicRule {
            min_replicas: self.min_replicas,
            max_replicas: self.max_replicas,
            ..ClassicRule::default()
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_short_spec_has_safe_defaults() {
        let spec: ScalingSpec = serde_json::from_str(r#"{"maxReplicas": 10}"#).unwrap();
        assert_eq!(spec, ScalingSpec::new(1, 10));
        assert_eq!(spec.mode, Mode::Observe);
        assert!(spec.problems().is_empty(), "{:?}", spec.problems());
    }

    #[test]
    fn all_problems_are_told_at_once() {
        let spec = ScalingSpec {
            objective: Objective::Slo(0.9),
            capacity_per_pod: Some(f64::NAN),
            startup_seconds: 0.0,
            ..ScalingSpec::new(5, 3)
        };
        let keys: Vec<&str> = spec.problems().iter().map(|p| p.key).collect();
        for key in ["minReplicas", "objective.slo", "capacityPerPod", "startupSeconds"] {
            assert!(keys.contains(&key), "{key} missing in {keys:?}");
        }
    }

    #[test]
    fn unknown_keys_are_refused() {
        assert!(serde_json::from_str::<ScalingSpec>(r#"{"maxReplicas": 10, "maxReplica": 3}"#).is_err());
    }
}
