//! Which names stand for the classical statistical models and their ensembles?

use super::{FPP3, LONGEST_WINDOW, ModelInfo, season_steps};
use crate::fit::arima::Order;
use crate::models::{
    ArimaConfig, ArimaFit, Ensemble, EtsFit, FoundingFit, MOST_MEMBERS, Model, MstlFit, ProphetConfig,
    ProphetFit, Season, ThetaFit, WindowConfig,
};
use std::time::Duration;

/// Forms of these names.
pub(super) const CLASSICAL: [ModelInfo; 12] = [
    ModelInfo {
        form: "ets@<window>",
        example: "ets",
        description: "exponential smoothing, the kind of error and trend chosen by AICc",
        source: "Hyndman, Koehler, Snyder & Grose, Int. J. Forecasting 18, 2002",
    },
    ModelInfo {
        form: "ets-<season>@<window>",
        example: "ets-12",
        description: "exponential smoothing, the kind of error, trend and season chosen by AICc",
        source: "Hyndman, Koehler, Snyder & Grose, Int. J. Forecasting 18, 2002",
    },
    ModelInfo {
        form: "arima@<window>",
        example: "arima",
        description: "ARIMA, orders found stepwise by AICc and unit-root tests",
        source: "Hyndman & Khandakar, Journal of Statistical Software 27, 2008",
    },
    ModelInfo {
        form: "arima-<p>-<d>-<q>@<window>",
        example: "arima-1-1-1",
        description: "ARIMA of these orders, exact maximum likelihood on 60 values; arima-1-1-1 is the founding system's",
        source: "Box & Jenkins, Time Series Analysis, 1970",
    },
    ModelInfo {
        form: "sarima-<season>@<window>",
        example: "sarima-12",
        description: "seasonal ARIMA, orders found stepwise; sarima-<p>-<d>-<q>-<P>-<D>-<Q>-<season> with given ones",
        source: "Hyndman & Khandakar, Journal of Statistical Software 27, 2008",
    },
    ModelInfo {
        form: "sarimax-<seasons>@<window>",
        example: "sarimax-1h",
        description: "regression on Fourier terms of hour, day, week (joined by +) with ARIMA errors, orders found",
        source: "Hyndman & Athanasopoulos, Forecasting: Principles and Practice, 3rd ed., 10.5 and 12.1",
    },
    ModelInfo {
        form: "theta@<window>",
        example: "theta",
        description: "theta method, standard, optimised or dynamic, whichever fits best; theta-<season> with a season",
        source: "Fiorucci et al., Int. J. Forecasting 32, 2016",
    },
    ModelInfo {
        form: "prophet@<window>",
        example: "prophet",
        description: "line that may bend, at its most probable; as the founding system had it, on 60 values",
        source: "Taylor & Letham, The American Statistician 72, 2018",
    },
    ModelInfo {
        form: "prophet-<seasons>@<window>",
        example: "prophet-5m",
        description: "line that may bend, and smooth seasons, joined by +",
        source: "Taylor & Letham, The American Statistician 72, 2018",
    },
    ModelInfo {
        form: "mstl-<seasons>@<window>",
        example: "mstl-1m",
        description: "one or several seasons (joined by +) taken apart by local regression, damped smoothing of the rest",
        source: "Bandara, Hyndman & Bergmeir, 2021; Cleveland et al., Journal of Official Statistics 6, 1990",
    },
    ModelInfo {
        form: "prophet-arima",
        example: "prophet-arima",
        description: "the founding system's ensemble: priors and orders searched, weights by errors on the last fifth",
        source: "SPHERE's founding configuration",
    },
    ModelInfo {
        form: "ensemble(<models>)",
        example: "ensemble(ses,damped-holt,theta)",
        description: "2 to 8 models, separated by , or ; and weighted by their recent errors",
        source: FPP3,
    },
];

/// Longest season of a seasonal ARIMA: its state has a number for each step of it, and a fit its square.
const LONGEST_ARIMA_SEASON: usize = 720;
/// Largest order a name may ask for, and most differences.
const LARGEST_ORDER: usize = 8;
const MOST_DIFFERENCES: usize = 2;
/// Harmonics of a calendar season.
const HARMONICS: usize = 5;

/// The model that `base` stands for; `None` when the name is none of these.
pub(super) fn model(base: &str, window: Option<usize>, step: Duration) -> Option<Result<Model, String>> {
    let (family, rest) = match base.split_once('-') {
        Some((family, rest)) => (family, Some(rest)),
        None => (base, None),
    };
    let build = match family {
        "ets" => ets,
        "arima" => arima,
        "sarima" => sarima,
        "sarimax" => sarimax,
        "theta" => theta,
        "prophet" => prophet,
        "mstl" => mstl,
        _ => return None,
    };
    Some(build(rest, window, step))
}

