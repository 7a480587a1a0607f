//! What holds for a decision, one case at a time.

use super::*;
use crate::hpa::*;
use crate::safety::HoldPolicy;

const T0: i64 = 1_000_000;
const CAPACITY: f64 = 10.0;
const LONG_AGO: Timestamp = Timestamp::from_secs(1);

fn at(seconds: i64) -> Timestamp {
    Timestamp::from_secs(T0 + seconds)
}

/// Forty steps of ten seconds from `issued`, all around `demand`.
fn forecast(issued: i64, demand: f64) -> Forecast {
    const Z: [f64; 17] = [
        -2.326, -1.645, -1.282, -0.674, 0.0, 0.253, 0.524, 0.842, 1.282, 1.645, 1.960, 2.326, 2.576, 2.878,
        3.090, 3.291, 3.719,
    ];
    let distribution =
        Distribution::rearranged(demand, Z.map(|z| demand * (1.0 + 0.05 * z)), Some(0.0)).unwrap();
    let step = |k: i64| StepForecast { at: at(issued + 10 * k), demand: distribution };
    Forecast {
        workload: None,
        issued_at: at(issued),
        valid_until: at(issued + 60),
        step_ms: 10_000,
        steps: (1..=40).map(step).collect(),
        model: "test".into(),
        model_version: 1,
        trust: sphere_core::Trust { trusted: true, ..Default::default() },
        period: None,
    }
}

/// What is known of a workload: everything else follows.
#[derive(Clone, Copy)]
struct Seen {
    now: i64,
    current: u32,
    /// CPU in percent of requests; absent: the metrics API does not answer.
    cpu_pct: Option<i64>,
    demand: Option<f64>,
    capacity: Option<f64>,
    censored: bool,
    violated: Option<f64>,
    scale: bool,
    conflict: bool,
}

const SEEN: Seen = Seen {
    now: 0,
    current: 8,
    cpu_pct: Some(80),
    demand: Some(60.0),
    capacity: Some(CAPACITY),
    censored: false,
    violated: None,
    scale: true,
    conflict: false,
};

fn decide(autoscaler: &mut Autoscaler, seen: Seen, forecast: Option<&Forecast>) -> Decision {
    let pods = vec![PodStatus::ready(LONG_AGO, LONG_AGO); seen.current as usize];
    let readings: Vec<PodReading> = pods
        .iter()
        .map(|_| PodReading {
            sample: seen.cpu_pct.map(|pct| PodSample {
                value_milli: pct * 10,
                at: at(seen.now),
                window_ms: 30_000,
            }),
            request: Request::Milli(1000),
        })
        .collect();
    let per_pod = [Reading::PerPod { pods: &readings, strays_milli: &[] }];
    let size = signed(seen.current);
    let decision = autoscaler.decide(
        &Observation {
            now: at(seen.now),
            current: seen.current,
            ready: seen.current,
            snapshot: Snapshot {
                scale: seen.scale.then_some(Scale { spec_replicas: size, status_replicas: size }),
                selector: Selector::Valid,
                pods: &pods,
                readings: if seen.cpu_pct.is_some() { &per_pod } else { &[] },
            },
            demand: seen.demand,
            capacity_per_pod: seen.capacity,
            utilization: None,
            mean_ready: f64::from(seen.current),
            censored: seen.censored,
            violated_share: seen.violated,
            conflict_with: seen.conflict.then_some("HorizontalPodAutoscaler/web"),
            holds: &[],
        },
        forecast,
    );
    assert!(!decision.reasons.is_empty());
    decision
}

fn autoscaler(spec: ScalingSpec) -> Autoscaler {
    Autoscaler::new(spec, HpaConfig::default(), Duration::from_secs(2))
}

fn spec(mode: Mode) -> ScalingSpec {
    ScalingSpec { mode, startup_seconds: 40.0, ..ScalingSpec::new(2, 20) }
}

fn names(decision: &Decision) -> Vec<&'static str> {
    decision.reasons.iter().map(Reason::name).collect()
}

/// One decision of a fresh autoscaler.
fn once(spec: ScalingSpec, seen: Seen, forecast: Option<&Forecast>) -> Decision {
    decide(&mut autoscaler(spec), seen, forecast)
}

