//! What do custom.metrics.k8s.io and external.metrics.k8s.io say?
//!
//! Paths and rules are those of the HPA's own client (`k8s.io/metrics`): pods by label selector, other objects by resource and
//! name, a namespace by itself, external metrics by namespace and name. The types are our own because the names of metrics
//! are part of the path; those of `k8s-metrics` fix them when compiling.

use crate::cluster::{Cluster, Kind, group_of};
use crate::error::{ApiError, Attempt};
use crate::selector;
use k8s_openapi::apimachinery::pkg::api::resource::Quantity as K8sQuantity;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{APIGroup, Time};
use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, utf8_percent_encode};
use serde::Deserialize;
use sphere_core::Timestamp;
use sphere_scaling::hpa::{CustomSample, MetricIdentifier, ObjectReference, PodSample, Quantity};
use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;
use tokio::time::Instant;

/// Group of metrics that describe objects.
const CUSTOM: &str = "custom.metrics.k8s.io";
/// Group of metrics from outside.
const EXTERNAL: &str = "external.metrics.k8s.io";
/// Window of a sample whose source gives none, milliseconds: what the HPA assumes.
const WINDOW_MS: i64 = 60_000;
/// How long the version of a group is believed: adapters come and go with their deployments.
const VERSION_FRESH_FOR: Duration = Duration::from_secs(300);

/// What may stand in a path as it is.
const SEGMENT: &AsciiSet = &NON_ALPHANUMERIC.remove(b'-').remove(b'_').remove(b'.').remove(b'~').remove(b'*');

fn segment(text: &str) -> String {
    utf8_percent_encode(text, SEGMENT).to_string()
}

#[derive(Debug, Deserialize)]
struct List<T> {
    items: Vec<T>,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
struct CustomItem {
    described_object: Described,
    timestamp: Time,
    // `window` in v1beta1.
    #[serde(default, alias = "window")]
    window_seconds: Option<i64>,
    value: K8sQuantity,
}

#[derive(Debug, Deserialize)]
struct Described {
    #[serde(default)]
    name: String,
}

#[derive(Debug, Deserialize)]
struct ExternalItem {
    value: K8sQuantity,
}

/// A value in milli-units. The HPA would believe a negative one and scale in on it; demand is never negative.
fn milli(value: &K8sQuantity, attempt: &Attempt) -> Result<i64, ApiError> {
    let refused = |detail: String| ApiError::BadAnswer { attempt: attempt.clone(), detail };
    match value.0.parse::<Quantity>().map(Quantity::milli) {
        Ok(milli) if milli >= 0 => Ok(milli),
        Ok(_) => Err(refused(format!("a value of {}; none below 0 is accepted", value.0))),
        Err(error) => Err(refused(error.to_string())),
    }
}

/// Which version of a group there is.
#[derive(Default)]
pub(crate) struct Versions {
    known: Mutex<HashMap<&'static str, (Instant, String)>>,
}

impl Versions {
    /// The first of `accepted` that the API server has.
    async fn of(
        &self,
        cluster: &Cluster,
        group: &'static str,
        accepted: &[&str],
    ) -> Result<String, ApiError> {
        if let Some((at, version)) = self.known.lock().unwrap_or_else(PoisonError::into_inner).get(group)
            && at.elapsed() < VERSION_FRESH_FOR
        {
            return Ok(version.clone());
        }
        let attempt = Attempt::on_all("get", "API versions", group, "");
        let found: APIGroup = super::get(cluster, attempt.clone(), &format!("/apis/{group}")).await?;
        let has = |wanted: &&&str| found.versions.iter().any(|there| there.version == **wanted);
        let version = accepted.iter().find(has).map(|version| (*version).to_owned()).ok_or_else(|| {
            let there: Vec<&str> = found.versions.iter().map(|v| v.version.as_str()).collect();
            let detail = format!("{} expected, there is {}", accepted.join(" or "), there.join(", "));
            ApiError::NotFound { attempt, detail }
        })?;
        let mut known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        known.insert(group, (Instant::now(), version.clone()));
        Ok(version)
    }

    async fn custom(&self, cluster: &Cluster) -> Result<String, ApiError> {
        self.of(cluster, CUSTOM, &["v1beta2", "v1beta1"]).await
    }

