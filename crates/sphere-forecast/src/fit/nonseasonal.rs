//! Which α, β, φ and which initial level and trend explain a window without a season best?
//!
//! With `x = (level, trend)`, one step is `ŷ = w·x`, `e = y − ŷ`, `x ← F x + g e` with `w = (1, φ)`,
//! `F = [[1, φ], [0, φ]]`, `g = (α, αβ)`. So `e_t = e⁰_t − z_t·d`: `e⁰` are the errors from a reference
//! initial state, `d` is the correction to it, and `z₁ = w`, `z_{t+1} = (F − g wᵀ)ᵀ z_t`. Both run in one pass,
//! and `d` solves a 2×2 system ("variable projection", Golub & Pereyra, 1973). The reference is a line
//! through the window, so that little is lost to cancellation even when the level dwarfs the movement.
//!
//! Four trial points run side by side so that the compiler can use vector instructions and the latency
//! of the recursion is shared.

use super::search::{Effort, Minimum, minimise};
use super::{alpha_of, phi_of};

/// Is there a trend, and is it damped?
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum TrendKind {
    /// Level only: simple exponential smoothing (Brown, 1959).
    None,
    /// Additive trend (Holt, 1957; reprinted in *International Journal of Forecasting* 20, 2004).
    Additive,
    /// Additive damped trend (Gardner & McKenzie, *Management Science* 31, 1985).
    Damped,
}

/// Parameters, initial and final state of a fitted window.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Fit {
    /// Smoothing of the level.
    pub alpha: f64,
    /// Smoothing of the trend; 0 without one.
    pub beta: f64,
    /// Damping of the trend; 1 when not damped, 0 without a trend.
    pub phi: f64,
    /// Level before the first value.
    pub initial_level: f64,
    /// Trend before the first value.
    pub initial_trend: f64,
    /// Level after the last value.
    pub level: f64,
    /// Trend after the last value.
    pub trend: f64,
    /// Sum of squared one-step errors.
    pub sse: f64,
}

const LANES: usize = 4;
type Lanes = [f64; LANES];

/// Fits `values`, which must be finite; `None` for fewer than two values without and four with a trend.
pub fn fit(values: &[f64], trend: TrendKind) -> Option<Fit> {
    let effort = match trend {
        // Damping makes for more local minima, and is not refitted by the thousand.
        TrendKind::Damped => Effort { starts: 3, promising: 2.0, tolerance: 1e-6, ..Effort::default() },
        _ => Effort { starts: 2, ..Effort::default() },
    };
    fit_with(values, trend, effort)
}

/// As [`fit`], with a stated effort.
pub fn fit_with(values: &[f64], trend: TrendKind, effort: Effort) -> Option<Fit> {
    let least = if trend == TrendKind::None { 2 } else { 4 };
    if values.len() < least {
        return None;
    }
    let reference = line(values);
    let fit = match trend {
        TrendKind::None => {
            // Level only: the best line is flat.
            let level = values.iter().sum::<f64>() / values.len() as f64;
            let m = minimise::<1>(
                |points, out| batch(points, out, |p| ses_lanes(values, level, p.map(|p| alpha_of(p[0])))),
                &SES_GRID,
                effort,
            );
            let alpha = alpha_of(m.at[0]);
            let d = ses_correction(values, level, alpha);
            finish(values, alpha, 0.0, 0.0, (level + d, 0.0))
        }
        TrendKind::Additive => {
            let m = minimise::<2>(
                |points, out| {
                    batch(points, out, |p| {
                        let alpha = p.map(|p| alpha_of(p[0]));
                        let gain = p.map(|p| alpha_of(p[0]) * alpha_of(p[0]) * p[1]);
                        holt_lanes::<false>(values, reference, alpha, gain, [1.0; LANES]).0
                    })
                },
                &HOLT_GRID,
                effort,
            );
            trended(values, reference, alpha_of(m.at[0]), m.at[1], 1.0)
        }
        TrendKind::Damped => {
            let m = damped(values, reference, effort);
            trended(values, reference, alpha_of(m.at[0]), m.at[1], phi_of(m.at[2]))
        }
    };
    Some(fit)
}

