//! How are the topics read from the beginning?
//!
//! By a consumer group of its own, so that nobody else is disturbed. Reading ends when the group has seen everything
//! that is there, or when the time allowed is over.

use super::ledger::Ledger;
use sphere_core::{Decision, Forecast, Sample, Timestamp};
use sphere_pipeline::wire::{self, ORIGIN_HEADER, REASON_HEADER};
use sphere_pipeline::{Bus, BusError, Delivery, Event, Partition, Subscription, Topic};
use std::collections::HashMap;
use std::time::Duration;
use tokio::time::{Instant, timeout};

/// Silence after which is asked whether everything was read.
const QUIET: Duration = Duration::from_secs(1);
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
    let topics = Topic::ALL.to_vec();
    let subscription = Subscription { group: group.clone(), topics, max_records: MOST };
    let mut consumer = bus.subscribe(subscription).await?;
    let deadline = Instant::now() + limit;
    let mut records = 0;
    let mut assigned = false;
    // Forecasts and letters that come before what they answer are kept as they come: the ledger does not mind.
    let left = loop {
        match timeout(QUIET, consumer.next()).await {
            Ok(Ok(Event::Records(batch))) => {
                let mut positions: HashMap<Partition, i64> = HashMap::new();
                for delivery in &batch {
                    note(delivery, &on_clock, ledger);
                    positions.insert(delivery.partition, delivery.offset + 1);
                }
                records += batch.len() as u64;
                let positions: Vec<(Partition, i64)> = positions.into_iter().collect();
                consumer.commit(&positions).await?;
            }
            Ok(Ok(Event::Assigned(_))) => assigned = true,
            Ok(Ok(Event::Revoked(partitions))) => consumer.release(&partitions).await?,
            Ok(Ok(Event::Lost(_))) => {}
            Ok(Err(error)) if error.is_transient() && Instant::now() < deadline => {
                tokio::time::sleep(Duration::from_millis(200)).await;
            }
            Ok(Err(error)) => return Err(error),
            Err(_) => {
                let left = lag(bus, &group).await?;
                if assigned && left == 0 {
                    break 0;
                }
            }
        }
        if Instant::now() > deadline {
            break lag(bus, &group).await?;
        }
    };
    consumer.close().await?;
    Ok(Extent { records, left })
}

async fn lag(bus: &dyn Bus, group: &str) -> Result<u64, BusError> {
    let mut left = 0;
    for topic in Topic::ALL {
        left += bus.lag(group, topic).await?;
    }
    Ok(left)
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
