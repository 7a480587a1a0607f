//! What happens when one policy runs one trace from start to end?

use crate::cluster::Startup;
use crate::demand::{Demand, replicas_for};
use crate::policy::{ForecastModel, Policy};
use crate::score::Scorecard;
use crate::world::World;
use serde::{Deserialize, Serialize};
use sphere_core::Distribution;
use std::time::Duration;

/// Which service model decides what users feel.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Physics {
    /// One-second ticks, Poisson arrivals, processor sharing, a backlog and a client time-out.
    #[default]
    Queue,
    /// Five-second ticks, constant rate inside a bin, requests over capacity are lost at once.
    Loss,
}

impl Physics {
    /// Width of a tick, seconds.
    pub fn tick_s(self) -> u32 {
        match self {
            Physics::Queue => 1,
            Physics::Loss => 5,
        }
    }
}

/// Everything a run depends on besides demand, policy and seed.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Settings {
    /// Service model.
    pub physics: Physics,
    /// Time from create to Ready.
    pub startup: Startup,
    /// What one ready pod serves, requests/s.
    pub capacity_rps: f64,
    /// Smallest size any policy may choose.
    pub min_replicas: u32,
    /// Largest size any policy may choose.
    pub max_replicas: u32,
    /// Seconds between scrapes; also SPHERE's step.
    pub scrape_s: u32,
    /// Window of the rates an HPA sees, seconds.
    pub window_s: u32,
    /// Seconds between syncs of an HPA.
    pub hpa_sync_s: u32,
    /// Seconds from a scrape to SPHERE's decision on it (queue physics).
    pub decision_delay_s: u32,
    /// Patience of a client, seconds (queue physics).
    pub client_timeout_s: u32,
    /// Time a request needs on an idle pod, seconds (queue physics).
    pub service_s: f64,
    /// How much history before the segment learning policies may see.
    pub history: Duration,
    /// The model SPHERE forecasts with.
    pub model: ForecastModel,
}

/// Time a request needs on an idle pod, seconds, where nobody says: one after the other for pods of 10
/// requests/s and more; slower pods are taken to serve several requests at a time, each within 100 ms.
pub fn default_service_s(capacity_rps: f64) -> f64 {
    (1.0 / capacity_rps).min(0.1)
}

impl Settings {
    /// Defaults around a pod capacity and a start-up time.
    pub fn new(capacity_rps: f64, startup: Startup, physics: Physics) -> Self {
        Self {
            physics,
            startup,
            capacity_rps,
            min_replicas: 1,
            max_replicas: 40,
            scrape_s: 10,
            window_s: 40,
            hpa_sync_s: 15,
            decision_delay_s: if physics == Physics::Loss { 0 } else { 1 },
            client_timeout_s: 5,
            service_s: default_service_s(capacity_rps),
            history: Duration::from_secs(14 * 86_400),
            model: ForecastModel::default(),
        }
    }

    /// Median time from a scrape until a pod ordered because of it serves, seconds.
    pub fn lead_s(&self) -> f64 {
        self.startup.median_s() + f64::from(self.decision_delay_s)
    }
}

/// One point of a recorded run.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct RecordedStep {
    /// Seconds since the start of the segment.
    pub t_s: u64,
    /// Mean offered load of the scrape interval that starts here, requests/s.
    pub offered_rps: f64,
    /// Ready replicas at the start of the interval.
    pub ready: u32,
    /// Replicas asked for after the decisions at this instant.
    pub replicas: u32,
    /// What the policy expected for this instant, a lead time before: quantiles 0.5, 0.9, 0.95, 0.99.
    pub band: Option<[f64; 4]>,
}

/// A recorded run, one step per scrape interval.
pub type Recording = Vec<RecordedStep>;

/// What one run gives.
#[derive(Clone, Debug)]
pub struct RunResult {
    /// The scores.
    pub score: Scorecard,
    /// The course of the run, when asked for.
    pub recording: Option<Recording>,
}

/// Runs `policy` on `demand`. `seed` draws start-up times. Deterministic.
pub fn run(
    demand: &Demand,
    settings: &Settings,
    policy: &mut dyn Policy,
    seed: u64,
    record: bool,
) -> RunResult {
    let tick_s = demand.tick_s;
    let capacity = settings.capacity_rps;
    let clamp = |n: u32| n.clamp(settings.min_replicas, settings.max_replicas);
    // Everyone starts with the size an HPA at 60 % would long have reached.
    let first = demand.offered_rps.iter().take((60 / tick_s) as usize).copied().fold(0.0, f32::max);
    let start = policy.initial_replicas().unwrap_or_else(|| replicas_for(f64::from(first) / 0.6, capacity));
    let mut world = World::new(settings, tick_s, &demand.history_rps, clamp(start.max(1)), seed);
    let mut recording: Option<Recording> = record.then(Vec::new);
    let mut bands = record.then(|| PendingBands::new(settings));

    policy.warm_up(demand);
    let (period, offset) = (u64::from(policy.period_s().max(tick_s)), u64::from(policy.offset_s()));
    for (i, &offered) in demand.offered_rps.iter().enumerate() {
        let offered = f64::from(offered);
        let second = world.second();
        let now_s = second as f64;
        let ended_interval_rps = world.begin(|took_s| policy.pod_ready(took_s));
        if let (Some(mean_rps), Some(step)) =
            (ended_interval_rps, recording.as_mut().and_then(|r| r.last_mut()))
        {
            step.offered_rps = mean_rps;
        }
        if world.at_scrape()
            && let (Some(recording), Some(bands)) = (recording.as_mut(), bands.as_mut())
        {
            recording.push(RecordedStep {
                t_s: second,
                offered_rps: offered,
                ready: world.cluster().ready(),
                replicas: world.cluster().replicas(),
                band: bands.due(now_s),
            });
        }
        if second >= offset && (second - offset).is_multiple_of(period) {
            let at = sphere_core::Timestamp(demand.start.millis() + second as i64 * 1000);
            let wanted = clamp(policy.decide(at, &world.view()));
            world.scale_to(wanted);
            if let Some(step) = recording.as_mut().and_then(|r| r.last_mut()) {
                step.replicas = wanted;
            }
            if let (Some(bands), Some(distribution)) = (bands.as_mut(), policy.expected_at_lead()) {
                bands.push(now_s, distribution);
            }
        }
        world.tick(offered, demand.is_unrecorded(i));
    }
    RunResult { score: world.score(), recording }
}

/// Forecasts under way, to be shown at the instant they are for.
struct PendingBands {
    lead_s: f64,
    pending: std::collections::VecDeque<(f64, [f64; 4])>,
}

impl PendingBands {
    fn new(settings: &Settings) -> Self {
        Self { lead_s: settings.lead_s(), pending: std::collections::VecDeque::new() }
    }

    fn push(&mut self, now_s: f64, d: Distribution) {
        self.pending.push_back((now_s + self.lead_s, [0.5, 0.9, 0.95, 0.99].map(|level| d.quantile(level))));
    }

    fn due(&mut self, now_s: f64) -> Option<[f64; 4]> {
        let mut band = None;
        while let Some((at, values)) = self.pending.front()
            && *at <= now_s + 1e-9
        {
            band = Some(*values);
            self.pending.pop_front();
        }
        band
    }
}
