//! How many replicas should every workload have, and who orders them?
//!
//! The autoscale stage. Every sync period it reads live metrics and sizes, takes the newest forecasts from the
//! store, decides for every workload, orders what is to be ordered, and publishes every decision with its reasons. A
//! forecast that is announced in between is decided on at once, with the live metrics of the last sync.
//!
//! The reactive path needs the metric source and the scale target only. When the store does not answer, forecasts
//! already read serve until they expire, then decisions are reactive; when the bus does not, decisions wait in a bounded
//! queue and the oldest period is dropped and counted. Neither delays a sync by more than a stated time.

mod apply;
mod keeper;
mod overseer;
mod subject;

pub use overseer::{Outcome, Overseer, Told};

use crate::bus::{Bus, Message};
use crate::clock::Clock;
use crate::forecast::grid_before;
use crate::metrics::{Metrics, Stage};
use crate::retry;
use crate::source::{Live, MetricSource};
use crate::stage::StageError;
use crate::store::{Put, Slot, Store};
use crate::target::{ScaleTarget, TargetError};
use crate::wire;
use crate::workload::Workloads;
use bytes::Bytes;
use futures::stream::{self, StreamExt};
use keeper::Keeper;
use sphere_core::{Decision, Forecast, Timestamp, WorkloadId};
use sphere_scaling::AutoscalerState;
use sphere_scaling::hpa::{HpaConfig, Scale};
use sphere_scaling::safety::{ChangeBudget, ChangeLimit};
use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;
use subject::Subject;
use tokio::sync::{mpsc, watch};
use tokio_util::sync::CancellationToken;
use tracing::{debug, info, warn};

/// Announcements that may wait, in batches.
const ANNOUNCEMENTS: usize = 256;
/// Calls of the scale target at once.
const TARGET_CALLS: usize = 16;
/// Longest time a sync waits for the store.
const STORE_PATIENCE: Duration = Duration::from_secs(2);

/// What the autoscale stage is told.
#[derive(Clone, Debug, PartialEq)]
pub struct AutoscaleSettings {
    /// Time from one sync to the next.
    pub sync: Duration,
    /// Time after a multiple of `sync` at which it happens: metrics need a moment.
    pub delay: Duration,
    /// From a scrape to the decision on it, part of the lead time.
    pub decision_delay: Duration,
    /// Live metrics older than this are missing.
    pub live_valid: Duration,
    /// Flags of the cluster's HPA controller.
    pub hpa: HpaConfig,
    /// Most replicas that all workloads together may change; `None`: no limit.
    pub change_limit: Option<ChangeLimit>,
    /// Decisions kept per workload.
    pub decisions_kept: usize,
}

impl Default for AutoscaleSettings {
    fn default() -> Self {
        Self {
            sync: Duration::from_secs(15),
            delay: Duration::ZERO,
            decision_delay: Duration::from_secs(1),
            live_valid: Duration::from_secs(30),
            hpa: HpaConfig::default(),
            change_limit: None,
            decisions_kept: 1000,
        }
    }
}

/// The stage and what it works with.
pub struct AutoscaleStage {
    /// Live metrics.
    pub source: Arc<dyn MetricSource>,
    /// Sizes.
    pub target: Arc<dyn ScaleTarget>,
    /// Where decisions go.
    pub bus: Arc<dyn Bus>,
    /// Forecasts, and what must survive a restart.
    pub store: Arc<dyn Store>,
    /// Which workloads there are.
    pub workloads: watch::Receiver<Arc<Workloads>>,
    /// Who looks after the objects behind the workloads; `None`: nobody.
    pub overseer: Option<Arc<dyn Overseer>>,
    /// The time.
    pub clock: Clock,
    /// Settings.
    pub settings: AutoscaleSettings,
    /// What it did.
    pub metrics: Arc<Metrics>,
}

/// A size was decided on; this is what came out.
struct Made {
    decision: Decision,
    /// Something that must survive a crash has changed.
    changed: bool,
}

struct Running {
    stage: AutoscaleStage,
    subjects: HashMap<WorkloadId, Subject>,
    budget: ChangeBudget,
    keeper: Keeper,
}

