//! What became of every record?
//!
//! Pure accounting. Every sample on `metrics` is *owed* a forecast (the one issued at its instant), except when
//!
//! | it is | because |
//! |---|---|
//! | `before_model` | no forecast of the workload is known from before it: the model was not ready, or the log begins there |
//! | `absent` | it has no demand |
//! | `censored` | pods were at their limit, so that the demand seen tells nothing |
//! | `late` | a newer sample of the workload came before it |
//! | `expired` | the next forecast of the workload came so late that one for this sample was of no use any more |
//! | `pending` | no later forecast of the workload is known: the forecaster is not there yet, and reads on |
//!
//! What remains is **lost**: the forecaster has demonstrably gone past the sample in time and published nothing.
//! Records that can not be read are owed a dead letter that names their place.

use serde::Serialize;
use sphere_core::{Decision, Forecast, Sample, Timestamp};
use sphere_pipeline::forecast::VALID_STEPS;
use std::collections::btree_map::Entry;
use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

#[derive(Clone, Copy, Debug)]
struct Seen {
    demand: bool,
    censored: bool,
    late: bool,
}

#[derive(Clone, Copy, Debug)]
struct Issued {
    valid_until: Timestamp,
    published_at: Timestamp,
}

#[derive(Clone, Debug, Default)]
struct Log {
    samples: BTreeMap<Timestamp, Seen>,
    newest: Option<Timestamp>,
    duplicates: u64,
    forecasts: BTreeMap<Timestamp, Issued>,
    forecast_duplicates: u64,
    /// When, and whether a forecast was used.
    decisions: Vec<(Timestamp, bool)>,
}

/// What became of one workload's records.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Account {
    /// Instants with a sample.
    pub samples: u64,
    /// Samples beyond one per instant; they change nothing.
    pub sample_duplicates: u64,
    /// Steps between the first and the last sample without one.
    pub gaps: u64,
    /// Instants with a forecast.
    pub forecasts: u64,
    /// Forecasts beyond one per instant; they change nothing.
    pub forecast_duplicates: u64,
    /// Forecasts issued at an instant without a sample, though the log has older samples.
    pub forecasts_without_sample: u64,
    /// Samples that are owed no forecast, by why.
    pub unanswered: BTreeMap<&'static str, u64>,
    /// Samples that are owed a forecast and have none.
    pub lost: u64,
    /// The first of them, milliseconds since the epoch.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub lost_at: Vec<Timestamp>,
    /// Decisions.
    pub decisions: u64,
    /// Decisions that used a forecast.
    pub predictive_decisions: u64,
    /// Decisions that used a forecast though all that were known had expired.
    pub decisions_on_expired: u64,
}

impl Account {
    fn add(&mut self, other: &Account) {
        self.samples += other.samples;
        self.sample_duplicates += other.sample_duplicates;
        self.gaps += other.gaps;
        self.forecasts += other.forecasts;
        self.forecast_duplicates += other.forecast_duplicates;
        self.forecasts_without_sample += other.forecasts_without_sample;
        for (why, count) in &other.unanswered {
            *self.unanswered.entry(why).or_default() += count;
        }
        self.lost += other.lost;
        self.decisions += other.decisions;
        self.predictive_decisions += other.predictive_decisions;
        self.decisions_on_expired += other.decisions_on_expired;
    }
}

/// What became of everything.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Report {
    /// All workloads together.
    pub total: Account,
    /// Each of them.
    pub workloads: BTreeMap<String, Account>,
    /// Dead letters by topic and reason.
    pub dead_letters: BTreeMap<String, BTreeMap<String, u64>>,
    /// Records on `metrics` and `predictions` that can not be read.
    pub unreadable: u64,
    /// Those of them that have no dead letter, though newer than them others were read.
    pub unreadable_without_letter: Vec<String>,
}

impl Report {
    /// Is anything missing that was acknowledged, or used that may not be used?
    pub fn clean(&self) -> bool {
        self.total.lost == 0
            && self.total.decisions_on_expired == 0
            && self.unreadable_without_letter.is_empty()
    }
}

/// Forecasts looked at for one decision; those before them have long expired.
const RECENT: usize = 64;
/// Instants of lost samples that are named, per workload.
const NAMED: usize = 5;

/// Counts record by record, in the order of the log.
#[derive(Clone, Debug)]
pub struct Ledger {
    step: Duration,
    grace: Duration,
    logs: BTreeMap<String, Log>,
    letters: BTreeMap<String, BTreeMap<String, u64>>,
    unreadable: BTreeMap<String, Timestamp>,
    answered: BTreeSet<String>,
    newest: Timestamp,
}

impl Ledger {
    /// An empty one, for samples on a grid of `step`. What was published within `grace` of the newest record is not
    /// missed yet.
    pub fn new(step: Duration, grace: Duration) -> Self {
        Self {
            step,
            grace,
            logs: BTreeMap::new(),
            letters: BTreeMap::new(),
            unreadable: BTreeMap::new(),
            answered: BTreeSet::new(),
            newest: Timestamp::default(),
        }
    }

