//! Do the embedded bus and stores keep the promises of their traits?

use sphere_pipeline::conformance::{bus_suite, store_suite};
use sphere_pipeline::embedded::{FileStore, MemoryBus, MemoryBusConfig, MemoryStore};
use std::sync::Arc;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_memory_bus_keeps_every_promise() {
    bus_suite(Arc::new(MemoryBus::default())).await;
}

#[tokio::test]
async fn the_memory_bus_keeps_every_promise_on_one_thread_with_few_partitions() {
    bus_suite(Arc::new(MemoryBus::new(MemoryBusConfig { partitions: 3, ..MemoryBusConfig::default() })))
        .await;
}

#[tokio::test]
async fn the_memory_store_keeps_every_promise() {
    store_suite(Arc::new(MemoryStore::new())).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_file_store_keeps_every_promise() {
    let folder = tempfile::tempdir().unwrap();
    store_suite(Arc::new(FileStore::open(folder.path().join("sphere.redb")).await.unwrap())).await;
}
