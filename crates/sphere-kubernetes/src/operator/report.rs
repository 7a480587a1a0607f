//! What is written into the status of an object, and when?
//!
//! A status is written soon when it says something new (another condition, size, mode, floor), and otherwise rarely: the
//! numbers that move with every sync once a minute, times and texts every few minutes. A token bucket bounds all of them
//! together, so that five hundred objects do not become five hundred writes every fifteen seconds.

use super::conditions::{self, Verdict};
use crate::api::{
    DECISIONS_KEPT, DecisionStatus, FloorStatus, ForecastStatus, LeadTimeStatus, PredictiveAutoscalerStatus,
};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use k8s_openapi::jiff;
use sphere_core::Timestamp;
use sphere_pipeline::Applied;
use sphere_pipeline::autoscale::Told;
use std::time::Duration;

/// How often a status is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Pace {
    /// From one write of an object to the next, at least.
    pub at_least: Duration,
    /// When numbers have moved.
    pub numbers: Duration,
    /// When only times and texts have.
    pub anything: Duration,
    /// Writes per second, all objects together.
    pub per_second: u32,
}

impl Default for Pace {
    fn default() -> Self {
        Self {
            at_least: Duration::from_secs(2),
            numbers: Duration::from_secs(60),
            anything: Duration::from_secs(300),
            per_second: 10,
        }
    }
}

/// How much two statuses differ.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Difference {
    /// Not at all.
    None,
    /// In times and texts.
    Details,
    /// In numbers that move with demand.
    Numbers,
    /// In what somebody may be waiting for.
    News,
}

impl Pace {
    /// Is a write due, this long after the last one?
    pub fn due(&self, difference: Difference, since_last: Duration) -> bool {
        match difference {
            Difference::None => false,
            Difference::Details => since_last >= self.anything,
            Difference::Numbers => since_last >= self.numbers,
            Difference::News => since_last >= self.at_least,
        }
    }
}

/// How much do they differ?
pub fn difference(a: &PredictiveAutoscalerStatus, b: &PredictiveAutoscalerStatus) -> Difference {
    if a == b {
        return Difference::None;
    }
    let news = !conditions::same(&a.conditions, &b.conditions)
        || (
            a.observed_generation,
            a.mode,
            a.current_replicas,
            a.desired_replicas,
            &a.floor,
            &a.last_scale_time,
        ) != (
            b.observed_generation,
            b.mode,
            b.current_replicas,
            b.desired_replicas,
            &b.floor,
            &b.last_scale_time,
        );
    if news {
        return Difference::News;
    }
    let samples = |s: &PredictiveAutoscalerStatus| s.lead_time.as_ref().map(|lead| lead.samples);
    let model = |s: &PredictiveAutoscalerStatus| s.forecast.as_ref().and_then(|f| f.model.clone());
    let numbers = (a.reactive_replicas, a.predictive_replicas, a.hpa_replicas)
        != (b.reactive_replicas, b.predictive_replicas, b.hpa_replicas)
        || samples(a) != samples(b)
        || model(a) != model(b)
        || a.decisions.len() != b.decisions.len();
    if numbers { Difference::Numbers } else { Difference::Details }
}

/// What the object itself does not know.
#[derive(Clone, Debug, Default)]
pub struct Around {
    /// Generation of the spec decided on.
    pub generation: Option<i64>,
    /// The selector of the target's pods.
    pub selector: Option<String>,
    /// What the HPA of the same target wants.
    pub hpa_replicas: Option<u32>,
    /// The minimum we have set on it.
    pub floor: Option<FloorStatus>,
}

