//! How far from the point forecast can demand turn out to be, honestly?
//!
//! The quantiles of a model's own assumptions are wrong on real demand, so every model's are calibrated on what
//! happened, online and without stored residuals.
//!
//! **Method.** For each *anchor* horizon (1, 2, 4, 8, … up to the configured one) the forecast made h steps
//! ago is compared with the value that came. The error, divided by the local scale s at the time the
//! forecast was made, is a score u. Each level τ tracks the τ-quantile q of u by the pinball gradient,
//! `q ← q + η (τ − 1{u ≤ q})`: the quantile tracking of Gibbs & Candès, *Adaptive Conformal Inference
//! Under Distribution Shift* (NeurIPS 2021), in the form of Angelopoulos, Candès & Tibshirani, *Conformal
//! PID Control for Time Series Prediction* (NeurIPS 2023). The forecast then is `point + s q`, with q
//! interpolated linearly in the horizon between anchors, and growing with the square root of the horizon beyond
//! the last one.
//!
//! - s is a fast exponential mean of the absolute one-step errors plus a tenth of a slow one, so the
//!   intervals widen within a few steps when demand becomes restless.
//! - η is a fraction of the mean absolute score, so it has no unit; it starts larger and decays to its
//!   constant (Angelopoulos, Barber & Bates, *Online conformal prediction with decaying step sizes*, 2024).
//! - The levels 0.01 … 0.99 are tracked. Beyond 0.99 an exponential tail continues, its scale the
//!   online mean excess over the 0.95 quantile (the same shape that
//!   [`Distribution`](sphere_core::Distribution) uses between levels). Tracked quantiles that cross are sorted in what is served
//!   (Chernozhukov, Fernández-Val & Galichon, 2010), not in the tracker.
//!
//! **Guarantee.** For any sequence of bounded scores, with constant η the share of steps at or below the tracked
//! quantile after T steps differs from τ by at most (b + η)/(η T), b the bound on |u − q|: no assumption on
//! the model or the data. **Limits.** Here η follows the mean absolute score, so it is constant only while that
//! is; where it swings, the bound is larger by the swings of 1/η. It holds for the long run, not at each moment: with the gains here
//! the memory is some 100 steps at 0.9, 1000 at 0.99. For h > 1 feedback comes h steps late and errors overlap,
//! so what was issued lags what is tracked by h steps. Levels beyond 0.99 rest on the tail's shape and carry no
//! guarantee. [`Coverage`] counts what was *issued*, so the claim can be checked in operation.

use serde::{Deserialize, Serialize};
use sphere_core::QUANTILE_LEVELS;

const LEVELS: usize = QUANTILE_LEVELS.len();
/// The first levels of the grid, 0.01 … 0.99, are tracked.
const TRACKED: usize = 12;
const I_MEDIAN: usize = 4;
const I_90: usize = 8;
const I_95: usize = 9;
const I_99: usize = 11;
/// `ln(0.01 / (1 − level))` of the levels beyond 0.99, in mean excesses beyond the 0.99 quantile.
const TAIL_STEPS: [f64; LEVELS - TRACKED] = [
    std::f64::consts::LN_2,
    1.609_437_912_434_1,
    std::f64::consts::LN_10,
    2.995_732_273_553_991,
    4.605_170_185_988_091,
];
/// Quantiles of a normal distribution whose mean absolute value is 1: where the trackers start.
const START: [f64; TRACKED] = [-2.92, -2.06, -1.61, -0.85, 0.0, 0.32, 0.66, 1.05, 1.61, 2.06, 2.46, 2.92];
/// Gain of each tracker, in mean absolute scores. Where the density is high the quantile needs smaller
/// steps for the same error of the coverage.
const GAIN: [f64; TRACKED] = [0.1, 0.08, 0.06, 0.04, 0.03, 0.03, 0.04, 0.05, 0.06, 0.08, 0.1, 0.1];
/// A score beyond this many scales says "a different regime", not how different.
const SCORE_LIMIT: f64 = 1e3;
const FAST: f64 = 0.06;
const SLOW: f64 = 0.005;