    /// A metric of the pods that `pods` (the text of a selector) chooses.
    pub async fn of_pods(
        &self,
        cluster: &Cluster,
        namespace: &str,
        pods: &str,
        metric: &MetricIdentifier,
    ) -> Result<Vec<CustomSample>, ApiError> {
        let version = self.custom(cluster).await?;
        let name = segment(&metric.name);
        let mut path = format!(
            "/apis/{CUSTOM}/{version}/namespaces/{namespace}/pods/*/{name}?labelSelector={}",
            segment(pods)
        );
        push_selector(&mut path, "metricLabelSelector", metric);
        let attempt = Attempt::on_one("get", &format!("pods/{}", metric.name), CUSTOM, namespace, "*");
        let list: List<CustomItem> = super::get(cluster, attempt.clone(), &path).await?;
        let sample = |item: CustomItem| -> Result<CustomSample, ApiError> {
            let sample = PodSample {
                value_milli: milli(&item.value, &attempt)?,
                at: Timestamp(item.timestamp.0.as_millisecond()),
                window_ms: item.window_seconds.map_or(WINDOW_MS, |seconds| seconds.saturating_mul(1000)),
            };
            Ok(CustomSample { pod: item.described_object.name, sample })
        };
        list.items.into_iter().map(sample).collect()
    }

    /// A metric of another object, milli-units.
    pub async fn of_object(
        &self,
        cluster: &Cluster,
        namespace: &str,
        object: &ObjectReference,
        metric: &MetricIdentifier,
    ) -> Result<i64, ApiError> {
        let version = self.custom(cluster).await?;
        let api_version = object.api_version.as_deref().filter(|v| !v.is_empty()).unwrap_or("v1");
        let name = segment(&metric.name);
        let of = if object.kind == "Namespace" && group_of(api_version).is_empty() {
            // Its own namespace, whatever name is given: a spec may not look into others.
            format!("namespaces/{namespace}/metrics")
        } else {
            let kind = cluster.kind(api_version, &object.kind).await?;
            format!("namespaces/{namespace}/{}/{}", segment(&resource_of(&kind)), segment(&object.name))
        };
        let mut path = format!("/apis/{CUSTOM}/{version}/{of}/{name}");
        push_selector(&mut path, "metricLabelSelector", metric);
        let attempt = Attempt::on_one(
            "get",
            &format!("{}/{}", object.kind, metric.name),
            CUSTOM,
            namespace,
            &object.name,
        );
        let list: List<CustomItem> = super::get(cluster, attempt.clone(), &path).await?;
        match list.items.as_slice() {
            [one] => milli(&one.value, &attempt),
            items => {
                let detail = format!("{} values, one expected", items.len());
                Err(ApiError::BadAnswer { attempt, detail })
            }
        }
    }

    /// The series of an external metric, milli-units.
    pub async fn external(
        &self,
        cluster: &Cluster,
        namespace: &str,
        metric: &MetricIdentifier,
    ) -> Result<Vec<i64>, ApiError> {
        let version = self.of(cluster, EXTERNAL, &["v1beta1"]).await?;
        let mut path = format!("/apis/{EXTERNAL}/{version}/namespaces/{namespace}/{}", segment(&metric.name));
        push_selector(&mut path, "labelSelector", metric);
        let attempt = Attempt::on_all("list", &metric.name, EXTERNAL, namespace);
        let list: List<ExternalItem> = super::get(cluster, attempt.clone(), &path).await?;
        list.items.iter().map(|item| milli(&item.value, &attempt)).collect()
    }
}

/// `ingresses.networking.k8s.io`; the core group has no name.
fn resource_of(kind: &Kind) -> String {
    match kind.resource.group.as_str() {
        "" => kind.resource.plural.clone(),
        group => format!("{}.{group}", kind.resource.plural),
    }
}

fn push_selector(path: &mut String, parameter: &str, metric: &MetricIdentifier) {
    let Some(selector) = &metric.selector else { return };
    let text = selector::text_of(selector);
    if !text.is_empty() {
        path.push(if path.contains('?') { '&' } else { '?' });
        path.push_str(&format!("{parameter}={}", segment(&text)));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_versions_of_a_value_read() {
        for (window, expected) in
            [("\"windowSeconds\": 30", Some(30)), ("\"window\": 30", Some(30)), ("\"x\": 1", None)]
        {
            let text = format!(
                r#"{{"describedObject": {{"kind": "Pod", "name": "a"}}, "metric": {{"name": "rps"}},
                    "timestamp": "2026-01-01T00:00:00Z", {window}, "value": "1500m"}}"#
            );
            let item: CustomItem = serde_json::from_str(&text).unwrap();
            assert_eq!((item.window_seconds, item.described_object.name.as_str()), (expected, "a"));
        }
    }

    #[test]
    fn selectors_and_odd_names_are_safe_in_a_path() {
        let metric: MetricIdentifier =
            serde_json::from_str(r#"{"name": "a/b c", "selector": {"matchLabels": {"queue": "x"}}}"#)
                .unwrap();
        assert_eq!(segment(&metric.name), "a%2Fb%20c");
        let mut path = "/p".to_owned();
        push_selector(&mut path, "labelSelector", &metric);
        assert_eq!(path, "/p?labelSelector=queue%3Dx");
        push_selector(&mut path, "more", &metric);
        assert!(path.ends_with("&more=queue%3Dx"));
        assert_eq!(segment("*"), "*");
    }
}
