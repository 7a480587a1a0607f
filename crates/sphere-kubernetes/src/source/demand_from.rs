//! How is demand measured by one source and everything else by another?
//!
//! Pods, sizes and resource metrics are the API server's to tell; requests per second and the past are Prometheus'.
//! [`DemandFrom`] puts two sources together, knowing nothing of either.

use async_trait::async_trait;
use sphere_core::{Sample, Timestamp};
use sphere_pipeline::{History, Live, LiveReading, MetricSource, SourceError, Workload};
use sphere_scaling::hpa::{MetricError, MetricSpec};
use std::sync::Arc;
use std::time::Duration;

/// Everything from `base`, but for what only `demand` can know: the demand of workloads that state requests or a query, the
/// `Object` and `External` metrics that have a query, and the past.
pub struct DemandFrom {
    base: Arc<dyn MetricSource>,
    demand: Arc<dyn MetricSource>,
}

fn asks_for_demand(workload: &Workload) -> bool {
    let wanted = &workload.spec.forecast.demand;
    wanted.requests.is_some() || wanted.query.is_some()
}

/// Is the reading of this metric the value of a query? A `Pods` metric is not: its values belong to pods in an order that
/// only the source that listed them knows.
fn is_queried(workload: &Workload, metric: &MetricSpec) -> bool {
    matches!(metric, MetricSpec::Object { .. } | MetricSpec::External { .. })
        && workload.spec.queries.contains_key(metric.name())
}

fn chosen(
    workloads: &[Arc<Workload>],
    wanted: impl Fn(&Workload) -> bool,
) -> (Vec<usize>, Vec<Arc<Workload>>) {
    let places: Vec<usize> = (0..workloads.len()).filter(|&at| wanted(&workloads[at])).collect();
    let chosen = places.iter().map(|&at| Arc::clone(&workloads[at])).collect();
    (places, chosen)
}

impl DemandFrom {
    /// Puts two sources together.
    pub fn new(base: Arc<dyn MetricSource>, demand: Arc<dyn MetricSource>) -> Self {
        Self { base, demand }
    }

    async fn demands(
        &self,
        workloads: &[Arc<Workload>],
        at: Timestamp,
    ) -> Vec<(usize, Result<Sample, SourceError>)> {
        let (places, asked) = chosen(workloads, asks_for_demand);
        if asked.is_empty() {
            return Vec::new();
        }
        places.into_iter().zip(self.demand.samples(&asked, at).await).collect()
    }
}

/// Puts the demand measured elsewhere into a sample.
fn with_demand(sample: &mut Sample, workload: &Workload, measured: &Sample) {
    sample.demand = measured.demand;
    sample.capacity_per_pod = workload.spec.capacity_per_pod.or(measured.capacity_per_pod);
    sample.censored = measured.censored;
    sample.source = format!("{}+{}", sample.source, measured.source);
}

