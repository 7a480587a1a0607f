//! How many requests arrive in each tick?
//!
//! A [`Profile`] is what a trace or a generator says: a rate per bin. A [`Demand`] is one realisation of it on
//! the ticks of the simulation: the rate itself (loss physics), or a Poisson count per second around the rate
//! (queue physics). The part of the profile before the simulated segment is history: policies that learn may
//! learn from it, nobody is scored on it.

use rand_chacha::ChaCha8Rng;
use rand_chacha::rand_core::SeedableRng;
use rand_distr::{Distribution, Poisson};
use sphere_core::Timestamp;
use std::ops::Range;
use std::time::Duration;

/// Demand per bin, requests/s. `None`: nothing was recorded; physics keeps the last rate, scrapes see nothing.
#[derive(Clone, Debug, PartialEq)]
pub struct Profile {
    /// Start of the first bin.
    pub start: Timestamp,
    /// Width of a bin.
    pub step: Duration,
    /// Rate per bin, requests/s.
    pub rates_rps: Vec<Option<f64>>,
}

impl Profile {
    /// Mean over the bins of `range` that have a value; 0 where none has.
    pub fn mean_rps(&self, range: Range<usize>) -> f64 {
        let (sum, n) = self.rates_rps[range].iter().flatten().fold((0.0, 0usize), |(s, n), r| (s + r, n + 1));
        if n == 0 { 0.0 } else { sum / n as f64 }
    }

    /// Largest rate in `range`; 0 where there is none.
    pub fn peak_rps(&self, range: Range<usize>) -> f64 {
        self.rates_rps[range].iter().flatten().copied().fold(0.0, f64::max)
    }

    /// Start of bin `i`.
    pub fn bin_start(&self, i: usize) -> Timestamp {
        Timestamp(self.start.millis() + self.step.as_millis() as i64 * i as i64)
    }
}

/// One realisation of a profile's segment on the ticks of the simulation, with the history before it.
#[derive(Clone, Debug)]
pub struct Demand {
    /// Start of the segment.
    pub start: Timestamp,
    /// Width of a tick, seconds.
    pub tick_s: u32,
    /// Offered load per tick, requests/s.
    pub offered_rps: Vec<f32>,
    /// Mean offered load of each scrape interval before the segment, oldest first; `None`: nothing recorded.
    pub history_rps: Vec<Option<f32>>,
    /// Width of a scrape interval, seconds.
    pub scrape_s: u32,
    /// Ticks (as fractions of the segment, start and end tick) in which nothing was recorded: scrapes see nothing.
    pub unrecorded: Vec<Range<usize>>,
}

/// How a profile becomes ticks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Spread {
    /// The bin's rate, constant.
    Constant,
    /// A Poisson count per tick around the bin's rate, from this seed.
    Poisson(u64),
}

impl Demand {
    /// Plays bins `segment` of `profile` on ticks of `tick_s` seconds; up to `history` before the segment is kept.
    ///
    /// # Panics
    /// If `segment` lies outside the profile or `tick_s` or `scrape_s` is 0: a bug of the caller.
    pub fn new(
        profile: &Profile,
        segment: Range<usize>,
        history: Duration,
        tick_s: u32,
        scrape_s: u32,
        spread: Spread,
    ) -> Self {
        assert!(segment.end <= profile.rates_rps.len() && tick_s > 0 && scrape_s > 0);
        let bin_s = profile.step.as_secs_f64();
        let seconds = ((segment.len() as f64) * bin_s).round() as usize;
        let ticks = seconds / tick_s as usize;
        let before_s = (segment.start as f64 * bin_s).min(history.as_secs_f64());
        let scrapes_before = (before_s / f64::from(scrape_s)) as usize;
        let mut sampler = Sampler::new(spread);

        let start_s = segment.start as f64 * bin_s;
        let bin_at = |second: f64| ((second / bin_s) as usize).min(profile.rates_rps.len().saturating_sub(1));
        let mut last = profile.rates_rps[segment.clone()].iter().flatten().next().copied().unwrap_or(0.0);
        let history_rps = (0..scrapes_before)
            .map(|k| {
                let from = start_s - ((scrapes_before - k) * scrape_s as usize) as f64;
                let rate = mean_over(profile, from, f64::from(scrape_s));
                rate.map(|rate| sampler.draw(rate, scrape_s) as f32)
            })
            .collect();
        let mut unrecorded: Vec<Range<usize>> = Vec::new();
        let offered_rps = (0..ticks)
            .map(|tick| {
                match profile.rates_rps[bin_at(start_s + (tick * tick_s as usize) as f64 + 1e-6)] {
                    Some(rate) => last = rate,
                    None => match unrecorded.last_mut() {
                        Some(range) if range.end == tick => range.end = tick + 1,
                        _ => unrecorded.push(tick..tick + 1),
                    },
                }
                sampler.draw(last, tick_s) as f32
            })
            .collect();
        Self {
            start: profile.bin_start(segment.start),
            tick_s,
            offered_rps,
            history_rps,
            scrape_s,
            unrecorded,
        }
    }

    /// Length of the segment, seconds.
    pub fn seconds(&self) -> u64 {
        self.offered_rps.len() as u64 * u64::from(self.tick_s)
    }

