//! Has the forecast earned the right to act?
//!
//! Two questions, asked of every forecast whose time has come. Does it *lose* more than "demand stays as it is"
//! would, where the decision reads it: pinball loss at the 0.95 quantile, against the last value plus the 0.95
//! quantile of its own errors? And does demand *escape* it: how often is the 0.99 quantile exceeded? Absolute errors
//! would be the wrong judge: on traffic that moves in steps the last value is nearly always right, and useless to
//! whoever must be ready for the next step.
//!
//! Trust begins after three minutes of scored forecasts ([`FIRST_STEPS`] of 10 s), is lost within minutes and regained
//! only after an hour without fault.

use serde::{Deserialize, Serialize};
use sphere_core::{Distrust, Trust};

const MEMORY_STEPS: f64 = 120.0;
/// Memory of the share of values below the 0.95 quantile: with 120 it would wander by 1.4 points by chance.
const COVERAGE_MEMORY_STEPS: f64 = 720.0;
/// Forecasts scored before the first trust.
pub(super) const FIRST_STEPS: u32 = 18;
/// Forecasts before their losses count: the margins of a cold start are wide on purpose.
const WARM_UP_STEPS: u32 = 60;
/// Forecasts scored before trust can be lost.
const JUDGED_FROM_STEPS: u32 = 60;
/// Relative loss beyond which trust is lost. Wide: a margin that is too large costs pods, not users, and on a ramp out
/// of a quiet spell it is several times that of no change just when the forecast is needed.
const LOSS_LIMIT: f64 = 10.0;
/// Relative loss below which a step counts towards regaining it.
const GOOD_LOSS: f64 = 5.0;
/// Share of values above the 0.99 quantile beyond which trust is lost. On a ramp misses come in runs: a tenth of
/// twenty minutes happens on healthy traffic, a third does not.
const MISS_LIMIT: f64 = 0.3;
/// Steps in a row a head must do well to be trusted again.
pub(super) const REGAIN_STEPS: u32 = 360;
const LEVEL: f64 = 0.95;
/// Speed at which the quantile of the last value's errors is tracked, in mean absolute errors per step.
const TRACKING_GAIN: f64 = 0.1;

/// What was forecast for a step, as far as trust looks at it.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub(super) struct Claim {
    /// Value when the forecast was made.
    pub(super) value: f64,
    /// Its 0.95 quantile.
    pub(super) q95: f64,
    /// Its 0.99 quantile.
    pub(super) q99: f64,
}

/// See the module text.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(super) struct Skill {
    own_loss: f64,
    naive_loss: f64,
    naive_error: f64,
    naive_q95: f64,
    misses: f64,
    /// Share of values at or below the 0.95 quantile.
    covered: f64,
    count: u32,
    good_steps: u32,
    /// Why it is not trusted.
    distrust: Option<Distrust>,
}

fn pinball(error: f64) -> f64 {
    if error > 0.0 { LEVEL * error } else { (LEVEL - 1.0) * error }
}

impl Skill {
    pub(super) fn new() -> Self {
        Self {
            own_loss: 0.0,
            naive_loss: 0.0,
            naive_error: 0.0,
            naive_q95: 0.0,
            misses: 0.01,
            covered: LEVEL,
            count: 0,
            good_steps: 0,
            distrust: Some(Distrust::TooYoung),
        }
    }

    pub(super) fn score(&mut self, actual: f64, claim: &Claim) {
        self.count = self.count.saturating_add(1);
        let gain = 1.0 / MEMORY_STEPS.min(f64::from(self.count));
        let loss_gain = 1.0 / MEMORY_STEPS.min(f64::from(self.count.saturating_sub(WARM_UP_STEPS)).max(1.0));
        let floor = 1e-3 * claim.value.abs() + 1e-9;
        let error = actual - claim.value;
        self.naive_error += gain * (error.abs() - self.naive_error);
        self.own_loss += loss_gain * (pinball(actual - claim.q95) + floor - self.own_loss);
        self.naive_loss += loss_gain * (pinball(error - self.naive_q95) + floor - self.naive_loss);
        let above = if error > self.naive_q95 { LEVEL } else { LEVEL - 1.0 };
        self.naive_q95 += TRACKING_GAIN * self.naive_error * above;
        let miss = if actual > claim.q99 { 1.0 } else { 0.0 };
        self.misses += (miss - self.misses) / MEMORY_STEPS;

        let covered = if actual <= claim.q95 { 1.0 } else { 0.0 };
        self.covered += (covered - self.covered) / COVERAGE_MEMORY_STEPS.min(f64::from(self.count));

        let loss = self.relative_loss().unwrap_or(1.0);
        let judged = self.count >= JUDGED_FROM_STEPS;
        if self.count == FIRST_STEPS {
            self.distrust = None;
        } else if judged && self.misses > MISS_LIMIT {
            (self.distrust, self.good_steps) = (Some(Distrust::Escaped), 0);
        } else if judged && loss > LOSS_LIMIT {
            (self.distrust, self.good_steps) = (Some(Distrust::LosesToSimple), 0);
        } else if self.distrust.is_some() && self.count > FIRST_STEPS {
            let good = loss < GOOD_LOSS && self.misses < MISS_LIMIT / 2.0;
            self.good_steps = if good { self.good_steps + 1 } else { 0 };
            if self.good_steps >= REGAIN_STEPS {
                self.distrust = None;
            } else if good {
                self.distrust = Some(Distrust::Regaining);
            }
        }
    }

    pub(super) fn trust(&self) -> Trust {
        Trust {
            trusted: self.distrust.is_none(),
            relative_loss: self.relative_loss(),
            because: self.distrust,
            coverage: (f64::from(self.count) >= MEMORY_STEPS).then_some(self.covered),
        }
    }

    /// Recent loss over that of no change; absent until a few dozen could be compared.
    fn relative_loss(&self) -> Option<f64> {
        (self.count >= 2 * WARM_UP_STEPS).then(|| self.own_loss / self.naive_loss)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_forecast_far_worse_than_no_change_loses_its_trust_fast_and_regains_it_slowly() {
        let mut skill = Skill::new();
        let wobble = |i: i32| f64::from(i * 7919 % 100) / 50.0 - 1.0;
        let mut steps_until = |trusted: bool, q95: f64| {
            (1..5000).find(|&i| {
                skill.score(100.0 + wobble(i), &Claim { value: 100.0, q95, q99: q95 + 1.0 });
                skill.trust().trusted == trusted
            })
        };
        assert_eq!(steps_until(true, 101.0), Some(FIRST_STEPS as i32));
        assert_eq!(steps_until(false, 101.0), None, "as good as no change");
        let too_high = steps_until(false, 250.0).expect("an absurd margin costs the trust");
        let regained = steps_until(true, 101.0).expect("it comes back");
        let too_low = steps_until(false, 90.0).expect("demand that escapes costs the trust");
        assert!(too_high < 60 && too_low < 60, "{too_high} {too_low}");
        for i in 0..60 {
            skill.score(100.0 + wobble(i), &Claim { value: 100.0, q95: 90.0, q99: 91.0 });
        }
        assert_eq!(skill.trust().because, Some(Distrust::Escaped));
        assert!(regained >= REGAIN_STEPS as i32, "{regained}");
    }
}
