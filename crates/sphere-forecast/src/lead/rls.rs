//! Which weights turn the features into the deviation from the base level?
//!
//! Recursive least squares with exponential forgetting over two days of 10 s steps. Innovations are clipped at
//! four spreads, so one burst can not throw the weights; forgetting stops while the covariance is large, so
//! quiet hours do not wind it up. Weights start at zero: the first forecasts are the base level itself.

use super::FEATURES;
use serde::{Deserialize, Serialize};

const FORGETTING: f64 = 1.0 - 1.0 / 17_280.0;
const PRIOR: f64 = 0.01;
/// Largest trace of the covariance for which old evidence is still forgotten.
const WIND_UP_LIMIT: f64 = 2.0 * (FEATURES as f64 + 1.0) * PRIOR;

/// See the module text.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct Rls {
    weights: [f64; FEATURES],
    covariance: [[f64; FEATURES]; FEATURES],
}

impl Rls {
    pub(crate) fn new() -> Self {
        Self { weights: [0.0; FEATURES], covariance: prior() }
    }

    pub(crate) fn predict(&self, x: &[f64; FEATURES]) -> f64 {
        self.weights.iter().zip(x).map(|(w, x)| w * x).sum()
    }

    /// Learns that features `x` went with the deviation `target`, both in spreads.
    pub(crate) fn update(&mut self, x: &[f64; FEATURES], target: f64) {
        let error = (target - self.predict(x)).clamp(-4.0, 4.0);
        let p = &mut self.covariance;
        let gain: [f64; FEATURES] =
            std::array::from_fn(|i| p[i].iter().zip(x).map(|(p, x)| p * x).sum::<f64>());
        let denominator = FORGETTING + gain.iter().zip(x).map(|(g, x)| g * x).sum::<f64>();
        for (w, g) in self.weights.iter_mut().zip(gain) {
            *w += g * error / denominator;
        }
        let mut trace = 0.0;
        for i in 0..FEATURES {
            let scaled = gain[i] / denominator;
            for j in 0..FEATURES {
                p[i][j] -= scaled * gain[j];
            }
            trace += p[i][i];
        }
        if trace / FORGETTING < WIND_UP_LIMIT {
            for row in p.iter_mut() {
                for v in row {
                    *v /= FORGETTING;
                }
            }
        }
        let broken = !trace.is_finite() || (0..FEATURES).any(|i| p[i][i] < 0.0);
        if broken {
            *p = prior();
        }
        if self.weights.iter().any(|w| !w.is_finite()) {
            self.weights = [0.0; FEATURES];
        }
    }
}

fn prior() -> [[f64; FEATURES]; FEATURES] {
    std::array::from_fn(|i| std::array::from_fn(|j| if i == j { PRIOR } else { 0.0 }))
}
