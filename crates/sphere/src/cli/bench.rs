//! `sphere bench`: how fast is this machine's pipeline?

use super::{CliError, Output, print, print_json};
use clap::{Args, Subcommand};
use sphere::bench::{self, Group, Settings};
use sphere_kafka::KafkaConfig;
use sphere_redis::RedisConfig;

/// Measure speed and scale on this machine; nothing is asserted.
#[derive(Debug, Args)]
pub struct BenchArgs {
    #[command(subcommand)]
    what: What,
}

#[derive(Debug, Subcommand)]
enum What {
    Pipeline(PipelineArgs),
}

/// The streaming pipeline: forecaster throughput, latency from sample to decision, steady load, many workloads.
///
/// Always on the embedded default; with --kafka and --redis on those, too, with the forecaster as a process of its own
/// where its processor time and memory are measured. Topics and keys of earlier runs should be gone: give it a
/// broker and a Redis of its own.
#[derive(Debug, Args)]
#[command(after_help = "Examples:
  sphere bench pipeline
  sphere bench pipeline --kafka 127.0.0.1:9092 --redis 127.0.0.1:6379 --output json
  make bench-pipeline          starts a Kafka and a Redis for it")]
struct PipelineArgs {
    /// A Kafka broker to use, host:port
    #[arg(long, value_name = "ADDRESS", env = "SPHERE_BENCH_KAFKA", requires = "redis")]
    kafka: Option<String>,
    /// A Redis to use, host:port
    #[arg(long, value_name = "ADDRESS", env = "SPHERE_BENCH_REDIS", requires = "kafka")]
    redis: Option<String>,
    /// A tenth of the load and time, to try it
    #[arg(long)]
    quick: bool,
    /// Measure these groups alone; may be repeated
    #[arg(long, value_enum, value_name = "GROUP")]
    only: Vec<Group>,
    /// How results are printed
    #[arg(long, value_enum, default_value_t = Output::Table)]
    output: Output,
}

pub fn run(args: &BenchArgs) -> Result<(), CliError> {
    let What::Pipeline(args) = &args.what;
    let services = args.kafka.as_ref().zip(args.redis.as_ref()).map(|(kafka, redis)| {
        (
            KafkaConfig { brokers: vec![kafka.clone()], ..KafkaConfig::default() },
            RedisConfig { nodes: vec![redis.clone()], ..RedisConfig::default() },
        )
    });
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()
        .map_err(|error| CliError::Failed(error.into()))?;
    let settings = Settings { services, quick: args.quick, only: args.only.clone() };
    let told = |what: &str| eprintln!("bench: {what}");
    let results = runtime.block_on(bench::run(&settings, &told)).map_err(CliError::Failed)?;
    match args.output {
        Output::Json => print_json(&results),
        Output::Table => print(&bench::table(&results)),
    }
}
