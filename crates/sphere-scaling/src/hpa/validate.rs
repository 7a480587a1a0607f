//! Can this spec be obeyed at all?
//!
//! The limits of the Kubernetes API (`pkg/apis/autoscaling/validation/validation.go`), all problems reported
//! together, each with the place, the value and what is accepted.

use super::Quantity;
use super::spec::*;

/// One thing wrong in an [`HpaSpec`].
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{field} is {value}; {accepted}")]
pub struct SpecError {
    /// Where, e.g. `behavior.scaleUp.policies[1].value`.
    pub field: String,
    /// What it was.
    pub value: String,
    /// What would be accepted.
    pub accepted: &'static str,
}

/// Longest stabilisation window, seconds (API limit: one hour).
const MAX_WINDOW_S: u32 = 3600;
/// Longest policy period, seconds (API limit: half an hour).
const MAX_PERIOD_S: u32 = 1800;

#[derive(Default)]
struct Problems(Vec<SpecError>);

impl Problems {
    fn check(&mut self, ok: bool, field: &str, value: impl ToString, accepted: &'static str) {
        if !ok {
            self.0.push(SpecError { field: field.into(), value: value.to_string(), accepted });
        }
    }

    fn positive(&mut self, field: &str, quantity: Option<Quantity>) {
        if let Some(q) = quantity {
            self.check(q.milli() > 0, field, q, "more than 0 is expected");
        }
    }
}

impl HpaSpec {
    /// Checks bounds, targets, windows and policies. `Err` lists everything that is wrong.
    pub fn validate(&self) -> Result<(), Vec<SpecError>> {
        let mut problems = Problems::default();
        let min = self.min();
        problems.check(self.max_replicas >= 1, "maxReplicas", self.max_replicas, "at least 1 is expected");
        problems.check(self.max_replicas >= min, "maxReplicas", self.max_replicas, "it is below minReplicas");
        if self.has_podless_metric() {
            problems.check(min >= 0, "minReplicas", min, "at least 0 is expected");
        } else {
            problems.check(
                min >= 1,
                "minReplicas",
                min,
                "0 needs an Object or External metric, else at least 1",
            );
        }
        for (i, metric) in self.metrics.iter().enumerate() {
            validate_metric(&mut problems, &format!("metrics[{i}]"), metric);
        }
        if let Some(behavior) = &self.behavior {
            for (name, rules) in [("scaleUp", &behavior.scale_up), ("scaleDown", &behavior.scale_down)] {
                if let Some(rules) = rules {
                    validate_rules(&mut problems, &format!("behavior.{name}"), rules);
                }
            }
        }
        if problems.0.is_empty() { Ok(()) } else { Err(problems.0) }
    }
}

fn validate_metric(problems: &mut Problems, at: &str, metric: &MetricSpec) {
    let Some(target) = metric.target() else {
        problems.check(
            false,
            &format!("{at}.type"),
            "Unknown",
            "Resource, ContainerResource, Pods, Object or External is expected",
        );
        return;
    };
    let at = format!("{at}.target");
    problems.positive(&format!("{at}.value"), target.value);
    problems.positive(&format!("{at}.averageValue"), target.average_value);
    if let Some(percent) = target.average_utilization {
        problems.check(
            percent >= 1,
            &format!("{at}.averageUtilization"),
            percent,
            "at least 1 (percent) is expected",
        );
    }
    let (value, average, percent) =
        (target.value.is_some(), target.average_value.is_some(), target.average_utilization.is_some());
    let (ok, accepted) = match metric {
        MetricSpec::Resource { .. } | MetricSpec::ContainerResource { .. } => {
            (average != percent && !value, "exactly one of averageUtilization and averageValue is expected")
        }
        MetricSpec::Pods { .. } => (average && !value && !percent, "averageValue alone is expected"),
        _ => (average != value && !percent, "exactly one of value and averageValue is expected"),
    };
    problems.check(ok, &at, format!("{:?}", target.kind), accepted);
}

