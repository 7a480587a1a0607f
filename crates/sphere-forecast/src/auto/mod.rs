//! What will demand be, at every lead up to ten minutes, when nobody tells us anything about the series?
//!
//! [`AutoForecaster`] is the forecaster for every workload: one setting, online, from the first value on. A set of
//! cheap experts that is always on is mixed by recent loss, per lead; profiles of the hour, the day and the week earn
//! their weight by skill; the doubt around the forecast is measured, not assumed.
//!
//! | part | module | source |
//! |---|---|---|
//! | smoothed and robust levels, smoothing that picks its gain | [`levels`] | Brown 1959; Gardner 2006 |
//! | level after a shift | [`changepoint`] | CUSUM, Page 1954 |
//! | hour, day and week | [`profiles`] | |
//! | does it repeat, and after how long | [`rhythm`] | autocorrelation and spectrum, Vlachos, Yu & Castelli 2005 |
//! | the period that was found | [`season`] | |
//! | direct regression on recent values and profiles | [`ridge`] | Hoerl & Kennard 1970; Ljung & Söderström 1983 |
//! | mixing | [`mix`] | ML-Poly, Gaillard, Stoltz & van Erven 2014; exponential weights |
//! | quantiles | [`doubt`] | histograms of scaled errors; Pareto tail; conformal tracking |
//!
//! | input | behaviour |
//! |---|---|
//! | gap of up to [`AutoConfig::longest_gap`] steps | the forecast stands in for lags; nothing else learns; doubt is that of the longer lead |
//! | a longer gap | no forecast until a value arrives; then levels restart, profiles and everything learnt stay |
//! | duplicate, late | refused, nothing changes |
//! | NaN, infinite, beyond ±[`LARGEST`], negative where demand can not be | refused; the step counts as missing |
//! | a limit was reached ([`Forecaster::observe_censored`](crate::Forecaster::observe_censored)) | a bound above the expectation moves the levels, one below it teaches nothing and does not end the forecast ([`bounds`]) |
//! | constant series | forecast exactly, with a doubt that shrinks to a 10⁻⁹th of the level |
//!
//! A workload takes at most 16 KiB, stored and in memory, at every lead up to 60 steps of 10 s or more (17 of 1 s): sums that small increments are added
//! to have four bytes a number, levels and histograms three, everything that is read back once, relative to the level and spread
//! of its origin, two ([`packed`]). Beyond 20 steps a lead is learnt from every n-th origin. On nine series that costs nothing
//! that shows in three digits (18.6 kB before, 14.8 after at 15 steps).
//!
//! What helped, on nine real series (geometric means relative to the founding Holt-Winters fitted afresh; MASE of steps 1
//! to 15, MASE of the mean of steps 13 to 15, pinball loss at 0.95 of that mean; .844/.773/.808 before): losses in the unit
//! of hours instead of the local spread −.006/−.007/0; the median of the distribution as a rule −.001/−.004/0; a quick trend
//! −.006/−.004/0 (all of it on one series that jumps, −5 % there); a level shift believed at once −.002/−.007/−.006; a
//! measure of doubt without any locality 0/0/−.006 (at 0.99, 15 steps ahead, −.05); caps on what one shift adds to the
//! usual error 0/0/−.006; slower judgement of the measures 0/0/−.002.
//!
//! What did not: other memories or sharpness of the mixing weights (±.001; weights that remember longer at longer leads cost
//! .01 where demand jumps); a rule that follows the best simple smoother, as a guard (+.001/+.002/0: the mix is
//! behind it on no series since losses are in the unit of hours); origins weighed by their spread in the regressions
//! (+.002/+.001/+.003); measures of doubt around the last value and a smoothed level (0/0/+.002); squared losses of
//! the centre in the unit of hours (0/0/+.005).
//!
//! Since then: rules judged with a memory of 500 steps instead of 200 0/−.001/0 (held-out segments −.001/−.002/0); on a ramp, the quick trend in
//! place of the change-point level, −.005/−.008/−.004 (half of it on Minikube's one ramp, the rest on WC98 and Alibaba; held-out
//! −.001/−.002/−.002). A larger gain of the offsets in the first day did not help (0/0/+.002, and less coverage), nor did a rule that adds the
//! error of the last forecast that is due, times its regression on the one before (0/0).
//!
//! Nor did boosted trees as one more voice, trained on the series' own history as [`Gbt`](crate::models::Gbt) does, asked on trial and
//! heard only where they would have saved errors (origins every tenth step): −.004/−.002/−.001, once they are silenced after a level
//! shift, which costs RDS 6 % at steps 13 to 15 otherwise. On equal origins trees alone are behind. So no model is trained in the
//! background; one ensemble for many like workloads was not tried, for want of such data. experiments/forecasting tells what bounds the forecast.
//!
//! Nor what a peer in the same namespace has learnt: profiles gain nothing on kin and harm on strangers, and the doubt of
//! strangers is worth nearly as much as that of kin, so a better prior took its place (`experiments/forecasting`).

