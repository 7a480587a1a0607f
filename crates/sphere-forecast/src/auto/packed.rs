//! How are many small numbers kept and stored in little room?
//!
//! [`Numbers`] of one kind, as raw bytes in a stored state, where MessagePack would take a byte more for each:
//!
//! | kind | bytes | for |
//! |---|---|---|
//! | `f32` | 4 | sums that small increments are added to |
//! | [`F24`] | 3 | levels, to a 65,000th of themselves |
//! | [`F16`] | 2 | what is read once or twice, to a 500th of itself: deviations in local spreads, scales, variances |
//! | `i16` | 2 | fractions of a known range |

use serde::{Deserialize, Deserializer, Serialize, Serializer, de};
use std::fmt;
use std::marker::PhantomData;
use std::ops::{Deref, DerefMut};

/// A number with a fixed number of bytes.
pub(super) trait Number: Copy {
    /// The bytes, lowest first.
    type Bytes: AsRef<[u8]>;
    /// How many.
    const WIDTH: usize;
    fn bytes(self) -> Self::Bytes;
    /// From [`Self::WIDTH`] bytes; `None` of another number of them.
    fn of(bytes: &[u8]) -> Option<Self>;
}

macro_rules! number {
    ($type:ty, $width:literal) => {
        impl Number for $type {
            type Bytes = [u8; $width];
            const WIDTH: usize = $width;
            fn bytes(self) -> [u8; $width] {
                self.to_le_bytes()
            }
            fn of(bytes: &[u8]) -> Option<Self> {
                bytes.try_into().ok().map(Self::from_le_bytes)
            }
        }
    };
}

number!(f32, 4);
number!(F24, 3);
number!(F16, 2);
number!(i16, 2);

/// The upper three bytes of an `f32`: relative error at most 2⁻¹⁶. NaN stays NaN.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct F24([u8; 3]);

impl F24 {
    fn from_le_bytes(bytes: [u8; 3]) -> Self {
        Self(bytes)
    }

    fn to_le_bytes(self) -> [u8; 3] {
        self.0
    }
}

impl From<f32> for F24 {
    fn from(value: f32) -> Self {
        let [_, a, b, c] = value.to_bits().saturating_add(0x80).to_le_bytes();
        if value.is_nan() { Self([0, 0xC0, 0x7F]) } else { Self([a, b, c]) }
    }
}

/// A sign, seven bits of exponent and eight of mantissa: relative error at most 2⁻⁹ between 10⁻¹⁹ and 10¹⁹, what is larger
/// becomes the largest, what is smaller 0.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct F16(u16);

/// Bits of an `f32` below those kept.
const CUT: u32 = 15;
/// NaN stays NaN.
const UNKNOWN: u16 = 0x7FFF;
/// The smallest exponent kept, in place.
const LOWEST: u32 = (127 - 63) << 23;

impl F16 {
    fn from_le_bytes(bytes: [u8; 2]) -> Self {
        Self(u16::from_le_bytes(bytes))
    }

    fn to_le_bytes(self) -> [u8; 2] {
        self.0.to_le_bytes()
    }
}

impl From<f32> for F16 {
    fn from(value: f32) -> Self {
        // Without a branch, for loops over many.
        let bits = value.to_bits();
        let above = ((bits & 0x7FFF_FFFF) + (1 << (CUT - 1))) as i32 - LOWEST as i32;
        let size = (above.max(0) >> CUT).min(i32::from(UNKNOWN - 1)) as u16;
        let known = (bits >> 16 & 0x8000) as u16 | size;
        Self(if value.is_nan() { UNKNOWN } else { known })
    }
}

/// A float in fewer bytes.
pub(super) trait Rounded: Number + From<f32> {
    fn get(self) -> f32;
}

impl Rounded for F24 {
    fn get(self) -> f32 {
        let [a, b, c] = self.0;
        f32::from_le_bytes([0, a, b, c])
    }
}

impl Rounded for F16 {
    fn get(self) -> f32 {
        let size = u32::from(self.0 & 0x7FFF);
        let sign = u32::from(self.0 & 0x8000) << 16;
        let bits = if size == 0 { 0 } else { sign | ((size << CUT) + LOWEST) };
        f32::from_bits(if size == u32::from(UNKNOWN) { f32::NAN.to_bits() } else { bits })
    }
}

/// What `N` numbers from `at` on are; `N` cells of the default beyond the end, which no caller asks for.
pub(super) fn decode<T: Rounded + Default, const N: usize>(cells: &[T], at: usize) -> [f32; N] {
    match cells.get(at..).and_then(|cells| cells.first_chunk::<N>()) {
        Some(cells) => std::array::from_fn(|i| cells[i].get()),
        None => [T::default().get(); N],
    }
}

/// A fixed number of numbers.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Numbers<T>(Box<[T]>);

pub(super) type Floats = Numbers<f32>;
pub(super) type Shorts = Numbers<i16>;

impl<T: Copy> Numbers<T> {
    pub(super) fn filled(len: usize, value: T) -> Self {
        Self(vec![value; len].into_boxed_slice())
    }

    /// Bytes in memory beside the handle.
    pub(super) fn heap_bytes(&self) -> usize {
        size_of_val(&*self.0)
    }
}

impl<T> Deref for Numbers<T> {
    type Target = [T];
    fn deref(&self) -> &[T] {
        &self.0
    }
}

