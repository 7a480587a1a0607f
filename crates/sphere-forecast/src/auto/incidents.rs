//! What do shifts, spikes, outages, retry storms, gaps and limits do to the forecast?

use super::tests::lead;
use super::*;
use crate::series::{at, noise};
use crate::{Forecaster, Observed};
use sphere_core::Period;

/// The usual day of these tests: a wave around 100 with noise.
fn usual(t: i64) -> f64 {
    100.0 + 30.0 * (std::f64::consts::TAU * t as f64 / 8640.0).sin() + 6.0 * noise(t)
}

/// Teaches `value` for the steps `span`, and returns the forecast at the lead.
fn teach(f: &mut AutoForecaster, span: std::ops::Range<i64>, value: impl Fn(i64) -> f64) -> Distribution {
    for t in span {
        f.observe(at(t), value(t));
    }
    f.at_lead().unwrap()
}

#[test]
fn an_outage_and_the_retry_storm_after_it_are_over_when_they_are_over() {
    let mut f = lead(6);
    let before = teach(&mut f, 0..9000, usual);
    let width = before.quantile(0.95) - before.quantile(0.5);
    teach(&mut f, 9000..9040, |_| 0.0);
    let storm = teach(&mut f, 9040..9060, |t| 5.0 * usual(t));
    assert!(storm.mean() > 2.0 * usual(9066), "a storm of 20 steps is real demand: {}", storm.mean());
    let after = teach(&mut f, 9060..9100, usual);
    assert!((after.mean() - usual(9106)).abs() < 15.0, "{} {}", after.mean(), usual(9106));
    let later = teach(&mut f, 9100..9700, usual);
    let wide = later.quantile(0.95) - later.quantile(0.5);
    assert!(wide < 3.0 * width + 10.0, "a hundred minutes later the doubt is that of always: {wide} {width}");
    // The profile of the day was not poisoned: at the hour of the outage the next day is forecast as usual.
    let next_day = teach(&mut f, 9700..17_640, usual);
    assert!((next_day.mean() - usual(17_646)).abs() < 15.0, "{} {}", next_day.mean(), usual(17_646));
}

#[test]
fn a_spike_does_not_widen_the_doubt_for_an_hour() {
    let mut f = lead(4);
    let before = teach(&mut f, 0..3000, usual);
    teach(&mut f, 3000..3001, |_| 3000.0);
    let after = teach(&mut f, 3001..3181, usual);
    let width = |d: &Distribution| d.quantile(0.95) - d.quantile(0.5);
    assert!(width(&after) < 4.0 * width(&before), "{} {}", width(&after), width(&before));
}

#[test]
fn a_second_shift_is_followed_as_fast_as_the_first() {
    let mut f = lead(6);
    let level = |t: i64| [50.0, 200.0, 90.0][(t / 2000) as usize] * (1.0 + 0.05 * noise(t));
    for (shift, expected) in [(2000, 200.0), (4000, 90.0)] {
        let begun = shift - 2000;
        let d = teach(&mut f, begun..shift + 12, level);
        assert!((d.mean() - expected).abs() < 0.15 * expected, "{expected}: {}", d.mean());
        teach(&mut f, shift + 12..shift + 2000, level);
        if shift == 2000 {
            // The next round begins where this one ended.
            f = lead(6);
            teach(&mut f, 0..2000, level);
        }
    }
}

#[test]
fn a_gap_teaches_nothing() {
    let mut f = lead(6);
    teach(&mut f, 0..2000, usual);
    let learnt = |f: &AutoForecaster| {
        let heads = f.heads.iter().map(|h| serde_json::to_string(&(&h.doubt, &h.regression)).unwrap());
        (heads.collect::<Vec<_>>(), serde_json::to_string(&f.ridge).unwrap())
    };
    let before = learnt(&f);
    f.miss(at(2039));
    assert_eq!(learnt(&f), before);
    // Nor do the forecasts that were made for the gap, or in it.
    f.observe(at(2040), usual(2040));
    assert_eq!(learnt(&f).1, before.1);
}

