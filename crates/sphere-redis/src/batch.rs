//! How do ten thousand commands reach their nodes in a few round trips, and what happens to those that fail?
//!
//! Commands are grouped by the node that owns their key, each group is cut into pipelines of bounded size, and the
//! groups are sent at the same time. Each command has an answer of its own: what failed for a passing reason is
//! grouped anew and sent again, what was acknowledged is not. The client library has a cluster connection, too;
//! its pipelines hold one slot (so ten thousand workloads would be thousands of pipelines), are repeated whole
//! when one command is redirected, and announce only their first command to a node that imports a slot.

use crate::address::Address;
use crate::counters::Counters;
use crate::failure::Failure;
use crate::nodes::Nodes;
use futures_util::future::join_all;
use futures_util::stream::{self, StreamExt};
use rand::Rng;
use redis::{Cmd, Pipeline, Value};
use sphere_pipeline::StoreError;
use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

/// Most commands in a pipeline: enough to make the round trip cheap, few enough that others get their turn.
const CHUNK_COMMANDS: usize = 1000;

/// Most bytes in a pipeline: well below a second on a 100 Mbit/s line, so that the response time-out means a fault.
const CHUNK_BYTES: usize = 4 << 20;

/// Pipelines of one operation on their way to one node: the next is encoded while the first travels.
const CHUNKS_AHEAD: usize = 2;

/// First pause between attempts; doubles each time, half of it random.
const FIRST_PAUSE: Duration = Duration::from_millis(50);

/// Longest pause between attempts.
const LONGEST_PAUSE: Duration = Duration::from_secs(1);

/// Pause before attempt number `attempt` (1 is the first repetition), with jitter.
pub(crate) fn pause(attempt: u32) -> Duration {
    let full = FIRST_PAUSE.saturating_mul(1 << attempt.saturating_sub(1).min(16)).min(LONGEST_PAUSE);
    full.mul_f64(rand::rng().random_range(0.5..1.0))
}

/// Which node may answer?
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) enum Place {
    /// The owner of this hash slot.
    Slot(u16),
    /// Any node.
    Any,
}

/// Commands that belong together; each is about one key at most.
pub(crate) struct Batch<'a> {
    /// For errors.
    pub doing: &'static str,
    /// One per command.
    pub places: Vec<Place>,
    /// Makes a command; again for each attempt.
    pub command: &'a (dyn Fn(usize) -> Cmd + Sync),
    /// About how many bytes travel for it, both directions.
    pub bytes: &'a (dyn Fn(usize) -> usize + Sync),
}

/// A command that has no answer yet.
#[derive(Clone, Debug)]
struct Open {
    index: usize,
    /// The node that imports its slot, to be asked this once.
    asked: Option<Address>,
}

/// Answers to commands, by their position in the batch.
type Answers = Vec<(usize, Result<Value, Failure>)>;

impl Nodes {
    /// Sends all commands and returns their answers in order, or the first error that stayed.
    pub async fn run(&self, batch: &Batch<'_>) -> Result<Vec<Value>, StoreError> {
        let count = batch.places.len();
        let started = Instant::now();
        let mut answers: Vec<Value> = vec![Value::Nil; count];
        let mut open: Vec<Open> = (0..count).map(|index| Open { index, asked: None }).collect();
        let mut troubled: Vec<Address> = Vec::new();
        let config = self.login().config();
        let mut attempt = 0;
        while !open.is_empty() {
            let (groups, mut failed) = self.group(batch, std::mem::take(&mut open), &troubled).await;
            troubled.clear();
            let sent = groups.into_iter().map(|(address, group)| self.send_group(batch, address, group));
            for (address, outcome) in join_all(sent).await {
                if outcome.iter().any(|(_, result)| matches!(result, Err(Failure::Lost(_)))) {
                    troubled.push(address);
                }
                for (index, result) in outcome {
                    match result {
                        Ok(value) => answers[index] = value,
                        Err(failure) => failed.push((index, failure)),
                    }
                }
            }
            if failed.is_empty() {
                break;
            }
            attempt += 1;
            let refused = failed.iter().position(|(_, failure)| matches!(failure, Failure::Permanent(_)));
            let last = failed[refused.unwrap_or(0)].1.clone();
            if refused.is_some()
                || attempt > config.retries
                || started.elapsed() >= config.operation_timeout()
            {
                let context = format!(
                    "{} of {count} commands failed, {attempt} attempt(s), {:.1} s: ",
                    failed.len(),
                    started.elapsed().as_secs_f64()
                );
                return Err(last.into_error(batch.doing, &context));
            }
            open = self.prepare(failed, &troubled, attempt).await;
        }
        Ok(answers)
    }

