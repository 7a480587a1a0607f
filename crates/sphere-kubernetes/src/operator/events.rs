//! What do people see under "Events" when they describe an object?
//!
//! Few things, each once: a change of size, a change of a condition, a refusal. What repeats within a few minutes is
//! counted in a series of one event (events.k8s.io/v1), and written again only so often; all objects together are
//! bounded, too. An event is a courtesy: what can not be written is dropped and counted.

use super::counters::Counters;
use super::roster::ObjectKey;
use crate::api;
use k8s_openapi::api::core::v1::ObjectReference;
use kube::Client;
use kube::runtime::events::{Event, EventType, Recorder, Reporter};
use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::mpsc;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;
use tracing::debug;

/// Events that may wait.
const QUEUE: usize = 512;
/// From one write of the same event to the next.
const AGAIN: Duration = Duration::from_secs(120);
/// Events per second, all objects together, and how many at once after quiet.
const PER_SECOND: f64 = 5.0;
const BURST: f64 = 50.0;
/// Longest time for one write.
const PATIENCE: Duration = Duration::from_secs(5);
/// Longest text; the API server takes 1 kB.
const LONGEST: usize = 900;

/// Something to tell.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Notice {
    /// The object.
    pub key: ObjectKey,
    /// Its identity.
    pub uid: String,
    /// Should somebody look?
    pub warning: bool,
    /// One of a closed set.
    pub reason: &'static str,
    /// What was done or tried, one of a closed set.
    pub action: &'static str,
    /// In words.
    pub note: String,
}

/// Where notices go. Cheap to clone.
#[derive(Clone)]
pub struct Notices {
    queue: mpsc::Sender<Notice>,
    counters: Arc<Counters>,
}

impl Notices {
    /// A queue, and what [`publish`] reads.
    pub fn new(counters: Arc<Counters>) -> (Self, mpsc::Receiver<Notice>) {
        let (queue, inbox) = mpsc::channel(QUEUE);
        (Self { queue, counters }, inbox)
    }

    /// Tells; never waits.
    pub fn tell(&self, notice: Notice) {
        if self.queue.try_send(notice).is_err() {
            self.counters.event("dropped");
        }
    }
}

/// May this be written now?
#[derive(Debug)]
pub struct Limiter {
    written: HashMap<(String, &'static str, &'static str), Instant>,
    tokens: f64,
    filled: Instant,
}

impl Limiter {
    /// All may.
    pub fn new(now: Instant) -> Self {
        Self { written: HashMap::new(), tokens: BURST, filled: now }
    }

    /// Asks for one, and takes it if it may.
    pub fn allows(&mut self, notice: &Notice, now: Instant) -> bool {
        self.tokens = (self.tokens + now.duration_since(self.filled).as_secs_f64() * PER_SECOND).min(BURST);
        self.filled = now;
        self.written.retain(|_, at| now.duration_since(*at) < AGAIN);
        // Every change of size is worth a line; what only repeats a state is not.
        let key = (notice.uid.clone(), notice.reason, notice.action);
        let repeats = notice.action != "Scale" && self.written.contains_key(&key);
        if repeats || self.tokens < 1.0 {
            return false;
        }
        self.tokens -= 1.0;
        self.written.insert(key, now);
        true
    }
}

/// Writes notices until `stop` and the queue is empty.
pub async fn publish(
    client: Client,
    instance: String,
    mut inbox: mpsc::Receiver<Notice>,
    counters: Arc<Counters>,
    stop: CancellationToken,
) {
    let reporter = Reporter { controller: "sphere-operator".into(), instance: Some(instance) };
    let series = Recorder::new(client.clone(), reporter.clone());
    let mut limiter = Limiter::new(Instant::now());
    loop {
        let notice = tokio::select! {
            biased;
            notice = inbox.recv() => notice,
            () = stop.cancelled() => None,
        };
        let Some(notice) = notice else { return };
        if !limiter.allows(&notice, Instant::now()) {
            counters.event("not_repeated");
            continue;
        }
        let regarding = ObjectReference {
            api_version: Some(api::API_VERSION.into()),
            kind: Some(api::KIND.into()),
            namespace: Some(notice.key.namespace.clone()),
            name: Some(notice.key.name.clone()),
            uid: Some(notice.uid.clone()),
            ..ObjectReference::default()
        };
        let event = Event {
            type_: if notice.warning { EventType::Warning } else { EventType::Normal },
            reason: notice.reason.into(),
            note: Some(notice.note.chars().take(LONGEST).collect()),
            action: notice.action.into(),
            secondary: None,
        };
        // A series keeps the text of its first event; each change of size has one of its own.
        let single;
        let recorder = if notice.action == "Scale" {
            single = Recorder::new(client.clone(), reporter.clone());
            &single
        } else {
            &series
        };
        match tokio::time::timeout(PATIENCE, recorder.publish(&event, &regarding)).await {
            Ok(Ok(())) => counters.event("written"),
            Ok(Err(error)) => {
                debug!(object = %notice.key, %error, "an event could not be written");
                counters.event("failed");
            }
            Err(_) => counters.event("failed"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn notice(uid: &str, reason: &'static str, action: &'static str) -> Notice {
        let key = ObjectKey { namespace: "shop".into(), name: "web".into() };
        Notice { key, uid: uid.into(), warning: false, reason, action, note: String::new() }
    }

    #[tokio::test(start_paused = true)]
    async fn the_same_is_written_once_and_again_only_later() {
        let mut limiter = Limiter::new(Instant::now());
        assert!(limiter.allows(&notice("a", "Conflict", "Decide"), Instant::now()));
        assert!(!limiter.allows(&notice("a", "Conflict", "Decide"), Instant::now()));
        assert!(limiter.allows(&notice("b", "Conflict", "Decide"), Instant::now()));
        assert!(limiter.allows(&notice("a", "Forbidden", "Decide"), Instant::now()));
        tokio::time::advance(AGAIN).await;
        assert!(limiter.allows(&notice("a", "Conflict", "Decide"), Instant::now()));
    }

    #[tokio::test(start_paused = true)]
    async fn all_together_are_bounded() {
        let mut limiter = Limiter::new(Instant::now());
        let mut written = 0;
        for second in 0..100 {
            for n in 0..50 {
                written += u32::from(
                    limiter.allows(&notice(&format!("{second}-{n}"), "Rescaled", "Scale"), Instant::now()),
                );
            }
            tokio::time::advance(Duration::from_secs(1)).await;
        }
        assert_eq!(written, BURST as u32 + 99 * PER_SECOND as u32);
    }
}
