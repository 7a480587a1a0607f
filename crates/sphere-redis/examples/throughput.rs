//! How many values per second go in and out? Starts its own servers on this machine, which share its processors.
//!
//!     cargo run --release -p sphere-redis --example throughput

use anyhow::Result;
use redis::cluster::ClusterClient;
use sphere_core::WorkloadId;
use sphere_pipeline::{Put, Slot, Store};
use sphere_redis::{RedisConfig, RedisStore};
use sphere_testkit::redis::{Redis, RedisCluster};
use std::collections::HashMap;
use std::time::Instant;

const WORKLOADS: usize = 10_000;
const ROUNDS: usize = 5;

#[tokio::main]
async fn main() -> Result<()> {
    let ids: Vec<WorkloadId> = (0..WORKLOADS)
        .map(|n| WorkloadId::new("shop", "Deployment", &format!("front-end-{n}")))
        .collect::<Result<_, _>>()?;
    println!("{WORKLOADS} values per operation, median of {ROUNDS}");
    println!(
        "{:<28} {:>7} {:>10} {:>10} {:>8} {:>8}",
        "server", "bytes", "puts/s", "gets/s", "put ms", "get ms"
    );

    let one = Redis::start()?;
    let config = RedisConfig { nodes: vec![one.address()], ..RedisConfig::default() };
    let store = RedisStore::connect(config).await?;
    for bytes in [1536, 12_288] {
        measure("one node", &store, &ids, bytes).await?;
    }
    drop(one);

    let nodes = RedisCluster::start()?;
    let config = RedisConfig { nodes: nodes.addresses(), cluster: true, ..RedisConfig::default() };
    let store = RedisStore::connect(config).await?;
    for bytes in [1536, 12_288] {
        measure("cluster, 3 masters", &store, &ids, bytes).await?;
    }
    let urls: Vec<String> = nodes.addresses().iter().map(|address| format!("redis://{address}")).collect();
    for bytes in [1536, 12_288] {
        compare(&urls, &ids, bytes).await?;
    }
    Ok(())
}

fn line(server: &str, bytes: usize, mut puts: Vec<f64>, mut gets: Vec<f64>) {
    puts.sort_by(f64::total_cmp);
    gets.sort_by(f64::total_cmp);
    let (put, get) = (puts[puts.len() / 2], gets[gets.len() / 2]);
    let rate = |seconds: f64| WORKLOADS as f64 / seconds;
    println!(
        "{server:<28} {bytes:>7} {:>10.0} {:>10.0} {:>8.1} {:>8.1}",
        rate(put),
        rate(get),
        put * 1e3,
        get * 1e3
    );
}

async fn measure(server: &str, store: &RedisStore, ids: &[WorkloadId], bytes: usize) -> Result<()> {
    let (mut puts, mut gets) = (Vec::new(), Vec::new());
    for round in 0..ROUNDS {
        let value = bytes::Bytes::from(vec![round as u8; bytes]);
        let values: Vec<Put> = ids
            .iter()
            .map(|id| Put { workload: id.clone(), slot: Slot::State, value: value.clone(), expires_in: None })
            .collect();
        let started = Instant::now();
        store.put(values).await?;
        puts.push(started.elapsed().as_secs_f64());
        let started = Instant::now();
        let got = store.get(Slot::State, ids).await?;
        gets.push(started.elapsed().as_secs_f64());
        anyhow::ensure!(got.iter().all(|one| one.as_ref() == Some(&value)), "values differ");
    }
    line(server, bytes, puts, gets);
    Ok(())
}

/// The same with the client's own cluster connection, whose pipelines hold one hash slot each.
async fn compare(urls: &[String], ids: &[WorkloadId], bytes: usize) -> Result<()> {
    let connection = ClusterClient::new(urls.to_vec())?.get_async_connection().await?;
    let slots = crc::Crc::<u16>::new(&crc::CRC_16_XMODEM);
    let mut by_slot: HashMap<u16, Vec<String>> = HashMap::new();
    for id in ids {
        let slot = slots.checksum(id.to_string().as_bytes()) % 16_384;
        by_slot.entry(slot).or_default().push(format!("compared:{{{id}}}:state"));
    }
    let (mut puts, mut gets) = (Vec::new(), Vec::new());
    for round in 0..ROUNDS {
        let value = vec![round as u8; bytes];
        for (put, times) in [(true, &mut puts), (false, &mut gets)] {
            let started = Instant::now();
            let sent = by_slot.values().map(|keys| {
                let mut pipeline = redis::pipe();
                for key in keys {
                    match put {
                        true => pipeline.cmd("SET").arg(key).arg(value.as_slice()),
                        false => pipeline.cmd("GET").arg(key),
                    };
                }
                let mut connection = connection.clone();
                async move { pipeline.query_async::<Vec<redis::Value>>(&mut connection).await }
            });
            futures_util::future::try_join_all(sent).await?;
            times.push(started.elapsed().as_secs_f64());
        }
    }
    line(&format!("  by slot ({} pipelines)", by_slot.len()), bytes, puts, gets);
    Ok(())
}
