//! Is the definition on disk, which the chart ships and `kubectl apply` takes, the one that the types generate?
//!
//! After a deliberate change: `UPDATE_CONTRACTS=1 cargo test -p sphere-kubernetes --test definition` (or `make generate`), then
//! read the diff.

#![allow(clippy::unwrap_used, reason = "a failing test is the message, in its helpers, too")]

use std::fs;
use std::path::PathBuf;

#[test]
fn the_definition_on_disk_is_the_generated_one() {
    let path = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../../deploy/crd/predictiveautoscalers.yaml");
    let generated = sphere_kubernetes::api::crd_yaml();
    if std::env::var_os("UPDATE_CONTRACTS").is_some() {
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(&path, &generated).unwrap();
    }
    let on_disk = fs::read_to_string(&path).unwrap_or_default();
    assert!(on_disk == generated, "{} is out of date: run `make generate` and read the diff", path.display());
}
