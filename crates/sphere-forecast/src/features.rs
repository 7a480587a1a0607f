//! What does a moment look like to a learner, in numbers that mean the same on every workload?
//!
//! [`Features`] follows a series in O(1) per step and describes a pair (now, step ahead) by [`FEATURES`] numbers: the
//! last values, smoothed levels and spreads, the clock, and what the profiles of day, hour and week say about the step
//! aimed at. All but the clock are differences from the local level in units of the local spread, and so is the target
//! ([`Features::scaled`]). So one model fits workloads of any size, and one ensemble can serve many of them
//! (Montero-Manso & Hyndman, *Principles and algorithms for forecasting groups of time series: locality and
//! globality*, Int. J. Forecasting 37, 2021, on why that pays).
//!
//! | numbers | what |
//! |---|---|
//! | 0–11 | the last 12 values |
//! | 12, 13 | means of the values 12–17 and 18–29 steps ago |
//! | 14–20 | exponential means over 1.7, 2.9, 11, 22, 50, 180 and 720 steps |
//! | 21–23 | spread over 6 and 180 steps against that over 30, level against spread (logarithms) |
//! | 24 | steps ahead |
//! | 25, 26 | phase of the day and of the hour at the step aimed at, 0 to 1 |
//! | 27–32 | usual day, day before, usual week at the step aimed at: change from now, and difference from the level |
//! | 33, 34 | usual deviation at that step of the hour, and its change from now |
//!
//! What is not known yet is NaN. Phases count from the first step (or [`Features::starting_at`]): which hour it is
//! does not matter, only that it comes back.

use serde::{Deserialize, Serialize};

/// Numbers that describe a pair (now, step ahead).
pub const FEATURES: usize = 35;
/// Of these, how many come before those that depend on the step ahead.
const OF_NOW: usize = 24;
/// Last values kept.
const RECENT: usize = 30;
const LAGS: usize = 12;
/// Gains of the exponential means; the third one is the local level.
const GAINS: [f64; 8] = [0.6, 0.35, 0.18, 0.09, 0.045, 0.02, 1.0 / 180.0, 1.0 / 720.0];
const LEVEL: usize = 2;
/// The mean that the hour's deviations are measured from, before it has seen the value.
const HOUR_REFERENCE: usize = 3;
/// Gains of the spreads; the middle one is the unit.
const SPREAD_GAINS: [f64; 3] = [1.0 / 6.0, 1.0 / 30.0, 1.0 / 180.0];
/// Scaled numbers are cut here: beyond, only the direction counts.
const FEATURE_LIMIT: f64 = 10.0;
/// Scaled targets are cut here.
const TARGET_LIMIT: f64 = 8.0;
/// Most bins of day, week and hour.
const DAY_BINS: usize = 288;
const WEEK_BINS: usize = 168;
const HOUR_BINS: usize = 360;

/// See the module text.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Features {
    /// Steps since phase 0.
    index: u64,
    seen: u64,
    recent: [f64; RECENT],
    levels: [f64; GAINS.len()],
    means: [f64; SPREAD_GAINS.len()],
    variances: [f64; SPREAD_GAINS.len()],
    day: Profile,
    yesterday: Profile,
    week: Profile,
    hour: Profile,
}

impl Features {
    /// Of a series on a grid of `step_ms` milliseconds.
    pub fn new(step_ms: u64) -> Self {
        let steps = |ms: u64| usize::try_from(ms / step_ms.max(1)).unwrap_or(usize::MAX);
        let profile = |ms, bins, rate| Profile::new(steps(ms), bins, rate);
        Self {
            index: 0,
            seen: 0,
            recent: [0.0; RECENT],
            levels: [0.0; GAINS.len()],
            means: [0.0; SPREAD_GAINS.len()],
            variances: [0.0; SPREAD_GAINS.len()],
            day: profile(86_400_000, DAY_BINS, 0.3),
            yesterday: profile(86_400_000, DAY_BINS, 1.0),
            week: profile(604_800_000, WEEK_BINS, 0.5),
            hour: profile(3_600_000, HOUR_BINS, 0.15),
        }
    }

    /// The first value to come is that of step `index` since phase 0.
    pub fn starting_at(mut self, index: u64) -> Self {
        self.index = index;
        self
    }

    /// Steps since phase 0.
    pub fn index(&self) -> u64 {
        self.index
    }

    /// Values since the start or the last restart.
    pub fn seen(&self) -> u64 {
        self.seen
    }

    /// Takes the value of the next step.
    pub fn observe(&mut self, value: f64) {
        if self.seen == 0 {
            self.recent = [value; RECENT];
            self.levels = [value; GAINS.len()];
            self.means = [value; SPREAD_GAINS.len()];
            self.variances = [0.0; SPREAD_GAINS.len()];
        }
        let deviation = value - self.levels[HOUR_REFERENCE];
        self.recent.copy_within(..RECENT - 1, 1);
        self.recent[0] = value;
        self.seen += 1;
        let first = 1.0 / self.seen as f64;
        for (level, gain) in self.levels.iter_mut().zip(GAINS) {
            *level += gain.max(first) * (value - *level);
        }
        for ((mean, variance), gain) in self.means.iter_mut().zip(&mut self.variances).zip(SPREAD_GAINS) {
            let (gain, error) = (gain.max(first), value - *mean);
            *mean += gain * error;
            *variance = (1.0 - gain) * (*variance + gain * error * error);
        }
        self.index = self.index.wrapping_add(1);
        self.day.observe(self.index, value);
        self.yesterday.observe(self.index, value);
        self.week.observe(self.index, value);
        self.hour.observe(self.index, deviation);
    }

