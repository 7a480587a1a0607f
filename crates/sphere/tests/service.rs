//! Does the service start, answer, stop, and come back as an operator expects?

#![allow(clippy::unwrap_used, reason = "a failing test is the message, in its helpers, too")]

mod common;

use common::{LONG, Sphere, run, write};
use serde_json::Value;
use sphere_testkit::redis::Authority;
use std::path::PathBuf;

#[test]
fn without_a_configuration_it_works_and_stops_on_sigterm_with_a_summary() {
    let mut sphere = Sphere::start(&["run", "--listen", "127.0.0.1:0", "--output", "json"]);
    sphere.wait_counted("autoscale", "decision", 20);
    sphere.wait_counted("forecast", "forecast", 20);
    let (status, body) = sphere.get("/readyz", "");
    assert_eq!((status, body.contains("\"ready\":true")), (200, true), "{body}");
    let (status, body) = sphere.get("/healthz", "");
    assert_eq!((status, body.contains("\"collect\":\"running\"")), (200, true), "{body}");
    let (_, page) = sphere.get("/metrics", "");
    assert!(page.contains("process_resident_memory_bytes ") && page.ends_with("# EOF\n"), "{page}");
    assert_eq!(page.matches("# EOF").count(), 1);
    let (code, stdout) = sphere.terminate();
    assert_eq!(code, Some(0));
    let summary: Value = serde_json::from_str(&stdout).unwrap();
    assert!(summary["stages"]["cache"]["forecast"].as_u64().unwrap() > 0, "{summary}");
    assert_eq!(summary["scores"].as_array().unwrap().len(), 3);
}

#[test]
fn it_stops_by_itself_when_its_time_on_the_clock_is_over() {
    let (code, stdout, log) = run(&["run", "--for", "5m", "--listen", "127.0.0.1:0"]);
    assert_eq!(code, Some(0), "{log}");
    assert!(
        stdout.contains("passed on the pipeline's clock") && stdout.contains("shop/Deployment/carts"),
        "{stdout}"
    );
}

/// Real time, steps of a second.
fn quick(dir: &std::path::Path, more: &str) -> String {
    let path = dir.join("state.redb").display().to_string();
    write(
        dir,
        &format!(
            "step: 1s
listen: 127.0.0.1:0
store: {{file: {{path: {path}}}}}
source: simulatedCluster
target: simulatedCluster
simulatedCluster:
  scrapeSeconds: 1
  windowSeconds: 4
  workloads:
    - {{namespace: shop, name: front-end, capacityRps: 20, startup: 5s, demand: {{synthetic: {{peakRps: 300}}}}}}
forecast: {{checkpoint: 1s, backfill: 10m}}
autoscale: {{sync: 1s}}
workloadDefaults: {{mode: Full}}
{more}"
        ),
    )
}

#[test]
fn what_it_learnt_survives_a_sigkill() {
    let dir = sphere_testkit::data_dir("restart").unwrap();
    let config = quick(dir.path(), "");
    let mut first = Sphere::start(&["run", "--config", &config]);
    first.wait_counted("forecast", "forecast", 3);
    first.wait_counted("forecast", "state_saved", 2);
    first.wait_counted("autoscale", "decision", 3);
    assert_eq!(first.counted("forecast", "restored"), 0);
    first.child.kill().unwrap();
    first.child.wait().unwrap();

    let mut second = Sphere::start(&["run", "--config", &config]);
    second.wait_counted("forecast", "restored", 1);
    second.wait_counted("forecast", "forecast", 3);
    assert!(second.log().contains("restored=1"), "{}", second.log());
    let (code, stdout) = second.terminate();
    assert_eq!(code, Some(0));
    assert!(stdout.contains("1 restored"), "{stdout}");

    let (code, shown, log) = run(&["show", "--config", &config, "shop/Deployment/front-end"]);
    assert_eq!(code, Some(0), "{log}");
    assert!(shown.contains("decision   ") && shown.contains("demand     "), "{shown}");
}

