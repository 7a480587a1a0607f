//! How do records get from one stage to the next?
//!
//! A [`Bus`] is a set of partitioned, ordered logs with consumer groups: what Kafka is, and no more than SPHERE
//! needs of it. Delivery is at least once. Records with the same key share a partition, and within a partition
//! order is kept, so one workload is always seen in order and by one member of a group at a time.
//!
//! A consumer owns partitions. When one is taken away it gets [`Event::Revoked`], saves what it knows, commits,
//! and says [`Consumer::release`]; only then may the next owner start. After [`Event::Lost`] it is too late for
//! that: the state is dropped, nothing is committed.

use async_trait::async_trait;
use bytes::Bytes;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use sphere_core::Timestamp;
use std::fmt;

/// The logs of SPHERE.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum Topic {
    /// Samples, from collect to forecast (and cache).
    Metrics,
    /// Forecasts, from forecast to cache.
    Predictions,
    /// Decisions, for audit and dashboards.
    Decisions,
    /// What could not be read from `metrics`.
    MetricsDlq,
    /// What could not be read from `predictions`.
    PredictionsDlq,
}

impl Topic {
    /// All of them.
    pub const ALL: [Topic; 5] =
        [Topic::Metrics, Topic::Predictions, Topic::Decisions, Topic::MetricsDlq, Topic::PredictionsDlq];

    /// The name it has unless configured otherwise.
    pub fn default_name(self) -> &'static str {
        match self {
            Topic::Metrics => "metrics",
            Topic::Predictions => "predictions",
            Topic::Decisions => "decisions",
            Topic::MetricsDlq => "metrics.dlq",
            Topic::PredictionsDlq => "predictions.dlq",
        }
    }

    /// Where unreadable records of this topic are kept.
    pub fn dead_letters(self) -> Option<Topic> {
        match self {
            Topic::Metrics => Some(Topic::MetricsDlq),
            Topic::Predictions => Some(Topic::PredictionsDlq),
            Topic::Decisions | Topic::MetricsDlq | Topic::PredictionsDlq => None,
        }
    }
}

impl fmt::Display for Topic {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.default_name())
    }
}

/// A record header.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Header {
    /// Its key.
    pub key: String,
    /// Its value.
    pub value: Bytes,
}

impl Header {
    /// A header with a text value.
    pub fn new(key: impl Into<String>, value: impl Into<Bytes>) -> Self {
        Self { key: key.into(), value: value.into() }
    }
}

/// A record to publish.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Message {
    /// Where to.
    pub topic: Topic,
    /// Decides the partition. Empty: any.
    pub key: Bytes,
    /// Headers, in order.
    pub headers: Vec<Header>,
    /// The value.
    pub payload: Bytes,
}

/// One log of a topic.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Partition {
    /// The topic.
    pub topic: Topic,
    /// Its number, from 0.
    pub number: u32,
}

impl fmt::Display for Partition {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.topic, self.number)
    }
}

/// A record as it was read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Delivery {
    /// Where it was.
    pub partition: Partition,
    /// Its position there.
    pub offset: i64,
    /// Its key; empty if it had none.
    pub key: Bytes,
    /// Its headers.
    pub headers: Vec<Header>,
    /// Its value; empty if it had none.
    pub payload: Bytes,
    /// When the bus took it in.
    pub published_at: Timestamp,
}

impl Delivery {
    /// The last header of that name, as Kafka clients read duplicates.
    pub fn header(&self, key: &str) -> Option<&[u8]> {
        self.headers.iter().rev().find(|h| h.key == key).map(|h| h.value.as_ref())
    }
}

/// What a consumer is told.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Event {
    /// These partitions are ours from now on, starting at the group's committed position (the beginning of the
    /// log if there is none).
    Assigned(Vec<Partition>),
    /// These go to another member once [`Consumer::release`] is called. No record of them follows.
    Revoked(Vec<Partition>),
    /// These are somebody else's already: we were away too long.
    Lost(Vec<Partition>),
    /// Records, in order within each partition.
    Records(Vec<Delivery>),
}

/// How a consumer joins.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Subscription {
    /// The consumer group.
    pub group: String,
    /// The topics.
    pub topics: Vec<Topic>,
    /// Most records per [`Event::Records`].
    pub max_records: usize,
}

/// A member of a consumer group.
#[async_trait]
pub trait Consumer: Send {
    /// The next event. Waits for the first record, then takes what is there, up to the limit. Cancel-safe: a
    /// dropped call loses nothing.
    async fn next(&mut self) -> Result<Event, BusError>;

    /// Stores positions: the offset of the *next* record to read, per partition. Returns when they are stored.
    /// Only partitions that are ours may be committed; a commit that comes too late is
    /// [`BusError::NotOwner`].
    async fn commit(&mut self, positions: &[(Partition, i64)]) -> Result<(), BusError>;

    /// Lets revoked partitions go.
    async fn release(&mut self, partitions: &[Partition]) -> Result<(), BusError>;

    /// Leaves the group, so that others take over at once. What was not committed is read again by them.
    async fn close(self: Box<Self>) -> Result<(), BusError>;
}

/// Partitioned, ordered logs. See the module text.
#[async_trait]
pub trait Bus: Send + Sync + 'static {
    /// Publishes all; returns when the bus has acknowledged every one. After an error some may have been
    /// published: whoever repeats the call may publish duplicates. Order per key is that of the call.
    /// Whoever wants several batches on the way calls it concurrently.
    async fn publish(&self, messages: Vec<Message>) -> Result<(), BusError>;

    /// Joins a group.
    async fn subscribe(&self, subscription: Subscription) -> Result<Box<dyn Consumer>, BusError>;

    /// Makes topics that do not exist yet. Those that do are left as they are.
    async fn create_topics(&self) -> Result<(), BusError>;

    /// Does the bus keep its records when this process ends? If not, there is nothing to read again, and positions
    /// may be committed as soon as what they produced is published.
    fn survives_restart(&self) -> bool {
        true
    }

    /// Is the bus reachable now?
    async fn check(&self) -> Result<(), BusError>;

    /// For each partition of a topic, by number: the offset of the oldest record there is and that of the next one to
    /// come. Equal: it is empty.
    async fn extent(&self, topic: Topic) -> Result<Vec<(i64, i64)>, BusError>;

    /// Number of records the topic's group has not committed yet, all partitions. For lag metrics and tests.
    async fn lag(&self, group: &str, topic: Topic) -> Result<u64, BusError>;
}

/// What can go wrong on a bus.
#[derive(Debug, thiserror::Error)]
pub enum BusError {
    /// Worth another try after a pause.
    #[error("bus: {doing}: {detail}")]
    Unavailable {
        /// What was attempted.
        doing: &'static str,
        /// What the component said.
        detail: String,
    },
    /// The bus refuses a record of this size, and would again.
    #[error("bus: a record of {bytes} bytes is larger than the bus takes")]
    TooLarge {
        /// Size of the record.
        bytes: usize,
    },
    /// The partition is no longer ours.
    #[error("bus: {partition} belongs to another member now")]
    NotOwner {
        /// The partition.
        partition: Partition,
    },
    /// Repeating is of no use: credentials, configuration, a topic that may not be made.
    #[error("bus: {doing}: {detail}")]
    Permanent {
        /// What was attempted.
        doing: &'static str,
        /// What the component said, and what is accepted.
        detail: String,
    },
}

impl BusError {
    /// Is another try worth it?
    pub fn is_transient(&self) -> bool {
        matches!(self, BusError::Unavailable { .. })
    }
}
