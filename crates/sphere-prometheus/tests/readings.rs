//! What does the source say about workloads that a real Prometheus watches?

#![allow(clippy::unwrap_used, reason = "helpers of tests: a failing test is the message")]

mod common;

use common::*;
use sphere_core::Sample;
use sphere_pipeline::workload::RequestsDemand;
use sphere_pipeline::{LiveReading, MetricSource, SourceError};
use sphere_prometheus::{Prometheus, PrometheusConfig};
use sphere_scaling::hpa::{
    ConditionStatus, ExternalMetric, MetricError, MetricIdentifier, MetricSpec, MetricTarget, Request,
};
use sphere_testkit::prometheus::{Page, Prometheus as Server};

/// `web`: two pods of 0.6 and 0.4 cores. Beside it a workload whose name begins alike.
fn shop() -> Cluster {
    let mut fixed = Page::default();
    replica_set(&mut fixed, "web-7d9f8b6c5d", "web");
    replica_set(&mut fixed, "web-api-6c5d7d9f8b", "web-api");
    replicas(&mut fixed, "web", 3, 2);
    replicas(&mut fixed, "web-api", 1, 1);
    replicas(&mut fixed, "idle", 0, 0);
    let mut busy = Pod::new("web-7d9f8b6c5d-zx5k2", ("ReplicaSet", "web-7d9f8b6c5d"), 0.6);
    busy.requests = Some(30.0);
    let mut calm = Pod::new("web-7d9f8b6c5d-bcdfg", ("ReplicaSet", "web-7d9f8b6c5d"), 0.4);
    calm.requests = Some(10.0);
    let other = Pod::new("web-api-6c5d7d9f8b-k2zx5", ("ReplicaSet", "web-api-6c5d7d9f8b"), 3.0);
    Cluster::start(vec![busy, calm, other], fixed)
}

#[tokio::test]
async fn demand_capacity_and_replicas_are_right_and_so_is_what_the_hpa_sees() {
    let cluster = shop();
    let server = Server::start(&[cluster.exporter.target()], SECOND).unwrap();
    let source = source(&server);
    let all = workloads(vec![workload("shop/Deployment/web")]);
    let sample = demand_until(&source, &all, 1.0).await;
    let expected = Sample {
        workload: all[0].id.clone(),
        at: sample.at,
        demand: sample.demand,
        capacity_per_pod: Some(1.0),
        replicas: Some(3),
        ready: Some(2),
        censored: false,
        memory_bytes: Some(2_000_000),
        source: "prometheus".into(),
    };
    assert_eq!(sample, expected);

    let live = source.live(&all, now()).await.remove(0).unwrap();
    assert_eq!(live.pods.len(), 2);
    assert!(live.pods.iter().all(|pod| pod.serves() && !pod.deleted));
    assert_eq!(live.pods[0].ready.unwrap().since.millis(), 1_000_000);
    assert_eq!(live.pods[0].ready.unwrap().status, ConditionStatus::True);
    assert_eq!(live.pods[0].started_at.unwrap().millis(), 990_000);
    assert!(live.mean_ready.is_some_and(|n| (n - 2.0).abs() < 1e-9));
    let [LiveReading::PerPod(readings)] = live.readings.as_slice() else { panic!("{:?}", live.readings) };
    // Pods are sorted by name.
    for (reading, cores) in readings.pods.iter().zip([0.4, 0.6]) {
        let sample = reading.sample.unwrap();
        assert!((sample.value_milli as f64 / 1000.0 - cores).abs() < 0.06 * cores, "{sample:?}");
        assert_eq!(reading.request, Request::Milli(500));
        assert!(now().since(sample.at) < LIMIT && sample.window_ms == 5000);
    }
    assert!(readings.strays_milli.is_empty());
}

#[tokio::test]
async fn requests_are_counted_by_pod_and_pods_at_their_limit_censor_the_demand() {
    let cluster = shop();
    let server = Server::start(&[cluster.exporter.target()], SECOND).unwrap();
    let source = source(&server);
    let mut spec = workload("shop/Deployment/web");
    let counter = "http_request_duration_seconds_count".to_owned();
    spec.forecast.demand.requests = Some(RequestsDemand { counter, label: "pod".into() });
    spec.capacity_per_pod = Some(25.0);
    let by_requests = workloads(vec![spec]);
    let sample = demand_until(&source, &by_requests, 40.0).await;
    assert_eq!((sample.capacity_per_pod, sample.censored), (Some(25.0), false));
    for pod in ["web-7d9f8b6c5d-zx5k2", "web-7d9f8b6c5d-bcdfg"] {
        cluster.change(pod, |pod| pod.cores = 0.99);
    }
    let censored = |answer: &Result<Sample, SourceError>| answer.as_ref().is_ok_and(|s| s.censored);
    let all = workloads(vec![workload("shop/Deployment/web")]);
    sample_until(&source, &all, |a| censored(a) && a.as_ref().is_ok_and(|s| s.demand < Some(2.1)))
        .await
        .unwrap();
}

