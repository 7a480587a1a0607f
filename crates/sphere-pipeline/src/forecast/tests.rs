//! Properties of a shard: what it publishes, saves and commits, whatever comes in.

use super::shard::{Adoption, ForecastSettings, Job, Outcome, Save, Saved, Shard};
use crate::bus::{Delivery, Message, Partition, Topic};
use crate::wire;
use crate::workload::{Workload, WorkloadSpec};
use bytes::Bytes;
use sphere_core::{Forecast, Sample, Timestamp, WorkloadId};
use std::collections::HashMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

const PARTITION: Partition = Partition { topic: Topic::Metrics, number: 0 };
const STEP_S: i64 = 10;

fn id(name: &str) -> WorkloadId {
    WorkloadId::new("shop", "Deployment", name).unwrap()
}

fn at(step: i64) -> Timestamp {
    Timestamp::from_secs(1_000_000 + step * STEP_S)
}

fn sample(name: &str, step: i64, demand: Option<f64>) -> Sample {
    Sample {
        workload: id(name),
        at: at(step),
        demand,
        capacity_per_pod: Some(1.0),
        replicas: Some(3),
        ready: Some(3),
        censored: false,
        memory_bytes: None,
        source: "test".into(),
    }
}

fn demand(step: i64) -> f64 {
    50.0 + 20.0 * (step as f64 / 20.0).sin() + (step * 7 % 5) as f64
}

/// A shard with a log before it and a store behind it.
struct Bench {
    shard: Shard,
    log: Vec<Delivery>,
    states: HashMap<Bytes, Bytes>,
    committed: i64,
    published: Vec<Message>,
    started: Instant,
    feedback: Vec<Saved>,
    /// The store refuses everything.
    store_down: bool,
    /// A checkpoint with a part that could not be saved.
    spoilt: Option<u64>,
    elapsed: Duration,
}

impl Bench {
    fn new() -> Self {
        Self {
            shard: Shard::new(Arc::new(settings())),
            log: Vec::new(),
            states: HashMap::new(),
            committed: 0,
            published: Vec::new(),
            started: Instant::now(),
            feedback: Vec::new(),
            store_down: false,
            spoilt: None,
            elapsed: Duration::ZERO,
        }
    }

    fn append(&mut self, message: Message) -> Delivery {
        let delivery = Delivery {
            partition: PARTITION,
            offset: self.log.len() as i64,
            key: message.key,
            headers: message.headers,
            payload: message.payload,
            published_at: Timestamp(0),
        };
        self.log.push(delivery.clone());
        delivery
    }

    fn adopt(&mut self, name: &str) {
        self.adopt_at(name, at(0));
    }

    fn adopt_at(&mut self, name: &str, now: Timestamp) {
        self.adopt_as(name, "holt", now);
    }

    fn adopt_as(&mut self, name: &str, model: &str, now: Timestamp) {
        let key = Bytes::from(id(name).to_string());
        let mut spec = WorkloadSpec::new(&id(name), 1, 10);
        spec.forecast.model = model.into();
        let adoption = Adoption {
            state: self.states.get(&key).cloned(),
            key,
            workload: Arc::new(Workload::new(spec).unwrap()),
            history: None,
            lead: None,
        };
        self.job(Job::Adopt { partition: PARTITION, adoptions: vec![adoption], now });
    }

    /// Does a job, then what its outcome asks for, as the publisher would.
    fn job(&mut self, job: Job) -> Outcome {
        let feedback = std::mem::take(&mut self.feedback);
        let mut outcome = self.shard.handle(job, feedback.into_iter(), self.started + self.elapsed);
        self.published.append(&mut outcome.messages);
        for save in std::mem::take(&mut outcome.saves) {
            self.save(save);
        }
        outcome
    }

