//! What holds for every decision whatever the numbers are?
//!
//! Each property runs a short random life of one workload: sizes, usage, demand, forecasts of any age and trust,
//! in any mode, with and without a `behavior`, with data missing here and there.

use proptest::prelude::*;
use sphere_core::*;
use sphere_scaling::hpa::*;
use sphere_scaling::safety::HoldPolicy;
use sphere_scaling::*;
use std::time::Duration;

const T0: i64 = 1_000_000;
const LONG_AGO: Timestamp = Timestamp::from_secs(1);
const Z: [f64; 17] = [
    -2.326, -1.645, -1.282, -0.674, 0.0, 0.253, 0.524, 0.842, 1.282, 1.645, 1.960, 2.326, 2.576, 2.878,
    3.090, 3.291, 3.719,
];

/// One moment in the life of a workload.
#[derive(Clone, Debug)]
struct Moment {
    after_s: u32,
    current: u32,
    cpu_pct: Option<u32>,
    demand: Option<f64>,
    capacity: Option<f64>,
    censored: bool,
    violated: Option<f64>,
    readable: bool,
    conflict: bool,
    forecast: Option<Foreseen>,
}

/// A forecast in a few numbers.
#[derive(Clone, Debug)]
struct Foreseen {
    age_s: i64,
    mean: f64,
    spread: f64,
    slope: f64,
    steps: usize,
    trusted: bool,
}

impl Foreseen {
    fn at(&self, now_s: i64, shift: f64) -> Forecast {
        let issued = now_s - self.age_s;
        let step = |k: i64| {
            let mean = self.mean * (1.0 + self.slope * k as f64).max(0.0) + shift;
            let quantiles = Z.map(|z| mean + self.spread * z);
            let demand = Distribution::rearranged(mean, quantiles, Some(0.0)).expect("finite numbers");
            StepForecast { at: Timestamp::from_secs(issued + 10 * k), demand }
        };
        Forecast {
            workload: None,
            issued_at: Timestamp::from_secs(issued),
            valid_until: Timestamp::from_secs(issued + 60),
            step_ms: 10_000,
            steps: (1..=self.steps as i64).map(step).collect(),
            model: "test".into(),
            model_version: 1,
            trust: Trust { trusted: self.trusted, ..Trust::default() },
            period: None,
        }
    }
}

fn number(limit: f64) -> impl Strategy<Value = f64> {
    prop_oneof![8 => 0.0..limit, 1 => Just(0.0), 1 => prop_oneof![
        Just(f64::NAN), Just(f64::INFINITY), Just(-1.0), Just(1e300), Just(1e-300)
    ]]
}

fn foreseen() -> impl Strategy<Value = Foreseen> {
    (-30..90i64, 0.0..400f64, 0.0..60f64, -0.05..0.05f64, 0..30usize, prop::bool::weighted(0.8)).prop_map(
        |(age_s, mean, spread, slope, steps, trusted)| Foreseen {
            age_s,
            mean,
            spread,
            slope,
            steps,
            trusted,
        },
    )
}

/// A forecast that may be used.
fn usable() -> impl Strategy<Value = Foreseen> {
    (0..10i64, 0.0..250f64, 1.0..30f64).prop_map(|(age_s, mean, spread)| Foreseen {
        age_s,
        mean,
        spread,
        slope: 0.0,
        steps: 30,
        trusted: true,
    })
}

fn moment() -> impl Strategy<Value = Moment> {
    let size = (0..40u32, prop::option::weighted(0.8, 0..400u32), prop::option::weighted(0.8, number(300.0)));
    let flags = (prop::bool::weighted(0.1), prop::bool::weighted(0.9), prop::bool::weighted(0.1));
    let more = (prop::option::weighted(0.9, number(30.0)), prop::option::of(number(1.0)), 0..200u32);
    (size, flags, more, prop::option::weighted(0.8, foreseen())).prop_map(
        |(
            (current, cpu_pct, demand),
            (censored, readable, conflict),
            (capacity, violated, after_s),
            forecast,
        )| Moment {
            after_s,
            current,
            cpu_pct,
            demand,
            capacity,
            censored,
            violated,
            readable,
            conflict,
            forecast,
        },
    )
}

