//! How does a pipeline in another process scale the simulated cluster?
//!
//! [`RemoteCluster`] speaks [`crate::api`] over plain HTTP. Every request has a time limit; nothing is repeated here:
//! who decides again every few seconds repeats by itself. An order whose answer was lost may have been carried out;
//! its repetition then finds the size moved, and touches nothing.

use crate::api::{Floor, Health, Order, Refusal, Since, Startups};
use async_trait::async_trait;
use reqwest::{Client, Method, RequestBuilder, Response, StatusCode, Url};
use serde::de::DeserializeOwned;
use sphere_core::WorkloadId;
use sphere_pipeline::target::{Applied, ScaleTarget, TargetError};
use sphere_pipeline::workload::Workload;
use sphere_scaling::hpa::Scale;
use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

/// Time limits where nobody sets others.
const CONNECT_LIMIT: Duration = Duration::from_secs(2);
/// Longest error text taken over from an answer, characters.
const LONGEST_DETAIL: usize = 300;

/// Why a client can not be made.
#[derive(Debug, thiserror::Error)]
pub enum RemoteError {
    /// The address can not be used.
    #[error(
        "simulated cluster at {address:?}: {problem}; an address such as http://127.0.0.1:9797 is expected"
    )]
    Address {
        /// As given.
        address: String,
        /// What is wrong with it.
        problem: String,
    },
    /// The HTTP client can not be made.
    #[error("simulated cluster: no HTTP client: {0}")]
    Client(String),
}

/// A simulated cluster in another process. See the module text.
#[derive(Debug)]
pub struct RemoteCluster {
    base: Url,
    client: Client,
    /// Per workload: number of the first start-up not yet told. As many as there are workloads.
    told: Mutex<HashMap<WorkloadId, u64>>,
}

impl RemoteCluster {
    /// The cluster at `address`; each request may take `limit` in all.
    pub fn new(address: &str, limit: Duration) -> Result<Self, RemoteError> {
        let bad = |problem: String| RemoteError::Address { address: address.into(), problem };
        let base = Url::parse(address).map_err(|error| bad(error.to_string()))?;
        if base.scheme() != "http" || base.host_str().is_none() {
            return Err(bad("it does not begin with http:// and a host".into()));
        }
        if !base.username().is_empty() || base.password().is_some() {
            // Its text would carry the password into logs.
            let address = "http://…@…".into();
            return Err(RemoteError::Address { address, problem: "it holds credentials".into() });
        }
        // The client wants a provider of cryptography even for plain HTTP; the first one installed stays.
        let _ = rustls::crypto::ring::default_provider().install_default();
        let client = Client::builder()
            .timeout(limit)
            .connect_timeout(limit.min(CONNECT_LIMIT))
            .no_proxy()
            .build()
            .map_err(|error| RemoteError::Client(error.to_string()))?;
        Ok(Self { base, client, told: Mutex::new(HashMap::new()) })
    }

    fn request(&self, method: Method, path: &[&str]) -> Result<RequestBuilder, TargetError> {
        let mut url = self.base.clone();
        match url.path_segments_mut() {
            Ok(mut segments) => segments.pop_if_empty().extend(path),
            Err(()) => return Err(TargetError::Unavailable(format!("{} has no path", self.base))),
        };
        Ok(self.client.request(method, url))
    }

    fn of(&self, method: Method, id: &WorkloadId, what: &str) -> Result<RequestBuilder, TargetError> {
        let path = ["apis", "v1", "namespaces", id.namespace(), id.kind(), id.name(), what];
        self.request(method, &path)
    }

    /// What came back, or why nothing did.
    async fn send(&self, request: RequestBuilder, what: &str) -> Result<Response, TargetError> {
        request.send().await.map_err(|error| {
            let why = if error.is_timeout() { "no answer in time".to_owned() } else { innermost(&error) };
            TargetError::Unavailable(format!("{what} at {}: {why}", self.base))
        })
    }

