//! Breaking: ending a hold from outside, by judgement or by force.

use alloc::string::ToString;
use alloc::vec::Vec;
use core::mem;
use core::time::Duration;

use crate::entry::{Entry, State};
use crate::inspect::{Inspect, View};
use crate::operation::{Answer, Fault, Foreign, Listing, Machine, Observation, Operation, Step};
use crate::time::{Now, Stamp, is_older, timestamp_granularity};
use crate::verdict::{LocalContext, Verdict};

/// How breaking ended.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Eviction {
    /// The lock was free.
    WasFree,
    /// We ended this hold; a bare lock has no entry.
    Removed(Option<Entry>),
    /// We ended this hold, but the empty directory could not be removed.
    Remains(Option<Entry>, Fault),
    /// The holder is alive; a bare lock has no entry.
    StillHeld(Option<Entry>),
    /// The directory belongs to another user.
    Stranger(u32),
    /// D is foreign: it must not be touched.
    Foreign(Foreign),
    /// A call failed.
    Failed(Fault),
}

/// The machine that breaks a lock.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Evict {
    here: LocalContext,
    force: bool,
    bare_timeout: Duration,
    /// The last of several entries that was removed.
    thinned: Option<Entry>,
    rounds: u8,
    phase: Phase,
}

/// The operation whose answer comes next.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
enum Phase {
    /// Looks who holds the lock, and whether it may be broken.
    Looking(Inspect),
    /// Removes the last of these entries: of several, those with the smaller tokens go before all else.
    Thinning(Vec<Entry>),
    /// Asks whether we may remove D, before it ends the hold of this entry.
    AskingRemovable(Entry),
    /// Ends this hold by opening the lock.
    Opening(Entry),
    /// Ends this hold by removing its entry.
    Unlinking(Entry),
    /// Removes D, which this hold has left empty, or which was bare.
    Removing(Option<Entry>),
    /// D was not removed: looks whose it is now, or what keeps it.
    LookingAtRemains(Option<Entry>),
    /// Creates an open entry in D, which litter keeps from being removed.
    Reopening(Entry),
    /// The lock is free. Wakes the first waiter.
    Waking(Eviction),
}

type Next = Step<Eviction>;

/// How often a break begins anew because the holder has changed meanwhile, or several entries are
/// there; then it fails. So it ends even where the lock changes hands all the time.
const ROUNDS: u8 = 8;
/// How many of several entries are removed before the next look: with this many a round has no more
/// operations than a round that ends a hold.
const THINNED_AT_ONCE: usize = 3;

impl Evict {
    /// Creates a machine that breaks the lock of an expired or dead holder; with `force` any lock. A
    /// bare directory counts as expired when it is older than `bare_timeout`.
    #[must_use]
    pub fn new(here: LocalContext, force: bool, bare_timeout: Duration) -> Evict {
        let phase = Phase::Looking(Inspect::new(here));
        Evict { here, force, bare_timeout, thinned: None, rounds: 0, phase }
    }

    fn perform(&mut self, phase: Phase, operation: Operation) -> Next {
        self.phase = phase;
        Step::Perform(operation)
    }

    /// We have broken the lock, which is free: wakes the first waiter before the break ends like this.
    fn broken(&mut self, outcome: Eviction) -> Next {
        self.perform(Phase::Waking(outcome), Operation::WakeFirst)
    }

    fn begin(&mut self, now: Now) -> Next {
        let mut look = Inspect::new(self.here);
        let step = look.start(now);
        self.looking(now, look, step)
    }

    fn looking(&mut self, now: Now, look: Inspect, step: Step<View>) -> Next {
        match step {
            Step::Perform(operation) => self.perform(Phase::Looking(look), operation),
            Step::Finished(view) => self.looked(now, view),
        }
    }

