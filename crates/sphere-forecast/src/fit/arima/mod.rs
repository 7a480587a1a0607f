//! Which autoregressive moving-average model explains a window best?
//!
//! Seasonal ARIMA with regressors (Box & Jenkins, *Time Series Analysis*, 1970): `φ(B) Φ(Bᵐ) (1−B)ᵈ (1−Bᵐ)ᴰ (y − xβ) =
//! θ(B) Θ(Bᵐ) a`. Estimation is by exact Gaussian maximum likelihood of the differenced window, computed by the
//! innovations algorithm (`innovations.rs`); scale and regression coefficients are concentrated out, and what is
//! left, one number per ARMA coefficient, is searched by least squares (`least_squares.rs`). Coefficients go
//! through partial autocorrelations (Monahan, *Biometrika* 71, 1984), so every trial is stationary and invertible.
//! When the expanded polynomials are longer than [`LONGEST_EXACT`] the likelihood is conditional on the first
//! values instead, as exactness would cost the square of the season.
//!
//! [`select`] finds the orders.

mod innovations;
mod polynomial;
pub mod select;

pub use polynomial::Order;

use super::least_squares::{self, Limits, Workspace};
use super::linear::solve_positive;
use innovations::Innovations;
use polynomial::{Arma, differences, differencing, integrated_ar, psi_weights};

/// Longest expanded polynomial for which the likelihood is exact.
pub const LONGEST_EXACT: usize = 64;

/// A fitted model and the state the window ends in.
#[derive(Clone, Debug, PartialEq)]
pub struct Fit {
    /// Orders.
    pub order: Order,
    /// Coefficients φ, θ, Φ, Θ, in this order, as in the formula of the module (signs as in statsmodels).
    pub coefficients: Vec<f64>,
    /// Coefficients of the regressors; see [`fit`].
    pub beta: Vec<f64>,
    /// Variance of the innovations.
    pub variance: f64,
    /// Log-likelihood of the differenced window, constants included.
    pub log_likelihood: f64,
    /// Akaike's criterion, corrected for small samples (Hurvich & Tsai, *Biometrika* 76, 1989).
    pub aicc: f64,
    /// The search's coordinates, for a warm start.
    pub at: Vec<f64>,
    /// Expected values of the coming steps without the regressors' share: as many as the model looks back or ahead.
    pub path: Vec<f64>,
    /// What an innovation of 1 adds to each entry of `path` once it has been shifted by a step.
    pub gain: Vec<f64>,
    /// Autoregression, differencing included, that continues the path.
    pub autoregression: Vec<f64>,
}

/// How hard to search.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Effort {
    /// Starting points that are refined.
    pub starts: usize,
    /// Steps of each refinement.
    pub rounds: usize,
    /// Relative decrease of the scaled sum of squares at which it ends.
    pub tolerance: f64,
    /// Longest expanded polynomial for which the likelihood is exact, at most [`LONGEST_EXACT`].
    pub longest_exact: usize,
}

impl Effort {
    /// For a final fit.
    pub const FULL: Self = Self { starts: 3, rounds: 60, tolerance: 1e-9, longest_exact: LONGEST_EXACT };
    /// For comparing many orders.
    pub const QUICK: Self = Self { starts: 1, rounds: 12, tolerance: 1e-5, longest_exact: LONGEST_EXACT };
}

/// Fits `order` to `values`, with one column of `regressors` per coefficient of β (each as long as `values`; columns
/// that differencing turns into 0 must be left out). `warm` is [`Fit::at`] of an earlier fit of the same order.
///
/// `None` when too few values are left after differencing, or when they do not move: then nothing can be estimated.
pub fn fit(
    values: &[f64],
    order: Order,
    regressors: &[Vec<f64>],
    effort: Effort,
    warm: Option<&[f64]>,
) -> Option<Fit> {
    fit_in(values, order, regressors, effort, warm, &mut Scratch::default())
}

/// Working memory of [`fit`].
#[derive(Clone, Debug, Default)]
pub(crate) struct Scratch {
    search: Workspace,
    innovations: Innovations,
    normal: Vec<f64>,
    right: Vec<f64>,
}

