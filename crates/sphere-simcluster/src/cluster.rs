//! How does the simulated cluster keep up with the clock?
//!
//! Whoever looks moves it on: every question and order first plays the seconds that have passed. A clock that stands
//! or steps back moves nothing. A clock that jumped ahead by more than a stated time does not make anybody wait: the
//! time between is skipped, which shows as missing data, and a warning is logged.

use crate::config::{ConfigProblem, Demand, SimulatedClusterConfig, TraceDemand};
use crate::series::{Series, mix};
use crate::workload::LiveWorkload;
use sphere_core::{Timestamp, WorkloadId};
use sphere_pipeline::Clock;
use sphere_sim::metrics::View;
use sphere_sim::{Profile, Scorecard};
use std::collections::HashMap;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

/// Scrapes that all workloads together remember; 16 bytes each.
const SCRAPES_KEPT: usize = 32_000_000;
/// Ticks times workloads up to which a question plays them on the spot; more go to a thread for long work. About
/// 10 ms.
const SHORT_WORK: u64 = 20_000;

/// Why a simulated cluster can not be built.
#[derive(Debug, thiserror::Error)]
pub enum BuildError {
    /// The configuration can not be meant.
    #[error("simulated cluster: {}", .0.iter().map(ToString::to_string).collect::<Vec<_>>().join("; "))]
    Config(Vec<ConfigProblem>),
    /// A trace can not be read.
    #[error("simulated cluster: trace {}: {detail}", path.display())]
    Trace {
        /// The file.
        path: PathBuf,
        /// What is wrong.
        detail: String,
    },
}

/// What one look at the clock did.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Advance {
    /// Ticks played, all workloads together.
    pub ticks: u64,
    /// Time skipped instead of played.
    pub skipped: Duration,
}

/// The scores of one workload so far.
#[derive(Clone, Debug, PartialEq, serde::Serialize)]
pub struct WorkloadScore {
    /// The workload.
    pub workload: WorkloadId,
    /// Its scores.
    #[serde(flatten)]
    pub score: Scorecard,
}

/// Where the requests of a workload went.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Books {
    /// Answered in time.
    pub answered: f64,
    /// Lost, or given up by clients.
    pub given_up: f64,
    /// Waiting to be served.
    pub waiting: f64,
}

/// A cluster in motion. Cheap to clone; clones are the same cluster. See the module text.
#[derive(Clone, Debug)]
pub struct SimulatedCluster(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    clock: Clock,
    origin: Timestamp,
    max_catch_up_s: u64,
    index: HashMap<WorkloadId, usize>,
    state: Mutex<State>,
}

/// What moves.
#[derive(Debug)]
pub(crate) struct State {
    /// In the order of the configuration.
    pub workloads: Vec<LiveWorkload>,
    /// Time skipped so far.
    pub skipped: Duration,
    /// Per workload: number of the first start-up not yet told in process.
    pub startups_told: Vec<u64>,
    second: u64,
}

impl SimulatedCluster {
    /// Builds the cluster at the clock's time, rounded down to a scrape. `load` reads a trace; it is called once per
    /// path.
    pub fn new<E: std::fmt::Display>(
        config: &SimulatedClusterConfig,
        clock: Clock,
        mut load: impl FnMut(&TraceDemand) -> Result<Profile, E>,
    ) -> Result<Self, BuildError> {
        let problems = config.problems();
        if !problems.is_empty() {
            return Err(BuildError::Config(problems));
        }
        let scrape_ms = i64::from(config.scrape_seconds) * 1000;
        let origin = Timestamp(clock.now().millis().div_euclid(scrape_ms) * scrape_ms);
        let total: usize = config.workloads.iter().map(|w| w.count as usize).sum();
        let kept = (config.history_hours as usize * 3600 / config.scrape_seconds as usize)
            .min(SCRAPES_KEPT / total.max(1));

        let mut weeks: HashMap<u64, Arc<Profile>> = HashMap::new();
        let mut traces: HashMap<PathBuf, Arc<Profile>> = HashMap::new();
        let mut workloads = Vec::with_capacity(total);
        let mut index = HashMap::with_capacity(total);
        for workload in &config.workloads {
            for i in 0..workload.count {
                let series = match &workload.demand {
                    Demand::Synthetic(synthetic) => Series::synthetic(synthetic, i, workload.count, |seed| {
                        Arc::clone(weeks.entry(seed).or_insert_with(|| Series::week(seed)))
                    }),
                    Demand::Trace(trace) => {
                        let profile = match traces.get(&trace.path) {
                            Some(profile) => Arc::clone(profile),
                            None => {
                                let profile = Arc::new(load_trace(trace, &mut load)?);
                                traces.insert(trace.path.clone(), Arc::clone(&profile));
                                profile
                            }
                        };
                        let shift_ms = trace.from_hours.map_or(0, |hours| {
                            profile.start.millis() + (hours * 3_600_000.0) as i64 - origin.millis()
                        });
                        Series::new(profile, shift_ms, trace.scale, trace.repeat)
                    }
                };
                let name = workload.name_of(i);
                let id = WorkloadId::new(&workload.namespace, "Deployment", &name).map_err(|error| {
                    BuildError::Config(vec![ConfigProblem { key: name, problem: error.to_string() }])
                })?;
                let seed = mix(config.seed, workloads.len() as u64);
                index.insert(id.clone(), workloads.len());
                workloads.push(LiveWorkload::new(workload, config, id, series, seed, origin, kept));
            }
        }
        let startups_told = vec![0; workloads.len()];
        Ok(Self(Arc::new(Inner {
            clock,
            origin,
            max_catch_up_s: u64::from(config.max_catch_up_seconds),
            index,
            state: Mutex::new(State { workloads, skipped: Duration::ZERO, startups_told, second: 0 }),
        })))
    }

