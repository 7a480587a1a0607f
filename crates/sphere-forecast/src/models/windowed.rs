//! How does a model that is estimated on a window become one that learns online?
//!
//! [`Windowed`] keeps the last values, has them fitted on a schedule, and lets the model's own recursion run in between, so
//! that a value costs next to nothing until the next fit. All models of this kind share the answers to bad input:
//!
//! | input | behaviour |
//! |---|---|
//! | a step without a value | the state moves on; in the window the step holds the prediction |
//! | a silence of up to a quarter of the window, beyond what [`Online`](crate::Online) takes for a gap | bridged in the same way, and refitted with the next value |
//! | a longer silence | the window starts again; parameters are kept as the start of the next search |
//! | a window that can not be fitted (constant, too short for the season, no positive values for a product) | each model says which simpler one takes its place; the last resort is the last value |
//! | a path that leaves the window's range by more than [`LARGEST_EXCURSION`] times its width | cut there |

use crate::PointModel;
use serde::{Deserialize, Serialize};
use sphere_core::Timestamp;
use std::collections::VecDeque;

/// How far a path may leave the range of the window, in widths of the range. Demand does triple within minutes; a
/// tenfold excursion is an unstable recursion.
pub const LARGEST_EXCURSION: f64 = 10.0;

/// How much history, estimated how often.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct WindowConfig {
    /// Values in the window.
    pub window: usize,
    /// Values before the first fit and the first forecast.
    pub first_fit: usize,
    /// Steps from one fit to the next; `None`: only when [`PointModel::refit`] is called.
    pub refit_every: Option<usize>,
}

impl WindowConfig {
    /// A window of `window` values, first fitted with `first_fit` of them, then every tenth of the window and at least
    /// 6 steps apart.
    pub fn new(window: usize, first_fit: usize) -> Self {
        let window = window.max(4);
        Self { window, first_fit: first_fit.clamp(2, window), refit_every: Some((window / 10).max(6)) }
    }
}

/// A model that is estimated on a window and then updated value by value. Steps are numbered from the first one seen, so
/// that a model can know where in a season it is; `at` is the number of the step in question.
pub trait Fitted: Send {
    /// Step 0 ends at `first`, and a step is so many milliseconds wide.
    fn begins_at(&mut self, _first: Timestamp, _step_ms: u64) {}
    /// Estimates everything on `values`, the first of which is step `first`, and takes over the state they end in.
    fn fit(&mut self, values: &[f64], first: u64);
    /// Step `at` brought `value`, or nothing.
    fn step(&mut self, value: Option<f64>, at: u64);
    /// Expected values of step `at` and those after it.
    fn predict(&self, at: u64, out: &mut [f64]);
    /// Forgets the state; parameters may stay.
    fn forget(&mut self);
    /// Bytes on the heap.
    fn heap_bytes(&self) -> usize;
}

/// See the module.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Windowed<F> {
    config: WindowConfig,
    inner: F,
    window: VecDeque<f64>,
    /// Number of the coming step.
    next: u64,
    /// Was there a fit since the window began?
    fitted: bool,
    since_fit: usize,
    stagger: usize,
    /// Steps without a value since the last one, and how many of them are bridged at most.
    gap: u64,
    bridge: u64,
    /// Range of the window at the last fit and of what came since.
    low: f64,
    high: f64,
}

impl<F: Fitted> Windowed<F> {
    /// Without history.
    pub fn new(inner: F, config: WindowConfig) -> Self {
        Self {
            config,
            inner,
            window: VecDeque::new(),
            next: 0,
            fitted: false,
            since_fit: 0,
            stagger: 0,
            gap: 0,
            bridge: 0,
            low: 0.0,
            high: 0.0,
        }
    }

    /// The model inside.
    pub fn inner(&self) -> &F {
        &self.inner
    }

    /// Settings.
    pub fn config(&self) -> &WindowConfig {
        &self.config
    }

    fn push(&mut self, value: f64) {
        if self.window.len() >= self.config.window {
            self.window.pop_front();
        }
        self.window.push_back(value);
        self.low = self.low.min(value);
        self.high = self.high.max(value);
    }

