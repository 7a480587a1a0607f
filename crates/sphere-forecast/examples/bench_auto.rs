//! What does `auto` cost per sample, and how large is its state?
//!
//!     cargo run --release -p sphere-forecast --example bench_auto
//!
//! Prints one JSON object: microseconds of one `observe` and of one forecast of 15 steps with all quantiles, learning all steps
//! (`dense`) or the lead only (`lead`, as the pipeline does), each the fastest of 100 rounds after two days of 10 s steps;
//! microseconds of storing and of loading a state of the lead of 15 steps; and bytes of the stored state and in memory for some
//! leads.

#[path = "shared/noise.rs"]
mod noise;

use sphere_core::{Distribution, Timestamp};
use sphere_forecast::{AUTO, AutoConfig, AutoForecaster, Forecaster, StoredForecaster};
use std::hint::black_box;
use std::time::{Duration, Instant};

const STEP: Duration = Duration::from_secs(10);
/// Calls of a round: three times as many as it takes until everything that is done every so many steps was done. Few, so that
/// other work on the machine leaves some rounds alone.
const CALLS: i64 = 384;
const ROUNDS: usize = 100;
/// The same for storing and loading.
const STORED: u32 = 50;

fn series() -> impl Iterator<Item = f64> {
    (1..).zip(noise::noise()).map(|(t, noise)| 100.0 + 40.0 * (f64::from(t) / 1375.0).sin() + 30.0 * noise)
}

/// Microseconds of `observe` and of `distributions`.
fn cost(mut forecaster: AutoForecaster) -> (f64, f64) {
    let mut samples = (1..).map(|t| Timestamp::from_secs(10 * t)).zip(series());
    let mut observe = |forecaster: &mut AutoForecaster| {
        if let Some((at, value)) = samples.next() {
            black_box(forecaster.observe(at, value));
        }
    };
    (0..17_280).for_each(|_| observe(&mut forecaster));
    let mut out: Vec<Distribution> = Vec::with_capacity(15);
    let (mut learning, mut forecasting) = (f64::INFINITY, f64::INFINITY);
    for _ in 0..ROUNDS {
        let start = Instant::now();
        (0..CALLS).for_each(|_| observe(&mut forecaster));
        let middle = Instant::now();
        (0..CALLS).for_each(|_| drop(black_box(forecaster.distributions(15, &mut out))));
        learning = learning.min((middle - start).as_secs_f64() * 1e6 / CALLS as f64);
        forecasting = forecasting.min(middle.elapsed().as_secs_f64() * 1e6 / CALLS as f64);
    }
    (learning, forecasting)
}

/// Microseconds of storing a state and of loading it.
fn storing() -> Result<(f64, f64), Box<dyn std::error::Error>> {
    let mut stored = StoredForecaster::create(AUTO, STEP, 15)?;
    for (t, value) in (0..17_280).zip(series()) {
        stored.observe(Timestamp::from_secs(10 * t), value);
    }
    let bytes = stored.save()?;
    let (mut saving, mut loading) = (f64::INFINITY, f64::INFINITY);
    for _ in 0..ROUNDS {
        let start = Instant::now();
        (0..STORED).for_each(|_| drop(black_box(black_box(&stored).save())));
        let middle = Instant::now();
        (0..STORED).for_each(|_| drop(black_box(StoredForecaster::restore(black_box(&bytes), AUTO, STEP))));
        saving = saving.min((middle - start).as_secs_f64() * 1e6 / f64::from(STORED));
        loading = loading.min(middle.elapsed().as_secs_f64() * 1e6 / f64::from(STORED));
    }
    Ok((saving, loading))
}

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let dense = cost(AutoForecaster::new(AutoConfig::new(STEP, 15)));
    let lead = cost(AutoForecaster::for_lead(AutoConfig::new(STEP, 15)));
    let (saving, loading) = storing()?;
    let mut bytes = Vec::new();
    for steps in [1, 4, 7, 15, 20, 40, 60] {
        let mut stored = StoredForecaster::create(AUTO, STEP, steps)?;
        for (t, value) in (0..2000).zip(series()) {
            stored.observe(Timestamp::from_secs(10 * t), value);
        }
        let mut kept = AutoForecaster::for_lead(AutoConfig::new(STEP, steps));
        kept.observe(Timestamp::from_secs(0), 100.0);
        bytes.push(format!("\"{steps}\":[{},{}]", stored.save()?.len(), kept.memory_bytes()));
    }
    println!(
        "{{\"dense\":{{\"observe_us\":{:.2},\"forecast_15_us\":{:.2}}},\"lead\":{{\"observe_us\":{:.2},\
         \"forecast_15_us\":{:.2}}},\"save_us\":{saving:.2},\"load_us\":{loading:.2},\"state_bytes_by_lead\":{{{}}}}}",
        dense.0,
        dense.1,
        lead.0,
        lead.1,
        bytes.join(",")
    );
    Ok(())
}