/// Share of issued quantiles that held, measured at one horizon.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Coverage {
    /// Steps ahead.
    pub horizon: usize,
    /// Forecasts compared with what came.
    pub scored: u64,
    /// Values at or below the issued 0.9 quantile.
    pub below_90: u64,
    /// Values at or below the issued 0.95 quantile.
    pub below_95: u64,
    /// Values at or below the issued 0.99 quantile.
    pub below_99: u64,
}

impl Coverage {
    /// Shares at or below the issued 0.9, 0.95 and 0.99 quantiles; `None` before anything was scored.
    pub fn shares(&self) -> Option<[f64; 3]> {
        let n = self.scored as f64;
        (self.scored > 0).then(|| [self.below_90, self.below_95, self.below_99].map(|c| c as f64 / n))
    }

    /// What was counted since `earlier`, an older state of the same counter.
    pub fn since(&self, earlier: &Coverage) -> Coverage {
        Coverage {
            horizon: self.horizon,
            scored: self.scored.saturating_sub(earlier.scored),
            below_90: self.below_90.saturating_sub(earlier.below_90),
            below_95: self.below_95.saturating_sub(earlier.below_95),
            below_99: self.below_99.saturating_sub(earlier.below_99),
        }
    }
}

/// What was said about one step, kept until the step comes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
struct Issued {
    point: f64,
    /// Local scale then; negative when nothing was said.
    scale: f64,
    q90: f64,
    q95: f64,
    q99: f64,
}

const NOTHING: Issued = Issued { point: 0.0, scale: -1.0, q90: 0.0, q95: 0.0, q99: 0.0 };

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
struct Anchor {
    horizon: usize,
    quantiles: [f64; TRACKED],
    /// Mean absolute score: the unit of the gains.
    spread: f64,
    /// Mean excess of scores over the 0.95 quantile.
    excess: f64,
    scored: u64,
    /// Ring of the last `horizon` forecasts; `next` is the oldest, whose step comes next.
    issued: Vec<Issued>,
    next: usize,
    /// Scores at all levels, in order: what is served.
    served: [f64; LEVELS],
    coverage: Coverage,
}

impl Anchor {
    fn new(horizon: usize) -> Self {
        // Errors grow with the horizon; how much is learnt, this is only where to start.
        let growth = (horizon as f64).powf(0.25);
        let mut anchor = Self {
            horizon,
            quantiles: START.map(|q| q * growth),
            spread: growth,
            excess: 0.5 * growth,
            scored: 0,
            issued: vec![NOTHING; horizon],
            next: 0,
            served: [0.0; LEVELS],
            coverage: Coverage { horizon, ..Coverage::default() },
        };
        anchor.serve();
        anchor
    }

    fn score(&mut self, value: f64) {
        let issued = self.issued[self.next];
        if issued.scale < 0.0 {
            return;
        }
        self.coverage.scored += 1;
        self.coverage.below_90 += u64::from(value <= issued.q90);
        self.coverage.below_95 += u64::from(value <= issued.q95);
        self.coverage.below_99 += u64::from(value <= issued.q99);

        let error = value - issued.point;
        // Scale 0 means nothing ever moved: any movement then is beyond all scales.
        let u = if error == 0.0 { 0.0 } else { (error / issued.scale).clamp(-SCORE_LIMIT, SCORE_LIMIT) };
        self.scored += 1;
        let start_boost = 1.0 + 40.0 / (10.0 + self.scored as f64);
        let over = u - self.quantiles[I_95];
        if over > 0.0 {
            // In the first steps an excess says more than the prior does.
            let gain = (4.0 / (10.0 + self.scored as f64)).max(0.02);
            self.excess += gain * (over.min(20.0 * self.spread) - self.excess);
        }
        // The longer the horizon, the older the feedback and the more errors overlap: smaller steps, or the
        // tracker runs after its own delay.
        let eta = start_boost * self.spread / (1.0 + self.horizon as f64 / 16.0);
        for ((q, gain), level) in self.quantiles.iter_mut().zip(GAIN).zip(QUANTILE_LEVELS) {
            let miss = if u <= *q { level - 1.0 } else { level };
            *q += eta * gain * miss;
        }
        let gain = (1.0 / (5.0 + self.scored as f64)).max(0.01);
        self.spread += gain * (u.abs().min(10.0 * self.spread + 1.0) - self.spread);
        self.spread = self.spread.max(1e-6);
        self.serve();
    }

