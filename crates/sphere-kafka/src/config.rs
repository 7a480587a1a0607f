//! How is Kafka reached, and what are our topics like there?
//!
//! The `bus.kafka` section of the configuration. [`KafkaConfig::problems`] tells everything that can not be meant, at
//! once. Passwords are never in the section itself, only where to find them.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use sphere_pipeline::Topic;
use std::collections::BTreeMap;
use std::fmt;
use std::path::PathBuf;
use std::time::Duration;

/// How records are compressed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum Compression {
    /// Not at all.
    None,
    /// Little processor time; our JSON shrinks to about a quarter.
    #[default]
    Lz4,
    /// Smaller, for more processor time.
    Zstd,
}

impl fmt::Display for Compression {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Compression::None => "none",
            Compression::Lz4 => "lz4",
            Compression::Zstd => "zstd",
        })
    }
}

/// Encryption of connections. The section's presence turns it on.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Tls {
    /// PEM file with the certificates that vouch for the brokers. Absent: those of the system.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ca_file: Option<PathBuf>,
    /// PEM file with our own certificate, if the brokers ask for one. Needs `keyFile`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cert_file: Option<PathBuf>,
    /// PEM file with its private key, not encrypted. Needs `certFile`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub key_file: Option<PathBuf>,
    /// Must the certificate be for the host that was asked?
    #[serde(default = "yes")]
    pub verify_hostname: bool,
}

fn yes() -> bool {
    true
}

impl Default for Tls {
    fn default() -> Self {
        Self { ca_file: None, cert_file: None, key_file: None, verify_hostname: true }
    }
}

/// How a client proves who it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum Mechanism {
    /// The password itself is sent; use it with TLS only.
    #[serde(rename = "PLAIN")]
    Plain,
    /// Challenge and response.
    #[serde(rename = "SCRAM-SHA-256")]
    ScramSha256,
    /// The same with the longer hash.
    #[serde(rename = "SCRAM-SHA-512")]
    ScramSha512,
}

impl Mechanism {
    /// The name Kafka knows it by.
    pub fn name(self) -> &'static str {
        match self {
            Mechanism::Plain => "PLAIN",
            Mechanism::ScramSha256 => "SCRAM-SHA-256",
            Mechanism::ScramSha512 => "SCRAM-SHA-512",
        }
    }
}

/// Who we are, for the brokers.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Sasl {
    /// How it is proved.
    pub mechanism: Mechanism,
    /// The user's name.
    pub username: String,
    /// File with the password; a line break at its end does not count. This or `passwordEnv`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub password_file: Option<PathBuf>,
    /// Environment variable with the password. This or `passwordFile`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub password_env: Option<String>,
}

/// The Kafka bus. See the module text.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub struct KafkaConfig {
    /// `host:port` of some brokers; the rest is found through them.
    pub brokers: Vec<String>,
    /// Names of the topics where they differ from `metrics`, `predictions`, `decisions`, `metrics.dlq`,
    /// `predictions.dlq`.
    pub topics: BTreeMap<Topic, String>,
    /// Partitions of each topic we make; the most members of a group that can share the work.
    pub partitions: u32,
    /// Copies of each record, in topics we make. 3 where three brokers are; 2 of them have to acknowledge then.
    pub replication: u16,
    /// How long topics we make keep their records, hours, where it differs from metrics 2, predictions 1, decisions
    /// and dead letters 168.
    pub retention_hours: BTreeMap<Topic, f64>,
    /// How records are compressed.
    pub compression: Compression,
    /// Encryption; absent: none.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub tls: Option<Tls>,
    /// Login; absent: none.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub sasl: Option<Sasl>,
    /// After this long without a sign of life a member's partitions go to others, seconds.
    pub session_timeout_seconds: f64,
    /// How long a stage may take to save its state before partitions go to another member, seconds. After that they
    /// go anyway.
    pub release_timeout_seconds: f64,
    /// How long a record may wait for its acknowledgement, repetitions included, seconds.
    pub delivery_timeout_seconds: f64,
    /// Largest record, bytes, key and headers included. Topics we make take as much.
    pub message_max_bytes: usize,
    /// Most bytes waiting to be acknowledged; who publishes more waits.
    pub buffer_bytes: usize,
    /// Further settings of librdkafka, as in its CONFIGURATION.md, last word for producer and consumer. What
    /// delivery rests on is refused.
    pub properties: BTreeMap<String, String>,
}

