//! What do a line that may bend, the usual hour or day, and known events say?
//!
//! The Prophet model at the maximum of its posterior ([`crate::fit::prophet`]), estimated on a window and read at the
//! coming steps. It looks at the window as a whole, so between two fits new values change nothing but the time.
//!
//! | window | behaviour |
//! |---|---|
//! | shorter than two periods of a season (the founding system's rule for its hourly one: shorter than one) | without that season |
//! | constant or all 0 | the constant |
//! | an event without an occurrence in the window | without effect |

use super::calendar::{Season, columns};
use super::ets::moves;
use super::windowed::{Fitted, WindowConfig, Windowed};
use crate::fit::prophet::{Settings, fit};
use serde::{Deserialize, Serialize};
use sphere_core::Timestamp;

/// See the module.
pub type Prophet = Windowed<ProphetFit>;

/// When something out of the ordinary happens. Occurrences of the same name share one effect.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Event {
    /// What it is called.
    pub name: String,
    /// Steps that end after this …
    pub from: Timestamp,
    /// … and not after this belong to it.
    pub until: Timestamp,
}

/// What the model is made of.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ProphetConfig {
    /// Priors and changes.
    pub settings: Settings,
    /// Seasons.
    pub seasons: Vec<Season>,
    /// Events, past and to come.
    pub events: Vec<Event>,
    /// Periods that a season needs in the window.
    pub periods_needed: usize,
}

impl Default for ProphetConfig {
    /// The founding system's: Prophet's priors, no seasons.
    fn default() -> Self {
        Self { settings: Settings::default(), seasons: Vec::new(), events: Vec::new(), periods_needed: 2 }
    }
}

/// The estimated part.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct ProphetFit {
    config: ProphetConfig,
    /// End of step 0, and milliseconds in a step: what events need.
    begins: Option<(Timestamp, u64)>,
    state: Option<State>,
    last: f64,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
struct State {
    /// Step that the trend counts from.
    first: u64,
    offset: f64,
    slope: f64,
    seasons: Vec<Season>,
    events: Vec<String>,
    beta: Vec<f64>,
}

impl ProphetFit {
    /// Without history.
    pub fn new(config: ProphetConfig) -> Self {
        Self { config, begins: None, state: None, last: 0.0 }
    }

    /// In a window.
    pub fn online(config: ProphetConfig, window: WindowConfig) -> Prophet {
        Windowed::new(Self::new(config), window)
    }

    /// Sets priors for the fits to come.
    pub(super) fn set(&mut self, settings: Settings) {
        self.config.settings = settings;
    }

    /// Is step `at` part of an event called `name`?
    fn happens(&self, name: &str, at: u64) -> bool {
        let Some((begin, step_ms)) = self.begins else { return false };
        let end = i128::from(begin.millis()) + i128::from(at) * i128::from(step_ms);
        self.config.events.iter().any(|e| {
            e.name == name && i128::from(e.from.millis()) < end && end <= i128::from(e.until.millis())
        })
    }
}

impl Fitted for ProphetFit {
    fn begins_at(&mut self, first: Timestamp, step_ms: u64) {
        self.begins = Some((first, step_ms));
    }

    fn fit(&mut self, values: &[f64], first: u64) {
        self.state = None;
        if !moves(values) {
            return;
        }
        let n = values.len();
        let needed = self.config.periods_needed.max(1);
        let seasons: Vec<Season> =
            self.config.seasons.iter().copied().filter(|s| needed * s.period <= n).collect();
        let mut matrix = columns(&seasons, first, n);
        let mut events: Vec<String> = Vec::new();
        for event in &self.config.events {
            if events.contains(&event.name) {
                continue;
            }
            let column: Vec<f64> = (0..n as u64)
                .map(|t| f64::from(u8::from(self.happens(&event.name, first.wrapping_add(t)))))
                .collect();
            if column.iter().any(|v| *v > 0.0) {
                matrix.push(column);
                events.push(event.name.clone());
            }
        }
        if let Some(fit) = fit(values, &matrix, self.config.settings) {
            let (offset, slope, beta) = (fit.offset, fit.slope, fit.beta);
            self.state = Some(State { first, offset, slope, seasons, events, beta });
        }
    }

