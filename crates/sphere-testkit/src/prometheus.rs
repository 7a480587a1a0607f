//! How do tests get a real Prometheus, and something for it to scrape?
//!
//! [`Prometheus`] runs Debian's `prometheus` on a free loopback port; [`Exporter`] serves whatever text the test sets.

use crate::{Component, data_dir, free_port};
use anyhow::{Context, Result, bail};
use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;
use tempfile::TempDir;

/// How long a start may take on a busy machine.
const START_LIMIT: Duration = Duration::from_secs(60);
/// Longest request line or header an exporter reads, bytes.
const MAX_LINE_BYTES: u64 = 8 * 1024;

/// How a Prometheus is started.
#[derive(Clone, Debug)]
pub struct Options {
    /// Addresses to scrape, `host:port`.
    pub targets: Vec<String>,
    /// Time between scrapes.
    pub scrape_interval: Duration,
    /// Path all its pages are under, e.g. `/metrics-store`; absent: none.
    pub prefix: Option<String>,
    /// User and password without which it does not answer.
    pub basic_auth: Option<(String, String)>,
    /// Serve HTTPS, with a certificate for 127.0.0.1 signed by an authority made for it.
    pub tls: bool,
    /// Samples to start with, in OpenMetrics text (ending in `# EOF`) with time stamps in seconds.
    pub history: Option<String>,
    /// Further arguments.
    pub arguments: Vec<String>,
}

impl Options {
    /// A plain one.
    pub fn new(targets: &[String], scrape_interval: Duration) -> Self {
        Self {
            targets: targets.to_vec(),
            scrape_interval,
            prefix: None,
            basic_auth: None,
            tls: false,
            history: None,
            arguments: Vec::new(),
        }
    }
}

/// A running Prometheus.
#[derive(Debug)]
pub struct Prometheus {
    /// Its process, to be paused, killed, restarted.
    pub process: Component,
    options: Options,
    port: u16,
    dir: TempDir,
}

impl Prometheus {
    /// Starts one that scrapes `targets`, and waits until it answers.
    pub fn start(targets: &[String], scrape_interval: Duration) -> Result<Self> {
        Self::start_with(Options::new(targets, scrape_interval))
    }

    /// Starts one with all options, and waits until it answers. Another port is tried when the first got lost.
    pub fn start_with(options: Options) -> Result<Self> {
        Self::attempt(options.clone()).or_else(|first| {
            Self::attempt(options).with_context(|| format!("the first attempt failed, too: {first}"))
        })
    }

    fn attempt(options: Options) -> Result<Self> {
        let dir = data_dir("prometheus")?;
        let (path, port) = (dir.path(), free_port()?);
        std::fs::write(path.join("prometheus.yml"), scrape_config(&options)?)?;
        let data = path.join("data");
        if let Some(history) = &options.history {
            backfill(path, &data, history)?;
        }
        let web = web_config(path, &options)?;
        let mut command = vec![
            "prometheus".to_owned(),
            format!("--config.file={}", path.join("prometheus.yml").display()),
            format!("--storage.tsdb.path={}", data.display()),
            format!("--web.listen-address=127.0.0.1:{port}"),
            "--web.enable-lifecycle".to_owned(),
            "--storage.tsdb.retention.time=10y".to_owned(),
        ];
        command.extend(web.map(|file| format!("--web.config.file={}", file.display())));
        command.extend(options.prefix.as_ref().map(|prefix| format!("--web.route-prefix={prefix}")));
        command.extend(options.arguments.iter().cloned());
        let process = Component::start("prometheus", command, Vec::new(), path.join("log"))?;
        let mut started = Self { process, options, port, dir };
        started.wait_ready()?;
        Ok(started)
    }

    /// Waits until it answers, e.g. after a restart.
    pub fn wait_ready(&mut self) -> Result<()> {
        let address = SocketAddr::from(([127, 0, 0, 1], self.port));
        let prefix = self.options.prefix.clone().unwrap_or_default();
        // Behind TLS or a password its own log says it.
        let guarded = self.options.tls || self.options.basic_auth.is_some();
        let log = self.dir.path().join("log");
        self.process.wait_ready(START_LIMIT, || {
            if guarded {
                let log = std::fs::read_to_string(&log).unwrap_or_default();
                return log.contains("Server is ready to receive web requests");
            }
            get(address, &format!("{prefix}/-/ready")).is_ok_and(|answer| answer.starts_with("HTTP/1.1 200"))
        })
    }

    /// Ends and starts it again on the same port and data, and waits until it answers.
    pub fn restart(&mut self) -> Result<()> {
        self.process.stop();
        // The old process has said that it was ready, too.
        std::fs::write(self.dir.path().join("log"), "")?;
        self.process.restart()?;
        self.wait_ready()
    }

    /// Other targets, which count after [`Prometheus::reload`] or [`Prometheus::restart`].
    pub fn set_targets(&mut self, targets: &[String]) -> Result<()> {
        self.options.targets = targets.to_vec();
        std::fs::write(self.dir.path().join("prometheus.yml"), scrape_config(&self.options)?)?;
        Ok(())
    }

