//! Who may change sizes in the simulated cluster, and how?
//!
//! Compare-and-set, as with a scale subresource and its version: an order names the size it was made for. A floor is
//! the minReplicas of the workload's own HPA; without one there is nothing to raise.

use crate::cluster::SimulatedCluster;
use crate::workload::LiveWorkload;
use async_trait::async_trait;
use sphere_core::WorkloadId;
use sphere_pipeline::target::{Applied, ScaleTarget, TargetError};
use sphere_pipeline::workload::Workload;
use sphere_scaling::hpa::Scale;
use std::time::Duration;

fn unknown(id: &WorkloadId) -> TargetError {
    TargetError::NotScalable(format!("{id} is not in the simulated cluster"))
}

fn scale_of(live: &LiveWorkload) -> Scale {
    let count = |n: u32| i32::try_from(n).unwrap_or(i32::MAX);
    Scale { spec_replicas: count(live.replicas()), status_replicas: count(live.replicas()) }
}

impl SimulatedCluster {
    async fn with<R>(
        &self,
        id: &WorkloadId,
        act: impl FnOnce(&mut LiveWorkload) -> Result<R, TargetError>,
    ) -> Result<R, TargetError> {
        let index = self.index_of(id).ok_or_else(|| unknown(id))?;
        self.catch_up().await;
        act(&mut self.state().workloads[index])
    }

    /// The size now.
    pub async fn scale_now(&self, id: &WorkloadId) -> Result<Scale, TargetError> {
        self.with(id, |live| Ok(scale_of(live))).await
    }

    /// Orders `to` replicas if there are still `from`.
    pub async fn order(&self, id: &WorkloadId, from: u32, to: u32) -> Result<Applied, TargetError> {
        self.with(id, |live| {
            if live.replicas() != from {
                return Ok(Applied::Moved { replicas: live.replicas() });
            }
            if to > live.quota {
                return Err(TargetError::NotScalable(format!(
                    "{id}: {to} replicas ordered, the quota allows {}",
                    live.quota
                )));
            }
            live.order(to);
            Ok(Applied::Done)
        })
        .await
    }

    /// Sets the smallest size the workload's HPA may choose; `None`: as configured.
    pub async fn order_floor(&self, id: &WorkloadId, floor: Option<u32>) -> Result<Applied, TargetError> {
        self.with(id, |live| {
            if !live.has_hpa() {
                return Err(TargetError::NotScalable(format!("{id} has no HPA whose minimum could be set")));
            }
            if let Some(floor) = floor.filter(|floor| !(1..=live.quota).contains(floor)) {
                return Err(TargetError::NotScalable(format!(
                    "{id}: a minimum of {floor}, 1..={} is accepted",
                    live.quota
                )));
            }
            live.set_floor(floor);
            Ok(Applied::Done)
        })
        .await
    }

    /// Smallest size the workload's HPA may choose; `None`: it has no HPA.
    pub async fn floor_now(&self, id: &WorkloadId) -> Result<Option<u32>, TargetError> {
        self.with(id, |live| Ok(live.floor())).await
    }

    /// Start-ups numbered `since` and later, and the number of the next one. The last 256 are remembered.
    pub async fn startups_since(
        &self,
        id: &WorkloadId,
        since: u64,
    ) -> Result<(Vec<Duration>, u64), TargetError> {
        self.with(id, |live| Ok(live.startups_since(since))).await
    }
}

#[async_trait]
impl ScaleTarget for SimulatedCluster {
    async fn scale(&self, workload: &Workload) -> Result<Option<Scale>, TargetError> {
        self.scale_now(&workload.id).await.map(Some)
    }

    async fn set_replicas(&self, workload: &Workload, from: u32, to: u32) -> Result<Applied, TargetError> {
        self.order(&workload.id, from, to).await
    }

    async fn set_floor(&self, workload: &Workload, floor: Option<u32>) -> Result<Applied, TargetError> {
        self.order_floor(&workload.id, floor).await
    }

    async fn startups(&self, workload: &Workload) -> Result<Vec<Duration>, TargetError> {
        let index = self.index_of(&workload.id).ok_or_else(|| unknown(&workload.id))?;
        self.catch_up().await;
        let mut state = self.state();
        let (took, next) = state.workloads[index].startups_since(state.startups_told[index]);
        state.startups_told[index] = next;
        Ok(took)
    }

    async fn check(&self) -> Result<(), TargetError> {
        Ok(())
    }
}
