//! How do records get from one stage to the next inside one process?
//!
//! Through [`MemoryBus`]: bounded logs in memory behind one lock that is held for at most a thousand records at a
//! time, and a [`Notify`] per consumer. Nothing polls and nothing runs in the background.
//!
//! Back-pressure: a partition holds what [`Retention`] says. While an active group (one with a member that reads
//! the topic) has not committed the oldest record, a publisher that needs its place waits, for at most
//! [`MemoryBusConfig::publish_patience`] without progress. Groups without members hold up nobody; what they
//! miss is counted in [`TopicStats::dropped`].

use super::group::{Group, Held, MemberId};
use super::log::{PartitionLog, Retention, TopicStats, size};
use crate::bus::{Bus, BusError, Consumer, Event, Message, Partition, Subscription, Topic};
use crate::clock::Clock;
use async_trait::async_trait;
use fnv::FnvHasher;
use std::collections::{BTreeMap, HashMap};
use std::hash::Hasher;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;
use tokio::sync::Notify;
use tokio::task::coop::consume_budget;
use tokio::time::{Instant, timeout_at};

/// Largest record (key, headers and value), in bytes. Far above ours; a bound all the same.
pub const LARGEST_RECORD_BYTES: usize = 16 << 20;
/// Most groups a bus remembers. Their positions are kept for as long as the bus lives.
const MOST_GROUPS: usize = 1024;
/// Most records that are appended under one hold of the lock, so that readers get their turn.
const RECORDS_PER_HOLD: usize = 1024;

/// How a [`MemoryBus`] is made.
#[derive(Clone, Debug)]
pub struct MemoryBusConfig {
    /// Partitions of each topic; at least 1.
    pub partitions: u32,
    /// What each partition keeps.
    pub retention: Retention,
    /// Topics that keep something else.
    pub retention_of: BTreeMap<Topic, Retention>,
    /// Longest wait of a publisher without any progress.
    pub publish_patience: Duration,
    /// How long a member has to release revoked partitions before it loses them.
    pub release_patience: Duration,
    /// Tells when a record was published.
    pub clock: Clock,
}

impl Default for MemoryBusConfig {
    fn default() -> Self {
        Self {
            partitions: 8,
            retention: Retention::default(),
            retention_of: BTreeMap::new(),
            publish_patience: Duration::from_secs(30),
            release_patience: Duration::from_secs(30),
            clock: Clock::system(),
        }
    }
}

/// The bus in memory. Cheap to clone; the clones are one bus.
#[derive(Clone, Debug)]
pub struct MemoryBus {
    shared: Arc<Shared>,
}

impl Default for MemoryBus {
    fn default() -> Self {
        Self::new(MemoryBusConfig::default())
    }
}

#[derive(Debug)]
struct Shared {
    config: MemoryBusConfig,
    state: Mutex<State>,
    /// Wakes publishers that wait for room.
    room: Notify,
}

impl Shared {
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[derive(Debug)]
struct State {
    partitions: u32,
    logs: BTreeMap<Topic, Vec<PartitionLog>>,
    groups: HashMap<String, Group>,
    delayed: BTreeMap<Topic, u64>,
    members: MemberId,
    /// Where the next record without a key goes.
    turn: u32,
}

impl State {
    fn partition_of(&mut self, key: &[u8]) -> u32 {
        if key.is_empty() {
            self.turn = self.turn.wrapping_add(1);
            return self.turn % self.partitions;
        }
        let mut hasher = FnvHasher::default();
        hasher.write(key);
        let hash = hasher.finish();
        // Folded, because the low bits of FNV depend on the low bits of the key alone.
        (((hash >> 32) ^ hash) % u64::from(self.partitions)) as u32
    }

