//! How do measurements become replica changes, continuously?
//!
//! Four stages, each a loop that reads, calls the pure core, writes, and counts:
//!
//! | stage | reads | writes |
//! |---|---|---|
//! | collect | [`MetricSource`] | topic `metrics` |
//! | forecast | topic `metrics` | topic `predictions`, model state in the [`Store`] |
//! | cache | topics `predictions`, `metrics` | [`Store`], announcements |
//! | autoscale | [`MetricSource`], [`Store`], [`ScaleTarget`] | [`ScaleTarget`], topic `decisions`, [`Store`] |
//!
//! What they read and write is behind four small traits. The implementations here need no service: a bus in
//! memory, a store in memory or in a file. Kafka, Redis and Prometheus are crates of their own.

pub mod autoscale;
pub mod bus;
pub mod cache;
pub mod clock;
pub mod collect;
#[cfg(feature = "conformance")]
pub mod conformance;
pub mod embedded;
pub mod forecast;
pub mod metrics;
pub mod retry;
pub mod source;
pub mod stage;
pub mod store;
pub mod target;
pub mod wire;
pub mod workload;

pub use bus::{Bus, BusError, Consumer, Delivery, Event, Header, Message, Partition, Subscription, Topic};
pub use clock::Clock;
pub use source::{History, Live, LiveReading, MetricSource, Problems, SourceError};
pub use store::{Announcements, Put, Slot, Store, StoreError};
pub use target::{Applied, NoTarget, ScaleTarget, TargetError};
pub use workload::{Workload, WorkloadSpec, Workloads};
