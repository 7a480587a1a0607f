//! Was anything lost, out of order, or decided on what had expired?
//!
//! Reads all topics while the test runs, in a consumer group of its own, and accounts for every record. This is a
//! second opinion: nothing of `sphere verify` is used.

use sphere_core::{Decision, Forecast, Sample, Timestamp};
use sphere_kafka::{KafkaBus, KafkaConfig};
use sphere_pipeline::wire::{ORIGIN_HEADER, REASON_HEADER, decode};
use sphere_pipeline::{Bus, Clock, Delivery, Event, Partition, Subscription, Topic};
use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;

/// Steps a forecast is valid for; after that it is of no use.
const VALID: Duration = Duration::from_secs(sphere_pipeline::forecast::VALID_STEPS as u64);

/// A forecast as it was published.
#[derive(Clone, Copy, Debug)]
pub struct Issued {
    pub issued_at: Timestamp,
    pub valid_until: Timestamp,
    pub published_at: Timestamp,
}

/// A dead letter.
#[derive(Clone, Debug)]
pub struct Letter {
    pub topic: Topic,
    pub reason: String,
    pub origin: String,
}

/// Everything that was on the topics, by workload.
#[derive(Default)]
pub struct Seen {
    pub samples: BTreeMap<String, Vec<(Sample, Timestamp)>>,
    pub forecasts: BTreeMap<String, Vec<Issued>>,
    pub decisions: BTreeMap<String, Vec<(Decision, Timestamp)>>,
    pub letters: Vec<Letter>,
    pub unreadable: BTreeSet<String>,
}

/// What the accounts come to.
#[derive(Clone, Debug, Default)]
pub struct Accounts {
    pub samples: usize,
    pub forecasts: usize,
    /// Samples without a forecast whose time was over when the forecaster came to them.
    pub expired: usize,
    /// Steps without a sample.
    pub gaps: usize,
    /// Samples without demand, or of pods at their limit: no forecast is owed.
    pub unmeasured: usize,
    /// Samples without a forecast for no reason that can be seen on the topics.
    pub lost: Vec<String>,
    /// What else must not be, in words.
    pub wrong: Vec<String>,
}

impl Seen {
    fn note(&mut self, delivery: &Delivery) {
        let at = delivery.published_at;
        let place = || format!("{}@{}", delivery.partition, delivery.offset);
        let header = |key| String::from_utf8_lossy(delivery.header(key).unwrap_or_default()).into_owned();
        let key = String::from_utf8_lossy(&delivery.key).into_owned();
        match delivery.partition.topic {
            Topic::Metrics => match decode::<Sample>(delivery) {
                Ok(sample) => self.samples.entry(key).or_default().push((sample, at)),
                Err(_) => drop(self.unreadable.insert(place())),
            },
            Topic::Predictions => match decode::<Forecast>(delivery) {
                Ok(Forecast { issued_at, valid_until, .. }) => {
                    let issued = Issued { issued_at, valid_until, published_at: at };
                    self.forecasts.entry(key).or_default().push(issued);
                }
                Err(_) => drop(self.unreadable.insert(place())),
            },
            Topic::Decisions => {
                let decision = decode::<Decision>(delivery).expect("decisions can be read");
                self.decisions.entry(key).or_default().push((decision, at));
            }
            topic @ (Topic::MetricsDlq | Topic::PredictionsDlq) => {
                let (reason, origin) = (header(REASON_HEADER), header(ORIGIN_HEADER));
                self.letters.push(Letter { topic, reason, origin });
            }
        }
    }

    /// How many workloads have a forecast issued after `at`.
    pub fn forecast_after(&self, at: Timestamp) -> usize {
        let fresh = |list: &&Vec<Issued>| list.iter().rev().any(|f| f.issued_at > at);
        self.forecasts.values().filter(fresh).count()
    }

    /// How many workloads have a decision made after `at` for which `is` holds.
    pub fn decided_after(&self, at: Timestamp, is: impl Fn(&Decision) -> bool) -> usize {
        let fresh = |list: &&Vec<(Decision, Timestamp)>| list.iter().rev().any(|(d, _)| d.at > at && is(d));
        self.decisions.values().filter(fresh).count()
    }

    /// Accounts for every sample taken after `from` and every decision.
    pub fn accounts(&self, from: Timestamp) -> Accounts {
        let mut all = Accounts::default();
        for (workload, samples) in &self.samples {
            let none = Vec::new();
            let forecasts = self.forecasts.get(workload).unwrap_or(&none);
            let decisions = self.decisions.get(workload).map(Vec::as_slice).unwrap_or_default();
            account(workload, samples, forecasts, decisions, from, &mut all);
        }
        let answered: BTreeSet<&String> = self.letters.iter().map(|letter| &letter.origin).collect();
        for place in self.unreadable.iter().filter(|place| !answered.contains(place)) {
            all.wrong.push(format!("no dead letter for {place}"));
        }
        all
    }
}

