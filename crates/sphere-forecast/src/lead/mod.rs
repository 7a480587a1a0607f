//! What will demand be exactly one lead time from now?
//!
//! A pod ordered now serves only after it has started, so one step ahead matters more than all others: the
//! lead. [`LeadForecaster`] learns that step *directly* (no recursion over intermediate steps) from a bank of
//! smoothed levels and from daily and hourly profiles, by recursive least squares; it learns how wrong it is
//! (a mixture of variance experts) and in which shape (a histogram of scaled errors), all online, one setting
//! for every series, O(1) per step. The state is about 4 kB for the levels and profiles and 6 kB per lead learnt.
//!
//! | part | module | source |
//! |---|---|---|
//! | smoothed levels, daily and hourly profile | [`levels`] | exponential smoothing, Brown 1959; Gardner 1985 |
//! | weights of the features | [`rls`] | recursive least squares with forgetting, Ljung & Söderström 1983 |
//! | size of the error | [`scale`] | variance experts with exponential weights, Cesa-Bianchi & Lugosi 2006 |
//! | trust | [`skill`] | skill against no change, Murphy 1988 |
//! | shape of the error | [`shape`] | split-conformal idea on scaled residuals, Vovk et al. 2005, with forgetting |
//!
//! | input | behaviour |
//! |---|---|
//! | gap of a few steps | the levels take the forecast made for the step; nothing else learns |
//! | gap longer than [`LeadConfig::stale_after_steps`] | no forecast until a value arrives; then levels restart, profiles and weights stay |
//! | duplicate, late, NaN, infinite, negative | refused; the step counts as missing |
//! | constant series | the scale keeps a floor of 0.1 % of the level |
//! | demand more than doubles within the first five minutes | the beginning is forgotten: see [`BEGINNING_STEPS`] |

mod levels;
pub(crate) mod rls;
pub(crate) mod scale;
mod shape;
mod skill;

use crate::{Forecaster, Grid, NotReady, Observed};
use levels::Levels;
use rls::Rls;
use scale::ScaleMixture;
use serde::{Deserialize, Serialize};
use shape::ErrorShape;
use skill::{Claim, Skill};
use sphere_core::{Distribution, QUANTILE_LEVELS, Timestamp, Trust};
use std::collections::VecDeque;
use std::time::Duration;

/// Values within which a series may turn out to have begun only now: a workload that was deployed and then given its traffic,
/// or whose first reading covers a part of its pods. What was forecast from before such a step says nothing of how demand
/// moves; kept, its errors are many times the forecast they are measured by, and the first size that the
/// forecast is trusted with is several times too large. As long as skill needs before it may be trusted, and a little more.
const BEGINNING_STEPS: u32 = 30;
/// Growth over all values before that is a beginning: the noise of a small count stays below it after the first few values,
/// a ramp that is worth foreseeing does too.
const BEGINNING_GROWTH: f64 = 2.0;

/// Number of features the regression sees.
pub(crate) const FEATURES: usize = 12;

/// Settings of a [`LeadForecaster`]; the defaults serve every series.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct LeadConfig {
    /// Width of a step.
    pub step: Duration,
    /// Steps ahead that are learnt directly, ascending, each at least 1. A policy needs its lead; a plot of all steps wants a few.
    pub leads_steps: Vec<u32>,
    /// Steps without a value after which the past says nothing about now.
    pub stale_after_steps: u32,
    /// Width, in steps, of the moving average the metric is reported with. 1: each value is its own step's mean.
    /// An average over k steps hides part of the variance a policy must provision for; it is put back as (k²/2)(1 − 1/k) times the variance of its differences.
    pub averaging_steps: u32,
}

impl Default for LeadConfig {
    fn default() -> Self {
        Self {
            step: Duration::from_secs(10),
            leads_steps: vec![4],
            stale_after_steps: 60,
            averaging_steps: 1,
        }
    }
}

/// What was forecast at an origin, kept until its lead has passed.
#[derive(Clone, Debug, Serialize, Deserialize)]
struct Origin {
    features: [f64; FEATURES],
    base: f64,
    spread: f64,
    mean: f64,
    scale: f64,
    claim: Claim,
    experts: scale::Variances,
}

