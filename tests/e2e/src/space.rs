//! Which workloads does a test have, and what does the API server say of them?

use crate::{Patience, Rig, eventually};
use k8s_openapi::api::apps::v1::Deployment;
use k8s_openapi::api::autoscaling::v2::HorizontalPodAutoscaler;
use kube::api::{Api, DeleteParams, DynamicObject, Patch, PatchParams, PostParams};
use kube::core::{ApiResource, GroupVersionKind};
use serde_json::{Value, json};

/// A namespace of one test.
pub struct Space {
    /// The way to the control plane.
    pub rig: Rig,
    /// Name of the namespace.
    pub name: String,
}

/// A Deployment, as small as the computed pods need it.
#[derive(Clone, Copy, Debug)]
pub struct App {
    /// At the beginning.
    pub replicas: u32,
    /// From creation to Ready, seconds.
    pub startup_seconds: u32,
    /// CPU request of a pod, thousandths of a core.
    pub request_milli: u32,
    /// CPU limit of a pod, thousandths of a core: what it can serve.
    pub limit_milli: u32,
}

impl Default for App {
    fn default() -> Self {
        Self { replicas: 2, startup_seconds: 5, request_milli: 500, limit_milli: 500 }
    }
}

/// A PredictiveAutoscaler as a test sees it: fields of an object, as any user of the API.
#[derive(Clone, Debug)]
pub struct Autoscaler(pub Value);

impl Autoscaler {
    /// A field of the status.
    pub fn status(&self, field: &str) -> &Value {
        &self.0["status"][field]
    }

    /// A number of the status.
    pub fn number(&self, field: &str) -> Option<u64> {
        self.status(field).as_u64()
    }

    /// A condition: its status ("True", …), reason and message.
    pub fn condition(&self, kind: &str) -> Option<(String, String, String)> {
        let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
        let all = self.status("conditions").as_array()?;
        let one = all.iter().find(|one| one["type"] == kind)?;
        Some((text(&one["status"]), text(&one["reason"]), text(&one["message"])))
    }

    /// Is the condition there with this status?
    pub fn holds(&self, kind: &str, status: &str) -> bool {
        self.condition(kind).is_some_and(|(found, _, _)| found == status)
    }
}

/// PredictiveAutoscalers of a namespace.
pub fn autoscalers(client: kube::Client, namespace: &str) -> Api<DynamicObject> {
    let kind = GroupVersionKind::gvk("autoscaling.sphere.dev", "v1alpha1", "PredictiveAutoscaler");
    let resource = ApiResource::from_gvk_with_plural(&kind, "predictiveautoscalers");
    Api::namespaced_with(client, namespace, &resource)
}

impl Space {
    pub(crate) async fn create(rig: &Rig, name: &str) -> Self {
        rig.kubectl(&["create", "namespace", name], None).await.unwrap();
        Self { rig: rig.clone(), name: name.into() }
    }

    fn deployments(&self) -> Api<Deployment> {
        Api::namespaced(self.rig.client.clone(), &self.name)
    }

    fn hpas(&self) -> Api<HorizontalPodAutoscaler> {
        Api::namespaced(self.rig.client.clone(), &self.name)
    }

    fn autoscalers(&self) -> Api<DynamicObject> {
        autoscalers(self.rig.client.clone(), &self.name)
    }

    /// Creates a Deployment.
    pub async fn deploy(&self, name: &str, app: App) {
        let quantity = |milli: u32| json!({"cpu": format!("{milli}m"), "memory": "128Mi"});
        let object = json!({
            "metadata": {"name": name},
            "spec": {
                "replicas": app.replicas,
                "selector": {"matchLabels": {"app": name}},
                "template": {
                    "metadata": {
                        "labels": {"app": name},
                        "annotations": {"sphere.dev/startup": format!("{}s", app.startup_seconds)},
                    },
                    "spec": {"containers": [{
                        "name": "app", "image": "example.org/app",
                        "resources": {"requests": quantity(app.request_milli), "limits": quantity(app.limit_milli)},
                    }]},
                },
            },
        });
        let object = serde_json::from_value(object).unwrap();
        self.deployments().create(&PostParams::default(), &object).await.unwrap();
    }

    /// Creates an HPA on CPU for the Deployment of the same name.
    pub async fn hpa(&self, name: &str, min: u32, max: u32, utilization: u32) {
        let object = json!({
            "metadata": {"name": name},
            "spec": {
                "scaleTargetRef": {"apiVersion": "apps/v1", "kind": "Deployment", "name": name},
                "minReplicas": min, "maxReplicas": max,
                "metrics": [cpu(utilization)],
            },
        });
        let object = serde_json::from_value(object).unwrap();
        self.hpas().create(&PostParams::default(), &object).await.unwrap();
    }

