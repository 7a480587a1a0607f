//! How are the last values of a workload kept in four bytes each?
//!
//! Single precision has 24 bits, far more than a measurement, but no room for the largest demand we accept. So values
//! are kept relative to a unit: the power of two below the first value that is not 0. Values more than 2¹²⁷ units away
//! are cut there; whole numbers up to 2²⁴ times the unit are exact.

use serde::{Deserialize, Serialize};
use std::collections::VecDeque;

/// Stands for a step without a value; it has a number, so that states can be compared and written as JSON.
const MISSING: f32 = f32::MIN;

/// The last values, oldest first. A step without a value has its place.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(crate) struct History {
    most: usize,
    /// 0 until the first value that is not 0.
    unit: f64,
    values: VecDeque<f32>,
}

impl History {
    /// Keeps at most `most` steps, at least one.
    pub(crate) fn new(most: usize) -> Self {
        Self { most: most.max(1), unit: 0.0, values: VecDeque::new() }
    }

    pub(crate) fn push(&mut self, value: Option<f64>) {
        if self.values.len() >= self.most {
            self.values.pop_front();
        }
        let Some(value) = value else { return self.values.push_back(MISSING) };
        if self.unit == 0.0 && value != 0.0 {
            // The exponent alone; numbers too small to have one count in units of 2⁻¹⁰²².
            let power = f64::from_bits(value.to_bits() & (0x7ff << 52));
            self.unit = power.max(f64::MIN_POSITIVE);
        }
        let relative = if self.unit == 0.0 { 0.0 } else { value / self.unit };
        self.values.push_back((relative as f32).clamp(MISSING.next_up(), f32::MAX));
    }

    /// Notes `steps` steps without a value.
    pub(crate) fn push_missing(&mut self, steps: u64) {
        if steps >= self.most as u64 {
            self.values.clear();
            return;
        }
        (0..steps).for_each(|_| self.push(None));
    }

    pub(crate) fn len(&self) -> usize {
        self.values.len()
    }

    pub(crate) fn iter(&self) -> impl DoubleEndedIterator<Item = Option<f64>> + ExactSizeIterator + '_ {
        self.values.iter().map(|&v| (v != MISSING).then(|| f64::from(v) * self.unit))
    }

    pub(crate) fn heap_bytes(&self) -> usize {
        self.values.capacity() * size_of::<f32>()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_of_any_unit_come_back_in_single_precision() {
        for unit in [1e-300, 1e-9, 1.0, 1e12, 1e99] {
            let mut history = History::new(10);
            let values: Vec<f64> =
                (0..8).map(|i| unit * (0.1 + f64::from(i)) * if i == 5 { -1.0 } else { 1.0 }).collect();
            values.iter().for_each(|v| history.push(Some(*v)));
            history.push(None);
            let back: Vec<Option<f64>> = history.iter().collect();
            for (kept, value) in back.iter().zip(&values) {
                assert!((kept.unwrap() / value - 1.0).abs() < 1e-6, "{kept:?} {value}");
            }
            assert_eq!(back[8], None);
        }
    }

    #[test]
    fn counts_are_exact_and_the_oldest_go_first() {
        let mut history = History::new(3);
        for v in [0.0, 7.0, 123.0, 65_537.0] {
            history.push(Some(v));
        }
        assert_eq!(history.iter().collect::<Vec<_>>(), [Some(7.0), Some(123.0), Some(65_537.0)]);
        history.push_missing(2);
        assert_eq!(history.iter().collect::<Vec<_>>(), [Some(65_537.0), None, None]);
        history.push_missing(1 << 40);
        assert_eq!(history.len(), 0);
    }

    #[test]
    fn extremes_after_the_first_value_stay_finite() {
        let mut history = History::new(10);
        for v in [1e-300, 1e100, -1e100, 0.0, 5e-324] {
            history.push(Some(v));
        }
        assert!(history.iter().all(|v| v.unwrap().is_finite()));
    }
}
