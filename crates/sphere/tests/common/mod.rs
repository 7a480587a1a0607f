//! How do tests run the program as an operator does?

#![allow(clippy::unwrap_used, reason = "a failing test is the message, in its helpers, too")]
#![allow(dead_code, reason = "not every test needs everything")]

use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, ServerName};
use rustls::{ClientConfig, ClientConnection, RootCertStore, StreamOwned};
use sphere_testkit::{data_dir, wait_until};
use std::io::{Read, Write};
use std::net::TcpStream;
use std::path::Path;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::Arc;
use std::time::Duration;
use tempfile::TempDir;

/// Longest wait for anything; the machine may be busy.
pub const LONG: Duration = Duration::from_secs(120);

/// A running `sphere`. Ends with this value.
pub struct Sphere {
    pub child: Child,
    dir: TempDir,
}

fn command(args: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_sphere"));
    command.args(args).stdin(Stdio::null()).env("NO_COLOR", "1");
    for (key, _) in std::env::vars().filter(|(key, _)| key.starts_with("SPHERE_")) {
        command.env_remove(key);
    }
    command
}

/// Runs to its end: exit code, stdout, stderr.
pub fn run(args: &[&str]) -> (Option<i32>, String, String) {
    let output = command(args).output().unwrap();
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    (output.status.code(), text(&output.stdout), text(&output.stderr))
}

/// One request, one answer.
fn ask(mut stream: impl Read + Write, path: &str, header: &str) -> std::io::Result<(u16, String)> {
    write!(stream, "GET {path} HTTP/1.1\r\nHost: sphere\r\nConnection: close\r\n{header}\r\n")?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer)?;
    let status = answer.split(' ').nth(1).unwrap().parse().unwrap();
    Ok((status, answer.split_once("\r\n\r\n").unwrap().1.to_owned()))
}

impl Sphere {
    /// Starts it.
    pub fn start(args: &[&str]) -> Self {
        let dir = data_dir("sphere").unwrap();
        let file = |name: &str| std::fs::File::create(dir.path().join(name)).unwrap();
        let child = command(args).stdout(file("stdout")).stderr(file("stderr")).spawn().unwrap();
        Self { child, dir }
    }

    fn text(&self, name: &str) -> String {
        std::fs::read_to_string(self.dir.path().join(name)).unwrap_or_default()
    }

    /// What it logged so far.
    pub fn log(&self) -> String {
        self.text("stderr")
    }

    /// The address it said it listens on.
    pub fn address(&mut self) -> String {
        let mut address = None;
        wait_until("sphere listens", LONG, || {
            assert!(self.child.try_wait().unwrap().is_none(), "it has ended: {}", self.log());
            let log = self.log();
            address = log.split("//").nth(1).map(|rest| rest.split(['/', '\n']).next().unwrap().to_owned());
            address.is_some()
        })
        .unwrap();
        address.unwrap()
    }

    /// Status and body of a page.
    pub fn get(&mut self, path: &str, header: &str) -> (u16, String) {
        let address = self.address();
        let stream = TcpStream::connect(&address).unwrap();
        stream.set_read_timeout(Some(LONG)).unwrap();
        ask(stream, path, header).unwrap()
    }

    /// Status and body of a page, over TLS by somebody who trusts `authority` only.
    pub fn get_tls(&mut self, path: &str, authority: &Path) -> std::io::Result<(u16, String)> {
        let address = self.address();
        let mut roots = RootCertStore::empty();
        roots.add(CertificateDer::from_pem_file(authority).unwrap()).unwrap();
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let client = ClientConfig::builder_with_provider(provider).with_safe_default_protocol_versions();
        let client = client.unwrap().with_root_certificates(roots).with_no_client_auth();
        let name = ServerName::try_from("127.0.0.1").unwrap();
        let client = ClientConnection::new(Arc::new(client), name).unwrap();
        let stream = TcpStream::connect(&address)?;
        stream.set_read_timeout(Some(LONG))?;
        ask(StreamOwned::new(client, stream), path, "")
    }

    /// Records counted so far.
    pub fn counted(&mut self, stage: &str, outcome: &str) -> u64 {
        let series = format!("sphere_records_total{{stage=\"{stage}\",outcome=\"{outcome}\"}} ");
        let (_, page) = self.get("/metrics", "");
        page.lines().find_map(|line| line.strip_prefix(&series)?.parse().ok()).unwrap_or(0)
    }

    /// Waits until that many were counted.
    pub fn wait_counted(&mut self, stage: &str, outcome: &str, count: u64) {
        let what = format!("{count} {outcome} of {stage}");
        let reached = wait_until(&what, LONG, || self.counted(stage, outcome) >= count);
        assert!(reached.is_ok(), "{what} are not reached: {}", self.log());
    }

    /// Sends a signal.
    pub fn signal(&self, name: &str) {
        let pid = self.child.id().to_string();
        assert!(Command::new("kill").args([&format!("-{name}"), &pid]).status().unwrap().success());
    }

    /// SIGTERM, and waits for the end: exit code and stdout.
    pub fn terminate(mut self) -> (Option<i32>, String) {
        self.signal("TERM");
        let status = self.wait();
        (status.code(), self.text("stdout"))
    }

    /// Waits for the end.
    pub fn wait(&mut self) -> ExitStatus {
        let mut status = None;
        wait_until("sphere has ended", LONG, || {
            status = self.child.try_wait().unwrap();
            status.is_some()
        })
        .unwrap_or_else(|error| panic!("{error}: {}", self.log()));
        status.unwrap()
    }
}

impl Drop for Sphere {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Writes a configuration and returns its path as text.
pub fn write(dir: &Path, text: &str) -> String {
    let path = dir.join("sphere.yaml");
    std::fs::write(&path, text).unwrap();
    path.display().to_string()
}
