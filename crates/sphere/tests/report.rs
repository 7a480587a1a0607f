//! Does a report hold together, whatever its data?
#![allow(clippy::unwrap_used, reason = "a failing test is the message")]

use sphere::report::{
    Curve, CurvePoint, Estimate, ForecastBand, PolicySeries, ReportData, ReportError, ScoreRow, Series,
    Setting, Timeline, render, write_report,
};

const HOSTILE: &str = "</script><script>alert('\"&\u{2028}')</script><!-- {{library}}";

fn minimal() -> ReportData {
    ReportData {
        title: "t".into(),
        scoreboard: vec![ScoreRow { policy: "sphere".into(), ..ScoreRow::default() }],
        timeline: Some(Timeline {
            demand: Series { time_s: vec![0.0, 10.0], values: vec![Some(1.0), None] },
            ..Timeline::default()
        }),
        ..ReportData::default()
    }
}

fn hostile() -> ReportData {
    let series = Series { time_s: vec![0.0], values: vec![Some(1.0)] };
    let name = HOSTILE.to_owned();
    ReportData {
        title: name.clone(),
        summary: name.clone(),
        focus: Some(name.clone()),
        baseline: Some(name.clone()),
        settings: vec![Setting { name: name.clone(), value: name.clone() }],
        scoreboard: vec![ScoreRow {
            policy: name.clone(),
            pod_hours: Some(Estimate { mean: 2.0, ci95_half_width: None }),
            ..ScoreRow::default()
        }],
        timeline: Some(Timeline {
            unit: name.clone(),
            start_local_ms: None,
            demand: series.clone(),
            policies: vec![PolicySeries {
                policy: name.clone(),
                family: name.clone(),
                ready_capacity: series,
                ..PolicySeries::default()
            }],
        }),
        curves: vec![Curve {
            family: name.clone(),
            points: vec![CurvePoint {
                label: name,
                pod_hours: 1.0,
                violation_time_pct: 1.0,
                is_default: true,
            }],
        }],
    }
}

/// The data script of a page.
fn embedded_json(page: &str) -> serde_json::Value {
    let (_, rest) = page.split_once("<script type=\"application/json\" id=\"data\">").unwrap();
    serde_json::from_str(rest.split_once("</script>").unwrap().0).unwrap()
}

#[test]
fn no_text_breaks_out_of_its_place() {
    let count = |page: &str, text: &str| page.to_lowercase().matches(text).count();
    let (harmless, page) = (render(&minimal()).unwrap(), render(&hostile()).unwrap());
    for markup in ["<script", "</script", "<!--", "id=\"library\""] {
        assert_eq!(count(&page, markup), count(&harmless, markup), "{markup}");
    }
    assert!(!page.contains(HOSTILE));
    assert!(page.contains("&lt;/script&gt;&lt;script&gt;alert(&#39;&quot;&amp;"));
    // To be opened in a browser as well: no alert may show.
    let folder = std::path::Path::new(env!("CARGO_TARGET_TMPDIR"));
    write_report(&folder.join("report-hostile.html"), &hostile()).unwrap();
    write_report(&folder.join("report-empty.html"), &ReportData::default()).unwrap();
    let data = embedded_json(&page);
    assert_eq!(data["curves"][0]["family"], HOSTILE, "the plot gets the text as it was");
}

#[test]
fn a_page_asks_the_network_for_nothing() {
    let page = render(&hostile()).unwrap();
    let without_library = page.split_once("id=\"library\">").unwrap().0;
    for request in ["src=", "href=", "url(", "@import", "fetch(", "https://"] {
        assert!(!without_library.contains(request), "{request}");
    }
    assert!(page.contains("default-src 'none'"));
}

#[test]
fn long_series_are_thinned_out_and_keep_their_peak() {
    let mut data = minimal();
    let mut values = vec![Some(1.0); 300_000];
    values[123_456] = Some(999.0);
    let series = Series { time_s: (0..300_000).map(|i| f64::from(i) * 10.0).collect(), values };
    let timeline = data.timeline.as_mut().unwrap();
    timeline.demand = series.clone();
    timeline.policies.push(PolicySeries {
        policy: "sphere".into(),
        family: "sphere".into(),
        shown: true,
        ready_capacity: series.clone(),
        replicas: Some(series.clone()),
        forecast: Some(ForecastBand {
            lead_s: 60.0,
            time_s: series.time_s.clone(),
            median: series.values.clone(),
            q90: series.values.clone(),
            q95: series.values.clone(),
            q99: series.values,
        }),
    });
    let json = embedded_json(&render(&data).unwrap());
    let policy = &json["timeline"]["policies"][0];
    let all = [
        &json["timeline"]["demand"],
        &policy["ready_capacity"],
        &policy["replicas"],
        &json["bands"][0]["q99"],
    ];
    for series in all {
        let values = series["values"].as_array().unwrap();
        assert!(values.len() <= 6000);
        assert!(values.iter().any(|value| value == 999.0));
    }
}

#[test]
fn inconsistent_data_is_refused_and_named() {
    let with = |change: fn(&mut ReportData)| {
        let mut data = minimal();
        change(&mut data);
        render(&data).unwrap_err()
    };
    assert!(matches!(
        with(|data| data.timeline.as_mut().unwrap().demand.time_s.push(20.0)),
        ReportError::Lengths { times: 3, values: 2, .. }
    ));
    assert!(matches!(
        with(|data| data.timeline.as_mut().unwrap().demand.time_s[1] = 0.0),
        ReportError::TimeNotRising { .. }
    ));
    assert!(matches!(
        with(|data| data.timeline.as_mut().unwrap().demand.values[0] = Some(f64::NAN)),
        ReportError::NotFinite { .. }
    ));
    let infinite = Some(Estimate { mean: f64::INFINITY, ci95_half_width: None });
    let mut data = minimal();
    data.scoreboard[0].tau_o = infinite;
    assert!(render(&data).unwrap_err().to_string().contains("sphere"));
}

#[test]
fn a_report_without_plots_or_rows_is_still_a_page() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("report.html");
    write_report(&path, &ReportData { title: "Nothing yet".into(), ..ReportData::default() }).unwrap();
    assert!(std::fs::read_to_string(&path).unwrap().contains("<h1>Nothing yet</h1>"));
}

#[test]
fn report_data_survives_json() {
    let data = hostile();
    let json = serde_json::to_string(&data).unwrap();
    assert_eq!(serde_json::from_str::<ReportData>(&json).unwrap(), data);
    assert!(serde_json::from_str::<ReportData>(r#"{"title": "x", "colour": 1}"#).is_err());
}
