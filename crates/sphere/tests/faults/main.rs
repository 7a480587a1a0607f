//! Does the distributed pipeline survive what happens to its parts?
//!
//! Everything is real and in processes of its own. One installation goes through all faults, one after the other;
//! after each of them every acknowledged sample must be accounted for, no decision may rest on an expired forecast, and
//! forecasts must be used again. Meanwhile decisions go on.

// Helpers of tests are outside test functions, and may unwrap as those do.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod accounting;
mod clocks;
mod course;
mod poison;
mod rig;
mod table;

use course::{Course, all_decided, reactive};
use rig::{PATIENCE, Service, WORKLOADS};
use sphere_core::{Decision, Timestamp};
use sphere_pipeline::Clock;
use sphere_testkit::wait_until;
use std::time::Duration;

/// The workload whose size is set behind the autoscaler's back.
const DISTURBED: &str = "shop/Deployment/web-0007";

fn now() -> Timestamp {
    Clock::system().now()
}

#[test]
fn every_fault_is_survived() {
    let mut course = Course::begin();
    forecast_is_killed(&mut course);
    collect_is_killed(&mut course);
    cache_is_killed(&mut course);
    autoscale_is_killed(&mut course);
    redis_is_killed(&mut course);
    kafka_is_killed(&mut course);
    prometheus_is_killed(&mut course);
    prometheus_is_paused(&mut course);
    poison::is_put_aside(&mut course);
    a_second_forecaster_comes_and_goes(&mut course);
    course.verify();
    clocks::jump(&mut course);
}

fn forecast_is_killed(course: &mut Course) {
    let killed = now();
    course.rig.stage("forecast").process.kill();
    all_decided(&course.rig, killed, "reactively", reactive);
    let back = course.restart("forecast");
    let recovery = course.recovered(back);
    let forecast = course.rig.stage("forecast");
    let (restored, anew) = (forecast.forecasts("restored"), forecast.anew());
    assert_eq!((restored, anew), (WORKLOADS as u64, 0), "models are restored, and none starts anew");
    course.settle(
        "SIGKILL of forecast",
        "reactive decisions meanwhile; every model restored from its state",
        &format!("all {WORKLOADS} workloads decided reactively; {restored} models restored, {anew} anew"),
        &recovery,
    );
}

fn collect_is_killed(course: &mut Course) {
    let gaps = course.accounts().gaps;
    let killed = now();
    course.rig.stage("collect").process.kill();
    all_decided(&course.rig, killed, "reactively", reactive);
    let back = course.restart("collect");
    let recovery = course.recovered(back);
    let filled = course.rig.stage("collect").counter("sphere_records_total", &["outcome=\"filled\""]);
    assert!(filled > 0, "the missed steps are filled from the source's history");
    assert_eq!(course.accounts().gaps, gaps, "no step is missing");
    course.settle(
        "SIGKILL of collect",
        "reactive decisions meanwhile; missed steps filled from history",
        &format!("all decided reactively; {filled} samples filled, no gap"),
        &recovery,
    );
}

fn cache_is_killed(course: &mut Course) {
    let killed = now();
    course.rig.stage("cache").process.kill();
    all_decided(&course.rig, killed, "reactively", reactive);
    let back = course.restart("cache");
    let recovery = course.recovered(back);
    course.settle("SIGKILL of cache", "reactive decisions meanwhile", "all decided reactively", &recovery);
}

fn autoscale_is_killed(course: &mut Course) {
    let killed = now();
    course.rig.stage("autoscale").process.kill();
    course.rig.set_replicas(DISTURBED, 1);
    let later = killed + Duration::from_secs(4);
    // Demand of the disturbed one exceeds its only pod: what is seen of it is no measurement.
    let go_on = || course.rig.watcher.seen().forecast_after(later) >= WORKLOADS - 1;
    wait_until("forecasts go on", PATIENCE, go_on).unwrap();
    assert_eq!(course.rig.replicas()[DISTURBED], 1, "nobody else scales");
    let back = course.restart("autoscale");
    wait_until("the size is put right", PATIENCE, || course.rig.replicas()[DISTURBED] > 2).unwrap();
    let right = now().since(back).as_secs_f64();
    let recovery = course.recovered(back);
    course.settle(
        "SIGKILL of autoscale",
        "forecasts go on; a size set wrong meanwhile is put right",
        &format!("forecasts went on; size 1 put right {right:.1} s after the restart"),
        &recovery,
    );
}

