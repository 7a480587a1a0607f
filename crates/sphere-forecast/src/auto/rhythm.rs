//! Does demand repeat, and after how long?
//!
//! Means over blocks of 4, 16, 64, … steps are kept, the last [`RING`] of each width, up to blocks in which two weeks fit.
//! Whenever a third of a ring is new, its autocorrelation is computed (trend removed, bursts cut), and the first high peak
//! after a trough is a candidate: without the trough every slowly wandering series would seem periodic. It
//! has to be confirmed by the spectrum, as the share of the variance at that frequency and its harmonics, and by the next
//! look at the ring (Vlachos, Yu & Castelli, *On periodicity detection and structural similarity*, SIAM SDM 2005, who
//! go from the spectrum to the autocorrelation). "Not predictable" is the verdict where nothing holds. The widths together
//! cover every period from minutes to a week, at a few hundred multiplications per step.

use super::packed::Shorts;
use super::profiles::{DAY_MS, HOUR_MS, WEEK_MS};
use serde::{Deserialize, Serialize};
use sphere_core::Period;

/// Blocks kept of each width.
const RING: usize = 96;
/// A width is four times the one before; the narrowest is one step, or four where steps are short.
const FACTOR: u32 = 4;
/// Shortest period, blocks.
const LEAST_LAG: usize = 4;
/// New blocks after which a ring is looked at again.
const LOOK_EVERY: u32 = 32;
/// The same while the ring fills.
const EARLY_LOOK_EVERY: u32 = 16;
/// Blocks before the first look.
const FIRST_LOOK: usize = 32;
/// Autocorrelation a period must have when the ring is full, and how much more when it is nearly empty.
const STRONG: f64 = 0.35;
const STRONGER: f64 = 0.4;
/// Mean absolute deviation below which there is nothing but rounding, in units of the ring.
const ROUNDING: f64 = 2.0;
/// How far the trough before it must lie below.
const TROUGH: f64 = 0.3;
/// Share of the variance the frequency and its harmonics must have; four of them have 8 % of white noise.
const SPECTRAL: f64 = 0.25;
/// Autocorrelation below which a period is no longer there.
const WEAK: f64 = 0.2;
/// Two estimates of the same period, relative.
const SAME: f64 = 0.04;

#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
struct Candidate {
    /// Blocks.
    lag: f32,
    strength: f32,
    /// Looks that agreed; from two on it counts.
    looks: u8,
}

impl Candidate {
    fn new(lag: f64, strength: f64, looks: u8) -> Self {
        Self { lag: lag as f32, strength: strength as f32, looks }
    }
}

#[derive(Clone, Debug, Serialize, Deserialize)]
struct Scale {
    /// Steps per block.
    block: u32,
    sum: f64,
    count: u32,
    /// Blocks written in all.
    written: u32,
    fresh: u32,
    /// Values are `origin + unit * short`.
    origin: f64,
    unit: f64,
    ring: Shorts,
    candidate: Option<Candidate>,
    /// Autocorrelation at a day.
    day: Option<f32>,
}

impl Scale {
    fn new(block: u32) -> Self {
        Self {
            block,
            sum: 0.0,
            count: 0,
            written: 0,
            fresh: 0,
            origin: 0.0,
            unit: 0.0,
            ring: Shorts::filled(RING, 0),
            candidate: None,
            day: None,
        }
    }

    /// Whether it is time to look.
    fn observe(&mut self, value: f64) -> bool {
        self.sum += value;
        self.count += 1;
        if self.count < self.block {
            return false;
        }
        let mean = self.sum / f64::from(self.count);
        (self.sum, self.count) = (0.0, 0);
        if self.written == 0 {
            (self.origin, self.unit) = (mean, mean.abs() / 8192.0 + 1e-30);
        }
        let mut short = (mean - self.origin) / self.unit;
        while short.abs() > f64::from(i16::MAX) {
            self.ring.iter_mut().for_each(|s| *s /= 4);
            self.unit *= 4.0;
            short /= 4.0;
        }
        let at = self.written as usize % RING;
        self.ring[at] = short.round() as i16;
        self.written = self.written.checked_add(1).unwrap_or(RING as u32);
        self.fresh += 1;
        let known = self.known();
        let every = if known < RING { EARLY_LOOK_EVERY } else { LOOK_EVERY };
        self.fresh >= every && known >= FIRST_LOOK
    }

