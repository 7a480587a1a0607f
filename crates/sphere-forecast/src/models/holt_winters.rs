//! What do level, trend and a repeating season say about the next minutes?
//!
//! Holt-Winters smoothing with an additive or multiplicative season (Winters, *Management Science* 6,
//! 1960); formulas as in Hyndman & Athanasopoulos, *Forecasting: Principles and Practice*, 3rd ed., section
//! 8.3, in error-correction form. Between refits each value costs O(1). A refit estimates smoothing parameters,
//! level, trend and season on the window together ([`crate::fit::seasonal`]); for periods longer than
//! [`LONGEST_FULL_PERIOD`] the season starts from the first periods' averages.
//!
//! | input | behaviour |
//! |---|---|
//! | a step without a value | the state moves on as if demand had been as predicted; in the window the step holds the prediction |
//! | a restart | the window is emptied, the trend is 0, the level is the next value without its season; the seasonal pattern stays, its phase moves on |
//! | before the first fit (two periods) | no forecast |
//! | a value of 0 in a multiplicative window | no refit: parameters stay as they are; until a first fit there is no forecast |

use crate::PointModel;
use crate::fit::nonseasonal::TrendKind;
pub use crate::fit::seasonal::SeasonKind;
use crate::fit::seasonal::{self, LONGEST_FULL_PERIOD};
use serde::{Deserialize, Serialize};
use std::collections::VecDeque;

/// What kind of season, on how much history, estimated how often.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct HoltWintersConfig {
    /// Additive or multiplicative.
    pub season: SeasonKind,
    /// With an additive trend?
    pub trend: bool,
    /// Steps in a season, at least 2.
    pub period: usize,
    /// Values in the window that everything is estimated on, at least two periods.
    pub window: usize,
    /// Steps from one fit to the next; `None`: only when [`PointModel::refit`] is called.
    pub refit_every: Option<usize>,
}

impl HoltWintersConfig {
    /// Four periods of history (at least 60 values; three periods when they are longer than
    /// [`LONGEST_FULL_PERIOD`]), refitted every period, and at least 6 steps apart. A damped trend is taken as
    /// additive.
    pub fn new(season: SeasonKind, trend: TrendKind, period: usize) -> Self {
        let periods = if period > LONGEST_FULL_PERIOD { 3 } else { 4 };
        Self {
            season,
            trend: trend != TrendKind::None,
            period,
            window: (periods * period).max(60),
            refit_every: Some(period.max(6)),
        }
    }
}

/// Seasonal Holt-Winters smoothing.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct HoltWinters {
    config: HoltWintersConfig,
    alpha: f64,
    beta: f64,
    gamma: f64,
    level: f64,
    trend: f64,
    /// One period; `season[next]` belongs to the coming step.
    season: Vec<f64>,
    next: usize,
    /// Has a fit ever succeeded?
    fitted: bool,
    window: VecDeque<f64>,
    seen: usize,
    since_fit: usize,
    /// Steps by which the schedule of refits is shifted.
    #[serde(default)]
    stagger: usize,
}

impl HoltWinters {
    /// An empty model; period and window are raised to what makes sense.
    pub fn new(mut config: HoltWintersConfig) -> Self {
        config.period = config.period.max(2);
        config.window = config.window.max(2 * config.period);
        let neutral = if config.season == SeasonKind::Additive { 0.0 } else { 1.0 };
        Self {
            alpha: 0.3,
            beta: if config.trend { 0.03 } else { 0.0 },
            gamma: 0.1,
            level: 0.0,
            trend: 0.0,
            season: vec![neutral; config.period],
            next: 0,
            fitted: false,
            window: VecDeque::new(),
            seen: 0,
            since_fit: 0,
            stagger: 0,
            config,
        }
    }

    /// Smoothing of level (α), trend (β) and season (γ).
    pub fn parameters(&self) -> (f64, f64, f64) {
        (self.alpha, self.beta, self.gamma)
    }

    fn predicted(&self) -> f64 {
        let base = self.level + self.trend;
        match self.config.season {
            SeasonKind::Additive => base + self.season[self.next],
            SeasonKind::Multiplicative => base * self.season[self.next],
        }
    }

    fn push(&mut self, value: f64) {
        if self.window.len() >= self.config.window {
            self.window.pop_front();
        }
        self.window.push_back(value);
    }

    fn turn(&mut self, steps: u64) {
        let period = self.config.period as u64;
        self.next = ((self.next as u64 + steps % period) % period) as usize;
    }

    /// Takes one value into level, trend and season.
    fn update(&mut self, value: f64) {
        let base = self.level + self.trend;
        let season = self.season[self.next];
        let error = value - self.predicted();
        let (into_level, into_season) = match self.config.season {
            SeasonKind::Additive => (error, error),
            // The divisors are floored relative to what they divide, so that one value near 0 can not blow up
            // the state.
            SeasonKind::Multiplicative => {
                (error / season.max(1e-3), error / base.max(1e-3 * value.abs()).max(f64::MIN_POSITIVE))
            }
        };
        self.level = base + self.alpha * into_level;
        self.trend += self.alpha * self.beta * into_level;
        self.season[self.next] = season + self.gamma * into_season;
    }
}