    fn looked(&mut self, now: Now, view: View) -> Next {
        let listing = match view.sight {
            Observation::Absent => return self.free(),
            Observation::Foreign(Foreign::TwoEntries) if self.force => {
                return match view.torn {
                    Some(listing) => self.thin(listing),
                    None => Step::Finished(Eviction::Foreign(Foreign::TwoEntries)),
                };
            }
            Observation::Foreign(why) => return Step::Finished(Eviction::Foreign(why)),
            Observation::Directory(listing) => listing,
        };
        if let Some(refused) = refused(&listing) {
            return refused;
        }
        let Some(entry) = listing.entries.first().cloned() else {
            let timeout = self.bare_timeout + timestamp_granularity(listing.modified);
            let old =
                view.file_clock.is_some_and(|clock| is_older(listing.modified, clock, timeout));
            if !(self.force || old) {
                return Step::Finished(Eviction::StillHeld(None));
            }
            return self.remove(None, listing.modified);
        };
        if entry.state == State::Open {
            return self.free();
        }
        let gone = matches!(view.verdict, Some(Verdict::Expired(_) | Verdict::Dead(_)));
        if !(self.force || gone) {
            return Step::Finished(Eviction::StillHeld(Some(entry)));
        }
        if entry.fenced {
            // The token must not be lost.
            return self.open(now, entry);
        }
        self.perform(Phase::AskingRemovable(entry), Operation::AskRemovable)
    }

    fn free(&mut self) -> Next {
        match self.thinned.take() {
            Some(entry) => self.broken(Eviction::Removed(Some(entry))),
            None => Step::Finished(Eviction::WasFree),
        }
    }

    /// Removes several entries, which a union of file systems may show, except for the one with the
    /// largest token, which is then broken like any other.
    fn thin(&mut self, listing: Listing) -> Next {
        if let Some(refused) = refused(&listing) {
            return refused;
        }
        if self.rounds == ROUNDS {
            return Step::Finished(Eviction::Foreign(Foreign::TwoEntries));
        }
        self.rounds += 1;
        let mut surplus = listing.entries;
        // The whole name decides last: two processes that break at once must keep the same entry.
        surplus.sort_by_cached_key(|entry| {
            (entry.token, entry.nonce, entry.renewals, entry.to_string())
        });
        // A union of file systems may list one name twice: removing the copy removes the entry.
        surplus.dedup();
        surplus.pop();
        surplus.truncate(THINNED_AT_ONCE);
        match surplus.last().cloned() {
            Some(entry) => self.perform(Phase::Thinning(surplus), Operation::Unlink(entry)),
            None => Step::Finished(Eviction::Foreign(Foreign::TwoEntries)),
        }
    }

    fn thinned(&mut self, now: Now, mut surplus: Vec<Entry>, answer: &Answer) -> Next {
        let removed = surplus.pop();
        match answer {
            Answer::Failed(Fault::Missing) => {}
            Answer::Failed(fault) => return Step::Finished(Eviction::Failed(*fault)),
            _ => self.thinned = removed,
        }
        match surplus.last().cloned() {
            Some(entry) => self.perform(Phase::Thinning(surplus), Operation::Unlink(entry)),
            None => self.begin(now),
        }
    }

    fn open(&mut self, now: Now, victim: Entry) -> Next {
        let open = self.opened(now, &victim);
        self.perform(Phase::Opening(victim.clone()), Operation::Rename(victim, open))
    }

    fn opened(&self, now: Now, victim: &Entry) -> Entry {
        victim.next(State::Open, now.boot, &self.here.origin).fit(self.here.longest_name)
    }

    fn remove(&mut self, victim: Option<Entry>, modified: Stamp) -> Next {
        self.perform(Phase::Removing(victim), Operation::RemoveDir(modified))
    }

    /// The call that ends the hold has failed: the holder may have changed meanwhile.
    fn failed(&mut self, now: Now, fault: Fault) -> Next {
        match fault {
            Fault::Missing | Fault::Taken if self.rounds < ROUNDS => {
                self.rounds += 1;
                self.begin(now)
            }
            fault => Step::Finished(Eviction::Failed(fault)),
        }
    }

