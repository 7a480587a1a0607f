//! How many replicas does one metric ask for?
//!
//! The replica calculation of `pkg/controller/podautoscaler/replica_calculator.go` (about v1.35) as free
//! functions: quantities are 64-bit milli-units, ratios are doubles computed in exactly the order upstream
//! computes them, conversions to replica counts saturate. Percentages and averages are truncated to integers
//! *before* they are divided by the target; the result is multiplied by the pods whose samples count, never
//! by the current size.
//!
//! Sums are taken in 128 bits and saturate when they return to 64, where upstream would wrap.

use super::pods::{PodGroup, PodReading, PodStatus, group_of};
use super::{HpaConfig, MetricError};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use sphere_core::Timestamp;

/// Relative deviations that cause no action.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Tolerance {
    /// Below the target.
    pub down: f64,
    /// Above the target.
    pub up: f64,
}

impl Tolerance {
    /// Is `ratio` close enough to 1? A closed interval, evaluated in doubles. NaN and infinity are not.
    pub fn within(&self, ratio: f64) -> bool {
        (1.0 - self.down) <= ratio && ratio <= (1.0 + self.up)
    }
}

/// What one metric asks for, and what it measured.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Proposal {
    /// Replicas asked for.
    pub replicas: i32,
    /// Usage as whole percent of requests, before anything was filled in; only for percent targets.
    pub utilization_pct: Option<i32>,
    /// Measured average per pod, or the total for a total target; milli-units.
    pub value_milli: i64,
}

/// The smallest replica count not below `x`, saturating at the bounds of an `i32`.
pub fn ceil32(x: f64) -> i32 {
    x.ceil() as i32
}

fn saturate64(x: i128) -> i64 {
    x.clamp(i64::MIN.into(), i64::MAX.into()) as i64
}

/// Usage relative to requests and to the target.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct UtilizationRatio {
    /// Percent used over percent wanted.
    pub ratio: f64,
    /// Percent used, truncated.
    pub utilization_pct: i32,
    /// Mean usage per sample, truncated; milli-units.
    pub average_milli: i64,
}

/// A ratio of sums: `usages` are (usage, request) of the pods that have both, in milli-units.
///
/// Fails with [`MetricError::NoMatchingPods`] when the requests sum to zero, as they do without any pair.
pub fn utilization_ratio(
    usages: impl IntoIterator<Item = (i64, i64)>,
    target_pct: i32,
) -> Result<UtilizationRatio, MetricError> {
    let (mut used, mut asked, mut samples) = (0i128, 0i128, 0i64);
    for (usage, request) in usages {
        used += i128::from(usage);
        asked += i128::from(request);
        samples += 1;
    }
    ratio_of_sums(used, asked, samples, target_pct)
}

fn ratio_of_sums(
    used: i128,
    asked: i128,
    samples: i64,
    target_pct: i32,
) -> Result<UtilizationRatio, MetricError> {
    if asked == 0 {
        return Err(MetricError::NoMatchingPods);
    }
    let percent = (used * 100) / asked;
    let utilization_pct = percent.clamp(i32::MIN.into(), i32::MAX.into()) as i32;
    Ok(UtilizationRatio {
        ratio: f64::from(utilization_pct) / f64::from(target_pct),
        utilization_pct,
        average_milli: saturate64(used / i128::from(samples.max(1))),
    })
}

/// Mean usage, truncated, and its ratio to the target. `None` without samples.
pub fn average_ratio(usages: impl IntoIterator<Item = i64>, target_milli: i64) -> Option<(f64, i64)> {
    let (sum, samples) = usages.into_iter().fold((0i128, 0i64), |(sum, n), u| (sum + i128::from(u), n + 1));
    (samples > 0).then(|| average_of_sum(sum, samples, target_milli))
}

fn average_of_sum(sum: i128, samples: i64, target_milli: i64) -> (f64, i64) {
    let average = saturate64(sum / i128::from(samples.max(1)));
    (average as f64 / target_milli as f64, average)
}

