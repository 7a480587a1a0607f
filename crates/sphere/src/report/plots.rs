//! What do the plots need to know?
//!
//! The data of the two plots, thinned out and rounded, as JSON inside the page.

use super::ReportError;
use super::data::{Curve, ForecastBand, PolicySeries, ReportData, Series, Timeline};
use super::thin::{hold_changes, round_for_plot, thin};
use serde::Serialize;

/// Points of one series: four for each of 1,500 columns, the width of a large screen.
pub(super) const MAX_POINTS: usize = 6000;

#[derive(Serialize)]
struct PlotData<'a> {
    timeline: Option<Timeline>,
    curves: &'a [Curve],
    focus: Option<&'a str>,
}

/// The four lines of a [`ForecastBand`], each with times of its own after thinning.
#[derive(Serialize)]
struct BandLines {
    policy: String,
    lead_s: f64,
    median: Series,
    q90: Series,
    q95: Series,
    q99: Series,
}

/// JSON for a `<script type="application/json">` element: without `<`, so that no text can end the element.
pub(super) fn json(data: &ReportData) -> Result<String, ReportError> {
    let bands: Vec<BandLines> =
        data.timeline.iter().flat_map(|timeline| &timeline.policies).filter_map(band).collect();
    let plots = PlotData {
        timeline: data.timeline.as_ref().map(thin_timeline),
        curves: &data.curves,
        focus: data.focus.as_deref(),
    };
    let mut value = serde_json::to_value(plots)?;
    value["bands"] = serde_json::to_value(bands)?;
    Ok(value
        .to_string()
        .replace('<', "\\u003c")
        .replace('\u{2028}', "\\u2028")
        .replace('\u{2029}', "\\u2029"))
}

fn thin_timeline(timeline: &Timeline) -> Timeline {
    let held = |series: &Series| rounded(thin(&hold_changes(series), MAX_POINTS));
    Timeline {
        unit: timeline.unit.clone(),
        start_local_ms: timeline.start_local_ms,
        demand: rounded(thin(&timeline.demand, MAX_POINTS)),
        policies: timeline
            .policies
            .iter()
            .map(|policy| PolicySeries {
                policy: policy.policy.clone(),
                family: policy.family.clone(),
                shown: policy.shown,
                ready_capacity: held(&policy.ready_capacity),
                replicas: policy.replicas.as_ref().map(held),
                forecast: None,
            })
            .collect(),
    }
}

fn band(policy: &PolicySeries) -> Option<BandLines> {
    let ForecastBand { lead_s, time_s, median, q90, q95, q99 } = policy.forecast.as_ref()?;
    let line = |values: &Vec<Option<f64>>| {
        rounded(thin(&Series { time_s: time_s.clone(), values: values.clone() }, MAX_POINTS / 2))
    };
    Some(BandLines {
        policy: policy.policy.clone(),
        lead_s: *lead_s,
        median: line(median),
        q90: line(q90),
        q95: line(q95),
        q99: line(q99),
    })
}

fn rounded(mut series: Series) -> Series {
    for value in series.values.iter_mut().flatten() {
        *value = round_for_plot(*value);
    }
    series
}
