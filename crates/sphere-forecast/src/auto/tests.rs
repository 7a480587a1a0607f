//! Properties of the forecaster for every series.

use super::*;
use crate::series::{STEP, at, noise};
use crate::{Forecaster, NotReady, Observed};
use proptest::prelude::*;

pub(super) fn lead(lead: u32) -> AutoForecaster {
    AutoForecaster::for_lead(AutoConfig::new(STEP, lead))
}

#[test]
fn a_constant_series_is_forecast_exactly_and_tightly() {
    for value in [0.0, 1e-9, 42.0, 1e12] {
        let mut f = lead(4);
        (0..600).for_each(|t| {
            f.observe(at(t), value);
        });
        let d = f.at_lead().unwrap();
        assert!((d.mean() - value).abs() <= 1e-6 * value, "{value}: {}", d.mean());
        assert!(d.quantile(0.99) <= 1.001 * value + 1e-20, "{value}: {:?}", d.quantiles());
    }
}

#[test]
fn twenty_values_are_enough_for_a_useful_forecast() {
    let mut f = AutoForecaster::new(AutoConfig::new(STEP, 15));
    (0..20).for_each(|t| {
        f.observe(at(t), 100.0 + 20.0 * noise(t));
    });
    let mut out = Vec::new();
    f.distributions(15, &mut out).unwrap();
    for d in out {
        assert!((d.mean() - 100.0).abs() < 8.0, "{}", d.mean());
        assert!((103.0..150.0).contains(&d.quantile(0.95)), "{}", d.quantile(0.95));
    }
}

#[test]
fn a_young_service_with_few_requests_is_not_expected_to_get_billions() {
    // Counts of which many are 0: what is forecast of them comes near 0 by chance, and no error may be measured by that.
    for seed in 0..60 {
        let mean = 0.5 + 0.5 * (seed % 5) as f64;
        let mut f = AutoForecaster::new(AutoConfig::new(STEP, 15));
        let mut largest = 0.0f64;
        for t in 0..120 {
            let count = (2.5 * mean * (0.5 + noise(100_003 * seed + t))).floor();
            largest = largest.max(count);
            f.observe(at(t), count);
            let q = f.mean_of_steps(13, 15).unwrap().quantile(0.95);
            assert!(q <= 40.0 * largest.max(1.0), "{seed} {t}: {q}, most that was seen: {largest}");
        }
    }
}

#[test]
fn errors_of_one_sign_in_a_row_do_not_rule_out_the_other_at_a_long_lead() {
    let upper = |lead: u32| {
        let mut doubt = doubt::Doubt::new(lead);
        let then = doubt.mixture.variances();
        let came = doubt::Outcome { error: -1.0, shift: 0.0, direct: 10.0, unit: 1.0, every: 1.0 };
        for _ in 0..20 {
            doubt.learn(&came, &[1.0; doubt::SCALES], &then);
        }
        doubt.deviations(&[1.0; doubt::SCALES], 0.0)[9]
    };
    assert!(upper(15) > 1.3, "{}", upper(15));
    assert!(
        upper(15) > 1.3 * upper(1),
        "of errors that do not overlap one each counts: {} {}",
        upper(15),
        upper(1)
    );
}

#[test]
fn the_daily_profile_sees_the_morning_coming() {
    let mut f = lead(7);
    // Every noon demand triples within half an hour.
    let ramp = |t: i64| ((t % 8640 - 4320) as f64 / 180.0).clamp(0.0, 1.0);
    let mut lag = 0.0;
    for t in 0..(3 * 8640) {
        f.observe(at(t), 100.0 + 200.0 * ramp(t) + 5.0 * noise(t));
        if t == 2 * 8640 + 4320 + 90 {
            lag = 100.0 + 200.0 * ramp(t + 7) - f.at_lead().unwrap().mean();
        }
    }
    assert!(lag.abs() < 8.0, "a smoother lags by 15 or more on this ramp, the profile must not: {lag}");
}

#[test]
fn coverage_is_near_nominal_while_the_noise_changes_its_size_and_is_skewed() {
    for h in [1usize, 15] {
        let mut f = lead(h as u32);
        let series: Vec<f64> = (0..30_000)
            .map(|t| {
                let size = 20.0 + 15.0 * (f64::from(t) / 3000.0).sin();
                100.0 - size * (0.5 + noise(i64::from(t))).max(1e-9).ln()
            })
            .collect();
        let mut issued = Vec::new();
        let mut held = [0.0; 4];
        for (t, y) in series.iter().enumerate() {
            if t >= 4000 {
                let d: &Distribution = &issued[t - h];
                for (share, level) in held.iter_mut().zip([0.9, 0.95, 0.99, 0.999]) {
                    *share += f64::from(u8::from(*y <= d.quantile(level))) / 26_000.0;
                }
            }
            f.observe(at(t as i64), *y);
            issued.push(f.at_lead().unwrap());
        }
        for (share, (level, within)) in
            held.iter().zip([(0.9, 0.015), (0.95, 0.01), (0.99, 0.005), (0.999, 0.001)])
        {
            assert!((share - level).abs() < within, "{h} steps ahead, {level}: {share}");
        }
    }
}

