//! Can other processes use the simulated cluster: Prometheus, and a remote scaler?

// Helpers of tests are outside test functions, and may unwrap as those do.
#![allow(clippy::unwrap_used)]

mod common;

use common::{after, by_requests, cluster, one, synthetic};
use sphere_pipeline::{Applied, Clock, ScaleTarget, TargetError};
use sphere_simcluster::{RemoteCluster, SimulatedCluster, SimulatedClusterConfig, serve};
use sphere_testkit::{Component, data_dir, free_port};
use std::collections::{BTreeMap, BTreeSet};
use std::io::Write;
use std::process::{Command, Stdio};
use std::time::Duration;
use tokio::net::TcpListener;

const LIMIT: Duration = Duration::from_secs(20);

struct Served {
    cluster: SimulatedCluster,
    clock: Clock,
    address: String,
    remote: RemoteCluster,
}

async fn served(config: &SimulatedClusterConfig) -> Served {
    let (cluster, clock) = cluster(config);
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = format!("http://{}", listener.local_addr().unwrap());
    tokio::spawn(serve(cluster.clone(), listener, std::future::pending()));
    let remote = RemoteCluster::new(&address, LIMIT).unwrap();
    Served { cluster, clock, address, remote }
}

impl Served {
    async fn get(&self, path: &str) -> (u16, String) {
        let response = reqwest::Client::new().get(format!("{}{path}", self.address)).send().await.unwrap();
        (response.status().as_u16(), response.text().await.unwrap())
    }
}

/// Series of a page by name and labels. Strict: whatever is no comment must be a series with a finite number, and
/// none may be there twice.
fn series(page: &str) -> BTreeMap<String, f64> {
    let mut found = BTreeMap::new();
    for line in page.lines().filter(|line| !line.starts_with('#')) {
        let (name, value) = line.rsplit_once(' ').expect(line);
        let value: f64 = value.parse().expect(line);
        assert!(value.is_finite() && name.contains('{') && name.ends_with('}'), "{line}");
        assert!(found.insert(name.to_owned(), value).is_none(), "twice: {line}");
    }
    found
}

fn is_counter(name: &str) -> bool {
    ["_total{", "_count{", "_sum{", "_bucket{"].iter().any(|part| name.contains(part))
}

#[tokio::test]
async fn counters_never_fall_while_a_pod_lives_and_new_pods_have_new_names() {
    let s = served(&one(synthetic(150.0))).await;
    let workload = by_requests("front-end");
    let (mut last, mut gone, mut replaced) = (BTreeMap::<String, f64>::new(), BTreeSet::new(), 0);
    for round in 1..=60u64 {
        s.clock.set(after(round * 20));
        let (status, page) = s.get("/metrics").await;
        assert_eq!(status, 200);
        let now: BTreeMap<String, f64> =
            series(&page).into_iter().filter(|(name, _)| is_counter(name)).collect();
        for (name, value) in &now {
            assert!(!gone.contains(name), "{name} came back");
            assert!(last.get(name).is_none_or(|before| value >= before), "{name} fell to {value}");
        }
        for name in last.keys().filter(|name| !now.contains_key(*name)) {
            gone.insert(name.clone());
            replaced += 1;
        }
        last = now;
        let from = s.remote.scale(&workload).await.unwrap().unwrap().spec_replicas as u32;
        let wanted = [8, 20, 3, 12][round as usize % 4];
        assert_eq!(s.remote.set_replicas(&workload, from, wanted).await, Ok(Applied::Done));
    }
    assert!(replaced > 50, "too little happened: {replaced}");
}

