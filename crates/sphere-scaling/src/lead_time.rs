//! How long until a replica ordered now serves?
//!
//! The *median* of the create→Ready times measured on this workload, plus the fixed delay from a scrape to
//! the decision on it. The median, not a high percentile: in simulations with log-normal start-up times
//! planning for the 90th percentile cost more than the late pods did, because a forecast that looks further is a
//! worse forecast.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use std::collections::VecDeque;
use std::time::Duration;

/// Start-ups remembered.
const MEMORY: usize = 63;
/// Measured start-ups before they replace the prior.
const ENOUGH: usize = 3;

/// Longest start-up believed, seconds. What takes longer has failed to start.
const LONGEST_S: f64 = 3600.0;

/// A restored state may hold any number; none of them may panic.
fn seconds(s: f64) -> Duration {
    Duration::try_from_secs_f64(s.min(LONGEST_S)).unwrap_or_default()
}

/// Running median of measured start-up times.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct LeadTime {
    prior_s: f64,
    delay_s: f64,
    recent_s: VecDeque<f64>,
}

impl LeadTime {
    /// `prior`: start-up time to plan with until some were measured; `delay`: from scrape to decision.
    pub fn new(prior: Duration, delay: Duration) -> Self {
        Self { prior_s: prior.as_secs_f64(), delay_s: delay.as_secs_f64(), recent_s: VecDeque::new() }
    }

    /// Replaces the start-up time to plan with until some were measured.
    pub fn set_prior(&mut self, prior: Duration) {
        self.prior_s = prior.as_secs_f64();
    }

    /// A pod took this long from create to Ready.
    pub fn observe(&mut self, startup: Duration) {
        if self.recent_s.len() == MEMORY {
            self.recent_s.pop_front();
        }
        self.recent_s.push_back(startup.as_secs_f64());
    }

    /// Start-ups remembered, at most 63; with fewer than three the prior counts.
    pub fn measured(&self) -> usize {
        self.recent_s.len()
    }

    /// Median time from create to Ready.
    pub fn startup(&self) -> Duration {
        if self.recent_s.len() < ENOUGH {
            return seconds(self.prior_s);
        }
        let mut sorted: Vec<f64> = self.recent_s.iter().copied().collect();
        sorted.sort_unstable_by(f64::total_cmp);
        seconds(sorted[sorted.len() / 2])
    }

    /// From a scrape to the moment a replica ordered because of it serves.
    pub fn lead(&self) -> Duration {
        self.startup() + seconds(self.delay_s)
    }

    /// The lead in forecast steps after the last one seen: the step in which such a replica becomes ready.
    pub fn steps(&self, step: Duration) -> u32 {
        let step_s = step.as_secs_f64().max(1e-3);
        ((self.lead().as_secs_f64() + 1e-6) / step_s) as u32 + 1
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_median_replaces_the_prior_and_one_slow_pod_does_not_move_it() {
        let mut lead = LeadTime::new(Duration::from_secs(60), Duration::from_secs(1));
        assert_eq!(lead.lead(), Duration::from_secs(61));
        for s in [30, 32, 31, 600, 29] {
            lead.observe(Duration::from_secs(s));
        }
        assert_eq!(lead.startup(), Duration::from_secs(31));
    }

    #[test]
    fn the_lead_step_is_the_one_a_pod_becomes_ready_in() {
        let steps = |s| LeadTime::new(Duration::from_secs(s), Duration::ZERO).steps(Duration::from_secs(10));
        assert_eq!((steps(30), steps(60), steps(180)), (4, 7, 19));
        let late = LeadTime::new(Duration::from_secs(30), Duration::from_secs(1));
        assert_eq!(late.steps(Duration::from_secs(10)), 4, "one second late does not cost a whole step");
    }
}
