//! Runs a command with a fresh Kafka broker and Redis beside it, and stops them after.
//!
//! ```text
//! cargo run -p sphere-testkit --example with_services -- target/release/sphere bench pipeline --output json
//! ```
//!
//! The command finds them in SPHERE_BENCH_KAFKA and SPHERE_BENCH_REDIS. Its exit code is ours.

use anyhow::{Context, Result};
use sphere_testkit::Kafka;
use sphere_testkit::redis::Redis;
use std::process::{Command, ExitCode};

fn main() -> Result<ExitCode> {
    let mut arguments = std::env::args_os().skip(1);
    let program = arguments.next().context("which command? with_services -- COMMAND ARGUMENTS…")?;
    let kafka = Kafka::start(1)?;
    let redis = Redis::start()?;
    let broker = kafka.bootstrap().into_iter().next().context("a broker without an address")?;
    eprintln!("Kafka at {broker}, Redis at {}", redis.address());
    let status = Command::new(&program)
        .args(arguments)
        .env("SPHERE_BENCH_KAFKA", &broker)
        .env("SPHERE_BENCH_REDIS", redis.address())
        .status()
        .with_context(|| format!("{} can not be started", program.display()))?;
    Ok(ExitCode::from(u8::try_from(status.code().unwrap_or(1)).unwrap_or(1)))
}
