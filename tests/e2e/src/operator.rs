//! How is the operator installed and run? By the manifests of `deploy/`, as the real program, with no other rights.

use crate::rig::kubectl;
use crate::{Patience, Rig, Space, eventually};
use serde_json::{Value, json};
use std::fs::File;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::Duration;
use tokio::process::{Child, Command};

/// The manifests of `deploy/`, applied for one test: its service account and rights, in a namespace of its own.
pub struct Installation {
    rig: Rig,
    /// Where the operator lives: its lease and memory.
    pub home: Space,
    /// Namespaces it looks after.
    watched: Vec<String>,
    /// kubeconfig with the token of its service account.
    pub kubeconfig: PathBuf,
    folder: tempfile::TempDir,
    /// Settings of the lease: duration, renewal, retry in seconds.
    pub lease: (u32, u32, u32),
}

/// Namespace and service account in the rendered manifests.
const NAMESPACE: &str = "sphere-system";
const ACCOUNT: &str = "sphere";

/// The folder that `deploy/` lies in.
fn root() -> &'static Path {
    Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/../.."))
}

impl Installation {
    /// Installs it for these namespaces.
    pub async fn new(rig: &Rig, watched: &[&Space]) -> Self {
        let home = rig.space("home").await;
        let text = std::fs::read_to_string(root().join("deploy/manifests/cluster-wide.yaml")).unwrap();
        // Names of cluster-wide objects carry the namespace, so installations of several tests do not meet.
        rig.apply(&text.replace(NAMESPACE, &home.name)).await;
        let folder = tempfile::tempdir().unwrap();
        let kubeconfig = folder.path().join("kubeconfig");
        let token = eventually("a token of the operator", Patience::API, async || {
            rig.harness.kubeconfig(&home.name, ACCOUNT).await
        })
        .await;
        std::fs::write(&kubeconfig, token).unwrap();
        let watched = watched.iter().map(|space| space.name.clone()).collect();
        Self { rig: rig.clone(), home, watched, kubeconfig, folder, lease: (15, 10, 2) }
    }

    /// kubectl with the rights of the operator.
    pub async fn kubectl(&self, args: &[&str]) -> Result<String, String> {
        kubectl(&self.rig.program, &self.kubeconfig, args, None).await
    }

    /// Starts an operator called `name`, with changes to its configuration (merged in), and waits until it is ready.
    pub async fn start(&self, name: &str, changes: Value) -> Operator {
        let port = free_port();
        let address = format!("127.0.0.1:{port}");
        let (duration, renew, retry) = self.lease;
        let mut config = json!({
            "listen": address, "source": "kubernetes", "store": "memory",
            "log": {"format": "text", "level": "info"},
            "operator": {
                "namespaces": self.watched,
                "lease": {
                    "duration": format!("{duration}s"), "renew": format!("{renew}s"), "retry": format!("{retry}s"),
                },
            },
        });
        merge(&mut config, &changes);
        let file = self.folder.path().join(format!("{name}.yaml"));
        // JSON is YAML.
        std::fs::write(&file, config.to_string()).unwrap();
        let logs = std::env::var("SPHERE_E2E_LOGS").map_or_else(|_| std::env::temp_dir(), PathBuf::from);
        std::fs::create_dir_all(&logs).unwrap();
        let log = logs.join(format!("{}-{name}.log", self.home.name));
        let out = File::options().create(true).append(true).open(&log).unwrap();
        let child = Command::new(program())
            .args(["operator", "--config"])
            .arg(&file)
            .arg("--kubeconfig")
            .arg(&self.kubeconfig)
            .env("POD_NAME", name)
            .env("POD_NAMESPACE", &self.home.name)
            .stdin(Stdio::null())
            .stdout(out.try_clone().unwrap())
            .stderr(out)
            .kill_on_drop(true)
            .spawn()
            .unwrap_or_else(|error| panic!("{}: {error}", program().display()));
        let mut operator =
            Operator { child, log, address: format!("http://{address}"), harness: self.rig.harness.clone() };
        eventually("the operator is ready", Patience::DECISION, async || {
            if let Ok(Some(status)) = operator.child.try_wait() {
                panic!("the operator ended: {status}; log: {}", operator.log.display());
            }
            operator.harness.text(&format!("{}/readyz", operator.address)).await
        })
        .await;
        operator
    }
}

/// A running `sphere operator`. Killed when dropped.
pub struct Operator {
    child: Child,
    /// What it wrote.
    pub log: PathBuf,
    address: String,
    harness: crate::Harness,
}

impl Operator {
    /// SIGKILL: it can not say goodbye.
    pub async fn kill(&mut self) {
        self.child.kill().await.unwrap();
    }

    /// SIGTERM, and waits for its end.
    pub async fn stop(&mut self) {
        let pid = self.child.id().unwrap().to_string();
        Command::new("kill").arg(&pid).status().await.unwrap();
        tokio::time::timeout(Duration::from_secs(60), self.child.wait())
            .await
            .expect("it ends within 60 s")
            .unwrap();
    }

    /// Does it still run?
    pub fn runs(&mut self) -> bool {
        matches!(self.child.try_wait(), Ok(None))
    }

    /// The value of a metric, summed over the series whose line contains all of `labels`. `None` without any.
    pub async fn metric(&self, name: &str, labels: &[&str]) -> Option<f64> {
        let text = self.harness.text(&format!("{}/metrics", self.address)).await.ok()?;
        let lines = text.lines().filter(|line| {
            line.strip_prefix(name).is_some_and(|rest| rest.starts_with([' ', '{']))
                && labels.iter().all(|label| line.contains(label))
        });
        let values = lines.filter_map(|line| line.rsplit(' ').next()?.parse::<f64>().ok());
        values.reduce(|a, b| a + b)
    }

    /// Processor time used so far, seconds, and resident memory, bytes.
    pub fn usage(&self) -> (f64, u64) {
        let pid = self.child.id().unwrap();
        let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).unwrap();
        // After the name in parentheses, which may contain spaces: field 14 and 15 of the line are user and system time.
        let fields: Vec<&str> = stat.rsplit(')').next().unwrap().split_whitespace().collect();
        let ticks: f64 = fields[11].parse::<f64>().unwrap() + fields[12].parse::<f64>().unwrap();
        let pages: u64 = std::fs::read_to_string(format!("/proc/{pid}/statm"))
            .unwrap()
            .split_whitespace()
            .nth(1)
            .unwrap()
            .parse()
            .unwrap();
        // 100 ticks per second and pages of 4 KiB on every Linux that Kubernetes runs on.
        (ticks / 100.0, pages * 4096)
    }
}

/// The program under test: `SPHERE_E2E_PROGRAM`, else the one that cargo built beside the tests.
pub(crate) fn program() -> PathBuf {
    if let Some(program) = std::env::var_os("SPHERE_E2E_PROGRAM") {
        return program.into();
    }
    // target/debug/deps/test-… is where this runs.
    let test = std::env::current_exe().unwrap();
    test.parent().and_then(Path::parent).unwrap().join("sphere")
}

fn free_port() -> u16 {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    listener.local_addr().unwrap().port()
}

fn merge(into: &mut Value, changes: &Value) {
    match (into, changes) {
        (Value::Object(into), Value::Object(changes)) => {
            for (key, value) in changes {
                merge(into.entry(key.clone()).or_insert(Value::Null), value);
            }
        }
        (into, changes) => *into = changes.clone(),
    }
}
