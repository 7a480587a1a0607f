//! How large is the error right now?
//!
//! Six variance experts: the squared error in proportion to the mean (counting noise) or to its square
//! (relative noise), each with a short, a medium and a long memory. They are mixed by how well each predicted
//! the squared errors so far (Gaussian log score, exponential weights with forgetting).

use serde::{Deserialize, Serialize};

const MEMORIES_STEPS: [f64; 3] = [20.0, 120.0, 4000.0];
const EXPERTS: usize = 6;

/// Variance coefficient of each expert.
pub(crate) type Variances = [f64; EXPERTS];

/// See the module text.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct ScaleMixture {
    variances: Variances,
    log_weights: [f64; EXPERTS],
    weights: [f64; EXPERTS],
    seen: u64,
}

/// Experts 0..3 are proportional to the mean, 3..6 to its square.
fn powers(mean: f64) -> [f64; 2] {
    let m = mean.max(1e-9);
    [m, m * m]
}

impl ScaleMixture {
    pub(crate) fn new() -> Self {
        Self {
            variances: [0.0; EXPERTS],
            log_weights: [0.0; EXPERTS],
            weights: [1.0 / EXPERTS as f64; EXPERTS],
            seen: 0,
        }
    }

    /// What the experts think now, to be handed back with the error they predicted.
    pub(crate) fn variances(&self) -> Variances {
        self.variances
    }

    /// Learns the `error` of a forecast with `mean` and `scale`, made when the experts said `then`; errors come every
    /// `every` steps.
    pub(crate) fn update(&mut self, error: f64, mean: f64, scale: f64, then: &Variances, every: f64) {
        let square = error * error;
        let powers = powers(mean);
        let variance = scale * scale;
        self.seen += 1;
        let warm = self.seen > 30;
        for k in 0..EXPERTS {
            let power = powers[k / 3];
            if warm {
                let predicted = (then[k] * power).max(1e-12);
                let loss = (predicted / variance).ln() + square.min(25.0 * variance) / predicted;
                self.log_weights[k] = 0.9995 * self.log_weights[k] - 0.02 * loss.min(20.0);
            }
            let mut ratio = square / power;
            if warm {
                ratio = ratio.min((36.0 * self.variances[k]).max(1e-12));
            }
            let memory = (MEMORIES_STEPS[k % 3] / every).clamp(1.0, self.seen as f64);
            self.variances[k] += (ratio - self.variances[k]) / memory;
        }
        if warm {
            let best = self.log_weights.iter().copied().fold(f64::NEG_INFINITY, f64::max);
            let mut sum = 0.0;
            for (w, lw) in self.weights.iter_mut().zip(self.log_weights) {
                *w = (lw - best).max(-30.0).exp() + 0.01;
                sum += *w;
            }
            for w in &mut self.weights {
                *w /= sum;
            }
        }
    }

    /// Standard deviation to expect around a forecast of `mean`.
    pub(crate) fn scale(&self, mean: f64) -> f64 {
        let powers = powers(mean);
        let variance = if self.seen <= 5 {
            0.25 * mean * mean
        } else {
            (0..EXPERTS).map(|k| self.weights[k] * self.variances[k] * powers[k / 3]).sum()
        };
        variance.max(0.0).sqrt() + 1e-9
    }
}
