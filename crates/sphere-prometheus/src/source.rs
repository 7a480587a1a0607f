//! How does Prometheus answer the pipeline?

use crate::client::{Client, NAME, bad, no_data};
use crate::config::{ConfigProblem, PrometheusConfig};
use crate::gather::{self, Cache, Gathered, Members, Scope};
use crate::measure;
use crate::owners::Owners;
use crate::{history, live, promql};
use async_trait::async_trait;
use futures_util::future::join_all;
use sphere_core::{Sample, Timestamp};
use sphere_pipeline::{History, Live, MetricSource, SourceError, Workload};
use std::sync::Arc;
use std::time::Duration;
use tokio::time::Instant;

/// Prometheus as a metric source. See the text of the crate.
pub struct Prometheus {
    client: Client,
    cache: Cache,
}

/// Why there is no client.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// The configuration can not be meant.
    #[error("source.prometheus: {}", .0.iter().map(ToString::to_string).collect::<Vec<_>>().join("; "))]
    Config(Vec<ConfigProblem>),
    /// The certificates can not be used.
    #[error("source.prometheus: {0}")]
    Client(String),
}

impl Prometheus {
    /// A source; nothing is asked yet.
    pub fn new(config: PrometheusConfig) -> Result<Self, StartError> {
        let problems = config.problems();
        if !problems.is_empty() {
            return Err(StartError::Config(problems));
        }
        Ok(Self { client: Client::new(config).map_err(StartError::Client)?, cache: Cache::default() })
    }

    /// All scopes, gathered, with what is needed to read them.
    async fn gather<'a>(
        &self,
        workloads: &'a [Arc<Workload>],
        at: Timestamp,
        deadline: Instant,
        live: bool,
    ) -> Vec<(Scope<'a>, Gathered)> {
        let scopes = gather::scopes(workloads, &self.client.config.labels.namespace);
        join_all(scopes.into_iter().map(|scope| async move {
            let gathered = scope.gather(&self.client, &self.cache, at, deadline, live).await;
            (scope, gathered)
        }))
        .await
    }

    /// The value of each workload's own demand query; `None` where it has none.
    async fn queried(
        &self,
        workloads: &[Arc<Workload>],
        at: Timestamp,
        deadline: Instant,
    ) -> Vec<Option<Result<f64, SourceError>>> {
        join_all(workloads.iter().map(|workload| async move {
            let query = workload.spec.forecast.demand.query.as_deref()?;
            Some(self.one_value(query, at, deadline).await)
        }))
        .await
    }

    /// The one value of a query of the user.
    pub(crate) async fn one_value(
        &self,
        query: &str,
        at: Timestamp,
        deadline: Instant,
    ) -> Result<f64, SourceError> {
        let fresh = promql::fresh(query, self.client.config.stale_after());
        let series = self.client.vector(&fresh, at, deadline).await?;
        let shown = crate::client::quoted(query);
        match series.as_slice() {
            [] => Err(no_data(format!("an empty answer (query: {shown})"))),
            [one] => one.measured().ok_or_else(|| {
                let value = one.value.map_or(f64::NAN, |point| point.value);
                no_data(format!("{value} is no measurement (query: {shown})"))
            }),
            more => Err(bad(format!("{} series, one expected (query: {shown})", more.len()))),
        }
    }

    pub(crate) fn client(&self) -> &Client {
        &self.client
    }

    pub(crate) fn cache(&self) -> &Cache {
        &self.cache
    }
}

/// A sample, whose demand may be absent, and why it is.
pub(crate) struct Sampled {
    pub sample: Sample,
    pub problem: Option<SourceError>,
}

