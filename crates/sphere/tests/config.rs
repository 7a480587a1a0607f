//! Are all mistakes in a configuration told at once, where they are, and is every example free of them?

#![allow(clippy::unwrap_used, reason = "a failing test is the message, in its helpers, too")]

use sphere::config::{SourceConfig, StoreConfig, load, load_text};
use std::path::{Path, PathBuf};

fn problems(text: &str) -> String {
    load_text("sphere.yaml", text, Path::new("")).unwrap_err()
}

const VALID: &str = "
source: {prometheus: {url: 'http://127.0.0.1:9090'}}
workloads:
  - namespace: shop
    scaleTargetRef: {name: front-end}
    maxReplicas: 3
";

#[test]
fn a_short_file_is_enough_and_state_outlives_the_process() {
    let loaded = load_text("sphere.yaml", VALID, Path::new("")).unwrap();
    assert!(matches!(loaded.config.source, SourceConfig::Prometheus(_)));
    assert!(matches!(loaded.config.store(), StoreConfig::File(_)));
    assert_eq!(loaded.workloads.all()[0].id.to_string(), "shop/Deployment/front-end");
}

#[test]
fn all_problems_of_all_parts_are_told_at_once_with_their_lines() {
    let told = problems(
        "\
step: 10 fortnights
clocks: {speed: 2}
bus:
  kafka:
    brokers: [nowhere]
    partitons: 3
source: {prometheus: {url: 'ftp://host'}}
store: {redis: {password: hunter2}}
forecast:
  workers: many
  group: ''
workloads:
  - namespace: shop
    scaleTargetRef: {name: front-end}
    minReplicas: 9
    maxReplicas: 3
    colour: blue
  - scaleTargetRef: {name: x}
    maxReplicas: lots
",
    );
    let heads: Vec<&str> = told.lines().filter(|line| line.starts_with("sphere.yaml:")).collect();
    let places: Vec<String> =
        heads.iter().map(|head| head.splitn(5, ':').skip(1).take(3).collect::<Vec<_>>().join(":")).collect();
    assert_eq!(
        places,
        [
            "1:1: step",
            "2:1: clocks",
            "5:5: bus.kafka.brokers",
            "6:5: bus.kafka.partitons",
            "7:23: source.prometheus.url",
            "8:17: store.redis.password",
            "10:3: forecast.workers",
            "11:3: forecast.group",
            "13:5: workloads[0].metrics/behavior",
            "15:5: workloads[0].minReplicas",
            "17:5: workloads[0].colour",
            "18:5: workloads[1]",
            "19:5: workloads[1].maxReplicas",
        ],
        "{told}"
    );
    assert!(told.starts_with("13 problems in the configuration\n"), "{told}");
    let golden = "\
sphere.yaml:6:5: bus.kafka.partitons: unknown field `partitons`, expected one of `brokers`, ";
    assert!(told.contains(golden), "{told}");
    assert!(told.contains("     6 |     partitons: 3\n       |     ^\n"), "{told}");
    assert!(!told.contains("hunter2"), "{told}");
}

#[test]
fn a_mistake_in_the_syntax_is_shown_where_it_is() {
    let told = problems("step: 10s\nbus: [embedded\nstore: memory\n");
    assert!(told.contains("sphere.yaml:3:6: YAML: "), "{told}");
    assert!(told.contains("     3 | store: memory\n       |      ^"), "{told}");
    let twice = problems("step: 10s\nstep: 20s\n");
    assert!(twice.contains("sphere.yaml:2:1: YAML: ") && twice.contains("step"), "{twice}");
}

#[test]
fn what_makes_no_sense_together_is_refused() {
    let told = problems("clock: {speed: 60}\nstore: {file: {path: x}}\nsource: simulatedCluster\n");
    assert!(told.contains("clock.startedAt: absent"), "{told}");
    assert!(told.contains("simulatedCluster: absent"), "{told}");
}

#[test]
fn a_part_that_can_not_be_read_is_not_called_absent() {
    let told = problems("source: simulatedCluster\nsimulatedCluster: nonsense\n");
    assert!(
        told.starts_with("1 problem in") && told.contains("sphere.yaml:2:1: simulatedCluster: "),
        "{told}"
    );
}

