//! Does the distributed pipeline survive what happens to its parts?
//!
//! Everything is real and in processes of its own. One installation goes through all faults, one after the other;
//! after each of them every acknowledged sample must be accounted for.

// Helpers of tests are outside test functions, and may unwrap as those do.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod accounting;
mod rig;
mod table;

use rig::{PATIENCE, Rig, WORKLOADS};
use sphere_core::Timestamp;
use sphere_pipeline::Clock;
use sphere_testkit::wait_until;

fn now() -> Timestamp {
    Clock::system().now()
}

#[test]
fn every_fault_is_survived() {
    table::begin();
    let rig = Rig::start();
    let started = now();
    let took = wait_until("forecasts of all workloads", PATIENCE, || rig.watcher.seen().forecast_after(started) == WORKLOADS);
    eprintln!("forecasts {took:?}");
    for i in 0..30 {
        std::thread::sleep(std::time::Duration::from_secs(1));
        let seen = rig.watcher.seen();
        let n = seen.decided_after(started + std::time::Duration::from_secs(i), |d| d.predictive.is_some());
        let sizes: Vec<_> = seen.decisions.values().filter_map(|d| d.last()).map(|(d, _)| (d.current, d.reactive, d.predictive, d.desired, d.reasons.iter().map(|r| r.name()).collect::<Vec<_>>())).take(3).collect();
        eprintln!("{i}: {n} {sizes:?} {:?}", seen.accounts(started));
    }
    eprintln!("{:?}", rig.verify());
    for s in rig::STAGES { eprintln!("=== {s}\n{}", rig.services[s].process.log()); }
}