    /// Was nothing recorded in `tick`?
    pub fn is_unrecorded(&self, tick: usize) -> bool {
        let i = self.unrecorded.partition_point(|r| r.end <= tick);
        self.unrecorded.get(i).is_some_and(|r| r.contains(&tick))
    }

    /// Replicas needed in each tick to carry the mean load of its scrape interval.
    pub fn needed_replicas(&self, capacity_rps: f64) -> impl Iterator<Item = u32> + '_ {
        let ticks = (self.scrape_s / self.tick_s).max(1) as usize;
        self.offered_rps.chunks(ticks).flat_map(move |interval| {
            let mean = interval.iter().copied().map(f64::from).sum::<f64>() / interval.len() as f64;
            std::iter::repeat_n(replicas_for(mean, capacity_rps), interval.len())
        })
    }
}

/// Smallest number of replicas that carries `rps`; a hair of rounding error buys no pod.
pub fn replicas_for(rps: f64, capacity_rps: f64) -> u32 {
    (rps / capacity_rps - 1e-6).ceil().max(0.0) as u32
}

/// Mean rate over `[from, from + width)` seconds since the profile's start; `None` when half of it is unrecorded.
fn mean_over(profile: &Profile, from: f64, width: f64) -> Option<f64> {
    let bin_s = profile.step.as_secs_f64();
    let (mut sum, mut covered) = (0.0, 0.0);
    let mut t = from;
    while t < from + width - 1e-6 {
        let bin = ((t + 1e-6) / bin_s) as usize;
        let end = ((bin + 1) as f64 * bin_s).min(from + width);
        if let Some(Some(rate)) = profile.rates_rps.get(bin) {
            sum += rate * (end - t);
            covered += end - t;
        }
        t = end;
    }
    (covered > width / 2.0).then(|| sum / covered)
}

/// Draws offered load; the Poisson law is rebuilt only when the rate changes.
#[derive(Clone, Debug)]
pub struct Sampler {
    rng: Option<ChaCha8Rng>,
    law: Option<(f64, Poisson<f64>)>,
}

impl Sampler {
    /// Draws in the manner of `spread`.
    pub fn new(spread: Spread) -> Self {
        let rng = match spread {
            Spread::Constant => None,
            Spread::Poisson(seed) => Some(ChaCha8Rng::seed_from_u64(seed)),
        };
        Self { rng, law: None }
    }

    /// Requests/s over an interval of `seconds` around `rate`.
    pub fn draw(&mut self, rate: f64, seconds: u32) -> f64 {
        let Some(rng) = &mut self.rng else { return rate };
        let mean = rate * f64::from(seconds);
        if mean <= 0.0 {
            return 0.0;
        }
        if self.law.as_ref().is_none_or(|(m, _)| *m != mean) {
            self.law = Poisson::new(mean).ok().map(|law| (mean, law));
        }
        match &self.law {
            Some((_, law)) => law.sample(rng) / f64::from(seconds),
            None => rate,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn profile(rates: &[Option<f64>], step_s: u64) -> Profile {
        Profile { start: Timestamp(0), step: Duration::from_secs(step_s), rates_rps: rates.to_vec() }
    }

    #[test]
    fn constant_spread_keeps_the_rate_and_history_is_what_came_before() {
        let p = profile(&[Some(1.0), Some(2.0), Some(3.0)], 10);
        let d = Demand::new(&p, 2..3, Duration::from_secs(3600), 5, 10, Spread::Constant);
        assert_eq!(d.offered_rps, vec![3.0, 3.0]);
        assert_eq!(d.history_rps, vec![Some(1.0), Some(2.0)]);
        assert_eq!(d.start, Timestamp::from_secs(20));
    }

    #[test]
    fn poisson_counts_have_the_right_mean_and_repeat_under_a_seed() {
        let p = profile(&vec![Some(40.0); 500], 10);
        let a = Demand::new(&p, 0..500, Duration::ZERO, 1, 10, Spread::Poisson(7));
        let b = Demand::new(&p, 0..500, Duration::ZERO, 1, 10, Spread::Poisson(7));
        let c = Demand::new(&p, 0..500, Duration::ZERO, 1, 10, Spread::Poisson(8));
        assert_eq!(a.offered_rps, b.offered_rps);
        assert_ne!(a.offered_rps, c.offered_rps);
        let mean = a.offered_rps.iter().sum::<f32>() / 5000.0;
        assert!((mean - 40.0).abs() < 0.5, "{mean}");
    }

    #[test]
    fn a_missing_bin_keeps_demand_and_hides_it() {
        let p = profile(&[Some(5.0), None, Some(7.0)], 10);
        let d = Demand::new(&p, 0..3, Duration::ZERO, 5, 10, Spread::Constant);
        assert_eq!(d.offered_rps, vec![5.0, 5.0, 5.0, 5.0, 7.0, 7.0]);
        let hidden: Vec<bool> = (0..6).map(|t| d.is_unrecorded(t)).collect();
        assert_eq!(hidden, [false, false, true, true, false, false]);
    }

    #[test]
    fn wide_bins_fill_many_scrapes() {
        let p = profile(&[Some(1.0), Some(2.0)], 300);
        let d = Demand::new(&p, 1..2, Duration::from_secs(86_400), 5, 10, Spread::Constant);
        assert_eq!(d.offered_rps.len(), 60);
        assert_eq!(d.history_rps, vec![Some(1.0); 30]);
    }
}
