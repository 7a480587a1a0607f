//! Where does a real Kafka come from?
//!
//! Apache Kafka itself in KRaft mode: each process is broker and controller at once, on loopback ports, with its log
//! in a temporary folder. The jars come from `scripts/kafka-jars.sh`, which fetches them once per machine; Java has
//! to be there (`scripts/setup.sh kafka`).
//!
//! With [`Options::secure`] there are two more listeners per broker: TLS, and SASL over TLS (PLAIN and SCRAM), with a
//! certificate made at start.

use crate::{Component, data_dir, free_ports};
use anyhow::{Context, Result, bail};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Duration;
use tempfile::TempDir;

/// Environment variable with a bootstrap list, for tests that do not hurt the broker.
pub const ADDRESS: &str = "SPHERE_TEST_KAFKA";
/// Who may log in through the SASL listener of [`Options::secure`].
pub const USER: &str = "sphere";
/// The password of [`USER`].
pub const PASSWORD: &str = "correct-horse-battery";

/// The certificate stores are thrown away with the folder; their password protects nothing.
const STORE_PASSWORD: &str = "changeit";
/// Ids are 22 characters of base64 of a UUID; any will do, as each cluster lives alone.
const CLUSTER_ID: &str = "c3BoZXJlLXRlc3RraXQtMQ";

/// What kind of cluster.
#[derive(Clone, Debug)]
pub struct Options {
    /// Number of processes; 1 or 3.
    pub brokers: usize,
    /// Adds the TLS and SASL listeners.
    pub secure: bool,
    /// Largest record batch the brokers take, bytes.
    pub message_max_bytes: usize,
    /// Java heap of each process, MiB.
    pub heap_mib: usize,
}

impl Default for Options {
    fn default() -> Self {
        Self { brokers: 1, secure: false, message_max_bytes: 2 << 20, heap_mib: 256 }
    }
}

/// A running cluster.
#[derive(Debug)]
pub struct Kafka {
    brokers: Vec<Component>,
    plain: Vec<u16>,
    tls: Vec<u16>,
    sasl: Vec<u16>,
    dir: TempDir,
}

impl Kafka {
    /// Starts a cluster of one or three; returns when every broker serves.
    pub fn start(brokers: usize) -> Result<Self> {
        Self::with(&Options { brokers, ..Options::default() })
    }

    /// The same, with options.
    pub fn with(options: &Options) -> Result<Self> {
        // A port may be taken by somebody else between its choice and its use; new ones then.
        let mut attempt = 1;
        loop {
            match Self::attempt(options) {
                Err(error) if attempt < 3 && format!("{error:#}").contains("Address already in use") => {
                    attempt += 1;
                }
                other => return other,
            }
        }
    }

    fn attempt(options: &Options) -> Result<Self> {
        let n = options.brokers;
        let jars = jars()?;
        let dir = data_dir("kafka")?;
        let ports = free_ports(4 * n)?;
        let (controllers, rest) = ports.split_at(n);
        let (plain, rest) = rest.split_at(n);
        let (tls, sasl) = rest.split_at(n);
        let log4j = dir.path().join("log4j.properties");
        std::fs::write(&log4j, LOG4J)?;
        if options.secure {
            make_certificate(dir.path(), "server")?;
        }
        let voters: Vec<String> = (0..n).map(|i| format!("{}@127.0.0.1:{}", i + 1, controllers[i])).collect();
        let voters = voters.join(",");

        let mut formatting = Vec::new();
        for i in 0..n {
            let secure = options.secure.then_some((tls[i], sasl[i]));
            let text = properties(options, dir.path(), i, &voters, controllers[i], plain[i], secure);
            let file = properties_file(dir.path(), i);
            std::fs::write(&file, text)?;
            let mut format = java(&jars, 128);
            format.push("kafka.tools.StorageTool".into());
            format.extend(["format", "--cluster-id", CLUSTER_ID, "--config"].map(String::from));
            format.push(file.display().to_string());
            if options.secure {
                for mechanism in ["SCRAM-SHA-256", "SCRAM-SHA-512"] {
                    format.push("--add-scram".into());
                    format.push(format!("{mechanism}=[name={USER},password={PASSWORD}]"));
                }
            }
            let child = Command::new(&format[0])
                .args(&format[1..])
                .stdin(Stdio::null())
                .stdout(Stdio::piped())
                .stderr(Stdio::piped())
                .spawn()
                .context("java can not be started; scripts/setup.sh kafka installs it")?;
            formatting.push(child);
        }
        for child in formatting {
            let output = child.wait_with_output()?;
            if !output.status.success() {
                bail!(
                    "kafka.tools.StorageTool failed:\n{}{}",
                    String::from_utf8_lossy(&output.stdout),
                    String::from_utf8_lossy(&output.stderr)
                );
            }
        }

        let mut brokers = Vec::new();
        for i in 0..n {
            let mut command = java(&jars, options.heap_mib);
            command.insert(1, format!("-Dlog4j.configuration=file:{}", log4j.display()));
            command.push("kafka.Kafka".into());
            command.push(properties_file(dir.path(), i).display().to_string());
            let log = dir.path().join(format!("broker-{}.log", i + 1));
            brokers.push(Component::start(&format!("kafka {}", i + 1), command, Vec::new(), log)?);
        }
        let mut kafka = Self { brokers, plain: plain.into(), tls: tls.into(), sasl: sasl.into(), dir };
        for i in 0..n {
            kafka.wait_ready(i, 1)?;
        }
        Ok(kafka)
    }

