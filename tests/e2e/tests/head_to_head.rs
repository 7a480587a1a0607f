//! Is SPHERE's reactive answer that of the real HPA, and is SPHERE better than it where demand can be foreseen?

// A test that can not go on has nobody to return an error to.
#![allow(clippy::unwrap_used)]

use serde_json::json;
use sphere_e2e::{App, Installation, Patience, Report, Rig, SetUp, eventually};
use std::time::{Duration, Instant};

#[tokio::test]
#[ignore = "needs a control plane: make e2e"]
async fn the_reactive_answer_is_that_of_the_real_hpa() {
    let mut report = Report::begin("the_reactive_answer_is_that_of_the_real_hpa");
    let rig = Rig::attach().await;
    let space = rig.space("parity").await;
    let app = App { replicas: 2, startup_seconds: 10, ..App::default() };
    space.deploy("web", app).await;
    space.hpa("web", 2, 12, 60).await;
    let installed = Installation::new(&rig, &[&space]).await;
    let operator = installed.start("a", json!({})).await;
    // The same pods, the same metrics; SPHERE only looks on.
    let metrics = json!([{"type": "Resource", "resource": {"name": "cpu", "target": {"type": "Utilization", "averageUtilization": 60}}}]);
    space.autoscaler("web", json!({"maxReplicas": 12, "minReplicas": 2, "metrics": metrics})).await;
    // Steps within and beyond the tolerance, up and down, one of them beyond the maximum.
    let demand =
        json!({"cores": [[0, 0.55], [90, 0.64], [180, 1.3], [300, 2.9], [420, 4.5], [540, 2.0], [960, 0.4]]});
    rig.harness.demand(&space.name, "web", demand).await;

    // (time, what the HPA wants, what SPHERE says an HPA would choose)
    let mut seen: Vec<(f64, u64, Option<u64>)> = Vec::new();
    let began = Instant::now();
    while began.elapsed() < Duration::from_secs(1320) {
        // What the last decision said; the status tells of numbers once a minute.
        let ours = operator.metric("sphere_replicas", &["size=\"reactive\""]).await;
        if let Ok(hpa) = space.read_hpa("web").await {
            let wanted = hpa.status.map_or(0, |status| status.desired_replicas);
            let now = (
                began.elapsed().as_secs_f64(),
                u64::try_from(wanted).unwrap_or(0),
                // Whole numbers; the cast is exact.
                ours.map(|replicas| replicas as u64),
            );
            seen.push(now);
        }
        tokio::time::sleep(Duration::from_secs(1)).await;
    }
    // Each decision of the HPA, and SPHERE's own answer within two syncs of each.
    let slack = 40.0;
    let mut decisions = 0;
    let mut wrong = Vec::new();
    for pair in seen.windows(2) {
        let (before, (at, wanted, _)) = (pair[0].1, pair[1]);
        if wanted == before || wanted == 0 {
            continue;
        }
        decisions += 1;
        let agreed = seen.iter().any(|&(time, _, ours)| (time - at).abs() <= slack && ours == Some(wanted));
        if !agreed {
            wrong.push(format!("at {at:.0} s the HPA chose {wanted} after {before}"));
        }
    }
    // And the other way round: nothing that SPHERE answered for long is strange to the HPA.
    let answers: Vec<_> = seen.iter().filter_map(|&(time, _, ours)| Some((time, ours?))).collect();
    for &(at, ours) in &answers {
        let stays =
            answers.iter().filter(|(time, _)| (time - at).abs() <= slack).all(|&(_, other)| other == ours);
        let known = seen.iter().any(|&(time, wanted, _)| (time - at).abs() <= slack && wanted == ours);
        if stays && !known {
            wrong.push(format!("around {at:.0} s SPHERE answered {ours}"));
        }
    }
    report.figure(format!("{decisions} decisions of the HPA, {} disagreements", wrong.len()));
    assert!(decisions >= 5, "the trace made the HPA decide: {seen:?}");
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[tokio::test]
#[ignore = "needs a control plane: make e2e"]
async fn a_rise_that_can_be_foreseen_is_met_before_the_hpa_does() {
    let mut report = Report::begin("a_rise_that_can_be_foreseen_is_met_before_the_hpa_does");
    let rig = Rig::attach().await;
    let space = rig.space("ahead").await;
    // Pods that take a minute: long against the 15 s of the loops, so that foresight counts.
    let app = App { replicas: 3, startup_seconds: 60, ..App::default() };
    space.deploy("reactive", app).await;
    space.deploy("foresight", app).await;
    space.hpa("reactive", 2, 20, 80).await;
    let installed = Installation::new(&rig, &[&space]).await;
    // A step of SPHERE for each reading of the metrics server, as the HPA has a sync for each.
    let _operator = installed.start("a", json!({"step": "15s"})).await;
    let metrics = json!([{"type": "Resource", "resource": {"name": "cpu", "target": {"type": "Utilization", "averageUtilization": 80}}}]);
    let spec = json!({"minReplicas": 2, "maxReplicas": 20, "mode": "Full", "startupSeconds": 60, "metrics": metrics});
    space.autoscaler("foresight", spec).await;
    // Ten quiet minutes, then a steady rise to eight times as much in ten more, then as high as that for a while.
    let points = [(0.0, 0.75), (600.0, 0.75), (1200.0, 6.0), (1320.0, 6.0)];
    let demand = json!({"cores": points, "between": "linear"});
    for name in ["reactive", "foresight"] {
        rig.harness.demand(&space.name, name, demand.clone()).await;
    }
    eventually("the trace is over", Patience(Duration::from_secs(1500)), async || {
        let score = rig.harness.score(&space.name, "reactive").await;
        if score.seconds >= 1320.0 { Ok(()) } else { Err(format!("{:.0} s", score.seconds)) }
    })
    .await;
    let reactive = rig.harness.score(&space.name, "reactive").await;
    let foresight = rig.harness.score(&space.name, "foresight").await;
    let set_up = SetUp { demand: &points, app, bounds: (2, 20), utilization: 80, period: 15 };
    let (of_hpa, of_sphere) = set_up.simulate();
    for (name, score, simulated) in [("HPA", &reactive, &of_hpa), ("SPHERE", &foresight, &of_sphere)] {
        let over_pct = 100.0 * score.over_bin_seconds / score.seconds;
        let pod_hours = score.pod_seconds / 3600.0;
        let (over_off, cost_off) =
            (over_pct - simulated.violation_time_pct, 100.0 * (pod_hours / simulated.pod_hours - 1.0));
        report.figure(format!(
            "{name}: {:.0} s over capacity ({over_pct:.1} % of time), {:.2} % of demand lost, {pod_hours:.2} pod-hours, \
             {} up, {} down; the simulator: {:.1} % of time, {:.2} pod-hours, {} up, {} down; difference {over_off:+.1} \
             points and {cost_off:+.1} % of pod-hours",
            score.over_bin_seconds,
            100.0 * score.lost_share.unwrap_or(0.0),
            score.scale_ups,
            score.scale_downs,
            simulated.violation_time_pct,
            simulated.pod_hours,
            simulated.scale_ups,
            simulated.scale_downs,
        ));
        // Not a bound on how well it predicts; beyond this it would be about something else.
        assert!(over_off.abs() < 25.0 && cost_off.abs() < 30.0, "{name}: {over_off} points, {cost_off} %");
    }
    // How much earlier did each size come?
    let when = async |name: &str, pods: u32| {
        let history = rig.harness.history(&space.name, name).await;
        history.iter().find(|moment| moment.replicas.unwrap_or(0) >= pods).map(|moment| moment.seconds)
    };
    let mut leads = Vec::new();
    for pods in 3..=12 {
        if let (Some(ours), Some(theirs)) = (when("foresight", pods).await, when("reactive", pods).await) {
            leads.push(theirs - ours);
        }
    }
    let mean = leads.iter().sum::<f64>() / leads.len().max(1) as f64;
    report.figure(format!("sizes were ordered {mean:.0} s before the HPA did, on average"));
    assert!(mean > 0.0, "{leads:?}");
    assert!(
        foresight.over_bin_seconds <= reactive.over_bin_seconds,
        "SPHERE was over capacity for {:.0} s, the HPA for {:.0} s",
        foresight.over_bin_seconds,
        reactive.over_bin_seconds
    );
}
