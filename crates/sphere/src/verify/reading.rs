//! How are the topics read from the beginning?
//!
//! By a consumer group of its own, so that nobody else is disturbed. Reading ends where each log ended when it began, so
//! that a pipeline at work can be looked at, or when the time allowed is over. The ends are noted against the flow,
//! decisions first and samples last: whatever is in has what it was made of in, too.

use super::ledger::Ledger;
use sphere_core::{Decision, Forecast, Sample, Timestamp};
use sphere_pipeline::wire::{self, ORIGIN_HEADER, REASON_HEADER};
use sphere_pipeline::{Bus, BusError, Delivery, Event, Partition, Subscription, Topic};
use std::collections::BTreeMap;
use std::time::Duration;
use tokio::time::{Instant, timeout};

/// Longest wait for the next record before the time allowed is looked at.
const QUIET: Duration = Duration::from_secs(1);
/// The topics, against the flow.
const UPSTREAM: [Topic; 5] =
    [Topic::Decisions, Topic::PredictionsDlq, Topic::Predictions, Topic::MetricsDlq, Topic::Metrics];
/// Most records taken at once.
const MOST: usize = 5000;

/// What reading came to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Extent {
    /// Records read.
    pub records: u64,
    /// Records that were there and could not be read within the time allowed.
    pub left: u64,
}

/// Reads everything into the ledger. `on_clock` turns the bus's time into that of the pipeline.
pub async fn read_all(
    bus: &dyn Bus,
    group: String,
    limit: Duration,
    on_clock: impl Fn(Timestamp) -> Timestamp,
    ledger: &mut Ledger,
) -> Result<Extent, BusError> {
    // Where reading of each log ends, and how many records there are to read.
    let mut unread: BTreeMap<Partition, (i64, u64)> = BTreeMap::new();
    for topic in UPSTREAM {
        for (number, (first, end)) in (0..).zip(bus.extent(topic).await?) {
            if first < end {
                unread.insert(Partition { topic, number }, (end, u64::try_from(end - first).unwrap_or(0)));
            }
        }
    }
    let subscription = Subscription { group, topics: Topic::ALL.to_vec(), max_records: MOST };
    let mut consumer = bus.subscribe(subscription).await?;
    let deadline = Instant::now() + limit;
    let mut records = 0;
    // Forecasts and letters that come before what they answer are kept as they come: the ledger does not mind.
    while !unread.is_empty() && Instant::now() < deadline {
        match timeout(QUIET, consumer.next()).await {
            Ok(Ok(Event::Records(batch))) => {
                let mut positions: BTreeMap<Partition, i64> = BTreeMap::new();
                for delivery in &batch {
                    let next = delivery.offset + 1;
                    positions.insert(delivery.partition, next);
                    let Some((end, left)) = unread.get_mut(&delivery.partition) else { continue };
                    if delivery.offset < *end {
                        note(delivery, &on_clock, ledger);
                        records += 1;
                        *left = u64::try_from(*end - next).unwrap_or(0);
                    }
                    if next >= *end {
                        unread.remove(&delivery.partition);
                    }
                }
                let positions: Vec<(Partition, i64)> = positions.into_iter().collect();
                consumer.commit(&positions).await?;
            }
            Ok(Ok(Event::Revoked(partitions))) => consumer.release(&partitions).await?,
            Ok(Ok(Event::Assigned(_) | Event::Lost(_))) | Err(_) => {}
            Ok(Err(error)) if error.is_transient() => tokio::time::sleep(Duration::from_millis(200)).await,
            Ok(Err(error)) => return Err(error),
        }
    }
    consumer.close().await?;
    Ok(Extent { records, left: unread.values().map(|(_, left)| left).sum() })
}

fn note(delivery: &Delivery, on_clock: &impl Fn(Timestamp) -> Timestamp, ledger: &mut Ledger) {
    let at = on_clock(delivery.published_at);
    let place = || format!("{}@{}", delivery.partition, delivery.offset);
    let header = |key| {
        delivery
            .header(key)
            .map_or_else(|| "unknown".into(), |value| String::from_utf8_lossy(value).into_owned())
    };
    match delivery.partition.topic {
        Topic::Metrics => match wire::decode::<Sample>(delivery) {
            Ok(sample) => ledger.sample(&sample, at),
            Err(_) => ledger.unreadable(place(), at),
        },
        Topic::Predictions => match wire::decode::<Forecast>(delivery) {
            Ok(forecast) => ledger.forecast(&forecast, at),
            Err(_) => ledger.unreadable(place(), at),
        },
        Topic::Decisions => {
            if let Ok(decision) = wire::decode::<Decision>(delivery) {
                ledger.decision(&decision, at);
            }
        }
        topic @ (Topic::MetricsDlq | Topic::PredictionsDlq) => {
            ledger.dead_letter(topic.default_name(), &header(REASON_HEADER), &header(ORIGIN_HEADER));
        }
    }
}
