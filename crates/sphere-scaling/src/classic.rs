//! What would SPHERE's founding rule do?
//!
//! Every ten seconds: `avg` is the mean of the last three predicted steps, in percent of *one* pod summed over
//! the workload, `per = avg / replicas`. If `per + 10 >= 80`, as many replicas as keep the buffered average
//! below 80 % each, when that is more; else if `per - 10 <= 20`, one fewer, at most once a minute. Kept as a
//! named policy and a contestant: its buffer and the trend's overshoot make it dearer than the HPA, and later.
//!
//! The rule is a pure function: what changes between two decisions is only [`ClassicState`], which
//! is told of a scale-in once it was carried out. Deciding twice on the same input therefore changes nothing.
//!
//! NaN, infinite, absent or fewer than three predictions leave the size alone. A negative prediction, which
//! a falling trend can produce, counts as it is: the founding rule did not clip.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use sphere_core::{Reason, Timestamp};
use std::time::Duration;

/// How many of the last predicted steps the rule averages.
pub const STEPS_AVERAGED: usize = 3;

/// Thresholds and bounds; the defaults are the founding ones.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct ClassicRule {
    /// Raise at this usage per replica (buffer added), percent of one pod.
    pub scale_out_pct: f64,
    /// Lower at this usage per replica (buffer taken off), percent of one pod.
    pub scale_in_pct: f64,
    /// Safety margin on both comparisons, percent of one pod.
    pub buffer_pct: f64,
    /// Fewest replicas a scale-in leaves.
    pub min_replicas: u32,
    /// Most replicas a scale-out asks for.
    pub max_replicas: u32,
    /// Pause after a scale-in before the next, seconds.
    pub cooldown_s: u32,
}

impl Default for ClassicRule {
    fn default() -> Self {
        Self {
            scale_out_pct: 80.0,
            scale_in_pct: 20.0,
            buffer_pct: 10.0,
            min_replicas: 1,
            max_replicas: 4,
            cooldown_s: 60,
        }
    }
}

/// Why a [`ClassicRule`] can not be used.
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
pub enum ClassicError {
    /// A threshold that is no number, or an upper threshold that is not positive.
    #[error("{field} is {value}; a finite number is expected, for scale_out_pct more than 0")]
    BadThreshold {
        /// Its name.
        field: &'static str,
        /// Its value.
        value: f64,
    },
    /// The bounds leave no size.
    #[error("min_replicas is {min} and max_replicas {max}; 1 <= min_replicas <= max_replicas is expected")]
    BadBounds {
        /// Fewest replicas.
        min: u32,
        /// Most replicas.
        max: u32,
    },
}

/// What the rule remembers: when it last took a replica away.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct ClassicState {
    /// Start of the cooldown.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub last_scale_in: Option<Timestamp>,
}

impl ClassicState {
    /// To be told of every change that was carried out; only a scale-in matters.
    pub fn record_change(&mut self, now: Timestamp, from: u32, to: u32) {
        if to < from {
            self.last_scale_in = Some(now);
        }
    }
}

/// What the rule wants, and why.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct ClassicDecision {
    /// Replicas wanted.
    pub replicas: u32,
    /// Why, in the order in which the reasons shaped the number.
    pub reasons: Vec<Reason>,
}

impl ClassicDecision {
    fn new(replicas: u32, reasons: Vec<Reason>) -> Self {
        Self { replicas, reasons }
    }
}

impl ClassicRule {
    /// Checks that thresholds are numbers and the bounds leave a size.
    pub fn validate(&self) -> Result<(), ClassicError> {
        for (field, value, ok) in [
            ("scale_out_pct", self.scale_out_pct, self.scale_out_pct > 0.0),
            ("scale_in_pct", self.scale_in_pct, true),
            ("buffer_pct", self.buffer_pct, true),
        ] {
            if !(value.is_finite() && ok) {
                return Err(ClassicError::BadThreshold { field, value });
            }
        }
        let (min, max) = (self.min_replicas, self.max_replicas);
        if min < 1 || min > max {
            return Err(ClassicError::BadBounds { min, max });
        }
        Ok(())
    }

