//! How is a component started, hurt and stopped?

use anyhow::{Context, Result, bail};
use std::fs::File;
use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};
use tempfile::TempDir;

/// A child process that ends with this value: SIGTERM, and SIGKILL if that does not help.
#[derive(Debug)]
pub struct Component {
    name: String,
    command: Vec<String>,
    environment: Vec<(String, String)>,
    log: PathBuf,
    child: Option<Child>,
}

impl Component {
    /// Starts `command` (program, then arguments); its output goes to `log`.
    pub fn start(
        name: &str,
        command: Vec<String>,
        environment: Vec<(String, String)>,
        log: PathBuf,
    ) -> Result<Self> {
        let mut component = Self { name: name.into(), command, environment, log, child: None };
        component.restart()?;
        Ok(component)
    }

    /// Starts it again, with the same arguments, after ending it if it still runs.
    pub fn restart(&mut self) -> Result<()> {
        self.stop();
        let (program, arguments) = self.command.split_first().context("an empty command")?;
        let log = File::options()
            .create(true)
            .append(true)
            .open(&self.log)
            .with_context(|| format!("{} can not be written", self.log.display()))?;
        let child = Command::new(program)
            .args(arguments)
            .envs(self.environment.iter().map(|(key, value)| (key, value)))
            .stdin(Stdio::null())
            .stdout(log.try_clone()?)
            .stderr(log)
            .spawn()
            .with_context(|| format!("{}: {program} can not be started", self.name))?;
        self.child = Some(child);
        Ok(())
    }

    /// Its process.
    pub fn pid(&self) -> Option<u32> {
        self.child.as_ref().map(Child::id)
    }

    /// Is it running?
    pub fn running(&mut self) -> bool {
        self.child.as_mut().is_some_and(|child| matches!(child.try_wait(), Ok(None)))
    }

    /// SIGKILL, at once.
    pub fn kill(&mut self) {
        if let Some(mut child) = self.child.take() {
            let _ = child.kill();
            let _ = child.wait();
        }
    }

    /// SIGSTOP: there, but silent.
    pub fn pause(&self) -> Result<()> {
        self.signal("STOP")
    }

    /// SIGCONT.
    pub fn resume(&self) -> Result<()> {
        self.signal("CONT")
    }

    /// Sends a signal by name.
    pub fn signal(&self, name: &str) -> Result<()> {
        let pid = self.pid().with_context(|| format!("{} does not run", self.name))?;
        let status = Command::new("kill").arg(format!("-{name}")).arg(pid.to_string()).status()?;
        if !status.success() {
            bail!("{}: kill -{name} {pid} failed", self.name);
        }
        Ok(())
    }

    /// SIGTERM, then SIGKILL after ten seconds.
    pub fn stop(&mut self) {
        if self.running() {
            let _ = self.signal("TERM");
            let _ = self.signal("CONT");
            let asked = Instant::now();
            while self.running() && asked.elapsed() < Duration::from_secs(10) {
                std::thread::sleep(Duration::from_millis(20));
            }
        }
        self.kill();
    }

    /// What it has printed so far.
    pub fn log(&self) -> String {
        std::fs::read_to_string(&self.log).unwrap_or_default()
    }

    /// Waits until `ready` says so; fails at once with the end of the log when the process ends.
    pub fn wait_ready(&mut self, limit: Duration, mut ready: impl FnMut() -> bool) -> Result<()> {
        let started = Instant::now();
        while !ready() {
            let running = self.running();
            if !running || started.elapsed() > limit {
                let log = self.log();
                let tail: Vec<&str> = log.lines().rev().take(20).collect();
                let tail: Vec<&str> = tail.into_iter().rev().collect();
                bail!(
                    "{} is not ready after {:.1} s ({}):\n{}",
                    self.name,
                    started.elapsed().as_secs_f64(),
                    if running { "still starting" } else { "it has ended" },
                    tail.join("\n")
                );
            }
            std::thread::sleep(Duration::from_millis(25));
        }
        Ok(())
    }
}

impl Drop for Component {
    fn drop(&mut self) {
        self.stop();
    }
}

/// A free loopback port. Another process may take it before it is used; starting again with a new one helps.
pub fn free_port() -> Result<u16> {
    Ok(free_ports(1)?[0])
}

/// Free loopback ports, all different.
pub fn free_ports(count: usize) -> Result<Vec<u16>> {
    let listeners: Vec<TcpListener> =
        (0..count).map(|_| TcpListener::bind(("127.0.0.1", 0))).collect::<std::io::Result<_>>()?;
    listeners.iter().map(|listener| Ok(listener.local_addr()?.port())).collect()
}

/// A temporary folder under the build's target folder, gone with the value.
pub fn data_dir(name: &str) -> Result<TempDir> {
    let target = match std::env::var_os("CARGO_TARGET_DIR") {
        Some(folder) => PathBuf::from(folder),
        None => Path::new(env!("CARGO_MANIFEST_DIR")).join("../../target"),
    };
    let parent = target.join("testkit");
    std::fs::create_dir_all(&parent).with_context(|| format!("{} can not be made", parent.display()))?;
    Ok(tempfile::Builder::new().prefix(&format!("{name}-")).tempdir_in(parent)?)
}

/// Waits until `done` says so; the error tells what was waited for.
pub fn wait_until(what: &str, limit: Duration, mut done: impl FnMut() -> bool) -> Result<Duration> {
    let started = Instant::now();
    while !done() {
        if started.elapsed() > limit {
            bail!("waited {:.0} s in vain until {what}", limit.as_secs_f64());
        }
        std::thread::sleep(Duration::from_millis(20));
    }
    Ok(started.elapsed())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_component_can_be_killed_and_started_again() {
        let dir = data_dir("sleep").unwrap();
        let command = ["sleep", "60"].map(String::from).to_vec();
        let mut sleeper = Component::start("sleep", command, Vec::new(), dir.path().join("log")).unwrap();
        assert!(sleeper.running());
        sleeper.kill();
        assert!(!sleeper.running());
        sleeper.restart().unwrap();
        assert!(sleeper.running());
    }

    #[test]
    fn one_that_ends_at_once_is_reported_with_its_log() {
        let dir = data_dir("false").unwrap();
        let command = ["sh", "-c", "echo no such luck; exit 3"].map(String::from).to_vec();
        let mut broken = Component::start("broken", command, Vec::new(), dir.path().join("log")).unwrap();
        let error = broken.wait_ready(Duration::from_secs(10), || false).unwrap_err().to_string();
        assert!(error.contains("no such luck"), "{error}");
    }
}
