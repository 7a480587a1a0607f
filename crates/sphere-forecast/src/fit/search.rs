//! Where is the minimum of a smooth function of one to three numbers in the unit cube?
//!
//! Evaluations come in batches, because the function (a recursion over a window) is bound by latency: four
//! points side by side cost little more than one. A coarse grid finds the basin. Then, round by round, a
//! symmetric stencil around the best point gives gradient and Hessian by central differences; the Newton step
//! and its shorter and longer versions are tried, the best point seen becomes the next centre, and the
//! stencil shrinks (a response-surface method in the spirit of Box & Wilson, 1951).
//!
//! Bounds need no special care: the search runs in coordinates `u` with `t = u²(3 − 2u)`, reflected at both
//! ends of the unit interval. The function of `u` is smooth and even there, so a minimum on the boundary is an ordinary stationary
//! point.

/// Result of [`minimise`].
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Minimum<const D: usize> {
    /// Where, in the unit cube.
    pub at: [f64; D],
    /// Value there.
    pub value: f64,
}

/// How hard to search.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Effort {
    /// Basins of the grid that are searched, at most.
    pub starts: usize,
    /// A basin is searched only if its grid point is at most this factor above the best one.
    pub promising: f64,
    /// Rounds at most for each.
    pub rounds: usize,
    /// Stop when a round promises a relative decrease below this.
    pub tolerance: f64,
}

impl Default for Effort {
    fn default() -> Self {
        Self { starts: 1, promising: 1.5, rounds: 10, tolerance: 1e-5 }
    }
}

/// The unit-interval coordinate of search coordinate `u` (any real number).
pub fn unit_of(u: f64) -> f64 {
    let r = (u - 2.0 * (u * 0.5).round()).abs(); // reflected into [0, 1]
    r * r * (3.0 - 2.0 * r)
}

const MAX_BATCH: usize = 12;

/// Minimises `eval`, which fills `values[i]` with the function at the unit-cube point `points[i]` (at most 12
/// at once; values that are not finite lose against all others). `grid` is in search coordinates.
pub fn minimise<const D: usize>(
    mut eval: impl FnMut(&[[f64; D]], &mut [f64]),
    grid: &[[f64; D]],
    effort: Effort,
) -> Minimum<D> {
    let mut at = |us: &[[f64; D]], values: &mut [f64]| {
        let mut points = [[0.0; D]; MAX_BATCH];
        for (p, u) in points.iter_mut().zip(us) {
            *p = u.map(unit_of);
        }
        eval(&points[..us.len()], values);
        for v in values {
            if !v.is_finite() {
                *v = f64::MAX;
            }
        }
    };
    // The best few of the grid, best first.
    let mut best: Vec<([f64; D], f64)> = Vec::with_capacity(grid.len());
    let mut values = [0.0; MAX_BATCH];
    for chunk in grid.chunks(MAX_BATCH) {
        at(chunk, &mut values[..chunk.len()]);
        best.extend(chunk.iter().copied().zip(values));
    }
    best.sort_by(|a, b| a.1.total_cmp(&b.1));
    let mut minimum = best[0];
    let scale = best[0].1.abs();
    // Neighbours on the grid lie in the same basin: further starts must differ in some coordinate by more.
    let mut started: Vec<[f64; D]> = Vec::with_capacity(effort.starts);
    for &(u, value) in &best {
        if started.len() == effort.starts || value > effort.promising * minimum.1 {
            break;
        }
        let near = |s: &[f64; D]| s.iter().zip(&u).all(|(a, b)| (a - b).abs() < 0.3);
        if started.iter().any(near) {
            continue;
        }
        started.push(u);
        let known = (started.len() > 1).then_some(minimum);
        let found = descend(&mut at, u, value, effort, scale, known);
        if found.1 < minimum.1 {
            minimum = found;
        }
    }
    Minimum { at: minimum.0.map(unit_of), value: minimum.1 }
}

fn descend<const D: usize>(
    at: &mut impl FnMut(&[[f64; D]], &mut [f64]),
    start: [f64; D],
    start_value: f64,
    effort: Effort,
    scale: f64,
    known: Option<([f64; D], f64)>,
) -> ([f64; D], f64) {
    let (mut centre, mut f0) = (start, start_value);
    let mut h = 0.12;
    let mut values = [0.0; MAX_BATCH];
    // Mixed derivatives change little from round to round: kept until a step fails.
    let mut mixed = [[0.0; D]; D];
    let mut renew_mixed = true;
    for _ in 0..effort.rounds {
        let points = stencil(&centre, h);
        let stencil_len = if renew_mixed { D * (D + 1) } else { 2 * D };
        at(&points[..stencil_len], &mut values[..stencil_len]);
        if renew_mixed {
            mixed = mixed_derivatives(f0, &values, h);
        }
        let (gradient, hessian) = derivatives::<D>(f0, &values, h, &mixed);
        let (mut low, mut low_at) = (f0, centre);
        for (p, &v) in points.iter().zip(&values[..stencil_len]) {
            if v < low {
                (low, low_at) = (v, *p);
            }
        }
        let Some(step) = newton(&gradient, &hessian) else {
            renew_mixed = true;
            // Not convex here: follow the lowest point of the stencil.
            if low < f0 {
                (centre, f0) = (low_at, low);
                h *= 1.4;
            } else {
                h *= 0.3;
            }
            if h < 1e-4 {
                break;
            }
            continue;
        };
        let length = step.iter().map(|s| s * s).sum::<f64>().sqrt();
        let promised = 0.5 * gradient.iter().zip(&step).map(|(g, s)| -g * s).sum::<f64>();
        if let Some((u, value)) = known
            && (f0 - 3.0 * promised > value || centre.iter().zip(&u).all(|(a, b)| (a - b).abs() < 0.1))
        {
            // Heading for a minimum known already, or for a worse one.
            break;
        }
        let longest = 3.0 * h;
        let shrink = if length > longest { longest / length } else { 1.0 };
        let candidates: [[f64; D]; 4] =
            [1.0, 0.5, 1.5, 2.5].map(|k| std::array::from_fn(|i| centre[i] + k * shrink * step[i]));
        let tries = if promised < 1e-4 * scale { 1 } else { 4 };
        at(&candidates[..tries], &mut values[..tries]);
        let newton_value = values[0];
        for (c, &v) in candidates.iter().zip(&values[..tries]) {
            if v < low {
                (low, low_at) = (v, *c);
            }
        }
        let gained = f0 - low;
        renew_mixed = newton_value > f0 - 0.5 * promised;
        (centre, f0) = (low_at, low);
        if (promised <= effort.tolerance * scale.min(f0) && newton_value <= f0 * (1.0 + 1e-6))
            || (gained <= 0.0 && h < 1e-3)
        {
            break;
        }
        h = if gained <= 0.0 { h * 0.25 } else { (length * shrink * 0.7).clamp(0.15 * h, 1.5 * h) };
        h = h.clamp(2e-4, 0.2);
    }
    (centre, f0)
}

