//! Which pods and samples may a per-pod metric believe?
//!
//! The calculation needs few facts of a pod: its standing ([`PodStatus`]) and, per metric, its sample and its
//! request ([`PodReading`]). Both are small `Copy` values in parallel slices without names, so that a
//! simulator can keep and update them in place. [`crate::hpa::join`] makes them from named pods and samples.
//!
//! Grouping follows `groupPods` of `pkg/controller/podautoscaler/replica_calculator.go` (about v1.35).

use super::{HpaConfig, MetricError};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use sphere_core::Timestamp;

/// Phase of a pod.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
pub enum Phase {
    /// Accepted, not all containers started.
    Pending,
    /// At least one container runs.
    #[default]
    Running,
    /// All containers ended well. Not special here: counted or missing like any other.
    Succeeded,
    /// All containers ended, one badly.
    Failed,
    /// The node can not be reached.
    Unknown,
}

/// Status of a condition.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
pub enum ConditionStatus {
    /// It holds.
    True,
    /// It does not hold.
    False,
    /// Not known; in particular not [`ConditionStatus::False`].
    Unknown,
}

/// The Ready condition of a pod.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Readiness {
    /// Is it ready?
    pub status: ConditionStatus,
    /// When the status last changed.
    pub since: Timestamp,
}

/// What the calculation needs to know of one pod.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct PodStatus {
    /// Its phase.
    pub phase: Phase,
    /// It has a deletion timestamp.
    #[serde(default)]
    pub deleted: bool,
    /// Its Ready condition; absent when it has none.
    #[serde(default)]
    pub ready: Option<Readiness>,
    /// When it was started; absent when the kubelet has not said.
    #[serde(default)]
    pub started_at: Option<Timestamp>,
}

impl PodStatus {
    /// A running pod, started at `started_at` and ready since `ready_at`.
    pub fn ready(started_at: Timestamp, ready_at: Timestamp) -> Self {
        Self {
            phase: Phase::Running,
            deleted: false,
            ready: Some(Readiness { status: ConditionStatus::True, since: ready_at }),
            started_at: Some(started_at),
        }
    }

    /// A running pod that is not ready, since its start.
    pub fn starting(started_at: Timestamp) -> Self {
        Self {
            phase: Phase::Running,
            deleted: false,
            ready: Some(Readiness { status: ConditionStatus::False, since: started_at }),
            started_at: Some(started_at),
        }
    }

    /// Running and Ready, whatever its age and even if it is being deleted.
    pub fn serves(&self) -> bool {
        self.phase == Phase::Running && self.ready.is_some_and(|r| r.status == ConditionStatus::True)
    }
}

/// One pod's value of one metric.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct PodSample {
    /// The value, milli-units.
    pub value_milli: i64,
    /// End of the interval averaged over.
    pub at: Timestamp,
    /// Length of the interval averaged over, milliseconds.
    pub window_ms: i64,
}

/// What a pod requests of a resource.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum Request {
    /// So many milli-units.
    Milli(i64),
    /// A container that counts (or the pod itself) has no request for the resource.
    #[default]
    Missing,
    /// The container asked about is not in the pod.
    ContainerNotFound,
}

impl Request {
    /// The request, or why the metric can not be computed.
    pub fn milli(self) -> Result<i64, MetricError> {
        match self {
            Request::Milli(milli) => Ok(milli),
            Request::Missing => Err(MetricError::MissingRequest),
            Request::ContainerNotFound => Err(MetricError::ContainerNotFound),
        }
    }
}

/// One pod as one metric sees it. The default is a pod without sample and without request.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct PodReading {
    /// Its sample; absent when it has none.
    #[serde(default)]
    pub sample: Option<PodSample>,
    /// Its request; only percent targets look at it.
    #[serde(default)]
    pub request: Request,
}

/// How a pod takes part in the calculation of one metric.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
pub enum PodGroup {
    /// Its sample counts.
    Counted,
    /// Starting up, or its sample may show start-up work: set aside, taken as idle when raising.
    Unready,
    /// It has no sample: taken as idle when raising, as busy when lowering.
    Missing,
    /// Going away or gone: not there.
    Ignored,
}

/// Sorts one pod; the first rule that matches decides.
///
/// `cpu` says that the metric is CPU of pods or containers: only then do readiness and start-up count.
pub fn group_of(
    now: Timestamp,
    pod: &PodStatus,
    sample: Option<&PodSample>,
    cpu: bool,
    config: &HpaConfig,
) -> PodGroup {
    if pod.deleted || pod.phase == Phase::Failed {
        return PodGroup::Ignored;
    }
    if pod.phase == Phase::Pending {
        return PodGroup::Unready;
    }
    let Some(sample) = sample else {
        return PodGroup::Missing;
    };
    if !cpu {
        return PodGroup::Counted;
    }
    let (Some(ready), Some(started_at)) = (pod.ready, pod.started_at) else {
        return PodGroup::Unready;
    };
    let after_start = |seconds: u32| started_at.millis().saturating_add(i64::from(seconds) * 1000);
    let not_ready = ready.status == ConditionStatus::False;
    let unready = if after_start(config.cpu_initialization_period_s) > now.millis() {
        // A whole window must have passed since readiness changed, or the sample still shows the start-up.
        not_ready || sample.at.millis() < ready.since.millis().saturating_add(sample.window_ms)
    } else {
        // It became not-ready so early that it never was ready. One that failed later counts.
        not_ready && after_start(config.initial_readiness_delay_s) > ready.since.millis()
    };
    if unready { PodGroup::Unready } else { PodGroup::Counted }
}
