//! May this forecast speak about the lead time?
//!
//! An expired forecast is no forecast, one that ends too early says nothing, one that has lost its trust is
//! not listened to, and one that is about another workload or comes from the future is a mistake. The answer is
//! the step to use, or the named reason why there is none.

use sphere_core::{Forecast, Reason, StepForecast, Timestamp, Trust, WorkloadId};
use std::time::Duration;

/// Can `forecast` be meant for a decision on `workload` at `now`? `Err` is [`Reason::ForecastImplausible`].
///
/// It must not name another workload, must not have been issued more than one step (at least a second, so much
/// clocks differ) after `now`, and its steps must follow its issue and one another. Where either side names no
/// workload, that is not checked.
pub fn plausible(forecast: &Forecast, workload: Option<&WorkloadId>, now: Timestamp) -> Result<(), Reason> {
    let implausible = |detail| Err(Reason::ForecastImplausible { detail });
    if let (Some(made_for), Some(workload)) = (&forecast.workload, workload)
        && made_for != workload
    {
        return implausible(format!("it is about {made_for}"));
    }
    if comes_from_the_future(forecast.issued_at, forecast.step(), now) {
        let ahead_s = forecast.issued_at.since(now).as_secs_f64();
        return implausible(format!("it was issued {ahead_s:.0} s in the future"));
    }
    let mut last = forecast.issued_at;
    for step in &forecast.steps {
        if step.at <= last {
            return implausible("its steps do not follow one another".into());
        }
        last = step.at;
    }
    Ok(())
}

/// Was it `issued_at` an instant that can not have come yet, even where clocks differ a little?
pub fn comes_from_the_future(issued_at: Timestamp, step: Duration, now: Timestamp) -> bool {
    issued_at > now + step.max(Duration::from_secs(1))
}

/// The step of `forecast` in which `now + lead` falls: the first that ends after that instant.
///
/// `Err` is [`Reason::NoForecast`], [`Reason::ForecastImplausible`], [`Reason::ForecastExpired`],
/// [`Reason::HorizonTooShort`] or [`Reason::ForecastNotTrusted`], the first that applies in this order.
pub fn usable_step<'a>(
    forecast: Option<&'a Forecast>,
    workload: Option<&WorkloadId>,
    now: Timestamp,
    lead: Duration,
) -> Result<&'a StepForecast, Reason> {
    let forecast = forecast.ok_or(Reason::NoForecast)?;
    plausible(forecast, workload, now)?;
    if forecast.expired(now) {
        return Err(Reason::ForecastExpired { expired_s: now.since(forecast.valid_until).as_secs_f64() });
    }
    let step = forecast.at(now + lead).ok_or(Reason::HorizonTooShort { lead_s: lead.as_secs_f64() })?;
    if !forecast.trust.trusted {
        let Trust { relative_loss, because, .. } = forecast.trust;
        return Err(Reason::ForecastNotTrusted { relative_loss, because });
    }
    Ok(step)
}

#[cfg(test)]
mod tests {
    use super::*;
    use sphere_core::{Distribution, Distrust};

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
            trust: Trust {
                trusted,
                relative_loss: Some(1.5),
                because: (!trusted).then_some(Distrust::Escaped),
                coverage: None,
            },
            period: None,
        }
    }

    #[test]
    fn the_step_that_covers_the_lead_time_is_used() {
        let forecast = forecast(true);
        for (now, lead_s, step_end) in [(0, 39, 40), (0, 40, 50), (3, 40, 50), (0, 0, 10), (50, 99, 150)] {
            let step = usable_step(Some(&forecast), None, at(now), Duration::from_secs(lead_s)).unwrap();
            assert_eq!(step.at, at(step_end), "now {now}, lead {lead_s}");
        }
    }

    #[test]
    fn each_unusable_forecast_has_its_reason() {
        let (good, doubted) = (forecast(true), forecast(false));
        let lead = Duration::from_secs(40);
        let reason = |forecast, now, lead| usable_step(forecast, None, at(now), lead).unwrap_err();
        assert_eq!(reason(None, 0, lead), Reason::NoForecast);
        assert_eq!(reason(Some(&good), 61, lead), Reason::ForecastExpired { expired_s: 1.0 });
        let far = Duration::from_secs(151);
        assert_eq!(reason(Some(&good), 0, far), Reason::HorizonTooShort { lead_s: 151.0 });
        let not_trusted =
            Reason::ForecastNotTrusted { relative_loss: Some(1.5), because: Some(Distrust::Escaped) };
        assert_eq!(reason(Some(&doubted), 0, lead), not_trusted);
        // What is too old is too old, whatever else is wrong with it.
        assert_eq!(reason(Some(&doubted), 61, far).name(), "ForecastExpired");
    }

    #[test]
    fn a_forecast_from_the_future_or_about_another_workload_is_a_mistake() {
        let good = forecast(true);
        let check = |forecast: &Forecast, workload: Option<&str>, now| {
            let workload = workload.map(|w| w.parse().unwrap());
            plausible(forecast, workload.as_ref(), at(now)).map_err(|r| r.to_string())
        };
        assert_eq!(check(&good, None, 0), Ok(()));
        assert_eq!(check(&good, None, -10), Ok(()), "clocks may differ by a step");
        assert!(check(&good, None, -11).unwrap_err().contains("11 s in the future"));
        let named = Forecast { workload: Some("a/Deployment/b".parse().unwrap()), ..good.clone() };
        assert_eq!(check(&named, None, 0), Ok(()));
        assert_eq!(check(&named, Some("a/Deployment/b"), 0), Ok(()));
        assert!(check(&named, Some("a/Deployment/c"), 0).unwrap_err().contains("a/Deployment/b"));
        assert_eq!(check(&good, Some("a/Deployment/c"), 0), Ok(()));
        let mut shuffled = good;
        shuffled.steps.swap(2, 3);
        assert!(check(&shuffled, None, 0).unwrap_err().contains("follow one another"));
    }

    #[test]
    fn a_forecast_without_steps_is_too_short() {
        let empty = Forecast { steps: vec![], ..forecast(true) };
        let reason = usable_step(Some(&empty), None, at(0), Duration::ZERO).unwrap_err();
        assert_eq!(reason, Reason::HorizonTooShort { lead_s: 0.0 });
    }
}
