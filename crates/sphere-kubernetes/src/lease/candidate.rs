//! What does a candidate ask of the API server, and what does it make of the answers?

use super::{LeaseTimes, Role};
use std::time::Duration;
use tokio::time::Instant;

/// What a lease says.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Record {
    /// Who holds it; `None`: nobody.
    pub holder: Option<String>,
    /// How long others have to wait after a renewal; `None`: not stated.
    pub duration: Option<Duration>,
    /// When it was acquired, milliseconds since the epoch, for people.
    pub acquired_ms: Option<i64>,
    /// When it was last renewed, milliseconds since the epoch, for people and as a sign of life.
    pub renewed_ms: Option<i64>,
    /// How often it has changed hands.
    pub transitions: i32,
}

/// A record, and since when it has looked so on our clock.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Seen {
    /// The record.
    pub record: Record,
    /// Its resource version. Another one is a sign of life, even if all times in the record stand still.
    pub version: String,
    /// When we first saw it like this.
    pub since: Instant,
}

/// What is to be done about a lease.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Step {
    /// It is free: take it.
    Acquire,
    /// It is ours: renew it.
    Renew,
    /// It is another's: look again after this time at the latest.
    Wait(Duration),
}

/// What `me` has to do about the lease as `seen`; `None`: there is none.
pub fn evaluate(seen: Option<&Seen>, me: &str, now: Instant, times: &LeaseTimes) -> Step {
    let Some(seen) = seen else { return Step::Acquire };
    match &seen.record.holder {
        None => Step::Acquire,
        Some(holder) if holder.is_empty() => Step::Acquire,
        Some(holder) if holder == me => Step::Renew,
        Some(_) => {
            // The holder's own word counts: it acts by that.
            let ends = seen.since + seen.record.duration.unwrap_or(times.duration);
            match ends.checked_duration_since(now) {
                Some(left) if !left.is_zero() => Step::Wait(left.min(times.retry)),
                _ => Step::Acquire,
            }
        }
    }
}

/// A request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Ask {
    /// Read the lease.
    Read,
    /// Make it.
    Create(Record),
    /// Replace it, if it still has this resource version.
    Replace {
        /// The new record.
        record: Record,
        /// The version it is made for.
        version: String,
    },
}

/// What came back.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Answer {
    /// The lease as it is now.
    Lease {
        /// What it says.
        record: Record,
        /// Its resource version.
        version: String,
    },
    /// There is none.
    Absent,
    /// Somebody was faster.
    Conflict,
    /// No answer, or an error: what was asked may have happened or not.
    Failed,
}

/// One process in an election. See the module text of [`super`].
#[derive(Clone, Debug)]
pub struct Candidate {
    me: String,
    times: LeaseTimes,
    seen: Option<Seen>,
    /// Nothing we know of has happened to the lease since it was seen; otherwise it has to be read first.
    current: bool,
    /// A read has shown that there is no lease.
    absent: bool,
    until: Option<Instant>,
}

impl Candidate {
    /// A candidate of this name, which nobody else must use.
    pub fn new(me: impl Into<String>, times: LeaseTimes) -> Self {
        Self { me: me.into(), times, seen: None, current: false, absent: false, until: None }
    }

    /// May it act?
    pub fn role(&self, now: Instant) -> Role {
        match self.until {
            Some(until) if now < until => Role::Leader { until },
            _ => {
                let holder = self.seen.as_ref().and_then(|seen| seen.record.holder.clone());
                Role::Standby { leader: holder.filter(|holder| !holder.is_empty() && *holder != self.me) }
            }
        }
    }

    /// What to ask now; `None`: nothing before the next look. `wall_ms` is the time of day, for people.
    pub fn ask(&self, now: Instant, wall_ms: i64) -> Ask {
        if self.absent {
            return Ask::Create(self.record(wall_ms, None));
        }
        let Some(seen) = self.seen.as_ref().filter(|_| self.current) else { return Ask::Read };
        match evaluate(Some(seen), &self.me, now, &self.times) {
            Step::Wait(_) => Ask::Read,
            Step::Acquire | Step::Renew => Ask::Replace {
                record: self.record(wall_ms, Some(&seen.record)),
                version: seen.version.clone(),
            },
        }
    }

    /// What to ask to give the lease up at once, if it is held.
    pub fn release(&self, wall_ms: i64) -> Option<Ask> {
        let seen = self.seen.as_ref()?;
        (seen.record.holder.as_deref() == Some(&self.me)).then_some(())?;
        let record = Record {
            holder: None,
            duration: Some(Duration::from_secs(1)),
            renewed_ms: Some(wall_ms),
            ..seen.record.clone()
        };
        Some(Ask::Replace { record, version: seen.version.clone() })
    }

