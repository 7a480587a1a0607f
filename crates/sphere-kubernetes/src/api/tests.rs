use super::*;
use serde_json::json;
use sphere_core::{Decision, Mode, Reason, Timestamp};
use sphere_pipeline::workload::WorkloadSpec;
use std::path::PathBuf;

const STEP: Duration = Duration::from_secs(10);

fn object(spec: &Value) -> Result<PredictiveAutoscaler, serde_json::Error> {
    serde_json::from_value(json!({
        "apiVersion": API_VERSION, "kind": KIND,
        "metadata": {"name": "front-end", "namespace": "shop"},
        "spec": spec,
    }))
}

fn least() -> Value {
    json!({"scaleTargetRef": {"name": "front-end"}, "maxReplicas": 10})
}

/// What the API server does with defaults: absent fields of present objects get theirs, from the outside in.
fn with_defaults(value: &mut Value, schema: &Value) {
    let Some(properties) = schema.get("properties").and_then(Value::as_object) else {
        if let (Some(items), Some(item)) = (value.as_array_mut(), schema.get("items")) {
            items.iter_mut().for_each(|value| with_defaults(value, item));
        }
        return;
    };
    let Some(fields) = value.as_object_mut() else { return };
    for (key, schema) in properties {
        if let (None, Some(default)) = (fields.get(key), schema.get("default")) {
            fields.insert(key.clone(), default.clone());
        }
        if let Some(value) = fields.get_mut(key) {
            with_defaults(value, schema);
        }
    }
}

#[test]
fn defaults_of_the_schema_are_those_of_the_types() {
    let mut spec = least();
    with_defaults(&mut spec, &definition::spec_schema());
    let in_schema = object(&spec).unwrap();
    assert_eq!(in_schema, object(&least()).unwrap());
    // And the schema has one for every field that may be absent and is not optional.
    let mut written = serde_json::to_value(&in_schema).unwrap()["spec"].take();
    let mut defaulted = spec;
    for value in [&mut written, &mut defaulted] {
        // Numbers are written as the type has them: 20 and 20.0 are one.
        *value = serde_json::from_str(&value.to_string().replace(".0", "")).unwrap();
    }
    assert_eq!(written, defaulted);
}

#[test]
fn an_object_is_a_workload_of_its_namespace() {
    let object = object(&least()).unwrap();
    let workload = to_workload(&object, STEP).unwrap();
    assert_eq!(workload.id.to_string(), "shop/Deployment/front-end");
    assert_eq!((workload.spec.mode, workload.spec.min_replicas), (Mode::Observe, 1));
    let written = serde_json::to_value(&object).unwrap();
    assert_eq!(written["apiVersion"], API_VERSION);
    assert!(written["spec"].get("namespace").is_none());
    assert_eq!(serde_json::from_value::<PredictiveAutoscaler>(written).unwrap(), object);
    assert_eq!(PredictiveAutoscaler::new("front-end", workload.spec.clone()), object);
}

#[test]
fn what_is_no_spec_is_refused_with_its_reason() {
    for (field, value, why) in [
        ("namespace", json!("other"), "namespace"),
        ("maxReplica", json!(3), "maxReplica"),
        ("mode", json!("observe"), "Observe"),
        ("metrics", json!([{"type": "Resourc"}]), "Resourc"),
    ] {
        let mut spec = least();
        spec[field] = value;
        let error = object(&spec).unwrap_err().to_string();
        assert!(error.contains(why), "{field}: {error}");
    }
    let mut homeless = object(&least()).unwrap();
    homeless.metadata.namespace = None;
    assert!(to_workload(&homeless, STEP).unwrap_err().to_string().contains("namespace"));
}

#[test]
fn a_status_of_another_version_does_not_hide_the_spec() {
    let mut written = serde_json::to_value(object(&least()).unwrap()).unwrap();
    written["status"] = json!({"mode": "Autopilot", "currentReplicas": 3});
    let object: PredictiveAutoscaler = serde_json::from_value(written).unwrap();
    assert_eq!(object.status, None);
}

#[test]
fn a_decision_is_told_with_names_and_words() {
    let decision = Decision {
        workload: None,
        at: Timestamp::from_secs(1_800_000_000),
        current: 3,
        reactive: Some(3),
        predictive: Some(5),
        desired: 5,
        mode: Mode::ScaleOut,
        applied: true,
        reasons: vec![Reason::TooManyReplicas { max: 5 }],
    };
    let told = serde_json::to_value(DecisionStatus::from(&decision)).unwrap();
    assert_eq!(
        told,
        json!({"time": "2027-01-15T08:00:00Z", "current": 3, "desired": 5, "reactive": 3, "predictive": 5,
               "mode": "ScaleOut", "applied": true,
               "reasons": [{"reason": "TooManyReplicas", "message": "maxReplicas is 5"}]})
    );
}

