//! How long do the classical models take to be estimated?
//!
//!     cargo run --release -p sphere-forecast --example bench_classical
//!
//! Prints one JSON object: microseconds of a fit and its forecast, in the fastest of some rounds (other work on the machine only
//! ever adds time). `benches/classical.py` times statsmodels and statsforecast on the same numbers. Names end in the number of
//! values, and the season where there is one.

#[path = "shared/noise.rs"]
mod noise;

use sphere_core::Timestamp;
use sphere_forecast::fit::arima::select::{Bounds, select as select_arima};
use sphere_forecast::fit::arima::{self, Effort, Order};
use sphere_forecast::fit::ets::select::select as select_ets;
use sphere_forecast::fit::prophet::{self, Settings};
use sphere_forecast::fit::stl::mstl;
use sphere_forecast::fit::theta;
use sphere_forecast::{Forecaster, Online, OnlineConfig, registry};
use std::hint::black_box;
use std::time::{Duration, Instant};

/// The series `benches/classical.py` uses: a slope, a season and pseudo-random noise.
fn series(n: usize, period: usize) -> Vec<f64> {
    (0..n)
        .zip(noise::noise())
        .map(|(i, noise)| {
            let season = (std::f64::consts::TAU * i as f64 / period as f64).sin();
            100.0 + 0.1 * i as f64 + 20.0 * season + 12.0 * noise
        })
        .collect()
}

/// Microseconds of one call, in the fastest of rounds that take half a second together.
fn fastest_us(mut call: impl FnMut()) -> f64 {
    let (began, mut best) = (Instant::now(), f64::INFINITY);
    while began.elapsed() < Duration::from_millis(500) {
        let start = Instant::now();
        call();
        best = best.min(start.elapsed().as_nanos() as f64 / 1000.0);
    }
    best
}

/// Keeps the optimiser from leaving out what nobody reads.
fn keep<T>(value: T) {
    black_box(value);
}

/// Nanoseconds of one online step between refits: a value in, 15 steps out.
fn step_ns(name: &str) -> Result<f64, registry::UnknownModel> {
    let step = Duration::from_secs(10);
    let mut forecaster: Online<_> = registry::build(name, OnlineConfig::new(step))?;
    let values = series(400, 24);
    for (i, v) in values.iter().enumerate() {
        forecaster.observe(Timestamp::from_secs(10 * i as i64), *v);
    }
    let (mut at, mut path) = (values.len(), [0.0; 15]);
    let mut best = f64::INFINITY;
    for _ in 0..2000 {
        let start = Instant::now();
        forecaster.observe(Timestamp::from_secs(10 * at as i64), values[at % values.len()]);
        black_box(forecaster.points(&mut path).is_ok());
        // Steps with a refit are the slow ones; the fastest is one without.
        best = best.min(start.elapsed().as_nanos() as f64);
        at += 1;
    }
    Ok(best)
}

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let (short, long, twelve) = (series(60, 24), series(360, 24), series(60, 12));
    let order = Order::new(1, 1, 1);
    let mut out = Vec::new();
    let mut time = |name: &str, us: f64| out.push(format!("\"{name}\":{us:.1}"));
    for (name, values) in [("arima_111_60", &short), ("arima_111_360", &long)] {
        time(name, fastest_us(|| keep(arima::fit(black_box(values), order, &[], Effort::FULL, None))));
    }
    let seasonal = Order::new(1, 0, 1).seasonal(0, 1, 1, 12);
    time(
        "sarima_101_011_60_12",
        fastest_us(|| keep(arima::fit(black_box(&twelve), seasonal, &[], Effort::FULL, None))),
    );
    for (name, values) in [("auto_arima_60", &short), ("auto_arima_360", &long)] {
        time(name, fastest_us(|| keep(select_arima(black_box(values), 0, &[], Bounds::default()))));
    }
    for (name, values, period) in [
        ("auto_ets_60", &short, 0),
        ("auto_ets_60_12", &twelve, 12),
        ("auto_ets_360", &long, 0),
        ("auto_ets_360_24", &long, 24),
    ] {
        time(name, fastest_us(|| keep(select_ets(black_box(values), period))));
    }
    for (name, values) in [("auto_theta_60", &short), ("auto_theta_360", &long)] {
        time(name, fastest_us(|| keep(theta::select(black_box(values)))));
    }
    time("mstl_360_24", fastest_us(|| keep(mstl(black_box(&long), &[24], false))));
    for (name, values) in [("prophet_60", &short), ("prophet_360", &long)] {
        time(name, fastest_us(|| keep(prophet::fit(black_box(values), &[], Settings::default()))));
    }
    for name in ["arima-1-1-1", "arima", "ets", "theta", "prophet", "mstl-24", "prophet-arima"] {
        time(&format!("step_{}_ns", name.replace('-', "_")), step_ns(name)?);
    }
    println!("{{{}}}", out.join(","));
    Ok(())
}
