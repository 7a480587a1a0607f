//! How does a point model become a forecaster that survives real telemetry?
//!
//! [`Online`] puts time stamps on an even grid, keeps bad values from the model, and calibrates the quantiles
//! ([`crate::calibration`]). The first accepted value fixes the phase of the grid; every later time stamp
//! belongs to the nearest step.
//!
//! | input | answer | effect |
//! |---|---|---|
//! | next step, or later with a gap up to `longest_gap` | `Accepted { missed }` | the missed steps are skipped one by one, then the value is learnt |
//! | a longer gap | `Accepted { missed }` | the model restarts from this value; parameters, seasonal pattern and calibration stay |
//! | same step as the last value | `Duplicate` | none: the first value counts |
//! | a step before the last one seen, or one already declared missing | `Late` | none |
//! | NaN, ±∞, magnitude above [`MAX_MAGNITUDE`](crate::MAX_MAGNITUDE), or negative where demand can not be | `Rejected` | the step counts as missing |
//! | the very first value is rejected | `Rejected` | none; the grid has not begun |
//! | [`Forecaster::miss`] | – | the steps up to that one are skipped; forecasts move on with them |
//! | more than `longest_gap` steps missing by now | – | [`NotReady::Stale`] instead of a forecast |
//! | a counter reset | `Accepted` | turning counters into rates is the collector's work; a reset that slips through is one low value, and is outgrown like any other spike |
//! | a negative forecast where demand can not be negative | – | mean and quantiles are cut at 0 |
//! | a forecast that is not finite | – | replaced by the last value |

use crate::calibration::{Calibrator, Coverage};
use crate::{Forecaster, Grid, MAX_MAGNITUDE, NotReady, Observed, PointModel};
use serde::{Deserialize, Serialize};
use sphere_core::{Distribution, QUANTILE_LEVELS, Timestamp};
use std::time::Duration;

/// Settings every online model shares.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct OnlineConfig {
    /// Width of a step, milliseconds, at least 1.
    pub step_ms: u64,
    /// Horizon up to which quantiles are calibrated, steps. Longer forecasts are served with quantiles
    /// that widen with the square root of the horizon.
    pub horizon: usize,
    /// Steps without a value after which the past says nothing about now.
    pub longest_gap: usize,
    /// Refuse negative values and cut forecasts at 0.
    pub nonnegative: bool,
}

impl OnlineConfig {
    /// 15 steps of the given width, gaps up to 15 steps, no negative demand.
    pub fn new(step: Duration) -> Self {
        let step_ms = u64::try_from(step.as_millis()).unwrap_or(u64::MAX).max(1);
        Self { step_ms, horizon: 15, longest_gap: 15, nonnegative: true }
    }
}

/// Version of the serialised form of [`Online`]. A state of another version is refused: the caller backfills
/// from history instead.
pub const STATE_VERSION: u32 = 1;

/// A point model with grid, hygiene and calibrated quantiles: a [`Forecaster`]. The serialised form carries a
/// version ([`STATE_VERSION`]) and, restored, goes on exactly where it was.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Online<M> {
    #[serde(deserialize_with = "current_version")]
    state_version: u32,
    name: String,
    config: OnlineConfig,
    model: M,
    calibrator: Calibrator,
    /// End of the last step seen, measured or missed.
    last_step: Option<Timestamp>,
    last_value: f64,
    /// Steps since the last value.
    missing: usize,
}

fn current_version<'de, D: serde::Deserializer<'de>>(deserializer: D) -> Result<u32, D::Error> {
    let version = u32::deserialize(deserializer)?;
    if version == STATE_VERSION {
        return Ok(version);
    }
    Err(serde::de::Error::custom(format!("state version {version}, this program reads {STATE_VERSION}")))
}

/// Paths up to this long are computed on the stack.
const STACK_STEPS: usize = 64;

impl<M: PointModel> Online<M> {
    /// Wraps `model`; `name` is what forecasts are labelled with.
    pub fn new(name: impl Into<String>, model: M, config: OnlineConfig) -> Self {
        let calibrator = Calibrator::new(config.horizon);
        Self {
            state_version: STATE_VERSION,
            name: name.into(),
            config,
            model,
            calibrator,
            last_step: None,
            last_value: 0.0,
            missing: 0,
        }
    }

    /// The point model.
    pub fn model(&self) -> &M {
        &self.model
    }

    /// The point model, to adjust its schedule.
    pub(crate) fn model_mut(&mut self) -> &mut M {
        &mut self.model
    }

