//! Do the classical models agree with their reference implementations: statsmodels, statsforecast, Prophet?
//!
//! `reference/make_classical.py` says how the figures were made. Ours may be better (the references stop in local optima now
//! and then), never worse by more than what is stated at each comparison; where both found the same optimum, the
//! forecasts are the same.

use serde::Deserialize;
use serde::de::DeserializeOwned;
use sphere_forecast::fit::arima::select::{Bounds, constant, select};
use sphere_forecast::fit::arima::{self, Effort, Order};
use sphere_forecast::fit::ets::{self, Spec};
use sphere_forecast::fit::nonseasonal::TrendKind;
use sphere_forecast::fit::prophet::{self, Settings};
use sphere_forecast::fit::seasonal::SeasonKind;
use sphere_forecast::fit::stl::mstl;
use sphere_forecast::fit::theta::{self, ThetaKind};
use std::collections::HashMap;
use std::f64::consts::{PI, TAU};

#[derive(Deserialize)]
struct Stored {
    cases: Vec<Series>,
}

#[derive(Deserialize)]
struct Series {
    name: String,
    values: Vec<f64>,
}

fn all_series() -> HashMap<String, Vec<f64>> {
    let texts = [include_str!("reference/fixtures.json"), include_str!("reference/classical/series.json")];
    let mut found = HashMap::new();
    for text in texts {
        for series in parse::<Stored>(text).cases {
            found.entry(series.name).or_insert(series.values);
        }
    }
    found
}

fn parse<T: DeserializeOwned>(text: &str) -> T {
    serde_json::from_str(text).expect("the fixture is well formed")
}

fn deviation(values: &[f64]) -> f64 {
    let n = values.len() as f64;
    let mean = values.iter().sum::<f64>() / n;
    (values.iter().map(|v| (v - mean) * (v - mean)).sum::<f64>() / n).sqrt()
}

/// Counts and prints how two implementations compare.
#[derive(Default)]
struct Tally {
    fits: usize,
    better: usize,
    same: usize,
    failed: Vec<String>,
}

impl Tally {
    /// `lead` is how much better ours is, in units of log-likelihood or alike; worse than −`slack` is a failure.
    fn add(&mut self, label: &str, lead: f64, slack: f64) -> bool {
        self.fits += 1;
        self.better += usize::from(lead > slack);
        if lead.is_nan() || lead < -slack {
            self.failed.push(format!("{label}: worse by {:.5}", -lead));
        }
        let same = lead.abs() <= slack;
        self.same += usize::from(same);
        same
    }

    fn close(&self, what: &str) {
        self.close_but(what, 0);
    }

    /// `tolerated` comparisons may be lost.
    fn close_but(&self, what: &str, tolerated: usize) {
        println!("{what}: {} compared, {} better, {} the same", self.fits, self.better, self.same);
        self.failed.iter().for_each(|f| println!("  {f}"));
        assert!(self.failed.len() <= tolerated, "{what}: {} are worse", self.failed.len());
    }

    fn forecasts(&mut self, label: &str, ours: &[f64], theirs: &[f64], unit: f64, tolerance: f64) {
        for (k, (a, b)) in ours.iter().zip(theirs).enumerate() {
            if (a - b).abs() > tolerance * unit * (k + 1) as f64 + 1e-6 * b.abs() {
                self.failed.push(format!("{label}: step {}: {a} {b}", k + 1));
                break;
            }
        }
    }
}

#[derive(Deserialize)]
struct ArimaFixture {
    cases: Vec<ArimaCase>,
    automatic: Vec<ArimaChoice>,
}

#[derive(Deserialize)]
struct ArimaCase {
    series: String,
    order: [usize; 3],
    seasonal: [usize; 4],
    exog: Vec<String>,
    log_likelihood: f64,
    forecast: Vec<f64>,
}

#[derive(Deserialize)]
struct ArimaChoice {
    series: String,
    period: usize,
    order: [usize; 3],
    seasonal: [usize; 4],
    exog: Vec<String>,
}

fn order(plain: [usize; 3], seasonal: [usize; 4]) -> Order {
    let [p, d, q] = plain;
    let [sp, sd, sq, m] = seasonal;
    if sp + sd + sq == 0 { Order::new(p, d, q) } else { Order::new(p, d, q).seasonal(sp, sd, sq, m) }
}

