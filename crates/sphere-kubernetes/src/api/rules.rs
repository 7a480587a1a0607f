//! Which specs can not be meant, although every field has the right type?
//!
//! Limits and rules by place in the schema. The API server checks them when an object is written, so that the answer goes to
//! whoever wrote it; [`WorkloadSpec::problems`](sphere_pipeline::WorkloadSpec::problems) checks the same where there is no API
//! server, and a test compares the two. Lengths are bounded because the API server bounds what rules may cost.

use serde_json::{Value, json};

/// A rule in CEL on one place of the schema.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Rule {
    /// Place: keys with dots, `[]` for the items of a list.
    pub at: String,
    /// The rule; `self` is the value at the place.
    pub rule: String,
    /// What is told when it does not hold.
    pub message: String,
}

/// Longest name of a Kubernetes object.
const NAME_CHARS: u32 = 253;
/// Longest label value, resource name and container name.
const LABEL_CHARS: u32 = 63;
/// Longest name of a metric; real ones stay below 200.
const METRIC_CHARS: u32 = 253;
/// Longest query.
const QUERY_CHARS: u32 = 4096;
/// Most metrics, queries, policies, labels of one spec.
const METRICS: u32 = 16;

/// Text of a DNS subdomain, as names of most objects are.
const DNS_SUBDOMAIN: &str = r"^[a-z0-9]([-a-z0-9]*[a-z0-9])?(\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*$";

/// The blocks of a metric, by the `type` that names them, with the forms of target each can have.
const BLOCKS: [(&str, &str, &[&str]); 5] = [
    ("Resource", "resource", &["Utilization", "AverageValue"]),
    ("ContainerResource", "containerResource", &["Utilization", "AverageValue"]),
    ("Pods", "pods", &["AverageValue"]),
    ("Object", "object", &["Value", "AverageValue"]),
    ("External", "external", &["Value", "AverageValue"]),
];

/// The field that a form of target sets.
fn field_of(form: &str) -> &'static str {
    match form {
        "Utilization" => "averageUtilization",
        "Value" => "value",
        _ => "averageValue",
    }
}

/// Bounds on single values: place, and what is added to the schema there.
pub(super) fn limits() -> Vec<(String, Value)> {
    let text = |longest: u32| json!({"minLength": 1, "maxLength": longest});
    let name = || json!({"minLength": 1, "maxLength": NAME_CHARS, "pattern": DNS_SUBDOMAIN});
    let kind = || json!({"pattern": "^[A-Z][A-Za-z0-9]*$", "maxLength": LABEL_CHARS});
    let mut all = vec![
        ("scaleTargetRef.apiVersion", text(NAME_CHARS)),
        ("scaleTargetRef.kind", kind()),
        ("scaleTargetRef.name", name()),
        ("maxReplicas", json!({"minimum": 1})),
        ("metrics", json!({"minItems": 1, "maxItems": METRICS, "x-kubernetes-list-type": "atomic"})),
        ("metrics[].resource.name", text(LABEL_CHARS)),
        ("metrics[].containerResource.name", text(LABEL_CHARS)),
        ("metrics[].containerResource.container", text(LABEL_CHARS)),
        ("metrics[].object.describedObject.apiVersion", text(NAME_CHARS)),
        ("metrics[].object.describedObject.kind", kind()),
        ("metrics[].object.describedObject.name", text(NAME_CHARS)),
        ("queries", json!({"maxProperties": METRICS})),
        ("queries{}", text(QUERY_CHARS)),
        ("capacityPerPod", json!({"minimum": 0, "exclusiveMinimum": true})),
        ("startupSeconds", json!({"minimum": 1, "maximum": 3600})),
        ("fallback.replicas", json!({"minimum": 1})),
        ("forecast.model", text(LABEL_CHARS)),
        ("forecast.horizonSeconds", json!({"minimum": 1, "maximum": 86_400})),
        ("forecast.demand.query", text(QUERY_CHARS)),
        (
            "forecast.demand.requests.counter",
            json!({"maxLength": METRIC_CHARS, "pattern": "^[a-zA-Z_:][a-zA-Z0-9_:]*$"}),
        ),
        (
            "forecast.demand.requests.label",
            json!({"maxLength": METRIC_CHARS, "pattern": "^[a-zA-Z_][a-zA-Z0-9_]*$"}),
        ),
    ]
    .into_iter()
    .map(|(at, limit)| (at.to_owned(), limit))
    .collect::<Vec<_>>();
    for block in ["pods", "object", "external"] {
        let metric = format!("metrics[].{block}.metric");
        all.push((format!("{metric}.name"), text(METRIC_CHARS)));
        all.push((format!("{metric}.selector.matchLabels"), json!({"maxProperties": METRICS})));
        all.push((
            format!("{metric}.selector.matchExpressions"),
            json!({"maxItems": METRICS, "x-kubernetes-list-type": "atomic"}),
        ));
        all.push((
            format!("{metric}.selector.matchExpressions[].values"),
            json!({"maxItems": 64, "x-kubernetes-list-type": "atomic"}),
        ));
        all.push((format!("{metric}.selector.matchExpressions[].key"), text(NAME_CHARS + 1 + LABEL_CHARS)));
    }
    for (_, block, _) in BLOCKS {
        all.push((format!("metrics[].{block}.target.averageUtilization"), json!({"minimum": 1})));
    }
    for direction in ["scaleUp", "scaleDown"] {
        let at = format!("behavior.{direction}");
        all.push((format!("{at}.stabilizationWindowSeconds"), json!({"maximum": 3600})));
        all.push((
            format!("{at}.policies"),
            json!({"minItems": 1, "maxItems": METRICS, "x-kubernetes-list-type": "atomic"}),
        ));
        all.push((format!("{at}.policies[].value"), json!({"minimum": 1})));
        all.push((format!("{at}.policies[].periodSeconds"), json!({"minimum": 1, "maximum": 1800})));
    }
    all
}