    /// Settings.
    pub fn config(&self) -> &OnlineConfig {
        &self.config
    }

    /// Measured coverage of the quantiles issued so far, one entry per anchor horizon.
    pub fn coverage(&self) -> Vec<Coverage> {
        self.calibrator.coverage().collect()
    }

    /// Calibration state.
    pub fn calibrator(&self) -> &Calibrator {
        &self.calibrator
    }

    /// Why there is no forecast now, if there is none.
    pub fn readiness(&self) -> Result<(), NotReady> {
        if self.missing > self.config.longest_gap {
            return Err(NotReady::Stale { missed: self.missing });
        }
        let (seen, needed) = (self.model.observations(), self.model.needed());
        if seen < needed || self.last_step.is_none() {
            return Err(NotReady::TooFewObservations { seen, needed });
        }
        Ok(())
    }

    /// Expected demand of steps 1 … `out.len()` ahead, without quantiles: what a simulator of the founding system
    /// needs, at a tenth of the cost.
    pub fn points(&self, out: &mut [f64]) -> Result<(), NotReady> {
        self.readiness()?;
        self.path(out);
        Ok(())
    }

    /// Memory of one workload, bytes: the type and what it holds on the heap.
    pub fn bytes(&self) -> usize {
        size_of::<Self>() + self.name.capacity() + self.model.heap_bytes() + self.calibrator.heap_bytes()
    }

    fn path(&self, out: &mut [f64]) {
        self.model.predict(out);
        for v in out {
            if !v.is_finite() {
                *v = self.last_value;
            }
            *v = v.clamp(-MAX_MAGNITUDE, MAX_MAGNITUDE);
            if self.config.nonnegative {
                *v = v.max(0.0);
            }
        }
    }

    fn with_path<T>(&self, n: usize, use_path: impl FnOnce(&[f64]) -> T) -> T {
        if n <= STACK_STEPS {
            let mut path = [0.0; STACK_STEPS];
            self.path(&mut path[..n]);
            use_path(&path[..n])
        } else {
            let mut path = vec![0.0; n];
            self.path(&mut path);
            use_path(&path)
        }
    }

    fn usable(&self, value: f64) -> bool {
        value.abs() <= MAX_MAGNITUDE && (value >= 0.0 || !self.config.nonnegative)
    }

    /// Steps from the last one seen to the one nearest to `at`.
    fn steps_to(&self, at: Timestamp, last: Timestamp) -> i64 {
        // Nearly always exactly one step: spare the wide division.
        if at.millis().checked_sub(last.millis()) == i64::try_from(self.config.step_ms).ok() {
            return 1;
        }
        let step = i128::from(self.config.step_ms);
        let distance = i128::from(at.millis()) - i128::from(last.millis());
        let steps = (2 * distance + step).div_euclid(2 * step);
        i64::try_from(steps).unwrap_or(if steps < 0 { i64::MIN } else { i64::MAX })
    }

    fn advance(&mut self, last: Timestamp, steps: i64) {
        let width = i64::try_from(self.config.step_ms).unwrap_or(i64::MAX);
        self.last_step = Some(Timestamp(last.millis().saturating_add(steps.saturating_mul(width))));
    }

    /// `steps` ≥ 1 steps passed without a value.
    fn skip_steps(&mut self, steps: u64) {
        let before = self.missing;
        self.missing = self.missing.saturating_add(usize::try_from(steps).unwrap_or(usize::MAX));
        if self.missing <= self.config.longest_gap {
            for _ in 0..steps {
                self.model.skip();
                self.calibrator.skip();
            }
            return;
        }
        if before <= self.config.longest_gap {
            self.calibrator.forget_issued();
        }
        self.model.restart(steps);
    }

    fn learn(&mut self, value: f64) {
        self.calibrator.score(value);
        self.model.observe(value);
        self.last_value = value;
        self.missing = 0;
        if self.model.observations() < self.model.needed() {
            self.calibrator.skip();
            return;
        }
        let horizon = self.calibrator.horizon();
        if horizon <= STACK_STEPS {
            let mut path = [0.0; STACK_STEPS];
            self.path(&mut path[..horizon]);
            self.calibrator.issue(&path[..horizon]);
        } else {
            let mut path = vec![0.0; horizon];
            self.path(&mut path);
            self.calibrator.issue(&path);
        }
    }
}

impl<M: PointModel> Forecaster for Online<M> {
    fn name(&self) -> &str {
        &self.name
    }