/// A regressor by its name, at one step.
fn regressor(name: &str, t: usize) -> f64 {
    match name {
        "one" => 1.0,
        "drift" => t as f64,
        _ => {
            let (wave, period) = name.split_once('/').expect("wave/period");
            let angle = TAU * t as f64 / period.parse::<f64>().expect("a number");
            if wave == "sin" { angle.sin() } else { angle.cos() }
        }
    }
}

#[test]
fn arima_likelihoods_are_never_below_those_of_statsmodels() {
    let series = all_series();
    let fixture: ArimaFixture = parse(include_str!("reference/classical/arima.json"));
    let mut tally = Tally::default();
    for case in &fixture.cases {
        let values = &series[&case.series];
        let order = order(case.order, case.seasonal);
        let label = format!("{} {:?} {:?}", case.series, case.order, case.seasonal);
        let columns: Vec<Vec<f64>> =
            case.exog.iter().map(|x| (0..values.len()).map(|t| regressor(x, t)).collect()).collect();
        let Some(fit) = arima::fit(values, order, &columns, Effort::FULL, None) else {
            tally.failed.push(format!("{label}: no fit"));
            continue;
        };
        if tally.add(&label, fit.log_likelihood - case.log_likelihood, 0.02) {
            let mut path = fit.path.clone();
            while path.len() < 15 {
                let next = fit.autoregression.iter().zip(path.iter().rev()).map(|(a, v)| a * v).sum();
                path.push(next);
            }
            for (k, v) in path.iter_mut().enumerate() {
                let x = case.exog.iter().map(|x| regressor(x, values.len() + k));
                *v += x.zip(&fit.beta).map(|(x, b)| x * b).sum::<f64>();
            }
            // Coefficients on a flat ridge may differ where the likelihood does not.
            tally.forecasts(&label, &path, &case.forecast, fit.variance.sqrt(), 0.05);
        }
    }
    tally.close("ARIMA");
}

#[test]
fn automatic_orders_are_no_worse_than_those_of_statsforecast() {
    let series = all_series();
    let fixture: ArimaFixture = parse(include_str!("reference/classical/arima.json"));
    let (mut tally, mut same_differences) = (Tally::default(), 0);
    for case in &fixture.automatic {
        let values = &series[&case.series];
        let theirs = order(case.order, case.seasonal);
        let Some(ours) = select(values, case.period, &[], Bounds::default()) else {
            tally.failed.push(format!("{}: no model", case.series));
            continue;
        };
        let chosen = ours.fit.order;
        if (chosen.d, chosen.seasonal_d) != (theirs.d, theirs.seasonal_d) {
            println!("{}: {chosen:?} here, {theirs:?} there", case.series);
            continue;
        }
        same_differences += 1;
        // Their orders in our likelihood: the same yardstick for both.
        let columns = if case.exog.is_empty() { vec![] } else { vec![constant(values.len(), theirs)] };
        let Some(fit) = arima::fit(values, theirs, &columns, Effort::FULL, None) else { continue };
        tally.add(&format!("{} {chosen:?} {theirs:?}", case.series), fit.aicc - ours.fit.aicc, 2.0);
    }
    assert!(4 * same_differences >= 3 * fixture.automatic.len(), "{same_differences}");
    tally.close("automatic ARIMA, AICc");
}

#[derive(Deserialize)]
struct EtsFixture {
    variants: Vec<EtsVariant>,
    automatic: Vec<EtsChoice>,
}

#[derive(Deserialize)]
struct EtsVariant {
    series: String,
    error: String,
    trend: String,
    season: String,
    log_likelihood: f64,
    forecast: Vec<f64>,
}

#[derive(Deserialize)]
struct EtsChoice {
    series: String,
    period: usize,
    model: String,
    aicc: f64,
}

fn ets_path(fit: &ets::Fit, n: usize) -> Vec<f64> {
    let (mut level, mut slope) = (fit.level, fit.trend);
    (0..n)
        .map(|k| {
            slope *= fit.phi;
            level += slope;
            match fit.spec.season {
                None => level,
                Some(SeasonKind::Additive) => level + fit.season[k % fit.season.len()],
                Some(SeasonKind::Multiplicative) => level * fit.season[k % fit.season.len()],
            }
        })
        .collect()
}

/// Steps in the season of a stored series, as its name says.
fn period_of(name: &str) -> usize {
    if name.starts_with("season") || name.starts_with("multiplicative") {
        let number = name.split([' ', ',']).nth(1).expect("a number");
        number.parse().expect("a number")
    } else {
        12
    }
}

