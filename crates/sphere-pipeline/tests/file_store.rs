//! What survives a kill, what does a damaged file say, and how large does the file become?

#![allow(clippy::unwrap_used, reason = "a failing test is the message")]

use bytes::Bytes;
use sphere_core::WorkloadId;
use sphere_pipeline::embedded::FileStore;
use sphere_pipeline::{Put, Slot, Store, StoreError};
use std::io::{BufRead, BufReader};
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::Duration;

/// Tells the test binary that it is the child, and where its file is.
const CHILD: &str = "SPHERE_TEST_STORE_CHILD";

fn id(n: usize) -> WorkloadId {
    WorkloadId::new("shop", "Deployment", &format!("w{n}")).unwrap()
}

fn put(n: usize, slot: Slot, value: impl Into<Bytes>) -> Put {
    Put { workload: id(n), slot, value: value.into(), expires_in: None }
}

/// A command that runs one test of this binary in a process of its own.
fn child(test: &str, file: &Path) -> Command {
    let mut command = Command::new(std::env::current_exe().unwrap());
    command.args(["--exact", test, "--ignored", "--nocapture", "--test-threads=1"]).env(CHILD, file);
    command.stdout(Stdio::piped()).stderr(Stdio::null());
    command
}

/// Not a test: what the killed process does. Counts up in 4 x 25 keys and says what was acknowledged.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "runs as the child of another test"]
async fn child_writes_until_it_is_killed() {
    let Some(file) = std::env::var_os(CHILD) else { return };
    let store = std::sync::Arc::new(FileStore::open(file).await.unwrap());
    let begin = match store.get(Slot::Sample, &[id(0)]).await.unwrap().remove(0) {
        Some(last) => std::str::from_utf8(&last).unwrap().parse::<usize>().unwrap() + 1,
        None => 0,
    };
    println!("ready");
    let writer = |task: usize| {
        let store = store.clone();
        async move {
            for round in begin.. {
                let mut values: Vec<Put> = (0..25)
                    .map(|n| put(task * 25 + n, Slot::State, vec![(round % 251) as u8; 2000]))
                    .collect();
                values.extend((0..25).map(|n| put(task * 25 + n, Slot::Sample, round.to_string())));
                store.put(values).await.unwrap();
                store.append(vec![(id(task), round.to_string().into())], 10).await.unwrap();
                println!("ack {task} {round}");
            }
        }
    };
    tokio::join!(writer(0), writer(1), writer(2), writer(3));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_kill_at_any_instant_loses_nothing_that_was_acknowledged() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("sphere.redb");
    let mut acknowledged = [None::<usize>; 4];
    for round in 0..20u64 {
        let mut process = child("child_writes_until_it_is_killed", &file).spawn().unwrap();
        let mut lines = BufReader::new(process.stdout.take().unwrap()).lines();
        let reader = tokio::task::spawn_blocking({
            let (tell, told) = std::sync::mpsc::channel();
            let pid = process;
            move || {
                let mut process = pid;
                while !lines.next().unwrap().unwrap().contains("ready") {}
                let killer = std::thread::spawn(move || {
                    // Spread over some commits, at no particular instant of one.
                    std::thread::sleep(Duration::from_micros(3000 + round * 7919 % 60_000));
                    process.kill().unwrap();
                    process.wait().unwrap();
                    tell.send(()).unwrap();
                });
                let acks: Vec<(usize, usize)> = lines
                    .map_while(Result::ok)
                    .filter_map(|line| {
                        let mut words = line.strip_prefix("ack ")?.split(' ');
                        // A line that was cut by the kill is no acknowledgement.
                        Some((words.next()?.parse().ok()?, words.next()?.parse().ok()?))
                    })
                    .collect();
                told.recv().unwrap();
                killer.join().unwrap();
                acks
            }
        });
        for (task, value) in reader.await.unwrap() {
            acknowledged[task] = acknowledged[task].max(Some(value));
        }
        let store = FileStore::open(&file).await.unwrap();
        for (task, last) in acknowledged.iter().enumerate() {
            let ids: Vec<_> = (0..25).map(|n| id(task * 25 + n)).collect();
            let samples = store.get(Slot::Sample, &ids).await.unwrap();
            let states = store.get(Slot::State, &ids).await.unwrap();
            let Some(last) = *last else { continue };
            let found: usize = std::str::from_utf8(samples[0].as_ref().unwrap()).unwrap().parse().unwrap();
            assert!(found >= last, "round {round}, task {task}: {found}, but {last} was acknowledged");
            assert!(samples.iter().all(|s| s == &samples[0]), "a call is one commit");
            assert!(states.iter().flatten().all(|s| s[..] == vec![(found % 251) as u8; 2000][..]));
            assert_eq!(states.iter().flatten().count(), 25);
            let history = store.history(&id(task), 1).await.unwrap();
            let listed: usize = std::str::from_utf8(&history[0]).unwrap().parse().unwrap();
            assert!(listed >= last);
        }
    }
    assert!(
        acknowledged.iter().all(|a| a.is_some_and(|a| a > 20)),
        "too little was written: {acknowledged:?}"
    );
}