    /// Before the next attempt: waits unless all that failed was told where to go, and looks who owns what now.
    async fn prepare(&self, failed: Vec<(usize, Failure)>, troubled: &[Address], attempt: u32) -> Vec<Open> {
        let redirected = failed.iter().filter(|(_, failure)| failure.is_redirect()).count();
        Counters::add(&self.counters().redirected_commands, redirected);
        Counters::add(&self.counters().retried_commands, failed.len() - redirected);
        if redirected < failed.len() {
            tokio::time::sleep(pause(attempt)).await;
        }
        let moved: Vec<(u16, Address)> = failed
            .iter()
            .filter_map(|(_, failure)| match failure {
                Failure::Moved { slot, to } => Some((*slot, to.clone())),
                _ => None,
            })
            .collect();
        if redirected < failed.len() || !moved.is_empty() {
            // In vain is no matter: the attempt goes by what we know, and its failure tells why.
            if let Err(failure) = self.read_map(troubled).await {
                tracing::debug!(?failure, "the slot map could not be read");
            }
        }
        self.correct(moved);
        let asked = |failure| match failure {
            Failure::Ask { at } => Some(at),
            _ => None,
        };
        // Order is kept: two commands for one key reach it as they were given.
        let mut open: Vec<Open> =
            failed.into_iter().map(|(index, failure)| Open { index, asked: asked(failure) }).collect();
        open.sort_by_key(|open| open.index);
        open
    }

    /// Groups commands by the node to send them to; those that no node owns fail at once.
    async fn group(
        &self,
        batch: &Batch<'_>,
        open: Vec<Open>,
        troubled: &[Address],
    ) -> (HashMap<Address, Vec<Open>>, Vec<(usize, Failure)>) {
        let mut unknown = Failure::Later("no node owns the slot of a key".into());
        if self.is_cluster()
            && !self.knows_map()
            && let Err(failure) = self.read_map(&[]).await
        {
            unknown = failure;
        }
        let any = self.anywhere(troubled).into_iter().next();
        let slots = open.iter().map(|open| match batch.places[open.index] {
            Place::Slot(slot) => slot,
            Place::Any => 0,
        });
        let owners = self.owners(slots);
        let (mut groups, mut failed): (HashMap<Address, Vec<Open>>, _) = (HashMap::new(), Vec::new());
        for (open, owner) in open.into_iter().zip(owners) {
            let target = match (&open.asked, batch.places[open.index]) {
                (Some(asked), _) => Some(asked.clone()),
                (None, Place::Any) => any.clone(),
                (None, Place::Slot(_)) => owner,
            };
            match target {
                Some(target) => groups.entry(target).or_default().push(open),
                None => failed.push((open.index, unknown.clone())),
            }
        }
        (groups, failed)
    }

    async fn send_group(&self, batch: &Batch<'_>, address: Address, group: Vec<Open>) -> (Address, Answers) {
        // Once the connection failed, the rest of the group would only fail again, each after a time-out.
        let broken: Mutex<Option<Failure>> = Mutex::new(None);
        let chunks = chunks(batch, group);
        let (broken, target) = (&broken, &address);
        let sent = chunks.into_iter().map(|chunk| async move {
            let known = broken.lock().unwrap_or_else(PoisonError::into_inner).clone();
            let outcome = match known {
                Some(failure) => Err(failure),
                None => self.send_chunk(batch, target, &chunk).await,
            };
            match outcome {
                Ok(answers) => answers,
                Err(failure) => {
                    *broken.lock().unwrap_or_else(PoisonError::into_inner) = Some(failure.clone());
                    chunk.into_iter().map(|open| (open.index, Err(failure.clone()))).collect()
                }
            }
        });
        let answers: Vec<Answers> = stream::iter(sent).buffered(CHUNKS_AHEAD).collect().await;
        (address, answers.into_iter().flatten().collect())
    }