mod bounds;
mod changepoint;
mod direct;
mod doubt;
mod factor;
mod fast;
mod grid;
mod head;
mod levels;
mod mix;
mod origins;
mod packed;
mod profiles;
mod rhythm;
mod ridge;
mod season;
mod serve;
mod target;
mod trust;

use changepoint::ChangePoint;
use doubt::Surroundings;
use head::{FLAT, Head};
use levels::Levels;
use mix::{EXPERTS, Opinions};
use origins::Origins;
use profiles::{Profiles, Usual};
use rhythm::Rhythm;
use ridge::{FEATURES, Features, Ridge};
use season::Season;
use serde::{Deserialize, Serialize};
use sphere_core::{Distribution, QUANTILE_LEVELS, Timestamp};
use std::time::Duration;
use target::Target;
use trust::{Claim, Skill};

/// Name in the registry.
pub const AUTO: &str = "auto";
/// Values of larger magnitude are refused: state is kept in 32-bit floats.
pub const LARGEST: f64 = 1e18;
const LEVELS: usize = QUANTILE_LEVELS.len();
/// Index of the level that all others are measured against.
const BASE: usize = 3;
/// Index of the level that the hour's profile is relative to.
const FAST: usize = 4;
/// Origins before the regression learns: features need a past.
const FIRST_FEATURES: u64 = 64;
/// Autocorrelation at one day below which the profiles of day and week say nothing.
const DAY_GONE: f64 = 0.0;
/// Steps whose maximum the doubt looks at.
const MAXIMUM_STEPS: u32 = 30;

/// Settings of an [`AutoForecaster`].
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct AutoConfig {
    /// Width of a step, milliseconds, at least 1.
    pub step_ms: u64,
    /// Longest lead that is learnt, steps, 1 to [`AutoConfig::LONGEST_HORIZON`]; beyond it the forecast stays level and doubt grows with the square root.
    pub horizon: u32,
    /// Steps without a value after which the past says nothing about now.
    pub longest_gap: u32,
    /// Refuse negative values and cut forecasts at 0.
    pub nonnegative: bool,
}

impl AutoConfig {
    /// Longest horizon that is learnt, steps.
    pub const LONGEST_HORIZON: u32 = 720;

    /// Leads up to `horizon` steps of the given width; gaps up to 60 steps, no negative demand.
    pub fn new(step: Duration, horizon: u32) -> Self {
        let step_ms = u64::try_from(step.as_millis()).unwrap_or(u64::MAX).clamp(1, 1 << 40);
        Self { step_ms, horizon: horizon.clamp(1, Self::LONGEST_HORIZON), longest_gap: 60, nonnegative: true }
    }
}

/// The forecaster for every workload. See the module text.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct AutoForecaster {
    config: AutoConfig,
    last: Option<Timestamp>,
    /// Steps since the last value.
    missed: u32,
    /// Steps seen, measured or missed.
    tick: u64,
    /// Values since the last gap.
    since_gap: u32,
    levels: Levels,
    jump: ChangePoint,
    profiles: Profiles,
    ridge: Ridge,
    origins: Origins,
    heads: Vec<Head>,
    skill: Skill,
    rhythm: Rhythm,
    season: Option<Box<Season>>,
}

impl AutoForecaster {
    /// A forecaster without history.
    pub fn new(config: AutoConfig) -> Self {
        Self::with_targets(config.clone(), target::ladder(config.horizon))
    }

    /// A forecaster without history that learns the lead `config.horizon` itself and few steps before it: what
    /// scaling reads, at a fraction of the cost of every step.
    pub fn for_lead(config: AutoConfig) -> Self {
        Self::with_targets(config.clone(), target::to_lead(config.horizon))
    }

    fn with_targets(config: AutoConfig, targets: Vec<Target>) -> Self {
        let step_ms = i64::try_from(config.step_ms).unwrap_or(i64::MAX);
        Self {
            last: None,
            missed: 0,
            tick: 0,
            since_gap: 0,
            levels: Levels::default(),
            jump: ChangePoint::default(),
            profiles: Profiles::new(step_ms),
            ridge: Ridge::new(targets.len()),
            origins: Origins::new(config.horizon),
            heads: targets.into_iter().map(Head::new).collect(),
            skill: Skill::new(),
            rhythm: Rhythm::new(step_ms),
            season: None,
            config,
        }
    }

