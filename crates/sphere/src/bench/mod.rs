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

/// What to measure on.
#[derive(Clone, Debug)]
pub struct Settings {
    /// A Kafka and a Redis, for the distributed figures.
    pub services: Option<(KafkaConfig, RedisConfig)>,
    /// A tenth of the load and time.
    pub quick: bool,
}

/// All figures as one JSON object; `told` hears what is being measured.
pub async fn run(settings: &Settings, told: &(dyn Fn(&str) + Sync)) -> anyhow::Result<Value> {
    let tenth = if settings.quick { 10 } else { 1 };
    let cores = std::thread::available_parallelism().map_or(1, usize::from);
    let mut results = Map::new();
    results.insert("cores".into(), json!(cores));
    results.insert("quick".into(), json!(settings.quick));

    let (workloads, steps) = (10_000 / tenth, 20);
    for model in ["sphere", "holt"] {
        for workers in [1, 2] {
            told(&format!("embedded peak, {model}, {workers} worker(s)"));
            let figures = peak::measure(&embedded(), workloads, steps, workers, model).await?;
            results.insert(format!("embedded_peak_{model}_{workers}_workers"), figures);
        }
    }
    told("embedded latency");
    let pace = Duration::from_millis(10);
    let rounds = 2000 / tenth;
    results.insert(
        "embedded_latency_spread".into(),
        latency::measure(&embedded(), 1000, rounds, 1, pace).await?,
    );
    let gap = Duration::from_secs(2);
    results.insert("embedded_latency_burst".into(), latency::measure(&embedded(), 1000, 5, 1000, gap).await?);
    told("start-up with history");
    results.insert("embedded_startup".into(), startup::measure(1000, 360).await?);

    if let Some((kafka, redis)) = &settings.services {
        for workers in [1, 2] {
            told(&format!("Kafka peak, sphere, {workers} worker(s)"));
            let services = Services::connect(kafka, redis, &format!("peak{workers}")).await?;
            let figures = peak::measure(&services.parts(), workloads, steps, workers, "sphere").await?;
            results.insert(format!("kafka_peak_sphere_{workers}_workers"), figures);
        }
        told("Kafka and Redis latency");
        let services = Services::connect(kafka, redis, "spread").await?;
        results.insert(
            "kafka_latency_spread".into(),
            latency::measure(&services.parts(), 1000, rounds, 1, pace).await?,
        );
        let services = Services::connect(kafka, redis, "burst").await?;
        results.insert(
            "kafka_latency_burst".into(),
            latency::measure(&services.parts(), 1000, 5, 1000, gap).await?,
        );
        for (name, workloads, model, seconds) in [
            ("steady_10k_sphere", 10_000, "sphere", 60),
            ("steady_10k_holt", 10_000, "holt", 60),
            ("steady_100k_sphere", 100_000, "sphere", 120),
        ] {
            told(&format!("{workloads} workloads, model {model}, for {} s", seconds / tenth));
            let time = Duration::from_secs((seconds / tenth) as u64);
            let services = Services::connect(kafka, redis, name).await?;
            results.insert(name.into(), steady::measure(&services, workloads / tenth, model, time).await?);
        }
    }
    Ok(Value::Object(results))
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
