//! What does a limit that hides demand do to the forecast `auto`, by the way the steps at the limit are taken?
//!
//!     cargo run --release -p sphere-forecast --example compare_censored -- [--episodes N] FILE.csv…
//!
//! Each file is `timestamp_s,value` with a header. From a model taught the first half (at most seven days), `N` moments of the rest
//! (24 unless told otherwise) are each tried twice: the limit falls to 0.7 of demand at once, as when pods are lost, or lies
//! at 1.03 of it and demand grows into it. For 18, 60 and 180 steps what is seen ends at the limit, and steps
//! within 5 % of it are marked; then the limit is gone. Scored against the true demand: mean absolute error of the mean of
//! steps 13 to 15 and pinball loss at 0.95 of step 14, relative to steps learnt as if nothing hid anything (`observe`), as
//! geometric means over the series: during the episode; in the first 15, 60 and 360 steps after it; and how far the same
//! time of the next day is off.

#[path = "shared/trace.rs"]
mod trace;

use rayon::prelude::*;
use sphere_core::{Distribution, Timestamp};
use sphere_forecast::{AutoConfig, AutoForecaster, Forecaster};
use std::time::Duration;

const HORIZON: usize = 15;
const LENGTHS: [usize; 3] = [18, 60, 180];
const LIMITS: [f64; 2] = [0.7, 1.03];
const CENSORED_AT: f64 = 0.95;
const SPANS: [&str; 5] = ["during", "first 15", "first 60", "first 360", "next day"];
const WAYS: [&str; 4] = ["observe", "absent", "absent below", "censored"];

struct Series {
    name: String,
    step: Duration,
    values: Vec<f64>,
}

/// Sums of the absolute error and the pinball loss, by span.
type Losses = [[f64; 2]; SPANS.len()];

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let mut episodes = 24;
    let mut series = Vec::new();
    let mut args = std::env::args().skip(1);
    while let Some(arg) = args.next() {
        if arg == "--episodes" {
            episodes = args.next().ok_or("--episodes N")?.parse()?;
        } else {
            series.push(read(&arg)?);
        }
    }
    let all: Vec<Vec<[Losses; WAYS.len()]>> = series.par_iter().map(|s| run(s, episodes)).collect();
    for (limit, kind) in LIMITS.iter().enumerate() {
        for (length, steps) in LENGTHS.iter().enumerate() {
            println!("\nlimit at {kind} of demand for {steps} steps: error, pinball loss");
            for (way, name) in WAYS.iter().enumerate().skip(1) {
                print!("{name:14}");
                for (span, label) in SPANS.iter().enumerate() {
                    let mean = |what: usize| {
                        let logs: Vec<f64> = all
                            .iter()
                            .map(|of| &of[limit * LENGTHS.len() + length])
                            .map(|ways| (ways[way][span][what] / ways[0][span][what]).ln())
                            .filter(|log| log.is_finite())
                            .collect();
                        (logs.iter().sum::<f64>() / logs.len() as f64).exp()
                    };
                    print!(" | {label} {:.3} {:.3}", mean(0), mean(1));
                }
                println!();
            }
            for (s, of) in series.iter().zip(&all) {
                let ways = &of[limit * LENGTHS.len() + length];
                let of = |way: usize, span: usize, what: usize| ways[way][span][what] / ways[0][span][what];
                let cells = [0, 2, 4].map(|span| {
                    format!(
                        "{:.2}/{:.2}/{:.2} ({:.2}/{:.2}/{:.2})",
                        of(1, span, 0),
                        of(2, span, 0),
                        of(3, span, 0),
                        of(1, span, 1),
                        of(2, span, 1),
                        of(3, span, 1)
                    )
                });
                println!("    {:24} {}", s.name, cells.join("  "));
            }
        }
    }
    Ok(())
}

