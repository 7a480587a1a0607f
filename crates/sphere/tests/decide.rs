//! Does `decide` answer the questions an incident raises, and refuse what it can not read?

#![allow(clippy::unwrap_used, reason = "a failing test is the message, in its helpers, too")]

use serde::Deserialize;
use serde_json::{Value, json};
use sphere::decide::{DecideOptions, DecideOutput, LineError, Summary, decide_line, run};

const QUIET: &str =
    r#"{"policy":{"maxReplicas":20},"observation":{"now":1772366400000,"current":8,"cpuUtilization":0.72}}"#;

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Incident {
    name: String,
    input: Value,
    expected: Expected,
}

/// What is absent is not checked.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Expected {
    desired: Option<u32>,
    reasons: Option<Vec<String>>,
    applied: Option<bool>,
}

fn decide(input: &Value) -> DecideOutput {
    decide_line(1, &input.to_string(), DecideOptions::default()).unwrap_or_else(|e| panic!("{e}"))
}

/// The problems of a bad line, one text each.
fn problems(text: &str) -> Vec<String> {
    let error = decide_line(7, text, DecideOptions::default()).expect_err("the line is bad");
    assert_eq!(error.line, 7);
    assert!(error.to_string().starts_with("line 7: "), "{error}");
    error.problems.iter().map(ToString::to_string).collect()
}

fn stream(text: &str) -> (Summary, Vec<String>, Vec<LineError>) {
    let (mut out, mut errors) = (Vec::new(), Vec::new());
    let summary =
        run(text.as_bytes(), &mut out, DecideOptions::default(), |e| errors.push(e.clone())).unwrap();
    (summary, String::from_utf8(out).unwrap().lines().map(str::to_owned).collect(), errors)
}

#[test]
fn worked_incidents_end_as_written_down() {
    let mut seen = 0;
    for line in include_str!("fixtures/incidents.jsonl").lines() {
        let Incident { name, input, expected } = serde_json::from_str(line).unwrap();
        let answer = decide(&input);
        let names: Vec<&str> = answer.decision.reasons.iter().map(|r| r.name()).collect();
        assert!(expected.desired.is_none_or(|d| d == answer.decision.desired), "{name}: {answer:?}");
        assert!(expected.reasons.is_none_or(|r| r == names), "{name}: {names:?}");
        assert!(expected.applied.is_none_or(|a| a == answer.decision.applied), "{name}: {answer:?}");
        assert!(
            answer.explanation.starts_with(&format!("{} replica", answer.decision.desired)),
            "{answer:?}"
        );
        assert_eq!(answer, decide(&input), "{name}: the same line gives the same answer");
        seen += 1;
    }
    assert!(seen > 20);
}

#[test]
fn a_ramp_in_the_history_is_answered_ahead_of_the_demand() {
    let line = include_str!("fixtures/incidents.jsonl").lines().last().unwrap();
    let incident: Incident = serde_json::from_str(line).unwrap();
    let with_forecast = DecideOptions { with_forecast: true, ..DecideOptions::default() };
    let answer = decide_line(1, &incident.input.to_string(), with_forecast).unwrap();
    let forecast = answer.forecast.unwrap();
    // 128 now, 0.9 more each step; a minute is six steps and the one in which the pod becomes ready.
    let at_lead = forecast.steps.last().unwrap();
    assert_eq!(at_lead.at.millis(), 1_772_366_400_000 + 70_000);
    assert!((at_lead.demand.mean() - 134.3).abs() < 2.0, "{}", at_lead.demand.mean());
    assert!(answer.decision.desired >= 14, "{:?}", answer.decision);
}

#[test]
fn a_history_that_ended_years_ago_is_an_expired_forecast() {
    let mut line: Value = serde_json::from_str(QUIET).unwrap();
    line["policy"]["capacityPerPod"] = json!(10);
    line["history"] = json!({"demand": [[0, 5], [1000, 500]], "stepSeconds": 1});
    let answer = decide(&line);
    let names: Vec<&str> = answer.decision.reasons.iter().map(|r| r.name()).collect();
    assert_eq!(
        (answer.decision.desired, names),
        (8, vec!["WithinTolerance", "ForecastExpired", "ObserveOnly"])
    );
}

#[test]
fn the_saved_state_of_one_line_continues_in_the_next() {
    let blind = |now: i64, state: Option<Value>| {
        let mut line = json!({
            "policy": {"maxReplicas": 20, "fallback": {"fallback_after_s": 60, "fallback_replicas": 12}},
            "observation": {"now": now, "current": 8}
        });
        if let Some(state) = state {
            line["history"] = json!({ "state": state });
        }
        let with_state = DecideOptions { with_state: true, ..DecideOptions::default() };
        decide_line(1, &line.to_string(), with_state).unwrap()
    };
    let first = blind(0, None);
    let state = serde_json::to_value(first.state.unwrap()).unwrap();
    assert_eq!(first.decision.desired, 8);
    assert_eq!(blind(60_000, Some(state)).decision.desired, 12, "the clock of missing metrics went on");
    assert_eq!(blind(60_000, None).decision.desired, 8);
}

