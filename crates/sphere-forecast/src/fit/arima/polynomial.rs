//! What do the orders of a seasonal model mean as plain polynomials?

use serde::{Deserialize, Serialize};

/// Orders (p, d, q)(P, D, Q)m.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Order {
    /// Autoregressive order.
    pub p: usize,
    /// Differences.
    pub d: usize,
    /// Moving-average order.
    pub q: usize,
    /// Seasonal autoregressive order.
    pub seasonal_p: usize,
    /// Seasonal differences.
    pub seasonal_d: usize,
    /// Seasonal moving-average order.
    pub seasonal_q: usize,
    /// Steps in a season; 0 or 1 without one.
    pub period: usize,
}

impl Order {
    /// Without a season.
    pub const fn new(p: usize, d: usize, q: usize) -> Self {
        Self { p, d, q, seasonal_p: 0, seasonal_d: 0, seasonal_q: 0, period: 0 }
    }

    /// With a season.
    pub const fn seasonal(
        self,
        seasonal_p: usize,
        seasonal_d: usize,
        seasonal_q: usize,
        period: usize,
    ) -> Self {
        Self { seasonal_p, seasonal_d, seasonal_q, period, ..self }
    }

    /// Number of ARMA coefficients.
    pub const fn coefficients(self) -> usize {
        self.p + self.q + self.seasonal_p + self.seasonal_q
    }

    /// Values lost by differencing.
    pub const fn lost(self) -> usize {
        self.d + self.seasonal_d * self.period
    }

    /// Degree of the expanded autoregressive polynomial.
    pub(super) const fn ar_len(self) -> usize {
        self.p + self.seasonal_p * self.period
    }

    /// Degree of the longer of the expanded polynomials.
    pub(super) fn longest(self) -> usize {
        self.ar_len().max(self.q + self.seasonal_q * self.period)
    }

    /// Points to start a search from, in its coordinates: slow and fast memory, with and without its counterpart.
    pub(super) fn starts(self) -> Vec<Vec<f64>> {
        let ars: &[f64] = if self.p > 0 { &[1.5, 0.2, -0.8] } else { &[0.0] };
        let mas: &[f64] = if self.q > 0 { &[-1.5, -0.3, 0.7] } else { &[0.0] };
        let seasonal_ars: &[f64] = if self.seasonal_p > 0 { &[0.4] } else { &[0.0] };
        let seasonal_mas: &[f64] = if self.seasonal_q > 0 { &[-1.0, 0.05] } else { &[0.0] };
        let mut starts = Vec::new();
        for a in ars {
            for b in mas {
                for c in seasonal_ars {
                    for d in seasonal_mas {
                        let mut at = Vec::with_capacity(self.coefficients());
                        for (n, first) in
                            [(self.p, a), (self.q, b), (self.seasonal_p, c), (self.seasonal_q, d)]
                        {
                            at.extend((0..n).map(|i| if i == 0 { *first } else { 0.05 / i as f64 }));
                        }
                        starts.push(at);
                    }
                }
            }
        }
        starts
    }
}

/// Expanded polynomials at one point of the search.
pub(super) struct Arma {
    /// φ₁, φ₂, …: `x_t = Σ φ_i x_{t−i} + …`.
    pub(super) ar: Vec<f64>,
    /// θ₁, θ₂, …: `… + a_t + Σ θ_j a_{t−j}`.
    pub(super) ma: Vec<f64>,
    /// φ, θ, Φ, Θ before expansion.
    pub(super) short: Vec<f64>,
}

impl Arma {
    pub(super) fn new(order: Order, at: &[f64]) -> Self {
        let mut short = Vec::with_capacity(at.len());
        let mut rest = at;
        let mut parts = [(0, 0); 4];
        for (slot, n) in [order.p, order.q, order.seasonal_p, order.seasonal_q].into_iter().enumerate() {
            let (part, others) = rest.split_at(n.min(rest.len()));
            rest = others;
            let from = short.len();
            stationary(part, &mut short);
            if slot % 2 == 1 {
                short[from..].iter_mut().for_each(|c| *c = -*c);
            }
            parts[slot] = (from, short.len());
        }
        let part = |slot: usize| &short[parts[slot].0..parts[slot].1];
        let negated = |c: &[f64]| c.iter().map(|c| -c).collect::<Vec<f64>>();
        let mut ar = product(&negated(part(0)), &negated(part(2)), order.period);
        ar.iter_mut().for_each(|c| *c = -*c);
        let ma = product(part(1), part(3), order.period);
        Self { ar, ma, short }
    }
}

