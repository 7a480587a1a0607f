//! What happens before and after each fault?

use crate::accounting::Accounts;
use crate::now;
use crate::rig::{PATIENCE, Rig, STAGES, Service, WORKLOADS};
use crate::table;
use sphere_core::{Decision, Timestamp};
use sphere_testkit::wait_until;
use std::time::Duration;

/// The installation and the accounts so far.
pub struct Course {
    pub rig: Rig,
    /// From here on all workloads have forecasts.
    ready: Timestamp,
    /// Samples without a forecast so far, with the forecaster's process and its count at that time.
    expired: usize,
    forecaster: (Option<u32>, u64),
}

/// Metrics alone decided, because there was no forecast whose time is not over.
pub fn reactive(decision: &Decision) -> bool {
    let without = |name: &str| ["NoForecast", "ForecastExpired"].contains(&name);
    decision.predictive.is_none()
        && decision.reactive.is_some()
        && decision.reasons.iter().any(|reason| without(reason.name()))
}

fn predictive(decision: &Decision) -> bool {
    decision.predictive.is_some()
}

/// Waits until each workload has a decision after `since` for which `is` holds.
pub fn all_decided(rig: &Rig, since: Timestamp, how: &str, is: fn(&Decision) -> bool) {
    let decided = || rig.watcher.seen().decided_after(since, is) == WORKLOADS;
    wait_until(&format!("all workloads are decided on {how}"), PATIENCE, decided).unwrap();
}

impl Service {
    /// Models that started without their state.
    pub fn anew(&self) -> u64 {
        self.forecasts("cold") + self.forecasts("backfilled")
    }
}

impl Course {
    /// Starts everything and waits until all workloads are decided on with forecasts.
    pub fn begin() -> Self {
        table::begin();
        let mut rig = Rig::start();
        let started = now();
        let patience = PATIENCE * 2;
        let some = || rig.watcher.seen().decided_after(started, predictive) == WORKLOADS;
        let took = wait_until("all workloads are decided on with forecasts", patience, some).unwrap();
        let forecaster = (rig.stage("forecast").process.pid(), rig.stage("forecast").forecasts("expired"));
        let mut course = Self { rig, ready: now(), expired: 0, forecaster };
        let seen = "all workloads decided on with forecasts";
        course.settle("none: the start", "forecasts are used", seen, &format!("{:.1} s", took.as_secs_f64()));
        course
    }

    /// Starts a stage again; returns the instant before that.
    pub fn restart(&mut self, stage: &str) -> Timestamp {
        let back = now();
        let service = self.rig.stage(stage);
        service.process.restart().unwrap();
        service.wait_ready();
        back
    }

    /// Waits until all workloads have forecasts issued after `since`, and decisions that use them; tells how long
    /// that took.
    pub fn recovered(&self, since: Timestamp) -> String {
        let seen = || self.rig.watcher.seen();
        wait_until("forecasts of all workloads", PATIENCE, || seen().forecast_after(since) == WORKLOADS)
            .unwrap_or_else(|error| panic!("{error:#}\n{}", self.logs()));
        let forecasts = now().since(since).as_secs_f64();
        wait_until("forecasts are used", PATIENCE, || seen().decided_after(since, predictive) == WORKLOADS)
            .unwrap_or_else(|error| panic!("{error:#}\n{}", self.logs()));
        let decisions = now().since(since).as_secs_f64();
        format!("forecasts {forecasts:.1} s, decisions {decisions:.1} s")
    }

    fn logs(&self) -> String {
        let mut text = String::new();
        for (name, service) in &self.rig.services {
            let log = service.process.log();
            let lines: Vec<&str> = log.lines().filter(|line| !line.contains("autoscale: scaled")).collect();
            text += &format!("=== {name}\n{}\n", lines[lines.len().saturating_sub(40)..].join("\n"));
        }
        text
    }

    /// Everything so far.
    pub fn accounts(&self) -> Accounts {
        self.rig.watcher.seen().accounts(self.ready)
    }

    /// The accounts must be in order, and every sample without a forecast counted by the forecaster; then the line in
    /// the table.
    pub fn settle(&mut self, fault: &str, must_hold: &str, seen: &str, recovery: &str) {
        let accounts = self.settled(0);
        let expired = accounts.expired.saturating_sub(self.expired);
        self.expired = accounts.expired;
        let (counted, late) = self.counted(&["expired"]);
        assert!(expired as u64 <= counted, "{expired} samples without a forecast, {counted} counted");
        self.forecaster = late;
        let Accounts { samples, forecasts, unmeasured, .. } = accounts;
        let account = format!(
            "{seen}; {samples} samples, {forecasts} forecasts, 0 lost, {expired} too late for a forecast (counted), \
             {unmeasured} unmeasured"
        );
        table::line(fault, must_hold, &account, recovery);
    }

    /// The accounts, once the topics are read so far that they are in order: `excused` samples may lack a forecast.
    pub fn settled(&self, excused: u64) -> Accounts {
        let in_order = |a: &Accounts| a.wrong.is_empty() && a.lost.len() as u64 <= excused;
        // Topics are read side by side: what answers a record may be read after it.
        let _ =
            wait_until("the accounts are in order", Duration::from_secs(10), || in_order(&self.accounts()));
        let accounts = self.accounts();
        assert!(in_order(&accounts), "{accounts:#?}\n{}", self.logs());
        accounts
    }

    /// What the forecaster counted as one of `outcomes` since the last fault, or since it started.
    pub fn counted(&mut self, outcomes: &[&str]) -> (u64, (Option<u32>, u64)) {
        let (pid, before) = self.forecaster;
        let forecast = self.rig.stage("forecast");
        let now_pid = forecast.process.pid();
        let total = outcomes.iter().map(|outcome| forecast.forecasts(outcome)).sum::<u64>();
        let before = if pid == now_pid { before } else { 0 };
        (total - before, (now_pid, total))
    }

    /// `sphere verify` must come to the same result. The stages are stopped for it: it reads until nothing more comes.
    pub fn verify(&mut self) {
        for stage in STAGES {
            self.rig.stage(stage).process.stop();
        }
        let (clean, told) = self.rig.verify();
        let total = &told["report"]["total"];
        assert!(clean && told["clean"] == true, "{}", serde_json::to_string_pretty(&told).unwrap());
        assert_eq!((&total["lost"], &total["decisions_on_expired"]), (&0.into(), &0.into()));
        assert_eq!(told["records_not_read"], 0);
        let seen = format!(
            "{} records, {} samples, {} forecasts, {} decisions ({} with a forecast), 0 lost, 0 on expired ones",
            told["records"],
            total["samples"],
            total["forecasts"],
            total["decisions"],
            total["predictive_decisions"]
        );
        let back = now();
        for stage in STAGES {
            self.restart(stage);
        }
        let recovery = self.recovered(back);
        let fault = "all of these, and SIGTERM of all stages";
        table::line(fault, "`sphere verify` finds nothing missing", &seen, &recovery);
    }
}
