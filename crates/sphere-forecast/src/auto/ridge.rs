//! Which weights turn recent values and profiles into the coming ones?
//!
//! One ridge regression for all targets: the Gram matrix of the features is shared, so a further target costs one row.
//! Exponentially weighted normal equations with a memory of 6000 origins, solved by Cholesky every few of them, as
//! recursive least squares would (Ljung & Söderström 1983), but without its drift. Origins whose error is far beyond
//! the usual weigh less (Huber, *Robust estimation of a location parameter*, 1964).

use super::factor::Factor;
use super::fast::short_dot;
use super::packed::Floats;
use serde::{Deserialize, Serialize};

/// Number of features.
pub(super) const FEATURES: usize = 30;
const PAIRS: usize = FEATURES * (FEATURES + 1) / 2;
const CHUNKS: usize = FEATURES.div_ceil(4);
const FORGETTING: f64 = 1.0 - 1.0 / 6000.0;
const RIDGE: f64 = 5.0;
const SOLVE_EVERY: u64 = 8;
/// Origins after each of which the equations are solved.
const EAGER: u64 = 40;
/// Deviations are learnt and forecast up to so many spreads.
pub(super) const CLIP: f64 = 8.0;

/// Features of one origin.
pub(super) type Features = [f32; FEATURES];

/// See the module text.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(super) struct Ridge {
    targets: usize,
    gram: Floats,
    cross: Floats,
    weights: Floats,
    usual_error: f64,
    learnt: u64,
    /// Weight of the next origin: grows instead of ageing every sum.
    increment: f64,
}

impl Ridge {
    pub(super) fn new(targets: usize) -> Self {
        Self {
            targets,
            gram: Floats::filled(PAIRS, 0.0),
            cross: Floats::filled(targets * FEATURES, 0.0),
            weights: Floats::filled(targets * FEATURES, 0.0),
            usual_error: 0.0,
            learnt: 0,
            increment: 1.0,
        }
    }

    /// The same for other targets: each takes what was learnt for the old one named in `sources`.
    pub(super) fn with_targets(&self, sources: &[usize]) -> Self {
        let mut new = Self {
            targets: sources.len(),
            cross: Floats::filled(sources.len() * FEATURES, 0.0),
            weights: Floats::filled(sources.len() * FEATURES, 0.0),
            ..self.clone()
        };
        for (a, &source) in sources.iter().enumerate() {
            let (to, from) = (a * FEATURES..(a + 1) * FEATURES, source * FEATURES..(source + 1) * FEATURES);
            new.cross[to.clone()].copy_from_slice(&self.cross[from.clone()]);
            new.weights[to].copy_from_slice(&self.weights[from]);
        }
        new
    }

    pub(super) fn fits(&self, targets: usize) -> bool {
        self.targets == targets
            && self.gram.len() == PAIRS
            && self.cross.len() == targets * FEATURES
            && self.weights.len() == targets * FEATURES
    }

    pub(super) fn heap_bytes(&self) -> usize {
        self.gram.heap_bytes() + self.cross.heap_bytes() + self.weights.heap_bytes()
    }

    /// Expected deviation of a target from the base, in spreads.
    pub(super) fn predict(&self, target: usize, x: &Features) -> f64 {
        let row = self.weights[target * FEATURES..].first_chunk::<FEATURES>();
        row.map_or(0.0, |row| f64::from(short_dot(row, x))).clamp(-CLIP, CLIP)
    }

