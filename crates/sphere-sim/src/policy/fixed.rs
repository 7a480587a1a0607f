//! What does a fixed size cost?

use super::Policy;
use crate::metrics::View;
use sphere_core::Timestamp;

/// Always the same size.
#[derive(Clone, Copy, Debug)]
pub struct Static(pub u32);

impl Policy for Static {
    fn period_s(&self) -> u32 {
        3600
    }

    fn initial_replicas(&self) -> Option<u32> {
        Some(self.0)
    }

    fn decide(&mut self, _at: Timestamp, _view: &View) -> u32 {
        self.0
    }
}