/// The pods, samples and rules of one per-pod metric.
#[derive(Clone, Copy, Debug)]
pub struct PerPod<'a> {
    /// The instant of the calculation.
    pub now: Timestamp,
    /// Replicas the target asks for now.
    pub current: i32,
    /// Every pod the selector lists.
    pub pods: &'a [PodStatus],
    /// One per pod, in the same order; a pod beyond its end has neither sample nor request.
    pub readings: &'a [PodReading],
    /// Values of samples whose pod is not listed, milli-units.
    pub strays_milli: &'a [i64],
    /// Is it CPU of pods or containers, so that readiness and start-up matter?
    pub cpu: bool,
    /// Deviations without action.
    pub tolerance: Tolerance,
    /// Start-up periods.
    pub config: &'a HpaConfig,
}

/// What one walk over the pods finds.
#[derive(Default)]
struct Tally {
    counted: i64,
    unready: i64,
    missing: i64,
    strays: i64,
    /// Usage of counted pods.
    used: i128,
    /// Usage of strays.
    used_strays: i128,
    /// Requests by group; with a percent target only.
    asked: i128,
    asked_unready: i128,
    asked_missing: i128,
    /// What missing pods are taken to use when lowering.
    fill_missing: i128,
}

impl PerPod<'_> {
    /// Percent of requests.
    ///
    /// Errors: [`MetricError::NoPods`], [`MetricError::NoUsableMetrics`], the first bad [`super::Request`] of *any* listed
    /// pod, [`MetricError::NoMatchingPods`].
    pub fn utilization(&self, target_pct: i32) -> Result<Proposal, MetricError> {
        let t = self.tally(Some(target_pct))?;
        let first = ratio_of_sums(t.used, t.asked, t.counted, target_pct)?;
        let replicas = self.propose(&t, first.ratio, |fill_missing, fill_unready| {
            let (mut used, mut asked) = (t.used, t.asked);
            if let Some(busy) = fill_missing {
                used += if busy { t.fill_missing } else { 0 };
                asked += t.asked_missing;
            }
            if fill_unready {
                asked += t.asked_unready;
            }
            ratio_of_sums(used, asked, t.counted, target_pct).map(|r| r.ratio)
        })?;
        Ok(Proposal {
            replicas,
            utilization_pct: Some(first.utilization_pct),
            value_milli: first.average_milli,
        })
    }

    /// A value per pod.
    ///
    /// Errors: [`MetricError::NoPods`], [`MetricError::NoUsableMetrics`].
    pub fn average(&self, target_milli: i64) -> Result<Proposal, MetricError> {
        let t = self.tally(None)?;
        let (sum, samples) = (t.used + t.used_strays, t.counted + t.strays);
        let (ratio, average_milli) = average_of_sum(sum, samples, target_milli);
        let replicas = self.propose(&t, ratio, |fill_missing, fill_unready| {
            let (mut sum, mut samples) = (sum, samples);
            if let Some(busy) = fill_missing {
                sum += if busy { i128::from(target_milli) * i128::from(t.missing) } else { 0 };
                samples += t.missing;
            }
            if fill_unready {
                samples += t.unready;
            }
            Ok(average_of_sum(sum, samples, target_milli).0)
        })?;
        Ok(Proposal { replicas, utilization_pct: None, value_milli: average_milli })
    }

    /// Groups the pods and sums; with a percent target every pod's request is checked, ignored pods included.
    fn tally(&self, target_pct: Option<i32>) -> Result<Tally, MetricError> {
        if self.pods.is_empty() {
            return Err(MetricError::NoPods);
        }
        let mut t = Tally::default();
        let mut bad_request = None;
        let busy_pct = i128::from(target_pct.unwrap_or(0).max(100));
        for (i, pod) in self.pods.iter().enumerate() {
            let reading = self.readings.get(i).copied().unwrap_or_default();
            let request = match target_pct.map(|_| reading.request.milli()) {
                None => 0,
                Some(Ok(milli)) => i128::from(milli),
                Some(Err(error)) => {
                    bad_request = bad_request.or(Some(error));
                    0
                }
            };
            match group_of(self.now, pod, reading.sample.as_ref(), self.cpu, self.config) {
                PodGroup::Ignored => {}
                PodGroup::Unready => {
                    t.unready += 1;
                    t.asked_unready += request;
                }
                PodGroup::Missing => {
                    t.missing += 1;
                    t.asked_missing += request;
                    t.fill_missing += request * busy_pct / 100;
                }
                PodGroup::Counted => {
                    t.counted += 1;
                    t.asked += request;
                    t.used += i128::from(reading.sample.map_or(0, |s| s.value_milli));
                }
            }
        }
        t.strays = self.strays_milli.len() as i64;
        t.used_strays = self.strays_milli.iter().map(|&v| i128::from(v)).sum();
        if t.counted + t.strays == 0 {
            return Err(MetricError::NoUsableMetrics);
        }
        bad_request.map_or(Ok(t), Err)
    }

    /// The two passes shared by percent and average targets.
    ///
    /// `refilled(missing, unready)` is the ratio with missing pods left out (`None`), idle (`Some(false)`) or
    /// busy (`Some(true)`), and unready pods left out or idle.
    fn propose(
        &self,
        t: &Tally,
        ratio: f64,
        refilled: impl Fn(Option<bool>, bool) -> Result<f64, MetricError>,
    ) -> Result<i32, MetricError> {
        let current = self.current;
        let up_with_unready = t.unready > 0 && ratio > 1.0;
        if !up_with_unready && t.missing == 0 {
            let held = self.tolerance.within(ratio);
            return Ok(if held { current } else { ceil32(ratio * t.counted as f64) });
        }
        let fill_missing = if t.missing == 0 || ratio == 1.0 { None } else { Some(ratio < 1.0) };
        let second = refilled(fill_missing, up_with_unready)?;
        if self.tolerance.within(second) || (ratio < 1.0 && second > 1.0) || (ratio > 1.0 && second < 1.0) {
            return Ok(current);
        }
        let filled = if fill_missing.is_some() { t.missing } else { 0 };
        let samples = t.counted + t.strays + filled + if up_with_unready { t.unready } else { 0 };
        let replicas = ceil32(second * samples as f64);
        let reversed = (second < 1.0 && replicas > current) || (second > 1.0 && replicas < current);
        Ok(if reversed { current } else { replicas })
    }
}

