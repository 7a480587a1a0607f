//! An access log: how many requests came in each bin?
//!
//! Common and Combined Log Format share what matters here: a time in brackets, then the request in quotes.
//! The rest of a line (status, size, referrer, agent) is not looked at, so that odd requests, of which real
//! logs are full, still count.
//!
//! **Order.** Servers write a line when a request ends and stamp it with its start, so lines are slightly out
//! of order. A line counts into the bin of its own time if it is at most [`OUT_OF_ORDER_TOLERANCE`] older than
//! the newest line before it. A line that is older than that, or more than [`MAX_FORWARD_JUMP`] ahead of all
//! before it, is most likely damaged: it is skipped and counted like any unusable line, and does not disturb
//! those after it. (Rotated logs joined in the wrong order therefore end as an error, not as a wrong trace.)
//!
//! **Bins** begin at whole multiples of their width in Unix time, so that the result does not depend on which
//! request happened to come first. Bins without a line are 0. The first and the last bin may be covered in
//! part only.

use crate::TraceError;
use crate::error::{LineProblem, excerpt};
use crate::lines::Lines;
use crate::read::Skipped;
use crate::trace::MAX_BINS;
use std::time::Duration;

/// How much older than the newest line before it a line may be: an hour, a long download.
pub const OUT_OF_ORDER_TOLERANCE: Duration = Duration::from_secs(3600);

/// How much newer than all lines before it a line may be.
pub const MAX_FORWARD_JUMP: Duration = Duration::from_secs(31 * 86_400);

/// Largest share of unusable lines. The worst public logs have well below 1 %.
pub const MAX_SKIPPED_SHARE: f64 = 0.05;

/// In shorter logs one line is a large share, so that only a log without any usable line is refused.
pub const MIN_LINES_FOR_SHARE: u64 = 100;

/// The time of a log line.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct LogTime {
    /// Unix time, seconds.
    pub(crate) unix_s: i64,
    /// Offset of the log's clock from UTC, seconds.
    pub(crate) utc_offset_s: i32,
}

/// Requests of a log.
#[derive(Debug)]
pub(crate) struct Requests {
    /// Unix time of the first bin, seconds.
    pub(crate) start_s: i64,
    /// Offset of the first usable line.
    pub(crate) utc_offset_s: i32,
    pub(crate) counts: Vec<u32>,
    pub(crate) skipped: Option<Skipped>,
}

/// Reads a whole log into bins of `width_s` seconds.
pub(crate) fn read(lines: &mut Lines<'_>, width_s: i64) -> Result<Requests, TraceError> {
    let tolerance_s = OUT_OF_ORDER_TOLERANCE.as_secs() as i64;
    let jump_s = MAX_FORWARD_JUMP.as_secs() as i64;
    let file = lines.file().to_owned();
    let mut skipped: Option<Skipped> = None;
    let mut first: Option<LogTime> = None;
    let (mut first_bin, mut newest_s) = (0, 0);
    let mut counts: Vec<u32> = Vec::new();
    let mut number = 0;
    while let Some(line) = lines.next()? {
        number += 1;
        let usable = match parse_line(line) {
            None => Err(LineProblem::NoLogTime),
            Some(time) if first.is_none() => {
                first = Some(time);
                newest_s = time.unix_s;
                // Room for lines that are older than the first.
                first_bin = (time.unix_s - tolerance_s).div_euclid(width_s);
                Ok(time)
            }
            Some(time) if time.unix_s < newest_s - tolerance_s => {
                Err(LineProblem::TooOld { age_s: newest_s - time.unix_s })
            }
            Some(time) if time.unix_s > newest_s + jump_s => {
                Err(LineProblem::FarAhead { ahead_s: time.unix_s - newest_s })
            }
            Some(time) => Ok(time),
        };
        match usable {
            Ok(time) => {
                newest_s = newest_s.max(time.unix_s);
                let bin = (time.unix_s.div_euclid(width_s) - first_bin) as usize;
                if bin >= counts.len() {
                    if bin >= MAX_BINS {
                        return Err(TraceError::TooManyBins { file, line: number });
                    }
                    counts.resize(bin + 1, 0);
                }
                counts[bin] = counts[bin].saturating_add(1);
            }
            Err(problem) => match &mut skipped {
                Some(skipped) => skipped.lines += 1,
                None => {
                    skipped = Some(Skipped { lines: 1, first_line: number, found: excerpt(line), problem });
                }
            },
        }
    }
    check_share(&file, number, skipped.as_ref())?;
    let Some(first) = first else { return Err(TraceError::Empty { file }) };
    // The room made above is dropped again; the first line itself makes some bin non-zero.
    let unused = counts.iter().take_while(|count| **count == 0).count();
    counts.drain(..unused);
    let start_s = (first_bin + unused as i64) * width_s;
    Ok(Requests { start_s, utc_offset_s: first.utc_offset_s, counts, skipped })
}

fn check_share(file: &str, lines: u64, skipped: Option<&Skipped>) -> Result<(), TraceError> {
    let Some(skipped) = skipped else { return Ok(()) };
    let too_many = lines >= MIN_LINES_FOR_SHARE && skipped.lines as f64 > MAX_SKIPPED_SHARE * lines as f64;
    if skipped.lines < lines && !too_many {
        return Ok(());
    }
    Err(TraceError::TooManySkipped {
        file: file.to_owned(),
        skipped: skipped.lines,
        lines,
        first_line: skipped.first_line,
        found: skipped.found.clone(),
        problem: skipped.problem,
    })
}

/// The time of a log line; `None` if it has no time in brackets followed by a quote.
pub(crate) fn parse_line(line: &[u8]) -> Option<LogTime> {
    // User names may contain brackets, so a bracket that begins no time is passed over.
    memchr::memchr_iter(b'[', line).find_map(|bracket| parse_stamp(&line[bracket + 1..]))
}

