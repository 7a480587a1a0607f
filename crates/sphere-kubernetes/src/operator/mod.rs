//! How are PredictiveAutoscalers looked after, day and night?
//!
//! The operator turns objects into workloads, and lets the autoscale stage, which makes all decisions, act on them while
//! this process leads. It runs no decision code of its own.
//!
//! | module | question |
//! |---|---|
//! | [`watch`] | what is in the cluster that concerns us? |
//! | [`roster`] | which workloads are ours, by which objects? |
//! | [`conflict`], [`rivals`], [`switch`] | what keeps us from acting? |
//! | [`guard`] | what lies between a decision and the cluster? |
//! | [`conditions`], [`report`] | what is told of it, and when? |
//! | [`events`] | and what do people hear? |
//!
//! On standby the operator watches, and collects and forecasts as if it led: models that have learnt are what makes
//! a leader worth having, and they cost little. Decisions are made by the leader alone, because
//! windows and cooldowns are only true in one place.

pub mod conditions;
pub mod conflict;
pub mod counters;
pub mod events;
pub mod guard;
mod overlook;
pub mod patch;
pub mod report;
pub mod rivals;
pub mod roster;
mod settings;
pub mod switch;
pub mod watch;
mod writer;

pub use counters::Counters;
pub use settings::{OperatorSettings, identity, own_namespace};

use crate::api::PredictiveAutoscalerStatus;
use crate::cluster::Cluster;
use crate::lease::{self, Election, Leadership, Role};
use crate::memory::{MapsConfig, MemoryStore, load_or_say};
use crate::target::KubernetesTarget;
use events::{Notice, Notices};
use guard::Guard;
use kube::Client;
use overlook::Overlook;
use report::Difference;
use roster::{Found, ObjectKey, Refusal, Roster};
use sphere_core::{Mode, WorkloadId};
use sphere_pipeline::autoscale::{AutoscaleStage, Overseer};
use sphere_pipeline::stage::StageError;
use sphere_pipeline::workload::Workloads;
use sphere_pipeline::{Clock, ScaleTarget, Store};
use std::collections::HashMap;
use std::sync::{Arc, Mutex, OnceLock, PoisonError, RwLock};
use std::time::Duration;
use tokio::sync::{mpsc, watch as channel};
use tokio::task::JoinSet;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;
use tracing::{info, warn};

/// Objects are looked at this often even if nothing tells of a change.
const RESYNC: Duration = Duration::from_secs(30);
/// Changes that come together are looked at together.
const TOGETHER: Duration = Duration::from_millis(500);
/// How many ConfigMaps hold the memory: room for some thousand workloads.
const MAPS: usize = 16;
/// Longest time a stage may take to end when the lease is lost, or the process stops.
const ENDING: Duration = Duration::from_secs(20);

/// What is to be told of one object.
struct Report {
    uid: String,
    wanted: PredictiveAutoscalerStatus,
    /// When it was last written by us.
    written: Option<Instant>,
}

struct Inner {
    settings: OperatorSettings,
    client: Client,
    clock: Clock,
    cluster: Arc<Cluster>,
    watches: watch::Watches,
    counters: Arc<Counters>,
    roster: RwLock<Arc<Roster>>,
    workloads: channel::Sender<Arc<Workloads>>,
    role: channel::Sender<Role>,
    leadership: Leadership,
    target: Arc<KubernetesTarget>,
    guard: Arc<Guard>,
    reports: Mutex<HashMap<ObjectKey, Report>>,
    notices: Notices,
    memory: OnceLock<Arc<MemoryStore>>,
}

/// See the module text. Cheap to clone.
#[derive(Clone)]
pub struct Operator {
    inner: Arc<Inner>,
    inbox: Arc<Mutex<Option<mpsc::Receiver<Notice>>>>,
}

impl Inner {
    fn roster(&self) -> Arc<Roster> {
        Arc::clone(&self.roster.read().unwrap_or_else(PoisonError::into_inner))
    }

