//! What did every workload do in the step that just ended?
//!
//! The collect stage: once per step it asks the metric source for all its workloads and publishes one sample each.
//! Steps it missed (the source or the bus was down, or it was itself) are filled from the source's history as soon
//! as that is possible, oldest first, so that models learn from what was measured and not from gaps.
//!
//! | case | what happens | counted as |
//! |---|---|---|
//! | measured | published | `sample` |
//! | the source says that there is no demand | published as absent | `absent` |
//! | an error for this workload | nothing; filled later if the source remembers | the error's label |
//! | a number that is none | as absent | `rejected` |
//! | bus slower than the steps | dropped when the queue is full; filled later | `dropped` |
//! | filled from history | published | `filled` |

use crate::bus::{Bus, BusError, Message};
use crate::clock::Clock;
use crate::forecast::grid_before;
use crate::metrics::{Metrics, Stage};
use crate::retry;
use crate::source::MetricSource;
use crate::stage::StageError;
use crate::store::{Slot, Store};
use crate::wire;
use crate::workload::{Workload, Workloads};
use sphere_core::{Sample, Timestamp, WorkloadId};
use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::{mpsc, watch};
use tokio_util::sync::CancellationToken;
use tracing::{info, warn};

/// Batches (of one step each) that may wait for the bus.
const QUEUE: usize = 8;
/// Longest time to publish what is queued when stopping.
const GRACE: Duration = Duration::from_secs(10);

/// One of several collectors that share the workloads.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Shard {
    /// Its number, from 0.
    pub number: u32,
    /// How many there are.
    pub of: u32,
}

impl Shard {
    /// Does this collector ask for the workload? Stable over processes and versions.
    pub fn owns(&self, id: &WorkloadId) -> bool {
        use std::hash::Hasher;
        let mut hasher = fnv::FnvHasher::default();
        hasher.write(id.to_string().as_bytes());
        hasher.finish() % u64::from(self.of.max(1)) == u64::from(self.number)
    }
}

/// What the collect stage is told.
#[derive(Clone, Debug, PartialEq)]
pub struct CollectSettings {
    /// Width of a step.
    pub step: Duration,
    /// Time after the end of a step at which it is asked for: scrapes need a moment.
    pub delay: Duration,
    /// Steps that are filled from history at most.
    pub fill_steps: u32,
    /// Which workloads are ours.
    pub shard: Shard,
}

impl Default for CollectSettings {
    fn default() -> Self {
        Self {
            step: Duration::from_secs(10),
            delay: Duration::ZERO,
            fill_steps: 60,
            shard: Shard { number: 0, of: 1 },
        }
    }
}

/// The stage and what it works with.
pub struct CollectStage {
    /// Where measurements come from.
    pub source: Arc<dyn MetricSource>,
    /// Where samples go.
    pub bus: Arc<dyn Bus>,
    /// Tells what was collected before a restart; without it a restart leaves a gap.
    pub store: Option<Arc<dyn Store>>,
    /// Which workloads there are.
    pub workloads: watch::Receiver<Arc<Workloads>>,
    /// The time.
    pub clock: Clock,
    /// Settings.
    pub settings: CollectSettings,
    /// What it did.
    pub metrics: Arc<Metrics>,
}

