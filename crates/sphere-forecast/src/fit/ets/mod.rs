//! Which exponential smoothing model, additive or multiplicative in error and season, explains a window best?
//!
//! Maximum likelihood of the innovations state space models of Hyndman, Koehler, Ord & Snyder (*Forecasting with
//! Exponential Smoothing*, 2008, chapters 2 and 5): smoothing parameters and initial states together. In
//! error-correction form the recursion does not depend on the kind of error, only the likelihood does: `n ln Σ e²` with
//! an additive error, `n ln Σ (e/ŷ)² + 2 Σ ln |ŷ|` with a multiplicative one. The second, too, is the logarithm
//! of a sum of squares, of relative errors scaled by the geometric mean of ŷ; so both are minimised by
//! Levenberg-Marquardt with exact derivatives (forward sensitivities, see [`super::seasonal`]).
//!
//! Bounds are those of the forecast package and of statsforecast: α, β/α and γ/(1 − α) in [0.0001, 0.9999], φ in [0.8, 0.98].
//! [`select`] chooses the model.

mod gradient;
pub mod select;
mod smoothing;

use super::nonseasonal::{self, TrendKind};
use super::seasonal::{self, LONGEST_FULL_PERIOD, SeasonKind};
use gradient::Problem;
use serde::{Deserialize, Serialize};

/// Error, trend and season of a model.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Spec {
    /// Errors grow with the expected value.
    pub multiplicative_error: bool,
    /// Trend.
    pub trend: TrendKind,
    /// Season.
    pub season: Option<SeasonKind>,
}

impl Spec {
    /// Smoothing parameters and initial states that are estimated; the season's states sum to a constant.
    pub fn parameters(self, period: usize) -> usize {
        let trend = match self.trend {
            TrendKind::None => 0,
            TrendKind::Additive => 2,
            TrendKind::Damped => 3,
        };
        2 + trend + if self.season.is_some() { period } else { 0 }
    }

    /// Do its formulas divide by values, so that they must be positive?
    pub fn needs_positive(self) -> bool {
        self.multiplicative_error || self.season == Some(SeasonKind::Multiplicative)
    }

    /// Short form: `ANN`, `MAdM`, …
    pub fn name(self) -> String {
        let error = if self.multiplicative_error { "M" } else { "A" };
        let trend = match self.trend {
            TrendKind::None => "N",
            TrendKind::Additive => "A",
            TrendKind::Damped => "Ad",
        };
        let season = match self.season {
            None => "N",
            Some(SeasonKind::Additive) => "A",
            Some(SeasonKind::Multiplicative) => "M",
        };
        format!("{error}{trend}{season}")
    }
}

/// A fitted model and the state the window ends in.
#[derive(Clone, Debug, PartialEq)]
pub struct Fit {
    /// Model.
    pub spec: Spec,
    /// Smoothing of the level.
    pub alpha: f64,
    /// Smoothing of the trend: what the trend takes of an error (αβ* in the books' other form).
    pub beta: f64,
    /// Smoothing of the season.
    pub gamma: f64,
    /// Damping; 1 when not damped, 0 without a trend.
    pub phi: f64,
    /// Level, trend, and season of the coming step and those after it (empty without one), after the last value.
    pub level: f64,
    /// See `level`.
    pub trend: f64,
    /// See `level`.
    pub season: Vec<f64>,
    /// Log-likelihood, constants included.
    pub log_likelihood: f64,
    /// Akaike's criterion, corrected for small samples.
    pub aicc: f64,
}

/// Fits `values`. `period` is that of the season and of no consequence without one. `None` for fewer than four values or
/// two periods, and when a value is not positive where it must be.
pub fn fit(values: &[f64], spec: Spec, period: usize) -> Option<Fit> {
    let mut found = Candidate::begin_all(values, spec, period, Depth::Thorough, None);
    // Starts that led to the same minimum.
    found.dedup_by(|a, b| (a.objective - b.objective).abs() < 1e-7 * b.objective);
    let polished = found.into_iter().map(|c| c.polish(values, Depth::Thorough));
    let best = polished.min_by(|a, b| a.objective.total_cmp(&b.objective))?;
    Some(best.finish(values))
}

/// As [`fit`], from the likeliest start alone: a tenth of the time, now and then a local optimum.
pub fn fit_quickly(values: &[f64], spec: Spec, period: usize) -> Option<Fit> {
    let found = Candidate::begin(values, spec, period, None)?;
    Some(found.polish(values, Depth::Quick).finish(values))
}

/// How hard to search.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Depth {
    /// As far as a comparison of models needs.
    Rank,
    /// From the likeliest starting point.
    Quick,
    /// From several.
    Thorough,
}

