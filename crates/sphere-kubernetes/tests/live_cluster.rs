//! Does what we read and write on a live control plane agree with what is there?
//!
//! `SPHERE_TEST_KUBECONFIG` and `SPHERE_TEST_HARNESS` name a control plane and its control API (`make controlplane`
//! prints both). Without them the tests say so and do nothing. Every test has a namespace of its own.

#![allow(clippy::unwrap_used, reason = "a failing test is the message, in its helpers, too")]

mod common;

use common::{Place, until};
use serde_json::json;
use sphere_core::{Mode, Timestamp};
use sphere_kubernetes::cluster::Cluster;
use sphere_kubernetes::config::KubernetesConfig;
use sphere_kubernetes::source::KubernetesSource;
use sphere_kubernetes::target::KubernetesTarget;
use sphere_pipeline::{Applied, LiveReading, MetricSource, ScaleTarget, TargetError, Workload, WorkloadSpec};
use sphere_scaling::hpa::{MetricSpec, Request};
use std::sync::Arc;
use std::time::{Duration, SystemTime};
use tokio_util::sync::CancellationToken;

fn now() -> Timestamp {
    let since = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap();
    Timestamp(i64::try_from(since.as_millis()).unwrap())
}

struct Setup {
    place: Place,
    cluster: Arc<Cluster>,
    target: KubernetesTarget,
    stop: CancellationToken,
}

impl Drop for Setup {
    fn drop(&mut self) {
        self.stop.cancel();
    }
}

async fn setup(name: &str) -> Option<Setup> {
    let place = Place::new(name).await?;
    let stop = CancellationToken::new();
    let config =
        KubernetesConfig { namespaces: vec![place.namespace.clone()], ..KubernetesConfig::default() };
    let cluster = Cluster::start(place.client.clone(), config, stop.clone());
    cluster.synced(Duration::from_secs(30)).await.unwrap();
    let target = KubernetesTarget::new(Arc::clone(&cluster));
    Some(Setup { place, cluster, target, stop })
}

fn workload(place: &Place, name: &str, change: impl FnOnce(&mut WorkloadSpec)) -> Arc<Workload> {
    let id = format!("{}/Deployment/{name}", place.namespace).parse().unwrap();
    let mut spec = WorkloadSpec::new(&id, 1, 20);
    spec.mode = Mode::ScaleOut;
    change(&mut spec);
    Arc::new(Workload::new(spec).unwrap())
}

#[tokio::test]
async fn readings_are_what_the_hpa_would_get() {
    let Some(setup) = setup("readings").await else { return };
    let place = &setup.place;
    place.deployment("web", 3, "2s").await;
    place.demand("web", &json!({"cores": [[0, 1.2]], "requests_per_second": 90})).await;
    place.external("queue", &json!({"value": 30})).await;
    let pods: MetricSpec = serde_json::from_value(json!({"type": "Pods", "pods": {
        "metric": {"name": "requests_per_second"}, "target": {"type": "AverageValue", "averageValue": "10"}}}))
    .unwrap();
    let external: MetricSpec = serde_json::from_value(json!({"type": "External", "external": {
        "metric": {"name": "queue"}, "target": {"type": "Value", "value": "10"}}}))
    .unwrap();
    let web = workload(place, "web", |spec| {
        spec.metrics.extend([pods, external, MetricSpec::Unknown]);
    });
    let source = KubernetesSource::new(Arc::clone(&setup.cluster));
    let all = [Arc::clone(&web)];
    let sample = until("the demand shows", || async {
        let sample = source.samples(&all, now()).await.remove(0).ok()?;
        (sample.demand? > 1.0 && sample.ready == Some(3)).then_some(sample)
    })
    .await;
    assert!((sample.demand.unwrap() - 1.2).abs() < 0.1, "{sample:?}");
    assert_eq!((sample.replicas, sample.capacity_per_pod), (Some(3), Some(0.5)));
    assert!(!sample.censored);
    let live = source.live(&all, now()).await.remove(0).unwrap();
    assert_eq!(live.pods.len(), 3);
    let LiveReading::PerPod(cpu) = &live.readings[0] else { panic!("{:?}", live.readings[0]) };
    assert!(cpu.pods.iter().all(|pod| pod.request == Request::Milli(250)), "{cpu:?}");
    assert!(
        cpu.pods.iter().all(|pod| pod.sample.is_some_and(|s| (300..500).contains(&s.value_milli))),
        "{cpu:?}"
    );
    let LiveReading::PerPod(rps) = &live.readings[1] else { panic!("{:?}", live.readings[1]) };
    assert!(rps.pods.iter().all(|pod| pod.sample.is_some()), "{rps:?}");
    assert_eq!(live.readings[2], LiveReading::External(vec![30_000]));
    assert!(matches!(live.readings[3], LiveReading::Unavailable(_)));
}