#[test]
fn each_mode_combines_forecast_and_hpa_in_its_own_way() {
    // HPA at 80 % of a target of 80 %: 8. The forecast asks for 4 or 15 pods and some reserve.
    let (low, high) = (forecast(0, 30.0), forecast(0, 140.0));
    for (mode, forecast, wanted, applied) in [
        (Mode::Full, &low, 4..=7, true),
        (Mode::Full, &high, 14..=18, true),
        (Mode::ScaleOut, &low, 8..=8, false),
        (Mode::ScaleOut, &high, 14..=18, true),
        (Mode::Floor, &low, 8..=8, true),
        (Mode::Floor, &high, 14..=18, true),
        (Mode::Observe, &low, 4..=7, false),
        (Mode::Observe, &high, 14..=18, false),
    ] {
        let d = once(spec(mode), SEEN, Some(forecast));
        assert!(wanted.contains(&d.desired), "{mode:?}: {d:?}");
        assert_eq!(d.applied, applied, "{mode:?}: {d:?}");
        assert_eq!((d.mode, d.reactive), (mode, Some(8)));
    }
}

#[test]
fn in_floor_the_minimum_to_set_is_the_predictive_number_and_goes_back_without_one() {
    let mut a = autoscaler(spec(Mode::Floor));
    let d = decide(&mut a, SEEN, Some(&forecast(0, 140.0)));
    assert_eq!(a.floor(&d), d.predictive);
    assert!(d.predictive > Some(13));
    let d = decide(&mut a, Seen { now: 10, ..SEEN }, None);
    assert_eq!((d.predictive, d.mode, a.floor(&d)), (None, Mode::Floor, Some(2)));
    let mut full = autoscaler(spec(Mode::Full));
    let d = decide(&mut full, SEEN, Some(&forecast(0, 140.0)));
    assert_eq!(full.floor(&d), None);
}

#[test]
fn a_forecast_that_may_not_be_used_leaves_the_reactive_answer() {
    let good = forecast(0, 30.0);
    let other = "shop/Deployment/other".parse().unwrap();
    let untrusted = sphere_core::Trust { relative_loss: Some(4.0), ..Default::default() };
    let unusable = [
        (None, SEEN, "NoForecast"),
        (Some(Forecast { valid_until: at(-1), ..good.clone() }), SEEN, "ForecastExpired"),
        (Some(Forecast { trust: untrusted, ..good.clone() }), SEEN, "ForecastNotTrusted"),
        (Some(Forecast { steps: good.steps[..3].to_vec(), ..good.clone() }), SEEN, "HorizonTooShort"),
        (Some(Forecast { workload: Some(other), ..good.clone() }), SEEN, "ForecastImplausible"),
        (Some(forecast(11, 30.0)), SEEN, "ForecastImplausible"),
        (Some(good.clone()), Seen { capacity: None, ..SEEN }, "CapacityUnknown"),
        (Some(good.clone()), Seen { capacity: Some(0.0), ..SEEN }, "CapacityUnknown"),
        (Some(good.clone()), Seen { capacity: Some(f64::NAN), ..SEEN }, "CapacityUnknown"),
        (Some(good), Seen { capacity: Some(-3.0), ..SEEN }, "CapacityUnknown"),
    ];
    for (forecast, seen, reason) in unusable {
        for mode in [Mode::Observe, Mode::Floor, Mode::ScaleOut, Mode::Full] {
            for cpu_pct in [20, 80, 160] {
                let seen = Seen { cpu_pct: Some(cpu_pct), ..seen };
                let named = || autoscaler(spec(mode)).for_workload("shop/Deployment/web".parse().unwrap());
                let d = decide(&mut named(), seen, forecast.as_ref());
                let reactive = decide(&mut named(), seen, None);
                assert_eq!(
                    (d.desired, d.predictive),
                    (reactive.reactive.unwrap(), None),
                    "{reason} {mode:?}"
                );
                assert!(names(&d).contains(&reason), "{d:?}");
                assert!(d.mode <= Mode::ScaleOut);
            }
        }
    }
}

