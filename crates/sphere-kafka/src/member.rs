//! Who polls librdkafka, and what happens when the group's partitions are shared out anew?
//!
//! Each consumer has a thread that polls, always: as long as it lives, the member counts as alive, however slow its
//! stage is. Records go into a buffer; when that is full the thread first waits a moment for the stage
//! ([`HOLD`]), then pauses all partitions and goes on polling, until half of the buffer is free again.
//!
//! When partitions are to go, librdkafka's rebalance waits for our `incremental_unassign`. It is not called in the
//! rebalance callback but when the stage has released them (or its deadline has passed), so that meanwhile the
//! remaining partitions are read, commits are served, and the group counts us as alive. The deadline is shorter than
//! `max.poll.interval.ms`, which is the group's own patience.

use crate::client::{Health, Trouble, log};
use crate::config::KafkaConfig;
use crate::state::State;
use bytes::Bytes;
use rdkafka::ClientContext;
use rdkafka::config::RDKafkaLogLevel;
use rdkafka::consumer::{BaseConsumer, Consumer as _, ConsumerContext};
use rdkafka::error::{KafkaError, KafkaResult, RDKafkaErrorCode as Code};
use rdkafka::message::{BorrowedMessage, Headers as _, Message as _};
use rdkafka::topic_partition_list::TopicPartitionList;
use rdkafka::types::RDKafkaRespErr;
use sphere_core::Timestamp;
use sphere_pipeline::{BusError, Delivery, Header, Partition};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant, SystemTime};
use tokio::sync::Notify;

/// How long one poll may wait; also how late deadlines and the end are noticed.
const POLL: Duration = Duration::from_millis(100);
/// How long the thread waits for a slow stage before it pauses the partitions. Pausing makes librdkafka drop what it has
/// fetched ahead, so it is not for every moment.
const HOLD: Duration = Duration::from_secs(1);
/// Trouble of connections is told when it lasts this long.
const PATIENCE: Duration = Duration::from_secs(2);

/// What the thread, the callbacks and the stage share.
pub(crate) struct Shared {
    pub config: Arc<KafkaConfig>,
    pub health: Health,
    pub max_records: usize,
    state: Mutex<State>,
    /// Held while a commit is under way and while partitions are taken away, so that none is committed afterwards.
    pub gate: Mutex<()>,
    /// There is something for the stage.
    pub news: Notify,
    /// There is room for records.
    room: Condvar,
    trouble: Mutex<Option<(Instant, Trouble)>>,
    error: Mutex<Option<BusError>>,
    closing: AtomicBool,
}

/// A panic of a test's thread must not hide what it has to say; the data are whole after every step.
pub(crate) fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Shared {
    pub fn new(config: Arc<KafkaConfig>, health: Health, max_records: usize) -> Self {
        Self {
            config,
            health,
            max_records,
            state: Mutex::default(),
            gate: Mutex::default(),
            news: Notify::new(),
            room: Condvar::new(),
            trouble: Mutex::default(),
            error: Mutex::default(),
            closing: AtomicBool::new(false),
        }
    }

    pub fn state(&self) -> MutexGuard<'_, State> {
        lock(&self.state)
    }

    /// Most records that wait for the stage: two batches.
    fn capacity(&self) -> usize {
        self.max_records.saturating_mul(2)
    }

    /// Tells the thread that the stage took records.
    pub fn took(&self) {
        self.room.notify_one();
    }

    /// Tells the thread to leave the group and end.
    pub fn close(&self) {
        self.closing.store(true, Ordering::SeqCst);
        self.room.notify_one();
    }

    fn closing(&self) -> bool {
        self.closing.load(Ordering::SeqCst)
    }

    /// What the stage should be told instead of an event.
    pub fn take_error(&self) -> Option<BusError> {
        lock(&self.error).take()
    }

    pub fn fail(&self, error: BusError) {
        *lock(&self.error) = Some(error);
        self.news.notify_one();
    }

    /// Takes note of trouble; a refusal is told at once.
    fn troubled(&self, trouble: Trouble) {
        if trouble.permanent {
            *lock(&self.trouble) = None;
            self.fail(trouble.into_error("reading"));
        } else {
            lock(&self.trouble).get_or_insert((Instant::now(), trouble));
        }
    }

    fn well(&self) {
        self.health.answered();
        *lock(&self.trouble) = None;
    }

    fn tell_lasting_trouble(&self) {
        let mut trouble = lock(&self.trouble);
        if trouble.as_ref().is_some_and(|(since, _)| since.elapsed() > PATIENCE)
            && let Some((_, trouble)) = trouble.take()
        {
            self.fail(trouble.into_error("reading"));
        }
    }

    pub fn partitions(&self, list: &TopicPartitionList) -> Vec<Partition> {
        let of = |element: &rdkafka::topic_partition_list::TopicPartitionListElem<'_>| {
            let topic = self.config.topic_of(element.topic())?;
            Some(Partition { topic, number: u32::try_from(element.partition()).ok()? })
        };
        list.elements().iter().filter_map(of).collect()
    }
}

