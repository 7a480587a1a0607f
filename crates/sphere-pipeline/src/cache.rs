//! Where does the autoscaler find the newest forecast, without reading a log?
//!
//! The cache stage: keeps the newest forecast and the newest sample of every workload in the store and announces
//! new forecasts. A forecast expires in the store when it may no longer be used. An older record never replaces a
//! newer one, also when a log is read again.

use crate::bus::{Bus, BusError, Consumer, Delivery, Event, Partition, Subscription, Topic};
use crate::clock::Clock;
use crate::metrics::{Metrics, Stage};
use crate::retry;
use crate::stage::StageError;
use crate::store::{Put, Slot, Store, StoreError};
use crate::wire::{self, CUT_DEAD_LETTER, Record, Unreadable};
use bytes::Bytes;
use sphere_core::{Forecast, Sample, Timestamp, WorkloadId};
use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;
use tokio_util::sync::CancellationToken;
use tracing::{info, warn};

/// How often positions are committed: what is read again after a crash changes nothing.
const COMMIT_EVERY: Duration = Duration::from_millis(500);

/// What the cache stage is told.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CacheSettings {
    /// Consumer group.
    pub group: String,
    /// Most records taken at once.
    pub max_records: usize,
}

impl Default for CacheSettings {
    fn default() -> Self {
        Self { group: "sphere-cache".into(), max_records: 1000 }
    }
}

/// The stage and what it works with.
pub struct CacheStage {
    /// Where forecasts and samples come from.
    pub bus: Arc<dyn Bus>,
    /// Where they go.
    pub store: Arc<dyn Store>,
    /// The time.
    pub clock: Clock,
    /// Settings.
    pub settings: CacheSettings,
    /// What it did.
    pub metrics: Arc<Metrics>,
}

/// A record as it is kept: whose, from when, and its bytes as they came.
struct Kept {
    workload: WorkloadId,
    at: Timestamp,
    value: Bytes,
    expires_in: Option<Duration>,
    taken_in: Timestamp,
}

#[derive(Default)]
struct Progress {
    /// Newest instant kept, per partition and workload.
    newest: HashMap<Partition, HashMap<WorkloadId, Timestamp>>,
    /// Positions to commit.
    positions: HashMap<Partition, i64>,
}

impl CacheStage {
    /// Runs until `stop`; then commits and leaves the group.
    pub async fn run(self, stop: CancellationToken) -> Result<(), StageError> {
        let topics = vec![Topic::Predictions, Topic::Metrics];
        let subscription = Subscription {
            group: self.settings.group.clone(),
            topics,
            max_records: self.settings.max_records,
        };
        let joined = retry::until_done(
            &stop,
            BusError::is_transient,
            |error| {
                warn!(%error, "cache: the bus can not be joined yet");
                self.metrics.error(Stage::Cache, "bus", "subscribe");
            },
            || self.bus.subscribe(subscription.clone()),
        )
        .await;
        let Some(consumer) = joined else { return Ok(()) };
        let mut consumer = consumer?;
        let mut progress = Progress::default();
        let mut commits = tokio::time::interval(COMMIT_EVERY);
        loop {
            tokio::select! {
                () = stop.cancelled() => break,
                _ = commits.tick() => self.commit(consumer.as_mut(), &mut progress).await?,
                event = consumer.next() => match event {
                    Ok(Event::Records(records)) => {
                        if !self.keep(records, &mut progress, &stop).await? {
                            break;
                        }
                    }
                    Ok(Event::Assigned(_)) => {}
                    Ok(Event::Revoked(partitions)) => {
                        self.commit(consumer.as_mut(), &mut progress).await?;
                        partitions.iter().for_each(|p| { progress.newest.remove(p); });
                        consumer.release(&partitions).await?;
                    }
                    Ok(Event::Lost(partitions)) => {
                        for partition in partitions {
                            progress.newest.remove(&partition);
                            progress.positions.remove(&partition);
                        }
                    }
                    Err(error) if error.is_transient() => {
                        warn!(%error, "cache: reading");
                        self.metrics.error(Stage::Cache, "bus", "read");
                        tokio::time::sleep(Duration::from_millis(200)).await;
                    }
                    Err(error) => return Err(error.into()),
                },
            }
        }
        self.commit(consumer.as_mut(), &mut progress).await?;
        consumer.close().await?;
        info!("cache: stopped");
        Ok(())
    }