    fn bound(&self, value: f64) -> f64 {
        let room = LARGEST_EXCURSION * (self.high - self.low);
        match self.window.back() {
            Some(&last) if !value.is_finite() => last,
            _ => value.clamp(self.low - room, self.high + room),
        }
    }
}

impl<F: Fitted> PointModel for Windowed<F> {
    fn begins_at(&mut self, first: Timestamp, step_ms: u64) {
        self.inner.begins_at(first, step_ms);
    }

    fn observe(&mut self, value: f64) {
        if self.window.is_empty() {
            (self.low, self.high) = (value, value);
        } else {
            self.inner.step(Some(value), self.next);
        }
        self.push(value);
        self.next = self.next.wrapping_add(1);
        self.since_fit += 1;
        self.gap = 0;
        self.bridge = (self.window.len() / 4) as u64;
        let due = self.config.refit_every.is_some_and(|every| self.since_fit >= every);
        let first = !self.fitted && self.window.len() >= self.config.first_fit;
        if first || (due && self.fitted) {
            self.refit();
            if first {
                self.since_fit = self.stagger;
            }
        }
    }

    fn skip(&mut self) {
        self.gap = self.gap.saturating_add(1);
        if !self.window.is_empty() {
            let mut value = [0.0];
            self.predict(&mut value);
            self.inner.step(None, self.next);
            self.push(value[0]);
        }
        self.next = self.next.wrapping_add(1);
    }

    fn restart(&mut self, steps: u64) {
        if self.gap.saturating_add(steps) <= self.bridge {
            (0..steps).for_each(|_| self.skip());
            self.since_fit = self.config.refit_every.unwrap_or(0);
            return;
        }
        self.gap = self.gap.saturating_add(steps);
        self.next = self.next.wrapping_add(steps);
        self.bridge = 0;
        self.window.clear();
        self.inner.forget();
        self.fitted = false;
        self.since_fit = 0;
    }

    fn refit(&mut self) {
        self.since_fit = 0;
        let first = self.next.wrapping_sub(self.window.len() as u64);
        let values = self.window.make_contiguous();
        if values.len() >= self.config.first_fit {
            self.low = values.iter().fold(f64::INFINITY, |a, v| a.min(*v));
            self.high = values.iter().fold(f64::NEG_INFINITY, |a, v| a.max(*v));
            self.inner.fit(values, first);
            self.fitted = true;
        }
    }

    fn stagger_refits(&mut self, phase: usize) {
        if let Some(every) = self.config.refit_every {
            self.stagger = phase % every.max(1);
            self.since_fit = self.stagger;
        }
    }

    fn observations(&self) -> usize {
        self.window.len()
    }

    fn needed(&self) -> usize {
        self.config.first_fit
    }

    fn heap_bytes(&self) -> usize {
        self.window.capacity() * size_of::<f64>() + self.inner.heap_bytes()
    }

    fn predict(&self, out: &mut [f64]) {
        self.inner.predict(self.next, out);
        for v in out {
            *v = self.bound(*v);
        }
    }
}

#[cfg(test)]
mod tests {
    use crate::{Forecaster, Online, OnlineConfig, registry};
    use sphere_core::Timestamp;
    use std::time::Duration;

    #[test]
    fn a_gap_seen_late_equals_one_announced() {
        for name in ["arima-1-1-1", "ets-4@60", "theta", "prophet"] {
            for gap in [1, 5, 15, 16, 20, 40, 90] {
                let build = || registry::build(name, OnlineConfig::new(Duration::from_secs(10))).unwrap();
                let (mut told, mut seen): (Online<_>, Online<_>) = (build(), build());
                for i in 0..80 + gap + 40 {
                    let (at, value) = (Timestamp::from_secs(10 * i), 50.0 + ((i * 37) % 11) as f64);
                    if (80..80 + gap).contains(&i) {
                        told.miss(at);
                    } else {
                        told.observe(at, value);
                        seen.observe(at, value);
                    }
                }
                assert!(told == seen, "{name}, gap {gap}");
            }
        }
    }
}
