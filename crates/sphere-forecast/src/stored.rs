//! How does what a forecaster has learnt outlive its process?
//!
//! [`StoredForecaster`] is any forecaster of the registry as one type that can be written to bytes and read
//! back, going on exactly where it was. The bytes are `SPHF`, a format version, and MessagePack: a tenth of the time
//! of JSON and half its size, and these numbers are for machines only. A state of another format version, or one larger than
//! [`StoredForecaster::LARGEST_STATE`], is refused with a [`StateError`]: the caller then learns from history
//! again, which is always possible.

use crate::models::Model;
use crate::registry::{self, UnknownModel};
use crate::{
    AUTO, AutoConfig, AutoForecaster, Forecaster, Grid, LeadConfig, LeadForecaster, NotReady, Observed,
    Online, OnlineConfig, PointModel,
};
use serde::{Deserialize, Serialize};
use sphere_core::{Distribution, Period, Timestamp, Trust};
use std::time::Duration;

const MAGIC: &[u8; 4] = b"SPHF";
/// Raise it whenever a field of any model's state changes its meaning or place.
const FORMAT: u16 = 1;

/// Why bytes are no state of ours.
#[derive(Debug, thiserror::Error)]
pub enum StateError {
    /// They do not begin as a state does.
    #[error("not a forecaster's state")]
    Foreign,
    /// Written by a program with another format.
    #[error("state format {found}, this program reads {FORMAT}")]
    Format {
        /// Format of the bytes.
        found: u16,
    },
    /// More bytes than any state may have.
    #[error("a state of {0} bytes; at most {limit} are kept", limit = StoredForecaster::LARGEST_STATE)]
    TooLarge(usize),
    /// Damaged.
    #[error("damaged state: {0}")]
    Damaged(String),
    /// On a grid of another step.
    #[error("state on a grid of {found_ms} ms, {wanted_ms} ms wanted")]
    OtherStep {
        /// Step of the state, ms.
        found_ms: u64,
        /// Step asked for, ms.
        wanted_ms: u64,
    },
    /// Of another model.
    #[error("state of model `{found}`, `{wanted}` wanted")]
    OtherModel {
        /// Model of the state.
        found: String,
        /// Model asked for.
        wanted: String,
    },
}

/// A forecaster that can be stored. See the module text.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct StoredForecaster(Kind);

#[derive(Clone, Debug, Serialize, Deserialize)]
#[allow(clippy::large_enum_variant)] // one per workload, mostly of the same kind
enum Kind {
    Lead(LeadForecaster),
    Online(Online<Model>),
    Auto(AutoForecaster),
}

impl StoredForecaster {
    /// Most bytes a state may have: the longest window of the registry fits.
    pub const LARGEST_STATE: usize = 8 << 20;

    /// The forecaster `name` stands for, without history, for horizons up to `lead_steps`. `sphere` learns step 1
    /// and the lead itself and interpolates between: what scaling reads, at a third of the cost of every step.
    pub fn create(name: &str, step: Duration, lead_steps: u32) -> Result<Self, UnknownModel> {
        let lead_steps = lead_steps.max(1);
        if name == "sphere" {
            let leads_steps = vec![1, lead_steps];
            let config = LeadConfig { step, leads_steps, ..LeadConfig::default() };
            return Ok(Self(Kind::Lead(LeadForecaster::new(config))));
        }
        if name == AUTO {
            return Ok(Self(Kind::Auto(AutoForecaster::for_lead(AutoConfig::new(step, lead_steps)))));
        }
        let config = OnlineConfig { horizon: lead_steps as usize, ..OnlineConfig::new(step) };
        Ok(Self(Kind::Online(registry::build(name, config)?)))
    }

    /// The state as bytes.
    pub fn save(&self) -> Result<Vec<u8>, StateError> {
        let mut bytes = Vec::with_capacity(16 << 10);
        bytes.extend_from_slice(MAGIC);
        bytes.extend_from_slice(&FORMAT.to_be_bytes());
        rmp_serde::encode::write(&mut bytes, self).map_err(|error| StateError::Damaged(error.to_string()))?;
        if bytes.len() > Self::LARGEST_STATE {
            return Err(StateError::TooLarge(bytes.len()));
        }
        Ok(bytes)
    }

    /// The forecaster as it was saved, if it is of model `name` on a grid of `step`.
    pub fn restore(bytes: &[u8], name: &str, step: Duration) -> Result<Self, StateError> {
        if bytes.len() > Self::LARGEST_STATE {
            return Err(StateError::TooLarge(bytes.len()));
        }
        let Some((format, state)) =
            bytes.strip_prefix(MAGIC.as_slice()).and_then(|rest| rest.split_first_chunk::<2>())
        else {
            return Err(StateError::Foreign);
        };
        let found = u16::from_be_bytes(*format);
        if found != FORMAT {
            return Err(StateError::Format { found });
        }
        let restored: Self =
            rmp_serde::from_slice(state).map_err(|error| StateError::Damaged(error.to_string()))?;
        if restored.name() != name {
            return Err(StateError::OtherModel { found: restored.name().into(), wanted: name.into() });
        }
        let wanted_ms = u64::try_from(step.as_millis()).unwrap_or(u64::MAX);
        let found_ms = match &restored.0 {
            Kind::Lead(f) => u64::try_from(f.step().as_millis()).unwrap_or(u64::MAX),
            Kind::Online(f) => f.config().step_ms,
            Kind::Auto(f) => f.config().step_ms,
        };
        if let Kind::Auto(forecaster) = &restored.0
            && !forecaster.is_consistent()
        {
            return Err(StateError::Damaged("arrays of other lengths than the horizon needs".into()));
        }
        if found_ms != wanted_ms {
            return Err(StateError::OtherStep { found_ms, wanted_ms });
        }
        Ok(restored)
    }

