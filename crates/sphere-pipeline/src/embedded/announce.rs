//! How do listeners in this process hear of new predictions?
//!
//! Over a broadcast channel that waits for nobody: a listener that is slower than the channel is long loses the
//! oldest announcements, and that is counted.

use crate::store::{Announcements, StoreError};
use async_trait::async_trait;
use sphere_core::WorkloadId;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use tokio::sync::broadcast::{self, error::RecvError};

/// Calls of `announce` a listener may be behind before it loses some.
pub(super) const ANNOUNCEMENTS_KEPT: usize = 1024;

#[derive(Debug)]
pub(super) struct Announcer {
    sender: broadcast::Sender<Arc<[WorkloadId]>>,
    lost: Arc<AtomicU64>,
}

impl Announcer {
    pub(super) fn new() -> Self {
        Self { sender: broadcast::Sender::new(ANNOUNCEMENTS_KEPT), lost: Arc::default() }
    }

    pub(super) fn announce(&self, workloads: &[WorkloadId]) {
        if !workloads.is_empty() {
            // An error says that nobody listens, which is fine.
            self.sender.send(workloads.into()).ok();
        }
    }

    pub(super) fn listen(&self) -> Box<dyn Announcements> {
        Box::new(Listener { receiver: self.sender.subscribe(), lost: self.lost.clone() })
    }

    /// Calls of `announce` that slow listeners missed, summed over them.
    pub(super) fn lost(&self) -> u64 {
        self.lost.load(Ordering::Relaxed)
    }
}

struct Listener {
    receiver: broadcast::Receiver<Arc<[WorkloadId]>>,
    lost: Arc<AtomicU64>,
}

impl Listener {
    fn count_lost(&self, missed: u64) {
        self.lost.fetch_add(missed, Ordering::Relaxed);
    }
}

#[async_trait]
impl Announcements for Listener {
    async fn next(&mut self) -> Result<Vec<WorkloadId>, StoreError> {
        let mut heard = loop {
            match self.receiver.recv().await {
                Ok(first) => break first.to_vec(),
                Err(RecvError::Lagged(missed)) => self.count_lost(missed),
                Err(RecvError::Closed) => {
                    return Err(StoreError::Permanent {
                        doing: "listen",
                        detail: "the store was closed".into(),
                    });
                }
            }
        };
        // What else is there, so that one call covers a burst; bounded by the channel.
        for _ in 0..ANNOUNCEMENTS_KEPT {
            match self.receiver.try_recv() {
                Ok(more) => heard.extend_from_slice(&more),
                Err(broadcast::error::TryRecvError::Lagged(missed)) => self.count_lost(missed),
                Err(_) => break,
            }
        }
        Ok(heard)
    }
}
