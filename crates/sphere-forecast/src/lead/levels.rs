//! At which level is demand, on every time scale, and what is usual at this hour?
//!
//! Nine exponentially smoothed levels from one step to two hours, a local spread, and two profiles: the day in
//! 288 bins (linear between bin centres) and the hour step by step, the latter relative to the half-hour level.
//! The regression sees differences from the base level in units of the spread, so that one set of weights
//! serves series of any size.

use super::FEATURES;
use serde::{Deserialize, Serialize};
use sphere_core::Timestamp;
use std::time::Duration;

/// Time constants of the levels, in steps.
const TAUS: [f64; 9] = [1.0, 2.0, 4.0, 8.0, 15.0, 30.0, 60.0, 180.0, 720.0];
/// The level all others are measured against.
const BASE: usize = 3;
/// The level the hour profile is relative to.
const HOUR_REFERENCE: usize = 7;
const DAY_BINS: usize = 288;
const RECENT: usize = 6;

/// See the module text.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(super) struct Levels {
    step_ms: i64,
    seen: u64,
    since_restart: u64,
    level: [f64; TAUS.len()],
    variance: f64,
    recent: [f64; RECENT],
    day: DayProfile,
    hour: HourProfile,
    at: Timestamp,
}

/// Mean demand per 5-minute bin of the day (UTC).
#[derive(Clone, Debug, Serialize, Deserialize)]
struct DayProfile {
    mean: Vec<f32>,
    days: Vec<u8>,
    open: Option<usize>,
    sum: f64,
    count: u32,
}

/// Relative deviation from the slow level per step of the hour.
#[derive(Clone, Debug, Serialize, Deserialize)]
struct HourProfile {
    deviation: Vec<f32>,
    hours: Vec<u8>,
}

impl Levels {
    pub(super) fn new(step: Duration) -> Self {
        let step_ms = i64::try_from(step.as_millis()).unwrap_or(i64::MAX).max(1);
        let hour_phases = (3_600_000 / step_ms).clamp(0, 3600) as usize;
        Self {
            step_ms,
            seen: 0,
            since_restart: 0,
            level: [0.0; TAUS.len()],
            variance: 0.0,
            recent: [0.0; RECENT],
            day: DayProfile {
                mean: vec![0.0; DAY_BINS],
                days: vec![0; DAY_BINS],
                open: None,
                sum: 0.0,
                count: 0,
            },
            hour: HourProfile { deviation: vec![0.0; hour_phases], hours: vec![0; hour_phases] },
            at: Timestamp(0),
        }
    }

    /// Forgets the levels after a long gap; profiles stay.
    pub(super) fn restart(&mut self, value: f64) {
        self.since_restart = 0;
        self.level = [value; TAUS.len()];
        self.recent = [value; RECENT];
    }

    pub(super) fn observe(&mut self, at: Timestamp, value: f64) {
        self.smooth(value);
        self.seen += 1;
        self.at = at;
        self.recent.rotate_left(1);
        self.recent[RECENT - 1] = value;
        self.day.observe(at, self.step_ms, value);
        self.hour.observe(at, self.step_ms, value, self.level[HOUR_REFERENCE]);
    }

    /// A step without a value: `stand_in` moves the levels, the profiles learn nothing.
    pub(super) fn miss(&mut self, at: Timestamp, stand_in: Option<f64>) {
        self.at = at;
        if let Some(value) = stand_in {
            self.smooth(value);
        }
    }

    fn smooth(&mut self, value: f64) {
        if self.seen == 0 {
            self.level = [value; TAUS.len()];
            self.recent = [value; RECENT];
            self.variance = (0.5 * (0.3 * value.abs()).max(1e-3)).powi(2);
        } else {
            let n = self.since_restart as f64;
            let error = value - self.level[BASE];
            self.variance += (error * error - self.variance) / (n + 2.0).min(60.0);
            for (level, tau) in self.level.iter_mut().zip(TAUS) {
                *level += (value - *level) / tau.min(n + 1.0);
            }
        }
        self.since_restart += 1;
    }

    /// The base level.
    pub(super) fn base(&self) -> f64 {
        self.level[BASE]
    }

    /// Local spread around the base level, always positive.
    pub(super) fn spread(&self) -> f64 {
        self.variance.sqrt() + 0.01 * self.level[BASE].abs() + 1e-6
    }

    /// The value last taken.
    pub(super) fn last_value(&self) -> f64 {
        self.recent[RECENT - 1]
    }