    /// What is told of an object begins with what it says already.
    fn first_report(&self, object: &Found) -> Report {
        let seen = self.watches.object(&object.key);
        let wanted = seen.and_then(|seen| seen.0.as_ref().ok().and_then(|object| object.status.clone()));
        Report { uid: object.uid.clone(), wanted: wanted.unwrap_or_default(), written: None }
    }

    /// Looks at all objects; tells the stages if the workloads are others than before.
    fn reconcile(&self) {
        let roster = Arc::new(Roster::new(self.watches.found()));
        let workloads = roster.workloads();
        let changed = !roster::same(&self.workloads.borrow(), &workloads);
        let twins = roster.refused.iter().filter(|(_, why)| matches!(why, Refusal::Twin { .. })).count();
        self.counters.reconciled(changed, roster.owners.len(), roster.refused.len() - twins, twins);
        *self.roster.write().unwrap_or_else(PoisonError::into_inner) = Arc::clone(&roster);
        // Only who leads tells anything to anybody; a new leader looks at once.
        if self.leadership.until().is_some() {
            overlook::refuse(self, &roster, self.clock.now());
        }
        self.counters.stopped(self.watches.stopped().is_some());
        if changed {
            info!(
                workloads = workloads.all().len(),
                refused = roster.refused.len(),
                "operator: other workloads than before"
            );
            self.guard.keep_only(|id| roster.owners.contains_key(id));
            self.workloads.send_replace(Arc::new(workloads));
        }
    }

    /// Gives minimums back that are ours and should not be: of objects that went, or changed, while nobody led.
    async fn sweep(&self) {
        if self.settings.dry_run || self.leadership.until().is_none() {
            return;
        }
        let roster = self.roster();
        let now = self.clock.now();
        let floors = roster.owners.iter().filter(|(_, object)| {
            object.workload.as_ref().is_ok_and(|workload| {
                workload.spec.mode == Mode::Floor && overlook::holds(self, workload, now).is_empty()
            })
        });
        let keep: Vec<WorkloadId> = floors.map(|(id, _)| id.clone()).collect();
        let ends =
            self.leadership.until().map_or(Duration::ZERO, |until| until.duration_since(Instant::now()));
        match tokio::time::timeout(ends, self.target.release_floors(&keep)).await {
            Ok(Ok(0)) => {}
            Ok(Ok(floors)) => info!(floors, "operator: minimums of HPAs were given back"),
            Ok(Err(error)) => warn!(%error, "operator: minimums of HPAs could not be given back"),
            Err(_) => warn!("operator: giving minimums of HPAs back took too long"),
        }
    }
}

impl Operator {
    /// Starts watching; nothing is written before [`Operator::run`].
    pub fn start(
        cluster: Arc<Cluster>,
        settings: OperatorSettings,
        clock: Clock,
        counters: Arc<Counters>,
        stop: &CancellationToken,
    ) -> Self {
        let client = cluster.client().clone();
        let scope = watch::Scope {
            namespaces: settings.namespaces.clone(),
            own_namespace: settings.own_namespace.clone(),
            step: settings.step,
        };
        let watches = watch::Watches::start(&client, scope, stop);
        let (role, receiver) = channel::channel(Role::Standby { leader: None });
        let leadership = Leadership::new(receiver);
        let target = Arc::new(KubernetesTarget::new(Arc::clone(&cluster)));
        let guard = Guard::new(
            Arc::clone(&target) as Arc<dyn ScaleTarget>,
            leadership.clone(),
            clock.clone(),
            settings.rivals,
            settings.dry_run,
        );
        let (notices, inbox) = Notices::new(Arc::clone(&counters));
        let inner = Inner {
            settings,
            client,
            clock,
            cluster,
            watches,
            counters,
            roster: RwLock::default(),
            workloads: channel::channel(Arc::new(Workloads::default())).0,
            role,
            leadership,
            target,
            guard: Arc::new(guard),
            reports: Mutex::default(),
            notices,
            memory: OnceLock::new(),
        };
        Self { inner: Arc::new(inner), inbox: Arc::new(Mutex::new(Some(inbox))) }
    }

