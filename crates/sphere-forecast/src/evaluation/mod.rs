//! How good are a model's forecasts on this series, and how honest its doubts?
//!
//! [`evaluate`] replays a series through a [`Forecaster`] as it would have come in, and at every n-th step (an
//! *origin*) compares the distributions of the coming steps with what then happened: rolling-origin evaluation
//! (Tashman, *Out-of-sample tests of forecasting accuracy*, Int. J. Forecasting 16, 2000). The model never
//! sees a value before it has forecast it.
//!
//! | score | of | source |
//! |---|---|---|
//! | MAE, RMSE, sMAPE | the expected value | [`symmetric_error_pct`] |
//! | MASE | the expected value, in mean one-step changes of what lies before the evaluated part | [`mase_scale`], Hyndman & Koehler 2006 |
//! | pinball loss | each quantile of [`QUANTILE_LEVELS`](sphere_core::QUANTILE_LEVELS) | [`pinball`], Koenker & Bassett 1978 |
//! | coverage | each quantile: the share of values at or below it | |
//!
//! Each is given over all steps ahead, for each step ahead, and for the *signal*: the mean of steps 13 to 15,
//! which the founding system scales on.
//!
//! **Quantiles of the signal.** Where a model forecasts the mean of these steps as such
//! ([`Forecaster::mean_of_steps`]) that is what is scored. Others state a distribution per step, not their joint distribution: the quantile of
//! the three-step mean is then taken as the mean of the three quantiles. That is exact when the three errors rise
//! and fall together, which is nearly so on smooth demand, where all three miss the same move. Where the
//! noise of single steps dominates it averages out in the mean but not in this quantile: the upper quantiles are then
//! too wide, coverage lies above the level, and the pinball loss is higher than that of a model of the mean itself.
//!
//! **Absent is not zero.** A step without a value is passed to [`Forecaster::miss`], and as a target it is left
//! out, of the signal when any of its three steps is missing. An origin at which the model has no forecast
//! is not scored; [`Evaluation::ready`] says which these are, so that several models can be compared on
//! the origins that all of them serve (`only` in [`evaluate`]).
//!
//! **Aliasing.** A model that acts on a schedule meets evenly spaced origins always at the same point of it: `classic`
//! refits every 6 steps and serves stale forecasts in between, so a stride of 6 sees one age of them only. A stride
//! without common factor, such as 7, sees all ages alike. Likewise a series of 5-minute steps with hourly bursts: a stride
//! of 6 sees two phases of the hour only, and a single step ahead can look far better or worse than it is.

mod scores;

pub use scores::{LEVELS, Scores, mase_scale, pinball, symmetric_error_pct};

use crate::Forecaster;
use scores::Tally;
use sphere_core::{Distribution, Timestamp};
use std::ops::Range;
use std::time::Duration;

/// The steps ahead whose mean is the founding system's scaling signal, first and last.
pub const SIGNAL_STEPS: (usize, usize) = (13, 15);

/// Times `refit` is called for its duration after the evaluation of a model that is not refitted at origins.
const TIMED_REFITS: u32 = 4;

/// A series on an even grid.
#[derive(Clone, Copy, Debug)]
pub struct Series<'a> {
    /// One value per step; `None` where nothing was measured.
    pub values: &'a [Option<f64>],
    /// Start of the first step: it fixes the hour and the day for models that know them.
    pub start: Timestamp,
    /// Width of a step.
    pub step: Duration,
}

impl Series<'_> {
    /// End of the step with this index, the time it is observed at.
    fn end_of(&self, index: usize) -> Timestamp {
        let width = i64::try_from(self.step.as_millis()).unwrap_or(i64::MAX);
        let steps = i64::try_from(index + 1).unwrap_or(i64::MAX);
        Timestamp(self.start.millis().saturating_add(steps.saturating_mul(width)))
    }
}

/// Which part is learnt from, which is forecast, and how often.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Plan {
    /// Steps ahead that are scored, at least 1.
    pub horizon_steps: usize,
    /// Steps from one origin to the next, at least 1.
    pub stride_steps: usize,
    /// Index of the first value the model sees, before `evaluate`. The MASE scale is that of all values before
    /// `evaluate`, seen or not.
    pub learn_from: usize,
    /// The evaluated part: every target lies in it. The first origin is the step before it.
    pub evaluate: Range<usize>,
    /// Call [`Forecaster::refit`] at each origin, so that parameters are those of that moment, instead of
    /// leaving it to the model's own schedule.
    pub refit_at_origins: bool,
}

