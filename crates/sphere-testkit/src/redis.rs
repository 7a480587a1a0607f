//! Where do tests get a real Redis or Redis Cluster from?
//!
//! [`Redis`] is one `redis-server`, [`RedisCluster`] six of them: three masters with a replica each. For tests that
//! hurt nothing, [`Redis::shared_address`] names a server that is already there (`SPHERE_TEST_REDIS`).

use crate::component::{Component, data_dir, free_port, free_ports, wait_until};
use anyhow::{Context, Result, bail};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;
use tempfile::TempDir;

/// How long a server may take to start on a busy machine.
const START_LIMIT: Duration = Duration::from_secs(60);

/// What a server demands, and whether it remembers.
#[derive(Clone, Debug, Default)]
pub struct RedisOptions {
    /// Password of the user `default`.
    pub password: Option<String>,
    /// Lines of an access control list, as in a Redis ACL file: `user sphere on >secret ~sphere:* +@all`.
    pub acl: Vec<String>,
    /// Speak TLS, with a certificate from an authority made for this server.
    pub tls: bool,
    /// Demand a certificate from clients, too ([`Authority::issue`]).
    pub client_certificates: bool,
    /// Write an append-only file, so that a restart forgets nothing.
    pub append_only: bool,
}

/// A certificate authority made by `openssl` for one test.
#[derive(Clone, Debug)]
pub struct Authority {
    folder: PathBuf,
    name: String,
}

impl Authority {
    /// Makes one whose files are in `folder`, named after `name`.
    pub fn create(folder: &Path, name: &str) -> Result<Self> {
        let authority = Self { folder: folder.into(), name: name.into() };
        let (key, cert) = (authority.path("key"), authority.path("crt"));
        openssl(&[
            "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "2", "-keyout", &key, "-out", &cert,
        ])
        .args(["-subj", &format!("/CN={name}"), "-addext", "basicConstraints=critical,CA:TRUE"])
        .run()?;
        Ok(authority)
    }

    /// Its own certificate.
    pub fn certificate(&self) -> PathBuf {
        self.path("crt").into()
    }

    fn path(&self, extension: &str) -> String {
        self.folder.join(format!("{}.{extension}", self.name)).to_string_lossy().into_owned()
    }

    /// A certificate for `localhost` and `127.0.0.1`, as (certificate, key).
    pub fn issue(&self, name: &str) -> Result<(PathBuf, PathBuf)> {
        let file =
            |extension: &str| self.folder.join(format!("{name}.{extension}")).to_string_lossy().into_owned();
        let (key, request, cert, extensions) = (file("key"), file("csr"), file("crt"), file("ext"));
        std::fs::write(&extensions, "subjectAltName=DNS:localhost,IP:127.0.0.1\n")?;
        openssl(&["req", "-newkey", "rsa:2048", "-nodes", "-keyout", &key, "-out", &request])
            .args(["-subj", &format!("/CN={name}")])
            .run()?;
        openssl(&["x509", "-req", "-days", "2", "-in", &request, "-out", &cert, "-extfile", &extensions])
            .args(["-CA", &self.path("crt"), "-CAkey", &self.path("key"), "-CAcreateserial"])
            .run()?;
        Ok((cert.into(), key.into()))
    }
}

struct OpenSsl(Command);

fn openssl(arguments: &[&str]) -> OpenSsl {
    let mut command = Command::new("openssl");
    command.args(arguments);
    OpenSsl(command)
}

impl OpenSsl {
    fn args<const N: usize>(mut self, arguments: [&str; N]) -> Self {
        self.0.args(arguments);
        self
    }

    fn run(mut self) -> Result<()> {
        run(&mut self.0).map(drop)
    }
}

fn run(command: &mut Command) -> Result<String> {
    let output =
        command.output().with_context(|| format!("{:?} can not be started", command.get_program()))?;
    let text = String::from_utf8_lossy(&output.stdout).trim_end().to_string();
    if !output.status.success() {
        let errors = String::from_utf8_lossy(&output.stderr);
        bail!("{:?} failed: {text}\n{errors}", command.get_program());
    }
    Ok(text)
}

/// One `redis-server` on a free loopback port.
#[derive(Debug)]
pub struct Redis {
    /// Its process, to kill, pause and restart.
    pub process: Component,
    port: u16,
    options: RedisOptions,
    authority: Option<Authority>,
    folder: TempDir,
}

