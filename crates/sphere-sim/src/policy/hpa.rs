//! What does the Horizontal Pod Autoscaler order?
//!
//! The exact HPA of `sphere-scaling`, fed with what metrics-server (CPU) or an adapter (requests/s) would
//! report. Pods request what they can use, so percent of request is percent of capacity. Requests/s come as an
//! External metric with a per-pod target.
//!
//! In queue physics the CPU target is a percentage as users write it (Kubernetes truncates the measured one to a
//! whole percent) and pods that became ready within the metric window are set aside, as Kubernetes does. Loss
//! physics idealise both, as the reference figures for it do: the target is a value per pod, every ready pod counts.
//! The truncation alone costs an HPA at 60 % nearly 1 % of its pod-hours in violations.

use super::Policy;
use crate::metrics::View;
use crate::run::{Physics, Settings};
use sphere_core::Timestamp;
use sphere_scaling::hpa::{
    ExternalMetric, Hpa, HpaConfig, HpaSpec, MetricIdentifier, MetricSpec, MetricTarget, PodReading,
    PodSample, PodStatus, Reading, Request, ResourceMetric, Scale, Selector, Snapshot,
};

/// What the HPA follows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum HpaSignal {
    /// CPU utilisation, percent of the request.
    CpuPct(u32),
    /// Requests/s per pod, percent of what one pod serves.
    RequestsPct(u32),
}

/// One pod's request where nobody says: 1000 milli-pods of CPU.
const REQUEST_MILLI: i64 = 1000;

/// The HPA as a contestant.
pub struct HpaPolicy {
    hpa: Hpa,
    signal: HpaSignal,
    sync_s: u32,
    view: HpaView,
}

/// Turns a [`View`] into the snapshot an HPA sees. Buffers are reused: a simulation syncs millions of times.
#[derive(Debug)]
pub struct HpaView {
    ideal: bool,
    window_ms: i64,
    request_milli: i64,
    pods: Vec<PodStatus>,
    readings: Vec<PodReading>,
    external_milli: [i64; 1],
}

impl HpaView {
    /// For the metric window and the physics of `settings`.
    pub fn new(settings: &Settings) -> Self {
        Self {
            ideal: settings.physics == Physics::Loss,
            window_ms: i64::from(settings.window_s) * 1000,
            request_milli: REQUEST_MILLI,
            pods: Vec::new(),
            readings: Vec::new(),
            external_milli: [0],
        }
    }

    /// A pod requests, and can use, so many milli-cores.
    pub fn with_request_milli(self, request_milli: i64) -> Self {
        Self { request_milli, ..self }
    }

    /// Calls `f` with the CPU (or requests) snapshot at `now`.
    pub fn with<R>(
        &mut self,
        signal: HpaSignal,
        now: Timestamp,
        view: &View,
        f: impl FnOnce(&Snapshot<'_>) -> R,
    ) -> R {
        let scale = Scale {
            spec_replicas: i32::try_from(view.replicas).unwrap_or(i32::MAX),
            status_replicas: i32::try_from(view.replicas).unwrap_or(i32::MAX),
        };
        let at = |s: f64| Timestamp(now.millis() - ((view.now_s - s) * 1000.0) as i64);
        let scraped_at = at(view.scraped_at_s);
        let snapshot =
            |pods, readings| Snapshot { scale: Some(scale), selector: Selector::Valid, pods, readings };
        match signal {
            HpaSignal::CpuPct(_) => {
                let long_ago = Timestamp(i64::MIN / 4);
                let fresh = if self.ideal { 0 } else { view.fresh_ready };
                self.pods.clear();
                self.pods
                    .resize(view.ready.saturating_sub(fresh) as usize, PodStatus::ready(long_ago, long_ago));
                // Ready for less than a window: a sample that still shows the start-up.
                self.pods.resize(view.ready as usize, PodStatus::ready(scraped_at, scraped_at));
                self.pods.resize(view.replicas as usize, PodStatus::starting(scraped_at));
                let per_pod = if self.ideal {
                    view.cpu_pods.map(|cpu| cpu / f64::from(view.ready.max(1)))
                } else {
                    view.cpu_per_pod
                };
                let reading = match per_pod {
                    Some(cpu) => PodReading {
                        sample: Some(PodSample {
                            value_milli: (cpu * self.request_milli as f64).round() as i64,
                            at: scraped_at,
                            window_ms: self.window_ms,
                        }),
                        request: Request::Milli(self.request_milli),
                    },
                    None => PodReading { sample: None, request: Request::Milli(self.request_milli) },
                };
                self.readings.clear();
                self.readings.resize(view.replicas as usize, reading);
                f(&snapshot(&self.pods, &[Reading::PerPod { pods: &self.readings, strays_milli: &[] }]))
            }
            HpaSignal::RequestsPct(_) => match view.requests_rps {
                Some(rps) => {
                    self.external_milli[0] = (rps * 1000.0).round() as i64;
                    f(&snapshot(&[], &[Reading::External(&self.external_milli)]))
                }
                None => f(&snapshot(&[], &[])),
            },
        }
    }
}

/// The spec of an HPA that follows `signal`.
pub fn hpa_spec(signal: HpaSignal, settings: &Settings) -> HpaSpec {
    let metrics = match signal {
        HpaSignal::CpuPct(pct) if settings.physics == Physics::Loss => vec![MetricSpec::Resource {
            resource: ResourceMetric {
                name: "cpu".into(),
                target: MetricTarget::average(i64::from(pct) * REQUEST_MILLI / 100),
            },
        }],
        HpaSignal::CpuPct(pct) => vec![MetricSpec::cpu_utilization(pct as i32)],
        HpaSignal::RequestsPct(pct) => {
            let target = settings.capacity_rps * f64::from(pct) / 100.0;
            vec![MetricSpec::External {
                external: ExternalMetric {
                    metric: MetricIdentifier { name: "requests_per_second".into(), selector: None },
                    target: MetricTarget::average((target * 1000.0).round().max(1.0) as i64),
                },
            }]
        }
    };
    HpaSpec {
        min_replicas: Some(settings.min_replicas as i32),
        max_replicas: settings.max_replicas as i32,
        metrics,
        behavior: None,
    }
}

impl HpaPolicy {
    /// An HPA with the defaults of a cluster.
    pub fn new(signal: HpaSignal, settings: &Settings) -> Self {
        Self {
            hpa: Hpa::new(hpa_spec(signal, settings), HpaConfig::default()),
            signal,
            sync_s: settings.hpa_sync_s,
            view: HpaView::new(settings),
        }
    }
}

impl Policy for HpaPolicy {
    fn period_s(&self) -> u32 {
        self.sync_s
    }

    fn decide(&mut self, at: Timestamp, view: &View) -> u32 {
        let Self { hpa, signal, view: buffers, .. } = self;
        let outcome = buffers.with(*signal, at, view, |snapshot| hpa.sync(at, snapshot));
        outcome.evaluation.desired.map_or(view.replicas, |d| d.max(0) as u32)
    }
}
