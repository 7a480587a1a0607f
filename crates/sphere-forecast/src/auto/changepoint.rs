//! Has demand moved to another level for good?
//!
//! Two cumulative sums of deviations, in robust units, tell a shift from a spike (Page, *Continuous inspection
//! schemes*, Biometrika 41, 1954): a lone value may add at most 4 − 1.2 units and is drained in three quiet steps,
//! while a shift passes the limit of 6 within a few. Then the level jumps to the mean since the sum left zero,
//! and [`Shift`] tells the others how recent that was. A shift in the same direction as one before it, while that is still fresh, is
//! part of a ramp: demand is not at a new level, it is on its way.

use super::levels::TINY;
use serde::{Deserialize, Serialize};

/// Freshness of a shift above which the next one in its direction makes a ramp: within 30 steps.
const STILL_FRESH: f64 = 0.3;
/// Deviation that is still no news, in mean absolute deviations.
const DRIFT: f64 = 1.2;
const LIMIT: f64 = 6.0;
const CAP: f64 = 4.0;

/// Values since a sum left zero.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
struct Run {
    evidence: f64,
    sum: f64,
    count: f64,
}

impl Run {
    fn add(&mut self, news: f64, value: f64) {
        self.evidence = (self.evidence + news - DRIFT).max(0.0);
        if self.evidence > 0.0 {
            self.sum += value;
            self.count += 1.0;
        } else {
            (self.sum, self.count) = (0.0, 0.0);
        }
    }
}

/// The last change of level, as seen now.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub(super) struct Shift {
    /// 1 at a shift, fading with a half-life of 17 steps.
    pub(super) freshness: f64,
    /// It went on where another one had begun.
    pub(super) ramp: bool,
}

/// See the module text.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub(super) struct ChangePoint {
    level: f64,
    deviation: f64,
    /// Values the level rests on.
    count: f64,
    seen: u64,
    up: Run,
    down: Run,
    last: [f64; 3],
    freshness: f64,
    /// Did the last shift go up?
    #[serde(default)]
    rose: bool,
    #[serde(default)]
    ramp: bool,
}

impl ChangePoint {
    pub(super) fn restart(&mut self, value: f64) {
        *self =
            Self { level: value, deviation: 0.05 * value.abs() + TINY, last: [value; 3], ..Self::default() };
    }

    pub(super) fn observe(&mut self, value: f64, size: f64) {
        self.last.rotate_left(1);
        self.last[2] = value;
        let error = value - self.level;
        let unit = self.deviation + 0.003 * self.level.abs() + 1e-9 * size + TINY;
        let news = (error / unit).clamp(-CAP, CAP);
        self.up.add(news, value);
        self.down.add(-news, value);
        self.count += 1.0;
        self.level += (1.0 / self.count).max(0.03) * error;
        let gain = if self.seen < 30 { 0.1 } else { 0.02 };
        self.deviation += gain * (error.abs().min(CAP * unit) - self.deviation);
        self.seen += 1;
        self.freshness *= 0.96;
        self.ramp &= self.freshness > STILL_FRESH;
        let (run, rose) = if self.up.evidence > LIMIT {
            (self.up, true)
        } else if self.down.evidence > LIMIT {
            (self.down, false)
        } else {
            return;
        };
        self.ramp = rose == self.rose && self.freshness > STILL_FRESH;
        self.rose = rose;
        // A long run was a slope, not a jump: only its end says where demand is now.
        (self.level, self.count) = if run.count > 4.0 {
            (self.last.iter().sum::<f64>() / 3.0, 3.0)
        } else {
            (run.sum / run.count, run.count)
        };
        (self.up, self.down) = (Run::default(), Run::default());
        self.freshness = 1.0;
    }

    pub(super) fn level(&self) -> f64 {
        self.level
    }

    pub(super) fn shift(&self) -> Shift {
        Shift { freshness: self.freshness, ramp: self.ramp }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Feeds noise of ±1 around `course`, and tells the shift seen at each step.
    fn watch(course: impl Fn(u32) -> f64) -> Vec<Shift> {
        let mut jump = ChangePoint::default();
        jump.restart(course(0));
        (0..400)
            .map(|t| {
                jump.observe(course(t) + f64::from(t * 7919 % 21) / 10.0 - 1.0, 100.0);
                jump.shift()
            })
            .collect()
    }

    #[test]
    fn a_step_is_a_shift_and_no_ramp() {
        for height in [60.0, -60.0] {
            let seen = watch(|t| if t < 200 { 100.0 } else { 100.0 + height });
            assert!(seen[..200].iter().skip(30).all(|s| s.freshness < 0.3), "noise is no shift");
            assert!(seen[200..205].iter().any(|s| s.freshness > 0.9), "{:?}", &seen[198..206]);
            assert!(!seen.iter().any(|s| s.ramp));
        }
    }

    #[test]
    fn a_climb_and_a_fall_are_ramps_until_they_end() {
        for slope in [3.0, -3.0] {
            let seen = watch(|t| 500.0 + slope * f64::from(t.clamp(200, 300) - 200));
            let on_it = seen[230..300].iter().filter(|s| s.ramp).count();
            assert!(on_it > 60, "{on_it} of 70 steps");
            assert!(!seen[..200].iter().chain(&seen[345..]).any(|s| s.ramp));
        }
    }

    #[test]
    fn there_and_back_is_no_ramp() {
        let seen = watch(|t| if (200..215).contains(&t) { 200.0 } else { 100.0 });
        assert!(seen[215..220].iter().any(|s| s.freshness > 0.9) && !seen.iter().any(|s| s.ramp));
    }
}