/// Coefficients of a stationary autoregression from any numbers: `u/√(1+u²)` as partial autocorrelations,
/// then the recursion of Durbin and Levinson.
fn stationary(u: &[f64], out: &mut Vec<f64>) {
    let from = out.len();
    for (k, u) in u.iter().enumerate() {
        let r = u / (1.0 + u * u).sqrt();
        let before: Vec<f64> = out[from..].to_vec();
        for j in 0..k {
            out[from + j] = before[j] - r * before[k - 1 - j];
        }
        out.push(r);
    }
}

/// `(1 + Σ a_i B^i)(1 + Σ b_j B^{jm})` without its leading 1.
fn product(a: &[f64], b: &[f64], period: usize) -> Vec<f64> {
    let mut out = vec![0.0; a.len() + b.len() * period];
    out[..a.len()].copy_from_slice(a);
    for (j, b) in b.iter().enumerate() {
        let lag = (j + 1) * period;
        out[lag - 1] += b;
        for (i, a) in a.iter().enumerate() {
            out[lag + i] += a * b;
        }
    }
    out
}

/// `(1−B)ᵈ(1−Bᵐ)ᴰ`, the leading 1 included.
pub(super) fn differencing(order: Order) -> Vec<f64> {
    let mut delta = vec![1.0];
    let mut times = |lag: usize| {
        let mut next = delta.clone();
        next.resize(delta.len() + lag, 0.0);
        for (i, c) in delta.iter().enumerate() {
            next[i + lag] -= c;
        }
        delta = next;
    };
    (0..order.d).for_each(|_| times(1));
    (0..order.seasonal_d).for_each(|_| times(order.period));
    delta
}

pub(super) fn differences(values: &[f64], delta: &[f64]) -> Vec<f64> {
    if delta.len() == 1 {
        return values.to_vec();
    }
    let terms: Vec<(usize, f64)> = delta.iter().copied().enumerate().filter(|(_, c)| *c != 0.0).collect();
    (delta.len() - 1..values.len()).map(|t| terms.iter().map(|(lag, c)| c * values[t - lag]).sum()).collect()
}

/// Autoregression of the series itself: `φ(B) δ(B)` as coefficients of past values.
pub(super) fn integrated_ar(arma: &Arma, delta: &[f64]) -> Vec<f64> {
    let mut out = vec![0.0; arma.ar.len() + delta.len() - 1];
    for (i, d) in delta.iter().enumerate() {
        if i > 0 {
            out[i - 1] -= d;
        }
        for (j, a) in arma.ar.iter().enumerate() {
            out[i + j] += d * a;
        }
    }
    out
}

/// ψ₁ … ψ_n: what an innovation adds to the values after it.
pub(super) fn psi_weights(ar: &[f64], ma: &[f64], n: usize) -> Vec<f64> {
    let mut psi = Vec::with_capacity(n);
    for j in 0..n {
        let mut v = ma.get(j).copied().unwrap_or(0.0);
        for (i, a) in ar.iter().enumerate().take(j + 1) {
            v += a * if i == j { 1.0 } else { psi[j - 1 - i] };
        }
        psi.push(v);
    }
    psi
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn expanded_polynomials_are_the_products() {
        // (1 − 0.5B)(1 − 0.2B⁴) = 1 − 0.5B − 0.2B⁴ + 0.1B⁵
        let u = |r: f64| r / (1.0 - r * r).sqrt();
        let arma = Arma::new(Order::new(1, 0, 0).seasonal(1, 0, 0, 4), &[u(0.5), u(0.2)]);
        for (found, expected) in arma.ar.iter().zip([0.5, 0.0, 0.0, 0.2, -0.1]) {
            assert!((found - expected).abs() < 1e-12, "{:?}", arma.ar);
        }
        assert_eq!(differencing(Order::new(0, 2, 0)), [1.0, -2.0, 1.0]);
        assert_eq!(differencing(Order::new(0, 1, 0).seasonal(0, 1, 0, 3)), [1.0, -1.0, 0.0, -1.0, 1.0]);
        assert_eq!(integrated_ar(&Arma::new(Order::new(0, 1, 0), &[]), &[1.0, -1.0]), [1.0]);
    }

    #[test]
    fn a_walk_remembers_innovations_for_ever() {
        assert_eq!(psi_weights(&[1.0], &[-0.4], 3), [0.6, 0.6, 0.6]);
    }
}