    async fn commit(&self, consumer: &mut dyn Consumer, progress: &mut Progress) -> Result<(), StageError> {
        let positions: Vec<(Partition, i64)> = progress.positions.drain().collect();
        if positions.is_empty() {
            return Ok(());
        }
        match consumer.commit(&positions).await {
            Ok(()) => Ok(()),
            Err(BusError::NotOwner { partition }) => {
                warn!(%partition, "cache: committed too late; another member reads on");
                Ok(())
            }
            Err(error) if error.is_transient() => {
                warn!(%error, "cache: committing");
                self.metrics.error(Stage::Cache, "bus", "commit");
                // Newer positions, if there are any by then, win.
                for (partition, position) in positions {
                    progress.positions.entry(partition).or_insert(position);
                }
                Ok(())
            }
            Err(error) => Err(error.into()),
        }
    }

    /// Keeps what is new; false when stopped meanwhile.
    async fn keep(
        &self,
        records: Vec<Delivery>,
        progress: &mut Progress,
        stop: &CancellationToken,
    ) -> Result<bool, StageError> {
        let started = std::time::Instant::now();
        let now = self.clock.now();
        let mut letters = Vec::new();
        let mut newest: HashMap<(Slot, WorkloadId), (Partition, Kept)> = HashMap::new();
        let mut positions: HashMap<Partition, i64> = HashMap::new();
        for delivery in &records {
            positions.insert(delivery.partition, delivery.offset + 1);
            let (slot, kept) = match delivery.partition.topic {
                Topic::Predictions => (Slot::Prediction, self.forecast(delivery, now)),
                // The forecaster reports unreadable samples; twice would be once too often.
                _ => (Slot::Sample, sample(delivery).map(Some).or(Ok(None))),
            };
            match kept {
                Ok(Some(kept)) => {
                    let known = progress.newest.get(&delivery.partition).and_then(|n| n.get(&kept.workload));
                    if known.is_some_and(|known| *known >= kept.at) {
                        self.metrics.count(Stage::Cache, "duplicate", 1);
                        continue;
                    }
                    match newest.entry((slot, kept.workload.clone())) {
                        std::collections::hash_map::Entry::Occupied(mut held) => {
                            if held.get().1.at < kept.at {
                                held.insert((delivery.partition, kept));
                            }
                            self.metrics.count(Stage::Cache, "overtaken", 1);
                        }
                        std::collections::hash_map::Entry::Vacant(free) => {
                            free.insert((delivery.partition, kept));
                        }
                    }
                }
                Ok(None) => {}
                Err(why) => {
                    warn!(reason = why.name(), detail = %why, "cache: unreadable forecast, kept in the dead letters");
                    self.metrics.unreadable(delivery.partition.topic, why.name());
                    self.metrics.count(Stage::Cache, "unreadable", 1);
                    letters.extend(wire::dead_letter(delivery, &why));
                }
            }
        }
        self.drop_what_is_older(&mut newest, progress).await;
        self.metrics.busy(Stage::Cache, started.elapsed());
        if !letters.is_empty() && !self.bury(letters, stop).await? {
            return Ok(false);
        }
        if !newest.is_empty() && !self.store(newest, progress, stop).await? {
            return Ok(false);
        }
        progress.positions.extend(positions);
        Ok(true)
    }

    fn forecast(&self, delivery: &Delivery, now: Timestamp) -> Result<Option<Kept>, Unreadable> {
        let forecast = wire::decode::<Forecast>(delivery)?;
        if forecast.expired(now) {
            self.metrics.count(Stage::Cache, "expired", 1);
            return Ok(None);
        }
        let Some(workload) = forecast.workload else { return Ok(None) };
        let left = self.clock.real(forecast.valid_until.since(now)).max(Duration::from_millis(1));
        Ok(Some(Kept {
            workload,
            at: forecast.issued_at,
            value: delivery.payload.clone(),
            expires_in: Some(left),
            taken_in: delivery.published_at,
        }))
    }

