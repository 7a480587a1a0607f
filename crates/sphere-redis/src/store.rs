//! How do the operations of a [`Store`] become commands?

use crate::address::Address;
use crate::announce::{listen, messages};
use crate::batch::{Batch, Place};
use crate::config::RedisConfig;
use crate::counters::{Counters, StoreCounters};
use crate::failure::Failure;
use crate::link::Login;
use crate::nodes::{Nodes, slot_of};
use async_trait::async_trait;
use bytes::Bytes;
use futures_util::future::join_all;
use redis::{Cmd, Value};
use sphere_core::WorkloadId;
use sphere_pipeline::{Announcements, Put, Slot, Store, StoreError};
use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

/// Bytes of a command beside its value: its name, key and framing.
const COMMAND_BYTES: usize = 160;

/// Assumed size of a value that is read: a model state is below this.
const READ_BYTES: usize = 16 << 10;

/// Longest expiry that is sent, a hundred years: Redis refuses what does not fit its clock.
const LONGEST_EXPIRY_MS: u128 = 100 * 366 * 86_400_000;

/// Name of the key of a workload's list of decisions.
pub(crate) const DECISIONS: &str = "decisions";

/// Field of a decision in its stream entry.
const FIELD: &str = "json";

/// The [`Store`] over Redis. Cheap to clone; clones share their connections.
#[derive(Clone)]
pub struct RedisStore {
    pub(crate) nodes: Arc<Nodes>,
    prefix: Arc<str>,
}

impl std::fmt::Debug for RedisStore {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("RedisStore").field("config", self.nodes.login().config()).finish_non_exhaustive()
    }
}

impl RedisStore {
    /// A store that connects when it is first used, so that a process can start while Redis is down. Fails when
    /// the configuration has [problems](RedisConfig::problems) or a file it names can not be read.
    pub fn new(config: RedisConfig) -> Result<Self, StoreError> {
        const DOING: &str = "configuring Redis";
        let problems = config.problems();
        if !problems.is_empty() {
            let lines: Vec<String> =
                problems.iter().map(|(key, text)| format!("store.redis.{key}: {text}")).collect();
            return Err(StoreError::Permanent { doing: DOING, detail: lines.join("; ") });
        }
        let permanent = |detail| StoreError::Permanent { doing: DOING, detail };
        let addresses: Result<Vec<Address>, String> =
            config.nodes.iter().map(|node| Address::parse(node)).collect();
        let addresses = addresses.map_err(permanent)?;
        let prefix = config.prefix.as_str().into();
        let login = Login::new(config).map_err(|failure| failure.into_error(DOING, ""))?;
        let nodes = Nodes::new(Arc::new(login), addresses, Arc::new(Counters::default()));
        Ok(Self { nodes: Arc::new(nodes), prefix })
    }

    /// Like [`RedisStore::new`], and [checks](Store::check) that Redis answers.
    pub async fn connect(config: RedisConfig) -> Result<Self, StoreError> {
        let store = Self::new(config)?;
        store.check().await?;
        Ok(store)
    }

    /// Faults survived so far.
    pub fn counters(&self) -> StoreCounters {
        self.nodes.counters().read()
    }

    /// Key of a workload's value, or of its list of decisions.
    pub(crate) fn key(&self, workload: &WorkloadId, name: &str) -> String {
        format!("{}:{{{workload}}}:{name}", self.prefix)
    }

    fn channel(&self) -> String {
        format!("{}:predictions", self.prefix)
    }
}

/// Where the keys of a workload are.
pub(crate) fn place(workload: &WorkloadId) -> Place {
    Place::Slot(slot_of(&workload.to_string()))
}

pub(crate) fn unexpected(doing: &'static str, key: &str, value: &Value) -> StoreError {
    let kind = match value {
        Value::Nil => "nothing",
        Value::Int(_) => "a number",
        Value::BulkString(_) | Value::SimpleString(_) | Value::Okay => "a string",
        Value::Array(_) => "a list",
        _ => "something else",
    };
    StoreError::Permanent {
        doing,
        detail: format!("{key}: Redis answered {kind}, of another shape than asked for"),
    }
}

