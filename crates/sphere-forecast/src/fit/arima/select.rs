//! Which orders should a seasonal ARIMA model of this window have?
//!
//! The stepwise search of Hyndman & Khandakar (*Automatic time series forecasting: the forecast package for R*, Journal of
//! Statistical Software 27, 2008): differences by repeated KPSS tests (Kwiatkowski, Phillips, Schmidt & Shin, *Journal
//! of Econometrics* 54, 1992), a seasonal difference where the seasonal strength of an STL decomposition is above 0.64
//! (Hyndman & Athanasopoulos, *Forecasting: Principles and Practice*, 3rd ed., 9.1 and 9.9), then neighbours of
//! the best model so far by AICc until none is better.

use super::{Effort, Fit, Order, Scratch, fit_in};
use crate::fit::stl::seasonal_strength;

/// Bounds of the search.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Bounds {
    /// Largest p and q.
    pub arma: usize,
    /// Largest P and Q.
    pub seasonal: usize,
    /// Largest p + q + P + Q.
    pub total: usize,
    /// Models tried at most.
    pub models: usize,
    /// Differences to take; `None`: as the tests say.
    pub differences: Option<usize>,
}

impl Default for Bounds {
    fn default() -> Self {
        Self { arma: 5, seasonal: 2, total: 5, models: 94, differences: None }
    }
}

/// Critical value of the KPSS test at 5 % (their table 1).
const KPSS_CRITICAL: f64 = 0.463;
/// Seasonal strength above which the season is differenced.
const STRONG_SEASON: f64 = 0.64;

/// Most operations of one exact likelihood while orders are compared. Beyond it (a season of 24 on 120 values) all models are
/// compared by the conditional likelihood, as Hyndman & Khandakar do for long series; the winner's is exact again.
const EXACT_OPERATIONS: usize = 200_000;

/// Does a level-stationarity test reject? Lags of the variance estimate: 3 √n / 13.
fn needs_difference(values: &[f64]) -> bool {
    let n = values.len() as f64;
    let mean = values.iter().sum::<f64>() / n;
    let deviations: Vec<f64> = values.iter().map(|v| v - mean).collect();
    let lags = (3.0 * n.sqrt() / 13.0) as usize;
    let covariance =
        |lag: usize| deviations[lag..].iter().zip(&deviations).map(|(a, b)| a * b).sum::<f64>() / n;
    let mut variance = covariance(0);
    for lag in 1..=lags {
        variance += 2.0 * (1.0 - lag as f64 / (lags as f64 + 1.0)) * covariance(lag);
    }
    let mut sum = 0.0;
    let partial: f64 = deviations
        .iter()
        .map(|d| {
            sum += d;
            sum * sum
        })
        .sum();
    variance > 0.0 && partial / (n * n * variance) > KPSS_CRITICAL
}

/// Ordinary and seasonal differences that make `values` stationary: (d, D).
pub fn differences_needed(values: &[f64], period: usize) -> (usize, usize) {
    let seasonal = usize::from(
        period >= 2 && values.len() >= 3 * period && seasonal_strength(values, period) > STRONG_SEASON,
    );
    let mut rest = values.to_vec();
    let difference =
        |x: &[f64], lag: usize| -> Vec<f64> { x[lag..].iter().zip(x).map(|(a, b)| a - b).collect() };
    if seasonal == 1 {
        rest = difference(&rest, period);
    }
    let size = values.iter().fold(0.0f64, |a, v| a.max(v.abs()));
    let moves = |x: &[f64]| x.windows(2).any(|w| (w[1] - w[0]).abs() > 1e-10 * size);
    let mut d = 0;
    while d < 2 && rest.len() > 8 && moves(&rest) && needs_difference(&rest) {
        rest = difference(&rest, 1);
        d += 1;
    }
    (d, seasonal)
}

