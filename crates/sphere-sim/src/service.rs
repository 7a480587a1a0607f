//! Who is served, how late, and who gives up?
//!
//! *Loss*: requests over the ready capacity are lost at once; there is no queue and no latency.
//!
//! *Queue*: one-second ticks. Each pod shares its processor among its requests (M/G/1 processor sharing: a
//! request that needs `D` seconds alone takes `D / (1 − ρ)` on average at utilisation ρ, Kleinrock 1967, spread
//! exponentially); what a second can not serve waits in arrival order, and a request older than the client's
//! time-out is given up and counted as failed. The load balancer is ideal, given-up work is not wasted.

use crate::score::LatencyHistogram;
use std::collections::VecDeque;

/// What one tick did, requests/s.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct TickOutcome {
    /// Served.
    pub served_rps: f64,
    /// Given up or lost.
    pub failed_rps: f64,
}

/// Loss physics: no queue.
pub fn loss_tick(offered_rps: f64, capacity_rps: f64) -> TickOutcome {
    let excess_rps = (offered_rps - capacity_rps * (1.0 + 1e-9)).max(0.0);
    TickOutcome { served_rps: offered_rps - excess_rps, failed_rps: excess_rps }
}

/// Waiting requests, one cohort per second of arrival.
#[derive(Debug)]
pub struct Queue {
    /// (arrival second, requests still waiting), oldest first.
    cohorts: VecDeque<(u64, f64)>,
    timeout_s: u64,
    service_s: f64,
    /// Utilisation, smoothed over the time sharing needs to settle.
    utilisation: f64,
    smoothing: f64,
}

/// Mean of an exponential law over eight equally likely parts.
const EXPONENTIAL_EIGHTHS: [f64; 8] =
    [0.064_973, 0.207_226, 0.374_612, 0.576_974, 0.830_976, 1.171_988, 1.693_803, 3.079_448];
/// Utilisation beyond which sharing no longer explains the delay: the queue does.
const SHARING_LIMIT: f64 = 0.95;

impl Queue {
    /// `service_s`: time a request needs on an idle pod; `timeout_s`: patience of the client.
    pub fn new(service_s: f64, timeout_s: u64) -> Self {
        let settling_s = (20.0 * service_s).max(5.0);
        Self {
            cohorts: VecDeque::new(),
            timeout_s: timeout_s.max(1),
            service_s,
            utilisation: 0.0,
            smoothing: 1.0 / settling_s,
        }
    }

    /// Requests waiting.
    pub fn waiting(&self) -> f64 {
        self.cohorts.iter().map(|(_, n)| n).sum()
    }

    /// One second: `arrivals` come, `capacity` can be served.
    pub fn tick(
        &mut self,
        second: u64,
        arrivals: f64,
        capacity: f64,
        latency: &mut LatencyHistogram,
    ) -> TickOutcome {
        let now = if capacity > 0.0 { (arrivals / capacity).min(1.0) } else { 1.0 };
        self.utilisation += self.smoothing * (now - self.utilisation);
        let sharing_s = self.service_s / (1.0 - self.utilisation.min(SHARING_LIMIT));
        if self.cohorts.is_empty() && arrivals <= capacity {
            // The common case: all are served at once.
            let failed_rps =
                if arrivals > 0.0 { self.answer(arrivals, 0.0, sharing_s, latency) } else { 0.0 };
            return TickOutcome { served_rps: arrivals, failed_rps };
        }

        if arrivals > 0.0 {
            self.cohorts.push_back((second, arrivals));
        }
        let mut left = capacity;
        let mut failed_rps = 0.0;
        while let Some(&(arrived, waiting)) = self.cohorts.front() {
            if left <= 0.0 {
                break;
            }
            let now = waiting.min(left);
            // Served in the middle of its share of this second; arrived, on average, in the middle of its own.
            let position = (capacity - left + now / 2.0) / capacity;
            let waited = (second - arrived) as f64 + (position - 0.5).max(0.0);
            let alone_s = if arrived == second { sharing_s } else { self.service_s };
            left -= now;
            failed_rps += self.answer(now, waited, alone_s, latency);
            self.cohorts.pop_front();
            if waiting - now > 1e-9 {
                self.cohorts.push_front((arrived, waiting - now));
                break;
            }
        }
        while let Some(&(arrived, waiting)) = self.cohorts.front() {
            if second + 1 - arrived < self.timeout_s {
                break;
            }
            failed_rps += waiting;
            latency.add(self.timeout_s as f64, waiting);
            self.cohorts.pop_front();
        }
        TickOutcome { served_rps: capacity - left.max(0.0), failed_rps }
    }

    /// `requests` that waited `waited_s` get their turn, `mean_s` long on average. Returns how many of them the
    /// client had given up by then; to the client such a request took the whole time-out.
    fn answer(&self, requests: f64, waited_s: f64, mean_s: f64, latency: &mut LatencyHistogram) -> f64 {
        let timeout_s = self.timeout_s as f64;
        let mut failed = 0.0;
        for part in EXPONENTIAL_EIGHTHS {
            let took_s = waited_s + part * mean_s;
            latency.add(took_s.min(timeout_s), requests / 8.0);
            if took_s >= timeout_s {
                failed += requests / 8.0;
            }
        }
        failed
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn exponential_parts_have_mean_one() {
        assert!((EXPONENTIAL_EIGHTHS.iter().sum::<f64>() / 8.0 - 1.0).abs() < 1e-3);
    }

    #[test]
    fn nothing_is_lost_or_made_up() {
        let mut q = Queue::new(0.01, 5);
        let mut latency = LatencyHistogram::default();
        let (mut arrived, mut served, mut given_up) = (0.0, 0.0, 0.0);
        for s in 0..200u64 {
            let a = if s % 40 < 20 { 150.0 } else { 20.0 };
            let t = q.tick(s, a, 100.0, &mut latency);
            arrived += a;
            served += t.served_rps;
            given_up += t.failed_rps;
            assert!(t.served_rps <= 100.0 + 1e-9);
        }
        assert!(given_up > 0.0);
        assert!((arrived - served - given_up - q.waiting()).abs() < 1e-6);
    }

    #[test]
    fn nobody_waits_longer_than_the_time_out() {
        let mut q = Queue::new(0.01, 3);
        let mut latency = LatencyHistogram::default();
        for s in 0..50u64 {
            q.tick(s, 100.0, 10.0, &mut latency);
        }
        assert!(q.waiting() <= 300.0, "{}", q.waiting());
    }

    #[test]
    fn latency_rises_with_utilisation_and_with_the_queue() {
        let p95 = |load: f64| {
            let mut q = Queue::new(0.05, 5);
            let mut latency = LatencyHistogram::default();
            for s in 0..100u64 {
                q.tick(s, load, 100.0, &mut latency);
            }
            latency.quantile_ms(0.95).unwrap()
        };
        let (idle, busy, over) = (p95(10.0), p95(90.0), p95(130.0));
        assert!(idle < busy && busy < over, "{idle} {busy} {over}");
        assert!((idle - 50.0 / 0.9 * 3.079).abs() < 10.0, "{idle}");
    }
}
