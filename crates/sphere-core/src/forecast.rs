//! How will demand be distributed at each step ahead?
//!
//! A [`Forecast`] carries, for each step, a [`Distribution`]: the mean and the quantiles on the fixed grid
//! [`QUANTILE_LEVELS`], dense in the upper tail because scaling asks `P(demand > x)` there. Between grid
//! levels the survival function is interpolated log-linearly above the median and linearly below; beyond
//! the last level the tail continues exponentially with the slope of the last segment. One shared
//! representation lets any model feed any policy.

use crate::{Timestamp, WorkloadId};
use schemars::JsonSchema;
use serde::ser::SerializeStruct;
use serde::{Deserialize, Serialize, Serializer};
use std::fmt;
use std::time::Duration;

/// Probability levels of the quantiles a [`Distribution`] holds.
pub const QUANTILE_LEVELS: [f64; 17] =
    [0.01, 0.05, 0.1, 0.25, 0.5, 0.6, 0.7, 0.8, 0.9, 0.95, 0.975, 0.99, 0.995, 0.998, 0.999, 0.9995, 0.9999];

const MEDIAN: usize = 4;
const LAST: usize = QUANTILE_LEVELS.len() - 1;

/// Predictive distribution of demand at one instant.
///
/// As text (JSON) its numbers have the seven digits of single precision: nobody knows demand better, and forecasts
/// are most of what the pipeline sends. In binary forms, where a model's state has to come back exactly, they are
/// whole.
#[derive(Clone, Copy, Debug, PartialEq, Deserialize, JsonSchema)]
#[serde(try_from = "RawDistribution")]
#[schemars(with = "RawDistribution")]
pub struct Distribution {
    mean: f64,
    quantiles: [f64; QUANTILE_LEVELS.len()],
}

/// The wire form of [`Distribution`].
#[derive(Clone, Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct RawDistribution {
    /// Expected demand, in the unit of the workload's metric.
    mean: f64,
    /// Demand at the levels 0.01, 0.05, 0.1, 0.25, 0.5, 0.6, 0.7, 0.8, 0.9, 0.95, 0.975, 0.99, 0.995, 0.998, 0.999, 0.9995, 0.9999; never decreasing.
    quantiles: Vec<f64>,
}

/// Why numbers do not form a [`Distribution`].
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
pub enum DistributionError {
    /// Not one quantile per level of [`QUANTILE_LEVELS`].
    #[error("{0} quantiles given, one for each of the 17 levels expected")]
    WrongLength(usize),
    /// NaN or infinite.
    #[error("a value is not finite")]
    NotFinite,
    /// Quantiles cross.
    #[error("quantiles decrease between level {0} and the next")]
    Decreasing(f64),
}

impl Distribution {
    /// Checks that all numbers are finite and the quantiles never decrease.
    #[inline]
    pub fn new(mean: f64, quantiles: [f64; QUANTILE_LEVELS.len()]) -> Result<Self, DistributionError> {
        // Forecasters call this for every step of every workload: one pass without branches. Between two finite
        // ends in order nothing can be infinite, and NaN is in order with nothing.
        let mut in_order = true;
        for i in 1..quantiles.len() {
            in_order &= quantiles[i - 1] <= quantiles[i];
        }
        if in_order && mean.is_finite() && quantiles[0].is_finite() && quantiles[LAST].is_finite() {
            return Ok(Self { mean, quantiles });
        }
        Err(Self::fault(mean, &quantiles))
    }

    #[cold]
    fn fault(mean: f64, quantiles: &[f64; QUANTILE_LEVELS.len()]) -> DistributionError {
        if !mean.is_finite() || quantiles.iter().any(|q| !q.is_finite()) {
            return DistributionError::NotFinite;
        }
        let crossing = quantiles.windows(2).position(|w| w[1] < w[0]).unwrap_or(0);
        DistributionError::Decreasing(QUANTILE_LEVELS[crossing])
    }

