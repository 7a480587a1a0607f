//! What do the four stages run on when there is no Kafka and no Redis?
//!
//! On a bus in memory ([`MemoryBus`]) and a store in memory ([`MemoryStore`]) or in one file ([`FileStore`]).
//! They keep the same promises as the services do and pass the same suites (feature `conformance`).

mod announce;
mod bus;
mod file_store;
mod file_writer;
mod group;
mod log;
mod memory_store;

pub use bus::{LARGEST_RECORD_BYTES, MemoryBus, MemoryBusConfig};
pub use file_store::{FileStore, FileStoreStats};
pub use log::{Retention, TopicStats};
pub use memory_store::MemoryStore;
