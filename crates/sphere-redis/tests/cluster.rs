//! What holds in a Redis Cluster, also while masters die and slots move?
#![allow(clippy::unwrap_used)]

mod common;

use common::{LIMIT, cluster, heard, put, recovers, until, workload, workloads};
use sphere_core::WorkloadId;
use sphere_pipeline::{Slot, Store, StoreError};
use sphere_redis::RedisStore;
use sphere_testkit::redis::RedisCluster;
use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

#[tokio::test(flavor = "multi_thread")]
async fn one_workload_is_on_one_node_and_many_are_on_all() {
    let nodes = RedisCluster::start().unwrap();
    let store = RedisStore::connect(cluster(nodes.addresses())).await.unwrap();
    let id = workload(0);
    store.put(Slot::ALL.iter().map(|slot| put(&id, *slot, slot.name())).collect()).await.unwrap();
    store.append(vec![(id.clone(), "{}".into())], 10).await.unwrap();
    let inspection = store.inspect(&id).await.unwrap();
    assert_eq!(inspection.values.len(), Slot::ALL.len());
    assert_eq!(inspection.decisions, 1);
    let keys =
        inspection.values.iter().map(|value| value.key.as_str()).chain([inspection.decisions_key.as_str()]);
    for key in keys {
        let slot = nodes.nodes()[0].cli(&["CLUSTER", "KEYSLOT", key]).unwrap();
        assert_eq!(slot, inspection.hash_slot.to_string(), "{key}");
    }
    let owner = nodes.nodes().iter().find(|node| Some(node.address()) == inspection.node).unwrap();
    assert_eq!(owner.cli(&["GET", "sphere:{shop/Deployment/front-end-0}:state"]).unwrap(), "state");

    let ids = workloads(3000);
    store.put(ids.iter().map(|id| put(id, Slot::Prediction, "x")).collect()).await.unwrap();
    let role = |node: &sphere_testkit::redis::ClusterNode| node.cli(&["ROLE"]).unwrap();
    let masters = nodes.nodes().iter().filter(|node| role(node).starts_with("master"));
    let sizes: Vec<usize> = masters.map(|node| node.cli(&["DBSIZE"]).unwrap().parse().unwrap()).collect();
    assert_eq!(sizes.len(), 3);
    assert!(sizes.iter().all(|size| (800..1300).contains(size)), "{sizes:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn inspection_shows_values_with_their_expiry() {
    let nodes = RedisCluster::start().unwrap();
    let store = RedisStore::connect(cluster(nodes.addresses())).await.unwrap();
    let id = workload(0);
    assert!(store.inspect(&id).await.unwrap().values.is_empty());
    let minute = Duration::from_secs(60);
    let mut value = put(&id, Slot::Prediction, "x");
    value.expires_in = Some(minute);
    store.put(vec![value, put(&id, Slot::State, "y")]).await.unwrap();
    let values = store.inspect(&id).await.unwrap().values;
    assert_eq!((values[0].slot, values[1].slot), (Slot::Prediction, Slot::State));
    assert!(values[0].expires_in.is_some_and(|left| left <= minute && left > minute / 2));
    assert_eq!(values[1].expires_in, None);
}

/// Puts and reads values without pause, until told to stop; errors must be transient.
struct Load {
    stop: Arc<AtomicBool>,
    worker: tokio::task::JoinHandle<LoadResult>,
}

#[derive(Default)]
struct LoadResult {
    rounds: usize,
    failed: Vec<String>,
    /// When an operation of all masters succeeded last, and the longest time without.
    longest_gap: Duration,
}

impl Load {
    fn start(store: RedisStore, ids: Vec<WorkloadId>) -> Self {
        let stop = Arc::new(AtomicBool::new(false));
        let told = stop.clone();
        let worker = tokio::spawn(async move {
            let mut result = LoadResult::default();
            let mut last_success = Instant::now();
            // Value of the last acknowledged round: none that is read may be older.
            let mut acknowledged = 0_usize;
            while !told.load(Ordering::SeqCst) {
                result.rounds += 1;
                let round = result.rounds;
                let puts = ids.iter().map(|id| put(id, Slot::Sample, format!("{round:09}"))).collect();
                let outcome: Result<_, StoreError> = async {
                    store.put(puts).await?;
                    acknowledged = round;
                    store.get(Slot::Sample, &ids).await
                }
                .await;
                match outcome {
                    Ok(values) => {
                        for (id, value) in ids.iter().zip(values) {
                            let value = value.unwrap_or_else(|| panic!("{id} is gone"));
                            let value: usize = std::str::from_utf8(&value).unwrap().parse().unwrap();
                            assert!(value >= acknowledged, "{id}: {value} read, {acknowledged} acknowledged");
                        }
                        result.longest_gap = result.longest_gap.max(last_success.elapsed());
                        last_success = Instant::now();
                    }
                    Err(error) => {
                        assert!(error.is_transient(), "{error}");
                        result.failed.push(error.to_string());
                    }
                }
            }
            result
        });
        Self { stop, worker }
    }

    async fn stop(self) -> LoadResult {
        self.stop.store(true, Ordering::SeqCst);
        self.worker.await.unwrap()
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_dead_master_is_replaced_and_what_was_replicated_is_there() {
    let mut nodes = RedisCluster::start().unwrap();
    let store = RedisStore::connect(cluster(nodes.addresses())).await.unwrap();
    let mut listener = store.announcements().await.unwrap();
    let kept = workloads(2000);
    store.put(kept.iter().map(|id| put(id, Slot::State, id.to_string())).collect()).await.unwrap();
    // Every replica has them: it has confirmed all that its master has written.
    for node in nodes.nodes() {
        if node.cli(&["ROLE"]).unwrap().starts_with("master") {
            until("the replica is in step", || async {
                let info = node.cli(&["INFO", "replication"]).unwrap();
                let field = |name: &str| -> String {
                    let found = info.split(['\r', '\n', ',']).find_map(|part| part.strip_prefix(name));
                    found.unwrap_or_default().to_string()
                };
                !field("offset=").is_empty() && field("offset=") == field("master_repl_offset:")
            })
            .await;
        }
    }
    let load = Load::start(store.clone(), (10_000..10_300).map(workload).collect());
    tokio::time::sleep(Duration::from_millis(500)).await;

    let key = "sphere:{shop/Deployment/front-end-0}:state";
    let victim = nodes.master_of_key(key).unwrap();
    let killed = Instant::now();
    nodes.node(victim).process.kill();
    let id = [workload(0)];
    let (_, took) = recovers(|| store.put(vec![put(&id[0], Slot::Sample, "after")])).await;
    println!(
        "cluster: a key of the killed master is written again {:.2} s after (node time-out {:?})",
        took.as_secs_f64(),
        RedisCluster::NODE_TIMEOUT
    );
    assert!(took < LIMIT);
    assert_ne!(nodes.master_of_key(key).unwrap(), victim);
    let (values, _) = recovers(|| store.get(Slot::State, &kept)).await;
    for (id, value) in kept.iter().zip(values) {
        assert_eq!(value.as_deref(), Some(id.to_string().as_bytes()), "{id}");
    }
    heard(&store, listener.as_mut(), &workload(7)).await;
    println!("cluster: announcements heard {:.2} s after the kill", killed.elapsed().as_secs_f64());
    tokio::time::sleep(Duration::from_millis(500)).await;
    let result = load.stop().await;
    println!(
        "load: {} rounds, {} failed, longest time without success {:.2} s, counters {:?}",
        result.rounds,
        result.failed.len(),
        result.longest_gap.as_secs_f64(),
        store.counters()
    );
    assert!(result.rounds > result.failed.len() + 10);

    // The dead one comes back as a replica, and nobody notices.
    nodes.restart(victim).unwrap();
    store.check().await.unwrap();
    store.put(kept.iter().map(|id| put(id, Slot::Sample, "x")).collect()).await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn the_living_masters_serve_while_one_is_dead() {
    let mut nodes = RedisCluster::start().unwrap();
    let store = RedisStore::connect(cluster(nodes.addresses())).await.unwrap();
    let victim = nodes.master_of_slot(0).unwrap();
    let mut living = Vec::new();
    for id in workloads(40) {
        let owner = store.inspect(&id).await.unwrap().node;
        if owner != Some(nodes.nodes()[victim].address()) {
            living.push(id);
        }
    }
    nodes.node(victim).process.pause().unwrap();
    let started = Instant::now();
    while started.elapsed() < RedisCluster::NODE_TIMEOUT {
        let begun = Instant::now();
        store.put(living.iter().map(|id| put(id, Slot::Sample, "x")).collect()).await.unwrap();
        // Whatever waited for the silent one would have waited for the response time-out, two seconds.
        assert!(begun.elapsed() < Duration::from_millis(1900), "{:?}", begun.elapsed());
    }
    nodes.node(victim).process.resume().unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn moving_slots_is_not_noticed() {
    let mut nodes = RedisCluster::start().unwrap();
    let store = RedisStore::connect(cluster(nodes.addresses())).await.unwrap();
    let kept = workloads(3000);
    store.put(kept.iter().map(|id| put(id, Slot::State, vec![b'x'; 500])).collect()).await.unwrap();
    let appended = workload(0);
    let load = Load::start(store.clone(), kept.clone());
    let appender = tokio::spawn({
        let (store, id) = (store.clone(), appended.clone());
        async move {
            for number in 0..2000 {
                store.append(vec![(id.clone(), format!("{{\"n\":{number}}}").into())], 5000).await.unwrap();
                tokio::time::sleep(Duration::from_millis(1)).await;
            }
        }
    });
    let slot = store.inspect(&appended).await.unwrap().hash_slot;
    let from = nodes.master_of_slot(slot).unwrap();
    let to = nodes.master_of_slot((slot + 8192) % 16_384).unwrap();
    let started = Instant::now();
    // There and back again, several hundred slots each time.
    tokio::task::block_in_place(|| {
        nodes.reshard(from, to, 400).unwrap();
        nodes.reshard(to, from, 400).unwrap();
    });
    println!("800 slots moved in {:.1} s", started.elapsed().as_secs_f64());
    appender.await.unwrap();
    let result = load.stop().await;
    println!(
        "load: {} rounds, failed: {:?}, longest round {:.2} s, counters {:?}",
        result.rounds,
        result.failed,
        result.longest_gap.as_secs_f64(),
        store.counters()
    );
    assert!(result.rounds > 3);
    assert!(store.counters().redirected_commands > 0, "no slot in use was moved");
    // Redirected commands are sent again alone: no decision is there twice.
    let history = store.history(&appended, 5000).await.unwrap();
    let mut counts: BTreeMap<_, usize> = BTreeMap::new();
    history.iter().for_each(|entry| *counts.entry(entry.clone()).or_default() += 1);
    assert_eq!(counts.len(), 2000);
    assert_eq!(history.len(), 2000);
    assert!(store.get(Slot::State, &kept).await.unwrap().iter().all(Option::is_some));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_wrong_kind_of_server_is_told() {
    let nodes = RedisCluster::start().unwrap();
    let as_single = RedisStore::new(common::single(&nodes.addresses()[0])).unwrap();
    let error =
        as_single.put(workloads(50).iter().map(|id| put(id, Slot::State, "x")).collect()).await.unwrap_err();
    assert!(!error.is_transient() && error.to_string().contains("cluster: true"), "{error}");
    let one = sphere_testkit::redis::Redis::start().unwrap();
    let error = RedisStore::connect(cluster(vec![one.address()])).await.unwrap_err();
    assert!(!error.is_transient() && error.to_string().contains("cluster support disabled"), "{error}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_listener_moves_on_when_its_node_dies() {
    let mut nodes = RedisCluster::start().unwrap();
    let store = RedisStore::connect(cluster(nodes.addresses())).await.unwrap();
    let mut listener = store.announcements().await.unwrap();
    heard(&store, listener.as_mut(), &workload(1)).await;
    let listens = |node: &sphere_testkit::redis::ClusterNode| {
        node.cli(&["PUBSUB", "NUMSUB", "sphere:predictions"]).unwrap().ends_with('1')
    };
    let at = nodes.nodes().iter().position(listens).unwrap();
    nodes.node(at).process.kill();
    let took = heard(&store, listener.as_mut(), &workload(2)).await;
    println!("cluster: announcements heard {:.2} s after the listener's node was killed", took.as_secs_f64());
    assert_eq!(store.counters().listener_losses, 1);
}