#[test]
fn a_limit_is_no_proof_that_demand_is_below_it() {
    let (mut capped, mut taken) = (lead(4), lead(4));
    for f in [&mut capped, &mut taken] {
        teach(f, 0..3000, usual);
    }
    for t in 3000..3120 {
        let bound = usual(t).min(70.0);
        assert_eq!(capped.observe_censored(at(t), bound), Observed::Accepted { missed: 0 });
        taken.observe(at(t), bound);
    }
    let (capped_now, taken_now) = (capped.at_lead().unwrap(), taken.at_lead().unwrap());
    let above = |d: &Distribution| d.quantile(0.99) - 70.0;
    assert!(
        above(&capped_now) > 1.5 * above(&taken_now),
        "the doubt upwards shrinks less: {} {}",
        above(&capped_now),
        above(&taken_now)
    );
    let (mean, truth) = (capped_now.mean(), usual(3123));
    assert!((mean - truth).abs() < 20.0, "it is neither dragged down nor runs away: {mean} {truth}");
    let free = teach(&mut capped, 3120..3135, usual);
    assert!((free.mean() - usual(3139)).abs() < 15.0, "without the limit it follows: {}", free.mean());
}

#[test]
fn bounds_below_the_expectation_teach_nothing_and_never_end_the_forecast() {
    let mut f = lead(6);
    teach(&mut f, 0..2000, |t| 100.0 + 6.0 * noise(t));
    let learnt = |f: &AutoForecaster| serde_json::to_string(&(&f.levels, &f.ridge, &f.skill)).unwrap();
    let before = learnt(&f);
    for t in 2000..2700 {
        assert_eq!(f.observe_censored(at(t), 50.0), Observed::Accepted { missed: 0 });
        let mut out = Vec::new();
        f.distributions(6, &mut out).unwrap();
        assert!((out[5].mean() - 100.0).abs() < 10.0, "{t}: {}", out[5].mean());
    }
    assert_eq!(learnt(&f), before);
    assert_eq!(f.observe_censored(at(2699), 50.0), Observed::Late, "the step is over");
    // A real gap after it still ends it, and not later than it would without.
    f.miss(at(2760));
    assert!(f.at_lead().is_none());
}

proptest::proptest! {
    #![proptest_config(proptest::prelude::ProptestConfig::with_cases(16))]
    #[test]
    fn a_bound_never_pulls_the_forecast_below_it(seed in 0i64..1000, share in 0.3f64..3.0, steps in 20i64..200) {
        let mut f = lead(4);
        let value = |t: i64| 100.0 + 20.0 * noise(1_000_003 * seed + t);
        teach(&mut f, 0..400, value);
        let bound = 100.0 * share;
        for t in 400..400 + steps {
            f.observe_censored(at(t), bound);
        }
        let mean = f.at_lead().unwrap().mean();
        proptest::prop_assert!(mean > 0.9 * bound, "{mean} {bound}");
        proptest::prop_assert!(mean < 1.2 * bound.max(120.0), "it does not run away: {mean} {bound}");
    }
}

#[test]
fn a_period_that_no_clock_has_is_found_said_and_used() {
    // Every 8 minutes and 20 seconds a batch of a minute.
    let demand = |t: i64| 100.0 + if t % 50 < 6 { 150.0 } else { 0.0 } + 10.0 * noise(t);
    let mut f = lead(8);
    assert_eq!(f.period(), Some(Period::TooYoung));
    let (mut off, mut off_last, mut expected) = (0.0, 0.0, Vec::new());
    for t in 0..6000 {
        f.observe(at(t), demand(t));
        expected.push(f.at_lead().unwrap().mean());
        if t >= 5000 {
            off += (expected[t as usize - 8] - demand(t)).abs();
            off_last += (demand(t - 8) - demand(t)).abs();
        }
    }
    let Some(Period::Found { ms, strength }) = f.period() else { panic!("{:?}", f.period()) };
    // Blocks of four steps see 50 steps best every second time.
    assert!((ms % 500_000 + 10_000) % 500_000 < 20_000 && ms < 1_100_000, "{ms}");
    assert!(strength > 0.5, "{strength}");
    assert!(off < 0.5 * off_last, "{off} {off_last}");
}
