//! Who else wants the same target, and what is said about specs that can not be obeyed?

// A test that can not go on has nobody to return an error to.
#![allow(clippy::unwrap_used)]

use serde_json::json;
use sphere_e2e::{App, Installation, Operator, Patience, Report, Rig, Space, eventually, throughout};
use std::time::Duration;

async fn stage(name: &str, app: App) -> (Rig, Space, Installation, Operator) {
    let rig = Rig::attach().await;
    let space = rig.space(name).await;
    space.deploy("web", app).await;
    let installed = Installation::new(&rig, &[&space]).await;
    let operator = installed.start("a", json!({})).await;
    (rig, space, installed, operator)
}

async fn condition(space: &Space, name: &str, kind: &str, status: &str) -> (String, String) {
    eventually(&format!("{kind} is {status}"), Patience::DECISION, async || {
        let now = space.read(name).await?;
        match now.condition(kind) {
            Some((found, reason, message)) if found == status => Ok((reason, message)),
            _ => Err(now.0["status"].to_string()),
        }
    })
    .await
}

#[tokio::test]
#[ignore = "needs a control plane: make e2e"]
async fn beside_an_hpa_nothing_is_scaled_and_the_conflict_is_told() {
    let mut report = Report::begin("beside_an_hpa_nothing_is_scaled_and_the_conflict_is_told");
    let (rig, space, _installed, _operator) = stage("rival", App::default()).await;
    // An HPA that is content with two pods, while SPHERE, at 40 %, wants more.
    space.hpa("web", 2, 10, 95).await;
    let metrics = json!([{"type": "Resource", "resource": {"name": "cpu", "target": {"type": "Utilization", "averageUtilization": 40}}}]);
    space
        .autoscaler("web", json!({"maxReplicas": 10, "minReplicas": 2, "mode": "Full", "metrics": metrics}))
        .await;
    rig.harness.cores(&space.name, "web", 0.85).await;
    let (reason, message) = condition(&space, "web", "Conflict", "True").await;
    report.figure(format!("{reason}: {message}"));
    assert!(message.contains("HorizontalPodAutoscaler") || message.contains("HPA"), "{message}");
    throughout("hands off", Duration::from_secs(45), async || match space.replicas("web").await? {
        2 => Ok(()),
        other => Err(format!("{other} replicas")),
    })
    .await;
    space.drop_hpa("web").await;
    condition(&space, "web", "Conflict", "False").await;
    eventually("without the HPA it acts", Patience::DECISION, async || match space.replicas("web").await? {
        2 => Err("still 2 replicas".into()),
        _ => Ok(()),
    })
    .await;
}

#[tokio::test]
#[ignore = "needs a control plane: make e2e"]
async fn an_hpa_that_appears_while_sphere_scales_gets_the_target_to_itself() {
    let mut report = Report::begin("an_hpa_that_appears_while_sphere_scales_gets_the_target_to_itself");
    let (_rig, space, _installed, _operator) = stage("latecomer", App::default()).await;
    space.autoscaler("web", json!({"maxReplicas": 10, "minReplicas": 4, "mode": "Full"})).await;
    space.ready("web", 4).await;
    // Its bounds contradict SPHERE's, so that it is seen who sets the size.
    space.hpa("web", 2, 3, 80).await;
    let created = std::time::Instant::now();
    condition(&space, "web", "Conflict", "True").await;
    report.figure(format!("told {:.0} s after it was created", created.elapsed().as_secs_f64()));
    space.ready("web", 3).await;
    throughout("the HPA has its way", Duration::from_secs(45), async || {
        match space.replicas("web").await? {
            3 => Ok(()),
            other => Err(format!("{other} replicas")),
        }
    })
    .await;
    space.drop_hpa("web").await;
    condition(&space, "web", "Conflict", "False").await;
    space.ready("web", 4).await;
}

