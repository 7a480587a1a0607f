//! Is the control plane what the other tests take it for? Without an operator.

// A test that can not go on has nobody to return an error to.
#![allow(clippy::unwrap_used)]

use sphere_e2e::{App, Patience, Report, Rig, eventually, kubectl};
use std::time::Instant;

#[tokio::test]
#[ignore = "needs a control plane: make e2e"]
async fn pods_are_ready_after_their_start_up_time() {
    let mut report = Report::begin("pods_are_ready_after_their_start_up_time");
    let rig = Rig::attach().await;
    let space = rig.space("startup").await;
    let began = Instant::now();
    space.deploy("web", App { replicas: 3, startup_seconds: 12, ..App::default() }).await;
    space.ready("web", 3).await;
    let took = began.elapsed().as_secs_f64();
    report.figure(format!("{took:.1} s for 12 s"));
    assert!((11.5..30.0).contains(&took), "{took} s");
}

#[tokio::test]
#[ignore = "needs a control plane: make e2e"]
async fn the_real_hpa_follows_the_demand_that_a_test_sets() {
    let mut report = Report::begin("the_real_hpa_follows_the_demand_that_a_test_sets");
    let rig = Rig::attach().await;
    let space = rig.space("hpa").await;
    space.deploy("web", App::default()).await;
    space.hpa("web", 2, 10, 80).await;
    rig.harness.cores(&space.name, "web", 1.9).await;
    // 1.9 cores at 80 % of 0.5 are five pods; a measurement at the limit can not say so at once.
    space.ready("web", 5).await;
    let score = rig.harness.score(&space.name, "web").await;
    report.figure(format!(
        "{:.0} s, of which {:.0} s over capacity; {} scale-ups",
        score.seconds, score.over_seconds, score.scale_ups
    ));
    assert!(score.over_seconds > 0.0 && score.over_seconds < score.seconds);
    assert!(score.lost_share.is_some_and(|share| share > 0.0 && share < 1.0));
}

#[tokio::test]
#[ignore = "needs a control plane: make e2e"]
async fn a_service_account_may_only_do_what_it_was_given() {
    let _report = Report::begin("a_service_account_may_only_do_what_it_was_given");
    let rig = Rig::attach().await;
    let space = rig.space("rbac").await;
    rig.kubectl(&["create", "serviceaccount", "reader", "-n", &space.name], None).await.unwrap();
    let folder = tempfile::tempdir().unwrap();
    let kubeconfig = folder.path().join("kubeconfig");
    std::fs::write(&kubeconfig, rig.harness.kubeconfig(&space.name, "reader").await.unwrap()).unwrap();
    let list = async || kubectl(&rig.program, &kubeconfig, &["get", "pods", "-n", &space.name], None).await;
    let refused = list().await.expect_err("nothing is allowed yet");
    assert!(refused.contains("forbidden"), "{refused}");
    let account = format!("--serviceaccount={}:reader", space.name);
    let bind = ["create", "rolebinding", "reads", "--clusterrole=view", &account, "-n", &space.name];
    rig.kubectl(&bind, None).await.unwrap();
    eventually("now it may", Patience::API, async || list().await.map(drop)).await;
}
