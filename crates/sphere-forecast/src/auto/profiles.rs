//! What is usual at this time of the hour, the day and the week?
//!
//! Profiles at phases of the wall clock (UTC), in coarse bins: a week in hours, a day in 5 minutes, an hour step by step but at most 360 bins, the latter of the deviation from a fast level. A bin is
//! written when it ends. The hourly pattern passes a gate: the share of it that regression finds in what came lately, so
//! that a pattern that does not repeat is worth nothing. Two more profiles hold the usual size of the errors.

use super::packed::{F16, F24, Numbers, Rounded};
use super::target::Target;
use serde::{Deserialize, Serialize};

pub(super) const HOUR_MS: i64 = 3_600_000;
pub(super) const DAY_MS: i64 = 24 * HOUR_MS;
pub(super) const WEEK_MS: i64 = 7 * DAY_MS;

/// A repeating pattern in bins. Unset bins are NaN. Deviations and errors need fewer digits than levels.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(bound = "")]
pub(super) struct Profile<T: Rounded> {
    period_ms: i64,
    /// Share of the way a bin moves to a new mean.
    rate: f32,
    /// One step per bin, so that nothing is interpolated.
    exact: bool,
    bins: Numbers<T>,
    open: usize,
    sum: f64,
    count: u32,
}

impl<T: Rounded> Profile<T> {
    /// At most `bins` bins, fewer when steps are wider; none when a period has fewer than four steps.
    pub(super) fn new(period_ms: i64, step_ms: i64, bins: i64, rate: f32) -> Self {
        let steps = period_ms / step_ms;
        let bins = if steps < 4 { 0 } else { bins.min(steps) };
        Self {
            period_ms,
            rate,
            exact: bins * step_ms == period_ms,
            bins: Numbers::filled(bins as usize, f32::NAN.into()),
            open: usize::MAX,
            sum: 0.0,
            count: 0,
        }
    }

    /// Is it of the same shape?
    pub(super) fn same_as(&self, other: &Self) -> bool {
        self.bins.len() == other.bins.len() && self.period_ms == other.period_ms && self.exact == other.exact
    }

    pub(super) fn heap_bytes(&self) -> usize {
        self.bins.heap_bytes()
    }

    /// Position in bins of the instant `ms` since the epoch.
    fn position(&self, ms: i64) -> f64 {
        // Division by a constant is a multiplication.
        let within = match self.period_ms {
            HOUR_MS => ms.rem_euclid(HOUR_MS),
            DAY_MS => ms.rem_euclid(DAY_MS),
            WEEK_MS => ms.rem_euclid(WEEK_MS),
            period => ms.rem_euclid(period),
        };
        within as f64 * (self.bins.len() as f64 / self.period_ms as f64)
    }

    pub(super) fn observe(&mut self, ms: i64, value: f64) {
        if self.bins.is_empty() {
            return;
        }
        let bin = (self.position(ms) as usize).min(self.bins.len() - 1);
        if bin != self.open && self.count > 0 {
            let mean = self.sum / f64::from(self.count);
            let open = self.open.min(self.bins.len() - 1);
            self.write(open, mean);
            (self.sum, self.count) = (0.0, 0);
        }
        self.open = bin;
        self.sum += value;
        self.count += 1;
    }

    fn write(&mut self, bin: usize, mean: f64) {
        let (old, mean) = (self.bins[bin].get(), mean as f32);
        self.bins[bin] = if old.is_nan() { mean } else { old + self.rate * (mean - old) }.into();
    }

    /// Usual value at the instant `ms`.
    pub(super) fn at(&self, ms: i64) -> Option<f64> {
        let n = self.bins.len();
        if n == 0 {
            return None;
        }
        let position = self.position(ms);
        if self.exact {
            let value = self.bins[(position as usize).min(n - 1)].get();
            return (!value.is_nan()).then(|| f64::from(value));
        }
        // The bin whose middle lies before, and the next; at most a few hundred bins.
        let x = position - 0.5;
        let next = (position + 0.5) as i32;
        let low = f64::from(next - 1);
        let next = next as usize;
        let a = self.bins[if next == 0 { n - 1 } else { (next - 1).min(n - 1) }].get();
        let b = self.bins[if next >= n { next % n } else { next }].get();
        match (a.is_nan(), b.is_nan()) {
            (false, false) => Some(f64::from(a) + (x - low) * f64::from(b - a)),
            (false, true) => Some(f64::from(a)),
            (true, false) => Some(f64::from(b)),
            (true, true) => None,
        }
    }
}

/// What is usual at one instant.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Usual {
    pub(super) day: Option<f64>,
    pub(super) week: Option<f64>,
    /// Gated hourly deviation, 0 when unknown.
    pub(super) hour: f64,
    /// The same before the gate.
    pub(super) raw_hour: f64,
}