    /// Like [`Distribution::new`], but sorts crossed quantiles (the rearrangement of Chernozhukov et al., 2010)
    /// and clips at `floor` where demand can not be lower.
    pub fn rearranged(
        mean: f64,
        mut quantiles: [f64; QUANTILE_LEVELS.len()],
        floor: Option<f64>,
    ) -> Result<Self, DistributionError> {
        if !mean.is_finite() || quantiles.iter().any(|q| !q.is_finite()) {
            return Err(DistributionError::NotFinite);
        }
        let low = floor.unwrap_or(f64::NEG_INFINITY);
        let mut running = low;
        let mut crossed = false;
        for q in &mut quantiles {
            if *q < running {
                crossed |= running > low;
                *q = q.max(low);
            }
            running = running.max(*q);
        }
        if crossed {
            quantiles.sort_by(f64::total_cmp);
        }
        Ok(Self { mean: mean.max(low), quantiles })
    }

    /// Expected demand.
    pub fn mean(&self) -> f64 {
        self.mean
    }

    /// Quantiles at [`QUANTILE_LEVELS`].
    pub fn quantiles(&self) -> &[f64; QUANTILE_LEVELS.len()] {
        &self.quantiles
    }

    /// The quantile at any `level` in (0, 1), by the interpolation the module describes.
    pub fn quantile(&self, level: f64) -> f64 {
        let q = &self.quantiles;
        let i = QUANTILE_LEVELS.partition_point(|&l| l < level);
        if i == 0 {
            return q[0];
        }
        let (a, b) = if i > LAST { (LAST - 1, LAST) } else { (i - 1, i) };
        let t = if a >= MEDIAN {
            let (sa, sb) = (LOG_SURVIVAL[a], LOG_SURVIVAL[b]);
            ((1.0 - level).max(1e-12).ln() - sa) / (sb - sa)
        } else {
            (level - QUANTILE_LEVELS[a]) / (QUANTILE_LEVELS[b] - QUANTILE_LEVELS[a])
        };
        q[a] + t * (q[b] - q[a])
    }

    /// `P(demand > x)`.
    pub fn exceedance(&self, x: f64) -> f64 {
        let q = &self.quantiles;
        if x.is_nan() || x < q[0] {
            return 1.0 - QUANTILE_LEVELS[0] * 0.5;
        }
        // Number of quantiles at or below x: a step in the quantiles (equal values) gives its upper level.
        let i = q.partition_point(|&v| v <= x);
        let (a, b) = if i > LAST { (LAST - 1, LAST) } else { (i - 1, i) };
        let width = q[b] - q[a];
        if width <= 0.0 {
            // A point mass: everything lies at or below the last quantile.
            return if i > LAST { 0.0 } else { 1.0 - QUANTILE_LEVELS[b] };
        }
        let t = (x - q[a]) / width;
        if a >= MEDIAN {
            (LOG_SURVIVAL[a] + t * (LOG_SURVIVAL[b] - LOG_SURVIVAL[a])).exp()
        } else {
            1.0 - (QUANTILE_LEVELS[a] + t * (QUANTILE_LEVELS[b] - QUANTILE_LEVELS[a]))
        }
    }
}

/// `ln(1 - level)` for each level.
#[allow(clippy::excessive_precision)]
const LOG_SURVIVAL: [f64; QUANTILE_LEVELS.len()] = [
    -0.010050335853501441,
    -0.051293294387550533,
    -0.105360515657826301,
    -0.287682072451780927,
    -std::f64::consts::LN_2,
    -0.916290731874155065,
    -1.203972804325936,
    -1.6094379124341003,
    -std::f64::consts::LN_10,
    -2.9957322735539909,
    -3.6888794541139363,
    -4.6051701859880914,
    -5.2983173665480367,
    -6.2146080984221914,
    -6.9077552789821371,
    -7.6009024595420824,
    -9.2103403719761836,
];

impl TryFrom<RawDistribution> for Distribution {
    type Error = DistributionError;
    fn try_from(raw: RawDistribution) -> Result<Self, Self::Error> {
        let n = raw.quantiles.len();
        let quantiles = raw.quantiles.try_into().map_err(|_| DistributionError::WrongLength(n))?;
        Self::new(raw.mean, quantiles)
    }
}