pub(crate) fn fit_in(
    values: &[f64],
    order: Order,
    regressors: &[Vec<f64>],
    effort: Effort,
    warm: Option<&[f64]>,
    scratch: &mut Scratch,
) -> Option<Fit> {
    let delta = differencing(order);
    let lost = delta.len() - 1;
    let (k, columns) = (order.coefficients(), regressors.len());
    let parameters = k + columns + 1;
    if values.len() < lost + parameters + 2 || regressors.iter().any(|x| x.len() != values.len()) {
        return None;
    }
    let mut series = vec![differences(values, &delta)];
    series.extend(regressors.iter().map(|x| differences(x, &delta)));
    let n = series[0].len();
    // A differenced window that does not move, but for rounding, has nothing to estimate.
    let size = values.iter().fold(0.0f64, |a, v| a.max(v.abs()));
    let spread = (series[0].iter().map(|v| v * v).sum::<f64>() / n as f64).sqrt();
    let (low, high) =
        series[0].iter().fold((f64::INFINITY, f64::NEG_INFINITY), |(l, h), v| (l.min(*v), h.max(*v)));
    if !(high - low > 1e-11 * size && spread.is_finite() && spread >= f64::MIN_POSITIVE) {
        return None;
    }
    let mut units = vec![spread];
    for x in &series[1..] {
        units.push((x.iter().map(|v| v * v).sum::<f64>() / n as f64).sqrt().max(f64::MIN_POSITIVE));
    }
    for (x, unit) in series.iter_mut().zip(&units) {
        x.iter_mut().for_each(|v| *v /= unit);
    }
    let exact = order.longest() <= effort.longest_exact.min(LONGEST_EXACT);
    let used = if exact { n } else { n.saturating_sub(order.ar_len()) };
    if used < parameters + 1 || n <= order.longest() {
        return None;
    }
    let mut problem = Problem { order, series: &series, exact, scratch };
    let (at, sse) = problem.search(n, effort, warm);
    if !sse.is_finite() {
        return None;
    }
    // `sse` is S times the geometric mean of v; see `least_squares`.
    let beta_scaled = problem.evaluate(&at, &mut vec![0.0; n])?;
    let arma = Arma::new(order, &at);
    // The conditional likelihood is scaled up to all values, so that orders which skip more of them compare.
    let (used, all) = (used as f64, n as f64);
    // Rounding is never less than this part of the spread.
    let scaled = (sse / used).max(1e-26);
    let log_likelihood = -all * (0.5 * ((2.0 * std::f64::consts::PI * scaled).ln() + 1.0) + spread.ln());
    let variance = sse / used * spread * spread / problem.scratch.innovations.geometric_mean();
    let p = parameters as f64;
    let aicc = -2.0 * log_likelihood + 2.0 * p + 2.0 * p * (p + 1.0) / (all - p - 1.0).max(0.5);
    let beta: Vec<f64> = beta_scaled.iter().zip(&units[1..]).map(|(b, unit)| b * spread / unit).collect();

    // State: path of the noise, y − xβ.
    let noise: Vec<f64> = (0..values.len())
        .map(|t| values[t] - regressors.iter().zip(&beta).map(|(x, b)| x[t] * b).sum::<f64>())
        .collect();
    let autoregression = integrated_ar(&arma, &delta);
    let length = autoregression.len().max(arma.ma.len() + 1).max(1);
    let gain = psi_weights(&autoregression, &arma.ma, length);
    let whole = &mut problem.scratch.innovations;
    let path = whole.path(&arma, &differences(&noise, &delta), &noise, &delta, length, exact);
    let finite = log_likelihood.is_finite()
        && beta.iter().chain(&path).chain(&gain).chain(&autoregression).all(|v| v.is_finite());
    finite.then_some(Fit {
        order,
        coefficients: arma.short,
        beta,
        variance,
        log_likelihood,
        aicc,
        at,
        path,
        gain,
        autoregression,
    })
}

struct Problem<'a> {
    order: Order,
    /// The differenced series, then the differenced regressors, each of spread 1.
    series: &'a [Vec<f64>],
    exact: bool,
    scratch: &'a mut Scratch,
}

