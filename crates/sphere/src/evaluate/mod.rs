//! Which model forecasts these traces best, and are its quantiles honest?
//!
//! [`run`] evaluates many models on many traces in parallel ([`sphere_forecast::evaluation`] does one on one),
//! [`Report::table`] and [`Report::json`] show what came out.
//!
//! **Which part is forecast.** With [`Options::from`] and [`Options::to`], the part between them; models have
//! learnt from what lies before, at most [`Options::history`]. Without `from`, the trace's first [`Options::history`],
//! but at most its first half, is only learnt from. The scale of MASE is the mean absolute one-step change of everything
//! before the evaluated part.
//!
//! **Same origins for all.** On each trace every model is scored at exactly the origins at which all of them have a
//! forecast, so that rows compare.
//!
//! **Units.** MAE, RMSE and pinball loss are in the unit of the file (a count per step, or the level as given) times
//! [`Options::scale`].

mod json;
mod options;
mod report;
mod table;

pub use options::{DEFAULT_MODELS, MAX_HORIZON_STEPS, Options, Refit};
pub use report::{Report, Row, SummaryRow, TraceInfo};

use rayon::prelude::*;
use sphere_core::Timestamp;
use sphere_forecast::evaluation::{Evaluation, Plan, PlanError, Series, evaluate};
use sphere_forecast::registry::UnknownModel;
use sphere_forecast::{Forecaster, OnlineConfig, registry};
use sphere_trace::{ReadOptions, RebinError, SliceError, Trace, TraceError, read_file};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

