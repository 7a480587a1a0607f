//! What are the workloads doing now, and what did they do before?
//!
//! A [`MetricSource`] answers for all workloads in one call, so that thousands cost a few queries. It has two
//! readers. *Collect* wants [`Sample`]s for the forecaster. *Autoscale* wants what the HPA would see
//! ([`Live`]): the reactive path reads metrics by itself and needs neither bus nor forecaster.
//!
//! Absent is not zero: a workload without data is an [`SourceError`] or a field that is `None`, never 0.

use crate::workload::Workload;
use async_trait::async_trait;
use sphere_core::{Sample, Timestamp};
use sphere_scaling::hpa::{MetricError, PodReadings, PodStatus, Reading};
use std::sync::Arc;
use std::time::Duration;

/// What was measured for one metric of the spec, owned. See [`Reading`].
#[derive(Clone, Debug, PartialEq)]
pub enum LiveReading {
    /// Nothing: why.
    Unavailable(MetricError),
    /// Resource, ContainerResource, Pods: one reading per pod of [`Live::pods`], in its order.
    PerPod(PodReadings),
    /// Object: the value, milli-units.
    Object(i64),
    /// External: the series, milli-units.
    External(Vec<i64>),
}

impl LiveReading {
    /// As the calculation wants it.
    pub fn borrow(&self) -> Reading<'_> {
        match self {
            LiveReading::Unavailable(error) => Reading::Unavailable(*error),
            LiveReading::PerPod(readings) => {
                Reading::PerPod { pods: &readings.pods, strays_milli: &readings.strays_milli }
            }
            LiveReading::Object(value) => Reading::Object(*value),
            LiveReading::External(series) => Reading::External(series),
        }
    }
}

/// All that is known of one workload now.
#[derive(Clone, Debug, PartialEq)]
pub struct Live {
    /// Demand, capacity, replicas, as the forecaster gets them.
    pub sample: Sample,
    /// The pods, if the source knows them.
    pub pods: Vec<PodStatus>,
    /// One per metric of the spec, in its order.
    pub readings: Vec<LiveReading>,
    /// Share of ready capacity in use, where it is measured independently of demand.
    pub utilization: Option<f64>,
    /// Mean number of ready replicas over the last step; `None`: not measured.
    pub mean_ready: Option<f64>,
    /// Share of the last step in which demand exceeded ready capacity; `None`: not measured.
    pub violated_share: Option<f64>,
    /// Why something of this is absent.
    pub problems: Problems,
}

/// What could not be measured, and why, for people: decisions look at what is there.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Problems {
    /// The demand.
    pub demand: Option<SourceError>,
    /// Metrics of the spec without a reading, by name.
    pub metrics: Vec<(String, SourceError)>,
}

/// Past demand of one workload: for each step of the grid the value, or that there is none.
pub type History = Vec<(Timestamp, Option<f64>)>;

/// Where measurements come from. See the module text.
#[async_trait]
pub trait MetricSource: Send + Sync + 'static {
    /// Its name in samples, logs and metrics, e.g. `prometheus`.
    fn name(&self) -> &'static str;

    /// One sample per workload, in order, for the step that ends at `at`.
    async fn samples(&self, workloads: &[Arc<Workload>], at: Timestamp) -> Vec<Result<Sample, SourceError>>;

    /// What the HPA would see now, one per workload, in order.
    async fn live(&self, workloads: &[Arc<Workload>], at: Timestamp) -> Vec<Result<Live, SourceError>>;

    /// Demand on the grid of `step` after `from` up to and including `to`, one per workload, in order.
    async fn history(
        &self,
        workloads: &[Arc<Workload>],
        from: Timestamp,
        to: Timestamp,
        step: Duration,
    ) -> Vec<Result<History, SourceError>>;

    /// Is the source reachable now?
    async fn check(&self) -> Result<(), SourceError>;
}

/// Why there is no measurement.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum SourceError {
    /// The source could not be asked: connection, time-out, HTTP 5xx. Worth another try.
    #[error("{source_name}: {detail}")]
    Unavailable {
        /// The source.
        source_name: &'static str,
        /// What happened.
        detail: String,
    },
    /// It answered, but not with something we can use: garbage, an error about the query, partial data.
    #[error("{source_name}: {detail}")]
    BadAnswer {
        /// The source.
        source_name: &'static str,
        /// What was wrong.
        detail: String,
    },
    /// It answered that there is nothing: an empty vector, or only stale or NaN values.
    #[error("{source_name}: no data: {detail}")]
    NoData {
        /// The source.
        source_name: &'static str,
        /// What was asked for.
        detail: String,
    },
}

impl SourceError {
    /// The closed label used in metrics.
    pub fn label(&self) -> &'static str {
        match self {
            SourceError::Unavailable { .. } => "unavailable",
            SourceError::BadAnswer { .. } => "bad_answer",
            SourceError::NoData { .. } => "no_data",
        }
    }
}
