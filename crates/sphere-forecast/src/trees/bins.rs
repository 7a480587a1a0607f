//! Which bin does a feature's value fall into?
//!
//! Histogram training (Ke et al., *LightGBM*, NeurIPS 2017) needs each feature in at most 255 bins. Cuts lie between
//! neighbouring values where a feature has few, at quantiles where it has many. Bin 0 is kept for missing
//! values (NaN), so a split can tell them apart; in prediction NaN goes left at every node.

/// Values a feature's cuts are learnt from; more would move no cut that matters.
const SAMPLE: usize = 16_384;

/// Features of some rows, in bins: what trees are grown on.
#[derive(Clone, Debug)]
pub struct Table {
    rows: usize,
    features: usize,
    /// Row by row.
    bins: Vec<u8>,
    /// Of each feature, ascending: value x is in bin 1 + (number of cuts below x).
    cuts: Vec<Vec<f32>>,
    widest: usize,
}

impl Table {
    /// Bins `values`, row by row, `features` per row; a last incomplete row is left out. At most `max_bins` bins per
    /// feature, 3 to 255, the one for missing values included. Infinite values count as the largest finite ones.
    pub fn new(values: &[f32], features: usize, max_bins: usize) -> Self {
        let rows = values.len().checked_div(features).unwrap_or(0);
        let max_cuts = max_bins.clamp(3, 255) - 2;
        let stride = rows.div_ceil(SAMPLE).max(1);
        let mut sample = Vec::with_capacity(rows.min(SAMPLE));
        let cuts: Vec<Vec<f32>> = (0..features)
            .map(|f| {
                sample.clear();
                let column = (0..rows).step_by(stride).map(|row| values[row * features + f]);
                sample.extend(column.filter(|v| !v.is_nan()).map(finite));
                cuts(&mut sample, max_cuts)
            })
            .collect();
        let mut bins = vec![0; rows * features];
        if features > 0 {
            for (row, out) in values.chunks_exact(features).zip(bins.chunks_exact_mut(features)) {
                for ((value, out), cuts) in row.iter().zip(out).zip(&cuts) {
                    *out = bin(*value, cuts);
                }
            }
        }
        let widest = cuts.iter().map(|c| c.len() + 2).max().unwrap_or(2);
        Self { rows, features, bins, cuts, widest }
    }

    /// Rows.
    pub fn rows(&self) -> usize {
        self.rows
    }

    /// Features of a row.
    pub fn features(&self) -> usize {
        self.features
    }

    /// The most bins a feature has, bin 0 included.
    pub(super) fn widest(&self) -> usize {
        self.widest
    }

    pub(super) fn row(&self, row: u32) -> &[u8] {
        let start = row as usize * self.features;
        &self.bins[start..start + self.features]
    }

    pub(super) fn bin(&self, row: u32, feature: usize) -> u8 {
        self.bins[row as usize * self.features + feature]
    }

    /// Bins feature `feature` has, bin 0 included.
    pub(super) fn width(&self, feature: usize) -> usize {
        self.cuts[feature].len() + 2
    }

    /// The value that splits bins 0 to `bin` (left: at most this value, or missing) from those above.
    pub(super) fn threshold(&self, feature: usize, bin: u8) -> f32 {
        if bin == 0 { f32::MIN } else { self.cuts[feature][usize::from(bin) - 1] }
    }
}

fn finite(value: f32) -> f32 {
    // The smallest number of all is the threshold that has only missing values on its left.
    value.clamp(f32::MIN.next_up(), f32::MAX)
}

fn bin(value: f32, cuts: &[f32]) -> u8 {
    if value.is_nan() {
        return 0;
    }
    let value = finite(value);
    // At most 253 cuts: the number fits.
    1 + cuts.partition_point(|cut| *cut < value) as u8
}

/// Halfway from `a` to the larger `b`, below `b` in any case.
fn between(a: f32, b: f32) -> f32 {
    let middle = 0.5 * a + 0.5 * b;
    if middle >= a && middle < b { middle } else { a }
}

fn cuts(values: &mut [f32], max_cuts: usize) -> Vec<f32> {
    values.sort_unstable_by(f32::total_cmp);
    let mut cuts = Vec::new();
    let distinct = 1 + values.windows(2).filter(|w| w[0] < w[1]).count();
    if distinct <= max_cuts + 1 {
        cuts.extend(values.windows(2).filter(|w| w[0] < w[1]).map(|w| between(w[0], w[1])));
        return cuts;
    }
    // Equal shares of what is left over the bins that are left, so that one frequent value does not empty others.
    let (mut from, n) = (0, values.len());
    for left in (1..=max_cuts).rev() {
        let mut end = from + ((n - from) as f64 / (left + 1) as f64).round().max(1.0) as usize;
        while end < n && values[end - 1] >= values[end] {
            end += 1;
        }
        if end >= n {
            break;
        }
        cuts.push(between(values[end - 1], values[end]));
        from = end;
    }
    cuts
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn few_values_get_a_bin_each_and_missing_ones_their_own() {
        let table = Table::new(&[3.0, f32::NAN, 1.0, 2.0, 1.0, f32::INFINITY], 1, 255);
        let bins: Vec<u8> = (0..6).map(|row| table.bin(row, 0)).collect();
        assert_eq!(bins, [3, 0, 1, 2, 1, 4]);
        assert_eq!(table.width(0), 5);
        assert!(table.threshold(0, 1) >= 1.0 && table.threshold(0, 1) < 2.0);
        assert_eq!(table.threshold(0, 0), f32::MIN);
    }

    #[test]
    fn many_values_share_the_bins_evenly() {
        let values: Vec<f32> = (0..10_000).map(|i| ((i * 7919) % 10_000) as f32).collect();
        let table = Table::new(&values, 1, 64);
        let mut counts = [0; 256];
        (0..10_000).for_each(|row| counts[usize::from(table.bin(row, 0))] += 1);
        assert_eq!(table.widest(), 64);
        assert!(counts[1..64].iter().all(|c| (140..180).contains(c)), "{counts:?}");
    }

    #[test]
    fn a_frequent_value_takes_one_bin_and_leaves_the_others() {
        let values: Vec<f32> = (0..3000).map(|i| if i % 3 == 0 { i as f32 } else { 0.0 }).collect();
        let table = Table::new(&values, 1, 64);
        assert!(table.widest() > 50, "{}", table.widest());
    }

    #[test]
    fn every_value_lies_on_the_side_of_the_threshold_its_bin_says() {
        let values: Vec<f32> = (0..997).map(|i| ((i * 31) % 997) as f32 * 1e-3 - 0.4).collect();
        let table = Table::new(&values, 1, 32);
        for (row, value) in values.iter().enumerate() {
            for split in 0..table.width(0) - 1 {
                let left = usize::from(table.bin(row as u32, 0)) <= split;
                assert_eq!(left, *value <= table.threshold(0, split as u8), "{value} at {split}");
            }
        }
    }

    #[test]
    fn nothing_and_one_value_make_no_cuts() {
        assert_eq!(Table::new(&[], 3, 255).rows(), 0);
        assert_eq!(Table::new(&[], 0, 255).rows(), 0);
        assert_eq!(Table::new(&[f32::NAN; 4], 2, 255).width(0), 2);
        assert_eq!(Table::new(&[5.0; 8], 2, 255).width(1), 2);
    }
}