    /// Host and port of every broker, without security.
    pub fn bootstrap(&self) -> Vec<String> {
        addresses(&self.plain)
    }

    /// The same for the TLS listeners.
    pub fn bootstrap_tls(&self) -> Vec<String> {
        addresses(&self.tls)
    }

    /// The same for the listeners with SASL over TLS.
    pub fn bootstrap_sasl(&self) -> Vec<String> {
        addresses(&self.sasl)
    }

    /// The certificate (PEM) that vouches for the brokers.
    pub fn ca_file(&self) -> PathBuf {
        self.dir.path().join("server.pem")
    }

    /// A certificate that vouches for somebody else.
    pub fn other_ca_file(&self) -> Result<PathBuf> {
        let file = self.dir.path().join("other.pem");
        if !file.exists() {
            make_certificate(self.dir.path(), "other")?;
        }
        Ok(file)
    }

    /// The process of a broker, counted from 0.
    pub fn broker(&mut self, i: usize) -> &mut Component {
        &mut self.brokers[i]
    }

    /// Starts a broker again on the same ports and data; returns when it serves.
    pub fn restart(&mut self, i: usize) -> Result<()> {
        let starts = self.starts(i);
        self.brokers[i].restart()?;
        self.wait_ready(i, starts + 1)
    }

    fn starts(&self, i: usize) -> usize {
        self.brokers[i].log().matches("Kafka Server started").count()
    }

    /// Waits until the broker's log says for the `starts`-th time that it serves.
    fn wait_ready(&mut self, i: usize, starts: usize) -> Result<()> {
        let log = self.dir.path().join(format!("broker-{}.log", i + 1));
        self.brokers[i].wait_ready(Duration::from_secs(120), || {
            let text = std::fs::read_to_string(&log).unwrap_or_default();
            text.matches("Kafka Server started").count() >= starts
        })
    }
}

fn addresses(ports: &[u16]) -> Vec<String> {
    ports.iter().map(|port| format!("127.0.0.1:{port}")).collect()
}

fn properties_file(dir: &Path, i: usize) -> PathBuf {
    dir.join(format!("broker-{}.properties", i + 1))
}

const LOG4J: &str = "\
log4j.rootLogger=WARN, out
log4j.logger.kafka.server.KafkaRaftServer=INFO
log4j.appender.out=org.apache.log4j.ConsoleAppender
log4j.appender.out.layout=org.apache.log4j.PatternLayout
log4j.appender.out.layout.ConversionPattern=%d{HH:mm:ss.SSS} %p %m (%c{1})%n
";

/// The start of a command line: small heap, and the collector and compiler that start fastest.
fn java(jars: &Path, heap_mib: usize) -> Vec<String> {
    vec![
        "java".into(),
        format!("-Xmx{heap_mib}m"),
        "-XX:+UseSerialGC".into(),
        "-Djava.awt.headless=true".into(),
        "-cp".into(),
        format!("{}/*", jars.display()),
    ]
}

