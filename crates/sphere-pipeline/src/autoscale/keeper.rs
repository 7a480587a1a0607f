//! How are decisions published and remembered without holding up the next one?
//!
//! One task each for the bus and the store, behind bounded queues. While a component is away its queue fills and
//! what comes then is dropped and counted: decisions go on. What is remembered is written whole at every sync, so a
//! dropped write is made good by the next one.

use super::AutoscaleStage;
use crate::bus::{Bus, BusError, Message};
use crate::metrics::{Metrics, Stage};
use crate::retry;
use crate::store::{Put, Store, StoreError};
use bytes::Bytes;
use sphere_core::WorkloadId;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::mpsc;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;
use tracing::warn;

/// Batches that may wait for the bus: some minutes of syncs.
const TO_BUS: usize = 64;
/// Batches that may wait for the store.
const TO_STORE: usize = 16;
/// Longest time to write what is queued when stopping.
const GRACE: Duration = Duration::from_secs(5);

struct Memory {
    puts: Vec<Put>,
    entries: Vec<(WorkloadId, Bytes)>,
}

pub(super) struct Keeper {
    bus: mpsc::Sender<Vec<Message>>,
    store: mpsc::Sender<Memory>,
    tasks: Vec<JoinHandle<()>>,
    abandon: CancellationToken,
    metrics: Arc<Metrics>,
}

impl Keeper {
    pub fn start(stage: &AutoscaleStage) -> Self {
        let abandon = CancellationToken::new();
        let (bus, to_bus) = mpsc::channel(TO_BUS);
        let (store, to_store) = mpsc::channel(TO_STORE);
        let metrics = Arc::clone(&stage.metrics);
        let tasks = vec![
            tokio::spawn(publish(Arc::clone(&stage.bus), to_bus, Arc::clone(&metrics), abandon.clone())),
            tokio::spawn(remember(
                Arc::clone(&stage.store),
                to_store,
                stage.settings.decisions_kept,
                Arc::clone(&metrics),
                abandon.clone(),
            )),
        ];
        Self { bus, store, tasks, abandon, metrics }
    }

    pub fn keep(&self, messages: Vec<Message>, puts: Vec<Put>, entries: Vec<(WorkloadId, Bytes)>) {
        if !messages.is_empty() {
            let count = messages.len() as u64;
            if self.bus.try_send(messages).is_err() {
                self.metrics.count(Stage::Autoscale, "decision_not_published", count);
            }
        }
        if !puts.is_empty() && self.store.try_send(Memory { puts, entries }).is_err() {
            self.metrics.error(Stage::Autoscale, "store", "queue_full");
        }
    }

    /// Writes what is queued, within the grace time.
    pub async fn close(self) {
        let Self { bus, store, tasks, abandon, .. } = self;
        drop((bus, store));
        let all = async {
            for task in tasks {
                let _ = task.await;
            }
        };
        if tokio::time::timeout(GRACE, all).await.is_err() {
            warn!("autoscale: not everything could be published or remembered within {GRACE:?}");
        }
        abandon.cancel();
    }
}

async fn publish(
    bus: Arc<dyn Bus>,
    mut inbox: mpsc::Receiver<Vec<Message>>,
    metrics: Arc<Metrics>,
    abandon: CancellationToken,
) {
    while let Some(messages) = inbox.recv().await {
        let count = messages.len() as u64;
        let published = retry::until_done(
            &abandon,
            BusError::is_transient,
            |error| {
                warn!(%error, "autoscale: publishing decisions");
                metrics.error(Stage::Autoscale, "bus", "publish");
            },
            || bus.publish(messages.clone()),
        )
        .await;
        match published {
            Some(Ok(())) => metrics.count(Stage::Autoscale, "decision_published", count),
            Some(Err(error)) => {
                warn!(%error, "autoscale: publishing decisions");
                metrics.count(Stage::Autoscale, "decision_not_published", count);
            }
            None => return,
        }
    }
}

async fn remember(
    store: Arc<dyn Store>,
    mut inbox: mpsc::Receiver<Memory>,
    keep: usize,
    metrics: Arc<Metrics>,
    abandon: CancellationToken,
) {
    while let Some(Memory { puts, entries }) = inbox.recv().await {
        let failed = |error: &StoreError| {
            warn!(%error, "autoscale: remembering");
            metrics.error(Stage::Autoscale, "store", "put");
        };
        let put = retry::until_done(&abandon, StoreError::is_transient, failed, || store.put(puts.clone()));
        match put.await {
            Some(Ok(())) => {}
            Some(Err(error)) => failed(&error),
            None => return,
        }
        if entries.is_empty() {
            continue;
        }
        // Tried once: a repeated append could write an entry twice.
        if let Err(error) = store.append(entries, keep).await {
            failed(&error);
        }
    }
}
