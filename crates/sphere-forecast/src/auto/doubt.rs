//! How far off may the forecast of one target be, at every level of probability?
//!
//! Six measures of the usual error (recent; usual at this time of day and hour; how far the recent
//! maximum lies above the forecast; the slope; that of the direct regression; and that of all times, which is the
//! best where bursts come out of nothing) each have a histogram of the errors in that measure, which forgets
//! with a memory of 8000. Each gives quantiles; they are averaged with weights by their recent pinball
//! loss. Beyond the 0.975 quantile the histogram is thin, so a generalised Pareto tail continues (Pickands 1975; fitted by
//! probability-weighted moments, Hosking & Wallis, Technometrics 29, 1987, the shape shrunk towards a light one).
//!
//! **Honesty.** The quantiles up to 0.99 carry an offset that follows the pinball gradient: quantile tracking (Gibbs &
//! Candès, *Adaptive Conformal Inference Under Distribution Shift*, NeurIPS 2021; Angelopoulos, Candès & Tibshirani,
//! *Conformal PID Control for Time Series Prediction*, NeurIPS 2023).

use super::packed::{F16, F24, Numbers, Rounded, decode};
use super::{fast, levels::TINY};
use crate::lead::scale::{ScaleMixture, Variances};
use serde::{Deserialize, Serialize};
use sphere_core::QUANTILE_LEVELS;
use std::sync::LazyLock;

const LEVELS: usize = QUANTILE_LEVELS.len();
/// Measures of the usual error.
pub(super) const SCALES: usize = 6;
const BINS: usize = 40;
/// Bins are of equal width in asinh(4 u), up to this.
const REACH: f64 = 5.0;
const BIN_WIDTH: f64 = 2.0 * REACH / BINS as f64;
/// Errors a histogram is born with, for each step of the lead: forecasts of as many steps in a row err together, so that many errors
/// tell as little as one.
const PRIOR_MASS: f64 = 8.0;
/// Steps of the lead beyond which the prior no longer grows.
const LONGEST_PRIOR: u32 = 30;
/// Levels at which the measures compete.
const JUDGED: [f64; 3] = [0.9, 0.95, 0.99];
/// Indices of [`JUDGED`] on the grid of levels.
const JUDGED_AT: [usize; 3] = [8, 9, 11];
/// The first levels of the grid, to 0.99, are tracked.
const TRACKED: usize = 12;
const I_50: usize = 4;
const I_95: usize = 9;
/// First level served by the tail.
const TAIL_FROM: usize = 11;
/// The measure around the direct regression.
const DIRECT: usize = 4;
/// Memory of the histograms, errors; the one around the direct regression remembers days.
const MEMORY: f64 = 8000.0;
const SLOW_MEMORY: f64 = 25_000.0;
/// Size below which a forecast counts as of that size, usual errors.
const LEAST_MEAN: f64 = 0.25;
/// Gain of the mean pinball losses.
const JUDGEMENT: f32 = 0.0005;
const SHARPNESS: f32 = 40.0;
/// Gains per step of the recent, the usual and the overall error. With 0.025 the doubt stays wide for too long after a burst;
/// with 0.05 it is sharper still at 0.95, but not beyond.
const RECENT_GAIN: f64 = 0.035;
const USUAL_GAIN: f64 = 0.003;
const OVERALL_GAIN: f64 = 0.0005;
/// Errors count in the recent and in the usual error up to so many usual ones, except for the first.
const RECENT_CAP: f64 = 8.0;
const USUAL_CAP: f64 = 6.0;
const UNCAPPED: u64 = 100;
/// Gain of the offsets, in their own unit.
const ADAPTATION: f64 = 0.001;
/// Errors after which the quantiles are read from the histograms again.
const REFRESH_EVERY: u64 = 16;
const EAGER: u64 = 200;