#[test]
fn a_level_shift_is_followed_and_a_lone_spike_is_not() {
    let level = |t: i64| if t < 3000 { 100.0 } else { 300.0 };
    let mut f = lead(4);
    for t in 0..3012 {
        f.observe(at(t), level(t) + 4.0 * noise(t) + if t == 2900 { 2000.0 } else { 0.0 });
        if t == 2906 {
            let mean = f.at_lead().unwrap().mean();
            assert!(
                (mean - 100.0).abs() < 20.0,
                "six steps after the spike not a hundredth of it is left: {mean}"
            );
        }
    }
    let mean = f.at_lead().unwrap().mean();
    assert!((mean - 300.0).abs() < 15.0, "twelve steps after the shift: {mean}");
}

#[test]
fn duplicates_late_and_bad_values_change_nothing() {
    let mut f = lead(3);
    (0..100).for_each(|t| {
        f.observe(at(t), 10.0 + noise(t));
    });
    let before = serde_json::to_string(&f).unwrap();
    assert_eq!(f.observe(at(99), 1e6), Observed::Duplicate);
    assert_eq!(f.observe(at(42), 1e6), Observed::Late);
    assert_eq!(serde_json::to_string(&f).unwrap(), before);
    for bad in [f64::NAN, f64::INFINITY, -1.0, 1e19] {
        let mut f = f.clone();
        assert_eq!(f.observe(at(100), bad), Observed::Rejected);
        assert_eq!(f.observe(at(100), 10.0), Observed::Late, "the step was declared missing");
    }
}

#[test]
fn a_gap_widens_doubt_and_a_long_one_ends_the_forecast_until_a_value_arrives() {
    let mut f = AutoForecaster::new(AutoConfig::new(STEP, 15));
    let mut walk = 1000.0;
    for t in 0..2000 {
        walk += 10.0 * noise(t);
        f.observe(at(t), walk);
    }
    let spread = |f: &AutoForecaster| {
        let mut out = Vec::new();
        f.distributions(1, &mut out).unwrap();
        out[0].quantile(0.95) - out[0].quantile(0.5)
    };
    let before = spread(&f);
    f.miss(at(2005));
    assert!(spread(&f) > 1.5 * before, "{} {before}", spread(&f));
    f.miss(at(2100));
    assert!(matches!(f.distributions(3, &mut Vec::new()), Err(NotReady::Stale { missed: 101 })));
    assert!(f.at_lead().is_none());
    assert_eq!(f.observe(at(2101), 50.0), Observed::Accepted { missed: 0 });
    assert!((f.at_lead().unwrap().mean() - 50.0).abs() < 25.0);
}

#[test]
fn a_gap_seen_late_equals_one_announced() {
    for gap in [1, 5, 60, 61, 400] {
        let (mut told, mut seen) = (lead(5), lead(5));
        for f in [&mut told, &mut seen] {
            (0..300).for_each(|t| {
                f.observe(at(t), 50.0 + 9.0 * noise(t));
            });
        }
        (0..gap).for_each(|k| told.miss(at(300 + k)));
        for f in [&mut told, &mut seen] {
            f.observe(at(300 + gap), 60.0);
        }
        assert_eq!(told.at_lead(), seen.at_lead(), "{gap}");
    }
}

#[test]
fn a_moved_lead_keeps_what_was_learnt() {
    let mut f = lead(4);
    let value = |t: i64| 100.0 + 40.0 * noise(t);
    (0..4000).for_each(|t| {
        f.observe(at(t), value(t));
    });
    let before = f.at_lead().unwrap();
    for steps in [19, 1, 7] {
        f.set_lead_steps(steps);
        assert_eq!(f.lead_steps(), steps);
        assert!(f.is_consistent());
        let after = f.at_lead().unwrap();
        assert!((after.quantile(0.95) - before.quantile(0.95)).abs() < 10.0, "{after:?}");
    }
    (4000..4100).for_each(|t| {
        f.observe(at(t), value(t));
    });
    assert!((f.at_lead().unwrap().mean() - 100.0).abs() < 10.0);
}

