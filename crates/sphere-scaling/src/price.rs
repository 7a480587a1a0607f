//! How many replicas are worth their price?
//!
//! Not a fixed quantile but a marginal price: `n` replicas cost `n`, and being over capacity costs `λ` pods for
//! as long as it lasts, so the best size minimises
//!
//! ```text
//! C(n) = n + λ · P(demand at the lead time > n · µ),     λ = price ratio × mean fleet
//! ```
//!
//! One more pod is bought exactly while it lowers the expected cost by more than it costs (the newsvendor
//! argument, Arrow, Harris & Marschak 1951, applied at the margin). The price ratio is what the user states: one violated second
//! is worth that many mean fleets for that second. Scaling by the mean fleet makes the setting mean the same
//! for a service of 3 pods and of 300.
//!
//! A dead band keeps changes that gain little from happening at all; there is no other hold time. Candidates
//! start at the size that carries the *mean* forecast: where no affordable size helps, the answer is never to give
//! up.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use sphere_core::{Distribution, Reason};

/// A change must gain more than `pods`, and more than `share` of the mean fleet.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct DeadBand {
    /// Gain in pods below which nothing happens.
    pub pods: f64,
    /// Gain as a share of the mean fleet below which nothing happens.
    pub share: f64,
}

/// Settings of [`PricePolicy`]; the defaults serve every workload.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct PriceConfig {
    /// What one second over capacity is worth, in mean fleets for one second.
    pub price_ratio: f64,
    /// Gain a scale-out must bring.
    pub scale_out: DeadBand,
    /// Gain a scale-in must bring.
    pub scale_in: DeadBand,
    /// Memory of the mean fleet, in forecast steps.
    pub fleet_memory_steps: f64,
}

impl Default for PriceConfig {
    fn default() -> Self {
        Self {
            price_ratio: 20.0,
            // Raising late hurts users, lowering late costs pods: half the gain suffices to raise.
            scale_out: DeadBand { pods: 0.25, share: 0.01 },
            scale_in: DeadBand { pods: 0.5, share: 0.02 },
            // One day of 10 s steps.
            fleet_memory_steps: 8640.0,
        }
    }
}

/// The size chosen and what the choice rests on.
#[derive(Clone, Debug, PartialEq)]
pub struct PriceChoice {
    /// Replicas to have.
    pub replicas: u32,
    /// `P(demand > replicas · µ)` at the lead time.
    pub exceedance: f64,
    /// The cheapest size, before the dead band.
    pub cheapest: u32,
    /// What moving to the cheapest size gains, in pods, against the current size (or against the size that
    /// carries the mean forecast, where the current one does not).
    pub gain_pods: f64,
}

impl PriceChoice {
    /// The choice as reasons, for a forecast of `mean_demand` a lead of `lead_s` seconds ahead.
    pub fn reasons(&self, lead_s: f64, mean_demand: f64) -> Vec<Reason> {
        let ahead = Reason::ForecastAhead {
            replicas: self.replicas,
            lead_s,
            mean_demand,
            exceedance: self.exceedance,
        };
        if self.cheapest == self.replicas {
            vec![ahead]
        } else {
            vec![ahead, Reason::WithinDeadBand { replicas: self.cheapest, gain_pods: self.gain_pods }]
        }
    }
}

/// No cluster has more pods; a quotient beyond it comes from a capacity in another unit than the demand.
const LARGEST_FLEET: f64 = 1e7;
/// Sizes tried per choice. Real fleets have fewer candidates; beyond it every k-th is tried.
const MOST_CANDIDATES: u32 = 20_000;

/// The price rule and its only state, the mean fleet.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct PricePolicy {
    config: PriceConfig,
    mean_fleet: f64,
    steps: u64,
}

impl PricePolicy {
    /// A policy that has seen nothing: the mean fleet starts at one pod.
    pub fn new(config: PriceConfig) -> Self {
        Self { config, mean_fleet: 1.0, steps: 0 }
    }

    /// Takes the expected demand of one more step into the mean fleet. Call once per forecast.
    pub fn observe(&mut self, mean_demand: f64, capacity_per_pod: f64) {
        let pods = (mean_demand / capacity_per_pod).max(1.0);
        if pods <= LARGEST_FLEET {
            self.steps += 1;
            self.mean_fleet +=
                (pods - self.mean_fleet) / self.config.fleet_memory_steps.min(self.steps as f64);
        }
    }

    /// Replaces the price ratio, for a closed loop that steers it.
    pub fn set_price_ratio(&mut self, price_ratio: f64) {
        self.config.price_ratio = price_ratio;
    }

    /// What one second over capacity is worth, in pods for that second.
    pub fn price_pods(&self) -> f64 {
        self.config.price_ratio * self.mean_fleet
    }

    /// Mean number of pods that would carry the expected demand.
    pub fn mean_fleet(&self) -> f64 {
        self.mean_fleet
    }