impl Plan {
    /// Horizon 15 and every 6th step, over the last part of `steps` values: the first `max_history_steps` of them, but
    /// at most half, are only learnt from.
    pub fn last_part(steps: usize, max_history_steps: usize) -> Self {
        let history = max_history_steps.min(steps / 2);
        Self {
            horizon_steps: 15,
            stride_steps: 6,
            learn_from: 0,
            evaluate: history..steps,
            refit_at_origins: false,
        }
    }

    /// Indices of the origins: the last step known when the forecast is made. All targets of each lie in
    /// `evaluate`.
    pub fn origins(&self) -> impl Iterator<Item = usize> + use<> {
        let first = self.evaluate.start.saturating_sub(1);
        let end = self.evaluate.end.saturating_sub(self.horizon_steps);
        (first..end).step_by(self.stride_steps.max(1))
    }

    /// Does the plan fit a series of `len` steps?
    ///
    /// # Errors
    /// If not.
    pub fn check(&self, len: usize) -> Result<(), PlanError> {
        if self.horizon_steps == 0 || self.stride_steps == 0 {
            return Err(PlanError::Zero);
        }
        if self.evaluate.end > len {
            return Err(PlanError::Beyond { end: self.evaluate.end, len });
        }
        if self.learn_from >= self.evaluate.start {
            return Err(PlanError::NoHistory);
        }
        if self.evaluate.len() < self.horizon_steps {
            return Err(PlanError::TooShort { steps: self.evaluate.len(), horizon: self.horizon_steps });
        }
        Ok(())
    }
}

/// A plan that can not be carried out.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum PlanError {
    /// Horizon or stride is 0.
    #[error("horizon and stride must be at least 1")]
    Zero,
    /// The evaluated part ends after the series.
    #[error("the evaluated part ends at step {end}, the series has {len}")]
    Beyond {
        /// End asked for.
        end: usize,
        /// Length of the series.
        len: usize,
    },
    /// Nothing to learn from.
    #[error("no step lies before the evaluated part, so there is nothing to learn from")]
    NoHistory,
    /// The evaluated part is shorter than a single forecast.
    #[error("the evaluated part has {steps} steps, fewer than the horizon of {horizon}")]
    TooShort {
        /// Its length.
        steps: usize,
        /// Steps a forecast covers.
        horizon: usize,
    },
}

/// Mean durations of the model's calls during the evaluated part, as the clock given to [`evaluate`] told them.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Cost {
    /// One [`Forecaster::observe`]; refits that the model makes on its own schedule are in it.
    pub observe: Duration,
    /// One [`Forecaster::refit`]: at the origins, or, if the plan does not ask for them, a few after the
    /// last one. Models that learn while they observe spend next to nothing here.
    pub refit: Duration,
    /// One [`Forecaster::distributions`] of all steps of the horizon.
    pub forecast: Duration,
}

/// What came out.
#[derive(Clone, Debug, PartialEq)]
pub struct Evaluation {
    /// Origins at which a forecast was compared with at least one value.
    pub origins: u64,
    /// For each of [`Plan::origins`], whether the model had a forecast.
    pub ready: Vec<bool>,
    /// Mean absolute one-step change of all values before the evaluated part; see [`mase_scale`].
    pub mase_scale: Option<f64>,
    /// Over all steps ahead; `None` when nothing could be compared.
    pub overall: Option<Scores>,
    /// For step 1, 2, … ahead.
    pub by_step: Vec<Option<Scores>>,
    /// For the mean of steps 13 to 15; `None` when the horizon is shorter. See the module on its quantiles.
    pub signal: Option<Scores>,
    /// What the calls took.
    pub cost: Cost,
}

/// Sum and number of some durations.
#[derive(Default)]
struct Stopwatch {
    total: Duration,
    calls: u32,
}

impl Stopwatch {
    fn time<T>(&mut self, clock: &mut dyn FnMut() -> Duration, call: impl FnOnce() -> T) -> T {
        let start = clock();
        let answer = call();
        self.total += clock().saturating_sub(start);
        self.calls = self.calls.saturating_add(1);
        answer
    }

    fn mean(&self) -> Duration {
        self.total.checked_div(self.calls).unwrap_or_default()
    }
}

