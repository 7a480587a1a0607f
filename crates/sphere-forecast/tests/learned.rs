//! Do our trees, network and wavelets say what xgboost, LightGBM, PyTorch and PyWavelets say?
//!
//! `reference/make_learned.py` and `reference/make_lstm.py` made the figures, on series that are made here in the same
//! way.

use serde::Deserialize;
use sphere_forecast::neural::{Adam, Lstm, Shape, Tape};
use sphere_forecast::trees::{Ensemble, Loss, Table, TreeParams};
use sphere_forecast::wavelet::{Boundary, Wavelet, decompose, reconstruct};
use std::collections::BTreeMap;

#[derive(Deserialize)]
struct Learned {
    grid: BTreeMap<String, Vec<f32>>,
    lags: Lags,
    wavelets: Vec<Decomposed>,
}

#[derive(Deserialize)]
struct Lags {
    xgboost_rmse: f64,
    lightgbm_pinball: BTreeMap<String, f64>,
}

#[derive(Deserialize)]
struct Decomposed {
    length: usize,
    wavelet: Wavelet,
    mode: String,
    levels: usize,
    approximation: Vec<f64>,
    details: Vec<Vec<f64>>,
}

#[derive(Deserialize)]
struct Network {
    same: Same,
    trained: Trained,
}

#[derive(Deserialize)]
struct Same {
    shape: Shape,
    samples: usize,
    parameters: Vec<f32>,
    inputs: Vec<f32>,
    targets: Vec<f32>,
    answers: Vec<f32>,
    loss: f32,
    gradient: Vec<f32>,
    after_three_steps: Vec<f32>,
}

#[derive(Deserialize)]
struct Trained {
    mse: f64,
}

fn learned() -> Learned {
    serde_json::from_str(include_str!("reference/learned.json")).expect("the fixture is well formed")
}

fn network() -> Network {
    serde_json::from_str(include_str!("reference/lstm.json")).expect("the fixture is well formed")
}

/// The generator of the scripts: uniform in [0, 1).
struct Noise(u64);

impl Noise {
    fn next(&mut self) -> f64 {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 33) as f64 / (1u64 << 31) as f64
    }
}

fn series(n: usize) -> Vec<f64> {
    let (mut noise, mut level) = (Noise(3), 0.0);
    (0..n)
        .map(|i| {
            level = 0.97 * level + 6.0 * (noise.next() - 0.5);
            let burst = if i % 30 < 3 { 25.0 } else { 0.0 };
            100.0 + 20.0 * (i as f64 / 40.0).sin() + level + burst * noise.next()
        })
        .collect()
}

fn grid() -> (Vec<f32>, Vec<f32>) {
    let (mut noise, mut x, mut y) = (Noise(7), Vec::new(), Vec::new());
    for _ in 0..600 {
        let row: [f64; 5] = std::array::from_fn(|_| (noise.next() * 16.0).floor());
        let step = if row[1] > 9.0 { row[2] / 4.0 } else { 0.0 };
        y.push(((row[0] / 3.0).sin() * 4.0 + step + 2.0 * noise.next()) as f32);
        x.extend(row.map(|v| v as f32));
    }
    (x, y)
}

#[test]
fn without_sampling_the_trees_are_those_of_xgboost_and_of_lightgbm() {
    let (x, y) = grid();
    let table = Table::new(&x, 5, 255);
    let level_wise = TreeParams {
        trees: 20,
        learning_rate: 0.3,
        max_depth: 4,
        max_leaves: 16,
        min_child_rows: 5,
        l1: 0.5,
        l2: 1.0,
        ..TreeParams::default()
    };
    let leaf_wise = TreeParams {
        learning_rate: 0.2,
        max_depth: 64,
        max_leaves: 12,
        min_child_rows: 10,
        l1: 0.0,
        ..level_wise.clone()
    };
    let theirs = learned().grid;
    for (name, params) in [("xgboost", level_wise), ("lightgbm", leaf_wise)] {
        let ours = Ensemble::train(&table, &y, &params);
        for (row, theirs) in x.chunks_exact(5).zip(&theirs[name]) {
            let ours = ours.predict(row);
            assert!((ours - theirs).abs() < 2e-4, "{name}: {ours} {theirs}");
        }
    }
}

/// Lags of the series 6 steps before each target: training rows and targets, and those held back.
#[allow(clippy::type_complexity)]
fn lags() -> (Vec<f32>, Vec<f32>, Vec<f32>, Vec<f32>) {
    let values: Vec<f32> = series(3000).iter().map(|v| *v as f32).collect();
    let x: Vec<f32> = values.windows(24).take(3000 - 29).flatten().copied().collect();
    let y = &values[29..];
    (x[..2000 * 24].to_vec(), y[..2000].to_vec(), x[2010 * 24..].to_vec(), y[2010..].to_vec())
}

#[test]
fn with_the_founding_settings_the_error_is_not_above_that_of_xgboost() {
    let (x, y, x_new, y_new) = lags();
    let table = Table::new(&x, 24, 255);
    let mut rmse = 0.0;
    for seed in 0..5 {
        let params = TreeParams {
            learning_rate: 0.05,
            min_child_rows: 2,
            l1: 0.01,
            row_share: 0.8,
            feature_share: 0.8,
            seed,
            ..TreeParams::default()
        };
        let ensemble = Ensemble::train(&table, &y, &params);
        let squares =
            x_new.chunks_exact(24).zip(&y_new).map(|(x, y)| f64::from(ensemble.predict(x) - y).powi(2));
        rmse += (squares.sum::<f64>() / y_new.len() as f64).sqrt() / 5.0;
    }
    let theirs = learned().lags.xgboost_rmse;
    println!("root mean squared error: ours {rmse:.4}, xgboost {theirs:.4}");
    assert!(rmse < 1.01 * theirs, "{rmse} {theirs}");
}

