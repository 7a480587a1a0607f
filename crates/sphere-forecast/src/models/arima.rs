//! What do the last values and the last surprises say about the next ones?
//!
//! (S)ARIMA with optional calendar regressors, estimated by [`crate::fit::arima`] on a window: orders given, or found
//! by a stepwise search at every tenth fit. Between fits an innovation moves the expected path by the model's ψ-weights, as many
//! numbers as the model has lags: the predictor-space form of Akaike (*Markovian representation of stochastic processes*,
//! Annals of the Institute of Statistical Mathematics 26, 1974) with the gain of the settled filter.
//!
//! | window | behaviour |
//! |---|---|
//! | constant, a straight line that differencing makes constant, or too short for the orders | the last value (constant) |
//! | shorter than three seasons, orders found automatically | without the season |
//! | shorter than one period of a calendar season | without that season's terms |
//!
//! Without differences a model has a mean. With orders found automatically and one difference it may have a drift.

use super::calendar::{Season, columns, dot};
use super::windowed::{Fitted, WindowConfig, Windowed};
use crate::fit::arima::select::{Bounds, constant, select};
use crate::fit::arima::{Effort, Fit, Order, fit};
use serde::{Deserialize, Serialize};

/// Fits from one search for orders to the next.
pub const FITS_PER_SELECTION: usize = 10;

/// See the module.
pub type Arima = Windowed<ArimaFit>;

/// Which orders and regressors.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ArimaConfig {
    /// Orders; `None`: found automatically.
    pub order: Option<Order>,
    /// Steps in the season that automatic orders may use; below 2: none.
    pub period: usize,
    /// Calendar seasons as regressors.
    pub calendar: Vec<Season>,
    /// Differences that automatic orders have; `None`: as the tests say.
    pub differences: Option<usize>,
    /// Largest p and q of automatic orders.
    pub largest_order: usize,
}

impl ArimaConfig {
    /// These orders.
    pub fn fixed(order: Order) -> Self {
        Self { order: Some(order), ..Self::automatic(order.period) }
    }

    /// Orders as the data say, with a season of `period` steps (below 2: none).
    pub fn automatic(period: usize) -> Self {
        Self { order: None, period, calendar: Vec::new(), differences: None, largest_order: 5 }
    }
}

/// The estimated part.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct ArimaFit {
    config: ArimaConfig,
    state: Option<State>,
    /// Orders in use, whether the model has a constant or drift, and where the search ended.
    order: Option<Order>,
    constant: bool,
    at: Vec<f64>,
    fits: usize,
    last: f64,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
struct State {
    path: Vec<f64>,
    gain: Vec<f64>,
    autoregression: Vec<f64>,
    /// Calendar terms in use, their coefficients, and that of the constant or drift.
    calendar: Vec<Season>,
    beta: Vec<f64>,
    level: f64,
    /// Step that the drift counts from.
    origin: u64,
    drifts: bool,
}

impl State {
    fn regression(&self, at: u64) -> f64 {
        let level = if self.drifts { self.level * at.wrapping_sub(self.origin) as f64 } else { self.level };
        level + if self.calendar.is_empty() { 0.0 } else { dot(&self.calendar, &self.beta, at) }
    }

    /// The entry after the path's last.
    fn beyond(autoregression: &[f64], path: &[f64]) -> f64 {
        autoregression.iter().zip(path.iter().rev()).map(|(a, v)| a * v).sum()
    }
}

impl ArimaFit {
    /// Without history.
    pub fn new(config: ArimaConfig) -> Self {
        Self { config, state: None, order: None, constant: false, at: Vec::new(), fits: 0, last: 0.0 }
    }

    /// In a window.
    pub fn online(config: ArimaConfig, window: WindowConfig) -> Arima {
        Windowed::new(Self::new(config), window)
    }

    /// Orders in use, once there was a fit.
    pub fn order(&self) -> Option<Order> {
        self.order
    }

    /// The next fit looks for orders, if they are found automatically.
    pub(super) fn search_again(&mut self) {
        self.fits = 0;
    }

    /// Fits to come keep the orders in use.
    pub(super) fn keep_order(&mut self) {
        self.fits = 1;
    }

    fn take(&mut self, fit: Fit, calendar: Vec<Season>, constant: bool, origin: u64) {
        let mut beta = fit.beta;
        let level = if constant { beta.pop().unwrap_or(0.0) } else { 0.0 };
        self.at = fit.at;
        self.order = Some(fit.order);
        self.constant = constant;
        self.state = Some(State {
            path: fit.path,
            gain: fit.gain,
            autoregression: fit.autoregression,
            calendar,
            beta,
            level,
            origin,
            drifts: fit.order.d + fit.order.seasonal_d > 0,
        });
    }
}

