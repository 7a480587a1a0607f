//! What keeps us from acting on a workload, and what is told of it?
//!
//! The operator as the [`Overseer`] of the autoscale stage. It reads what the watches know and writes into memory; others
//! carry that to the API server.

use super::conditions::{self, Verdict};
use super::conflict::{self, Other};
use super::events::Notice;
use super::report::{self, Around};
use super::roster::{Found, Refusal, Roster};
use super::{Inner, Report, switch};
use crate::api::{ConditionType, FloorStatus};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Condition;
use sphere_core::{Mode, Reason, Timestamp};
use sphere_pipeline::Applied;
use sphere_pipeline::Workload;
use sphere_pipeline::autoscale::{Overseer, Told};
use std::sync::{Arc, PoisonError};

/// See the module text.
pub(super) struct Overlook(pub(super) Arc<Inner>);

impl Overseer for Overlook {
    fn holds(&self, workload: &Workload, now: Timestamp) -> Vec<Reason> {
        holds(&self.0, workload, now)
    }

    fn decided(&self, told: &Told<'_>) {
        decided(&self.0, told);
    }
}

/// What keeps us from acting on a workload now.
pub(super) fn holds(inner: &Inner, workload: &Workload, now: Timestamp) -> Vec<Reason> {
    let mut holds = Vec::new();
    if inner.settings.dry_run {
        holds.push(Reason::DryRun);
    }
    holds.extend(inner.watches.stopped().map(|by| Reason::KillSwitch { by }));
    let id = &workload.id;
    if inner.watches.namespace_disabled(id.namespace()) {
        let by = format!("annotation {} on Namespace {}", switch::ANNOTATION, id.namespace());
        holds.push(Reason::KillSwitch { by });
    }
    match inner.roster().owners.get(id) {
        Some(object) if object.disabled => {
            let by = format!("annotation {} on PredictiveAutoscaler {}", switch::ANNOTATION, object.key);
            holds.push(Reason::KillSwitch { by });
        }
        Some(_) => {}
        // It went a moment ago; the stage has not heard of it yet.
        None => holds.push(Reason::Paused),
    }
    let mode = workload.spec.mode;
    holds.extend(conflict::obstacle(mode, &others(inner, workload)));
    if mode >= Mode::ScaleOut {
        holds.extend(inner.guard.rival(id, now).map(|owner| Reason::Conflict { owner }));
    }
    holds
}

fn decided(inner: &Inner, told: &Told<'_>) {
    let roster = inner.roster();
    let Some(object) = roster.owners.get(&told.workload.id) else { return };
    let verdicts = conditions::after(told);
    let hpas = inner.cluster.autoscalers_of(&told.workload.id);
    let floor = hpas.iter().find_map(|hpa| {
        let floor = hpa.floor.as_ref()?;
        Some(FloorStatus {
            autoscaler: hpa.name.clone(),
            replicas: floor.set,
            original_min_replicas: floor.original,
        })
    });
    let around = Around {
        generation: object.generation,
        selector: inner.cluster.known_selector(told.workload),
        hpa_replicas: hpas.first().and_then(|hpa| hpa.desired_replicas),
        floor,
    };
    let mut reports = inner.reports.lock().unwrap_or_else(PoisonError::into_inner);
    let report = reports.entry(object.key.clone()).or_insert_with(|| inner.first_report(object));
    let before = std::mem::take(&mut report.wanted.conditions);
    for notice in changes(object, &before, &verdicts) {
        inner.notices.tell(notice);
    }
    report.wanted.conditions = before;
    report::take_in(&mut report.wanted, told, &verdicts, around);
    drop(reports);
    if let Some(notice) = rescaled(object, told) {
        inner.notices.tell(notice);
    }
}

fn others(inner: &Inner, workload: &Workload) -> Vec<Other> {
    let hpas = inner.cluster.autoscalers_of(&workload.id);
    hpas.iter()
        .map(|hpa| Other { name: format!("{}/{}", hpa.namespace, hpa.name), owner: hpa.owner.clone() })
        .collect()
}

/// What to tell of a change of size or minimum.
fn rescaled(object: &Found, told: &Told<'_>) -> Option<Notice> {
    let decision = told.decision;
    let why: Vec<String> = decision.reasons.iter().map(ToString::to_string).collect();
    let note = |what: String| {
        let hpa = decision.reactive.map_or_else(|| "unknown".into(), |n| n.to_string());
        format!("{what}; the HPA would have {hpa}: {}", why.join("; "))
    };
    let (reason, text) = match (&told.outcome.size, &told.outcome.floor) {
        (Some(Ok(Applied::Done)), _) => ("Rescaled", note(format!("{} -> {}", decision.current, told.to))),
        (_, Some(Ok(Applied::Done))) => match told.floor {
            Some(floor) => ("FloorSet", note(format!("minReplicas of the HPA is {floor}"))),
            None => ("FloorGivenBack", "minReplicas of the HPA is as its owner wrote it".into()),
        },
        _ => return None,
    };
    Some(Notice {
        key: object.key.clone(),
        uid: object.uid.clone(),
        warning: false,
        reason,
        action: "Scale",
        note: text,
    })
}

