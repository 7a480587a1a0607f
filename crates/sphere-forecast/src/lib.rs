//! What will demand be over the coming steps, and how sure are we?
//!
//! Every model is online: [`Forecaster::observe`] takes one value in O(1) or close, and
//! [`Forecaster::distributions`] gives the predictive distribution of each step ahead. Nothing here reads a
//! clock, does I/O or draws random numbers: the same calls give the same answers in the live system, in the
//! simulator and in a backtest.
//!
//! ```
//! use sphere_core::Timestamp;
//! use sphere_forecast::{Forecaster, registry};
//! use std::time::Duration;
//!
//! let step = Duration::from_secs(10);
//! let mut holt = registry::create("holt", step)?;
//! for i in 0..60 {
//!     holt.observe(Timestamp::from_secs(10 * i), 100.0 + 2.0 * i as f64);
//! }
//! let forecast = holt.forecast(15, Duration::from_secs(60))?;
//! let in_150_s = &forecast.steps[14].demand;
//! assert!((in_150_s.mean() - 248.0).abs() < 0.01);
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
//!
//! | where | what |
//! |---|---|
//! | [`registry`] | names → forecasters |
//! | [`models`] | the point models |
//! | [`AutoForecaster`] | experts, profiles and regression mixed by recent loss, for any series |
//! | [`LeadForecaster`] | the direct forecast of the lead time that scaling decides on |
//! | [`Online`] | time grid, hygiene, calibrated quantiles around any point model |
//! | [`StoredForecaster`] | any of them, with a state that outlives the process |
//! | [`evaluation`] | how good the forecasts of a model are on a series |
//! | [`calibration`] | how quantiles are kept honest |
//! | [`fit`] | estimation of smoothing parameters and initial states |
//! | [`trees`] | gradient-boosted trees, and [`features`] for them |
//! | [`neural`] | a small LSTM, trained step by step |
//! | [`wavelet`] | demand taken apart by time scale |

mod auto;
pub mod calibration;
pub mod evaluation;
pub mod features;
pub mod fit;
mod forecaster;
mod history;
mod lead;
pub mod models;
pub mod neural;
mod online;
mod point;
pub mod registry;
mod rng;
#[cfg(test)]
mod series;
mod stored;
pub mod trees;
pub mod wavelet;

pub use auto::{AUTO, AutoConfig, AutoForecaster};
pub use forecaster::{Forecaster, Grid, NotReady, Observed};
pub use lead::{LeadConfig, LeadForecaster};
pub use online::{Online, OnlineConfig, STATE_VERSION};
pub use point::PointModel;
pub use stored::{StateError, StoredForecaster};

/// Values of larger magnitude are refused: their squares, summed over a window, still fit a double.
pub const MAX_MAGNITUDE: f64 = 1e100;
