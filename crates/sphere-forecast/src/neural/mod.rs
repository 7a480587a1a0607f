//! What does a small recurrent network make of the last half minute of values?
//!
//! One LSTM layer (Hochreiter & Schmidhuber, *Long short-term memory*, Neural Computation 9, 1997, with the forget gate of
//! Gers, Schmidhuber & Cummins, 2000) and a linear head on its last state, in single precision. Trained by back-propagation
//! through time on batches ([`Lstm::gradient`]) with [`Adam`]. Gates, initial weights and loss are those of PyTorch's
//! `nn.LSTM`, `nn.Linear` and `MSELoss`, so that the two can be compared number by number.
//!
//! **Why own code.** burn and candle bring over 130 crates and three minutes of compilation for a network of 5,000
//! parameters, whose step costs them more in bookkeeping than in arithmetic; and neither promises the same numbers on
//! every machine. This is two loops over matrices, checked against finite differences and PyTorch.

mod adam;
mod math;

pub use adam::Adam;

use crate::rng::Rng;
use math::{add_outer, add_product, sigmoid_all, tanh, tanh_all, transpose};
use serde::{Deserialize, Serialize};

/// Inputs per step, hidden units, outputs.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Shape {
    /// Numbers per step of the sequence.
    pub inputs: usize,
    /// Units of the state.
    pub hidden: usize,
    /// Numbers predicted.
    pub outputs: usize,
}

impl Shape {
    /// Where the parts lie in the parameters: input weights, recurrent weights, bias, head weights, head bias.
    fn ends(&self) -> [usize; 5] {
        let (gates, h) = (4 * self.hidden, self.hidden);
        let parts = [self.inputs * gates, h * gates, gates, h * self.outputs, self.outputs];
        let mut end = 0;
        parts.map(|part| {
            end += part;
            end
        })
    }

    /// Numbers that are learnt.
    pub fn parameters(&self) -> usize {
        self.ends()[4]
    }
}

/// The parts of parameters or of their gradient.
fn parts<'a>(shape: &Shape, all: &'a [f32]) -> [&'a [f32]; 5] {
    let ends = shape.ends();
    std::array::from_fn(|i| &all[if i == 0 { 0 } else { ends[i - 1] }..ends[i]])
}

/// An LSTM with a linear head.
///
/// Parameters lie in one vector: input weights (`inputs` rows of `4 hidden`), recurrent weights (`hidden` rows of
/// `4 hidden`), bias (`4 hidden`), head (`hidden` rows of `outputs`), its bias (`outputs`). The four gates are in the order
/// input, forget, candidate, output. Against PyTorch matrices are transposed, and its two biases are one.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(try_from = "Parts")]
pub struct Lstm {
    shape: Shape,
    parameters: Vec<f32>,
}

/// [`Lstm`] as read, not yet checked.
#[derive(Deserialize)]
struct Parts {
    shape: Shape,
    parameters: Vec<f32>,
}

impl TryFrom<Parts> for Lstm {
    type Error = &'static str;

    fn try_from(parts: Parts) -> Result<Self, Self::Error> {
        // Bounds first: a product of absurd numbers would overflow.
        let Shape { inputs, hidden, outputs } = parts.shape;
        if [inputs, hidden, outputs].iter().any(|n| *n > 1 << 16) {
            return Err("an LSTM of absurd size");
        }
        if parts.parameters.len() != parts.shape.parameters() {
            return Err("an LSTM whose parameters do not fit its shape");
        }
        Ok(Self { shape: parts.shape, parameters: parts.parameters })
    }
}

/// What a pass over a batch leaves for the way back, and memory reused from batch to batch.
#[derive(Clone, Debug, Default)]
pub struct Tape {
    /// Gates after their functions, per step and sample.
    gates: Vec<f32>,
    /// States, from the initial one on: a step more than the sequence has.
    cells: Vec<f32>,
    hidden: Vec<f32>,
    outputs: Vec<f32>,
    slope: Vec<f32>,
    d_hidden: Vec<f32>,
    d_cells: Vec<f32>,
    recurrent: Vec<f32>,
    head: Vec<f32>,
}

