//! What is in the cluster that concerns us?
//!
//! Watches of PredictiveAutoscalers, of the ConfigMap that is the kill switch, and of namespaces for their annotation.
//! They survive whatever the API server does: a broken connection is resumed, a version that is too old (410) leads to a
//! new list, all with growing pauses; what was seen last stays valid meanwhile.

use super::roster::{Found, ObjectKey};
use super::switch;
use crate::api::{PredictiveAutoscaler, to_workload};
use futures_util::StreamExt;
use k8s_openapi::api::core::v1::{ConfigMap, Namespace};
use kube::api::PartialObjectMeta;
use kube::core::DeserializeGuard;
use kube::runtime::reflector::{self, Store};
use kube::runtime::{WatchStreamExt, watcher};
use kube::{Api, Client, Resource};
use serde::de::DeserializeOwned;
use std::collections::{BTreeMap, HashMap, HashSet};
use std::fmt::Debug;
use std::hash::Hash;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;
use tokio::sync::{OnceCell, watch};
use tokio_util::sync::CancellationToken;
use tracing::{debug, warn};

/// Namespaces are looked at this often where they can not be watched.
const LOOK: Duration = Duration::from_secs(30);

/// An object, readable or not.
pub type Guarded = DeserializeGuard<PredictiveAutoscaler>;

/// What a spec came to, by identity and generation of its object.
type Parsed = HashMap<(String, Option<i64>), Result<Arc<sphere_pipeline::Workload>, Vec<String>>>;

/// The watches. See the module text.
pub struct Watches {
    objects: Vec<Store<Guarded>>,
    switch: Store<ConfigMap>,
    namespaces: Namespaces,
    own_namespace: String,
    step: Duration,
    changed: watch::Receiver<()>,
    parsed: Mutex<Parsed>,
    /// Whether all was seen once; empty while nobody knows.
    seen: OnceCell<bool>,
}

/// Where the annotations of namespaces come from.
enum Namespaces {
    /// All of them are watched.
    Watched(Store<PartialObjectMeta<Namespace>>),
    /// Ours are looked at now and then.
    Looked(Arc<Mutex<HashSet<String>>>),
}

/// What to watch.
pub struct Scope {
    /// Namespaces; empty: all.
    pub namespaces: Vec<String>,
    /// Where the operator lives.
    pub own_namespace: String,
    /// Grid of the pipeline, which specs are checked against.
    pub step: Duration,
}

impl Watches {
    /// Starts them; they end with `stop`.
    pub fn start(client: &Client, scope: Scope, stop: &CancellationToken) -> Self {
        let (tell, changed) = watch::channel(());
        let tell = Arc::new(tell);
        let any = watcher::Config::default;
        let objects = match scope.namespaces.as_slice() {
            [] => vec![follow(Api::<Guarded>::all(client.clone()), any(), &tell, stop)],
            some => some
                .iter()
                .map(|namespace| {
                    follow(Api::<Guarded>::namespaced(client.clone(), namespace), any(), &tell, stop)
                })
                .collect(),
        };
        let only = any().fields(&format!("metadata.name={}", switch::CONFIG_MAP));
        let maps: Api<ConfigMap> = Api::namespaced(client.clone(), &scope.own_namespace);
        let switch = follow(maps, only, &tell, stop);
        let namespaces = if scope.namespaces.is_empty() {
            let all: Api<PartialObjectMeta<Namespace>> = Api::all(client.clone());
            Namespaces::Watched(follow(all, any(), &tell, stop))
        } else {
            let disabled = Arc::new(Mutex::new(HashSet::new()));
            let looking = look(client.clone(), scope.namespaces, Arc::clone(&disabled), Arc::clone(&tell));
            let stop = stop.clone();
            tokio::spawn(async move { stop.run_until_cancelled(looking).await });
            Namespaces::Looked(disabled)
        };
        Self {
            objects,
            switch,
            namespaces,
            own_namespace: scope.own_namespace,
            step: scope.step,
            changed,
            parsed: Mutex::default(),
            seen: OnceCell::new(),
        }
    }

    /// Waits until everything that decides about acting was seen once: the objects and the kill switch. One of several
    /// callers waits for the stores and tells the others: a store wakes only the last one who asked.
    pub async fn ready(&self) -> bool {
        let all = async || {
            for store in &self.objects {
                if store.wait_until_ready().await.is_err() {
                    return false;
                }
            }
            self.switch.wait_until_ready().await.is_ok()
        };
        *self.seen.get_or_init(all).await
    }

    /// Tells of changes.
    pub fn changes(&self) -> watch::Receiver<()> {
        self.changed.clone()
    }

