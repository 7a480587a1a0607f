//! The promises of [`Bus`] and [`Consumer`] that one member at a time can check.

use super::{PATIENCE, handover, unique, within};
use crate::bus::{Bus, BusError, Consumer, Delivery, Event, Header, Message, Partition, Subscription, Topic};
use bytes::Bytes;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

/// Checks all promises, one after the other. Takes some seconds in memory, minutes on a broker.
///
/// The topics need at least two partitions each, and nobody else may publish to `metrics` or `predictions`
/// meanwhile.
pub async fn bus_suite(bus: Arc<dyn Bus>) {
    topics_can_be_made_twice(&bus).await;
    records_come_back_as_they_were_published(&bus).await;
    keys_keep_their_partition_and_their_order(&bus).await;
    what_was_not_committed_is_read_again(&bus).await;
    a_dropped_consumer_loses_nothing(&bus).await;
    groups_do_not_affect_each_other(&bus).await;
    a_cancelled_wait_loses_nothing(&bus).await;
    lag_counts_what_is_not_committed(&bus).await;
    a_record_that_is_too_large_is_refused(&bus).await;
    handover::nobody_owns_what_was_not_released(&bus).await;
    handover::only_owners_commit(&bus).await;
    handover::members_come_and_go_without_loss(&bus).await;
}

/// The records of one run: key `{run}/{key}`, value the sequence number.
pub(super) fn numbered(run: &str, topic: Topic, key: usize, seq: usize) -> Message {
    Message {
        topic,
        key: format!("{run}/{key}").into(),
        headers: vec![Header::new("run", run.to_owned())],
        payload: seq.to_string().into(),
    }
}

/// Key and sequence number of a record of this run; `None` for foreign ones.
pub(super) fn number_of(run: &str, record: &Delivery) -> Option<(String, usize)> {
    let key = std::str::from_utf8(&record.key).ok()?;
    key.strip_prefix(run)?.strip_prefix('/')?;
    Some((key.to_owned(), std::str::from_utf8(&record.payload).ok()?.parse().ok()?))
}

pub(super) async fn join(
    bus: &Arc<dyn Bus>,
    group: &str,
    topics: &[Topic],
    max_records: usize,
) -> Box<dyn Consumer> {
    let subscription = Subscription { group: group.into(), topics: topics.to_vec(), max_records };
    within("subscribe", bus.subscribe(subscription)).await.unwrap()
}

/// A member that reads alone, with the positions after what it was given.
pub(super) struct Reader {
    pub(super) consumer: Box<dyn Consumer>,
    pub(super) owned: BTreeSet<Partition>,
    pub(super) positions: BTreeMap<Partition, i64>,
    max_records: usize,
}

impl Reader {
    pub(super) async fn join(bus: &Arc<dyn Bus>, group: &str, topics: &[Topic], max_records: usize) -> Self {
        let consumer = join(bus, group, topics, max_records).await;
        Self { consumer, owned: BTreeSet::new(), positions: BTreeMap::new(), max_records }
    }

    /// Takes in one event, and checks what holds for every event.
    pub(super) fn note(&mut self, event: Event) -> Vec<Delivery> {
        match event {
            Event::Assigned(partitions) => {
                for partition in partitions {
                    assert!(self.owned.insert(partition), "{partition} was assigned twice");
                    self.positions.remove(&partition);
                }
                Vec::new()
            }
            Event::Revoked(gone) | Event::Lost(gone) => panic!("{gone:?} taken from the only member"),
            Event::Records(records) => {
                assert!(!records.is_empty(), "an event without records");
                assert!(records.len() <= self.max_records, "{} of {}", records.len(), self.max_records);
                for record in &records {
                    assert!(self.owned.contains(&record.partition), "a record of {}", record.partition);
                    if let Some(next) = self.positions.insert(record.partition, record.offset + 1) {
                        assert!(
                            record.offset >= next,
                            "{}: {} after {next}",
                            record.partition,
                            record.offset
                        );
                    }
                }
                records
            }
        }
    }