impl Lstm {
    /// Initial weights uniform within ±1/√hidden, as PyTorch has them; the bias of the forget gate is 1 more
    /// (Jozefowicz, Zaremba & Sutskever, ICML 2015), so that memory is the default.
    pub fn new(shape: Shape, seed: u64) -> Self {
        let mut rng = Rng::new(seed);
        let limit = 1.0 / (shape.hidden.max(1) as f32).sqrt();
        let mut parameters: Vec<f32> =
            (0..shape.parameters()).map(|_| limit * (2.0 * rng.unit() - 1.0)).collect();
        let bias = shape.ends()[1];
        parameters[bias + shape.hidden..bias + 2 * shape.hidden].iter_mut().for_each(|b| *b += 1.0);
        Self { shape, parameters }
    }

    /// With given parameters; `None` if their number does not fit.
    pub fn with_parameters(shape: Shape, parameters: Vec<f32>) -> Option<Self> {
        (parameters.len() == shape.parameters()).then_some(Self { shape, parameters })
    }

    /// Sizes.
    pub fn shape(&self) -> Shape {
        self.shape
    }

    /// All that is learnt, in the order the type's text gives.
    pub fn parameters(&self) -> &[f32] {
        &self.parameters
    }

    /// To be changed by an optimiser.
    pub fn parameters_mut(&mut self) -> &mut [f32] {
        &mut self.parameters
    }

