//! How does a new prediction make itself heard?
//!
//! By classic pub/sub, also in a cluster: a message published anywhere is broadcast over the cluster bus, so that a
//! listener can sit at any node and move to any other when its node dies. Sharded pub/sub would spare the bus, but
//! pin the channel to one slot: all announcements through one master, and listeners that must follow the slot
//! through fail-over and resharding. The bus is spared by batching instead: thousands of ids are one message.

use crate::batch::pause;
use crate::counters::Counters;
use crate::failure::Failure;
use crate::nodes::Nodes;
use async_trait::async_trait;
use futures_util::StreamExt;
use redis::aio::{PubSubSink, PubSubStream};
use sphere_core::WorkloadId;
use sphere_pipeline::{Announcements, StoreError};
use std::collections::HashSet;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::mpsc::{self, error::TrySendError};
use tokio::task::JoinHandle;

/// Most bytes of a message: some 800 ids, and small change for the cluster bus.
const MESSAGE_BYTES: usize = 32 << 10;

/// Messages that wait for a slow reader; what comes on top is dropped and counted.
const WAITING_MESSAGES: usize = 256;

/// How often a silent connection is asked whether it lives.
const PING_EVERY: Duration = Duration::from_secs(5);

const DOING: &str = "listening for announcements";

/// Ids as messages: one per line, repeated ones once.
pub(crate) fn messages(workloads: &[WorkloadId]) -> Vec<String> {
    let mut messages: Vec<String> = Vec::new();
    let mut seen = HashSet::with_capacity(workloads.len());
    for workload in workloads {
        if !seen.insert(workload) {
            continue;
        }
        let line = workload.to_string();
        match messages.last_mut() {
            Some(message) if message.len() + 1 + line.len() <= MESSAGE_BYTES => {
                message.push('\n');
                message.push_str(&line);
            }
            _ => messages.push(line),
        }
    }
    messages
}

/// Ids of a message; what is none is counted.
fn ids(message: &[u8], counters: &Counters) -> Vec<WorkloadId> {
    let text = String::from_utf8_lossy(message);
    let lines = text.lines().filter(|line| !line.is_empty());
    let ids: Vec<Option<WorkloadId>> = lines.map(|line| line.parse().ok()).collect();
    Counters::add(&counters.announcements_unreadable, ids.iter().filter(|id| id.is_none()).count());
    ids.into_iter().flatten().collect()
}

/// The receiving end of a subscription; the connection is kept by a task that ends with it.
pub(crate) struct Listener {
    messages: mpsc::Receiver<Vec<WorkloadId>>,
    task: JoinHandle<()>,
}

impl Drop for Listener {
    fn drop(&mut self) {
        self.task.abort();
    }
}

#[async_trait]
impl Announcements for Listener {
    async fn next(&mut self) -> Result<Vec<WorkloadId>, StoreError> {
        let Some(mut all) = self.messages.recv().await else {
            let detail = "the listening task has ended".into();
            return Err(StoreError::Unavailable { doing: DOING, detail });
        };
        while let Ok(more) = self.messages.try_recv() {
            all.extend(more);
        }
        let mut seen = HashSet::with_capacity(all.len());
        all.retain(|id| seen.insert(id.clone()));
        Ok(all)
    }
}

/// Subscribes, and returns once the server has confirmed it.
pub(crate) async fn listen(nodes: Arc<Nodes>, channel: String) -> Result<Listener, StoreError> {
    let first = subscribe(&nodes, &channel).await.map_err(|failure| failure.into_error(DOING, ""))?;
    let (sender, messages) = mpsc::channel(WAITING_MESSAGES);
    let task = tokio::spawn(async move {
        let mut subscription = Some(first);
        let mut attempt = 0;
        loop {
            if let Some((mut sink, mut stream)) = subscription.take() {
                forward(&nodes, &mut sink, &mut stream, &sender).await;
                Counters::add(&nodes.counters().listener_losses, 1);
                tracing::warn!(channel, "subscription lost; announcements may be missed until it is back");
                attempt = 0;
            }
            attempt += 1;
            tokio::time::sleep(pause(attempt)).await;
            match subscribe(&nodes, &channel).await {
                Ok(back) => {
                    tracing::info!(channel, attempt, "subscription is back");
                    subscription = Some(back);
                }
                Err(failure) => tracing::debug!(channel, attempt, ?failure, "no subscription yet"),
            }
        }
    });
    Ok(Listener { messages, task })
}

async fn subscribe(nodes: &Nodes, channel: &str) -> Result<(PubSubSink, PubSubStream), Failure> {
    let config = nodes.login().config();
    let mut failure = None;
    for address in nodes.anywhere(&[]) {
        let attempt = async {
            let client = nodes.login().client(&address)?;
            let mut connection = match client.get_async_pubsub().await {
                Ok(connection) => connection,
                Err(error) => return Err(nodes.login().refusal(&address, &error).await),
            };
            connection.subscribe(channel).await.map_err(|error| Failure::of(&error))?;
            Ok(connection.split())
        };
        let limit = config.connect_timeout() + config.response_timeout();
        let other = match tokio::time::timeout(limit, attempt).await {
            Ok(Ok(subscription)) => return Ok(subscription),
            Ok(Err(other)) => Failure::at(other, &address),
            Err(_) => {
                Failure::Lost(format!("{address}: no subscription within {:.1} s", limit.as_secs_f64()))
            }
        };
        failure = Some(Failure::join(failure, other));
    }
    Err(failure.unwrap_or_else(|| Failure::Later("no node is known".into())))
}

/// Hands messages on until the connection is lost.
async fn forward(
    nodes: &Nodes,
    sink: &mut PubSubSink,
    stream: &mut PubSubStream,
    sender: &mpsc::Sender<Vec<WorkloadId>>,
) {
    let counters = nodes.counters();
    let mut ping = tokio::time::interval_at(tokio::time::Instant::now() + PING_EVERY, PING_EVERY);
    ping.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    loop {
        tokio::select! {
            message = stream.next() => {
                let Some(message) = message else { return };
                let ids = ids(message.get_payload_bytes(), counters);
                if ids.is_empty() {
                    continue;
                }
                // Never waits: a slow reader must not make the server buffer, which would cut us off.
                if let Err(TrySendError::Full(ids)) = sender.try_send(ids) {
                    Counters::add(&counters.announcements_dropped, ids.len());
                }
            }
            _ = ping.tick() => {
                let limit = nodes.login().config().response_timeout();
                if !matches!(tokio::time::timeout(limit, sink.ping::<redis::Value>()).await, Ok(Ok(_))) {
                    return;
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn thousands_of_ids_are_a_few_messages_and_come_back_whole() {
        let workloads: Vec<WorkloadId> = (0..10_000)
            .map(|n| WorkloadId::new("shop", "Deployment", &format!("front-end-{n}")).unwrap())
            .collect();
        let mut twice = workloads.clone();
        twice.extend_from_slice(&workloads[..10]);
        let messages = messages(&twice);
        assert!(messages.len() < 15, "{}", messages.len());
        assert!(messages.iter().all(|message| message.len() <= MESSAGE_BYTES));
        let counters = Counters::default();
        let back: Vec<WorkloadId> = messages.iter().flat_map(|m| ids(m.as_bytes(), &counters)).collect();
        assert_eq!(back, workloads);
        assert_eq!(ids(b"no id\n\nshop/Deployment/a\n", &counters).len(), 1);
        assert_eq!(counters.read().announcements_unreadable, 1);
    }
}
