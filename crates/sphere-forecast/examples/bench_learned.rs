//! How long do the trees train, and how long does the network learn from a batch?
//!
//!     cargo run --release -p sphere-forecast --example bench_learned
//!
//! Prints one JSON object, times in milliseconds on one core, each the fastest of some rounds. `train_ms` is one
//! ensemble of 100 trees of depth 6 on 24 lags, as `benches/learned.py` has xgboost and LightGBM train on the same rows;
//! `lstm_batch_ms` is forward, backward and Adam on 32 sequences of 30, as it has PyTorch do. `gbt_refit_ms` is a training on
//! seven days of 10 s steps, replay of the features and draw of the rows included.

#[path = "shared/noise.rs"]
mod noise;

use sphere_forecast::models::{Gbt, GbtConfig, Recurrent, RecurrentConfig};
use sphere_forecast::neural::{Adam, Lstm, Shape, Tape};
use sphere_forecast::trees::{Ensemble, Table, TreeParams};
use sphere_forecast::{Forecaster, Online, OnlineConfig, PointModel, StoredForecaster};
use std::hint::black_box;
use std::time::{Duration, Instant};

const STEP: Duration = Duration::from_secs(10);

/// The series of `bench_forecast`: a wave, a slope and pseudo-random noise.
fn series(n: usize) -> Vec<f64> {
    (0..n)
        .zip(noise::noise())
        .map(|(i, noise)| 100.0 + 0.3 * i as f64 + 20.0 * (i as f64 / 11.0).sin() + 12.0 * noise)
        .collect()
}

fn fastest_ms(rounds: u32, mut call: impl FnMut()) -> f64 {
    let round = |_| {
        let start = Instant::now();
        call();
        start.elapsed().as_secs_f64() * 1000.0
    };
    (0..rounds).map(round).fold(f64::INFINITY, f64::min)
}

fn train_ms(rows: usize, max_bins: usize) -> f64 {
    let values: Vec<f32> = series(rows + 24).iter().map(|v| *v as f32).collect();
    let x: Vec<f32> = values.windows(24).take(rows).flatten().copied().collect();
    let params = TreeParams { learning_rate: 0.05, min_child_rows: 2, l1: 0.01, ..TreeParams::default() };
    fastest_ms(if rows > 10_000 { 5 } else { 15 }, || {
        let table = Table::new(black_box(&x), 24, max_bins);
        black_box(Ensemble::train(&table, &values[24..], &params));
    })
}

fn lstm_batch_ms() -> f64 {
    let shape = Shape { inputs: 1, hidden: 24, outputs: 15 };
    let (mut lstm, mut adam) = (Lstm::new(shape, 1), Adam::new(shape.parameters(), 1e-3));
    let (mut tape, mut gradient) = (Tape::default(), Vec::new());
    let inputs: Vec<f32> = series(30 * 32).iter().map(|v| (*v / 300.0) as f32).collect();
    fastest_ms(40, || {
        lstm.gradient(black_box(&inputs), &inputs[..32 * 15], 32, &mut tape, &mut gradient);
        adam.step(lstm.parameters_mut(), &mut gradient);
    })
}

/// Of an update that a live model makes for every tenth value: batch, learning, and the step itself.
fn update_ms(config: RecurrentConfig) -> f64 {
    let mut model = Recurrent::new(RecurrentConfig { training_batches: 1, ..config });
    let values = series(3000);
    values[..2500].iter().for_each(|v| model.observe(*v));
    let mut i = 2500;
    fastest_ms(40, || {
        (0..10).for_each(|k| model.observe(values[(i + k) % 3000]));
        i += 10;
    })
}

fn state_bytes(name: &str, values: &[f64]) -> Result<usize, Box<dyn std::error::Error>> {
    let mut forecaster = StoredForecaster::create(name, STEP, 15)?;
    for (i, value) in values.iter().enumerate() {
        forecaster.observe(sphere_core::Timestamp::from_secs(10 * i as i64), *value);
    }
    Ok(forecaster.save()?.len())
}

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let mut gbt =
        Gbt::new(GbtConfig { refit_every: None, first_fit: usize::MAX, ..GbtConfig::new(10_000, 15) });
    let week: Vec<f64> = series(60_480).iter().enumerate().map(|(i, v)| v - 0.3 * i as f64).collect();
    week.iter().for_each(|v| gbt.observe(*v));
    let refit = fastest_ms(3, || gbt.refit());
    let mut online = Online::new("gbt", gbt, OnlineConfig::new(STEP));
    let mut path = [0.0; 15];
    online.observe(sphere_core::Timestamp(0), 100.0);
    let path_us = fastest_ms(200, || {
        black_box(online.points(&mut path).is_ok());
    }) * 1000.0;
    println!(
        "{{\"train_ms\":{{\"1000_rows\":{:.1},\"1000_rows_64_bins\":{:.1},\"20000_rows\":{:.1},\
         \"20000_rows_64_bins\":{:.1}}},\"gbt_refit_ms\":{refit:.0},\"gbt_path_us\":{path_us:.1},\
         \"gbt_state_bytes_2_days\":{},\"xgboost_state_bytes\":{},\"lstm_batch_ms\":{:.2},\"lstm_update_ms\":{:.2},\
         \"wavelet_lstm_update_ms\":{:.2},\"lstm_state_bytes\":{}}}",
        train_ms(1000, 255),
        train_ms(1000, 64),
        train_ms(20_000, 255),
        train_ms(20_000, 64),
        state_bytes("gbt", &week[..17_280])?,
        state_bytes("xgboost", &week[..2000])?,
        lstm_batch_ms(),
        update_ms(RecurrentConfig::lstm(15)),
        update_ms(RecurrentConfig::wavelet_lstm(15)),
        state_bytes("lstm", &week[..2500])?,
    );
    Ok(())
}
