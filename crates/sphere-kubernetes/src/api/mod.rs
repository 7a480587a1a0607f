//! What does the owner of a workload write, and what does he read back?
//!
//! A [`PredictiveAutoscaler`] is an object in the API server: its `spec` is the [`WorkloadSpec`] that the
//! configuration file lists, without the namespace, which is that of the object; its `status` is
//! [`PredictiveAutoscalerStatus`]. [`crd`] defines it for the API server: the schema is generated from the types, the
//! rules that a schema can not express are in CEL.
//!
//! `scaleTargetRef` may be changed, as in an HPA. All that SPHERE learns it keeps by workload, not by object: a change is one
//! workload less and another one more, and nothing learnt of the one is taken for the other.

mod definition;
mod rules;
mod status;
mod structural;

pub use definition::{crd, crd_yaml};
pub use status::{
    ConditionType, DECISIONS_KEPT, DecisionStatus, FloorStatus, ForecastStatus, LeadTimeStatus,
    PredictiveAutoscalerStatus, ReasonStatus, time, timestamp,
};

use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use serde::de::Error as _;
use serde::ser::{Error as _, SerializeStruct};
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use serde_json::{Map, Value};
use sphere_pipeline::workload::{Workload, WorkloadProblem, WorkloadSpec};
use std::borrow::Cow;
use std::time::Duration;

/// API group of our resources.
pub const GROUP: &str = "autoscaling.sphere.dev";
/// Their version.
pub const VERSION: &str = "v1alpha1";
/// Group and version.
pub const API_VERSION: &str = "autoscaling.sphere.dev/v1alpha1";
/// Kind of the resource.
pub const KIND: &str = "PredictiveAutoscaler";
/// Its name in paths and RBAC rules.
pub const PLURAL: &str = "predictiveautoscalers";

/// A workload that SPHERE takes care of, as an object in the API server.
#[derive(Clone, Debug, PartialEq)]
pub struct PredictiveAutoscaler {
    /// Name, namespace and all else that every object has.
    pub metadata: ObjectMeta,
    /// What its owner asks for. The namespace is that of the object.
    pub spec: WorkloadSpec,
    /// What SPHERE reports.
    pub status: Option<PredictiveAutoscalerStatus>,
}

impl PredictiveAutoscaler {
    /// An object without status, in the namespace of the spec.
    pub fn new(name: &str, spec: WorkloadSpec) -> Self {
        let metadata = ObjectMeta {
            name: Some(name.into()),
            namespace: Some(spec.namespace.clone()),
            ..ObjectMeta::default()
        };
        Self { metadata, spec, status: None }
    }
}

impl kube::Resource for PredictiveAutoscaler {
    type DynamicType = ();
    type Scope = kube::core::NamespaceResourceScope;

    fn kind((): &()) -> Cow<'_, str> {
        KIND.into()
    }
    fn group((): &()) -> Cow<'_, str> {
        GROUP.into()
    }
    fn version((): &()) -> Cow<'_, str> {
        VERSION.into()
    }
    fn api_version((): &()) -> Cow<'_, str> {
        API_VERSION.into()
    }
    fn plural((): &()) -> Cow<'_, str> {
        PLURAL.into()
    }
    fn meta(&self) -> &ObjectMeta {
        &self.metadata
    }
    fn meta_mut(&mut self) -> &mut ObjectMeta {
        &mut self.metadata
    }
}

/// Key of the namespace in a [`WorkloadSpec`], which an object has in its metadata instead.
const NAMESPACE: &str = "namespace";

impl Serialize for PredictiveAutoscaler {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut spec = serde_json::to_value(&self.spec).map_err(S::Error::custom)?;
        if let Value::Object(spec) = &mut spec {
            spec.remove(NAMESPACE);
        }
        let fields = 4 + usize::from(self.status.is_some());
        let mut object = serializer.serialize_struct(KIND, fields)?;
        object.serialize_field("apiVersion", API_VERSION)?;
        object.serialize_field("kind", KIND)?;
        object.serialize_field("metadata", &self.metadata)?;
        object.serialize_field("spec", &spec)?;
        if let Some(status) = &self.status {
            object.serialize_field("status", status)?;
        }
        object.end()
    }
}

impl<'de> Deserialize<'de> for PredictiveAutoscaler {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        #[derive(Deserialize)]
        struct Wire {
            #[serde(default)]
            metadata: ObjectMeta,
            spec: Map<String, Value>,
            #[serde(default)]
            status: Option<Value>,
        }
        let Wire { metadata, mut spec, status } = Wire::deserialize(deserializer)?;
        // The status is ours and is made anew: one that another version wrote must not hide the spec.
        let status = status.and_then(|status| serde_json::from_value(status).ok());
        let namespace = metadata.namespace.clone().unwrap_or_default();
        if spec.insert(NAMESPACE.into(), namespace.into()).is_some() {
            return Err(D::Error::custom("spec: unknown field `namespace`; that of the metadata counts"));
        }
        let spec = WorkloadSpec::deserialize(Value::Object(spec))
            .map_err(|error| D::Error::custom(format!("spec: {error}")))?;
        Ok(Self { metadata, spec, status })
    }
}

/// A spec that can not be obeyed. Most of these the API server refuses already.
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
#[error("{}", .problems.iter().map(ToString::to_string).collect::<Vec<_>>().join("; "))]
pub struct InvalidSpec {
    /// All that is wrong.
    pub problems: Vec<WorkloadProblem>,
}

/// The workload an object stands for, if it can be used on a grid of `step`.
pub fn to_workload(object: &PredictiveAutoscaler, step: Duration) -> Result<Workload, InvalidSpec> {
    let mut spec = object.spec.clone();
    spec.namespace = object.metadata.namespace.clone().unwrap_or_default();
    let problems = spec.problems(step);
    if !problems.is_empty() {
        return Err(InvalidSpec { problems });
    }
    Workload::new(spec).map_err(|error| {
        let key = "scaleTargetRef".into();
        InvalidSpec { problems: vec![WorkloadProblem { key, problem: error.to_string() }] }
    })
}

#[cfg(test)]
mod tests;
