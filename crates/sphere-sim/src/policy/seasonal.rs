//! What do a calendar and last week order?
//!
//! Both are what careful platform teams run today, on top of an HPA at 80 %: the larger answer wins.
//!
//! * [`Scheduled::cron`]: a plan per hour of the day, from the busiest five minutes of that hour over the last seven days, filled to
//!   80 %, in force from five minutes before the hour.
//! * [`Scheduled::last_week`]: demand at the same time last week, looked up half an hour ahead (offset 6d23h30m), filled to
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

/// What is looked up for the time to come.
enum Calendar {
    /// The busiest five minutes of this hour over the last seven days; the hour (since the epoch) last planned for
    /// and its size.
    Hourly(Option<(i64, u32)>),
    /// The same time last week.
    LastWeek,
}

/// A calendar of planned sizes and an HPA; the larger answer wins.
pub struct Scheduled {
    hpa: HpaPolicy,
    memory: Memory,
    capacity_rps: f64,
    calendar: Calendar,
}

impl Scheduled {
    /// A plan per hour of the day, made from what the history shows.
    pub fn cron(settings: &Settings) -> Self {
        Self::new(Calendar::Hourly(None), settings)
    }

    /// Same time last week; reactive only until a week is known.
    pub fn last_week(settings: &Settings) -> Self {
        Self::new(Calendar::LastWeek, settings)
    }

    fn new(calendar: Calendar, settings: &Settings) -> Self {
        Self {
            hpa: HpaPolicy::new(REACTIVE, settings),
            memory: Memory::new(settings),
            capacity_rps: settings.capacity_rps,
            calendar,
        }
    }

    /// Planned size; 0 where nothing is known.
    fn planned(&mut self, now_s: i64) -> u32 {
        let Self { memory, capacity_rps, calendar, .. } = self;
        let size = |busiest: Option<f64>| busiest.map_or(0, |rps| replicas_for(rps / FILL, *capacity_rps));
        match calendar {
            Calendar::LastWeek => size(memory.busiest(now_s - 7 * DAY_S + AHEAD_S - 300, 300)),
            Calendar::Hourly(plan) => {
                let hour = (now_s + EARLY_S).div_euclid(HOUR_S);
                let of_hour = |day| memory.busiest(hour * HOUR_S - day * DAY_S, HOUR_S);
                match plan {
                    Some((planned_for, planned)) if *planned_for == hour => *planned,
                    _ => {
                        let planned = size((1..=7).filter_map(of_hour).reduce(f64::max));
                        *plan = Some((hour, planned));
                        planned
                    }
                }
            }
        }
    }
}

impl Policy for Scheduled {
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
