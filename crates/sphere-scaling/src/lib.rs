//! How many replicas should a workload have, and why?
//!
//! Values in, values out: no clock, no I/O, time is an argument. A decision can be replayed from a log, and a
//! simulator runs the very code production runs.
//!
//! - [`hpa`]: what the Kubernetes HPA would choose. Baseline, fallback and shadow.
//! - [`classic`]: what SPHERE's founding rule would choose.
//! - [`safety`]: when not to trust what we have, and what to do then.

pub mod classic;
pub mod hpa;
pub mod safety;
