//! How many records per second pass through a real Kafka on this machine, and how long does one take?
//!
//!     cargo run --release -p sphere-kafka --example kafka_throughput [records]

use anyhow::Result;
use bytes::Bytes;
use sphere_kafka::{KafkaBus, KafkaConfig};
use sphere_pipeline::{Bus, Event, Header, Message, Subscription, Topic};
use sphere_testkit::kafka::{Kafka, Options};
use std::sync::Arc;
use std::time::{Duration, Instant};

/// Records per call of `publish`.
const BATCH: usize = 500;
/// Calls under way at the same time.
const CALLS: usize = 16;

/// About 1.5 kB of JSON with numbers that change.
fn record(n: usize) -> Message {
    let mut steps = String::new();
    let mut x = n as u64 + 1;
    for step in 0..30 {
        x = x.wrapping_mul(6364136223846793005).wrapping_add(1442695040888963407);
        let value = (x >> 40) as f64 / 1e5;
        steps += &format!("{{\"at\":{},\"mean\":{value:.5},\"q\":{:.4}}},", 10_000 * step, value * 1.3);
    }
    let payload = format!("{{\"workload\":\"ns/Deployment/w-{}\",\"steps\":[{steps}]}}", n % 1000);
    Message {
        topic: Topic::Metrics,
        key: Bytes::from(format!("ns/Deployment/w-{}", n % 1000)),
        headers: vec![Header::new("schema-version", "1")],
        payload: Bytes::from(payload),
    }
}

fn percentile(sorted: &[Duration], share: f64) -> f64 {
    sorted[((sorted.len() - 1) as f64 * share) as usize].as_secs_f64() * 1e3
}

#[tokio::main]
async fn main() -> Result<()> {
    let count: usize = std::env::args().nth(1).map_or(Ok(600_000), |n| n.parse())?;
    let kafka = Kafka::with(&Options { heap_mib: 1024, ..Options::default() })?;
    let bus = Arc::new(KafkaBus::new(KafkaConfig { brokers: kafka.bootstrap(), ..KafkaConfig::default() })?);
    bus.create_topics().await?;
    let templates: Arc<Vec<Message>> = Arc::new((0..2000).map(record).collect());
    let bytes = templates.iter().map(|m| m.payload.len()).sum::<usize>() / templates.len();
    println!("records: {count} of {bytes} bytes, 12 partitions, 1 broker");

    for round in ["warm-up", "publish"] {
        let count = if round == "warm-up" { count / 4 } else { count };
        let started = Instant::now();
        let mut calls = Vec::new();
        for call in 0..CALLS {
            let (bus, templates) = (bus.clone(), templates.clone());
            calls.push(tokio::spawn(async move {
                let mut n = call * BATCH;
                while n < count {
                    let batch = (n..(n + BATCH).min(count)).map(|i| templates[i % templates.len()].clone());
                    bus.publish(batch.collect()).await?;
                    n += CALLS * BATCH;
                }
                anyhow::Ok(())
            }));
        }
        for call in calls {
            call.await??;
        }
        let seconds = started.elapsed().as_secs_f64();
        println!(
            "{round}: {:.0} records/s, {:.1} MB/s",
            count as f64 / seconds,
            (count * bytes) as f64 / seconds / 1e6
        );
    }

    let total = count + count / 4;
    let group =
        |name: &str| Subscription { group: name.into(), topics: vec![Topic::Metrics], max_records: 1000 };
    let mut consumer = bus.subscribe(group("throughput")).await?;
    let (mut seen, mut started) = (0, None);
    while seen < total {
        if let Event::Records(records) = consumer.next().await? {
            started.get_or_insert_with(Instant::now);
            seen += records.len();
        }
    }
    let seconds = started.map_or(0.0, |s: Instant| s.elapsed().as_secs_f64());
    println!("read: {:.0} records/s", total as f64 / seconds);
    consumer.close().await?;

    // One record at a time, 100 per second: from the call to the acknowledgement, and to the reader.
    let lag_free = Subscription { topics: vec![Topic::Decisions], ..group("latency") };
    let mut consumer = bus.subscribe(lag_free).await?;
    while !matches!(consumer.next().await?, Event::Assigned(_)) {}
    let origin = Instant::now();
    let reader = tokio::spawn(async move {
        let mut took = Vec::new();
        while took.len() < 1000 {
            if let Event::Records(records) = consumer.next().await? {
                for record in records {
                    let sent: u64 = std::str::from_utf8(&record.payload)?.parse()?;
                    took.push(origin.elapsed() - Duration::from_micros(sent));
                }
            }
        }
        consumer.close().await?;
        anyhow::Ok(took)
    });
    let mut acknowledged = Vec::new();
    for n in 0..1000_usize {
        let sent = origin.elapsed();
        let payload = Bytes::from(sent.as_micros().to_string());
        bus.publish(vec![Message { topic: Topic::Decisions, payload, ..record(n) }]).await?;
        acknowledged.push(origin.elapsed() - sent);
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    let mut delivered = reader.await??;
    for (what, times) in [("acknowledged", &mut acknowledged), ("delivered", &mut delivered)] {
        times.sort();
        let [p50, p99, max] = [0.5, 0.99, 1.0].map(|share| percentile(times, share));
        println!("{what}: p50 {p50:.1} ms, p99 {p99:.1} ms, max {max:.1} ms");
    }
    Ok(())
}
