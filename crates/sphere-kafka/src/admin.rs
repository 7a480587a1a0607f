//! What can be asked of the cluster: is it there, make our topics, how far behind is a group?
//!
//! All of it blocks inside librdkafka for at most [`ANSWER_LIMIT`] per question, on threads for that purpose.

use crate::client::{Health, bus_error, code_of, common, with_properties};
use crate::config::KafkaConfig;
use crate::producer::{Producer, topic_max_bytes};
use rdkafka::admin::{AdminClient, AdminOptions, NewTopic, TopicReplication};
use rdkafka::client::DefaultClientContext;
use rdkafka::consumer::{BaseConsumer, Consumer as _};
use rdkafka::error::{KafkaError, RDKafkaErrorCode as Code};
use rdkafka::topic_partition_list::{Offset, TopicPartitionList, TopicPartitionListElem};
use sphere_pipeline::{BusError, Topic};
use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

/// How long the cluster may think about one question.
const ANSWER_LIMIT: Duration = Duration::from_secs(5);
/// How long a question is asked again while the cluster says that it is moving house.
const MOVING_LIMIT: Duration = Duration::from_secs(15);
/// Between two times.
const MOVING_PAUSE: Duration = Duration::from_millis(100);
/// How long topics may take until every partition has a leader.
const TOPICS_LIMIT: Duration = Duration::from_secs(30);
/// Segments are deleted whole, and only when closed: a few per retention time keep the log near what was asked for.
const SEGMENTS_PER_RETENTION: u128 = 4;
/// Not more often than that, milliseconds.
const SHORTEST_SEGMENT_MS: u128 = 60_000;

/// Partitions of each topic there is, and whether all have a leader.
type Topics = BTreeMap<String, (usize, bool)>;

/// Runs a blocking question elsewhere.
async fn blocking<T: Send + 'static>(
    doing: &'static str,
    work: impl FnOnce() -> Result<T, BusError> + Send + 'static,
) -> Result<T, BusError> {
    match tokio::task::spawn_blocking(work).await {
        Ok(result) => result,
        Err(error) => Err(BusError::Unavailable { doing, detail: error.to_string() }),
    }
}

/// Does it say "not here, not now" of something that is there: a group whose coordinator, or a partition whose leader,
/// is just found or is changing? librdkafka asks again by itself for members of a group, not for who only looks.
fn is_moving(error: &KafkaError) -> bool {
    matches!(
        code_of(error),
        Some(
            Code::NotCoordinator
                | Code::CoordinatorNotAvailable
                | Code::CoordinatorLoadInProgress
                | Code::WaitingForCoordinator
                | Code::NotLeaderForPartition
                | Code::LeaderNotAvailable
                | Code::OffsetNotAvailable
        )
    )
}

/// Asks until the cluster has settled, for [`MOVING_LIMIT`] at most. Blocks.
fn settled<T>(mut ask: impl FnMut() -> Result<T, KafkaError>) -> Result<T, KafkaError> {
    let asked = Instant::now();
    loop {
        match ask() {
            Err(error) if is_moving(&error) && asked.elapsed() < MOVING_LIMIT => {
                std::thread::sleep(MOVING_PAUSE);
            }
            answer => return answer,
        }
    }
}

/// Asks for the topics. All of them: to ask for one that is missing may make it, with the broker's defaults.
async fn topics(producer: &Arc<Producer>, doing: &'static str) -> Result<Topics, BusError> {
    let asked = producer.clone();
    let answer = blocking(doing, move || {
        let metadata = asked
            .client()
            .fetch_metadata(None, ANSWER_LIMIT)
            .map_err(|error| bus_error(doing, &error, asked.health()))?;
        asked.health().answered();
        let of = |topic: &rdkafka::metadata::MetadataTopic| {
            let led = topic.partitions().iter().all(|partition| partition.leader() >= 0);
            (topic.name().to_string(), (topic.partitions().len(), led))
        };
        Ok(metadata.topics().iter().map(of).collect())
    });
    tokio::select! {
        biased;
        answer = answer => answer,
        trouble = producer.health().refused() => Err(trouble.into_error(doing)),
    }
}

/// See [`sphere_pipeline::Bus::check`].
pub(crate) async fn check(producer: &Arc<Producer>) -> Result<(), BusError> {
    topics(producer, "asking for the brokers").await.map(drop)
}

