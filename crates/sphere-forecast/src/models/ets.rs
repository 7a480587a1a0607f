//! Which of the exponential smoothing models fits this demand, and what does it say?
//!
//! ETS with automatic choice by AICc ([`crate::fit::ets::select`]) at every fifth fit; in between the chosen model is
//! estimated anew on the window, and between fits its recursion runs on, O(1) per value.
//!
//! | window | behaviour |
//! |---|---|
//! | shorter than two seasons | the best model without a season |
//! | a value of 0 or below | the best additive model |
//! | constant | the constant |

use super::windowed::{Fitted, WindowConfig, Windowed};
use crate::fit::ets::{Fit, Spec, fit_quickly, select};
use crate::fit::nonseasonal::TrendKind;
use crate::fit::seasonal::SeasonKind;
use serde::{Deserialize, Serialize};

/// Fits from one choice of model to the next.
pub const FITS_PER_SELECTION: usize = 5;

/// See the module.
pub type Ets = Windowed<EtsFit>;

/// The estimated part.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct EtsFit {
    period: usize,
    state: Option<State>,
    fits: usize,
    /// Values in the window when the model was chosen.
    chosen_on: usize,
    last: f64,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(super) struct State {
    spec: Spec,
    alpha: f64,
    beta: f64,
    gamma: f64,
    phi: f64,
    level: f64,
    trend: f64,
    /// One period; `season[next]` belongs to the coming step.
    season: Vec<f64>,
    next: usize,
    /// Divisors stay above this.
    least: f64,
}

impl State {
    pub(super) fn new(fit: Fit, values: &[f64]) -> Option<Self> {
        let finite = [fit.alpha, fit.beta, fit.gamma, fit.phi, fit.level, fit.trend]
            .iter()
            .chain(&fit.season)
            .all(|v| v.is_finite());
        let largest = values.iter().fold(0.0, |a: f64, v| a.max(v.abs()));
        finite.then_some(Self {
            spec: fit.spec,
            alpha: fit.alpha,
            beta: fit.beta,
            gamma: fit.gamma,
            phi: fit.phi,
            level: fit.level,
            trend: fit.trend,
            season: fit.season,
            next: 0,
            least: largest * 1e-3 + f64::MIN_POSITIVE,
        })
    }

    pub(super) fn spec(&self) -> Spec {
        self.spec
    }

    pub(super) fn step(&mut self, value: Option<f64>) {
        let slope = self.phi * self.trend;
        let base = self.level + slope;
        (self.level, self.trend) = (base, slope);
        let period = self.season.len();
        if let Some(value) = value {
            if period == 0 {
                self.learn(value - base);
            } else {
                let season = self.season[self.next];
                // Divisors are floored relative to what they divide, so that one value near 0 can not blow up the
                // state.
                let (into_level, into_season) = match self.spec.season {
                    Some(SeasonKind::Multiplicative) => {
                        let e = value - base * season;
                        (e / season.max(1e-3), e / base.max(self.least))
                    }
                    _ => (value - base - season, value - base - season),
                };
                self.learn(into_level);
                self.season[self.next] = season + self.gamma * into_season;
            }
        }
        if period > 0 {
            self.next = (self.next + 1) % period;
        }
    }

    fn learn(&mut self, error: f64) {
        self.level += self.alpha * error;
        self.trend += self.beta * error;
    }

    pub(super) fn predict(&self, out: &mut [f64]) {
        let (mut base, mut slope, mut slot) = (self.level, self.trend, self.next);
        for v in out {
            slope *= self.phi;
            base += slope;
            *v = match (self.spec.season, self.season.get(slot)) {
                (Some(SeasonKind::Multiplicative), Some(s)) => base * s,
                (Some(SeasonKind::Additive), Some(s)) => base + s,
                _ => base,
            };
            slot += 1;
            if slot >= self.season.len() {
                slot = 0;
            }
        }
    }

    pub(super) fn heap_bytes(&self) -> usize {
        self.season.capacity() * size_of::<f64>()
    }
}

/// Does the window move by more than rounding?
pub(super) fn moves(values: &[f64]) -> bool {
    let (low, high) =
        values.iter().fold((f64::INFINITY, f64::NEG_INFINITY), |(l, h), v| (l.min(*v), h.max(*v)));
    high - low > 1e-12 * low.abs().max(high.abs())
}

