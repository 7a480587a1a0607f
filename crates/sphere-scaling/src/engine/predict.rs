//! What does the forecast ask for, within everything that binds it?
//!
//! In this order: the policy's own choice; when lowering, the largest choice of all steps until the lead time
//! (removed pods are gone at once, not after the lead time); pods at their limit; the bounds; the windows and
//! policies of an explicit `behavior`; and no scale-in on missing or censored data. What comes out is the
//! predictive size of the decision, fit to be applied.

use super::{Answer, Autoscaler, Observation, Usable, count, signed};
use crate::hpa::{Branch, ConditionReason, Evaluation, RecommendationLog, limit};
use crate::spec::PredictivePolicy;
use sphere_core::{Reason, Timestamp};

/// With pods at their limit, order so many that they would be used to this share if demand were what is served.
const CENSORED_TARGET: f64 = 0.65;

impl Autoscaler {
    /// The predictive answer. Remembers it as a proposal where a `behavior` has windows.
    pub(super) fn predict(
        &mut self,
        seen: &Observation<'_>,
        usable: &Usable<'_>,
        evaluation: &Evaluation,
    ) -> Answer {
        let mut answer = match self.spec.policy {
            PredictivePolicy::Price => self.by_price(seen, usable),
            PredictivePolicy::Classic => self.by_classic(seen, usable),
        };
        if seen.censored {
            // Demand is larger than measured and so is any forecast made of it: raise, and never lower.
            let wanted = (f64::from(seen.ready) / CENSORED_TARGET).ceil() as u32;
            let replicas = wanted.max(seen.current).min(self.spec.max_replicas);
            if replicas > answer.size {
                answer.raise(replicas, Reason::DemandCensored { replicas });
            }
        }
        let (min, max) = (self.spec.min_replicas, self.spec.max_replicas);
        if answer.size > max {
            answer.size = max;
            answer.reasons.push(Reason::TooManyReplicas { max });
        }
        if answer.size < min {
            answer.raise(min, Reason::TooFewReplicas { min });
        }
        self.bind(seen, &mut answer);
        let missing = missing_data(seen, evaluation);
        let held = seen.current.min(max);
        if let Some(detail) = missing
            && answer.size < held
        {
            answer.raise(held, Reason::MetricsPartial { detail });
        }
        answer
    }

    fn by_price(&self, seen: &Observation<'_>, usable: &Usable<'_>) -> Answer {
        let bounds = (self.spec.min_replicas, self.spec.max_replicas);
        let choose = |demand| self.state.price.choose(seen.current, bounds, demand, usable.capacity);
        let (mut choice, mut step, mut ahead) = (choose(&usable.step.demand), usable.step, usable.lead);
        if choice.replicas < seen.current {
            let until_lead =
                usable.forecast.steps.iter().filter(|s| s.at > seen.now && s.at < usable.step.at);
            for earlier in until_lead {
                let needed = choose(&earlier.demand);
                if needed.replicas > choice.replicas {
                    (choice, step, ahead) = (needed, earlier, earlier.at.since(seen.now));
                }
            }
        }
        let reasons = choice.reasons(ahead.as_secs_f64(), step.demand.mean());
        Answer { size: choice.replicas, reasons }
    }

    fn by_classic(&self, seen: &Observation<'_>, usable: &Usable<'_>) -> Answer {
        let percent: Vec<f64> =
            usable.forecast.steps.iter().map(|s| s.demand.mean() / usable.capacity * 100.0).collect();
        let rule = self.spec.classic_rule();
        let decision = rule.decide(seen.now, seen.current, &percent, &self.state.classic);
        Answer { size: decision.replicas, reasons: decision.reasons }
    }

    /// An explicit `behavior` binds predictive changes as it binds the HPA's.
    fn bind(&mut self, seen: &Observation<'_>, answer: &mut Answer) {
        let Some(behavior) = &self.behavior else { return };
        let (now, current) = (seen.now, signed(seen.current));
        let (min, max) = (signed(self.spec.min_replicas), signed(self.spec.max_replicas));
        let log = &mut self.state.predicted;
        if log.0.is_empty() {
            // As the HPA does: a restart must not scale in for a whole window.
            *log = RecommendationLog::seeded(current, now);
        }
        let asked = signed(answer.size);
        let held = log.stabilize(now, current, asked, behavior.up_window_s, behavior.down_window_s);
        let replicas = count(held);
        match held.cmp(&asked) {
            std::cmp::Ordering::Less => answer.reasons.push(Reason::ScaleUpStabilized { replicas }),
            std::cmp::Ordering::Greater => answer.reasons.push(Reason::ScaleDownStabilized { replicas }),
            std::cmp::Ordering::Equal => {}
        }
        let limited = limit(now, current, held, min, max, &behavior.rules, &self.hpa.state().events);
        answer.size = count(limited.replicas);
        answer.reasons.extend(match limited.reason {
            ConditionReason::ScaleUpLimit => Some(Reason::ScaleUpLimited { limit: answer.size }),
            ConditionReason::ScaleDownLimit => Some(Reason::ScaleDownLimited { limit: answer.size }),
            ConditionReason::TooManyReplicas => Some(Reason::TooManyReplicas { max: answer.size }),
            ConditionReason::TooFewReplicas => Some(Reason::TooFewReplicas { min: answer.size }),
            _ => None,
        });
    }

    /// Without a forecast the HPA's proposal goes into the windows: a forecast that comes back must not undercut it.
    pub(super) fn remember_proposal(&mut self, now: Timestamp, evaluation: &Evaluation) {
        if let (Some(behavior), Some((proposal, _)), Some(current)) =
            (&self.behavior, evaluation.proposal, evaluation.current)
        {
            let windows = (behavior.up_window_s, behavior.down_window_s);
            self.state.predicted.stabilize(now, current, proposal, windows.0, windows.1);
        }
    }
}

impl Answer {
    fn raise(&mut self, size: u32, because: Reason) {
        self.size = size;
        self.reasons.push(because);
    }
}

/// What is missing, so that nothing may shrink.
fn missing_data(seen: &Observation<'_>, evaluation: &Evaluation) -> Option<String> {
    if let Some(error) = evaluation.error {
        return Some(error.to_string());
    }
    if evaluation.branch == Branch::MetricsFailed {
        return Some("a metric of the spec".into());
    }
    seen.demand.is_none().then(|| "demand".into())
}
