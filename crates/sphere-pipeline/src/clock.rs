//! What time is it for the pipeline?
//!
//! The stages read the time here and nowhere else, so that a trace can be played faster than it was recorded:
//! on an accelerated clock a minute of pipeline time passes in a second. Every process that is given the same
//! [`Clock::accelerated`] arguments shares one time.
//!
//! Instants are UTC and may jump when an operator corrects the clock; waiting is monotonic ([`tokio::time`]).

use sphere_core::Timestamp;
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

/// The pipeline's clock. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Clock(Kind);

#[derive(Clone, Debug)]
enum Kind {
    Scaled { real_origin_ms: i64, origin_ms: i64, speed: f64 },
    Manual(Arc<AtomicI64>),
}

fn real_ms() -> i64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    i64::try_from(since.as_millis()).unwrap_or(i64::MAX)
}

impl Clock {
    /// The time of day.
    pub fn system() -> Self {
        Self(Kind::Scaled { real_origin_ms: 0, origin_ms: 0, speed: 1.0 })
    }

    /// A clock that showed `origin` at the real instant `real_origin` and runs `speed` times as fast since.
    pub fn accelerated(real_origin: Timestamp, origin: Timestamp, speed: f64) -> Self {
        let speed = if speed.is_finite() && speed > 0.0 { speed } else { 1.0 };
        Self(Kind::Scaled { real_origin_ms: real_origin.millis(), origin_ms: origin.millis(), speed })
    }

    /// A clock that moves only by [`Clock::set`], for tests.
    pub fn manual(at: Timestamp) -> Self {
        Self(Kind::Manual(Arc::new(AtomicI64::new(at.millis()))))
    }

    /// Moves a manual clock, also backwards. Other clocks are left alone.
    pub fn set(&self, at: Timestamp) {
        if let Kind::Manual(now) = &self.0 {
            now.store(at.millis(), Ordering::SeqCst);
        }
    }

    /// Now.
    pub fn now(&self) -> Timestamp {
        match &self.0 {
            Kind::Scaled { real_origin_ms, origin_ms, speed } => {
                let elapsed = real_ms().saturating_sub(*real_origin_ms);
                let passed = if *speed == 1.0 { elapsed } else { (elapsed as f64 * speed) as i64 };
                Timestamp(origin_ms.saturating_add(passed))
            }
            Kind::Manual(now) => Timestamp(now.load(Ordering::SeqCst)),
        }
    }

    /// How long `span` of this clock takes in real time.
    pub fn real(&self, span: Duration) -> Duration {
        match &self.0 {
            Kind::Scaled { speed, .. } => span.div_f64(*speed),
            Kind::Manual(_) => span,
        }
    }

    /// Waits until this clock shows `at`; returns at once if that has passed. Looks again at least every second
    /// of real time, so that a clock that jumps is noticed.
    pub async fn sleep_until(&self, at: Timestamp) {
        const LONGEST_LOOK_AWAY: Duration = Duration::from_secs(1);
        loop {
            let left = at.since(self.now());
            if left.is_zero() {
                return;
            }
            let nap = match self.0 {
                Kind::Manual(_) => Duration::from_millis(1),
                Kind::Scaled { .. } => self.real(left).min(LONGEST_LOOK_AWAY),
            };
            tokio::time::sleep(nap.max(Duration::from_micros(200))).await;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_accelerated_clock_shows_the_same_time_in_every_process() {
        let (real, origin) = (Timestamp(real_ms() - 2000), Timestamp::from_secs(1_000_000));
        let (a, b) = (Clock::accelerated(real, origin, 60.0), Clock::accelerated(real, origin, 60.0));
        let passed = a.now().since(origin);
        assert!(passed >= Duration::from_secs(120) && passed < Duration::from_secs(180), "{passed:?}");
        assert!(b.now().since(a.now()) < Duration::from_secs(6));
        assert_eq!(a.real(Duration::from_secs(60)), Duration::from_secs(1));
    }

    #[tokio::test]
    async fn sleeping_follows_a_clock_that_is_set() {
        let clock = Clock::manual(Timestamp::from_secs(0));
        let sleeper = tokio::spawn({
            let clock = clock.clone();
            async move { clock.sleep_until(Timestamp::from_secs(3600)).await }
        });
        clock.set(Timestamp::from_secs(3600));
        sleeper.await.unwrap();
    }
}
