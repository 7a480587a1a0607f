//! One whole sync.

use crate::facts::*;
use serde_json::{Value, json};
use sphere_core::Timestamp;
use sphere_scaling::hpa::*;
use std::collections::BTreeMap;

/// Pods of a case have the same requests for every resource its metrics name.
fn pods_of(inputs: &Value, metrics: &[MetricSpec]) -> Vec<Pod> {
    let mut all = pods(&inputs["pods"], "cpu");
    for name in metrics.iter().map(MetricSpec::name) {
        let copy = |requests: &mut BTreeMap<String, i64>| {
            if let Some(&milli) = requests.get("cpu") {
                requests.insert(name.to_owned(), milli);
            }
        };
        for pod in &mut all {
            pod.containers.iter_mut().for_each(|c| copy(&mut c.requests_milli));
            pod.requests_milli.iter_mut().for_each(copy);
        }
    }
    all
}

fn metric(v: &Value) -> MetricSpec {
    let quantity = |key: &str| opt_int(&v[key]).map(Quantity::from_milli);
    let (value, average_value) = (quantity("target_value_milli"), quantity("target_average_value_milli"));
    let average_utilization = opt_int(&v["target_average_utilization"]).map(|p| p.try_into().unwrap());
    let kind = match (value.is_some(), average_value.is_some()) {
        (true, _) => TargetType::Value,
        (_, true) => TargetType::AverageValue,
        _ => TargetType::Utilization,
    };
    let target = MetricTarget { kind, value, average_value, average_utilization };
    let name = v["resource"].as_str().unwrap_or("cpu").to_owned();
    let metric = MetricIdentifier { name: "qps".into(), selector: None };
    match v["type"].as_str().unwrap() {
        "Resource" => MetricSpec::Resource { resource: ResourceMetric { name, target } },
        "ContainerResource" => MetricSpec::ContainerResource {
            container_resource: ContainerResourceMetric {
                name,
                container: v["container"].as_str().unwrap().to_owned(),
                target,
            },
        },
        "Pods" => MetricSpec::Pods { pods: PodsMetric { metric, target } },
        "Object" => {
            let described_object = ObjectReference::default();
            MetricSpec::Object { object: ObjectMetric { described_object, metric, target } }
        }
        "External" => MetricSpec::External { external: ExternalMetric { metric, target } },
        _ => MetricSpec::Unknown,
    }
}

/// What a metrics API answered, kept so that a [`Reading`] can borrow it.
enum Fetched {
    Nothing(MetricError),
    PerPod(PodReadings),
    Object(i64),
    External(Vec<i64>),
}

fn fetch(spec: &MetricSpec, inputs: &Value, pods: &[Pod], pod_level: bool) -> Fetched {
    let fails = |api: &str| list(&inputs["fetch_errors"]).iter().any(|e| e == api);
    let per_pod =
        |joined: Result<PodReadings, MetricError>| joined.map_or_else(Fetched::Nothing, Fetched::PerPod);
    let from_resource = |resource: &str, container: Option<&str>| {
        let samples = resource_samples(&inputs["resource_samples"], resource);
        per_pod(PodReadings::from_resource(pods, &samples, resource, container, pod_level))
    };
    let failed = Fetched::Nothing(MetricError::FetchFailed);
    match spec {
        MetricSpec::Resource { .. } | MetricSpec::ContainerResource { .. } if fails("resource") => failed,
        MetricSpec::Pods { .. } | MetricSpec::Object { .. } if fails("custom") => failed,
        MetricSpec::External { .. } if fails("external") => failed,
        MetricSpec::Resource { resource } => from_resource(&resource.name, None),
        MetricSpec::ContainerResource { container_resource: c } => from_resource(&c.name, Some(&c.container)),
        MetricSpec::Pods { .. } => {
            per_pod(PodReadings::from_custom(pods, &custom_samples(&inputs["pod_metric_samples"])))
        }
        MetricSpec::Object { .. } => opt_int(&inputs["object_value_milli"]).map_or(failed, Fetched::Object),
        MetricSpec::External { .. } => {
            Fetched::External(list(&inputs["external_values_milli"]).iter().map(int).collect())
        }
        MetricSpec::Unknown => failed,
    }
}

