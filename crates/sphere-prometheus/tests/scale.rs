//! What do thousands of workloads cost?

#![allow(clippy::unwrap_used, reason = "helpers of tests: a failing test is the message")]

mod common;

use common::*;
use sphere_core::Timestamp;
use sphere_pipeline::MetricSource;
use sphere_prometheus::{Prometheus, PrometheusConfig};
use sphere_testkit::prometheus::{Exporter, Options, Page, Prometheus as Server};
use std::fmt::Write as _;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

/// Letters that generated names are made of, as digits.
fn generated(mut n: usize) -> String {
    let letters = b"bcdfghjklmnpqrstvwxz2456789";
    (0..5)
        .map(|_| {
            let letter = letters[n % letters.len()];
            n /= letters.len();
            char::from(letter)
        })
        .collect()
}

fn pod_name(workload: usize, pod: usize) -> String {
    format!("app-{workload}-7d9f8b6c5d-{}", generated(workload * 2 + pod))
}

#[tokio::test]
async fn two_thousand_workloads_cost_a_handful_of_queries() {
    const WORKLOADS: usize = 2000;
    let mut page = Page::default();
    for w in 0..WORKLOADS {
        replica_set(&mut page, &format!("app-{w}-7d9f8b6c5d"), &format!("app-{w}"));
        replicas(&mut page, &format!("app-{w}"), 2, 2);
        for p in 0..2 {
            let mut pod = Pod::new(&pod_name(w, p), ("ReplicaSet", &format!("app-{w}-7d9f8b6c5d")), 0.0);
            pod.show(&mut page, 0.0);
            pod.exists = false;
        }
    }
    // Counters grow; all else stays as it is.
    let fixed: String = page.text().lines().filter(|line| !line.starts_with("container_cpu")).fold(
        String::new(),
        |mut text, line| {
            writeln!(text, "{line}").unwrap();
            text
        },
    );
    let exporter = Arc::new(Exporter::start().unwrap());
    let over = Arc::new(AtomicBool::new(false));
    let writer = (exporter.clone(), over.clone());
    std::thread::spawn(move || {
        let started = Instant::now();
        while !writer.1.load(Ordering::SeqCst) {
            let elapsed = started.elapsed().as_secs_f64();
            let mut text = fixed.clone();
            for w in 0..WORKLOADS {
                for p in 0..2 {
                    let cpu = elapsed * 0.001 * (w + 1) as f64 / 2.0;
                    let pod = pod_name(w, p);
                    writeln!(
                        text,
                        r#"container_cpu_usage_seconds_total{{namespace="shop",pod="{pod}",container="app"}} {cpu}"#
                    )
                    .unwrap();
                }
            }
            writer.0.set(text);
            std::thread::sleep(Duration::from_millis(200));
        }
    });
    let server = Server::start(&[exporter.target()], Duration::from_secs(3)).unwrap();
    let source = Prometheus::new(PrometheusConfig {
        timeout_seconds: 60.0,
        rate_window_seconds: 15.0,
        stale_after_seconds: 15.0,
        ..PrometheusConfig::new(server.url())
    })
    .unwrap();
    let all = workloads((0..WORKLOADS).map(|w| workload(&format!("shop/Deployment/app-{w}"))).collect());
    let near = |w: usize, demand: f64| (demand / (0.001 * (w + 1) as f64) - 1.0).abs() < 0.15;
    let started = Instant::now();
    loop {
        let answers = source.samples(&all, now()).await;
        let right = answers.iter().enumerate().filter(|(w, answer)| {
            answer.as_ref().is_ok_and(|sample| {
                sample.demand.is_some_and(|d| near(*w, d)) && sample.capacity_per_pod == Some(1.0)
            })
        });
        let right = right.count();
        if right == WORKLOADS {
            break;
        }
        assert!(started.elapsed() < LIMIT, "{right} of {WORKLOADS} are right; the first: {:?}", answers[0]);
    }
    let before = server.queries_answered().unwrap();
    let (started, at) = (Instant::now(), now());
    let answers = source.samples(&all, at).await;
    let (samples_took, samples_cost) = (started.elapsed(), server.queries_answered().unwrap() - before);
    assert!(answers.iter().all(Result::is_ok));
    let started = Instant::now();
    let live = source.live(&all, at).await;
    let (live_took, live_cost) =
        (started.elapsed(), server.queries_answered().unwrap() - before - samples_cost);
    assert!(live.iter().all(|live| live.as_ref().is_ok_and(|live| live.pods.len() == 2)));
    println!(
        "{WORKLOADS} workloads, {} pods: samples {samples_cost} requests {samples_took:.2?}, \
         live {live_cost} requests {live_took:.2?}",
        2 * WORKLOADS
    );
    assert!(samples_cost <= 8, "{samples_cost}");
    assert!(live_cost <= 9, "{live_cost}");
    over.store(true, Ordering::SeqCst);
}

