//! What is known of pods, sizes, kinds and other autoscalers?
//!
//! [`Cluster`] is shared by the metric source and the scale target of a process: one watch of pods, one of HPAs, one per kind
//! of `apps/v1` in use, and short memories for what is asked by name. Nothing here decides.

mod autoscalers;
mod kinds;
mod pods;
mod sizes;
mod watched;

pub use autoscalers::{FLOOR, Floor, HpaFacts, ORIGINAL};
pub use kinds::Kind;
pub use pods::PodFacts;
pub use sizes::SizeFacts;

pub(crate) use autoscalers::{floor_of, group_of};

use crate::config::KubernetesConfig;
use crate::error::{ApiError, Attempt};
use k8s_openapi::api::autoscaling::v2::HorizontalPodAutoscaler;
use k8s_openapi::api::core::v1::{Node, Pod};
use kinds::Kinds;
use kube::core::{DynamicObject, NamespaceResourceScope, Selector};
use kube::{Api, Client, Resource};
use pods::Startups;
use serde::de::DeserializeOwned;
use sizes::{Answer, FRESH_FOR, MOST_ANSWERS, SizedObject, WatchedSizes};
use sphere_core::WorkloadId;
use sphere_pipeline::Workload;
use std::collections::HashMap;
use std::fmt::Debug;
use std::future::Future;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;
use watched::{Facts, Watched};

/// What is known stays in use while a watch fails, for this long.
const WATCH_PATIENCE: Duration = Duration::from_secs(120);
/// How long the size of a node is believed.
const NODE_FRESH_FOR: Duration = Duration::from_secs(600);
/// How long it is believed that a node can not be read.
const NODE_ABSENT_FOR: Duration = Duration::from_secs(60);
/// Nodes remembered; beyond that all are asked for anew.
const MOST_NODES: usize = 16_384;

/// Kinds whose fields we know as well as the API server does.
const WATCHED_KINDS: [&str; 3] = ["Deployment", "StatefulSet", "ReplicaSet"];