    /// Makes it read its configuration again.
    pub fn reload(&self) -> Result<()> {
        self.process.signal("HUP")
    }

    /// Its base address.
    pub fn url(&self) -> String {
        let scheme = if self.options.tls { "https" } else { "http" };
        let prefix = self.options.prefix.as_deref().unwrap_or_default();
        format!("{scheme}://127.0.0.1:{}{prefix}", self.port)
    }

    /// `host:port`, for scraping itself.
    pub fn address(&self) -> String {
        format!("127.0.0.1:{}", self.port)
    }

    /// The authority that signed its certificate, PEM.
    pub fn ca_file(&self) -> PathBuf {
        self.dir.path().join("ca.pem")
    }

    /// Its own metrics, as text. Not behind TLS or a password.
    pub fn metrics(&self) -> Result<String> {
        let prefix = self.options.prefix.as_deref().unwrap_or_default();
        get(SocketAddr::from(([127, 0, 0, 1], self.port)), &format!("{prefix}/metrics"))
    }

    /// How many requests its handlers under `/api/v1/query` have answered.
    pub fn queries_answered(&self) -> Result<u64> {
        let metrics = self.metrics()?;
        let of_query = metrics.lines().filter(|line| {
            line.starts_with("prometheus_http_requests_total{") && line.contains("\"/api/v1/query")
        });
        let counts = of_query.filter_map(|line| line.rsplit_once(' ')?.1.parse::<f64>().ok());
        Ok(counts.sum::<f64>() as u64)
    }
}

fn scrape_config(options: &Options) -> Result<String> {
    let ms = options.scrape_interval.as_millis().max(1);
    let mut text = format!(
        "global: {{scrape_interval: {ms}ms, scrape_timeout: {ms}ms}}\nscrape_configs:\n- job_name: test\n  \
         honor_labels: true\n  static_configs:\n  - targets: ["
    );
    for (i, target) in options.targets.iter().enumerate() {
        write!(text, "{}\"{target}\"", if i == 0 { "" } else { ", " })?;
    }
    text.push_str("]\n");
    Ok(text)
}

/// Certificates and the hash of the password, if wanted.
fn web_config(dir: &Path, options: &Options) -> Result<Option<PathBuf>> {
    let mut text = String::new();
    if options.tls {
        certificates(dir)?;
        text.push_str("tls_server_config: {cert_file: cert.pem, key_file: key.pem}\n");
    }
    if let Some((user, password)) = &options.basic_auth {
        writeln!(text, "basic_auth_users:\n  {user}: '{}'", bcrypt(password)?)?;
    }
    if text.is_empty() {
        return Ok(None);
    }
    let file = dir.join("web.yml");
    std::fs::write(&file, text)?;
    Ok(Some(file))
}

fn run(command: &mut Command) -> Result<String> {
    let output = command.output().with_context(|| format!("{command:?} can not be started"))?;
    if !output.status.success() {
        bail!("{command:?} failed: {}", String::from_utf8_lossy(&output.stderr));
    }
    Ok(String::from_utf8_lossy(&output.stdout).into_owned())
}

/// The C library of Debian hashes this way; perl is part of every Debian.
fn bcrypt(password: &str) -> Result<String> {
    let script = r#"print crypt($ARGV[0], '$2y$04$sphereTestkitSaltaaaaa')"#;
    let hash = run(Command::new("perl").args(["-e", script, password]))?;
    if !hash.starts_with("$2y$") {
        bail!("this system's crypt knows no bcrypt: {hash:?}");
    }
    Ok(hash)
}

/// `ca.pem`, and `cert.pem` with `key.pem` signed by it.
fn certificates(dir: &Path) -> Result<()> {
    let ec = ["-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes"];
    let openssl = || {
        let mut command = Command::new("openssl");
        command.current_dir(dir);
        command
    };
    run(openssl().args(["req", "-x509"]).args(ec).args([
        "-keyout",
        "ca.key",
        "-out",
        "ca.pem",
        "-days",
        "30",
        "-subj",
        "/CN=SPHERE test authority",
    ]))?;
    run(openssl().arg("req").args(ec).args([
        "-keyout",
        "key.pem",
        "-out",
        "request.pem",
        "-subj",
        "/CN=127.0.0.1",
    ]))?;
    std::fs::write(dir.join("extensions"), "subjectAltName=IP:127.0.0.1\nbasicConstraints=CA:FALSE\n")?;
    run(openssl().args([
        "x509",
        "-req",
        "-in",
        "request.pem",
        "-CA",
        "ca.pem",
        "-CAkey",
        "ca.key",
        "-CAcreateserial",
        "-out",
        "cert.pem",
        "-days",
        "30",
        "-extfile",
        "extensions",
    ]))?;
    Ok(())
}