impl PointModel for HoltWinters {
    fn observe(&mut self, value: f64) {
        if self.seen == 0 {
            self.trend = 0.0;
            self.level = match self.config.season {
                SeasonKind::Additive => value - self.season[self.next],
                SeasonKind::Multiplicative => value / self.season[self.next].max(1e-3),
            };
        } else {
            self.update(value);
        }
        self.turn(1);
        self.push(value);
        self.seen += 1;
        self.since_fit += 1;
        let due = self.config.refit_every.is_some_and(|every| self.since_fit >= every);
        if self.window.len() >= 2 * self.config.period && (!self.fitted || due) {
            let first = !self.fitted;
            self.refit();
            if first {
                self.since_fit = self.stagger;
            }
        }
    }

    fn skip(&mut self) {
        if self.seen == 0 {
            self.turn(1);
            return;
        }
        let predicted = self.predicted();
        self.push(if predicted.is_finite() { predicted } else { self.level });
        self.level += self.trend;
        self.turn(1);
    }

    fn restart(&mut self, steps: u64) {
        self.window.clear();
        self.seen = 0;
        self.turn(steps);
    }

    fn refit(&mut self) {
        self.since_fit = 0;
        let config = &self.config;
        let values = self.window.make_contiguous();
        if let Some(fit) = seasonal::fit(values, config.season, config.trend, config.period) {
            (self.alpha, self.beta, self.gamma) = (fit.alpha, fit.beta, fit.gamma);
            (self.level, self.trend) = (fit.level, fit.trend);
            self.season = fit.season;
            self.next = 0;
            self.fitted = true;
        }
    }

    fn stagger_refits(&mut self, phase: usize) {
        if let Some(every) = self.config.refit_every {
            self.stagger = phase % every.max(1);
            self.since_fit = self.stagger;
        }
    }

    fn observations(&self) -> usize {
        match (self.fitted, self.seen) {
            (_, 0) => 0,
            // Once fitted, the pattern outlives a restart: one value places it.
            (true, seen) => seen.max(self.needed()),
            (false, seen) => seen.min(self.needed() - 1),
        }
    }

    fn needed(&self) -> usize {
        2 * self.config.period
    }

    fn heap_bytes(&self) -> usize {
        (self.window.capacity() + self.season.capacity()) * size_of::<f64>()
    }

    fn predict(&self, out: &mut [f64]) {
        let period = self.config.period;
        let mut slot = self.next;
        let mut base = self.level;
        for value in out {
            base += self.trend;
            *value = match self.config.season {
                SeasonKind::Additive => base + self.season[slot],
                SeasonKind::Multiplicative => base * self.season[slot],
            };
            slot += 1;
            if slot == period {
                slot = 0;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn season(i: usize) -> f64 {
        [10.0, 30.0, 50.0, 20.0, 5.0, 15.0][i % 6]
    }

    fn path(m: &impl PointModel, n: usize) -> Vec<f64> {
        let mut out = vec![0.0; n];
        m.predict(&mut out);
        out
    }

    fn model(kind: SeasonKind) -> HoltWinters {
        HoltWinters::new(HoltWintersConfig::new(kind, TrendKind::None, 6))
    }

    #[test]
    fn a_repeating_pattern_is_repeated() {
        for kind in [SeasonKind::Additive, SeasonKind::Multiplicative] {
            let mut m = model(kind);
            (0..100).for_each(|i| m.observe(100.0 + season(i)));
            for (k, v) in path(&m, 12).iter().enumerate() {
                assert!((v - 100.0 - season(100 + k)).abs() < 0.01, "{kind:?} step {k}: {v}");
            }
        }
    }

    #[test]
    fn the_pattern_survives_a_long_silence() {
        let mut m = model(SeasonKind::Additive);
        (0..100).for_each(|i| m.observe(100.0 + season(i)));
        m.restart(37);
        m.observe(100.0 + season(137));
        assert!(m.observations() >= m.needed());
        for (k, v) in path(&m, 6).iter().enumerate() {
            assert!((v - 100.0 - season(138 + k)).abs() < 0.01, "step {k}: {v}");
        }
    }

    #[test]
    fn skipped_steps_keep_the_phase() {
        let mut m = model(SeasonKind::Additive);
        (0..100).for_each(|i| m.observe(100.0 + season(i)));
        (0..8).for_each(|_| m.skip());
        m.observe(100.0 + season(108));
        m.refit();
        for (k, v) in path(&m, 6).iter().enumerate() {
            assert!((v - 100.0 - season(109 + k)).abs() < 0.01, "step {k}: {v}");
        }
    }

    #[test]
    fn zeros_never_break_a_multiplicative_season() {
        let mut m = model(SeasonKind::Multiplicative);
        (0..60).for_each(|i| m.observe(season(i)));
        (0..60).for_each(|i| m.observe(if i % 6 == 2 { season(i) } else { 0.0 }));
        assert!(path(&m, 12).iter().all(|v| v.is_finite() && v.abs() < 1e6), "{:?}", path(&m, 12));
    }
}