fn account(
    workload: &str,
    samples: &[(Sample, Timestamp)],
    forecasts: &[Issued],
    decisions: &[(Decision, Timestamp)],
    from: Timestamp,
    all: &mut Accounts,
) {
    let Some(ready) = forecasts.first().map(|f| f.issued_at.max(from)) else { return };
    // Of each instant the first forecast counts; repetitions after a crash change nothing.
    let mut first: BTreeMap<Timestamp, Issued> = BTreeMap::new();
    let mut newest = None;
    for forecast in forecasts {
        let new = !first.contains_key(&forecast.issued_at);
        if new && newest.is_some_and(|newest| forecast.issued_at < newest) {
            all.wrong
                .push(format!("{workload}: the forecast of {:?} came after later ones", forecast.issued_at));
        }
        newest = newest.max(Some(forecast.issued_at));
        first.entry(forecast.issued_at).or_insert(*forecast);
    }
    let taken: BTreeMap<Timestamp, &Sample> = samples.iter().map(|(sample, _)| (sample.at, sample)).collect();
    let oldest = taken.keys().next().copied();
    for (at, _) in first.range(ready..) {
        if oldest.is_some_and(|oldest| *at > oldest) && !taken.contains_key(at) {
            all.wrong.push(format!("{workload}: a forecast of {at:?}, of which there is no sample"));
        }
    }
    let mut before: Option<Timestamp> = None;
    for (at, sample) in taken.range(ready..) {
        all.samples += 1;
        if let Some(before) = before {
            all.gaps += usize::try_from(at.since(before).as_secs().saturating_sub(1)).unwrap();
        }
        before = Some(*at);
        if first.contains_key(at) {
            all.forecasts += 1;
        } else if sample.demand.is_none() || sample.censored {
            all.unmeasured += 1;
        } else if let Some((_, next)) = first.range(*at..).next() {
            if next.published_at > *at + VALID {
                all.expired += 1;
            } else {
                all.lost.push(format!("{workload} at {at:?}"));
            }
        }
    }
    for (decision, _) in decisions.iter().filter(|(d, _)| d.at > from && d.predictive.is_some()) {
        // The newest that the autoscaler can have known; a second for the way through the bus.
        let known = forecasts.iter().rev().find(|f| f.published_at <= decision.at + Duration::from_secs(1));
        if known.is_none_or(|known| known.valid_until < decision.at) {
            all.wrong.push(format!("{workload}: the decision of {:?} uses an expired forecast", decision.at));
        }
    }
}

/// Reads all topics in a thread until it is dropped.
pub struct Watcher {
    seen: Arc<Mutex<Seen>>,
    _runtime: tokio::runtime::Runtime,
}

impl Watcher {
    /// Starts reading at the beginning of the topics.
    pub fn start(config: KafkaConfig) -> Self {
        let runtime =
            tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
        let seen = Arc::new(Mutex::new(Seen::default()));
        runtime.spawn(watch(KafkaConfig { message_max_bytes: crate::rig::HUGE, ..config }, seen.clone()));
        Self { seen, _runtime: runtime }
    }

    /// What was read so far.
    pub fn seen(&self) -> MutexGuard<'_, Seen> {
        self.seen.lock().unwrap()
    }
}

async fn watch(config: KafkaConfig, seen: Arc<Mutex<Seen>>) {
    let bus = KafkaBus::new(config).unwrap();
    let subscription = Subscription {
        group: format!("fault-test-{}", Clock::system().now().millis()),
        topics: Topic::ALL.to_vec(),
        max_records: 5000,
    };
    let mut consumer = bus.subscribe(subscription).await.unwrap();
    // After a broker's restart the group may begin anew where it has committed; what comes twice counts once.
    let mut positions: HashMap<Partition, i64> = HashMap::new();
    loop {
        match consumer.next().await {
            Ok(Event::Records(records)) => {
                let mut seen = seen.lock().unwrap();
                for record in records {
                    let next = positions.entry(record.partition).or_default();
                    if record.offset >= *next {
                        *next = record.offset + 1;
                        seen.note(&record);
                    }
                }
            }
            Ok(Event::Revoked(partitions)) => drop(consumer.release(&partitions).await),
            Ok(Event::Assigned(_) | Event::Lost(_)) => {}
            Err(_) => tokio::time::sleep(Duration::from_millis(200)).await,
        }
    }
}