/// See [`sphere_pipeline::Bus::create_topics`].
pub(crate) async fn create_topics(
    producer: &Arc<Producer>,
    config: &KafkaConfig,
    password: Option<&str>,
) -> Result<(), BusError> {
    let doing = "making topics";
    let there = topics(producer, doing).await?;
    let missing: Vec<Topic> =
        Topic::ALL.into_iter().filter(|topic| !there.contains_key(config.topic_name(*topic))).collect();
    for topic in Topic::ALL {
        let name = config.topic_name(topic);
        if let Some((partitions, _)) = there.get(name)
            && *partitions != config.partitions as usize
        {
            tracing::warn!(name, partitions, configured = config.partitions, "a topic has other partitions");
        }
    }
    if missing.is_empty() {
        return Ok(());
    }
    make(producer.health(), config, password, &missing).await?;
    // Other brokers hear of them a little later; whoever publishes or subscribes next shall find them.
    let asked = Instant::now();
    loop {
        let there = topics(producer, doing).await?;
        let ready = |topic: &Topic| there.get(config.topic_name(*topic)).is_some_and(|(_, led)| *led);
        if missing.iter().all(ready) {
            return Ok(());
        }
        if asked.elapsed() > TOPICS_LIMIT {
            let detail = "they were made, but have no leaders yet".into();
            return Err(BusError::Unavailable { doing, detail });
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}

async fn make(
    health: &Health,
    config: &KafkaConfig,
    password: Option<&str>,
    topics: &[Topic],
) -> Result<(), BusError> {
    let doing = "making topics";
    let admin: AdminClient<DefaultClientContext> = with_properties(common(config, password), config)
        .create()
        .map_err(|error| bus_error(doing, &error, health))?;
    let settings: Vec<[String; 4]> = topics
        .iter()
        .map(|topic| {
            let retention_ms = config.retention(*topic).as_millis();
            let segment_ms = (retention_ms / SEGMENTS_PER_RETENTION).max(SHORTEST_SEGMENT_MS);
            [
                retention_ms.to_string(),
                segment_ms.to_string(),
                topic_max_bytes(config).to_string(),
                config.min_in_sync().to_string(),
            ]
        })
        .collect();
    let partitions = i32::try_from(config.partitions).unwrap_or(i32::MAX);
    let new: Vec<NewTopic<'_>> = topics
        .iter()
        .zip(&settings)
        .map(|(topic, [retention, segment, max, in_sync])| {
            let replication = TopicReplication::Fixed(i32::from(config.replication));
            NewTopic::new(config.topic_name(*topic), partitions, replication)
                .set("retention.ms", retention)
                .set("segment.ms", segment)
                .set("max.message.bytes", max)
                .set("min.insync.replicas", in_sync)
                .set("cleanup.policy", "delete")
                // "When the bus took it in", by one clock; it also keeps retention right if a client's is wrong.
                .set("message.timestamp.type", "LogAppendTime")
        })
        .collect();
    let options =
        AdminOptions::new().operation_timeout(Some(TOPICS_LIMIT)).request_timeout(Some(TOPICS_LIMIT));
    let results =
        admin.create_topics(&new, &options).await.map_err(|error| bus_error(doing, &error, health))?;
    for result in results {
        match result {
            Ok(name) => tracing::info!(name, "made a topic"),
            // Somebody was faster.
            Err((_, Code::TopicAlreadyExists)) => {}
            Err((name, code)) => {
                let error = bus_error(doing, &KafkaError::AdminOp(code), health);
                let replication = config.replication;
                return Err(match error {
                    BusError::Permanent { doing, detail } => BusError::Permanent {
                        doing,
                        detail: format!(
                            "{name} with {partitions} partitions, replication {replication}: {detail}"
                        ),
                    },
                    other => other,
                });
            }
        }
    }
    Ok(())
}

/// See [`sphere_pipeline::Bus::extent`].
pub(crate) async fn extent(
    producer: &Arc<Producer>,
    config: &Arc<KafkaConfig>,
    password: Option<String>,
    topic: Topic,
) -> Result<Vec<(i64, i64)>, BusError> {
    let doing = "asking how far a topic goes";
    let there = topics(producer, doing).await?;
    let name = config.topic_name(topic).to_string();
    let Some((partitions, _)) = there.get(&name).copied() else {
        return Err(BusError::Permanent { doing, detail: format!("there is no topic {name}") });
    };
    let settings = with_properties(common(config, password.as_deref()), config);
    let health = Health::new(password);
    blocking(doing, move || {
        let failed = |error: KafkaError| bus_error(doing, &error, &health);
        let reader: BaseConsumer = settings.create().map_err(failed)?;
        let numbers = 0..i32::try_from(partitions).unwrap_or(i32::MAX);
        let extent =
            |number| settled(|| reader.fetch_watermarks(&name, number, ANSWER_LIMIT)).map_err(failed);
        numbers.map(extent).collect()
    })
    .await
}

/// See [`sphere_pipeline::Bus::lag`].
pub(crate) async fn lag(
    producer: &Arc<Producer>,
    config: &Arc<KafkaConfig>,
    password: Option<String>,
    group: &str,
    topic: Topic,
) -> Result<u64, BusError> {
    let doing = "asking for the lag";
    let there = topics(producer, doing).await?;
    let name = config.topic_name(topic).to_string();
    let Some((partitions, _)) = there.get(&name).copied() else {
        return Err(BusError::Permanent { doing, detail: format!("there is no topic {name}") });
    };
    let mut settings = common(config, password.as_deref());
    settings.set("group.id", group);
    let settings = with_properties(settings, config);
    let health = Health::new(password);
    blocking(doing, move || {
        let failed = |error: KafkaError| bus_error(doing, &error, &health);
        // It reads the group's positions without joining it.
        let reader: BaseConsumer = settings.create().map_err(failed)?;
        let mut wanted = TopicPartitionList::new();
        wanted.add_partition_range(&name, 0, i32::try_from(partitions).unwrap_or(i32::MAX) - 1);
        let committed = settled(|| {
            let list = reader.committed_offsets(wanted.clone(), ANSWER_LIMIT)?;
            list.elements().iter().try_for_each(TopicPartitionListElem::error)?;
            Ok(list)
        });
        let mut lag = 0;
        for partition in committed.map_err(failed)?.elements() {
            let number = partition.partition();
            let (low, high) =
                settled(|| reader.fetch_watermarks(&name, number, ANSWER_LIMIT)).map_err(failed)?;
            // Without a position, or with one that retention has overtaken, reading starts at the beginning.
            let position = match partition.offset() {
                Offset::Offset(offset) => offset.max(low),
                _ => low,
            };
            lag += u64::try_from(high - position).unwrap_or(0);
        }
        Ok(lag)
    })
    .await
}
