//! Does each mode do what it says, and nothing else?

// A test that can not go on has nobody to return an error to.
#![allow(clippy::unwrap_used)]

use serde_json::json;
use sphere_e2e::{App, Installation, Patience, Report, Rig, Space, eventually, throughout};
use std::time::Duration;

/// An operator for one namespace with one workload `web` of two pods.
async fn stage(name: &str, app: App) -> (Rig, Space, Installation) {
    let rig = Rig::attach().await;
    let space = rig.space(name).await;
    space.deploy("web", app).await;
    let installed = Installation::new(&rig, &[&space]).await;
    (rig, space, installed)
}

/// Decisions come, made from metrics.
async fn decided(space: &Space) {
    eventually("a decision from metrics", Patience::DECISION, async || {
        let now = space.read("web").await?;
        if now.holds("ScalingActive", "True") && now.number("reactiveReplicas").is_some() {
            Ok(())
        } else {
            Err(now.0["status"].to_string())
        }
    })
    .await;
}

#[tokio::test]
#[ignore = "needs a control plane: make e2e"]
async fn observe_decides_and_touches_nothing() {
    let _report = Report::begin("observe_decides_and_touches_nothing");
    let (rig, space, installed) = stage("observe", App::default()).await;
    let _operator = installed.start("a", json!({})).await;
    space.autoscaler("web", json!({"maxReplicas": 10})).await;
    // Four pods' worth of work for two.
    rig.harness.cores(&space.name, "web", 1.8).await;
    eventually("it would scale up", Patience::DECISION, async || {
        let now = space.read("web").await?;
        let wants = now.number("reactiveReplicas").unwrap_or(0);
        if wants > 2 { Ok(()) } else { Err(now.0["status"].to_string()) }
    })
    .await;
    throughout("it does not", Duration::from_secs(45), async || match space.replicas("web").await? {
        2 => Ok(()),
        other => Err(format!("{other} replicas")),
    })
    .await;
    let now = space.read("web").await.unwrap();
    let decision = &now.status("decisions")[0];
    assert_eq!(decision["applied"], false, "{decision}");
    let reasons = decision["reasons"].to_string();
    assert!(reasons.contains("ObserveOnly"), "the decision says why nothing happened: {reasons}");
}

#[tokio::test]
#[ignore = "needs a control plane: make e2e"]
async fn full_scales_out_and_in() {
    let mut report = Report::begin("full_scales_out_and_in");
    let (rig, space, installed) = stage("full", App::default()).await;
    let _operator = installed.start("a", json!({})).await;
    let spec = json!({
        "maxReplicas": 10, "minReplicas": 2, "mode": "Full",
        "behavior": {"scaleDown": {"stabilizationWindowSeconds": 30}},
    });
    space.autoscaler("web", spec).await;
    rig.harness.cores(&space.name, "web", 2.4).await;
    // 2.4 cores at 80 % of 0.5 are six pods.
    space.ready("web", 6).await;
    report.figure(format!("out after {:.0} s", rig.harness.score(&space.name, "web").await.seconds));
    rig.harness.cores(&space.name, "web", 0.3).await;
    eventually("it scales in", Patience::FORECAST, async || match space.replicas("web").await? {
        2 => Ok(()),
        other => Err(format!("{other} replicas")),
    })
    .await;
    report.figure(format!("in after {:.0} s", rig.harness.score(&space.name, "web").await.seconds));
}

