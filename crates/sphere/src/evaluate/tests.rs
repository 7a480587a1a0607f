//! Files in, figures out.

use super::*;
use std::collections::BTreeSet;
use std::io::Write as _;
use tempfile::TempDir;

/// Deterministic noise, uniform in (0, 1).
fn noise(i: usize) -> f64 {
    let mut x = (i as u64 + 1).wrapping_mul(0x9E37_79B9_7F4A_7C15);
    x ^= x >> 31;
    x = x.wrapping_mul(0xBF58_476D_1CE4_E5B9);
    x ^= x >> 29;
    (x >> 11) as f64 / (1u64 << 53) as f64
}

/// Writes `name.csv` with a value per 10 s; rows where `value` is `None` are left out.
fn write(dir: &TempDir, name: &str, steps: usize, value: impl Fn(usize) -> Option<f64>) -> PathBuf {
    let path = dir.path().join(format!("{name}.csv"));
    let mut file = std::fs::File::create(&path).unwrap();
    writeln!(file, "timestamp_s,value").unwrap();
    for i in 0..steps {
        if let Some(value) = value(i) {
            writeln!(file, "{},{value}", 10 * i).unwrap();
        }
    }
    path
}

fn wavy(i: usize) -> Option<f64> {
    Some((50.0 + 20.0 * (i as f64 / 90.0).sin() + 10.0 * noise(i)).round())
}

fn models(names: &[&str]) -> Options {
    Options { models: names.iter().map(|&name| name.into()).collect(), ..Options::default() }
}

