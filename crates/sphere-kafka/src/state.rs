//! What does a member own, and what has its stage not been told yet?
//!
//! Between librdkafka's thread and the stage. Pure: no clock, no client. Bounded by construction: records up to a
//! limit the thread keeps, and per partition at most one piece of bad news ([`Event::Revoked`], [`Event::Lost`])
//! followed by one [`Event::Assigned`], because an assignment the stage has not seen is taken back silently, and a loss
//! replaces a revocation it has not seen.

use sphere_pipeline::{Delivery, Event, Partition};
use std::collections::{BTreeSet, VecDeque};
use std::time::Instant;

type Partitions = BTreeSet<Partition>;

/// See the module text.
#[derive(Debug, Default)]
pub(crate) struct State {
    owned: Partitions,
    /// Of `owned`: those that wait for the stage's release, and until when.
    revoking: Partitions,
    deadline: Option<Instant>,
    news: VecDeque<Event>,
    records: VecDeque<Delivery>,
}

impl State {
    /// Number of records that wait for the stage.
    pub fn waiting(&self) -> usize {
        self.records.len()
    }

    /// May this one be committed?
    pub fn owns(&self, partition: &Partition) -> bool {
        self.owned.contains(partition)
    }

    /// Are partitions waiting to be released, and has that taken too long?
    pub fn overdue(&self, now: Instant) -> bool {
        self.deadline.is_some_and(|deadline| now >= deadline)
    }

    /// Are partitions waiting to be released?
    pub fn revoking(&self) -> bool {
        !self.revoking.is_empty()
    }

    /// These are ours now.
    pub fn assign(&mut self, partitions: &[Partition]) {
        self.owned.extend(partitions);
        self.tell(Event::Assigned(partitions.to_vec()));
    }

    /// These are to go. True: at once, as the stage does not know of them. False: once it releases them.
    pub fn revoke(&mut self, partitions: &[Partition], deadline: Instant) -> bool {
        self.drop_records(partitions);
        let unseen = self.take_back(|event| matches!(event, Event::Assigned(_)), partitions);
        self.owned.retain(|partition| !unseen.contains(partition));
        let known: Vec<Partition> = partitions.iter().filter(|p| self.owned.contains(p)).copied().collect();
        if known.is_empty() {
            return true;
        }
        self.revoking.extend(&known);
        self.deadline = Some(deadline);
        self.tell(Event::Revoked(known));
        false
    }

    /// The stage lets these go. True when that were the last ones waited for.
    pub fn release(&mut self, partitions: &[Partition]) -> bool {
        if self.revoking.is_empty() {
            return false;
        }
        for partition in partitions {
            if self.revoking.remove(partition) {
                self.owned.remove(partition);
            }
        }
        let all = self.revoking.is_empty();
        if all {
            self.deadline = None;
        }
        all
    }

    /// Those that wait for release are gone without it.
    pub fn lose_revoking(&mut self) {
        let gone: Vec<Partition> = self.revoking.iter().copied().collect();
        self.lose(&gone);
    }

    /// These are gone.
    pub fn lose(&mut self, partitions: &[Partition]) {
        self.drop_records(partitions);
        let unseen = self.take_back(|event| matches!(event, Event::Assigned(_)), partitions);
        self.take_back(|event| matches!(event, Event::Revoked(_)), partitions);
        let known: Vec<Partition> =
            partitions.iter().filter(|p| self.owned.contains(p) && !unseen.contains(p)).copied().collect();
        for partition in partitions {
            self.owned.remove(partition);
            self.revoking.remove(partition);
        }
        if self.revoking.is_empty() {
            self.deadline = None;
        }
        self.tell(Event::Lost(known));
    }

    /// Takes records in, as far as they are of partitions whose records may still be seen.
    pub fn push(&mut self, records: impl IntoIterator<Item = Delivery>) {
        let (owned, revoking) = (&self.owned, &self.revoking);
        let ours = |d: &Delivery| owned.contains(&d.partition) && !revoking.contains(&d.partition);
        self.records.extend(records.into_iter().filter(ours));
    }

    /// The next thing the stage should know: news first, then up to `most` records.
    pub fn next(&mut self, most: usize) -> Option<Event> {
        if let Some(event) = self.news.pop_front() {
            return Some(event);
        }
        if self.records.is_empty() {
            return None;
        }
        let count = self.records.len().min(most.max(1));
        Some(Event::Records(self.records.drain(..count).collect()))
    }

