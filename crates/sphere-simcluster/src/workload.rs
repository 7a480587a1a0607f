//! What does one simulated workload do from second to second?
//!
//! A [`World`] of the simulator, fed with arrivals from its [`Series`], with named pods, a memory of its scrapes, and
//! an HPA where it has one. Seconds count from the start of the cluster.

use crate::config::{SimulatedClusterConfig, SimulatedWorkload};
use crate::roster::{Counters, Roster};
use crate::series::{Series, mix, sampler};
use sphere_core::{Timestamp, WorkloadId};
use sphere_scaling::hpa::{Hpa, HpaConfig, HpaSpec};
use sphere_sim::demand::{Sampler, replicas_for};
use sphere_sim::metrics::View;
use sphere_sim::policy::{HpaSignal, HpaView, hpa_spec};
use sphere_sim::{Physics, Scorecard, Settings, World};
use std::collections::VecDeque;
use std::time::Duration;

/// Start-ups remembered for whoever asks for them.
const REMEMBERED_STARTUPS: usize = 256;

/// What one scrape found.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Scraped {
    /// Requests/s arriving since the scrape before; NaN: not recorded.
    requests_rps: f32,
    /// CPU in use since the scrape before, in pods at full load; NaN: not recorded.
    cpu_pods: f32,
    /// Mean number of ready pods since the scrape before.
    pub mean_ready: f32,
    /// Ready pods, at most 10,000.
    pub ready: u16,
    /// Pods asked for, at most 10,000.
    pub replicas: u16,
}

fn recorded(value: f32) -> Option<f64> {
    value.is_finite().then(|| f64::from(value))
}

impl Scraped {
    /// Requests/s arriving since the scrape before.
    pub fn requests_rps(&self) -> Option<f64> {
        recorded(self.requests_rps)
    }

    /// CPU in use since the scrape before, in pods at full load.
    pub fn cpu_pods(&self) -> Option<f64> {
        recorded(self.cpu_pods)
    }
}

/// An HPA inside the cluster.
#[derive(Debug)]
struct InnerHpa {
    /// As configured, without a floor.
    spec: HpaSpec,
    hpa: Hpa,
}

/// One workload in motion. See the module text.
#[derive(Debug)]
pub struct LiveWorkload {
    /// Its identity.
    pub id: WorkloadId,
    /// CPU a pod requests and can use, cores.
    pub cpu_per_pod: f64,
    /// Memory a pod uses, bytes.
    pub memory_bytes: u64,
    /// Largest size anybody may order.
    pub quota: u32,
    settings: Settings,
    origin: Timestamp,
    tick_s: u32,
    seed: u64,
    series: Series,
    arrivals: Sampler,
    last_rate: f64,
    world: World,
    roster: Roster,
    view: HpaView,
    hpa: Option<InnerHpa>,
    /// Oldest first, without gaps; the newest ended at `newest_scrape_s`.
    scrapes: VecDeque<Scraped>,
    newest_scrape_s: u64,
    kept_scrapes: usize,
    /// Times from create to Ready, with the number of each, oldest first.
    startups: VecDeque<(u64, Duration)>,
    next_startup: u64,
}

impl LiveWorkload {
    /// The workload `id` of `config`, from `origin` on, which lies on the grid of scrapes. `kept_scrapes` of them
    /// are remembered.
    pub fn new(
        config: &SimulatedWorkload,
        cluster: &SimulatedClusterConfig,
        id: WorkloadId,
        series: Series,
        seed: u64,
        origin: Timestamp,
        kept_scrapes: usize,
    ) -> Self {
        let settings = config.settings(cluster);
        let tick_s = settings.physics.tick_s();
        let scrape = Duration::from_secs(u64::from(settings.scrape_s));
        // As `sphere_sim::run`: everyone starts with the size an HPA at 60 % would long have reached.
        let first_minute = series.mean(origin, origin + Duration::from_secs(60)).unwrap_or(0.0);
        let replicas = config.initial_replicas.unwrap_or_else(|| {
            replicas_for(first_minute / 0.6, settings.capacity_rps)
                .clamp(settings.min_replicas, settings.max_replicas)
        });
        let hpa = config.hpa.map(|target| {
            let spec = hpa_spec(HpaSignal::CpuPct(target), &settings);
            InnerHpa { hpa: Hpa::new(spec.clone(), HpaConfig::default()), spec }
        });
        let milli_cores = (config.cpu_per_pod * 1000.0).round().max(1.0) as i64;
        let mut workload = Self {
            id,
            cpu_per_pod: config.cpu_per_pod,
            memory_bytes: u64::from(config.memory_mib) << 20,
            quota: config.max_replicas,
            origin,
            tick_s,
            seed,
            arrivals: sampler(settings.physics, mix(seed, 1)),
            last_rate: first_minute,
            world: World::new(&settings, tick_s, &[], 0, 0),
            roster: Roster::new(replicas, mix(seed, 2)),
            view: HpaView::new(&settings).with_request_milli(milli_cores),
            hpa,
            scrapes: VecDeque::new(),
            newest_scrape_s: 0,
            kept_scrapes: kept_scrapes.max(2),
            startups: VecDeque::new(),
            next_startup: 0,
            series,
            settings,
        };
        // What a scraper that was there before would still have in its window.
        let window = (workload.settings.window_s / workload.settings.scrape_s).max(1);
        let history: Vec<Option<f32>> = (0..window)
            .rev()
            .map(|k| workload.arriving_before_start(origin - scrape * k).map(|rps| rps as f32))
            .collect();
        for rate in &history {
            let requests_rps = rate.unwrap_or(f32::NAN);
            let cpu_pods = (requests_rps / workload.settings.capacity_rps as f32).min(replicas as f32);
            workload.remember(Scraped {
                requests_rps,
                cpu_pods: if rate.is_some() { cpu_pods } else { f32::NAN },
                mean_ready: replicas as f32,
                ready: replicas as u16,
                replicas: replicas as u16,
            });
        }
        workload.world = World::new(&workload.settings, tick_s, &history, replicas, mix(seed, 3));
        workload.begin();
        workload
    }