fn quiet(_: Progress<'_>) {}

#[test]
fn all_default_models_are_compared_on_the_same_origins() {
    let dir = TempDir::new().unwrap();
    let paths = [write(&dir, "waves", 600, wavy), write(&dir, "more", 400, |i| wavy(i + 37))];
    let seen = std::sync::Mutex::new(Vec::new());
    let progress = |p: Progress<'_>| seen.lock().unwrap().push((p.done, p.total));
    let report = run(&paths, &Options::default(), &progress).unwrap();
    assert_eq!(report.rows.len(), 18);
    // Half is evaluated: 300 steps, origins 0, 6, …, 285 after its start less one; 200 steps: … 185.
    let origins: Vec<u64> = report.rows.iter().map(|row| row.origins).collect();
    assert_eq!(origins, [[48; 9], [31; 9]].concat());
    let named: BTreeSet<&str> = report.rows.iter().map(|row| row.model.as_str()).collect();
    assert_eq!(named, BTreeSet::from(DEFAULT_MODELS));
    let mut seen = seen.into_inner().unwrap();
    seen.sort_unstable();
    assert_eq!(seen, (1..=18).map(|i| (i, 18)).collect::<Vec<_>>());
    for row in &report.rows {
        assert!((row.mase.unwrap() * row.detail.mase_scale.unwrap() - row.mae.unwrap()).abs() < 1e-9);
        assert!(row.mae.unwrap() <= row.rmse.unwrap());
    }
    let base = report.summary.iter().find(|row| row.model == "classic-fresh").unwrap();
    assert_eq!((base.traces, base.mae, base.worst_mae), (2, Some(1.0), Some(1.0)));
}

#[test]
fn a_line_gives_the_figures_worked_out_by_hand() {
    let dir = TempDir::new().unwrap();
    let path = [write(&dir, "line", 200, |i| Some(3.0 * i as f64))];
    let options = Options { baseline: "last".into(), scale: 2.0, ..models(&["last", "mean-6", "holt"]) };
    let report = run(&path, &options, &quiet).unwrap();
    let [last, mean, holt] = report.rows.as_slice() else { panic!("three rows") };
    // h steps ahead the last value is off by 6 h, the mean of six by 15 more; one step changes by 6.
    assert!((last.mae.unwrap() - 48.0).abs() < 1e-9 && (last.mase.unwrap() - 8.0).abs() < 1e-9);
    assert!((last.mase_13_15.unwrap() - 14.0).abs() < 1e-9);
    assert!((mean.mase.unwrap() - 10.5).abs() < 1e-9 && holt.mase.unwrap() < 0.01);
    let summary = &report.summary[1];
    assert!((summary.mae.unwrap() - 63.0 / 48.0).abs() < 1e-9);
    assert!((summary.mae_13_15.unwrap() - 99.0 / 84.0).abs() < 1e-9);
    let table = report.table(false);
    let holt = table.lines().find(|line| line.trim_start().starts_with("holt")).unwrap();
    assert!(holt.contains('*') && !table.contains('\x1b') && report.table(true).contains('\x1b'));
}

#[test]
fn the_evaluated_part_can_be_chosen() {
    let dir = TempDir::new().unwrap();
    let path = [write(&dir, "waves", 600, wavy)];
    let at = |text: &str| Some(text.parse().unwrap());
    let options = Options {
        from: at("50m"),
        to: at("75m"),
        history: Duration::from_secs(1200),
        stride_steps: 1,
        ..models(&["last"])
    };
    let report = run(&path, &options, &quiet).unwrap();
    let (trace, rows) = report.by_trace().next().unwrap();
    assert_eq!(trace.evaluated_from, Timestamp::from_secs(3000));
    assert_eq!((trace.evaluated.as_secs(), trace.learnt.as_secs()), (1500, 1200));
    assert_eq!(rows[0].origins, 150 - 15 + 1);
    for (from, to) in [(at("0s"), None), (at("99m"), None), (at("2d"), None), (at("30m"), at("20m"))] {
        assert!(run(&path, &Options { from, to, ..models(&["last"]) }, &quiet).is_err());
    }
}

#[test]
fn models_are_held_to_the_origins_all_of_them_serve() {
    let dir = TempDir::new().unwrap();
    // After 30 missing steps `last` is silent until the next value; `sphere` goes on for 60.
    let path = [write(&dir, "gap", 400, |i| wavy(i).filter(|_| !(250..280).contains(&i)))];
    let alone = run(&path, &models(&["sphere"]), &quiet).unwrap();
    let both = run(&path, &models(&["sphere", "last"]), &quiet).unwrap();
    assert!(both.rows[0].origins < alone.rows[0].origins);
    assert_eq!(both.rows[0].origins, both.rows[1].origins);
    assert_eq!(both.traces[0].missing_steps, 30);
    assert!(both.table(false).contains("30 steps missing"));
}

#[test]
fn the_document_has_the_agreed_keys_and_detail_only_when_asked() {
    let dir = TempDir::new().unwrap();
    let path = [write(&dir, "waves", 300, wavy)];
    let report = run(&path, &models(&["last", "sphere"]), &quiet).unwrap();
    let plain: serde_json::Value = serde_json::from_str(&report.json(false).unwrap()).unwrap();
    let keys =
        |value: &serde_json::Value| value.as_object().unwrap().keys().cloned().collect::<BTreeSet<_>>();
    let agreed = "trace model origins mae rmse mase mase_13_15 smape pinball_90 pinball_95 pinball_95_13_15 \
                  coverage_90 coverage_95 fit_ms forecast_ms";
    assert_eq!(keys(&plain["rows"][0]), agreed.split_whitespace().map(String::from).collect());
    assert_eq!(keys(&plain), BTreeSet::from(["rows".to_owned()]));
    assert_eq!(plain["rows"].as_array().unwrap().len(), 2);
    assert!(plain["rows"][1]["mase"].is_f64() && plain["rows"][1]["model"] == "sphere");
    let detailed: serde_json::Value = serde_json::from_str(&report.json(true).unwrap()).unwrap();
    let detail = &detailed["rows"][0]["detail"];
    assert_eq!(detail["by_step"].as_array().unwrap().len(), 15);
    assert_eq!(detail["overall"]["pinball"].as_array().unwrap().len(), 17);
    assert_eq!(detailed["detail"]["traces"][0]["evaluated_s"], 1500.0);
}

#[test]
fn what_can_not_be_divided_is_absent() {
    let dir = TempDir::new().unwrap();
    let path = [write(&dir, "flat", 200, |_| Some(4.0))];
    let options = Options { horizon_steps: 5, ..models(&["last", "classic-fresh"]) };
    let report = run(&path, &options, &quiet).unwrap();
    let row = &report.rows[0];
    assert_eq!((row.mae, row.mase, row.mase_13_15, row.pinball_95_13_15), (Some(0.0), None, None, None));
    assert_eq!((report.summary[0].traces, report.summary[0].mae), (0, None));
    assert!(report.json(true).unwrap().contains("\"mase\": null"));
    assert!(report.table(false).contains(" -"));
}

#[test]
fn the_step_can_be_made_coarser() {
    let dir = TempDir::new().unwrap();
    let path = [write(&dir, "waves", 600, wavy)];
    let bin = |secs| Options { bin: Some(Duration::from_secs(secs)), ..models(&["last"]) };
    assert_eq!(run(&path, &bin(30), &quiet).unwrap().traces[0].step.as_secs(), 30);
    assert!(matches!(run(&path, &bin(25), &quiet), Err(EvaluateError::Rebin { .. })));
}

#[test]
fn input_that_makes_no_sense_is_refused_with_the_reason() {
    let dir = TempDir::new().unwrap();
    let path = [write(&dir, "waves", 100, wavy)];
    let short = [write(&dir, "short", 20, wavy)];
    let plain = || models(&["last"]);
    let cases: [(&[PathBuf], Options, &str); 9] = [
        (&[], plain(), "no trace"),
        (&path, models(&[]), "no model"),
        (&path, models(&["last", "last"]), "twice"),
        (&path, Options { scale: 0.0, ..plain() }, "scale"),
        (&path, Options { horizon_steps: 0, ..plain() }, "horizon"),
        (&path, Options { stride_steps: 0, ..plain() }, "distance"),
        (&path, models(&["last", "lats"]), "waves: no forecaster `lats`"),
        (&short, plain(), "fewer than the horizon"),
        (&path, models(&["hw-add-45@95"]), "no origin"),
    ];
    for (paths, options, reason) in cases {
        let answer = run(paths, &options, &quiet).map(|_| ()).unwrap_err().to_string();
        assert!(answer.contains(reason), "{reason}: {answer}");
    }
    assert!(matches!(run(&[dir.path().join("none.csv")], &plain(), &quiet), Err(EvaluateError::Trace(_))));
}
