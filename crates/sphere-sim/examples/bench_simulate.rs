//! How long does a long simulation take, and does it grow linearly?
//!
//! Plays eight policies over 6.5, 13 and 26 days of synthetic traffic at one-second ticks on all cores and prints one JSON
//! object. `cargo run --release -p sphere-sim --example bench_simulate`

use serde_json::json;
use sphere_sim::{Contestant, Physics, Settings, Startup, Tournament, generator};
use std::time::Instant;

fn main() {
    let profile = generator::web_traffic(26, 1);
    let bins = profile.rates_rps.len();
    let settings = Settings::new(30.0, Startup::Fixed(30.0), Physics::Queue);
    let seconds = |bins: usize| {
        let tournament = Tournament {
            profile: &profile,
            segment: 0..bins,
            settings: vec![settings.clone()],
            contestants: Contestant::DEFAULTS[..8].to_vec(),
            seeds: vec![1],
            record: Vec::new(),
        };
        let start = Instant::now();
        assert_eq!(tournament.play(|| {}).len(), 8);
        start.elapsed().as_secs_f64()
    };
    let (quarter, half, whole) = (seconds(bins / 4), seconds(bins / 2), seconds(bins));
    let result = json!({
        "simulated_days": 26,
        "policies": Contestant::DEFAULTS[..8].iter().map(ToString::to_string).collect::<Vec<_>>(),
        "threads": rayon::current_num_threads(),
        "quarter_s": quarter,
        "half_s": half,
        "whole_s": whole,
        "whole_over_half": whole / half,
    });
    println!("{result}");
}
