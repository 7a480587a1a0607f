//! What should this workload have now, all things considered?
//!
//! [`Autoscaler::decide`] asks the HPA first (it needs neither forecast nor Kafka nor Redis), then the
//! predictive policy, then combines them by the mode in force:
//!
//! | mode | desired size |
//! |---|---|
//! | `Observe` | what `Full` would do; nothing is touched |
//! | `Floor`, `ScaleOut` | the larger of both; in `Floor` only the HPA's minimum is raised, to the predictive one |
//! | `Full` | the predictive one |
//!
//! Without a forecast that may be used, the reactive answer stands in every mode. Without the metrics, nothing
//! shrinks. A decision is a value; whoever applies it tells [`Autoscaler::record`] what became of it. Deciding
//! twice on the same input at the same instant gives the same answer and changes nothing.

use crate::capacity::PodCapacity;
use crate::classic::ClassicState;
use crate::hpa::{
    Branch, Evaluation, Hpa, HpaConfig, HpaState, RecommendationLog, ResolvedBehavior, ScaleWrite, Snapshot,
    limit,
};
use crate::lead_time::LeadTime;
use crate::price::{PriceConfig, PricePolicy};
use crate::safety::{Hold, Obstacles, effective_mode, usable_step};
use crate::slo::SloLoop;
use crate::spec::{Objective, PredictivePolicy, ScalingSpec};
use serde::{Deserialize, Serialize};
use sphere_core::{Decision, Distribution, Forecast, Mode, Reason, StepForecast, Timestamp};
use std::collections::VecDeque;
use std::time::Duration;

/// With pods at their limit, order so many that they would be used to this share if demand were what is served.
const CENSORED_TARGET: f64 = 0.65;

/// What scaling needs to know about a workload at one instant.
#[derive(Clone, Copy, Debug)]
pub struct Observation<'a> {
    /// The instant.
    pub now: Timestamp,
    /// Replicas asked for.
    pub current: u32,
    /// Replicas ready.
    pub ready: u32,
    /// What the HPA sees: pods and metrics.
    pub snapshot: Snapshot<'a>,
    /// Newest measured demand, in the unit of the forecast. `None`: not measured.
    pub demand: Option<f64>,
    /// Stated capacity of one pod, in the unit of the forecast. `None`: the spec's.
    pub capacity_per_pod: Option<f64>,
    /// Share of ready capacity in use, where it is measured independently of `demand`.
    pub utilization: Option<f64>,
    /// Mean number of ready replicas over the interval `demand` and `utilization` describe.
    pub mean_ready: f64,
    /// Pods are at their limit: `demand` is a lower bound.
    pub censored: bool,
    /// Share of the last interval in which demand exceeded ready capacity. `None`: not measured.
    pub violated_share: Option<f64>,
    /// Another writer of the target, if one was found.
    pub conflict_with: Option<&'a str>,
}

/// Everything an autoscaler remembers; survives a restart.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct AutoscalerState {
    hpa: HpaState,
    price: PricePolicy,
    slo: Option<SloLoop>,
    capacity: PodCapacity,
    lead_time: LeadTime,
    hold: Hold,
    classic: ClassicState,
    predicted: RecommendationLog,
    /// Issue time of the last forecast learnt from.
    learnt: Option<Timestamp>,
    /// Sizes of a rehearsal, newest last.
    rehearsed: VecDeque<u32>,
}

/// The decision maker of one workload.
#[derive(Clone, Debug)]
pub struct Autoscaler {
    spec: ScalingSpec,
    hpa: Hpa,
    behavior: Option<(ResolvedBehavior, (u32, u32))>,
    evaluation: Option<Evaluation>,
    state: AutoscalerState,
}

/// What the forecast asks for.
struct Predictive {
    replicas: u32,
    reasons: Vec<Reason>,
}

impl Autoscaler {
    /// An autoscaler without history. `delay`: from a scrape to the decision on it.
    pub fn new(spec: ScalingSpec, config: HpaConfig, delay: Duration) -> Self {
        let (price_ratio, slo) = match spec.objective {
            Objective::PriceRatio(ratio) => (ratio, None),
            Objective::Slo(share) => {
                let slo = SloLoop::new(share).ok();
                (slo.as_ref().map_or(PriceConfig::default().price_ratio, SloLoop::price_ratio), slo)
            }
        };
        let startup = Duration::from_secs_f64(spec.startup_seconds.clamp(0.0, 3600.0));
        let state = AutoscalerState {
            hpa: HpaState::default(),
            price: PricePolicy::new(PriceConfig { price_ratio, ..PriceConfig::default() }),
            slo,
            capacity: PodCapacity::default(),
            lead_time: LeadTime::new(startup, delay),
            hold: Hold::default(),
            classic: ClassicState::default(),
            predicted: RecommendationLog::default(),
            learnt: None,
            rehearsed: VecDeque::new(),
        };
        Self::with_state(spec, config, state)
    }

