//! How far may the size follow the proposal now?
//!
//! Two stages, both after the metrics: *stabilisation* looks back over recent proposals, then *limits* bound
//! the change by policies, minimum and maximum. Without a `behavior` the older fixed rules apply, and their
//! results differ from a `behavior` of defaults. Follows `stabilizeRecommendation…`,
//! `convertDesiredReplicas…` and `storeScaleEvent` of `horizontal.go` (about v1.32).
//!
//! Edges: the fixed window includes an entry exactly at its edge, the windows and periods of a `behavior` do not.

use super::spec::{Behavior, HpaConfig, Policy, PolicyType, Rules, SelectPolicy};
use super::{ConditionReason, Tolerance, ceil32};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use sphere_core::Timestamp;

/// Milliseconds from `then` to `now`; negative when `then` is later.
fn age_ms(now: Timestamp, then: Timestamp) -> i64 {
    now.millis().saturating_sub(then.millis())
}

fn ms(seconds: u32) -> i64 {
    i64::from(seconds) * 1000
}

/// Rules of one direction, in force.
#[derive(Clone, Debug, PartialEq)]
pub struct ScalingRules {
    /// Seconds looked back.
    pub window_s: u32,
    /// Which of several policies counts.
    pub select: SelectPolicy,
    /// Limits on the change.
    pub policies: Vec<Policy>,
}

/// Both directions and the tolerances, in force: what a [`Behavior`] means under an [`HpaConfig`].
#[derive(Clone, Debug, PartialEq)]
pub struct ResolvedBehavior {
    /// Raising.
    pub up: ScalingRules,
    /// Lowering.
    pub down: ScalingRules,
}

impl ScalingRules {
    /// Rules for raising: no window; the larger of 4 pods and 100 % per 15 s.
    pub fn up(rules: Option<&Rules>) -> Self {
        let pods = Policy { kind: PolicyType::Pods, value: 4, period_seconds: 15 };
        let percent = Policy { kind: PolicyType::Percent, value: 100, period_seconds: 15 };
        Self::resolve(rules, 0, &[pods, percent])
    }

    /// Rules for lowering: the cluster's window; 100 % per 15 s.
    pub fn down(rules: Option<&Rules>, config: &HpaConfig) -> Self {
        let percent = Policy { kind: PolicyType::Percent, value: 100, period_seconds: 15 };
        Self::resolve(rules, config.downscale_stabilization_s, &[percent])
    }

    fn resolve(rules: Option<&Rules>, window_s: u32, policies: &[Policy]) -> Self {
        Self {
            window_s: rules.and_then(|r| r.stabilization_window_seconds).unwrap_or(window_s),
            select: rules.and_then(|r| r.select_policy).unwrap_or_default(),
            policies: rules.and_then(|r| r.policies.clone()).unwrap_or_else(|| policies.to_vec()),
        }
    }

    fn longest_period_s(&self) -> u32 {
        self.policies.iter().map(|p| p.period_seconds).max().unwrap_or(0)
    }
}

impl ResolvedBehavior {
    /// Fills in the defaults of absent directions and fields.
    pub fn new(behavior: &Behavior, config: &HpaConfig) -> Self {
        Self {
            up: ScalingRules::up(behavior.scale_up.as_ref()),
            down: ScalingRules::down(behavior.scale_down.as_ref(), config),
        }
    }
}

impl Tolerance {
    /// The tolerances in force: those of the behavior where set and honoured, else the cluster's.
    pub fn resolve(behavior: Option<&Behavior>, config: &HpaConfig) -> Self {
        let of = |rules: Option<&Rules>| {
            let own = rules.and_then(|r| r.tolerance).filter(|_| config.configurable_tolerance);
            own.map_or(config.tolerance, |t| t.get())
        };
        Self {
            down: of(behavior.and_then(|b| b.scale_down.as_ref())),
            up: of(behavior.and_then(|b| b.scale_up.as_ref())),
        }
    }
}

