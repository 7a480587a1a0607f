//! What was demand on average, lately?
//!
//! The mean of the last `n` values (Hyndman & Athanasopoulos, *Forecasting: Principles and Practice*, 3rd
//! ed., section 5.2, the mean method on a moving window). Hard to beat on noise without trend.

use crate::PointModel;
use serde::{Deserialize, Serialize};
use std::collections::VecDeque;

/// Every step ahead equals the mean of the last `n` values seen (fewer while there are fewer). A step without
/// a value changes nothing.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct MovingMean {
    n: usize,
    values: VecDeque<f64>,
    /// Of `values`; kept here so that a forecast costs O(1). Summed afresh at each value: n is small, and a
    /// running sum would carry the rounding error of a past spike for ever.
    mean: f64,
}

impl MovingMean {
    /// The mean of the last `n` values, at least one.
    pub fn new(n: usize) -> Self {
        Self { n: n.max(1), values: VecDeque::new(), mean: 0.0 }
    }
}

impl PointModel for MovingMean {
    fn observe(&mut self, value: f64) {
        if self.values.len() == self.n {
            self.values.pop_front();
        }
        self.values.push_back(value);
        self.mean = self.values.iter().sum::<f64>() / self.values.len() as f64;
    }

    fn skip(&mut self) {}

    fn restart(&mut self, _steps: u64) {
        self.values.clear();
    }

    fn observations(&self) -> usize {
        self.values.len()
    }

    fn heap_bytes(&self) -> usize {
        self.values.capacity() * size_of::<f64>()
    }

    fn predict(&self, out: &mut [f64]) {
        out.fill(self.mean);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_last_n_values_count() {
        let mut m = MovingMean::new(3);
        for v in [100.0, 1.0, 2.0, 6.0] {
            m.observe(v);
        }
        let mut out = [0.0; 2];
        m.predict(&mut out);
        assert_eq!(out, [3.0, 3.0]);
    }
}