/// Configuration of one broker. Ports come from [`free_ports`].
fn properties(
    options: &Options,
    dir: &Path,
    i: usize,
    voters: &str,
    controller: u16,
    plain: u16,
    secure: Option<(u16, u16)>,
) -> String {
    let n = options.brokers;
    let id = i + 1;
    let in_sync = if n > 2 { 2 } else { 1 };
    let mut listeners = format!("PLAIN://127.0.0.1:{plain}");
    if let Some((tls, sasl)) = secure {
        listeners += &format!(",TLS://127.0.0.1:{tls},SASL://127.0.0.1:{sasl}");
    }
    let mut text = format!(
        "process.roles=broker,controller
node.id={id}
controller.quorum.voters={voters}
controller.listener.names=CONTROLLER
inter.broker.listener.name=PLAIN
listeners={listeners},CONTROLLER://127.0.0.1:{controller}
advertised.listeners={listeners}
listener.security.protocol.map=CONTROLLER:PLAINTEXT,PLAIN:PLAINTEXT,TLS:SSL,SASL:SASL_SSL
log.dirs={data}
auto.create.topics.enable=false
default.replication.factor={n}
min.insync.replicas={in_sync}
offsets.topic.replication.factor={n}
offsets.topic.num.partitions=4
transaction.state.log.replication.factor={n}
transaction.state.log.min.isr={in_sync}
transaction.state.log.num.partitions=2
group.initial.rebalance.delay.ms=0
group.min.session.timeout.ms=1000
message.max.bytes={max}
replica.fetch.max.bytes={max}
socket.request.max.bytes=104857600
num.network.threads=2
num.io.threads=4
controller.quorum.election.timeout.ms=1000
controller.quorum.fetch.timeout.ms=2000
broker.session.timeout.ms=4000
broker.heartbeat.interval.ms=500
controlled.shutdown.max.retries=1
",
        data = dir.join(format!("data-{id}")).display(),
        max = options.message_max_bytes,
    );
    if secure.is_some() {
        let store = dir.join("server.p12");
        text += &format!(
            "ssl.keystore.type=PKCS12
ssl.keystore.location={store}
ssl.keystore.password={STORE_PASSWORD}
ssl.key.password={STORE_PASSWORD}
sasl.enabled.mechanisms=PLAIN,SCRAM-SHA-256,SCRAM-SHA-512
listener.name.sasl.plain.sasl.jaas.config=org.apache.kafka.common.security.plain.PlainLoginModule required user_{USER}=\"{PASSWORD}\";
listener.name.sasl.scram-sha-256.sasl.jaas.config=org.apache.kafka.common.security.scram.ScramLoginModule required;
listener.name.sasl.scram-sha-512.sasl.jaas.config=org.apache.kafka.common.security.scram.ScramLoginModule required;
",
            store = store.display(),
        );
    }
    text
}

/// Makes `name.p12` (key and self-signed certificate for the loopback address) and `name.pem` (the certificate).
fn make_certificate(dir: &Path, name: &str) -> Result<()> {
    let store = dir.join(format!("{name}.p12"));
    let pem = dir.join(format!("{name}.pem"));
    let store = store.display().to_string();
    let run = |arguments: &[&str]| -> Result<()> {
        let output = Command::new("keytool")
            .args(arguments)
            .args(["-alias", name, "-keystore", &store, "-storetype", "PKCS12", "-storepass", STORE_PASSWORD])
            .stdin(Stdio::null())
            .output()
            .context("keytool can not be started; scripts/setup.sh kafka installs it")?;
        if !output.status.success() {
            bail!(
                "keytool {} failed:\n{}{}",
                arguments[0],
                String::from_utf8_lossy(&output.stdout),
                String::from_utf8_lossy(&output.stderr)
            );
        }
        Ok(())
    };
    run(&[
        "-genkeypair",
        "-keyalg",
        "EC",
        "-groupname",
        "secp256r1",
        "-validity",
        "30",
        "-dname",
        &format!("CN={name}"),
        "-ext",
        "san=ip:127.0.0.1,dns:localhost",
        "-ext",
        "bc:c",
    ])?;
    run(&["-exportcert", "-rfc", "-file", &pem.display().to_string()])
}

/// The folder with the broker's jars; fetched when they are not there.
fn jars() -> Result<PathBuf> {
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../scripts/kafka-jars.sh");
    let output = Command::new(&script)
        .stdin(Stdio::null())
        .stderr(Stdio::inherit())
        .output()
        .with_context(|| format!("{} can not be started", script.display()))?;
    if !output.status.success() {
        bail!("{} failed, see above", script.display());
    }
    Ok(PathBuf::from(String::from_utf8(output.stdout)?.trim()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::net::TcpStream;

    #[test]
    fn a_broker_serves_again_after_it_was_killed() {
        let mut kafka = Kafka::with(&Options { secure: true, ..Options::default() }).unwrap();
        let listeners = [kafka.bootstrap(), kafka.bootstrap_tls(), kafka.bootstrap_sasl()].concat();
        assert!(listeners.iter().all(|address| TcpStream::connect(address).is_ok()));
        kafka.broker(0).kill();
        assert!(TcpStream::connect(&listeners[0]).is_err());
        kafka.restart(0).unwrap();
        assert!(listeners.iter().all(|address| TcpStream::connect(address).is_ok()));
    }
}
