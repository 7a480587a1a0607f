//! What does one worker know, and what follows from the records it is given?
//!
//! A [`Shard`] holds the forecasters of some partitions. It is synchronous and does no I/O: a [`Job`] goes in, an
//! [`Outcome`] comes out, saying what is to be published, saved and committed, in that order.
//!
//! | sample | what happens | counted as |
//! |---|---|---|
//! | next step, demand known | learnt, a forecast goes out | `forecast` |
//! | same, but the model is not ready | learnt | `not_ready` |
//! | same, but it is too old for a forecast to be of use | learnt | `expired` |
//! | demand absent | the step counts as missing; the last forecast stays valid for its time | `absent` |
//! | demand censored: pods were at their limit | taken as a lower bound, a forecast goes out if there is one | `censored` |
//! | a step seen before | nothing | `duplicate`, `late` |
//! | more than two steps in the future | nothing: a wrong clock must not move the grid | `future` |
//! | of a workload that is not configured | nothing | `unconfigured` |
//! | unreadable | to the dead letters | `unreadable` |
//!
//! **State and positions.** A position may be committed only when all state up to it is saved; else a crash would
//! lose what models learnt in between. Saving everything at once would stall the stream, so a *checkpoint* notes
//! the position it starts at, saves the changed workloads a few per tick, and when all are acknowledged commits
//! the noted position. After a crash the records since then are read again; those a saved model has seen
//! are late or duplicate to it and change nothing.

use crate::bus::{Delivery, Message, Partition};
use crate::source::History;
use crate::wire::{self, Unreadable};
use crate::workload::{Workload, Workloads};
use bytes::Bytes;
use sphere_core::{Forecast, Sample, Timestamp, WorkloadId};
use sphere_forecast::{Forecaster, Observed, StoredForecaster};
use std::collections::{HashMap, VecDeque};
use std::sync::Arc;
use std::time::{Duration, Instant};

/// Steps a forecast stays valid after the last sample it has seen, unless told otherwise.
pub const VALID_STEPS: u32 = 6;
/// Steps a sample (or a restored model) may lie in the future before its clock is taken to be wrong.
const FUTURE_STEPS: u32 = 2;

/// What the forecast stage is told.
#[derive(Clone, Debug, PartialEq)]
pub struct ForecastSettings {
    /// Width of a step.
    pub step: Duration,
    /// From a scrape to the decision on it, part of the lead time.
    pub decision_delay: Duration,
    /// Time over which one checkpoint is spread.
    pub checkpoint: Duration,
    /// History asked of the metric source for a workload without state; zero: none.
    pub backfill: Duration,
    /// Longest time a backfill may take before models start cold.
    pub backfill_timeout: Duration,
    /// Steps a forecast stays valid after the last sample it has seen.
    pub valid_steps: u32,
    /// Worker threads.
    pub workers: usize,
    /// Most records taken at once.
    pub max_records: usize,
    /// Consumer group.
    pub group: String,
}

impl Default for ForecastSettings {
    fn default() -> Self {
        Self {
            step: Duration::from_secs(10),
            decision_delay: Duration::from_secs(1),
            checkpoint: Duration::from_secs(60),
            backfill: Duration::from_secs(3600),
            backfill_timeout: Duration::from_secs(10),
            valid_steps: VALID_STEPS,
            workers: std::thread::available_parallelism().map_or(1, usize::from),
            max_records: 2000,
            group: "sphere-forecast".into(),
        }
    }
}

/// A workload that a partition is about to bring.
#[derive(Clone, Debug)]
pub(super) struct Adoption {
    pub key: Bytes,
    pub workload: Arc<Workload>,
    /// Saved model, if there is one.
    pub state: Option<Bytes>,
    /// Past demand, for a model without state.
    pub history: Option<History>,
    /// Measured lead time, if the autoscaler has told one.
    pub lead: Option<Duration>,
}

