//! How does a line become what the decision engine sees?
//!
//! Pods that are not listed are made up, the past is played into the autoscaler, and where no forecast is given
//! one is made from past demand by the forecaster production uses, at the lead the policy implies.

use super::input::{DecideInput, History, ObservationInput, PodInput, ReadingInput, SampleInput};
use sphere_core::{Decision, Forecast, Timestamp};
use sphere_forecast::{Forecaster, LeadForecaster};
use sphere_scaling::hpa::{
    ConditionStatus, Container, CustomSample, HpaConfig, MetricError, MetricSpec, Phase, Pod, PodReadings,
    PodSample, PodStatus, Quantity, Readiness, Reading, Recommendation, Request, Scale, Snapshot,
};
use sphere_scaling::{Autoscaler, AutoscalerState, Observation};
use std::time::Duration;

/// From a scrape to the decision on it, where the history does not show it.
const DELAY: Duration = Duration::from_secs(2);
/// Steps a forecast made here stays valid after the last value it has seen.
const VALID_STEPS: u32 = 6;
/// Step of the demand when it is neither given nor shows.
const DEFAULT_STEP: Duration = Duration::from_secs(10);
/// Age of a pod whose start is not told: older than any start-up period.
const OLD: Duration = Duration::from_secs(3600);
/// Request of a pod that tells none, milli-units: shares of it are shares of one.
const UNIT_REQUEST_MILLI: i64 = 1000;
/// Window of a sample that tells none, milliseconds: that of metrics-server.
const WINDOW_MS: i64 = 30_000;

/// What one line leads to.
pub(super) struct Replayed {
    pub decision: Decision,
    pub forecast: Option<Forecast>,
    pub state: AutoscalerState,
}

/// Decides on a checked line.
pub(super) fn replay(input: &DecideInput) -> Replayed {
    let seen = &input.observation;
    let now = seen.now.0;
    let none = History::default();
    let history = input.history.as_ref().unwrap_or(&none);
    let demand = Demand::of(history, seen);
    let delay = demand.values.last().map_or(DELAY, |(last, _)| now.since(*last));
    let mut autoscaler = with_past(input, history, delay);
    let forecast = input.forecast.clone().or_else(|| demand.forecast(autoscaler.lead_time().startup(), now));

    let pods: Vec<Pod> = pods(seen);
    let statuses: Vec<PodStatus> = pods.iter().map(|pod| pod.status).collect();
    let metered = metered(input, &pods);
    let readings: Vec<Reading<'_>> = metered.iter().map(Metered::as_reading).collect();
    let serving = || u32::try_from(statuses.iter().filter(|pod| pod.serves()).count()).unwrap_or(u32::MAX);
    let ready = seen.ready.unwrap_or_else(serving);
    let size = i32::try_from(seen.current).unwrap_or(i32::MAX);
    let scale = Scale { spec_replicas: size, status_replicas: i32::try_from(pods.len()).unwrap_or(i32::MAX) };
    let snapshot = Snapshot {
        scale: (!seen.scale_unreadable).then_some(scale),
        selector: seen.selector,
        pods: &statuses,
        readings: &readings,
    };
    let decision = autoscaler.decide(
        &Observation {
            now,
            current: seen.current,
            ready,
            snapshot,
            demand: seen.demand.or_else(|| demand.newest(now)),
            capacity_per_pod: seen.capacity_per_pod,
            utilization: seen.utilization,
            mean_ready: f64::from(ready),
            censored: seen.censored,
            violated_share: seen.violated_share,
            conflict_with: seen.conflict_with.as_deref(),
            holds: &[],
        },
        forecast.as_ref(),
    );
    Replayed { decision, forecast, state: autoscaler.state() }
}

/// The autoscaler as the past has left it.
fn with_past(input: &DecideInput, history: &History, delay: Duration) -> Autoscaler {
    let (policy, config) = (input.policy.clone(), HpaConfig::default());
    let mut autoscaler = match &history.state {
        Some(state) => Autoscaler::with_state(policy, config, state.clone()),
        None => Autoscaler::new(policy, config, delay),
    };
    if let Some(workload) = &input.workload {
        autoscaler = autoscaler.for_workload(workload.clone());
    }
    for took_s in &history.startups_seconds {
        autoscaler.pod_started(Duration::try_from_secs_f64(*took_s).unwrap_or_default());
    }
    for change in history.replicas.windows(2) {
        autoscaler.record(change[1].0.0, change[0].1, change[1].1);
    }
    if let Some(made) = &history.recommendations {
        let proposal = |(at, count): &(super::Instant, u32)| Recommendation {
            replicas: i32::try_from(*count).unwrap_or(i32::MAX),
            at: at.0,
        };
        autoscaler.recall_proposals(&made.iter().map(proposal).collect::<Vec<_>>());
    }
    autoscaler
}