    /// Takes the answer to `ask`, which was sent at `sent` and came at `now`; `true`: ask again at once.
    pub fn answered(&mut self, sent: Instant, now: Instant, ask: &Ask, answer: Answer) -> bool {
        match (ask, answer) {
            (Ask::Read, Answer::Lease { record, version }) => {
                self.see(record, version, now);
                let seen = self.seen.as_ref();
                if seen.is_some_and(|seen| seen.record.holder.as_deref() != Some(&self.me)) {
                    self.until = None;
                }
                !matches!(evaluate(seen, &self.me, now, &self.times), Step::Wait(_))
            }
            (Ask::Read, Answer::Absent) => {
                // Whoever deleted it took it from us, too.
                (self.absent, self.seen, self.current, self.until) = (true, None, false, None);
                true
            }
            (Ask::Create(_) | Ask::Replace { .. }, Answer::Lease { record, version }) => {
                let ours = record.holder.as_deref() == Some(&self.me);
                self.until = ours.then(|| sent + self.times.renew_deadline);
                self.see(record, version, now);
                false
            }
            (_, Answer::Conflict | Answer::Absent) => {
                (self.current, self.absent) = (false, false);
                true
            }
            (_, Answer::Failed) => {
                // It may have happened: the version is no longer known for sure.
                (self.current, self.absent) = (false, false);
                false
            }
        }
    }

    fn see(&mut self, record: Record, version: String, now: Instant) {
        (self.current, self.absent) = (true, false);
        if self.seen.as_ref().is_none_or(|seen| seen.version != version) {
            self.seen = Some(Seen { record, version, since: now });
        }
    }

