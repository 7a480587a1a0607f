//! How do a model's errors depend on its parameters and initial states, and where are they smallest?
//!
//! The derivative of each state by each parameter obeys a recursion of its own; a season's slot moves only when its turn
//! comes. So a pass over n values costs O(n p) for the derivatives of p parameters and O(n p²) for the normal
//! equations, four rows at a time.

use super::{ALPHA, GAMMA, LEVEL, PHI, PHI_BOUNDS, RHO, SEASON, SMOOTHING_BOUNDS, Spec, TREND};
use crate::fit::linear::solve_positive;
use crate::fit::nonseasonal::TrendKind;
use crate::fit::seasonal::SeasonKind;

/// Rows of derivatives that are added to the normal equations at once.
const ROWS: usize = 4;

pub(super) struct Problem<'a> {
    pub(super) values: &'a [f64],
    pub(super) spec: Spec,
    pub(super) period: usize,
    /// The first `p` entries of the parameters are free; the others stay.
    p: usize,
    /// Divisors stay above this.
    pub(super) least: f64,
    pub(super) work: Work,
}

/// Derivatives and normal equations.
#[derive(Default)]
pub(super) struct Work {
    level: Vec<f64>,
    trend: Vec<f64>,
    pub(super) season: Vec<f64>,
    rows: Vec<f64>,
    pub(super) normal: Vec<f64>,
    pub(super) right: Vec<f64>,
    /// Mean relative derivative of the prediction, and the products of relative errors with derivatives.
    relative: Vec<f64>,
    pub(super) seasons: Vec<f64>,
    factor: Vec<f64>,
    step: Vec<f64>,
    /// The normal equations before those in use.
    previous: (Vec<f64>, Vec<f64>),
}

impl Work {
    /// Exchanges the normal equations with those before.
    fn swap(&mut self) {
        std::mem::swap(&mut self.normal, &mut self.previous.0);
        std::mem::swap(&mut self.right, &mut self.previous.1);
    }
}

pub(super) struct Model {
    pub(super) alpha: f64,
    /// What the trend takes of an error.
    pub(super) beta: f64,
    pub(super) gamma: f64,
    pub(super) phi: f64,
}

impl<'a> Problem<'a> {
    pub(super) fn new(values: &'a [f64], spec: Spec, period: usize, p: usize) -> Self {
        let largest = values.iter().fold(0.0, |a: f64, v| a.max(v.abs()));
        let least = largest * 1e-9 + f64::MIN_POSITIVE;
        Self { values, spec, period, p, least, work: Work::default() }
    }

    pub(super) fn model(&self, theta: &[f64]) -> Model {
        let alpha = theta[ALPHA];
        let (beta, phi) = match self.spec.trend {
            TrendKind::None => (0.0, 0.0),
            TrendKind::Additive => (alpha * theta[RHO], 1.0),
            TrendKind::Damped => (alpha * theta[RHO], theta[PHI]),
        };
        let gamma = if self.spec.season.is_some() { (1.0 - alpha) * theta[GAMMA] } else { 0.0 };
        Model { alpha, beta, gamma, phi }
    }

