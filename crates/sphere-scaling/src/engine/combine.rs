//! The HPA and the forecast have answered: which size is it?
//!
//! Reasons stay in the order in which they shaped the number: those of whoever decided, and what was laid on
//! top of it last.

use super::{Answer, Autoscaler, Observation, count};
use crate::hpa::{Branch, Evaluation};
use crate::safety::HoldPolicy;
use sphere_core::Mode;

impl Autoscaler {
    /// The size and its reasons; keeps the clock of missing metrics.
    pub(super) fn combine(
        &mut self,
        seen: &Observation<'_>,
        evaluation: &Evaluation,
        predictive: Option<&Answer>,
    ) -> Answer {
        let reactive = Answer {
            size: evaluation.desired.map_or(seen.current, count),
            reasons: evaluation.reasons(self.hpa.spec()),
        };
        match evaluation.branch {
            // Nothing is known of the target: not the moment to touch it, nor to say that metrics are back.
            Branch::ScaleUnreadable => reactive,
            Branch::Disabled => {
                self.state.hold.metrics_seen();
                reactive
            }
            // The bounds first; only growth beyond them follows the forecast, because no metric was looked at.
            Branch::AboveMax | Branch::BelowMin => larger(predictive, reactive),
            Branch::MetricsFailed => self.without_metrics(seen, evaluation, predictive),
            Branch::Metrics => {
                self.state.hold.metrics_seen();
                match predictive {
                    Some(predictive) if self.forecast_alone_decides() => predictive.clone(),
                    _ => larger(predictive, reactive),
                }
            }
        }
    }

    /// In `Full`, and in `Observe` when that is what was asked for. What only obstacles make an observation shows
    /// what the mode asked for would do.
    fn forecast_alone_decides(&self) -> bool {
        matches!(self.spec.mode, Mode::Full | Mode::Observe)
    }

    /// Holds, falls back when that has lasted, and follows a forecast upwards.
    fn without_metrics(
        &mut self,
        seen: &Observation<'_>,
        evaluation: &Evaluation,
        predictive: Option<&Answer>,
    ) -> Answer {
        let detail = evaluation.error.map_or_else(String::new, |e| e.to_string());
        let within_bounds = |replicas: u32| replicas.min(self.spec.max_replicas).max(self.spec.min_replicas);
        let fallback_replicas = self.spec.fallback.fallback_replicas.map(within_bounds);
        let policy = HoldPolicy { fallback_replicas, ..self.spec.fallback };
        let held = self.state.hold.metrics_missing(seen.now, seen.current, &policy, &detail);
        let mut held = Answer { size: held.replicas, reasons: held.reasons };
        if let Some(predictive) = predictive
            && predictive.size > held.size
        {
            held.size = predictive.size;
            held.reasons.extend(predictive.reasons.iter().cloned());
        }
        held
    }
}

/// The larger answer with its reasons; the forecast's where both are the same.
fn larger(predictive: Option<&Answer>, reactive: Answer) -> Answer {
    match predictive {
        Some(predictive) if predictive.size >= reactive.size => predictive.clone(),
        _ => reactive,
    }
}
