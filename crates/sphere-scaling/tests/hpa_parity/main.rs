//! Does the autoscaler do what the Kubernetes HPA does, case by case?
//!
//! Runs `tests/fixtures/hpa_cases.json` and every further file of that schema named in `SPHERE_HPA_CASES`
//! (separated by `:`). Every key a case expects must match; an unknown kind, or an expectation this runner does
//! not understand, is a failure. Failing cases and totals are always printed, whether or not the test output is captured.
#![allow(clippy::unwrap_used)] // A malformed fixture is a failing test.

mod facts;
mod kinds;

use serde_json::Value;
use std::io::Write;
use std::panic::catch_unwind;
use std::path::Path;

/// Compares one case; `Err` says what was expected and what came.
fn check(case: &Value) -> Result<(), String> {
    let kind = case["kind"].as_str().unwrap_or("(none)");
    let inputs = &case["inputs"];
    let run =
        catch_unwind(|| kinds::run(kind, inputs)).map_err(|_| "the case could not be run".to_owned())?;
    let came = run.ok_or_else(|| format!("unknown kind {kind:?}"))?;
    let expected = case["expected"].as_object().ok_or("no expectation")?;
    let mut wrong = Vec::new();
    for (key, want) in expected {
        let got = came.get(key);
        let matches = match key.as_str() {
            "error" => same_error(want, got),
            // Null is "not asserted".
            "current_cpu_utilization" if want.is_null() => true,
            "conditions" => got.is_some_and(|got| same_conditions(want, got)),
            _ => got.is_some_and(|got| same(want, got)),
        };
        if !matches {
            let got = got.map_or_else(|| format!("nothing (in {came})"), Value::to_string);
            wrong.push(format!("{key}: expected {want}, came {got}"));
        }
    }
    if wrong.is_empty() { Ok(()) } else { Err(wrong.join("; ")) }
}

/// Integers exactly, doubles bit for bit.
fn same(want: &Value, got: &Value) -> bool {
    match (want.as_i64(), got.as_i64(), want.as_f64(), got.as_f64()) {
        (Some(a), Some(b), ..) => a == b,
        (_, _, Some(a), Some(b)) => a == b,
        _ => want == got,
    }
}

/// An error kind, a flag, or null for success.
fn same_error(want: &Value, got: Option<&Value>) -> bool {
    let got = got.unwrap_or(&Value::Null);
    match want {
        Value::Object(want) => want.get("kind") == Some(got),
        _ => want == got,
    }
}

/// Order, and the keys the case lists.
fn same_conditions(want: &Value, got: &Value) -> bool {
    let (Some(want), Some(got)) = (want.as_array(), got.as_array()) else { return false };
    let listed = |(w, g): (&Value, &Value)| w.as_object().is_some_and(|w| w.iter().all(|(k, v)| g[k] == *v));
    want.len() == got.len() && want.iter().zip(got).all(listed)
}

/// Prints past the capture of the test runner.
fn say(line: &str) {
    let mut out = std::io::stdout();
    writeln!(out, "{line}").unwrap();
}

/// Runs a file; the number of failures, which are printed.
fn run_file(path: &Path) -> usize {
    let text = std::fs::read_to_string(path).unwrap();
    let file: Value = serde_json::from_str(&text).unwrap();
    let cases = file["cases"].as_array().unwrap();
    let mut failed = 0;
    for case in cases {
        if let Err(wrong) = check(case) {
            failed += 1;
            say(&format!("FAIL {}: {wrong}", case["id"].as_str().unwrap_or("(no id)")));
        }
    }
    let name = Path::new(path.parent().and_then(Path::file_name).unwrap_or_default())
        .join(path.file_name().unwrap_or_default());
    say(&format!("hpa parity: {} passed, {failed} failed ({})", cases.len() - failed, name.display()));
    assert!(!cases.is_empty(), "{} has no cases", path.display());
    failed
}

#[test]
fn every_acceptance_case_matches_kubernetes() {
    let own = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/hpa_cases.json");
    let mut failed = run_file(&own);
    if let Some(more) = std::env::var_os("SPHERE_HPA_CASES") {
        for path in std::env::split_paths(&more).filter(|p| !p.as_os_str().is_empty()) {
            failed += run_file(&path);
        }
    }
    assert_eq!(failed, 0, "see the FAIL lines");
}

#[test]
fn an_unknown_kind_is_a_failure_with_its_name() {
    let case = serde_json::json!({"id": "x", "kind": "sorcery", "inputs": {}, "expected": {}});
    assert!(check(&case).unwrap_err().contains("sorcery"));
}

#[test]
fn a_wrong_number_is_noticed() {
    let case = serde_json::json!({"id": "x", "kind": "external", "expected": {"replicas": 5},
        "inputs": {"mode": "average", "values_milli": [8600], "status_replicas": 3, "target_average_value_milli": 2150}});
    assert!(check(&case).unwrap_err().contains("expected 5, came 4"));
}
