//! What was demand at the same time yesterday, or last week?
//!
//! The seasonal naive forecast (Hyndman & Athanasopoulos, *Forecasting: Principles and Practice*, 3rd ed.,
//! section 5.2): the value one season before the step in question. Where nothing that old is known, the step
//! falls back, alone, to the last value. Memory is one season of values (8 bytes each: 69 kB for a day
//! and 484 kB for a week of 10 s steps); it grows as history comes in.

use crate::PointModel;
use serde::{Deserialize, Serialize};
use std::collections::VecDeque;

/// Each step ahead equals the value one season before it.
///
/// A step without a value is remembered as the value one season before it, or the last value while history is
/// shorter than that, so that the next season has something to repeat.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct SeasonalNaive {
    season_steps: usize,
    /// The last `season_steps` values, oldest first.
    values: VecDeque<f64>,
    last: f64,
    seen: usize,
}

impl SeasonalNaive {
    /// Repeats what was seen `season_steps` before; at least one step.
    pub fn new(season_steps: usize) -> Self {
        Self { season_steps: season_steps.max(1), values: VecDeque::new(), last: 0.0, seen: 0 }
    }

    fn push(&mut self, value: f64) {
        if self.values.len() == self.season_steps {
            self.values.pop_front();
        }
        self.values.push_back(value);
    }
}

impl PointModel for SeasonalNaive {
    fn observe(&mut self, value: f64) {
        self.push(value);
        self.last = value;
        self.seen += 1;
    }

    fn skip(&mut self) {
        let full = self.values.len() == self.season_steps;
        let stand_in = if full { self.values[0] } else { self.last };
        self.push(stand_in);
    }

    fn restart(&mut self, steps: u64) {
        // A season repeats, so the pattern survives any gap; only its phase moves on.
        let full = self.values.len() == self.season_steps;
        if full {
            self.values.rotate_left((steps % self.season_steps as u64) as usize);
        } else if self.values.len() as u64 + steps >= self.season_steps as u64 {
            self.values.clear();
        } else {
            for _ in 0..steps {
                self.push(self.last);
            }
        }
        self.seen = 0;
    }

    fn observations(&self) -> usize {
        self.seen
    }

    fn heap_bytes(&self) -> usize {
        self.values.capacity() * size_of::<f64>()
    }

    fn predict(&self, out: &mut [f64]) {
        // values[i] is (len - i) steps before the next one, so one season before step k (from 0) is
        // len - season + k; beyond one season the pattern repeats.
        let missing = self.season_steps - self.values.len();
        for (k, slot) in out.iter_mut().enumerate() {
            let phase = k % self.season_steps;
            *slot = if phase >= missing { self.values[phase - missing] } else { self.last };
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn predict(m: &SeasonalNaive, n: usize) -> Vec<f64> {
        let mut out = vec![0.0; n];
        m.predict(&mut out);
        out
    }

    #[test]
    fn repeats_the_last_season() {
        let mut m = SeasonalNaive::new(4);
        for v in 0..10 {
            m.observe(f64::from(v));
        }
        assert_eq!(predict(&m, 6), [6.0, 7.0, 8.0, 9.0, 6.0, 7.0]);
    }

    #[test]
    fn steps_older_history_does_not_reach_fall_back_to_the_last_value() {
        let mut m = SeasonalNaive::new(4);
        for v in [5.0, 6.0, 7.0] {
            m.observe(v);
        }
        assert_eq!(predict(&m, 4), [7.0, 5.0, 6.0, 7.0]);
    }

    #[test]
    fn a_gap_keeps_the_phase() {
        let mut skipped = SeasonalNaive::new(4);
        let mut restarted = SeasonalNaive::new(4);
        for v in 0..8 {
            skipped.observe(f64::from(v % 4));
            restarted.observe(f64::from(v % 4));
        }
        (0..6).for_each(|_| skipped.skip());
        restarted.restart(6);
        assert_eq!(predict(&skipped, 4), [2.0, 3.0, 0.0, 1.0]);
        assert_eq!(predict(&restarted, 4), [2.0, 3.0, 0.0, 1.0]);
    }
}
