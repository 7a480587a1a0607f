//! Which price keeps the promised share of time within capacity?
//!
//! A user may state an objective as an SLO, "at most 1 % of time over capacity", instead of a price. The loop
//! turns realised violations into the price: integral action on the *predicted* exceedance of the size just
//! chosen, recalibrated by how predicted and realised violations compare over the last day, plus a small
//! proportional push at each realised violation. Over a day the loop balances its budget: after overspending it aims
//! lower, after underspending higher. Predicted exceedance is known at once and smooth; realised
//! violations are rare and late.
//!
//! The price is bounded by 0.4/ε: beyond it pods are burnt without reaching the target. A target that stays out
//! of reach at that bound is reported, never chased.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use sphere_core::Reason;
use std::collections::VecDeque;

/// Memory of realised and predicted violations: one day of 10 s steps.
const CALIBRATION_MEMORY_STEPS: f64 = 8640.0;
/// Slowest time constant of the integral action, in steps.
const TIME_CONSTANT_STEPS: f64 = 500.0;
/// Steps' worth of being exactly on target that the budget starts with: four hours of 10 s steps.
const BUDGET_PRIOR_STEPS: f64 = 1440.0;
/// Push per realised violation.
const REALISED_GAIN: f64 = 0.1;
/// Steps at the upper bound, with violations above twice the target, after which the target is called unattainable: one hour of 10 s steps.
const UNATTAINABLE_STEPS: u32 = 360;

/// Closed loop from realised violations to the price ratio.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct SloLoop {
    target: f64,
    price_ratio: f64,
    realised: f64,
    predicted: f64,
    recent_share: f64,
    /// Steps that `recent_share` was counted over.
    counted: u64,
    steps: u64,
    at_bound_steps: u32,
    pending: VecDeque<f64>,
}

/// Why a share is not an SLO.
#[derive(Clone, Copy, Debug, PartialEq, thiserror::Error)]
#[error(
    "an SLO of {0} is out of range: the allowed share of time over capacity must lie in 0.0001..=0.2 (0.01 %..20 %)"
)]
pub struct SloOutOfRange(pub f64);

impl SloLoop {
    /// A loop for an allowed share of time over capacity, e.g. 0.01.
    pub fn new(target: f64) -> Result<Self, SloOutOfRange> {
        if !(0.0001..=0.2).contains(&target) {
            return Err(SloOutOfRange(target));
        }
        Ok(Self {
            target,
            price_ratio: 0.08 / target,
            realised: 0.0,
            predicted: 0.0,
            recent_share: 0.0,
            counted: 0,
            steps: 0,
            at_bound_steps: 0,
            pending: VecDeque::new(),
        })
    }

    /// The price ratio to use now.
    pub fn price_ratio(&self) -> f64 {
        self.price_ratio
    }

    /// Allowed share of time over capacity.
    pub fn target(&self) -> f64 {
        self.target
    }

    /// Share of time over capacity seen over about the last day.
    pub fn achieved(&self) -> f64 {
        self.recent_share
    }

    /// What to aim at now: less than the target after overspending, more after underspending.
    fn aim(&self) -> f64 {
        let n = CALIBRATION_MEMORY_STEPS.min(self.counted as f64);
        let share = (self.recent_share * n + self.target * BUDGET_PRIOR_STEPS) / (n + BUDGET_PRIOR_STEPS);
        (2.0 * self.target - share).clamp(0.4 * self.target, 1.6 * self.target)
    }

    /// The target can not be reached at a sane price.
    pub fn unattainable(&self) -> bool {
        self.at_bound_steps >= UNATTAINABLE_STEPS && self.recent_share > 2.0 * self.target
    }

    /// Over about the last day (or since the start) more was spent than asked for: beyond a fifth after a few hours,
    /// or at any time beyond what chance explains.
    pub fn overspent(&self) -> bool {
        let n = CALIBRATION_MEMORY_STEPS.min(self.counted as f64);
        let (spent, budget) = (self.recent_share * n, self.target * n);
        let beyond_chance = n >= 60.0 && spent > budget + 3.0 * budget.max(1.0).sqrt();
        spent > 1.2 * budget && (n >= BUDGET_PRIOR_STEPS || beyond_chance)
    }

