//! How are the many small sums and exponentials of one step computed in little time?
//!
//! Sums in [`LANES`] parts, which the processor adds side by side, where a single running sum waits for each addition; and an
//! exponential without a call or a branch, so that a loop over several takes vector instructions.

/// Parts of a sum: two or four vector registers.
const LANES: usize = 4;

/// eˣ in single precision, relative error below 3·10⁻⁷; e⁻⁸⁷ below −87, e⁸⁸ above 88, NaN of NaN.
///
/// x = n ln 2 + r with a whole n and |r| ≤ ln 2 / 2 (Cody & Waite, *Software Manual for the Elementary Functions*, 1980): a
/// polynomial for eʳ, and n into the exponent.
#[inline]
pub(super) fn exp(x: f32) -> f32 {
    /// Adding it rounds to a whole number, which is then in the lowest bits.
    const ROUND: f32 = 12_582_912.0;
    /// ln 2 in two parts, the first with few digits.
    const LN_2: [f32; 2] = [0.693_359_4, -2.121_944_4e-4];
    let x = x.clamp(-87.0, 88.0);
    let shifted = x * std::f32::consts::LOG2_E + ROUND;
    let n = shifted - ROUND;
    let r = (x - n * LN_2[0]) - n * LN_2[1];
    let high = 1.0 / 6.0 + r * (1.0 / 24.0 + r * (1.0 / 120.0 + r * (1.0 / 720.0)));
    let polynomial = 1.0 + r + r * r * (0.5 + r * high);
    polynomial * f32::from_bits((shifted.to_bits() << 23).wrapping_add(1.0f32.to_bits()))
}

/// Sum of products.
#[inline]
pub(super) fn dot<const N: usize>(weights: &[f32; N], values: &[f64; N]) -> f64 {
    let mut sums = [0.0; LANES];
    let (w, v) = (weights.chunks_exact(LANES), values.chunks_exact(LANES));
    let rest: f64 = w.remainder().iter().zip(v.remainder()).map(|(w, v)| f64::from(*w) * v).sum();
    for (w, v) in w.zip(v) {
        for i in 0..LANES {
            sums[i] += f64::from(w[i]) * v[i];
        }
    }
    (sums[0] + sums[2]) + (sums[1] + sums[3]) + rest
}

/// The same in single precision.
#[inline]
pub(super) fn short_dot<const N: usize>(weights: &[f32; N], values: &[f32; N]) -> f32 {
    let mut sums = [0.0; 2 * LANES];
    let (w, v) = (weights.chunks_exact(2 * LANES), values.chunks_exact(2 * LANES));
    let rest: f32 = w.remainder().iter().zip(v.remainder()).map(|(w, v)| w * v).sum();
    for (w, v) in w.zip(v) {
        for i in 0..2 * LANES {
            sums[i] += w[i] * v[i];
        }
    }
    sum(&sums) + rest
}

/// Sum.
#[inline]
pub(super) fn sum<const N: usize>(values: &[f32; N]) -> f32 {
    let mut sums = [0.0; LANES];
    let chunks = values.chunks_exact(LANES);
    let rest: f32 = chunks.remainder().iter().sum();
    for chunk in chunks {
        for i in 0..LANES {
            sums[i] += chunk[i];
        }
    }
    (sums[0] + sums[2]) + (sums[1] + sums[3]) + rest
}

/// The smallest; numbers that are none are passed over.
#[inline]
pub(super) fn least<const N: usize>(values: &[f32; N]) -> f32 {
    let mut least = [f32::INFINITY; LANES];
    let chunks = values.chunks_exact(LANES);
    for (l, v) in least.iter_mut().zip(chunks.remainder()) {
        *l = if v < l { *v } else { *l };
    }
    for chunk in chunks {
        for i in 0..LANES {
            least[i] = if chunk[i] < least[i] { chunk[i] } else { least[i] };
        }
    }
    least[0].min(least[2]).min(least[1].min(least[3]))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_exponential_is_right_to_single_precision() {
        for i in -8700..=8800i16 {
            let x = f32::from(i) / 100.0;
            let exact = f64::from(x).exp();
            assert!((f64::from(exp(x)) / exact - 1.0).abs() < 3e-7, "{x}");
        }
        assert_eq!(exp(0.0), 1.0);
        assert_eq!(exp(f32::NEG_INFINITY), exp(-87.0));
        assert!(exp(f32::NAN).is_nan());
    }

    #[test]
    fn sums_hold_every_term_once() {
        let values: [f32; 17] = std::array::from_fn(|i| (i as f32 - 8.0) * (i as f32 - 8.0) + 1.0);
        let wide = values.map(f64::from);
        let expected: f32 = values.iter().sum();
        let squares: f32 = values.iter().map(|v| v * v).sum();
        assert_eq!(sum(&values), expected);
        assert_eq!(dot(&values, &wide), f64::from(squares));
        assert_eq!(short_dot(&values, &values), squares);
        for shift in 0..17 {
            let turned: [f32; 17] = std::array::from_fn(|i| values[(i + shift) % 17]);
            assert_eq!(least(&turned), 1.0);
        }
    }
}
