//! Can one ensemble forecast many workloads?
//!
//! [`GlobalTrees`] is trained on (origin, step ahead) pairs of any number of series, described by
//! [`Features`], which have no unit. The step ahead is a feature: one ensemble serves all steps, and neighbouring steps
//! teach each other. Trained on one series it is the local model of [`Gbt`](crate::models::Gbt).
//!
//! A step without a value teaches nothing and is no target. After more than 15 of them the features start again.

use super::{Ensemble, Loss, Table, TreeParams};
use crate::evaluation::Series;
use crate::features::{FEATURES, Features};
use crate::rng::Rng;
use serde::{Deserialize, Serialize};

/// Values before the first origin that teaches: with fewer the features say little.
const WARM_UP: u64 = 30;
/// Steps without a value after which features start again.
const LONGEST_GAP: usize = 15;

/// Settings of [`GlobalTrees`].
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct GlobalConfig {
    /// Steps ahead that are learnt; later ones are forecast as the last of them.
    pub horizon: usize,
    /// About how many (origin, step ahead) pairs are learnt from, of all series together. Where there are more, they
    /// are drawn evenly.
    pub rows: usize,
    /// Most bins of a feature.
    pub max_bins: usize,
    /// How trees are grown. The loss decides what is forecast: the median by default, as absolute errors are what
    /// forecasts are judged by and one burst must not bend the rest.
    pub trees: TreeParams,
}

impl Default for GlobalConfig {
    /// Fewer, smaller steps and larger leaves than trees usually have: demand is mostly noise. 120 trees at 0.08 with leaves
    /// of 40 rows were 1 to 2 % worse on WorldCup 98, NASA and Azure CPU, no better on an ELB trace, and dearer.
    fn default() -> Self {
        let trees = TreeParams {
            loss: Loss::Pinball(0.5),
            trees: 80,
            learning_rate: 0.06,
            max_depth: 8,
            max_leaves: 31,
            min_child_rows: 150,
            row_share: 0.6,
            feature_share: 0.7,
            ..TreeParams::default()
        };
        Self { horizon: 15, rows: 24_000, max_bins: 64, trees }
    }
}

/// Pairs to learn from.
#[derive(Clone, Debug, Default)]
pub(crate) struct Rows {
    features: Vec<f32>,
    targets: Vec<f32>,
}

impl Rows {
    /// Adds about `wanted` pairs of a series (NaN: no value) whose first value `state` is to see next. Each origin
    /// knows only what came before it.
    pub(crate) fn add(
        &mut self,
        values: &[f64],
        mut state: Features,
        horizon: usize,
        wanted: usize,
        rng: &mut Rng,
    ) {
        let per_origin = wanted as f32 / values.len().max(1) as f32;
        let (mut row, mut gap) = ([0.0; FEATURES], 0);
        for (origin, &value) in values.iter().enumerate() {
            if value.is_nan() {
                gap += 1;
                if gap > LONGEST_GAP {
                    state.restart(1)
                } else {
                    state.skip()
                }
                continue;
            }
            gap = 0;
            state.observe(value);
            let reach = horizon.min(values.len() - 1 - origin);
            if reach == 0 || state.seen() < WARM_UP {
                continue;
            }
            let draws = if per_origin >= reach as f32 {
                reach
            } else {
                per_origin as usize + usize::from(rng.unit() < per_origin.fract())
            };
            if draws == 0 {
                continue;
            }
            state.write_now(&mut row);
            let first = rng.below(reach);
            for k in 0..draws {
                let ahead = 1 + (first + k * reach / draws) % reach;
                let target = values[origin + ahead];
                if !target.is_nan() {
                    state.write_ahead(ahead, &mut row);
                    self.features.extend(row);
                    self.targets.push(state.scaled(target));
                }
            }
        }
    }

    /// Pairs.
    pub(crate) fn len(&self) -> usize {
        self.targets.len()
    }

    /// Trains an ensemble on all of them.
    pub(crate) fn train(&self, config: &GlobalConfig) -> Ensemble {
        Ensemble::train(&self.table(config), &self.targets, &self.params(config))
    }

    fn table(&self, config: &GlobalConfig) -> Table {
        Table::new(&self.features, FEATURES, config.max_bins)
    }

    /// Where every origin gives many pairs they are near copies: a leaf needs several origins all the same.
    fn params(&self, config: &GlobalConfig) -> TreeParams {
        let least = config.trees.min_child_rows.max(self.targets.len() / 400);
        TreeParams { min_child_rows: least, ..config.trees.clone() }
    }
}

/// One ensemble for all workloads. See the module text.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct GlobalTrees {
    config: GlobalConfig,
    ensemble: Ensemble,
}