/// What a worker is asked to do.
#[derive(Debug)]
pub(super) enum Job {
    Records {
        records: Vec<Delivery>,
        now: Timestamp,
    },
    Adopt {
        partition: Partition,
        adoptions: Vec<Adoption>,
        now: Timestamp,
    },
    /// New lead times, by key.
    Leads {
        leads: Vec<(Bytes, Duration)>,
    },
    /// The workloads and their specs have changed.
    Update {
        workloads: Arc<Workloads>,
    },
    /// Time passes.
    Tick,
    /// Save everything of these partitions and let them go.
    Release {
        partitions: Vec<Partition>,
    },
    /// Forget these partitions without saving.
    Drop {
        partitions: Vec<Partition>,
    },
}

/// What became of a checkpoint's saves.
#[derive(Debug)]
pub(super) struct Saved {
    pub partition: Partition,
    pub checkpoint: u64,
    /// Keys that could not be saved.
    pub failed: Vec<Bytes>,
    /// This was its last part.
    pub complete: bool,
}

/// Part of a checkpoint.
#[derive(Debug)]
pub(super) struct Save {
    pub partition: Partition,
    pub checkpoint: u64,
    pub states: Vec<(Bytes, WorkloadId, Bytes)>,
    /// With the last part: commit this position once all parts are saved.
    pub commit: Option<i64>,
}

/// What is to be done now: publish, then save, then commit.
#[derive(Debug, Default)]
pub(super) struct Outcome {
    pub messages: Vec<Message>,
    /// When the bus took in the record behind each forecast.
    pub taken_in: Vec<Timestamp>,
    pub saves: Vec<Save>,
    /// Where the partitions of these records stand now.
    pub handled: HashMap<Partition, i64>,
    pub counts: HashMap<&'static str, u64>,
    pub unreadable: Vec<Unreadable>,
    pub notes: Vec<String>,
    /// Partitions whose release is complete after this outcome.
    pub released: Vec<Partition>,
    /// Workloads whose model is of no use (it lies in the future): adopt them anew, without state.
    pub reload: Vec<(Partition, Bytes)>,
    pub workloads: usize,
    pub busy: Duration,
}

struct Tracked {
    workload: Arc<Workload>,
    forecaster: StoredForecaster,
    lead_steps: u32,
    dirty: bool,
}

#[derive(Default)]
struct Checkpoint {
    id: u64,
    /// Keys still to be saved.
    to_save: VecDeque<Bytes>,
    per_tick: usize,
    position: i64,
    phase: Phase,
    due: Option<Instant>,
}

#[derive(Default, PartialEq)]
enum Phase {
    #[default]
    Idle,
    Saving,
    /// All parts are out; waiting to hear what became of them.
    Waiting,
}

#[derive(Default)]
struct Owned {
    tracked: HashMap<Bytes, Tracked>,
    /// Offset of the next record, once one was seen.
    position: Option<i64>,
    /// Something was handled since the last commit.
    moved: bool,
    checkpoint: Checkpoint,
}

/// The forecasters of some partitions. See the module text.
pub(super) struct Shard {
    settings: Arc<ForecastSettings>,
    partitions: HashMap<Partition, Owned>,
}

/// Time between ticks.
pub(super) const TICK: Duration = Duration::from_millis(250);

impl Shard {
    pub fn new(settings: Arc<ForecastSettings>) -> Self {
        Self { settings, partitions: HashMap::new() }
    }

