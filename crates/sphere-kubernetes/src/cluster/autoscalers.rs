//! Which HorizontalPodAutoscalers are there, and which minimum did we set on them?

use super::watched::Facts;
use k8s_openapi::api::autoscaling::v2::HorizontalPodAutoscaler;
use sphere_core::WorkloadId;
use std::collections::BTreeMap;

/// Annotation with the minimum we have set.
pub const FLOOR: &str = "autoscaling.sphere.dev/floor";
/// Annotation with the minimum its owner has set, which it gets back.
pub const ORIGINAL: &str = "autoscaling.sphere.dev/original-min-replicas";

/// A minimum we have set. It is kept on the HPA itself, written together with `minReplicas`: so it survives our restart and
/// the deletion of the PredictiveAutoscaler, and can not disagree with the field.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Floor {
    /// As set by us.
    pub set: u32,
    /// As its owner had set it.
    pub original: u32,
}

/// What is remembered of an HPA.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HpaFacts {
    /// Its namespace.
    pub namespace: String,
    /// Its name.
    pub name: String,
    /// Who controls it, as `Kind/name` (`ScaledObject/web`): whatever is set on it is set back.
    pub owner: Option<String>,
    /// API group of its target.
    pub target_group: String,
    /// Kind of its target.
    pub target_kind: String,
    /// Name of its target.
    pub target_name: String,
    /// Fewest replicas.
    pub min_replicas: u32,
    /// Most replicas.
    pub max_replicas: u32,
    /// Replicas it found.
    pub current_replicas: Option<u32>,
    /// Replicas it wants.
    pub desired_replicas: Option<u32>,
    /// What we have set.
    pub floor: Option<Floor>,
}

impl Facts for HpaFacts {
    fn namespace(&self) -> &str {
        &self.namespace
    }
    fn name(&self) -> &str {
        &self.name
    }
}

fn count(n: i32) -> u32 {
    n.max(0).unsigned_abs()
}

/// Both annotations, or nothing: with one alone there is nothing to give back.
pub(crate) fn floor_of(annotations: Option<&BTreeMap<String, String>>) -> Option<Floor> {
    let number = |key| annotations?.get(key)?.parse().ok();
    Some(Floor { set: number(FLOOR)?, original: number(ORIGINAL)? })
}

/// The API group in an `apiVersion`; empty for the core group.
pub(crate) fn group_of(api_version: &str) -> &str {
    api_version.split_once('/').map_or("", |(group, _)| group)
}

impl HpaFacts {
    /// The facts of an HPA.
    pub fn of(hpa: HorizontalPodAutoscaler) -> Option<Self> {
        let (meta, spec) = (hpa.metadata, hpa.spec);
        let status = hpa.status.as_ref();
        let controller = meta.owner_references.iter().flatten().find(|owner| owner.controller == Some(true));
        Some(Self {
            floor: floor_of(meta.annotations.as_ref()),
            owner: controller.map(|owner| format!("{}/{}", owner.kind, owner.name)),
            namespace: meta.namespace?,
            name: meta.name?,
            target_group: group_of(spec.scale_target_ref.api_version.as_deref().unwrap_or_default())
                .to_owned(),
            target_kind: spec.scale_target_ref.kind,
            target_name: spec.scale_target_ref.name,
            min_replicas: spec.min_replicas.map_or(1, count),
            max_replicas: count(spec.max_replicas),
            current_replicas: status.and_then(|status| status.current_replicas).map(count),
            desired_replicas: status.map(|status| count(status.desired_replicas)),
        })
    }

    /// Does it scale this workload? Its API group is not part of a workload's identity.
    pub fn scales(&self, id: &WorkloadId) -> bool {
        self.namespace == id.namespace() && self.target_kind == id.kind() && self.target_name == id.name()
    }

    /// The workload it scales, if it can be named.
    pub fn workload(&self) -> Option<WorkloadId> {
        WorkloadId::new(&self.namespace, &self.target_kind, &self.target_name).ok()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn an_hpa_tells_whom_it_scales_and_what_we_set() {
        let facts = HpaFacts::of(
            serde_json::from_value(json!({
                "metadata": {"name": "web", "namespace": "shop",
                    "annotations": {FLOOR: "5", ORIGINAL: "2"},
                    "ownerReferences": [{"apiVersion": "keda.sh/v1alpha1", "kind": "ScaledObject", "name": "web",
                                         "uid": "1", "controller": true}]},
                "spec": {"minReplicas": 5, "maxReplicas": 10,
                         "scaleTargetRef": {"apiVersion": "apps/v1", "kind": "Deployment", "name": "web"}},
                "status": {"desiredReplicas": 6, "currentReplicas": 5},
            }))
            .unwrap(),
        )
        .unwrap();
        assert!(facts.scales(&"shop/Deployment/web".parse().unwrap()));
        assert!(!facts.scales(&"shop/StatefulSet/web".parse().unwrap()));
        assert_eq!(facts.floor, Some(Floor { set: 5, original: 2 }));
        assert_eq!(facts.owner.as_deref(), Some("ScaledObject/web"));
        assert_eq!((facts.target_group.as_str(), facts.desired_replicas), ("apps", Some(6)));
    }

    #[test]
    fn half_a_memory_is_none() {
        for (key, value) in [(FLOOR, "5"), (ORIGINAL, "2"), (FLOOR, "five")] {
            assert_eq!(floor_of(Some(&BTreeMap::from([(key.into(), value.into())]))), None);
        }
    }
}
