//! What does an error of Redis mean for what we do next?

use crate::address::Address;
use redis::{ErrorKind, RedisError, ServerErrorKind};
use sphere_pipeline::StoreError;

/// Why a command has no answer, sorted by the remedy.
#[derive(Clone, Debug)]
pub(crate) enum Failure {
    /// The slot has another owner: send it there.
    Moved { slot: u16, to: Address },
    /// The slot is being moved and this key has gone already: ask there, this once.
    Ask { at: Address },
    /// The connection or the node is gone, or silent: connect again, look who owns the slot now.
    Lost(String),
    /// The server says: not now.
    Later(String),
    /// Repeating is of no use.
    Permanent(String),
}

/// Codes of errors that pass by themselves or by an operator's help, without any change on our side: memory is
/// full, the disk is full, too few replicas, a script runs.
const PASSING_CODES: [&str; 5] = ["OOM", "MISCONF", "NOREPLICAS", "BUSY", "UNBLOCKED"];

/// What rustls says when the two sides will never agree; anything else may be a connection cut in the handshake.
const TLS_REFUSALS: [&str; 4] =
    ["invalid peer certificate", "received corrupt message", "received fatal alert", "peer is incompatible"];

impl Failure {
    pub fn of(error: &RedisError) -> Self {
        let text = error.to_string();
        if let Some((address, slot)) = error.redirect_node() {
            let Ok(to) = Address::parse(address) else {
                return Failure::Later(format!("redirected to an address that can not be used: {text}"));
            };
            return match error.kind() {
                ErrorKind::Server(ServerErrorKind::Ask) => Failure::Ask { at: to },
                _ => Failure::Moved { slot, to },
            };
        }
        match error.kind() {
            ErrorKind::Io | ErrorKind::Parse => {
                if TLS_REFUSALS.iter().any(|refusal| text.contains(refusal)) {
                    return Failure::Permanent(format!("TLS: {text}"));
                }
                Failure::Lost(text)
            }
            ErrorKind::Server(
                ServerErrorKind::TryAgain
                | ServerErrorKind::ClusterDown
                | ServerErrorKind::MasterDown
                | ServerErrorKind::BusyLoading
                | ServerErrorKind::ReadOnly,
            ) => Failure::Later(text),
            ErrorKind::Server(ServerErrorKind::ResponseError) if text.contains("max number of clients") => {
                Failure::Later(text)
            }
            _ if error.code().is_some_and(|code| PASSING_CODES.contains(&code)) => Failure::Later(text),
            _ => Failure::Permanent(text),
        }
    }

    /// Did the answer come, and name where to go? Then there is nothing to wait for.
    pub fn is_redirect(&self) -> bool {
        matches!(self, Failure::Moved { .. } | Failure::Ask { .. })
    }

    /// The same, with the node it happened at.
    pub fn at(self, address: &Address) -> Self {
        match self {
            Failure::Lost(text) => Failure::Lost(format!("{address}: {text}")),
            Failure::Later(text) => Failure::Later(format!("{address}: {text}")),
            Failure::Permanent(text) => Failure::Permanent(format!("{address}: {text}")),
            redirect => redirect,
        }
    }

    /// Of several nodes none could help. Permanent only when all of them say so: one that is down may know better.
    pub fn join(first: Option<Self>, second: Self) -> Self {
        let Some(first) = first else { return second };
        let text = format!("{}; {}", first.text(), second.text());
        match (&first, &second) {
            (Failure::Permanent(_), Failure::Permanent(_)) => second,
            (Failure::Later(_), _) | (_, Failure::Later(_)) => Failure::Later(text),
            _ => Failure::Lost(text),
        }
    }

    fn text(&self) -> String {
        match self {
            Failure::Moved { slot, to } => format!("slot {slot} has moved to {to}"),
            Failure::Ask { at } => format!("a slot is being moved to {at}"),
            Failure::Lost(text) | Failure::Later(text) | Failure::Permanent(text) => text.clone(),
        }
    }

    /// For the caller; `context` says how far we got.
    pub fn into_error(self, doing: &'static str, context: &str) -> StoreError {
        let detail = format!("{context}{}", self.text());
        match self {
            Failure::Permanent(_) => StoreError::Permanent { doing, detail },
            _ => StoreError::Unavailable { doing, detail },
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn server(line: &[u8]) -> Failure {
        Failure::of(&redis::parse_redis_value(line).unwrap().extract_error().unwrap_err())
    }

    #[test]
    fn nodes_refuse_for_good_only_together() {
        let (no, down) = (Failure::Permanent("no".into()), Failure::Lost("down".into()));
        assert!(matches!(Failure::join(Some(no.clone()), no.clone()), Failure::Permanent(_)));
        for (first, second) in [(&no, &down), (&down, &no)] {
            let joined = Failure::join(Some(first.clone()), second.clone());
            let Failure::Lost(text) = joined else { panic!("{joined:?}") };
            assert!(text.contains("no") && text.contains("down"));
        }
    }

    #[test]
    fn each_error_has_its_remedy() {
        assert!(matches!(server(b"-MOVED 7 h:1\r\n"), Failure::Moved { slot: 7, .. }));
        assert!(matches!(server(b"-ASK 7 h:1\r\n"), Failure::Ask { .. }));
        for line in [
            &b"-CLUSTERDOWN The cluster is down\r\n"[..],
            b"-LOADING Redis is loading the dataset in memory\r\n",
            b"-READONLY You can't write against a read only replica.\r\n",
            b"-OOM command not allowed when used memory > 'maxmemory'.\r\n",
            b"-MISCONF Redis is configured to save RDB snapshots\r\n",
            b"-ERR max number of clients reached\r\n",
        ] {
            assert!(matches!(server(line), Failure::Later(_)), "{}", String::from_utf8_lossy(line));
        }
        for line in [
            &b"-WRONGPASS invalid username-password pair\r\n"[..],
            b"-NOAUTH Authentication required.\r\n",
            b"-NOPERM this user has no permissions\r\n",
            b"-WRONGTYPE Operation against a key holding the wrong kind of value\r\n",
            b"-ERR unknown command\r\n",
        ] {
            assert!(matches!(server(line), Failure::Permanent(_)), "{}", String::from_utf8_lossy(line));
        }
    }
}
