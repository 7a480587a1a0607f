//! What does the operator do while the cluster around it fails? One test at a time: what they break is there for all.

// A test that can not go on has nobody to return an error to.
#![allow(clippy::unwrap_used)]

use serde_json::{Value, json};
use sphere_e2e::{App, Installation, Operator, Patience, Report, Rig, Space, eventually, throughout};
use std::time::Duration;
use tokio::sync::{Mutex, MutexGuard};

static ONE_AT_A_TIME: Mutex<()> = Mutex::const_new(());

struct Stage {
    rig: Rig,
    space: Space,
    installed: Installation,
    operator: Operator,
    _alone: MutexGuard<'static, ()>,
}

/// A workload in mode Full that was scaled out to six pods and needs them.
async fn stage(name: &str) -> Stage {
    let alone = ONE_AT_A_TIME.lock().await;
    let rig = Rig::attach().await;
    rig.harness.mend().await;
    let space = rig.space(name).await;
    space.deploy("web", App::default()).await;
    let installed = Installation::new(&rig, &[&space]).await;
    let operator = installed.start("a", json!({})).await;
    let spec = json!({
        "maxReplicas": 10, "minReplicas": 2, "mode": "Full",
        "behavior": {"scaleDown": {"stabilizationWindowSeconds": 0}},
    });
    space.autoscaler("web", spec).await;
    rig.harness.cores(&space.name, "web", 2.4).await;
    space.ready("web", 6).await;
    Stage { rig, space, installed, operator, _alone: alone }
}

/// At least as many replicas as before.
async fn not_fewer(space: &Space, than: u32) -> Result<(), String> {
    let now = space.replicas("web").await?;
    if now >= than { Ok(()) } else { Err(format!("{now} replicas, {than} before")) }
}

/// Scales to demand again once all is well.
async fn recovers(stage: &Stage) {
    stage.rig.harness.cores(&stage.space.name, "web", 3.6).await;
    eventually("it follows demand again", Patience::DECISION, async || {
        match stage.space.replicas("web").await? {
            enough if enough >= 9 => Ok(()),
            other => Err(format!("{other} replicas")),
        }
    })
    .await;
}

#[tokio::test]
#[ignore = "needs a control plane: make e2e"]
async fn nothing_is_scaled_in_because_metrics_are_missing() {
    let mut report = Report::begin("nothing_is_scaled_in_because_metrics_are_missing");
    let mut stage = stage("nometrics").await;
    let own = stage.space.name.clone();
    let faults = [
        json!({"kind": "down"}),
        json!({"kind": "unavailable", "namespace": own}),
        json!({"kind": "garbage", "namespace": own, "body": "truncated"}),
        json!({"kind": "garbage", "namespace": own, "body": "html"}),
        json!({"kind": "garbage", "namespace": own, "body": "quantities"}),
        json!({"kind": "garbage", "namespace": own, "body": "negative"}),
        json!({"kind": "empty", "namespace": own}),
        json!({"kind": "partial", "namespace": own, "share": 0.7}),
        json!({"kind": "slow", "namespace": own, "delay_seconds": 40}),
        json!({"kind": "stale", "namespace": own}),
    ];
    for fault in &faults {
        stage.rig.harness.fault("metrics.k8s.io", fault.clone()).await;
        // Longer than a scrape, a sync and a timed-out request together.
        throughout(&format!("{fault}"), Duration::from_secs(40), async || not_fewer(&stage.space, 6).await)
            .await;
        assert!(stage.operator.runs(), "{fault}: the operator ended; log: {}", stage.operator.log.display());
    }
    stage.rig.harness.fault("metrics.k8s.io", json!({"kind": "empty", "namespace": own})).await;
    eventually("the status says so", Patience::DECISION, async || {
        let now = stage.space.read("web").await?;
        if now.holds("ScalingActive", "False") {
            Ok(())
        } else {
            Err(now.0["status"]["conditions"].to_string())
        }
    })
    .await;
    stage.rig.harness.mend().await;
    recovers(&stage).await;
    report.figure(format!("{} faults, 40 s each", faults.len()));
}