    /// Reads until `enough` records of the run are there.
    pub(super) async fn read(&mut self, run: &str, enough: usize) -> Vec<Delivery> {
        let mut ours = Vec::new();
        while ours.len() < enough {
            let event = within("the next record", self.consumer.next()).await.unwrap();
            ours.extend(self.note(event).into_iter().filter(|r| r.header("run") == Some(run.as_bytes())));
        }
        ours
    }

    pub(super) async fn commit(&mut self) {
        let positions: Vec<_> = self.positions.iter().map(|(p, o)| (*p, *o)).collect();
        within("commit", self.consumer.commit(&positions)).await.unwrap();
    }

    pub(super) async fn close(self) {
        within("close", self.consumer.close()).await.unwrap();
    }
}

pub(super) async fn publish(bus: &Arc<dyn Bus>, messages: Vec<Message>) {
    within("publish", bus.publish(messages)).await.unwrap();
}

async fn topics_can_be_made_twice(bus: &Arc<dyn Bus>) {
    for _ in 0..2 {
        within("create topics", bus.create_topics()).await.unwrap();
    }
    within("check", bus.check()).await.unwrap();
    publish(bus, Vec::new()).await;
}

async fn records_come_back_as_they_were_published(bus: &Arc<dyn Bus>) {
    let run = unique("shape");
    let mark = Header::new("run", run.clone());
    let headers = vec![
        mark.clone(),
        Header::new("twice", "first"),
        Header::new("twice", "second"),
        Header::new("empty", ""),
        Header::new("binary", vec![0u8, 0xff, b'\n']),
    ];
    let big: Vec<u8> = (0..100_000u32).map(|n| ((n * 7919) >> 5) as u8).collect();
    let message = |topic, key: &[u8], headers: &[Header], payload: &[u8]| Message {
        topic,
        key: Bytes::copy_from_slice(key),
        headers: headers.to_vec(),
        payload: Bytes::copy_from_slice(payload),
    };
    let sent = vec![
        message(Topic::Metrics, b"shop/Deployment/a", &headers, b"value"),
        message(Topic::Predictions, b"shop/Deployment/a", std::slice::from_ref(&mark), b""),
        message(Topic::Metrics, b"", std::slice::from_ref(&mark), b"no key"),
        message(Topic::Metrics, &[0, 1, 0xfe], std::slice::from_ref(&mark), &big),
    ];
    let now_ms = || SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_millis() as i64;
    let before = now_ms();
    publish(bus, sent.clone()).await;
    let after = now_ms();
    let mut reader = Reader::join(bus, &unique("group"), &[Topic::Metrics, Topic::Predictions], 100).await;
    let got = reader.read(&run, sent.len()).await;
    assert_eq!(got.len(), sent.len());
    for message in &sent {
        let found = got.iter().find(|r| r.key == message.key && r.partition.topic == message.topic).unwrap();
        assert_eq!(found.headers, message.headers);
        assert_eq!(found.payload, message.payload);
        // A bus may stamp with its own clock; a minute is the difference we accept.
        let at = found.published_at.millis();
        assert!((before - 60_000..=after + 60_000).contains(&at), "{at} is not in {before}..{after}");
    }
    reader.close().await;
}

