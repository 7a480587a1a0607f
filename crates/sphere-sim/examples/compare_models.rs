//! Which forecaster lets SPHERE need fewer pod-hours at the same violations?
//!
//!     cargo run --release -p sphere-sim --example compare_models -- [--shifts N] [--only NAME] DIR [PRICE…]
//!
//! DIR holds the traces of experiments/scaling. Loss physics, nothing random. For every trace, start-up time, price
//! (default 20) and model: share of time over capacity, pod-hours, the pod-hours of the HPA tuned on that very trace
//! (targets 30 to 100 % in steps of 5, CPU and requests/s) at that violation, the saving, and the share of the gap between
//! that HPA and the oracle that is closed. Whole pods make a single run a matter of luck: with `--shifts N` every cell is
//! played with N capacities of a pod, evenly from 8 % below to 8 % above the usual one, and each line is followed by the mean
//! of the gaps closed and the mean and the standard deviation of the difference; the summary is of the means. `--only` takes the
//! traces whose name contains NAME.

use rayon::prelude::*;
use sphere_core::Timestamp;
use sphere_sim::tournament::frontier_hours;
use sphere_sim::{Contestant, ForecastModel, Physics, Profile, Settings, Startup, Tournament};
use std::time::Duration;

const DAY_S: u64 = 86_400;
/// Name, file, factor, first and last second.
const CELLS: [(&str, &str, f64, u64, u64); 12] = [
    ("NASA day 3", "nasa_jul95_10s.csv", 50.0, 3 * DAY_S, 5 * DAY_S),
    ("NASA day 7", "nasa_jul95_10s.csv", 50.0, 7 * DAY_S, 9 * DAY_S),
    ("NASA day 11", "nasa_jul95_10s.csv", 50.0, 11 * DAY_S, 13 * DAY_S),
    ("NASA day 16", "nasa_jul95_10s.csv", 50.0, 16 * DAY_S, 18 * DAY_S),
    ("NASA day 20", "nasa_jul95_10s.csv", 50.0, 20 * DAY_S, 22 * DAY_S),
    ("WC98 day 1", "wc98_10s.csv", 1.0, 0, DAY_S),
    ("WC98 day 2", "wc98_10s.csv", 1.0, DAY_S, 2 * DAY_S),
    ("Alibaba", "alibaba2018_cpu_10s.csv", 1.0, 499_620, u64::MAX),
    ("Azure CPU", "azure2019_cpu_5min.csv", 1.0, 23 * DAY_S, u64::MAX),
    ("ELB requests", "nab_elb_8c0756_5min.csv", 1.0, 7 * DAY_S, u64::MAX),
    ("Tweets AMZN", "nab_tweets_AMZN_5min.csv", 1.0, 45 * DAY_S, 52 * DAY_S),
    ("Minikube", "minikube_frontend_cpu_10s.csv", 1.0, 0, u64::MAX),
];
/// Largest relative change of the capacity of a pod.
const LARGEST_SHIFT: f64 = 0.08;
/// Start-up time, and the two models' saving and gap closed.
type Cell = (f64, [f64; 2], [f64; 2]);
const STARTUPS_S: [f64; 3] = [30.0, 60.0, 180.0];

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let (mut shifts, mut only, mut rest) = (1u32, String::new(), Vec::new());
    let mut args = std::env::args().skip(1);
    while let Some(arg) = args.next() {
        match arg.as_str() {
            "--shifts" => shifts = args.next().ok_or("--shifts N")?.parse::<u32>()?.max(1),
            "--only" => only = args.next().ok_or("--only NAME")?,
            _ => rest.push(arg),
        }
    }
    let mut rest = rest.into_iter();
    let dir = rest.next().ok_or("usage: compare_models [--shifts N] [--only NAME] DIR [PRICE…]")?;
    let mut prices: Vec<f64> = rest.map(|a| a.parse()).collect::<Result<_, _>>()?;
    if prices.is_empty() {
        prices.push(20.0);
    }
    println!(
        "trace         start-up price | sphere: over %, h, tuned HPA h, saving %, gap % | auto: the same"
    );
    let mut all: Vec<Cell> = Vec::new();
    for (name, file, scale, from, to) in CELLS.into_iter().filter(|cell| cell.0.contains(&only)) {
        let Ok(text) = std::fs::read_to_string(format!("{dir}/{file}")) else {
            eprintln!("{file}: missing");
            continue;
        };
        let profile = profile(&text, scale)?;
        let step = profile.step.as_secs();
        let end = (usize::try_from(to / step).unwrap_or(usize::MAX)).min(profile.rates_rps.len());
        let segment = (from / step) as usize..end;
        let usual = profile.peak_rps(segment.clone()) / 20.0;
        let targets = || (30..=100).step_by(5);
        let hpas: Vec<Contestant> =
            targets().map(Contestant::Hpa).chain(targets().map(Contestant::HpaRps)).collect();
        let play = |capacity, model, contestants: Vec<Contestant>| {
            let settings = STARTUPS_S
                .map(|s| Settings { model, ..Settings::new(capacity, Startup::Fixed(s), Physics::Loss) });
            Tournament {
                profile: &profile,
                segment: segment.clone(),
                settings: settings.to_vec(),
                contestants,
                seeds: vec![1],
                record: Vec::new(),
            }
            .play(|| {})
        };
        let spheres: Vec<Contestant> = prices.iter().map(|p| Contestant::SpherePrice(*p)).collect();
        let others = [vec![Contestant::Oracle], hpas].concat();
        let mut jobs = Vec::new();
        for k in 0..shifts {
            let capacity = usual * factor(k, shifts);
            jobs.push((capacity, ForecastModel::Sphere, others.clone()));
            jobs.push((capacity, ForecastModel::Sphere, spheres.clone()));
            jobs.push((capacity, ForecastModel::Auto, spheres.clone()));
        }
        let results: Vec<_> =
            jobs.into_par_iter().map(|(capacity, model, who)| play(capacity, model, who)).collect();
        for i in 0..STARTUPS_S.len() * prices.len() {
            let (mut savings, mut gaps) = (Vec::new(), Vec::new());
            for (k, played) in (0..shifts).zip(results.chunks_exact(3)) {
                let [others, sphere, auto] = played else { continue };
                let (s, a) = (&sphere[i], &auto[i]);
                let here: Vec<_> = others.iter().filter(|r| r.startup_s == s.startup_s).collect();
                let oracle =
                    here.iter().find(|r| r.policy == Contestant::Oracle).map_or(0.0, |r| r.score.pod_hours);
                let points: Vec<(f64, f64)> = here
                    .iter()
                    .filter(|r| r.policy != Contestant::Oracle)
                    .map(|r| (r.score.violation_time_pct, r.score.pod_hours))
                    .collect();
                let mut line = format!("{name:13} {:5} {:>8} |", s.startup_s, s.policy.to_string());
                let (mut saving, mut gap) = ([f64::NAN; 2], [f64::NAN; 2]);
                for (k, run) in [s, a].into_iter().enumerate() {
                    let (v, h) = (run.score.violation_time_pct, run.score.pod_hours);
                    let hpa = frontier_hours(&points, v).unwrap_or(f64::NAN);
                    saving[k] = 100.0 * (hpa - h) / hpa;
                    gap[k] = 100.0 * (hpa - h) / (hpa - oracle);
                    line += &format!(" {v:5.2} {h:7.1} {hpa:7.1} {:5.1} {:5.1} |", saving[k], gap[k]);
                }
                if shifts > 1 {
                    line += &format!(" capacity {:+.0} %", 100.0 * (factor(k, shifts) - 1.0));
                }
                println!("{line}");
                savings.push(saving);
                gaps.push(gap);
            }
            if shifts > 1 {
                println!("{name:13} {:5} {:>8} | {}", startup_of(i, &prices), "mean", spread(&gaps));
            }
            all.push((startup_of(i, &prices), means(&savings), means(&gaps)));
        }
    }
    for startup in STARTUPS_S.into_iter().map(Some).chain([None]) {
        let of = |f: &dyn Fn(&Cell) -> f64| {
            let mut v: Vec<f64> = all
                .iter()
                .filter(|(s, ..)| startup.is_none_or(|startup| startup == *s))
                .map(f)
                .filter(|v| v.is_finite())
                .collect();
            v.sort_by(f64::total_cmp);
            let median = v.get(v.len() / 2).copied().unwrap_or(f64::NAN);
            (median, v.iter().sum::<f64>() / v.len() as f64)
        };
        let label = startup.map_or("all".into(), |s| format!("{s} s"));
        for (k, model) in ["sphere", "auto"].into_iter().enumerate() {
            let (saving, gap) = (of(&|c| c.1[k]), of(&|c| c.2[k]));
            println!(
                "{label:6} {model:6}: saving median {:.1} mean {:.1} %, gap closed median {:.1} mean {:.1} %",
                saving.0, saving.1, gap.0, gap.1
            );
        }
    }
    Ok(())
}

