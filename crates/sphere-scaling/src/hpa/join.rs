//! How do named pods and named samples become the parallel slices of the calculation?
//!
//! The metrics APIs answer with lists keyed by pod name; the calculation wants one [`PodReading`] per listed
//! pod plus the values of *strays*, samples of pods that are not listed (they count in averages, not in
//! percentages). Requests are resolved here, too: containers, sidecars, pod-level requests.

use super::{MetricError, PodReading, PodSample, PodStatus, Reading, Request};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use sphere_core::Timestamp;
use std::collections::{BTreeMap, HashMap};

/// A pod with what is needed to find its requests.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Pod {
    /// Its name.
    pub name: String,
    /// Its standing.
    pub status: PodStatus,
    /// App containers and sidecars (init containers that restart always). Plain init containers do not belong here.
    pub containers: Vec<Container>,
    /// Requests of the whole pod in milli-units by resource, when the pod sets any.
    #[serde(default)]
    pub requests_milli: Option<BTreeMap<String, i64>>,
}

/// A container and its requests.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Container {
    /// Its name.
    pub name: String,
    /// Requests in milli-units by resource.
    #[serde(default)]
    pub requests_milli: BTreeMap<String, i64>,
}

/// What metrics.k8s.io says of one pod.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct ResourceSample {
    /// Name of the pod.
    pub pod: String,
    /// Usage per container.
    pub containers: Vec<ContainerUsage>,
    /// End of the interval averaged over.
    pub at: Timestamp,
    /// Length of the interval averaged over, milliseconds.
    pub window_ms: i64,
}

/// Usage of one container.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct ContainerUsage {
    /// Name of the container.
    pub name: String,
    /// Usage in milli-units by resource.
    #[serde(default)]
    pub usage_milli: BTreeMap<String, i64>,
}

/// What custom.metrics.k8s.io says of one pod.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct CustomSample {
    /// Name of the pod.
    pub pod: String,
    /// Its value. The window is 60 s where the API gives none.
    pub sample: PodSample,
}

impl Pod {
    /// What the pod (or its named `container`) requests of `resource`.
    ///
    /// With `pod_level` a pod-level request takes the place of the sum over containers; a pod that sets
    /// pod-level requests but none for `resource` is [`Request::Missing`]. A container metric never looks at it.
    pub fn request(&self, resource: &str, container: Option<&str>, pod_level: bool) -> Request {
        let of = |c: &Container| c.requests_milli.get(resource).copied();
        if let Some(name) = container {
            return match self.containers.iter().find(|c| c.name == name) {
                Some(c) => of(c).map_or(Request::Missing, Request::Milli),
                None => Request::ContainerNotFound,
            };
        }
        if pod_level && let Some(requests) = self.requests_milli.as_ref().filter(|r| !r.is_empty()) {
            return requests.get(resource).map_or(Request::Missing, |&milli| Request::Milli(milli));
        }
        let sum = self.containers.iter().try_fold(0i64, |sum, c| Some(sum.saturating_add(of(c)?)));
        sum.map_or(Request::Missing, Request::Milli)
    }
}

impl ResourceSample {
    /// Usage of `resource` by the pod or by its named `container`; absent unless every container asked about has it.
    pub fn usage(&self, resource: &str, container: Option<&str>) -> Option<PodSample> {
        let of = |c: &ContainerUsage| c.usage_milli.get(resource).copied();
        let value_milli = match container {
            Some(name) => of(self.containers.iter().find(|c| c.name == name)?)?,
            None if self.containers.is_empty() => return None,
            None => self.containers.iter().try_fold(0i64, |sum, c| Some(sum.saturating_add(of(c)?)))?,
        };
        Some(PodSample { value_milli, at: self.at, window_ms: self.window_ms })
    }
}

/// The readings of one metric, in the order of the pods they were joined with.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct PodReadings {
    /// One per listed pod.
    pub pods: Vec<PodReading>,
    /// Values of samples whose pod is not listed, milli-units.
    pub strays_milli: Vec<i64>,
}

impl PodReadings {
    /// Joins an answer of metrics.k8s.io. An empty answer is [`MetricError::NoMetrics`].
    pub fn from_resource(
        pods: &[Pod],
        samples: &[ResourceSample],
        resource: &str,
        container: Option<&str>,
        pod_level: bool,
    ) -> Result<Self, MetricError> {
        let named = samples.iter().map(|s| (s.pod.as_str(), s.usage(resource, container)));
        let mut readings = Self::join(pods, named)?;
        for (reading, pod) in readings.pods.iter_mut().zip(pods) {
            reading.request = pod.request(resource, container, pod_level);
        }
        Ok(readings)
    }

    /// Joins an answer of custom.metrics.k8s.io. An empty answer is [`MetricError::NoMetrics`].
    pub fn from_custom(pods: &[Pod], samples: &[CustomSample]) -> Result<Self, MetricError> {
        Self::join(pods, samples.iter().map(|s| (s.pod.as_str(), Some(s.sample))))
    }

    fn join<'a>(
        pods: &[Pod],
        samples: impl Iterator<Item = (&'a str, Option<PodSample>)>,
    ) -> Result<Self, MetricError> {
        let mut by_name: HashMap<&str, Option<PodSample>> = samples.collect();
        if by_name.is_empty() {
            return Err(MetricError::NoMetrics);
        }
        let pods = pods.iter().map(|pod| PodReading {
            sample: by_name.remove(pod.name.as_str()).flatten(),
            request: Request::Missing,
        });
        let pods = pods.collect();
        let strays_milli = by_name.into_values().flatten().map(|s| s.value_milli).collect();
        Ok(Self { pods, strays_milli })
    }

    /// The borrowed form a [`super::Snapshot`] takes.
    pub fn as_reading(&self) -> Reading<'_> {
        Reading::PerPod { pods: &self.pods, strays_milli: &self.strays_milli }
    }
}
