//! What does one sync of the autoscaler do?
//!
//! [`Hpa::evaluate`] turns a [`Snapshot`] into an [`Evaluation`], a value; someone applies it; then
//! [`Hpa::record`] is told how that went. [`Hpa::sync`] does both, for simulation. Order of steps and
//! conditions follow `reconcileAutoscaler` of `horizontal.go` (about v1.32).
//!
//! A failed sync has no desired size: absent is not "stay", the caller decides what holding means. The size
//! itself is never moved towards a bound by a failure; bounds are enforced without metrics.

use super::behavior::{Recommendation, RecommendationLog, ResolvedBehavior, limit, limit_legacy};
use super::calculator::Tolerance;
use super::combine::{Combined, combine};
use super::pods::{ConditionStatus, PodStatus};
use super::propose::{Reading, failure_reason, propose_one};
use super::spec::{HpaConfig, HpaSpec, MetricSpec};
use super::status::{ConditionReason, ConditionType, HpaState, HpaStatus, MetricError, MetricStatus};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use sphere_core::{Reason, Timestamp};

/// The scale subresource of the target.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Scale {
    /// Replicas asked for.
    pub spec_replicas: i32,
    /// Replicas there are.
    pub status_replicas: i32,
}

/// Is it clear which pods belong to the target?
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum Selector {
    /// Yes.
    #[default]
    Valid,
    /// The selector is empty or can not be read.
    Invalid,
    /// Another autoscaler selects some of the same pods.
    Ambiguous,
}

/// What the autoscaler sees in one sync. Borrowed, so that taking one costs nothing.
#[derive(Clone, Copy, Debug)]
pub struct Snapshot<'a> {
    /// The target's scale; absent when it could not be read.
    pub scale: Option<Scale>,
    /// Which pods belong to the target?
    pub selector: Selector,
    /// All pods the selector lists.
    pub pods: &'a [PodStatus],
    /// One per metric of the spec, in its order; a metric beyond its end counts as not fetched.
    pub readings: &'a [Reading<'a>],
}

/// How the size was found.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum Branch {
    /// The scale could not be read.
    ScaleUnreadable,
    /// The target is at zero and stays there.
    Disabled,
    /// The size was above the maximum; no metric was looked at.
    AboveMax,
    /// The size was below the minimum; no metric was looked at.
    BelowMin,
    /// Metrics, windows and limits decided.
    Metrics,
    /// Metrics could not decide.
    MetricsFailed,
}

/// Why a sync ends with an error. It may have scaled all the same.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema, thiserror::Error)]
#[serde(rename_all = "snake_case")]
pub enum SyncError {
    /// The scale could not be read.
    #[error("the scale of the target can not be read")]
    ScaleUnreadable,
    /// It is not clear which pods belong to the target.
    #[error("the selector of the target is empty, unreadable or shared")]
    Selector,
    /// This metric (by its place in the spec) was the first invalid one.
    #[error("metric {index}: {error}")]
    Metric {
        /// Place in the spec.
        index: usize,
        /// What was wrong.
        error: MetricError,
    },
    /// The spec has no metrics.
    #[error("the spec has no metrics")]
    NoMetrics,
    /// The new size could not be written.
    #[error("the new size could not be written")]
    WriteFailed,
}

/// The answer of one sync, before anything is applied.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Evaluation {
    /// The instant decided at.
    pub at: Timestamp,
    /// How the size was found.
    pub branch: Branch,
    /// Replicas asked for before; absent when the scale could not be read.
    pub current: Option<i32>,
    /// What the metrics asked for, and the place of the metric that decided.
    pub proposal: Option<(i32, usize)>,
    /// After stabilisation windows.
    pub stabilized: Option<i32>,
    /// What windows did to the proposal ([`ConditionReason::ReadyForNewScale`]: nothing); metric branch only.
    pub window: Option<ConditionReason>,
    /// The limit that shaped the size ([`ConditionReason::DesiredWithinRange`]: none); metric branch only.
    pub limit: Option<ConditionReason>,
    /// What the target should have; absent when the sync failed.
    pub desired: Option<i32>,
    /// The first thing that was wrong, if any.
    pub error: Option<SyncError>,
}

impl Evaluation {
    /// The size to write, when it differs from the current one.
    pub fn rescale(&self) -> Option<i32> {
        self.desired.filter(|&d| self.branch != Branch::Disabled && Some(d) != self.current)
    }

