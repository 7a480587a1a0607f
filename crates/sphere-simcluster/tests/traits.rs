//! Does the simulated cluster keep what the pipeline's traits promise?

// Helpers of tests are outside test functions, and may unwrap as those do.
#![allow(clippy::unwrap_used)]

mod common;

use common::{START, after, by_cpu, by_requests, cluster, cluster_of, one, synthetic, trace};
use sphere_core::Timestamp;
use sphere_pipeline::workload::Workload;
use sphere_pipeline::{Applied, Live, LiveReading, MetricSource, ScaleTarget, SourceError, TargetError};
use sphere_scaling::hpa::{
    ExternalMetric, Hpa, HpaConfig, MetricError, MetricIdentifier, MetricSpec, MetricTarget, Reading,
    Selector, Snapshot,
};
use sphere_sim::policy::{HpaSignal, HpaView, hpa_spec};
use sphere_sim::{Physics, Settings};
use sphere_simcluster::exporter::Exporter;
use std::sync::Arc;
use std::time::Duration;

/// The course of some hours under a trivial policy: pages, orders and scores, all of it.
async fn course(seed: u64, look_s: u64) -> String {
    let mut config = one(synthetic(150.0));
    config.seed = seed;
    let (cluster, clock) = cluster(&config);
    let workload = by_requests("front-end");
    let mut text = String::new();
    for round in 1..=240u64 {
        for second in (look_s..=30).step_by(look_s as usize) {
            clock.set(after((round - 1) * 30 + second));
            cluster.catch_up().await;
        }
        let sample = cluster.samples(std::slice::from_ref(&workload), clock.now()).await.remove(0).unwrap();
        let wanted = (sample.demand.unwrap() / 7.0).ceil() as u32;
        let from = cluster.scale(&workload).await.unwrap().unwrap().spec_replicas as u32;
        assert_eq!(cluster.set_replicas(&workload, from, wanted).await, Ok(Applied::Done));
        text += &format!("{sample:?} {from} {wanted}\n");
    }
    text += &Exporter::new(cluster.clone()).page().unwrap();
    text + &format!("{:?}", cluster.scores())
}

#[tokio::test]
async fn the_same_orders_give_the_same_course_however_often_somebody_looks() {
    let course_of_one = course(1, 30).await;
    assert_eq!(course_of_one, course(1, 30).await);
    assert_eq!(course_of_one, course(1, 3).await);
    assert_ne!(course_of_one, course(2, 30).await);
}

#[tokio::test]
async fn an_order_for_a_size_that_moved_touches_nothing() {
    let (cluster, _) = cluster(&one(synthetic(150.0)));
    let workload = by_requests("front-end");
    let size = || async { cluster.scale(&workload).await.unwrap().unwrap().spec_replicas as u32 };
    let first = size().await;
    assert_eq!(cluster.set_replicas(&workload, first, first + 3).await, Ok(Applied::Done));
    let moved = cluster.set_replicas(&workload, first, first + 9).await;
    assert_eq!(moved, Ok(Applied::Moved { replicas: first + 3 }));
    assert_eq!(size().await, first + 3);
    let over = cluster.set_replicas(&workload, first + 3, 101).await;
    assert!(matches!(&over, Err(TargetError::NotScalable(text)) if text.contains("quota")), "{over:?}");
    let stranger = cluster.scale(&by_requests("stranger")).await;
    assert!(matches!(&stranger, Err(TargetError::NotScalable(text)) if text.contains("stranger")));
}

#[tokio::test]
async fn start_ups_are_told_once_and_follow_the_law() {
    let (cluster, clock) = cluster(&one(synthetic(150.0)));
    let workload = by_requests("front-end");
    let first = cluster.scale(&workload).await.unwrap().unwrap().spec_replicas as u32;
    cluster.set_replicas(&workload, first, first + 60).await.unwrap();
    assert_eq!(cluster.startups(&workload).await, Ok(vec![]));
    clock.set(after(300));
    let took = cluster.startups(&workload).await.unwrap();
    assert_eq!(took.len(), 60);
    let mean = took.iter().map(Duration::as_secs_f64).sum::<f64>() / 60.0;
    assert!((24.0..36.0).contains(&mean), "{mean}");
    assert_eq!(cluster.startups(&workload).await, Ok(vec![]));
}

