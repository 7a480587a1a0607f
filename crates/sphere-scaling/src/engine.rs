//! What should this workload have now, all things considered?
//!
//! [`Autoscaler::decide`] asks the HPA first (it needs neither forecast nor Kafka nor Redis), then the
//! predictive policy (`engine/predict.rs`), then puts both together by the mode asked for (`engine/combine.rs`):
//!
//! | mode | desired size |
//! |---|---|
//! | `Observe` | what `Full` would do; nothing is touched |
//! | `Floor`, `ScaleOut` | the larger of both; in `Floor` only the HPA's minimum is set, see [`Autoscaler::floor`] |
//! | `Full` | the predictive one |
//!
//! Without a forecast that may be used, the reactive answer stands in every mode. Without the metrics, nothing
//! shrinks. Outside its bounds the size first comes back to them, in every mode. A paused or contested target
//! is decided on as if it were not, and not touched.
//!
//! A decision is a value; whoever applies it tells [`Autoscaler::record`] what became of it. Deciding twice on
//! the same input at the same instant gives the same answer and leaves the same state, also after a restart
//! in between: what is learnt from a forecast is learnt once, keyed by its issue time, and moves the price only
//! from the next forecast on.

mod combine;
mod observation;
mod predict;

pub use observation::Observation;

use crate::capacity::PodCapacity;
use crate::classic::ClassicState;
use crate::hpa::{
    Branch, Evaluation, Hpa, HpaConfig, HpaState, Recommendation, RecommendationLog, ResolvedBehavior, Rules,
    ScaleWrite,
};
use crate::lead_time::LeadTime;
use crate::price::{PriceConfig, PricePolicy};
use crate::safety::{Hold, Obstacles, comes_from_the_future, effective_mode, plausible, usable_step};
use crate::slo::SloLoop;
use crate::spec::{Objective, PredictivePolicy, ScalingSpec};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use sphere_core::{Decision, Distribution, Forecast, Mode, Reason, StepForecast, Timestamp, WorkloadId};
use std::collections::VecDeque;
use std::time::Duration;

/// Everything an autoscaler remembers; survives a restart.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct AutoscalerState {
    /// The reactive part's logs and status.
    hpa: HpaState,
    /// The price and the mean fleet.
    price: PricePolicy,
    /// The closed loop of an SLO objective.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    slo: Option<SloLoop>,
    /// Correction of the stated capacity of a pod.
    capacity: PodCapacity,
    /// Start-ups measured.
    lead_time: LeadTime,
    /// Since when metrics have been missing.
    hold: Hold,
    /// The founding rule's cooldown.
    classic: ClassicState,
    /// Pods ordered to find out how large demand is beyond the limit of those that were there.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    scouts: Option<Scouts>,
    /// Recent proposals; kept only with a behavior.
    predicted: RecommendationLog,
    /// The windows have their history: the size found first need not stand in for it.
    #[serde(default)]
    windows_known: bool,
    /// Issue time of the last forecast learnt from.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    learnt: Option<Timestamp>,
    /// Sizes of a rehearsal, newest last.
    rehearsed: VecDeque<u32>,
}

/// A size ordered because pods were at their limit: before its pods have served, nothing says that they are too many.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct Scouts {
    replicas: u32,
    /// When all of them serve.
    until: Timestamp,
}

/// The decision maker of one workload.
#[derive(Clone, Debug)]
pub struct Autoscaler {
    spec: ScalingSpec,
    workload: Option<WorkloadId>,
    hpa: Hpa,
    behavior: Option<ExplicitBehavior>,
    evaluation: Option<Evaluation>,
    state: AutoscalerState,
}

/// A `behavior` as far as it binds predictive changes: all its policies, but only the windows it states.
#[derive(Clone, Debug)]
struct ExplicitBehavior {
    rules: ResolvedBehavior,
    up_window_s: u32,
    down_window_s: u32,
}

/// A size and why, in the order in which the reasons shaped it.
#[derive(Clone, Debug)]
struct Answer {
    size: u32,
    reasons: Vec<Reason>,
}

/// A forecast that may be used: its step at the lead time and the capacity of one pod.
#[derive(Clone, Copy)]
struct Usable<'a> {
    forecast: &'a Forecast,
    step: &'a StepForecast,
    capacity: f64,
    lead: Duration,
}

