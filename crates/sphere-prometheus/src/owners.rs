//! Whose pod is this?
//!
//! Owner references, as kube-state-metrics tells them, decide where they are known. Else names do: of the workloads
//! whose name the pod's begins with and whose kind makes such names, the longest name wins.
//!
//! | kind | name of a pod |
//! |---|---|
//! | Deployment, and kinds not listed here that make ReplicaSets | `name-<hash>-<5 characters>` |
//! | StatefulSet | `name-<number>` |
//! | DaemonSet, ReplicaSet | `name-<5 characters>` |
//!
//! Hashes are up to 10 characters of the alphabet that Kubernetes generates names from (no vowels, no 0, 1, 3).
//! Kubernetes cuts a generated name to 58 characters before the last five; a name that long matches by its beginning.

use sphere_pipeline::Workload;
use std::collections::HashMap;
use std::sync::Arc;

/// Namespace and name of a pod.
pub(crate) type PodKey = (String, String);

/// Longest generated part of a name before the five random characters.
const MAX_GENERATED: usize = 58;
/// Random characters at the end of a generated name.
const RANDOM: usize = 5;

/// Finds the workload of a pod.
pub(crate) struct Owners<'a> {
    by_id: HashMap<(&'a str, &'a str, &'a str), usize>,
    by_name: HashMap<(&'a str, &'a str), Vec<usize>>,
    /// Long names by namespace: they may be cut in names of pods.
    long: HashMap<&'a str, Vec<usize>>,
    workloads: &'a [Arc<Workload>],
}

impl<'a> Owners<'a> {
    pub fn new(workloads: &'a [Arc<Workload>]) -> Self {
        let mut owners =
            Self { by_id: HashMap::new(), by_name: HashMap::new(), long: HashMap::new(), workloads };
        for (index, workload) in workloads.iter().enumerate() {
            let id = &workload.id;
            owners.by_id.insert((id.namespace(), id.kind(), id.name()), index);
            owners.by_name.entry((id.namespace(), id.name())).or_default().push(index);
            // With a hash of at most ten characters and two dashes, shorter names are never cut.
            if id.name().len() + 12 > MAX_GENERATED {
                owners.long.entry(id.namespace()).or_default().push(index);
            }
        }
        owners
    }

    /// By owner reference. `None`: it belongs to none of ours.
    pub fn by_reference(
        &self,
        namespace: &str,
        kind: &str,
        name: &str,
        of_replica_set: Option<&(String, String)>,
    ) -> Option<usize> {
        if let Some(index) = self.by_id.get(&(namespace, kind, name)) {
            return Some(*index);
        }
        if kind != "ReplicaSet" {
            return None;
        }
        match of_replica_set {
            Some((kind, name)) => self.by_id.get(&(namespace, kind.as_str(), name.as_str())).copied(),
            None => {
                let (name, hash) = name.rsplit_once('-')?;
                let candidates = self.by_name.get(&(namespace, name)).filter(|_| is_hash(hash))?;
                candidates.iter().copied().find(|&i| makes_replica_sets(self.workloads[i].id.kind()))
            }
        }
    }

    /// All workloads of this name, whatever their kind.
    pub fn named(&self, namespace: &str, name: &str) -> Vec<usize> {
        self.by_name.get(&(namespace, name)).cloned().unwrap_or_default()
    }

    /// By its name.
    pub fn by_name(&self, namespace: &str, pod: &str) -> Option<usize> {
        // From the right, so that the longest name comes first.
        for (at, _) in pod.rmatch_indices('-') {
            let (name, suffix) = (&pod[..at], &pod[at + 1..]);
            let found = self.by_name.get(&(namespace, name)).and_then(|candidates| {
                candidates.iter().copied().find(|&i| makes(self.workloads[i].id.kind(), suffix))
            });
            if found.is_some() {
                return found;
            }
        }
        if pod.len() != MAX_GENERATED + RANDOM || !pod.is_char_boundary(MAX_GENERATED) {
            return None;
        }
        let (generated, random) = pod.split_at(MAX_GENERATED);
        let candidates = self.long.get(namespace)?.iter().copied().filter(|&i| {
            let id = &self.workloads[i].id;
            let cut = &id.name()[..id.name().len().min(MAX_GENERATED)];
            id.kind() != "StatefulSet" && generated.starts_with(cut) && is_random(random)
        });
        candidates.max_by_key(|&i| self.workloads[i].id.name().len())
    }
}

