//! How far may we act now?
//!
//! The owner asks for a [`Mode`]; what is in force may be lower. Without a forecast that may be used there is
//! no predictive scale-in, so `Full` steps down to `ScaleOut`, whose answer then is the reactive one: a target
//! that we scale is never left without a scaler. The kill switch and another writer stop us wholly. There is
//! no hysteresis here: trust itself is lost fast and regained slowly.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use sphere_core::{Mode, Reason, StepForecast};

/// What stands in the way of acting at all.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Obstacles<'a> {
    /// Paused by the owner.
    pub paused: bool,
    /// Another writer of the target, if one was found.
    pub conflict_with: Option<&'a str>,
    /// Whatever else whoever looks after the target found: kill switch, dry run, an unsuitable target.
    pub holds: &'a [Reason],
}

/// What is in force.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct EffectiveMode {
    /// The mode; never above the one requested.
    pub mode: Mode,
    /// May the forecast shape the number? If not, the reactive answer stands.
    pub predictive: bool,
    /// Why it is not what was requested, and whether anything will be touched.
    pub reasons: Vec<Reason>,
}

/// The mode in force, given the one `requested`, the outcome of [`super::usable_step`] and what stands in the way.
pub fn effective_mode(
    requested: Mode,
    forecast: Result<&StepForecast, &Reason>,
    obstacles: Obstacles<'_>,
) -> EffectiveMode {
    let mut reasons = Vec::new();
    let mut mode = requested;
    if let Err(reason) = forecast {
        reasons.push(reason.clone());
        mode = mode.min(Mode::ScaleOut);
    }
    if obstacles.paused {
        reasons.push(Reason::Paused);
        mode = Mode::Observe;
    }
    if let Some(owner) = obstacles.conflict_with {
        reasons.push(Reason::Conflict { owner: owner.into() });
        mode = Mode::Observe;
    }
    if !obstacles.holds.is_empty() {
        reasons.extend(obstacles.holds.iter().cloned());
        mode = Mode::Observe;
    }
    if mode == Mode::Observe {
        reasons.push(Reason::ObserveOnly);
    }
    EffectiveMode { mode, predictive: forecast.is_ok(), reasons }
}

#[cfg(test)]
mod tests {
    use super::*;
    use sphere_core::{Distribution, Timestamp};

    const ALL: [Mode; 4] = [Mode::Observe, Mode::Floor, Mode::ScaleOut, Mode::Full];

    fn step() -> StepForecast {
        StepForecast { at: Timestamp(0), demand: Distribution::new(1.0, [1.0; 17]).unwrap() }
    }

    #[test]
    fn with_a_usable_forecast_and_no_obstacle_the_request_stands() {
        for requested in ALL {
            let step = step();
            let effective = effective_mode(requested, Ok(&step), Obstacles::default());
            assert_eq!(effective.mode, requested);
            assert!(effective.predictive);
            assert_eq!(effective.reasons.is_empty(), requested != Mode::Observe);
        }
    }

    #[test]
    fn without_a_forecast_there_is_no_predictive_scale_in_but_still_a_scaler() {
        for (requested, mode) in
            ALL.into_iter().zip([Mode::Observe, Mode::Floor, Mode::ScaleOut, Mode::ScaleOut])
        {
            let effective = effective_mode(requested, Err(&Reason::NoForecast), Obstacles::default());
            assert_eq!(effective.mode, mode);
            assert!(!effective.predictive);
            assert_eq!(effective.reasons.first(), Some(&Reason::NoForecast));
        }
    }

    #[test]
    fn a_pause_another_writer_or_a_hold_stops_everything_and_is_named() {
        let step = step();
        let switch = [Reason::KillSwitch { by: "ConfigMap sphere/sphere-kill-switch".into() }];
        for (obstacles, reason) in [
            (Obstacles { paused: true, ..Obstacles::default() }, Reason::Paused),
            (
                Obstacles { conflict_with: Some("HPA/front-end"), ..Obstacles::default() },
                Reason::Conflict { owner: "HPA/front-end".into() },
            ),
            (Obstacles { holds: &switch, ..Obstacles::default() }, switch[0].clone()),
        ] {
            for requested in ALL {
                let effective = effective_mode(requested, Ok(&step), obstacles);
                assert_eq!(effective.mode, Mode::Observe);
                assert_eq!(effective.reasons, vec![reason.clone(), Reason::ObserveOnly]);
            }
        }
    }
}
