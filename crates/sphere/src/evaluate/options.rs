//! What is evaluated, and how?

use super::EvaluateError;
use sphere_trace::{Format, Position};
use std::time::Duration;

/// The models compared when none are named.
pub const DEFAULT_MODELS: [&str; 9] = [
    "last",
    "mean-6",
    "seasonal-naive-1d",
    "ses",
    "holt",
    "damped-holt",
    "classic",
    "classic-fresh",
    "sphere",
];

/// Longest horizon that can be asked for, steps.
pub const MAX_HORIZON_STEPS: usize = 1000;

/// When parameters are estimated.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Refit {
    /// At each origin for simple, Holt and damped smoothing and `classic-fresh`, so that the comparison is with a
    /// fresh fit; on the model's own schedule for all others: `classic` for its staleness, seasonal models
    /// because a fit of theirs is expensive.
    #[default]
    Auto,
    /// At each origin, for all models. (`classic` then is `classic-fresh`.)
    Origins,
    /// On each model's own schedule.
    Schedule,
}

impl Refit {
    /// Is this model refitted at each origin?
    pub(super) fn at_origins(self, model: &str) -> bool {
        let family = model.split('@').next().unwrap_or(model);
        match self {
            Self::Auto => matches!(family, "ses" | "holt" | "damped-holt" | "classic-fresh"),
            Self::Origins => true,
            Self::Schedule => false,
        }
    }
}

/// What to evaluate, and how.
#[derive(Clone, Debug, PartialEq)]
pub struct Options {
    /// Names of models in [`sphere_forecast::registry`]; [`DEFAULT_MODELS`] by default.
    pub models: Vec<String>,
    /// The model the summary compares with: the founding Holt-Winters, freshly fitted at each origin,
    /// `classic-fresh`, by default. Without summary if it is not among `models`.
    pub baseline: String,
    /// Start of the evaluated part; by default what [`Options::history`] leaves.
    pub from: Option<Position>,
    /// End of the evaluated part; by default the end of the trace.
    pub to: Option<Position>,
    /// Most that is learnt from before the evaluated part; 7 days by default.
    pub history: Duration,
    /// How files are written; found out by default.
    pub format: Format,
    /// Step to evaluate at: the bin of access logs and count files, and a whole multiple of the step of a CSV
    /// file. By default 10 s for the former and its own step for the latter.
    pub bin: Option<Duration>,
    /// Factor on all values, positive; 1 by default.
    pub scale: f64,
    /// Steps ahead, 1 to [`MAX_HORIZON_STEPS`]; 15 by default.
    pub horizon_steps: usize,
    /// Steps from one origin to the next; 6 by default. Models that refit every 6 steps meet it always at the same
    /// age of their parameters; with 7 at all ages.
    pub stride_steps: usize,
    /// When parameters are estimated.
    pub refit: Refit,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            models: DEFAULT_MODELS.map(String::from).to_vec(),
            baseline: "classic-fresh".into(),
            from: None,
            to: None,
            history: Duration::from_secs(7 * 86_400),
            format: Format::Auto,
            bin: None,
            scale: 1.0,
            horizon_steps: 15,
            stride_steps: 6,
            refit: Refit::Auto,
        }
    }
}

impl Options {
    pub(super) fn check(&self) -> Result<(), EvaluateError> {
        let problem = if self.models.is_empty() {
            "no model given".into()
        } else if let Some(twice) = duplicate(&self.models) {
            format!("the model {twice} is given twice")
        } else if !(self.scale.is_finite() && self.scale > 0.0) {
            format!("the scale is {}; a positive number is expected", self.scale)
        } else if !(1..=MAX_HORIZON_STEPS).contains(&self.horizon_steps) {
            format!("the horizon is {} steps; 1 to {MAX_HORIZON_STEPS} are expected", self.horizon_steps)
        } else if self.stride_steps == 0 {
            "the distance of origins is 0 steps; at least 1 is expected".into()
        } else {
            return Ok(());
        };
        Err(EvaluateError::Setting(problem))
    }
}

fn duplicate(names: &[String]) -> Option<&String> {
    names.iter().enumerate().find(|(i, name)| names[..*i].contains(name)).map(|(_, name)| name)
}