fn count(n: i32) -> u32 {
    n.max(0).unsigned_abs()
}

fn signed(n: u32) -> i32 {
    i32::try_from(n).unwrap_or(i32::MAX)
}

fn finite(x: Option<f64>) -> Option<f64> {
    x.filter(|x| x.is_finite() && *x >= 0.0)
}

fn positive(x: Option<f64>) -> Option<f64> {
    finite(x).filter(|x| *x > 0.0)
}

impl Autoscaler {
    /// An autoscaler without history. `delay`: from a scrape to the decision on it. The spec should have no
    /// [problems](ScalingSpec::problems); nothing panics if it has.
    pub fn new(spec: ScalingSpec, config: HpaConfig, delay: Duration) -> Self {
        let state = AutoscalerState {
            hpa: HpaState::default(),
            price: PricePolicy::new(PriceConfig::default()),
            slo: None,
            capacity: PodCapacity::default(),
            lead_time: LeadTime::new(Duration::ZERO, delay),
            hold: Hold::default(),
            classic: ClassicState::default(),
            scouts: None,
            predicted: RecommendationLog::default(),
            windows_known: false,
            learnt: None,
            rehearsed: VecDeque::new(),
        };
        Self::with_state(spec, config, state)
    }

    /// An autoscaler that goes on from a saved state. Where the spec has changed since, the spec counts: its
    /// objective (a learnt price is kept only for the same SLO) and the start-up time planned with.
    pub fn with_state(spec: ScalingSpec, config: HpaConfig, mut state: AutoscalerState) -> Self {
        match spec.objective {
            Objective::PriceRatio(ratio) => {
                state.slo = None;
                state.price.set_price_ratio(ratio);
            }
            Objective::Slo(share) => {
                if state.slo.as_ref().is_none_or(|slo| slo.target() != share) {
                    state.slo = SloLoop::new(share).ok();
                    let ratio =
                        state.slo.as_ref().map_or(PriceConfig::default().price_ratio, SloLoop::price_ratio);
                    state.price.set_price_ratio(ratio);
                }
            }
        }
        let startup = Duration::try_from_secs_f64(spec.startup_seconds.clamp(0.0, 3600.0));
        state.lead_time.set_prior(startup.unwrap_or(Duration::from_secs(60)));
        let behavior = spec.behavior.as_ref().map(|behavior| {
            let window = |rules: &Option<Rules>| {
                rules.as_ref().and_then(|r| r.stabilization_window_seconds).unwrap_or(0)
            };
            ExplicitBehavior {
                rules: ResolvedBehavior::new(behavior, &config),
                up_window_s: window(&behavior.scale_up),
                down_window_s: window(&behavior.scale_down),
            }
        });
        let hpa = Hpa::with_state(spec.hpa_spec(), config, state.hpa.clone());
        Self { spec, workload: None, hpa, behavior, evaluation: None, state }
    }

    /// Says which workload this is: decisions name it, and a forecast for another one is refused.
    #[must_use]
    pub fn for_workload(mut self, workload: WorkloadId) -> Self {
        self.workload = Some(workload);
        self
    }

    /// Everything to save.
    pub fn state(&self) -> AutoscalerState {
        AutoscalerState { hpa: self.hpa.state().clone(), ..self.state.clone() }
    }

    /// The spec.
    pub fn spec(&self) -> &ScalingSpec {
        &self.spec
    }

    /// The reactive part, for its status.
    pub fn hpa(&self) -> &Hpa {
        &self.hpa
    }

    /// From a scrape to the moment a replica ordered because of it serves.
    pub fn lead_time(&self) -> &LeadTime {
        &self.state.lead_time
    }

    /// The price rule, for what a second over capacity costs now.
    pub fn price(&self) -> &PricePolicy {
        &self.state.price
    }

    /// The closed loop of an SLO objective.
    pub fn slo(&self) -> Option<&SloLoop> {
        self.state.slo.as_ref()
    }

    /// A pod of this workload took this long from create to Ready.
    pub fn pod_started(&mut self, took: Duration) {
        self.state.lead_time.observe(took);
    }

