//! What does SPHERE report of a workload?

use k8s_openapi::apimachinery::pkg::apis::meta::v1::{Condition, Time};
use k8s_openapi::jiff;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use sphere_core::{Decision, Mode, Timestamp};

/// Decisions told in the status.
pub const DECISIONS_KEPT: usize = 10;

/// What a condition is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum ConditionType {
    /// Can the size be read and written?
    AbleToScale,
    /// Could a size be computed from metrics?
    ScalingActive,
    /// Was the size cut by a bound or a limit?
    ScalingLimited,
    /// Is there a forecast that covers the lead time?
    ForecastReady,
    /// Has the forecast earned the right to act?
    ForecastTrusted,
    /// Does somebody else scale the same target?
    Conflict,
}

impl ConditionType {
    /// All of them, in the order in which they are reported.
    pub const ALL: [ConditionType; 6] = [
        ConditionType::AbleToScale,
        ConditionType::ScalingActive,
        ConditionType::ScalingLimited,
        ConditionType::ForecastReady,
        ConditionType::ForecastTrusted,
        ConditionType::Conflict,
    ];

    /// The `type` of the condition.
    pub fn name(self) -> &'static str {
        match self {
            ConditionType::AbleToScale => "AbleToScale",
            ConditionType::ScalingActive => "ScalingActive",
            ConditionType::ScalingLimited => "ScalingLimited",
            ConditionType::ForecastReady => "ForecastReady",
            ConditionType::ForecastTrusted => "ForecastTrusted",
            ConditionType::Conflict => "Conflict",
        }
    }
}

/// What SPHERE found, decided and did. Written by SPHERE only.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", default)]
pub struct PredictiveAutoscalerStatus {
    /// Generation of the spec that the rest of the status is about.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub observed_generation: Option<i64>,
    /// AbleToScale, ScalingActive, ScalingLimited, ForecastReady, ForecastTrusted and Conflict, each with its reason.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub conditions: Vec<Condition>,
    /// Mode in effect: that of the spec, or a lower one where trust in the forecast was lost.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub mode: Option<Mode>,
    /// Replicas the target was asked for when last read.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub current_replicas: Option<u32>,
    /// Replicas last decided on.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub desired_replicas: Option<u32>,
    /// Replicas an HPA with the same metrics would have chosen; absent while metrics are missing.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub reactive_replicas: Option<u32>,
    /// Replicas the forecast asked for; absent without a usable forecast.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub predictive_replicas: Option<u32>,
    /// Replicas the HorizontalPodAutoscaler of the same target wants, where there is one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub hpa_replicas: Option<u32>,
    /// When the size was last changed by SPHERE.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub last_scale_time: Option<Time>,
    /// Label selector of the target's pods.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub selector: Option<String>,
    /// How long a replica ordered now takes to serve.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub lead_time: Option<LeadTimeStatus>,
    /// The forecast in use and how good it has been.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub forecast: Option<ForecastStatus>,
    /// The minimum that SPHERE has set on a HorizontalPodAutoscaler, in mode Floor.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub floor: Option<FloorStatus>,
    /// The last decisions that said something new, newest first, at most ten.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub decisions: Vec<DecisionStatus>,
}

/// How long a replica ordered now takes to serve.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct LeadTimeStatus {
    /// From a scrape to the moment a replica ordered because of it serves, seconds: start-up plus delay.
    pub seconds: f64,
    /// Median time from the creation of a pod until it was Ready, seconds; as stated in the spec until measured.
    pub startup_seconds: f64,
    /// Start-ups measured and remembered.
    pub samples: u32,
}

/// A forecast and how good the model has been.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", default)]
pub struct ForecastStatus {
    /// The model.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub model: Option<String>,
    /// End of the last step the forecast has seen.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub issued_at: Option<Time>,
    /// After this it is not used.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub valid_until: Option<Time>,
    /// May it drive scaling?
    #[serde(skip_serializing_if = "Option::is_none")]
    pub trusted: Option<bool>,
    /// Recent loss relative to the assumption that demand stays as it is; below 1 is better.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub relative_loss: Option<f64>,
    /// Share of recent values at or below the forecast 0.95 quantile; 0.95 is ideal.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub coverage: Option<f64>,
    /// Whether demand repeats, and after how long, as the model found it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub seasonality: Option<String>,
}

/// A minimum set on a HorizontalPodAutoscaler.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct FloorStatus {
    /// Name of the HorizontalPodAutoscaler.
    pub autoscaler: String,
    /// Its minReplicas as SPHERE has set it.
    pub replicas: u32,
    /// Its minReplicas as its owner has set it, which it gets back.
    pub original_min_replicas: u32,
}

/// A decision and its reasons.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct DecisionStatus {
    /// When it was made.
    pub time: Time,
    /// Replicas asked for before.
    pub current: u32,
    /// Replicas the workload should have.
    pub desired: u32,
    /// Replicas an HPA would have chosen.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reactive: Option<u32>,
    /// Replicas the forecast asked for.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub predictive: Option<u32>,
    /// Mode in effect.
    pub mode: Mode,
    /// Was the target changed?
    pub applied: bool,
    /// Why, in the order in which the reasons shaped the number.
    pub reasons: Vec<ReasonStatus>,
}

/// Why a decision is what it is.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct ReasonStatus {
    /// Name of the reason, one of a closed set.
    pub reason: String,
    /// The reason in words, with its numbers.
    pub message: String,
}

/// As Kubernetes writes it, to the second; the epoch for what no calendar holds.
pub fn time(at: Timestamp) -> Time {
    let seconds = at.millis().div_euclid(1000);
    Time(jiff::Timestamp::from_second(seconds).unwrap_or(jiff::Timestamp::UNIX_EPOCH))
}

/// As the pure core has it.
pub fn timestamp(time: &Time) -> Timestamp {
    Timestamp(time.0.as_millisecond())
}

impl From<&Decision> for DecisionStatus {
    fn from(decision: &Decision) -> Self {
        let reasons = decision
            .reasons
            .iter()
            .map(|reason| ReasonStatus { reason: reason.name().into(), message: reason.to_string() });
        Self {
            time: time(decision.at),
            current: decision.current,
            desired: decision.desired,
            reactive: decision.reactive,
            predictive: decision.predictive,
            mode: decision.mode,
            applied: decision.applied,
            reasons: reasons.collect(),
        }
    }
}
