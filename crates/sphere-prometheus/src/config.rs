//! Where is Prometheus, how may it be asked, and what is too old or too much?

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::fmt;
use std::path::PathBuf;
use std::time::Duration;

/// `source.prometheus` of the configuration.
#[derive(Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct PrometheusConfig {
    /// Base address, with path prefix if there is one: `https://metrics.example/prometheus`. No credentials in it.
    pub url: String,
    /// How to log in; absent: not at all.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub auth: Option<Auth>,
    /// Certificates; absent: those the system trusts, and none of our own.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tls: Option<TlsConfig>,
    /// Further headers, e.g. `X-Scope-OrgID`. Their values are not logged; for `Authorization` there is `auth`.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub headers: BTreeMap<String, String>,
    /// How queries are sent.
    #[serde(default)]
    pub method: Method,
    /// Longest time for one reading of all workloads, waiting and retries included, and for one query of history,
    /// seconds.
    #[serde(default = "five")]
    pub timeout_seconds: f64,
    /// How often a query is tried again after a failed connection or HTTP 5xx, 408 or 429.
    #[serde(default = "two")]
    pub retries: u32,
    /// Window of rates, seconds; at least two scrape intervals, better four.
    #[serde(default = "forty")]
    pub rate_window_seconds: f64,
    /// What was scraped longer ago than this is absent, seconds; at least two scrape intervals.
    #[serde(default = "sixty")]
    pub stale_after_seconds: f64,
    /// How long owners, requests, limits and nodes are remembered, seconds. A pod not seen before renews them.
    #[serde(default = "sixty")]
    pub static_ttl_seconds: f64,
    /// Longest answer read, bytes. One that is longer is refused; of history, a shorter time is asked for then.
    #[serde(default = "max_response")]
    pub max_response_bytes: usize,
    /// Most queries under way at once.
    #[serde(default = "eight")]
    pub max_concurrent_queries: usize,
    /// Most points per series in one query of history; the limit of Prometheus is 11,000.
    #[serde(default = "max_points")]
    pub max_points_per_query: u32,
    /// Share of the pods expected to report below which there is no demand, in (0, 1].
    #[serde(default = "four_fifths")]
    pub min_reporting_share: f64,
    /// Use answers that Prometheus calls incomplete (warnings, missing Thanos stores).
    #[serde(default)]
    pub accept_partial: bool,
    /// Names of labels, where they differ.
    #[serde(default)]
    pub labels: LabelNames,
}

/// How to log in. One of the fields.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Auth {
    /// File with a bearer token; read again for each query, so that a rotated token counts at once.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub bearer_token_file: Option<PathBuf>,
    /// HTTP basic authentication.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub basic: Option<BasicAuth>,
}

/// User and where the password is: one of `passwordFile` and `passwordEnv`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct BasicAuth {
    /// The user.
    pub username: String,
    /// File with the password; read again for each query.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub password_file: Option<PathBuf>,
    /// Environment variable with the password.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub password_env: Option<String>,
}

/// PEM files, read once at the start.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct TlsConfig {
    /// Certificates trusted instead of the system's.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ca_file: Option<PathBuf>,
    /// Our certificate, with its chain; needs `keyFile`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cert_file: Option<PathBuf>,
    /// Key of our certificate; needs `certFile`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub key_file: Option<PathBuf>,
}

/// How queries are sent.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum Method {
    /// In the body; has no limit on length.
    #[default]
    Post,
    /// In the address, for proxies that let only GET through.
    Get,
}

/// Names of labels.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub struct LabelNames {
    /// Namespace of the pod.
    pub namespace: String,
    /// Name of the pod.
    pub pod: String,
    /// Name of the container.
    pub container: String,
    /// Name of the node.
    pub node: String,
}

impl Default for LabelNames {
    fn default() -> Self {
        let [namespace, pod, container, node] = ["namespace", "pod", "container", "node"].map(String::from);
        Self { namespace, pod, container, node }
    }
}

fn two() -> u32 {
    2
}
fn five() -> f64 {
    5.0
}
fn eight() -> usize {
    8
}
fn forty() -> f64 {
    40.0
}
fn sixty() -> f64 {
    60.0
}
fn four_fifths() -> f64 {
    0.8
}
fn max_response() -> usize {
    64 << 20
}
fn max_points() -> u32 {
    11_000
}

