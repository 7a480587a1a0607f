//! What is remembered and forecast for one target?

use super::direct::{Direct, INPUTS, Inputs};
use super::doubt::{Doubt, SCALES};
use super::mix::{EXPERTS, Mix, Opinions, Said};
use super::origins::Origin;
use super::packed::{Floats, Fractions};
use super::target::Target;
use crate::lead::scale::Variances;
use serde::{Deserialize, Serialize};

/// Experts that say the same for every step ahead.
pub(super) const FLAT: usize = 8;
/// Index of the week's profile among the experts.
const WEEK: usize = 13;
/// Index of the direct regression among the experts.
const DIRECT: usize = 14;
/// Opinions that differ from step to step, what the mix said, and the measures of doubt.
const PENDING: usize = EXPERTS - FLAT + 5 + SCALES + VARIANCES + 1;
const VARIANCES: usize = size_of::<Variances>() / size_of::<f64>();
/// Most origins of a target that wait for their step; longer leads are learnt from every n-th origin.
const MOST_PENDING: u32 = 32;

/// See the module text.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(super) struct Head {
    pub(super) target: Target,
    every: u64,
    pending: Floats,
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
        let every = target.to.div_ceil(MOST_PENDING);
        let slots = (target.to / every + 1) as usize;
        Self {
            target,
            every: u64::from(every),
            pending: Floats::filled(slots * PENDING, 0.0),
            inputs: Fractions::zeros(slots * INPUTS),
            mix: Mix::new(),
            doubt: Doubt::new(),
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
        let every = self.target.to.div_ceil(MOST_PENDING);
        let slots = (self.target.to / every + 1) as usize;
        self.every == u64::from(every)
            && self.pending.len() == slots * PENDING
            && self.inputs.len() == slots * INPUTS
            && self.regression.fits()
            && self.doubt.fits()
    }

    /// The origin whose target is complete with step `tick`, if this head learns from it.
    pub(super) fn due(&self, tick: u64) -> Option<u64> {
        tick.checked_sub(u64::from(self.target.to)).filter(|origin| origin.is_multiple_of(self.every))
    }

    fn slot(&self, origin: u64) -> usize {
        let slots = self.pending.len() / PENDING;
        ((origin / self.every) % slots as u64) as usize
    }

    fn cells(&self, origin: u64) -> std::ops::Range<usize> {
        let slot = self.slot(origin);
        slot * PENDING..(slot + 1) * PENDING
    }

    /// Remembers what was said at `origin`.
    pub(super) fn remember(
        &mut self,
        origin: u64,
        opinions: &Opinions,
        said: &Said,
        inputs: &Inputs,
        base: f64,
    ) {
        if !origin.is_multiple_of(self.every) {
            return;
        }
        let cells = self.cells(origin);
        let variances = self.doubt.mixture.variances();
        let values = opinions[FLAT..]
            .iter()
            .chain([&said.blend, &said.pick, &said.plain, &self.center, &said.median])
            .chain(&self.scales)
            .chain(&variances)
            .chain([&base]);
        for (slot, v) in self.pending[cells].iter_mut().zip(values) {
            *slot = *v as f32;
        }
        let cell = self.slot(origin) * INPUTS;
        self.inputs.write(cell, inputs.iter().map(|x| *x as f32));
    }

    /// How far the direct regression lies from the centre.
    pub(super) fn shift(&self) -> f64 {
        self.direct - self.center
    }

    /// The centre of what was said at `origin`.
    pub(super) fn expected(&self, origin: u64) -> f64 {
        f64::from(self.pending[self.cells(origin)][EXPERTS - FLAT + 3])
    }

    /// Opinion of the week's profile and the quantiles 0.95 and 0.99 for what was said at `origin`.
    pub(super) fn claim(&self, origin: u64) -> (f64, f64, f64) {
        let said = &self.pending[self.cells(origin)];
        let (experts, rest) = said.split_at(EXPERTS - FLAT);
        let scales = std::array::from_fn(|j| f64::from(rest[5 + j]));
        let point = f64::from(rest[3]);
        let direct = f64::from(experts[DIRECT - FLAT]);
        let deviations = self.doubt.deviations(&scales, direct - point);
        (f64::from(experts[WEEK - FLAT]), point + deviations[9], point + deviations[11])
    }

    /// Learns that `actual` came of what was said at `origin`, when `known` was known; `usual` is the usual spread.
    /// Returns the error.
    pub(super) fn learn(
        &mut self,
        origin: u64,
        known: &Origin<'_>,
        actual: f64,
        unit: f64,
        usual: f64,
    ) -> f64 {
        let Origin { flat, spread, freshness, .. } = *known;
        let cells = self.cells(origin);
        let said_then = &self.pending[cells];
        let mut opinions = [0.0; EXPERTS];
        for (o, v) in opinions.iter_mut().zip(flat.iter().chain(said_then)) {
            *o = f64::from(*v);
        }
        let rest = &said_then[EXPERTS - FLAT..];
        let [blend, pick, plain, point, median] = std::array::from_fn(|i| f64::from(rest[i]));
        let scales = std::array::from_fn(|j| f64::from(rest[5 + j]));
        let after = &rest[5 + SCALES..];
        let variances = std::array::from_fn(|j| f64::from(after[j]));
        let base = f64::from(after[VARIANCES]);
        let inputs = self.inputs.read::<INPUTS>(self.slot(origin) * INPUTS).map(f64::from);
        self.regression.learn(&inputs, (actual - base) / spread);
        self.mix.learn(
            &opinions,
            &Said { blend, pick, plain, point, center: point, median },
            actual,
            spread,
            usual,
            freshness,
        );
        let error = actual - point;
        let direct = opinions[DIRECT];
        self.doubt.learn(error, &scales, direct - point, direct, unit, &variances);
        error
    }
}
