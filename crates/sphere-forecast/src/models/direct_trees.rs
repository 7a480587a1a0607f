//! What do boosted trees on the last two dozen values say, one ensemble per step ahead?
//!
//! The founding system's XGBoost model: squared error, 100 trees of depth 6, rate 0.05, at least two rows per leaf, 0.8 of
//! the rows and of the features per tree, α 0.01, λ 1; 24 lags as features; 12 outputs, each with an ensemble of its own;
//! first training at 36 values, the leaves estimated anew every 30 (the `refresh` updater of Chen & Guestrin, *XGBoost*,
//! KDD 2016). On the last 2,000 values. It is here as what later models are compared with: [`Gbt`](super::Gbt) is better
//! and cheaper.
//!
//! Two things differ, as the founding system never changes the splits of its first training: they are made anew
//! whenever history has doubled, and then every [`DirectTreesConfig::rebuild_every`] values. And all is relative to mean and
//! deviation of the window at that time, so that α means the same in every unit.
//!
//! | input | behaviour |
//! |---|---|
//! | before the first training | no forecast |
//! | a step without a value | a missing feature for the steps after it, no target |
//! | a restart | the window is emptied; the trees stay and serve again after 24 values |
//! | more steps ahead than outputs | the last output |
//! | a constant series | the constant |

use crate::PointModel;
use crate::trees::{Ensemble, Table, TreeParams};
use serde::{Deserialize, Serialize};
use std::collections::VecDeque;

/// Settings of [`DirectTrees`].
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct DirectTreesConfig {
    /// Last values that are features.
    pub lags: usize,
    /// Steps ahead with an ensemble of their own.
    pub outputs: usize,
    /// Values trained on.
    pub window: usize,
    /// New values after which leaves are estimated anew; `None`: trees change only when [`PointModel::refit`] is called.
    pub refresh_every: Option<usize>,
    /// New values after which trees are grown anew, once history no longer doubles.
    pub rebuild_every: usize,
    /// Most bins of a feature.
    pub max_bins: usize,
    /// How trees are grown.
    pub trees: TreeParams,
}

impl DirectTreesConfig {
    /// The founding settings on the last `window` values.
    pub fn founding(window: usize) -> Self {
        let trees = TreeParams {
            trees: 100,
            learning_rate: 0.05,
            max_depth: 6,
            max_leaves: 64,
            min_child_rows: 2,
            l1: 0.01,
            l2: 1.0,
            row_share: 0.8,
            feature_share: 0.8,
            ..TreeParams::default()
        };
        let (lags, outputs) = (24, 12);
        Self {
            lags,
            outputs,
            window: window.max(lags + outputs),
            refresh_every: Some(30),
            rebuild_every: 600,
            max_bins: 64,
            trees,
        }
    }
}

/// Lags in, one ensemble per step ahead.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct DirectTrees {
    config: DirectTreesConfig,
    /// The last values; `None` where a step brought none.
    values: VecDeque<Option<f64>>,
    ensembles: Vec<Ensemble>,
    /// Zero and unit of features and targets, from the last time trees were grown.
    center: f64,
    unit: f64,
    seen: usize,
    since_refresh: usize,
    since_rebuild: usize,
    /// Values in the window when trees were last grown, 0 before.
    grown_on: usize,
    stagger: usize,
}

impl DirectTrees {
    /// A model that has seen nothing; lags, outputs and window are raised to what makes sense.
    pub fn new(mut config: DirectTreesConfig) -> Self {
        config.lags = config.lags.max(1);
        config.outputs = config.outputs.max(1);
        config.window = config.window.max(config.lags + config.outputs);
        Self {
            values: VecDeque::new(),
            ensembles: Vec::new(),
            center: 0.0,
            unit: 1.0,
            seen: 0,
            since_refresh: 0,
            since_rebuild: 0,
            grown_on: 0,
            stagger: 0,
            config,
        }
    }

    fn push(&mut self, value: Option<f64>) {
        if self.values.len() >= self.config.window {
            self.values.pop_front();
        }
        self.values.push_back(value);
    }

    /// Mean and standard deviation of the window; the size of a constant one stands in for its deviation.
    fn measure(&mut self) {
        let largest = self.values.iter().flatten().fold(0.0, |most: f64, v| most.max(v.abs()));
        if largest == 0.0 {
            (self.center, self.unit) = (0.0, 1.0);
            return;
        }
        // In units of the largest, so that squares stay in range.
        let n = self.values.iter().flatten().count() as f64;
        let mean = self.values.iter().flatten().map(|v| v / largest).sum::<f64>() / n;
        let variance = self.values.iter().flatten().map(|v| (v / largest - mean).powi(2)).sum::<f64>() / n;
        self.center = mean * largest;
        let deviation = variance.sqrt();
        self.unit = if deviation > 1e-9 { deviation * largest } else { largest };
    }

    fn scaled(&self, value: Option<f64>) -> f32 {
        let relative = value.map_or(f64::NAN, |value| (value - self.center) / self.unit);
        // Far beyond what was seen at the last training only the direction counts.
        relative.clamp(-1e6, 1e6) as f32
    }

    /// All rows of lags whose first target has come, oldest first, and all values, scaled.
    fn rows(&self) -> (Vec<f32>, Vec<f32>) {
        let scaled: Vec<f32> = self.values.iter().map(|v| self.scaled(*v)).collect();
        let rows = scaled.len().saturating_sub(self.config.lags);
        let lags = scaled.windows(self.config.lags).take(rows).flatten().copied().collect();
        (lags, scaled)
    }

