//! Which pods are there by name, and what did each of them count?
//!
//! The simulator knows numbers of pods; an exporter must name them, and a counter belongs to one pod and dies with
//! it. All ready pods share the work of a tick equally, so two running totals *per ready pod* are enough: what a pod
//! counted is the total now less the total when it became ready. A tick costs the same for one pod and for hundreds.

use crate::series::mix;
use sphere_sim::cluster::Cluster;
use std::collections::VecDeque;

/// Kubernetes takes random names from letters and digits that spell no words and are not mistaken for each other.
const NAME_CHARACTERS: &[u8; 27] = b"bcdfghjklmnpqrstvwxz2456789";

/// So many characters drawn from `number`.
fn random_name(mut number: u64, length: usize) -> String {
    let mut name = String::with_capacity(length);
    for _ in 0..length {
        name.push(char::from(NAME_CHARACTERS[(number % 27) as usize]));
        number /= 27;
    }
    name
}

/// What pods count, in all or each.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Counters {
    /// CPU in use, in pods at full load times seconds.
    pub cpu_pod_s: f64,
    /// Requests answered or given up.
    pub requests: f64,
    /// Of those, given up or lost.
    pub failed: f64,
    /// Seconds they took, all together.
    pub latency_s: f64,
}

impl Counters {
    fn add(&mut self, other: Counters, pods: f64) {
        self.cpu_pod_s += other.cpu_pod_s / pods;
        self.requests += other.requests / pods;
        self.failed += other.failed / pods;
        self.latency_s += other.latency_s / pods;
    }

    fn since(self, earlier: Counters) -> Counters {
        Counters {
            cpu_pod_s: self.cpu_pod_s - earlier.cpu_pod_s,
            requests: self.requests - earlier.requests,
            failed: self.failed - earlier.failed,
            latency_s: self.latency_s - earlier.latency_s,
        }
    }
}

/// One pod.
#[derive(Clone, Debug, PartialEq)]
pub struct Pod {
    /// Last part of its name, five characters.
    pub suffix: String,
    /// When it was ordered, seconds since the start of the cluster.
    pub ordered_s: f64,
    /// When it became ready, seconds since the start of the cluster; `None`: it is starting.
    pub ready_s: Option<f64>,
    /// Totals per ready pod when it became ready.
    base: Counters,
}

/// The pods of one workload, in step with its [`Cluster`].
#[derive(Clone, Debug)]
pub struct Roster {
    hash: String,
    seed: u64,
    made: u64,
    ready: Vec<Pod>,
    /// With the instants they become ready at, in that order, as the cluster has them.
    starting: VecDeque<(f64, Pod)>,
    per_ready_pod: Counters,
    /// Of all pods that ever were, and of requests given up while there was none.
    total: Counters,
}

impl Roster {
    /// `ready` pods from the beginning.
    pub fn new(ready: u32, seed: u64) -> Self {
        let mut roster = Self {
            hash: random_name(mix(seed, 0), 10),
            seed,
            made: 0,
            ready: Vec::new(),
            starting: VecDeque::new(),
            per_ready_pod: Counters::default(),
            total: Counters::default(),
        };
        for _ in 0..ready {
            let pod = Pod { ready_s: Some(0.0), ..roster.pod(0.0) };
            roster.ready.push(pod);
        }
        roster
    }

    fn pod(&mut self, ordered_s: f64) -> Pod {
        self.made += 1;
        let suffix = random_name(mix(self.seed, self.made), 5);
        Pod { suffix, ordered_s, ready_s: None, base: Counters::default() }
    }

    /// Hash in the name of the ReplicaSet, ten characters.
    pub fn hash(&self) -> &str {
        &self.hash
    }

    /// Pods that have become ready at `now_s`.
    pub fn became_ready(&mut self, pods: usize, now_s: f64) {
        let base = self.per_ready_pod;
        for (_, pod) in self.starting.drain(..pods.min(self.starting.len())) {
            self.ready.push(Pod { ready_s: Some(now_s), base, ..pod });
        }
    }

    /// Follows an order of `cluster`: new pods get names, the newest go first.
    pub fn follow(&mut self, cluster: &Cluster) {
        self.ready.truncate(cluster.ready() as usize);
        let mut old = std::mem::take(&mut self.starting);
        let mut now = VecDeque::with_capacity(old.len());
        for (ordered_s, at_s) in cluster.starting_s() {
            let known = old.front().is_some_and(|(at, pod)| *at == at_s && pod.ordered_s == ordered_s);
            let pod = match old.pop_front() {
                Some((_, pod)) if known => pod,
                other => {
                    if let Some(other) = other {
                        old.push_front(other);
                    }
                    self.pod(ordered_s)
                }
            };
            now.push_back((at_s, pod));
        }
        self.starting = now;
    }

    /// What all pods together did in one tick.
    pub fn tick(&mut self, work: Counters) {
        self.total.add(work, 1.0);
        if !self.ready.is_empty() {
            self.per_ready_pod.add(work, self.ready.len() as f64);
        }
    }

    /// All pods that are there, with what they counted so far.
    pub fn pods(&self) -> impl Iterator<Item = (&Pod, Counters)> {
        let ready = self.ready.iter().map(|pod| (pod, self.per_ready_pod.since(pod.base)));
        ready.chain(self.starting.iter().map(|(_, pod)| (pod, Counters::default())))
    }

    /// Of all pods that ever were, and of requests given up while there was none.
    pub fn total(&self) -> Counters {
        self.total
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use sphere_sim::Startup;
    use std::collections::BTreeSet;

    fn names(roster: &Roster) -> BTreeSet<String> {
        roster.pods().map(|(pod, _)| pod.suffix.clone()).collect()
    }

    #[test]
    fn pods_keep_their_names_and_new_ones_get_new_names() {
        let mut cluster = Cluster::new(3, Startup::LogNormal { mean_s: 30.0, cv: 0.8 }, 5);
        let mut roster = Roster::new(3, 9);
        let mut ever = names(&roster);
        for second in 0..600u32 {
            let now_s = f64::from(second);
            let mut became_ready = 0;
            cluster.advance(now_s, |_| became_ready += 1);
            roster.became_ready(became_ready, now_s);
            if second % 7 == 0 {
                let before = names(&roster);
                let wanted = 1 + (mix(3, u64::from(second)) % 12) as u32;
                let more = wanted.saturating_sub(cluster.replicas()) as usize;
                cluster.scale_to(wanted, now_s);
                roster.follow(&cluster);
                let now = names(&roster);
                assert_eq!(now.difference(&before).count(), more, "second {second}");
                assert!(now.difference(&before).all(|name| !ever.contains(name)), "a name came back");
                ever.extend(now);
            }
            let ready = roster.pods().filter(|(pod, _)| pod.ready_s.is_some()).count() as u32;
            assert_eq!((ready, roster.pods().count() as u32), (cluster.ready(), cluster.replicas()));
        }
    }

    #[test]
    fn a_pod_counts_its_share_since_it_is_ready() {
        let mut cluster = Cluster::new(1, Startup::Fixed(10.0), 5);
        let mut roster = Roster::new(1, 9);
        let work = Counters { cpu_pod_s: 1.0, requests: 12.0, failed: 2.0, latency_s: 0.5 };
        roster.tick(work);
        cluster.scale_to(3, 0.0);
        roster.follow(&cluster);
        roster.became_ready(2, 10.0);
        roster.tick(work);
        let counted: Vec<f64> = roster.pods().map(|(_, counted)| counted.requests).collect();
        assert_eq!(counted, [16.0, 4.0, 4.0]);
        assert_eq!(roster.total().requests, 24.0);
    }
}
