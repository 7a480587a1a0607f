//! What does SPHERE order?
//!
//! The production code, on the simulated scrapes: [`LeadForecaster`] (or [`AutoForecaster`], see [`ForecastModel`]) learns the requests counted since the last
//! scrape and forecasts one lead time ahead; [`Autoscaler`] in mode `Full` decides, with the exact HPA at 60 % CPU
//! as its reactive part. The capacity of a pod is stated and corrected from CPU where CPU says something (queue
//! physics); start-up times are measured. Before the run the history is rehearsed: forecasts, the mean fleet and
//! the SLO loop learn from it as they would from a backfill.

use super::Policy;
use super::hpa::{HpaSignal, HpaView, hpa_spec};
use crate::demand::Demand;
use crate::metrics::View;
use crate::run::{Physics, Settings};
use serde::{Deserialize, Serialize};
use sphere_core::{Decision, Distribution, Forecast, Mode, Reason, StepForecast, Timestamp};
use sphere_forecast::{AutoConfig, AutoForecaster, Forecaster, LeadConfig, LeadForecaster};
use sphere_scaling::hpa::HpaConfig;
use sphere_scaling::{Autoscaler, Objective, Observation, ScalingSpec, SloLoop};
use std::time::Duration;

/// The reactive part SPHERE falls back to.
const REACTIVE: HpaSignal = HpaSignal::CpuPct(60);
/// Steps a forecast stays valid.
const VALID_STEPS: u32 = 6;

/// Which model SPHERE forecasts with.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum ForecastModel {
    /// [`LeadForecaster`].
    #[default]
    Sphere,
    /// [`AutoForecaster`].
    Auto,
}

/// A forecaster that learns one lead directly.
#[allow(clippy::large_enum_variant)] // one per run
enum Model {
    Sphere(LeadForecaster),
    Auto(AutoForecaster),
}

impl Model {
    fn new(model: ForecastModel, step: Duration, lead: u32) -> Self {
        match model {
            ForecastModel::Sphere => Self::Sphere(LeadForecaster::new(LeadConfig {
                step,
                leads_steps: vec![lead],
                ..LeadConfig::default()
            })),
            ForecastModel::Auto => Self::Auto(AutoForecaster::for_lead(AutoConfig::new(step, lead))),
        }
    }

    fn get(&self) -> &dyn Forecaster {
        match self {
            Self::Sphere(f) => f,
            Self::Auto(f) => f,
        }
    }

    fn get_mut(&mut self) -> &mut dyn Forecaster {
        match self {
            Self::Sphere(f) => f,
            Self::Auto(f) => f,
        }
    }

    fn lead_steps(&self) -> u32 {
        match self {
            Self::Sphere(f) => f.lead_steps(),
            Self::Auto(f) => f.lead_steps(),
        }
    }

    fn set_lead_steps(&mut self, lead: u32) {
        match self {
            Self::Sphere(f) => f.set_lead_steps(lead),
            Self::Auto(f) => f.set_lead_steps(lead),
        }
    }

    fn at_lead(&self) -> Option<Distribution> {
        match self {
            Self::Sphere(f) => f.at_lead().copied(),
            Self::Auto(f) => f.at_lead(),
        }
    }
}

/// SPHERE's contestant.
pub struct SpherePolicy {
    forecaster: Model,
    autoscaler: Autoscaler,
    reactive: HpaSignal,
    hpa_view: HpaView,
    capacity_rps: f64,
    measures_utilization: bool,
    step: Duration,
    offset_s: u32,
    last_scrape: u64,
    last: Option<Decision>,
    /// What the SLO loop reported, each kind once, at its worst.
    events: Vec<Reason>,
}

impl SpherePolicy {
    /// SPHERE with an objective, everything else at its default.
    pub fn new(objective: Objective, settings: &Settings) -> Self {
        Self::reacting(REACTIVE, objective, settings)
    }

    /// SPHERE with another reactive part than the HPA at 60 % CPU.
    pub fn reacting(reactive: HpaSignal, objective: Objective, settings: &Settings) -> Self {
        let spec = ScalingSpec {
            metrics: hpa_spec(reactive, settings).metrics,
            mode: Mode::Full,
            objective,
            capacity_per_pod: Some(settings.capacity_rps),
            startup_seconds: settings.startup.median_s(),
            ..ScalingSpec::new(settings.min_replicas, settings.max_replicas)
        };
        let step = Duration::from_secs(u64::from(settings.scrape_s));
        let delay = Duration::from_secs(u64::from(settings.decision_delay_s));
        let autoscaler = Autoscaler::new(spec, HpaConfig::default(), delay);
        let lead = autoscaler.lead_time().steps(step);
        Self {
            forecaster: Model::new(settings.model, step, lead),
            autoscaler,
            reactive,
            hpa_view: HpaView::new(settings),
            capacity_rps: settings.capacity_rps,
            measures_utilization: settings.physics == Physics::Queue,
            step,
            offset_s: settings.decision_delay_s,
            last_scrape: 0,
            last: None,
            events: Vec::new(),
        }
    }

