//! How is the minimum of somebody's HPA raised, and given back?
//!
//! `minReplicas` is set by server-side apply under our own field manager, together with two annotations that say what we set and
//! what was there before. One write: field and memory can not disagree, and both survive our death and the deletion of the
//! PredictiveAutoscaler. (Kept in our status instead, the memory would go with the object, and nobody would give back.)
//!
//! The floor never lies below what the owner asks for nor above his maximum. If the owner changes `minReplicas` while a floor
//! is set, his value is the one to go back to.
//!
//! Giving back is an apply with the old value and without the annotations, and then our entry is taken out of
//! `managedFields`. An apply that merely leaves the field out would delete it, for taking it made us its only owner; and if
//! it stayed ours, the owner's next apply would be a conflict.

use crate::cluster::{Cluster, FLOOR, Floor, HpaFacts, ORIGINAL, floor_of};
use crate::error::{ApiError, Attempt};
use k8s_openapi::api::autoscaling::v2::HorizontalPodAutoscaler;
use kube::Api;
use kube::api::{Patch, PatchParams};
use serde_json::{Value, json};
use sphere_pipeline::{Applied, TargetError, Workload};
use std::sync::Arc;

/// Tries of a write: the HPA controller writes the status of an HPA every 15 s.
const TRIES: usize = 5;
/// What roles call an HPA.
const RESOURCE: &str = "horizontalpodautoscalers";
/// Its API group.
const GROUP: &str = "autoscaling";

/// What has to be written on an HPA.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Write {
    /// It is as it should be.
    Nothing,
    /// `minReplicas` and the memory of it.
    Set(Floor),
    /// The memory goes; `minReplicas` becomes this, unless it is the owner's own value already.
    GiveBack(Option<u32>),
}

/// What to write for `wanted`, given what is there.
fn plan(min: u32, max: u32, ours: Option<Floor>, wanted: Option<u32>) -> Write {
    // Another value than the one we set: somebody else wrote it, and means it.
    let ours_holds = ours.filter(|floor| floor.set == min);
    let original = ours_holds.map_or(min, |floor| floor.original);
    let set = wanted.map_or(original, |floor| floor.min(max).max(original));
    match ours {
        None if set == original => Write::Nothing,
        Some(_) if set == original => Write::GiveBack(ours_holds.map(|floor| floor.original)),
        _ if ours == Some(Floor { set, original }) && min == set => Write::Nothing,
        _ => Write::Set(Floor { set, original }),
    }
}

fn count(n: i32) -> u32 {
    n.max(0).unsigned_abs()
}

/// Sets the floor of the one HPA that scales the workload, or gives it back.
pub(super) async fn set(
    cluster: &Cluster,
    workload: &Workload,
    floor: Option<u32>,
) -> Result<Applied, TargetError> {
    cluster.autoscalers_usable(workload.id.namespace())?;
    let all = cluster.autoscalers_of(&workload.id);
    let hpa = match (all.as_slice(), floor) {
        ([], None) => return Ok(Applied::Done),
        ([], Some(_)) => {
            let text = format!(
                "{}: mode Floor needs a HorizontalPodAutoscaler that scales it; there is none",
                workload.id
            );
            return Err(TargetError::NotScalable(text));
        }
        ([one], _) => one,
        (several, Some(_)) => {
            let names: Vec<&str> = several.iter().map(|hpa| hpa.name.as_str()).collect();
            let text = format!("{}: {} all scale it; one is expected", workload.id, names.join(", "));
            return Err(TargetError::NotScalable(text));
        }
        (several, None) => {
            for hpa in several.iter().filter(|hpa| hpa.floor.is_some()) {
                give_back(cluster, &hpa.namespace, &hpa.name).await?;
            }
            return Ok(Applied::Done);
        }
    };
    write(cluster, &hpa.namespace, &hpa.name, floor).await?;
    Ok(Applied::Done)
}

/// Is the floor on the one HPA that scales the workload? Where that is not the case, [`set`] says what is wrong.
pub(super) fn stands(all: &[Arc<HpaFacts>], floor: u32) -> bool {
    let nothing =
        |hpa: &HpaFacts| plan(hpa.min_replicas, hpa.max_replicas, hpa.floor, Some(floor)) == Write::Nothing;
    matches!(all, [one] if nothing(one))
}