    fn targets<'a>(&self, scaled: &'a [f32], output: usize) -> &'a [f32] {
        scaled.get(self.config.lags + output..).unwrap_or_default()
    }

    /// Grows all trees anew.
    fn rebuild(&mut self) {
        self.measure();
        let (lags, scaled) = self.rows();
        let table = Table::new(&lags, self.config.lags, self.config.max_bins);
        self.ensembles = (0..self.config.outputs)
            .map(|output| {
                let seed = self.config.trees.seed.wrapping_add(output as u64);
                let params = TreeParams { seed, ..self.config.trees.clone() };
                // The last rows have no target at this output yet: they are beyond the targets.
                Ensemble::train(&table, self.targets(&scaled, output), &params)
            })
            .collect();
        self.since_refresh = 0;
        self.since_rebuild = 0;
        self.grown_on = self.values.len();
    }

    fn refresh(&mut self) {
        let (lags, scaled) = self.rows();
        let mut ensembles = std::mem::take(&mut self.ensembles);
        for (output, ensemble) in ensembles.iter_mut().enumerate() {
            ensemble.refresh(&lags, self.targets(&scaled, output), &self.config.trees);
        }
        self.ensembles = ensembles;
        self.since_refresh = 0;
    }
}

impl PointModel for DirectTrees {
    fn observe(&mut self, value: f64) {
        self.push(Some(value));
        self.seen += 1;
        self.since_refresh += 1;
        self.since_rebuild += 1;
        let len = self.values.len();
        if self.grown_on == 0 {
            if len >= self.needed_first() {
                self.rebuild();
                self.since_rebuild = self.stagger;
            }
            return;
        }
        let Some(refresh_every) = self.config.refresh_every else { return };
        let doubled = len > self.grown_on && len >= (2 * self.grown_on).min(self.config.window);
        if doubled || (self.since_rebuild >= self.config.rebuild_every && len >= 2 * self.needed_first()) {
            self.rebuild();
        } else if self.since_refresh >= refresh_every && len >= self.needed_first() {
            self.refresh();
        }
    }

    fn skip(&mut self) {
        self.push(None);
    }

    fn restart(&mut self, _steps: u64) {
        self.values.clear();
        self.seen = 0;
    }

    fn refit(&mut self) {
        if self.values.len() >= self.needed_first() {
            self.rebuild();
        }
    }

    fn stagger_refits(&mut self, phase: usize) {
        self.stagger = phase % self.config.rebuild_every.max(1);
        self.since_rebuild = self.stagger;
    }

    fn observations(&self) -> usize {
        // Grown once, the trees need the lags only.
        if self.grown_on > 0 && self.seen >= self.config.lags {
            return self.seen.max(self.needed());
        }
        self.seen.min(self.needed() - 1)
    }

    fn needed(&self) -> usize {
        self.needed_first()
    }

    fn heap_bytes(&self) -> usize {
        let trees: usize = self.ensembles.iter().map(Ensemble::heap_bytes).sum();
        self.values.capacity() * size_of::<Option<f64>>()
            + self.ensembles.capacity() * size_of::<Ensemble>()
            + trees
    }

    fn predict(&self, out: &mut [f64]) {
        let begin = self.values.len().saturating_sub(self.config.lags);
        let row: Vec<f32> = self.values.range(begin..).map(|v| self.scaled(*v)).collect();
        let mut last = self.center;
        for (k, slot) in out.iter_mut().enumerate() {
            if let Some(ensemble) = self.ensembles.get(k) {
                last = self.center + self.unit * f64::from(ensemble.predict(&row));
            }
            *slot = last;
        }
    }
}

impl DirectTrees {
    fn needed_first(&self) -> usize {
        self.config.lags + self.config.outputs
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn demand(i: usize) -> f64 {
        [10.0, 30.0, 50.0, 20.0, 5.0, 15.0, 25.0, 45.0][i % 8]
    }

    fn path(model: &DirectTrees) -> Vec<f64> {
        let mut out = vec![0.0; 15];
        model.predict(&mut out);
        out
    }

    #[test]
    fn a_pattern_is_learnt_and_outputs_beyond_the_last_repeat_it() {
        let mut model = DirectTrees::new(DirectTreesConfig::founding(2000));
        (0..400).for_each(|i| model.observe(demand(i)));
        let path = path(&model);
        for (k, forecast) in path[..12].iter().enumerate() {
            assert!((forecast - demand(400 + k)).abs() < 3.0, "step {k}: {forecast}");
        }
        assert!(path[12..].iter().all(|v| *v == path[11]));
    }

    #[test]
    fn the_first_training_is_at_36_values_and_later_ones_follow_a_new_level() {
        let mut model = DirectTrees::new(DirectTreesConfig::founding(300));
        (0..35).for_each(|i| model.observe(demand(i)));
        assert!(model.observations() < model.needed());
        model.observe(demand(35));
        assert!(model.observations() >= model.needed());
        (36..400).for_each(|i| model.observe(demand(i)));
        (400..800).for_each(|i| model.observe(1000.0 + demand(i)));
        assert!((path(&model)[0] - 1000.0 - demand(800)).abs() < 10.0);
    }

    #[test]
    fn missing_steps_and_a_silence_are_bridged() {
        let mut model = DirectTrees::new(DirectTreesConfig::founding(2000));
        (0..200).for_each(|i| if i % 17 == 5 { model.skip() } else { model.observe(demand(i)) });
        model.refit();
        assert!(path(&model).iter().all(|v| (0.0..60.0).contains(v)));
        model.restart(100);
        (0..24).for_each(|i| {
            assert!(model.observations() < model.needed());
            model.observe(demand(i));
        });
        assert!(model.observations() >= model.needed());
        assert!(path(&model).iter().all(|v| (0.0..60.0).contains(v)));
    }
}