    fn known(&self) -> usize {
        (self.written as usize).min(RING)
    }

    /// The blocks in order, without trend and bursts.
    fn blocks(&self, out: &mut [f64; RING]) -> usize {
        let n = self.known();
        let first = self.written as usize % RING;
        for (i, slot) in out[..n].iter_mut().enumerate() {
            let at = if n < RING { i } else { (first + i) % RING };
            *slot = f64::from(self.ring[at]);
        }
        let x = &mut out[..n];
        let middle = (n as f64 - 1.0) / 2.0;
        let remove_trend = |x: &mut [f64]| {
            let mean = x.iter().sum::<f64>() / n as f64;
            let (mut xy, mut xx) = (0.0, 0.0);
            for (i, v) in x.iter().enumerate() {
                let d = i as f64 - middle;
                xy += d * (v - mean);
                xx += d * d;
            }
            for (i, v) in x.iter_mut().enumerate() {
                *v -= mean + xy / xx * (i as f64 - middle);
            }
        };
        remove_trend(x);
        let cap = 4.0 * x.iter().map(|v| v.abs()).sum::<f64>() / n as f64;
        x.iter_mut().for_each(|v| *v = v.clamp(-cap, cap));
        remove_trend(x);
        n
    }

    fn look(&mut self, step_ms: i64) {
        self.fresh = 0;
        let mut buffer = [0.0; RING];
        let n = self.blocks(&mut buffer);
        let x = &buffer[..n];
        let size = x.iter().map(|v| v.abs()).sum::<f64>() / n as f64;
        let longest = n / 3;
        let mut r = [0.0f64; RING / 3 + 1];
        for (lag, r) in r.iter_mut().enumerate().take(longest + 1).skip(1) {
            *r = autocorrelation(x, lag);
        }
        let width_ms = f64::from(self.block) * step_ms as f64;
        let day = DAY_MS as f64 / width_ms;
        if day >= LEAST_LAG as f64 && day <= longest as f64 {
            self.day = Some(between(&r, day) as f32);
        }
        let strong = STRONG + STRONGER * (1.0 - n as f64 / RING as f64);
        let new = peak(&r[..=longest], strong)
            .filter(|&(lag, _)| size >= ROUNDING && spectral_share(x, lag) >= SPECTRAL);
        self.candidate = match (self.candidate, new) {
            (Some(old), Some((lag, strength))) if (lag / f64::from(old.lag) - 1.0).abs() < SAME => {
                let lag = 0.5 * (f64::from(old.lag) + lag);
                Some(Candidate::new(lag, strength, (old.looks + 1).min(3)))
            }
            (Some(old), _) if old.looks > 1 && old.lag <= longest as f32 => {
                // A burst may hide a period for a while; one that is gone is dropped.
                let lag = f64::from(old.lag);
                let strength = between(&r, lag);
                Some(Candidate::new(lag, strength, old.looks - u8::from(strength < WEAK)))
            }
            (_, Some((lag, strength))) => Some(Candidate::new(lag, strength, 1)),
            (_, None) => None,
        };
    }
}

fn autocorrelation(x: &[f64], lag: usize) -> f64 {
    let (a, b) = (&x[lag..], &x[..x.len() - lag]);
    let (mut ab, mut aa, mut bb) = (0.0, 0.0, 0.0);
    for (a, b) in a.iter().zip(b) {
        ab += a * b;
        aa += a * a;
        bb += b * b;
    }
    let size = (aa * bb).sqrt();
    if size > 0.0 { ab / size } else { 0.0 }
}

/// Value of `r` between two lags.
fn between(r: &[f64], lag: f64) -> f64 {
    let low = (lag as usize).min(r.len() - 2);
    let share = (lag - low as f64).clamp(0.0, 1.0);
    r[low] + share * (r[low + 1] - r[low])
}

