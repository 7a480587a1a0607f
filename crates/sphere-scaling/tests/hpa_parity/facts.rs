//! From the facts of a case to the types of the crate. Ages become instants before [`NOW`].

use serde_json::Value;
use sphere_core::Timestamp;
use sphere_scaling::hpa::*;
use std::collections::BTreeMap;

/// The instant of evaluation: late enough that every age of a case lies after the epoch.
pub const NOW: Timestamp = Timestamp::from_secs(2_000_000_000);

pub fn int(v: &Value) -> i64 {
    opt_int(v).unwrap()
}

pub fn opt_int(v: &Value) -> Option<i64> {
    v.as_i64().or_else(|| v.as_f64().map(|x| x as i64))
}

pub fn count(v: &Value) -> i32 {
    int(v).try_into().unwrap()
}

pub fn list(v: &Value) -> &[Value] {
    v.as_array().map_or(&[], Vec::as_slice)
}

/// The instant so many (maybe fractional) seconds ago.
pub fn ago(v: &Value) -> Timestamp {
    Timestamp(NOW.millis() - (v.as_f64().unwrap() * 1000.0).round() as i64)
}

/// The resource asked about; an empty one is a custom metric.
pub fn resource(inputs: &Value) -> &str {
    inputs["resource"].as_str().unwrap_or("")
}

pub fn container(v: &Value) -> Option<&str> {
    v["container"].as_str().filter(|c| !c.is_empty())
}

/// Requests per container, either `{name: milli}` or a list in order; null is a container without a request.
fn containers(v: &Value, resource: &str) -> Vec<Container> {
    let one = |name: String, milli: &Value| Container {
        name,
        requests_milli: opt_int(milli).map(|m| (resource.to_owned(), m)).into_iter().collect(),
    };
    match v {
        Value::Object(map) => map.iter().map(|(name, milli)| one(name.clone(), milli)).collect(),
        Value::Array(all) => {
            all.iter().enumerate().map(|(i, m)| one(format!("container{}", i + 1), m)).collect()
        }
        _ => Vec::new(),
    }
}

pub fn status(v: &str) -> ConditionStatus {
    match v {
        "True" => ConditionStatus::True,
        "False" => ConditionStatus::False,
        "Unknown" => ConditionStatus::Unknown,
        other => panic!("condition status {other:?}"),
    }
}

fn pod(v: &Value, resource: &str) -> Pod {
    let phase = match v["phase"].as_str().unwrap_or("Running") {
        "Pending" => Phase::Pending,
        "Running" => Phase::Running,
        "Succeeded" => Phase::Succeeded,
        "Failed" => Phase::Failed,
        "Unknown" => Phase::Unknown,
        other => panic!("phase {other:?}"),
    };
    let since =
        if v["ready_transition_age_s"].is_null() { Timestamp(0) } else { ago(&v["ready_transition_age_s"]) };
    let mut all = containers(&v["requests_milli"], resource);
    all.extend(containers(&v["restartable_init_requests_milli"], resource));
    let level = opt_int(&v["pod_level_request_milli"]);
    Pod {
        name: v["name"].as_str().unwrap().to_owned(),
        status: PodStatus {
            phase,
            deleted: v["deleted"].as_bool().unwrap_or(false),
            ready: v["ready"].as_str().map(|s| Readiness { status: status(s), since }),
            started_at: (!v["start_age_s"].is_null()).then(|| ago(&v["start_age_s"])),
        },
        containers: all,
        requests_milli: level.map(|milli| BTreeMap::from([(resource.to_owned(), milli)])),
    }
}

pub fn pods(v: &Value, resource: &str) -> Vec<Pod> {
    list(v).iter().map(|v| pod(v, resource)).collect()
}

fn window_ms(v: &Value) -> i64 {
    v["window_s"].as_f64().map_or(60_000, |s| (s * 1000.0).round() as i64)
}

fn sampled_at(v: &Value) -> Timestamp {
    if v["age_s"].is_null() { NOW } else { ago(&v["age_s"]) }
}

