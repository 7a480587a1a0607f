//! How fast is the pipeline on this machine, and how many workloads does it carry?
//!
//! Every figure comes from the production stages on real samples and real encoding; only what stands before (who
//! measures) and behind (who is scaled) is the bench itself. The embedded figures need nothing; the others a Kafka
//! and a Redis.
//!
//! | figure | how |
//! |---|---|
//! | peak | a log full of samples, then the forecast stage alone until it has read them: decode → observe → forecast → publish |
//! | latency | all stages; from the acknowledgement of a sample to the decision on its forecast coming out of the topic |
//! | start-up | from the start of the forecast stage to the first forecast of every workload, history read |
//! | steady | `sphere forecast` as a process at the stated rate: its processor time and memory |

mod fixtures;
mod latency;
mod peak;
mod startup;
mod steady;

use fixtures::{Services, embedded};
use serde_json::{Map, Value, json};
use sphere_kafka::KafkaConfig;
use sphere_redis::RedisConfig;
use std::time::Duration;

/// A group of figures.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub enum Group {
    /// Throughput of the forecast stage
    Peak,
    /// From a sample to the decision on it
    Latency,
    /// From start to the first forecasts, history read
    Startup,
    /// Processor time and memory at a steady rate
    Steady,
}

/// What to measure, and on what.
#[derive(Clone, Debug)]
pub struct Settings {
    /// A Kafka and a Redis, for the distributed figures.
    pub services: Option<(KafkaConfig, RedisConfig)>,
    /// A tenth of the load and time.
    pub quick: bool,
    /// These groups alone; all when empty.
    pub only: Vec<Group>,
}

/// Figures as they come, and whoever wants to hear of them.
struct Results<'a> {
    all: Map<String, Value>,
    told: &'a (dyn Fn(&str) + Sync),
}

impl Results<'_> {
    async fn add(
        &mut self,
        name: &str,
        figures: impl Future<Output = anyhow::Result<Value>>,
    ) -> anyhow::Result<()> {
        (self.told)(name);
        let figures = figures.await?;
        // A long run that is cut short has shown what it had.
        (self.told)(&format!("{name} {figures}"));
        self.all.insert(name.into(), figures);
        Ok(())
    }
}

/// All figures as one JSON object; `told` hears what is being measured and what came out.
pub async fn run(settings: &Settings, told: &(dyn Fn(&str) + Sync)) -> anyhow::Result<Value> {
    let tenth = if settings.quick { 10 } else { 1 };
    let wanted = |group| settings.only.is_empty() || settings.only.contains(&group);
    let cores = std::thread::available_parallelism().map_or(1, usize::from);
    let mut results = Results { all: Map::new(), told };
    results.all.insert("cores".into(), json!(cores));
    results.all.insert("quick".into(), json!(settings.quick));

    let (workloads, steps) = (10_000 / tenth, 20);
    let (rounds, pace, gap) = (2000 / tenth, Duration::from_millis(10), Duration::from_secs(2));
    if wanted(Group::Peak) {
        for (model, workers) in [("sphere", 1), ("sphere", 2), ("holt", 1), ("holt", 2)] {
            let name = format!("embedded_peak_{model}_{workers}_workers");
            results.add(&name, peak::measure(&embedded(), workloads, steps, workers, model)).await?;
        }
    }
    if wanted(Group::Latency) {
        let parts = embedded();
        results.add("embedded_latency_spread", latency::measure(&parts, 1000, rounds, 1, pace)).await?;
        let parts = embedded();
        results.add("embedded_latency_burst", latency::measure(&parts, 1000, 5, 1000, gap)).await?;
    }
    if wanted(Group::Startup) {
        results.add("embedded_startup", startup::measure(1000, 360)).await?;
    }
    let Some((kafka, redis)) = &settings.services else { return Ok(Value::Object(results.all)) };
    if wanted(Group::Peak) {
        for workers in [1, 2] {
            let parts = Services::connect(kafka, redis, &format!("peak{workers}")).await?.parts();
            let name = format!("kafka_peak_sphere_{workers}_workers");
            results.add(&name, peak::measure(&parts, workloads, steps, workers, "sphere")).await?;
        }
    }
    if wanted(Group::Latency) {
        let parts = Services::connect(kafka, redis, "spread").await?.parts();
        results.add("kafka_latency_spread", latency::measure(&parts, 1000, rounds, 1, pace)).await?;
        let parts = Services::connect(kafka, redis, "burst").await?.parts();
        results.add("kafka_latency_burst", latency::measure(&parts, 1000, 5, 1000, gap)).await?;
    }
    if wanted(Group::Steady) {
        for (name, workloads, model, seconds) in [
            ("steady_10k_sphere", 10_000, "sphere", 60),
            ("steady_10k_holt", 10_000, "holt", 60),
            ("steady_100k_sphere", 100_000, "sphere", 120),
            ("steady_100k_auto", 100_000, "auto", 120),
        ] {
            let time = Duration::from_secs((seconds / tenth) as u64);
            let services = Services::connect(kafka, redis, name).await?;
            results.add(name, steady::measure(&services, workloads / tenth, model, time)).await?;
        }
    }
    Ok(Value::Object(results.all))
}

/// The figures for people.
pub fn table(results: &Value) -> String {
    let mut text = String::new();
    for (name, figures) in results.as_object().into_iter().flatten() {
        match figures {
            Value::Object(figures) => {
                let figures: Vec<String> =
                    figures.iter().map(|(key, value)| format!("{key} {value}")).collect();
                text.push_str(&format!("{name:<28} {}\n", figures.join(", ")));
            }
            other => text.push_str(&format!("{name:<28} {other}\n")),
        }
    }
    text
}

/// Middle, high and highest of some times, milliseconds with two decimals.
fn spread_ms(mut times: Vec<Duration>) -> Value {
    times.sort_unstable();
    let at = |share: f64| {
        let index = ((times.len() as f64 * share).ceil() as usize).clamp(1, times.len().max(1)) - 1;
        times.get(index).map(|time| round(time.as_secs_f64() * 1e3))
    };
    json!({"count": times.len(), "p50_ms": at(0.5), "p99_ms": at(0.99), "max_ms": at(1.0)})
}

fn round(value: f64) -> f64 {
    (value * 100.0).round() / 100.0
}