#[test]
fn no_workloads_at_all_is_a_problem() {
    assert!(problems("source: {prometheus: {url: 'http://127.0.0.1:9090'}}\n").contains("workloads: none"));
}

#[test]
fn a_needed_key_that_is_wrong_or_absent_hides_no_other_problem() {
    let told = problems(
        "source: {prometheus: {url: 'http://127.0.0.1:9090'}}\nworkloads:\n  - namespace: Shop!\n    \
         scaleTargetRef: {nmae: front-end}\n    maxReplicas: many\n    minReplicas: 0\n  - maxReplicas: 0\n",
    );
    for expected in [
        "sphere.yaml:3:5: workloads[0].namespace: \"Shop!\" given; a DNS label is expected",
        "workloads[0].scaleTargetRef.nmae: unknown field `nmae`",
        "workloads[0].scaleTargetRef: missing field `name`",
        "sphere.yaml:5:5: workloads[0].maxReplicas: ",
        "workloads[0].metrics/behavior: minReplicas is 0; 0 needs an Object or External metric",
        "workloads[1]: missing field `namespace`",
        "workloads[1]: missing field `scaleTargetRef`",
        "sphere.yaml:7:5: workloads[1].maxReplicas: 0 given",
    ] {
        assert!(told.contains(expected), "{expected}\n---\n{told}");
    }
    assert!(!told.contains("unknown/"), "nothing is told of what stands in: {told}");
}

#[test]
fn a_workload_twice_is_a_problem() {
    let twice =
        format!("{VALID}  - {{namespace: shop, scaleTargetRef: {{name: front-end}}, maxReplicas: 5}}\n");
    assert!(problems(&twice).contains("shop/Deployment/front-end is there twice"));
}

#[test]
fn defaults_hold_for_every_workload_that_does_not_say_otherwise() {
    let dir = tempfile::tempdir().unwrap();
    let list = "- {namespace: shop, scaleTargetRef: {name: no}}\n\
                - {namespace: shop, scaleTargetRef: {name: b}, maxReplicas: 4}\n";
    std::fs::write(dir.path().join("list.yaml"), list).unwrap();
    let text = "source: {prometheus: {url: 'http://127.0.0.1:9090'}}\n\
                workloadDefaults: {maxReplicas: 9, minReplicas: 2}\nworkloadsFile: list.yaml\n";
    let loaded = load_text("sphere.yaml", text, dir.path()).unwrap();
    let sizes: Vec<(u32, u32)> =
        loaded.workloads.all().iter().map(|w| (w.spec.min_replicas, w.spec.max_replicas)).collect();
    assert_eq!(sizes, [(2, 9), (2, 4)]);
    // A name that old YAML would take for a truth value is a name.
    assert_eq!(loaded.workloads.all()[0].id.name(), "no");
    std::fs::write(dir.path().join("list.yaml"), "- {namespace: shop}\n").unwrap();
    let told = load_text("sphere.yaml", text, dir.path()).unwrap_err();
    assert!(told.contains("list.yaml:1:3: [0]: missing field `scaleTargetRef`"), "{told}");
}

#[test]
fn simulated_workloads_need_no_list() {
    let loaded = load_text(
        "sphere.yaml",
        "store: memory\nsource: simulatedCluster\nsimulatedCluster:\n  workloads:\n    - {namespace: a, name: b, \
         count: 30, capacityRps: 5, maxReplicas: 7, demand: {synthetic: {peakRps: 50}}}\n",
        Path::new(""),
    )
    .unwrap();
    assert_eq!(loaded.workloads.all().len(), 30);
    assert_eq!(loaded.workloads.all()[29].spec.max_replicas, 7);
}

#[test]
fn every_example_can_be_used() {
    let folder = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../../examples");
    let mut seen = 0;
    for entry in std::fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.extension().is_some_and(|extension| extension == "yaml") {
            load(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
            seen += 1;
        }
    }
    assert!(seen >= 6, "{seen} examples");
}

#[test]
fn the_schema_of_the_file_knows_its_keys() {
    let schema = &sphere::schema::all()["config"];
    for key in ["step", "bus", "store", "source", "workloads", "workloadDefaults", "simulatedCluster"] {
        assert!(schema["properties"].get(key).is_some(), "{key}: {schema}");
    }
}
