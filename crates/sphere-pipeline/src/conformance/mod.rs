//! Does an implementation of [`Bus`](crate::Bus) or [`Store`](crate::Store) keep the promises of the trait?
//!
//! [`bus_suite`] and [`store_suite`] ask for every one of them and panic at the first that is broken; they are for
//! tests. They need no empty topics or keys: each run uses names of its own and leaves other records alone. They
//! run against brokers as well as in memory, so every wait has [`PATIENCE`].

#![allow(clippy::unwrap_used, reason = "a failing check is the message")]

mod bus;
mod handover;
mod store;

pub use bus::bus_suite;
pub use store::store_suite;

use std::future::Future;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

/// Longest wait for anything: a broker on a busy machine may take this long to hand over a partition.
pub const PATIENCE: Duration = Duration::from_secs(90);

/// A name nobody used before, in lower-case letters, digits and dashes.
fn unique(what: &str) -> String {
    static COUNT: AtomicU32 = AtomicU32::new(0);
    let nanos = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_nanos();
    format!("{what}-{nanos:x}-{}-{}", std::process::id(), COUNT.fetch_add(1, Ordering::Relaxed))
}

/// The result, or a panic that says what did not happen in time.
async fn within<T>(what: &str, doing: impl Future<Output = T>) -> T {
    match tokio::time::timeout(PATIENCE, doing).await {
        Ok(done) => done,
        Err(_) => panic!("{what}: not within {PATIENCE:?}"),
    }
}
