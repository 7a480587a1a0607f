//! Which step does a value belong to, and what of those that brought none?

use super::{AUTO, AutoForecaster};
use crate::{Forecaster, Grid, NotReady, Observed};
use sphere_core::{Distribution, Period, Timestamp, Trust};
use std::time::Duration;

impl AutoForecaster {
    /// Steps from the last one seen to `at`, rounded; `None` before the first value.
    fn steps_since_last(&self, at: Timestamp) -> Option<i64> {
        let last = self.last?;
        let step = i128::from(self.config.step_ms);
        let distance = i128::from(at.millis()) - i128::from(last.millis());
        let steps = (2 * distance + step).div_euclid(2 * step);
        Some(i64::try_from(steps).unwrap_or(if steps < 0 { i64::MIN } else { i64::MAX }))
    }

    fn end_of(&self, last: Timestamp, steps: i64) -> Timestamp {
        let width = i64::try_from(self.config.step_ms).unwrap_or(i64::MAX);
        Timestamp(last.millis().saturating_add(steps.saturating_mul(width)))
    }

    fn observe_any(&mut self, at: Timestamp, value: f64, censored: bool) -> Observed {
        let usable = self.usable(value);
        let (Some(steps), Some(last)) = (self.steps_since_last(at), self.last) else {
            if !usable {
                return Observed::Rejected;
            }
            self.take(at, value, censored);
            return Observed::Accepted { missed: 0 };
        };
        if !usable {
            self.miss(at);
            return Observed::Rejected;
        }
        if steps <= 0 {
            let measured = steps == 0 && self.missed == 0;
            return if measured { Observed::Duplicate } else { Observed::Late };
        }
        self.pass(steps - 1);
        let end = self.end_of(last, steps);
        if censored {
            self.take_bound(end, value)
        } else {
            self.take(end, value, false)
        }
        Observed::Accepted { missed: u32::try_from(steps - 1).unwrap_or(u32::MAX) }
    }

    /// `steps` steps passed without a value.
    fn pass(&mut self, steps: i64) {
        let Some(last) = self.last else { return };
        let told = steps.min(i64::from(self.config.longest_gap) + 1);
        for k in 1..=told {
            self.skip(self.end_of(last, k));
        }
        if steps > told {
            self.missed = self.missed.saturating_add(u32::try_from(steps - told).unwrap_or(u32::MAX));
            self.last = Some(self.end_of(last, steps));
        }
    }
}

impl Forecaster for AutoForecaster {
    fn name(&self) -> &str {
        AUTO
    }

    fn observe(&mut self, at: Timestamp, value: f64) -> Observed {
        self.observe_any(at, value, false)
    }

    /// A bound above what was expected moves the levels, as a value would; one below it says nothing, and demand is taken to
    /// be as expected. Neither holds a forecast above the bound to have been wrong.
    fn observe_censored(&mut self, at: Timestamp, lower_bound: f64) -> Observed {
        self.observe_any(at, lower_bound, true)
    }

    fn miss(&mut self, at: Timestamp) {
        if let Some(steps) = self.steps_since_last(at)
            && steps > 0
        {
            self.pass(steps);
        }
    }

    fn grid(&self) -> Option<Grid> {
        self.last.map(|last| Grid { last, step: Duration::from_millis(self.config.step_ms) })
    }

    fn distributions(&self, horizon: usize, out: &mut Vec<Distribution>) -> Result<(), NotReady> {
        out.clear();
        if self.last.is_none() {
            return Err(NotReady::TooFewObservations { seen: 0, needed: 1 });
        }
        if self.missed > self.config.longest_gap {
            return Err(NotReady::Stale { missed: self.missed as usize });
        }
        self.serve(horizon, out);
        Ok(())
    }

    fn mean_of_steps(&self, from: usize, to: usize) -> Option<Distribution> {
        if self.last.is_none() || self.missed > 0 {
            return None;
        }
        let head = self
            .heads
            .iter()
            .find(|head| (head.target.from as usize, head.target.to as usize) == (from, to))?;
        self.distribution((head.point, head.center), &head.doubt.deviations(&head.scales, head.shift()))
    }

    fn trust(&self) -> Trust {
        self.skill.trust()
    }

    fn period(&self) -> Option<Period> {
        Some(self.rhythm.period())
    }
}