impl GlobalTrees {
    /// Trains on `series`, each with an equal share of [`GlobalConfig::rows`].
    pub fn train(series: &[Series<'_>], config: GlobalConfig) -> Self {
        let (mut rows, mut rng) = (Rows::default(), Rng::new(config.trees.seed));
        for one in series {
            let values: Vec<f64> =
                one.values.iter().map(|v| v.filter(|v| v.is_finite()).unwrap_or(f64::NAN)).collect();
            let state = Self::features_of(one);
            rows.add(&values, state, config.horizon, config.rows / series.len().max(1), &mut rng);
        }
        let ensemble = rows.train(&config);
        Self { config, ensemble }
    }

    /// Features of a series before its first value, in phase with its clock.
    pub fn features_of(series: &Series<'_>) -> Features {
        let step_ms = u64::try_from(series.step.as_millis()).unwrap_or(u64::MAX).max(1);
        let since_epoch = u64::try_from(series.start.millis()).unwrap_or(0);
        Features::new(step_ms).starting_at(since_epoch / step_ms)
    }

    /// The answer to one row of features ([`Features::unscaled`] turns it into demand).
    pub fn predict(&self, features: &[f32; FEATURES]) -> f32 {
        self.ensemble.predict(features)
    }

    /// The forecast of steps 1 to `out.len()` for a workload in this state; steps beyond the horizon get the last one's.
    pub fn forecast(&self, state: &Features, out: &mut [f64]) {
        forecast(&self.ensemble, state, self.config.horizon, out);
    }

    /// Settings.
    pub fn config(&self) -> &GlobalConfig {
        &self.config
    }

    /// Bytes on the heap.
    pub fn heap_bytes(&self) -> usize {
        self.ensemble.heap_bytes()
    }
}

/// See [`GlobalTrees::forecast`].
pub(crate) fn forecast(ensemble: &Ensemble, state: &Features, horizon: usize, out: &mut [f64]) {
    let mut row = [0.0; FEATURES];
    state.write_now(&mut row);
    let learnt = horizon.clamp(1, out.len().max(1)).min(out.len());
    for (k, slot) in out[..learnt].iter_mut().enumerate() {
        state.write_ahead(k + 1, &mut row);
        *slot = state.unscaled(ensemble.predict(&row));
    }
    if let Some(&last) = out[..learnt].last() {
        out[learnt..].fill(last);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use sphere_core::Timestamp;
    use std::time::Duration;

    const STEP: Duration = Duration::from_secs(300);

    /// Three days of a workload with a daily wave and a burst at every full hour.
    fn workload(size: f64, seed: u64) -> Vec<Option<f64>> {
        let mut rng = Rng::new(seed);
        (0..864)
            .map(|i| {
                let wave = 2.0 + (f64::from(i) / 288.0 * std::f64::consts::TAU).sin();
                let burst = if i % 12 == 0 { 1.5 } else { 0.0 };
                Some(size * (wave + burst + 0.2 * f64::from(rng.unit())))
            })
            .collect()
    }

    fn series(values: &[Option<f64>]) -> Series<'_> {
        Series { values, start: Timestamp(0), step: STEP }
    }

    #[test]
    fn what_is_learnt_on_some_workloads_serves_another_of_another_size() {
        let known: Vec<_> = (0..4).map(|i| workload(10f64.powi(i), i as u64)).collect();
        let all: Vec<Series<'_>> = known.iter().map(|v| series(v)).collect();
        let config = GlobalConfig { rows: 12_000, ..GlobalConfig::default() };
        let trees = GlobalTrees::train(&all, config);
        let new = workload(12_345.0, 99);
        let mut state = GlobalTrees::features_of(&series(&new));
        let (mut ours, mut level, mut out) = (0.0, 0.0, [0.0; 15]);
        for (i, value) in new.iter().flatten().enumerate() {
            state.observe(*value);
            if i > 300 && i + 15 < new.len() {
                trees.forecast(&state, &mut out);
                for (k, forecast) in out.iter().enumerate() {
                    let actual = new[i + 1 + k].unwrap();
                    ours += (forecast - actual).abs();
                    level += (state.level() - actual).abs();
                }
            }
        }
        assert!(ours < 0.5 * level, "{ours} against {level}");
    }

    #[test]
    fn gaps_and_bad_values_do_not_stop_the_training() {
        let mut values = workload(5.0, 1);
        values[200..260].fill(None);
        values[300] = Some(f64::NAN);
        values[400] = Some(f64::INFINITY);
        let trees = GlobalTrees::train(
            &[series(&values), series(&[]), series(&[Some(1.0)])],
            GlobalConfig::default(),
        );
        let (state, mut out) = (Features::new(300_000), [f64::NAN; 40]);
        trees.forecast(&state, &mut out);
        assert!(out.iter().all(|v| v.is_finite()));
        assert!(out[15..].iter().all(|v| *v == out[14]));
        trees.forecast(&state, &mut []);
    }
}
