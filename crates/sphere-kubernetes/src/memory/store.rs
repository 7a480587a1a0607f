//! How do values get into ConfigMaps and out again?

use super::page::{self, Entries, Entry};
use crate::lease::Leadership;
use async_trait::async_trait;
use bytes::Bytes;
use fnv::FnvHasher;
use k8s_openapi::ByteString;
use k8s_openapi::api::core::v1::ConfigMap;
use k8s_openapi::jiff;
use kube::api::{ObjectMeta, PostParams};
use kube::{Api, Client};
use sphere_core::WorkloadId;
use sphere_pipeline::{Announcements, Put, Slot, Store, StoreError};
use std::collections::BTreeMap;
use std::hash::{Hash, Hasher};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;
use tokio::time::Instant;
use tracing::{info, warn};

/// Key of the page in a ConfigMap.
const KEY: &str = "memory.jsonl.gz";
/// Longest time for one call.
const PATIENCE: Duration = Duration::from_secs(5);

/// Where the ConfigMaps are.
#[derive(Clone, Debug)]
pub struct MapsConfig {
    /// Their namespace.
    pub namespace: String,
    /// Their names are this and a number.
    pub prefix: String,
    /// How many, at least 1. Another number than before means that what was kept is not found again.
    pub count: usize,
}

/// A ConfigMap could not be read or written.
#[derive(Debug, thiserror::Error)]
#[error("ConfigMap {name}: {detail}")]
pub struct MapsError {
    name: String,
    detail: String,
    /// Is another try worth it?
    pub transient: bool,
}

/// One ConfigMap, as we know it.
#[derive(Default)]
struct Shard {
    entries: Entries,
    /// Resource version; `None`: there is none yet.
    version: Option<String>,
    changed: bool,
}

/// A store whose autoscaler slots are in ConfigMaps. See the module text of [`super`].
pub struct MemoryStore {
    inner: Arc<dyn Store>,
    maps: Api<ConfigMap>,
    config: MapsConfig,
    leadership: Leadership,
    shards: Vec<Mutex<Shard>>,
}

fn now_ms() -> i64 {
    jiff::Timestamp::now().as_millisecond()
}

impl MemoryStore {
    /// Everything else goes into `inner`. Only who leads writes.
    pub fn new(inner: Arc<dyn Store>, client: Client, config: MapsConfig, leadership: Leadership) -> Self {
        let shards = (0..config.count.max(1)).map(|_| Mutex::default()).collect();
        let maps = Api::namespaced(client, &config.namespace);
        Self { inner, maps, config, leadership, shards }
    }

    fn shard(&self, workload: &WorkloadId) -> &Mutex<Shard> {
        // FNV: the same in every process and version, unlike the standard library's.
        let mut hasher = FnvHasher::default();
        workload.to_string().hash(&mut hasher);
        &self.shards[(hasher.finish() % self.shards.len() as u64) as usize]
    }

    fn name(&self, index: usize) -> String {
        format!("{}{index}", self.config.prefix)
    }

    /// Reads all ConfigMaps, as whoever led before has left them. What can not be read counts as absent.
    pub async fn load(&self) -> Result<usize, MapsError> {
        let mut found = 0;
        for (index, shard) in self.shards.iter().enumerate() {
            let name = self.name(index);
            let map = self.call(&name, self.maps.get_opt(&name)).await?;
            let version = map.as_ref().and_then(|map| map.metadata.resource_version.clone());
            let page = map.and_then(|map| map.binary_data).and_then(|mut data| data.remove(KEY));
            let entries = match page.map(|page| page::unpack(&page.0)) {
                None => Entries::new(),
                Some(Ok((entries, 0))) => entries,
                Some(Ok((entries, unreadable))) => {
                    warn!(name, unreadable, "memory: entries that can not be read are forgotten");
                    entries
                }
                Some(Err(error)) => {
                    warn!(name, %error, "memory: a page that can not be read is forgotten");
                    Entries::new()
                }
            };
            found += entries.len();
            *shard.lock().unwrap_or_else(PoisonError::into_inner) =
                Shard { entries, version, changed: false };
        }
        Ok(found)
    }

    /// Writes what has changed, as long as we lead. Of several failures the last one is told.
    pub async fn flush(&self) -> Result<(), MapsError> {
        let mut failed = None;
        for (index, shard) in self.shards.iter().enumerate() {
            if let Err(error) = self.flush_one(index, shard).await {
                failed = Some(error);
            }
        }
        failed.map_or(Ok(()), Err)
    }

    async fn flush_one(&self, index: usize, shard: &Mutex<Shard>) -> Result<(), MapsError> {
        let name = self.name(index);
        let (packed, version) = {
            let mut shard = shard.lock().unwrap_or_else(PoisonError::into_inner);
            if !std::mem::take(&mut shard.changed) {
                return Ok(());
            }
            let now = now_ms();
            shard.entries.retain(|_, entry| now.saturating_sub(entry.at_ms) < page::KEPT_MS);
            (page::pack(&shard.entries, now), shard.version.clone())
        };
        let result = async {
            let (page, left_out) = packed.map_err(|error| MapsError {
                name: name.clone(),
                detail: error.to_string(),
                transient: false,
            })?;
            if left_out > 0 {
                warn!(name, left_out, "memory: no room for all workloads; use Redis for this many");
            }
            self.write(&name, page, version).await
        };
        let result = result.await;
        let mut shard = shard.lock().unwrap_or_else(PoisonError::into_inner);
        match result {
            Ok(version) => {
                shard.version = version;
                Ok(())
            }
            Err(error) => {
                shard.changed = true;
                Err(error)
            }
        }
    }

