//! What holds for the autoscaler whatever the numbers are?

use proptest::prelude::*;
use sphere_core::Timestamp;
use sphere_scaling::hpa::*;

const NOW: Timestamp = Timestamp::from_secs(1_000_000);
const LONG_AGO: Timestamp = Timestamp::from_secs(1);
const REQUEST: i64 = 1000;

/// A pod as one metric sees it, at `usage` if it has a sample.
type Metered = (PodStatus, PodReading);

fn reading(usage: Option<i64>) -> PodReading {
    let sample = usage.map(|value_milli| PodSample { value_milli, at: NOW, window_ms: 30_000 });
    PodReading { sample, request: Request::Milli(REQUEST) }
}

fn steady(usage: Option<i64>) -> Metered {
    (PodStatus::ready(LONG_AGO, LONG_AGO), reading(usage))
}

/// Any pod that is not going away: counted, missing, pending or starting.
fn present_pod() -> impl Strategy<Value = Metered> {
    (0..4u8, 0..4000i64).prop_map(|(kind, usage)| match kind {
        0 | 1 => steady(Some(usage)),
        2 => steady(None),
        _ => (PodStatus::starting(NOW), reading(Some(usage))),
    })
}

fn policy() -> impl Strategy<Value = Policy> {
    (any::<bool>(), 1..200i32, 1..1800u32).prop_map(|(pods, value, period_seconds)| Policy {
        kind: if pods { PolicyType::Pods } else { PolicyType::Percent },
        value,
        period_seconds,
    })
}

fn rules() -> impl Strategy<Value = Option<Rules>> {
    let select = prop_oneof![Just(SelectPolicy::Max), Just(SelectPolicy::Min), Just(SelectPolicy::Disabled)];
    let policies = prop::option::of(prop::collection::vec(policy(), 1..3));
    prop::option::of((prop::option::of(0..600u32), prop::option::of(select), policies).prop_map(
        |(stabilization_window_seconds, select_policy, policies)| Rules {
            stabilization_window_seconds,
            select_policy,
            policies,
            tolerance: None,
        },
    ))
}

fn behavior() -> impl Strategy<Value = Option<Behavior>> {
    let both = (rules(), rules()).prop_map(|(scale_up, scale_down)| Behavior { scale_up, scale_down });
    prop::option::of(both)
}

/// Recent proposals and changes, as a running autoscaler has them.
fn state() -> impl Strategy<Value = HpaState> {
    let past = |seconds: i64| Timestamp::from_secs(1_000_000 - seconds);
    let log = prop::collection::vec((0..60i32, 0..700i64), 0..6).prop_map(move |all| {
        let entry = |(replicas, age)| Recommendation { replicas, at: past(age) };
        RecommendationLog(all.into_iter().map(entry).collect())
    });
    let events = move || {
        prop::collection::vec((1..20i32, 0..2000i64), 0..4).prop_map(move |all| {
            let event = |(change, age)| ScaleEvent { change, at: past(age), outdated: false };
            EventLog(all.into_iter().map(event).collect())
        })
    };
    (prop::option::of(log), events(), events()).prop_map(|(recommendations, up, down)| HpaState {
        recommendations,
        events: ScaleEvents { up, down },
        ..HpaState::default()
    })
}

fn spec(min: i32, max: i32, percent: i32, behavior: Option<Behavior>) -> HpaSpec {
    HpaSpec { behavior, ..HpaSpec::cpu(min, max, percent) }
}

fn evaluate(hpa: &mut Hpa, current: i32, pods: &[Metered]) -> Evaluation {
    let (status, readings): (Vec<_>, Vec<_>) = pods.iter().copied().unzip();
    hpa.evaluate(
        NOW,
        &Snapshot {
            scale: Some(Scale { spec_replicas: current, status_replicas: current }),
            selector: Selector::Valid,
            pods: &status,
            readings: &[Reading::PerPod { pods: &readings, strays_milli: &[] }],
        },
    )
}

