//! What does a collector see of the simulated cluster, now and before?
//!
//! The values of the last scrape, as old as it is. CPU demand is what pods use (so it ends at their limit, which is
//! reported as censored); requests are counted where they arrive. Queries in PromQL need a Prometheus.

use crate::cluster::SimulatedCluster;
use crate::readings::readings;
use crate::workload::{LiveWorkload, Scraped};
use async_trait::async_trait;
use sphere_core::{Sample, Timestamp};
use sphere_pipeline::source::{History, Live, MetricSource, Problems, SourceError};
use sphere_pipeline::workload::Workload;
use std::sync::Arc;
use std::time::Duration;

/// Name of this source.
pub const NAME: &str = "simulated";
/// Share of ready capacity in use from which pods count as being at their limit.
const AT_LIMIT: f64 = 0.97;
/// Scrape intervals after which a value is stale.
const STALE_AFTER: u32 = 3;
/// Longest history that is answered, in steps and in scrapes: 23 days of 10 s for twenty workloads at once.
const LONGEST_HISTORY: u64 = 4_000_000;

/// What is asked for of a workload.
#[derive(Clone, Copy, PartialEq)]
enum Wanted {
    Cores,
    Requests,
}

fn no_data(detail: String) -> SourceError {
    SourceError::NoData { source_name: NAME, detail }
}

fn wanted(workload: &Workload) -> Result<Wanted, SourceError> {
    let demand = &workload.spec.forecast.demand;
    match (&demand.query, &demand.requests) {
        (Some(query), _) => {
            Err(no_data(format!("{}: the simulated cluster can not answer the query {query:?}", workload.id)))
        }
        (None, Some(_)) => Ok(Wanted::Requests),
        (None, None) => Ok(Wanted::Cores),
    }
}

fn sample(live: &LiveWorkload, wanted: Wanted, scraped: &Scraped, at: Timestamp) -> Sample {
    let in_use = scraped.cpu_pods().map(|cpu| cpu / f64::from(scraped.mean_ready).max(1.0));
    let cpu = wanted == Wanted::Cores;
    Sample {
        workload: live.id.clone(),
        at,
        demand: if cpu {
            scraped.cpu_pods().map(|cpu| cpu * live.cpu_per_pod)
        } else {
            scraped.requests_rps()
        },
        // Of CPU the limit is known; what a pod can serve its owner states.
        capacity_per_pod: cpu.then_some(live.cpu_per_pod),
        replicas: Some(scraped.replicas.into()),
        ready: Some(scraped.ready.into()),
        censored: cpu && in_use.is_some_and(|share| share >= AT_LIMIT),
        memory_bytes: Some(live.memory_bytes * u64::from(scraped.replicas)),
        source: NAME.into(),
    }
}

impl SimulatedCluster {
    fn found<R>(
        &self,
        workloads: &[Arc<Workload>],
        mut ask: impl FnMut(&mut LiveWorkload, &Workload, Wanted) -> Result<R, SourceError>,
    ) -> Vec<Result<R, SourceError>> {
        let mut state = self.state();
        let answer = |workload: &Arc<Workload>| {
            let wanted = wanted(workload)?;
            let index = self
                .index_of(&workload.id)
                .ok_or_else(|| no_data(format!("{} is not in the simulated cluster", workload.id)))?;
            ask(&mut state.workloads[index], workload, wanted)
        };
        workloads.iter().map(answer).collect()
    }
}

