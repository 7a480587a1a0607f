//! What do the objects of a kind look like now?
//!
//! A list and a watch, kept up by kube's watcher; of every object only the facts we need are remembered, by namespace and
//! name. (kube's reflector keeps whole objects: for ten thousand pods that is 100 MB of specs nobody looks at.)
//!
//! A watch that is silent and a watch that is broken look alike for a moment. What is known stays in use while the
//! watch fails, for a stated time; then it is too old to decide on.

use crate::error::{ApiError, Attempt};
use futures_util::StreamExt;
use kube::runtime::{WatchStreamExt, watcher};
use kube::{Api, Resource};
use serde::de::DeserializeOwned;
use std::collections::{BTreeMap, HashMap};
use std::fmt::Debug;
use std::pin::pin;
use std::sync::{Arc, PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard};
use std::time::Duration;
use tokio::sync::Notify;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;
use tracing::{debug, warn};

/// Errors further apart than this belong to different failures: pauses between tries grow to 30 s, and a try may take as long.
const ONE_FAILURE: Duration = Duration::from_secs(90);

/// What is remembered of an object.
pub(crate) trait Facts: Send + Sync + Sized + 'static {
    /// Its namespace.
    fn namespace(&self) -> &str;
    /// Its name.
    fn name(&self) -> &str;
}

type ByNamespace<T> = HashMap<String, BTreeMap<String, Arc<T>>>;

/// How one list and watch is doing.
#[derive(Clone, Debug, Default)]
struct Standing {
    synced: bool,
    failure: Option<Failure>,
}

#[derive(Clone, Debug)]
struct Failure {
    since: Instant,
    last: Instant,
    error: ApiError,
}

struct Inner<T> {
    all: ByNamespace<T>,
    /// By namespace watched; the empty one is the whole cluster.
    standing: BTreeMap<String, Standing>,
}

/// Called with what was known, what is known now, and whether this is the first list.
type Changed<T> = Box<dyn Fn(Option<&T>, &mut T, bool) + Send + Sync>;

/// The objects of one kind. See the module text.
pub(crate) struct Watched<T> {
    inner: RwLock<Inner<T>>,
    news: Notify,
    changed: Changed<T>,
}

impl<T: Facts> Watched<T> {
    /// Nothing known; `namespaces` will be watched (the empty one: the whole cluster).
    pub fn new(namespaces: &[String], changed: Changed<T>) -> Arc<Self> {
        let standing = namespaces.iter().map(|ns| (ns.clone(), Standing::default())).collect();
        let inner = RwLock::new(Inner { all: HashMap::new(), standing });
        Arc::new(Self { inner, news: Notify::new(), changed })
    }

