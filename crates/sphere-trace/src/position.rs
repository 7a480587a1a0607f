//! Which place in a trace does the user mean?
//!
//! `2d`, `36h` or `11d12h` after its start; `1995-07-03T12:00:00Z`, an instant; `1995-07-03` or
//! `1995-07-03T12:00`, on the clock of the trace itself.

use jiff::civil::DateTime;
use jiff::tz::Offset;
use sphere_core::Timestamp;
use std::fmt;
use std::str::FromStr;
use std::time::Duration;

/// A place in a trace, as for `--from` and `--to`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Position {
    /// Time since the start of the trace.
    SinceStart(Duration),
    /// An instant.
    Instant(Timestamp),
    /// A date, with or without time, on the clock of the trace: milliseconds as if that clock were UTC.
    Local(Timestamp),
}

/// Text that is no [`Position`].
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "{0:?} is no position; a time since the start such as `36h` or `11d12h`, or an RFC 3339 date or instant \
     such as `1995-07-03` or `1995-07-03T12:00:00Z` is expected"
)]
pub struct ParsePositionError(String);

impl FromStr for Position {
    type Err = ParsePositionError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let text = text.trim();
        if let Ok(duration) = humantime::parse_duration(text) {
            Ok(Self::SinceStart(duration))
        } else if let Ok(instant) = text.parse::<jiff::Timestamp>() {
            Ok(Self::Instant(Timestamp(instant.as_millisecond())))
        } else if let Some(local) =
            text.parse::<DateTime>().ok().and_then(|t| Offset::UTC.to_timestamp(t).ok())
        {
            Ok(Self::Local(Timestamp(local.as_millisecond())))
        } else {
            Err(ParsePositionError(crate::error::excerpt(text.as_bytes())))
        }
    }
}

impl fmt::Display for Position {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let local = |at: &Timestamp| {
            jiff::Timestamp::from_millisecond(at.millis()).map(|at| Offset::UTC.to_datetime(at)).ok()
        };
        match self {
            Self::SinceStart(duration) => humantime::format_duration(*duration).fmt(f),
            Self::Instant(at) => match local(at) {
                Some(at) => write!(f, "{at}Z"),
                None => write!(f, "{} ms", at.millis()),
            },
            Self::Local(at) => match local(at) {
                Some(at) if at.time() == jiff::civil::Time::midnight() => at.date().fmt(f),
                Some(at) => at.fmt(f),
                None => write!(f, "{} ms", at.millis()),
            },
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_dates_and_instants_are_told_apart() {
        let parse = |text: &str| text.parse::<Position>().unwrap();
        let hours = |h: u64| Position::SinceStart(Duration::from_secs(h * 3600));
        assert_eq!(parse("2d"), hours(48));
        assert_eq!(parse("36h"), hours(36));
        assert_eq!(parse("11d12h"), hours(276));
        assert_eq!(parse("0"), hours(0));
        let noon = Timestamp::from_secs(804_772_800);
        assert_eq!(parse("1995-07-03T12:00:00Z"), Position::Instant(noon));
        assert_eq!(parse("1995-07-03T08:00:00-04:00"), Position::Instant(noon));
        assert_eq!(parse("1995-07-03T12:00"), Position::Local(noon));
        assert_eq!(parse("1995-07-03"), Position::Local(noon - Duration::from_secs(12 * 3600)));
    }

    #[test]
    fn what_is_shown_is_read_back() {
        for text in ["2d", "11d12h", "1995-07-03", "1995-07-03T12:00:00", "1995-07-03T12:00:00Z"] {
            let position: Position = text.parse().unwrap();
            assert_eq!(position.to_string().parse(), Ok(position), "{position}");
        }
    }

    #[test]
    fn anything_else_is_refused_with_what_is_accepted() {
        for text in ["", "5", "-2d", "2 fortnights", "03/07/1995", "1995-13-01", "1995-02-30", "tomorrow"] {
            let error = text.parse::<Position>().unwrap_err();
            assert!(error.to_string().contains("RFC 3339"), "{text}");
        }
    }
}
