//! What does a report show?
//!
//! Plain values, filled by whoever ran a simulation. Everything that was not measured is `None`, never 0.

use crate::report::ReportError;
use serde::{Deserialize, Serialize};

/// All of a report.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ReportData {
    /// Title of the page.
    pub title: String,
    /// What came out, in one plain sentence.
    pub summary: String,
    /// Policy the report is about, as in [`ScoreRow::policy`]; its headline numbers come first.
    #[serde(default)]
    pub focus: Option<String>,
    /// Policy the focus is compared with.
    #[serde(default)]
    pub baseline: Option<String>,
    /// Trace, physics, start-up times, seeds and whatever else is needed to repeat the run, in order.
    pub settings: Vec<Setting>,
    /// One row per policy and start-up time.
    pub scoreboard: Vec<ScoreRow>,
    /// Demand and capacity over time.
    #[serde(default)]
    pub timeline: Option<Timeline>,
    /// Cost against violation, one curve per family of policies.
    #[serde(default)]
    pub curves: Vec<Curve>,
}

/// One line of the settings table.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Setting {
    /// What was set.
    pub name: String,
    /// What it was set to, with its unit.
    pub value: String,
}

/// A mean over seeds.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Estimate {
    /// Mean.
    pub mean: f64,
    /// Half the width of its 95 % confidence interval; `None` for a single seed.
    #[serde(default)]
    pub ci95_half_width: Option<f64>,
}

/// How one policy did at one start-up time.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ScoreRow {
    /// Name of the policy, e.g. `hpa-60`.
    pub policy: String,
    /// Start-up time of a pod, seconds.
    pub startup_s: f64,
    /// Time with demand beyond ready capacity, % of all time.
    pub violation_time_pct: Option<Estimate>,
    /// Requests that arrived in such time, % of all requests.
    pub violation_requests_pct: Option<Estimate>,
    /// Requests that failed, % of all requests.
    pub failed_requests_pct: Option<Estimate>,
    /// Median latency, milliseconds.
    pub latency_p50_ms: Option<Estimate>,
    /// 95th percentile of latency, milliseconds.
    pub latency_p95_ms: Option<Estimate>,
    /// 99th percentile of latency, milliseconds.
    pub latency_p99_ms: Option<Estimate>,
    /// Pods paid for, pod-hours.
    pub pod_hours: Option<Estimate>,
    /// The same as a multiple of what the oracle needs.
    pub pod_hours_vs_oracle: Option<Estimate>,
    /// Demand as a share of ready capacity, 0 to 1.
    pub utilization: Option<Estimate>,
    /// Number of times replicas were added.
    pub scale_ups: Option<Estimate>,
    /// Number of times replicas were removed.
    pub scale_downs: Option<Estimate>,
    /// SPEC under-provisioning accuracy θ_U, %.
    pub theta_u: Option<Estimate>,
    /// SPEC over-provisioning accuracy θ_O, %.
    pub theta_o: Option<Estimate>,
    /// SPEC under-provisioning time share τ_U, %.
    pub tau_u: Option<Estimate>,
    /// SPEC over-provisioning time share τ_O, %.
    pub tau_o: Option<Estimate>,
    /// SPEC instability υ, %.
    pub instability: Option<Estimate>,
}

/// Demand and how the policies met it.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Timeline {
    /// Unit of demand and capacity, e.g. `requests/s`.
    pub unit: String,
    /// Instant of time 0 on the clock of the trace, as milliseconds since 1970 on that clock; `None` shows
    /// the time since the start.
    #[serde(default)]
    pub start_local_ms: Option<i64>,
    /// What was asked for, the same for all policies.
    pub demand: Series,
    /// What each policy made of it.
    pub policies: Vec<PolicySeries>,
}

/// Values over time. Long ones are thinned out when rendered.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Series {
    /// Seconds since the start, rising.
    pub time_s: Vec<f64>,
    /// One value per time; `None` where nothing is known.
    pub values: Vec<Option<f64>>,
}

