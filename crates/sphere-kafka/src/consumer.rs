//! How does a stage read as a member of a group?
//!
//! The handle a stage has; the work is done by the thread in [`crate::member`]. Commits are synchronous: they return
//! when the group's coordinator has stored them. One that meets a rebalance is repeated with the group's new
//! generation as long as the partitions are still ours.

use crate::client::{Health, bus_error, code_of, common, with_properties};
use crate::config::KafkaConfig;
use crate::member::{Context, Member, Shared, lock, run};
use async_trait::async_trait;
use rdkafka::consumer::{CommitMode, Consumer as _};
use rdkafka::error::{KafkaError, RDKafkaErrorCode as Code};
use rdkafka::topic_partition_list::{Offset, TopicPartitionList};
use sphere_pipeline::{BusError, Consumer, Event, Partition, Subscription};
use std::sync::{Arc, Weak};
use std::time::{Duration, Instant};
use tokio::sync::oneshot;

/// A pause before a commit that met a rebalance is repeated.
const COMMIT_PAUSE: Duration = Duration::from_millis(50);
/// How long leaving may take before [`Consumer::close`] returns; it goes on behind.
const LEAVE_LIMIT: Duration = Duration::from_secs(15);

/// See the module text.
pub(crate) struct KafkaConsumer {
    shared: Arc<Shared>,
    member: Weak<Member>,
    ended: Option<oneshot::Receiver<()>>,
}

impl KafkaConsumer {
    /// Joins in the background.
    pub fn join(
        config: &Arc<KafkaConfig>,
        password: Option<String>,
        subscription: &Subscription,
    ) -> Result<Self, BusError> {
        let doing = "subscribing";
        if subscription.group.is_empty() || subscription.topics.is_empty() || subscription.max_records == 0 {
            let detail = format!("{subscription:?}: a group, topics and at least one record expected");
            return Err(BusError::Permanent { doing, detail });
        }
        let mut settings = common(config, password.as_deref());
        let session = config.session_timeout();
        // The group's patience with us: longer than a stage may take for a release, and than a dead one is waited for.
        let patience = (config.release_timeout() + session).max(Duration::from_secs(60));
        settings
            .set("group.id", &subscription.group)
            .set("partition.assignment.strategy", "cooperative-sticky")
            .set("enable.auto.commit", "false")
            .set("enable.auto.offset.store", "false")
            .set("auto.offset.reset", "earliest")
            .set("session.timeout.ms", session.as_millis().to_string())
            .set("heartbeat.interval.ms", (session.as_millis() / 5).clamp(200, 3000).to_string())
            .set("max.poll.interval.ms", patience.as_millis().to_string())
            .set("fetch.wait.max.ms", "500")
            .set("fetch.error.backoff.ms", "100")
            // What librdkafka reads ahead: little, as a revocation is seen only behind it.
            .set("queued.min.messages", (4 * subscription.max_records).clamp(100, 10_000).to_string())
            .set("queued.max.messages.kbytes", "16384")
            .set("fetch.queue.backoff.ms", "10")
            .set("fetch.max.bytes", (config.message_max_bytes + (16 << 20)).to_string())
            .set("fetch.message.max.bytes", "1048576")
            .set("receive.message.max.bytes", (config.message_max_bytes + (17 << 20)).to_string());
        let shared = Arc::new(Shared::new(config.clone(), Health::new(password), subscription.max_records));
        let failed = |error: KafkaError| bus_error(doing, &error, &shared.health);
        let member: Member = with_properties(settings, config)
            .create_with_context(Context::new(shared.clone()))
            .map_err(failed)?;
        let names: Vec<&str> = subscription.topics.iter().map(|topic| config.topic_name(*topic)).collect();
        member.subscribe(&names).map_err(failed)?;
        let member = Arc::new(member);
        let weak = Arc::downgrade(&member);
        let (end, ended) = oneshot::channel();
        let seen = shared.clone();
        std::thread::Builder::new()
            .name(format!("kafka-{}", subscription.group))
            .spawn(move || {
                run(member, &seen);
                seen.fail(BusError::Unavailable {
                    doing: "reading",
                    detail: "the consumer has ended".into(),
                });
                // Nobody may wait for it.
                let _ = end.send(());
            })
            .map_err(|error| BusError::Unavailable { doing, detail: error.to_string() })?;
        Ok(Self { shared, member: weak, ended: Some(ended) })
    }

    fn list(&self, positions: &[(Partition, i64)]) -> Result<TopicPartitionList, BusError> {
        let mut list = TopicPartitionList::new();
        for (partition, offset) in positions {
            let name = self.shared.config.topic_name(partition.topic);
            let number = i32::try_from(partition.number).unwrap_or(i32::MAX);
            list.add_partition_offset(name, number, Offset::Offset(*offset))
                .map_err(|error| bus_error("committing", &error, &self.shared.health))?;
        }
        Ok(list)
    }

