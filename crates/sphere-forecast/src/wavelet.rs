//! On which time scales does demand move?
//!
//! Two decompositions, for two purposes.
//!
//! **[`decompose`] and [`reconstruct`]**: the discrete wavelet transform by Mallat's pyramid (*A theory for multiresolution
//! signal decomposition*, IEEE PAMI 11, 1989) with the filters of Haar and of Daubechies (*Ten Lectures on Wavelets*, 1992),
//! number for number that of PyWavelets' `wavedec`. It halves the number of coefficients at each level, and a
//! coefficient at the end of a window mixes values with their mirror image beyond it: made for looking back on a whole window.
//!
//! **[`Causal`]**: the redundant Haar transform that uses past values only (Renaud, Starck & Murtagh, *Prediction based on a
//! multiscale decomposition*, Int. J. Wavelets 1, 2003). What is said about a step never changes when later ones come, and
//! coefficients do not depend on where a window begins. Forecasts use this one: a decimated transform of a whole
//! series, as often found in papers, lets each coefficient see up to 2ʲ steps of the future.

use serde::{Deserialize, Serialize};
use std::f64::consts::FRAC_1_SQRT_2;

/// A wavelet with orthonormal filters.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Wavelet {
    /// Haar, also db1.
    Haar,
    /// Daubechies with two vanishing moments.
    Db2,
    /// Daubechies with four vanishing moments.
    Db4,
}

/// What lies beyond the ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Boundary {
    /// The mirror image, the last value twice: PyWavelets' default. Works for any length, with some more coefficients
    /// than values.
    Symmetric,
    /// The other end (PyWavelets' `periodization`), as many coefficients as values, and the same energy. An odd
    /// length is made even by repeating the last value.
    Periodic,
}

/// Coefficients of a decomposition.
#[derive(Clone, Debug, PartialEq)]
pub struct Coefficients {
    /// The smooth rest.
    pub approximation: Vec<f64>,
    /// Details, from the coarsest level to the finest.
    pub details: Vec<Vec<f64>>,
}

impl Wavelet {
    /// Low-pass filter of the reconstruction. The others follow from it.
    fn scaling(self) -> &'static [f64] {
        match self {
            Self::Haar => &[FRAC_1_SQRT_2, FRAC_1_SQRT_2],
            // (1 ± √3) / (4√2) and (3 ± √3) / (4√2).
            Self::Db2 => &[
                0.482_962_913_144_534_1,
                0.836_516_303_737_807_7,
                0.224_143_868_042_013_4,
                -0.129_409_522_551_260_37,
            ],
            // Daubechies 1992, table 6.1, N = 4.
            Self::Db4 => &[
                0.230_377_813_308_896_4,
                0.714_846_570_552_915_4,
                0.630_880_767_929_858_9,
                -0.027_983_769_416_859_85,
                -0.187_034_811_719_093_09,
                0.030_841_381_835_560_764,
                0.032_883_011_666_885_2,
                -0.010_597_401_785_069_032,
            ],
        }
    }

    /// High-pass filter of the reconstruction at `k`: the scaling filter backwards with alternating sign.
    fn detail(self, k: usize) -> f64 {
        let scaling = self.scaling();
        let value = scaling[scaling.len() - 1 - k];
        if k.is_multiple_of(2) { value } else { -value }
    }
}

/// The value at `index`, which may lie beyond the ends.
fn extended(values: &[f64], index: isize, boundary: Boundary) -> f64 {
    let n = values.len() as isize;
    let at = match boundary {
        Boundary::Symmetric => {
            let within = index.rem_euclid(2 * n);
            if within < n { within } else { 2 * n - 1 - within }
        }
        Boundary::Periodic => (index.rem_euclid(n + n % 2)).min(n - 1),
    };
    values[at as usize]
}

/// One level: approximation and details of `values`.
fn split(values: &[f64], wavelet: Wavelet, boundary: Boundary) -> (Vec<f64>, Vec<f64>) {
    let taps = wavelet.scaling().len();
    let (count, shift) = match boundary {
        Boundary::Symmetric => ((values.len() + taps - 1) / 2, taps as isize - 2),
        Boundary::Periodic => (values.len().div_ceil(2), taps as isize / 2 - 1),
    };
    let coefficient = |k: usize, filter: &dyn Fn(usize) -> f64| -> f64 {
        (0..taps).map(|j| filter(j) * extended(values, 2 * k as isize + j as isize - shift, boundary)).sum()
    };
    (0..count)
        .map(|k| (coefficient(k, &|j| wavelet.scaling()[j]), coefficient(k, &|j| wavelet.detail(j))))
        .unzip()
}

/// The inverse of [`split`]; a value more than were there when their number was odd.
fn join(approximation: &[f64], details: &[f64], wavelet: Wavelet, boundary: Boundary) -> Vec<f64> {
    let taps = wavelet.scaling().len();
    let count = approximation.len().min(details.len());
    let (len, shift) = match boundary {
        Boundary::Symmetric => ((2 * count + 2).saturating_sub(taps), taps as isize - 2),
        Boundary::Periodic => (2 * count, taps as isize / 2 - 1),
    };
    let mut values = vec![0.0; len];
    for (k, (smooth, detail)) in approximation.iter().zip(details).enumerate() {
        for j in 0..taps {
            let mut at = 2 * k as isize + j as isize - shift;
            if boundary == Boundary::Periodic {
                at = at.rem_euclid(len as isize);
            }
            if let Some(value) = usize::try_from(at).ok().and_then(|at| values.get_mut(at)) {
                *value += wavelet.scaling()[j] * smooth + wavelet.detail(j) * detail;
            }
        }
    }
    values
}