fn makes_replica_sets(kind: &str) -> bool {
    !matches!(kind, "StatefulSet" | "DaemonSet" | "ReplicaSet")
}

fn makes(kind: &str, suffix: &str) -> bool {
    match kind {
        "StatefulSet" => !suffix.is_empty() && suffix.bytes().all(|b| b.is_ascii_digit()),
        "DaemonSet" | "ReplicaSet" => is_random(suffix),
        _ => suffix.split_once('-').is_some_and(|(hash, random)| is_hash(hash) && is_random(random)),
    }
}

fn is_generated(text: &str) -> bool {
    text.bytes().all(|b| b"bcdfghjklmnpqrstvwxz2456789".contains(&b))
}

fn is_random(text: &str) -> bool {
    text.len() == RANDOM && is_generated(text)
}

fn is_hash(text: &str) -> bool {
    (1..=10).contains(&text.len()) && is_generated(text)
}

#[cfg(test)]
mod tests {
    use super::*;
    use sphere_pipeline::WorkloadSpec;

    fn workloads(ids: &[&str]) -> Vec<Arc<Workload>> {
        ids.iter()
            .map(|id| Arc::new(Workload::new(WorkloadSpec::new(&id.parse().unwrap(), 1, 9)).unwrap()))
            .collect()
    }

    #[test]
    fn the_longest_name_of_a_kind_that_makes_such_names_wins() {
        let cut = format!("a/Deployment/{}", "x".repeat(60));
        let all = workloads(&[
            "a/Deployment/web",
            "a/Deployment/web-api",
            "a/StatefulSet/web",
            "a/DaemonSet/agent",
            "a/Rollout/canary",
            "b/Deployment/web",
            &cut,
        ]);
        let owners = Owners::new(&all);
        let cut_pod = format!("{}zx5k2", "x".repeat(58));
        for (namespace, pod, owner) in [
            ("a", "web-7d9f8b6c5d-zx5k2", Some(0)),
            ("a", "web-api-7d9f8b6c5d-zx5k2", Some(1)),
            ("a", "web-0", Some(2)),
            ("a", "agent-zx5k2", Some(3)),
            ("a", "canary-7d9f8b6c5d-zx5k2", Some(4)),
            ("b", "web-7d9f8b6c5d-zx5k2", Some(5)),
            ("a", cut_pod.as_str(), Some(6)),
            ("a", "web-console-7d9f8b6c5d-zx5k2", None),
            ("a", "web", None),
            ("a", "webby-7d9f8b6c5d-zx5k2", None),
            ("c", "web-7d9f8b6c5d-zx5k2", None),
        ] {
            assert_eq!(owners.by_name(namespace, pod), owner, "{namespace}/{pod}");
        }
    }

    #[test]
    fn a_reference_is_followed_through_the_replica_set() {
        let all = workloads(&["a/Deployment/web", "a/ReplicaSet/bare", "a/StatefulSet/db"]);
        let owners = Owners::new(&all);
        let rollout = ("Rollout".to_owned(), "web".to_owned());
        let deployment = ("Deployment".to_owned(), "web".to_owned());
        assert_eq!(owners.by_reference("a", "ReplicaSet", "web-7d9f8b6c5d", Some(&deployment)), Some(0));
        assert_eq!(owners.by_reference("a", "ReplicaSet", "web-7d9f8b6c5d", Some(&rollout)), None);
        assert_eq!(owners.by_reference("a", "ReplicaSet", "web-7d9f8b6c5d", None), Some(0));
        assert_eq!(owners.by_reference("a", "ReplicaSet", "bare", None), Some(1));
        assert_eq!(owners.by_reference("a", "StatefulSet", "db", None), Some(2));
        assert_eq!(owners.by_reference("a", "Job", "db", None), None);
    }
}