    /// The reason to report, if the target is not being kept.
    pub fn reason(&self) -> Option<Reason> {
        let (requested, achieved) = (self.target, self.recent_share);
        if self.unattainable() {
            Some(Reason::SloUnattainable { requested, achieved })
        } else if self.overspent() {
            Some(Reason::SloOverspent { requested, achieved, price_ratio: self.price_ratio })
        } else {
            None
        }
    }

    /// One step has ended. `violated_share`: share of it in which demand exceeded ready capacity;
    /// `exceedance`: what the size just chosen risks `lead_steps` ahead.
    pub fn step(&mut self, violated_share: f64, exceedance: f64, lead_steps: usize) {
        self.count(violated_share);
        self.rehearse(violated_share, exceedance, lead_steps);
    }

    /// One step has ended in which somebody else chose the size: the budget is spent, the price learns nothing.
    pub fn count(&mut self, violated_share: f64) {
        self.counted += 1;
        let memory = CALIBRATION_MEMORY_STEPS.min(self.counted as f64);
        self.recent_share += (violated_share.clamp(0.0, 1.0) - self.recent_share) / memory;
    }

    /// As [`SloLoop::step`], for a past that is only replayed: nobody was hurt, so the budget is not touched.
    pub fn rehearse(&mut self, violated_share: f64, exceedance: f64, lead_steps: usize) {
        self.steps += 1;
        let violation = violated_share.clamp(0.0, 1.0);
        let predicted_now = if self.pending.len() >= lead_steps.max(1) {
            self.pending.pop_front().unwrap_or(0.0)
        } else {
            0.0
        };
        while self.pending.len() >= lead_steps.max(1) {
            self.pending.pop_front();
        }
        self.pending.push_back(exceedance);

        let keep = 1.0 - 1.0 / CALIBRATION_MEMORY_STEPS;
        self.realised = self.realised * keep + violation;
        self.predicted = self.predicted * keep + predicted_now;

        let calibration = ((self.realised + 5.0) / (self.predicted + 5.0)).clamp(0.3, 4.0);
        let gap = (calibration * exceedance / self.aim() - 1.0).clamp(-1.0, 4.0);
        let constant = TIME_CONSTANT_STEPS.min(20.0 + self.steps as f64 / 2.0);
        let push = gap / constant + REALISED_GAIN * (violation - self.target);
        let (low, high) = (0.005 / self.target, 0.4 / self.target);
        self.price_ratio = (self.price_ratio * push.exp()).clamp(low, high);
        self.at_bound_steps =
            if self.price_ratio >= high * 0.999 { self.at_bound_steps.saturating_add(1) } else { 0 };
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn too_many_violations_raise_the_price_and_none_lower_it() {
        let mut quiet = SloLoop::new(0.01).unwrap();
        let mut busy = quiet.clone();
        let start = quiet.price_ratio();
        for i in 0..1000 {
            quiet.step(0.0, 0.001, 4);
            busy.step(f64::from(u8::from(i % 20 == 0)), 0.02, 4);
        }
        assert!(quiet.price_ratio() < start && start < busy.price_ratio());
    }

    #[test]
    fn an_unattainable_target_is_reported_and_the_price_stays_bounded() {
        let mut slo = SloLoop::new(0.005).unwrap();
        for i in 0..5000 {
            slo.step(f64::from(u8::from(i % 10 == 0)), 0.1, 4);
        }
        assert!(slo.unattainable());
        assert!(slo.price_ratio() <= 0.4 / 0.005 + 1e-9);
    }

    #[test]
    fn senseless_targets_are_refused() {
        for bad in [0.0, -1.0, 0.5, f64::NAN] {
            assert!(SloLoop::new(bad).is_err());
        }
    }
}
