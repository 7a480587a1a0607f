//! What the tests on a control plane share.

#![allow(dead_code, reason = "each test file uses its part")]

use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::CustomResourceDefinition;
use kube::api::{Patch, PatchParams};
use kube::config::{KubeConfigOptions, Kubeconfig};
use kube::{Api, Client, Config};
use serde_json::Value;
use std::future::Future;
use std::time::Duration;

/// The control plane under test; `None`, said aloud, without one.
pub async fn client() -> Option<Client> {
    let Some(path) = std::env::var_os("SPHERE_TEST_KUBECONFIG") else {
        eprintln!("SPHERE_TEST_KUBECONFIG is not set: nothing is tested");
        return None;
    };
    let _ = rustls::crypto::ring::default_provider().install_default();
    let file = Kubeconfig::read_from(path).unwrap();
    let config = Config::from_custom_kubeconfig(file, &KubeConfigOptions::default()).await.unwrap();
    Some(Client::try_from(config).unwrap())
}

/// Asks until there is an answer, for at most a minute.
pub async fn until<T, F: Future<Output = Option<T>>>(what: &str, mut ask: impl FnMut() -> F) -> T {
    for _ in 0..600 {
        if let Some(answer) = ask().await {
            return answer;
        }
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    panic!("not within a minute: {what}");
}

/// Writes the definition and waits until it is served.
pub async fn define(client: &Client) {
    let api: Api<CustomResourceDefinition> = Api::all(client.clone());
    let definition = sphere_kubernetes::api::crd();
    let name = definition.metadata.name.clone().unwrap();
    api.patch(&name, &PatchParams::apply("sphere-test").force(), &Patch::Apply(&definition)).await.unwrap();
    until("the definition is established", || async {
        let status = api.get(&name).await.unwrap().status?;
        let established = |c: &_| matches!(c, k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::CustomResourceDefinitionCondition { type_, status, .. } if type_ == "Established" && status == "True");
        status.conditions?.iter().any(established).then_some(())
    })
    .await;
    // Established comes a moment before the path is served.
    let objects: Api<sphere_kubernetes::PredictiveAutoscaler> = Api::namespaced(client.clone(), "default");
    until("the resource is served", || async { objects.list(&Default::default()).await.ok().map(|_| ()) }).await;
}

/// RFC 7386.
pub fn merge(into: &mut Value, patch: &Value) {
    match (into, patch) {
        (Value::Object(into), Value::Object(patch)) => {
            for (key, value) in patch {
                merge(into.entry(key).or_insert(Value::Null), value);
            }
        }
        (into, patch) => *into = patch.clone(),
    }
}