    async fn send_chunk(
        &self,
        batch: &Batch<'_>,
        address: &Address,
        chunk: &[Open],
    ) -> Result<Answers, Failure> {
        let mut pipeline = Pipeline::with_capacity(chunk.len());
        for open in chunk {
            // Holds for the next command on the connection, and nothing comes between commands of one pipeline.
            if open.asked.is_some() {
                pipeline.cmd("ASKING");
            }
            pipeline.add_command((batch.command)(open.index));
        }
        let mut values = self.link(address).send(&pipeline).await?.into_iter();
        let mut answers = Vec::with_capacity(chunk.len());
        for open in chunk {
            if open.asked.is_some() {
                values.next();
            }
            let result = match values.next() {
                Some(Value::ServerError(error)) => {
                    let failure = Failure::of(&error.into()).at(address);
                    if failure.is_redirect() && !self.is_cluster() {
                        Err(Failure::Permanent(format!(
                            "{address} is a node of a cluster; set cluster: true"
                        )))
                    } else {
                        Err(failure)
                    }
                }
                Some(value) => Ok(value),
                None => Err(Failure::Lost(format!("{address}: an answer is missing"))),
            };
            answers.push((open.index, result));
        }
        Ok(answers)
    }
}

/// Cuts a group into pipelines of bounded size, in order.
fn chunks(batch: &Batch<'_>, group: Vec<Open>) -> Vec<Vec<Open>> {
    let mut chunks: Vec<Vec<Open>> = Vec::new();
    let (mut chunk, mut bytes) = (Vec::new(), 0_usize);
    for open in group {
        let size = (batch.bytes)(open.index);
        if !chunk.is_empty() && (chunk.len() >= CHUNK_COMMANDS || bytes.saturating_add(size) > CHUNK_BYTES) {
            chunks.push(std::mem::take(&mut chunk));
            bytes = 0;
        }
        bytes = bytes.saturating_add(size);
        chunk.push(open);
    }
    if !chunk.is_empty() {
        chunks.push(chunk);
    }
    chunks
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pipelines_are_bounded_by_count_and_bytes() {
        let sizes: Vec<usize> = (0..5000).map(|index| if index == 100 { 10 << 20 } else { 100 }).collect();
        let batch = Batch {
            doing: "test",
            places: vec![Place::Any; sizes.len()],
            command: &|_| redis::cmd("PING"),
            bytes: &|index| sizes[index],
        };
        let open = (0..sizes.len()).map(|index| Open { index, asked: None }).collect();
        let chunks = chunks(&batch, open);
        let order: Vec<usize> = chunks.iter().flatten().map(|open| open.index).collect();
        assert_eq!(order, (0..sizes.len()).collect::<Vec<_>>());
        assert!(chunks.iter().all(|chunk| chunk.len() <= CHUNK_COMMANDS));
        for chunk in &chunks {
            let bytes: usize = chunk.iter().map(|open| sizes[open.index]).sum();
            assert!(chunk.len() == 1 || bytes <= CHUNK_BYTES, "{} commands, {bytes} bytes", chunk.len());
        }
    }

    #[test]
    fn pauses_grow_up_to_a_bound_and_differ() {
        for attempt in 1..40 {
            let full = FIRST_PAUSE.as_secs_f64() * 2f64.powi(attempt as i32 - 1);
            let pause = pause(attempt).as_secs_f64();
            assert!(pause >= 0.5 * full.min(1.0) && pause <= full.min(1.0), "{attempt}: {pause}");
        }
        assert!((0..20).map(|_| pause(3)).collect::<std::collections::BTreeSet<_>>().len() > 1);
    }
}
