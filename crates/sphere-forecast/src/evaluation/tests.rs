//! Numbers worked out by hand, and what must hold for any series.

use super::*;
use crate::{Grid, NotReady, Observed, registry};
use proptest::prelude::*;
use sphere_core::QUANTILE_LEVELS;

const STEP: Duration = Duration::from_secs(10);
const I_95: usize = 9;

fn no_clock() -> Duration {
    Duration::ZERO
}

fn series(values: &[Option<f64>]) -> Series<'_> {
    Series { values, start: Timestamp(0), step: STEP }
}

fn known(values: &[f64]) -> Vec<Option<f64>> {
    values.iter().copied().map(Some).collect()
}

fn plan(horizon_steps: usize, stride_steps: usize, evaluate: Range<usize>) -> Plan {
    Plan { horizon_steps, stride_steps, learn_from: 0, evaluate, refit_at_origins: false }
}

/// Deterministic noise, uniform in (0, 1).
fn noise(i: u64) -> f64 {
    let mut x = i.wrapping_add(1).wrapping_mul(0x9E37_79B9_7F4A_7C15);
    x ^= x >> 31;
    x = x.wrapping_mul(0xBF58_476D_1CE4_E5B9);
    x ^= x >> 29;
    (x >> 11) as f64 / (1u64 << 53) as f64
}

/// Says what it is told to say about each step of the series.
struct Told {
    say: Box<dyn Fn(usize) -> Distribution + Send>,
    /// Index of the last step seen.
    index: Option<usize>,
    /// No forecast at these.
    silent: Vec<usize>,
    refits: usize,
}

impl Told {
    fn new(say: impl Fn(usize) -> Distribution + Send + 'static) -> Self {
        Self { say: Box::new(say), index: None, silent: Vec::new(), refits: 0 }
    }
}

impl Forecaster for Told {
    fn name(&self) -> &str {
        "told"
    }
    fn observe(&mut self, at: Timestamp, _: f64) -> Observed {
        self.miss(at);
        Observed::Accepted { missed: 0 }
    }
    fn miss(&mut self, at: Timestamp) {
        self.index = Some((at.millis() / 10_000 - 1) as usize);
    }
    fn refit(&mut self) {
        self.refits += 1;
    }
    fn grid(&self) -> Option<Grid> {
        None
    }
    fn distributions(&self, horizon: usize, out: &mut Vec<Distribution>) -> Result<(), NotReady> {
        out.clear();
        let now = self.index.filter(|now| !self.silent.contains(now));
        let now = now.ok_or(NotReady::TooFewObservations { seen: 0, needed: 1 })?;
        out.extend((1..=horizon).map(|h| (self.say)(now + h)));
        Ok(())
    }
}

fn point(value: f64) -> Distribution {
    Distribution::new(value, [value; LEVELS]).unwrap()
}

#[test]
fn errors_of_a_point_forecast_are_as_worked_out_by_hand() {
    // Always 10. Targets from index 3: 12, 10, 6. Steps ahead: 1 and 2, origins at 2 and 3.
    let values = known(&[8.0, 10.0, 9.0, 12.0, 10.0, 6.0]);
    let mut told = Told::new(|_| point(10.0));
    let result = evaluate(&mut told, &series(&values), &plan(2, 1, 3..6), None, &mut no_clock).unwrap();
    assert_eq!((result.origins, result.ready.as_slice()), (2, [true, true].as_slice()));
    // Changes before the evaluated part: 2 and 1.
    assert_eq!(result.mase_scale, Some(1.5));
    // Compared with 12, 10 from the first origin, with 10, 6 from the second: errors 2, 0, 0, -4.
    let all = result.overall.unwrap();
    assert_eq!((all.count, all.mae, all.mase), (4, 1.5, Some(1.0)));
    assert_eq!(all.rmse, 5f64.sqrt());
    let smape = (200.0 * 2.0 / 22.0 + 200.0 * 4.0 / 16.0) / 4.0;
    assert!((all.smape_pct - smape).abs() < 1e-12);
    // 12 is above the quantile, 6 is 4 below: (0.95 · 2 + 0.05 · 4) / 4; three of four are at or below it.
    assert!((all.pinball_at(0.95).unwrap() - 0.525).abs() < 1e-12);
    assert_eq!((all.coverage_at(0.95), all.coverage_at(0.93)), (Some(0.75), None));
    let steps: Vec<(f64, f64)> = result.by_step.iter().flatten().map(|s| (s.mae, s.coverage[I_95])).collect();
    assert_eq!(steps, [(1.0, 0.5), (2.0, 1.0)]);
    assert_eq!(result.signal, None);
}

