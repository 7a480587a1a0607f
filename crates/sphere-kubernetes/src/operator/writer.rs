//! How do statuses get to the API server?
//!
//! Once a second those that are due are written, the most newsworthy first, up to the pace. Each write is the difference
//! to what the watch has seen, on the version the watch has seen: whoever else writes an object is not overwritten, and
//! a leader of yesterday can not write at all.

use super::Inner;
use super::patch;
use super::report::{self, Difference};
use super::roster::ObjectKey;
use super::watch::Guarded;
use crate::api::{PredictiveAutoscaler, PredictiveAutoscalerStatus};
use futures_util::StreamExt;
use futures_util::stream;
use kube::api::{Patch, PatchParams};
use kube::{Api, Resource};
use serde_json::{Value, json};
use std::sync::{Arc, PoisonError};
use std::time::Duration;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;
use tracing::{debug, warn};

/// Writes at once.
const AT_ONCE: usize = 4;
/// Longest time for one write.
const PATIENCE: Duration = Duration::from_secs(5);

/// Writes until `stop`.
pub(super) async fn run(inner: Arc<Inner>, stop: CancellationToken) {
    let mut second = tokio::time::interval(Duration::from_secs(1));
    second.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    while stop.run_until_cancelled(second.tick()).await.is_some() {
        if inner.leadership.until().is_some() {
            write_due(&inner, Difference::Details).await;
        }
    }
}

/// A status that is due.
struct Due {
    key: ObjectKey,
    object: Arc<Guarded>,
    old: PredictiveAutoscalerStatus,
    new: PredictiveAutoscalerStatus,
    difference: Difference,
    last: Option<Instant>,
}

/// Writes those that are due and differ at least so much.
pub(super) async fn write_due(inner: &Inner, at_least: Difference) {
    let now = Instant::now();
    let pace = &inner.settings.pace;
    let mut due: Vec<Due> = Vec::new();
    {
        let mut reports = inner.reports.lock().unwrap_or_else(PoisonError::into_inner);
        reports.retain(|key, report| {
            let Some(object) = inner.watches.object(key) else { return false };
            // Made anew under the same name: what was to be told of the old one is of no use.
            if object.meta().uid.as_deref() != Some(&report.uid) {
                return false;
            }
            let old = status_of(&object);
            let difference = report::difference(&old, &report.wanted);
            let since = report.written.map_or(Duration::MAX, |at| now.duration_since(at));
            if difference >= at_least && pace.due(difference, since) {
                due.push(Due {
                    key: key.clone(),
                    object,
                    old,
                    new: report.wanted.clone(),
                    difference,
                    last: report.written,
                });
            }
            true
        });
    }
    due.sort_by(|a, b| b.difference.cmp(&a.difference).then_with(|| a.last.cmp(&b.last)));
    due.truncate(pace.per_second as usize);
    stream::iter(due)
        .for_each_concurrent(AT_ONCE, |due| async move {
            let outcome = write(inner, &due).await;
            inner.counters.status(outcome);
            let mut reports = inner.reports.lock().unwrap_or_else(PoisonError::into_inner);
            if let Some(report) = reports.get_mut(&due.key) {
                // Also after a failure: an API server that can not is not to be asked every second.
                report.written = Some(Instant::now());
            }
        })
        .await;
}

fn status_of(object: &Guarded) -> PredictiveAutoscalerStatus {
    object.0.as_ref().ok().and_then(|object| object.status.clone()).unwrap_or_default()
}

/// The body of a write: what differs, for the version it differs from.
fn body(
    object: &Guarded,
    old: &PredictiveAutoscalerStatus,
    new: &PredictiveAutoscalerStatus,
) -> Option<Value> {
    let (old, new) = (serde_json::to_value(old).ok()?, serde_json::to_value(new).ok()?);
    // Of an object that can not be read the old status is not known; the new one replaces what it can.
    let change = patch::diff(&old, &new)?;
    Some(json!({ "metadata": { "resourceVersion": object.meta().resource_version }, "status": change }))
}

async fn write(inner: &Inner, due: &Due) -> &'static str {
    let Some(body) = body(&due.object, &due.old, &due.new) else { return "unchanged" };
    let Some(until) = inner.leadership.until() else { return "not_leading" };
    let api: Api<PredictiveAutoscaler> = Api::namespaced(inner.client.clone(), &due.key.namespace);
    let params =
        PatchParams { field_manager: Some(inner.settings.field_manager.clone()), ..PatchParams::default() };
    let patch = Patch::Merge(&body);
    // The answer may be an object that can not be read as ours: it is not looked at.
    let call = async {
        let request = kube::core::Request::new(PredictiveAutoscaler::url_path(&(), Some(&due.key.namespace)))
            .patch_subresource("status", &due.key.name, &params, &patch)
            .map_err(kube::Error::BuildRequest)?;
        api.into_client().request::<Value>(request).await
    };
    match tokio::time::timeout_at(until.min(Instant::now() + PATIENCE), call).await {
        Ok(Ok(_)) => "written",
        Ok(Err(kube::Error::Api(status))) if status.code == 409 => "conflict",
        Ok(Err(kube::Error::Api(status))) if status.code == 404 => "gone",
        Ok(Err(kube::Error::Api(status))) if status.code == 403 => {
            warn!(object = %due.key, error = %status.message, "a status can not be written");
            "forbidden"
        }
        Ok(Err(error)) => {
            debug!(object = %due.key, %error, "a status could not be written");
            "failed"
        }
        Err(_) => "failed",
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use kube::core::DeserializeGuard;
    use sphere_pipeline::WorkloadSpec;

    #[test]
    fn a_write_holds_only_what_differs_and_names_the_version() {
        let id = "shop/Deployment/web".parse().unwrap();
        let mut object = PredictiveAutoscaler::new("web", WorkloadSpec::new(&id, 1, 5));
        object.metadata.resource_version = Some("17".into());
        let old = PredictiveAutoscalerStatus {
            desired_replicas: Some(3),
            predictive_replicas: Some(3),
            ..Default::default()
        };
        let new = PredictiveAutoscalerStatus { desired_replicas: Some(4), ..Default::default() };
        let object = DeserializeGuard(Ok(object));
        assert_eq!(
            body(&object, &old, &new),
            Some(json!({
                "metadata": {"resourceVersion": "17"},
                "status": {"desiredReplicas": 4, "predictiveReplicas": null}
            }))
        );
        assert_eq!(body(&object, &new, &new), None);
    }
}
