//! How does a generated JSON Schema become one that the API server takes?
//!
//! It demands *structural* schemas: one type per node, no references, no alternatives that bring fields of their own, and
//! "integer or text" in a form of its own. What serde writes for enums and options is none of that, and kube's own rewriting
//! gives up on enums with a tag among their fields (`metrics`). So:
//!
//! | serde | generated | here |
//! |---|---|---|
//! | `Option<T>` | `T` or null | `T`; null is pruned by the API server |
//! | enum of names | alternatives of constants | a string with `enum`; what the names mean goes into the description |
//! | enum with a tag field | alternatives of objects | one object with the fields of all; rules say which belong to which tag |
//! | enum by key | alternatives of objects | one object with the fields of all; a rule says that exactly one is set |
//! | a quantity | integer, number or text | `x-kubernetes-int-or-string` |

use serde_json::{Map, Value, json};

/// Text that is a quantity, as the API machinery reads it.
const QUANTITY: &str = r"^[+-]?([0-9]+(\.[0-9]*)?|\.[0-9]+)([numkMGTPE]|[KMGTPE]i|[eE][+-]?[0-9]+)?$";
/// Longest quantity: digits enough for all of them, and a bound on what rules on it cost.
const QUANTITY_CHARS: u32 = 40;

/// Makes `schema` structural, in place.
pub(super) fn make(schema: &mut Value) {
    if *schema == Value::Bool(true) {
        *schema = json!({"x-kubernetes-preserve-unknown-fields": true});
    }
    let Value::Object(node) = schema else { return };
    unwrap_option(node);
    merge_alternatives(node);
    for key in ["title", "$schema", "unevaluatedProperties", "propertyNames"] {
        node.remove(key);
    }
    if node.get("additionalProperties").is_some_and(Value::is_boolean) {
        node.remove("additionalProperties");
    }
    match node.get("format").and_then(Value::as_str) {
        // Formats of Rust that Kubernetes does not know. All our counts are replicas or seconds.
        Some("uint32" | "uint" | "uint64") => {
            node.insert("format".into(), "int32".into());
            node.insert("minimum".into(), json!(0));
        }
        Some("float" | "int8" | "int16" | "uint8" | "uint16") => {
            node.remove("format");
        }
        _ => {}
    }
    if let Some(Value::String(text)) = node.get_mut("description") {
        *text = plain(text);
    }
    if let Some(Value::Object(properties)) = node.get_mut("properties") {
        properties.values_mut().for_each(make);
    }
    for key in ["items", "additionalProperties"] {
        if let Some(child) = node.get_mut(key) {
            make(child);
        }
    }
}

/// Documentation comments as people read them in a terminal: no links, no broken lines.
fn plain(text: &str) -> String {
    let text = text.replace("[`", "`").replace("`]", "`");
    text.split("\n\n").map(|part| part.replace('\n', " ")).collect::<Vec<_>>().join("\n")
}

fn is_null(schema: &Value) -> bool {
    schema.get("type") == Some(&json!("null")) || schema.get("const") == Some(&Value::Null)
}

/// `T` or null becomes `T`.
fn unwrap_option(node: &mut Map<String, Value>) {
    if let Some(Value::Array(types)) = node.get_mut("type") {
        types.retain(|kind| kind != "null");
        if let [only] = types.as_slice() {
            let only = only.clone();
            node.insert("type".into(), only);
        }
    }
    if let Some(Value::Array(values)) = node.get_mut("enum") {
        values.retain(|value| !value.is_null());
    }
    if node.get("default") == Some(&Value::Null) {
        node.remove("default");
    }
    let Some(Value::Array(any)) = node.get_mut("anyOf") else { return };
    let before = any.len();
    any.retain(|schema| !is_null(schema));
    if let ([Value::Object(only)], true) = (any.as_slice(), any.len() < before) {
        let only = only.clone();
        node.remove("anyOf");
        for (key, value) in only {
            // What is said of the field goes before what is said of the type.
            node.entry(key).or_insert(value);
        }
        unwrap_option(node);
    }
}

fn merge_alternatives(node: &mut Map<String, Value>) {
    if let Some(Value::Array(any)) = node.get("anyOf") {
        let mut kinds: Vec<&str> = any.iter().filter_map(|s| s.get("type")?.as_str()).collect();
        kinds.sort_unstable();
        if kinds == ["integer", "number", "string"] {
            node.insert("anyOf".into(), json!([{"type": "integer"}, {"type": "string"}]));
            node.insert("x-kubernetes-int-or-string".into(), true.into());
            node.insert("pattern".into(), QUANTITY.into());
            node.insert("maxLength".into(), QUANTITY_CHARS.into());
        }
    }
    let Some(Value::Array(alternatives)) = node.get("oneOf").cloned() else { return };
    node.remove("oneOf");
    if alternatives.iter().all(|s| s.get("type") == Some(&json!("string"))) {
        merge_names(node, &alternatives);
    } else {
        merge_objects(node, &alternatives);
    }
}

