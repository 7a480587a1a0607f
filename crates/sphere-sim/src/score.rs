//! How well did it go?
//!
//! Users: share of time and of requests over the ready capacity, failed requests, latency. Owner: pod-hours,
//! utilisation, number of actions. Researchers: the elasticity metrics of the SPEC Research Group (Herbst et
//! al., "Ready for Rain?", 2016), per 10 s with demand and supply in whole pods:
//!
//! ```text
//! θ_U = 100/T · Σ max(d−s, 0)/d    θ_O = 100/T · Σ max(s−d, 0)/d
//! τ_U = 100/T · Σ [s < d]          τ_O = 100/T · Σ [s > d]
//! υ   = 100/(T−1) · Σ min(|sgn Δs − sgn Δd|, 1)
//! ```

use serde::Serialize;

/// The scores of one run. Latencies are absent in loss physics.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub struct Scorecard {
    /// Share of time in which demand (mean over a scrape interval) exceeded ready capacity, %.
    pub violation_time_pct: f64,
    /// Share of requests beyond ready capacity (demand as above), %.
    pub violation_requests_pct: f64,
    /// Share of requests lost or given up, %.
    pub failed_requests_pct: f64,
    /// Median latency, milliseconds.
    pub latency_p50_ms: Option<f64>,
    /// 95th percentile of latency, milliseconds.
    pub latency_p95_ms: Option<f64>,
    /// 99th percentile of latency, milliseconds.
    pub latency_p99_ms: Option<f64>,
    /// Pods paid for, starting ones included, hours.
    pub pod_hours: f64,
    /// Pod-hours over those of the oracle on the same demand.
    pub pod_hours_vs_oracle: Option<f64>,
    /// Served load over the capacity of all pods paid for.
    pub utilization: f64,
    /// Times the size was raised.
    pub scale_ups: u64,
    /// Times the size was lowered.
    pub scale_downs: u64,
    /// SPEC under-provisioning accuracy, %.
    pub theta_u: f64,
    /// SPEC over-provisioning accuracy, %.
    pub theta_o: f64,
    /// SPEC under-provisioning time share, %.
    pub tau_u: f64,
    /// SPEC over-provisioning time share, %.
    pub tau_o: f64,
    /// SPEC instability υ, %.
    pub instability: f64,
}

/// Latencies in buckets 2.2 % wide, from 61 µs to 18 hours.
#[derive(Clone, Debug, PartialEq)]
pub struct LatencyHistogram {
    buckets: Vec<f64>,
    total: f64,
    sum_s: f64,
}

const SUB_BUCKETS_BITS: u32 = 5;
const FIRST_EXPONENT: i32 = -14;
const OCTAVES: usize = 30;

impl Default for LatencyHistogram {
    fn default() -> Self {
        Self { buckets: vec![0.0; OCTAVES << SUB_BUCKETS_BITS], total: 0.0, sum_s: 0.0 }
    }
}

impl LatencyHistogram {
    /// `requests` took `seconds`.
    pub fn add(&mut self, seconds: f64, requests: f64) {
        // The upper bits of a float are its logarithm, linear inside an octave.
        let bits = (seconds as f32).max(f32::MIN_POSITIVE).to_bits() >> (23 - SUB_BUCKETS_BITS);
        let first = ((127 + FIRST_EXPONENT) as u32) << SUB_BUCKETS_BITS;
        let last = self.buckets.len() - 1;
        let i = (bits.saturating_sub(first) as usize).min(last);
        self.buckets[i] += requests;
        self.total += requests;
        self.sum_s += seconds * requests;
    }

    /// All latencies together, seconds.
    pub fn sum_s(&self) -> f64 {
        self.sum_s
    }

    /// Latency not exceeded by a share `q` of requests, milliseconds; absent without requests.
    pub fn quantile_ms(&self, q: f64) -> Option<f64> {
        if self.total <= 0.0 {
            return None;
        }
        let mut below = 0.0;
        for (i, n) in self.buckets.iter().enumerate() {
            below += n;
            if below >= q * self.total {
                let bits = ((i as u32 * 2 + 1) << (23 - SUB_BUCKETS_BITS - 1))
                    + (((127 + FIRST_EXPONENT) as u32) << 23);
                return Some(f64::from(f32::from_bits(bits)) * 1000.0);
            }
        }
        None
    }
}