impl Redis {
    /// Address of a server that is already there (`SPHERE_TEST_REDIS`, `host:port`), for tests that hurt nothing
    /// and use a prefix of their own.
    pub fn shared_address() -> Option<String> {
        std::env::var("SPHERE_TEST_REDIS").ok().filter(|address| !address.is_empty())
    }

    /// An open server that forgets everything when it ends.
    pub fn start() -> Result<Self> {
        Self::start_with(RedisOptions::default())
    }

    /// A server with options.
    pub fn start_with(options: RedisOptions) -> Result<Self> {
        // Another process may take a free port before the server does: another one helps.
        let mut attempts = 0;
        loop {
            attempts += 1;
            match Self::try_start(options.clone()) {
                Err(error) if attempts < 5 && format!("{error:#}").contains("in use") => continue,
                result => return result,
            }
        }
    }

    fn try_start(options: RedisOptions) -> Result<Self> {
        let folder = data_dir("redis")?;
        let port = free_port()?;
        let mut settings = settings(folder.path(), port, if options.tls { "tls-port" } else { "port" });
        if options.append_only {
            settings.extend(["--appendonly", "yes", "--appendfsync", "always"].map(String::from));
        }
        let mut authority = None;
        if options.tls {
            let ca = Authority::create(folder.path(), "authority")?;
            let (cert, key) = ca.issue("server")?;
            settings.extend(["--port", "0", "--tls-auth-clients"].map(String::from));
            settings.push(if options.client_certificates { "yes" } else { "no" }.into());
            for (name, path) in
                [("--tls-cert-file", cert), ("--tls-key-file", key), ("--tls-ca-cert-file", ca.certificate())]
            {
                settings.extend([name.to_string(), path.to_string_lossy().into_owned()]);
            }
            authority = Some(ca);
        }
        if !options.acl.is_empty() || options.password.is_some() {
            let mut lines = options.acl.clone();
            if let Some(password) = &options.password {
                lines.push(format!("user default on >{password} ~* &* +@all"));
            }
            let path = folder.path().join("users.acl");
            std::fs::write(&path, lines.join("\n") + "\n")?;
            settings.extend(["--aclfile".to_string(), path.to_string_lossy().into_owned()]);
        }
        let log = folder.path().join("log");
        let process = Component::start(&format!("redis-server {port}"), settings, Vec::new(), log)?;
        let mut redis = Self { process, port, options, authority, folder };
        redis.wait_ready()?;
        Ok(redis)
    }

    /// Waits until it answers, its data loaded.
    pub fn wait_ready(&mut self) -> Result<()> {
        let mut ping = self.command();
        ping.arg("PING");
        // Locked out is an answer, too: an access list may have switched the user `default` off.
        self.process.wait_ready(START_LIMIT, || match run(&mut ping) {
            Ok(answer) => answer == "PONG",
            Err(error) => format!("{error:#}").contains("NOAUTH"),
        })
    }

    /// Starts it again on the same port and data, and waits until it answers.
    pub fn restart(&mut self) -> Result<()> {
        self.process.restart()?;
        self.wait_ready()
    }

    /// Its address, `host:port`.
    pub fn address(&self) -> String {
        format!("127.0.0.1:{}", self.port)
    }

    /// The authority that its certificate is from, when it speaks TLS.
    pub fn authority(&self) -> Option<&Authority> {
        self.authority.as_ref()
    }

    /// A folder for files of the test, gone with the server.
    pub fn folder(&self) -> &Path {
        self.folder.path()
    }

    /// Runs a command by `redis-cli`, as the user `default`.
    pub fn cli(&self, arguments: &[&str]) -> Result<String> {
        run(self.command().args(arguments))
    }

    fn command(&self) -> Command {
        let mut command = redis_cli(self.port);
        if let Some(password) = &self.options.password {
            // Not on the command line, where every process could read it.
            command.env("REDISCLI_AUTH", password);
        }
        if let Some(authority) = &self.authority {
            command.args(["--tls", "--cacert"]).arg(authority.certificate());
            if self.options.client_certificates {
                let file = |extension: &str| self.folder.path().join(format!("server.{extension}"));
                command.arg("--cert").arg(file("crt")).arg("--key").arg(file("key"));
            }
        }
        command
    }
}