    // A panic elsewhere leaves whole maps behind: every write here is one assignment.
    fn read(&self) -> RwLockReadGuard<'_, Inner<T>> {
        self.inner.read().unwrap_or_else(PoisonError::into_inner)
    }

    fn write(&self) -> RwLockWriteGuard<'_, Inner<T>> {
        self.inner.write().unwrap_or_else(PoisonError::into_inner)
    }

    /// The objects of a namespace that `wanted` chooses, by name.
    pub fn select(&self, namespace: &str, mut wanted: impl FnMut(&T) -> bool) -> Vec<Arc<T>> {
        let inner = self.read();
        let all = inner.all.get(namespace).into_iter().flat_map(BTreeMap::values);
        all.filter(|facts| wanted(facts)).cloned().collect()
    }

    /// All objects that `wanted` chooses.
    pub fn select_all(&self, mut wanted: impl FnMut(&T) -> bool) -> Vec<Arc<T>> {
        let inner = self.read();
        inner.all.values().flat_map(BTreeMap::values).filter(|facts| wanted(facts)).cloned().collect()
    }

    /// One object.
    pub fn get(&self, namespace: &str, name: &str) -> Option<Arc<T>> {
        self.read().all.get(namespace)?.get(name).cloned()
    }

    /// May what is known of a namespace be used? Not before the first list, nor when the watch has failed for `patience`.
    pub fn usable(&self, namespace: &str, attempt: &Attempt, patience: Duration) -> Result<(), ApiError> {
        let inner = self.read();
        let Some(standing) = inner.standing.get(namespace).or_else(|| inner.standing.get("")) else {
            let detail = format!("{namespace} is not among the namespaces that SPHERE works in");
            return Err(ApiError::NotFound { attempt: attempt.clone(), detail });
        };
        let failing = standing.failure.as_ref().filter(|failure| failure.last.elapsed() < ONE_FAILURE);
        match (standing.synced, failing) {
            (true, Some(failure)) if failure.since.elapsed() > patience => Err(failure.error.clone()),
            (true, _) => Ok(()),
            (false, Some(failure)) => Err(failure.error.clone()),
            (false, None) => {
                let detail = "not listed yet".into();
                Err(ApiError::Unavailable { attempt: attempt.clone(), detail })
            }
        }
    }

    /// Waits until everything was listed once.
    pub async fn synced(&self) {
        loop {
            let news = self.news.notified();
            if self.read().standing.values().all(|standing| standing.synced) {
                return;
            }
            news.await;
        }
    }

    /// The first failure that keeps a list from being there.
    pub fn failure(&self) -> Option<ApiError> {
        let inner = self.read();
        inner.standing.values().filter(|s| !s.synced).find_map(|s| Some(s.failure.as_ref()?.error.clone()))
    }

    /// Lists and watches `namespace` until `stop`.
    pub async fn follow<K>(
        self: Arc<Self>,
        api: Api<K>,
        namespace: String,
        attempt: Attempt,
        facts: impl Fn(K) -> Option<T>,
        stop: CancellationToken,
    ) where
        K: Resource + Clone + DeserializeOwned + Debug + Send + 'static,
    {
        let mut events = pin!(watcher(api, watcher::Config::default()).default_backoff());
        let mut listed: ByNamespace<T> = HashMap::new();
        loop {
            let event = tokio::select! {
                () = stop.cancelled() => return,
                event = events.next() => event,
            };
            match event {
                None => return,
                Some(Err(error)) => self.failed(&namespace, failure(&attempt, error)),
                Some(Ok(watcher::Event::Init)) => listed.clear(),
                Some(Ok(watcher::Event::InitApply(object))) => {
                    if let Some(facts) = facts(object) {
                        let first = !self.is_synced(&namespace);
                        let facts = self.changed(facts, first);
                        insert(&mut listed, facts);
                    }
                }
                Some(Ok(watcher::Event::InitDone)) => self.replace(&namespace, std::mem::take(&mut listed)),
                Some(Ok(watcher::Event::Apply(object))) => {
                    if let Some(facts) = facts(object) {
                        let facts = self.changed(facts, false);
                        insert(&mut self.write().all, facts);
                    }
                }
                Some(Ok(watcher::Event::Delete(object))) => {
                    let meta = object.meta();
                    let (of, name) = (meta.namespace.as_deref().unwrap_or_default(), meta.name.as_deref());
                    if let (Some(all), Some(name)) = (self.write().all.get_mut(of), name) {
                        all.remove(name);
                    }
                }
            }
        }
    }

    fn changed(&self, mut facts: T, first: bool) -> T {
        let before = self.get(facts.namespace(), facts.name());
        (self.changed)(before.as_deref(), &mut facts, first);
        facts
    }

    fn is_synced(&self, namespace: &str) -> bool {
        self.read().standing.get(namespace).is_some_and(|standing| standing.synced)
    }

    fn replace(&self, namespace: &str, mut listed: ByNamespace<T>) {
        let mut inner = self.write();
        if namespace.is_empty() {
            inner.all = listed;
        } else {
            let all = listed.remove(namespace).unwrap_or_default();
            inner.all.insert(namespace.to_owned(), all);
        }
        let standing = Standing { synced: true, failure: None };
        inner.standing.insert(namespace.to_owned(), standing);
        drop(inner);
        self.news.notify_waiters();
    }

    fn failed(&self, namespace: &str, error: ApiError) {
        let mut inner = self.write();
        let standing = inner.standing.entry(namespace.to_owned()).or_default();
        let now = Instant::now();
        let running = standing.failure.as_ref().filter(|f| now.duration_since(f.last) < ONE_FAILURE);
        match running {
            // Told once per failure; a watch that expired (410) is everyday life.
            None if !error.is_not_found() => warn!(%error, "kubernetes: watch"),
            _ => debug!(%error, "kubernetes: watch"),
        }
        let since = running.map_or(now, |failure| failure.since);
        standing.failure = Some(Failure { since, last: now, error });
    }
}

fn insert<T: Facts>(all: &mut ByNamespace<T>, facts: T) {
    let of = all.entry(facts.namespace().to_owned()).or_default();
    of.insert(facts.name().to_owned(), Arc::new(facts));
}

fn failure(attempt: &Attempt, error: watcher::Error) -> ApiError {
    let attempt = attempt.clone();
    match error {
        watcher::Error::InitialListFailed(error)
        | watcher::Error::WatchStartFailed(error)
        | watcher::Error::WatchFailed(error) => attempt.failed(&error),
        watcher::Error::WatchError(status) => attempt.failed(&kube::Error::Api(status)),
        watcher::Error::NoResourceVersion => {
            ApiError::BadAnswer { attempt, detail: "no resourceVersion in the list".into() }
        }
    }
}