    fn first_not_owned(&self, positions: &[(Partition, i64)]) -> Option<BusError> {
        first_not_owned(&self.shared, positions)
    }
}

fn first_not_owned(shared: &Shared, positions: &[(Partition, i64)]) -> Option<BusError> {
    let state = shared.state();
    let (partition, _) = positions.iter().find(|(partition, _)| !state.owns(partition))?;
    Some(BusError::NotOwner { partition: *partition })
}

/// What a try to commit came to.
enum Tried {
    Done,
    /// The group is being shared out anew; we may well still own them afterwards.
    MetRebalance(BusError),
    Failed(BusError),
}

fn try_commit(shared: &Shared, member: &Member, list: &TopicPartitionList, at: &[(Partition, i64)]) -> Tried {
    let _gate = lock(&shared.gate);
    if let Some(error) = first_not_owned(shared, at) {
        return Tried::Failed(error);
    }
    let not_owner = || BusError::NotOwner { partition: at[0].0 };
    if member.assignment_lost() {
        return Tried::Failed(not_owner());
    }
    let Err(error) = member.commit(list, CommitMode::Sync) else { return Tried::Done };
    match code_of(&error) {
        Some(Code::RebalanceInProgress) => {
            Tried::MetRebalance(bus_error("committing", &error, &shared.health))
        }
        Some(Code::IllegalGeneration) => Tried::MetRebalance(not_owner()),
        Some(Code::UnknownMemberId | Code::FencedInstanceId | Code::AssignmentLost) => {
            Tried::Failed(not_owner())
        }
        _ => Tried::Failed(bus_error("committing", &error, &shared.health)),
    }
}

#[async_trait]
impl Consumer for KafkaConsumer {
    async fn next(&mut self) -> Result<Event, BusError> {
        loop {
            // Taken and returned without a pause between: a dropped call has taken nothing.
            let event = self.shared.state().next(self.shared.max_records);
            if let Some(event) = event {
                self.shared.took();
                return Ok(event);
            }
            if let Some(error) = self.shared.take_error() {
                return Err(error);
            }
            self.shared.news.notified().await;
        }
    }

    async fn commit(&mut self, positions: &[(Partition, i64)]) -> Result<(), BusError> {
        if positions.is_empty() {
            return Ok(());
        }
        let doing = "committing";
        let started = Instant::now();
        loop {
            if let Some(error) = self.first_not_owned(positions) {
                return Err(error);
            }
            let Some(member) = self.member.upgrade() else {
                return Err(BusError::Unavailable { doing, detail: "the consumer has ended".into() });
            };
            let (shared, list, at) = (self.shared.clone(), self.list(positions)?, positions.to_vec());
            let tried = tokio::task::spawn_blocking(move || try_commit(&shared, &member, &list, &at))
                .await
                .map_err(|error| BusError::Unavailable { doing, detail: error.to_string() })?;
            match tried {
                Tried::Done => return Ok(()),
                Tried::Failed(error) => return Err(error),
                Tried::MetRebalance(error) if started.elapsed() > self.shared.config.session_timeout() => {
                    return Err(error);
                }
                Tried::MetRebalance(_) => tokio::time::sleep(COMMIT_PAUSE).await,
            }
        }
    }

    async fn release(&mut self, partitions: &[Partition]) -> Result<(), BusError> {
        let doing = "releasing partitions";
        let Some(member) = self.member.upgrade() else {
            return Err(BusError::Unavailable { doing, detail: "the consumer has ended".into() });
        };
        let (shared, partitions) = (self.shared.clone(), partitions.to_vec());
        // librdkafka answers from another thread, at once; but it does not promise that.
        tokio::task::spawn_blocking(move || {
            let _gate = lock(&shared.gate);
            let all = shared.state().release(&partitions);
            if all {
                member.client().context().unassign(&member);
            }
        })
        .await
        .map_err(|error| BusError::Unavailable { doing, detail: error.to_string() })
    }

    async fn close(mut self: Box<Self>) -> Result<(), BusError> {
        self.shared.close();
        let Some(ended) = self.ended.take() else { return Ok(()) };
        match tokio::time::timeout(LEAVE_LIMIT, ended).await {
            Ok(_) => Ok(()),
            Err(_) => Err(BusError::Unavailable {
                doing: "leaving the group",
                detail: format!("not done after {} s; it goes on", LEAVE_LIMIT.as_secs()),
            }),
        }
    }
}

impl Drop for KafkaConsumer {
    fn drop(&mut self) {
        self.shared.close();
    }
}
