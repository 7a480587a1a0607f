//! What is left when all seasons are taken away, and what do they add to it?
//!
//! MSTL ([`crate::fit::stl`], Bandara, Hyndman & Bergmeir, 2021): the window is taken apart into its seasons, a trend and a
//! rest; each season repeats its last cycle, and trend and rest together go on as exponential smoothing with a damped trend
//! or level only, whichever has the smaller AICc. Between fits the smoothing runs on and the seasons stay, O(1) per value.
//!
//! | window | behaviour |
//! |---|---|
//! | holds some of the seasons twice | those seasons |
//! | holds none of them twice | smoothing alone |
//! | constant | the constant |

use super::ets::{State, damped_or_level, moves};
use super::windowed::{Fitted, WindowConfig, Windowed};
use crate::fit::stl::mstl;
use serde::{Deserialize, Serialize};

/// Values of the end of the window that the smoothing is estimated on: its memory is a few dozen steps, and a fit
/// on thousands would cost more than the decomposition.
const SMOOTHED: usize = 360;

/// See the module.
pub type Mstl = Windowed<MstlFit>;

/// The estimated part.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct MstlFit {
    periods: Vec<usize>,
    seasons: Vec<Cycle>,
    rest: Option<State>,
    last: f64,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
struct Cycle {
    /// One period, beginning with step `from`.
    values: Vec<f64>,
    from: u64,
}

impl Cycle {
    fn at(&self, step: u64) -> f64 {
        self.values[(step.wrapping_sub(self.from) % self.values.len() as u64) as usize]
    }
}

impl MstlFit {
    /// Without history.
    pub fn new(periods: Vec<usize>) -> Self {
        Self { periods, seasons: Vec::new(), rest: None, last: 0.0 }
    }

    /// In a window.
    pub fn online(periods: Vec<usize>, window: WindowConfig) -> Mstl {
        Windowed::new(Self::new(periods), window)
    }

    fn season(&self, step: u64) -> f64 {
        self.seasons.iter().map(|s| s.at(step)).sum()
    }
}

impl Fitted for MstlFit {
    fn fit(&mut self, values: &[f64], first: u64) {
        self.seasons.clear();
        self.rest = None;
        if !moves(values) {
            return;
        }
        let n = values.len();
        if let Some(found) = mstl(values, &self.periods, true) {
            let cycle = |(period, season): (usize, Vec<f64>)| Cycle {
                values: season[n - period..].to_vec(),
                from: first.wrapping_add((n - period) as u64),
            };
            self.rest = {
                let seasons = &found.seasons;
                let start = n.saturating_sub(SMOOTHED);
                let rest: Vec<f64> =
                    (start..n).map(|t| values[t] - seasons.iter().map(|(_, s)| s[t]).sum::<f64>()).collect();
                damped_or_level(&rest)
            };
            self.seasons = found.seasons.into_iter().map(cycle).collect();
        } else {
            self.rest = damped_or_level(&values[n.saturating_sub(SMOOTHED)..]);
        }
    }

    fn step(&mut self, value: Option<f64>, at: u64) {
        let season = self.season(at);
        if let Some(value) = value {
            self.last = value;
        }
        if let Some(rest) = &mut self.rest {
            rest.step(value.map(|v| v - season));
        }
    }

    fn predict(&self, at: u64, out: &mut [f64]) {
        let Some(rest) = &self.rest else { return out.fill(self.last) };
        rest.predict(out);
        for (k, v) in out.iter_mut().enumerate() {
            *v += self.season(at.wrapping_add(k as u64));
        }
    }

    fn forget(&mut self) {
        self.rest = None;
        self.seasons.clear();
    }

    fn heap_bytes(&self) -> usize {
        let cycles: usize =
            self.seasons.iter().map(|s| s.values.capacity() * size_of::<f64>() + size_of::<Cycle>()).sum();
        cycles
            + self.rest.as_ref().map_or(0, State::heap_bytes)
            + self.periods.capacity() * size_of::<usize>()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::PointModel;

    #[test]
    fn two_seasons_are_continued_side_by_side() {
        let value = |i: usize| {
            let wave = |period: f64| (std::f64::consts::TAU * i as f64 / period).sin();
            200.0 + 20.0 * wave(12.0) + 30.0 * wave(84.0) + ((i * 7919) % 23) as f64 / 10.0
        };
        let mut model = MstlFit::online(vec![12, 84], WindowConfig::new(336, 40));
        (0..400).for_each(|i| model.observe(value(i)));
        let mut path = vec![0.0; 60];
        model.predict(&mut path);
        for (k, v) in path.iter().enumerate() {
            assert!((v - value(400 + k)).abs() < 6.0, "step {k}: {v} {}", value(400 + k));
        }
    }
}
