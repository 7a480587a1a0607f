//! How are results told in the terminal and in JSON?

use super::Outcome;
use crate::table::{Cell, render};
use serde_json::json;
use sphere_sim::tournament::mean_ci95;
use sphere_sim::{Contestant, Run, Scorecard};

/// `{"trace", "settings", "runs", "comparisons"}`; sweeps are among the runs.
pub fn json(outcome: &Outcome) -> serde_json::Value {
    let runs: Vec<&Run> = outcome.runs.iter().chain(&outcome.swept).collect();
    json!({
        "trace": outcome.trace,
        "settings": outcome.settings,
        "runs": runs,
        "comparisons": outcome.comparisons,
    })
}

/// One score over all seeds.
type Score = fn(&Scorecard) -> Option<f64>;

/// Runs of one contestant at one start-up time.
fn group(outcome: &Outcome, startup_s: f64, policy: Contestant) -> Vec<&Run> {
    outcome.runs.iter().filter(|r| r.startup_s == startup_s && r.policy == policy).collect()
}

/// Start-up times and contestants, in the order played.
fn keys(outcome: &Outcome) -> (Vec<f64>, Vec<Contestant>) {
    let (mut startups, mut policies) = (Vec::new(), Vec::new());
    for run in &outcome.runs {
        if !startups.contains(&run.startup_s) {
            startups.push(run.startup_s);
        }
        if !policies.contains(&run.policy) {
            policies.push(run.policy);
        }
    }
    (startups, policies)
}

/// Mean (and 95 % interval) of one score.
pub(super) fn estimate(runs: &[&Run], score: Score) -> Option<(f64, Option<f64>)> {
    let values: Option<Vec<f64>> = runs.iter().map(|r| score(&r.score)).collect();
    mean_ci95(&values?)
}

fn show(value: Option<(f64, Option<f64>)>, decimals: usize) -> String {
    match value {
        None => "-".into(),
        Some((mean, None)) => format!("{mean:.decimals$}"),
        Some((mean, Some(half))) if half < 0.5 * 0.1f64.powi(decimals as i32) => format!("{mean:.decimals$}"),
        Some((mean, Some(half))) => format!("{mean:.decimals$} ±{half:.decimals$}"),
    }
}

/// The scoreboard. `wide` adds the SPEC elasticity metrics; `colour` marks SPHERE.
pub fn table(outcome: &Outcome, wide: bool, colour: bool) -> String {
    let latency = outcome.runs.iter().any(|r| r.score.latency_p95_ms.is_some());
    let mut columns: Vec<(&str, Score, usize)> = vec![
        ("over capacity\n% of time", |s| Some(s.violation_time_pct), 2),
        ("% of\nrequests", |s| Some(s.violation_requests_pct), 3),
        ("failed\n%", |s| Some(s.failed_requests_pct), 3),
    ];
    if latency {
        columns.push(("p95\nms", |s| s.latency_p95_ms, 0));
        columns.push(("p99\nms", |s| s.latency_p99_ms, 0));
    }
    columns.extend([
        ("pod-\nhours", (|s| Some(s.pod_hours)) as Score, 1),
        ("× oracle", |s| s.pod_hours_vs_oracle, 2),
        ("used\n%", |s| Some(100.0 * s.utilization), 0),
        ("ups", |s| Some(s.scale_ups as f64), 0),
        ("downs", |s| Some(s.scale_downs as f64), 0),
    ]);
    if wide {
        columns.extend([
            ("θU %", (|s| Some(s.theta_u)) as Score, 2),
            ("θO %", |s| Some(s.theta_o), 1),
            ("τU %", |s| Some(s.tau_u), 2),
            ("τO %", |s| Some(s.tau_o), 1),
            ("υ %", |s| Some(s.instability), 1),
        ]);
    }

    let (startups, policies) = keys(outcome);
    let mut out = String::new();
    for startup_s in startups {
        let rows: Vec<Vec<Cell>> = policies
            .iter()
            .map(|&policy| (policy, group(outcome, startup_s, policy)))
            .filter(|(_, runs)| !runs.is_empty())
            .map(|(policy, runs)| {
                let marked = policy.family().starts_with("sphere");
                let scores =
                    columns.iter().map(|(_, score, decimals)| show(estimate(&runs, *score), *decimals));
                std::iter::once(policy.to_string()).chain(scores).map(|text| Cell { text, marked }).collect()
            })
            .collect();
        let header = std::iter::once("policy").chain(columns.iter().map(|c| c.0));
        let table = render(header, &rows, colour);
        out.push_str(&format!("Pods start in {startup_s:.0} s (median)\n{table}\n"));
    }
    out
}