/// See the module text.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(super) struct Profiles {
    step_ms: i64,
    /// Middle of the step last seen.
    now_ms: i64,
    day: Profile<F24>,
    week: Profile<F24>,
    hour: Profile<F16>,
    day_error: Profile<F16>,
    hour_error: Profile<F16>,
    product: f64,
    square: f64,
    gate: f64,
    /// Does the day repeat, as far as is known?
    day_repeats: bool,
}

impl Profiles {
    pub(super) fn new(step_ms: i64) -> Self {
        Self {
            step_ms,
            now_ms: 0,
            day: Profile::new(DAY_MS, step_ms, 288, 0.3),
            week: Profile::new(WEEK_MS, step_ms, 168, 0.5),
            hour: Profile::new(HOUR_MS, step_ms, 360, 0.15),
            day_error: Profile::new(DAY_MS, step_ms, 96, 0.3),
            hour_error: Profile::new(HOUR_MS, step_ms, 60, 0.15),
            product: 0.0,
            square: 0.0,
            gate: 0.0,
            day_repeats: true,
        }
    }

    pub(super) fn fits(&self, step_ms: i64) -> bool {
        let new = Self::new(step_ms);
        self.step_ms == step_ms
            && self.day.same_as(&new.day)
            && self.week.same_as(&new.week)
            && self.hour.same_as(&new.hour)
            && self.day_error.same_as(&new.day_error)
            && self.hour_error.same_as(&new.hour_error)
    }

    pub(super) fn heap_bytes(&self) -> usize {
        self.day.heap_bytes()
            + self.week.heap_bytes()
            + self.hour.heap_bytes()
            + self.day_error.heap_bytes()
            + self.hour_error.heap_bytes()
    }

    /// Has a whole week been seen?
    pub(super) fn knows_week(&self) -> bool {
        !self.week.bins.is_empty() && self.week.bins.iter().all(|bin| !bin.get().is_nan())
    }

    /// The step ending at `end_ms` is now.
    pub(super) fn advance(&mut self, end_ms: i64) {
        self.now_ms = end_ms.saturating_sub(self.step_ms / 2);
    }

    /// Middle of the step last seen.
    pub(super) fn now_ms(&self) -> i64 {
        self.now_ms
    }

    pub(super) fn ahead_ms(&self, steps: u32) -> i64 {
        self.now_ms.saturating_add(self.step_ms.saturating_mul(i64::from(steps)))
    }

    /// Learns this step's `value`, its `deviation` from the fast level and the `error` of a forecast made for it.
    /// Returns the value without its hourly pattern.
    pub(super) fn observe(&mut self, value: f64, deviation: f64, cap: f64, error: Option<f64>) -> f64 {
        let now = self.now_ms;
        let hour = self.hour.at(now).unwrap_or(0.0);
        let cleared = value - self.gate() * hour;
        self.product = 0.998 * self.product + hour * deviation.clamp(-cap, cap);
        self.square = 0.998 * self.square + hour * hour;
        self.hour.observe(now, deviation);
        self.day.observe(now, value);
        self.week.observe(now, value);
        if let Some(error) = error {
            self.day_error.observe(now, error);
            self.hour_error.observe(now, error);
        }
        self.gate = if self.square > 0.0 { (self.product / self.square).clamp(0.0, 1.0) } else { 0.0 };
        cleared
    }

    pub(super) fn gate(&self) -> f64 {
        self.gate
    }

    /// Says whether the profiles of day and week are worth reading; they go on learning.
    pub(super) fn trust_day(&mut self, repeats: bool) {
        self.day_repeats = repeats;
    }

    /// What is usual `steps` ahead.
    pub(super) fn usual(&self, steps: u32) -> Usual {
        let ms = self.ahead_ms(steps);
        let raw_hour = self.hour.at(ms).unwrap_or(0.0);
        let day = self.day.at(ms).filter(|_| self.day_repeats);
        let week = self.week.at(ms).filter(|_| self.day_repeats);
        Usual { day, week, hour: self.gate * raw_hour, raw_hour }
    }

    /// What is usual in the mean of the steps of `target`.
    pub(super) fn usual_mean(&self, target: Target) -> Usual {
        let mut sum = self.usual(target.from);
        let n = f64::from(target.to - target.from + 1);
        for h in target.from + 1..=target.to {
            let next = self.usual(h);
            sum.day = sum.day.zip(next.day).map(|(a, b)| a + b);
            sum.week = sum.week.zip(next.week).map(|(a, b)| a + b);
            sum.hour += next.hour;
            sum.raw_hour += next.raw_hour;
        }
        Usual {
            day: sum.day.map(|v| v / n),
            week: sum.week.map(|v| v / n),
            hour: sum.hour / n,
            raw_hour: sum.raw_hour / n,
        }
    }

    /// Usual absolute error `steps` ahead.
    pub(super) fn usual_error(&self, steps: u32) -> Option<f64> {
        let ms = self.ahead_ms(steps);
        Some(0.5 * (self.day_error.at(ms)? + self.hour_error.at(ms)?))
    }
}
