//! What was the demand at each past step?
//!
//! The grid is the multiples of the step since the epoch, as for live samples. Range queries per pod for all workloads
//! of a scope, cut in time so that no series has more points than the server allows and no answer is longer than we
//! read; a part that turns out too long is halved. Pods that are gone are told by their names.
//!
//! A step has no value where the query has none, or where less than `minReportingShare` of the replicas that
//! were ready then report. Between that share and all of them, the total is raised by the same proportion.

use crate::answer::Series;
use crate::client::{Cause, Client, Failure, Range, bad, no_data, quoted};
use crate::gather::{self, Scope};
use crate::inventory::{self, Statics};
use crate::measure;
use crate::owners::Owners;
use crate::promql;
use crate::source::Prometheus;
use futures_util::future::join_all;
use sphere_core::Timestamp;
use sphere_pipeline::{History, SourceError, Workload};
use std::collections::{BTreeSet, HashMap};
use std::sync::Arc;
use std::time::Duration;

/// Guess of the bytes that one value takes in an answer, for the first cut.
const BYTES_PER_POINT: usize = 40;
/// Guess of the series per workload, for the first cut.
const SERIES_PER_WORKLOAD: usize = 4;
/// Most steps of one call; more are refused.
const MAX_STEPS: i64 = 1_000_000;

/// Sum and number of the series at each instant.
type Sums = HashMap<i64, (f64, u32)>;

/// The instants of the grid after `from` up to and including `to`.
fn grid(from: Timestamp, to: Timestamp, step: Duration) -> Result<Option<Range>, SourceError> {
    let step_ms = i64::try_from(step.as_millis()).unwrap_or(i64::MAX);
    if step_ms <= 0 {
        return Err(bad(format!("a step of {step:?}; at least 1 ms is expected")));
    }
    let first = from.millis().div_euclid(step_ms).saturating_add(1).saturating_mul(step_ms);
    let last = to.millis().div_euclid(step_ms).saturating_mul(step_ms);
    if last < first {
        return Ok(None);
    }
    if (last - first) / step_ms >= MAX_STEPS {
        return Err(bad(format!("more than {MAX_STEPS} steps of {step:?} asked for")));
    }
    Ok(Some(Range { first: Timestamp(first), last: Timestamp(last), step }))
}

impl Range {
    fn steps(self) -> usize {
        let step_ms = self.step.as_millis().max(1) as i64;
        usize::try_from((self.last.millis() - self.first.millis()) / step_ms).unwrap_or(0) + 1
    }

    fn instants(self) -> impl Iterator<Item = Timestamp> {
        (0..self.steps()).map(move |i| self.at(i))
    }

    fn at(self, i: usize) -> Timestamp {
        Timestamp(self.first.millis() + i as i64 * self.step.as_millis() as i64)
    }

    /// In parts of at most `steps`.
    fn parts(self, steps: usize) -> Vec<Range> {
        let starts = (0..self.steps()).step_by(steps.max(1));
        let end = |i: usize| (i + steps.max(1) - 1).min(self.steps() - 1);
        starts.map(|i| Range { first: self.at(i), last: self.at(end(i)), step: self.step }).collect()
    }
}

/// All series of `promql` on `range`, in as many queries as it takes; `use_part` gets them part by part.
async fn in_parts(
    client: &Client,
    promql: &str,
    range: Range,
    series: usize,
    mut use_part: impl FnMut(Vec<Series>),
) -> Result<(), Failure> {
    let config = &client.config;
    let by_size = config.max_response_bytes / (series.max(1) * BYTES_PER_POINT);
    let steps = by_size.clamp(1, config.max_points_per_query as usize);
    let mut parts = range.parts(steps);
    parts.reverse();
    while let Some(part) = parts.pop() {
        match client.matrix(promql, part, client.deadline()).await {
            Ok(series) => use_part(series),
            Err(Failure { cause: Cause::TooLarge, .. }) if part.steps() > 1 => {
                let mut halves = part.parts(part.steps().div_ceil(2));
                halves.reverse();
                parts.append(&mut halves);
            }
            Err(failure) => return Err(failure),
        }
    }
    Ok(())
}