impl AutoscaleStage {
    /// Runs until `stop`.
    pub async fn run(self, stop: CancellationToken) -> Result<(), StageError> {
        let (announced, mut announcements) = mpsc::channel(ANNOUNCEMENTS);
        let listening = tokio::spawn(listen(Arc::clone(&self.store), announced, stop.clone()));
        let keeper = Keeper::start(&self);
        let mut running =
            Running { stage: self, subjects: HashMap::new(), budget: ChangeBudget::default(), keeper };
        running.follow_workloads().await;
        let (sync, delay) = (running.stage.settings.sync, running.stage.settings.delay);
        let mut next = running.stage.clock.now();
        loop {
            let clock = running.stage.clock.clone();
            tokio::select! {
                () = stop.cancelled() => break,
                () = clock.sleep_until(next) => {
                    running.sync().await;
                    let now = clock.now();
                    next = grid_before(now - delay, sync) + sync + delay;
                }
                Some(first) = announcements.recv() => {
                    let mut ids: Vec<WorkloadId> = first;
                    while let Ok(more) = announcements.try_recv() {
                        ids.extend(more);
                    }
                    ids.sort_unstable();
                    ids.dedup();
                    running.announced(ids).await;
                }
                Ok(()) = running.stage.workloads.changed() => running.follow_workloads().await,
            }
            // A clock that went back must not silence us for as long as it jumped.
            if next.since(running.stage.clock.now()) > sync * 2 {
                next = running.stage.clock.now();
            }
        }
        listening.abort();
        running.save_all();
        running.keeper.close().await;
        info!("autoscale: stopped");
        Ok(())
    }
}

/// Passes announcements on; comes back after every failure.
async fn listen(store: Arc<dyn Store>, announced: mpsc::Sender<Vec<WorkloadId>>, stop: CancellationToken) {
    let mut pauses = retry::pauses();
    while !stop.is_cancelled() && !announced.is_closed() {
        match store.announcements().await {
            Ok(mut announcements) => {
                pauses = retry::pauses();
                while let Ok(ids) = announcements.next().await {
                    // Full: the next sync reads all forecasts anyway.
                    let _ = announced.try_send(ids);
                }
            }
            Err(error) => warn!(%error, "autoscale: announcements"),
        }
        tokio::time::sleep(pauses.next().unwrap_or(STORE_PATIENCE)).await;
    }
}

impl Running {
    /// Makes a subject of every workload, with what it remembered; lets those go that are no longer ours.
    async fn follow_workloads(&mut self) {
        let workloads = self.stage.workloads.borrow_and_update().clone();
        let gone = |id: &WorkloadId| workloads.get(&id.to_string()).is_none();
        let left: Vec<Subject> =
            self.subjects.extract_if(|id, _| gone(id)).map(|(_, subject)| subject).collect();
        self.let_go(left).await;
        let new: Vec<WorkloadId> = workloads
            .all()
            .iter()
            .map(|w| w.id.clone())
            .filter(|id| !self.subjects.contains_key(id))
            .collect();
        let states = self.read(Slot::Autoscaler, &new).await;
        let mut restored = 0;
        for (id, state) in new.iter().zip(states) {
            let state = state.and_then(|bytes| match serde_json::from_slice::<AutoscalerState>(&bytes) {
                Ok(state) => {
                    restored += 1;
                    Some(state)
                }
                Err(error) => {
                    warn!(workload = %id, %error, "autoscale: what was remembered can not be read; starting anew");
                    None
                }
            });
            if let Some(workload) = workloads.get(&id.to_string()) {
                let subject = Subject::new(Arc::clone(workload), &self.stage.settings, state);
                self.subjects.insert(id.clone(), subject);
            }
        }
        for workload in workloads.all() {
            if let Some(subject) = self.subjects.get_mut(&workload.id) {
                subject.respecify(workload, &self.stage.settings);
            }
        }
        if !new.is_empty() {
            info!(workloads = self.subjects.len(), new = new.len(), restored, "autoscale: workloads");
        }
        self.stage.metrics.workloads(Stage::Autoscale, self.subjects.len());
    }

    /// Leaves the targets of workloads that are no longer ours as their owners wrote them.
    async fn let_go(&self, subjects: Vec<Subject>) {
        for subject in &subjects {
            self.stage.metrics.forget(&subject.workload().id);
        }
        let raised = subjects.iter().filter(|subject| subject.has_floor());
        let orders: Vec<apply::Order> =
            raised.map(|subject| apply::Order::give_back(subject.shared_workload())).collect();
        let ids: Vec<WorkloadId> =
            subjects.iter().filter(|s| s.has_floor()).map(|s| s.workload().id.clone()).collect();
        let outcomes = apply::carry_out(&self.stage, orders, self.patience()).await;
        for (id, outcome) in ids.iter().zip(outcomes) {
            match outcome.floor {
                Some(Err(error)) => warn!(workload = %id, %error, "autoscale: giving the HPA's minimum back"),
                _ => info!(workload = %id, "autoscale: the HPA's minimum was given back"),
            }
        }
    }