    /// Settings.
    pub fn config(&self) -> &AutoConfig {
        &self.config
    }

    /// The longest lead that is learnt, steps.
    pub fn lead_steps(&self) -> u32 {
        self.config.horizon
    }

    /// Moves the lead, for example when pods have become slower to start. What was learnt is kept, by the target
    /// nearest to each new one; forecasts under way are dropped.
    pub fn set_lead_steps(&mut self, lead: u32) {
        let lead = lead.clamp(1, AutoConfig::LONGEST_HORIZON);
        if lead == self.config.horizon {
            return;
        }
        let targets = target::to_lead(lead);
        let nearest: Vec<usize> = targets
            .iter()
            .map(|new| {
                let distance = |i: &usize| self.heads[*i].target.to.abs_diff(new.to);
                (0..self.heads.len()).min_by_key(distance).unwrap_or(0)
            })
            .collect();
        self.ridge = self.ridge.with_targets(&nearest);
        self.heads =
            targets.iter().zip(&nearest).map(|(target, &i)| self.heads[i].moved_to(*target)).collect();
        self.origins = self.origins.moved_to(lead, self.tick);
        self.config.horizon = lead;
        if self.last.is_some() {
            self.issue(false);
        }
    }

    /// The distribution at the longest lead, if there is one.
    pub fn at_lead(&self) -> Option<Distribution> {
        if self.last.is_none() || self.missed > self.config.longest_gap {
            return None;
        }
        let head = self.heads.last()?;
        self.distribution((head.point, head.center), &head.doubt.deviations(&head.scales, head.shift()))
    }

    /// What it takes in memory, bytes.
    pub fn memory_bytes(&self) -> usize {
        size_of::<Self>()
            + self.heads.capacity() * size_of::<Head>()
            + self.heads.iter().map(Head::heap_bytes).sum::<usize>()
            + self.profiles.heap_bytes()
            + self.ridge.heap_bytes()
            + self.origins.heap_bytes()
            + self.rhythm.heap_bytes()
            + self.season.as_ref().map_or(0, |season| size_of::<Season>() + season.heap_bytes())
    }

    /// Are all parts of a restored state of the sizes that its settings ask for?
    pub(crate) fn is_consistent(&self) -> bool {
        let horizon = self.config.horizon;
        let step_ms = i64::try_from(self.config.step_ms).unwrap_or(i64::MAX);
        (1..=AutoConfig::LONGEST_HORIZON).contains(&horizon)
            && self.config.step_ms > 0
            && !self.heads.is_empty()
            && self.heads.iter().all(|head| head.fits(horizon))
            && self.ridge.fits(self.heads.len())
            && self.origins.fits(horizon)
            && self.profiles.fits(step_ms)
            && self.rhythm.fits(step_ms)
            && self.season.as_ref().is_none_or(|season| season.fits(step_ms))
    }

    fn bounded(&self, value: f64) -> f64 {
        let value = if value.is_finite() { value } else { self.levels.raw[0] };
        if self.config.nonnegative { value.max(0.0) } else { value }
    }

    fn usable(&self, value: f64) -> bool {
        value.abs() <= LARGEST && (value >= 0.0 || !self.config.nonnegative)
    }

    /// A step of the grid that brought `value`, or at least that.
    fn take(&mut self, at: Timestamp, value: f64, censored: bool) {
        if self.last.is_none() || self.missed > self.config.longest_gap {
            self.levels.restart(value);
            self.jump.restart(value);
            self.origins.restart(value);
            self.heads.iter_mut().for_each(Head::forget);
            self.rhythm.restart();
            self.since_gap = 0;
        }
        self.missed = 0;
        self.since_gap = self.since_gap.saturating_add(1);
        self.last = Some(at);
        self.tick += 1;
        self.profiles.advance(at.millis());
        self.origins.push(self.tick, value, value);
        let error = self.score(censored);
        let deviation = value - self.levels.raw[FAST];
        let cap = 8.0 * self.levels.spread();
        let cleared = self.profiles.observe(value, deviation, cap, error);
        let step_ms = i64::try_from(self.config.step_ms).unwrap_or(i64::MAX);
        if self.rhythm.observe(value) {
            let (period, level) = (self.rhythm.period(), self.levels.raw[BASE]);
            self.season = Season::follow(self.season.take(), period, step_ms, level);
            self.profiles.trust_day(self.rhythm.day().is_none_or(|r| r > DAY_GONE));
        }
        if let Some(season) = &mut self.season {
            season.observe(self.profiles.now_ms(), value);
        }
        self.origins.push(self.tick, value, cleared);
        self.levels.observe(value, cleared);
        self.jump.observe(value, self.levels.size());
        self.learn_regression();
        self.issue(true);
    }

