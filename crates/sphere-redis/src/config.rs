//! What does an operator state about Redis? `store.redis` of the configuration file.
//!
//! Secrets are named (a file, an environment variable), never held: neither `Debug` nor an error can show one.

use crate::address::Address;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use std::path::PathBuf;
use std::time::Duration;

/// Most addresses that may be listed; a cluster tells the others itself.
const MOST_NODES: usize = 64;

/// Where Redis is and how to talk to it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub struct RedisConfig {
    /// Addresses, `host:port`. Of a cluster any few nodes: the others are learnt from them.
    pub nodes: Vec<String>,
    /// Is it a Redis Cluster?
    pub cluster: bool,
    /// Number of the database on a single node. A cluster has only 0.
    pub database: u16,
    /// TLS, where the server wants it. Absent: plain TCP.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub tls: Option<RedisTls>,
    /// User of the access control list. Absent: the user `default`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub username: Option<String>,
    /// File with the password, read again for every new connection (a rotated secret needs no restart).
    #[serde(skip_serializing_if = "Option::is_none")]
    pub password_file: Option<PathBuf>,
    /// Environment variable with the password.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub password_env: Option<String>,
    /// First part of every key and channel, so that several installations can share one Redis.
    pub prefix: String,
    /// How long is waited for what.
    pub timeouts: RedisTimeouts,
    /// How often the commands of an operation that failed for a passing reason are sent again.
    pub retries: u32,
}

/// TLS towards Redis.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub struct RedisTls {
    /// PEM file with the authorities to trust. Absent: those of the operating system.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub ca_file: Option<PathBuf>,
    /// PEM file with our certificate, where the server asks for one. Needs `keyFile`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub cert_file: Option<PathBuf>,
    /// PEM file with the key of our certificate.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub key_file: Option<PathBuf>,
    /// Accept any certificate. For experiments: whoever is in between can read and write everything.
    pub insecure: bool,
}

/// How long is waited for what, seconds.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub struct RedisTimeouts {
    /// For a connection, TLS and login included.
    pub connect_seconds: f64,
    /// For the answer to one chunk of commands.
    pub response_seconds: f64,
    /// After this no further attempt is begun.
    pub operation_seconds: f64,
}

impl Default for RedisTimeouts {
    fn default() -> Self {
        Self { connect_seconds: 2.0, response_seconds: 2.0, operation_seconds: 5.0 }
    }
}

impl Default for RedisConfig {
    fn default() -> Self {
        Self {
            nodes: vec!["127.0.0.1:6379".into()],
            cluster: false,
            database: 0,
            tls: None,
            username: None,
            password_file: None,
            password_env: None,
            prefix: "sphere".into(),
            timeouts: RedisTimeouts::default(),
            retries: 5,
        }
    }
}