/// The rules of apiextensions.k8s.io/v1 on structural schemas, as far as a generator can break them.
fn check_structural(schema: &Value, at: &str) {
    let node = schema.as_object().unwrap_or_else(|| panic!("{at}: {schema}"));
    for key in
        ["$ref", "oneOf", "allOf", "not", "const", "nullable", "definitions", "$defs", "patternProperties"]
    {
        assert!(!node.contains_key(key), "{at} has {key}");
    }
    let int_or_string = node.get("x-kubernetes-int-or-string") == Some(&json!(true));
    assert!(int_or_string || node.get("type").is_some_and(Value::is_string), "{at} has no type");
    assert!(int_or_string || !node.contains_key("anyOf"), "{at} has anyOf");
    assert!(
        !(node.contains_key("properties") && node.contains_key("additionalProperties")),
        "{at} is both an object and a map"
    );
    if at.contains("spec") {
        let described = node.get("description").and_then(Value::as_str).unwrap_or_default();
        assert!(described.len() > 10 || at.ends_with("[]") || at.ends_with("{}"), "{at}: {described:?}");
        assert!(!described.contains("[`") && !described.contains("See the"), "{at}: {described:?}");
    }
    if node.get("type") == Some(&json!("array")) {
        check_structural(&node["items"], &format!("{at}[]"));
    }
    if let Some(values) = node.get("additionalProperties") {
        check_structural(values, &format!("{at}{{}}"));
    }
    for (key, child) in node.get("properties").and_then(Value::as_object).into_iter().flatten() {
        check_structural(child, &format!("{at}.{key}"));
    }
}

#[test]
fn the_schema_is_structural_and_explains_every_field() {
    let definition = definition::definition();
    let schema = &definition["spec"]["versions"][0]["schema"]["openAPIV3Schema"];
    check_structural(&schema["properties"]["spec"], "spec");
    check_structural(&schema["properties"]["status"], "status");
    assert_eq!(crd().spec.names.kind, KIND);
    assert!(crd_yaml().contains("shortNames:"));
    let read: Value = serde_saphyr::from_str(&crd_yaml()).unwrap();
    assert_eq!(read, serde_json::from_str::<Value>(&definition.to_string()).unwrap());
}

#[test]
fn every_limit_and_rule_has_its_place() {
    let mut schema = definition::spec_schema();
    for (at, _) in rules::limits() {
        assert!(rules::place(&mut schema, &at).is_some(), "{at}");
    }
    for rule in rules::rules() {
        assert!(rules::place(&mut schema, &rule.at).is_some(), "{}", rule.at);
        assert!(!rule.message.contains('\n') && rule.message.len() > 20, "{}", rule.message);
    }
}

fn examples() -> Vec<(String, String)> {
    let folder = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../../examples/kubernetes");
    let mut files: Vec<_> = std::fs::read_dir(folder)
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .filter(|path| path.extension().is_some_and(|e| e == "yaml"))
        .map(|path| (path.display().to_string(), std::fs::read_to_string(path).unwrap()))
        .collect();
    files.sort();
    files
}

#[test]
fn every_example_can_be_used() {
    let mut seen = 0;
    for (path, text) in examples() {
        for document in serde_saphyr::from_multiple::<Value>(&text).unwrap() {
            if document["kind"] != KIND {
                continue;
            }
            let object: PredictiveAutoscaler =
                serde_json::from_value(document).unwrap_or_else(|error| panic!("{path}: {error}"));
            to_workload(&object, STEP).unwrap_or_else(|error| panic!("{path}: {error}"));
            seen += 1;
        }
    }
    assert!(seen >= 5, "{seen} examples");
}

#[test]
fn the_examples_show_every_field() {
    let mut shown = std::collections::BTreeSet::new();
    for (_, text) in examples() {
        for document in serde_saphyr::from_multiple::<Value>(&text).unwrap() {
            if document["kind"] == KIND {
                shown.extend(document["spec"].as_object().unwrap().keys().cloned());
            }
        }
    }
    let fields = definition::spec_schema()["properties"].as_object().unwrap().clone();
    // The founding rule is there to be compared with, not to be shown.
    let missing: Vec<&String> =
        fields.keys().filter(|key| !shown.contains(*key) && *key != "policy").collect();
    assert!(missing.is_empty(), "{missing:?}");
}

/// RFC 7386.
fn merge(into: &mut Value, patch: &Value) {
    match (into, patch) {
        (Value::Object(into), Value::Object(patch)) => {
            for (key, value) in patch {
                merge(into.entry(key).or_insert(Value::Null), value);
            }
        }
        (into, patch) => *into = patch.clone(),
    }
}

#[test]
fn what_the_rules_refuse_has_problems_where_there_is_no_api_server() {
    #[derive(serde::Deserialize)]
    struct Refused {
        name: String,
        spec: Value,
        #[serde(default)]
        schema_only: bool,
    }
    let all: Vec<Refused> =
        serde_saphyr::from_str(include_str!("../../tests/fixtures/refused.yaml")).unwrap();
    for refused in all {
        let mut spec = least();
        merge(&mut spec, &refused.spec);
        let wrong = match object(&spec) {
            Err(_) => true,
            Ok(object) => to_workload(&object, STEP).is_err(),
        };
        assert_eq!(wrong, !refused.schema_only, "{}: {spec}", refused.name);
    }
}

#[test]
fn a_spec_built_in_rust_is_the_one_an_object_has() {
    let id = "shop/Deployment/front-end".parse().unwrap();
    assert_eq!(object(&least()).unwrap().spec, WorkloadSpec::new(&id, 1, 10));
}
