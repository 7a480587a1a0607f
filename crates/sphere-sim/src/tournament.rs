//! How do the contestants compare, over seeds and start-up times?
//!
//! Every run is independent and deterministic, so they are spread over all cores. The oracle always runs along,
//! as the yardstick of pod-hours.

use crate::demand::{Demand, Profile, Spread};
use crate::policy::Contestant;
use crate::run::{Physics, Recording, Settings, run};
use crate::score::Scorecard;
use rayon::prelude::*;
use serde::Serialize;
use sphere_core::Reason;
use std::ops::Range;

/// What to play.
#[derive(Clone, Debug)]
pub struct Tournament<'a> {
    /// The demand, with the history before the segment.
    pub profile: &'a Profile,
    /// The bins played.
    pub segment: Range<usize>,
    /// One entry per start-up time; everything else usually equal.
    pub settings: Vec<Settings>,
    /// Who plays.
    pub contestants: Vec<Contestant>,
    /// Seeds; each gives another realisation of arrivals and start-up times.
    pub seeds: Vec<u64>,
    /// Keep the course of the first seed's runs at the first start-up time for these.
    pub record: Vec<Contestant>,
}

/// One run's result.
#[derive(Clone, Debug, Serialize)]
pub struct Run {
    /// The contestant.
    pub policy: Contestant,
    /// Median start-up time, seconds.
    pub startup_s: f64,
    /// Seed of arrivals and start-up times.
    pub seed: u64,
    /// The scores.
    #[serde(flatten)]
    pub score: Scorecard,
    /// What SPHERE's SLO loop had to report during the run, each kind once, at its worst.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub events: Vec<Reason>,
    /// The course of the run, where it was kept.
    #[serde(skip)]
    pub recording: Option<Recording>,
}

impl Tournament<'_> {
    /// Number of runs, for a progress bar.
    pub fn runs(&self) -> usize {
        self.seeds.len() * self.settings.len() * self.contestants.len()
    }

    /// Plays all, calls `done` after each run. Results are ordered by start-up time, contestant and seed.
    pub fn play(&self, done: impl Fn() + Sync) -> Vec<Run> {
        let Some(first) = self.settings.first() else { return Vec::new() };
        let spread = |seed| match first.physics {
            Physics::Loss => Spread::Constant,
            Physics::Queue => Spread::Poisson(seed),
        };
        let realise = |seed| {
            Demand::new(
                self.profile,
                self.segment.clone(),
                first.history,
                first.physics.tick_s(),
                first.scrape_s,
                spread(seed),
            )
        };
        // Without chance in the arrivals one realisation serves all seeds.
        let distinct: Vec<u64> = match first.physics {
            Physics::Loss => self.seeds.iter().copied().take(1).collect(),
            Physics::Queue => self.seeds.clone(),
        };
        let demands: Vec<Demand> = distinct.par_iter().map(|&seed| realise(seed)).collect();
        let demand_of = |i: usize| &demands[i.min(demands.len() - 1)];

        let mut jobs = Vec::new();
        for (s, _) in self.settings.iter().enumerate() {
            for &contestant in &self.contestants {
                for i in 0..self.seeds.len() {
                    jobs.push((s, contestant, i));
                }
            }
        }
        let oracle_hours: Vec<Vec<f64>> = self
            .settings
            .par_iter()
            .map(|settings| {
                (0..self.seeds.len())
                    .into_par_iter()
                    .map(|i| {
                        let demand = demand_of(i);
                        let mut oracle = Contestant::Oracle.policy(demand, settings);
                        run(demand, settings, oracle.as_mut(), self.seeds[i], false).score.pod_hours
                    })
                    .collect()
            })
            .collect();
        jobs.par_iter()
            .map(|&(s, contestant, i)| {
                let (settings, demand) = (&self.settings[s], demand_of(i));
                let record = s == 0 && i == 0 && self.record.contains(&contestant);
                let mut policy = contestant.policy(demand, settings);
                let mut result = run(demand, settings, policy.as_mut(), self.seeds[i], record);
                let oracle = oracle_hours[s][i];
                result.score.pod_hours_vs_oracle = (oracle > 0.0).then(|| result.score.pod_hours / oracle);
                done();
                Run {
                    policy: contestant,
                    startup_s: settings.startup.median_s(),
                    seed: self.seeds[i],
                    score: result.score,
                    events: policy.events(),
                    recording: result.recording,
                }
            })
            .collect()
    }
}

