//! What will each workload's demand be, and who needs to know?
//!
//! The forecast stage: reads samples, teaches one model per workload, publishes forecasts, keeps model state in the
//! store. It owns the workloads of its partitions; more processes share them by the consumer group, and state moves
//! with its partition.
//!
//! ```text
//!              records, by partition        publish, then save
//!  consumer ──► router ──► worker threads ──► publisher ──► done: commit, release
//!                 │ adopts: state from the store, else history from the metric source
//! ```
//!
//! Workers compute and do nothing else (module `shard`); everything between is bounded, so a slow bus or store slows the
//! reading down instead of filling memory. When the store fails, forecasts go on; only positions stay
//! uncommitted, so nothing learnt is lost.

mod publisher;
mod shard;
#[cfg(test)]
mod tests;

pub use shard::{ForecastSettings, VALID_STEPS};

use crate::bus::{Bus, BusError, Consumer, Delivery, Event, Partition, Subscription, Topic};
use crate::clock::Clock;
use crate::metrics::{Metrics, Stage};
use crate::retry;
use crate::source::{History, MetricSource};
use crate::stage::StageError;
use crate::store::{Slot, Store};
use crate::workload::{Workload, Workloads};
use bytes::Bytes;
use publisher::{Done, Publisher};
use shard::{Adoption, Job, Saved, Shard, TICK};
use sphere_core::{Timestamp, WorkloadId};
use std::collections::{BTreeSet, HashMap, HashSet};
use std::sync::Arc;
use std::time::{Duration, Instant};
use tokio::sync::{mpsc, watch};
use tokio_util::sync::CancellationToken;
use tracing::{info, warn};

/// Batches under way per worker, before and after it.
const QUEUE: usize = 4;
/// Longest time to save and commit when stopping or handing over.
const GRACE: Duration = Duration::from_secs(20);
/// How often measured lead times are read from the store.
const LEADS_EVERY: Duration = Duration::from_secs(60);
/// Workloads asked of the store at once.
const STORE_CHUNK: usize = 5000;
/// Longest time that taking workloads over waits for the store to give a part of their states: starting cold costs
/// more than a few late forecasts.
const STATE_PATIENCE: Duration = Duration::from_secs(5);
/// The same for lead times: the last ones known, or the one of the spec, serve as well.
const LEAD_PATIENCE: Duration = Duration::from_secs(1);

/// The stage and what it works with.
pub struct ForecastStage {
    /// Where samples come from and forecasts go to.
    pub bus: Arc<dyn Bus>,
    /// Where model state is.
    pub store: Arc<dyn Store>,
    /// Where history comes from, for models without state.
    pub source: Option<Arc<dyn MetricSource>>,
    /// Which workloads there are.
    pub workloads: watch::Receiver<Arc<Workloads>>,
    /// The time.
    pub clock: Clock,
    /// Settings.
    pub settings: ForecastSettings,
    /// What it did.
    pub metrics: Arc<Metrics>,
}

struct Worker {
    jobs: mpsc::Sender<Job>,
    saved: std::sync::mpsc::Sender<Saved>,
}

struct Running {
    stage: ForecastStage,
    workers: Vec<Worker>,
    known: HashMap<Partition, HashSet<Bytes>>,
    /// Revoked partitions whose release is not complete yet.
    releasing: BTreeSet<Partition>,
    revoked: Vec<Partition>,
    held: Vec<usize>,
}

