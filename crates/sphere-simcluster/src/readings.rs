//! What would an HPA see of a simulated workload?
//!
//! Pods and CPU come out of the same `HpaView` that the simulator's own HPA reads, so that both make the same
//! proposal. Metrics about requests (Pods, Object, External) are served under the names in [`REQUEST_METRICS`];
//! any other name is a metric the API does not know.

use crate::workload::LiveWorkload;
use sphere_core::Timestamp;
use sphere_pipeline::LiveReading;
use sphere_scaling::hpa::{
    MetricError, MetricSpec, PodReading, PodReadings, PodSample, PodStatus, Reading, Request,
};
use sphere_sim::metrics::View;
use sphere_sim::policy::HpaSignal;

/// Names under which requests per second are served.
pub const REQUEST_METRICS: [&str; 2] = ["requests_per_second", "http_requests_per_second"];

/// Pods, and one reading per metric.
pub fn readings(workload: &mut LiveWorkload, metrics: &[MetricSpec]) -> (Vec<PodStatus>, Vec<LiveReading>) {
    let (buffers, view, now) = workload.hpa_view();
    let (pods, cpu) = buffers.with(HpaSignal::CpuPct(0), now, &view, |seen| {
        let cpu = match seen.readings.first() {
            Some(Reading::PerPod { pods, .. }) => pods.to_vec(),
            _ => Vec::new(),
        };
        (seen.pods.to_vec(), cpu)
    });
    let found = metrics.iter().map(|metric| match reading(workload, metric, &view, &pods, &cpu) {
        Ok(reading) => reading,
        Err(error) => LiveReading::Unavailable(error),
    });
    let found = found.collect();
    (pods, found)
}

fn per_pod(pods: Vec<PodReading>) -> LiveReading {
    LiveReading::PerPod(PodReadings { pods, strays_milli: Vec::new() })
}

fn reading(
    workload: &LiveWorkload,
    metric: &MetricSpec,
    view: &View,
    pods: &[PodStatus],
    cpu: &[PodReading],
) -> Result<LiveReading, MetricError> {
    let resource = |name: &str| match name {
        "cpu" => Ok(per_pod(cpu.to_vec())),
        "memory" => Ok(memory(workload, view, pods)),
        _ => Err(MetricError::NoMetrics),
    };
    let requests = |name: &str| {
        if !REQUEST_METRICS.contains(&name) {
            return Err(MetricError::NoMetrics);
        }
        // As the simulator's HPA has it: not recorded is not fetched.
        view.requests_rps.ok_or(MetricError::FetchFailed)
    };
    let milli = |value: f64| (value * 1000.0).round() as i64;
    match metric {
        MetricSpec::Resource { resource: metric } => resource(&metric.name),
        MetricSpec::ContainerResource { container_resource: metric } => {
            if metric.container != workload.id.name() {
                return Err(MetricError::ContainerNotFound);
            }
            resource(&metric.name)
        }
        MetricSpec::Pods { pods: metric } => {
            let each = requests(&metric.metric.name)? / f64::from(view.ready.max(1));
            let sample =
                PodSample { value_milli: milli(each), at: scraped_at(workload, view), window_ms: 60_000 };
            let sample_of = |pod: &PodStatus| pod.serves().then_some(sample);
            let reading = |pod| PodReading { sample: sample_of(pod), request: Request::Missing };
            Ok(per_pod(pods.iter().map(reading).collect()))
        }
        MetricSpec::Object { object: metric } => {
            Ok(LiveReading::Object(milli(requests(&metric.metric.name)?)))
        }
        MetricSpec::External { external: metric } => {
            Ok(LiveReading::External(vec![milli(requests(&metric.metric.name)?)]))
        }
        MetricSpec::Unknown => Err(MetricError::UnknownSource),
    }
}

fn scraped_at(workload: &LiveWorkload, view: &View) -> Timestamp {
    workload.instant(view.scraped_at_s)
}

/// Bytes a pod requests: as much as it uses, and half of that.
pub fn memory_request(used_bytes: u64) -> u64 {
    used_bytes + used_bytes / 2
}

fn memory(workload: &LiveWorkload, view: &View, pods: &[PodStatus]) -> LiveReading {
    let milli = |bytes: u64| i64::try_from(bytes.saturating_mul(1000)).unwrap_or(i64::MAX);
    let used = PodSample {
        value_milli: milli(workload.memory_bytes),
        at: scraped_at(workload, view),
        window_ms: 60_000,
    };
    let request = Request::Milli(milli(memory_request(workload.memory_bytes)));
    per_pod(pods.iter().map(|_| PodReading { sample: Some(used), request }).collect())
}