#[tokio::test]
async fn a_size_is_written_once_and_never_over_somebody_elses() {
    let Some(setup) = setup("sizes").await else { return };
    let place = &setup.place;
    place.deployment("web", 2, "1s").await;
    let web = workload(place, "web", |_| {});
    assert_eq!(setup.target.scale(&web).await.unwrap().unwrap().spec_replicas, 2);
    assert_eq!(setup.target.set_replicas(&web, 2, 4).await, Ok(Applied::Done));
    assert_eq!(place.replicas("web").await, 4);
    assert_eq!(setup.target.set_replicas(&web, 2, 6).await, Ok(Applied::Moved { replicas: 4 }));
    assert_eq!(place.replicas("web").await, 4);
    let absent = workload(place, "absent", |_| {});
    assert!(matches!(setup.target.set_replicas(&absent, 2, 4).await, Err(TargetError::NotScalable(_))));
    let config_map = workload(place, "web", |spec| {
        (spec.scale_target_ref.api_version, spec.scale_target_ref.kind) = ("v1".into(), "ConfigMap".into());
    });
    let error = setup.target.set_replicas(&config_map, 2, 4).await.unwrap_err().to_string();
    assert!(error.contains("no scale subresource"), "{error}");
}

#[tokio::test]
async fn custom_resources_with_a_scale_subresource_are_scaled() {
    let Some(setup) = setup("custom").await else { return };
    let place = &setup.place;
    place.scalable_resource("worker", 3).await;
    let worker = workload(place, "worker", |spec| {
        (spec.scale_target_ref.api_version, spec.scale_target_ref.kind) =
            (common::TEST_GROUP_VERSION.into(), "Fleet".into());
    });
    assert_eq!(setup.target.scale(&worker).await.unwrap().unwrap().spec_replicas, 3);
    assert_eq!(setup.target.set_replicas(&worker, 3, 5).await, Ok(Applied::Done));
    assert_eq!(setup.target.scale(&worker).await.unwrap().unwrap().spec_replicas, 5);
}

