//! How much of a topic is kept in memory, and which record may go next?
//!
//! Each partition is a queue with a bound in records and in bytes. The oldest record goes when a new one needs
//! its place and no active group still has to read it; otherwise the publisher waits.

use crate::bus::{Delivery, Header, Message, Partition};
use bytes::Bytes;
use sphere_core::Timestamp;
use std::collections::VecDeque;

/// How much each partition of a topic keeps.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Retention {
    /// Most records per partition; at least 1.
    pub records: usize,
    /// Most bytes per partition (keys, headers and values). A single record may exceed it.
    pub bytes: usize,
}

impl Default for Retention {
    /// 8,192 records and 8 MiB per partition: with 8 partitions at most 64 MiB a topic, and more than six rounds
    /// of 10,000 workloads before a publisher has to wait for a reader that stands still.
    fn default() -> Self {
        Self { records: 8192, bytes: 8 << 20 }
    }
}

/// What happened on a topic since the bus was made, and what it holds now.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct TopicStats {
    /// Records taken in.
    pub published: u64,
    /// Records that made room after every group had committed them.
    pub evicted: u64,
    /// Records that made room before some group without members had committed them, or while there was no group.
    pub dropped: u64,
    /// Times a publisher had to wait for a reader.
    pub delayed: u64,
    /// Records kept now.
    pub records: u64,
    /// Bytes kept now.
    pub bytes: u64,
}

#[derive(Debug)]
struct Stored {
    key: Bytes,
    headers: Vec<Header>,
    payload: Bytes,
    at: Timestamp,
    bytes: usize,
}

/// Bytes a message counts for.
pub(super) fn size(message: &Message) -> usize {
    let headers: usize = message.headers.iter().map(|h| h.key.len() + h.value.len()).sum();
    message.key.len() + headers + message.payload.len()
}

/// One partition.
#[derive(Debug)]
pub(super) struct PartitionLog {
    retention: Retention,
    first: i64,
    records: VecDeque<Stored>,
    bytes: usize,
    /// Records before this offset may go: the smallest position of the active groups.
    pub(super) needed_from: i64,
    /// Records before this offset were committed by every group there ever was.
    pub(super) read_before: i64,
    pub(super) published: u64,
    pub(super) evicted: u64,
    pub(super) dropped: u64,
}

impl PartitionLog {
    pub(super) fn new(retention: Retention) -> Self {
        Self {
            retention,
            first: 0,
            records: VecDeque::new(),
            bytes: 0,
            needed_from: i64::MAX,
            read_before: i64::MIN,
            published: 0,
            evicted: 0,
            dropped: 0,
        }
    }

    /// Offset of the oldest record kept.
    pub(super) fn first(&self) -> i64 {
        self.first
    }

    /// Offset the next record gets.
    pub(super) fn end(&self) -> i64 {
        self.first.saturating_add_unsigned(self.records.len() as u64)
    }

    pub(super) fn bytes(&self) -> usize {
        self.bytes
    }

    pub(super) fn len(&self) -> usize {
        self.records.len()
    }

    /// Makes room for a message of `bytes`; false if a group still needs what would have to go.
    pub(super) fn make_room(&mut self, bytes: usize) -> bool {
        loop {
            let fits = self.records.len() < self.retention.records.max(1)
                && self.bytes.saturating_add(bytes) <= self.retention.bytes;
            if fits || self.records.is_empty() {
                return true;
            }
            if self.first >= self.needed_from {
                return false;
            }
            if let Some(old) = self.records.pop_front() {
                self.bytes -= old.bytes;
                if self.first < self.read_before {
                    self.evicted += 1;
                } else {
                    self.dropped += 1;
                }
                self.first += 1;
            }
        }
    }

    pub(super) fn append(&mut self, message: Message, at: Timestamp, bytes: usize) {
        self.bytes += bytes;
        self.published += 1;
        let Message { key, headers, payload, .. } = message;
        self.records.push_back(Stored { key, headers, payload, at, bytes });
    }

    /// Copies up to `room` records from `position` on to `out`; returns the position after the last.
    pub(super) fn read(
        &self,
        partition: Partition,
        position: i64,
        room: usize,
        out: &mut Vec<Delivery>,
    ) -> i64 {
        let from = position.max(self.first);
        let skip = usize::try_from(from - self.first).unwrap_or(usize::MAX);
        let end = self.records.len().min(skip.saturating_add(room));
        if skip >= end {
            return position;
        }
        for (offset, r) in (from..).zip(self.records.range(skip..end)) {
            out.push(Delivery {
                partition,
                offset,
                key: r.key.clone(),
                headers: r.headers.clone(),
                payload: r.payload.clone(),
                published_at: r.at,
            });
        }
        from.saturating_add_unsigned((end - skip) as u64)
    }
}