    fn tell(&mut self, event: Event) {
        let (Event::Assigned(list) | Event::Revoked(list) | Event::Lost(list)) = &event else { return };
        if !list.is_empty() {
            self.news.push_back(event);
        }
    }

    fn drop_records(&mut self, partitions: &[Partition]) {
        self.records.retain(|record| !partitions.contains(&record.partition));
    }

    /// Removes partitions from untold news of a kind; returns those that were in there.
    fn take_back(&mut self, kind: impl Fn(&Event) -> bool, partitions: &[Partition]) -> Partitions {
        let mut taken = Partitions::new();
        for event in self.news.iter_mut().filter(|event| kind(event)) {
            if let Event::Assigned(list) | Event::Revoked(list) | Event::Lost(list) = event {
                taken.extend(list.iter().filter(|p| partitions.contains(p)));
                list.retain(|p| !partitions.contains(p));
            }
        }
        let empty = |event: &Event| matches!(event, Event::Assigned(list) | Event::Revoked(list) | Event::Lost(list) if list.is_empty());
        self.news.retain(|event| !empty(event));
        taken
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use bytes::Bytes;
    use sphere_core::Timestamp;
    use sphere_pipeline::Topic;
    use std::time::Duration;

    fn partition(number: u32) -> Partition {
        Partition { topic: Topic::Metrics, number }
    }

    fn record(number: u32, offset: i64) -> Delivery {
        Delivery {
            partition: partition(number),
            offset,
            key: Bytes::new(),
            headers: Vec::new(),
            payload: Bytes::new(),
            published_at: Timestamp(0),
        }
    }

    fn owner_of(numbers: &[u32]) -> State {
        let mut state = State::default();
        state.assign(&numbers.iter().map(|n| partition(*n)).collect::<Vec<_>>());
        state.next(1);
        state
    }

    #[test]
    fn no_record_of_a_revoked_partition_follows_the_news_and_others_go_on() {
        let mut state = owner_of(&[0, 1]);
        state.push([record(0, 5), record(1, 6)]);
        assert!(!state.revoke(&[partition(0)], Instant::now()));
        state.push([record(0, 6), record(1, 7)]);
        assert_eq!(state.next(9), Some(Event::Revoked(vec![partition(0)])));
        assert_eq!(state.next(9), Some(Event::Records(vec![record(1, 6), record(1, 7)])));
        assert!(state.owns(&partition(0)), "it may still be committed");
        assert!(state.release(&[partition(0)]));
        assert!(!state.owns(&partition(0)));
    }

    #[test]
    fn an_assignment_the_stage_never_saw_goes_without_its_consent() {
        let mut state = State::default();
        state.assign(&[partition(0)]);
        assert!(state.revoke(&[partition(0)], Instant::now()));
        assert_eq!(state.next(9), None);
        assert!(!state.owns(&partition(0)));
    }

    #[test]
    fn partitions_go_together_when_the_last_is_released() {
        let mut state = owner_of(&[0, 1]);
        state.revoke(&[partition(0), partition(1)], Instant::now());
        assert!(!state.release(&[partition(0)]));
        assert!(state.release(&[partition(1)]));
        assert!(!state.release(&[partition(1)]), "only once");
    }

    #[test]
    fn who_is_late_hears_of_the_loss_and_owns_nothing() {
        let mut state = owner_of(&[0]);
        let now = Instant::now();
        state.revoke(&[partition(0)], now + Duration::from_secs(1));
        assert!(!state.overdue(now));
        assert!(state.overdue(now + Duration::from_secs(1)));
        assert_eq!(state.next(9), Some(Event::Revoked(vec![partition(0)])));
        state.lose_revoking();
        assert_eq!(state.next(9), Some(Event::Lost(vec![partition(0)])));
        assert!(!state.owns(&partition(0)));
        assert!(!state.overdue(now + Duration::from_secs(9)));
    }

    #[test]
    fn a_stage_that_never_listens_fills_no_memory() {
        let mut state = owner_of(&[0]);
        for _ in 0..100 {
            state.revoke(&[partition(0)], Instant::now());
            state.lose_revoking();
            state.assign(&[partition(0)]);
        }
        assert_eq!(state.next(9), Some(Event::Lost(vec![partition(0)])));
        assert_eq!(state.next(9), Some(Event::Assigned(vec![partition(0)])));
        assert_eq!(state.next(9), None);
    }
}
