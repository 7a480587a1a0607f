//! What is in a trace file?

use std::time::Duration;

/// Step and values of a file of `timestamp_s,value` with a header.
pub fn read(file: &str) -> Result<(Duration, Vec<f64>), Box<dyn std::error::Error>> {
    let text = std::fs::read_to_string(file)?;
    let mut rows = Vec::new();
    for line in text.lines().skip(1) {
        let (at, value) = line.split_once(',').ok_or("a row is `timestamp_s,value`")?;
        rows.push((at.parse::<f64>()?, value.parse::<f64>()?));
    }
    let step = match rows.as_slice() {
        [a, b, ..] => b.0 - a.0,
        _ => return Err("fewer than two rows".into()),
    };
    Ok((Duration::try_from_secs_f64(step)?, rows.into_iter().map(|(_, v)| v).collect()))
}