    /// All objects that are there and not on their way out.
    pub fn found(&self) -> Vec<Arc<Found>> {
        let mut parsed = self.parsed.lock().unwrap_or_else(PoisonError::into_inner);
        let mut kept = Parsed::with_capacity(parsed.len());
        let mut all = Vec::new();
        for object in self.objects.iter().flat_map(Store::state) {
            let meta = object.meta();
            if meta.deletion_timestamp.is_some() {
                continue;
            }
            let version = (meta.uid.clone().unwrap_or_default(), meta.generation);
            let workload = parsed.remove(&version).unwrap_or_else(|| parse(&object, self.step));
            kept.insert(version.clone(), workload.clone());
            all.push(Arc::new(Found {
                key: ObjectKey {
                    namespace: meta.namespace.clone().unwrap_or_default(),
                    name: meta.name.clone().unwrap_or_default(),
                },
                uid: version.0,
                generation: meta.generation,
                created_s: meta.creation_timestamp.as_ref().map(|time| time.0.as_second()),
                disabled: switch::annotated(meta.annotations.as_ref()),
                workload,
            }));
        }
        *parsed = kept;
        all
    }

    /// The object of this name as it was seen last.
    pub fn object(&self, key: &ObjectKey) -> Option<Arc<Guarded>> {
        let reference = reflector::ObjectRef::new(&key.name).within(&key.namespace);
        self.objects.iter().find_map(|store| store.get(&reference))
    }

    /// Does the ConfigMap stop everything? Then what to tell.
    pub fn stopped(&self) -> Option<String> {
        let map = self.switch.state().into_iter().next()?;
        let nothing = BTreeMap::new();
        switch::config_map(&self.own_namespace, Some(map.data.as_ref().unwrap_or(&nothing)))
    }

    /// Is the namespace switched off by its annotation?
    pub fn namespace_disabled(&self, namespace: &str) -> bool {
        match &self.namespaces {
            Namespaces::Watched(store) => store
                .get(&reflector::ObjectRef::new(namespace))
                .is_some_and(|found| switch::annotated(found.metadata.annotations.as_ref())),
            Namespaces::Looked(disabled) => {
                disabled.lock().unwrap_or_else(PoisonError::into_inner).contains(namespace)
            }
        }
    }
}

fn parse(object: &Guarded, step: Duration) -> Result<Arc<sphere_pipeline::Workload>, Vec<String>> {
    match &object.0 {
        Err(invalid) => Err(vec![invalid.error.clone()]),
        Ok(object) => to_workload(object, step)
            .map(Arc::new)
            .map_err(|invalid| invalid.problems.iter().map(ToString::to_string).collect()),
    }
}

/// Watches into a store that can be read at any time.
fn follow<K>(
    api: Api<K>,
    config: watcher::Config,
    tell: &Arc<watch::Sender<()>>,
    stop: &CancellationToken,
) -> Store<K>
where
    K: Resource + Clone + DeserializeOwned + Debug + Send + Sync + 'static,
    K::DynamicType: Default + Eq + Hash + Clone + Send + Sync,
{
    let (store, writer) = reflector::store();
    let (tell, stop) = (Arc::clone(tell), stop.clone());
    let what = K::plural(&Default::default()).into_owned();
    let events = watcher(api, config)
        .default_backoff()
        .modify(|object: &mut K| {
            // Nobody here reads them, and they are half of an object.
            object.meta_mut().managed_fields = None;
        })
        .reflect(writer);
    tokio::spawn(async move {
        let mut events = std::pin::pin!(events);
        let mut failing = false;
        while let Some(Some(event)) = stop.run_until_cancelled(events.next()).await {
            match event {
                Ok(_) => {
                    if std::mem::take(&mut failing) {
                        debug!(what, "watch: goes on");
                    }
                    tell.send_replace(());
                }
                Err(error) => {
                    // The first time aloud: it is asked again with growing pauses for as long as it takes.
                    if std::mem::replace(&mut failing, true) {
                        debug!(what, %error, "watch");
                    } else {
                        warn!(what, %error, "watch: interrupted; what was seen last stays valid");
                    }
                }
            }
        }
    });
    store
}

/// Looks at the annotations of a few namespaces by name, which a Role in each of them can allow.
async fn look(
    client: Client,
    namespaces: Vec<String>,
    disabled: Arc<Mutex<HashSet<String>>>,
    tell: Arc<watch::Sender<()>>,
) {
    let api: Api<PartialObjectMeta<Namespace>> = Api::all(client);
    let mut told: HashSet<String> = HashSet::new();
    loop {
        for namespace in &namespaces {
            let off = match api.get(namespace).await {
                Ok(found) => switch::annotated(found.metadata.annotations.as_ref()),
                Err(kube::Error::Api(status)) if status.code == 403 => {
                    if told.insert(namespace.clone()) {
                        warn!(
                            namespace,
                            "the annotation of this namespace can not be read (get namespaces is forbidden): it can not switch us off"
                        );
                    }
                    continue;
                }
                Err(error) => {
                    debug!(namespace, %error, "the annotation of this namespace stays as it was seen last");
                    continue;
                }
            };
            let mut disabled = disabled.lock().unwrap_or_else(PoisonError::into_inner);
            let changed = if off { disabled.insert(namespace.clone()) } else { disabled.remove(namespace) };
            drop(disabled);
            if changed {
                tell.send_replace(());
            }
        }
        tokio::time::sleep(LOOK).await;
    }
}