impl CollectStage {
    /// Runs until `stop`; then publishes what is queued.
    pub async fn run(self, stop: CancellationToken) -> Result<(), StageError> {
        let (queue, inbox) = mpsc::channel(QUEUE);
        let abandon = CancellationToken::new();
        let publishing = tokio::spawn(publish_all(
            Arc::clone(&self.bus),
            inbox,
            Arc::clone(&self.metrics),
            self.clock.clone(),
            abandon.clone(),
        ));
        let mut last = self.collected_before().await;
        let step = self.settings.step;
        let mut previous: Option<Timestamp> = None;
        loop {
            let now = self.clock.now();
            let mut at = grid_before(now - self.settings.delay, step);
            if previous.is_some_and(|done| at <= done) {
                let done = previous.unwrap_or_default();
                if done.since(at) > step * 2 {
                    warn!("collect: the clock went back; going on from there");
                    last.retain(|_, seen| *seen <= at);
                    previous = None;
                    continue;
                }
                at = done + step;
            }
            tokio::select! {
                () = self.clock.sleep_until(at + self.settings.delay) => {}
                () = stop.cancelled() => break,
            }
            // The clock may have jumped while we slept.
            if self.clock.now().since(at) > step * 2 {
                at = grid_before(self.clock.now() - self.settings.delay, step);
            }
            previous = Some(at);
            let batch = tokio::select! {
                batch = self.step(at, &last) => batch,
                () = stop.cancelled() => break,
            };
            if batch.is_empty() {
                continue;
            }
            let seen: Vec<(WorkloadId, Timestamp)> =
                batch.iter().map(|sample| (sample.workload.clone(), sample.at)).collect();
            let samples = seen.len() as u64;
            match queue.try_send(batch) {
                Ok(()) => last.extend(seen),
                Err(mpsc::error::TrySendError::Full(_)) => {
                    warn!(samples, "collect: the bus is too slow; these steps are filled from history later");
                    self.metrics.count(Stage::Collect, "dropped", samples);
                }
                Err(mpsc::error::TrySendError::Closed(_)) => break,
            }
        }
        drop(queue);
        let mut publishing = publishing;
        let ended = tokio::time::timeout(GRACE, &mut publishing).await;
        abandon.cancel();
        let result = match ended {
            Ok(joined) => joined,
            Err(_) => publishing.await,
        };
        info!("collect: stopped");
        result.unwrap_or_else(|error| Err(StageError::Failed(error.to_string())))
    }

    fn ours(&self) -> Vec<Arc<Workload>> {
        let workloads = self.workloads.borrow().clone();
        workloads.all().iter().filter(|w| self.settings.shard.owns(&w.id)).cloned().collect()
    }

    /// Newest sample per workload that made it into the store before we started.
    async fn collected_before(&self) -> HashMap<WorkloadId, Timestamp> {
        let Some(store) = &self.store else { return HashMap::new() };
        let ids: Vec<WorkloadId> = self.ours().iter().map(|w| w.id.clone()).collect();
        match tokio::time::timeout(Duration::from_secs(5), store.get(Slot::Sample, &ids)).await {
            Ok(Ok(samples)) => samples
                .iter()
                .flatten()
                .filter_map(|bytes| wire::from_json::<Sample>(bytes).ok())
                .map(|sample| (sample.workload, sample.at))
                .collect(),
            Ok(Err(error)) => {
                warn!(%error, "collect: what was collected before is not known; a gap may remain");
                HashMap::new()
            }
            Err(_) => {
                warn!("collect: the store does not answer; a gap may remain");
                HashMap::new()
            }
        }
    }

    /// Samples of one step, after those of the steps missed before it.
    async fn step(&self, at: Timestamp, last: &HashMap<WorkloadId, Timestamp>) -> Vec<Sample> {
        let workloads = self.ours();
        self.metrics.workloads(Stage::Collect, workloads.len());
        let patience = self.clock.real(self.settings.step).mul_f64(0.9);
        let Ok(samples) = tokio::time::timeout(patience, self.source.samples(&workloads, at)).await else {
            warn!(source = self.source.name(), "collect: no answer within {patience:?}");
            self.metrics.error(Stage::Collect, self.source.name(), "timeout");
            return Vec::new();
        };
        let mut current = Vec::with_capacity(samples.len());
        let mut behind = Vec::new();
        let mut told = false;
        for (workload, sample) in workloads.into_iter().zip(samples) {
            match sample {
                Ok(mut sample) => {
                    if let Err(error) = sample.validate() {
                        warn!(workload = %workload.id, %error, "collect: a number that is none");
                        self.metrics.count(Stage::Collect, "rejected", 1);
                        sample.demand = None;
                        sample.capacity_per_pod = None;
                    }
                    if last.get(&workload.id).is_some_and(|seen| at.since(*seen) > self.settings.step) {
                        behind.push(workload);
                    }
                    let outcome = if sample.demand.is_some() { "sample" } else { "absent" };
                    self.metrics.count(Stage::Collect, outcome, 1);
                    current.push(sample);
                }
                Err(error) => {
                    if !told {
                        warn!(workload = %workload.id, %error, "collect");
                        told = true;
                    }
                    self.metrics.count(Stage::Collect, error.label(), 1);
                }
            }
        }
        let mut batch = self.fill(&behind, at, last, patience).await;
        batch.append(&mut current);
        batch
    }

