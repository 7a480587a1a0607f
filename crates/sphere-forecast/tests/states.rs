//! Can this version read what an earlier one has saved?
//!
//! `states/` holds states as they were written when a model came into being, and what it forecast then. A model whose
//! state changes keeps reading the old one (fields that are new have a default), or the format is raised and old states are
//! refused by name; then, and for new models, `UPDATE_STATES=1 cargo test --test states` writes what is missing.

use serde::{Deserialize, Serialize};
use sphere_core::Timestamp;
use sphere_forecast::{Forecaster, StateError, StoredForecaster};
use std::path::PathBuf;
use std::time::Duration;

const STEP: Duration = Duration::from_secs(10);
const NAMES: [&str; 13] = [
    "sphere",
    "auto",
    "holt",
    "ets",
    "ets-12",
    "arima",
    "arima-1-1-1",
    "sarimax-5m",
    "theta-12",
    "prophet-5m",
    "mstl-2m",
    "prophet-arima",
    "ensemble(ses,damped-holt,theta)",
];
const LEARNT: i64 = 150;

#[derive(Serialize, Deserialize)]
struct Expected {
    mean: Vec<f64>,
    q95: Vec<f64>,
}

fn demand(i: i64) -> f64 {
    100.0 + 25.0 * (std::f64::consts::TAU * i as f64 / 12.0).sin() + ((i * 7919) % 23) as f64
}

fn path(name: &str, extension: &str) -> PathBuf {
    let file: String = name.chars().map(|c| if c.is_alphanumeric() || c == '-' { c } else { '_' }).collect();
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("tests/states").join(format!("{file}.{extension}"))
}

fn expected(forecaster: &StoredForecaster) -> Expected {
    let forecast = forecaster.forecast(15, STEP).expect("taught long enough");
    let steps = || forecast.steps.iter();
    Expected {
        mean: steps().map(|s| s.demand.mean()).collect(),
        q95: steps().map(|s| s.demand.quantile(0.95)).collect(),
    }
}

/// Writes the state of `name`, if there is none and that is wanted.
fn write_missing(name: &str) -> std::io::Result<()> {
    if std::env::var_os("UPDATE_STATES").is_none() || path(name, "state").exists() {
        return Ok(());
    }
    let mut forecaster = StoredForecaster::create(name, STEP, 15).expect("a valid name");
    for i in 0..LEARNT {
        forecaster.observe(Timestamp::from_secs(10 * i), demand(i));
    }
    std::fs::create_dir_all(path(name, "state").parent().expect("a folder"))?;
    std::fs::write(path(name, "state"), forecaster.save().expect("small enough"))?;
    let text = serde_json::to_string(&expected(&forecaster)).expect("plain numbers");
    std::fs::write(path(name, "json"), text + "\n")
}

#[test]
fn states_of_earlier_versions_are_read_and_forecast_what_they_did() {
    for name in NAMES {
        write_missing(name).unwrap();
        let state = std::fs::read(path(name, "state")).unwrap_or_else(|e| panic!("{name}: {e}"));
        let stored: Expected = serde_json::from_slice(&std::fs::read(path(name, "json")).unwrap()).unwrap();
        let mut restored =
            StoredForecaster::restore(&state, name, STEP).unwrap_or_else(|e| panic!("{name}: {e}"));
        let now = expected(&restored);
        for (a, b) in now.mean.iter().zip(&stored.mean).chain(now.q95.iter().zip(&stored.q95)) {
            // The weights of `auto` come of exponentials in single precision, whose last digits are not promised.
            let tolerance = if name == "auto" { 1e-5 } else { 1e-9 };
            assert!((a - b).abs() < tolerance * b.abs().max(1.0), "{name}: {a} {b}");
        }
        // And it goes on learning.
        for i in LEARNT..LEARNT + 30 {
            restored.observe(Timestamp::from_secs(10 * i), demand(i));
        }
        assert!(expected(&restored).mean.iter().all(|v| v.is_finite()), "{name}");
    }
}

#[test]
fn a_state_above_the_limit_is_refused_by_its_size() {
    let bytes = vec![0; StoredForecaster::LARGEST_STATE + 1];
    let error = StoredForecaster::restore(&bytes, "ets", STEP).unwrap_err();
    assert!(matches!(error, StateError::TooLarge(n) if n == bytes.len()), "{error}");
}