#[tokio::test]
#[ignore = "needs a control plane: make e2e"]
async fn scale_out_never_goes_below_what_an_hpa_would_choose() {
    let _report = Report::begin("scale_out_never_goes_below_what_an_hpa_would_choose");
    let (rig, space, installed) = stage("scaleout", App::default()).await;
    let _operator = installed.start("a", json!({})).await;
    space.autoscaler("web", json!({"maxReplicas": 10, "minReplicas": 2, "mode": "ScaleOut"})).await;
    rig.harness.cores(&space.name, "web", 2.4).await;
    // Reactively a quarter more at a time, as pods at their limit show no more: four steps of a start-up each.
    eventually("it scales out", Patience::FORECAST, async || match space.replicas("web").await? {
        out if out >= 6 => Ok(()),
        other => Err(format!("{other} replicas")),
    })
    .await;
    throughout("the size covers the reactive answer", Duration::from_secs(60), async || {
        let now = space.read("web").await?;
        let (reactive, desired) = (now.number("reactiveReplicas"), now.number("desiredReplicas"));
        if reactive.is_none() || desired >= reactive { Ok(()) } else { Err(now.0["status"].to_string()) }
    })
    .await;
}

#[tokio::test]
#[ignore = "needs a control plane: make e2e"]
async fn floor_raises_the_minimum_of_an_hpa_and_gives_it_back() {
    let mut report = Report::begin("floor_raises_the_minimum_of_an_hpa_and_gives_it_back");
    let (rig, space, installed) = stage("floor", App { startup_seconds: 20, ..App::default() }).await;
    space.hpa("web", 2, 12, 80).await;
    let _operator = installed.start("a", json!({})).await;
    space.autoscaler("web", json!({"maxReplicas": 12, "minReplicas": 2, "mode": "Floor"})).await;
    // A steady rise that a forecast can follow, after some minutes in which it earns trust.
    let demand = json!({"cores": [[0, 0.8], [420, 0.8], [900, 4.5]], "between": "linear"});
    rig.harness.demand(&space.name, "web", demand).await;
    let raised = eventually("the minimum is raised", Patience::FORECAST, async || {
        let hpa = space.read_hpa("web").await?;
        let minimum = hpa.spec.min_replicas.unwrap_or(1);
        if minimum > 2 { Ok(minimum) } else { Err(format!("the minimum is {minimum}")) }
    })
    .await;
    report.figure(format!(
        "raised to {raised} at {:.0} s",
        rig.harness.score(&space.name, "web").await.seconds
    ));
    let hpa = rig
        .kubectl(&["get", "hpa", "web", "-n", &space.name, "-o", "json", "--show-managed-fields"], None)
        .await
        .unwrap();
    assert!(hpa.contains("\"sphere\""), "by server-side apply under our own name: {hpa}");
    eventually("the status says whose minimum it was", Patience::DECISION, async || {
        let now = space.read("web").await?;
        if now.status("floor")["originalMinReplicas"] == 2 {
            Ok(())
        } else {
            Err(now.0["status"].to_string())
        }
    })
    .await;
    // Its owner writes the field: that is what he gets back, and what he needs meanwhile stays.
    let edit = json!({"spec": {"minReplicas": 1}}).to_string();
    rig.kubectl(&["patch", "hpa", "web", "-n", &space.name, "--type=merge", "-p", &edit], None)
        .await
        .unwrap();
    eventually("the minimum is raised again, above that of its owner", Patience::DECISION, async || {
        let minimum = space.read_hpa("web").await?.spec.min_replicas.unwrap_or(1);
        let original = space.read("web").await?.status("floor")["originalMinReplicas"].clone();
        if minimum > 2 && original == 1 { Ok(()) } else { Err(format!("{minimum}; original {original}")) }
    })
    .await;
    space.drop_autoscaler("web").await;
    eventually("the minimum is given back", Patience::DECISION, async || {
        let hpa = space.read_hpa("web").await?;
        let minimum = hpa.spec.min_replicas.unwrap_or(1);
        let ours = hpa.metadata.annotations.unwrap_or_default().keys().any(|key| key.contains("sphere.dev"));
        if minimum == 1 && !ours {
            Ok(())
        } else {
            Err(format!("minimum {minimum}, our annotations: {ours}"))
        }
    })
    .await;
}

