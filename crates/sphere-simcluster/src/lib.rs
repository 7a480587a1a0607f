//! How can the whole pipeline be tried without a cluster?
//!
//! A [`SimulatedCluster`] is the simulator's world running against a clock, real or accelerated: users arrive by a
//! trace or by generated demand, ordered pods need their time to start, requests wait and give up, counters are
//! scraped. In one process it is the pipeline's `MetricSource` and `ScaleTarget`; for a distributed run it is served
//! over HTTP, with the metric names of a real cluster for Prometheus and a small scale API for [`RemoteCluster`].
//! Same configuration, clock and orders: same course.
//!
//! | module | question |
//! |---|---|
//! | [`config`] | which workloads are there? |
//! | [`series`] | how many requests arrive at an instant? |
//! | [`workload`] | what does one workload do from second to second? |
//! | [`roster`] | which pods are there by name, and what did they count? |
//! | [`cluster`] | how does it keep up with the clock? |
//! | [`readings`] | what would an HPA see? |
//! | [`source`] | what does a collector see, now and before? |
//! | [`target`] | who may change sizes, and how? |
//! | [`exporter`] | what does Prometheus see? |
//! | [`server`], [`api`], [`remote`] | how do others reach it? |

pub mod api;
pub mod cluster;
pub mod config;
pub mod exporter;
pub mod readings;
pub mod remote;
pub mod roster;
pub mod series;
pub mod server;
pub mod source;
pub mod target;
pub mod workload;

pub use cluster::{BuildError, SimulatedCluster};
pub use config::{ConfigProblem, SimulatedClusterConfig, TraceDemand};
pub use remote::{RemoteCluster, RemoteError};
pub use server::{router, serve};
