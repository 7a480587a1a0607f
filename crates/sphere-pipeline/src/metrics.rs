//! How is the pipeline doing?
//!
//! One set of Prometheus metrics for all stages of a process, with the `sphere_` prefix and base units. Label sets
//! are bounded: stages, components, topics and reasons are closed sets; `workload` has as many values as workloads
//! are configured.

use crate::bus::Topic;
use prometheus_client::encoding::{EncodeLabelSet, text};
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::metrics::histogram::Histogram;
use prometheus_client::registry::{Registry, Unit};
use sphere_core::{Decision, WorkloadId};
use std::sync::atomic::AtomicU64;
use std::time::Duration;

/// The stages, as labels.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Stage {
    /// Metric source → `metrics`.
    Collect,
    /// `metrics` → `predictions`.
    Forecast,
    /// `predictions` → store.
    Cache,
    /// Everything → replicas.
    Autoscale,
}

impl Stage {
    /// As in labels, logs and on the command line.
    pub fn name(self) -> &'static str {
        match self {
            Stage::Collect => "collect",
            Stage::Forecast => "forecast",
            Stage::Cache => "cache",
            Stage::Autoscale => "autoscale",
        }
    }
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct OutcomeLabels {
    stage: &'static str,
    outcome: &'static str,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct UnreadableLabels {
    topic: &'static str,
    reason: &'static str,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct ErrorLabels {
    stage: &'static str,
    component: &'static str,
    error: &'static str,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct StageLabels {
    stage: &'static str,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct ReasonLabels {
    reason: &'static str,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct ReplicaLabels {
    workload: String,
    size: &'static str,
}

/// All metrics of a process. Cheap to share behind an `Arc`.
#[derive(Debug)]
pub struct Metrics {
    registry: Registry,
    records: Family<OutcomeLabels, Counter>,
    unreadable: Family<UnreadableLabels, Counter>,
    errors: Family<ErrorLabels, Counter>,
    busy: Family<StageLabels, Counter<f64, AtomicU64>>,
    last: Family<StageLabels, Gauge<f64, AtomicU64>>,
    workloads: Family<StageLabels, Gauge>,
    sample_age: Family<StageLabels, Histogram>,
    reasons: Family<ReasonLabels, Counter>,
    replicas: Family<ReplicaLabels, Gauge>,
}

impl Default for Metrics {
    fn default() -> Self {
        Self::new()
    }
}

fn age_histogram() -> Histogram {
    // From the embedded pipeline's fraction of a millisecond to a backlog of minutes.
    Histogram::new([
        0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 120.0,
    ])
}

impl Metrics {
    /// All at zero.
    pub fn new() -> Self {
        let mut registry = Registry::with_prefix("sphere");
        let records = Family::default();
        registry.register("records", "Records handled, by stage and what became of them", records.clone());
        let unreadable = Family::default();
        registry.register(
            "unreadable_records",
            "Records put into the dead-letter topic, by topic and reason",
            unreadable.clone(),
        );
        let errors = Family::default();
        registry.register("errors", "Failed calls of a component, retried or given up", errors.clone());
        let busy = Family::default();
        registry.register_with_unit(
            "stage_busy",
            "Time a stage spent computing, all its threads",
            Unit::Seconds,
            busy.clone(),
        );
        let last = Family::default();
        registry.register(
            "stage_last_success_timestamp_seconds",
            "When the stage last did its work with success",
            last.clone(),
        );
        let workloads = Family::default();
        registry.register("stage_workloads", "Workloads this stage holds now", workloads.clone());
        let sample_age: Family<StageLabels, Histogram> = Family::new_with_constructor(age_histogram);
        registry.register_with_unit(
            "stage_delay",
            "From the record before it being taken in by the bus to the stage's own output being acknowledged",
            Unit::Seconds,
            sample_age.clone(),
        );
        let reasons = Family::default();
        registry.register("decision_reasons", "Decisions that carried the reason", reasons.clone());
        let replicas = Family::default();
        registry.register("replicas", "Sizes of the last decision", replicas.clone());
        Self { registry, records, unreadable, errors, busy, last, workloads, sample_age, reasons, replicas }
    }

    /// `count` records of `stage` ended as `outcome`, one of a closed set.
    pub fn count(&self, stage: Stage, outcome: &'static str, count: u64) {
        if count > 0 {
            self.records.get_or_create(&OutcomeLabels { stage: stage.name(), outcome }).inc_by(count);
        }
    }

    /// Records counted so far.
    pub fn counted(&self, stage: Stage, outcome: &'static str) -> u64 {
        self.records.get_or_create(&OutcomeLabels { stage: stage.name(), outcome }).get()
    }