    fn log(&mut self, workload: &impl ToString, published_at: Timestamp) -> &mut Log {
        self.newest = self.newest.max(published_at);
        self.logs.entry(workload.to_string()).or_default()
    }

    /// A sample was read.
    pub fn sample(&mut self, sample: &Sample, published_at: Timestamp) {
        let log = self.log(&sample.workload, published_at);
        let late = log.newest.is_some_and(|newest| sample.at < newest);
        log.newest = log.newest.max(Some(sample.at));
        let seen = Seen { demand: sample.demand.is_some(), censored: sample.censored, late };
        match log.samples.entry(sample.at) {
            Entry::Occupied(_) => log.duplicates += 1,
            Entry::Vacant(free) => {
                free.insert(seen);
            }
        }
    }

    /// A forecast was read.
    pub fn forecast(&mut self, forecast: &Forecast, published_at: Timestamp) {
        let Some(workload) = &forecast.workload else { return };
        let issued = Issued { valid_until: forecast.valid_until, published_at };
        let log = self.log(workload, published_at);
        match log.forecasts.entry(forecast.issued_at) {
            Entry::Occupied(_) => log.forecast_duplicates += 1,
            Entry::Vacant(free) => {
                free.insert(issued);
            }
        }
    }

    /// A decision was read.
    pub fn decision(&mut self, decision: &Decision, published_at: Timestamp) {
        let Some(workload) = &decision.workload else { return };
        self.log(workload, published_at).decisions.push((decision.at, decision.predictive.is_some()));
    }

    /// A record that can not be read was at `place` (`topic/partition@offset`).
    pub fn unreadable(&mut self, place: String, published_at: Timestamp) {
        self.newest = self.newest.max(published_at);
        self.unreadable.insert(place, published_at);
    }

    /// A dead letter was read.
    pub fn dead_letter(&mut self, topic: &str, reason: &str, origin: &str) {
        *self.letters.entry(topic.into()).or_default().entry(reason.into()).or_default() += 1;
        self.answered.insert(origin.into());
    }

    /// What became of everything.
    pub fn report(&self) -> Report {
        let mut report = Report {
            dead_letters: self.letters.clone(),
            unreadable: self.unreadable.len() as u64,
            ..Report::default()
        };
        for (workload, log) in &self.logs {
            let account = log.account(self.step);
            report.total.add(&account);
            report.workloads.insert(workload.clone(), account);
        }
        let old = |at: Timestamp| at + self.grace < self.newest;
        let missing =
            self.unreadable.iter().filter(|(place, at)| old(**at) && !self.answered.contains(*place));
        report.unreadable_without_letter = missing.map(|(place, _)| place.clone()).collect();
        report
    }
}

impl Log {
    fn account(&self, step: Duration) -> Account {
        let step_ms = (step.as_millis() as i64).max(1);
        let (first, last) = (self.samples.keys().next(), self.samples.keys().next_back());
        let grid = first.zip(last).map_or(0, |(first, last)| (last.millis() - first.millis()) / step_ms + 1);
        let mut account = Account {
            samples: self.samples.len() as u64,
            sample_duplicates: self.duplicates,
            gaps: (grid as u64).saturating_sub(self.samples.len() as u64),
            forecasts: self.forecasts.len() as u64,
            forecast_duplicates: self.forecast_duplicates,
            decisions: self.decisions.len() as u64,
            ..Account::default()
        };
        let known = |at: &Timestamp| first.is_some_and(|first| at > first) && !self.samples.contains_key(at);
        account.forecasts_without_sample = self.forecasts.keys().filter(|at| known(at)).count() as u64;
        for (at, seen) in &self.samples {
            if self.forecasts.contains_key(at) {
                continue;
            }
            match self.excuse(*at, seen, step) {
                Some(why) => *account.unanswered.entry(why).or_default() += 1,
                None => {
                    account.lost += 1;
                    if account.lost_at.len() < NAMED {
                        account.lost_at.push(*at);
                    }
                }
            }
        }
        for (at, predictive) in &self.decisions {
            if !predictive {
                continue;
            }
            account.predictive_decisions += 1;
            // Those known then; a step for clocks that disagree.
            let known = || {
                let issued = self.forecasts.range(..=at).rev();
                issued.filter(|(_, forecast)| forecast.published_at <= *at + step).take(RECENT)
            };
            if known().next().is_some() && known().all(|(_, forecast)| forecast.valid_until < *at) {
                account.decisions_on_expired += 1;
            }
        }
        account
    }

    fn excuse(&self, at: Timestamp, seen: &Seen, step: Duration) -> Option<&'static str> {
        if !seen.demand {
            return Some("absent");
        }
        if seen.late {
            return Some("late");
        }
        if self.forecasts.range(..at).next().is_none() {
            return Some("before_model");
        }
        if seen.censored {
            return Some("censored");
        }
        let Some((_, next)) = self.forecasts.range(at..).next() else { return Some("pending") };
        (next.published_at > at + step * VALID_STEPS).then_some("expired")
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use sphere_core::{Mode, Trust};