/// The model with the smallest AICc that the search finds; `period` below 2: no season. With fewer than three periods of
/// values the season is left out. A constant (mean, or drift after one difference) is the last of the regressors where
/// [`Selected::constant`] says so.
pub fn select(values: &[f64], period: usize, regressors: &[Vec<f64>], bounds: Bounds) -> Option<Selected> {
    let period = if period >= 2 && values.len() >= 3 * period { period } else { 0 };
    let (tested, seasonal_d) = differences_needed(values, period);
    let d = bounds.differences.unwrap_or(tested);
    let constant_allowed = d + seasonal_d <= 1;
    let mut search = Search {
        values,
        base: Order { d, seasonal_d, period, ..Order::default() },
        bounds,
        plain: regressors.to_vec(),
        with_constant: regressors.to_vec(),
        tried: Vec::new(),
        best: None,
        effort: Effort::QUICK,
        scratch: Scratch::default(),
    };
    let longest = bounds.seasonal * period + bounds.arma;
    if values.len() * longest * longest > EXACT_OPERATIONS {
        search.effort.longest_exact = 0;
    }
    search.with_constant.push(constant(values.len(), search.base));
    let season = usize::from(period >= 2);
    for (p, q, sp, sq) in [(2, 2, 1, 1), (0, 0, 0, 0), (1, 0, 1, 0), (0, 1, 0, 1)] {
        search.consider([p, q, sp * season, sq * season], constant_allowed);
    }
    if constant_allowed {
        search.consider([0; 4], false);
    }
    while let Some(best) = &search.best {
        let (at, constant) = (best.shape(), best.constant);
        let before = best.fit.aicc;
        let moves: [[isize; 4]; 16] = [
            [0, 0, -1, 0],
            [0, 0, 0, -1],
            [0, 0, 1, 0],
            [0, 0, 0, 1],
            [0, 0, -1, -1],
            [0, 0, -1, 1],
            [0, 0, 1, -1],
            [0, 0, 1, 1],
            [-1, 0, 0, 0],
            [0, -1, 0, 0],
            [1, 0, 0, 0],
            [0, 1, 0, 0],
            [-1, -1, 0, 0],
            [-1, 1, 0, 0],
            [1, -1, 0, 0],
            [1, 1, 0, 0],
        ];
        for step in moves {
            if season == 0 && (step[2] != 0 || step[3] != 0) {
                continue;
            }
            let mut next = [0; 4];
            let inside = (0..4).all(|i| at[i].checked_add_signed(step[i]).map(|v| next[i] = v).is_some());
            if inside {
                search.consider(next, constant);
            }
        }
        if constant_allowed {
            search.consider(at, !constant);
        }
        let improved = search.best.as_ref().is_some_and(|b| b.fit.aicc < before);
        if !improved || search.tried.len() >= bounds.models {
            break;
        }
    }
    let chosen = search.best?;
    let columns = if chosen.constant { &search.with_constant } else { &search.plain };
    // The winner again, thoroughly.
    let fit = fit_in(values, chosen.fit.order, columns, Effort::FULL, None, &mut search.scratch);
    Some(Selected { fit: fit.unwrap_or(chosen.fit), constant: chosen.constant, models: search.tried.len() })
}

/// The regressor that differencing turns into 1.
pub fn constant(n: usize, order: Order) -> Vec<f64> {
    let unit = if order.d + order.seasonal_d == 0 { 0.0 } else { 1.0 };
    (0..n).map(|t| if unit == 0.0 { 1.0 } else { t as f64 }).collect()
}

/// What [`select`] found.
#[derive(Clone, Debug, PartialEq)]
pub struct Selected {
    /// The fit.
    pub fit: Fit,
    /// Is its last regressor the constant or drift?
    pub constant: bool,
    /// Models tried.
    pub models: usize,
}

impl Selected {
    fn shape(&self) -> [usize; 4] {
        let o = self.fit.order;
        [o.p, o.q, o.seasonal_p, o.seasonal_q]
    }
}

struct Search<'a> {
    values: &'a [f64],
    base: Order,
    bounds: Bounds,
    plain: Vec<Vec<f64>>,
    with_constant: Vec<Vec<f64>>,
    tried: Vec<([usize; 4], bool)>,
    best: Option<Selected>,
    effort: Effort,
    scratch: Scratch,
}

impl Search<'_> {
    fn consider(&mut self, shape: [usize; 4], constant: bool) {
        let [p, q, seasonal_p, seasonal_q] = shape;
        let b = self.bounds;
        if p.max(q) > b.arma
            || seasonal_p.max(seasonal_q) > b.seasonal
            || shape.iter().sum::<usize>() > b.total
            || self.tried.len() >= b.models
            || self.tried.contains(&(shape, constant))
        {
            return;
        }
        self.tried.push((shape, constant));
        let order = Order { p, q, seasonal_p, seasonal_q, ..self.base };
        let columns = if constant { &self.with_constant } else { &self.plain };
        let Some(fit) = fit_in(self.values, order, columns, self.effort, None, &mut self.scratch) else {
            return;
        };
        if self.best.as_ref().is_none_or(|best| fit.aicc < best.fit.aicc - 1e-9) {
            self.best = Some(Selected { fit, constant, models: 0 });
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_walk_is_differenced_once_and_noise_not_at_all() {
        let mut state = 3u64;
        let mut noise = || {
            state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            (state >> 33) as f64 / (1u64 << 31) as f64 - 0.5
        };
        let still: Vec<f64> = (0..200).map(|_| noise()).collect();
        let mut level = 0.0;
        let walk: Vec<f64> = (0..200)
            .map(|_| {
                level += noise();
                level
            })
            .collect();
        assert_eq!(differences_needed(&still, 0), (0, 0));
        assert_eq!(differences_needed(&walk, 0), (1, 0));
        let season: Vec<f64> =
            still.iter().enumerate().map(|(i, v)| v + [5.0, -2.0, 1.0, -4.0][i % 4]).collect();
        assert_eq!(differences_needed(&season, 4), (0, 1));
    }

    #[test]
    fn a_constant_window_has_no_model() {
        assert!(select(&[4.0; 60], 0, &[], Bounds::default()).is_none());
    }
}
