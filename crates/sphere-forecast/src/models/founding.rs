//! What did the founding system's ensemble of Prophet and ARIMA say?
//!
//! Its rules, on SPHERE's own models: history of 30 to 120 values; outliers pulled to 1.5 interquartile ranges beyond the
//! quartiles (Tukey, *Exploratory Data Analysis*, 1977); an ARIMA of one difference with p, q ≤ 5 searched; Prophet over
//! a grid of its priors, additive and multiplicative, with an hourly season of order 5 once the data span an hour;
//! weights inverse to the mean absolute errors on the last fifth, forecast from the four fifths before; tuned anew
//! when the mean absolute error of the last ten one-step forecasts exceeds 10 (the system's unit was percent of a
//! pod's CPU). What differs: the system's further regressors (rolling means, lags) are left out, as their future values
//! are not known when a forecast is made.
//!
//! | window | behaviour |
//! |---|---|
//! | one of the two has no fit | the other alone |
//! | constant | the constant |

use super::arima::{ArimaConfig, ArimaFit};
use super::calendar::Season;
use super::ets::moves;
use super::prophet::{ProphetConfig, ProphetFit};
use super::windowed::{Fitted, WindowConfig, Windowed};
use crate::fit::prophet::Settings;
use serde::{Deserialize, Serialize};
use std::collections::VecDeque;

const CHANGE_PRIORS: [f64; 4] = [0.001, 0.01, 0.1, 0.5];
const SEASON_PRIORS: [f64; 4] = [0.01, 0.1, 1.0, 10.0];
const HOURLY_HARMONICS: usize = 5;
const RECENT: usize = 10;
const TUNE_ABOVE: f64 = 10.0;

/// See the module.
pub type Founding = Windowed<FoundingFit>;

/// The estimated part.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct FoundingFit {
    arima: ArimaFit,
    prophet: ProphetFit,
    settings: Settings,
    /// Steps in an hour; 0 when the hour is no whole number of steps.
    hour: usize,
    /// Weight of the ARIMA.
    weight: f64,
    tuned: bool,
    /// Absolute errors of the last one-step forecasts.
    recent: VecDeque<f64>,
}

impl FoundingFit {
    /// Without history; `hour` is the number of steps in an hour, 0 if it is not whole.
    pub fn new(hour: usize) -> Self {
        let arima = ArimaConfig { differences: Some(1), ..ArimaConfig::automatic(0) };
        let seasons = if hour >= 2 { vec![Season::new(hour, HOURLY_HARMONICS)] } else { Vec::new() };
        let prophet = ProphetConfig { seasons, periods_needed: 1, ..ProphetConfig::default() };
        Self {
            arima: ArimaFit::new(arima),
            prophet: ProphetFit::new(prophet),
            settings: Settings::default(),
            hour,
            weight: 0.5,
            tuned: false,
            recent: VecDeque::with_capacity(RECENT),
        }
    }

    /// In a window of 120 values, first fitted at 30 and then every 6 steps.
    pub fn online(hour: usize) -> Founding {
        let config = WindowConfig { window: 120, first_fit: 30, refit_every: Some(6) };
        Windowed::new(Self::new(hour), config)
    }

    /// Mean absolute error of `model`, fitted on what comes before `cut`, on what comes after.
    fn error(mut model: impl Fitted, values: &[f64], cut: usize, first: u64) -> f64 {
        model.fit(&values[..cut], first);
        let mut path = vec![0.0; values.len() - cut];
        model.predict(first.wrapping_add(cut as u64), &mut path);
        let sum: f64 = path.iter().zip(&values[cut..]).map(|(f, v)| (f - v).abs()).sum();
        let mean = sum / path.len() as f64;
        if mean.is_finite() { mean } else { f64::INFINITY }
    }

    fn tune(&mut self, values: &[f64], cut: usize, first: u64) {
        let seasonal = self.hour >= 2 && cut >= self.hour;
        let season_priors = if seasonal { &SEASON_PRIORS[..] } else { &SEASON_PRIORS[3..] };
        let mut best = (f64::INFINITY, self.settings);
        for change_prior in CHANGE_PRIORS {
            for &season_prior in season_priors {
                for multiplicative in [false, true] {
                    if multiplicative && !seasonal {
                        continue;
                    }
                    let settings =
                        Settings { change_prior, season_prior, multiplicative, ..Settings::default() };
                    let mut trial = self.prophet.clone();
                    trial.set(settings);
                    let error = Self::error(trial, values, cut, first);
                    if error < best.0 {
                        best = (error, settings);
                    }
                }
            }
        }
        self.settings = best.1;
        self.prophet.set(best.1);
        self.arima.search_again();
        self.tuned = true;
        self.recent.clear();
    }
}