    /// Requests/s counted by a scrape at `end`, before the cluster started.
    fn arriving_before_start(&self, end: Timestamp) -> Option<f64> {
        let scrape_s = self.settings.scrape_s;
        let rate = self.series.mean(end - Duration::from_secs(u64::from(scrape_s)), end)?;
        let noise = mix(mix(self.seed, 4), end.millis() as u64);
        Some(sampler(self.settings.physics, noise).draw(rate, scrape_s))
    }

    fn remember(&mut self, scraped: Scraped) {
        while self.scrapes.len() >= self.kept_scrapes {
            self.scrapes.pop_front();
        }
        self.scrapes.push_back(scraped);
    }

    /// Now, seconds since the start of the cluster.
    pub fn second(&self) -> u64 {
        self.world.second()
    }

    /// Plays all ticks that end up to `second`; returns how many.
    pub fn play_to(&mut self, second: u64) -> u64 {
        let mut ticks = 0;
        while self.world.second() + u64::from(self.tick_s) <= second {
            self.tick();
            self.begin();
            ticks += 1;
        }
        ticks
    }

    /// Jumps to the last scrape instant up to `second`: nothing happens and nothing is recorded until then.
    pub fn skip_to(&mut self, second: u64) {
        let scrape_s = u64::from(self.settings.scrape_s);
        let to = second - second % scrape_s;
        if to <= self.world.second() {
            return;
        }
        let waited = self.world.waiting();
        self.world.skip_to(to);
        let missed = (to - self.newest_scrape_s) / scrape_s;
        let nothing = Scraped {
            requests_rps: f32::NAN,
            cpu_pods: f32::NAN,
            mean_ready: self.world.cluster().ready() as f32,
            ready: self.world.cluster().ready() as u16,
            replicas: self.world.cluster().replicas() as u16,
        };
        for _ in 0..missed.min(self.kept_scrapes as u64) {
            self.remember(nothing);
        }
        self.newest_scrape_s = to;
        tracing::debug!(workload = %self.id, waited, "skipped");
        self.begin();
    }

    fn tick(&mut self) {
        let tick_s = f64::from(self.tick_s);
        let rate = self.series.rate(self.now());
        self.last_rate = rate.unwrap_or(self.last_rate);
        let offered_rps = self.arrivals.draw(self.last_rate, self.tick_s);
        let (waited, took_s) = (self.world.waiting(), self.world.latency_sum_s());
        let outcome = self.world.tick(offered_rps, rate.is_none());
        self.roster.tick(Counters {
            cpu_pod_s: outcome.served_rps / self.settings.capacity_rps * tick_s,
            // Who arrived or waited and waits no longer has been answered or has given up.
            requests: (offered_rps * tick_s + waited - self.world.waiting()).max(0.0),
            failed: outcome.failed_rps * tick_s,
            latency_s: self.world.latency_sum_s() - took_s,
        });
    }

    /// Begins a second: pods become ready, counters are scraped, the HPA syncs.
    fn begin(&mut self) {
        let second = self.world.second();
        let mut became_ready = 0;
        let Self { world, startups, next_startup, .. } = self;
        let scraped = world.begin(|took_s| {
            became_ready += 1;
            if startups.len() == REMEMBERED_STARTUPS {
                startups.pop_front();
            }
            startups.push_back((*next_startup, Duration::from_secs_f64(took_s.max(0.0))));
            *next_startup += 1;
        });
        self.roster.became_ready(became_ready, second as f64);
        if scraped.is_some() {
            let view = self.world.view();
            let or_nan = |value: Option<f64>| value.map_or(f32::NAN, |v| v as f32);
            self.newest_scrape_s = second;
            self.remember(Scraped {
                requests_rps: or_nan(view.last_requests_rps),
                cpu_pods: or_nan(view.last_cpu_pods),
                mean_ready: view.last_ready as f32,
                ready: view.ready as u16,
                replicas: view.replicas as u16,
            });
        }
        let now = self.now();
        if let Some(inner) = &mut self.hpa
            && second.is_multiple_of(u64::from(self.settings.hpa_sync_s))
        {
            let view = self.world.view();
            // The percentage is in the HPA's spec; the view is the same for all.
            let outcome = self.view.with(HpaSignal::CpuPct(0), now, &view, |seen| inner.hpa.sync(now, seen));
            if let Some(wanted) = outcome.evaluation.rescale() {
                self.order(wanted.max(0).unsigned_abs().min(self.quota));
            }
        }
    }