    /// An autoscaler that goes on from a saved state.
    pub fn with_state(spec: ScalingSpec, config: HpaConfig, state: AutoscalerState) -> Self {
        let behavior = spec.behavior.as_ref().map(|behavior| {
            let window = |rules: &Option<crate::hpa::Rules>| {
                rules.as_ref().and_then(|r| r.stabilization_window_seconds).unwrap_or(0)
            };
            let windows = (window(&behavior.scale_up), window(&behavior.scale_down));
            (ResolvedBehavior::new(behavior, &config), windows)
        });
        let hpa = Hpa::with_state(spec.hpa_spec(), config, state.hpa.clone());
        Self { spec, hpa, behavior, evaluation: None, state }
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
        let now = seen.now;
        let current = seen.current;
        let evaluation = self.hpa.evaluate(now, &seen.snapshot);
        self.evaluation = Some(evaluation);
        let count = |n: i32| n.max(0).unsigned_abs();
        let reactive = evaluation.desired.map(count);

        let lead = self.state.lead_time.startup();
        let stated = seen.capacity_per_pod.or(self.spec.capacity_per_pod);
        let fresh = forecast.filter(|f| self.state.learnt.is_none_or(|last| f.issued_at > last));
        if let (Some(stated), Some(_), Some(demand), Some(utilization)) =
            (stated, fresh, seen.demand, seen.utilization)
            && !seen.censored
        {
            self.state.capacity.observe(stated, demand, utilization, seen.mean_ready);
        }
        let capacity = stated.map(|stated| self.state.capacity.estimate(stated));
        if let (Some(fresh), Some(capacity)) = (fresh, capacity)
            && let Some(step) = fresh.at(now + lead)
        {
            self.state.price.observe(step.demand.mean(), capacity);
        }
        if let Some(slo) = &self.state.slo {
            self.state.price.set_price_ratio(slo.price_ratio());
        }

        let usable = usable_step(forecast, now, lead);
        let obstacles = Obstacles { paused: self.spec.paused, conflict_with: seen.conflict_with };
        let in_force = effective_mode(self.spec.mode, usable.as_ref().copied(), obstacles);
        let mut reasons = Vec::new();
        let predictive = match (&usable, forecast, capacity) {
            (Ok(step), Some(forecast), Some(capacity)) if evaluation.branch != Branch::Disabled => {
                Some(self.predict(seen, step, forecast, capacity, lead))
            }
            (Ok(_), _, None) => {
                reasons.push(Reason::CapacityUnknown);
                None
            }
            _ => None,
        };
        if let Some(fresh) = fresh {
            self.learn_violations(seen, fresh, predictive.as_ref(), capacity, lead);
        }

        // What to do, before limits.
        let metrics_missing = evaluation.branch == Branch::MetricsFailed || evaluation.error.is_some();
        let desired = match (&predictive, in_force.mode) {
            (Some(p), Mode::Full | Mode::Observe) => p.replicas,
            (Some(p), Mode::ScaleOut | Mode::Floor) => p.replicas.max(reactive.unwrap_or(current)),
            (None, _) => reactive.unwrap_or(current),
        };
        // The answer's own reasons first: the forecast's where it decided, the HPA's where that did.
        let forecast_decided = predictive.as_ref().is_some_and(|p| p.replicas == desired);
        let mut desired = desired;
        if let Some(p) = &predictive
            && forecast_decided
        {
            reasons.extend(p.reasons.iter().cloned());
            if let Some((behavior, (up_s, down_s))) = &self.behavior
                && evaluation.branch == Branch::Metrics
            {
                let signed = |n: u32| i32::try_from(n).unwrap_or(i32::MAX);
                let held =
                    self.state.predicted.stabilize(now, signed(current), signed(desired), *up_s, *down_s);
                if count(held) < desired {
                    reasons.push(Reason::ScaleUpStabilized { replicas: count(held) });
                } else if count(held) > desired {
                    reasons.push(Reason::ScaleDownStabilized { replicas: count(held) });
                }
                let (min, max) = (signed(self.spec.min_replicas), signed(self.spec.max_replicas));
                let limited =
                    limit(now, signed(current), held, min, max, behavior, &self.hpa.state().events).replicas;
                match limited.cmp(&held) {
                    std::cmp::Ordering::Less => {
                        reasons.push(Reason::ScaleUpLimited { limit: count(limited) });
                    }
                    std::cmp::Ordering::Greater => {
                        reasons.push(Reason::ScaleDownLimited { limit: count(limited) });
                    }
                    std::cmp::Ordering::Equal => {}
                }
                desired = count(limited);
            }
        } else {
            reasons.extend(evaluation.reasons(self.hpa.spec()));
        }

        // Nothing ever shrinks because something is missing.
        if evaluation.branch == Branch::MetricsFailed {
            let detail = evaluation.error.map_or_else(String::new, |e| e.to_string());
            let held = self.state.hold.metrics_missing(now, current, &self.spec.fallback, &detail);
            let fallback = held.replicas.clamp(current, self.spec.max_replicas.max(current));
            if fallback > current || forecast_decided {
                reasons.extend(held.reasons.into_iter().filter(|r| !reasons.contains(r)).collect::<Vec<_>>());
            }
            desired = desired.max(fallback);
        } else {
            self.state.hold.metrics_seen();
        }
        if desired < current
            && forecast_decided
            && current <= self.spec.max_replicas
            && (metrics_missing || seen.demand.is_none())
        {
            desired = current;
            let detail = if seen.demand.is_none() { "demand" } else { "a metric of the spec" };
            reasons.push(Reason::MetricsPartial { detail: detail.into() });
        }
        reasons.extend(self.state.slo.as_ref().and_then(SloLoop::reason));
        reasons.extend(in_force.reasons);

        let applied = match in_force.mode {
            Mode::Observe => false,
            Mode::Floor => predictive.is_some(),
            Mode::ScaleOut | Mode::Full => desired != current,
        };
        Decision {
            workload: None,
            at: now,
            current,
            reactive,
            predictive: predictive.map(|p| p.replicas),
            desired,
            mode: in_force.mode,
            applied,
            reasons,
        }
    }

