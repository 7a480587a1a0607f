//! What can be configured of the operator?

use super::span::Span;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use sphere_kubernetes::lease::LeaseTimes;
use std::path::PathBuf;
use std::time::Duration;

/// Which of several operators acts.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub struct LeaseConfig {
    /// Name of the Lease, in the operator's own namespace.
    pub name: String,
    /// Others wait this long after the last sign of life before they take over.
    pub duration: Span,
    /// The leader stops acting this long after its last renewal; at most four fifths of `duration`.
    pub renew: Span,
    /// From one renewal or look to the next; at most half of `renew`.
    pub retry: Span,
}

impl Default for LeaseConfig {
    fn default() -> Self {
        let times = LeaseTimes::default();
        Self {
            name: "sphere-operator".into(),
            duration: Span(times.duration),
            renew: Span(times.renew_deadline),
            retry: Span(times.retry),
        }
    }
}

impl LeaseConfig {
    /// For the election.
    pub fn times(&self) -> LeaseTimes {
        LeaseTimes { duration: self.duration.0, renew_deadline: self.renew.0, retry: self.retry.0 }
    }
}

/// `sphere operator`: PredictiveAutoscaler objects instead of a list of workloads.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub struct OperatorConfig {
    /// A kubeconfig file. Absent: the service account of the pod, else `KUBECONFIG`, else `~/.kube/config`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub kubeconfig: Option<PathBuf>,
    /// Which context of the kubeconfig; its current one when absent.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub context: Option<String>,
    /// Namespaces to look after; empty: all. Also `--namespace`.
    pub namespaces: Vec<String>,
    /// Decide and log, and write nothing to the cluster at all. Also `--dry-run`.
    pub dry_run: bool,
    /// Which of several operators acts.
    pub lease: LeaseConfig,
    /// How often what autoscalers remember is written to ConfigMaps, where the store is not Redis.
    pub memory: Span,
}

impl Default for OperatorConfig {
    fn default() -> Self {
        Self {
            kubeconfig: None,
            context: None,
            namespaces: Vec::new(),
            dry_run: false,
            lease: LeaseConfig::default(),
            memory: Span::secs(30),
        }
    }
}

impl OperatorConfig {
    /// Everything that can not be meant, as (key, what).
    pub fn problems(&self) -> Vec<(String, String)> {
        let times = self.lease.times().problems().into_iter();
        let mut found: Vec<(String, String)> =
            times.map(|(key, problem)| (format!("lease.{key}"), problem)).collect();
        if self.lease.name.is_empty() {
            found.push(("lease.name".into(), "empty; the name of a Lease is expected".into()));
        }
        let (least, most) = (Duration::from_secs(1), Duration::from_secs(3600));
        if !(least..=most).contains(&self.memory.0) {
            found.push(("memory".into(), format!("{} given, 1s to 1h expected", self.memory)));
        }
        for (index, namespace) in self.namespaces.iter().enumerate() {
            let label = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-';
            if namespace.is_empty() || namespace.len() > 63 || !namespace.bytes().all(label) {
                let key = format!("namespaces[{index}]");
                found.push((key, format!("{namespace:?} given, the name of a namespace expected")));
            }
        }
        found
    }
}