#[tokio::test]
async fn a_counter_that_starts_again_makes_no_negative_and_no_huge_demand() {
    let cluster = shop();
    let server = Server::start(&[cluster.exporter.target()], SECOND).unwrap();
    let source = source(&server);
    let all = workloads(vec![workload("shop/Deployment/web")]);
    demand_until(&source, &all, 1.0).await;
    *cluster.origin.lock().unwrap() = std::time::Instant::now();
    let started = std::time::Instant::now();
    while started.elapsed().as_secs() < 8 {
        let demand = source.samples(&all, now()).await.remove(0).unwrap().demand.unwrap();
        assert!((0.0..1.3).contains(&demand), "{demand}");
        tokio::time::sleep(std::time::Duration::from_millis(200)).await;
    }
    demand_until(&source, &all, 1.0).await;
}

#[tokio::test]
async fn a_lost_node_voids_the_demand_and_a_deleted_pod_lowers_it() {
    let cluster = shop();
    let server = Server::start(&[cluster.exporter.target()], SECOND).unwrap();
    let source = source(&server);
    let all = workloads(vec![workload("shop/Deployment/web")]);
    demand_until(&source, &all, 1.0).await;
    // The pod is there, its node is not scraped: never 0.6 cores.
    cluster.change("web-7d9f8b6c5d-bcdfg", |pod| pod.seen = false);
    let lost = sample_until(&source, &all, |answer| {
        let demand = answer.as_ref().ok().and_then(|sample| sample.demand);
        assert!(demand.is_none_or(|demand| demand > 0.9), "silently low: {demand:?}");
        answer.is_err()
    });
    let error = lost.await.unwrap_err();
    assert!(matches!(&error, SourceError::NoData { detail, .. } if detail.contains("1 of 2")), "{error}");
    let live = source.live(&all, now()).await.remove(0).unwrap();
    let [LiveReading::PerPod(readings)] = live.readings.as_slice() else { panic!("{:?}", live.readings) };
    assert_eq!(readings.pods.iter().filter(|pod| pod.sample.is_none()).count(), 1);
    // It is deleted: now 0.6 cores is the truth.
    cluster.change("web-7d9f8b6c5d-bcdfg", |pod| pod.exists = false);
    demand_until(&source, &all, 0.6).await;
}

#[tokio::test]
async fn what_was_scraped_too_long_ago_is_absent_even_where_prometheus_still_returns_it() {
    let cluster = shop();
    let mut server = Server::start(&[cluster.exporter.target()], SECOND).unwrap();
    let source = source(&server);
    let mut queried = workload("shop/Deployment/web-api");
    queried.forecast.demand.query = Some("kube_deployment_spec_replicas{deployment=\"web\"}".into());
    let both = workloads(vec![workload("shop/Deployment/web"), queried]);
    demand_until(&source, &both[..1], 1.0).await;
    let last = now();
    assert_eq!(source.samples(&both, last).await[1].as_ref().unwrap().demand, Some(3.0));
    // Nothing is scraped any more and no series is marked as ended: as after a crash of Prometheus.
    server.process.kill();
    server.set_targets(&[]).unwrap();
    server.restart().unwrap();
    let stale = |answer: &Result<Sample, SourceError>| matches!(answer, Err(SourceError::NoData { .. }));
    sample_until(&source, &both[1..], stale).await.unwrap_err();
    // Prometheus itself would still say 3.
    let mut raw = workload("shop/Deployment/web-api");
    raw.forecast.demand.query = Some("sum(kube_deployment_spec_replicas{deployment=\"web\"})".into());
    assert_eq!(source.samples(&workloads(vec![raw]), now()).await[0].as_ref().unwrap().demand, Some(3.0));
    sample_until(&source, &both[..1], stale).await.unwrap_err();
    // What was known of pods and replicas is stale, too.
    assert!(source.live(&both[..1], now()).await[0].is_err());
    // Asked about the time before, it still knows.
    let then = source.samples(&both[..1], last).await.remove(0).unwrap();
    assert!(then.demand.is_some_and(|demand| (demand - 1.0).abs() < 0.1), "{then:?}");
    assert_eq!((then.at, then.replicas), (last, Some(3)));
}

#[tokio::test]
async fn nothing_is_no_data_and_zero_replicas_are_known() {
    let cluster = shop();
    let server = Server::start(&[cluster.exporter.target()], SECOND).unwrap();
    let source = source(&server);
    let web = workloads(vec![workload("shop/Deployment/web")]);
    demand_until(&source, &web, 1.0).await;
    let all = workloads(vec![
        workload("shop/Deployment/nowhere"),
        workload("elsewhere/Deployment/web"),
        workload("shop/Deployment/idle"),
    ]);
    let answers = source.samples(&all, now()).await;
    assert!(matches!(answers[0], Err(SourceError::NoData { .. })), "{:?}", answers[0]);
    assert!(matches!(answers[1], Err(SourceError::NoData { .. })), "{:?}", answers[1]);
    let idle = answers[2].as_ref().unwrap();
    assert_eq!((idle.demand, idle.replicas, idle.ready), (None, Some(0), Some(0)));
    let live = source.live(&all, now()).await;
    assert!(matches!(live[0], Err(SourceError::NoData { .. })), "{:?}", live[0]);
    assert_eq!(live[2].as_ref().unwrap().readings, [LiveReading::Unavailable(MetricError::NoPods)]);
}

