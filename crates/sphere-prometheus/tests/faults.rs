//! What does the source say when Prometheus, or what stands in its place, misbehaves?

#![allow(clippy::unwrap_used, reason = "helpers of tests: a failing test is the message")]

mod common;

use common::*;
use sphere_pipeline::{MetricSource, SourceError};
use sphere_prometheus::{Prometheus, PrometheusConfig};
use sphere_testkit::prometheus::{Exporter, Prometheus as Server};
use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

/// The fault itself: a server that does to each connection what it is told. Ends with the test's process.
fn broken(
    behave: impl Fn(&mut TcpStream) -> std::io::Result<()> + Send + 'static,
) -> (String, Arc<AtomicUsize>) {
    let listener = TcpListener::bind(("127.0.0.1", 0)).unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    let asked = Arc::new(AtomicUsize::new(0));
    let count = asked.clone();
    std::thread::spawn(move || {
        for mut stream in listener.incoming().flatten() {
            let mut request = [0u8; 4096];
            let _ = stream.read(&mut request);
            count.fetch_add(1, Ordering::SeqCst);
            let _ = behave(&mut stream);
        }
    });
    (url, asked)
}

fn says(status: &'static str, body: &'static str) -> (String, Arc<AtomicUsize>) {
    broken(move |stream| {
        let length = body.len();
        write!(stream, "HTTP/1.1 {status}\r\nContent-Length: {length}\r\nConnection: close\r\n\r\n{body}")
    })
}

fn source_at(url: &str) -> Prometheus {
    let config = PrometheusConfig { timeout_seconds: 3.0, ..config(url) };
    Prometheus::new(PrometheusConfig { max_response_bytes: 1 << 20, ..config }).unwrap()
}