impl ForecastStage {
    /// Runs until `stop`; then saves, commits and leaves the group.
    pub async fn run(self, stop: CancellationToken) -> Result<(), StageError> {
        let subscription = Subscription {
            group: self.settings.group.clone(),
            topics: vec![Topic::Metrics],
            max_records: self.settings.max_records,
        };
        let bus = Arc::clone(&self.bus);
        let metrics = Arc::clone(&self.metrics);
        let joined = retry::until_done(
            &stop,
            BusError::is_transient,
            |error| {
                warn!(%error, "forecast: the bus can not be joined yet");
                metrics.error(Stage::Forecast, "bus", "subscribe");
            },
            || bus.subscribe(subscription.clone()),
        )
        .await;
        let Some(consumer) = joined else { return Ok(()) };
        let consumer = consumer?;

        let (outcomes, inbox) = mpsc::channel(QUEUE);
        // Holds no more than the batches under way, which are bounded.
        let (done, dones) = mpsc::unbounded_channel();
        let settings = Arc::new(self.settings.clone());
        let workers: Vec<Worker> = (0..self.settings.workers.max(1))
            .map(|number| spawn_worker(number, Arc::clone(&settings), outcomes.clone()))
            .collect::<Result<_, _>>()?;
        drop(outcomes);
        let abandon = CancellationToken::new();
        let publisher = Publisher {
            bus: Arc::clone(&self.bus),
            store: Arc::clone(&self.store),
            clock: self.clock.clone(),
            metrics: Arc::clone(&self.metrics),
            abandon: abandon.clone(),
        };
        let publishing = tokio::spawn(publisher.run(inbox, done));
        let held = vec![0; workers.len()];
        let mut running = Running {
            stage: self,
            workers,
            known: HashMap::new(),
            releasing: BTreeSet::new(),
            revoked: Vec::new(),
            held,
        };
        let result = running.serve(consumer, dones, &stop, &abandon).await;
        abandon.cancel();
        drop(running);
        let _ = publishing.await;
        result
    }
}

fn spawn_worker(
    number: usize,
    settings: Arc<ForecastSettings>,
    outcomes: mpsc::Sender<(usize, shard::Outcome)>,
) -> Result<Worker, StageError> {
    let (jobs, mut inbox) = mpsc::channel::<Job>(QUEUE);
    let (saved, feedback) = std::sync::mpsc::channel();
    std::thread::Builder::new()
        .name(format!("forecast-{number}"))
        .spawn(move || {
            let mut shard = Shard::new(settings);
            while let Some(job) = inbox.blocking_recv() {
                let outcome = shard.handle(job, feedback.try_iter(), Instant::now());
                if outcomes.blocking_send((number, outcome)).is_err() {
                    return;
                }
            }
        })
        .map_err(|error| StageError::Failed(format!("a worker thread can not be started: {error}")))?;
    Ok(Worker { jobs, saved })
}

impl Running {
    async fn serve(
        &mut self,
        mut consumer: Box<dyn Consumer>,
        mut dones: mpsc::UnboundedReceiver<Done>,
        stop: &CancellationToken,
        abandon: &CancellationToken,
    ) -> Result<(), StageError> {
        let mut tick = tokio::time::interval(TICK);
        tick.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        let mut leads = tokio::time::interval(self.stage.clock.real(LEADS_EVERY));
        leads.reset();
        loop {
            tokio::select! {
                () = stop.cancelled() => break,
                done = dones.recv() => match done {
                    Some(done) => self.finish(done, consumer.as_mut()).await?,
                    None => return Err(StageError::Failed("the publisher has ended".into())),
                },
                event = consumer.next() => match event {
                    Ok(event) => self.take(event, consumer.as_mut()).await?,
                    Err(error) if error.is_transient() => {
                        warn!(%error, "forecast: reading");
                        self.stage.metrics.error(Stage::Forecast, "bus", "read");
                        tokio::time::sleep(Duration::from_millis(200)).await;
                    }
                    Err(error) => return Err(error.into()),
                },
                _ = tick.tick() => {
                    for worker in &self.workers {
                        // A worker with work to do advances its checkpoints anyway.
                        let _ = worker.jobs.try_send(Job::Tick);
                    }
                }
                _ = leads.tick() => self.read_leads().await?,
                // A fixed list has no sender; then this branch is off.
                Ok(()) = self.stage.workloads.changed() => self.update_workloads().await?,
            }
        }
        self.stop(consumer, dones, abandon).await
    }

