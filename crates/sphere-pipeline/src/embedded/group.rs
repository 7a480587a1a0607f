//! Which member of a consumer group owns which partition, and how does a partition change hands?
//!
//! Cooperatively: a partition that a member was told it owns goes to nobody else until that member released it,
//! left, or let its time run out. Assignment is sticky: nobody loses a partition who would get it back.

use crate::bus::{Partition, Topic};
use std::cmp::Reverse;
use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::Notify;
use tokio::time::Instant;

pub(super) type MemberId = u64;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Held {
    /// Nobody's.
    Free,
    /// `told` once the member got the event; until then nobody else can know, and it may be taken back silently.
    Owned { by: MemberId, told: bool, position: i64 },
    /// Revoked, to be released before `until`.
    Leaving { from: MemberId, until: Instant },
}

#[derive(Debug)]
pub(super) struct Member {
    pub(super) topics: BTreeSet<Topic>,
    pub(super) notify: Arc<Notify>,
    /// In `next` and without anything to return: wake it.
    pub(super) waiting: bool,
    pub(super) lost: Vec<Partition>,
    pub(super) revoked: Vec<Partition>,
    pub(super) assigned: Vec<Partition>,
    /// Where reading starts next time, so that no partition starves another.
    pub(super) turn: usize,
}

#[derive(Debug, Default)]
pub(super) struct Group {
    pub(super) members: BTreeMap<MemberId, Member>,
    pub(super) held: BTreeMap<Partition, Held>,
    pub(super) committed: HashMap<Partition, i64>,
    /// Everything any member ever subscribed to.
    pub(super) topics: BTreeSet<Topic>,
    leaving: usize,
}

impl Group {
    pub(super) fn join(&mut self, id: MemberId, topics: BTreeSet<Topic>, notify: Arc<Notify>) {
        self.topics.extend(topics.iter().copied());
        let member = Member {
            topics,
            notify,
            waiting: false,
            lost: Vec::new(),
            revoked: Vec::new(),
            assigned: Vec::new(),
            turn: 0,
        };
        self.members.insert(id, member);
    }

    /// Takes the member out; what it held is free.
    pub(super) fn leave(&mut self, id: MemberId) {
        self.members.remove(&id);
        for held in self.held.values_mut() {
            match *held {
                Held::Owned { by, .. } if by == id => *held = Held::Free,
                Held::Leaving { from, .. } if from == id => {
                    *held = Held::Free;
                    self.leaving -= 1;
                }
                _ => {}
            }
        }
    }

    /// Lets a revoked partition go. Errs if the member owns it and was not asked to.
    pub(super) fn release(&mut self, id: MemberId, partition: Partition) -> Result<(), Partition> {
        match self.held.get_mut(&partition) {
            Some(held @ Held::Leaving { .. }) if matches!(*held, Held::Leaving { from, .. } if from == id) => {
                *held = Held::Free;
                self.leaving -= 1;
                if let Some(member) = self.members.get_mut(&id) {
                    member.revoked.retain(|p| *p != partition);
                }
                Ok(())
            }
            Some(Held::Owned { by, told: true, .. }) if *by == id => Err(partition),
            // Somebody else's by now: there is nothing left to release.
            _ => Ok(()),
        }
    }

    /// May this member commit this partition?
    pub(super) fn may_commit(&self, id: MemberId, partition: Partition) -> bool {
        match self.held.get(&partition) {
            Some(Held::Owned { by, told, .. }) => *by == id && *told,
            Some(Held::Leaving { from, .. }) => *from == id,
            _ => false,
        }
    }

    /// When the first revoked partition is taken without having been released.
    pub(super) fn deadline(&self) -> Option<Instant> {
        if self.leaving == 0 {
            return None;
        }
        let until = |held: &Held| match held {
            Held::Leaving { until, .. } => Some(*until),
            _ => None,
        };
        self.held.values().filter_map(until).min()
    }

    /// Takes what was not released in time; true if there was any.
    pub(super) fn expire(&mut self, now: Instant) -> bool {
        let mut any = false;
        if self.leaving == 0 {
            return any;
        }
        for (partition, held) in &mut self.held {
            let Held::Leaving { from, until } = *held else { continue };
            if until <= now {
                *held = Held::Free;
                self.leaving -= 1;
                any = true;
                if let Some(member) = self.members.get_mut(&from) {
                    member.revoked.retain(|p| p != partition);
                    member.lost.push(*partition);
                }
            }
        }
        any
    }

    /// Gives free partitions to those who have too few, and asks those who have too many. Wakes everybody.
    pub(super) fn rebalance(&mut self, partitions: u32, now: Instant, patience: Duration) {
        let mut totals: HashMap<MemberId, u32> = HashMap::new();
        for topic in self.topics.clone() {
            self.rebalance_topic(topic, partitions, now + patience, &mut totals);
        }
        for member in self.members.values_mut() {
            member.waiting = false;
            member.notify.notify_one();
        }
    }