#[tokio::test]
async fn everything_is_there_after_closing_and_opening() {
    let folder = tempfile::tempdir().unwrap();
    // The folder of the file is made.
    let file = folder.path().join("deep/er/sphere.redb");
    let store = FileStore::open(&file).await.unwrap();
    let short = Put { expires_in: Some(Duration::from_millis(300)), ..put(1, Slot::Prediction, "short") };
    let long = Put { expires_in: Some(Duration::from_secs(3600)), ..put(2, Slot::Prediction, "long") };
    store.put(vec![short, long, put(1, Slot::State, vec![7; 12_000])]).await.unwrap();
    store.append(vec![(id(1), "first".into()), (id(1), "second".into())], 10).await.unwrap();
    drop(store);
    tokio::time::sleep(Duration::from_millis(320)).await;
    let store = FileStore::open(&file).await.unwrap();
    let found = store.get(Slot::Prediction, &[id(1), id(2)]).await.unwrap();
    assert_eq!(found, [None, Some("long".into())], "expiry goes on while the program is away");
    assert_eq!(store.get(Slot::State, &[id(1)]).await.unwrap(), [Some(vec![7; 12_000].into())]);
    assert_eq!(store.history(&id(1), 10).await.unwrap(), ["second", "first"]);
}

async fn refusal(file: &Path) -> String {
    match FileStore::open(file).await {
        Err(error @ StoreError::Permanent { .. }) => {
            let text = error.to_string();
            assert!(text.contains(file.to_str().unwrap()), "no path: {text}");
            text
        }
        other => panic!("{other:?}"),
    }
}

#[tokio::test]
async fn foreign_and_damaged_files_are_refused_with_what_to_do() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("sphere.redb");
    std::fs::write(&file, "ceci n'est pas un store\n".repeat(1000)).unwrap();
    let text = refusal(&file).await;
    assert!(text.contains("damaged or no store of ours") && text.contains("move it away"), "{text}");
    assert!(std::fs::read_to_string(&file).unwrap().starts_with("ceci"), "it was left alone");
    std::fs::remove_file(&file).unwrap();

    let store = FileStore::open(&file).await.unwrap();
    store.put((0..500).map(|n| put(n, Slot::State, vec![n as u8; 3000])).collect()).await.unwrap();
    drop(store);
    let whole = std::fs::read(&file).unwrap();
    // Every 4 KiB page is damaged once: opening succeeds with all values right, or is refused; nothing panics and
    // nothing wrong is read.
    let mut refused = 0;
    for page in (0..whole.len()).step_by(16 * 4096) {
        let mut bytes = whole.clone();
        for byte in &mut bytes[page + 100..page + 400] {
            *byte ^= 0x5a;
        }
        std::fs::write(&file, &bytes).unwrap();
        match FileStore::open(&file).await {
            Ok(store) => {
                let ids: Vec<_> = (0..500).map(id).collect();
                for (n, found) in store.get(Slot::State, &ids).await.unwrap().into_iter().enumerate() {
                    assert_eq!(found, Some(vec![n as u8; 3000].into()), "page at {page}");
                }
            }
            Err(error) => {
                assert!(error.to_string().contains("move it away"), "{error}");
                refused += 1;
            }
        }
    }
    assert!(refused > 3, "damage was noticed only {refused} times");
    std::fs::write(&file, &whole[..whole.len() / 2]).unwrap();
    let text = refusal(&file).await;
    assert!(text.contains("move it away"), "cut in half: {text}");
}

#[tokio::test]
async fn a_file_of_another_version_is_refused() {
    use redb::{Database, TableDefinition};
    const META: TableDefinition<&str, u64> = TableDefinition::new("meta");
    const OTHER: TableDefinition<&str, &str> = TableDefinition::new("other");
    let folder = tempfile::tempdir().unwrap();
    let (newer, foreign) = (folder.path().join("newer.redb"), folder.path().join("foreign.redb"));
    let transaction = |file: &Path, write: &dyn Fn(&redb::WriteTransaction)| {
        let db = Database::create(file).unwrap();
        let transaction = db.begin_write().unwrap();
        write(&transaction);
        transaction.commit().unwrap();
    };
    transaction(&newer, &|t| {
        t.open_table(META).unwrap().insert("format", 2).unwrap();
    });
    transaction(&foreign, &|t| {
        t.open_table(OTHER).unwrap().insert("a", "b").unwrap();
    });
    let text = refusal(&newer).await;
    assert!(text.contains("version 2") && text.contains("reads version 1"), "{text}");
    let text = refusal(&foreign).await;
    assert!(text.contains("without our format version"), "{text}");
}

