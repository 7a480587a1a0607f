//! How do values of pods become the demand of a workload, without ever being silently low?
//!
//! The rule is in the text of the crate.

use crate::answer::Series;
use crate::config::PrometheusConfig;
use crate::owners::PodKey;
use crate::promql;
use sphere_core::Timestamp;
use sphere_scaling::hpa::PodStatus;
use std::collections::HashMap;

/// Pods at this share of their CPU limit, on average, could have used more: demand is a lower bound.
const CENSORED_AT: f64 = 0.95;

/// The value of one pod, and of its containers where they were asked for.
#[derive(Debug, Default)]
pub(crate) struct PodValue {
    pub total: f64,
    pub containers: Vec<(String, f64)>,
}

/// The values of one metric by pod (or by another label), and when they were scraped last.
#[derive(Debug, Default)]
pub(crate) struct Measure {
    pub values: HashMap<PodKey, PodValue>,
    /// `None`: the query left out what is stale.
    pub scraped: Option<HashMap<PodKey, Timestamp>>,
}

/// CPU per pod: query of the rate, query of the last scrapes.
pub(crate) fn cpu_queries(config: &PrometheusConfig, namespaces: &str, containers: bool) -> (String, String) {
    let labels = &config.labels;
    let (namespace, pod, container) = (&labels.namespace, &labels.pod, &labels.container);
    let selector = format!(
        "container_cpu_usage_seconds_total{{{container}!=\"\",{container}!=\"POD\",{pod}!=\"\",{namespaces}}}"
    );
    let by = if containers { format!(", {container}") } else { String::new() };
    let window = promql::duration(config.rate_window());
    (
        format!("sum by ({namespace}, {pod}{by}) (rate({selector}[{window}]))"),
        format!("max by ({namespace}, {pod}) (timestamp({selector}))"),
    )
}

/// Memory per pod; stale series are left out.
pub(crate) fn memory_query(config: &PrometheusConfig, namespaces: &str, containers: bool) -> String {
    let labels = &config.labels;
    let (namespace, pod, container) = (&labels.namespace, &labels.pod, &labels.container);
    let selector = format!(
        "container_memory_working_set_bytes{{{container}!=\"\",{container}!=\"POD\",{pod}!=\"\",{namespaces}}}"
    );
    let by = if containers { format!(", {container}") } else { String::new() };
    let stale = config.stale_after_seconds;
    format!("sum by ({namespace}, {pod}{by}) ({selector} and timestamp({selector}) >= time() - {stale})")
}

/// Requests per second by `label`: query of the rate, query of the last scrapes.
pub(crate) fn counter_queries(
    config: &PrometheusConfig,
    namespaces: &str,
    counter: &str,
    label: &str,
) -> (String, String) {
    let namespace = &config.labels.namespace;
    let selector = format!("{counter}{{{label}!=\"\",{namespaces}}}");
    let window = promql::duration(config.rate_window());
    (
        format!("sum by ({namespace}, {label}) (rate({selector}[{window}]))"),
        format!("max by ({namespace}, {label}) (timestamp({selector}))"),
    )
}

impl Measure {
    pub fn parse(
        values: &[Series],
        scraped: Option<&[Series]>,
        config: &PrometheusConfig,
        label: &str,
    ) -> Self {
        let labels = &config.labels;
        let key = |one: &Series| (one.label(&labels.namespace).to_owned(), one.label(label).to_owned());
        let mut measure = Self::default();
        let mut spoilt = Vec::new();
        for one in values {
            let Some(value) = one.measured() else {
                // A container that can not be measured spoils its pod.
                spoilt.push(key(one));
                continue;
            };
            let pod = measure.values.entry(key(one)).or_default();
            pod.total += value;
            if let Some(container) = one.metric.get(&labels.container) {
                pod.containers.push((container.clone(), value));
            }
        }
        for key in spoilt {
            measure.values.remove(&key);
        }
        measure.scraped = scraped.map(|scraped| {
            let at = |one: &Series| one.measured().map(|s| Timestamp((s * 1000.0).round() as i64));
            scraped.iter().filter_map(|one| Some((key(one), at(one)?))).collect()
        });
        measure
    }

    /// The value of a pod, if it was scraped recently enough, and when that was.
    pub fn fresh(
        &self,
        key: &PodKey,
        at: Timestamp,
        config: &PrometheusConfig,
    ) -> Option<(&PodValue, Timestamp)> {
        let value = self.values.get(key)?;
        let Some(scraped) = &self.scraped else { return Some((value, at)) };
        let scraped = *scraped.get(key)?;
        (at.since(scraped) <= config.stale_after()).then_some((value, scraped))
    }
}

/// Whether a pod must have a value: it serves, for longer than the rate window.
fn is_expected(pod: &PodStatus, at: Timestamp, config: &PrometheusConfig) -> bool {
    let young = pod.ready.is_some_and(|ready| at.since(ready.since) < config.rate_window());
    pod.serves() && !pod.deleted && !young
}

