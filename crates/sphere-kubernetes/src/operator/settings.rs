//! What is the operator told?

use super::report::Pace;
use super::rivals::RivalLimits;
use crate::lease::LeaseTimes;
use std::path::Path;
use std::time::Duration;

/// Namespace of the service account, as every pod has it.
const NAMESPACE_FILE: &str = "/var/run/secrets/kubernetes.io/serviceaccount/namespace";

/// Settings of an operator.
#[derive(Clone, Debug, PartialEq)]
pub struct OperatorSettings {
    /// Namespaces to look after; empty: all.
    pub namespaces: Vec<String>,
    /// Where it lives: its lease, its memory, its kill switch.
    pub own_namespace: String,
    /// Its name in the election; nobody else may have it.
    pub identity: String,
    /// Name of the lease.
    pub lease_name: String,
    /// Times of the election.
    pub lease: LeaseTimes,
    /// Decide and report nothing to anybody but logs and metrics: nothing at all is written, no status, no event.
    pub dry_run: bool,
    /// Grid of the pipeline.
    pub step: Duration,
    /// Who we are in `managedFields`.
    pub field_manager: String,
    /// How often what autoscalers remember is written.
    pub memory_every: Duration,
    /// How often statuses are written.
    pub pace: Pace,
    /// When others are rivals.
    pub rivals: RivalLimits,
}

impl OperatorSettings {
    /// The defaults, for an operator of this name in this namespace.
    pub fn new(own_namespace: impl Into<String>, identity: impl Into<String>) -> Self {
        Self {
            namespaces: Vec::new(),
            own_namespace: own_namespace.into(),
            identity: identity.into(),
            lease_name: "sphere-operator".into(),
            lease: LeaseTimes::default(),
            dry_run: false,
            step: Duration::from_secs(10),
            field_manager: "sphere".into(),
            memory_every: Duration::from_secs(30),
            pace: Pace::default(),
            rivals: RivalLimits::default(),
        }
    }
}

/// The namespace this process lives in: what `POD_NAMESPACE` says, else what the service account says, else `otherwise`.
pub fn own_namespace(otherwise: &str) -> String {
    own_namespace_from(std::env::var("POD_NAMESPACE").ok(), Path::new(NAMESPACE_FILE), otherwise)
}

fn own_namespace_from(variable: Option<String>, file: &Path, otherwise: &str) -> String {
    let named = |text: String| Some(text.trim().to_owned()).filter(|text| !text.is_empty());
    variable
        .and_then(named)
        .or_else(|| std::fs::read_to_string(file).ok().and_then(named))
        .unwrap_or_else(|| otherwise.to_owned())
}

/// A name that no other process has: that of the pod, or of the machine, and something random.
///
/// The random part costs a restarted container one lease of waiting. Without it, two pods of one name (a StatefulSet
/// whose node is cut off) would both take the lease for theirs.
pub fn identity() -> String {
    let named = |name: &str| std::env::var(name).ok().filter(|text| !text.trim().is_empty());
    let host =
        || std::fs::read_to_string("/proc/sys/kernel/hostname").ok().map(|host| host.trim().to_owned());
    let name =
        named("POD_NAME").or_else(|| named("HOSTNAME")).or_else(host).unwrap_or_else(|| "sphere".into());
    format!("{name}_{:08x}", fastrand::u32(..))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_namespace_is_that_of_the_pod_then_of_the_account_then_the_other() {
        let folder = std::env::temp_dir();
        let nowhere = folder.join("there-is-no-such-file");
        assert_eq!(own_namespace_from(Some(" a \n".into()), &nowhere, "c"), "a");
        assert_eq!(own_namespace_from(Some(String::new()), &nowhere, "c"), "c");
        let file = folder.join(format!("sphere-namespace-{}", std::process::id()));
        std::fs::write(&file, "b\n").unwrap();
        assert_eq!(own_namespace_from(None, &file, "c"), "b");
        std::fs::remove_file(&file).unwrap();
    }

    #[test]
    fn two_processes_of_one_pod_have_two_names() {
        assert_ne!(identity(), identity());
    }
}
