//! What runs in a fault test?
//!
//! The five processes of a distributed installation (`sphere cluster`, `collect`, `forecast`, `cache`, `autoscale`),
//! with one configuration file, against a real Kafka, Redis and Prometheus. Steps and scrapes are one second apart.

use crate::accounting::Watcher;
use serde_json::{Value, json};
use sphere_kafka::KafkaConfig;
use sphere_pipeline::{Bus, Topic};
use sphere_testkit::kafka::Options;
use sphere_testkit::prometheus::Prometheus;
use sphere_testkit::redis::{Redis, RedisOptions};
use sphere_testkit::{Component, Kafka, data_dir, free_ports, wait_until};
use std::collections::BTreeMap;
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::path::PathBuf;
use std::process::Command;
use std::time::Duration;
use tempfile::TempDir;

/// Workloads of the simulated cluster.
pub const WORKLOADS: usize = 20;
/// Longest time for anything to happen, on a machine that does other things, too.
pub const PATIENCE: Duration = Duration::from_secs(60);
/// Largest record the topic `metrics` takes here, so that a record larger than any of ours can be published.
pub const HUGE: usize = 12 << 20;

/// A stage in a process of its own.
pub struct Service {
    pub process: Component,
    port: u16,
}

impl Service {
    /// Starts `sphere <stage>`; `through` comes before it on the command line.
    pub fn start(
        rig: &Parts,
        stage: &str,
        name: &str,
        through: &[&str],
        environment: &[(&str, String)],
    ) -> Self {
        let port = free_ports(1).unwrap()[0];
        let mut command: Vec<String> = through.iter().map(ToString::to_string).collect();
        command.extend([env!("CARGO_BIN_EXE_sphere"), stage, "--config"].map(String::from));
        command.push(rig.config.display().to_string());
        command.extend(["--listen".into(), format!("127.0.0.1:{port}")]);
        let environment = environment.iter().map(|(key, value)| (key.to_string(), value.clone())).collect();
        let log = rig.dir.path().join(format!("{name}.log"));
        let process = Component::start(name, command, environment, log).unwrap();
        Self { process, port }
    }

    /// Waits until bus, store, source and target answer it.
    pub fn wait_ready(&mut self) {
        let port = self.port;
        let ready = || http(port, "GET", "/readyz", "").is_some_and(|(status, _)| status == 200);
        self.process.wait_ready(PATIENCE, ready).unwrap();
    }

    /// Sum of the counters of that name whose labels contain all of `labels`; 0 where there is none yet.
    pub fn counter(&self, name: &str, labels: &[&str]) -> u64 {
        let (_, page) = http(self.port, "GET", "/metrics", "").expect("a running stage serves /metrics");
        let ours = page.lines().filter(|line| {
            line.strip_prefix(name).is_some_and(|rest| rest.starts_with(['{', ' ']))
                && labels.iter().all(|label| line.contains(label))
        });
        ours.filter_map(|line| line.rsplit_once(' ')?.1.parse::<f64>().ok()).sum::<f64>() as u64
    }

    /// `sphere_records_total` of the forecast stage.
    pub fn forecasts(&self, outcome: &str) -> u64 {
        let outcome = format!("outcome=\"{outcome}\"");
        self.counter("sphere_records_total", &["stage=\"forecast\"", &outcome])
    }
}

/// Where everything is.
pub struct Parts {
    pub dir: TempDir,
    pub config: PathBuf,
    cluster_port: u16,
}

/// Everything.
pub struct Rig {
    // Stages end before what they talk to.
    pub services: BTreeMap<&'static str, Service>,
    pub watcher: Watcher,
    pub bus: KafkaConfig,
    pub parts: Parts,
    _cluster: Component,
    pub prometheus: Prometheus,
    pub redis: Redis,
    pub kafka: Kafka,
}

/// The stages, in the order of the flow.
pub const STAGES: [&str; 4] = ["collect", "forecast", "cache", "autoscale"];