#[test]
fn ets_likelihoods_are_never_below_those_of_statsmodels() {
    let series = all_series();
    let fixture: EtsFixture = parse(include_str!("reference/classical/ets.json"));
    let mut tally = Tally::default();
    for case in &fixture.variants {
        let values = &series[&case.series];
        let spec = Spec {
            multiplicative_error: case.error == "mul",
            trend: match case.trend.as_str() {
                "none" => TrendKind::None,
                "add" => TrendKind::Additive,
                _ => TrendKind::Damped,
            },
            season: match case.season.as_str() {
                "none" => None,
                "add" => Some(SeasonKind::Additive),
                _ => Some(SeasonKind::Multiplicative),
            },
        };
        let label = format!("{} {}", case.series, spec.name());
        let Some(fit) = ets::fit(values, spec, period_of(&case.series)) else {
            tally.failed.push(format!("{label}: no fit"));
            continue;
        };
        let lead = fit.log_likelihood - case.log_likelihood;
        let label =
            format!("{label} (α {:.4}, β {:.4}, γ {:.4}, φ {:.4})", fit.alpha, fit.beta, fit.gamma, fit.phi);
        // Forecasts are compared where both stand at the same point, not merely on the same ridge.
        if tally.add(&label, lead, 0.05) && lead.abs() < 0.005 {
            tally.forecasts(&label, &ets_path(&fit, 15), &case.forecast, deviation(values), 0.02);
        }
    }
    // Damped seasonal likelihoods have many local optima; which of them a search meets is luck for both sides.
    tally.close_but("ETS", 3);
}

#[test]
fn the_chosen_ets_is_no_worse_than_that_of_statsforecast() {
    let series = all_series();
    let fixture: EtsFixture = parse(include_str!("reference/classical/ets.json"));
    let (mut tally, mut agreed) = (Tally::default(), 0);
    for case in &fixture.automatic {
        let values = &series[&case.series];
        let Some(fit) = ets::select::select(values, case.period) else {
            tally.failed.push(format!("{}: no model", case.series));
            continue;
        };
        // Their likelihood leaves out constants.
        let n = values.len() as f64;
        let theirs = case.aicc + n * ((TAU / n).ln() + 1.0);
        let name = case.model.replace(['E', 'T', 'S', '(', ')', ','], "");
        agreed += usize::from(name == fit.spec.name());
        tally.add(&format!("{} {} {}", case.series, fit.spec.name(), case.model), theirs - fit.aicc, 1.0);
    }
    println!("the same model for {agreed} of {}", fixture.automatic.len());
    tally.close("automatic ETS, AICc");
}

#[derive(Deserialize)]
struct ThetaFixture {
    cases: Vec<ThetaCase>,
}

#[derive(Deserialize)]
struct ThetaCase {
    series: String,
    period: usize,
    kind: String,
    mse: f64,
    deseasonalised: bool,
    forecast: Vec<f64>,
}

#[test]
fn theta_errors_are_never_above_those_of_statsforecast() {
    let series = all_series();
    let fixture: ThetaFixture = parse(include_str!("reference/classical/theta.json"));
    let mut tally = Tally::default();
    for case in &fixture.cases {
        let values = &series[&case.series];
        let kind = match case.kind.as_str() {
            "STM" => ThetaKind::Standard,
            "OTM" => ThetaKind::Optimised,
            "DSTM" => ThetaKind::DynamicStandard,
            _ => ThetaKind::DynamicOptimised,
        };
        let label = format!("{} {}", case.series, case.kind);
        let pattern = theta::pattern(values, case.period);
        assert_eq!(pattern.is_some(), case.deseasonalised, "{label}");
        let season = |t: usize| pattern.as_ref().map(|p| (p.season[t % case.period], p.multiplicative));
        let rest: Vec<f64> = (0..values.len())
            .map(|t| match season(t) {
                Some((s, true)) => values[t] / s,
                Some((s, false)) => values[t] - s,
                None => values[t],
            })
            .collect();
        let fit = theta::fit(&rest, kind).expect("a fit");
        // Theirs is the sum, relative to the mean magnitude.
        let size = rest.iter().map(|v| v.abs()).sum::<f64>() / rest.len() as f64;
        let ours = fit.mse * (rest.len() - 3) as f64 / size;
        if tally.add(&label, case.mse / ours - 1.0, 1e-3) {
            let mut path = vec![0.0; 15];
            fit.state.path(&mut path);
            for (k, v) in path.iter_mut().enumerate() {
                match season(values.len() + k) {
                    Some((s, true)) => *v *= s,
                    Some((s, false)) => *v += s,
                    None => {}
                }
            }
            tally.forecasts(&label, &path, &case.forecast, deviation(values), 0.03);
        }
    }
    tally.close("theta");
}

