//! The waiters of one lock: which joined, which left, and why, as far as that is certain. Looks at
//! nothing itself.

use std::time::Duration;

use super::event::{Contender, Departure, What};

/// A waiter that left the queue while another process held the lock joins again, or gets the lock,
/// within this time, however busy the machine is; otherwise it gave up.
const GIVE_UP_AFTER: Duration = Duration::from_secs(1);
/// A waiter that left while nobody held the lock may have been passed over because it is stopped:
/// it comes back when it is continued. After this time it is no longer waited for.
const RETURN_WITHIN: Duration = Duration::from_secs(10);
/// How often the observer checks meanwhile whether its process is alive.
const CHECK_INTERVAL: Duration = Duration::from_millis(100);

/// A waiter, as it was seen.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Waiter {
    pub(super) who: Contender,
    /// What distinguishes this wait from all others; the holding that results from it has the same
    /// nonce.
    pub(super) nonce: u128,
}

/// How well the lock is observed during a wait.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Coverage {
    /// How often something may have happened to the lock unseen.
    pub(super) gaps: u64,
    /// The lock is observed only by looking; what happens between two looks is not seen.
    pub(super) is_by_looks: bool,
    /// The present holding, if its holder is alive.
    pub(super) held: Option<u128>,
}

/// A waiter in the queue.
#[derive(Debug)]
struct Queued {
    waiter: Waiter,
    /// The coverage when this waiter joined.
    coverage: Coverage,
    /// It was seen to hold the lock.
    is_served: bool,
    /// It is dead, and this was reported.
    is_dead: bool,
}

/// A waiter that has left the queue for a reason that is not known yet.
#[derive(Debug)]
struct Leaving {
    queued: Queued,
    /// Its process was alive after that.
    has_lived: bool,
    /// It was certainly neither served meanwhile nor passed over.
    is_certain: bool,
    since: Duration,
    next_check: Duration,
    /// When its process had ended: everything that it did has been reported by now, or will be.
    ended: Option<Duration>,
}

/// The waiters, and those that have just left.
#[derive(Debug, Default)]
pub(super) struct Waiting {
    queue: Vec<Queued>,
    leaving: Vec<Leaving>,
}

impl Waiting {
    /// Records a waiter; returns true if it was not in the queue before. A join may be reported
    /// late, for a waiter that holds the lock or has held it.
    pub(super) fn joined(&mut self, waiter: &Waiter, is_served: bool, coverage: Coverage) -> bool {
        let is_it = |queued: &Queued| queued.waiter.nonce == waiter.nonce;
        // A waiter that takes another place in the queue leaves its previous one.
        if let Some(at) = self.leaving.iter().position(|left| is_it(&left.queued)) {
            self.queue.push(self.leaving.remove(at).queued);
            return false;
        }
        if self.queue.iter().any(is_it) {
            return false;
        }
        let (waiter, is_dead) = (waiter.clone(), false);
        self.queue.push(Queued { waiter, coverage, is_served, is_dead });
        true
    }

    /// Returns the known waiters that are not among these.
    pub(super) fn without(&self, all: &[Waiter]) -> Vec<Waiter> {
        let is_there = |known: &Waiter| all.iter().any(|waiter| waiter.nonce == known.nonce);
        let known = self.queue.iter().map(|queued| &queued.waiter);
        known.filter(|known| !is_there(known)).cloned().collect()
    }

    /// Records that this waiter has left the queue; `has_lived` is whether its process was seen
    /// alive after that.
    pub(super) fn left(
        &mut self,
        nonce: u128,
        has_lived: bool,
        coverage: Coverage,
        since: Duration,
    ) -> Option<What> {
        let at = self.queue.iter().position(|known| known.waiter.nonce == nonce)?;
        let queued = self.queue.remove(at);
        if queued.is_dead {
            return None;
        }
        if queued.is_served {
            return Some(left(queued, Departure::Served, Duration::ZERO));
        }
        // If all changes of the lock were reported in order, a holding of this waiter would have
        // been seen. And a waiter is passed over only while nobody holds the lock.
        let is_certain = queued.coverage.gaps == coverage.gaps && coverage.held.is_some();
        let (next_check, ended) = (Duration::ZERO, None);
        self.leaving.push(Leaving { queued, has_lived, is_certain, since, next_check, ended });
        None
    }