    fn observe(&mut self, at: Timestamp, value: f64) -> Observed {
        let usable = self.usable(value);
        let Some(last) = self.last_step else {
            if !usable {
                return Observed::Rejected;
            }
            self.last_step = Some(at);
            self.model.begins_at(at, self.config.step_ms);
            self.learn(value);
            return Observed::Accepted { missed: 0 };
        };
        let steps = self.steps_to(at, last);
        if !usable {
            self.miss(at);
            return Observed::Rejected;
        }
        if steps <= 0 {
            let measured = steps == 0 && self.missing == 0;
            return if measured { Observed::Duplicate } else { Observed::Late };
        }
        let missed = steps.unsigned_abs() - 1;
        if missed > 0 {
            self.skip_steps(missed);
        }
        self.advance(last, steps);
        self.learn(value);
        Observed::Accepted { missed: u32::try_from(missed).unwrap_or(u32::MAX) }
    }

    fn miss(&mut self, at: Timestamp) {
        let Some(last) = self.last_step else { return };
        let steps = self.steps_to(at, last);
        if steps > 0 {
            self.skip_steps(steps.unsigned_abs());
            self.advance(last, steps);
        }
    }

    fn refit(&mut self) {
        self.model.refit();
    }

    fn grid(&self) -> Option<Grid> {
        let step = Duration::from_millis(self.config.step_ms);
        self.last_step.map(|last| Grid { last, step })
    }