/// Offsets of the parameters: α, β/α, γ/(1 − α), φ, level, trend, season.
pub(crate) const ALPHA: usize = 0;
pub(crate) const RHO: usize = 1;
pub(crate) const GAMMA: usize = 2;
pub(crate) const PHI: usize = 3;
pub(crate) const LEVEL: usize = 4;
pub(crate) const TREND: usize = 5;
pub(crate) const SEASON: usize = 6;

/// Bounds of α, β/α, γ/(1 − α), and of φ.
pub(crate) const SMOOTHING_BOUNDS: (f64, f64) = (1e-4, 0.9999);
pub(crate) const PHI_BOUNDS: (f64, f64) = (0.8, 0.98);

/// A model on its way to its optimum.
#[derive(Clone, Debug)]
pub(crate) struct Candidate {
    pub(crate) spec: Spec,
    period: usize,
    theta: Vec<f64>,
    /// What maximum likelihood minimises: sum of squares, times the square of the geometric mean of ŷ with a
    /// multiplicative error.
    objective: f64,
}

impl Candidate {
    /// From the likeliest start. `known` is a fit with the same trend, without season and with an additive error.
    pub(crate) fn begin(
        values: &[f64],
        spec: Spec,
        period: usize,
        known: Option<nonseasonal::Fit>,
    ) -> Option<Self> {
        Self::begin_all(values, spec, period, Depth::Quick, known).into_iter().next()
    }

    /// Smoothing parameters, level and trend estimated from several starts, best first; the season as the first
    /// periods show it.
    fn begin_all(
        values: &[f64],
        spec: Spec,
        period: usize,
        depth: Depth,
        known: Option<nonseasonal::Fit>,
    ) -> Vec<Self> {
        let period = if spec.season.is_some() { period } else { 0 };
        let n = values.len();
        if n < 4
            || (spec.season.is_some() && (period < 2 || n < 2 * period))
            || (spec.needs_positive() && values.iter().any(|&v| v <= 0.0))
        {
            return Vec::new();
        }
        let has_trend = spec.trend != TrendKind::None;
        let mut theta = vec![0.3, 0.1, 0.1, 0.9, 0.0, 0.0];
        let mut starts: Vec<[f64; 4]> = Vec::new();
        if let Some(kind) = spec.season {
            let states = seasonal::heuristic(values, kind == SeasonKind::Multiplicative, has_trend, period);
            // Its level, trend and season follow three smoothing parameters.
            theta.truncate(LEVEL);
            theta.extend_from_slice(&states[3..]);
            starts.extend([[0.3, 0.1, 0.1, 0.95], [0.03, 0.05, 0.03, 0.97]]);
            if depth == Depth::Thorough {
                starts.extend([[0.8, 0.1, 0.3, 0.9], [0.3, 0.02, 0.6, 0.95], [0.7, 0.6, 0.02, 0.85]]);
                starts.extend([[0.002, 0.5, 0.002, 0.9], [0.1, 0.9, 0.002, 0.8], [0.5, 0.9, 0.05, 0.97]]);
                // States that never move have basins of their own.
                starts.extend([[1e-4, 1e-4, 1e-4, 0.8], [1e-4, 1e-4, 1e-4, 0.93], [1e-4, 0.5, 0.3, 0.98]]);
            }
        } else {
            let Some(known) = known.or_else(|| nonseasonal::fit(values, spec.trend)) else {
                return Vec::new();
            };
            let rho = if known.alpha > 0.0 { known.beta / known.alpha } else { 0.0 };
            theta[LEVEL] = known.initial_level;
            theta[TREND] = known.initial_trend;
            starts.push([known.alpha, rho, 0.1, known.phi]);
            if depth == Depth::Thorough {
                starts.extend([[0.05, 0.02, 0.1, 0.97], [0.4, 0.1, 0.1, 0.9], [0.9, 0.4, 0.1, 0.82]]);
                starts.extend([[0.01, 0.9, 0.1, 0.8], [0.2, 0.9, 0.1, 0.98]]);
            }
        }
        let mut problem = Problem::new(values, spec, period, SEASON.min(theta.len()));
        let mut found: Vec<Self> = Vec::with_capacity(starts.len());
        if depth == Depth::Quick && starts.len() > 1 {
            let value = |start: &[f64; 4]| {
                let mut trial = theta.clone();
                trial[..LEVEL].copy_from_slice(start);
                problem.run(&mut trial)
            };
            starts.sort_by_cached_key(|start| value(start).to_bits());
            starts.truncate(1);
        }
        for start in starts {
            let mut trial = theta.clone();
            trial[..LEVEL].copy_from_slice(&start);
            let (rounds, tolerance) = if depth == Depth::Quick { (12, 1e-4) } else { (60, 1e-6) };
            let objective = problem.refine(&mut trial, rounds, tolerance);
            if objective.is_finite() {
                found.push(Self { spec, period, theta: trial, objective });
            }
        }
        found.sort_by(|a, b| a.objective.total_cmp(&b.objective));
        found
    }

