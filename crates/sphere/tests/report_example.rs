//! What does a report look like? Writes one of invented figures to `target/tmp/`, to be opened in a browser.

use sphere::report::{
    Curve, CurvePoint, Estimate, ForecastBand, PolicySeries, ReportData, ScoreRow, Series, Setting, Timeline,
    write_report,
};
use std::path::Path;

const STEP_S: f64 = 10.0;
const STEPS: usize = 3 * 8640;
const POD_RPS: f64 = 10.0;

/// Three days with two peaks each, a flash crowd and some noise, requests/s.
fn demand() -> Vec<f64> {
    let mut state = 7u64;
    let mut noise = || {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (state >> 33) as f64 / f64::from(1 << 31) * 2.0 - 1.0
    };
    (0..STEPS)
        .map(|i| {
            let hour = i as f64 * STEP_S / 3600.0;
            let bump = |at: f64, width: f64| (-((hour % 24.0 - at) / width).powi(2)).exp();
            let crowd = if hour > 38.0 { 90.0 * (-(hour - 38.0) / 0.7).exp() } else { 0.0 };
            let level = 40.0 + 120.0 * bump(11.0, 2.5) + 160.0 * bump(20.0, 1.8) + crowd;
            level * (1.0 + 0.12 * noise())
        })
        .collect()
}

fn series(values: impl IntoIterator<Item = f64>) -> Series {
    let values: Vec<_> = values.into_iter().map(Some).collect();
    Series { time_s: (0..values.len()).map(|i| i as f64 * STEP_S).collect(), values }
}

/// Capacity that follows the demand `lag` steps late (early if negative), with `margin` on top.
fn follower(
    policy: &str,
    family: &str,
    demand: &[f64],
    lag: isize,
    margin: f64,
    shown: bool,
) -> PolicySeries {
    let pods: Vec<f64> = (0..demand.len())
        .map(|i| {
            let end = (i as isize - lag).clamp(1, demand.len() as isize) as usize;
            let recent = &demand[end.saturating_sub(30)..end];
            (recent.iter().copied().fold(0.0, f64::max) * margin / POD_RPS).ceil()
        })
        .collect();
    PolicySeries {
        policy: policy.into(),
        family: family.into(),
        shown,
        ready_capacity: series(pods.iter().map(|pods| pods * POD_RPS)),
        replicas: Some(series(pods)),
        forecast: None,
    }
}

fn band(demand: &[f64]) -> ForecastBand {
    let smooth: Vec<f64> =
        demand.windows(31).map(|window| window.iter().sum::<f64>() / window.len() as f64).collect();
    let quantile = |factor: f64| smooth.iter().map(|value| Some(value * factor)).collect();
    ForecastBand {
        lead_s: 60.0,
        time_s: (0..smooth.len()).map(|i| (i + 15) as f64 * STEP_S).collect(),
        median: quantile(1.0),
        q90: quantile(1.1),
        q95: quantile(1.14),
        q99: quantile(1.22),
    }
}

fn rows() -> Vec<ScoreRow> {
    // Policy, time over capacity in %, pod-hours.
    let figures = [
        ("sphere", 0.42, 1046.0),
        ("hpa-60", 3.1, 1183.0),
        ("hpa-rps-80", 2.4, 1102.0),
        ("classic", 2.9, 1340.0),
        ("cron", 1.9, 1490.0),
        ("last-week", 1.2, 1120.0),
        ("static-mean", 31.0, 1010.0),
        ("static-peak", 0.0, 3420.0),
        ("oracle", 0.0, 870.0),
    ];
    let mut rows = Vec::new();
    for startup_s in [30.0, 120.0] {
        for (policy, violation_pct, pod_hours) in figures {
            let violation_pct = violation_pct * (0.7 + startup_s / 100.0);
            let of = |mean: f64| Some(Estimate { mean, ci95_half_width: Some(mean * 0.06) });
            rows.push(ScoreRow {
                policy: policy.into(),
                startup_s,
                violation_time_pct: of(violation_pct),
                violation_requests_pct: of(violation_pct * 1.3),
                failed_requests_pct: of(violation_pct * 0.2),
                latency_p50_ms: of(21.0),
                latency_p95_ms: of(60.0 + violation_pct * 90.0),
                latency_p99_ms: (policy != "cron").then_some(()).and(of(120.0 + violation_pct * 400.0)),
                pod_hours: of(pod_hours),
                pod_hours_vs_oracle: of(pod_hours / 870.0),
                utilization: of(600.0 / pod_hours),
                scale_ups: of(140.0),
                scale_downs: of(138.0),
                theta_u: of(violation_pct * 0.4),
                theta_o: of(pod_hours / 30.0),
                tau_u: of(violation_pct),
                tau_o: of(80.0),
                instability: of(12.5),
            });
        }
    }
    rows
}

