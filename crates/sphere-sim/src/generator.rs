//! What does a week of web traffic look like, when no trace is at hand?
//!
//! A documented synthetic profile, deterministic under its seed, so that a first look needs no file:
//!
//! | ingredient | form |
//! |---|---|
//! | daily rhythm | two harmonics: low at 4 h, a shoulder before noon, high in the evening |
//! | weekly rhythm | Saturday ×0.75, Sunday ×0.65 |
//! | slow drift | AR(1) of the logarithm, half-life 1 h, 6 % |
//! | fast noise | Poisson-like, over-dispersed: standard deviation 1.6 × √rate |
//! | newsletter | every full hour in the day a short rise of 20 % that fades within five minutes |
//! | flash crowd | on the last day but one at 14:10: ×2.8 within four minutes, fading over 40 minutes |
//! | outage dip | on the last day at 10:30: 12 minutes at 15 %, then a retry storm of +40 % for three minutes |

use crate::demand::Profile;
use rand::Rng;
use rand_chacha::ChaCha8Rng;
use rand_chacha::rand_core::SeedableRng;
use rand_distr::StandardNormal;
use sphere_core::Timestamp;
use std::f64::consts::TAU;
use std::time::Duration;

/// Mean of the generated demand, requests/s.
pub const MEAN_RPS: f64 = 120.0;
const STEP_S: u64 = 10;
const DAY_S: f64 = 86_400.0;

/// `days` days of web traffic in bins of 10 s, starting on a Monday at midnight.
pub fn web_traffic(days: u32, seed: u64) -> Profile {
    let mut rng = ChaCha8Rng::seed_from_u64(seed);
    let bins = u64::from(days) * 86_400 / STEP_S;
    let (flash_s, dip_s) = (
        (f64::from(days) - 2.0) * DAY_S + 14.0 * 3600.0 + 600.0,
        (f64::from(days) - 1.0) * DAY_S + 10.5 * 3600.0,
    );
    let keep = 0.5f64.powf(STEP_S as f64 / 3600.0);
    let mut drift = 0.0;
    let rates_rps = (0..bins)
        .map(|i| {
            let t = (i * STEP_S) as f64;
            drift = keep * drift + (1.0 - keep * keep).sqrt() * 0.06 * rng.sample::<f64, _>(StandardNormal);
            let mean = MEAN_RPS * rhythm(t) * f64::exp(drift) * flash_crowd(t - flash_s) * outage(t - dip_s);
            let noise: f64 = rng.sample(StandardNormal);
            Some((mean + 1.6 * (mean / STEP_S as f64).sqrt() * noise).max(0.0))
        })
        .collect();
    // 2026-01-05 was a Monday.
    Profile { start: Timestamp::from_secs(1_767_571_200), step: Duration::from_secs(STEP_S), rates_rps }
}

/// Daily and weekly rhythm with the hourly newsletter, mean about 1.
fn rhythm(t: f64) -> f64 {
    let day = (t / DAY_S) as u64 % 7;
    let hour = (t % DAY_S) / 3600.0;
    let daily = 1.0 - 0.55 * ((hour - 4.0) / 24.0 * TAU).cos() + 0.18 * ((hour - 10.5) / 12.0 * TAU).cos();
    let weekly = match day {
        5 => 0.75,
        6 => 0.65,
        _ => 1.0,
    };
    let into_hour = t % 3600.0;
    let newsletter = if (8.0..22.0).contains(&hour) { 1.0 + 0.2 * (-into_hour / 120.0).exp() } else { 1.0 };
    1.08 * daily * weekly * newsletter
}

/// Factor `t` seconds after a flash crowd began.
fn flash_crowd(t: f64) -> f64 {
    match t {
        t if t < 0.0 => 1.0,
        t if t < 240.0 => 1.0 + 1.8 * t / 240.0,
        t => 1.0 + 1.8 * (-(t - 240.0) / 1200.0).exp(),
    }
}

/// Factor `t` seconds after an outage began.
fn outage(t: f64) -> f64 {
    match t {
        t if t < 0.0 => 1.0,
        t if t < 720.0 => 0.15,
        t if t < 900.0 => 1.4,
        _ => 1.0,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_week_has_its_rhythm_its_flash_crowd_and_its_dip() {
        let p = web_traffic(7, 1);
        let mean = |day: u64, from_h: f64, to_h: f64| {
            let bin = |h: f64| ((day as f64 * DAY_S + h * 3600.0) / STEP_S as f64) as usize;
            p.mean_rps(bin(from_h)..bin(to_h))
        };
        assert_eq!(p.rates_rps.len(), 7 * 8640);
        let all = p.mean_rps(0..p.rates_rps.len());
        assert!((all / MEAN_RPS - 1.0).abs() < 0.15, "{all}");
        assert!(mean(1, 19.0, 21.0) > 2.0 * mean(1, 3.0, 5.0), "evening over night");
        assert!(mean(6, 12.0, 20.0) < 0.8 * mean(2, 12.0, 20.0), "Sunday below Wednesday");
        assert!(mean(5, 14.25, 14.4) > 1.8 * mean(5, 13.5, 14.0), "flash crowd");
        assert!(mean(6, 10.55, 10.65) < 0.4 * mean(6, 9.5, 10.4), "outage");
        assert_eq!(web_traffic(7, 1), p);
        assert_ne!(web_traffic(7, 2).rates_rps, p.rates_rps);
    }
}