#[derive(Deserialize)]
struct ProphetFixture {
    cases: Vec<ProphetCase>,
}

#[derive(Deserialize)]
struct ProphetCase {
    series: String,
    seasons: Vec<(usize, usize)>,
    mode: String,
    scale: f64,
    k: f64,
    m: f64,
    sigma: f64,
    delta: Vec<f64>,
    beta: Vec<f64>,
    rmse: f64,
    forecast: Vec<f64>,
}

#[test]
fn the_prophet_posterior_is_never_below_prophets() {
    let series = all_series();
    let fixture: ProphetFixture = parse(include_str!("reference/classical/prophet.json"));
    let mut tally = Tally::default();
    for case in &fixture.cases {
        let values = &series[&case.series];
        let n = values.len();
        let wave = |t: usize| -> Vec<f64> {
            let mut row = Vec::new();
            for &(period, harmonics) in &case.seasons {
                for k in 1..=harmonics {
                    let angle = 2.0 * PI * (k * t) as f64 / period as f64;
                    row.extend([angle.cos(), angle.sin()]);
                }
            }
            row
        };
        let rows: Vec<Vec<f64>> = (0..n + 15).map(wave).collect();
        let columns: Vec<Vec<f64>> =
            (0..rows[0].len()).map(|i| rows[..n].iter().map(|r| r[i]).collect()).collect();
        let multiplicative = case.mode == "multiplicative";
        let fit = prophet::fit(values, &columns, Settings { multiplicative, ..Settings::default() });
        let fit = fit.expect("a fit");
        // Their parameters in the same posterior.
        let squares = n as f64 * (case.rmse / case.scale).powi(2);
        let sum = |v: &[f64], f: fn(f64) -> f64| v.iter().map(|v| f(*v)).sum::<f64>();
        let theirs = squares / (2.0 * case.sigma * case.sigma)
            + n as f64 * case.sigma.ln()
            + (case.k * case.k + case.m * case.m) / 50.0
            + sum(&case.delta, f64::abs) / 0.05
            + sum(&case.beta, |b| b * b) / 200.0
            + 2.0 * case.sigma * case.sigma;
        if tally.add(&case.series, theirs - fit.loss, 0.1) {
            let path: Vec<f64> = (n..n + 15)
                .map(|t| {
                    let trend = fit.offset + fit.slope * t as f64;
                    let season: f64 = rows[t].iter().zip(&fit.beta).map(|(x, b)| x * b).sum();
                    if multiplicative { trend * (1.0 + season) } else { trend + season }
                })
                .collect();
            tally.forecasts(&case.series, &path, &case.forecast, case.rmse, 0.05);
        }
    }
    tally.close("Prophet");
}

#[derive(Deserialize)]
struct MstlFixture {
    cases: Vec<MstlCase>,
}

#[derive(Deserialize)]
struct MstlCase {
    series: String,
    periods: Vec<usize>,
    every: usize,
    seasons: Vec<Vec<f64>>,
    trend: Vec<f64>,
}

#[test]
fn decompositions_are_those_of_statsmodels() {
    let series = all_series();
    let fixture: MstlFixture = parse(include_str!("reference/classical/mstl.json"));
    for case in &fixture.cases {
        let values = &series[&case.series];
        let found = mstl(values, &case.periods, false).expect("long enough");
        let unit = deviation(values);
        let ours = found.seasons.iter().map(|(_, s)| s).chain([&found.trend]);
        for (ours, theirs) in ours.zip(case.seasons.iter().chain([&case.trend])) {
            for (a, b) in ours.iter().step_by(case.every).zip(theirs) {
                assert!((a - b).abs() < 1e-7 * unit, "{} {:?}: {a} {b}", case.series, case.periods);
            }
        }
        // With jumps the components move by little.
        let quick = mstl(values, &case.periods, true).expect("long enough");
        for (a, b) in quick.trend.iter().zip(&found.trend) {
            assert!((a - b).abs() < 0.1 * unit, "{} {:?}: {a} {b}", case.series, case.periods);
        }
    }
}
