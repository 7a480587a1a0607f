//! How many replicas does a workload have, and which pods are its own?
//!
//! Deployments, StatefulSets and ReplicaSets are watched, from the first time one of them is asked for: five hundred workloads
//! would else cost a request each per sync. Other kinds, and these where we may not watch, are asked through their
//! scale subresource; an answer serves for a moment, so that the metric source and the scale target of one sync share it.

use super::watched::{Facts, Watched};
use crate::selector;
use k8s_openapi::api::autoscaling::v1::Scale as ScaleObject;
use kube::core::{DynamicObject, Selector};
use serde_json::Value;
use sphere_scaling::hpa::{LabelSelector, Scale};
use std::sync::Arc;
use std::time::Duration;
use tokio::time::Instant;

/// How long an answer of a scale subresource serves.
pub(crate) const FRESH_FOR: Duration = Duration::from_millis(1500);
/// Answers remembered at most.
pub(crate) const MOST_ANSWERS: usize = 16_384;

/// The size of a workload and how its pods are found.
#[derive(Clone, Debug)]
pub struct SizeFacts {
    /// Replicas asked for, and replicas there are.
    pub scale: Scale,
    /// The selector as the API server writes it; absent or empty where the object has none.
    pub selector_text: Option<String>,
    /// The selector, where it can be read.
    pub selector: Option<Arc<Selector>>,
}

impl SizeFacts {
    fn new(scale: Scale, text: Option<String>) -> Self {
        let selector = text.as_deref().and_then(|text| selector::parse(text).ok()).map(Arc::new);
        Self { scale, selector_text: text, selector }
    }

    /// From a scale subresource.
    pub(crate) fn of_scale(scale: &ScaleObject) -> Self {
        // Absent is 0 here: the API leaves a zero out.
        let asked = scale.spec.as_ref().and_then(|spec| spec.replicas).unwrap_or(0);
        let there = scale.status.as_ref().map_or(0, |status| status.replicas);
        let text = scale.status.as_ref().and_then(|status| status.selector.clone());
        Self::new(Scale { spec_replicas: asked, status_replicas: there }, text)
    }
}

/// A Deployment, StatefulSet or ReplicaSet.
#[derive(Clone, Debug)]
pub(crate) struct SizedObject {
    namespace: String,
    name: String,
    pub size: SizeFacts,
}

impl Facts for SizedObject {
    fn namespace(&self) -> &str {
        &self.namespace
    }
    fn name(&self) -> &str {
        &self.name
    }
}

impl SizedObject {
    /// The size of an object whose fields are those of the kinds of `apps/v1`.
    pub fn of(object: DynamicObject) -> Option<Self> {
        let data = &object.data;
        let number = |value: &Value| i32::try_from(value.as_i64()?).ok();
        // The API server sets 1 where the owner left it out; a status without replicas has none.
        let asked = number(&data["spec"]["replicas"]).unwrap_or(1);
        let there = number(&data["status"]["replicas"]).unwrap_or(0);
        let labels: Option<LabelSelector> = serde_json::from_value(data["spec"]["selector"].clone()).ok();
        let text = labels.map(|labels| selector::text_of(&labels));
        let scale = Scale { spec_replicas: asked, status_replicas: there };
        let size = SizeFacts::new(scale, text);
        Some(Self { namespace: object.metadata.namespace?, name: object.metadata.name?, size })
    }
}

/// The objects of one kind of `apps/v1`.
pub(crate) type WatchedSizes = Arc<Watched<SizedObject>>;

/// An answer of a scale subresource, and when it came.
#[derive(Clone, Debug)]
pub(crate) struct Answer {
    pub at: Instant,
    pub size: SizeFacts,
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn a_zero_that_was_left_out_is_zero() {
        let scale: ScaleObject = serde_json::from_value(json!({
            "metadata": {"name": "web", "namespace": "shop"}, "spec": {},
            "status": {"replicas": 0, "selector": "app=web"},
        }))
        .unwrap();
        let size = SizeFacts::of_scale(&scale);
        assert_eq!(size.scale, Scale { spec_replicas: 0, status_replicas: 0 });
        assert!(size.selector.is_some());
    }

    #[test]
    fn watched_objects_and_scale_subresources_say_the_same() {
        let object: DynamicObject = serde_json::from_value(json!({
            "apiVersion": "apps/v1", "kind": "Deployment", "metadata": {"name": "web", "namespace": "shop"},
            "spec": {"replicas": 3, "selector": {"matchLabels": {"app": "web"},
                     "matchExpressions": [{"key": "tier", "operator": "In", "values": ["a"]}]}},
            "status": {"replicas": 2},
        }))
        .unwrap();
        let watched = SizedObject::of(object).unwrap().size;
        assert_eq!(watched.scale, Scale { spec_replicas: 3, status_replicas: 2 });
        assert_eq!(watched.selector_text.as_deref(), Some("app=web,tier in (a)"));
    }

    #[test]
    fn an_empty_selector_chooses_no_pods() {
        let size = SizeFacts::new(Scale { spec_replicas: 1, status_replicas: 1 }, Some(String::new()));
        assert!(size.selector.is_none());
    }
}