#[test]
fn a_forecast_from_the_future_does_not_stop_learning_for_ever() {
    let mut a = autoscaler(spec(Mode::Full));
    decide(&mut a, SEEN, Some(&forecast(100_000, 30.0)));
    assert_eq!(a.state.learnt, None);
    // A state saved by a version that believed it recovers as well.
    a.state.learnt = Some(at(100_000));
    decide(&mut a, SEEN, Some(&forecast(0, 30.0)));
    assert_eq!(a.state.learnt, Some(at(0)));
}

#[test]
fn nothing_is_applied_when_observing_paused_or_contested_and_the_answer_stays_that_of_the_mode() {
    let f = forecast(0, 30.0);
    for mode in [Mode::Floor, Mode::ScaleOut, Mode::Full] {
        let free = once(spec(mode), SEEN, Some(&f));
        let paused = once(ScalingSpec { paused: true, ..spec(mode) }, SEEN, Some(&f));
        let contested = once(spec(mode), Seen { conflict: true, ..SEEN }, Some(&f));
        for (d, reason) in [(paused, "Paused"), (contested, "Conflict")] {
            assert_eq!((d.applied, d.mode, d.desired), (false, Mode::Observe, free.desired), "{mode:?}");
            assert!(names(&d).contains(&reason));
        }
    }
}

#[test]
fn missing_data_never_scales_in() {
    let low = forecast(0, 5.0);
    for (what, seen) in [
        ("no metrics", Seen { cpu_pct: None, ..SEEN }),
        ("no demand", Seen { demand: None, ..SEEN }),
        ("demand is NaN", Seen { demand: Some(f64::NAN), ..SEEN }),
        ("negative demand", Seen { demand: Some(-1.0), ..SEEN }),
        ("no scale", Seen { scale: false, ..SEEN }),
        ("no scale, above the maximum", Seen { scale: false, current: 30, ..SEEN }),
        ("at the limit", Seen { censored: true, ..SEEN }),
    ] {
        for mode in [Mode::Observe, Mode::Floor, Mode::ScaleOut, Mode::Full] {
            let d = once(spec(mode), seen, Some(&low));
            assert!(d.desired >= seen.current, "{what} in {mode:?}: {d:?}");
            assert!(d.predictive.is_none_or(|p| p >= seen.current), "{what} in {mode:?}: {d:?}");
        }
    }
}

#[test]
fn with_an_unreadable_scale_nothing_is_touched() {
    for mode in [Mode::Floor, Mode::ScaleOut, Mode::Full] {
        let d = once(spec(mode), Seen { scale: false, ..SEEN }, Some(&forecast(0, 190.0)));
        assert_eq!((d.desired, d.predictive, d.applied), (8, None, false), "{d:?}");
    }
}

#[test]
fn outside_its_bounds_the_size_comes_back_to_them() {
    for mode in [Mode::Observe, Mode::Floor, Mode::ScaleOut, Mode::Full] {
        let above = once(spec(mode), Seen { current: 30, ..SEEN }, Some(&forecast(0, 30.0)));
        assert_eq!(above.desired, 20, "no metric was looked at: no further down than the maximum");
        let below = once(spec(mode), Seen { current: 1, ..SEEN }, Some(&forecast(0, 5.0)));
        assert_eq!(below.desired, 2);
        let below = once(spec(mode), Seen { current: 1, ..SEEN }, Some(&forecast(0, 140.0)));
        assert!(below.desired >= 14, "growth need not wait: {below:?}");
    }
}

#[test]
fn a_target_its_owner_scaled_to_zero_is_left_alone() {
    let fallback = HoldPolicy { fallback_after_s: 0, fallback_replicas: Some(5) };
    for mode in [Mode::Observe, Mode::Floor, Mode::ScaleOut, Mode::Full] {
        for cpu_pct in [None, Some(80)] {
            let seen = Seen { current: 0, cpu_pct, ..SEEN };
            let d = once(ScalingSpec { fallback, ..spec(mode) }, seen, Some(&forecast(0, 140.0)));
            assert_eq!((d.desired, d.predictive, d.applied), (0, None, false), "{d:?}");
            assert_eq!(names(&d)[0], "ScalingDisabled");
        }
    }
}

