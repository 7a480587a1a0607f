//! What does the autoscaler know of one workload between two decisions?

use super::{AutoscaleSettings, Outcome, Seen, Told, read_forecast};
use crate::source::{Live, SourceError};
use crate::target::TargetError;
use crate::workload::Workload;
use sphere_core::{Decision, Forecast, Mode, Reason, Timestamp};
use sphere_scaling::hpa::{Reading, Scale, Selector, Snapshot};
use sphere_scaling::{Autoscaler, AutoscalerState, Observation};
use std::sync::Arc;
use std::time::Duration;

/// One workload under the autoscaler's care.
pub(super) struct Subject {
    workload: Arc<Workload>,
    autoscaler: Autoscaler,
    seen: Option<Seen>,
    live_error: Option<SourceError>,
    scale: Option<Scale>,
    size_error: Option<TargetError>,
    /// Size last known, from wherever.
    current: Option<u32>,
    forecast: Option<Forecast>,
    /// Issue time of the newest forecast a decision was made on.
    used: Option<Timestamp>,
    newly_used: Option<Timestamp>,
    lead_told: Option<Duration>,
    floor: Option<u32>,
    /// Size and reasons of the decision told last.
    told: Option<(u32, Vec<&'static str>)>,
}

impl Subject {
    pub fn new(
        workload: Arc<Workload>,
        settings: &AutoscaleSettings,
        state: Option<AutoscalerState>,
    ) -> Self {
        let spec = workload.spec.scaling();
        let autoscaler = match state {
            Some(state) => Autoscaler::with_state(spec, settings.hpa.clone(), state),
            None => Autoscaler::new(spec, settings.hpa.clone(), settings.decision_delay),
        };
        Self {
            autoscaler: autoscaler.for_workload(workload.id.clone()),
            workload,
            seen: None,
            live_error: None,
            scale: None,
            size_error: None,
            current: None,
            forecast: None,
            used: None,
            newly_used: None,
            lead_told: None,
            floor: None,
            told: None,
        }
    }

    pub fn workload(&self) -> &Workload {
        &self.workload
    }

    pub fn shared_workload(&self) -> Arc<Workload> {
        Arc::clone(&self.workload)
    }

    /// Is the HPA's minimum ours now?
    pub fn has_floor(&self) -> bool {
        self.floor.is_some()
    }

    pub fn state(&self) -> AutoscalerState {
        self.autoscaler.state()
    }

    /// Takes a new spec, if it is another one.
    pub fn respecify(&mut self, workload: &Arc<Workload>, settings: &AutoscaleSettings) {
        if self.workload.spec != workload.spec {
            let state = self.autoscaler.state();
            let spec = workload.spec.scaling();
            self.autoscaler =
                Autoscaler::with_state(spec, settings.hpa.clone(), state).for_workload(workload.id.clone());
        }
        self.workload = Arc::clone(workload);
    }

    /// Live metrics came in.
    pub fn see(&mut self, at: Timestamp, live: Live) {
        if let Some(replicas) = live.sample.replicas {
            self.current = Some(replicas);
        }
        self.seen = Some((at, live));
        self.live_error = None;
    }

    /// They did not.
    pub fn miss(&mut self, error: SourceError) {
        self.seen = None;
        self.live_error = Some(error);
    }

    /// Are there live metrics that may still be used?
    pub fn is_seen(&self, now: Timestamp, valid: Duration) -> bool {
        self.seen.as_ref().is_some_and(|(at, _)| now.since(*at) <= valid)
    }

    /// What the target says.
    pub fn size(&mut self, scale: Option<Scale>) {
        self.scale = scale;
        self.size_error = None;
        if let Some(scale) = scale {
            self.current = Some(scale.spec_replicas.max(0).unsigned_abs());
        }
    }

    /// The target could not be asked.
    pub fn size_unknown(&mut self, error: TargetError) {
        self.scale = None;
        self.size_error = Some(error);
    }

    /// Pods became ready; this is how long they took.
    pub fn started(&mut self, startups: Vec<Duration>) {
        for took in startups {
            self.autoscaler.pod_started(took);
        }
    }

    /// Takes the forecast if it is newer than the one at hand.
    pub fn take_forecast(&mut self, bytes: &[u8]) -> bool {
        let Some(forecast) = read_forecast(bytes) else { return false };
        let newer = self.forecast.as_ref().is_none_or(|known| known.issued_at < forecast.issued_at);
        // After a clock went back, the forecast in the store is the one to believe.
        if newer || self.forecast.as_ref() != Some(&forecast) {
            self.forecast = Some(forecast);
        }
        newer
    }