    /// Deletes an HPA.
    pub async fn drop_hpa(&self, name: &str) {
        self.hpas().delete(name, &DeleteParams::default()).await.unwrap();
    }

    /// Reads an HPA.
    pub async fn read_hpa(&self, name: &str) -> Result<HorizontalPodAutoscaler, String> {
        self.hpas().get(name).await.map_err(|error| error.to_string())
    }

    /// Creates a PredictiveAutoscaler for the Deployment of the same name, with these fields of the spec besides.
    pub async fn autoscaler(&self, name: &str, spec: Value) {
        let mut whole = json!({"scaleTargetRef": {"kind": "Deployment", "name": name}});
        for (key, value) in spec.as_object().unwrap() {
            whole[key] = value.clone();
        }
        let object = json!({
            "apiVersion": "autoscaling.sphere.dev/v1alpha1", "kind": "PredictiveAutoscaler",
            "metadata": {"name": name}, "spec": whole,
        });
        let object = serde_json::from_value(object).unwrap();
        self.autoscalers().create(&PostParams::default(), &object).await.unwrap();
    }

    /// Deletes a PredictiveAutoscaler.
    pub async fn drop_autoscaler(&self, name: &str) {
        self.autoscalers().delete(name, &DeleteParams::default()).await.unwrap();
    }

    /// Changes fields of its spec.
    pub async fn edit_autoscaler(&self, name: &str, spec: Value) {
        let patch = Patch::Merge(json!({"spec": spec}));
        self.autoscalers().patch(name, &PatchParams::default(), &patch).await.unwrap();
    }

    /// Reads a PredictiveAutoscaler.
    pub async fn read(&self, name: &str) -> Result<Autoscaler, String> {
        let object = self.autoscalers().get(name).await.map_err(|error| error.to_string())?;
        serde_json::to_value(object).map(Autoscaler).map_err(|error| error.to_string())
    }

    /// Replicas that the spec of a Deployment asks for.
    pub async fn replicas(&self, name: &str) -> Result<u32, String> {
        let scale = self.deployments().get_scale(name).await.map_err(|error| error.to_string())?;
        let replicas = scale.spec.and_then(|spec| spec.replicas).ok_or("no replicas in the scale")?;
        u32::try_from(replicas).map_err(|error| error.to_string())
    }

    /// Sets the replicas of a Deployment, as somebody with kubectl would.
    pub async fn resize(&self, name: &str, replicas: u32) {
        let patch = Patch::Merge(json!({"spec": {"replicas": replicas}}));
        self.deployments().patch_scale(name, &PatchParams::default(), &patch).await.unwrap();
    }

    /// Waits until a Deployment has so many ready pods. Usage can not exceed the limits of pods, so a workload that is far
    /// too small grows in steps, each a reading, a decision and a start-up long.
    pub async fn ready(&self, name: &str, pods: u32) {
        eventually(&format!("{name} has {pods} ready pods"), Patience::FORECAST, async || {
            let now = self.deployments().get(name).await.map_err(|error| error.to_string())?;
            let ready = now.status.and_then(|status| status.ready_replicas).unwrap_or(0);
            if u32::try_from(ready) == Ok(pods) { Ok(()) } else { Err(format!("{ready} are ready")) }
        })
        .await;
    }

    /// Names and messages of the events about an object, newest last.
    pub async fn events(&self, object: &str) -> Vec<(String, String)> {
        let args = ["get", "events", "-n", &self.name, "-o", "json", "--sort-by=.lastTimestamp"];
        let text = self.rig.kubectl(&args, None).await.unwrap();
        let list: Value = serde_json::from_str(&text).unwrap();
        let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
        let items = list["items"].as_array().cloned().unwrap_or_default();
        let about = items.iter().filter(|event| event["involvedObject"]["name"] == object);
        about.map(|event| (text(&event["reason"]), text(&event["message"]))).collect()
    }
}

impl Drop for Space {
    fn drop(&mut self) {
        // After a failure it stays, to be looked at.
        if !std::thread::panicking() {
            let _ = std::process::Command::new(&self.rig.program)
                .arg("kubectl")
                .arg("--kubeconfig")
                .arg(&self.rig.kubeconfig)
                .args(["delete", "namespace", &self.name, "--wait=false"])
                .output();
        }
    }
}

/// A CPU metric in the shape of autoscaling/v2.
pub(crate) fn cpu(utilization: u32) -> Value {
    json!({
        "type": "Resource",
        "resource": {"name": "cpu", "target": {"type": "Utilization", "averageUtilization": utilization}},
    })
}
