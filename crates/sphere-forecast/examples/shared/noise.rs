//! Which noise do the benchmarks' series carry?

/// The same numbers in [0, 1) on every machine.
pub fn noise() -> impl Iterator<Item = f64> {
    let mut state = 1u64;
    std::iter::from_fn(move || {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        Some((state >> 33) as f64 / (1u64 << 31) as f64)
    })
}
