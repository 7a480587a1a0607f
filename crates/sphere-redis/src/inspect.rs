//! What does Redis hold about one workload right now? For people and for checks, not for the pipeline.

use crate::batch::Batch;
use crate::store::{DECISIONS, RedisStore, bytes_of, place, unexpected};
use bytes::Bytes;
use redis::Value;
use sphere_core::WorkloadId;
use sphere_pipeline::{Slot, StoreError};
use std::time::Duration;

/// A value that is there.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct KeptValue {
    /// What it is.
    pub slot: Slot,
    /// Its key in Redis.
    pub key: String,
    /// The value.
    pub value: Bytes,
    /// Time until it is gone by itself; `None`: it stays.
    pub expires_in: Option<Duration>,
}

/// Everything about one workload.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Inspection {
    /// Hash slot of its keys.
    pub hash_slot: u16,
    /// Node that owns it, `host:port`.
    pub node: Option<String>,
    /// Values that are there, in the order of [`Slot::ALL`].
    pub values: Vec<KeptValue>,
    /// Key of its list of decisions.
    pub decisions_key: String,
    /// Number of decisions in the list.
    pub decisions: u64,
}

impl RedisStore {
    /// Reads everything about one workload. The parts are read one after the other, so that a value put meanwhile
    /// may be there with the expiry of the one before.
    pub async fn inspect(&self, workload: &WorkloadId) -> Result<Inspection, StoreError> {
        const DOING: &str = "inspecting a workload";
        let keys: Vec<String> = Slot::ALL.iter().map(|slot| self.key(workload, slot.name())).collect();
        let decisions_key = self.key(workload, DECISIONS);
        let batch = Batch {
            doing: DOING,
            places: vec![place(workload); 2 * keys.len() + 1],
            command: &|index| {
                let (name, key) = match keys.get(index / 2) {
                    Some(key) if index % 2 == 0 => ("GET", key),
                    Some(key) => ("PTTL", key),
                    None => ("XLEN", &decisions_key),
                };
                let mut command = redis::cmd(name);
                command.arg(key);
                command
            },
            bytes: &|_| 0,
        };
        let mut answers = self.nodes.run(&batch).await?.into_iter();
        let mut values = Vec::new();
        for (slot, key) in Slot::ALL.into_iter().zip(keys) {
            let (value, ttl) = (answers.next().unwrap_or(Value::Nil), answers.next().unwrap_or(Value::Nil));
            let Value::Int(ttl_ms) = ttl else { return Err(unexpected(DOING, &key, &ttl)) };
            let Some(value) = bytes_of(DOING, &key, value)? else { continue };
            // -1: stays; -2: gone since it was read.
            let expires_in = match ttl_ms {
                -1 => None,
                ms => Some(Duration::from_millis(u64::try_from(ms).unwrap_or(0))),
            };
            values.push(KeptValue { slot, key, value, expires_in });
        }
        let decisions = match answers.next() {
            Some(Value::Int(count)) => u64::try_from(count).unwrap_or(0),
            other => return Err(unexpected(DOING, &decisions_key, &other.unwrap_or(Value::Nil))),
        };
        let hash_slot = crate::nodes::slot_of(&workload.to_string());
        let node = self.nodes.owner(hash_slot).map(|address| address.to_string());
        Ok(Inspection { hash_slot, node, values, decisions_key, decisions })
    }
}