/// Replays `series` through `forecaster`, which should be new, as `plan` says, and scores what it forecasts.
///
/// `only` restricts the scoring to the origins marked true (one entry per origin of the plan; missing entries count
/// as false): what several models can be compared on. Everything else happens as without it. `clock` tells the time
/// since any fixed instant; `|| Duration::ZERO` when durations are of no interest.
///
/// # Errors
/// If the plan does not fit the series.
pub fn evaluate(
    forecaster: &mut dyn Forecaster,
    series: &Series<'_>,
    plan: &Plan,
    only: Option<&[bool]>,
    clock: &mut dyn FnMut() -> Duration,
) -> Result<Evaluation, PlanError> {
    plan.check(series.values.len())?;
    let horizon = plan.horizon_steps;
    let (mut observing, mut refitting, mut forecasting) =
        (Stopwatch::default(), Stopwatch::default(), Stopwatch::default());
    let mut by_step = vec![Tally::default(); horizon];
    let mut signal = Tally::default();
    let (mut origins, mut ready) = (0, Vec::new());
    let mut out: Vec<Distribution> = Vec::with_capacity(horizon);
    let mut next = plan.learn_from;
    for origin in plan.origins() {
        for index in next..=origin {
            let at = series.end_of(index);
            match series.values[index].filter(|value| value.is_finite()) {
                Some(value) if index >= plan.evaluate.start => {
                    observing.time(clock, || forecaster.observe(at, value));
                }
                Some(value) => {
                    forecaster.observe(at, value);
                }
                None => forecaster.miss(at),
            }
        }
        next = origin + 1;
        if plan.refit_at_origins {
            refitting.time(clock, || forecaster.refit());
        }
        let served = forecasting.time(clock, || forecaster.distributions(horizon, &mut out)).is_ok()
            && out.len() == horizon;
        let wanted = only.is_none_or(|only| only.get(ready.len()).copied().unwrap_or(false));
        ready.push(served);
        if served && wanted {
            let targets = &series.values[next..next + horizon];
            let compared = score_steps(&mut by_step, &out, targets);
            score_signal(
                &mut signal,
                &out,
                forecaster.mean_of_steps(SIGNAL_STEPS.0, SIGNAL_STEPS.1),
                targets,
            );
            origins += u64::from(compared);
        }
    }
    if !plan.refit_at_origins {
        for _ in 0..TIMED_REFITS {
            refitting.time(clock, || forecaster.refit());
        }
    }
    let scale = mase_scale(&series.values[..plan.evaluate.start]);
    let mut overall = Tally::default();
    by_step.iter().for_each(|tally| overall.merge(tally));
    Ok(Evaluation {
        origins,
        ready,
        mase_scale: scale,
        overall: overall.scores(scale),
        by_step: by_step.iter().map(|tally| tally.scores(scale)).collect(),
        signal: signal.scores(scale),
        cost: Cost { observe: observing.mean(), refit: refitting.mean(), forecast: forecasting.mean() },
    })
}

/// Scores each step whose value is known; says whether there was one.
fn score_steps(by_step: &mut [Tally], forecast: &[Distribution], targets: &[Option<f64>]) -> bool {
    let mut compared = false;
    for ((tally, distribution), actual) in by_step.iter_mut().zip(forecast).zip(targets) {
        if let Some(actual) = actual.filter(|actual| actual.is_finite()) {
            tally.add(distribution.mean(), distribution.quantiles(), actual);
            compared = true;
        }
    }
    compared
}

/// Scores the mean of [`SIGNAL_STEPS`], if the horizon has them and all their values are known.
fn score_signal(
    tally: &mut Tally,
    forecast: &[Distribution],
    stated: Option<Distribution>,
    targets: &[Option<f64>],
) {
    let steps = SIGNAL_STEPS.0 - 1..SIGNAL_STEPS.1;
    let (Some(forecast), Some(targets)) = (forecast.get(steps.clone()), targets.get(steps)) else { return };
    let n = forecast.len() as f64;
    let mut actual = 0.0;
    for target in targets {
        let Some(value) = target.filter(|value| value.is_finite()) else { return };
        actual += value / n;
    }
    if let Some(stated) = stated {
        tally.add(stated.mean(), stated.quantiles(), actual);
        return;
    }
    let mut quantiles = [0.0; LEVELS];
    for distribution in forecast {
        for (sum, quantile) in quantiles.iter_mut().zip(distribution.quantiles()) {
            *sum += quantile / n;
        }
    }
    let point = forecast.iter().map(|distribution| distribution.mean() / n).sum();
    tally.add(point, &quantiles, actual);
}

#[cfg(test)]
mod tests;
