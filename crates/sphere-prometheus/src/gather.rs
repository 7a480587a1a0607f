//! Which queries answer for all workloads at one instant, and what belongs to which workload?
//!
//! Workloads are asked about by namespace; where the list of namespaces gets too long it is split into scopes, and
//! an answer that fails concerns the workloads of its scope alone.

use crate::client::{Client, Failure, bad};
use crate::inventory::{self, Pods, Replicas, Statics};
use crate::measure::{self, Measure};
use crate::owners::{Owners, PodKey};
use crate::promql;
use futures_util::future::{join_all, try_join};
use sphere_core::Timestamp;
use sphere_pipeline::workload::RequestsDemand;
use sphere_pipeline::{SourceError, Workload};
use sphere_scaling::hpa::{MetricSpec, PodStatus};
use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::{Arc, Mutex, PoisonError};
use tokio::time::Instant;

/// Statics by matcher on namespaces, and the instant they are of.
pub(crate) type Cache = Mutex<HashMap<String, (Timestamp, Arc<Statics>)>>;

/// Counter and label.
pub(crate) type CounterKey = (String, String);

/// Workloads that are asked about together.
pub(crate) struct Scope<'a> {
    /// Matcher on their namespaces.
    pub matcher: String,
    /// Their places.
    pub workloads: Vec<usize>,
    pub all: &'a [Arc<Workload>],
}

/// What a scope said, each part with its own success.
pub(crate) struct Gathered {
    pub cpu: Result<Measure, SourceError>,
    pub memory: Result<Measure, SourceError>,
    pub counters: HashMap<CounterKey, Result<Measure, SourceError>>,
    pub pods: Result<Pods, SourceError>,
    pub replicas: Result<Replicas, SourceError>,
    /// Ready replicas averaged over the rate window; only where asked for.
    pub mean_ready: Option<Replicas>,
    pub statics: Result<Arc<Statics>, SourceError>,
}

/// What belongs to one workload: keys of the tables.
#[derive(Default)]
pub(crate) struct Members<'g> {
    pub pods: Vec<(&'g PodKey, PodStatus)>,
    pub cpu: Vec<&'g PodKey>,
    pub memory: Vec<&'g PodKey>,
    pub requests: Vec<&'g PodKey>,
}

/// Splits workloads into scopes.
pub(crate) fn scopes<'a>(all: &'a [Arc<Workload>], namespace_label: &str) -> Vec<Scope<'a>> {
    let mut by_namespace: BTreeMap<&str, Vec<usize>> = BTreeMap::new();
    for (index, workload) in all.iter().enumerate() {
        by_namespace.entry(workload.id.namespace()).or_default().push(index);
    }
    let namespaces: Vec<&str> = by_namespace.keys().copied().collect();
    let scope = |group: Vec<&str>| Scope {
        matcher: promql::one_of(namespace_label, &group),
        workloads: group.iter().flat_map(|ns| by_namespace.get(ns).into_iter().flatten().copied()).collect(),
        all,
    };
    promql::groups(&namespaces).into_iter().map(scope).collect()
}

/// The demand in requests of a workload, if it is that and can be asked for.
pub(crate) fn requests_of(workload: &Workload) -> Option<&RequestsDemand> {
    workload.spec.forecast.demand.requests.as_ref()
}

/// What stands in the way of asking for a counter.
pub(crate) fn counter_problem(demand: &RequestsDemand) -> Option<SourceError> {
    if !promql::is_metric_name(&demand.counter) {
        return Some(bad(format!(
            "forecast.demand.requests.counter: {:?} is no metric name",
            demand.counter
        )));
    }
    (!promql::is_label_name(&demand.label))
        .then(|| bad(format!("forecast.demand.requests.label: {:?} is no label name", demand.label)))
}

