//! How much demand was there in each step?

use crate::Position;
use sphere_core::Timestamp;
use std::time::Duration;

/// Most bins a trace may have: six years of 10 s steps. Bounds memory (16 bytes each) when a file is longer
/// than anyone meant or a time is wrong.
pub const MAX_BINS: usize = 20_000_000;

/// What the values of a trace are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// Events (requests) per step. Adds up over time.
    Counts,
    /// A rate or level (requests/s, cores, percent) that held during the step. Averages over time.
    Rate,
}

/// Demand at even steps.
#[derive(Clone, Debug, PartialEq)]
pub struct Trace {
    /// What to call it: the file's name without folders and extensions.
    pub name: String,
    /// Start of the first step. If not [`Trace::dated`], the time since the start of the file: 0 unless
    /// sliced.
    pub start: Timestamp,
    /// Whether `start` is a real instant.
    pub dated: bool,
    /// Offset of the trace's own clock from UTC in seconds, positive east; 0 if the file states none. Plain
    /// dates are read in it.
    pub utc_offset_s: i32,
    /// Length of each step.
    pub step: Duration,
    /// What the values are.
    pub kind: Kind,
    /// One value per step, finite and at least 0; `None` where nothing was measured.
    pub values: Vec<Option<f64>>,
}

/// Why a part of a trace can not be taken.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum SliceError {
    /// A date was given for a trace without dates.
    #[error("{position} is a date, but {name} has none; a time since its start such as `2d` is expected")]
    NoDates {
        /// The trace.
        name: String,
        /// The position asked for.
        position: String,
    },
    /// The position lies before the start or after the end.
    #[error("{position} is outside of {name}, which covers {covers}")]
    Outside {
        /// The trace.
        name: String,
        /// The position asked for.
        position: String,
        /// What the trace covers.
        covers: String,
    },
    /// No step starts between the two positions.
    #[error("nothing of {name} lies between {from} and {to}; `from` must be earlier than `to`")]
    Nothing {
        /// The trace.
        name: String,
        /// The lower end asked for.
        from: String,
        /// The upper end asked for.
        to: String,
    },
}

/// Why a trace can not be brought to another step.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("a step of {asked} can not be made from steps of {step}; a whole multiple is expected")]
pub struct RebinError {
    asked: String,
    step: String,
}

impl Trace {
    /// The time from the start of the first step to the end of the last.
    pub fn duration(&self) -> Duration {
        duration_of_steps(self.step, self.values.len())
    }

    /// Number of steps without a value.
    pub fn missing(&self) -> usize {
        self.values.iter().filter(|value| value.is_none()).count()
    }

    /// Demand per second in each step, times `scale`; a [`Kind::Rate`] is only scaled.
    pub fn rates_per_s(&self, scale: f64) -> Vec<Option<f64>> {
        let step_s = match self.kind {
            Kind::Counts => self.step.as_secs_f64(),
            Kind::Rate => 1.0,
        };
        self.values.iter().map(|value| value.map(|value| value / step_s * scale)).collect()
    }

    /// The steps that start at or after `from` and before `to`; `None` means the start, or the end.
    ///
    /// # Errors
    /// A position outside of the trace, a date for a trace without dates, and a part without any step.
    pub fn slice(&self, from: Option<&Position>, to: Option<&Position>) -> Result<Trace, SliceError> {
        let first = from.map_or(Ok(0), |position| self.index_of(position))?;
        let last = to.map_or(Ok(self.values.len()), |position| self.index_of(position))?;
        let values = match self.values.get(first..last) {
            Some(values) if !values.is_empty() => values.to_vec(),
            _ => {
                let text = |position: Option<&Position>, open: &str| {
                    position.map_or_else(|| open.to_owned(), ToString::to_string)
                };
                let (from, to) = (text(from, "the start"), text(to, "the end"));
                return Err(SliceError::Nothing { name: self.name.clone(), from, to });
            }
        };
        let start = self.start + duration_of_steps(self.step, first);
        Ok(Trace { name: self.name.clone(), start, values, ..*self })
    }

