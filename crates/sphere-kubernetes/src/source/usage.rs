//! What does metrics.k8s.io say of pods?
//!
//! One list per namespace, or one for the whole cluster where there are many namespaces, whatever the number of workloads. Two
//! readers that ask at the same moment share one list.
//!
//! The types are our own: those of the crate `k8s-metrics` demand `cpu` and `memory` in each container, so that one container
//! without would void the whole list; to the HPA it is a pod without a sample.

use crate::cluster::Cluster;
use crate::error::{ApiError, Attempt};
use k8s_openapi::apimachinery::pkg::api::resource::Quantity as K8sQuantity;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use serde::Deserialize;
use sphere_core::Timestamp;
use sphere_scaling::hpa::{ContainerUsage, Quantity, ResourceSample};
use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::Mutex;
use tokio::time::Instant;

/// API group of the resource metrics.
const GROUP: &str = "metrics.k8s.io";
/// The version every metrics server has, and the one the HPA asks for.
const PATH: &str = "/apis/metrics.k8s.io/v1beta1";
/// Namespaces up to which each is listed by itself, where the whole cluster may be listed.
const FEW_NAMESPACES: usize = 4;
/// How long a list serves. Metrics servers renew theirs every 15 s; the age of samples is judged by their own time.
const FRESH_FOR: Duration = Duration::from_millis(1500);

#[derive(Debug, Deserialize)]
struct List {
    items: Vec<Item>,
}

#[derive(Debug, Deserialize)]
struct Item {
    metadata: Meta,
    timestamp: Time,
    #[serde(default)]
    window: String,
    #[serde(default)]
    containers: Vec<Container>,
}

#[derive(Debug, Deserialize)]
struct Meta {
    name: String,
    #[serde(default)]
    namespace: String,
    #[serde(default)]
    labels: BTreeMap<String, String>,
}

#[derive(Debug, Deserialize)]
struct Container {
    name: String,
    #[serde(default)]
    usage: BTreeMap<String, K8sQuantity>,
}

/// What one pod uses.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Usage {
    pub namespace: String,
    /// Labels of the pod, where the metrics server passes them on.
    pub labels: BTreeMap<String, String>,
    pub sample: ResourceSample,
}

impl Usage {
    fn of(item: Item) -> Self {
        // Nobody uses less than nothing: such a value is a fault of its source, and missing. The HPA believes it.
        let milli = |(resource, quantity): (String, K8sQuantity)| {
            let milli = quantity.0.parse::<Quantity>().ok()?.milli();
            (milli >= 0).then_some((resource, milli))
        };
        let containers = item.containers.into_iter().map(|container| ContainerUsage {
            name: container.name,
            usage_milli: container.usage.into_iter().filter_map(milli).collect(),
        });
        let window = item.window.parse::<kube::core::Duration>().ok().map(Duration::from);
        let sample = ResourceSample {
            pod: item.metadata.name,
            containers: containers.collect(),
            at: Timestamp(item.timestamp.0.as_millisecond()),
            window_ms: window.map_or(0, |window| i64::try_from(window.as_millis()).unwrap_or(i64::MAX)),
        };
        Self { namespace: item.metadata.namespace, labels: item.metadata.labels, sample }
    }

    /// Recent enough to be believed?
    pub fn is_fresh(&self, at: Timestamp, stale_after: Duration) -> bool {
        at.since(self.sample.at) <= stale_after
    }
}

/// Usage by pod name, of one namespace or of all.
pub(crate) type Listed = Result<Arc<Vec<Usage>>, ApiError>;

type Slot = Arc<Mutex<Option<(Instant, Listed)>>>;

/// The last lists.
#[derive(Default)]
pub(crate) struct Usages {
    slots: Mutex<HashMap<String, Slot>>,
}