/// What librdkafka calls.
pub(crate) struct Context {
    shared: Arc<Shared>,
    /// What the last revocation took; librdkafka wants it all back in one call.
    revoked: Mutex<Option<TopicPartitionList>>,
    paused: AtomicBool,
}

/// The client with its callbacks.
pub(crate) type Member = BaseConsumer<Context>;

impl Context {
    pub fn new(shared: Arc<Shared>) -> Self {
        Self { shared, revoked: Mutex::default(), paused: AtomicBool::new(false) }
    }

    /// Gives back what the group asked for; once.
    pub fn unassign(&self, member: &Member) {
        let Some(list) = lock(&self.revoked).take() else { return };
        if let Err(error) = member.incremental_unassign(&list) {
            tracing::warn!(%error, "partitions could not be given back");
        }
    }

    fn assign(&self, member: &Member, list: &TopicPartitionList) {
        let partitions = self.shared.partitions(list);
        if let Err(error) = member.incremental_assign(list) {
            self.shared
                .fail(BusError::Unavailable { doing: "taking partitions over", detail: error.to_string() });
            return;
        }
        // A pause may outlive an earlier ownership of the same partition.
        let adjusted =
            if self.paused.load(Ordering::Relaxed) { member.pause(list) } else { member.resume(list) };
        if let Err(error) = adjusted {
            tracing::warn!(%error, "new partitions could not be paused or resumed");
        }
        tracing::info!(count = partitions.len(), "partitions assigned");
        self.shared.well();
        self.shared.state().assign(&partitions);
        self.shared.news.notify_one();
    }

    fn revoke(&self, member: &Member, list: &TopicPartitionList) {
        let partitions = self.shared.partitions(list);
        let lost = member.assignment_lost();
        tracing::info!(count = partitions.len(), lost, "partitions revoked");
        *lock(&self.revoked) = Some(list.clone());
        if lost || self.shared.closing() {
            let gate = lock(&self.shared.gate);
            self.shared.state().lose(&partitions);
            self.unassign(member);
            drop(gate);
        } else {
            let deadline = Instant::now() + self.shared.config.release_timeout();
            let at_once = self.shared.state().revoke(&partitions, deadline);
            // Otherwise librdkafka fetches nothing more of them, and waits for `unassign`.
            if at_once {
                self.unassign(member);
            }
        }
        self.shared.news.notify_one();
    }

    /// Takes partitions that wait for their release away when that takes too long, or is too late.
    fn end_overdue(&self, member: &Member) {
        let (revoking, overdue) = {
            let state = self.shared.state();
            (state.revoking(), state.overdue(Instant::now()))
        };
        if revoking && (overdue || member.assignment_lost()) {
            tracing::warn!(overdue, "partitions go to others before the stage has released them");
            self.end_revocation(member);
        }
    }

    /// Gives back what waits for its release, released or not. Librdkafka does not go on, nor leave, before that.
    fn end_revocation(&self, member: &Member) {
        let gate = lock(&self.shared.gate);
        self.shared.state().lose_revoking();
        self.unassign(member);
        drop(gate);
        self.shared.news.notify_one();
    }
}

impl ClientContext for Context {
    fn log(&self, level: RDKafkaLogLevel, facility: &str, text: &str) {
        log(level, facility, &self.shared.health.scrub(text));
    }

    fn error(&self, error: KafkaError, reason: &str) {
        if let Some(trouble) = self.shared.health.heard(&error, reason) {
            self.shared.troubled(trouble);
        }
    }
}

impl ConsumerContext for Context {
    fn rebalance(&self, member: &Member, what: RDKafkaRespErr, list: &mut TopicPartitionList) {
        if what == RDKafkaRespErr::RD_KAFKA_RESP_ERR__ASSIGN_PARTITIONS {
            self.assign(member, list);
        } else {
            self.revoke(member, list);
        }
    }

    fn commit_callback(&self, _: KafkaResult<()>, _: &TopicPartitionList) {}
}

