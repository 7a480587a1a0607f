//! Why did the API server not do what it was asked?
//!
//! Every error says what was attempted. A refusal (403) names verb, resource and API group, the three things that a role
//! has to list.

use kube::error::DiscoveryError;
use sphere_pipeline::{SourceError, TargetError};
use std::fmt;

/// Name of the metric source and of this crate's part in errors.
pub const NAME: &str = "kubernetes";

/// A request, as a role would have to allow it. Its texts are boxed to keep errors small.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Attempt {
    /// `get`, `list`, `watch`, `update`, `patch`.
    pub verb: &'static str,
    /// Resource in the plural, with its subresource: `deployments/scale`.
    pub resource: Box<str>,
    /// API group; empty for the core group.
    pub group: Box<str>,
    /// Namespace; empty for all of them, or none.
    pub namespace: Box<str>,
    /// Name of the object; empty for lists.
    pub name: Box<str>,
}

impl Attempt {
    /// A request on a list of objects.
    pub fn on_all(verb: &'static str, resource: &str, group: &str, namespace: &str) -> Self {
        let (resource, group, namespace) = (resource.into(), group.into(), namespace.into());
        Self { verb, resource, group, namespace, name: "".into() }
    }

    /// A request on one object.
    pub fn on_one(verb: &'static str, resource: &str, group: &str, namespace: &str, name: &str) -> Self {
        Self { name: name.into(), ..Self::on_all(verb, resource, group, namespace) }
    }

    /// What became of it.
    pub fn failed(self, error: &kube::Error) -> ApiError {
        ApiError::new(self, error)
    }
}

impl fmt::Display for Attempt {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { verb, resource, group, namespace, name } = self;
        write!(f, "{verb} {resource}")?;
        if !group.is_empty() {
            write!(f, ".{group}")?;
        }
        match (namespace.is_empty(), name.is_empty()) {
            (true, true) => Ok(()),
            (true, false) => write!(f, " {name}"),
            (false, true) => write!(f, " in {namespace}"),
            (false, false) => write!(f, " {namespace}/{name}"),
        }
    }
}

/// Why the API server did not do it.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ApiError {
    /// It could not be asked, was too slow, or is overloaded. Worth another try.
    #[error("{attempt}: {detail}")]
    Unavailable {
        /// What was attempted.
        attempt: Attempt,
        /// What happened.
        detail: String,
    },
    /// We lack the right.
    #[error(
        "{attempt}: a role must allow verb {:?} on resource {:?} in API group {:?}{}; the API server says: {detail}",
        .attempt.verb, .attempt.resource, .attempt.group,
        if .attempt.namespace.is_empty() { " in the whole cluster".into() } else { format!(" in namespace {:?}", .attempt.namespace) }
    )]
    Forbidden {
        /// What was attempted.
        attempt: Attempt,
        /// What the API server said.
        detail: String,
    },
    /// There is no such object, resource or API.
    #[error("{attempt}: not found: {detail}")]
    NotFound {
        /// What was attempted.
        attempt: Attempt,
        /// What the API server said.
        detail: String,
    },
    /// Somebody else wrote it since it was read, or owns the field.
    #[error("{attempt}: conflict: {detail}")]
    Conflict {
        /// What was attempted.
        attempt: Attempt,
        /// What the API server said.
        detail: String,
    },
    /// It does not take what it was given.
    #[error("{attempt}: refused: {detail}")]
    Refused {
        /// What was attempted.
        attempt: Attempt,
        /// What the API server said.
        detail: String,
    },
    /// It answered with something that can not be read.
    #[error("{attempt}: {detail}")]
    BadAnswer {
        /// What was attempted.
        attempt: Attempt,
        /// What was wrong.
        detail: String,
    },
}