    /// Records that the waiter for which `is_it` is true holds the lock, or has held it. Returns
    /// its contender's number, and an event if there is one to report.
    pub(super) fn served(&mut self, is_it: impl Fn(u128) -> bool) -> Option<(u64, Option<What>)> {
        if let Some(at) = self.leaving.iter().position(|left| is_it(left.queued.waiter.nonce)) {
            let queued = self.leaving.remove(at).queued;
            let id = queued.waiter.who.id;
            return Some((id, Some(left(queued, Departure::Served, Duration::ZERO))));
        }
        let queued = self.queue.iter_mut().find(|known| is_it(known.waiter.nonce))?;
        queued.is_served = true;
        Some((queued.waiter.who.id, None))
    }

    pub(super) fn is_dead(&self, nonce: u128) -> bool {
        self.queue.iter().any(|known| known.waiter.nonce == nonce && known.is_dead)
    }

    /// Records that this waiter in the queue is dead.
    pub(super) fn died(&mut self, nonce: u128) -> Option<What> {
        let queued = self.queue.iter_mut().find(|known| known.waiter.nonce == nonce)?;
        let is_news = !std::mem::replace(&mut queued.is_dead, true) && !queued.is_served;
        let (who, why, ago) = (queued.waiter.who.clone(), Departure::Died, Duration::ZERO);
        is_news.then_some(What::Left { who, why, ago })
    }

    /// Returns true if it is not known yet why this waiter has left.
    pub(super) fn is_leaving(&self, nonce: u128) -> bool {
        self.leaving.iter().any(|left| left.queued.waiter.nonce == nonce)
    }

    /// Returns when to settle next, for waiters that left at least this long before.
    pub(super) fn next_settling(&self, at_least: Duration) -> Option<Duration> {
        self.leaving.iter().map(|left| left.next(at_least)).min()
    }

    /// Returns why waiters have left that left at least this long before, as far as that follows
    /// from what was reported up to `seen_until`. `ended` returns when a waiter's process had
    /// ended, if it has.
    pub(super) fn settle(
        &mut self,
        seen_until: Duration,
        at_least: Duration,
        coverage: Coverage,
        mut ended: impl FnMut(u128) -> Option<Duration>,
    ) -> Vec<What> {
        let mut events = Vec::new();
        let is_settled = |one: &mut Leaving| {
            if seen_until < one.next(at_least) {
                return false;
            }
            if coverage.is_by_looks {
                // The same holding lasted from before the waiter joined until after it left.
                let held = one.queued.coverage.held;
                one.is_certain = held.is_some() && held == coverage.held;
            }
            let limit = if one.is_certain { GIVE_UP_AFTER } else { RETURN_WITHIN };
            if one.ended.is_some() || seen_until >= one.since + limit {
                return true;
            }
            one.ended = ended(one.queued.waiter.nonce);
            one.next_check = one.ended.unwrap_or(seen_until + CHECK_INTERVAL);
            false
        };
        for Leaving { queued, has_lived, is_certain, since, .. } in
            self.leaving.extract_if(.., is_settled)
        {
            let has_given_up = has_lived && is_certain;
            let why = if has_given_up { Departure::GaveUp } else { Departure::Gone };
            events.push(left(queued, why, seen_until.saturating_sub(since)));
        }
        events
    }
}

impl Leaving {
    fn next(&self, at_least: Duration) -> Duration {
        self.next_check.max(self.since + at_least)
    }
}

fn left(queued: Queued, why: Departure, ago: Duration) -> What {
    What::Left { who: queued.waiter.who, why, ago }
}

#[cfg(test)]
mod tests {
    use std::time::SystemTime;

    use super::*;