impl Rig {
    /// Starts everything; returns when all stages are ready.
    pub fn start() -> Self {
        let kafka = Kafka::with(&Options { message_max_bytes: HUGE, ..Options::default() }).unwrap();
        let redis = Redis::start_with(RedisOptions { append_only: true, ..RedisOptions::default() }).unwrap();
        let dir = data_dir("faults").unwrap();
        let cluster_port = free_ports(1).unwrap()[0];
        let address = format!("127.0.0.1:{cluster_port}");
        let prometheus = Prometheus::start(std::slice::from_ref(&address), Duration::from_secs(1)).unwrap();
        let bus = KafkaConfig {
            brokers: kafka.bootstrap(),
            partitions: 4,
            session_timeout_seconds: 4.0,
            release_timeout_seconds: 5.0,
            ..KafkaConfig::default()
        };
        make_metrics_topic(&bus);
        std::fs::write(dir.path().join("demand.csv"), demand()).unwrap();
        let config = dir.path().join("sphere.yaml");
        let settings = settings(&bus, &redis.address(), &prometheus.url(), &address, &dir);
        std::fs::write(&config, serde_json::to_vec_pretty(&settings).unwrap()).unwrap();

        let program = env!("CARGO_BIN_EXE_sphere").to_string();
        let arguments = ["cluster", "--listen", &address, "--config"].map(String::from);
        let mut command = vec![program];
        command.extend(arguments);
        command.push(config.display().to_string());
        let log = dir.path().join("cluster.log");
        let mut cluster = Component::start("cluster", command, Vec::new(), log).unwrap();
        let healthy = || http(cluster_port, "GET", "/healthz", "").is_some_and(|(status, _)| status == 200);
        cluster.wait_ready(PATIENCE, healthy).unwrap();

        let parts = Parts { dir, config, cluster_port };
        let mut services: BTreeMap<&'static str, Service> =
            STAGES.into_iter().map(|s| (s, Service::start(&parts, s, s, &[], &[]))).collect();
        services.values_mut().for_each(Service::wait_ready);
        let watcher = Watcher::start(bus.clone());
        Self { services, watcher, bus, parts, _cluster: cluster, prometheus, redis, kafka }
    }

    /// A stage's process.
    pub fn stage(&mut self, name: &str) -> &mut Service {
        self.services.get_mut(name).unwrap()
    }

    /// Replicas ordered of every workload, as the simulated cluster tells.
    pub fn replicas(&self) -> BTreeMap<String, u32> {
        let (status, body) = http(self.parts.cluster_port, "GET", "/apis/v1/workloads", "").unwrap();
        assert_eq!(status, 200, "{body}");
        let all: Vec<Value> = serde_json::from_str(&body).unwrap();
        let one = |w: &Value| {
            Some((w["workload"].as_str()?.to_string(), u32::try_from(w["replicas"].as_u64()?).ok()?))
        };
        all.iter().map(|w| one(w).expect("a workload with its size")).collect()
    }

    /// Sets the size of a workload behind the autoscaler's back.
    pub fn set_replicas(&self, workload: &str, replicas: u32) {
        let path = format!("/apis/v1/namespaces/{workload}/scale");
        // The autoscaler may move it at the same time; then once more.
        wait_until("the simulated cluster takes the order", PATIENCE, || {
            let expected = self.replicas()[workload];
            let order = json!({ "spec_replicas": replicas, "expected_replicas": expected }).to_string();
            http(self.parts.cluster_port, "PUT", &path, &order).is_some_and(|(status, _)| status == 200)
        })
        .unwrap();
    }

