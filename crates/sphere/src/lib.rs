//! What can a user do with SPHERE?
//!
//! The parts of the binary that are worth testing on their own.

pub mod decide;
pub mod schema;