/// What CPU utilisation alone asks for, before windows and limits.
fn proposal(current: i32, pods: &[Metered], percent: i32) -> Option<i32> {
    let (status, readings): (Vec<_>, Vec<_>) = pods.iter().copied().unzip();
    let metered = PerPod {
        now: NOW,
        current,
        pods: &status,
        readings: &readings,
        strays_milli: &[],
        cpu: true,
        tolerance: Tolerance { down: 0.1, up: 0.1 },
        config: &HpaConfig::default(),
    };
    metered.utilization(percent).ok().map(|p| p.replicas)
}

proptest! {
    #[test]
    fn metrics_never_lead_out_of_bounds(
        pods in prop::collection::vec(present_pod(), 1..20), current in 1..60i32, min in 1..30i32,
        span in 0..40i32, percent in 1..200i32, behavior in behavior(), state in state(),
    ) {
        let max = min + span;
        let mut hpa = Hpa::with_state(spec(min, max, percent, behavior), HpaConfig::default(), state);
        let answer = evaluate(&mut hpa, current, &pods);
        if let Some(desired) = answer.desired {
            prop_assert!((min..=max).contains(&desired), "{answer:?}");
        }
        if answer.branch == Branch::Metrics {
            prop_assert!((min..=max).contains(&current));
        }
    }

    /// The domain in which this is true: as many pods present (not ignored) as replicas asked for, no strays.
    /// With fewer pods seen, a ratio above 1 may lower the count; with more, one below 1 may raise it.
    #[test]
    fn more_usage_never_gives_fewer_replicas(
        pods in prop::collection::vec((present_pod(), 0..3000i64), 1..20), percent in 1..200i32,
        behavior in behavior(), state in state(),
    ) {
        let current = pods.len() as i32;
        let less: Vec<Metered> = pods.iter().map(|(pod, _)| *pod).collect();
        let more: Vec<Metered> = pods.iter().map(|((status, reading), extra)| {
            let mut reading = *reading;
            if let Some(sample) = &mut reading.sample {
                sample.value_milli += extra;
            }
            (*status, reading)
        }).collect();
        prop_assert!(proposal(current, &less, percent) <= proposal(current, &more, percent));
        let hpa = Hpa::with_state(spec(1, 100, percent, behavior), HpaConfig::default(), state);
        let (low, high) = (evaluate(&mut hpa.clone(), current, &less), evaluate(&mut hpa.clone(), current, &more));
        prop_assert!(low.desired <= high.desired, "{low:?} {high:?}");
    }

    /// Hiding samples never lowers the answer below both the size and the answer with them, as long as a
    /// hidden pod used no more than what the HPA assumes of a missing one: the larger of target and request.
    #[test]
    fn hidden_samples_never_scale_in(
        pods in prop::collection::vec((0..2000i64, any::<bool>()), 2..20), percent in 1..200i32,
    ) {
        let current = pods.len() as i32;
        let assumed = REQUEST * i64::from(percent.max(100)) / 100;
        let used = |usage: i64, hidden: bool| if hidden { usage.min(assumed) } else { usage };
        let all: Vec<Metered> = pods.iter().map(|&(u, hidden)| steady(Some(used(u, hidden)))).collect();
        let seen: Vec<Metered> = pods.iter().map(|&(u, hidden)| steady((!hidden).then_some(u))).collect();
        let with_all = proposal(current, &all, percent).unwrap();
        if let Some(without) = proposal(current, &seen, percent) {
            prop_assert!(without >= with_all.min(current), "{without} < {with_all}, {current}");
        }
    }

    #[test]
    fn a_failed_metric_never_scales_in(
        usage in 0..3000i64, current in 1..20i32, failed_first in any::<bool>(), state in state(),
    ) {
        let mut spec = spec(1, 20, 50, None);
        spec.metrics.push(MetricSpec::cpu_utilization(60));
        let mut hpa = Hpa::with_state(spec, HpaConfig::default(), state);
        let status = vec![PodStatus::ready(LONG_AGO, LONG_AGO); current as usize];
        let readings = vec![reading(Some(usage)); current as usize];
        let fine = Reading::PerPod { pods: &readings, strays_milli: &[] };
        let failed = Reading::Unavailable(MetricError::FetchFailed);
        let readings = if failed_first { [failed, fine] } else { [fine, failed] };
        let scale = Some(Scale { spec_replicas: current, status_replicas: current });
        let outcome = hpa.sync(NOW, &Snapshot { scale, selector: Selector::Valid, pods: &status, readings: &readings });
        prop_assert!(outcome.error.is_some());
        prop_assert!(outcome.evaluation.desired.is_none_or(|d| d >= current), "{outcome:?}");
    }

    #[test]
    fn all_metrics_failing_holds_and_remembers_nothing(current in 1..20i32, state in state(), behavior in behavior()) {
        let mut hpa = Hpa::with_state(spec(1, 20, 50, behavior), HpaConfig::default(), state.clone());
        let before = RecommendationLog::seeded(current, NOW);
        let scale = Some(Scale { spec_replicas: current, status_replicas: current });
        let outcome = hpa.sync(NOW, &Snapshot { scale, selector: Selector::Valid, pods: &[], readings: &[] });
        prop_assert_eq!(outcome.evaluation.desired, None);
        prop_assert!(!outcome.rescaled && outcome.error.is_some());
        prop_assert_eq!(hpa.state().recommendations.clone(), state.recommendations.or(Some(before)));
        prop_assert_eq!(&hpa.state().events, &state.events);
    }

    #[test]
    fn deciding_twice_on_the_same_input_changes_nothing(
        pods in prop::collection::vec(present_pod(), 1..20), current in 0..30i32, percent in 1..200i32,
        behavior in behavior(), state in state(),
    ) {
        let mut hpa = Hpa::with_state(spec(1, 25, percent, behavior), HpaConfig::default(), state);
        let restarted = Hpa::with_state(hpa.spec().clone(), HpaConfig::default(), hpa.state().clone());
        let first = evaluate(&mut hpa, current, &pods);
        let status = hpa.status().clone();
        prop_assert_eq!(first, evaluate(&mut hpa, current, &pods));
        prop_assert_eq!(&status, hpa.status());
        prop_assert_eq!(first, evaluate(&mut restarted.clone(), current, &pods));
    }

    #[test]
    fn steady_demand_settles(demand in 0..30_000i64, start in 1..40i32, percent in 10..100i32, behavior in any::<bool>()) {
        let behavior = behavior.then(Behavior::default);
        let mut hpa = Hpa::new(spec(1, 40, percent, behavior), HpaConfig::default());
        let mut size = start;
        let mut settled_since = 0;
        // Half an hour of syncs: the longest default window is five minutes.
        for tick in 0..120 {
            let now = NOW + std::time::Duration::from_secs(15 * tick);
            let n = size as usize;
            let sample = PodSample { value_milli: demand / i64::from(size), at: now, window_ms: 30_000 };
            let readings = vec![PodReading { sample: Some(sample), request: Request::Milli(REQUEST) }; n];
            let scale = Some(Scale { spec_replicas: size, status_replicas: size });
            let pods = vec![PodStatus::ready(LONG_AGO, LONG_AGO); n];
            let readings = [Reading::PerPod { pods: &readings, strays_milli: &[] }];
            let outcome = hpa.sync(now, &Snapshot { scale, selector: Selector::Valid, pods: &pods, readings: &readings });
            if outcome.rescaled {
                (size, settled_since) = (outcome.desired_replicas, tick);
            }
        }
        prop_assert!(settled_since < 100, "still moving: {size}");
    }

    #[test]
    fn what_was_saved_is_what_is_loaded(state in state()) {
        let text = serde_json::to_string(&state).unwrap();
        prop_assert_eq!(serde_json::from_str::<HpaState>(&text).unwrap(), state);
    }
}
