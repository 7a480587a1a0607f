//! What do the bytes on the bus and in the store mean?
//!
//! JSON with the schema's version in a header ([`SCHEMA_VERSION`]), keyed by the workload. Reading is strict: what
//! can not be read is an [`Unreadable`] with a reason from a closed set, and goes to the dead-letter topic.

use crate::bus::{Delivery, Header, Message, Topic};
use bytes::Bytes;
use serde::Serialize;
use serde::de::DeserializeOwned;
use sphere_core::{Decision, Forecast, Sample, WorkloadId};
use std::str::FromStr;

/// Version of the JSON on the topics.
pub const SCHEMA_VERSION: &str = "1";
/// Header with [`SCHEMA_VERSION`].
pub const VERSION_HEADER: &str = "schema-version";
/// Header of a dead letter: the closed reason, see [`Unreadable::name`].
pub const REASON_HEADER: &str = "reason";
/// Header of a dead letter: what exactly was wrong.
pub const DETAIL_HEADER: &str = "detail";
/// Header of a dead letter: `partition@offset` it came from.
pub const ORIGIN_HEADER: &str = "origin";
/// Header of a dead letter that was cut: bytes it had.
pub const SIZE_HEADER: &str = "original-bytes";
/// Largest value that is read; ours have a few kilobytes.
pub const LARGEST_VALUE: usize = 1 << 20;
/// Bytes kept of a dead letter that the bus does not take whole.
pub const CUT_DEAD_LETTER: usize = 64 << 10;

/// Why a record can not be read.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Unreadable {
    /// The key is no workload.
    #[error("the key is not a workload: {0}")]
    BadKey(String),
    /// The key names another workload than the value.
    #[error("the key is {key}, the value is of {value}")]
    WrongKey {
        /// Workload of the key.
        key: String,
        /// Workload of the value.
        value: String,
    },
    /// No version header, or one that this program does not know.
    #[error("schema version {0:?}; this program reads {SCHEMA_VERSION}")]
    UnknownVersion(String),
    /// Larger than any value of ours.
    #[error("{0} bytes; at most {LARGEST_VALUE} are read")]
    TooLarge(usize),
    /// Not the JSON of the schema.
    #[error("{0}")]
    BadJson(String),
    /// The JSON fits the schema, but a value can not be meant.
    #[error("{0}")]
    BadValue(String),
}

impl Unreadable {
    /// The closed label used in headers and metrics.
    pub fn name(&self) -> &'static str {
        match self {
            Unreadable::BadKey(_) => "bad_key",
            Unreadable::WrongKey { .. } => "wrong_key",
            Unreadable::UnknownVersion(_) => "unknown_version",
            Unreadable::TooLarge(_) => "too_large",
            Unreadable::BadJson(_) => "bad_json",
            Unreadable::BadValue(_) => "bad_value",
        }
    }
}

/// A value that travels on a topic of its own.
pub trait Record: Serialize + DeserializeOwned + Sized {
    /// Its topic.
    const TOPIC: Topic;

    /// The workload it is about; every record of ours has one.
    fn workload(&self) -> Option<&WorkloadId>;

    /// What the schema can not say.
    fn check(&self) -> Result<(), String> {
        Ok(())
    }
}

impl Record for Sample {
    const TOPIC: Topic = Topic::Metrics;
    fn workload(&self) -> Option<&WorkloadId> {
        Some(&self.workload)
    }
    fn check(&self) -> Result<(), String> {
        self.validate().map_err(|error| error.to_string())
    }
}

impl Record for Forecast {
    const TOPIC: Topic = Topic::Predictions;
    fn workload(&self) -> Option<&WorkloadId> {
        self.workload.as_ref()
    }
    fn check(&self) -> Result<(), String> {
        if self.steps.is_empty() {
            return Err("a forecast without steps".into());
        }
        if self.step_ms == 0 {
            return Err("step_ms is 0".into());
        }
        if self.steps.windows(2).any(|pair| pair[0].at >= pair[1].at) {
            return Err("steps are not in the order of time".into());
        }
        Ok(())
    }
}

impl Record for Decision {
    const TOPIC: Topic = Topic::Decisions;
    fn workload(&self) -> Option<&WorkloadId> {
        self.workload.as_ref()
    }
}

/// The message that carries `record`. One without a workload gets an empty key, and nobody will read it.
pub fn encode<R: Record>(record: &R) -> Message {
    let key = record.workload().map(ToString::to_string).unwrap_or_default();
    Message {
        topic: R::TOPIC,
        key: key.into(),
        headers: vec![Header::new(VERSION_HEADER, SCHEMA_VERSION)],
        payload: to_json(record),
    }
}

/// JSON of a value of ours.
pub fn to_json<T: Serialize>(value: &T) -> Bytes {
    // Our types have string keys and no fallible serialisers, so this can not fail.
    serde_json::to_vec(value).map(Bytes::from).unwrap_or_default()
}

