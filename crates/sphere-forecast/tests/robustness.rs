//! Does any input make a forecaster panic, or answer with numbers that are no distribution?

use proptest::prelude::*;
use sphere_core::{Distribution, Timestamp};
use sphere_forecast::models::Model;
use sphere_forecast::{Forecaster, Observed, Online, OnlineConfig, registry};
use std::time::Duration;

const NAMES: [&str; 34] = [
    "last",
    "mean-6",
    "seasonal-naive-1m",
    "last-week",
    "ses",
    "holt@20",
    "damped-holt@30",
    "hw-add-4",
    "hw-add-6-flat",
    "hw-mul-4",
    "hw-mul-5-flat",
    "hw-add-50",
    "classic",
    "classic-fresh",
    "ets@30",
    "ets-4@40",
    "arima@40",
    "arima-1-1-1",
    "arima-2-0-1@30",
    "arima-0-2-2@30",
    "sarima-4@40",
    "sarima-1-0-0-0-1-1-4@40",
    "sarimax-5+30@120",
    "theta@30",
    "theta-4@40",
    "prophet@40",
    "prophet-6+40@90",
    "mstl-4+12@60",
    "prophet-arima",
    "ensemble(ses,theta-6,arima-0-1-1@20,prophet@30)",
    "xgboost@60",
    "gbt@140",
    "lstm@100",
    "wavelet-lstm@100",
];

fn build(name: &str, nonnegative: bool) -> Online<Model> {
    let config = OnlineConfig { nonnegative, ..OnlineConfig::new(Duration::from_secs(10)) };
    registry::build(name, config).expect("a valid name")
}

fn check(forecaster: &Online<Model>, nonnegative: bool) -> Result<(), TestCaseError> {
    let mut out: Vec<Distribution> = Vec::new();
    for horizon in [0, 1, 15, 80] {
        if forecaster.distributions(horizon, &mut out).is_err() {
            prop_assert!(out.is_empty());
            continue;
        }
        prop_assert_eq!(out.len(), horizon);
        for d in &out {
            prop_assert!(d.mean().is_finite());
            prop_assert!(d.quantiles().iter().all(|q| q.is_finite()));
            prop_assert!(d.quantiles().windows(2).all(|w| w[0] <= w[1]));
            prop_assert!(!nonnegative || (d.mean() >= 0.0 && d.quantiles()[0] >= 0.0));
        }
    }
    Ok(())
}

/// Values of every kind: all bit patterns, plausible demand, the extremes.
fn value() -> impl Strategy<Value = f64> {
    prop_oneof![
        4 => 0.0..1e3f64,
        2 => any::<f64>(),
        1 => prop::sample::select(vec![
            0.0, -0.0, f64::NAN, f64::INFINITY, f64::NEG_INFINITY, f64::MAX, f64::MIN_POSITIVE, 5e-324,
            1e100, -1e100, 1e-300, 1e12, 1e-9, -1.0,
        ]),
    ]
}

