//! Does the operator work with the real components that it can be told to use: Prometheus, Kafka, Redis?

// A test that can not go on has nobody to return an error to.
#![allow(clippy::unwrap_used)]

use serde_json::{Value, json};
use sphere_e2e::{App, Autoscaler, Installation, Patience, Report, Rig, Space, eventually, throughout};
use sphere_testkit::kafka::{Kafka, Options};
use sphere_testkit::prometheus::Prometheus;
use sphere_testkit::redis::Redis;
use std::time::Duration;

/// Starting a component blocks.
async fn started<T: Send + 'static>(start: impl FnOnce() -> anyhow::Result<T> + Send + 'static) -> T {
    tokio::task::spawn_blocking(start).await.unwrap().unwrap()
}

/// A Prometheus that scrapes what the control plane exports.
async fn prometheus(rig: &Rig) -> Prometheus {
    let target = rig.harness.address().trim_start_matches("http://").to_owned();
    started(move || Prometheus::start(&[target], Duration::from_secs(5))).await
}

/// A namespace with the workload `web`, and what the operator needs for it.
async fn stage(name: &str) -> (Rig, Space, Installation) {
    let rig = Rig::attach().await;
    let space = rig.space(name).await;
    space.deploy("web", App::default()).await;
    let installed = Installation::new(&rig, &[&space]).await;
    (rig, space, installed)
}

async fn status(
    space: &Space,
    what: &str,
    patience: Patience,
    good: impl Fn(&Autoscaler) -> bool,
) -> Autoscaler {
    eventually(what, patience, async || {
        let now = space.read("web").await?;
        if good(&now) { Ok(now) } else { Err(now.0["status"].to_string()) }
    })
    .await
}

/// Demand in requests per second, of which a pod takes 25.
fn in_requests() -> Value {
    json!({
        "maxReplicas": 10, "minReplicas": 2, "mode": "Full", "capacityPerPod": 25, "startupSeconds": 5,
        "forecast": {"demand": {"requests": {"counter": "http_requests_total", "label": "pod"}}},
        "behavior": {"scaleDown": {"stabilizationWindowSeconds": 30}},
    })
}

#[tokio::test]
#[ignore = "needs a control plane: make e2e"]
async fn requests_that_prometheus_counts_are_foreseen_and_scaled_for() {
    let mut report = Report::begin("requests_that_prometheus_counts_are_foreseen_and_scaled_for");
    let (rig, space, installed) = stage("prometheus").await;
    let prometheus = prometheus(&rig).await;
    // So little CPU that an HPA is content with the minimum: what comes on top comes from the forecast of requests.
    let demand = json!({"cores": 0.2, "requests_per_second": 130});
    rig.harness.demand(&space.name, "web", demand).await;
    let source = json!({"source": {"prometheus": {"url": prometheus.url()}}});
    let operator = installed.start("a", source).await;
    space.autoscaler("web", in_requests()).await;
    let now = status(&space, "the forecast of requests is followed", Patience::FORECAST, |now| {
        now.number("predictiveReplicas").is_some_and(|n| n >= 6) && now.number("reactiveReplicas") == Some(2)
    })
    .await;
    space.ready("web", u32::try_from(now.number("desiredReplicas").unwrap()).unwrap()).await;
    report.figure(format!(
        "130 requests/s at 25 per pod: {} replicas by forecast, {} by the HPA's calculation, after {:.0} s",
        now.number("predictiveReplicas").unwrap(),
        now.number("reactiveReplicas").unwrap(),
        rig.harness.score(&space.name, "web").await.seconds
    ));
    let failed = operator.metric("sphere_errors_total", &["bad_answer"]).await.unwrap_or(0.0);
    assert_eq!(failed, 0.0, "all of its queries are understood");
}