    /// A record went to the dead letters.
    pub fn unreadable(&self, topic: Topic, reason: &'static str) {
        self.unreadable.get_or_create(&UnreadableLabels { topic: topic.default_name(), reason }).inc();
    }

    /// Dead letters so far.
    pub fn unreadable_count(&self, topic: Topic, reason: &'static str) -> u64 {
        self.unreadable.get_or_create(&UnreadableLabels { topic: topic.default_name(), reason }).get()
    }

    /// A call of a component failed.
    pub fn error(&self, stage: Stage, component: &'static str, error: &'static str) {
        self.errors.get_or_create(&ErrorLabels { stage: stage.name(), component, error }).inc();
    }

    /// A stage computed for this long.
    pub fn busy(&self, stage: Stage, time: Duration) {
        self.busy.get_or_create(&StageLabels { stage: stage.name() }).inc_by(time.as_secs_f64());
    }

    /// Seconds a stage has computed so far.
    pub fn busy_s(&self, stage: Stage) -> f64 {
        self.busy.get_or_create(&StageLabels { stage: stage.name() }).get()
    }

    /// A stage did its work, at this time.
    pub fn success(&self, stage: Stage, at: sphere_core::Timestamp) {
        self.last.get_or_create(&StageLabels { stage: stage.name() }).set(at.secs_f64());
    }

    /// When a stage last did its work; `None`: not yet.
    pub fn last_success(&self, stage: Stage) -> Option<sphere_core::Timestamp> {
        let seconds = self.last.get_or_create(&StageLabels { stage: stage.name() }).get();
        (seconds > 0.0).then_some(sphere_core::Timestamp((seconds * 1000.0) as i64))
    }

    /// How many workloads a stage holds.
    pub fn workloads(&self, stage: Stage, count: usize) {
        let count = i64::try_from(count).unwrap_or(i64::MAX);
        self.workloads.get_or_create(&StageLabels { stage: stage.name() }).set(count);
    }

    /// A record took this long through the stage.
    pub fn delay(&self, stage: Stage, delay: Duration) {
        self.sample_age.get_or_create(&StageLabels { stage: stage.name() }).observe(delay.as_secs_f64());
    }

    /// A decision was made.
    pub fn decision(&self, workload: &WorkloadId, decision: &Decision) {
        for reason in &decision.reasons {
            self.reasons.get_or_create(&ReasonLabels { reason: reason.name() }).inc();
        }
        let workload = workload.to_string();
        let sizes = [
            ("current", Some(decision.current)),
            ("reactive", decision.reactive),
            ("predictive", decision.predictive),
            ("desired", Some(decision.desired)),
        ];
        for (size, value) in sizes {
            let labels = ReplicaLabels { workload: workload.clone(), size };
            match value {
                Some(value) => {
                    self.replicas.get_or_create(&labels).set(i64::from(value));
                }
                // Absent is not zero: the series ends.
                None => {
                    self.replicas.remove(&labels);
                }
            }
        }
    }

    /// A workload is no longer ours: its series end.
    pub fn forget(&self, workload: &WorkloadId) {
        let workload = workload.to_string();
        for size in ["current", "reactive", "predictive", "desired"] {
            self.replicas.remove(&ReplicaLabels { workload: workload.clone(), size });
        }
    }

    /// All metrics in OpenMetrics text.
    pub fn text(&self) -> String {
        let mut page = String::new();
        // Writing into a string does not fail.
        let _ = text::encode(&mut page, &self.registry);
        page
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use sphere_core::{Mode, Reason, Timestamp};

    #[test]
    fn an_absent_size_is_no_series_and_not_zero() {
        let metrics = Metrics::new();
        let id: WorkloadId = "a/Deployment/b".parse().unwrap();
        let mut decision = Decision {
            workload: Some(id.clone()),
            at: Timestamp(0),
            current: 3,
            reactive: Some(4),
            predictive: Some(5),
            desired: 5,
            mode: Mode::Observe,
            applied: false,
            reasons: vec![Reason::ObserveOnly],
        };
        metrics.decision(&id, &decision);
        assert!(metrics.text().contains(r#"sphere_replicas{workload="a/Deployment/b",size="predictive"} 5"#));
        decision.predictive = None;
        metrics.decision(&id, &decision);
        let page = metrics.text();
        assert!(!page.contains("predictive\"}"), "{page}");
        assert!(page.contains(r#"sphere_decision_reasons_total{reason="ObserveOnly"} 2"#), "{page}");
        assert!(page.ends_with("# EOF\n"));
    }
}
