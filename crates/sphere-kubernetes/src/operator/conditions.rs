//! What do the conditions of an object say, and since when?
//!
//! | type | True | False |
//! |---|---|---|
//! | `AbleToScale` | the size can be read, and written if the mode asks for it | forbidden, failed, paused, switched off |
//! | `ScalingActive` | a size was computed from metrics | which metrics are missing, and why |
//! | `ScalingLimited` | a bound, a policy or the budget cut the size | nothing did |
//! | `ForecastReady` | there is a forecast for the lead time | why not |
//! | `ForecastTrusted` | it may drive scaling | it has not earned that, or lost it |
//! | `Conflict` | somebody else scales the target: hands off | nobody does |

use super::roster::Refusal;
use crate::api::ConditionType;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{Condition, Time};
use sphere_core::{Decision, Distrust, Mode, Reason};
use sphere_pipeline::autoscale::{Outcome, Told};
use sphere_pipeline::{Applied, Problems, SourceError, TargetError};
use sphere_scaling::hpa;

/// Longest message; the API server takes 32 kB, people less.
const LONGEST: usize = 1000;

/// What one condition says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Verdict {
    /// What it is about.
    pub kind: ConditionType,
    /// Does it hold? `None`: unknown.
    pub holds: Option<bool>,
    /// Why, one of a closed set.
    pub reason: &'static str,
    /// Why, in words.
    pub message: String,
}

fn verdict(
    kind: ConditionType,
    holds: impl Into<Option<bool>>,
    reason: &'static str,
    message: impl Into<String>,
) -> Verdict {
    Verdict { kind, holds: holds.into(), reason, message: message.into() }
}

/// What they say after a decision.
pub fn after(told: &Told<'_>) -> Vec<Verdict> {
    vec![
        able(told.decision, told.outcome, told.size_error),
        active(told),
        limited(told.decision),
        ready(told.decision, told.problems),
        trusted(told),
        conflict(told.decision),
    ]
}

/// What they say of an object that is not obeyed.
pub fn refused(refusal: &Refusal) -> Vec<Verdict> {
    use ConditionType::{AbleToScale, Conflict, ScalingActive};
    match refusal {
        Refusal::Invalid(problems) => {
            let message = problems.join("; ");
            vec![
                verdict(AbleToScale, false, "InvalidSpec", message.clone()),
                verdict(ScalingActive, false, "InvalidSpec", message),
            ]
        }
        Refusal::Twin { of, target } => {
            let message = format!(
                "PredictiveAutoscaler {of} is older and scales {target}, too: this object is left alone until that one goes"
            );
            vec![
                verdict(AbleToScale, false, "Conflict", message.clone()),
                verdict(ScalingActive, false, "Conflict", message.clone()),
                verdict(Conflict, true, "SameTarget", message),
            ]
        }
    }
}

fn able(decision: &Decision, outcome: &Outcome, size_error: Option<&TargetError>) -> Verdict {
    let of =
        |holds: bool, reason, message: String| verdict(ConditionType::AbleToScale, holds, reason, message);
    if let Some(error) = size_error {
        return of(false, error_name(error, "FailedGetScale"), error.to_string());
    }
    for answer in [&outcome.size, &outcome.floor].into_iter().flatten() {
        if let Err(error) = answer {
            return of(false, error_name(error, "FailedUpdateScale"), error.to_string());
        }
    }
    let stops = decision.reasons.iter().find(|reason| {
        matches!(
            reason,
            Reason::KillSwitch { .. }
                | Reason::Paused
                | Reason::DryRun
                | Reason::TargetUnsuitable { .. }
                | Reason::Conflict { .. }
        )
    });
    if let Some(reason) = stops {
        return of(false, reason.name(), reason.to_string());
    }
    if let Some(Ok(Applied::Moved { replicas })) = &outcome.size {
        let message = format!("somebody else set {replicas} replicas meanwhile; decided anew from there");
        return of(true, "SizeMoved", message);
    }
    match decision.mode {
        Mode::Observe => {
            of(true, "ObserveOnly", "the size can be read; nothing is touched in mode Observe".into())
        }
        _ if decision.reasons.contains(&Reason::ScalingDisabled) => {
            of(true, "ScalingDisabled", Reason::ScalingDisabled.to_string())
        }
        mode => of(true, "ReadyForNewScale", format!("the size can be read and written in mode {mode:?}")),
    }
}