/// What the measures are made of at an origin, beside the errors of the target itself.
#[derive(Clone, Copy, Debug)]
pub(super) struct Surroundings {
    /// Usual absolute error at that time.
    pub(super) usual_error: Option<f64>,
    /// Largest recent value.
    pub(super) recent_maximum: f64,
    /// Size of the damped slope, per step.
    pub(super) slope: f64,
    /// Usual magnitude of demand.
    pub(super) size: f64,
}

/// What came of a forecast.
#[derive(Clone, Copy, Debug)]
pub(super) struct Outcome {
    /// What came, less the centre of the quantiles.
    pub(super) error: f64,
    /// What the direct regression said, less that centre.
    pub(super) shift: f64,
    /// What the direct regression said.
    pub(super) direct: f64,
    /// The series' unit.
    pub(super) unit: f64,
    /// Steps until the next forecast that will be learnt from.
    pub(super) every: f64,
}

/// See the module text.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(super) struct Doubt {
    recent: f64,
    usual: f64,
    overall: f64,
    pub(super) mixture: ScaleMixture,
    slow_increment: f64,
    scored: u64,
    histograms: Numbers<F24>,
    /// Weight of the next error: grows instead of ageing every bin.
    increment: f64,
    losses: [[f32; SCALES]; JUDGED.len()],
    #[serde(with = "super::packed::array")]
    offsets: [f32; TRACKED],
    /// Quantiles of each measure's errors; made from the histograms.
    table: Numbers<F16>,
}

/// Where bin edges lie.
struct Edges {
    /// In measures.
    at: [f64; BINS + 1],
    /// The same with the hyperbolic cosine in place of the sine.
    slope: [f64; BINS + 1],
    /// Logarithms of how many times rarer than 0.95 is passed the levels of the tail are.
    rarer: [f32; LEVELS - TAIL_FROM],
}

static EDGES: LazyLock<Edges> = LazyLock::new(|| {
    let place = |i: usize| i as f64 * BIN_WIDTH - REACH;
    Edges {
        at: std::array::from_fn(|i| place(i).sinh() / 4.0),
        slope: std::array::from_fn(|i| place(i).cosh() / 4.0),
        rarer: std::array::from_fn(|k| (0.05 / (1.0 - QUANTILE_LEVELS[TAIL_FROM + k])).ln() as f32),
    }
});

impl Edges {
    /// The bin of `u`.
    fn cell(&self, u: f64) -> usize {
        self.at[1..BINS].partition_point(|edge| *edge <= u)
    }

    /// What lies the share `inside` of the way through bin `i`: the hyperbolic sine of a sum.
    fn inside(&self, i: usize, inside: f64) -> f64 {
        let x = inside.clamp(0.0, 1.0) * BIN_WIDTH;
        let xx = x * x;
        // Series, to 10⁻¹² for |x| ≤ 1/4.
        let sinh = x * (1.0 + xx / 6.0 * (1.0 + xx / 20.0 * (1.0 + xx / 42.0)));
        let cosh = 1.0 + xx / 2.0 * (1.0 + xx / 12.0 * (1.0 + xx / 30.0 * (1.0 + xx / 56.0)));
        self.at[i] * cosh + self.slope[i] * sinh
    }
}

/// Quantiles of each measure's errors.
type Table = [f32; SCALES * LEVELS];

/// Quantile of one measure's errors, by the level's place on the grid.
fn quantile(table: &Table, measure: usize, level: usize) -> f64 {
    f64::from(table[measure * LEVELS + level])
}