    /// Orders `replicas` in all.
    pub fn order(&mut self, replicas: u32) {
        if self.world.scale_to(replicas) {
            self.roster.follow(self.world.cluster());
        }
    }

    /// Now, on the clock.
    pub fn now(&self) -> Timestamp {
        self.instant(self.world.second() as f64)
    }

    /// `second` on the clock.
    pub fn instant(&self, second: f64) -> Timestamp {
        Timestamp(self.origin.millis() + (second * 1000.0) as i64)
    }

    /// Pods asked for.
    pub fn replicas(&self) -> u32 {
        self.world.cluster().replicas()
    }

    /// Pods that serve.
    pub fn ready(&self) -> u32 {
        self.world.cluster().ready()
    }

    /// What a scraper shows now.
    pub fn visible(&self) -> View {
        self.world.view()
    }

    /// Everything needed to make snapshots of what is visible.
    pub fn hpa_view(&mut self) -> (&mut HpaView, View, Timestamp) {
        let now = self.now();
        (&mut self.view, self.world.view(), now)
    }

    /// Do requests queue, so that CPU tells more than the requests do?
    pub fn measures_utilization(&self) -> bool {
        self.settings.physics == Physics::Queue
    }

    /// The pods by name.
    pub fn roster(&self) -> &Roster {
        &self.roster
    }

    /// Requests that wait.
    pub fn waiting(&self) -> f64 {
        self.world.waiting()
    }

    /// The scores so far.
    pub fn score(&self) -> Scorecard {
        self.world.score()
    }

    /// The newest scrape.
    pub fn newest_scrape(&self) -> Timestamp {
        self.instant(self.newest_scrape_s as f64)
    }

    fn scrape_ms(&self) -> i64 {
        i64::from(self.settings.scrape_s) * 1000
    }

    /// Seconds between scrapes.
    pub fn scrape_s(&self) -> u32 {
        self.settings.scrape_s
    }

    /// The newest scrape up to `at` that is remembered, and when it was.
    pub fn scrape_at(&self, at: Timestamp) -> Option<(Scraped, Timestamp)> {
        let newest = self.newest_scrape();
        let back = (newest.millis() - at.millis()).max(0);
        let back = (back + self.scrape_ms() - 1) / self.scrape_ms();
        let index = self.scrapes.len().checked_sub(1 + usize::try_from(back).ok()?)?;
        Some((self.scrapes[index], Timestamp(newest.millis() - back * self.scrape_ms())))
    }

    /// Requests/s (or with `cpu`: pods at full load) of the scrape at `end`, which lies on the grid of scrapes. Before
    /// the start it is what the demand says; what is no longer remembered is absent.
    pub fn past(&self, end: Timestamp, cpu: bool) -> Option<f64> {
        if end > self.origin {
            let (scraped, at) = self.scrape_at(end)?;
            if at != end {
                return None;
            }
            return if cpu { scraped.cpu_pods() } else { scraped.requests_rps() };
        }
        let rps = self.arriving_before_start(end)?;
        Some(if cpu { rps / self.settings.capacity_rps } else { rps })
    }

    /// Times from create to Ready with a number of at least `since`, and the number of the next one.
    pub fn startups_since(&self, since: u64) -> (Vec<Duration>, u64) {
        let took = self.startups.iter().filter(|(number, _)| *number >= since).map(|(_, took)| *took);
        (took.collect(), self.next_startup)
    }

    /// Has it an HPA of its own?
    pub fn has_hpa(&self) -> bool {
        self.hpa.is_some()
    }

    /// Smallest size its HPA may choose; `None`: it has no HPA.
    pub fn floor(&self) -> Option<u32> {
        self.hpa.as_ref().map(|inner| inner.hpa.spec().min().max(0).unsigned_abs())
    }

    /// Sets the smallest size its HPA may choose, `None`: as configured. The HPA keeps what it has seen.
    pub fn set_floor(&mut self, floor: Option<u32>) {
        if let Some(inner) = &mut self.hpa {
            let min = floor.map_or(inner.spec.min_replicas, |floor| i32::try_from(floor).ok());
            let spec = HpaSpec { min_replicas: min, ..inner.spec.clone() };
            inner.hpa = Hpa::with_state(spec, HpaConfig::default(), inner.hpa.state().clone());
        }
    }
}