#[tokio::test]
#[ignore = "needs a control plane: make e2e"]
async fn a_metric_that_may_not_be_read_or_does_not_appear_is_named_and_used_once_it_does() {
    let mut report =
        Report::begin("a_metric_that_may_not_be_read_or_does_not_appear_is_named_and_used_once_it_does");
    let (rig, space, installed, _operator) = stage("nometric", App::default()).await;
    let metrics = json!([{"type": "External", "external": {"metric": {"name": "queue_length"}, "target": {"type": "AverageValue", "averageValue": "5"}}}]);
    let spec = json!({"maxReplicas": 10, "minReplicas": 2, "mode": "ScaleOut", "metrics": metrics});
    space.autoscaler("web", spec).await;
    let (reason, message) = condition(&space, "web", "ScalingActive", "False").await;
    report.figure(format!("{reason}: {message}"));
    assert!(message.contains("queue_length"), "{message}");
    // External metrics have to be allowed in the chart's values.
    assert!(message.contains("a role must allow verb \"list\""), "{message}");
    let group = "rbac.authorization.k8s.io";
    let rules =
        json!([{"apiGroups": ["external.metrics.k8s.io"], "resources": ["*"], "verbs": ["get", "list"]}]);
    let meta = json!({"name": "external", "namespace": space.name});
    let account = json!([{"kind": "ServiceAccount", "name": "sphere", "namespace": installed.home.name}]);
    let role = json!({"apiVersion": format!("{group}/v1"), "kind": "Role", "metadata": meta, "rules": rules});
    let binding = json!({
        "apiVersion": format!("{group}/v1"), "kind": "RoleBinding", "metadata": meta, "subjects": account,
        "roleRef": {"apiGroup": group, "kind": "Role", "name": "external"},
    });
    rig.apply(&format!("{role}\n---\n{binding}")).await;
    eventually("now it is missing", Patience::DECISION, async || {
        let now = space.read("web").await?;
        match now.condition("ScalingActive") {
            Some((_, _, text)) if text.contains("queue_length") && !text.contains("role") => Ok(()),
            other => Err(format!("{other:?}")),
        }
    })
    .await;
    rig.harness.external(&space.name, "queue_length", 20.0).await;
    condition(&space, "web", "ScalingActive", "True").await;
    space.ready("web", 4).await;
}

#[tokio::test]
#[ignore = "needs a control plane: make e2e"]
async fn of_two_autoscalers_of_one_target_the_older_acts() {
    let mut report = Report::begin("of_two_autoscalers_of_one_target_the_older_acts");
    let (_rig, space, _installed, _operator) = stage("twins", App::default()).await;
    space.autoscaler("web", json!({"maxReplicas": 10, "minReplicas": 3, "mode": "Full"})).await;
    space.ready("web", 3).await;
    let spec = json!({"maxReplicas": 10, "minReplicas": 7, "mode": "Full", "scaleTargetRef": {"kind": "Deployment", "name": "web"}});
    space.autoscaler("web-too", spec).await;
    let (reason, message) = condition(&space, "web-too", "Conflict", "True").await;
    report.figure(format!("{reason}: {message}"));
    throughout("the younger does nothing", Duration::from_secs(30), async || {
        match space.replicas("web").await? {
            3 => Ok(()),
            other => Err(format!("{other} replicas")),
        }
    })
    .await;
    space.drop_autoscaler("web").await;
    eventually("once the older is gone, the younger acts", Patience::DECISION, async || {
        match space.replicas("web").await? {
            7 => Ok(()),
            other => Err(format!("{other} replicas")),
        }
    })
    .await;
}

#[tokio::test]
#[ignore = "needs a control plane: make e2e"]
async fn somebody_who_keeps_changing_the_size_is_noticed() {
    let mut report = Report::begin("somebody_who_keeps_changing_the_size_is_noticed");
    let (_rig, space, _installed, _operator) = stage("meddler", App::default()).await;
    space.autoscaler("web", json!({"maxReplicas": 10, "minReplicas": 4, "mode": "Full"})).await;
    space.ready("web", 4).await;
    let mut meddled = 0;
    let (reason, message) =
        eventually("the conflict is told", Patience(Duration::from_secs(400)), async || {
            let now = space.read("web").await?;
            if let Some((status, reason, message)) = now.condition("Conflict")
                && status == "True"
            {
                return Ok((reason, message));
            }
            if space.replicas("web").await? != 1 {
                space.resize("web", 1).await;
                meddled += 1;
            }
            tokio::time::sleep(Duration::from_secs(3)).await;
            Err(now.0["status"]["conditions"].to_string())
        })
        .await;
    report.figure(format!("told after {meddled} changes by somebody else: {reason}: {message}"));
}

#[tokio::test]
#[ignore = "needs a control plane: make e2e"]
async fn what_can_not_be_obeyed_is_told_in_the_status() {
    let mut report = Report::begin("what_can_not_be_obeyed_is_told_in_the_status");
    let (rig, space, _installed, mut operator) = stage("bad", App::default()).await;
    rig.harness.cores(&space.name, "web", 0.5).await;
    // A target that is not there.
    space.autoscaler("nobody", json!({"maxReplicas": 5})).await;
    let (reason, message) = condition(&space, "nobody", "AbleToScale", "False").await;
    report.figure(format!("missing target: {reason}: {message}"));
    assert!(message.contains("nobody"), "{message}");
    // A target without a size.
    rig.kubectl(&["create", "configmap", "plain", "-n", &space.name], None).await.unwrap();
    let target = json!({"apiVersion": "v1", "kind": "ConfigMap", "name": "plain"});
    space.autoscaler("plain", json!({"maxReplicas": 5, "scaleTargetRef": target})).await;
    let (reason, message) = condition(&space, "plain", "AbleToScale", "False").await;
    report.figure(format!("not scalable: {reason}: {message}"));
    // A metric that never appears.
    let metrics = json!([{"type": "Pods", "pods": {"metric": {"name": "no_such_metric"}, "target": {"type": "AverageValue", "averageValue": "5"}}}]);
    space.autoscaler("web", json!({"maxReplicas": 5, "mode": "Full", "metrics": metrics})).await;
    let (reason, message) = condition(&space, "web", "ScalingActive", "False").await;
    report.figure(format!("missing metric: {reason}: {message}"));
    throughout("nothing moves", Duration::from_secs(30), async || match space.replicas("web").await? {
        2 => Ok(()),
        other => Err(format!("{other} replicas")),
    })
    .await;
    assert!(operator.runs(), "log: {}", operator.log.display());
    // The missing one may come later.
    space.deploy("nobody", App::default()).await;
    condition(&space, "nobody", "AbleToScale", "True").await;
}

