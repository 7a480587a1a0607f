//! Does whoever looks after the objects keep the autoscale stage from what it should not do, and hear of what it does?

// Helpers of tests are outside test functions, and may unwrap as those do.
#![allow(clippy::unwrap_used)]

mod common;

use common::{after, by_requests, cluster, one, synthetic};
use sphere_core::{Decision, Distribution, Forecast, Mode, Reason, StepForecast, Timestamp, Trust};
use sphere_pipeline::autoscale::{AutoscaleSettings, AutoscaleStage, Overseer, Told};
use sphere_pipeline::embedded::{MemoryBus, MemoryBusConfig, MemoryStore};
use sphere_pipeline::metrics::Metrics;
use sphere_pipeline::workload::{Workload, Workloads};
use sphere_pipeline::{Bus, Clock, Put, ScaleTarget, Slot, Store, wire};
use sphere_simcluster::SimulatedCluster;
use std::sync::{Arc, Mutex};
use std::time::Duration;
use tokio::sync::watch;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

#[derive(Default)]
struct Watcher {
    holds: Mutex<Vec<Reason>>,
    told: Mutex<Vec<(Decision, Option<u32>)>>,
}

impl Overseer for Watcher {
    fn holds(&self, _: &Workload, _: Timestamp) -> Vec<Reason> {
        self.holds.lock().unwrap().clone()
    }
    fn decided(&self, told: &Told<'_>) {
        self.told.lock().unwrap().push((told.decision.clone(), told.floor));
    }
}

/// A stage at work on a simulated cluster.
struct Trial {
    cluster: SimulatedCluster,
    clock: Clock,
    seconds: u64,
    watcher: Arc<Watcher>,
    workloads: watch::Sender<Arc<Workloads>>,
    store: Arc<dyn Store>,
    stop: CancellationToken,
    stage: JoinHandle<()>,
}

impl Trial {
    async fn start(hpa: Option<u32>, workload: &Workload, holds: Vec<Reason>) -> Self {
        let mut config = one(synthetic(150.0));
        config.workloads[0].hpa = hpa;
        let (cluster, clock) = cluster(&config);
        let watcher = Arc::new(Watcher { holds: Mutex::new(holds), ..Watcher::default() });
        let bus: Arc<dyn Bus> =
            Arc::new(MemoryBus::new(MemoryBusConfig { clock: clock.clone(), ..MemoryBusConfig::default() }));
        bus.create_topics().await.unwrap();
        let store: Arc<dyn Store> = Arc::new(MemoryStore::new());
        let (workloads, receiver) = watch::channel(Arc::new(Workloads::new([workload.clone()])));
        let stage = AutoscaleStage {
            source: Arc::new(cluster.clone()),
            target: Arc::new(cluster.clone()),
            bus,
            store: Arc::clone(&store),
            workloads: receiver,
            overseer: Some(Arc::clone(&watcher) as Arc<dyn Overseer>),
            clock: clock.clone(),
            settings: AutoscaleSettings::default(),
            metrics: Arc::new(Metrics::new()),
        };
        let stop = CancellationToken::new();
        let running = stage.run(stop.clone());
        let stage = tokio::spawn(async move { running.await.unwrap() });
        Self { cluster, clock, seconds: 0, watcher, workloads, store, stop, stage }
    }

    /// Lets time pass until that many more decisions were made.
    async fn decisions(&mut self, more: usize) -> Vec<(Decision, Option<u32>)> {
        let before = self.watcher.told.lock().unwrap().len();
        let patience = tokio::time::Instant::now() + Duration::from_secs(60);
        loop {
            let told = self.watcher.told.lock().unwrap()[before..].to_vec();
            if told.len() >= more {
                return told;
            }
            assert!(tokio::time::Instant::now() < patience, "{} of {more} decisions", told.len());
            self.seconds += 1;
            self.clock.set(after(self.seconds));
            tokio::time::sleep(Duration::from_millis(2)).await;
        }
    }

    async fn size(&self) -> u32 {
        let scale = self.cluster.scale(&by_requests("front-end")).await.unwrap().unwrap();
        scale.spec_replicas as u32
    }

    /// Somebody who can be trusted expects this much demand for the next ten minutes.
    async fn expect(&self, demand: f64) {
        let now = self.clock.now();
        let at = |n: u64| now + Duration::from_secs(10 * n);
        let demand = Distribution::new(demand, [demand; 17]).unwrap();
        let forecast = Forecast {
            workload: Some(by_requests("front-end").id.clone()),
            issued_at: now,
            valid_until: at(60),
            step_ms: 10_000,
            steps: (1..=60).map(|n| StepForecast { at: at(n), demand }).collect(),
            model: "test".into(),
            model_version: 1,
            trust: Trust { trusted: true, relative_loss: Some(0.5), ..Trust::default() },
            period: None,
        };
        let value = wire::to_json(&forecast);
        let workload = by_requests("front-end").id.clone();
        let put = Put { workload, slot: Slot::Prediction, value, expires_in: None };
        self.store.put(vec![put]).await.unwrap();
    }

    async fn end(self) {
        self.stop.cancel();
        self.stage.await.unwrap();
    }
}

fn workload(mode: Mode) -> Workload {
    let mut workload = (*by_requests("front-end")).clone();
    workload.spec.mode = mode;
    workload
}

#[tokio::test]
async fn a_hold_keeps_the_size_as_it_is_and_its_reason_is_told_until_it_ends() {
    let by = "ConfigMap sphere/sphere-kill-switch";
    let switch = Reason::KillSwitch { by: by.into() };
    let mut trial = Trial::start(None, &workload(Mode::Full), vec![switch.clone()]).await;
    trial.expect(400.0).await;
    let before = trial.size().await;
    for (decision, _) in trial.decisions(4).await {
        assert!(decision.reasons.contains(&switch) && !decision.applied, "{decision:?}");
        assert_eq!(decision.mode, Mode::Observe);
    }
    assert_eq!(trial.size().await, before);
    trial.watcher.holds.lock().unwrap().clear();
    trial.expect(400.0).await;
    trial.decisions(3).await;
    assert!(trial.size().await >= 40, "{}", trial.size().await);
    trial.end().await;
}

#[tokio::test]
async fn a_raised_minimum_is_given_back_when_nothing_speaks_for_it_and_when_its_workload_goes() {
    for goes in [false, true] {
        let mut trial = Trial::start(Some(60), &workload(Mode::Floor), vec![]).await;
        trial.expect(400.0).await;
        let told = trial.decisions(3).await;
        assert!(told.last().is_some_and(|(_, floor)| *floor >= Some(40)), "{told:?}");
        let id = by_requests("front-end").id.clone();
        let floor = || async { trial.cluster.floor_now(&id).await.unwrap() };
        assert!(floor().await >= Some(40));
        if goes {
            trial.workloads.send_replace(Arc::new(Workloads::default()));
        } else {
            trial.watcher.holds.lock().unwrap().push(Reason::KillSwitch { by: "test".into() });
        }
        let patience = tokio::time::Instant::now() + Duration::from_secs(60);
        while trial.cluster.floor_now(&id).await.unwrap() >= Some(40) {
            assert!(tokio::time::Instant::now() < patience, "the minimum is still ours");
            trial.seconds += 1;
            trial.clock.set(after(trial.seconds));
            tokio::time::sleep(Duration::from_millis(2)).await;
        }
        trial.end().await;
    }
}
