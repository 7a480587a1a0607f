//! How are records published?
//!
//! One idempotent producer (`acks=all`), shared by all callers. Each call is a batch whose records share one [`Batch`]:
//! when the last of them is acknowledged or given up, the call resolves. There is no future per record, and no flush.
//!
//! Memory is bounded by a semaphore: a record takes as many permits (one per KiB) as it is long, and gives them back
//! with its delivery report. Who publishes more than [`KafkaConfig::buffer_bytes`] waits.

use crate::client::{Health, ROOM_FOR_FRAMING, bus_error, code_of, common, log, with_properties};
use crate::config::KafkaConfig;
use rdkafka::ClientContext;
use rdkafka::config::RDKafkaLogLevel;
use rdkafka::error::{KafkaError, RDKafkaErrorCode as Code};
use rdkafka::message::{DeliveryResult, Header, OwnedHeaders};
use rdkafka::producer::{BaseRecord, Producer as _, ProducerContext, PurgeConfig, ThreadedProducer};
use sphere_pipeline::{BusError, Message};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;
use tokio::sync::{Semaphore, oneshot};

/// Bytes per permit.
const PERMIT_BYTES: usize = 1024;
/// What a record costs in memory beyond its key and value, about.
const OVERHEAD_BYTES: usize = 256;
/// A pause before a full queue is tried again; only when the settings make librdkafka's queue smaller than ours.
const FULL_PAUSE: Duration = Duration::from_millis(2);

/// What became of a batch.
type Outcome = Result<(), (KafkaError, usize)>;

/// One call's records on their way. Each holds a reference; the last one to go tells the caller.
#[derive(Debug)]
pub(crate) struct Batch {
    first_error: Mutex<Option<(KafkaError, usize)>>,
    done: Option<oneshot::Sender<Outcome>>,
}

impl Batch {
    fn new() -> (Arc<Self>, oneshot::Receiver<Outcome>) {
        let (done, outcome) = oneshot::channel();
        (Arc::new(Self { first_error: Mutex::default(), done: Some(done) }), outcome)
    }

    fn failed(&self, error: KafkaError, bytes: usize) {
        if let Ok(mut first) = self.first_error.lock() {
            first.get_or_insert((error, bytes));
        }
    }
}

impl Drop for Batch {
    fn drop(&mut self) {
        let error = self.first_error.get_mut().ok().and_then(Option::take);
        if let Some(done) = self.done.take() {
            // The caller may have gone away.
            let _ = done.send(error.map_or(Ok(()), Err));
        }
    }
}

/// What librdkafka tells us.
struct Context {
    health: Arc<Health>,
    room: Arc<Semaphore>,
}

impl ClientContext for Context {
    fn log(&self, level: RDKafkaLogLevel, facility: &str, text: &str) {
        log(level, facility, &self.health.scrub(text));
    }

    fn error(&self, error: KafkaError, reason: &str) {
        self.health.heard(&error, reason);
    }
}

impl ProducerContext for Context {
    type DeliveryOpaque = Arc<Batch>;

    fn delivery(&self, result: &DeliveryResult<'_>, batch: Arc<Batch>) {
        let message = match result {
            Ok(message) => {
                self.health.answered();
                message
            }
            Err((error, message)) => {
                batch.failed(error.clone(), message.key_len() + message.payload_len());
                message
            }
        };
        self.room.add_permits(permits(message.key_len(), message.payload_len()));
    }
}

fn permits(key_bytes: usize, payload_bytes: usize) -> usize {
    (key_bytes + payload_bytes + OVERHEAD_BYTES).div_ceil(PERMIT_BYTES)
}

fn permits_of(message: &Message) -> usize {
    permits(message.key.len(), message.payload.len())
}

/// Bytes of a record as limits count them.
fn size_of(message: &Message) -> usize {
    let headers: usize = message.headers.iter().map(|h| h.key.len() + h.value.len()).sum();
    message.key.len() + message.payload.len() + headers
}

/// Permits taken and not yet passed on to a record.
struct Reserved<'a> {
    room: &'a Semaphore,
    left: usize,
}

impl Drop for Reserved<'_> {
    fn drop(&mut self) {
        self.room.add_permits(self.left);
    }
}

/// The producer. See the module text.
pub(crate) struct Producer {
    inner: ThreadedProducer<Context>,
    config: Arc<KafkaConfig>,
    health: Arc<Health>,
    room: Arc<Semaphore>,
    room_permits: usize,
    broken: AtomicBool,
}

