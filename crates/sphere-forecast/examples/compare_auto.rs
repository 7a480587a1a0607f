//! Is `auto` better than the simple methods, on every series and in every respect that decisions read?
//!
//!     cargo run --release -p sphere-forecast --example compare_auto -- [--stride N] [MODEL…] FILE.csv…
//!
//! Each file is `timestamp_s,value` with a header. The last half, at most two days, is forecast after at most
//! seven days of history, 15 steps ahead from every `stride`-th step (default 6). Printed per series and model, relative to
//! the founding Holt-Winters fitted afresh at every origin (`classic-fresh`): MASE of steps 1 to 15, MASE of the mean of
//! steps 13 to 15, pinball loss at 0.95 of that mean; then coverage at 0.95 of that mean and of steps 1, 5 and
//! 15, the share above the 0.99 and 0.999 quantiles at step 15, and the worst day's deviation from 0.9 and 0.95. Models that do
//! not forecast that mean as such get its quantile from their last 400 errors of it. The model `auto-lead` is `auto` as the pipeline
//! runs it: it learns step 1 and step 15 only.

#[path = "shared/trace.rs"]
mod trace;

use rayon::prelude::*;
use sphere_core::{Distribution, Timestamp};
use sphere_forecast::{AutoConfig, AutoForecaster, Forecaster, OnlineConfig, registry};
use std::collections::VecDeque;
use std::time::{Duration, Instant};

const HORIZON: usize = 15;
const BASELINES: [&str; 4] = ["classic-fresh", "last", "mean-6", "ses"];
const LEVELS: [f64; 5] = [0.9, 0.95, 0.99, 0.999, 0.9999];
/// Steps ahead whose coverage is reported.
const WATCHED: [usize; 3] = [1, 5, 15];

struct Series {
    name: String,
    step: Duration,
    values: Vec<f64>,
    start: usize,
}

#[derive(Clone, Copy, Default)]
struct Share {
    held: f64,
    all: f64,
}

impl Share {
    fn add(&mut self, held: bool) {
        self.held += f64::from(u8::from(held));
        self.all += 1.0;
    }
    fn pct(self) -> f64 {
        100.0 * self.held / self.all
    }
}

