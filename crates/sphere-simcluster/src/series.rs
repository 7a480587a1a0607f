//! How many requests per second arrive at an instant of the clock?
//!
//! A [`Series`] lays a [`Profile`] (a trace or a generated week) onto the clock: shifted, scaled, repeated if
//! asked. The profile itself is shared by all who play it.

use crate::config::SyntheticDemand;
use sphere_core::Timestamp;
use sphere_sim::demand::{Sampler, Spread};
use sphere_sim::generator::{MEAN_RPS, web_traffic};
use sphere_sim::{Physics, Profile};
use std::sync::Arc;

/// Different generated weeks there are; a week takes 1 MB and is shared.
pub const WEEKS: u64 = 16;
/// Largest rate of an ordinary day of the generator, over its mean.
const PEAK_OVER_MEAN: f64 = 1.6;

/// Demand over time. See the module text.
#[derive(Clone, Debug)]
pub struct Series {
    profile: Arc<Profile>,
    /// Added to an instant of the clock to get one of the profile, milliseconds.
    shift_ms: i64,
    scale: f64,
    repeat: bool,
}

impl Series {
    /// `profile` times `scale`, played when the clock shows its instants plus `-shift_ms`.
    pub fn new(profile: Arc<Profile>, shift_ms: i64, scale: f64, repeat: bool) -> Self {
        Self { profile, shift_ms, scale, repeat }
    }

    /// A generated week for the `index`th of several workloads; `week` gives the week of a seed.
    pub fn synthetic(
        demand: &SyntheticDemand,
        index: u32,
        count: u32,
        mut week: impl FnMut(u64) -> Arc<Profile>,
    ) -> Self {
        let seed = demand.seed.wrapping_add(u64::from(index));
        let spread = if count > 1 { demand.spread } else { 0.0 };
        let scale = 1.0 + spread * signed_unit(seed, 1);
        let phase_hours = demand.phase_hours + 4.0 * spread * signed_unit(seed, 2);
        Self {
            profile: week(seed % WEEKS),
            shift_ms: -((phase_hours * 3_600_000.0) as i64),
            scale: scale * demand.peak_rps / (MEAN_RPS * PEAK_OVER_MEAN),
            repeat: true,
        }
    }

    /// The week of a seed.
    pub fn week(seed: u64) -> Arc<Profile> {
        Arc::new(web_traffic(7, seed))
    }

    fn step_ms(&self) -> i64 {
        (self.profile.step.as_millis() as i64).max(1)
    }

    /// The bin that holds `at`, and when it ends on the clock, milliseconds.
    fn bin(&self, at_ms: i64) -> (Option<usize>, i64) {
        let step_ms = self.step_ms();
        let since_ms = at_ms + self.shift_ms - self.profile.start.millis();
        let bin = since_ms.div_euclid(step_ms);
        let end_ms = at_ms + step_ms - since_ms.rem_euclid(step_ms);
        let bins = self.profile.rates_rps.len() as i64;
        let index = if self.repeat && bins > 0 { Some(bin.rem_euclid(bins)) } else { Some(bin) };
        (index.filter(|i| (0..bins).contains(i)).map(|i| i as usize), end_ms)
    }

    /// Rate at `at`, requests/s. `None`: nothing is recorded.
    pub fn rate(&self, at: Timestamp) -> Option<f64> {
        self.bin(at.millis()).0.and_then(|i| self.profile.rates_rps[i]).map(|rate| rate * self.scale)
    }

    /// Mean rate from `from` to `to`, requests/s; `None` where half of it is not recorded.
    pub fn mean(&self, from: Timestamp, to: Timestamp) -> Option<f64> {
        let (mut sum, mut covered) = (0.0, 0i64);
        let mut at = from.millis();
        while at < to.millis() {
            let (bin, end) = self.bin(at);
            let end = end.min(to.millis());
            if let Some(rate) = bin.and_then(|i| self.profile.rates_rps[i]) {
                sum += rate * (end - at) as f64;
                covered += end - at;
            }
            at = end;
        }
        (covered * 2 > to.millis() - from.millis()).then(|| self.scale * sum / covered as f64)
    }
}

