//! What went on unseen? Faults that were survived, counted since the start.

use std::sync::atomic::{AtomicU64, Ordering};

/// Faults that were survived, since the store was made. Monotonic.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct StoreCounters {
    /// Connections made for commands; more than there are nodes means that some were lost.
    pub connections: u64,
    /// Commands sent again after a failure that may pass.
    pub retried_commands: u64,
    /// Commands that the cluster sent to another node.
    pub redirected_commands: u64,
    /// How often the slot map was read.
    pub map_reads: u64,
    /// How often a listener's connection was lost.
    pub listener_losses: u64,
    /// Announced workloads thrown away because their reader was too slow.
    pub announcements_dropped: u64,
    /// Announcements that are no workload id.
    pub announcements_unreadable: u64,
}

#[derive(Debug, Default)]
pub(crate) struct Counters {
    pub connections: AtomicU64,
    pub retried_commands: AtomicU64,
    pub redirected_commands: AtomicU64,
    pub map_reads: AtomicU64,
    pub listener_losses: AtomicU64,
    pub announcements_dropped: AtomicU64,
    pub announcements_unreadable: AtomicU64,
}

impl Counters {
    pub fn add(counter: &AtomicU64, count: usize) {
        counter.fetch_add(u64::try_from(count).unwrap_or(u64::MAX), Ordering::Relaxed);
    }

    pub fn read(&self) -> StoreCounters {
        let value = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        StoreCounters {
            connections: value(&self.connections),
            retried_commands: value(&self.retried_commands),
            redirected_commands: value(&self.redirected_commands),
            map_reads: value(&self.map_reads),
            listener_losses: value(&self.listener_losses),
            announcements_dropped: value(&self.announcements_dropped),
            announcements_unreadable: value(&self.announcements_unreadable),
        }
    }
}
