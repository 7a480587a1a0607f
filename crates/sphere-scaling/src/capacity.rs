//! How much can one pod carry?
//!
//! A stated capacity is never trusted as a constant: overestimating it by a quarter lets violations explode.
//! Where both the demand and the share of ready capacity in use are measured, their ratio *is* the capacity:
//! `µ = demand / (utilisation · ready)`. The estimate follows that ratio slowly, and only where the ratio means
//! something: not on idle pods (start-up and background work dominate), not on saturated ones (demand is more
//! than is served).

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// Share of the way to the measured ratio per step.
const GAIN: f64 = 0.02;
/// Utilisation in which the ratio is believed.
const BELIEVED: std::ops::Range<f64> = 0.2..0.95;
/// The estimate never leaves the stated capacity by more than this factor.
const LARGEST_CORRECTION: f64 = 4.0;

/// Slowly corrected capacity of one pod.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct PodCapacity {
    /// Natural logarithm of estimate over stated capacity.
    log_correction: f64,
}

impl PodCapacity {
    /// One step: `demand` was served by `ready` pods whose capacity was used to the share `utilization`.
    pub fn observe(&mut self, stated: f64, demand: f64, utilization: f64, ready: f64) {
        if !BELIEVED.contains(&utilization) || ready < 1.0 || demand <= 0.0 || stated <= 0.0 {
            return;
        }
        let measured = (demand / (utilization * ready) / stated).ln();
        if measured.is_finite() {
            let limit = LARGEST_CORRECTION.ln();
            self.log_correction += GAIN * (measured - self.log_correction);
            self.log_correction = self.log_correction.clamp(-limit, limit);
        }
    }

    /// The capacity to plan with.
    pub fn estimate(&self, stated: f64) -> f64 {
        stated * self.log_correction.exp()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_wrong_statement_is_corrected() {
        let mut c = PodCapacity::default();
        for _ in 0..500 {
            c.observe(12.5, 60.0, 0.6, 10.0);
        }
        assert!((c.estimate(12.5) - 10.0).abs() < 0.05, "{}", c.estimate(12.5));
    }

    #[test]
    fn idle_and_saturated_pods_teach_nothing() {
        let mut c = PodCapacity::default();
        for utilization in [0.01, 0.99, f64::NAN] {
            c.observe(10.0, 500.0, utilization, 2.0);
        }
        assert_eq!(c.estimate(10.0), 10.0);
    }
}