impl Problem<'_> {
    /// Residuals at `at`, scaled so that their sum of squares is what maximum likelihood minimises, and β.
    fn evaluate(&mut self, at: &[f64], residuals: &mut [f64]) -> Option<Vec<f64>> {
        let arma = Arma::new(self.order, at);
        let columns = self.series.len() - 1;
        let inner = &mut self.scratch.innovations;
        let white = inner.whiten(&arma, self.series, self.exact)?;
        let (y, xs) = white.split_first()?;
        let mut beta = vec![0.0; columns];
        if columns > 0 {
            let (normal, right) = (&mut self.scratch.normal, &mut self.scratch.right);
            normal.clear();
            normal.resize(columns * columns, 0.0);
            right.clear();
            for i in 0..columns {
                for j in 0..=i {
                    normal[i * columns + j] = xs[i].iter().zip(&xs[j]).map(|(a, b)| a * b).sum();
                }
                // A trace of a ridge, far below what the data say, keeps collinear columns apart.
                normal[i * columns + i] *= 1.0 + 1e-12;
                right.push(xs[i].iter().zip(y).map(|(a, b)| a * b).sum());
            }
            if !solve_positive(normal, right) {
                return None;
            }
            beta.copy_from_slice(right);
        }
        let scale = inner.geometric_mean().sqrt();
        let (y, xs) = inner.whitened().split_first()?;
        for (t, r) in residuals.iter_mut().enumerate() {
            let fitted: f64 = xs.iter().zip(&beta).map(|(x, b)| x[t] * b).sum();
            *r = (y[t] - fitted) * scale;
        }
        Some(beta)
    }

    fn search(&mut self, n: usize, effort: Effort, warm: Option<&[f64]>) -> (Vec<f64>, f64) {
        let mut starts: Vec<(f64, Vec<f64>)> = Vec::new();
        let mut residuals = vec![0.0; n];
        let warm = warm.filter(|w| w.len() == self.order.coefficients());
        let wanted = if warm.is_some() { vec![] } else { self.order.starts() };
        for at in warm.map(<[f64]>::to_vec).into_iter().chain(wanted) {
            if self.evaluate(&at, &mut residuals).is_some() {
                let sse: f64 = residuals.iter().map(|r| r * r).sum();
                if sse.is_finite() {
                    starts.push((sse, at));
                }
            }
        }
        starts.sort_by(|a, b| a.0.total_cmp(&b.0));
        starts.truncate(effort.starts.max(1));
        let mut best = (Vec::new(), f64::INFINITY);
        let mut search = std::mem::take(&mut self.scratch.search);
        for (_, mut at) in starts {
            let limits = Limits { rounds: effort.rounds, tolerance: effort.tolerance, known: best.1 };
            let sse = least_squares::minimise(&mut at, n, limits, &mut search, |at, out| {
                self.evaluate(at, out).is_some()
            });
            if sse < best.1 {
                best = (at, sse);
            }
        }
        self.scratch.search = search;
        best
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Uniform noise from a linear congruential generator, variance 1/12.
    fn noise(n: usize) -> Vec<f64> {
        let mut state = 7u64;
        (0..n)
            .map(|_| {
                state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
                (state >> 33) as f64 / (1u64 << 31) as f64 - 0.5
            })
            .collect()
    }

    #[test]
    fn the_coefficients_of_a_long_series_are_found() {
        let a = noise(4000);
        let mut y = vec![0.0; 4000];
        for t in 1..4000 {
            y[t] = 0.7 * y[t - 1] + a[t] + 0.4 * a[t - 1];
        }
        let fit = fit(&y, Order::new(1, 0, 1), &[], Effort::FULL, None).unwrap();
        assert!((fit.coefficients[0] - 0.7).abs() < 0.05, "{fit:?}");
        assert!((fit.coefficients[1] - 0.4).abs() < 0.05, "{fit:?}");
        assert!((fit.variance * 12.0 - 1.0).abs() < 0.05, "{fit:?}");
    }

    #[test]
    fn the_exact_likelihood_is_that_of_the_covariance_matrix() {
        // AR(1) with mean 0: density of the first value times the conditional ones, by hand.
        let y = [1.0, 0.4, -0.3, 0.9, 1.2, -0.7, -0.2, 0.1, 0.5, -1.1];
        let fit = fit(&y, Order::new(1, 0, 0), &[], Effort::FULL, None).unwrap();
        let phi = fit.coefficients[0];
        let sum =
            (1.0 - phi * phi) * y[0] * y[0] + y.windows(2).map(|w| (w[1] - phi * w[0]).powi(2)).sum::<f64>();
        let variance = sum / 10.0;
        let expected =
            -5.0 * ((2.0 * std::f64::consts::PI * variance).ln() + 1.0) + 0.5 * (1.0 - phi * phi).ln();
        assert!((fit.log_likelihood - expected).abs() < 1e-9, "{} {expected}", fit.log_likelihood);
        assert!((fit.variance - variance).abs() < 1e-9);
        assert!((fit.path[0] - phi * y[9]).abs() < 1e-12);
    }

    #[test]
    fn a_window_that_does_not_move_has_no_fit() {
        assert_eq!(fit(&[5.0; 60], Order::new(1, 1, 1), &[], Effort::FULL, None), None);
        let line: Vec<f64> = (0..60).map(|i| 3.0 + 0.1 * f64::from(i)).collect();
        assert_eq!(fit(&line, Order::new(1, 2, 1), &[], Effort::FULL, None), None);
        assert_eq!(fit(&[1.0, 2.0], Order::new(1, 1, 1), &[], Effort::FULL, None), None);
    }
}