fn redis_is_killed(course: &mut Course) {
    let killed = now();
    course.rig.redis.process.kill();
    let later = killed + Duration::from_secs(4);
    wait_until("forecasts go on", PATIENCE, || course.rig.watcher.seen().forecast_after(later) == WORKLOADS)
        .unwrap();
    all_decided(&course.rig, killed, "reactively", reactive);
    course.rig.redis.restart().unwrap();
    let recovery = course.recovered(now());
    course.settle(
        "SIGKILL of Redis",
        "forecasts go on, decisions are reactive",
        "forecasts went on; all decided reactively",
        &recovery,
    );
}

fn kafka_is_killed(course: &mut Course) {
    let without = ["NoForecast", "ForecastExpired"].map(|reason| format!("reason=\"{reason}\""));
    let reactive_decisions = |course: &Course| -> u64 {
        let autoscale = &course.rig.services["autoscale"];
        without.iter().map(|reason| autoscale.counter("sphere_decision_reasons_total", &[reason])).sum()
    };
    let gaps = course.accounts().gaps;
    let before = reactive_decisions(course);
    course.rig.kafka.broker(0).kill();
    wait_until("decisions without forecasts", PATIENCE, || {
        reactive_decisions(course) >= before + WORKLOADS as u64
    })
    .unwrap();
    course.rig.set_replicas(DISTURBED, 1);
    let disturbed = now();
    wait_until("the target is scaled", PATIENCE, || course.rig.replicas()[DISTURBED] > 2).unwrap();
    let right = now().since(disturbed).as_secs_f64();
    course.rig.kafka.restart(0).unwrap();
    let recovery = course.recovered(now());
    let missing = course.accounts().gaps.saturating_sub(gaps);
    course.settle(
        "SIGKILL of the Kafka broker",
        "the autoscaler goes on scaling the target, reactively",
        &format!("size 1 put right after {right:.1} s without Kafka; {missing} samples missing afterwards"),
        &recovery,
    );
}

/// Nothing was measured, so nothing is changed.
fn holds(decision: &Decision) -> bool {
    decision.reasons.iter().any(|reason| reason.name() == "MetricsMissing")
}

fn no_size_was_lowered_blindly(course: &Course, since: Timestamp) {
    let seen = course.rig.watcher.seen();
    for (decision, _) in seen.decisions.values().flatten().filter(|(d, _)| d.at > since && holds(d)) {
        assert!(decision.desired >= decision.current, "lowered without metrics: {decision:?}");
    }
}

fn prometheus_is_killed(course: &mut Course) {
    let gaps = course.accounts().gaps;
    let killed = now();
    course.rig.prometheus.process.kill();
    let blind = |d: &Decision| holds(d) && d.predictive.is_none();
    all_decided(&course.rig, killed, "without metrics", blind);
    no_size_was_lowered_blindly(course, killed);
    course.rig.prometheus.restart().unwrap();
    let recovery = course.recovered(now());
    let missing = course.accounts().gaps.saturating_sub(gaps);
    course.settle(
        "SIGKILL of Prometheus",
        "decisions go on, say MetricsMissing and lower nothing",
        &format!("all decided so; {missing} samples are missing, as nobody measured"),
        &recovery,
    );
}

fn prometheus_is_paused(course: &mut Course) {
    let gaps = course.accounts().gaps;
    let paused = now();
    course.rig.prometheus.process.pause().unwrap();
    let blind = |d: &Decision| holds(d) && d.predictive.is_none();
    all_decided(&course.rig, paused, "without metrics", blind);
    no_size_was_lowered_blindly(course, paused);
    course.rig.prometheus.process.resume().unwrap();
    let recovery = course.recovered(now());
    let missing = course.accounts().gaps.saturating_sub(gaps);
    course.settle(
        "SIGSTOP of Prometheus: it answers nothing",
        "a silent source blocks nobody: as above",
        &format!("all decided so; {missing} samples are missing"),
        &recovery,
    );
}

fn a_second_forecaster_comes_and_goes(course: &mut Course) {
    let restored = course.rig.stage("forecast").forecasts("restored");
    let came = now();
    let mut second = Service::start(&course.rig.parts, "forecast", "forecast-2", &[], &[]);
    second.wait_ready();
    wait_until("the second forecaster has work", PATIENCE, || second.forecasts("forecast") > 20).unwrap();
    let joining = course.recovered(came);
    let (moved, anew) = (second.forecasts("restored"), second.anew());
    assert!(moved > 0 && anew == 0, "{moved} models moved with their state, {anew} started anew");
    let left = now();
    second.process.stop();
    let leaving = course.recovered(left);
    let first = course.rig.stage("forecast");
    let (again, anew) = (first.forecasts("restored") - restored, first.anew());
    assert_eq!((again, anew), (moved, 0), "those that moved came back with their state");
    course.settle(
        "a second forecaster joins and leaves",
        "order kept, state moved, no cold start",
        &format!("{moved} models moved and came back, all restored"),
        &format!("joining: {joining}; leaving: {leaving}"),
    );
}
