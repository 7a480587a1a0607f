//! Which bent line and which smooth seasons explain a window best, if bends and seasons are thought to be rare?
//!
//! The additive model of Taylor & Letham (*Forecasting at scale*, The American Statistician 72, 2018): a trend that may
//! change its slope at given points, Fourier seasons, and events, at the maximum of the posterior. With the window scaled to
//! 0…1 in time and by its largest magnitude, the priors are Prophet's: slope and offset Normal(0, 5), changes of
//! slope Laplace(0, τ), season and event coefficients Normal(0, σ), noise half-Normal(0, 0.5).
//!
//! Given the noise, the posterior is that of a lasso with a few unpenalised columns. It is solved exactly by an
//! active-set method: Newton on the columns in use, a column leaves when its sign would change, and the column whose
//! gradient exceeds its penalty most comes in (Osborne, Presnell & Turlach, *IMA Journal of Numerical Analysis* 20, 2000).
//! The noise then has a closed form, and the two alternate. A multiplicative season is linearised around the last
//! solution (Gauss-Newton).

use super::linear::solve_positive;
use serde::{Deserialize, Serialize};

/// Scale of the priors of slope and offset, and of the noise.
const TREND_PRIOR: f64 = 5.0;
const NOISE_PRIOR: f64 = 0.5;
/// Noise below this part of the largest value is rounding.
const LEAST_NOISE: f64 = 1e-7;
const ROUNDS: usize = 100;

/// Priors and changes.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Settings {
    /// Points at which the slope may change.
    pub changes: usize,
    /// They lie in this first part of the window.
    pub range: f64,
    /// Scale of the changes of slope, τ.
    pub change_prior: f64,
    /// Scale of the coefficients of seasons and events, σ.
    pub season_prior: f64,
    /// Seasons and events multiply the trend.
    pub multiplicative: bool,
}

impl Default for Settings {
    /// Prophet's defaults.
    fn default() -> Self {
        Self { changes: 25, range: 0.8, change_prior: 0.05, season_prior: 10.0, multiplicative: false }
    }
}

/// A fitted model, in the units of the data; time counts in steps from the window's first value.
#[derive(Clone, Debug, PartialEq)]
pub struct Fit {
    /// Offset and slope at the end of the window: the trend of step t ≥ the last change is `offset + slope t`.
    pub offset: f64,
    /// See `offset`.
    pub slope: f64,
    /// Coefficients of the columns: added to the trend, or, times the trend, if multiplicative.
    pub beta: Vec<f64>,
    /// Changes of slope per step, with the step they happen at.
    pub changes: Vec<(usize, f64)>,
    /// Standard deviation of the noise.
    pub noise: f64,
    /// Negative log-posterior in scaled units: smaller is better.
    pub loss: f64,
}

/// Fits `values`; each of `columns` has a value per step. `None` for fewer than three values, or when all are 0.
pub fn fit(values: &[f64], columns: &[Vec<f64>], settings: Settings) -> Option<Fit> {
    let n = values.len();
    let scale = values.iter().fold(0.0, |a: f64, v| a.max(v.abs()));
    if n < 3 || scale < f64::MIN_POSITIVE || columns.iter().any(|c| c.len() != n) {
        return None;
    }
    let points = change_points(n, settings);
    let y: Vec<f64> = values.iter().map(|v| v / scale).collect();
    let span = (n - 1) as f64;
    // Trend columns: slope, offset, then a hinge per change.
    let mut trend = vec![(0..n).map(|t| t as f64 / span).collect::<Vec<f64>>(), vec![1.0; n]];
    trend.extend(points.iter().map(|&p| (0..n).map(|t| t.saturating_sub(p) as f64 / span).collect()));
    let mut problem = Problem::new(&y, trend, columns, settings);
    let spread = problem.line_noise();
    let best = [spread, 0.2 * spread]
        .into_iter()
        .filter_map(|noise| problem.solve(noise))
        .min_by(|a, b| a.2.total_cmp(&b.2))?;
    let (theta, noise, loss) = best;
    let (mut slope, mut offset) = (theta[0], theta[1]);
    let mut changes = Vec::new();
    for (&p, &delta) in points.iter().zip(&theta[2..]) {
        slope += delta;
        offset -= delta * p as f64 / span;
        if delta != 0.0 {
            changes.push((p, delta * scale / span));
        }
    }
    let unit = if settings.multiplicative { 1.0 } else { scale };
    let beta: Vec<f64> = theta[2 + points.len()..].iter().map(|b| b * unit).collect();
    let fit = Fit {
        offset: offset * scale,
        slope: slope * scale / span,
        beta,
        changes,
        noise: noise * scale,
        loss,
    };
    (fit.offset.is_finite() && fit.slope.is_finite() && fit.beta.iter().all(|b| b.is_finite())).then_some(fit)
}