/// Adds the values of `series` to the sums of their workload.
fn add(series: &[Series], sums: &mut HashMap<usize, Sums>, mut owner: impl FnMut(&Series) -> Vec<usize>) {
    for one in series {
        for index in owner(one) {
            let sums = sums.entry(index).or_default();
            for point in &one.values {
                if let Some(value) = point.measured() {
                    let sum = sums.entry(point.at_ms).or_default();
                    *sum = (sum.0 + value, sum.1 + 1);
                }
            }
        }
    }
}

/// Demand of the workloads that are asked about together.
async fn of_scope(
    source: &Prometheus,
    scope: &Scope<'_>,
    owners: &Owners<'_>,
    range: Range,
) -> Vec<(usize, Result<History, SourceError>)> {
    let client = source.client();
    let (config, labels) = (&client.config, &client.config.labels);
    let wanted: Vec<usize> = scope
        .workloads
        .iter()
        .copied()
        .filter(|&i| scope.all[i].spec.forecast.demand.query.is_none())
        .collect();
    if wanted.is_empty() {
        return Vec::new();
    }
    let statics = scope.statics(client, source.cache(), range.last, client.deadline(), None).await.ok();
    let statics: Option<&Statics> = statics.as_deref();
    // `None`: CPU.
    let kind = |i: usize| {
        gather::requests_of(&scope.all[i]).map(|demand| (demand.counter.clone(), demand.label.clone()))
    };
    let kinds: BTreeSet<_> = wanted
        .iter()
        .copied()
        .filter(|&i| gather::requests_of(&scope.all[i]).is_none_or(|d| gather::counter_problem(d).is_none()))
        .map(kind)
        .collect();
    let guess = wanted.len() * SERIES_PER_WORKLOAD;
    let sums = join_all(kinds.iter().map(|of_kind| async move {
        let (query, label) = match of_kind {
            None => (measure::cpu_queries(config, &scope.matcher, false).0, &labels.pod),
            Some((counter, label)) => {
                (measure::counter_queries(config, &scope.matcher, counter, label).0, label)
            }
        };
        let mut sums: HashMap<usize, Sums> = HashMap::new();
        let by_pod = *label == labels.pod;
        let asked = in_parts(client, &query, range, guess, |part| {
            add(&part, &mut sums, |one| {
                let key = (one.label(&labels.namespace).to_owned(), one.label(label).to_owned());
                let mut found: Vec<usize> = if by_pod {
                    gather::owner_of(&key, statics, owners).into_iter().collect()
                } else {
                    owners.named(&key.0, &key.1)
                };
                found.retain(|&i| kind(i) == *of_kind);
                found
            });
        });
        let asked = asked.await.map_err(SourceError::from);
        (of_kind.clone(), asked.map(|()| sums))
    }));
    let ready = async {
        let mut ready: HashMap<usize, HashMap<i64, f64>> = HashMap::new();
        let Some(query) = inventory::ready_query(config, &scope.matcher, scope.members(), false) else {
            return Ok(ready);
        };
        in_parts(client, &query, range, guess, |part| {
            for (index, values) in inventory::ready_over_time(&part, labels, scope.all) {
                ready.entry(index).or_default().extend(values);
            }
        })
        .await
        .map(|()| ready)
    };
    let (sums, ready) = tokio::join!(sums, ready);
    let sums: HashMap<_, _> = sums.into_iter().collect();
    let ready = ready.map_err(SourceError::from);
    let nothing = HashMap::new();
    let answer = |i: usize| -> Result<History, SourceError> {
        if let Some(problem) = gather::requests_of(&scope.all[i]).and_then(gather::counter_problem) {
            return Err(problem);
        }
        let of_kind = kind(i);
        let sums = match sums.get(&of_kind) {
            Some(Ok(sums)) => sums.get(&i),
            Some(Err(error)) => return Err(error.clone()),
            None => None,
        };
        let sums = sums.ok_or_else(|| {
            no_data(format!("no series of {} from {} to {}", scope.all[i].id, range.first.0, range.last.0))
        })?;
        let by_pod = of_kind.is_none_or(|(_, label)| label == labels.pod);
        let ready = if by_pod { ready.as_ref().map_err(Clone::clone)?.get(&i) } else { None };
        let ready = ready.unwrap_or(&nothing);
        let value = |at: Timestamp| {
            let (sum, reporting) = sums.get(&at.millis()).copied()?;
            let expected = ready.get(&at.millis()).copied().unwrap_or(0.0);
            let share = f64::from(reporting) / expected.max(f64::from(reporting));
            (share >= config.min_reporting_share).then(|| sum / share)
        };
        Ok(range.instants().map(|at| (at, value(at))).collect())
    };
    wanted.into_iter().map(|i| (i, answer(i))).collect()
}

