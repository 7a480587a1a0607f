//! Who changes the number of replicas?
//!
//! A [`ScaleTarget`] reads and writes the size of workloads. [`NoTarget`] does neither: decisions are published
//! only, sizes are those the metric source reports.

use crate::workload::Workload;
use async_trait::async_trait;
use sphere_scaling::hpa::Scale;
use std::time::Duration;

/// What became of an order.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Applied {
    /// The size is now as ordered.
    Done,
    /// Somebody changed the size since it was read; nothing was written.
    Moved {
        /// Replicas asked for now.
        replicas: u32,
    },
    /// This target changes nothing.
    Untouched,
}

/// Reads and changes sizes. See the module text.
#[async_trait]
pub trait ScaleTarget: Send + Sync + 'static {
    /// The size now; `None`: this target does not know, the metric source does.
    async fn scale(&self, workload: &Workload) -> Result<Option<Scale>, TargetError>;

    /// Orders `to` replicas if there are still `from`.
    async fn set_replicas(&self, workload: &Workload, from: u32, to: u32) -> Result<Applied, TargetError>;

    /// Sets the smallest size the HPA in charge may choose; `None` gives the field back.
    async fn set_floor(&self, workload: &Workload, floor: Option<u32>) -> Result<Applied, TargetError>;

    /// Is the floor that was set still there, as far as is known without asking? If not, it is set again.
    fn floor_stands(&self, _workload: &Workload, _floor: u32) -> bool {
        true
    }

    /// Times from create to Ready of pods that became ready since the last call.
    async fn startups(&self, workload: &Workload) -> Result<Vec<Duration>, TargetError>;

    /// Is the target reachable now?
    async fn check(&self) -> Result<(), TargetError>;
}

/// Why a size could not be read or written.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum TargetError {
    /// Worth another try.
    #[error("scale target: {0}")]
    Unavailable(String),
    /// There is no such workload, or it can not be scaled.
    #[error("scale target: {0}")]
    NotScalable(String),
    /// We lack the right; the text names verb and resource.
    #[error("scale target: forbidden: {0}")]
    Forbidden(String),
}

/// Changes nothing.
#[derive(Clone, Copy, Debug, Default)]
pub struct NoTarget;

#[async_trait]
impl ScaleTarget for NoTarget {
    async fn scale(&self, _: &Workload) -> Result<Option<Scale>, TargetError> {
        Ok(None)
    }
    async fn set_replicas(&self, _: &Workload, _: u32, _: u32) -> Result<Applied, TargetError> {
        Ok(Applied::Untouched)
    }
    async fn set_floor(&self, _: &Workload, _: Option<u32>) -> Result<Applied, TargetError> {
        Ok(Applied::Untouched)
    }
    async fn startups(&self, _: &Workload) -> Result<Vec<Duration>, TargetError> {
        Ok(Vec::new())
    }
    async fn check(&self) -> Result<(), TargetError> {
        Ok(())
    }
}
