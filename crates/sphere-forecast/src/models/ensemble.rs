//! What do several models say together, each heard as it has been right lately?
//!
//! [`Ensemble`] weighs its members by the inverse square of their recent mean absolute error (Bates & Granger, *The
//! combination of forecasts*, Operational Research Quarterly 20, 1969, with discounting as their method 5 has it), separately
//! for 1, 4 and 15 steps ahead, as who is best at the next step is seldom best at the fifteenth. Between these horizons
//! weights are interpolated, beyond the last they stay.
//!
//! A member without a forecast (too little history) has no weight; the ensemble is ready as soon as one member is. A
//! member's first errors count in full, so that it need not outlive a prior of ours.

use super::Model;
use crate::PointModel;
use serde::{Deserialize, Serialize};
use sphere_core::Timestamp;
use std::collections::VecDeque;

/// Horizons at which members are scored, steps.
const HORIZONS: [usize; 3] = [1, 4, 15];
/// What an error counts after a step: half after 42 steps, seven minutes at 10 s.
const DISCOUNT: f64 = 1.0 - 1.0 / 60.0;
/// Most members of an ensemble: each costs its own memory and time.
pub const MOST_MEMBERS: usize = 8;

/// See the module.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Ensemble {
    members: Vec<Member>,
    /// For each horizon, what each member said 1 … h steps ago about the step h ahead, oldest first.
    issued: [VecDeque<Vec<Option<f64>>>; HORIZONS.len()],
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
struct Member {
    model: Model,
    /// Discounted sum of absolute errors and of their number, for each horizon.
    errors: [(f64, f64); HORIZONS.len()],
}

impl Member {
    fn ready(&self) -> bool {
        self.model.observations() >= self.model.needed()
    }
}

impl Ensemble {
    /// Of these models, at most [`MOST_MEMBERS`].
    pub fn new(models: Vec<Model>) -> Self {
        let members = models
            .into_iter()
            .take(MOST_MEMBERS)
            .map(|model| Member { model, errors: [(0.0, 0.0); HORIZONS.len()] })
            .collect();
        Self { members, issued: Default::default() }
    }

    /// Weight of each member for the forecast of `step` ≥ 1 ahead; they sum to 1, or are all 0 when none is ready.
    pub fn weights(&self, step: usize) -> Vec<f64> {
        let mut out = vec![0.0; self.members.len()];
        let above = HORIZONS.iter().position(|h| *h >= step).unwrap_or(HORIZONS.len() - 1);
        let below = above.saturating_sub(usize::from(step < HORIZONS[above]));
        let share = if above == below {
            1.0
        } else {
            (step - HORIZONS[below]) as f64 / (HORIZONS[above] - HORIZONS[below]) as f64
        };
        for (horizon, part) in [(below, 1.0 - share), (above, share)] {
            if part > 0.0 {
                for (o, w) in out.iter_mut().zip(self.weights_at(horizon)) {
                    *o += part * w;
                }
            }
        }
        out
    }

    fn weights_at(&self, horizon: usize) -> Vec<f64> {
        let error = |m: &Member| {
            let (sum, count) = m.errors[horizon];
            (m.ready() && count > 0.0).then(|| sum / count)
        };
        let known: Vec<Option<f64>> = self.members.iter().map(error).collect();
        let best = known.iter().flatten().fold(f64::INFINITY, |a: f64, e| a.min(*e));
        // Members of which nothing is known yet count as the worst known, so that they are heard, softly.
        let worst = known.iter().flatten().fold(0.0, |a: f64, e| a.max(*e));
        let mut weights: Vec<f64> = self
            .members
            .iter()
            .zip(&known)
            .map(|(member, error)| {
                if !member.ready() {
                    return 0.0;
                }
                if !best.is_finite() {
                    return 1.0;
                }
                let error = error.unwrap_or(worst);
                // Relative to the best, so that no unit and no zero matters.
                if error <= best { 1.0 } else { (best.max(1e-9 * error) / error).powi(2) }
            })
            .collect();
        let sum: f64 = weights.iter().sum();
        if sum > 0.0 {
            weights.iter_mut().for_each(|w| *w /= sum);
        }
        weights
    }

    /// Notes what members say now, to be scored when it comes true.
    fn issue(&mut self) {
        let mut path = [0.0; HORIZONS[HORIZONS.len() - 1]];
        let mut said = [const { Vec::new() }; HORIZONS.len()];
        for member in &self.members {
            let ready = member.ready();
            if ready {
                member.model.predict(&mut path);
            }
            for (said, h) in said.iter_mut().zip(HORIZONS) {
                said.push(Some(path[h - 1]).filter(|v| ready && v.is_finite()));
            }
        }
        for ((ring, said), h) in self.issued.iter_mut().zip(said).zip(HORIZONS) {
            if ring.len() >= h {
                ring.pop_front();
            }
            ring.push_back(said);
        }
    }

    fn score(&mut self, value: f64) {
        for (i, h) in HORIZONS.into_iter().enumerate() {
            let Some(said) = self.issued[i].front().filter(|_| self.issued[i].len() == h) else { continue };
            for (member, said) in self.members.iter_mut().zip(said) {
                if let Some(said) = said {
                    let (sum, count) = &mut member.errors[i];
                    *sum = DISCOUNT * *sum + (value - said).abs();
                    *count = DISCOUNT * *count + 1.0;
                }
            }
        }
    }
}

