//! How are durations written?
//!
//! As people say them: `10s`, `1h 30m`, `250ms`.

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::de::{Error, Visitor};
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use std::borrow::Cow;
use std::fmt;
use std::time::Duration;

/// A duration as people write it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Span(pub Duration);

impl Span {
    /// Whole seconds.
    pub const fn secs(seconds: u64) -> Self {
        Self(Duration::from_secs(seconds))
    }
}

impl fmt::Display for Span {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        humantime::format_duration(self.0).fmt(f)
    }
}

impl Serialize for Span {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Span {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(Reading)
    }
}

struct Reading;

impl Visitor<'_> for Reading {
    type Value = Span;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a duration with its unit, such as 10s or 1h 30m")
    }

    fn visit_str<E: Error>(self, text: &str) -> Result<Span, E> {
        humantime::parse_duration(text).map(Span).map_err(|error| {
            E::custom(format!("{text:?}: {error}; a duration such as 10s or 1h 30m is expected"))
        })
    }
}

impl JsonSchema for Span {
    fn schema_name() -> Cow<'static, str> {
        "Duration".into()
    }
    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({ "type": "string", "description": "A duration: 10s, 1h 30m, 250ms", "examples": ["10s"] })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_bare_number_is_told_what_a_duration_looks_like() {
        let error = serde_json::from_str::<Span>("10").unwrap_err().to_string();
        assert!(error.contains("integer `10`") && error.contains("such as 10s"), "{error}");
        assert_eq!(serde_json::from_str::<Span>("\"1m 30s\"").unwrap(), Span::secs(90));
    }
}