#[tokio::test]
async fn the_page_tells_what_the_cluster_does() {
    let mut config = one(synthetic(150.0));
    config.workloads[0].cpu_per_pod = 0.5;
    config.workloads[0].startup = "60s".parse().unwrap();
    let s = served(&config).await;
    let workload = by_requests("front-end");
    s.clock.set(after(600));
    let before = series(&s.get("/metrics").await.1);
    let ready = s.remote.scale(&workload).await.unwrap().unwrap().spec_replicas as u32;
    s.remote.set_replicas(&workload, ready, ready + 2).await.unwrap();
    s.clock.set(after(630));
    let now = series(&s.get("/metrics").await.1);
    let sum = |page: &BTreeMap<String, f64>, name: &str, label: &str| -> f64 {
        let of_name =
            page.iter().filter(|(key, _)| key.starts_with(&format!("{name}{{")) && key.contains(label));
        of_name.map(|(_, value)| value).sum()
    };
    let f = f64::from;
    assert_eq!(sum(&now, "kube_deployment_spec_replicas", "front-end"), f(ready + 2));
    assert_eq!(sum(&now, "kube_deployment_status_replicas_ready", "front-end"), f(ready));
    assert_eq!(sum(&now, "kube_pod_status_ready", "condition=\"true\""), f(ready));
    assert_eq!(sum(&now, "kube_pod_status_ready", "condition=\"false\""), 2.0);
    assert_eq!(sum(&now, "kube_pod_status_phase", "phase=\"Running\""), f(ready + 2));
    assert_eq!(sum(&now, "kube_pod_container_resource_requests", "resource=\"cpu\""), f(ready + 2) * 0.5);
    let memory = sum(&now, "container_memory_working_set_bytes", "front-end");
    assert_eq!(memory, f(ready + 2) * f(160 << 20));
    // What pods used and counted in 30 s is what arrived in them, in both units.
    let gained = |name: &str| sum(&now, name, "front-end") - sum(&before, name, "front-end");
    let requests = gained("http_request_duration_seconds_count");
    let cores = gained("container_cpu_usage_seconds_total");
    let meshed = gained("istio_requests_total");
    assert!(requests > 500.0 && (requests - meshed).abs() <= f(ready), "{requests} {meshed}");
    assert!((cores / (meshed / 10.0 * 0.5) - 1.0).abs() < 0.02, "{cores} {meshed}");
    assert!(gained("http_request_duration_seconds_sum") > 0.0);
    // Pods belong to a ReplicaSet that belongs to the Deployment, and are named after it.
    let owner = now.keys().find(|name| name.starts_with("kube_replicaset_owner{")).unwrap();
    let replica_set = owner.split("replicaset=\"").nth(1).unwrap().split('"').next().unwrap();
    assert!(owner.contains("owner_name=\"front-end\"") && replica_set.starts_with("front-end-"));
    for name in now.keys().filter(|name| name.starts_with("kube_pod_owner{")) {
        let pod = name.split("pod=\"").nth(1).unwrap().split('"').next().unwrap();
        let suffix = pod.strip_prefix(replica_set).and_then(|rest| rest.strip_prefix('-')).expect(pod);
        assert!(suffix.len() == 5 && name.contains(&format!("owner_name=\"{replica_set}\"")), "{name}");
    }
    let created = now.iter().filter(|(name, _)| name.starts_with("kube_pod_start_time{")).map(|(_, at)| *at);
    assert_eq!(created.filter(|at| *at == after(600).secs_f64()).count(), 2);
}

/// Needs Prometheus' own checker (Debian package `prometheus`).
#[tokio::test]
async fn prometheus_own_checker_reads_the_page() {
    let s = served(&one(synthetic(150.0))).await;
    s.clock.set(after(300));
    let (_, page) = s.get("/metrics").await;
    let promtool = std::env::var("SPHERE_TEST_PROMTOOL").unwrap_or_else(|_| "promtool".into());
    let mut child = Command::new(&promtool)
        .args(["check", "metrics"])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap_or_else(|error| panic!("{promtool}: {error}; install the package prometheus"));
    child.stdin.take().unwrap().write_all(page.as_bytes()).unwrap();
    let output = child.wait_with_output().unwrap();
    let text =
        String::from_utf8_lossy(&output.stderr).into_owned() + &String::from_utf8_lossy(&output.stdout);
    // Exit code 1 is a page that can not be read, 3 is advice on style; names of a real cluster are as they are.
    assert!(matches!(output.status.code(), Some(0 | 3)), "{text}");
    assert!(!text.contains("error while linting"), "{text}");
}