    /// Index of the first step that starts at or after `position`.
    fn index_of(&self, position: &Position) -> Result<usize, SliceError> {
        let outside = || SliceError::Outside {
            name: self.name.clone(),
            position: position.to_string(),
            covers: self.covers(),
        };
        let offset_ms = match position {
            Position::SinceStart(offset) => i64::try_from(offset.as_millis()).map_err(|_| outside())?,
            _ if !self.dated => {
                let (name, position) = (self.name.clone(), position.to_string());
                return Err(SliceError::NoDates { name, position });
            }
            Position::Instant(instant) => instant.millis().saturating_sub(self.start.millis()),
            Position::Local(local) => local
                .millis()
                .saturating_sub(i64::from(self.utc_offset_s) * 1000)
                .saturating_sub(self.start.millis()),
        };
        let offset_ms = u128::try_from(offset_ms).map_err(|_| outside())?;
        if offset_ms > self.duration().as_millis() {
            return Err(outside());
        }
        Ok(offset_ms.div_ceil(self.step.as_millis().max(1)) as usize)
    }

    /// The covered time in words.
    fn covers(&self) -> String {
        let length = humantime::format_duration(self.duration());
        if self.dated {
            let end = self.start + self.duration();
            format!("{length} from {} to {}", self.show(self.start), self.show(end))
        } else {
            format!("{length} from its start")
        }
    }

    /// An instant as RFC 3339 in the trace's own offset.
    fn show(&self, at: Timestamp) -> String {
        let offset = jiff::tz::Offset::from_seconds(self.utc_offset_s).unwrap_or(jiff::tz::Offset::UTC);
        match jiff::Timestamp::from_millisecond(at.millis()) {
            Ok(at) => at.display_with_offset(offset).to_string(),
            Err(_) => format!("{} s", at.secs_f64()),
        }
    }

    /// The same demand at a coarser step: counts add up, rates average.
    ///
    /// A coarse step of which some fine steps are missing is estimated from those present if they are at
    /// least half, and is missing otherwise; an incomplete one at the end is treated alike, but dropped
    /// instead of missing.
    ///
    /// # Errors
    /// If `step` is not a whole multiple of the present step.
    pub fn rebin(&self, step: Duration) -> Result<Trace, RebinError> {
        let (asked, present) = (step.as_nanos(), self.step.as_nanos());
        if present == 0 || asked == 0 || !asked.is_multiple_of(present) {
            let show = |step: Duration| humantime::format_duration(step).to_string();
            return Err(RebinError { asked: show(step), step: show(self.step) });
        }
        let factor = usize::try_from(asked / present).unwrap_or(usize::MAX);
        let coarse = |fine: &[Option<f64>]| {
            let known = fine.iter().flatten().count();
            if known < factor.div_ceil(2) {
                return None;
            }
            let mean = fine.iter().flatten().sum::<f64>() / known as f64;
            Some(match self.kind {
                // A whole bin is summed as it is: no rounding of counts.
                Kind::Counts if known == factor => fine.iter().flatten().sum(),
                Kind::Counts => mean * factor as f64,
                Kind::Rate => mean,
            })
        };
        let mut values: Vec<_> = self.values.chunks(factor).map(coarse).collect();
        if !self.values.len().is_multiple_of(factor) && values.last() == Some(&None) {
            values.pop();
        }
        Ok(Trace { name: self.name.clone(), step, values, ..*self })
    }
}