/// Reads one workload from what was gathered.
pub(crate) fn sample(
    workload: &Workload,
    gathered: &Gathered,
    members: &Members<'_>,
    queried: Option<&Result<f64, SourceError>>,
    at: Timestamp,
    config: &PrometheusConfig,
) -> Sampled {
    // kube-state-metrics that says nothing at all is not there; then pods are not known.
    let listed = gathered.pods.as_ref().ok().filter(|all| !all.is_empty()).map(|_| members.pods.as_slice());
    let statics = gathered.statics.as_deref().ok();
    let of = |key| statics.and_then(|s| Some((s, s.pods.get(key)?)));
    let total = |table: &Result<measure::Measure, SourceError>, keys: &[_]| match (table, &gathered.pods) {
        (Err(error), _) | (_, Err(error)) => Err(error.clone()),
        (Ok(table), Ok(_)) => measure::total(listed, keys, table, at, config).map_err(no_data),
    };
    let by_pods = |table, keys: &[_]| {
        total(table, keys).map_err(|error| match error {
            SourceError::NoData { detail, .. } => no_data(format!("{}: {detail}", workload.id)),
            other => other,
        })
    };
    let requests = gather::requests_of(workload);
    let demand = match (queried, requests) {
        (Some(queried), _) => queried.clone(),
        (None, Some(wanted)) => match gather::counter_problem(wanted) {
            Some(problem) => Err(problem),
            None => match gathered.counters.get(&(wanted.counter.clone(), wanted.label.clone())) {
                None => Err(no_data(format!("{} was not asked for", wanted.counter))),
                Some(table) if wanted.label == config.labels.pod => by_pods(table, &members.requests),
                Some(Err(error)) => Err(error.clone()),
                // The series of a workload as a whole: nothing is known of the pods behind it.
                Some(Ok(table)) => measure::total(None, &members.requests, table, at, config)
                    .map_err(|why| no_data(format!("{}: {}: {why}", workload.id, wanted.counter))),
            },
        },
        (None, None) => by_pods(&gathered.cpu, &members.cpu),
    };
    let usage = gathered.cpu.as_ref().ok();
    let limited = members.cpu.iter().filter_map(|&key| {
        let (value, _) = usage?.fresh(key, at, config)?;
        Some((value.total, of(key)?.1.cpu_limit()?))
    });
    let serving = members.pods.iter().filter(|(_, status)| status.serves()).count();
    let ready = match gathered.replicas.as_ref().ok().and_then(|replicas| replicas.ready(workload)) {
        Some(ready) => Some(ready as u32),
        None => listed.map(|_| u32::try_from(serving).unwrap_or(u32::MAX)),
    };
    let cpu_capacity = || {
        let keys: Vec<_> = match listed {
            Some(pods) => pods.iter().filter(|(_, s)| s.serves() || serving == 0).map(|p| p.0).collect(),
            None => members.cpu.clone(),
        };
        let known = keys.iter().filter_map(|&key| of(key).and_then(|(s, pod)| pod.cpu_capacity(s)));
        let (sum, count) = known.fold((0.0, 0u32), |(sum, count), cores| (sum + cores, count + 1));
        (count > 0).then(|| sum / f64::from(count))
    };
    let is_cpu = queried.is_none() && requests.is_none();
    let sample = Sample {
        workload: workload.id.clone(),
        at,
        demand: demand.as_ref().ok().copied(),
        capacity_per_pod: workload.spec.capacity_per_pod.or_else(|| cpu_capacity().filter(|_| is_cpu)),
        replicas: gathered.replicas.as_ref().ok().and_then(|replicas| replicas.asked(workload)),
        ready,
        censored: measure::is_censored(limited),
        memory_bytes: total(&gathered.memory, &members.memory).ok().map(|bytes| bytes as u64),
        source: NAME.into(),
    };
    Sampled { sample, problem: demand.err() }
}

#[async_trait]
impl MetricSource for Prometheus {
    fn name(&self) -> &'static str {
        NAME
    }

    async fn samples(&self, workloads: &[Arc<Workload>], at: Timestamp) -> Vec<Result<Sample, SourceError>> {
        let deadline = self.client.deadline();
        let (gathered, queried) =
            tokio::join!(self.gather(workloads, at, deadline, false), self.queried(workloads, at, deadline));
        let owners = Owners::new(workloads);
        let mut answers: Vec<_> = workloads.iter().map(|_| Err(no_data("not asked for"))).collect();
        for (scope, gathered) in &gathered {
            let members = scope.assign(gathered, &owners, &self.client.config.labels.pod);
            let nothing = Members::default();
            for &index in &scope.workloads {
                let members = members.get(&index).unwrap_or(&nothing);
                let queried = queried[index].as_ref();
                let sampled = sample(&workloads[index], gathered, members, queried, at, &self.client.config);
                answers[index] = match sampled.problem {
                    // Scaled to zero: that there is no demand to measure is itself worth knowing.
                    Some(SourceError::NoData { .. }) if sampled.sample.replicas == Some(0) => {
                        Ok(sampled.sample)
                    }
                    Some(problem) => Err(problem),
                    None => Ok(sampled.sample),
                };
            }
        }
        answers
    }

    async fn live(&self, workloads: &[Arc<Workload>], at: Timestamp) -> Vec<Result<Live, SourceError>> {
        let deadline = self.client.deadline();
        let (gathered, queried, asked) = tokio::join!(
            self.gather(workloads, at, deadline, true),
            self.queried(workloads, at, deadline),
            live::asked(self, workloads, at, deadline)
        );
        let owners = Owners::new(workloads);
        let mut answers: Vec<_> = workloads.iter().map(|_| Err(no_data("not asked for"))).collect();
        for (scope, gathered) in &gathered {
            let mut members = scope.assign(gathered, &owners, &self.client.config.labels.pod);
            for &index in &scope.workloads {
                let members = members.remove(&index).unwrap_or_default();
                let workload = &workloads[index];
                let config = &self.client.config;
                let sampled = sample(workload, gathered, &members, queried[index].as_ref(), at, config);
                answers[index] = live::read(workload, gathered, &members, sampled, &asked[index], at, config);
            }
        }
        answers
    }

    async fn history(
        &self,
        workloads: &[Arc<Workload>],
        from: Timestamp,
        to: Timestamp,
        step: Duration,
    ) -> Vec<Result<History, SourceError>> {
        history::history(self, workloads, from, to, step).await
    }

    async fn check(&self) -> Result<(), SourceError> {
        // A query like all others, so that authentication and tenant are checked, too. The instant does not matter.
        let deadline = self.client.deadline();
        self.client.vector("vector(1)", Timestamp::from_secs(0), deadline).await?;
        Ok(())
    }
}
