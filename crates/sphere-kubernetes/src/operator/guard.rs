//! What lies between a decision and the cluster?
//!
//! A [`Guard`] around the scale target: nothing is written unless this process leads *at that moment*, a write that is on
//! its way is given up before the lease can run out, and every size seen or written is told to [`Rivals`].

use super::rivals::{RivalLimits, Rivals};
use crate::lease::Leadership;
use async_trait::async_trait;
use sphere_core::{Mode, Timestamp, WorkloadId};
use sphere_pipeline::{Applied, Clock, ScaleTarget, TargetError, Workload};
use sphere_scaling::hpa::Scale;
use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;
use tokio::time::Instant;

/// Longest time for one write.
const PATIENCE: Duration = Duration::from_secs(5);

/// See the module text.
pub struct Guard {
    inner: Arc<dyn ScaleTarget>,
    leadership: Leadership,
    clock: Clock,
    limits: RivalLimits,
    dry_run: bool,
    rivals: Mutex<HashMap<WorkloadId, Rivals>>,
}

impl Guard {
    /// Around `inner`. In a dry run nothing is ever written.
    pub fn new(
        inner: Arc<dyn ScaleTarget>,
        leadership: Leadership,
        clock: Clock,
        limits: RivalLimits,
        dry_run: bool,
    ) -> Self {
        Self { inner, leadership, clock, limits, dry_run, rivals: Mutex::default() }
    }

    /// Whom to name, if somebody keeps changing the size of this workload.
    pub fn rival(&self, workload: &WorkloadId, now: Timestamp) -> Option<String> {
        let rivals = self.rivals.lock().unwrap_or_else(PoisonError::into_inner);
        rivals.get(workload).and_then(|rivals| rivals.rival(now))
    }

    /// Forgets what others did to workloads that are not in `kept`; everything, for a new leader.
    pub fn keep_only(&self, kept: impl Fn(&WorkloadId) -> bool) {
        self.rivals.lock().unwrap_or_else(PoisonError::into_inner).retain(|id, _| kept(id));
    }

    fn note(&self, workload: &WorkloadId, note: impl FnOnce(&mut Rivals)) {
        let mut rivals = self.rivals.lock().unwrap_or_else(PoisonError::into_inner);
        note(rivals.entry(workload.clone()).or_default());
    }

    fn saw(&self, workload: &Workload, size: u32) {
        // In the other modes somebody else is meant to change the size.
        if workload.spec.mode >= Mode::ScaleOut {
            let now = self.clock.now();
            self.note(&workload.id, |rivals| rivals.see(now, size, &self.limits));
        } else {
            self.rivals.lock().unwrap_or_else(PoisonError::into_inner).remove(&workload.id);
        }
    }

    /// Makes a write, if we lead, as long as we lead.
    async fn write(
        &self,
        call: impl Future<Output = Result<Applied, TargetError>>,
    ) -> Result<Applied, TargetError> {
        let Some(until) = self.leadership.until().filter(|_| !self.dry_run) else {
            return Ok(Applied::Untouched);
        };
        let ends = until.min(Instant::now() + PATIENCE);
        let late = |_| Err(TargetError::Unavailable("no answer from the API server in time".into()));
        tokio::time::timeout_at(ends, call).await.unwrap_or_else(late)
    }
}

#[async_trait]
impl ScaleTarget for Guard {
    async fn scale(&self, workload: &Workload) -> Result<Option<Scale>, TargetError> {
        let scale = self.inner.scale(workload).await?;
        if let Some(scale) = scale {
            self.saw(workload, scale.spec_replicas.max(0).unsigned_abs());
        }
        Ok(scale)
    }

    async fn set_replicas(&self, workload: &Workload, from: u32, to: u32) -> Result<Applied, TargetError> {
        if self.leadership.until().is_none() || self.dry_run {
            return Ok(Applied::Untouched);
        }
        self.note(&workload.id, |rivals| rivals.intend(to));
        let answer = self.write(self.inner.set_replicas(workload, from, to)).await;
        match &answer {
            Ok(Applied::Done) => self.note(&workload.id, |rivals| rivals.wrote(to)),
            Ok(Applied::Moved { replicas }) => self.saw(workload, *replicas),
            _ => {}
        }
        answer
    }

    async fn set_floor(&self, workload: &Workload, floor: Option<u32>) -> Result<Applied, TargetError> {
        self.write(self.inner.set_floor(workload, floor)).await
    }

    fn floor_stands(&self, workload: &Workload, floor: u32) -> bool {
        self.inner.floor_stands(workload, floor)
    }

    async fn startups(&self, workload: &Workload) -> Result<Vec<Duration>, TargetError> {
        self.inner.startups(workload).await
    }

