//! Which series do the tests of several forecasters learn from?

use sphere_core::Timestamp;
use std::time::Duration;

pub(crate) const STEP: Duration = Duration::from_secs(10);

/// End of a step.
pub(crate) fn at(step: i64) -> Timestamp {
    Timestamp::from_secs(step * 10)
}

/// Deterministic noise in [-0.5, 0.5).
pub(crate) fn noise(i: i64) -> f64 {
    let mut x = (i as u64).wrapping_mul(0x9E37_79B9_7F4A_7C15);
    x ^= x >> 29;
    x = x.wrapping_mul(0xBF58_476D_1CE4_E5B9);
    x ^= x >> 32;
    (x >> 11) as f64 / (1u64 << 53) as f64 - 0.5
}
