//! What does a scraper see of the workload, and when?
//!
//! Counters are read every scrape interval; rates are differences of counters over a window. Requests are
//! counted where they arrive (an ingress or service mesh: uncapped), CPU where it is used (capped at what ready
//! pods can do). Between scrapes everyone sees the old values.

use std::collections::VecDeque;

/// What is visible at one instant.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct View {
    /// Seconds since the start of the run.
    pub now_s: f64,
    /// Replicas asked for.
    pub replicas: u32,
    /// Replicas ready.
    pub ready: u32,
    /// When the values below were scraped, seconds since the start of the run.
    pub scraped_at_s: f64,
    /// Number of the scrape: changes when there is something new.
    pub scrape: u64,
    /// CPU in use over all pods, in pods at full load, mean over the window. `None`: not recorded.
    pub cpu_pods: Option<f64>,
    /// CPU in use of one pod that was ready all the time, share of its capacity, mean over the window.
    pub cpu_per_pod: Option<f64>,
    /// Pods that became ready less than a window before the scrape.
    pub fresh_ready: u32,
    /// Requests/s arriving, mean over the window. `None`: not recorded.
    pub requests_rps: Option<f64>,
    /// Requests/s arriving since the scrape before. `None`: not recorded.
    pub last_requests_rps: Option<f64>,
    /// CPU since the scrape before, in pods at full load. `None`: not recorded.
    pub last_cpu_pods: Option<f64>,
    /// Ready replicas, mean over the time since the scrape before.
    pub last_ready: f64,
    /// Share of the time since the scrape before in which offered load exceeded ready capacity (what a service
    /// level indicator at the ingress would report).
    pub last_violated_share: f64,
}

/// What the counters gained between two scrapes.
#[derive(Clone, Copy, Debug, Default)]
struct Interval {
    requests: f64,
    cpu_pod_s: f64,
    cpu_s_per_pod: f64,
}

/// Counters and their scrapes.
#[derive(Debug)]
pub struct Scraper {
    interval_s: u32,
    window_scrapes: usize,
    /// Scrapes in the window.
    intervals: VecDeque<Option<Interval>>,
    open: Interval,
    /// When pods became ready, newest last, as long as a window remembers.
    became_ready_s: VecDeque<f64>,
    ready_s: f64,
    hidden: bool,
    view: View,
}

impl Scraper {
    /// Reads every `interval_s`; rates span `window_s`. The load before the run is taken from `history_rps`, served
    /// by `ready` pods of `capacity_rps`.
    pub fn new(
        interval_s: u32,
        window_s: u32,
        history_rps: &[Option<f32>],
        capacity_rps: f64,
        ready: u32,
    ) -> Self {
        let window_scrapes = (window_s / interval_s).max(1) as usize;
        let width = f64::from(interval_s);
        let intervals = history_rps
            .iter()
            .rev()
            .take(window_scrapes)
            .rev()
            .map(|rate| {
                rate.map(|rate| {
                    let requests = f64::from(rate) * width;
                    let cpu_pod_s = (requests / capacity_rps).min(f64::from(ready) * width);
                    Interval { requests, cpu_pod_s, cpu_s_per_pod: cpu_pod_s / f64::from(ready.max(1)) }
                })
            })
            .collect();
        let mut scraper = Self {
            interval_s,
            window_scrapes,
            intervals,
            open: Interval::default(),
            became_ready_s: VecDeque::new(),
            ready_s: 0.0,
            hidden: false,
            view: View::default(),
        };
        scraper.refresh();
        scraper
    }

    /// A pod became ready.
    pub fn pod_ready(&mut self, now_s: f64) {
        self.became_ready_s.push_back(now_s);
    }

    /// One tick of `seconds` passed.
    pub fn tick(&mut self, seconds: f64, offered_rps: f64, cpu_pods: f64, ready: u32, hidden: bool) {
        self.open.requests += offered_rps * seconds;
        self.open.cpu_pod_s += cpu_pods * seconds;
        self.open.cpu_s_per_pod += cpu_pods / f64::from(ready.max(1)) * seconds;
        self.ready_s += f64::from(ready) * seconds;
        self.hidden |= hidden;
    }