    const STEP: Duration = Duration::from_secs(10);

    fn at(step: i64) -> Timestamp {
        Timestamp::from_secs(1_000_000 + step * 10)
    }

    fn sample(step: i64) -> Sample {
        Sample {
            workload: "a/Deployment/b".parse().unwrap(),
            at: at(step),
            demand: Some(1.0),
            capacity_per_pod: None,
            replicas: None,
            ready: None,
            censored: false,
            memory_bytes: None,
            source: "test".into(),
        }
    }

    fn forecast(step: i64) -> Forecast {
        Forecast {
            workload: Some("a/Deployment/b".parse().unwrap()),
            issued_at: at(step),
            valid_until: at(step + 6),
            step_ms: 10_000,
            steps: Vec::new(),
            model: "test".into(),
            model_version: 1,
            trust: Trust { trusted: true, ..Trust::default() },
            period: None,
        }
    }

    fn decision(step: i64) -> Decision {
        Decision {
            workload: Some("a/Deployment/b".parse().unwrap()),
            at: at(step),
            current: 1,
            reactive: Some(1),
            predictive: Some(1),
            desired: 1,
            mode: Mode::Full,
            applied: false,
            reasons: Vec::new(),
        }
    }

    /// Samples of steps 0..n, forecasts of those that `answered` says, all published at once.
    fn ledger(n: i64, answered: impl Fn(i64) -> bool) -> Ledger {
        let mut ledger = Ledger::new(STEP, Duration::from_secs(60));
        (0..n).for_each(|step| ledger.sample(&sample(step), at(step)));
        (0..n).filter(|step| answered(*step)).for_each(|step| ledger.forecast(&forecast(step), at(step)));
        ledger
    }

    #[test]
    fn a_complete_log_is_clean() {
        let report = ledger(30, |step| step >= 20).report();
        assert!(report.clean());
        assert_eq!((report.total.samples, report.total.forecasts, report.total.gaps), (30, 10, 0));
        assert_eq!(report.total.unanswered, BTreeMap::from([("before_model", 20)]));
    }

    #[test]
    fn a_sample_the_forecaster_went_past_is_lost() {
        let report = ledger(30, |step| step >= 20 && step != 25).report();
        assert!(!report.clean());
        assert_eq!((report.total.lost, &report.workloads["a/Deployment/b"].lost_at), (1, &vec![at(25)]));
    }

    #[test]
    fn what_the_forecaster_has_not_reached_is_pending_and_not_lost() {
        let report = ledger(30, |step| (20..26).contains(&step)).report();
        assert!(report.clean());
        assert_eq!(report.total.unanswered["pending"], 4);
    }

    #[test]
    fn a_forecaster_that_was_away_leaves_expired_ones() {
        let mut ledger = ledger(40, |step| step == 20);
        // Back at step 39: forecasts whose time is not over go out, all now.
        (33..40).for_each(|step| ledger.forecast(&forecast(step), at(39)));
        let report = ledger.report();
        assert!(report.clean(), "{report:?}");
        assert_eq!(report.total.unanswered["expired"], 12);
    }

    #[test]
    fn duplicates_gaps_and_late_samples_are_counted_and_nothing_else() {
        let mut ledger = ledger(30, |step| step >= 20);
        ledger.sample(&sample(29), at(30));
        ledger.forecast(&forecast(29), at(30));
        ledger.sample(&sample(35), at(35));
        ledger.forecast(&forecast(35), at(35));
        ledger.sample(&sample(33), at(36));
        let total = ledger.report().total;
        assert_eq!((total.sample_duplicates, total.forecast_duplicates, total.gaps), (1, 1, 4));
        assert_eq!((total.lost, total.unanswered["late"]), (0, 1));
    }

    #[test]
    fn a_decision_on_an_expired_forecast_is_found() {
        let mut ledger = ledger(30, |step| step >= 20);
        ledger.decision(&decision(34), at(34));
        assert!(ledger.report().clean());
        ledger.decision(&decision(36), at(36));
        let report = ledger.report();
        assert_eq!((report.total.predictive_decisions, report.total.decisions_on_expired), (2, 1));
        assert!(!report.clean());
    }

    #[test]
    fn every_unreadable_record_is_owed_a_dead_letter() {
        let mut ledger = ledger(30, |step| step >= 20);
        ledger.unreadable("metrics/3@7".into(), at(5));
        assert_eq!(ledger.report().unreadable_without_letter, ["metrics/3@7"]);
        ledger.dead_letter("metrics.dlq", "bad_json", "metrics/3@7");
        let report = ledger.report();
        assert!(report.clean());
        assert_eq!(report.dead_letters["metrics.dlq"]["bad_json"], 1);
        // One that just came may still be on its way.
        ledger.unreadable("metrics/3@8".into(), at(29));
        assert!(ledger.report().clean());
    }
}
