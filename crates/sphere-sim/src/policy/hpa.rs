//! Temporary reactive rule.
use super::Policy;
use crate::metrics::View;
use crate::run::Settings;
use sphere_core::Timestamp;
use std::collections::VecDeque;

/// What the HPA looks at.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum HpaSignal {
    /// CPU utilisation, percent of the request.
    CpuPct(u32),
    /// Requests/s per pod, percent of what one pod serves.
    RequestsPct(u32),
}

/// hpa
pub struct HpaPolicy {
    signal: HpaSignal,
    capacity_rps: f64,
    max: u32,
    sync_s: u32,
    log: VecDeque<(i64, u32)>,
}

impl HpaPolicy {
    /// new
    pub fn new(signal: HpaSignal, settings: &Settings) -> Self {
        Self {
            signal,
            capacity_rps: settings.capacity_rps,
            max: settings.max_replicas,
            sync_s: settings.hpa_sync_s,
            log: VecDeque::new(),
        }
    }
}

impl Policy for HpaPolicy {
    fn period_s(&self) -> u32 {
        self.sync_s
    }

    fn decide(&mut self, at: Timestamp, view: &View) -> u32 {
        let cur = view.replicas;
        let ready = f64::from(view.ready.max(1));
        let proposal = match self.signal {
            HpaSignal::CpuPct(target) => {
                let Some(cpu) = view.cpu_pods else { return cur };
                let r = (cpu / ready * 100.0).floor() / f64::from(target);
                let starting = view.replicas - view.ready;
                if starting == 0 || r <= 1.0 {
                    if (0.9..=1.1).contains(&r) { cur } else { (r * ready).ceil() as u32 }
                } else {
                    let r2 = (cpu / f64::from(cur) * 100.0).floor() / f64::from(target);
                    if (0.9..=1.1).contains(&r2) || r2 < 1.0 {
                        cur
                    } else {
                        (r2 * f64::from(cur)).ceil() as u32
                    }
                }
            }
            HpaSignal::RequestsPct(target) => {
                let Some(rps) = view.requests_rps else { return cur };
                let t = self.capacity_rps * f64::from(target) / 100.0;
                let r = rps / (t * f64::from(cur));
                if (0.9..=1.1).contains(&r) { cur } else { (rps / t).ceil() as u32 }
            }
        };
        let now = at.millis() / 1000;
        while self.log.front().is_some_and(|(t, _)| now - t > 300) {
            self.log.pop_front();
        }
        let stable = self.log.iter().map(|x| x.1).max().unwrap_or(cur).max(proposal);
        self.log.push_back((now, proposal));
        stable.min((2 * cur).max(cur + 4)).clamp(1, self.max)
    }
}