    /// The size to have, given the size asked for so far, the distribution of demand at the lead time and the
    /// capacity of one pod in the same unit, above 0. The answer lies in `min..=max`. Pure: asking twice changes nothing.
    pub fn choose(
        &self,
        current: u32,
        (min, max): (u32, u32),
        demand: &Distribution,
        capacity_per_pod: f64,
    ) -> PriceChoice {
        let max = max.max(min);
        let price = self.price_pods();
        let cost = |n: u32| f64::from(n) + price * demand.exceedance(f64::from(n) * capacity_per_pod);
        let median_pods = (demand.mean() / capacity_per_pod).ceil();
        let lowest = (median_pods.clamp(0.0, f64::from(u32::MAX)) as u32).clamp(min, max);

        let (mut cheapest, mut least) = (lowest, cost(lowest));
        let mut n = lowest;
        // A size alone costs n: nothing beyond the best total found can be cheaper.
        let reach = (least.min(f64::from(max)) as u32).saturating_sub(lowest);
        let stride = reach / MOST_CANDIDATES + 1;
        while n < max && f64::from(n + 1) < least {
            n = n.saturating_add(stride).min(max);
            let c = cost(n);
            if c < least {
                (cheapest, least) = (n, c);
            }
        }

        // Below the size that carries the mean, staying would be giving up however cheap it looks.
        let start = current.max(lowest).clamp(min, max);
        let gain_pods = cost(start) - least;
        let beyond = |band: DeadBand| gain_pods > band.pods.max(band.share * self.mean_fleet);
        let change = match cheapest.cmp(&start) {
            std::cmp::Ordering::Greater => beyond(self.config.scale_out),
            std::cmp::Ordering::Less => beyond(self.config.scale_in),
            std::cmp::Ordering::Equal => false,
        };
        let replicas = if change { cheapest } else { start };
        let exceedance = demand.exceedance(f64::from(replicas) * capacity_per_pod);
        PriceChoice { replicas, exceedance, cheapest, gain_pods }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn around(mean: f64, sd: f64) -> Distribution {
        const Z: [f64; 17] = [
            -2.326, -1.645, -1.282, -0.674, 0.0, 0.253, 0.524, 0.842, 1.282, 1.645, 1.960, 2.326, 2.576,
            2.878, 3.090, 3.291, 3.719,
        ];
        Distribution::new(mean, Z.map(|z| (mean + sd * z).max(0.0))).unwrap()
    }

    fn seasoned(mean_fleet: f64) -> PricePolicy {
        let mut p = PricePolicy::new(PriceConfig::default());
        for _ in 0..10_000 {
            p.observe(mean_fleet * 10.0, 10.0);
        }
        p
    }

    #[test]
    fn a_dearer_violation_buys_more_pods() {
        let mut p = seasoned(10.0);
        let demand = around(100.0, 10.0);
        let sizes: Vec<u32> = [0.05, 1.0, 20.0, 400.0]
            .into_iter()
            .map(|ratio| {
                p.set_price_ratio(ratio);
                p.choose(1, (1, 100), &demand, 10.0).replicas
            })
            .collect();
        assert_eq!(sizes[0], 10, "at no price the mean is still carried");
        assert!(sizes.windows(2).all(|w| w[0] < w[1]), "{sizes:?}");
    }

    #[test]
    fn where_no_affordable_size_helps_the_mean_is_still_carried() {
        let p = seasoned(2.0);
        let choice = p.choose(3, (1, 14), &around(1000.0, 50.0), 10.0);
        assert_eq!(choice.replicas, 14);
    }

    #[test]
    fn a_small_gain_causes_no_action() {
        let p = seasoned(10.0);
        let demand = around(100.0, 10.0);
        let best = p.choose(1, (1, 100), &demand, 10.0).cheapest;
        let kept = p.choose(best + 1, (1, 100), &demand, 10.0);
        assert!(kept.gain_pods < 1.0);
        assert_eq!(p.choose(best, (1, 100), &demand, 10.0).replicas, best);
    }

    proptest! {
        #[test]
        fn bounds_hold_and_settle(current in 0u32..200, min in 0u32..20, span in 0u32..100, mean in 0f64..2000.0,
                                  sd in 0f64..300.0, fleet in 1f64..50.0) {
            let p = seasoned(fleet);
            let d = around(mean, sd);
            let first = p.choose(current, (min, min + span), &d, 10.0);
            prop_assert!((min..=min + span).contains(&first.replicas));
            let second = p.choose(first.replicas, (min, min + span), &d, 10.0);
            prop_assert_eq!(second.replicas, first.replicas, "deciding again moves nothing");
        }

        #[test]
        fn more_demand_never_gives_fewer_replicas(current in 1u32..60, mean in 0f64..500.0, more in 0f64..200.0) {
            let p = seasoned(10.0);
            let low = p.choose(current, (1, 1000), &around(mean, 20.0), 10.0).replicas;
            let high = p.choose(current, (1, 1000), &around(mean + more, 20.0), 10.0).replicas;
            prop_assert!(high >= low, "{} then {}", low, high);
        }
    }
}