/// Demand of a workload with a query of its own.
async fn of_query(client: &Client, query: &str, range: Range) -> Result<History, SourceError> {
    let fresh = promql::fresh(query, client.config.stale_after());
    let (mut values, mut twice) = (HashMap::new(), false);
    in_parts(client, &fresh, range, 1, |part| {
        for point in part.iter().flat_map(|one| &one.values) {
            twice |= values.insert(point.at_ms, point.measured()).is_some();
        }
    })
    .await?;
    if twice {
        return Err(bad(format!("several series at one instant, one expected (query: {})", quoted(query))));
    }
    if values.is_empty() {
        return Err(no_data(format!("an empty answer (query: {})", quoted(query))));
    }
    Ok(range.instants().map(|at| (at, values.get(&at.millis()).copied().flatten())).collect())
}

/// See [`sphere_pipeline::MetricSource::history`].
pub(crate) async fn history(
    source: &Prometheus,
    workloads: &[Arc<Workload>],
    from: Timestamp,
    to: Timestamp,
    step: Duration,
) -> Vec<Result<History, SourceError>> {
    let range = match grid(from, to, step) {
        Ok(Some(range)) => range,
        Ok(None) => return workloads.iter().map(|_| Ok(History::new())).collect(),
        Err(error) => return workloads.iter().map(|_| Err(error.clone())).collect(),
    };
    let client = source.client();
    let owners = Owners::new(workloads);
    let scopes = gather::scopes(workloads, &client.config.labels.namespace);
    let by_scope = join_all(scopes.iter().map(|scope| of_scope(source, scope, &owners, range)));
    let by_query = join_all(workloads.iter().map(|workload| async {
        Some(of_query(client, workload.spec.forecast.demand.query.as_deref()?, range).await)
    }));
    let (by_scope, by_query) = tokio::join!(by_scope, by_query);
    let mut answers: Vec<_> =
        by_query.into_iter().map(|answer| answer.unwrap_or_else(|| Err(no_data("not asked for")))).collect();
    for (index, answer) in by_scope.into_iter().flatten() {
        answers[index] = answer;
    }
    answers
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_grid_is_aligned_and_its_parts_cover_it_once() {
        let range = grid(Timestamp(10_001), Timestamp(60_000), Duration::from_secs(10)).unwrap().unwrap();
        let instants: Vec<i64> = range.instants().map(|at| at.0).collect();
        assert_eq!(instants, [20_000, 30_000, 40_000, 50_000, 60_000]);
        let parts: Vec<i64> = range
            .parts(2)
            .into_iter()
            .flat_map(|part| part.instants().map(|at| at.0).collect::<Vec<_>>())
            .collect();
        assert_eq!(parts, instants);
        let on_grid = grid(Timestamp(10_000), Timestamp(20_000), Duration::from_secs(10)).unwrap().unwrap();
        assert_eq!(on_grid.instants().collect::<Vec<_>>(), [Timestamp(20_000)]);
        assert!(grid(Timestamp(10_000), Timestamp(19_999), Duration::from_secs(10)).unwrap().is_none());
        assert!(grid(Timestamp(0), Timestamp(i64::MAX), Duration::from_millis(1)).is_err());
    }
}
