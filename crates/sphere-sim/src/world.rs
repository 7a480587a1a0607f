//! What happens to one workload while time passes?
//!
//! A [`World`] is the pods, the waiting requests, the counters and the scores of one workload, without anyone who
//! decides and without an end: [`crate::run()`] plays a trace through it, a live simulation plays it against a
//! clock. One tick is: [`World::begin`] (pods become ready, counters are scraped where that is due), orders by
//! [`World::scale_to`], then [`World::tick`].

use crate::cluster::Cluster;
use crate::demand::replicas_for;
use crate::metrics::{Scraper, View};
use crate::run::{Physics, Settings};
use crate::score::{Scorecard, Scorer};
use crate::service::{Queue, TickOutcome, loss_tick};

/// One workload in motion. See the module text.
#[derive(Debug)]
pub struct World {
    physics: Physics,
    capacity_rps: f64,
    scrape_s: u32,
    tick_s: u32,
    second: u64,
    cluster: Cluster,
    scraper: Scraper,
    queue: Queue,
    scorer: Scorer,
    interval: Interval,
}

impl World {
    /// `replicas` pods are ready from the beginning; `history_rps` is the load before it, per scrape interval.
    /// `seed` draws start-up times.
    pub fn new(
        settings: &Settings,
        tick_s: u32,
        history_rps: &[Option<f32>],
        replicas: u32,
        seed: u64,
    ) -> Self {
        let capacity_rps = settings.capacity_rps;
        Self {
            physics: settings.physics,
            capacity_rps,
            scrape_s: settings.scrape_s,
            tick_s,
            second: 0,
            cluster: Cluster::new(replicas, settings.startup, seed),
            scraper: Scraper::new(settings.scrape_s, settings.window_s, history_rps, capacity_rps, replicas),
            queue: Queue::new(settings.service_s, u64::from(settings.client_timeout_s)),
            scorer: Scorer::default(),
            interval: Interval::default(),
        }
    }

    /// Seconds since the start: the instant the next tick begins at.
    pub fn second(&self) -> u64 {
        self.second
    }

    /// Its pods.
    pub fn cluster(&self) -> &Cluster {
        &self.cluster
    }

    /// Requests that wait to be served.
    pub fn waiting(&self) -> f64 {
        self.queue.waiting()
    }

    /// Seconds that answered requests took, all together; those given up count the whole time-out.
    pub fn latency_sum_s(&self) -> f64 {
        self.scorer.latency.sum_s()
    }

    /// Is the instant of the next tick one of a scrape?
    pub fn at_scrape(&self) -> bool {
        self.second.is_multiple_of(u64::from(self.scrape_s))
    }

    /// Begins the next tick: pods become ready (`on_ready` is told how long each took), then counters are scraped
    /// if that is due. Doing it twice changes nothing. Returns the mean offered load of the interval that ended with the scrape, requests/s.
    pub fn begin(&mut self, mut on_ready: impl FnMut(f64)) -> Option<f64> {
        let now_s = self.second as f64;
        let Self { cluster, scraper, .. } = self;
        cluster.advance(now_s, |took_s| {
            on_ready(took_s);
            scraper.pod_ready(now_s);
        });
        // Nothing happened since the start, a skip, or a begin at this instant: nothing to read.
        if self.interval.ready_rps.is_empty() || !self.at_scrape() {
            return None;
        }
        let violated_share = self.interval.close(f64::from(self.tick_s), &mut self.scorer);
        self.scraper.scrape(now_s, violated_share);
        self.scorer.step(replicas_for(self.interval.mean_rps, self.capacity_rps), self.cluster.ready());
        let mean_rps = self.interval.mean_rps;
        self.interval = Interval::default();
        Some(mean_rps)
    }

    /// What is visible now.
    pub fn view(&self) -> View {
        self.scraper.view(self.second as f64, self.cluster.replicas(), self.cluster.ready())
    }

    /// Orders `replicas` in all; returns whether that is a change.
    pub fn scale_to(&mut self, replicas: u32) -> bool {
        let before = self.cluster.replicas();
        if replicas != before {
            self.cluster.scale_to(replicas, self.second as f64);
            self.scorer.action(before, replicas);
        }
        replicas != before
    }

