//! The few loops a small network spends its time in, written so that the compiler turns them into vector code.
//!
//! No library calls: the same numbers on every machine. `exp` is the Cephes polynomial (Moshier, *Methods and Programs
//! for Mathematical Functions*, 1989), within two units in the last place over the range used.

/// `out[j] += Σ_k row[k] · matrix[k][j]`, the matrix row by row.
pub(super) fn add_product(out: &mut [f32], row: &[f32], matrix: &[f32]) {
    let n = out.len();
    let (fours, rest) = row.split_at(row.len() / 4 * 4);
    let (blocks, tail) = matrix.split_at(fours.len() * n);
    // Four rows at a time: `out` is read and written a quarter as often.
    for (r, m) in fours.chunks_exact(4).zip(blocks.chunks_exact(4 * n)) {
        let (a, m) = m.split_at(n);
        let (b, m) = m.split_at(n);
        let (c, d) = m.split_at(n);
        for ((((out, a), b), c), d) in out.iter_mut().zip(a).zip(b).zip(c).zip(d) {
            *out += (r[0] * a + r[1] * b) + (r[2] * c + r[3] * d);
        }
    }
    for (r, m) in rest.iter().zip(tail.chunks_exact(n.max(1))) {
        out.iter_mut().zip(m).for_each(|(out, m)| *out += r * m);
    }
}

/// `matrix[k][j] += Σ_i left[i][k] · right[i][j]`, all row by row, `width` and `n` numbers per row.
pub(super) fn add_outer(matrix: &mut [f32], left: &[f32], width: usize, right: &[f32], n: usize) {
    let rows = right.len() / n.max(1);
    let fours = rows / 4 * 4;
    for i in (0..fours).step_by(4) {
        let right = &right[i * n..(i + 4) * n];
        let (a, right) = right.split_at(n);
        let (b, right) = right.split_at(n);
        let (c, d) = right.split_at(n);
        for (k, out) in matrix.chunks_exact_mut(n).enumerate() {
            let l: [f32; 4] = std::array::from_fn(|s| left[(i + s) * width + k]);
            for ((((out, a), b), c), d) in out.iter_mut().zip(a).zip(b).zip(c).zip(d) {
                *out += (l[0] * a + l[1] * b) + (l[2] * c + l[3] * d);
            }
        }
    }
    for i in fours..rows {
        let right = &right[i * n..(i + 1) * n];
        for (out, l) in matrix.chunks_exact_mut(n).zip(&left[i * width..(i + 1) * width]) {
            out.iter_mut().zip(right).for_each(|(out, r)| *out += l * r);
        }
    }
}

/// The matrix with `columns` columns, turned.
pub(super) fn transpose(matrix: &[f32], columns: usize, out: &mut Vec<f32>) {
    let rows = matrix.len() / columns.max(1);
    out.clear();
    out.reserve(matrix.len());
    for column in 0..columns {
        out.extend((0..rows).map(|row| matrix[row * columns + column]));
    }
}

#[inline]
fn exp(x: f32) -> f32 {
    // Adding 1.5·2²³ rounds to a whole number, which then is in the low bits.
    const ROUND: f32 = 12_582_912.0;
    let x = x.clamp(-87.0, 87.0);
    let shifted = x * std::f32::consts::LOG2_E + ROUND;
    let n = shifted - ROUND;
    // ln 2 in two parts, so that the product is exact.
    let r = (x - n * 0.693_359_4) + n * 2.121_944_4e-4;
    let p = 1.987_569_1e-4;
    let p = p * r + 1.398_2e-3;
    let p = p * r + 8.333_452e-3;
    let p = p * r + 4.166_579_6e-2;
    let p = p * r + 1.666_666_5e-1;
    let p = p * r + 0.5;
    let p = p * r * r + r + 1.0;
    p * f32::from_bits(shifted.to_bits().wrapping_add(127) << 23)
}

#[inline]
fn sigmoid(x: f32) -> f32 {
    1.0 / (1.0 + exp(-x))
}

#[inline]
pub(super) fn tanh(x: f32) -> f32 {
    2.0 * sigmoid(2.0 * x) - 1.0
}

pub(super) fn sigmoid_all(values: &mut [f32]) {
    values.iter_mut().for_each(|v| *v = sigmoid(*v));
}

pub(super) fn tanh_all(values: &mut [f32]) {
    values.iter_mut().for_each(|v| *v = tanh(*v));
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_functions_are_those_of_the_library_to_single_precision() {
        for i in -9000..=9000 {
            let x = i as f32 / 100.0;
            let (wanted, e) = (f64::from(x).clamp(-87.0, 87.0).exp(), f64::from(exp(x)));
            assert!((e / wanted - 1.0).abs() < 3e-7, "exp {x}: {e} {wanted}");
            assert!((f64::from(tanh(x)) - f64::from(x).tanh()).abs() < 3e-7, "tanh {x}");
        }
        assert!(sigmoid(f32::INFINITY) == 1.0 && sigmoid(f32::NEG_INFINITY) < 1e-37);
    }

    #[test]
    fn products_are_sums_over_all_rows_whatever_the_size() {
        let number = |i: usize| ((i * 37) % 11) as f32 - 5.0;
        for (k, n, rows) in [(1, 1, 1), (3, 5, 2), (4, 8, 4), (9, 7, 6), (33, 128, 5)] {
            let matrix: Vec<f32> = (0..k * n).map(number).collect();
            let left: Vec<f32> = (0..rows * k).map(|i| number(i + 3)).collect();
            let mut out = vec![1.0; n];
            add_product(&mut out, &left[..k], &matrix);
            for (j, out) in out.iter().enumerate() {
                assert_eq!(*out, 1.0 + (0..k).map(|i| left[i] * matrix[i * n + j]).sum::<f32>());
            }
            let right: Vec<f32> = (0..rows * n).map(|i| number(i + 5)).collect();
            let mut outer = vec![2.0; k * n];
            add_outer(&mut outer, &left, k, &right, n);
            for i in 0..k {
                for j in 0..n {
                    let sum: f32 = (0..rows).map(|r| left[r * k + i] * right[r * n + j]).sum();
                    assert_eq!(outer[i * n + j], 2.0 + sum);
                }
            }
            let mut turned = Vec::new();
            transpose(&matrix, n, &mut turned);
            assert!((0..k * n).all(|i| turned[(i % n) * k + i / n] == matrix[i]));
        }
    }
}
