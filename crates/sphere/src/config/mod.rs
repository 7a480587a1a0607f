//! What is SPHERE told to do?
//!
//! One YAML file. [`load`] reads it and tells everything that is wrong with it at once, each problem with its line;
//! [`Loaded`] is what came out. The few things that differ from process to process (address, shard, logs) come
//! from the environment and from flags as well, which win.

mod default;
mod load;
mod model;
mod operator;
mod read;
mod span;
mod tree;

pub use default::built_in;
pub use load::{Loaded, Use, load, load_for, load_text, load_text_for};
pub use model::{
    AutoscaleConfig, BusConfig, CacheConfig, ClockConfig, CollectConfig, Config, ConfigFile, FileStoreConfig,
    ForecastConfig, ListenTls, LogConfig, LogFormat, RemoteClusterConfig, SourceConfig, StoreConfig,
    TargetConfig,
};
pub use operator::{LeaseConfig, OperatorConfig};
pub use read::{Problem, render};
pub use span::Span;
pub use tree::Place;
