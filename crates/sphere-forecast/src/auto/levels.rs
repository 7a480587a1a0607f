//! At which level is demand, on every time scale?
//!
//! Exponentially smoothed levels, one that caps what a single value can move, simple exponential smoothing that
//! picks its own gain, damped slopes, and the local spread that everything else is measured in. All O(1).
//! Gains begin at 1/n, so that the first values count like a mean (Gardner, *Exponential smoothing: the state of the
//! art II*, Int. J. Forecasting 22, 2006).

use super::target::Target;
use serde::{Deserialize, Serialize};

/// Gains of the smoothed levels.
pub(super) const GAINS: [f64; 7] = [1.0, 0.6, 0.35, 0.18, 0.09, 0.045, 0.02];
/// Memory of the slow levels, steps.
const SLOW_STEPS: [f64; 2] = [180.0, 720.0];
/// Gains among which the adaptive smoother picks.
const CANDIDATES: [f64; 8] = [0.03, 0.07, 0.15, 0.25, 0.4, 0.6, 0.8, 1.0];
/// How fast the two adaptive smoothers forget squared errors.
const MEMORIES: [f64; 2] = [0.98, 0.997];
/// Memory of the local mean and spread, steps.
const SPREAD_STEPS: f64 = 30.0;
/// Memory of the size that floors are relative to, steps.
const SIZE_STEPS: f64 = 500.0;
/// Memory of the usual spread, steps.
const USUAL_STEPS: f64 = 1000.0;
/// The quick trend: gains of its level and slope, and what is left of the slope from step to step.
const QUICK: [f64; 3] = [0.9, 0.3, 0.9];
/// A floor below any demand.
pub(super) const TINY: f64 = 1e-30;

/// See the module text.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub(super) struct Levels {
    /// Values since the start or the last restart.
    n: u64,
    /// Smoothed demand.
    pub(super) raw: [f64; GAINS.len()],
    /// The same of demand without its hourly pattern.
    pub(super) cleared: [f64; GAINS.len()],
    /// Slow levels of demand.
    pub(super) slow: [f64; 2],
    mean: f64,
    variance: f64,
    size: f64,
    /// Usual absolute deviation from the local mean, with a long memory.
    usual: f64,
    seen: u64,
    unit: f64,
    pub(super) robust: f64,
    robust_deviation: f64,
    trend_level: f64,
    trend: f64,
    quick_level: f64,
    quick_trend: f64,
    candidates: [f64; CANDIDATES.len()],
    errors: [[f64; CANDIDATES.len()]; MEMORIES.len()],
}

impl Levels {
    /// Starts anew from `value`.
    pub(super) fn restart(&mut self, value: f64) {
        let size = if self.size > 0.0 { self.size } else { value.abs() };
        *self = Self {
            n: 0,
            raw: [value; GAINS.len()],
            cleared: [value; GAINS.len()],
            slow: [value; 2],
            mean: value,
            variance: 0.0,
            size,
            usual: self.usual,
            seen: self.seen,
            unit: self.unit,
            robust: value,
            robust_deviation: 0.02 * value.abs() + 1e-6 * size + TINY,
            trend_level: value,
            trend: 0.0,
            quick_level: value,
            quick_trend: 0.0,
            candidates: [value; CANDIDATES.len()],
            errors: [[0.0; CANDIDATES.len()]; MEMORIES.len()],
        };
    }

    pub(super) fn observe(&mut self, value: f64, cleared: f64) {
        let least = 1.0 / (self.n as f64 + 1.0);
        self.n += 1;
        self.size += least.max(1.0 / SIZE_STEPS) * (value.abs() - self.size);
        for (level, gain) in self.raw.iter_mut().zip(GAINS) {
            *level += gain.max(least) * (value - *level);
        }
        for (level, gain) in self.cleared.iter_mut().zip(GAINS) {
            *level += gain.max(least) * (cleared - *level);
        }
        if self.unit == 0.0 {
            self.unit = value.abs();
        }
        for (level, steps) in self.slow.iter_mut().zip(SLOW_STEPS) {
            *level += least.max(1.0 / steps) * (value - *level);
        }
        let gain = least.max(1.0 / SPREAD_STEPS);
        let error = value - self.mean;
        self.seen += 1;
        let slow_gain = (1.0 / self.seen as f64).max(1.0 / USUAL_STEPS);
        self.usual += slow_gain * (error.abs() - self.usual);
        self.mean += gain * error;
        self.variance = (1.0 - gain) * (self.variance + gain * error * error);

        let error = value - self.robust;
        let cap = 1.2 * self.robust_deviation;
        self.robust += 0.07f64.max(least) * error.clamp(-cap, cap);
        self.robust_deviation += 0.05f64.max(least) * (error.abs() - self.robust_deviation);
        self.robust_deviation = self.robust_deviation.max(1e-9 * self.size + TINY);

        let expected = self.trend_level + 0.9 * self.trend;
        let error = value - expected;
        self.trend_level = expected + 0.5 * error;
        self.trend = 0.9 * self.trend + 0.075 * error;
        let [level, slope, damping] = QUICK;
        let error = value - self.quick_level - damping * self.quick_trend;
        self.quick_level = value - (1.0 - level) * error;
        self.quick_trend = damping * self.quick_trend + slope * error;

        for (k, gain) in CANDIDATES.iter().enumerate() {
            let error = value - self.candidates[k];
            for (errors, memory) in self.errors.iter_mut().zip(MEMORIES) {
                errors[k] = memory * errors[k] + error * error;
            }
            self.candidates[k] += gain * error;
        }
    }

    /// Local spread, always positive.
    pub(super) fn spread(&self) -> f64 {
        self.variance.max(0.0).sqrt() + 0.02 * self.mean.abs() + 1e-6 * self.size + TINY
    }

    /// The same over the last hours.
    pub(super) fn usual_spread(&self) -> f64 {
        self.usual + 1e-6 * self.size + TINY
    }

    /// Magnitude of the first value that was not 0.
    pub(super) fn unit(&self) -> f64 {
        if self.unit > 0.0 { self.unit } else { 1.0 }
    }

    /// Usual magnitude of demand.
    pub(super) fn size(&self) -> f64 {
        self.size
    }

    /// Damped slope, per step.
    pub(super) fn slope(&self) -> f64 {
        self.trend
    }

    /// Where the quick slope leads, in the mean of the steps of `target`: what a metric that is itself an average of
    /// minutes does after a jump.
    pub(super) fn trend_ahead(&self, target: Target) -> f64 {
        let damping = QUICK[2];
        // The sum of damping^1 to damping^h.
        let reach = |h: u32| damping / (1.0 - damping) * (1.0 - damping.powi(h.cast_signed()));
        self.quick_level + self.quick_trend * target.mean(reach)
    }

    /// Level of the gain that did best lately, with a short and with a long memory.
    pub(super) fn adaptive(&self) -> [f64; MEMORIES.len()] {
        std::array::from_fn(|m| {
            let mut best = 0;
            for k in 1..CANDIDATES.len() {
                if self.errors[m][k] < self.errors[m][best] {
                    best = k;
                }
            }
            self.candidates[best]
        })
    }
}