    fn save(&mut self, save: Save) {
        let Save { partition, checkpoint, states, commit } = save;
        let mut failed = Vec::new();
        for (key, _, state) in states {
            if self.store_down {
                failed.push(key);
            } else {
                self.states.insert(key, state);
            }
        }
        if !failed.is_empty() {
            self.spoilt = Some(checkpoint);
        }
        if let (Some(position), true) = (commit, self.spoilt != Some(checkpoint)) {
            self.committed = position;
        }
        self.feedback.push(Saved { partition, checkpoint, failed, complete: commit.is_some() });
    }

    fn send(&mut self, sample: &Sample) -> Outcome {
        let record = self.append(wire::encode(sample));
        self.job(Job::Records { records: vec![record], now: sample.at })
    }

    fn tick(&mut self, passed: Duration) {
        self.elapsed += passed;
        self.job(Job::Tick);
    }

    fn forecasts(&self) -> Vec<Forecast> {
        self.published
            .iter()
            .filter(|m| m.topic == Topic::Predictions)
            .map(|m| serde_json::from_slice(&m.payload).unwrap())
            .collect()
    }

    /// The process dies; another one takes over from what is stored and committed.
    fn crash(&mut self, names: &[&str], now: Timestamp) {
        self.shard = Shard::new(Arc::new(settings()));
        self.feedback.clear();
        for name in names {
            self.adopt_at(name, now);
        }
        let records = self.log[self.committed as usize..].to_vec();
        self.job(Job::Records { records, now });
    }
}

fn settings() -> ForecastSettings {
    ForecastSettings { checkpoint: Duration::from_secs(10), ..ForecastSettings::default() }
}

fn count(outcome: &Outcome, name: &str) -> u64 {
    outcome.counts.get(name).copied().unwrap_or(0)
}

#[test]
fn every_new_sample_gives_one_forecast_that_covers_the_lead_time() {
    let mut bench = Bench::new();
    bench.adopt("a");
    for step in 1..=40 {
        bench.send(&sample("a", step, Some(demand(step))));
    }
    let forecasts = bench.forecasts();
    let last = forecasts.last().unwrap();
    assert_eq!(last.issued_at, at(40));
    assert_eq!(last.workload, Some(id("a")));
    // 60 s to start and 1 s to decide: ready in the seventh step; one more is given.
    assert_eq!(last.steps.len(), 8);
    let issued: Vec<Timestamp> = forecasts.iter().map(|f| f.issued_at).collect();
    assert!(issued.windows(2).all(|w| w[1].since(w[0]) == Duration::from_secs(10)));
}

#[test]
fn duplicates_and_late_samples_change_nothing() {
    let (mut once, mut twice) = (Bench::new(), Bench::new());
    for bench in [&mut once, &mut twice] {
        bench.adopt("a");
    }
    for step in 1..=40 {
        once.send(&sample("a", step, Some(demand(step))));
        twice.send(&sample("a", step, Some(demand(step))));
        let again = twice.send(&sample("a", step, Some(999.0)));
        assert_eq!(count(&again, "duplicate"), 1);
        if step > 1 {
            assert_eq!(count(&twice.send(&sample("a", step - 1, Some(0.0))), "late"), 1);
        }
    }
    assert_eq!(once.forecasts(), twice.forecasts());
}

#[test]
fn an_unreadable_record_is_kept_with_its_reason_and_skipped() {
    let mut bench = Bench::new();
    bench.adopt("a");
    let mut message = wire::encode(&sample("a", 1, Some(1.0)));
    message.payload = "{\"workload\":".into();
    let record = bench.append(message);
    let outcome = bench.job(Job::Records { records: vec![record], now: at(1) });
    assert_eq!(count(&outcome, "unreadable"), 1);
    assert_eq!(bench.published[0].topic, Topic::MetricsDlq);
    assert_eq!(outcome.unreadable[0].name(), "bad_json");
    bench.send(&sample("a", 2, Some(demand(2))));
    bench.tick(Duration::from_secs(60));
    bench.tick(Duration::from_secs(60));
    assert_eq!(bench.committed, 2);
}