    /// Longest time a sync waits for the source and the target, each.
    fn patience(&self) -> Duration {
        self.stage.clock.real(self.stage.settings.sync).mul_f64(0.8)
    }

    /// What the store has; absent where it has nothing or does not answer in time.
    async fn read(&self, slot: Slot, ids: &[WorkloadId]) -> Vec<Option<Bytes>> {
        if ids.is_empty() {
            return Vec::new();
        }
        match tokio::time::timeout(STORE_PATIENCE, self.stage.store.get(slot, ids)).await {
            Ok(Ok(values)) => values,
            Ok(Err(error)) => {
                warn!(%error, "autoscale: reading {}", slot.name());
                self.stage.metrics.error(Stage::Autoscale, "store", "read");
                vec![None; ids.len()]
            }
            Err(_) => {
                warn!("autoscale: the store gave no {} within {STORE_PATIENCE:?}", slot.name());
                self.stage.metrics.error(Stage::Autoscale, "store", "timeout");
                vec![None; ids.len()]
            }
        }
    }

    /// Everything anew: sizes, metrics, forecasts, decisions.
    async fn sync(&mut self) {
        let workloads = self.stage.workloads.borrow().clone();
        let all = workloads.all();
        let ids: Vec<WorkloadId> = all.iter().map(|w| w.id.clone()).collect();
        let started = self.stage.clock.now();
        let patience = self.patience();
        let source = Arc::clone(&self.stage.source);
        let live = async {
            let asked = source.live(all, started);
            tokio::time::timeout(patience, asked).await.unwrap_or_else(|_| {
                let detail = format!("no answer within {patience:?}");
                let late = crate::SourceError::Unavailable { source_name: source.name(), detail };
                vec![Err(late); all.len()]
            })
        };
        let (live, forecasts, sizes) =
            tokio::join!(live, self.read(Slot::Prediction, &ids), self.sizes(patience));
        let mut told = false;
        for (id, live) in ids.iter().zip(live) {
            let Some(subject) = self.subjects.get_mut(id) else { continue };
            match live {
                Ok(live) => subject.see(started, live),
                Err(error) => {
                    if !told {
                        warn!(workload = %id, %error, "autoscale: live metrics");
                        told = true;
                    }
                    self.stage.metrics.error(Stage::Autoscale, self.stage.source.name(), error.label());
                    subject.miss(error);
                }
            }
        }
        for (id, bytes) in ids.iter().zip(forecasts) {
            if let Some((subject, bytes)) = self.subjects.get_mut(id).zip(bytes) {
                subject.take_forecast(&bytes);
            }
        }
        for (id, (size, startups)) in sizes {
            let Some(subject) = self.subjects.get_mut(&id) else { continue };
            match size {
                Ok(size) => subject.size(size),
                Err(error) => subject.size_unknown(error),
            }
            subject.started(startups);
        }
        let made = self.decide(&ids).await;
        self.keep(made, true);
        self.stage.metrics.success(Stage::Autoscale, self.stage.clock.now());
    }

    /// Sizes and start-ups of all workloads, as the target tells them.
    async fn sizes(&self, patience: Duration) -> Vec<(WorkloadId, Sizes)> {
        let workloads = self.stage.workloads.borrow().clone();
        let target = &self.stage.target;
        let metrics = &self.stage.metrics;
        stream::iter(workloads.all().iter().cloned())
            .map(|workload| async move {
                let read = async {
                    let scale = target.scale(&workload).await;
                    let startups = target.startups(&workload).await.unwrap_or_else(|error| {
                        debug!(workload = %workload.id, %error, "autoscale: start-ups");
                        Vec::new()
                    });
                    (scale, startups)
                };
                let late = |_| {
                    let detail = format!("no answer within {patience:?}");
                    (Err(TargetError::Unavailable(detail)), Vec::new())
                };
                let read = tokio::time::timeout(patience, read).await.unwrap_or_else(late);
                if let Err(error) = &read.0 {
                    warn!(workload = %workload.id, %error, "autoscale: reading the size");
                    metrics.error(Stage::Autoscale, "target", "read");
                }
                (workload.id.clone(), read)
            })
            .buffer_unordered(TARGET_CALLS)
            .collect()
            .await
    }

