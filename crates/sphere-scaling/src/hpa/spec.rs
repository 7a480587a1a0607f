//! What was the autoscaler told to do?
//!
//! [`HpaSpec`] has the shape of an autoscaling/v2 spec (camelCase, quantities as text) without the target
//! reference, [`HpaConfig`] holds what a cluster sets for all autoscalers. Unknown keys are errors.
//! Defaults and limits follow `pkg/apis/autoscaling/v2/defaults.go` and `validation/validation.go` of
//! Kubernetes.

use super::{Fraction, Quantity};
use schemars::JsonSchema;
use serde::{Deserialize, Deserializer, Serialize};
use std::collections::BTreeMap;

/// What one autoscaler is asked to do.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct HpaSpec {
    /// Fewest replicas; 1 when absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub min_replicas: Option<i32>,
    /// Most replicas.
    pub max_replicas: i32,
    /// What to follow. When read from text, absent or empty means CPU at 80 % of requests.
    #[serde(default = "default_metrics", deserialize_with = "metrics_or_default")]
    pub metrics: Vec<MetricSpec>,
    /// Windows, policies and tolerances. Its presence alone, even empty, selects other rules than its absence.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub behavior: Option<Behavior>,
}

impl HpaSpec {
    /// Fewest replicas in force.
    pub fn min(&self) -> i32 {
        self.min_replicas.unwrap_or(1)
    }

    /// A spec that follows CPU at `percent` of requests, with the legacy limits (no behavior).
    pub fn cpu(min_replicas: i32, max_replicas: i32, percent: i32) -> Self {
        Self {
            min_replicas: Some(min_replicas),
            max_replicas,
            metrics: vec![MetricSpec::cpu_utilization(percent)],
            behavior: None,
        }
    }

    /// Does any metric not depend on pods (Object, External)? Only then is a minimum of zero possible.
    pub fn has_podless_metric(&self) -> bool {
        self.metrics.iter().any(|m| matches!(m, MetricSpec::Object { .. } | MetricSpec::External { .. }))
    }
}

fn default_metrics() -> Vec<MetricSpec> {
    vec![MetricSpec::cpu_utilization(80)]
}

fn metrics_or_default<'de, D: Deserializer<'de>>(input: D) -> Result<Vec<MetricSpec>, D::Error> {
    let metrics = Vec::deserialize(input)?;
    Ok(if metrics.is_empty() { default_metrics() } else { metrics })
}

/// One metric to follow, in autoscaling/v2 shape: `type` names the block that is set.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(tag = "type", deny_unknown_fields)]
pub enum MetricSpec {
    /// CPU, memory, … of whole pods, from metrics.k8s.io.
    Resource {
        /// Which resource, which target.
        resource: ResourceMetric,
    },
    /// CPU, memory, … of one container of each pod.
    ContainerResource {
        /// Which container and resource, which target.
        #[serde(rename = "containerResource")]
        container_resource: ContainerResourceMetric,
    },
    /// A custom metric with one value per pod; target `averageValue`.
    Pods {
        /// Which metric, which target.
        pods: PodsMetric,
    },
    /// A custom metric with one value, describing another object.
    Object {
        /// Which metric of which object, which target.
        object: ObjectMetric,
    },
    /// A metric from outside the cluster; its series are summed.
    External {
        /// Which metric, which target.
        external: ExternalMetric,
    },
    /// A source this version does not know. Always invalid; kept so that the other metrics still work.
    Unknown,
}

impl MetricSpec {
    /// CPU usage as a share of requests.
    pub fn cpu_utilization(percent: i32) -> Self {
        MetricSpec::Resource {
            resource: ResourceMetric { name: "cpu".into(), target: MetricTarget::utilization(percent) },
        }
    }

    /// A short name for status and logs: the resource, or the name of the metric.
    pub fn name(&self) -> &str {
        match self {
            MetricSpec::Resource { resource } => &resource.name,
            MetricSpec::ContainerResource { container_resource } => &container_resource.name,
            MetricSpec::Pods { pods } => &pods.metric.name,
            MetricSpec::Object { object } => &object.metric.name,
            MetricSpec::External { external } => &external.metric.name,
            MetricSpec::Unknown => "unknown",
        }
    }

