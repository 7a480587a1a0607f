//! How many pods are ready, and when do the ordered ones follow?
//!
//! Pods are counted from the order on, serve after their start-up time, and vanish at once when scaled in:
//! starting pods first, as a ReplicaSet does, then ready ones.

use rand::Rng;
use rand_chacha::ChaCha8Rng;
use rand_chacha::rand_core::SeedableRng;
use rand_distr::{Distribution, LogNormal};
use serde::{Deserialize, Serialize};
use std::collections::VecDeque;
use std::fmt;
use std::str::FromStr;

/// Time from create to Ready, seconds.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub enum Startup {
    /// Always the same.
    Fixed(f64),
    /// Log-normal with this mean and coefficient of variation.
    LogNormal {
        /// Mean, seconds.
        mean_s: f64,
        /// Standard deviation over mean.
        cv: f64,
    },
    /// Any time in between, equally likely.
    Uniform {
        /// Shortest, seconds.
        low_s: f64,
        /// Longest, seconds.
        high_s: f64,
    },
}

/// Why a text is no start-up time.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error(
    "start-up time {text:?}: expected a duration from 1s to 1h (30s, 2m), lognormal(MEAN,CV) such as lognormal(30s,0.5), or uniform(LOW,HIGH) such as uniform(20s,60s)"
)]
pub struct ParseStartupError {
    text: String,
}

impl Startup {
    /// Median, seconds: the lead time a policy plans with.
    pub fn median_s(&self) -> f64 {
        match *self {
            Startup::Fixed(s) => s,
            Startup::LogNormal { mean_s, cv } => mean_s / (1.0 + cv * cv).sqrt(),
            Startup::Uniform { low_s, high_s } => (low_s + high_s) / 2.0,
        }
    }

    /// A time no pod of a fixed or uniform law exceeds, and few of a log-normal one (mean + 4 deviations), seconds.
    pub fn longest_s(&self) -> f64 {
        match *self {
            Startup::Fixed(s) => s,
            Startup::LogNormal { mean_s, cv } => mean_s * (1.0 + 4.0 * cv),
            Startup::Uniform { high_s, .. } => high_s,
        }
    }
}

fn parse_seconds(text: &str) -> Option<f64> {
    let text = text.trim();
    let (number, unit) = text.split_at(text.find(|c: char| c.is_ascii_alphabetic()).unwrap_or(text.len()));
    let factor = match unit.trim() {
        "ms" => 0.001,
        "s" | "" => 1.0,
        "m" | "min" => 60.0,
        "h" => 3600.0,
        _ => return None,
    };
    let value = number.trim().parse::<f64>().ok()? * factor;
    (1.0..=3600.0).contains(&value).then_some(value)
}

impl FromStr for Startup {
    type Err = ParseStartupError;
    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let fail = || ParseStartupError { text: text.into() };
        let arguments = |name: &str| -> Option<(&str, &str)> {
            text.trim().strip_prefix(name)?.strip_prefix('(')?.strip_suffix(')')?.split_once(',')
        };
        if let Some((mean, cv)) = arguments("lognormal") {
            let mean_s = parse_seconds(mean).ok_or_else(fail)?;
            let cv: f64 = cv.trim().parse().map_err(|_| fail())?;
            return if (0.0..=3.0).contains(&cv) { Ok(Self::LogNormal { mean_s, cv }) } else { Err(fail()) };
        }
        if let Some((low, high)) = arguments("uniform") {
            let (low_s, high_s) =
                (parse_seconds(low).ok_or_else(fail)?, parse_seconds(high).ok_or_else(fail)?);
            return if low_s <= high_s { Ok(Self::Uniform { low_s, high_s }) } else { Err(fail()) };
        }
        parse_seconds(text).map(Self::Fixed).ok_or_else(fail)
    }
}

impl fmt::Display for Startup {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Startup::Fixed(s) => write!(f, "{s}s"),
            Startup::LogNormal { mean_s, cv } => write!(f, "lognormal({mean_s}s,{cv})"),
            Startup::Uniform { low_s, high_s } => write!(f, "uniform({low_s}s,{high_s}s)"),
        }
    }
}

impl TryFrom<String> for Startup {
    type Error = ParseStartupError;
    fn try_from(text: String) -> Result<Self, Self::Error> {
        text.parse()
    }
}

impl From<Startup> for String {
    fn from(s: Startup) -> String {
        s.to_string()
    }
}

