//! Which smoothing parameters, initial level, trend and season explain a window best?
//!
//! All parameters at once, by Levenberg-Marquardt (Levenberg, 1944; Marquardt, 1963) with exact derivatives: the
//! derivative of each state by each parameter obeys a recursion of its own (forward sensitivities), and a
//! season's slot moves only when its turn comes, so a pass costs O(n p) for the derivatives and O(n p²) for the
//! normal equations. For additive seasons the errors are linear in the initial states: with the smoothing
//! parameters held, one undamped step solves for all states exactly. That ranks the starting points; the
//! best few are then refined with everything free.
//!
//! Parameters: α; ρ = β/α; g = γ/(1 − α); φ fixed at 1; level; trend; season. α, ρ, g live in a box, where
//! a parameter at a bound is left out of the step while the descent points outward.
//!
//! Level and season share one redundant degree of freedom (add to one, take from the other). The damping
//! term picks the nearest of the equivalent solutions; sum of squares and forecasts do not depend on it.

use super::alpha_of;

/// How the season enters.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum SeasonKind {
    /// Added to the level; its size does not depend on the level.
    Additive,
    /// Multiplies the level; its size grows with the level. Needs positive values.
    Multiplicative,
}

/// Parameters, and the state the window ends in.
#[derive(Clone, Debug, PartialEq)]
pub struct Fit {
    /// Smoothing of the level.
    pub alpha: f64,
    /// Smoothing of the trend; 0 without one.
    pub beta: f64,
    /// Smoothing of the season.
    pub gamma: f64,
    /// Level after the last value.
    pub level: f64,
    /// Trend after the last value; 0 without one.
    pub trend: f64,
    /// Season of the step after the last value, the one after that, and so on through one period.
    pub season: Vec<f64>,
    /// Sum of squared one-step errors.
    pub sse: f64,
}

/// Longest period whose initial season is estimated together with everything else. Longer ones keep the season that
/// the first two periods show on average, and only the smoothing parameters are searched.
pub const LONGEST_FULL_PERIOD: usize = 48;

const ALPHA: usize = 0;
const RHO: usize = 1;
const GAMMA: usize = 2;
const LEVEL: usize = 3;
const TREND: usize = 4;
const SEASON: usize = 5;

/// Fits `values` with a season of `period` ≥ 2 steps; `None` for fewer than two periods of values, and for a
/// multiplicative season when a value is not positive.
pub fn fit(values: &[f64], kind: SeasonKind, trend: bool, period: usize) -> Option<Fit> {
    let multiplicative = kind == SeasonKind::Multiplicative;
    if period < 2 || values.len() < 2 * period || (multiplicative && values.iter().any(|&v| v <= 0.0)) {
        return None;
    }
    let mut problem = Problem::new(values, multiplicative, trend, period);
    let first = heuristic(values, multiplicative, trend, period);
    let best =
        if period > LONGEST_FULL_PERIOD { problem.search_smoothing(first) } else { problem.search(first) };
    let mut theta = best.1.clone();
    let sse = problem.run(&mut theta);
    if !sse.is_finite() {
        return None;
    }
    let alpha = alpha_of(best.1[ALPHA]);
    let mut season = theta[SEASON..].to_vec();
    season.rotate_left(values.len() % period);
    Some(Fit {
        alpha,
        beta: if trend { alpha * best.1[RHO] } else { 0.0 },
        gamma: (1.0 - alpha) * best.1[GAMMA],
        level: theta[LEVEL],
        trend: theta[TREND],
        season,
        sse,
    })
}

/// Level, trend and season as the first periods show them (Hyndman et al., 2008, section 2.6.1, with plain
/// period means in place of the moving average).
pub(super) fn heuristic(values: &[f64], multiplicative: bool, trend: bool, period: usize) -> Vec<f64> {
    let mean = |part: &[f64]| part.iter().sum::<f64>() / part.len() as f64;
    let (one, two) = (mean(&values[..period]), mean(&values[period..2 * period]));
    let slope = (two - one) / period as f64;
    // Mean level of period k is at its middle; the level before the first step is half a period and a half
    // step earlier.
    let level = if trend { one - slope * (period as f64 + 1.0) / 2.0 } else { 0.5 * (one + two) };
    let mut theta = vec![0.3, 0.1, 0.1, level, if trend { slope } else { 0.0 }];
    let periods = (values.len() / period).min(4);
    for j in 0..period {
        let mut sum = 0.0;
        for k in 0..periods {
            let local = mean(&values[k * period..(k + 1) * period]);
            let local = if trend { local + slope * (j as f64 - (period as f64 - 1.0) / 2.0) } else { local };
            let v = values[k * period + j];
            sum += if multiplicative { v / local.max(f64::MIN_POSITIVE) } else { v - local };
        }
        theta.push(sum / periods as f64);
    }
    theta
}