    fn rebalance_topic(
        &mut self,
        topic: Topic,
        partitions: u32,
        until: Instant,
        totals: &mut HashMap<MemberId, u32>,
    ) {
        let mut owned: BTreeMap<MemberId, Vec<u32>> = self
            .members
            .iter()
            .filter(|(_, m)| m.topics.contains(&topic))
            .map(|(id, _)| (*id, Vec::new()))
            .collect();
        let mut free = Vec::new();
        for number in 0..partitions {
            match self.held.entry(Partition { topic, number }).or_insert(Held::Free) {
                Held::Free => free.push(number),
                Held::Owned { by, .. } => owned.entry(*by).or_default().push(number),
                Held::Leaving { .. } => {}
            }
        }
        let Ok(members @ 1..) = u32::try_from(owned.len()) else { return };
        let (base, mut extra) = (partitions / members, partitions % members);
        let mut order: Vec<MemberId> = owned.keys().copied().collect();
        // Whoever has one more than the others keeps it; then whoever has least of the other topics.
        order.sort_by_key(|id| {
            let has = owned.get(id).map_or(0, Vec::len).min(base as usize + 1);
            (Reverse(has), totals.get(id).copied().unwrap_or(0), *id)
        });
        let mut short: Vec<(usize, MemberId, usize)> = Vec::new();
        for id in order {
            let quota = base + u32::from(extra > 0);
            extra = extra.saturating_sub(1);
            *totals.entry(id).or_default() += quota;
            let quota = quota as usize;
            let has = owned.get(&id).map_or(&[][..], Vec::as_slice);
            for number in has.iter().skip(quota) {
                if self.take_back(id, Partition { topic, number: *number }, until) {
                    free.push(*number);
                }
            }
            if has.len() < quota {
                short.push((has.len(), id, quota));
            }
        }
        free.sort_unstable();
        for number in free {
            let Some(poorest) = short.iter_mut().filter(|(has, _, quota)| has < quota).min() else { return };
            poorest.0 += 1;
            let (partition, by) = (Partition { topic, number }, poorest.1);
            self.held.insert(partition, Held::Owned { by, told: false, position: 0 });
            if let Some(member) = self.members.get_mut(&by) {
                member.assigned.push(partition);
            }
        }
    }

    /// True if it is free at once, because the member never heard of it.
    fn take_back(&mut self, id: MemberId, partition: Partition, until: Instant) -> bool {
        let (Some(held), Some(member)) = (self.held.get_mut(&partition), self.members.get_mut(&id)) else {
            return false;
        };
        if matches!(held, Held::Owned { told: true, .. }) {
            *held = Held::Leaving { from: id, until };
            self.leaving += 1;
            member.revoked.push(partition);
            return false;
        }
        *held = Held::Free;
        member.assigned.retain(|p| *p != partition);
        true
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn settle(group: &mut Group, now: Instant) {
        let patience = Duration::from_secs(1);
        loop {
            group.rebalance(8, now, patience);
            let mut leaving = Vec::new();
            for held in group.held.values_mut() {
                if let Held::Owned { told, .. } = held {
                    *told = true;
                }
            }
            for (id, member) in &mut group.members {
                member.assigned.clear();
                leaving.extend(std::mem::take(&mut member.revoked).into_iter().map(|p| (*id, p)));
            }
            if leaving.is_empty() {
                return;
            }
            for (id, partition) in leaving {
                group.release(id, partition).unwrap();
            }
        }
    }

    proptest! {
        /// Whatever comes and goes: in the end every partition has an owner, and nobody has two more than another.
        #[test]
        fn assignment_settles_and_is_even(steps in proptest::collection::vec((any::<bool>(), 0u64..12), 1..40)) {
            let now = Instant::now();
            let mut group = Group::default();
            for (join, id) in steps {
                if join && !group.members.contains_key(&id) {
                    group.join(id, [Topic::Metrics, Topic::Predictions].into(), Arc::default());
                } else {
                    group.leave(id);
                }
                settle(&mut group, now);
                for topic in [Topic::Metrics, Topic::Predictions] {
                    let mut counts: BTreeMap<MemberId, u32> = group.members.keys().map(|id| (*id, 0)).collect();
                    for (partition, held) in &group.held {
                        if partition.topic == topic && let Held::Owned { by, .. } = held {
                            *counts.get_mut(by).unwrap() += 1;
                        }
                    }
                    if let (Some(most), Some(least)) = (counts.values().max(), counts.values().min()) {
                        prop_assert!(most - least <= 1, "{counts:?}");
                        prop_assert_eq!(counts.values().sum::<u32>(), 8);
                    }
                }
            }
        }
    }

    #[test]
    fn a_third_member_takes_only_what_it_needs() {
        let now = Instant::now();
        let mut group = Group::default();
        for id in [1, 2] {
            group.join(id, [Topic::Metrics].into(), Arc::default());
            settle(&mut group, now);
        }
        group.join(3, [Topic::Metrics].into(), Arc::default());
        group.rebalance(8, now, Duration::from_secs(1));
        let revoked: usize = group.members.values().map(|m| m.revoked.len()).sum();
        assert_eq!(revoked, 2, "8 partitions over 3 members: the new one gets 2, nothing else moves");
    }
}
