//! What is wrong with a line?
//!
//! Everything at once, each with the path of the key, the value and what is accepted. What the types can not
//! say is checked here: bounds, order in time, readings that do not fit their metric.

use super::input::{DecideInput, History, ObservationInput, ReadingInput};
use super::instant::Instant;
use sphere_scaling::ScalingSpec;
use sphere_scaling::hpa::MetricSpec;
use std::fmt;

/// Most pods that are made up for an observation that does not list them; a larger size is a typing error.
const MOST_PODS: u32 = 100_000;

/// One thing wrong in a line.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Problem {
    /// Path of the key, e.g. `observation.metrics[0]`; empty when it is the line itself.
    pub path: String,
    /// The value, and what is accepted.
    pub problem: String,
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.path.is_empty() {
            f.write_str(&self.problem)
        } else {
            write!(f, "{}: {}", self.path, self.problem)
        }
    }
}

/// A line that was refused.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("line {line}: {}", .problems.iter().map(Problem::to_string).collect::<Vec<_>>().join("; "))]
pub struct LineError {
    /// Number of the line, from 1; blank lines count.
    pub line: u64,
    /// All that is wrong with it; never empty.
    pub problems: Vec<Problem>,
}

/// Reads one line. `Err` lists all that is wrong with it.
pub fn read(text: &str) -> Result<DecideInput, Vec<Problem>> {
    let one = |path: String, problem: String| vec![Problem { path, problem }];
    if !text.trim_start().starts_with('{') {
        let start: String = text.trim().chars().take(40).collect();
        return Err(one(
            String::new(),
            format!("`{start}` is not a JSON object; {{\"policy\": …, \"observation\": …}} is expected"),
        ));
    }
    let mut json = serde_json::Deserializer::from_str(text);
    let input: DecideInput = serde_path_to_error::deserialize(&mut json).map_err(|error| {
        let path =
            if error.path().iter().next().is_none() { String::new() } else { error.path().to_string() };
        one(path, told(error.inner()))
    })?;
    json.end().map_err(|error| one(String::new(), told(&error)))?;
    let mut found = Found::default();
    found.policy(&input.policy);
    found.observation(&input.observation, &input.policy);
    if let Some(history) = &input.history {
        found.history(history, input.observation.now);
    }
    if found.0.is_empty() { Ok(input) } else { Err(found.0) }
}

/// The message of a JSON error with the column; the line is always one.
fn told(error: &serde_json::Error) -> String {
    let text = error.to_string();
    let place = format!(" at line {} column {}", error.line(), error.column());
    match text.strip_suffix(&place) {
        Some(message) => format!("{message} (column {})", error.column()),
        None => text,
    }
}

#[derive(Default)]
struct Found(Vec<Problem>);

impl Found {
    fn add(&mut self, path: impl Into<String>, problem: impl Into<String>) {
        self.0.push(Problem { path: path.into(), problem: problem.into() });
    }

    fn policy(&mut self, policy: &ScalingSpec) {
        for problem in policy.problems() {
            // The parts the HPA checks carry their own path in front of their message.
            match problem.key {
                "metrics/behavior" => match problem.problem.split_once(" is ") {
                    Some((field, rest)) => self.add(format!("policy.{field}"), rest),
                    None => self.add("policy", problem.problem),
                },
                key => self.add(format!("policy.{key}"), problem.problem),
            }
        }
    }

    fn number(&mut self, path: &str, value: Option<f64>, accepted: &str, ok: impl Fn(f64) -> bool) {
        if let Some(value) = value
            && !(value.is_finite() && ok(value))
        {
            self.add(path, format!("{value} given, {accepted} expected"));
        }
    }

