//! Does a real API server take the definition, the examples, and nothing that can not be meant?
//!
//! Needs a control plane: `SPHERE_TEST_KUBECONFIG` names the kubeconfig of one where definitions may be written. Without it
//! the tests say so and do nothing.

#![allow(clippy::unwrap_used, reason = "a failing test is the message, in its helpers, too")]

mod common;

use common::{client, merge};
use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::CustomResourceDefinition;
use kube::Client;
use serde::Deserialize;
use serde_json::{Value, json};
use sphere_kubernetes::api::{API_VERSION, KIND};
use std::path::PathBuf;

/// Writes an object as `kubectl create --dry-run=server --validate=strict` does.
async fn dry_run(client: &Client, object: &Value) -> Result<Value, String> {
    let path = match object["kind"].as_str() {
        Some("HorizontalPodAutoscaler") => "/apis/autoscaling/v2/namespaces/default/horizontalpodautoscalers",
        _ => "/apis/autoscaling.sphere.dev/v1alpha1/namespaces/default/predictiveautoscalers",
    };
    let mut object = object.clone();
    object["metadata"]["namespace"] = "default".into();
    let request = http::Request::post(format!("{path}?dryRun=All&fieldValidation=Strict"))
        .header("content-type", "application/json")
        .body(object.to_string().into_bytes())
        .unwrap();
    match client.request::<Value>(request).await {
        Ok(written) => Ok(written),
        Err(kube::Error::Api(status)) => Err(status.message.clone()),
        Err(other) => panic!("{other}"),
    }
}

fn least() -> Value {
    json!({
        "apiVersion": API_VERSION, "kind": KIND, "metadata": {"name": "test"},
        "spec": {"scaleTargetRef": {"name": "front-end"}, "maxReplicas": 10},
    })
}

#[tokio::test]
async fn the_definition_is_established_as_structural() {
    let Some(client) = client().await else { return };
    common::define(&client).await;
    let api: kube::Api<CustomResourceDefinition> = kube::Api::all(client);
    let written = api.get("predictiveautoscalers.autoscaling.sphere.dev").await.unwrap();
    let conditions = written.status.unwrap().conditions.unwrap();
    let of = |kind: &str| conditions.iter().find(|c| c.type_ == kind);
    assert!(of("NonStructuralSchema").is_none_or(|c| c.status == "False"), "{:?}", of("NonStructuralSchema"));
    assert!(of("Established").is_some_and(|c| c.status == "True"));
}

#[tokio::test]
async fn the_api_server_fills_in_the_defaults_of_the_types() {
    let Some(client) = client().await else { return };
    common::define(&client).await;
    let written = dry_run(&client, &least()).await.unwrap();
    let read: sphere_kubernetes::PredictiveAutoscaler = serde_json::from_value(written).unwrap();
    let id = "default/Deployment/front-end".parse().unwrap();
    assert_eq!(read.spec, sphere_pipeline::WorkloadSpec::new(&id, 1, 10));
}

#[tokio::test]
async fn every_example_is_taken() {
    let Some(client) = client().await else { return };
    common::define(&client).await;
    let folder = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../../examples/kubernetes");
    let mut seen = 0;
    for entry in std::fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        for document in
            serde_saphyr::from_multiple::<Value>(&std::fs::read_to_string(&path).unwrap()).unwrap()
        {
            dry_run(&client, &document).await.unwrap_or_else(|why| panic!("{}: {why}", path.display()));
            seen += 1;
        }
    }
    assert!(seen >= 6, "{seen} objects");
}

#[tokio::test]
async fn what_can_not_be_meant_is_refused_with_its_reason() {
    #[derive(Deserialize)]
    struct Refused {
        name: String,
        spec: Value,
        says: String,
    }
    let Some(client) = client().await else { return };
    common::define(&client).await;
    let all: Vec<Refused> = serde_saphyr::from_str(include_str!("fixtures/refused.yaml")).unwrap();
    let mut wrong = Vec::new();
    for refused in all {
        let mut object = least();
        merge(&mut object["spec"], &refused.spec);
        match dry_run(&client, &object).await {
            Ok(_) => wrong.push(format!("{}: taken", refused.name)),
            Err(message) if !message.contains(&refused.says) => {
                wrong.push(format!("{}: {message}", refused.name))
            }
            Err(_) => {}
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}
