//! How many replicas should a workload have, and why?
//!
//! Values in, values out: no clock, no I/O, time is an argument. A decision can be replayed from a log, and a
//! simulator runs the very code production runs.
//!
//! - [`engine`]: all of the below put together: one observation and one forecast in, one decision out.
//! - [`hpa`]: what the Kubernetes HPA would choose. Baseline, fallback and shadow.
//! - [`price`]: what a forecast is worth in replicas, and [`slo`]: at which price an SLO holds.
//! - [`classic`]: what SPHERE's founding rule would choose.
//! - [`lead_time`], [`capacity`]: how long a pod takes and what it carries, measured.
//! - [`safety`]: when not to trust what we have, and what to do then.

pub mod capacity;
pub mod classic;
pub mod engine;
pub mod hpa;
pub mod lead_time;
pub mod price;
pub mod safety;
pub mod slo;
pub mod spec;

pub use capacity::PodCapacity;
pub use engine::{Autoscaler, AutoscalerState, Observation};
pub use lead_time::LeadTime;
pub use price::{DeadBand, PriceChoice, PriceConfig, PricePolicy};
pub use slo::{SloLoop, SloOutOfRange};
pub use spec::{Objective, PredictivePolicy, ScalingSpec, SpecProblem};
