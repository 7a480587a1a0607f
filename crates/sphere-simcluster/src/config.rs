//! Which simulated workloads are there, and how do they behave?
//!
//! [`SimulatedClusterConfig`] is the `simulatedCluster` section of the configuration file. Unknown keys are
//! refused; [`SimulatedClusterConfig::problems`] tells everything that can not be meant, at once.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use sphere_core::WorkloadId;
use sphere_sim::{Physics, Settings, Startup};
use std::collections::BTreeSet;
use std::net::SocketAddr;
use std::path::PathBuf;

/// Most workloads a cluster may have, `count` included. Ten thousand take about 5 ms of processor time per
/// simulated second (0.4 to 0.8 µs per tick measured).
pub const MAX_WORKLOADS: usize = 20_000;

/// A simulated cluster. See the module text.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub struct SimulatedClusterConfig {
    /// Where it is served for other processes; without authentication, so on the loopback interface unless stated.
    #[schemars(with = "String")]
    pub listen: SocketAddr,
    /// Draws arrivals, start-up times and names. Same seed, clock and orders: same course.
    pub seed: u64,
    /// What happens to requests a second can not serve: `queue` (they wait, latency and time-outs follow) or
    /// `loss` (they are lost at once).
    #[schemars(with = "String")]
    pub physics: Physics,
    /// Seconds between scrapes, 1..=300; the step of the pipeline.
    pub scrape_seconds: u32,
    /// Window of the rates an HPA sees, seconds.
    pub window_seconds: u32,
    /// Seconds between syncs of the simulated HPAs.
    pub hpa_sync_seconds: u32,
    /// How long scrapes are remembered, hours; 16 bytes each. All workloads together keep at most 32 million of
    /// them (512 MB), so thousands of workloads remember less. The demand before the start costs nothing.
    pub history_hours: u32,
    /// When the clock moved on by more than this since the last look, the time between is skipped instead of
    /// played: no data, no requests. Seconds.
    pub max_catch_up_seconds: u32,
    /// The workloads.
    pub workloads: Vec<SimulatedWorkload>,
}

impl Default for SimulatedClusterConfig {
    fn default() -> Self {
        Self {
            listen: SocketAddr::from(([127, 0, 0, 1], 9797)),
            seed: 1,
            physics: Physics::Queue,
            scrape_seconds: 10,
            window_seconds: 40,
            hpa_sync_seconds: 15,
            history_hours: 336,
            max_catch_up_seconds: 900,
            workloads: Vec::new(),
        }
    }
}

/// One simulated workload, a Deployment, or `count` of them.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct SimulatedWorkload {
    /// Its namespace.
    pub namespace: String,
    /// Its name; with `count` above 1 followed by `-0000`, `-0001`, …
    pub name: String,
    /// How many of them there are.
    #[serde(default = "one")]
    pub count: u32,
    /// What its users do.
    pub demand: Demand,
    /// What one ready pod serves at full CPU, requests/s.
    pub capacity_rps: f64,
    /// CPU a pod requests and can use, cores.
    #[serde(default = "one_core")]
    pub cpu_per_pod: f64,
    /// Memory a pod uses, MiB, busy or not; it requests as much again by half.
    #[serde(default = "default_memory")]
    pub memory_mib: u32,
    /// Time from create to Ready: `30s`, `lognormal(30s,0.5)` (mean, coefficient of variation), `uniform(20s,60s)`.
    #[serde(default = "default_startup")]
    #[schemars(with = "String")]
    pub startup: Startup,
    /// Pods at the start, all ready; absent: as many as an HPA at 60 % would have.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub initial_replicas: Option<u32>,
    /// Smallest size the simulated HPA may choose.
    #[serde(default = "one")]
    pub min_replicas: u32,
    /// Largest size anybody may order: the HPA's maximum and the quota of the namespace.
    #[serde(default = "default_max")]
    pub max_replicas: u32,
    /// Target of an HPA that runs inside the simulated cluster, percent of CPU requests; absent: there is none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub hpa: Option<u32>,
    /// Patience of its clients, seconds.
    #[serde(default = "default_timeout")]
    pub client_timeout_seconds: u32,
    /// Time a request needs on an idle pod, seconds; absent: 1/capacityRps, at most 0.1.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub service_seconds: Option<f64>,
}

/// Where demand comes from.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub enum Demand {
    /// A recorded trace.
    Trace(TraceDemand),
    /// Generated web traffic: a week with daily and weekly rhythm, a flash crowd on Saturday, an outage on Sunday,
    /// over and over. Mondays are Mondays of the clock.
    Synthetic(SyntheticDemand),
}