/// `count` times `step`, exact beyond 2^32 steps.
fn duration_of_steps(step: Duration, count: usize) -> Duration {
    let nanos = step.as_nanos().saturating_mul(count as u128);
    Duration::new(u64::try_from(nanos / 1_000_000_000).unwrap_or(u64::MAX), (nanos % 1_000_000_000) as u32)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn trace(kind: Kind, values: Vec<Option<f64>>) -> Trace {
        Trace {
            name: "test".into(),
            start: Timestamp(0),
            dated: false,
            utc_offset_s: 0,
            step: Duration::from_secs(10),
            kind,
            values,
        }
    }

    fn at(text: &str) -> Position {
        text.parse().unwrap()
    }

    /// 1995-07-01T00:00:00-04:00, two days of hours.
    fn dated() -> Trace {
        Trace {
            start: Timestamp::from_secs(804_571_200),
            dated: true,
            utc_offset_s: -4 * 3600,
            step: Duration::from_secs(3600),
            ..trace(Kind::Counts, (0..48).map(|i| Some(f64::from(i))).collect())
        }
    }

    #[test]
    fn counts_become_rates_and_rates_stay() {
        let values = vec![Some(50.0), None, Some(0.0)];
        let counts = trace(Kind::Counts, values.clone());
        assert_eq!(counts.rates_per_s(1.0), vec![Some(5.0), None, Some(0.0)]);
        let rate = trace(Kind::Rate, values);
        assert_eq!(rate.rates_per_s(2.0), vec![Some(100.0), None, Some(0.0)]);
    }

    #[test]
    fn a_slice_takes_the_steps_that_start_inside() {
        let whole = trace(Kind::Counts, (0..100).map(|i| Some(f64::from(i))).collect());
        let part = whole.slice(Some(&at("25s")), Some(&at("50s"))).unwrap();
        assert_eq!(part.values, vec![Some(3.0), Some(4.0)]);
        assert_eq!(part.start, Timestamp::from_secs(30));
        assert_eq!(whole.slice(None, None).unwrap(), whole);
        assert_eq!(whole.slice(None, Some(&at("1000s"))).unwrap(), whole, "the end itself is inside");
    }

    #[test]
    fn dates_are_read_on_the_clock_of_the_trace() {
        let part = dated().slice(Some(&at("1995-07-02")), Some(&at("1995-07-02T03:00"))).unwrap();
        assert_eq!(part.values, vec![Some(24.0), Some(25.0), Some(26.0)]);
        let same = dated().slice(Some(&at("1995-07-02T04:00:00Z")), Some(&at("27h"))).unwrap();
        assert_eq!(part, same);
    }

    #[test]
    fn positions_outside_of_the_trace_are_refused_with_what_it_covers() {
        let error = dated().slice(Some(&at("1995-06-30")), None).unwrap_err().to_string();
        assert_eq!(
            error,
            "1995-06-30 is outside of test, which covers 2days from 1995-07-01T00:00:00-04:00 to \
             1995-07-03T00:00:00-04:00"
        );
        assert!(matches!(dated().slice(None, Some(&at("49h"))), Err(SliceError::Outside { .. })));
        assert!(matches!(dated().slice(Some(&at("3h")), Some(&at("2h"))), Err(SliceError::Nothing { .. })));
        assert!(matches!(dated().slice(Some(&at("2d")), None), Err(SliceError::Nothing { .. })));
        let undated = trace(Kind::Rate, vec![Some(1.0)]);
        assert!(matches!(undated.slice(Some(&at("1995-07-01")), None), Err(SliceError::NoDates { .. })));
    }

    #[test]
    fn a_coarse_bin_with_less_than_half_its_data_is_missing_not_zero() {
        let fine = trace(Kind::Counts, vec![Some(1.0), None, Some(3.0), Some(5.0), None, None, None, None]);
        let coarse = fine.rebin(Duration::from_secs(40)).unwrap();
        assert_eq!(coarse.values, vec![Some(12.0), None]);
        let rate = Trace { kind: Kind::Rate, ..fine };
        assert_eq!(rate.rebin(Duration::from_secs(40)).unwrap().values, vec![Some(3.0), None]);
    }

    #[test]
    fn an_incomplete_coarse_bin_at_the_end_is_dropped() {
        let fine = trace(Kind::Counts, vec![Some(1.0); 5]);
        assert_eq!(fine.rebin(Duration::from_secs(40)).unwrap().values, vec![Some(4.0)]);
    }

    #[test]
    fn only_whole_multiples_of_the_step_are_coarser_steps() {
        let fine = trace(Kind::Counts, vec![Some(1.0); 5]);
        for seconds in [0, 5, 15] {
            assert!(fine.rebin(Duration::from_secs(seconds)).is_err(), "{seconds}");
        }
        assert_eq!(fine.rebin(fine.step).unwrap(), fine);
    }

    proptest! {
        #[test]
        fn rebinning_conserves_requests(counts in prop::collection::vec(0u32..1000, 1..50), factor in 1usize..6) {
            let whole = counts.len() / factor * factor;
            let values = counts[..whole].iter().map(|c| Some(f64::from(*c))).collect();
            let fine = trace(Kind::Counts, values);
            let coarse = fine.rebin(fine.step * factor as u32).unwrap();
            let total = |t: &Trace| t.values.iter().flatten().sum::<f64>();
            prop_assert_eq!(total(&fine), total(&coarse));
            prop_assert_eq!(fine.duration(), coarse.duration());
        }
    }
}