    /// Decides on what is known now. Metrics older than `valid` are missing.
    pub fn decide(&mut self, now: Timestamp, valid: Duration, holds: &[Reason]) -> Decision {
        let live = self.seen.as_ref().filter(|(at, _)| now.since(*at) <= valid).map(|(_, live)| live);
        let replicas = live.and_then(|live| live.sample.replicas);
        let scale = self.scale.or_else(|| {
            // A target that does not know sizes: what the metric source reports counts. One that could not be asked
            // is another matter: then nothing is known of the size, and nothing is done.
            if self.size_error.is_some() {
                return None;
            }
            let replicas = i32::try_from(replicas?).ok()?;
            Some(Scale { spec_replicas: replicas, status_replicas: replicas })
        });
        let current = scale
            .map(|scale| scale.spec_replicas.max(0).unsigned_abs())
            .or(self.current)
            .unwrap_or(self.workload.spec.min_replicas);
        let pods = live.map_or(&[][..], |live| live.pods.as_slice());
        let readings: Vec<Reading<'_>> =
            live.map(|live| live.readings.iter().map(|r| r.borrow()).collect()).unwrap_or_default();
        let serving = u32::try_from(pods.iter().filter(|pod| pod.serves()).count()).unwrap_or(u32::MAX);
        let ready = live.and_then(|live| live.sample.ready).unwrap_or(serving);
        let seen = Observation {
            now,
            current,
            ready,
            snapshot: Snapshot { scale, selector: Selector::Valid, pods, readings: &readings },
            demand: live.and_then(|live| live.sample.demand),
            capacity_per_pod: live.and_then(|live| live.sample.capacity_per_pod),
            utilization: live.and_then(|live| live.utilization),
            mean_ready: live.and_then(|live| live.mean_ready).unwrap_or(f64::from(ready)),
            censored: live.is_some_and(|live| live.sample.censored),
            violated_share: live.and_then(|live| live.violated_share),
            conflict_with: None,
            holds,
        };
        let decision = self.autoscaler.decide(&seen, self.forecast.as_ref());
        if let Some(forecast) = &self.forecast
            && decision.predictive.is_some()
            && self.used.is_none_or(|used| used < forecast.issued_at)
        {
            self.used = Some(forecast.issued_at);
            self.newly_used = self.used;
        }
        decision
    }

    /// Issue time of a forecast that the last decision was the first to use.
    pub fn newly_used(&mut self) -> Option<Timestamp> {
        self.newly_used.take()
    }

    /// What became of the decision.
    pub fn record(&mut self, now: Timestamp, decision: &Decision, to: u32) {
        self.autoscaler.record(now, decision.current, to);
        if to != decision.current {
            self.current = Some(to);
            if let Some(scale) = &mut self.scale {
                scale.spec_replicas = i32::try_from(to).unwrap_or(i32::MAX);
            }
            // The metric source's count is from before the order.
            if let Some((_, live)) = &mut self.seen {
                live.sample.replicas = Some(to);
            }
        }
    }

    /// The HPA's minimum to write now, if it is to change: a value, or `None` to give the field back. What does not stand any
    /// more, because its owner wrote the field, is set again: his value is what is given back later.
    pub fn floor_to_set(&self, decision: &Decision, stands: impl Fn(u32) -> bool) -> Option<Option<u32>> {
        // Nobody who speaks for more than the owner wrote: the field is the owner's.
        let speaks = decision.predictive.is_some()
            || decision.reasons.iter().any(|reason| matches!(reason, Reason::Fallback { .. }));
        let ours = decision.mode == Mode::Floor && speaks;
        let wanted = if ours { self.autoscaler.floor(decision) } else { None };
        let stands = wanted == self.floor && wanted.is_none_or(stands);
        (!stands).then_some(wanted)
    }

    /// It was written.
    pub fn floor_set(&mut self, floor: Option<u32>) {
        self.floor = floor;
    }

    /// All that is known after a decision.
    pub fn told<'a>(&'a self, decision: &'a Decision, outcome: &'a Outcome, to: u32) -> Told<'a> {
        let live = self.seen.as_ref().map(|(_, live)| live);
        Told {
            workload: &self.workload,
            decision,
            outcome,
            to,
            floor: self.floor,
            ready: live.and_then(|live| live.sample.ready),
            demand: live.and_then(|live| live.sample.demand),
            forecast: self.forecast.as_ref(),
            autoscaler: &self.autoscaler,
            size_error: self.size_error.as_ref(),
            live_error: self.live_error.as_ref(),
            problems: live.map(|live| &live.problems),
        }
    }

    /// The lead time, if it has changed since it was told.
    pub fn new_lead(&mut self) -> Option<Duration> {
        let lead = self.autoscaler.lead_time().lead();
        (self.lead_told != Some(lead)).then(|| {
            self.lead_told = Some(lead);
            lead
        })
    }

    /// Does the decision say something else than the one before?
    pub fn is_news(&mut self, decision: &Decision) -> bool {
        let now = (decision.desired, decision.reasons.iter().map(sphere_core::Reason::name).collect());
        let news = self.told.as_ref() != Some(&now);
        self.told = Some(now);
        news
    }
}
