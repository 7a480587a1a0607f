//! What does a small recurrent network, taught as values come in, expect of the next minutes?
//!
//! [`Lstm`](crate::neural::Lstm) on the last 30 values, scaled by their own mean and spread, with one output per step
//! ahead. Two of the founding system's models in this form:
//!
//! - `lstm`: sequence 30, Adam at 0.001, a batch of 32 for every 10 new values. The founding one forecast 12 steps by
//!   feeding its answers back; outputs of their own do not let errors grow (Taieb et al., *A review and comparison of
//!   strategies for multi-step ahead time series forecasting*, Expert Systems with Applications 39, 2012).
//! - `wavelet-lstm`: sequence 32, Haar wavelet of level 4, Adam at 0.0005, batches of 16. The network sees the five
//!   components of each step ([`Causal`]) instead of the value. Founding decomposed each window anew, so that one
//!   value had other coefficients in each window, and had three layers of 128, 128 and 64 units, some 250,000 parameters
//!   for 60 values; here it is one layer of 24.
//!
//! Founding networks came pre-trained from files. These start from a seed: a first training after 60 values, further
//! ones whenever history has doubled, and in between one batch for every 10 values: the newest origins whose targets have
//! come, and earlier ones drawn from the history, so that a quiet night does not make it forget the day (rehearsal; Robins,
//! *Catastrophic forgetting, rehearsal and pseudorehearsal*, Connection Science 7, 1995).
//!
//! | input | behaviour |
//! |---|---|
//! | before the first training | no forecast |
//! | a step without a value | the value before stands in; as a target it is left out |
//! | a restart | the sequence begins anew, the network stays; forecasts go on after ten values |
//! | more steps ahead than outputs | the last output |
//! | a constant series | the constant |

use crate::PointModel;
use crate::history::History;
use crate::neural::{Adam, Lstm, Shape, Tape};
use crate::rng::Rng;
use crate::wavelet::{Causal, LEVELS, REACH};
use serde::{Deserialize, Serialize};

/// Steps after a restart before forecasts go on.
const AFTER_RESTART: usize = 10;
/// Scaled inputs and targets are cut here.
const LIMIT: f64 = 8.0;

/// Settings of [`Recurrent`].
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RecurrentConfig {
    /// Values the network sees.
    pub sequence: usize,
    /// Does it see their wavelet components instead?
    pub wavelet: bool,
    /// Units of the network's state.
    pub hidden: usize,
    /// Steps ahead with an output of their own.
    pub outputs: usize,
    /// Values kept to draw batches from.
    pub window: usize,
    /// New values after which a batch is learnt; `None`: only in [`PointModel::refit`].
    pub update_every: Option<usize>,
    /// Origins in a batch.
    pub batch: usize,
    /// Rate of Adam.
    pub learning_rate: f32,
    /// Batches of the first training, of those at doubled history, and of a refit.
    pub training_batches: usize,
    /// Seed of the initial weights and of the draws.
    pub seed: u64,
}

impl RecurrentConfig {
    /// `lstm`, see the module text.
    pub fn lstm(outputs: usize) -> Self {
        Self {
            sequence: 30,
            wavelet: false,
            hidden: 24,
            outputs: outputs.max(1),
            window: 2000,
            update_every: Some(10),
            batch: 32,
            learning_rate: 1e-3,
            training_batches: 150,
            seed: 0,
        }
    }

    /// `wavelet-lstm`, see the module text.
    pub fn wavelet_lstm(outputs: usize) -> Self {
        let (sequence, batch) = (32, 16);
        Self {
            sequence,
            wavelet: true,
            batch,
            learning_rate: 5e-4,
            training_batches: 300,
            ..Self::lstm(outputs)
        }
    }

    fn inputs(&self) -> usize {
        if self.wavelet { LEVELS + 1 } else { 1 }
    }

    /// Values before the first training.
    fn first(&self) -> usize {
        2 * self.sequence.max(self.outputs)
    }
}

/// An LSTM on one workload.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Recurrent {
    config: RecurrentConfig,
    lstm: Lstm,
    adam: Adam,
    rng: Rng,
    history: History,
    /// Values since the start or the last restart, and steps with those that brought none.
    values: usize,
    steps: usize,
    since_update: usize,
    /// Length of history at the last full training, 0 before.
    trained_on: usize,
}

/// Mean and spread that a sequence is scaled by.
#[derive(Clone, Copy)]
struct Scale {
    mean: f64,
    spread: f64,
}

