//! What solves a small system of linear equations?
//!
//! Symmetric positive definite systems by Cholesky, others by elimination with partial pivoting (Golub & Van Loan,
//! *Matrix Computations*, 4th ed., 4.2 and 3.4). Matrices are slices, row by row. Systems here have a few to a few
//! dozen unknowns; a linear algebra library would be a hundred times the code and not faster.

/// Solves `a x = b` for symmetric `a` of which the lower triangle is read; `a` is overwritten by its factor, `b` by
/// `x`. `false` when `a` is not positive definite or the solution is not finite: then both are rubbish.
pub fn solve_positive(a: &mut [f64], b: &mut [f64]) -> bool {
    let n = b.len();
    if !factor(a, n) {
        return false;
    }
    solve_factored(a, b);
    b.iter().all(|v| v.is_finite())
}

/// Cholesky factor of the lower triangle of `a`, in place.
fn factor(a: &mut [f64], n: usize) -> bool {
    for i in 0..n {
        let (done, row) = a.split_at_mut(i * n);
        for j in 0..i {
            let other = &done[j * n..j * n + j + 1];
            let sum: f64 = row[..j].iter().zip(other).map(|(x, y)| x * y).sum();
            row[j] = (row[j] - sum) / other[j];
        }
        let sum: f64 = row[..i].iter().map(|x| x * x).sum();
        let pivot = row[i] - sum;
        if pivot.is_nan() || pivot <= 1e-14 * row[i].abs() || pivot < f64::MIN_POSITIVE {
            return false;
        }
        row[i] = pivot.sqrt();
    }
    true
}

fn solve_factored(l: &[f64], x: &mut [f64]) {
    let n = x.len();
    for i in 0..n {
        let sum: f64 = l[i * n..i * n + i].iter().zip(x.iter()).map(|(l, x)| l * x).sum();
        x[i] = (x[i] - sum) / l[i * n + i];
    }
    for i in (0..n).rev() {
        for k in i + 1..n {
            x[i] -= l[k * n + i] * x[k];
        }
        x[i] /= l[i * n + i];
    }
}

/// Solves `a x = b` for any regular `a`; both are overwritten, `b` by `x`. `false` when `a` is singular.
pub fn solve(a: &mut [f64], b: &mut [f64]) -> bool {
    let n = b.len();
    for k in 0..n {
        let mut best = k;
        for i in k + 1..n {
            if a[i * n + k].abs() > a[best * n + k].abs() {
                best = i;
            }
        }
        let pivot = a[best * n + k];
        if !pivot.is_finite() || pivot.abs() < f64::MIN_POSITIVE {
            return false;
        }
        if best != k {
            for j in k..n {
                a.swap(k * n + j, best * n + j);
            }
            b.swap(k, best);
        }
        for i in k + 1..n {
            let share = a[i * n + k] / pivot;
            if share != 0.0 {
                for j in k + 1..n {
                    a[i * n + j] -= share * a[k * n + j];
                }
                b[i] -= share * b[k];
            }
        }
    }
    for i in (0..n).rev() {
        for j in i + 1..n {
            b[i] -= a[i * n + j] * b[j];
        }
        b[i] /= a[i * n + i];
    }
    b.iter().all(|v| v.is_finite())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn solutions_satisfy_their_equations() {
        let a = [4.0, 1.0, 0.5, 1.0, 3.0, -0.2, 0.5, -0.2, 2.0];
        let x = [1.0, -2.0, 0.5];
        let b: Vec<f64> = (0..3).map(|i| (0..3).map(|j| a[i * 3 + j] * x[j]).sum()).collect();
        for positive in [true, false] {
            let (mut a, mut b) = (a.to_vec(), b.clone());
            assert!(if positive { solve_positive(&mut a, &mut b) } else { solve(&mut a, &mut b) });
            assert!(b.iter().zip(x).all(|(b, x)| (b - x).abs() < 1e-12), "{b:?}");
        }
    }

    #[test]
    fn singular_systems_are_refused() {
        assert!(!solve_positive(&mut [1.0, 1.0, 1.0, 1.0], &mut [1.0, 2.0]));
        assert!(!solve(&mut [1.0, 1.0, 1.0, 1.0], &mut [1.0, 2.0]));
        assert!(!solve_positive(&mut [f64::NAN], &mut [1.0]));
    }
}
