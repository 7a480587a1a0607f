//! Which forecaster does a name stand for?
//!
//! Names are what users write in a spec or on the command line: `holt`, `mean-6`, `seasonal-naive-1d`,
//! `hw-add-1h@720`. [`MODELS`] lists the forms with a line of explanation and the source of each.

mod classical;

use crate::models::{
    DirectTrees, DirectTreesConfig, Gbt, GbtConfig, HoltWinters, HoltWintersConfig, LastValue, Model,
    MovingMean, Recurrent, RecurrentConfig, SeasonKind, SeasonalNaive, Smoothing, SmoothingConfig, TrendKind,
};
use crate::{AUTO, AutoConfig, AutoForecaster, Forecaster, LeadForecaster, Online, OnlineConfig};
use std::time::Duration;

/// One form of model name.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ModelInfo {
    /// The name, with what varies in angle brackets.
    pub form: &'static str,
    /// A name of this form.
    pub example: &'static str,
    /// What it does.
    pub description: &'static str,
    /// Where it comes from.
    pub source: &'static str,
}

const FPP3: &str = "Hyndman & Athanasopoulos, Forecasting: Principles and Practice, 3rd ed., 5.2";

/// All forms of names [`create`] accepts; [`build`] accepts all but `sphere` and `auto`. `<window>` is always optional: `@360` estimates on 360 values instead
/// of the default.
pub const MODELS: [ModelInfo; 28] = with_classical([
    ModelInfo { form: "last", example: "last", description: "demand stays as it is", source: FPP3 },
    ModelInfo { form: "mean-<n>", example: "mean-6", description: "mean of the last n values", source: FPP3 },
    ModelInfo {
        form: "seasonal-naive-<season>",
        example: "seasonal-naive-1d",
        description: "demand at the same time one season ago; the last value while history is shorter",
        source: FPP3,
    },
    ModelInfo {
        form: "last-week",
        example: "last-week",
        description: "same as seasonal-naive-7d",
        source: FPP3,
    },
    ModelInfo {
        form: "ses@<window>",
        example: "ses",
        description: "simple exponential smoothing, estimated on 60 values",
        source: "Brown, Statistical Forecasting for Inventory Control, 1959",
    },
    ModelInfo {
        form: "holt@<window>",
        example: "holt",
        description: "level and additive trend, estimated on 60 values",
        source: "Holt, 1957; Int. J. Forecasting 20, 2004",
    },
    ModelInfo {
        form: "damped-holt@<window>",
        example: "damped-holt",
        description: "level and damped trend, estimated on 60 values",
        source: "Gardner & McKenzie, Management Science 31, 1985",
    },
    ModelInfo {
        form: "hw-add-<season>@<window>",
        example: "hw-add-1h",
        description: "level, trend and additive season; hw-add-<season>-flat without trend",
        source: "Winters, Management Science 6, 1960",
    },
    ModelInfo {
        form: "hw-mul-<season>@<window>",
        example: "hw-mul-24",
        description: "level, trend and multiplicative season; hw-mul-<season>-flat without trend",
        source: "Winters, Management Science 6, 1960",
    },
    ModelInfo {
        form: "classic",
        example: "classic",
        description: "the founding system: holt on 60 values, first after 20, refitted every 6 steps, \
                      stale between refits; classic-fresh without the staleness",
        source: "SPHERE's founding configuration",
    },
    ModelInfo {
        form: "xgboost@<window>",
        example: "xgboost",
        description: "the founding boosted trees: 24 lags, 12 outputs, estimated on 2,000 values",
        source: "Friedman, Annals of Statistics 29, 2001; Chen & Guestrin, XGBoost, KDD 2016",
    },
    ModelInfo {
        form: "gbt@<window>",
        example: "gbt",
        description: "boosted trees on lags, rolling statistics, clock and profiles, for the median of every step; \
                      estimated on 7 days",
        source: "Ke et al., LightGBM, NeurIPS 2017; Makridakis et al., M5, Int. J. Forecasting 38, 2022",
    },
    ModelInfo {
        form: "lstm@<window>",
        example: "lstm",
        description: "a recurrent network on the last 30 values, learning a batch for every 10 new ones of 2,000 kept",
        source: "Hochreiter & Schmidhuber, Neural Computation 9, 1997",
    },
    ModelInfo {
        form: "wavelet-lstm@<window>",
        example: "wavelet-lstm",
        description: "the same on the causal Haar components of the last 32 values",
        source: "Renaud, Starck & Murtagh, Int. J. Wavelets 1, 2003",
    },
    ModelInfo {
        form: AUTO,
        example: AUTO,
        description: "smoothers, profiles, regression and a change-point level, mixed by recent loss at each lead; \
                      for any series and any horizon up to ten minutes",
        source: "ML-Poly, Gaillard, Stoltz & van Erven 2014; quantile tracking, Gibbs & Candès 2021",
    },
    ModelInfo {
        form: SPHERE,
        example: SPHERE,
        description: "each lead learnt directly from smoothed levels, daily and hourly profile; what SPHERE \
                      scales on",
        source: "recursive least squares, Ljung & Söderström 1983; variance experts, Cesa-Bianchi & Lugosi 2006",
    },
]);

