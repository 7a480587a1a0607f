//! What number does a Kubernetes quantity such as `500m`, `2` or `1.5Gi` stand for?
//!
//! The autoscaler computes in 64-bit integer milli-units, so a quantity is held as that. Text finer than
//! one milli-unit is rounded away from zero, as the API machinery does; numbers that do not fit are refused.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use std::fmt;
use std::str::FromStr;

/// A Kubernetes quantity in milli-units (1000 = one core, one request per second, one byte, …).
#[derive(
    Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, JsonSchema,
)]
#[serde(try_from = "RawQuantity", into = "String")]
#[schemars(with = "RawQuantity")]
pub struct Quantity(i64);

/// The wire form: text with an optional suffix, or a bare number.
#[derive(Serialize, Deserialize, JsonSchema)]
#[serde(untagged)]
enum RawQuantity {
    Integer(i64),
    Number(f64),
    Text(String),
}

/// Why a text is not a [`Quantity`].
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("quantity {text:?}: {problem}; expected a number with an optional suffix, e.g. 500m, 2, 1k, 1.5Gi")]
pub struct ParseQuantityError {
    text: String,
    problem: &'static str,
}

impl Quantity {
    /// A quantity of so many thousandths.
    pub const fn from_milli(milli: i64) -> Self {
        Self(milli)
    }

    /// Thousandths.
    pub const fn milli(self) -> i64 {
        self.0
    }

    /// The value in whole units, as a double.
    pub fn as_f64(self) -> f64 {
        self.0 as f64 / 1000.0
    }
}

/// Decimal exponent and binary factor of a suffix.
fn suffix(text: &str) -> Option<(i32, i128)> {
    let binary = |power: u32| Some((0, 1i128 << (10 * power)));
    match text {
        "n" => Some((-9, 1)),
        "u" => Some((-6, 1)),
        "m" => Some((-3, 1)),
        "" => Some((0, 1)),
        "k" => Some((3, 1)),
        "M" => Some((6, 1)),
        "G" => Some((9, 1)),
        "T" => Some((12, 1)),
        "P" => Some((15, 1)),
        "E" => Some((18, 1)),
        "Ki" => binary(1),
        "Mi" => binary(2),
        "Gi" => binary(3),
        "Ti" => binary(4),
        "Pi" => binary(5),
        "Ei" => binary(6),
        _ => {
            let exponent: i32 = text.strip_prefix(['e', 'E'])?.parse().ok()?;
            (exponent.abs() <= 30).then_some((exponent, 1))
        }
    }
}

impl FromStr for Quantity {
    type Err = ParseQuantityError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let fail = |problem| ParseQuantityError { text: text.into(), problem };
        let (negative, body) = match text.strip_prefix('-') {
            Some(rest) => (true, rest),
            None => (false, text.strip_prefix('+').unwrap_or(text)),
        };
        let end = body.find(|c: char| !(c.is_ascii_digit() || c == '.')).unwrap_or(body.len());
        let (number, unit) = body.split_at(end);
        let (whole, fraction) = number.split_once('.').unwrap_or((number, ""));
        if fraction.contains('.') || (whole.is_empty() && fraction.is_empty()) {
            return Err(fail("it is not a number"));
        }
        if whole.len() + fraction.len() > 25 {
            return Err(fail("it has too many digits"));
        }
        let (exponent, factor) = suffix(unit).ok_or_else(|| fail("its suffix is unknown"))?;
        let mantissa: i128 = if whole.len() + fraction.len() == 0 {
            0
        } else {
            digits(whole) * ten(fraction.len()) + digits(fraction)
        };
        let too_large = || fail("it does not fit into 64-bit milli-units");
        let scaled = mantissa.checked_mul(factor).ok_or_else(too_large)?;
        let shift = exponent + 3 - fraction.len() as i32;
        let magnitude = if shift >= 0 {
            let power = 10i128.checked_pow(shift.unsigned_abs()).ok_or_else(too_large)?;
            scaled.checked_mul(power).ok_or_else(too_large)?
        } else {
            // 10^38 is the largest power an i128 holds; anything divided by more is under one milli-unit.
            match 10i128.checked_pow(shift.unsigned_abs()) {
                Some(power) => scaled / power + i128::from(scaled % power != 0),
                None => i128::from(scaled != 0),
            }
        };
        let milli = if negative { -magnitude } else { magnitude };
        i64::try_from(milli).map(Quantity).map_err(|_| too_large())
    }
}

/// The value of at most 25 decimal digits.
fn digits(text: &str) -> i128 {
    text.bytes().fold(0, |value, digit| value * 10 + i128::from(digit - b'0'))
}

fn ten(power: usize) -> i128 {
    (0..power).fold(1, |value, _| value * 10)
}