impl EtsFit {
    /// Without history; a `period` below 2 is no season.
    pub fn new(period: usize) -> Self {
        Self { period, state: None, fits: 0, chosen_on: 0, last: 0.0 }
    }

    /// In a window.
    pub fn online(period: usize, window: WindowConfig) -> Ets {
        Windowed::new(Self::new(period), window)
    }

    /// The model in use.
    pub fn spec(&self) -> Option<Spec> {
        self.state.as_ref().map(State::spec)
    }
}

impl Fitted for EtsFit {
    fn fit(&mut self, values: &[f64], _first: u64) {
        let before = self.state.take().map(|s| s.spec);
        let again = !self.fits.is_multiple_of(FITS_PER_SELECTION);
        self.fits = self.fits.wrapping_add(1);
        if !moves(values) {
            // Nothing to choose by: the constant, and a choice next time.
            self.fits = 0;
            return;
        }
        // A season that the window did not hold when the model was chosen calls for a new choice.
        let two = 2 * self.period;
        let keep = again && (self.chosen_on >= two || values.len() < two);
        let kept = before.filter(|_| keep).and_then(|spec| fit_quickly(values, spec, self.period));
        let found = kept.or_else(|| {
            self.chosen_on = values.len();
            select::select(values, self.period)
        });
        self.state = found.and_then(|fit| State::new(fit, values));
    }

    fn step(&mut self, value: Option<f64>, _at: u64) {
        if let Some(value) = value {
            self.last = value;
        }
        if let Some(state) = &mut self.state {
            state.step(value);
        }
    }

    fn predict(&self, _at: u64, out: &mut [f64]) {
        match &self.state {
            Some(state) => state.predict(out),
            None => out.fill(self.last),
        }
    }

    fn forget(&mut self) {
        self.state = None;
    }

    fn heap_bytes(&self) -> usize {
        self.state.as_ref().map_or(0, State::heap_bytes)
    }
}

/// A model without a season for the remainder of a decomposition: damped trend or level only, by AICc.
pub(super) fn damped_or_level(values: &[f64]) -> Option<State> {
    let spec = |trend| Spec { multiplicative_error: false, trend, season: None };
    let best = [TrendKind::None, TrendKind::Damped]
        .into_iter()
        .filter_map(|trend| fit_quickly(values, spec(trend), 0))
        .min_by(|a, b| a.aicc.total_cmp(&b.aicc))?;
    State::new(best, values)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::PointModel;

    #[test]
    fn between_fits_the_state_is_that_of_a_fit_with_the_same_parameters() {
        let value = |i: usize| 80.0 + [12.0, -7.0, 3.0, -8.0][i % 4] + ((i * 7919) % 23) as f64 / 5.0;
        let config = WindowConfig { refit_every: None, ..WindowConfig::new(80, 60) };
        let mut model = EtsFit::online(4, config);
        (0..60).for_each(|i| model.observe(value(i)));
        let before = model.inner().clone();
        (60..75).for_each(|i| model.observe(value(i)));
        let (a, b) = (before.state.unwrap(), model.inner().state.clone().unwrap());
        assert_eq!((a.alpha, a.gamma), (b.alpha, b.gamma));
        let mut path = [0.0; 8];
        model.predict(&mut path);
        for (k, v) in path.iter().enumerate() {
            assert!((v - value(75 + k)).abs() < 6.0, "step {k}: {v} {}", value(75 + k));
        }
    }

    #[test]
    fn a_season_is_used_once_the_window_holds_it_twice() {
        let value =
            |i: usize| 80.0 + [12.0, -7.0, 3.0, -8.0, 9.0, -9.0][i % 6] + ((i * 7919) % 23) as f64 / 9.0;
        let mut model = EtsFit::online(6, WindowConfig::new(60, 10));
        (0..10).for_each(|i| model.observe(value(i)));
        assert_eq!(model.inner().spec().unwrap().season, None);
        (10..50).for_each(|i| model.observe(value(i)));
        assert!(model.inner().spec().unwrap().season.is_some());
    }
}