    /// Moves the lead, where the model learns it directly; other models serve any horizon.
    pub fn set_lead_steps(&mut self, lead: u32) {
        match &mut self.0 {
            Kind::Lead(forecaster) => forecaster.set_lead_steps(lead),
            Kind::Auto(forecaster) => forecaster.set_lead_steps(lead),
            Kind::Online(_) => {}
        }
    }

    /// Shifts the schedule of refits by `phase` steps, so that many workloads do not refit in the same step.
    pub fn stagger_refits(&mut self, phase: usize) {
        if let Kind::Online(forecaster) = &mut self.0 {
            forecaster.model_mut().stagger_refits(phase);
        }
    }
}

macro_rules! each {
    ($self:expr, $forecaster:ident => $body:expr) => {
        match $self {
            Kind::Lead($forecaster) => $body,
            Kind::Online($forecaster) => $body,
            Kind::Auto($forecaster) => $body,
        }
    };
}

impl Forecaster for StoredForecaster {
    fn name(&self) -> &str {
        each!(&self.0, f => f.name())
    }
    fn version(&self) -> u32 {
        each!(&self.0, f => f.version())
    }
    fn observe(&mut self, at: Timestamp, value: f64) -> Observed {
        each!(&mut self.0, f => f.observe(at, value))
    }
    fn observe_censored(&mut self, at: Timestamp, lower_bound: f64) -> Observed {
        each!(&mut self.0, f => f.observe_censored(at, lower_bound))
    }
    fn miss(&mut self, at: Timestamp) {
        each!(&mut self.0, f => f.miss(at))
    }
    fn refit(&mut self) {
        each!(&mut self.0, f => f.refit())
    }
    fn grid(&self) -> Option<Grid> {
        each!(&self.0, f => f.grid())
    }
    fn distributions(&self, horizon: usize, out: &mut Vec<Distribution>) -> Result<(), NotReady> {
        each!(&self.0, f => f.distributions(horizon, out))
    }
    fn mean_of_steps(&self, from: usize, to: usize) -> Option<Distribution> {
        each!(&self.0, f => f.mean_of_steps(from, to))
    }
    fn trust(&self) -> Trust {
        each!(&self.0, f => f.trust())
    }
    fn period(&self) -> Option<Period> {
        each!(&self.0, f => f.period())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const STEP: Duration = Duration::from_secs(10);

    fn taught(name: &str) -> StoredForecaster {
        let mut forecaster = StoredForecaster::create(name, STEP, 7).unwrap();
        for i in 0..200 {
            let value = 100.0 + 30.0 * (i as f64 / 9.0).sin() + (i % 7) as f64;
            forecaster.observe(Timestamp::from_secs(10 * i), value);
        }
        forecaster
    }

    #[test]
    fn a_restored_forecaster_goes_on_exactly_where_it_was() {
        for name in registry::MODELS.map(|m| m.example) {
            let mut original = taught(name);
            let state = original.save().unwrap();
            let mut restored = StoredForecaster::restore(&state, name, STEP).unwrap();
            for i in 200..260 {
                let at = Timestamp::from_secs(10 * i);
                assert_eq!(original.observe(at, 80.0 + i as f64), restored.observe(at, 80.0 + i as f64));
                assert_eq!(original.forecast(8, STEP), restored.forecast(8, STEP), "{name}");
            }
        }
    }

    #[test]
    fn the_state_of_the_default_is_small() {
        for name in ["sphere", "auto"] {
            let bytes = taught(name).save().unwrap().len();
            assert!(bytes <= 16 << 10, "{name}: {bytes} bytes");
        }
    }

    #[test]
    fn states_that_do_not_fit_are_refused_with_the_reason() {
        let state = taught("holt").save().unwrap();
        let refuse = |bytes: &[u8], name, step| {
            StoredForecaster::restore(bytes, name, step).map(|_| ()).unwrap_err().to_string()
        };
        assert!(refuse(&state, "ses", STEP).contains("`holt`"));
        assert!(refuse(&state, "holt", Duration::from_secs(5)).contains("10000 ms"));
        assert!(refuse(b"hello", "holt", STEP).contains("not a forecaster"));
        assert!(refuse(&state[..state.len() / 2], "holt", STEP).contains("damaged"));
        let mut newer = state.clone();
        newer[5] = 99;
        assert!(refuse(&newer, "holt", STEP).contains("format 99"));
    }

    #[test]
    fn staggered_models_do_not_refit_in_the_same_step() {
        let parameters = |phase: usize| {
            let mut f = StoredForecaster::create("ses", STEP, 3).unwrap();
            f.stagger_refits(phase);
            (0..64)
                .map(|i| {
                    f.observe(Timestamp::from_secs(10 * i), ((i * i) % 37) as f64);
                    let Kind::Online(online) = &f.0 else { unreachable!() };
                    let Model::Smoothing(model) = online.model() else { unreachable!() };
                    model.parameters().0
                })
                .collect::<Vec<f64>>()
        };
        let changes = |alphas: Vec<f64>| -> Vec<usize> {
            (41..64).filter(|&i| alphas[i] != alphas[i - 1]).map(|i| i % 6).collect()
        };
        let (a, b) = (changes(parameters(0)), changes(parameters(3)));
        assert!(!a.is_empty() && !b.is_empty());
        assert!(a.iter().all(|step| !b.contains(step)), "{a:?} {b:?}");
    }
}