    /// The smallest of the last six values.
    pub(super) fn recent_minimum(&self) -> f64 {
        self.recent.iter().copied().fold(f64::INFINITY, f64::min)
    }

    /// What the regression sees for a forecast `lead` steps ahead.
    pub(super) fn features(&self, lead: u32) -> [f64; FEATURES] {
        let (base, spread) = (self.base(), self.spread());
        let mut x = [0.0; FEATURES];
        let others = self.level.iter().enumerate().filter(|(i, _)| *i != BASE);
        for (x, (_, level)) in x.iter_mut().zip(others) {
            *x = (level - base) / spread;
        }
        let ahead = Timestamp(self.at.millis().saturating_add(self.step_ms.saturating_mul(i64::from(lead))));
        if let (Some(then), Some(now)) =
            (self.day.at(ahead, self.step_ms), self.day.at(self.at, self.step_ms))
        {
            x[8] = (then - now) / spread;
            x[9] = 0.3 * (then - base) / spread;
        }
        if self.seen >= 2 * self.hour.deviation.len() as u64
            && let (Some(then), Some(now)) =
                (self.hour.at(ahead, self.step_ms), self.hour.at(self.at, self.step_ms))
        {
            let slow = self.level[HOUR_REFERENCE];
            x[10] = (then - now) * slow / spread;
            x[11] = 0.3 * (slow * (1.0 + then) - base) / spread;
        }
        x.map(|v| if v.is_finite() { v.clamp(-20.0, 20.0) } else { 0.0 })
    }
}

impl DayProfile {
    /// Position of the step that ends at `at` in the day, in bins.
    fn position(at: Timestamp, step_ms: i64) -> f64 {
        const DAY_MS: i64 = 86_400_000;
        let middle = at.millis().saturating_sub(step_ms / 2).rem_euclid(DAY_MS);
        middle as f64 * (DAY_BINS as f64 / DAY_MS as f64)
    }

    fn observe(&mut self, at: Timestamp, step_ms: i64, value: f64) {
        let bin = (Self::position(at, step_ms) as usize).min(DAY_BINS - 1);
        if let Some(open) = self.open
            && open != bin
            && self.count > 0
        {
            let mean = self.sum / f64::from(self.count);
            self.days[open] = self.days[open].saturating_add(1).min(4);
            self.mean[open] += (mean as f32 - self.mean[open]) / f32::from(self.days[open]);
            self.sum = 0.0;
            self.count = 0;
        }
        self.open = Some(bin);
        self.sum += value;
        self.count += 1;
    }

    /// Usual demand at that time of day; `None` until both neighbouring bins were seen on an earlier day.
    fn at(&self, at: Timestamp, step_ms: i64) -> Option<f64> {
        let x = Self::position(at, step_ms) - 0.5;
        let low = x.floor();
        let (a, b) = ((low as i64).rem_euclid(DAY_BINS as i64), (low as i64 + 1).rem_euclid(DAY_BINS as i64));
        let (a, b) = (a as usize, b as usize);
        if self.days[a] == 0 || self.days[b] == 0 {
            return None;
        }
        let (ya, yb) = (f64::from(self.mean[a]), f64::from(self.mean[b]));
        Some(ya + (x - low) * (yb - ya))
    }
}

impl HourProfile {
    fn phase(&self, at: Timestamp, step_ms: i64) -> Option<usize> {
        let phases = self.deviation.len();
        (phases > 0).then(|| (at.millis().div_euclid(step_ms)).rem_euclid(phases as i64) as usize)
    }

    fn observe(&mut self, at: Timestamp, step_ms: i64, value: f64, slow: f64) {
        let Some(phase) = self.phase(at, step_ms) else { return };
        let deviation = if slow.abs() > 0.0 { ((value - slow) / slow.abs()).clamp(-2.0, 4.0) } else { 0.0 };
        self.hours[phase] = self.hours[phase].saturating_add(1).min(8);
        self.deviation[phase] += (deviation as f32 - self.deviation[phase]) / f32::from(self.hours[phase]);
    }

    /// Mean over the step and its neighbours; `None` for steps too wide to have an hour profile.
    fn at(&self, at: Timestamp, step_ms: i64) -> Option<f64> {
        let phases = self.deviation.len();
        if phases < 3 {
            return None;
        }
        let p = self.phase(at, step_ms)?;
        let sum =
            self.deviation[(p + phases - 1) % phases] + self.deviation[p] + self.deviation[(p + 1) % phases];
        Some(f64::from(sum) / 3.0)
    }
}