struct Problem<'a> {
    values: &'a [f64],
    multiplicative: bool,
    trend: bool,
    period: usize,
    /// Number of parameters.
    p: usize,
    /// Divisors in a multiplicative model stay above this.
    least: f64,
    // Workspace: derivatives of level, trend, season slots, prediction; normal equations.
    d_level: Vec<f64>,
    d_trend: Vec<f64>,
    d_season: Vec<f64>,
    d_predicted: Vec<f64>,
    normal: Vec<f64>,
    right: Vec<f64>,
    factor: Vec<f64>,
}

impl<'a> Problem<'a> {
    fn new(values: &'a [f64], multiplicative: bool, trend: bool, period: usize) -> Self {
        let p = SEASON + period;
        let full = if period > LONGEST_FULL_PERIOD { 0 } else { p };
        let largest = values.iter().fold(0.0, |a: f64, v| a.max(v.abs()));
        Self {
            values,
            multiplicative,
            trend,
            period,
            p,
            least: largest * 1e-9 + f64::MIN_POSITIVE,
            d_level: vec![0.0; full],
            d_trend: vec![0.0; full],
            d_season: vec![0.0; full * period],
            d_predicted: vec![0.0; full],
            normal: vec![0.0; full * full],
            right: vec![0.0; full],
            factor: vec![0.0; full * full],
        }
    }

    /// Runs the recursion over the window, leaves the final state in `theta`, returns the sum of squared errors.
    fn run(&self, theta: &mut [f64]) -> f64 {
        let alpha = alpha_of(theta[ALPHA]);
        let alpha_beta = if self.trend { alpha * alpha * theta[RHO] } else { 0.0 };
        let gamma = (1.0 - alpha) * theta[GAMMA];
        let (mut level, mut trend, mut sse) = (theta[LEVEL], theta[TREND], 0.0);
        let mut slot = 0;
        for &y in self.values {
            let base = level + trend;
            let season = &mut theta[SEASON + slot];
            let e;
            if self.multiplicative {
                let (divisor, divisor_base) = (season.max(1e-9), base.max(self.least));
                e = y - base * *season;
                level = base + alpha * e / divisor;
                trend += alpha_beta * e / divisor;
                *season += gamma * e / divisor_base;
            } else {
                e = y - base - *season;
                level = base + alpha * e;
                trend += alpha_beta * e;
                *season += gamma * e;
            }
            sse += e * e;
            slot += 1;
            if slot == self.period {
                slot = 0;
            }
        }
        theta[LEVEL] = level;
        theta[TREND] = trend;
        if sse.is_nan() { f64::INFINITY } else { sse }
    }

    fn sse(&self, theta: &[f64]) -> f64 {
        self.run(&mut theta.to_vec())
    }

    /// Normal equations of the linearised errors at `theta`.
    fn linearise(&mut self, theta: &[f64]) {
        let p = self.p;
        for v in [&mut self.d_level, &mut self.d_trend, &mut self.d_season, &mut self.normal, &mut self.right]
        {
            v.fill(0.0);
        }
        self.d_level[LEVEL] = 1.0;
        self.d_trend[TREND] = 1.0;
        for j in 0..self.period {
            self.d_season[j * p + SEASON + j] = 1.0;
        }
        let (a, rho, g) = (alpha_of(theta[ALPHA]), theta[RHO], theta[GAMMA]);
        let gain = if self.trend { a * a * rho } else { 0.0 };
        let gamma = (1.0 - a) * g;
        let (mut level, mut trend) = (theta[LEVEL], theta[TREND]);
        let mut seasons = theta[SEASON..].to_vec();
        let mut slot = 0;
        for &y in self.values {
            let base = level + trend;
            let season = seasons[slot];
            let d_season = &mut self.d_season[slot * p..(slot + 1) * p];
            for i in 0..p {
                self.d_level[i] += self.d_trend[i]; // now the derivative of `base`
            }
            // Prediction f, error e; what the level learns from is e·into_level, the season e·into_season.
            let (e, into_level, into_season);
            if self.multiplicative {
                e = y - base * season;
                into_level = 1.0 / season.max(1e-9);
                into_season = 1.0 / base.max(self.least);
                for i in 0..p {
                    self.d_predicted[i] = self.d_level[i] * season + base * d_season[i];
                }
            } else {
                e = y - base - season;
                (into_level, into_season) = (1.0, 1.0);
                for i in 0..p {
                    self.d_predicted[i] = self.d_level[i] + d_season[i];
                }
            }
            for i in 0..p {
                let di = self.d_predicted[i];
                self.right[i] += di * e;
                if di != 0.0 {
                    let row = &mut self.normal[i * p..i * p + i + 1];
                    for (n, d) in row.iter_mut().zip(&self.d_predicted) {
                        *n += di * d;
                    }
                }
            }
            let (by_level, by_season) = (e * into_level, e * into_season);
            for i in 0..p {
                let de = -self.d_predicted[i];
                let (mut d_by_level, mut d_by_season) = (de * into_level, de * into_season);
                if self.multiplicative {
                    d_by_level -= by_level * into_level * d_season[i];
                    d_by_season -= by_season * into_season * self.d_level[i];
                }
                self.d_level[i] += a * d_by_level;
                self.d_trend[i] += gain * d_by_level;
                d_season[i] += gamma * d_by_season;
            }
            self.d_level[ALPHA] += by_level;
            if self.trend {
                self.d_trend[ALPHA] += 2.0 * a * rho * by_level;
                self.d_trend[RHO] += a * a * by_level;
            }
            d_season[ALPHA] -= g * by_season;
            d_season[GAMMA] += (1.0 - a) * by_season;
            level = base + a * by_level;
            trend += gain * by_level;
            seasons[slot] = season + gamma * by_season;
            slot += 1;
            if slot == self.period {
                slot = 0;
            }
        }
    }