#[test]
fn quantiles_are_as_good_as_those_of_lightgbm() {
    let (x, y, x_new, y_new) = lags();
    let table = Table::new(&x, 24, 255);
    for (level, theirs) in learned().lags.lightgbm_pinball {
        let level: f32 = level.parse().expect("a number");
        let mut loss = 0.0;
        for seed in 0..5 {
            let params = TreeParams {
                loss: Loss::Pinball(level),
                trees: 120,
                learning_rate: 0.08,
                max_depth: 64,
                max_leaves: 31,
                min_child_rows: 20,
                row_share: 0.6,
                feature_share: 0.7,
                seed,
                ..TreeParams::default()
            };
            let ensemble = Ensemble::train(&table, &y, &params);
            let losses = x_new.chunks_exact(24).zip(&y_new).map(|(x, y)| {
                let error = f64::from(y - ensemble.predict(x));
                (f64::from(level) * error).max((f64::from(level) - 1.0) * error)
            });
            loss += losses.sum::<f64>() / y_new.len() as f64 / 5.0;
        }
        println!("pinball loss at {level}: ours {loss:.4}, LightGBM {theirs:.4}");
        assert!(loss < 1.02 * theirs, "{level}: {loss} {theirs}");
    }
}

fn close(ours: &[f32], theirs: &[f32], tolerance: f32) -> bool {
    ours.len() == theirs.len() && ours.iter().zip(theirs).all(|(a, b)| (a - b).abs() < tolerance)
}

#[test]
fn with_the_same_weights_the_network_is_that_of_pytorch() {
    let case = network().same;
    let mut lstm = Lstm::with_parameters(case.shape, case.parameters).expect("weights that fit");
    let (mut tape, mut gradient) = (Tape::default(), Vec::new());
    assert!(close(lstm.forward(&case.inputs, case.samples, &mut tape), &case.answers, 2e-6));
    let loss = lstm.gradient(&case.inputs, &case.targets, case.samples, &mut tape, &mut gradient);
    assert!((loss - case.loss).abs() < 2e-6, "{loss} {}", case.loss);
    assert!(close(&gradient, &case.gradient, 2e-6), "{gradient:?}");
    let mut adam = Adam::new(case.shape.parameters(), 0.01);
    for _ in 0..3 {
        lstm.gradient(&case.inputs, &case.targets, case.samples, &mut tape, &mut gradient);
        adam.step(lstm.parameters_mut(), &mut gradient);
    }
    assert!(close(lstm.parameters(), &case.after_three_steps, 2e-5));
}

#[test]
fn a_trained_network_is_as_good_as_one_that_pytorch_trained() {
    let mut noise = Noise(5);
    let values: Vec<f32> = (0..1400)
        .map(|i| {
            let x = f64::from(i);
            ((x / 6.0).sin() + 0.5 * (x / 2.5).sin() + 0.4 * noise.next()) as f32
        })
        .collect();
    let batch = |origins: &[usize]| -> (Vec<f32>, Vec<f32>) {
        let inputs =
            (0..30).flat_map(|step| origins.iter().map(move |o| o + step)).map(|i| values[i]).collect();
        (inputs, origins.iter().flat_map(|o| values[o + 30..o + 45].to_vec()).collect())
    };
    let shape = Shape { inputs: 1, hidden: 24, outputs: 15 };
    let (mut tape, mut gradient, mut mse) = (Tape::default(), Vec::new(), 0.0);
    for seed in 0..3 {
        let (mut lstm, mut adam) = (Lstm::new(shape, seed), Adam::new(shape.parameters(), 0.003));
        let mut draw = Noise(seed + 100);
        for _ in 0..400 {
            let origins: Vec<usize> = (0..32).map(|_| (draw.next() * 1000.0) as usize).collect();
            let (inputs, targets) = batch(&origins);
            lstm.gradient(&inputs, &targets, 32, &mut tape, &mut gradient);
            adam.step(lstm.parameters_mut(), &mut gradient);
        }
        let held_back: Vec<usize> = (1045..1400 - 44).collect();
        let (inputs, targets) = batch(&held_back);
        mse += f64::from(lstm.gradient(&inputs, &targets, held_back.len(), &mut tape, &mut gradient)) / 3.0;
    }
    let theirs = network().trained.mse;
    println!("mean squared error: ours {mse:.4}, PyTorch {theirs:.4}");
    assert!(mse < 1.1 * theirs, "{mse} {theirs}");
}

#[test]
fn wavelet_coefficients_are_those_of_pywavelets() {
    for case in learned().wavelets {
        let values = series(case.length);
        let boundary = if case.mode == "symmetric" { Boundary::Symmetric } else { Boundary::Periodic };
        let ours = decompose(&values, case.wavelet, boundary, case.levels);
        let label = format!("{:?} {} {}", case.wavelet, case.mode, case.length);
        let pairs =
            ours.details.iter().zip(&case.details).chain([(&ours.approximation, &case.approximation)]);
        for (ours, theirs) in pairs {
            assert_eq!(ours.len(), theirs.len(), "{label}");
            for (a, b) in ours.iter().zip(theirs) {
                assert!((a - b).abs() < 1e-6, "{label}: {ours:?} {theirs:?}");
            }
        }
        let back = reconstruct(&ours, case.wavelet, boundary, values.len());
        assert!(back.iter().zip(&values).all(|(a, b)| (a - b).abs() < 1e-9), "{label}");
    }
}
