//! Which requests does the API server get from us, and what does it answer?
//!
//! A layer around the client's connection counts every request by verb, resource and status code, as the API server's
//! own audit would name them. The set of labels is bounded: what we ask for is written in this crate, and unknown
//! paths count as `other`.

use http::{Method, Request, Response, Uri};
use kube::client::{Body, ClientBuilder};
use kube::config::{InferConfigError, KubeConfigOptions, Kubeconfig, KubeconfigError};
use kube::{Client, Config};
use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use std::path::Path;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;
use tower::{Layer, Service};

/// What a request is counted by.
#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
pub struct RequestLabels {
    /// get, list, watch, create, update, patch, delete.
    pub verb: &'static str,
    /// `deployments.apps/scale`.
    pub resource: String,
    /// Status code; `error` when no answer came.
    pub code: String,
}

/// Requests by verb, resource and status code. Cheap to clone.
pub type Requests = Family<RequestLabels, Counter>;

/// Why there is no client.
#[derive(Debug, thiserror::Error)]
pub enum ConnectError {
    /// The kubeconfig can not be read.
    #[error("kubeconfig: {0}")]
    Kubeconfig(#[from] KubeconfigError),
    /// Neither a service account nor a kubeconfig was found.
    #[error("no cluster was found: {0}")]
    Infer(#[from] InferConfigError),
    /// Certificates or credentials can not be used.
    #[error("{0}")]
    Client(#[source] kube::Error),
}

/// A client for the cluster of a kubeconfig file, or, without one, of the pod's service account or `KUBECONFIG`, whatever is
/// there. `context`: another one than the current. All its requests are counted; nothing is asked yet.
pub async fn connect(
    kubeconfig: Option<&Path>,
    context: Option<&str>,
    requests: Requests,
) -> Result<Client, ConnectError> {
    let mut found = match (kubeconfig, context) {
        (None, None) => Config::infer().await?,
        (path, context) => {
            let file = path.map_or_else(Kubeconfig::read, Kubeconfig::read_from)?;
            let options =
                KubeConfigOptions { context: context.map(Into::into), ..KubeConfigOptions::default() };
            Config::from_custom_kubeconfig(file, &options).await?
        }
    };
    // A server that is gone must not hold a request for half a minute; watches are renewed below five minutes.
    found.connect_timeout = Some(Duration::from_secs(5));
    let builder = ClientBuilder::try_from(found).map_err(ConnectError::Client)?;
    Ok(builder.with_layer(&CountLayer(requests)).build())
}

/// Puts [`Count`] around a service.
#[derive(Clone, Debug)]
struct CountLayer(Requests);

impl<S> Layer<S> for CountLayer {
    type Service = Count<S>;
    fn layer(&self, inner: S) -> Count<S> {
        Count { inner, requests: self.0.clone() }
    }
}

/// Counts what goes through.
#[derive(Clone, Debug)]
struct Count<S> {
    inner: S,
    requests: Requests,
}

impl<S, B> Service<Request<Body>> for Count<S>
where
    S: Service<Request<Body>, Response = Response<B>>,
    S::Future: Send + 'static,
    S::Error: Send,
{
    type Response = Response<B>;
    type Error = S::Error;
    type Future = Pin<Box<dyn Future<Output = Result<Self::Response, Self::Error>> + Send>>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Self::Error>> {
        self.inner.poll_ready(cx)
    }

    fn call(&mut self, request: Request<Body>) -> Self::Future {
        let (verb, resource) = describe(request.method(), request.uri());
        let requests = self.requests.clone();
        let answer = self.inner.call(request);
        Box::pin(async move {
            let answer = answer.await;
            let code = answer.as_ref().map_or_else(|_| "error".into(), |a| a.status().as_str().to_owned());
            requests.get_or_create(&RequestLabels { verb, resource, code }).inc();
            answer
        })
    }
}

/// Verb and resource of a request, as RBAC names them.
fn describe(method: &Method, uri: &Uri) -> (&'static str, String) {
    let other = (verb(method, false, false), "other".to_owned());
    let mut parts = uri.path().split('/').filter(|part| !part.is_empty()).peekable();
    let group = match parts.next() {
        Some("api") => None,
        Some("apis") => match parts.next() {
            Some(group) => Some(group),
            None => return other,
        },
        _ => return other,
    };
    // The version.
    parts.next();
    let mut resource = parts.next();
    let mut name = parts.next();
    let mut sub = parts.next();
    if resource == Some("namespaces") && sub.is_some_and(|sub| sub != "status" && sub != "finalize") {
        (resource, name, sub) = (sub, parts.next(), parts.next());
    }
    let Some(resource) = resource else { return other };
    let query = uri.query().unwrap_or_default();
    let watches = query.split('&').any(|pair| pair == "watch=true" || pair == "watch=1");
    let mut text = resource.to_owned();
    if let Some(group) = group {
        text = format!("{text}.{group}");
    }
    // Below the aggregated metrics APIs the third part is the name of a metric, of which there may be many.
    if let Some(sub) = sub.filter(|_| !group.is_some_and(|g| g.ends_with("metrics.k8s.io"))) {
        text = format!("{text}/{sub}");
    }
    if group.is_some_and(|g| g == "external.metrics.k8s.io" || g == "custom.metrics.k8s.io") {
        text = group.unwrap_or_default().to_owned();
    }
    (verb(method, name.is_some(), watches), text)
}

fn verb(method: &Method, named: bool, watches: bool) -> &'static str {
    match method.as_str() {
        _ if watches => "watch",
        "GET" if named => "get",
        "GET" => "list",
        "POST" => "create",
        "PUT" => "update",
        "PATCH" => "patch",
        "DELETE" => "delete",
        _ => "other",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn requests_are_named_as_rbac_names_them() {
        let of = |method: &str, uri: &str| {
            let (verb, resource) = describe(&method.parse().unwrap(), &uri.parse().unwrap());
            format!("{verb} {resource}")
        };
        for (method, uri, named) in [
            ("GET", "/api/v1/namespaces/shop/pods?limit=500", "list pods"),
            ("GET", "/api/v1/pods?watch=true&resourceVersion=4", "watch pods"),
            ("GET", "/api/v1/namespaces/shop", "get namespaces"),
            ("GET", "/api/v1/namespaces", "list namespaces"),
            ("GET", "/apis/apps/v1/namespaces/shop/deployments/web/scale", "get deployments.apps/scale"),
            (
                "PATCH",
                "/apis/apps/v1/namespaces/shop/deployments/web/scale?fieldManager=sphere",
                "patch deployments.apps/scale",
            ),
            (
                "PUT",
                "/apis/coordination.k8s.io/v1/namespaces/sphere/leases/sphere-operator",
                "update leases.coordination.k8s.io",
            ),
            ("POST", "/apis/events.k8s.io/v1/namespaces/shop/events", "create events.events.k8s.io"),
            ("GET", "/apis/metrics.k8s.io/v1beta1/namespaces/shop/pods", "list pods.metrics.k8s.io"),
            (
                "GET",
                "/apis/custom.metrics.k8s.io/v1beta2/namespaces/shop/pods/*/rps",
                "get custom.metrics.k8s.io",
            ),
            ("GET", "/version", "list other"),
        ] {
            assert_eq!(of(method, uri), named, "{uri}");
        }
    }
}