impl Scale {
    fn of(values: &[f64]) -> Self {
        let n = values.len().max(1) as f64;
        let mean = values.iter().map(|v| v / n).sum::<f64>();
        let largest = values.iter().fold(0.0, |most: f64, v| most.max((v - mean).abs()));
        // In units of the largest deviation, so that squares stay in range.
        let relative = if largest > 0.0 {
            (values.iter().map(|v| ((v - mean) / largest).powi(2)).sum::<f64>() / n).sqrt()
        } else {
            0.0
        };
        Self { mean, spread: relative * largest + 0.02 * mean.abs() }
    }

    fn scaled(self, difference: f64) -> f32 {
        let ratio = difference / self.spread;
        if ratio.is_nan() { 0.0 } else { ratio.clamp(-LIMIT, LIMIT) as f32 }
    }
}

impl Recurrent {
    /// A network that has seen nothing.
    pub fn new(mut config: RecurrentConfig) -> Self {
        config.sequence = config.sequence.max(2);
        config.batch = config.batch.max(1);
        config.window = config.window.max(config.first() + REACH);
        let shape = Shape { inputs: config.inputs(), hidden: config.hidden.max(1), outputs: config.outputs };
        Self {
            lstm: Lstm::new(shape, config.seed),
            adam: Adam::new(shape.parameters(), config.learning_rate),
            rng: Rng::new(config.seed ^ 0x5EED),
            history: History::new(config.window),
            values: 0,
            steps: 0,
            since_update: 0,
            trained_on: 0,
            config,
        }
    }

    /// Steps before the sequence that its components need.
    fn lead_in(&self) -> usize {
        if self.config.wavelet { REACH - 1 } else { 0 }
    }

    /// Scale and inputs of the sequence that ends `values`; earlier ones are the lead-in.
    fn inputs(&self, values: &[f64], mut put: impl FnMut(usize, f32)) -> Scale {
        let length = self.config.sequence;
        let begin = values.len().saturating_sub(length);
        let scale = Scale::of(&values[begin..]);
        let missing = length - (values.len() - begin);
        let width = self.config.inputs();
        for step in 0..length {
            // Shorter than the sequence: the first value stands in for those before.
            let end = (begin + step + 1).saturating_sub(missing).max(1);
            if self.config.wavelet {
                let components = Causal::components(&values[end.saturating_sub(REACH)..end]);
                for (k, component) in components.iter().enumerate() {
                    let difference = if k == LEVELS { component - scale.mean } else { *component };
                    put(step * width + k, scale.scaled(difference));
                }
            } else {
                put(step, scale.scaled(values[end - 1] - scale.mean));
            }
        }
        scale
    }

    /// History with gaps closed by the value before, and where they were.
    fn filled(&self) -> (Vec<f64>, Vec<bool>) {
        let known: Vec<bool> = self.history.iter().map(|v| v.is_some()).collect();
        let mut last = self.history.iter().flatten().next().unwrap_or(0.0);
        let fill = |value: Option<f64>| {
            last = value.unwrap_or(last);
            last
        };
        (self.history.iter().map(fill).collect(), known)
    }

    /// Learns `batches` batches; the newest origins are in the first one.
    fn train(&mut self, batches: usize) {
        let (values, known) = self.filled();
        let (width, outputs, samples) = (self.config.inputs(), self.config.outputs, self.config.batch);
        let first = self.config.sequence - 1;
        let last = values.len().saturating_sub(outputs + 1);
        if last < first {
            return;
        }
        let mut inputs = vec![0.0; self.config.sequence * samples * width];
        let mut targets = vec![0.0; samples * outputs];
        let (mut tape, mut gradient) = (Tape::default(), Vec::new());
        for batch in 0..batches {
            for sample in 0..samples {
                let newest = self.config.update_every.unwrap_or(0).min(samples);
                let origin = if batch == 0 && sample < newest {
                    last.saturating_sub(sample).max(first)
                } else {
                    first + self.rng.below(last - first + 1)
                };
                let begin = (origin + 1).saturating_sub(self.config.sequence + self.lead_in());
                let scale = self.inputs(&values[begin..=origin], |at, value| {
                    let (step, k) = (at / width, at % width);
                    inputs[(step * samples + sample) * width + k] = value;
                });
                for (k, target) in targets[sample * outputs..(sample + 1) * outputs].iter_mut().enumerate() {
                    let at = origin + 1 + k;
                    *target = if known[at] { scale.scaled(values[at] - scale.mean) } else { f32::NAN };
                }
            }
            self.lstm.gradient(&inputs, &targets, samples, &mut tape, &mut gradient);
            self.adam.step(self.lstm.parameters_mut(), &mut gradient);
        }
        self.since_update = 0;
    }
}

