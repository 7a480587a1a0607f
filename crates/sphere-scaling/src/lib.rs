//! How many replicas should a workload have, and why?
//!
//! Pure: an observation, a forecast and the time go in, a decision with named reasons comes out.

mod capacity;
mod lead_time;
mod price;
mod slo;

pub use capacity::PodCapacity;
pub use lead_time::LeadTime;
pub use price::{DeadBand, PriceChoice, PriceConfig, PricePolicy};
pub use slo::{SloLoop, SloOutOfRange};
