//! Is this text a demand?
//!
//! One rule for all numbers of a trace: finite, at least 0, at most [`MAX_VALUE`]. Fractions are fine, also
//! for counts (sampled logs are scaled up).

use crate::LineProblem;

/// Largest value of a bin. Far above any real demand, and small enough that sums over a whole trace keep
/// meaning and never overflow.
pub const MAX_VALUE: f64 = 1e15;

/// Parses a demand; surrounding blanks are allowed.
pub(crate) fn parse_demand(text: &[u8]) -> Result<f64, LineProblem> {
    let value = parse_finite(text)?;
    if value > MAX_VALUE { Err(LineProblem::TooLarge) } else { Ok(value) }
}

/// Parses a finite number of at least 0. `-0` becomes 0.
pub(crate) fn parse_finite(text: &[u8]) -> Result<f64, LineProblem> {
    let value: f64 = std::str::from_utf8(text.trim_ascii())
        .ok()
        .and_then(|text| text.parse().ok())
        .ok_or(LineProblem::NotANumber)?;
    if !value.is_finite() {
        Err(LineProblem::NotFinite)
    } else if value < 0.0 {
        Err(LineProblem::Negative)
    } else {
        Ok(value.abs())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_finite_numbers_from_zero_up_are_demand() {
        assert_eq!(parse_demand(b" 12.5\t"), Ok(12.5));
        assert_eq!(parse_demand(b"1e3"), Ok(1000.0));
        assert!(parse_demand(b"-0").is_ok_and(|v| v.is_sign_positive()));
        assert_eq!(parse_demand(b"NaN"), Err(LineProblem::NotFinite));
        assert_eq!(parse_demand(b"inf"), Err(LineProblem::NotFinite));
        assert_eq!(parse_demand(b"1e999"), Err(LineProblem::NotFinite));
        assert_eq!(parse_demand(b"-1"), Err(LineProblem::Negative));
        assert_eq!(parse_demand(b"1e16"), Err(LineProblem::TooLarge));
        for text in ["", "abc", "1,5", "0x10", "1_000", "12 13"] {
            assert_eq!(parse_demand(text.as_bytes()), Err(LineProblem::NotANumber), "{text}");
        }
    }
}
