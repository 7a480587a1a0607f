//! What do half the level and half the line say together?
//!
//! The theta method, all four kinds, the best by mean squared error at each fit ([`crate::fit::theta`]); with a season,
//! on what a classical decomposition leaves. Between fits the state runs on, O(1) per value.
//!
//! | window | behaviour |
//! |---|---|
//! | shorter than two seasons, season shorter than 4 steps or not significant | without season |
//! | a value of 0 or below | an additive season |
//! | constant | the constant |

use super::ets::moves;
use super::windowed::{Fitted, WindowConfig, Windowed};
use crate::fit::theta::{ThetaState, pattern, select};
use serde::{Deserialize, Serialize};

/// See the module.
pub type Theta = Windowed<ThetaFit>;

/// The estimated part.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct ThetaFit {
    period: usize,
    state: Option<ThetaState>,
    /// One period, or empty; `season[next]` belongs to the coming step.
    season: Vec<f64>,
    multiplicative: bool,
    next: usize,
    last: f64,
}

impl ThetaFit {
    /// Without history; a `period` below 4 is no season.
    pub fn new(period: usize) -> Self {
        Self { period, state: None, season: Vec::new(), multiplicative: false, next: 0, last: 0.0 }
    }

    /// In a window.
    pub fn online(period: usize, window: WindowConfig) -> Theta {
        Windowed::new(Self::new(period), window)
    }

    fn with_season(&self, slot: usize, value: f64) -> f64 {
        match (self.season.get(slot), self.multiplicative) {
            (Some(s), true) => value * s,
            (Some(s), false) => value + s,
            (None, _) => value,
        }
    }
}

impl Fitted for ThetaFit {
    fn fit(&mut self, values: &[f64], _first: u64) {
        self.state = None;
        self.season.clear();
        self.next = 0;
        if !moves(values) {
            return;
        }
        let found = if let Some(pattern) = pattern(values, self.period) {
            let rest: Vec<f64> = values
                .iter()
                .zip(pattern.season.iter().cycle())
                .map(|(v, s)| if pattern.multiplicative { v / s } else { v - s })
                .collect();
            self.multiplicative = pattern.multiplicative;
            self.season = pattern.season;
            self.season.rotate_left(values.len() % self.period);
            select(&rest)
        } else {
            select(values)
        };
        self.state = found.map(|fit| fit.state);
    }

    fn step(&mut self, value: Option<f64>, _at: u64) {
        if let Some(value) = value {
            self.last = value;
        }
        if let Some(state) = &mut self.state {
            let bare = match (value, self.season.get(self.next), self.multiplicative) {
                (Some(v), Some(s), true) => v / s,
                (Some(v), Some(s), false) => v - s,
                (Some(v), None, _) => v,
                (None, ..) => state.expected(),
            };
            state.update(bare);
        }
        if !self.season.is_empty() {
            self.next = (self.next + 1) % self.season.len();
        }
    }

    fn predict(&self, _at: u64, out: &mut [f64]) {
        let Some(state) = &self.state else { return out.fill(self.last) };
        state.path(out);
        for (k, v) in out.iter_mut().enumerate() {
            *v = self.with_season((self.next + k) % self.season.len().max(1), *v);
        }
    }

    fn forget(&mut self) {
        self.state = None;
        self.season.clear();
    }

    fn heap_bytes(&self) -> usize {
        self.season.capacity() * size_of::<f64>()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::PointModel;

    #[test]
    fn a_season_on_a_slope_is_continued() {
        let value = |i: usize| {
            60.0 + 0.3 * i as f64 + [9.0, 2.0, -9.0, -2.0][i % 4] + ((i * 7919) % 23) as f64 / 20.0
        };
        let mut model = ThetaFit::online(4, WindowConfig::new(60, 10));
        (0..77).for_each(|i| model.observe(value(i)));
        let mut path = [0.0; 8];
        model.predict(&mut path);
        for (k, v) in path.iter().enumerate() {
            assert!((v - value(77 + k)).abs() < 3.0, "step {k}: {v} {}", value(77 + k));
        }
    }
}