    /// Learns that the features `x` went with the `deviations` of the targets, in spreads.
    pub(super) fn learn(&mut self, x: &Features, deviations: impl Iterator<Item = f64> + Clone) {
        let n = self.targets as f64;
        let error = deviations
            .clone()
            .enumerate()
            .map(|(a, y)| (y.clamp(-CLIP, CLIP) - self.predict(a, x)).abs())
            .sum::<f64>()
            / n;
        if self.learnt == 0 {
            self.usual_error = error + 0.1;
        }
        let weight = if error > 0.0 { (1.5 * self.usual_error / error).min(1.0) } else { 1.0 };
        self.usual_error += 0.01 * (error.min(3.0 * self.usual_error) - self.usual_error);
        self.learnt += 1;
        let weight = (weight * self.increment) as f32;
        let mut start = 0;
        for i in 0..FEATURES {
            let wx = weight * x[i];
            for (g, x) in self.gram[start..=start + i].iter_mut().zip(x) {
                *g += wx * x;
            }
            start += i + 1;
        }
        for (row, y) in self.cross.chunks_exact_mut(FEATURES).zip(deviations) {
            let wy = weight * y.clamp(-CLIP, CLIP) as f32;
            for (c, x) in row.iter_mut().zip(x) {
                *c += wy * x;
            }
        }
        self.increment /= FORGETTING;
        if self.increment > 1e6 {
            let shrink = (1.0 / self.increment) as f32;
            self.gram.iter_mut().chain(self.cross.iter_mut()).for_each(|v| *v *= shrink);
            self.increment = 1.0;
        }
        if self.learnt <= EAGER || self.learnt.is_multiple_of(SOLVE_EVERY) {
            self.solve();
        }
    }

    /// Solves (G + ridge) w = c for every target; a feature that carries nothing gets weight 0.
    fn solve(&mut self) {
        let unit = 1.0 / self.increment;
        let mut factor = Box::new(Factor::<FEATURES, CHUNKS>::ZERO);
        let mut start = 0;
        for i in 0..FEATURES {
            for (j, g) in self.gram[start..=start + i].iter().enumerate() {
                factor.set(j, i, f64::from(*g) * unit);
            }
            let own = f64::from(self.gram[start + i]) * unit;
            factor.set(i, i, own + RIDGE + 1e-6 * own);
            start += i + 1;
        }
        factor.decompose();
        let mut first = 0;
        while first < self.targets {
            // Side by side, as many as fill the vector registers.
            if self.targets - first > 2 {
                self.solve_targets::<4>(&factor, first, unit);
                first += 4;
            } else {
                self.solve_targets::<2>(&factor, first, unit);
                first += 2;
            }
        }
    }

    /// Weights of the `N` targets from `first` on, or fewer where there are no more.
    fn solve_targets<const N: usize>(&mut self, factor: &Factor<FEATURES, CHUNKS>, first: usize, unit: f64) {
        let cells = first * FEATURES..(first + N).min(self.targets) * FEATURES;
        let mut y = [[0.0f64; N]; FEATURES];
        for (t, cross) in self.cross[cells.clone()].chunks_exact(FEATURES).enumerate() {
            for (y, c) in y.iter_mut().zip(cross) {
                y[t] = f64::from(*c) * unit;
            }
        }
        factor.solve(&mut y);
        for (t, solution) in self.weights[cells].chunks_exact_mut(FEATURES).enumerate() {
            for (w, y) in solution.iter_mut().zip(&y) {
                *w = if y[t].is_finite() { y[t] as f32 } else { 0.0 };
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_finds_the_weights_that_made_the_series() {
        let mut ridge = Ridge::new(2);
        let mut state = 7u64;
        let mut noise = || {
            state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            (state >> 40) as f32 / (1u64 << 24) as f32 - 0.5
        };
        for _ in 0..4000 {
            let x: Features = std::array::from_fn(|_| noise());
            let y = [f64::from(2.0 * x[3] - x[29]), f64::from(0.5 * x[0])];
            ridge.learn(&x, y.into_iter());
        }
        let mut x = [0.0; FEATURES];
        (x[3], x[0]) = (1.0, 1.0);
        assert!((ridge.predict(0, &x) - 2.0).abs() < 0.1, "{}", ridge.predict(0, &x));
        assert!((ridge.predict(1, &x) - 0.5).abs() < 0.05, "{}", ridge.predict(1, &x));
    }
}