impl Fitted for ArimaFit {
    fn fit(&mut self, values: &[f64], first: u64) {
        self.state = None;
        let calendar: Vec<Season> =
            self.config.calendar.iter().copied().filter(|s| s.period <= values.len()).collect();
        let mut regressors = columns(&calendar, first, values.len());
        let again = !self.fits.is_multiple_of(FITS_PER_SELECTION);
        self.fits = self.fits.wrapping_add(1);
        let order = if let Some(order) = self.config.order {
            self.constant = order.d + order.seasonal_d == 0;
            Some(order)
        } else {
            self.order.filter(|_| again)
        };
        let Some(order) = order else {
            let bounds = Bounds {
                arma: self.config.largest_order,
                differences: self.config.differences,
                ..Bounds::default()
            };
            if let Some(found) = select(values, self.config.period, &regressors, bounds) {
                self.take(found.fit, calendar, found.constant, first);
            }
            return;
        };
        if self.constant {
            regressors.push(constant(values.len(), order));
        }
        let warm = self.order.filter(|o| *o == order && again).map(|_| self.at.as_slice());
        if let Some(found) = fit(values, order, &regressors, Effort::FULL, warm) {
            self.take(found, calendar, self.constant, first);
        } else {
            // These orders do not fit this window; next time, search.
            self.fits = 0;
        }
    }

    fn step(&mut self, value: Option<f64>, at: u64) {
        if let Some(value) = value {
            self.last = value;
        }
        let Some(state) = &mut self.state else { return };
        let surprise = value.map_or(0.0, |v| v - state.regression(at) - state.path[0]);
        let beyond = State::beyond(&state.autoregression, &state.path);
        state.path.rotate_left(1);
        if let Some(last) = state.path.last_mut() {
            *last = beyond;
        }
        for (v, gain) in state.path.iter_mut().zip(&state.gain) {
            *v += gain * surprise;
        }
    }

    fn predict(&self, at: u64, out: &mut [f64]) {
        let Some(state) = &self.state else { return out.fill(self.last) };
        let known = state.path.len().min(out.len());
        out[..known].copy_from_slice(&state.path[..known]);
        for k in known..out.len() {
            // The path is at least as long as the autoregression.
            out[k] = State::beyond(&state.autoregression, &out[..k]);
        }
        for (k, v) in out.iter_mut().enumerate() {
            *v += state.regression(at.wrapping_add(k as u64));
        }
    }

    fn forget(&mut self) {
        self.state = None;
    }

    fn heap_bytes(&self) -> usize {
        let state = self.state.as_ref().map_or(0, |s| {
            s.path.capacity()
                + s.gain.capacity()
                + s.autoregression.capacity()
                + s.beta.capacity()
                + 2 * s.calendar.capacity()
        });
        (state + self.at.capacity() + 2 * self.config.calendar.capacity()) * size_of::<f64>()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::PointModel;

    #[test]
    fn between_fits_the_path_is_what_a_fit_on_all_values_with_the_same_parameters_gives() {
        // A long window and a short memory, so that the filter has settled and the gain is exact.
        let (mut state, mut level) = (9u64, 100.0);
        let values: Vec<f64> = (0..400)
            .map(|_| {
                state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
                let noise = (state >> 33) as f64 / (1u64 << 31) as f64 - 0.5;
                level += noise;
                level + 0.5 * noise
            })
            .collect();
        let order = Order::new(1, 1, 1);
        let config = WindowConfig { refit_every: None, ..WindowConfig::new(400, 390) };
        let mut model = ArimaFit::online(ArimaConfig::fixed(order), config);
        values[..390].iter().for_each(|v| model.observe(*v));
        let at = model.inner().at.clone();
        values[390..].iter().for_each(|v| model.observe(*v));
        let still = Effort { rounds: 0, ..Effort::FULL };
        let whole = fit(&values, order, &[], still, Some(&at)).unwrap();
        let mut path = vec![0.0; 3];
        model.predict(&mut path);
        for (a, b) in path.iter().zip(&whole.path) {
            assert!((a - b).abs() < 1e-6, "{path:?} {:?}", whole.path);
        }
    }

    #[test]
    fn a_daily_wave_is_carried_by_its_fourier_terms() {
        let config = ArimaConfig { calendar: vec![Season::new(48, 3)], ..ArimaConfig::automatic(0) };
        let mut model = ArimaFit::online(config, WindowConfig::new(200, 60));
        let wave =
            |i: u64| 100.0 + 30.0 * (std::f64::consts::TAU * i as f64 / 48.0).sin() + ((i * 7919) % 5) as f64;
        (0..300).for_each(|i| model.observe(wave(i)));
        let mut path = vec![0.0; 40];
        model.predict(&mut path);
        for (k, v) in path.iter().enumerate() {
            assert!((v - wave(300 + k as u64)).abs() < 4.0, "step {k}: {v} {}", wave(300 + k as u64));
        }
    }

    #[test]
    fn a_constant_is_forecast_as_it_is() {
        let mut model = ArimaFit::online(ArimaConfig::automatic(0), WindowConfig::new(60, 20));
        (0..70).for_each(|_| model.observe(7.0));
        let mut path = vec![0.0; 5];
        model.predict(&mut path);
        assert_eq!(path, [7.0; 5]);
    }
}
