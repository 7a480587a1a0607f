//! Do members of a group hand over without losing or reordering anything?
#![allow(clippy::unwrap_used)]

mod common;

use common::*;
use sphere_pipeline::{Bus, BusError, Consumer, Delivery, Event, Partition, Topic};
use std::collections::{BTreeMap, BTreeSet};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

/// Every number from 0 on, each first seen in order; repetitions are allowed.
fn assert_whole_and_ordered(records: &[Delivery], keys: usize, numbers: u64) {
    let seen = by_key(records);
    assert_eq!(seen.len(), keys);
    for (key, list) in seen {
        let mut next = 0;
        for number in list {
            assert!(number <= next, "{key}: {number} where {next} was due");
            next = next.max(number + 1);
        }
        assert_eq!(next, numbers, "{key}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_hand_over_continues_exactly_where_the_first_owner_stopped() {
    let broker = broker();
    let bus = bus(config(&broker.bootstrap, 4)).await;
    bus.publish(messages(40, 0..50)).await.unwrap();
    let group = unique("g");
    let mut first = bus.subscribe(subscription(&group)).await.unwrap();
    let mut all = records(&mut first, 700).await;

    let mut second = bus.subscribe(subscription(&group)).await.unwrap();
    let revoked = loop {
        match next(&mut first).await {
            Event::Revoked(list) => break list,
            Event::Records(records) => all.extend(records),
            other => panic!("{other:?}"),
        }
    };
    assert_eq!(revoked.len(), 2);
    let mine: BTreeSet<Partition> = revoked.iter().copied().collect();
    let positions = positions(&all);
    first.commit(&positions).await.unwrap();
    let handed: BTreeMap<Partition, i64> = positions.into_iter().filter(|(p, _)| mine.contains(p)).collect();
    // Before the release the other one gets nothing, and what is left here goes on.
    let early = tokio::time::timeout(Duration::from_secs(2), second.next()).await;
    assert!(early.is_err(), "{early:?}");
    let asked = Instant::now();
    first.release(&revoked).await.unwrap();
    let Event::Assigned(taken) = next(&mut second).await else { panic!("not assigned") };
    eprintln!("hand-over of {} partitions after the release: {:?}", taken.len(), asked.elapsed());
    assert_eq!(taken.iter().copied().collect::<BTreeSet<_>>(), mine);
    let late = first.commit(&[(revoked[0], 1)]).await.unwrap_err();
    assert!(matches!(late, BusError::NotOwner { partition } if partition == revoked[0]), "{late}");

    let mut started = BTreeMap::new();
    while all.len() < 2000 {
        let event = tokio::select! { event = first.next() => event, event = second.next() => event };
        if let Event::Records(records) = event.unwrap() {
            for record in &records {
                if mine.contains(&record.partition) {
                    started.entry(record.partition).or_insert(record.offset);
                }
            }
            all.extend(records);
        }
    }
    for (partition, offset) in started {
        assert_eq!(offset, handed.get(&partition).copied().unwrap_or(0), "{partition}");
    }
    assert_eq!(all.len(), 2000, "something came twice");
    assert_whole_and_ordered(&all, 40, 50);
    first.close().await.unwrap();
    second.close().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn who_does_not_release_in_time_loses_the_partitions() {
    let broker = broker();
    let mut config = config(&broker.bootstrap, 2);
    config.release_timeout_seconds = 1.0;
    let bus = bus(config).await;
    let group = unique("g");
    let mut first = bus.subscribe(subscription(&group)).await.unwrap();
    assert!(matches!(next(&mut first).await, Event::Assigned(list) if list.len() == 2));
    let mut second = bus.subscribe(subscription(&group)).await.unwrap();
    let Event::Revoked(revoked) = next(&mut first).await else { panic!("not revoked") };
    assert_eq!(next(&mut first).await, Event::Lost(revoked.clone()));
    assert_eq!(next(&mut second).await, Event::Assigned(revoked.clone()));
    assert!(matches!(first.commit(&[(revoked[0], 0)]).await, Err(BusError::NotOwner { .. })));
    first.release(&revoked).await.unwrap();
    first.close().await.unwrap();
    second.close().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn who_closes_is_replaced_at_once() {
    let broker = broker();
    let bus = bus(config(&broker.bootstrap, 2)).await;
    bus.publish(messages(4, 0..10)).await.unwrap();
    let group = unique("g");
    let mut first = bus.subscribe(subscription(&group)).await.unwrap();
    let read = records(&mut first, 40).await;
    first.commit(&positions(&read[..20])).await.unwrap();
    // The second waits for the first to release; it closes instead, without having been asked.
    let mut second = bus.subscribe(subscription(&group)).await.unwrap();
    let started = Instant::now();
    first.close().await.unwrap();
    let rest = records(&mut second, 20).await;
    eprintln!("after a close the other one reads within {:?}", started.elapsed());
    assert!(started.elapsed() < Duration::from_secs(6), "that was the session's end, not the goodbye");
    let mut all = read;
    all.extend(rest);
    assert_whole_and_ordered(&all, 4, 10);
    second.close().await.unwrap();
}

/// Not a test of its own: the member that `a_killed_member_is_replaced` kills.
#[tokio::test(flavor = "multi_thread")]
#[ignore = "started by a_killed_member_is_replaced"]
async fn member_to_be_killed() {
    let Ok(text) = std::env::var("SPHERE_TEST_MEMBER") else { return };
    let (config, group): (sphere_kafka::KafkaConfig, String) = serde_json::from_str(&text).unwrap();
    let bus = sphere_kafka::KafkaBus::new(config).unwrap();
    let mut consumer = bus.subscribe(subscription(&group)).await.unwrap();
    loop {
        let read = records(&mut consumer, 1).await;
        consumer.commit(&positions(&read)).await.unwrap();
        eprintln!("committed {}", read.len());
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_killed_member_is_replaced_and_nothing_is_lost() {
    let broker = broker();
    let config = config(&broker.bootstrap, 2);
    let bus = bus(config.clone()).await;
    bus.publish(messages(10, 0..50)).await.unwrap();
    let group = unique("g");
    let mut child = Command::new(std::env::current_exe().unwrap())
        .args(["--exact", "member_to_be_killed", "--ignored", "--nocapture"])
        .env("SPHERE_TEST_MEMBER", serde_json::to_string(&(&config, &group)).unwrap())
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .spawn()
        .unwrap();
    let committed = |lag: u64| lag < 500;
    while !committed(bus.lag(&group, Topic::Metrics).await.unwrap()) {
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    child.kill().unwrap();
    child.wait().unwrap();
    let killed = Instant::now();
    bus.publish(messages(10, 50..100)).await.unwrap();
    let left = bus.lag(&group, Topic::Metrics).await.unwrap();
    assert!((500..1000).contains(&left), "{left}");
    let mut heir: Box<dyn Consumer> = bus.subscribe(subscription(&group)).await.unwrap();
    let read = records(&mut heir, left as usize).await;
    eprintln!("replaced {:?} after the kill", killed.elapsed());
    // The last number of every key is in what is left, and each key goes on without a gap.
    for (key, numbers) in by_key(&read) {
        assert_eq!(numbers.last(), Some(&99), "{key}");
        assert!(numbers.windows(2).all(|pair| pair[1] == pair[0] + 1), "{key}: {numbers:?}");
    }
    heir.commit(&positions(&read)).await.unwrap();
    assert_eq!(bus.lag(&group, Topic::Metrics).await.unwrap(), 0);
    heir.close().await.unwrap();
}