/// Demand so far, from old to new, on steps of about the same width.
struct Demand {
    values: Vec<(Timestamp, Option<f64>)>,
    step: Duration,
}

impl Demand {
    fn of(history: &History, seen: &ObservationInput) -> Self {
        let mut values: Vec<(Timestamp, Option<f64>)> =
            history.demand.iter().map(|(at, value)| (at.0, *value)).collect();
        let given = history.step_seconds.and_then(|s| Duration::try_from_secs_f64(s).ok());
        let step = given.unwrap_or_else(|| usual_distance(&values));
        // What is measured now is the newest value, unless the history has it already.
        if let (Some((last, _)), Some(now)) = (values.last(), seen.demand)
            && seen.now.0.since(*last) * 2 > step
        {
            values.push((seen.now.0, Some(now)));
        }
        Self { values, step }
    }

    /// The last value, if it is of this step.
    fn newest(&self, now: Timestamp) -> Option<f64> {
        self.values.last().filter(|(at, _)| now.since(*at) <= self.step)?.1
    }

    /// What production would have forecast at the last value. `None` without any value.
    fn forecast(&self, startup: Duration, now: Timestamp) -> Option<Forecast> {
        let (last, _) = *self.values.last()?;
        // A history that ended long ago gives an expired forecast; it need not reach until now.
        let age = now.since(last).min(self.step * (VALID_STEPS + 1));
        let lead_s = (startup + age).as_secs_f64();
        // The step in which a pod ordered now becomes ready: its end lies after that instant.
        let lead_steps = ((lead_s + 1e-6) / self.step.as_secs_f64()) as u32 + 1;
        let mut forecaster = LeadForecaster::for_horizon(self.step, lead_steps);
        for (at, value) in &self.values {
            match value {
                Some(value) => {
                    forecaster.observe(*at, *value);
                }
                None => forecaster.miss(*at),
            }
        }
        forecaster.forecast(lead_steps as usize, self.step * VALID_STEPS).ok()
    }
}

/// The median distance of the values, at least a second.
fn usual_distance(values: &[(Timestamp, Option<f64>)]) -> Duration {
    let mut distances: Vec<Duration> = values.windows(2).map(|w| w[1].0.since(w[0].0)).collect();
    distances.sort_unstable();
    let median = distances.get(distances.len() / 2).copied().unwrap_or(DEFAULT_STEP);
    median.clamp(Duration::from_secs(1), Duration::from_secs(3600))
}

/// The pods listed, or as many alike as there are.
fn pods(seen: &ObservationInput) -> Vec<Pod> {
    let now = seen.now.0;
    if let Some(listed) = &seen.pods {
        return listed.iter().enumerate().map(|(i, pod)| listed_pod(i, pod, now)).collect();
    }
    let ready = seen.ready.unwrap_or(seen.current);
    let old = PodStatus::ready(now - OLD, now - OLD);
    let pending = PodStatus { phase: Phase::Pending, ..PodStatus::default() };
    let status = |i: u32| if i < ready { old } else { pending };
    (0..seen.current.max(ready))
        .map(|i| Pod { name: format!("pod-{i}"), status: status(i), ..Pod::default() })
        .collect()
}

fn listed_pod(i: usize, pod: &PodInput, now: Timestamp) -> Pod {
    let started_at = pod.started_at.map_or(now - OLD, |at| at.0);
    let status = match pod.ready.unwrap_or(pod.phase == Phase::Running) {
        true => ConditionStatus::True,
        false => ConditionStatus::False,
    };
    let since = pod.ready_since.map_or(started_at, |at| at.0);
    let milli = |requests: &std::collections::BTreeMap<String, Quantity>| {
        requests.iter().map(|(resource, quantity)| (resource.clone(), quantity.milli())).collect()
    };
    let containers = pod.containers.iter().flatten();
    Pod {
        name: pod.name.clone().unwrap_or_else(|| format!("pod-{i}")),
        status: PodStatus {
            phase: pod.phase,
            deleted: pod.deleted,
            ready: Some(Readiness { status, since }),
            started_at: Some(started_at),
        },
        containers: containers
            .map(|c| Container { name: c.name.clone(), requests_milli: milli(&c.requests) })
            .collect(),
        requests_milli: pod.requests.as_ref().map(milli),
    }
}