impl Producer {
    /// Makes it; connects in the background.
    pub fn new(config: Arc<KafkaConfig>, password: Option<String>) -> Result<Self, BusError> {
        let mut settings = common(&config, password.as_deref());
        let timeout = config.delivery_timeout().as_millis().to_string();
        settings
            .set("enable.idempotence", "true")
            // More than one at a time can lose an acknowledged record: a broker accepts any sequence number from a
            // producer it does not know yet. When the first request to a new leader comes too early and the second does
            // not, the first one's repetition counts as a duplicate, that is, as stored. Seen, one run in three, with
            // 5 in flight on a new topic.
            .set("max.in.flight.requests.per.connection", "1")
            .set("message.timeout.ms", timeout)
            .set("compression.codec", config.compression.to_string())
            // Small: it is the least a record waits. Under load batches fill themselves while others are on the way.
            .set("linger.ms", "2")
            .set("batch.size", (config.message_max_bytes.min(1 << 20)).to_string())
            // Where Java clients would put it, so that others may publish to our topics, too.
            .set("partitioner", "murmur2_random")
            .set("retry.backoff.ms", "50")
            // Ours is the bound; see the module text.
            .set("queue.buffering.max.messages", "2147483647")
            .set("queue.buffering.max.kbytes", (2 * config.buffer_bytes / 1024).to_string());
        let health = Arc::new(Health::new(password));
        let room_permits = config.buffer_bytes / PERMIT_BYTES;
        let room = Arc::new(Semaphore::new(room_permits));
        let context = Context { health: health.clone(), room: room.clone() };
        let inner = with_properties(settings, &config)
            .create_with_context(context)
            .map_err(|error| bus_error("making a producer", &error, &health))?;
        Ok(Self { inner, config, health, room, room_permits, broken: AtomicBool::new(false) })
    }

    /// Does it need to be replaced? After a fatal error librdkafka's producer takes no more records.
    pub fn broken(&self) -> bool {
        self.broken.load(Ordering::Relaxed)
    }

    /// What it knows of the brokers.
    pub fn health(&self) -> &Health {
        &self.health
    }

    /// Its connection, for questions about the cluster.
    pub fn client(&self) -> &rdkafka::client::Client<impl ClientContext + use<>> {
        self.inner.client()
    }

    /// See [`sphere_pipeline::Bus::publish`].
    pub async fn publish(&self, messages: Vec<Message>) -> Result<(), BusError> {
        let doing = "publishing";
        // Before the first one is on its way, so that a batch with such a record is refused as a whole.
        if let Some(bytes) = messages.iter().map(size_of).find(|bytes| *bytes > self.config.message_max_bytes)
        {
            return Err(BusError::TooLarge { bytes });
        }
        let (batch, outcome) = Batch::new();
        let delivered = async {
            self.send(messages, batch).await?;
            // Sent by the last reference to the batch, so it always comes.
            outcome.await.unwrap_or(Err((KafkaError::Canceled, 0)))
        };
        let (error, bytes) = tokio::select! {
            biased;
            outcome = delivered => match outcome {
                Ok(()) => return Ok(()),
                Err(error) => error,
            },
            trouble = self.health.refused() => {
                // No broker ever answered, so none has these: what waits would only become duplicates.
                self.inner.purge(PurgeConfig::default().queue().inflight());
                return Err(trouble.into_error(doing));
            }
        };
        match code_of(&error) {
            Some(Code::MessageSizeTooLarge | Code::InvalidMessageSize) => {
                return Err(BusError::TooLarge { bytes });
            }
            Some(Code::Fatal) => self.broken.store(true, Ordering::Relaxed),
            _ => {}
        }
        Err(bus_error(doing, &error, &self.health))
    }

    /// Hands all to librdkafka, waiting for room where there is none.
    async fn send(&self, messages: Vec<Message>, batch: Arc<Batch>) -> Outcome {
        // A part of the room at a time, so that the largest batch passes through and callers take turns.
        let most = (self.room_permits / 4).max(1);
        let mut rest = messages.as_slice();
        while !rest.is_empty() {
            let mut count = 0;
            let mut wanted = 0;
            for message in rest {
                if count > 0 && wanted + permits_of(message) > most {
                    break;
                }
                count += 1;
                wanted += permits_of(message);
            }
            let (chunk, later) = rest.split_at(count);
            rest = later;
            let permits = u32::try_from(wanted).unwrap_or(u32::MAX);
            let Ok(taken) = self.room.acquire_many(permits).await else {
                return Err((KafkaError::Canceled, 0));
            };
            taken.forget();
            let mut reserved = Reserved { room: &self.room, left: wanted };
            for message in chunk {
                while let Err(error) = self.send_one(message, &batch) {
                    if code_of(&error) != Some(Code::QueueFull) {
                        return Err((error, size_of(message)));
                    }
                    tokio::time::sleep(FULL_PAUSE).await;
                }
                // The delivery report gives them back.
                reserved.left -= permits_of(message);
            }
        }
        Ok(())
    }

    fn send_one(&self, message: &Message, batch: &Arc<Batch>) -> Result<(), KafkaError> {
        let topic = self.config.topic_name(message.topic);
        let mut record: BaseRecord<'_, [u8], [u8], Arc<Batch>> =
            BaseRecord::with_opaque_to(topic, batch.clone()).payload(&message.payload);
        if !message.key.is_empty() {
            record = record.key(&message.key);
        }
        if !message.headers.is_empty() {
            let mut headers = OwnedHeaders::new_with_capacity(message.headers.len());
            for header in &message.headers {
                headers = headers.insert(Header { key: &header.key, value: Some(header.value.as_ref()) });
            }
            record = record.headers(headers);
        }
        self.inner.send(record).map_err(|(error, _)| error)
    }
}

/// Largest batch a topic of ours must take, bytes.
pub(crate) fn topic_max_bytes(config: &KafkaConfig) -> usize {
    config.message_max_bytes + 4 * ROOM_FOR_FRAMING
}
