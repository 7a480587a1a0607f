//! How does a test reach the control plane?

use crate::{Harness, Space};
use kube::config::{KubeConfigOptions, Kubeconfig};
use serde_json::Value;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::{SystemTime, UNIX_EPOCH};
use tokio::io::AsyncWriteExt;
use tokio::process::Command;

/// The control plane that the environment names.
#[derive(Clone)]
pub struct Rig {
    /// As an administrator.
    pub client: kube::Client,
    /// Demand, scores, faults.
    pub harness: Harness,
    pub(crate) kubeconfig: PathBuf,
    /// The program of the control plane, which is kubectl, too.
    pub program: PathBuf,
}

const HOW: &str = "is not set: these tests need a control plane; run make e2e, or make controlplane and export what it prints";

impl Rig {
    /// Attaches to it.
    pub async fn attach() -> Self {
        // Any number of calls do no harm; the error says that another test was first.
        let _ = rustls::crypto::ring::default_provider().install_default();
        let set = |name: &str| std::env::var(name).unwrap_or_else(|_| panic!("{name} {HOW}"));
        let kubeconfig = PathBuf::from(set("SPHERE_TEST_KUBECONFIG"));
        let harness = Harness::new(&set("SPHERE_TEST_HARNESS"));
        let text = Kubeconfig::read_from(&kubeconfig).unwrap();
        let config = kube::Config::from_custom_kubeconfig(text, &KubeConfigOptions::default()).await.unwrap();
        let client = kube::Client::try_from(config).unwrap();
        let info = harness.info().await;
        let program = info["program"].as_str().unwrap().into();
        Self { client, harness, kubeconfig, program }
    }

    /// A fresh namespace, deleted when dropped.
    pub async fn space(&self, name: &str) -> Space {
        Space::create(self, &format!("e2e-{name}-{}", unique())).await
    }

    /// Runs kubectl as an administrator; its output, or its complaint.
    pub async fn kubectl(&self, args: &[&str], input: Option<&str>) -> Result<String, String> {
        kubectl(&self.program, &self.kubeconfig, args, input).await
    }

    /// Applies a manifest by server-side apply.
    pub async fn apply(&self, manifest: &str) {
        self.kubectl(&["apply", "--server-side", "-f", "-"], Some(manifest)).await.unwrap();
    }

    /// Sends an object to the API server for real validation, unknown fields refused, without storing it. `Err` is its
    /// message.
    pub async fn dry_run(&self, path: &str, object: &Value) -> Result<(), String> {
        let request = http::Request::post(format!("{path}?dryRun=All&fieldValidation=Strict"))
            .header("content-type", "application/json")
            .body(object.to_string().into_bytes())
            .unwrap();
        match self.client.request::<Value>(request).await {
            Ok(_) => Ok(()),
            Err(kube::Error::Api(status)) => Err(status.message),
            Err(other) => panic!("{path}: {other}"),
        }
    }
}

/// kubectl with a kubeconfig.
pub async fn kubectl(
    program: &Path,
    kubeconfig: &Path,
    args: &[&str],
    input: Option<&str>,
) -> Result<String, String> {
    let mut child = Command::new(program)
        .arg("kubectl")
        .arg("--kubeconfig")
        .arg(kubeconfig)
        .args(args)
        .stdin(if input.is_some() { Stdio::piped() } else { Stdio::null() })
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .kill_on_drop(true)
        .spawn()
        .map_err(|error| format!("{}: {error}", program.display()))?;
    if let (Some(input), Some(mut stdin)) = (input, child.stdin.take()) {
        stdin.write_all(input.as_bytes()).await.map_err(|error| error.to_string())?;
    }
    let output = child.wait_with_output().await.map_err(|error| error.to_string())?;
    if output.status.success() {
        Ok(String::from_utf8_lossy(&output.stdout).into_owned())
    } else {
        Err(format!("kubectl {}: {}", args.join(" "), String::from_utf8_lossy(&output.stderr)))
    }
}

/// Short text that no other test of this run or the one before has.
fn unique() -> String {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap();
    format!("{:x}", now.as_micros() % (1 << 40))
}
