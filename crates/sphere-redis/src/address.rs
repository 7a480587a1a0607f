//! Where is a node?

use std::fmt;
use std::sync::Arc;

/// Host and port of a node, as configured or as the cluster told it.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Address {
    pub host: Arc<str>,
    pub port: u16,
}

impl Address {
    pub fn new(host: &str, port: u16) -> Self {
        Self { host: host.into(), port }
    }

    /// Reads `host:port`; an IPv6 address is in brackets, or has the port after its last colon as Redis writes it.
    pub fn parse(text: &str) -> Result<Self, String> {
        let wrong = |what: &str| format!("{text:?} {what}; expected host:port, e.g. redis.shop:6379");
        let (host, port) = text.rsplit_once(':').ok_or_else(|| wrong("has no port"))?;
        let host = host.strip_prefix('[').and_then(|host| host.strip_suffix(']')).unwrap_or(host);
        if host.is_empty() || host.contains(|c: char| c.is_whitespace() || "/@[]".contains(c)) {
            return Err(wrong("has no usable host"));
        }
        match port.parse::<u16>() {
            Ok(port) if port > 0 => Ok(Self::new(host, port)),
            _ => Err(wrong("has no usable port (1..=65535)")),
        }
    }
}

impl fmt::Display for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.host.contains(':') {
            write!(f, "[{}]:{}", self.host, self.port)
        } else {
            write!(f, "{}:{}", self.host, self.port)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_are_read_and_written() {
        for (text, written) in
            [("redis:6379", "redis:6379"), ("[::1]:7000", "[::1]:7000"), ("::1:7000", "[::1]:7000")]
        {
            assert_eq!(Address::parse(text).unwrap().to_string(), written);
        }
        for text in ["redis", ":6379", "redis:", "redis:0", "redis:70000", "redis://x:1", "a b:1"] {
            assert!(Address::parse(text).is_err(), "{text}");
        }
    }
}