/// What to tell of conditions that changed. Those that change with demand are in the status only.
fn changes(object: &Found, before: &[Condition], verdicts: &[Verdict]) -> Vec<Notice> {
    let told = verdicts.iter().filter_map(|verdict| {
        let good = match verdict.kind {
            ConditionType::AbleToScale | ConditionType::ScalingActive | ConditionType::ForecastTrusted => {
                true
            }
            ConditionType::Conflict => false,
            // A spec that has to be mended is worth an event.
            ConditionType::ForecastReady if verdict.reason == conditions::DEMAND_UNUSABLE => true,
            ConditionType::ScalingLimited | ConditionType::ForecastReady => return None,
        };
        let holds = verdict.holds?;
        let old = before.iter().find(|c| c.type_ == verdict.kind.name());
        let status = if holds { "True" } else { "False" };
        let news = match old {
            // Trust that has not been earned yet was not lost.
            Some(old) if verdict.kind == ConditionType::ForecastTrusted && !holds => old.status == "True",
            Some(old) => old.status != status || (holds != good && old.reason != verdict.reason),
            // At first sight only what is wrong.
            None => holds != good && verdict.kind != ConditionType::ForecastTrusted,
        };
        news.then(|| Notice {
            key: object.key.clone(),
            uid: object.uid.clone(),
            warning: holds != good,
            reason: verdict.reason,
            action: verdict.kind.name(),
            note: verdict.message.clone(),
        })
    });
    told.collect()
}

/// Tells objects that are not obeyed why not.
pub(super) fn refuse(inner: &Inner, roster: &Roster, now: Timestamp) {
    let mut reports = inner.reports.lock().unwrap_or_else(PoisonError::into_inner);
    for (object, refusal) in &roster.refused {
        let verdicts = conditions::refused(refusal);
        let report: &mut Report =
            reports.entry(object.key.clone()).or_insert_with(|| inner.first_report(object));
        // All of its conditions say the same: once is enough.
        if let Some(mut notice) = changes(object, &report.wanted.conditions, &verdicts).into_iter().next() {
            notice.action = match refusal {
                Refusal::Invalid(_) => "Validate",
                Refusal::Twin { .. } => "Claim",
            };
            inner.notices.tell(notice);
        }
        let status = &mut report.wanted;
        let at = report::time(now);
        status.conditions = conditions::merge(&status.conditions, &verdicts, object.generation, &at);
        // What was decided for it before is no longer so.
        status.observed_generation = object.generation;
        status.mode = None;
        (status.current_replicas, status.desired_replicas) = (None, None);
        (status.reactive_replicas, status.predictive_replicas, status.hpa_replicas) = (None, None, None);
        (status.forecast, status.floor) = (None, None);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::operator::roster::ObjectKey;
    use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
    use k8s_openapi::jiff;

    fn verdict(kind: ConditionType, holds: bool, reason: &'static str) -> Verdict {
        Verdict { kind, holds: Some(holds), reason, message: "text".into() }
    }

    fn found() -> Found {
        Found {
            key: ObjectKey { namespace: "shop".into(), name: "web".into() },
            uid: "u".into(),
            generation: Some(1),
            created_s: None,
            disabled: false,
            workload: Err(vec![]),
        }
    }

    #[test]
    fn a_demand_that_can_not_be_measured_is_told_once() {
        let object = found();
        let missing = [verdict(ConditionType::ForecastReady, false, "NoForecast")];
        let unusable = [verdict(ConditionType::ForecastReady, false, conditions::DEMAND_UNUSABLE)];
        assert_eq!(changes(&object, &[], &missing), []);
        let at = Time(jiff::Timestamp::UNIX_EPOCH);
        let before = conditions::merge(&[], &missing, None, &at);
        let told = changes(&object, &before, &unusable);
        assert!(matches!(told.as_slice(), [one] if one.warning && one.reason == conditions::DEMAND_UNUSABLE));
        assert_eq!(changes(&object, &conditions::merge(&before, &unusable, None, &at), &unusable), []);
    }

    #[test]
    fn people_hear_of_what_changed_and_at_first_sight_only_of_what_is_wrong() {
        let object = found();
        let good = [
            verdict(ConditionType::AbleToScale, true, "ReadyForNewScale"),
            verdict(ConditionType::Conflict, false, "SoleOwner"),
            verdict(ConditionType::ForecastTrusted, false, "NotYetTrusted"),
        ];
        assert_eq!(changes(&object, &[], &good), []);
        let at = Time(jiff::Timestamp::UNIX_EPOCH);
        let before = conditions::merge(&[], &good, None, &at);
        assert_eq!(changes(&object, &before, &good), []);
        let bad = [
            verdict(ConditionType::AbleToScale, false, "Forbidden"),
            verdict(ConditionType::Conflict, true, "AnotherScaler"),
            verdict(ConditionType::ForecastTrusted, true, "ForecastTrusted"),
        ];
        let told: Vec<(&str, bool)> =
            changes(&object, &before, &bad).iter().map(|n| (n.reason, n.warning)).collect();
        assert_eq!(told, [("Forbidden", true), ("AnotherScaler", true), ("ForecastTrusted", false)]);
    }
}