    async fn check(&self) -> Result<(), TargetError> {
        self.inner.check().await
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::lease::Role;
    use sphere_pipeline::WorkloadSpec;
    use std::sync::atomic::{AtomicU32, Ordering};
    use tokio::sync::watch;

    /// A target that remembers one size, and can be slow.
    #[derive(Default)]
    struct Size {
        replicas: AtomicU32,
        slow: bool,
    }

    #[async_trait]
    impl ScaleTarget for Size {
        async fn scale(&self, _: &Workload) -> Result<Option<Scale>, TargetError> {
            let n = self.replicas.load(Ordering::SeqCst) as i32;
            Ok(Some(Scale { spec_replicas: n, status_replicas: n }))
        }
        async fn set_replicas(&self, _: &Workload, _: u32, to: u32) -> Result<Applied, TargetError> {
            if self.slow {
                std::future::pending::<()>().await;
            }
            self.replicas.store(to, Ordering::SeqCst);
            Ok(Applied::Done)
        }
        async fn set_floor(&self, _: &Workload, _: Option<u32>) -> Result<Applied, TargetError> {
            Ok(Applied::Done)
        }
        async fn startups(&self, _: &Workload) -> Result<Vec<Duration>, TargetError> {
            Ok(Vec::new())
        }
        async fn check(&self) -> Result<(), TargetError> {
            Ok(())
        }
    }

    fn workload(mode: Mode) -> Workload {
        let id = "shop/Deployment/web".parse().unwrap();
        Workload::new(WorkloadSpec { mode, ..WorkloadSpec::new(&id, 1, 50) }).unwrap()
    }

    fn guard(target: &Arc<Size>, dry_run: bool) -> (watch::Sender<Role>, Guard) {
        let (role, receiver) = watch::channel(Role::Standby { leader: None });
        let guard = Guard::new(
            Arc::clone(target) as Arc<dyn ScaleTarget>,
            Leadership::new(receiver),
            Clock::manual(Timestamp::from_secs(1)),
            RivalLimits::default(),
            dry_run,
        );
        (role, guard)
    }

    fn lead(role: &watch::Sender<Role>, seconds: u64) {
        role.send_replace(Role::Leader { until: Instant::now() + Duration::from_secs(seconds) });
    }

    #[tokio::test(start_paused = true)]
    async fn only_who_leads_writes_and_only_as_long_as_the_lease_says() {
        let target = Arc::new(Size::default());
        let (role, guard) = guard(&target, false);
        let web = workload(Mode::Full);
        assert_eq!(guard.set_replicas(&web, 0, 4).await, Ok(Applied::Untouched));
        lead(&role, 10);
        assert_eq!(guard.set_replicas(&web, 0, 4).await, Ok(Applied::Done));
        tokio::time::advance(Duration::from_secs(10)).await;
        assert_eq!(guard.set_replicas(&web, 4, 5).await, Ok(Applied::Untouched));
        assert_eq!(guard.set_floor(&web, Some(5)).await, Ok(Applied::Untouched));
        assert_eq!(target.replicas.load(Ordering::SeqCst), 4);
    }

    #[tokio::test(start_paused = true)]
    async fn a_write_on_its_way_is_given_up_before_the_lease_ends() {
        let target = Arc::new(Size { slow: true, ..Size::default() });
        let (role, guard) = guard(&target, false);
        lead(&role, 3);
        let started = Instant::now();
        assert!(guard.set_replicas(&workload(Mode::Full), 0, 4).await.is_err());
        assert_eq!(started.elapsed(), Duration::from_secs(3));
    }

    #[tokio::test(start_paused = true)]
    async fn a_dry_run_writes_nothing() {
        let target = Arc::new(Size::default());
        let (role, guard) = guard(&target, true);
        lead(&role, 10);
        assert_eq!(guard.set_replicas(&workload(Mode::Full), 0, 4).await, Ok(Applied::Untouched));
        assert_eq!(guard.set_floor(&workload(Mode::Floor), Some(4)).await, Ok(Applied::Untouched));
    }

    #[tokio::test(start_paused = true)]
    async fn a_rival_is_seen_where_we_scale_and_not_where_the_hpa_does() {
        let target = Arc::new(Size::default());
        let (role, guard) = guard(&target, false);
        lead(&role, 1000);
        for (mode, rival) in [(Mode::Floor, false), (Mode::Full, true)] {
            let web = workload(mode);
            guard.scale(&web).await.unwrap();
            for size in [3, 4, 5] {
                target.replicas.store(size, Ordering::SeqCst);
                guard.scale(&web).await.unwrap();
            }
            assert_eq!(guard.rival(&web.id, Timestamp::from_secs(2)).is_some(), rival, "{mode:?}");
        }
    }
}
