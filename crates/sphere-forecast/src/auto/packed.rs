//! How are many small numbers kept and stored in little room?
//!
//! As 32-bit floats, or, where the range is known, as 16-bit fractions of it; in a stored state as raw bytes, where
//! MessagePack would take a byte more for each.

use serde::{Deserialize, Deserializer, Serialize, Serializer, de};
use std::fmt;
use std::ops::{Deref, DerefMut};

/// A fixed number of 32-bit floats.
#[derive(Clone, Debug, Default, PartialEq)]
pub(super) struct Floats(Vec<f32>);

impl Floats {
    pub(super) fn filled(len: usize, value: f32) -> Self {
        Self(vec![value; len])
    }
}

impl Deref for Floats {
    type Target = [f32];
    fn deref(&self) -> &[f32] {
        &self.0
    }
}

impl DerefMut for Floats {
    fn deref_mut(&mut self) -> &mut [f32] {
        &mut self.0
    }
}

impl Serialize for Floats {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let bytes: Vec<u8> = self.0.iter().flat_map(|v| v.to_le_bytes()).collect();
        serializer.serialize_bytes(&bytes)
    }
}

impl<'de> Deserialize<'de> for Floats {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let bytes = deserializer.deserialize_byte_buf(Bytes)?;
        let (numbers, rest) = bytes.as_chunks::<4>();
        if !rest.is_empty() {
            return Err(de::Error::invalid_length(bytes.len(), &"four bytes a number"));
        }
        Ok(Self(numbers.iter().map(|b| f32::from_le_bytes(*b)).collect()))
    }
}

/// A fixed number of 16-bit integers.
#[derive(Clone, Debug, Default, PartialEq)]
pub(super) struct Shorts(Vec<i16>);

impl Shorts {
    pub(super) fn zeros(len: usize) -> Self {
        Self(vec![0; len])
    }
}

impl Deref for Shorts {
    type Target = [i16];
    fn deref(&self) -> &[i16] {
        &self.0
    }
}

impl DerefMut for Shorts {
    fn deref_mut(&mut self) -> &mut [i16] {
        &mut self.0
    }
}

impl Serialize for Shorts {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let bytes: Vec<u8> = self.0.iter().flat_map(|v| v.to_le_bytes()).collect();
        serializer.serialize_bytes(&bytes)
    }
}

impl<'de> Deserialize<'de> for Shorts {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let bytes = deserializer.deserialize_byte_buf(Bytes)?;
        let (numbers, rest) = bytes.as_chunks::<2>();
        if !rest.is_empty() {
            return Err(de::Error::invalid_length(bytes.len(), &"two bytes a number"));
        }
        Ok(Self(numbers.iter().map(|b| i16::from_le_bytes(*b)).collect()))
    }
}

/// A fixed number of values in ±`LIMIT`, each within a 32767th of that.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub(super) struct Fractions<const LIMIT: u8>(Shorts);

impl<const LIMIT: u8> Fractions<LIMIT> {
    pub(super) fn zeros(len: usize) -> Self {
        Self(Shorts::zeros(len))
    }

    pub(super) fn len(&self) -> usize {
        self.0.len()
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

struct Bytes;

impl<'de> de::Visitor<'de> for Bytes {
    type Value = Vec<u8>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("the bytes of numbers")
    }

    fn visit_bytes<E: de::Error>(self, bytes: &[u8]) -> Result<Vec<u8>, E> {
        if bytes.len() > LONGEST {
            return Err(E::invalid_length(bytes.len(), &self));
        }
        Ok(bytes.to_vec())
    }

    fn visit_seq<A: de::SeqAccess<'de>>(self, mut seq: A) -> Result<Vec<u8>, A::Error> {
        let mut bytes = Vec::new();
        while let Some(byte) = seq.next_element::<u8>()? {
            if bytes.len() >= LONGEST {
                return Err(de::Error::invalid_length(bytes.len(), &self));
            }
            bytes.push(byte);
        }
        Ok(bytes)
    }
}

/// For `#[serde(with)]` of an array.
pub(super) mod array {
    use super::Floats;
    use serde::{Deserialize, Deserializer, Serialize, Serializer, de::Error};

    pub(in super::super) fn serialize<S: Serializer, const N: usize>(
        values: &[f32; N],
        serializer: S,
    ) -> Result<S::Ok, S::Error> {
        Floats(values.to_vec()).serialize(serializer)
    }

    pub(in super::super) fn deserialize<'de, D: Deserializer<'de>, const N: usize>(
        deserializer: D,
    ) -> Result<[f32; N], D::Error> {
        let values = Floats::deserialize(deserializer)?;
        values
            .0
            .try_into()
            .map_err(|other: Vec<f32>| D::Error::invalid_length(other.len(), &"another number"))
    }
}