    /// Runs the recursion over the window, leaves the final state in `theta`, returns what is to be minimised.
    pub(super) fn run(&self, theta: &mut [f64]) -> f64 {
        let m = self.model(theta);
        let multiplicative = self.spec.season == Some(SeasonKind::Multiplicative);
        let (mut level, mut trend) = (theta[LEVEL], if m.phi > 0.0 { theta[TREND] } else { 0.0 });
        let seasons = &mut theta[SEASON..];
        // The product of predictions, renormalised now and then: a logarithm per value would cost as much as the rest.
        let (mut sse, mut product, mut log) = (0.0, 1.0f64, 0.0);
        let mut slot = 0;
        for &y in self.values {
            let slope = m.phi * trend;
            let base = level + slope;
            let e;
            let predicted;
            if self.period == 0 {
                predicted = base;
                e = y - predicted;
                level = base + m.alpha * e;
                trend = slope + m.beta * e;
            } else {
                let season = &mut seasons[slot];
                if multiplicative {
                    predicted = base * *season;
                    e = y - predicted;
                    let into_level = e / season.max(1e-9);
                    level = base + m.alpha * into_level;
                    trend = slope + m.beta * into_level;
                    *season += m.gamma * e / base.max(self.least);
                } else {
                    predicted = base + *season;
                    e = y - predicted;
                    level = base + m.alpha * e;
                    trend = slope + m.beta * e;
                    *season += m.gamma * e;
                }
                slot += 1;
                if slot == self.period {
                    slot = 0;
                }
            }
            if self.spec.multiplicative_error {
                if predicted <= self.least {
                    return f64::INFINITY;
                }
                let u = e / predicted;
                sse += u * u;
                product *= predicted;
                if !(1e-200..1e200).contains(&product) {
                    log += product.ln();
                    product = 1.0;
                }
            } else {
                sse += e * e;
            }
        }
        theta[LEVEL] = level;
        theta[TREND] = trend;
        if self.spec.multiplicative_error {
            sse *= (2.0 * (log + product.ln()) / self.values.len() as f64).exp();
        }
        if sse.is_nan() { f64::INFINITY } else { sse }
    }

    fn objective(&mut self, theta: &[f64]) -> f64 {
        let mut seasons = std::mem::take(&mut self.work.seasons);
        seasons.clear();
        seasons.extend_from_slice(theta);
        let value = self.run(&mut seasons);
        self.work.seasons = seasons;
        value
    }

    /// Normal equations of the linearised residuals at `theta`; `right` is the direction of descent. Returns the sum of
    /// squared residuals, relative ones as they are, without the factor that makes them a likelihood.
    fn linearise(&mut self, theta: &[f64]) -> f64 {
        let (p, period) = (self.p, self.period);
        let m = self.model(theta);
        let Work {
            level: d_level,
            trend: d_trend,
            season: d_season,
            rows,
            normal,
            right,
            relative,
            seasons,
            ..
        } = &mut self.work;
        for (v, len) in [
            (&mut *d_level, p),
            (&mut *d_trend, p),
            (&mut *d_season, p * period),
            (&mut *rows, ROWS * p),
            (&mut *normal, p * p),
            (&mut *right, p),
            (&mut *relative, p),
        ] {
            v.clear();
            v.resize(len, 0.0);
        }
        let trended = m.phi > 0.0;
        d_level[LEVEL] = 1.0;
        if trended {
            d_trend[TREND] = 1.0;
        }
        for j in 0..period.min(p - SEASON.min(p)) {
            d_season[j * p + SEASON + j] = 1.0;
        }
        seasons.clear();
        seasons.extend_from_slice(&theta[SEASON..]);
        let (rho, share) = (theta[RHO], theta[GAMMA]);
        let damped = self.spec.trend == TrendKind::Damped;
        let multiplicative = self.spec.season == Some(SeasonKind::Multiplicative);
        let relative_error = self.spec.multiplicative_error;
        let (mut level, mut trend) = (theta[LEVEL], if trended { theta[TREND] } else { 0.0 });
        let (mut slot, mut filled, mut squares) = (0, 0, 0.0);
        for &y in self.values {
            let slope = m.phi * trend;
            let base = level + slope;
            // From here the level's derivatives are those of `base`, the trend's those of `slope`.
            if trended {
                for i in 0..p {
                    d_trend[i] *= m.phi;
                }
                if damped {
                    d_trend[PHI] += trend;
                }
                for i in 0..p {
                    d_level[i] += d_trend[i];
                }
            }
            let row = &mut rows[filled * p..(filled + 1) * p];
            let season = if period > 0 { seasons[slot] } else { 0.0 };
            let own = &mut d_season[slot * p..][..if period > 0 { p } else { 0 }];
            let predicted;
            if period == 0 {
                predicted = base;
                row.copy_from_slice(d_level);
            } else if multiplicative {
                predicted = base * season;
                for i in 0..p {
                    row[i] = d_level[i] * season + base * own[i];
                }
            } else {
                predicted = base + season;
                for i in 0..p {
                    row[i] = d_level[i] + own[i];
                }
            }
            let e = y - predicted;
            // States learn from e by these factors.
            let (into_level, into_season) = if multiplicative {
                (1.0 / season.max(1e-9), 1.0 / base.max(self.least))
            } else {
                (1.0, 1.0)
            };
            let (by_level, by_season) = (e * into_level, e * into_season);
            for i in 0..p {
                let mut d = -row[i] * into_level;
                if multiplicative {
                    d -= by_level * into_level * own[i];
                    // Uses the derivative of `base`, so before the level is updated.
                    own[i] += m.gamma * (-row[i] * into_season - by_season * into_season * d_level[i]);
                }
                d_level[i] += m.alpha * d;
                if trended {
                    d_trend[i] += m.beta * d;
                }
            }
            if period > 0 {
                if !multiplicative {
                    for i in 0..p {
                        own[i] -= m.gamma * row[i];
                    }
                }
                own[ALPHA] -= share * by_season;
                own[GAMMA] += (1.0 - m.alpha) * by_season;
                seasons[slot] = season + m.gamma * by_season;
            }
            d_level[ALPHA] += by_level;
            if trended {
                d_trend[ALPHA] += rho * by_level;
                d_trend[RHO] += m.alpha * by_level;
            }
            level = base + m.alpha * by_level;
            trend = slope + m.beta * by_level;
            slot += 1;
            if slot >= period {
                slot = 0;
            }
            // The row becomes that of the residual.
            let residual = if relative_error {
                let inverse = 1.0 / predicted.max(self.least);
                let u = e * inverse;
                for i in 0..p {
                    relative[i] += row[i] * inverse;
                    row[i] *= -y * inverse * inverse;
                }
                u
            } else {
                for v in row.iter_mut() {
                    *v = -*v;
                }
                e
            };
            squares += residual * residual;
            for i in 0..p {
                right[i] -= row[i] * residual;
            }
            filled += 1;
            if filled == ROWS {
                add_rows(normal, rows, p);
                filled = 0;
            }
        }
        rows[filled * p..].fill(0.0);
        add_rows(normal, rows, p);
        if relative_error {
            // J = du + u g with the mean relative derivative g; `right` is −Σ u du so far.
            let n = self.values.len() as f64;
            relative.iter_mut().for_each(|g| *g /= n);
            for i in 0..p {
                for j in 0..=i {
                    normal[i * p + j] +=
                        squares * relative[i] * relative[j] - right[i] * relative[j] - relative[i] * right[j];
                }
            }
            for i in 0..p {
                right[i] -= squares * relative[i];
            }
        }
        squares
    }

