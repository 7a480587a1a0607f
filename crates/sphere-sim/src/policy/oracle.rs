//! What would perfect foresight cost?
//!
//! The size is the largest need (of a scrape interval's mean demand) between now and the moment a pod ordered
//! now would serve: no violation, and no pod more than that takes. With random start-up times the longest one is planned for.

use super::Policy;
use crate::demand::Demand;
use crate::metrics::View;
use sphere_core::Timestamp;
use std::collections::VecDeque;

/// Perfect foresight.
#[derive(Clone, Debug)]
pub struct Oracle {
    tick_s: u32,
    plan: Vec<u32>,
    start: Timestamp,
}

impl Oracle {
    /// Plans for `demand` with pods of `capacity_rps` that take at most `startup_s` to serve.
    pub fn new(demand: &Demand, capacity_rps: f64, startup_s: f64) -> Self {
        let needed: Vec<u32> = demand.needed_replicas(capacity_rps).collect();
        let ahead = (startup_s / f64::from(demand.tick_s)).ceil() as usize;
        let mut plan = vec![0; needed.len()];
        // Sliding maximum over [i, i + ahead], from the back.
        let mut candidates: VecDeque<usize> = VecDeque::new();
        for i in (0..needed.len()).rev() {
            while candidates.back().is_some_and(|&j| needed[j] <= needed[i]) {
                candidates.pop_back();
            }
            candidates.push_back(i);
            while candidates.front().is_some_and(|&j| j > i + ahead) {
                candidates.pop_front();
            }
            plan[i] = candidates.front().map_or(0, |&j| needed[j]);
        }
        Self { tick_s: demand.tick_s, plan, start: demand.start }
    }
}

impl Policy for Oracle {
    fn period_s(&self) -> u32 {
        self.tick_s
    }

    fn initial_replicas(&self) -> Option<u32> {
        self.plan.first().copied()
    }

    fn decide(&mut self, at: Timestamp, _view: &View) -> u32 {
        let tick = at.since(self.start).as_secs() / u64::from(self.tick_s);
        self.plan.get(tick as usize).copied().unwrap_or(1)
    }
}
