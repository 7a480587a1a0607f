//! What do we need to know of a pod, and how long did pods take to become ready?

use super::watched::{Facts, Watched};
use crate::api::timestamp;
use k8s_openapi::api::core::v1::{Container as K8sContainer, Pod as K8sPod, PodStatus as K8sPodStatus};
use k8s_openapi::apimachinery::pkg::api::resource::Quantity as K8sQuantity;
use kube::core::{Selector, SelectorExt};
use sphere_core::Timestamp;
use sphere_scaling::hpa::{ConditionStatus, Container, Phase, Pod, PodStatus, Quantity, Readiness};
use std::collections::{BTreeMap, VecDeque};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

/// Start-ups remembered for all workloads together; a roll-out of four thousand pods between two syncs is told whole.
const STARTUPS: usize = 4096;

/// What is remembered of a pod.
#[derive(Clone, Debug, PartialEq)]
pub struct PodFacts {
    /// Its namespace.
    pub namespace: String,
    /// Its labels.
    pub labels: BTreeMap<String, String>,
    /// The node it runs on.
    pub node: Option<String>,
    /// When it was created.
    pub created_at: Timestamp,
    /// Name, standing and requests, as the HPA's calculation wants them.
    pub pod: Pod,
    /// CPU limit of the whole pod, milli-cores, when the pod states one.
    pub cpu_limit_milli: Option<i64>,
    /// CPU limits of the containers, milli-cores, in the order of `pod.containers`.
    pub cpu_limits_milli: Vec<Option<i64>>,
    /// It has been ready before.
    pub was_ready: bool,
}

impl Facts for PodFacts {
    fn namespace(&self) -> &str {
        &self.namespace
    }
    fn name(&self) -> &str {
        &self.pod.name
    }
}

fn milli(quantities: Option<&BTreeMap<String, K8sQuantity>>, resource: &str) -> Option<i64> {
    quantities?.get(resource)?.0.parse::<Quantity>().ok().map(Quantity::milli)
}

/// What can not be read as a quantity is absent.
fn all_milli(quantities: &BTreeMap<String, K8sQuantity>) -> BTreeMap<String, i64> {
    let read = |(name, quantity): (&String, &K8sQuantity)| {
        Some((name.clone(), quantity.0.parse::<Quantity>().ok()?.milli()))
    };
    quantities.iter().filter_map(read).collect()
}

fn standing(status: &K8sPodStatus, deleted: bool) -> PodStatus {
    let phase = match status.phase.as_deref() {
        Some("Running") => Phase::Running,
        Some("Succeeded") => Phase::Succeeded,
        Some("Failed") => Phase::Failed,
        Some("Unknown") => Phase::Unknown,
        // A pod without phase was just created.
        _ => Phase::Pending,
    };
    let ready = status.conditions.iter().flatten().find(|condition| condition.type_ == "Ready");
    let ready = ready.map(|condition| Readiness {
        status: match condition.status.as_str() {
            "True" => ConditionStatus::True,
            "False" => ConditionStatus::False,
            _ => ConditionStatus::Unknown,
        },
        since: condition.last_transition_time.as_ref().map_or(Timestamp(0), timestamp),
    });
    PodStatus { phase, deleted, ready, started_at: status.start_time.as_ref().map(timestamp) }
}

impl PodFacts {
    /// The facts of a pod; `None` if it has no name, which the API server does not let happen.
    pub fn of(pod: K8sPod) -> Option<Self> {
        let meta = pod.metadata;
        let spec = pod.spec.unwrap_or_default();
        let stays = |c: &&K8sContainer| c.restart_policy.as_deref() == Some("Always");
        let sidecars = spec.init_containers.iter().flatten().filter(stays);
        let (mut containers, mut cpu_limits_milli) = (Vec::new(), Vec::new());
        for container in spec.containers.iter().chain(sidecars) {
            let resources = container.resources.as_ref();
            let requests = resources.and_then(|r| r.requests.as_ref());
            containers.push(Container {
                name: container.name.clone(),
                requests_milli: requests.map(all_milli).unwrap_or_default(),
            });
            cpu_limits_milli.push(milli(resources.and_then(|r| r.limits.as_ref()), "cpu"));
        }
        let whole = spec.resources.as_ref();
        let status = standing(&pod.status.unwrap_or_default(), meta.deletion_timestamp.is_some());
        Some(Self {
            namespace: meta.namespace?,
            labels: meta.labels.unwrap_or_default(),
            node: spec.node_name.filter(|node| !node.is_empty()),
            created_at: meta.creation_timestamp.as_ref().map_or(Timestamp(0), timestamp),
            pod: Pod {
                name: meta.name?,
                status,
                containers,
                requests_milli: whole.and_then(|r| r.requests.as_ref()).map(all_milli),
            },
            cpu_limit_milli: milli(whole.and_then(|r| r.limits.as_ref()), "cpu"),
            cpu_limits_milli,
            was_ready: status.serves(),
        })
    }

