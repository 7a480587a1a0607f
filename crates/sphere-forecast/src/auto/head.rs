//! What is remembered and forecast for one target?

use super::changepoint::Shift;
use super::direct::{Direct, INPUTS, Inputs};
use super::doubt::{Doubt, Outcome, SCALES};
use super::mix::{EXPERTS, Mix, Opinions, Said};
use super::packed::{F16, Floats, Fractions, Numbers, decode};
use super::target::Target;
use crate::lead::scale::Variances;
use serde::{Deserialize, Serialize};

/// Experts that say the same for every step ahead.
pub(super) const FLAT: usize = 8;
/// Index of the last value among the experts.
const LAST: usize = 0;
/// Index of the week's profile among the experts.
const WEEK: usize = 13;
/// Index of the direct regression among the experts.
const DIRECT: usize = 14;
/// Base level and spread of an origin.
const MARKS: usize = 2;
/// How fresh the last shift was, negative on a ramp; what the experts and the mix said, the measures of doubt.
const PENDING: usize = 1 + EXPERTS + SAID + SCALES + VARIANCES;
/// What the mix said.
const SAID: usize = 5;
const VARIANCES: usize = size_of::<Variances>() / size_of::<f64>();
/// Longest lead that is learnt from every origin: a pod that starts in three minutes has one of 19 or 20 steps of 10 s.
const EVERY_ORIGIN_TO: u32 = 20;
/// Most origins of a longer lead that wait for their step; it is learnt from every n-th origin.
const MOST_PENDING: u32 = 18;

/// Steps between the origins from which a lead of `to` steps is learnt.
fn steps_between_origins(to: u32) -> u32 {
    if to <= EVERY_ORIGIN_TO { 1 } else { to.div_ceil(MOST_PENDING) }
}

/// See the module text.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(super) struct Head {
    pub(super) target: Target,
    every: u64,
    /// What `pending` is relative to; the spread is negative where nothing was measured.
    marks: Floats,
    /// Demand as distance from the base level in spreads.
    pending: Numbers<F16>,
    /// What the direct regression saw, cut at 20.
    inputs: Fractions<20>,
    pub(super) mix: Mix,
    pub(super) doubt: Doubt,
    pub(super) regression: Direct,
    pub(super) direct: f64,
    /// The forecast now.
    pub(super) point: f64,
    pub(super) center: f64,
    /// What the regression says now, without the hourly pattern.
    pub(super) ridge: f64,
    /// Measures of doubt now.
    pub(super) scales: [f64; SCALES],
}

impl Head {
    pub(super) fn new(target: Target) -> Self {
        let every = steps_between_origins(target.to);
        let slots = (target.to / every + 1) as usize;
        Self {
            target,
            every: u64::from(every),
            marks: Floats::filled(slots * MARKS, -1.0),
            pending: Numbers::filled(slots * PENDING, F16::default()),
            inputs: Fractions::zeros(slots * INPUTS),
            mix: Mix::new(),
            doubt: Doubt::new(target.to),
            regression: Direct::new(),
            direct: 0.0,
            point: 0.0,
            center: 0.0,
            ridge: 0.0,
            scales: [1.0; SCALES],
        }
    }

    /// Everything learnt, for another target; what was said and has not come yet is dropped.
    pub(super) fn moved_to(&self, target: Target) -> Self {
        if target == self.target {
            return self.clone();
        }
        Self {
            mix: self.mix.clone(),
            doubt: self.doubt.clone(),
            regression: self.regression.clone(),
            point: self.point,
            ..Self::new(target)
        }
    }

    pub(super) fn fits(&self, horizon: u32) -> bool {
        if self.target.from < 1 || self.target.from > self.target.to || self.target.to > horizon {
            return false;
        }
        let every = steps_between_origins(self.target.to);
        let slots = (self.target.to / every + 1) as usize;
        self.every == u64::from(every)
            && self.marks.len() == slots * MARKS
            && self.pending.len() == slots * PENDING
            && self.inputs.len() == slots * INPUTS
            && self.regression.fits()
            && self.doubt.fits()
    }

    pub(super) fn heap_bytes(&self) -> usize {
        self.marks.heap_bytes()
            + self.pending.heap_bytes()
            + self.inputs.heap_bytes()
            + self.doubt.heap_bytes()
            + self.regression.heap_bytes()
    }

    /// The origin whose target is complete with step `tick`, if this head learns from it.
    pub(super) fn due(&self, tick: u64) -> Option<u64> {
        let origin = tick.checked_sub(u64::from(self.target.to))?;
        (self.learns_from(origin) && self.marks[self.slot(origin) * MARKS + 1] >= 0.0).then_some(origin)
    }

    /// Origins that can wait for their target.
    pub(super) fn slots(&self) -> usize {
        self.pending.len() / PENDING
    }

    /// Does this head learn from `origin`?
    pub(super) fn learns_from(&self, origin: u64) -> bool {
        origin.is_multiple_of(self.every)
    }

    /// Where `origin` waits.
    pub(super) fn slot(&self, origin: u64) -> usize {
        ((origin / self.every) % self.slots() as u64) as usize
    }

