//! Where is the newest of everything on one machine, after a restart or a crash?
//!
//! In one file ([`redb`]: a copy-on-write B-tree with checksums). Every acknowledged write was committed with
//! [`redb::Durability::Immediate`], that is, flushed: it survives a SIGKILL of the process and a power cut. The
//! cheaper `None` survives neither, because the file still points at the last flushed commit; there is nothing
//! between. Calls that arrive together share one commit (the writer thread), so the price is per flush, not per
//! call.
//!
//! Format, version 1: a table per [`Slot`] from workload to expiry (8 bytes, big-endian milliseconds since the
//! epoch, all ones for never) and value; `expiry`, an index of what expires; `decisions` from (workload, number)
//! to entry; `meta` with the format version. Expiry is by the wall clock, because it has to outlive the process.
//!
//! Growth: freed pages are used again, so under steady overwriting the file settles at two to three times its
//! values (the test `the_file_does_not_grow_under_steady_overwriting`). What a burst left behind is given back
//! when the file is opened and more than half of it is unused.

use super::announce::Announcer;
use super::file_writer::{Call, Change, QUEUED_CALLS, serve};
use crate::store::{Announcements, Put, Slot, Store, StoreError};
use async_trait::async_trait;
use bytes::Bytes;
use redb::{
    Builder, Database, DatabaseError, ReadableDatabase, ReadableTable, StorageError, TableDefinition,
};
use sphere_core::WorkloadId;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;
use std::time::{SystemTime, UNIX_EPOCH};
use tokio::sync::{mpsc, oneshot};

/// Version of the tables.
const FORMAT: u64 = 1;
/// Memory for pages of the file, in bytes. The default of redb is 1 GiB.
const CACHE_BYTES: usize = 64 << 20;
/// A file smaller than this is not worth compacting, in bytes.
const SMALL_FILE_BYTES: u64 = 16 << 20;

const META: TableDefinition<'static, &'static str, u64> = TableDefinition::new("meta");
const FORMAT_KEY: &str = "format";
pub(super) const EXPIRY: TableDefinition<'static, (u64, u8, &'static str), ()> =
    TableDefinition::new("expiry");
pub(super) const DECISIONS: TableDefinition<'static, (&'static str, u64), &'static [u8]> =
    TableDefinition::new("decisions");

/// The table of a slot.
pub(super) fn table(slot: Slot) -> TableDefinition<'static, &'static str, &'static [u8]> {
    TableDefinition::new(slot.name())
}

/// Expiry in milliseconds since the epoch (`None`: never) and the value.
pub(super) fn unpack(stored: &[u8]) -> (Option<u64>, &[u8]) {
    match stored.split_first_chunk::<8>() {
        Some((at, value)) => (Some(u64::from_be_bytes(*at)).filter(|at| *at != u64::MAX), value),
        None => (None, &[]),
    }
}

pub(super) fn now_ms() -> u64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    u64::try_from(since.as_millis()).unwrap_or(u64::MAX)
}

/// What went wrong with the file, and what to do.
pub(super) fn explain(path: &Path, error: &redb::Error) -> String {
    let advice = match error {
        redb::Error::DatabaseAlreadyOpen | redb::Error::LockProtocolMismatch => {
            "another process has it open: stop that one, or name another file"
        }
        redb::Error::UpgradeRequired(_) => "it was written by an older redb: move it away to start afresh",
        redb::Error::Corrupted(_) => "it is damaged or no store of ours: move it away to start afresh",
        redb::Error::PreviousIo => "an earlier write failed: see that error, then restart",
        redb::Error::Io(io) => advice_on(io),
        _ => "move it away to start afresh, and report this",
    };
    format!("{}: {error} ({advice})", path.display())
}

fn advice_on(error: &io::Error) -> &'static str {
    use io::ErrorKind as Kind;
    match error.kind() {
        Kind::InvalidData | Kind::UnexpectedEof => {
            "it is damaged or no store of ours: move it away to start afresh"
        }
        Kind::PermissionDenied | Kind::ReadOnlyFilesystem => {
            "let this user write the file and its folder, or name another file"
        }
        Kind::StorageFull | Kind::QuotaExceeded | Kind::FileTooLarge => {
            "no space left for it: make space or raise the limit, then restart; nothing acknowledged is lost"
        }
        Kind::NotFound | Kind::NotADirectory | Kind::IsADirectory => {
            "name a file in a folder that exists or can be made"
        }
        _ => "see to the disk, then restart",
    }
}

