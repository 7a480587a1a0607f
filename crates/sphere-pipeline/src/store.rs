//! Where is the newest of everything, for who comes later or comes back?
//!
//! A [`Store`] keeps, per workload, one value in each [`Slot`], a capped list of decisions, and announces new
//! predictions. It is a cache with two duties a cache does not have: model state and autoscaler state must
//! survive a restart. Values are opaque bytes here; [`crate::wire`] says what they mean.

use async_trait::async_trait;
use bytes::Bytes;
use sphere_core::WorkloadId;
use std::time::Duration;

/// What is kept per workload.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Slot {
    /// Newest forecast (JSON); expires when it may no longer be used.
    Prediction,
    /// Newest sample (JSON).
    Sample,
    /// The forecaster's model (binary, versioned).
    State,
    /// Newest decision (JSON).
    Decision,
    /// The autoscaler's memory: windows, cooldowns, price (JSON).
    Autoscaler,
    /// Measured lead time, whole milliseconds in decimal, from the autoscaler to the forecaster.
    Lead,
    /// Marks a running cooldown; expires with it.
    Cooldown,
}

impl Slot {
    /// All of them.
    pub const ALL: [Slot; 7] = [
        Slot::Prediction,
        Slot::Sample,
        Slot::State,
        Slot::Decision,
        Slot::Autoscaler,
        Slot::Lead,
        Slot::Cooldown,
    ];

    /// Last part of the key: `sphere:{ns/Kind/name}:prediction`.
    pub fn name(self) -> &'static str {
        match self {
            Slot::Prediction => "prediction",
            Slot::Sample => "sample",
            Slot::State => "state",
            Slot::Decision => "decision",
            Slot::Autoscaler => "autoscaler",
            Slot::Lead => "lead",
            Slot::Cooldown => "cooldown",
        }
    }
}

/// A value to keep.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Put {
    /// Whose.
    pub workload: WorkloadId,
    /// Where.
    pub slot: Slot,
    /// What.
    pub value: Bytes,
    /// Real time after which it is gone by itself. `None`: stays.
    pub expires_in: Option<Duration>,
}

/// Announcements of new predictions, as they come in.
#[async_trait]
pub trait Announcements: Send {
    /// The workloads announced since the last call, at least one. Announcements may be lost (a reconnect, a slow
    /// reader): what they announce is in the store all the same. Cancel-safe.
    async fn next(&mut self) -> Result<Vec<WorkloadId>, StoreError>;
}

/// Newest values per workload. See the module text.
#[async_trait]
pub trait Store: Send + Sync + 'static {
    /// Keeps all values; returns when the store has acknowledged every one. Each is put whole or not at all.
    async fn put(&self, values: Vec<Put>) -> Result<(), StoreError>;

    /// The values of one slot, in the order asked for. Expired ones are absent.
    async fn get(&self, slot: Slot, workloads: &[WorkloadId]) -> Result<Vec<Option<Bytes>>, StoreError>;

    /// Forgets everything about these workloads.
    async fn forget(&self, workloads: &[WorkloadId]) -> Result<(), StoreError>;

    /// Adds to the workloads' lists of decisions and cuts each to about the newest `keep` (never fewer).
    async fn append(&self, entries: Vec<(WorkloadId, Bytes)>, keep: usize) -> Result<(), StoreError>;

    /// The newest `count` entries of a workload's list, newest first.
    async fn history(&self, workload: &WorkloadId, count: usize) -> Result<Vec<Bytes>, StoreError>;

    /// Tells all listeners that these workloads have a new prediction. Nobody may be listening.
    async fn announce(&self, workloads: &[WorkloadId]) -> Result<(), StoreError>;

    /// Listens from now on.
    async fn announcements(&self) -> Result<Box<dyn Announcements>, StoreError>;

    /// Is the store reachable now?
    async fn check(&self) -> Result<(), StoreError>;
}

/// What can go wrong in a store.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    /// Worth another try after a pause.
    #[error("store: {doing}: {detail}")]
    Unavailable {
        /// What was attempted.
        doing: &'static str,
        /// What the component said.
        detail: String,
    },
    /// Repeating is of no use: credentials, configuration, a damaged file.
    #[error("store: {doing}: {detail}")]
    Permanent {
        /// What was attempted.
        doing: &'static str,
        /// What the component said, and what is accepted.
        detail: String,
    },
}

impl StoreError {
    /// Is another try worth it?
    pub fn is_transient(&self) -> bool {
        matches!(self, StoreError::Unavailable { .. })
    }
}