#[async_trait]
impl MetricSource for DemandFrom {
    fn name(&self) -> &'static str {
        self.base.name()
    }

    async fn samples(&self, workloads: &[Arc<Workload>], at: Timestamp) -> Vec<Result<Sample, SourceError>> {
        // The base has no demand for those that ask elsewhere; `live` gives the rest of a sample without it, and without
        // metrics it asks for nothing more.
        let (plain, of_base) = chosen(workloads, |workload| !asks_for_demand(workload));
        let (other, elsewhere) = chosen(workloads, asks_for_demand);
        let bare = |workload: Arc<Workload>| {
            let mut workload = Workload::clone(&workload);
            workload.spec.metrics.clear();
            Arc::new(workload)
        };
        let elsewhere: Vec<Arc<Workload>> = elsewhere.into_iter().map(bare).collect();
        let (base, rest, demands) = tokio::join!(
            some(&of_base, |asked| self.base.samples(asked, at)),
            some(&elsewhere, |asked| self.base.live(asked, at)),
            self.demands(workloads, at)
        );
        let mut answers: Vec<Option<Result<Sample, SourceError>>> = vec![None; workloads.len()];
        for (place, answer) in plain.into_iter().zip(base) {
            answers[place] = Some(answer);
        }
        for ((place, rest), (_, measured)) in other.into_iter().zip(rest).zip(demands) {
            answers[place] = Some(match (rest, measured) {
                (Ok(live), Ok(measured)) => {
                    let mut sample = live.sample;
                    with_demand(&mut sample, &workloads[place], &measured);
                    Ok(sample)
                }
                // Demand without sizes is worth learning from.
                (Err(_), measured @ Ok(_)) => measured,
                (Ok(live), Err(SourceError::NoData { .. })) if live.sample.replicas == Some(0) => {
                    Ok(live.sample)
                }
                (_, Err(problem)) => Err(problem),
            });
        }
        let missing = || SourceError::NoData { source_name: self.base.name(), detail: "not answered".into() };
        answers.into_iter().map(|answer| answer.unwrap_or_else(|| Err(missing()))).collect()
    }

    async fn live(&self, workloads: &[Arc<Workload>], at: Timestamp) -> Vec<Result<Live, SourceError>> {
        let queried = |workload: &Workload| workload.spec.metrics.iter().any(|m| is_queried(workload, m));
        let (places, with_queries) = chosen(workloads, queried);
        let (mut answers, demands, read) = tokio::join!(
            self.base.live(workloads, at),
            self.demands(workloads, at),
            some(&with_queries, |asked| self.demand.live(asked, at))
        );
        for (place, measured) in demands {
            let Some(Ok(live)) = answers.get_mut(place) else { continue };
            match measured {
                Ok(measured) => {
                    with_demand(&mut live.sample, &workloads[place], &measured);
                    live.problems.demand = None;
                }
                Err(error) => {
                    tracing::debug!(workload = %workloads[place].id, %error, "no demand");
                    live.sample.demand = None;
                    live.problems.demand = Some(error);
                }
            }
        }
        for (place, read) in places.into_iter().zip(read) {
            let Some(Ok(live)) = answers.get_mut(place) else { continue };
            let workload = &workloads[place];
            let queried = |name: &str| {
                workload
                    .spec
                    .metrics
                    .iter()
                    .any(|metric| metric.name() == name && is_queried(workload, metric))
            };
            live.problems.metrics.retain(|(name, _)| !queried(name));
            match &read {
                Ok(read) => {
                    let problems = read.problems.metrics.iter().filter(|(name, _)| queried(name));
                    live.problems.metrics.extend(problems.cloned());
                }
                Err(error) => {
                    let names =
                        workload.spec.metrics.iter().map(MetricSpec::name).filter(|name| queried(name));
                    live.problems.metrics.extend(names.map(|name| (name.to_owned(), error.clone())));
                }
            }
            for (index, metric) in workload.spec.metrics.iter().enumerate() {
                if !is_queried(workload, metric) {
                    continue;
                }
                let reading = match &read {
                    Ok(read) => read.readings.get(index).cloned(),
                    Err(_) => None,
                };
                let reading = reading.unwrap_or(LiveReading::Unavailable(MetricError::FetchFailed));
                if let Some(place) = live.readings.get_mut(index) {
                    *place = reading;
                }
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
        self.demand.history(workloads, from, to, step).await
    }

    async fn check(&self) -> Result<(), SourceError> {
        self.base.check().await?;
        self.demand.check().await
    }
}

/// Asks only if there is something to ask for.
async fn some<'a, T, F>(asked: &'a [Arc<Workload>], ask: impl FnOnce(&'a [Arc<Workload>]) -> F) -> Vec<T>
where
    F: std::future::Future<Output = Vec<T>>,
{
    if asked.is_empty() { Vec::new() } else { ask(asked).await }
}

#[cfg(test)]
mod tests {
    use super::*;
    use sphere_pipeline::workload::RequestsDemand;
    use sphere_pipeline::{Problems, WorkloadSpec};
    use sphere_scaling::hpa::{ExternalMetric, MetricIdentifier, MetricTarget};

    /// A source of fixed values, to see which of two was asked.
    struct Fixed {
        name: &'static str,
        demand: Option<f64>,
        external: i64,
    }

    impl Fixed {
        fn sample(&self, workload: &Workload, at: Timestamp) -> Sample {
            Sample {
                workload: workload.id.clone(),
                at,
                demand: self.demand,
                capacity_per_pod: None,
                replicas: Some(3),
                ready: Some(2),
                censored: false,
                memory_bytes: None,
                source: self.name.into(),
            }
        }
    }

    #[async_trait]
    impl MetricSource for Fixed {
        fn name(&self) -> &'static str {
            self.name
        }
        async fn samples(&self, all: &[Arc<Workload>], at: Timestamp) -> Vec<Result<Sample, SourceError>> {
            all.iter().map(|workload| Ok(self.sample(workload, at))).collect()
        }
        async fn live(&self, all: &[Arc<Workload>], at: Timestamp) -> Vec<Result<Live, SourceError>> {
            let live = |workload: &Arc<Workload>| Live {
                sample: self.sample(workload, at),
                pods: Vec::new(),
                readings: vec![LiveReading::External(vec![self.external]); workload.spec.metrics.len()],
                utilization: None,
                mean_ready: None,
                violated_share: None,
                problems: Problems::default(),
            };
            all.iter().map(|workload| Ok(live(workload))).collect()
        }
        async fn history(
            &self,
            all: &[Arc<Workload>],
            _: Timestamp,
            to: Timestamp,
            _: Duration,
        ) -> Vec<Result<History, SourceError>> {
            all.iter().map(|_| Ok(vec![(to, self.demand)])).collect()
        }
        async fn check(&self) -> Result<(), SourceError> {
            Ok(())
        }
    }

    fn external(name: &str) -> MetricSpec {
        let metric = MetricIdentifier { name: name.into(), selector: None };
        MetricSpec::External { external: ExternalMetric { metric, target: MetricTarget::value(1000) } }
    }

    fn workload(name: &str, change: impl FnOnce(&mut WorkloadSpec)) -> Arc<Workload> {
        let mut spec = WorkloadSpec::new(&format!("shop/Deployment/{name}").parse().unwrap(), 1, 5);
        change(&mut spec);
        Arc::new(Workload::new(spec).unwrap())
    }

    #[tokio::test]
    async fn each_source_answers_for_what_it_knows() {
        let base = Arc::new(Fixed { name: "a", demand: Some(1.0), external: 10 });
        let other = Arc::new(Fixed { name: "b", demand: Some(7.0), external: 20 });
        let both = DemandFrom::new(base, other);
        let workloads = [
            workload("cpu", |_| {}),
            workload("requests", |spec| {
                spec.capacity_per_pod = Some(25.0);
                spec.forecast.demand.requests =
                    Some(RequestsDemand { counter: "http_requests_total".into(), label: "pod".into() });
                spec.metrics = vec![external("asked"), external("own")];
                spec.queries.insert("asked".into(), "up".into());
            }),
        ];
        let at = Timestamp::from_secs(100);
        let samples = both.samples(&workloads, at).await;
        let demand: Vec<Option<f64>> = samples.iter().map(|s| s.as_ref().unwrap().demand).collect();
        assert_eq!(demand, [Some(1.0), Some(7.0)]);
        let requests = samples[1].as_ref().unwrap();
        assert_eq!(
            (requests.capacity_per_pod, requests.replicas, requests.source.as_str()),
            (Some(25.0), Some(3), "a+b")
        );
        let live = both.live(&workloads, at).await;
        let live = live[1].as_ref().unwrap();
        assert_eq!(live.sample.demand, Some(7.0));
        assert_eq!(live.readings, [LiveReading::External(vec![20]), LiveReading::External(vec![10])]);
        let history = both.history(&workloads, at, at, Duration::from_secs(10)).await;
        assert_eq!(history[0], Ok(vec![(at, Some(7.0))]));
    }

    #[tokio::test]
    async fn demand_that_is_not_measured_is_absent_not_that_of_the_base() {
        let base = Arc::new(Fixed { name: "a", demand: Some(1.0), external: 10 });
        let silent = Arc::new(Fixed { name: "b", demand: None, external: 20 });
        let both = DemandFrom::new(base, silent);
        let asks = workload("asks", |spec| {
            spec.capacity_per_pod = Some(25.0);
            spec.forecast.demand.query = Some("up".into());
        });
        let live = both.live(&[asks], Timestamp::from_secs(100)).await;
        assert_eq!(live[0].as_ref().unwrap().sample.demand, None);
    }
}