    /// Which parameters may move: those of the model, not pressed against a bound.
    fn free(&self, theta: &[f64], i: usize) -> bool {
        let trended = self.spec.trend != TrendKind::None;
        let used = match i {
            RHO | TREND => trended,
            PHI => self.spec.trend == TrendKind::Damped,
            GAMMA => self.spec.season.is_some(),
            _ => true,
        };
        let Some((low, high)) = bounds(i) else { return used };
        let down = self.work.right[i];
        used && !(theta[i] <= low && down <= 0.0 || theta[i] >= high && down >= 0.0)
    }

    /// Solves the normal equations damped by `lambda` into `work.step`. A parameter whose step would cross a bound goes just
    /// there, and the others are solved again knowing it: cutting the joint step instead stalls along bounds.
    fn solve(&mut self, theta: &[f64], free: &[bool], lambda: f64) -> bool {
        let mut held: [Option<f64>; LEVEL] = [None; LEVEL];
        for _ in 0..=LEVEL {
            if !self.solve_holding(free, lambda, &held) {
                return false;
            }
            let mut crossed = false;
            for i in 0..LEVEL {
                let Some((low, high)) = bounds(i).filter(|_| free[i] && held[i].is_none()) else { continue };
                let to = theta[i] + self.work.step[i];
                if to < low || to > high {
                    held[i] = Some(to.clamp(low, high) - theta[i]);
                    crossed = true;
                }
            }
            if !crossed {
                break;
            }
        }
        true
    }

