//! Where do the draws of a model that samples come from?
//!
//! SplitMix64 (Steele, Lea & Flood, *Fast Splittable Pseudorandom Number Generators*, OOPSLA 2014): eight bytes
//! of state that are stored with the model, so that a restored model draws what the original would have drawn.
//! Own code because it is ten lines, and because the streams of a library may change with its version.

use serde::{Deserialize, Serialize};

/// A seeded stream of numbers.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Rng(u64);

impl Rng {
    pub(crate) fn new(seed: u64) -> Self {
        Self(seed)
    }

    pub(crate) fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        z ^ (z >> 31)
    }

    /// Uniform in 0..`n`, 0 for an empty range. The bias of the multiplication is below n / 2⁶⁴.
    pub(crate) fn below(&mut self, n: usize) -> usize {
        ((u128::from(self.next()) * n as u128) >> 64) as usize
    }

    /// Uniform in [0, 1).
    pub(crate) fn unit(&mut self) -> f32 {
        (self.next() >> 40) as f32 / (1u32 << 24) as f32
    }

    /// Keeps `keep` of `0..n`, each set alike, in ascending order (selection sampling, Knuth, TAOCP 2, 3.4.2 S).
    pub(crate) fn choose(&mut self, n: usize, keep: usize, out: &mut Vec<u32>) {
        out.clear();
        let mut wanted = keep.min(n);
        for i in 0..n {
            if wanted == 0 {
                break;
            }
            if self.below(n - i) < wanted {
                out.push(i as u32);
                wanted -= 1;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_stream_is_that_of_the_paper() {
        // First outputs for seed 1234567, as every published port of SplitMix64 lists them.
        let mut rng = Rng::new(1_234_567);
        assert_eq!(rng.next(), 6_457_827_717_110_365_317);
        assert_eq!(rng.next(), 3_203_168_211_198_807_973);
        assert_eq!(rng.next(), 9_817_491_932_198_370_423);
    }

    #[test]
    fn a_sample_has_the_size_asked_for_and_every_row_alike() {
        let (mut rng, mut out, mut hits) = (Rng::new(1), Vec::new(), [0u32; 10]);
        for _ in 0..10_000 {
            rng.choose(10, 3, &mut out);
            assert_eq!(out.len(), 3);
            assert!(out.windows(2).all(|w| w[0] < w[1]));
            out.iter().for_each(|&i| hits[i as usize] += 1);
        }
        assert!(hits.iter().all(|h| h.abs_diff(3000) < 200), "{hits:?}");
    }
}