    fn serve(&mut self) {
        self.served[..TRACKED].copy_from_slice(&self.quantiles);
        let in_order = self.quantiles.windows(2).fold(true, |ok, w| ok & (w[0] <= w[1]));
        if !in_order {
            self.served[..TRACKED].sort_unstable_by(f64::total_cmp);
        }
        let top = self.served[I_99];
        for (slot, steps) in self.served[TRACKED..].iter_mut().zip(TAIL_STEPS) {
            *slot = top + steps * self.excess;
        }
    }

    fn issue(&mut self, issued: Issued) {
        self.issued[self.next] = issued;
        self.next += 1;
        if self.next == self.horizon {
            self.next = 0;
        }
    }
}

/// Calibrates the quantiles of one point model online.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Calibrator {
    anchors: Vec<Anchor>,
    fast: f64,
    slow: f64,
    errors: u64,
}

impl Calibrator {
    /// Anchors at 1, 2, 4, 8, … and at `horizon` itself (at least 1).
    pub fn new(horizon: usize) -> Self {
        let horizon = horizon.max(1);
        let mut horizons: Vec<usize> =
            std::iter::successors(Some(1usize), |h| h.checked_mul(2)).take_while(|&h| h < horizon).collect();
        horizons.push(horizon);
        Self { anchors: horizons.into_iter().map(Anchor::new).collect(), fast: 0.0, slow: 0.0, errors: 0 }
    }

    /// The longest anchor: as many steps as [`Calibrator::issue`] expects.
    pub fn horizon(&self) -> usize {
        self.anchors.last().map_or(1, |a| a.horizon)
    }

    /// Local scale of the one-step error, in units of demand.
    pub fn scale(&self) -> f64 {
        self.fast + 0.1 * self.slow
    }

    /// Compares what was said about this step with its `value`. Call before the model sees the value, and
    /// follow with [`Calibrator::issue`].
    pub fn score(&mut self, value: f64) {
        let one_step = self.anchors[0].issued[self.anchors[0].next];
        for anchor in &mut self.anchors {
            anchor.score(value);
        }
        if one_step.scale >= 0.0 {
            let error = (value - one_step.point).abs();
            self.errors += 1;
            let least = 1.0 / self.errors as f64;
            self.fast += FAST.max(least) * (error - self.fast);
            self.slow += SLOW.max(least) * (error - self.slow);
        }
    }

    /// Remembers the forecast made now: `path[k]` is the expected value k + 1 steps ahead, at least
    /// [`Calibrator::horizon`] of them.
    pub fn issue(&mut self, path: &[f64]) {
        let scale = self.scale();
        for anchor in &mut self.anchors {
            let point = path[anchor.horizon - 1];
            anchor.issue(Issued {
                point,
                scale,
                q90: point + scale * anchor.served[I_90],
                q95: point + scale * anchor.served[I_95],
                q99: point + scale * anchor.served[I_99],
            });
        }
    }

    /// A step passed about which nothing can be compared or said.
    pub fn skip(&mut self) {
        for anchor in &mut self.anchors {
            anchor.issue(NOTHING);
        }
    }

    /// Forgets what was said about steps to come; what was learnt stays.
    pub fn forget_issued(&mut self) {
        for anchor in &mut self.anchors {
            anchor.issued.fill(NOTHING);
            anchor.next = 0;
        }
    }