    /// Decides. Nothing is applied; tell [`Autoscaler::record`] what became of it.
    pub fn decide(&mut self, seen: &Observation<'_>, forecast: Option<&Forecast>) -> Decision {
        let seen = &seen.checked();
        let now = seen.now;
        let evaluation = self.hpa.evaluate(now, &seen.snapshot);
        self.evaluation = Some(evaluation);

        let lead = self.state.lead_time.startup();
        let fresh = forecast.filter(|f| self.teaches(f, now));
        let capacity = self.capacity(seen, fresh.is_some());
        if let Some(fresh) = fresh {
            if let (Some(capacity), Some(step)) = (capacity, fresh.at(now + lead)) {
                self.state.price.observe(step.demand.mean(), capacity);
            }
            if let Some(slo) = &self.state.slo {
                self.state.price.set_price_ratio(slo.price_ratio());
            }
        }

        let usable = self.usable(forecast, capacity, now, lead);
        let obstacles =
            Obstacles { paused: self.spec.paused, conflict_with: seen.conflict_with, holds: seen.holds };
        let in_force = effective_mode(self.spec.mode, usable.as_ref().map(|u| u.step), obstacles);
        let may_predict = !matches!(evaluation.branch, Branch::Disabled | Branch::ScaleUnreadable);
        let predictive = match usable {
            Ok(usable) if may_predict => Some(self.predict(seen, &usable, &evaluation)),
            _ => {
                self.remember_proposal(now, &evaluation);
                None
            }
        };
        if let Some(fresh) = fresh {
            self.state.learnt = Some(fresh.issued_at);
            match (&predictive, usable) {
                _ if in_force.mode == Mode::Observe => {}
                (Some(p), Ok(usable)) => self.learn_violations(seen, &usable, p.size),
                // The HPA decides: the budget is spent all the same, but our price learns nothing from it.
                _ => {
                    if let (Some(slo), Some(violated)) = (&mut self.state.slo, seen.violated_share) {
                        slo.count(violated);
                    }
                }
            }
        }

        let Answer { size: desired, mut reasons } = self.combine(seen, &evaluation, predictive.as_ref());
        reasons.extend(self.state.slo.as_ref().and_then(SloLoop::reason));
        reasons.extend(in_force.reasons);
        let falls_back = reasons.iter().any(|r| matches!(r, Reason::Fallback { .. }));
        let applied = match in_force.mode {
            Mode::Observe => false,
            Mode::Floor => predictive.is_some() || falls_back,
            Mode::ScaleOut | Mode::Full => desired != seen.current,
        };
        Decision {
            workload: self.workload.clone(),
            at: now,
            current: seen.current,
            reactive: evaluation.desired.map(count),
            predictive: predictive.map(|p| p.size),
            desired,
            mode: in_force.mode,
            applied,
            reasons,
        }
    }

    /// The `minReplicas` to give the HPA after `decision`: the predictive size, or the fallback's if that is
    /// larger; the spec's own minimum when neither speaks, so that a floor raised once does not stay for ever.
    /// `None` unless [`Mode::Floor`] is in force: then the HPA is not ours to change.
    pub fn floor(&self, decision: &Decision) -> Option<u32> {
        let fallback = decision.reasons.iter().filter_map(|reason| match reason {
            Reason::Fallback { replicas } => Some(*replicas),
            _ => None,
        });
        let asked = fallback.chain(decision.predictive).max().unwrap_or(self.spec.min_replicas);
        let bounded = asked.min(self.spec.max_replicas).max(self.spec.min_replicas);
        (decision.mode == Mode::Floor).then_some(bounded)
    }

    /// What became of a decision: the size went `from` → `to` (equal: nothing was written). Call it once, after
    /// every decision; where somebody else changed the size, call it for that, too.
    pub fn record(&mut self, now: Timestamp, from: u32, to: u32) {
        if let Some(evaluation) = self.evaluation.take() {
            self.hpa.record(&evaluation, ScaleWrite::NotAttempted);
        }
        if from != to {
            self.hpa.record_change(now, signed(from), signed(to));
            self.state.classic.record_change(now, from, to);
        }
    }

    /// Takes in the proposals made earlier, for replays. After it, even with none, the windows are not taken
    /// to hold the size found first, as they are after a restart.
    pub fn recall_proposals(&mut self, made: &[Recommendation]) {
        self.hpa.recall_proposals(made);
        self.state.windows_known = true;
        self.state.predicted.0.extend_from_slice(made);
    }