    /// Writes a page over version `version`; gives the new one. Where somebody else has written meanwhile, ours counts:
    /// we lead.
    async fn write(
        &self,
        name: &str,
        page: Vec<u8>,
        mut version: Option<String>,
    ) -> Result<Option<String>, MapsError> {
        let mut tries = 0;
        loop {
            tries += 1;
            if self.leadership.until().is_none() {
                return Err(MapsError {
                    name: name.into(),
                    detail: "we do not lead".into(),
                    transient: true,
                });
            }
            let map = self.map(name, page.clone(), version.clone());
            let post = PostParams::default();
            let written = match version {
                Some(_) => self.call(name, self.maps.replace(name, &post, &map)).await,
                None => self.call(name, self.maps.create(&post, &map)).await,
            };
            match written {
                Ok(map) => return Ok(map.metadata.resource_version),
                Err(error) if error.detail.contains(MOVED) && tries < 3 => {
                    let map = self.call(name, self.maps.get_opt(name)).await?;
                    version = map.and_then(|map| map.metadata.resource_version);
                }
                Err(error) => return Err(error),
            }
        }
    }

    fn map(&self, name: &str, page: Vec<u8>, version: Option<String>) -> ConfigMap {
        let labels = [("app.kubernetes.io/managed-by", "sphere"), ("app.kubernetes.io/component", "memory")];
        ConfigMap {
            metadata: ObjectMeta {
                name: Some(name.into()),
                namespace: Some(self.config.namespace.clone()),
                labels: Some(labels.map(|(k, v)| (k.to_owned(), v.to_owned())).into()),
                resource_version: version,
                ..ObjectMeta::default()
            },
            binary_data: Some(BTreeMap::from([(KEY.to_owned(), ByteString(page))])),
            ..ConfigMap::default()
        }
    }

    /// A call within [`PATIENCE`], and within the lease where we lead.
    async fn call<T>(&self, name: &str, call: impl Future<Output = kube::Result<T>>) -> Result<T, MapsError> {
        let ends = Instant::now() + PATIENCE;
        let ends = self.leadership.until().map_or(ends, |until| until.min(ends));
        let failed = |detail: String, transient| MapsError { name: name.into(), detail, transient };
        match tokio::time::timeout_at(ends, call).await {
            Ok(Ok(value)) => Ok(value),
            Ok(Err(kube::Error::Api(status))) if matches!(status.code, 404 | 409) => {
                Err(failed(format!("{MOVED}: {}", status.message), true))
            }
            Ok(Err(kube::Error::Api(status))) if status.code == 403 => {
                Err(failed(status.message.clone(), false))
            }
            Ok(Err(error)) => Err(failed(error.to_string(), true)),
            Err(_) => Err(failed("no answer in time".into(), true)),
        }
    }
}

/// Marks that the object is not as we knew it.
const MOVED: &str = "changed meanwhile";

/// Loads for as long as it takes, up to a minute; then goes on without memory and says so.
pub async fn load_or_say(store: &MemoryStore) {
    let started = Instant::now();
    for pause in sphere_pipeline::retry::pauses() {
        match store.load().await {
            Ok(0) => return info!("memory: nothing is remembered"),
            Ok(workloads) => return info!(workloads, "memory: loaded"),
            Err(error) if error.transient && started.elapsed() < Duration::from_secs(60) => {
                warn!(%error, "memory: loading, again in a moment");
            }
            Err(error) => {
                return warn!(%error, "memory: it can not be loaded; windows and start-ups are learnt anew");
            }
        }
        tokio::time::sleep(pause).await;
    }
}

#[async_trait]
impl Store for MemoryStore {
    async fn put(&self, values: Vec<Put>) -> Result<(), StoreError> {
        let mut rest = Vec::with_capacity(values.len());
        let at_ms = now_ms();
        for put in values {
            if put.slot == Slot::Autoscaler {
                let mut shard = self.shard(&put.workload).lock().unwrap_or_else(PoisonError::into_inner);
                shard.entries.insert(put.workload, Entry { at_ms, value: put.value });
                shard.changed = true;
            } else {
                rest.push(put);
            }
        }
        if rest.is_empty() { Ok(()) } else { self.inner.put(rest).await }
    }

    async fn get(&self, slot: Slot, workloads: &[WorkloadId]) -> Result<Vec<Option<Bytes>>, StoreError> {
        if slot != Slot::Autoscaler {
            return self.inner.get(slot, workloads).await;
        }
        let value = |id: &WorkloadId| {
            let shard = self.shard(id).lock().unwrap_or_else(PoisonError::into_inner);
            shard.entries.get(id).map(|entry| entry.value.clone())
        };
        Ok(workloads.iter().map(value).collect())
    }

    async fn forget(&self, workloads: &[WorkloadId]) -> Result<(), StoreError> {
        for id in workloads {
            let mut shard = self.shard(id).lock().unwrap_or_else(PoisonError::into_inner);
            shard.changed |= shard.entries.remove(id).is_some();
        }
        self.inner.forget(workloads).await
    }

    async fn append(&self, entries: Vec<(WorkloadId, Bytes)>, keep: usize) -> Result<(), StoreError> {
        self.inner.append(entries, keep).await
    }

    async fn history(&self, workload: &WorkloadId, count: usize) -> Result<Vec<Bytes>, StoreError> {
        self.inner.history(workload, count).await
    }

    async fn announce(&self, workloads: &[WorkloadId]) -> Result<(), StoreError> {
        self.inner.announce(workloads).await
    }

    async fn announcements(&self) -> Result<Box<dyn Announcements>, StoreError> {
        self.inner.announcements().await
    }

    async fn check(&self) -> Result<(), StoreError> {
        self.inner.check().await
    }
}