    /// Solves the normal equations for the parameters `free` marks, damped by `lambda` relative to the diagonal.
    fn step(&mut self, free: &[bool], lambda: f64) -> Option<Vec<f64>> {
        let p = self.p;
        let largest = (0..p).filter(|&i| free[i]).map(|i| self.normal[i * p + i]).fold(0.0, f64::max);
        if largest <= 0.0 || !largest.is_finite() {
            return None;
        }
        let l = &mut self.factor;
        for i in 0..p {
            for j in 0..=i {
                let off = !free[i] || !free[j];
                let mut sum = match (i == j, off) {
                    (true, true) => 1.0,
                    (false, true) => 0.0,
                    (true, false) => {
                        let d = self.normal[i * p + i];
                        d * (1.0 + lambda) + 1e-11 * largest.min(1e6 * d) + f64::MIN_POSITIVE
                    }
                    (false, false) => self.normal[i * p + j],
                };
                let (ri, rj) = (i * p, j * p);
                for k in 0..j {
                    sum -= l[ri + k] * l[rj + k];
                }
                if i == j {
                    if sum.is_nan() || sum <= 0.0 {
                        return None;
                    }
                    l[ri + i] = sum.sqrt();
                } else {
                    l[ri + j] = sum / l[rj + j];
                }
            }
        }
        let mut x: Vec<f64> = (0..p).map(|i| if free[i] { self.right[i] } else { 0.0 }).collect();
        for i in 0..p {
            for k in 0..i {
                x[i] -= l[i * p + k] * x[k];
            }
            x[i] /= l[i * p + i];
        }
        for i in (0..p).rev() {
            for k in i + 1..p {
                x[i] -= l[k * p + i] * x[k];
            }
            x[i] /= l[i * p + i];
        }
        x.iter().all(|v| v.is_finite()).then_some(x)
    }

    fn bounded(&self, theta: &mut [f64]) {
        for v in &mut theta[..LEVEL] {
            *v = v.clamp(0.0, 1.0);
        }
        if self.multiplicative {
            theta[LEVEL] = theta[LEVEL].max(self.least);
            for s in &mut theta[SEASON..] {
                *s = s.max(1e-6);
            }
        }
    }

    /// One step on the states alone: exact for an additive season.
    fn solve_states(&mut self, theta: &mut Vec<f64>, free: &[bool]) -> f64 {
        let before = self.sse(theta);
        self.linearise(theta);
        let Some(step) = self.step(free, 0.0) else { return before };
        let mut scale = 1.0;
        for _ in 0..3 {
            let mut trial: Vec<f64> = theta.iter().zip(&step).map(|(t, s)| t + scale * s).collect();
            self.bounded(&mut trial);
            let after = self.sse(&trial);
            if after < before {
                *theta = trial;
                return after;
            }
            scale *= 0.3;
        }
        before
    }

    fn search(&mut self, first: Vec<f64>) -> (f64, Vec<f64>) {
        let states: Vec<bool> =
            (0..self.p).map(|i| i == LEVEL || i >= SEASON || (i == TREND && self.trend)).collect();
        let rhos: &[f64] = if self.trend { &[0.02, 0.3] } else { &[0.0] };
        let mut starts = Vec::new();
        for alpha in [0.03, 0.25, 0.7] {
            for &rho in rhos {
                for g in [0.02, 0.25] {
                    let mut theta = first.clone();
                    theta[..LEVEL].copy_from_slice(&[alpha, rho, g]);
                    let mut sse = self.solve_states(&mut theta, &states);
                    if self.multiplicative {
                        sse = self.solve_states(&mut theta, &states);
                    }
                    starts.push((sse, theta));
                }
            }
        }
        starts.sort_by(|a, b| a.0.total_cmp(&b.0));
        starts.truncate(4);
        let refined = starts.into_iter().map(|(sse, theta)| self.refine(sse, theta));
        refined.min_by(|a, b| a.0.total_cmp(&b.0)).unwrap_or((f64::INFINITY, first))
    }

