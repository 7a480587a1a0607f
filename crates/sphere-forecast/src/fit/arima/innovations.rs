//! What is the exact likelihood of an ARMA window, and what does the window say about the next steps?
//!
//! The innovations algorithm (Brockwell & Davis, *Time Series: Theory and Methods*, 2nd ed., 5.2 and 5.3, after
//! Ansley, *Biometrika* 66, 1979): applied to `W_t = X_t` for the first max(p, q) steps and `φ(B) X_t` after, whose
//! covariance is banded, it costs O(n q²) for coefficients that do not depend on the data and O(n (p + q)) for each series
//! filtered with them. Once the coefficients have settled they are kept. It gives the same numbers as a Kalman filter started
//! at the stationary distribution, without its matrices.

use super::polynomial::Arma;
use crate::fit::linear::solve;

/// Changes of coefficients below this end their recursion.
const SETTLED: f64 = 1e-12;

/// Working memory, and what the last call left.
#[derive(Clone, Debug, Default)]
pub(super) struct Innovations {
    /// `θ_{t,1}, θ_{t,2}, …` of all rows, `band` each.
    rows: Vec<f64>,
    /// Prediction variances over the innovation variance.
    variances: Vec<f64>,
    band: usize,
    /// Row from which on all rows are the same, if any.
    settled: Option<usize>,
    autocovariances: Vec<f64>,
    /// Covariance of `X` and later `W` by lag.
    mixed: Vec<f64>,
    /// Covariance of `W` by lag.
    filtered: Vec<f64>,
    white: Vec<Vec<f64>>,
    geometric_mean: f64,
}

impl Innovations {
    /// Geometric mean of the prediction variances, in innovation variances.
    pub(super) fn geometric_mean(&self) -> f64 {
        self.geometric_mean
    }

    /// What [`Innovations::whiten`] made.
    pub(super) fn whitened(&self) -> &[Vec<f64>] {
        &self.white
    }

    /// One-step errors of each series, each divided by its standard deviation in innovation units. Not `exact`:
    /// conditional on the first `p` values and on errors of 0 before, and 0 for these.
    pub(super) fn whiten(&mut self, arma: &Arma, series: &[Vec<f64>], exact: bool) -> Option<&[Vec<f64>]> {
        let n = series[0].len();
        self.white.resize(series.len(), Vec::new());
        if !exact {
            self.geometric_mean = 1.0;
            for (x, e) in series.iter().zip(&mut self.white) {
                conditional_errors(arma, x, e);
            }
            return Some(&self.white);
        }
        self.begin(arma, n)?;
        for t in 0..n {
            self.row(arma, t)?;
        }
        let settled = self.settled.unwrap_or(n);
        let log: f64 = self.variances[..n.min(settled + 1)].iter().map(|v| v.ln()).sum();
        self.geometric_mean = (log / n as f64).exp();
        let m = arma.ar.len().max(arma.ma.len());
        let mut white = std::mem::take(&mut self.white);
        for (x, e) in series.iter().zip(&mut white) {
            e.clear();
            for t in 0..n {
                e.push(x[t] - self.predicted(arma, x, e, t, m));
            }
            for (t, e) in e.iter_mut().enumerate().take(settled + 1) {
                *e /= self.variances[t].sqrt();
            }
        }
        self.white = white;
        Some(&self.white)
    }

    /// Prediction of `x[t]` from what comes before it and its errors `e`.
    fn predicted(&self, arma: &Arma, x: &[f64], e: &[f64], t: usize, m: usize) -> f64 {
        let row = &self.rows[self.settled.unwrap_or(t).min(t) * self.band..][..self.band];
        let mut sum = 0.0;
        if t >= m {
            for (a, x) in arma.ar.iter().zip(x[..t].iter().rev()) {
                sum += a * x;
            }
            for (c, e) in row[..arma.ma.len()].iter().zip(e.iter().rev()) {
                sum += c * e;
            }
        } else {
            for (c, e) in row[..t].iter().zip(e.iter().rev()) {
                sum += c * e;
            }
        }
        sum
    }

    /// Covariances that the recursion needs.
    fn begin(&mut self, arma: &Arma, n: usize) -> Option<()> {
        let (p, q) = (arma.ar.len(), arma.ma.len());
        let m = p.max(q);
        self.band = m.max(1);
        self.settled = None;
        self.rows.clear();
        self.rows.resize(n * self.band, 0.0);
        self.variances.clear();
        self.variances.resize(n, 1.0);
        let theta = |j: usize| if j == 0 { 1.0 } else { arma.ma.get(j - 1).copied().unwrap_or(0.0) };
        // ψ₀ … ψ_q.
        let mut psi = vec![1.0; q + 1];
        for j in 1..=q {
            psi[j] = theta(j) + (1..=j.min(p)).map(|i| arma.ar[i - 1] * psi[j - i]).sum::<f64>();
        }
        self.mixed.clear();
        self.filtered.clear();
        for lag in 0..=q {
            self.mixed.push((lag..=q).map(|r| theta(r) * psi[r - lag]).sum());
            self.filtered.push((lag..=q).map(|r| theta(r) * theta(r - lag)).sum());
        }
        self.autocovariances.clear();
        if p == 0 {
            self.autocovariances.extend_from_slice(&self.filtered);
        } else {
            let size = p + 1;
            let mut a = vec![0.0; size * size];
            let mut gamma = vec![0.0; size];
            for k in 0..size {
                a[k * size + k] += 1.0;
                for (i, phi) in arma.ar.iter().enumerate() {
                    a[k * size + k.abs_diff(i + 1)] -= phi;
                }
                gamma[k] = self.mixed.get(k).copied().unwrap_or(0.0);
            }
            if !solve(&mut a, &mut gamma) || gamma[0] <= 0.0 {
                return None;
            }
            self.autocovariances.append(&mut gamma);
        }
        while self.autocovariances.len() < m + 1 {
            let k = self.autocovariances.len();
            let ahead: f64 = (1..=p).map(|i| arma.ar[i - 1] * self.autocovariances[k - i]).sum();
            self.autocovariances.push(ahead + self.mixed.get(k).copied().unwrap_or(0.0));
        }
        Some(())
    }

