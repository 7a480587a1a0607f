//! What does the founding system order?
//!
//! Total CPU in percent of one pod, every 10 s, through the `classic` forecaster (Holt on 60 points, refitted every 60 s,
//! stale in between) and the founding rule. CPU saturates at the limit; both are reproduced, not improved.

use super::Policy;
use crate::demand::Demand;
use crate::metrics::View;
use crate::run::Settings;
use sphere_core::Timestamp;
use sphere_forecast::PointModel;
use sphere_forecast::models::{Smoothing, SmoothingConfig};
use sphere_scaling::classic::{ClassicRule, ClassicState};

/// Steps the founding system predicts.
const HORIZON: usize = 15;

/// The founding system as a contestant.
pub struct Classic {
    model: Smoothing,
    rule: ClassicRule,
    state: ClassicState,
    capacity_rps: f64,
    period_s: u32,
    last_scrape: u64,
}

impl Classic {
    /// The founding settings, with the bounds of the run.
    pub fn new(settings: &Settings) -> Self {
        Self {
            model: Smoothing::new(SmoothingConfig::classic(true)),
            rule: ClassicRule {
                min_replicas: settings.min_replicas.max(1),
                max_replicas: settings.max_replicas,
                ..ClassicRule::default()
            },
            state: ClassicState::default(),
            capacity_rps: settings.capacity_rps,
            period_s: settings.scrape_s,
            last_scrape: 0,
        }
    }
}

impl Policy for Classic {
    fn period_s(&self) -> u32 {
        self.period_s
    }

    fn warm_up(&mut self, demand: &Demand) {
        // Its buffer holds ten minutes; what was before, it never knew.
        let skip = demand.history_rps.len().saturating_sub(120);
        for rate in &demand.history_rps[skip..] {
            match rate {
                Some(rate) => self.model.observe(f64::from(*rate) / self.capacity_rps * 100.0),
                None => self.model.skip(),
            }
        }
    }

    fn decide(&mut self, now: Timestamp, view: &View) -> u32 {
        if view.scrape != self.last_scrape {
            self.last_scrape = view.scrape;
            match view.cpu_pods {
                Some(cpu) => self.model.observe(cpu * 100.0),
                None => self.model.skip(),
            }
        }
        if self.model.observations() < self.model.needed() {
            return view.replicas;
        }
        let mut predicted_pct = [0.0; HORIZON];
        self.model.predict(&mut predicted_pct);
        let decision = self.rule.decide(now, view.replicas, &predicted_pct, &self.state);
        self.state.record_change(now, view.replicas, decision.replicas);
        decision.replicas
    }
}
