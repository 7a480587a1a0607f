//! How are many small numbers kept and stored in little room?
//!
//! As 32-bit floats; in a stored state as raw bytes, four per number, where MessagePack would take five.

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
        deserializer.deserialize_byte_buf(Bytes)
    }
}

/// Most numbers one array of a state may have; guards against a damaged length.
const LONGEST: usize = 1 << 20;

struct Bytes;

impl<'de> de::Visitor<'de> for Bytes {
    type Value = Floats;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("the bytes of 32-bit floats")
    }

    fn visit_bytes<E: de::Error>(self, bytes: &[u8]) -> Result<Floats, E> {
        let (numbers, rest) = bytes.as_chunks::<4>();
        if !rest.is_empty() || numbers.len() > LONGEST {
            return Err(E::invalid_length(bytes.len(), &self));
        }
        Ok(Floats(numbers.iter().map(|b| f32::from_le_bytes(*b)).collect()))
    }

    fn visit_seq<A: de::SeqAccess<'de>>(self, mut seq: A) -> Result<Floats, A::Error> {
        let mut bytes = Vec::new();
        while let Some(byte) = seq.next_element::<u8>()? {
            if bytes.len() >= 4 * LONGEST {
                return Err(de::Error::invalid_length(bytes.len(), &self));
            }
            bytes.push(byte);
        }
        self.visit_bytes(&bytes)
    }
}