/// Evenly spaced over the first part of the window, the first value left out, at most one per value.
fn change_points(n: usize, settings: Settings) -> Vec<usize> {
    let part = (n as f64 * settings.range.clamp(0.0, 1.0)).floor() as usize;
    let count = settings.changes.min(part.saturating_sub(1));
    (1..=count).map(|i| ((part - 1) as f64 * i as f64 / count as f64).round_ties_even() as usize).collect()
}

struct Problem<'a> {
    y: &'a [f64],
    trend: Vec<Vec<f64>>,
    columns: &'a [Vec<f64>],
    settings: Settings,
    /// Derivatives of the prediction by each coefficient.
    jacobian: Vec<Vec<f64>>,
    gram: Vec<f64>,
    target: Vec<f64>,
}

impl<'a> Problem<'a> {
    fn new(y: &'a [f64], trend: Vec<Vec<f64>>, columns: &'a [Vec<f64>], settings: Settings) -> Self {
        Self { y, trend, columns, settings, jacobian: Vec::new(), gram: Vec::new(), target: Vec::new() }
    }

    fn len(&self) -> usize {
        self.trend.len() + self.columns.len()
    }

    /// Noise around the least-squares line.
    fn line_noise(&self) -> f64 {
        let n = self.y.len() as f64;
        let x = &self.trend[0];
        let (mx, my) = (x.iter().sum::<f64>() / n, self.y.iter().sum::<f64>() / n);
        let sxx: f64 = x.iter().map(|x| (x - mx) * (x - mx)).sum();
        let sxy: f64 = x.iter().zip(self.y).map(|(x, y)| (x - mx) * (y - my)).sum();
        let slope = sxy / sxx;
        let sse: f64 = x.iter().zip(self.y).map(|(x, y)| (y - my - slope * (x - mx)).powi(2)).sum();
        (sse / n).sqrt().max(LEAST_NOISE)
    }

    fn combined(columns: &[Vec<f64>], coefficients: &[f64], n: usize) -> Vec<f64> {
        let mut out = vec![0.0; n];
        for (column, c) in columns.iter().zip(coefficients).filter(|(_, c)| **c != 0.0) {
            out.iter_mut().zip(column).for_each(|(o, v)| *o += c * v);
        }
        out
    }

    /// Trend, season, and prediction.
    fn parts(&self, theta: &[f64]) -> (Vec<f64>, Vec<f64>, Vec<f64>) {
        let n = self.y.len();
        let (a, b) = theta.split_at(self.trend.len());
        let (trend, season) = (Self::combined(&self.trend, a, n), Self::combined(self.columns, b, n));
        let product = self.settings.multiplicative;
        let whole = trend.iter().zip(&season).map(|(t, s)| if product { t * (1.0 + s) } else { t + s });
        let whole = whole.collect();
        (trend, season, whole)
    }