#[test]
fn the_signal_is_the_mean_of_steps_13_to_15_and_its_quantile_the_mean_of_theirs() {
    // After one change of 4 come 15 values, the last three 7, 9, 14 with mean 10. Step h is forecast as h with
    // all quantiles h + 1: the mean of the signal is 14, its quantiles 15.
    let mut values = known(&[0.0, 4.0]);
    values.extend(known(&[1.0; 12]));
    values.extend(known(&[7.0, 9.0, 14.0]));
    let say = |i: usize| Distribution::new(i as f64 - 1.0, [i as f64; LEVELS]).unwrap();
    let run = |values: &[Option<f64>]| {
        evaluate(&mut Told::new(say), &series(values), &plan(15, 6, 2..17), None, &mut no_clock).unwrap()
    };
    let signal = run(&values).signal.unwrap();
    assert!((signal.mae - 4.0).abs() < 1e-12 && (signal.mase.unwrap() - 1.0).abs() < 1e-12);
    assert!((signal.pinball_at(0.95).unwrap() - 0.05 * 5.0).abs() < 1e-12);
    assert_eq!((signal.count, signal.coverage[I_95]), (1, 1.0));
    values[15] = None;
    let gap = run(&values);
    assert_eq!((gap.signal, gap.origins), (None, 1));
    assert_eq!((gap.overall.unwrap().count, gap.by_step[13].clone()), (14, None));
}

#[test]
fn missing_values_are_no_targets_and_no_part_of_the_scale() {
    let values = [Some(1.0), None, Some(5.0), Some(7.0), None, Some(f64::NAN), Some(8.0)];
    assert_eq!(mase_scale(&values[..4]), Some(2.0));
    let mut told = Told::new(|_| point(8.0));
    let result = evaluate(&mut told, &series(&values), &plan(1, 1, 4..7), None, &mut no_clock).unwrap();
    assert_eq!((result.origins, result.ready.len(), result.overall.unwrap().count), (1, 3, 1));
    assert_eq!(mase_scale(&[Some(1.0), None, Some(2.0)]), None);
    assert_eq!(mase_scale(&known(&[3.0; 9])), None);
    assert_eq!(mase_scale(&[]), None);
}

#[test]
fn origins_are_evenly_spaced_and_all_their_targets_lie_in_the_evaluated_part() {
    let origins: Vec<usize> = plan(15, 6, 100..130).origins().collect();
    // 114 + 15 is 129, the last step.
    assert_eq!(origins, [99, 105, 111]);
    assert_eq!(plan(15, 6, 100..115).origins().collect::<Vec<_>>(), [99]);
    assert_eq!(plan(1, 1, 1..4).origins().collect::<Vec<_>>(), [0, 1, 2]);
    assert_eq!(Plan::last_part(1000, 200).evaluate, 200..1000);
    assert_eq!(Plan::last_part(1000, 60_000).evaluate, 500..1000);
}

#[test]
fn a_model_without_forecast_is_not_scored_and_the_others_can_be_held_to_the_same_origins() {
    let values = known(&[0.0, 1.0, 2.0, 3.0, 4.0, 5.0]);
    let plan = plan(1, 1, 2..6);
    let mut told = Told::new(|_| point(0.0));
    told.silent = vec![2, 4];
    let partial = evaluate(&mut told, &series(&values), &plan, None, &mut no_clock).unwrap();
    assert_eq!((partial.origins, partial.ready.as_slice()), (2, [true, false, true, false].as_slice()));
    assert_eq!(partial.overall.as_ref().unwrap().mae, 3.0);
    let mut other = Told::new(|_| point(0.0));
    let same = evaluate(&mut other, &series(&values), &plan, Some(&partial.ready), &mut no_clock).unwrap();
    assert_eq!((same.origins, same.overall), (2, partial.overall));
    assert_eq!(same.ready, [true; 4]);
}

#[test]
fn plans_that_do_not_fit_are_refused() {
    let values = known(&[1.0; 20]);
    let run = |plan: &Plan| {
        evaluate(&mut Told::new(|_| point(1.0)), &series(&values), plan, None, &mut no_clock).err()
    };
    assert_eq!(run(&plan(0, 1, 5..20)), Some(PlanError::Zero));
    assert_eq!(run(&plan(1, 0, 5..20)), Some(PlanError::Zero));
    assert_eq!(run(&plan(1, 1, 5..21)), Some(PlanError::Beyond { end: 21, len: 20 }));
    assert_eq!(run(&plan(1, 1, 0..20)), Some(PlanError::NoHistory));
    assert_eq!(run(&plan(15, 1, 6..20)), Some(PlanError::TooShort { steps: 14, horizon: 15 }));
    assert_eq!(run(&plan(15, 1, 5..20)), None);
}

