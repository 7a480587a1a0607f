//! What came: one function per kind of case, each calling the part of the crate that the kind is about.

use crate::facts::*;
use serde_json::{Map, Value, json};
use sphere_scaling::hpa::*;
use std::collections::BTreeMap;

/// Runs a case; `None` for an unknown kind.
pub fn run(kind: &str, inputs: &Value) -> Option<Value> {
    Some(match kind {
        "utilization" => answer(per_pod(inputs), "raw_average_milli"),
        "raw" => answer(per_pod(inputs), "usage_milli"),
        "object" => answer(total(inputs, Ok(opt_int(&inputs["value_milli"]))), "usage_milli"),
        "external" => {
            let values = inputs["values_milli"].as_array();
            let values = values.map(|all| all.iter().map(int).collect::<Vec<_>>());
            answer(total(inputs, values.map(|v| external_total(&v)).transpose()), "usage_milli")
        }
        "ratio" => ratio(inputs),
        "group_pods" => group_pods(inputs),
        "requests" => requests(inputs),
        "stabilize" => stabilize(inputs),
        "rules" => legacy_rules(inputs),
        "limit" => policy_limit(inputs),
        "behavior" => behavior_limits(inputs),
        "events" => scale_events(inputs),
        "reconcile" => crate::kinds::reconcile::run(inputs),
        _ => return None,
    })
}

fn error(error: MetricError) -> Value {
    json!({ "error": error })
}

fn answer(outcome: Result<Proposal, MetricError>, value_key: &str) -> Value {
    match outcome {
        Err(e) => error(e),
        Ok(p) => {
            let mut map = Map::from_iter([
                ("error".into(), Value::Null),
                ("replicas".into(), p.replicas.into()),
                (value_key.into(), p.value_milli.into()),
            ]);
            if let Some(percent) = p.utilization_pct {
                map.insert("utilization".into(), percent.into());
            }
            map.into()
        }
    }
}

fn statuses(pods: &[Pod]) -> Vec<PodStatus> {
    pods.iter().map(|p| p.status).collect()
}

fn failed_fetch(inputs: &Value) -> bool {
    inputs["fetch_error"].as_bool().unwrap_or(false) || !list(&inputs["fetch_errors"]).is_empty()
}

fn per_pod(inputs: &Value) -> Result<Proposal, MetricError> {
    if failed_fetch(inputs) {
        return Err(MetricError::FetchFailed);
    }
    let (resource, container, config) = (resource(inputs), container(inputs), config(&inputs["config"]));
    let pods = pods(&inputs["pods"], resource);
    let pod_level = inputs["pod_level_resources"].as_bool().unwrap_or(config.pod_level_resources);
    let joined = readings(&pods, &inputs["samples"], resource, container, pod_level)?;
    let pods = statuses(&pods);
    let metered = PerPod {
        now: NOW,
        current: count(&inputs["current_replicas"]),
        pods: &pods,
        readings: &joined.pods,
        strays_milli: &joined.strays_milli,
        cpu: resource == "cpu",
        tolerance: tolerance(&inputs["tolerance"]),
        config: &config,
    };
    match opt_int(&inputs["target_utilization"]) {
        Some(percent) => metered.utilization(percent.try_into().unwrap()),
        None => metered.average(int(&inputs["target_value_milli"])),
    }
}

fn total(inputs: &Value, value: Result<Option<i64>, MetricError>) -> Result<Proposal, MetricError> {
    let value = value?.filter(|_| !failed_fetch(inputs)).ok_or(MetricError::FetchFailed)?;
    let tolerance = tolerance(&inputs["tolerance"]);
    match inputs["mode"].as_str().unwrap() {
        "value" => {
            let (current, target) = (count(&inputs["current_replicas"]), int(&inputs["target_value_milli"]));
            total_target(current, value, target, &statuses(&pods(&inputs["pods"], "")), tolerance)
        }
        "average" => {
            let (replicas, target) =
                (count(&inputs["status_replicas"]), int(&inputs["target_average_value_milli"]));
            Ok(shared_target(replicas, value, target, tolerance))
        }
        other => panic!("mode {other:?}"),
    }
}

fn by_pod(v: &Value) -> BTreeMap<&str, i64> {
    v.as_object().unwrap().iter().map(|(pod, milli)| (pod.as_str(), int(milli))).collect()
}

fn ratio(inputs: &Value) -> Value {
    let usage = by_pod(&inputs["usage_milli"]);
    match inputs["mode"].as_str().unwrap() {
        "utilization" => {
            let requests = by_pod(&inputs["requests_milli"]);
            let pairs = usage.iter().filter_map(|(pod, &used)| Some((used, *requests.get(pod)?)));
            match utilization_ratio(pairs, count(&inputs["target_utilization"])) {
                Err(e) => error(e),
                Ok(r) => json!({
                    "error": null,
                    "ratio": r.ratio,
                    "utilization": r.utilization_pct,
                    "raw_average_milli": r.average_milli,
                }),
            }
        }
        "average" => match average_ratio(usage.into_values(), int(&inputs["target_value_milli"])) {
            None => error(MetricError::NoUsableMetrics),
            Some((ratio, average)) => json!({"error": null, "ratio": ratio, "usage_milli": average}),
        },
        other => panic!("mode {other:?}"),
    }
}