    /// Takes messages until one does not fit (it is returned) or the hold is over. Wakes who reads them.
    fn append(
        &mut self,
        messages: &mut std::vec::IntoIter<Message>,
        blocked: &mut Option<(Message, u32)>,
        clock: &Clock,
    ) -> usize {
        let at = clock.now();
        let mut touched: Vec<Partition> = Vec::new();
        let mut taken = 0;
        while taken < RECORDS_PER_HOLD {
            let (message, number) = match blocked.take() {
                Some(waiting) => waiting,
                None => match messages.next() {
                    Some(message) => {
                        let number = self.partition_of(&message.key);
                        (message, number)
                    }
                    None => break,
                },
            };
            let partition = Partition { topic: message.topic, number };
            let Some(log) = self.log_mut(partition) else { continue };
            let bytes = size(&message);
            if !log.make_room(bytes) {
                *blocked = Some((message, number));
                break;
            }
            log.append(message, at, bytes);
            taken += 1;
            if !touched.contains(&partition) {
                touched.push(partition);
            }
        }
        for group in self.groups.values_mut() {
            for partition in &touched {
                if let Some(Held::Owned { by, .. }) = group.held.get(partition)
                    && let Some(member) = group.members.get_mut(by)
                    && member.waiting
                {
                    member.waiting = false;
                    member.notify.notify_one();
                }
            }
        }
        taken
    }

    fn log(&self, partition: Partition) -> Option<&PartitionLog> {
        self.logs.get(&partition.topic)?.get(partition.number as usize)
    }

    fn log_mut(&mut self, partition: Partition) -> Option<&mut PartitionLog> {
        self.logs.get_mut(&partition.topic)?.get_mut(partition.number as usize)
    }

    /// Which records of a partition are still needed, and by whom. After every change of members or positions.
    fn note_readers(&mut self, partition: Partition) {
        let Some(log) =
            self.logs.get_mut(&partition.topic).and_then(|l| l.get_mut(partition.number as usize))
        else {
            return;
        };
        let (mut needed_from, mut read_before, mut any) = (i64::MAX, i64::MAX, false);
        for group in self.groups.values().filter(|g| g.topics.contains(&partition.topic)) {
            let position = group.committed.get(&partition).copied().unwrap_or(0);
            any = true;
            read_before = read_before.min(position);
            if group.members.values().any(|m| m.topics.contains(&partition.topic)) {
                needed_from = needed_from.min(position);
            }
        }
        log.needed_from = needed_from;
        log.read_before = if any { read_before } else { i64::MIN };
    }

    fn note_all_readers(&mut self) {
        for topic in Topic::ALL {
            for number in 0..self.partitions {
                self.note_readers(Partition { topic, number });
            }
        }
    }

    /// What a member is to be told now, or until when it may sleep.
    fn poll(&mut self, group: &str, id: MemberId, most: usize) -> Result<Event, Option<Instant>> {
        let Some(group) = self.groups.get_mut(group) else { return Err(None) };
        let deadline = group.deadline();
        let Some(member) = group.members.get_mut(&id) else { return Err(None) };
        if !member.lost.is_empty() {
            return Ok(Event::Lost(std::mem::take(&mut member.lost)));
        }
        if !member.revoked.is_empty() {
            return Ok(Event::Revoked(std::mem::take(&mut member.revoked)));
        }
        if !member.assigned.is_empty() {
            let mut assigned = std::mem::take(&mut member.assigned);
            assigned.sort_unstable();
            for partition in &assigned {
                let position = group.committed.get(partition).copied().unwrap_or(0);
                group.held.insert(*partition, Held::Owned { by: id, told: true, position });
            }
            return Ok(Event::Assigned(assigned));
        }
        let mut owned: Vec<(Partition, &mut i64)> = group
            .held
            .iter_mut()
            .filter_map(|(partition, held)| match held {
                Held::Owned { by, told: true, position } if *by == id => Some((*partition, position)),
                _ => None,
            })
            .collect();
        let mut records = Vec::new();
        if !owned.is_empty() {
            let start = member.turn % owned.len();
            member.turn = start + 1;
            owned.rotate_left(start);
            for (partition, position) in owned {
                let room = most - records.len();
                let log = self.logs.get(&partition.topic).and_then(|l| l.get(partition.number as usize));
                if let Some(log) = log.filter(|_| room > 0) {
                    *position = log.read(partition, *position, room, &mut records);
                }
            }
        }
        if records.is_empty() {
            member.waiting = true;
            return Err(deadline);
        }
        Ok(Event::Records(records))
    }
}

impl MemoryBus {
    /// A bus with empty topics.
    pub fn new(config: MemoryBusConfig) -> Self {
        let partitions = config.partitions.max(1);
        let logs = |topic: Topic| {
            let retention = config.retention_of.get(&topic).copied().unwrap_or(config.retention);
            (0..partitions).map(|_| PartitionLog::new(retention)).collect()
        };
        let state = State {
            partitions,
            logs: Topic::ALL.into_iter().map(|topic| (topic, logs(topic))).collect(),
            groups: HashMap::new(),
            delayed: BTreeMap::new(),
            members: 0,
            turn: 0,
        };
        Self { shared: Arc::new(Shared { config, state: Mutex::new(state), room: Notify::new() }) }
    }