impl ApiError {
    fn new(attempt: Attempt, error: &kube::Error) -> Self {
        let detail = match error {
            // The text of the error repeats the whole status.
            kube::Error::Api(status) if !status.message.is_empty() => status.message.clone(),
            kube::Error::Service(inner) => chain(inner.as_ref()),
            other => chain(other),
        };
        match error {
            kube::Error::Api(status) => match status.code {
                403 => ApiError::Forbidden { attempt, detail },
                404 | 410 => ApiError::NotFound { attempt, detail },
                409 => ApiError::Conflict { attempt, detail },
                400 | 405 | 406 | 413 | 415 | 422 => ApiError::Refused { attempt, detail },
                // 401: tokens expire and are read anew; 429 and 5xx pass.
                _ => ApiError::Unavailable { attempt, detail },
            },
            kube::Error::Discovery(
                DiscoveryError::MissingKind(_)
                | DiscoveryError::MissingApiGroup(_)
                | DiscoveryError::MissingResource(_)
                | DiscoveryError::EmptyApiGroup(_),
            ) => ApiError::NotFound { attempt, detail },
            kube::Error::SerdeError(_) | kube::Error::FromUtf8(_) => ApiError::BadAnswer { attempt, detail },
            kube::Error::BuildRequest(_) => ApiError::Refused { attempt, detail },
            _ => ApiError::Unavailable { attempt, detail },
        }
    }

    /// Is there no such thing?
    pub fn is_not_found(&self) -> bool {
        matches!(self, ApiError::NotFound { .. })
    }

    /// Did somebody else write it?
    pub fn is_conflict(&self) -> bool {
        matches!(self, ApiError::Conflict { .. })
    }
}

/// An error with its causes, which hold the part worth knowing (refused, timed out, unknown certificate).
fn chain(error: &(dyn std::error::Error + 'static)) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(inner) = cause {
        let more = inner.to_string();
        if !text.contains(&more) {
            text.push_str(": ");
            text.push_str(&more);
        }
        cause = inner.source();
    }
    text
}

impl From<ApiError> for SourceError {
    fn from(error: ApiError) -> Self {
        let (source_name, detail) = (NAME, error.to_string());
        match error {
            ApiError::NotFound { .. } => SourceError::NoData { source_name, detail },
            ApiError::Unavailable { .. } | ApiError::Conflict { .. } => {
                SourceError::Unavailable { source_name, detail }
            }
            ApiError::Forbidden { .. } | ApiError::Refused { .. } | ApiError::BadAnswer { .. } => {
                SourceError::BadAnswer { source_name, detail }
            }
        }
    }
}

impl From<ApiError> for TargetError {
    fn from(error: ApiError) -> Self {
        let detail = error.to_string();
        match error {
            ApiError::Forbidden { .. } => TargetError::Forbidden(detail),
            ApiError::NotFound { .. } | ApiError::Refused { .. } => TargetError::NotScalable(detail),
            ApiError::Unavailable { .. } | ApiError::Conflict { .. } | ApiError::BadAnswer { .. } => {
                TargetError::Unavailable(detail)
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use kube::core::response::Status;

    fn answer(code: u16, message: &str) -> ApiError {
        let attempt = Attempt::on_one("update", "deployments/scale", "apps", "shop", "front-end");
        attempt.failed(&kube::Error::Api(Status::failure(message, "").with_code(code).boxed()))
    }

    #[test]
    fn a_refusal_names_verb_resource_group_and_namespace() {
        let error = answer(403, "cannot update resource");
        let text = TargetError::from(error).to_string();
        for part in ["\"update\"", "\"deployments/scale\"", "\"apps\"", "\"shop\"", "shop/front-end"] {
            assert!(text.contains(part), "{part} in {text}");
        }
    }

    #[test]
    fn what_may_pass_is_worth_another_try() {
        for (code, transient) in
            [(401, true), (429, true), (500, true), (503, true), (404, false), (422, false)]
        {
            let error = TargetError::from(answer(code, "no"));
            assert_eq!(matches!(error, TargetError::Unavailable(_)), transient, "{code}: {error}");
        }
        assert!(answer(409, "changed").is_conflict());
    }
}