    /// The workloads, as they change.
    pub fn workloads(&self) -> channel::Receiver<Arc<Workloads>> {
        self.inner.workloads.subscribe()
    }

    /// The scale target that writes only while we lead.
    pub fn target(&self) -> Arc<dyn ScaleTarget> {
        Arc::clone(&self.inner.guard) as Arc<dyn ScaleTarget>
    }

    /// For the autoscale stage.
    pub fn overseer(&self) -> Arc<dyn Overseer> {
        Arc::new(Overlook(Arc::clone(&self.inner)))
    }

    /// A store that keeps what autoscalers remember in ConfigMaps and everything else in `inner`. Once per operator.
    pub fn remembering(&self, inner: Arc<dyn Store>) -> Arc<dyn Store> {
        let settings = &self.inner.settings;
        let maps = MapsConfig {
            namespace: settings.own_namespace.clone(),
            prefix: "sphere-state-".into(),
            count: MAPS,
        };
        let (client, leadership) = (self.inner.client.clone(), self.inner.leadership.clone());
        let store =
            self.inner.memory.get_or_init(|| Arc::new(MemoryStore::new(inner, client, maps, leadership)));
        Arc::clone(store) as Arc<dyn Store>
    }

    /// Looks after the objects until `stop`. `stage` makes the autoscale stage anew for every time we lead; it must use
    /// [`Self::workloads`], [`Self::target`] and [`Self::overseer`].
    pub async fn run(
        &self,
        stage: impl Fn() -> AutoscaleStage + Send + Sync,
        stop: CancellationToken,
    ) -> Result<(), StageError> {
        let inner = &self.inner;
        let inbox = self.inbox.lock().unwrap_or_else(PoisonError::into_inner).take();
        let inbox = inbox.ok_or_else(|| StageError::Failed("the operator runs already".into()))?;
        let (background, elected) = (CancellationToken::new(), CancellationToken::new());
        let mut tasks = JoinSet::new();
        if inner.settings.dry_run {
            info!("operator: dry run: decisions are made and logged, nothing is written");
            tokio::spawn(play_leader(inner.role.clone(), elected.clone()));
        } else {
            tasks.spawn(writer::run(Arc::clone(inner), background.clone()));
            tasks.spawn(events::publish(
                inner.client.clone(),
                inner.settings.identity.clone(),
                inbox,
                Arc::clone(&inner.counters),
                background.clone(),
            ));
        }
        tasks.spawn(reconcile(Arc::clone(inner), background.clone()));
        let election = Election {
            namespace: inner.settings.own_namespace.clone(),
            name: inner.settings.lease_name.clone(),
            me: inner.settings.identity.clone(),
            times: inner.settings.lease,
        };
        let voting = (!inner.settings.dry_run).then(|| {
            tokio::spawn(lease::run(inner.client.clone(), election, inner.role.clone(), elected.clone()))
        });
        let mut result = Ok(());
        let mut leadership = inner.leadership.clone();
        loop {
            match stop.run_until_cancelled(leadership.gained()).await {
                Some(true) => {}
                Some(false) => {
                    result = Err(StageError::Failed("leader election has ended".into()));
                    break;
                }
                None => break,
            }
            inner.counters.leads(true);
            result = self.lead(&stage, leadership.clone(), &stop).await;
            inner.counters.leads(false);
            if stop.is_cancelled() || result.is_err() {
                break;
            }
        }
        // What is news is told before the lease is given up.
        if inner.leadership.until().is_some() && !inner.settings.dry_run {
            writer::write_due(inner, Difference::News).await;
        }
        background.cancel();
        elected.cancel();
        if let Some(voting) = voting {
            let _ = tokio::time::timeout(Duration::from_secs(5), voting).await;
        }
        let ended = async { while tasks.join_next().await.is_some() {} };
        let _ = tokio::time::timeout(Duration::from_secs(5), ended).await;
        result
    }

