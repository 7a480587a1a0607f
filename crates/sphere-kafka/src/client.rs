//! What do our clients have in common: settings, errors, and what the brokers say?
//!
//! librdkafka repeats by itself and tells of trouble on the side. [`Health`] keeps the last trouble, so that a caller
//! who waits in vain can be told why; and as long as no broker ever answered, trouble ends the wait at once.

use crate::config::KafkaConfig;
use rdkafka::ClientConfig;
use rdkafka::config::RDKafkaLogLevel;
use rdkafka::error::{KafkaError, RDKafkaErrorCode as Code};
use sphere_pipeline::BusError;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;
use tokio::sync::watch;

/// A name with several addresses, or a broker that is just starting, needs more than one try. Longer than the longest
/// pause between two tries.
const GRACE: Duration = Duration::from_millis(1500);

/// What a client said about its connections.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Trouble {
    /// Another try would not help.
    pub permanent: bool,
    /// What it said.
    pub detail: String,
}

impl Trouble {
    /// As an error.
    pub fn into_error(self, doing: &'static str) -> BusError {
        if self.permanent {
            BusError::Permanent { doing, detail: self.detail }
        } else {
            BusError::Unavailable { doing, detail: self.detail }
        }
    }
}

/// What is known of the brokers' state.
#[derive(Debug)]
pub(crate) struct Health {
    answered: AtomicBool,
    trouble: watch::Sender<Option<Trouble>>,
    last_words: std::sync::Mutex<String>,
    secret: Option<String>,
}

impl Health {
    pub fn new(secret: Option<String>) -> Self {
        Self {
            answered: AtomicBool::new(false),
            trouble: watch::Sender::new(None),
            last_words: std::sync::Mutex::default(),
            secret,
        }
    }

    /// A broker did what it was asked for.
    pub fn answered(&self) {
        if !self.answered.swap(true, Ordering::Relaxed) {
            self.trouble.send_replace(None);
        }
    }

    /// Did one ever?
    pub fn ever_answered(&self) -> bool {
        self.answered.load(Ordering::Relaxed)
    }

    /// Resolves when waiting is of no use: no broker has ever answered, and the client is refused, or in trouble for
    /// [`GRACE`]. Never resolves once a broker has answered; then the client's own repetitions decide.
    pub async fn refused(&self) -> Trouble {
        let mut trouble = self.trouble.subscribe();
        let grace = tokio::time::sleep(GRACE);
        tokio::pin!(grace);
        let mut waited = false;
        loop {
            let fresh = tokio::select! {
                changed = trouble.changed() => changed.is_ok(),
                () = &mut grace, if !waited => { waited = true; false }
            };
            if self.ever_answered() {
                return std::future::pending().await;
            }
            match &*trouble.borrow_and_update() {
                Some(known) if waited || (fresh && known.permanent) => return known.clone(),
                _ => {}
            }
        }
    }

    /// The last trouble there was.
    pub fn last_words(&self) -> Option<String> {
        let words = self.last_words.lock().map(|words| words.clone()).unwrap_or_default();
        (!words.is_empty()).then_some(words)
    }

    /// Notes what a client said; returns it when it is more than a single connection's hiccup.
    pub fn heard(&self, error: &KafkaError, reason: &str) -> Option<Trouble> {
        let code = code_of(error)?;
        let all_down = code == Code::AllBrokersDown;
        // A connection that breaks off during the handshake is an SSL error, too; that passes.
        let permanent = match code {
            Code::SSL => reason.to_lowercase().contains("certificate"),
            code => is_permanent(code),
        };
        let reason = self.scrub(reason);
        let detail = match self.last_words() {
            // "1/1 brokers are down" is no reason; what was said before is.
            Some(words) if all_down => words,
            _ => reason,
        };
        tracing::debug!(target: "sphere_kafka", %code, detail, "kafka client");
        if let Ok(mut words) = self.last_words.lock() {
            words.clone_from(&detail);
        }
        if !(all_down || permanent) {
            return None;
        }
        let trouble = Trouble { permanent, detail };
        if !self.ever_answered() {
            // Later trouble of the same client does not soften a refusal: after "wrong password" comes "all down".
            self.trouble.send_if_modified(|known| {
                if known.as_ref().is_some_and(|known| known.permanent) && !trouble.permanent {
                    return true;
                }
                *known = Some(trouble.clone());
                true
            });
        }
        Some(trouble)
    }

    /// Without the password, should it ever be in there.
    pub fn scrub(&self, text: &str) -> String {
        match &self.secret {
            Some(secret) if !secret.is_empty() => text.replace(secret.as_str(), "***"),
            _ => text.to_string(),
        }
    }
}

/// The code of an error, also where the client library does not give it.
pub(crate) fn code_of(error: &KafkaError) -> Option<Code> {
    match error {
        KafkaError::AdminOp(code) => Some(*code),
        other => other.rdkafka_error_code(),
    }
}

