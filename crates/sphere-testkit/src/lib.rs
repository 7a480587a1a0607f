//! Where do tests get a real Kafka, Redis, Prometheus from?
//!
//! Each module starts one component on free loopback ports, with its data in a temporary folder under `target/`,
//! and stops it when dropped. Faults are part of it: [`Component::kill`] is a SIGKILL, [`Component::pause`] a
//! SIGSTOP, [`Component::restart`] starts it again on the same port and data. An address in the environment
//! (`SPHERE_TEST_KAFKA`, `SPHERE_TEST_REDIS`, …) is used instead where a module says so.

mod component;
pub mod kafka;
pub mod prometheus;
pub mod redis;

pub use component::{Component, data_dir, free_port, free_ports, wait_until};
pub use kafka::Kafka;
