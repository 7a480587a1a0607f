//! What do boosted trees, taught on the workload's own last days, make of the moment?
//!
//! Direct gradient-boosted trees on scaled features: [`GlobalTrees`](crate::trees::GlobalTrees) on one series, with the
//! last days as its history. The design (lags, rolling statistics, clock and profiles as features; direct forecasts of all
//! steps, the step ahead being a feature; median loss) is that of the winning trees of the M5 competition (Makridakis,
//! Spiliotis & Assimakopoulos, *M5 accuracy competition*, Int. J. Forecasting 38, 2022), with local scaling so that trees
//! can follow a level they have never seen.
//!
//! The first training is after [`GbtConfig::first_fit`] values, the next ones whenever history has doubled, then every
//! [`GbtConfig::refit_every`] steps. Between trainings a value costs O(1).
//!
//! | input | behaviour |
//! |---|---|
//! | before the first training | the local level (an exponential mean over some six values) at every step |
//! | a step without a value | the clock moves on; the step is no lag and no target |
//! | a restart | levels and lags begin anew with the next value; trees, profiles and history stay |
//! | a constant series | the constant |

use crate::PointModel;
use crate::features::Features;
use crate::history::History;
use crate::rng::Rng;
use crate::trees::{Ensemble, GlobalConfig, Rows, forecast};
use serde::{Deserialize, Serialize};

/// With fewer pairs to learn from, trees that are there stay.
const FEWEST_PAIRS: usize = 500;

/// Settings of [`Gbt`].
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct GbtConfig {
    /// Width of a step, milliseconds: it says how many steps make a day.
    pub step_ms: u64,
    /// Values that are kept and trained on.
    pub window: usize,
    /// Values before the first training.
    pub first_fit: usize,
    /// Steps from one training to the next once history no longer doubles; `None`: only when
    /// [`PointModel::refit`] is called.
    pub refit_every: Option<usize>,
    /// Trees and rows of a training.
    pub learning: GlobalConfig,
}

impl GbtConfig {
    /// Seven days (at least 500 values, at most 65,536), trained anew four times a day and at least 60 steps apart.
    pub fn new(step_ms: u64, horizon: usize) -> Self {
        let day = usize::try_from(86_400_000 / step_ms.max(1)).unwrap_or(usize::MAX);
        Self {
            step_ms,
            window: day.saturating_mul(7).clamp(500, 1 << 16),
            first_fit: 120,
            refit_every: Some((day / 4).max(60)),
            learning: GlobalConfig { horizon: horizon.max(1), ..GlobalConfig::default() },
        }
    }
}

/// Boosted trees on one workload.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Gbt {
    config: GbtConfig,
    features: Features,
    history: History,
    ensemble: Ensemble,
    /// Values in history at the last training, 0 before the first.
    trained_on: usize,
    trainings: u64,
    since_fit: usize,
    stagger: usize,
}

impl Gbt {
    /// A model that has seen nothing.
    pub fn new(config: GbtConfig) -> Self {
        Self {
            features: Features::new(config.step_ms),
            history: History::new(config.window),
            ensemble: Ensemble::default(),
            trained_on: 0,
            trainings: 0,
            since_fit: 0,
            stagger: 0,
            config,
        }
    }

    /// Trees in use.
    pub fn trees(&self) -> usize {
        self.ensemble.len()
    }

    fn due(&self) -> bool {
        let len = self.history.len();
        if self.trained_on == 0 {
            return len >= self.config.first_fit;
        }
        let grown = len >= (2 * self.trained_on).min(self.config.window) && len > self.trained_on;
        grown || self.config.refit_every.is_some_and(|every| self.since_fit >= every)
    }
}

impl PointModel for Gbt {
    fn observe(&mut self, value: f64) {
        self.features.observe(value);
        self.history.push(Some(value));
        self.since_fit += 1;
        if self.due() {
            self.refit();
        }
    }

    fn skip(&mut self) {
        self.features.skip();
        self.history.push(None);
    }