impl Usages {
    /// Usage of all pods in `namespaces`, by namespace.
    pub async fn of(&self, cluster: &Cluster, namespaces: &[&str]) -> HashMap<String, Listed> {
        let everything = cluster.config().namespaces.is_empty() && namespaces.len() > FEW_NAMESPACES;
        if everything {
            let listed = self.list(cluster, "").await;
            return namespaces.iter().map(|namespace| ((*namespace).to_owned(), listed.clone())).collect();
        }
        let each = namespaces
            .iter()
            .map(|namespace| async move { ((*namespace).to_owned(), self.list(cluster, namespace).await) });
        futures_util::future::join_all(each).await.into_iter().collect()
    }

    async fn list(&self, cluster: &Cluster, namespace: &str) -> Listed {
        let slot = Arc::clone(self.slots.lock().await.entry(namespace.to_owned()).or_default());
        // Held while asking: who comes second waits for the same list. Dropped with the future when that is cancelled.
        let mut slot = slot.lock().await;
        if let Some((at, listed)) = slot.as_ref().filter(|(at, _)| at.elapsed() < FRESH_FOR) {
            tracing::trace!(namespace, age = ?at.elapsed(), "kubernetes: usage of pods, shared");
            return listed.clone();
        }
        let listed = fetch(cluster, namespace).await.map(Arc::new);
        if let Err(error) = &listed {
            // Once per list, not once per workload.
            tracing::warn!(%error, "kubernetes: usage of pods");
        }
        *slot = Some((Instant::now(), listed.clone()));
        listed
    }
}

async fn fetch(cluster: &Cluster, namespace: &str) -> Result<Vec<Usage>, ApiError> {
    let path = match namespace {
        "" => format!("{PATH}/pods"),
        namespace => format!("{PATH}/namespaces/{namespace}/pods"),
    };
    let attempt = Attempt::on_all("list", "pods", GROUP, namespace);
    let list: List = super::get(cluster, attempt, &path).await?;
    Ok(list.items.into_iter().map(Usage::of).collect())
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn usage(containers: &serde_json::Value) -> Usage {
        Usage::of(
            serde_json::from_value(json!({
                "metadata": {"name": "a", "namespace": "shop", "labels": {"app": "web"}},
                "timestamp": "2026-01-01T00:00:30Z", "window": "14.982s", "containers": containers,
            }))
            .unwrap(),
        )
    }

    #[test]
    fn usage_is_read_to_the_milli_unit_as_the_hpa_does() {
        let usage = usage(&json!([{"name": "app", "usage": {"cpu": "6082165n", "memory": "22272Ki"}}]));
        let cpu = usage.sample.usage("cpu", None).unwrap();
        assert_eq!((cpu.value_milli, cpu.window_ms, cpu.at.millis()), (7, 14_982, 1_767_225_630_000));
        assert_eq!(usage.sample.usage("memory", None).unwrap().value_milli, 22_272 * 1024 * 1000);
    }

    #[test]
    fn a_container_without_the_resource_makes_its_pod_missing_and_nothing_else() {
        let usage = usage(&json!([{"name": "app", "usage": {"cpu": "5m"}}, {"name": "new"}]));
        assert_eq!(usage.sample.usage("cpu", None), None);
        assert_eq!(usage.sample.usage("cpu", Some("app")).unwrap().value_milli, 5);
    }

    #[test]
    fn a_negative_usage_is_missing() {
        let usage = usage(&json!([{"name": "app", "usage": {"cpu": "-1", "memory": "1Mi"}}]));
        assert_eq!(usage.sample.usage("cpu", None), None);
        assert!(usage.sample.usage("memory", None).is_some());
    }

    #[test]
    fn old_samples_are_not_fresh() {
        let usage = usage(&json!([]));
        let at = |s: i64| Timestamp(usage.sample.at.millis() + s * 1000);
        assert!(usage.is_fresh(at(120), Duration::from_secs(120)));
        assert!(!usage.is_fresh(at(121), Duration::from_secs(120)));
    }
}
