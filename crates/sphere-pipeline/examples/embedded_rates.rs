//! How fast are the embedded bus and stores? `cargo run --release -p sphere-pipeline --example embedded_rates`
//! prints one JSON object. The file is made in the temporary folder, or in the folder given.

use serde_json::json;
use sphere_core::WorkloadId;
use sphere_pipeline::embedded::{FileStore, MemoryBus, MemoryStore};
use sphere_pipeline::{Bus, Event, Message, Put, Slot, Store, Subscription, Topic};
use std::error::Error;
use std::sync::Arc;
use std::time::{Duration, Instant};

type Outcome<T> = Result<T, Box<dyn Error + Send + Sync>>;

fn message(n: usize, payload: String) -> Message {
    let key = format!("shop/Deployment/w{}", n % 1000).into();
    Message { topic: Topic::Metrics, key, headers: Vec::new(), payload: payload.into() }
}

fn reader(group: &str) -> Subscription {
    Subscription { group: group.into(), topics: vec![Topic::Metrics], max_records: 1000 }
}

/// Seconds to publish, and to read and commit at the same time, `count` messages.
async fn throughput(count: usize) -> Outcome<f64> {
    let bus = MemoryBus::default();
    let mut consumer = bus.subscribe(reader("g")).await?;
    let batches: Vec<Vec<Message>> = (0..count / 1000)
        .map(|b| (0..1000).map(|n| message(n, (b * 1000 + n).to_string())).collect())
        .collect();
    let begin = Instant::now();
    let publisher = tokio::spawn(async move {
        for batch in batches {
            bus.publish(batch).await?;
        }
        Ok::<_, sphere_pipeline::BusError>(())
    });
    let mut read = 0;
    while read < count {
        if let Event::Records(records) = consumer.next().await? {
            read += records.len();
            let mut positions = std::collections::BTreeMap::new();
            for record in &records {
                positions.insert(record.partition, record.offset + 1);
            }
            consumer.commit(&positions.into_iter().collect::<Vec<_>>()).await?;
        }
    }
    publisher.await??;
    Ok(begin.elapsed().as_secs_f64())
}

/// From before `publish` to the record's arrival in a waiting consumer, sorted.
async fn wake_up(count: usize) -> Outcome<Vec<Duration>> {
    let bus = MemoryBus::default();
    let mut consumer = bus.subscribe(reader("g")).await?;
    let origin = Instant::now();
    let publisher = tokio::spawn(async move {
        for n in 0..count {
            tokio::time::sleep(Duration::from_millis(1)).await;
            bus.publish(vec![message(n, origin.elapsed().as_nanos().to_string())]).await?;
        }
        Ok::<_, sphere_pipeline::BusError>(())
    });
    let mut took = Vec::new();
    while took.len() < count {
        if let Event::Records(records) = consumer.next().await? {
            let now = origin.elapsed();
            for record in records {
                let sent = std::str::from_utf8(&record.payload)?.parse()?;
                took.push(now.saturating_sub(Duration::from_nanos(sent)));
            }
        }
    }
    publisher.await??;
    took.sort_unstable();
    Ok(took)
}

async fn store(store: Arc<dyn Store>) -> Outcome<serde_json::Value> {
    let ids: Vec<WorkloadId> = (0..10_000)
        .map(|n| WorkloadId::new("shop", "Deployment", &format!("w{n}")))
        .collect::<Result<_, _>>()?;
    let put = |id: &WorkloadId, slot, bytes, expires_in| Put {
        workload: id.clone(),
        slot,
        value: vec![7; bytes].into(),
        expires_in,
    };
    let begin = Instant::now();
    for part in ids.chunks(200) {
        let soon = Some(Duration::from_secs(150));
        store.put(part.iter().map(|id| put(id, Slot::Prediction, 2000, soon)).collect()).await?;
    }
    let predictions = begin.elapsed().as_secs_f64();
    let begin = Instant::now();
    for part in ids.chunks(200) {
        store.put(part.iter().map(|id| put(id, Slot::State, 12_000, None)).collect()).await?;
    }
    let states = begin.elapsed().as_secs_f64();
    let begin = Instant::now();
    for id in ids.iter().take(200) {
        store.put(vec![put(id, Slot::Autoscaler, 500, None)]).await?;
    }
    let single = begin.elapsed().as_secs_f64() / 200.0;
    let begin = Instant::now();
    let found = store.get(Slot::Prediction, &ids).await?.into_iter().flatten().count();
    let get = begin.elapsed().as_secs_f64();
    Ok(json!({
        "put_2kb_per_s": 10_000.0 / predictions,
        "put_12kb_per_s": 10_000.0 / states,
        "single_put_ms": single * 1e3,
        "get_10000_ms": get * 1e3,
        "found": found,
    }))
}

#[tokio::main]
async fn main() -> Outcome<()> {
    let count = 2_000_000;
    let bus_s = throughput(count).await?;
    let took = wake_up(2000).await?;
    let at = |share: f64| took.get((took.len() as f64 * share) as usize).map(|d| d.as_secs_f64() * 1e6);
    let folder = std::env::args().nth(1).map_or_else(std::env::temp_dir, Into::into);
    let path = folder.join(format!("embedded-rates-{}.redb", std::process::id()));
    let file = FileStore::open(&path).await?;
    let file_rates = store(Arc::new(file)).await;
    std::fs::remove_file(&path)?;
    let report = json!({
        "bus": {
            "messages_per_s": count as f64 / bus_s,
            "wake_up_us_p50": at(0.5), "wake_up_us_p99": at(0.99), "wake_up_us_p999": at(0.999),
        },
        "memory_store": store(Arc::new(MemoryStore::new())).await?,
        "file_store": file_rates?,
    });
    // The program's output.
    println!("{report:#}");
    Ok(())
}
