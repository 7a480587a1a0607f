//! Has the forecast earned the right to act?
//!
//! Two questions, asked of every forecast at the lead whose time has come. Does its 0.95 quantile *lose* far more than the better
//! of the two simplest ones would: the last value, and the same hour last week, each plus the 0.95 quantile of its
//! own errors (Murphy, *Skill scores based on the mean square error*, 1988, with the loss that decides)? And does demand
//! *escape* the 0.99 quantile again and again? Trust begins after [`FIRST`] scored forecasts, is lost within minutes and
//! regained only after [`REGAIN`] steps without fault.

use serde::{Deserialize, Serialize};
use sphere_core::{Distrust, Trust};

const MEMORY: f64 = 120.0;
/// Forecasts scored before the first trust.
const FIRST: u32 = 18;
/// Forecasts scored before trust can be lost; the margins of a cold start are wide on purpose.
const JUDGED_FROM: u32 = 60;
/// Relative loss beyond which trust is lost. Wide: a margin that is too large costs pods, not users, and on a ramp out
/// of a quiet spell it is several times that of no change just when the forecast is needed.
const LOSS_LIMIT: f64 = 10.0;
/// Relative loss below which a step counts towards regaining it.
const GOOD_LOSS: f64 = 5.0;
/// Share of values above the 0.99 quantile beyond which trust is lost. On a ramp misses come in runs: a tenth of
/// twenty minutes happens on healthy traffic, a third does not.
const MISS_LIMIT: f64 = 0.3;
/// Steps in a row without fault after which a forecast is trusted again.
const REGAIN: u32 = 360;
const LEVEL: f64 = 0.95;
/// Memory of the share of values below the 0.95 quantile: with 120 it would wander by 1.4 points by chance.
const COVERAGE_MEMORY: f64 = 720.0;
/// Speed at which the quantile of a reference's errors is tracked, in mean absolute errors per step.
const TRACKING: f64 = 0.1;

/// What was said of a step, as far as trust looks at it.
#[derive(Clone, Copy, Debug)]
pub(super) struct Claim {
    /// Value when the forecast was made.
    pub(super) last: f64,
    /// Same hour last week, if it was seen.
    pub(super) week: Option<f64>,
    /// The forecast's quantiles 0.95 and 0.99.
    pub(super) q95: f64,
    pub(super) q99: f64,
}

#[derive(Clone, Debug, Default, Serialize, Deserialize)]
struct Reference {
    count: u32,
    loss: f64,
    error: f64,
    q95: f64,
}

impl Reference {
    fn score(&mut self, error: f64, floor: f64) {
        self.count = self.count.saturating_add(1);
        let gain = 1.0 / MEMORY.min(f64::from(self.count));
        self.error += gain * (error.abs() - self.error);
        self.loss += gain * (pinball(error - self.q95) + floor - self.loss);
        let above = if error > self.q95 { LEVEL } else { LEVEL - 1.0 };
        self.q95 += TRACKING * self.error * above;
    }
}

/// See the module text.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(super) struct Skill {
    count: u32,
    loss: f64,
    last: Reference,
    week: Reference,
    misses: f64,
    /// Share of values at or below the 0.95 quantile.
    covered: f64,
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
            count: 0,
            loss: 0.0,
            last: Reference::default(),
            week: Reference::default(),
            misses: 0.01,
            covered: LEVEL,
            good_steps: 0,
            distrust: Some(Distrust::TooYoung),
        }
    }

    /// Compares a claim with what came. `floor`: a loss too small to matter.
    pub(super) fn score(&mut self, actual: f64, claim: &Claim, floor: f64) {
        self.count = self.count.saturating_add(1);
        let gain = 1.0 / MEMORY.min(f64::from(self.count));
        self.loss += gain * (pinball(actual - claim.q95) + floor - self.loss);
        self.last.score(actual - claim.last, floor);
        if let Some(week) = claim.week {
            self.week.score(actual - week, floor);
        }
        let miss = if actual > claim.q99 { 1.0 } else { 0.0 };
        self.misses += (miss - self.misses) / MEMORY;
        let covered = if actual <= claim.q95 { 1.0 } else { 0.0 };
        self.covered += (covered - self.covered) / COVERAGE_MEMORY.min(f64::from(self.count));
        if self.count < FIRST {
            return;
        }
        let loss = self.relative_loss().unwrap_or(1.0);
        let judged = self.count >= JUDGED_FROM;
        if judged && self.misses > MISS_LIMIT {
            (self.distrust, self.good_steps) = (Some(Distrust::Escaped), 0);
        } else if judged && loss > LOSS_LIMIT {
            (self.distrust, self.good_steps) = (Some(Distrust::LosesToSimple), 0);
        } else if self.distrust == Some(Distrust::TooYoung) {
            self.distrust = None;
        } else if self.distrust.is_some() {
            let good = loss < GOOD_LOSS && self.misses < MISS_LIMIT / 2.0;
            self.good_steps = if good { self.good_steps + 1 } else { 0 };
            if self.good_steps >= REGAIN {
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
            coverage: (f64::from(self.count) >= MEMORY).then_some(self.covered),
        }
    }

    /// Recent loss over that of the better reference; absent until a few dozen could be compared.
    fn relative_loss(&self) -> Option<f64> {
        let settled = |r: &Reference| f64::from(r.count) >= MEMORY;
        let week = if settled(&self.week) { self.week.loss } else { f64::INFINITY };
        let reference = self.last.loss.min(week);
        (settled(&self.last) && reference > 0.0).then(|| self.loss / reference)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn trust_is_lost_within_minutes_for_either_fault_and_regained_slowly() {
        let mut skill = Skill::new();
        let wobble = |i: i32| f64::from(i * 7919 % 100) / 50.0 - 1.0;
        let mut steps_until = |trusted: bool, q95: f64| {
            (1..5000).find(|&i| {
                let claim = Claim { last: 100.0, week: None, q95, q99: q95 + 1.0 };
                skill.score(100.0 + wobble(i), &claim, 1e-3);
                skill.trust().trusted == trusted
            })
        };
        assert_eq!(steps_until(true, 101.0), Some(FIRST as i32));
        assert_eq!(steps_until(false, 101.0), None, "as good as no change");
        let too_high = steps_until(false, 250.0).expect("an absurd margin costs the trust");
        let regained = steps_until(true, 101.0).expect("it comes back");
        let too_low = steps_until(false, 90.0).expect("demand that escapes costs the trust");
        assert!(too_high < 60 && too_low < 60, "{too_high} {too_low}");
        for i in 0..60 {
            let claim = Claim { last: 100.0, week: None, q95: 90.0, q99: 91.0 };
            skill.score(100.0 + wobble(i), &claim, 1e-3);
        }
        assert_eq!(skill.trust().because, Some(Distrust::Escaped));
        assert!(regained >= REGAIN as i32, "{regained}");
    }

    #[test]
    fn a_week_that_repeats_sets_the_bar() {
        let mut skill = Skill::new();
        for i in 0..2000 {
            let actual = 100.0 + 50.0 * f64::from(i % 2);
            let claim = Claim { last: 100.0, week: Some(actual), q95: 160.0, q99: 170.0 };
            skill.score(actual, &claim, 0.01);
        }
        assert_eq!(skill.trust().because, Some(Distrust::LosesToSimple));
    }
}