    /// One time of leading: from gaining the lease to losing it, or the end.
    async fn lead(
        &self,
        stage: &(impl Fn() -> AutoscaleStage + Send + Sync),
        mut leadership: Leadership,
        stop: &CancellationToken,
    ) -> Result<(), StageError> {
        let inner = &self.inner;
        let prepared = async {
            self.wait_for_views().await;
            if let Some(memory) = inner.memory.get() {
                load_or_say(memory).await;
            }
        };
        let mut waiting = leadership.clone();
        tokio::select! {
            () = prepared => {}
            () = waiting.lost() => return Ok(()),
            () = stop.cancelled() => return Ok(()),
        }
        // Sizes seen in an earlier time of leading are no evidence against anybody.
        inner.guard.keep_only(|_| false);
        inner.reconcile();
        inner.sweep().await;
        let ends = stop.child_token();
        let running = stage().run(ends.clone());
        let mut running = std::pin::pin!(running);
        let keeping = self.keep_up();
        let mut keeping = std::pin::pin!(keeping);
        let early = loop {
            tokio::select! {
                result = &mut running => break Some(result),
                () = leadership.lost() => break None,
                () = &mut keeping => {}
            }
        };
        let result = match early {
            Some(result) => result,
            None => {
                warn!("operator: the lease is lost: no more orders from us");
                ends.cancel();
                match tokio::time::timeout(ENDING, running).await {
                    Ok(result) => result,
                    Err(_) => {
                        return Err(StageError::Failed(format!("the stage did not end within {ENDING:?}")));
                    }
                }
            }
        };
        self.flush().await;
        result
    }

    /// Waits until what decides about acting was seen once; says what it waits for.
    async fn wait_for_views(&self) {
        let inner = &self.inner;
        let mut seen = std::pin::pin!(inner.watches.ready());
        while tokio::time::timeout(RESYNC, &mut seen).await.is_err() {
            warn!(
                "operator: waiting for the first list of PredictiveAutoscalers and of the kill switch; nothing is done before"
            );
        }
        while let Err(error) = inner.cluster.synced(RESYNC).await {
            warn!(%error, "operator: waiting for the first lists; nothing is done before");
        }
    }

    /// What a leader does besides deciding.
    async fn keep_up(&self) {
        let mut rounds = tokio::time::interval(self.inner.settings.memory_every);
        rounds.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        loop {
            rounds.tick().await;
            self.flush().await;
            self.inner.sweep().await;
        }
    }

    async fn flush(&self) {
        let Some(memory) = self.inner.memory.get().filter(|_| !self.inner.settings.dry_run) else { return };
        if self.inner.leadership.until().is_none() {
            return;
        }
        match memory.flush().await {
            Ok(()) => self.inner.counters.memory("written"),
            Err(error) => {
                warn!(%error, "operator: what autoscalers remember could not be written; again in a while");
                self.inner.counters.memory("failed");
            }
        }
    }
}

/// In a dry run nothing is written, so that nobody has to be elected.
async fn play_leader(role: channel::Sender<Role>, stop: CancellationToken) {
    let until = Instant::now() + Duration::from_secs(365 * 24 * 3600);
    role.send_replace(Role::Leader { until });
    stop.cancelled().await;
}

/// Looks at all objects when something changes, and now and then all the same.
async fn reconcile(inner: Arc<Inner>, stop: CancellationToken) {
    let looking = async {
        let mut changes = inner.watches.changes();
        inner.watches.ready().await;
        loop {
            changes.mark_unchanged();
            inner.reconcile();
            let _ = tokio::time::timeout(RESYNC, changes.changed()).await;
            tokio::time::sleep(TOGETHER).await;
        }
    };
    stop.run_until_cancelled(looking).await;
}