    async fn answer<T: DeserializeOwned>(
        &self,
        request: RequestBuilder,
        what: &str,
    ) -> Result<T, TargetError> {
        let response = self.send(request, what).await?;
        if !response.status().is_success() {
            return Err(refusal(response, what).await);
        }
        read(response, what).await
    }

    /// Is it there, and what time is it?
    pub async fn health(&self) -> Result<Health, TargetError> {
        self.answer(self.request(Method::GET, &["healthz"])?, "health").await
    }
}

fn innermost(error: &dyn std::error::Error) -> String {
    let mut innermost = error;
    while let Some(source) = innermost.source() {
        innermost = source;
    }
    innermost.to_string()
}

async fn read<T: DeserializeOwned>(response: Response, what: &str) -> Result<T, TargetError> {
    response.json().await.map_err(|error| {
        TargetError::Unavailable(format!("{what}: an answer that can not be read: {}", innermost(&error)))
    })
}

async fn refusal(response: Response, what: &str) -> TargetError {
    let status = response.status();
    let text = response.text().await.unwrap_or_default();
    let detail = serde_json::from_str::<Refusal>(&text).map_or(text, |refusal| refusal.message);
    let detail: String = detail.chars().take(LONGEST_DETAIL).collect();
    let message = format!("{what}: {status}: {detail}");
    match status {
        StatusCode::NOT_FOUND | StatusCode::UNPROCESSABLE_ENTITY | StatusCode::BAD_REQUEST => {
            TargetError::NotScalable(message)
        }
        StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN => TargetError::Forbidden(message),
        _ => TargetError::Unavailable(message),
    }
}

#[async_trait]
impl ScaleTarget for RemoteCluster {
    async fn scale(&self, workload: &Workload) -> Result<Option<Scale>, TargetError> {
        let what = format!("scale of {}", workload.id);
        self.answer(self.of(Method::GET, &workload.id, "scale")?, &what).await.map(Some)
    }

    async fn set_replicas(&self, workload: &Workload, from: u32, to: u32) -> Result<Applied, TargetError> {
        let what = format!("order of {to} replicas instead of {from} for {}", workload.id);
        let order = Order { spec_replicas: to, expected_replicas: from };
        let request = self.of(Method::PUT, &workload.id, "scale")?.json(&order);
        let response = self.send(request, &what).await?;
        match response.status() {
            StatusCode::CONFLICT => {
                let refusal: Refusal = read(response, &what).await?;
                let replicas = refusal.replicas.ok_or_else(|| {
                    TargetError::Unavailable(format!("{what}: refused as moved, without the size it has"))
                })?;
                Ok(Applied::Moved { replicas })
            }
            status if status.is_success() => Ok(Applied::Done),
            _ => Err(refusal(response, &what).await),
        }
    }

    async fn set_floor(&self, workload: &Workload, floor: Option<u32>) -> Result<Applied, TargetError> {
        let what = format!("minimum for {}", workload.id);
        let request = self.of(Method::PUT, &workload.id, "floor")?.json(&Floor { floor });
        self.answer::<Floor>(request, &what).await.map(|_| Applied::Done)
    }

    async fn startups(&self, workload: &Workload) -> Result<Vec<Duration>, TargetError> {
        let told = || self.told.lock().unwrap_or_else(PoisonError::into_inner);
        let since = told().get(&workload.id).copied().unwrap_or(0);
        let what = format!("start-ups of {}", workload.id);
        let request = self.of(Method::GET, &workload.id, "startups")?.query(&Since { since });
        let found: Startups = self.answer(request, &what).await?;
        told().insert(workload.id.clone(), found.next);
        let duration = |seconds: &f64| Duration::try_from_secs_f64(*seconds);
        found
            .seconds
            .iter()
            .map(duration)
            .collect::<Result<_, _>>()
            .map_err(|error| TargetError::Unavailable(format!("{what}: a time that can not be: {error}")))
    }

    async fn check(&self) -> Result<(), TargetError> {
        self.health().await.map(|_| ())
    }
}