/// Values with outliers pulled in to 1.5 interquartile ranges beyond the quartiles.
fn capped(values: &[f64]) -> Vec<f64> {
    let mut sorted = values.to_vec();
    sorted.sort_by(f64::total_cmp);
    let quantile = |p: f64| {
        let at = p * (sorted.len() - 1) as f64;
        let below = at.floor() as usize;
        let above = (below + 1).min(sorted.len() - 1);
        sorted[below] + (at - below as f64) * (sorted[above] - sorted[below])
    };
    let (low, high) = (quantile(0.25), quantile(0.75));
    let room = 1.5 * (high - low);
    values.iter().map(|v| v.clamp(low - room, high + room)).collect()
}

impl Fitted for FoundingFit {
    fn fit(&mut self, values: &[f64], first: u64) {
        if !moves(values) {
            self.arima.fit(values, first);
            self.prophet.fit(values, first);
            return;
        }
        let values = capped(values);
        let cut = values.len() - (values.len() / 5).max(1);
        let poor =
            self.recent.len() == RECENT && self.recent.iter().sum::<f64>() / RECENT as f64 > TUNE_ABOVE;
        if !self.tuned || poor {
            self.tune(&values, cut, first);
        }
        self.arima.fit(&values, first);
        self.prophet.fit(&values, first);
        let mut arima = self.arima.clone();
        arima.keep_order();
        let arima = Self::error(arima, &values, cut, first);
        let prophet = Self::error(self.prophet.clone(), &values, cut, first);
        self.weight = match (arima, prophet) {
            (a, p) if a.is_infinite() && p.is_infinite() => 0.5,
            (a, _) if a.is_infinite() => 0.0,
            (_, p) if p.is_infinite() => 1.0,
            (a, p) if a + p > 0.0 => p / (a + p),
            _ => 0.5,
        };
    }

    fn step(&mut self, value: Option<f64>, at: u64) {
        if let Some(value) = value {
            let mut said = [0.0];
            self.predict(at, &mut said);
            if self.recent.len() == RECENT {
                self.recent.pop_front();
            }
            let error = (value - said[0]).abs();
            self.recent.push_back(if error.is_finite() { error } else { f64::MAX / 1e3 });
        }
        self.arima.step(value, at);
        self.prophet.step(value, at);
    }

    fn predict(&self, at: u64, out: &mut [f64]) {
        let mut prophet = vec![0.0; out.len()];
        self.arima.predict(at, out);
        self.prophet.predict(at, &mut prophet);
        for (v, p) in out.iter_mut().zip(prophet) {
            *v = self.weight * *v + (1.0 - self.weight) * p;
        }
    }

    fn forget(&mut self) {
        self.arima.forget();
        self.prophet.forget();
        self.recent.clear();
    }

    fn heap_bytes(&self) -> usize {
        self.arima.heap_bytes() + self.prophet.heap_bytes() + self.recent.capacity() * size_of::<f64>()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::PointModel;

    #[test]
    fn the_better_of_the_two_weighs_more() {
        // A walk has no line: the ARIMA is right to stay.
        let mut state = 5u64;
        let mut level = 200.0;
        let mut founding = FoundingFit::online(360);
        for _ in 0..120 {
            state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            level += if state >> 63 == 0 { 2.0 } else { -2.0 };
            founding.observe(level);
        }
        let weight = founding.inner().weight;
        assert!((0.0..=1.0).contains(&weight), "{weight}");
        let mut path = [0.0; 15];
        founding.predict(&mut path);
        assert!(path.iter().all(|v| (v - level).abs() < 40.0), "{path:?} {level}");
    }

    #[test]
    fn outliers_are_pulled_in() {
        let mut values = vec![10.0, 11.0, 12.0, 13.0, 14.0, 11.0, 12.0, 13.0];
        values.push(500.0);
        let capped = capped(&values);
        assert_eq!(capped[..8], values[..8]);
        assert!(capped[8] < 17.0, "{capped:?}");
    }
}