#[derive(Clone, Default)]
struct Row {
    mae: f64,
    signal_mae: f64,
    signal_pinball: f64,
    lead_pinball: [f64; 4],
    count: f64,
    signal: [Share; LEVELS.len()],
    steps: [[Share; LEVELS.len()]; WATCHED.len()],
    worst_day: [f64; 2],
    us: f64,
}

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let mut stride = 6;
    let (mut models, mut files) = (vec!["auto".to_string()], Vec::new());
    let mut args = std::env::args().skip(1);
    while let Some(arg) = args.next() {
        if arg == "--stride" {
            stride = args.next().ok_or("--stride N")?.parse()?;
        } else if arg.ends_with(".csv") {
            files.push(arg);
        } else {
            models.push(arg);
        }
    }
    let series: Vec<Series> = files.iter().map(|f| read(f)).collect::<Result<_, _>>()?;
    let names: Vec<&str> = BASELINES.into_iter().chain(models.iter().map(String::as_str)).collect();
    let jobs: Vec<(usize, &str)> =
        (0..series.len()).flat_map(|i| names.iter().map(move |n| (i, *n))).collect();
    let rows: Vec<Row> = jobs.par_iter().map(|(i, name)| run(&series[*i], name, stride)).collect();
    println!(
        "{:24} {:13} {:>6} {:>6} {:>6} {:>6} {:>6} {:>6} {:>6} | {:>5} {:>5} {:>5} {:>5} | {:>5} {:>6} | {:>4} {:>4} | {:>5} | vs best of three",
        "series",
        "model",
        "MASE",
        "13-15",
        "p95",
        "p95h15",
        "p99h15",
        "p95h5",
        "p99h5",
        "cov95",
        "h1",
        "h5",
        "h15",
        ">99",
        ">999",
        "d90",
        "d95",
        "us"
    );
    let mut logs = vec![[0.0; 7]; names.len()];
    let mut worst = vec![[0.0f64; 5]; names.len()];
    for (i, s) in series.iter().enumerate() {
        let of = |k: usize| &rows[i * names.len() + k];
        let hw = of(0);
        let best = |f: fn(&Row) -> f64| (1..4).map(|k| f(of(k))).fold(f64::INFINITY, f64::min);
        let (best_mae, best_signal) = (best(|r| r.mae), best(|r| r.signal_mae));
        let best_pinball = best(|r| r.signal_pinball);
        for (k, name) in names.iter().enumerate() {
            let r = of(k);
            let ratios = [
                r.mae / hw.mae,
                r.signal_mae / hw.signal_mae,
                r.signal_pinball / hw.signal_pinball,
                r.lead_pinball[0] / hw.lead_pinball[0],
                r.lead_pinball[1] / hw.lead_pinball[1],
                r.lead_pinball[2] / hw.lead_pinball[2],
                r.lead_pinball[3] / hw.lead_pinball[3],
            ];
            let against = [r.mae / best_mae, r.signal_mae / best_signal, r.signal_pinball / best_pinball];
            for (sum, v) in logs[k].iter_mut().zip(ratios) {
                *sum += v.ln();
            }
            for (w, v) in worst[k].iter_mut().zip([ratios[0], ratios[1], ratios[2], against[0], against[1]]) {
                *w = w.max(v);
            }
            println!(
                "{:24} {:13} {:6.3} {:6.3} {:6.3} {:6.3} {:6.3} {:6.3} {:6.3} | {:5.1} {:5.1} {:5.1} {:5.1} | {:5.2} {:6.3} | {:4.1} {:4.1} | {:5.1} | {:.3} {:.3} {:.3}",
                s.name,
                name,
                ratios[0],
                ratios[1],
                ratios[2],
                ratios[3],
                ratios[4],
                ratios[5],
                ratios[6],
                r.signal[1].pct(),
                r.steps[0][1].pct(),
                r.steps[1][1].pct(),
                r.steps[2][1].pct(),
                100.0 - r.steps[2][2].pct(),
                100.0 - r.steps[2][3].pct(),
                r.worst_day[0],
                r.worst_day[1],
                r.us,
                against[0],
                against[1],
                against[2],
            );
        }
    }
    let n = series.len() as f64;
    println!(
        "\n{:13} {:>6} {:>6} {:>6} {:>7} {:>7} {:>6} {:>6} | worst against classic-fresh, against the best of last, mean-6, ses",
        "model", "MASE", "13-15", "p95", "p95 h15", "p99 h15", "p95 h5", "p99 h5"
    );
    for (k, name) in names.iter().enumerate() {
        let g = logs[k].map(|sum| (sum / n).exp());
        let w = worst[k];
        println!(
            "{name:13} {:6.3} {:6.3} {:6.3} {:7.3} {:7.3} {:6.3} {:6.3} | {:.3} {:.3} {:.3}, {:.3} {:.3}",
            g[0], g[1], g[2], g[3], g[4], g[5], g[6], w[0], w[1], w[2], w[3], w[4]
        );
    }
    Ok(())
}

