//! What happens when a single node goes away for a while?
#![allow(clippy::unwrap_used)]

mod common;

use common::{LIMIT, heard, impatient, put, recovers, single, until, workload, workloads};
use sphere_pipeline::{Slot, Store, StoreError};
use sphere_redis::RedisStore;
use sphere_testkit::redis::{Redis, RedisOptions};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::{Duration, Instant};

fn durable() -> Redis {
    Redis::start_with(RedisOptions { append_only: true, ..RedisOptions::default() }).unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_restart_under_load_is_a_transient_error_and_forgets_nothing_acknowledged() {
    let mut redis = durable();
    let store = RedisStore::connect(impatient(single(&redis.address()))).await.unwrap();
    let (stop, failures) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicUsize::new(0)));
    let writers: Vec<_> = (0..4)
        .map(|writer| {
            let (store, stop, failures) = (store.clone(), stop.clone(), failures.clone());
            tokio::spawn(async move {
                let (mut acknowledged, mut number) = (Vec::new(), 0_usize);
                while !stop.load(Ordering::SeqCst) {
                    let id = workload(writer * 1_000_000 + number);
                    match store.put(vec![put(&id, Slot::State, number.to_string())]).await {
                        Ok(()) => acknowledged.push((id, number)),
                        Err(error) => {
                            assert!(error.is_transient(), "{error}");
                            failures.fetch_add(1, Ordering::SeqCst);
                        }
                    }
                    number += 1;
                }
                acknowledged
            })
        })
        .collect();
    tokio::time::sleep(Duration::from_millis(500)).await;
    redis.process.kill();
    until("the outage is noticed", || async { failures.load(Ordering::SeqCst) > 4 }).await;
    redis.restart().unwrap();
    let ((), took) = recovers(|| store.check()).await;
    println!("single node: answers again {:.0} ms after its restart", took.as_secs_f64() * 1e3);
    tokio::time::sleep(Duration::from_millis(500)).await;
    stop.store(true, Ordering::SeqCst);
    let mut total = 0;
    for writer in writers {
        let acknowledged = writer.await.unwrap();
        let ids: Vec<_> = acknowledged.iter().map(|(id, _)| id.clone()).collect();
        let values = store.get(Slot::State, &ids).await.unwrap();
        for ((id, number), value) in acknowledged.iter().zip(values) {
            assert_eq!(value.as_deref(), Some(number.to_string().as_bytes()), "{id}");
        }
        total += ids.len();
    }
    assert!(total > 100, "{total} puts are no load");
    println!("{total} acknowledged puts, all there; {} failed meanwhile", failures.load(Ordering::SeqCst));
}

#[tokio::test(flavor = "multi_thread")]
async fn listeners_come_back_by_themselves() {
    let mut redis = durable();
    let store = RedisStore::connect(single(&redis.address())).await.unwrap();
    let mut listener = store.announcements().await.unwrap();
    heard(&store, listener.as_mut(), &workload(1)).await;
    redis.process.kill();
    until("the loss is noticed", || async { store.counters().listener_losses == 1 }).await;
    redis.restart().unwrap();
    let took = heard(&store, listener.as_mut(), &workload(2)).await;
    println!("single node: announcements heard again {:.0} ms after its restart", took.as_secs_f64() * 1e3);
    assert_eq!(store.counters().listener_losses, 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_node_that_is_silent_is_given_up_in_time_and_used_again_when_it_wakes() {
    let redis = durable();
    let store = RedisStore::connect(impatient(single(&redis.address()))).await.unwrap();
    let mut listener = store.announcements().await.unwrap();
    redis.process.pause().unwrap();
    let started = Instant::now();
    let many: Vec<_> = workloads(5000).iter().map(|id| put(id, Slot::Sample, vec![7; 2000])).collect();
    let error = store.put(many.clone()).await.unwrap_err();
    println!("{error}");
    assert!(matches!(error, StoreError::Unavailable { .. }), "{error}");
    assert!(started.elapsed() < Duration::from_secs(10), "{:?}", started.elapsed());
    // The listener asks a silent connection whether it lives.
    until("the silence is noticed", || async { store.counters().listener_losses >= 1 }).await;
    redis.process.resume().unwrap();
    recovers(|| store.put(many.clone())).await;
    heard(&store, listener.as_mut(), &workload(3)).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_store_can_be_made_while_redis_is_down() {
    let mut redis = Redis::start().unwrap();
    redis.process.kill();
    let store = RedisStore::new(impatient(single(&redis.address()))).unwrap();
    let error = store.get(Slot::Sample, &workloads(3)).await.unwrap_err();
    assert!(error.is_transient() && error.to_string().contains(&redis.address()), "{error}");
    assert!(store.announcements().await.err().unwrap().is_transient());
    redis.restart().unwrap();
    recovers(|| store.check()).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn full_memory_is_a_transient_error() {
    let redis = Redis::start().unwrap();
    let store = RedisStore::connect(impatient(single(&redis.address()))).await.unwrap();
    redis.cli(&["CONFIG", "SET", "maxmemory", "1mb"]).unwrap();
    let error = store.put(vec![put(&workload(0), Slot::State, vec![0; 2 << 20])]).await;
    let error = match error {
        Err(error) => error,
        Ok(()) => store.put(vec![put(&workload(1), Slot::State, "x")]).await.unwrap_err(),
    };
    assert!(error.is_transient() && error.to_string().contains("OOM"), "{error}");
    redis.cli(&["CONFIG", "SET", "maxmemory", "0"]).unwrap();
    store.put(vec![put(&workload(1), Slot::State, "x")]).await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_slow_reader_of_announcements_loses_some_and_blocks_nobody() {
    let redis = Redis::start().unwrap();
    let store = RedisStore::connect(single(&redis.address())).await.unwrap();
    let mut listener = store.announcements().await.unwrap();
    for number in 0..600 {
        store.announce(&[workload(number)]).await.unwrap();
    }
    until("some are dropped", || async { store.counters().announcements_dropped > 0 }).await;
    let first = tokio::time::timeout(LIMIT, listener.next()).await.unwrap().unwrap();
    assert_eq!(first[0], workload(0));
    heard(&store, listener.as_mut(), &workload(1000)).await;
    assert_eq!(store.counters().listener_losses, 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn too_many_clients_is_a_transient_error_also_with_a_password() {
    let options = RedisOptions { password: Some("secret".into()), ..RedisOptions::default() };
    let redis = Redis::start_with(options).unwrap();
    let file = redis.folder().join("password");
    std::fs::write(&file, "secret").unwrap();
    let config = sphere_redis::RedisConfig { password_file: Some(file), ..single(&redis.address()) };
    let first = RedisStore::connect(config.clone()).await.unwrap();
    redis.cli(&["CONFIG", "SET", "maxclients", "1"]).unwrap();
    let second = RedisStore::new(impatient(config)).unwrap();
    let error = second.check().await.unwrap_err();
    println!("{error}");
    assert!(error.is_transient(), "{error}");
    drop(first);
    recovers(|| second.check()).await;
}
