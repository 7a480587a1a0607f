//! Do the contracts on disk say what the code reads and writes, and does it still read what it once wrote?
//!
//! After a deliberate change: `UPDATE_CONTRACTS=1 cargo test -p sphere --test contracts`, then read the diff.

#![allow(clippy::unwrap_used, reason = "a failing test is the message, in its helpers, too")]

use serde_json::Value;
use sphere::decide::{DecideInput, DecideOptions, DecideOutput, decide_line};
use sphere_core::{Decision, Forecast, Sample};
use std::fs;
use std::path::PathBuf;

/// Name of the schema and its file.
const FILES: [(&str, &str); 6] = [
    ("config", "config/schema.json"),
    ("decide-input", "decide/schema.json"),
    ("decide-output", "decide/output.schema.json"),
    ("sample", "metrics/schema.json"),
    ("forecast", "predictions/schema.json"),
    ("decision", "decisions/schema.json"),
];

fn contracts() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../../contracts")
}

#[test]
fn schemas_on_disk_are_the_generated_ones() {
    let all = sphere::schema::all();
    for (name, file) in FILES {
        let path = contracts().join(file);
        let generated = &all[name];
        if std::env::var_os("UPDATE_CONTRACTS").is_some() {
            fs::write(&path, serde_json::to_string_pretty(generated).unwrap() + "\n").unwrap();
        }
        let on_disk: Value =
            serde_json::from_str(&fs::read_to_string(&path).unwrap_or_default()).unwrap_or_default();
        assert!(
            &on_disk == generated,
            "{file} is out of date: run with UPDATE_CONTRACTS=1 and read the diff"
        );
    }
    assert!(all.contains_key("scaling-spec"));
}

/// Reads every fixture of a folder whose name starts with `v`, and checks that there are some.
fn fixtures(folder: &str, read: impl Fn(&str, &str)) {
    let mut seen = 0;
    for entry in fs::read_dir(contracts().join(folder).join("fixtures")).unwrap() {
        let path = entry.unwrap().path();
        let name = path.file_name().unwrap().to_string_lossy().into_owned();
        assert!(name.starts_with('v') && name.ends_with(".json"), "{folder}: {name}");
        read(&name, &fs::read_to_string(&path).unwrap());
        seen += 1;
    }
    assert!(seen >= 2, "{folder} has {seen} fixtures");
}

#[test]
fn every_fixture_still_reads() {
    fixtures("metrics", |name, text| {
        let sample: Sample = serde_json::from_str(text).unwrap_or_else(|e| panic!("{name}: {e}"));
        assert_eq!(sample.validate(), Ok(()), "{name}");
    });
    fixtures("predictions", |name, text| {
        let forecast: Forecast = serde_json::from_str(text).unwrap_or_else(|e| panic!("{name}: {e}"));
        assert!(!forecast.steps.is_empty(), "{name}");
    });
    fixtures("decisions", |name, text| {
        let decision: Decision = serde_json::from_str(text).unwrap_or_else(|e| panic!("{name}: {e}"));
        assert!(!decision.reasons.is_empty(), "{name}");
    });
    fixtures("decide", |name, text| {
        if name.ends_with("-output.json") {
            let output: DecideOutput = serde_json::from_str(text).unwrap_or_else(|e| panic!("{name}: {e}"));
            let again = serde_json::to_value(&output).unwrap();
            assert_eq!(again, serde_json::from_str::<Value>(text).unwrap(), "{name}");
        } else {
            let input: DecideInput = serde_json::from_str(text).unwrap_or_else(|e| panic!("{name}: {e}"));
            let again = serde_json::to_string(&input).unwrap();
            assert_eq!(serde_json::from_str::<DecideInput>(&again).unwrap(), input, "{name}");
            decide_line(1, &again, DecideOptions::default()).unwrap_or_else(|e| panic!("{name}: {e}"));
        }
    });
}