/// The thread's work: polls until told to close, then leaves the group.
pub(crate) fn run(member: Arc<Member>, shared: &Shared) {
    let context = member.client().context().clone();
    let mut batch = Vec::new();
    let mut full_since: Option<Instant> = None;
    while !shared.closing() {
        context.end_overdue(&member);
        shared.tell_lasting_trouble();
        let room = room_for(shared, &context, &member, &mut full_since);
        if room == 0 && !context.paused.load(Ordering::Relaxed) {
            continue;
        }
        // One waits, the rest is what is there already. A paused partition may still have one on the way; it is kept.
        let mut wait = POLL;
        while let Some(result) = member.poll(wait) {
            match result {
                Ok(message) => batch.extend(delivery(&message, &shared.config)),
                Err(error) => polled_error(shared, &error),
            }
            if batch.len() >= room {
                break;
            }
            wait = Duration::ZERO;
        }
        if !batch.is_empty() {
            shared.well();
            shared.state().push(batch.drain(..));
            shared.news.notify_one();
        }
    }
    context.end_revocation(&member);
    drop(context);
    leave(member);
}

/// Room for records, after a wait for it; pauses and resumes.
fn room_for(shared: &Shared, context: &Context, member: &Member, full_since: &mut Option<Instant>) -> usize {
    let mut state = shared.state();
    let paused = context.paused.load(Ordering::Relaxed);
    if state.waiting() >= shared.capacity() && !paused {
        state = shared.room.wait_timeout(state, POLL).unwrap_or_else(PoisonError::into_inner).0;
    }
    let waiting = state.waiting();
    drop(state);
    if waiting < shared.capacity() {
        *full_since = None;
    } else if full_since.get_or_insert_with(Instant::now).elapsed() > HOLD && !paused {
        tracing::debug!(waiting, "the stage is slow: partitions paused");
        context.paused.store(true, Ordering::Relaxed);
        apply(member, "pause", |list| member.pause(list));
    }
    if paused && waiting <= shared.capacity() / 2 {
        context.paused.store(false, Ordering::Relaxed);
        // Those on their way to another member stay paused only until they are gone; records of them are dropped.
        apply(member, "resume", |list| member.resume(list));
    }
    shared.capacity().saturating_sub(waiting)
}

fn apply(member: &Member, what: &str, act: impl Fn(&TopicPartitionList) -> KafkaResult<()>) {
    if let Err(error) = member.assignment().and_then(|list| act(&list)) {
        tracing::warn!(%error, "could not {what} partitions");
    }
}

fn polled_error(shared: &Shared, error: &KafkaError) {
    let doing = "reading";
    match error {
        KafkaError::PartitionEOF(_) => {}
        // The client takes no more part; another subscription would.
        KafkaError::MessageConsumptionFatal(code) => {
            let detail = format!("this member can not go on: {code}; subscribe again");
            shared.fail(BusError::Unavailable { doing, detail });
        }
        // A topic that does not exist (yet): told, and looked for again.
        KafkaError::MessageConsumption(code @ (Code::UnknownTopicOrPartition | Code::UnknownTopic)) => {
            shared.fail(BusError::Unavailable { doing, detail: code.to_string() });
        }
        // Others are repeated inside, or were told of by `ClientContext::error`.
        other => tracing::debug!(error = %other, "while polling"),
    }
}

/// A record of ours; `None` for a topic that is not.
fn delivery(message: &BorrowedMessage<'_>, config: &KafkaConfig) -> Option<Delivery> {
    let topic = config.topic_of(message.topic())?;
    let number = u32::try_from(message.partition()).ok()?;
    let copy = |bytes: Option<&[u8]>| bytes.map(Bytes::copy_from_slice).unwrap_or_default();
    // Every broker since 0.10 gives a time; without one, that of reading is the closest.
    let now = || SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).map_or(0, |d| d.as_millis() as i64);
    Some(Delivery {
        partition: Partition { topic, number },
        offset: message.offset(),
        key: copy(message.key()),
        headers: headers(message),
        payload: copy(message.payload()),
        published_at: Timestamp(message.timestamp().to_millis().unwrap_or_else(now)),
    })
}

fn headers(message: &BorrowedMessage<'_>) -> Vec<Header> {
    let Some(headers) = message.headers() else { return Vec::new() };
    let one = |i: usize| {
        // The client library panics on a name that is not UTF-8. Anybody can publish that; it must not end us. Such a
        // header is left out: none of ours has such a name.
        let header = catch_unwind(AssertUnwindSafe(|| headers.get(i))).ok()?;
        Some(Header::new(header.key, header.value.map(Bytes::copy_from_slice).unwrap_or_default()))
    };
    (0..headers.count()).filter_map(one).collect()
}

/// Leaves the group when the last commit is done.
fn leave(mut member: Arc<Member>) {
    let asked = Instant::now();
    loop {
        match Arc::try_unwrap(member) {
            // Dropping says goodbye to the group and waits for that.
            Ok(last) => return drop(last),
            Err(shared) => member = shared,
        }
        if asked.elapsed() > Duration::from_secs(30) {
            // The commit that still holds it will drop it.
            return;
        }
        std::thread::sleep(Duration::from_millis(5));
    }
}
