//! How do other processes reach the simulated cluster?
//!
//! Over plain HTTP without authentication: meant for the loopback interface, or a network of its own. The routes are
//! those of [`crate::api`].

use crate::api::{Floor, Health, Order, Refusal, Since, Startups, WorkloadState};
use crate::cluster::{SimulatedCluster, WorkloadScore};
use crate::exporter::Exporter;
use axum::extract::rejection::{JsonRejection, QueryRejection};
use axum::extract::{DefaultBodyLimit, Path, Query, State};
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::{get, put};
use axum::{Json, Router};
use sphere_core::WorkloadId;
use sphere_pipeline::target::{Applied, TargetError};
use sphere_scaling::hpa::Scale;
use std::future::Future;
use tokio::net::TcpListener;

/// Largest request body, bytes; an order has fewer than a hundred.
const LARGEST_BODY: usize = 4096;

#[derive(Clone)]
struct Shared {
    cluster: SimulatedCluster,
    exporter: Exporter,
}

/// Answers on `listener` until `shutdown` ends.
pub async fn serve(
    cluster: SimulatedCluster,
    listener: TcpListener,
    shutdown: impl Future<Output = ()> + Send + 'static,
) -> std::io::Result<()> {
    axum::serve(listener, router(cluster)).with_graceful_shutdown(shutdown).await
}

/// The routes, to be served alone or as part of others.
pub fn router(cluster: SimulatedCluster) -> Router {
    const OBJECT: &str = "/apis/v1/namespaces/{namespace}/{kind}/{name}";
    let of = |what: &str| format!("{OBJECT}/{what}");
    Router::new()
        .route("/healthz", get(health))
        .route("/metrics", get(metrics))
        .route("/apis/v1/workloads", get(workloads))
        .route("/apis/v1/scores", get(scores))
        .route(&of("scale"), get(scale).put(order))
        .route(&of("floor"), put(floor))
        .route(&of("startups"), get(startups))
        .route(&of("score"), get(score))
        .layer(DefaultBodyLimit::max(LARGEST_BODY))
        .with_state(Shared { exporter: Exporter::new(cluster.clone()), cluster })
}

/// What is refused, with its status.
struct Refused(StatusCode, Refusal);

impl IntoResponse for Refused {
    fn into_response(self) -> Response {
        (self.0, Json(self.1)).into_response()
    }
}

fn refused(status: StatusCode, message: impl ToString) -> Refused {
    Refused(status, Refusal { message: message.to_string(), replicas: None })
}

impl From<TargetError> for Refused {
    fn from(error: TargetError) -> Self {
        let (status, message) = match error {
            TargetError::NotScalable(message) => (StatusCode::UNPROCESSABLE_ENTITY, message),
            TargetError::Forbidden(message) => (StatusCode::FORBIDDEN, message),
            TargetError::Unavailable(message) => (StatusCode::SERVICE_UNAVAILABLE, message),
        };
        refused(status, message)
    }
}

impl From<JsonRejection> for Refused {
    fn from(rejection: JsonRejection) -> Self {
        refused(rejection.status(), rejection.body_text())
    }
}

impl From<QueryRejection> for Refused {
    fn from(rejection: QueryRejection) -> Self {
        refused(rejection.status(), rejection.body_text())
    }
}

type Object = Path<(String, String, String)>;

impl Shared {
    /// The workload of a path, if it is here.
    fn id(&self, Path((namespace, kind, name)): Object) -> Result<WorkloadId, Refused> {
        let id = WorkloadId::new(&namespace, &kind, &name)
            .map_err(|error| refused(StatusCode::NOT_FOUND, error))?;
        match self.cluster.index_of(&id) {
            Some(_) => Ok(id),
            None => Err(refused(StatusCode::NOT_FOUND, format!("{id} is not in the simulated cluster"))),
        }
    }
}

async fn health(State(shared): State<Shared>) -> Json<Health> {
    Json(Health {
        status: "ok".into(),
        now: shared.cluster.clock().now(),
        skipped_seconds: shared.cluster.skipped().as_secs(),
    })
}

async fn metrics(State(shared): State<Shared>) -> Response {
    shared.cluster.catch_up().await;
    match shared.cluster.long(move |_| shared.exporter.page()).await {
        Some(Ok(page)) => ([(header::CONTENT_TYPE, Exporter::CONTENT_TYPE)], page).into_response(),
        _ => refused(StatusCode::INTERNAL_SERVER_ERROR, "the page could not be written").into_response(),
    }
}

async fn workloads(State(shared): State<Shared>) -> Json<Vec<WorkloadState>> {
    shared.cluster.catch_up().await;
    let state = shared.cluster.state();
    let workload = |live: &crate::workload::LiveWorkload| WorkloadState {
        workload: live.id.clone(),
        replicas: live.replicas(),
        ready: live.ready(),
        floor: live.floor(),
    };
    Json(state.workloads.iter().map(workload).collect())
}

async fn scores(State(shared): State<Shared>) -> Json<Vec<WorkloadScore>> {
    shared.cluster.catch_up().await;
    Json(shared.cluster.scores())
}

async fn score(State(shared): State<Shared>, object: Object) -> Result<Json<WorkloadScore>, Refused> {
    let workload = shared.id(object)?;
    shared.cluster.catch_up().await;
    match shared.cluster.score(&workload) {
        Some(score) => Ok(Json(WorkloadScore { workload, score })),
        None => Err(refused(StatusCode::NOT_FOUND, workload)),
    }
}

async fn scale(State(shared): State<Shared>, object: Object) -> Result<Json<Scale>, Refused> {
    let id = shared.id(object)?;
    Ok(Json(shared.cluster.scale_now(&id).await?))
}

async fn order(
    State(shared): State<Shared>,
    object: Object,
    body: Result<Json<Order>, JsonRejection>,
) -> Result<Json<Scale>, Refused> {
    let id = shared.id(object)?;
    let Json(order) = body?;
    match shared.cluster.order(&id, order.expected_replicas, order.spec_replicas).await? {
        Applied::Moved { replicas } => {
            let message = format!("{id} has {replicas} replicas, {} expected", order.expected_replicas);
            Err(Refused(StatusCode::CONFLICT, Refusal { message, replicas: Some(replicas) }))
        }
        Applied::Done | Applied::Untouched => Ok(Json(shared.cluster.scale_now(&id).await?)),
    }
}

async fn floor(
    State(shared): State<Shared>,
    object: Object,
    body: Result<Json<Floor>, JsonRejection>,
) -> Result<Json<Floor>, Refused> {
    let id = shared.id(object)?;
    let Json(wanted) = body?;
    shared.cluster.order_floor(&id, wanted.floor).await?;
    Ok(Json(Floor { floor: shared.cluster.floor_now(&id).await? }))
}

async fn startups(
    State(shared): State<Shared>,
    object: Object,
    query: Result<Query<Since>, QueryRejection>,
) -> Result<Json<Startups>, Refused> {
    let id = shared.id(object)?;
    let Query(Since { since }) = query?;
    let (took, next) = shared.cluster.startups_since(&id, since).await?;
    Ok(Json(Startups { seconds: took.iter().map(std::time::Duration::as_secs_f64).collect(), next }))
}
