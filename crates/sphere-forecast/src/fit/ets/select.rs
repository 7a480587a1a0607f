//! Which exponential smoothing model should this window have?
//!
//! The smallest AICc of the admissible models (Hyndman, Koehler, Snyder & Grose, *A state space framework for
//! automatic forecasting using exponential smoothing methods*, Int. J. Forecasting 18, 2002), which are those that the
//! forecast package and statsforecast try by default: no multiplicative trend, and a multiplicative season only with
//! a multiplicative error (the other combination is numerically unstable).
//!
//! Two rounds: first smoothing parameters, level and trend of each model with the season as the first periods show it; then
//! everything, for the models within [`PROMISING`] of the best.

use super::{Candidate, Depth, Fit, Spec};
use crate::fit::nonseasonal::{self, TrendKind};
use crate::fit::search::Effort;
use crate::fit::seasonal::SeasonKind;

/// Difference of AICc in the first round beyond which a model is given up: its initial season would have to
/// gain that much more than the leader's from being estimated.
pub const PROMISING: f64 = 12.0;

/// All admissible models of `values` with a season of `period` (below 2: none).
pub fn admissible(values: &[f64], period: usize) -> Vec<Spec> {
    let n = values.len();
    let positive = values.iter().all(|&v| v > 0.0);
    let seasonal = period >= 2 && n >= 2 * period;
    let mut specs = Vec::new();
    for season in [None, Some(SeasonKind::Additive), Some(SeasonKind::Multiplicative)] {
        for multiplicative_error in [false, true] {
            for trend in [TrendKind::None, TrendKind::Additive, TrendKind::Damped] {
                let spec = Spec { multiplicative_error, trend, season };
                let stable = multiplicative_error || season != Some(SeasonKind::Multiplicative);
                let enough = n > spec.parameters(period) + 2;
                if stable && enough && (positive || !spec.needs_positive()) && (seasonal || season.is_none())
                {
                    specs.push(spec);
                }
            }
        }
    }
    specs
}

/// The best model by AICc; `None` for fewer than four values.
pub fn select(values: &[f64], period: usize) -> Option<Fit> {
    let n = values.len();
    // Where the basin is, no more: each model is refined from there by its exact derivatives.
    let effort = Effort { starts: 1, rounds: 2, tolerance: 1e-2, ..Effort::default() };
    let known = |trend| nonseasonal::fit_with(values, trend, effort);
    let mut known =
        [TrendKind::None, TrendKind::Additive, TrendKind::Damped].map(|trend| (trend, known(trend)));
    let mut candidates: Vec<Candidate> = Vec::new();
    for spec in admissible(values, period) {
        let mut known = known.iter_mut().find(|(trend, _)| *trend == spec.trend).map(|(_, fit)| fit);
        let start = known.as_ref().and_then(|fit| **fit);
        let Some(found) = Candidate::begin(values, spec, period, start) else { continue };
        if let Some(known) = known.as_mut().filter(|_| spec.season.is_none()) {
            // The other kind of error begins where this one ended.
            **known = Some(found.as_known());
        }
        candidates.push(found);
    }
    candidates.sort_by(|a, b| a.aicc(n).total_cmp(&b.aicc(n)));
    let limit = candidates.first()?.aicc(n) + PROMISING;
    let best = candidates
        .into_iter()
        .take_while(|c| c.aicc(n) <= limit)
        .map(|c| c.polish(values, Depth::Rank))
        .min_by(|a, b| a.aicc(n).total_cmp(&b.aicc(n)))?;
    Some(best.settle(values).finish(values))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn series_with_zeros_have_no_multiplicative_model() {
        let mut values = vec![3.0; 40];
        assert_eq!(admissible(&values, 4).len(), 15);
        values[7] = 0.0;
        assert_eq!(admissible(&values, 4).len(), 6);
        assert_eq!(admissible(&values, 30).len(), 3);
    }

    #[test]
    fn a_season_is_recognised_and_noise_is_not() {
        let noise = |i: usize| ((i * 7919) % 23) as f64 / 4.0;
        let values: Vec<f64> = (0..60).map(|i| 100.0 + noise(i)).collect();
        assert_eq!(select(&values, 4).unwrap().spec.season, None);
        let values: Vec<f64> = (0..60).map(|i| 100.0 + noise(i) + [20.0, -5.0, 3.0, -18.0][i % 4]).collect();
        assert!(select(&values, 4).unwrap().spec.season.is_some());
    }
}
