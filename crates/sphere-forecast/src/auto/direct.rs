//! Which weights turn smoothed levels into demand at exactly one target?
//!
//! A regression like that of [`crate::LeadForecaster`], one per target, on the levels and profiles kept here anyway:
//! squared errors and a memory of two days of 10 s steps make it steadier than the mix where demand is noisy around a
//! slow course. It is one expert among the others, and one of the measures of doubt is that of its errors. Weighted normal
//! equations in single precision, solved by Cholesky every few origins: recursive least squares needs a covariance in
//! double precision, four times the room, and does not hold it there.

use super::factor::Factor;
use super::fast::dot;
use super::packed::Floats;
use serde::{Deserialize, Serialize};

/// Number of inputs.
pub(super) const INPUTS: usize = crate::lead::FEATURES;
/// What it sees of one origin.
pub(super) type Inputs = [f64; INPUTS];

const PAIRS: usize = INPUTS * (INPUTS + 1) / 2;
const CHUNKS: usize = INPUTS.div_ceil(4);
const FORGETTING: f64 = 1.0 - 1.0 / 17_280.0;
/// Weight of the prior that all weights are 0, origins.
const RIDGE: f64 = 100.0;
/// Errors count up to so many spreads.
const CAP: f64 = 4.0;
const SOLVE_EVERY: u64 = 4;
const EAGER: u64 = 60;
/// Weight of the newest origin at which all sums are made smaller.
const LARGEST_INCREMENT: f64 = 1e6;

/// See the module text.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(super) struct Direct {
    /// Gram matrix, row by row to the diagonal; then the cross products; then the weights.
    sums: Floats,
    learnt: u64,
    /// Weight of the next origin: grows instead of ageing every sum.
    increment: f64,
}

impl Direct {
    pub(super) fn new() -> Self {
        Self { sums: Floats::filled(PAIRS + 2 * INPUTS, 0.0), learnt: 0, increment: 1.0 }
    }

    pub(super) fn fits(&self) -> bool {
        self.sums.len() == PAIRS + 2 * INPUTS
    }

    pub(super) fn heap_bytes(&self) -> usize {
        self.sums.heap_bytes()
    }

    pub(super) fn predict(&self, x: &Inputs) -> f64 {
        self.sums[PAIRS + INPUTS..].first_chunk().map_or(0.0, |weights| dot(weights, x))
    }

    /// Learns that inputs `x` went with the deviation `target`, both in spreads.
    pub(super) fn learn(&mut self, x: &Inputs, target: f64) {
        let expected = self.predict(x);
        let target = expected + (target - expected).clamp(-CAP, CAP);
        self.learnt += 1;
        let (gram, rest) = self.sums.split_at_mut(PAIRS);
        let mut start = 0;
        for i in 0..INPUTS {
            let wx = self.increment * x[i];
            for (g, x) in gram[start..=start + i].iter_mut().zip(x) {
                *g += (wx * x) as f32;
            }
            rest[i] += (wx * target) as f32;
            start += i + 1;
        }
        self.increment /= FORGETTING;
        if self.increment > LARGEST_INCREMENT {
            let shrink = (1.0 / self.increment) as f32;
            self.sums[..PAIRS + INPUTS].iter_mut().for_each(|v| *v *= shrink);
            self.increment = 1.0;
        }
        if self.learnt <= EAGER || self.learnt.is_multiple_of(SOLVE_EVERY) {
            self.solve();
        }
    }

    fn solve(&mut self) {
        let unit = 1.0 / self.increment;
        // The prior fades as the origins do, to a fifth.
        let ridge = RIDGE * (-(self.learnt as f64) / 17_280.0).exp().max(0.2);
        let (gram, rest) = self.sums.split_at_mut(PAIRS);
        let (cross, weights) = rest.split_at_mut(INPUTS);
        let mut factor = Factor::<INPUTS, CHUNKS>::ZERO;
        let mut y = [[0.0]; INPUTS];
        let mut start = 0;
        for i in 0..INPUTS {
            for (j, g) in gram[start..=start + i].iter().enumerate() {
                factor.set(j, i, f64::from(*g) * unit);
            }
            factor.set(i, i, f64::from(gram[start + i]) * unit + ridge);
            y[i] = [f64::from(cross[i]) * unit];
            start += i + 1;
        }
        factor.decompose();
        factor.solve(&mut y);
        for (w, [y]) in weights.iter_mut().zip(y) {
            *w = if y.is_finite() { y as f32 } else { 0.0 };
        }
    }
}
