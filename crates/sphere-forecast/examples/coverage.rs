//! Do the quantiles hold on real series?
//!
//!     cargo run --release -p sphere-forecast --example coverage -- MODEL[,MODEL…] FILE.csv…
//!
//! Feeds each file (`timestamp_s,value` with a header) through each model and prints, for each anchor horizon, the
//! share of values at or below the issued quantiles after a warm-up of 300 steps, and the pinball loss at 0.95
//! relative to the mean absolute one-step change. Ends with the largest deviations.

#[path = "shared/trace.rs"]
mod trace;

use sphere_core::{Distribution, Timestamp};
use sphere_forecast::{Forecaster, OnlineConfig, registry};

const WARM_UP_STEPS: usize = 300;

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let mut args = std::env::args().skip(1);
    let models = args.next().ok_or("usage: coverage MODEL[,MODEL…] FILE.csv…")?;
    let files: Vec<String> = args.collect();
    println!(
        "{:28} {:14} {:>2} {:>7} {:>6} {:>6} {:>6} {:>6} {:>7}",
        "series", "model", "h", "n", "0.9", "0.95", "0.99", "0.999", "pinball"
    );
    for model in models.split(',') {
        let (mut worst_90, mut worst_95, mut sum_log, mut count) = (0.0f64, 0.0f64, 0.0, 0);
        for file in &files {
            let (step, values) = trace::read(file)?;
            let name = file.rsplit('/').next().unwrap_or(file).trim_end_matches(".csv");
            let config = OnlineConfig::new(step);
            let mut forecaster = registry::build(model, config)?;
            let mut warm = Vec::new();
            let mut out: Vec<Distribution> = Vec::new();
            let mut issued: Vec<[(f64, f64); 15]> = Vec::with_capacity(values.len());
            for (i, &value) in values.iter().enumerate() {
                forecaster.observe(Timestamp::from_secs((i as u64 * step.as_secs()) as i64), value);
                if i == WARM_UP_STEPS {
                    warm = forecaster.coverage();
                }
                let mut row = [(f64::NAN, f64::NAN); 15];
                if forecaster.distributions(15, &mut out).is_ok() {
                    for (slot, d) in row.iter_mut().zip(&out) {
                        *slot = (d.quantile(0.95), d.quantile(0.999));
                    }
                }
                issued.push(row);
            }
            let change = values.windows(2).map(|w| (w[1] - w[0]).abs()).sum::<f64>() / values.len() as f64;
            for (now, then) in forecaster.coverage().iter().zip(&warm) {
                let since = now.since(then);
                let Some([c90, c95, c99]) = since.shares() else { continue };
                let h = now.horizon;
                let (mut loss, mut n, mut held) = (0.0, 0.0, 0.0);
                for t in WARM_UP_STEPS..values.len().saturating_sub(h) {
                    let ((q95, q999), y) = (issued[t][h - 1], values[t + h]);
                    if q95.is_finite() {
                        loss += if y > q95 { 0.95 * (y - q95) } else { 0.05 * (q95 - y) };
                        n += 1.0;
                        held += f64::from(u8::from(y <= q999));
                    }
                }
                let pinball = loss / n / change;
                println!(
                    "{name:28} {model:14} {h:2} {n:7} {c90:6.3} {c95:6.3} {c99:6.3} {:6.4} {pinball:7.3}",
                    held / n
                );
                worst_90 = worst_90.max((c90 - 0.9).abs());
                worst_95 = worst_95.max((c95 - 0.95).abs());
                sum_log += pinball.ln();
                count += 1;
            }
        }
        let mean = (sum_log / f64::from(count)).exp();
        println!(
            "{model}: worst deviation at 0.9 {:.1} points, at 0.95 {:.1} points; pinball, geometric mean {mean:.4}",
            100.0 * worst_90,
            100.0 * worst_95
        );
    }
    Ok(())
}