/// Counters of two pods per workload and ready replicas, every ten seconds, as OpenMetrics. Workload 0 has a gap, and
/// workload 1 a while in which one of its two pods is not seen.
fn past(workloads: usize, steps: i64, first_s: i64) -> String {
    let mut text = String::from("# TYPE container_cpu_usage_seconds counter\n");
    for w in 0..workloads {
        for p in 0..2 {
            let pod = pod_name(w, p);
            for k in 0..steps {
                let unseen =
                    (w == 0 && (100..150).contains(&k)) || (w == 1 && p == 1 && (200..250).contains(&k));
                if unseen {
                    continue;
                }
                let (cpu, at) = (k as f64 * 0.01 * (w + 1) as f64 / 2.0, first_s + 10 * k);
                writeln!(
                    text,
                    r#"container_cpu_usage_seconds_total{{namespace="shop",pod="{pod}",container="app"}} {cpu:.4} {at}"#
                )
                .unwrap();
            }
        }
    }
    text.push_str("# TYPE kube_deployment_status_replicas_ready gauge\n");
    for w in 0..workloads {
        for k in 0..steps {
            writeln!(
                text,
                r#"kube_deployment_status_replicas_ready{{namespace="shop",deployment="app-{w}"}} 2 {}"#,
                first_s + 10 * k
            )
            .unwrap();
        }
    }
    text.push_str("# EOF\n");
    text
}

#[tokio::test]
async fn an_hour_of_a_thousand_workloads_is_read_quickly_and_gaps_stay_gaps() {
    const WORKLOADS: usize = 1000;
    const STEP: Duration = Duration::from_secs(10);
    let first_s = now().millis() / 10_000 * 10 - 2 * 3600;
    let mut options = Options::new(&[], SECOND);
    options.history = Some(past(WORKLOADS, 400, first_s));
    let server = Server::start_with(options).unwrap();
    let source = |config: PrometheusConfig| {
        Prometheus::new(PrometheusConfig { timeout_seconds: 60.0, ..config }).unwrap()
    };
    let all = workloads((0..WORKLOADS).map(|w| workload(&format!("shop/Deployment/app-{w}"))).collect());
    let (from, to) = (Timestamp::from_secs(first_s + 390), Timestamp::from_secs(first_s + 3990));
    let before = server.queries_answered().unwrap();
    let started = Instant::now();
    let answers = source(PrometheusConfig::new(server.url())).history(&all, from, to, STEP).await;
    let (took, cost) = (started.elapsed(), server.queries_answered().unwrap() - before);
    println!("{WORKLOADS} workloads x 360 points: {cost} requests {took:.2?}");
    for (w, answer) in answers.iter().enumerate() {
        let history = answer.as_ref().unwrap();
        assert_eq!((history.len(), history[0].0, history[359].0), (360, from + STEP, to));
        let gaps = history.iter().filter(|(_, value)| value.is_none()).count();
        let bounds = if w < 2 { 45..=50 } else { 0..=0 };
        assert!(bounds.contains(&gaps), "{w}: {gaps} gaps");
        let full = 0.001 * (w + 1) as f64;
        let right = |value: f64| (value / full - 1.0).abs() < 0.06 || (w < 2 && value < 1.1 * full);
        assert!(history.iter().filter_map(|(_, value)| *value).all(right), "{w}: {history:?}");
    }
    assert!(took < Duration::from_secs(20), "{took:?}");

    // The same in many small pieces, some of which are too large at first.
    let small = PrometheusConfig {
        max_points_per_query: 100,
        max_response_bytes: 1 << 20,
        ..PrometheusConfig::new(server.url())
    };
    assert_eq!(source(small).history(&all[..300], from, to, STEP).await, answers[..300]);

    // At an instant of the past it answers as it would have done then.
    let then = Timestamp::from_secs(first_s + 1000);
    let sample =
        source(PrometheusConfig::new(server.url())).samples(&all[5..6], then).await.remove(0).unwrap();
    assert!((sample.demand.unwrap() / 0.006 - 1.0).abs() < 0.06 && sample.at == then, "{sample:?}");
    assert_eq!(sample.ready, Some(2));
}
