//! Where does an operator without Redis keep what must survive it?
//!
//! An autoscaler remembers windows, cooldowns, measured start-ups, what a pod carries and what a second over capacity
//! costs: about 10 kB of JSON per workload, 1 to 2 kB compressed. In a cluster the operator has no disk of its own, so this
//! goes into a few ConfigMaps beside it, by the hash of the workload's identity. Not into the objects' status:
//! it is nobody's business, it would wake everybody who watches them, and it would be half of what etcd gets from us. Not
//! into their namespaces: that takes the right to write ConfigMaps everywhere.
//!
//! Models are ten times as large and are *not* kept there. With Redis the store has them; a store in a file has them as
//! long as the volume lives; else they are made anew from the history of Prometheus, or start cold and earn their trust
//! within minutes, while the HPA's rule decides.
//!
//! [`page`] is what a ConfigMap holds; [`MemoryStore`] is a [`Store`](sphere_pipeline::Store) around another one that
//! keeps this one kind of value there.

pub mod page;
mod store;

pub use store::{MapsConfig, MapsError, MemoryStore, load_or_say};