/// Parses `01/Jul/1995:00:00:01 -0400] "`.
fn parse_stamp(text: &[u8]) -> Option<LogTime> {
    let stamp: &[u8; 29] = text.first_chunk()?;
    let marks = [(2, b'/'), (6, b'/'), (11, b':'), (14, b':'), (17, b':'), (20, b' ')];
    if marks.iter().any(|&(at, mark)| stamp[at] != mark) || &stamp[26..] != b"] \"" {
        return None;
    }
    let pair = |at: usize| {
        let (tens, ones) = (stamp[at].wrapping_sub(b'0'), stamp[at + 1].wrapping_sub(b'0'));
        (tens < 10 && ones < 10).then(|| i64::from(tens) * 10 + i64::from(ones))
    };
    let month = match &stamp[3..6] {
        b"Jan" => 1,
        b"Feb" => 2,
        b"Mar" => 3,
        b"Apr" => 4,
        b"May" => 5,
        b"Jun" => 6,
        b"Jul" => 7,
        b"Aug" => 8,
        b"Sep" => 9,
        b"Oct" => 10,
        b"Nov" => 11,
        b"Dec" => 12,
        _ => return None,
    };
    let (year, day) = (pair(7)? * 100 + pair(9)?, pair(0)?);
    let (hour, minute, second) = (pair(12)?, pair(15)?, pair(18)?);
    let (offset_hour, offset_minute) = (pair(22)?, pair(24)?);
    let sign = match stamp[21] {
        b'+' => 1,
        b'-' => -1,
        _ => return None,
    };
    // 60 is a leap second; offsets reach from -12:00 to +14:00.
    if !(1..=days_in_month(year, month)).contains(&day)
        || hour > 23
        || minute > 59
        || second > 60
        || offset_hour > 14
        || offset_minute > 59
    {
        return None;
    }
    let utc_offset_s = sign * (offset_hour * 3600 + offset_minute * 60);
    let local_s = days_since_epoch(year, month, day) * 86_400 + hour * 3600 + minute * 60 + second;
    Some(LogTime { unix_s: local_s - utc_offset_s, utc_offset_s: utc_offset_s as i32 })
}

fn days_in_month(year: i64, month: i64) -> i64 {
    match month {
        4 | 6 | 9 | 11 => 30,
        2 if year % 4 == 0 && (year % 100 != 0 || year % 400 == 0) => 29,
        2 => 28,
        _ => 31,
    }
}

/// Days from 1970-01-01 to a Gregorian date: years begin in March, so that the leap day comes last
/// (H. Hinnant, `days_from_civil`).
fn days_since_epoch(year: i64, month: i64, day: i64) -> i64 {
    let year = if month <= 2 { year - 1 } else { year };
    let era = year.div_euclid(400);
    let year_of_era = year.rem_euclid(400);
    let day_of_year = (153 * ((month + 9) % 12) + 2) / 5 + day - 1;
    era * 146_097 + year_of_era * 365 + year_of_era / 4 - year_of_era / 100 + day_of_year - 719_468
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn the_time_zone_is_honoured() {
        let line = br#"199.72.81.55 - - [01/Jul/1995:00:00:01 -0400] "GET / HTTP/1.0" 200 6245"#;
        assert_eq!(parse_line(line), Some(LogTime { unix_s: 804_571_201, utc_offset_s: -14_400 }));
        let line = br#"h - - [01/Jul/1995:09:30:01 +0530] "GET / HTTP/1.0" 200 6245 "ref" "agent""#;
        assert_eq!(parse_line(line), Some(LogTime { unix_s: 804_571_201, utc_offset_s: 19_800 }));
    }

    #[test]
    fn brackets_elsewhere_do_not_hide_the_time() {
        let line = br#"h - [bob] [01/Jan/1970:00:00:07 +0000] "GET /[x] HTTP/1.0" 200 1"#;
        assert_eq!(parse_line(line).map(|t| t.unix_s), Some(7));
    }

    #[test]
    fn impossible_times_are_no_times() {
        let stamps = [
            "32/Jul/1995:00:00:01 -0400",
            "29/Feb/1995:00:00:01 -0400",
            "00/Jul/1995:00:00:01 -0400",
            "01/jul/1995:00:00:01 -0400",
            "01/Jul/1995:24:00:01 -0400",
            "01/Jul/1995:00:60:01 -0400",
            "01/Jul/1995:00:00:61 -0400",
            "01/Jul/1995:00:00:01 -1500",
            "01/Jul/1995:00:00:01  0400",
            "1/Jul/1995:00:00:01 -0400 ",
        ];
        for stamp in stamps {
            let line = format!("h - - [{stamp}] \"GET / HTTP/1.0\" 200 1");
            assert_eq!(parse_line(line.as_bytes()), None, "{stamp}");
        }
        assert_eq!(parse_line(b"h - - [01/Jul/1995:00:00:01 -0400]"), None);
    }

    proptest! {
        #[test]
        fn dates_agree_with_a_calendar_library(days in -25_000i64..100_000) {
            let date = jiff::civil::date(1970, 1, 1) + jiff::SignedDuration::from_hours(days * 24);
            let (year, month, day) = (date.year(), date.month(), date.day());
            prop_assert_eq!(days_since_epoch(year.into(), month.into(), day.into()), days);
            prop_assert_eq!(days_in_month(year.into(), month.into()), i64::from(date.days_in_month()));
        }

        #[test]
        fn no_line_panics(line in prop::collection::vec(any::<u8>(), 0..80)) {
            parse_line(&[b"[", line.as_slice()].concat());
        }
    }
}
