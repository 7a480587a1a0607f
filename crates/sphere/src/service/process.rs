//! What does the process itself use?
//!
//! The usual four figures of Prometheus clients, read from /proc where there is one.

use prometheus_client::encoding::text;
use prometheus_client::metrics::counter::ConstCounter;
use prometheus_client::metrics::gauge::ConstGauge;
use prometheus_client::registry::Registry;

/// OpenMetrics text, with its end.
pub fn text() -> String {
    let mut registry = Registry::default();
    if let Some(usage) = usage() {
        registry.register("process_cpu_seconds", "Processor time used", ConstCounter::new(usage.cpu_s));
        let resident = ConstGauge::new(usage.resident_bytes);
        registry.register("process_resident_memory_bytes", "Memory held", resident);
        registry.register(
            "process_open_fds",
            "Open files and connections",
            ConstGauge::new(usage.open_files),
        );
        registry.register("process_threads", "Threads", ConstGauge::new(usage.threads));
    }
    let mut page = String::new();
    // Writing into a string does not fail.
    let _ = text::encode(&mut page, &registry);
    page
}

struct Usage {
    cpu_s: f64,
    resident_bytes: i64,
    open_files: i64,
    threads: i64,
}

/// Processor time a process (`None`: this one) has used, seconds. `None`: there is no such process, or no /proc.
pub fn cpu_s_of(pid: Option<i32>) -> Option<f64> {
    usage_of(pid).map(|usage| usage.cpu_s)
}

/// Memory a process (`None`: this one) holds, bytes.
pub fn resident_bytes_of(pid: Option<i32>) -> Option<i64> {
    usage_of(pid).map(|usage| usage.resident_bytes)
}

fn usage() -> Option<Usage> {
    usage_of(None)
}

#[cfg(target_os = "linux")]
fn usage_of(pid: Option<i32>) -> Option<Usage> {
    use procfs::process::Process;
    let me = pid.map_or_else(Process::myself, Process::new).ok()?;
    let stat = me.stat().ok()?;
    let ticks = procfs::ticks_per_second() as f64;
    let pages = i64::try_from(stat.rss).ok()?;
    Some(Usage {
        cpu_s: (stat.utime + stat.stime) as f64 / ticks,
        resident_bytes: pages.saturating_mul(i64::try_from(procfs::page_size()).ok()?),
        open_files: i64::try_from(me.fd_count().ok()?).ok()?,
        threads: stat.num_threads,
    })
}

#[cfg(not(target_os = "linux"))]
fn usage_of(_: Option<i32>) -> Option<Usage> {
    None
}

#[cfg(all(test, target_os = "linux"))]
mod tests {
    #[test]
    fn a_process_uses_memory_and_files() {
        let page = super::text();
        for name in ["process_cpu_seconds_total ", "process_resident_memory_bytes ", "process_open_fds "] {
            assert!(page.contains(&format!("\n{name}")), "{page}");
        }
        assert!(!page.contains("process_resident_memory_bytes 0\n"), "{page}");
    }
}
