//! Properties of the direct lead forecaster.

use super::*;
use crate::series::{STEP, at, noise};
use proptest::prelude::*;

fn single(lead: u32) -> LeadForecaster {
    LeadForecaster::new(LeadConfig { leads_steps: vec![lead], ..LeadConfig::default() })
}

#[test]
fn a_constant_series_is_forecast_exactly_and_tightly() {
    let mut f = single(4);
    for t in 0..500 {
        f.observe(at(t), 42.0);
    }
    let d = f.at_lead().unwrap();
    assert!((d.mean() - 42.0).abs() < 1e-6);
    assert!(d.exceedance(43.0) < 0.01, "{}", d.exceedance(43.0));
}

#[test]
fn the_step_from_nothing_at_the_start_is_not_taken_for_an_error_of_the_forecast() {
    for (idle, partial) in [(1, 0.8), (3, 0.8), (6, 0.3), (12, 0.38), (25, 0.1)] {
        let mut f = single(4);
        let mut trusted_at = None;
        for t in 0..120 {
            let demand = match t - idle {
                ..0 => 0.002,
                // Of the first reading a part lies before the start.
                0 => partial,
                _ => 0.8 + 0.01 * noise(t),
            };
            f.observe(at(t), demand);
            if f.trust().trusted && t > idle {
                trusted_at.get_or_insert(t);
                let q99 = f.at_lead().unwrap().quantile(0.99);
                assert!(q99 < 1.5 * 0.8, "{idle} idle steps: {q99} at step {t}");
            }
        }
        let waited = trusted_at.unwrap() - idle;
        assert!((18..40).contains(&waited), "trusted {waited} steps after the start");
    }
}

#[test]
fn a_step_after_the_beginning_makes_nothing_forgotten() {
    let learnt = |until: i64| {
        let mut f = single(4);
        for t in 0..60 {
            f.observe(at(t), if t < until { 1.0 } else { 3.0 });
        }
        f.heads[0].seen
    };
    assert_eq!(learnt(60), 56);
    assert_eq!(learnt(40), 56, "a workload that has long begun");
    assert_eq!(learnt(20), 36, "one that begins now");
}

#[test]
fn the_daily_profile_sees_the_morning_coming() {
    let mut f = single(7);
    // Every noon demand triples within half an hour.
    let ramp = |t: i64| ((t % 8640 - 4320) as f64 / 180.0).clamp(0.0, 1.0);
    let mut lag = 0.0;
    for t in 0..(5 * 8640) {
        f.observe(at(t), 100.0 + 200.0 * ramp(t) + 5.0 * noise(t));
        if t == 4 * 8640 + 4320 + 90 {
            lag = 100.0 + 200.0 * ramp(t + 7) - f.at_lead().unwrap().mean();
        }
    }
    assert!(lag.abs() < 8.0, "a smoother lags by 15 or more on this ramp, the profile must not: {lag}");
}

#[test]
fn coverage_is_near_nominal_on_noise_whose_size_changes() {
    let mut f = single(4);
    let series: Vec<f64> =
        (0..40_000).map(|t| 100.0 + (20.0 + 15.0 * (t as f64 / 3000.0).sin()) * noise(t)).collect();
    let (mut above90, mut above99, mut n) = (0, 0, 0);
    let mut pending = VecDeque::new();
    for (t, y) in series.iter().enumerate() {
        f.observe(at(t as i64), *y);
        pending.push_back(*f.at_lead().unwrap());
        if pending.len() > 4 {
            let d = pending.pop_front().unwrap();
            if t > 4000 {
                n += 1;
                above90 += i32::from(*y > d.quantile(0.9));
                above99 += i32::from(*y > d.quantile(0.99));
            }
        }
    }
    let share = |k: i32| f64::from(k) / f64::from(n);
    assert!((share(above90) - 0.1).abs() < 0.02, "{}", share(above90));
    assert!((share(above99) - 0.01).abs() < 0.005, "{}", share(above99));
}

#[test]
fn duplicates_late_and_bad_values_change_nothing() {
    let mut f = single(3);
    for t in 0..100 {
        f.observe(at(t), 10.0 + noise(t));
    }
    let before = serde_json::to_string(&f).unwrap();
    assert_eq!(f.observe(at(99), 1e6), Observed::Duplicate);
    assert_eq!(f.observe(at(42), 1e6), Observed::Late);
    assert_eq!(serde_json::to_string(&f).unwrap(), before);
    for bad in [f64::NAN, f64::INFINITY, -1.0] {
        assert_eq!(f.clone().observe(at(100), bad), Observed::Rejected);
    }
}

#[test]
fn a_long_gap_makes_the_forecast_stale_until_a_value_arrives() {
    let mut f = single(3);
    for t in 0..100 {
        f.observe(at(t), 10.0);
    }
    f.miss(at(110));
    assert!(f.at_lead().is_some());
    assert_eq!(f.missed_steps(), 11);
    f.miss(at(300));
    assert!(f.at_lead().is_none());
    assert!(matches!(f.distributions(3, &mut Vec::new()), Err(NotReady::Stale { .. })));
    assert_eq!(f.observe(at(301), 50.0), Observed::Accepted { missed: 0 });
    assert!((f.at_lead().unwrap().mean() - 50.0).abs() < 25.0);
}

#[test]
fn saved_state_continues_identically() {
    let mut f = LeadForecaster::for_horizon(STEP, 15);
    for t in 0..3000 {
        f.observe(at(t), 50.0 + 20.0 * noise(t));
    }
    let mut g: LeadForecaster = serde_json::from_str(&serde_json::to_string(&f).unwrap()).unwrap();
    for t in 3000..3100 {
        f.observe(at(t), 50.0 + 20.0 * noise(t));
        g.observe(at(t), 50.0 + 20.0 * noise(t));
    }
    let (mut a, mut b) = (Vec::new(), Vec::new());
    f.distributions(15, &mut a).unwrap();
    g.distributions(15, &mut b).unwrap();
    assert_eq!(a, b);
    assert_eq!(a.len(), 15);
}

proptest! {
    #[test]
    fn any_input_gives_finite_sorted_quantiles(
        values in prop::collection::vec(prop_oneof![Just(f64::NAN), Just(f64::INFINITY), Just(0.0), Just(1e12),
            Just(1e-9), any::<f64>(), -10f64..1e4], 1..120),
        steps in prop::collection::vec(-3i64..90, 120),
    ) {
        let mut f = LeadForecaster::for_horizon(STEP, 15);
        let mut t = 0;
        let mut out = Vec::new();
        for (value, step) in values.iter().zip(steps) {
            t += step;
            f.observe(at(t), *value);
            if f.distributions(15, &mut out).is_ok() {
                for d in &out {
                    prop_assert!(d.mean().is_finite() && d.quantiles().iter().all(|q| q.is_finite()));
                }
            }
        }
    }
}