/// Constants become one `enum`; what each means is told in the description.
fn merge_names(node: &mut Map<String, Value>, alternatives: &[Value]) {
    let mut names: Vec<Value> = Vec::new();
    let mut text = node.get("description").and_then(Value::as_str).unwrap_or_default().to_owned();
    for alternative in alternatives {
        let said = alternative.get("description").and_then(Value::as_str);
        let several = alternative.get("enum").and_then(Value::as_array).cloned().unwrap_or_default();
        for name in alternative.get("const").cloned().into_iter().chain(several) {
            if let (Some(name), Some(said)) = (name.as_str(), said) {
                if !text.is_empty() {
                    text.push_str("\n\n");
                }
                text.push_str(&format!("`{name}`: {}", plain(said)));
            }
            names.push(name);
        }
    }
    node.insert("type".into(), "string".into());
    node.insert("enum".into(), names.into());
    if !text.is_empty() {
        node.insert("description".into(), text.into());
    }
}

/// Objects become one with the fields of all; only what all require is required.
fn merge_objects(node: &mut Map<String, Value>, alternatives: &[Value]) {
    let mut properties = Map::new();
    let mut required: Option<Vec<Value>> = None;
    for alternative in alternatives {
        let said = alternative.get("description");
        let fields = alternative.get("properties").and_then(Value::as_object).cloned().unwrap_or_default();
        let tag = fields.iter().find(|(_, schema)| schema.get("const").is_some()).map(|(key, _)| key.clone());
        for (key, mut schema) in fields {
            if Some(&key) == tag.as_ref() {
                let entry = properties.entry(key).or_insert_with(|| json!({"oneOf": []}));
                if let (Some(text), Some(of_tag)) = (said, schema.as_object_mut()) {
                    of_tag.insert("description".into(), text.clone());
                }
                if let Some(Value::Array(all)) = entry.get_mut("oneOf") {
                    all.push(schema);
                }
                continue;
            }
            if let (Some(text), None, Some(field)) = (said, &tag, schema.as_object_mut()) {
                field.entry("description").or_insert_with(|| text.clone());
            }
            properties.entry(key).or_insert(schema);
        }
        let here = alternative.get("required").and_then(Value::as_array).cloned().unwrap_or_default();
        required = Some(match required {
            None => here,
            Some(all) => all.into_iter().filter(|key| here.contains(key)).collect(),
        });
    }
    node.insert("type".into(), "object".into());
    node.insert("properties".into(), Value::Object(properties));
    if let Some(required) = required.filter(|required| !required.is_empty()) {
        node.insert("required".into(), required.into());
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use schemars::{JsonSchema, SchemaGenerator, generate::SchemaSettings};
    use serde::Serialize;

    #[derive(JsonSchema, Serialize)]
    #[allow(dead_code, reason = "only the schema is looked at")]
    enum Names {
        /// First.
        A,
        /// Second.
        B,
    }

    #[derive(JsonSchema, Serialize)]
    #[serde(tag = "type")]
    #[allow(dead_code, reason = "only the schema is looked at")]
    enum Tagged {
        /// With an a.
        A {
            /// Of A.
            a: u32,
        },
        /// With a b.
        B {
            /// Of B.
            b: Option<String>,
        },
    }

    #[derive(JsonSchema, Serialize)]
    #[serde(rename_all = "camelCase")]
    #[allow(dead_code, reason = "only the schema is looked at")]
    enum ByKey {
        /// A number.
        FirstKey(f64),
        /// Another.
        SecondKey(f64),
    }

    fn made<T: JsonSchema>() -> Value {
        let settings = SchemaSettings::draft2020_12().with(|s| s.inline_subschemas = true);
        let mut schema = SchemaGenerator::new(settings).into_root_schema_for::<T>().to_value();
        make(&mut schema);
        schema
    }

    #[test]
    fn names_become_an_enum_that_explains_itself() {
        let schema = made::<Option<Names>>();
        assert_eq!((&schema["type"], &schema["enum"]), (&json!("string"), &json!(["A", "B"])));
        assert_eq!(schema["description"], "`A`: First.\n`B`: Second.");
    }

    #[test]
    fn a_tagged_enum_becomes_one_object() {
        let schema = made::<Vec<Tagged>>();
        let item = &schema["items"];
        assert_eq!(item["type"], "object");
        assert_eq!(item["required"], json!(["type"]));
        assert_eq!(item["properties"]["type"]["enum"], json!(["A", "B"]));
        assert_eq!(item["properties"]["type"]["type"], "string");
        assert_eq!(item["properties"]["a"]["format"], "int32");
        assert_eq!(item["properties"]["b"]["type"], "string");
        assert!(item.get("oneOf").is_none());
    }

    #[test]
    fn an_enum_by_key_becomes_one_object_with_described_fields() {
        let schema = made::<ByKey>();
        assert_eq!(schema["properties"]["firstKey"]["description"], "A number.");
        assert_eq!(schema["properties"]["secondKey"]["type"], "number");
        assert!(schema.get("required").is_none() && schema.get("oneOf").is_none());
    }

    #[test]
    fn quantities_are_integers_or_text() {
        let schema = made::<Option<sphere_scaling::hpa::Quantity>>();
        assert_eq!(schema["x-kubernetes-int-or-string"], true);
        assert_eq!(schema["anyOf"], json!([{"type": "integer"}, {"type": "string"}]));
        assert!(schema.get("type").is_none());
    }
}
