//! What is usual at this phase of the period that was found?
//!
//! Beside the fixed profiles of hour, day and week, one of whichever other period [`super::rhythm`] finds: the deviation
//! from a level as slow as the period, at most [`BINS`] bins, and a fast level of what is left. It ends when the
//! period is no longer there, and starts again when another takes its place.

use super::packed::F16;
use super::profiles::{DAY_MS, HOUR_MS, Profile, WEEK_MS};
use serde::{Deserialize, Serialize};
use sphere_core::Period;

const BINS: i64 = 120;
/// Share of the way a bin moves to a new mean.
const RATE: f32 = 0.3;
/// Gain of the level of what is left.
const FAST: f64 = 0.09;
/// Another estimate of the same period.
const SAME: f64 = 0.03;

/// See the module text.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(super) struct Season {
    period_ms: i64,
    profile: Profile<F16>,
    level: f64,
    left: f64,
    gain: f64,
    seen: u32,
}

impl Season {
    fn new(period_ms: i64, step_ms: i64, level: f64) -> Self {
        let steps = (period_ms as f64 / step_ms as f64).max(1.0);
        Self {
            period_ms,
            profile: Profile::new(period_ms, step_ms, BINS, RATE),
            level,
            left: 0.0,
            gain: 1.0 / steps,
            seen: 0,
        }
    }

    pub(super) fn fits(&self, step_ms: i64) -> bool {
        self.period_ms > 0 && self.profile.same_as(&Profile::<F16>::new(self.period_ms, step_ms, BINS, RATE))
    }

    pub(super) fn heap_bytes(&self) -> usize {
        self.profile.heap_bytes()
    }

    /// The season to go on with, given what was found.
    pub(super) fn follow(
        old: Option<Box<Self>>,
        found: Period,
        step_ms: i64,
        level: f64,
    ) -> Option<Box<Self>> {
        let Period::Found { ms, .. } = found else { return None };
        if [HOUR_MS, DAY_MS, WEEK_MS].contains(&ms) {
            return None;
        }
        match old {
            Some(old) if (ms as f64 / old.period_ms as f64 - 1.0).abs() < SAME => Some(old),
            _ => Some(Box::new(Self::new(ms, step_ms, level))),
        }
    }

    pub(super) fn observe(&mut self, ms: i64, value: f64) {
        self.seen = self.seen.saturating_add(1);
        let gain = self.gain.max(1.0 / f64::from(self.seen));
        self.level += gain * (value - self.level);
        let deviation = value - self.level;
        let usual = self.profile.at(ms).unwrap_or(0.0);
        self.left += FAST * (deviation - usual - self.left);
        self.profile.observe(ms, deviation);
    }

    /// Expected demand at the instant `ms`; none until that phase was seen.
    pub(super) fn at(&self, ms: i64) -> Option<f64> {
        self.profile.at(ms).map(|usual| self.level + usual + self.left)
    }
}
