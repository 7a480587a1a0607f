//! What does the bus in memory do when members come, go and crash at random, and when nobody reads?

#![allow(clippy::unwrap_used, reason = "a failing test is the message")]

use proptest::prelude::*;
use sphere_pipeline::embedded::{MemoryBus, MemoryBusConfig, Retention};
use sphere_pipeline::{Bus, BusError, Consumer, Event, Message, Partition, Subscription, Topic};
use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;
use tokio::time::Instant;

fn message(key: u8, seq: usize) -> Message {
    Message {
        topic: Topic::Metrics,
        key: vec![b'k', key].into(),
        headers: Vec::new(),
        payload: seq.to_string().into(),
    }
}

async fn join(bus: &MemoryBus, group: usize, max_records: usize) -> Box<dyn Consumer> {
    let subscription = Subscription { group: format!("g{group}"), topics: vec![Topic::Metrics], max_records };
    bus.subscribe(subscription).await.unwrap()
}

#[derive(Clone, Debug)]
enum Step {
    Publish {
        key: u8,
        count: usize,
    },
    Join {
        group: usize,
    },
    /// Takes the member's next event if there is one.
    Poll {
        member: usize,
    },
    Commit {
        member: usize,
    },
    /// Commits and leaves.
    Leave {
        member: usize,
    },
    /// Leaves without a word.
    Crash {
        member: usize,
    },
    /// Lets time pass, in milliseconds.
    Wait {
        ms: u64,
    },
}

fn steps(crashes: bool) -> impl Strategy<Value = Vec<Step>> {
    let step = prop_oneof![
        4 => (0u8..6, 1usize..20).prop_map(|(key, count)| Step::Publish { key, count }),
        2 => (0usize..2).prop_map(|group| Step::Join { group }),
        8 => any::<usize>().prop_map(|member| Step::Poll { member }),
        3 => any::<usize>().prop_map(|member| Step::Commit { member }),
        1 => any::<usize>().prop_map(|member| Step::Leave { member }),
        u32::from(crashes) => any::<usize>().prop_map(|member| Step::Crash { member }),
        u32::from(crashes) => (0u64..400).prop_map(|ms| Step::Wait { ms }),
    ];
    proptest::collection::vec(step, 1..120)
}

/// How long a member has to release what was revoked.
const RELEASE_PATIENCE: Duration = Duration::from_millis(300);

struct Member {
    group: usize,
    consumer: Box<dyn Consumer>,
    /// What it was told it owns.
    owned: BTreeMap<Partition, Hold>,
    /// Told to give up, and not released yet.
    revoked: Vec<Partition>,
}

struct Hold {
    /// The next offset; `None` before the first record.
    next: Option<i64>,
    since: Instant,
    /// It is somebody else's, because its time ran out, and [`Event::Lost`] must be next to come of it.
    taken: bool,
}

struct World {
    bus: MemoryBus,
    members: Vec<Member>,
    published: BTreeMap<u8, usize>,
    /// Per group and key: sequence numbers as they were delivered.
    seen: BTreeMap<(usize, u8), Vec<usize>>,
}

impl World {
    fn new() -> Self {
        let config = MemoryBusConfig { release_patience: RELEASE_PATIENCE, ..MemoryBusConfig::default() };
        Self {
            bus: MemoryBus::new(config),
            members: Vec::new(),
            published: BTreeMap::new(),
            seen: BTreeMap::new(),
        }
    }

    fn pick(&self, member: usize) -> Option<usize> {
        member.checked_rem(self.members.len())
    }

    async fn commit(&mut self, at: usize) {
        let member = &mut self.members[at];
        let positions: Vec<_> = member.owned.iter().filter_map(|(p, o)| Some((*p, o.next?))).collect();
        match member.consumer.commit(&positions).await {
            Ok(()) => {}
            // Only who was too slow to release may hear this.
            Err(BusError::NotOwner { partition }) => {
                assert!(member.owned[&partition].since.elapsed() >= RELEASE_PATIENCE, "{partition}");
            }
            Err(other) => panic!("{other}"),
        }
        let revoked = std::mem::take(&mut member.revoked);
        for partition in &revoked {
            member.owned.remove(partition);
        }
        member.consumer.release(&revoked).await.unwrap();
    }