    fn solve_holding(&mut self, free: &[bool], lambda: f64, held: &[Option<f64>; LEVEL]) -> bool {
        let p = self.p;
        let Work { normal, right, factor, step, .. } = &mut self.work;
        let largest = (0..p).filter(|&i| free[i]).map(|i| normal[i * p + i]).fold(0.0, f64::max);
        if largest <= 0.0 || !largest.is_finite() {
            return false;
        }
        factor.clear();
        factor.extend_from_slice(normal);
        step.clear();
        for i in 0..p {
            step.push(if free[i] { right[i] } else { 0.0 });
        }
        for (i, by) in held.iter().enumerate() {
            if let Some(by) = by {
                for j in 0..p {
                    let entry = normal[i.max(j) * p + i.min(j)];
                    step[j] -= entry * by;
                }
            }
        }
        for i in 0..p {
            let known = held.get(i).copied().flatten();
            if !free[i] || known.is_some() {
                (0..i).for_each(|j| factor[i * p + j] = 0.0);
                (i..p).for_each(|j| factor[j * p + i] = 0.0);
                factor[i * p + i] = 1.0;
                step[i] = known.unwrap_or(0.0);
                continue;
            }
            let d = normal[i * p + i];
            // Level and season share a degree of freedom; a trace of damping picks the nearest solution.
            factor[i * p + i] = d * (1.0 + lambda) + 1e-11 * largest.min(1e6 * d) + f64::MIN_POSITIVE;
        }
        solve_positive(factor, step)
    }

    fn bounded(&self, theta: &mut [f64]) {
        for (i, v) in theta.iter_mut().enumerate().take(LEVEL) {
            if let Some((low, high)) = bounds(i) {
                *v = v.clamp(low, high);
            }
        }
        if self.spec.needs_positive() {
            theta[LEVEL] = theta[LEVEL].max(self.least);
        }
        if self.spec.season == Some(SeasonKind::Multiplicative) {
            theta[SEASON..].iter_mut().for_each(|s| *s = s.max(1e-6));
        }
    }

    /// Levenberg-Marquardt from `theta` to the nearest minimum; returns its value.
    pub(super) fn refine(&mut self, theta: &mut Vec<f64>, rounds: usize, tolerance: f64) -> f64 {
        // Derivatives by few parameters come with the value; those by many are made where they are needed.
        let few = self.p == SEASON;
        self.bounded(theta);
        let mut value = if few { self.linearise_smoothing(theta) } else { self.objective(theta) };
        if !value.is_finite() {
            return value;
        }
        let mut lambda = 1e-3;
        let mut trial = theta.clone();
        let mut free = vec![false; self.p];
        for _ in 0..rounds {
            if !few {
                self.linearise(theta);
            }
            for i in 0..self.p {
                free[i] = self.free(theta, i);
            }
            let before = value;
            let mut moved = false;
            while lambda < 1e8 {
                if self.solve(theta, &free, lambda) {
                    trial.copy_from_slice(theta);
                    for (t, s) in trial.iter_mut().zip(&self.work.step) {
                        *t += s;
                    }
                    self.bounded(&mut trial);
                    let after = if few {
                        self.work.swap();
                        self.linearise_smoothing(&trial)
                    } else {
                        self.objective(&trial)
                    };
                    if after < value {
                        std::mem::swap(theta, &mut trial);
                        value = after;
                        lambda = (lambda * 0.2).max(1e-9);
                        moved = true;
                        break;
                    }
                    if few {
                        self.work.swap();
                    }
                }
                lambda *= 5.0;
            }
            if !moved || before - value <= tolerance * before {
                break;
            }
        }
        value
    }
}

fn bounds(i: usize) -> Option<(f64, f64)> {
    match i {
        ALPHA | RHO | GAMMA => Some(SMOOTHING_BOUNDS),
        PHI => Some(PHI_BOUNDS),
        _ => None,
    }
}

