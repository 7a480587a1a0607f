//! Which part of the cluster, and how patient are we?

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use std::time::Duration;

/// How the cluster is reached and read.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct KubernetesConfig {
    /// Namespaces to work in; the whole cluster when empty. Roles in these namespaces are enough then.
    pub namespaces: Vec<String>,
    /// Samples of pods older than this are missing, seconds. metrics-server renews them every 15 s, older ones every 60 s.
    pub stale_after_seconds: u32,
    /// Share of the serving pods that must report before the demand of the others is estimated from theirs.
    pub min_reporting_share: f64,
    /// Longest time one request may take, seconds.
    pub request_timeout_seconds: f64,
    /// Name under which our fields are ours (server-side apply).
    pub field_manager: String,
}

impl Default for KubernetesConfig {
    fn default() -> Self {
        Self {
            namespaces: Vec::new(),
            stale_after_seconds: 120,
            min_reporting_share: 0.8,
            request_timeout_seconds: 10.0,
            field_manager: "sphere".into(),
        }
    }
}

/// Something in the configuration that can not be meant.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{key}: {problem}")]
pub struct ConfigProblem {
    /// The key.
    pub key: &'static str,
    /// The value, and what is accepted.
    pub problem: String,
}

impl KubernetesConfig {
    /// All problems at once.
    pub fn problems(&self) -> Vec<ConfigProblem> {
        let mut found = Vec::new();
        let mut problem = |key, problem: String| found.push(ConfigProblem { key, problem });
        if self.namespaces.iter().any(String::is_empty) {
            problem("namespaces", "one is empty; names of namespaces are expected".into());
        }
        if !(15..=3600).contains(&self.stale_after_seconds) {
            problem("stale_after_seconds", format!("{} given, 15..=3600 expected", self.stale_after_seconds));
        }
        if !(0.1..=1.0).contains(&self.min_reporting_share) {
            problem("min_reporting_share", format!("{} given, 0.1..=1 expected", self.min_reporting_share));
        }
        if !(0.1..=300.0).contains(&self.request_timeout_seconds) {
            let seconds = self.request_timeout_seconds;
            problem("request_timeout_seconds", format!("{seconds} given, 0.1..=300 expected"));
        }
        if !(1..=128).contains(&self.field_manager.len()) {
            problem("field_manager", "1 to 128 characters are expected".into());
        }
        found
    }

    /// Longest time one request may take.
    pub fn request_timeout(&self) -> Duration {
        Duration::try_from_secs_f64(self.request_timeout_seconds).unwrap_or(Duration::from_secs(10))
    }

    /// Samples of pods older than this are missing.
    pub fn stale_after(&self) -> Duration {
        Duration::from_secs(self.stale_after_seconds.into())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_can_not_be_meant_is_told_at_once() {
        assert!(KubernetesConfig::default().problems().is_empty());
        let config = KubernetesConfig {
            namespaces: vec![String::new()],
            stale_after_seconds: 1,
            min_reporting_share: f64::NAN,
            request_timeout_seconds: -1.0,
            field_manager: String::new(),
        };
        assert_eq!(config.problems().len(), 5);
        assert!(serde_json::from_str::<KubernetesConfig>(r#"{"namespace": "shop"}"#).is_err());
    }
}