fn refuse(doing: &'static str, path: &Path, error: impl Into<redb::Error>) -> StoreError {
    StoreError::Permanent { doing, detail: explain(path, &error.into()) }
}

/// The size of a [`FileStore`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FileStoreStats {
    /// Size of the file, in bytes.
    pub file_bytes: u64,
    /// Calls of `announce` that slow listeners missed.
    pub lost_announcements: u64,
}

/// The store in a file. Dropping it finishes what was acknowledged and closes the file.
#[derive(Debug)]
pub struct FileStore {
    path: PathBuf,
    /// Taken on drop, so that the writer can end.
    calls: Option<mpsc::Sender<Call>>,
    db: Option<Arc<Database>>,
    writer: Mutex<Option<JoinHandle<()>>>,
    announcer: Announcer,
}

impl FileStore {
    /// Opens the file or makes it, its folder too. Checks the whole file (about 1 s per gigabyte that the disk
    /// cache holds), because a damaged one could otherwise be noticed only later.
    pub async fn open(path: impl Into<PathBuf>) -> Result<Self, StoreError> {
        let path = path.into();
        let opening = path.clone();
        let db = match tokio::task::spawn_blocking(move || open(&opening)).await {
            Ok(opened) => Arc::new(opened?),
            // The file passed no check of redb's and yet made it panic.
            Err(_) => {
                let damaged = redb::Error::Corrupted("it can not be read".into());
                return Err(refuse("open", &path, damaged));
            }
        };
        let (sender, receiver) = mpsc::channel(QUEUED_CALLS);
        let writer = std::thread::Builder::new()
            .name("sphere-store".into())
            .spawn({
                let (db, path) = (db.clone(), path.clone());
                move || serve(db, path, receiver)
            })
            .map_err(|e| StoreError::Permanent { doing: "start the writer", detail: e.to_string() })?;
        Ok(Self {
            path,
            calls: Some(sender),
            db: Some(db),
            writer: Mutex::new(Some(writer)),
            announcer: Announcer::new(),
        })
    }

    /// Its size.
    pub fn stats(&self) -> Result<FileStoreStats, StoreError> {
        let file = std::fs::metadata(&self.path).map_err(|e| refuse("look at the file", &self.path, e))?;
        Ok(FileStoreStats { file_bytes: file.len(), lost_announcements: self.announcer.lost() })
    }

    fn stopped(&self, doing: &'static str) -> StoreError {
        StoreError::Permanent {
            doing,
            detail: format!("{}: its writer has stopped: restart", self.path.display()),
        }
    }

    async fn change(&self, doing: &'static str, change: Change) -> Result<(), StoreError> {
        let calls = self.calls.as_ref().ok_or_else(|| self.stopped(doing))?;
        let (answer, answered) = oneshot::channel();
        calls.send((change, answer)).await.map_err(|_| self.stopped(doing))?;
        answered.await.map_err(|_| self.stopped(doing))?
    }

    async fn read<T: Send + 'static>(
        &self,
        doing: &'static str,
        read: impl FnOnce(&Database) -> Result<T, redb::Error> + Send + 'static,
    ) -> Result<T, StoreError> {
        let db = self.db.clone().ok_or_else(|| self.stopped(doing))?;
        match tokio::task::spawn_blocking(move || read(&db)).await {
            Ok(result) => result.map_err(|e| refuse(doing, &self.path, e)),
            Err(_) => Err(self.stopped(doing)),
        }
    }
}

impl Drop for FileStore {
    fn drop(&mut self) {
        self.calls = None;
        let writer = self.writer.lock().unwrap_or_else(PoisonError::into_inner).take();
        if let Some(writer) = writer {
            // It ends after the commit it is at, so that the file is closed when we return.
            writer.join().ok();
        }
    }
}

fn open(path: &Path) -> Result<Database, StoreError> {
    if let Some(folder) = path.parent().filter(|f| !f.as_os_str().is_empty()) {
        std::fs::create_dir_all(folder).map_err(|e| refuse("open", path, e))?;
    }
    let mut db =
        Builder::new().set_cache_size(CACHE_BYTES).set_check_integrity_on_open(true).create(path).map_err(
            |e| match e {
                // What redb says of a file that does not begin as its own do.
                DatabaseError::Storage(StorageError::Io(e)) => refuse("open", path, e),
                other => refuse("open", path, other),
            },
        )?;
    prepare(&db, path)?;
    if wasteful(&db, path).map_err(|e| refuse("compact", path, e))? {
        db.compact().map_err(|e| refuse("compact", path, e))?;
    }
    Ok(db)
}

