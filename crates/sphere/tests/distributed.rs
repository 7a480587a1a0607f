//! Do the stages work in processes of their own over a real Kafka, Redis and Prometheus, and is nothing lost when one
//! is killed?

#![allow(clippy::unwrap_used, reason = "a failing test is the message, in its helpers, too")]

mod common;

use common::{Sphere, run, write};
use serde_json::Value;
use sphere_testkit::Kafka;
use sphere_testkit::prometheus::Prometheus;
use sphere_testkit::redis::Redis;
use std::time::Duration;

#[test]
fn stages_of_their_own_lose_nothing_when_a_forecaster_is_killed() {
    let dir = sphere_testkit::data_dir("distributed").unwrap();
    let cluster = format!("127.0.0.1:{}", sphere_testkit::free_port().unwrap());
    let kafka = Kafka::start(1).unwrap();
    let redis = Redis::start().unwrap();
    let prometheus = Prometheus::start(std::slice::from_ref(&cluster), Duration::from_secs(1)).unwrap();
    let config = write(
        dir.path(),
        &format!(
            "step: 1s
listen: 127.0.0.1:0
bus: {{kafka: {{brokers: ['{}'], partitions: 4, sessionTimeoutSeconds: 6}}}}
store: {{redis: {{nodes: ['{}']}}}}
source: {{prometheus: {{url: '{}', rateWindowSeconds: 5, staleAfterSeconds: 10}}}}
target: {{remoteCluster: {{url: 'http://{cluster}'}}}}
simulatedCluster:
  listen: {cluster}
  scrapeSeconds: 1
  windowSeconds: 5
  workloads:
    - {{namespace: shop, name: service, count: 8, capacityRps: 20, startup: 5s, demand: {{synthetic: {{peakRps: 300}}}}}}
collect: {{delay: 200ms}}
forecast: {{checkpoint: 1s, backfill: 0s}}
autoscale: {{sync: 2s, delay: 200ms}}
workloadDefaults: {{mode: Full, startupSeconds: 5, forecast: {{model: holt@30}}}}
",
            kafka.bootstrap()[0],
            redis.address(),
            prometheus.url(),
        ),
    );
    let (code, stdout, log) = run(&["topics", "--config", &config]);
    assert_eq!(code, Some(0), "{log}");
    assert!(stdout.contains("predictions.dlq"), "{stdout}");

    let start = |args: &[&str]| Sphere::start(&[args, &["--config", &config]].concat());
    let mut served = start(&["cluster"]);
    served.address();
    let mut collectors = [start(&["collect", "--shard", "0/2"]), start(&["collect", "--shard", "1/2"])];
    let mut forecasters = vec![start(&["forecast"]), start(&["forecast"])];
    let mut cache = start(&["cache"]);
    let mut autoscale = start(&["autoscale"]);
    collectors.iter_mut().for_each(|collector| collector.wait_counted("collect", "published", 40));
    cache.wait_counted("cache", "forecast", 40);
    autoscale.wait_counted("autoscale", "decision_published", 40);
    let (status, body) = autoscale.get("/readyz", "");
    assert_eq!(status, 200, "{body}");

    // Whichever of the two has more to lose.
    forecasters.sort_by_cached_key(|f| f.log().matches("metrics/").count());
    let mut killed = forecasters.pop().unwrap();
    killed.child.kill().unwrap();
    killed.child.wait().unwrap();
    let mut other = forecasters.pop().unwrap();
    let before = other.counted("forecast", "forecast");
    other.wait_counted("forecast", "forecast", before + 200);
    let decided = autoscale.counted("autoscale", "decision_published");
    autoscale.wait_counted("autoscale", "decision_published", decided + 40);

    // Upstream first, so that what was measured is also forecast.
    for collector in collectors {
        assert_eq!(collector.terminate().0, Some(0));
    }
    for stage in [other, cache, autoscale, served] {
        let (code, summary) = stage.terminate();
        assert_eq!((code, summary.starts_with("ran ")), (Some(0), true), "{summary}");
    }
    let (code, stdout, log) = run(&["verify", "--config", &config, "--output", "json"]);
    let told: Value = serde_json::from_str(&stdout).unwrap_or_else(|_| panic!("{stdout}{log}"));
    assert_eq!((code, &told["clean"]), (Some(0), &Value::Bool(true)), "{log}{told:#}");
    let total = &told["report"]["total"];
    assert!(
        total["samples"].as_u64().unwrap() >= 80 && total["forecasts"].as_u64().unwrap() >= 200,
        "{total:#}"
    );
    assert!(total["predictive_decisions"].as_u64().unwrap() > 0, "{total:#}");

    let (code, shown, log) = run(&["show", "--config", &config, "shop/Deployment/service-0003"]);
    assert_eq!((code, shown.contains("decision   ")), (Some(0), true), "{shown}{log}");
}
