//! What does a person read?

use super::{Report, Row, SummaryRow, TraceInfo};
use crate::table::{Cell, render};
use std::fmt::Write;
use std::time::Duration;

/// Which value of a column is best.
#[derive(Clone, Copy)]
enum Best {
    Lowest,
    /// The nearest to this.
    Nearest(f64),
    /// Nobody's: times depend on the machine.
    None,
}

struct Column<R> {
    title: &'static str,
    best: Best,
    of: fn(&R) -> Option<f64>,
}

const COLUMNS: [Column<Row>; 12] = [
    Column { title: "MAE", best: Best::Lowest, of: |r| r.mae },
    Column { title: "RMSE", best: Best::Lowest, of: |r| r.rmse },
    Column { title: "MASE", best: Best::Lowest, of: |r| r.mase },
    Column { title: "MASE 13-15", best: Best::Lowest, of: |r| r.mase_13_15 },
    Column { title: "sMAPE %", best: Best::Lowest, of: |r| r.smape },
    Column { title: "pinb .90", best: Best::Lowest, of: |r| r.pinball_90 },
    Column { title: "pinb .95", best: Best::Lowest, of: |r| r.pinball_95 },
    Column { title: ".95 13-15", best: Best::Lowest, of: |r| r.pinball_95_13_15 },
    Column { title: "cover .90", best: Best::Nearest(0.90), of: |r| r.coverage_90 },
    Column { title: "cover .95", best: Best::Nearest(0.95), of: |r| r.coverage_95 },
    Column { title: "fit ms", best: Best::None, of: |r| Some(r.fit_ms) },
    Column { title: "forecast ms", best: Best::None, of: |r| Some(r.forecast_ms) },
];

const SUMMARY: [Column<SummaryRow>; 7] = [
    Column { title: "MAE", best: Best::Lowest, of: |r| r.mae },
    Column { title: "RMSE", best: Best::Lowest, of: |r| r.rmse },
    Column { title: "MAE 13-15", best: Best::Lowest, of: |r| r.mae_13_15 },
    Column { title: "pinb .90", best: Best::Lowest, of: |r| r.pinball_90 },
    Column { title: "pinb .95", best: Best::Lowest, of: |r| r.pinball_95 },
    Column { title: ".95 13-15", best: Best::Lowest, of: |r| r.pinball_95_13_15 },
    Column { title: "worst MAE", best: Best::Lowest, of: |r| r.worst_mae },
];

impl Report {
    /// One table per trace, the best value of each column marked with `*` (and, with `colour`, in green), and the
    /// comparison with the baseline over all traces. Ends with a line break.
    pub fn table(&self, colour: bool) -> String {
        let mut text = String::new();
        for (trace, rows) in self.by_trace() {
            let origins = rows.first().map_or(0, |row| row.origins);
            heading(&mut text, &self.describe(trace, origins), colour);
            grid(&mut text, rows, |row| &row.model, &COLUMNS, colour);
            text.push('\n');
        }
        if !self.summary.is_empty() {
            let n = self.traces.len();
            let of = if n == 1 { "1 trace".to_owned() } else { format!("geometric mean over {n} traces") };
            heading(&mut text, &format!("relative to {} ({of})", self.baseline), colour);
            grid(&mut text, &self.summary, |row| &row.model, &SUMMARY, colour);
        }
        let _ = writeln!(
            text,
            "\n* best of the column. MASE: absolute error in mean one-step changes before the evaluated part; \
             13-15: mean of these steps ahead;\n  pinb: pinball loss of the quantile; cover: share of values at \
             or below it, best when equal to its level. Below 1 is better than the baseline."
        );
        text
    }

    fn describe(&self, trace: &TraceInfo, origins: u64) -> String {
        let missing = match trace.missing_steps {
            0 => String::new(),
            n => format!(", {n} steps missing"),
        };
        format!(
            "{}: {} after {} to learn from{missing}; {origins} origins, every {} steps of {}, {} ahead",
            trace.name,
            length(trace.evaluated),
            length(trace.learnt),
            self.stride_steps,
            humantime::format_duration(trace.step),
            self.horizon_steps,
        )
    }
}

/// A duration in the unit in which it has at least two.
fn length(duration: Duration) -> String {
    let secs = duration.as_secs_f64();
    match secs {
        _ if secs >= 172_800.0 => format!("{:.1} days", secs / 86_400.0),
        _ if secs >= 7200.0 => format!("{:.1} h", secs / 3600.0),
        _ if secs >= 120.0 => format!("{:.1} min", secs / 60.0),
        _ => format!("{secs} s"),
    }
}

fn heading(text: &mut String, heading: &str, colour: bool) {
    let _ = if colour { writeln!(text, "\x1b[1m{heading}\x1b[0m") } else { writeln!(text, "{heading}") };
}

/// Writes rows under columns; the best of each is marked.
fn grid<R>(text: &mut String, rows: &[R], name: fn(&R) -> &str, columns: &[Column<R>], colour: bool) {
    let cells: Vec<Vec<Cell>> = columns.iter().map(|column| column_cells(rows, column)).collect();
    let lines: Vec<Vec<Cell>> = rows
        .iter()
        .enumerate()
        .map(|(i, row)| {
            let numbers = cells.iter().map(|column| column[i].clone());
            std::iter::once(Cell::plain(name(row))).chain(numbers).collect()
        })
        .collect();
    let header = std::iter::once("model").chain(columns.iter().map(|c| c.title));
    let _ = writeln!(text, "{}", render(header, &lines, colour));
}

/// The numbers of a column; the best is marked, in text too. All have as many decimals as the smallest needs
/// for three digits.
fn column_cells<R>(rows: &[R], column: &Column<R>) -> Vec<Cell> {
    let values: Vec<Option<f64>> = rows.iter().map(column.of).collect();
    let smallest = values.iter().flatten().map(|v| v.abs()).filter(|&v| v > 0.0).reduce(f64::min);
    let decimals = match (column.best, smallest) {
        (Best::Nearest(_), _) => 3,
        (Best::None, _) => 4,
        (_, Some(v)) => (2.0 - v.log10().floor()).clamp(0.0, 6.0) as usize,
        (_, None) => 0,
    };
    let distance = |value: f64| match column.best {
        Best::Lowest => Some(value),
        Best::Nearest(target) => Some((value - target).abs()),
        Best::None => None,
    };
    let best = values.iter().flatten().filter_map(|&v| distance(v)).reduce(f64::min);
    let several = rows.len() > 1;
    let cell = |value: &Option<f64>| {
        let Some(value) = value else { return Cell::plain("- ") };
        let marked = several && best.is_some() && distance(*value) == best;
        // The last place is that of the mark.
        Cell { text: format!("{value:.decimals$}{}", if marked { '*' } else { ' ' }), marked }
    };
    values.iter().map(cell).collect()
}