impl Default for KafkaConfig {
    fn default() -> Self {
        Self {
            brokers: vec!["localhost:9092".into()],
            topics: BTreeMap::new(),
            partitions: 12,
            replication: 1,
            retention_hours: BTreeMap::new(),
            compression: Compression::Lz4,
            tls: None,
            sasl: None,
            session_timeout_seconds: 10.0,
            release_timeout_seconds: 15.0,
            delivery_timeout_seconds: 30.0,
            message_max_bytes: 2 << 20,
            buffer_bytes: 64 << 20,
            properties: BTreeMap::new(),
        }
    }
}

/// Something in [`KafkaConfig`] that can not be meant.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Problem {
    /// The key, with dots, below `bus.kafka`.
    pub key: String,
    /// What is wrong, and what is accepted.
    pub problem: String,
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.key, self.problem)
    }
}

/// Settings whose change would break the promises of the bus, or that have a key of their own.
const RESERVED: [&str; 24] = [
    "bootstrap.servers",
    "metadata.broker.list",
    "group.id",
    "enable.idempotence",
    "acks",
    "request.required.acks",
    "max.in.flight",
    "max.in.flight.requests.per.connection",
    "enable.auto.commit",
    "enable.auto.offset.store",
    "auto.offset.reset",
    "group.protocol",
    "partition.assignment.strategy",
    "session.timeout.ms",
    "max.poll.interval.ms",
    "message.max.bytes",
    "message.timeout.ms",
    "compression.codec",
    "compression.type",
    "security.protocol",
    "sasl.mechanisms",
    "sasl.mechanism",
    "sasl.username",
    "sasl.password",
];

impl KafkaConfig {
    /// The name of a topic.
    pub fn topic_name(&self, topic: Topic) -> &str {
        self.topics.get(&topic).map_or(topic.default_name(), String::as_str)
    }

    /// The topic of a name.
    pub fn topic_of(&self, name: &str) -> Option<Topic> {
        Topic::ALL.into_iter().find(|topic| self.topic_name(*topic) == name)
    }

    /// How long a topic we make keeps its records.
    pub fn retention(&self, topic: Topic) -> Duration {
        let hours = self.retention_hours.get(&topic).copied().unwrap_or(match topic {
            Topic::Metrics => 2.0,
            Topic::Predictions => 1.0,
            Topic::Decisions | Topic::MetricsDlq | Topic::PredictionsDlq => 7.0 * 24.0,
        });
        seconds(hours * 3600.0)
    }

    /// Copies that must have a record before it counts as stored.
    pub fn min_in_sync(&self) -> u16 {
        if self.replication > 2 { 2 } else { 1 }
    }

    /// See [`KafkaConfig::session_timeout_seconds`].
    pub fn session_timeout(&self) -> Duration {
        seconds(self.session_timeout_seconds)
    }

    /// See [`KafkaConfig::release_timeout_seconds`].
    pub fn release_timeout(&self) -> Duration {
        seconds(self.release_timeout_seconds)
    }

    /// See [`KafkaConfig::delivery_timeout_seconds`].
    pub fn delivery_timeout(&self) -> Duration {
        seconds(self.delivery_timeout_seconds)
    }

