//! Which contestant does a name stand for?

use super::{Classic, ForecastModel, HpaPolicy, HpaSignal, Oracle, Policy, Scheduled, SpherePolicy, Static};
use crate::demand::{Demand, replicas_for};
use crate::run::Settings;
use serde::{Deserialize, Serialize};
use sphere_scaling::Objective;
use std::fmt;
use std::str::FromStr;

/// A contestant, as named on the command line and in results.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub enum Contestant {
    /// As many pods as the peak needs, always (known in hindsight).
    StaticPeak,
    /// As many pods as the mean needs, always (known in hindsight).
    StaticMean,
    /// HPA on CPU, target in percent of the request.
    Hpa(u32),
    /// HPA on requests/s, target in percent of a pod's capacity.
    HpaRps(u32),
    /// A plan per hour of the day, and an HPA.
    Cron,
    /// Same time last week, and an HPA.
    LastWeek,
    /// The founding system.
    Classic,
    /// SPHERE at its default price.
    Sphere,
    /// SPHERE at its default price, with the forecaster `auto`.
    SphereAuto,
    /// SPHERE at this price ratio.
    SpherePrice(f64),
    /// SPHERE with an allowed share of time over capacity, in percent.
    SphereSlo(f64),
    /// Perfect foresight.
    Oracle,
}

/// What names are accepted.
pub const ACCEPTED: &str = "static-peak, static-mean, hpa-60 (any target 1..=200 %), hpa-rps-80 (likewise), cron, \
    last-week, classic, sphere, sphere-auto (with the forecaster `auto`), sphere-p20 (any price ratio 0.1..=10000), sphere-slo1 (any share 0.01..=20 % of time), oracle";

/// A name that stands for no contestant.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("unknown policy {name:?}; accepted are {ACCEPTED}")]
pub struct UnknownContestant {
    name: String,
}

impl Contestant {
    /// The contestants of a comparison when none are named.
    pub const DEFAULTS: [Contestant; 9] = [
        Contestant::StaticPeak,
        Contestant::StaticMean,
        Contestant::Hpa(60),
        Contestant::HpaRps(80),
        Contestant::Cron,
        Contestant::LastWeek,
        Contestant::Classic,
        Contestant::Sphere,
        Contestant::Oracle,
    ];

    /// The policy, ready to run on `demand`.
    pub fn policy(self, demand: &Demand, settings: &Settings) -> Box<dyn Policy> {
        let sphere = |objective| Box::new(SpherePolicy::new(objective, settings));
        match self {
            Contestant::StaticPeak => {
                let peak = demand.needed_replicas(settings.capacity_rps).max().unwrap_or(1);
                Box::new(Static(peak))
            }
            Contestant::StaticMean => {
                let n = demand.offered_rps.len().max(1) as f64;
                let mean = demand.offered_rps.iter().copied().map(f64::from).sum::<f64>() / n;
                Box::new(Static(replicas_for(mean, settings.capacity_rps)))
            }
            Contestant::Hpa(target) => Box::new(HpaPolicy::new(HpaSignal::CpuPct(target), settings)),
            Contestant::HpaRps(target) => Box::new(HpaPolicy::new(HpaSignal::RequestsPct(target), settings)),
            Contestant::Cron => Box::new(Scheduled::cron(settings)),
            Contestant::LastWeek => Box::new(Scheduled::last_week(settings)),
            Contestant::Classic => Box::new(Classic::new(settings)),
            Contestant::Sphere => sphere(Objective::default()),
            Contestant::SphereAuto => {
                let settings = Settings { model: ForecastModel::Auto, ..settings.clone() };
                Box::new(SpherePolicy::new(Objective::default(), &settings))
            }
            Contestant::SpherePrice(ratio) => sphere(Objective::PriceRatio(ratio)),
            Contestant::SphereSlo(percent) => sphere(Objective::Slo(percent / 100.0)),
            Contestant::Oracle => {
                Box::new(Oracle::new(demand, settings.capacity_rps, settings.startup.longest_s()))
            }
        }
    }