/// Replicas for a total (`Value` target of an Object or External metric).
///
/// At zero replicas the ratio itself is the answer, without tolerance and without pods. Otherwise the ratio
/// multiplies the pods that are Running and Ready; with no pod listed that is [`MetricError::NoPods`].
pub fn total_target(
    current: i32,
    total_milli: i64,
    target_milli: i64,
    pods: &[PodStatus],
    tolerance: Tolerance,
) -> Result<Proposal, MetricError> {
    let ratio = total_milli as f64 / target_milli as f64;
    let replicas = if current == 0 {
        ceil32(ratio)
    } else if tolerance.within(ratio) {
        current
    } else if pods.is_empty() {
        return Err(MetricError::NoPods);
    } else {
        ceil32(ratio * pods.iter().filter(|p| p.serves()).count() as f64)
    };
    Ok(Proposal { replicas, utilization_pct: None, value_milli: total_milli })
}

/// Replicas for a per-pod share of a total (`AverageValue` target of an Object or External metric).
///
/// Compares with the replicas in the scale's *status*. With none the measured average is undefined and saturates.
pub fn shared_target(
    status_replicas: i32,
    total_milli: i64,
    target_milli: i64,
    tolerance: Tolerance,
) -> Proposal {
    let (total, target, pods) = (total_milli as f64, target_milli as f64, f64::from(status_replicas));
    let ratio = total / (target * pods);
    let replicas = if tolerance.within(ratio) { status_replicas } else { ceil32(total / target) };
    Proposal { replicas, utilization_pct: None, value_milli: (total / pods).ceil() as i64 }
}

/// The sum of the series of an External metric, saturating.
///
/// Fails with [`MetricError::NoMetrics`] without any series.
pub fn external_total(values_milli: &[i64]) -> Result<i64, MetricError> {
    if values_milli.is_empty() {
        return Err(MetricError::NoMetrics);
    }
    Ok(values_milli.iter().fold(0, |sum, &v| sum.saturating_add(v)))
}
