//! Those who wait for one lock: who came, who left, and why, as far as that is certain. Looks at
//! nothing itself.

use std::time::Duration;

use super::event::{Contender, Departure, What};

/// Who left the queue while somebody else held the lock takes another place in it, or gets the lock,
/// within this time, however busy the machine is; else it gave up.
const GIVES_UP: Duration = Duration::from_secs(1);
/// Who left while nobody held the lock may be passed over, because it is stopped: it comes back when
/// it is continued. After this time it is not waited for any more.
const COMES_BACK: Duration = Duration::from_secs(10);
/// How often it is asked meanwhile whether its process lives.
const ASKS: Duration = Duration::from_millis(100);

/// One who waits, as it is seen.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Waiter {
    pub(super) who: Contender,
    /// What tells this wait from all others; the holding that comes of it has the same.
    pub(super) nonce: u128,
}

/// How well the lock is seen while they wait.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Coverage {
    /// How often something may have happened to the lock that was not seen.
    pub(super) gaps: u64,
    /// Only looks show it, and not what happens between two.
    pub(super) is_by_looks: bool,
    /// Which holding is there now, of a holder that lives.
    pub(super) held: Option<u128>,
}

/// One in the queue.
#[derive(Debug)]
struct Standing {
    waiter: Waiter,
    /// As it was when this one came.
    coverage: Coverage,
    /// It was seen to hold the lock.
    is_served: bool,
    /// It is dead, which was told already.
    is_dead: bool,
}

/// One who has left the queue, and why is not known yet.
#[derive(Debug)]
struct Leaving {
    standing: Standing,
    /// Its process lived after that.
    has_lived: bool,
    /// Neither was it served meanwhile, nor passed over.
    is_certain: bool,
    since: Duration,
    next_asking: Duration,
    /// Its process had ended by then: it does nothing any more that is not told already, or will be.
    ended: Option<Duration>,
}

/// Those who wait, and those who have just left.
#[derive(Debug, Default)]
pub(super) struct Waiting {
    queue: Vec<Standing>,
    leaving: Vec<Leaving>,
}

impl Waiting {
    /// Is this somebody who was not in the queue before? Who holds, or has held, is told late of.
    pub(super) fn joined(&mut self, waiter: &Waiter, is_served: bool, coverage: Coverage) -> bool {
        let is_it = |standing: &Standing| standing.waiter.nonce == waiter.nonce;
        // Who takes another place in the queue leaves the one it had.
        if let Some(at) = self.leaving.iter().position(|left| is_it(&left.standing)) {
            self.queue.push(self.leaving.remove(at).standing);
            return false;
        }
        if self.queue.iter().any(is_it) {
            return false;
        }
        let (waiter, is_dead) = (waiter.clone(), false);
        self.queue.push(Standing { waiter, coverage, is_served, is_dead });
        true
    }

    /// Those who are not among these.
    pub(super) fn without(&self, all: &[Waiter]) -> Vec<Waiter> {
        let is_there = |known: &Waiter| all.iter().any(|waiter| waiter.nonce == known.nonce);
        let known = self.queue.iter().map(|standing| &standing.waiter);
        known.filter(|known| !is_there(known)).cloned().collect()
    }

    /// This one has left the queue as of now; has its process been seen alive after that?
    pub(super) fn left(
        &mut self,
        nonce: u128,
        has_lived: bool,
        coverage: Coverage,
        since: Duration,
    ) -> Option<What> {
        let at = self.queue.iter().position(|known| known.waiter.nonce == nonce)?;
        let standing = self.queue.remove(at);
        if standing.is_dead {
            return None;
        }
        if standing.is_served {
            return Some(left(standing, Departure::Served, Duration::ZERO));
        }
        // With all changes of the lock told in their order, it would have been seen to hold it. And
        // only where nobody holds it somebody is passed over.
        let is_certain = standing.coverage.gaps == coverage.gaps && coverage.held.is_some();
        let (next_asking, ended) = (Duration::ZERO, None);
        self.leaving.push(Leaving { standing, has_lived, is_certain, since, next_asking, ended });
        None
    }

    /// Those of whom this is true hold the lock, or have held it: who that was, and what there is to
    /// tell of it.
    pub(super) fn served(&mut self, is_it: impl Fn(u128) -> bool) -> Option<(u64, Option<What>)> {
        if let Some(at) = self.leaving.iter().position(|left| is_it(left.standing.waiter.nonce)) {
            let standing = self.leaving.remove(at).standing;
            let id = standing.waiter.who.id;
            return Some((id, Some(left(standing, Departure::Served, Duration::ZERO))));
        }
        let standing = self.queue.iter_mut().find(|known| is_it(known.waiter.nonce))?;
        standing.is_served = true;
        Some((standing.waiter.who.id, None))
    }

    pub(super) fn is_dead(&self, nonce: u128) -> bool {
        self.queue.iter().any(|known| known.waiter.nonce == nonce && known.is_dead)
    }

    /// This one of the queue is dead.
    pub(super) fn died(&mut self, nonce: u128) -> Option<What> {
        let standing = self.queue.iter_mut().find(|known| known.waiter.nonce == nonce)?;
        let is_news = !std::mem::replace(&mut standing.is_dead, true) && !standing.is_served;
        let (who, why, ago) = (standing.waiter.who.clone(), Departure::Died, Duration::ZERO);
        is_news.then_some(What::Left { who, why, ago })
    }

    /// Is it not known yet why this one has left?
    pub(super) fn is_leaving(&self, nonce: u128) -> bool {
        self.leaving.iter().any(|left| left.standing.waiter.nonce == nonce)
    }

