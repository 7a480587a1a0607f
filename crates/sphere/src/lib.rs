//! What can a user do with SPHERE?
//!
//! The parts of the binary that are worth testing on their own.
//!
//! | module | question |
//! |---|---|
//! | [`simulate`] | which policy would have served this traffic best, and at what cost? |
//! | [`evaluate`] | how good are the forecasts of each model on this traffic? |
//! | [`decide`] | what would SPHERE have decided in this situation, and why? |
//! | [`config`] | what is it told to do, and what is wrong with that? |
//! | [`service`] | how does the pipeline run as a service? |
//! | [`verify`] | was anything lost on the way? |
//! | [`schema`] | which JSON does it read and write? |
//! | [`table`] | how do numbers line up in a terminal? |
//! | [`report`] | how do people see a simulation in a browser? |

pub mod bench;
pub mod config;
pub mod decide;
pub mod evaluate;
pub mod report;
pub mod schema;
pub mod service;
pub mod simulate;
pub mod table;
pub mod verify;