    /// A step of the grid that brought nothing.
    fn skip(&mut self, at: Timestamp) {
        self.missed = self.missed.saturating_add(1);
        self.since_gap = 0;
        self.last = Some(at);
        if self.missed > self.config.longest_gap {
            return;
        }
        let stand_in = self.heads.first().map_or(self.levels.raw[BASE], |head| head.point);
        self.tick += 1;
        self.profiles.advance(at.millis());
        let hour = self.profiles.usual(0).hour;
        self.origins.push(self.tick, stand_in, stand_in - hour);
        // Time moves on in its blocks too.
        self.rhythm.observe(stand_in);
        self.issue(false);
    }

    /// Scores the forecasts that are due; the error of the middle target, if it was one of them.
    /// A limit that was forecast to be passed proves nothing.
    fn score(&mut self, censored: bool) -> Option<f64> {
        let middle = self.heads.len() / 2;
        let mut error = None;
        let Self { heads, origins, tick, since_gap, levels, skill, profiles, .. } = self;
        let knows_week = profiles.knows_week();
        let last = heads.len() - 1;
        for (a, head) in heads.iter_mut().enumerate() {
            let steps = head.target.to - head.target.from + 1;
            let Some(due) = head.due(*tick).filter(|_| *since_gap >= steps) else { continue };
            let actual = (0..steps).map(|age| origins.value(*tick, age)).sum::<f64>() / f64::from(steps);
            if censored && head.expected(due) >= actual {
                continue;
            }
            if a == last {
                let (last, week, q95, q99) = head.claim(due);
                let claim = Claim { last, week: knows_week.then_some(week), q95, q99 };
                skill.score(actual, &claim, 1e-3 * levels.size());
            }
            let off = head.learn(due, actual, levels.unit(), levels.usual_spread());
            if a == middle {
                error = Some(off.abs().min(6.0 * head.doubt.usual()));
            }
        }
        error
    }

    fn learn_regression(&mut self) {
        let horizon = self.config.horizon;
        let Some(due) = self.tick.checked_sub(u64::from(horizon)) else { return };
        if due < FIRST_FEATURES || self.since_gap < horizon {
            return;
        }
        let Self { ridge, origins, heads, tick, .. } = self;
        let Some(then) = origins.seen(due) else { return };
        let deviations = heads.iter().map(|head| {
            let mean = head.target.mean(|h| origins.cleared(*tick, horizon - h));
            (mean - then.base) / then.spread
        });
        ridge.learn(&then.features, deviations);
    }

    fn features(&self, base: f64, spread: f64) -> Features {
        let mut x = [0.0f32; FEATURES];
        let unit = 1.0 / spread;
        let scaled = |v: f64| ((v - base) * unit).clamp(-10.0, 10.0) as f32;
        let change = |a: f64, b: f64| ((a - b) * unit).clamp(-10.0, 10.0) as f32;
        let lately: [f64; 28] = self.origins.cleared_lately(self.tick);
        for (slot, v) in x[..12].iter_mut().zip(lately) {
            *slot = scaled(v);
        }
        let mean = |ages: std::ops::Range<usize>| {
            let n = ages.len() as f64;
            lately[ages].iter().sum::<f64>() / n
        };
        x[12] = scaled(mean(12..18));
        x[13] = scaled(mean(18..28));
        for (slot, level) in x[14..19].iter_mut().zip([1, 2, 4, 5, 6]) {
            *slot = scaled(self.levels.cleared[level]);
        }
        x[19] = 0.3;
        (x[28], x[29]) = (scaled(self.levels.slow[0]), scaled(self.levels.slow[1]));
        let horizon = f64::from(self.config.horizon);
        let now = self.profiles.usual(0);
        for (i, share) in [0.2, 0.53, 0.93].into_iter().enumerate() {
            let then = self.profiles.usual((horizon * share).round().max(1.0) as u32);
            let pairs = [(then.day, now.day), (then.week, now.week)];
            for (slot, (then, now)) in [20 + i, 24 + i].into_iter().zip(pairs) {
                if let (Some(then), Some(now)) = (then, now) {
                    x[slot] = change(then, now);
                }
            }
        }
        for (slot, now) in [23, 27].into_iter().zip([now.day, now.week]) {
            if let Some(now) = now {
                x[slot] = scaled(now);
            }
        }
        x
    }