fn damped(values: &[f64], reference: (f64, f64), effort: Effort) -> Minimum<3> {
    minimise::<3>(
        |points, out| {
            batch(points, out, |p| {
                let alpha = p.map(|p| alpha_of(p[0]));
                let gain = p.map(|p| alpha_of(p[0]) * alpha_of(p[0]) * p[1]);
                holt_lanes::<true>(values, reference, alpha, gain, p.map(|p| phi_of(p[2]))).0
            })
        },
        &DAMPED_GRID,
        effort,
    )
}

/// Starting points in search coordinates: α ≈ .002 … .99, dense where real series lie.
const SES_GRID: [[f64; 1]; 8] = [[0.03], [0.12], [0.22], [0.35], [0.5], [0.65], [0.8], [0.95]];
const HOLT_GRID: [[f64; 2]; 16] = {
    let (a, r) = ([0.06, 0.25, 0.5, 0.8], [0.0, 0.2, 0.45, 0.8]);
    let mut grid = [[0.0; 2]; 16];
    let mut i = 0;
    while i < 16 {
        grid[i] = [a[i / 4], r[i % 4]];
        i += 1;
    }
    grid
};
/// With α = 0 the states never move and the fit is one damped curve: a corner with basins of its own in φ.
const DAMPED_GRID: [[f64; 3]; 36] = {
    let mut grid = [[0.0; 3]; 36];
    let mut i = 0;
    while i < 32 {
        let g = HOLT_GRID[i % 16];
        grid[i] = [g[0], g[1], if i < 16 { 0.8 } else { 0.25 }];
        i += 1;
    }
    grid[32] = [0.0, 0.0, 1.0];
    grid[33] = [0.0, 0.0, 0.75];
    grid[34] = [0.0, 0.0, 0.5];
    grid[35] = [0.0, 0.0, 0.15];
    grid
};

/// Runs `eval` on groups of [`LANES`] points; the last group repeats its last point.
fn batch<const D: usize>(
    points: &[[f64; D]],
    out: &mut [f64],
    mut eval: impl FnMut([[f64; D]; LANES]) -> Lanes,
) {
    for (points, out) in points.chunks(LANES).zip(out.chunks_mut(LANES)) {
        let group = std::array::from_fn(|i| points[i.min(points.len() - 1)]);
        let values = eval(group);
        out.copy_from_slice(&values[..out.len()]);
    }
}

/// Least-squares line through the window: value one step before the first, and slope per step.
fn line(values: &[f64]) -> (f64, f64) {
    let n = values.len() as f64;
    let mean = values.iter().sum::<f64>() / n;
    let middle = (n + 1.0) / 2.0;
    let (mut sxy, mut sxx) = (0.0, 0.0);
    for (i, v) in values.iter().enumerate() {
        let x = (i + 1) as f64 - middle;
        sxy += x * (v - mean);
        sxx += x * x;
    }
    let slope = sxy / sxx;
    (mean - slope * middle, slope)
}

/// Smallest sum of squared errors over all initial levels, for each α.
fn ses_lanes(values: &[f64], level: f64, alpha: Lanes) -> Lanes {
    let mut l = [level; LANES];
    let mut z = [1.0; LANES];
    let (mut see, mut szz, mut sze) = ([0.0; LANES], [0.0; LANES], [0.0; LANES]);
    for &y in values {
        for i in 0..LANES {
            let e = y - l[i];
            see[i] += e * e;
            szz[i] += z[i] * z[i];
            sze[i] += z[i] * e;
            l[i] += alpha[i] * e;
            z[i] -= alpha[i] * z[i];
        }
    }
    std::array::from_fn(|i| (see[i] - sze[i] * sze[i] / szz[i]).max(0.0))
}

fn ses_correction(values: &[f64], level: f64, alpha: f64) -> f64 {
    let (mut l, mut z, mut szz, mut sze) = (level, 1.0, 0.0, 0.0);
    for &y in values {
        let e = y - l;
        szz += z * z;
        sze += z * e;
        l += alpha * e;
        z -= alpha * z;
    }
    sze / szz
}