/// Reads a record strictly: key, version, size, JSON, values.
pub fn decode<R: Record>(delivery: &Delivery) -> Result<R, Unreadable> {
    if delivery.payload.len() > LARGEST_VALUE {
        return Err(Unreadable::TooLarge(delivery.payload.len()));
    }
    match delivery.header(VERSION_HEADER) {
        Some(version) if version == SCHEMA_VERSION.as_bytes() => {}
        Some(other) => {
            return Err(Unreadable::UnknownVersion(String::from_utf8_lossy(other).into_owned()));
        }
        None => return Err(Unreadable::UnknownVersion(String::new())),
    }
    let record: R = from_json(&delivery.payload)?;
    let key = std::str::from_utf8(&delivery.key).map_err(|error| Unreadable::BadKey(error.to_string()))?;
    let Some(workload) = record.workload() else {
        return Err(Unreadable::BadValue("no workload".into()));
    };
    if !workload.is(key) {
        let named = WorkloadId::from_str(key).map_err(|error| Unreadable::BadKey(error.to_string()))?;
        return Err(Unreadable::WrongKey { key: named.to_string(), value: workload.to_string() });
    }
    Ok(record)
}

/// Reads a value of the store.
pub fn from_json<R: Record>(bytes: &[u8]) -> Result<R, Unreadable> {
    let record: R = serde_json::from_slice(bytes).map_err(|error| Unreadable::BadJson(error.to_string()))?;
    record.check().map_err(Unreadable::BadValue)?;
    Ok(record)
}

/// The dead letter of a record that could not be read; `None` where the topic has no such place.
pub fn dead_letter(delivery: &Delivery, why: &Unreadable) -> Option<Message> {
    let topic = delivery.partition.topic.dead_letters()?;
    let origin = format!("{}@{}", delivery.partition, delivery.offset);
    let mut headers = delivery.headers.clone();
    headers.push(Header::new(REASON_HEADER, why.name()));
    headers.push(Header::new(DETAIL_HEADER, why.to_string()));
    headers.push(Header::new(ORIGIN_HEADER, origin));
    Some(Message { topic, key: delivery.key.clone(), headers, payload: delivery.payload.clone() })
}

/// The same letter, cut so that every bus takes it.
pub fn cut(mut letter: Message) -> Message {
    letter.headers.push(Header::new(SIZE_HEADER, letter.payload.len().to_string()));
    letter.headers.iter_mut().for_each(|h| h.value.truncate(4096));
    letter.key.truncate(4096);
    letter.payload.truncate(CUT_DEAD_LETTER);
    letter
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::bus::Partition;
    use sphere_core::Timestamp;

    fn sample() -> Sample {
        serde_json::from_str(r#"{"workload":"a/Deployment/b","at":1000,"demand":2.5,"source":"test"}"#)
            .unwrap()
    }

    fn delivered(message: Message) -> Delivery {
        Delivery {
            partition: Partition { topic: message.topic, number: 3 },
            offset: 7,
            key: message.key,
            headers: message.headers,
            payload: message.payload,
            published_at: Timestamp(0),
        }
    }

    #[test]
    fn a_record_comes_back_as_it_was() {
        assert_eq!(decode::<Sample>(&delivered(encode(&sample()))), Ok(sample()));
    }

    #[test]
    fn each_kind_of_poison_has_its_reason() {
        let spoil = |spoiler: fn(&mut Delivery)| {
            let mut delivery = delivered(encode(&sample()));
            spoiler(&mut delivery);
            decode::<Sample>(&delivery).unwrap_err().name()
        };
        assert_eq!(spoil(|d| d.key = "nobody".into()), "bad_key");
        assert_eq!(spoil(|d| d.key = vec![0xff].into()), "bad_key");
        assert_eq!(spoil(|d| d.key = "a/Deployment/c".into()), "wrong_key");
        assert_eq!(spoil(|d| d.headers[0].value = "99".into()), "unknown_version");
        assert_eq!(spoil(|d| d.headers.clear()), "unknown_version");
        assert_eq!(spoil(|d| d.payload = vec![b' '; 10_000_000].into()), "too_large");
        assert_eq!(spoil(|d| d.payload = Bytes::new()), "bad_json");
        assert_eq!(spoil(|d| d.payload = "{}".into()), "bad_json");
        let negative = |d: &mut Delivery| {
            d.payload = String::from_utf8_lossy(&d.payload).replace("2.5", "-2.5").into();
        };
        assert_eq!(spoil(negative), "bad_value");
    }

    #[test]
    fn a_dead_letter_says_why_and_where_from() {
        let mut delivery = delivered(encode(&sample()));
        delivery.payload = "nonsense".into();
        let why = decode::<Sample>(&delivery).unwrap_err();
        let letter = dead_letter(&delivery, &why).unwrap();
        assert_eq!((letter.topic, &letter.payload), (Topic::MetricsDlq, &delivery.payload));
        let letter = delivered(letter);
        assert_eq!(letter.header(REASON_HEADER), Some(b"bad_json".as_ref()));
        assert_eq!(letter.header(ORIGIN_HEADER), Some(b"metrics/3@7".as_ref()));
    }
}
