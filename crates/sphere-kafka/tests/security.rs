//! Do TLS and SASL work against a real broker, and are the wrong certificate and password refused?
#![allow(clippy::unwrap_used)]

mod common;

use common::*;
use sphere_kafka::{KafkaBus, KafkaConfig, Mechanism, Sasl, Tls};
use sphere_pipeline::{Bus, BusError, Topic};
use sphere_testkit::kafka::{Kafka, Options, PASSWORD, USER};
use std::io::Write;
use std::path::PathBuf;
use std::time::{Duration, Instant};

fn tls(ca: PathBuf) -> Option<Tls> {
    Some(Tls { ca_file: Some(ca), ..Tls::default() })
}

#[tokio::test(flavor = "multi_thread")]
async fn only_the_right_certificate_and_password_get_through() {
    let kafka = Kafka::with(&Options { secure: true, ..Options::default() }).unwrap();
    let mut password_file = tempfile::NamedTempFile::new().unwrap();
    writeln!(password_file, "{PASSWORD}").unwrap();
    let login = |mechanism| {
        Some(Sasl {
            mechanism,
            username: USER.into(),
            password_file: Some(password_file.path().into()),
            password_env: None,
        })
    };

    let plain = config(&kafka.bootstrap_tls(), 1);
    let encrypted = KafkaConfig { tls: tls(kafka.ca_file()), ..plain.clone() };
    let mut clients = vec![encrypted.clone()];
    for mechanism in [Mechanism::Plain, Mechanism::ScramSha256, Mechanism::ScramSha512] {
        let sasl = login(mechanism);
        clients.push(KafkaConfig { brokers: kafka.bootstrap_sasl(), sasl, ..encrypted.clone() });
    }
    for (n, client) in (1..).zip(&clients) {
        let bus = bus(client.clone()).await;
        assert!(!format!("{bus:?}").contains(PASSWORD));
        bus.publish(vec![message("k", n)]).await.unwrap();
        assert_eq!(bus.lag(&unique("g"), Topic::Metrics).await.unwrap(), n);
        let mut consumer = bus.subscribe(subscription(&unique("g"))).await.unwrap();
        assert_eq!(number(&records(&mut consumer, n as usize).await[n as usize - 1]), n);
        consumer.close().await.unwrap();
    }

    let other_ca = KafkaConfig { tls: tls(kafka.other_ca_file().unwrap()), ..plain.clone() };
    assert_refused(other_ca, "certificate").await;

    let wrong = "not-this-one-either";
    let mut file = tempfile::NamedTempFile::new().unwrap();
    write!(file, "{wrong}").unwrap();
    for good in &clients[1..] {
        let mut bad = good.clone();
        bad.sasl.as_mut().unwrap().password_file = Some(file.path().into());
        let text = assert_refused(bad, "uthentication").await;
        assert!(!text.contains(wrong) && !text.contains(PASSWORD), "{text}");
    }
}

/// Publishing, asking and reading are refused for good, quickly, and the reason is told.
async fn assert_refused(config: KafkaConfig, reason: &str) -> String {
    let mut texts = String::new();
    for what in ["publish", "check", "read"] {
        let bus = KafkaBus::new(config.clone()).unwrap();
        let started = Instant::now();
        let error = match what {
            "publish" => bus.publish(vec![message("k", 0)]).await.unwrap_err(),
            "check" => bus.check().await.unwrap_err(),
            _ => {
                let mut consumer = bus.subscribe(subscription(&unique("g"))).await.unwrap();
                let error = tokio::time::timeout(LONG, consumer.next()).await.unwrap().unwrap_err();
                consumer.close().await.unwrap();
                error
            }
        };
        eprintln!("{what}: {error} ({:?})", started.elapsed());
        assert!(matches!(&error, BusError::Permanent { detail, .. } if detail.contains(reason)), "{error}");
        assert!(started.elapsed() < Duration::from_secs(15), "{:?}", started.elapsed());
        texts += &format!("{error} {error:?} {bus:?}\n");
    }
    texts
}