impl PointModel for Ensemble {
    fn begins_at(&mut self, first: Timestamp, step_ms: u64) {
        self.members.iter_mut().for_each(|m| m.model.begins_at(first, step_ms));
    }

    fn observe(&mut self, value: f64) {
        self.score(value);
        self.members.iter_mut().for_each(|m| m.model.observe(value));
        self.issue();
    }

    fn skip(&mut self) {
        self.members.iter_mut().for_each(|m| m.model.skip());
        self.issue();
    }

    fn restart(&mut self, steps: u64) {
        self.members.iter_mut().for_each(|m| m.model.restart(steps));
        self.issued.iter_mut().for_each(VecDeque::clear);
    }

    fn refit(&mut self) {
        self.members.iter_mut().for_each(|m| m.model.refit());
    }

    fn stagger_refits(&mut self, phase: usize) {
        // Members of one workload do not refit in the same step either.
        self.members.iter_mut().enumerate().for_each(|(i, m)| m.model.stagger_refits(phase + i));
    }

    fn observations(&self) -> usize {
        let ready = self.members.iter().find(|m| m.ready());
        let seen = || self.members.iter().map(|m| m.model.observations()).max().unwrap_or(0);
        ready.map_or_else(|| seen().min(self.needed().saturating_sub(1)), |_| self.needed())
    }

    fn needed(&self) -> usize {
        self.members.iter().map(|m| m.model.needed()).min().unwrap_or(usize::MAX)
    }

    fn heap_bytes(&self) -> usize {
        let members: usize = self.members.iter().map(|m| m.model.heap_bytes() + size_of::<Member>()).sum();
        let said = self.members.len() * size_of::<Option<f64>>() + size_of::<Vec<Option<f64>>>();
        members + HORIZONS.iter().sum::<usize>() * said
    }

    fn predict(&self, out: &mut [f64]) {
        let mut path = vec![0.0; out.len()];
        let mut sums = vec![0.0; out.len()];
        let by_horizon: Vec<Vec<f64>> =
            (1..=out.len().min(HORIZONS[HORIZONS.len() - 1])).map(|step| self.weights(step)).collect();
        out.fill(0.0);
        for (i, member) in self.members.iter().enumerate().filter(|(_, m)| m.ready()) {
            member.model.predict(&mut path);
            for (k, v) in path.iter().enumerate() {
                let weight = by_horizon[k.min(by_horizon.len() - 1)][i];
                if v.is_finite() && weight > 0.0 {
                    out[k] += weight * v;
                    sums[k] += weight;
                }
            }
        }
        for (v, sum) in out.iter_mut().zip(sums) {
            // A member whose number is not finite is left out; without any, `Online` serves the last value.
            *v = if sum > 0.0 { *v / sum } else { f64::NAN };
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::models::{LastValue, MovingMean, SeasonalNaive, Smoothing, SmoothingConfig, TrendKind};

    #[test]
    fn the_member_that_has_been_right_is_heard() {
        let season = |i: usize| [10.0, 60.0, 20.0, 90.0, 40.0, 5.0, 70.0][i % 7];
        let mut ensemble = Ensemble::new(vec![
            Model::Last(LastValue::default()),
            Model::SeasonalNaive(SeasonalNaive::new(7)),
            Model::Mean(MovingMean::new(9)),
        ]);
        (0..200).for_each(|i| ensemble.observe(season(i)));
        for step in [1, 2, 9, 15, 40] {
            let weights = ensemble.weights(step);
            assert!(weights[1] > 0.99, "step {step}: {weights:?}");
            assert!((weights.iter().sum::<f64>() - 1.0).abs() < 1e-12);
        }
        let mut path = [0.0; 20];
        ensemble.predict(&mut path);
        for (k, v) in path.iter().enumerate() {
            assert!((v - season(200 + k)).abs() < 1.0, "step {k}: {v}");
        }
    }

    #[test]
    fn weights_turn_when_another_member_becomes_the_better_one() {
        let mut ensemble = Ensemble::new(vec![
            Model::Last(LastValue::default()),
            Model::Smoothing(Smoothing::new(SmoothingConfig::new(TrendKind::Additive))),
        ]);
        // A slope favours Holt.
        (0..150).for_each(|i| ensemble.observe(10.0 + 3.0 * f64::from(i)));
        assert!(ensemble.weights(15)[1] > 0.9, "{:?}", ensemble.weights(15));
        // Steps favour the last value.
        (0..400).for_each(|i| ensemble.observe(if i / 25 % 2 == 0 { 460.0 } else { 100.0 }));
        assert!(ensemble.weights(15)[0] > 0.5, "{:?}", ensemble.weights(15));
    }

    #[test]
    fn a_member_that_is_not_ready_leaves_the_others_to_speak() {
        let mut ensemble = Ensemble::new(vec![
            Model::Last(LastValue::default()),
            Model::Smoothing(Smoothing::classic(false)),
        ]);
        ensemble.observe(5.0);
        assert!(ensemble.observations() >= ensemble.needed());
        let mut path = [0.0; 3];
        ensemble.predict(&mut path);
        assert_eq!(path, [5.0; 3]);
        assert_eq!(ensemble.weights(1), [1.0, 0.0]);
    }
}