    /// Does a job. `real` is a monotonic instant, for the pace of checkpoints.
    pub fn handle(&mut self, job: Job, saved: impl Iterator<Item = Saved>, real: Instant) -> Outcome {
        let mut out = Outcome::default();
        for saved in saved {
            self.learn_saved(saved, real);
        }
        match job {
            Job::Records { records, now } => {
                for record in records {
                    self.record(&record, now, &mut out);
                }
                self.advance_checkpoints(real, &mut out);
            }
            Job::Adopt { partition, adoptions, now } => {
                let owned = self.partitions.entry(partition).or_default();
                for adoption in adoptions {
                    let key = adoption.key.clone();
                    if let Some(tracked) = adopt(&self.settings, adoption, now, &mut out) {
                        owned.tracked.insert(key, tracked);
                    }
                }
            }
            Job::Leads { leads } => {
                for (key, lead) in leads {
                    for owned in self.partitions.values_mut() {
                        if let Some(tracked) = owned.tracked.get_mut(&key) {
                            tracked.set_lead(&self.settings, Some(lead));
                        }
                    }
                }
            }
            Job::Update { workloads } => {
                for owned in self.partitions.values_mut() {
                    owned.tracked.retain(|key, tracked| {
                        std::str::from_utf8(key)
                            .ok()
                            .and_then(|key| workloads.get(key))
                            .is_some_and(|workload| tracked.respecify(workload, &self.settings))
                    });
                }
            }
            Job::Tick => self.advance_checkpoints(real, &mut out),
            Job::Release { partitions } => {
                for partition in partitions {
                    if let Some(owned) = self.partitions.remove(&partition) {
                        out.saves.extend(owned.save_all(partition, &mut out.notes));
                    }
                    out.released.push(partition);
                }
            }
            Job::Drop { partitions } => {
                for partition in partitions {
                    self.partitions.remove(&partition);
                }
            }
        }
        out.workloads = self.partitions.values().map(|owned| owned.tracked.len()).sum();
        out.busy = real.elapsed();
        out
    }

    fn record(&mut self, delivery: &Delivery, now: Timestamp, out: &mut Outcome) {
        let owned = self.partitions.entry(delivery.partition).or_default();
        owned.position = Some(delivery.offset + 1);
        owned.moved = true;
        out.handled.insert(delivery.partition, delivery.offset + 1);
        let outcome = match wire::decode::<Sample>(delivery) {
            Err(why) => {
                out.messages.extend(wire::dead_letter(delivery, &why));
                out.unreadable.push(why);
                "unreadable"
            }
            Ok(sample) => match owned.tracked.get_mut(&delivery.key) {
                None => "unconfigured",
                Some(tracked) => {
                    if tracked.lies_in_the_future(now, self.settings.step) {
                        out.reload.push((delivery.partition, delivery.key.clone()));
                    }
                    let (outcome, forecast) = tracked.learn(&sample, now, &self.settings);
                    if let Some(forecast) = forecast {
                        out.messages.push(wire::encode(&forecast));
                        out.taken_in.push(delivery.published_at);
                    }
                    outcome
                }
            },
        };
        *out.counts.entry(outcome).or_default() += 1;
    }

    fn advance_checkpoints(&mut self, real: Instant, out: &mut Outcome) {
        for (&partition, owned) in &mut self.partitions {
            owned.start_checkpoint(partition, self.settings.checkpoint, real);
            if owned.checkpoint.phase == Phase::Saving {
                out.saves.push(owned.next_part(partition, &mut out.notes));
            }
        }
    }

    fn learn_saved(&mut self, saved: Saved, real: Instant) {
        let Some(owned) = self.partitions.get_mut(&saved.partition) else { return };
        if saved.checkpoint != owned.checkpoint.id {
            return;
        }
        let failed = !saved.failed.is_empty();
        // Its position was not committed, so another checkpoint is needed even if nothing more comes.
        owned.moved |= failed;
        for key in saved.failed {
            if let Some(tracked) = owned.tracked.get_mut(&key) {
                tracked.dirty = true;
            }
        }
        if saved.complete {
            owned.checkpoint.phase = Phase::Idle;
            // Spread the next one; after a failure try again soon.
            let pause = if failed { self.settings.checkpoint / 10 } else { self.settings.checkpoint / 20 };
            owned.checkpoint.due = Some(real + pause);
        }
    }
}