#[test]
fn nothing_is_committed_before_its_state_is_saved() {
    let mut bench = Bench::new();
    bench.store_down = true;
    bench.adopt("a");
    bench.adopt("b");
    for step in 1..=30 {
        bench.send(&sample("a", step, Some(demand(step))));
        bench.send(&sample("b", step, Some(demand(step) + 5.0)));
        bench.tick(Duration::from_secs(5));
    }
    assert_eq!(bench.committed, 0, "the store was down all the time");
    assert!(!bench.forecasts().is_empty(), "forecasts went on");
    bench.store_down = false;
    for _ in 0..40 {
        bench.tick(Duration::from_secs(1));
    }
    assert_eq!(bench.committed, 60);
    assert_eq!(bench.states.len(), 2);
}

#[test]
fn a_crash_at_any_moment_costs_no_learning() {
    let mut uninterrupted = Bench::new();
    uninterrupted.adopt("a");
    uninterrupted.adopt("b");
    let mut crashing = Bench::new();
    crashing.adopt("a");
    crashing.adopt("b");
    for step in 1..=120 {
        for (bench, crashes) in [(&mut uninterrupted, false), (&mut crashing, true)] {
            bench.send(&sample("a", step, Some(demand(step))));
            bench.send(&sample("b", step, Some(demand(step + 7))));
            bench.tick(Duration::from_secs(3));
            if crashes && step % 17 == 0 {
                bench.crash(&["a", "b"], at(step));
            }
        }
    }
    let newest = |bench: &Bench| -> HashMap<String, Forecast> {
        bench.forecasts().into_iter().map(|f| (f.workload.clone().unwrap().to_string(), f)).collect()
    };
    assert!(newest(&uninterrupted) == newest(&crashing), "forecasts differ after crashes");
    assert!(crashing.committed > 0, "checkpoints were made between the crashes");
}

#[test]
fn a_release_saves_everything_and_says_where_it_stands() {
    let mut bench = Bench::new();
    bench.adopt("a");
    for step in 1..=25 {
        bench.send(&sample("a", step, Some(demand(step))));
    }
    let outcome = bench.job(Job::Release { partitions: vec![PARTITION] });
    assert_eq!(outcome.released, [PARTITION]);
    assert_eq!((bench.committed, bench.states.len()), (25, 1));
    // The next owner goes on without reading anything again.
    bench.crash(&["a"], at(25));
    let before = bench.forecasts().len();
    bench.send(&sample("a", 26, Some(demand(26))));
    assert_eq!(bench.forecasts().len(), before + 1);
}

#[test]
fn a_sample_from_a_wrong_clock_does_not_move_the_grid() {
    let mut bench = Bench::new();
    bench.adopt("a");
    for step in 1..=20 {
        bench.send(&sample("a", step, Some(demand(step))));
    }
    let record = bench.append(wire::encode(&sample("a", 5000, Some(1.0))));
    let outcome = bench.job(Job::Records { records: vec![record], now: at(20) });
    assert_eq!(count(&outcome, "future"), 1);
    assert_eq!(count(&bench.send(&sample("a", 21, Some(demand(21)))), "forecast"), 1);
}

#[test]
fn a_model_that_lies_in_the_future_is_reported_to_start_anew() {
    let mut bench = Bench::new();
    bench.adopt("a");
    for step in 1001..=1030 {
        bench.send(&sample("a", step, Some(demand(step))));
    }
    let outcome = bench.send(&sample("a", 30, Some(demand(30))));
    assert_eq!(outcome.reload, [(PARTITION, Bytes::from(id("a").to_string()))]);
}

#[test]
fn forecasts_that_would_be_out_of_date_are_not_published() {
    let mut bench = Bench::new();
    bench.adopt("a");
    let records: Vec<Delivery> =
        (1..=100).map(|step| bench.append(wire::encode(&sample("a", step, Some(demand(step)))))).collect();
    let outcome = bench.job(Job::Records { records, now: at(100) });
    assert_eq!(count(&outcome, "forecast"), 7, "the last one and six steps of validity before it");
    assert!(bench.forecasts().iter().all(|f| !f.expired(at(100))));
}

