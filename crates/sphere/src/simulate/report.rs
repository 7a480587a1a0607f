//! What goes into the HTML report of a simulation?

use super::output::estimate;
use super::{Outcome, summary};
use crate::report::{
    Curve, CurvePoint, Estimate, ForecastBand, PolicySeries, ReportData, ScoreRow, Series, Setting, Timeline,
};
use sphere_sim::{Contestant, Recording, Run, Scorecard};

/// The report of `outcome`.
pub fn report_data(outcome: &Outcome) -> ReportData {
    let focus = find(outcome, |c| c.family().starts_with("sphere"));
    let baseline = find(outcome, |c| c.family() == "hpa");
    ReportData {
        title: format!("SPHERE on {}", outcome.trace),
        summary: summary(outcome),
        focus: focus.map(|c| c.to_string()),
        baseline: baseline.map(|c| c.to_string()),
        settings: settings(outcome),
        scoreboard: scoreboard(outcome),
        timeline: timeline(outcome),
        curves: curves(outcome),
    }
}

fn find(outcome: &Outcome, wanted: impl Fn(Contestant) -> bool) -> Option<Contestant> {
    outcome.runs.iter().map(|r| r.policy).find(|&p| wanted(p))
}

fn settings(outcome: &Outcome) -> Vec<Setting> {
    let s = &outcome.settings;
    let list = |items: Vec<String>| items.join(", ");
    let hours = |seconds: f64| {
        if seconds >= 2.0 * 86_400.0 {
            format!("{:.1} days", seconds / 86_400.0)
        } else {
            format!("{:.1} h", seconds / 3600.0)
        }
    };
    [
        ("Trace", outcome.trace.clone()),
        ("Length", hours(s.bins as f64 * s.bin_s)),
        ("Bins", format!("{} of {} s, from bin {}", s.bins, s.bin_s, s.first_bin)),
        ("Demand", format!("mean {:.1}, peak {:.1} requests/s (trace × {})", s.mean_rps, s.peak_rps, s.scale)),
        ("Capacity of one pod", format!("{:.3} requests/s", s.capacity_rps)),
        ("Start-up", list(s.startup.iter().map(ToString::to_string).collect())),
        ("Replicas", format!("{} to {}", s.min_replicas, s.max_replicas)),
        ("Physics", format!("{:?}", s.physics).to_lowercase()),
        (
            "Metrics",
            format!(
                "scraped every {} s; HPA sees {} s means and syncs every {} s; SPHERE decides {} s after a scrape",
                s.scrape_s, s.window_s, s.hpa_sync_s, s.decision_delay_s
            ),
        ),
        ("Client time-out", format!("{} s", s.client_timeout_s)),
        ("Service time on an idle pod", format!("{:.1} ms", 1000.0 * s.service_s)),
        ("History before the run", hours(s.history_s)),
        ("Seeds", list(s.seeds.iter().map(ToString::to_string).collect())),
        ("Version", env!("CARGO_PKG_VERSION").into()),
    ]
    .map(|(name, value)| Setting { name: name.into(), value })
    .to_vec()
}

fn scoreboard(outcome: &Outcome) -> Vec<ScoreRow> {
    let mut keys: Vec<(f64, Contestant)> = Vec::new();
    for run in &outcome.runs {
        if !keys.contains(&(run.startup_s, run.policy)) {
            keys.push((run.startup_s, run.policy));
        }
    }
    keys.into_iter()
        .map(|(startup_s, policy)| {
            let runs: Vec<&Run> =
                outcome.runs.iter().filter(|r| (r.startup_s, r.policy) == (startup_s, policy)).collect();
            let score = |of: fn(&Scorecard) -> Option<f64>| {
                estimate(&runs, of).map(|(mean, ci95_half_width)| Estimate { mean, ci95_half_width })
            };
            ScoreRow {
                policy: policy.to_string(),
                startup_s,
                violation_time_pct: score(|s| Some(s.violation_time_pct)),
                violation_requests_pct: score(|s| Some(s.violation_requests_pct)),
                failed_requests_pct: score(|s| Some(s.failed_requests_pct)),
                latency_p50_ms: score(|s| s.latency_p50_ms),
                latency_p95_ms: score(|s| s.latency_p95_ms),
                latency_p99_ms: score(|s| s.latency_p99_ms),
                pod_hours: score(|s| Some(s.pod_hours)),
                pod_hours_vs_oracle: score(|s| s.pod_hours_vs_oracle),
                utilization: score(|s| Some(s.utilization)),
                scale_ups: score(|s| Some(s.scale_ups as f64)),
                scale_downs: score(|s| Some(s.scale_downs as f64)),
                theta_u: score(|s| Some(s.theta_u)),
                theta_o: score(|s| Some(s.theta_o)),
                tau_u: score(|s| Some(s.tau_u)),
                tau_o: score(|s| Some(s.tau_o)),
                instability: score(|s| Some(s.instability)),
            }
        })
        .collect()
}

