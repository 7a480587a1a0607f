//! What do level and trend, each remembered with its own memory, say about the next minutes?
//!
//! Simple exponential smoothing (Brown, 1959), Holt's linear trend (Holt, 1957) and the damped trend (Gardner &
//! McKenzie, 1985); formulas as in Hyndman & Athanasopoulos, *Forecasting: Principles and Practice*, 3rd ed.,
//! chapter 8. Between refits the recursion runs on, O(1) per value. A refit estimates the smoothing
//! parameters *and* the initial state on the window by least squares ([`crate::fit`]) and takes over the
//! state the window ends in.
//!
//! | input | behaviour |
//! |---|---|
//! | a step without a value | the state moves on as if demand had been as predicted; in the window the step is filled on the line between its neighbours |
//! | a restart | the window is emptied, the trend is 0, the level is the next value; parameters stay; forecasts resume after `first_fit` values |
//! | constant series | forecast is the constant; parameters are of no consequence |
//! | before the first fit | α = 0.3, β = 0.1, φ = 0.9, level = first value, trend = 0 |

use crate::PointModel;
pub use crate::fit::nonseasonal::TrendKind;
use crate::fit::nonseasonal::{self, Fit};
use serde::{Deserialize, Serialize};
use std::collections::VecDeque;

/// What kind of smoothing, on how much history, estimated how often.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SmoothingConfig {
    /// Trend and damping.
    pub trend: TrendKind,
    /// Values in the window that parameters and initial state are estimated on. 60 is what the founding system
    /// used; with 360, simple smoothing forecasts a little better and a fit takes six times as long.
    pub window: usize,
    /// Observations before the first fit and the first forecast.
    pub first_fit: usize,
    /// Steps from one fit to the next; `None`: only when [`PointModel::refit`] is called.
    pub refit_every: Option<usize>,
    /// `Some(n)`: between refits serve the path of n steps made at the last refit, advanced in time, its last
    /// value beyond its end. `None`: forecast from the newest value.
    pub stale_path: Option<usize>,
}

impl SmoothingConfig {
    /// Fresh forecasts on a window of 60 points, first after 10, refitted every 6 steps.
    pub fn new(trend: TrendKind) -> Self {
        Self { trend, window: 60, first_fit: 10, refit_every: Some(6), stale_path: None }
    }

    /// The founding system's Holt-Winters: additive trend, no season, 60 points, first forecast after 20,
    /// refitted every 6 steps (60 s), 15 steps long. `stale_between_refits` as the founding system was: between
    /// two refits it repeats what it said at the first.
    pub fn classic(stale_between_refits: bool) -> Self {
        Self {
            first_fit: 20,
            stale_path: stale_between_refits.then_some(15),
            ..Self::new(TrendKind::Additive)
        }
    }
}

/// Simple, Holt or damped exponential smoothing without a season.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Smoothing {
    config: SmoothingConfig,
    alpha: f64,
    beta: f64,
    phi: f64,
    level: f64,
    trend: f64,
    window: VecDeque<f64>,
    seen: usize,
    since_fit: usize,
    /// Steps by which the schedule of refits is shifted.
    #[serde(default)]
    stagger: usize,
    /// Steps skipped since the last value: to be filled in the window when the next one comes.
    skipped: usize,
    /// With `stale_path`: the path of the last refit and how many steps ago that was.
    path: Vec<f64>,
    path_age: usize,
}

impl Smoothing {
    /// An empty model.
    pub fn new(config: SmoothingConfig) -> Self {
        let (beta, phi) = match config.trend {
            TrendKind::None => (0.0, 0.0),
            TrendKind::Additive => (0.1, 1.0),
            TrendKind::Damped => (0.1, 0.9),
        };
        let window = VecDeque::with_capacity(config.window);
        Self {
            config,
            alpha: 0.3,
            beta,
            phi,
            level: 0.0,
            trend: 0.0,
            window,
            seen: 0,
            since_fit: 0,
            stagger: 0,
            skipped: 0,
            path: Vec::new(),
            path_age: 0,
        }
    }

    /// The founding system's model; see [`SmoothingConfig::classic`].
    pub fn classic(stale_between_refits: bool) -> Self {
        Self::new(SmoothingConfig::classic(stale_between_refits))
    }

    /// Smoothing of level (α) and trend (β), and damping (φ; 1 is none, 0 is no trend).
    pub fn parameters(&self) -> (f64, f64, f64) {
        (self.alpha, self.beta, self.phi)
    }

    /// Level and trend per step now.
    pub fn state(&self) -> (f64, f64) {
        (self.level, self.trend)
    }

    fn push(&mut self, value: f64) {
        if self.window.len() >= self.config.window.max(1) {
            self.window.pop_front();
        }
        self.window.push_back(value);
    }

    fn remember(&mut self, value: f64) {
        if self.skipped > 0
            && let Some(&before) = self.window.back()
        {
            // Only the last `window` steps can stay; do not fill more than that.
            let n = self.skipped;
            for k in 1..=n.min(self.config.window) {
                let k = n - n.min(self.config.window) + k;
                self.push(before + (value - before) * (k as f64 / (n + 1) as f64));
            }
        }
        self.skipped = 0;
        self.push(value);
    }