    /// Contestants that differ in one setting only form a family: one curve, one colour.
    pub fn family(self) -> &'static str {
        match self {
            Contestant::StaticPeak | Contestant::StaticMean => "static",
            Contestant::Hpa(_) => "hpa",
            Contestant::HpaRps(_) => "hpa-rps",
            Contestant::Cron => "cron",
            Contestant::LastWeek => "last-week",
            Contestant::Classic => "classic",
            Contestant::Sphere | Contestant::SpherePrice(_) => "sphere",
            Contestant::SphereSlo(_) => "sphere-slo",
            Contestant::SphereAuto => "sphere-auto",
            Contestant::Oracle => "oracle",
        }
    }

    /// The setting within the family, for a label.
    pub fn setting(self) -> String {
        match self {
            Contestant::Hpa(t) | Contestant::HpaRps(t) => format!("{t} %"),
            Contestant::Sphere => "price 20 (default)".into(),
            Contestant::SphereAuto => "price 20".into(),
            Contestant::SpherePrice(p) => format!("price {p}"),
            Contestant::SphereSlo(s) => format!("SLO {s} %"),
            other => other.to_string(),
        }
    }
}

impl fmt::Display for Contestant {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Contestant::StaticPeak => f.write_str("static-peak"),
            Contestant::StaticMean => f.write_str("static-mean"),
            Contestant::Hpa(t) => write!(f, "hpa-{t}"),
            Contestant::HpaRps(t) => write!(f, "hpa-rps-{t}"),
            Contestant::Cron => f.write_str("cron"),
            Contestant::LastWeek => f.write_str("last-week"),
            Contestant::Classic => f.write_str("classic"),
            Contestant::Sphere => f.write_str("sphere"),
            Contestant::SphereAuto => f.write_str("sphere-auto"),
            Contestant::SpherePrice(p) => write!(f, "sphere-p{p}"),
            Contestant::SphereSlo(s) => write!(f, "sphere-slo{s}"),
            Contestant::Oracle => f.write_str("oracle"),
        }
    }
}

impl FromStr for Contestant {
    type Err = UnknownContestant;
    fn from_str(name: &str) -> Result<Self, Self::Err> {
        let unknown = || UnknownContestant { name: name.into() };
        let target = |text: &str| -> Result<u32, UnknownContestant> {
            text.parse().ok().filter(|t| (1..=200).contains(t)).ok_or_else(unknown)
        };
        let number = |text: &str, range: std::ops::RangeInclusive<f64>| -> Result<f64, UnknownContestant> {
            text.parse().ok().filter(|x| range.contains(x)).ok_or_else(unknown)
        };
        Ok(match name {
            "static-peak" => Contestant::StaticPeak,
            "static-mean" => Contestant::StaticMean,
            "cron" => Contestant::Cron,
            "last-week" => Contestant::LastWeek,
            "classic" => Contestant::Classic,
            "sphere" => Contestant::Sphere,
            "sphere-auto" => Contestant::SphereAuto,
            "oracle" => Contestant::Oracle,
            _ => {
                if let Some(t) = name.strip_prefix("hpa-rps-") {
                    Contestant::HpaRps(target(t)?)
                } else if let Some(t) = name.strip_prefix("hpa-") {
                    Contestant::Hpa(target(t)?)
                } else if let Some(s) = name.strip_prefix("sphere-slo") {
                    Contestant::SphereSlo(number(s, 0.01..=20.0)?)
                } else if let Some(p) = name.strip_prefix("sphere-p") {
                    Contestant::SpherePrice(number(p, 0.1..=10_000.0)?)
                } else {
                    return Err(unknown());
                }
            }
        })
    }
}

impl TryFrom<String> for Contestant {
    type Error = UnknownContestant;
    fn try_from(name: String) -> Result<Self, Self::Error> {
        name.parse()
    }
}

impl From<Contestant> for String {
    fn from(c: Contestant) -> String {
        c.to_string()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_round_trip() {
        for name in [
            "static-peak",
            "static-mean",
            "hpa-60",
            "hpa-rps-80",
            "cron",
            "last-week",
            "classic",
            "sphere",
            "sphere-auto",
            "sphere-p20",
            "sphere-p2.5",
            "sphere-slo1",
            "sphere-slo0.5",
            "oracle",
        ] {
            assert_eq!(name.parse::<Contestant>().unwrap().to_string(), name);
        }
    }

    #[test]
    fn unknown_names_are_told_what_is_accepted() {
        for name in
            ["", "hpa", "hpa-0", "hpa-x", "hpa-rps-", "sphere-p", "sphere-slo99", "spere", "sphere-pNaN"]
        {
            let error = name.parse::<Contestant>().unwrap_err().to_string();
            assert!(error.contains("accepted are static-peak"), "{error}");
        }
    }
}
