//! What was known when the forecasts now due were made, and what has come since?

use super::head::FLAT;
use super::packed::{Floats, Fractions};
use super::ridge::{FEATURES, Features};
use serde::{Deserialize, Serialize};

/// Spread, freshness of the last shift, base level, flat opinions.
const ROW: usize = 3 + FLAT;
/// Most origins whose features wait for the longest target.
const MOST_FEATURES: u32 = 16;
/// Values kept at least: for lags and the recent maximum.
const LEAST_VALUES: u32 = 32;

/// Rings over the last steps, indexed by the number of the step. An origin at a step without a value is invalid.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(super) struct Origins {
    horizon: u32,
    rows: Floats,
    /// Features are cut at 10.
    features: Fractions<10>,
    every: u64,
    values: Vec<f64>,
    cleared: Vec<f64>,
}

/// One origin.
#[derive(Clone, Copy, Debug)]
pub(super) struct Origin<'a> {
    pub(super) spread: f64,
    pub(super) freshness: f64,
    pub(super) base: f64,
    pub(super) flat: &'a [f32],
}

impl Origins {
    pub(super) fn new(horizon: u32) -> Self {
        let every = horizon.div_ceil(MOST_FEATURES).max(1);
        let values = LEAST_VALUES.max(horizon + 3) as usize;
        Self {
            horizon,
            rows: Floats::filled((horizon as usize + 1) * ROW, -1.0),
            features: Fractions::zeros((horizon / every + 1) as usize * FEATURES),
            every: u64::from(every),
            values: vec![0.0; values],
            cleared: vec![0.0; values],
        }
    }

    pub(super) fn fits(&self, horizon: u32) -> bool {
        let new = Self::new(horizon.min(1 << 16));
        self.horizon == horizon
            && self.rows.len() == new.rows.len()
            && self.features.len() == new.features.len()
            && self.every == new.every
            && self.values.len() == new.values.len()
            && self.cleared.len() == new.cleared.len()
    }

    /// For another horizon: values stay, origins are dropped.
    pub(super) fn moved_to(&self, horizon: u32, tick: u64) -> Self {
        let mut new = Self::new(horizon);
        let known = self.values.len().min(new.values.len()) as u32;
        let oldest = known - 1;
        new.values.fill(self.value(tick, oldest));
        new.cleared.fill(self.cleared(tick, oldest));
        for age in (0..known).filter(|age| u64::from(*age) <= tick) {
            new.push(tick - u64::from(age), self.value(tick, age), self.cleared(tick, age));
        }
        new
    }

    /// Forgets everything; the past was `value`.
    pub(super) fn restart(&mut self, value: f64) {
        self.rows.fill(-1.0);
        self.values.fill(value);
        self.cleared.fill(value);
    }

    /// The value of step `tick`, and without its hourly pattern.
    pub(super) fn push(&mut self, tick: u64, value: f64, cleared: f64) {
        let i = (tick % self.values.len() as u64) as usize;
        self.values[i] = value;
        self.cleared[i] = cleared;
    }

    fn index(&self, tick: u64, age: u32) -> usize {
        let n = self.values.len();
        ((tick % n as u64) as usize + n - age as usize) % n
    }

    /// The value `age` steps before `tick`.
    pub(super) fn value(&self, tick: u64, age: u32) -> f64 {
        self.values[self.index(tick, age)]
    }

    /// The same without its hourly pattern.
    pub(super) fn cleared(&self, tick: u64, age: u32) -> f64 {
        self.cleared[self.index(tick, age)]
    }

    fn cells(&self, tick: u64) -> std::ops::Range<usize> {
        let slot = (tick % (u64::from(self.horizon) + 1)) as usize;
        slot * ROW..(slot + 1) * ROW
    }

    /// Remembers the origin `tick`.
    pub(super) fn remember(&mut self, tick: u64, origin: &Origin<'_>, x: &Features) {
        let cells = self.cells(tick);
        let row = &mut self.rows[cells];
        row[0] = origin.spread as f32;
        row[1] = origin.freshness as f32;
        row[2] = origin.base as f32;
        row[3..].copy_from_slice(origin.flat);
        if tick.is_multiple_of(self.every) {
            let cell = self.feature_cell(tick);
            self.features.write(cell, x.iter().copied());
        }
    }

    /// Nothing was measured at step `tick`.
    pub(super) fn invalidate(&mut self, tick: u64) {
        let cells = self.cells(tick);
        self.rows[cells][0] = -1.0;
    }

    /// The origin at `tick`, not older than the horizon, if something was measured then.
    pub(super) fn at(&self, tick: u64) -> Option<Origin<'_>> {
        let row = &self.rows[self.cells(tick)];
        (row[0] >= 0.0).then(|| Origin {
            spread: f64::from(row[0]),
            freshness: f64::from(row[1]),
            base: f64::from(row[2]),
            flat: &row[3..],
        })
    }

    fn feature_cell(&self, tick: u64) -> usize {
        let slots = (self.features.len() / FEATURES) as u64;
        ((tick / self.every) % slots) as usize * FEATURES
    }

    /// The features at `tick`, if they were kept.
    pub(super) fn features(&self, tick: u64) -> Option<Features> {
        tick.is_multiple_of(self.every).then(|| self.features.read(self.feature_cell(tick)))
    }
}
