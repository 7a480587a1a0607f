//! How far does each parameter move along its gradient?

use serde::{Deserialize, Serialize};

const BETA_1: f32 = 0.9;
const BETA_2: f32 = 0.999;
const EPSILON: f32 = 1e-8;
/// Longer gradients are shortened to this: one outlier must not undo an hour of learning (Pascanu, Mikolov & Bengio,
/// ICML 2013).
const LONGEST_GRADIENT: f32 = 1.0;

/// Adam (Kingma & Ba, ICLR 2015) with its usual constants and a bound on the gradient's length.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Adam {
    learning_rate: f32,
    steps: u32,
    mean: Vec<f32>,
    square: Vec<f32>,
}

impl Adam {
    /// For so many parameters.
    pub fn new(parameters: usize, learning_rate: f32) -> Self {
        Self { learning_rate, steps: 0, mean: vec![0.0; parameters], square: vec![0.0; parameters] }
    }

    /// Moves `parameters` against `gradient` (which is shortened if it is too long). A gradient that is not finite
    /// moves nothing.
    pub fn step(&mut self, parameters: &mut [f32], gradient: &mut [f32]) {
        let length = gradient.iter().map(|g| f64::from(*g).powi(2)).sum::<f64>().sqrt() as f32;
        if !length.is_finite() {
            return;
        }
        if length > LONGEST_GRADIENT {
            gradient.iter_mut().for_each(|g| *g *= LONGEST_GRADIENT / length);
        }
        self.steps = self.steps.saturating_add(1);
        let n = i32::try_from(self.steps).unwrap_or(i32::MAX);
        let rate = self.learning_rate / (1.0 - BETA_1.powi(n));
        let correction = (1.0 - BETA_2.powi(n)).sqrt();
        let moments = self.mean.iter_mut().zip(&mut self.square);
        for ((parameter, g), (mean, square)) in parameters.iter_mut().zip(gradient).zip(moments) {
            *mean += (1.0 - BETA_1) * (*g - *mean);
            *square += (1.0 - BETA_2) * (*g * *g - *square);
            *parameter -= rate * *mean / (square.sqrt() / correction + EPSILON);
        }
    }

    /// Bytes on the heap.
    pub fn heap_bytes(&self) -> usize {
        (self.mean.capacity() + self.square.capacity()) * size_of::<f32>()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_step_is_the_learning_rate_whatever_the_gradient() {
        let mut adam = Adam::new(2, 0.1);
        let mut at = [1.0, 1.0];
        adam.step(&mut at, &mut [1e-3, -0.5]);
        assert!((at[0] - 0.9).abs() < 1e-4 && (at[1] - 1.1).abs() < 1e-4, "{at:?}");
    }

    #[test]
    fn a_gradient_that_is_no_number_changes_nothing() {
        let mut adam = Adam::new(2, 0.1);
        let before = adam.clone();
        let mut at = [1.0, 2.0];
        adam.step(&mut at, &mut [f32::NAN, 1.0]);
        adam.step(&mut at, &mut [f32::INFINITY, 1.0]);
        assert_eq!((at, adam), ([1.0, 2.0], before));
    }
}
