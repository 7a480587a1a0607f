//! Which parameters make a vector of residuals shortest, when only the residuals can be computed?
//!
//! Levenberg-Marquardt (Levenberg, 1944; Marquardt, 1963) with derivatives by differences. Maximum likelihood of a
//! Gaussian model is of this form, too: its concentrated log-likelihood `n ln S + Σ ln v` is `n ln` of the sum of
//! squares of residuals scaled by the geometric mean of the standard deviations, so the same method serves exact
//! likelihoods.

use super::linear::solve_positive;

/// When to stop.
#[derive(Clone, Copy, Debug)]
pub struct Limits {
    /// Steps at most.
    pub rounds: usize,
    /// Stop when a step lowers the sum of squares by less than this part, or promises no more.
    pub tolerance: f64,
    /// The lowest sum of squares known, infinite if none is: stop on the way to it, or to a higher one.
    pub known: f64,
}

/// A minimum is not lower than this many times what a step promises.
const OPTIMISM: f64 = 3.0;
/// Damping up to which a step says how far down it goes.
const NEARLY_FREE: f64 = 1e-2;
/// Sums of squares that differ by a smaller part are those of one minimum.
const SAME: f64 = 1e-7;

/// Working memory, kept between calls.
#[derive(Clone, Debug, Default)]
pub struct Workspace {
    residuals: Vec<f64>,
    moved: Vec<f64>,
    jacobian: Vec<f64>,
    normal: Vec<f64>,
}

/// Moves `theta` to a local minimum of the sum of squares of what `residuals` writes (`n` values) and returns it.
/// `residuals` says with `false` that a point is not admissible.
pub fn minimise(
    theta: &mut [f64],
    n: usize,
    limits: Limits,
    work: &mut Workspace,
    mut residuals: impl FnMut(&[f64], &mut [f64]) -> bool,
) -> f64 {
    let k = theta.len();
    work.residuals.resize(n, 0.0);
    work.moved.resize(n, 0.0);
    work.jacobian.resize(k * n, 0.0);
    let square = |r: &[f64]| {
        let sum: f64 = r.iter().map(|v| v * v).sum();
        if sum.is_finite() { sum } else { f64::INFINITY }
    };
    if !residuals(theta, &mut work.residuals) {
        return f64::INFINITY;
    }
    let mut sse = square(&work.residuals);
    let mut lambda = 1e-3;
    let mut trial = theta.to_vec();
    let mut step = vec![0.0; k];
    for _ in 0..limits.rounds {
        if k == 0 || sse <= 0.0 || !sse.is_finite() || (sse - limits.known).abs() <= SAME * sse {
            break;
        }
        for j in 0..k {
            let h = 1e-6 * theta[j].abs().max(0.5);
            trial.copy_from_slice(theta);
            trial[j] += h;
            let column = &mut work.jacobian[j * n..(j + 1) * n];
            if residuals(&trial, column) {
                for (c, r) in column.iter_mut().zip(&work.residuals) {
                    *c = (*c - r) / h;
                }
            } else {
                column.fill(0.0);
            }
        }
        let before = sse;
        let mut improved = false;
        while lambda < 1e7 {
            work.normal.clear();
            work.normal.resize(k * k, 0.0);
            let mut largest = 0.0f64;
            for i in 0..k {
                let ci = &work.jacobian[i * n..(i + 1) * n];
                for j in 0..=i {
                    let cj = &work.jacobian[j * n..(j + 1) * n];
                    work.normal[i * k + j] = ci.iter().zip(cj).map(|(a, b)| a * b).sum();
                }
                largest = largest.max(work.normal[i * k + i]);
                step[i] = -ci.iter().zip(&work.residuals).map(|(c, r)| c * r).sum::<f64>();
            }
            for i in 0..k {
                let d = &mut work.normal[i * k + i];
                *d += lambda * *d + 1e-9 * largest + f64::MIN_POSITIVE;
            }
            let mut promised = f64::INFINITY;
            if solve_positive(&mut work.normal, &mut step) {
                promised = (0..k)
                    .map(|i| {
                        let ci = &work.jacobian[i * n..(i + 1) * n];
                        -step[i] * ci.iter().zip(&work.residuals).map(|(c, r)| c * r).sum::<f64>()
                    })
                    .sum();
                if lambda <= NEARLY_FREE && sse - OPTIMISM * promised > limits.known {
                    return sse;
                }
                for ((t, theta), s) in trial.iter_mut().zip(theta.iter()).zip(&step) {
                    // A step across the whole range of a parameter says "far", not how far.
                    *t = (theta + s.clamp(-3.0, 3.0)).clamp(-1e4, 1e4);
                }
                if residuals(&trial, &mut work.moved) {
                    let now = square(&work.moved);
                    if now < sse {
                        sse = now;
                        theta.copy_from_slice(&trial);
                        std::mem::swap(&mut work.residuals, &mut work.moved);
                        lambda = (lambda * 0.2).max(1e-9);
                        improved = true;
                        break;
                    }
                }
            }
            if promised <= limits.tolerance * sse {
                break;
            }
            lambda *= 6.0;
        }
        if !improved || before - sse <= limits.tolerance * before {
            break;
        }
    }
    sse
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_curved_valley_is_followed_to_its_end() {
        // Rosenbrock's function as residuals.
        let mut theta = [-1.2, 1.0];
        let limits = Limits { rounds: 200, tolerance: 0.0, known: f64::INFINITY };
        let sse = minimise(&mut theta, 2, limits, &mut Workspace::default(), |t, r| {
            r.copy_from_slice(&[10.0 * (t[1] - t[0] * t[0]), 1.0 - t[0]]);
            true
        });
        assert!(sse < 1e-12 && (theta[0] - 1.0).abs() < 1e-5, "{theta:?} {sse}");
    }

    #[test]
    fn residuals_that_are_never_admissible_end() {
        let limits = Limits { rounds: 9, tolerance: 1e-9, known: f64::INFINITY };
        assert_eq!(minimise(&mut [1.0], 3, limits, &mut Workspace::default(), |_, _| false), f64::INFINITY);
    }
}
