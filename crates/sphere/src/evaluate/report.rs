//! What are the figures, and who is better than the baseline?

use super::{Options, Subject, steps};
use serde::Serialize;
use sphere_core::Timestamp;
use sphere_forecast::evaluation::{Evaluation, Scores};
use std::time::Duration;

/// Scores of one model on one trace. `None` where there is nothing to compare or to divide by.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Row {
    /// Name of the trace.
    pub trace: String,
    /// Name of the model.
    pub model: String,
    /// Origins scored, the same for all models of a trace.
    pub origins: u64,
    /// Mean absolute error over all steps ahead, in units of demand.
    pub mae: Option<f64>,
    /// Root mean squared error over all steps ahead, in units of demand.
    pub rmse: Option<f64>,
    /// `mae` in mean absolute one-step changes of what lies before the evaluated part.
    pub mase: Option<f64>,
    /// As `mase`, for the mean of steps 13 to 15.
    pub mase_13_15: Option<f64>,
    /// Symmetric percentage error over all steps ahead, percent, 0 to 200.
    pub smape: Option<f64>,
    /// Pinball loss of the 0.90 quantile over all steps ahead, in units of demand.
    pub pinball_90: Option<f64>,
    /// Pinball loss of the 0.95 quantile over all steps ahead, in units of demand.
    pub pinball_95: Option<f64>,
    /// As `pinball_95`, for the mean of steps 13 to 15; its quantile is the mean of the three.
    pub pinball_95_13_15: Option<f64>,
    /// Share of values at or below the 0.90 quantile over all steps ahead, 0 to 1.
    pub coverage_90: Option<f64>,
    /// Share of values at or below the 0.95 quantile over all steps ahead, 0 to 1.
    pub coverage_95: Option<f64>,
    /// To learn one value and re-estimate parameters: mean time of an `observe` and of a `refit` together,
    /// milliseconds. With all cores busy, so good for ratios only.
    pub fit_ms: f64,
    /// To forecast all steps with all quantiles, mean, milliseconds.
    pub forecast_ms: f64,
    /// Everything else.
    #[serde(skip)]
    pub detail: Evaluation,
}

impl Row {
    fn new(trace: &str, model: &str, detail: Evaluation) -> Self {
        let all = detail.overall.as_ref();
        let signal = detail.signal.as_ref();
        let ms = |duration: Duration| duration.as_secs_f64() * 1e3;
        Self {
            trace: trace.to_owned(),
            model: model.to_owned(),
            origins: detail.origins,
            mae: all.map(|s| s.mae),
            rmse: all.map(|s| s.rmse),
            mase: all.and_then(|s| s.mase),
            mase_13_15: signal.and_then(|s| s.mase),
            smape: all.map(|s| s.smape_pct),
            pinball_90: all.and_then(|s| s.pinball_at(0.90)),
            pinball_95: all.and_then(|s| s.pinball_at(0.95)),
            pinball_95_13_15: signal.and_then(|s| s.pinball_at(0.95)),
            coverage_90: all.and_then(|s| s.coverage_at(0.90)),
            coverage_95: all.and_then(|s| s.coverage_at(0.95)),
            fit_ms: ms(detail.cost.observe + detail.cost.refit),
            forecast_ms: ms(detail.cost.forecast),
            detail,
        }
    }
}

/// What was evaluated on a trace.
#[derive(Clone, Debug, PartialEq)]
pub struct TraceInfo {
    /// Name of the trace.
    pub name: String,
    /// Width of a step.
    pub step: Duration,
    /// Start of the evaluated part; time since the start of the trace if it has no dates.
    pub evaluated_from: Timestamp,
    /// Length of the evaluated part.
    pub evaluated: Duration,
    /// Length of what models learnt from before.
    pub learnt: Duration,
    /// Steps of the evaluated part without a value.
    pub missing_steps: usize,
    /// Mean absolute one-step change of everything before the evaluated part; `None` if nothing changed.
    pub mase_scale: Option<f64>,
}

impl TraceInfo {
    fn new(subject: &Subject, mase_scale: Option<f64>) -> Self {
        let (plan, step) = (&subject.plan, subject.trace.step);
        let evaluated = plan.evaluate.clone();
        Self {
            name: subject.trace.name.clone(),
            step,
            evaluated_from: subject.evaluated_from(),
            evaluated: steps(step, evaluated.len()),
            learnt: steps(step, evaluated.start - plan.learn_from),
            missing_steps: subject.values[evaluated].iter().filter(|value| value.is_none()).count(),
            mase_scale,
        }
    }
}