/// The classical models come before the last of the others, which is what SPHERE scales on.
const fn with_classical<const N: usize, const ALL: usize>(others: [ModelInfo; N]) -> [ModelInfo; ALL] {
    let mut all = [others[0]; ALL];
    let classical = classical::CLASSICAL;
    let mut i = 0;
    while i < ALL {
        all[i] = if i + 1 < N {
            others[i]
        } else if i + 1 < N + classical.len() {
            classical[i + 1 - N]
        } else {
            others[N - 1]
        };
        i += 1;
    }
    all
}

/// The name of [`LeadForecaster`].
const SPHERE: &str = "sphere";

/// Longest season a name may ask for, steps: a year of seconds would be 250 MB.
const LONGEST_SEASON: u64 = 1 << 20;
/// Most steps ahead that networks and trees learn one by one; what lies beyond is forecast as the last of them.
const MOST_OUTPUTS: usize = 60;
/// Longest window a name may ask for, values.
const LONGEST_WINDOW: usize = 1 << 17;

/// A name that stands for no model.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "no forecaster `{name}`: {reason}; accepted are {}, where <season> is a number of steps or a duration such \
     as 30s, 5m, 1h, 1d, and @<window> is optional",
    MODELS.map(|m| m.form).join(", ")
)]
pub struct UnknownModel {
    /// As given.
    pub name: String,
    /// What is wrong with it.
    pub reason: String,
}

/// The forecaster `name` stands for, on a grid of `step`, with the default settings.
pub fn create(name: &str, step: Duration) -> Result<Box<dyn Forecaster>, UnknownModel> {
    create_with(name, OnlineConfig::new(step))
}

/// As [`create`], with settings. `sphere` learns every lead up to the horizon of `config`; it has its own rule for
/// gaps (forecasts end after 60 steps without a value) and always takes demand as not negative.
pub fn create_with(name: &str, config: OnlineConfig) -> Result<Box<dyn Forecaster>, UnknownModel> {
    if name == SPHERE {
        let horizon = u32::try_from(config.horizon).unwrap_or(u32::MAX);
        let step = Duration::from_millis(config.step_ms);
        return Ok(Box::new(LeadForecaster::for_horizon(step, horizon)));
    }
    if name == AUTO {
        return Ok(Box::new(AutoForecaster::new(auto_config(&config))));
    }
    Ok(Box::new(build(name, config)?))
}

/// What the settings all models share mean to `auto`.
fn auto_config(config: &OnlineConfig) -> AutoConfig {
    let step = Duration::from_millis(config.step_ms);
    let horizon = u32::try_from(config.horizon).unwrap_or(u32::MAX);
    AutoConfig { nonnegative: config.nonnegative, ..AutoConfig::new(step, horizon) }
}

/// As [`create_with`], as the concrete type, which can be stored and restored. For `sphere` that is
/// [`LeadForecaster`], so this function refuses the name.
pub fn build(name: &str, config: OnlineConfig) -> Result<Online<Model>, UnknownModel> {
    if name == SPHERE || name == AUTO {
        let reason = "it is no point model with calibration around it, but made by \
                      `LeadForecaster::for_horizon` or `AutoForecaster::new`";
        return Err(UnknownModel { name: name.into(), reason: reason.into() });
    }
    let model = model(name, Duration::from_millis(config.step_ms), config.horizon)
        .map_err(|reason| UnknownModel { name: name.into(), reason })?;
    Ok(Online::new(name, model, config))
}

