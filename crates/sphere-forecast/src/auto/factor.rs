//! How are the normal equations of the regressions solved in little time?
//!
//! A = Uᵀ D U with ones on the diagonal of U (Golub & Van Loan, *Matrix Computations*, 4th ed., 4.1), row by row: each row that is
//! done is taken from all those below, four numbers at a time. The usual order, a running sum per number, waits for each addition
//! and takes four times as long; square roots are spared, too.

/// `N` rows of `C` times four numbers; what is left of the diagonal means nothing.
pub(super) struct Factor<const N: usize, const C: usize> {
    rows: [[[f64; 4]; C]; N],
    /// Reciprocals of D; 0 where an unknown carries nothing.
    inverse: [f64; N],
}

/// Pivots below this carry nothing.
const LEAST: f64 = 1e-9;

impl<const N: usize, const C: usize> Factor<N, C> {
    pub(super) const ZERO: Self = Self { rows: [[[0.0; 4]; C]; N], inverse: [0.0; N] };

    /// Number in row `i` and column `j`, at the diagonal or right of it.
    fn get(&self, i: usize, j: usize) -> f64 {
        self.rows[i][j / 4][j % 4]
    }

    /// Sets that number of A.
    pub(super) fn set(&mut self, i: usize, j: usize, value: f64) {
        self.rows[i][j / 4][j % 4] = value;
    }

    /// A becomes U.
    pub(super) fn decompose(&mut self) {
        for k in 0..N {
            let pivot = self.get(k, k);
            let inverse = if pivot > LEAST { 1.0 / pivot } else { 0.0 };
            self.inverse[k] = inverse;
            let (done, below) = self.rows.split_at_mut(k + 1);
            let row = &mut done[k];
            let plain = *row;
            row.iter_mut().flatten().for_each(|v| *v *= inverse);
            for (i, other) in (k + 1..N).zip(below) {
                let share = plain[i / 4][i % 4];
                for (other, row) in other[i / 4..].iter_mut().zip(&row[i / 4..]) {
                    for l in 0..4 {
                        other[l] -= share * row[l];
                    }
                }
            }
        }
    }

    /// Solves for `T` right sides at once; an unknown that carries nothing is 0.
    pub(super) fn solve<const T: usize>(&self, y: &mut [[f64; T]; N]) {
        for k in 0..N {
            let known = y[k];
            for (i, y) in y.iter_mut().enumerate().skip(k + 1) {
                let share = self.get(k, i);
                for t in 0..T {
                    y[t] -= share * known[t];
                }
            }
        }
        for (y, inverse) in y.iter_mut().zip(self.inverse) {
            y.iter_mut().for_each(|v| *v *= inverse);
        }
        for k in (0..N).rev() {
            let known = y[k];
            for (i, y) in y.iter_mut().enumerate().take(k) {
                let share = self.get(i, k);
                for t in 0..T {
                    y[t] -= share * known[t];
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn solutions_satisfy_their_equations_and_what_carries_nothing_is_zero() {
        let size = |i: usize| if i == 3 { 0.0 } else { 1.0 + i as f64 };
        let a = |i: usize, j: usize| {
            let off = 0.3 * ((i * j) as f64).cos() * size(i).min(size(j));
            if i == j { 3.0 * size(i) } else { off }
        };
        let x = |i: usize, t: usize| if i == 3 { 0.0 } else { (i + 2 * t) as f64 - 4.0 };
        let mut factor = Factor::<6, 2>::ZERO;
        for i in 0..6 {
            (i..6).for_each(|j| factor.set(i, j, a(i, j)));
        }
        factor.decompose();
        let mut y = std::array::from_fn(|i| {
            std::array::from_fn::<f64, 3, _>(|t| (0..6).map(|j| a(i, j) * x(j, t)).sum())
        });
        factor.solve(&mut y);
        for (i, row) in y.iter().enumerate() {
            for (t, found) in row.iter().enumerate() {
                assert!((found - x(i, t)).abs() < 1e-12, "{i} {t}: {found}");
            }
        }
    }
}