impl Owned {
    fn start_checkpoint(&mut self, partition: Partition, spread: Duration, real: Instant) {
        let checkpoint = &mut self.checkpoint;
        // The first ones are spread by partition, so that all do not start together.
        let due = *checkpoint.due.get_or_insert_with(|| real + spread * (partition.number % 16) / 16);
        let Some(position) = self.position.filter(|_| self.moved) else { return };
        if checkpoint.phase != Phase::Idle || real < due {
            return;
        }
        let changed = self.tracked.iter().filter(|(_, tracked)| tracked.dirty).map(|(key, _)| key.clone());
        checkpoint.to_save = changed.collect();
        let ticks = (spread.as_millis() / TICK.as_millis()).max(1) as usize;
        checkpoint.per_tick = checkpoint.to_save.len().div_ceil(ticks).max(1);
        checkpoint.position = position;
        checkpoint.phase = Phase::Saving;
        checkpoint.id += 1;
        self.moved = false;
    }

    fn next_part(&mut self, partition: Partition, notes: &mut Vec<String>) -> Save {
        let count = self.checkpoint.per_tick.min(self.checkpoint.to_save.len());
        let keys: Vec<Bytes> = self.checkpoint.to_save.drain(..count).collect();
        let states = keys.into_iter().filter_map(|key| self.state(key, notes)).collect();
        let complete = self.checkpoint.to_save.is_empty();
        if complete {
            self.checkpoint.phase = Phase::Waiting;
        }
        let commit = complete.then_some(self.checkpoint.position);
        Save { partition, checkpoint: self.checkpoint.id, states, commit }
    }

    fn state(&mut self, key: Bytes, notes: &mut Vec<String>) -> Option<(Bytes, WorkloadId, Bytes)> {
        let tracked = self.tracked.get_mut(&key)?;
        tracked.dirty = false;
        match tracked.forecaster.save() {
            Ok(state) => Some((key, tracked.workload.id.clone(), state.into())),
            Err(error) => {
                notes.push(format!("{}: {error}; it will learn from history again", tracked.workload.id));
                None
            }
        }
    }

    /// Everything that is not saved yet, and where it stands.
    fn save_all(mut self, partition: Partition, notes: &mut Vec<String>) -> Option<Save> {
        let position = self.position?;
        // What an unfinished checkpoint took out but nobody acknowledged is saved once more.
        let unsure = self.checkpoint.phase != Phase::Idle;
        let keys: Vec<Bytes> =
            self.tracked.iter().filter(|(_, t)| unsure || t.dirty).map(|(key, _)| key.clone()).collect();
        let states = keys.into_iter().filter_map(|key| self.state(key, notes)).collect();
        Some(Save { partition, checkpoint: u64::MAX, states, commit: Some(position) })
    }
}

impl Tracked {
    fn set_lead(&mut self, settings: &ForecastSettings, measured: Option<Duration>) {
        let startup = || Duration::try_from_secs_f64(self.workload.spec.startup_seconds).unwrap_or_default();
        let lead = measured.unwrap_or_else(|| startup() + settings.decision_delay);
        let step_s = settings.step.as_secs_f64().max(1e-3);
        // As LeadTime::steps: the step in which a replica ordered now becomes ready.
        let steps = ((lead.as_secs_f64() + 1e-6) / step_s) as u32 + 1;
        if steps != self.lead_steps {
            self.lead_steps = steps;
            self.forecaster.set_lead_steps(steps);
        }
    }

    /// Takes a new spec. False: there is no such model.
    fn respecify(&mut self, workload: &Arc<Workload>, settings: &ForecastSettings) -> bool {
        let model = &workload.spec.forecast.model;
        if *model != self.workload.spec.forecast.model {
            let Ok(fresh) = StoredForecaster::create(model, settings.step, self.lead_steps) else {
                return false;
            };
            self.forecaster = fresh;
        }
        let startup_changed = workload.spec.startup_seconds != self.workload.spec.startup_seconds;
        self.workload = Arc::clone(workload);
        if startup_changed {
            self.set_lead(settings, None);
        }
        true
    }

