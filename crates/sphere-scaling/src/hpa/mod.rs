//! How many replicas would the Kubernetes HPA choose?
//!
//! autoscaling/v2 reproduced exactly, as values in and values out: SPHERE's baseline, its fallback, and the
//! shadow it reports beside its own decisions. "Exactly" means the same integers truncated at the same places
//! and the same order of operations in doubles; the acceptance cases in `tests/fixtures/hpa_cases.json`
//! (facts taken from the Kubernetes unit tests, and more worked out by hand) hold it to that.
//!
//! One sync, and where to read about it:
//!
//! | step | where |
//! |---|---|
//! | what is asked for | [`HpaSpec`], [`HpaConfig`] |
//! | named pods and samples become readings | [`Pod`], [`PodReadings`] |
//! | which pods count | [`group_of`] |
//! | what one metric asks for | [`PerPod`], [`total_target`], [`shared_target`] |
//! | several metrics, some of them failing | [`combine`] |
//! | windows, policies, bounds | [`RecommendationLog`], [`ScaleEvents`], [`limit`] |
//! | the whole, with conditions | [`Hpa::evaluate`], [`Hpa::record`] |
//!
//! Known deviation: sums that overflow 64 bits saturate everywhere, as the newest releases do; older ones wrap.
//!
//! ```
//! use sphere_core::Timestamp;
//! use sphere_scaling::hpa::*;
//!
//! let now = Timestamp::from_secs(1_000);
//! let long_ago = Timestamp::from_secs(0);
//! let mut hpa = Hpa::new(HpaSpec::cpu(1, 10, 50), HpaConfig::default());
//! let pods = [PodStatus::ready(long_ago, long_ago); 3];
//! let sample = PodSample { value_milli: 90, at: now, window_ms: 30_000 };
//! let busy = [PodReading { sample: Some(sample), request: Request::Milli(100) }; 3];
//! let outcome = hpa.sync(now, &Snapshot {
//!     scale: Some(Scale { spec_replicas: 3, status_replicas: 3 }),
//!     selector: Selector::Valid,
//!     pods: &pods,
//!     readings: &[Reading::PerPod { pods: &busy, strays_milli: &[] }],
//! });
//! assert_eq!(outcome.desired_replicas, 6); // ceil(90 / 50 · 3)
//! ```

mod behavior;
mod calculator;
mod combine;
mod join;
mod pods;
mod propose;
mod quantity;
mod spec;
mod status;
mod sync;
mod validate;

pub use behavior::{
    EventLog, Limited, Recommendation, RecommendationLog, ResolvedBehavior, ScaleEvent, ScaleEvents,
    ScalingRules, limit, limit_legacy,
};
pub use calculator::{
    PerPod, Proposal, Tolerance, UtilizationRatio, average_ratio, ceil32, external_total, shared_target,
    total_target, utilization_ratio,
};
pub use combine::{CombineError, Combined, combine};
pub use join::{Container, ContainerUsage, CustomSample, Pod, PodReadings, ResourceSample};
pub use pods::{
    ConditionStatus, Phase, PodGroup, PodReading, PodSample, PodStatus, Readiness, Request, group_of,
};
pub use propose::Reading;
pub use quantity::{Fraction, ParseQuantityError, Quantity};
pub use spec::{
    Behavior, ContainerResourceMetric, ExternalMetric, HpaConfig, HpaSpec, LabelOperator, LabelRequirement,
    LabelSelector, MetricIdentifier, MetricSpec, MetricTarget, ObjectMetric, ObjectReference, PodsMetric,
    Policy, PolicyType, ResourceMetric, Rules, SelectPolicy, TargetType,
};
pub use status::{Condition, ConditionReason, ConditionType, HpaState, HpaStatus, MetricError, MetricStatus};
pub use sync::{Branch, Evaluation, Hpa, Scale, ScaleWrite, Selector, Snapshot, SyncError, SyncOutcome};
pub use validate::SpecError;