/// One lead: its weights, its error model and its forecast.
#[derive(Clone, Debug, Serialize, Deserialize)]
struct Head {
    lead: u32,
    rls: Rls,
    scale: ScaleMixture,
    shape: ErrorShape,
    pending: VecDeque<Option<Origin>>,
    skill: Skill,
    seen: u64,
    now: Option<Distribution>,
}

impl Head {
    fn new(lead: u32) -> Self {
        Self {
            lead,
            rls: Rls::new(),
            scale: ScaleMixture::new(),
            shape: ErrorShape::new(),
            pending: VecDeque::with_capacity(lead as usize + 1),
            skill: Skill::new(),
            seen: 0,
            now: None,
        }
    }

    /// The forecast whose target is the step now being observed. Call once per step.
    fn due(&mut self) -> Option<Origin> {
        if self.pending.len() < self.lead as usize {
            return None;
        }
        self.pending.pop_front().flatten()
    }

    fn learn(&mut self, actual: f64, origin: &Origin) {
        self.seen += 1;
        if self.seen > 5 {
            self.rls.update(&origin.features, (actual - origin.base) / origin.spread);
            self.shape.add((actual - origin.mean) / origin.scale);
            self.skill.score(actual, &origin.claim);
        }
        self.scale.update(actual - origin.mean, origin.mean, origin.scale, &origin.experts, 1.0);
    }

    fn issue(&mut self, levels: &Levels, extra_variance: f64) {
        let features = levels.features(self.lead);
        let (base, spread) = (levels.base(), levels.spread());
        let raw = base + spread * self.rls.predict(&features);
        let mean = raw.max(0.7 * levels.recent_minimum()).max(0.0);
        let scale = self.scale.scale(mean);
        let wide = (scale * scale + extra_variance).sqrt().max(1e-3 * mean) + 1e-9;
        let z = self.shape.quantiles();
        let quantiles = std::array::from_fn(|i| mean + wide * z[i]);
        self.now = Distribution::rearranged(mean, quantiles, Some(0.0)).ok();
        self.pending.push_back(Some(Origin {
            features,
            base,
            spread,
            mean,
            scale,
            claim: Claim { value: levels.last_value(), q95: mean + wide * z[Q95], q99: mean + wide * z[Q99] },
            experts: self.scale.variances(),
        }));
    }
}

/// Index of the level 0.95.
const Q95: usize = 9;
/// Index of the level 0.99.
const Q99: usize = 11;

/// Direct online forecaster of demand at one or a few leads. See the module text.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct LeadForecaster {
    config: LeadConfig,
    last: Option<Timestamp>,
    missed: u32,
    levels: Levels,
    heads: Vec<Head>,
    differences: DifferenceVariance,
    #[serde(default)]
    beginning: Beginning,
}

/// The first values of a series. A state saved without it has long begun.
#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
struct Beginning {
    steps: u32,
    highest: f64,
}

impl Default for Beginning {
    fn default() -> Self {
        Self { steps: BEGINNING_STEPS, highest: 0.0 }
    }
}

impl Beginning {
    const NOW: Self = Self { steps: 0, highest: 0.0 };

    /// Takes a value; did the series begin only with it?
    fn is_new(&mut self, value: f64) -> bool {
        if self.steps >= BEGINNING_STEPS {
            return false;
        }
        let new = self.steps > 0 && value > BEGINNING_GROWTH * self.highest;
        self.steps = if new { 1 } else { self.steps + 1 };
        self.highest = self.highest.max(value);
        new
    }
}

/// Variance of the differences of an averaged metric, for the variance its averaging hides.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
struct DifferenceVariance {
    previous: Option<f64>,
    variance: f64,
    count: u32,
}

impl DifferenceVariance {
    fn observe(&mut self, value: f64) {
        if let Some(previous) = self.previous.replace(value) {
            self.count = self.count.saturating_add(1);
            let mut square = (value - previous).powi(2);
            if self.count > 30 {
                square = square.min((36.0 * self.variance).max(1e-12));
            }
            self.variance += (square - self.variance) / f64::from(self.count).min(120.0);
        }
    }
}