    /// Drops what was said and has not come yet.
    pub(super) fn forget(&mut self) {
        self.marks.fill(-1.0);
    }

    /// Nothing was measured at `origin`.
    pub(super) fn invalidate(&mut self, origin: u64) {
        if self.learns_from(origin) {
            let slot = self.slot(origin);
            self.marks[slot * MARKS..][..MARKS].fill(-1.0);
        }
    }

    /// Remembers what was said at `origin`, where demand was at `base` with a local `spread` and the last shift
    /// `shift`.
    pub(super) fn remember(
        &mut self,
        origin: u64,
        opinions: &Opinions,
        said: &Said,
        inputs: &Inputs,
        (base, spread, shift): (f64, f64, Shift),
    ) {
        if !self.learns_from(origin) {
            return;
        }
        let slot = self.slot(origin);
        let marks = [base as f32, spread as f32];
        self.marks[slot * MARKS..][..MARKS].copy_from_slice(&marks);
        // Relative to what will be read back.
        let [base, spread] = marks.map(f64::from);
        let unit = 1.0 / spread;
        let said = [said.blend, said.pick, said.plain, self.center, said.median];
        // An array first, so that all are rounded side by side.
        let mut row = [0.0f32; PENDING];
        row[0] = (if shift.ramp { -shift.freshness } else { shift.freshness }) as f32;
        for (cell, v) in row[1..].iter_mut().zip(opinions) {
            *cell = ((v - base) * unit) as f32;
        }
        for (cell, v) in row[1 + EXPERTS..].iter_mut().zip(said) {
            *cell = ((v - base) * unit) as f32;
        }
        for (cell, v) in row[1 + EXPERTS + SAID..].iter_mut().zip(self.scales) {
            *cell = (v * unit) as f32;
        }
        for (cell, v) in row[1 + EXPERTS + SAID + SCALES..].iter_mut().zip(self.doubt.mixture.variances()) {
            *cell = v as f32;
        }
        for (cell, v) in self.pending[slot * PENDING..].iter_mut().zip(row) {
            *cell = v.into();
        }
        self.inputs.write(slot * INPUTS, inputs.iter().map(|x| *x as f32));
    }

    /// What was said at `origin`.
    fn recall(&self, origin: u64) -> Recalled {
        let slot = self.slot(origin);
        let [base, spread] = [0, 1].map(|i| f64::from(self.marks[slot * MARKS + i]));
        let row: [f32; PENDING] = decode(&self.pending, slot * PENDING);
        let raw = |i: usize| f64::from(row[i]);
        let demand = |i: usize| base + spread * raw(i);
        let [blend, pick, plain, center, median] = std::array::from_fn(|i| demand(1 + EXPERTS + i));
        let after = 1 + EXPERTS + SAID;
        Recalled {
            base,
            spread,
            last_shift: Shift { freshness: raw(0).abs(), ramp: raw(0) < 0.0 },
            opinions: std::array::from_fn(|k| demand(1 + k)),
            said: Said { blend, pick, plain, point: center, center, median },
            // What was too small to be told from 0 must not become a division by it.
            scales: std::array::from_fn(|j| (spread * raw(after + j)).max(1e-12 * spread)),
            variances: std::array::from_fn(|j| raw(after + SCALES + j)),
        }
    }

    /// How far the direct regression lies from the centre.
    pub(super) fn shift(&self) -> f64 {
        self.direct - self.center
    }

    /// The centre of what was said at `origin`.
    pub(super) fn expected(&self, origin: u64) -> f64 {
        self.recall(origin).said.center
    }

    /// Last value, opinion of the week's profile, and the quantiles 0.95 and 0.99 for what was said at `origin`.
    pub(super) fn claim(&self, origin: u64) -> (f64, f64, f64, f64) {
        let Recalled { opinions, said, scales, .. } = self.recall(origin);
        let deviations = self.doubt.deviations(&scales, opinions[DIRECT] - said.center);
        (opinions[LAST], opinions[WEEK], said.center + deviations[9], said.center + deviations[11])
    }

    /// Learns that `actual` came of what was said at `origin`; `usual` is the usual spread. Returns the error.
    pub(super) fn learn(&mut self, origin: u64, actual: f64, unit: f64, usual: f64) -> f64 {
        let then = self.recall(origin);
        let inputs = self.inputs.read::<INPUTS>(self.slot(origin) * INPUTS).map(f64::from);
        self.regression.learn(&inputs, (actual - then.base) / then.spread);
        self.mix.learn(&then.opinions, &then.said, actual, then.spread, usual, then.last_shift);
        let error = actual - then.said.center;
        let direct = then.opinions[DIRECT];
        let shift = direct - then.said.center;
        let came = Outcome { error, shift, direct, unit, every: self.every as f64 };
        self.doubt.learn(&came, &then.scales, &then.variances);
        error
    }
}

/// What was said at one origin.
struct Recalled {
    base: f64,
    spread: f64,
    last_shift: Shift,
    opinions: Opinions,
    said: Said,
    scales: [f64; SCALES],
    variances: Variances,
}
