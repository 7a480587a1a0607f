//! What does the forecast ask for, within everything that binds it?
//!
//! In this order: the policy's own choice; when lowering, the largest choice of all steps until the lead time
//! (removed pods are gone at once, not after the lead time); pods at their limit; the bounds; the windows and
//! policies of an explicit `behavior`; and no scale-in on missing or censored data. What comes out is the
//! predictive size of the decision, fit to be applied.

use super::{Answer, Autoscaler, Observation, Scouts, Usable, count, signed};
use crate::hpa::{ConditionReason, Evaluation, RecommendationLog, limit};
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
        let replicas = self.scouts(seen);
        if replicas > answer.size {
            answer.raise(replicas, Reason::DemandCensored { replicas });
        }
        let (min, max) = (self.spec.min_replicas, self.spec.max_replicas);
        answer.clamp(min, max);
        self.bind(seen, &mut answer);
        // From a size outside the bounds, a window or a policy may hold one that still is.
        answer.clamp(min, max);
        let missing = missing_data(seen, evaluation);
        let held = seen.current.min(max);
        if let Some(detail) = missing
            && answer.size < held
        {
            answer.raise(held, Reason::MetricsPartial { detail });
        }
        answer
    }

    /// Fewest pods with which demand beyond the limit can be seen: 0 when it is seen. With pods at their limit demand is larger
    /// than measured, and so is any forecast made of it: raise, and never lower, until those ordered have served.
    fn scouts(&mut self, seen: &Observation<'_>) -> u32 {
        if seen.censored {
            let wanted = (f64::from(seen.ready) / CENSORED_TARGET).ceil() as u32;
            let replicas = wanted.max(seen.current).min(self.spec.max_replicas);
            let until = seen.now + self.state.lead_time.startup();
            self.state.scouts = Some(Scouts { replicas, until });
            return replicas;
        }
        match self.state.scouts {
            // What was not carried out is not ordered again: the limit is not reached any more.
            Some(Scouts { replicas, until }) if seen.now < until => replicas.min(seen.current),
            _ => {
                self.state.scouts = None;
                0
            }
        }
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
        let (now, current, asked) = (seen.now, signed(seen.current), signed(answer.size));
        let Some(held) = self.stabilized(now, current, asked) else { return };
        let Some(behavior) = &self.behavior else { return };
        let (min, max) = (signed(self.spec.min_replicas), signed(self.spec.max_replicas));
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
        if let (Some((proposal, _)), Some(current)) = (evaluation.proposal, evaluation.current) {
            self.stabilized(now, current, proposal);
        }
    }

    /// Remembers a proposal and says how far the windows of the `behavior`, if there is one, let the size follow.
    fn stabilized(&mut self, now: Timestamp, current: i32, proposal: i32) -> Option<i32> {
        let behavior = self.behavior.as_ref()?;
        let log = &mut self.state.predicted;
        if !self.state.windows_known {
            // As the HPA does: a restart must not scale in for a whole window.
            log.0.extend(RecommendationLog::seeded(current, now).0);
            self.state.windows_known = true;
        }
        Some(log.stabilize(now, current, proposal, behavior.up_window_s, behavior.down_window_s))
    }
}

impl Answer {
    fn clamp(&mut self, min: u32, max: u32) {
        if self.size > max {
            self.size = max;
            self.reasons.push(Reason::TooManyReplicas { max });
        }
        if self.size < min {
            self.raise(min, Reason::TooFewReplicas { min });
        }
    }

    fn raise(&mut self, size: u32, because: Reason) {
        self.size = size;
        self.reasons.push(because);
    }
}

/// What is missing, so that nothing may shrink.
fn missing_data(seen: &Observation<'_>, evaluation: &Evaluation) -> Option<String> {
    let failed = evaluation.error.map(|error| error.to_string());
    failed.or(seen.demand.is_none().then(|| "demand".into()))
}
