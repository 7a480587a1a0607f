//! What does SPHERE save against an HPA tuned on this very trace?
//!
//! At each seed the comparator is the lower frontier of all HPA settings (CPU and requests/s, every target) in
//! the plane of violation and pod-hours, read at the violation SPHERE had: the HPA somebody would have chosen who
//! knew the trace beforehand.

use serde::Serialize;
use sphere_sim::tournament::{frontier_hours, mean_ci95};
use sphere_sim::{Contestant, Run};

/// SPHERE against the tuned HPA at one start-up time; means over seeds.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Comparison {
    /// SPHERE's setting.
    pub policy: Contestant,
    /// Median start-up time, seconds.
    pub startup_s: f64,
    /// Share of time over capacity, %.
    pub violation_time_pct: f64,
    /// SPHERE's pod-hours.
    pub pod_hours: f64,
    /// Pod-hours of the HPA tuned to the same violation. Absent where no HPA setting violates as little.
    pub tuned_hpa_pod_hours: Option<f64>,
    /// Pod-hours saved against it, %.
    pub saving_pct: Option<f64>,
    /// Half the width of the 95 % confidence interval of the saving over seeds.
    pub saving_ci95_half_width_pct: Option<f64>,
}

/// One comparison per SPHERE setting and start-up time.
pub fn compare<'a>(runs: impl Iterator<Item = &'a Run> + Clone) -> Vec<Comparison> {
    let mut keys: Vec<(f64, Contestant)> = Vec::new();
    for run in runs.clone().filter(|r| matches!(r.policy.family(), "sphere" | "sphere-slo")) {
        if !keys.contains(&(run.startup_s, run.policy)) {
            keys.push((run.startup_s, run.policy));
        }
    }
    keys.sort_by(|a, b| a.0.total_cmp(&b.0));
    keys.into_iter()
        .map(|(startup_s, policy)| {
            let at = |r: &&Run| r.startup_s == startup_s;
            let own: Vec<&Run> = runs.clone().filter(at).filter(|r| r.policy == policy).collect();
            let pairs: Vec<(f64, f64)> = own
                .iter()
                .filter_map(|run| {
                    let hpa: Vec<(f64, f64)> = runs
                        .clone()
                        .filter(at)
                        .filter(|r| r.seed == run.seed && matches!(r.policy.family(), "hpa" | "hpa-rps"))
                        .map(|r| (r.score.violation_time_pct, r.score.pod_hours))
                        .collect();
                    let tuned = frontier_hours(&hpa, run.score.violation_time_pct)?;
                    Some((tuned, 100.0 * (1.0 - run.score.pod_hours / tuned)))
                })
                .collect();
            let complete = pairs.len() == own.len();
            let mean = |of: fn(&Run) -> f64| own.iter().map(|r| of(r)).sum::<f64>() / own.len().max(1) as f64;
            let saving =
                complete.then(|| mean_ci95(&pairs.iter().map(|p| p.1).collect::<Vec<_>>())).flatten();
            Comparison {
                policy,
                startup_s,
                violation_time_pct: mean(|r| r.score.violation_time_pct),
                pod_hours: mean(|r| r.score.pod_hours),
                tuned_hpa_pod_hours: complete
                    .then(|| pairs.iter().map(|p| p.0).sum::<f64>() / pairs.len().max(1) as f64),
                saving_pct: saving.map(|s| s.0),
                saving_ci95_half_width_pct: saving.and_then(|s| s.1),
            }
        })
        .collect()
}