#[tokio::test]
#[ignore = "needs a control plane: make e2e"]
async fn a_restart_of_the_api_server_is_survived() {
    let mut report = Report::begin("a_restart_of_the_api_server_is_survived");
    let mut stage = stage("apirestart").await;
    stage.rig.harness.restart("kube-apiserver", Duration::from_secs(20)).await;
    not_fewer(&stage.space, 6).await.unwrap();
    assert!(stage.operator.runs(), "the operator ended; log: {}", stage.operator.log.display());
    let back = std::time::Instant::now();
    recovers(&stage).await;
    report
        .figure(format!("follows demand {:.0} s after the API server is back", back.elapsed().as_secs_f64()));
}

#[tokio::test]
#[ignore = "needs a control plane: make e2e"]
async fn expired_watches_are_begun_anew() {
    let mut report = Report::begin("expired_watches_are_begun_anew");
    let mut stage = stage("expiry").await;
    let observed = stage.rig.harness.expire_watches().await;
    assert!(observed.contains("too old") || observed.contains("expired"), "watches did expire: {observed}");
    report.figure(format!("a watch from before got: {observed}"));
    // What was made after the expiry is seen: a change of the spec, and new objects.
    stage.space.deploy("later", App::default()).await;
    stage.space.autoscaler("later", json!({"maxReplicas": 5})).await;
    stage.space.edit_autoscaler("web", json!({"minReplicas": 8})).await;
    eventually("the changed minimum is obeyed", Patience::DECISION, async || {
        not_fewer(&stage.space, 8).await
    })
    .await;
    eventually("the new object has a status", Patience::DECISION, async || {
        let now = stage.space.read("later").await?;
        now.number("currentReplicas").map(drop).ok_or_else(|| now.0["status"].to_string())
    })
    .await;
    assert!(stage.operator.runs());
}

#[tokio::test]
#[ignore = "needs a control plane: make e2e"]
async fn a_killed_leader_is_replaced_and_two_never_write() {
    let mut report = Report::begin("a_killed_leader_is_replaced_and_two_never_write");
    let mut stage = stage("leader").await;
    let second = stage.installed.start("b", json!({})).await;
    let holder = async || -> Result<Value, String> {
        let args = ["get", "lease", "sphere-operator", "-n", &stage.installed.home.name, "-o", "json"];
        let text = stage.rig.kubectl(&args, None).await?;
        serde_json::from_str(&text).map_err(|error| error.to_string())
    };
    let before = holder().await.unwrap();
    let first = before["spec"]["holderIdentity"].as_str().unwrap().to_owned();
    assert!(first.starts_with('a'), "the first one leads: {before}");
    assert_eq!(second.metric("sphere_leader", &[]).await, Some(0.0), "the second one waits");
    // Killed while it is needed: demand goes up at the same moment.
    stage.rig.harness.cores(&stage.space.name, "web", 3.6).await;
    stage.operator.kill().await;
    let killed = std::time::Instant::now();
    eventually("the second one leads", Patience(Duration::from_secs(60)), async || {
        let now = holder().await?;
        let who = now["spec"]["holderIdentity"].as_str().unwrap_or_default();
        if who.starts_with('b') { Ok(()) } else { Err(format!("{who} leads")) }
    })
    .await;
    let took = killed.elapsed().as_secs_f64();
    report.figure(format!("took over after {took:.1} s with a lease of {} s", stage.installed.lease.0));
    let now = holder().await.unwrap();
    assert_eq!(now["spec"]["leaseTransitions"], 1, "one change of leaders: {now}");
    eventually("and acts", Patience::DECISION, async || not_fewer(&stage.space, 9).await).await;
}
