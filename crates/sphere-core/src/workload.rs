//! Which workload is meant?
//!
//! `namespace/Kind/name`, for example `sock-shop/Deployment/front-end`. The same text is the Kafka key, the
//! tag in Redis keys and the metric label, so its characters are checked once, here.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use std::fmt;
use std::str::FromStr;

/// Identity of a scalable object.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(try_from = "String", into = "String")]
#[schemars(with = "String")]
pub struct WorkloadId {
    namespace: String,
    kind: String,
    name: String,
}

/// Why a text is not a [`WorkloadId`].
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("workload id {text:?}: {problem}; expected namespace/Kind/name, e.g. sock-shop/Deployment/front-end")]
pub struct ParseWorkloadIdError {
    text: String,
    problem: &'static str,
}

impl WorkloadId {
    /// Checks each part: namespace a DNS label and name a DNS subdomain (lower case), kind alphanumeric starting with a capital.
    pub fn new(namespace: &str, kind: &str, name: &str) -> Result<Self, ParseWorkloadIdError> {
        let fail =
            |problem| Err(ParseWorkloadIdError { text: format!("{namespace}/{kind}/{name}"), problem });
        let dns = |s: &str, max: usize, dots: bool| {
            !s.is_empty()
                && s.len() <= max
                && s.bytes()
                    .all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-' || (dots && b == b'.'))
                && s.as_bytes().first().is_some_and(u8::is_ascii_alphanumeric)
                && s.as_bytes().last().is_some_and(u8::is_ascii_alphanumeric)
        };
        if !dns(namespace, 63, false) {
            return fail("the namespace is not a DNS label (a-z, 0-9, '-', at most 63 characters)");
        }
        if !kind.as_bytes().first().is_some_and(u8::is_ascii_uppercase)
            || kind.len() > 63
            || !kind.bytes().all(|b| b.is_ascii_alphanumeric())
        {
            return fail("the kind is not a Kubernetes kind (letters and digits, first a capital)");
        }
        if !dns(name, 253, true) {
            return fail("the name is not a DNS subdomain (a-z, 0-9, '-', '.', at most 253 characters)");
        }
        Ok(Self { namespace: namespace.into(), kind: kind.into(), name: name.into() })
    }

    /// Is this the workload `text` stands for? Compares without allocating.
    pub fn is(&self, text: &str) -> bool {
        text.strip_prefix(self.namespace.as_str())
            .and_then(|rest| rest.strip_prefix('/')?.strip_prefix(self.kind.as_str()))
            .and_then(|rest| rest.strip_prefix('/'))
            .is_some_and(|name| name == self.name)
    }

    /// Namespace, a DNS label.
    pub fn namespace(&self) -> &str {
        &self.namespace
    }

    /// Kind, e.g. `Deployment`.
    pub fn kind(&self) -> &str {
        &self.kind
    }

    /// Name of the object.
    pub fn name(&self) -> &str {
        &self.name
    }
}

impl fmt::Display for WorkloadId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}/{}", self.namespace, self.kind, self.name)
    }
}

impl FromStr for WorkloadId {
    type Err = ParseWorkloadIdError;
    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let mut parts = text.split('/');
        match (parts.next(), parts.next(), parts.next(), parts.next()) {
            (Some(ns), Some(kind), Some(name), None) => Self::new(ns, kind, name),
            _ => Err(ParseWorkloadIdError { text: text.into(), problem: "it does not have three parts" }),
        }
    }
}

impl TryFrom<String> for WorkloadId {
    type Error = ParseWorkloadIdError;
    fn try_from(text: String) -> Result<Self, Self::Error> {
        text.parse()
    }
}

impl From<WorkloadId> for String {
    fn from(id: WorkloadId) -> String {
        id.to_string()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn text_round_trips() {
        let id: WorkloadId = "sock-shop/Deployment/front-end".parse().unwrap();
        assert_eq!((id.namespace(), id.kind(), id.name()), ("sock-shop", "Deployment", "front-end"));
        assert_eq!(id.to_string().parse::<WorkloadId>().unwrap(), id);
        assert_eq!(serde_json::to_string(&id).unwrap(), "\"sock-shop/Deployment/front-end\"");
    }

    #[test]
    fn malformed_ids_say_what_is_wrong() {
        for (text, problem) in [
            ("front-end", "three parts"),
            ("a/b/c/d", "three parts"),
            ("Shop/Deployment/x", "namespace"),
            ("shop/deployment/x", "kind"),
            ("shop/Deployment/-x", "name"),
            ("shop/Deployment/x{}", "name"),
        ] {
            let error = text.parse::<WorkloadId>().unwrap_err().to_string();
            assert!(error.contains(problem), "{text}: {error}");
        }
    }
}