/// Takes a decision into the status of its object.
pub fn take_in(
    status: &mut PredictiveAutoscalerStatus,
    told: &Told<'_>,
    verdicts: &[Verdict],
    around: Around,
) {
    let decision = told.decision;
    let now = time(decision.at);
    status.observed_generation = around.generation;
    status.conditions = conditions::merge(&status.conditions, verdicts, around.generation, &now);
    status.mode = Some(decision.mode);
    // A size that could not be read is absent, not what it was.
    status.current_replicas = told.size_error.is_none().then_some(told.to);
    status.desired_replicas = Some(decision.desired);
    status.reactive_replicas = decision.reactive;
    status.predictive_replicas = decision.predictive;
    status.hpa_replicas = around.hpa_replicas;
    // An answer is forgotten sooner than a selector changes.
    status.selector = around.selector.or_else(|| status.selector.take());
    status.floor = around.floor;
    if matches!(told.outcome.size, Some(Ok(Applied::Done))) {
        status.last_scale_time = Some(now);
    }
    let lead = told.autoscaler.lead_time();
    status.lead_time = Some(LeadTimeStatus {
        seconds: tenths(lead.lead()),
        startup_seconds: tenths(lead.startup()),
        samples: u32::try_from(lead.measured()).unwrap_or(u32::MAX),
    });
    status.forecast = told.forecast.map(|forecast| ForecastStatus {
        model: Some(forecast.model.clone()),
        issued_at: Some(time(forecast.issued_at)),
        valid_until: Some(time(forecast.valid_until)),
        trusted: Some(forecast.trust.trusted),
        relative_loss: forecast.trust.relative_loss.map(thousandths),
        coverage: forecast.trust.coverage.map(thousandths),
        seasonality: forecast.period.map(|period| period.to_string()),
    });
    let entry = DecisionStatus::from(decision);
    if says_something_new(status.decisions.first(), &entry) {
        status.decisions.insert(0, entry);
        status.decisions.truncate(DECISIONS_KEPT);
    }
}

/// Another size, or other reasons for the same.
fn says_something_new(last: Option<&DecisionStatus>, entry: &DecisionStatus) -> bool {
    let Some(last) = last else { return true };
    let names = |of: &DecisionStatus| of.reasons.iter().map(|r| r.reason.clone()).collect::<Vec<_>>();
    entry.applied || (last.desired, last.mode) != (entry.desired, entry.mode) || names(last) != names(entry)
}

fn thousandths(value: f64) -> f64 {
    (value * 1000.0).round() / 1000.0
}

fn tenths(span: Duration) -> f64 {
    (span.as_secs_f64() * 10.0).round() / 10.0
}

/// As Kubernetes writes it, to the second.
pub fn time(at: Timestamp) -> Time {
    let seconds = at.millis().div_euclid(1000);
    Time(jiff::Timestamp::from_second(seconds).unwrap_or(jiff::Timestamp::UNIX_EPOCH))
}

#[cfg(test)]
mod tests {
    use super::*;
    use sphere_core::{Decision, Mode, Reason};

    fn entry(desired: u32, reasons: Vec<Reason>) -> DecisionStatus {
        DecisionStatus::from(&Decision {
            workload: None,
            at: Timestamp(0),
            current: 3,
            reactive: None,
            predictive: None,
            desired,
            mode: Mode::Full,
            applied: false,
            reasons,
        })
    }

    #[test]
    fn a_decision_is_kept_only_if_it_says_something_new() {
        let held = |detail: &str| entry(3, vec![Reason::MetricsMissing { detail: detail.into() }]);
        assert!(says_something_new(None, &held("a")));
        assert!(!says_something_new(Some(&held("a")), &held("b")), "the numbers in the text are not news");
        assert!(says_something_new(Some(&held("a")), &entry(4, vec![])));
        assert!(says_something_new(Some(&held("a")), &entry(3, vec![Reason::WithinTolerance])));
    }

    #[test]
    fn news_is_written_soon_numbers_each_minute_and_details_rarely() {
        let old = PredictiveAutoscalerStatus { desired_replicas: Some(3), ..Default::default() };
        let pace = Pace::default();
        let due =
            |new: &PredictiveAutoscalerStatus, s| pace.due(difference(&old, new), Duration::from_secs(s));
        assert!(!due(&old, 100_000));
        let news = PredictiveAutoscalerStatus { desired_replicas: Some(4), ..old.clone() };
        assert!(due(&news, 2) && !due(&news, 1));
        let numbers = PredictiveAutoscalerStatus { predictive_replicas: Some(4), ..old.clone() };
        assert!(due(&numbers, 60) && !due(&numbers, 59));
        let forecast = ForecastStatus { trusted: Some(true), ..Default::default() };
        let details = PredictiveAutoscalerStatus { forecast: Some(forecast), ..old.clone() };
        assert!(due(&details, 300) && !due(&details, 299));
    }
}
