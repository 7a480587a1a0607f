//! How do a model's errors depend on its smoothing parameters and its initial level and trend?
//!
//! What [`super::gradient`] does for all parameters, for those every model has: two to six of them, so that a choice among
//! models is mostly made of these passes. Each kind of model has code of its own, without the parameters it lacks, with all
//! derivatives in arrays of known length. That is four times as fast as one loop for all. The value of the objective comes
//! with the derivatives: nearly every step is an improvement, and then both are wanted.

use super::gradient::{Model, Problem};
use super::{ALPHA, GAMMA, LEVEL, PHI, RHO, SEASON, TREND};
use crate::fit::nonseasonal::TrendKind;
use crate::fit::seasonal::SeasonKind;

/// Kinds of trend.
const NONE: u8 = 0;
const ADDITIVE: u8 = 1;
const DAMPED: u8 = 2;
/// Kinds of season; none as above.
const SUM: u8 = 1;
const PRODUCT: u8 = 2;

/// Places of the derivatives by α, level, β/α, trend, φ; that by γ is the last.
const PLACES: [usize; 5] = [ALPHA, LEVEL, RHO, TREND, PHI];
const A: usize = 0;
const L: usize = 1;
const R: usize = 2;
const B: usize = 3;
const F: usize = 4;

impl Problem<'_> {
    /// Normal equations as [`Problem::linearise`] leaves them, and what is to be minimised.
    pub(super) fn linearise_smoothing(&mut self, theta: &[f64]) -> f64 {
        let season = match self.spec.season.filter(|_| self.period > 0) {
            None => NONE,
            Some(SeasonKind::Additive) => SUM,
            Some(SeasonKind::Multiplicative) => PRODUCT,
        };
        match (self.spec.trend, season) {
            (TrendKind::None, NONE) => self.of_error::<2, NONE, NONE>(theta),
            (TrendKind::None, SUM) => self.of_error::<3, NONE, SUM>(theta),
            (TrendKind::None, _) => self.of_error::<3, NONE, PRODUCT>(theta),
            (TrendKind::Additive, NONE) => self.of_error::<4, ADDITIVE, NONE>(theta),
            (TrendKind::Additive, SUM) => self.of_error::<5, ADDITIVE, SUM>(theta),
            (TrendKind::Additive, _) => self.of_error::<5, ADDITIVE, PRODUCT>(theta),
            (TrendKind::Damped, NONE) => self.of_error::<5, DAMPED, NONE>(theta),
            (TrendKind::Damped, SUM) => self.of_error::<6, DAMPED, SUM>(theta),
            (TrendKind::Damped, _) => self.of_error::<6, DAMPED, PRODUCT>(theta),
        }
    }

    fn of_error<const P: usize, const T: u8, const S: u8>(&mut self, theta: &[f64]) -> f64 {
        if self.spec.multiplicative_error {
            self.linearise_kind::<P, T, S, true>(theta)
        } else {
            self.linearise_kind::<P, T, S, false>(theta)
        }
    }

    fn linearise_kind<const P: usize, const T: u8, const S: u8, const RELATIVE: bool>(
        &mut self,
        theta: &[f64],
    ) -> f64 {
        let (g, period) = (P - 1, self.period);
        let Model { alpha, beta, gamma, phi } = self.model(theta);
        let (rho, share) = (theta[RHO], theta[GAMMA]);
        let (mut d_level, mut d_trend) = ([0.0; P], [0.0; P]);
        d_level[L] = 1.0;
        if T != NONE {
            d_trend[B] = 1.0;
        }
        let seasons = &mut self.work.seasons;
        let d_seasons = &mut self.work.season;
        if S != NONE {
            seasons.clear();
            seasons.extend_from_slice(&theta[SEASON..SEASON + period]);
            d_seasons.clear();
            d_seasons.resize(P * period, 0.0);
        }
        let (d_seasons, _) = d_seasons.as_chunks_mut::<P>();
        let (mut normal, mut right, mut relative) = ([[0.0; P]; P], [0.0; P], [0.0; P]);
        let (mut level, mut trend) = (theta[LEVEL], if T == NONE { 0.0 } else { theta[TREND] });
        let (mut slot, mut squares) = (0, 0.0);
        let (mut product, mut log) = (1.0f64, 0.0);
        for &y in self.values {
            let slope = if T == DAMPED { phi * trend } else { trend };
            let base = level + slope;
            // From here the level's derivatives are those of `base`, the trend's those of `slope`.
            if T == DAMPED {
                d_trend.iter_mut().for_each(|d| *d *= phi);
                d_trend[F] += trend;
            }
            if T != NONE {
                for i in 0..P {
                    d_level[i] += d_trend[i];
                }
            }
            let (mut season, mut own) = (0.0, [0.0; P]);
            if S != NONE {
                season = seasons[slot];
                own = d_seasons[slot];
            }
            let (predicted, mut row): (f64, [f64; P]) = match S {
                NONE => (base, d_level),
                SUM => (base + season, std::array::from_fn(|i| d_level[i] + own[i])),
                _ => (base * season, std::array::from_fn(|i| d_level[i] * season + base * own[i])),
            };
            let e = y - predicted;
            // States learn from e by these factors.
            let (into_level, into_season) =
                if S == PRODUCT { (1.0 / season.max(1e-9), 1.0 / base.max(self.least)) } else { (1.0, 1.0) };
            let (by_level, by_season) = (e * into_level, e * into_season);
            for i in 0..P {
                let mut d = row[i] * into_level;
                if S == PRODUCT {
                    d += by_level * into_level * own[i];
                    // Uses the derivative of `base`, so before the level is updated.
                    own[i] -= gamma * into_season * (row[i] + by_season * d_level[i]);
                }
                d_level[i] -= alpha * d;
                if T != NONE {
                    d_trend[i] -= beta * d;
                }
            }
            if S != NONE {
                if S == SUM {
                    for i in 0..P {
                        own[i] -= gamma * row[i];
                    }
                }
                own[A] -= share * by_season;
                own[g] += (1.0 - alpha) * by_season;
                d_seasons[slot] = own;
                seasons[slot] = season + gamma * by_season;
                slot += 1;
                if slot == period {
                    slot = 0;
                }
            }
            d_level[A] += by_level;
            if T != NONE {
                d_trend[A] += rho * by_level;
                d_trend[R] += alpha * by_level;
                trend = slope + beta * by_level;
            }
            level = base + alpha * by_level;
            // The row becomes that of the residual, but for its sign.
            let mut residual = e;
            if RELATIVE {
                if predicted <= self.least {
                    return f64::INFINITY;
                }
                product *= predicted;
                if !(1e-200..1e200).contains(&product) {
                    log += product.ln();
                    product = 1.0;
                }
                let inverse = 1.0 / predicted;
                residual = e * inverse;
                for i in 0..P {
                    row[i] *= inverse;
                    relative[i] += row[i];
                    row[i] *= y * inverse;
                }
            }
            squares += residual * residual;
            for i in 0..P {
                right[i] += row[i] * residual;
                for j in 0..P {
                    normal[i][j] += row[i] * row[j];
                }
            }
        }
        if RELATIVE {
            // As in `linearise_all`.
            let n = self.values.len() as f64;
            let relative = relative.map(|g| g / n);
            for i in 0..P {
                for j in 0..P {
                    normal[i][j] +=
                        squares * relative[i] * relative[j] - right[i] * relative[j] - relative[i] * right[j];
                }
            }
            for i in 0..P {
                right[i] -= squares * relative[i];
            }
        }
        let place = |i: usize| if S != NONE && i == g { GAMMA } else { PLACES[i] };
        let (into, into_right) = (&mut self.work.normal, &mut self.work.right);
        into.clear();
        into.resize(SEASON * SEASON, 0.0);
        into_right.clear();
        into_right.resize(SEASON, 0.0);
        for i in 0..P {
            into_right[place(i)] = right[i];
            for j in 0..P {
                into[place(i) * SEASON + place(j)] = normal[i][j];
            }
        }
        let value = if RELATIVE {
            squares * (2.0 * (log + product.ln()) / self.values.len() as f64).exp()
        } else {
            squares
        };
        if value.is_nan() { f64::INFINITY } else { value }
    }
}
