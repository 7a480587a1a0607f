//! Which theta line explains a window best?
//!
//! The theta method (Assimakopoulos & Nikolopoulos, *Int. J. Forecasting* 16, 2000) in the state-space form of Fiorucci,
//! Pellegrini, Louzada, Petropoulos & Koehler (*Models for optimising the theta method and their relationship to state space
//! models*, Int. J. Forecasting 32, 2016): simple smoothing with parameter α of the series plus a share ω = 1 − 1/θ of
//! its regression line. Four kinds: the line of the whole window or one that moves with the data (dynamic), ω given (θ = 2) or
//! estimated.
//!
//! For a given α the one-step errors are linear in ω and in the initial level, so both are solved for exactly and
//! only α is searched. α lies in [0.1, 0.99], θ in [1, ∞), and the first three errors do not count, as in statsforecast.

use super::search::{Effort, minimise};
use serde::{Deserialize, Serialize};

/// Errors at the start that do not count.
const WARM_UP: usize = 3;
const ALPHA_BOUNDS: (f64, f64) = (0.1, 0.99);
/// ω of an unbounded θ is 1; a little less keeps θ a number.
const LARGEST_OMEGA: f64 = 1.0 - 1e-10;

/// Is the line moving, and is its share estimated?
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum ThetaKind {
    /// Standard: θ = 2, the line of the window (STM).
    Standard,
    /// θ estimated (OTM).
    Optimised,
    /// θ = 2, a moving line (DSTM).
    DynamicStandard,
    /// θ estimated, a moving line (DOTM).
    DynamicOptimised,
}

impl ThetaKind {
    /// All of them.
    pub const ALL: [Self; 4] =
        [Self::Standard, Self::Optimised, Self::DynamicStandard, Self::DynamicOptimised];

    fn dynamic(self) -> bool {
        matches!(self, Self::DynamicStandard | Self::DynamicOptimised)
    }

    fn optimised(self) -> bool {
        matches!(self, Self::Optimised | Self::DynamicOptimised)
    }
}

/// Parameters and running state.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ThetaState {
    /// Kind.
    pub kind: ThetaKind,
    /// Smoothing of the level.
    pub alpha: f64,
    /// Share of the line, 1 − 1/θ.
    pub omega: f64,
    level: f64,
    /// Mean of all values so far.
    mean: f64,
    /// Intercept and slope of the line.
    intercept: f64,
    slope: f64,
    /// Values so far, and (1 − α) to that power.
    count: f64,
    decay: f64,
}

impl ThetaState {
    /// Before the second value. The line is that of the window, or, when it moves, the first value.
    fn new(kind: ThetaKind, alpha: f64, omega: f64, initial: f64, first: f64, line: (f64, f64)) -> Self {
        let (intercept, slope) = if kind.dynamic() { (first, 0.0) } else { line };
        Self {
            kind,
            alpha,
            omega,
            level: alpha * first + (1.0 - alpha) * initial,
            mean: first,
            intercept,
            slope,
            count: 1.0,
            decay: 1.0 - alpha,
        }
    }

    /// What the line adds to the coming value per unit of ω.
    fn lift(&self) -> f64 {
        self.intercept * self.decay + self.slope * (1.0 - self.decay * (1.0 - self.alpha)) / self.alpha
    }

    /// Expected value of the coming step.
    pub fn expected(&self) -> f64 {
        self.level + self.omega * self.lift()
    }

    /// Takes one value.
    pub fn update(&mut self, value: f64) {
        let (before, i) = (self.mean, self.count);
        self.level += self.alpha * (value - self.level);
        self.mean = (i * before + value) / (i + 1.0);
        if self.kind.dynamic() {
            self.slope = ((i - 1.0) * self.slope + 6.0 * (value - before) / (i + 1.0)) / (i + 2.0);
            self.intercept = self.mean - self.slope * (i + 2.0) / 2.0;
        }
        self.count += 1.0;
        self.decay *= 1.0 - self.alpha;
    }

    /// Expected values of the coming steps: each is taken as seen for the next.
    pub fn path(&self, out: &mut [f64]) {
        let mut state = *self;
        for v in out {
            *v = state.expected();
            state.update(*v);
        }
    }
}

/// A fitted model.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Fit {
    /// Parameters and the state the window ends in.
    pub state: ThetaState,
    /// Mean squared one-step error, the first three left out.
    pub mse: f64,
}

