//! How does SPHERE live in a Kubernetes cluster?
//!
//! | question | module |
//! |---|---|
//! | What does the owner of a workload write? | [`api`] |
//! | What is known of pods, sizes, kinds and other autoscalers? | [`cluster`] |
//! | What would the HPA see, and what is demand? | [`source`] |
//! | Who writes sizes and floors, and with which right? | [`target`] |
//! | Why did the API server say no? | [`error`] |
//! | Who looks after the objects? | [`operator`] |
//! | Which of several operators acts? | [`lease`] |
//! | What survives an operator without Redis, and where? | [`memory`] |
//! | What is asked of the API server, and how often? | [`requests`] |
//!
//! The metric source asks `metrics.k8s.io`, `custom.metrics.k8s.io` and `external.metrics.k8s.io` and groups pods as
//! the HPA does; demand in requests per second, or by a query, comes from another source
//! ([`source::DemandFrom`]). The scale target writes through the scale subresource of any kind and nowhere else, but for the
//! `minReplicas` of an HPA in mode `Floor`.

pub mod api;
pub mod cluster;
pub mod config;
pub mod error;
pub mod lease;
pub mod memory;
pub mod operator;
pub mod requests;
mod selector;
pub mod source;
pub mod target;

pub use api::{PredictiveAutoscaler, PredictiveAutoscalerStatus};