    /// Decides for a workload of `current` replicas. `predicted_pct` are the coming steps, nearest first, each
    /// the usage of the whole workload in percent of one pod.
    pub fn decide(
        &self,
        now: Timestamp,
        current: u32,
        predicted_pct: &[f64],
        state: &ClassicState,
    ) -> ClassicDecision {
        if current == 0 {
            return ClassicDecision::new(0, vec![Reason::ScalingDisabled]);
        }
        let Some(average_pct) = mean_of_last_steps(predicted_pct) else {
            return ClassicDecision::new(current, vec![Reason::NoForecast]);
        };
        let per_replica_pct = average_pct / f64::from(current);
        if per_replica_pct + self.buffer_pct >= self.scale_out_pct {
            self.scale_out(current, average_pct)
        } else if per_replica_pct - self.buffer_pct <= self.scale_in_pct {
            self.scale_in(now, current, state)
        } else {
            ClassicDecision::new(current, vec![Reason::WithinTolerance])
        }
    }

    fn scale_out(&self, current: u32, average_pct: f64) -> ClassicDecision {
        // A float-to-integer cast saturates, so an absurd forecast asks for "very many", never for few.
        let asked = ((average_pct + self.buffer_pct) / self.scale_out_pct).ceil() as u32;
        let mut reasons = vec![forecast_asks(asked)];
        if asked > self.max_replicas {
            reasons.push(Reason::TooManyReplicas { max: self.max_replicas });
        }
        let allowed = asked.min(self.max_replicas);
        if allowed < current {
            // The branch only raises: close to the threshold the formula can ask for one fewer.
            reasons.push(Reason::WithinTolerance);
        }
        ClassicDecision::new(allowed.max(current), reasons)
    }

    fn scale_in(&self, now: Timestamp, current: u32, state: &ClassicState) -> ClassicDecision {
        let fewer = current - 1;
        if fewer < self.min_replicas {
            return ClassicDecision::new(current, vec![Reason::TooFewReplicas { min: self.min_replicas }]);
        }
        let cooldown = Duration::from_secs(self.cooldown_s.into());
        let remaining =
            state.last_scale_in.map_or(Duration::ZERO, |at| cooldown.saturating_sub(now.since(at)));
        if remaining.is_zero() {
            ClassicDecision::new(fewer, vec![forecast_asks(fewer)])
        } else {
            let remaining_s = remaining.as_secs_f64();
            ClassicDecision::new(current, vec![forecast_asks(fewer), Reason::CooldownActive { remaining_s }])
        }
    }
}

fn forecast_asks(replicas: u32) -> Reason {
    Reason::MetricProposal { metric: "forecast".into(), replicas }
}