fn run(series: &Series, name: &str, stride: usize) -> Row {
    let Series { values, step, start, .. } = series;
    let day = (Duration::from_secs(86_400).as_millis() / step.as_millis()) as usize;
    // The simple methods know 60 values only; the quantile of the mean wants 400 origins more.
    let simple = BASELINES.contains(&name);
    let first = if simple { start.saturating_sub(400 * stride + 200) } else { start.saturating_sub(7 * day) };
    let config = AutoConfig::new(*step, HORIZON as u32);
    let mut auto =
        if name == "auto-lead" { AutoForecaster::for_lead(config) } else { AutoForecaster::new(config) };
    let mut other = registry::create_with(name, OnlineConfig::new(*step)).ok();
    let model: &mut dyn Forecaster = match other.as_mut() {
        Some(other) if !name.starts_with("auto") => other.as_mut(),
        _ => &mut auto,
    };
    let mut row = Row::default();
    let mut errors: VecDeque<(usize, f64)> = VecDeque::new();
    let mut scored: VecDeque<f64> = VecDeque::new();
    let (mut out, mut spent) = (Vec::<Distribution>::new(), Duration::ZERO);
    let mut daily: Vec<[Share; 2]> = Vec::new();
    for t in first..values.len() - HORIZON {
        let begun = Instant::now();
        model.observe(Timestamp::from_secs(((t + 1) as u64 * step.as_secs()) as i64), values[t]);
        let due = t + 1 >= *start;
        let origin = (t + 1).abs_diff(*start) % stride == 0;
        if !(origin || due) {
            continue;
        }
        if simple && !origin {
            continue;
        }
        if simple {
            model.refit();
        }
        if model.distributions(HORIZON, &mut out).is_err() {
            continue;
        }
        spent += begun.elapsed();
        let actual = &values[t + 1..=t + HORIZON];
        if due {
            for (k, h) in WATCHED.into_iter().enumerate() {
                for (share, level) in row.steps[k].iter_mut().zip(LEVELS) {
                    share.add(actual[h - 1] <= out[h - 1].quantile(level));
                }
            }
            let today = (t + 1 - start) / day;
            daily.resize(today + 1, Default::default());
            for (share, level) in daily[today].iter_mut().zip(LEVELS) {
                share.add(actual[4] <= out[4].quantile(level));
            }
        }
        if !origin {
            continue;
        }
        let came = (actual[12] + actual[13] + actual[14]) / 3.0;
        let mut point = (out[12].mean() + out[13].mean() + out[14].mean()) / 3.0;
        let mut quantiles = [0.0; LEVELS.len()];
        if let Some(signal) = model.mean_of_steps(13, 15) {
            point = signal.mean();
            quantiles = LEVELS.map(|level| signal.quantile(level));
        } else {
            while errors.front().is_some_and(|(at, _)| at + HORIZON <= t) {
                scored.extend(errors.pop_front().map(|(_, e)| e));
            }
            if scored.len() > 400 {
                scored.drain(..scored.len() - 400);
            }
            let mut sorted: Vec<f64> = scored.iter().copied().collect();
            sorted.sort_by(f64::total_cmp);
            for (q, level) in quantiles.iter_mut().zip(LEVELS) {
                let rank = (level * (sorted.len() as f64 + 1.0)).ceil() as usize;
                let e = sorted.get(rank.clamp(1, sorted.len().max(1)) - 1).copied().unwrap_or(0.0);
                *q = (point + e).max(0.0);
            }
            errors.push_back((t, came - point));
        }
        if !due {
            continue;
        }
        let pinball =
            |level: f64, q: f64, y: f64| if y > q { level * (y - q) } else { (1.0 - level) * (q - y) };
        row.count += 1.0;
        row.mae += actual.iter().zip(&out).map(|(y, d)| (y - d.mean()).abs()).sum::<f64>() / HORIZON as f64;
        row.signal_mae += (came - point).abs();
        row.signal_pinball += pinball(0.95, quantiles[1], came);
        for (sum, (h, level)) in
            row.lead_pinball.iter_mut().zip([(14, 0.95), (14, 0.99), (4, 0.95), (4, 0.99)])
        {
            *sum += pinball(level, out[h].quantile(level), actual[h]);
        }
        for (share, q) in row.signal.iter_mut().zip(quantiles) {
            share.add(came <= q);
        }
    }
    for day in daily.iter().filter(|day| day[0].all > 200.0) {
        for (worst, (share, level)) in row.worst_day.iter_mut().zip(day.iter().zip(LEVELS)) {
            *worst = worst.max((share.pct() - 100.0 * level).abs());
        }
    }
    row.us = spent.as_secs_f64() * 1e6 / row.steps[0][0].all.max(1.0);
    row
}

fn read(file: &str) -> Result<Series, Box<dyn std::error::Error>> {
    let (step, mut values) = trace::read(file)?;
    let name = file.rsplit('/').next().unwrap_or(file).trim_end_matches(".csv").to_string();
    let two_days = (2 * 86_400_000 / step.as_millis()) as usize;
    let mut start = values.len() - two_days.max(2016).min(values.len() / 2);
    if name.starts_with("nasa") && values.len() > 112_320 {
        // 12 and 13 July.
        start = 95_040;
        values.truncate(112_320);
    }
    Ok(Series { name, step, values, start })
}
