//! Do records come through a real broker as they were, and does the bus say so when they do not?
#![allow(clippy::unwrap_used)]

mod common;

use bytes::Bytes;
use common::*;
use sphere_kafka::{Compression, KafkaBus, KafkaConfig};
use sphere_pipeline::{Bus, BusError, Event, Header, Message, Topic};
use std::time::{Duration, Instant, SystemTime};

#[tokio::test(flavor = "multi_thread")]
async fn a_record_comes_back_with_key_headers_and_time() {
    let broker = broker();
    for compression in [Compression::None, Compression::Lz4, Compression::Zstd] {
        let bus = bus(KafkaConfig { compression, ..config(&broker.bootstrap, 1) }).await;
        let headers = vec![
            Header::new("schema-version", "1"),
            Header::new("twice", "a"),
            Header::new("twice", "b"),
            Header::new("bytes", Bytes::from_static(&[0, 255])),
            Header::new("empty", ""),
        ];
        let full = Message {
            topic: Topic::Metrics,
            key: "a/Deployment/ü".into(),
            headers,
            payload: Bytes::from(vec![7; 100_000]),
        };
        let bare =
            Message { topic: Topic::Metrics, key: Bytes::new(), headers: vec![], payload: Bytes::new() };
        let before = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap().as_millis() as i64;
        bus.publish(vec![full.clone(), bare.clone()]).await.unwrap();

        let mut consumer = bus.subscribe(subscription(&unique("g"))).await.unwrap();
        assert!(matches!(next(&mut consumer).await, Event::Assigned(list) if list.len() == 1));
        let read = records(&mut consumer, 2).await;
        for (sent, got) in [full, bare].iter().zip(&read) {
            assert_eq!((&sent.key, &sent.headers, &sent.payload), (&got.key, &got.headers, &got.payload));
            assert!((before - 1000..before + 60_000).contains(&got.published_at.millis()), "{got:?}");
        }
        assert_eq!([read[0].offset, read[1].offset], [0, 1]);
        consumer.close().await.unwrap();
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn concurrent_batches_are_acknowledged_and_ordered_per_key() {
    let broker = broker();
    let bus = std::sync::Arc::new(bus(config(&broker.bootstrap, 4)).await);
    let mut tasks = Vec::new();
    for task in 0..4_u64 {
        let bus = bus.clone();
        tasks.push(tokio::spawn(async move {
            for batch in 0..20_u64 {
                let numbers = batch * 25..(batch + 1) * 25;
                let messages = numbers.map(|number| message(&format!("key-{task}"), number)).collect();
                bus.publish(messages).await.unwrap();
            }
        }));
    }
    for task in tasks {
        task.await.unwrap();
    }
    let group = unique("g");
    assert_eq!(bus.lag(&group, Topic::Metrics).await.unwrap(), 2000);
    let mut consumer = bus.subscribe(subscription(&group)).await.unwrap();
    let read = records(&mut consumer, 2000).await;
    for (key, numbers) in by_key(&read) {
        assert_eq!(numbers, (0..500).collect::<Vec<_>>(), "{key}");
    }
    consumer.commit(&positions(&read)).await.unwrap();
    assert_eq!(bus.lag(&group, Topic::Metrics).await.unwrap(), 0);
    consumer.close().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_batch_larger_than_the_buffer_passes_through_whole() {
    let broker = broker();
    let small =
        KafkaConfig { buffer_bytes: 1 << 20, message_max_bytes: 128 << 10, ..config(&broker.bootstrap, 2) };
    let bus = bus(small).await;
    let payload = Bytes::from(vec![b'x'; 100 << 10]);
    let batch: Vec<Message> =
        (0..50).map(|n| Message { payload: payload.clone(), ..message(&format!("k{n}"), 0) }).collect();
    tokio::time::timeout(LONG, bus.publish(batch)).await.unwrap().unwrap();
    assert_eq!(bus.lag(&unique("g"), Topic::Metrics).await.unwrap(), 50);
}

#[tokio::test(flavor = "multi_thread")]
async fn too_large_a_record_is_refused_before_anything_is_sent() {
    let broker = broker();
    let limits = KafkaConfig { message_max_bytes: 64 << 10, ..config(&broker.bootstrap, 1) };
    let bus = bus(limits).await;
    // Incompressible, so that the broker sees its size as well.
    let mut state = 1_u64;
    let noise = |bytes: usize, state: &mut u64| {
        let byte = |_| {
            *state = state.wrapping_mul(6364136223846793005).wrapping_add(1442695040888963407);
            (*state >> 33) as u8
        };
        (0..bytes).map(byte).collect::<Vec<u8>>()
    };
    let fits = Message { payload: noise((64 << 10) - 100, &mut state).into(), ..message("k", 0) };
    let large = Message { payload: noise(64 << 10, &mut state).into(), ..message("k", 0) };
    let error = bus.publish(vec![fits.clone(), large]).await.unwrap_err();
    assert!(matches!(error, BusError::TooLarge { bytes } if bytes > 64 << 10), "{error}");
    assert_eq!(bus.lag(&unique("g"), Topic::Metrics).await.unwrap(), 0);
    bus.publish(vec![fits; 5]).await.unwrap();
    assert_eq!(bus.lag(&unique("g"), Topic::Metrics).await.unwrap(), 5);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_limit_of_the_topic_is_told_as_too_large() {
    let broker = broker();
    let strict = KafkaConfig { message_max_bytes: 64 << 10, ..config(&broker.bootstrap, 1) };
    let generous =
        KafkaConfig { message_max_bytes: 1 << 20, compression: Compression::None, ..strict.clone() };
    bus(strict).await;
    let bus = KafkaBus::new(generous).unwrap();
    let large = Message { payload: Bytes::from(vec![1; 500_000]), ..message("k", 0) };
    let error = bus.publish(vec![large]).await.unwrap_err();
    assert!(matches!(error, BusError::TooLarge { bytes: 500_001 }), "{error}");
    bus.publish(vec![message("k", 1)]).await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn existing_topics_are_left_as_they_are() {
    let broker = broker();
    let first = config(&broker.bootstrap, 2);
    let bus = bus(first.clone()).await;
    bus.publish(messages(3, 0..5)).await.unwrap();
    let again = KafkaBus::new(KafkaConfig { partitions: 5, ..first }).unwrap();
    again.create_topics().await.unwrap();
    again.check().await.unwrap();
    let mut consumer = again.subscribe(subscription(&unique("g"))).await.unwrap();
    assert!(matches!(next(&mut consumer).await, Event::Assigned(list) if list.len() == 2));
    assert_eq!(records(&mut consumer, 15).await.len(), 15);
    consumer.close().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn more_copies_than_brokers_are_a_permanent_error() {
    let broker = broker();
    let config = KafkaConfig { replication: 99, ..config(&broker.bootstrap, 1) };
    let error = KafkaBus::new(config).unwrap().create_topics().await.unwrap_err();
    assert!(
        matches!(&error, BusError::Permanent { detail, .. } if detail.contains("replication 99")),
        "{error}"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn an_unknown_host_is_unavailable_quickly() {
    let bus = KafkaBus::new(config(&["no-such-host.invalid:9092".into()], 1)).unwrap();
    for what in ["check", "publish", "topics", "publish again"] {
        let started = Instant::now();
        let result = match what {
            "check" => bus.check().await,
            "topics" => bus.create_topics().await,
            _ => bus.publish(vec![message("k", 1)]).await,
        };
        let error = result.unwrap_err();
        eprintln!("{what}: {error} ({:?})", started.elapsed());
        assert!(error.is_transient(), "{error}");
        assert!(error.to_string().contains("no-such-host"), "{error}");
        assert!(started.elapsed() < Duration::from_secs(10), "{:?}", started.elapsed());
    }
    let mut consumer = bus.subscribe(subscription("g")).await.unwrap();
    let error = tokio::time::timeout(LONG, consumer.next()).await.unwrap().unwrap_err();
    assert!(error.is_transient(), "{error}");
    consumer.close().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_slow_stage_loses_nothing_and_sees_nothing_twice() {
    let broker = broker();
    let bus = bus(config(&broker.bootstrap, 3)).await;
    bus.publish(messages(30, 0..200)).await.unwrap();
    let mut slow = subscription(&unique("g"));
    slow.max_records = 10;
    let mut consumer = bus.subscribe(slow).await.unwrap();
    let mut read = records(&mut consumer, 50).await;
    // Longer than the consumer waits before it pauses its partitions; three times, so that they are resumed, too.
    for _ in 0..3 {
        tokio::time::sleep(Duration::from_millis(1500)).await;
        read.extend(records(&mut consumer, 40).await);
    }
    read.extend(records(&mut consumer, 6000 - read.len()).await);
    for (key, numbers) in by_key(&read) {
        assert_eq!(numbers, (0..200).collect::<Vec<_>>(), "{key}");
    }
    consumer.commit(&positions(&read)).await.unwrap();
    consumer.close().await.unwrap();
}

/// With several requests in flight this failed: the first record of a new topic was acknowledged and not there.
#[tokio::test(flavor = "multi_thread")]
async fn the_first_records_of_a_new_topic_are_stored_when_acknowledged() {
    let broker = broker();
    for round in 0..15 {
        let small = KafkaConfig { message_max_bytes: 128 << 10, ..config(&broker.bootstrap, 2) };
        let bus = bus(small).await;
        let payload = Bytes::from(vec![b'x'; 100 << 10]);
        let batch = (0..50).map(|n| Message { payload: payload.clone(), ..message(&format!("k{n}"), 0) });
        bus.publish(batch.collect()).await.unwrap();
        let stored = bus.lag(&unique("g"), Topic::Metrics).await.unwrap();
        assert_eq!(stored, 50, "round {round}");
    }
}