async fn keys_keep_their_partition_and_their_order(bus: &Arc<dyn Bus>) {
    const KEYS: usize = 20;
    const EACH: usize = 100;
    let run = unique("order");
    // Four batches one after the other, each over all keys, published beside those of another run.
    let noise = unique("noise");
    for batch in 0..4 {
        let seqs = batch * EACH / 4..(batch + 1) * EACH / 4;
        let of = |run: &str| -> Vec<Message> {
            seqs.clone().flat_map(|s| (0..KEYS).map(move |k| numbered(run, Topic::Metrics, k, s))).collect()
        };
        tokio::join!(publish(bus, of(&run)), publish(bus, of(&noise)));
    }
    let mut reader = Reader::join(bus, &unique("group"), &[Topic::Metrics], 64).await;
    let mut seen: BTreeMap<String, (Partition, usize)> = BTreeMap::new();
    let got = reader.read(&run, KEYS * EACH).await;
    assert_eq!(got.len(), KEYS * EACH, "more than was published");
    for record in &got {
        let (key, seq) = number_of(&run, record).unwrap();
        let (partition, next) = seen.entry(key.clone()).or_insert((record.partition, 0));
        assert_eq!((record.partition, seq), (*partition, *next), "{key}");
        *next += 1;
    }
    let used: BTreeSet<_> = seen.values().map(|(partition, _)| *partition).collect();
    assert!(used.len() > 1, "20 keys in one partition: {used:?}");
    reader.close().await;
}

async fn what_was_not_committed_is_read_again(bus: &Arc<dyn Bus>) {
    let (run, group) = (unique("again"), unique("group"));
    publish(bus, (0..200).map(|n| numbered(&run, Topic::Metrics, n % 10, n)).collect()).await;
    let mut first = Reader::join(bus, &group, &[Topic::Metrics], 10).await;
    let kept: BTreeSet<usize> =
        first.read(&run, 100).await.iter().filter_map(|r| Some(number_of(&run, r)?.1)).collect();
    first.commit().await;
    let committed = first.positions.clone();
    // Read, but not committed. A partition read for the first time here starts again at its beginning.
    first.read(&run, 50).await;
    first.close().await;

    let mut second = Reader::join(bus, &group, &[Topic::Metrics], 1000).await;
    let mut started = BTreeSet::new();
    let mut got = BTreeSet::new();
    while within("lag", bus.lag(&group, Topic::Metrics)).await.unwrap() > 0 {
        let event = within("what was not committed", second.consumer.next()).await.unwrap();
        for record in second.note(event) {
            if started.insert(record.partition)
                && let Some(position) = committed.get(&record.partition)
            {
                assert!(record.offset >= *position, "{}: {} was committed", record.partition, record.offset);
            }
            if let Some((_, seq)) = number_of(&run, &record) {
                assert!(got.insert(seq), "{seq} twice");
            }
        }
        second.commit().await;
    }
    second.close().await;
    let left: BTreeSet<usize> = (0..200).filter(|seq| !kept.contains(seq)).collect();
    assert_eq!(got, left, "exactly what was not committed is read again");
}

async fn a_dropped_consumer_loses_nothing(bus: &Arc<dyn Bus>) {
    let (run, group) = (unique("drop"), unique("group"));
    publish(bus, (0..100).map(|n| numbered(&run, Topic::Metrics, n, n)).collect()).await;
    let mut first = Reader::join(bus, &group, &[Topic::Metrics], 100).await;
    first.read(&run, 100).await;
    drop(first);
    let mut second = Reader::join(bus, &group, &[Topic::Metrics], 100).await;
    let again = second.read(&run, 100).await;
    let seqs: BTreeSet<_> = again.iter().filter_map(|r| number_of(&run, r)).collect();
    assert_eq!(seqs.len(), 100);
    second.close().await;
}

async fn groups_do_not_affect_each_other(bus: &Arc<dyn Bus>) {
    let run = unique("groups");
    publish(bus, (0..100).map(|n| numbered(&run, Topic::Metrics, n, n)).collect()).await;
    let mut one = Reader::join(bus, &unique("group"), &[Topic::Metrics], 30).await;
    one.read(&run, 100).await;
    one.commit().await;
    let mut other = Reader::join(bus, &unique("group"), &[Topic::Metrics], 30).await;
    assert_eq!(other.read(&run, 100).await.len(), 100);
    assert_eq!(one.owned, other.owned, "both own every partition");
    one.close().await;
    other.close().await;
}