impl Doubt {
    /// For a target that ends `lead` steps ahead.
    pub(super) fn new(lead: u32) -> Self {
        let prior = PRIOR_MASS * f64::from(lead.min(LONGEST_PRIOR));
        let mut doubt = Self {
            recent: 0.0,
            usual: 0.0,
            overall: 0.0,
            mixture: ScaleMixture::new(),
            slow_increment: 1.0,
            scored: 0,
            histograms: Numbers::filled(SCALES * BINS, 0.0.into()),
            increment: 1.0,
            losses: [[0.0; SCALES]; JUDGED.len()],
            offsets: [0.0; TRACKED],
            table: Numbers::filled(SCALES * LEVELS, F16::default()),
        };
        // Between normal and Laplace, with mean absolute value 1.
        let density = |u: f64| (-u * u / (0.9 + 0.75 * u.abs())).exp();
        let mass: Vec<f64> = (0..BINS)
            .map(|i| {
                let (a, b) = (EDGES.at[i], EDGES.at[i + 1]);
                (b - a) * (density(a) + 4.0 * density(0.5 * (a + b)) + density(b)) / 6.0
            })
            .collect();
        let all: f64 = mass.iter().sum();
        for histogram in doubt.histograms.chunks_exact_mut(BINS) {
            for (h, m) in histogram.iter_mut().zip(&mass) {
                *h = ((prior * m / all) as f32).into();
            }
        }
        doubt.refresh();
        doubt
    }

    pub(super) fn fits(&self) -> bool {
        self.histograms.len() == SCALES * BINS && self.table.len() == SCALES * LEVELS
    }

    pub(super) fn heap_bytes(&self) -> usize {
        self.histograms.heap_bytes() + self.table.heap_bytes()
    }

    /// The measures of the usual error for a forecast of `point`, all positive.
    pub(super) fn scales(
        &self,
        around: &Surroundings,
        spread: f64,
        point: f64,
        mean: f64,
        unit: f64,
    ) -> [f64; SCALES] {
        let (recent, usual) = if self.scored == 0 { (spread, spread) } else { (self.recent, self.usual) };
        let floor = 1e-3 * usual + 1e-9 * around.size + TINY;
        [
            recent + 0.1 * usual + floor,
            (recent * around.usual_error.unwrap_or(usual)).sqrt() + 0.1 * usual + floor,
            (around.recent_maximum - point).max(0.0) + 0.3 * usual + floor,
            4.0 * around.slope + 0.5 * recent + floor,
            unit * self.mixture.scale(self.above_nothing(mean) / unit) + floor,
            if self.scored == 0 { spread } else { self.overall } + floor,
        ]
    }

    /// Learns what came of a forecast whose measures were `scales`. What is recent is counted in steps: bursts do not last
    /// longer where fewer forecasts are learnt from.
    pub(super) fn learn(&mut self, came: &Outcome, scales: &[f64; SCALES], then: &Variances) {
        let Outcome { error, shift, direct: mean, unit, every } = *came;
        let direct_error = error - shift;
        let mut errors = [error; SCALES];
        errors[DIRECT] = direct_error;
        self.scored += 1;
        let least = 1.0 / self.scored as f64;
        // One shift of the level must not widen the doubt for hours.
        let cap = |caps: f64| if self.scored < UNCAPPED { f64::INFINITY } else { caps * self.usual };
        let (soon, late) = (error.abs().min(cap(RECENT_CAP)), error.abs().min(cap(USUAL_CAP)));
        let gain = |per_step: f64| least.max((per_step * every).min(1.0));
        self.recent += gain(RECENT_GAIN) * (soon - self.recent);
        self.usual += gain(USUAL_GAIN) * (late - self.usual);
        self.overall += gain(OVERALL_GAIN) * (error.abs() - self.overall);
        self.mixture.update(
            direct_error / unit,
            self.above_nothing(mean) / unit,
            scales[DIRECT] / unit,
            then,
            every,
        );
        let unit = 1.0 / (self.usual + TINY);
        let table: Table = decode(&self.table, 0);
        for ((tau, at), losses) in JUDGED.into_iter().zip(JUDGED_AT).zip(&mut self.losses) {
            for (j, loss) in losses.iter_mut().enumerate() {
                let over = errors[j] - quantile(&table, j, at) * scales[j];
                let pinball = if over > 0.0 { tau * over } else { (tau - 1.0) * over };
                *loss += JUDGEMENT * ((pinball * unit).min(20.0) as f32 - *loss);
            }
        }
        let (served, width) = self.uncorrected(&table, scales, shift);
        for k in 0..TRACKED {
            let above = error > served[k] + self.correction(k, served[k], width);
            let step = if above { QUANTILE_LEVELS[k] } else { QUANTILE_LEVELS[k] - 1.0 };
            self.offsets[k] = (f64::from(self.offsets[k]) + ADAPTATION * step).clamp(-1.5, 3.0) as f32;
        }
        let edges: &Edges = &EDGES;
        for (j, histogram) in self.histograms.chunks_exact_mut(BINS).enumerate() {
            let increment = if j == DIRECT { self.slow_increment } else { self.increment };
            let bin = &mut histogram[edges.cell(errors[j] / scales[j])];
            *bin = (bin.get() + increment as f32).into();
        }
        self.increment /= 1.0 - 1.0 / MEMORY;
        if self.increment > 1e12 {
            for (j, histogram) in self.histograms.chunks_exact_mut(BINS).enumerate() {
                if j != DIRECT {
                    shrink(histogram, self.increment);
                }
            }
            self.increment = 1.0;
        }
        self.slow_increment /= 1.0 - 1.0 / SLOW_MEMORY;
        if self.slow_increment > 1e12 {
            shrink(&mut self.histograms[DIRECT * BINS..(DIRECT + 1) * BINS], self.slow_increment);
            self.slow_increment = 1.0;
        }
        if self.scored < EAGER || self.scored.is_multiple_of(REFRESH_EVERY) {
            self.refresh();
        }
    }