    /// The decision last made, with its reasons.
    pub fn last_decision(&self) -> Option<&Decision> {
        self.last.as_ref()
    }

    /// The decision maker, for its state.
    pub fn autoscaler(&self) -> &Autoscaler {
        &self.autoscaler
    }

    /// The forecast at the lead time, as one step.
    fn forecast(&self) -> Option<Forecast> {
        let demand = self.forecaster.at_lead()?;
        let grid = self.forecaster.get().grid()?;
        Some(Forecast {
            workload: None,
            issued_at: grid.last,
            valid_until: grid.last + self.step * VALID_STEPS,
            step_ms: self.step.as_millis() as u64,
            steps: vec![StepForecast { at: grid.last + self.step * self.forecaster.lead_steps(), demand }],
            model: String::new(),
            model_version: self.forecaster.get().version(),
            trust: self.forecaster.get().trust(),
            period: self.forecaster.get().period(),
        })
    }
}

impl Policy for SpherePolicy {
    fn period_s(&self) -> u32 {
        self.step.as_secs() as u32
    }

    fn offset_s(&self) -> u32 {
        self.offset_s
    }

    fn warm_up(&mut self, demand: &Demand) {
        let n = demand.history_rps.len();
        let lead = self.forecaster.lead_steps() as usize;
        for (k, rate) in demand.history_rps.iter().enumerate() {
            let at = demand.start - self.step * (n - 1 - k) as u32;
            let Some(rate) = rate else {
                self.forecaster.get_mut().miss(at);
                continue;
            };
            self.forecaster.get_mut().observe(at, f64::from(*rate));
            if let Some(expected) = self.forecaster.at_lead() {
                self.autoscaler.rehearse(f64::from(*rate), &expected, self.capacity_rps, lead - 1);
            }
        }
    }

    fn decide(&mut self, now: Timestamp, view: &View) -> u32 {
        if view.scrape != self.last_scrape {
            self.last_scrape = view.scrape;
            let lead = self.autoscaler.lead_time().steps(self.step);
            if lead != self.forecaster.lead_steps() {
                self.forecaster.set_lead_steps(lead);
            }
            let at = now - Duration::from_secs(u64::from(self.offset_s));
            match view.last_requests_rps {
                Some(rate) => {
                    self.forecaster.get_mut().observe(at, rate);
                }
                None => self.forecaster.get_mut().miss(at),
            }
        }
        let forecast = self.forecast();
        let utilization = view.last_cpu_pods.map(|cpu| cpu / view.last_ready.max(1.0));
        let Self { autoscaler, reactive, hpa_view, .. } = self;
        let decision = hpa_view.with(*reactive, now, view, |snapshot| {
            let seen = Observation {
                now,
                current: view.replicas,
                ready: view.ready,
                snapshot: *snapshot,
                demand: view.last_requests_rps,
                capacity_per_pod: None,
                utilization: if self.measures_utilization { utilization } else { None },
                mean_ready: view.last_ready,
                censored: false,
                violated_share: view.last_requests_rps.map(|_| view.last_violated_share),
                conflict_with: None,
                holds: &[],
            };
            let decision = autoscaler.decide(&seen, forecast.as_ref());
            autoscaler.record(now, decision.current, decision.desired);
            decision
        });
        if let Some(event) = self.autoscaler.slo().and_then(SloLoop::reason) {
            let worse = |known: &Reason| achieved(&event) > achieved(known);
            match self.events.iter_mut().find(|known| known.name() == event.name()) {
                Some(known) if worse(known) => *known = event,
                Some(_) => {}
                None => self.events.push(event),
            }
        }
        let desired = decision.desired;
        self.last = Some(decision);
        desired
    }

    fn pod_ready(&mut self, took_s: f64) {
        self.autoscaler.pod_started(Duration::from_secs_f64(took_s));
    }

    fn events(&self) -> Vec<Reason> {
        self.events.clone()
    }

    fn expected_at_lead(&self) -> Option<Distribution> {
        self.forecaster.at_lead()
    }
}

/// Share of time over capacity that an event of the SLO loop reports.
fn achieved(event: &Reason) -> f64 {
    match event {
        Reason::SloUnattainable { achieved, .. } | Reason::SloOverspent { achieved, .. } => *achieved,
        _ => 0.0,
    }
}
