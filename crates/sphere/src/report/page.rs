//! How do the values become a page?

use super::data::{Estimate, ReportData, ScoreRow};
use super::{ReportError, plots, scoreboard};
use std::fmt::Write;

const TEMPLATE: &str = include_str!("report.html");
const STYLE: &str = include_str!("report.css");
const SCRIPT: &str = include_str!("report.js");

/// plotly.js, gzip, base64: see `build.rs`.
const LIBRARY: &str = include_str!(concat!(env!("OUT_DIR"), "/plotly.min.js.gz.base64"));

/// The report as one HTML file that needs nothing else.
///
/// # Errors
/// If `data` has numbers that are not finite, or series whose times do not rise or do not match their values.
pub fn render(data: &ReportData) -> Result<String, ReportError> {
    data.validate()?;
    let plots = plots::json(data)?;
    let settings = settings_table(data);
    let scoreboard = scoreboard::table(&data.scoreboard, data.focus.as_deref());
    let hidden = |hide: bool| if hide { "hidden" } else { "" };
    let parts = [
        ("title", escape(&data.title)),
        ("summary", escape(&data.summary)),
        ("headlines", headlines(data)),
        ("hide-timeline", hidden(data.timeline.is_none()).to_owned()),
        ("hide-curves", hidden(data.curves.is_empty()).to_owned()),
        ("hide-scoreboard", hidden(data.scoreboard.is_empty()).to_owned()),
        ("scoreboard", scoreboard),
        ("settings", settings),
        ("style", STYLE.to_owned()),
        ("data", plots),
        ("script", SCRIPT.to_owned()),
        ("library", LIBRARY.to_owned()),
    ];
    Ok(fill(TEMPLATE, &parts))
}

/// Replaces each `{{name}}` of the template in one pass, so that braces in a value stay what they are.
fn fill(template: &str, parts: &[(&str, String)]) -> String {
    let length = template.len() + parts.iter().map(|(_, text)| text.len()).sum::<usize>();
    let mut page = String::with_capacity(length);
    let mut rest = template;
    while let Some((before, after)) = rest.split_once("{{") {
        let (name, after) = after.split_once("}}").expect("the template closes what it opens");
        let (_, text) = parts.iter().find(|(part, _)| *part == name).expect("the template names known parts");
        page.push_str(before);
        page.push_str(text);
        rest = after;
    }
    page.push_str(rest);
    page
}

/// Text for an element or a quoted attribute.
pub(super) fn escape(text: &str) -> String {
    let mut escaped = String::with_capacity(text.len());
    for character in text.chars() {
        match character {
            '&' => escaped.push_str("&amp;"),
            '<' => escaped.push_str("&lt;"),
            '>' => escaped.push_str("&gt;"),
            '"' => escaped.push_str("&quot;"),
            '\'' => escaped.push_str("&#39;"),
            other => escaped.push(other),
        }
    }
    escaped
}

/// A number with two or three significant digits, or all of them before the point.
pub(super) fn format_number(value: f64) -> String {
    format_like(value, value)
}

/// `value` with the decimals that `model` is shown with, as for an error next to its mean.
pub(super) fn format_like(value: f64, model: f64) -> String {
    let size = model.abs();
    let decimals = match size {
        _ if size >= 99.95 || size == 0.0 => 0,
        _ if size >= 9.995 => 1,
        _ if size >= 0.0995 => 2,
        _ => 3,
    };
    // No minus sign for what rounds to zero.
    let text = format!("{value:.decimals$}");
    let negative_zero = text.starts_with('-') && text.bytes().all(|byte| matches!(byte, b'-' | b'0' | b'.'));
    with_thousands(if negative_zero { &text[1..] } else { &text })
}

