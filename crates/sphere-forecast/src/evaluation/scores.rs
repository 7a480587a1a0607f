//! How far off were the forecasts, and did the quantiles hold?

use serde::Serialize;
use sphere_core::QUANTILE_LEVELS;

/// Number of levels in [`QUANTILE_LEVELS`].
pub const LEVELS: usize = QUANTILE_LEVELS.len();

/// Pinball loss of the quantile forecast `quantile` at `level` when `actual` came: `level · (actual − quantile)`
/// where the quantile was too low, `(1 − level) · (quantile − actual)` where it was too high, in units of demand.
/// Its expectation is least at the true quantile (Koenker & Bassett, *Regression Quantiles*, Econometrica 46,
/// 1978). At level 0.5 it is half the absolute error of the median.
pub fn pinball(level: f64, quantile: f64, actual: f64) -> f64 {
    let above = actual - quantile;
    if above > 0.0 { level * above } else { (level - 1.0) * above }
}

/// Symmetric percentage error `200 · |f − y| / (|f| + |y|)`, 0 to 200 %, as in the M4 competition (Makridakis,
/// Spiliotis & Assimakopoulos, Int. J. Forecasting 36, 2020); 0 where forecast and value are both 0.
pub fn symmetric_error_pct(forecast: f64, actual: f64) -> f64 {
    let size = forecast.abs() + actual.abs();
    if size > 0.0 { 200.0 * ((forecast - actual).abs() / size) } else { 0.0 }
}

/// Mean absolute one-step change of `values`, the denominator of MASE: what the forecast "demand stays as it
/// is" is off by, one step ahead (Hyndman & Koehler, *Another look at measures of forecast accuracy*, Int. J.
/// Forecasting 22, 2006). Only pairs of neighbours that were both measured count. `None` when there is no such
/// pair or nothing ever changed: then there is no scale to measure errors in.
pub fn mase_scale(values: &[Option<f64>]) -> Option<f64> {
    let (mut sum, mut pairs) = (0.0, 0u64);
    for pair in values.windows(2) {
        if let (Some(a), Some(b)) = (pair[0], pair[1])
            && a.is_finite()
            && b.is_finite()
        {
            sum += (b - a).abs();
            pairs += 1;
        }
    }
    let scale = sum / pairs as f64;
    (pairs > 0 && scale > 0.0 && scale.is_finite()).then_some(scale)
}

/// Sums of errors, to be divided once all are in.
#[derive(Clone, Debug, Default, PartialEq)]
pub(super) struct Tally {
    count: u64,
    absolute: f64,
    squared: f64,
    symmetric_pct: f64,
    pinball: [f64; LEVELS],
    covered: [u64; LEVELS],
}

impl Tally {
    /// Compares one forecast with what came.
    pub(super) fn add(&mut self, point: f64, quantiles: &[f64; LEVELS], actual: f64) {
        let error = actual - point;
        self.count += 1;
        self.absolute += error.abs();
        self.squared += error * error;
        self.symmetric_pct += symmetric_error_pct(point, actual);
        for (i, (&level, &quantile)) in QUANTILE_LEVELS.iter().zip(quantiles).enumerate() {
            self.pinball[i] += pinball(level, quantile, actual);
            self.covered[i] += u64::from(actual <= quantile);
        }
    }

    pub(super) fn merge(&mut self, other: &Tally) {
        self.count += other.count;
        self.absolute += other.absolute;
        self.squared += other.squared;
        self.symmetric_pct += other.symmetric_pct;
        for i in 0..LEVELS {
            self.pinball[i] += other.pinball[i];
            self.covered[i] += other.covered[i];
        }
    }

    /// The means; `None` when nothing was compared.
    pub(super) fn scores(&self, mase_scale: Option<f64>) -> Option<Scores> {
        let n = self.count as f64;
        let mae = self.absolute / n;
        (self.count > 0).then(|| Scores {
            count: self.count,
            mae,
            rmse: (self.squared / n).sqrt(),
            mase: mase_scale.map(|scale| mae / scale),
            smape_pct: self.symmetric_pct / n,
            pinball: self.pinball.map(|sum| sum / n),
            coverage: self.covered.map(|covered| covered as f64 / n),
        })
    }
}

/// Mean scores of some forecasts; lower is better except for `coverage`.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Scores {
    /// Pairs of forecast and value behind the means.
    pub count: u64,
    /// Mean absolute error of the expected value, in units of demand.
    pub mae: f64,
    /// Root of the mean squared error of the expected value, in units of demand.
    pub rmse: f64,
    /// `mae` over [`mase_scale`] of what came before the evaluated part (Hyndman & Koehler 2006), without unit;
    /// `None` when nothing changed there.
    pub mase: Option<f64>,
    /// Mean [`symmetric_error_pct`], percent, 0 to 200.
    pub smape_pct: f64,
    /// Mean [`pinball`] loss at each of [`QUANTILE_LEVELS`], in units of demand.
    pub pinball: [f64; LEVELS],
    /// Share of values at or below the quantile at each of [`QUANTILE_LEVELS`], 0 to 1; honest when near the level.
    pub coverage: [f64; LEVELS],
}

impl Scores {
    /// Mean pinball loss at `level`, if it is one of [`QUANTILE_LEVELS`].
    pub fn pinball_at(&self, level: f64) -> Option<f64> {
        index_of(level).map(|i| self.pinball[i])
    }

    /// Coverage of the quantile at `level`, if it is one of [`QUANTILE_LEVELS`].
    pub fn coverage_at(&self, level: f64) -> Option<f64> {
        index_of(level).map(|i| self.coverage[i])
    }
}

fn index_of(level: f64) -> Option<usize> {
    QUANTILE_LEVELS.iter().position(|&l| (l - level).abs() < 1e-12)
}