fn curves() -> Vec<Curve> {
    let family = |name: &str, default: &str, points: &[(&str, f64, f64)]| Curve {
        family: name.into(),
        points: points
            .iter()
            .map(|&(label, pod_hours, violation_time_pct)| CurvePoint {
                label: label.into(),
                pod_hours,
                violation_time_pct,
                is_default: label == default,
            })
            .collect(),
    };
    vec![
        family(
            "sphere",
            "p20",
            &[
                ("p2", 905.0, 4.4),
                ("p5", 950.0, 2.0),
                ("p10", 990.0, 1.0),
                ("p20", 1046.0, 0.42),
                ("p50", 1120.0, 0.13),
                ("p100", 1210.0, 0.05),
            ],
        ),
        family(
            "hpa",
            "60 %",
            &[
                ("90 %", 880.0, 14.0),
                ("80 %", 940.0, 8.5),
                ("70 %", 1035.0, 5.0),
                ("60 %", 1183.0, 3.1),
                ("50 %", 1390.0, 1.6),
                ("40 %", 1720.0, 0.8),
                ("30 %", 2280.0, 0.3),
            ],
        ),
        family("classic", "classic", &[("classic", 1340.0, 2.9)]),
        family("last-week", "last-week", &[("last-week", 1120.0, 1.2)]),
        family("cron", "cron", &[("cron", 1490.0, 1.9)]),
        family("static", "peak", &[("peak", 3420.0, 0.0)]),
        family("oracle", "oracle", &[("oracle", 870.0, 0.0)]),
    ]
}

fn example(start_local_ms: Option<i64>) -> ReportData {
    let demand = demand();
    let setting = |name: &str, value: &str| Setting { name: name.into(), value: value.into() };
    let mut sphere = follower("sphere", "sphere", &demand, -3, 1.12, true);
    sphere.forecast = Some(band(&demand));
    ReportData {
        title: "Example with invented figures".into(),
        summary:
            "Nothing here was measured. If it were: SPHERE spends 0.42 % of the time over capacity where the HPA at 60 % spends \
                  3.1 %, with 12 % fewer pod-hours."
                .into(),
        focus: Some("sphere".into()),
        baseline: Some("hpa-60".into()),
        settings: vec![
            setting("Trace", "shop.csv, 25,920 steps of 10 s, scale 1"),
            setting("Physics", "10 requests/s per pod, processor sharing, client time-out 5 s"),
            setting("Start-up", "30 s and 120 s"),
            setting("Seeds", "5, from 1"),
            setting("Command", "sphere simulate --trace shop.csv --seeds 5 --report report.html"),
        ],
        scoreboard: rows(),
        timeline: Some(Timeline {
            unit: "requests/s".into(),
            start_local_ms,
            policies: vec![
                sphere,
                follower("hpa-60", "hpa", &demand, 12, 1.3, true),
                follower("hpa-80", "hpa", &demand, 12, 1.0, false),
                follower("classic", "classic", &demand, 8, 1.25, false),
                follower("oracle", "oracle", &demand, -30, 1.0, false),
            ],
            demand: series(demand),
        }),
        curves: curves(),
    }
}

#[test]
fn an_example_is_written_to_look_at() {
    let folder = Path::new(env!("CARGO_TARGET_TMPDIR"));
    for (name, start_local_ms) in
        [("report-example.html", None), ("report-dated.html", Some(804_556_800_000))]
    {
        let path = folder.join(name);
        write_report(&path, &example(start_local_ms)).unwrap();
        let length = path.metadata().unwrap().len();
        assert!((1_000_000..3_500_000).contains(&length), "{length} bytes");
    }
}