impl TryFrom<RawQuantity> for Quantity {
    type Error = ParseQuantityError;

    fn try_from(raw: RawQuantity) -> Result<Self, Self::Error> {
        match raw {
            RawQuantity::Integer(units) => units.to_string().parse(),
            RawQuantity::Number(units) => units.to_string().parse(),
            RawQuantity::Text(text) => text.parse(),
        }
    }
}

impl fmt::Display for Quantity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.0 % 1000 == 0 { write!(f, "{}", self.0 / 1000) } else { write!(f, "{}m", self.0) }
    }
}

impl From<Quantity> for String {
    fn from(quantity: Quantity) -> String {
        quantity.to_string()
    }
}

/// A dimensionless fraction such as a tolerance: finite, kept as a double because thousandths are too coarse.
#[derive(Clone, Copy, Debug, PartialEq, PartialOrd, Serialize, Deserialize, JsonSchema)]
#[serde(try_from = "RawQuantity", into = "f64")]
#[schemars(with = "RawQuantity")]
pub struct Fraction(f64);

impl Fraction {
    /// A finite number; `None` for NaN and infinities.
    pub fn new(value: f64) -> Option<Self> {
        value.is_finite().then_some(Self(value))
    }

    /// The number.
    pub fn get(self) -> f64 {
        self.0
    }
}

impl FromStr for Fraction {
    type Err = ParseQuantityError;

    /// A decimal number, or any quantity (`50m`).
    fn from_str(text: &str) -> Result<Self, Self::Err> {
        match text.parse().ok().and_then(Fraction::new) {
            Some(fraction) => Ok(fraction),
            None => text.parse::<Quantity>().map(|q| Fraction(q.as_f64())),
        }
    }
}

impl TryFrom<RawQuantity> for Fraction {
    type Error = ParseQuantityError;

    fn try_from(raw: RawQuantity) -> Result<Self, Self::Error> {
        match raw {
            RawQuantity::Integer(units) => Ok(Fraction(units as f64)),
            RawQuantity::Number(units) => units.to_string().parse(),
            RawQuantity::Text(text) => text.parse(),
        }
    }
}

impl From<Fraction> for f64 {
    fn from(fraction: Fraction) -> f64 {
        fraction.0
    }
}

impl fmt::Display for Fraction {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn suffixes_scale() {
        for (text, milli) in [
            ("500m", 500),
            ("2", 2_000),
            ("0.1", 100),
            (".5", 500),
            ("1k", 1_000_000),
            ("1Ki", 1_024_000),
            ("1.5Gi", 1_610_612_736_000),
            ("-250m", -250),
            ("1e3", 1_000_000),
            ("12E-3", 12),
            ("9223372036854775807m", i64::MAX),
            ("-9223372036854775808m", i64::MIN),
        ] {
            assert_eq!(text.parse::<Quantity>().unwrap().milli(), milli, "{text}");
        }
    }

    #[test]
    fn finer_than_a_milli_rounds_away_from_zero() {
        for (text, milli) in [("1n", 1), ("1500u", 2), ("-1500u", -2), ("0.0001", 1), ("0n", 0)] {
            assert_eq!(text.parse::<Quantity>().unwrap().milli(), milli, "{text}");
        }
    }

    #[test]
    fn what_is_not_a_quantity_is_refused_with_a_reason() {
        for text in ["", "m", ".", "1.2.3", "1x", "NaN", "9223372036854775808m", "10E", "1e99", "1 k", "é"] {
            assert!(text.parse::<Quantity>().is_err(), "{text}");
        }
    }

    #[test]
    fn fractions_keep_more_than_thousandths() {
        for (json, value) in [("0.0125", 0.0125), ("\"0.0125\"", 0.0125), ("\"50m\"", 0.05), ("2", 2.0)] {
            assert_eq!(serde_json::from_str::<Fraction>(json).unwrap().get(), value, "{json}");
        }
        assert!("inf".parse::<Fraction>().is_err());
        assert!("NaN".parse::<Fraction>().is_err());
    }

    #[test]
    fn text_round_trips() {
        for milli in [0, 1, 999, 1000, -1500, i64::MAX, i64::MIN] {
            let quantity = Quantity::from_milli(milli);
            assert_eq!(quantity.to_string().parse::<Quantity>().unwrap(), quantity);
            let json = serde_json::to_string(&quantity).unwrap();
            assert_eq!(serde_json::from_str::<Quantity>(&json).unwrap(), quantity);
        }
        assert_eq!(serde_json::from_str::<Quantity>("0.05").unwrap().milli(), 50);
        assert_eq!(serde_json::from_str::<Quantity>("3").unwrap().milli(), 3000);
    }
}
