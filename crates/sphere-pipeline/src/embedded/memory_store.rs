//! Where is the newest of everything when nothing has to survive a restart?
//!
//! In a map. Expiry is on the monotonic clock; expired values are absent at once and their memory is given back
//! a few at a time with every `put`. What is kept is bounded by the number of workloads.

use super::announce::Announcer;
use crate::store::{Announcements, Put, Slot, Store, StoreError};
use async_trait::async_trait;
use bytes::Bytes;
use sphere_core::WorkloadId;
use std::collections::{BTreeSet, HashMap, VecDeque};
use std::sync::{Mutex, MutexGuard, PoisonError};
use tokio::time::Instant;

/// Expired values removed per `put`, beyond two for each value put. More than are added, so they do not pile up.
const SWEPT_PER_PUT: usize = 16;

/// The store in memory.
#[derive(Debug)]
pub struct MemoryStore {
    kept: Mutex<Kept>,
    announcer: Announcer,
}

#[derive(Debug, Default)]
struct Kept {
    values: HashMap<(WorkloadId, Slot), (Bytes, Option<Instant>)>,
    /// Every value that expires, the next first.
    expiring: BTreeSet<(Instant, WorkloadId, Slot)>,
    decisions: HashMap<WorkloadId, VecDeque<Bytes>>,
}

impl Kept {
    fn remove(&mut self, workload: &WorkloadId, slot: Slot) {
        let key = (workload.clone(), slot);
        if let Some((_, Some(at))) = self.values.remove(&key) {
            self.expiring.remove(&(at, key.0, slot));
        }
    }

    fn sweep(&mut self, now: Instant, most: usize) {
        for _ in 0..most {
            match self.expiring.first() {
                Some((at, _, _)) if *at <= now => {}
                _ => return,
            }
            if let Some((_, workload, slot)) = self.expiring.pop_first() {
                self.values.remove(&(workload, slot));
            }
        }
    }
}

impl Default for MemoryStore {
    fn default() -> Self {
        Self::new()
    }
}

impl MemoryStore {
    /// An empty store.
    pub fn new() -> Self {
        Self { kept: Mutex::default(), announcer: Announcer::new() }
    }

    /// Calls of `announce` that slow listeners missed.
    pub fn lost_announcements(&self) -> u64 {
        self.announcer.lost()
    }

    /// Values in memory, expired ones that were not swept yet among them.
    pub fn values(&self) -> usize {
        self.kept().values.len()
    }

    fn kept(&self) -> MutexGuard<'_, Kept> {
        self.kept.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[async_trait]
impl Store for MemoryStore {
    async fn put(&self, values: Vec<Put>) -> Result<(), StoreError> {
        let now = Instant::now();
        let mut kept = self.kept();
        let sweep = SWEPT_PER_PUT + 2 * values.len();
        for Put { workload, slot, value, expires_in } in values {
            kept.remove(&workload, slot);
            // An expiry beyond what the clock can express is as good as none.
            let at = expires_in.and_then(|span| now.checked_add(span));
            if let Some(at) = at {
                kept.expiring.insert((at, workload.clone(), slot));
            }
            kept.values.insert((workload, slot), (value, at));
        }
        kept.sweep(now, sweep);
        Ok(())
    }

    async fn get(&self, slot: Slot, workloads: &[WorkloadId]) -> Result<Vec<Option<Bytes>>, StoreError> {
        let now = Instant::now();
        let kept = self.kept();
        let valid = |w: &WorkloadId| match kept.values.get(&(w.clone(), slot)) {
            Some((value, at)) if at.is_none_or(|at| now < at) => Some(value.clone()),
            _ => None,
        };
        Ok(workloads.iter().map(valid).collect())
    }

    async fn forget(&self, workloads: &[WorkloadId]) -> Result<(), StoreError> {
        let mut kept = self.kept();
        for workload in workloads {
            for slot in Slot::ALL {
                kept.remove(workload, slot);
            }
            kept.decisions.remove(workload);
        }
        Ok(())
    }

    async fn append(&self, entries: Vec<(WorkloadId, Bytes)>, keep: usize) -> Result<(), StoreError> {
        let mut kept = self.kept();
        for (workload, entry) in entries {
            let list = kept.decisions.entry(workload).or_default();
            list.push_back(entry);
            while list.len() > keep {
                list.pop_front();
            }
        }
        Ok(())
    }

    async fn history(&self, workload: &WorkloadId, count: usize) -> Result<Vec<Bytes>, StoreError> {
        let kept = self.kept();
        Ok(kept
            .decisions
            .get(workload)
            .into_iter()
            .flat_map(|l| l.iter().rev().take(count).cloned())
            .collect())
    }

    async fn announce(&self, workloads: &[WorkloadId]) -> Result<(), StoreError> {
        self.announcer.announce(workloads);
        Ok(())
    }

    async fn announcements(&self) -> Result<Box<dyn Announcements>, StoreError> {
        Ok(self.announcer.listen())
    }

    async fn check(&self) -> Result<(), StoreError> {
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::embedded::announce::ANNOUNCEMENTS_KEPT;
    use std::time::Duration;

    fn id(n: usize) -> WorkloadId {
        WorkloadId::new("shop", "Deployment", &format!("w{n}")).unwrap()
    }

    #[tokio::test(start_paused = true)]
    async fn expired_values_give_their_memory_back() {
        let store = MemoryStore::new();
        let put = |n, secs: Option<u64>| Put {
            workload: id(n),
            slot: Slot::Prediction,
            value: Bytes::from_static(b"x"),
            expires_in: secs.map(Duration::from_secs),
        };
        store.put((0..1000).map(|n| put(n, Some(10))).collect()).await.unwrap();
        store.put(vec![put(0, None)]).await.unwrap();
        tokio::time::advance(Duration::from_secs(10)).await;
        let found = store.get(Slot::Prediction, &[id(0), id(1)]).await.unwrap();
        assert_eq!(found, [Some(Bytes::from_static(b"x")), None], "a value put again without expiry stays");
        for _ in 0..999 {
            store.put(vec![put(0, None)]).await.unwrap();
        }
        assert_eq!(store.values(), 1);
    }

    #[tokio::test]
    async fn a_slow_listener_loses_the_oldest_and_that_is_counted() {
        let store = MemoryStore::new();
        let mut slow = store.announcements().await.unwrap();
        for n in 0..ANNOUNCEMENTS_KEPT + 7 {
            store.announce(&[id(n)]).await.unwrap();
        }
        let heard = slow.next().await.unwrap();
        assert_eq!((heard.len(), heard.first()), (ANNOUNCEMENTS_KEPT, Some(&id(7))));
        assert_eq!(store.lost_announcements(), 7);
    }
}