/// What was won and at what cost, one sentence per start-up time, plus what did not go as asked.
pub fn summary(outcome: &Outcome) -> String {
    let (startups, policies) = keys(outcome);
    let focus = policies.iter().copied().find(|p| p.family().starts_with("sphere"));
    let baseline = policies.iter().copied().find(|p| p.family() == "hpa");
    let mut lines = Vec::new();
    for &startup_s in &startups {
        if let (Some(focus), Some(baseline)) = (focus, baseline) {
            lines.push(sentence(outcome, startup_s, focus, baseline));
        }
        for c in outcome.comparisons.iter().filter(|c| c.startup_s == startup_s) {
            if Some(c.policy) != focus {
                continue;
            }
            lines.push(match (c.tuned_hpa_pod_hours, c.saving_pct) {
                (Some(tuned), Some(saving)) => {
                    let interval =
                        c.saving_ci95_half_width_pct.map_or(String::new(), |half| format!(" ±{half:.1}"));
                    let (size, word) =
                        if saving >= 0.0 { (saving, "fewer") } else { (-saving, "more") };
                    format!(
                        "An HPA tuned on this very traffic to the same {:.2} % would need {tuned:.1} pod-hours: {} needs {size:.1}{interval} % {word}.",
                        c.violation_time_pct, c.policy
                    )
                }
                _ => format!(
                    "No HPA setting (CPU or requests/s, 30-100 %) is over capacity as little as {}'s {:.2} % of time.",
                    c.policy, c.violation_time_pct
                ),
            });
        }
    }
    for run in outcome.runs.iter().filter(|r| !r.events.is_empty()) {
        for event in &run.events {
            lines.push(format!(
                "{} (start-up {:.0} s, seed {}): {}: {event}.",
                run.policy,
                run.startup_s,
                run.seed,
                event.name()
            ));
        }
    }
    lines.join("\n")
}

fn sentence(outcome: &Outcome, startup_s: f64, focus: Contestant, baseline: Contestant) -> String {
    let mean = |policy, score: Score| {
        estimate(&group(outcome, startup_s, policy), score).map_or(f64::NAN, |(mean, _)| mean)
    };
    let hours = |p| mean(p, |s| Some(s.pod_hours));
    let violation = |p| mean(p, |s| Some(s.violation_time_pct));
    let (own, other) = (hours(focus), hours(baseline));
    let change = 100.0 * (own / other - 1.0);
    let cost = if change.abs() < 0.05 {
        format!("as many pod-hours ({own:.1})")
    } else if change < 0.0 {
        format!("{:.1} % fewer pod-hours ({own:.1} instead of {other:.1})", -change)
    } else {
        format!("{change:.1} % more pod-hours ({own:.1} instead of {other:.1})")
    };
    let than = if change.abs() < 0.05 { "as" } else { "than" };
    let latency = |p| estimate(&group(outcome, startup_s, p), |s| s.latency_p99_ms).map(|e| e.0);
    let felt = match (latency(focus), latency(baseline)) {
        (Some(own), Some(other)) => format!(
            ", {:.3} % of requests failed instead of {:.3} %, and 99 % were answered within {own:.0} ms instead of {other:.0} ms",
            mean(focus, |s| Some(s.failed_requests_pct)),
            mean(baseline, |s| Some(s.failed_requests_pct)),
        ),
        _ => String::new(),
    };
    format!(
        "With pods that start in {startup_s:.0} s, {focus} needed {cost} {than} {baseline}; demand was over capacity {:.2} % of the time instead of {:.2} %{felt}.",
        violation(focus),
        violation(baseline),
    )
}