impl RedisConfig {
    /// All problems at once, each with the key it is about; empty when the configuration can be used.
    pub fn problems(&self) -> Vec<(String, String)> {
        let mut found: Vec<(String, String)> = Vec::new();
        let mut problem = |key: &str, text: String| found.push((key.to_string(), text));
        match self.nodes.len() {
            0 => problem("nodes", "empty; at least one host:port expected".into()),
            1 => {}
            count if !self.cluster => {
                problem("nodes", format!("{count} given; without cluster exactly one expected"));
            }
            count if count > MOST_NODES => {
                problem(
                    "nodes",
                    format!("{count} given; at most {MOST_NODES} expected, the others are learnt"),
                );
            }
            _ => {}
        }
        for (index, node) in self.nodes.iter().enumerate() {
            if let Err(text) = Address::parse(node) {
                problem(&format!("nodes[{index}]"), text);
            }
        }
        if self.cluster && self.database != 0 {
            problem("database", format!("{} given; a cluster has only database 0", self.database));
        }
        if let Some(tls) = &self.tls {
            if tls.cert_file.is_some() && tls.key_file.is_none() {
                problem("tls.keyFile", "absent; certFile needs it".into());
            }
            if tls.key_file.is_some() && tls.cert_file.is_none() {
                problem("tls.certFile", "absent; keyFile needs it".into());
            }
            if tls.insecure && tls.ca_file.is_some() {
                problem("tls.insecure", "true, though caFile is given; one of the two expected".into());
            }
        }
        if self.password_file.is_some() && self.password_env.is_some() {
            problem("passwordFile", "given together with passwordEnv; one of the two expected".into());
        }
        if self.password_env.as_deref().is_some_and(|name| name.is_empty() || name.contains(['=', '\0'])) {
            problem("passwordEnv", "not the name of an environment variable".into());
        }
        if self.username.is_some() && self.password_file.is_none() && self.password_env.is_none() {
            problem("username", "given without passwordFile or passwordEnv; Redis logs in with both".into());
        }
        if self.username.as_deref().is_some_and(|name| name.is_empty() || name.contains(char::is_whitespace))
        {
            problem("username", "empty or with white space".into());
        }
        let usable = |c: char| c.is_ascii_alphanumeric() || "_.:-".contains(c);
        if self.prefix.is_empty() || self.prefix.len() > 64 || !self.prefix.chars().all(usable) {
            problem(
                "prefix",
                format!("{:?} given; 1 to 64 letters, digits and any of _ . : - expected", self.prefix),
            );
        }
        let times = &self.timeouts;
        for (key, seconds) in [
            ("timeouts.connectSeconds", times.connect_seconds),
            ("timeouts.responseSeconds", times.response_seconds),
            ("timeouts.operationSeconds", times.operation_seconds),
        ] {
            if !(0.01..=300.0).contains(&seconds) {
                problem(key, format!("{seconds} given, 0.01..=300 expected"));
            }
        }
        if self.retries > 20 {
            problem("retries", format!("{} given, 0..=20 expected", self.retries));
        }
        found
    }

    pub(crate) fn connect_timeout(&self) -> Duration {
        Duration::from_secs_f64(self.timeouts.connect_seconds)
    }

    pub(crate) fn response_timeout(&self) -> Duration {
        Duration::from_secs_f64(self.timeouts.response_seconds)
    }

    pub(crate) fn operation_timeout(&self) -> Duration {
        Duration::from_secs_f64(self.timeouts.operation_seconds)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_empty_configuration_is_a_local_server() {
        let config: RedisConfig = serde_json::from_str("{}").unwrap();
        assert_eq!(config, RedisConfig::default());
        assert!(config.problems().is_empty());
    }

    #[test]
    fn unknown_keys_are_refused() {
        for text in [r#"{"password": "x"}"#, r#"{"tls": {"ca": "x"}}"#, r#"{"timeouts": {"connect": 1}}"#] {
            let error = serde_json::from_str::<RedisConfig>(text).unwrap_err().to_string();
            assert!(error.contains("unknown field"), "{error}");
        }
    }

    #[test]
    fn all_problems_are_told_at_once() {
        let config: RedisConfig = serde_json::from_str(
            r#"{"nodes": ["a:1", "b", "c:0"], "database": 3, "prefix": "a{b", "username": "u", "retries": 99,
                "tls": {"certFile": "x", "caFile": "y", "insecure": true},
                "timeouts": {"connectSeconds": 0, "responseSeconds": 1e9}}"#,
        )
        .unwrap();
        let keys: Vec<String> = config.problems().into_iter().map(|(key, _)| key).collect();
        let expected = [
            "nodes",
            "nodes[1]",
            "nodes[2]",
            "tls.keyFile",
            "tls.insecure",
            "username",
            "prefix",
            "timeouts.connectSeconds",
            "timeouts.responseSeconds",
            "retries",
        ];
        assert_eq!(keys, expected);
        let cluster = RedisConfig { cluster: true, database: 3, nodes: Vec::new(), ..RedisConfig::default() };
        let keys: Vec<String> = cluster.problems().into_iter().map(|(key, _)| key).collect();
        assert_eq!(keys, ["nodes", "database"]);
    }
}
