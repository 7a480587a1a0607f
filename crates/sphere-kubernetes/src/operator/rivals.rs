//! Does somebody else keep changing the size we set?
//!
//! A person who scales once is not a rival, and the next decision starts from his size. Somebody who does it again and
//! again (GitOps with `replicas` in the manifest, another autoscaler that nobody declared) is: then we keep our hands off
//! for a while, which grows as long as he goes on, and come back by ourselves when it has been quiet.

use sphere_core::Timestamp;
use std::collections::VecDeque;
use std::time::Duration;

/// How much is too much.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RivalLimits {
    /// This many changes by others…
    pub changes: usize,
    /// …within this time make a rival.
    pub window: Duration,
    /// Hands off for this long at first, counted from his last change; doubled every time.
    pub first_pause: Duration,
    /// And for this long at most. As much quiet after a pause, and all is forgotten.
    pub longest_pause: Duration,
}

impl Default for RivalLimits {
    fn default() -> Self {
        Self {
            changes: 3,
            // Argo CD looks every three minutes when it is not told of changes.
            window: Duration::from_secs(600),
            first_pause: Duration::from_secs(300),
            longest_pause: Duration::from_secs(3600),
        }
    }
}

/// What is known of others who change one target.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Rivals {
    /// The size we left or found.
    expected: Option<u32>,
    /// A size we ordered without having heard what became of it.
    perhaps: Option<u32>,
    /// When others changed it, within the window.
    changes: VecDeque<Timestamp>,
    /// What they last made of it.
    theirs: Option<(u32, u32)>,
    pause: Option<Duration>,
    until: Option<Timestamp>,
}

impl Rivals {
    /// The target asks for `size` now.
    pub fn see(&mut self, now: Timestamp, size: u32, limits: &RivalLimits) {
        let Some(expected) = self.expected.replace(size) else { return };
        if size == expected || self.perhaps == Some(size) {
            if size != expected {
                self.perhaps = None;
            }
            self.forget(now, limits);
            return;
        }
        self.perhaps = None;
        self.theirs = Some((expected, size));
        self.changes.push_back(now);
        self.changes.retain(|at| now.since(*at) < limits.window);
        if self.held(now) {
            self.until = self.pause.map(|pause| now + pause);
        } else if self.changes.len() >= limits.changes {
            let pause = self.pause.map_or(limits.first_pause, |pause| pause * 2).min(limits.longest_pause);
            (self.pause, self.until) = (Some(pause), Some(now + pause));
            self.changes.clear();
        }
    }

    /// We are about to order `size`.
    pub fn intend(&mut self, size: u32) {
        self.perhaps = Some(size);
    }

    /// The order was carried out.
    pub fn wrote(&mut self, size: u32) {
        (self.expected, self.perhaps) = (Some(size), None);
    }

    /// Are our hands off?
    pub fn held(&self, now: Timestamp) -> bool {
        self.until.is_some_and(|until| now < until)
    }

    /// Whom to name, and until when we wait, while our hands are off.
    pub fn rival(&self, now: Timestamp) -> Option<String> {
        let until = self.until.filter(|until| now < *until)?;
        let (from, to) = self.theirs?;
        Some(format!(
            "somebody who keeps changing the size (last from {from} to {to}; we try again in {} s if it stays quiet)",
            until.since(now).as_secs()
        ))
    }

    /// After long quiet the next rival starts anew.
    fn forget(&mut self, now: Timestamp, limits: &RivalLimits) {
        if self.until.is_some_and(|until| now.since(until) >= limits.longest_pause) {
            (self.pause, self.until, self.theirs) = (None, None, None);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const LIMITS: RivalLimits = RivalLimits {
        changes: 3,
        window: Duration::from_secs(600),
        first_pause: Duration::from_secs(300),
        longest_pause: Duration::from_secs(1200),
    };

    fn at(s: i64) -> Timestamp {
        Timestamp::from_secs(1_000_000 + s)
    }

    /// We order 5, somebody makes it 3, every `every` seconds; gives the times at which our hands were off.
    fn fight(rivals: &mut Rivals, from_s: i64, to_s: i64, every_s: i64) -> Vec<i64> {
        let mut held = Vec::new();
        for s in (from_s..to_s).step_by(every_s.unsigned_abs() as usize) {
            rivals.see(at(s), 3, &LIMITS);
            if rivals.held(at(s)) {
                held.push(s);
            } else {
                rivals.intend(5);
                rivals.wrote(5);
            }
        }
        held
    }

    #[test]
    fn one_change_by_hand_is_not_a_rival_and_ours_never_are() {
        let mut rivals = Rivals::default();
        for (s, size) in [(0, 3), (15, 3), (30, 9), (45, 9)] {
            rivals.see(at(s), size, &LIMITS);
        }
        for s in 4..100 {
            rivals.intend(s);
            rivals.wrote(s);
            rivals.see(at(i64::from(s) * 15), s, &LIMITS);
        }
        assert_eq!(rivals.rival(at(2000)), None);
    }

    #[test]
    fn an_order_that_was_carried_out_without_an_answer_is_ours() {
        let mut rivals = Rivals::default();
        rivals.see(at(0), 3, &LIMITS);
        for (s, size) in [(1, 5), (2, 7), (3, 9), (4, 11), (5, 13)] {
            rivals.intend(size);
            rivals.see(at(s), size, &LIMITS);
        }
        assert!(!rivals.held(at(5)));
        // It was not carried out: the size is what it was.
        rivals.intend(20);
        rivals.see(at(6), 13, &LIMITS);
        assert!(!rivals.held(at(6)));
    }

    #[test]
    fn somebody_who_goes_on_is_left_alone_for_ever_longer() {
        let mut rivals = Rivals::default();
        let held = fight(&mut rivals, 0, 600, 15);
        assert_eq!(held.first(), Some(&45), "the third change counts");
        assert!(rivals.rival(at(50)).is_some_and(|text| text.contains("from 5 to 3")));
        // He has nothing to change while our hands are off, so we try again after the pause, and lose again.
        assert!(held.contains(&330) && !held.contains(&345), "{held:?}");
        let again = fight(&mut rivals, 600, 3000, 15);
        let pauses: Vec<i64> = again.windows(2).filter(|w| w[1] - w[0] > 15).map(|w| w[1]).collect();
        assert!(!pauses.is_empty() && again.len() > 100, "{again:?}");
    }

    #[test]
    fn it_recovers_by_itself_when_quiet_and_then_forgets() {
        let mut rivals = Rivals::default();
        fight(&mut rivals, 0, 100, 15);
        assert!(rivals.held(at(100)));
        for s in (100..3000).step_by(15) {
            rivals.see(at(s), 3, &LIMITS);
        }
        assert!(!rivals.held(at(3000)));
        assert_eq!(
            rivals,
            Rivals { expected: Some(3), changes: rivals.changes.clone(), ..Rivals::default() }
        );
    }
}
