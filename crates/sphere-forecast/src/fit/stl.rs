//! What of a series is season, what is trend, what is left?
//!
//! STL (Cleveland, Cleveland, McRae & Terpenning, *STL: A Seasonal-Trend Decomposition Procedure Based on Loess*,
//! Journal of Official Statistics 6, 1990) without robustness weights, and MSTL for several seasons (Bandara, Hyndman &
//! Bergmeir, *MSTL: A Seasonal-Trend Decomposition Algorithm for Time Series with Multiple Seasonal Patterns*, 2021).
//! Local regressions are of degree 1. With `jump` 1 the components are those of statsmodels; a jump of a
//! tenth of the span interpolates between fewer regressions (section 5.1 of the paper) and is that much faster.

/// Spans of the local regressions.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Spans {
    /// Steps in a season, at least 2.
    pub period: usize,
    /// Cycles that the season is smoothed over; odd, at least 3.
    pub seasonal: usize,
    /// Steps that the trend is smoothed over; odd.
    pub trend: usize,
    /// Interpolate between regressions a tenth of their span apart.
    pub jump: bool,
}

impl Spans {
    /// The trend's span as the paper recommends it (section 3.2).
    pub fn new(period: usize, seasonal: usize) -> Self {
        let trend = (1.5 * period as f64 / (1.0 - 1.5 / seasonal as f64)).ceil() as usize;
        Self { period, seasonal, trend: trend | 1, jump: false }
    }

    fn jump(self, span: usize) -> usize {
        if self.jump { span.div_ceil(10) } else { 1 }
    }
}

/// Rounds of the inner loop; the paper's section 3.3 finds two enough, statsmodels takes 5.
const ROUNDS: usize = 5;

/// Season and trend of `values`; what is left is the rest. `None` with fewer than two periods.
pub fn stl(values: &[f64], spans: Spans) -> Option<(Vec<f64>, Vec<f64>)> {
    let (n, period) = (values.len(), spans.period);
    if period < 2 || n < 2 * period {
        return None;
    }
    let low_pass = (period + 1) | 1;
    let (mut season, mut trend) = (vec![0.0; n], vec![0.0; n]);
    let mut work = vec![0.0; n];
    let mut cycle = vec![0.0; n + 2 * period];
    for _ in 0..ROUNDS {
        for i in 0..n {
            work[i] = values[i] - trend[i];
        }
        smooth_cycles(&work, spans, &mut cycle);
        let once = moving_mean(&cycle, period);
        let twice = moving_mean(&once, period);
        let thrice = moving_mean(&twice, 3);
        loess(&thrice, low_pass, spans.jump(low_pass), &mut work);
        for i in 0..n {
            season[i] = cycle[period + i] - work[i];
            work[i] = values[i] - season[i];
        }
        loess(&work, spans.trend, spans.jump(spans.trend), &mut trend);
    }
    Some((season, trend))
}

/// Several seasons at once.
#[derive(Clone, Debug, PartialEq)]
pub struct Decomposition {
    /// Period and component of each season that fits into the data twice, shortest first.
    pub seasons: Vec<(usize, Vec<f64>)>,
    /// The trend.
    pub trend: Vec<f64>,
}

/// MSTL: each season in turn is estimated on what the others leave, twice over. Periods of which `values` does not
/// hold two are left out; `None` when none is left.
pub fn mstl(values: &[f64], periods: &[usize], jump: bool) -> Option<Decomposition> {
    let mut periods: Vec<usize> =
        periods.iter().copied().filter(|&p| p >= 2 && 2 * p < values.len()).collect();
    periods.sort_unstable();
    periods.dedup();
    let mut seasons: Vec<(usize, Vec<f64>)> = periods.iter().map(|&p| (p, vec![0.0; values.len()])).collect();
    let mut rest = values.to_vec();
    let mut trend = Vec::new();
    let rounds = if seasons.len() == 1 { 1 } else { 2 };
    for _ in 0..rounds {
        for (i, (period, season)) in seasons.iter_mut().enumerate() {
            rest.iter_mut().zip(season.iter()).for_each(|(r, s)| *r += s);
            let spans = Spans { jump, ..Spans::new(*period, 11 + 4 * i) };
            (*season, trend) = stl(&rest, spans)?;
            rest.iter_mut().zip(season.iter()).for_each(|(r, s)| *r -= s);
        }
    }
    (!seasons.is_empty()).then_some(Decomposition { seasons, trend })
}

/// How much of what the trend leaves is season, 0 to 1: `1 − var(rest) / var(season + rest)` (Wang, Smith &
/// Hyndman, *Characteristic-based clustering for time series data*, 2006). 0 with fewer than two periods.
pub fn seasonal_strength(values: &[f64], period: usize) -> f64 {
    let Some((season, trend)) = stl(values, Spans { jump: true, ..Spans::new(period, 11) }) else {
        return 0.0;
    };
    let rest = variance(values.iter().zip(&season).zip(&trend).map(|((v, s), t)| v - s - t));
    let both = variance(values.iter().zip(&trend).map(|(v, t)| v - t));
    if both > 0.0 { (1.0 - rest / both).clamp(0.0, 1.0) } else { 0.0 }
}

