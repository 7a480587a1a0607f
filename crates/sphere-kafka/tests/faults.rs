//! Does what was acknowledged survive the brokers' deaths?
#![allow(clippy::unwrap_used)]

mod common;

use common::*;
use sphere_kafka::{KafkaBus, KafkaConfig};
use sphere_pipeline::{Bus, BusError, Topic};
use sphere_testkit::kafka::Kafka;
use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

/// Publishes until told to stop, repeating what failed for the moment; returns how many numbers were acknowledged and
/// the longest time one took.
async fn publisher(bus: Arc<KafkaBus>, stop: Arc<AtomicBool>) -> (u64, Duration) {
    let (mut number, mut longest) = (0, Duration::ZERO);
    while !stop.load(Ordering::SeqCst) {
        let started = Instant::now();
        loop {
            match bus.publish(messages(20, number..number + 1)).await {
                Ok(()) => break,
                Err(error @ BusError::Unavailable { .. }) => eprintln!("again: {error}"),
                Err(error) => panic!("{error}"),
            }
        }
        longest = longest.max(started.elapsed());
        number += 1;
    }
    (number, longest)
}

/// Everything up to `acknowledged`, each key in order; a record that was published twice may come twice.
async fn assert_all_there(bus: &KafkaBus, acknowledged: u64) {
    let mut consumer = bus.subscribe(subscription(&unique("g"))).await.unwrap();
    let mut due: BTreeMap<String, u64> = BTreeMap::new();
    let mut repeated = 0;
    while due.len() < 20 || due.values().any(|next| *next < acknowledged) {
        for record in records(&mut consumer, 1).await {
            let next = due.entry(key(&record)).or_default();
            assert!(number(&record) <= *next, "{}: {} where {next} was due", key(&record), number(&record));
            if number(&record) == *next { *next += 1 } else { repeated += 1 }
        }
    }
    eprintln!("{} acknowledged records are there, {repeated} of them twice", 20 * acknowledged);
    consumer.close().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_broker_restart_under_load_loses_no_acknowledged_record() {
    let mut kafka = Kafka::start(1).unwrap();
    let bus = Arc::new(bus(config(&kafka.bootstrap(), 3)).await);
    let stop = Arc::new(AtomicBool::new(false));
    let publishing = tokio::spawn(publisher(bus.clone(), stop.clone()));
    tokio::time::sleep(Duration::from_secs(2)).await;
    kafka.broker(0).kill();
    let kafka = tokio::task::spawn_blocking(move || {
        kafka.restart(0).unwrap();
        kafka
    })
    .await
    .unwrap();
    tokio::time::sleep(Duration::from_secs(3)).await;
    stop.store(true, Ordering::SeqCst);
    let (acknowledged, longest) = publishing.await.unwrap();
    eprintln!("restart of the only broker: the longest publish took {longest:?}");
    assert!(longest > Duration::from_millis(500), "the broker was not missed");
    assert_all_there(&bus, acknowledged).await;
    drop(kafka);
}

#[tokio::test(flavor = "multi_thread")]
async fn the_loss_of_one_of_three_brokers_loses_nothing() {
    let mut kafka = Kafka::start(3).unwrap();
    let config = KafkaConfig { replication: 3, ..config(&kafka.bootstrap(), 6) };
    let bus = Arc::new(bus(config).await);
    let stop = Arc::new(AtomicBool::new(false));
    let publishing = tokio::spawn(publisher(bus.clone(), stop.clone()));
    tokio::time::sleep(Duration::from_secs(3)).await;
    // More groups than brokers, so that some of them lose their coordinator.
    let groups: Vec<String> = (0..12).map(|_| unique("g")).collect();
    for group in &groups {
        bus.lag(group, Topic::Metrics).await.unwrap();
    }
    kafka.broker(1).kill();
    let killed = Instant::now();
    for group in &groups {
        while let Err(error) = bus.lag(group, Topic::Metrics).await {
            eprintln!("again: {error}");
            assert!(matches!(error, BusError::Unavailable { .. }) && killed.elapsed() < LONG, "{error}");
        }
    }
    eprintln!("loss of one of three brokers: the lag of every group was told within {:?}", killed.elapsed());
    tokio::time::sleep(Duration::from_secs(15).saturating_sub(killed.elapsed())).await;
    stop.store(true, Ordering::SeqCst);
    let (acknowledged, longest) = publishing.await.unwrap();
    eprintln!("loss of one of three brokers: publishing recovered within {longest:?}");
    assert_all_there(&bus, acknowledged).await;
}