    /// Saves everything, commits, leaves.
    async fn stop(
        &mut self,
        mut consumer: Box<dyn Consumer>,
        mut dones: mpsc::UnboundedReceiver<Done>,
        abandon: &CancellationToken,
    ) -> Result<(), StageError> {
        let all: Vec<Partition> = self.known.keys().copied().collect();
        let deadline = tokio::time::Instant::now() + GRACE;
        let drained = tokio::time::timeout_at(deadline, async {
            self.release(all).await?;
            while !self.releasing.is_empty() {
                match dones.recv().await {
                    Some(done) => self.finish(done, consumer.as_mut()).await?,
                    None => break,
                }
            }
            Ok::<(), StageError>(())
        })
        .await;
        abandon.cancel();
        match drained {
            Ok(result) => result?,
            Err(_) => warn!(
                "forecast: not all state could be saved within {} s; what is missing is read again from the bus",
                GRACE.as_secs()
            ),
        }
        consumer.close().await?;
        info!("forecast: stopped");
        Ok(())
    }

    fn worker_of(&self, partition: Partition) -> usize {
        partition.number as usize % self.workers.len()
    }

    async fn send(&self, worker: usize, job: Job) -> Result<(), StageError> {
        let sent = self.workers[worker].jobs.send(job).await;
        sent.map_err(|_| StageError::Failed("a worker thread has ended".into()))
    }

    async fn take(&mut self, event: Event, consumer: &mut dyn Consumer) -> Result<(), StageError> {
        match event {
            Event::Assigned(partitions) => {
                info!(partitions = %list(&partitions), "forecast: assigned");
                for partition in partitions {
                    self.known.insert(partition, HashSet::new());
                }
            }
            Event::Revoked(partitions) => {
                info!(partitions = %list(&partitions), "forecast: handing over");
                self.revoked.extend(&partitions);
                self.release(partitions).await?;
                if self.releasing.is_empty() {
                    self.hand_over(consumer).await?;
                }
            }
            Event::Lost(partitions) => {
                warn!(partitions = %list(&partitions), "forecast: lost; their state is dropped");
                self.stage.metrics.error(Stage::Forecast, "bus", "partitions_lost");
                for partition in partitions {
                    self.known.remove(&partition);
                    self.releasing.remove(&partition);
                    self.revoked.retain(|p| *p != partition);
                    let job = Job::Drop { partitions: vec![partition] };
                    self.send(self.worker_of(partition), job).await?;
                }
            }
            Event::Records(records) => self.dispatch(records).await?,
        }
        Ok(())
    }

    async fn release(&mut self, partitions: Vec<Partition>) -> Result<(), StageError> {
        for partition in partitions {
            if self.known.remove(&partition).is_some() {
                self.releasing.insert(partition);
                let job = Job::Release { partitions: vec![partition] };
                self.send(self.worker_of(partition), job).await?;
            }
        }
        Ok(())
    }

    async fn hand_over(&mut self, consumer: &mut dyn Consumer) -> Result<(), StageError> {
        let partitions = std::mem::take(&mut self.revoked);
        if !partitions.is_empty() {
            consumer.release(&partitions).await?;
        }
        Ok(())
    }

    async fn dispatch(&mut self, records: Vec<Delivery>) -> Result<(), StageError> {
        self.adopt_new(&records).await?;
        let mut batches: Vec<Vec<Delivery>> = self.workers.iter().map(|_| Vec::new()).collect();
        for record in records {
            let worker = self.worker_of(record.partition);
            batches[worker].push(record);
        }
        let now = self.stage.clock.now();
        for (worker, records) in batches.into_iter().enumerate() {
            if !records.is_empty() {
                self.send(worker, Job::Records { records, now }).await?;
            }
        }
        Ok(())
    }

    /// Gives workers the models of workloads that come for the first time.
    async fn adopt_new(&mut self, records: &[Delivery]) -> Result<(), StageError> {
        let specs = self.stage.workloads.borrow().clone();
        let mut new: Vec<(Partition, Bytes, Arc<Workload>)> = Vec::new();
        for record in records {
            let known = self.known.entry(record.partition).or_default();
            if known.contains(&record.key) {
                continue;
            }
            if let Some(workload) = std::str::from_utf8(&record.key).ok().and_then(|key| specs.get(key)) {
                known.insert(record.key.clone());
                new.push((record.partition, record.key.clone(), Arc::clone(workload)));
            }
        }
        if new.is_empty() { Ok(()) } else { self.adopt(new, true).await }
    }