#[tokio::test]
async fn start_ups_are_measured_once_each() {
    let Some(setup) = setup("startups").await else { return };
    let place = &setup.place;
    place.deployment("web", 1, "3s").await;
    let web = workload(place, "web", |_| {});
    let mut took = Vec::new();
    for _ in 0..600 {
        took.extend(setup.target.startups(&web).await.unwrap_or_default());
        if !took.is_empty() {
            break;
        }
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    assert_eq!(took.len(), 1);
    assert!((2..=20).contains(&took[0].as_secs()), "{took:?}");
    assert!(setup.target.startups(&web).await.unwrap().is_empty());
}

#[tokio::test]
async fn a_floor_is_set_survives_and_is_given_back() {
    let Some(setup) = setup("floors").await else { return };
    let place = &setup.place;
    place.deployment("web", 2, "1s").await;
    place.hpa("web", 2, 10).await;
    let web = workload(place, "web", |_| {});
    until("the HPA is known", || async { (!setup.cluster.autoscalers_of(&web.id).is_empty()).then_some(()) })
        .await;
    assert_eq!(setup.target.set_floor(&web, Some(5)).await, Ok(Applied::Done));
    assert_eq!(place.min_replicas("web").await, 5);
    // Again: nothing is written.
    let version = place.version_of_hpa_spec("web").await;
    assert_eq!(setup.target.set_floor(&web, Some(5)).await, Ok(Applied::Done));
    assert_eq!(place.version_of_hpa_spec("web").await, version);
    // A process that comes later knows of it from the HPA alone.
    let stop = CancellationToken::new();
    let config =
        KubernetesConfig { namespaces: vec![place.namespace.clone()], ..KubernetesConfig::default() };
    let later = Cluster::start(place.client.clone(), config, stop.clone());
    later.synced(Duration::from_secs(30)).await.unwrap();
    let heir = KubernetesTarget::new(later);
    assert_eq!(heir.release_floors(std::slice::from_ref(&web.id)).await, Ok(0));
    assert_eq!(heir.release_floors(&[]).await, Ok(1));
    stop.cancel();
    assert_eq!(place.min_replicas("web").await, 2);
    let hpa = place.get_hpa("web").await;
    assert!(
        hpa.metadata
            .annotations
            .unwrap_or_default()
            .keys()
            .all(|key| !key.starts_with("autoscaling.sphere.dev"))
    );
    let ours = hpa.metadata.managed_fields.unwrap_or_default();
    assert!(ours.iter().all(|entry| entry.manager.as_deref() != Some("sphere")), "{ours:?}");
}

#[tokio::test]
async fn a_floor_goes_back_to_what_the_owner_wrote_last() {
    let Some(setup) = setup("owners").await else { return };
    let place = &setup.place;
    place.deployment("web", 2, "1s").await;
    place.hpa("web", 2, 10).await;
    let web = workload(place, "web", |_| {});
    until("the HPA is known", || async { (!setup.cluster.autoscalers_of(&web.id).is_empty()).then_some(()) })
        .await;
    setup.target.set_floor(&web, Some(5)).await.unwrap();
    place.hpa("web", 3, 10).await;
    assert_eq!(place.min_replicas("web").await, 3);
    setup.target.set_floor(&web, Some(6)).await.unwrap();
    assert_eq!(place.min_replicas("web").await, 6);
    setup.target.set_floor(&web, None).await.unwrap();
    assert_eq!(place.min_replicas("web").await, 3);
}

#[tokio::test]
async fn without_the_right_the_error_says_which_one() {
    let Some(setup) = setup("rights").await else { return };
    let place = &setup.place;
    place.deployment("web", 2, "1s").await;
    let nobody = place.service_account("nobody").await;
    let stop = CancellationToken::new();
    let config =
        KubernetesConfig { namespaces: vec![place.namespace.clone()], ..KubernetesConfig::default() };
    let cluster = Cluster::start(nobody, config, stop.clone());
    let target = KubernetesTarget::new(Arc::clone(&cluster));
    let web = workload(place, "web", |_| {});
    let error = target.set_replicas(&web, 2, 3).await.unwrap_err();
    assert!(matches!(error, TargetError::Forbidden(_)), "{error}");
    for part in ["\"deployments/scale\"", "\"apps\"", "get"] {
        assert!(error.to_string().contains(part), "{part} in {error}");
    }
    let error = cluster.synced(Duration::from_secs(5)).await.unwrap_err().to_string();
    assert!(error.contains("\"pods\"") || error.contains("\"horizontalpodautoscalers\""), "{error}");
    stop.cancel();
}

#[tokio::test]
async fn without_a_metrics_server_readings_are_missing_and_sizes_are_not() {
    let Some(setup) = setup("nometrics").await else { return };
    let place = &setup.place;
    place.deployment("web", 2, "1s").await;
    let web = workload(place, "web", |spec| spec.metrics.push(MetricSpec::Unknown));
    let source = KubernetesSource::new(Arc::clone(&setup.cluster));
    let all = [web];
    until("both pods are ready", || async {
        let live = source.live(&all, now()).await.remove(0).ok()?;
        (live.sample.ready == Some(2)).then_some(())
    })
    .await;
    // Long after: every sample is stale, none is zero.
    let later = Timestamp(now().millis() + 3_600_000);
    let live = source.live(&all, later).await.remove(0).unwrap();
    assert_eq!((live.sample.demand, live.sample.replicas), (None, Some(2)));
    assert!(matches!(live.readings[0], LiveReading::Unavailable(_)), "{:?}", live.readings[0]);
    assert!(source.samples(&all, later).await[0].is_err());
}