/// Turns OpenMetrics text into blocks of the data folder.
fn backfill(dir: &Path, data: &Path, history: &str) -> Result<()> {
    let file = dir.join("history.om");
    std::fs::write(&file, history)?;
    std::fs::create_dir_all(data)?;
    run(Command::new("promtool")
        .args(["tsdb", "create-blocks-from", "openmetrics", "-q"])
        .arg(&file)
        .arg(data))?;
    Ok(())
}

/// An answer to GET, whole; for pages of a few megabytes on loopback.
fn get(address: SocketAddr, path: &str) -> Result<String> {
    let limit = Duration::from_secs(5);
    let mut stream = TcpStream::connect_timeout(&address, limit)?;
    stream.set_read_timeout(Some(limit))?;
    write!(stream, "GET {path} HTTP/1.1\r\nHost: {address}\r\nConnection: close\r\n\r\n")?;
    let mut answer = Vec::new();
    stream.read_to_end(&mut answer)?;
    Ok(String::from_utf8_lossy(&answer).into_owned())
}

/// What an exporter serves: families by name, lines by label set.
#[derive(Clone, Debug, Default)]
pub struct Page(BTreeMap<String, BTreeMap<String, String>>);

impl Page {
    /// Sets the value of a series, e.g. `("up", r#"job="x""#, 1.0)`.
    pub fn set(&mut self, name: &str, labels: &str, value: f64) -> &mut Self {
        self.0.entry(name.into()).or_default().insert(labels.into(), value.to_string());
        self
    }

    /// Removes all series whose labels contain `text`.
    pub fn remove(&mut self, text: &str) -> &mut Self {
        for series in self.0.values_mut() {
            series.retain(|labels, _| !labels.contains(text));
        }
        self
    }

    /// As Prometheus reads it.
    pub fn text(&self) -> String {
        let mut text = String::new();
        for (name, series) in &self.0 {
            for (labels, value) in series {
                // Writing to a String does not fail.
                let _ = writeln!(text, "{name}{{{labels}}} {value}");
            }
        }
        text
    }
}

/// A tiny HTTP server whose one page the test sets.
#[derive(Debug)]
pub struct Exporter {
    address: SocketAddr,
    page: Arc<Mutex<Option<String>>>,
    scrapes: Arc<AtomicU64>,
    over: Arc<AtomicBool>,
}

impl Exporter {
    /// Starts one with an empty page.
    pub fn start() -> Result<Self> {
        let listener = TcpListener::bind(("127.0.0.1", 0))?;
        let address = listener.local_addr()?;
        let page = Arc::new(Mutex::new(Some(String::new())));
        let (scrapes, over) = (Arc::new(AtomicU64::new(0)), Arc::new(AtomicBool::new(false)));
        let shared = (Arc::clone(&page), Arc::clone(&scrapes), Arc::clone(&over));
        std::thread::spawn(move || {
            let (page, scrapes, over) = shared;
            for stream in listener.incoming() {
                if over.load(Ordering::SeqCst) {
                    return;
                }
                // A scraper that hangs up is its own problem.
                let _ = stream.and_then(|stream| serve(stream, &page));
                scrapes.fetch_add(1, Ordering::SeqCst);
            }
        });
        Ok(Self { address, page, scrapes, over })
    }

    /// `host:port`, to be scraped.
    pub fn target(&self) -> String {
        self.address.to_string()
    }

    /// Sets what it serves.
    pub fn set(&self, text: impl Into<String>) {
        *self.page.lock().unwrap_or_else(PoisonError::into_inner) = Some(text.into());
    }

    /// From now on every scrape fails with HTTP 500.
    pub fn fail(&self) {
        *self.page.lock().unwrap_or_else(PoisonError::into_inner) = None;
    }

    /// Requests answered so far.
    pub fn scrapes(&self) -> u64 {
        self.scrapes.load(Ordering::SeqCst)
    }
}

fn serve(mut stream: TcpStream, page: &Mutex<Option<String>>) -> std::io::Result<()> {
    stream.set_read_timeout(Some(Duration::from_secs(5)))?;
    let mut reader = BufReader::new(stream.try_clone()?);
    loop {
        let mut line = String::new();
        reader.by_ref().take(MAX_LINE_BYTES).read_line(&mut line)?;
        if line.trim_end().is_empty() {
            break;
        }
    }
    let page = page.lock().unwrap_or_else(PoisonError::into_inner).clone();
    let (status, body) = page.map_or(("500 Internal Server Error", String::new()), |page| ("200 OK", page));
    write!(
        stream,
        "HTTP/1.1 {status}\r\nContent-Type: text/plain; version=0.0.4\r\nContent-Length: {}\r\nConnection: close\r\n\r\n{body}",
        body.len()
    )
}

impl Drop for Exporter {
    fn drop(&mut self) {
        self.over.store(true, Ordering::SeqCst);
        // Wakes the thread, so that it sees that it is over.
        let _ = TcpStream::connect(self.address);
    }
}