fn model(name: &str, step: Duration, horizon: usize) -> Result<Model, String> {
    if let Some(members) = classical::members(name) {
        return classical::ensemble(&members, |member| model(member, step, horizon));
    }
    let (base, window) = match name.split_once('@') {
        Some((base, window)) => {
            let window = window.parse().map_err(|_| format!("`{window}` is not a number of values"))?;
            if !(10..=LONGEST_WINDOW).contains(&window) {
                return Err(format!("a window has 10 to {LONGEST_WINDOW} values"));
            }
            (base, Some(window))
        }
        None => (name, None),
    };
    if let Some(found) = classical::model(base, window, step) {
        return found;
    }
    let smoothing = |trend| {
        let defaults = SmoothingConfig::new(trend);
        Model::Smoothing(Smoothing::new(SmoothingConfig {
            window: window.unwrap_or(defaults.window),
            ..defaults
        }))
    };
    let seasonal = |season: &str, kind| {
        let (season, trend) = match season.strip_suffix("-flat") {
            Some(season) => (season, TrendKind::None),
            None => (season, TrendKind::Additive),
        };
        let steps = season_steps(season, step)?;
        if steps < 2 {
            return Err("a season has at least 2 steps".into());
        }
        let defaults = HoltWintersConfig::new(kind, trend, steps);
        let window = window.unwrap_or(defaults.window);
        if window < 2 * steps {
            return Err(format!("a window of {window} values holds no two seasons of {steps} steps"));
        }
        Ok(Model::HoltWinters(HoltWinters::new(HoltWintersConfig { window, ..defaults })))
    };
    let model = match base {
        "ses" => return Ok(smoothing(TrendKind::None)),
        "holt" => return Ok(smoothing(TrendKind::Additive)),
        "damped-holt" => return Ok(smoothing(TrendKind::Damped)),
        "xgboost" => {
            let config = DirectTreesConfig::founding(window.unwrap_or(2000));
            return Ok(Model::DirectTrees(Box::new(DirectTrees::new(config))));
        }
        "lstm" | "wavelet-lstm" => {
            let outputs = horizon.clamp(15, MOST_OUTPUTS);
            let defaults = match base {
                "lstm" => RecurrentConfig::lstm(outputs),
                _ => RecurrentConfig::wavelet_lstm(outputs),
            };
            let window = window.unwrap_or(defaults.window);
            let model = Recurrent::new(RecurrentConfig { window, ..defaults });
            return Ok(Model::Recurrent(Box::new(model)));
        }
        "gbt" => {
            let step_ms = u64::try_from(step.as_millis()).unwrap_or(u64::MAX);
            let defaults = GbtConfig::new(step_ms, horizon.clamp(15, MOST_OUTPUTS));
            let window = window.unwrap_or(defaults.window);
            return Ok(Model::Gbt(Box::new(Gbt::new(GbtConfig { window, ..defaults }))));
        }
        _ if base.starts_with("hw-add-") => return seasonal(&base[7..], SeasonKind::Additive),
        _ if base.starts_with("hw-mul-") => return seasonal(&base[7..], SeasonKind::Multiplicative),
        "last" => Model::Last(LastValue::default()),
        "classic" => Model::Smoothing(Smoothing::classic(true)),
        "classic-fresh" => Model::Smoothing(Smoothing::classic(false)),
        "last-week" => Model::SeasonalNaive(SeasonalNaive::new(season_steps("7d", step)?)),
        _ => {
            if let Some(n) = base.strip_prefix("mean-") {
                match n.parse() {
                    Ok(n) if (1..=LONGEST_WINDOW).contains(&n) => Model::Mean(MovingMean::new(n)),
                    _ => return Err(format!("`{n}` is not a number of values from 1 to {LONGEST_WINDOW}")),
                }
            } else if let Some(season) = base.strip_prefix("seasonal-naive-") {
                Model::SeasonalNaive(SeasonalNaive::new(season_steps(season, step)?))
            } else {
                return Err("not a known name".into());
            }
        }
    };
    if window.is_some() { Err(format!("`{base}` has no window")) } else { Ok(model) }
}

