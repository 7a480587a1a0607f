//! In which order do a worker's results become visible?
//!
//! Publish, then save, then say that positions may be committed. One outcome at a time, so that order per workload
//! is kept. A bus that fails is asked again until it works (reading stands still meanwhile); a store that fails costs
//! only the checkpoint.

use super::shard::{Outcome, Save, Saved};
use crate::bus::{Bus, BusError, Message, Partition};
use crate::clock::Clock;
use crate::metrics::{Metrics, Stage};
use crate::retry;
use crate::stage::StageError;
use crate::store::{Put, Slot, Store};
use crate::wire::{self, CUT_DEAD_LETTER};
use bytes::Bytes;
use std::collections::HashSet;
use std::sync::Arc;
use std::time::{Duration, Instant};
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;
use tracing::{info, warn};

/// What became of an outcome.
#[derive(Debug, Default)]
pub(super) struct Done {
    pub worker: usize,
    pub fatal: Option<StageError>,
    pub commits: Vec<(Partition, i64)>,
    pub saved: Vec<Saved>,
    pub released: Vec<Partition>,
    pub reload: Vec<(Partition, Bytes)>,
    pub workloads: usize,
}

pub(super) struct Publisher {
    pub bus: Arc<dyn Bus>,
    pub store: Arc<dyn Store>,
    pub clock: Clock,
    pub metrics: Arc<Metrics>,
    /// Gives up what is under way.
    pub abandon: CancellationToken,
}

/// Longest time spent on saving one part before it counts as failed.
const SAVE_PATIENCE: Duration = Duration::from_secs(5);
/// After a failed save the store is left alone for this long: what is to be saved fails at once, so that forecasts
/// do not wait for a store that is not there.
const SAVE_PAUSE: Duration = Duration::from_secs(5);
/// Longest time for the first save after that.
const SAVE_AGAIN_PATIENCE: Duration = Duration::from_millis(500);

/// What is known about saving.
#[derive(Default)]
struct Saving {
    /// Partitions with a failed part in the checkpoint under way: its end commits nothing.
    spoilt: HashSet<(Partition, u64)>,
    /// The last save failed at this instant.
    failed_at: Option<Instant>,
}

impl Publisher {
    pub async fn run(self, mut inbox: mpsc::Receiver<(usize, Outcome)>, done: mpsc::UnboundedSender<Done>) {
        let mut saving = Saving::default();
        while let Some((worker, outcome)) = inbox.recv().await {
            let result = self.one(worker, outcome, &mut saving).await;
            let (message, ends) = match result {
                Ok(message) => (message, false),
                Err(fatal) => (Done { worker, fatal: Some(fatal), ..Done::default() }, true),
            };
            if done.send(message).is_err() || ends {
                return;
            }
        }
    }

    async fn one(&self, worker: usize, outcome: Outcome, saving: &mut Saving) -> Result<Done, StageError> {
        self.count(&outcome);
        let Outcome { messages, taken_in, saves, handled, released, reload, workloads, .. } = outcome;
        if !messages.is_empty() && !self.publish(messages).await? {
            return Err(StageError::Failed("stopped while the bus was unreachable".into()));
        }
        if !taken_in.is_empty() {
            let now = self.clock.now();
            self.metrics.success(Stage::Forecast, now);
            for at in taken_in {
                self.metrics.delay(Stage::Forecast, now.since(at));
            }
        }
        let mut done = Done { worker, released, reload, workloads, ..Done::default() };
        let durable = self.bus.survives_restart();
        if !durable {
            done.commits.extend(handled);
        }
        for save in saves {
            let (partition, checkpoint, commit) = (save.partition, save.checkpoint, save.commit);
            let failed = self.save(save, &mut saving.failed_at).await;
            if !failed.is_empty() {
                saving.spoilt.insert((partition, checkpoint));
            }
            done.saved.push(Saved { partition, checkpoint, failed, complete: commit.is_some() });
            if let Some(position) = commit
                && !saving.spoilt.remove(&(partition, checkpoint))
                && durable
            {
                done.commits.push((partition, position));
            }
        }
        Ok(done)
    }

    fn count(&self, outcome: &Outcome) {
        for (name, count) in &outcome.counts {
            self.metrics.count(Stage::Forecast, name, *count);
        }
        for why in &outcome.unreadable {
            warn!(reason = why.name(), detail = %why, "forecast: unreadable record, kept in the dead letters");
            self.metrics.unreadable(crate::Topic::Metrics, why.name());
        }
        for note in &outcome.notes {
            info!("forecast: {note}");
        }
        self.metrics.busy(Stage::Forecast, outcome.busy);
    }

    /// False: abandoned.
    async fn publish(&self, mut messages: Vec<Message>) -> Result<bool, StageError> {
        loop {
            let published = retry::until_done(
                &self.abandon,
                BusError::is_transient,
                |error| {
                    warn!(%error, "forecast: publishing");
                    self.metrics.error(Stage::Forecast, "bus", "publish");
                },
                || self.bus.publish(messages.clone()),
            )
            .await;
            match published {
                None => return Ok(false),
                Some(Ok(())) => return Ok(true),
                Some(Err(BusError::TooLarge { bytes })) => {
                    warn!(bytes, "forecast: the bus refuses a record for its size; dead letters are cut");
                    messages = shrink(messages, bytes);
                }
                Some(Err(error)) => return Err(error.into()),
            }
        }
    }

    /// The keys that could not be saved.
    async fn save(&self, save: Save, failed_at: &mut Option<Instant>) -> Vec<Bytes> {
        if save.states.is_empty() {
            return Vec::new();
        }
        let (keys, puts): (Vec<Bytes>, Vec<Put>) = save
            .states
            .into_iter()
            .map(|(key, workload, value)| (key, Put { workload, slot: Slot::State, value, expires_in: None }))
            .unzip();
        let patience = match *failed_at {
            Some(at) if at.elapsed() < SAVE_PAUSE => return keys,
            Some(_) => SAVE_AGAIN_PATIENCE,
            None => SAVE_PATIENCE,
        };
        let saving = retry::until_done(
            &self.abandon,
            |error: &crate::StoreError| error.is_transient(),
            |error| warn!(%error, "forecast: saving state"),
            || self.store.put(puts.clone()),
        );
        match tokio::time::timeout(patience, saving).await {
            Ok(Some(Ok(()))) => {
                *failed_at = None;
                self.metrics.count(Stage::Forecast, "state_saved", keys.len() as u64);
                Vec::new()
            }
            failed => {
                if let Ok(Some(Err(error))) = failed {
                    warn!(%error, "forecast: saving state");
                }
                *failed_at = Some(Instant::now());
                self.metrics.error(Stage::Forecast, "store", "save");
                keys
            }
        }
    }
}

/// Cuts dead letters; drops what is as large as what was refused and can not be cut.
fn shrink(messages: Vec<Message>, refused_bytes: usize) -> Vec<Message> {
    let is_letter = |m: &Message| matches!(m.topic, crate::Topic::MetricsDlq | crate::Topic::PredictionsDlq);
    messages
        .into_iter()
        .filter_map(|message| {
            if is_letter(&message) && message.payload.len() > CUT_DEAD_LETTER {
                Some(wire::cut(message))
            } else if message.payload.len() >= refused_bytes {
                None
            } else {
                Some(message)
            }
        })
        .collect()
}