    fn adopt(&mut self, fit: &Fit) {
        (self.alpha, self.beta, self.phi) = (fit.alpha, fit.beta, fit.phi);
        (self.level, self.trend) = (fit.level, fit.trend);
    }

    fn write_path(&self, out: &mut [f64]) {
        let (mut sum, mut slope) = (self.level, self.trend);
        for slot in out {
            slope *= self.phi;
            sum += slope;
            *slot = sum;
        }
    }
}

impl PointModel for Smoothing {
    fn observe(&mut self, value: f64) {
        if self.seen == 0 {
            (self.level, self.trend) = (value, 0.0);
        } else {
            let slope = self.phi * self.trend;
            let predicted = self.level + slope;
            let error = value - predicted;
            self.level = predicted + self.alpha * error;
            self.trend = slope + self.alpha * self.beta * error;
        }
        self.remember(value);
        self.seen += 1;
        self.since_fit += 1;
        self.path_age += 1;
        let due = self.config.refit_every.is_some_and(|every| self.since_fit >= every);
        if self.seen == self.config.first_fit || (due && self.seen > self.config.first_fit) {
            let first = self.seen == self.config.first_fit;
            self.refit();
            if first {
                self.since_fit = self.stagger;
            }
        }
    }

    fn skip(&mut self) {
        if self.seen > 0 {
            self.trend *= self.phi;
            self.level += self.trend;
            self.skipped += 1;
            self.path_age += 1;
        }
    }

    fn restart(&mut self, _steps: u64) {
        self.window.clear();
        self.path.clear();
        (self.seen, self.skipped, self.path_age, self.trend) = (0, 0, 0, 0.0);
    }

    fn refit(&mut self) {
        self.since_fit = 0;
        if let Some(fit) = nonseasonal::fit(self.window.make_contiguous(), self.config.trend) {
            self.adopt(&fit);
            // Steps skipped since the window's last value are ahead of the fitted state.
            for _ in 0..self.skipped {
                self.trend *= self.phi;
                self.level += self.trend;
            }
        }
        if let Some(n) = self.config.stale_path {
            let mut path = std::mem::take(&mut self.path);
            path.resize(n.max(1), 0.0);
            self.write_path(&mut path);
            (self.path, self.path_age) = (path, 0);
        }
    }

    fn stagger_refits(&mut self, phase: usize) {
        if let Some(every) = self.config.refit_every {
            self.stagger = phase % every.max(1);
            self.since_fit = self.stagger;
        }
    }

    fn observations(&self) -> usize {
        self.seen
    }

    fn needed(&self) -> usize {
        self.config.first_fit.max(1)
    }

    fn heap_bytes(&self) -> usize {
        (self.window.capacity() + self.path.capacity()) * size_of::<f64>()
    }

    fn predict(&self, out: &mut [f64]) {
        if self.path.is_empty() {
            return self.write_path(out);
        }
        let last = self.path.len() - 1;
        for (k, slot) in out.iter_mut().enumerate() {
            *slot = self.path[(k + self.path_age).min(last)];
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn path(m: &impl PointModel, n: usize) -> Vec<f64> {
        let mut out = vec![0.0; n];
        m.predict(&mut out);
        out
    }

    fn wavy(i: usize) -> f64 {
        50.0 + 20.0 * (i as f64 / 9.0).sin() + ((i * 37) % 11) as f64
    }

    #[test]
    fn classic_repeats_the_path_of_the_last_refit_advanced_in_time() {
        let mut m = Smoothing::classic(true);
        (0..20).for_each(|i| m.observe(wavy(i)));
        let first = path(&m, 15);
        m.observe(1000.0);
        m.observe(1000.0);
        let later = path(&m, 15);
        assert_eq!(later[..13], first[2..]);
        assert_eq!(later[13..], [first[14], first[14]]);
        (0..4).for_each(|_| m.observe(1000.0));
        assert_ne!(path(&m, 15)[0], first[6], "the refit after 6 steps brings a new path");
    }

    #[test]
    fn fresh_classic_equals_stale_classic_right_after_a_refit_only() {
        let (mut stale, mut fresh) = (Smoothing::classic(true), Smoothing::classic(false));
        for i in 0..200 {
            stale.observe(wavy(i));
            fresh.observe(wavy(i));
            let refitted = i >= 19 && (i - 19) % 6 == 0;
            if i >= 19 {
                assert_eq!(path(&stale, 15) == path(&fresh, 15), refitted, "step {i}");
            }
        }
    }

    #[test]
    fn a_refit_changes_nothing_when_nothing_new_was_seen() {
        let mut m = Smoothing::new(SmoothingConfig::new(TrendKind::Additive));
        (0..70).for_each(|i| m.observe(wavy(i)));
        m.refit();
        let before = path(&m, 15);
        m.refit();
        assert_eq!(path(&m, 15), before);
    }

    #[test]
    fn a_gap_on_a_line_is_bridged() {
        let mut m = Smoothing::new(SmoothingConfig::new(TrendKind::Additive));
        (0..30).for_each(|i| m.observe(f64::from(i)));
        (0..5).for_each(|_| m.skip());
        assert!((path(&m, 1)[0] - 35.0).abs() < 1e-6);
        m.observe(35.0);
        m.refit();
        assert!((path(&m, 1)[0] - 36.0).abs() < 1e-6);
    }
}