fn rules() -> impl Strategy<Value = Rules> {
    let policy = (any::<bool>(), 1..120i32, 1..300u32).prop_map(|(pods, value, period_seconds)| Policy {
        kind: if pods { PolicyType::Pods } else { PolicyType::Percent },
        value,
        period_seconds,
    });
    let select = prop_oneof![Just(SelectPolicy::Max), Just(SelectPolicy::Min), Just(SelectPolicy::Disabled)];
    let policies = prop::option::of(prop::collection::vec(policy, 1..3));
    (prop::option::of(0..400u32), prop::option::of(select), policies).prop_map(
        |(stabilization_window_seconds, select_policy, policies)| Rules {
            stabilization_window_seconds,
            select_policy,
            policies,
            tolerance: None,
        },
    )
}

fn mode() -> impl Strategy<Value = Mode> {
    prop_oneof![Just(Mode::Observe), Just(Mode::Floor), Just(Mode::ScaleOut), Just(Mode::Full)]
}

fn spec() -> impl Strategy<Value = ScalingSpec> {
    let behavior = (prop::option::of(rules()), prop::option::of(rules()))
        .prop_map(|(scale_up, scale_down)| Behavior { scale_up, scale_down });
    let objective =
        prop_oneof![(0.1..100f64).prop_map(Objective::PriceRatio), (0.001..0.1f64).prop_map(Objective::Slo)];
    let policy = prop_oneof![3 => Just(PredictivePolicy::Price), 1 => Just(PredictivePolicy::Classic)];
    let fallback = (0..300u32, prop::option::of(0..60u32))
        .prop_map(|(fallback_after_s, fallback_replicas)| HoldPolicy { fallback_after_s, fallback_replicas });
    let bounds = (1..10u32, 0..30u32);
    (mode(), prop::option::of(behavior), objective, policy, fallback, prop::bool::weighted(0.1), bounds)
        .prop_map(|(mode, behavior, objective, policy, fallback, paused, (min, span))| ScalingSpec {
            mode,
            behavior,
            objective,
            policy,
            fallback,
            paused,
            startup_seconds: 40.0,
            ..ScalingSpec::new(min, min + span)
        })
}

fn autoscaler(spec: &ScalingSpec) -> Autoscaler {
    Autoscaler::new(spec.clone(), HpaConfig::default(), Duration::from_secs(2))
}

fn decide(a: &mut Autoscaler, now_s: i64, m: &Moment, forecast: Option<&Forecast>) -> Decision {
    let now = Timestamp::from_secs(now_s);
    let pods = vec![PodStatus::ready(LONG_AGO, LONG_AGO); m.current as usize];
    let sample = m.cpu_pct.map(|p| PodSample { value_milli: i64::from(p) * 10, at: now, window_ms: 30_000 });
    let readings = vec![PodReading { sample, request: Request::Milli(1000) }; pods.len()];
    let per_pod = [Reading::PerPod { pods: &readings, strays_milli: &[] }];
    let size = m.current as i32;
    let seen = Observation {
        now,
        current: m.current,
        ready: m.current,
        snapshot: Snapshot {
            scale: m.readable.then_some(Scale { spec_replicas: size, status_replicas: size }),
            selector: Selector::Valid,
            pods: &pods,
            readings: if m.cpu_pct.is_some() { &per_pod } else { &[] },
        },
        demand: m.demand,
        capacity_per_pod: m.capacity,
        utilization: m.cpu_pct.map(|p| f64::from(p) / 100.0),
        mean_ready: f64::from(m.current),
        censored: m.censored,
        violated_share: m.violated,
        conflict_with: m.conflict.then_some("another"),
        holds: &[],
    };
    a.decide(&seen, forecast)
}

/// Runs a life and gives every decision to `check`, with the autoscaler as it was before and is after it.
fn live(
    spec: &ScalingSpec,
    life: &[Moment],
    mut check: impl FnMut(
        &Autoscaler,
        &mut Autoscaler,
        i64,
        &Moment,
        Option<&Forecast>,
        &Decision,
    ) -> Result<(), TestCaseError>,
) -> Result<(), TestCaseError> {
    let (mut a, mut now_s) = (autoscaler(spec), T0);
    for m in life {
        now_s += i64::from(m.after_s);
        let forecast = m.forecast.as_ref().map(|f| f.at(now_s, 0.0));
        let before = a.clone();
        let d = decide(&mut a, now_s, m, forecast.as_ref());
        check(&before, &mut a, now_s, m, forecast.as_ref(), &d)?;
        let to = if d.applied { d.desired } else { d.current };
        a.record(d.at, d.current, to);
    }
    Ok(())
}

