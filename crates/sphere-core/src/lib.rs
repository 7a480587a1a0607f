//! Which words do all parts of SPHERE share?
//!
//! A [`Sample`] says what a workload did at one instant, a [`Forecast`] says how its demand will be
//! distributed at each step ahead, a [`Decision`] says how many replicas it should have and *why*. The crate
//! holds those types and their invariants and nothing else: no clock, no I/O, no runtime. Forecasting and
//! scaling do not know each other; they meet in [`Forecast`].
//!
//! Absent is not zero: whatever may be missing is an `Option`, and constructors refuse NaN.

mod decision;
mod forecast;
mod sample;
mod time;
mod workload;

pub use decision::{Decision, Mode, Reason};
pub use forecast::{
    Distribution, DistributionError, Distrust, Forecast, Period, QUANTILE_LEVELS, StepForecast, Trust,
};
pub use sample::{Sample, SampleError};
pub use time::Timestamp;
pub use workload::{ParseWorkloadIdError, WorkloadId};