    /// The answer in SPHERE's own words, in the order in which the reasons shaped the number.
    pub fn reasons(&self, spec: &HpaSpec) -> Vec<Reason> {
        let count = |n: i32| n.max(0).unsigned_abs();
        let (min, max) = (count(spec.min()), count(spec.max_replicas));
        let desired = self.desired.map_or(0, count);
        let mut reasons = Vec::new();
        match self.branch {
            Branch::Disabled => reasons.push(Reason::ScalingDisabled),
            Branch::AboveMax => reasons.push(Reason::TooManyReplicas { max }),
            Branch::BelowMin => reasons.push(Reason::TooFewReplicas { min }),
            Branch::ScaleUnreadable | Branch::MetricsFailed => {
                let detail = self.error.map_or_else(String::new, |e| e.to_string());
                reasons.push(Reason::MetricsMissing { detail });
            }
            Branch::Metrics => {
                if let Some((replicas, index)) = self.proposal {
                    reasons.push(if Some(replicas) == self.current {
                        Reason::WithinTolerance
                    } else {
                        let metric = spec.metrics.get(index).map_or("unknown", MetricSpec::name).to_owned();
                        Reason::MetricProposal { metric, replicas: count(replicas) }
                    });
                }
                if let Some(error) = self.error {
                    reasons.push(Reason::MetricsPartial { detail: error.to_string() });
                }
                let held = self.stabilized.map_or(0, count);
                match self.window {
                    Some(ConditionReason::ScaleUpStabilized) => {
                        reasons.push(Reason::ScaleUpStabilized { replicas: held });
                    }
                    Some(ConditionReason::ScaleDownStabilized) => {
                        reasons.push(Reason::ScaleDownStabilized { replicas: held });
                    }
                    _ => {}
                }
                match self.limit {
                    Some(ConditionReason::ScaleUpLimit) => {
                        reasons.push(Reason::ScaleUpLimited { limit: desired })
                    }
                    Some(ConditionReason::ScaleDownLimit) => {
                        reasons.push(Reason::ScaleDownLimited { limit: desired });
                    }
                    Some(ConditionReason::TooManyReplicas) => reasons.push(Reason::TooManyReplicas { max }),
                    Some(ConditionReason::TooFewReplicas) => reasons.push(Reason::TooFewReplicas { min }),
                    _ => {}
                }
            }
        }
        reasons
    }
}

/// What became of an [`Evaluation`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum ScaleWrite {
    /// The size was written (or needed no writing).
    Done,
    /// Writing failed.
    Failed,
    /// Nobody tried: the autoscaler only watches.
    NotAttempted,
}

/// How a whole sync ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct SyncOutcome {
    /// What was decided.
    pub evaluation: Evaluation,
    /// Replicas last decided on, as the status reports them.
    pub desired_replicas: i32,
    /// A new size was written.
    pub rescaled: bool,
    /// The sync ends with this error.
    pub error: Option<SyncError>,
}

/// One Horizontal Pod Autoscaler.
#[derive(Clone, Debug)]
pub struct Hpa {
    spec: HpaSpec,
    config: HpaConfig,
    behavior: Option<ResolvedBehavior>,
    tolerance: Tolerance,
    state: HpaState,
}

impl Hpa {
    /// An autoscaler without history. The spec should be [valid](HpaSpec::validate); nothing panics if it is not.
    pub fn new(spec: HpaSpec, config: HpaConfig) -> Self {
        Self::with_state(spec, config, HpaState::default())
    }

    /// An autoscaler that goes on from a saved state.
    pub fn with_state(spec: HpaSpec, config: HpaConfig, state: HpaState) -> Self {
        let behavior = spec.behavior.as_ref().map(|b| ResolvedBehavior::new(b, &config));
        let tolerance = Tolerance::resolve(spec.behavior.as_ref(), &config);
        Self { spec, config, behavior, tolerance, state }
    }

    /// The spec.
    pub fn spec(&self) -> &HpaSpec {
        &self.spec
    }

    /// Everything to save.
    pub fn state(&self) -> &HpaState {
        &self.state
    }

    /// What is reported.
    pub fn status(&self) -> &HpaStatus {
        &self.state.status
    }

    /// One whole sync in which the write of a new size succeeds.
    pub fn sync(&mut self, now: Timestamp, seen: &Snapshot<'_>) -> SyncOutcome {
        let evaluation = self.evaluate(now, seen);
        self.record(&evaluation, ScaleWrite::Done)
    }