/// `Forbidden` where that is what it is: then the text names verb, resource and group.
fn error_name(error: &TargetError, otherwise: &'static str) -> &'static str {
    match error {
        TargetError::Forbidden(_) => "Forbidden",
        TargetError::NotScalable(_) => "NotScalable",
        TargetError::Unavailable(_) => otherwise,
    }
}

fn active(told: &Told<'_>) -> Verdict {
    let of = |holds: Option<bool>, reason, message: String| {
        verdict(ConditionType::ScalingActive, holds, reason, message)
    };
    let named = |error: &SourceError| match error {
        SourceError::Unavailable { .. } => "MetricsUnavailable",
        SourceError::BadAnswer { .. } => "MetricsUnusable",
        SourceError::NoData { .. } => "MetricsMissing",
    };
    if let Some(error) = told.live_error {
        return of(Some(false), named(error), error.to_string());
    }
    let unread = told.problems.map_or(&[][..], |problems| problems.metrics.as_slice());
    let why: String = unread.iter().map(|(name, error)| format!("; metric {name}: {error}")).collect();
    let reasons = &told.decision.reasons;
    let missing =
        reasons.iter().find(|r| matches!(r, Reason::MetricsMissing { .. } | Reason::Fallback { .. }));
    if let Some(reason) = missing {
        // What its owner can mend has a name of its own.
        let unusable = unread.iter().find(|(_, error)| matches!(error, SourceError::BadAnswer { .. }));
        let name = unusable.map_or(reason.name(), |(_, error)| named(error));
        return of(Some(false), name, format!("{reason}{why}"));
    }
    if reasons.contains(&Reason::ScalingDisabled) {
        return of(Some(false), "ScalingDisabled", Reason::ScalingDisabled.to_string());
    }
    if let Some(reason) = reasons.iter().find(|r| matches!(r, Reason::MetricsPartial { .. })) {
        return of(Some(true), reason.name(), format!("{reason}{why}"));
    }
    let shown = told.autoscaler.hpa().state().status.condition(hpa::ConditionType::ScalingActive);
    match shown {
        Some(_) if told.decision.reactive.is_some() => {
            of(Some(true), "ValidMetricFound", "a size was computed from metrics".into())
        }
        _ => of(None, "NotYetKnown", "no size was computed from metrics yet".into()),
    }
}

fn limited(decision: &Decision) -> Verdict {
    let limit = decision.reasons.iter().rev().find(|reason| {
        matches!(
            reason,
            Reason::TooFewReplicas { .. }
                | Reason::TooManyReplicas { .. }
                | Reason::ScaleUpLimited { .. }
                | Reason::ScaleDownLimited { .. }
                | Reason::ChangeBudgetExhausted
        )
    });
    match limit {
        Some(reason) => verdict(ConditionType::ScalingLimited, true, reason.name(), reason.to_string()),
        None => verdict(
            ConditionType::ScalingLimited,
            false,
            "DesiredWithinRange",
            "no bound and no limit changed the size",
        ),
    }
}

fn unusable(decision: &Decision) -> Option<&Reason> {
    decision.reasons.iter().find(|reason| {
        matches!(
            reason,
            Reason::NoForecast
                | Reason::ForecastExpired { .. }
                | Reason::HorizonTooShort { .. }
                | Reason::ForecastImplausible { .. }
                | Reason::CapacityUnknown
        )
    })
}

/// A demand that can not be measured as the spec says: its owner has to mend that.
pub const DEMAND_UNUSABLE: &str = "DemandUnusable";

fn ready(decision: &Decision, problems: Option<&Problems>) -> Verdict {
    let demand = problems.and_then(|problems| problems.demand.as_ref());
    match (unusable(decision), demand) {
        (Some(reason), Some(error)) => {
            let name = match error {
                SourceError::BadAnswer { .. } => DEMAND_UNUSABLE,
                SourceError::Unavailable { .. } => "DemandUnavailable",
                SourceError::NoData { .. } => "DemandMissing",
            };
            verdict(ConditionType::ForecastReady, false, name, format!("{reason}; demand: {error}"))
        }
        (Some(reason), None) => {
            verdict(ConditionType::ForecastReady, false, reason.name(), reason.to_string())
        }
        (None, _) => verdict(
            ConditionType::ForecastReady,
            true,
            "ForecastCoversLeadTime",
            "there is a forecast for the time at which a replica ordered now serves",
        ),
    }
}

fn trusted(told: &Told<'_>) -> Verdict {
    let of = |holds: Option<bool>, reason, message: String| {
        verdict(ConditionType::ForecastTrusted, holds, reason, message)
    };
    match told.forecast.map(|forecast| forecast.trust) {
        None => of(None, "NoForecast", Reason::NoForecast.to_string()),
        Some(trust) if trust.trusted => {
            of(Some(true), "ForecastTrusted", "the forecast has earned the right to act".into())
        }
        Some(trust) => {
            let reason =
                Reason::ForecastNotTrusted { relative_loss: trust.relative_loss, because: trust.because };
            // "Not yet" and "no longer" are different things to whoever reads it.
            let young = match trust.because {
                Some(because) => because == Distrust::TooYoung,
                None => trust.relative_loss.is_none(),
            };
            let name = if young { "NotYetTrusted" } else { "ForecastNotTrusted" };
            of(Some(false), name, reason.to_string())
        }
    }
}

fn conflict(decision: &Decision) -> Verdict {
    let rival = decision.reasons.iter().find(|reason| matches!(reason, Reason::Conflict { .. }));
    match rival {
        Some(reason) => verdict(ConditionType::Conflict, true, "AnotherScaler", reason.to_string()),
        None => verdict(ConditionType::Conflict, false, "SoleOwner", "nobody else scales this target"),
    }
}

/// The conditions to write: those of `verdicts` with the time of their last change, the others as they were.
pub fn merge(old: &[Condition], verdicts: &[Verdict], generation: Option<i64>, now: &Time) -> Vec<Condition> {
    let fresh = verdicts.iter().map(|verdict| {
        let status = match verdict.holds {
            Some(true) => "True",
            Some(false) => "False",
            None => "Unknown",
        };
        let before = old.iter().find(|c| c.type_ == verdict.kind.name());
        let since = before.filter(|before| before.status == status).map(|b| b.last_transition_time.clone());
        Condition {
            type_: verdict.kind.name().into(),
            status: status.into(),
            reason: verdict.reason.into(),
            message: shorten(&verdict.message),
            observed_generation: generation,
            last_transition_time: since.unwrap_or_else(|| now.clone()),
        }
    });
    let mut all: Vec<Condition> = fresh.collect();
    let kept: Vec<Condition> =
        old.iter().filter(|c| !all.iter().any(|new| new.type_ == c.type_)).cloned().collect();
    all.extend(kept);
    let place = |c: &Condition| ConditionType::ALL.iter().position(|kind| kind.name() == c.type_);
    all.sort_by_key(|c| place(c).unwrap_or(usize::MAX));
    all
}

fn shorten(message: &str) -> String {
    match message.char_indices().nth(LONGEST) {
        Some((end, _)) => format!("{}…", &message[..end]),
        None => message.to_owned(),
    }
}

/// Do both say the same, apart from numbers in their texts?
pub fn same(a: &[Condition], b: &[Condition]) -> bool {
    a.len() == b.len()
        && a.iter().zip(b).all(|(a, b)| {
            (&a.type_, &a.status, &a.reason, a.observed_generation)
                == (&b.type_, &b.status, &b.reason, b.observed_generation)
        })
}

#[cfg(test)]
mod tests {
    use super::*;
    use k8s_openapi::jiff::Timestamp;
    use sphere_core::Timestamp as At;

    fn decision(mode: Mode, reasons: Vec<Reason>) -> Decision {
        Decision {
            workload: None,
            at: At(0),
            current: 3,
            reactive: Some(3),
            predictive: None,
            desired: 3,
            mode,
            applied: false,
            reasons,
        }
    }

    fn time(s: i64) -> Time {
        Time(Timestamp::from_second(s).unwrap())
    }

    #[test]
    fn a_forbidden_write_names_the_right_that_is_missing() {
        let missing = "patch deployments/scale in group apps is missing in namespace shop";
        let outcome = Outcome { size: Some(Err(TargetError::Forbidden(missing.into()))), floor: None };
        let able = able(&decision(Mode::Full, vec![]), &outcome, None);
        assert_eq!((able.holds, able.reason), (Some(false), "Forbidden"));
        assert!(able.message.contains(missing));
    }

    #[test]
    fn whatever_stops_us_is_the_reason_shown() {
        for reason in [
            Reason::Paused,
            Reason::DryRun,
            Reason::KillSwitch { by: "ConfigMap a/b".into() },
            Reason::Conflict { owner: "HorizontalPodAutoscaler shop/web".into() },
        ] {
            let decision = decision(Mode::Observe, vec![reason.clone(), Reason::ObserveOnly]);
            let able = able(&decision, &Outcome::default(), None);
            assert_eq!((able.holds, able.reason), (Some(false), reason.name()));
            let holds = matches!(reason, Reason::Conflict { .. });
            assert_eq!(conflict(&decision).holds, Some(holds));
        }
        let observed = able(&decision(Mode::Observe, vec![Reason::ObserveOnly]), &Outcome::default(), None);
        assert_eq!((observed.holds, observed.reason), (Some(true), "ObserveOnly"));
    }

    #[test]
    fn a_query_that_can_not_be_read_is_named_where_the_forecast_is_missing() {
        let none = decision(Mode::Full, vec![Reason::NoForecast]);
        let error = |bad: bool| match bad {
            true => {
                SourceError::BadAnswer { source_name: "prometheus", detail: "parse error at char 5".into() }
            }
            false => SourceError::NoData { source_name: "prometheus", detail: "web".into() },
        };
        for (bad, name) in [(true, DEMAND_UNUSABLE), (false, "DemandMissing")] {
            let problems = Problems { demand: Some(error(bad)), metrics: vec![] };
            let told = ready(&none, Some(&problems));
            assert_eq!((told.holds, told.reason), (Some(false), name));
            assert!(told.message.contains("prometheus"), "{}", told.message);
            let covered = ready(&decision(Mode::Full, vec![]), Some(&problems));
            assert_eq!(covered.holds, Some(true), "the forecast at hand counts until it expires");
        }
        assert_eq!(ready(&none, None).reason, "NoForecast");
    }

    #[test]
    fn the_time_of_a_condition_is_that_of_its_last_change() {
        let say = |holds| vec![verdict(ConditionType::Conflict, holds, "Because", "text")];
        let first = merge(&[], &say(false), Some(1), &time(10));
        let second = merge(&first, &say(false), Some(2), &time(20));
        assert_eq!(second[0].last_transition_time, time(10));
        assert_eq!(second[0].observed_generation, Some(2));
        let third = merge(&second, &say(true), Some(2), &time(30));
        assert_eq!((third[0].status.as_str(), &third[0].last_transition_time), ("True", &time(30)));
    }

    #[test]
    fn conditions_nobody_spoke_of_stay_in_their_place() {
        let all = merge(
            &[],
            &[
                verdict(ConditionType::Conflict, false, "SoleOwner", ""),
                verdict(ConditionType::AbleToScale, true, "Ready", ""),
            ],
            None,
            &time(0),
        );
        let later = merge(
            &all,
            &[verdict(ConditionType::AbleToScale, false, "InvalidSpec", "x".repeat(2000))],
            None,
            &time(1),
        );
        let types: Vec<&str> = later.iter().map(|c| c.type_.as_str()).collect();
        assert_eq!(types, ["AbleToScale", "Conflict"]);
        assert!(later[0].message.chars().count() <= LONGEST + 1);
        assert!(!same(&all, &later) && same(&later, &later.clone()));
    }
}
