//! How does SPHERE live in a Kubernetes cluster?

pub mod lease;
pub mod requests;
