//! What is in this trace, and how fast was it read?
//!
//! `cargo run --release -p sphere-trace --example read -- access.log`

use sphere_trace::{ReadOptions, TraceError, read_file};
use std::path::Path;
use std::time::Instant;

fn main() -> Result<(), TraceError> {
    for file in std::env::args_os().skip(1) {
        let path = Path::new(&file);
        let began = Instant::now();
        let reading = read_file(path, &ReadOptions::default())?;
        let took_s = began.elapsed().as_secs_f64();
        let megabytes = path.metadata().map_or(0, |meta| meta.len()) as f64 / 1e6;
        let trace = &reading.trace;
        println!(
            "{}: {} lines of {}, {} steps of {:?}, {} missing, {} skipped; {megabytes:.0} MB in {took_s:.2} s, {:.0} MB/s",
            trace.name,
            reading.lines,
            reading.format,
            trace.values.len(),
            trace.step,
            trace.missing(),
            reading.skipped.map_or(0, |skipped| skipped.lines),
            megabytes / took_s,
        );
    }
    Ok(())
}