fn timeline(outcome: &Outcome) -> Option<Timeline> {
    let recorded: Vec<(Contestant, &Recording, f64)> = outcome
        .runs
        .iter()
        .filter_map(|r| r.recording.as_ref().map(|recording| (r.policy, recording, r.startup_s)))
        .collect();
    let (_, any, _) = recorded.first()?;
    let series =
        |recording: &Recording, value: &dyn Fn(&sphere_sim::run::RecordedStep) -> Option<f64>| Series {
            time_s: recording.iter().map(|s| s.t_s as f64).collect(),
            values: recording.iter().map(value).collect(),
        };
    let capacity = outcome.settings.capacity_rps;
    let policies = recorded
        .iter()
        .map(|(policy, recording, startup_s)| {
            let banded: Vec<_> = recording.iter().filter_map(|s| s.band.map(|b| (s.t_s as f64, b))).collect();
            let quantile = |i: usize| banded.iter().map(|(_, b)| Some(b[i])).collect();
            PolicySeries {
                policy: policy.to_string(),
                family: policy.family().into(),
                shown: matches!(policy.family(), "sphere" | "sphere-slo" | "hpa"),
                ready_capacity: series(recording, &|s| Some(f64::from(s.ready) * capacity)),
                replicas: Some(series(recording, &|s| Some(f64::from(s.replicas)))),
                forecast: (!banded.is_empty()).then(|| ForecastBand {
                    lead_s: startup_s + f64::from(outcome.settings.decision_delay_s),
                    time_s: banded.iter().map(|(t, _)| *t).collect(),
                    median: quantile(0),
                    q90: quantile(1),
                    q95: quantile(2),
                    q99: quantile(3),
                }),
            }
        })
        .collect();
    Some(Timeline {
        unit: "requests/s".into(),
        start_local_ms: outcome.start_ms,
        demand: series(any, &|s| Some(s.offered_rps)),
        policies,
    })
}

/// Mean over seeds per setting, at the first start-up time.
fn curves(outcome: &Outcome) -> Vec<Curve> {
    let Some(startup_s) = outcome.runs.first().map(|r| r.startup_s) else { return Vec::new() };
    let all = || outcome.runs.iter().chain(&outcome.swept).filter(|r| r.startup_s == startup_s);
    let mut families: Vec<&'static str> = Vec::new();
    for run in all() {
        if !families.contains(&run.policy.family()) {
            families.push(run.policy.family());
        }
    }
    families
        .into_iter()
        .map(|family| {
            let mut settings: Vec<Contestant> = Vec::new();
            for run in all().filter(|r| r.policy.family() == family) {
                if !settings.contains(&run.policy) {
                    settings.push(run.policy);
                }
            }
            let mut points: Vec<CurvePoint> = settings
                .into_iter()
                .map(|policy| {
                    let runs: Vec<&Run> = all().filter(|r| r.policy == policy).collect();
                    let mean =
                        |of: fn(&Run) -> f64| runs.iter().map(|r| of(r)).sum::<f64>() / runs.len() as f64;
                    CurvePoint {
                        label: policy.setting(),
                        pod_hours: mean(|r| r.score.pod_hours),
                        violation_time_pct: mean(|r| r.score.violation_time_pct),
                        is_default: matches!(policy, Contestant::Sphere | Contestant::Hpa(60)),
                    }
                })
                .collect();
            points.sort_by(|a, b| a.pod_hours.total_cmp(&b.pod_hours));
            Curve { family: family.into(), points }
        })
        .collect()
}