/// A number in -1..1 that depends on `seed` and `purpose` only.
fn signed_unit(seed: u64, purpose: u64) -> f64 {
    (mix(seed, purpose) >> 11) as f64 / (1u64 << 52) as f64 - 1.0
}

/// One well mixed number from two (the finaliser of SplitMix64).
pub fn mix(seed: u64, number: u64) -> u64 {
    let mut z = seed ^ number.wrapping_add(1).wrapping_mul(0x9e37_79b9_7f4a_7c15);
    z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    z ^ (z >> 31)
}

/// How arrivals scatter around the rate under these physics.
pub fn sampler(physics: Physics, seed: u64) -> Sampler {
    Sampler::new(match physics {
        Physics::Loss => Spread::Constant,
        Physics::Queue => Spread::Poisson(seed),
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    fn profile(rates: &[Option<f64>]) -> Arc<Profile> {
        Arc::new(Profile {
            start: Timestamp::from_secs(1000),
            step: Duration::from_secs(10),
            rates_rps: rates.to_vec(),
        })
    }

    #[test]
    fn a_trace_ends_and_a_week_goes_on() {
        let p = profile(&[Some(1.0), None, Some(3.0)]);
        let once = Series::new(p.clone(), 0, 2.0, false);
        let rates: Vec<_> = [990, 1000, 1015, 1029, 1030].map(|s| once.rate(Timestamp::from_secs(s))).into();
        assert_eq!(rates, [None, Some(2.0), None, Some(6.0), None]);
        let again = Series::new(p, 0, 2.0, true);
        assert_eq!(again.rate(Timestamp::from_secs(1030)), Some(2.0));
        assert_eq!(again.rate(Timestamp::from_secs(999)), Some(6.0));
    }

    #[test]
    fn a_mean_knows_what_is_missing() {
        let s = Series::new(profile(&[Some(1.0), Some(3.0), None]), 500_000, 1.0, false);
        let mean = |from, to| s.mean(Timestamp::from_secs(from), Timestamp::from_secs(to));
        assert_eq!(mean(500, 520), Some(2.0));
        assert_eq!(mean(505, 515), Some(2.0));
        assert_eq!(mean(515, 524), Some(3.0));
        assert_eq!(mean(512, 540), None);
    }

    #[test]
    fn a_generated_week_has_the_stated_peak_and_monday_is_monday() {
        let demand = SyntheticDemand { peak_rps: 200.0, seed: 3, phase_hours: 0.0, spread: 0.3 };
        let s = Series::synthetic(&demand, 0, 1, Series::week);
        // 2026-11-23 was a Monday; Tuesday evening against Tuesday night.
        let tuesday = Timestamp::from_secs(1_795_392_000 + 86_400);
        let hour = |h: u64| {
            let from = tuesday + Duration::from_secs(h * 3600);
            s.mean(from, from + Duration::from_secs(3600)).unwrap()
        };
        let peak = (0..24).map(hour).fold(0.0, f64::max);
        assert!((150.0..260.0).contains(&peak), "{peak}");
        assert!(hour(19) > 2.0 * hour(3));
        let sunday = tuesday + Duration::from_secs(5 * 86_400 + 38_400);
        let outage = s.mean(sunday, sunday + Duration::from_secs(60)).unwrap();
        assert!(outage < 60.0, "the outage is on Sunday at 10:40: {outage}");
    }

    #[test]
    fn of_many_each_has_its_own_scale_and_phase() {
        let demand = SyntheticDemand { peak_rps: 200.0, seed: 3, phase_hours: 0.0, spread: 0.3 };
        let week = Series::week(0);
        let scales: Vec<f64> =
            (0..100).map(|i| Series::synthetic(&demand, i, 100, |_| week.clone()).scale).collect();
        let (low, high) =
            scales.iter().fold((f64::MAX, 0.0f64), |(low, high), s| (low.min(*s), high.max(*s)));
        assert!(high / low > 1.5 && high / low < 1.3 / 0.7 + 1e-9, "{low} {high}");
    }
}