    fn removed(&mut self, victim: Option<Entry>, answer: &Answer) -> Next {
        match answer {
            // D is somebody's lock by now, or something keeps it from being removed.
            Answer::Failed(Fault::Taken) => {
                self.perform(Phase::LookingAtRemains(victim), Operation::Look)
            }
            Answer::Failed(fault) if *fault != Fault::Missing => {
                self.broken(Eviction::Remains(victim, *fault))
            }
            _ => self.broken(Eviction::Removed(victim)),
        }
    }

    fn remains(&mut self, now: Now, victim: Option<Entry>, answer: &Answer) -> Next {
        match (answer, victim) {
            // Only the process that emptied D creates an entry in it, so there are never two.
            (Answer::Seen(Observation::Directory(listing)), Some(victim))
                if listing.entries.is_empty()
                    && listing.foreign.is_none()
                    && listing.litter.is_some() =>
            {
                let open = self.opened(now, &victim);
                self.perform(Phase::Reopening(victim), Operation::Reopen(open))
            }
            (Answer::Seen(Observation::Directory(listing)), victim)
                if listing.entries.is_empty() =>
            {
                self.broken(Eviction::Remains(victim, Fault::Taken))
            }
            (Answer::Failed(fault), victim) if *fault != Fault::Missing => {
                self.broken(Eviction::Remains(victim, *fault))
            }
            (_, victim) => self.broken(Eviction::Removed(victim)),
        }
    }
}

impl Machine for Evict {
    type Outcome = Eviction;

    fn start(&mut self, now: Now) -> Next {
        self.begin(now)
    }

    fn resume(&mut self, now: Now, answer: Answer) -> Next {
        let idle = Phase::Looking(Inspect::new(self.here));
        match (mem::replace(&mut self.phase, idle), answer) {
            (Phase::Looking(look), Answer::Failed(fault)) if !look.is_asking() => {
                Step::Finished(Eviction::Failed(fault))
            }
            (Phase::Looking(mut look), answer) => {
                let step = look.resume(now, answer);
                self.looking(now, look, step)
            }
            (Phase::Thinning(surplus), answer) => self.thinned(now, surplus, &answer),
            // We cannot remove D: an empty one would stay and block everybody.
            (Phase::AskingRemovable(victim), Answer::Removable(false)) => self.open(now, victim),
            (Phase::AskingRemovable(victim), _) => {
                self.perform(Phase::Unlinking(victim.clone()), Operation::Unlink(victim))
            }
            (Phase::Opening(_) | Phase::Unlinking(_), Answer::Failed(fault)) => {
                self.failed(now, fault)
            }
            (Phase::Unlinking(victim), Answer::Done(Some(emptied))) => {
                self.remove(Some(victim), emptied)
            }
            (Phase::Opening(victim) | Phase::Unlinking(victim), _) => {
                self.broken(Eviction::Removed(Some(victim)))
            }
            (Phase::Removing(victim), answer) => self.removed(victim, &answer),
            (Phase::LookingAtRemains(victim), answer) => self.remains(now, victim, &answer),
            (Phase::Reopening(victim), Answer::Done(_)) => {
                self.broken(Eviction::Removed(Some(victim)))
            }
            (Phase::Reopening(victim), _) => {
                self.broken(Eviction::Remains(Some(victim), Fault::Taken))
            }
            (Phase::Waking(outcome), _) => Step::Finished(outcome),
        }
    }
}

/// Returns how the break ends if this directory is not ours to touch.
fn refused(listing: &Listing) -> Option<Next> {
    let refused = match (listing.stranger, &listing.foreign) {
        (Some(uid), _) => Eviction::Stranger(uid),
        (None, Some(why)) => Eviction::Foreign(why.clone()),
        (None, None) => return None,
    };
    Some(Step::Finished(refused))
}
