//! How can a stage end?

use crate::bus::BusError;
use crate::store::StoreError;

/// Why a stage gave up. What passes by itself is retried inside and never ends a stage.
#[derive(Debug, thiserror::Error)]
pub enum StageError {
    /// The bus refused for good.
    #[error(transparent)]
    Bus(#[from] BusError),
    /// The store refused for good.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// Something of ours.
    #[error("{0}")]
    Failed(String),
}