#[test]
fn a_component_that_is_away_is_named_by_readyz_and_metrics_ask_for_the_token() {
    let dir = sphere_testkit::data_dir("away").unwrap();
    let token = dir.path().join("token");
    std::fs::write(&token, "s3cret\n").unwrap();
    let port = sphere_testkit::free_port().unwrap();
    let config = write(
        dir.path(),
        &format!(
            "listen: 127.0.0.1:0
store: memory
metricsTokenFile: {}
source: {{prometheus: {{url: 'http://127.0.0.1:{port}', retries: 0}}}}
workloads: [{{namespace: shop, scaleTargetRef: {{name: front-end}}, maxReplicas: 3}}]
",
            token.display()
        ),
    );
    let mut sphere = Sphere::start(&["run", "--config", &config]);
    let (status, body) = sphere.get("/readyz", "");
    let told: Value = serde_json::from_str(&body).unwrap();
    assert_eq!((status, &told["ready"], &told["components"]["store"]), (503, &false.into(), &"ready".into()));
    assert!(told["components"]["source"].as_str().unwrap().contains("prometheus"), "{body}");
    assert_eq!(sphere.get("/metrics", "").0, 401);
    assert_eq!(sphere.get("/metrics", "Authorization: Bearer wrong\r\n").0, 401);
    assert_eq!(sphere.get("/metrics", "Authorization: Bearer s3cret\r\n").0, 200);
    assert_eq!(sphere.get("/healthz", "").0, 200);
    assert!(!sphere.log().contains("s3cret"));
    assert_eq!(sphere.terminate().0, Some(0));
}

#[test]
fn our_own_address_speaks_tls_and_takes_a_renewed_certificate() {
    let dir = sphere_testkit::data_dir("tls").unwrap();
    let [first, second] = ["first", "second"].map(|name| Authority::create(dir.path(), name).unwrap());
    let file = |name: &str| dir.path().join(name);
    let install = |(cert, key): (PathBuf, PathBuf)| {
        std::fs::copy(cert, file("tls.crt")).unwrap();
        std::fs::copy(key, file("tls.key")).unwrap();
    };
    install(first.issue("one").unwrap());
    let tls = format!("listenTls: {{certFile: {0}/tls.crt, keyFile: {0}/tls.key}}\n", dir.path().display());
    let config = quick(dir.path(), &tls);
    let mut sphere = Sphere::start(&["run", "--config", &config]);
    assert_eq!(sphere.get_tls("/healthz", &first.certificate()).unwrap().0, 200);
    assert!(sphere.get_tls("/metrics", &first.certificate()).unwrap().1.contains("sphere_"));
    assert!(sphere.get_tls("/healthz", &second.certificate()).is_err(), "somebody else's certificate");

    install(second.issue("two").unwrap());
    sphere_testkit::wait_until("the new certificate is used", LONG, || {
        sphere.get_tls("/healthz", &second.certificate()).is_ok()
    })
    .unwrap();
    assert_eq!(sphere.terminate().0, Some(0));

    std::fs::write(file("tls.key"), "no key").unwrap();
    let (code, _, log) = run(&["run", "--config", &config]);
    assert!(code == Some(1) && log.contains("tls.key") && log.contains("PEM"), "{code:?} {log}");
}

#[test]
fn wrong_input_ends_with_2_and_a_taken_port_with_1() {
    let dir = sphere_testkit::data_dir("wrong").unwrap();
    let config = write(dir.path(), "stpe: 10s\nlisten: nowhere\n");
    let (code, _, log) = run(&["run", "--config", &config]);
    assert_eq!(code, Some(2));
    assert!(log.contains("stpe: unknown field") && log.contains("listen: "), "{log}");
    let (code, _, log) = run(&["run", "--check", "--config", &config]);
    assert_eq!((code, log.contains("problems in the configuration")), (Some(2), true), "{log}");

    let (code, _, log) = run(&["collect"]);
    assert_eq!(code, Some(2));
    assert!(log.contains("bus: embedded lives in one process"), "{log}");
    assert_eq!(run(&["collect", "--shard", "3/3"]).0, Some(2));

    let taken = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let address = taken.local_addr().unwrap().to_string();
    let (code, _, log) = run(&["run", "--listen", &address]);
    assert_eq!(code, Some(1));
    assert!(log.contains("can not be listened on"), "{log}");
}

#[test]
fn check_says_what_would_run_and_flags_win_over_the_file() {
    let dir = sphere_testkit::data_dir("check").unwrap();
    let config = quick(dir.path(), "log: {level: debug}\n");
    let (code, stdout, log) = run(&[
        "run",
        "--check",
        "--config",
        &config,
        "--listen",
        "127.0.0.1:7",
        "--log-level",
        "warn",
        "--output",
        "json",
    ]);
    assert_eq!(code, Some(0), "{log}");
    let told: Value = serde_json::from_str(&stdout).unwrap();
    assert_eq!(told["config"]["listen"], "127.0.0.1:7");
    assert_eq!(told["config"]["log"]["level"], "warn");
    assert_eq!(told["stages"], serde_json::json!(["collect", "forecast", "cache", "autoscale"]));
    assert!(!dir.path().join("state.redb").exists(), "--check has made the store");
}