#[tokio::test]
async fn a_floor_moves_the_hpa_inside_and_only_there() {
    let mut config = one(synthetic(150.0));
    config.workloads[0].hpa = Some(60);
    let (cluster, clock) = cluster(&config);
    let workload = by_requests("front-end");
    let size = || async { cluster.scale(&workload).await.unwrap().unwrap().spec_replicas };
    clock.set(after(600));
    let by_itself = size().await;
    assert!(by_itself < 30, "{by_itself}");
    assert_eq!(cluster.set_floor(&workload, Some(40)).await, Ok(Applied::Done));
    clock.set(after(630));
    assert_eq!(size().await, 40, "below its minimum an HPA needs no metric");
    assert_eq!(cluster.set_floor(&workload, None).await, Ok(Applied::Done));
    clock.set(after(1500));
    let given_back = size().await;
    assert!(given_back < 30, "{given_back}");
    assert!(cluster.set_floor(&workload, Some(101)).await.is_err());

    let (without, _) = common::cluster(&one(synthetic(150.0)));
    let refused = without.set_floor(&workload, Some(3)).await;
    assert!(
        matches!(&refused, Err(TargetError::NotScalable(text)) if text.contains("no HPA")),
        "{refused:?}"
    );
}

#[tokio::test]
async fn demand_is_told_in_the_unit_asked_for() {
    let mut config = one(trace());
    config.physics = Physics::Loss;
    config.workloads[0].cpu_per_pod = 0.5;
    config.workloads[0].initial_replicas = Some(4);
    // Half an hour of history at 20/s, then 30/s, then more than four pods can do.
    let rates = [vec![Some(20.0); 180], vec![Some(30.0); 30], vec![Some(90.0); 30]].concat();
    let (cluster, clock) = cluster_of(&config, &rates);
    let both = [by_cpu("front-end"), by_requests("front-end")];
    clock.set(after(100));
    let [cpu, requests] = cluster.samples(&both, after(100)).await.try_into().unwrap();
    let (cpu, requests) = (cpu.unwrap(), requests.unwrap());
    assert_eq!((cpu.demand, cpu.capacity_per_pod, cpu.censored), (Some(1.5), Some(0.5), false));
    assert_eq!((requests.demand, requests.capacity_per_pod), (Some(30.0), None));
    assert_eq!((cpu.replicas, cpu.ready, cpu.at), (Some(4), Some(4), after(100)));

    clock.set(after(400));
    let [cpu, requests] = cluster.samples(&both, after(400)).await.try_into().unwrap();
    let (cpu, requests) = (cpu.unwrap(), requests.unwrap());
    assert_eq!((cpu.demand, cpu.censored), (Some(2.0), true), "pods at their limit hide demand");
    assert_eq!((requests.demand, requests.censored), (Some(90.0), false));
    let earlier = cluster.samples(&both[1..], after(100)).await.remove(0).unwrap();
    assert_eq!(earlier.demand, Some(30.0), "an earlier step is remembered");
}

#[tokio::test]
async fn what_is_not_known_is_an_error_with_its_name() {
    let (cluster, _) = cluster(&one(synthetic(100.0)));
    let mut spec = by_requests("front-end").spec.clone();
    spec.forecast.demand.requests = None;
    spec.forecast.demand.query = Some("sum(rate(orders_total[1m]))".into());
    let asked = [Arc::new(Workload::new(spec).unwrap()), by_requests("stranger"), by_requests("front-end")];
    let answers = cluster.samples(&asked, START).await;
    let detail = |i: usize| match &answers[i] {
        Err(SourceError::NoData { detail, .. }) => detail.clone(),
        other => panic!("{other:?}"),
    };
    assert!(detail(0).contains("orders_total"), "{}", detail(0));
    assert!(detail(1).contains("stranger"), "{}", detail(1));
    assert!(answers[2].is_ok());
    let late = cluster.samples(&asked[2..], after(3600)).await.remove(0);
    assert!(matches!(late, Err(SourceError::NoData { .. })), "an hour old is stale: {late:?}");
}

#[tokio::test]
async fn an_unrecorded_bin_is_absent_not_zero() {
    let mut rates = vec![Some(20.0); 240];
    rates[190..200].fill(None);
    let (cluster, clock) = cluster_of(&one(trace()), &rates);
    let workload = [by_requests("front-end")];
    clock.set(after(170));
    assert_eq!(cluster.samples(&workload, after(170)).await.remove(0).unwrap().demand, None);
    let live = cluster.live(&workload, after(170)).await.remove(0).unwrap();
    assert_eq!((live.sample.demand, live.violated_share, live.utilization), (None, None, None));
    clock.set(after(300));
    let history =
        cluster.history(&workload, START, after(300), Duration::from_secs(10)).await.remove(0).unwrap();
    let missing: Vec<u64> =
        history.iter().filter(|(_, v)| v.is_none()).map(|(at, _)| at.since(START).as_secs()).collect();
    assert_eq!(missing, (11..=20).map(|k| k * 10).collect::<Vec<_>>());
}