pub(crate) fn bytes_of(doing: &'static str, key: &str, value: Value) -> Result<Option<Bytes>, StoreError> {
    match value {
        Value::Nil => Ok(None),
        Value::BulkString(value) => Ok(Some(Bytes::from(value))),
        other => Err(unexpected(doing, key, &other)),
    }
}

fn set(key: &str, put: &Put) -> Cmd {
    let mut command = redis::cmd("SET");
    command.arg(key).arg(put.value.as_ref());
    if let Some(after) = put.expires_in {
        command.arg("PX").arg(expiry_ms(after));
    }
    command
}

/// Whole milliseconds, at least one: Redis refuses zero, and rounding up could outlive a forecast.
fn expiry_ms(after: Duration) -> u64 {
    u64::try_from(after.as_millis().clamp(1, LONGEST_EXPIRY_MS)).unwrap_or(1)
}

#[async_trait]
impl Store for RedisStore {
    async fn put(&self, values: Vec<Put>) -> Result<(), StoreError> {
        // Of two values for one key only the later counts; so no retry can bring the earlier back.
        let mut latest: HashMap<(&WorkloadId, Slot), usize> = HashMap::with_capacity(values.len());
        for (index, put) in values.iter().enumerate() {
            latest.insert((&put.workload, put.slot), index);
        }
        let puts: Vec<&Put> = values
            .iter()
            .enumerate()
            .filter(|(index, put)| latest.get(&(&put.workload, put.slot)) == Some(index))
            .map(|(_, put)| put)
            .collect();
        let batch = Batch {
            doing: "putting values",
            places: puts.iter().map(|put| place(&put.workload)).collect(),
            command: &|index| set(&self.key(&puts[index].workload, puts[index].slot.name()), puts[index]),
            bytes: &|index| COMMAND_BYTES + puts[index].value.len(),
        };
        self.nodes.run(&batch).await.map(drop)
    }

    async fn get(&self, slot: Slot, workloads: &[WorkloadId]) -> Result<Vec<Option<Bytes>>, StoreError> {
        let batch = Batch {
            doing: "getting values",
            places: workloads.iter().map(place).collect(),
            command: &|index| {
                let mut command = redis::cmd("GET");
                command.arg(self.key(&workloads[index], slot.name()));
                command
            },
            bytes: &|_| COMMAND_BYTES + READ_BYTES,
        };
        let answers = self.nodes.run(&batch).await?.into_iter().zip(workloads);
        answers
            .map(|(value, workload)| bytes_of(batch.doing, &self.key(workload, slot.name()), value))
            .collect()
    }

    async fn forget(&self, workloads: &[WorkloadId]) -> Result<(), StoreError> {
        // One key per command: a command with several can not be served while their slot is being moved.
        let names: Vec<&str> = Slot::ALL.iter().map(|slot| slot.name()).chain([DECISIONS]).collect();
        let batch = Batch {
            doing: "forgetting workloads",
            places: workloads.iter().flat_map(|workload| vec![place(workload); names.len()]).collect(),
            command: &|index| {
                let mut command = redis::cmd("UNLINK");
                command.arg(self.key(&workloads[index / names.len()], names[index % names.len()]));
                command
            },
            bytes: &|_| COMMAND_BYTES,
        };
        self.nodes.run(&batch).await.map(drop)
    }

    async fn append(&self, entries: Vec<(WorkloadId, Bytes)>, keep: usize) -> Result<(), StoreError> {
        let batch = Batch {
            doing: "appending decisions",
            places: entries.iter().map(|(workload, _)| place(workload)).collect(),
            command: &|index| {
                let (workload, entry) = &entries[index];
                let mut command = redis::cmd("XADD");
                command.arg(self.key(workload, DECISIONS)).arg("MAXLEN").arg("~").arg(keep.max(1));
                command.arg("*").arg(FIELD).arg(entry.as_ref());
                command
            },
            bytes: &|index| COMMAND_BYTES + entries[index].1.len(),
        };
        self.nodes.run(&batch).await.map(drop)
    }