    /// Is there something to learn from this forecast? Once per issue, and only if it can be meant for now.
    fn teaches(&self, forecast: &Forecast, now: Timestamp) -> bool {
        // A future issue time that was learnt before such were refused must not stop learning for ever.
        let newer = self.state.learnt.is_none_or(|last| {
            forecast.issued_at > last || comes_from_the_future(last, forecast.step(), now)
        });
        newer && !forecast.expired(now) && plausible(forecast, self.workload.as_ref(), now).is_ok()
    }

    /// Capacity of one pod, corrected by what this step shows if it is a new one.
    fn capacity(&mut self, seen: &Observation<'_>, new_step: bool) -> Option<f64> {
        let stated = seen.capacity_per_pod.or(positive(self.spec.capacity_per_pod))?;
        if let (true, false, Some(demand), Some(utilization)) =
            (new_step, seen.censored, seen.demand, seen.utilization)
        {
            self.state.capacity.observe(stated, demand, utilization, seen.mean_ready);
        }
        positive(Some(self.state.capacity.estimate(stated)))
    }

    fn usable<'a>(
        &self,
        forecast: Option<&'a Forecast>,
        capacity: Option<f64>,
        now: Timestamp,
        lead: Duration,
    ) -> Result<Usable<'a>, Reason> {
        let step = usable_step(forecast, self.workload.as_ref(), now, lead)?;
        let forecast = forecast.ok_or(Reason::NoForecast)?;
        let averaged = crate::classic::STEPS_AVERAGED;
        if self.spec.policy == PredictivePolicy::Classic && forecast.steps.len() < averaged {
            return Err(Reason::HorizonTooShort { lead_s: forecast.step().as_secs_f64() * averaged as f64 });
        }
        let capacity = capacity.ok_or(Reason::CapacityUnknown)?;
        Ok(Usable { forecast, step, capacity, lead })
    }

    /// One step of the SLO loop. It learns only while the size chosen is one that gets ordered: violations of
    /// sizes somebody else chose say nothing about our price.
    fn learn_violations(&mut self, seen: &Observation<'_>, usable: &Usable<'_>, size: u32) {
        let (Some(slo), Some(violated)) = (&mut self.state.slo, seen.violated_share) else { return };
        let exceedance = usable.step.demand.exceedance(f64::from(size) * usable.capacity);
        let step_s = usable.forecast.step().as_secs_f64().max(1e-3);
        slo.step(violated, exceedance, (usable.lead.as_secs_f64() / step_s).ceil() as usize);
    }

    /// Replays one past step without acting: `demand` was measured, `at_lead` was then forecast. The mean fleet and
    /// the SLO loop learn as if the sizes chosen had been ordered and had taken `lead_steps` to serve. A step
    /// whose demand or capacity is not a number (capacity: above 0) teaches nothing.
    pub fn rehearse(
        &mut self,
        demand: f64,
        at_lead: &Distribution,
        capacity_per_pod: f64,
        lead_steps: usize,
    ) {
        if finite(Some(demand)).is_none() || positive(Some(capacity_per_pod)).is_none() {
            return;
        }
        let bounds = (self.spec.min_replicas, self.spec.max_replicas);
        self.state.price.observe(at_lead.mean(), capacity_per_pod);
        let Some(slo) = &mut self.state.slo else { return };
        self.state.price.set_price_ratio(slo.price_ratio());
        let ordered = self.state.rehearsed.back().copied().unwrap_or(bounds.0);
        // Served in the step that just ended: what had been ordered long enough before, less what was taken away.
        let violated = self.state.rehearsed.len() > lead_steps && {
            let ready = self.state.rehearsed.iter().copied().min().unwrap_or(ordered);
            demand > f64::from(ready) * capacity_per_pod
        };
        let choice = self.state.price.choose(ordered, bounds, at_lead, capacity_per_pod);
        slo.rehearse(f64::from(u8::from(violated)), choice.exceedance, lead_steps);
        self.state.rehearsed.push_back(choice.replicas);
        while self.state.rehearsed.len() > lead_steps.saturating_add(1) {
            self.state.rehearsed.pop_front();
        }
    }
}

#[cfg(test)]
mod tests;