    /// When to settle next, if they have left so long before at least.
    pub(super) fn next_settling(&self, at_least: Duration) -> Option<Duration> {
        self.leaving.iter().map(|left| left.next(at_least)).min()
    }

    /// Why those have left who left so long before this at least, as far as it follows from what was
    /// told up to then. `ended` says until when one has ended, if it has.
    pub(super) fn settle(
        &mut self,
        told_until: Duration,
        at_least: Duration,
        coverage: Coverage,
        mut ended: impl FnMut(u128) -> Option<Duration>,
    ) -> Vec<What> {
        let mut told = Vec::new();
        let is_settled = |one: &mut Leaving| {
            if told_until < one.next(at_least) {
                return false;
            }
            if coverage.is_by_looks {
                // The same holding from before it came until after it has left.
                let held = one.standing.coverage.held;
                one.is_certain = held.is_some() && held == coverage.held;
            }
            let limit = if one.is_certain { GIVES_UP } else { COMES_BACK };
            if one.ended.is_some() || told_until >= one.since + limit {
                return true;
            }
            one.ended = ended(one.standing.waiter.nonce);
            one.next_asking = one.ended.unwrap_or(told_until + ASKS);
            false
        };
        for Leaving { standing, has_lived, is_certain, since, .. } in
            self.leaving.extract_if(.., is_settled)
        {
            let has_given_up = has_lived && is_certain;
            let why = if has_given_up { Departure::GaveUp } else { Departure::Gone };
            told.push(left(standing, why, told_until.saturating_sub(since)));
        }
        told
    }
}

impl Leaving {
    fn next(&self, at_least: Duration) -> Duration {
        self.next_asking.max(self.since + at_least)
    }
}

fn left(standing: Standing, why: Departure, ago: Duration) -> What {
    What::Left { who: standing.waiter.who, why, ago }
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

    /// Why one is said to have left who came and left with these in sight, when its process has ended.
    fn why(came: Coverage, went: Coverage, has_lived: bool, settled: Coverage) -> Departure {
        let mut waiting = Waiting::default();
        assert!(waiting.joined(&waiter(), false, came));
        assert!(waiting.left(3, has_lived, went, NOW).is_none());
        // What it did before it ended may be told only now.
        assert_eq!(waiting.settle(NOW, Duration::ZERO, settled, |_| Some(NOW)), []);
        let told = waiting.settle(NOW, Duration::ZERO, settled, |_| None);
        let [What::Left { why, .. }] = told[..] else { panic!("{told:?}") };
        why
    }

    #[test]
    fn only_who_was_neither_served_nor_passed_over_gave_up() {
        let gap = Coverage { gaps: 1, ..ALL_SEEN };
        let free = Coverage { held: None, ..ALL_SEEN };
        assert_eq!(why(ALL_SEEN, ALL_SEEN, true, ALL_SEEN), Departure::GaveUp);
        assert_eq!(why(ALL_SEEN, ALL_SEEN, false, ALL_SEEN), Departure::Gone);
        assert_eq!(why(ALL_SEEN, gap, true, gap), Departure::Gone, "served meanwhile, perhaps");
        assert_eq!(why(ALL_SEEN, free, true, ALL_SEEN), Departure::Gone, "passed over, perhaps");
    }

    #[test]
    fn by_looks_alone_who_left_under_the_same_holding_gave_up() {
        let looks = Coverage { is_by_looks: true, ..ALL_SEEN };
        let other = Coverage { held: Some(8), ..looks };
        assert_eq!(why(looks, looks, true, looks), Departure::GaveUp);
        assert_eq!(why(looks, looks, true, other), Departure::Gone);
    }

    #[test]
    fn who_lives_is_waited_for_and_may_come_back() {
        let mut waiting = Waiting::default();
        waiting.joined(&waiter(), false, ALL_SEEN);
        waiting.left(3, true, Coverage { held: None, ..ALL_SEEN }, NOW);

        let told = waiting.settle(NOW + GIVES_UP, Duration::ZERO, ALL_SEEN, |_| None);
        assert_eq!(told, []);
        assert!(!waiting.joined(&waiter(), false, ALL_SEEN), "it is the same one");

        waiting.left(3, true, ALL_SEEN, NOW);
        let told = waiting.settle(NOW + GIVES_UP, Duration::ZERO, ALL_SEEN, |_| None);
        let [What::Left { why: Departure::GaveUp, ago, .. }] = told[..] else { panic!("{told:?}") };
        assert_eq!(ago, GIVES_UP);
    }

    #[test]
    fn who_was_seen_to_hold_was_served_whoever_holds_when_it_leaves() {
        let mut waiting = Waiting::default();
        waiting.joined(&waiter(), false, ALL_SEEN);
        assert_eq!(waiting.served(|nonce| nonce == 3), Some((1, None)));

        let told = waiting.left(3, false, Coverage { held: Some(9), ..ALL_SEEN }, NOW);

        assert!(matches!(told, Some(What::Left { why: Departure::Served, .. })), "{told:?}");
    }

    #[test]
    fn who_is_seen_to_hold_before_it_is_told_to_wait_is_served() {
        let mut waiting = Waiting::default();
        assert!(waiting.joined(&waiter(), true, ALL_SEEN));

        let told = waiting.left(3, false, ALL_SEEN, NOW);

        assert!(matches!(told, Some(What::Left { why: Departure::Served, .. })), "{told:?}");
    }
}