/// Not a test: holds the file open until its input ends.
#[tokio::test]
#[ignore = "runs as the child of another test"]
async fn child_holds_the_file() {
    let Some(file) = std::env::var_os(CHILD) else { return };
    let _store = FileStore::open(file).await.unwrap();
    println!("ready");
    std::io::stdin().read_line(&mut String::new()).unwrap();
}

#[tokio::test]
async fn a_file_that_another_process_has_open_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("sphere.redb");
    let mut holder = child("child_holds_the_file", &file).stdin(Stdio::piped()).spawn().unwrap();
    let mut lines = BufReader::new(holder.stdout.take().unwrap()).lines();
    while !lines.next().unwrap().unwrap().contains("ready") {}
    let text = refusal(&file).await;
    assert!(text.contains("another process has it open"), "{text}");
    drop(holder.stdin.take());
    holder.wait().unwrap();
    FileStore::open(&file).await.unwrap();
}

#[tokio::test]
async fn a_path_that_can_not_be_a_file_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    let text = refusal(folder.path()).await;
    assert!(text.contains("name a file in a folder"), "{text}");
    let plain = folder.path().join("plain");
    std::fs::write(&plain, "x").unwrap();
    refusal(&plain.join("sphere.redb")).await;
}

/// Not a test: fills the file until the system refuses more, then says what it was told.
#[tokio::test]
#[ignore = "runs as the child of another test"]
async fn child_fills_the_disk() {
    let Some(file) = std::env::var_os(CHILD) else { return };
    let store = FileStore::open(file).await.unwrap();
    for n in 0..10_000 {
        if let Err(error) = store.put(vec![put(n, Slot::State, vec![n as u8; 50_000])]).await {
            println!("refused {error}");
            return;
        }
        println!("ack {n}");
    }
}

#[tokio::test]
async fn a_full_disk_is_said_and_costs_nothing_that_was_acknowledged() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("sphere.redb");
    let inner = child("child_fills_the_disk", &file);
    // A limit on the size of a file (8,192 blocks of 512 bytes) stops the writer as a full disk does.
    let mut shell = Command::new("sh");
    shell.args(["-c", "trap '' XFSZ; ulimit -f 8192; exec \"$0\" \"$@\""]);
    shell.arg(inner.get_program()).args(inner.get_args()).env(CHILD, &file);
    let output = shell.output().unwrap();
    let text = String::from_utf8_lossy(&output.stdout);
    let refused = text.lines().find_map(|l| l.split_once("refused ")).map(|(_, r)| r).unwrap_or_default();
    assert!(refused.contains("no space left for it") && refused.contains("sphere.redb"), "{text}");
    let acknowledged = text.lines().filter(|l| l.contains("ack ")).count();
    assert!(acknowledged > 10, "{text}");
    let store = FileStore::open(&file).await.unwrap();
    for n in 0..acknowledged {
        let found = store.get(Slot::State, &[id(n)]).await.unwrap();
        assert_eq!(found, [Some(vec![n as u8; 50_000].into())], "{n}");
    }
}

/// 10,000 workloads with 12 kB of state each, overwritten 50 times: 7 GB written.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "takes minutes: the small one below runs always"]
async fn the_file_does_not_grow_under_steady_overwriting_at_full_size() {
    overwrite(10_000, 50).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_file_does_not_grow_under_steady_overwriting() {
    overwrite(1000, 20).await;
}

async fn overwrite(workloads: usize, rounds: usize) {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("sphere.redb");
    let store = FileStore::open(&file).await.unwrap();
    // State and prediction of each.
    let live = (workloads * 14_000) as u64;
    let mut largest = 0;
    for round in 0..rounds {
        for part in 0..10 {
            let those = (part * workloads / 10)..((part + 1) * workloads / 10);
            let short = Some(Duration::from_millis(500));
            let mut values: Vec<Put> =
                those.clone().map(|n| put(n, Slot::State, vec![(round + n) as u8; 12_000])).collect();
            values
                .extend(those.map(|n| Put { expires_in: short, ..put(n, Slot::Prediction, vec![1; 2000]) }));
            store.put(values).await.unwrap();
        }
        largest = largest.max(store.stats().unwrap().file_bytes);
    }
    println!("live {live}, largest file {largest}");
    assert!(largest < 3 * live, "{largest} bytes for {live} of values");
    // What is left behind after most is forgotten is given back at the next opening.
    let gone: Vec<_> = (workloads / 20..workloads).map(id).collect();
    store.forget(&gone).await.unwrap();
    drop(store);
    let begin = std::time::Instant::now();
    let store = FileStore::open(&file).await.unwrap();
    let after = store.stats().unwrap().file_bytes;
    println!("after forgetting 95 %: {after}, opened in {:?}", begin.elapsed());
    assert!(after < 16 << 20 || after < live / 4, "{after} bytes for a twentieth of {live}");
    let kept = store.get(Slot::State, &[id(0)]).await.unwrap();
    assert_eq!(kept, [Some(vec![(rounds - 1) as u8; 12_000].into())]);
}
