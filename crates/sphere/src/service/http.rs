//! How do Prometheus and Kubernetes see the process?
//!
//! `/metrics`: everything counted, OpenMetrics text, behind a bearer token if one is configured. `/healthz`: the
//! process lives and its stages run. `/readyz`: bus, store, source and target answer; the body says which does not.

use super::parts::Parts;
use super::process;
use crate::config::ListenTls;
use axum::extract::State;
use axum::http::{HeaderMap, StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use axum::{Json, Router};
use axum_server::Handle;
use axum_server::tls_rustls::RustlsConfig;
use serde_json::{Map, Value, json};
use sphere_pipeline::metrics::Stage;
use std::collections::BTreeMap;
use std::fmt::Display;
use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;
use tracing::{info, warn};

/// Longest wait for the answer of a component.
const CHECK: Duration = Duration::from_secs(2);
/// Time between two looks at the certificate's files.
const RENEWED: Duration = Duration::from_secs(10);
/// Longest time of an answer that has begun when the process ends.
const LAST_WORDS: Duration = Duration::from_secs(1);
/// What Prometheus expects OpenMetrics text to be called.
const OPEN_METRICS: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";

/// What the server tells of. Cheap to clone.
#[derive(Clone)]
pub struct Status(Arc<Inner>);

struct Inner {
    parts: Parts,
    stages: Mutex<BTreeMap<Stage, bool>>,
    token: Option<String>,
}

/// Reads the token of a file; `None`: no file, nobody is asked.
pub fn read_token(path: Option<&Path>) -> Result<Option<String>, String> {
    let Some(path) = path else { return Ok(None) };
    let text = std::fs::read_to_string(path).map_err(|error| format!("{}: {error}", path.display()))?;
    match text.trim() {
        "" => Err(format!("{}: empty; a token is expected", path.display())),
        token => Ok(Some(token.into())),
    }
}

impl Status {
    /// All stages running.
    pub fn new(parts: Parts, stages: &[Stage], token: Option<String>) -> Self {
        let stages = Mutex::new(stages.iter().map(|stage| (*stage, true)).collect());
        Self(Arc::new(Inner { parts, stages, token }))
    }

    /// A stage has ended.
    pub fn ended(&self, stage: Stage) {
        self.0.stages.lock().unwrap_or_else(PoisonError::into_inner).insert(stage, false);
    }

    fn allows(&self, headers: &HeaderMap) -> bool {
        let Some(token) = &self.0.token else { return true };
        let given = headers.get(header::AUTHORIZATION).and_then(|value| value.to_str().ok());
        given.and_then(|value| value.strip_prefix("Bearer ")).is_some_and(|given| same(given, token))
    }
}

/// Compares in a time that does not tell where the difference is.
fn same(a: &str, b: &str) -> bool {
    a.len() == b.len() && a.bytes().zip(b.bytes()).fold(0, |seen, (a, b)| seen | (a ^ b)) == 0
}

/// Reads certificate and key; `None`: plain HTTP.
pub async fn read_tls(tls: Option<&ListenTls>) -> Result<Option<RustlsConfig>, String> {
    let Some(ListenTls { cert_file, key_file }) = tls else { return Ok(None) };
    match RustlsConfig::from_pem_file(cert_file, key_file).await {
        Ok(config) => Ok(Some(config)),
        Err(error) => Err(format!(
            "{} and {}: {error}; a certificate and its private key are expected, PEM",
            cert_file.display(),
            key_file.display()
        )),
    }
}

/// Takes new certificates from the files as they change. Files that can not be used are told, and the old ones stay.
pub async fn renew(tls: ListenTls, config: RustlsConfig) {
    let changed =
        || [&tls.cert_file, &tls.key_file].map(|file| file.metadata().and_then(|m| m.modified()).ok());
    let mut known = changed();
    let mut again = tokio::time::interval(RENEWED);
    loop {
        again.tick().await;
        let now = changed();
        if now == known {
            continue;
        }
        match config.reload_from_pem_file(&tls.cert_file, &tls.key_file).await {
            Ok(()) => info!("the new certificate of {} is used", tls.cert_file.display()),
            // Half of a change is seen between two writes: the next round sees the rest.
            Err(error) => {
                warn!("{}: the new certificate can not be used: {error}", tls.cert_file.display());
                continue;
            }
        }
        known = now;
    }
}

/// Answers until `stop`, and then as long as `LAST_WORDS` those who have asked.
pub async fn serve(
    listener: TcpListener,
    tls: Option<RustlsConfig>,
    status: Status,
    stop: CancellationToken,
) -> std::io::Result<()> {
    let router = Router::new()
        .route("/metrics", get(metrics))
        .route("/healthz", get(healthz))
        .route("/readyz", get(readyz))
        .with_state(status);
    let Some(tls) = tls else {
        return axum::serve(listener, router).with_graceful_shutdown(stop.cancelled_owned()).await;
    };
    let handle = Handle::new();
    let ending = handle.clone();
    tokio::spawn(async move {
        stop.cancelled().await;
        ending.graceful_shutdown(Some(LAST_WORDS));
    });
    axum_server::from_tcp_rustls(listener.into_std()?, tls)?
        .handle(handle)
        .serve(router.into_make_service())
        .await
}

async fn metrics(State(status): State<Status>, headers: HeaderMap) -> Response {
    if !status.allows(&headers) {
        let challenge = [(header::WWW_AUTHENTICATE, "Bearer")];
        return (StatusCode::UNAUTHORIZED, challenge, "a bearer token is needed\n").into_response();
    }
    let ours = status.0.parts.metrics.text();
    let operator = status.0.parts.counters.as_ref().map(|counters| counters.text()).unwrap_or_default();
    let page = format!("{}{operator}{}", ours.trim_end_matches("# EOF\n"), process::text());
    ([(header::CONTENT_TYPE, OPEN_METRICS)], page).into_response()
}

async fn healthz(State(status): State<Status>) -> Response {
    let stages = status.0.stages.lock().unwrap_or_else(PoisonError::into_inner).clone();
    let healthy = stages.values().all(|running| *running);
    let told: Map<String, Value> = stages
        .iter()
        .map(|(stage, running)| (stage.name().into(), if *running { "running" } else { "ended" }.into()))
        .collect();
    let code = if healthy { StatusCode::OK } else { StatusCode::SERVICE_UNAVAILABLE };
    (code, Json(json!({ "healthy": healthy, "stages": told }))).into_response()
}

async fn readyz(State(status): State<Status>) -> Response {
    let parts = &status.0.parts;
    let source = async {
        match &parts.source {
            Some(source) => answer(source.check()).await,
            None => Value::Null,
        }
    };
    let (bus, store, source, target) = tokio::join!(
        answer(parts.bus.check()),
        answer(parts.store.check()),
        source,
        answer(parts.target.check())
    );
    let components = json!({ "bus": bus, "store": store, "source": source, "target": target });
    let ready = components
        .as_object()
        .is_some_and(|all| all.values().all(|answer| answer.is_null() || answer == "ready"));
    let code = if ready { StatusCode::OK } else { StatusCode::SERVICE_UNAVAILABLE };
    (code, Json(json!({ "ready": ready, "components": components }))).into_response()
}

async fn answer<E: Display>(check: impl Future<Output = Result<(), E>>) -> Value {
    match tokio::time::timeout(CHECK, check).await {
        Ok(Ok(())) => "ready".into(),
        Ok(Err(error)) => error.to_string().into(),
        Err(_) => format!("no answer within {} s", CHECK.as_secs()).into(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_token_is_compared_as_a_whole() {
        assert!(same("abc", "abc"));
        assert!(!same("abc", "abd") && !same("abc", "ab") && !same("", "a"));
    }

    #[test]
    fn an_empty_token_file_lets_nobody_guess_it() {
        let file = tempfile::NamedTempFile::new().unwrap();
        assert!(read_token(Some(file.path())).unwrap_err().contains("empty"));
        std::fs::write(file.path(), "s3cret\n").unwrap();
        assert_eq!(read_token(Some(file.path())), Ok(Some("s3cret".into())));
    }
}