/// The total over a workload. `listed`: its pods, if they are known. `measured`: keys of `measure` that are its own.
pub(crate) fn total(
    listed: Option<&[(&PodKey, PodStatus)]>,
    measured: &[&PodKey],
    measure: &Measure,
    at: Timestamp,
    config: &PrometheusConfig,
) -> Result<f64, String> {
    let any_fresh = measured.iter().any(|key| measure.fresh(key, at, config).is_some());
    if !any_fresh {
        let stale = if measured.is_empty() { "no series" } else { "only stale series" };
        return Err(match listed {
            Some(pods) => format!("{stale} for its {} pods", pods.len()),
            None => format!("{stale} of a pod of this name"),
        });
    }
    let recent = |key: &PodKey| measure.values.get(key).map_or(0.0, |value| value.total);
    let Some(listed) = listed else {
        return Ok(measured.iter().map(|key| recent(key)).sum());
    };
    let (mut sum, mut reporting, mut reported, mut missing) = (0.0, 0usize, 0.0, 0usize);
    for (key, status) in listed {
        let expected = is_expected(status, at, config);
        match measure.fresh(key, at, config) {
            Some((value, _)) => {
                sum += value.total;
                if expected {
                    reporting += 1;
                    reported += value.total;
                }
            }
            None if expected => missing += 1,
            None => sum += recent(key),
        }
    }
    // Rates of pods that are gone lie in the window: that was demand. A level, such as memory, went with its pod.
    if measure.scraped.is_some() {
        let gone = measured.iter().filter(|key| !listed.iter().any(|(known, _)| known == *key));
        sum += gone.map(|key| recent(key)).sum::<f64>();
    }
    if missing == 0 {
        return Ok(sum);
    }
    let share = reporting as f64 / (reporting + missing) as f64;
    if share < config.min_reporting_share {
        return Err(format!(
            "{reporting} of {} serving pods report; at least a share of {} is needed",
            reporting + missing,
            config.min_reporting_share
        ));
    }
    Ok(sum + missing as f64 * reported / reporting as f64)
}

/// Are the pods at their limit? `pods`: usage and limit of each that has both, cores.
pub(crate) fn is_censored(pods: impl Iterator<Item = (f64, f64)>) -> bool {
    let (used, limit) = pods.fold((0.0, 0.0), |(used, limit), pod| (used + pod.0, limit + pod.1));
    limit > 0.0 && used >= CENSORED_AT * limit
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: Timestamp = Timestamp::from_secs(10_000);

    fn key(name: &str) -> PodKey {
        ("shop".into(), name.into())
    }

    /// Pods with value and age of the last scrape in seconds.
    fn measure(pods: &[(&str, f64, i64)]) -> Measure {
        let value = |v: f64| PodValue { total: v, containers: Vec::new() };
        Measure {
            values: pods.iter().map(|(name, v, _)| (key(name), value(*v))).collect(),
            scraped: Some(
                pods.iter().map(|(name, _, age)| (key(name), Timestamp(NOW.0 - age * 1000))).collect(),
            ),
        }
    }

    fn demand(ready_for_s: &[(&str, i64)], pods: &[(&str, f64, i64)]) -> Result<f64, String> {
        let measure = measure(pods);
        let listed: Vec<(PodKey, PodStatus)> = ready_for_s
            .iter()
            .map(|(name, s)| {
                (key(name), PodStatus::ready(Timestamp::from_secs(0), Timestamp(NOW.0 - s * 1000)))
            })
            .collect();
        let listed: Vec<(&PodKey, PodStatus)> = listed.iter().map(|(key, status)| (key, *status)).collect();
        let measured: Vec<&PodKey> = measure.values.keys().collect();
        let config = PrometheusConfig::new("http://unused");
        total(Some(&listed), &measured, &measure, NOW, &config)
    }

    #[test]
    fn a_silent_pod_is_estimated_or_voids_the_demand_but_never_counts_as_zero() {
        let five = [("a", 999), ("b", 999), ("c", 999), ("d", 999), ("e", 999)];
        let four = [("a", 1.0, 5), ("b", 1.0, 5), ("c", 2.0, 5), ("d", 2.0, 5)];
        assert_eq!(demand(&five, &four), Ok(7.5));
        assert!(demand(&five, &four[..3]).unwrap_err().contains("3 of 5"));
        assert!(demand(&five, &[]).is_err());
        let stale = four.map(|(name, value, _)| (name, value, 61));
        assert!(demand(&five, &stale).unwrap_err().contains("stale"));
    }

    #[test]
    fn a_new_pod_may_be_silent_and_a_deleted_one_counts_while_in_the_window() {
        assert_eq!(demand(&[("a", 999), ("new", 5)], &[("a", 1.0, 5)]), Ok(1.0));
        assert_eq!(demand(&[("a", 999)], &[("a", 1.0, 5), ("gone", 0.25, 30)]), Ok(1.25));
    }
}