fn group_pods(inputs: &Value) -> Value {
    let (resource, config) = (resource(inputs), config(&inputs["config"]));
    let pods = pods(&inputs["pods"], resource);
    let joined = readings(&pods, &inputs["samples"], resource, container(inputs), true);
    let mut counted = 0;
    let mut groups: BTreeMap<&str, Vec<&str>> =
        [("unready", vec![]), ("missing", vec![]), ("ignored", vec![])].into();
    for (i, pod) in pods.iter().enumerate() {
        let sample = joined.as_ref().ok().and_then(|j| j.pods[i].sample);
        let name = match group_of(NOW, &pod.status, sample.as_ref(), resource == "cpu", &config) {
            PodGroup::Counted => {
                counted += 1;
                continue;
            }
            PodGroup::Unready => "unready",
            PodGroup::Missing => "missing",
            PodGroup::Ignored => "ignored",
        };
        groups.get_mut(name).unwrap().push(&pod.name);
    }
    groups.values_mut().for_each(|names| names.sort());
    let mut came = json!(groups);
    came["counted"] = counted.into();
    came
}

fn requests(inputs: &Value) -> Value {
    let resource = resource(inputs);
    let pod_level = inputs["pod_level_resources"].as_bool().unwrap_or(true);
    let mut all = Map::new();
    for pod in pods(&inputs["pods"], resource) {
        match pod.request(resource, container(inputs), pod_level).milli() {
            Ok(milli) => all.insert(pod.name, milli.into()),
            Err(e) => return error(e),
        };
    }
    json!({"error": null, "requests_milli": all})
}

fn stabilize(inputs: &Value) -> Value {
    let mut log = recommendations(&inputs["recommendations"]).unwrap_or_default();
    let proposal = count(&inputs["desired_replicas"]);
    let seconds = |key: &str| u32::try_from(int(&inputs[key])).unwrap();
    let replicas = match inputs["mode"].as_str().unwrap() {
        "legacy" => log.stabilize_legacy(NOW, proposal, seconds("downscale_stabilization_s")),
        "behavior" => {
            let current = count(&inputs["current_replicas"]);
            log.stabilize(
                NOW,
                current,
                proposal,
                seconds("scale_up_window_s"),
                seconds("scale_down_window_s"),
            )
        }
        other => panic!("mode {other:?}"),
    };
    let values: Vec<i32> = log.0.iter().map(|r| r.replicas).collect();
    json!({"replicas": replicas, "log_length": values.len(), "log": values, "error": null})
}

fn bounds(inputs: &Value) -> (i32, i32, i32, i32) {
    let of = |key: &str| count(&inputs[key]);
    let min = opt_int(&inputs["min_replicas"]).map_or(1, |m| m.try_into().unwrap());
    (of("current_replicas"), of("desired_replicas"), min, of("max_replicas"))
}

fn legacy_rules(inputs: &Value) -> Value {
    let (current, wanted, min, max) = bounds(inputs);
    let mut config = HpaConfig::default();
    config.scale_up_limit_factor =
        inputs["scale_up_limit_factor"].as_f64().unwrap_or(config.scale_up_limit_factor);
    config.scale_up_limit_minimum =
        inputs["scale_up_limit_minimum"].as_f64().unwrap_or(config.scale_up_limit_minimum);
    let limited = limit_legacy(current, wanted, min, max, &config);
    json!({"replicas": limited.replicas, "reason": limited.reason, "error": null})
}

fn policy_limit(inputs: &Value) -> Value {
    let (current, events, rules) =
        (count(&inputs["current_replicas"]), events(inputs), rules(&inputs["rules"]));
    let limit = match inputs["direction"].as_str().unwrap() {
        "up" => events.up_limit(NOW, current, &ScalingRules::up(rules.as_ref())),
        "down" => events.down_limit(NOW, current, &ScalingRules::down(rules.as_ref(), &HpaConfig::default())),
        other => panic!("direction {other:?}"),
    };
    json!({"limit": limit, "error": null})
}

fn behavior_limits(inputs: &Value) -> Value {
    let (current, wanted, min, max) = bounds(inputs);
    let behavior = behavior(&inputs["behavior"]).unwrap_or_default();
    let behavior = ResolvedBehavior::new(&behavior, &HpaConfig::default());
    let limited = limit(NOW, current, wanted, min, max, &behavior, &events(inputs));
    json!({"replicas": limited.replicas, "reason": limited.reason, "error": null})
}

fn scale_events(inputs: &Value) -> Value {
    let mut log = event_log(&inputs["events"]);
    let before = log.change_within(NOW, int(&inputs["query_period_s"]).try_into().unwrap());
    if let Some(rules) = rules(&inputs["rules"]) {
        log.store(NOW, count(&inputs["replica_change"]), &ScalingRules::up(Some(&rules)));
    }
    let after: Vec<Value> =
        log.0.iter().map(|e| json!({"change": e.change, "outdated": e.outdated})).collect();
    json!({"change_in_period_before": before, "events_after": after, "error": null})
}

#[path = "reconcile.rs"]
mod reconcile;
