//! What is remembered and forecast for one target?

use super::doubt::{Doubt, SCALES};
use super::mix::{EXPERTS, Mix, Opinions, Said};
use super::packed::Floats;
use super::target::Target;
use serde::{Deserialize, Serialize};

/// Experts that say the same for every step ahead.
pub(super) const FLAT: usize = 8;
/// Opinions that differ from step to step, what the mix said, and the measures of doubt.
const PENDING: usize = EXPERTS - FLAT + 4 + SCALES;
/// Most origins of a target that wait for their step; longer leads are learnt from every n-th origin.
const MOST_PENDING: u32 = 16;

/// See the module text.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(super) struct Head {
    pub(super) target: Target,
    every: u64,
    pending: Floats,
    pub(super) mix: Mix,
    pub(super) doubt: Doubt,
    /// The forecast now.
    pub(super) point: f64,
    /// What the regression says now, without the hourly pattern.
    pub(super) ridge: f64,
    /// Measures of doubt now.
    pub(super) scales: [f64; SCALES],
}

impl Head {
    pub(super) fn new(target: Target) -> Self {
        let every = target.to.div_ceil(MOST_PENDING);
        let slots = (target.to / every + 1) as usize;
        Self {
            target,
            every: u64::from(every),
            pending: Floats::filled(slots * PENDING, 0.0),
            mix: Mix::new(),
            doubt: Doubt::new(),
            point: 0.0,
            ridge: 0.0,
            scales: [1.0; SCALES],
        }
    }

    /// Everything learnt, for another target; what was said and has not come yet is dropped.
    pub(super) fn moved_to(&self, target: Target) -> Self {
        if target == self.target {
            return self.clone();
        }
        Self { mix: self.mix.clone(), doubt: self.doubt.clone(), point: self.point, ..Self::new(target) }
    }

    pub(super) fn fits(&self, horizon: u32) -> bool {
        if self.target.from < 1 || self.target.from > self.target.to || self.target.to > horizon {
            return false;
        }
        let every = self.target.to.div_ceil(MOST_PENDING);
        let slots = (self.target.to / every + 1) as usize;
        self.every == u64::from(every) && self.pending.len() == slots * PENDING && self.doubt.fits()
    }

    /// The origin whose target is complete with step `tick`, if this head learns from it.
    pub(super) fn due(&self, tick: u64) -> Option<u64> {
        tick.checked_sub(u64::from(self.target.to)).filter(|origin| origin.is_multiple_of(self.every))
    }

    fn cells(&self, origin: u64) -> std::ops::Range<usize> {
        let slots = self.pending.len() / PENDING;
        let slot = ((origin / self.every) % slots as u64) as usize;
        slot * PENDING..(slot + 1) * PENDING
    }

    /// Remembers what was said at `origin`.
    pub(super) fn remember(&mut self, origin: u64, opinions: &Opinions, said: &Said) {
        if !origin.is_multiple_of(self.every) {
            return;
        }
        let cells = self.cells(origin);
        let values = opinions[FLAT..]
            .iter()
            .chain([&said.blend, &said.pick, &said.plain, &self.point])
            .chain(&self.scales);
        for (slot, v) in self.pending[cells].iter_mut().zip(values) {
            *slot = *v as f32;
        }
    }

    /// Opinion of the week's profile and the quantiles 0.95 and 0.99 for what was said at `origin`.
    pub(super) fn claim(&self, origin: u64) -> (Option<f64>, f64, f64) {
        let said = &self.pending[self.cells(origin)];
        let (experts, rest) = said.split_at(EXPERTS - FLAT);
        let scales = std::array::from_fn(|j| f64::from(rest[4 + j]));
        let deviations = self.doubt.deviations(&scales);
        let point = f64::from(rest[3]);
        (experts.last().map(|v| f64::from(*v)), point + deviations[9], point + deviations[11])
    }

    /// Learns that `actual` came of what was said at `origin`; `flat`, `spread` and `freshness` are those of the origin.
    /// Returns the error.
    pub(super) fn learn(&mut self, origin: u64, flat: &[f32], spread: f64, freshness: f64, actual: f64) -> f64 {
        let cells = self.cells(origin);
        let said_then = &self.pending[cells];
        let mut opinions = [0.0; EXPERTS];
        for (o, v) in opinions.iter_mut().zip(flat.iter().chain(said_then)) {
            *o = f64::from(*v);
        }
        let rest = &said_then[EXPERTS - FLAT..];
        let [blend, pick, plain, point] = std::array::from_fn(|i| f64::from(rest[i]));
        let scales = std::array::from_fn(|j| f64::from(rest[4 + j]));
        self.mix.learn(&opinions, &Said { blend, pick, plain, point }, actual, spread, freshness);
        let error = actual - point;
        self.doubt.learn(error, &scales);
        error
    }
}