#[tokio::test]
#[ignore = "needs a control plane: make e2e"]
async fn a_floor_whose_hpa_is_deleted_is_told_and_nothing_breaks() {
    let mut report = Report::begin("a_floor_whose_hpa_is_deleted_is_told_and_nothing_breaks");
    let (rig, space, _installed, mut operator) = stage("nohpa", App::default()).await;
    space.hpa("web", 2, 10, 80).await;
    space.autoscaler("web", json!({"maxReplicas": 10, "minReplicas": 2, "mode": "Floor"})).await;
    rig.harness.cores(&space.name, "web", 0.6).await;
    condition(&space, "web", "AbleToScale", "True").await;
    space.drop_hpa("web").await;
    let told = eventually("it is told", Patience::DECISION, async || {
        let now = space.read("web").await?;
        let all = now.0["status"]["conditions"].to_string();
        if all.contains("HorizontalPodAutoscaler") || all.contains("HPA") { Ok(all) } else { Err(all) }
    })
    .await;
    assert!(!told.is_empty());
    throughout("nothing is scaled", Duration::from_secs(30), async || match space.replicas("web").await? {
        2 => Ok(()),
        other => Err(format!("{other} replicas")),
    })
    .await;
    assert!(operator.runs());
    report.figure("told in the conditions");
}

#[tokio::test]
#[ignore = "needs a control plane: make e2e"]
async fn deletion_leaves_nothing_behind() {
    let _report = Report::begin("deletion_leaves_nothing_behind");
    let (rig, space, _installed, operator) = stage("deletion", App::default()).await;
    space.autoscaler("web", json!({"maxReplicas": 10, "minReplicas": 3, "mode": "Full"})).await;
    space.ready("web", 3).await;
    space.drop_autoscaler("web").await;
    eventually("the object is gone", Patience::API, async || match space.read("web").await {
        Ok(_) => Err("still there".into()),
        Err(_) => Ok(()),
    })
    .await;
    space.resize("web", 1).await;
    rig.harness.cores(&space.name, "web", 2.0).await;
    throughout("the target is left alone", Duration::from_secs(45), async || {
        match space.replicas("web").await? {
            1 => Ok(()),
            other => Err(format!("{other} replicas")),
        }
    })
    .await;
    assert_eq!(operator.metric("sphere_autoscalers", &["obeyed"]).await, Some(0.0));
}

#[tokio::test]
#[ignore = "needs a control plane: make e2e"]
async fn a_restart_keeps_the_stabilisation_window() {
    let mut report = Report::begin("a_restart_keeps_the_stabilisation_window");
    let (rig, space, installed, mut operator) = stage("memory", App::default()).await;
    let spec = json!({
        "maxReplicas": 10, "minReplicas": 2, "mode": "Full",
        "behavior": {"scaleDown": {"stabilizationWindowSeconds": 300}},
    });
    space.autoscaler("web", spec).await;
    rig.harness.cores(&space.name, "web", 2.4).await;
    space.ready("web", 6).await;
    // What is remembered is written to ConfigMaps from time to time; wait for a round after the one that may be under way.
    let rounds = async || operator.metric("sphere_memory_writes_total", &[]).await.unwrap_or(0.0);
    let before = rounds().await;
    eventually("the memory is written", Patience::DECISION, async || {
        let now = rounds().await;
        if now >= before + 2.0 { Ok(()) } else { Err(format!("{now} rounds, {before} before")) }
    })
    .await;
    operator.stop().await;
    rig.harness.cores(&space.name, "web", 0.2).await;
    let _again = installed.start("b", json!({})).await;
    // A fresh process without memory would scale in at its first or second look.
    throughout("high recommendations are remembered", Duration::from_secs(90), async || {
        match space.replicas("web").await? {
            enough if enough >= 6 => Ok(()),
            other => Err(format!("{other} replicas")),
        }
    })
    .await;
    report.figure("held for 90 s after the restart");
}