    /// Predicts for a batch of sequences: `inputs` holds step after step, in each the samples' inputs. Returns the
    /// outputs, sample after sample; an incomplete last step is not looked at.
    pub fn forward<'t>(&self, inputs: &[f32], samples: usize, tape: &'t mut Tape) -> &'t [f32] {
        let Shape { inputs: width, hidden, outputs } = self.shape;
        let [w_in, w_rec, bias, w_head, b_head] = parts(&self.shape, &self.parameters);
        let steps = inputs.len().checked_div(samples * width).unwrap_or(0);
        let (state, gate) = (samples * hidden, samples * 4 * hidden);
        tape.gates.resize(steps * gate, 0.0);
        tape.cells.resize((steps + 1) * state, 0.0);
        tape.hidden.resize((steps + 1) * state, 0.0);
        tape.cells[..state].fill(0.0);
        tape.hidden[..state].fill(0.0);
        for step in 0..steps {
            let gates = &mut tape.gates[step * gate..(step + 1) * gate];
            let (h_before, h_after) = tape.hidden[step * state..(step + 2) * state].split_at_mut(state);
            let (c_before, c_after) = tape.cells[step * state..(step + 2) * state].split_at_mut(state);
            for sample in 0..samples {
                let z = &mut gates[sample * 4 * hidden..(sample + 1) * 4 * hidden];
                z.copy_from_slice(bias);
                let at = (step * samples + sample) * width;
                add_product(z, &inputs[at..at + width], w_in);
                let own = sample * hidden..(sample + 1) * hidden;
                add_product(z, &h_before[own.clone()], w_rec);
                let (z_if, z_go) = z.split_at_mut(2 * hidden);
                let (z_g, z_o) = z_go.split_at_mut(hidden);
                sigmoid_all(z_if);
                tanh_all(z_g);
                sigmoid_all(z_o);
                let (z_i, z_f) = z_if.split_at(hidden);
                let (c_old, c_new) = (&c_before[own.clone()], &mut c_after[own.clone()]);
                for (((c, old), (i, f)), g) in c_new.iter_mut().zip(c_old).zip(z_i.iter().zip(z_f)).zip(&*z_g)
                {
                    *c = f * old + i * g;
                }
                for ((h, c), o) in h_after[own].iter_mut().zip(&*c_new).zip(&*z_o) {
                    *h = o * tanh(*c);
                }
            }
        }
        tape.outputs.resize(samples * outputs, 0.0);
        let last = &tape.hidden[steps * state..];
        for (out, h) in tape.outputs.chunks_exact_mut(outputs.max(1)).zip(last.chunks_exact(hidden.max(1))) {
            out.copy_from_slice(b_head);
            add_product(out, h, w_head);
        }
        &tape.outputs[..samples * outputs]
    }

    /// The mean squared error over all outputs of a batch (NaN targets count as met), and its gradient in `gradient`
    /// (which has as many numbers as there are parameters).
    pub fn gradient(
        &self,
        inputs: &[f32],
        targets: &[f32],
        samples: usize,
        tape: &mut Tape,
        gradient: &mut Vec<f32>,
    ) -> f32 {
        let Shape { inputs: width, hidden, outputs } = self.shape;
        gradient.clear();
        gradient.resize(self.shape.parameters(), 0.0);
        if samples * width * outputs * hidden == 0 {
            return 0.0;
        }
        self.forward(inputs, samples, tape);
        let steps = inputs.len() / (samples * width);
        let (state, gate) = (samples * hidden, samples * 4 * hidden);
        let ends = self.shape.ends();
        let [_, w_rec, _, w_head, _] = parts(&self.shape, &self.parameters);
        transpose(w_rec, 4 * hidden, &mut tape.recurrent);
        transpose(w_head, outputs, &mut tape.head);
        let (into_lstm, into_head) = gradient.split_at_mut(ends[2]);
        let (into_w_head, into_b_head) = into_head.split_at_mut(hidden * outputs);
        let (into_w_in, rest) = into_lstm.split_at_mut(ends[0]);
        let (into_w_rec, into_bias) = rest.split_at_mut(ends[1] - ends[0]);

        let count = (samples * outputs) as f32;
        let mut loss = 0.0;
        for (out, target) in tape.outputs.iter_mut().zip(targets) {
            let error = if target.is_nan() { 0.0 } else { *out - target };
            loss += error * error / count;
            // From here on the outputs hold the slope of the loss.
            *out = 2.0 * error / count;
        }
        add_outer(into_w_head, &tape.hidden[steps * state..], hidden, &tape.outputs, outputs);
        tape.d_hidden.clear();
        tape.d_hidden.resize(state, 0.0);
        tape.d_cells.clear();
        tape.d_cells.resize(state, 0.0);
        for (out, d_h) in tape.outputs.chunks_exact(outputs).zip(tape.d_hidden.chunks_exact_mut(hidden)) {
            into_b_head.iter_mut().zip(out).for_each(|(b, d)| *b += d);
            add_product(d_h, out, &tape.head);
        }
        tape.slope.resize(gate, 0.0);
        for step in (0..steps).rev() {
            for sample in 0..samples {
                let own = sample * hidden..(sample + 1) * hidden;
                let z = &tape.gates[step * gate + sample * 4 * hidden..][..4 * hidden];
                let (d_h, d_c) = (&mut tape.d_hidden[own.clone()], &mut tape.d_cells[own.clone()]);
                let old = &tape.cells[step * state..][own.clone()];
                let new = &tape.cells[(step + 1) * state..][own.clone()];
                let slope = &mut tape.slope[sample * 4 * hidden..(sample + 1) * 4 * hidden];
                #[allow(clippy::needless_range_loop)] // ten numbers of the same unit, from as many places
                for k in 0..hidden {
                    let (i, f) = (z[k], z[hidden + k]);
                    let (g, o) = (z[2 * hidden + k], z[3 * hidden + k]);
                    let t = tanh(new[k]);
                    let d = d_c[k] + d_h[k] * o * (1.0 - t * t);
                    slope[k] = d * g * i * (1.0 - i);
                    slope[hidden + k] = d * old[k] * f * (1.0 - f);
                    slope[2 * hidden + k] = d * i * (1.0 - g * g);
                    slope[3 * hidden + k] = d_h[k] * t * o * (1.0 - o);
                    d_c[k] = d * f;
                }
                into_bias.iter_mut().zip(&*slope).for_each(|(b, d)| *b += d);
                d_h.fill(0.0);
                add_product(d_h, slope, &tape.recurrent);
            }
            let at = step * samples * width;
            add_outer(into_w_in, &inputs[at..at + samples * width], width, &tape.slope, 4 * hidden);
            add_outer(into_w_rec, &tape.hidden[step * state..][..state], hidden, &tape.slope, 4 * hidden);
        }
        loss
    }

    /// Bytes on the heap.
    pub fn heap_bytes(&self) -> usize {
        self.parameters.capacity() * size_of::<f32>()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn batch(shape: Shape, steps: usize, samples: usize) -> (Vec<f32>, Vec<f32>) {
        let mut rng = Rng::new(5);
        let mut draw = |n: usize| -> Vec<f32> { (0..n).map(|_| 2.0 * rng.unit() - 1.0).collect() };
        (draw(steps * samples * shape.inputs), draw(samples * shape.outputs))
    }

    #[test]
    fn the_gradient_is_that_of_finite_differences() {
        for (shape, steps, samples) in [
            (Shape { inputs: 1, hidden: 5, outputs: 3 }, 7, 4),
            (Shape { inputs: 3, hidden: 4, outputs: 2 }, 5, 6),
            (Shape { inputs: 2, hidden: 1, outputs: 1 }, 1, 1),
        ] {
            let mut lstm = Lstm::new(shape, 1);
            let (inputs, targets) = batch(shape, steps, samples);
            let (mut tape, mut gradient, mut unused) = (Tape::default(), Vec::new(), Vec::new());
            lstm.gradient(&inputs, &targets, samples, &mut tape, &mut gradient);
            for (k, &ours) in gradient.iter().enumerate() {
                let (was, step) = (lstm.parameters[k], 4e-3);
                let mut loss = |at: f32| {
                    lstm.parameters[k] = at;
                    f64::from(lstm.gradient(&inputs, &targets, samples, &mut tape, &mut unused))
                };
                let slope = (loss(was + step) - loss(was - step)) / f64::from(2.0 * step);
                loss(was);
                let off = (slope - f64::from(ours)).abs();
                assert!(off < 2e-4 + 2e-3 * slope.abs(), "parameter {k}: {slope} {ours}");
            }
        }
    }

    #[test]
    fn training_finds_a_pattern_that_needs_memory() {
        // The answer is the first value of the sequence.
        let shape = Shape { inputs: 1, hidden: 12, outputs: 1 };
        let (mut lstm, mut adam) = (Lstm::new(shape, 3), Adam::new(shape.parameters(), 0.01));
        let (mut tape, mut gradient, mut rng) = (Tape::default(), Vec::new(), Rng::new(9));
        let mut losses = Vec::new();
        for _ in 0..600 {
            let inputs: Vec<f32> = (0..16 * 10).map(|_| 2.0 * rng.unit() - 1.0).collect();
            losses.push(lstm.gradient(&inputs, &inputs[..16], 16, &mut tape, &mut gradient));
            adam.step(lstm.parameters_mut(), &mut gradient);
        }
        let late = losses[550..].iter().sum::<f32>() / 50.0;
        assert!(late < 0.03, "{} then {late}", losses[0]);
    }

    #[test]
    fn a_batch_gives_the_answers_of_its_samples_one_by_one() {
        let shape = Shape { inputs: 2, hidden: 6, outputs: 3 };
        let lstm = Lstm::new(shape, 8);
        let (inputs, _) = batch(shape, 4, 5);
        let mut tape = Tape::default();
        let all = lstm.forward(&inputs, 5, &mut tape).to_vec();
        for sample in 0..5 {
            let own: Vec<f32> =
                (0..4).flat_map(|step| inputs[(step * 5 + sample) * 2..][..2].to_vec()).collect();
            assert_eq!(lstm.forward(&own, 1, &mut tape), &all[sample * 3..(sample + 1) * 3]);
        }
    }

    #[test]
    fn parameters_that_do_not_fit_are_refused() {
        let shape = Shape { inputs: 1, hidden: 2, outputs: 1 };
        assert!(Lstm::with_parameters(shape, vec![0.0; 5]).is_none());
        let mut stored = serde_json::to_value(Lstm::new(shape, 1)).unwrap();
        stored["shape"]["hidden"] = 3.into();
        assert!(serde_json::from_value::<Lstm>(stored.clone()).is_err());
        stored["shape"]["hidden"] = u64::MAX.into();
        assert!(serde_json::from_value::<Lstm>(stored).is_err());
    }
}
