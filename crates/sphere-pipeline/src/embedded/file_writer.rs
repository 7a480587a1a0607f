//! How do writes reach the file without stalling the stages, and what does a commit cost?
//!
//! One thread owns writing. It takes what is in a bounded queue, up to [`MOST_PER_COMMIT`] calls, and commits them
//! as one transaction: calls that wait for the same disk share its flush. A call is answered after its commit.

use super::file_store::{DECISIONS, EXPIRY, explain, now_ms, table, unpack};
use crate::store::{Put, Slot, StoreError};
use bytes::Bytes;
use redb::{Database, Durability, ReadableTable, Table, WriteTransaction};
use sphere_core::WorkloadId;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use tokio::sync::{mpsc, oneshot};

/// Calls that wait for the writer at most; further ones wait for a place.
pub(super) const QUEUED_CALLS: usize = 64;
/// Calls that share a commit at most.
const MOST_PER_COMMIT: usize = 64;
/// Bytes of values after which a commit is not made larger.
const BYTES_PER_COMMIT: usize = 32 << 20;
/// Expired values removed per commit, beyond two for each value put: more than are added.
const SWEPT_PER_COMMIT: usize = 64;

/// A change to be made.
pub(super) enum Change {
    Put(Vec<Put>),
    Forget(Vec<WorkloadId>),
    Append(Vec<(WorkloadId, Bytes)>, usize),
    /// Nothing; answered if the writer is alive and the file can be written.
    Check,
}

impl Change {
    fn doing(&self) -> &'static str {
        match self {
            Change::Put(_) => "put",
            Change::Forget(_) => "forget",
            Change::Append(..) => "append",
            Change::Check => "check",
        }
    }

    fn bytes(&self) -> usize {
        match self {
            Change::Put(values) => values.iter().map(|v| v.value.len()).sum(),
            Change::Append(entries, _) => entries.iter().map(|(_, e)| e.len()).sum(),
            Change::Forget(_) | Change::Check => 0,
        }
    }
}

/// A change and who waits for it.
pub(super) type Call = (Change, oneshot::Sender<Result<(), StoreError>>);

/// Serves calls until every sender is gone.
pub(super) fn serve(db: Arc<Database>, path: PathBuf, mut calls: mpsc::Receiver<Call>) {
    while let Some(first) = calls.blocking_recv() {
        let mut bytes = first.0.bytes();
        let mut batch = vec![first];
        while batch.len() < MOST_PER_COMMIT && bytes < BYTES_PER_COMMIT {
            let Ok(more) = calls.try_recv() else { break };
            bytes += more.0.bytes();
            batch.push(more);
        }
        let outcome = commit(&db, &batch);
        for (change, answer) in batch {
            let result = match &outcome {
                Ok(()) => Ok(()),
                Err(error) => Err(refuse(change.doing(), &path, error)),
            };
            // Whoever gave up waiting does not need the answer.
            answer.send(result).ok();
        }
    }
}

fn refuse(doing: &'static str, path: &Path, error: &redb::Error) -> StoreError {
    StoreError::Permanent { doing, detail: explain(path, error) }
}

fn commit(db: &Database, batch: &[Call]) -> Result<(), redb::Error> {
    let mut transaction = db.begin_write()?;
    transaction.set_durability(Durability::Immediate)?;
    let now = now_ms();
    let mut swept = SWEPT_PER_COMMIT;
    for (change, _) in batch {
        match change {
            Change::Put(values) => {
                put(&transaction, values, now)?;
                swept += 2 * values.len();
            }
            Change::Forget(workloads) => forget(&transaction, workloads)?,
            Change::Append(entries, keep) => append(&transaction, entries, *keep)?,
            Change::Check => {}
        }
    }
    sweep(&transaction, now, swept)?;
    transaction.commit()?;
    Ok(())
}