/// A season in steps: a plain number, or a duration that is a whole number of steps.
fn season_steps(text: &str, step: Duration) -> Result<usize, String> {
    let steps = if let Ok(steps) = text.parse::<u64>() {
        steps
    } else {
        let season_ms = parse_duration_ms(text).ok_or_else(|| {
            format!("`{text}` is neither a number of steps nor a duration such as 30s, 5m, 1h, 1d")
        })?;
        let step_ms = step.as_millis().max(1);
        if u128::from(season_ms) % step_ms != 0 {
            return Err(format!("{text} is no whole number of {} s steps", step.as_secs_f64()));
        }
        u64::try_from(u128::from(season_ms) / step_ms).unwrap_or(u64::MAX)
    };
    if !(1..=LONGEST_SEASON).contains(&steps) {
        return Err(format!("a season has 1 to {LONGEST_SEASON} steps, this one {steps}"));
    }
    Ok(steps as usize)
}

/// Milliseconds in `1d`, `90s`, `1h30m`, `500ms`; `None` for anything else.
fn parse_duration_ms(text: &str) -> Option<u64> {
    let mut rest = text;
    let mut total = 0u64;
    while !rest.is_empty() {
        let digits = rest.find(|c: char| !c.is_ascii_digit())?;
        let number: u64 = rest[..digits].parse().ok()?;
        rest = &rest[digits..];
        let letters = rest.find(|c: char| c.is_ascii_digit()).unwrap_or(rest.len());
        let unit = match &rest[..letters] {
            "ms" => 1,
            "s" => 1000,
            "m" | "min" => 60_000,
            "h" => 3_600_000,
            "d" => 86_400_000,
            "w" => 604_800_000,
            _ => return None,
        };
        rest = &rest[letters..];
        total = total.checked_add(number.checked_mul(unit)?)?;
    }
    (!text.is_empty()).then_some(total)
}

#[cfg(test)]
mod tests {
    use super::*;

    const STEP: Duration = Duration::from_secs(10);

    #[test]
    fn every_listed_example_can_be_created_and_keeps_its_name() {
        for info in MODELS {
            assert_eq!(create(info.example, STEP).unwrap().name(), info.example);
        }
        for name in ["hw-add-12-flat", "ses@360", "hw-mul-1m@100", "classic-fresh", "seasonal-naive-1h30m"] {
            assert_eq!(create(name, STEP).unwrap().name(), name);
        }
    }

    #[test]
    fn sphere_is_created_for_the_horizon_asked_for() {
        let config = OnlineConfig { horizon: 40, ..OnlineConfig::new(STEP) };
        let mut sphere = create_with("sphere", config.clone()).unwrap();
        let mut out = Vec::new();
        // A ramp: the longer the lead that is learnt, the higher its forecast.
        for i in 0..2000 {
            sphere.observe(sphere_core::Timestamp::from_secs(10 * i), 100.0 + i as f64);
        }
        sphere.distributions(40, &mut out).unwrap();
        assert!(out[39].mean() > out[14].mean() + 10.0, "{} {}", out[39].mean(), out[14].mean());
        assert!(build("sphere", config).unwrap_err().reason.contains("LeadForecaster"));
    }

    #[test]
    fn an_unknown_name_is_answered_with_what_is_accepted() {
        let error = build("hotl", OnlineConfig::new(STEP)).unwrap_err().to_string();
        for info in MODELS {
            assert!(error.contains(info.form), "{error}");
        }
    }

    #[test]
    fn names_that_make_no_sense_are_refused_with_the_reason() {
        for (name, reason) in [
            ("mean-0", "number of values"),
            ("mean-x", "number of values"),
            ("seasonal-naive-7s", "whole number"),
            ("seasonal-naive-1y", "neither"),
            ("seasonal-naive-0", "1 to"),
            ("seasonal-naive-999999d", "1 to"),
            ("hw-add-1", "at least 2"),
            ("hw-add-60@100", "no two seasons"),
            ("last@60", "no window"),
            ("holt@5", "10 to"),
            ("holt@many", "not a number"),
            ("", "not a known name"),
        ] {
            let error = build(name, OnlineConfig::new(STEP)).unwrap_err();
            assert!(error.reason.contains(reason), "{name}: {}", error.reason);
        }
    }

    #[test]
    fn durations_and_steps_name_the_same_season() {
        let by_time = model("seasonal-naive-7d", STEP, 15).unwrap();
        assert_eq!(by_time, model("seasonal-naive-60480", STEP, 15).unwrap());
        assert_eq!(by_time, model("last-week", STEP, 15).unwrap());
        assert_eq!(parse_duration_ms("1h30m"), Some(5_400_000));
        assert_eq!(parse_duration_ms("h"), None);
        assert_eq!(parse_duration_ms("5"), None);
    }
}