/// Decomposes `values` over `levels` levels. An empty series has no coefficients.
pub fn decompose(values: &[f64], wavelet: Wavelet, boundary: Boundary, levels: usize) -> Coefficients {
    let (mut approximation, mut details) = (values.to_vec(), Vec::new());
    if !values.is_empty() {
        for _ in 0..levels {
            let (smooth, detail) = split(&approximation, wavelet, boundary);
            approximation = smooth;
            details.push(detail);
        }
    }
    details.reverse();
    Coefficients { approximation, details }
}

/// The `len` values that [`decompose`] took apart.
pub fn reconstruct(
    coefficients: &Coefficients,
    wavelet: Wavelet,
    boundary: Boundary,
    len: usize,
) -> Vec<f64> {
    let mut values = coefficients.approximation.clone();
    for details in &coefficients.details {
        // An odd number of values got one more on the way.
        values.truncate(details.len());
        values = join(&values, details, wavelet, boundary);
    }
    values.truncate(len);
    values
}

/// Levels of [`Causal`].
pub const LEVELS: usize = 4;
/// Values, the newest included, that the components of a step are made of.
pub const REACH: usize = 1 << LEVELS;

/// The components of one step: details from the finest (one step against the one before) to the coarsest, then the smooth
/// rest, the mean of the last [`REACH`] values. Their sum is the value.
pub struct Causal;

impl Causal {
    /// The components of the last of `values`; of fewer than [`REACH`] the first one is taken to have been there
    /// before. All 0 without any.
    pub fn components(values: &[f64]) -> [f64; LEVELS + 1] {
        let mut components = [0.0; LEVELS + 1];
        let (Some(&first), Some(&last)) = (values.first(), values.last()) else { return components };
        // The mean over a power of two is half the sum of two means over half as many.
        let mut smooth = last;
        let (mut sum, mut taken) = (0.0, 0);
        for (level, component) in components[..LEVELS].iter_mut().enumerate() {
            let span = 2usize << level;
            while taken < span {
                sum += values.len().checked_sub(taken + 1).map_or(first, |i| values[i]);
                taken += 1;
            }
            let smoother = sum / span as f64;
            *component = smooth - smoother;
            smooth = smoother;
        }
        components[LEVELS] = smooth;
        components
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const ALL: [Wavelet; 3] = [Wavelet::Haar, Wavelet::Db2, Wavelet::Db4];

    fn energy(values: &[f64]) -> f64 {
        values.iter().map(|v| v * v).sum()
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(64))]

        #[test]
        fn what_was_taken_apart_is_put_together_again(
            values in prop::collection::vec(-1e3..1e3f64, 1..100),
            levels in 0..6usize,
            which in 0..3usize,
            symmetric in any::<bool>(),
        ) {
            let boundary = if symmetric { Boundary::Symmetric } else { Boundary::Periodic };
            let taken_apart = decompose(&values, ALL[which], boundary, levels);
            let together = reconstruct(&taken_apart, ALL[which], boundary, values.len());
            prop_assert_eq!(together.len(), values.len());
            for (a, b) in together.iter().zip(&values) {
                prop_assert!((a - b).abs() < 1e-8, "{} {}", a, b);
            }
        }

        #[test]
        fn the_periodic_transform_keeps_the_energy(
            values in prop::collection::vec(-1e3..1e3f64, 64),
            levels in 0..4usize,
            which in 0..3usize,
        ) {
            let taken_apart = decompose(&values, ALL[which], Boundary::Periodic, levels);
            let details: f64 = taken_apart.details.iter().map(|d| energy(d)).sum();
            let all = energy(&taken_apart.approximation) + details;
            prop_assert!((all - energy(&values)).abs() < 1e-9 * energy(&values).max(1.0));
        }

        #[test]
        fn causal_components_add_up_to_the_value_and_never_see_the_future(
            values in prop::collection::vec(-1e3..1e3f64, 1..60),
            cut in 1..60usize,
        ) {
            let cut = cut.min(values.len());
            let components = Causal::components(&values[..cut]);
            prop_assert!((components.iter().sum::<f64>() - values[cut - 1]).abs() < 1e-9);
            // Only the last 16 values matter.
            let recent = &values[cut.saturating_sub(REACH)..cut];
            if cut >= REACH {
                prop_assert_eq!(components, Causal::components(recent));
            }
        }
    }

    #[test]
    fn a_constant_has_no_details_and_a_jump_shows_on_every_scale() {
        assert_eq!(Causal::components(&[5.0; 20]), [0.0, 0.0, 0.0, 0.0, 5.0]);
        let mut jump = vec![0.0; 20];
        jump[19] = 16.0;
        assert_eq!(Causal::components(&jump), [8.0, 4.0, 2.0, 1.0, 1.0]);
        assert_eq!(Causal::components(&[]), [0.0; 5]);
        let constant = decompose(&[3.0; 32], Wavelet::Db4, Boundary::Symmetric, 3);
        assert!(constant.details.iter().flatten().all(|d| d.abs() < 1e-9));
    }
}