async fn a_cancelled_wait_loses_nothing(bus: &Arc<dyn Bus>) {
    const COUNT: usize = 300;
    let run = unique("cancel");
    let mut reader = Reader::join(bus, &unique("group"), &[Topic::Metrics], 7).await;
    let publisher = tokio::spawn({
        let (bus, run) = (bus.clone(), run.clone());
        async move {
            for n in 0..COUNT {
                publish(&bus, vec![numbered(&run, Topic::Metrics, n % 5, n)]).await;
                tokio::time::sleep(Duration::from_micros(300)).await;
            }
        }
    });
    let mut got = BTreeSet::new();
    let (mut cancelled, started) = (0, tokio::time::Instant::now());
    while got.len() < COUNT {
        assert!(started.elapsed() < PATIENCE, "{} of {COUNT} after {cancelled} cancelled waits", got.len());
        // Every other one is dropped after a single look, which needs no luck on a busy machine.
        let patience = async {
            if cancelled % 2 == 1 {
                tokio::time::sleep(Duration::from_micros(500)).await;
            }
        };
        let event = tokio::select! {
            biased;
            event = reader.consumer.next() => Some(event.unwrap()),
            () = patience => None,
        };
        cancelled += u32::from(event.is_none());
        for record in event.map(|e| reader.note(e)).unwrap_or_default() {
            if let Some((_, seq)) = number_of(&run, &record) {
                assert!(got.insert(seq), "{seq} came twice");
            }
        }
    }
    publisher.await.unwrap();
    assert!(cancelled > 0, "no wait was cancelled, so nothing was checked");
    reader.close().await;
}

async fn lag_counts_what_is_not_committed(bus: &Arc<dyn Bus>) {
    let (run, group) = (unique("lag"), unique("group"));
    let lag = || async { within("lag", bus.lag(&group, Topic::Metrics)).await.unwrap() };
    publish(bus, (0..10).map(|n| numbered(&run, Topic::Metrics, n, n)).collect()).await;
    assert!(lag().await >= 10, "a group that never committed lags by all there is");
    let mut reader = Reader::join(bus, &group, &[Topic::Metrics], 1000).await;
    reader.read(&run, 10).await;
    assert!(lag().await >= 10, "reading is not committing");
    while lag().await > 0 {
        reader.commit().await;
        if lag().await > 0 {
            let event = within("older records", reader.consumer.next()).await.unwrap();
            reader.note(event);
        }
    }
    publish(bus, (0..25).map(|n| numbered(&run, Topic::Metrics, n, n)).collect()).await;
    publish(bus, vec![numbered(&run, Topic::Predictions, 0, 0)]).await;
    assert_eq!(lag().await, 25, "records of other topics do not count");
    let extent = within("extent", bus.extent(Topic::Metrics)).await.unwrap();
    assert!(extent.iter().map(|(first, end)| end - first).sum::<i64>() >= 35, "{extent:?}");
    reader.read(&run, 25).await;
    reader.commit().await;
    assert_eq!(lag().await, 0);
    reader.close().await;
    assert_eq!(lag().await, 0, "positions outlive the members");
}

async fn a_record_that_is_too_large_is_refused(bus: &Arc<dyn Bus>) {
    let run = unique("large");
    let mut message = numbered(&run, Topic::MetricsDlq, 0, 0);
    message.payload = vec![b'x'; 17 << 20].into();
    match within("publish", bus.publish(vec![message])).await {
        Err(error @ BusError::TooLarge { bytes }) => {
            assert!(bytes >= 17 << 20 && !error.is_transient(), "{error}");
        }
        other => panic!("17 MiB: {other:?}"),
    }
    // It is the record that is refused, not the publisher.
    publish(bus, vec![numbered(&run, Topic::MetricsDlq, 0, 1)]).await;
}
