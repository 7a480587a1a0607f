//! Which policy would have served this traffic best, and at what cost?
//!
//! Reads a trace (or takes a generated profile), plays the tournament, and prepares what the terminal, the JSON
//! output and the HTML report show. All printing is the caller's.

mod compare;
mod output;
mod report;

pub use compare::{Comparison, compare};
pub use output::{json, summary, table};
pub use report::report_data;

use serde::Serialize;
use sphere_sim::run::default_service_s;
use sphere_sim::{Contestant, Physics, Profile, Run, Settings, Startup, Tournament};
use std::ops::Range;
use std::time::Duration;

/// How much one pod serves.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Capacity {
    /// So many requests/s.
    Rps(f64),
    /// So much that this many pods carry the peak of the segment.
    PeakReplicas(u32),
}

/// Everything a simulation depends on.
#[derive(Clone, Debug)]
pub struct Plan {
    /// Name of the trace.
    pub trace: String,
    /// The demand, scaled.
    pub profile: Profile,
    /// Does the profile's clock show real dates?
    pub dated: bool,
    /// The bins played; what is before is history.
    pub segment: Range<usize>,
    /// Factor the trace was multiplied with; for the record.
    pub scale: f64,
    /// Capacity of one pod.
    pub capacity: Capacity,
    /// Start-up times to play.
    pub startups: Vec<Startup>,
    /// Service model.
    pub physics: Physics,
    /// Contestants of the scoreboard.
    pub contestants: Vec<Contestant>,
    /// Sweep the settings of HPA (targets this many percent apart) and SPHERE too, for curves and the comparison
    /// with a tuned HPA.
    pub sweep_step_pct: Option<u32>,
    /// First seed.
    pub seed: u64,
    /// Number of seeds.
    pub seeds: u32,
    /// Smallest size.
    pub min_replicas: u32,
    /// Largest size; twice what the peak needs when absent.
    pub max_replicas: Option<u32>,
    /// History learning policies may see.
    pub history: Duration,
    /// Patience of a client, seconds.
    pub client_timeout_s: u32,
    /// Time a request needs on an idle pod, seconds; by default see [`default_service_s`].
    pub service_s: Option<f64>,
}

/// The settings as they come out in JSON.
#[derive(Clone, Debug, Serialize)]
pub struct PlanSettings {
    /// Bins played.
    pub bins: usize,
    /// Width of a bin, seconds.
    pub bin_s: f64,
    /// First bin played, counted from the start of the trace.
    pub first_bin: usize,
    /// Factor the trace was multiplied with.
    pub scale: f64,
    /// Mean demand of the segment, requests/s.
    pub mean_rps: f64,
    /// Peak demand of the segment, requests/s.
    pub peak_rps: f64,
    /// What one pod serves, requests/s.
    pub capacity_rps: f64,
    /// Service model.
    pub physics: Physics,
    /// Start-up times.
    pub startup: Vec<Startup>,
    /// Smallest size.
    pub min_replicas: u32,
    /// Largest size.
    pub max_replicas: u32,
    /// Seconds between scrapes.
    pub scrape_s: u32,
    /// Window of the rates an HPA sees, seconds.
    pub window_s: u32,
    /// Seconds between syncs of an HPA.
    pub hpa_sync_s: u32,
    /// Seconds from a scrape to SPHERE's decision on it.
    pub decision_delay_s: u32,
    /// Patience of a client, seconds.
    pub client_timeout_s: u32,
    /// Time a request needs on an idle pod, seconds.
    pub service_s: f64,
    /// History learning policies could see, seconds.
    pub history_s: f64,
    /// Seeds.
    pub seeds: Vec<u64>,
}

/// What a simulation gives.
#[derive(Clone, Debug)]
pub struct Outcome {
    /// Name of the trace.
    pub trace: String,
    /// The settings in force.
    pub settings: PlanSettings,
    /// Runs of the scoreboard.
    pub runs: Vec<Run>,
    /// Runs of the sweeps, without those of the scoreboard.
    pub swept: Vec<Run>,
    /// SPHERE against the HPA tuned on this very trace, per start-up time; empty without a sweep.
    pub comparisons: Vec<Comparison>,
    /// Start of the segment on the trace's clock, where it has dates.
    pub start_ms: Option<i64>,
}

/// Why a plan can not be carried out.
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
pub enum PlanError {
    /// Nothing arrives in the segment.
    #[error("{trace}: there is no demand in the chosen part; another --from/--to or --scale is needed")]
    NoDemand {
        /// The trace.
        trace: String,
    },
    /// The segment is too short to say anything.
    #[error("{trace}: {seconds:.0} s of demand are chosen; at least 300 s are expected")]
    TooShort {
        /// The trace.
        trace: String,
        /// Length of the segment.
        seconds: f64,
    },
    /// The bounds contradict each other.
    #[error("--min-replicas {min} is above --max-replicas {max}")]
    Bounds {
        /// Smallest size.
        min: u32,
        /// Largest size.
        max: u32,
    },
    /// The fleet would be absurd.
    #[error(
        "a peak of {peak_rps:.1} requests/s over pods of {capacity_rps} requests/s needs {replicas:.0} replicas; at most 100000 are simulated (see --capacity, --peak-replicas, --scale)"
    )]
    TooManyReplicas {
        /// Peak demand.
        peak_rps: f64,
        /// Capacity of a pod.
        capacity_rps: f64,
        /// What the peak needs.
        replicas: f64,
    },
}