/// A proposal as it was made, before windows and limits.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Recommendation {
    /// Replicas asked for.
    pub replicas: i32,
    /// When.
    pub at: Timestamp,
}

/// Recent proposals. Entries out of every window are reused, so it stays as long as the window needs.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(transparent)]
pub struct RecommendationLog(pub Vec<Recommendation>);

impl RecommendationLog {
    /// A log that starts with the size first seen, so that a restart does not scale in for a whole window.
    pub fn seeded(current: i32, now: Timestamp) -> Self {
        Self(vec![Recommendation { replicas: current, at: now }])
    }

    /// Without a behavior: the largest proposal of the window, this one included. Records `proposal`.
    pub fn stabilize_legacy(&mut self, now: Timestamp, proposal: i32, window_s: u32) -> i32 {
        let mut highest = proposal;
        let mut reusable = None;
        for (slot, entry) in self.0.iter().enumerate() {
            if age_ms(now, entry.at) > ms(window_s) {
                reusable = Some(slot);
            } else {
                highest = highest.max(entry.replicas);
            }
        }
        self.record(reusable, proposal, now);
        highest
    }

    /// With a behavior: `current`, moved only as far as every proposal of the up window allows (raising) and
    /// every proposal of the down window forbids less (lowering). Records `proposal`.
    pub fn stabilize(&mut self, now: Timestamp, current: i32, proposal: i32, up_s: u32, down_s: u32) -> i32 {
        let (mut low, mut high) = (proposal, proposal);
        let mut reusable = None;
        for (slot, entry) in self.0.iter().enumerate() {
            let age = age_ms(now, entry.at);
            if age < ms(up_s) {
                low = low.min(entry.replicas);
            }
            if age < ms(down_s) {
                high = high.max(entry.replicas);
            }
            if age > ms(up_s) && age > ms(down_s) {
                reusable = Some(slot);
            }
        }
        self.record(reusable, proposal, now);
        current.max(low).min(high)
    }

    /// The same proposal at the same instant is kept once: asking twice changes nothing.
    fn record(&mut self, slot: Option<usize>, replicas: i32, at: Timestamp) {
        let entry = Recommendation { replicas, at };
        if self.0.contains(&entry) {
            return;
        }
        match slot.and_then(|i| self.0.get_mut(i)) {
            Some(old) => *old = entry,
            None => self.0.push(entry),
        }
    }
}

/// A change of size that was carried out.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct ScaleEvent {
    /// Replicas added or removed, always positive.
    pub change: i32,
    /// When.
    pub at: Timestamp,
    /// Older than any period of its direction: its slot may be reused. Sums do not look at this mark.
    #[serde(default)]
    pub outdated: bool,
}

/// Changes of one direction.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(transparent)]
pub struct EventLog(pub Vec<ScaleEvent>);

impl EventLog {
    /// Replicas changed within the last `period_s` seconds; a change exactly that old is out.
    pub fn change_within(&self, now: Timestamp, period_s: u32) -> i32 {
        let recent = self.0.iter().filter(|e| age_ms(now, e.at) < ms(period_s));
        recent.fold(0i32, |sum, e| sum.saturating_add(e.change))
    }

    /// Stores a change under the rules of its direction, in the last slot that no policy of them needs, if any.
    pub fn store(&mut self, now: Timestamp, change: i32, rules: &ScalingRules) {
        let longest = ms(rules.longest_period_s());
        let mut reusable = None;
        for event in &mut self.0 {
            event.outdated |= age_ms(now, event.at) > longest;
            if event.outdated {
                reusable = Some(event);
            }
        }
        let event = ScaleEvent { change, at: now, outdated: false };
        match reusable {
            Some(old) => *old = event,
            None => self.0.push(event),
        }
    }
}

/// Changes carried out, by direction.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct ScaleEvents {
    /// Raises.
    pub up: EventLog,
    /// Reductions.
    pub down: EventLog,
}

