//! Which smoothing parameters and initial states explain a window best?
//!
//! "Best" is the smallest sum of squared one-step errors. Additive exponential smoothing is linear in its
//! initial state, so for given smoothing parameters the best initial state is a small exact least-squares
//! problem, and only the one to three smoothing parameters are left to search: [`nonseasonal`]. Seasonal
//! models have too many states for that at every trial point (and multiplicative ones are not linear), so
//! they follow the exact derivatives of all parameters at once: [`seasonal`].
//!
//! The other families have their own modules, each with its method: [`ets`] (likelihood, all kinds, choice), [`arima`],
//! [`theta`], [`prophet`], [`stl`].
//!
//! The recursions of the first two, in error-correction form (Hyndman, Koehler, Ord & Snyder, *Forecasting with Exponential
//! Smoothing*, 2008, chapter 2), and the admissible region are those of statsmodels'
//! `ExponentialSmoothing`: level smoothing α in (0, 1), trend smoothing β in [0, α], seasonal smoothing γ
//! in [0, 1 − α], damping φ in [0.8, 0.995].

// Linear algebra reads as in the books with indices: rows and columns of several arrays move together.
#![allow(clippy::needless_range_loop)]

pub mod arima;
pub mod ets;
mod least_squares;
mod linear;
pub mod nonseasonal;
pub mod prophet;
pub mod search;
pub mod seasonal;
pub mod stl;
pub mod theta;

/// α stays this far inside (0, 1): the square root of the machine precision, as in statsmodels.
pub(crate) const ALPHA_MARGIN: f64 = 1.490_116_119_384_765_6e-8;
/// Admissible damping of a damped trend.
pub(crate) const PHI_BOUNDS: (f64, f64) = (0.8, 0.995);

/// Number `t` of the unit interval mapped to α.
pub(crate) fn alpha_of(t: f64) -> f64 {
    ALPHA_MARGIN + t * (1.0 - 2.0 * ALPHA_MARGIN)
}

/// Number `t` of the unit interval mapped to φ.
pub(crate) fn phi_of(t: f64) -> f64 {
    PHI_BOUNDS.0 + t * (PHI_BOUNDS.1 - PHI_BOUNDS.0)
}