#[test]
fn after_the_stated_time_without_metrics_the_fallback_is_a_lower_bound() {
    let fallback = HoldPolicy { fallback_after_s: 180, fallback_replicas: Some(12) };
    let blind = Seen { cpu_pct: None, demand: None, ..SEEN };
    for mode in [Mode::Observe, Mode::Floor, Mode::ScaleOut, Mode::Full] {
        let mut a = autoscaler(ScalingSpec { fallback, ..spec(mode) });
        assert_eq!(decide(&mut a, blind, None).desired, 8);
        // A scale that can not be read, too, is no sign that metrics are back.
        decide(&mut a, Seen { now: 100, scale: false, ..blind }, None);
        assert_eq!(decide(&mut a, Seen { now: 179, ..blind }, None).desired, 8);
        let d = decide(&mut a, Seen { now: 180, ..blind }, None);
        assert_eq!((d.desired, d.applied), (12, mode != Mode::Observe), "{d:?}");
        assert_eq!(a.floor(&d), (mode == Mode::Floor).then_some(12));
        assert_eq!(decide(&mut a, Seen { now: 181, current: 15, ..blind }, None).desired, 15);
        let more = decide(&mut a, Seen { now: 182, ..blind }, Some(&forecast(180, 160.0)));
        assert!(more.desired >= 16, "a forecast may still raise: {more:?}");
        assert_eq!(decide(&mut a, Seen { now: 190, ..SEEN }, None).desired, 8, "metrics are back");
    }
}

#[test]
fn a_fallback_beyond_the_maximum_is_cut_and_explained_by_the_number_applied() {
    let fallback = HoldPolicy { fallback_after_s: 0, fallback_replicas: Some(500) };
    let d = once(ScalingSpec { fallback, ..spec(Mode::Full) }, Seen { cpu_pct: None, ..SEEN }, None);
    assert_eq!(d.desired, 20);
    assert!(d.reasons.contains(&Reason::Fallback { replicas: 20 }), "{d:?}");
}

#[test]
fn explicit_policies_bind_predictive_changes_in_both_directions_with_and_without_metrics() {
    let rules = |value| Rules {
        stabilization_window_seconds: Some(0),
        policies: Some(vec![Policy { kind: PolicyType::Pods, value, period_seconds: 60 }]),
        ..Rules::default()
    };
    let behavior = Some(Behavior { scale_up: Some(rules(3)), scale_down: Some(rules(1)) });
    for mode in [Mode::Observe, Mode::Floor, Mode::ScaleOut, Mode::Full] {
        for cpu_pct in [None, Some(80)] {
            let limited = ScalingSpec { behavior: behavior.clone(), ..spec(mode) };
            let d = once(limited, Seen { cpu_pct, ..SEEN }, Some(&forecast(0, 140.0)));
            assert_eq!((d.desired, d.predictive), (11, Some(11)), "{d:?}");
            assert!(d.reasons.contains(&Reason::ScaleUpLimited { limit: 11 }));
        }
    }
    let mut a = autoscaler(ScalingSpec { behavior, ..spec(Mode::Full) });
    let d = decide(&mut a, SEEN, Some(&forecast(0, 20.0)));
    assert_eq!(d.desired, 7);
    a.record(at(0), 8, 7);
    let d = decide(&mut a, Seen { now: 30, current: 7, ..SEEN }, Some(&forecast(30, 20.0)));
    assert_eq!(d.desired, 7, "one pod a minute: {d:?}");
    let d = decide(&mut a, Seen { now: 60, current: 7, ..SEEN }, Some(&forecast(60, 20.0)));
    assert_eq!(d.desired, 6);
}

#[test]
fn an_explicit_window_holds_what_was_recommended_also_by_the_hpa() {
    let down = Rules { stabilization_window_seconds: Some(300), ..Rules::default() };
    let behavior = Some(Behavior { scale_up: None, scale_down: Some(down) });
    let mut a = autoscaler(ScalingSpec { behavior, ..spec(Mode::Full) });
    // The HPA asks for 16 while there is no forecast; the one that comes must not undercut it at once.
    decide(&mut a, Seen { cpu_pct: Some(160), ..SEEN }, None);
    a.record(at(0), 8, 16);
    let seen = |now| Seen { now, current: 16, cpu_pct: Some(20), ..SEEN };
    let d = decide(&mut a, seen(299), Some(&forecast(299, 30.0)));
    assert_eq!(d.desired, 16, "{d:?}");
    assert!(names(&d).contains(&"ScaleDownStabilized"));
    assert!(decide(&mut a, seen(301), Some(&forecast(301, 30.0))).desired < 8);
}

