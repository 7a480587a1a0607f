//! How does the pipeline run as a service?
//!
//! | module | question |
//! |---|---|
//! | [`parts`] | which bus, store, source, target and clock does the configuration ask for? |
//! | [`operator`] | and what the operator? |
//! | [`supervise`] | who starts and stops the stages, and how does it end? |
//! | [`http`] | how do Prometheus and Kubernetes see the process? |
//! | [`logging`] | where do logs go? |
//! | [`live`] | what is going on, at a glance? |
//! | [`summary`] | what was done, in numbers? |

pub mod http;
pub mod live;
pub mod logging;
pub mod operator;
pub mod parts;
pub mod process;
pub mod summary;
pub mod supervise;