    fn lies_in_the_future(&self, now: Timestamp, step: Duration) -> bool {
        self.forecaster.grid().is_some_and(|grid| grid.last > now + step * FUTURE_STEPS)
    }

    /// Takes a sample; says what became of it, and the forecast if there is one to publish.
    fn learn(
        &mut self,
        sample: &Sample,
        now: Timestamp,
        settings: &ForecastSettings,
    ) -> (&'static str, Option<Forecast>) {
        let step = settings.step;
        if sample.at > now + step * FUTURE_STEPS {
            return ("future", None);
        }
        let grid = self.forecaster.grid();
        let Some(demand) = sample.demand else {
            if grid.is_some_and(|grid| sample.at <= grid.last) {
                return ("duplicate", None);
            }
            self.forecaster.miss(sample.at);
            self.dirty = true;
            return ("absent", None);
        };
        let observed = if sample.censored {
            self.forecaster.observe_censored(sample.at, demand)
        } else {
            self.forecaster.observe(sample.at, demand)
        };
        match observed {
            Observed::Duplicate => return ("duplicate", None),
            Observed::Late => return ("late", None),
            Observed::Rejected => {
                self.dirty = true;
                return ("rejected", None);
            }
            Observed::Accepted { .. } => self.dirty = true,
        }
        let asked = self.workload.spec.forecast.horizon_seconds.unwrap_or(0.0) / step.as_secs_f64().max(1e-3);
        let horizon = (self.lead_steps as usize + 1).max(asked.ceil() as usize);
        match self.forecaster.forecast(horizon, step * settings.valid_steps) {
            Err(_) => (if sample.censored { "censored" } else { "not_ready" }, None),
            Ok(forecast) if forecast.expired(now) => ("expired", None),
            Ok(mut forecast) => {
                forecast.workload = Some(self.workload.id.clone());
                (if sample.censored { "censored" } else { "forecast" }, Some(forecast))
            }
        }
    }
}

/// A model for a workload: as saved, else taught from history, else empty.
fn adopt(
    settings: &ForecastSettings,
    adoption: Adoption,
    now: Timestamp,
    out: &mut Outcome,
) -> Option<Tracked> {
    let Adoption { key, workload, state, history, lead } = adoption;
    let model = &workload.spec.forecast.model;
    let mut forecaster = match StoredForecaster::create(model, settings.step, 1) {
        Ok(forecaster) => forecaster,
        Err(error) => {
            out.notes.push(format!("{}: {error}", workload.id));
            return None;
        }
    };
    let mut how = "cold";
    if let Some(state) = state {
        match StoredForecaster::restore(&state, model, settings.step) {
            Ok(restored) => (forecaster, how) = (restored, "restored"),
            Err(error) => out.notes.push(format!("{}: {error}", workload.id)),
        }
    }
    let mut tracked = Tracked { workload, forecaster, lead_steps: 0, dirty: false };
    tracked.set_lead(settings, lead);
    // Another moment to refit for each workload; which one does not matter.
    let phase = key.iter().fold(0usize, |sum, byte| sum.wrapping_mul(31).wrapping_add(usize::from(*byte)));
    if how == "cold" {
        tracked.forecaster.stagger_refits(phase % 4096);
    }
    if how == "cold" || tracked.lies_in_the_future(now, settings.step) {
        if how == "restored" {
            out.notes
                .push(format!("{}: the saved model lies in the future; it starts anew", tracked.workload.id));
            let model = &tracked.workload.spec.forecast.model;
            tracked.forecaster = StoredForecaster::create(model, settings.step, tracked.lead_steps).ok()?;
            how = "cold";
        }
        let known = history.unwrap_or_default();
        for (at, value) in known.into_iter().filter(|(at, _)| *at <= now) {
            match value {
                Some(value) => {
                    tracked.forecaster.observe(at, value);
                    how = "backfilled";
                }
                None => tracked.forecaster.miss(at),
            }
        }
        tracked.dirty = how == "backfilled";
    }
    *out.counts.entry(how).or_default() += 1;
    Some(tracked)
}