    /// What became of a decision: the size went `from` → `to` (equal: nothing was written).
    pub fn record(&mut self, now: Timestamp, from: u32, to: u32) {
        if let Some(evaluation) = self.evaluation.take() {
            self.hpa.record(&evaluation, ScaleWrite::NotAttempted);
        }
        let signed = |n: u32| i32::try_from(n).unwrap_or(i32::MAX);
        if from != to {
            self.hpa.record_change(now, signed(from), signed(to));
            self.state.classic.record_change(now, from, to);
        }
    }

    fn predict(
        &self,
        seen: &Observation<'_>,
        step: &StepForecast,
        forecast: &Forecast,
        capacity: f64,
        lead: Duration,
    ) -> Predictive {
        let bounds = (self.spec.min_replicas, self.spec.max_replicas);
        let mut predictive = match self.spec.policy {
            PredictivePolicy::Price => {
                let choice = self.state.price.choose(seen.current, bounds, &step.demand, capacity);
                let reasons = choice.reasons(lead.as_secs_f64(), step.demand.mean());
                Predictive { replicas: choice.replicas, reasons }
            }
            PredictivePolicy::Classic => {
                let percent: Vec<f64> =
                    forecast.steps.iter().map(|s| s.demand.mean() / capacity * 100.0).collect();
                let rule = self.spec.classic_rule();
                let decision = rule.decide(seen.now, seen.current, &percent, &self.state.classic);
                Predictive { replicas: decision.replicas, reasons: decision.reasons }
            }
        };
        if seen.censored {
            let wanted = (f64::from(seen.ready) / CENSORED_TARGET).ceil() as u32;
            let replicas = wanted.min(self.spec.max_replicas);
            if replicas > predictive.replicas {
                predictive.replicas = replicas;
                predictive.reasons.push(Reason::DemandCensored { replicas });
            }
        }
        predictive
    }

    /// One step of the SLO loop, once per forecast.
    fn learn_violations(
        &mut self,
        seen: &Observation<'_>,
        fresh: &Forecast,
        predictive: Option<&Predictive>,
        capacity: Option<f64>,
        lead: Duration,
    ) {
        self.state.learnt = Some(fresh.issued_at);
        let (Some(slo), Some(violated)) = (&mut self.state.slo, seen.violated_share) else { return };
        let size = predictive.map_or(seen.current, |p| p.replicas);
        let exceedance = match (fresh.at(seen.now + lead), capacity) {
            (Some(step), Some(capacity)) => step.demand.exceedance(f64::from(size) * capacity),
            _ => 0.0,
        };
        let step_s = fresh.step().as_secs_f64().max(1e-3);
        slo.step(violated, exceedance, (lead.as_secs_f64() / step_s).ceil() as usize);
    }

    /// Replays one past step without acting: `demand` was measured, `at_lead` was then forecast. The mean fleet and
    /// the SLO loop learn as if the sizes chosen had been ordered and had taken `lead_steps` to serve.
    pub fn rehearse(
        &mut self,
        demand: f64,
        at_lead: &Distribution,
        capacity_per_pod: f64,
        lead_steps: usize,
    ) {
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
        while self.state.rehearsed.len() > lead_steps + 1 {
            self.state.rehearsed.pop_front();
        }
    }
}

#[cfg(test)]
mod tests;