#[test]
fn absent_demand_gives_no_forecast_and_is_not_zero() {
    let mut bench = Bench::new();
    bench.adopt("a");
    for step in 1..=30 {
        bench.send(&sample("a", step, Some(100.0)));
    }
    for step in 31..=33 {
        assert_eq!(count(&bench.send(&sample("a", step, None)), "absent"), 1);
    }
    bench.send(&sample("a", 34, Some(100.0)));
    let last = bench.forecasts().pop().unwrap();
    assert!((last.steps[0].demand.mean() - 100.0).abs() < 1.0, "{}", last.steps[0].demand.mean());
}

#[test]
fn a_lower_bound_below_the_expectation_teaches_nothing_and_the_forecast_goes_on() {
    for model in ["holt", "auto", "sphere"] {
        let mut bench = Bench::new();
        bench.adopt_as("a", model, at(0));
        for step in 1..=30 {
            bench.send(&sample("a", step, Some(100.0)));
        }
        let before = bench.forecasts().len();
        for step in 31..=50 {
            let limited = Sample { censored: true, ..sample("a", step, Some(40.0)) };
            assert_eq!(count(&bench.send(&limited), "censored"), 1, "{model}");
        }
        let forecasts = bench.forecasts();
        if model != "auto" {
            assert!(forecasts.len() > before, "{model}");
            continue;
        }
        assert_eq!(forecasts.len(), before + 20);
        let mean = forecasts.last().unwrap().steps[0].demand.mean();
        assert!((mean - 100.0).abs() < 5.0, "{model}: {mean}");
    }
}

#[test]
fn a_lower_bound_above_the_expectation_is_followed() {
    for model in ["holt", "auto", "sphere"] {
        let mut bench = Bench::new();
        bench.adopt_as("a", model, at(0));
        for step in 1..=30 {
            bench.send(&sample("a", step, Some(100.0)));
        }
        for step in 31..=50 {
            bench.send(&Sample { censored: true, ..sample("a", step, Some(160.0)) });
        }
        let mean = bench.forecasts().last().unwrap().steps[0].demand.mean();
        assert!((150.0..=260.0).contains(&mean), "{model}: {mean}");
    }
}

#[test]
fn a_limit_that_hides_demand_for_twenty_minutes_does_not_spoil_the_forecast() {
    // Of two workloads with the same demand one says when its pods are at their limit, the other does not.
    const LIMIT: f64 = 45.0;
    let demand = |step: i64| 60.0 + 0.2 * demand(step);
    let (released, end) = (720, 760);
    let off = |marked: bool| {
        let mut bench = Bench::new();
        bench.adopt_as("a", "auto", at(0));
        for step in 1..=end {
            let limited = (600..released).contains(&step) && demand(step) > LIMIT;
            let seen = if limited { LIMIT } else { demand(step) };
            bench.send(&Sample { censored: limited && marked, ..sample("a", step, Some(seen)) });
        }
        let forecasts = bench.forecasts();
        let error = |span: std::ops::Range<i64>| -> f64 {
            let of =
                forecasts.iter().filter(|f| span.contains(&((f.issued_at.0 - at(0).0) / (1000 * STEP_S))));
            let errors: Vec<f64> = of
                .flat_map(|f| &f.steps)
                .map(|s| (s.demand.mean() - demand((s.at.0 - at(0).0) / (1000 * STEP_S))).abs())
                .collect();
            assert!(!errors.is_empty());
            errors.iter().sum::<f64>() / errors.len() as f64
        };
        (error(605..released), error(released..released + 15), error(released..end))
    };
    let ((during, soon, after), (blind_during, blind_soon, blind_after)) = (off(true), off(false));
    assert!(during < 0.5 * blind_during, "while the limit hides it: {during} {blind_during}");
    assert!(soon < blind_soon && after < blind_after, "{soon} {blind_soon}, {after} {blind_after}");
}

#[test]
fn a_workload_nobody_configured_is_counted_and_skipped() {
    let mut bench = Bench::new();
    assert_eq!(count(&bench.send(&sample("stranger", 1, Some(1.0))), "unconfigured"), 1);
    assert!(bench.published.is_empty());
}