/// A model relative to the baseline over all traces: geometric means of ratios on identical origins, below 1 is
/// better. Traces where either of the two is 0 or absent do not count.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct SummaryRow {
    /// Name of the model.
    pub model: String,
    /// Traces with a ratio of `mae`.
    pub traces: usize,
    /// Of the mean absolute error, so of `mase` as well.
    pub mae: Option<f64>,
    /// Of the root mean squared error.
    pub rmse: Option<f64>,
    /// Of the absolute error of the mean of steps 13 to 15.
    pub mae_13_15: Option<f64>,
    /// Of `pinball_90`.
    pub pinball_90: Option<f64>,
    /// Of `pinball_95`.
    pub pinball_95: Option<f64>,
    /// Of `pinball_95_13_15`.
    pub pinball_95_13_15: Option<f64>,
    /// Largest ratio of `mae` on any trace: how bad it can get.
    pub worst_mae: Option<f64>,
}

/// All figures.
#[derive(Clone, Debug, PartialEq)]
pub struct Report {
    /// Trace by trace, models in the order asked for.
    pub rows: Vec<Row>,
    /// One per trace.
    pub traces: Vec<TraceInfo>,
    /// One per model, relative to `baseline`; empty if that was not evaluated.
    pub summary: Vec<SummaryRow>,
    /// The model the summary compares with.
    pub baseline: String,
    /// Number of models.
    pub(super) models: usize,
    pub(super) stride_steps: usize,
    pub(super) horizon_steps: usize,
}

impl Report {
    /// `evaluations`: for each subject in turn, one per model of `options`.
    pub(super) fn new(subjects: &[Subject], evaluations: Vec<Evaluation>, options: &Options) -> Self {
        let models = options.models.len();
        let mut evaluations = evaluations.into_iter();
        let (mut rows, mut traces) = (Vec::with_capacity(subjects.len() * models), Vec::new());
        for subject in subjects {
            let of_trace: Vec<Evaluation> = evaluations.by_ref().take(models).collect();
            traces.push(TraceInfo::new(subject, of_trace.first().and_then(|e| e.mase_scale)));
            let named = options.models.iter().zip(of_trace);
            rows.extend(named.map(|(model, e)| Row::new(&subject.trace.name, model, e)));
        }
        Self {
            summary: summarise(&rows, &options.models, &options.baseline),
            rows,
            traces,
            baseline: options.baseline.clone(),
            models,
            stride_steps: options.stride_steps,
            horizon_steps: options.horizon_steps,
        }
    }

    /// Each trace with the rows of its models.
    pub fn by_trace(&self) -> impl Iterator<Item = (&TraceInfo, &[Row])> {
        self.traces.iter().zip(self.rows.chunks(self.models.max(1)))
    }
}

fn summarise(rows: &[Row], models: &[String], baseline: &str) -> Vec<SummaryRow> {
    let Some(base) = models.iter().position(|model| model == baseline) else { return Vec::new() };
    let signal_mae = |row: &Row| row.detail.signal.as_ref().map(|s: &Scores| s.mae);
    let ratios = |model: usize, of: &dyn Fn(&Row) -> Option<f64>| -> Vec<f64> {
        let ratio = |rows: &[Row]| Some(of(&rows[model])? / of(&rows[base])?);
        let usable = |ratio: &f64| ratio.is_finite() && *ratio > 0.0;
        rows.chunks(models.len()).filter_map(ratio).filter(usable).collect()
    };
    let mean = |model: usize, of: &dyn Fn(&Row) -> Option<f64>| geometric_mean(&ratios(model, of));
    let row = |(i, model): (usize, &String)| {
        let mae = ratios(i, &|row| row.mae);
        SummaryRow {
            model: model.clone(),
            traces: mae.len(),
            mae: geometric_mean(&mae),
            rmse: mean(i, &|row| row.rmse),
            mae_13_15: mean(i, &signal_mae),
            pinball_90: mean(i, &|row| row.pinball_90),
            pinball_95: mean(i, &|row| row.pinball_95),
            pinball_95_13_15: mean(i, &|row| row.pinball_95_13_15),
            worst_mae: mae.into_iter().reduce(f64::max),
        }
    };
    models.iter().enumerate().map(row).collect()
}

fn geometric_mean(ratios: &[f64]) -> Option<f64> {
    let logs: f64 = ratios.iter().map(|ratio| ratio.ln()).sum();
    (!ratios.is_empty()).then(|| (logs / ratios.len() as f64).exp())
}
