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

/// The instant an RFC 3339 text stands for; `None` when it is not one. Leap seconds count as the next second,
/// digits finer than a millisecond are cut off.
pub fn parse_rfc3339(text: &str) -> Option<Timestamp> {
    let bytes = text.as_bytes();
    if !text.is_ascii() || bytes.len() < 20 {
        return None;
    }
    let number = |from: usize, to: usize| {
        let digits = text.get(from..to)?;
        digits.bytes().all(|b| b.is_ascii_digit()).then(|| digits.parse::<i64>().ok())?
    };
    let separators = [(4, b'-'), (7, b'-'), (13, b':'), (16, b':')];
    if separators.iter().any(|&(i, b)| bytes[i] != b) || !matches!(bytes[10], b'T' | b't' | b' ') {
        return None;
    }
    let (year, month, day) = (number(0, 4)?, number(5, 7)?, number(8, 10)?);
    let (hour, minute, second) = (number(11, 13)?, number(14, 16)?, number(17, 19)?);
    let rest = text.get(19..)?;
    let zone = rest.find(['Z', 'z', '+', '-'])?;
    let milli = match rest.get(..zone)? {
        "" => 0,
        fraction => {
            let digits = fraction
                .strip_prefix('.')
                .filter(|d| !d.is_empty() && d.bytes().all(|b| b.is_ascii_digit()))?;
            format!("{digits:0<3}").get(..3)?.parse::<i64>().ok()?
        }
    };
    let offset_minutes = match rest.get(zone..)? {
        "Z" | "z" => 0,
        offset if offset.len() == 6 && offset.as_bytes()[3] == b':' => {
            let at = 19 + zone;
            let (hours, minutes) = (number(at + 1, at + 3)?, number(at + 4, at + 6)?);
            let sign = if offset.starts_with('-') { -1 } else { 1 };
            (hours < 24 && minutes < 60).then_some(sign * (60 * hours + minutes))?
        }
        _ => return None,
    };
    let leap = year % 4 == 0 && (year % 100 != 0 || year % 400 == 0);
    let days_in_month = match month {
        4 | 6 | 9 | 11 => 30,
        2 if leap => 29,
        2 => 28,
        _ => 31,
    };
    let valid = (1..=12).contains(&month) && (1..=days_in_month).contains(&day);
    if !valid || hour > 23 || minute > 59 || second > 60 {
        return None;
    }
    let seconds =
        86_400 * days_since_epoch(year, month, day) + 3600 * hour + 60 * (minute - offset_minutes) + second;
    Some(Timestamp(1000 * seconds + milli))
}

/// Days from 1970-01-01 in the Gregorian calendar (Howard Hinnant, `days_from_civil`).
fn days_since_epoch(year: i64, month: i64, day: i64) -> i64 {
    let y = if month <= 2 { year - 1 } else { year };
    let era = y.div_euclid(400);
    let year_of_era = y.rem_euclid(400);
    let day_of_year = (153 * ((month + 9) % 12) + 2) / 5 + day - 1;
    era * 146_097 + year_of_era * 365 + year_of_era / 4 - year_of_era / 100 + day_of_year - 719_468
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
