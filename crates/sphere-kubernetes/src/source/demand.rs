//! How does the usage of pods become the demand of a workload, without ever being silently low?
//!
//! The total over all pods with a fresh sample. A pod that serves, and has done so for longer than a sample takes, must have
//! one: where a few have none they are estimated by the mean of the others; where many have none there is no demand to
//! tell. Missing is never 0.
//!
//! Where no pod served all through the time that its sample covers, there is no demand to tell either: what starting pods use is
//! not what users ask for, and a part of a window is not the window. Both would show as a step from next to
//! nothing when the first pods are ready.

use super::usage::Usage;
use crate::cluster::PodFacts;
use crate::config::KubernetesConfig;
use sphere_core::Timestamp;
use sphere_scaling::hpa::PodSample;
use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

/// Pods at this share of their CPU limit, on average, could have used more: demand is a lower bound.
const CENSORED_AT: f64 = 0.95;
/// A pod that has been ready for longer than this must have a sample: metrics servers scrape every 15 s and need two
/// scrapes for a rate.
const SAMPLED_AFTER: Duration = Duration::from_secs(60);

/// The usage that belongs to a workload: samples of its pods, and of pods that are gone but carry its labels.
pub(crate) struct Used<'a> {
    pub pods: &'a [Arc<PodFacts>],
    /// Fresh samples, by name of the pod.
    pub samples: HashMap<&'a str, &'a Usage>,
}