#[tokio::test]
#[ignore = "needs a control plane: make e2e"]
async fn paused_decides_and_touches_nothing_until_resumed() {
    let _report = Report::begin("paused_decides_and_touches_nothing_until_resumed");
    let (rig, space, installed) = stage("paused", App::default()).await;
    let _operator = installed.start("a", json!({})).await;
    space.autoscaler("web", json!({"maxReplicas": 10, "mode": "Full", "paused": true})).await;
    decided(&space).await;
    rig.harness.cores(&space.name, "web", 1.8).await;
    eventually("it would scale up", Patience::DECISION, async || {
        let now = space.read("web").await?;
        if now.number("reactiveReplicas").unwrap_or(0) > 2 {
            Ok(())
        } else {
            Err(now.0["status"].to_string())
        }
    })
    .await;
    throughout("it does not", Duration::from_secs(30), async || match space.replicas("web").await? {
        2 => Ok(()),
        other => Err(format!("{other} replicas")),
    })
    .await;
    space.edit_autoscaler("web", json!({"paused": false})).await;
    eventually("now it does", Patience::DECISION, async || match space.replicas("web").await? {
        2 => Err("still 2 replicas".into()),
        _ => Ok(()),
    })
    .await;
}

#[tokio::test]
#[ignore = "needs a control plane: make e2e"]
async fn each_kill_switch_stops_what_it_covers_and_lets_go() {
    let mut report = Report::begin("each_kill_switch_stops_what_it_covers_and_lets_go");
    let (rig, space, installed) = stage("switch", App::default()).await;
    let _operator = installed.start("a", json!({})).await;
    let (home, own) = (installed.home.name.clone(), space.name.clone());
    let disabled = "autoscaling.sphere.dev/disabled";
    let annotate = |kind: &'static str, name: String, value: &str| {
        vec!["annotate".into(), "-n".into(), own.clone(), kind.to_owned(), name, format!("{disabled}{value}")]
    };
    let map = |verb: &str, more: &[&str]| {
        let words = [verb, "configmap", "sphere-kill-switch", "-n", &home];
        words.iter().chain(more).map(|word| (*word).to_owned()).collect::<Vec<String>>()
    };
    let switches = [
        ("ConfigMap", map("create", &["--from-literal=reason=drill"]), map("delete", &[])),
        ("namespace", annotate("namespace", own.clone(), "=true"), annotate("namespace", own.clone(), "-")),
        ("object", annotate("pa", "web".into(), "=yes"), annotate("pa", "web".into(), "-")),
    ];
    space.autoscaler("web", json!({"maxReplicas": 10, "mode": "Full"})).await;
    decided(&space).await;
    let mut cores = 1.0;
    for (name, on, off) in switches {
        let words = |list: &[String]| list.iter().map(String::as_str).collect::<Vec<_>>().join(" ");
        rig.kubectl(&on.iter().map(String::as_str).collect::<Vec<_>>(), None).await.unwrap();
        eventually(&format!("{name}: the status says so ({})", words(&on)), Patience::DECISION, async || {
            let now = space.read("web").await?;
            let told = now.condition("AbleToScale").is_some_and(|(_, reason, _)| reason == "KillSwitch");
            if told { Ok(()) } else { Err(now.0["status"].to_string()) }
        })
        .await;
        let held = space.replicas("web").await.unwrap();
        cores += 1.0;
        rig.harness.cores(&space.name, "web", cores).await;
        throughout(&format!("{name}: nothing is scaled"), Duration::from_secs(60), async || {
            match space.replicas("web").await? {
                size if size == held => Ok(()),
                other => Err(format!("{other} replicas instead of {held}")),
            }
        })
        .await;
        rig.kubectl(&off.iter().map(String::as_str).collect::<Vec<_>>(), None).await.unwrap();
        eventually(&format!("{name}: without it, it scales"), Patience::DECISION, async || {
            match space.replicas("web").await? {
                size if size > held => Ok(()),
                other => Err(format!("still {other} replicas")),
            }
        })
        .await;
        report.figure(format!("{name}: held at {held}"));
    }
}
