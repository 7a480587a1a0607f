//! How long do a fit and an online step take, and how much memory does a workload need?
//!
//!     cargo run --release -p sphere-forecast --example bench_forecast [-- SERIES.csv]
//!
//! Prints one JSON object. Each figure is the fastest of 25 rounds: other work on the machine only ever adds time. `holt_fit_us` is what one refit of the founding
//! configuration costs: 60 values, parameters and initial state estimated, 15 steps forecast.
//! `update_forecast_ns` is one online step of `holt` between refits: a new value, calibration, and 15 steps with
//! all 17 quantiles. `benches/statsmodels_holt.py` times the same fit in statsmodels, on the same numbers.

#[path = "shared/noise.rs"]
mod noise;

use sphere_core::{Distribution, Timestamp};
use sphere_forecast::fit::nonseasonal::{TrendKind, fit};
use sphere_forecast::fit::seasonal::{self, SeasonKind};
use sphere_forecast::models::{Model, Smoothing, SmoothingConfig};
use sphere_forecast::{Forecaster, Online, OnlineConfig, registry};
use std::hint::black_box;
use std::time::{Duration, Instant};

const STEP: Duration = Duration::from_secs(10);

/// The series `benches/statsmodels_holt.py` uses: a wave, a slope and pseudo-random noise.
fn series(n: usize) -> Vec<f64> {
    (0..n)
        .zip(noise::noise())
        .map(|(i, noise)| 100.0 + 0.3 * i as f64 + 20.0 * (i as f64 / 11.0).sin() + 12.0 * noise)
        .collect()
}

/// Nanoseconds one call takes, in the fastest of 25 rounds.
fn fastest_ns(calls: u32, mut call: impl FnMut()) -> f64 {
    let round = |_| {
        let start = Instant::now();
        (0..calls).for_each(|_| call());
        start.elapsed().as_nanos() as f64 / f64::from(calls)
    };
    (0..25).map(round).fold(f64::INFINITY, f64::min)
}

/// Microseconds of a fit and its 15-step path, averaged over windows of 60 values all along the series.
fn fit_us(values: &[f64], trend: TrendKind) -> f64 {
    let windows: Vec<&[f64]> = values.windows(60).step_by(17).collect();
    let mut path = [0.0; 15];
    let all = fastest_ns(1, || {
        for window in &windows {
            if let Some(fit) = fit(black_box(window), trend) {
                let (mut level, mut slope) = (fit.level, fit.trend);
                for slot in &mut path {
                    slope *= fit.phi;
                    level += slope;
                    *slot = level;
                }
                black_box(&path);
            }
        }
    });
    all / windows.len() as f64 / 1000.0
}

fn online_ns(values: &[f64], quantiles: bool) -> f64 {
    let config = SmoothingConfig { refit_every: None, ..SmoothingConfig::new(TrendKind::Additive) };
    let model = Model::Smoothing(Smoothing::new(config));
    let mut forecaster = Online::new("holt", model, OnlineConfig::new(STEP));
    let mut out: Vec<Distribution> = Vec::with_capacity(15);
    let (mut i, mut path) = (0usize, [0.0; 15]);
    let mut step = || {
        forecaster.observe(Timestamp::from_secs(10 * i as i64), values[i % values.len()]);
        if quantiles {
            black_box(forecaster.distributions(15, &mut out).is_ok());
            black_box(&out);
        } else {
            black_box(forecaster.points(&mut path).is_ok());
            black_box(&path);
        }
        i += 1;
    };
    (0..100).for_each(|_| step());
    fastest_ns(5_000, step)
}

fn bytes(name: &str) -> Result<usize, registry::UnknownModel> {
    let mut forecaster = registry::build(name, OnlineConfig::new(STEP))?;
    for (i, value) in series(500).into_iter().enumerate() {
        forecaster.observe(Timestamp::from_secs(10 * i as i64), value);
    }
    Ok(forecaster.bytes())
}

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let values = match std::env::args().nth(1) {
        Some(file) => std::fs::read_to_string(file)?
            .lines()
            .skip(1)
            .take(2000)
            .map(|line| line.rsplit(',').next().unwrap_or(line).parse())
            .collect::<Result<Vec<f64>, _>>()?,
        None => series(2000),
    };
    let seasonal: Vec<f64> =
        series(120).iter().enumerate().map(|(i, v)| v + [9.0, -9.0][i / 6 % 2]).collect();
    let holt_winters_us =
        fastest_ns(5, || drop(black_box(seasonal::fit(&seasonal, SeasonKind::Additive, true, 12)))) / 1000.0;
    println!(
        "{{\"ses_fit_us\":{:.2},\"holt_fit_us\":{:.2},\"damped_holt_fit_us\":{:.2},\"hw_add_12_fit_us\":{:.0},\
         \"update_forecast_ns\":{:.0},\"update_points_ns\":{:.0},\"bytes_per_workload\":{},\
         \"bytes_per_workload_classic\":{},\"bytes_per_workload_hw_add_24\":{}}}",
        fit_us(&values, TrendKind::None),
        fit_us(&values, TrendKind::Additive),
        fit_us(&values, TrendKind::Damped),
        holt_winters_us,
        online_ns(&values, true),
        online_ns(&values, false),
        bytes("holt")?,
        bytes("classic")?,
        bytes("hw-add-24")?,
    );
    Ok(())
}