/// Is it of no use to repeat what failed with this code?
pub(crate) fn is_permanent(code: Code) -> bool {
    matches!(
        code,
        Code::Authentication
            | Code::SaslAuthenticationFailed
            | Code::UnsupportedSASLMechanism
            | Code::IllegalSASLState
            | Code::SSL
            | Code::TopicAuthorizationFailed
            | Code::GroupAuthorizationFailed
            | Code::ClusterAuthorizationFailed
            | Code::TransactionalIdAuthorizationFailed
            | Code::InvalidTopic
            | Code::InvalidReplicationFactor
            | Code::InvalidPartitions
            | Code::InvalidConfig
            | Code::PolicyViolation
            | Code::InvalidSessionTimeout
            | Code::InvalidGroupId
            | Code::InconsistentGroupProtocol
            | Code::UnsupportedVersion
            | Code::UnsupportedFeature
            | Code::UnsupportedCompressionType
    )
}

/// An error of a call.
pub(crate) fn bus_error(doing: &'static str, error: &KafkaError, health: &Health) -> BusError {
    // Its text has the value of the setting, which may be secret.
    if let KafkaError::ClientConfig(_, what, key, _) = error {
        return BusError::Permanent { doing, detail: format!("{key}: {}", health.scrub(what)) };
    }
    if let KafkaError::ClientCreation(what) = error {
        return BusError::Permanent { doing, detail: health.scrub(what) };
    }
    let mut detail = health.scrub(&error.to_string());
    match code_of(error) {
        Some(code) if is_permanent(code) => BusError::Permanent { doing, detail },
        _ => {
            if let Some(words) = health.last_words() {
                detail = format!("{detail}; last trouble: {words}");
            }
            BusError::Unavailable { doing, detail }
        }
    }
}

/// The password of [`crate::config::Sasl`], read anew.
pub(crate) fn password(config: &KafkaConfig) -> Result<Option<String>, BusError> {
    let permanent = |detail| BusError::Permanent { doing: "reading the password", detail };
    let Some(sasl) = &config.sasl else { return Ok(None) };
    let password = match (&sasl.password_file, &sasl.password_env) {
        (Some(file), _) => std::fs::read_to_string(file)
            .map_err(|error| permanent(format!("{}: {error}", file.display())))?
            .trim_end_matches(['\n', '\r'])
            .to_string(),
        (None, Some(name)) => std::env::var(name)
            .map_err(|_| permanent(format!("environment variable {name} is not set, or is no text")))?,
        (None, None) => {
            return Err(permanent("one of sasl.passwordFile and sasl.passwordEnv expected".into()));
        }
    };
    if password.is_empty() {
        return Err(permanent("it is empty".into()));
    }
    Ok(Some(password))
}

/// What a record needs beyond key, headers and value, bytes.
pub(crate) const ROOM_FOR_FRAMING: usize = 4096;

/// What every client of ours sets.
pub(crate) fn common(config: &KafkaConfig, password: Option<&str>) -> ClientConfig {
    let mut client = ClientConfig::new();
    client
        .set("bootstrap.servers", config.brokers.join(","))
        .set("client.id", "sphere")
        // A restarted broker is found within a second or so; the default lets ten pass.
        .set("reconnect.backoff.ms", "50")
        .set("reconnect.backoff.max.ms", "1000")
        .set("socket.connection.setup.timeout.ms", "5000")
        .set("socket.keepalive.enable", "true")
        .set("socket.nagle.disable", "true")
        // Topics that appear later are noticed within this time.
        .set("topic.metadata.refresh.interval.ms", "10000")
        .set("message.max.bytes", (config.message_max_bytes + ROOM_FOR_FRAMING).to_string());
    let protocol = match (&config.tls, &config.sasl) {
        (None, None) => "plaintext",
        (Some(_), None) => "ssl",
        (None, Some(_)) => "sasl_plaintext",
        (Some(_), Some(_)) => "sasl_ssl",
    };
    client.set("security.protocol", protocol);
    if let Some(tls) = &config.tls {
        let name = if tls.verify_hostname { "https" } else { "none" };
        client.set("ssl.endpoint.identification.algorithm", name);
        for (key, file) in [
            ("ssl.ca.location", &tls.ca_file),
            ("ssl.certificate.location", &tls.cert_file),
            ("ssl.key.location", &tls.key_file),
        ] {
            if let Some(file) = file {
                client.set(key, file.display().to_string());
            }
        }
    }
    if let (Some(sasl), Some(password)) = (&config.sasl, password) {
        client
            .set("sasl.mechanism", sasl.mechanism.name())
            .set("sasl.username", &sasl.username)
            .set("sasl.password", password);
    }
    client.set_log_level(RDKafkaLogLevel::Info);
    client
}

/// The user's own settings last. librdkafka ignores those that are for the other kind of client.
pub(crate) fn with_properties(mut client: ClientConfig, config: &KafkaConfig) -> ClientConfig {
    for (key, value) in &config.properties {
        client.set(key, value);
    }
    client
}

/// librdkafka's own log lines, in ours.
pub(crate) fn log(level: RDKafkaLogLevel, facility: &str, text: &str) {
    match level {
        RDKafkaLogLevel::Emerg | RDKafkaLogLevel::Alert | RDKafkaLogLevel::Critical => {
            tracing::error!(target: "librdkafka", facility, "{text}");
        }
        RDKafkaLogLevel::Error | RDKafkaLogLevel::Warning => {
            tracing::warn!(target: "librdkafka", facility, "{text}");
        }
        RDKafkaLogLevel::Notice | RDKafkaLogLevel::Info => {
            tracing::info!(target: "librdkafka", facility, "{text}");
        }
        RDKafkaLogLevel::Debug => tracing::debug!(target: "librdkafka", facility, "{text}"),
    }
}