    /// Its target; absent for an unknown source.
    pub fn target(&self) -> Option<&MetricTarget> {
        match self {
            MetricSpec::Resource { resource } => Some(&resource.target),
            MetricSpec::ContainerResource { container_resource } => Some(&container_resource.target),
            MetricSpec::Pods { pods } => Some(&pods.target),
            MetricSpec::Object { object } => Some(&object.target),
            MetricSpec::External { external } => Some(&external.target),
            MetricSpec::Unknown => None,
        }
    }

    /// Does it follow CPU, whose samples of starting pods are not to be believed?
    pub fn is_cpu(&self) -> bool {
        match self {
            MetricSpec::Resource { resource } => resource.name == "cpu",
            MetricSpec::ContainerResource { container_resource } => container_resource.name == "cpu",
            _ => false,
        }
    }
}

/// A resource of whole pods.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct ResourceMetric {
    /// Name of the resource: `cpu`, `memory`, …
    pub name: String,
    /// What it should be: Utilization or AverageValue.
    pub target: MetricTarget,
}

/// A resource of one container of each pod.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct ContainerResourceMetric {
    /// `cpu`, `memory`, …
    pub name: String,
    /// Name of the container.
    pub container: String,
    /// Utilization or AverageValue.
    pub target: MetricTarget,
}

/// A custom metric with one value per pod.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct PodsMetric {
    /// Which metric.
    pub metric: MetricIdentifier,
    /// What it should be per pod: AverageValue.
    pub target: MetricTarget,
}

/// A custom metric of another object.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct ObjectMetric {
    /// The object described.
    pub described_object: ObjectReference,
    /// Which metric.
    pub metric: MetricIdentifier,
    /// What it should be: Value (in total) or AverageValue (per pod).
    pub target: MetricTarget,
}

/// A metric from outside the cluster.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct ExternalMetric {
    /// Which metric.
    pub metric: MetricIdentifier,
    /// What it should be: Value (in total) or AverageValue (per pod).
    pub target: MetricTarget,
}

/// Name and labels of a metric.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct MetricIdentifier {
    /// Name of the metric.
    pub name: String,
    /// Which of its series are wanted; all when absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub selector: Option<LabelSelector>,
}

/// A choice of objects or series by their labels; all conditions must hold.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct LabelSelector {
    /// Labels that must have these values.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub match_labels: BTreeMap<String, String>,
    /// Further conditions, all of which must hold.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub match_expressions: Vec<LabelRequirement>,
}

/// One condition on a label.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct LabelRequirement {
    /// Name of the label.
    pub key: String,
    /// How it relates to `values`.
    pub operator: LabelOperator,
    /// Values compared with; empty for `Exists` and `DoesNotExist`.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub values: Vec<String>,
}

/// How a label relates to a set of values.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum LabelOperator {
    /// Its value is one of them.
    In,
    /// Its value is none of them.
    NotIn,
    /// It is there.
    Exists,
    /// It is not there.
    DoesNotExist,
}

/// A Kubernetes object in the same namespace.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct ObjectReference {
    /// Group and version of the object, e.g. `networking.k8s.io/v1`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub api_version: Option<String>,
    /// Kind of the object, e.g. `Ingress`.
    pub kind: String,
    /// Name of the object.
    pub name: String,
}

/// What a metric should be.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct MetricTarget {
    /// Which of the other fields is set.
    #[serde(rename = "type")]
    pub kind: TargetType,
    /// Value in total, a quantity such as `10k`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub value: Option<Quantity>,
    /// Value per pod, a quantity such as `500m` or `200Mi`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub average_value: Option<Quantity>,
    /// Usage as whole percent of requests; may exceed 100.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub average_utilization: Option<i32>,
}

