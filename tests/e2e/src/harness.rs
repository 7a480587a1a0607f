//! How does a test say what users ask of a workload, break things, and read the score?

use serde::Deserialize;
use serde::de::DeserializeOwned;
use serde_json::{Value, json};
use std::time::Duration;

/// The control API of the control plane.
#[derive(Clone)]
pub struct Harness {
    address: String,
    client: reqwest::Client,
}

/// How well a workload was sized since its demand was set.
#[derive(Clone, Debug, Deserialize)]
pub struct Score {
    /// Length of the time judged.
    pub seconds: f64,
    /// Time in which demand was above ready capacity.
    pub over_seconds: f64,
    /// The same, judged by means of 10 s, as the simulator does.
    pub over_bin_seconds: f64,
    /// Share of demand that was lost, 0 to 1; absent without demand.
    pub lost_share: Option<f64>,
    /// Pods times seconds, starting pods too.
    pub pod_seconds: f64,
    /// Times the size was raised.
    pub scale_ups: u32,
    /// Times the size was lowered.
    pub scale_downs: u32,
    /// Most pods at a time.
    pub max_pods: u32,
    /// The present.
    pub now: Moment,
}

/// One look at a workload.
#[derive(Clone, Copy, Debug, Deserialize)]
pub struct Moment {
    /// Since the demand was set.
    pub seconds: f64,
    /// What users ask for.
    pub demand_cores: f64,
    /// What the spec asks for.
    pub replicas: Option<u32>,
    /// Pods that exist.
    pub pods: u32,
    /// Pods that serve.
    pub ready_pods: u32,
}

impl Harness {
    /// At this address, e.g. `http://127.0.0.1:4711`.
    pub fn new(address: &str) -> Self {
        // Restarting an API server takes as long as it takes.
        let client = reqwest::Client::builder().timeout(Duration::from_secs(300)).build().unwrap();
        Self { address: address.trim_end_matches('/').into(), client }
    }

    /// Where it is, e.g. `http://127.0.0.1:4711`. `/metrics` there is for a Prometheus.
    pub fn address(&self) -> &str {
        &self.address
    }

    async fn ask(&self, method: reqwest::Method, path: &str, body: Option<Value>) -> Result<String, String> {
        let mut request = self.client.request(method, format!("{}/{path}", self.address));
        if let Some(body) = body {
            request = request.body(body.to_string());
        }
        let answer = request.send().await.map_err(|error| format!("harness, {path}: {error}"))?;
        let code = answer.status();
        let text = answer.text().await.map_err(|error| format!("harness, {path}: {error}"))?;
        if code.is_success() { Ok(text) } else { Err(format!("harness, {path}: {code}: {text}")) }
    }

    async fn get<T: DeserializeOwned>(&self, path: &str) -> Result<T, String> {
        let text = self.ask(reqwest::Method::GET, path, None).await?;
        serde_json::from_str(&text).map_err(|error| format!("harness, {path}: {error}"))
    }

    async fn must(&self, method: reqwest::Method, path: &str, body: Option<Value>) -> String {
        self.ask(method, path, body).await.unwrap_or_else(|problem| panic!("{problem}"))
    }

    /// Sets the demand of a workload; its score starts anew. See the README of the control plane for the body.
    pub async fn demand(&self, namespace: &str, name: &str, body: Value) {
        self.must(reqwest::Method::PUT, &format!("demand/{namespace}/{name}"), Some(body)).await;
    }

    /// So many cores for good.
    pub async fn cores(&self, namespace: &str, name: &str, cores: f64) {
        self.demand(namespace, name, json!({"cores": cores})).await;
    }

    /// Sets the value of an external metric.
    pub async fn external(&self, namespace: &str, metric: &str, value: f64) {
        let body = json!({"value": value});
        self.must(reqwest::Method::PUT, &format!("external/{namespace}/{metric}"), Some(body)).await;
    }

    /// The score since the demand was set.
    pub async fn score(&self, namespace: &str, name: &str) -> Score {
        self.get(&format!("score/{namespace}/{name}")).await.unwrap_or_else(|problem| panic!("{problem}"))
    }

    /// Second by second.
    pub async fn history(&self, namespace: &str, name: &str) -> Vec<Moment> {
        self.get(&format!("history/{namespace}/{name}")).await.unwrap_or_else(|problem| panic!("{problem}"))
    }

    /// Breaks a group of metrics in one namespace (`down` breaks it for all).
    pub async fn fault(&self, group: &str, fault: Value) {
        self.must(reqwest::Method::PUT, &format!("faults/{group}"), Some(fault)).await;
    }

    /// Mends everything.
    pub async fn mend(&self) {
        self.must(reqwest::Method::DELETE, "faults", None).await;
    }

    /// Kills a component and starts it again after a while; returns when it is ready.
    pub async fn restart(&self, component: &str, down: Duration) {
        let body = json!({"down_seconds": down.as_secs_f64()});
        self.must(reqwest::Method::POST, &format!("components/{component}/restart"), Some(body)).await;
    }

    /// Makes all watches that are resumed end with 410; returns what a watch of the harness got.
    pub async fn expire_watches(&self) -> String {
        let text = self.must(reqwest::Method::POST, "expire-watches", None).await;
        let answer: Value = serde_json::from_str(&text).unwrap();
        answer["observed"].as_str().unwrap_or_default().to_owned()
    }

    /// A kubeconfig with a fresh token of a service account.
    pub async fn kubeconfig(&self, namespace: &str, account: &str) -> Result<String, String> {
        self.ask(reqwest::Method::GET, &format!("kubeconfig/{namespace}/{account}"), None).await
    }

    /// Where the program is, which Kubernetes it runs.
    pub async fn info(&self) -> Value {
        self.get("info").await.unwrap_or_else(|problem| panic!("{problem}"))
    }

    /// The text of any page.
    pub async fn text(&self, url: &str) -> Result<String, String> {
        let answer = self.client.get(url).send().await.map_err(|error| error.to_string())?;
        let code = answer.status();
        let text = answer.text().await.map_err(|error| error.to_string())?;
        if code.is_success() { Ok(text) } else { Err(format!("{url}: {code}: {text}")) }
    }
}
