//! What every store must do, here on one node and on a cluster. Written against the trait alone.
#![allow(clippy::unwrap_used)]

mod common;

use bytes::Bytes;
use common::{LIMIT, put, workload, workloads};
use sphere_core::WorkloadId;
use sphere_pipeline::{Put, Slot, Store};
use sphere_redis::RedisStore;
use sphere_testkit::redis::{Redis, RedisCluster};
use std::time::{Duration, Instant};

async fn values_come_back_in_the_order_asked_for(store: &dyn Store) {
    let ids = workloads(2500);
    let binary = |n: usize| Bytes::from(vec![0, 255, b'\r', b'\n', (n % 256) as u8, (n / 256) as u8]);
    store.put(ids.iter().enumerate().map(|(n, id)| put(id, Slot::State, binary(n))).collect()).await.unwrap();
    let mut asked = ids.clone();
    asked.reverse();
    asked.insert(7, workload(999_999));
    asked.push(ids[3].clone());
    let got = store.get(Slot::State, &asked).await.unwrap();
    assert_eq!(got.len(), asked.len());
    assert_eq!(got[7], None);
    for (id, value) in asked.iter().zip(&got) {
        let expected = ids.iter().position(|other| other == id).map(binary);
        assert_eq!(*value, expected, "{id}");
    }
    assert!(store.get(Slot::Prediction, &ids).await.unwrap().iter().all(Option::is_none));
    assert!(store.get(Slot::State, &[]).await.unwrap().is_empty());
    store.put(Vec::new()).await.unwrap();
}

async fn the_last_value_counts(store: &dyn Store) {
    let id = workload(1);
    let values = ["a", "", "b"].map(|value| put(&id, Slot::Sample, value)).to_vec();
    store.put(values).await.unwrap();
    assert_eq!(store.get(Slot::Sample, std::slice::from_ref(&id)).await.unwrap(), [Some(Bytes::from("b"))]);
    store.put(vec![put(&id, Slot::Sample, "")]).await.unwrap();
    assert_eq!(store.get(Slot::Sample, std::slice::from_ref(&id)).await.unwrap(), [Some(Bytes::new())]);
}

async fn every_slot_is_its_own(store: &dyn Store) {
    let id = workload(2);
    store.put(Slot::ALL.iter().map(|slot| put(&id, *slot, slot.name())).collect()).await.unwrap();
    for slot in Slot::ALL {
        let got = store.get(slot, std::slice::from_ref(&id)).await.unwrap();
        assert_eq!(got, [Some(Bytes::from(slot.name()))]);
    }
}