    /// When it started.
    pub fn origin(&self) -> Timestamp {
        self.0.origin
    }

    /// Its clock.
    pub fn clock(&self) -> &Clock {
        &self.0.clock
    }

    /// Its workloads, in the order of the configuration.
    pub fn workloads(&self) -> Vec<WorkloadId> {
        self.state().workloads.iter().map(|w| w.id.clone()).collect()
    }

    /// Place of a workload.
    pub(crate) fn index_of(&self, id: &WorkloadId) -> Option<usize> {
        self.0.index.get(id).copied()
    }

    /// What moves. A panic while it was held leaves counters that are at worst a second behind each other.
    pub(crate) fn state(&self) -> MutexGuard<'_, State> {
        self.0.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Plays up to `now`. See the module text.
    pub fn advance_to(&self, now: Timestamp) -> Advance {
        let mut state = self.state();
        let second = now.since(self.0.origin).as_secs();
        let Some(passed_s) = second.checked_sub(state.second).filter(|passed| *passed > 0) else {
            return Advance::default();
        };
        let mut advance = Advance::default();
        if passed_s > self.0.max_catch_up_s {
            advance.skipped = Duration::from_secs(passed_s);
            state.skipped += advance.skipped;
            tracing::warn!(
                skipped_seconds = passed_s,
                limit_seconds = self.0.max_catch_up_s,
                "the clock jumped ahead: the simulated cluster skips the time between, which has no data"
            );
        }
        for workload in &mut state.workloads {
            if !advance.skipped.is_zero() {
                workload.skip_to(second);
            }
            advance.ticks += workload.play_to(second);
        }
        state.second = second;
        advance
    }

    /// Plays up to the clock's time; long work does not hold up the runtime.
    pub async fn catch_up(&self) {
        let now = self.0.clock.now();
        let work = {
            let state = self.state();
            let passed = now.since(self.0.origin).as_secs().saturating_sub(state.second);
            passed.saturating_mul(state.workloads.len() as u64)
        };
        if work <= SHORT_WORK {
            self.advance_to(now);
        } else {
            self.long(move |cluster| cluster.advance_to(now)).await;
        }
    }

    /// Does long work where it holds up nobody; `None` when the runtime is shutting down.
    pub(crate) async fn long<R: Send + 'static>(
        &self,
        work: impl FnOnce(&Self) -> R + Send + 'static,
    ) -> Option<R> {
        let cluster = self.clone();
        tokio::task::spawn_blocking(move || work(&cluster)).await.ok()
    }

    /// The scores of all workloads so far.
    pub fn scores(&self) -> Vec<WorkloadScore> {
        let state = self.state();
        state.workloads.iter().map(|w| WorkloadScore { workload: w.id.clone(), score: w.score() }).collect()
    }

    /// The scores of one workload so far; `None`: it is not here.
    pub fn score(&self, id: &WorkloadId) -> Option<Scorecard> {
        let index = self.index_of(id)?;
        Some(self.state().workloads[index].score())
    }

    /// What a scraper shows of one workload now; `None`: it is not here.
    pub fn view(&self, id: &WorkloadId) -> Option<View> {
        let index = self.index_of(id)?;
        Some(self.state().workloads[index].visible())
    }

    /// Where the requests of one workload went so far; `None`: it is not here.
    pub fn books(&self, id: &WorkloadId) -> Option<Books> {
        let index = self.index_of(id)?;
        let state = self.state();
        let live = &state.workloads[index];
        let total = live.roster().total();
        Some(Books {
            answered: total.requests - total.failed,
            given_up: total.failed,
            waiting: live.waiting(),
        })
    }

    /// Time skipped so far, because the clock jumped.
    pub fn skipped(&self) -> Duration {
        self.state().skipped
    }
}

/// A trace that can be played.
fn load_trace<E: std::fmt::Display>(
    trace: &TraceDemand,
    load: &mut impl FnMut(&TraceDemand) -> Result<Profile, E>,
) -> Result<Profile, BuildError> {
    let fail = |detail: String| BuildError::Trace { path: trace.path.clone(), detail };
    let profile = load(trace).map_err(|error| fail(error.to_string()))?;
    if profile.step < Duration::from_millis(1) {
        return Err(fail("its bins have no width".into()));
    }
    if !profile.rates_rps.iter().any(Option::is_some) {
        return Err(fail("it has no value".into()));
    }
    if let Some(bad) = profile.rates_rps.iter().flatten().find(|rate| !rate.is_finite() || **rate < 0.0) {
        return Err(fail(format!("{bad} is no rate; finite numbers of at least 0 are expected")));
    }
    Ok(profile)
}