/// Why there is no evaluation. Each is a matter of the input, not of the program.
#[derive(Debug, thiserror::Error)]
pub enum EvaluateError {
    /// A setting that makes no sense.
    #[error("{0}")]
    Setting(String),
    /// A name that stands for no model on this trace.
    #[error("{trace}: {source}")]
    Model {
        /// Name of the trace.
        trace: String,
        /// What is wrong with the name.
        source: Box<UnknownModel>,
    },
    /// A file that is no trace.
    #[error(transparent)]
    Trace(#[from] TraceError),
    /// A part the trace does not have.
    #[error(transparent)]
    Slice(#[from] SliceError),
    /// A step the trace can not be brought to.
    #[error("{trace}: {source}")]
    Rebin {
        /// Name of the trace.
        trace: String,
        /// What is wrong with the step.
        source: RebinError,
    },
    /// Too little to learn from, or to forecast.
    #[error("{trace}: {source}")]
    Plan {
        /// Name of the trace.
        trace: String,
        /// What is missing.
        source: PlanError,
    },
    /// At no origin all models have a forecast.
    #[error("{trace}: at no origin all models have a forecast; {silent} has one at the fewest")]
    NoCommonOrigin {
        /// Name of the trace.
        trace: String,
        /// The model with the fewest forecasts.
        silent: String,
    },
}

/// How far the work is; told after each model has been evaluated on a trace.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Progress<'a> {
    /// Evaluations done.
    pub done: usize,
    /// Evaluations to do.
    pub total: usize,
    /// The model just done.
    pub model: &'a str,
    /// The trace it was done on.
    pub trace: &'a str,
}

/// Evaluates every model of `options` on the trace in each of `paths`, on all cores.
///
/// `progress` is called from several threads, in the order of completion.
///
/// # Errors
/// If a setting or model name makes no sense, a file is no trace, or a trace is too short; nothing is evaluated
/// then, except for [`EvaluateError::NoCommonOrigin`].
pub fn run(
    paths: &[PathBuf],
    options: &Options,
    progress: &(dyn Fn(Progress<'_>) + Sync),
) -> Result<Report, EvaluateError> {
    options.check()?;
    if paths.is_empty() {
        return Err(EvaluateError::Setting("no trace given".into()));
    }
    let subjects: Vec<Subject> =
        paths.par_iter().map(|path| Subject::read(path, options)).collect::<Result<_, _>>()?;
    for subject in &subjects {
        for model in &options.models {
            subject.create(model, options)?;
        }
    }
    let pairs: Vec<(&Subject, &str)> =
        subjects.iter().flat_map(|s| options.models.iter().map(move |model| (s, model.as_str()))).collect();
    let done = AtomicUsize::new(0);
    let mut evaluations: Vec<Evaluation> = pairs
        .par_iter()
        .map(|(subject, model)| {
            let evaluation = subject.evaluate(model, options, None)?;
            let done = done.fetch_add(1, Ordering::Relaxed) + 1;
            progress(Progress { done, total: pairs.len(), model, trace: &subject.trace.name });
            Ok(evaluation)
        })
        .collect::<Result<_, EvaluateError>>()?;
    for (subject, evaluations) in subjects.iter().zip(evaluations.chunks_mut(options.models.len())) {
        hold_to_common_origins(subject, options, evaluations)?;
    }
    Ok(Report::new(&subjects, evaluations, options))
}

/// Evaluates again, on the origins at which all models have a forecast, those that have more.
fn hold_to_common_origins(
    subject: &Subject,
    options: &Options,
    evaluations: &mut [Evaluation],
) -> Result<(), EvaluateError> {
    let all = |i: usize| evaluations.iter().all(|evaluation| evaluation.ready[i]);
    let common: Vec<bool> = (0..subject.plan.origins().count()).map(all).collect();
    let served = |evaluation: &Evaluation| evaluation.ready.iter().filter(|&&ready| ready).count();
    if !common.contains(&true) {
        let (_, silent) = evaluations
            .iter()
            .zip(&options.models)
            .min_by_key(|(evaluation, _)| served(evaluation))
            .expect("there is a model");
        return Err(EvaluateError::NoCommonOrigin {
            trace: subject.trace.name.clone(),
            silent: silent.clone(),
        });
    }
    evaluations.par_iter_mut().zip(&options.models).try_for_each(|(evaluation, model)| {
        if evaluation.ready != common {
            *evaluation = subject.evaluate(model, options, Some(&common))?;
        }
        Ok(())
    })
}

/// A trace and the part of it that is evaluated.
struct Subject {
    trace: Trace,
    values: Vec<Option<f64>>,
    plan: Plan,
}

impl Subject {
    fn read(path: &Path, options: &Options) -> Result<Self, EvaluateError> {
        let defaults = ReadOptions::default();
        let reading = ReadOptions { format: options.format, bin: options.bin.unwrap_or(defaults.bin) };
        let mut trace = read_file(path, &reading)?.trace;
        if let Some(bin) = options.bin
            && bin != trace.step
        {
            trace = trace
                .rebin(bin)
                .map_err(|source| EvaluateError::Rebin { trace: trace.name.clone(), source })?;
        }
        let plan = plan(&trace, options)?;
        let values = trace.values.iter().map(|value| value.map(|value| value * options.scale)).collect();
        Ok(Self { trace, values, plan })
    }

    fn create(&self, model: &str, options: &Options) -> Result<Box<dyn Forecaster>, EvaluateError> {
        let config = OnlineConfig { horizon: options.horizon_steps, ..OnlineConfig::new(self.trace.step) };
        registry::create_with(model, config).map_err(|source| EvaluateError::Model {
            trace: self.trace.name.clone(),
            source: Box::new(source),
        })
    }

    fn evaluate(
        &self,
        model: &str,
        options: &Options,
        only: Option<&[bool]>,
    ) -> Result<Evaluation, EvaluateError> {
        let mut forecaster = self.create(model, options)?;
        let series = Series { values: &self.values, start: self.trace.start, step: self.trace.step };
        let plan = Plan { refit_at_origins: options.refit.at_origins(model), ..self.plan.clone() };
        let began = Instant::now();
        evaluate(forecaster.as_mut(), &series, &plan, only, &mut || began.elapsed())
            .map_err(|source| EvaluateError::Plan { trace: self.trace.name.clone(), source })
    }

    /// Start of the evaluated part.
    fn evaluated_from(&self) -> Timestamp {
        self.trace.start + steps(self.trace.step, self.plan.evaluate.start)
    }
}

fn steps(step: Duration, count: usize) -> Duration {
    step.saturating_mul(u32::try_from(count).unwrap_or(u32::MAX))
}

/// Which part of the trace is learnt from and which is forecast.
fn plan(trace: &Trace, options: &Options) -> Result<Plan, EvaluateError> {
    let len = trace.values.len();
    let step_ms = trace.step.as_millis().max(1);
    let history_steps = usize::try_from(options.history.as_millis() / step_ms).unwrap_or(usize::MAX);
    // A slice ends where the trace does, or begins where it does: its length tells the index.
    let end = match &options.to {
        Some(to) => trace.slice(None, Some(to))?.values.len(),
        None => len,
    };
    let defaults = Plan::last_part(end, history_steps);
    let begin = match &options.from {
        Some(from) => {
            trace.slice(Some(from), options.to.as_ref())?;
            len - trace.slice(Some(from), None)?.values.len()
        }
        None => defaults.evaluate.start,
    };
    let plan = Plan {
        horizon_steps: options.horizon_steps,
        stride_steps: options.stride_steps,
        learn_from: begin.saturating_sub(history_steps),
        evaluate: begin..end,
        ..defaults
    };
    let named = |source| EvaluateError::Plan { trace: trace.name.clone(), source };
    plan.check(len).map_err(named)?;
    Ok(plan)
}

#[cfg(test)]
mod tests;