/// The best of all kinds by mean squared error; `None` for fewer than six values.
pub fn select(values: &[f64]) -> Option<Fit> {
    let fits = ThetaKind::ALL.into_iter().filter_map(|kind| fit(values, kind));
    fits.min_by(|a, b| a.mse.total_cmp(&b.mse))
}

/// Fits `values`; `None` for fewer than six.
pub fn fit(values: &[f64], kind: ThetaKind) -> Option<Fit> {
    if values.len() < WARM_UP + 3 {
        return None;
    }
    let line = line(values);
    let alpha_of = |t: f64| ALPHA_BOUNDS.0 + t * (ALPHA_BOUNDS.1 - ALPHA_BOUNDS.0);
    let grid: [[f64; 1]; 8] = [[0.0], [0.12], [0.25], [0.4], [0.55], [0.7], [0.85], [1.0]];
    let minimum = minimise::<1>(
        |points, out| {
            for (point, out) in points.iter().zip(out) {
                *out = solve(values, kind, alpha_of(point[0]), line).0;
            }
        },
        &grid,
        Effort { starts: 2, rounds: 20, tolerance: 1e-8, ..Effort::default() },
    );
    let alpha = alpha_of(minimum.at[0]);
    let (_, omega, initial) = solve(values, kind, alpha, line);
    let mut state = ThetaState::new(kind, alpha, omega, initial, values[0], line);
    let mut sse = 0.0;
    for (i, v) in values.iter().enumerate().skip(1) {
        let e = v - state.expected();
        if i >= WARM_UP {
            sse += e * e;
        }
        state.update(*v);
    }
    let mse = sse / (values.len() - WARM_UP) as f64;
    (mse.is_finite() && state.expected().is_finite()).then_some(Fit { state, mse })
}

/// Smallest sum of squared errors for `alpha`, with the share of the line and the initial level that reach it.
fn solve(values: &[f64], kind: ThetaKind, alpha: f64, line: (f64, f64)) -> (f64, f64, f64) {
    let first = values[0];
    // Errors from an initial level of the first value and ω = 0, and their derivatives (negative) by level and ω.
    let mut state = ThetaState::new(kind, alpha, 0.0, first, first, line);
    let (mut see, mut szz, mut sgg, mut szg, mut sze, mut sge) = (0.0, 0.0, 0.0, 0.0, 0.0, 0.0);
    for (i, v) in values.iter().enumerate().skip(1) {
        if i >= WARM_UP {
            let (e, z, g) = (v - state.level, state.decay, state.lift());
            see += e * e;
            szz += z * z;
            sgg += g * g;
            szg += z * g;
            sze += z * e;
            sge += g * e;
        }
        state.update(*v);
    }
    let level_for = |omega: f64| if szz > 0.0 { (sze - omega * szg) / szz } else { 0.0 };
    let mut omega = 0.5;
    if kind.optimised() {
        let rest = sgg - if szz > 0.0 { szg * szg / szz } else { 0.0 };
        let moves = sge - if szz > 0.0 { szg * sze / szz } else { 0.0 };
        omega = if rest > 1e-12 * sgg { (moves / rest).clamp(0.0, LARGEST_OMEGA) } else { 0.0 };
    }
    let level = level_for(omega);
    let sse = see - 2.0 * (level * sze + omega * sge)
        + level * level * szz
        + omega * omega * sgg
        + 2.0 * level * omega * szg;
    (sse.max(0.0), omega, first + level)
}

/// Least-squares line through the window: value one step before the first, and slope per step.
fn line(values: &[f64]) -> (f64, f64) {
    let n = values.len() as f64;
    let mean = values.iter().sum::<f64>() / n;
    let weighted =
        values.iter().enumerate().map(|(i, v)| (i as f64 + 1.0 - (n + 1.0) / 2.0) * v).sum::<f64>();
    let slope = 12.0 * weighted / (n * (n * n - 1.0));
    (mean - slope * (n + 1.0) / 2.0, slope)
}

/// A repeating factor or addend, one entry per phase of the window from its first value.
#[derive(Clone, Debug, PartialEq)]
pub struct Pattern {
    /// Multiplies instead of being added.
    pub multiplicative: bool,
    /// One period.
    pub season: Vec<f64>,
}