#[test]
fn the_unit_of_demand_does_not_matter() {
    let run = |unit: f64| {
        let mut f = lead(6);
        for t in 0..1500 {
            f.observe(at(t), unit * (100.0 + 30.0 * (t as f64 / 40.0).sin() + 20.0 * noise(t)));
        }
        f.at_lead().unwrap().quantiles().map(|q| q / unit)
    };
    let plain = run(1.0);
    for unit in [1e-9, 1e12] {
        for (a, b) in run(unit).iter().zip(&plain) {
            assert!((a - b).abs() < 0.5, "{unit}: {a} {b}");
        }
    }
}

#[test]
fn negative_demand_is_fine_where_it_can_be() {
    let config = AutoConfig { nonnegative: false, ..AutoConfig::new(STEP, 3) };
    let mut f = AutoForecaster::for_lead(config);
    (0..500).for_each(|t| {
        f.observe(at(t), -100.0 + 8.0 * noise(t));
    });
    let d = f.at_lead().unwrap();
    assert!((d.mean() + 100.0).abs() < 3.0 && d.quantile(0.01) < -100.0, "{d:?}");
}

#[test]
fn a_state_whose_parts_do_not_fit_together_is_found_out() {
    let mut f = lead(3);
    (0..50).for_each(|t| {
        f.observe(at(t), 10.0);
    });
    assert!(f.is_consistent());
    let mut state = serde_json::to_value(&f).unwrap();
    state["config"]["horizon"] = 9.into();
    assert!(!serde_json::from_value::<AutoForecaster>(state).unwrap().is_consistent());
}

#[test]
fn no_lead_takes_more_than_sixteen_kibibytes() {
    // With a period that no clock has, which is one more profile.
    let demand = |t: i64| 100.0 + if t % 77 < 30 { 50.0 } else { 0.0 } + 10.0 * noise(t);
    // Short steps need two more widths of blocks to see a week.
    for (seconds, largest) in [(10, 16 << 10), (300, 16 << 10), (1, 17 << 10)] {
        let step = Duration::from_secs(seconds);
        for steps in 1..=60 {
            let mut f = AutoForecaster::for_lead(AutoConfig::new(step, steps));
            let mut stored = crate::StoredForecaster::create(AUTO, step, steps).unwrap();
            // Only one lead sees enough to find the period: the size does not depend on the lead it is found at.
            let known = if steps == 60 { 3000 } else { 100 };
            for t in 0..known {
                let at = Timestamp(t * step.as_millis() as i64);
                f.observe(at, demand(t));
                stored.observe(at, demand(t));
            }
            let season = 400;
            let room = if f.season.is_some() { largest } else { largest - season };
            let bytes = stored.save().unwrap().len();
            assert!(bytes <= room, "{step:?}, lead {steps}: {bytes} bytes stored");
            assert!(f.memory_bytes() <= room, "{step:?}, lead {steps}: {} bytes", f.memory_bytes());
            if steps == 60 {
                let found = f.season.as_ref().expect("a period that is there");
                assert!(size_of::<Season>() + found.heap_bytes() <= season, "{step:?}");
            }
        }
    }
}

proptest! {
    #[test]
    fn any_input_gives_finite_sorted_quantiles(
        values in prop::collection::vec(prop_oneof![Just(f64::NAN), Just(f64::INFINITY), Just(0.0), Just(1e18),
            Just(1e-9), any::<f64>(), -10f64..1e4], 1..150),
        steps in prop::collection::vec(-3i64..90, 150),
        lead in 1u32..40,
        nonnegative: bool,
    ) {
        let config = AutoConfig { nonnegative, ..AutoConfig::new(STEP, lead) };
        let mut f = AutoForecaster::for_lead(config);
        let mut t = 0;
        let mut out = Vec::new();
        for (i, (value, step)) in values.iter().zip(steps).enumerate() {
            // Short steps first, so that forecasts are scored too.
            t += if i < 75 { step.min(1) } else { step };
            f.observe(at(t), *value);
            if f.distributions(20, &mut out).is_ok() {
                prop_assert_eq!(out.len(), 20);
                for d in out.iter().chain(&f.at_lead()) {
                    prop_assert!(d.mean().is_finite() && d.quantiles().iter().all(|q| q.is_finite()));
                    prop_assert!(!nonnegative || d.quantiles()[0] >= 0.0);
                }
            }
        }
    }

    #[test]
    fn the_same_calls_give_the_same_answers(values in prop::collection::vec(0f64..1e3, 20..200)) {
        let run = || {
            let mut f = lead(5);
            values.iter().enumerate().for_each(|(t, v)| { f.observe(at(t as i64), *v); });
            f.at_lead()
        };
        prop_assert_eq!(run(), run());
    }
}