/// Makes the tables of an empty file; refuses those of another version.
fn prepare(db: &Database, path: &Path) -> Result<(), StoreError> {
    let found = (|| -> Result<Option<u64>, redb::Error> {
        let transaction = db.begin_write()?;
        let format = {
            let mut meta = transaction.open_table(META)?;
            let found = meta.get(FORMAT_KEY)?.map(|v| v.value());
            let empty = found.is_none() && transaction.list_tables()?.count() <= 1;
            if empty {
                meta.insert(FORMAT_KEY, FORMAT)?;
            }
            if empty { Some(FORMAT) } else { found }
        };
        if format == Some(FORMAT) {
            transaction.open_table(EXPIRY)?;
            transaction.open_table(DECISIONS)?;
            for slot in Slot::ALL {
                transaction.open_table(table(slot))?;
            }
            transaction.commit()?;
        } else {
            transaction.abort()?;
        }
        Ok(format)
    })()
    .map_err(|e| refuse("open", path, e))?;
    let what = match found {
        Some(FORMAT) => return Ok(()),
        Some(other) => format!("its format is version {other}"),
        None => "it is a redb file without our format version".into(),
    };
    Err(StoreError::Permanent {
        doing: "open",
        detail: format!(
            "{}: {what}; this program reads version {FORMAT} (use the program that wrote it, or move it away to \
             start afresh)",
            path.display()
        ),
    })
}

/// Is more than half of the file unused?
fn wasteful(db: &Database, path: &Path) -> Result<bool, redb::Error> {
    let size = std::fs::metadata(path)?.len();
    if size < SMALL_FILE_BYTES {
        return Ok(false);
    }
    let transaction = db.begin_write()?;
    let stats = transaction.stats()?;
    let used = stats.allocated_pages().saturating_mul(stats.page_size() as u64);
    transaction.abort()?;
    Ok(size / 2 > used)
}

#[async_trait]
impl Store for FileStore {
    async fn put(&self, values: Vec<Put>) -> Result<(), StoreError> {
        self.change("put", Change::Put(values)).await
    }

    async fn get(&self, slot: Slot, workloads: &[WorkloadId]) -> Result<Vec<Option<Bytes>>, StoreError> {
        let keys: Vec<String> = workloads.iter().map(WorkloadId::to_string).collect();
        self.read("get", move |db| {
            let now = now_ms();
            let kept = db.begin_read()?.open_table(table(slot))?;
            let valid = |key: &String| {
                let Some(stored) = kept.get(key.as_str())? else { return Ok(None) };
                let (at, value) = unpack(stored.value());
                Ok(at.is_none_or(|at| now < at).then(|| Bytes::copy_from_slice(value)))
            };
            keys.iter().map(valid).collect()
        })
        .await
    }

    async fn forget(&self, workloads: &[WorkloadId]) -> Result<(), StoreError> {
        self.change("forget", Change::Forget(workloads.to_vec())).await
    }

    async fn append(&self, entries: Vec<(WorkloadId, Bytes)>, keep: usize) -> Result<(), StoreError> {
        self.change("append", Change::Append(entries, keep)).await
    }

    async fn history(&self, workload: &WorkloadId, count: usize) -> Result<Vec<Bytes>, StoreError> {
        let key = workload.to_string();
        self.read("history", move |db| {
            let decisions = db.begin_read()?.open_table(DECISIONS)?;
            let of_workload = decisions.range((key.as_str(), 0)..=(key.as_str(), u64::MAX))?;
            of_workload.rev().take(count).map(|e| Ok(Bytes::copy_from_slice(e?.1.value()))).collect()
        })
        .await
    }

    async fn announce(&self, workloads: &[WorkloadId]) -> Result<(), StoreError> {
        self.announcer.announce(workloads);
        Ok(())
    }

    async fn announcements(&self) -> Result<Box<dyn Announcements>, StoreError> {
        Ok(self.announcer.listen())
    }

    async fn check(&self) -> Result<(), StoreError> {
        self.change("check", Change::Check).await
    }
}
