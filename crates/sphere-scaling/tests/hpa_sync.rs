//! What does a whole sync remember, report and leave alone?
#![allow(clippy::unwrap_used)] // Helpers of tests.

use sphere_core::{Reason, Timestamp};
use sphere_scaling::hpa::*;

fn at(seconds: i64) -> Timestamp {
    Timestamp::from_secs(100_000 + seconds)
}

/// A queue with a target of ten messages in all, from zero replicas on.
fn queue(min: i32) -> HpaSpec {
    let metric = MetricIdentifier { name: "messages".into(), selector: None };
    let external = ExternalMetric { metric, target: MetricTarget::value(10_000) };
    HpaSpec { metrics: vec![MetricSpec::External { external }], ..HpaSpec::cpu(min, 10, 80) }
}

fn zero_config() -> HpaConfig {
    HpaConfig { scaled_to_zero_condition: true, ..HpaConfig::default() }
}

/// One sync of a workload of `size` ready pods with `messages` waiting.
fn evaluate(hpa: &mut Hpa, seconds: i64, size: i32, messages: i64) -> Evaluation {
    let pods = vec![PodStatus::ready(Timestamp(0), Timestamp(0)); usize::try_from(size).unwrap()];
    let scale = Some(Scale { spec_replicas: size, status_replicas: size });
    let values = [messages * 1000];
    let readings = [Reading::External(&values)];
    hpa.evaluate(
        at(seconds),
        &Snapshot { scale, selector: Selector::Valid, pods: &pods, readings: &readings },
    )
}

fn sync(hpa: &mut Hpa, seconds: i64, size: i32, messages: i64) -> SyncOutcome {
    let evaluation = evaluate(hpa, seconds, size, messages);
    hpa.record(&evaluation, ScaleWrite::Done)
}

/// Takes an idle queue worker to zero: the window must have passed since the size was first seen.
fn to_zero(hpa: &mut Hpa) {
    assert_eq!(sync(hpa, 0, 2, 0).desired_replicas, 2);
    let outcome = sync(hpa, 301, 2, 0);
    assert!(outcome.rescaled);
    assert_eq!(outcome.desired_replicas, 0);
}

#[test]
fn before_1_36_a_minimum_of_zero_starts_from_any_zero() {
    let mut hpa = Hpa::new(queue(0), HpaConfig::default());
    assert_eq!(sync(&mut hpa, 0, 0, 25).desired_replicas, 3);
    assert_eq!(hpa.status().condition(ConditionType::ScaledToZero), None);
}

#[test]
fn from_1_36_a_zero_of_our_own_is_left_and_the_condition_cleared() {
    let mut hpa = Hpa::new(queue(0), zero_config());
    to_zero(&mut hpa);
    assert_eq!(hpa.status().condition(ConditionType::ScaledToZero).unwrap().status, ConditionStatus::True);
    assert_eq!(sync(&mut hpa, 316, 0, 25).desired_replicas, 3);
    let condition = *hpa.status().condition(ConditionType::ScaledToZero).unwrap();
    assert_eq!(
        (condition.status, condition.reason),
        (ConditionStatus::False, ConditionReason::NotScaledToZero)
    );
}

#[test]
fn from_1_36_a_zero_of_someone_else_is_left_alone() {
    let mut hpa = Hpa::new(queue(0), zero_config());
    let outcome = sync(&mut hpa, 0, 0, 25);
    assert_eq!((outcome.evaluation.branch, outcome.rescaled), (Branch::Disabled, false));
    assert_eq!(outcome.evaluation.reasons(hpa.spec()), vec![Reason::ScalingDisabled]);
}

#[test]
fn from_1_36_a_raised_minimum_holds_even_without_messages_or_metrics() {
    let mut hpa = Hpa::new(queue(0), zero_config());
    to_zero(&mut hpa);
    let raised = Hpa::with_state(queue(2), zero_config(), hpa.state().clone());
    assert_eq!(sync(&mut raised.clone(), 700, 0, 0).desired_replicas, 2);
    assert_eq!(sync(&mut raised.clone(), 700, 0, 45).desired_replicas, 4);
    let scale = Some(Scale { spec_replicas: 0, status_replicas: 0 });
    let blind = Snapshot { scale, selector: Selector::Valid, pods: &[], readings: &[] };
    let outcome = raised.clone().sync(at(700), &blind);
    assert_eq!((outcome.desired_replicas, outcome.rescaled), (2, true));
    assert!(outcome.error.is_some());
}

#[test]
fn a_failed_write_keeps_the_proposal_but_no_event_and_no_size() {
    let spec = HpaSpec { behavior: Some(Behavior::default()), ..queue(1) };
    let mut hpa = Hpa::new(spec, HpaConfig::default());
    let evaluation = evaluate(&mut hpa, 0, 2, 50);
    assert_eq!(evaluation.rescale(), Some(6));
    let outcome = hpa.record(&evaluation, ScaleWrite::Failed);
    assert_eq!((outcome.error, outcome.rescaled), (Some(SyncError::WriteFailed), false));
    assert_eq!(outcome.desired_replicas, 0, "the status keeps what it had");
    assert_eq!(hpa.state().events, ScaleEvents::default());
    assert_eq!(hpa.state().recommendations.as_ref().unwrap().0.last().unwrap().replicas, 10);
    assert_eq!(hpa.status().last_scale_at, None);
}