#[async_trait]
impl MetricSource for SimulatedCluster {
    fn name(&self) -> &'static str {
        NAME
    }

    async fn samples(&self, workloads: &[Arc<Workload>], at: Timestamp) -> Vec<Result<Sample, SourceError>> {
        self.catch_up().await;
        self.found(workloads, |live, workload, wanted| {
            let (scraped, scraped_at) = live.scrape_at(at).ok_or_else(|| {
                no_data(format!("{}: no scrape up to {} is remembered", workload.id, at.millis()))
            })?;
            let age = at.since(scraped_at);
            if age > Duration::from_secs(u64::from(live.scrape_s() * STALE_AFTER)) {
                return Err(no_data(format!(
                    "{}: the newest scrape is {:.0} s old",
                    workload.id,
                    age.as_secs_f64()
                )));
            }
            Ok(sample(live, wanted, &scraped, at))
        })
    }

    async fn live(&self, workloads: &[Arc<Workload>], at: Timestamp) -> Vec<Result<Live, SourceError>> {
        self.catch_up().await;
        self.found(workloads, |live, workload, wanted| {
            let newest = live.newest_scrape();
            let (scraped, _) = live
                .scrape_at(newest)
                .ok_or_else(|| no_data(format!("{} has not been scraped yet", workload.id)))?;
            let view = live.visible();
            let mut sample = sample(live, wanted, &scraped, at);
            // Sizes are read from the API, not scraped.
            (sample.replicas, sample.ready) = (Some(view.replicas), Some(view.ready));
            sample.memory_bytes = Some(live.memory_bytes * u64::from(view.replicas));
            let independent = wanted == Wanted::Requests && live.measures_utilization();
            let utilization = view.last_cpu_pods.map(|cpu| cpu / view.last_ready.max(1.0));
            let (pods, readings) = readings(live, &workload.spec.metrics);
            Ok(Live {
                sample,
                pods,
                readings,
                utilization: utilization.filter(|_| independent),
                mean_ready: (view.scrape > 0).then_some(view.last_ready),
                violated_share: (view.scrape > 0)
                    .then_some(view.last_violated_share)
                    .filter(|_| view.last_requests_rps.is_some()),
                problems: Problems::default(),
            })
        })
    }

    async fn history(
        &self,
        workloads: &[Arc<Workload>],
        from: Timestamp,
        to: Timestamp,
        step: Duration,
    ) -> Vec<Result<History, SourceError>> {
        self.catch_up().await;
        let asked = workloads.to_vec();
        let answer = self.long(move |cluster| {
            cluster.found(&asked, |live, workload, wanted| past(live, workload, wanted, from, to, step))
        });
        answer.await.unwrap_or_else(|| {
            let error = SourceError::Unavailable { source_name: NAME, detail: "shutting down".into() };
            vec![Err(error); workloads.len()]
        })
    }

    async fn check(&self) -> Result<(), SourceError> {
        Ok(())
    }
}

/// Mean demand of the scrapes in each step.
fn past(
    live: &LiveWorkload,
    workload: &Workload,
    wanted: Wanted,
    from: Timestamp,
    to: Timestamp,
    step: Duration,
) -> Result<History, SourceError> {
    let step_ms = i64::try_from(step.as_millis()).unwrap_or(i64::MAX);
    let scrape_ms = i64::from(live.scrape_s()) * 1000;
    let span_ms = to.since(from).as_millis() as u64;
    let points = span_ms.checked_div(step_ms.max(0).unsigned_abs());
    let Some(points) = points.filter(|points| *points.max(&(span_ms / scrape_ms as u64)) <= LONGEST_HISTORY)
    else {
        let detail = format!(
            "{}: a history of {} s in steps of {} s; steps above 0 and at most {LONGEST_HISTORY} of them are \
             expected",
            workload.id,
            span_ms / 1000,
            step.as_secs_f64()
        );
        return Err(SourceError::BadAnswer { source_name: NAME, detail });
    };
    let cpu = wanted == Wanted::Cores;
    let unit = if cpu { live.cpu_per_pod } else { 1.0 };
    let value = |end_ms: i64| {
        let (mut sum, mut seen) = (0.0, 0u32);
        // Scrapes that end in the step, its end included.
        let mut scrape = (end_ms - step_ms).div_euclid(scrape_ms) * scrape_ms + scrape_ms;
        while scrape <= end_ms {
            if let Some(rate) = live.past(Timestamp(scrape), cpu) {
                sum += rate;
                seen += 1;
            }
            scrape += scrape_ms;
        }
        (seen > 0).then(|| unit * sum / f64::from(seen))
    };
    let ends = (1..=points as i64).map(|k| from.millis() + k * step_ms);
    Ok(ends.map(|end| (Timestamp(end), value(end))).collect())
}