    fn step(&mut self, value: Option<f64>, _at: u64) {
        if let Some(value) = value {
            self.last = value;
        }
    }

    fn predict(&self, at: u64, out: &mut [f64]) {
        let Some(state) = &self.state else { return out.fill(self.last) };
        let mut terms = Vec::with_capacity(state.beta.len());
        for (k, v) in out.iter_mut().enumerate() {
            let step = at.wrapping_add(k as u64);
            terms.clear();
            state.seasons.iter().for_each(|s| s.write(step, &mut terms));
            terms.extend(state.events.iter().map(|name| f64::from(u8::from(self.happens(name, step)))));
            let season: f64 = terms.iter().zip(&state.beta).map(|(x, b)| x * b).sum();
            let trend = state.offset + state.slope * step.wrapping_sub(state.first) as f64;
            *v = if self.config.settings.multiplicative { trend * (1.0 + season) } else { trend + season };
        }
    }

    fn forget(&mut self) {
        self.state = None;
    }

    fn heap_bytes(&self) -> usize {
        let config = &self.config;
        let names: usize = config.events.iter().map(|e| e.name.capacity() + size_of::<Event>()).sum();
        let state = self.state.as_ref().map_or(0, |s| {
            s.beta.capacity() * size_of::<f64>()
                + s.seasons.capacity() * size_of::<Season>()
                + s.events.iter().map(|e| e.capacity() + size_of::<String>()).sum::<usize>()
        });
        names + state + config.seasons.capacity() * size_of::<Season>()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Forecaster, Online, OnlineConfig};
    use std::time::Duration;

    #[test]
    fn an_event_known_in_advance_is_expected() {
        // A sale of 10 steps that begins at steps 30, 70 and 130.
        let at = |step: i64| Timestamp::from_secs(10_000 + 10 * step);
        let event = |from: i64| Event { name: "sale".into(), from: at(from - 1), until: at(from + 9) };
        let config = ProphetConfig { events: [30, 70, 130].map(event).to_vec(), ..ProphetConfig::default() };
        let model = ProphetFit::online(config, WindowConfig::new(120, 20));
        let mut forecaster = Online::new("prophet", model, OnlineConfig::new(Duration::from_secs(10)));
        let sale = |step: i64| (30..40).contains(&step) || (70..80).contains(&step);
        for step in 0..125 {
            let demand = 50.0 + ((step * 7919) % 23) as f64 / 10.0 + if sale(step) { 40.0 } else { 0.0 };
            forecaster.observe(at(step), demand);
        }
        let mut path = [0.0; 15];
        forecaster.points(&mut path).unwrap();
        // Step 125 is the first of the path, 130 the first of the third sale.
        assert!((path[4] - 51.0).abs() < 5.0, "{path:?}");
        assert!((path[5] - 91.0).abs() < 6.0, "{path:?}");
        assert!((path[14] - 91.0).abs() < 6.0, "{path:?}");
    }

    #[test]
    fn a_multiplicative_season_grows_with_the_trend() {
        let value =
            |t: u64| (100.0 + t as f64) * (1.0 + 0.3 * (std::f64::consts::TAU * t as f64 / 24.0).sin());
        let config = ProphetConfig {
            seasons: vec![Season::new(24, 2)],
            settings: Settings { multiplicative: true, ..Settings::default() },
            ..ProphetConfig::default()
        };
        let mut model = ProphetFit::new(config);
        let values: Vec<f64> = (0..120).map(value).collect();
        model.fit(&values, 0);
        let mut path = [0.0; 24];
        model.predict(120, &mut path);
        for (k, v) in path.iter().enumerate() {
            let expected = value(120 + k as u64);
            assert!((v - expected).abs() < 0.05 * expected, "{k}: {v} {expected}");
        }
    }
}
