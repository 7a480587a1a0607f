//! What becomes of records that nobody can read?

use crate::course::Course;
use crate::now;
use crate::rig::{HUGE, PATIENCE};
use sphere_kafka::{Compression, KafkaBus, KafkaConfig};
use sphere_pipeline::bus::Header;
use sphere_pipeline::wire::{VERSION_HEADER, encode};
use sphere_pipeline::{Bus, BusError, Message, Topic};
use sphere_testkit::wait_until;
use std::collections::BTreeSet;

const KEY: &str = "shop/Deployment/web-0003";
const OTHER: &str = "shop/Deployment/web-0004";

fn message(topic: Topic, key: &str, version: &str, payload: impl Into<bytes::Bytes>) -> Message {
    let headers = vec![Header::new(VERSION_HEADER, version.to_string())];
    Message { topic, key: key.to_string().into(), headers, payload: payload.into() }
}

/// Puts poison on the topics; it must end up in the dead-letter topics, with its reason, and be counted.
pub fn is_put_aside(course: &mut Course) {
    let began = now();
    let (sample, issued) = {
        let seen = course.rig.watcher.seen();
        (encode(&seen.samples[OTHER].last().unwrap().0).payload, seen.forecasts[OTHER].len())
    };
    assert!(issued > 0);
    let forecast = format!(
        r#"{{"workload":"{OTHER}","issued_at":{at},"valid_until":{at},"step_ms":1000,"steps":[],"model":"x","model_version":1,"trust":{{"trusted":true}}}}"#,
        at = began.millis()
    );
    let mut poison = Vec::new();
    for topic in [Topic::Metrics, Topic::Predictions] {
        poison.push(("bad_json", message(topic, KEY, "1", "{\"workload\": ")));
        poison.push(("unknown_version", message(topic, KEY, "99", "{}")));
    }
    poison.push(("wrong_key", message(Topic::Metrics, KEY, "1", sample)));
    poison.push(("too_large", message(Topic::Metrics, KEY, "1", vec![b'x'; 10_000_000])));
    poison.push(("bad_value", message(Topic::Predictions, OTHER, "1", forecast)));
    let expected: BTreeSet<(Topic, String)> =
        poison.iter().map(|(reason, m)| (m.topic.dead_letters().unwrap(), (*reason).to_string())).collect();

    let runtime = tokio::runtime::Runtime::new().unwrap();
    let brokers = course.rig.bus.brokers.clone();
    let uncompressed = Compression::None;
    let config =
        KafkaConfig { brokers, message_max_bytes: HUGE, compression: uncompressed, ..KafkaConfig::default() };
    let refused = runtime.block_on(async {
        let bus = KafkaBus::new(config).unwrap();
        for (_, message) in poison {
            bus.publish(vec![message]).await.unwrap();
        }
        bus.publish(vec![message(Topic::Predictions, KEY, "1", vec![b'x'; 10_000_000])]).await.unwrap_err()
    });
    assert!(matches!(refused, BusError::TooLarge { .. }), "{refused}");

    let found = || -> BTreeSet<(Topic, String)> {
        let seen = course.rig.watcher.seen();
        seen.letters.iter().map(|letter| (letter.topic, letter.reason.clone())).collect()
    };
    wait_until("all poison is in the dead-letter topics", PATIENCE, || found() == expected)
        .unwrap_or_else(|error| panic!("{error:#}: {:?}, expected {expected:?}", found()));
    for (topic, reason) in &expected {
        let (stage, of) = match topic {
            Topic::MetricsDlq => ("forecast", "metrics"),
            _ => ("cache", "predictions"),
        };
        let labels = [format!("topic=\"{of}\""), format!("reason=\"{reason}\"")];
        let labels = [labels[0].as_str(), labels[1].as_str()];
        let counted = course.rig.services[stage].counter("sphere_unreadable_records_total", &labels);
        assert_eq!(counted, 1, "{stage} counts {of}, {reason}");
    }
    let recovery = course.recovered(began);
    let reasons: Vec<String> = expected.iter().map(|(topic, reason)| format!("{topic}: {reason}")).collect();
    course.settle(
        "poison on `metrics` and `predictions`, 10 MB among it",
        "each in the dead-letter topic with its reason, and counted; the rest goes on",
        &format!("{}; 10 MB on `predictions` refused by the broker", reasons.join(", ")),
        &recovery,
    );
}
