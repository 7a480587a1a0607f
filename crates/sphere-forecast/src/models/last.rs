//! Will demand stay as it is?
//!
//! The naive forecast (Hyndman & Athanasopoulos, *Forecasting: Principles and Practice*, 3rd ed., section
//! 5.2): every step ahead equals the last value. Optimal for a random walk, and the yardstick all others
//! must beat.

use crate::PointModel;
use serde::{Deserialize, Serialize};

/// Every step ahead equals the last value. A step without a value changes nothing.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct LastValue {
    last: f64,
    seen: usize,
}

impl PointModel for LastValue {
    fn observe(&mut self, value: f64) {
        self.last = value;
        self.seen += 1;
    }

    fn skip(&mut self) {}

    fn restart(&mut self, _steps: u64) {
        self.seen = 0;
    }

    fn observations(&self) -> usize {
        self.seen
    }

    fn predict(&self, out: &mut [f64]) {
        out.fill(self.last);
    }
}