    /// Computes row `t`: coefficients of the errors before step `t` in its prediction, and its variance.
    fn row(&mut self, arma: &Arma, t: usize) -> Option<()> {
        if self.settled.is_some() {
            return Some(());
        }
        let (q, m, band) = (arma.ma.len(), arma.ar.len().max(arma.ma.len()), self.band);
        let reach = if t < m { t } else { q.min(t) };
        let (done, rest) = self.rows.split_at_mut(t * band);
        let row = &mut rest[..band];
        let mut variance = if t < m { self.autocovariances[0] } else { self.filtered[0] };
        for k in t - reach..t {
            let lag = t - k;
            let covariance = if t < m {
                self.autocovariances[lag]
            } else if k < m {
                self.mixed[lag]
            } else {
                self.filtered[lag]
            };
            // Errors j < k that both rows know: row k reaches back q steps, or to the start while k < m.
            let first = if k < m { t - reach } else { (t - reach).max(k - q.min(k)) };
            let other = &done[k * band..(k + 1) * band];
            let mut sum = covariance;
            for j in first..k {
                sum -= other[k - j - 1] * row[t - j - 1] * self.variances[j];
            }
            row[lag - 1] = sum / self.variances[k];
            variance -= row[lag - 1] * row[lag - 1] * self.variances[k];
        }
        // Rounding at the edge of invertibility; the true value is at least 1 after the start.
        self.variances[t] = if t >= m { variance.max(1.0) } else { variance };
        if self.variances[t].is_nan() || self.variances[t] <= 0.0 {
            return None;
        }
        if t > m && q <= t {
            let before = &done[(t - 1) * band..];
            let moved = row[..q].iter().zip(before).any(|(a, b)| (a - b).abs() > SETTLED);
            if !moved && self.variances[t] - 1.0 < SETTLED {
                self.settled = Some(t);
            }
        }
        Some(())
    }

    /// Expected values of `values` for the `length` steps after its end; `differenced` is `values` differenced by
    /// `delta`.
    pub(super) fn path(
        &mut self,
        arma: &Arma,
        differenced: &[f64],
        values: &[f64],
        delta: &[f64],
        length: usize,
        exact: bool,
    ) -> Vec<f64> {
        let n = differenced.len();
        let q = arma.ma.len();
        let mut x = differenced.to_vec();
        let mut errors = Vec::with_capacity(n);
        let ready = exact && self.begin(arma, n + q).is_some();
        if ready && (0..n + q).all(|t| self.row(arma, t).is_some()) {
            let m = arma.ar.len().max(q);
            for t in 0..n {
                errors.push(x[t] - self.predicted(arma, &x, &errors, t, m));
            }
        } else {
            self.settled = None;
            conditional_errors(arma, differenced, &mut errors);
        }
        for t in n..n + length {
            let mut v: f64 = arma.ar.iter().zip(x.iter().rev()).map(|(a, x)| a * x).sum();
            for j in t - n + 1..=q.min(t) {
                let coefficient = if ready && t < n + q {
                    self.rows[self.settled.unwrap_or(t).min(t) * self.band + j - 1]
                } else {
                    arma.ma[j - 1]
                };
                v += coefficient * errors[t - j];
            }
            x.push(v);
        }
        // Undo the differences.
        let mut y = values.to_vec();
        for v in &x[n..] {
            let t = y.len();
            let past: f64 = delta
                .iter()
                .enumerate()
                .skip(1)
                .filter(|(_, c)| **c != 0.0)
                .map(|(lag, c)| c * y[t - lag])
                .sum();
            y.push(v - past);
        }
        y.split_off(values.len())
    }
}

fn conditional_errors(arma: &Arma, x: &[f64], e: &mut Vec<f64>) {
    let sparse = |c: &[f64]| -> Vec<(usize, f64)> {
        c.iter().enumerate().filter(|(_, c)| **c != 0.0).map(|(i, c)| (i + 1, *c)).collect()
    };
    let (ar, ma) = (sparse(&arma.ar), sparse(&arma.ma));
    e.clear();
    for t in 0..x.len() {
        if t < arma.ar.len() {
            e.push(0.0);
            continue;
        }
        let past: f64 = ar.iter().map(|(lag, c)| c * x[t - lag]).sum();
        let shocks: f64 = ma.iter().filter(|(lag, _)| *lag <= t).map(|(lag, c)| c * e[t - lag]).sum();
        e.push(x[t] - past - shocks);
    }
}