    /// True if there was an event.
    async fn poll(&mut self, at: usize) -> bool {
        // A zero time-out polls once: what is there is taken, nothing is waited for.
        let Ok(event) = tokio::time::timeout(Duration::ZERO, self.members[at].consumer.next()).await else {
            return false;
        };
        let group = self.members[at].group;
        match event.unwrap() {
            Event::Assigned(partitions) => {
                for partition in partitions {
                    for other in self.members.iter_mut().filter(|m| m.group == group) {
                        if let Some(hold) = other.owned.get_mut(&partition).filter(|h| !h.taken) {
                            let in_time = hold.since.elapsed() < RELEASE_PATIENCE;
                            assert!(!in_time, "{partition} has two owners in group {group}");
                            hold.taken = true;
                        }
                    }
                    let hold = Hold { next: None, since: Instant::now(), taken: false };
                    let before = self.members[at].owned.insert(partition, hold);
                    assert!(before.is_none(), "{partition} came back before it was known to be lost");
                }
            }
            Event::Revoked(partitions) => {
                let member = &mut self.members[at];
                assert!(partitions.iter().all(|p| member.owned.contains_key(p)));
                member.revoked.extend(partitions);
            }
            Event::Lost(partitions) => {
                let member = &mut self.members[at];
                for partition in partitions {
                    // Lost twice, or after a release that was in vain, is forgotten already.
                    member.owned.remove(&partition);
                    member.revoked.retain(|p| *p != partition);
                }
            }
            Event::Records(records) => {
                for record in records {
                    let member = &mut self.members[at];
                    assert!(!member.revoked.contains(&record.partition), "a record after Revoked");
                    let Hold { next, taken, .. } = member.owned.get_mut(&record.partition).unwrap();
                    assert!(!*taken, "a record of {}, which another has", record.partition);
                    assert!(next.is_none_or(|n| n == record.offset), "a gap in {}", record.partition);
                    *next = Some(record.offset + 1);
                    let seq = std::str::from_utf8(&record.payload).unwrap().parse().unwrap();
                    self.seen.entry((group, record.key[1])).or_default().push(seq);
                }
            }
        }
        true
    }

    async fn step(&mut self, step: Step) {
        match step {
            Step::Publish { key, count } => {
                let next = self.published.entry(key).or_default();
                let batch = (*next..*next + count).map(|seq| message(key, seq)).collect();
                *next += count;
                self.bus.publish(batch).await.unwrap();
            }
            Step::Join { group } if self.members.len() < 10 => {
                let consumer = join(&self.bus, group, 7).await;
                self.members.push(Member { group, consumer, owned: BTreeMap::new(), revoked: Vec::new() });
            }
            Step::Join { .. } => {}
            Step::Poll { member } => {
                if let Some(at) = self.pick(member) {
                    self.poll(at).await;
                }
            }
            Step::Commit { member } => {
                if let Some(at) = self.pick(member) {
                    self.commit(at).await;
                }
            }
            Step::Leave { member } => {
                if let Some(at) = self.pick(member) {
                    self.commit(at).await;
                    self.members.swap_remove(at).consumer.close().await.unwrap();
                }
            }
            Step::Crash { member } => {
                if let Some(at) = self.pick(member) {
                    self.members.swap_remove(at);
                }
            }
            Step::Wait { ms } => tokio::time::advance(Duration::from_millis(ms)).await,
        }
    }

    /// Lets everybody read to the end, with at least one member per group.
    async fn finish(&mut self) {
        for group in 0..2 {
            if !self.members.iter().any(|m| m.group == group) {
                let consumer = join(&self.bus, group, 7).await;
                self.members.push(Member { group, consumer, owned: BTreeMap::new(), revoked: Vec::new() });
            }
        }
        loop {
            let mut any = false;
            for at in 0..self.members.len() {
                while self.poll(at).await {
                    any = true;
                }
                any |= !self.members[at].revoked.is_empty();
                self.commit(at).await;
            }
            if !any {
                break;
            }
        }
        for group in ["g0", "g1"] {
            assert_eq!(self.bus.lag(group, Topic::Metrics).await.unwrap(), 0);
        }
    }
}

fn run(steps: Vec<Step>) -> World {
    let runtime =
        tokio::runtime::Builder::new_current_thread().enable_time().start_paused(true).build().unwrap();
    runtime.block_on(async {
        let mut world = World::new();
        for step in steps {
            world.step(step).await;
        }
        world.finish().await;
        world
    })
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(300))]

    #[test]
    fn without_crashes_every_group_reads_every_record_once_and_in_order(steps in steps(false)) {
        let world = run(steps);
        for group in 0..2 {
            for (key, count) in &world.published {
                let seen = world.seen.get(&(group, *key)).cloned().unwrap_or_default();
                prop_assert_eq!(seen, (0..*count).collect::<Vec<_>>(), "group {} key {}", group, key);
            }
        }
    }

    #[test]
    fn crashes_and_slow_members_lose_nothing(steps in steps(true)) {
        let world = run(steps);
        for group in 0..2 {
            for (key, count) in &world.published {
                let seen = world.seen.get(&(group, *key)).cloned().unwrap_or_default();
                let mut next = 0;
                for seq in &seen {
                    prop_assert!(*seq <= next, "group {} key {}: {} before {}", group, key, seq, next);
                    next = next.max(seq + 1);
                }
                prop_assert_eq!(next, *count, "group {} key {}", group, key);
            }
        }
    }
}

fn small(records: usize, bytes: usize) -> MemoryBus {
    MemoryBus::new(MemoryBusConfig {
        partitions: 1,
        retention: Retention { records, bytes },
        publish_patience: Duration::from_secs(5),
        ..MemoryBusConfig::default()
    })
}