/// One metric's reading, owning what the snapshot borrows.
enum Metered {
    Unavailable(MetricError),
    PerPod(PodReadings),
    Object(i64),
    External(Vec<i64>),
}

impl Metered {
    fn as_reading(&self) -> Reading<'_> {
        match self {
            Metered::Unavailable(error) => Reading::Unavailable(*error),
            Metered::PerPod(readings) => readings.as_reading(),
            Metered::Object(milli) => Reading::Object(*milli),
            Metered::External(milli) => Reading::External(milli),
        }
    }
}

/// A reading for every metric of the policy.
fn metered(input: &DecideInput, pods: &[Pod]) -> Vec<Metered> {
    let seen = &input.observation;
    let unread = ReadingInput::Error(MetricError::FetchFailed);
    let short = seen.cpu_utilization.map(ReadingInput::Utilization);
    let given = |i: usize, metric: &MetricSpec| match &seen.metrics {
        Some(metrics) => metrics.get(i),
        None => short.as_ref().filter(|_| metric.is_cpu()),
    };
    let metrics = input.policy.metrics.iter().enumerate();
    metrics.map(|(i, metric)| meter(metric, given(i, metric).unwrap_or(&unread), pods, seen)).collect()
}

fn meter(metric: &MetricSpec, reading: &ReadingInput, pods: &[Pod], seen: &ObservationInput) -> Metered {
    let now = seen.now.0;
    let requests: Vec<Request> =
        pods.iter().enumerate().map(|(i, pod)| request(metric, pod, i, seen)).collect();
    let alike = |value: &dyn Fn(usize) -> i64| {
        let sample = |i: usize| CustomSample {
            pod: pods[i].name.clone(),
            sample: PodSample { value_milli: value(i), at: now, window_ms: WINDOW_MS },
        };
        (0..pods.len()).filter(|&i| pods[i].status.serves()).map(sample).collect::<Vec<_>>()
    };
    let samples = match reading {
        ReadingInput::Error(error) => return Metered::Unavailable(*error),
        ReadingInput::Value(value) if matches!(metric, MetricSpec::Object { .. }) => {
            return Metered::Object(value.milli());
        }
        ReadingInput::Value(value) => return Metered::External(vec![value.milli()]),
        ReadingInput::Series(values) => return Metered::External(values.iter().map(|v| v.milli()).collect()),
        ReadingInput::Utilization(share) => {
            alike(&|i| (share * requests[i].milli().unwrap_or(0) as f64).round() as i64)
        }
        ReadingInput::Average(value) => alike(&|_| value.milli()),
        ReadingInput::Samples(samples) => {
            samples.iter().enumerate().map(|(i, s)| told(i, s, pods, now)).collect()
        }
    };
    match PodReadings::from_custom(pods, &samples) {
        Err(error) => Metered::Unavailable(error),
        Ok(mut readings) => {
            for (reading, request) in readings.pods.iter_mut().zip(requests) {
                reading.request = request;
            }
            readings.strays_milli.sort_unstable();
            Metered::PerPod(readings)
        }
    }
}

fn told(i: usize, sample: &SampleInput, pods: &[Pod], now: Timestamp) -> CustomSample {
    let by_place = || pods.get(i).map_or_else(|| format!("stray-{i}"), |pod| pod.name.clone());
    CustomSample {
        pod: sample.pod.clone().unwrap_or_else(by_place),
        sample: PodSample {
            value_milli: sample.value.milli(),
            at: sample.at.map_or(now, |at| at.0),
            window_ms: i64::from(sample.window_seconds) * 1000,
        },
    }
}

/// What the pod requests of what the metric measures; one unit where the line tells no requests of it.
fn request(metric: &MetricSpec, pod: &Pod, i: usize, seen: &ObservationInput) -> Request {
    let listed = seen.pods.as_ref().and_then(|pods| pods.get(i));
    let told = listed.is_some_and(|pod| pod.requests.is_some() || pod.containers.is_some());
    match metric {
        _ if !told => Request::Milli(UNIT_REQUEST_MILLI),
        MetricSpec::Resource { resource } => pod.request(&resource.name, None, true),
        MetricSpec::ContainerResource { container_resource: c } => {
            pod.request(&c.name, Some(&c.container), true)
        }
        _ => Request::Missing,
    }
}
