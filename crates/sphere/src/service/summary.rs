//! What was done, in numbers?
//!
//! Read from the very page that Prometheus gets, so that both say the same.

use crate::table::{self, Cell};
use serde::Serialize;
use sphere_pipeline::metrics::Metrics;
use sphere_simcluster::cluster::WorkloadScore;
use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::time::Duration;

/// Counts by label.
pub type Counts = BTreeMap<String, u64>;

/// What a process did.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub struct Summary {
    /// How long it ran, seconds.
    pub ran_s: f64,
    /// How much time passed on the pipeline's clock, seconds.
    pub pipeline_s: f64,
    /// Records by stage and what became of them.
    pub stages: BTreeMap<String, Counts>,
    /// Dead letters by topic and reason.
    pub dead_letters: BTreeMap<String, Counts>,
    /// Failed calls by stage and `component/error`.
    pub errors: BTreeMap<String, Counts>,
    /// Decisions by reason.
    pub reasons: Counts,
    /// How the simulated cluster fared, if it was in this process.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub scores: Vec<WorkloadScore>,
}

/// The labels and the value of a line of the page.
fn sample(line: &str) -> Option<(&str, BTreeMap<&str, &str>, u64)> {
    let (series, value) = line.rsplit_once(' ')?;
    let (name, labels) = series.split_once('{').unwrap_or((series, ""));
    let pairs = labels.trim_end_matches('}').split(',').filter_map(|pair| pair.split_once('='));
    Some((name, pairs.map(|(k, v)| (k, v.trim_matches('"'))).collect(), value.parse().ok()?))
}

impl Summary {
    /// Of what was counted.
    pub fn of(metrics: &Metrics, ran: Duration, pipeline: Duration, scores: Vec<WorkloadScore>) -> Self {
        let (ran_s, pipeline_s) = (ran.as_secs_f64(), pipeline.as_secs_f64());
        let mut summary = Self { ran_s, pipeline_s, scores, ..Self::default() };
        for (name, labels, count) in metrics.text().lines().filter_map(sample).filter(|(_, _, n)| *n > 0) {
            let label = |key: &str| labels.get(key).copied().unwrap_or_default().to_owned();
            let group = match name {
                "sphere_records_total" => summary.stages.entry(label("stage")).or_default(),
                "sphere_unreadable_records_total" => summary.dead_letters.entry(label("topic")).or_default(),
                "sphere_errors_total" => summary.errors.entry(label("stage")).or_default(),
                "sphere_decision_reasons_total" => &mut summary.reasons,
                _ => continue,
            };
            let key = match name {
                "sphere_records_total" => label("outcome"),
                "sphere_errors_total" => format!("{}/{}", label("component"), label("error")),
                _ => label("reason"),
            };
            group.insert(key, count);
        }
        summary
    }

    /// For people.
    pub fn table(&self, colour: bool) -> String {
        let whole = |seconds: f64| humantime::format_duration(Duration::from_secs(seconds.round() as u64));
        let mut text = format!("ran {}", whole(self.ran_s));
        if self.pipeline_s > self.ran_s * 1.5 {
            let _ = write!(text, ", in which {} passed on the pipeline's clock", whole(self.pipeline_s));
        }
        let line = |counts: &Counts| {
            counts.iter().map(|(key, count)| format!("{count} {key}")).collect::<Vec<_>>().join(", ")
        };
        for (stage, counts) in &self.stages {
            let _ = write!(text, "\n  {stage:<10} {}", line(counts));
        }
        if !self.reasons.is_empty() {
            let _ = write!(text, "\n  reasons    {}", line(&self.reasons));
        }
        for (what, groups) in [("dead letters", &self.dead_letters), ("failed calls", &self.errors)] {
            for (of, counts) in groups {
                let _ = write!(text, "\n  {what}: {of}: {}", line(counts));
            }
        }
        if !self.scores.is_empty() {
            let shown = self.scores.iter().take(20);
            let rows: Vec<Vec<Cell>> = shown
                .map(|of| {
                    let score = &of.score;
                    let ms = |value: Option<f64>| value.map_or("-".into(), |ms| format!("{ms:.0}"));
                    [
                        of.workload.to_string(),
                        format!("{:.2}", score.violation_time_pct),
                        format!("{:.3}", score.failed_requests_pct),
                        ms(score.latency_p99_ms),
                        format!("{:.1}", score.pod_hours),
                        format!("{:.2}", score.utilization),
                        score.scale_ups.to_string(),
                        score.scale_downs.to_string(),
                    ]
                    .map(Cell::plain)
                    .to_vec()
                })
                .collect();
            let header =
                ["workload", "over\n% time", "failed\n%", "p99\nms", "pod-\nhours", "util.", "ups", "downs"];
            let _ = write!(text, "\n\n{}", table::render(header, &rows, colour));
            if self.scores.len() > rows.len() {
                let _ = write!(text, "\nand {} more: --output json", self.scores.len() - rows.len());
            }
        }
        text.push('\n');
        text
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use sphere_pipeline::bus::Topic;
    use sphere_pipeline::metrics::Stage;

    #[test]
    fn the_summary_says_what_was_counted() {
        let metrics = Metrics::new();
        metrics.count(Stage::Forecast, "forecast", 7);
        metrics.count(Stage::Collect, "sample", 9);
        metrics.unreadable(Topic::Metrics, "bad_json");
        metrics.error(Stage::Cache, "bus", "read");
        let summary = Summary::of(&metrics, Duration::from_secs(10), Duration::from_secs(600), Vec::new());
        assert_eq!(summary.stages["forecast"]["forecast"], 7);
        assert_eq!(summary.dead_letters["metrics"]["bad_json"], 1);
        assert_eq!(summary.errors["cache"]["bus/read"], 1);
        let text = summary.table(false);
        assert!(text.starts_with("ran 10s, in which 10m passed"), "{text}");
        assert!(text.contains("forecast   7 forecast\n"), "{text}");
    }
}