#[tokio::test(start_paused = true)]
async fn a_publisher_waits_for_the_slowest_reader_and_then_says_so() {
    let bus = small(10, 1 << 20);
    let mut reader = join(&bus, 0, 100).await;
    assert!(matches!(reader.next().await, Ok(Event::Assigned(_))));
    bus.publish((0..10).map(|n| message(0, n)).collect()).await.unwrap();
    let error = bus.publish(vec![message(0, 10)]).await.unwrap_err();
    assert!(error.is_transient() && error.to_string().contains("metrics/0 is full"), "{error}");

    let waiting = tokio::spawn({
        let bus = bus.clone();
        async move { bus.publish((10..25).map(|n| message(0, n)).collect()).await }
    });
    let mut got = Vec::new();
    while got.len() < 25 {
        let Event::Records(records) = reader.next().await.unwrap() else { panic!("no records") };
        let last = records.last().unwrap();
        let position = (last.partition, last.offset + 1);
        got.extend(records.into_iter().map(|r| String::from_utf8(r.payload.to_vec()).unwrap()));
        reader.commit(&[position]).await.unwrap();
    }
    waiting.await.unwrap().unwrap();
    assert_eq!(got, (0..25).map(|n| n.to_string()).collect::<Vec<_>>());
    let stats = bus.stats(Topic::Metrics);
    assert_eq!((stats.published, stats.dropped, stats.evicted, stats.records), (25, 0, 15, 10));
    assert!(stats.delayed >= 2, "{stats:?}");
}

#[tokio::test(start_paused = true)]
async fn a_group_that_left_holds_up_nobody_and_its_loss_is_counted() {
    let bus = small(10, 1 << 20);
    bus.publish((0..30).map(|n| message(0, n)).collect()).await.unwrap();
    assert_eq!(bus.stats(Topic::Metrics).dropped, 20, "without any group the oldest go");
    drop(join(&bus, 0, 100).await);
    bus.publish((30..35).map(|n| message(0, n)).collect()).await.unwrap();
    assert_eq!(bus.stats(Topic::Metrics).dropped, 25);
    let mut back = join(&bus, 0, 100).await;
    assert!(matches!(back.next().await, Ok(Event::Assigned(_))));
    let Event::Records(records) = back.next().await.unwrap() else { panic!("no records") };
    assert_eq!((records.len(), records[0].offset), (10, 25), "it goes on with the oldest there is");
}

#[tokio::test(start_paused = true)]
async fn bytes_are_bounded_too() {
    let bus = small(1000, 100_000);
    for n in 0..50 {
        let payload = vec![b'x'; 30_000].into();
        bus.publish(vec![Message { payload, ..message(0, n) }]).await.unwrap();
        assert!(bus.stats(Topic::Metrics).bytes <= 100_000);
    }
    let alone = vec![b'x'; 200_000].into();
    bus.publish(vec![Message { payload: alone, ..message(0, 50) }]).await.unwrap();
    assert_eq!(bus.stats(Topic::Metrics).records, 1, "a record larger than the bound is kept alone");
}

#[tokio::test(start_paused = true)]
async fn who_does_not_release_in_time_loses_the_partition() {
    let bus = MemoryBus::default();
    let mut slow = join(&bus, 0, 100).await;
    let Event::Assigned(all) = slow.next().await.unwrap() else { panic!("not assigned") };
    let mut newcomer = join(&bus, 0, 100).await;
    let Event::Revoked(revoked) = slow.next().await.unwrap() else { panic!("not revoked") };
    assert_eq!((all.len(), revoked.len()), (8, 4));
    // The clock is virtual and runs on only while everybody waits: this returns after the 30 s for releasing.
    let begin = tokio::time::Instant::now();
    let Event::Assigned(taken) = newcomer.next().await.unwrap() else { panic!("not assigned") };
    assert!((30..=31).contains(&begin.elapsed().as_secs()));
    assert_eq!(taken.iter().collect::<BTreeSet<_>>(), revoked.iter().collect());
    let late = slow.commit(&[(revoked[0], 0)]).await;
    assert!(matches!(late, Err(BusError::NotOwner { partition }) if partition == revoked[0]));
    slow.release(&revoked).await.unwrap();
    let Event::Lost(lost) = slow.next().await.unwrap() else { panic!("not lost") };
    assert_eq!(lost, revoked);
}

#[tokio::test]
async fn senseless_calls_are_refused_with_what_is_accepted() {
    let bus = MemoryBus::default();
    for (group, topics, max_records) in
        [("", vec![Topic::Metrics], 1), ("g", vec![], 1), ("g", vec![Topic::Metrics], 0)]
    {
        let refused = bus.subscribe(Subscription { group: group.into(), topics, max_records }).await;
        assert!(matches!(refused.err(), Some(BusError::Permanent { .. })));
    }
    let mut reader = join(&bus, 0, 1).await;
    let Event::Assigned(all) = reader.next().await.unwrap() else { panic!("not assigned") };
    for offset in [-1, 1] {
        let error = reader.commit(&[(all[0], offset)]).await.unwrap_err();
        assert!(error.to_string().contains("0 to 0 is accepted"), "{error}");
    }
    let error = reader.release(&all[..1]).await.unwrap_err();
    assert!(error.to_string().contains("was not revoked"), "{error}");
}