/// Mean and half the width of the 95 % confidence interval (Student's t); no interval for a single value.
pub fn mean_ci95(values: &[f64]) -> Option<(f64, Option<f64>)> {
    /// 0.975 quantile of Student's t for 1, 2, … degrees of freedom.
    const T: [f64; 15] = [
        12.706, 4.303, 3.182, 2.776, 2.571, 2.447, 2.365, 2.306, 2.262, 2.228, 2.201, 2.179, 2.160, 2.145,
        2.131,
    ];
    let n = values.len();
    if n == 0 {
        return None;
    }
    let mean = values.iter().sum::<f64>() / n as f64;
    if n == 1 {
        return Some((mean, None));
    }
    let variance = values.iter().map(|v| (v - mean).powi(2)).sum::<f64>() / (n - 1) as f64;
    let t = T.get(n - 2).copied().unwrap_or(1.96 + 2.4 / (n - 1) as f64);
    Some((mean, Some(t * (variance / n as f64).sqrt())))
}

/// Pod-hours the best setting of a family needs for a given violation: the lower frontier of its points,
/// linear in between. `None` below the least violation reached. Points are (violation, pod-hours).
pub fn frontier_hours(points: &[(f64, f64)], violation: f64) -> Option<f64> {
    let mut sorted = points.to_vec();
    sorted.sort_by(|a, b| a.0.total_cmp(&b.0).then(a.1.total_cmp(&b.1)));
    let mut frontier: Vec<(f64, f64)> = Vec::new();
    for point in sorted {
        if frontier.last().is_none_or(|last| point.1 < last.1) {
            frontier.push(point);
        }
    }
    let after = frontier.partition_point(|p| p.0 <= violation);
    let below = frontier.get(after.checked_sub(1)?)?;
    Some(match frontier.get(after) {
        Some(above) if above.0 > below.0 => {
            below.1 + (violation - below.0) / (above.0 - below.0) * (above.1 - below.1)
        }
        _ => below.1,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cluster::Startup;
    use sphere_core::Timestamp;
    use std::time::Duration;

    fn wave() -> Profile {
        let rates = (0..2000)
            .map(|i| Some(100.0 + 60.0 * (f64::from(i) / 300.0 * std::f64::consts::TAU).sin()))
            .collect();
        Profile { start: Timestamp(0), step: Duration::from_secs(10), rates_rps: rates }
    }

    fn play(physics: Physics, contestants: Vec<Contestant>) -> Vec<Run> {
        let profile = wave();
        Tournament {
            profile: &profile,
            segment: 1000..2000,
            settings: vec![Settings::new(10.0, Startup::Fixed(30.0), physics)],
            contestants,
            seeds: vec![1, 2],
            record: vec![],
        }
        .play(|| {})
    }

    #[test]
    fn same_seed_same_result() {
        let all = Contestant::DEFAULTS.to_vec();
        let text = |runs: &[Run]| serde_json::to_string(runs).unwrap();
        assert_eq!(text(&play(Physics::Queue, all.clone())), text(&play(Physics::Queue, all)));
    }

    #[test]
    fn the_oracle_never_violates_and_nobody_is_cheaper_without_violating() {
        for physics in [Physics::Loss, Physics::Queue] {
            let runs = play(physics, Contestant::DEFAULTS.to_vec());
            let oracle = runs.iter().find(|r| r.policy == Contestant::Oracle).unwrap();
            assert_eq!(oracle.score.violation_time_pct, 0.0);
            for r in &runs {
                assert!(
                    r.score.violation_time_pct > 0.0 || r.score.pod_hours_vs_oracle.unwrap() > 0.97,
                    "{}: {:?}",
                    r.policy,
                    r.score
                );
            }
        }
    }

    #[test]
    fn sphere_serves_this_wave_with_less_than_the_hpa() {
        let runs = play(Physics::Loss, vec![Contestant::Hpa(60), Contestant::Sphere]);
        let (hpa, sphere) = (&runs[0].score, &runs[2].score);
        assert!(sphere.pod_hours < hpa.pod_hours, "{sphere:?} {hpa:?}");
    }

    #[test]
    fn intervals_and_frontiers() {
        assert_eq!(mean_ci95(&[]), None);
        assert_eq!(mean_ci95(&[3.0]), Some((3.0, None)));
        let (mean, half) = mean_ci95(&[1.0, 2.0, 3.0, 4.0, 5.0]).unwrap();
        assert!((mean - 3.0).abs() < 1e-12 && (half.unwrap() - 1.963).abs() < 1e-2);
        let points = [(0.0, 100.0), (1.0, 80.0), (0.5, 95.0), (2.0, 85.0)];
        assert_eq!(frontier_hours(&points, 0.75), Some(87.5));
        assert_eq!(frontier_hours(&points, 5.0), Some(80.0));
        assert_eq!(frontier_hours(&[(0.1, 5.0)], 0.0), None);
    }
}
