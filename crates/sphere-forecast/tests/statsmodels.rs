//! Do our fits explain the data as well as statsmodels' `ExponentialSmoothing`, estimated in full?
//!
//! `reference/make_fixtures.py` says how the figures were made. Ours may be better (statsmodels stops in a
//! local minimum now and then), never worse by more than 0.1 %.

use serde::Deserialize;
use sphere_forecast::fit::nonseasonal::{self, TrendKind};
use sphere_forecast::fit::seasonal::{self, SeasonKind};
use std::collections::BTreeMap;

#[derive(Deserialize)]
struct Fixtures {
    cases: Vec<Case>,
}

#[derive(Deserialize)]
struct Case {
    name: String,
    values: Vec<f64>,
    season: Option<String>,
    period: usize,
    fits: BTreeMap<String, Reference>,
}

#[derive(Deserialize)]
struct Reference {
    sse: f64,
    alpha: f64,
    beta: f64,
    gamma: f64,
    phi: f64,
    forecast: Vec<f64>,
}

fn fixtures() -> Vec<Case> {
    let text = include_str!("reference/fixtures.json");
    serde_json::from_str::<Fixtures>(text).expect("the fixture is well formed").cases
}

/// Squared errors below this are rounding: the 1e-12 part of the series, on every point.
fn rounding(values: &[f64]) -> f64 {
    values.iter().map(|v| (1e-9 * v) * (1e-9 * v)).sum::<f64>() + 1e-30
}

#[derive(Default)]
struct Tally {
    fits: usize,
    better: usize,
    worst: f64,
    agree: usize,
}

fn print_tally<K: std::fmt::Display>(tally: &BTreeMap<K, Tally>) {
    for (kind, t) in tally {
        println!(
            "{kind}: {} fits, {} better by over 0.1 %, worst {:+.4} %, {} at the same optimum",
            t.fits,
            t.better,
            100.0 * t.worst,
            t.agree
        );
    }
}

fn compare(name: &str, kind: &str, values: &[f64], sse: f64, theirs: &Reference, tally: &mut Tally) -> bool {
    let floor = rounding(values);
    let excess = (sse - floor) / theirs.sse.max(floor) - 1.0;
    tally.fits += 1;
    tally.better += usize::from(excess < -0.001);
    tally.worst = tally.worst.max(excess);
    if excess > 0.001 {
        println!(
            "{name}/{kind}: {:+.3} % ours {sse:.6e} statsmodels {:.6e} (a {:.4} b {:.4} g {:.4} phi {:.4})",
            100.0 * excess,
            theirs.sse,
            theirs.alpha,
            theirs.beta,
            theirs.gamma,
            theirs.phi
        );
    }
    excess <= 0.001
}

#[test]
fn nonseasonal_fits_are_never_worse_than_statsmodels() {
    let mut tally: BTreeMap<&str, Tally> = BTreeMap::new();
    let mut failed = 0;
    for case in fixtures().iter().filter(|c| c.season.is_none()) {
        for (kind, trend) in
            [("none", TrendKind::None), ("additive", TrendKind::Additive), ("damped", TrendKind::Damped)]
        {
            let theirs = &case.fits[kind];
            let fit = nonseasonal::fit(&case.values, trend).unwrap();
            let tally = tally.entry(kind).or_default();
            if !compare(&case.name, kind, &case.values, fit.sse, theirs, tally) {
                println!("   ours {fit:?}");
                failed += 1;
            }
            // Where both reached the same optimum, the forecasts are the same too.
            let same = (fit.sse / theirs.sse - 1.0).abs() < 1e-5
                && (fit.alpha - theirs.alpha).abs() < 0.01
                && (fit.alpha * fit.beta - theirs.alpha * theirs.beta).abs() < 0.002;
            if same {
                tally.agree += 1;
                let spread = (theirs.sse / case.values.len() as f64).sqrt();
                let (mut forecast, mut slope) = (fit.level, fit.trend);
                for (k, theirs) in theirs.forecast.iter().enumerate() {
                    slope *= fit.phi;
                    forecast += slope;
                    let off = (forecast - theirs).abs() / (spread + 1e-9 * theirs.abs());
                    assert!(
                        off < 0.05 * (k + 1) as f64,
                        "{}/{kind} step {k}: {forecast} {theirs}",
                        case.name
                    );
                }
            }
        }
    }
    print_tally(&tally);
    assert_eq!(failed, 0);
}

#[test]
fn seasonal_fits_are_never_worse_than_statsmodels() {
    let mut tally: BTreeMap<String, Tally> = BTreeMap::new();
    let mut failed = 0;
    for case in fixtures() {
        let Some(season) = &case.season else { continue };
        let season_kind = if season == "add" { SeasonKind::Additive } else { SeasonKind::Multiplicative };
        for (kind, trend) in [("none", false), ("additive", true)] {
            let theirs = &case.fits[kind];
            let fit = seasonal::fit(&case.values, season_kind, trend, case.period).unwrap();
            let label = format!("season {season}, trend {kind}");
            let tally = tally.entry(label.clone()).or_default();
            if !compare(&case.name, &label, &case.values, fit.sse, theirs, tally) {
                println!("   ours {} {} {} {}", fit.alpha, fit.beta, fit.gamma, fit.sse);
                failed += 1;
            }
            let same = (fit.sse / theirs.sse - 1.0).abs() < 1e-4
                && (fit.alpha - theirs.alpha).abs() < 0.01
                && (fit.gamma - theirs.gamma).abs() < 0.01
                && (fit.alpha * fit.beta - theirs.alpha * theirs.beta).abs() < 0.002;
            if same {
                tally.agree += 1;
                let spread = (theirs.sse / case.values.len() as f64).sqrt();
                for (k, theirs) in theirs.forecast.iter().enumerate() {
                    let base = fit.level + (k + 1) as f64 * fit.trend;
                    let season = fit.season[k % case.period];
                    let forecast =
                        if season_kind == SeasonKind::Additive { base + season } else { base * season };
                    let off = (forecast - theirs).abs() / spread;
                    assert!(
                        off < 0.2 + 0.02 * k as f64,
                        "{}/{label} step {k}: {forecast} {theirs}",
                        case.name
                    );
                }
            }
        }
    }
    print_tally(&tally);
    assert_eq!(failed, 0);
}
