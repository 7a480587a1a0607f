//! What does a program read?

use super::{Report, Row, SummaryRow, TraceInfo};
use serde::Serialize;
use serde_json::{Value, json};
use sphere_core::QUANTILE_LEVELS;
use sphere_forecast::evaluation::Scores;

#[derive(Serialize)]
struct Document<'a> {
    rows: Vec<JsonRow<'a>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    detail: Option<Value>,
}

#[derive(Serialize)]
struct JsonRow<'a> {
    #[serde(flatten)]
    row: &'a Row,
    #[serde(skip_serializing_if = "Option::is_none")]
    detail: Option<Value>,
}

impl Report {
    /// One JSON object, `rows` with one object per trace and model: the fields of [`Row`], `null` where there is
    /// no number. With `detail`, each row has a key `detail` (scores at all quantile levels, by step ahead and
    /// for the mean of steps 13 to 15; parts of the time), and the object one with settings, traces and summary.
    ///
    /// # Errors
    /// None is expected; serialisation can in principle fail.
    pub fn json(&self, detail: bool) -> Result<String, serde_json::Error> {
        let rows =
            self.rows.iter().map(|row| JsonRow { row, detail: detail.then(|| row_detail(row)) }).collect();
        let detail = detail.then(|| self.detail());
        serde_json::to_string_pretty(&Document { rows, detail })
    }

    fn detail(&self) -> Value {
        json!({
            "horizon_steps": self.horizon_steps,
            "stride_steps": self.stride_steps,
            "quantile_levels": QUANTILE_LEVELS,
            "traces": self.traces.iter().map(trace).collect::<Vec<_>>(),
            "baseline": self.baseline,
            "relative_to_baseline": self.summary.iter().map(summary).collect::<Vec<_>>(),
        })
    }
}

fn row_detail(row: &Row) -> Value {
    let scores = |scores: &Option<Scores>| json!(scores);
    let ms = |duration: std::time::Duration| duration.as_secs_f64() * 1e3;
    json!({
        "overall": scores(&row.detail.overall),
        "by_step": row.detail.by_step.iter().map(scores).collect::<Vec<_>>(),
        "steps_13_15": scores(&row.detail.signal),
        "observe_ms": ms(row.detail.cost.observe),
        "refit_ms": ms(row.detail.cost.refit),
    })
}

fn trace(trace: &TraceInfo) -> Value {
    json!({
        "trace": trace.name,
        "step_ms": trace.step.as_millis() as u64,
        "evaluated_from_ms": trace.evaluated_from.millis(),
        "evaluated_s": trace.evaluated.as_secs_f64(),
        "learnt_s": trace.learnt.as_secs_f64(),
        "missing_steps": trace.missing_steps,
        "mase_scale": trace.mase_scale,
    })
}

fn summary(row: &SummaryRow) -> Value {
    json!(row)
}
