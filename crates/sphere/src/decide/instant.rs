//! When was that, as people write it?
//!
//! RFC 3339 text, as logs and dashboards show it, or milliseconds since the epoch, as our messages carry it.

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::de::{self, Visitor};
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use sphere_core::Timestamp;
use std::borrow::Cow;
use std::fmt;

/// An instant, read from RFC 3339 text (`2026-03-01T12:00:00Z`, `…12:00:00.250+01:00`) or from milliseconds since
/// the epoch; written as milliseconds.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Instant(pub Timestamp);

impl Serialize for Instant {
    fn serialize<S: Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
        self.0.serialize(to)
    }
}

impl<'de> Deserialize<'de> for Instant {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        from.deserialize_any(InstantVisitor)
    }
}

struct InstantVisitor;

impl Visitor<'_> for InstantVisitor {
    type Value = Instant;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("RFC 3339 text such as 2026-03-01T12:00:00Z, or milliseconds since the epoch")
    }

    fn visit_i64<E: de::Error>(self, ms: i64) -> Result<Instant, E> {
        Ok(Instant(Timestamp(ms)))
    }

    fn visit_u64<E: de::Error>(self, ms: u64) -> Result<Instant, E> {
        let signed = i64::try_from(ms);
        signed
            .map(|ms| Instant(Timestamp(ms)))
            .map_err(|_| E::invalid_value(de::Unexpected::Unsigned(ms), &self))
    }

    fn visit_str<E: de::Error>(self, text: &str) -> Result<Instant, E> {
        let read = parse_rfc3339(text);
        read.map(Instant).ok_or_else(|| E::invalid_value(de::Unexpected::Str(text), &self))
    }
}

impl JsonSchema for Instant {
    fn schema_name() -> Cow<'static, str> {
        "Instant".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({
            "description": "An instant: RFC 3339 text, or milliseconds since 1970-01-01T00:00:00Z.",
            "anyOf": [{"type": "string", "format": "date-time"}, {"type": "integer", "format": "int64"}]
        })
    }
}

/// The instant an RFC 3339 text stands for; `None` when it is not one. A leap second counts as the second before,
/// digits finer than a millisecond are cut off.
pub fn parse_rfc3339(text: &str) -> Option<Timestamp> {
    text.parse::<jiff::Timestamp>().ok().map(|at| Timestamp(at.as_nanosecond().div_euclid(1_000_000) as i64))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rfc_3339_reads_as_the_clock_says() {
        for (text, ms) in [
            ("1970-01-01T00:00:00Z", 0),
            ("2000-02-29T12:00:00Z", 951_825_600_000),
            ("2026-03-01T12:00:00Z", 1_772_366_400_000),
            ("2026-03-01T12:00:00.25Z", 1_772_366_400_250),
            ("2026-03-01 13:00:00.1239+01:00", 1_772_366_400_123),
            ("2026-03-01t06:30:00-05:30", 1_772_366_400_000),
            ("1969-12-31T23:59:59Z", -1_000),
        ] {
            assert_eq!(parse_rfc3339(text), Some(Timestamp(ms)), "{text}");
        }
    }

    #[test]
    fn what_is_no_instant_is_refused() {
        for text in [
            "",
            "yesterday",
            "2026-03-01",
            "2026-03-01T12:00:00",
            "2026-13-01T12:00:00Z",
            "2026-02-29T12:00:00Z",
            "2026-03-01T25:00:00Z",
            "2026-03-01T12:00:00.Z",
            "2026-03-01T12:00:00+1:00",
            "2026-03-01T12:00:00Z ",
            "+026-03-01T12:00:00Z",
            "２026-03-01T12:00:00Z",
        ] {
            assert_eq!(parse_rfc3339(text), None, "{text}");
        }
    }

    #[test]
    fn both_forms_are_the_same_instant() {
        let read = |json: &str| serde_json::from_str::<Instant>(json);
        assert_eq!(read("1772366400000").unwrap(), read("\"2026-03-01T12:00:00Z\"").unwrap());
        let error = read("\"noon\"").unwrap_err().to_string();
        assert!(error.contains("noon") && error.contains("RFC 3339"), "{error}");
        assert!(read("1.5").is_err());
    }
}
