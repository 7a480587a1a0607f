//! Who writes sizes, and with which right?
//!
//! Sizes are written through the scale subresource, of any kind that has one, and nowhere else: one verb on one resource.
//! An order names the size it was made for. It is read, compared, and written with the `resourceVersion` that was read; if
//! somebody was faster it is read again, and given up if the size is another one.
//!
//! In mode `Floor` the minimum of an HPA is set instead: see [`floor`](self) in the sources.

mod floor;

use crate::cluster::{Cluster, SizeFacts};
use crate::error::{ApiError, Attempt};
use async_trait::async_trait;
use k8s_openapi::api::autoscaling::v1::ScaleSpec;
use kube::api::PostParams;
use sphere_core::WorkloadId;
use sphere_pipeline::{Applied, ScaleTarget, TargetError, Workload};
use sphere_scaling::hpa::Scale;
use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

/// Tries of a write. The status of a busy Deployment changes several times a second, and each change is a new version.
const TRIES: usize = 8;
/// Workloads whose start-ups were told; beyond that the memory begins anew, and some are told twice.
const MOST_WORKLOADS: usize = 65_536;

/// The API server as a scale target. See the module text.
pub struct KubernetesTarget {
    cluster: Arc<Cluster>,
    /// Number of the last start-up told, by workload.
    told: Mutex<HashMap<WorkloadId, u64>>,
}

impl KubernetesTarget {
    /// A target on a cluster that is watched.
    pub fn new(cluster: Arc<Cluster>) -> Self {
        Self { cluster, told: Mutex::default() }
    }

    /// Gives back every floor whose target is not in `keep`; returns how many. All are tried; the first error is told.
    ///
    /// For the start of a leader, and for workloads that are no longer ours: the memory of a floor is on the HPA.
    pub async fn release_floors(&self, keep: &[WorkloadId]) -> Result<usize, TargetError> {
        let mut released = 0;
        let mut first = None;
        for hpa in self.cluster.floors() {
            if hpa.workload().is_some_and(|id| keep.contains(&id)) {
                continue;
            }
            match floor::give_back(&self.cluster, &hpa.namespace, &hpa.name).await {
                Ok(()) => released += 1,
                Err(error) if error.is_not_found() => {}
                Err(error) => first = first.or(Some(error)),
            }
        }
        first.map_or(Ok(released), |error| Err(error.into()))
    }

    async fn write(&self, workload: &Workload, from: u32, to: u32) -> Result<Applied, ApiError> {
        let name = workload.id.name();
        let (api, update) = self.cluster.scale_of(workload, "update").await?;
        let asked = i32::try_from(to).unwrap_or(i32::MAX);
        let options = PostParams {
            field_manager: Some(self.cluster.config().field_manager.clone()),
            ..PostParams::default()
        };
        let mut conflict = None;
        for _ in 0..TRIES {
            let get = Attempt { verb: "get", ..update.clone() };
            let mut scale = self.cluster.within(get, api.get_scale(name)).await?;
            let found = scale.spec.as_ref().and_then(|spec| spec.replicas).unwrap_or(0).max(0).unsigned_abs();
            if found != from {
                self.cluster.remember_answer(&workload.id, SizeFacts::of_scale(&scale));
                return Ok(Applied::Moved { replicas: found });
            }
            // The version that was read stays in the metadata: the API server refuses what is based on an older one.
            scale.spec = Some(ScaleSpec { replicas: Some(asked) });
            match self.cluster.within(update.clone(), api.replace_scale(name, &options, &scale)).await {
                Ok(scale) => {
                    self.cluster.remember_answer(&workload.id, SizeFacts::of_scale(&scale));
                    return Ok(Applied::Done);
                }
                Err(error) if error.is_conflict() => conflict = Some(error),
                Err(error) => return Err(error),
            }
        }
        let detail = format!("changed under our hands {TRIES} times");
        Err(conflict.unwrap_or(ApiError::Conflict { attempt: update, detail }))
    }
}

#[async_trait]
impl ScaleTarget for KubernetesTarget {
    async fn scale(&self, workload: &Workload) -> Result<Option<Scale>, TargetError> {
        Ok(Some(self.cluster.size(workload).await?.scale))
    }

    async fn set_replicas(&self, workload: &Workload, from: u32, to: u32) -> Result<Applied, TargetError> {
        let written = self.write(workload, from, to).await;
        let written = written.inspect_err(|error| self.cluster.forget_kind_if_gone(workload, error))?;
        Ok(written)
    }

    async fn set_floor(&self, workload: &Workload, floor: Option<u32>) -> Result<Applied, TargetError> {
        floor::set(&self.cluster, workload, floor).await
    }

    fn floor_stands(&self, workload: &Workload, floor: u32) -> bool {
        floor::stands(&self.cluster.autoscalers_of(&workload.id), floor)
    }

    async fn startups(&self, workload: &Workload) -> Result<Vec<Duration>, TargetError> {
        let size = self.cluster.size(workload).await?;
        let Some(selector) = &size.selector else { return Ok(Vec::new()) };
        let mut told = self.told.lock().unwrap_or_else(PoisonError::into_inner);
        let since = told.get(&workload.id).copied().unwrap_or(0);
        let (took, newest) = self.cluster.startups_after(since, workload.id.namespace(), selector);
        if told.len() >= MOST_WORKLOADS {
            told.clear();
        }
        told.insert(workload.id.clone(), newest);
        Ok(took)
    }

    async fn check(&self) -> Result<(), TargetError> {
        let attempt = Attempt::on_all("get", "/version", "", "");
        self.cluster.within(attempt, self.cluster.client().apiserver_version()).await?;
        Ok(())
    }
}
