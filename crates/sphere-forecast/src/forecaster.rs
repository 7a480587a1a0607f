//! What can a caller ask of any forecaster?

use sphere_core::{Distribution, Forecast, Period, StepForecast, Timestamp, Trust};
use std::time::Duration;

/// Where a forecaster stands on its even time grid.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Grid {
    /// End of the last step seen (measured or missed).
    pub last: Timestamp,
    /// Width of a step.
    pub step: Duration,
}

/// What became of an observation. Only [`Observed::Accepted`] teaches the model anything.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Observed {
    /// Taken; `missed` steps before it had no value.
    Accepted {
        /// Steps skipped since the last one seen.
        missed: u32,
    },
    /// The step had a value already; the first one counts.
    Duplicate,
    /// It belongs to a step before the last one seen; nothing changed.
    Late,
    /// NaN, infinite, or negative where demand can not be; the step counts as missing.
    Rejected,
}

/// Why there is no forecast yet.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum NotReady {
    /// Too little history.
    #[error("{seen} observations, {needed} needed")]
    TooFewObservations {
        /// Observations so far.
        seen: usize,
        /// Observations needed.
        needed: usize,
    },
    /// So many steps are missing that the past says nothing about now.
    #[error("no value for the last {missed} steps")]
    Stale {
        /// Steps since the last value.
        missed: usize,
    },
}

/// A model of one workload's demand on an even time grid.
pub trait Forecaster: Send {
    /// Name in the registry.
    fn name(&self) -> &str;

    /// Version of the model's definition; part of every forecast.
    fn version(&self) -> u32 {
        1
    }

    /// Takes the value of the step that ends at (or nearest to) `at`.
    fn observe(&mut self, at: Timestamp, value: f64) -> Observed;

    /// Takes a step whose demand is only known to be at least `lower_bound`: pods were at their limit and turned
    /// work away or kept it waiting.
    ///
    /// By default a bound above what was expected is learnt as if it were the value, and one below it counts as missing: it
    /// says nothing that was not known. Of the ways tried on replayed traffic that is the best for models that know
    /// of no bounds: leaving out all such steps locks the forecast below the limit; learning all of them drags it down to the
    /// limit; and putting the conditional mean above the bound in their place learns its own inflation and runs away. The order
    /// of more pods while the limit is reached is the policy's work; with them the bound rises and the forecast follows.
    fn observe_censored(&mut self, at: Timestamp, lower_bound: f64) -> Observed {
        let mut next = Vec::with_capacity(1);
        let expected =
            self.distributions(1, &mut next).ok().and_then(|()| next.first()).map(Distribution::mean);
        let Some(grid) = self.grid().filter(|_| expected.is_some_and(|expected| lower_bound < expected))
        else {
            return self.observe(at, lower_bound);
        };
        if at <= grid.last {
            return Observed::Duplicate;
        }
        self.miss(at);
        Observed::Accepted { missed: 0 }
    }

    /// Says that the step ending at `at` is over and brought no value. Time moves on, nothing is learnt.
    fn miss(&mut self, at: Timestamp);

    /// Re-estimates parameters from the model's own buffer. Models without any do nothing.
    fn refit(&mut self) {}

    /// Where the forecaster stands; `None` before the first value.
    fn grid(&self) -> Option<Grid>;

    /// Writes the predictive distribution of steps 1..=`horizon` into `out` (cleared first).
    fn distributions(&self, horizon: usize, out: &mut Vec<Distribution>) -> Result<(), NotReady>;

    /// The distribution of the mean of steps `from..=to` ahead, for models that forecast it as such. Single steps say
    /// nothing on how their errors go together, so by default there is none.
    fn mean_of_steps(&self, _from: usize, _to: usize) -> Option<Distribution> {
        None
    }

    /// Standing of the model on this series.
    fn trust(&self) -> Trust {
        Trust { trusted: true, ..Trust::default() }
    }

    /// Does demand repeat? `None` where the model does not ask.
    fn period(&self) -> Option<Period> {
        None
    }

    /// The forecast of steps 1..=`horizon`, usable until `valid_for` after the last step seen.
    fn forecast(&self, horizon: usize, valid_for: Duration) -> Result<Forecast, NotReady> {
        let grid = self.grid().ok_or(NotReady::TooFewObservations { seen: 0, needed: 1 })?;
        let mut distributions = Vec::with_capacity(horizon);
        self.distributions(horizon, &mut distributions)?;
        let steps = distributions
            .into_iter()
            .enumerate()
            .map(|(k, demand)| StepForecast { at: grid.last + grid.step * (k as u32 + 1), demand })
            .collect();
        Ok(Forecast {
            workload: None,
            issued_at: grid.last,
            valid_until: grid.last + valid_for,
            step_ms: grid.step.as_millis() as u64,
            steps,
            model: self.name().into(),
            model_version: self.version(),
            trust: self.trust(),
            period: self.period(),
        })
    }
}