/// Gives the floor of an HPA back.
pub(super) async fn give_back(cluster: &Cluster, namespace: &str, name: &str) -> Result<(), ApiError> {
    write(cluster, namespace, name, None).await
}

async fn write(cluster: &Cluster, namespace: &str, name: &str, wanted: Option<u32>) -> Result<(), ApiError> {
    let api: Api<HorizontalPodAutoscaler> = Api::namespaced(cluster.client().clone(), namespace);
    let attempt = |verb| Attempt::on_one(verb, RESOURCE, GROUP, namespace, name);
    let mut conflict = None;
    for _ in 0..TRIES {
        let hpa = cluster.within(attempt("get"), api.get(name)).await?;
        let (min, max) = (hpa.spec.min_replicas.map_or(1, count), count(hpa.spec.max_replicas));
        let plan = plan(min, max, floor_of(hpa.metadata.annotations.as_ref()), wanted);
        let version = hpa.metadata.resource_version.clone();
        let (annotations, replicas) = match plan {
            Write::Nothing => return Ok(()),
            Write::Set(Floor { set, original }) => {
                (Some(json!({FLOOR: set.to_string(), ORIGINAL: original.to_string()})), Some(set))
            }
            Write::GiveBack(replicas) => (None, replicas),
        };
        let body = applied(namespace, name, version.as_deref(), annotations, replicas);
        let options = PatchParams::apply(&cluster.config().field_manager).force();
        match cluster.within(attempt("patch"), api.patch(name, &options, &Patch::Apply(&body))).await {
            Ok(written) => {
                tracing::info!(namespace, hpa = name, ?plan, "kubernetes: minReplicas of an HPA");
                if matches!(plan, Write::GiveBack(_)) {
                    disown(cluster, &api, &written, attempt("patch")).await;
                }
                return Ok(());
            }
            Err(error) if error.is_conflict() => conflict = Some(error),
            Err(error) => return Err(error),
        }
    }
    let detail = format!("changed under our hands {TRIES} times");
    Err(conflict.unwrap_or(ApiError::Conflict { attempt: attempt("patch"), detail }))
}

/// All fields that are to be ours.
fn applied(
    namespace: &str,
    name: &str,
    version: Option<&str>,
    annotations: Option<Value>,
    replicas: Option<u32>,
) -> Value {
    let mut metadata = json!({"namespace": namespace, "name": name});
    if let Some(version) = version {
        metadata["resourceVersion"] = version.into();
    }
    if let Some(annotations) = annotations {
        metadata["annotations"] = annotations;
    }
    let mut body =
        json!({"apiVersion": "autoscaling/v2", "kind": "HorizontalPodAutoscaler", "metadata": metadata});
    if let Some(replicas) = replicas {
        body["spec"] = json!({"minReplicas": replicas});
    }
    body
}

/// Takes our entry out of `managedFields`. The value is right already: that this fails is worth a line, not an error.
async fn disown(
    cluster: &Cluster,
    api: &Api<HorizontalPodAutoscaler>,
    written: &HorizontalPodAutoscaler,
    attempt: Attempt,
) {
    let mut hpa = written.clone();
    for _ in 0..TRIES {
        let (Some(name), Some(rest)) =
            (hpa.metadata.name.clone(), others(&hpa, &cluster.config().field_manager))
        else {
            return;
        };
        let version = hpa.metadata.resource_version.as_deref();
        let body = json!({"metadata": {"resourceVersion": version, "managedFields": rest}});
        let (options, body) = (PatchParams::default(), Patch::Merge(&body));
        let patched = cluster.within(attempt.clone(), api.patch(&name, &options, &body)).await;
        let failed = match patched {
            Ok(_) => return,
            // The HPA controller writes its status just after `minReplicas` has changed.
            Err(error) if error.is_conflict() => {
                let get = Attempt { verb: "get", ..attempt.clone() };
                match cluster.within(get, api.get(&name)).await {
                    Ok(newer) => {
                        hpa = newer;
                        continue;
                    }
                    Err(error) => error,
                }
            }
            Err(error) => error,
        };
        tracing::info!(error = %failed, "kubernetes: minReplicas was given back, but is still marked as ours");
        return;
    }
}