impl<T> DerefMut for Numbers<T> {
    fn deref_mut(&mut self) -> &mut [T] {
        &mut self.0
    }
}

impl<T: Number> Serialize for Numbers<T> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        store(self, serializer)
    }
}

impl<'de, T: Number> Deserialize<'de> for Numbers<T> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        load(deserializer).map(|values| Self(values.into_boxed_slice()))
    }
}

fn store<T: Number, S: Serializer>(values: &[T], serializer: S) -> Result<S::Ok, S::Error> {
    let mut bytes = vec![0; values.len() * T::WIDTH];
    for (cell, v) in bytes.chunks_exact_mut(T::WIDTH).zip(values) {
        cell.copy_from_slice(v.bytes().as_ref());
    }
    serializer.serialize_bytes(&bytes)
}

fn load<'de, T: Number, D: Deserializer<'de>>(deserializer: D) -> Result<Vec<T>, D::Error> {
    deserializer.deserialize_bytes(Bytes(PhantomData::<T>))
}

/// A fixed number of values in ±`LIMIT`, each within a 32767th of that.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(super) struct Fractions<const LIMIT: u8>(Shorts);

impl<const LIMIT: u8> Fractions<LIMIT> {
    pub(super) fn zeros(len: usize) -> Self {
        Self(Shorts::filled(len, 0))
    }

    pub(super) fn len(&self) -> usize {
        self.0.len()
    }

    pub(super) fn heap_bytes(&self) -> usize {
        self.0.heap_bytes()
    }

    /// Values beyond the limit become the limit.
    pub(super) fn write(&mut self, at: usize, values: impl IntoIterator<Item = f32>) {
        let unit = f32::from(i16::MAX) / f32::from(LIMIT);
        for (slot, v) in self.0[at..].iter_mut().zip(values) {
            *slot = (v * unit).round().clamp(f32::from(-i16::MAX), f32::from(i16::MAX)) as i16;
        }
    }

    pub(super) fn read<const N: usize>(&self, at: usize) -> [f32; N] {
        let unit = f32::from(LIMIT) / f32::from(i16::MAX);
        std::array::from_fn(|i| f32::from(self.0[at + i]) * unit)
    }
}

/// Most bytes one array of a state may have; guards against a damaged length.
const LONGEST: usize = 4 << 20;

struct Bytes<T>(PhantomData<T>);

impl<T: Number> Bytes<T> {
    fn numbers<E: de::Error>(&self, bytes: &[u8]) -> Result<Vec<T>, E> {
        if bytes.len() > LONGEST || !bytes.len().is_multiple_of(T::WIDTH) {
            return Err(E::invalid_length(bytes.len(), self));
        }
        let mut numbers = Vec::with_capacity(bytes.len() / T::WIDTH);
        numbers.extend(bytes.chunks_exact(T::WIDTH).filter_map(T::of));
        Ok(numbers)
    }
}

impl<'de, T: Number> de::Visitor<'de> for Bytes<T> {
    type Value = Vec<T>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "the bytes of numbers of {} bytes each", T::WIDTH)
    }

    fn visit_bytes<E: de::Error>(self, bytes: &[u8]) -> Result<Vec<T>, E> {
        self.numbers(bytes)
    }

    fn visit_seq<A: de::SeqAccess<'de>>(self, mut seq: A) -> Result<Vec<T>, A::Error> {
        let mut bytes = Vec::new();
        while let Some(byte) = seq.next_element::<u8>()? {
            if bytes.len() >= LONGEST {
                return Err(de::Error::invalid_length(bytes.len(), &self));
            }
            bytes.push(byte);
        }
        self.numbers(&bytes)
    }
}

/// For `#[serde(with)]` of an array.
pub(super) mod array {
    use super::{load, store};
    use serde::{Deserializer, Serializer, de::Error};

    pub(in super::super) fn serialize<S: Serializer, const N: usize>(
        values: &[f32; N],
        serializer: S,
    ) -> Result<S::Ok, S::Error> {
        store(values, serializer)
    }

    pub(in super::super) fn deserialize<'de, D: Deserializer<'de>, const N: usize>(
        deserializer: D,
    ) -> Result<[f32; N], D::Error> {
        load::<f32, D>(deserializer)?
            .try_into()
            .map_err(|other: Vec<f32>| D::Error::invalid_length(other.len(), &"another number"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn what_is_kept_in_two_or_three_bytes_is_near_what_it_was(value in prop_oneof![-1e3f64..1e3, -1e18f64..1e18, -1e-15f64..1e-15]) {
            let value = if value.abs() < 1e-18 { 0.0 } else { value };
            let short = f64::from(F16::from(value as f32).get());
            prop_assert!((short - value).abs() <= value.abs() / 511.0, "{short} {value}");
            let long = f64::from(F24::from(value as f32).get());
            prop_assert!((long - value).abs() <= value.abs() / 65_500.0, "{long} {value}");
        }
    }

    #[test]
    fn the_ends_of_the_ranges_hold() {
        assert!(F24::from(f32::NAN).get().is_nan() && F16::from(f32::NAN).get().is_nan());
        assert_eq!((F16::from(0.0).get(), F16::from(-1e-30).get()), (0.0, 0.0));
        for (large, sign) in [(1e30, 1.0), (-1e38, -1.0)] {
            let kept = F16::from(large).get() * sign;
            assert!(kept.is_finite() && kept > 1e18, "{kept}");
        }
    }
}