    fn restart(&mut self, steps: u64) {
        self.features.restart(steps);
        self.history.push_missing(steps);
    }

    fn refit(&mut self) {
        let first = self.trained_on == 0;
        self.since_fit = if first { self.stagger } else { 0 };
        self.trained_on = self.history.len();
        let values: Vec<f64> = self.history.iter().map(|v| v.unwrap_or(f64::NAN)).collect();
        let begin = self.features.index().wrapping_sub(values.len() as u64);
        let state = Features::new(self.config.step_ms).starting_at(begin);
        let learning = &self.config.learning;
        // Another draw each time, the same in every replay.
        let mut rng = Rng::new(learning.trees.seed.wrapping_add(self.trainings));
        self.trainings += 1;
        let mut rows = Rows::default();
        rows.add(&values, state, learning.horizon, learning.rows, &mut rng);
        // After a silence that emptied the history, what was learnt before is better than nothing.
        if rows.len() >= FEWEST_PAIRS || self.ensemble.is_empty() {
            self.ensemble = rows.train(learning);
        }
    }

    fn stagger_refits(&mut self, phase: usize) {
        if let Some(every) = self.config.refit_every {
            self.stagger = phase % every.max(1);
            self.since_fit = self.stagger;
        }
    }

    fn observations(&self) -> usize {
        usize::try_from(self.features.seen()).unwrap_or(usize::MAX)
    }

    fn heap_bytes(&self) -> usize {
        self.features.heap_bytes() + self.history.heap_bytes() + self.ensemble.heap_bytes()
    }

    fn predict(&self, out: &mut [f64]) {
        forecast(&self.ensemble, &self.features, self.config.learning.horizon, out);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn demand(i: u64) -> f64 {
        let burst = if i % 12 == 3 { 40.0 } else { 0.0 };
        100.0 + 30.0 * (i as f64 / 288.0 * std::f64::consts::TAU).sin() + burst + ((i * 7919) % 5) as f64
    }

    fn model() -> Gbt {
        Gbt::new(GbtConfig::new(300_000, 15))
    }

    fn path(model: &Gbt) -> Vec<f64> {
        let mut out = vec![0.0; 15];
        model.predict(&mut out);
        out
    }

    #[test]
    fn bursts_at_a_minute_of_the_hour_are_foreseen() {
        let mut model = model();
        (0..900).for_each(|i| model.observe(demand(i)));
        for (k, forecast) in path(&model).iter().enumerate() {
            assert!((forecast - demand(900 + k as u64)).abs() < 12.0, "step {k}: {forecast}");
        }
    }

    #[test]
    fn trainings_come_when_history_doubles_and_then_on_schedule() {
        let mut model = model();
        let mut fits = Vec::new();
        for i in 0..1200 {
            let before = model.trainings;
            model.observe(demand(i));
            if model.trainings > before {
                fits.push(i + 1);
            }
        }
        assert_eq!(fits, [120, 192, 264, 336, 408, 480, 552, 624, 696, 768, 840, 912, 984, 1056, 1128, 1200]);
        let mut slow = Gbt::new(GbtConfig { refit_every: None, window: 500, ..GbtConfig::new(300_000, 15) });
        (0..1200).for_each(|i| slow.observe(demand(i)));
        assert_eq!(slow.trainings, 4);
    }

    #[test]
    fn before_the_first_training_the_local_level_is_served() {
        let mut model = model();
        model.observe(5.0);
        assert_eq!(path(&model), [5.0; 15]);
    }

    #[test]
    fn a_long_silence_leaves_the_phase_of_the_hour_right() {
        let mut model = model();
        (0..900).for_each(|i| model.observe(demand(i)));
        model.restart(30);
        (930..960).for_each(|i| model.observe(demand(i)));
        model.refit();
        for (k, forecast) in path(&model).iter().enumerate() {
            assert!((forecast - demand(960 + k as u64)).abs() < 15.0, "step {k}: {forecast}");
        }
    }
}
