//! What do a calendar and last week order?
//!
//! Both are what careful platform teams run today, on top of an HPA at 80 %: the larger answer wins.
//!
//! * [`Cron`]: a plan per hour of the day, from the busiest five minutes of that hour over the last seven days, filled to
//!   80 %, in force from five minutes before the hour.
//! * [`LastWeek`]: demand at the same time last week, looked up half an hour ahead (offset 6d23h30m), filled to
//!   80 %. Grafana Mimir scales its queriers so.

use super::Policy;
use super::hpa::{HpaPolicy, HpaSignal};
use crate::demand::{Demand, replicas_for};
use crate::metrics::View;
use crate::run::Settings;
use sphere_core::Timestamp;

/// Share of a pod's capacity that planned demand may fill.
const FILL: f64 = 0.8;
const REACTIVE: HpaSignal = HpaSignal::CpuPct(80);
const HOUR_S: i64 = 3600;
const DAY_S: i64 = 24 * HOUR_S;
/// How early the next hour's plan starts.
const EARLY_S: i64 = 300;
/// How far ahead last week is looked up.
const AHEAD_S: i64 = 1800;

/// All scrapes ever seen, oldest first.
struct Memory {
    scrape_s: i64,
    first: i64,
    rates: Vec<Option<f32>>,
    last_scrape: u64,
}

impl Memory {
    fn new(settings: &Settings) -> Self {
        Self { scrape_s: i64::from(settings.scrape_s), first: 0, rates: Vec::new(), last_scrape: 0 }
    }

    fn warm_up(&mut self, demand: &Demand) {
        self.rates.clone_from(&demand.history_rps);
        self.first = demand.start.millis() / 1000 - self.scrape_s * self.rates.len() as i64;
    }

    /// Takes a new scrape; true when there was one.
    fn observe(&mut self, view: &View) -> bool {
        if view.scrape == self.last_scrape {
            return false;
        }
        self.last_scrape = view.scrape;
        self.rates.push(view.last_requests_rps.map(|r| r as f32));
        true
    }

    /// Largest five-minute mean in `[from, from + width)`, seconds since the epoch. `None`: nothing known.
    fn busiest(&self, from: i64, width_s: i64) -> Option<f64> {
        let index = |t: i64| (t - self.first).div_euclid(self.scrape_s);
        let (a, b) = (index(from).max(0), index(from + width_s).min(self.rates.len() as i64));
        if a >= b {
            return None;
        }
        let per = (300 / self.scrape_s).max(1) as usize;
        self.rates[a as usize..b as usize]
            .chunks(per)
            .filter_map(|chunk| {
                let (sum, n) = chunk.iter().flatten().fold((0.0, 0), |(s, n), r| (s + f64::from(*r), n + 1));
                (n > 0).then(|| sum / f64::from(n))
            })
            .reduce(f64::max)
    }
}

/// A plan per hour of the day, and an HPA.
pub struct Cron {
    hpa: HpaPolicy,
    memory: Memory,
    capacity_rps: f64,
    /// (hour since the epoch, planned size).
    plan: Option<(i64, u32)>,
}

impl Cron {
    /// A plan made from what the history shows.
    pub fn new(settings: &Settings) -> Self {
        Self {
            hpa: HpaPolicy::new(REACTIVE, settings),
            memory: Memory::new(settings),
            capacity_rps: settings.capacity_rps,
            plan: None,
        }
    }

    fn planned(&mut self, now_s: i64) -> u32 {
        let hour = (now_s + EARLY_S).div_euclid(HOUR_S);
        if let Some((planned_for, size)) = self.plan
            && planned_for == hour
        {
            return size;
        }
        let busiest = (1..=7)
            .filter_map(|day| self.memory.busiest(hour * HOUR_S - day * DAY_S, HOUR_S))
            .reduce(f64::max);
        let size = busiest.map_or(0, |rps| replicas_for(rps / FILL, self.capacity_rps));
        self.plan = Some((hour, size));
        size
    }
}

impl Policy for Cron {
    fn period_s(&self) -> u32 {
        self.hpa.period_s()
    }

    fn warm_up(&mut self, demand: &Demand) {
        self.memory.warm_up(demand);
    }

    fn decide(&mut self, at: Timestamp, view: &View) -> u32 {
        self.memory.observe(view);
        let planned = self.planned(at.millis() / 1000);
        self.hpa.decide(at, view).max(planned)
    }
}

/// Same time last week, and an HPA.
pub struct LastWeek {
    hpa: HpaPolicy,
    memory: Memory,
    capacity_rps: f64,
}

impl LastWeek {
    /// Reactive only until a week is known.
    pub fn new(settings: &Settings) -> Self {
        Self {
            hpa: HpaPolicy::new(REACTIVE, settings),
            memory: Memory::new(settings),
            capacity_rps: settings.capacity_rps,
        }
    }
}

impl Policy for LastWeek {
    fn period_s(&self) -> u32 {
        self.hpa.period_s()
    }

    fn warm_up(&mut self, demand: &Demand) {
        self.memory.warm_up(demand);
    }

    fn decide(&mut self, at: Timestamp, view: &View) -> u32 {
        self.memory.observe(view);
        let then = at.millis() / 1000 - 7 * DAY_S;
        let planned = self
            .memory
            .busiest(then + AHEAD_S - 300, 300)
            .map_or(0, |rps| replicas_for(rps / FILL, self.capacity_rps));
        self.hpa.decide(at, view).max(planned)
    }
}
