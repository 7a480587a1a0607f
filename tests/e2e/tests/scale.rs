//! How much does an operator with five hundred workloads cost?

// A test that can not go on has nobody to return an error to.
#![allow(clippy::unwrap_used)]

use futures_util::{StreamExt, stream};
use serde_json::json;
use sphere_e2e::{App, Installation, Patience, Report, Rig, eventually};
use std::time::{Duration, Instant};

const WORKLOADS: usize = 500;

#[tokio::test]
#[ignore = "needs a control plane: make e2e"]
async fn five_hundred_workloads_are_decided_in_every_sync() {
    let mut report = Report::begin("five_hundred_workloads_are_decided_in_every_sync");
    let rig = Rig::attach().await;
    let space = rig.space("many").await;
    let installed = Installation::new(&rig, &[&space]).await;
    let operator = installed.start("a", json!({"autoscale": {"sync": "15s"}})).await;
    let names: Vec<String> = (0..WORKLOADS).map(|i| format!("w{i}")).collect();
    let app = App { replicas: 1, ..App::default() };
    stream::iter(&names)
        .for_each_concurrent(16, |name| async {
            space.deploy(name, app).await;
            rig.harness.cores(&space.name, name, 0.2).await;
            space.autoscaler(name, json!({"maxReplicas": 5, "mode": "Full"})).await;
        })
        .await;
    let created = Instant::now();
    // All statuses at once, as a dashboard would read them.
    let undecided = async || -> Result<usize, String> {
        let all = sphere_e2e::autoscalers(rig.client.clone(), &space.name);
        let list = all.list(&kube::api::ListParams::default()).await.map_err(|error| error.to_string())?;
        let decided = list.items.iter().filter(|one| one.data["status"]["reactiveReplicas"].is_u64()).count();
        Ok(WORKLOADS - decided)
    };
    eventually("all have a decision from metrics", Patience(Duration::from_secs(600)), async || {
        match undecided().await? {
            0 => Ok(()),
            left => Err(format!("{left} have none")),
        }
    })
    .await;
    report.figure(format!("all decided {:.0} s after the last was created", created.elapsed().as_secs_f64()));

    // A steady minute and a half.
    let requests = async || operator.metric("sphere_api_requests_total", &[]).await;
    let (cpu_before, _) = operator.usage();
    let (requests_before, began) = (requests().await, Instant::now());
    tokio::time::sleep(Duration::from_secs(90)).await;
    let seconds = began.elapsed().as_secs_f64();
    let (cpu_after, memory) = operator.usage();
    let cores = (cpu_after - cpu_before) / seconds;
    report.figure(format!("{cores:.3} cores, {} MiB", memory >> 20));
    if let (Some(before), Some(after)) = (requests_before, requests().await) {
        report.figure(format!("{:.1} API requests per second", (after - before) / seconds));
    }
    // Of this profile, which is no release; a machine that is busy costs time, not processor time.
    assert!(memory < 150 << 20, "{memory} bytes");
    assert!(cores < 0.25, "{cores} cores");

    // And it still acts on each: more work for one of them.
    rig.harness.cores(&space.name, "w77", 1.6).await;
    let asked = Instant::now();
    eventually("one of them is scaled", Patience::DECISION, async || match space.replicas("w77").await? {
        1 => Err("still 1 replica".into()),
        _ => Ok(()),
    })
    .await;
    report.figure(format!(
        "one of them scaled {:.0} s after its demand changed",
        asked.elapsed().as_secs_f64()
    ));
}