    /// Size of a forecast, as errors are in proportion to it: one near 0 by chance would make every error infinitely many times
    /// its size.
    fn above_nothing(&self, mean: f64) -> f64 {
        mean.abs().max(LEAST_MEAN * self.usual)
    }

    /// Usual absolute error.
    pub(super) fn usual(&self) -> f64 {
        self.usual
    }

    /// Deviation of the median.
    pub(super) fn median(&self, scales: &[f64; SCALES], shift: f64) -> f64 {
        let weights = weights(&self.losses[0]);
        let median = |j: usize| f64::from(self.table[j * LEVELS + I_50].get());
        let q: f64 = (0..SCALES).map(|j| weights[j] * scales[j] * median(j)).sum();
        q + weights[DIRECT] * shift
    }

    fn correction(&self, k: usize, deviation: f64, width: f64) -> f64 {
        f64::from(self.offsets[k.min(TRACKED - 1)]) * (deviation.abs() + 0.2 * width)
    }

    /// Average of the measures' quantiles, and of the measures.
    fn uncorrected(&self, table: &Table, scales: &[f64; SCALES], shift: f64) -> ([f64; LEVELS], f64) {
        let weights = self.losses.each_ref().map(weights);
        let scaled: [[f64; SCALES]; JUDGED.len()] =
            weights.map(|row| std::array::from_fn(|j| row[j] * scales[j]));
        let mut out = [0.0; LEVELS];
        for (judged, levels) in [0..I_95, I_95..JUDGED_AT[2], JUDGED_AT[2]..LEVELS].into_iter().enumerate() {
            for (row, scaled) in table.chunks_exact(LEVELS).zip(scaled[judged]) {
                for (q, of) in out[levels.clone()].iter_mut().zip(&row[levels.clone()]) {
                    *q += scaled * f64::from(*of);
                }
            }
            let shift = weights[judged][DIRECT] * shift;
            out[levels].iter_mut().for_each(|q| *q += shift);
        }
        (out, scaled[1].iter().sum())
    }

    /// Deviations from the forecast at all levels, not necessarily in order.
    pub(super) fn deviations(&self, scales: &[f64; SCALES], shift: f64) -> [f64; LEVELS] {
        let (mut out, width) = self.uncorrected(&decode(&self.table, 0), scales, shift);
        for (k, q) in out.iter_mut().enumerate() {
            *q += self.correction(k, *q, width);
        }
        out
    }