#[test]
fn a_jump_to_a_bound_needs_no_metrics_and_counts_against_the_policies() {
    let spec = HpaSpec { behavior: Some(Behavior::default()), ..queue(3) };
    let mut hpa = Hpa::new(spec, HpaConfig::default());
    let scale = |size| Some(Scale { spec_replicas: size, status_replicas: size });
    let blind = |size| Snapshot { scale: scale(size), selector: Selector::Invalid, pods: &[], readings: &[] };
    let outcome = hpa.sync(at(0), &blind(1));
    assert_eq!((outcome.desired_replicas, outcome.error), (3, None));
    assert_eq!(hpa.state().events.up.0, vec![ScaleEvent { change: 2, at: at(0), outdated: false }]);
    assert_eq!(outcome.evaluation.reasons(hpa.spec()), vec![Reason::TooFewReplicas { min: 3 }]);
    // Within the period the start is still 1 replica: 1 + 4, not 3 + 4.
    assert_eq!(sync(&mut hpa, 14, 3, 1_000).desired_replicas, 5);
    assert_eq!(hpa.sync(at(20), &blind(40)).desired_replicas, 10);
}

#[test]
fn watching_only_touches_neither_events_nor_the_time_of_the_last_change() {
    let spec = HpaSpec { behavior: Some(Behavior::default()), ..queue(1) };
    let mut hpa = Hpa::new(spec, HpaConfig::default());
    let evaluation = evaluate(&mut hpa, 0, 2, 50);
    let outcome = hpa.record(&evaluation, ScaleWrite::NotAttempted);
    assert_eq!((outcome.desired_replicas, outcome.rescaled, outcome.error), (6, false, None));
    assert_eq!(hpa.state().events, ScaleEvents::default());
    assert_eq!(hpa.status().last_scale_at, None);
}

#[test]
fn a_restart_with_its_state_scales_in_no_sooner_and_no_later() {
    let mut hpa = Hpa::new(queue(1), HpaConfig::default());
    assert_eq!(sync(&mut hpa, 0, 5, 4).desired_replicas, 5);
    sync(&mut hpa, 200, 5, 4);
    let mut restarted = Hpa::with_state(queue(1), HpaConfig::default(), hpa.state().clone());
    assert_eq!(sync(&mut restarted, 300, 5, 4).desired_replicas, 5, "the edge belongs to the window");
    assert_eq!(sync(&mut restarted, 301, 5, 4).desired_replicas, 2);
    // A restart without state holds for a whole window again.
    let mut forgetful = Hpa::new(queue(1), HpaConfig::default());
    assert_eq!(sync(&mut forgetful, 301, 5, 4).desired_replicas, 5);
    assert_eq!(sync(&mut forgetful, 602, 5, 4).desired_replicas, 2);
}

#[test]
fn reasons_tell_the_whole_story_in_order() {
    let spec = HpaSpec { behavior: Some(Behavior::default()), ..queue(1) };
    let mut hpa = Hpa::new(spec, HpaConfig::default());
    let raised = evaluate(&mut hpa, 0, 2, 100);
    let asked = |replicas| Reason::MetricProposal { metric: "messages".into(), replicas };
    assert_eq!(raised.reasons(hpa.spec()), vec![asked(20), Reason::ScaleUpLimited { limit: 6 }]);
    let held = evaluate(&mut hpa, 15, 6, 1);
    assert_eq!(held.reasons(hpa.spec()), vec![asked(1), Reason::ScaleDownStabilized { replicas: 6 }]);
    let failed =
        hpa.sync(at(30), &Snapshot { scale: None, selector: Selector::Valid, pods: &[], readings: &[] });
    assert!(matches!(failed.evaluation.reasons(hpa.spec())[..], [Reason::MetricsMissing { .. }]));
    assert_eq!(failed.evaluation.desired, None);
}

#[test]
fn a_reading_of_another_kind_than_the_metric_is_an_error_not_a_number() {
    let mut hpa = Hpa::new(queue(1), HpaConfig::default());
    let scale = Some(Scale { spec_replicas: 2, status_replicas: 2 });
    let readings = [Reading::Object(5)];
    let outcome =
        hpa.sync(at(0), &Snapshot { scale, selector: Selector::Valid, pods: &[], readings: &readings });
    let error = MetricError::UnknownSource;
    assert_eq!(outcome.error, Some(SyncError::Metric { index: 0, error }));
    assert_eq!(hpa.status().metrics, vec![MetricStatus::Invalid(error)]);
}
