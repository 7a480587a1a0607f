//! What the tests share: a broker per test binary, and members that keep a diary.
#![allow(dead_code, clippy::unwrap_used)]

use bytes::Bytes;
use sphere_kafka::{KafkaBus, KafkaConfig};
use sphere_pipeline::{Bus, Consumer, Delivery, Event, Header, Message, Partition, Subscription, Topic};
use sphere_testkit::kafka::{ADDRESS, Kafka};
use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Mutex, Weak};
use std::time::Duration;

/// Nothing here takes that long.
pub const LONG: Duration = Duration::from_secs(60);

/// A broker that nobody may hurt.
pub struct Broker {
    pub bootstrap: Vec<String>,
    _kafka: Option<Kafka>,
}

/// The one of this test binary; it ends with the last test that holds it.
pub fn broker() -> Arc<Broker> {
    static SHARED: Mutex<Weak<Broker>> = Mutex::new(Weak::new());
    let mut shared = SHARED.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
    if let Some(broker) = shared.upgrade() {
        return broker;
    }
    let broker = match std::env::var(ADDRESS) {
        Ok(list) => Broker { bootstrap: list.split(',').map(String::from).collect(), _kafka: None },
        Err(_) => {
            let kafka = Kafka::start(1).unwrap();
            Broker { bootstrap: kafka.bootstrap(), _kafka: Some(kafka) }
        }
    };
    let broker = Arc::new(broker);
    *shared = Arc::downgrade(&broker);
    broker
}

/// A name nobody else uses.
pub fn unique(what: &str) -> String {
    static NEXT: AtomicU32 = AtomicU32::new(0);
    format!("{what}-{}-{}", std::process::id(), NEXT.fetch_add(1, Ordering::Relaxed))
}

/// A configuration with topics of its own and quick sessions.
pub fn config(bootstrap: &[String], partitions: u32) -> KafkaConfig {
    let prefix = unique("t");
    let topics = Topic::ALL.into_iter().map(|topic| (topic, format!("{prefix}.{topic}")));
    KafkaConfig {
        brokers: bootstrap.to_vec(),
        topics: topics.collect::<BTreeMap<_, _>>(),
        partitions,
        session_timeout_seconds: 6.0,
        ..KafkaConfig::default()
    }
}

/// A bus with its topics.
pub async fn bus(config: KafkaConfig) -> KafkaBus {
    let bus = KafkaBus::new(config).unwrap();
    bus.create_topics().await.unwrap();
    bus
}

/// `key` and a number that grows.
pub fn message(key: &str, number: u64) -> Message {
    Message {
        topic: Topic::Metrics,
        key: Bytes::copy_from_slice(key.as_bytes()),
        headers: vec![Header::new("schema-version", "1")],
        payload: Bytes::from(number.to_string()),
    }
}

/// `keys` × `numbers` messages, numbers growing per key.
pub fn messages(keys: u64, numbers: std::ops::Range<u64>) -> Vec<Message> {
    numbers.flat_map(|number| (0..keys).map(move |key| message(&format!("key-{key}"), number))).collect()
}

pub fn number(delivery: &Delivery) -> u64 {
    std::str::from_utf8(&delivery.payload).unwrap().parse().unwrap()
}

pub fn key(delivery: &Delivery) -> String {
    String::from_utf8(delivery.key.to_vec()).unwrap()
}

pub fn subscription(group: &str) -> Subscription {
    Subscription { group: group.into(), topics: vec![Topic::Metrics], max_records: 100 }
}

pub async fn next(consumer: &mut Box<dyn Consumer>) -> Event {
    tokio::time::timeout(LONG, consumer.next()).await.expect("no event in time").unwrap()
}

/// Reads until `count` records have come; other events are skipped.
pub async fn records(consumer: &mut Box<dyn Consumer>, count: usize) -> Vec<Delivery> {
    let mut all = Vec::new();
    while all.len() < count {
        if let Event::Records(records) = next(consumer).await {
            all.extend(records);
        }
    }
    all
}

/// Positions after these records.
pub fn positions(records: &[Delivery]) -> Vec<(Partition, i64)> {
    let mut positions = BTreeMap::new();
    for record in records {
        positions.insert(record.partition, record.offset + 1);
    }
    positions.into_iter().collect()
}

/// Numbers seen per key, in order of arrival.
pub fn by_key(records: &[Delivery]) -> BTreeMap<String, Vec<u64>> {
    let mut seen: BTreeMap<String, Vec<u64>> = BTreeMap::new();
    for record in records {
        seen.entry(key(record)).or_default().push(number(record));
    }
    seen
}
