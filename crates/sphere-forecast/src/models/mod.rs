//! Which point models are there?
//!
//! One file per model, each with its source. [`Model`] is the closed set of them: what the registry builds,
//! and what is stored as a workload's state.

mod arima;
mod calendar;
mod direct_trees;
mod ensemble;
mod ets;
mod founding;
mod gbt;
mod holt_winters;
mod last;
mod mean;
mod mstl;
mod prophet;
mod recurrent;
mod seasonal_naive;
mod smoothing;
mod theta;
mod windowed;

pub use arima::{Arima, ArimaConfig, ArimaFit};
pub use calendar::Season;
pub use direct_trees::{DirectTrees, DirectTreesConfig};
pub use ensemble::{Ensemble, MOST_MEMBERS};
pub use ets::{Ets, EtsFit};
pub use founding::{Founding, FoundingFit};
pub use gbt::{Gbt, GbtConfig};
pub use holt_winters::{HoltWinters, HoltWintersConfig, SeasonKind};
pub use last::LastValue;
pub use mean::MovingMean;
pub use mstl::{Mstl, MstlFit};
pub use prophet::{Event, Prophet, ProphetConfig, ProphetFit};
pub use recurrent::{Recurrent, RecurrentConfig};
pub use seasonal_naive::SeasonalNaive;
pub use smoothing::{Smoothing, SmoothingConfig, TrendKind};
pub use theta::{Theta, ThetaFit};
pub use windowed::{Fitted, WindowConfig, Windowed};

use crate::PointModel;
use serde::{Deserialize, Serialize};
use sphere_core::Timestamp;

/// Any of the point models.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
#[allow(clippy::large_enum_variant)] // one per workload, in one place; a box would cost a pointer chase per step
pub enum Model {
    /// See [`LastValue`].
    Last(LastValue),
    /// See [`MovingMean`].
    Mean(MovingMean),
    /// See [`SeasonalNaive`].
    SeasonalNaive(SeasonalNaive),
    /// See [`Smoothing`].
    Smoothing(Smoothing),
    /// See [`HoltWinters`].
    HoltWinters(HoltWinters),
    /// See [`ArimaFit`].
    Arima(Box<Arima>),
    /// See [`EtsFit`].
    Ets(Box<Ets>),
    /// See [`ThetaFit`].
    Theta(Box<Theta>),
    /// See [`ProphetFit`].
    Prophet(Box<Prophet>),
    /// See [`MstlFit`].
    Mstl(Box<Mstl>),
    /// See [`FoundingFit`].
    Founding(Box<Founding>),
    /// See [`Ensemble`].
    Ensemble(Box<Ensemble>),
    /// See [`DirectTrees`].
    DirectTrees(Box<DirectTrees>),
    /// See [`Gbt`].
    Gbt(Box<Gbt>),
    /// See [`Recurrent`].
    Recurrent(Box<Recurrent>),
}

macro_rules! each {
    ($self:expr, $model:ident => $body:expr) => {
        match $self {
            Model::Last($model) => $body,
            Model::Mean($model) => $body,
            Model::SeasonalNaive($model) => $body,
            Model::Smoothing($model) => $body,
            Model::HoltWinters($model) => $body,
            Model::Arima($model) => $body,
            Model::Ets($model) => $body,
            Model::Theta($model) => $body,
            Model::Prophet($model) => $body,
            Model::Mstl($model) => $body,
            Model::Founding($model) => $body,
            Model::Ensemble($model) => $body,
            Model::DirectTrees($model) => $body,
            Model::Gbt($model) => $body,
            Model::Recurrent($model) => $body,
        }
    };
}

impl PointModel for Model {
    fn begins_at(&mut self, first: Timestamp, step_ms: u64) {
        each!(self, m => m.begins_at(first, step_ms))
    }
    fn observe(&mut self, value: f64) {
        each!(self, m => m.observe(value))
    }
    fn skip(&mut self) {
        each!(self, m => m.skip())
    }
    fn restart(&mut self, steps: u64) {
        each!(self, m => m.restart(steps))
    }
    fn refit(&mut self) {
        each!(self, m => m.refit())
    }
    fn stagger_refits(&mut self, phase: usize) {
        each!(self, m => m.stagger_refits(phase))
    }
    fn observations(&self) -> usize {
        each!(self, m => m.observations())
    }
    fn needed(&self) -> usize {
        each!(self, m => m.needed())
    }
    fn heap_bytes(&self) -> usize {
        each!(self, m => m.heap_bytes())
    }
    fn predict(&self, out: &mut [f64]) {
        each!(self, m => m.predict(out))
    }
}
