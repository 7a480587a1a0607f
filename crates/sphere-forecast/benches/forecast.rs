//! How fast are a fit and an online step? For the ratio to statsmodels see `statsmodels_holt.py` and
//! `examples/bench_forecast.rs`, which time the same windows.

#![allow(missing_docs)] // criterion's macros expand to public items

use criterion::{Criterion, criterion_group, criterion_main};
use sphere_core::{Distribution, Timestamp};
use sphere_forecast::fit::nonseasonal::{self, TrendKind};
use sphere_forecast::fit::seasonal::{self, SeasonKind};
use sphere_forecast::models::{Smoothing, SmoothingConfig};
use sphere_forecast::{Forecaster, Online, OnlineConfig, registry};
use std::hint::black_box;
use std::time::Duration;

const STEP: Duration = Duration::from_secs(10);

fn series(n: usize) -> Vec<f64> {
    (0..n).map(|i| 100.0 + 20.0 * (i as f64 / 11.0).sin() + ((i * 7919) % 23) as f64).collect()
}

fn fits(c: &mut Criterion) {
    let window = series(60);
    for (name, trend) in
        [("ses", TrendKind::None), ("holt", TrendKind::Additive), ("damped holt", TrendKind::Damped)]
    {
        c.bench_function(&format!("fit {name}, 60 values"), |b| {
            b.iter(|| nonseasonal::fit(black_box(&window), trend));
        });
    }
    let window = series(72);
    for (name, season) in [("add", SeasonKind::Additive), ("mul", SeasonKind::Multiplicative)] {
        c.bench_function(&format!("fit hw-{name}-12, 72 values"), |b| {
            b.iter(|| seasonal::fit(black_box(&window), season, true, 12));
        });
    }
}

fn online(c: &mut Criterion) {
    let values = series(1000);
    let config = SmoothingConfig { refit_every: None, ..SmoothingConfig::new(TrendKind::Additive) };
    let mut holt = Online::new("holt", Smoothing::new(config), OnlineConfig::new(STEP));
    let mut out: Vec<Distribution> = Vec::with_capacity(15);
    let mut i = 0;
    c.bench_function("holt: value in, 15 steps with 17 quantiles out", |b| {
        b.iter(|| {
            holt.observe(Timestamp::from_secs(10 * i as i64), values[i % 1000]);
            i += 1;
            holt.distributions(15, &mut out).is_ok()
        });
    });
    for name in ["holt", "classic", "hw-add-12"] {
        let mut forecaster = registry::create(name, STEP).expect("a listed name");
        let mut i = 0;
        c.bench_function(&format!("{name} with refits: value in, 15 steps out"), |b| {
            b.iter(|| {
                forecaster.observe(Timestamp::from_secs(10 * i as i64), values[i % 1000]);
                i += 1;
                forecaster.distributions(15, &mut out).is_ok()
            });
        });
    }
}

criterion_group!(benches, fits, online);
criterion_main!(benches);