/// Milliseconds to the next time stamp: mostly a step, sometimes backwards or far away.
fn jump() -> impl Strategy<Value = i64> {
    prop_oneof![
        12 => Just(10_000i64),
        2 => 0..40_000i64,
        1 => -50_000..0i64,
        1 => -1_000_000..1_000_000i64,
        1 => prop::sample::select(vec![i64::MIN, i64::MAX, 86_400_000, 200_000]),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(96))]

    #[test]
    fn no_input_breaks_a_forecaster(
        which in 0..NAMES.len(),
        nonnegative in any::<bool>(),
        inputs in prop::collection::vec((jump(), value(), 0..20u8), 1..160),
    ) {
        let mut forecaster = build(NAMES[which], nonnegative);
        let mut now = 0i64;
        for (i, (jump, value, action)) in inputs.into_iter().enumerate() {
            now = now.saturating_add(jump);
            match action {
                0 => forecaster.miss(Timestamp(now)),
                1 => forecaster.refit(),
                _ => {
                    let answer = forecaster.observe(Timestamp(now), value);
                    let bad = !value.is_finite() || (nonnegative && value < 0.0);
                    prop_assert!(!bad || answer == Observed::Rejected);
                }
            }
            if i % 7 == 0 {
                check(&forecaster, nonnegative)?;
            }
        }
        check(&forecaster, nonnegative)?;
    }

    #[test]
    fn huge_and_tiny_demand_side_by_side_stays_finite(
        which in 0..NAMES.len(),
        exponents in prop::collection::vec(-100..100i32, 130..160),
    ) {
        let mut forecaster = build(NAMES[which], false);
        for (i, e) in exponents.into_iter().enumerate() {
            let sign = if i % 3 == 0 { -1.0 } else { 1.0 };
            forecaster.observe(Timestamp(10_000 * i as i64), sign * 10f64.powi(e));
            check(&forecaster, false)?;
        }
    }

    #[test]
    fn a_restored_state_goes_on_exactly_where_it_was(
        which in 0..NAMES.len(),
        values in prop::collection::vec(0.0..1e3f64, 150),
        cut in 1..120usize,
    ) {
        let mut original = build(NAMES[which], true);
        for (i, v) in values[..cut].iter().enumerate() {
            original.observe(Timestamp(10_000 * i as i64), *v);
        }
        let stored = serde_json::to_string(&original)?;
        let mut restored: Online<Model> = serde_json::from_str(&stored)?;
        prop_assert!(restored == original);
        for (i, v) in values.iter().enumerate().skip(cut) {
            original.observe(Timestamp(10_000 * i as i64), *v);
            restored.observe(Timestamp(10_000 * i as i64), *v);
        }
        let (mut a, mut b) = (Vec::new(), Vec::new());
        prop_assert_eq!(original.distributions(15, &mut a), restored.distributions(15, &mut b));
        prop_assert_eq!(a, b);
        prop_assert!(restored == original);
    }

    #[test]
    fn forecasts_scale_with_the_unit_of_demand(
        which in prop::sample::select(vec![0usize, 1, 4, 5, 7, 14, 17, 23, 25, 27]),
        values in prop::collection::vec(1.0..1e3f64, 80),
    ) {
        // Cores or millicores: the same forecast, in the other unit. A power of two keeps rounding the same.
        let (mut cores, mut millicores) = (build(NAMES[which], true), build(NAMES[which], true));
        for (i, v) in values.iter().enumerate() {
            cores.observe(Timestamp(10_000 * i as i64), *v);
            millicores.observe(Timestamp(10_000 * i as i64), v * 1024.0);
        }
        let (mut a, mut b) = (Vec::new(), Vec::new());
        prop_assert_eq!(cores.distributions(15, &mut a), millicores.distributions(15, &mut b));
        for (a, b) in a.iter().zip(&b) {
            let tolerance = 1e-6 * b.quantiles()[16].abs();
            prop_assert!((a.mean() * 1024.0 - b.mean()).abs() <= tolerance);
            prop_assert!((a.quantile(0.95) * 1024.0 - b.quantile(0.95)).abs() <= tolerance);
        }
    }
}

#[test]
fn a_state_of_another_version_is_refused_by_name() {
    let mut state = serde_json::to_value(build("holt", true)).unwrap();
    state["state_version"] = 99.into();
    let error = serde_json::from_value::<Online<Model>>(state).unwrap_err().to_string();
    assert!(error.contains("state version 99"), "{error}");
}

#[test]
fn many_steps_after_a_million_missing_ones_cost_no_time() {
    for name in NAMES {
        let mut forecaster = build(name, true);
        for i in 0..100 {
            forecaster.observe(Timestamp(10_000 * i), 5.0 + (i % 4) as f64);
        }
        forecaster.miss(Timestamp(i64::MAX / 2));
        assert!(forecaster.distributions(1, &mut Vec::new()).is_err(), "{name}");
    }
}