fn redis_cli(port: u16) -> Command {
    let mut command = Command::new("redis-cli");
    // -e: an error answer is a failure.
    command.args(["-e", "-h", "127.0.0.1", "-p", &port.to_string()]);
    command
}

fn settings(folder: &Path, port: u16, port_key: &str) -> Vec<String> {
    let mut settings: Vec<String> =
        ["redis-server", "--bind", "127.0.0.1", "--save", "", "--daemonize", "no"].map(String::from).to_vec();
    settings.extend(["--dir".into(), folder.to_string_lossy().into_owned()]);
    settings.extend([format!("--{port_key}"), port.to_string()]);
    settings
}

/// Six nodes on loopback: three masters, each with a replica.
#[derive(Debug)]
pub struct RedisCluster {
    nodes: Vec<ClusterNode>,
    folder: TempDir,
}

/// A node of a cluster.
#[derive(Debug)]
pub struct ClusterNode {
    /// Its process, to kill, pause and restart.
    pub process: Component,
    port: u16,
}

impl ClusterNode {
    /// Its address, `host:port`.
    pub fn address(&self) -> String {
        format!("127.0.0.1:{}", self.port)
    }

    /// Runs a command by `redis-cli` on this node, without following redirects.
    pub fn cli(&self, arguments: &[&str]) -> Result<String> {
        run(redis_cli(self.port).args(arguments))
    }

    fn sees_whole_cluster(&self) -> bool {
        let info = self.cli(&["CLUSTER", "INFO"]).unwrap_or_default();
        ["cluster_state:ok", "cluster_slots_ok:16384", "cluster_known_nodes:6"]
            .iter()
            .all(|wanted| info.lines().any(|line| line.trim_end() == *wanted))
    }
}

impl RedisCluster {
    /// A node that is silent for this long is taken for dead; a short time, so that tests of fail-over are short.
    pub const NODE_TIMEOUT: Duration = Duration::from_millis(2000);

    const NODES: usize = 6;

    /// Starts the nodes, joins them, waits until all of them see a whole cluster with its replicas in step.
    pub fn start() -> Result<Self> {
        let mut attempts = 0;
        loop {
            attempts += 1;
            match Self::try_start() {
                Err(error) if attempts < 5 && format!("{error:#}").contains("in use") => continue,
                result => return result,
            }
        }
    }

    fn try_start() -> Result<Self> {
        let folder = data_dir("redis-cluster")?;
        // Twice as many: the cluster bus must not be the port plus 10,000, which may not exist.
        let ports = free_ports(2 * Self::NODES)?;
        let mut nodes = Vec::new();
        for (port, bus_port) in ports[..Self::NODES].iter().zip(&ports[Self::NODES..]) {
            let home = folder.path().join(port.to_string());
            std::fs::create_dir_all(&home)?;
            let mut settings = settings(&home, *port, "port");
            settings.extend(["--cluster-enabled", "yes", "--appendonly", "yes"].map(String::from));
            settings.extend(["--cluster-port".into(), bus_port.to_string()]);
            let timeout_ms = Self::NODE_TIMEOUT.as_millis().to_string();
            settings.extend(["--cluster-node-timeout".into(), timeout_ms]);
            // A dead master must not stop the slots of the others; replicas copy without waiting for companions.
            settings.extend(["--cluster-require-full-coverage", "no"].map(String::from));
            settings.extend(["--repl-diskless-sync-delay", "0"].map(String::from));
            let name = format!("redis-server {port}");
            let process = Component::start(&name, settings, Vec::new(), home.join("log"))?;
            nodes.push(ClusterNode { process, port: *port });
        }
        for node in &mut nodes {
            let mut ping = redis_cli(node.port);
            ping.arg("PING");
            node.process.wait_ready(START_LIMIT, || run(&mut ping).is_ok_and(|answer| answer == "PONG"))?;
        }
        let addresses: Vec<String> = nodes.iter().map(ClusterNode::address).collect();
        let mut create = Command::new("redis-cli");
        create.args(["--cluster", "create"]).args(&addresses);
        run(create.args(["--cluster-replicas", "1", "--cluster-yes"]))?;
        let cluster = Self { nodes, folder };
        cluster.wait_whole(START_LIMIT)?;
        Ok(cluster)
    }