impl Scope<'_> {
    pub fn members(&self) -> impl Iterator<Item = &Arc<Workload>> {
        self.workloads.iter().map(|&index| &self.all[index])
    }

    fn counters(&self) -> BTreeSet<CounterKey> {
        self.members()
            .filter_map(|w| requests_of(w))
            .filter(|demand| counter_problem(demand).is_none())
            .map(|demand| (demand.counter.clone(), demand.label.clone()))
            .collect()
    }

    fn asks_for_containers(&self) -> bool {
        let by_container = |m: &MetricSpec| matches!(m, MetricSpec::ContainerResource { .. });
        self.members().any(|w| w.spec.metrics.iter().any(by_container))
    }

    /// Asks for everything at the instant `at`; `live`: also for what only the live reading needs.
    pub async fn gather(
        &self,
        client: &Client,
        cache: &Cache,
        at: Timestamp,
        deadline: Instant,
        live: bool,
    ) -> Gathered {
        let config = &client.config;
        let (labels, matcher) = (&config.labels, self.matcher.as_str());
        let containers = live && self.asks_for_containers();
        let measure = |(rate, scraped): (String, String), label: String| async move {
            let both = try_join(client.vector(&rate, at, deadline), client.vector(&scraped, at, deadline));
            let (values, scraped) = both.await.map_err(SourceError::from)?;
            Ok(Measure::parse(&values, Some(&scraped), config, &label))
        };
        let cpu = measure(measure::cpu_queries(config, matcher, containers), labels.pod.clone());
        let memory = async {
            let query = measure::memory_query(config, matcher, containers);
            let values = client.vector(&query, at, deadline).await?;
            Ok::<_, Failure>(Measure::parse(&values, None, config, &labels.pod))
        };
        let counters = join_all(self.counters().into_iter().map(|key| async move {
            let queries = measure::counter_queries(config, matcher, &key.0, &key.1);
            let answer = measure(queries, key.1.clone()).await;
            (key, answer)
        }));
        let pods = async {
            let series = client.vector(&inventory::pods_query(config, matcher), at, deadline).await?;
            Ok::<_, Failure>(inventory::parse_pods(&series, labels))
        };
        let replicas = async {
            let Some(query) = inventory::replicas_query(config, matcher, self.members()) else {
                return Ok(Replicas::default());
            };
            let series = client.vector(&query, at, deadline).await?;
            Ok::<_, Failure>(inventory::parse_replicas(&series, labels))
        };
        let mean_ready = async {
            let query = inventory::ready_query(config, matcher, self.members(), true).filter(|_| live)?;
            let series = client.vector(&query, at, deadline).await.ok()?;
            Some(inventory::parse_replicas(&series, labels))
        };
        let (cpu, memory, counters, pods, replicas, mean_ready) =
            tokio::join!(cpu, memory, counters, pods, replicas, mean_ready);
        let pods: Result<Pods, SourceError> = pods.map_err(Into::into);
        let statics = self.statics(client, cache, at, deadline, pods.as_ref().ok()).await;
        Gathered {
            cpu,
            memory: memory.map_err(Into::into),
            counters: counters.into_iter().collect(),
            pods,
            replicas: replicas.map_err(Into::into),
            mean_ready,
            statics: statics.map_err(Into::into),
        }
    }

    /// From the cache while it is young and knows all pods; else asked for.
    pub async fn statics(
        &self,
        client: &Client,
        cache: &Cache,
        at: Timestamp,
        deadline: Instant,
        pods: Option<&Pods>,
    ) -> Result<Arc<Statics>, Failure> {
        let config = &client.config;
        let young = |then: Timestamp| at.since(then).max(then.since(at)) <= config.static_ttl();
        let known = cache.lock().unwrap_or_else(PoisonError::into_inner).get(&self.matcher).cloned();
        if let Some((then, statics)) = known
            && young(then)
            && pods.is_none_or(|pods| pods.keys().all(|key| statics.pods.contains_key(key)))
        {
            return Ok(statics);
        }
        let (statics_query, nodes_query) =
            (inventory::statics_query(config, &self.matcher), inventory::allocatable_query(config));
        let (series, nodes) =
            try_join(client.vector(&statics_query, at, deadline), client.vector(&nodes_query, at, deadline))
                .await?;
        let statics = Arc::new(inventory::parse_statics(&series, &nodes, &config.labels));
        let mut cache = cache.lock().unwrap_or_else(PoisonError::into_inner);
        // What is too old to be used again goes, so that the cache holds the present scopes and no others.
        cache.retain(|_, (then, _)| young(*then));
        cache.insert(self.matcher.clone(), (at, Arc::clone(&statics)));
        Ok(statics)
    }

    /// What belongs to each workload of the scope, by place.
    pub fn assign<'g>(
        &self,
        gathered: &'g Gathered,
        owners: &Owners<'_>,
        pod_label: &str,
    ) -> HashMap<usize, Members<'g>> {
        let statics = gathered.statics.as_deref().ok();
        let mut members: HashMap<usize, Members<'g>> = HashMap::new();
        let owner = |key: &PodKey| owner_of(key, statics, owners);
        for (key, status) in gathered.pods.iter().flatten() {
            if let Some(index) = owner(key) {
                members.entry(index).or_default().pods.push((key, *status));
            }
        }
        for key in gathered.cpu.iter().flat_map(|table| table.values.keys()) {
            if let Some(index) = owner(key) {
                members.entry(index).or_default().cpu.push(key);
            }
        }
        for key in gathered.memory.iter().flat_map(|table| table.values.keys()) {
            if let Some(index) = owner(key) {
                members.entry(index).or_default().memory.push(key);
            }
        }
        let by_pod = |counter: &CounterKey| counter.1 == pod_label;
        for (counter, table) in &gathered.counters {
            let wants = |index: usize| {
                requests_of(&self.all[index])
                    .is_some_and(|d| (d.counter.as_str(), d.label.as_str()) == (&counter.0, &counter.1))
            };
            for key in table.iter().flat_map(|table| table.values.keys()) {
                if by_pod(counter) {
                    if let Some(index) = owner(key).filter(|&index| wants(index)) {
                        members.entry(index).or_default().requests.push(key);
                    }
                    continue;
                }
                for index in owners.named(&key.0, &key.1).into_iter().filter(|&index| wants(index)) {
                    members.entry(index).or_default().requests.push(key);
                }
            }
        }
        for of_one in members.values_mut() {
            of_one.pods.sort_unstable_by_key(|(key, _)| *key);
        }
        members
    }
}

/// Whose pod it is: by reference where that is known, else by name.
pub(crate) fn owner_of(key: &PodKey, statics: Option<&Statics>, owners: &Owners<'_>) -> Option<usize> {
    let reference = statics.and_then(|s| s.pods.get(key)?.owner.as_ref().map(|owner| (s, owner)));
    match reference {
        Some((statics, (kind, name))) => {
            let of_replica_set = statics.replica_sets.get(&(key.0.clone(), name.clone()));
            owners.by_reference(&key.0, kind, name, of_replica_set)
        }
        None => owners.by_name(&key.0, &key.1),
    }
}