/// The rule's signal; `None` with fewer than three steps or a number that is none.
fn mean_of_last_steps(predicted_pct: &[f64]) -> Option<f64> {
    let last = predicted_pct.last_chunk::<STEPS_AVERAGED>()?;
    let mean = last.iter().sum::<f64>() / STEPS_AVERAGED as f64;
    mean.is_finite().then_some(mean)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const NOW: Timestamp = Timestamp::from_secs(10_000);

    fn decide(current: u32, average_pct: f64) -> ClassicDecision {
        ClassicRule::default().decide(NOW, current, &[average_pct; 3], &ClassicState::default())
    }

    #[test]
    fn the_founding_table_holds() {
        // Columns: replicas, predicted average in % of one pod, replicas wanted.
        for (current, average_pct, wanted) in [
            // 69.9 + 10 is below 80; 70 + 10 is not, and (70 + 10) / 80 is exactly one.
            (1, 69.9, 1),
            (1, 70.0, 1),
            (1, 70.1, 2),
            (1, 150.0, 2),
            (1, 150.1, 3),
            (1, 1_000.0, 4),
            // Two replicas: 140 is 70 each; (140 + 10) / 80 is 1.875, which is not more than two.
            (2, 140.0, 2),
            (2, 150.0, 2),
            (2, 151.0, 3),
            // 30 - 10 is at the lower threshold, 30.1 - 10 above it.
            (2, 60.0, 1),
            (2, 60.2, 2),
            (4, 120.0, 3),
            // One at a time, however idle; never below the minimum.
            (4, 0.0, 3),
            (1, 0.0, 1),
            (3, -5.0, 2),
        ] {
            assert_eq!(
                decide(current, average_pct).replicas,
                wanted,
                "{current} replicas at {average_pct} %"
            );
        }
    }

    #[test]
    fn only_the_last_three_steps_count() {
        let rule = ClassicRule::default();
        let state = ClassicState::default();
        let rising = [0.0, 0.0, 0.0, 140.0, 150.0, 160.1];
        assert_eq!(rule.decide(NOW, 1, &rising, &state).replicas, 3);
        let falling = [900.0, 900.0, 900.0, 40.0, 50.0, 60.0];
        assert_eq!(rule.decide(NOW, 1, &falling, &state).replicas, 1);
    }

    #[test]
    fn too_few_or_broken_predictions_leave_the_size_alone() {
        let rule = ClassicRule::default();
        for predicted in [&[][..], &[500.0, 500.0], &[500.0, f64::NAN, 500.0], &[f64::INFINITY; 3]] {
            let decision = rule.decide(NOW, 3, predicted, &ClassicState::default());
            assert_eq!(decision, ClassicDecision::new(3, vec![Reason::NoForecast]), "{predicted:?}");
        }
    }

    #[test]
    fn zero_replicas_are_left_alone() {
        assert_eq!(decide(0, 500.0), ClassicDecision::new(0, vec![Reason::ScalingDisabled]));
    }

    #[test]
    fn a_scale_in_starts_a_cooldown_that_only_stops_scale_in() {
        let rule = ClassicRule::default();
        let mut state = ClassicState::default();
        state.record_change(NOW, 2, 4);
        assert_eq!(state.last_scale_in, None, "a scale-out starts none");
        state.record_change(NOW, 4, 3);
        let at = |seconds| NOW + Duration::from_secs(seconds);
        let held = rule.decide(at(59), 3, &[0.0; 3], &state);
        assert_eq!(held.replicas, 3);
        assert!(held.reasons.contains(&Reason::CooldownActive { remaining_s: 1.0 }));
        assert_eq!(rule.decide(at(59), 3, &[300.0; 3], &state).replicas, 4);
        assert_eq!(rule.decide(at(60), 3, &[0.0; 3], &state).replicas, 2);
    }

    #[test]
    fn rules_that_make_no_sense_are_refused() {
        let rule = ClassicRule::default();
        assert_eq!(rule.validate(), Ok(()));
        assert!(ClassicRule { scale_out_pct: 0.0, ..rule }.validate().is_err());
        assert!(ClassicRule { buffer_pct: f64::NAN, ..rule }.validate().is_err());
        assert!(ClassicRule { min_replicas: 0, ..rule }.validate().is_err());
        assert!(ClassicRule { min_replicas: 5, ..rule }.validate().is_err());
    }

    proptest! {
        #[test]
        fn a_size_within_bounds_stays_within_bounds_and_falls_by_one_at_most(
            average_pct in -1e3..1e5f64, min in 1..10u32, span in 0..50u32, offset in 0..50u32,
            cooling_s in prop::option::of(0..120i64),
        ) {
            let rule = ClassicRule { min_replicas: min, max_replicas: min + span, ..ClassicRule::default() };
            let current = min + offset.min(span);
            let last_scale_in = cooling_s.map(|s| Timestamp::from_secs(10_000 - s));
            let state = ClassicState { last_scale_in };
            let decision = rule.decide(NOW, current, &[average_pct; 3], &state);
            prop_assert!((min..=min + span).contains(&decision.replicas));
            prop_assert!(decision.replicas + 1 >= current);
            prop_assert!(!decision.reasons.is_empty());
            prop_assert_eq!(&decision, &rule.decide(NOW, current, &[average_pct; 3], &state));
        }

        #[test]
        fn more_predicted_usage_never_gives_fewer_replicas(
            average_pct in 0.0..1e3f64, extra_pct in 0.0..1e3f64, current in 1..=4u32,
        ) {
            prop_assert!(decide(current, average_pct).replicas <= decide(current, average_pct + extra_pct).replicas);
        }
    }
}