/// The members of `ensemble(…)`, if `name` is of that form.
pub(super) fn members(name: &str) -> Option<Vec<&str>> {
    let inside = name.strip_prefix("ensemble(")?.strip_suffix(')')?;
    Some(inside.split([',', ';']).map(str::trim).collect())
}

/// The ensemble of `names`.
pub(super) fn ensemble(
    names: &[&str],
    build: impl Fn(&str) -> Result<Model, String>,
) -> Result<Model, String> {
    if !(2..=MOST_MEMBERS).contains(&names.len()) {
        return Err(format!("an ensemble has 2 to {MOST_MEMBERS} members, this one {}", names.len()));
    }
    let mut models = Vec::with_capacity(names.len());
    for (i, name) in names.iter().enumerate() {
        if name.starts_with("ensemble") {
            return Err("an ensemble can not be a member of another".into());
        }
        if names[..i].contains(name) {
            return Err(format!("member `{name}` is there twice"));
        }
        models.push(build(name).map_err(|reason| format!("member `{name}`: {reason}"))?);
    }
    Ok(Model::Ensemble(Box::new(Ensemble::new(models))))
}

/// A window of the size asked for or of `default` values.
fn windowed(window: Option<usize>, default: usize, first: usize) -> Result<WindowConfig, String> {
    let window = window.unwrap_or(default);
    if window > LONGEST_WINDOW {
        return Err(format!("it would need a window of {window} values, at most {LONGEST_WINDOW} are kept"));
    }
    Ok(WindowConfig::new(window, first))
}

fn season(text: &str, step: Duration) -> Result<usize, String> {
    let steps = season_steps(text, step)?;
    if steps < 2 { Err("a season has at least 2 steps".into()) } else { Ok(steps) }
}

fn seasons(text: &str, step: Duration) -> Result<Vec<usize>, String> {
    let found: Vec<usize> = text.split('+').map(|s| season(s, step)).collect::<Result<_, _>>()?;
    if found.len() > 3 {
        return Err(format!("at most 3 seasons, {} given", found.len()));
    }
    Ok(found)
}

fn longest(seasons: &[usize]) -> usize {
    seasons.iter().copied().max().unwrap_or(0)
}

fn holds_two(window: &WindowConfig, period: usize) -> Result<(), String> {
    if window.window < 2 * period {
        return Err(format!("a window of {} values holds no two seasons of {period} steps", window.window));
    }
    Ok(())
}

fn ets(rest: Option<&str>, window: Option<usize>, step: Duration) -> Result<Model, String> {
    let period = rest.map_or(Ok(0), |text| season(text, step))?;
    let window = windowed(window, (if period > 48 { 3 * period } else { 4 * period }).max(60), 10)?;
    holds_two(&window, period)?;
    Ok(Model::Ets(Box::new(EtsFit::online(period, window))))
}

fn theta(rest: Option<&str>, window: Option<usize>, step: Duration) -> Result<Model, String> {
    let period = rest.map_or(Ok(0), |text| season(text, step))?;
    let window = windowed(window, (4 * period).max(60), 10)?;
    holds_two(&window, period)?;
    Ok(Model::Theta(Box::new(ThetaFit::online(period, window))))
}

fn orders(text: &[&str]) -> Result<Vec<usize>, String> {
    let mut found = Vec::with_capacity(text.len());
    for (i, order) in text.iter().enumerate() {
        let most = if i % 3 == 1 { MOST_DIFFERENCES } else { LARGEST_ORDER };
        match order.parse() {
            Ok(order) if order <= most => found.push(order),
            _ => return Err(format!("`{order}` is not an order from 0 to {most}")),
        }
    }
    Ok(found)
}

fn arima(rest: Option<&str>, window: Option<usize>, _step: Duration) -> Result<Model, String> {
    let (config, window) = if let Some(text) = rest {
        let parts: Vec<&str> = text.split('-').collect();
        let [p, d, q] = orders(&parts)?[..] else {
            return Err("orders are three numbers, as in arima-1-1-1".into());
        };
        (ArimaConfig::fixed(Order::new(p, d, q)), windowed(window, 60, 20)?)
    } else {
        (ArimaConfig::automatic(0), windowed(window, 120, 20)?)
    };
    Ok(Model::Arima(Box::new(ArimaFit::online(config, window))))
}