    fn observation(&mut self, seen: &ObservationInput, policy: &ScalingSpec) {
        self.number("observation.demand", seen.demand, "a number of at least 0", |x| x >= 0.0);
        self.number("observation.capacityPerPod", seen.capacity_per_pod, "a number above 0", |x| x > 0.0);
        self.number("observation.utilization", seen.utilization, "a share of at least 0, e.g. 0.72,", |x| {
            x >= 0.0
        });
        self.number("observation.violatedShare", seen.violated_share, "a share from 0 to 1", |x| {
            (0.0..=1.0).contains(&x)
        });
        self.number(
            "observation.cpuUtilization",
            seen.cpu_utilization,
            "a share of at least 0, e.g. 0.72,",
            |x| x >= 0.0,
        );
        for (key, size) in [("current", Some(seen.current)), ("ready", seen.ready)] {
            if let Some(size) = size.filter(|&size| size > MOST_PODS) {
                self.add(format!("observation.{key}"), format!("{size} given, 0..={MOST_PODS} expected"));
            }
        }
        let Some(metrics) = &seen.metrics else { return };
        if seen.cpu_utilization.is_some() {
            self.add("observation.cpuUtilization", "given together with `metrics`, whose short form it is");
        }
        if metrics.len() > policy.metrics.len() {
            let (given, known) = (metrics.len(), policy.metrics.len());
            self.add(
                "observation.metrics",
                format!("{given} readings given, the policy has {known} metrics"),
            );
        }
        for (i, (reading, metric)) in metrics.iter().zip(&policy.metrics).enumerate() {
            let path = format!("observation.metrics[{i}]");
            let (accepted, fits) = fits(metric, reading);
            if !fits {
                self.add(
                    &path,
                    format!("this reading does not fit the {} metric; {accepted} is expected", metric.name()),
                );
            }
            if let ReadingInput::Utilization(share) = reading {
                self.number(
                    &format!("{path}.utilization"),
                    Some(*share),
                    "a share of at least 0, e.g. 0.72,",
                    |x| x >= 0.0,
                );
            }
        }
    }

    fn history(&mut self, history: &History, now: Instant) {
        for (i, (_, value)) in history.demand.iter().enumerate() {
            self.number(
                &format!("history.demand[{i}][1]"),
                *value,
                "a number of at least 0, or null,",
                |x| x >= 0.0,
            );
        }
        self.number("history.stepSeconds", history.step_seconds, "1 to 3600", |x| {
            (1.0..=3600.0).contains(&x)
        });
        for (i, took) in history.startups_seconds.iter().enumerate() {
            self.number(&format!("history.startupsSeconds[{i}]"), Some(*took), "0 to 3600", |x| {
                (0.0..=3600.0).contains(&x)
            });
        }
        self.in_order("demand", history.demand.iter().map(|(at, _)| *at), now);
        self.in_order("replicas", history.replicas.iter().map(|(at, _)| *at), now);
        let recommended = history.recommendations.iter().flatten();
        self.in_order("recommendations", recommended.map(|(at, _)| *at), now);
    }

    fn in_order(&mut self, list: &str, times: impl Iterator<Item = Instant>, now: Instant) {
        let mut last = None;
        for (i, at) in times.enumerate() {
            let path = || format!("history.{list}[{i}][0]");
            if at > now {
                self.add(path(), format!("{} is after observation.now", at.0.millis()));
                return;
            }
            if last.is_some_and(|last| at <= last) {
                self.add(
                    path(),
                    format!("{} is not after the one before; from old to new is expected", at.0.millis()),
                );
                return;
            }
            last = Some(at);
        }
    }
}

/// What a metric accepts, and whether this is it.
fn fits(metric: &MetricSpec, reading: &ReadingInput) -> (&'static str, bool) {
    use ReadingInput::{Average, Error, Samples, Series, Utilization, Value};
    match metric {
        MetricSpec::Resource { .. } | MetricSpec::ContainerResource { .. } => (
            "utilization, average, samples or error",
            matches!(reading, Utilization(_) | Average(_) | Samples(_) | Error(_)),
        ),
        MetricSpec::Pods { .. } => {
            ("average, samples or error", matches!(reading, Average(_) | Samples(_) | Error(_)))
        }
        MetricSpec::Object { .. } => ("value or error", matches!(reading, Value(_) | Error(_))),
        MetricSpec::External { .. } => {
            ("value, series or error", matches!(reading, Value(_) | Series(_) | Error(_)))
        }
        MetricSpec::Unknown => ("error", matches!(reading, Error(_))),
    }
}