/// Targets of the HPA sweeps, percent.
const SWEPT_TARGETS: std::ops::RangeInclusive<u32> = 30..=100;
/// Price ratios of the SPHERE sweep.
const SWEPT_PRICES: [f64; 7] = [2.0, 5.0, 10.0, 40.0, 80.0, 160.0, 320.0];

impl Plan {
    /// The settings of each start-up time.
    fn settings(&self) -> Result<Vec<Settings>, PlanError> {
        let peak_rps = self.profile.peak_rps(self.segment.clone());
        if peak_rps <= 0.0 || !peak_rps.is_finite() {
            return Err(PlanError::NoDemand { trace: self.trace.clone() });
        }
        let seconds = self.segment.len() as f64 * self.profile.step.as_secs_f64();
        if seconds < 300.0 {
            return Err(PlanError::TooShort { trace: self.trace.clone(), seconds });
        }
        let capacity_rps = match self.capacity {
            Capacity::Rps(rps) => rps,
            Capacity::PeakReplicas(n) => peak_rps / f64::from(n),
        };
        let replicas = (peak_rps / capacity_rps - 1e-6).ceil();
        if replicas > 100_000.0 {
            return Err(PlanError::TooManyReplicas { peak_rps, capacity_rps, replicas });
        }
        let max_replicas = self.max_replicas.unwrap_or((2 * replicas as u32).max(self.min_replicas));
        if self.min_replicas > max_replicas {
            return Err(PlanError::Bounds { min: self.min_replicas, max: max_replicas });
        }
        Ok(self
            .startups
            .iter()
            .map(|&startup| Settings {
                min_replicas: self.min_replicas,
                max_replicas,
                client_timeout_s: self.client_timeout_s,
                service_s: self.service_s.unwrap_or_else(|| default_service_s(capacity_rps)),
                history: self.history,
                ..Settings::new(capacity_rps, startup, self.physics)
            })
            .collect())
    }

    /// Settings of the sweeps that are not on the scoreboard anyway.
    fn swept(&self) -> Vec<Contestant> {
        let Some(step) = self.sweep_step_pct else { return Vec::new() };
        let targets = || SWEPT_TARGETS.step_by(step.max(1) as usize);
        let mut all: Vec<Contestant> = targets().map(Contestant::Hpa).collect();
        all.extend(targets().map(Contestant::HpaRps));
        all.extend(SWEPT_PRICES.map(Contestant::SpherePrice));
        all.push(Contestant::Sphere);
        all.retain(|c| !self.contestants.contains(c));
        all
    }

    /// Number of runs, for a progress bar.
    pub fn runs(&self) -> usize {
        (self.contestants.len() + self.swept().len()) * self.startups.len() * self.seeds as usize
    }

    /// Plays. `done` is called after each run.
    pub fn play(&self, done: impl Fn() + Sync) -> Result<Outcome, PlanError> {
        let settings = self.settings()?;
        let first = settings[0].clone();
        let seeds: Vec<u64> = (0..u64::from(self.seeds)).map(|i| self.seed.wrapping_add(i)).collect();
        let swept = self.swept();
        let tournament = Tournament {
            profile: &self.profile,
            segment: self.segment.clone(),
            settings,
            contestants: self.contestants.iter().chain(&swept).copied().collect(),
            seeds: seeds.clone(),
            record: self.contestants.clone(),
        };
        let (runs, swept): (Vec<Run>, Vec<Run>) =
            tournament.play(done).into_iter().partition(|run| self.contestants.contains(&run.policy));
        let comparisons =
            if self.sweep_step_pct.is_some() { compare(runs.iter().chain(&swept)) } else { Vec::new() };
        Ok(Outcome {
            trace: self.trace.clone(),
            settings: PlanSettings {
                bins: self.segment.len(),
                bin_s: self.profile.step.as_secs_f64(),
                first_bin: self.segment.start,
                scale: self.scale,
                mean_rps: self.profile.mean_rps(self.segment.clone()),
                peak_rps: self.profile.peak_rps(self.segment.clone()),
                capacity_rps: first.capacity_rps,
                physics: self.physics,
                startup: self.startups.clone(),
                min_replicas: first.min_replicas,
                max_replicas: first.max_replicas,
                scrape_s: first.scrape_s,
                window_s: first.window_s,
                hpa_sync_s: first.hpa_sync_s,
                decision_delay_s: first.decision_delay_s,
                client_timeout_s: first.client_timeout_s,
                service_s: first.service_s,
                history_s: first
                    .history
                    .as_secs_f64()
                    .min(self.segment.start as f64 * self.profile.step.as_secs_f64()),
                seeds,
            },
            runs,
            swept,
            comparisons,
            start_ms: self.dated.then(|| self.profile.bin_start(self.segment.start).millis()),
        })
    }
}