/// A trace file.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct TraceDemand {
    /// The file.
    pub path: PathBuf,
    /// Factor on its rates.
    #[serde(default = "factor_one")]
    pub scale: f64,
    /// Hour of the trace that is played when the cluster starts; what comes before is history. Absent: the trace
    /// is played at its own dates.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub from_hours: Option<f64>,
    /// Start over at the end. Otherwise the last rate goes on, but nobody records it.
    #[serde(default)]
    pub repeat: bool,
}

/// Generated demand.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct SyntheticDemand {
    /// Largest rate of an ordinary day, about, requests/s; the flash crowd goes to twice as much.
    pub peak_rps: f64,
    /// Seed of the week; with `count` each has its own, from this one on. There are sixteen different weeks.
    #[serde(default)]
    pub seed: u64,
    /// How much later than the clock its day is, hours.
    #[serde(default)]
    pub phase_hours: f64,
    /// With `count`: the scale of each is drawn between 1 - spread and 1 + spread, and its phase up to
    /// 4 x spread hours to either side. 0..=0.9.
    #[serde(default = "default_spread")]
    pub spread: f64,
}

fn one() -> u32 {
    1
}
fn one_core() -> f64 {
    1.0
}
fn default_memory() -> u32 {
    160
}
fn default_startup() -> Startup {
    Startup::Fixed(30.0)
}
fn default_max() -> u32 {
    100
}
fn default_timeout() -> u32 {
    5
}
fn factor_one() -> f64 {
    1.0
}
fn default_spread() -> f64 {
    0.3
}

/// Something in the section that can not be meant.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{key}: {problem}")]
pub struct ConfigProblem {
    /// The key, with dots.
    pub key: String,
    /// The value, and what is accepted.
    pub problem: String,
}

impl SimulatedWorkload {
    /// A workload with the defaults.
    pub fn new(namespace: &str, name: &str, demand: Demand, capacity_rps: f64) -> Self {
        Self {
            namespace: namespace.into(),
            name: name.into(),
            count: one(),
            demand,
            capacity_rps,
            cpu_per_pod: one_core(),
            memory_mib: default_memory(),
            startup: default_startup(),
            initial_replicas: None,
            min_replicas: one(),
            max_replicas: default_max(),
            hpa: None,
            client_timeout_seconds: default_timeout(),
            service_seconds: None,
        }
    }

    /// Name of the `index`th of them.
    pub fn name_of(&self, index: u32) -> String {
        if self.count > 1 { format!("{}-{index:04}", self.name) } else { self.name.clone() }
    }

    /// As the simulator's settings.
    pub fn settings(&self, cluster: &SimulatedClusterConfig) -> Settings {
        let defaults = Settings::new(self.capacity_rps, self.startup, cluster.physics);
        Settings {
            min_replicas: self.min_replicas,
            max_replicas: self.max_replicas,
            scrape_s: cluster.scrape_seconds,
            window_s: cluster.window_seconds,
            hpa_sync_s: cluster.hpa_sync_seconds,
            client_timeout_s: self.client_timeout_seconds,
            service_s: self.service_seconds.unwrap_or(defaults.service_s),
            ..defaults
        }
    }

    fn problems(&self, add: &mut impl FnMut(&str, String)) {
        let mut number = |key: &str, value: f64, low: f64, high: f64| {
            // Not the other way round: a NaN is outside.
            if !(low..=high).contains(&value) {
                add(key, format!("{value} given, {low}..={high} expected"));
            }
        };
        number("count", self.count.into(), 1.0, MAX_WORKLOADS as f64);
        number("capacityRps", self.capacity_rps, 0.001, 1e9);
        number("cpuPerPod", self.cpu_per_pod, 0.001, 1024.0);
        number("memoryMib", self.memory_mib.into(), 1.0, 16_777_216.0);
        number("maxReplicas", self.max_replicas.into(), 1.0, 10_000.0);
        number("minReplicas", self.min_replicas.into(), 1.0, self.max_replicas.into());
        number("clientTimeoutSeconds", self.client_timeout_seconds.into(), 1.0, 3600.0);
        if let Some(replicas) = self.initial_replicas {
            number("initialReplicas", replicas.into(), 0.0, self.max_replicas.into());
        }
        if let Some(target) = self.hpa {
            number("hpa", target.into(), 1.0, 1000.0);
        }
        if let Some(service) = self.service_seconds {
            number("serviceSeconds", service, 0.000_001, 60.0);
        }
        match &self.demand {
            Demand::Trace(trace) => {
                number("demand.trace.scale", trace.scale, 1e-9, 1e9);
                if let Some(hours) = trace.from_hours {
                    number("demand.trace.fromHours", hours, 0.0, 1e6);
                }
            }
            Demand::Synthetic(synthetic) => {
                number("demand.synthetic.peakRps", synthetic.peak_rps, 0.001, 1e9);
                number("demand.synthetic.phaseHours", synthetic.phase_hours, -24.0, 24.0);
                number("demand.synthetic.spread", synthetic.spread, 0.0, 0.9);
            }
        }
    }
}

