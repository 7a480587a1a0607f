//! What all tests of this crate need: configurations, workloads, waiting.
#![allow(dead_code)]

use bytes::Bytes;
use sphere_core::WorkloadId;
use sphere_pipeline::{Put, Slot, Store, StoreError};
use sphere_redis::{RedisConfig, RedisTimeouts};
use std::time::{Duration, Instant};

/// Longer than anything takes on a busy machine.
pub const LIMIT: Duration = Duration::from_secs(60);

pub fn single(address: &str) -> RedisConfig {
    RedisConfig { nodes: vec![address.into()], ..RedisConfig::default() }
}

pub fn cluster(addresses: Vec<String>) -> RedisConfig {
    RedisConfig { nodes: addresses, cluster: true, ..RedisConfig::default() }
}

/// Gives up soon, for tests that want to see an outage.
pub fn impatient(config: RedisConfig) -> RedisConfig {
    let timeouts = RedisTimeouts { connect_seconds: 1.0, response_seconds: 1.0, operation_seconds: 1.0 };
    RedisConfig { timeouts, retries: 2, ..config }
}

pub fn workload(number: usize) -> WorkloadId {
    WorkloadId::new("shop", "Deployment", &format!("front-end-{number}")).unwrap()
}

pub fn workloads(count: usize) -> Vec<WorkloadId> {
    (0..count).map(workload).collect()
}

pub fn put(workload: &WorkloadId, slot: Slot, value: impl Into<Bytes>) -> Put {
    Put { workload: workload.clone(), slot, value: value.into(), expires_in: None }
}

/// Repeats `attempt` until it succeeds; errors on the way must be transient. Returns how long it took.
pub async fn recovers<T, F: Future<Output = Result<T, StoreError>>>(
    mut attempt: impl FnMut() -> F,
) -> (T, Duration) {
    let started = Instant::now();
    loop {
        match attempt().await {
            Ok(value) => return (value, started.elapsed()),
            Err(error) => {
                assert!(error.is_transient(), "{error}");
                assert!(started.elapsed() < LIMIT, "no recovery: {error}");
                tokio::time::sleep(Duration::from_millis(20)).await;
            }
        }
    }
}

/// Waits until `done` says so.
pub async fn until<F: Future<Output = bool>>(what: &str, mut done: impl FnMut() -> F) -> Duration {
    let started = Instant::now();
    while !done().await {
        assert!(started.elapsed() < LIMIT, "waited in vain until {what}");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    started.elapsed()
}

/// Announces `workload` until `listener` hears it: a listener that reconnects misses what is said meanwhile.
pub async fn heard(
    store: &dyn Store,
    listener: &mut dyn sphere_pipeline::Announcements,
    workload: &WorkloadId,
) -> Duration {
    let started = Instant::now();
    loop {
        let said = store.announce(std::slice::from_ref(workload)).await;
        assert!(said.as_ref().err().is_none_or(StoreError::is_transient), "{said:?}");
        let limit = Duration::from_millis(200);
        if let Ok(ids) = tokio::time::timeout(limit, listener.next()).await
            && ids.unwrap().contains(workload)
        {
            return started.elapsed();
        }
        assert!(started.elapsed() < LIMIT, "never heard");
    }
}
