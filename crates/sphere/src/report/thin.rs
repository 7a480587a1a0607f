//! Which few points look like all of them?
//!
//! A screen has a thousand columns, a trace a hundred thousand steps. Two ways, both of which keep every peak:
//!
//! - [`hold_changes`] for values that hold until the next point: points that repeat the one before are dropped.
//!   Nothing is lost.
//! - [`thin`] for everything else: time is cut into buckets, and of each the first, lowest, highest and last
//!   point stay. Drawn as a line over that many columns it is the same picture (M4: Jugel et al., "M4: A
//!   Visualization-Oriented Time Series Data Aggregation", VLDB 2014). A bucket without any value stays one
//!   gap; a gap shorter than a bucket is not visible and is dropped.

use super::data::Series;

/// Points a bucket may leave.
const POINTS_PER_BUCKET: usize = 4;

/// Drops points that repeat the value before them, except the last.
pub fn hold_changes(series: &Series) -> Series {
    let last = series.values.len().saturating_sub(1);
    let mut kept = Series::default();
    for (i, (time_s, value)) in series.time_s.iter().zip(&series.values).enumerate() {
        if i == 0 || i == last || *value != series.values[i - 1] {
            kept.time_s.push(*time_s);
            kept.values.push(*value);
        }
    }
    kept
}

/// At most `max_points` points (at least four) that keep the shape, with all extremes.
pub fn thin(series: &Series, max_points: usize) -> Series {
    let (Some(first_s), Some(last_s)) = (series.time_s.first(), series.time_s.last()) else {
        return series.clone();
    };
    if series.time_s.len() <= max_points {
        return series.clone();
    }
    let buckets = (max_points / POINTS_PER_BUCKET).max(1);
    let per_s = buckets as f64 / (last_s - first_s);
    let bucket_of = |time_s: f64| (((time_s - first_s) * per_s) as usize).min(buckets - 1);
    let mut kept = Series::default();
    let mut begin = 0;
    while begin < series.time_s.len() {
        let bucket = bucket_of(series.time_s[begin]);
        let length = series.time_s[begin..].iter().take_while(|time_s| bucket_of(**time_s) == bucket).count();
        for i in points_of_bucket(&series.values, begin, begin + length) {
            kept.time_s.push(series.time_s[i]);
            kept.values.push(series.values[i]);
        }
        begin += length;
    }
    kept
}

/// Indices of the first, lowest, highest and last value in `begin..end`, sorted; of its first point if there
/// is no value.
fn points_of_bucket(values: &[Option<f64>], begin: usize, end: usize) -> Vec<usize> {
    let present = || (begin..end).filter_map(|i| values[i].map(|value| (i, value)));
    let lowest = present().min_by(|a, b| a.1.total_cmp(&b.1));
    let highest = present().max_by(|a, b| a.1.total_cmp(&b.1));
    let mut chosen: Vec<usize> = [present().next(), lowest, highest, present().next_back()]
        .into_iter()
        .flatten()
        .map(|(i, _)| i)
        .collect();
    if chosen.is_empty() {
        chosen.push(begin);
    }
    chosen.sort_unstable();
    chosen.dedup();
    chosen
}

/// Rounds to five significant digits: far finer than a pixel, and a third of the bytes.
pub fn round_for_plot(value: f64) -> f64 {
    format!("{value:.4e}").parse().unwrap_or(value)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn series(values: Vec<Option<f64>>) -> Series {
        Series { time_s: (0..values.len()).map(|i| i as f64 * 10.0).collect(), values }
    }

    fn extremes(series: &Series) -> (f64, f64) {
        series
            .values
            .iter()
            .flatten()
            .fold((f64::INFINITY, f64::NEG_INFINITY), |(low, high), v| (low.min(*v), high.max(*v)))
    }

    #[test]
    fn a_single_peak_in_a_million_points_survives() {
        let mut values = vec![Some(1.0); 1_000_000];
        values[777_777] = Some(100.0);
        values[777_779] = Some(0.0);
        let thinned = thin(&series(values), 4000);
        assert!(thinned.time_s.len() <= 4000);
        let at = thinned.values.iter().position(|v| *v == Some(100.0)).unwrap();
        assert_eq!(thinned.time_s[at], 7_777_770.0);
        assert_eq!(extremes(&thinned), (0.0, 100.0));
    }

    #[test]
    fn a_long_gap_stays_a_gap() {
        let values = (0..10_000).map(|i| (!(4000..6000).contains(&i)).then_some(1.0)).collect();
        let thinned = thin(&series(values), 100);
        let gap: Vec<_> = thinned.time_s.iter().zip(&thinned.values).filter(|(_, v)| v.is_none()).collect();
        assert!(!gap.is_empty());
        assert!(gap.iter().all(|(t, _)| (40_000.0..60_000.0).contains(*t)));
    }

    #[test]
    fn held_values_keep_each_change_and_the_end() {
        let held = hold_changes(&series([2.0, 2.0, 3.0, 3.0, 3.0, 2.0, 2.0].map(Some).to_vec()));
        assert_eq!(held.time_s, vec![0.0, 20.0, 50.0, 60.0]);
        assert_eq!(held.values, [2.0, 3.0, 2.0, 2.0].map(Some).to_vec());
        assert_eq!(hold_changes(&Series::default()), Series::default());
    }

    #[test]
    fn rounding_keeps_five_digits() {
        assert_eq!(round_for_plot(123_456_789.0), 123_460_000.0);
        assert_eq!(round_for_plot(0.001_234_567), 0.001_234_6);
        assert_eq!(round_for_plot(0.0), 0.0);
        assert_eq!(round_for_plot(-2.0 / 3.0), -0.66667);
        assert!(round_for_plot(f64::MIN_POSITIVE) > 0.0);
    }

    proptest! {
        #[test]
        fn thinning_keeps_extremes_ends_and_order(
            values in prop::collection::vec(prop::option::weighted(0.9, -1e6..1e6f64), 1..500),
            max_points in 4usize..100,
        ) {
            let whole = series(values);
            let thinned = thin(&whole, max_points);
            prop_assert!(thinned.time_s.len() <= max_points.max(POINTS_PER_BUCKET));
            prop_assert!(thinned.time_s.is_sorted_by(|a, b| a < b));
            prop_assert_eq!(thinned.time_s.len(), thinned.values.len());
            prop_assert_eq!(extremes(&whole), extremes(&thinned));
            for (time_s, value) in thinned.time_s.iter().zip(&thinned.values) {
                prop_assert_eq!(whole.values[(time_s / 10.0) as usize], *value);
            }
        }
    }
}