/// The first high peak after a trough, its place refined by its multiples.
fn peak(r: &[f64], strong: f64) -> Option<(f64, f64)> {
    let longest = r.len() - 1;
    let (mut trough, mut best) = (1.0f64, None::<(usize, f64)>);
    for lag in 2..longest {
        trough = trough.min(r[lag]);
        let top = r[lag] >= r[lag - 1] && r[lag] >= r[lag + 1];
        if lag >= LEAST_LAG
            && top
            && r[lag] >= strong
            && r[lag] - trough >= TROUGH
            && best.is_none_or(|(_, height)| r[lag] > 1.15 * height)
        {
            best = Some((lag, r[lag]));
        }
    }
    let (lag, height) = best?;
    // The top of a parabola through the three values around a lag.
    let top = |lag: usize| {
        let (a, b, c) = (r[lag - 1], r[lag], r[lag + 1]);
        let bend = a - 2.0 * b + c;
        lag as f64 + if bend < 0.0 { (0.5 * (a - c) / bend).clamp(-0.5, 0.5) } else { 0.0 }
    };
    let mut period = top(lag);
    for multiple in 2..=longest / lag {
        let near = (period * multiple as f64).round() as usize;
        let around = near.saturating_sub(1).max(1)..(near + 2).min(longest);
        let Some(at) = around.max_by(|a, b| r[*a].total_cmp(&r[*b])) else { break };
        if r[at] < 0.5 * height || r[at] < r[at - 1] || r[at] < r[at + 1] {
            break;
        }
        period = top(at) / multiple as f64;
    }
    Some((period, height))
}

/// Share of the variance at the frequency of `lag` and its next three harmonics.
fn spectral_share(x: &[f64], lag: f64) -> f64 {
    let all: f64 = x.iter().map(|v| v * v).sum();
    if all <= 0.0 {
        return 0.0;
    }
    let power: f64 = (1..=4)
        .take_while(|h| f64::from(*h) < lag / 2.0)
        .map(|h| {
            let (sin, cos) = (std::f64::consts::TAU * f64::from(h) / lag).sin_cos();
            let (mut s, mut c, mut re, mut im) = (0.0, 1.0, 0.0, 0.0);
            for v in x {
                re += v * c;
                im += v * s;
                (s, c) = (s * cos + c * sin, c * cos - s * sin);
            }
            re * re + im * im
        })
        .sum();
    2.0 * power / (x.len() as f64 * all)
}

/// See the module text.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(super) struct Rhythm {
    step_ms: i64,
    scales: Vec<Scale>,
}

fn blocks(step_ms: i64) -> impl Iterator<Item = u32> {
    // Periods from three minutes on are looked for, and not below four steps.
    let mut block = Some(if step_ms < 30_000 { FACTOR } else { 1 });
    std::iter::from_fn(move || {
        let now = block?;
        let span = i64::from(now).saturating_mul(step_ms).saturating_mul(RING as i64 / 3);
        block = (span < WEEK_MS).then(|| now.checked_mul(FACTOR)).flatten();
        Some(now)
    })
}

impl Rhythm {
    pub(super) fn new(step_ms: i64) -> Self {
        Self { step_ms, scales: blocks(step_ms).map(Scale::new).collect() }
    }

    pub(super) fn fits(&self, step_ms: i64) -> bool {
        self.step_ms == step_ms
            && self.scales.len() == blocks(step_ms).count()
            && self.scales.iter().zip(blocks(step_ms)).all(|(s, b)| s.block == b && s.ring.len() == RING)
    }

    pub(super) fn heap_bytes(&self) -> usize {
        self.scales.capacity() * size_of::<Scale>()
            + self.scales.iter().map(|s| s.ring.heap_bytes()).sum::<usize>()
    }

    /// Time was lost: the blocks no longer follow each other. What was found stays until it is looked for again.
    pub(super) fn restart(&mut self) {
        for scale in &mut self.scales {
            (scale.sum, scale.count, scale.written, scale.fresh) = (0.0, 0, 0, 0);
        }
    }