#[tokio::test]
async fn history_goes_on_where_the_trace_before_the_start_ends() {
    let mut config = one(trace());
    config.physics = Physics::Loss;
    let rates: Vec<Option<f64>> = (0..240).map(|i| Some(f64::from(i))).collect();
    let (cluster, clock) = cluster_of(&config, &rates);
    clock.set(after(100));
    let workload = [by_requests("front-end")];
    let ask = |from, to, step| cluster.history(&workload, from, to, Duration::from_secs(step));
    let tens = ask(START - Duration::from_secs(100), after(100), 10).await.remove(0).unwrap();
    let expected: Vec<(Timestamp, Option<f64>)> = (0..20u32)
        .map(|k| (START - Duration::from_secs(90) + Duration::from_secs(10) * k, Some(f64::from(170 + k))))
        .collect();
    assert_eq!(tens, expected);
    let minute = ask(START - Duration::from_secs(60), START, 60).await.remove(0).unwrap();
    assert_eq!(minute, [(START, Some(176.5))]);
    let before = ask(START - Duration::from_secs(1820), START - Duration::from_secs(1790), 10)
        .await
        .remove(0)
        .unwrap();
    let values: Vec<_> = before.iter().map(|(_, v)| *v).collect();
    assert_eq!(values, [None, None, Some(0.0)], "the trace begins half an hour before");
    assert!(matches!(ask(START, after(100), 0).await.remove(0), Err(SourceError::BadAnswer { .. })));
}

/// The live answer as the HPA gets it.
fn snapshot_of<R>(live: &Live, replicas: i32, f: impl FnOnce(&Snapshot<'_>) -> R) -> R {
    let readings: Vec<Reading<'_>> = live.readings.iter().map(LiveReading::borrow).collect();
    let scale = sphere_scaling::hpa::Scale { spec_replicas: replicas, status_replicas: replicas };
    f(&Snapshot { scale: Some(scale), selector: Selector::Valid, pods: &live.pods, readings: &readings })
}

#[tokio::test]
async fn live_readings_lead_to_the_proposal_of_the_simulators_hpa() {
    for physics in [Physics::Queue, Physics::Loss] {
        let mut config = one(synthetic(200.0));
        config.physics = physics;
        let settings: Settings = config.workloads[0].settings(&config);
        let (cluster, clock) = cluster(&config);
        let cpu_spec = hpa_spec(HpaSignal::CpuPct(60), &settings);
        let rps_spec = hpa_spec(HpaSignal::RequestsPct(80), &settings);
        let mut workload = by_requests("front-end").as_ref().clone();
        let both = [cpu_spec.metrics.clone(), rps_spec.metrics.clone()].concat();
        workload.spec.metrics = both;
        let workload = [Arc::new(workload)];
        let mut buffers = HpaView::new(&settings);
        let mut proposals = std::collections::BTreeSet::new();
        for round in 1..200u64 {
            clock.set(after(round * 35));
            let live = cluster.live(&workload, clock.now()).await.remove(0).unwrap();
            let view = cluster.view(&workload[0].id).unwrap();
            let now = after(round * 35 / u64::from(physics.tick_s()) * u64::from(physics.tick_s()));
            for (signal, spec, place) in
                [(HpaSignal::CpuPct(60), &cpu_spec, 0), (HpaSignal::RequestsPct(80), &rps_spec, 1)]
            {
                let theirs = buffers.with(signal, now, &view, |seen| {
                    Hpa::new(spec.clone(), HpaConfig::default()).evaluate(now, seen)
                });
                let only = Live { readings: vec![live.readings[place].clone()], ..live.clone() };
                let ours = snapshot_of(&only, view.replicas as i32, |seen| {
                    Hpa::new(spec.clone(), HpaConfig::default()).evaluate(now, seen)
                });
                assert_eq!(ours, theirs, "{physics:?} {signal:?} round {round}");
                proposals.insert(ours.desired);
            }
            let wanted = 5 + (round * 7 % 23) as u32;
            cluster.set_replicas(&workload[0], view.replicas, wanted).await.unwrap();
        }
        assert!(proposals.len() > 10, "too little happened: {proposals:?}");
    }
}

#[tokio::test]
async fn metrics_nobody_serves_are_unavailable_and_served_ones_are_not() {
    let (cluster, clock) = cluster(&one(synthetic(200.0)));
    let external = |name: &str| MetricSpec::External {
        external: ExternalMetric {
            metric: MetricIdentifier { name: name.into(), selector: None },
            target: MetricTarget::average(8000),
        },
    };
    let mut workload = by_requests("front-end").as_ref().clone();
    workload.spec.metrics =
        vec![external("requests_per_second"), external("queue_length"), MetricSpec::Unknown];
    clock.set(after(60));
    let live = cluster.live(&[Arc::new(workload)], after(60)).await.remove(0).unwrap();
    assert!(matches!(&live.readings[0], LiveReading::External(series) if series[0] > 10_000));
    assert_eq!(live.readings[1], LiveReading::Unavailable(MetricError::NoMetrics));
    assert_eq!(live.readings[2], LiveReading::Unavailable(MetricError::UnknownSource));
}