/// Adds the outer products of [`ROWS`] rows to the lower triangle.
fn add_rows(normal: &mut [f64], rows: &[f64], p: usize) {
    let (a, rest) = rows.split_at(p);
    let (b, rest) = rest.split_at(p);
    let (c, d) = rest.split_at(p);
    for i in 0..p {
        let (ai, bi, ci, di) = (a[i], b[i], c[i], d[i]);
        let out = &mut normal[i * p..i * p + i + 1];
        for ((((n, a), b), c), d) in out.iter_mut().zip(a).zip(b).zip(c).zip(d) {
            *n += ai * a + bi * b + ci * c + di * d;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn derivatives_agree_with_differences() {
        let values: Vec<f64> = (0..24)
            .map(|i| 50.0 + i as f64 + 10.0 * (i as f64 * 0.9).sin() + ((i * 37) % 7) as f64)
            .collect();
        for season in [None, Some(SeasonKind::Additive), Some(SeasonKind::Multiplicative)] {
            for multiplicative_error in [false, true] {
                let spec = Spec { multiplicative_error, trend: TrendKind::Damped, season };
                let period = if season.is_some() { 4 } else { 0 };
                let mut theta = vec![0.4, 0.3, 0.2, 0.9, 48.0, 0.7];
                let unit = if season == Some(SeasonKind::Multiplicative) { 1.0 } else { 0.0 };
                theta.extend((0..period).map(|j| unit + 0.1 * j as f64));
                for p in [SEASON, theta.len()] {
                    let mut problem = Problem::new(&values, spec, period, p);
                    let squares = problem.linearise(&theta);
                    let value = problem.objective(&theta);
                    if p == SEASON {
                        let together = problem.linearise_smoothing(&theta);
                        assert!((together - value).abs() < 1e-12 * value, "{}", spec.name());
                    }
                    for i in 0..p {
                        if i == GAMMA && period == 0 {
                            continue;
                        }
                        let h = 1e-6 * theta[i].abs().max(0.1);
                        let mut moved = |d: f64| {
                            let mut t = theta.clone();
                            t[i] += d;
                            problem.objective(&t)
                        };
                        let numeric = -(moved(h) - moved(-h)) / (4.0 * h);
                        let exact = problem.work.right[i] * value / squares;
                        let tolerance = 1e-4 * exact.abs().max(1e-3 * value);
                        assert!(
                            (numeric - exact).abs() < tolerance,
                            "{} {i}: {numeric} {exact}",
                            spec.name()
                        );
                    }
                }
            }
        }
    }

    #[test]
    fn the_code_for_each_kind_agrees_with_the_code_for_all() {
        let values: Vec<f64> = (0..24)
            .map(|i| 50.0 + i as f64 + 10.0 * (i as f64 * 0.9).sin() + ((i * 37) % 7) as f64)
            .collect();
        for spec in super::super::select::admissible(&values, 4) {
            let mut theta = vec![0.4, 0.3, 0.2, 0.9, 48.0, 0.7];
            let period = if spec.season.is_some() { 4 } else { 0 };
            let unit = if spec.season == Some(SeasonKind::Multiplicative) { 1.0 } else { 0.0 };
            theta.extend((0..period).map(|j| unit + 0.1 * j as f64));
            let mut problem = Problem::new(&values, spec, period, SEASON);
            problem.linearise_smoothing(&theta);
            let special = (problem.work.normal.clone(), problem.work.right.clone());
            let b = problem.linearise(&theta);
            let used: Vec<usize> = (0..SEASON).filter(|&i| special.0[i * SEASON + i] != 0.0).collect();
            assert!(used.len() >= 2);
            for &i in &used {
                let unit = problem.work.normal[i * SEASON + i].sqrt();
                let error = (special.1[i] - problem.work.right[i]).abs();
                assert!(error < 1e-9 * unit * b.sqrt(), "{} {i}", spec.name());
                for &j in used.iter().filter(|j| **j <= i) {
                    let unit = unit * problem.work.normal[j * SEASON + j].sqrt();
                    let at = i * SEASON + j;
                    assert!(
                        (special.0[at] - problem.work.normal[at]).abs() < 1e-9 * unit,
                        "{} {i} {j}",
                        spec.name()
                    );
                }
            }
        }
    }
}