    /// The first time a workload is met, the store may know something newer than the log that is read again.
    async fn drop_what_is_older(
        &self,
        newest: &mut HashMap<(Slot, WorkloadId), (Partition, Kept)>,
        progress: &mut Progress,
    ) {
        for slot in [Slot::Prediction, Slot::Sample] {
            let new: Vec<(Partition, WorkloadId)> = newest
                .iter()
                .filter(|((s, id), (partition, _))| {
                    *s == slot && !progress.newest.get(partition).is_some_and(|known| known.contains_key(id))
                })
                .map(|((_, id), (partition, _))| (*partition, id.clone()))
                .collect();
            if new.is_empty() {
                continue;
            }
            let ids: Vec<WorkloadId> = new.iter().map(|(_, id)| id.clone()).collect();
            // Without an answer the record at hand is kept: records that follow are newer anyway.
            let Ok(values) = self.store.get(slot, &ids).await else { continue };
            for ((partition, id), value) in new.into_iter().zip(values) {
                let Some(at) = value.as_deref().and_then(|v| instant(slot, v)) else { continue };
                progress.newest.entry(partition).or_default().insert(id.clone(), at);
                if newest.get(&(slot, id.clone())).is_some_and(|(_, kept)| kept.at <= at) {
                    newest.remove(&(slot, id));
                    self.metrics.count(Stage::Cache, "duplicate", 1);
                }
            }
        }
    }

    async fn bury(
        &self,
        mut letters: Vec<crate::Message>,
        stop: &CancellationToken,
    ) -> Result<bool, StageError> {
        loop {
            let buried = retry::until_done(
                stop,
                BusError::is_transient,
                |error| warn!(%error, "cache: keeping dead letters"),
                || self.bus.publish(letters.clone()),
            )
            .await;
            match buried {
                None => return Ok(false),
                Some(Ok(())) => return Ok(true),
                Some(Err(BusError::TooLarge { .. }))
                    if letters.iter().any(|l| l.payload.len() > CUT_DEAD_LETTER) =>
                {
                    letters = letters.into_iter().map(wire::cut).collect();
                }
                Some(Err(error)) => return Err(error.into()),
            }
        }
    }

    async fn store(
        &self,
        newest: HashMap<(Slot, WorkloadId), (Partition, Kept)>,
        progress: &mut Progress,
        stop: &CancellationToken,
    ) -> Result<bool, StageError> {
        let puts: Vec<Put> = newest
            .iter()
            .map(|((slot, workload), (_, kept))| Put {
                workload: workload.clone(),
                slot: *slot,
                value: kept.value.clone(),
                expires_in: kept.expires_in,
            })
            .collect();
        let stored = retry::until_done(
            stop,
            StoreError::is_transient,
            |error| {
                warn!(%error, "cache: the store does not take values; reading waits");
                self.metrics.error(Stage::Cache, "store", "put");
            },
            || self.store.put(puts.clone()),
        )
        .await;
        match stored {
            None => return Ok(false),
            Some(result) => result?,
        }
        let forecasts: Vec<WorkloadId> =
            newest.keys().filter(|(slot, _)| *slot == Slot::Prediction).map(|(_, id)| id.clone()).collect();
        if !forecasts.is_empty()
            && let Err(error) = self.store.announce(&forecasts).await
        {
            // Costs one sync period at most.
            warn!(%error, "cache: announcing");
            self.metrics.error(Stage::Cache, "store", "announce");
        }
        let now = self.clock.now();
        self.metrics.success(Stage::Cache, now);
        for ((slot, workload), (partition, kept)) in newest {
            if slot == Slot::Prediction {
                self.metrics.count(Stage::Cache, "forecast", 1);
                self.metrics.delay(Stage::Cache, now.since(kept.taken_in));
            } else {
                self.metrics.count(Stage::Cache, "sample", 1);
            }
            progress.newest.entry(partition).or_default().insert(workload, kept.at);
        }
        Ok(true)
    }
}

fn sample(delivery: &Delivery) -> Result<Kept, Unreadable> {
    let sample = wire::decode::<Sample>(delivery)?;
    Ok(Kept {
        workload: sample.workload,
        at: sample.at,
        value: delivery.payload.clone(),
        expires_in: None,
        taken_in: delivery.published_at,
    })
}

/// When a kept value is from.
fn instant(slot: Slot, value: &[u8]) -> Option<Timestamp> {
    fn read<R: Record>(value: &[u8], at: fn(R) -> Timestamp) -> Option<Timestamp> {
        wire::from_json::<R>(value).ok().map(at)
    }
    match slot {
        Slot::Prediction => read::<Forecast>(value, |f| f.issued_at),
        _ => read::<Sample>(value, |s| s.at),
    }
}