#[test]
fn a_window_does_not_hold_a_size_above_the_maximum() {
    let down = Rules { stabilization_window_seconds: Some(300), ..Rules::default() };
    let behavior = Some(Behavior { scale_up: None, scale_down: Some(down) });
    let d = once(
        ScalingSpec { behavior, ..spec(Mode::Full) },
        Seen { current: 30, ..SEEN },
        Some(&forecast(0, 30.0)),
    );
    assert_eq!((d.desired, d.predictive), (20, Some(20)), "{d:?}");
}

#[test]
fn a_scale_in_keeps_what_is_needed_until_the_lead_time() {
    let mut falling = forecast(0, 30.0);
    falling.steps[1].demand = forecast(0, 70.0).steps[0].demand;
    let d = once(spec(Mode::Full), Seen { current: 12, cpu_pct: Some(60), ..SEEN }, Some(&falling));
    assert!((7..=9).contains(&d.desired), "{d:?}");
    assert!(matches!(d.reasons[0], Reason::ForecastAhead { lead_s: 20.0, .. }), "{d:?}");
}

#[test]
fn pods_at_their_limit_order_more_whatever_the_forecast_says() {
    let d = once(spec(Mode::Full), Seen { censored: true, ..SEEN }, Some(&forecast(0, 30.0)));
    assert_eq!(d.desired, 13, "8 pods in use to 65 %");
    assert!(d.reasons.contains(&Reason::DemandCensored { replicas: 13 }));
}

#[test]
fn pods_ordered_to_find_out_stay_until_they_have_served() {
    let mut a = autoscaler(spec(Mode::Full));
    let low = |at| forecast(at, 30.0);
    let first = decide(&mut a, Seen { censored: true, ..SEEN }, Some(&low(0)));
    assert_eq!(first.desired, 13);
    // Their start alone takes the others off their limit, and what was measured there says that 4 are enough.
    for now in [15, 30] {
        let held = decide(&mut a, Seen { now, current: 13, ..SEEN }, Some(&low(now)));
        assert_eq!(held.desired, 13, "{held:?}");
        assert!(held.reasons.contains(&Reason::DemandCensored { replicas: 13 }));
    }
    let served = decide(&mut a, Seen { now: 60, current: 13, ..SEEN }, Some(&low(60)));
    assert!(served.desired < 8, "{served:?}");
    assert_eq!(a.state.scouts, None);

    let mut limited = autoscaler(spec(Mode::Full));
    decide(&mut limited, Seen { censored: true, ..SEEN }, Some(&low(0)));
    let kept = decide(&mut limited, Seen { now: 15, ..SEEN }, Some(&low(15)));
    assert_eq!(kept.desired, 8, "an order that was not carried out is not repeated");
}

#[test]
fn an_slo_learns_once_per_forecast_and_only_from_sizes_that_are_ordered() {
    let slo = |mode| ScalingSpec { objective: Objective::Slo(0.01), ..spec(mode) };
    let f = forecast(0, 60.0);
    let seen = Seen { violated: Some(0.3), ..SEEN };
    let mut a = autoscaler(slo(Mode::Full));
    decide(&mut a, seen, Some(&f));
    let learnt = (a.state.slo.clone(), a.state.price.clone());
    assert_ne!(learnt.0, SloLoop::new(0.01).ok());
    decide(&mut a, Seen { now: 5, ..seen }, Some(&f));
    assert_eq!(
        (a.state.slo.clone(), a.state.price.clone()),
        learnt,
        "the same forecast teaches nothing more"
    );
    decide(&mut a, Seen { now: 10, ..seen }, Some(&forecast(10, 60.0)));
    assert_ne!(a.state.slo, learnt.0);
    let mut watching = autoscaler(slo(Mode::Observe));
    decide(&mut watching, seen, Some(&f));
    assert_eq!(watching.state.slo, SloLoop::new(0.01).ok());
    decide(&mut a, Seen { now: 20, violated: Some(f64::NAN), ..SEEN }, Some(&forecast(20, 60.0)));
    assert!(a.slo().unwrap().price_ratio().is_finite());
}

