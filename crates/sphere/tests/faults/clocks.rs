//! What if the clock of one process is wrong by an hour?
//!
//! The process runs under libfaketime, which reads its offset from a file; without that library the line says so.

use crate::course::{Course, all_decided, reactive};
use crate::now;
use crate::rig::{PATIENCE, Service, WORKLOADS};
use crate::table;
use sphere_testkit::wait_until;
use std::path::{Path, PathBuf};
use std::time::Duration;

const HOUR: Duration = Duration::from_secs(3600);

/// The library, where Debian's package `faketime` puts it.
fn library() -> Option<PathBuf> {
    let folders = std::fs::read_dir("/usr/lib").ok()?.filter_map(Result::ok).map(|entry| entry.path());
    folders.map(|folder| folder.join("faketime/libfaketimeMT.so.1")).find(|file| file.exists())
}

/// Replaces a stage by one whose clock follows the file.
fn replace(course: &mut Course, stage: &'static str, library: &Path) -> PathBuf {
    let offset = course.rig.parts.dir.path().join(format!("{stage}.offset"));
    std::fs::write(&offset, "+0s\n").unwrap();
    course.rig.stage(stage).process.stop();
    let environment = [
        ("LD_PRELOAD", library.display().to_string()),
        ("FAKETIME_TIMESTAMP_FILE", offset.display().to_string()),
        ("FAKETIME_NO_CACHE", "1".into()),
        // Timers of the runtime and of librdkafka are not what is tested.
        ("FAKETIME_DONT_FAKE_MONOTONIC", "1".into()),
    ];
    let back = now();
    let mut service = Service::start(&course.rig.parts, stage, &format!("{stage}-fake"), &[], &environment);
    service.wait_ready();
    course.rig.services.insert(stage, service);
    course.recovered(back);
    offset
}

/// Sets the clocks of the forecaster and of the autoscaler wrong by an hour and right again.
pub fn jump(course: &mut Course) {
    let Some(library) = library() else {
        table::line("clock jumps", "-", "not tried: libfaketime is not installed", "-");
        return;
    };
    forecaster(course, &library);
    autoscaler(course, &library);
}

fn forecaster(course: &mut Course, library: &Path) {
    let offset = replace(course, "forecast", library);
    for (jump, outcome) in [("+3600s\n", "expired"), ("-3600s\n", "future")] {
        let before = course.rig.stage("forecast").forecasts(outcome);
        let jumped = now();
        std::fs::write(&offset, jump).unwrap();
        all_decided(&course.rig, jumped, "reactively", reactive);
        std::fs::write(&offset, "+0s\n").unwrap();
        let recovery = course.recovered(now());
        let counted = course.rig.stage("forecast").forecasts(outcome) - before;
        assert!(counted >= WORKLOADS as u64, "{counted} counted as {outcome}");
        let forecast = course.rig.stage("forecast");
        let counted_so_far = forecast.forecasts("expired") + forecast.forecasts("future");
        let accounts = course.settled(counted_so_far);
        table::line(
            &format!("clock of forecast {} s", jump.trim().trim_end_matches('s')),
            "reactive decisions meanwhile; samples without a forecast are counted",
            &format!(
                "all decided reactively; {counted} counted as {outcome}; {} without a forecast in all",
                accounts.lost.len() + accounts.expired
            ),
            &recovery,
        );
    }
}

fn autoscaler(course: &mut Course, library: &Path) {
    let excused = course.accounts().lost.len() as u64;
    let offset = replace(course, "autoscale", library);
    let jumped = now();
    std::fs::write(&offset, "+3600s\n").unwrap();
    let then = jumped + HOUR - Duration::from_secs(60);
    let decided = |d: &sphere_core::Decision| d.predictive.is_none();
    wait_until("all workloads are decided on without forecasts", PATIENCE, || {
        course.rig.watcher.seen().decided_after(then, decided) == WORKLOADS
    })
    .unwrap();
    std::fs::write(&offset, "+0s\n").unwrap();
    let recovery = course.recovered(now());
    course.settled(excused);
    table::line(
        "clock of autoscale +3600 s, and back",
        "expired forecasts are not used; going back silences nobody",
        "all decided without forecasts",
        &recovery,
    );
}