    /// Decides, and records the proposal and the conditions. Nothing is applied; tell [`Hpa::record`] what became of it.
    pub fn evaluate(&mut self, now: Timestamp, seen: &Snapshot<'_>) -> Evaluation {
        let mut answer = Evaluation {
            at: now,
            branch: Branch::ScaleUnreadable,
            current: None,
            proposal: None,
            stabilized: None,
            window: None,
            limit: None,
            desired: None,
            error: None,
        };
        let Some(scale) = seen.scale else {
            self.state.status.set(now, ConditionType::AbleToScale, false, ConditionReason::FailedGetScale);
            answer.error = Some(SyncError::ScaleUnreadable);
            return answer;
        };
        let status = &mut self.state.status;
        status.set(now, ConditionType::AbleToScale, true, ConditionReason::SucceededGetScale);
        let current = scale.spec_replicas;
        answer.current = Some(current);
        status.current_replicas = current;
        status.metrics.clear();
        self.state.recommendations.get_or_insert_with(|| RecommendationLog::seeded(current, now));

        let (min, max) = (self.spec.min(), self.spec.max_replicas);
        let own_zero = current == 0 && self.config.scaled_to_zero_condition && self.leaves_own_zero();
        let at_zero_off = if self.config.scaled_to_zero_condition { !own_zero } else { min != 0 };
        if current == 0 && at_zero_off {
            self.state.status.set(now, ConditionType::ScalingActive, false, ConditionReason::ScalingDisabled);
            answer.branch = Branch::Disabled;
            answer.desired = Some(current);
        } else if current > max {
            answer.branch = Branch::AboveMax;
            answer.desired = Some(max);
        } else if current < min && !own_zero {
            answer.branch = Branch::BelowMin;
            answer.desired = Some(min);
        } else {
            self.by_metrics(now, seen, scale, &mut answer);
            if own_zero && min > 0 {
                // The minimum was raised while the target was at zero: bounds hold whatever the metrics say.
                if answer.desired.is_none() {
                    answer.branch = Branch::BelowMin;
                }
                answer.desired = Some(answer.desired.unwrap_or(min).max(min));
            }
        }
        answer
    }

    /// Releases from 1.36: did this autoscaler itself go to zero, and is there a way back?
    fn leaves_own_zero(&self) -> bool {
        let own = self.state.status.condition(ConditionType::ScaledToZero);
        own.is_some_and(|c| c.status == ConditionStatus::True)
            && (self.spec.has_podless_metric() || self.spec.min() > 0)
    }

    fn by_metrics(&mut self, now: Timestamp, seen: &Snapshot<'_>, scale: Scale, answer: &mut Evaluation) {
        answer.branch = Branch::MetricsFailed;
        let active = ConditionType::ScalingActive;
        let bad_selector = match seen.selector {
            Selector::Valid => None,
            Selector::Invalid => Some(ConditionReason::InvalidSelector),
            Selector::Ambiguous => Some(ConditionReason::AmbiguousSelector),
        };
        if let Some(reason) = bad_selector {
            self.state.status.set(now, active, false, reason);
            answer.error = Some(SyncError::Selector);
            return;
        }
        let current = scale.spec_replicas;
        let combined = self.propose(now, seen, scale);
        let Combined { replicas: proposal, decided_by, first_error } = match combined {
            Ok(combined) => combined,
            Err(failure) => {
                let reason =
                    failure.first_error.map_or(ConditionReason::InvalidMetricSourceType, |(index, _)| {
                        failure_reason(&self.spec.metrics[index])
                    });
                self.state.status.set(now, active, false, reason);
                let metric = |(index, error)| SyncError::Metric { index, error };
                answer.error = Some(failure.first_error.map_or(SyncError::NoMetrics, metric));
                return;
            }
        };
        self.state.status.set(now, active, true, ConditionReason::ValidMetricFound);
        answer.branch = Branch::Metrics;
        answer.proposal = Some((proposal, decided_by));
        answer.error = first_error.map(|(index, error)| SyncError::Metric { index, error });

        let (min, max) = (self.spec.min(), self.spec.max_replicas);
        let log = self.state.recommendations.get_or_insert_default();
        let (stabilized, limited) = match &self.behavior {
            None => {
                let held = log.stabilize_legacy(now, proposal, self.config.downscale_stabilization_s);
                (held, limit_legacy(current, held, min, max, &self.config))
            }
            Some(b) => {
                let held = log.stabilize(now, current, proposal, b.up.window_s, b.down.window_s);
                (held, limit(now, current, held, min, max, b, &self.state.events))
            }
        };
        let window = if stabilized == proposal {
            ConditionReason::ReadyForNewScale
        } else if self.behavior.is_some() && proposal >= current {
            ConditionReason::ScaleUpStabilized
        } else {
            ConditionReason::ScaleDownStabilized
        };
        self.state.status.set(now, ConditionType::AbleToScale, true, window);
        let cut = limited.reason != ConditionReason::DesiredWithinRange;
        self.state.status.set(now, ConditionType::ScalingLimited, cut, limited.reason);
        answer.stabilized = Some(stabilized);
        answer.window = Some(window);
        answer.limit = Some(limited.reason);
        answer.desired = Some(limited.replicas);
    }