impl SimulatedClusterConfig {
    /// All problems at once; empty when the cluster can be built (trace files are read later).
    pub fn problems(&self) -> Vec<ConfigProblem> {
        let mut found = Vec::new();
        let mut add = |key: String, problem: String| found.push(ConfigProblem { key, problem });
        let tick_s = self.physics.tick_s();
        let mut seconds = |key: &str, value: u32, low: u32, high: u32| {
            if !(low..=high).contains(&value) || !value.is_multiple_of(tick_s) {
                let multiple = if tick_s > 1 { format!(", a multiple of {tick_s}") } else { String::new() };
                add(key.into(), format!("{value} given, {low}..={high}{multiple} expected"));
            }
        };
        seconds("scrapeSeconds", self.scrape_seconds, 1, 300);
        seconds("windowSeconds", self.window_seconds, self.scrape_seconds.max(1), 3600);
        seconds("hpaSyncSeconds", self.hpa_sync_seconds, 1, 3600);
        seconds("maxCatchUpSeconds", self.max_catch_up_seconds, 60, 86_400);
        if !(1..=8760).contains(&self.history_hours) {
            add("historyHours".into(), format!("{} given, 1..=8760 expected", self.history_hours));
        }
        if self.workloads.is_empty() {
            add("workloads".into(), "empty; at least one expected".into());
        }
        let total: usize = self.workloads.iter().map(|w| w.count as usize).sum();
        if total > MAX_WORKLOADS {
            add("workloads".into(), format!("{total} with their counts, at most {MAX_WORKLOADS} expected"));
        }
        let mut names = BTreeSet::new();
        for (i, workload) in self.workloads.iter().enumerate() {
            workload.problems(&mut |key, problem| add(format!("workloads[{i}].{key}"), problem));
            for index in 0..workload.count.min(MAX_WORKLOADS as u32) {
                match WorkloadId::new(&workload.namespace, "Deployment", &workload.name_of(index)) {
                    Ok(id) if names.insert(id.clone()) => continue,
                    Ok(id) => add(format!("workloads[{i}].name"), format!("{id} is there twice")),
                    Err(error) => add(format!("workloads[{i}].name"), error.to_string()),
                }
                break;
            }
        }
        found
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECTION: &str = r#"{"workloads": [
        {"namespace": "shop", "name": "front-end", "demand": {"trace": {"path": "a.csv"}}, "capacityRps": 20},
        {"namespace": "shop", "name": "cart", "count": 3, "capacityRps": 5, "startup": "uniform(20s,60s)",
         "hpa": 60, "demand": {"synthetic": {"peakRps": 50, "seed": 7}}}]}"#;

    #[test]
    fn a_short_section_has_defaults_and_round_trips() {
        let config: SimulatedClusterConfig = serde_json::from_str(SECTION).unwrap();
        assert_eq!(config.problems(), []);
        assert_eq!(config.workloads[1].name_of(2), "cart-0002");
        assert_eq!(config.workloads[0].name_of(0), "front-end");
        let text = serde_json::to_string(&config).unwrap();
        assert_eq!(serde_json::from_str::<SimulatedClusterConfig>(&text).unwrap(), config);
    }

    #[test]
    fn unknown_keys_are_refused_at_every_depth() {
        for (from, to) in [
            ("\"workloads\"", "\"seeds\": 1, \"workloads\""),
            ("\"hpa\"", "\"hpas\""),
            ("\"path\"", "\"paths\""),
            ("\"seed\"", "\"sed\""),
            ("\"synthetic\"", "\"magic\""),
        ] {
            let changed = SECTION.replace(from, to);
            assert!(serde_json::from_str::<SimulatedClusterConfig>(&changed).is_err(), "{to}");
        }
    }

    #[test]
    fn all_problems_are_told_at_once() {
        let mut config: SimulatedClusterConfig = serde_json::from_str(SECTION).unwrap();
        config.scrape_seconds = 0;
        config.history_hours = 0;
        config.workloads[0].capacity_rps = f64::NAN;
        config.workloads[0].min_replicas = 101;
        config.workloads[1].name = "Cart".into();
        config.workloads.push(config.workloads[0].clone());
        let problems = config.problems();
        let keys: Vec<&str> = problems.iter().map(|p| p.key.as_str()).collect();
        assert_eq!(
            keys,
            [
                "scrapeSeconds",
                "historyHours",
                "workloads[0].capacityRps",
                "workloads[0].minReplicas",
                "workloads[1].name",
                "workloads[2].capacityRps",
                "workloads[2].minReplicas",
                "workloads[2].name"
            ]
        );
    }
}