    /// What `sphere verify` says: whether it exited with 0, and its JSON.
    pub fn verify(&self) -> (bool, Value) {
        let mut command = Command::new(env!("CARGO_BIN_EXE_sphere"));
        command.args(["verify", "--output", "json", "--grace", "5s", "--config"]).arg(&self.parts.config);
        let output = command.output().unwrap();
        let text = String::from_utf8_lossy(&output.stdout);
        let told = serde_json::from_str(&text)
            .unwrap_or_else(|error| panic!("{error}: {text}{}", String::from_utf8_lossy(&output.stderr)));
        (output.status.success(), told)
    }
}

/// Demand that goes up and down every two minutes, so that there is something to scale.
fn demand() -> String {
    let mut text = String::from("timestamp_s,value\n");
    for step in 0..360 {
        let phase = f64::from(step) * 5.0 / 120.0 * std::f64::consts::TAU;
        text += &format!("{},{:.3}\n", step * 5, 40.0 + 15.0 * phase.sin());
    }
    text
}

fn settings(bus: &KafkaConfig, redis: &str, prometheus: &str, cluster: &str, dir: &TempDir) -> Value {
    let trace = dir.path().join("demand.csv");
    json!({
        "step": "1s",
        "bus": { "kafka": bus },
        "store": { "redis": { "nodes": [redis] } },
        "source": { "prometheus": {
            "url": prometheus, "timeoutSeconds": 2, "rateWindowSeconds": 5, "staleAfterSeconds": 5,
            "staticTtlSeconds": 20,
        } },
        "target": { "remoteCluster": { "url": format!("http://{cluster}"), "timeout": "2s" } },
        "simulatedCluster": {
            "scrapeSeconds": 1, "windowSeconds": 5,
            "workloads": [{
                "namespace": "shop", "name": "web", "count": WORKLOADS, "capacityRps": 10, "startup": "2s",
                "maxReplicas": 40, "demand": { "trace": { "path": trace, "repeat": true, "fromHours": 0 } },
            }],
        },
        "collect": { "delay": "300ms" },
        "forecast": { "workers": 2, "checkpoint": "2s", "backfill": "30s", "backfillTimeout": "2s" },
        "autoscale": { "sync": "2s", "delay": "500ms", "liveValid": "5s" },
        "workloadDefaults": {
            "mode": "Full", "startupSeconds": 2, "forecast": { "model": "sphere" },
            "metrics": [{ "type": "Resource", "resource": {
                "name": "cpu", "target": { "type": "Utilization", "averageUtilization": 60 } } }],
        },
    })
}

/// Makes `metrics` alone, with room for huge records; the stages make the other topics, and leave this one as it is.
fn make_metrics_topic(bus: &KafkaConfig) {
    let mut config = KafkaConfig { message_max_bytes: HUGE, ..bus.clone() };
    for topic in Topic::ALL.into_iter().filter(|topic| *topic != Topic::Metrics) {
        config.topics.insert(topic, format!("unused.{topic}"));
    }
    let runtime = tokio::runtime::Runtime::new().unwrap();
    runtime.block_on(async { sphere_kafka::KafkaBus::new(config).unwrap().create_topics().await }).unwrap();
}

/// Status and body of a small HTTP exchange on loopback; `None`: nobody answers.
fn http(port: u16, method: &str, path: &str, body: &str) -> Option<(u16, String)> {
    let limit = Duration::from_secs(5);
    let mut stream = TcpStream::connect_timeout(&SocketAddr::from(([127, 0, 0, 1], port)), limit).ok()?;
    stream.set_read_timeout(Some(limit)).ok()?;
    let length = body.len();
    write!(
        stream,
        "{method} {path} HTTP/1.1\r\nHost: 127.0.0.1\r\nConnection: close\r\nContent-Type: application/json\r\n\
         Content-Length: {length}\r\n\r\n{body}"
    )
    .ok()?;
    let mut answer = Vec::new();
    stream.read_to_end(&mut answer).ok()?;
    let answer = String::from_utf8_lossy(&answer);
    let (head, body) = answer.split_once("\r\n\r\n")?;
    Some((head.split(' ').nth(1)?.parse().ok()?, body.to_string()))
}