    /// Reads the counters at `now_s`; `violated_share` of the interval demand was over ready capacity.
    pub fn scrape(&mut self, now_s: f64, violated_share: f64) {
        let interval = (!self.hidden).then_some(self.open);
        self.intervals.push_back(interval);
        while self.intervals.len() > self.window_scrapes {
            self.intervals.pop_front();
        }
        self.view.scraped_at_s = now_s;
        self.view.scrape += 1;
        self.view.last_ready = self.ready_s / f64::from(self.interval_s);
        self.view.last_violated_share = violated_share;
        let window_start_s = now_s - f64::from(self.interval_s) * self.window_scrapes as f64;
        while self.became_ready_s.front().is_some_and(|&at| at <= window_start_s) {
            self.became_ready_s.pop_front();
        }
        (self.open, self.ready_s) = (Interval::default(), 0.0);
        self.hidden = false;
        self.refresh();
    }

    /// Nobody read or counted anything for longer than the window, until `now_s`: rates are absent until the next
    /// scrape.
    pub fn blackout(&mut self, now_s: f64, ready: u32) {
        self.intervals.clear();
        self.became_ready_s.clear();
        (self.open, self.ready_s, self.hidden) = (Interval::default(), 0.0, false);
        self.intervals.push_back(None);
        self.view.scraped_at_s = now_s;
        self.view.scrape += 1;
        self.view.last_ready = f64::from(ready);
        self.view.last_violated_share = 0.0;
        self.refresh();
    }

    fn refresh(&mut self) {
        let width = f64::from(self.interval_s);
        let last = self.intervals.back().copied().flatten();
        self.view.last_requests_rps = last.map(|i| i.requests / width);
        self.view.last_cpu_pods = last.map(|i| i.cpu_pod_s / width);
        // A counter's rate needs the newest reading; older gaps only shorten the window.
        let mut sum = Interval::default();
        let mut seconds = 0.0;
        for i in self.intervals.iter().flatten() {
            sum.requests += i.requests;
            sum.cpu_pod_s += i.cpu_pod_s;
            sum.cpu_s_per_pod += i.cpu_s_per_pod;
            seconds += width;
        }
        let usable = last.is_some() && seconds > 0.0;
        let mean = |total: f64| usable.then(|| total / seconds);
        self.view.requests_rps = mean(sum.requests);
        self.view.cpu_pods = mean(sum.cpu_pod_s);
        self.view.cpu_per_pod = mean(sum.cpu_s_per_pod);
    }

    /// What is visible now.
    pub fn view(&self, now_s: f64, replicas: u32, ready: u32) -> View {
        // Scaled in since: the newest pods are gone first.
        let fresh_ready = (self.became_ready_s.len() as u32).min(ready);
        View { now_s, replicas, ready, fresh_ready, ..self.view }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_window_smooths_and_the_last_interval_does_not() {
        let mut s = Scraper::new(10, 40, &[Some(10.0); 4], 5.0, 2);
        s.tick(10.0, 50.0, 10.0, 2, false);
        s.scrape(10.0, 1.0);
        let v = s.view(12.0, 3, 2);
        assert_eq!(v.requests_rps, Some(20.0));
        assert_eq!(v.last_requests_rps, Some(50.0));
        assert_eq!(v.cpu_pods, Some(4.0));
        assert_eq!(v.cpu_per_pod, Some(2.0));
        assert_eq!(v.last_violated_share, 1.0);
    }

    #[test]
    fn what_was_not_recorded_is_absent_not_zero() {
        let mut s = Scraper::new(10, 40, &[Some(10.0); 4], 5.0, 2);
        s.tick(10.0, 50.0, 10.0, 2, true);
        s.scrape(10.0, 0.0);
        let v = s.view(10.0, 2, 2);
        assert_eq!((v.requests_rps, v.cpu_pods, v.last_requests_rps), (None, None, None));
    }
}