#[tokio::test]
async fn queries_of_the_user_are_judged_one_by_one() {
    let cluster = shop();
    cluster.fixed.lock().unwrap().set("queue", r#"queue="a""#, 5.0).set("queue", r#"queue="b""#, 7.5);
    let server = Server::start(&[cluster.exporter.target()], SECOND).unwrap();
    let source = source(&server);
    let web = workloads(vec![workload("shop/Deployment/web")]);
    demand_until(&source, &web, 1.0).await;
    let queries = [
        "sum(queue)",
        "queue",
        "queue{queue=\"a\"} / 0 * 0",
        "sum(nothing)",
        "sum(queue",
        "scalar(sum(queue))",
    ];
    let all = workloads(
        queries
            .iter()
            .enumerate()
            .map(|(i, query)| {
                let mut spec = workload(&format!("shop/Deployment/q{i}"));
                spec.forecast.demand.query = Some((*query).into());
                let external = |name: &str| MetricSpec::External {
                    external: ExternalMetric {
                        metric: MetricIdentifier { name: name.into(), selector: None },
                        target: MetricTarget::value(1000),
                    },
                };
                spec.metrics = vec![external("depth"), external("unasked")];
                spec.queries.insert("depth".into(), (*query).into());
                spec
            })
            .collect(),
    );
    let answers = source.samples(&all, now()).await;
    assert_eq!(answers[0].as_ref().unwrap().demand, Some(12.5));
    assert!(matches!(&answers[1], Err(SourceError::BadAnswer { detail, .. }) if detail.contains("2 series")));
    assert!(matches!(&answers[2], Err(SourceError::NoData { detail, .. }) if detail.contains("NaN")));
    assert!(matches!(&answers[3], Err(SourceError::NoData { .. })), "{:?}", answers[3]);
    let unparsable = answers[4].as_ref().unwrap_err().to_string();
    assert!(matches!(answers[4], Err(SourceError::BadAnswer { .. })));
    assert!(unparsable.contains("parse error") && unparsable.contains("query: sum(queue)"), "{unparsable}");
    assert_eq!(answers[5].as_ref().unwrap().demand, Some(12.5));

    let live = source.live(&all, now()).await;
    let readings = |i: usize| live[i].as_ref().map(|live| live.readings.clone());
    let unasked = LiveReading::Unavailable(MetricError::NoMetrics);
    assert_eq!(readings(0).unwrap(), [LiveReading::External(vec![12_500]), unasked.clone()]);
    let Ok([LiveReading::External(mut values), _]) = readings(1).map(|r| <[_; 2]>::try_from(r).unwrap())
    else {
        panic!("{:?}", live[1])
    };
    values.sort_unstable();
    assert_eq!(values, [5000, 7500]);
    assert!(live[3].is_err() && live[4].is_err());
}

#[tokio::test]
async fn tls_and_a_password_are_used_and_a_wrong_one_is_told_without_it() {
    let cluster = shop();
    let mut options = sphere_testkit::prometheus::Options::new(&[cluster.exporter.target()], SECOND);
    options.prefix = Some("/metrics-store".into());
    options.tls = true;
    options.basic_auth = Some(("sphere".into(), "hunter2-right".into()));
    let server = Server::start_with(options).unwrap();
    let dir = tempfile::tempdir().unwrap();
    let password = dir.path().join("password");
    std::fs::write(&password, "hunter2-right\n").unwrap();
    let config: PrometheusConfig = serde_json::from_value(serde_json::json!({
        "url": server.url(),
        "auth": {"basic": {"username": "sphere", "passwordFile": password}},
        "tls": {"caFile": server.ca_file()},
        "rateWindowSeconds": 5,
        "staleAfterSeconds": 4,
    }))
    .unwrap();
    let source = Prometheus::new(config.clone()).unwrap();
    source.check().await.unwrap();
    demand_until(&source, &workloads(vec![workload("shop/Deployment/web")]), 1.0).await;
    // Rotated: the file is read again.
    std::fs::write(&password, "hunter2-wrong").unwrap();
    let error = source.check().await.unwrap_err();
    assert!(matches!(&error, SourceError::BadAnswer { detail, .. } if detail.contains("401")), "{error}");
    assert!(!format!("{error} {error:?} {config:?}").contains("hunter2"));
    // An authority that did not sign it.
    let stranger = Prometheus::new(PrometheusConfig { tls: None, ..config }).unwrap();
    let error = stranger.check().await.unwrap_err();
    assert!(matches!(error, SourceError::Unavailable { .. }), "{error}");
}