    /// Samples of missed steps, oldest first.
    async fn fill(
        &self,
        behind: &[Arc<Workload>],
        at: Timestamp,
        last: &HashMap<WorkloadId, Timestamp>,
        patience: Duration,
    ) -> Vec<Sample> {
        let step = self.settings.step;
        let Some(oldest) = behind.iter().filter_map(|w| last.get(&w.id)).min() else { return Vec::new() };
        let from = (*oldest).max(at - step * self.settings.fill_steps);
        let asked = self.source.history(behind, from, at - step, step);
        let Ok(histories) = tokio::time::timeout(patience, asked).await else {
            self.metrics.error(Stage::Collect, self.source.name(), "fill_timeout");
            return Vec::new();
        };
        let mut filled: Vec<Sample> = Vec::new();
        for (workload, history) in behind.iter().zip(histories) {
            let Some(seen) = last.get(&workload.id) else { continue };
            for (at, demand) in history.unwrap_or_default().into_iter().filter(|(at, _)| at > seen) {
                let Some(demand) = demand.filter(|d| d.is_finite() && *d >= 0.0) else { continue };
                filled.push(Sample {
                    workload: workload.id.clone(),
                    at,
                    demand: Some(demand),
                    capacity_per_pod: None,
                    replicas: None,
                    ready: None,
                    censored: false,
                    memory_bytes: None,
                    source: format!("{}-history", self.source.name()),
                });
            }
        }
        filled.sort_by_key(|sample| sample.at);
        if !filled.is_empty() {
            info!(
                samples = filled.len(),
                workloads = behind.len(),
                "collect: missed steps filled from history"
            );
            self.metrics.count(Stage::Collect, "filled", filled.len() as u64);
        }
        filled
    }
}

async fn publish_all(
    bus: Arc<dyn Bus>,
    mut inbox: mpsc::Receiver<Vec<Sample>>,
    metrics: Arc<Metrics>,
    clock: Clock,
    abandon: CancellationToken,
) -> Result<(), StageError> {
    while let Some(batch) = inbox.recv().await {
        let messages: Vec<Message> = batch.iter().map(wire::encode).collect();
        let published = retry::until_done(
            &abandon,
            BusError::is_transient,
            |error| {
                warn!(%error, "collect: publishing");
                metrics.error(Stage::Collect, "bus", "publish");
            },
            || bus.publish(messages.clone()),
        )
        .await;
        match published {
            None => return Ok(()),
            Some(Err(error)) => return Err(error.into()),
            Some(Ok(())) => {
                metrics.count(Stage::Collect, "published", batch.len() as u64);
                metrics.success(Stage::Collect, clock.now());
            }
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_workload_has_exactly_one_collector() {
        let shards: Vec<Shard> = (0..3).map(|number| Shard { number, of: 3 }).collect();
        let mut sizes = [0; 3];
        for i in 0..3000 {
            let id = WorkloadId::new("shop", "Deployment", &format!("w-{i}")).unwrap();
            let owners: Vec<usize> = (0..3).filter(|&k| shards[k].owns(&id)).collect();
            assert_eq!(owners.len(), 1);
            sizes[owners[0]] += 1;
        }
        assert!(sizes.iter().all(|size| (900..1100).contains(size)), "{sizes:?}");
    }
}