impl Used<'_> {
    fn of(&self, pod: &PodFacts, resource: &str) -> Option<PodSample> {
        self.samples.get(pod.pod.name.as_str())?.sample.usage(resource, None)
    }

    /// Did the pod serve all through the time that its sample covers? Readiness is told to the second.
    fn covered(&self, pod: &PodFacts) -> bool {
        let sample = self.samples.get(pod.pod.name.as_str()).map(|usage| &usage.sample);
        let ready = pod.pod.status.ready.filter(|_| pod.pod.status.serves());
        sample.zip(ready).is_some_and(|(sample, ready)| {
            ready.since.millis() <= sample.at.millis().saturating_sub(sample.window_ms)
        })
    }

    /// Total use of a resource, milli-units.
    pub fn total(&self, resource: &str, at: Timestamp, config: &KubernetesConfig) -> Result<f64, String> {
        let listed = |name: &str| self.pods.iter().any(|pod| pod.pod.name == name);
        let (mut sum, mut reporting, mut reported, mut missing) = (0.0, 0usize, 0.0, 0usize);
        let (mut any, mut covered) = (false, false);
        for pod in self.pods {
            let ready_since = pod.pod.status.ready.map(|ready| ready.since);
            let expected = pod.serves() && ready_since.is_some_and(|since| at.since(since) > SAMPLED_AFTER);
            match self.of(pod, resource) {
                Some(sample) => {
                    any = true;
                    covered |= self.covered(pod);
                    sum += sample.value_milli as f64;
                    if expected {
                        reporting += 1;
                        reported += sample.value_milli as f64;
                    }
                }
                None if expected => missing += 1,
                None => {}
            }
        }
        // Of pods that are gone: that was demand a moment ago.
        let gone = self.samples.values().filter(|usage| !listed(&usage.sample.pod));
        for sample in gone.filter_map(|usage| usage.sample.usage(resource, None)) {
            (any, covered) = (true, true);
            sum += sample.value_milli as f64;
        }
        if !any {
            return Err(format!("no fresh sample of {resource} for its {} pods", self.pods.len()));
        }
        if !covered {
            return Err(format!(
                "none of its {} pods served all through the time that a sample of {resource} covers",
                self.pods.len()
            ));
        }
        if missing == 0 {
            return Ok(sum);
        }
        let share = reporting as f64 / (reporting + missing) as f64;
        if reporting == 0 || share < config.min_reporting_share {
            return Err(format!(
                "{reporting} of {} serving pods have a fresh sample of {resource}; at least a share of {} is needed",
                reporting + missing,
                config.min_reporting_share
            ));
        }
        Ok(sum + missing as f64 * reported / reporting as f64)
    }

    /// Are the pods at their CPU limit? Those that served: what still starts has a limit and no use for it.
    pub fn is_censored(&self) -> bool {
        let limited = self
            .pods
            .iter()
            .filter(|pod| self.covered(pod))
            .filter_map(|pod| Some((self.of(pod, "cpu")?.value_milli as f64 / 1000.0, pod.cpu_limit()?)));
        let (used, limit) = limited.fold((0.0, 0.0), |(used, limit), pod| (used + pod.0, limit + pod.1));
        limit > 0.0 && used >= CENSORED_AT * limit
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use sphere_scaling::hpa::{ContainerUsage, Pod, PodStatus, ResourceSample};

    const NOW: Timestamp = Timestamp::from_secs(10_000);

    fn pod(name: &str, ready_for_s: i64, limit: Option<i64>) -> Arc<PodFacts> {
        let status = PodStatus::ready(Timestamp(0), Timestamp(NOW.0 - ready_for_s * 1000));
        Arc::new(PodFacts {
            namespace: "shop".into(),
            labels: [("app".to_owned(), "web".to_owned())].into(),
            node: None,
            created_at: Timestamp(0),
            pod: Pod { name: name.into(), status, ..Pod::default() },
            cpu_limit_milli: None,
            cpu_limits_milli: vec![limit],
            was_ready: true,
        })
    }

    fn usage(name: &str, milli: i64) -> Usage {
        let container =
            ContainerUsage { name: "app".into(), usage_milli: [("cpu".to_owned(), milli)].into() };
        let sample =
            ResourceSample { pod: name.into(), containers: vec![container], at: NOW, window_ms: 15_000 };
        Usage { namespace: "shop".into(), labels: std::collections::BTreeMap::new(), sample }
    }

    fn total(pods: &[(&str, i64)], usages: &[(&str, i64)]) -> Result<f64, String> {
        let pods: Vec<_> = pods.iter().map(|(name, ready)| pod(name, *ready, None)).collect();
        let usages: Vec<_> = usages.iter().map(|(name, milli)| usage(name, *milli)).collect();
        let samples = usages.iter().map(|usage| (usage.sample.pod.as_str(), usage)).collect();
        Used { pods: &pods, samples }.total("cpu", NOW, &KubernetesConfig::default())
    }

    #[test]
    fn a_silent_pod_is_estimated_or_voids_the_demand_but_never_counts_as_zero() {
        let five = [("a", 99), ("b", 99), ("c", 99), ("d", 99), ("e", 99)];
        assert_eq!(total(&five, &[("a", 100), ("b", 100), ("c", 200), ("d", 200)]), Ok(750.0));
        assert!(total(&five, &[("a", 100), ("b", 100), ("c", 200)]).unwrap_err().contains("3 of 5"));
        assert!(total(&five, &[]).is_err());
    }

    #[test]
    fn a_new_pod_may_be_silent_and_one_that_is_gone_still_counts() {
        assert_eq!(total(&[("a", 99), ("new", 5)], &[("a", 100)]), Ok(100.0));
        assert_eq!(total(&[("a", 99)], &[("a", 100), ("gone", 25)]), Ok(125.0));
        assert!(total(&[("new", 5)], &[]).is_err());
    }

    #[test]
    fn what_starting_pods_use_is_not_demand() {
        // Windows are 15 s: nobody served all through one.
        for ready in [0, 5, 14] {
            let told = total(&[("a", ready), ("b", ready)], &[("a", 1), ("b", 300)]);
            assert!(told.unwrap_err().contains("served all through"), "ready for {ready} s");
        }
        assert_eq!(total(&[("a", 15), ("b", 3)], &[("a", 400), ("b", 1)]), Ok(401.0));
        // All were replaced at once: those that are gone served a moment ago.
        assert_eq!(total(&[("a", 3)], &[("a", 1), ("gone", 400)]), Ok(401.0));
    }

    #[test]
    fn starting_pods_do_not_hide_that_the_others_are_at_their_limit() {
        let pods = [pod("a", 99, Some(1000)), pod("b", 99, Some(1000)), pod("new", 5, Some(1000))];
        let usages = [usage("a", 990), usage("b", 995), usage("new", 1)];
        let samples = usages.iter().map(|usage| (usage.sample.pod.as_str(), usage)).collect();
        assert!(Used { pods: &pods, samples }.is_censored());
    }

    #[test]
    fn pods_at_their_limit_hide_demand() {
        for (used, censored) in [(900, false), (960, true)] {
            let pods = [pod("a", 99, Some(1000)), pod("b", 99, None)];
            let usages = [usage("a", used), usage("b", 5000)];
            let samples = usages.iter().map(|usage| (usage.sample.pod.as_str(), usage)).collect();
            assert_eq!(Used { pods: &pods, samples }.is_censored(), censored, "{used}");
        }
    }
}
