//! The promises of [`Store`] and [`Announcements`](crate::Announcements).

use super::{PATIENCE, unique, within};
use crate::store::{Announcements, Put, Slot, Store};
use bytes::Bytes;
use sphere_core::WorkloadId;
use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;
use tokio::time::Instant;

/// Checks all promises, one after the other. Takes about ten seconds, mostly for what expires.
pub async fn store_suite(store: Arc<dyn Store>) {
    within("check", store.check()).await.unwrap();
    values_come_back_in_the_order_asked_for(&store).await;
    slots_do_not_affect_each_other(&store).await;
    large_values_and_long_names_are_kept(&store).await;
    values_expire_in_time_and_not_before(&store).await;
    the_last_put_decides_about_expiry(&store).await;
    forgetting_leaves_nothing_and_spares_the_others(&store).await;
    the_list_of_decisions_is_capped_and_newest_first(&store).await;
    announcements_reach_every_listener(&store).await;
    a_cancelled_listener_loses_nothing(&store).await;
    concurrent_writers_and_readers_see_whole_values(&store).await;
}

/// Workloads nobody used before.
fn workloads(count: usize) -> Vec<WorkloadId> {
    let namespace = unique("ns");
    (0..count).map(|n| WorkloadId::new(&namespace, "Deployment", &format!("w{n}.x-y")).unwrap()).collect()
}

fn value(workload: &WorkloadId, slot: Slot, value: impl Into<Bytes>) -> Put {
    Put { workload: workload.clone(), slot, value: value.into(), expires_in: None }
}

async fn put(store: &Arc<dyn Store>, values: Vec<Put>) {
    within("put", store.put(values)).await.unwrap();
}

async fn get(store: &Arc<dyn Store>, slot: Slot, workloads: &[WorkloadId]) -> Vec<Option<Bytes>> {
    within("get", store.get(slot, workloads)).await.unwrap()
}

async fn one(store: &Arc<dyn Store>, slot: Slot, workload: &WorkloadId) -> Option<Bytes> {
    let found = get(store, slot, std::slice::from_ref(workload)).await;
    assert_eq!(found.len(), 1);
    found.into_iter().next().flatten()
}

async fn values_come_back_in_the_order_asked_for(store: &Arc<dyn Store>) {
    let ids = workloads(300);
    put(store, Vec::new()).await;
    assert!(get(store, Slot::Sample, &[]).await.is_empty());
    assert_eq!(get(store, Slot::Sample, &ids).await, vec![None; 300]);
    let even = ids.iter().step_by(2);
    put(store, even.map(|id| value(id, Slot::Sample, id.to_string())).collect()).await;
    let mut asked: Vec<WorkloadId> = ids.iter().rev().cloned().collect();
    asked.extend(ids.first().cloned());
    let found = get(store, Slot::Sample, &asked).await;
    assert_eq!(found.len(), asked.len());
    for (id, found) in asked.iter().zip(found) {
        let there = ids.iter().step_by(2).any(|even| even == id);
        assert_eq!(found, there.then(|| Bytes::from(id.to_string())), "{id}");
    }
    put(store, vec![value(&asked[300], Slot::Sample, "newer")]).await;
    assert_eq!(one(store, Slot::Sample, &asked[300]).await, Some("newer".into()));
}

async fn slots_do_not_affect_each_other(store: &Arc<dyn Store>) {
    let id = &workloads(1)[0];
    put(store, Slot::ALL.map(|slot| value(id, slot, slot.name())).to_vec()).await;
    for slot in Slot::ALL {
        assert_eq!(one(store, slot, id).await, Some(slot.name().into()));
    }
}

async fn large_values_and_long_names_are_kept(store: &Arc<dyn Store>) {
    let namespace = format!("{:x<63}", unique("n"));
    let longest = WorkloadId::new(&namespace, &"K".repeat(63), &"n.1-".repeat(64)[..253]).unwrap();
    let neighbour = WorkloadId::new(&namespace, &"K".repeat(63), &"n.1-".repeat(64)[..249]).unwrap();
    let binary: Bytes = (0..1u32 << 20).map(|n| (n.wrapping_mul(2_654_435_761) >> 24) as u8).collect();
    put(store, vec![value(&longest, Slot::State, binary.clone()), value(&neighbour, Slot::State, "")]).await;
    assert_eq!(one(store, Slot::State, &longest).await, Some(binary));
    assert_eq!(one(store, Slot::State, &neighbour).await, Some(Bytes::new()), "empty is not absent");
}