impl Serialize for Distribution {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let text = serializer.is_human_readable();
        let mut form = serializer.serialize_struct("Distribution", 2)?;
        form.serialize_field("mean", &Number { value: self.mean, text })?;
        form.serialize_field("quantiles", &Numbers { values: &self.quantiles, text })?;
        form.end()
    }
}

/// A number as it is sent.
struct Number {
    value: f64,
    text: bool,
}

impl Serialize for Number {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        // Within what single precision can say without losing digits or order.
        let fits = self.value == 0.0 || (1e-30..1e30).contains(&self.value.abs());
        if self.text && fits {
            serializer.serialize_f32(self.value as f32)
        } else {
            serializer.serialize_f64(self.value)
        }
    }
}

struct Numbers<'a> {
    values: &'a [f64],
    text: bool,
}

impl Serialize for Numbers<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_seq(self.values.iter().map(|&value| Number { value, text: self.text }))
    }
}

/// Demand at one step ahead.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct StepForecast {
    /// End of the step the distribution is for.
    pub at: Timestamp,
    /// Predictive distribution at that step.
    pub demand: Distribution,
}

/// Why a forecast is not trusted.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum Distrust {
    /// Too few forecasts could be compared with what came.
    TooYoung,
    /// Its recent loss is far above that of a simple forecast: demand stays as it is, or as it was a week ago.
    LosesToSimple,
    /// Demand exceeds its 0.99 quantile again and again.
    Escaped,
    /// It was wrong, is not now, and has to show it for a while.
    Regaining,
}

impl fmt::Display for Distrust {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Distrust::TooYoung => "too few forecasts could be compared with what came",
            Distrust::LosesToSimple => "a simple forecast would have been far better",
            Distrust::Escaped => "demand exceeds its 0.99 quantile again and again",
            Distrust::Regaining => "it was wrong, and has to be right for a while longer",
        })
    }
}

/// Whether the forecast has earned the right to act.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Trust {
    /// May the forecast drive scaling?
    pub trusted: bool,
    /// Recent loss relative to "demand stays as it is"; below 1 is better. Absent until it could be measured.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub relative_loss: Option<f64>,
    /// Why it is not trusted, where the model tells.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub because: Option<Distrust>,
    /// Share of recent values at or below the 0.95 quantile that was forecast for them. Absent until it could be measured.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub coverage: Option<f64>,
}

/// Whether and how demand repeats.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(tag = "verdict", deny_unknown_fields)]
pub enum Period {
    /// Too few values were seen.
    TooYoung,
    /// Nothing between a few steps and the longest span seen repeats.
    NotPredictable,
    /// It repeats.
    Found {
        /// After so many milliseconds.
        ms: i64,
        /// Autocorrelation at that distance, at most 1.
        strength: f64,
    },
}

impl fmt::Display for Period {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Period::TooYoung => f.write_str("too few values to tell whether demand repeats"),
            Period::NotPredictable => f.write_str("demand does not repeat"),
            Period::Found { ms, strength } => {
                let minutes = *ms as f64 / 60_000.0;
                let (length, unit) = match minutes {
                    m if m < 90.0 => (m, "minutes"),
                    m if m < 36.0 * 60.0 => (m / 60.0, "hours"),
                    m => (m / 1440.0, "days"),
                };
                write!(f, "demand repeats every {length:.1} {unit} (autocorrelation {strength:.2})")
            }
        }
    }
}

/// Demand of one workload over the coming steps.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Forecast {
    /// The workload; absent when a forecast is handed over directly.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub workload: Option<WorkloadId>,
    /// When the forecast was made: the end of the last step it has seen.
    pub issued_at: Timestamp,
    /// After this instant it must not be used.
    pub valid_until: Timestamp,
    /// Width of a step, milliseconds.
    pub step_ms: u64,
    /// Step 1, 2, … ahead of `issued_at`.
    pub steps: Vec<StepForecast>,
    /// Name of the model.
    pub model: String,
    /// Version of the model's definition.
    pub model_version: u32,
    /// Standing of the model on this workload.
    pub trust: Trust,
    /// Does demand repeat? Absent where the model does not ask.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub period: Option<Period>,
}

