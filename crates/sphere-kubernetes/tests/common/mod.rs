//! What the tests on a control plane share.

#![allow(dead_code, reason = "each test file uses its part")]

use k8s_openapi::api::autoscaling::v2::HorizontalPodAutoscaler;
use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::CustomResourceDefinition;
use kube::api::{DynamicObject, Patch, PatchParams, PostParams};
use kube::config::{KubeConfigOptions, Kubeconfig};
use kube::core::{ApiResource, GroupVersionKind};
use kube::{Api, Client, Config};
use serde_json::{Value, json};
use std::future::Future;
use std::time::Duration;

/// The control plane under test; `None`, said aloud, without one.
pub async fn client() -> Option<Client> {
    let Some(path) = std::env::var_os("SPHERE_TEST_KUBECONFIG") else {
        eprintln!("SPHERE_TEST_KUBECONFIG is not set: nothing is tested");
        return None;
    };
    Some(connect(Kubeconfig::read_from(path).unwrap()).await)
}

async fn connect(file: Kubeconfig) -> Client {
    let _ = rustls::crypto::ring::default_provider().install_default();
    let config = Config::from_custom_kubeconfig(file, &KubeConfigOptions::default()).await.unwrap();
    Client::try_from(config).unwrap()
}

/// Asks until there is an answer, for at most two minutes.
pub async fn until<T, F: Future<Output = Option<T>>>(what: &str, mut ask: impl FnMut() -> F) -> T {
    for _ in 0..1200 {
        if let Some(answer) = ask().await {
            return answer;
        }
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    panic!("not within two minutes: {what}");
}

fn is_established(definition: &CustomResourceDefinition) -> bool {
    let status = definition.status.as_ref();
    let conditions = status.and_then(|status| status.conditions.as_deref()).unwrap_or_default();
    conditions.iter().any(|c| c.type_ == "Established" && c.status == "True")
}

async fn apply_definition(client: &Client, definition: &Value) {
    let api: Api<CustomResourceDefinition> = Api::all(client.clone());
    let name = definition["metadata"]["name"].as_str().unwrap();
    api.patch(name, &PatchParams::apply("sphere-test").force(), &Patch::Apply(definition)).await.unwrap();
    until("the definition is established", || async {
        is_established(&api.get(name).await.unwrap()).then_some(())
    })
    .await;
}

/// Writes the definition and waits until it is served.
pub async fn define(client: &Client) {
    let definition = sphere_kubernetes::api::crd_yaml();
    apply_definition(client, &serde_saphyr::from_str(&definition).unwrap()).await;
    // Established comes a moment before the path is served.
    let objects: Api<sphere_kubernetes::PredictiveAutoscaler> = Api::namespaced(client.clone(), "default");
    until("the resource is served", || async {
        objects.list(&kube::api::ListParams::default()).await.ok().map(|_| ())
    })
    .await;
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

/// Group and version of a resource of the tests that can be scaled.
pub const TEST_GROUP_VERSION: &str = "test.sphere.dev/v1";

/// A namespace of its own on the control plane under test.
pub struct Place {
    pub client: Client,
    pub namespace: String,
    harness: String,
}

impl Place {
    /// A new namespace; `None`, said aloud, without a control plane.
    pub async fn new(name: &str) -> Option<Self> {
        let client = client().await?;
        let Ok(harness) = std::env::var("SPHERE_TEST_HARNESS") else {
            eprintln!("SPHERE_TEST_HARNESS is not set: nothing is tested");
            return None;
        };
        let nanos = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap().as_nanos();
        let namespace = format!("test-{name}-{nanos}");
        let place = Self { client, namespace, harness };
        let object = json!({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": place.namespace}});
        let request = http::Request::post("/api/v1/namespaces")
            .header("content-type", "application/json")
            .body(object.to_string().into_bytes())
            .unwrap();
        place.client.request::<Value>(request).await.unwrap();
        Some(place)
    }

    fn api(&self, api_version: &str, kind: &str) -> Api<DynamicObject> {
        let (group, version) = api_version.split_once('/').unwrap_or(("", api_version));
        let resource = ApiResource::from_gvk(&GroupVersionKind::gvk(group, version, kind));
        Api::namespaced_with(self.client.clone(), &self.namespace, &resource)
    }

    async fn apply(&self, object: &Value) {
        let text = |key: &str| object[key].as_str().unwrap().to_owned();
        let name = object["metadata"]["name"].as_str().unwrap();
        // By force, as GitOps tools do: a minimum that we hold is a conflict for others otherwise.
        let options = PatchParams::apply("sphere-test").force();
        self.api(&text("apiVersion"), &text("kind"))
            .patch(name, &options, &Patch::Apply(object))
            .await
            .unwrap();
    }

    /// A Deployment whose pods request 250m, are limited to 500m, and take `startup` to be ready.
    pub async fn deployment(&self, name: &str, replicas: u32, startup: &str) {
        let resources = json!({"requests": {"cpu": "250m", "memory": "64Mi"}, "limits": {"cpu": "500m"}});
        let template = json!({
            "metadata": {"labels": {"app": name}, "annotations": {"sphere.dev/startup": startup}},
            "spec": {"containers": [{"name": "app", "image": "app", "resources": resources}]},
        });
        // Created, not applied: `replicas` belongs to whoever scales.
        let object: DynamicObject = serde_json::from_value(json!({
            "apiVersion": "apps/v1", "kind": "Deployment", "metadata": {"name": name},
            "spec": {"replicas": replicas, "selector": {"matchLabels": {"app": name}}, "template": template},
        }))
        .unwrap();
        self.api("apps/v1", "Deployment").create(&PostParams::default(), &object).await.unwrap();
    }

    /// Replicas a Deployment is asked for.
    pub async fn replicas(&self, name: &str) -> i64 {
        self.api("apps/v1", "Deployment").get(name).await.unwrap().data["spec"]["replicas"].as_i64().unwrap()
    }

    /// An HPA, as its owner applies it.
    pub async fn hpa(&self, name: &str, min: u32, max: u32) {
        self.apply(&json!({
            "apiVersion": "autoscaling/v2", "kind": "HorizontalPodAutoscaler", "metadata": {"name": name},
            "spec": {
                "scaleTargetRef": {"apiVersion": "apps/v1", "kind": "Deployment", "name": name},
                "minReplicas": min, "maxReplicas": max,
            },
        }))
        .await;
    }

    pub async fn get_hpa(&self, name: &str) -> HorizontalPodAutoscaler {
        Api::namespaced(self.client.clone(), &self.namespace).get(name).await.unwrap()
    }

    pub async fn min_replicas(&self, name: &str) -> i32 {
        self.get_hpa(name).await.spec.min_replicas.unwrap()
    }

    /// When our fields of an HPA were written last: the status changes by itself, they do not.
    pub async fn version_of_hpa_spec(&self, name: &str) -> Option<String> {
        let entries = self.get_hpa(name).await.metadata.managed_fields.unwrap_or_default();
        let ours = entries.into_iter().find(|entry| entry.manager.as_deref() == Some("sphere"));
        ours.and_then(|entry| Some(format!("{:?} {:?}", entry.time?, entry.fields_v1)))
    }

    /// An object of a kind that is defined here, with a scale subresource.
    pub async fn scalable_resource(&self, name: &str, replicas: u32) {
        let schema = json!({"type": "object", "properties": {
            "spec": {"type": "object", "properties": {"size": {"type": "integer"}}},
            "status": {"type": "object", "properties": {"size": {"type": "integer"}, "selector": {"type": "string"}}},
        }});
        let scale = json!({"specReplicasPath": ".spec.size", "statusReplicasPath": ".status.size", "labelSelectorPath": ".status.selector"});
        apply_definition(&self.client, &json!({
            "apiVersion": "apiextensions.k8s.io/v1", "kind": "CustomResourceDefinition",
            "metadata": {"name": "fleets.test.sphere.dev"},
            "spec": {
                "group": "test.sphere.dev", "scope": "Namespaced", "names": {"kind": "Fleet", "plural": "fleets"},
                "versions": [{"name": "v1", "served": true, "storage": true, "schema": {"openAPIV3Schema": schema},
                              "subresources": {"status": {}, "scale": scale}}],
            },
        }))
        .await;
        let object: DynamicObject = serde_json::from_value(json!({
            "apiVersion": TEST_GROUP_VERSION, "kind": "Fleet", "metadata": {"name": name}, "spec": {"size": replicas},
        }))
        .unwrap();
        let api = self.api(TEST_GROUP_VERSION, "Fleet");
        until("the kind is served", || async { api.create(&PostParams::default(), &object).await.ok() })
            .await;
    }

    /// Load on a workload, and what an external metric says, by the control API.
    pub async fn demand(&self, name: &str, demand: &Value) {
        self.put(&format!("demand/{}/{name}", self.namespace), demand).await;
    }

    pub async fn external(&self, metric: &str, value: &Value) {
        self.put(&format!("external/{}/{metric}", self.namespace), value).await;
    }

    async fn put(&self, path: &str, body: &Value) {
        self.ask("PUT", path, body.to_string()).await;
    }

    async fn ask(&self, method: &str, path: &str, body: String) -> String {
        // One short request to loopback: kube's client speaks HTTP/1.1 to whatever address it is given.
        let config = Config::new(self.harness.parse().unwrap());
        let request = http::Request::builder().method(method).uri(format!("/{path}"));
        let request = request.header("content-type", "application/json").body(body.into_bytes()).unwrap();
        Client::try_from(config).unwrap().request_text(request).await.unwrap()
    }

    /// A client with the rights of a new service account: none.
    pub async fn service_account(&self, name: &str) -> Client {
        self.apply(&json!({"apiVersion": "v1", "kind": "ServiceAccount", "metadata": {"name": name}})).await;
        let text = self.ask("GET", &format!("kubeconfig/{}/{name}", self.namespace), String::new()).await;
        connect(Kubeconfig::from_yaml(&text).unwrap()).await
    }
}