    /// New forecasts: decides on those that bring something.
    async fn announced(&mut self, ids: Vec<WorkloadId>) {
        let ours: Vec<WorkloadId> = ids.into_iter().filter(|id| self.subjects.contains_key(id)).collect();
        let forecasts = self.read(Slot::Prediction, &ours).await;
        let now = self.stage.clock.now();
        let valid = self.stage.settings.live_valid;
        let mut new = Vec::with_capacity(ours.len());
        for (id, bytes) in ours.into_iter().zip(forecasts) {
            let (Some(subject), Some(bytes)) = (self.subjects.get_mut(&id), bytes) else { continue };
            if subject.take_forecast(&bytes) && subject.is_seen(now, valid) {
                new.push(id);
            }
        }
        let made = self.decide(&new).await;
        self.keep(made, false);
    }

    async fn decide(&mut self, ids: &[WorkloadId]) -> Vec<Made> {
        let started = std::time::Instant::now();
        let valid = self.stage.settings.live_valid;
        let (mut decisions, mut orders) = (Vec::with_capacity(ids.len()), Vec::with_capacity(ids.len()));
        for id in ids {
            let now = self.stage.clock.now();
            let Some(subject) = self.subjects.get_mut(id) else { continue };
            let overseer = self.stage.overseer.as_ref();
            let holds = overseer.map(|o| o.holds(subject.workload(), now)).unwrap_or_default();
            let mut decision = subject.decide(now, valid, &holds);
            orders.push(apply::plan(&self.stage, &mut self.budget, subject, &mut decision));
            decisions.push((id, decision));
        }
        let asked: Vec<_> = orders.iter().map(apply::Order::asked).collect();
        let calling = std::time::Instant::now();
        let outcomes = apply::carry_out(&self.stage, orders, self.patience()).await;
        let waited = calling.elapsed();
        let mut made = Vec::with_capacity(ids.len());
        for (((id, mut decision), asked), outcome) in decisions.into_iter().zip(asked).zip(outcomes) {
            let Some(subject) = self.subjects.get_mut(id) else { continue };
            let to = apply::settle(&self.stage, &mut self.budget, subject, &mut decision, asked, &outcome);
            subject.record(decision.at, &decision, to);
            self.stage.metrics.decision(id, &decision);
            if let Some(issued_at) = subject.newly_used() {
                self.stage.metrics.delay(Stage::Autoscale, decision.at.since(issued_at));
            }
            if let Some(overseer) = &self.stage.overseer {
                overseer.decided(&subject.told(&decision, &outcome, to));
            }
            made.push(Made { changed: decision.applied, decision });
        }
        self.stage.metrics.busy(Stage::Autoscale, started.elapsed().saturating_sub(waited));
        made
    }

    /// Publishes decisions and keeps what must survive; after a sync everything, else what has changed.
    fn keep(&mut self, made: Vec<Made>, all: bool) {
        let mut puts = Vec::new();
        let mut messages: Vec<Message> = Vec::with_capacity(made.len());
        let mut entries = Vec::new();
        for Made { decision, changed } in made {
            let Some(id) = decision.workload.clone() else { continue };
            let Some(subject) = self.subjects.get_mut(&id) else { continue };
            let message = wire::encode(&decision);
            let put = |slot, value| Put { workload: id.clone(), slot, value, expires_in: None };
            puts.push(put(Slot::Decision, message.payload.clone()));
            if all || changed {
                puts.push(put(Slot::Autoscaler, wire::to_json(&subject.state())));
            }
            if let Some(lead) = subject.new_lead() {
                puts.push(put(Slot::Lead, lead.as_millis().to_string().into()));
            }
            if subject.is_news(&decision) {
                entries.push((id.clone(), message.payload.clone()));
            }
            messages.push(message);
        }
        self.stage.metrics.count(Stage::Autoscale, "decision", messages.len() as u64);
        self.keeper.keep(messages, puts, entries);
    }

    fn save_all(&mut self) {
        let puts = self
            .subjects
            .iter()
            .map(|(id, subject)| Put {
                workload: id.clone(),
                slot: Slot::Autoscaler,
                value: wire::to_json(&subject.state()),
                expires_in: None,
            })
            .collect();
        self.keeper.keep(Vec::new(), puts, Vec::new());
    }
}

/// A forecast as the store has it, if it can be read.
fn read_forecast(bytes: &[u8]) -> Option<Forecast> {
    wire::from_json::<Forecast>(bytes)
        .inspect_err(|why| warn!(%why, "autoscale: a forecast in the store"))
        .ok()
}

/// What the target tells of one workload: its size, and how long pods took that became ready.
type Sizes = (Result<Option<Scale>, TargetError>, Vec<Duration>);

/// What was seen of a workload, and when.
type Seen = (Timestamp, Live);