impl Forecast {
    /// Width of a step.
    pub fn step(&self) -> Duration {
        Duration::from_millis(self.step_ms)
    }

    /// Is the forecast out of date at `now`?
    pub fn expired(&self, now: Timestamp) -> bool {
        now > self.valid_until
    }

    /// The step in which `at` falls (its end belongs to the next one), if the horizon reaches it. Of steps left out, the next one given.
    pub fn at(&self, at: Timestamp) -> Option<&StepForecast> {
        self.steps.iter().find(|s| s.at > at)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn normalish(mean: f64, sd: f64) -> Distribution {
        const Z: [f64; 17] = [
            -2.326, -1.645, -1.282, -0.674, 0.0, 0.253, 0.524, 0.842, 1.282, 1.645, 1.960, 2.326, 2.576,
            2.878, 3.090, 3.291, 3.719,
        ];
        Distribution::new(mean, Z.map(|z| mean + sd * z)).unwrap()
    }

    #[test]
    fn log_survival_matches_levels() {
        for (l, s) in QUANTILE_LEVELS.iter().zip(LOG_SURVIVAL) {
            assert!(((1.0 - l).ln() - s).abs() < 1e-9, "{l}");
        }
    }

    #[test]
    fn exceedance_inverts_quantile() {
        let d = normalish(100.0, 10.0);
        for level in [0.02, 0.3, 0.5, 0.77, 0.92, 0.99, 0.9997, 0.99995] {
            let x = d.quantile(level);
            assert!((d.exceedance(x) - (1.0 - level)).abs() < 1e-9, "{level}: {}", d.exceedance(x));
        }
    }

    #[test]
    fn a_point_mass_has_no_tail() {
        let d = Distribution::new(5.0, [5.0; 17]).unwrap();
        assert!(d.exceedance(4.9) > 0.99);
        assert_eq!(d.exceedance(5.0), 0.0);
        assert_eq!(d.exceedance(5.1), 0.0);
    }

    #[test]
    fn crossed_quantiles_are_refused_on_the_wire() {
        let mut q = [1.0; 17];
        q[3] = 2.0;
        let text = serde_json::json!({"mean": 1.0, "quantiles": q}).to_string();
        let error = serde_json::from_str::<Distribution>(&text).unwrap_err().to_string();
        assert!(error.contains("decrease"), "{error}");
    }

    proptest! {
        #[test]
        fn text_keeps_seven_digits_and_the_order(mut q in prop::array::uniform17(prop::num::f64::NORMAL), mean in -1e6f64..1e6) {
            q = q.map(|x| x.clamp(-1e60, 1e60));
            q.sort_by(f64::total_cmp);
            let d = Distribution::new(mean, q).unwrap();
            let read: Distribution = serde_json::from_str(&serde_json::to_string(&d).unwrap()).unwrap();
            for (was, is) in d.quantiles().iter().zip(read.quantiles()) {
                // Half a unit in the last place by rounding, up to another half by the shortest digits that name it.
                prop_assert!((was - is).abs() <= f64::from(f32::EPSILON) * was.abs(), "{was} {is}");
            }
        }

        #[test]
        fn survival_never_increases(mut q in prop::array::uniform17(-1e6f64..1e6), x in -2e6f64..2e6, dx in 0f64..1e6) {
            q.sort_by(f64::total_cmp);
            let d = Distribution::new(q[4], q).unwrap();
            let (a, b) = (d.exceedance(x), d.exceedance(x + dx));
            prop_assert!((0.0..=1.0).contains(&a) && b <= a + 1e-12);
        }

        #[test]
        fn rearranged_is_sorted_and_floored(q in prop::array::uniform17(-1e3f64..1e3)) {
            let d = Distribution::rearranged(0.0, q, Some(0.0)).unwrap();
            prop_assert!(d.quantiles().windows(2).all(|w| w[0] <= w[1]));
            prop_assert!(d.quantiles()[0] >= 0.0);
        }
    }
}
