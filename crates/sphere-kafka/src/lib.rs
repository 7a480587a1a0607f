//! How does SPHERE's bus run on Apache Kafka?
//!
//! [`KafkaBus`] is the [`Bus`] of the pipeline over librdkafka. What it promises, and by which means:
//!
//! | promise | means |
//! |---|---|
//! | published is stored | idempotent producer, `acks=all`; the call resolves with the last delivery report |
//! | order per key | one producer, idempotence, the partition by the key's hash |
//! | nothing lost on hand-over | cooperative-sticky groups, no automatic commits; a partition goes when the stage has released it |
//! | bounded memory | publishing waits for room; a slow stage makes its partitions pause |
//!
//! Delivery is at least once: a call that failed may have published, and what was not committed is read again.

mod admin;
mod client;
pub mod config;
mod consumer;
mod member;
mod producer;
mod state;

pub use config::{Compression, KafkaConfig, Mechanism, Problem, Sasl, Tls};

use async_trait::async_trait;
use producer::Producer;
use sphere_pipeline::{Bus, BusError, Consumer, Message, Subscription, Topic};
use std::fmt;
use std::sync::Arc;
use tokio::sync::Mutex;

/// The bus on Kafka. See the module text.
pub struct KafkaBus {
    config: Arc<KafkaConfig>,
    producer: Mutex<Arc<Producer>>,
}

impl fmt::Debug for KafkaBus {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("KafkaBus").field("config", &self.config).finish_non_exhaustive()
    }
}

impl KafkaBus {
    /// Makes the bus. It connects in the background: [`Bus::check`] tells whether the brokers are there. Fails when the
    /// configuration has [`KafkaConfig::problems`], or when a file it names can not be read.
    pub fn new(config: KafkaConfig) -> Result<Self, BusError> {
        let problems: Vec<String> = config.problems().iter().map(ToString::to_string).collect();
        if !problems.is_empty() {
            return Err(BusError::Permanent {
                doing: "reading the configuration",
                detail: problems.join("; "),
            });
        }
        let config = Arc::new(config);
        let producer = Producer::new(config.clone(), client::password(&config)?)?;
        Ok(Self { config, producer: Mutex::new(Arc::new(producer)) })
    }

    /// The producer; a new one when the last can not go on.
    async fn producer(&self) -> Result<Arc<Producer>, BusError> {
        let mut producer = self.producer.lock().await;
        if producer.broken() {
            tracing::warn!("the producer has failed for good; making a new one");
            *producer = Arc::new(Producer::new(self.config.clone(), client::password(&self.config)?)?);
        }
        Ok(producer.clone())
    }
}

#[async_trait]
impl Bus for KafkaBus {
    async fn publish(&self, messages: Vec<Message>) -> Result<(), BusError> {
        if messages.is_empty() {
            return Ok(());
        }
        self.producer().await?.publish(messages).await
    }

    async fn subscribe(&self, subscription: Subscription) -> Result<Box<dyn Consumer>, BusError> {
        let password = client::password(&self.config)?;
        Ok(Box::new(consumer::KafkaConsumer::join(&self.config, password, &subscription)?))
    }

    async fn create_topics(&self) -> Result<(), BusError> {
        let password = client::password(&self.config)?;
        admin::create_topics(&self.producer().await?, &self.config, password.as_deref()).await
    }

    async fn check(&self) -> Result<(), BusError> {
        admin::check(&self.producer().await?).await
    }

    async fn extent(&self, topic: Topic) -> Result<Vec<(i64, i64)>, BusError> {
        let password = client::password(&self.config)?;
        admin::extent(&self.producer().await?, &self.config, password, topic).await
    }

    async fn lag(&self, group: &str, topic: Topic) -> Result<u64, BusError> {
        let password = client::password(&self.config)?;
        admin::lag(&self.producer().await?, &self.config, password, group, topic).await
    }
}