/// Collects scores tick by tick.
#[derive(Clone, Debug, Default)]
pub struct Scorer {
    pub(crate) latency: LatencyHistogram,
    seconds: f64,
    violated_s: f64,
    requests: f64,
    excess: f64,
    failed: f64,
    served: f64,
    pod_s: f64,
    scale_ups: u64,
    scale_downs: u64,
    steps: f64,
    theta: (f64, f64),
    tau: (f64, f64),
    unstable: f64,
    previous: Option<(u32, u32)>,
}

impl Scorer {
    /// One tick of `seconds` with `replicas` paid for.
    pub fn tick(
        &mut self,
        seconds: f64,
        offered_rps: f64,
        outcome: &crate::service::TickOutcome,
        replicas: u32,
    ) {
        self.seconds += seconds;
        self.requests += offered_rps * seconds;
        self.failed += outcome.failed_rps * seconds;
        self.served += outcome.served_rps * seconds;
        self.pod_s += f64::from(replicas) * seconds;
    }

    /// Demand was over ready capacity for `seconds`, by `requests` in all.
    pub fn violation(&mut self, seconds: f64, requests: f64) {
        self.violated_s += seconds;
        self.excess += requests;
    }

    /// One step of the elasticity metrics: pods needed and pods ready.
    pub fn step(&mut self, needed: u32, ready: u32) {
        let needed = needed.max(1);
        let (d, s) = (f64::from(needed), f64::from(ready));
        self.steps += 1.0;
        self.theta.0 += (d - s).max(0.0) / d;
        self.theta.1 += (s - d).max(0.0) / d;
        self.tau.0 += f64::from(u8::from(ready < needed));
        self.tau.1 += f64::from(u8::from(ready > needed));
        if let Some((needed_before, ready_before)) = self.previous {
            let same = needed.cmp(&needed_before) == ready.cmp(&ready_before);
            self.unstable += f64::from(u8::from(!same));
        }
        self.previous = Some((needed, ready));
    }

    /// The size asked for changed.
    pub fn action(&mut self, from: u32, to: u32) {
        match to.cmp(&from) {
            std::cmp::Ordering::Greater => self.scale_ups += 1,
            std::cmp::Ordering::Less => self.scale_downs += 1,
            std::cmp::Ordering::Equal => {}
        }
    }

    /// The scores, for pods of `capacity_rps`. `with_latency`: queue physics.
    pub fn finish(self, capacity_rps: f64, with_latency: bool) -> Scorecard {
        let share = |part: f64, whole: f64| if whole > 0.0 { 100.0 * part / whole } else { 0.0 };
        let latency = |q| if with_latency { self.latency.quantile_ms(q) } else { None };
        Scorecard {
            violation_time_pct: share(self.violated_s, self.seconds),
            violation_requests_pct: share(self.excess, self.requests),
            failed_requests_pct: share(self.failed, self.requests),
            latency_p50_ms: latency(0.5),
            latency_p95_ms: latency(0.95),
            latency_p99_ms: latency(0.99),
            pod_hours: self.pod_s / 3600.0,
            pod_hours_vs_oracle: None,
            utilization: if self.pod_s > 0.0 { self.served / (self.pod_s * capacity_rps) } else { 0.0 },
            scale_ups: self.scale_ups,
            scale_downs: self.scale_downs,
            theta_u: share(self.theta.0, self.steps),
            theta_o: share(self.theta.1, self.steps),
            tau_u: share(self.tau.0, self.steps),
            tau_o: share(self.tau.1, self.steps),
            instability: share(self.unstable, self.steps - 1.0),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn latency_quantiles_are_within_a_bucket() {
        let mut h = LatencyHistogram::default();
        for i in 1..=1000 {
            h.add(f64::from(i) / 1000.0, 1.0);
        }
        let p50 = h.quantile_ms(0.5).unwrap();
        assert!((p50 / 500.0 - 1.0).abs() < 0.03, "{p50}");
    }

    #[test]
    fn elasticity_metrics_follow_their_definitions() {
        let mut s = Scorer::default();
        for (needed, ready) in [(2, 2), (4, 2), (4, 4), (2, 4)] {
            s.step(needed, ready);
        }
        let card = s.finish(1.0, false);
        assert_eq!(card.theta_u, 100.0 * 0.5 / 4.0);
        assert_eq!(card.theta_o, 100.0 * 1.0 / 4.0);
        assert_eq!((card.tau_u, card.tau_o), (25.0, 25.0));
        assert_eq!(card.instability, 100.0, "every step moved one way only");
    }
}