pub fn resource_samples(v: &Value, resource: &str) -> Vec<ResourceSample> {
    let usage = |name: &str, milli: &Value| ContainerUsage {
        name: name.to_owned(),
        usage_milli: opt_int(milli).map(|m| (resource.to_owned(), m)).into_iter().collect(),
    };
    let one = |v: &Value| ResourceSample {
        pod: v["pod"].as_str().unwrap().to_owned(),
        containers: match &v["containers_milli"] {
            Value::Object(map) => map.iter().map(|(name, milli)| usage(name, milli)).collect(),
            Value::Array(all) => {
                all.iter().enumerate().map(|(i, m)| usage(&format!("container{}", i + 1), m)).collect()
            }
            _ => Vec::new(),
        },
        at: sampled_at(v),
        window_ms: window_ms(v),
    };
    list(v).iter().map(one).collect()
}

pub fn custom_samples(v: &Value) -> Vec<CustomSample> {
    let one = |v: &Value| CustomSample {
        pod: v["pod"].as_str().unwrap().to_owned(),
        sample: PodSample { value_milli: int(&v["value_milli"]), at: sampled_at(v), window_ms: window_ms(v) },
    };
    list(v).iter().map(one).collect()
}

/// Samples of either form, joined with the pods.
pub fn readings(
    pods: &[Pod],
    samples: &Value,
    resource: &str,
    container: Option<&str>,
    pod_level: bool,
) -> Result<PodReadings, MetricError> {
    let all_plain = list(samples).iter().all(|s| s.get("containers_milli").is_none());
    if samples.is_null() {
        Err(MetricError::FetchFailed)
    } else if all_plain && !list(samples).is_empty() {
        PodReadings::from_custom(pods, &custom_samples(samples)).map(|mut joined| {
            for (reading, pod) in joined.pods.iter_mut().zip(pods) {
                reading.request = pod.request(resource, container, pod_level);
            }
            joined
        })
    } else {
        PodReadings::from_resource(pods, &resource_samples(samples, resource), resource, container, pod_level)
    }
}

pub fn tolerance(v: &Value) -> Tolerance {
    match v.as_f64() {
        Some(both) => Tolerance { down: both, up: both },
        None => Tolerance {
            down: v["scale_down"].as_f64().unwrap_or(0.1),
            up: v["scale_up"].as_f64().unwrap_or(0.1),
        },
    }
}

/// A case's own configuration over the production defaults. Unknown keys fail.
pub fn config(v: &Value) -> HpaConfig {
    if v.is_null() { HpaConfig::default() } else { serde_json::from_value(v.clone()).unwrap() }
}

pub fn rules(v: &Value) -> Option<Rules> {
    let policy = |v: &Value| Policy {
        kind: match v["type"].as_str().unwrap() {
            "Pods" => PolicyType::Pods,
            "Percent" => PolicyType::Percent,
            other => panic!("policy {other:?}"),
        },
        value: count(&v["value"]),
        period_seconds: int(&v["period_s"]).try_into().unwrap(),
    };
    (!v.is_null()).then(|| Rules {
        stabilization_window_seconds: opt_int(&v["stabilization_window_s"]).map(|s| s.try_into().unwrap()),
        select_policy: v["select_policy"].as_str().map(|s| match s {
            "Max" => SelectPolicy::Max,
            "Min" => SelectPolicy::Min,
            "Disabled" => SelectPolicy::Disabled,
            other => panic!("select policy {other:?}"),
        }),
        policies: v["policies"].as_array().map(|all| all.iter().map(policy).collect()),
        tolerance: v["tolerance"].as_f64().and_then(Fraction::new),
    })
}

pub fn behavior(v: &Value) -> Option<Behavior> {
    (!v.is_null()).then(|| Behavior { scale_up: rules(&v["scale_up"]), scale_down: rules(&v["scale_down"]) })
}

pub fn event_log(v: &Value) -> EventLog {
    let one = |v: &Value| ScaleEvent {
        change: count(&v["change"]),
        at: ago(&v["age_s"]),
        outdated: v["outdated"].as_bool().unwrap_or(false),
    };
    EventLog(list(v).iter().map(one).collect())
}

pub fn events(inputs: &Value) -> ScaleEvents {
    ScaleEvents { up: event_log(&inputs["scale_up_events"]), down: event_log(&inputs["scale_down_events"]) }
}

pub fn recommendations(v: &Value) -> Option<RecommendationLog> {
    let one = |v: &Value| Recommendation { replicas: count(&v["replicas"]), at: ago(&v["age_s"]) };
    v.as_array().map(|all| RecommendationLog(all.iter().map(one).collect()))
}
