//! Who may keep a workload from being scaled, and who hears what was decided?
//!
//! The autoscale stage makes all decisions. An [`Overseer`] looks after the objects behind the workloads: it says
//! what stands in the way of acting on one (another writer, a kill switch), and it is told of every decision and what
//! became of it, for status and events. Without one nothing stands in the way.

use crate::source::{Problems, SourceError};
use crate::target::{Applied, TargetError};
use crate::workload::Workload;
use sphere_core::{Decision, Forecast, Reason, Timestamp};
use sphere_scaling::Autoscaler;

/// See the module text. Both calls are made from the loop of the stage: they must not block.
pub trait Overseer: Send + Sync + 'static {
    /// What keeps us from acting on this workload now; empty: nothing. It is decided all the same, and not applied.
    fn holds(&self, workload: &Workload, now: Timestamp) -> Vec<Reason>;

    /// A decision was made, and carried out as far as it was.
    fn decided(&self, told: &Told<'_>);
}

/// What the target answered.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Outcome {
    /// To a new minimum of the HPA; `None`: not asked.
    pub floor: Option<Result<Applied, TargetError>>,
    /// To a new size; `None`: not asked.
    pub size: Option<Result<Applied, TargetError>>,
}

/// All that is known of one workload right after a decision.
pub struct Told<'a> {
    /// The workload.
    pub workload: &'a Workload,
    /// The decision; `applied` says whether something was written.
    pub decision: &'a Decision,
    /// What the target answered.
    pub outcome: &'a Outcome,
    /// Replicas asked for now.
    pub to: u32,
    /// The HPA's minimum that is ours now; `None`: it is as its owner wrote it.
    pub floor: Option<u32>,
    /// Replicas ready; `None`: not measured.
    pub ready: Option<u32>,
    /// Newest demand; `None`: not measured.
    pub demand: Option<f64>,
    /// The newest forecast, whether used or not.
    pub forecast: Option<&'a Forecast>,
    /// Who decided, with all it remembers: lead time, price, status of the reactive part.
    pub autoscaler: &'a Autoscaler,
    /// Why the size could not be read.
    pub size_error: Option<&'a TargetError>,
    /// Why there are no live metrics.
    pub live_error: Option<&'a SourceError>,
    /// What of them is missing, and why; `None` without live metrics.
    pub problems: Option<&'a Problems>,
}
