//! How are the newest values kept in Redis, on one node or in a Redis Cluster?
//!
//! | what | key | type |
//! |---|---|---|
//! | value of a [`Slot`] | `sphere:{ns/Kind/name}:prediction`, `:sample`, `:state`, `:decision`, `:autoscaler`, `:cooldown` | string, with its expiry |
//! | decisions | `sphere:{ns/Kind/name}:decisions` | stream, field `json`, trimmed to about the newest |
//! | announcements | `sphere:predictions` | pub/sub channel, workload ids, one per line |
//!
//! The braces are a hash tag: all keys of a workload are in one hash slot, thus on one node.
//!
//! What holds when something fails:
//! - An operation repeats what failed for a passing reason, a stated number of times; then it is
//!   [`StoreError::Unavailable`] and the caller's turn. Nothing is kept back for later.
//! - Redis replicates after it acknowledged. A master that dies may take with it what it acknowledged in the last
//!   moments; here that is a forecast or a model state one step old.
//! - Values are put at least once, which is the same as once. A decision whose acknowledgement was lost may be in
//!   the list twice; it carries its own identity.

mod address;
mod announce;
mod batch;
mod config;
mod counters;
mod failure;
mod inspect;
mod link;
mod nodes;
mod store;

pub use config::{RedisConfig, RedisTimeouts, RedisTls};
pub use counters::StoreCounters;
pub use inspect::{Inspection, KeptValue};
pub use store::RedisStore;

#[cfg(doc)]
use sphere_pipeline::{Slot, StoreError};
