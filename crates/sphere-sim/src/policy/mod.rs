//! How many replicas does each contestant order?
//!
//! A policy sees only the [`View`] of its instant (and, before the run, the history); the oracle alone may
//! look ahead.

mod classic;
mod contestant;
mod fixed;
mod hpa;
mod oracle;
mod seasonal;
mod sphere;

use crate::demand::Demand;
use crate::metrics::View;
pub use classic::Classic;
pub use contestant::{ACCEPTED, Contestant, UnknownContestant};
pub use fixed::Static;
pub use hpa::{HpaPolicy, HpaSignal, HpaView, hpa_spec};
pub use oracle::Oracle;
pub use seasonal::Scheduled;
pub use sphere::{ForecastModel, SpherePolicy};
use sphere_core::{Distribution, Reason, Timestamp};

/// One contestant.
pub trait Policy: Send {
    /// Seconds between decisions.
    fn period_s(&self) -> u32;

    /// Seconds after a multiple of the period at which it decides.
    fn offset_s(&self) -> u32 {
        0
    }

    /// Size at the start of the run, where the policy has its own idea.
    fn initial_replicas(&self) -> Option<u32> {
        None
    }

    /// Learns from the history before the run.
    fn warm_up(&mut self, _demand: &Demand) {}

    /// The size to have, given what is visible at `at`.
    fn decide(&mut self, at: Timestamp, view: &View) -> u32;

    /// A pod has become ready `took_s` seconds after it was ordered.
    fn pod_ready(&mut self, _took_s: f64) {}

    /// What should be reported about the run as a whole, for example an objective that was not kept.
    fn events(&self) -> Vec<Reason> {
        Vec::new()
    }

    /// What the policy expects a lead time from now, where it forecasts.
    fn expected_at_lead(&self) -> Option<Distribution> {
        None
    }
}