impl MetricTarget {
    /// A percentage of requests.
    pub fn utilization(percent: i32) -> Self {
        Self {
            kind: TargetType::Utilization,
            value: None,
            average_value: None,
            average_utilization: Some(percent),
        }
    }

    /// A total.
    pub fn value(milli: i64) -> Self {
        let value = Some(Quantity::from_milli(milli));
        Self { kind: TargetType::Value, value, average_value: None, average_utilization: None }
    }

    /// A value per pod.
    pub fn average(milli: i64) -> Self {
        let average_value = Some(Quantity::from_milli(milli));
        Self { kind: TargetType::AverageValue, value: None, average_value, average_utilization: None }
    }
}

/// The form of a target.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum TargetType {
    /// Percent of requests.
    Utilization,
    /// A total.
    Value,
    /// A value per pod.
    AverageValue,
}

/// How fast the size may follow, per direction.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Behavior {
    /// Rules for raising the size; absent fields take their default: no window, and the larger of 4 pods and 100
    /// percent per 15 seconds.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub scale_up: Option<Rules>,
    /// Rules for lowering the size; absent fields take their default: a window of five minutes and no other limit.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub scale_down: Option<Rules>,
}

/// Rules of one direction.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Rules {
    /// Stabilisation window: how many seconds of recommendations are looked back at, 0 to 3600; when absent 0 up, and
    /// the cluster's down-scale window (300) down.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub stabilization_window_seconds: Option<u32>,
    /// Which of several policies counts; `Max` when absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub select_policy: Option<SelectPolicy>,
    /// Limits on the speed of change; a list given replaces the default list whole.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub policies: Option<Vec<Policy>>,
    /// Relative deviation from the target that causes no action, e.g. `"0.05"`; the cluster's (0.1) when absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tolerance: Option<Fraction>,
}

/// Which of several policies counts.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum SelectPolicy {
    /// The one that allows the larger change.
    #[default]
    Max,
    /// The one that allows the smaller change.
    Min,
    /// No change in this direction.
    Disabled,
}

/// A limit on the change within a period.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Policy {
    /// Unit of `value`.
    #[serde(rename = "type")]
    pub kind: PolicyType,
    /// Pods or percent of the size at the start of the period.
    pub value: i32,
    /// Length of the period, 1 to 1800 seconds.
    pub period_seconds: u32,
}

/// Unit of a policy's value.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum PolicyType {
    /// A number of pods.
    Pods,
    /// Percent of the size at the start of the period.
    Percent,
}

/// What a cluster sets for all its autoscalers; the defaults are those of kube-controller-manager.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct HpaConfig {
    /// Relative deviation that causes no action, in both directions.
    pub tolerance: f64,
    /// Are the tolerances of a [`Behavior`] honoured?
    pub configurable_tolerance: bool,
    /// How long a high recommendation holds the size up, seconds.
    pub downscale_stabilization_s: u32,
    /// How long after its start a pod's CPU samples are doubted, seconds.
    pub cpu_initialization_period_s: u32,
    /// A pod that became not-ready within this time of its start never was ready, seconds.
    pub initial_readiness_delay_s: u32,
    /// Without a behavior: largest growth in one sync, as a factor.
    pub scale_up_limit_factor: f64,
    /// Without a behavior: growth up to this size is always allowed, replicas.
    pub scale_up_limit_minimum: f64,
    /// Do requests of whole pods override those of their containers?
    pub pod_level_resources: bool,
    /// Leave a target that someone *else* set to zero alone, even with a minimum of zero (releases from 1.36).
    pub scaled_to_zero_condition: bool,
}

impl Default for HpaConfig {
    fn default() -> Self {
        Self {
            tolerance: 0.1,
            configurable_tolerance: true,
            downscale_stabilization_s: 300,
            cpu_initialization_period_s: 300,
            initial_readiness_delay_s: 30,
            scale_up_limit_factor: 2.0,
            scale_up_limit_minimum: 4.0,
            pod_level_resources: true,
            scaled_to_zero_condition: false,
        }
    }
}