#[tokio::test]
#[ignore = "needs a control plane: make e2e"]
async fn queries_that_can_not_be_read_are_told_and_work_once_mended() {
    let mut report = Report::begin("queries_that_can_not_be_read_are_told_and_work_once_mended");
    let (rig, space, installed) = stage("badquery").await;
    let prometheus = prometheus(&rig).await;
    rig.harness.demand(&space.name, "web", json!({"cores": 0.2, "requests_per_second": 60})).await;
    let mut operator =
        installed.start("a", json!({"source": {"prometheus": {"url": prometheus.url()}}})).await;
    let query = format!("sum(rate(http_requests_total{{namespace=\"{}\"}}[30s]))", space.name);
    let metric = json!([{"type": "External", "external": {"metric": {"name": "rps"}, "target": {"type": "AverageValue", "averageValue": "25"}}}]);
    let spec = |query: &str| {
        json!({
            "maxReplicas": 10, "minReplicas": 2, "mode": "ScaleOut", "capacityPerPod": 25, "metrics": metric,
            "queries": {"rps": query}, "forecast": {"demand": {"query": query}},
        })
    };
    space.autoscaler("web", spec("sum(rate(http_requests_total[30s])")).await;
    for (kind, reason) in [("ScalingActive", "MetricsUnusable"), ("ForecastReady", "DemandUnusable")] {
        let now = status(&space, &format!("{kind} tells of the query"), Patience::DECISION, |now| {
            now.condition(kind).is_some_and(|(status, why, _)| status == "False" && why == reason)
        })
        .await;
        let (_, _, message) = now.condition(kind).unwrap();
        assert!(message.contains("parse error"), "what Prometheus said: {message}");
        report.figure(format!("{kind}: {reason}: {message}"));
    }
    for reason in ["MetricsUnusable", "DemandUnusable"] {
        eventually(&format!("an event {reason}"), Patience::DECISION, async || {
            let events = space.events("web").await;
            if events.iter().any(|(name, _)| name == reason) { Ok(()) } else { Err(format!("{events:?}")) }
        })
        .await;
    }
    throughout("nothing moves", Duration::from_secs(20), async || match space.replicas("web").await? {
        2 => Ok(()),
        other => Err(format!("{other} replicas")),
    })
    .await;
    assert!(operator.runs(), "log: {}", operator.log.display());
    space.edit_autoscaler("web", spec(&query)).await;
    status(&space, "it works once mended", Patience::DECISION, |now| {
        now.holds("ScalingActive", "True") && now.holds("ForecastReady", "True")
    })
    .await;
    space.ready("web", 3).await;
}

#[tokio::test]
#[ignore = "needs a control plane: make e2e"]
async fn through_a_real_kafka_and_redis_it_scales_and_without_them_it_reacts() {
    let mut report = Report::begin("through_a_real_kafka_and_redis_it_scales_and_without_them_it_reacts");
    let (rig, space, installed) = stage("kafka").await;
    let options = Options { brokers: 1, ..Options::default() };
    let mut kafka = started(move || Kafka::with(&options)).await;
    let mut redis = started(Redis::start).await;
    let components = json!({
        "bus": {"kafka": {"brokers": kafka.bootstrap(), "partitions": 3, "replication": 1}},
        "store": {"redis": {"nodes": [redis.address()]}},
    });
    let operator = installed.start("a", components).await;
    space.autoscaler("web", json!({"maxReplicas": 10, "minReplicas": 2, "mode": "ScaleOut"})).await;
    rig.harness.cores(&space.name, "web", 1.2).await;
    status(&space, "the forecast has come through Kafka and is trusted", Patience::FORECAST, |now| {
        now.holds("ForecastTrusted", "True") && now.number("predictiveReplicas").is_some()
    })
    .await;
    report.figure(format!("trusted after {:.0} s", rig.harness.score(&space.name, "web").await.seconds));
    let kept = redis.cli(&["--scan", "--pattern", "sphere:*"]).unwrap();
    for part in [":prediction", ":decision", ":sample"] {
        assert!(kept.lines().any(|key| key.contains(&space.name) && key.ends_with(part)), "{part}: {kept}");
    }
    let maps =
        rig.kubectl(&["get", "configmaps", "-n", &installed.home.name, "-o", "name"], None).await.unwrap();
    assert!(!maps.contains("sphere-state"), "what Redis keeps is not in ConfigMaps, too: {maps}");
    // Both die; what is left is an HPA.
    kafka.broker(0).kill();
    redis.process.kill();
    rig.harness.cores(&space.name, "web", 3.0).await;
    // 7.5 pods at 80 %, and seven are within the tolerance.
    eventually("it still reacts", Patience::FORECAST, async || match space.replicas("web").await? {
        enough if enough >= 7 => Ok(()),
        other => Err(format!("{other} replicas")),
    })
    .await;
    report.figure(format!(
        "after both died it reacted within {:.0} s",
        rig.harness.score(&space.name, "web").await.seconds
    ));
    status(&space, "the forecast is missed", Patience::DECISION, |now| now.holds("ForecastReady", "False"))
        .await;
    // And come back.
    let _alive = started(move || {
        redis.restart()?;
        kafka.restart(0)?;
        Ok((kafka, redis))
    })
    .await;
    status(&space, "the forecast is back", Patience::FORECAST, |now| now.holds("ForecastReady", "True"))
        .await;
    drop(operator);
}