#[test]
fn a_bad_line_names_the_key_the_value_and_what_is_accepted() {
    let with = |pointer: &str, value: Value| {
        let mut line: Value = serde_json::from_str(QUIET).unwrap();
        let (parent, key) = pointer.rsplit_once('/').unwrap();
        line.pointer_mut(parent).unwrap().as_object_mut().unwrap().insert(key.into(), value);
        line.to_string()
    };
    for (text, told) in [
        ("8 pods at 72 %".to_owned(), vec!["8 pods at 72 %", "JSON object"]),
        ("[1]".into(), vec!["JSON object"]),
        ("{".into(), vec!["EOF"]),
        (format!("{QUIET} {QUIET}"), vec!["trailing"]),
        ("{}".into(), vec!["missing field `policy`"]),
        (with("/polcy", json!({})), vec!["polcy: unknown field `polcy`", "`policy`"]),
        (with("/observation/replicas", json!(3)), vec!["observation.replicas: unknown field", "`current`"]),
        (with("/policy/maxReplica", json!(3)), vec!["policy.maxReplica: unknown field", "`maxReplicas`"]),
        (with("/observation/demand", json!("lots")), vec!["observation.demand: ", "\"lots\"", "f64"]),
        (with("/observation/current", json!(-3)), vec!["observation.current: ", "-3", "u32"]),
        (with("/observation/current", json!(4_000_000_000u32)), vec!["observation.current: ", "0..=100000"]),
        (with("/observation/now", json!("noon")), vec!["observation.now: ", "\"noon\"", "RFC 3339"]),
        (with("/observation/demand", json!(-1.5)), vec!["observation.demand: -1.5 given", "at least 0"]),
        (with("/observation/violatedShare", json!(50)), vec!["violatedShare: 50 given", "0 to 1"]),
        (
            with("/policy/metrics", json!([{"type": "Resourc"}])),
            vec!["policy.metrics[0]", "Resourc", "`Resource`"],
        ),
        (with("/policy/minReplicas", json!(30)), vec!["policy.minReplicas: 30 is above maxReplicas 20"]),
        (with("/observation/metrics", json!([{"average": 3}])), vec!["cpuUtilization: given together"]),
        (
            with("/history", json!({"demand": [[1, 2], [1, 2]]})),
            vec!["history.demand[1][0]", "from old to new"],
        ),
        (with("/history", json!({"demand": [[1_900_000_000_000i64, 2]]})), vec!["after observation.now"]),
        (with("/history", json!({"demand": [[1, "x"]]})), vec!["history.demand[0][1]", "\"x\""]),
        (with("/history", json!({"stepSeconds": 0})), vec!["history.stepSeconds: 0 given, 1 to 3600"]),
    ] {
        let all = problems(&text).join("\n");
        for part in told {
            assert!(all.contains(part), "{text}\n{part} is missing in: {all}");
        }
    }
}

#[test]
fn a_reading_that_does_not_fit_its_metric_says_what_would() {
    let line = json!({
        "policy": {"maxReplicas": 20},
        "observation": {"now": 0, "current": 8, "metrics": [{"series": ["3"]}, {"average": "1"}]}
    });
    let all = problems(&line.to_string());
    assert!(
        all.contains(&"observation.metrics: 2 readings given, the policy has 1 metrics".to_owned()),
        "{all:?}"
    );
    assert!(
        all.iter().any(|p| p.contains("observation.metrics[0]") && p.contains("utilization, average")),
        "{all:?}"
    );
}

#[test]
fn all_that_is_wrong_with_a_policy_is_told_at_once() {
    let line = json!({
        "policy": {
            "minReplicas": 5, "maxReplicas": 3, "capacityPerPod": 0, "startupSeconds": 0, "objective": {"slo": 0.9},
            "behavior": {"scaleDown": {"stabilizationWindowSeconds": 9999}}
        },
        "observation": {"now": 0, "current": 8, "demand": -1}
    });
    let all = problems(&line.to_string()).join("\n");
    for key in [
        "policy.minReplicas",
        "policy.capacityPerPod",
        "policy.startupSeconds",
        "policy.objective.slo",
        "policy.behavior.scaleDown.stabilizationWindowSeconds: 9999",
        "observation.demand",
    ] {
        assert!(all.contains(key), "{key} is missing in {all}");
    }
}

#[test]
fn nothing_in_gives_nothing_out() {
    for text in ["", "\n", "  \n\t\r\n\n"] {
        assert_eq!(stream(text), (Summary::default(), vec![], vec![]), "{text:?}");
    }
}

#[test]
fn a_bad_line_does_not_stop_the_stream_and_leaves_nothing_half_written() {
    let (summary, out, errors) = stream(&format!("{QUIET}\n\noops\n{QUIET}\r\n{{\"policy\":\n{QUIET}"));
    assert_eq!(summary, Summary { decided: 3, refused: 2 });
    assert_eq!(errors.iter().map(|e| e.line).collect::<Vec<_>>(), [3, 5]);
    assert!(out.iter().all(|line| line == &out[0] && serde_json::from_str::<DecideOutput>(line).is_ok()));
    let not_text = [QUIET.as_bytes(), b"\n{\"\xff\"}\n", QUIET.as_bytes()].concat();
    let mut refused = 0;
    let summary = run(&not_text[..], Vec::new(), DecideOptions::default(), |_| refused += 1).unwrap();
    assert_eq!((summary, refused), (Summary { decided: 2, refused: 1 }, 1));
}

#[test]
fn a_thousand_lines_give_a_thousand_answers_in_their_order() {
    let line = |current: u32| QUIET.replace("\"current\":8", &format!("\"current\":{current}"));
    let text: String = (1..=1000).map(|i| line(i % 19 + 1) + "\n").collect();
    let (summary, out, _) = stream(&text);
    assert_eq!(summary, Summary { decided: 1000, refused: 0 });
    for (i, line) in (1..).zip(&out) {
        assert_eq!(serde_json::from_str::<DecideOutput>(line).unwrap().decision.current, i % 19 + 1);
    }
}
