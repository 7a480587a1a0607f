//! What can a user do with SPHERE?
//!
//! The parts of the binary that are worth testing on their own.

pub mod evaluate;
pub mod report;