fn sarima(rest: Option<&str>, window: Option<usize>, step: Duration) -> Result<Model, String> {
    let text = rest.ok_or("a season must follow, as in sarima-12")?;
    let parts: Vec<&str> = text.split('-').collect();
    let period = season(parts[parts.len() - 1], step)?;
    if period > LONGEST_ARIMA_SEASON {
        return Err(format!(
            "a season of {period} steps; at most {LONGEST_ARIMA_SEASON} here, sarimax-<season> has smooth longer ones"
        ));
    }
    let config = match orders(&parts[..parts.len() - 1])?[..] {
        [] => ArimaConfig::automatic(period),
        [p, d, q, sp, sd, sq] if sp.max(sq) <= 2 && sd <= 1 => {
            ArimaConfig::fixed(Order::new(p, d, q).seasonal(sp, sd, sq, period))
        }
        _ => return Err("orders are p-d-q-P-D-Q with P, Q up to 2 and D up to 1, or none".into()),
    };
    let window = windowed(window, (5 * period).max(60), 20)?;
    holds_two(&window, period)?;
    Ok(Model::Arima(Box::new(ArimaFit::online(config, window))))
}

fn sarimax(rest: Option<&str>, window: Option<usize>, step: Duration) -> Result<Model, String> {
    let periods = seasons(rest.ok_or("a season must follow, as in sarimax-1d")?, step)?;
    let window = windowed(window, (2 * longest(&periods)).max(120), 20)?;
    let calendar = periods.iter().map(|&p| Season::new(p, HARMONICS)).collect();
    let config = ArimaConfig { calendar, largest_order: 3, ..ArimaConfig::automatic(0) };
    Ok(Model::Arima(Box::new(ArimaFit::online(config, window))))
}

fn prophet(rest: Option<&str>, window: Option<usize>, step: Duration) -> Result<Model, String> {
    if rest == Some("arima") {
        if window.is_some() {
            return Err("`prophet-arima` has no window".into());
        }
        let hour = season_steps("1h", step).unwrap_or(0);
        return Ok(Model::Founding(Box::new(FoundingFit::online(hour))));
    }
    let periods = rest.map_or(Ok(Vec::new()), |text| seasons(text, step))?;
    let window = windowed(window, (3 * longest(&periods)).max(60), 20)?;
    let seasons = periods.iter().map(|&p| Season::new(p, HARMONICS)).collect();
    let config = ProphetConfig { seasons, ..ProphetConfig::default() };
    Ok(Model::Prophet(Box::new(ProphetFit::online(config, window))))
}

fn mstl(rest: Option<&str>, window: Option<usize>, step: Duration) -> Result<Model, String> {
    let periods = seasons(rest.ok_or("a season must follow, as in mstl-1h or mstl-1h+1d")?, step)?;
    let window = windowed(window, (3 * longest(&periods)).max(60), 20)?;
    // Strictly more than two periods are needed for a decomposition.
    holds_two(&window, longest(&periods))?;
    Ok(Model::Mstl(Box::new(MstlFit::online(periods, window))))
}

#[cfg(test)]
mod tests {
    use super::super::{build, create};
    use crate::OnlineConfig;
    use std::time::Duration;

    const STEP: Duration = Duration::from_secs(10);

    #[test]
    fn every_form_can_be_written_in_all_its_ways() {
        for name in [
            "ets@100",
            "ets-1m",
            "arima@300",
            "arima-0-1-2",
            "arima-3-0-0@90",
            "sarima-6",
            "sarima-1-0-1-0-1-1-6",
            "sarimax-1h+1d",
            "theta-6",
            "prophet-1h+1d",
            "mstl-30s+5m",
            "ensemble(last;holt@30,ets)",
            "ensemble(prophet-arima, mstl-1m+5m)",
        ] {
            assert_eq!(create(name, STEP).unwrap().name(), name);
        }
    }

    #[test]
    fn names_that_make_no_sense_are_refused_with_the_reason() {
        for (name, reason) in [
            ("arima-1-1", "three numbers"),
            ("arima-1-3-1", "from 0 to 2"),
            ("arima-9-1-1", "from 0 to 8"),
            ("sarima", "season must follow"),
            ("sarima-1d", "at most 720"),
            ("sarima-1-1-1-3-0-0-6", "P, Q up to 2"),
            ("sarimax", "season must follow"),
            ("ets-1", "at least 2"),
            ("ets-60@100", "no two seasons"),
            ("mstl", "season must follow"),
            ("mstl-1+2+3+4", "at least 2"),
            ("mstl-7d", "at most"),
            ("prophet-arima@60", "no window"),
            ("ensemble(last)", "2 to 8"),
            ("ensemble(last,last)", "twice"),
            ("ensemble(last,ensemble(ses,holt))", "member of another"),
            ("ensemble(last,hotl)", "member `hotl`"),
            ("ensemble(last,sphere)", "member `sphere`"),
        ] {
            let error = build(name, OnlineConfig::new(STEP)).unwrap_err();
            assert!(error.reason.contains(reason), "{name}: {}", error.reason);
        }
    }
}
