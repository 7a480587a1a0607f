//! How many replicas may still change in the whole cluster?
//!
//! A last line against our own mistakes: whatever all decisions together ask for, at most so many replicas
//! are added and removed within a sliding window. A change that does not fit is carried out as far as it does;
//! the rest comes with later syncs, when the window has moved on.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use sphere_core::{Reason, Timestamp};
use std::collections::VecDeque;
use std::time::Duration;

/// How many changes in how long.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct ChangeLimit {
    /// Replicas added or removed, all workloads together.
    pub max_replicas_changed: u32,
    /// Length of the window, seconds.
    pub window_s: u32,
}

/// Changes carried out lately, in the order in which they were told.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(transparent)]
pub struct ChangeBudget {
    /// When, and how many replicas.
    spent: VecDeque<(Timestamp, u32)>,
}

/// A change as far as the budget allows it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Granted {
    /// The size to go to: between the old and the wanted one.
    pub replicas: u32,
    /// [`Reason::ChangeBudgetExhausted`] when it is not the wanted one.
    pub reason: Option<Reason>,
}

impl ChangeBudget {
    /// Replicas that may still change at `now`. A change exactly as old as the window no longer counts.
    pub fn remaining(&self, now: Timestamp, limit: &ChangeLimit) -> u32 {
        let window = Duration::from_secs(limit.window_s.into());
        let recent = self.spent.iter().filter(|(at, _)| now.since(*at) < window);
        recent.fold(limit.max_replicas_changed, |left, (_, changed)| left.saturating_sub(*changed))
    }

    /// How far a workload may go from `from` towards `to` now. Asking spends nothing.
    pub fn grant(&self, now: Timestamp, limit: &ChangeLimit, from: u32, to: u32) -> Granted {
        let allowed = from.abs_diff(to).min(self.remaining(now, limit));
        let replicas = if to >= from { from + allowed } else { from - allowed };
        Granted { replicas, reason: (replicas != to).then_some(Reason::ChangeBudgetExhausted) }
    }

    /// Tells of a change that was carried out, and forgets what has left the window.
    pub fn spend(&mut self, now: Timestamp, limit: &ChangeLimit, from: u32, to: u32) {
        let window = Duration::from_secs(limit.window_s.into());
        self.spent.retain(|(at, _)| now.since(*at) < window);
        if from != to {
            self.spent.push_back((now, from.abs_diff(to)));
        }
    }

    /// Gives back what was [spent](Self::spend) at `now` on a change that did not happen.
    pub fn refund(&mut self, now: Timestamp, from: u32, to: u32) {
        if let Some(index) = self.spent.iter().rposition(|spent| *spent == (now, from.abs_diff(to))) {
            self.spent.remove(index);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const LIMIT: ChangeLimit = ChangeLimit { max_replicas_changed: 10, window_s: 60 };

    fn at(seconds: i64) -> Timestamp {
        Timestamp::from_secs(1_000 + seconds)
    }

    #[test]
    fn a_change_goes_as_far_as_the_budget_allows_in_both_directions() {
        let mut budget = ChangeBudget::default();
        assert_eq!(budget.grant(at(0), &LIMIT, 3, 9), Granted { replicas: 9, reason: None });
        budget.spend(at(0), &LIMIT, 3, 9);
        let cut = |replicas| Granted { replicas, reason: Some(Reason::ChangeBudgetExhausted) };
        assert_eq!(budget.grant(at(1), &LIMIT, 20, 1), cut(16));
        assert_eq!(budget.grant(at(1), &LIMIT, 1, 20), cut(5));
        budget.spend(at(1), &LIMIT, 20, 16);
        assert_eq!(budget.grant(at(59), &LIMIT, 1, 2), cut(1));
        assert_eq!(budget.remaining(at(60), &LIMIT), 6, "the first change has left the window");
        assert_eq!(budget.remaining(at(61), &LIMIT), 10);
    }

    #[test]
    fn no_change_costs_nothing_and_asking_spends_nothing() {
        let mut budget = ChangeBudget::default();
        budget.spend(at(0), &LIMIT, 4, 4);
        budget.grant(at(0), &LIMIT, 0, 10);
        assert_eq!(budget, ChangeBudget::default());
    }

    #[test]
    fn a_change_that_did_not_happen_is_given_back_once() {
        let mut budget = ChangeBudget::default();
        budget.spend(at(0), &LIMIT, 3, 7);
        budget.spend(at(1), &LIMIT, 5, 9);
        budget.refund(at(1), 5, 9);
        budget.refund(at(1), 5, 9);
        assert_eq!(budget.remaining(at(1), &LIMIT), 6);
    }

    proptest! {
        #[test]
        fn no_window_ever_sees_more_than_the_limit(steps in prop::collection::vec((0..30i64, 0..50u32), 1..60)) {
            let (mut budget, mut now, mut size) = (ChangeBudget::default(), 0, 10);
            let mut changes: Vec<(i64, u32)> = Vec::new();
            for (wait, wanted) in steps {
                now += wait;
                let to = budget.grant(at(now), &LIMIT, size, wanted).replicas;
                budget.spend(at(now), &LIMIT, size, to);
                changes.push((now, size.abs_diff(to)));
                size = to;
                let recent: u32 = changes.iter().filter(|(t, _)| now - t < 60).map(|(_, c)| c).sum();
                prop_assert!(recent <= LIMIT.max_replicas_changed);
            }
        }
    }
}