    /// The next step brought no value: the clock moves on.
    pub fn skip(&mut self) {
        self.index = self.index.wrapping_add(1);
    }

    /// `steps` steps brought none, too many to bridge: levels start again with the next value, profiles stay.
    pub fn restart(&mut self, steps: u64) {
        self.index = self.index.wrapping_add(steps);
        self.seen = 0;
    }

    /// The local level: what is forecast when nothing has been learnt.
    pub fn level(&self) -> f64 {
        self.levels[LEVEL]
    }

    /// The local spread, positive unless demand never was anything but 0.
    pub fn spread(&self) -> f64 {
        self.variances[1].sqrt() + 0.02 * self.means[1].abs()
    }

    /// A target in units a model learns: the difference from the level in spreads.
    pub fn scaled(&self, target: f64) -> f32 {
        relative(target - self.level(), self.spread()).clamp(-TARGET_LIMIT, TARGET_LIMIT) as f32
    }

    /// A model's answer in units of demand.
    pub fn unscaled(&self, answer: f32) -> f64 {
        self.level() + self.spread() * f64::from(answer).clamp(-TARGET_LIMIT, TARGET_LIMIT)
    }

    /// Writes the numbers that do not depend on the step ahead.
    pub fn write_now(&self, out: &mut [f32; FEATURES]) {
        let (level, spread) = (self.level(), self.spread());
        let scaled = |value: f64| relative(value - level, spread) as f32;
        for (out, value) in out.iter_mut().zip(&self.recent[..LAGS]) {
            *out = scaled(*value);
        }
        let mean = |from: usize, to: usize| self.recent[from..to].iter().sum::<f64>() / (to - from) as f64;
        out[12] = scaled(mean(12, 18));
        out[13] = scaled(mean(18, 30));
        let others = self.levels.iter().enumerate().filter(|(i, _)| *i != LEVEL);
        for (out, (_, other)) in out[14..21].iter_mut().zip(others) {
            *out = scaled(*other);
        }
        let log = |a: f64, b: f64| {
            let ratio = a / b;
            if ratio.is_finite() && ratio > 0.0 {
                ratio.ln().clamp(-FEATURE_LIMIT, FEATURE_LIMIT) as f32
            } else {
                0.0
            }
        };
        out[21] = log(self.variances[0].sqrt() + 0.02 * self.means[0].abs(), spread);
        out[22] = log(self.variances[2].sqrt() + 0.02 * self.means[2].abs(), spread);
        out[23] = log(level.abs(), spread);
    }

    /// Writes the numbers that depend on the step ahead, the first one being 1.
    pub fn write_ahead(&self, ahead: usize, out: &mut [f32; FEATURES]) {
        let (level, spread) = (self.level(), self.spread());
        let scaled = |value: Option<f64>| value.map_or(f32::NAN, |value| relative(value, spread) as f32);
        let (now, then) = (self.index, self.index.wrapping_add(ahead as u64));
        let out = &mut out[OF_NOW..];
        out[0] = ahead as f32;
        out[1] = self.day.phase(then);
        out[2] = self.hour.phase(then);
        for (out, profile) in out[3..9].chunks_exact_mut(2).zip([&self.day, &self.yesterday, &self.week]) {
            let usual = profile.at(then);
            out[0] = scaled(usual.zip(profile.at(now)).map(|(then, now)| then - now));
            out[1] = scaled(usual.map(|then| then - level));
        }
        let usual = self.hour.at(then);
        out[9] = scaled(usual);
        out[10] = scaled(usual.zip(self.hour.at(now)).map(|(then, now)| then - now));
    }

    /// Bytes on the heap.
    pub fn heap_bytes(&self) -> usize {
        [&self.day, &self.yesterday, &self.week, &self.hour].iter().map(|p| p.bins.capacity() * 8).sum()
    }
}

/// `difference` in spreads, cut; 0 where nothing ever moved.
fn relative(difference: f64, spread: f64) -> f64 {
    let ratio = difference / spread;
    if ratio.is_nan() { 0.0 } else { ratio.clamp(-FEATURE_LIMIT, FEATURE_LIMIT) }
}

/// What is usual at each phase of a cycle.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
struct Profile {
    /// Steps in a cycle.
    cycle: usize,
    /// Gain of a cycle against what was known.
    rate: f64,
    bins: Vec<Option<f64>>,
    open: usize,
    sum: f64,
    count: u32,
}

