//! Which shape does the scaled error have, out to the tail?
//!
//! A histogram of error/scale on 512 cells over [-8, 24] with a half-life of two days of 10 s steps, started
//! from a prior that is normal below zero and heavier above (demand bursts upwards). Quantiles read from it
//! hold whatever the true shape is, as long as it changes slowly. Cells are single precision: a cell holds at most
//! 25,000 of the newest increments, 1/700 of what single precision resolves, and they are half the state of a lead.

use serde::{Deserialize, Serialize};
use sphere_core::QUANTILE_LEVELS;

const CELLS: usize = 512;
const LOW: f64 = -8.0;
const HIGH: f64 = 24.0;
const CELL_WIDTH: f64 = (HIGH - LOW) / CELLS as f64;
const HALF_LIFE_STEPS: f64 = 17_280.0;
const PRIOR_MASS: f64 = 100.0;
/// Increment at which all cells are made smaller: far from the ends of single precision.
const LARGEST_INCREMENT: f64 = 1e15;
/// Values after which the total is summed up anew.
const SUMMED_EVERY: u16 = 1000;

/// See the module text.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(super) struct ErrorShape {
    mass: Vec<f32>,
    total: f64,
    /// Weight of the next value: grows instead of ageing every cell.
    increment: f64,
    growth: f64,
    /// Values added since `total` was summed up; in between it is kept by adding, which drifts from rounded cells.
    #[serde(default)]
    added: u16,
}

impl ErrorShape {
    pub(super) fn new() -> Self {
        let density =
            |z: f64| if z < 0.0 { (-z * z / 2.0).exp() } else { (-z * z / 2.0 / (1.0 + z / 4.0)).exp() };
        let prior: Vec<f64> = (0..CELLS).map(|i| density(LOW + (i as f64 + 0.5) * CELL_WIDTH)).collect();
        let sum: f64 = prior.iter().sum();
        let mass = prior.iter().map(|m| (m * PRIOR_MASS / sum) as f32).collect();
        let growth = 2f64.powf(1.0 / HALF_LIFE_STEPS);
        Self { mass, total: PRIOR_MASS, increment: 1.0, growth, added: 0 }
    }

    pub(super) fn add(&mut self, z: f64) {
        if !z.is_finite() {
            return;
        }
        let cell = (((z - LOW) / CELL_WIDTH).max(0.0) as usize).min(CELLS - 1);
        self.increment *= self.growth;
        self.mass[cell] += self.increment as f32;
        self.total += self.increment;
        if self.increment > LARGEST_INCREMENT {
            for m in &mut self.mass {
                *m /= LARGEST_INCREMENT as f32;
            }
            self.increment /= LARGEST_INCREMENT;
            self.added = SUMMED_EVERY;
        }
        self.added += 1;
        if self.added > SUMMED_EVERY {
            self.total = self.mass.iter().copied().map(f64::from).sum();
            self.added = 0;
        }
    }

    /// Scaled errors at [`QUANTILE_LEVELS`], linear inside a cell.
    pub(super) fn quantiles(&self) -> [f64; QUANTILE_LEVELS.len()] {
        let mut out = [HIGH; QUANTILE_LEVELS.len()];
        let mut next = 0;
        let mut below = 0.0;
        let mut wanted = QUANTILE_LEVELS[0] * self.total;
        'cells: for (i, mass) in self.mass.iter().enumerate() {
            let mass = f64::from(*mass);
            let above = below + mass;
            while above >= wanted {
                let inside = if mass > 0.0 { (wanted - below) / mass } else { 0.5 };
                out[next] = LOW + (i as f64 + inside.clamp(0.0, 1.0)) * CELL_WIDTH;
                next += 1;
                match QUANTILE_LEVELS.get(next) {
                    Some(level) => wanted = level * self.total,
                    None => break 'cells,
                }
            }
            below = above;
        }
        out
    }
}
