//! How many replicas should a workload have, and why?
//!
//! Values in, values out: no clock, no I/O, time is an argument. A decision can be replayed from a log, and a
//! simulator runs the very code production runs.
//!
//! - [`hpa`]: what the Kubernetes HPA would choose. Baseline, fallback and shadow.

mod capacity;
pub mod hpa;
mod lead_time;
mod price;
mod slo;

pub use capacity::PodCapacity;
pub use lead_time::LeadTime;
pub use price::{DeadBand, PriceChoice, PriceConfig, PricePolicy};
pub use slo::{SloLoop, SloOutOfRange};