    /// CPU limit of the pod, cores; absent unless each container has one.
    pub fn cpu_limit(&self) -> Option<f64> {
        let sum = match self.cpu_limit_milli {
            Some(milli) => milli,
            None if self.cpu_limits_milli.is_empty() => return None,
            None => self
                .cpu_limits_milli
                .iter()
                .try_fold(0i64, |sum, limit| Some(sum.saturating_add((*limit)?)))?,
        };
        (sum > 0).then_some(sum as f64 / 1000.0)
    }

    /// What the pod can carry by what it states, cores: each container its limit, else its request. Containers with neither
    /// add nothing: too small a capacity is the safer error. Absent when none states anything.
    pub fn cpu_stated(&self) -> Option<f64> {
        if let Some(limit) = self.cpu_limit() {
            return Some(limit);
        }
        let requests = self.pod.containers.iter().map(|c| c.requests_milli.get("cpu").copied());
        let each =
            self.cpu_limits_milli.iter().zip(requests).filter_map(|(limit, request)| limit.or(request));
        let sum: i64 = each.fold(0, i64::saturating_add);
        let whole = self.pod.requests_milli.as_ref().and_then(|all| all.get("cpu").copied()).unwrap_or(0);
        let milli = sum.max(whole);
        (milli > 0).then_some(milli as f64 / 1000.0)
    }

    /// Ready, and not on its way out.
    pub fn serves(&self) -> bool {
        self.pod.status.serves() && !self.pod.status.deleted
    }
}

/// A pod became ready for the first time.
#[derive(Clone, Debug)]
struct Startup {
    number: u64,
    namespace: String,
    labels: BTreeMap<String, String>,
    took: Duration,
}

/// Times from create to Ready, the newest of all workloads.
#[derive(Debug, Default)]
pub(crate) struct Startups {
    newest: Mutex<(u64, VecDeque<Startup>)>,
}

impl Startups {
    /// Notes a pod that is ready for the first time. `first`: of the first list it is not known which pods were ready before.
    pub fn notice(&self, before: Option<&PodFacts>, now: &mut PodFacts, first: bool) {
        // A pod of the same name may be another one (StatefulSet).
        let before = before.filter(|before| before.created_at == now.created_at);
        let ready = now.pod.status.ready.filter(|_| now.pod.status.serves());
        let known = first || before.is_some_and(|before| before.was_ready);
        now.was_ready = ready.is_some() || before.is_some_and(|before| before.was_ready);
        let Some(ready) = ready.filter(|_| !known) else { return };
        let took = ready.since.since(now.created_at);
        let mut newest = self.newest.lock().unwrap_or_else(PoisonError::into_inner);
        newest.0 += 1;
        if newest.1.len() == STARTUPS {
            newest.1.pop_front();
        }
        let (number, namespace) = (newest.0, now.namespace.clone());
        newest.1.push_back(Startup { number, namespace, labels: now.labels.clone(), took });
    }

    /// Those of the pods chosen that have a number above `since`, and the highest number given so far.
    pub fn after(&self, since: u64, namespace: &str, selector: &Selector) -> (Vec<Duration>, u64) {
        let newest = self.newest.lock().unwrap_or_else(PoisonError::into_inner);
        let ours = newest.1.iter().rev().take_while(|startup| startup.number > since);
        let ours = ours.filter(|s| s.namespace == namespace && selector.matches(&s.labels));
        let mut took: Vec<Duration> = ours.map(|startup| startup.took).collect();
        took.reverse();
        (took, newest.0)
    }
}

