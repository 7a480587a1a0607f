//! A small cluster as its exporters would show it, scraped by a real Prometheus every second.
#![allow(dead_code, reason = "each test binary uses its part")]

use sphere_core::{Sample, Timestamp};
use sphere_pipeline::{MetricSource, SourceError, Workload, WorkloadSpec};
use sphere_prometheus::{Prometheus, PrometheusConfig};
use sphere_testkit::prometheus::{Exporter, Page, Prometheus as Server};
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

pub const SECOND: Duration = Duration::from_secs(1);
/// Generous, for a machine with two busy cores.
pub const LIMIT: Duration = Duration::from_secs(90);

pub fn now() -> Timestamp {
    Timestamp(SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_millis() as i64)
}

pub fn workload(id: &str) -> WorkloadSpec {
    WorkloadSpec::new(&id.parse().unwrap(), 1, 50)
}

pub fn workloads(specs: Vec<WorkloadSpec>) -> Vec<Arc<Workload>> {
    specs.into_iter().map(|spec| Arc::new(Workload::new(spec).unwrap())).collect()
}

/// Windows that suit scrapes every second.
pub fn config(url: &str) -> PrometheusConfig {
    PrometheusConfig { rate_window_seconds: 5.0, stale_after_seconds: 4.0, ..PrometheusConfig::new(url) }
}

pub fn source(server: &Server) -> Prometheus {
    Prometheus::new(config(&server.url())).unwrap()
}