/// Smallest sum of squared errors over all initial states, for each (α, αβ, φ), and the corrections to the
/// reference state that reach it.
fn holt_lanes<const DAMPED: bool>(
    values: &[f64],
    reference: (f64, f64),
    alpha: Lanes,
    gain: Lanes,
    phi: Lanes,
) -> (Lanes, [Lanes; 2]) {
    let mut l = [reference.0; LANES];
    let mut b = [reference.1; LANES];
    let mut z1 = [1.0; LANES];
    let mut z2 = phi;
    let mut see = [0.0; LANES];
    let (mut s11, mut s12, mut s22) = ([0.0; LANES], [0.0; LANES], [0.0; LANES]);
    let (mut t1, mut t2) = ([0.0; LANES], [0.0; LANES]);
    for &y in values {
        for i in 0..LANES {
            let slope = if DAMPED { phi[i] * b[i] } else { b[i] };
            let level = l[i] + slope;
            let e = y - level;
            see[i] += e * e;
            s11[i] += z1[i] * z1[i];
            s12[i] += z1[i] * z2[i];
            s22[i] += z2[i] * z2[i];
            t1[i] += z1[i] * e;
            t2[i] += z2[i] * e;
            l[i] = level + alpha[i] * e;
            b[i] = slope + gain[i] * e;
            let q = alpha[i] * z1[i] + gain[i] * z2[i];
            let next = z1[i] + z2[i] - q;
            z2[i] = if DAMPED { phi[i] * next } else { next };
            z1[i] -= q;
        }
    }
    let mut sse = [0.0; LANES];
    let (mut d1, mut d2) = ([0.0; LANES], [0.0; LANES]);
    for i in 0..LANES {
        let det = s11[i] * s22[i] - s12[i] * s12[i];
        if det > 1e-13 * s11[i] * s22[i] {
            d1[i] = (s22[i] * t1[i] - s12[i] * t2[i]) / det;
            d2[i] = (s11[i] * t2[i] - s12[i] * t1[i]) / det;
        } else {
            d1[i] = t1[i] / s11[i];
        }
        sse[i] = (see[i] - d1[i] * t1[i] - d2[i] * t2[i]).max(0.0);
    }
    (sse, [d1, d2])
}

fn trended(values: &[f64], reference: (f64, f64), alpha: f64, share: f64, phi: f64) -> Fit {
    // Solve twice: the second solution starts from the first and removes its rounding error.
    let mut x = reference;
    for _ in 0..2 {
        let gain = alpha * alpha * share;
        let (_, [d1, d2]) = holt_lanes::<true>(values, x, [alpha; LANES], [gain; LANES], [phi; LANES]);
        x = (x.0 + d1[0], x.1 + d2[0]);
    }
    finish(values, alpha, alpha * share, phi, x)
}

fn finish(values: &[f64], alpha: f64, beta: f64, phi: f64, initial: (f64, f64)) -> Fit {
    let (mut level, mut trend, mut sse) = (initial.0, initial.1, 0.0);
    for &y in values {
        let slope = phi * trend;
        let e = y - (level + slope);
        sse += e * e;
        level += slope + alpha * e;
        trend = slope + alpha * beta * e;
    }
    Fit { alpha, beta, phi, initial_level: initial.0, initial_trend: initial.1, level, trend, sse }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_straight_line_is_explained_without_error() {
        let values: Vec<f64> = (0..30).map(|i| 5.0 + 2.0 * f64::from(i)).collect();
        let fit = fit(&values, TrendKind::Additive).unwrap();
        assert!(fit.sse < 1e-18, "{fit:?}");
        assert!((fit.level + fit.trend - 65.0).abs() < 1e-9, "{fit:?}");
    }

    #[test]
    fn the_profiled_state_is_the_best_one() {
        let values: Vec<f64> = (0..40).map(|i| 100.0 + f64::from((i * 7919) % 23)).collect();
        let best = fit(&values, TrendKind::Additive).unwrap();
        for (dl, db) in [(0.1, 0.0), (-0.1, 0.0), (0.0, 0.05), (0.0, -0.05)] {
            let initial = (best.initial_level + dl, best.initial_trend + db);
            let other = finish(&values, best.alpha, best.beta, best.phi, initial);
            assert!(other.sse >= best.sse, "{dl} {db}");
        }
    }

    #[test]
    fn too_short_a_window_has_no_fit() {
        assert_eq!(fit(&[1.0], TrendKind::None), None);
        assert_eq!(fit(&[1.0, 2.0, 3.0], TrendKind::Additive), None);
    }
}