    fn refresh(&mut self) {
        for (j, (histogram, row)) in
            self.histograms.chunks_exact(BINS).zip(self.table.chunks_exact_mut(LEVELS)).enumerate()
        {
            let quantiles =
                quantiles(histogram, if j == DIRECT { self.slow_increment } else { self.increment });
            for (slot, q) in row.iter_mut().zip(quantiles) {
                *slot = (q as f32).into();
            }
        }
    }
}

/// Divides a histogram by `increment`.
fn shrink(histogram: &mut [F24], increment: f64) {
    let unit = (1.0 / increment) as f32;
    histogram.iter_mut().for_each(|bin| *bin = (unit * bin.get()).into());
}

/// Weights of the measures, given their mean losses.
fn weights(losses: &[f32; SCALES]) -> [f64; SCALES] {
    let least = fast::least(losses);
    let slope = -SHARPNESS / (least + 1e-6);
    let raw = losses.map(|l| f64::from(fast::exp(slope * (l - least))));
    let sum: f64 = raw.iter().sum();
    let unit = 1.0 / sum;
    raw.map(|w| w * unit)
}

/// Quantiles of a histogram, with a generalised Pareto tail.
fn quantiles(histogram: &[F24], increment: f64) -> [f64; LEVELS] {
    let edges: &Edges = &EDGES;
    let histogram: [f32; BINS] = std::array::from_fn(|i| histogram[i].get());
    let total: f64 = histogram.iter().map(|&h| f64::from(h)).sum();
    let mut out = [edges.at[BINS]; LEVELS];
    let (mut next, mut below) = (0, 0.0);
    'bins: for (i, &mass) in histogram.iter().enumerate() {
        let mass = f64::from(mass);
        let above = below + mass;
        while above >= QUANTILE_LEVELS[next] * total {
            let inside = if mass > 0.0 { (QUANTILE_LEVELS[next] * total - below) / mass } else { 0.5 };
            out[next] = edges.inside(i, inside);
            next += 1;
            if next == LEVELS {
                break 'bins;
            }
        }
        below = above;
    }
    let threshold = out[I_95];
    let start = edges.cell(threshold);
    let (mut mass, mut sum, mut weighted) = (0.0, 0.0, 0.0);
    for i in (start..BINS).rev() {
        let (low, high) = (edges.at[i].max(threshold), edges.at[i + 1]);
        let share = if i == start { (high - low) / (high - edges.at[i]) } else { 1.0 };
        let here = share * f64::from(histogram[i]);
        let excess = 0.5 * (low + high) - threshold;
        sum += here * excess;
        weighted += here * excess * (mass + 0.5 * here);
        mass += here;
    }
    if mass <= 0.0 || sum <= 0.0 {
        return out;
    }
    let mean = sum / mass;
    let moment = weighted / (mass * mass);
    let n = mass / increment;
    let shape = if mean > 2.0 * moment { 2.0 - mean / (mean - 2.0 * moment) } else { 0.5 };
    let shape = ((n * shape + 30.0 * 0.1) / (n + 30.0)).clamp(-0.2, 0.6);
    let scale = mean * (1.0 - shape);
    for (k, rarer) in (TAIL_FROM..LEVELS).zip(edges.rarer) {
        let power = f64::from(fast::exp(rarer * shape as f32));
        let excess =
            if shape.abs() < 1e-3 { scale * f64::from(rarer) } else { scale / shape * (power - 1.0) };
        let tail = threshold + excess;
        // At 0.99 there are still errors to count.
        out[k] = if k == TAIL_FROM { 0.5 * (out[k] + tail) } else { tail };
    }
    for k in 1..LEVELS {
        out[k] = out[k].max(out[k - 1]);
    }
    out
}