impl Profile {
    /// Without bins for a cycle of fewer than four steps.
    fn new(cycle: usize, most_bins: usize, rate: f64) -> Self {
        let bins = if cycle < 4 { 0 } else { cycle.min(most_bins) };
        Self { cycle, rate, bins: vec![None; bins], open: 0, sum: 0.0, count: 0 }
    }

    /// Position of a step in the cycle, in bins, at the middle of the step.
    fn position(&self, index: u64) -> f64 {
        let step = (index % self.cycle as u64) as f64;
        (step + 0.5) * (self.bins.len() as f64 / self.cycle as f64)
    }

    fn observe(&mut self, index: u64, value: f64) {
        if self.bins.is_empty() {
            return;
        }
        let bin = (self.position(index) as usize).min(self.bins.len() - 1);
        if bin != self.open && self.count > 0 {
            let mean = self.sum / f64::from(self.count);
            let known = &mut self.bins[self.open];
            *known = Some(known.map_or(mean, |known| known + self.rate * (mean - known)));
            (self.sum, self.count) = (0.0, 0);
        }
        self.open = bin;
        self.sum += value;
        self.count += 1;
    }

    /// What is usual at a step: its bin, between bin centres where bins are wider than a step.
    fn at(&self, index: u64) -> Option<f64> {
        let n = self.bins.len();
        if n == 0 {
            return None;
        }
        let position = self.position(index);
        if n == self.cycle {
            return self.bins[(position as usize).min(n - 1)];
        }
        let low = (position - 0.5).floor();
        let weight = position - 0.5 - low;
        let low = (low + n as f64) as usize % n;
        match (self.bins[low], self.bins[(low + 1) % n]) {
            (Some(a), Some(b)) => Some(a + weight * (b - a)),
            (a, b) => a.or(b),
        }
    }

    /// Share of the cycle that is over at a step; NaN for a cycle that has no bins.
    fn phase(&self, index: u64) -> f32 {
        if self.bins.is_empty() { f32::NAN } else { (index % self.cycle as u64) as f32 / self.cycle as f32 }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn row(features: &Features, ahead: usize) -> [f32; FEATURES] {
        let mut out = [0.0; FEATURES];
        features.write_now(&mut out);
        features.write_ahead(ahead, &mut out);
        out
    }

    fn taught(values: impl Iterator<Item = f64>) -> Features {
        let mut features = Features::new(10_000);
        values.for_each(|v| features.observe(v));
        features
    }

    fn demand(i: u64) -> f64 {
        100.0 + 30.0 * (i as f64 / 8640.0 * std::f64::consts::TAU).sin() + ((i * 7919) % 23) as f64
    }

    #[test]
    fn features_do_not_depend_on_the_unit_of_demand() {
        let one = taught((0..20_000).map(demand));
        for unit in [1e-9, 1e12, 1e90] {
            let other = taught((0..20_000).map(|i| unit * demand(i)));
            for (a, b) in row(&one, 7).iter().zip(row(&other, 7)) {
                let same = (a - b).abs() < 1e-3 || (a.is_nan() && b.is_nan());
                assert!(same, "{a} {b} at unit {unit}");
            }
            assert!((one.scaled(120.0) - other.scaled(120.0 * unit)).abs() < 1e-4);
            assert!((other.unscaled(1.5) / unit - one.unscaled(1.5)).abs() < 1e-3);
        }
    }

    #[test]
    fn a_target_comes_back_from_its_scaled_form() {
        let features = taught((0..500).map(demand));
        for target in [90.0, 100.0, 130.0] {
            assert!((features.unscaled(features.scaled(target)) - target).abs() < 1e-3);
        }
    }

    #[test]
    fn profiles_know_the_day_after_one_and_nothing_before() {
        let day = taught((0..8600).map(demand));
        assert!(row(&day, 60)[27].is_nan());
        let features = taught((0..2 * 8640 + 4000).map(demand));
        let change = f64::from(row(&features, 15)[27]) * features.spread();
        let smooth = |i: u64| 30.0 * (i as f64 / 8640.0 * std::f64::consts::TAU).sin();
        let now = 2 * 8640 + 3999;
        assert!((change - (smooth(now + 15) - smooth(now))).abs() < 1.0, "{change}");
    }

    #[test]
    fn constants_zeros_and_single_values_are_described_without_nonsense() {
        for values in [vec![0.0; 100], vec![7.0; 100], vec![5.0], vec![-1e100, 1e100], vec![1e-300; 3]] {
            let features = taught(values.into_iter());
            for ahead in [1, 15] {
                let described = row(&features, ahead);
                assert!(described[..OF_NOW].iter().all(|v| v.is_finite()), "{described:?}");
                assert!(described.iter().all(|v| !v.is_infinite()));
            }
            assert!(features.scaled(1.0).is_finite() && features.unscaled(8.0).is_finite());
        }
    }

    #[test]
    fn wide_steps_have_no_profile_of_the_hour() {
        let mut features = Features::new(3_600_000);
        (0..100).for_each(|i| features.observe(f64::from(i % 24)));
        let described = row(&features, 1);
        assert!(described[26].is_nan() && described[33].is_nan() && !described[27].is_nan());
    }
}