impl LeadForecaster {
    /// A forecaster without history. An empty list of leads means lead 1; leads are sorted and deduplicated.
    pub fn new(mut config: LeadConfig) -> Self {
        config.leads_steps.retain(|&lead| lead > 0);
        config.leads_steps.sort_unstable();
        config.leads_steps.dedup();
        if config.leads_steps.is_empty() {
            config.leads_steps.push(1);
        }
        config.step = config.step.max(Duration::from_millis(1));
        config.averaging_steps = config.averaging_steps.max(1);
        let heads = config.leads_steps.iter().map(|&lead| Head::new(lead)).collect();
        Self {
            levels: Levels::new(config.step),
            heads,
            last: None,
            missed: 0,
            differences: DifferenceVariance::default(),
            beginning: Beginning::NOW,
            config,
        }
    }

    /// Forgets everything but where the grid is.
    fn begin(&mut self) {
        self.levels = Levels::new(self.config.step);
        self.differences = DifferenceVariance::default();
        for head in &mut self.heads {
            *head = Head::new(head.lead);
        }
    }

    /// A forecaster of every step to `horizon`: learns each lead to step 15 and a few beyond, with interpolation in
    /// between. Interpolating below 15 too would halve the cost per step, but an hourly pattern does not interpolate: on
    /// nine series the absolute error rose by 2 %, on one of them by 11 %.
    pub fn for_horizon(step: Duration, horizon: u32) -> Self {
        let beyond = [20, 30, 45, 60, 90, 120, 180, 240, 360];
        let mut leads: Vec<u32> = (1..=15).chain(beyond).filter(|&lead| lead < horizon).collect();
        leads.push(horizon.max(1));
        Self::new(LeadConfig { step, leads_steps: leads, ..LeadConfig::default() })
    }

    /// The distribution at the longest lead, if there is one.
    pub fn at_lead(&self) -> Option<&Distribution> {
        if self.missed > self.config.stale_after_steps {
            return None;
        }
        self.heads.last().and_then(|head| head.now.as_ref())
    }

    /// Width of a step.
    pub fn step(&self) -> Duration {
        self.config.step
    }

    /// The longest lead, in steps.
    pub fn lead_steps(&self) -> u32 {
        self.heads.last().map_or(1, |head| head.lead)
    }

    /// Steps since the last value.
    pub fn missed_steps(&self) -> u32 {
        self.missed
    }

    /// Moves the longest lead, for example when pods have become slower to start. Weights and error model are
    /// kept, forecasts under way are dropped.
    pub fn set_lead_steps(&mut self, lead: u32) {
        let lead = lead.max(1);
        if let Some(head) = self.heads.last_mut()
            && head.lead != lead
        {
            head.lead = lead;
            head.pending.clear();
        }
        if let Some(last) = self.config.leads_steps.last_mut() {
            *last = lead;
        }
        self.heads.sort_by_key(|head| head.lead);
        self.config.leads_steps.sort_unstable();
    }

    fn extra_variance(&self) -> f64 {
        let k = f64::from(self.config.averaging_steps);
        k * k / 2.0 * (1.0 - 1.0 / k) * self.differences.variance
    }

    /// One step of the grid, with or without a value.
    fn advance(&mut self, at: Timestamp, value: Option<f64>) {
        if value.is_some_and(|value| self.beginning.is_new(value)) {
            self.begin();
        }
        let due: Vec<Option<Origin>> = self.heads.iter_mut().map(Head::due).collect();
        match value {
            Some(value) => {
                if self.missed > self.config.stale_after_steps {
                    self.levels.restart(value);
                }
                self.missed = 0;
                if self.config.averaging_steps > 1 {
                    self.differences.observe(value);
                }
                self.levels.observe(at, value);
                for (head, origin) in self.heads.iter_mut().zip(due) {
                    if let Some(origin) = origin {
                        head.learn(value, &origin);
                    }
                }
            }
            None => {
                self.missed += 1;
                // The forecast stands in for the value; only the levels take it.
                let stand_in = due.last().and_then(Option::as_ref).map(|o| o.mean);
                self.levels.miss(at, stand_in);
            }
        }
        self.last = Some(at);
        let extra = self.extra_variance();
        for head in &mut self.heads {
            head.issue(&self.levels, extra);
        }
    }