/// One policy over time.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct PolicySeries {
    /// Name of the policy.
    pub policy: String,
    /// Its family, as in [`Curve::family`]: one colour per family.
    pub family: String,
    /// Shown when the page opens; others wait for a click.
    pub shown: bool,
    /// What the ready pods can carry, in [`Timeline::unit`]; holds until the next point.
    pub ready_capacity: Series,
    /// Replicas asked for; holds until the next point.
    #[serde(default)]
    pub replicas: Option<Series>,
    /// What was forecast.
    #[serde(default)]
    pub forecast: Option<ForecastBand>,
}

/// Forecasts, each shown at the time it was made *for*.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ForecastBand {
    /// How long before that time each was issued, seconds.
    pub lead_s: f64,
    /// The times they are for.
    pub time_s: Vec<f64>,
    /// Median, in [`Timeline::unit`].
    pub median: Vec<Option<f64>>,
    /// 0.9 quantile.
    pub q90: Vec<Option<f64>>,
    /// 0.95 quantile.
    pub q95: Vec<Option<f64>>,
    /// 0.99 quantile.
    pub q99: Vec<Option<f64>>,
}

/// What one family of policies can reach.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Curve {
    /// Name of the family, e.g. `hpa`.
    pub family: String,
    /// Its settings, in the order in which they are joined by a line.
    pub points: Vec<CurvePoint>,
}

/// What one setting reaches.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct CurvePoint {
    /// The setting, e.g. `60 %`.
    pub label: String,
    /// Cost, pod-hours.
    pub pod_hours: f64,
    /// Time with demand beyond ready capacity, % of all time.
    pub violation_time_pct: f64,
    /// The setting one gets without choosing.
    #[serde(default)]
    pub is_default: bool,
}

impl ReportData {
    /// Checks that times rise and match their values, and that numbers are finite.
    pub(super) fn validate(&self) -> Result<(), ReportError> {
        for row in &self.scoreboard {
            check_finite(&row.policy, [row.startup_s])?;
            for column in &super::scoreboard::COLUMNS {
                let Some(estimate) = (column.of)(row) else { continue };
                check_finite(&row.policy, [estimate.mean])?;
                check_finite(&row.policy, estimate.ci95_half_width)?;
            }
        }
        for curve in &self.curves {
            check_finite(
                &curve.family,
                curve.points.iter().flat_map(|p| [p.pod_hours, p.violation_time_pct]),
            )?;
        }
        let Some(timeline) = &self.timeline else { return Ok(()) };
        check_series("demand", &timeline.demand.time_s, &timeline.demand.values)?;
        for policy in &timeline.policies {
            let name = &policy.policy;
            check_series(name, &policy.ready_capacity.time_s, &policy.ready_capacity.values)?;
            if let Some(replicas) = &policy.replicas {
                check_series(name, &replicas.time_s, &replicas.values)?;
            }
            if let Some(band) = &policy.forecast {
                for values in [&band.median, &band.q90, &band.q95, &band.q99] {
                    check_series(name, &band.time_s, values)?;
                }
            }
        }
        Ok(())
    }
}

fn check_finite(what: &str, numbers: impl IntoIterator<Item = f64>) -> Result<(), ReportError> {
    match numbers.into_iter().find(|number| !number.is_finite()) {
        None => Ok(()),
        Some(number) => Err(ReportError::NotFinite { what: what.to_owned(), number }),
    }
}

fn check_series(what: &str, time_s: &[f64], values: &[Option<f64>]) -> Result<(), ReportError> {
    if time_s.len() != values.len() {
        let (what, times, values) = (what.to_owned(), time_s.len(), values.len());
        return Err(ReportError::Lengths { what, times, values });
    }
    check_finite(what, time_s.iter().copied())?;
    check_finite(what, values.iter().flatten().copied())?;
    match time_s.windows(2).find(|pair| pair[1] <= pair[0]) {
        None => Ok(()),
        Some(pair) => Err(ReportError::TimeNotRising { what: what.to_owned(), time_s: pair[1] }),
    }
}