fn lives() -> impl Strategy<Value = Vec<Moment>> {
    prop::collection::vec(moment(), 1..6)
}

/// The size the reasons lead to, read in their order.
fn explained(d: &Decision, max: u32) -> u32 {
    d.reasons.iter().fold(d.current, |size, reason| match *reason {
        Reason::ForecastAhead { replicas, .. }
        | Reason::ReactiveFloor { replicas }
        | Reason::DemandCensored { replicas }
        | Reason::MetricProposal { replicas, .. }
        | Reason::ScaleUpStabilized { replicas }
        | Reason::ScaleDownStabilized { replicas }
        | Reason::Fallback { replicas } => replicas,
        Reason::ScaleUpLimited { limit } | Reason::ScaleDownLimited { limit } => limit,
        Reason::TooFewReplicas { min } => min,
        Reason::TooManyReplicas { max } => max,
        Reason::WithinTolerance
        | Reason::CooldownActive { .. }
        | Reason::MetricsMissing { .. }
        | Reason::ScalingDisabled => d.current,
        // Raising is allowed: it holds only what would have shrunk.
        Reason::MetricsPartial { .. } => size.max(d.current.min(max)),
        _ => size,
    })
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(400))]

    #[test]
    fn bounds_hold_and_a_target_at_zero_is_left_alone(spec in spec(), life in lives()) {
        live(&spec, &life, |_, _, _, m, _, d| {
            let bounds = spec.min_replicas..=spec.max_replicas;
            if m.current == 0 && m.readable {
                prop_assert_eq!((d.desired, d.predictive, d.applied), (0, None, false));
            } else if m.readable {
                prop_assert!(bounds.contains(&d.desired), "{:?}", d);
            } else {
                prop_assert_eq!((d.desired, d.applied), (m.current, false));
            }
            prop_assert!(d.predictive.is_none_or(|p| bounds.contains(&p)), "{:?}", d);
            Ok(())
        })?;
    }

    #[test]
    fn deciding_twice_gives_the_same_answer_and_leaves_the_same_state_also_after_a_restart(
        spec in spec(), life in lives(),
    ) {
        live(&spec, &life, |_, a, now_s, m, forecast, d| {
            let state = a.state();
            let text = serde_json::to_string(&state).unwrap();
            let restored: AutoscalerState = serde_json::from_str(&text).unwrap();
            prop_assert_eq!(&restored, &state);
            let mut restarted = Autoscaler::with_state(spec.clone(), HpaConfig::default(), restored);
            for again in [a, &mut restarted] {
                prop_assert_eq!(&decide(again, now_s, m, forecast), d);
                prop_assert_eq!(&again.state(), &state);
            }
            Ok(())
        })?;
    }

    #[test]
    fn the_reasons_lead_to_the_number(spec in spec(), life in lives()) {
        live(&spec, &life, |_, _, _, _, _, d| {
            prop_assert!(!d.reasons.is_empty());
            prop_assert_eq!(explained(d, spec.max_replicas), d.desired, "{:?}", d);
            Ok(())
        })?;
    }

    #[test]
    fn missing_data_never_scales_in(spec in spec(), life in lives()) {
        live(&spec, &life, |_, _, _, m, _, d| {
            let held = m.current.min(if m.readable { spec.max_replicas } else { u32::MAX });
            if m.cpu_pct.is_none() || !m.readable {
                prop_assert!(d.desired >= held, "{:?}", d);
            }
            let measured = m.demand.is_some_and(|x| x.is_finite() && x >= 0.0);
            // Above the maximum no metric is looked at; the size goes to the maximum and no further.
            let unseen = m.cpu_pct.is_none() && m.current <= spec.max_replicas;
            if !measured || m.censored || unseen {
                prop_assert!(d.predictive.is_none_or(|p| p >= held), "{:?}", d);
            }
            Ok(())
        })?;
    }

    #[test]
    fn without_a_forecast_that_may_be_used_the_answer_is_exactly_the_reactive_one(spec in spec(), life in lives()) {
        live(&spec, &life, |before, _, now_s, m, _, d| {
            if d.predictive.is_none() {
                let alone = decide(&mut before.clone(), now_s, m, None);
                prop_assert_eq!((d.desired, d.reactive), (alone.desired, alone.reactive));
                prop_assert!(d.reactive.is_none() || d.reactive == Some(d.desired), "{:?}", d);
            }
            Ok(())
        })?;
    }

    #[test]
    fn nothing_is_applied_when_observing_paused_or_contested(spec in spec(), life in lives()) {
        live(&spec, &life, |_, a, _, m, _, d| {
            if spec.mode == Mode::Observe || spec.paused || m.conflict {
                prop_assert_eq!((d.applied, d.mode, a.floor(d)), (false, Mode::Observe, None));
            }
            prop_assert!(d.mode <= spec.mode);
            if let Some(floor) = a.floor(d) {
                prop_assert!((spec.min_replicas..=spec.max_replicas).contains(&floor));
                prop_assert!(d.predictive.is_none_or(|p| floor >= p));
            }
            Ok(())
        })?;
    }

    #[test]
    fn with_metrics_an_explicit_policy_bounds_every_step(
        mode in mode(), current in 2..20u32, value in 1..5i32, cpu_pct in 0..300u32, foreseen in usable(),
    ) {
        let rules = Rules {
            stabilization_window_seconds: Some(0),
            policies: Some(vec![Policy { kind: PolicyType::Pods, value, period_seconds: 60 }]),
            ..Rules::default()
        };
        let behavior = Behavior { scale_up: Some(rules.clone()), scale_down: Some(rules) };
        let spec = ScalingSpec { mode, behavior: Some(behavior), startup_seconds: 40.0, ..ScalingSpec::new(2, 20) };
        let m = quiet(current, cpu_pct);
        let d = decide(&mut autoscaler(&spec), T0, &m, Some(&foreseen.at(T0, 0.0)));
        prop_assert!(d.desired.abs_diff(current) <= value as u32, "{:?}", d);
        prop_assert!(d.predictive.is_some_and(|p| p.abs_diff(current) <= value as u32), "{:?}", d);
    }

    /// Domain: the same bell-shaped forecast moved up as a whole, everything else the same.
    #[test]
    fn a_forecast_of_more_demand_never_gives_fewer_replicas(
        spec in spec(), current in 1..30u32, cpu_pct in 0..300u32, foreseen in usable(), shift in 0.0..100f64,
    ) {
        let m = quiet(current, cpu_pct);
        let size = |shift| decide(&mut autoscaler(&spec), T0, &m, Some(&foreseen.at(T0, 20.0 + shift))).desired;
        prop_assert!(size(0.0) <= size(shift), "{} {}", size(0.0), size(shift));
    }

    /// Domain: the same readable target, all pods with a sample.
    #[test]
    fn higher_usage_never_gives_fewer_replicas(
        spec in spec(), current in 1..30u32, cpu_pct in 0..300u32, more in 0..100u32, foreseen in prop::option::of(usable()),
    ) {
        let forecast = foreseen.map(|f| f.at(T0, 0.0));
        // Utilisation teaches the capacity of a pod as well, so that it is kept out of this.
        let size = |pct| decide(&mut autoscaler(&spec), T0, &Moment { capacity: None, ..quiet(current, pct) }, forecast.as_ref()).desired;
        prop_assert!(size(cpu_pct) <= size(cpu_pct + more));
        let spec = ScalingSpec { capacity_per_pod: Some(10.0), ..spec };
        let planned = |pct| decide(&mut autoscaler(&spec), T0, &Moment { demand: None, ..quiet(current, pct) }, forecast.as_ref()).desired;
        prop_assert!(planned(cpu_pct) <= planned(cpu_pct + more));
    }
}

/// A moment with everything measured.
fn quiet(current: u32, cpu_pct: u32) -> Moment {
    Moment {
        after_s: 0,
        current,
        cpu_pct: Some(cpu_pct),
        demand: Some(50.0),
        capacity: Some(10.0),
        censored: false,
        violated: None,
        readable: true,
        conflict: false,
        forecast: None,
    }
}