fn validate_rules(problems: &mut Problems, at: &str, rules: &Rules) {
    if let Some(window) = rules.stabilization_window_seconds {
        problems.check(
            window <= MAX_WINDOW_S,
            &format!("{at}.stabilizationWindowSeconds"),
            window,
            "0 to 3600 is expected",
        );
    }
    if let Some(tolerance) = rules.tolerance {
        problems.check(
            tolerance.get() >= 0.0,
            &format!("{at}.tolerance"),
            tolerance,
            "at least 0 is expected",
        );
    }
    for (i, policy) in rules.policies.iter().flatten().enumerate() {
        let at = format!("{at}.policies[{i}]");
        problems.check(policy.value > 0, &format!("{at}.value"), policy.value, "more than 0 is expected");
        let period_ok = (1..=MAX_PERIOD_S).contains(&policy.period_seconds);
        problems.check(
            period_ok,
            &format!("{at}.periodSeconds"),
            policy.period_seconds,
            "1 to 1800 is expected",
        );
    }
    let empty = rules.policies.as_ref().is_some_and(Vec::is_empty);
    problems.check(!empty, &format!("{at}.policies"), "empty", "at least one policy is expected");
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_autoscaling_v2_spec_reads_and_is_valid() {
        let spec: HpaSpec = serde_json::from_str(
            r#"{"minReplicas": 0, "maxReplicas": 10,
                "metrics": [
                  {"type": "Resource", "resource": {"name": "cpu", "target": {"type": "Utilization", "averageUtilization": 60}}},
                  {"type": "ContainerResource", "containerResource": {"name": "memory", "container": "app", "target": {"type": "AverageValue", "averageValue": "200Mi"}}},
                  {"type": "Pods", "pods": {"metric": {"name": "rps"}, "target": {"type": "AverageValue", "averageValue": "1k"}}},
                  {"type": "Object", "object": {"describedObject": {"apiVersion": "networking.k8s.io/v1", "kind": "Ingress", "name": "main"}, "metric": {"name": "rps"}, "target": {"type": "Value", "value": "10k"}}},
                  {"type": "External", "external": {"metric": {"name": "queue", "selector": {"matchLabels": {"q": "a"}, "matchExpressions": [{"key": "z", "operator": "Exists"}]}}, "target": {"type": "AverageValue", "averageValue": 30}}}],
                "behavior": {"scaleUp": {"stabilizationWindowSeconds": 30, "selectPolicy": "Min", "policies": [{"type": "Pods", "value": 2, "periodSeconds": 60}], "tolerance": "0.05"}}}"#,
        )
        .unwrap();
        assert_eq!(spec.validate(), Ok(()));
        let text = serde_json::to_string(&spec).unwrap();
        assert_eq!(serde_json::from_str::<HpaSpec>(&text).unwrap(), spec);
    }

    #[test]
    fn no_metrics_means_cpu_at_eighty_percent() {
        for text in [r#"{"maxReplicas": 3}"#, r#"{"maxReplicas": 3, "metrics": []}"#] {
            let spec: HpaSpec = serde_json::from_str(text).unwrap();
            assert_eq!(spec.metrics, vec![MetricSpec::cpu_utilization(80)]);
            assert_eq!(spec.min(), 1);
        }
    }

    #[test]
    fn unknown_keys_and_metric_types_are_refused() {
        for text in [
            r#"{"maxReplicas": 3, "minReplica": 1}"#,
            r#"{"maxReplicas": 3, "metrics": [{"type": "Resourc"}]}"#,
            r#"{"maxReplicas": 3, "metrics": [{"type": "Resource", "resource": {"name": "cpu", "target": {"type": "Utilization", "averageUtilization": 60}}, "pod": {}}]}"#,
            r#"{"maxReplicas": 3, "behavior": {"scaleup": {}}}"#,
        ] {
            assert!(serde_json::from_str::<HpaSpec>(text).is_err(), "{text}");
        }
    }

    #[test]
    fn all_problems_are_reported_together() {
        let mut spec = HpaSpec::cpu(0, 0, 0);
        let policy = Policy { kind: PolicyType::Pods, value: 0, period_seconds: 1801 };
        spec.behavior = Some(Behavior {
            scale_up: Some(Rules {
                stabilization_window_seconds: Some(3601),
                policies: Some(vec![policy]),
                tolerance: super::super::Fraction::new(-0.1),
                ..Rules::default()
            }),
            scale_down: Some(Rules { policies: Some(vec![]), ..Rules::default() }),
        });
        let fields: Vec<String> = spec.validate().unwrap_err().into_iter().map(|e| e.field).collect();
        assert_eq!(
            fields,
            [
                "maxReplicas",
                "minReplicas",
                "metrics[0].target.averageUtilization",
                "behavior.scaleUp.stabilizationWindowSeconds",
                "behavior.scaleUp.tolerance",
                "behavior.scaleUp.policies[0].value",
                "behavior.scaleUp.policies[0].periodSeconds",
                "behavior.scaleDown.policies",
            ]
        );
    }
}
