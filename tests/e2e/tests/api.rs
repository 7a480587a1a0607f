//! What does the API server accept and refuse, before any operator runs?

// A test that can not go on has nobody to return an error to.
#![allow(clippy::unwrap_used)]

use serde::Deserialize;
use serde_json::{Value, json};
use sphere_e2e::{Installation, Patience, Report, Rig, eventually};
use std::path::PathBuf;

fn root() -> PathBuf {
    concat!(env!("CARGO_MANIFEST_DIR"), "/../..").into()
}

async fn with_definition(rig: &Rig) {
    let text = std::fs::read_to_string(root().join("deploy/crd/predictiveautoscalers.yaml"))
        .expect("the definition is in the repository");
    rig.apply(&text).await;
    eventually("the resource is served", Patience::API, async || {
        rig.kubectl(&["get", "predictiveautoscalers", "-A"], None).await.map(drop)
    })
    .await;
}

/// A line of the fixture: a spec that must be refused, and what is said about it.
#[derive(Deserialize)]
struct Refused {
    name: String,
    spec: Value,
    says: String,
}

#[tokio::test]
#[ignore = "needs a control plane: make e2e"]
async fn every_rule_refuses_with_a_clear_message() {
    let mut report = Report::begin("every_rule_refuses_with_a_clear_message");
    let rig = Rig::attach().await;
    with_definition(&rig).await;
    let text = root().join("crates/sphere-kubernetes/tests/fixtures/refused.yaml");
    let all: Vec<Refused> = serde_saphyr::from_str(&std::fs::read_to_string(text).unwrap()).unwrap();
    let path = "/apis/autoscaling.sphere.dev/v1alpha1/namespaces/default/predictiveautoscalers";
    let object = |spec: &Value| {
        let mut whole = json!({"scaleTargetRef": {"kind": "Deployment", "name": "web"}, "maxReplicas": 10});
        for (key, value) in spec.as_object().unwrap() {
            // A block is changed, not replaced, as the fixture says only what is added.
            if let (Some(there), Some(more)) = (whole[key].as_object().cloned(), value.as_object()) {
                let mut there = there;
                there.extend(more.clone());
                whole[key] = Value::Object(there);
            } else {
                whole[key] = value.clone();
            }
        }
        json!({
            "apiVersion": "autoscaling.sphere.dev/v1alpha1", "kind": "PredictiveAutoscaler",
            "metadata": {"name": "web"}, "spec": whole,
        })
    };
    rig.dry_run(path, &object(&json!({}))).await.expect("the least spec is accepted");
    let mut wrong = Vec::new();
    for one in &all {
        match rig.dry_run(path, &object(&one.spec)).await {
            Ok(()) => wrong.push(format!("{}: was accepted", one.name)),
            Err(message) if !message.contains(&one.says) => {
                wrong.push(format!("{}: expected {:?} in: {message}", one.name, one.says));
            }
            Err(_) => {}
        }
    }
    report.figure(format!("{} specs, {} not refused as they should", all.len(), wrong.len()));
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[tokio::test]
#[ignore = "needs a control plane: make e2e"]
async fn every_example_is_accepted() {
    let mut report = Report::begin("every_example_is_accepted");
    let rig = Rig::attach().await;
    with_definition(&rig).await;
    let space = rig.space("examples").await;
    let mut count = 0;
    for entry in std::fs::read_dir(root().join("examples/kubernetes")).unwrap() {
        let file = entry.unwrap().path();
        if file.extension().is_none_or(|extension| extension != "yaml") {
            continue;
        }
        let text = std::fs::read_to_string(&file)
            .unwrap()
            .replace("namespace: sock-shop", &format!("namespace: {}", space.name));
        let answer =
            rig.kubectl(&["apply", "--server-side", "--validate=strict", "-f", "-"], Some(&text)).await;
        assert!(answer.is_ok(), "{}: {answer:?}", file.display());
        count += 1;
    }
    report.figure(format!("{count} files"));
    assert!(count > 0, "there are examples");
    let listed = rig.kubectl(&["get", "pa", "-n", &space.name, "--no-headers"], None).await.unwrap();
    assert!(listed.lines().count() >= count, "short name and columns work: {listed}");
}

#[tokio::test]
#[ignore = "needs a control plane: make e2e"]
async fn the_manifests_give_what_the_operator_needs_and_no_more() {
    let mut report = Report::begin("the_manifests_give_what_the_operator_needs_and_no_more");
    let rig = Rig::attach().await;
    let space = rig.space("rights").await;
    let installed = Installation::new(&rig, &[&space]).await;
    let may = async |verb: &str, what: &str, namespace: &str| {
        // kubectl takes what follows a slash for a name.
        let (resource, part) = what.split_once('/').unwrap_or((what, ""));
        let part = format!("--subresource={part}");
        let answer = installed.kubectl(&["auth", "can-i", verb, resource, &part, "-n", namespace]).await;
        // kubectl ends with code 1 when the answer is no.
        answer.is_ok_and(|text| text.trim() == "yes")
    };
    let (home, there) = (installed.home.name.as_str(), space.name.as_str());
    for (verb, what, namespace) in [
        ("watch", "predictiveautoscalers.autoscaling.sphere.dev", there),
        ("patch", "predictiveautoscalers.autoscaling.sphere.dev/status", there),
        ("get", "deployments.apps/scale", there),
        ("watch", "pods", there),
        ("list", "pods.metrics.k8s.io", there),
        ("list", "horizontalpodautoscalers.autoscaling", there),
        ("patch", "horizontalpodautoscalers.autoscaling", there),
        ("create", "leases.coordination.k8s.io", home),
        ("create", "events.events.k8s.io", there),
    ] {
        assert!(may(verb, what, namespace).await, "it may not {verb} {what}, and must");
    }
    let forbidden = [
        ("get", "secrets", there),
        ("get", "secrets", home),
        ("list", "configmaps", there),
        ("create", "pods", there),
        ("delete", "pods", there),
        ("patch", "deployments.apps", there),
        ("delete", "deployments.apps", there),
        ("patch", "predictiveautoscalers.autoscaling.sphere.dev", there),
        ("delete", "predictiveautoscalers.autoscaling.sphere.dev", there),
        ("create", "horizontalpodautoscalers.autoscaling", there),
        ("delete", "horizontalpodautoscalers.autoscaling", there),
        ("create", "leases.coordination.k8s.io", there),
        ("create", "clusterrolebindings.rbac.authorization.k8s.io", there),
        ("impersonate", "users", there),
        ("create", "serviceaccounts/token", home),
        ("update", "deployments.apps", there),
    ];
    for (verb, what, namespace) in forbidden {
        assert!(!may(verb, what, namespace).await, "it may {verb} {what}, and must not");
    }
    report.figure(format!("{} things it must not do are forbidden", forbidden.len()));
}