    /// All problems at once; empty when the section can be used.
    pub fn problems(&self) -> Vec<Problem> {
        let mut found = Vec::new();
        let mut problem = |key: &str, problem: String| found.push(Problem { key: key.to_string(), problem });
        if self.brokers.is_empty() {
            problem("brokers", "empty; at least one host:port expected".into());
        }
        for broker in &self.brokers {
            let port = broker.rsplit_once(':').filter(|(host, _)| !host.is_empty());
            if broker.contains([',', '/', ' ']) || port.is_none_or(|(_, port)| port.parse::<u16>().is_err()) {
                problem("brokers", format!("{broker:?} is not host:port"));
            }
        }
        for topic in Topic::ALL {
            let name = self.topic_name(topic);
            let legal = |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '_' | '-');
            if name.is_empty() || name.len() > 249 || matches!(name, "." | "..") || !name.chars().all(legal) {
                problem(
                    &format!("topics.{topic:?}"),
                    format!("{name:?} is no topic name: 1 to 249 of a-z, A-Z, 0-9, '.', '_', '-'"),
                );
            }
            if self.topic_of(name) != Some(topic) {
                problem(&format!("topics.{topic:?}"), format!("{name:?} is the name of two topics"));
            }
            let hours = self.retention(topic).as_secs_f64() / 3600.0;
            if !(1.0 / 60.0..=24.0 * 3650.0).contains(&hours) {
                problem(&format!("retentionHours.{topic:?}"), "expected: one minute to ten years".into());
            }
        }
        if !(1..=10_000).contains(&self.partitions) {
            problem("partitions", format!("{}; expected: 1 to 10000", self.partitions));
        }
        if !(1..=100).contains(&self.replication) {
            problem("replication", format!("{}; expected: 1 to the number of brokers", self.replication));
        }
        // The longest ones keep Kafka's own limit for a poll below a day.
        for (key, value, least, most) in [
            ("sessionTimeoutSeconds", self.session_timeout_seconds, 1.0, 1800.0),
            ("releaseTimeoutSeconds", self.release_timeout_seconds, 0.1, 3600.0),
            ("deliveryTimeoutSeconds", self.delivery_timeout_seconds, 1.0, 3600.0),
        ] {
            if !(least..=most).contains(&value) {
                problem(key, format!("{value}; expected: {least} to {most}"));
            }
        }
        if !(64 << 10..=512 << 20).contains(&self.message_max_bytes) {
            problem("messageMaxBytes", format!("{}; expected: 64 KiB to 512 MiB", self.message_max_bytes));
        }
        if !(1 << 20..=2 << 30).contains(&self.buffer_bytes) || self.buffer_bytes < 2 * self.message_max_bytes
        {
            problem(
                "bufferBytes",
                format!("{}; expected: 1 MiB to 2 GiB, and twice messageMaxBytes", self.buffer_bytes),
            );
        }
        if (self.tls.is_some() || self.sasl.is_some()) && !cfg!(feature = "tls") {
            problem(
                "tls",
                "this program was built without TLS and SASL; build it with the feature tls".into(),
            );
        }
        if let Some(tls) = &self.tls
            && tls.cert_file.is_some() != tls.key_file.is_some()
        {
            problem("tls", "certFile and keyFile need each other".into());
        }
        if let Some(sasl) = &self.sasl {
            if sasl.username.is_empty() {
                problem("sasl.username", "empty".into());
            }
            if sasl.password_file.is_some() == sasl.password_env.is_some() {
                problem("sasl", "one of passwordFile and passwordEnv expected".into());
            }
        }
        for key in self.properties.keys() {
            if RESERVED.contains(&key.as_str()) || key.contains("password") {
                problem(
                    &format!("properties.{key}"),
                    "may not be set here: it has a key of its own, or delivery rests on it".into(),
                );
            }
        }
        found
    }
}

/// Of seconds that [`KafkaConfig::problems`] has checked; nonsense becomes zero.
fn seconds(value: f64) -> Duration {
    Duration::try_from_secs_f64(value).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(text: &str) -> Result<KafkaConfig, serde_json::Error> {
        serde_json::from_str(text)
    }

    #[test]
    fn an_empty_section_is_usable() {
        let config = read("{}").unwrap();
        assert_eq!(config, KafkaConfig::default());
        assert_eq!(config.problems(), []);
        assert_eq!(config.topic_name(Topic::MetricsDlq), "metrics.dlq");
        assert_eq!(config.retention(Topic::Metrics), Duration::from_secs(7200));
    }

    #[test]
    fn unknown_keys_and_plain_passwords_are_refused() {
        assert!(read(r#"{"broker": ["a:1"]}"#).is_err());
        let plain = r#"{"sasl": {"mechanism": "PLAIN", "username": "u", "password": "p"}}"#;
        assert!(read(plain).unwrap_err().to_string().contains("password"));
    }

    #[test]
    fn all_problems_are_told_at_once() {
        let config = read(
            r#"{"brokers": ["nowhere", "a:1"], "topics": {"metrics": "predictions", "decisions": "no/name"},
                "partitions": 0, "replication": 0, "retentionHours": {"metrics": -1},
                "sessionTimeoutSeconds": 0.1, "messageMaxBytes": 1, "tls": {"certFile": "x"},
                "sasl": {"mechanism": "SCRAM-SHA-256", "username": ""},
                "properties": {"acks": "1", "ssl.key.password": "x", "linger.ms": "1"}}"#,
        )
        .unwrap();
        let keys: Vec<String> = config.problems().into_iter().map(|p| p.key).collect();
        let expected = [
            "brokers",
            "retentionHours.Metrics",
            "topics.Predictions",
            "topics.Decisions",
            "partitions",
            "replication",
            "sessionTimeoutSeconds",
            "messageMaxBytes",
            "tls",
            "sasl.username",
            "sasl",
            "properties.acks",
            "properties.ssl.key.password",
        ];
        assert_eq!(keys, expected);
    }
}