/// Axis points ±h, then for each pair of axes (+h, +h) and (−h, −h).
fn stencil<const D: usize>(centre: &[f64; D], h: f64) -> [[f64; D]; MAX_BATCH] {
    let mut points = [*centre; MAX_BATCH];
    let mut n = 0;
    for i in 0..D {
        points[n][i] += h;
        points[n + 1][i] -= h;
        n += 2;
    }
    for i in 0..D {
        for j in i + 1..D {
            points[n][i] += h;
            points[n][j] += h;
            points[n + 1][i] -= h;
            points[n + 1][j] -= h;
            n += 2;
        }
    }
    points
}

/// Gradient and Hessian from the axis points of the stencil and the given mixed derivatives.
fn derivatives<const D: usize>(
    f0: f64,
    values: &[f64],
    h: f64,
    mixed: &[[f64; D]; D],
) -> ([f64; D], [[f64; D]; D]) {
    let mut gradient = [0.0; D];
    let mut hessian = *mixed;
    for i in 0..D {
        let (up, down) = (values[2 * i], values[2 * i + 1]);
        gradient[i] = (up - down) / (2.0 * h);
        hessian[i][i] = (up - 2.0 * f0 + down) / (h * h);
    }
    (gradient, hessian)
}

/// Mixed second derivatives from the full stencil; the diagonal is 0.
fn mixed_derivatives<const D: usize>(f0: f64, values: &[f64], h: f64) -> [[f64; D]; D] {
    let mut mixed = [[0.0; D]; D];
    let mut n = 2 * D;
    for i in 0..D {
        for j in i + 1..D {
            let both = values[n] + values[n + 1];
            let single = values[2 * i] + values[2 * i + 1] + values[2 * j] + values[2 * j + 1];
            mixed[i][j] = (both - single + 2.0 * f0) / (2.0 * h * h);
            mixed[j][i] = mixed[i][j];
            n += 2;
        }
    }
    mixed
}

/// The Newton step, if the Hessian is positive definite (Cholesky succeeds). A coordinate without influence
/// (the trend smoothing while the level never moves) gets a little curvature, so that it stays where it is.
fn newton<const D: usize>(gradient: &[f64; D], hessian: &[[f64; D]; D]) -> Option<[f64; D]> {
    let mut l = [[0.0; D]; D];
    let largest = (0..D).map(|i| hessian[i][i]).fold(0.0, f64::max);
    for i in 0..D {
        for j in 0..=i {
            let mut sum = hessian[i][j] + if i == j { 1e-6 * largest } else { 0.0 };
            for k in 0..j {
                sum -= l[i][k] * l[j][k];
            }
            if i == j {
                if sum.is_nan() || sum <= 1e-9 * largest {
                    return None;
                }
                l[i][i] = sum.sqrt();
            } else {
                l[i][j] = sum / l[j][j];
            }
        }
    }
    let mut x = [0.0; D];
    for i in 0..D {
        let mut sum = -gradient[i];
        for k in 0..i {
            sum -= l[i][k] * x[k];
        }
        x[i] = sum / l[i][i];
    }
    for i in (0..D).rev() {
        let mut sum = x[i];
        for k in i + 1..D {
            sum -= l[k][i] * x[k];
        }
        x[i] = sum / l[i][i];
    }
    x.iter().all(|v| v.is_finite()).then_some(x)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn finds_a_minimum_inside_and_on_the_boundary() {
        for target in [[0.3, 0.7], [0.0, 0.5], [1.0, 0.0]] {
            let m = minimise::<2>(
                |points, values| {
                    for (p, v) in points.iter().zip(values) {
                        let (a, b) = (p[0] - target[0], p[1] - target[1]);
                        *v = 1.0 + a * a + 0.5 * a * b + 2.0 * b * b;
                    }
                },
                &[[0.2, 0.2], [0.5, 0.5], [0.8, 0.8]],
                Effort::default(),
            );
            assert!(m.value < 1.0 + 1e-6, "{target:?}: {m:?}");
        }
    }

    #[test]
    fn a_function_that_is_nowhere_finite_ends() {
        let m = minimise::<1>(|_, values| values.fill(f64::NAN), &[[0.1], [0.9]], Effort::default());
        assert!(m.at[0].is_finite());
    }
}