    /// Takes the next step's value; true when the verdict may have changed.
    pub(super) fn observe(&mut self, value: f64) -> bool {
        let mut looked = false;
        for scale in &mut self.scales {
            if scale.observe(value) {
                scale.look(self.step_ms);
                looked = true;
            }
        }
        looked
    }

    /// Autocorrelation at a distance of one day, once two were seen.
    pub(super) fn day(&self) -> Option<f64> {
        self.scales.iter().rev().find_map(|s| s.day).map(f64::from)
    }

    /// The period that explains most.
    pub(super) fn period(&self) -> Period {
        let found = || {
            let counts = |s: &Scale| s.candidate.filter(|c| c.looks > 1);
            self.scales.iter().filter_map(move |s| counts(s).map(|c| (s, c)))
        };
        let strongest = found().map(|(_, c)| c.strength).fold(0.0, f32::max);
        // A period shorter than a block shows there too, as a multiple of itself: the narrowest blocks know best.
        let found = found().find(|(_, c)| c.strength >= 0.6 * strongest);
        match found {
            Some((scale, c)) => {
                let ms = f64::from(c.lag) * f64::from(scale.block) * self.step_ms as f64;
                Period::Found { ms: on_the_clock(ms), strength: f64::from(c.strength).clamp(0.0, 1.0) }
            }
            None if self.scales.iter().any(|s| s.known() >= FIRST_LOOK) => Period::NotPredictable,
            None => Period::TooYoung,
        }
    }
}

/// Schedules follow the clock: what is nearly a whole part of an hour, a day or a week is taken for it.
fn on_the_clock(ms: f64) -> i64 {
    for whole in [HOUR_MS, DAY_MS, WEEK_MS] {
        let whole = whole as f64;
        for parts in [1.0, 2.0, 3.0, 4.0, 6.0, 12.0] {
            let part = whole / parts;
            if (ms / part - 1.0).abs() < 0.02 {
                return part.round() as i64;
            }
        }
    }
    ms.round() as i64
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::series::noise;

    /// The verdict after `steps` steps of 10 s.
    fn verdict(steps: i64, demand: impl FnMut(i64) -> f64) -> Period {
        let mut rhythm = Rhythm::new(10_000);
        (0..steps).map(demand).for_each(|v| {
            rhythm.observe(v);
        });
        rhythm.period()
    }

    #[test]
    fn periods_from_minutes_to_a_day_are_found_in_noise_of_their_size() {
        for (period, steps) in
            [(36.0, 1500), (77.0, 3000), (360.0, 12_000), (1900.0, 30_000), (8640.0, 90_000)]
        {
            let wave =
                |t: i64| 100.0 + 20.0 * (std::f64::consts::TAU * t as f64 / period).sin() + 40.0 * noise(t);
            let Period::Found { ms, strength } = verdict(steps, wave) else { panic!("{period}: not found") };
            assert!((ms as f64 / (10_000.0 * period) - 1.0).abs() < 0.04, "{period}: {ms}");
            assert!((0.3..=1.0).contains(&strength), "{period}: {strength}");
        }
    }

    #[test]
    fn what_does_not_repeat_is_not_predictable() {
        assert_eq!(verdict(100, |t| t as f64), Period::TooYoung, "25 blocks of four steps");
        assert_eq!(verdict(20_000, |_| 5.0), Period::NotPredictable);
        assert_eq!(verdict(20_000, |t| t as f64), Period::NotPredictable);
        let mut found = 0;
        for seed in 0..20 {
            let mut walk = 0.0;
            let wandering = |t: i64| {
                walk += noise(1_000_003 * seed + t);
                1000.0 + walk
            };
            found += i32::from(matches!(verdict(5000, wandering), Period::Found { .. }));
            let white = verdict(5000, |t| noise(7_000_003 * (seed + 1) + t));
            assert_eq!(white, Period::NotPredictable, "{seed}");
        }
        assert!(found <= 3, "{found} of 20 wandering series seemed periodic");
    }
}
