//! How does SPHERE live in a Kubernetes cluster?

pub mod lease;
pub mod memory;
// pub mod operator;
pub mod requests;
