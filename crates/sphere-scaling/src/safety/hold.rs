//! What if there are no metrics?
//!
//! Hold the size. If that lasts, demand may have moved far away unseen: after a stated time use at least the
//! fallback size, if the owner gave one. Never fewer than now.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use sphere_core::{Reason, Timestamp};
use std::time::Duration;

/// How long to hold the size while metrics are missing, and what comes then.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct HoldPolicy {
    /// How long metrics must be missing before the fallback applies, seconds. Three minutes: a rollout of the metrics
    /// pipeline passes unnoticed, a dead one does not.
    #[serde(rename = "afterSeconds", alias = "fallback_after_s")]
    pub fallback_after_s: u32,
    /// Fewest replicas to run blind with, within minReplicas and maxReplicas; without it the size is held for ever.
    #[serde(rename = "replicas", alias = "fallback_replicas", skip_serializing_if = "Option::is_none")]
    pub fallback_replicas: Option<u32>,
}

impl Default for HoldPolicy {
    fn default() -> Self {
        Self { fallback_after_s: 180, fallback_replicas: None }
    }
}

/// Since when metrics have been missing.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Hold {
    /// Absent while metrics are there.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub missing_since: Option<Timestamp>,
}

/// A size chosen without metrics.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Held {
    /// Replicas to have; at least the current ones.
    pub replicas: u32,
    /// Why, in order.
    pub reasons: Vec<Reason>,
}

impl Hold {
    /// Metrics are there.
    pub fn metrics_seen(&mut self) {
        self.missing_since = None;
    }

    /// Metrics are missing at `now`, and what to do about it. `detail` says what was wrong.
    ///
    /// The first such call starts the clock. Asking again at the same instant gives the same answer. A target
    /// its owner scaled to zero should not come here: the fallback would start it.
    pub fn metrics_missing(
        &mut self,
        now: Timestamp,
        current: u32,
        policy: &HoldPolicy,
        detail: &str,
    ) -> Held {
        let since = *self.missing_since.get_or_insert(now);
        let mut held =
            Held { replicas: current, reasons: vec![Reason::MetricsMissing { detail: detail.into() }] };
        let due = now.since(since) >= Duration::from_secs(policy.fallback_after_s.into());
        if let Some(fallback) = policy.fallback_replicas.filter(|&f| due && f > current) {
            held.replicas = fallback;
            held.reasons.push(Reason::Fallback { replicas: fallback });
        }
        held
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(seconds: i64) -> Timestamp {
        Timestamp::from_secs(1_000 + seconds)
    }

    #[test]
    fn holds_first_and_falls_back_only_after_the_stated_time() {
        let policy = HoldPolicy { fallback_replicas: Some(6), ..HoldPolicy::default() };
        let mut hold = Hold::default();
        for (seconds, replicas) in [(0, 3), (179, 3), (180, 6), (180, 6), (10_000, 6)] {
            assert_eq!(
                hold.metrics_missing(at(seconds), 3, &policy, "no answer").replicas,
                replicas,
                "{seconds}"
            );
        }
    }

    #[test]
    fn one_good_reading_starts_the_clock_anew() {
        let policy = HoldPolicy { fallback_replicas: Some(6), ..HoldPolicy::default() };
        let mut hold = Hold::default();
        hold.metrics_missing(at(0), 3, &policy, "");
        hold.metrics_seen();
        assert_eq!(hold.metrics_missing(at(500), 3, &policy, "").replicas, 3);
    }

    #[test]
    fn never_fewer_than_now_and_without_a_fallback_for_ever() {
        let mut hold = Hold { missing_since: Some(at(0)) };
        let low = HoldPolicy { fallback_replicas: Some(2), ..HoldPolicy::default() };
        assert_eq!(hold.metrics_missing(at(999), 5, &low, "").replicas, 5);
        let held = hold.metrics_missing(at(99_999), 5, &HoldPolicy::default(), "api down");
        assert_eq!(
            held,
            Held { replicas: 5, reasons: vec![Reason::MetricsMissing { detail: "api down".into() }] }
        );
    }

    #[test]
    fn a_clock_that_steps_back_does_not_trigger_the_fallback() {
        let policy = HoldPolicy { fallback_replicas: Some(6), ..HoldPolicy::default() };
        let mut hold = Hold { missing_since: Some(at(5_000)) };
        assert_eq!(hold.metrics_missing(at(0), 3, &policy, "").replicas, 3);
    }
}