    /// Linearises around `theta`: normal matrix, and right-hand side for the coefficients themselves.
    fn linearise(&mut self, theta: &[f64]) {
        let (trend, season, whole) = self.parts(theta);
        let p = self.len();
        if self.settings.multiplicative {
            self.jacobian.clear();
            for column in &self.trend {
                self.jacobian.push(column.iter().zip(&season).map(|(v, s)| v * (1.0 + s)).collect());
            }
            for column in self.columns {
                self.jacobian.push(column.iter().zip(&trend).map(|(v, t)| v * t).collect());
            }
        } else {
            self.jacobian = self.trend.iter().chain(self.columns).cloned().collect();
        }
        let own = Self::combined(&self.jacobian, theta, self.y.len());
        let aim: Vec<f64> = (0..self.y.len()).map(|t| self.y[t] - whole[t] + own[t]).collect();
        self.gram.clear();
        self.gram.resize(p * p, 0.0);
        self.target.clear();
        for i in 0..p {
            for j in 0..=i {
                let sum: f64 = self.jacobian[i].iter().zip(&self.jacobian[j]).map(|(a, b)| a * b).sum();
                self.gram[i * p + j] = sum;
                self.gram[j * p + i] = sum;
            }
            self.target.push(self.jacobian[i].iter().zip(&aim).map(|(a, b)| a * b).sum());
        }
    }

    /// Precision of the Gaussian priors; 0 for changes of slope.
    fn precision(&self, i: usize) -> f64 {
        match i {
            0 | 1 => 1.0 / (TREND_PRIOR * TREND_PRIOR),
            _ if i < self.trend.len() => 0.0,
            _ => 1.0 / (self.settings.season_prior * self.settings.season_prior),
        }
    }

    fn loss(&self, theta: &[f64], sse: f64, noise: f64) -> f64 {
        let gaussian: f64 = theta.iter().enumerate().map(|(i, v)| 0.5 * self.precision(i) * v * v).sum();
        let laplace: f64 =
            theta[2..self.trend.len()].iter().map(|d| d.abs()).sum::<f64>() / self.settings.change_prior;
        sse / (2.0 * noise * noise)
            + self.y.len() as f64 * noise.ln()
            + gaussian
            + laplace
            + 0.5 * (noise / NOISE_PRIOR).powi(2)
    }

    /// Alternates coefficients and noise from `noise`: coefficients, noise, loss.
    fn solve(&mut self, mut noise: f64) -> Option<(Vec<f64>, f64, f64)> {
        let n = self.y.len() as f64;
        let mut theta = vec![0.0; self.len()];
        let mut before = f64::INFINITY;
        for round in 0..ROUNDS {
            if round == 0 || self.settings.multiplicative {
                self.linearise(&theta);
            }
            if !self.lasso(&mut theta, noise * noise) {
                return None;
            }
            let (.., whole) = self.parts(&theta);
            let sse: f64 = self.y.iter().zip(&whole).map(|(y, f)| (y - f) * (y - f)).sum();
            // dLoss/dσ = 0: σ⁴/0.25 + n σ² = SSE, the larger root written without cancellation.
            let prior = NOISE_PRIOR * NOISE_PRIOR;
            let variance = 2.0 * sse / (n + (n * n + 4.0 * sse / prior).sqrt());
            noise = variance.sqrt().max(LEAST_NOISE);
            let loss = self.loss(&theta, sse, noise);
            if (before - loss).abs() < 1e-9 * (1.0 + loss.abs()) {
                return Some((theta, noise, loss));
            }
            before = loss;
        }
        before.is_finite().then_some((theta, noise, before))
    }