/// Needs Prometheus (Debian package `prometheus`).
#[tokio::test(flavor = "multi_thread")]
async fn a_prometheus_takes_the_page_in() {
    let s = served(&one(synthetic(150.0))).await;
    s.clock.set(after(300));
    let target = s.address.strip_prefix("http://").unwrap();
    let dir = data_dir("simcluster-prometheus").unwrap();
    let config = dir.path().join("prometheus.yml");
    let text = format!(
        "global: {{scrape_interval: 1s}}\nscrape_configs:\n\
         - {{job_name: sim, static_configs: [{{targets: ['{target}']}}]}}\n"
    );
    std::fs::write(&config, text).unwrap();
    let address = format!("127.0.0.1:{}", free_port().unwrap());
    let command = vec![
        std::env::var("SPHERE_TEST_PROMETHEUS").unwrap_or_else(|_| "prometheus".into()),
        format!("--config.file={}", config.display()),
        format!("--storage.tsdb.path={}", dir.path().join("data").display()),
        format!("--web.listen-address={address}"),
    ];
    let mut prometheus = Component::start("prometheus", command, Vec::new(), dir.path().join("log")).unwrap();
    let client = reqwest::Client::new();
    let ask = async |query: &str| -> Option<f64> {
        let url = format!("http://{address}/api/v1/query");
        let answer = client.get(url).query(&[("query", query)]).send().await.ok()?;
        let answer: serde_json::Value = serde_json::from_str(&answer.text().await.ok()?).ok()?;
        answer["data"]["result"][0]["value"][1].as_str()?.parse().ok()
    };
    let started = std::time::Instant::now();
    while ask("up{job=\"sim\"}").await != Some(1.0) {
        assert!(prometheus.running() && started.elapsed() < Duration::from_secs(120), "{}", prometheus.log());
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    // The usual way from pods to their Deployment, as recording rules for real clusters go.
    let query = "count(kube_pod_status_ready{condition=\"true\"} == 1
        and on(namespace, pod) label_replace(kube_pod_owner, \"replicaset\", \"$1\", \"owner_name\", \"(.*)\")
        * on(namespace, replicaset) group_left() kube_replicaset_owner{owner_name=\"front-end\"})";
    let ready = s.cluster.view(&by_requests("front-end").id).unwrap().ready;
    assert_eq!(ask(query).await, Some(f64::from(ready)));
    let counted = ask("sum(container_cpu_usage_seconds_total{container=\"front-end\"})").await.unwrap();
    let requests = ask("sum(istio_requests_total)").await.unwrap();
    assert!((counted / (requests / 10.0) - 1.0).abs() < 0.02, "{counted} {requests}");
}

#[tokio::test]
async fn a_remote_scaler_has_the_same_rights_as_one_inside() {
    let mut config = one(synthetic(150.0));
    config.workloads[0].hpa = Some(60);
    config.hpa_sync_seconds = 3600;
    let s = served(&config).await;
    let workload = by_requests("front-end");
    s.remote.check().await.unwrap();
    let scale = s.remote.scale(&workload).await.unwrap();
    assert_eq!(scale, s.cluster.scale(&workload).await.unwrap());
    let from = scale.unwrap().spec_replicas as u32;
    assert_eq!(s.remote.set_replicas(&workload, from, from + 4).await, Ok(Applied::Done));
    let moved = s.remote.set_replicas(&workload, from, 1).await;
    assert_eq!(moved, Ok(Applied::Moved { replicas: from + 4 }));
    assert_eq!(s.remote.set_floor(&workload, Some(9)).await, Ok(Applied::Done));
    let (_, list) = s.get("/apis/v1/workloads").await;
    assert!(list.contains("\"floor\":9") && list.contains("shop/Deployment/front-end"), "{list}");
    assert_eq!(s.remote.set_floor(&workload, None).await, Ok(Applied::Done));

    assert_eq!(s.remote.startups(&workload).await, Ok(vec![]));
    s.clock.set(after(600));
    assert_eq!(s.remote.startups(&workload).await.unwrap().len(), 4);
    assert_eq!(s.remote.startups(&workload).await, Ok(vec![]), "told once");
    assert_eq!(s.cluster.startups(&workload).await.unwrap().len(), 4, "to each listener once");

    let (status, score) = s.get("/apis/v1/namespaces/shop/Deployment/front-end/score").await;
    let score: serde_json::Value = serde_json::from_str(&score).unwrap();
    assert_eq!(status, 200);
    assert!(score["pod_hours"].as_f64().unwrap() > 0.5, "{score}");
    let (status, scores) = s.get("/apis/v1/scores").await;
    let scores: Vec<serde_json::Value> = serde_json::from_str(&scores).unwrap();
    assert_eq!((status, &scores[0]), (200, &score));
}

#[tokio::test]
async fn refusals_say_what_was_wrong() {
    let s = served(&one(synthetic(150.0))).await;
    let workload = by_requests("front-end");
    let stranger = s.remote.scale(&by_requests("stranger")).await;
    assert!(
        matches!(&stranger, Err(TargetError::NotScalable(text)) if text.contains("stranger")),
        "{stranger:?}"
    );
    let from = s.remote.scale(&workload).await.unwrap().unwrap().spec_replicas as u32;
    let quota = s.remote.set_replicas(&workload, from, 5000).await;
    assert!(matches!(&quota, Err(TargetError::NotScalable(text)) if text.contains("quota")), "{quota:?}");
    let floor = s.remote.set_floor(&workload, Some(2)).await;
    assert!(matches!(&floor, Err(TargetError::NotScalable(text)) if text.contains("no HPA")), "{floor:?}");
    let client = reqwest::Client::new();
    let url = format!("{}/apis/v1/namespaces/shop/Deployment/front-end/scale", s.address);
    for body in ["{\"spec_replicas\": 3}", "{\"spec_replicas\": -3, \"expected_replicas\": 1}", "no JSON"] {
        let request = client.put(&url).header("content-type", "application/json").body(body);
        let status = request.send().await.unwrap().status();
        assert!(status.is_client_error(), "{body}: {status}");
    }
    assert_eq!(s.get("/apis/v1/namespaces/shop/Deployment/front-end/startups?since=x").await.0, 400);
    assert_eq!(s.remote.scale(&workload).await.unwrap().unwrap().spec_replicas as u32, from);
}

#[tokio::test]
async fn a_cluster_that_is_not_there_or_does_not_answer_is_unavailable() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = format!("http://{}", listener.local_addr().unwrap());
    let silent = RemoteCluster::new(&address, Duration::from_millis(300)).unwrap();
    let answer = silent.scale(&by_requests("front-end")).await;
    assert!(matches!(&answer, Err(TargetError::Unavailable(text)) if text.contains("in time")), "{answer:?}");
    drop(listener);
    let gone = silent.check().await;
    assert!(matches!(&gone, Err(TargetError::Unavailable(text)) if text.contains(&address)), "{gone:?}");
}

#[test]
fn addresses_that_can_not_be_meant_are_refused_without_their_secrets() {
    for address in ["", "127.0.0.1:9797", "https://127.0.0.1:1", "ftp://x", "http://user:hush@127.0.0.1:1"] {
        let error = RemoteCluster::new(address, LIMIT).unwrap_err().to_string();
        assert!(error.contains("expected") && !error.contains("hush"), "{error}");
    }
}