    const NOW: Duration = Duration::from_secs(100);
    const ALL_SEEN: Coverage = Coverage { gaps: 0, is_by_looks: false, held: Some(7) };

    fn waiter() -> Waiter {
        let (host, since) = ("web1".into(), SystemTime::UNIX_EPOCH);
        let who = Contender { id: 1, host, pid: Some(42), command: None, label: None, since };
        Waiter { who, nonce: 3 }
    }

    /// Returns the reported reason for a waiter that joined and left with these coverages, when its
    /// process has ended.
    fn why(
        at_joining: Coverage,
        at_leaving: Coverage,
        has_lived: bool,
        settled: Coverage,
    ) -> Departure {
        let mut waiting = Waiting::default();
        assert!(waiting.joined(&waiter(), false, at_joining));
        assert!(waiting.left(3, has_lived, at_leaving, NOW).is_none());
        // What it did before it ended may be reported only now.
        assert_eq!(waiting.settle(NOW, Duration::ZERO, settled, |_| Some(NOW)), []);
        let events = waiting.settle(NOW, Duration::ZERO, settled, |_| None);
        let [What::Left { why, .. }] = events[..] else { panic!("{events:?}") };
        why
    }

    #[test]
    fn waiters_neither_served_nor_passed_over_gave_up() {
        let gap = Coverage { gaps: 1, ..ALL_SEEN };
        let free = Coverage { held: None, ..ALL_SEEN };
        assert_eq!(why(ALL_SEEN, ALL_SEEN, true, ALL_SEEN), Departure::GaveUp);
        assert_eq!(why(ALL_SEEN, ALL_SEEN, false, ALL_SEEN), Departure::Gone);
        assert_eq!(why(ALL_SEEN, gap, true, gap), Departure::Gone, "served meanwhile, perhaps");
        assert_eq!(why(ALL_SEEN, free, true, ALL_SEEN), Departure::Gone, "passed over, perhaps");
    }

    #[test]
    fn by_looks_waiters_that_leave_during_one_holding_gave_up() {
        let looks = Coverage { is_by_looks: true, ..ALL_SEEN };
        let other = Coverage { held: Some(8), ..looks };
        assert_eq!(why(looks, looks, true, looks), Departure::GaveUp);
        assert_eq!(why(looks, looks, true, other), Departure::Gone);
    }

    #[test]
    fn living_waiters_may_come_back() {
        let mut waiting = Waiting::default();
        waiting.joined(&waiter(), false, ALL_SEEN);
        waiting.left(3, true, Coverage { held: None, ..ALL_SEEN }, NOW);

        let events = waiting.settle(NOW + GIVE_UP_AFTER, Duration::ZERO, ALL_SEEN, |_| None);
        assert_eq!(events, []);
        assert!(!waiting.joined(&waiter(), false, ALL_SEEN), "it is the same one");

        waiting.left(3, true, ALL_SEEN, NOW);
        let events = waiting.settle(NOW + GIVE_UP_AFTER, Duration::ZERO, ALL_SEEN, |_| None);
        let [What::Left { why: Departure::GaveUp, ago, .. }] = events[..] else {
            panic!("{events:?}")
        };
        assert_eq!(ago, GIVE_UP_AFTER);
    }

    #[test]
    fn waiters_that_were_seen_to_hold_were_served() {
        let mut waiting = Waiting::default();
        waiting.joined(&waiter(), false, ALL_SEEN);
        assert_eq!(waiting.served(|nonce| nonce == 3), Some((1, None)));

        let events = waiting.left(3, false, Coverage { held: Some(9), ..ALL_SEEN }, NOW);

        assert!(matches!(events, Some(What::Left { why: Departure::Served, .. })), "{events:?}");
    }

    #[test]
    fn waiters_seen_to_hold_before_they_join_are_served() {
        let mut waiting = Waiting::default();
        assert!(waiting.joined(&waiter(), true, ALL_SEEN));

        let events = waiting.left(3, false, ALL_SEEN, NOW);

        assert!(matches!(events, Some(What::Left { why: Departure::Served, .. })), "{events:?}");
    }
}