    /// Quantiles at [`QUANTILE_LEVELS`] around `point`, `ahead` ≥ 1 steps ahead, cut at `floor`. Never
    /// decreasing: the served scores are in order, the weights are not negative, and rounding keeps order.
    #[inline]
    pub fn quantiles(&self, ahead: usize, point: f64, floor: f64) -> [f64; LEVELS] {
        let scale = self.scale();
        let i = self.anchors.partition_point(|a| a.horizon < ahead);
        let (a, b, near, far) = match self.anchors.get(i) {
            Some(only) if i == 0 => (only, only, 0.0, scale),
            Some(b) => {
                let a = &self.anchors[i - 1];
                let t = (ahead - a.horizon) as f64 / (b.horizon - a.horizon) as f64;
                (a, b, scale * (1.0 - t), scale * t)
            }
            None => {
                let last = &self.anchors[i - 1];
                (last, last, 0.0, scale * (ahead as f64 / last.horizon as f64).sqrt())
            }
        };
        std::array::from_fn(|k| {
            let q = point + (near * a.served[k] + far * b.served[k]);
            if q < floor { floor } else { q }
        })
    }

    /// Measured coverage of what was issued, one entry per anchor horizon.
    pub fn coverage(&self) -> impl Iterator<Item = Coverage> + '_ {
        self.anchors.iter().map(|a| a.coverage)
    }

    /// Bytes on the heap, beside the size of the type.
    pub fn heap_bytes(&self) -> usize {
        let rings: usize = self.anchors.iter().map(|a| a.issued.capacity() * size_of::<Issued>()).sum();
        self.anchors.capacity() * size_of::<Anchor>() + rings
    }

    /// Median of the score at each anchor: the model's bias in scales.
    pub fn bias(&self) -> impl Iterator<Item = f64> + '_ {
        self.anchors.iter().map(|a| a.served[I_MEDIAN])
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Deterministic noise, uniform in (0, 1).
    fn noise(i: u64) -> f64 {
        let mut x = i.wrapping_add(1).wrapping_mul(0x9E37_79B9_7F4A_7C15);
        x ^= x >> 31;
        x = x.wrapping_mul(0xBF58_476D_1CE4_E5B9);
        x ^= x >> 29;
        (x >> 11) as f64 / (1u64 << 53) as f64
    }

    fn run(n: u64, value: impl Fn(u64) -> f64) -> Vec<Coverage> {
        let mut c = Calibrator::new(15);
        let mut start = Vec::new();
        for i in 0..n {
            if i == 300 {
                start = c.coverage().collect();
            }
            c.score(value(i));
            c.issue(&[10.0; 15]);
        }
        c.coverage().zip(&start).map(|(now, then)| now.since(then)).collect()
    }

    #[test]
    fn issued_quantiles_cover_what_they_say_on_skewed_noise() {
        for coverage in run(20_000, |i| 10.0 - noise(i).ln()) {
            let [c90, c95, c99] = coverage.shares().unwrap();
            assert!((c90 - 0.9).abs() < 0.01 && (c95 - 0.95).abs() < 0.01, "{coverage:?}");
            assert!((c99 - 0.99).abs() < 0.005, "{coverage:?}");
        }
    }

    #[test]
    fn coverage_returns_after_the_noise_grows_tenfold() {
        for coverage in run(20_000, |i| 10.0 + (noise(i) - 0.5) * if i < 10_000 { 1.0 } else { 10.0 }) {
            let [c90, c95, _] = coverage.shares().unwrap();
            assert!((c90 - 0.9).abs() < 0.015 && (c95 - 0.95).abs() < 0.015, "{coverage:?}");
        }
    }

    #[test]
    fn a_series_that_never_moves_has_no_spread() {
        let mut c = Calibrator::new(15);
        for _ in 0..100 {
            c.score(7.0);
            c.issue(&[7.0; 15]);
        }
        let q = c.quantiles(5, 7.0, 0.0);
        assert!(q.iter().all(|v| (v - 7.0).abs() < 1e-9), "{q:?}");
    }

    #[test]
    fn tail_steps_follow_the_levels() {
        for (step, level) in TAIL_STEPS.iter().zip(&QUANTILE_LEVELS[TRACKED..]) {
            assert!((step - (0.01 / (1.0 - level)).ln()).abs() < 1e-9);
        }
    }
}
