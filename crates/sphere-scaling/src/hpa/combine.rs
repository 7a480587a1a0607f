//! Which of several metrics decides, and what if some of them fail?
//!
//! The largest proposal wins. A failed metric never lets the others shrink the workload; growing and
//! holding still work. Follows `computeReplicasForMetrics` of `horizontal.go`.

use super::{MetricError, Proposal};

/// What the metrics ask for together.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Combined {
    /// The largest proposal.
    pub replicas: i32,
    /// Index of the metric that reached it first.
    pub decided_by: usize,
    /// Index and error of the first metric that failed, if any did.
    pub first_error: Option<(usize, MetricError)>,
}

/// No size may be derived from these metrics.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct CombineError {
    /// Index and error of the first metric that failed; absent when there were no metrics at all.
    pub first_error: Option<(usize, MetricError)>,
}

/// Combines the outcome of each metric, in the order of the spec.
///
/// Fails when none is valid, and when some are invalid and the rest would shrink below `current`.
pub fn combine(
    current: i32,
    outcomes: impl IntoIterator<Item = Result<Proposal, MetricError>>,
) -> Result<Combined, CombineError> {
    let mut best: Option<(i32, usize)> = None;
    let mut first_error = None;
    for (index, outcome) in outcomes.into_iter().enumerate() {
        match outcome {
            Ok(Proposal { replicas, .. }) => {
                if best.is_none_or(|(most, _)| replicas > most) {
                    best = Some((replicas, index));
                }
            }
            Err(error) => first_error = first_error.or(Some((index, error))),
        }
    }
    match best {
        Some((replicas, decided_by)) if first_error.is_none() || replicas >= current => {
            Ok(Combined { replicas, decided_by, first_error })
        }
        _ => Err(CombineError { first_error }),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ok(replicas: i32) -> Result<Proposal, MetricError> {
        Ok(Proposal { replicas, utilization_pct: None, value_milli: 0 })
    }
    const BAD: Result<Proposal, MetricError> = Err(MetricError::FetchFailed);

    #[test]
    fn the_first_to_reach_the_maximum_decides() {
        let c = combine(3, [ok(2), ok(5), ok(5)]).unwrap();
        assert_eq!((c.replicas, c.decided_by, c.first_error), (5, 1, None));
    }

    #[test]
    fn with_a_failed_metric_the_rest_may_hold_or_grow_but_not_shrink() {
        assert_eq!(combine(3, [BAD, ok(4)]).unwrap().replicas, 4);
        assert_eq!(combine(3, [ok(3), BAD]).unwrap().first_error, Some((1, MetricError::FetchFailed)));
        assert!(combine(3, [ok(2), BAD]).is_err());
        assert!(combine(3, [BAD, BAD]).is_err());
        assert!(combine(3, []).is_err());
    }
}