    async fn adopt(
        &mut self,
        new: Vec<(Partition, Bytes, Arc<Workload>)>,
        with_state: bool,
    ) -> Result<(), StageError> {
        let ids: Vec<WorkloadId> = new.iter().map(|(_, _, workload)| workload.id.clone()).collect();
        let mut states = if with_state {
            self.read(Slot::State, &ids, STATE_PATIENCE).await
        } else {
            vec![None; ids.len()]
        };
        let leads = self.read(Slot::Lead, &ids, LEAD_PATIENCE).await;
        let without: Vec<Arc<Workload>> = new
            .iter()
            .zip(&states)
            .filter(|(_, state)| state.is_none())
            .map(|((_, _, workload), _)| Arc::clone(workload))
            .collect();
        let mut histories = self.backfill(&without).await.into_iter();
        let mut by_partition: HashMap<Partition, Vec<Adoption>> = HashMap::new();
        for (i, (partition, key, workload)) in new.into_iter().enumerate() {
            let state = states[i].take();
            let history = if state.is_none() { histories.next().flatten() } else { None };
            let lead = leads[i].as_deref().and_then(parse_lead);
            by_partition.entry(partition).or_default().push(Adoption { key, workload, state, history, lead });
        }
        let now = self.stage.clock.now();
        for (partition, adoptions) in by_partition {
            self.send(self.worker_of(partition), Job::Adopt { partition, adoptions, now }).await?;
        }
        Ok(())
    }

    /// What the store has; absent where it has nothing or does not answer in time. Samples wait meanwhile, so a store
    /// that let one part wait for all of `patience` is not asked for the rest.
    async fn read(&self, slot: Slot, ids: &[WorkloadId], patience: Duration) -> Vec<Option<Bytes>> {
        let mut found = Vec::with_capacity(ids.len());
        for chunk in ids.chunks(STORE_CHUNK) {
            let stop = CancellationToken::new();
            let asked = retry::until_done(
                &stop,
                |error: &crate::StoreError| error.is_transient(),
                |error| warn!(%error, "forecast: reading {}", slot.name()),
                || self.stage.store.get(slot, chunk),
            );
            match tokio::time::timeout(patience, asked).await {
                Ok(Some(Ok(values))) => found.extend(values),
                Ok(Some(Err(error))) => {
                    warn!(%error, "forecast: reading {}", slot.name());
                    self.stage.metrics.error(Stage::Forecast, "store", "read");
                    found.resize(found.len() + chunk.len(), None);
                }
                Ok(None) | Err(_) => {
                    warn!("forecast: the store gave no {} within {patience:?}", slot.name());
                    self.stage.metrics.error(Stage::Forecast, "store", "read");
                    found.resize(ids.len(), None);
                    break;
                }
            }
        }
        found
    }

    /// Past demand, as far as the metric source has it in time.
    async fn backfill(&self, workloads: &[Arc<Workload>]) -> Vec<Option<History>> {
        let settings = &self.stage.settings;
        let Some(source) = self.stage.source.as_ref().filter(|_| !settings.backfill.is_zero()) else {
            return vec![None; workloads.len()];
        };
        if workloads.is_empty() {
            return Vec::new();
        }
        let started = Instant::now();
        // The step that has just ended comes as a sample: with it the first forecast goes out.
        let to = grid_before(self.stage.clock.now(), settings.step) - settings.step;
        let asked = source.history(workloads, to - settings.backfill, to, settings.step);
        match tokio::time::timeout(settings.backfill_timeout, asked).await {
            Ok(histories) => {
                let found = histories.iter().filter(|h| h.is_ok()).count();
                info!(asked = workloads.len(), found, took = ?started.elapsed(), "forecast: history read");
                if let Some(error) = histories.iter().find_map(|h| h.as_ref().err()) {
                    warn!(%error, "forecast: history missing; these models start cold");
                }
                histories.into_iter().map(Result::ok).collect()
            }
            Err(_) => {
                warn!(
                    "forecast: no history within {:?}; {} models start cold",
                    settings.backfill_timeout,
                    workloads.len()
                );
                self.stage.metrics.error(Stage::Forecast, source.name(), "backfill_timeout");
                vec![None; workloads.len()]
            }
        }
    }