fn rule(at: &str, rule: impl Into<String>, message: impl Into<String>) -> Rule {
    Rule { at: at.into(), rule: rule.into(), message: message.into() }
}

/// All rules on the spec.
pub(super) fn rules() -> Vec<Rule> {
    let mut all = vec![
        rule("", "self.minReplicas <= self.maxReplicas", "minReplicas must not be above maxReplicas"),
        rule(
            "",
            "self.minReplicas >= 1 || self.metrics.exists(m, m.type == 'Object' || m.type == 'External')",
            "minReplicas 0 needs a metric of type Object or External: without pods no other metric has a value",
        ),
        rule(
            "",
            "self.mode != 'Floor' || self.minReplicas >= 1",
            "mode Floor sets the minimum of a HorizontalPodAutoscaler, which must be at least 1: minReplicas 0 can not be meant",
        ),
        rule(
            "",
            "has(self.capacityPerPod) || !(has(self.forecast.demand.requests) || has(self.forecast.demand.query))",
            "capacityPerPod is needed where demand is requests or a query: what one pod carries is known for CPU only",
        ),
        rule(
            "objective",
            "has(self.priceRatio) != has(self.slo)",
            "exactly one of priceRatio and slo is expected",
        ),
        // As rules, not as `minimum`: that compares an integer with the truncated bound, so that 0 would pass.
        rule(
            "objective.priceRatio",
            "self >= 0.1 && self <= 10000.0",
            "a price ratio of 0.1 to 10000 is expected",
        ),
        rule(
            "objective.slo",
            "self >= 0.0001 && self <= 0.2",
            "a share of time of 0.0001 to 0.2 is expected",
        ),
        rule(
            "forecast.demand",
            "[has(self.cpu), has(self.requests), has(self.query)].filter(given, given).size() <= 1",
            "at most one of cpu, requests and query is expected",
        ),
    ];
    for (kind, block, forms) in BLOCKS {
        all.push(rule(
            "metrics[]",
            format!("has(self.{block}) == (self.type == '{kind}')"),
            format!("{block} is expected if, and only if, type is {kind}"),
        ));
        let at = format!("metrics[].{block}.target");
        let listed: Vec<String> = forms.iter().map(|form| format!("'{form}'")).collect();
        all.push(rule(
            &at,
            format!("self.type in [{}]", listed.join(", ")),
            format!("a metric of type {kind} has a target of type {}", forms.join(" or ")),
        ));
        for form in ["Utilization", "Value", "AverageValue"] {
            let field = field_of(form);
            all.push(rule(
                &at,
                format!("has(self.{field}) == (self.type == '{form}')"),
                format!("{field} is expected if, and only if, the target's type is {form}"),
            ));
        }
        for field in ["value", "averageValue"] {
            all.push(rule(
                &format!("{at}.{field}"),
                "quantity(string(self)).isGreaterThan(quantity('0'))",
                "a quantity above 0 is expected",
            ));
        }
    }
    for block in ["pods", "object", "external"] {
        all.push(rule(
            &format!("metrics[].{block}.metric.selector.matchExpressions[]"),
            "(self.operator in ['In', 'NotIn']) == (has(self.values) && self.values.size() > 0)",
            "In and NotIn need values; Exists and DoesNotExist have none",
        ));
    }
    for direction in ["scaleUp", "scaleDown"] {
        all.push(rule(
            &format!("behavior.{direction}.tolerance"),
            "!quantity(string(self)).isLessThan(quantity('0'))",
            "a tolerance of at least 0 is expected, e.g. \"0.05\"",
        ));
    }
    all
}

/// The schema at a place below `schema`.
pub(super) fn place<'s>(schema: &'s mut Value, at: &str) -> Option<&'s mut Value> {
    let mut node = schema;
    for key in at.split('.').filter(|key| !key.is_empty()) {
        let name = key.trim_end_matches("[]").trim_end_matches("{}");
        node = node.get_mut("properties")?.get_mut(name)?;
        if key.ends_with("[]") {
            node = node.get_mut("items")?;
        }
        if key.ends_with("{}") {
            node = node.get_mut("additionalProperties")?;
        }
    }
    Some(node)
}