    fn distributions(&self, horizon: usize, out: &mut Vec<Distribution>) -> Result<(), NotReady> {
        out.clear();
        self.readiness()?;
        out.reserve(horizon);
        let floor = if self.config.nonnegative { 0.0 } else { f64::NEG_INFINITY };
        self.with_path(horizon, |path| {
            for (k, &point) in path.iter().enumerate() {
                // Only an overflow makes `new` refuse.
                let quantiles = self.calibrator.quantiles(k + 1, point, floor);
                if let Ok(distribution) = Distribution::new(point, quantiles) {
                    out.push(distribution);
                } else {
                    out.extend(Distribution::new(point, [point; QUANTILE_LEVELS.len()]));
                }
            }
        });
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::models::{LastValue, Smoothing, SmoothingConfig, TrendKind};

    const STEP: Duration = Duration::from_secs(10);

    fn last_value() -> Online<LastValue> {
        Online::new("last", LastValue::default(), OnlineConfig::new(STEP))
    }

    fn at(secs: i64) -> Timestamp {
        Timestamp::from_secs(secs)
    }

    #[test]
    fn time_stamps_snap_to_the_nearest_step_of_the_first_ones_phase() {
        let mut f = last_value();
        f.observe(at(1003), 1.0);
        assert_eq!(f.observe(at(1016), 2.0), Observed::Accepted { missed: 0 });
        assert_eq!(f.grid().unwrap().last, at(1013));
        assert_eq!(f.observe(at(1017), 3.0), Observed::Duplicate);
        assert_eq!(f.observe(at(1018), 3.0), Observed::Accepted { missed: 0 });
        assert_eq!(f.grid().unwrap().last, at(1023));
    }

    #[test]
    fn duplicates_and_late_samples_change_nothing() {
        let mut f = last_value();
        for i in 0..30 {
            f.observe(at(10 * i), i as f64);
        }
        let before = f.clone();
        assert_eq!(f.observe(at(290), 999.0), Observed::Duplicate);
        assert_eq!(f.observe(at(120), 999.0), Observed::Late);
        assert_eq!(f.observe(at(-10_000), 999.0), Observed::Late);
        assert_eq!(f, before);
    }

    #[test]
    fn a_value_for_a_step_declared_missing_is_late() {
        let mut f = last_value();
        f.observe(at(0), 1.0);
        f.miss(at(10));
        assert_eq!(f.observe(at(10), 5.0), Observed::Late);
        assert_eq!(f.observe(at(20), 5.0), Observed::Accepted { missed: 0 });
    }

    #[test]
    fn bad_values_count_as_missing_steps() {
        let mut f = last_value();
        assert_eq!(f.observe(at(0), f64::NAN), Observed::Rejected);
        assert_eq!(f.grid(), None);
        f.observe(at(0), 4.0);
        for (i, bad) in [f64::NAN, f64::INFINITY, f64::NEG_INFINITY, -1.0, 1e200].into_iter().enumerate() {
            assert_eq!(f.observe(at(10 * (i as i64 + 1)), bad), Observed::Rejected);
        }
        assert_eq!(f.grid().unwrap().last, at(50));
        let mut out = Vec::new();
        f.distributions(1, &mut out).unwrap();
        assert_eq!(out[0].mean(), 4.0);
    }

    #[test]
    fn negative_values_are_fine_where_demand_can_be_negative() {
        let config = OnlineConfig { nonnegative: false, ..OnlineConfig::new(STEP) };
        let mut f = Online::new("last", LastValue::default(), config);
        assert_eq!(f.observe(at(0), -3.0), Observed::Accepted { missed: 0 });
        let mut out = Vec::new();
        f.distributions(2, &mut out).unwrap();
        assert_eq!(out[1].mean(), -3.0);
    }

    #[test]
    fn too_long_a_silence_ends_the_forecast_until_the_next_value() {
        let mut f = last_value();
        f.observe(at(0), 4.0);
        (1..=15).for_each(|i| f.miss(at(10 * i)));
        assert!(f.distributions(3, &mut Vec::new()).is_ok());
        f.miss(at(160));
        assert_eq!(f.distributions(3, &mut Vec::new()), Err(NotReady::Stale { missed: 16 }));
        assert_eq!(f.observe(at(170), 6.0), Observed::Accepted { missed: 0 });
        assert!(f.distributions(3, &mut Vec::new()).is_ok());
    }

    #[test]
    fn a_gap_seen_late_equals_one_announced() {
        let holt = || Smoothing::new(SmoothingConfig::new(TrendKind::Additive));
        for gap in [1, 5, 15, 16, 40] {
            let mut told = Online::new("holt", holt(), OnlineConfig::new(STEP));
            let mut seen = told.clone();
            for i in 0..80 {
                let value = 50.0 + ((i * 37) % 11) as f64;
                told.observe(at(10 * i), value);
                seen.observe(at(10 * i), value);
            }
            (80..80 + gap).for_each(|i| told.miss(at(10 * i)));
            for i in 80 + gap..200 {
                let value = 50.0 + ((i * 37) % 11) as f64;
                told.observe(at(10 * i), value);
                seen.observe(at(10 * i), value);
            }
            assert!(told == seen, "gap {gap}");
        }
    }

    #[test]
    fn a_constant_series_is_forecast_as_the_constant_it_is() {
        let mut f = Online::new(
            "holt",
            Smoothing::new(SmoothingConfig::new(TrendKind::Additive)),
            OnlineConfig::new(STEP),
        );
        for i in 0..100 {
            f.observe(at(10 * i), 42.0);
        }
        let mut out = Vec::new();
        f.distributions(15, &mut out).unwrap();
        for d in out {
            assert!((d.mean() - 42.0).abs() < 1e-6);
            assert!(d.quantiles().iter().all(|q| (q - 42.0).abs() < 1e-6), "{d:?}");
        }
    }

    #[test]
    fn one_point_is_enough_for_the_naive_forecast_and_too_few_for_classic() {
        let mut f = last_value();
        f.observe(at(0), 3.0);
        let mut out = Vec::new();
        f.distributions(15, &mut out).unwrap();
        assert_eq!((out.len(), out[14].mean()), (15, 3.0));
        let mut classic = Online::new("classic", Smoothing::classic(true), OnlineConfig::new(STEP));
        classic.observe(at(0), 3.0);
        assert_eq!(
            classic.distributions(15, &mut out),
            Err(NotReady::TooFewObservations { seen: 1, needed: 20 })
        );
        assert!(out.is_empty());
    }

    #[test]
    fn a_counter_reset_is_outgrown() {
        let mut f = Online::new(
            "holt",
            Smoothing::new(SmoothingConfig::new(TrendKind::Additive)),
            OnlineConfig::new(STEP),
        );
        for i in 0..300 {
            f.observe(at(10 * i), if i == 150 { 0.0 } else { 100.0 + ((i * 37) % 5) as f64 });
        }
        let mut out = Vec::new();
        f.distributions(15, &mut out).unwrap();
        assert!(out.iter().all(|d| (d.mean() - 102.0).abs() < 4.0), "{out:?}");
    }

    #[test]
    fn time_stamps_at_the_ends_of_time_do_no_harm() {
        let mut f = last_value();
        f.observe(Timestamp(i64::MIN), 1.0);
        assert!(matches!(f.observe(Timestamp(i64::MAX), 2.0), Observed::Accepted { .. }));
        assert_eq!(f.observe(Timestamp(i64::MIN), 3.0), Observed::Late);
    }
}
