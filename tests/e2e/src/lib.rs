//! Does the operator do on a real Kubernetes API what SPHERE claims?
//!
//! The tests of this crate drive the real `sphere operator` as a process, with no rights but those of the manifests in
//! `deploy/`, against the control plane of `tests/e2e/controlplane`: real API server, real HPA controller, computed pods.
//! They are ignored in `cargo test`, which must not need Go; `make e2e` builds and starts the control plane and runs them.
//! To run one against a control plane that is there already (`make controlplane`):
//!
//! ```text
//! export SPHERE_TEST_KUBECONFIG=… SPHERE_TEST_HARNESS=http://127.0.0.1:…     # as `make controlplane` prints them
//! cargo test -p sphere-e2e -- --ignored name_of_the_test
//! ```
//!
//! [`Rig`] is the way to the control plane, [`Space`] a namespace of one test with its workloads, [`Operator`] an operator
//! process, [`Harness`] demand, scores and faults, [`SetUp`] what the simulator says of a set-up, [`Report`] a row of the table that `make e2e` prints.

// A helper of tests that fails has nobody to return an error to.
#![allow(clippy::missing_panics_doc, clippy::unwrap_used)]

mod harness;
mod operator;
mod predicted;
mod report;
mod rig;
mod space;
mod wait;

pub use harness::{Harness, Moment, Score};
pub use operator::{Installation, Operator};
pub use predicted::SetUp;
pub use report::Report;
pub use rig::{Rig, kubectl};
pub use space::{App, Autoscaler, Space, autoscalers};
pub use wait::{Patience, eventually, throughout};
