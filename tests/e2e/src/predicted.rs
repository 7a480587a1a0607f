//! What does the simulator say of a set-up that a test runs for real?
//!
//! The same demand, pods, bounds, periods and policies, in virtual time. Not the same: the simulator scrapes requests where
//! they arrive and at the instant of the decision; here SPHERE reads the CPU that pods used, up to a reading late.

use crate::App;
use sphere_core::Timestamp;
use sphere_scaling::Objective;
use sphere_sim::policy::{HpaPolicy, HpaSignal, Policy, SpherePolicy};
use sphere_sim::run::run;
use sphere_sim::{Demand, Physics, Profile, Scorecard, Settings, Startup, demand::Spread};
use std::time::Duration;

/// The simulator draws arrivals at random; so many per core and second make their noise vanish, as there is none here.
const REQUESTS_PER_CORE: f64 = 100_000.0;

/// A set-up: demand in cores over seconds, straight between the points, and how it is served.
pub struct SetUp<'a> {
    /// Seconds and cores.
    pub demand: &'a [(f64, f64)],
    /// The pods; `replicas` of them at the beginning is what the simulator starts with by itself.
    pub app: App,
    /// Fewest and most replicas.
    pub bounds: (u32, u32),
    /// Target of the HPA, and of SPHERE's reactive part, percent of the request.
    pub utilization: u32,
    /// Seconds between readings of the metrics server, syncs of the HPA, and steps of SPHERE.
    pub period: u32,
}

impl SetUp<'_> {
    /// Cores at that time.
    fn cores(&self, second: f64) -> f64 {
        let after = self.demand.partition_point(|&(at, _)| at <= second);
        match (after.checked_sub(1).map(|before| self.demand[before]), self.demand.get(after)) {
            (Some((t0, c0)), Some(&(t1, c1))) => c0 + (c1 - c0) * (second - t0) / (t1 - t0),
            (Some((_, cores)), None) => cores,
            (None, first) => first.map_or(0.0, |&(_, cores)| cores),
        }
    }

    /// The scores of the HPA and of SPHERE in mode Full without history.
    pub fn simulate(&self) -> (Scorecard, Scorecard) {
        let end = self.demand.last().map_or(0.0, |&(at, _)| at);
        let rates = (0..end as u64).map(|s| Some(self.cores(s as f64 + 0.5) * REQUESTS_PER_CORE)).collect();
        let profile = Profile { start: Timestamp(0), step: Duration::from_secs(1), rates_rps: rates };
        let capacity = f64::from(self.app.limit_milli) / 1000.0 * REQUESTS_PER_CORE;
        let startup = Startup::Fixed(f64::from(self.app.startup_seconds));
        let settings = Settings {
            min_replicas: self.bounds.0,
            max_replicas: self.bounds.1,
            scrape_s: self.period,
            window_s: self.period,
            hpa_sync_s: self.period,
            ..Settings::new(capacity, startup, Physics::Queue)
        };
        let whole = 0..profile.rates_rps.len();
        let demand = Demand::new(&profile, whole, Duration::ZERO, 1, self.period, Spread::Poisson(1));
        let signal = HpaSignal::CpuPct(self.utilization);
        let score = |policy: &mut dyn Policy| run(&demand, &settings, policy, 1, false).score;
        let sphere = SpherePolicy::reacting(signal, Objective::default(), &settings);
        (score(&mut HpaPolicy::new(signal, &settings)), score(&mut { sphere }))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn demand_runs_straight_between_its_points() {
        let demand = [(0.0, 1.0), (10.0, 1.0), (20.0, 3.0)];
        let set_up =
            SetUp { demand: &demand, app: App::default(), bounds: (1, 10), utilization: 80, period: 15 };
        let at = |second| set_up.cores(second);
        assert_eq!([at(0.0), at(5.0), at(15.0), at(20.0), at(99.0)], [1.0, 1.0, 2.0, 3.0, 3.0]);
    }
}