    /// Waits until every node sees all slots served by living masters and every replica is in step.
    pub fn wait_whole(&self, limit: Duration) -> Result<()> {
        wait_until("every node sees a whole cluster", limit, || {
            self.nodes.iter().all(|node| {
                let replication = node.cli(&["INFO", "replication"]).unwrap_or_default();
                let in_step =
                    replication.contains("role:master") || replication.contains("master_link_status:up");
                node.sees_whole_cluster() && in_step
            })
        })
        .map(drop)
    }

    /// Addresses of all nodes.
    pub fn addresses(&self) -> Vec<String> {
        self.nodes.iter().map(ClusterNode::address).collect()
    }

    /// All nodes, in the order of [`RedisCluster::addresses`].
    pub fn nodes(&self) -> &[ClusterNode] {
        &self.nodes
    }

    /// One of the nodes.
    pub fn node(&mut self, index: usize) -> &mut ClusterNode {
        &mut self.nodes[index]
    }

    /// Folder of the nodes' data.
    pub fn folder(&self) -> &Path {
        self.folder.path()
    }

    /// Position of the master that owns `key` now, as the nodes that run see it.
    pub fn master_of_key(&mut self, key: &str) -> Result<usize> {
        let asked = self.running().next().context("no node runs")?;
        let slot: u16 = self.nodes[asked].cli(&["CLUSTER", "KEYSLOT", key])?.parse()?;
        self.master_of_slot(slot)
    }

    /// Position of the master that owns a slot now, as the nodes that run see it.
    pub fn master_of_slot(&mut self, slot: u16) -> Result<usize> {
        for asked in self.running().collect::<Vec<_>>() {
            let text = self.nodes[asked].cli(&["CLUSTER", "NODES"])?;
            let owner = text.lines().find(|line| {
                let mut fields = line.split_whitespace();
                let flags = fields.nth(2).unwrap_or_default();
                flags.contains("master")
                    && !flags.contains("fail")
                    && fields.skip(5).any(|range| holds(range, slot))
            });
            if let Some(line) = owner {
                let address = line.split_whitespace().nth(1).unwrap_or_default();
                let address = address.split('@').next().unwrap_or_default();
                let found = self.nodes.iter().position(|node| node.address() == address);
                return found.with_context(|| format!("{address} is none of ours"));
            }
        }
        bail!("slot {slot} has no living master")
    }

    fn running(&mut self) -> impl Iterator<Item = usize> {
        self.nodes.iter_mut().enumerate().filter_map(|(index, node)| node.process.running().then_some(index))
    }

    /// The cluster's name for a node.
    pub fn id(&self, index: usize) -> Result<String> {
        self.nodes[index].cli(&["CLUSTER", "MYID"])
    }

    /// Moves `slots` slots from one master to another, keys and all, while the cluster serves.
    pub fn reshard(&self, from: usize, to: usize, slots: usize) -> Result<()> {
        let mut command = Command::new("redis-cli");
        command.args(["--cluster", "reshard", &self.nodes[from].address(), "--cluster-yes"]);
        command.args(["--cluster-from", &self.id(from)?, "--cluster-to", &self.id(to)?]);
        run(command.args(["--cluster-slots", &slots.to_string()])).map(drop)
    }

    /// Starts a node again on its port and data, and waits until the cluster is whole.
    pub fn restart(&mut self, index: usize) -> Result<()> {
        self.nodes[index].process.restart()?;
        self.wait_whole(START_LIMIT)
    }
}

/// Is the slot in this range (`5`, `0-99`; slots on the move are in brackets and belong to nobody's range)?
fn holds(range: &str, slot: u16) -> bool {
    let (first, last) = range.split_once('-').unwrap_or((range, range));
    match (first.parse::<u16>(), last.parse::<u16>()) {
        (Ok(first), Ok(last)) => (first..=last).contains(&slot),
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_server_remembers_what_it_was_told_to() {
        let options = RedisOptions { append_only: true, ..RedisOptions::default() };
        let mut redis = Redis::start_with(options).unwrap();
        redis.cli(&["SET", "a", "1"]).unwrap();
        redis.process.kill();
        redis.restart().unwrap();
        assert_eq!(redis.cli(&["GET", "a"]).unwrap(), "1");
    }

    #[test]
    fn slot_ranges_are_read() {
        assert!(holds("5", 5) && holds("0-99", 99));
        assert!(!holds("0-99", 100) && !holds("[93-<-abc]", 93));
    }
}