    /// Steps from the last one seen to `at`, rounded; `None` when `at` is the first.
    fn steps_since_last(&self, at: Timestamp) -> Option<i64> {
        let step = self.config.step.as_millis() as i64;
        self.last
            .map(|last| (at.millis().saturating_sub(last.millis()).saturating_add(step / 2)).div_euclid(step))
    }

    /// Time has moved on to `at` without values: fills the gap step by step, at most until it is stale.
    fn fill_gap(&mut self, steps: i64) -> u32 {
        let limit = i64::from(self.config.stale_after_steps) + 1;
        if let Some(last) = self.last {
            let skipped = (steps - limit).max(0);
            let start = last + self.config.step * u32::try_from(skipped).unwrap_or(u32::MAX);
            if skipped > 0 {
                for head in &mut self.heads {
                    head.pending.clear();
                }
            }
            for k in 1..=steps.min(limit) {
                self.advance(start + self.config.step * k as u32, None);
            }
        }
        u32::try_from(steps.max(0)).unwrap_or(u32::MAX)
    }
}

impl Forecaster for LeadForecaster {
    fn name(&self) -> &str {
        "sphere"
    }

    fn observe(&mut self, at: Timestamp, value: f64) -> Observed {
        let steps = self.steps_since_last(at);
        match steps {
            Some(0) => return Observed::Duplicate,
            Some(n) if n < 0 => return Observed::Late,
            _ => {}
        }
        if !(value.is_finite() && value >= 0.0) || value > 1e15 {
            self.miss(at);
            return Observed::Rejected;
        }
        match (steps, self.last) {
            (Some(n), Some(last)) => {
                let missed = self.fill_gap(n - 1);
                let at = last + self.config.step * u32::try_from(n).unwrap_or(u32::MAX);
                self.advance(at, Some(value));
                Observed::Accepted { missed }
            }
            _ => {
                self.advance(at, Some(value));
                Observed::Accepted { missed: 0 }
            }
        }
    }

    fn miss(&mut self, at: Timestamp) {
        if let Some(n) = self.steps_since_last(at) {
            self.fill_gap(n);
        }
    }

    fn grid(&self) -> Option<Grid> {
        self.last.map(|last| Grid { last, step: self.config.step })
    }

    fn distributions(&self, horizon: usize, out: &mut Vec<Distribution>) -> Result<(), NotReady> {
        out.clear();
        if self.missed > self.config.stale_after_steps {
            return Err(NotReady::Stale { missed: self.missed as usize });
        }
        let known: Vec<(u32, &Distribution)> =
            self.heads.iter().filter_map(|head| head.now.as_ref().map(|d| (head.lead, d))).collect();
        let (Some(first), Some(last)) = (known.first(), known.last()) else {
            return Err(NotReady::TooFewObservations { seen: 0, needed: 1 });
        };
        for step in 1..=horizon as u32 {
            let i = known.partition_point(|(lead, _)| *lead < step);
            let distribution = match (i, known.get(i)) {
                (0, _) => *first.1,
                (_, None) => *last.1,
                (_, Some((b, upper))) => {
                    let (a, lower) = known[i - 1];
                    blend(lower, upper, f64::from(step - a) / f64::from(b - a))
                }
            };
            out.push(distribution);
        }
        Ok(())
    }

    fn trust(&self) -> Trust {
        self.heads.last().map_or(Trust::default(), |head| head.skill.trust())
    }
}

/// The distribution a share `t` of the way from `a` to `b`, quantile by quantile.
fn blend(a: &Distribution, b: &Distribution, t: f64) -> Distribution {
    let mix = |x: f64, y: f64| x + t * (y - x);
    let quantiles: [f64; QUANTILE_LEVELS.len()] =
        std::array::from_fn(|i| mix(a.quantiles()[i], b.quantiles()[i]));
    Distribution::new(mix(a.mean(), b.mean()), quantiles).unwrap_or(*a)
}

#[cfg(test)]
mod tests;
