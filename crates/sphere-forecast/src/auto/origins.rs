//! What has come lately, and what did the shared regression see when the forecasts now due were made?

use super::packed::{Floats, Fractions};
use super::ridge::{FEATURES, Features};
use serde::{Deserialize, Serialize};

/// Most origins whose features wait for the longest target.
const MOST_FEATURES: u32 = 16;
/// Values kept, for the recent maximum.
const VALUES: u32 = 32;
/// Base level and spread.
const MARKS: usize = 2;

/// Rings over the last steps, indexed by the number of the step.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(super) struct Origins {
    horizon: u32,
    /// What the features are relative to; the spread is negative where nothing was measured.
    marks: Floats,
    /// Features are cut at 10.
    features: Fractions<10>,
    every: u64,
    values: Floats,
    cleared: Floats,
}

/// What the shared regression saw at one origin.
#[derive(Clone, Copy, Debug)]
pub(super) struct Seen {
    pub(super) base: f64,
    pub(super) spread: f64,
    pub(super) features: Features,
}

impl Origins {
    pub(super) fn new(horizon: u32) -> Self {
        let every = horizon.div_ceil(MOST_FEATURES).max(1);
        let slots = (horizon / every + 1) as usize;
        Self {
            horizon,
            marks: Floats::filled(slots * MARKS, -1.0),
            features: Fractions::zeros(slots * FEATURES),
            every: u64::from(every),
            values: Floats::filled(VALUES as usize, 0.0),
            cleared: Floats::filled(VALUES.max(horizon + 3) as usize, 0.0),
        }
    }

    pub(super) fn fits(&self, horizon: u32) -> bool {
        let new = Self::new(horizon.min(1 << 16));
        self.horizon == horizon
            && self.marks.len() == new.marks.len()
            && self.features.len() == new.features.len()
            && self.every == new.every
            && self.values.len() == new.values.len()
            && self.cleared.len() == new.cleared.len()
    }

    pub(super) fn heap_bytes(&self) -> usize {
        self.marks.heap_bytes()
            + self.features.heap_bytes()
            + self.values.heap_bytes()
            + self.cleared.heap_bytes()
    }

    /// For another horizon: values stay, origins are dropped.
    pub(super) fn moved_to(&self, horizon: u32, tick: u64) -> Self {
        let mut new = Self { values: self.values.clone(), ..Self::new(horizon) };
        let known = self.cleared.len().min(new.cleared.len()) as u32;
        new.cleared.fill(self.cleared(tick, known - 1) as f32);
        for age in (0..known).filter(|age| u64::from(*age) <= tick) {
            let at = index(&new.cleared, tick, age);
            new.cleared[at] = self.cleared(tick, age) as f32;
        }
        new
    }

    /// Forgets everything; the past was `value`.
    pub(super) fn restart(&mut self, value: f64) {
        self.marks.fill(-1.0);
        self.values.fill(value as f32);
        self.cleared.fill(value as f32);
    }

    /// The value of step `tick`, and without its hourly pattern.
    pub(super) fn push(&mut self, tick: u64, value: f64, cleared: f64) {
        let (v, c) = (index(&self.values, tick, 0), index(&self.cleared, tick, 0));
        self.values[v] = value as f32;
        self.cleared[c] = cleared as f32;
    }

    /// The value `age` steps before `tick`.
    pub(super) fn value(&self, tick: u64, age: u32) -> f64 {
        f64::from(self.values[index(&self.values, tick, age)])
    }

    /// The same without its hourly pattern.
    pub(super) fn cleared(&self, tick: u64, age: u32) -> f64 {
        f64::from(self.cleared[index(&self.cleared, tick, age)])
    }

    /// The last `N` of them, `N` at most 28, the newest first.
    pub(super) fn cleared_lately<const N: usize>(&self, tick: u64) -> [f64; N] {
        let at = index(&self.cleared, tick, 0);
        let ring: &[f32] = &self.cleared;
        std::array::from_fn(|age| f64::from(ring[before(ring.len(), at, age)]))
    }

    /// The largest of the last `steps` values, at most 32.
    pub(super) fn maximum(&self, tick: u64, steps: u32) -> f64 {
        let at = index(&self.values, tick, 0);
        let ring: &[f32] = &self.values;
        let largest = (0..steps as usize)
            .map(|age| ring[before(ring.len(), at, age)])
            .fold(f32::NEG_INFINITY, |a, b| if b > a { b } else { a });
        f64::from(largest)
    }

    fn slot(&self, tick: u64) -> usize {
        ((tick / self.every) % (self.marks.len() / MARKS) as u64) as usize
    }

    /// Remembers the origin `tick`, if it is one of those learnt from.
    pub(super) fn remember(&mut self, tick: u64, base: f64, spread: f64, x: &Features) {
        if tick.is_multiple_of(self.every) {
            let slot = self.slot(tick);
            self.marks[slot * MARKS..][..MARKS].copy_from_slice(&[base as f32, spread as f32]);
            self.features.write(slot * FEATURES, x.iter().copied());
        }
    }

    /// Nothing was measured at step `tick`.
    pub(super) fn invalidate(&mut self, tick: u64) {
        if tick.is_multiple_of(self.every) {
            let slot = self.slot(tick);
            self.marks[slot * MARKS..][..MARKS].fill(-1.0);
        }
    }

    /// What was seen at `tick`, not older than the horizon, if it was kept and something was measured then.
    pub(super) fn seen(&self, tick: u64) -> Option<Seen> {
        let slot = self.slot(tick);
        let marks = &self.marks[slot * MARKS..][..MARKS];
        let (base, spread) = (f64::from(marks[0]), f64::from(marks[1]));
        (tick.is_multiple_of(self.every) && spread >= 0.0).then(|| Seen {
            base,
            spread,
            features: self.features.read(slot * FEATURES),
        })
    }
}

/// Where in a ring the step `age` before `tick` lies.
fn index(ring: &[f32], tick: u64, age: u32) -> usize {
    let n = ring.len();
    before(n, (tick % n as u64) as usize, age as usize)
}

/// The place `age` ≤ n before `at` in a ring of `n`.
fn before(n: usize, at: usize, age: usize) -> usize {
    if at >= age { at - age } else { at + n - age }
}