    /// What the direct regression of one target sees: smoothed levels against the base level, and the moves of the day's
    /// and the hour's profile until then, in spreads.
    fn direct(&self, then: &Usual, now: &Usual, spread: f64) -> direct::Inputs {
        let raw = &self.levels.raw;
        let base = raw[BASE];
        let [slow, slower] = self.levels.slow;
        let mut x = [0.0; direct::INPUTS];
        let unit = 1.0 / spread;
        for (x, level) in x.iter_mut().zip([raw[0], raw[1], raw[2], raw[4], raw[5], raw[6], slow, slower]) {
            *x = (level - base) * unit;
        }
        if let (Some(then), Some(now)) = (then.day, now.day) {
            x[8] = (then - now) * unit;
            x[9] = 0.3 * (then - base) * unit;
        }
        x[10] = (then.raw_hour - now.raw_hour) * unit;
        x[11] = 0.3 * (raw[FAST] + then.raw_hour - base) * unit;
        x.map(|v| v.clamp(-20.0, 20.0))
    }

    fn flat(&self) -> [f64; FLAT] {
        let raw = &self.levels.raw;
        let [fast, slow] = self.levels.adaptive();
        [raw[0], raw[2], raw[4], raw[6], self.levels.robust, fast, slow, self.jump.level()]
    }

    /// Opinions on the steps that are usually `then`; `ridge` is without the hourly pattern.
    fn opinions(
        &self,
        flat: &[f64; FLAT],
        target: Target,
        then: &Usual,
        now: &Usual,
        ridge: f64,
        direct: f64,
    ) -> Opinions {
        let mut out = [0.0; EXPERTS];
        out[..FLAT].copy_from_slice(flat);
        let raw = &self.levels.raw;
        let day = then.day.zip(now.day).map_or(0.0, |(then, now)| then - now);
        out[FLAT..].copy_from_slice(&[
            ridge + then.hour,
            raw[1] + day,
            raw[FAST] + day,
            then.day.unwrap_or(raw[BASE]),
            self.levels.cleared[FAST] + then.hour,
            then.week.unwrap_or(raw[BASE]),
            direct,
            self.seasonal(target).unwrap_or(raw[FAST]),
            self.levels.trend_ahead(target),
        ]);
        out
    }

    /// What the season that was found says, if there is one.
    fn seasonal(&self, target: Target) -> Option<f64> {
        let season = self.season.as_ref()?;
        let mut sum = 0.0;
        for h in target.steps() {
            sum += season.at(self.profiles.ahead_ms(h))?;
        }
        Some(sum / f64::from(target.to - target.from + 1))
    }

    /// Makes the forecasts of all targets, and remembers them if this step was measured.
    fn issue(&mut self, measured: bool) {
        let (base, spread) = (self.levels.cleared[BASE], self.levels.spread());
        let shift = self.jump.shift();
        let x = self.features(base, spread);
        let flat = self.flat();
        let now = self.profiles.usual(0);
        let recent_maximum = self.origins.maximum(self.tick, MAXIMUM_STEPS);
        for a in 0..self.heads.len() {
            let target = self.heads[a].target;
            let ridge = base + spread * self.ridge.predict(a, &x);
            let then = self.profiles.usual_mean(target);
            let inputs = self.direct(&then, &now, spread);
            let direct = self.levels.raw[BASE] + spread * self.heads[a].regression.predict(&inputs);
            let opinions = self.opinions(&flat, target, &then, &now, ridge, direct);
            let around = Surroundings {
                usual_error: self.profiles.usual_error(target.to),
                recent_maximum,
                slope: self.levels.slope().abs(),
                size: self.levels.size(),
            };
            let unit = self.levels.unit();
            let head = &mut self.heads[a];
            let doubt = &head.doubt;
            let mut scales = [0.0; doubt::SCALES];
            let said = head.mix.combine(&opinions, shift, |center| {
                scales = doubt.scales(&around, spread, center, direct, unit);
                center + doubt.median(&scales, direct - center)
            });
            let point = self.bounded(said.point);
            let center = self.bounded(said.center);
            let head = &mut self.heads[a];
            head.center = center;
            head.ridge = ridge;
            head.direct = direct;
            head.point = point;
            head.scales = scales;
            if measured {
                let around = (self.levels.raw[BASE], spread, shift);
                head.remember(self.tick, &opinions, &said, &inputs, around);
            } else {
                head.invalidate(self.tick);
            }
        }
        if measured {
            self.origins.remember(self.tick, base, spread, &x);
        } else {
            self.origins.invalidate(self.tick);
        }
    }
}

#[cfg(test)]
mod incidents;
#[cfg(test)]
mod tests;
