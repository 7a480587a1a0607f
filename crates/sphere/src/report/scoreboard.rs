//! Who did how well?
//!
//! One table row per policy and start-up time. Among the rows of one start-up time the best value of each
//! column is emphasised, where "best" has a meaning. The oracle and the static fleets do not compete: they are
//! sized with knowledge of the whole trace, and one of them is always at either end.

use super::data::{Estimate, ScoreRow};
use super::page::{escape, format_like, format_number};
use std::fmt::Write;

/// Which end of a column is good.
#[derive(Clone, Copy, PartialEq)]
pub(super) enum Better {
    Lower,
    Higher,
    Neither,
}

/// One measure of the scoreboard.
pub(super) struct Column {
    group: &'static str,
    label: &'static str,
    unit: &'static str,
    explanation: &'static str,
    /// Shown when the page opens.
    essential: bool,
    better: Better,
    /// From the unit of the data to the unit shown.
    factor: f64,
    pub(super) of: fn(&ScoreRow) -> Option<Estimate>,
}

const fn column(
    group: &'static str,
    label: &'static str,
    unit: &'static str,
    explanation: &'static str,
    of: fn(&ScoreRow) -> Option<Estimate>,
) -> Column {
    Column { group, label, unit, explanation, essential: true, better: Better::Lower, factor: 1.0, of }
}

const USERS: &str = "What users see";
const COST: &str = "What it costs";
const ACTIONS: &str = "Actions";
const SPEC: &str = "SPEC elasticity";

/// All measures, in the order shown.
pub(super) const COLUMNS: [Column; 16] = [
    column(USERS, "Time over capacity", "%", "time with demand beyond ready capacity", |r| {
        r.violation_time_pct
    }),
    Column {
        essential: false,
        ..column(USERS, "Requests over capacity", "%", "requests that arrived in that time", |r| {
            r.violation_requests_pct
        })
    },
    column(USERS, "Failed", "%", "requests that failed", |r| r.failed_requests_pct),
    Column { essential: false, ..column(USERS, "p50", "ms", "median latency", |r| r.latency_p50_ms) },
    column(USERS, "p95", "ms", "95th percentile of latency", |r| r.latency_p95_ms),
    column(USERS, "p99", "ms", "99th percentile of latency", |r| r.latency_p99_ms),
    column(COST, "Pod-hours", "h", "pods paid for", |r| r.pod_hours),
    column(COST, "Against oracle", "×", "pod-hours as a multiple of the oracle's", |r| {
        r.pod_hours_vs_oracle
    }),
    Column {
        better: Better::Higher,
        factor: 100.0,
        ..column(COST, "Utilisation", "%", "demand as a share of ready capacity", |r| r.utilization)
    },
    Column {
        better: Better::Neither,
        ..column(ACTIONS, "Ups", "", "times replicas were added", |r| r.scale_ups)
    },
    Column {
        better: Better::Neither,
        ..column(ACTIONS, "Downs", "", "times replicas were removed", |r| r.scale_downs)
    },
    Column {
        essential: false,
        ..column(SPEC, "θ\u{2009}U", "%", "how much too little, on average", |r| r.theta_u)
    },
    Column {
        essential: false,
        ..column(SPEC, "θ\u{2009}O", "%", "how much too much, on average", |r| r.theta_o)
    },
    Column {
        essential: false,
        ..column(SPEC, "τ\u{2009}U", "%", "share of time with too little", |r| r.tau_u)
    },
    Column {
        essential: false,
        ..column(SPEC, "τ\u{2009}O", "%", "share of time with too much", |r| r.tau_o)
    },
    Column {
        essential: false,
        ..column(SPEC, "υ", "%", "instability: supply moves where demand does not", |r| r.instability)
    },
];

/// The whole table.
pub(super) fn table(rows: &[ScoreRow], focus: Option<&str>) -> String {
    let mut html =
        String::from("<table id=\"scoreboard\"><thead><tr class=\"groups\"><td colspan=\"2\"></td>");
    for group in COLUMNS.chunk_by(|a, b| a.group == b.group) {
        let (all, essential) = (group.len(), group.iter().filter(|column| column.essential).count());
        let class = if essential == 0 { " class=\"more\"" } else { "" };
        let name = group[0].group;
        let _ = write!(
            html,
            "<th scope=\"colgroup\" colspan=\"{all}\" data-all=\"{all}\" data-essential=\"{essential}\"{class}>{name}</th>"
        );
    }
    html.push_str("</tr><tr>");
    header(&mut html, "Policy", "", "name of the policy", true, "text");
    header(&mut html, "Start-up", "s", "time from a pod's creation to ready", true, "text");
    for column in &COLUMNS {
        header(&mut html, column.label, column.unit, column.explanation, column.essential, "num");
    }
    html.push_str("</tr></thead><tbody>");
    for (i, row) in rows.iter().enumerate() {
        let focused = focus == Some(row.policy.as_str());
        let begins_group = i > 0 && rows[i - 1].startup_s != row.startup_s;
        let class = match (focused, begins_group) {
            (true, true) => " class=\"focus begins\"",
            (true, false) => " class=\"focus\"",
            (false, true) => " class=\"begins\"",
            (false, false) => "",
        };
        let policy = escape(&row.policy);
        let startup = row.startup_s;
        let _ = write!(
            html,
            "<tr{class}><th scope=\"row\" data-sort=\"{policy}\">{policy}</th><td data-sort=\"{startup}\">{startup}</td>"
        );
        for column in &COLUMNS {
            cell(&mut html, rows, row, column);
        }
        html.push_str("</tr>");
    }
    html.push_str("</tbody></table>");
    html
}