impl ScaleEvents {
    /// The size at the start of a period: changes of both directions are taken back.
    fn start(&self, now: Timestamp, current: i32, period_s: u32) -> i32 {
        let (added, removed) = (self.up.change_within(now, period_s), self.down.change_within(now, period_s));
        current.saturating_sub(added).saturating_add(removed)
    }

    /// The largest size the rules allow; may be below `current` after recent raises.
    pub fn up_limit(&self, now: Timestamp, current: i32, rules: &ScalingRules) -> i32 {
        let allowed = rules.policies.iter().map(|policy| {
            let start = self.start(now, current, policy.period_seconds);
            match policy.kind {
                PolicyType::Pods => start.saturating_add(policy.value),
                PolicyType::Percent => ceil32(f64::from(start) * (1.0 + f64::from(policy.value) / 100.0)),
            }
        });
        match rules.select {
            SelectPolicy::Disabled => current,
            SelectPolicy::Max => allowed.max().unwrap_or(i32::MIN),
            SelectPolicy::Min => allowed.min().unwrap_or(i32::MAX),
        }
    }

    /// The smallest size the rules allow; may be above `current` after recent reductions.
    pub fn down_limit(&self, now: Timestamp, current: i32, rules: &ScalingRules) -> i32 {
        let allowed = rules.policies.iter().map(|policy| {
            let start = self.start(now, current, policy.period_seconds);
            match policy.kind {
                PolicyType::Pods => start.saturating_sub(policy.value),
                // Truncated, not rounded up: both directions allow the larger change.
                PolicyType::Percent => (f64::from(start) * (1.0 - f64::from(policy.value) / 100.0)) as i32,
            }
        });
        match rules.select {
            SelectPolicy::Disabled => current,
            SelectPolicy::Max => allowed.min().unwrap_or(i32::MAX),
            SelectPolicy::Min => allowed.max().unwrap_or(i32::MIN),
        }
    }
}

/// A size after limits, and the limit that shaped it ([`ConditionReason::DesiredWithinRange`] when none did).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limited {
    /// The size.
    pub replicas: i32,
    /// Why it is not what was asked.
    pub reason: ConditionReason,
}

impl Limited {
    fn by(replicas: i32, reason: ConditionReason) -> Self {
        Self { replicas, reason }
    }
}

/// Without a behavior: minimum, maximum, and growth to at most the larger of a factor and a fixed size.
pub fn limit_legacy(current: i32, wanted: i32, min: i32, max: i32, config: &HpaConfig) -> Limited {
    let cap = (config.scale_up_limit_factor * f64::from(current)).max(config.scale_up_limit_minimum) as i32;
    let (top, why) = if max > cap {
        (cap, ConditionReason::ScaleUpLimit)
    } else {
        (max, ConditionReason::TooManyReplicas)
    };
    if wanted < min {
        Limited::by(min, ConditionReason::TooFewReplicas)
    } else if wanted > top {
        Limited::by(top, why)
    } else {
        Limited::by(wanted, ConditionReason::DesiredWithinRange)
    }
}

/// With a behavior: the policies and the bound of the direction of travel.
pub fn limit(
    now: Timestamp,
    current: i32,
    wanted: i32,
    min: i32,
    max: i32,
    behavior: &ResolvedBehavior,
    events: &ScaleEvents,
) -> Limited {
    if wanted > current {
        let allowed = events.up_limit(now, current, &behavior.up).max(current);
        let (top, why) = if max > allowed {
            (allowed, ConditionReason::ScaleUpLimit)
        } else {
            (max, ConditionReason::TooManyReplicas)
        };
        if wanted > top {
            return Limited::by(top, why);
        }
    } else if wanted < current {
        let allowed = events.down_limit(now, current, &behavior.down).min(current);
        let (bottom, why) = if min < allowed {
            (allowed, ConditionReason::ScaleDownLimit)
        } else {
            (min, ConditionReason::TooFewReplicas)
        };
        if wanted < bottom {
            return Limited::by(bottom, why);
        }
    }
    Limited::by(wanted, ConditionReason::DesiredWithinRange)
}