    /// Asks every metric; their answers go into the status.
    fn propose(
        &mut self,
        now: Timestamp,
        seen: &Snapshot<'_>,
        scale: Scale,
    ) -> Result<Combined, super::CombineError> {
        let Self { spec, config, tolerance, state, .. } = self;
        let reports = &mut state.status.metrics;
        let outcomes = spec.metrics.iter().enumerate().map(|(i, metric)| {
            let unread = Reading::Unavailable(MetricError::FetchFailed);
            let reading = seen.readings.get(i).copied().unwrap_or(unread);
            let outcome = propose_one(now, metric, reading, seen.pods, scale, *tolerance, config);
            reports.push(match outcome {
                Ok(proposal) => MetricStatus::Valid(proposal),
                Err(error) => MetricStatus::Invalid(error),
            });
            outcome
        });
        combine(scale.spec_replicas, outcomes)
    }

    /// Records what became of an evaluation and closes the sync.
    pub fn record(&mut self, evaluation: &Evaluation, write: ScaleWrite) -> SyncOutcome {
        let now = evaluation.at;
        let mut outcome = SyncOutcome {
            evaluation: *evaluation,
            desired_replicas: self.state.status.desired_replicas,
            rescaled: false,
            error: evaluation.error,
        };
        let (Some(current), Some(desired)) = (evaluation.current, evaluation.desired) else {
            return outcome;
        };
        if evaluation.rescale().is_some() {
            let able = ConditionType::AbleToScale;
            match write {
                ScaleWrite::Failed => {
                    self.state.status.set(now, able, false, ConditionReason::FailedUpdateScale);
                    outcome.error = Some(SyncError::WriteFailed);
                    return outcome;
                }
                ScaleWrite::Done => {
                    self.state.status.set(now, able, true, ConditionReason::SucceededRescale);
                    self.state.status.last_scale_at = Some(now);
                    self.record_change(now, current, desired);
                    outcome.rescaled = true;
                }
                ScaleWrite::NotAttempted => {}
            }
        }
        self.state.status.desired_replicas = desired;
        outcome.desired_replicas = desired;
        outcome
    }

    /// Takes in the proposals made earlier, for replays. After it, even with none, the first sync seeds nothing.
    pub fn recall_proposals(&mut self, made: &[Recommendation]) {
        self.state.recommendations.get_or_insert_default().0.extend_from_slice(made);
    }

    /// Counts a change of size against the policies, whoever made it. [`Hpa::record`] does so for its own.
    pub fn record_change(&mut self, now: Timestamp, from: i32, to: i32) {
        if let Some(behavior) = &self.behavior {
            let change = i32::try_from(from.abs_diff(to)).unwrap_or(i32::MAX);
            let events = &mut self.state.events;
            match to.cmp(&from) {
                std::cmp::Ordering::Greater => events.up.store(now, change, &behavior.up),
                std::cmp::Ordering::Less => events.down.store(now, change, &behavior.down),
                std::cmp::Ordering::Equal => {}
            }
        }
        if self.config.scaled_to_zero_condition && from != to {
            let zero = from > 0 && to == 0 && self.spec.min() == 0 && self.spec.has_podless_metric();
            let reason = if zero { ConditionReason::ScaledToZero } else { ConditionReason::NotScaledToZero };
            self.state.status.set(now, ConditionType::ScaledToZero, zero, reason);
        }
    }
}