    fn refine(&mut self, mut sse: f64, mut theta: Vec<f64>) -> (f64, Vec<f64>) {
        let mut lambda = 1e-3;
        for _ in 0..60 {
            self.linearise(&theta);
            let mut improved = false;
            while lambda < 1e8 {
                let free: Vec<bool> = (0..self.p)
                    .map(|i| match i {
                        RHO | TREND if !self.trend => false,
                        ALPHA | RHO | GAMMA => {
                            // `right` is the direction of descent.
                            !(theta[i] <= 0.0 && self.right[i] <= 0.0
                                || theta[i] >= 1.0 && self.right[i] >= 0.0)
                        }
                        _ => true,
                    })
                    .collect();
                let trial = self.step(&free, lambda).map(|step| {
                    let mut trial: Vec<f64> = theta.iter().zip(&step).map(|(t, s)| t + s).collect();
                    self.bounded(&mut trial);
                    trial
                });
                let after = trial.as_ref().map_or(f64::INFINITY, |t| self.sse(t));
                if let Some(trial) = trial
                    && after < sse
                {
                    improved = sse - after > 1e-6 * sse;
                    (theta, sse) = (trial, after);
                    lambda = (lambda * 0.2).max(1e-9);
                    break;
                }
                lambda *= 5.0;
            }
            if !improved {
                break;
            }
        }
        (sse, theta)
    }

    /// For long periods: smoothing parameters by [`super::search`], states as `first` has them.
    fn search_smoothing(&self, first: Vec<f64>) -> (f64, Vec<f64>) {
        let grid: Vec<[f64; 3]> =
            [0.08, 0.3, 0.6].iter().flat_map(|&a| [[a, 0.0, 0.1], [a, 0.3, 0.3], [a, 0.0, 0.5]]).collect();
        let mut theta = first;
        let start = theta.clone();
        let minimum = super::search::minimise::<3>(
            |points, out| {
                for (point, out) in points.iter().zip(out) {
                    theta.copy_from_slice(&start);
                    theta[..LEVEL].copy_from_slice(point);
                    *out = self.run(&mut theta);
                }
            },
            &grid,
            super::search::Effort { rounds: 4, tolerance: 1e-4, ..super::search::Effort::default() },
        );
        let mut best = start;
        best[..LEVEL].copy_from_slice(&minimum.at);
        (minimum.value, best)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_pure_season_on_a_line_is_explained_without_error() {
        let shape = [5.0, -3.0, 1.0, -3.0];
        let values: Vec<f64> = (0..40).map(|i| 20.0 + 0.5 * i as f64 + shape[i % 4]).collect();
        let fit = fit(&values, SeasonKind::Additive, true, 4).unwrap();
        assert!(fit.sse < 1e-9, "{fit:?}");
        let next = fit.level + fit.trend + fit.season[0];
        assert!((next - (20.0 + 0.5 * 40.0 + 5.0)).abs() < 1e-4, "{next}");
    }

    #[test]
    fn derivatives_agree_with_differences() {
        let values: Vec<f64> = (0..24)
            .map(|i| 50.0 + i as f64 + 10.0 * (i as f64 * 0.9).sin() + ((i * 37) % 7) as f64)
            .collect();
        for multiplicative in [false, true] {
            let mut problem = Problem::new(&values, multiplicative, true, 4);
            let mut theta = heuristic(&values, multiplicative, true, 4);
            theta[..3].copy_from_slice(&[0.4, 0.3, 0.2]);
            problem.linearise(&theta);
            for i in 0..theta.len() {
                let h = 1e-6 * theta[i].abs().max(0.1);
                let moved = |d: f64| {
                    let mut t = theta.clone();
                    t[i] += d;
                    problem.sse(&t)
                };
                let numeric = -(moved(h) - moved(-h)) / (4.0 * h);
                let exact = problem.right[i];
                assert!((numeric - exact).abs() < 1e-4 * exact.abs().max(1.0), "{i}: {numeric} {exact}");
            }
        }
    }

    #[test]
    fn what_can_not_be_fitted_is_not() {
        assert_eq!(fit(&[1.0; 7], SeasonKind::Additive, true, 4), None);
        let mut values = [2.0; 12];
        values[5] = 0.0;
        assert_eq!(fit(&values, SeasonKind::Multiplicative, true, 4), None);
        assert!(fit(&values, SeasonKind::Additive, true, 4).is_some());
    }
}
