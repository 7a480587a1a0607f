//! Which of several processes may act?
//!
//! One holds a `coordination.k8s.io/v1` Lease and renews it; when it stops, another takes over. Three rules keep two
//! from acting at once, whatever their clocks show:
//!
//! - A lease is taken only by compare-and-set on its resource version.
//! - It has run out when it has not been written for the stated duration *on our own monotonic clock*; times in the
//!   record are for people.
//! - The holder acts until [`LeaseTimes::renew_deadline`] after it *sent* its last successful renewal, which is before
//!   anybody else can see the lease run out.
//!
//! [`Candidate`] is all of that without I/O and without a clock; [`run`] asks the API server what it wants asked.
//! Hand-written because kube has no leader election of its own and the one crate that offers it pins another major
//! version of kube.

mod candidate;
mod runner;

pub use candidate::{Answer, Ask, Candidate, Record, Seen, Step, evaluate};
pub use runner::{Election, run};

use std::time::Duration;
use tokio::sync::watch;
use tokio::time::Instant;

/// How long things take. The defaults are those of Kubernetes' own controllers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LeaseTimes {
    /// Others wait this long after the last sign of life before they take over.
    pub duration: Duration,
    /// The holder stops acting this long after its last successful renewal was sent; less than `duration`.
    pub renew_deadline: Duration,
    /// From one renewal or look to the next; less than `renew_deadline`.
    pub retry: Duration,
}

impl Default for LeaseTimes {
    fn default() -> Self {
        Self {
            duration: Duration::from_secs(15),
            renew_deadline: Duration::from_secs(10),
            retry: Duration::from_secs(2),
        }
    }
}

impl LeaseTimes {
    /// What can not be meant, as (key, problem); empty when it can be used.
    pub fn problems(&self) -> Vec<(&'static str, String)> {
        let mut found = Vec::new();
        if self.duration < Duration::from_secs(1) || self.duration > Duration::from_secs(3600) {
            found.push(("duration", format!("{:?} given, 1 s to 1 h expected", self.duration)));
        }
        // A fifth of the lease is left for a write that was on its way, and for clocks that run at different speeds.
        if self.renew_deadline.mul_f64(1.25) > self.duration {
            found.push((
                "renew",
                format!(
                    "{:?} given; at most four fifths of the duration {:?} expected",
                    self.renew_deadline, self.duration
                ),
            ));
        }
        if self.retry.is_zero() || self.retry * 2 > self.renew_deadline {
            found.push((
                "retry",
                format!(
                    "{:?} given; above 0 and at most half of renew {:?} expected",
                    self.retry, self.renew_deadline
                ),
            ));
        }
        found
    }
}

/// May we act?
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Role {
    /// Yes, until this instant unless it is renewed.
    Leader {
        /// The end.
        until: Instant,
    },
    /// No; somebody else may, if anybody.
    Standby {
        /// Who, as far as we know.
        leader: Option<String>,
    },
}

/// The role of this process, as it changes. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Leadership(watch::Receiver<Role>);

impl Leadership {
    /// Follows an election.
    pub fn new(role: watch::Receiver<Role>) -> Self {
        Self(role)
    }

    /// Until when we may act; `None`: we may not.
    pub fn until(&self) -> Option<Instant> {
        match *self.0.borrow() {
            Role::Leader { until } if Instant::now() < until => Some(until),
            _ => None,
        }
    }

    /// Who leads, as far as we know, if it is not us.
    pub fn other(&self) -> Option<String> {
        match &*self.0.borrow() {
            Role::Standby { leader } => leader.clone(),
            Role::Leader { .. } => None,
        }
    }

    /// Waits until we lead; `false`: the election is over.
    pub async fn gained(&mut self) -> bool {
        self.0
            .wait_for(|role| matches!(role, Role::Leader { until } if Instant::now() < *until))
            .await
            .is_ok()
    }

    /// Waits until we no longer lead, be it told or by the clock.
    pub async fn lost(&mut self) {
        loop {
            let Some(until) = self.until() else { return };
            tokio::select! {
                () = tokio::time::sleep_until(until) => {}
                changed = self.0.changed() => if changed.is_err() { return },
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_that_leave_no_room_are_refused() {
        assert!(LeaseTimes::default().problems().is_empty());
        let s = Duration::from_secs;
        let keys = |duration, renew_deadline, retry| {
            let times =
                LeaseTimes { duration: s(duration), renew_deadline: s(renew_deadline), retry: s(retry) };
            times.problems().into_iter().map(|(key, _)| key).collect::<Vec<_>>()
        };
        assert_eq!(keys(15, 13, 2), ["renew"]);
        assert_eq!(keys(15, 10, 6), ["retry"]);
        assert_eq!(keys(15, 10, 0), ["retry"]);
        assert_eq!(keys(0, 0, 0), ["duration", "retry"]);
    }

    #[tokio::test(start_paused = true)]
    async fn leadership_that_is_not_renewed_ends_by_the_clock() {
        let (role, receiver) = watch::channel(Role::Standby { leader: Some("other".into()) });
        let mut leadership = Leadership::new(receiver);
        assert_eq!((leadership.until(), leadership.other().as_deref()), (None, Some("other")));
        let until = Instant::now() + Duration::from_secs(10);
        role.send_replace(Role::Leader { until });
        assert!(leadership.gained().await);
        assert_eq!(leadership.until(), Some(until));
        leadership.lost().await;
        assert_eq!(Instant::now(), until, "no sooner and no later");
        assert_eq!(leadership.until(), None);
    }
}