    async fn history(&self, workload: &WorkloadId, count: usize) -> Result<Vec<Bytes>, StoreError> {
        const DOING: &str = "reading decisions";
        if count == 0 {
            return Ok(Vec::new());
        }
        let key = self.key(workload, DECISIONS);
        let batch = Batch {
            doing: DOING,
            places: vec![place(workload)],
            command: &|_| {
                let mut command = redis::cmd("XREVRANGE");
                command.arg(&key).arg("+").arg("-").arg("COUNT").arg(count);
                command
            },
            bytes: &|_| COMMAND_BYTES,
        };
        let answer = self.nodes.run(&batch).await?.into_iter().next().unwrap_or(Value::Nil);
        let Value::Array(entries) = answer else { return Err(unexpected(DOING, &key, &answer)) };
        entries
            .into_iter()
            .map(|entry| decision(entry).map_err(|other| unexpected(DOING, &key, &other)))
            .collect()
    }

    async fn announce(&self, workloads: &[WorkloadId]) -> Result<(), StoreError> {
        let (channel, messages) = (self.channel(), messages(workloads));
        let batch = Batch {
            doing: "announcing predictions",
            places: vec![Place::Any; messages.len()],
            command: &|index| {
                let mut command = redis::cmd("PUBLISH");
                command.arg(&channel).arg(&messages[index]);
                command
            },
            bytes: &|index| COMMAND_BYTES + messages[index].len(),
        };
        self.nodes.run(&batch).await.map(drop)
    }

    async fn announcements(&self) -> Result<Box<dyn Announcements>, StoreError> {
        Ok(Box::new(listen(self.nodes.clone(), self.channel()).await?))
    }

    /// One attempt, no repetition. A cluster is reachable when every slot has an owner and every owner answers.
    async fn check(&self) -> Result<(), StoreError> {
        const DOING: &str = "checking Redis";
        let uncovered = self.nodes.read_map(&[]).await.map_err(|failure| failure.into_error(DOING, ""))?;
        if uncovered > 0 {
            let detail = format!("{uncovered} of the cluster's slots have no owner");
            return Err(StoreError::Unavailable { doing: DOING, detail });
        }
        let mut ping = redis::pipe();
        ping.cmd("PING");
        let ping = &ping;
        let pings = self.nodes.masters().into_iter().map(|address| async move {
            match self.nodes.link(&address).send(ping).await?.into_iter().next() {
                Some(Value::ServerError(error)) => Err(Failure::of(&error.into()).at(&address)),
                _ => Ok(()),
            }
        });
        for outcome in join_all(pings).await {
            outcome.map_err(|failure| failure.into_error(DOING, ""))?;
        }
        Ok(())
    }
}

/// The decision in a stream entry `[id, [field, value]]`; the entry itself when it has another shape.
fn decision(entry: Value) -> Result<Bytes, Value> {
    if let Value::Array(parts) = &entry
        && let [_, Value::Array(fields)] = parts.as_slice()
        && let Some([_, Value::BulkString(value)]) = fields
            .chunks_exact(2)
            .find(|pair| matches!(&pair[0], Value::BulkString(name) if name == FIELD.as_bytes()))
    {
        return Ok(Bytes::copy_from_slice(value));
    }
    Err(entry)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn expiry_is_never_zero_and_never_later_than_asked() {
        assert_eq!(expiry_ms(Duration::ZERO), 1);
        assert_eq!(expiry_ms(Duration::from_micros(2900)), 2);
        assert_eq!(u128::from(expiry_ms(Duration::MAX)), LONGEST_EXPIRY_MS);
    }

    #[test]
    fn keys_share_the_hash_tag_of_their_workload() {
        let store = RedisStore::new(RedisConfig::default()).unwrap();
        let workload: WorkloadId = "shop/Deployment/front-end".parse().unwrap();
        assert_eq!(
            store.key(&workload, Slot::Prediction.name()),
            "sphere:{shop/Deployment/front-end}:prediction"
        );
    }

    #[test]
    fn a_configuration_that_can_not_be_meant_is_refused_with_all_its_problems() {
        let config = RedisConfig { nodes: Vec::new(), prefix: String::new(), ..RedisConfig::default() };
        let error = RedisStore::new(config).unwrap_err();
        assert!(!error.is_transient());
        let text = error.to_string();
        assert!(text.contains("store.redis.nodes") && text.contains("store.redis.prefix"), "{text}");
        let missing = RedisConfig { password_file: Some("/no/such/file".into()), ..RedisConfig::default() };
        assert!(RedisStore::new(missing).unwrap_err().to_string().contains("/no/such/file"));
    }
}
