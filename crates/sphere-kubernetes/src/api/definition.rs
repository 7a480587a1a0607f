//! How does the API server learn what a PredictiveAutoscaler is?

use super::{
    API_VERSION, GROUP, KIND, NAMESPACE, PLURAL, PredictiveAutoscalerStatus, VERSION, rules, structural,
};
use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::CustomResourceDefinition;
use schemars::generate::SchemaSettings;
use schemars::{JsonSchema, SchemaGenerator};
use serde_json::{Value, json};
use sphere_pipeline::WorkloadSpec;

/// The schema of a type, structural.
fn schema_of<T: JsonSchema>() -> Value {
    let settings = SchemaSettings::draft2020_12().with(|settings| {
        settings.inline_subschemas = true;
        settings.meta_schema = None;
    });
    let mut schema = SchemaGenerator::new(settings).into_root_schema_for::<T>().to_value();
    structural::make(&mut schema);
    schema
}

/// The spec: the WorkloadSpec without its namespace, with limits and rules.
pub(super) fn spec_schema() -> Value {
    let mut schema = schema_of::<WorkloadSpec>();
    if let Some(properties) = schema["properties"].as_object_mut() {
        properties.remove(NAMESPACE);
    }
    if let Some(required) = schema["required"].as_array_mut() {
        required.retain(|key| key != NAMESPACE);
    }
    // Kept in the type so that a newer spec's other metrics still work; nobody is to write it.
    let kinds = rules::place(&mut schema, "metrics[].type").and_then(|kinds| kinds.get_mut("enum"));
    if let Some(Value::Array(kinds)) = kinds {
        kinds.retain(|kind| kind != "Unknown");
    }
    for (at, limit) in rules::limits() {
        let node = rules::place(&mut schema, &at).and_then(Value::as_object_mut);
        // That every place exists is checked by a test.
        if let (Some(node), Value::Object(limit)) = (node, limit) {
            node.extend(limit);
        }
    }
    for rules::Rule { at, rule, message } in rules::rules() {
        let node = rules::place(&mut schema, &at).and_then(Value::as_object_mut);
        let all = node.map(|node| node.entry("x-kubernetes-validations").or_insert_with(|| json!([])));
        if let Some(Value::Array(all)) = all {
            all.push(json!({"rule": rule, "message": message}));
        }
    }
    schema
}

fn status_schema() -> Value {
    let mut schema = schema_of::<PredictiveAutoscalerStatus>();
    let conditions = json!({"x-kubernetes-list-type": "map", "x-kubernetes-list-map-keys": ["type"]});
    let lists = [
        ("conditions", conditions),
        ("decisions", json!({"x-kubernetes-list-type": "atomic", "maxItems": super::DECISIONS_KEPT})),
        ("decisions[].reasons", json!({"x-kubernetes-list-type": "atomic"})),
    ];
    for (at, more) in lists {
        let node = rules::place(&mut schema, at).and_then(Value::as_object_mut);
        if let (Some(node), Value::Object(more)) = (node, more) {
            node.extend(more);
        }
    }
    schema
}

fn columns() -> Value {
    let column = |name: &str, kind: &str, path: &str, about: &str, priority: u32| json!({"name": name, "type": kind, "jsonPath": path, "description": about, "priority": priority});
    let condition = |of: &str| format!(".status.conditions[?(@.type==\"{of}\")].status");
    json!([
        column("Target", "string", ".spec.scaleTargetRef.name", "The object whose replicas are chosen", 0),
        column("Kind", "string", ".spec.scaleTargetRef.kind", "Its kind", 1),
        column("Mode", "string", ".spec.mode", "How far SPHERE may act", 0),
        column(
            "Acts",
            "string",
            ".status.mode",
            "How far it acts now: less, without trust or with a conflict",
            0
        ),
        column("Min", "integer", ".spec.minReplicas", "Fewest replicas", 0),
        column("Max", "integer", ".spec.maxReplicas", "Most replicas", 0),
        column("Current", "integer", ".status.currentReplicas", "Replicas asked for now", 0),
        column("Desired", "integer", ".status.desiredReplicas", "Replicas decided on", 0),
        column("Reactive", "integer", ".status.reactiveReplicas", "What an HPA would choose", 0),
        column("Predictive", "integer", ".status.predictiveReplicas", "What the forecast asks for", 0),
        column(
            "Trusted",
            "string",
            &condition("ForecastTrusted"),
            "Has the forecast earned the right to act",
            0
        ),
        column("Conflict", "string", &condition("Conflict"), "Does somebody else scale the target", 0),
        column("Model", "string", ".status.forecast.model", "The model of the forecast", 1),
        column("Lead", "number", ".status.leadTime.seconds", "Seconds until a replica ordered now serves", 1),
        column("Age", "date", ".metadata.creationTimestamp", "Time since it was created", 0),
    ])
}

/// The definition as it is written to files.
pub(super) fn definition() -> Value {
    let text = |text: &str| json!({"type": "string", "description": text});
    json!({
        "apiVersion": "apiextensions.k8s.io/v1",
        "kind": "CustomResourceDefinition",
        "metadata": {"name": format!("{PLURAL}.{GROUP}")},
        "spec": {
            "group": GROUP,
            "scope": "Namespaced",
            "names": {
                "kind": KIND,
                "listKind": format!("{KIND}List"),
                "plural": PLURAL,
                "singular": KIND.to_lowercase(),
                "shortNames": ["pa"],
                "categories": ["all"],
            },
            "versions": [{
                "name": VERSION,
                "served": true,
                "storage": true,
                "subresources": {"status": {}},
                "additionalPrinterColumns": columns(),
                "schema": {"openAPIV3Schema": {
                    "type": "object",
                    "description": "A workload that SPHERE scales ahead of demand. It decides at once and reports in the status; \
                                    how far it may act is said by `mode`.",
                    "required": ["spec"],
                    "properties": {
                        "apiVersion": text(&format!("Group and version of this object: {API_VERSION}.")),
                        "kind": text(&format!("Kind of this object: {KIND}.")),
                        "metadata": {"type": "object"},
                        "spec": spec_schema(),
                        "status": status_schema(),
                    },
                }},
            }],
        },
    })
}

/// The definition of the resource, for the API server.
///
/// # Panics
///
/// Never: that the generated definition is one is checked by a test of this crate.
pub fn crd() -> CustomResourceDefinition {
    serde_json::from_value(definition()).expect("the generated definition is one")
}

/// The definition as YAML, for `kubectl apply` and the chart.
///
/// # Panics
///
/// Never, as [`crd`].
pub fn crd_yaml() -> String {
    let body = serde_saphyr::to_string(&definition()).expect("JSON can be written as YAML");
    format!("# Generated from the types of SPHERE by `make generate`. Do not edit.\n{body}")
}