    fn record(&self, wall_ms: i64, old: Option<&Record>) -> Record {
        let kept = old.filter(|old| old.holder.as_deref() == Some(&self.me));
        let transitions = old.map_or(0, |old| old.transitions);
        Record {
            holder: Some(self.me.clone()),
            duration: Some(self.times.duration),
            acquired_ms: kept.and_then(|old| old.acquired_ms).or(Some(wall_ms)),
            renewed_ms: Some(wall_ms),
            transitions: if kept.is_some() || old.is_none() {
                transitions
            } else {
                transitions.saturating_add(1)
            },
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const TIMES: LeaseTimes = LeaseTimes {
        duration: Duration::from_secs(15),
        renew_deadline: Duration::from_secs(10),
        retry: Duration::from_secs(2),
    };

    fn held_by(holder: &str) -> Record {
        Record { holder: Some(holder.into()), duration: Some(TIMES.duration), ..Record::default() }
    }

    #[test]
    fn a_lease_is_taken_when_it_is_free_and_when_it_has_not_changed_for_its_duration() {
        let start = Instant::now();
        let at = |s| start + Duration::from_secs(s);
        let seen = |record| Seen { record, version: String::new(), since: start };
        let step = |seen: Option<&Seen>, s| evaluate(seen, "me", at(s), &TIMES);
        assert_eq!(step(None, 0), Step::Acquire);
        assert_eq!(step(Some(&seen(Record::default())), 0), Step::Acquire);
        assert_eq!(step(Some(&seen(held_by(""))), 0), Step::Acquire);
        assert_eq!(step(Some(&seen(held_by("me"))), 100), Step::Renew);
        let other = seen(held_by("other"));
        assert_eq!(step(Some(&other), 0), Step::Wait(TIMES.retry));
        assert_eq!(step(Some(&other), 14), Step::Wait(Duration::from_secs(1)));
        assert_eq!(step(Some(&other), 15), Step::Acquire);
        let longer = seen(Record { duration: Some(Duration::from_secs(60)), ..held_by("other") });
        assert_eq!(step(Some(&longer), 15), Step::Wait(TIMES.retry), "the holder's word counts");
    }

    #[test]
    fn a_renewal_keeps_the_time_of_acquisition_and_a_takeover_counts() {
        let now = Instant::now();
        let mut candidate = Candidate::new("me", TIMES);
        let other = Record { transitions: 4, acquired_ms: Some(1), renewed_ms: Some(2), ..held_by("other") };
        candidate.answered(now, now, &Ask::Read, Answer::Lease { record: other, version: "7".into() });
        let later = now + TIMES.duration;
        let Ask::Replace { record, .. } = candidate.ask(later, 50) else { panic!("not taken") };
        assert_eq!((record.acquired_ms, record.renewed_ms, record.transitions), (Some(50), Some(50), 5));
        let ask = candidate.ask(later, 50);
        candidate.answered(later, later, &ask, Answer::Lease { record, version: "8".into() });
        let Ask::Replace { record, .. } = candidate.ask(later, 60) else { panic!("not renewed") };
        assert_eq!((record.acquired_ms, record.renewed_ms, record.transitions), (Some(50), Some(60), 5));
        let Some(Ask::Replace { record, .. }) = candidate.release(70) else { panic!("not released") };
        assert_eq!(record.holder, None);
    }

    /// An API server that knows one lease.
    #[derive(Default)]
    struct Server {
        lease: Option<(Record, u64)>,
    }

    impl Server {
        fn serve(&mut self, ask: &Ask) -> Answer {
            let next = self.lease.as_ref().map_or(1, |(_, version)| version + 1);
            match (ask, &self.lease) {
                (Ask::Read, None) => return Answer::Absent,
                (Ask::Read, Some(_)) => {}
                (Ask::Create(record), None) => self.lease = Some((record.clone(), next)),
                (Ask::Replace { record, version }, Some((_, now))) if *version == now.to_string() => {
                    self.lease = Some((record.clone(), next));
                }
                _ => return Answer::Conflict,
            }
            let (record, version) = self.lease.clone().unwrap();
            Answer::Lease { record, version: version.to_string() }
        }
    }

    /// What happens to one round of one candidate.
    #[derive(Clone, Copy, Debug)]
    struct Round {
        who: usize,
        /// Since the round before, ms.
        wait_ms: u64,
        /// On the way there and back, ms.
        way_ms: u64,
        fate: Fate,
    }

    #[derive(Clone, Copy, Debug)]
    enum Fate {
        Arrives,
        /// The server never hears of it.
        RequestLost,
        /// It is done, but the candidate never hears.
        AnswerLost,
    }

    fn rounds() -> impl Strategy<Value = Vec<Round>> {
        let fate = prop_oneof![
            6 => Just(Fate::Arrives), 1 => Just(Fate::RequestLost), 1 => Just(Fate::AnswerLost)
        ];
        let round = (0..3usize, 0..6000u64, 0..4000u64, fate)
            .prop_map(|(who, wait_ms, way_ms, fate)| Round { who, wait_ms, way_ms, fate });
        prop::collection::vec(round, 1..200)
    }

    proptest! {
        #[test]
        fn never_do_two_act_at_once_whatever_gets_lost(rounds in rounds()) {
            let start = Instant::now();
            let ms = Duration::from_millis;
            let mut server = Server::default();
            let mut all: Vec<Candidate> = (0..3).map(|i| Candidate::new(format!("c{i}"), TIMES)).collect();
            let mut now = start;
            for round in rounds {
                now += ms(round.wait_ms);
                // One candidate's exchange; the others' clocks go on meanwhile.
                for _ in 0..3 {
                    let ask = all[round.who].ask(now, 0);
                    let sent = now;
                    now += ms(round.way_ms);
                    let answer = match round.fate {
                        Fate::RequestLost => Answer::Failed,
                        Fate::Arrives => server.serve(&ask),
                        Fate::AnswerLost => { server.serve(&ask); Answer::Failed }
                    };
                    now += ms(round.way_ms);
                    let again = all[round.who].answered(sent, now, &ask, answer);
                    let leaders: Vec<usize> = (0..3)
                        .filter(|i| matches!(all[*i].role(now), Role::Leader { .. }))
                        .collect();
                    prop_assert!(leaders.len() <= 1, "{leaders:?} at {:?}", now - start);
                    if !again { break }
                }
            }
        }

        #[test]
        fn when_the_network_heals_somebody_leads_within_a_lease_and_two_looks(rounds in rounds()) {
            let start = Instant::now();
            let ms = Duration::from_millis;
            let mut server = Server::default();
            let mut all: Vec<Candidate> = (0..3).map(|i| Candidate::new(format!("c{i}"), TIMES)).collect();
            let mut now = start;
            let mut exchange = |candidate: &mut Candidate, now: &mut Instant, fate: Fate, way_ms: u64, wall: i64| {
                for _ in 0..3 {
                    let (ask, sent) = (candidate.ask(*now, wall), *now);
                    let answer = match fate {
                        Fate::RequestLost => Answer::Failed,
                        Fate::Arrives => server.serve(&ask),
                        Fate::AnswerLost => { server.serve(&ask); Answer::Failed }
                    };
                    *now += ms(way_ms);
                    if !candidate.answered(sent, *now, &ask, answer) { break }
                }
            };
            for (i, round) in rounds.iter().enumerate() {
                now += ms(round.wait_ms);
                exchange(&mut all[round.who], &mut now, round.fate, round.way_ms, i as i64);
            }
            // The last leader dies; the two others go on every two seconds.
            let healed = now;
            let dead = all.iter().position(|c| matches!(c.role(now), Role::Leader { .. })).unwrap_or(0);
            let mut led = false;
            let mut wall = 1_000_000;
            while now < healed + TIMES.duration + 3 * TIMES.retry {
                now += TIMES.retry;
                for (i, candidate) in all.iter_mut().enumerate().filter(|(i, _)| *i != dead) {
                    wall += 1;
                    exchange(candidate, &mut now, Fate::Arrives, 10, wall);
                    led |= i != dead && matches!(candidate.role(now), Role::Leader { .. });
                }
                if led { break }
            }
            prop_assert!(led);
        }
    }
}
