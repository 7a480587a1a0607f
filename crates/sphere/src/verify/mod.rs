//! Was anything lost on the way?
//!
//! [`ledger`] counts what is on the topics, record by record, and says what is missing; [`reading`] reads the topics
//! from the beginning.

pub mod ledger;
pub mod reading;

pub use ledger::{Account, Ledger, Report};