/// A cluster, as far as it is known. See the module text.
pub struct Cluster {
    client: Client,
    config: KubernetesConfig,
    stop: CancellationToken,
    /// Namespaces watched; the empty one is the whole cluster.
    namespaces: Vec<String>,
    pods: Arc<Watched<PodFacts>>,
    startups: Arc<Startups>,
    autoscalers: Arc<Watched<HpaFacts>>,
    kinds: Kinds,
    watched_sizes: Mutex<HashMap<String, WatchedSizes>>,
    answers: Mutex<HashMap<WorkloadId, Answer>>,
    nodes: Mutex<HashMap<String, (Instant, Option<f64>)>>,
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    // A panic elsewhere leaves whole maps behind: every change under these locks is one insertion.
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Cluster {
    /// Begins to watch pods and HPAs, until `stop`.
    pub fn start(client: Client, config: KubernetesConfig, stop: CancellationToken) -> Arc<Self> {
        let namespaces = match config.namespaces.as_slice() {
            [] => vec![String::new()],
            some => some.to_vec(),
        };
        let startups = Arc::new(Startups::default());
        let noticing = Arc::clone(&startups);
        let notice = move |before: Option<&PodFacts>, now: &mut PodFacts, first: bool| {
            noticing.notice(before, now, first);
        };
        let cluster = Arc::new(Self {
            pods: Watched::new(&namespaces, Box::new(notice)),
            autoscalers: Watched::new(&namespaces, Box::new(|_, _, _| {})),
            startups,
            kinds: Kinds::default(),
            watched_sizes: Mutex::default(),
            answers: Mutex::default(),
            nodes: Mutex::default(),
            namespaces,
            client,
            config,
            stop,
        });
        cluster.follow::<Pod, _>(&cluster.pods, (), PodFacts::of);
        cluster.follow::<HorizontalPodAutoscaler, _>(&cluster.autoscalers, (), HpaFacts::of);
        cluster
    }

    fn follow<K, T>(&self, watched: &Arc<Watched<T>>, kind: K::DynamicType, facts: fn(K) -> Option<T>)
    where
        K: Resource + Clone + DeserializeOwned + Debug + Send + 'static,
        K: InNamespaces,
        T: Facts,
    {
        for namespace in &self.namespaces {
            let api = K::api(self.client.clone(), namespace, &kind);
            let attempt = Attempt::on_all("watch", &K::plural(&kind), &K::group(&kind), namespace);
            let (watched, stop) = (Arc::clone(watched), self.stop.clone());
            tokio::spawn(watched.follow(api, namespace.clone(), attempt, facts, stop));
        }
    }

    /// The client.
    pub fn client(&self) -> &Client {
        &self.client
    }

    /// How the cluster is read.
    pub fn config(&self) -> &KubernetesConfig {
        &self.config
    }

    /// Waits until pods and HPAs were listed.
    pub async fn synced(&self, patience: Duration) -> Result<(), ApiError> {
        let both = async { tokio::join!(self.pods.synced(), self.autoscalers.synced()) };
        if tokio::time::timeout(patience, both).await.is_ok() {
            return Ok(());
        }
        let failure = self.pods.failure().or_else(|| self.autoscalers.failure());
        Err(failure.unwrap_or_else(|| ApiError::Unavailable {
            attempt: Attempt::on_all("list", "pods", "", ""),
            detail: format!("not listed within {patience:?}"),
        }))
    }

    /// Carries out a request within the time one may take.
    pub(crate) async fn within<T>(
        &self,
        attempt: Attempt,
        request: impl Future<Output = kube::Result<T>>,
    ) -> Result<T, ApiError> {
        let patience = self.config.request_timeout();
        match tokio::time::timeout(patience, request).await {
            Ok(answer) => answer.map_err(|error| attempt.failed(&error)),
            Err(_) => {
                Err(ApiError::Unavailable { attempt, detail: format!("no answer within {patience:?}") })
            }
        }
    }

    /// HPAs that scale this workload. Whoever decides on them should ask [`Cluster::synced`] first.
    pub fn autoscalers_of(&self, id: &WorkloadId) -> Vec<Arc<HpaFacts>> {
        self.autoscalers.select(id.namespace(), |hpa| hpa.scales(id))
    }

    /// HPAs whose minimum we have set.
    pub fn floors(&self) -> Vec<Arc<HpaFacts>> {
        self.autoscalers.select_all(|hpa| hpa.floor.is_some())
    }

    /// May what is known of HPAs in this namespace be used?
    pub fn autoscalers_usable(&self, namespace: &str) -> Result<(), ApiError> {
        let attempt = Attempt::on_all("watch", "horizontalpodautoscalers", "autoscaling", namespace);
        self.autoscalers.usable(namespace, &attempt, WATCH_PATIENCE)
    }

    /// The pods that a selector chooses.
    pub fn pods_of(&self, namespace: &str, selector: &Selector) -> Result<Vec<Arc<PodFacts>>, ApiError> {
        let attempt = Attempt::on_all("watch", "pods", "", namespace);
        self.pods.usable(namespace, &attempt, WATCH_PATIENCE)?;
        Ok(pods::chosen(&self.pods, namespace, selector))
    }

    /// Start-ups of the pods chosen, numbered above `since`, and the highest number so far.
    pub fn startups_after(&self, since: u64, namespace: &str, selector: &Selector) -> (Vec<Duration>, u64) {
        self.startups.after(since, namespace, selector)
    }

    /// Under which path the API server knows a kind.
    pub async fn kind(&self, api_version: &str, kind: &str) -> Result<Kind, ApiError> {
        self.kinds.resolve(&self.client, api_version, kind).await
    }

    /// The size of a workload now.
    pub async fn size(&self, workload: &Workload) -> Result<SizeFacts, ApiError> {
        let target = &workload.spec.scale_target_ref;
        if group_of(&target.api_version) == "apps" && WATCHED_KINDS.contains(&target.kind.as_str()) {
            let kind = self.kind(&target.api_version, &target.kind).await?;
            let attempt = Attempt::on_all("watch", &kind.resource.plural, "apps", workload.id.namespace());
            let watched = self.watched_sizes(&target.kind, &kind);
            // Without the right to watch, and until the first list, the scale subresource answers.
            if watched.usable(workload.id.namespace(), &attempt, WATCH_PATIENCE).is_ok() {
                let found = watched.get(workload.id.namespace(), workload.id.name());
                let missing = || ApiError::NotFound {
                    attempt: Attempt { verb: "get", name: workload.id.name().into(), ..attempt },
                    detail: "there is no such object".into(),
                };
                return found.map(|sized| sized.size.clone()).ok_or_else(missing);
            }
        }
        if let Some(answer) = lock(&self.answers).get(&workload.id).filter(|a| a.at.elapsed() < FRESH_FOR) {
            return Ok(answer.size.clone());
        }
        let (api, attempt) = self.scale_of(workload, "get").await?;
        let scale = self.within(attempt, api.get_scale(workload.id.name())).await;
        let scale = scale.inspect_err(|error| self.forget_kind_if_gone(workload, error))?;
        let size = SizeFacts::of_scale(&scale);
        self.remember_answer(&workload.id, size.clone());
        Ok(size)
    }

    /// The selector of a workload's pods, as far as it is known without asking.
    pub(crate) fn known_selector(&self, workload: &Workload) -> Option<String> {
        let (id, target) = (&workload.id, &workload.spec.scale_target_ref);
        let watched = match group_of(&target.api_version) {
            "apps" => lock(&self.watched_sizes).get(&target.kind).cloned(),
            _ => None,
        };
        let watched = watched.and_then(|watched| watched.get(id.namespace(), id.name()));
        let text = match watched {
            Some(sized) => sized.size.selector_text.clone(),
            None => lock(&self.answers).get(id).and_then(|answer| answer.size.selector_text.clone()),
        };
        text.filter(|text| !text.is_empty())
    }

    /// Remembers what the scale subresource said.
    pub(crate) fn remember_answer(&self, id: &WorkloadId, size: SizeFacts) {
        let mut answers = lock(&self.answers);
        if answers.len() >= MOST_ANSWERS {
            answers.retain(|_, answer| answer.at.elapsed() < FRESH_FOR);
        }
        answers.insert(id.clone(), Answer { at: Instant::now(), size });
    }

    fn watched_sizes(&self, name: &str, kind: &Kind) -> WatchedSizes {
        let mut all = lock(&self.watched_sizes);
        if let Some(watched) = all.get(name) {
            return Arc::clone(watched);
        }
        let watched: WatchedSizes = Watched::new(&self.namespaces, Box::new(|_, _, _| {}));
        self.follow::<DynamicObject, _>(&watched, kind.resource.clone(), SizedObject::of);
        all.insert(name.to_owned(), Arc::clone(&watched));
        watched
    }

    /// The scale subresource of a workload, and what a request to it is called.
    pub(crate) async fn scale_of(
        &self,
        workload: &Workload,
        verb: &'static str,
    ) -> Result<(Api<DynamicObject>, Attempt), ApiError> {
        let target = &workload.spec.scale_target_ref;
        let (namespace, name) = (workload.id.namespace(), workload.id.name());
        let kind = self.kind(&target.api_version, &target.kind).await?;
        let resource = format!("{}/scale", kind.resource.plural);
        let attempt = Attempt::on_one(verb, &resource, &kind.resource.group, namespace, name);
        if !kind.scalable {
            // The definition may get one later.
            self.kinds.forget(&target.api_version, &target.kind);
            let detail = format!("{} has no scale subresource", target.kind);
            return Err(ApiError::Refused { attempt, detail });
        }
        Ok((Api::namespaced_with(self.client.clone(), namespace, &kind.resource), attempt))
    }

    /// A path that is not there any more is looked up anew.
    pub(crate) fn forget_kind_if_gone(&self, workload: &Workload, error: &ApiError) {
        if error.is_not_found() {
            let target = &workload.spec.scale_target_ref;
            self.kinds.forget(&target.api_version, &target.kind);
        }
    }

    /// Cores that a node gives to pods; `None` where that can not be read.
    pub async fn allocatable_cores(&self, node: &str) -> Option<f64> {
        if let Some((at, cores)) = lock(&self.nodes).get(node) {
            let fresh_for = if cores.is_some() { NODE_FRESH_FOR } else { NODE_ABSENT_FOR };
            if at.elapsed() < fresh_for {
                return *cores;
            }
        }
        let attempt = Attempt::on_one("get", "nodes", "", "", node);
        let asked = self.within(attempt, Api::<Node>::all(self.client.clone()).get(node)).await;
        let cores = match asked {
            Ok(node) => cores_of(&node),
            Err(error) => {
                tracing::debug!(%error, "kubernetes: the size of a node");
                None
            }
        };
        let mut nodes = lock(&self.nodes);
        if nodes.len() >= MOST_NODES {
            nodes.clear();
        }
        nodes.insert(node.to_owned(), (Instant::now(), cores));
        cores
    }
}

fn cores_of(node: &Node) -> Option<f64> {
    let allocatable = node.status.as_ref()?.allocatable.as_ref()?;
    let cores = allocatable.get("cpu")?.0.parse::<sphere_scaling::hpa::Quantity>().ok()?.as_f64();
    (cores > 0.0).then_some(cores)
}

/// Kinds whose objects live in namespaces, whether that is known when compiling or not.
trait InNamespaces: Resource + Sized {
    /// All objects of a namespace; of the whole cluster for the empty one.
    fn api(client: Client, namespace: &str, kind: &Self::DynamicType) -> Api<Self>;
}

impl InNamespaces for DynamicObject {
    fn api(client: Client, namespace: &str, kind: &Self::DynamicType) -> Api<Self> {
        match namespace {
            "" => Api::all_with(client, kind),
            namespace => Api::namespaced_with(client, namespace, kind),
        }
    }
}

impl InNamespaces for Pod {
    fn api(client: Client, namespace: &str, (): &()) -> Api<Self> {
        of_namespace(client, namespace)
    }
}

impl InNamespaces for HorizontalPodAutoscaler {
    fn api(client: Client, namespace: &str, (): &()) -> Api<Self> {
        of_namespace(client, namespace)
    }
}

fn of_namespace<K>(client: Client, namespace: &str) -> Api<K>
where
    K: Resource<DynamicType = (), Scope = NamespaceResourceScope>,
{
    match namespace {
        "" => Api::all(client),
        namespace => Api::namespaced(client, namespace),
    }
}