/// The pods of one workload. Times are seconds since the start of the run.
#[derive(Debug)]
pub struct Cluster {
    ready: u32,
    /// (ordered at, ready at) of starting pods, by the time they become ready.
    starting: VecDeque<(f64, f64)>,
    startup: Startup,
    law: Option<LogNormal<f64>>,
    rng: ChaCha8Rng,
}

impl Cluster {
    /// `ready` pods are there from the beginning.
    pub fn new(ready: u32, startup: Startup, seed: u64) -> Self {
        let law = match startup {
            Startup::LogNormal { mean_s, cv } => {
                let variance = (1.0 + cv * cv).ln();
                LogNormal::new(mean_s.ln() - variance / 2.0, variance.sqrt()).ok()
            }
            _ => None,
        };
        Self {
            ready,
            starting: VecDeque::new(),
            startup,
            law,
            rng: ChaCha8Rng::seed_from_u64(seed ^ 0x5eed_90d5),
        }
    }

    /// Pods that serve.
    pub fn ready(&self) -> u32 {
        self.ready
    }

    /// Pods asked for: ready and starting.
    pub fn replicas(&self) -> u32 {
        self.ready + self.starting.len() as u32
    }

    /// (ordered at, ready at) of the starting pods, by the time they become ready.
    pub fn starting_s(&self) -> impl Iterator<Item = (f64, f64)> + '_ {
        self.starting.iter().copied()
    }

    /// Moves to `now`; tells `on_ready` the time from create to Ready of each pod that has become ready.
    pub fn advance(&mut self, now_s: f64, mut on_ready: impl FnMut(f64)) {
        while let Some(&(ordered, at)) = self.starting.front()
            && at <= now_s + 1e-9
        {
            self.starting.pop_front();
            self.ready += 1;
            on_ready(at - ordered);
        }
    }

    /// Orders `replicas` in all.
    pub fn scale_to(&mut self, replicas: u32, now_s: f64) {
        let mut total = self.replicas();
        while total > replicas {
            if self.starting.pop_back().is_none() {
                self.ready -= 1;
            }
            total -= 1;
        }
        while total < replicas {
            let at = now_s + self.draw();
            let position = self.starting.partition_point(|&(_, other)| other <= at);
            self.starting.insert(position, (now_s, at));
            total += 1;
        }
    }

    fn draw(&mut self) -> f64 {
        match (self.startup, &self.law) {
            (Startup::Fixed(s), _) => s,
            (Startup::Uniform { low_s, high_s }, _) => low_s + (high_s - low_s) * self.rng.random::<f64>(),
            (Startup::LogNormal { .. }, Some(law)) => law.sample(&mut self.rng),
            (Startup::LogNormal { mean_s, .. }, None) => mean_s,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pods_serve_after_their_start_up() {
        let mut c = Cluster::new(2, Startup::Fixed(30.0), 1);
        c.scale_to(5, 10.0);
        assert_eq!((c.ready(), c.replicas()), (2, 5));
        c.advance(39.0, |_| panic!("too early"));
        let mut took = Vec::new();
        c.advance(40.0, |t| took.push(t));
        assert_eq!((c.ready(), took), (5, vec![30.0; 3]));
    }

    #[test]
    fn starting_pods_go_first() {
        let mut c = Cluster::new(4, Startup::Fixed(30.0), 1);
        c.scale_to(6, 0.0);
        c.scale_to(5, 1.0);
        assert_eq!((c.ready(), c.replicas()), (4, 5));
        c.scale_to(2, 2.0);
        assert_eq!((c.ready(), c.replicas()), (2, 2));
    }

    #[test]
    fn start_up_laws_have_the_stated_mean() {
        for law in ["lognormal(30s,0.5)", "uniform(20s,40s)", "30s"] {
            let mut c = Cluster::new(0, law.parse().unwrap(), 3);
            let mean = (0..4000).map(|_| c.draw()).sum::<f64>() / 4000.0;
            assert!((mean - 30.0).abs() < 1.0, "{law}: {mean}");
        }
    }

    #[test]
    fn texts_round_trip_and_nonsense_is_refused() {
        for text in ["30s", "lognormal(30s,0.5)", "uniform(20s,60s)"] {
            assert_eq!(text.parse::<Startup>().unwrap().to_string(), text);
        }
        assert_eq!("2m".parse::<Startup>().unwrap(), Startup::Fixed(120.0));
        for bad in ["", "fast", "-3s", "0s", "uniform(60s,20s)", "lognormal(30s)", "99h", "NaN", "infs"] {
            assert!(bad.parse::<Startup>().is_err(), "{bad}");
        }
    }
}