/// One pod of the page.
#[derive(Clone)]
pub struct Pod {
    pub name: String,
    pub owner: (&'static str, String),
    /// Cores in use; counters are the product with the time.
    pub cores: f64,
    /// Requests per second; absent: it has no such counter.
    pub requests: Option<f64>,
    pub ready_since_s: f64,
    pub started_s: f64,
    /// Its node answers cAdvisor scrapes.
    pub seen: bool,
    /// It still exists.
    pub exists: bool,
}

impl Pod {
    pub fn new(name: &str, owner: (&'static str, &str), cores: f64) -> Self {
        Self {
            name: name.into(),
            owner: (owner.0, owner.1.into()),
            cores,
            requests: None,
            ready_since_s: 1000.0,
            started_s: 990.0,
            seen: true,
            exists: true,
        }
    }

    pub fn show(&self, page: &mut Page, counter_seconds: f64) {
        let pod = format!(r#"namespace="shop",pod="{}""#, self.name);
        if self.seen && self.exists {
            let app = format!(r#"{pod},container="app""#);
            page.set("container_cpu_usage_seconds_total", &app, self.cores * counter_seconds);
            page.set("container_memory_working_set_bytes", &app, 1e6);
            // The sandbox and the sum over the pod must not be counted again.
            for other in [r#"container="POD""#, r#"container="""#] {
                let labels = format!("{pod},{other}");
                page.set("container_cpu_usage_seconds_total", &labels, 7.0 * counter_seconds);
            }
            if let Some(rate) = self.requests {
                let labels = format!(r#"{pod},path="/""#);
                page.set("http_request_duration_seconds_count", &labels, rate * counter_seconds);
            }
        }
        if !self.exists {
            return;
        }
        for phase in ["Pending", "Running", "Succeeded", "Failed", "Unknown"] {
            let value = f64::from(u8::from(phase == "Running"));
            page.set("kube_pod_status_phase", &format!(r#"{pod},phase="{phase}""#), value);
        }
        for (condition, value) in [("true", 1.0), ("false", 0.0), ("unknown", 0.0)] {
            page.set("kube_pod_status_ready", &format!(r#"{pod},condition="{condition}""#), value);
        }
        page.set("kube_pod_status_ready_time", &pod, self.ready_since_s);
        page.set("kube_pod_start_time", &pod, self.started_s);
        let (kind, owner) = &self.owner;
        page.set(
            "kube_pod_owner",
            &format!(r#"{pod},owner_kind="{kind}",owner_name="{owner}",owner_is_controller="true""#),
            1.0,
        );
        page.set("kube_pod_info", &format!(r#"{pod},node="node-1""#), 1.0);
        let app = format!(r#"{pod},container="app""#);
        page.set("kube_pod_container_info", &format!(r#"{app},image="x""#), 1.0);
        for (resource, request, limit) in [("cpu", 0.5, 1.0), ("memory", 1e6, 2e6)] {
            let labels = format!(r#"{app},node="node-1",resource="{resource}""#);
            page.set("kube_pod_container_resource_requests", &labels, request);
            page.set("kube_pod_container_resource_limits", &labels, limit);
        }
    }
}

pub fn replica_set(page: &mut Page, name: &str, deployment: &str) {
    let labels = format!(
        r#"namespace="shop",replicaset="{name}",owner_kind="Deployment",owner_name="{deployment}",owner_is_controller="true""#
    );
    page.set("kube_replicaset_owner", &labels, 1.0);
}

pub fn replicas(page: &mut Page, deployment: &str, spec: u32, ready: u32) {
    let labels = format!(r#"namespace="shop",deployment="{deployment}""#);
    page.set("kube_deployment_spec_replicas", &labels, spec.into());
    page.set("kube_deployment_status_replicas_ready", &labels, ready.into());
}

/// Pods whose counters grow with the time of day until it is dropped.
pub struct Cluster {
    pub pods: Arc<std::sync::Mutex<Vec<Pod>>>,
    /// Further series.
    pub fixed: Arc<std::sync::Mutex<Page>>,
    /// Counters are seconds since this instant.
    pub origin: Arc<std::sync::Mutex<Instant>>,
    pub exporter: Arc<Exporter>,
    over: Arc<std::sync::atomic::AtomicBool>,
}

impl Cluster {
    pub fn start(pods: Vec<Pod>, fixed: Page) -> Self {
        let cluster = Self {
            pods: Arc::new(pods.into()),
            fixed: Arc::new(fixed.into()),
            origin: Arc::new(Instant::now().into()),
            exporter: Arc::new(Exporter::start().unwrap()),
            over: Arc::default(),
        };
        let (pods, fixed) = (cluster.pods.clone(), cluster.fixed.clone());
        let (origin, exporter, over) =
            (cluster.origin.clone(), cluster.exporter.clone(), cluster.over.clone());
        std::thread::spawn(move || {
            while !over.load(std::sync::atomic::Ordering::SeqCst) {
                let mut page = fixed.lock().unwrap().clone();
                let elapsed = origin.lock().unwrap().elapsed().as_secs_f64();
                for pod in pods.lock().unwrap().iter() {
                    pod.show(&mut page, elapsed);
                }
                exporter.set(page.text());
                // How finely the counters move, not a wait for anything.
                std::thread::sleep(Duration::from_millis(20));
            }
        });
        cluster
    }

    pub fn change(&self, name: &str, change: impl Fn(&mut Pod)) {
        self.pods.lock().unwrap().iter_mut().filter(|pod| pod.name == name).for_each(change);
    }
}

impl Drop for Cluster {
    fn drop(&mut self) {
        self.over.store(true, std::sync::atomic::Ordering::SeqCst);
    }
}

/// Asks for the sample of the only workload until `good` likes the answer.
pub async fn sample_until(
    source: &Prometheus,
    workloads: &[Arc<Workload>],
    good: impl Fn(&Result<Sample, SourceError>) -> bool,
) -> Result<Sample, SourceError> {
    let started = Instant::now();
    loop {
        let answer = source.samples(workloads, now()).await.remove(0);
        if good(&answer) {
            return answer;
        }
        assert!(started.elapsed() < LIMIT, "waited in vain; the last answer: {answer:?}");
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
}

/// Waits until the demand of the only workload is `cores`, within 6 %.
pub async fn demand_until(source: &Prometheus, workloads: &[Arc<Workload>], cores: f64) -> Sample {
    let near = |demand: f64| (demand - cores).abs() <= 0.06 * cores;
    let good = |answer: &Result<Sample, SourceError>| {
        answer.as_ref().is_ok_and(|sample| sample.demand.is_some_and(near))
    };
    sample_until(source, workloads, good).await.unwrap()
}