    /// What happened on a topic, and what it holds.
    pub fn stats(&self, topic: Topic) -> TopicStats {
        let state = self.shared.state();
        let mut stats =
            TopicStats { delayed: state.delayed.get(&topic).copied().unwrap_or(0), ..TopicStats::default() };
        for log in state.logs.get(&topic).into_iter().flatten() {
            stats.published += log.published;
            stats.evicted += log.evicted;
            stats.dropped += log.dropped;
            stats.records += log.len() as u64;
            stats.bytes += log.bytes() as u64;
        }
        stats
    }
}

fn refused(doing: &'static str, detail: impl Into<String>) -> BusError {
    BusError::Permanent { doing, detail: detail.into() }
}

#[async_trait]
impl Bus for MemoryBus {
    fn survives_restart(&self) -> bool {
        false
    }

    async fn publish(&self, messages: Vec<Message>) -> Result<(), BusError> {
        consume_budget().await;
        if let Some(bytes) = messages.iter().map(size).find(|bytes| *bytes > LARGEST_RECORD_BYTES) {
            return Err(BusError::TooLarge { bytes });
        }
        let shared = &self.shared;
        let mut left = messages.into_iter();
        let mut blocked = None;
        let mut give_up = None;
        loop {
            // Registered before looking, so that room made in between is not missed.
            let mut room = std::pin::pin!(shared.room.notified());
            if blocked.is_some() {
                room.as_mut().enable();
            }
            let was_blocked = blocked.is_some();
            let taken = shared.state().append(&mut left, &mut blocked, &shared.config.clock);
            let Some((message, number)) = &blocked else {
                if left.len() == 0 {
                    return Ok(());
                }
                consume_budget().await;
                continue;
            };
            let now = Instant::now();
            if taken > 0 || give_up.is_none() {
                give_up = Some(now + shared.config.publish_patience);
                *shared.state().delayed.entry(message.topic).or_default() += 1;
            }
            if !was_blocked {
                continue;
            }
            if let Some(at) = give_up
                && timeout_at(at, room).await.is_err()
            {
                return Err(BusError::Unavailable {
                    doing: "publish",
                    detail: format!(
                        "{}/{number} is full and its slowest group committed nothing for {:?}",
                        message.topic, shared.config.publish_patience
                    ),
                });
            }
        }
    }

    async fn subscribe(&self, subscription: Subscription) -> Result<Box<dyn Consumer>, BusError> {
        let Subscription { group, topics, max_records } = subscription;
        if group.is_empty() || topics.is_empty() || max_records == 0 {
            return Err(refused(
                "subscribe",
                format!(
                    "group {group:?}, {} topics, at most {max_records} records: a group name, one topic and one \
                     record are the least",
                    topics.len()
                ),
            ));
        }
        let notify = Arc::new(Notify::new());
        let mut state = self.shared.state();
        if !state.groups.contains_key(&group) && state.groups.len() >= MOST_GROUPS {
            return Err(refused(
                "subscribe",
                format!("there are {MOST_GROUPS} groups, the most there may be"),
            ));
        }
        state.members += 1;
        let (id, partitions) = (state.members, state.partitions);
        let members = state.groups.entry(group.clone()).or_default();
        members.join(id, topics.into_iter().collect(), notify.clone());
        members.rebalance(partitions, Instant::now(), self.shared.config.release_patience);
        state.note_all_readers();
        drop(state);
        Ok(Box::new(MemoryConsumer { shared: self.shared.clone(), group, id, notify, max_records }))
    }

