//! Does the simulated cluster keep up with any clock, and is nothing lost on the way?

// Helpers of tests are outside test functions, and may unwrap as those do.
#![allow(clippy::unwrap_used)]

mod common;

use common::{START, after, by_requests, cluster, cluster_of, id, one, synthetic, trace};
use sphere_pipeline::{Applied, MetricSource, ScaleTarget};
use sphere_sim::Scorecard;
use sphere_simcluster::SimulatedClusterConfig;
use sphere_simcluster::config::SimulatedWorkload;
use sphere_simcluster::exporter::Exporter;
use std::time::{Duration, Instant};

#[tokio::test]
async fn requests_are_answered_or_given_up_or_waiting_and_none_else() {
    let mut config = one(trace());
    config.workloads[0].initial_replicas = Some(3);
    // Swings around what the pods can do, so that some wait and some give up.
    let rates: Vec<Option<f64>> = (0..600).map(|i| Some(if i % 7 < 3 { 60.0 } else { 15.0 })).collect();
    let (cluster, clock) = cluster_of(&config, &rates);
    let workload = by_requests("front-end");
    let mut arrived = 0.0;
    for step in 1..=180u64 {
        clock.set(after(step * 10));
        let sample = cluster.samples(std::slice::from_ref(&workload), clock.now()).await.remove(0).unwrap();
        arrived += sample.demand.unwrap() * 10.0;
        if step % 9 == 0 {
            let from = cluster.scale(&workload).await.unwrap().unwrap().spec_replicas as u32;
            cluster.set_replicas(&workload, from, [0, 2, 5, 3][(step / 9 % 4) as usize]).await.unwrap();
        }
        let books = cluster.books(&id("front-end")).unwrap();
        let accounted = books.answered + books.given_up + books.waiting;
        assert!(
            (accounted - arrived).abs() < 1e-3 * (1.0 + arrived).sqrt(),
            "step {step}: {books:?} {arrived}"
        );
        assert!(books.answered >= 0.0 && books.waiting >= 0.0);
    }
    let books = cluster.books(&id("front-end")).unwrap();
    assert!(books.given_up > 100.0 && books.answered > 10_000.0, "{books:?}");
}

#[tokio::test]
async fn a_clock_that_jumps_is_followed_at_once_and_the_gap_has_no_data() {
    let (cluster, clock) = cluster(&one(synthetic(100.0)));
    let workload = [by_requests("front-end")];
    clock.set(after(600));
    cluster.catch_up().await;
    let started = Instant::now();
    clock.set(after(400 * 86_400));
    let advance = cluster.advance_to(clock.now());
    assert!(started.elapsed() < Duration::from_secs(5));
    assert_eq!(advance.skipped, Duration::from_secs(400 * 86_400 - 600));
    assert_eq!(cluster.skipped(), advance.skipped);
    let at = clock.now();
    let live = cluster.live(&workload, at).await.remove(0).unwrap();
    assert_eq!((live.sample.demand, live.violated_share), (None, None));
    let day = Duration::from_secs(86_400);
    let gap = cluster.history(&workload, at - day, at, Duration::from_secs(600)).await.remove(0).unwrap();
    assert!(gap.iter().all(|(_, value)| value.is_none()), "{gap:?}");

    clock.set(at + Duration::from_secs(60));
    let back = cluster.samples(&workload, clock.now()).await.remove(0).unwrap();
    assert!(back.demand.is_some_and(|rps| rps > 5.0), "{back:?}");
}

#[tokio::test]
async fn a_clock_that_steps_back_does_nothing() {
    let (cluster, clock) = cluster(&one(synthetic(100.0)));
    clock.set(after(600));
    cluster.catch_up().await;
    let before = cluster.scores();
    clock.set(after(300));
    assert_eq!(cluster.advance_to(clock.now()).ticks, 0);
    clock.set(START - Duration::from_secs(86_400));
    assert_eq!(cluster.advance_to(clock.now()).ticks, 0);
    assert_eq!(cluster.scores(), before);
    clock.set(after(601));
    assert_eq!(cluster.advance_to(clock.now()).ticks, 1);
}

/// Four simulated hours, one decision every ten seconds, through the traits alone.
async fn evening(policy: impl Fn(f64) -> u32) -> Scorecard {
    let mut config = one(synthetic(200.0));
    config.workloads[0].initial_replicas = Some(20);
    let (cluster, clock) = cluster(&config);
    let workload = by_requests("front-end");
    for step in 1..=1440u64 {
        clock.set(after(step * 10));
        let live = cluster.live(std::slice::from_ref(&workload), clock.now()).await.remove(0).unwrap();
        let from = cluster.scale(&workload).await.unwrap().unwrap().spec_replicas as u32;
        let wanted = live.sample.demand.map_or(from, &policy).clamp(1, 100);
        assert_eq!(cluster.set_replicas(&workload, from, wanted).await, Ok(Applied::Done));
    }
    cluster.score(&workload.id).unwrap()
}

#[tokio::test]
async fn a_policy_loop_is_scored_for_what_it_did() {
    let follows = evening(|rps| (rps / 6.0).ceil() as u32).await;
    let generous = evening(|_| 60).await;
    let stingy = evening(|_| 5).await;
    assert!(follows.violation_time_pct < 5.0 && follows.failed_requests_pct < 5.0, "{follows:?}");
    assert!(follows.pod_hours < 0.6 * generous.pod_hours, "{follows:?}");
    assert!(stingy.violation_time_pct > 90.0 && stingy.failed_requests_pct > 20.0, "{stingy:?}");
    assert_eq!(generous.violation_time_pct, 0.0);
    assert!((generous.pod_hours / 240.0 - 1.0).abs() < 0.01, "{generous:?}");
    assert!(follows.scale_ups > 10 && follows.scale_downs > 10);
}

#[tokio::test]
async fn a_thousand_workloads_keep_up_with_an_accelerated_clock() {
    let mut workload = SimulatedWorkload::new("shop", "service", synthetic(100.0), 10.0);
    workload.count = 1000;
    workload.hpa = Some(60);
    let config = SimulatedClusterConfig { workloads: vec![workload], ..SimulatedClusterConfig::default() };
    let built = Instant::now();
    let (cluster, clock) = cluster(&config);
    let built = built.elapsed();
    let started = Instant::now();
    let mut ticks = 0;
    for minute in 1..=10u64 {
        clock.set(after(minute * 60));
        ticks += cluster.advance_to(clock.now()).ticks;
    }
    let took = started.elapsed();
    assert_eq!(ticks, 600_000);
    println!(
        "1000 workloads: built in {built:?}; {:.2} ms per simulated second, {:.2} us per tick",
        took.as_secs_f64() * 1000.0 / 600.0,
        took.as_secs_f64() * 1e6 / 600_000.0
    );
    let started = Instant::now();
    let page = Exporter::new(cluster.clone()).page().unwrap();
    println!("page: {} lines, {} kB in {:?}", page.lines().count(), page.len() / 1000, started.elapsed());
    // Sixty times real time leaves 16 ms per simulated second.
    assert!(took < Duration::from_secs(10), "{took:?}");
    let names: Vec<String> = cluster.workloads().iter().map(ToString::to_string).collect();
    assert_eq!((names.len(), names[999].as_str()), (1000, "shop/Deployment/service-0999"));
}