#[test]
fn quantiles_of_the_true_distribution_cover_what_they_say_and_lose_least() {
    let values: Vec<Option<f64>> = (0..40_000).map(|i| Some(noise(i))).collect();
    let plan = plan(1, 1, 100..40_000);
    let run = |shift: f64| {
        let say = move |_| Distribution::new(0.5, QUANTILE_LEVELS.map(|level| level + shift)).unwrap();
        let all = evaluate(&mut Told::new(say), &series(&values), &plan, None, &mut no_clock).unwrap();
        all.overall.unwrap()
    };
    let honest = run(0.0);
    for (level, coverage) in QUANTILE_LEVELS.iter().zip(honest.coverage) {
        assert!((level - coverage).abs() < 0.01, "{level}: {coverage}");
    }
    // The expected loss of the quantile τ of the uniform distribution is τ (1 − τ) / 2.
    for (level, loss) in QUANTILE_LEVELS.iter().zip(honest.pinball) {
        assert!((level * (1.0 - level) / 2.0 - loss).abs() < 0.002, "{level}: {loss}");
    }
    for shifted in [run(0.05), run(-0.05)] {
        assert!(shifted.pinball_at(0.9) > honest.pinball_at(0.9));
    }
}

#[test]
fn calls_are_timed_by_the_clock_given() {
    // Every look at the clock finds it a second later: each call takes one second.
    let mut now = Duration::ZERO;
    let mut clock = || {
        now += Duration::from_secs(1);
        now
    };
    let values = known(&[1.0; 40]);
    for refit_at_origins in [true, false] {
        let plan = Plan { refit_at_origins, ..plan(15, 6, 10..40) };
        let mut told = Told::new(|_| point(1.0));
        let second = Duration::from_secs(1);
        let result = evaluate(&mut told, &series(&values), &plan, None, &mut clock).unwrap();
        assert_eq!(result.cost, Cost { observe: second, refit: second, forecast: second });
        assert_eq!(told.refits, if refit_at_origins { 3 } else { TIMED_REFITS as usize });
    }
}

#[test]
fn the_present_is_seen_and_the_future_is_not() {
    // The last value, one step ahead on a line of slope 3: wrong by 3, h steps ahead by 3 h.
    let values: Vec<Option<f64>> = (0..200).map(|i| Some(3.0 * i as f64)).collect();
    let mut last = registry::create("last", STEP).unwrap();
    let result =
        evaluate(last.as_mut(), &series(&values), &plan(15, 6, 100..200), None, &mut no_clock).unwrap();
    for (h, scores) in (1..).zip(&result.by_step) {
        assert!((scores.as_ref().unwrap().mase.unwrap() - f64::from(h)).abs() < 1e-12);
    }
    assert!((result.overall.unwrap().mase.unwrap() - 8.0).abs() < 1e-12);
    assert!((result.signal.unwrap().mase.unwrap() - 14.0).abs() < 1e-12);
}

fn demand() -> impl Strategy<Value = Vec<Option<f64>>> {
    prop::collection::vec(prop::option::weighted(0.95, 1.0..1e3f64), 60..160)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn a_perfect_forecast_scores_zero(values in demand(), stride in 1..9usize) {
        let truth = values.clone();
        let mut told = Told::new(move |i| point(truth[i].unwrap_or(-1.0)));
        let result =
            evaluate(&mut told, &series(&values), &plan(15, stride, 20..values.len()), None, &mut no_clock)?;
        for scores in result.by_step.iter().flatten().chain(&result.overall) {
            prop_assert_eq!((scores.mae, scores.rmse, scores.smape_pct), (0.0, 0.0, 0.0));
            prop_assert!(scores.pinball.iter().all(|&loss| loss == 0.0));
            prop_assert!(scores.coverage.iter().all(|&share| share == 1.0));
        }
        // The means of three numbers are rounded.
        prop_assert!(result.signal.is_none_or(|s| s.mae < 1e-9 && s.pinball.iter().all(|&loss| loss < 1e-9)));
    }

    #[test]
    fn the_unit_of_demand_scales_mae_and_leaves_mase(values in demand(), stride in 1..9usize) {
        let plan = plan(15, stride, 25..values.len());
        let in_millis: Vec<_> = values.iter().map(|v| v.map(|v| 1024.0 * v)).collect();
        let run = |values: &[Option<f64>]| {
            let mut mean = registry::create("mean-6", STEP).unwrap();
            evaluate(mean.as_mut(), &series(values), &plan, None, &mut no_clock).unwrap()
        };
        let (plain, scaled) = (run(&values), run(&in_millis));
        prop_assert_eq!(plain.origins, scaled.origins);
        for (a, b) in [(plain.overall, scaled.overall), (plain.signal, scaled.signal)] {
            let (Some(a), Some(b)) = (a, b) else { continue };
            let near = |x: f64, y: f64| (x - y).abs() <= 1e-9 * (1.0 + y.abs());
            prop_assert!(near(1024.0 * a.mae, b.mae) && near(1024.0 * a.rmse, b.rmse));
            prop_assert!(near(a.mase.unwrap(), b.mase.unwrap()) && near(a.smape_pct, b.smape_pct));
            prop_assert!(near(1024.0 * a.pinball[I_95], b.pinball[I_95]));
            prop_assert_eq!(a.coverage, b.coverage);
        }
    }
}