/// The entries of all others; `None` if there is none of ours.
fn others(hpa: &HorizontalPodAutoscaler, ours: &str) -> Option<Vec<Value>> {
    let all = hpa.metadata.managed_fields.as_deref().unwrap_or_default();
    let theirs = all.iter().filter(|entry| {
        entry.manager.as_deref() != Some(ours) || entry.operation.as_deref() != Some("Apply")
    });
    let mut rest: Vec<Value> = theirs.filter_map(|entry| serde_json::to_value(entry).ok()).collect();
    if rest.len() == all.len() {
        return None;
    }
    if rest.is_empty() {
        // An empty list would be ignored; this one means "nobody".
        rest.push(json!({}));
    }
    Some(rest)
}

#[cfg(test)]
mod tests {
    use super::*;

    const OURS: Option<Floor> = Some(Floor { set: 5, original: 2 });

    #[test]
    fn what_is_written_follows_from_what_is_there() {
        for (min, ours, wanted, write) in [
            // Nobody's yet.
            (2, None, None, Write::Nothing),
            (2, None, Some(1), Write::Nothing),
            (2, None, Some(5), Write::Set(Floor { set: 5, original: 2 })),
            (2, None, Some(99), Write::Set(Floor { set: 10, original: 2 })),
            // Ours, unchanged.
            (5, OURS, Some(5), Write::Nothing),
            (5, OURS, Some(7), Write::Set(Floor { set: 7, original: 2 })),
            (5, OURS, Some(3), Write::Set(Floor { set: 3, original: 2 })),
            (5, OURS, Some(2), Write::GiveBack(Some(2))),
            (5, OURS, None, Write::GiveBack(Some(2))),
            // The owner wrote his own value meanwhile: that is what to go back to.
            (3, OURS, Some(5), Write::Set(Floor { set: 5, original: 3 })),
            (3, OURS, Some(3), Write::GiveBack(None)),
            (8, OURS, Some(5), Write::GiveBack(None)),
            (3, OURS, None, Write::GiveBack(None)),
        ] {
            assert_eq!(plan(min, 10, ours, wanted), write, "{min} {ours:?} {wanted:?}");
        }
    }

    #[test]
    fn a_floor_stands_until_somebody_else_writes_the_field() {
        let hpa = |min, floor| {
            Arc::new(HpaFacts {
                namespace: "shop".into(),
                name: "web".into(),
                owner: None,
                target_group: "apps".into(),
                target_kind: "Deployment".into(),
                target_name: "web".into(),
                min_replicas: min,
                max_replicas: 10,
                current_replicas: None,
                desired_replicas: None,
                floor,
            })
        };
        assert!(stands(&[hpa(5, OURS)], 5));
        assert!(!stands(&[hpa(2, OURS)], 5), "its owner lowered it");
        assert!(!stands(&[hpa(2, None)], 5), "its owner replaced the whole object");
        assert!(stands(&[hpa(8, None)], 5), "its owner asks for more");
        assert!(!stands(&[], 5) && !stands(&[hpa(5, OURS), hpa(5, OURS)], 5));
    }

    #[test]
    fn planning_twice_changes_nothing() {
        for min in 0..6 {
            for wanted in [None, Some(0), Some(3), Some(20)] {
                if let Write::Set(floor) = plan(min, 10, None, wanted) {
                    assert_eq!(plan(floor.set, 10, Some(floor), wanted), Write::Nothing, "{min} {wanted:?}");
                    assert_eq!(plan(floor.set, 10, Some(floor), None), Write::GiveBack(Some(min)));
                }
            }
        }
    }

    #[test]
    fn what_is_left_out_is_given_up() {
        let body = applied("shop", "web", Some("7"), None, Some(2));
        assert_eq!(body["spec"], json!({"minReplicas": 2}));
        assert!(body["metadata"].get("annotations").is_none());
        assert!(applied("shop", "web", None, None, None).get("spec").is_none());
    }
}
