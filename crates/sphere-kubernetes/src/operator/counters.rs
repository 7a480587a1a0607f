//! What does the operator count?

use crate::requests::Requests;
use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::encoding::text;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::registry::Registry;

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Outcome {
    outcome: &'static str,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct State {
    state: &'static str,
}

/// Counters and gauges, all with the prefix `sphere_`.
#[derive(Debug)]
pub struct Counters {
    registry: Registry,
    requests: Requests,
    leader: Gauge,
    reconciles: Family<Outcome, Counter>,
    objects: Family<State, Gauge>,
    statuses: Family<Outcome, Counter>,
    events: Family<Outcome, Counter>,
    memory: Family<Outcome, Counter>,
    stopped: Gauge,
}

impl Default for Counters {
    fn default() -> Self {
        Self::new()
    }
}

impl Counters {
    /// All at zero.
    pub fn new() -> Self {
        let mut registry = Registry::with_prefix("sphere");
        let requests = Requests::default();
        registry.register(
            "api_requests",
            "Requests to the API server, by verb, resource and status code",
            requests.clone(),
        );
        let leader = Gauge::default();
        registry.register("leader", "1 while this process leads, else 0", leader.clone());
        let reconciles = Family::default();
        registry.register(
            "reconciles",
            "Looks at all PredictiveAutoscalers: changed, or nothing to do",
            reconciles.clone(),
        );
        let objects = Family::default();
        registry.register(
            "autoscalers",
            "PredictiveAutoscalers: obeyed, invalid, or with a target that an older one has",
            objects.clone(),
        );
        let statuses = Family::default();
        registry.register("status_writes", "Writes of a status, by what became of them", statuses.clone());
        let events = Family::default();
        registry.register("events", "Events, by what became of them", events.clone());
        let memory = Family::default();
        registry.register(
            "memory_writes",
            "Rounds of writing the autoscalers' memory, by what became of them",
            memory.clone(),
        );
        let stopped = Gauge::default();
        registry.register("kill_switch", "1 while the ConfigMap stops everything, else 0", stopped.clone());
        Self { registry, requests, leader, reconciles, objects, statuses, events, memory, stopped }
    }

    /// For the client.
    pub fn requests(&self) -> Requests {
        self.requests.clone()
    }

    /// Do we lead?
    pub fn leads(&self, leads: bool) {
        self.leader.set(i64::from(leads));
    }

    /// Is everything stopped?
    pub fn stopped(&self, stopped: bool) {
        self.stopped.set(i64::from(stopped));
    }

    /// A look at all objects, and how many there were.
    pub fn reconciled(&self, changed: bool, obeyed: usize, invalid: usize, twins: usize) {
        let outcome = if changed { "changed" } else { "unchanged" };
        self.reconciles.get_or_create(&Outcome { outcome }).inc();
        for (state, count) in [("obeyed", obeyed), ("invalid", invalid), ("twin", twins)] {
            self.objects.get_or_create(&State { state }).set(i64::try_from(count).unwrap_or(i64::MAX));
        }
    }

    /// A status: `written`, `conflict`, `forbidden`, `failed`.
    pub fn status(&self, outcome: &'static str) {
        self.statuses.get_or_create(&Outcome { outcome }).inc();
    }

    /// An event: `written`, `not_repeated`, `dropped`, `failed`.
    pub fn event(&self, outcome: &'static str) {
        self.events.get_or_create(&Outcome { outcome }).inc();
    }

    /// A round of writing memory: `written`, `failed`.
    pub fn memory(&self, outcome: &'static str) {
        self.memory.get_or_create(&Outcome { outcome }).inc();
    }

    /// Everything in OpenMetrics text, without the end mark, to be put before another page.
    pub fn text(&self) -> String {
        let mut page = String::new();
        // Writing into a string does not fail.
        let _ = text::encode(&mut page, &self.registry);
        page.trim_end_matches("# EOF\n").to_owned()
    }
}
