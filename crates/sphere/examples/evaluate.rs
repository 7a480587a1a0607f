//! Which model forecasts these traces best?
//!
//!     cargo run --release -p sphere --example evaluate -- [--json] [--every N] [--models A,B] [--from POSITION] [--to POSITION] TRACE…

use sphere::evaluate::{Options, run};
use std::error::Error;
use std::path::PathBuf;

fn main() -> Result<(), Box<dyn Error>> {
    let mut options = Options::default();
    let (mut json, mut paths) = (false, Vec::new());
    let mut args = std::env::args().skip(1);
    while let Some(arg) = args.next() {
        let mut value = || args.next().ok_or_else(|| format!("{arg} needs a value"));
        match arg.as_str() {
            "--json" => json = true,
            "--every" => options.stride_steps = value()?.parse()?,
            "--models" => options.models = value()?.split(',').map(String::from).collect(),
            "--from" => options.from = Some(value()?.parse()?),
            "--to" => options.to = Some(value()?.parse()?),
            path => paths.push(PathBuf::from(path)),
        }
    }
    let report = run(&paths, &options, &|p| eprintln!("{}/{} {} {}", p.done, p.total, p.trace, p.model))?;
    if json {
        println!("{}", report.json(true)?);
    } else {
        print!("{}", report.table(false));
    }
    Ok(())
}
