//! May this forecast speak about the lead time?
//!
//! An expired forecast is no forecast, one that ends too early says nothing, one that has lost its trust is
//! not listened to. The answer is the step to use, or the named reason why there is none.

use sphere_core::{Forecast, Reason, StepForecast, Timestamp};
use std::time::Duration;

/// The step of `forecast` that covers `now + lead`: the first that ends at or after that instant.
///
/// `Err` is [`Reason::NoForecast`], [`Reason::ForecastExpired`], [`Reason::HorizonTooShort`] or
/// [`Reason::ForecastNotTrusted`], the first that applies in this order.
pub fn usable_step(
    forecast: Option<&Forecast>,
    now: Timestamp,
    lead: Duration,
) -> Result<&StepForecast, Reason> {
    let forecast = forecast.ok_or(Reason::NoForecast)?;
    if forecast.expired(now) {
        return Err(Reason::ForecastExpired { expired_s: now.since(forecast.valid_until).as_secs_f64() });
    }
    let step = forecast.at(now + lead).ok_or(Reason::HorizonTooShort { lead_s: lead.as_secs_f64() })?;
    if !forecast.trust.trusted {
        return Err(Reason::ForecastNotTrusted { relative_loss: forecast.trust.relative_loss });
    }
    Ok(step)
}

#[cfg(test)]
mod tests {
    use super::*;
    use sphere_core::{Distribution, Trust};

    fn at(seconds: i64) -> Timestamp {
        Timestamp::from_secs(1_000 + seconds)
    }

    /// Fifteen steps of ten seconds, valid for a minute.
    fn forecast(trusted: bool) -> Forecast {
        let step = |i: i64| StepForecast {
            at: at(10 * i),
            demand: Distribution::new(i as f64, [i as f64; 17]).unwrap(),
        };
        Forecast {
            workload: None,
            issued_at: at(0),
            valid_until: at(60),
            step_ms: 10_000,
            steps: (1..=15).map(step).collect(),
            model: "test".into(),
            model_version: 1,
            trust: Trust { trusted, relative_loss: Some(1.5) },
        }
    }

    #[test]
    fn the_step_that_covers_the_lead_time_is_used() {
        let forecast = forecast(true);
        for (now, lead_s, step_end) in [(0, 40, 40), (0, 41, 50), (3, 40, 50), (0, 0, 10), (50, 100, 150)] {
            let step = usable_step(Some(&forecast), at(now), Duration::from_secs(lead_s)).unwrap();
            assert_eq!(step.at, at(step_end), "now {now}, lead {lead_s}");
        }
    }

    #[test]
    fn each_unusable_forecast_has_its_reason() {
        let (good, doubted) = (forecast(true), forecast(false));
        let lead = Duration::from_secs(40);
        let reason = |forecast, now, lead| usable_step(forecast, at(now), lead).unwrap_err();
        assert_eq!(reason(None, 0, lead), Reason::NoForecast);
        assert_eq!(reason(Some(&good), 61, lead), Reason::ForecastExpired { expired_s: 1.0 });
        let far = Duration::from_secs(151);
        assert_eq!(reason(Some(&good), 0, far), Reason::HorizonTooShort { lead_s: 151.0 });
        let not_trusted = Reason::ForecastNotTrusted { relative_loss: Some(1.5) };
        assert_eq!(reason(Some(&doubted), 0, lead), not_trusted);
        // What is too old is too old, whatever else is wrong with it.
        assert_eq!(reason(Some(&doubted), 61, far).name(), "ForecastExpired");
    }

    #[test]
    fn a_forecast_without_steps_is_too_short() {
        let empty = Forecast { steps: vec![], ..forecast(true) };
        let reason = usable_step(Some(&empty), at(0), Duration::ZERO).unwrap_err();
        assert_eq!(reason, Reason::HorizonTooShort { lead_s: 0.0 });
    }
}
