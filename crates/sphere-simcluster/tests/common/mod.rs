//! What do the tests of the simulated cluster share?

#![allow(dead_code)] // Each test file uses its part.

use sphere_core::{Timestamp, WorkloadId};
use sphere_pipeline::Clock;
use sphere_pipeline::workload::{RequestsDemand, Workload, WorkloadSpec};
use sphere_sim::Profile;
use sphere_simcluster::config::{Demand, SimulatedWorkload, SyntheticDemand};
use sphere_simcluster::{SimulatedCluster, SimulatedClusterConfig, TraceDemand};
use std::sync::Arc;
use std::time::Duration;

/// Tuesday 2026-11-24, 08:00 UTC.
pub const START: Timestamp = Timestamp::from_secs(1_795_507_200);

pub fn synthetic(peak_rps: f64) -> Demand {
    Demand::Synthetic(SyntheticDemand { peak_rps, seed: 1, phase_hours: 0.0, spread: 0.3 })
}

pub fn trace() -> Demand {
    Demand::Trace(TraceDemand { path: "rates.csv".into(), scale: 1.0, from_hours: Some(0.5), repeat: false })
}

/// One workload `shop/Deployment/front-end` with pods of 10 requests/s.
pub fn one(demand: Demand) -> SimulatedClusterConfig {
    let mut workload = SimulatedWorkload::new("shop", "front-end", demand, 10.0);
    workload.startup = "lognormal(30s,0.4)".parse().unwrap();
    SimulatedClusterConfig { workloads: vec![workload], ..SimulatedClusterConfig::default() }
}

/// Built on a manual clock at [`START`]; traces have these rates, 10 s each.
pub fn cluster_of(config: &SimulatedClusterConfig, rates: &[Option<f64>]) -> (SimulatedCluster, Clock) {
    let clock = Clock::manual(START);
    let profile =
        Profile { start: Timestamp::from_secs(0), step: Duration::from_secs(10), rates_rps: rates.to_vec() };
    let load = |_: &TraceDemand| Ok::<_, String>(profile.clone());
    (SimulatedCluster::new(config, clock.clone(), load).unwrap(), clock)
}

pub fn cluster(config: &SimulatedClusterConfig) -> (SimulatedCluster, Clock) {
    cluster_of(config, &[])
}

pub fn id(name: &str) -> WorkloadId {
    WorkloadId::new("shop", "Deployment", name).unwrap()
}

/// A workload whose demand is CPU.
pub fn by_cpu(name: &str) -> Arc<Workload> {
    Arc::new(Workload::new(WorkloadSpec::new(&id(name), 1, 100)).unwrap())
}

/// A workload whose demand is requests/s.
pub fn by_requests(name: &str) -> Arc<Workload> {
    let mut spec = WorkloadSpec::new(&id(name), 1, 100);
    spec.forecast.demand.requests =
        Some(RequestsDemand { counter: "http_request_duration_seconds_count".into(), label: "pod".into() });
    spec.capacity_per_pod = Some(10.0);
    Arc::new(Workload::new(spec).unwrap())
}

pub fn after(seconds: u64) -> Timestamp {
    START + Duration::from_secs(seconds)
}