/// Something in the configuration that can not be meant.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{key}: {problem}")]
pub struct ConfigProblem {
    /// The key, with dots.
    pub key: String,
    /// The value (never a secret), and what is accepted.
    pub problem: String,
}

impl PrometheusConfig {
    /// The defaults, at `url`.
    pub fn new(url: impl Into<String>) -> Self {
        Self {
            url: url.into(),
            auth: None,
            tls: None,
            headers: BTreeMap::new(),
            method: Method::default(),
            timeout_seconds: five(),
            retries: two(),
            rate_window_seconds: forty(),
            stale_after_seconds: sixty(),
            static_ttl_seconds: sixty(),
            max_response_bytes: max_response(),
            max_concurrent_queries: eight(),
            max_points_per_query: max_points(),
            min_reporting_share: four_fifths(),
            accept_partial: false,
            labels: LabelNames::default(),
        }
    }

    pub(crate) fn timeout(&self) -> Duration {
        Duration::from_secs_f64(self.timeout_seconds)
    }

    pub(crate) fn rate_window(&self) -> Duration {
        Duration::from_secs_f64(self.rate_window_seconds)
    }

    pub(crate) fn stale_after(&self) -> Duration {
        Duration::from_secs_f64(self.stale_after_seconds)
    }

    pub(crate) fn static_ttl(&self) -> Duration {
        Duration::from_secs_f64(self.static_ttl_seconds)
    }

    /// All problems at once; empty when a client can be made.
    pub fn problems(&self) -> Vec<ConfigProblem> {
        let mut found = Vec::new();
        let mut problem = |key: &str, problem: String| found.push(ConfigProblem { key: key.into(), problem });
        match reqwest::Url::parse(&self.url) {
            Err(error) => problem("url", format!("not an address ({error}); http://host:9090 expected")),
            Ok(url) => {
                if !matches!(url.scheme(), "http" | "https") || url.host_str().is_none() {
                    problem("url", format!("scheme {}; http or https with a host expected", url.scheme()));
                }
                if !url.username().is_empty() || url.password().is_some() {
                    problem("url", "holds credentials; they belong in auth.basic".into());
                }
                if url.query().is_some() || url.fragment().is_some() {
                    problem("url", "has a query or fragment; only a path prefix is accepted".into());
                }
                if self.auth.is_some() && url.scheme() == "http" && !is_loopback(&url) {
                    tracing::warn!(host = url.host_str(), "credentials for Prometheus travel without TLS");
                }
            }
        }
        if let Some(auth) = &self.auth {
            if auth.bearer_token_file.is_some() == auth.basic.is_some() {
                problem("auth", "one of bearerTokenFile and basic expected".into());
            }
            if let Some(basic) = &auth.basic
                && basic.password_file.is_some() == basic.password_env.is_some()
            {
                problem("auth.basic", "one of passwordFile and passwordEnv expected".into());
            }
        }
        if let Some(tls) = &self.tls
            && tls.cert_file.is_some() != tls.key_file.is_some()
        {
            problem("tls", "certFile and keyFile belong together; only one given".into());
        }
        for (name, value) in &self.headers {
            let key = format!("headers.{name}");
            let lower = name.to_ascii_lowercase();
            if reqwest::header::HeaderName::from_bytes(name.as_bytes()).is_err() {
                problem(&key, "not a header name".into());
            } else if ["authorization", "proxy-authorization", "cookie", "host", "content-length"]
                .contains(&lower.as_str())
            {
                problem(&key, "can not be set here; for credentials there is auth".into());
            } else if reqwest::header::HeaderValue::from_str(value).is_err() {
                problem(&key, "its value has characters that a header can not have".into());
            }
        }
        for (key, seconds, least, most) in [
            ("timeoutSeconds", self.timeout_seconds, 0.05, 300.0),
            ("rateWindowSeconds", self.rate_window_seconds, 0.1, 3_600.0),
            ("staleAfterSeconds", self.stale_after_seconds, 0.1, 3_600.0),
            ("staticTtlSeconds", self.static_ttl_seconds, 0.0, 3_600.0),
        ] {
            if !(least..=most).contains(&seconds) {
                problem(key, format!("{seconds} given, {least}..={most} expected"));
            }
        }
        if self.retries > 10 {
            problem("retries", format!("{} given, 0..=10 expected", self.retries));
        }
        if !(1024..=1 << 30).contains(&self.max_response_bytes) {
            let given = self.max_response_bytes;
            problem("maxResponseBytes", format!("{given} given, 1024..=1073741824 expected"));
        }
        if !(1..=256).contains(&self.max_concurrent_queries) {
            let given = self.max_concurrent_queries;
            problem("maxConcurrentQueries", format!("{given} given, 1..=256 expected"));
        }
        if !(2..=1_000_000).contains(&self.max_points_per_query) {
            let given = self.max_points_per_query;
            problem("maxPointsPerQuery", format!("{given} given, 2..=1000000 expected"));
        }
        if !(self.min_reporting_share > 0.0 && self.min_reporting_share <= 1.0) {
            let given = self.min_reporting_share;
            problem("minReportingShare", format!("{given} given, above 0 and at most 1 expected"));
        }
        let labels = &self.labels;
        for (key, label) in [
            ("labels.namespace", &labels.namespace),
            ("labels.pod", &labels.pod),
            ("labels.container", &labels.container),
            ("labels.node", &labels.node),
        ] {
            if !crate::promql::is_label_name(label) {
                problem(key, format!("{label:?} is not the name of a label ([a-zA-Z_][a-zA-Z0-9_]*)"));
            }
        }
        found
    }
}

