//! What do client and server of the scale API say to each other?
//!
//! | request | answer |
//! |---|---|
//! | `GET /healthz` | [`Health`] |
//! | `GET /apis/v1/workloads` | a list of [`WorkloadState`] |
//! | `GET /apis/v1/namespaces/{ns}/{kind}/{name}/scale` | [`Scale`] |
//! | `PUT …/scale` with [`Order`] | [`Scale`], or 409 with [`Refusal`] when the size has moved |
//! | `PUT …/floor` with [`Floor`] | [`Floor`] |
//! | `GET …/startups?since=N` | [`Startups`] |
//! | `GET …/score`, `GET /apis/v1/scores` | the scores so far |
//! | `GET /metrics` | counters and states, as text for Prometheus |
//!
//! Whatever is refused comes back as a [`Refusal`]: 404 for what is not there, 409 for what has moved, 422 for what
//! can not be.

use serde::{Deserialize, Serialize};
use sphere_core::{Timestamp, WorkloadId};
pub use sphere_scaling::hpa::Scale;

/// Is the cluster there, and what time is it?
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Health {
    /// `ok`.
    pub status: String,
    /// Its time.
    pub now: Timestamp,
    /// Time it skipped so far because its clock jumped, seconds.
    pub skipped_seconds: u64,
}

/// One workload now.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct WorkloadState {
    /// Its identity.
    pub workload: WorkloadId,
    /// Pods asked for.
    pub replicas: u32,
    /// Pods that serve.
    pub ready: u32,
    /// Smallest size its HPA may choose; absent: it has none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub floor: Option<u32>,
}

/// An order for a size.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Order {
    /// The size to have.
    pub spec_replicas: u32,
    /// The size the order was made for; it is refused when that has changed.
    pub expected_replicas: u32,
}

/// Smallest size the HPA in charge may choose.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Floor {
    /// `null`: as configured.
    pub floor: Option<u32>,
}

/// How long pods took from create to Ready.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Startups {
    /// Oldest first, seconds.
    pub seconds: Vec<f64>,
    /// What to ask for as `since` the next time.
    pub next: u64,
}

/// Which start-ups are wanted.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Since {
    /// Number of the first.
    #[serde(default)]
    pub since: u64,
}

/// Why something was not done.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Refusal {
    /// In words.
    pub message: String,
    /// The size it has now, when that is the reason.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub replicas: Option<u32>,
}