/// The pods of a workload.
pub(crate) fn chosen(pods: &Watched<PodFacts>, namespace: &str, selector: &Selector) -> Vec<Arc<PodFacts>> {
    pods.select(namespace, |pod| selector.matches(&pod.labels))
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::{Value, json};

    fn pod(more: &Value) -> PodFacts {
        let mut pod = json!({
            "metadata": {"name": "a", "namespace": "shop", "labels": {"app": "web"},
                         "creationTimestamp": "2026-01-01T00:00:00Z"},
            "spec": {"containers": [{"name": "app", "resources": {"requests": {"cpu": "250m", "memory": "1Gi"}}}]},
            "status": {"phase": "Running", "startTime": "2026-01-01T00:00:01Z"},
        });
        for (key, value) in more.as_object().unwrap() {
            for (inner, value) in value.as_object().unwrap() {
                pod[key][inner] = value.clone();
            }
        }
        PodFacts::of(serde_json::from_value(pod).unwrap()).unwrap()
    }

    fn ready(status: &str, at: &str) -> Value {
        json!({"status": {"conditions": [{"type": "Ready", "status": status, "lastTransitionTime": at}]}})
    }

    #[test]
    fn sidecars_count_and_plain_init_containers_do_not() {
        let facts = pod(&json!({"spec": {"initContainers": [
            {"name": "setup", "resources": {"requests": {"cpu": "9"}}},
            {"name": "mesh", "restartPolicy": "Always", "resources": {"requests": {"cpu": "100m"}, "limits": {"cpu": "1"}}},
        ]}}));
        let names: Vec<&str> = facts.pod.containers.iter().map(|c| c.name.as_str()).collect();
        assert_eq!(names, ["app", "mesh"]);
        assert_eq!(facts.pod.request("cpu", None, true), sphere_scaling::hpa::Request::Milli(350));
        assert_eq!(facts.cpu_limit(), None, "one of the containers has none");
        assert_eq!(facts.cpu_stated(), Some(1.25));
    }

    #[test]
    fn standing_is_read_as_the_hpa_reads_it() {
        let facts = pod(&json!({}));
        assert_eq!((facts.pod.status.ready, facts.pod.status.deleted), (None, false));
        let facts = pod(&ready("Unknown", "2026-01-01T00:00:09Z"));
        assert_eq!(facts.pod.status.ready.unwrap().status, ConditionStatus::Unknown);
        let facts = pod(&json!({"metadata": {"deletionTimestamp": "2026-01-01T00:00:10Z"}}));
        assert!(facts.pod.status.deleted && !facts.serves());
        let facts = pod(&json!({"status": {"phase": "Nonsense"}}));
        assert_eq!(facts.pod.status.phase, Phase::Pending);
    }

    #[test]
    fn only_the_first_readiness_we_saw_coming_is_a_start_up() {
        let startups = Startups::default();
        let web = crate::selector::parse("app=web").unwrap();
        let told = |since| startups.after(since, "shop", &web);
        // Of the first list nothing is known.
        let mut old = pod(&ready("True", "2026-01-01T00:00:30Z"));
        startups.notice(None, &mut old, true);
        assert_eq!(told(0), (vec![], 0));
        // It flaps: no start-up.
        let mut flapping = pod(&ready("False", "2026-01-02T00:00:00Z"));
        startups.notice(Some(&old), &mut flapping, false);
        let mut back = pod(&ready("True", "2026-01-02T00:00:30Z"));
        startups.notice(Some(&flapping), &mut back, false);
        assert_eq!(told(0), (vec![], 0));
        // A new one.
        let mut starting = pod(&ready("False", "2026-01-01T00:00:01Z"));
        startups.notice(None, &mut starting, false);
        let mut started = pod(&ready("True", "2026-01-01T00:00:42Z"));
        startups.notice(Some(&starting), &mut started, false);
        assert_eq!(told(0), (vec![Duration::from_secs(42)], 1));
        assert_eq!(told(1), (vec![], 1));
        assert!(startups.after(0, "other", &web).0.is_empty());
        // Seen again unchanged.
        let mut again = started.clone();
        startups.notice(Some(&started), &mut again, false);
        assert_eq!(told(1), (vec![], 1));
        // A pod of the same name that was created later starts anew.
        let mut next = pod(&ready("True", "2026-01-03T00:01:00Z"));
        next.created_at = timestamp(&serde_json::from_value(json!("2026-01-03T00:00:00Z")).unwrap());
        startups.notice(Some(&again), &mut next, false);
        assert_eq!(told(1), (vec![Duration::from_secs(60)], 2));
    }
}
