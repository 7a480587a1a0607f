//! Under which path does the API server know a kind, and can it be scaled?
//!
//! Asked once per kind (discovery) and remembered. A kind that was not found is asked for again after a while: its
//! definition may come later. One that vanished is forgotten by whoever notices.

use super::autoscalers::group_of;
use crate::error::{ApiError, Attempt};
use kube::Client;
use kube::core::{ApiResource, GroupVersionKind};
use kube::discovery::{self, ApiCapabilities, Scope};
use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;
use tokio::time::Instant;

/// How long "there is no such kind" is believed.
const ABSENT_FOR: Duration = Duration::from_secs(30);
/// Kinds remembered; clusters have some hundred, specs name a few.
const MOST_KINDS: usize = 1024;

/// A kind, as the API server serves it.
#[derive(Clone, Debug)]
pub struct Kind {
    /// Group, version and plural.
    pub resource: ApiResource,
    /// Do its objects live in namespaces?
    pub namespaced: bool,
    /// Has it a scale subresource?
    pub scalable: bool,
}

/// When it was asked for, and what came of it.
type Found = (Instant, Result<Kind, ApiError>);

#[derive(Default)]
pub(crate) struct Kinds {
    /// By `apiVersion` and kind.
    known: Mutex<HashMap<(String, String), Found>>,
}

impl Kinds {
    /// The kind, from memory or from the API server.
    pub async fn resolve(&self, client: &Client, api_version: &str, kind: &str) -> Result<Kind, ApiError> {
        let key = (api_version.to_owned(), kind.to_owned());
        if let Some((at, found)) = self.known.lock().unwrap_or_else(PoisonError::into_inner).get(&key)
            && (found.is_ok() || at.elapsed() < ABSENT_FOR)
        {
            return found.clone();
        }
        let found = discover(client, api_version, kind).await;
        // That the API server could not be asked says nothing of the kind.
        if found.as_ref().err().is_none_or(ApiError::is_not_found) {
            let mut known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
            if known.len() >= MOST_KINDS {
                known.clear();
            }
            known.insert(key, (Instant::now(), found.clone()));
        }
        found
    }

    /// Asks again next time.
    pub fn forget(&self, api_version: &str, kind: &str) {
        let key = (api_version.to_owned(), kind.to_owned());
        self.known.lock().unwrap_or_else(PoisonError::into_inner).remove(&key);
    }
}

async fn discover(client: &Client, api_version: &str, kind: &str) -> Result<Kind, ApiError> {
    let group = group_of(api_version);
    let version = api_version.rsplit('/').next().filter(|version| !version.is_empty()).unwrap_or("v1");
    let attempt = Attempt::on_all("get", &format!("kind {kind} of {api_version:?}"), group, "");
    let gvk = GroupVersionKind::gvk(group, version, kind);
    let pinned = discovery::pinned_kind(client, &gvk).await.map_err(|error| attempt.clone().failed(&error));
    let found = match pinned {
        // The version may be served no more; an HPA takes any that the group has.
        Err(error) if error.is_not_found() => {
            let all =
                discovery::group(client, group).await.map_err(|error| attempt.clone().failed(&error))?;
            all.recommended_kind(kind).ok_or(error)
        }
        other => other,
    };
    let (resource, capabilities): (ApiResource, ApiCapabilities) = found?;
    Ok(Kind {
        scalable: capabilities.subresources.iter().any(|(sub, _)| sub.plural == "scale"),
        namespaced: capabilities.scope == Scope::Namespaced,
        resource,
    })
}