impl PointModel for Recurrent {
    fn observe(&mut self, value: f64) {
        self.history.push(Some(value));
        self.values += 1;
        self.steps += 1;
        self.since_update += 1;
        let len = self.history.len();
        let grown = len > self.trained_on && len >= (2 * self.trained_on).min(self.config.window);
        if (self.trained_on == 0 && len >= self.config.first()) || (self.trained_on > 0 && grown) {
            self.trained_on = len;
            self.train(self.config.training_batches);
        } else if self.trained_on > 0 && self.config.update_every.is_some_and(|n| self.since_update >= n) {
            self.train(1);
        }
    }

    fn skip(&mut self) {
        self.history.push(None);
        self.steps += 1;
    }

    fn restart(&mut self, steps: u64) {
        // A sequence's worth of gap says all that a longer one would.
        self.history.push_missing(steps.min(self.config.sequence as u64));
        (self.values, self.steps) = (0, 0);
    }

    fn refit(&mut self) {
        if self.history.len() >= self.config.first() {
            self.trained_on = self.history.len();
            self.train(self.config.training_batches);
        }
    }

    fn stagger_refits(&mut self, phase: usize) {
        self.since_update = self.config.update_every.map_or(0, |every| phase % every.max(1));
    }

    fn observations(&self) -> usize {
        if self.trained_on > 0 && self.values >= AFTER_RESTART {
            return self.values.max(self.needed());
        }
        self.values.min(self.needed() - 1)
    }

    fn needed(&self) -> usize {
        self.config.first()
    }

    fn heap_bytes(&self) -> usize {
        self.lstm.heap_bytes() + self.adam.heap_bytes() + self.history.heap_bytes()
    }

    fn predict(&self, out: &mut [f64]) {
        let wanted = (self.config.sequence + self.lead_in()).min(self.steps);
        let mut values: Vec<f64> = Vec::with_capacity(wanted);
        let recent = self.history.iter().skip(self.history.len().saturating_sub(wanted));
        for value in recent {
            match (value, values.last()) {
                (Some(value), _) => values.push(value),
                (None, Some(&last)) => values.push(last),
                (None, None) => {}
            }
        }
        if values.is_empty() {
            return out.fill(0.0);
        }
        let mut inputs = vec![0.0; self.config.sequence * self.config.inputs()];
        let scale = self.inputs(&values, |at, value| inputs[at] = value);
        let mut tape = Tape::default();
        let answers = self.lstm.forward(&inputs, 1, &mut tape);
        let mut last = scale.mean;
        for (k, slot) in out.iter_mut().enumerate() {
            if let Some(answer) = answers.get(k) {
                last = scale.mean + scale.spread * f64::from(*answer).clamp(-LIMIT, LIMIT);
            }
            *slot = last;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn demand(i: usize) -> f64 {
        100.0 + 40.0 * (i as f64 / 20.0 * std::f64::consts::TAU).sin() + ((i * 7919) % 5) as f64
    }

    fn both() -> [Recurrent; 2] {
        [RecurrentConfig::lstm(15), RecurrentConfig::wavelet_lstm(15)].map(Recurrent::new)
    }

    fn path(model: &Recurrent) -> Vec<f64> {
        let mut out = vec![0.0; 20];
        model.predict(&mut out);
        out
    }

    #[test]
    fn a_wave_is_learnt_while_it_comes_in() {
        for mut model in both() {
            (0..1000).for_each(|i| model.observe(demand(i)));
            let path = path(&model);
            let error = (0..15).map(|k| (path[k] - demand(1000 + k)).abs()).sum::<f64>() / 15.0;
            assert!(error < 10.0, "wavelet {}: {error}", model.config.wavelet);
            assert!(path[15..].iter().all(|v| *v == path[14]));
        }
    }

    #[test]
    fn the_same_demand_in_another_unit_gives_the_same_forecast() {
        for unit in [2f64.powi(-30), 2f64.powi(40)] {
            for (mut one, mut other) in both().into_iter().zip(both()) {
                for i in 0..200 {
                    one.observe(demand(i));
                    other.observe(unit * demand(i));
                }
                for (a, b) in path(&one).iter().zip(path(&other)) {
                    assert!((b / unit / a - 1.0).abs() < 1e-3, "{a} {b}");
                }
            }
        }
    }

    #[test]
    fn a_silence_stops_the_forecast_for_ten_values_and_costs_no_knowledge() {
        for mut model in both() {
            (0..999).for_each(|i| model.observe(demand(i)));
            model.restart(u64::MAX);
            for i in 999..1009 {
                assert!(model.observations() < model.needed());
                model.observe(demand(i));
            }
            assert!(model.observations() >= model.needed());
            (1009..1040).for_each(|i| if i % 9 == 4 { model.skip() } else { model.observe(demand(i)) });
            let path = path(&model);
            let error = (0..15).map(|k| (path[k] - demand(1040 + k)).abs()).sum::<f64>() / 15.0;
            assert!(error < 25.0, "wavelet {}: {error}", model.config.wavelet);
        }
    }
}