    async fn create_topics(&self) -> Result<(), BusError> {
        Ok(())
    }

    async fn check(&self) -> Result<(), BusError> {
        Ok(())
    }

    async fn extent(&self, topic: Topic) -> Result<Vec<(i64, i64)>, BusError> {
        let state = self.shared.state();
        Ok(state.logs.get(&topic).into_iter().flatten().map(|log| (log.first(), log.end())).collect())
    }

    async fn lag(&self, group: &str, topic: Topic) -> Result<u64, BusError> {
        let state = self.shared.state();
        let committed = state.groups.get(group).map(|g| &g.committed);
        let mut lag = 0;
        for (number, log) in (0..).zip(state.logs.get(&topic).into_iter().flatten()) {
            let position = committed.and_then(|c| c.get(&Partition { topic, number })).copied().unwrap_or(0);
            lag += u64::try_from(log.end() - position.max(log.first())).unwrap_or(0);
        }
        Ok(lag)
    }
}

struct MemoryConsumer {
    shared: Arc<Shared>,
    group: String,
    id: MemberId,
    notify: Arc<Notify>,
    max_records: usize,
}

impl MemoryConsumer {
    /// The state, after members that took too long to release have lost what was revoked from them.
    fn state(&self) -> MutexGuard<'_, State> {
        let mut state = self.shared.state();
        let partitions = state.partitions;
        if let Some(group) = state.groups.get_mut(&self.group) {
            let now = Instant::now();
            if group.expire(now) {
                group.rebalance(partitions, now, self.shared.config.release_patience);
            }
        }
        state
    }
}

#[async_trait]
impl Consumer for MemoryConsumer {
    async fn next(&mut self) -> Result<Event, BusError> {
        consume_budget().await;
        loop {
            let polled = self.state().poll(&self.group, self.id, self.max_records);
            match polled {
                Ok(event) => return Ok(event),
                Err(None) => self.notify.notified().await,
                // Early or late, the state is looked at again.
                Err(Some(at)) => drop(timeout_at(at, self.notify.notified()).await),
            }
        }
    }

    async fn commit(&mut self, positions: &[(Partition, i64)]) -> Result<(), BusError> {
        let mut state = self.state();
        let Some(group) = state.groups.get(&self.group) else { return Ok(()) };
        for &(partition, offset) in positions {
            if !group.may_commit(self.id, partition) {
                return Err(BusError::NotOwner { partition });
            }
            let end = state.log(partition).map_or(0, PartitionLog::end);
            if !(0..=end).contains(&offset) {
                return Err(refused(
                    "commit",
                    format!("{offset} in {partition}, whose next record is {end}; 0 to {end} is accepted"),
                ));
            }
        }
        if let Some(group) = state.groups.get_mut(&self.group) {
            group.committed.extend(positions.iter().copied());
        }
        for (partition, _) in positions {
            state.note_readers(*partition);
        }
        drop(state);
        self.shared.room.notify_waiters();
        Ok(())
    }

    async fn release(&mut self, partitions: &[Partition]) -> Result<(), BusError> {
        let mut state = self.state();
        let count = state.partitions;
        let Some(group) = state.groups.get_mut(&self.group) else { return Ok(()) };
        let released: Vec<_> = partitions.iter().map(|p| group.release(self.id, *p)).collect();
        group.rebalance(count, Instant::now(), self.shared.config.release_patience);
        match released.into_iter().find_map(Result::err) {
            Some(partition) => Err(refused(
                "release",
                format!("{partition} was not revoked; what an event revoked can be released"),
            )),
            None => Ok(()),
        }
    }

    async fn close(self: Box<Self>) -> Result<(), BusError> {
        Ok(())
    }
}

impl Drop for MemoryConsumer {
    /// Leaves the group. What was not committed is read again by the others.
    fn drop(&mut self) {
        let mut state = self.shared.state();
        let partitions = state.partitions;
        if let Some(group) = state.groups.get_mut(&self.group) {
            group.leave(self.id);
            group.rebalance(partitions, Instant::now(), self.shared.config.release_patience);
        }
        state.note_all_readers();
        drop(state);
        self.shared.room.notify_waiters();
    }
}
