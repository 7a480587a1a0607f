//! Where in the hour, day or week is a step?
//!
//! Fourier terms (Harvey & Shephard, *Structural time series models*, 1993): `sin` and `cos` of the first multiples of a
//! period describe a smooth season with a few numbers, whatever its length. The phase is the model's to learn, so steps
//! are counted from the first one seen.

use serde::{Deserialize, Serialize};
use std::f64::consts::TAU;

/// A smooth season.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Season {
    /// Steps in it, at least 2.
    pub period: usize,
    /// Multiples of its frequency; 5 for a day keeps what lasts two hours and more.
    pub harmonics: usize,
}

impl Season {
    /// At most half as many harmonics as the season has steps.
    pub fn new(period: usize, harmonics: usize) -> Self {
        Self { period: period.max(2), harmonics: harmonics.clamp(1, period.max(2) / 2) }
    }

    /// Terms it is written in: a sine and a cosine per harmonic, but no sine of the highest of an even period,
    /// which is 0 at every step.
    pub fn terms(&self) -> usize {
        2 * self.harmonics - usize::from(2 * self.harmonics == self.period)
    }

    /// Writes the terms at step `at`: cosine and sine of each harmonic.
    pub fn write(&self, at: u64, out: &mut Vec<f64>) {
        // The remainder keeps the angle small and exact, however long the model has been running.
        let phase = (at % self.period as u64) as f64 / self.period as f64;
        for k in 1..=self.harmonics {
            let (sin, cos) = (TAU * k as f64 * phase).sin_cos();
            out.push(cos);
            if 2 * k != self.period {
                out.push(sin);
            }
        }
    }
}

/// The terms of all `seasons` for `n` steps from `first`, a column each.
pub(crate) fn columns(seasons: &[Season], first: u64, n: usize) -> Vec<Vec<f64>> {
    let count = seasons.iter().map(Season::terms).sum();
    let mut columns = vec![Vec::with_capacity(n); count];
    let mut row = Vec::with_capacity(count);
    for t in 0..n as u64 {
        row.clear();
        seasons.iter().for_each(|s| s.write(first.wrapping_add(t), &mut row));
        columns.iter_mut().zip(&row).for_each(|(column, v)| column.push(*v));
    }
    columns
}

/// `Σ β x` of the terms at step `at`.
pub(crate) fn dot(seasons: &[Season], beta: &[f64], at: u64) -> f64 {
    let mut row = Vec::with_capacity(beta.len());
    seasons.iter().for_each(|s| s.write(at, &mut row));
    row.iter().zip(beta).map(|(x, b)| x * b).sum()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn terms_repeat_with_the_period_for_ever() {
        let seasons = [Season::new(6, 9), Season::new(100, 2)];
        let (a, b) = (columns(&seasons, 7, 1), columns(&seasons, 7 + 300 * (1 << 50), 1));
        assert_eq!(a.len(), 5 + 4);
        assert_eq!(a, b);
    }
}
