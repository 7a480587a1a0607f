//! The promises of [`Consumer`](crate::Consumer) about partitions that change hands.

use super::bus::{Reader, join, number_of, numbered, publish};
use super::{unique, within};
use crate::bus::{Bus, BusError, Consumer, Event, Partition, Topic};
use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex};
use std::time::Duration;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

/// A lone member that owns all partitions, and how many there are.
async fn sole_owner(bus: &Arc<dyn Bus>, group: &str) -> Reader {
    let run = unique("sole");
    publish(bus, (0..10).map(|n| numbered(&run, Topic::Metrics, n, n)).collect()).await;
    let mut reader = Reader::join(bus, group, &[Topic::Metrics], 1000).await;
    reader.read(&run, 10).await;
    assert!(reader.owned.len() > 1, "the suite needs at least two partitions, found {:?}", reader.owned);
    reader
}

/// Polls `newcomer` while `owner` waits for [`Event::Revoked`].
async fn until_revoked(owner: &mut Reader, newcomer: &mut Box<dyn Consumer>) -> Vec<Partition> {
    loop {
        tokio::select! {
            event = owner.consumer.next() => match event.unwrap() {
                Event::Revoked(partitions) => return partitions,
                Event::Lost(partitions) => panic!("{partitions:?} lost by a member that answers"),
                Event::Assigned(_) => {}
                Event::Records(records) => {
                    for record in records {
                        owner.positions.insert(record.partition, record.offset + 1);
                    }
                }
            },
            event = newcomer.next() => match event.unwrap() {
                Event::Assigned(partitions) if partitions.is_empty() => {}
                other => panic!("{other:?} for the new member before anything was released"),
            },
        }
    }
}

pub(super) async fn nobody_owns_what_was_not_released(bus: &Arc<dyn Bus>) {
    let (run, group) = (unique("release"), unique("group"));
    let mut owner = sole_owner(bus, &group).await;
    let mut newcomer = join(bus, &group, &[Topic::Metrics], 1000).await;
    let revoked = within("Revoked", until_revoked(&mut owner, &mut newcomer)).await;
    let some: BTreeSet<_> = revoked.iter().copied().collect();
    assert!(!some.is_empty() && some.is_subset(&owner.owned) && some != owner.owned, "{some:?}");

    // Not released yet: whatever is published stays with nobody, also if we wait for a while.
    publish(bus, (0..200).map(|n| numbered(&run, Topic::Metrics, n, n)).collect()).await;
    let early = tokio::time::timeout(Duration::from_millis(500), async {
        loop {
            tokio::select! {
                event = newcomer.next() => match event.unwrap() {
                    Event::Assigned(partitions) if partitions.is_empty() => {}
                    other => break other,
                },
                event = owner.consumer.next() => if let Event::Records(records) = event.unwrap() {
                    for record in records {
                        assert!(!some.contains(&record.partition), "{} after Revoked", record.partition);
                        owner.positions.insert(record.partition, record.offset + 1);
                    }
                },
            }
        }
    })
    .await;
    assert!(early.is_err(), "the new member got {early:?} before anything was released");

    // A revoked partition is ours to commit until it is released.
    owner.commit().await;
    within("release", owner.consumer.release(&revoked)).await.unwrap();
    let mut got = BTreeSet::new();
    while got != some {
        let event = within("Assigned", async {
            loop {
                tokio::select! {
                    event = newcomer.next() => break event,
                    event = owner.consumer.next() => if let Event::Assigned(p) = event.unwrap() {
                        assert!(p.is_empty(), "{p:?} came back");
                    },
                }
            }
        })
        .await
        .unwrap();
        if let Event::Assigned(partitions) = event {
            got.extend(partitions);
        }
    }

    // What was released is not ours to commit any more.
    let position = revoked.first().map(|p| (*p, owner.positions.get(p).copied().unwrap_or(0))).unwrap();
    match within("commit", owner.consumer.commit(&[position])).await {
        Err(BusError::NotOwner { partition }) => assert_eq!(partition, position.0),
        other => panic!("commit after release: {other:?}"),
    }
    owner.close().await;
    within("close", newcomer.close()).await.unwrap();
}

pub(super) async fn only_owners_commit(bus: &Arc<dyn Bus>) {
    let group = unique("group");
    let mut owner = sole_owner(bus, &group).await;
    owner.commit().await;
    let foreign = Partition { topic: Topic::Decisions, number: 0 };
    match within("commit", owner.consumer.commit(&[(foreign, 0)])).await {
        Err(error @ BusError::NotOwner { partition }) => {
            assert_eq!(partition, foreign);
            assert!(!error.is_transient());
        }
        other => panic!("commit to a topic that was not subscribed: {other:?}"),
    }
    within("commit", owner.consumer.commit(&[])).await.unwrap();
    owner.close().await;
}

/// What all members of a group together know.
#[derive(Default)]
struct Ledger {
    owners: BTreeMap<Partition, usize>,
    /// Per key the sequence numbers, as they came.
    seen: BTreeMap<String, Vec<usize>>,
    /// A commit came too late, so that duplicates are allowed.
    late: bool,
}

struct Worker {
    stop: CancellationToken,
    task: JoinHandle<()>,
}