    /// Minimises `½ θᵀ(G/v + D)θ − cᵀθ/v + Σ|δ|/τ` from `theta` on; see the module.
    fn lasso(&self, theta: &mut [f64], variance: f64) -> bool {
        let p = self.len();
        let penalised = 2..self.trend.len();
        let penalty = variance / self.settings.change_prior.max(1e-12);
        // Everything times the variance, so that numbers stay near 1.
        let entry = |i: usize, j: usize| {
            self.gram[i * p + j]
                + if i == j {
                    variance * self.precision(i) + 1e-12 * self.gram[i * p + i] + 1e-300
                } else {
                    0.0
                }
        };
        let mut sign: Vec<f64> = theta.iter().map(|v| if *v == 0.0 { 0.0 } else { v.signum() }).collect();
        let mut used: Vec<usize> = Vec::with_capacity(p);
        let (mut matrix, mut right) = (Vec::new(), Vec::new());
        for _ in 0..20 * p {
            used.clear();
            used.extend((0..p).filter(|i| !penalised.contains(i) || sign[*i] != 0.0));
            let k = used.len();
            matrix.clear();
            matrix.resize(k * k, 0.0);
            right.clear();
            for (a, &i) in used.iter().enumerate() {
                for (b, &j) in used[..=a].iter().enumerate() {
                    matrix[a * k + b] = entry(i, j);
                }
                right.push(self.target[i] - if penalised.contains(&i) { penalty * sign[i] } else { 0.0 });
            }
            if !solve_positive(&mut matrix, &mut right) {
                return false;
            }
            // How far before the first sign changes?
            let mut first = (1.0, None);
            for (a, &i) in used.iter().enumerate() {
                if penalised.contains(&i) && right[a] * sign[i] < 0.0 {
                    let share = theta[i] / (theta[i] - right[a]);
                    if share < first.0 {
                        first = (share.max(0.0), Some(i));
                    }
                }
            }
            for (a, &i) in used.iter().enumerate() {
                theta[i] += first.0 * (right[a] - theta[i]);
            }
            if let Some(i) = first.1 {
                theta[i] = 0.0;
                sign[i] = 0.0;
                continue;
            }
            // Does a column at 0 want to move more than its penalty holds it?
            let gradient = |i: usize| {
                self.target[i] - used.iter().map(|&j| self.gram[i * p + j] * theta[j]).sum::<f64>()
            };
            let most = penalised
                .clone()
                .filter(|&i| sign[i] == 0.0)
                .map(|i| (i, gradient(i)))
                .max_by(|a, b| a.1.abs().total_cmp(&b.1.abs()));
            match most {
                Some((i, g)) if g.abs() > penalty * (1.0 + 1e-9) + 1e-12 => sign[i] = g.signum(),
                _ => return true,
            }
        }
        // A cycle among nearly equal columns: the point is admissible and as good as rounding lets it be.
        true
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_bend_is_found_and_the_last_slope_goes_on() {
        let value = |t: usize| if t < 60 { 100.0 } else { 100.0 + 2.0 * (t - 60) as f64 };
        let values: Vec<f64> = (0..120).map(|t| value(t) + ((t * 7919) % 23) as f64 / 10.0).collect();
        let fit = fit(&values, &[], Settings::default()).unwrap();
        let ahead = fit.offset + fit.slope * 130.0;
        assert!((ahead - value(130) - 1.1).abs() < 4.0, "{ahead} {fit:?}");
        assert!(fit.changes.len() < 12, "{:?}", fit.changes);
    }

    #[test]
    fn no_other_point_near_by_is_better() {
        let values: Vec<f64> =
            (0..50).map(|t| 40.0 + 0.2 * t as f64 + 6.0 * (t as f64 / 5.0).sin()).collect();
        let y: Vec<f64> = values.iter().map(|v| v / 60.0).collect();
        let settings = Settings::default();
        let points = change_points(50, settings);
        let mut trend = vec![(0..50).map(|t| t as f64 / 49.0).collect::<Vec<f64>>(), vec![1.0; 50]];
        trend.extend(
            points.iter().map(|&p| (0..50usize).map(|t| t.saturating_sub(p) as f64 / 49.0).collect()),
        );
        let mut problem = Problem::new(&y, trend, &[], settings);
        let (theta, noise, loss) = problem.solve(0.1).unwrap();
        let at = |theta: &[f64]| {
            let (.., whole) = problem.parts(theta);
            let sse = y.iter().zip(&whole).map(|(y, f)| (y - f) * (y - f)).sum();
            problem.loss(theta, sse, noise)
        };
        for i in 0..theta.len() {
            for step in [1e-3, -1e-3] {
                let mut other = theta.clone();
                other[i] += step;
                assert!(at(&other) >= loss - 1e-7, "{i} {step}: {} {loss}", at(&other));
            }
        }
    }

    #[test]
    fn zeros_have_no_fit_and_a_constant_is_itself() {
        assert_eq!(fit(&[0.0; 20], &[], Settings::default()), None);
        let fit = fit(&[7.0; 20], &[], Settings::default()).unwrap();
        assert!((fit.offset + 30.0 * fit.slope - 7.0).abs() < 1e-3, "{fit:?}");
    }
}