/// `12,345.6` for `12345.6`.
fn with_thousands(number: &str) -> String {
    let (sign, digits) = number.strip_prefix('-').map_or(("", number), |digits| ("\u{2212}", digits));
    let (whole, fraction) = digits.find('.').map_or((digits, ""), |point| digits.split_at(point));
    let mut text = String::from(sign);
    for (i, digit) in whole.chars().enumerate() {
        if i > 0 && (whole.len() - i).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text.push_str(fraction);
    text
}

fn settings_table(data: &ReportData) -> String {
    let mut html = String::from("<table id=\"settings-table\"><tbody>");
    for setting in &data.settings {
        let (name, value) = (escape(&setting.name), escape(&setting.value));
        let _ = write!(html, "<tr><th scope=\"row\">{name}</th><td>{value}</td></tr>");
    }
    html.push_str("</tbody></table>");
    html
}

/// Tiles with the numbers of the focus, each compared with the baseline at the same start-up time.
fn headlines(data: &ReportData) -> String {
    let named = |name: &Option<String>, startup_s: Option<f64>| -> Option<&ScoreRow> {
        let name = name.as_deref()?;
        data.scoreboard.iter().find(|row| row.policy == name && startup_s.is_none_or(|s| row.startup_s == s))
    };
    let Some(focus) = named(&data.focus, None) else { return String::new() };
    let baseline = named(&data.baseline, Some(focus.startup_s));
    type Measure = (&'static str, &'static str, fn(&ScoreRow) -> Option<Estimate>);
    let measures: [Measure; 4] = [
        ("Time over capacity", "%", |row| row.violation_time_pct),
        ("Failed requests", "%", |row| row.failed_requests_pct),
        ("Latency, 95th percentile", "ms", |row| row.latency_p95_ms),
        ("Pod-hours", "h", |row| row.pod_hours),
    ];
    let mut tiles = String::new();
    for (label, unit, of) in measures {
        let Some(own) = of(focus) else { continue };
        let compared = match (baseline, baseline.and_then(of)) {
            (Some(row), Some(other)) => comparison(&row.policy, own.mean, other.mean, unit),
            _ => String::new(),
        };
        let shown = format_number(own.mean);
        let _ = write!(
            tiles,
            "<div class=\"tile\"><dt>{label}</dt><dd><span class=\"big\">{shown}\u{2009}<span class=\"unit\">{unit}</span></span>{compared}</dd></div>"
        );
    }
    if tiles.is_empty() {
        return tiles;
    }
    let (policy, startup) = (escape(&focus.policy), focus.startup_s);
    format!(
        "<p class=\"of\"><strong>{policy}</strong>, pods ready after {startup}\u{2009}s</p><dl class=\"tiles\">{tiles}</dl>"
    )
}

/// `hpa-60: 3.10 % (−86 %)`; all measures of the headline are better when lower.
fn comparison(policy: &str, own: f64, other: f64, unit: &str) -> String {
    let policy = escape(policy);
    let value = format_number(other);
    let change_pct = ((own - other) / other * 100.0).round();
    let change = if other == 0.0 {
        String::new()
    } else if change_pct == 0.0 {
        " <span class=\"same\">(the same)</span>".to_owned()
    } else {
        let class = if change_pct < 0.0 { "better" } else { "worse" };
        let sign = if change_pct < 0.0 { "\u{2212}" } else { "+" };
        format!(" <span class=\"{class}\">({sign}{}\u{2009}%)</span>", change_pct.abs())
    };
    format!("<span class=\"versus\">{policy}: {value}\u{2009}{unit}{change}</span>")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_have_few_digits_and_no_false_precision() {
        let shown = [
            (0.0, "0"),
            (30.0, "30.0"),
            (0.42, "0.42"),
            (0.0421, "0.042"),
            (3.21987, "3.22"),
            (32.1987, "32.2"),
            (321.987, "322"),
            (12345.6, "12,346"),
            (-0.0001, "0.000"),
            (-2.5, "\u{2212}2.50"),
        ];
        for (value, text) in shown {
            assert_eq!(format_number(value), text);
        }
        assert_eq!(format_like(0.04, 3.2), "0.04");
    }

    #[test]
    fn a_value_with_braces_is_not_expanded_again() {
        assert_eq!(fill("a {{x}} {{y}}", &[("x", "{{y}}".into()), ("y", "b".into())]), "a {{y}} b");
    }

    #[test]
    fn the_library_is_the_one_expected() {
        // The base64 form of the gzip magic bytes and method.
        assert!(LIBRARY.starts_with("H4sI"));
        assert!(LIBRARY.len() > 1_000_000);
    }
}
