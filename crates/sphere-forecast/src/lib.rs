//! What will demand be over the coming steps, and how sure are we?
//!
//! Every model is online: [`Forecaster::observe`] takes one value in O(1) or close, and
//! [`Forecaster::distributions`] gives the predictive distribution of each step ahead. Nothing here reads a
//! clock, does I/O or draws random numbers: the same calls give the same answers in the live system, in the
//! simulator and in a backtest.

mod forecaster;
mod lead;

pub use forecaster::{Forecaster, Grid, NotReady, Observed};
pub use lead::{LeadConfig, LeadForecaster};