/// The season of `values` by classical decomposition, if a test at 10 % finds one: multiplicative for positive values,
/// else additive (as in the paper's section 2.3 and in statsforecast). `None` without season, and with fewer than two
/// periods or a period below 4.
pub fn pattern(values: &[f64], period: usize) -> Option<Pattern> {
    let n = values.len();
    if period < 4 || n < 2 * period {
        return None;
    }
    let mean = values.iter().sum::<f64>() / n as f64;
    let deviations: Vec<f64> = values.iter().map(|v| v - mean).collect();
    let squares: f64 = deviations.iter().map(|d| d * d).sum();
    if squares <= 0.0 || !squares.is_finite() {
        return None;
    }
    let correlation =
        |lag: usize| deviations[lag..].iter().zip(&deviations).map(|(a, b)| a * b).sum::<f64>() / squares;
    let noise: f64 = (1..period).map(|lag| correlation(lag).powi(2)).sum();
    let limit = 1.644_853_626_951_472_2 * ((1.0 + 2.0 * noise) / n as f64).sqrt();
    if correlation(period).abs() <= limit {
        return None;
    }
    if values.iter().all(|v| *v > 0.0)
        && let Some(season) = classical(values, period, true)
        && season.iter().all(|s| *s >= 0.01)
    {
        return Some(Pattern { multiplicative: true, season });
    }
    Some(Pattern { multiplicative: false, season: classical(values, period, false)? })
}

/// Mean of each phase of what a centred moving mean over a period leaves.
fn classical(values: &[f64], period: usize, multiplicative: bool) -> Option<Vec<f64>> {
    let half = period / 2;
    let mut season = vec![0.0; period];
    let mut counts = vec![0.0; period];
    for t in half..values.len() - half {
        let mut sum: f64 = values[t - half..=t + half].iter().sum();
        if period.is_multiple_of(2) {
            sum -= 0.5 * (values[t - half] + values[t + half]);
        }
        let trend = sum / period as f64;
        season[t % period] += if multiplicative { values[t] / trend } else { values[t] - trend };
        counts[t % period] += 1.0;
    }
    for (s, n) in season.iter_mut().zip(&counts) {
        *s /= n;
    }
    let mean = season.iter().sum::<f64>() / period as f64;
    season.iter_mut().for_each(|s| if multiplicative { *s /= mean } else { *s -= mean });
    season.iter().all(|s| s.is_finite()).then_some(season)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_profiled_level_and_share_are_the_best_ones() {
        let values: Vec<f64> = (0..40).map(|i| 100.0 + f64::from(i) + f64::from((i * 7919) % 23)).collect();
        for kind in [ThetaKind::Optimised, ThetaKind::DynamicOptimised] {
            let line = line(&values);
            let (best, omega, level) = solve(&values, kind, 0.3, line);
            let at = |omega: f64, level: f64| {
                let mut state = ThetaState::new(kind, 0.3, omega, level, values[0], line);
                let mut sse = 0.0;
                for (i, v) in values.iter().enumerate().skip(1) {
                    let e = v - state.expected();
                    sse += if i >= WARM_UP { e * e } else { 0.0 };
                    state.update(*v);
                }
                sse
            };
            assert!((at(omega, level) - best).abs() < 1e-6 * best, "{kind:?}");
            assert!(at(omega, level + 0.5) >= best && at(omega, level - 0.5) >= best);
            assert!(omega <= 0.0 || at(omega - 0.01, level) >= best - 1e-9);
        }
    }

    #[test]
    fn a_moving_line_ends_as_the_line_of_the_window() {
        let values: Vec<f64> = (0..30).map(|i| 5.0 + f64::from((i * 37) % 11)).collect();
        let whole = line(&values);
        let mut state =
            ThetaState::new(ThetaKind::DynamicStandard, 0.5, 0.5, values[0], values[0], (0.0, 0.0));
        values[1..].iter().for_each(|v| state.update(*v));
        assert!((state.intercept - whole.0).abs() < 1e-9 && (state.slope - whole.1).abs() < 1e-9);
    }

    #[test]
    fn a_season_is_found_and_noise_is_none() {
        let noise = |i: usize| ((i * 7919) % 23) as f64 / 8.0;
        let with: Vec<f64> = (0..48).map(|i| 50.0 + noise(i) + [9.0, 0.0, -9.0, 0.0][i % 4]).collect();
        let found = pattern(&with, 4).unwrap();
        assert!(found.multiplicative && found.season[0] > 1.1 && found.season[2] < 0.9, "{found:?}");
        let without: Vec<f64> = (0..48).map(|i| 50.0 + noise(i)).collect();
        assert_eq!(pattern(&without, 4), None);
        assert_eq!(pattern(&with[..7], 4), None);
    }
}
