//! What does SPHERE order?

use super::Policy;
use crate::demand::Demand;
use crate::metrics::View;
use crate::run::Settings;
use sphere_core::{Distribution, Timestamp};
use sphere_forecast::{Forecaster, LeadConfig, LeadForecaster};
use sphere_scaling::{PriceConfig, PricePolicy, SloLoop};
use std::time::Duration;

/// What SPHERE is asked to optimise.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Objective {
    /// One violated second is worth this many mean fleets.
    PriceRatio(f64),
    /// Allowed share of time over capacity.
    Slo(f64),
}

/// SPHERE's contestant.
pub struct SpherePolicy {
    forecaster: LeadForecaster,
    price: PricePolicy,
    slo: Option<SloLoop>,
    capacity_rps: f64,
    bounds: (u32, u32),
    step: Duration,
    offset_s: u32,
    last_scrape: u64,
}

impl SpherePolicy {
    /// new
    pub fn new(objective: Objective, settings: &Settings) -> Self {
        let step_s = f64::from(settings.scrape_s);
        let lead = (settings.lead_s() / step_s).round() as u32 + 1;
        let step = Duration::from_secs(u64::from(settings.scrape_s));
        let forecaster =
            LeadForecaster::new(LeadConfig { step, leads_steps: vec![lead], ..LeadConfig::default() });
        let (ratio, slo) = match objective {
            Objective::PriceRatio(r) => (r, None),
            Objective::Slo(eps) => (20.0, SloLoop::new(eps).ok()),
        };
        Self {
            forecaster,
            price: PricePolicy::new(PriceConfig { price_ratio: ratio, ..PriceConfig::default() }),
            slo,
            capacity_rps: settings.capacity_rps,
            bounds: (settings.min_replicas, settings.max_replicas),
            step,
            offset_s: settings.decision_delay_s,
            last_scrape: 0,
        }
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
        for (k, rate) in demand.history_rps.iter().enumerate() {
            let at = demand.start - self.step * (n - 1 - k) as u32;
            match rate {
                Some(rate) => {
                    self.forecaster.observe(at, f64::from(*rate));
                    if let Some(d) = self.forecaster.at_lead() {
                        self.price.observe(d.mean(), self.capacity_rps);
                    }
                }
                None => self.forecaster.miss(at),
            }
        }
    }

    fn decide(&mut self, at: Timestamp, view: &View) -> u32 {
        if view.scrape != self.last_scrape {
            self.last_scrape = view.scrape;
            let at = at - Duration::from_secs(u64::from(self.offset_s));
            match view.last_requests_rps {
                Some(rate) => {
                    self.forecaster.observe(at, rate);
                    if let Some(d) = self.forecaster.at_lead() {
                        self.price.observe(d.mean(), self.capacity_rps);
                    }
                }
                None => self.forecaster.miss(at),
            }
        }
        let Some(d) = self.forecaster.at_lead() else { return view.replicas };
        if let Some(slo) = &self.slo {
            self.price.set_price_ratio(slo.price_ratio());
        }
        let choice = self.price.choose(view.replicas, self.bounds, d, self.capacity_rps);
        if let Some(slo) = &mut self.slo {
            slo.step(view.last_violated_share, choice.exceedance, self.forecaster.lead_steps() as usize - 1);
        }
        choice.replicas
    }

    fn expected_at_lead(&self) -> Option<Distribution> {
        self.forecaster.at_lead().copied()
    }
}