fn conditions(v: &Value) -> Vec<Condition> {
    let one = |v: &Value| {
        let mut v = v.clone();
        v.as_object_mut().unwrap().retain(|key, _| matches!(key.as_str(), "type" | "status" | "reason"));
        serde_json::from_value(v).unwrap()
    };
    list(v).iter().map(one).collect()
}

pub fn run(inputs: &Value) -> Value {
    let (spec, scale) = (&inputs["spec"], &inputs["scale"]);
    let config = config(&inputs["config"]);
    let metrics: Vec<MetricSpec> = list(&spec["metrics"]).iter().map(metric).collect();
    let pods = pods_of(inputs, &metrics);
    let fetched: Vec<Fetched> =
        metrics.iter().map(|m| fetch(m, inputs, &pods, config.pod_level_resources)).collect();
    let readings: Vec<Reading<'_>> = fetched
        .iter()
        .map(|f| match f {
            Fetched::Nothing(error) => Reading::Unavailable(*error),
            Fetched::PerPod(joined) => joined.as_reading(),
            Fetched::Object(value) => Reading::Object(*value),
            Fetched::External(values) => Reading::External(values),
        })
        .collect();
    let state = HpaState {
        status: HpaStatus {
            current_replicas: count(&scale["spec_replicas"]),
            desired_replicas: count(&inputs["status_desired_replicas"]),
            last_scale_at: None,
            metrics: Vec::new(),
            conditions: conditions(&inputs["conditions"]),
        },
        recommendations: recommendations(&inputs["recommendations"]),
        events: events(inputs),
    };
    let spec = HpaSpec {
        min_replicas: opt_int(&spec["min_replicas"]).map(|m| m.try_into().unwrap()),
        max_replicas: count(&spec["max_replicas"]),
        metrics,
        behavior: behavior(&spec["behavior"]),
    };
    let mut hpa = Hpa::with_state(spec, config, state);
    let statuses: Vec<PodStatus> = pods.iter().map(|p| p.status).collect();
    let replicas = Scale {
        spec_replicas: count(&scale["spec_replicas"]),
        status_replicas: count(&scale["status_replicas"]),
    };
    let seen = Snapshot {
        scale: (!scale["get_error"].as_bool().unwrap_or(false)).then_some(replicas),
        selector: match scale["selector_state"].as_str().unwrap_or("ok") {
            "ok" => Selector::Valid,
            "missing" | "unparsable" => Selector::Invalid,
            "ambiguous" => Selector::Ambiguous,
            other => panic!("selector state {other:?}"),
        },
        pods: &statuses,
        readings: &readings,
    };
    let evaluation = hpa.evaluate(NOW, &seen);
    let refused = scale["update_error"].as_bool().unwrap_or(false);
    let outcome = hpa.record(&evaluation, if refused { ScaleWrite::Failed } else { ScaleWrite::Done });
    // The state must survive a restart unchanged.
    let saved: HpaState = serde_json::from_value(json!(hpa.state())).unwrap();
    assert_eq!(&saved, hpa.state());

    let cpu_utilization = hpa.spec().metrics.iter().zip(&hpa.status().metrics).find_map(|(m, s)| match s {
        MetricStatus::Valid(p) if m.is_cpu() => p.utilization_pct,
        _ => None,
    });
    let log = |events: &EventLog| -> Vec<Value> {
        let one = |e: &ScaleEvent| json!({"change": e.change, "outdated": e.outdated});
        events.0.iter().map(one).collect()
    };
    let recommendations = hpa.state().recommendations.as_ref();
    json!({
        "desired_replicas": outcome.desired_replicas,
        "rescaled": outcome.rescaled,
        "error": outcome.error.is_some(),
        "conditions": hpa.status().conditions,
        "current_cpu_utilization": cpu_utilization,
        "current_replicas": hpa.status().current_replicas,
        "recommendations": recommendations.map(|l| l.0.iter().map(|r| r.replicas).collect::<Vec<_>>()),
        "scale_up_events": log(&hpa.state().events.up),
        "scale_down_events": log(&hpa.state().events.down),
        "last_scale_at": hpa.status().last_scale_at.map(Timestamp::millis),
    })
}