fn variance(values: impl Iterator<Item = f64> + Clone) -> f64 {
    let n = values.clone().count() as f64;
    let mean = values.clone().sum::<f64>() / n;
    values.map(|v| (v - mean) * (v - mean)).sum::<f64>() / n
}

/// Smooths each phase of the season over the cycles, and extends it by a cycle at both ends.
fn smooth_cycles(values: &[f64], spans: Spans, out: &mut [f64]) {
    let (n, period, span) = (values.len(), spans.period, spans.seasonal);
    let longest = n.div_ceil(period);
    let (mut phase, mut smooth) = (Vec::with_capacity(longest), vec![0.0; longest]);
    for j in 0..period {
        phase.clear();
        phase.extend(values[j..].iter().step_by(period));
        let k = phase.len();
        loess(&phase, span, spans.jump(span), &mut smooth[..k]);
        let before = local(&phase, span, -1.0, 0, span.min(k) - 1).unwrap_or(smooth[0]);
        let after = local(&phase, span, k as f64, k.saturating_sub(span), k - 1).unwrap_or(smooth[k - 1]);
        out[j] = before;
        for (i, s) in smooth[..k].iter().enumerate() {
            out[(i + 1) * period + j] = *s;
        }
        out[(k + 1) * period + j] = after;
    }
}

fn moving_mean(values: &[f64], width: usize) -> Vec<f64> {
    let mut sum: f64 = values[..width].iter().sum();
    let mut out = Vec::with_capacity(values.len() + 1 - width);
    out.push(sum / width as f64);
    for i in width..values.len() {
        sum += values[i] - values[i - width];
        out.push(sum / width as f64);
    }
    out
}

/// Local regression at every point of `values`, `jump` apart, the rest by interpolation.
fn loess(values: &[f64], span: usize, jump: usize, out: &mut [f64]) {
    let n = values.len();
    if n < 2 {
        out.copy_from_slice(values);
        return;
    }
    let jump = jump.clamp(1, n - 1);
    // First and last point of the span around `i`.
    let around = |i: usize| {
        if span >= n {
            return (0, n - 1);
        }
        let left = (i + 1).saturating_sub(span.div_ceil(2)).min(n - span);
        (left, left + span - 1)
    };
    let at = |i: usize| {
        let (left, right) = around(i);
        local(values, span, i as f64, left, right).unwrap_or(values[i])
    };
    let mut last = 0;
    out[0] = at(0);
    while last + 1 < n {
        let next = (last + jump).min(n - 1);
        out[next] = at(next);
        let slope = (out[next] - out[last]) / (next - last) as f64;
        for i in last + 1..next {
            out[i] = out[last] + slope * (i - last) as f64;
        }
        last = next;
    }
}

/// Tricube-weighted regression line through `values[left..=right]`, read at `x`.
fn local(values: &[f64], span: usize, x: f64, left: usize, right: usize) -> Option<f64> {
    let n = values.len();
    let mut h = (x - left as f64).max(right as f64 - x);
    if span > n {
        h += ((span - n) / 2) as f64;
    }
    let (near, far) = (0.001 * h, 0.999 * h);
    let weight = |j: usize| {
        let r = (j as f64 - x).abs();
        if r > far {
            0.0
        } else if r <= near {
            1.0
        } else {
            let q = r / h;
            let t = 1.0 - q * q * q;
            t * t * t
        }
    };
    let (mut sw, mut sx, mut sy, mut sxx, mut sxy) = (0.0, 0.0, 0.0, 0.0, 0.0);
    for j in left..=right {
        let w = weight(j);
        // Distances from x keep the sums well conditioned.
        let d = j as f64 - x;
        sw += w;
        sx += w * d;
        sy += w * values[j];
        sxx += w * d * d;
        sxy += w * d * values[j];
    }
    if sw <= 0.0 {
        return None;
    }
    let (mean, mean_y) = (sx / sw, sy / sw);
    let spread = sxx / sw - mean * mean;
    if h > 0.0 && spread.max(0.0).sqrt() > 0.001 * (n as f64 - 1.0) {
        Some(mean_y - mean * (sxy / sw - mean * mean_y) / spread)
    } else {
        Some(mean_y)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_season_on_a_line_is_taken_apart_exactly() {
        let shape = [3.0, -1.0, 2.0, -4.0, 1.0, -1.0];
        let values: Vec<f64> = (0..60).map(|i| 10.0 + 0.5 * i as f64 + shape[i % 6]).collect();
        let (season, trend) = stl(&values, Spans::new(6, 7)).unwrap();
        for i in 0..60 {
            assert!((season[i] - shape[i % 6]).abs() < 0.02, "{i}: {}", season[i]);
            assert!((trend[i] - 10.0 - 0.5 * i as f64).abs() < 0.02, "{i}: {}", trend[i]);
        }
        assert!(seasonal_strength(&values, 6) > 0.99);
    }

    #[test]
    fn less_than_two_periods_are_no_season() {
        assert_eq!(stl(&[1.0; 11], Spans::new(6, 7)), None);
        assert_eq!(mstl(&[1.0; 11], &[6], false), None);
        assert_eq!(seasonal_strength(&[1.0; 11], 6), 0.0);
    }
}