#[test]
fn a_changed_objective_counts_after_a_restart_and_the_same_slo_keeps_its_price() {
    let slo = ScalingSpec { objective: Objective::Slo(0.01), ..spec(Mode::Full) };
    let mut a = autoscaler(slo.clone());
    decide(&mut a, Seen { violated: Some(1.0), ..SEEN }, Some(&forecast(0, 60.0)));
    let restart = |spec: ScalingSpec| Autoscaler::with_state(spec, HpaConfig::default(), a.state());
    assert_eq!(restart(slo.clone()).state(), a.state());
    let dearer = restart(ScalingSpec { objective: Objective::Slo(0.002), ..slo });
    assert_eq!(dearer.slo().map(SloLoop::target), Some(0.002));
    let priced = restart(ScalingSpec { objective: Objective::PriceRatio(7.0), ..spec(Mode::Full) });
    assert_eq!(
        (priced.slo().is_none(), priced.price().price_pods()),
        (true, 7.0 * priced.price().mean_fleet())
    );
}

#[test]
fn absurd_numbers_neither_panic_nor_leave_the_bounds_nor_take_for_ever() {
    let zero = Distribution::new(0.0, [0.0; 17]).unwrap();
    let mut idle = forecast(0, 1.0);
    idle.steps.iter_mut().for_each(|s| s.demand = zero);
    let d = once(spec(Mode::Full), Seen { demand: Some(0.0), cpu_pct: Some(0), ..SEEN }, Some(&idle));
    assert_eq!(d.desired, 2, "a forecast of nothing is the minimum: {d:?}");
    for capacity in [f64::MIN_POSITIVE, 1e-300, 1e-9, 1e300, f64::MAX] {
        for demand in [1e-300, 1.0, 1e15, 1e300] {
            let wide = ScalingSpec { startup_seconds: f64::NAN, ..spec(Mode::Full) };
            let wide = ScalingSpec { max_replicas: i32::MAX as u32, ..wide };
            let mut a = autoscaler(wide);
            a.pod_started(Duration::MAX);
            let seen = Seen { capacity: Some(capacity), ..SEEN };
            for k in 0..3 {
                decide(&mut a, Seen { now: 10 * k, ..seen }, Some(&forecast(10 * k, demand)));
            }
            a.rehearse(demand, &forecast(0, demand).steps[0].demand, capacity, usize::MAX);
        }
    }
}

#[test]
fn the_scale_read_counts_where_the_caller_disagrees_with_it() {
    // A caller that still believes in 8 replicas while the owner has scaled to zero.
    let mut a = autoscaler(spec(Mode::Full));
    let snapshot = Snapshot {
        scale: Some(Scale { spec_replicas: 0, status_replicas: 0 }),
        selector: Selector::Valid,
        pods: &[],
        readings: &[],
    };
    let seen = Observation {
        now: at(0),
        current: 8,
        ready: 8,
        snapshot,
        demand: Some(60.0),
        capacity_per_pod: Some(CAPACITY),
        utilization: None,
        mean_ready: 8.0,
        censored: false,
        violated_share: None,
        conflict_with: None,
        holds: &[],
    };
    let d = a.decide(&seen, Some(&forecast(0, 60.0)));
    assert_eq!((d.current, d.desired, d.applied), (0, 0, false));
}

#[test]
fn the_founding_rule_with_too_few_steps_is_reactive() {
    let classic = ScalingSpec { policy: PredictivePolicy::Classic, ..spec(Mode::Full) };
    let one_step = Forecast { steps: forecast(0, 30.0).steps[4..5].to_vec(), ..forecast(0, 30.0) };
    let d = once(classic.clone(), Seen { cpu_pct: Some(160), ..SEEN }, Some(&one_step));
    assert_eq!((d.predictive, d.desired), (None, 16), "{d:?}");
    let d = once(classic, Seen { cpu_pct: Some(160), ..SEEN }, Some(&forecast(0, 60.0)));
    assert_eq!(d.predictive, Some(8), "75 % a pod is above 70 %, but 8 carry it: {d:?}");
}