    /// As the start of a model that differs in its error alone.
    fn as_known(&self) -> nonseasonal::Fit {
        let (alpha, rho) = (self.theta[ALPHA], self.theta[RHO]);
        let (level, trend) = (self.theta[LEVEL], self.theta[TREND]);
        nonseasonal::Fit {
            alpha,
            beta: alpha * rho,
            phi: self.theta[PHI],
            initial_level: level,
            initial_trend: trend,
            level,
            trend,
            sse: self.objective,
        }
    }

    /// Everything estimated, the season's initial states too, where that is not too much.
    pub(crate) fn polish(mut self, values: &[f64], depth: Depth) -> Self {
        if self.period > 0 && self.period <= LONGEST_FULL_PERIOD {
            let mut problem = Problem::new(values, self.spec, self.period, self.theta.len());
            let (rounds, tolerance) = match depth {
                Depth::Rank => (8, 5e-4),
                Depth::Quick => (20, 1e-5),
                Depth::Thorough => (80, 1e-8),
            };
            self.objective = problem.refine(&mut self.theta, rounds, tolerance);
        }
        self
    }

    /// The model that was chosen: what is estimated quickly goes the rest of the way.
    pub(crate) fn settle(mut self, values: &[f64]) -> Self {
        if self.period == 0 {
            let mut problem = Problem::new(values, self.spec, 0, SEASON);
            self.objective = problem.refine(&mut self.theta, 12, 1e-6);
            return self;
        }
        self.polish(values, Depth::Quick)
    }

    pub(crate) fn log_likelihood(&self, n: usize) -> f64 {
        let n = n as f64;
        -0.5 * n * ((2.0 * std::f64::consts::PI * self.objective.max(f64::MIN_POSITIVE) / n).ln() + 1.0)
    }

    pub(crate) fn aicc(&self, n: usize) -> f64 {
        // The variance counts, too.
        let k = self.spec.parameters(self.period) as f64 + 1.0;
        -2.0 * self.log_likelihood(n) + 2.0 * k + 2.0 * k * (k + 1.0) / (n as f64 - k - 1.0).max(0.5)
    }

    pub(crate) fn finish(self, values: &[f64]) -> Fit {
        let n = values.len();
        let (log_likelihood, aicc) = (self.log_likelihood(n), self.aicc(n));
        let (alpha, rho) = (self.theta[ALPHA], self.theta[RHO]);
        let (gamma, phi) = ((1.0 - alpha) * self.theta[GAMMA], self.theta[PHI]);
        let mut state = self.theta;
        Problem::new(values, self.spec, self.period, SEASON).run(&mut state);
        let mut season = state.split_off(SEASON);
        if self.period > 0 {
            season.rotate_left(n % self.period);
        }
        let (has_trend, phi) = match self.spec.trend {
            TrendKind::None => (false, 0.0),
            TrendKind::Additive => (true, 1.0),
            TrendKind::Damped => (true, phi),
        };
        Fit {
            spec: self.spec,
            alpha,
            beta: if has_trend { alpha * rho } else { 0.0 },
            gamma: if self.spec.season.is_some() { gamma } else { 0.0 },
            phi,
            level: state[LEVEL],
            trend: if has_trend { state[TREND] } else { 0.0 },
            season,
            log_likelihood,
            aicc,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_can_not_be_fitted_is_not() {
        let spec =
            Spec { multiplicative_error: true, trend: TrendKind::None, season: Some(SeasonKind::Additive) };
        assert_eq!(fit(&[1.0; 7], spec, 4), None);
        let mut values = [2.0; 12];
        values[5] = 0.0;
        assert_eq!(fit(&values, spec, 4), None);
        assert!(fit(&values, Spec { multiplicative_error: false, ..spec }, 4).is_some());
    }

    #[test]
    fn a_growing_season_is_continued() {
        let value = |i: usize| (50.0 + i as f64) * [1.3, 0.9, 0.6, 1.2][i % 4];
        let values: Vec<f64> = (0..40).map(value).collect();
        let spec = Spec {
            multiplicative_error: true,
            trend: TrendKind::Additive,
            season: Some(SeasonKind::Multiplicative),
        };
        let fit = fit(&values, spec, 4).unwrap();
        let next = (fit.level + fit.trend) * fit.season[0];
        assert!((next - value(40)).abs() < 0.05, "{next} {} {fit:?}", value(40));
    }
}