/// Is this host ourselves? Then no proxy is asked.
pub(crate) fn is_loopback(url: &reqwest::Url) -> bool {
    let host = url.host_str().unwrap_or_default().trim_start_matches('[').trim_end_matches(']');
    host == "localhost" || host.parse::<std::net::IpAddr>().is_ok_and(|ip| ip.is_loopback())
}

/// Everything but the values of headers and what stands before an `@` in the address.
impl fmt::Debug for PrometheusConfig {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let url = self.url.rsplit_once('@').map_or(self.url.as_str(), |(_, host)| host);
        f.debug_struct("PrometheusConfig")
            .field("url", &url)
            .field("auth", &self.auth)
            .field("tls", &self.tls)
            .field("headers", &self.headers.keys().collect::<Vec<_>>())
            .field("method", &self.method)
            .field("timeout_seconds", &self.timeout_seconds)
            .field("retries", &self.retries)
            .field("rate_window_seconds", &self.rate_window_seconds)
            .field("stale_after_seconds", &self.stale_after_seconds)
            .field("labels", &self.labels)
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_url_is_all_that_is_needed_and_unknown_keys_are_refused() {
        let config: PrometheusConfig = serde_json::from_str(r#"{"url": "http://prometheus:9090"}"#).unwrap();
        assert_eq!(config, PrometheusConfig::new("http://prometheus:9090"));
        assert!(config.problems().is_empty());
        assert!(serde_json::from_str::<PrometheusConfig>(r#"{"url": "http://p", "timeout": 5}"#).is_err());
    }

    #[test]
    fn all_problems_are_told_at_once_and_without_secrets() {
        let config: PrometheusConfig = serde_json::from_str(
            r#"{"url": "ftp://me:hunter2@host/x", "auth": {"basic": {"username": "me"}}, "tls": {"certFile": "c"},
                "headers": {"Authorization": "Bearer hunter2", "X-Scope-OrgID": "hunter2"},
                "timeoutSeconds": 0, "retries": 99, "minReportingShare": 0, "labels": {"pod": "a-b"}}"#,
        )
        .unwrap();
        let problems = config.problems();
        let keys: Vec<&str> = problems.iter().map(|p| p.key.as_str()).collect();
        assert_eq!(
            keys,
            [
                "url",
                "url",
                "auth.basic",
                "tls",
                "headers.Authorization",
                "timeoutSeconds",
                "retries",
                "minReportingShare",
                "labels.pod"
            ]
        );
        assert!(!format!("{problems:?} {config:?}").contains("hunter2"));
    }
}