fn header(html: &mut String, label: &str, unit: &str, explanation: &str, essential: bool, class: &str) {
    let unit = if unit.is_empty() { String::new() } else { format!(" <span class=\"unit\">{unit}</span>") };
    let more = if essential { "" } else { " more" };
    let _ = write!(
        html,
        "<th scope=\"col\" class=\"{class}{more}\" title=\"{explanation}\"><button type=\"button\">{label}{unit}</button></th>"
    );
}

fn cell(html: &mut String, rows: &[ScoreRow], row: &ScoreRow, column: &Column) {
    let more = if column.essential { "" } else { " more" };
    let Some(estimate) = (column.of)(row) else {
        let _ = write!(html, "<td class=\"num none{more}\" title=\"not measured\">–</td>");
        return;
    };
    let mean = estimate.mean * column.factor;
    let shown = format_number(mean);
    let ci = estimate.ci95_half_width.map_or_else(String::new, |half_width| {
        format!(" <span class=\"ci\">± {}</span>", format_like(half_width * column.factor, mean))
    });
    let (class, shown) =
        if is_best(rows, row, column) { (" best", format!("<strong>{shown}</strong>")) } else { ("", shown) };
    let _ = write!(html, "<td class=\"num{class}{more}\" data-sort=\"{mean}\">{shown}{ci}</td>");
}

/// Whether no rival at the same start-up time is better, and at least one is worse.
fn is_best(rows: &[ScoreRow], row: &ScoreRow, column: &Column) -> bool {
    let hindsight = |policy: &str| policy == "oracle" || policy.starts_with("static-");
    let competes = |row: &ScoreRow| column.better != Better::Neither && !hindsight(&row.policy);
    let Some(own) = (column.of)(row).filter(|_| competes(row)) else { return false };
    let rivals = rows
        .iter()
        .filter(|rival| competes(rival) && rival.startup_s == row.startup_s)
        .filter_map(|rival| (column.of)(rival))
        .map(|rival| rival.mean);
    let (mut any_worse, mut any_better) = (false, false);
    for rival in rivals {
        let (lower, higher) = (rival < own.mean, rival > own.mean);
        any_better |= if column.better == Better::Higher { higher } else { lower };
        any_worse |= if column.better == Better::Higher { lower } else { higher };
    }
    any_worse && !any_better
}

#[cfg(test)]
mod tests {
    use super::*;

    fn row(policy: &str, startup_s: f64, violation: f64) -> ScoreRow {
        let mean = |mean| Some(Estimate { mean, ci95_half_width: None });
        ScoreRow {
            policy: policy.into(),
            startup_s,
            violation_time_pct: mean(violation),
            utilization: mean(violation / 10.0),
            scale_ups: mean(violation),
            ..ScoreRow::default()
        }
    }

    #[test]
    fn the_best_of_each_start_up_time_is_emphasised_and_hindsight_does_not_compete() {
        let rows = [
            row("oracle", 30.0, 0.0),
            row("static-peak", 30.0, 0.0),
            row("a", 30.0, 1.0),
            row("b", 30.0, 2.0),
            row("c", 60.0, 0.5),
            row("d", 60.0, 1.0),
        ];
        let best = |column: &Column| -> Vec<&str> {
            rows.iter().filter(|r| is_best(&rows, r, column)).map(|r| r.policy.as_str()).collect()
        };
        assert_eq!(best(&COLUMNS[0]), ["a", "c"]);
        assert_eq!(best(&COLUMNS[8]), ["b", "d"], "more utilisation is better");
        assert!(best(&COLUMNS[9]).is_empty(), "neither end of the number of actions is good");
        assert!(best(&COLUMNS[1]).is_empty(), "nothing was measured");
    }

    #[test]
    fn what_was_not_measured_is_a_dash_and_not_zero() {
        let html = table(&[row("a", 30.0, 1.0)], Some("a"));
        assert!(html.contains("title=\"not measured\">–</td>"));
        assert!(html.contains("<tr class=\"focus\">"));
    }
}