    /// One tick in which `offered_rps` arrive; `hidden`: nobody records it.
    pub fn tick(&mut self, offered_rps: f64, hidden: bool) -> TickOutcome {
        let tick = f64::from(self.tick_s);
        let ready = self.cluster.ready();
        let ready_rps = f64::from(ready) * self.capacity_rps;
        let outcome = match self.physics {
            Physics::Loss => loss_tick(offered_rps, ready_rps),
            Physics::Queue => self.queue.tick(self.second, offered_rps, ready_rps, &mut self.scorer.latency),
        };
        self.scorer.tick(tick, offered_rps, &outcome, self.cluster.replicas());
        self.scraper.tick(tick, offered_rps, outcome.served_rps / self.capacity_rps, ready, hidden);
        self.interval.tick(offered_rps, ready_rps);
        self.second += u64::from(self.tick_s);
        outcome
    }

    /// Jumps to `second`, a multiple of the scrape interval: nothing arrives, is served or recorded until then. The
    /// next [`World::begin`] makes pods ready that were due; who waited has lost patience.
    pub fn skip_to(&mut self, second: u64) {
        debug_assert!(second.is_multiple_of(u64::from(self.scrape_s)));
        if second <= self.second {
            return;
        }
        self.interval.close(f64::from(self.tick_s), &mut self.scorer);
        self.interval = Interval::default();
        self.second = second;
        self.scraper.blackout(second as f64, self.cluster.ready());
    }

    /// The scores so far, the interval under way included.
    pub fn score(&self) -> Scorecard {
        let mut scorer = self.scorer.clone();
        self.interval.clone().close(f64::from(self.tick_s), &mut scorer);
        scorer.finish(self.capacity_rps, self.physics == Physics::Queue)
    }
}

/// Demand against ready capacity over one scrape interval.
///
/// Whether demand is over capacity is judged on the mean over the interval: the noise of single seconds is
/// absorbed by a little waiting, which latency shows, and no scaler that samples every 10 s could answer it.
#[derive(Clone, Debug, Default)]
struct Interval {
    offered_rps: f64,
    mean_rps: f64,
    ready_rps: Vec<f64>,
}

impl Interval {
    fn tick(&mut self, offered_rps: f64, ready_rps: f64) {
        self.offered_rps += offered_rps;
        self.ready_rps.push(ready_rps);
    }

    /// Scores the interval; returns the share of it in which demand was over ready capacity.
    fn close(&mut self, tick_s: f64, scorer: &mut Scorer) -> f64 {
        if self.ready_rps.is_empty() {
            return 0.0;
        }
        let ticks = self.ready_rps.len() as f64;
        self.mean_rps = self.offered_rps / ticks;
        let excess = |ready: &f64| (self.mean_rps - ready * (1.0 + 1e-9)).max(0.0);
        let excess_requests: f64 = self.ready_rps.iter().map(excess).sum::<f64>() * tick_s;
        let violated = self.ready_rps.iter().filter(|ready| excess(ready) > 0.0).count() as f64;
        scorer.violation(violated * tick_s, excess_requests);
        violated / ticks
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cluster::Startup;

    fn world(replicas: u32) -> World {
        let settings = Settings::new(10.0, Startup::Fixed(30.0), Physics::Queue);
        World::new(&settings, 1, &[Some(20.0); 4], replicas, 1)
    }

    #[test]
    fn an_order_serves_after_its_start_up() {
        let mut world = world(2);
        let mut took = Vec::new();
        for second in 0..60 {
            world.begin(|s| took.push(s));
            if second == 5 {
                assert!(world.scale_to(4));
            }
            assert_eq!(world.cluster().ready(), if second < 35 { 2 } else { 4 });
            world.tick(20.0, false);
        }
        assert_eq!(took, [30.0, 30.0]);
    }

    #[test]
    fn a_skip_is_no_data_and_the_waiting_give_up() {
        let mut world = world(2);
        for _ in 0..25 {
            world.begin(|_| {});
            world.tick(40.0, false);
        }
        assert!(world.waiting() > 0.0);
        world.skip_to(7200);
        world.begin(|_| {});
        assert_eq!(world.view().requests_rps, None);
        let outcome = world.tick(0.0, false);
        assert_eq!(world.waiting(), 0.0);
        assert!(outcome.failed_rps > 0.0);
        for _ in 0..10 {
            world.begin(|_| {});
            world.tick(10.0, false);
        }
        world.begin(|_| {});
        assert_eq!(world.view().scraped_at_s, 7210.0);
        assert!(world.view().requests_rps.is_some());
    }

    #[test]
    fn the_score_so_far_counts_the_open_interval() {
        let mut world = world(2);
        for _ in 0..5 {
            world.begin(|_| {});
            world.tick(40.0, false);
        }
        assert_eq!(world.score().violation_time_pct, 100.0);
        assert!((world.score().pod_hours - 10.0 / 3600.0).abs() < 1e-12);
    }
}