    async fn read_leads(&mut self) -> Result<(), StageError> {
        let specs = self.stage.workloads.borrow().clone();
        let known = self.known.values().flatten();
        let ours: Vec<(Bytes, WorkloadId)> = known
            .filter_map(|key| Some((key.clone(), specs.get(std::str::from_utf8(key).ok()?)?.id.clone())))
            .collect();
        let ids: Vec<WorkloadId> = ours.iter().map(|(_, id)| id.clone()).collect();
        let found = self.read(Slot::Lead, &ids, LEAD_PATIENCE).await;
        let leads: Vec<(Bytes, Duration)> = ours
            .into_iter()
            .zip(found)
            .filter_map(|((key, _), value)| Some((key, parse_lead(value.as_deref()?)?)))
            .collect();
        if !leads.is_empty() {
            for worker in 0..self.workers.len() {
                self.send(worker, Job::Leads { leads: leads.clone() }).await?;
            }
        }
        Ok(())
    }

    async fn update_workloads(&mut self) -> Result<(), StageError> {
        let specs = self.stage.workloads.borrow_and_update().clone();
        for known in self.known.values_mut() {
            known.retain(|key| std::str::from_utf8(key).is_ok_and(|key| specs.get(key).is_some()));
        }
        for worker in 0..self.workers.len() {
            self.send(worker, Job::Update { workloads: Arc::clone(&specs) }).await?;
        }
        Ok(())
    }

    /// Commits and hands over what a finished outcome allows.
    async fn finish(&mut self, done: Done, consumer: &mut dyn Consumer) -> Result<(), StageError> {
        let Done { worker, fatal, commits, saved, released, reload, workloads } = done;
        if let Some(error) = fatal {
            return Err(error);
        }
        for saved in saved {
            // The worker is gone only when the stage is.
            let _ = self.workers[worker].saved.send(saved);
        }
        let commits: Vec<(Partition, i64)> = commits
            .into_iter()
            .filter(|(partition, _)| self.known.contains_key(partition) || self.releasing.contains(partition))
            .collect();
        if !commits.is_empty() {
            match consumer.commit(&commits).await {
                Ok(()) => {}
                // The records are read again by their new owner; state already knows them.
                Err(BusError::NotOwner { partition }) => warn!(%partition, "forecast: committed too late"),
                Err(error) if error.is_transient() => {
                    warn!(%error, "forecast: committing; the next checkpoint will");
                    self.stage.metrics.error(Stage::Forecast, "bus", "commit");
                }
                Err(error) => return Err(error.into()),
            }
        }
        for partition in released {
            self.releasing.remove(&partition);
        }
        if self.releasing.is_empty() {
            self.hand_over(consumer).await?;
        }
        let specs = self.stage.workloads.borrow().clone();
        let again: Vec<(Partition, Bytes, Arc<Workload>)> = reload
            .into_iter()
            .filter_map(|(partition, key)| {
                let workload = Arc::clone(specs.get(std::str::from_utf8(&key).ok()?)?);
                Some((partition, key, workload))
            })
            .collect();
        if !again.is_empty() {
            warn!(
                workloads = again.len(),
                "forecast: models lie in the future (a clock jumped); they start anew"
            );
            self.adopt(again, false).await?;
        }
        self.held[worker] = workloads;
        self.stage.metrics.workloads(Stage::Forecast, self.held.iter().sum());
        Ok(())
    }
}

/// The last instant of the grid not after `at`.
pub(crate) fn grid_before(at: Timestamp, step: Duration) -> Timestamp {
    let step_ms = i64::try_from(step.as_millis()).unwrap_or(i64::MAX).max(1);
    Timestamp(at.millis().div_euclid(step_ms) * step_ms)
}

fn parse_lead(bytes: &[u8]) -> Option<Duration> {
    let ms: u64 = std::str::from_utf8(bytes).ok()?.parse().ok()?;
    (ms <= 3_600_000).then(|| Duration::from_millis(ms))
}

fn list(partitions: &[Partition]) -> String {
    let mut names: Vec<String> = partitions.iter().map(ToString::to_string).collect();
    names.sort();
    names.join(" ")
}