async fn values_expire_in_time_and_not_before(store: &Arc<dyn Store>) {
    const SPAN: Duration = Duration::from_secs(2);
    // The expiry may be on another clock than ours.
    const TOLERANCE: Duration = Duration::from_millis(100);
    let ids = workloads(2);
    let begin = Instant::now();
    let mut short = value(&ids[0], Slot::Cooldown, "on");
    short.expires_in = Some(SPAN);
    put(store, vec![short, value(&ids[1], Slot::Cooldown, "stays")]).await;
    loop {
        let found = one(store, Slot::Cooldown, &ids[0]).await;
        let after = begin.elapsed();
        if found.is_none() {
            assert!(after + TOLERANCE >= SPAN, "gone after {after:?}");
            break;
        }
        assert!(after < SPAN + PATIENCE, "still there after {after:?}");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    assert_eq!(one(store, Slot::Cooldown, &ids[1]).await, Some("stays".into()));
}

async fn the_last_put_decides_about_expiry(store: &Arc<dyn Store>) {
    let ids = workloads(3);
    let span = Duration::from_secs(1);
    let expiring =
        |id, text: &'static str, expires_in| Put { expires_in, ..value(id, Slot::Prediction, text) };
    put(store, ids.iter().map(|id| expiring(id, "short", Some(span))).collect()).await;
    put(
        store,
        vec![expiring(&ids[0], "stays", None), expiring(&ids[1], "long", Some(Duration::from_secs(3600)))],
    )
    .await;
    within("the third value's expiry", async {
        while one(store, Slot::Prediction, &ids[2]).await.is_some() {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    })
    .await;
    // Whatever cleans up expired values has had its chance at these, too.
    tokio::time::sleep(span).await;
    put(store, vec![expiring(&ids[2], "again", None)]).await;
    let found = get(store, Slot::Prediction, &ids).await;
    assert_eq!(found, [Some("stays".into()), Some("long".into()), Some("again".into())]);
}

async fn forgetting_leaves_nothing_and_spares_the_others(store: &Arc<dyn Store>) {
    let ids = workloads(3);
    for slot in Slot::ALL {
        let expires_in = (slot == Slot::Prediction).then_some(Duration::from_secs(3600));
        put(store, ids.iter().map(|id| Put { expires_in, ..value(id, slot, "x") }).collect()).await;
    }
    let entries = ids.iter().map(|id| (id.clone(), "decided".into())).collect();
    within("append", store.append(entries, 10)).await.unwrap();
    within("forget", store.forget(&ids[..2])).await.unwrap();
    within("forget nothing", store.forget(&[])).await.unwrap();
    within("forget the unknown", store.forget(&workloads(1))).await.unwrap();
    for slot in Slot::ALL {
        assert_eq!(get(store, slot, &ids).await, [None, None, Some("x".into())], "{slot:?}");
    }
    for (id, expected) in ids.iter().zip([0, 0, 1]) {
        assert_eq!(within("history", store.history(id, 10)).await.unwrap().len(), expected);
    }
}

async fn the_list_of_decisions_is_capped_and_newest_first(store: &Arc<dyn Store>) {
    const KEEP: usize = 20;
    // "About": a stream may be cut in blocks.
    const SLACK: usize = 200;
    let ids = workloads(2);
    let history = |count| within("history", store.history(&ids[0], count));
    assert!(history(5).await.unwrap().is_empty());
    for batch in 0..50 {
        let mut entries: Vec<_> =
            (0..20).map(|n| (ids[0].clone(), Bytes::from((batch * 20 + n).to_string()))).collect();
        entries.push((ids[1].clone(), Bytes::from("other")));
        within("append", store.append(entries, KEEP)).await.unwrap();
        let newest: Vec<Bytes> = (0..KEEP).map(|n| (batch * 20 + 19 - n).to_string().into()).collect();
        assert_eq!(history(KEEP).await.unwrap(), newest);
    }
    let all = history(10_000).await.unwrap().len();
    assert!((KEEP..=KEEP + SLACK).contains(&all), "{all} of 1000 are kept");
    assert_eq!(history(3).await.unwrap(), ["999", "998", "997"]);
    let other = within("history", store.history(&ids[1], 10_000)).await.unwrap();
    assert!((KEEP..=KEEP + SLACK).contains(&other.len()) && other.iter().all(|e| e == "other"));
}

/// What is heard until `count` of the expected workloads were; foreign ones are left out.
async fn hear(listener: &mut Box<dyn Announcements>, expected: &[WorkloadId]) -> BTreeSet<WorkloadId> {
    let mut heard = BTreeSet::new();
    while heard.len() < expected.len() {
        let some = within("an announcement", listener.next()).await.unwrap();
        assert!(!some.is_empty(), "an empty announcement");
        heard.extend(some.into_iter().filter(|id| expected.contains(id)));
    }
    heard
}

async fn announcements_reach_every_listener(store: &Arc<dyn Store>) {
    let ids = workloads(50);
    within("announce to nobody", store.announce(&ids)).await.unwrap();
    within("announce nothing", store.announce(&[])).await.unwrap();
    let mut one = within("listen", store.announcements()).await.unwrap();
    let mut two = within("listen", store.announcements()).await.unwrap();
    let later = workloads(50);
    within("announce", store.announce(&later[..20])).await.unwrap();
    within("announce", store.announce(&later[20..])).await.unwrap();
    for listener in [&mut one, &mut two] {
        assert_eq!(hear(listener, &later).await, later.iter().cloned().collect());
    }
    drop(one);
    within("announce", store.announce(&ids)).await.unwrap();
    assert_eq!(hear(&mut two, &ids).await.len(), ids.len(), "a listener that left disturbs nobody");
}

async fn a_cancelled_listener_loses_nothing(store: &Arc<dyn Store>) {
    let ids = workloads(100);
    let mut listener = within("listen", store.announcements()).await.unwrap();
    let announcer = tokio::spawn({
        let (store, ids) = (store.clone(), ids.clone());
        async move {
            for id in &ids {
                store.announce(std::slice::from_ref(id)).await.unwrap();
                tokio::time::sleep(Duration::from_millis(1)).await;
            }
        }
    });
    let (mut heard, mut cancelled, begin) = (BTreeSet::new(), 0, Instant::now());
    while heard.len() < ids.len() {
        assert!(begin.elapsed() < PATIENCE, "{} of {} heard", heard.len(), ids.len());
        tokio::select! {
            biased;
            some = listener.next() => heard.extend(some.unwrap().into_iter().filter(|id| ids.contains(id))),
            () = tokio::time::sleep(Duration::from_micros(500)) => cancelled += 1,
        }
    }
    announcer.await.unwrap();
    assert!(cancelled > 0, "no wait was cancelled, so nothing was checked");
}

async fn concurrent_writers_and_readers_see_whole_values(store: &Arc<dyn Store>) {
    let ids = workloads(16);
    let shared = workloads(1).remove(0);
    let tasks: Vec<_> = ids
        .into_iter()
        .zip(b'a'..)
        .map(|(id, letter)| {
            let (store, shared) = (store.clone(), shared.clone());
            tokio::spawn(async move {
                for round in 1..=20usize {
                    let own = Bytes::from(vec![letter; round]);
                    let common = Bytes::from(vec![letter; 5000 + round]);
                    put(
                        &store,
                        vec![value(&id, Slot::State, own.clone()), value(&shared, Slot::State, common)],
                    )
                    .await;
                    assert_eq!(one(&store, Slot::State, &id).await, Some(own), "its own write");
                    let found = one(&store, Slot::State, &shared).await.unwrap();
                    let whole = found.len() > 5000 && found.iter().all(|b| Some(b) == found.first());
                    assert!(whole, "a mixture of two writes");
                }
            })
        })
        .collect();
    for task in tasks {
        within("a writer", task).await.unwrap();
    }
}
