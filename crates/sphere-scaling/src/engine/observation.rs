//! What is there to decide on?

use super::{count, finite, positive};
use crate::hpa::Snapshot;
use sphere_core::{Reason, Timestamp};

/// What scaling needs to know about a workload at one instant.
///
/// A number that is NaN, infinite or negative (a capacity: not above 0) counts as not measured. What is too old
/// belongs left out by whoever fills this in.
#[derive(Clone, Copy, Debug)]
pub struct Observation<'a> {
    /// The instant.
    pub now: Timestamp,
    /// Replicas asked for. Where the snapshot holds the target's scale, that counts.
    pub current: u32,
    /// Replicas ready.
    pub ready: u32,
    /// What the HPA sees: pods and metrics.
    pub snapshot: Snapshot<'a>,
    /// Newest measured demand, in the unit of the forecast. `None`: not measured.
    pub demand: Option<f64>,
    /// Stated capacity of one pod, in the unit of the forecast. `None`: the spec's.
    pub capacity_per_pod: Option<f64>,
    /// Share of ready capacity in use, where it is measured independently of `demand`.
    pub utilization: Option<f64>,
    /// Mean number of ready replicas over the interval `demand` and `utilization` describe.
    pub mean_ready: f64,
    /// Pods are at their limit: `demand` is a lower bound.
    pub censored: bool,
    /// Share of the last interval in which demand exceeded ready capacity. `None`: not measured.
    pub violated_share: Option<f64>,
    /// Another writer of the target, if one was found.
    pub conflict_with: Option<&'a str>,
    /// What else keeps us from acting on it. Empty: nothing.
    pub holds: &'a [Reason],
}

impl Observation<'_> {
    /// The same without what is no measurement, and with one answer to how many replicas there are.
    pub(super) fn checked(&self) -> Self {
        Self {
            current: self.snapshot.scale.map_or(self.current, |scale| count(scale.spec_replicas)),
            demand: finite(self.demand),
            capacity_per_pod: positive(self.capacity_per_pod),
            utilization: finite(self.utilization),
            violated_share: finite(self.violated_share),
            ..*self
        }
    }
}