/// Losses by kind of limit and length of the episode, then by way.
fn run(series: &Series, episodes: usize) -> Vec<[Losses; WAYS.len()]> {
    let Series { values, step, .. } = series;
    let day = (86_400_000 / step.as_millis()) as usize;
    let half = values.len() / 2;
    let first = half.saturating_sub(7 * day);
    let longest = LENGTHS[LENGTHS.len() - 1];
    let last = values.len() - HORIZON - 1 - longest - 360;
    let mut model = AutoForecaster::new(AutoConfig::new(*step, HORIZON as u32));
    let mut known = first;
    let mut sums = vec![[Losses::default(); WAYS.len()]; LIMITS.len() * LENGTHS.len()];
    for episode in 0..episodes {
        let begin = half + (last - half).min(7 * day) * episode / episodes;
        while known < begin {
            model.observe(at(known, *step), values[known]);
            known += 1;
        }
        let level = values[begin - 30..begin].iter().sum::<f64>() / 30.0;
        for (kind, share) in LIMITS.iter().enumerate() {
            for (l, length) in LENGTHS.iter().enumerate() {
                let limit = share * level;
                let hidden = values[begin..begin + length].iter().filter(|v| **v > limit).count();
                // A limit that is hardly reached hides nothing.
                if limit <= 0.0 || hidden * 3 < *length {
                    continue;
                }
                for (way, sums) in sums[kind * LENGTHS.len() + l].iter_mut().enumerate() {
                    let next_day = *length == longest && begin + day + longest + HORIZON < values.len();
                    let losses = live(series, model.clone(), begin, (*length, limit), way, next_day);
                    for (sum, loss) in sums.iter_mut().zip(losses) {
                        (sum[0], sum[1]) = (sum[0] + loss[0], sum[1] + loss[1]);
                    }
                }
            }
        }
    }
    sums
}

fn live(
    series: &Series,
    mut model: AutoForecaster,
    begin: usize,
    (length, limit): (usize, f64),
    way: usize,
    next_day: bool,
) -> Losses {
    let Series { values, step, .. } = series;
    let day = (86_400_000 / step.as_millis()) as usize;
    let mut losses = Losses::default();
    let mut out: Vec<Distribution> = Vec::new();
    let (mut point, mut high) = (0.0, 0.0);
    let end = if next_day { begin + day + length } else { begin + length + 360 };
    for t in begin..end.min(values.len() - HORIZON) {
        let at = at(t, *step);
        let limited = t < begin + length;
        let seen = if limited { values[t].min(limit) } else { values[t] };
        if limited && seen >= CENSORED_AT * limit {
            let expected = |m: &AutoForecaster| {
                let mut next = Vec::new();
                m.distributions(1, &mut next).ok().and_then(|()| next.first().map(Distribution::mean))
            };
            match way {
                0 => drop(model.observe(at, seen)),
                1 => model.miss(at),
                2 if expected(&model).is_some_and(|expected| seen < expected) => model.miss(at),
                2 => drop(model.observe(at, seen)),
                _ => drop(model.observe_censored(at, seen)),
            }
        } else {
            model.observe(at, seen);
        }
        // Without a forecast the last one stands.
        if model.distributions(HORIZON, &mut out).is_ok() {
            point = (out[12].mean() + out[13].mean() + out[14].mean()) / 3.0;
            high = out[13].quantile(0.95);
        }
        let came = values[t + 13..=t + 15].iter().sum::<f64>() / 3.0;
        let over = values[t + 14] - high;
        let loss = [(came - point).abs(), if over > 0.0 { 0.95 * over } else { -0.05 * over }];
        let after = t as i64 - (begin + length) as i64;
        let spans = [
            after < 0,
            (0..15).contains(&after),
            (0..60).contains(&after),
            (0..360).contains(&after),
            t >= begin + day,
        ];
        for (sum, _) in losses.iter_mut().zip(spans).filter(|(_, inside)| *inside) {
            (sum[0], sum[1]) = (sum[0] + loss[0], sum[1] + loss[1]);
        }
    }
    losses
}

fn at(index: usize, step: Duration) -> Timestamp {
    Timestamp::from_secs(((index + 1) as u64 * step.as_secs()) as i64)
}

fn read(file: &str) -> Result<Series, Box<dyn std::error::Error>> {
    let (step, values) = trace::read(file)?;
    let name = file.rsplit('/').next().unwrap_or(file).trim_end_matches(".csv").to_string();
    Ok(Series { name, step, values })
}