async fn values_expire_when_asked_to(store: &dyn Store) {
    let ids = workloads(3);
    let after = [Some(Duration::from_millis(300)), Some(Duration::ZERO), None];
    let puts =
        ids.iter().zip(after).map(|(id, expires_in)| Put { expires_in, ..put(id, Slot::Cooldown, "x") });
    let puts: Vec<Put> = puts.collect();
    let started = Instant::now();
    store.put(puts).await.unwrap();
    loop {
        let got = store.get(Slot::Cooldown, &ids).await.unwrap();
        assert!(got[2].is_some());
        if got[0].is_none() {
            assert!(started.elapsed() >= Duration::from_millis(290), "gone after {:?}", started.elapsed());
            assert!(got[1].is_none());
            break;
        }
        assert!(started.elapsed() < LIMIT);
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    // A value that stays takes the expiry of the one before away.
    store
        .put(vec![Put { expires_in: Some(Duration::from_millis(200)), ..put(&ids[0], Slot::Cooldown, "x") }])
        .await
        .unwrap();
    store.put(vec![put(&ids[0], Slot::Cooldown, "y")]).await.unwrap();
    tokio::time::sleep(Duration::from_millis(400)).await;
    assert_eq!(store.get(Slot::Cooldown, &ids[..1]).await.unwrap(), [Some(Bytes::from("y"))]);
}

async fn decisions_come_newest_first_and_are_capped(store: &dyn Store) {
    let (id, other) = (workload(4), workload(5));
    let entry = |n: usize| Bytes::from(format!("{{\"n\":{n}}}"));
    // In one call for several workloads, and in several calls.
    for from in (0..1000).step_by(50) {
        let mut entries: Vec<(WorkloadId, Bytes)> =
            (from..from + 50).map(|n| (id.clone(), entry(n))).collect();
        entries.push((other.clone(), entry(from)));
        store.append(entries, 100).await.unwrap();
    }
    let newest: Vec<Bytes> = (900..1000).rev().map(entry).collect();
    assert_eq!(store.history(&id, 100).await.unwrap(), newest);
    assert_eq!(store.history(&id, 1).await.unwrap(), newest[..1]);
    assert_eq!(store.history(&other, 1000).await.unwrap().len(), 20);
    let kept = store.history(&id, 1000).await.unwrap().len();
    assert!((100..=300).contains(&kept), "{kept} kept, about 100 asked for");
    assert!(store.history(&id, 0).await.unwrap().is_empty());
    assert!(store.history(&workload(6), 10).await.unwrap().is_empty());
}

async fn what_is_forgotten_is_gone_and_nothing_else(store: &dyn Store) {
    let ids = workloads(3);
    for id in &ids {
        store.put(Slot::ALL.iter().map(|slot| put(id, *slot, "x")).collect()).await.unwrap();
        store.append(vec![(id.clone(), Bytes::from("{}"))], 10).await.unwrap();
    }
    store.forget(&[ids[0].clone(), ids[2].clone(), workload(77)]).await.unwrap();
    for slot in Slot::ALL {
        let there: Vec<bool> = store.get(slot, &ids).await.unwrap().iter().map(Option::is_some).collect();
        assert_eq!(there, [false, true, false], "{}", slot.name());
    }
    for (id, count) in ids.iter().zip([0, 1, 0]) {
        assert_eq!(store.history(id, 10).await.unwrap().len(), count);
    }
}

async fn listeners_hear_what_is_announced_after_they_came(store: &dyn Store) {
    store.announce(&workloads(1)).await.unwrap();
    let (mut first, mut second) =
        (store.announcements().await.unwrap(), store.announcements().await.unwrap());
    let ids: Vec<WorkloadId> = (1..5000).map(workload).collect();
    store.announce(&ids).await.unwrap();
    store.announce(&[]).await.unwrap();
    for listener in [&mut first, &mut second] {
        let mut heard = Vec::new();
        while heard.len() < ids.len() {
            let more = tokio::time::timeout(LIMIT, listener.next()).await.expect("all are heard").unwrap();
            assert!(!more.is_empty());
            heard.extend(more);
        }
        assert_eq!(heard, ids);
    }
    let nothing = tokio::time::timeout(Duration::from_millis(100), first.next()).await;
    assert!(nothing.is_err(), "{nothing:?}");
}

async fn all(store: &dyn Store) {
    store.check().await.unwrap();
    values_come_back_in_the_order_asked_for(store).await;
    the_last_value_counts(store).await;
    every_slot_is_its_own(store).await;
    values_expire_when_asked_to(store).await;
    decisions_come_newest_first_and_are_capped(store).await;
    what_is_forgotten_is_gone_and_nothing_else(store).await;
    listeners_hear_what_is_announced_after_they_came(store).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn one_node_is_a_store() {
    let own = if Redis::shared_address().is_none() { Some(Redis::start().unwrap()) } else { None };
    let address = Redis::shared_address().or(own.as_ref().map(Redis::address)).unwrap();
    // A prefix of its own, should the server be shared.
    let prefix = format!("sphere-test-{}", std::process::id());
    let config = sphere_redis::RedisConfig { prefix, ..common::single(&address) };
    let store = RedisStore::connect(config).await.unwrap();
    all(&store).await;
    store.forget(&workloads(2500)).await.unwrap();
    assert_eq!(store.counters().retried_commands, 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_cluster_is_a_store() {
    let cluster = RedisCluster::start().unwrap();
    // One address is enough: the others are learnt.
    let config = common::cluster(vec![cluster.addresses()[4].clone()]);
    let store = RedisStore::connect(config).await.unwrap();
    all(&store).await;
    assert_eq!(store.counters().redirected_commands, 0);
}