#[tokio::test]
async fn what_can_not_be_used_is_a_bad_answer_and_is_not_asked_for_again() {
    let partial =
        r#"{"status":"success","data":{"resultType":"vector","result":[]},"warnings":["store down"]}"#;
    let dropped = r#"{"status":"success","data":{"resultType":"vector","result":[]},"infos":["PromQL info: ignored histogram"]}"#;
    let refused = r#"{"status":"error","errorType":"bad_data","error":"no such thing"}"#;
    for (status, body, said) in [
        ("200 OK", "<html>login</html>", "not an answer of Prometheus"),
        ("200 OK", "", "not an answer of Prometheus"),
        ("200 OK", r#"{"status":"success","data":{"resultType":"vector","result":[{"#, "not an answer"),
        ("200 OK", refused, "no such thing"),
        ("200 OK", partial, "store down"),
        ("200 OK", dropped, "ignored histogram"),
        ("400 Bad Request", refused, "HTTP 400: no such thing"),
        ("403 Forbidden", "tenant?", "HTTP 403: tenant?"),
        ("302 Found", "", "HTTP 302"),
    ] {
        let (url, asked) = says(status, body);
        let error = source_at(&url).check().await.unwrap_err();
        let SourceError::BadAnswer { detail, .. } = &error else { panic!("{status} {body}: {error:?}") };
        assert!(detail.contains(said) && detail.contains("query: vector(1)"), "{detail}");
        assert_eq!(asked.load(Ordering::SeqCst), 1, "{detail}");
    }
    let (url, _) = says("200 OK", partial);
    let lenient = PrometheusConfig { accept_partial: true, ..config(&url) };
    Prometheus::new(lenient).unwrap().check().await.unwrap();
}

#[tokio::test]
async fn a_partial_answer_fails_every_workload_it_concerns() {
    let (url, _) = says(
        "200 OK",
        r#"{"status":"success","data":{"resultType":"vector","result":[]},"warnings":["store down"]}"#,
    );
    let all = workloads(vec![workload("shop/Deployment/web"), workload("shop/Deployment/cart")]);
    let source = source_at(&url);
    let at = now();
    for answer in source.samples(&all, at).await {
        assert!(matches!(answer, Err(SourceError::BadAnswer { .. })), "{answer:?}");
    }
    for answer in source.live(&all, at).await {
        assert!(matches!(answer, Err(SourceError::BadAnswer { .. })), "{answer:?}");
    }
    for answer in source.history(&all, at - Duration::from_secs(600), at, Duration::from_secs(10)).await {
        assert!(matches!(answer, Err(SourceError::BadAnswer { .. })), "{answer:?}");
    }
}

#[tokio::test]
async fn a_server_error_is_tried_again_as_often_as_stated() {
    for status in ["500 Internal Server Error", "503 Service Unavailable", "429 Too Many Requests"] {
        let (url, asked) = says(status, "busy");
        let error = source_at(&url).check().await.unwrap_err();
        assert!(
            matches!(&error, SourceError::Unavailable { detail, .. } if detail.contains("busy")),
            "{error}"
        );
        assert_eq!(asked.load(Ordering::SeqCst), 3);
    }
}

#[tokio::test]
async fn an_answer_that_breaks_off_or_never_ends_is_refused() {
    let (url, asked) = broken(|stream| {
        write!(stream, "HTTP/1.1 200 OK\r\nContent-Length: 5000\r\nConnection: close\r\n\r\n{{\"status\":")
    });
    let error = source_at(&url).check().await.unwrap_err();
    assert!(
        matches!(&error, SourceError::BadAnswer { detail, .. } if detail.contains("broke off")),
        "{error}"
    );
    assert_eq!(asked.load(Ordering::SeqCst), 3);

    let (url, _) = broken(|stream| {
        write!(stream, "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n")?;
        let chunk = [b' '; 65_536];
        loop {
            write!(stream, "10000\r\n")?;
            stream.write_all(&chunk)?;
            write!(stream, "\r\n")?;
        }
    });
    let error = source_at(&url).check().await.unwrap_err();
    assert!(
        matches!(&error, SourceError::BadAnswer { detail, .. } if detail.contains("longer than")),
        "{error}"
    );

    let (url, _) = broken(|stream| write!(stream, "HTTP/1.1 200 OK\r\nContent-Length: 99999999999\r\n\r\n"));
    let error = source_at(&url).check().await.unwrap_err();
    assert!(
        matches!(&error, SourceError::BadAnswer { detail, .. } if detail.contains("longer than")),
        "{error}"
    );
}

#[tokio::test]
async fn a_silent_or_trickling_server_costs_no_more_than_the_time_out() {
    let silent = TcpListener::bind(("127.0.0.1", 0)).unwrap();
    let silent_url = format!("http://{}", silent.local_addr().unwrap());
    let (trickling, _) = broken(|stream| {
        write!(stream, "HTTP/1.1 200 OK\r\nContent-Length: 100000\r\n\r\n")?;
        loop {
            write!(stream, " ")?;
            std::thread::sleep(Duration::from_millis(50));
        }
    });
    let mut specs = vec![workload("shop/Deployment/web")];
    for i in 0..100 {
        let mut spec = workload(&format!("shop/Deployment/q{i}"));
        spec.forecast.demand.query = Some("1".into());
        specs.push(spec);
    }
    let all = workloads(specs);
    for url in [silent_url, trickling] {
        let source = Prometheus::new(PrometheusConfig { timeout_seconds: 1.0, ..config(&url) }).unwrap();
        let started = Instant::now();
        for answer in source.samples(&all, now()).await {
            assert!(matches!(answer, Err(SourceError::Unavailable { .. })), "{answer:?}");
        }
        let spent = started.elapsed();
        assert!(spent >= Duration::from_millis(900) && spent < Duration::from_secs(3), "{spent:?}");
    }
}

#[tokio::test]
async fn a_paused_prometheus_costs_the_time_out_and_a_restarted_one_is_found_again() {
    let exporter = Exporter::start().unwrap();
    let mut server = Server::start(&[exporter.target()], SECOND).unwrap();
    let source = Prometheus::new(PrometheusConfig { timeout_seconds: 1.0, ..config(&server.url()) }).unwrap();
    source.check().await.unwrap();
    server.process.pause().unwrap();
    // A stopped process may still send what it has begun.
    let (error, spent) = loop {
        let started = Instant::now();
        if let Err(error) = source.check().await {
            break (error, started.elapsed());
        }
    };
    assert!(
        matches!(&error, SourceError::Unavailable { detail, .. } if detail.contains("within 1 s")),
        "{error}"
    );
    assert!(spent < Duration::from_secs(3), "{spent:?}");
    server.process.resume().unwrap();
    let recovered = |result: Result<(), SourceError>| result.is_ok();
    let started = Instant::now();
    while !recovered(source.check().await) {
        assert!(started.elapsed() < LIMIT);
    }
    server.process.kill();
    let error = source.check().await.unwrap_err();
    assert!(matches!(error, SourceError::Unavailable { .. }), "{error}");
    server.restart().unwrap();
    let started = Instant::now();
    while !recovered(source.check().await) {
        assert!(started.elapsed() < LIMIT);
    }
}