impl Worker {
    async fn start(
        bus: &Arc<dyn Bus>,
        group: &str,
        run: &str,
        name: usize,
        ledger: &Arc<Mutex<Ledger>>,
    ) -> Self {
        let consumer = join(bus, group, &[Topic::Metrics, Topic::Predictions], 50).await;
        let stop = CancellationToken::new();
        let task = tokio::spawn(work(consumer, run.to_owned(), name, ledger.clone(), stop.clone()));
        Self { stop, task }
    }

    async fn stop(self) {
        self.stop.cancel();
        within("the worker's end", self.task).await.unwrap();
    }
}

async fn work(
    mut consumer: Box<dyn Consumer>,
    run: String,
    name: usize,
    ledger: Arc<Mutex<Ledger>>,
    stop: CancellationToken,
) {
    loop {
        let event = tokio::select! {
            () = stop.cancelled() => break,
            event = consumer.next() => event.unwrap(),
        };
        match event {
            Event::Assigned(partitions) => {
                let mut ledger = ledger.lock().unwrap();
                for partition in partitions {
                    let before = ledger.owners.insert(partition, name);
                    assert_eq!(before, None, "{partition} was given to {name} while it had an owner");
                }
            }
            Event::Revoked(partitions) => {
                for partition in &partitions {
                    let before = ledger.lock().unwrap().owners.remove(partition);
                    assert_eq!(before, Some(name), "{partition} revoked from {name}, who did not own it");
                }
                consumer.release(&partitions).await.unwrap();
            }
            Event::Lost(partitions) => panic!("{name} lost {partitions:?} although it answers at once"),
            Event::Records(records) => {
                let mut positions = BTreeMap::new();
                for record in &records {
                    let mut ledger = ledger.lock().unwrap();
                    assert_eq!(ledger.owners.get(&record.partition), Some(&name), "{}", record.partition);
                    positions.insert(record.partition, record.offset + 1);
                    if let Some((key, seq)) = number_of(&run, record) {
                        ledger.seen.entry(format!("{}/{key}", record.partition.topic)).or_default().push(seq);
                    }
                }
                let positions: Vec<_> = positions.into_iter().collect();
                match consumer.commit(&positions).await {
                    Ok(()) => {}
                    Err(BusError::NotOwner { .. } | BusError::Unavailable { .. }) => {
                        ledger.lock().unwrap().late = true;
                    }
                    Err(other) => panic!("{other}"),
                }
            }
        }
    }
    // Before leaving, not after: from then on others may own them.
    ledger.lock().unwrap().owners.retain(|_, owner| *owner != name);
    consumer.close().await.unwrap();
}

/// Waits until `done` says so of the ledger.
async fn until(what: &str, ledger: &Mutex<Ledger>, done: impl Fn(&Ledger) -> bool) {
    within(what, async {
        while !done(&ledger.lock().unwrap()) {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    })
    .await;
}

pub(super) async fn members_come_and_go_without_loss(bus: &Arc<dyn Bus>) {
    const KEYS: usize = 12;
    let (run, group) = (unique("members"), unique("group"));
    let ledger = Arc::new(Mutex::new(Ledger::default()));
    let stop = CancellationToken::new();
    let publisher = tokio::spawn({
        let (bus, run, stop) = (bus.clone(), run.clone(), stop.clone());
        async move {
            let mut seq = 0;
            while !stop.is_cancelled() {
                let both = [Topic::Metrics, Topic::Predictions];
                let batch = both.iter().flat_map(|t| (0..KEYS).map(|k| numbered(&run, *t, k, seq)));
                publish(&bus, batch.collect()).await;
                seq += 1;
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
            seq
        }
    });
    let owners = |ledger: &Ledger| -> BTreeSet<usize> { ledger.owners.values().copied().collect() };

    let first = Worker::start(bus, &group, &run, 1, &ledger).await;
    until("the first member owns all", &ledger, |l| !l.owners.is_empty() && !l.seen.is_empty()).await;
    let all = ledger.lock().unwrap().owners.len();
    let second = Worker::start(bus, &group, &run, 2, &ledger).await;
    until("both own", &ledger, |l| owners(l) == [1, 2].into() && l.owners.len() == all).await;
    let third = Worker::start(bus, &group, &run, 3, &ledger).await;
    until("three own", &ledger, |l| owners(l) == [1, 2, 3].into() && l.owners.len() == all).await;
    first.stop().await;
    until("two are left", &ledger, |l| owners(l) == [2, 3].into() && l.owners.len() == all).await;
    third.stop().await;
    until("one is left", &ledger, |l| owners(l) == [2].into() && l.owners.len() == all).await;
    stop.cancel();
    let count = publisher.await.unwrap();
    until("everything was read", &ledger, |l| {
        l.seen.len() == 2 * KEYS && l.seen.values().all(|s| s.last() == Some(&(count - 1)))
    })
    .await;
    second.stop().await;

    let ledger = ledger.lock().unwrap();
    for (key, seen) in &ledger.seen {
        let mut next = 0;
        for seq in seen {
            assert!(*seq <= next, "{key}: {seq} came before {next}");
            assert!(*seq == next || ledger.late, "{key}: {seq} came twice though every commit was in time");
            next = next.max(seq + 1);
        }
        assert_eq!(next, count, "{key}");
    }
}