type Expiries<'t> = Table<'t, (u64, u8, &'static str), ()>;

/// Removes the old value's expiry, if it had one.
fn unlist(expiries: &mut Expiries<'_>, old: Option<u64>, slot: Slot, key: &str) -> Result<(), redb::Error> {
    if let Some(at) = old {
        expiries.remove((at, slot_number(slot), key))?;
    }
    Ok(())
}

fn slot_number(slot: Slot) -> u8 {
    match slot {
        Slot::Prediction => 0,
        Slot::Sample => 1,
        Slot::State => 2,
        Slot::Decision => 3,
        Slot::Autoscaler => 4,
        Slot::Cooldown => 5,
        Slot::Lead => 6,
    }
}

fn put(transaction: &WriteTransaction, values: &[Put], now: u64) -> Result<(), redb::Error> {
    let mut expiries = transaction.open_table(EXPIRY)?;
    for slot in Slot::ALL {
        let mut of_slot = values.iter().filter(|v| v.slot == slot).peekable();
        if of_slot.peek().is_none() {
            continue;
        }
        let mut kept = transaction.open_table(table(slot))?;
        for Put { workload, value, expires_in, .. } in of_slot {
            let key = workload.to_string();
            let at = expires_in.map(|span| {
                // Rounded up: a value never goes before its time. u64::MAX stands for "never".
                let span = u64::try_from(span.as_micros().div_ceil(1000)).unwrap_or(u64::MAX);
                now.saturating_add(span).min(u64::MAX - 1)
            });
            let mut packed = Vec::with_capacity(8 + value.len());
            packed.extend_from_slice(&at.unwrap_or(u64::MAX).to_be_bytes());
            packed.extend_from_slice(value);
            let old = kept.insert(key.as_str(), packed.as_slice())?.and_then(|old| unpack(old.value()).0);
            if old != at {
                unlist(&mut expiries, old, slot, &key)?;
                if let Some(at) = at {
                    expiries.insert((at, slot_number(slot), key.as_str()), ())?;
                }
            }
        }
    }
    Ok(())
}

fn forget(transaction: &WriteTransaction, workloads: &[WorkloadId]) -> Result<(), redb::Error> {
    let mut expiries = transaction.open_table(EXPIRY)?;
    let mut decisions = transaction.open_table(DECISIONS)?;
    for slot in Slot::ALL {
        let mut kept = transaction.open_table(table(slot))?;
        for workload in workloads {
            let key = workload.to_string();
            let old = kept.remove(key.as_str())?.and_then(|old| unpack(old.value()).0);
            unlist(&mut expiries, old, slot, &key)?;
        }
    }
    for workload in workloads {
        let key = workload.to_string();
        decisions.retain_in((key.as_str(), 0)..=(key.as_str(), u64::MAX), |_, _| false)?;
    }
    Ok(())
}

/// Entries of a workload are numbered without gaps, the newest highest.
fn append(
    transaction: &WriteTransaction,
    entries: &[(WorkloadId, Bytes)],
    keep: usize,
) -> Result<(), redb::Error> {
    let mut decisions = transaction.open_table(DECISIONS)?;
    for (workload, entry) in entries {
        let key = workload.to_string();
        let newest = decisions
            .range((key.as_str(), 0)..=(key.as_str(), u64::MAX))?
            .next_back()
            .transpose()?
            .map(|(k, _)| k.value().1);
        let next = newest.map_or(0, |n| n.saturating_add(1));
        decisions.insert((key.as_str(), next), &entry[..])?;
        let cut = (next + 1).saturating_sub(u64::try_from(keep).unwrap_or(u64::MAX));
        if cut > 0 {
            decisions.retain_in((key.as_str(), 0)..(key.as_str(), cut), |_, _| false)?;
        }
    }
    Ok(())
}

/// Removes up to `most` expired values, those that expired first first.
fn sweep(transaction: &WriteTransaction, now: u64, most: usize) -> Result<(), redb::Error> {
    let mut expiries = transaction.open_table(EXPIRY)?;
    let mut gone: Vec<(u8, String)> = Vec::new();
    while gone.len() < most {
        let next = expiries.first()?.map(|(key, _)| key.value().0);
        if next.is_none_or(|at| at > now) {
            break;
        }
        if let Some((key, _)) = expiries.pop_first()? {
            let (_, slot, workload) = key.value();
            gone.push((slot, workload.to_owned()));
        }
    }
    for slot in Slot::ALL {
        if !gone.iter().any(|(number, _)| *number == slot_number(slot)) {
            continue;
        }
        let mut kept = transaction.open_table(table(slot))?;
        for (_, workload) in gone.iter().filter(|(number, _)| *number == slot_number(slot)) {
            kept.remove(workload.as_str())?;
        }
    }
    Ok(())
}