/// Start-up time of the i-th result: ordered by start-up time, then price.
fn startup_of(i: usize, prices: &[f64]) -> f64 {
    STARTUPS_S[i / prices.len()]
}

/// Capacity of a pod in the k-th of `shifts` variants, relative to the usual one.
fn factor(k: u32, shifts: u32) -> f64 {
    if shifts < 2 {
        return 1.0;
    }
    1.0 + LARGEST_SHIFT * (2.0 * f64::from(k) / f64::from(shifts - 1) - 1.0)
}

/// Means over the variants in which both models have a figure.
fn means(values: &[[f64; 2]]) -> [f64; 2] {
    let known: Vec<_> = values.iter().filter(|v| v.iter().all(|x| x.is_finite())).collect();
    [0, 1].map(|k| known.iter().map(|v| v[k]).sum::<f64>() / known.len() as f64)
}

/// The models' mean gaps, and how the difference varies.
fn spread(gaps: &[[f64; 2]]) -> String {
    let [sphere, auto] = means(gaps);
    let differences: Vec<f64> = gaps.iter().map(|[s, a]| a - s).filter(|d| d.is_finite()).collect();
    let n = differences.len() as f64;
    let squares = differences.iter().map(|d| (d - (auto - sphere)).powi(2)).sum::<f64>();
    let behind = differences.iter().filter(|d| **d < 0.0).count();
    format!(
        "gap closed: sphere {sphere:5.1} %, auto {auto:5.1} %, difference {:+5.1} ± {:.1}, auto behind in {behind} of {n}",
        auto - sphere,
        (squares / (n - 1.0)).sqrt(),
    )
}

fn profile(text: &str, scale: f64) -> Result<Profile, Box<dyn std::error::Error>> {
    let (mut times, mut values) = (Vec::new(), Vec::new());
    for line in text.lines().skip(1) {
        let (time, value) = line.split_once(',').ok_or("no comma")?;
        times.push(time.parse::<f64>()?);
        values.push(value.parse::<f64>()?);
    }
    let step_s = times[1] - times[0];
    let counts = text.starts_with("timestamp_s,count");
    let unit = if counts { scale / step_s } else { scale };
    Ok(Profile {
        start: Timestamp::from_secs(0),
        step: Duration::from_secs_f64(step_s),
        rates_rps: values.into_iter().map(|v| Some(v * unit)).collect(),
    })
}
