//! Breaking: ending a hold from outside, by judgement or by force.

use alloc::string::ToString;
use core::time::Duration;

use crate::entry::{Entry, State};
use crate::inspect::{Inspect, View};
use crate::operation::{
    Answer, Fault, Foreign, Listing, Machine, Now, Observation, Operation, Step,
};
use crate::verdict::{LocalContext, Verdict, is_older, timestamp_granularity};

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
    look: Option<Inspect>,
    victim: Option<Entry>,
    /// Of several entries, those with the smaller tokens, which are removed before all else.
    surplus: alloc::vec::Vec<Entry>,
    /// The last of these that was removed.
    thinned: Option<Entry>,
    /// Whether we create an open entry in D, which litter keeps from being removed.
    reopening: bool,
    /// Whether it asks if we may remove D.
    asking: bool,
    removing: bool,
    /// Whether it looks if D was removed all the same, or is somebody's lock by now.
    checking: bool,
    rounds: u8,
    done: Option<Eviction>,
}

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
        Evict {
            here,
            force,
            bare_timeout,
            look: None,
            victim: None,
            surplus: alloc::vec::Vec::new(),
            thinned: None,
            reopening: false,
            asking: false,
            removing: false,
            checking: false,
            rounds: 0,
            done: None,
        }
    }

    fn judged(&mut self, now: Now, view: View) -> Step<Eviction> {
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
        if let Some(uid) = listing.stranger {
            return Step::Finished(Eviction::Stranger(uid));
        }
        if let Some(why) = listing.foreign {
            return Step::Finished(Eviction::Foreign(why));
        }
        let Some(entry) = listing.entries.first().cloned() else {
            let timeout = self.bare_timeout + timestamp_granularity(listing.modified);
            let old =
                view.file_clock.is_some_and(|clock| is_older(listing.modified, clock, timeout));
            if !(self.force || old) {
                return Step::Finished(Eviction::StillHeld(None));
            }
            self.removing = true;
            return Step::Perform(Operation::RemoveDir(listing.modified));
        };
        if entry.state == State::Open {
            return self.free();
        }
        let gone = matches!(view.verdict, Some(Verdict::Expired(_) | Verdict::Dead(_)));
        if !(self.force || gone) {
            return Step::Finished(Eviction::StillHeld(Some(entry)));
        }
        self.victim = Some(entry.clone());
        if entry.fenced {
            // The token must not be lost.
            return self.open(now, entry);
        }
        self.asking = true;
        Step::Perform(Operation::AskRemovable)
    }

    fn open(&self, now: Now, entry: Entry) -> Step<Eviction> {
        let open = entry.next(State::Open, now.boot, &self.here.origin);
        let open = open.fit(self.here.longest_name);
        Step::Perform(Operation::Rename(entry, open))
    }
}

impl Evict {
    fn free(&mut self) -> Step<Eviction> {
        Step::Finished(match self.thinned.take() {
            Some(entry) => Eviction::Removed(Some(entry)),
            None => Eviction::WasFree,
        })
    }

    /// Removes several entries, which a union of file systems may show, except for the one with the
    /// largest token, which is then broken like any other.
    fn thin(&mut self, listing: Listing) -> Step<Eviction> {
        if let Some(uid) = listing.stranger {
            return Step::Finished(Eviction::Stranger(uid));
        }
        if let Some(why) = listing.foreign {
            return Step::Finished(Eviction::Foreign(why));
        }
        if self.rounds == ROUNDS {
            return Step::Finished(Eviction::Foreign(Foreign::TwoEntries));
        }
        self.rounds += 1;
        self.surplus = listing.entries;
        // The whole name decides last: two processes that break at once must keep the same entry.
        self.surplus.sort_by_cached_key(|entry| {
            (entry.token, entry.nonce, entry.renewals, entry.to_string())
        });
        // A union of file systems may list one name twice: removing the copy removes the entry.
        self.surplus.dedup();
        self.surplus.pop();
        self.surplus.truncate(THINNED_AT_ONCE);
        match self.surplus.last() {
            Some(entry) => Step::Perform(Operation::Unlink(entry.clone())),
            None => Step::Finished(Eviction::Foreign(Foreign::TwoEntries)),
        }
    }

    fn begin(&mut self, now: Now) -> Step<Eviction> {
        let mut look = Inspect::new(self.here);
        let first = look.start(now);
        self.look = Some(look);
        self.victim = None;
        // Only the next look decides which entries are surplus.
        self.surplus.clear();
        self.asking = false;
        self.removing = false;
        self.checking = false;
        self.reopening = false;
        match first {
            Step::Perform(operation) => Step::Perform(operation),
            Step::Finished(view) => self.judged(now, view),
        }
    }

    fn go_on(&mut self, now: Now, answer: Answer) -> Step<Eviction> {
        if let Some(entry) = self.surplus.pop() {
            match answer {
                Answer::Done(_) => self.thinned = Some(entry),
                Answer::Failed(Fault::Missing) => {}
                Answer::Failed(fault) => return Step::Finished(Eviction::Failed(fault)),
                _ => {}
            }
            return match self.surplus.last() {
                Some(entry) => Step::Perform(Operation::Unlink(entry.clone())),
                None => self.begin(now),
            };
        }
        if self.reopening {
            return Step::Finished(match answer {
                Answer::Done(_) => Eviction::Removed(self.victim.take()),
                _ => Eviction::Remains(self.victim.take(), Fault::Taken),
            });
        }
        if self.removing {
            return Step::Finished(match answer {
                // D is somebody's lock by now, or something keeps it from being removed.
                Answer::Failed(Fault::Taken) if !self.checking => {
                    self.checking = true;
                    return Step::Perform(Operation::Look);
                }
                // Only the process that emptied D creates an entry in it, so there are never two.
                Answer::Seen(Observation::Directory(Listing {
                    foreign: None,
                    litter: Some(_),
                    entries,
                    ..
                })) if entries.is_empty()
                    && let Some(victim) = &self.victim =>
                {
                    let open = victim.next(State::Open, now.boot, &self.here.origin);
                    self.reopening = true;
                    let open = open.fit(self.here.longest_name);
                    return Step::Perform(Operation::Reopen(open));
                }
                Answer::Seen(Observation::Directory(listing)) if listing.entries.is_empty() => {
                    Eviction::Remains(self.victim.take(), Fault::Taken)
                }
                Answer::Failed(fault) if fault != Fault::Missing => {
                    Eviction::Remains(self.victim.take(), fault)
                }
                _ => Eviction::Removed(self.victim.take()),
            });
        }
        if let Some(victim) = &self.victim {
            if core::mem::take(&mut self.asking) {
                let victim = victim.clone();
                return match answer {
                    // We cannot remove D: an empty one would stay and block everybody.
                    Answer::Removable(false) => self.open(now, victim),
                    _ => Step::Perform(Operation::Unlink(victim)),
                };
            }
            return match answer {
                Answer::Done(Some(stamp)) if !victim.fenced => {
                    self.removing = true;
                    Step::Perform(Operation::RemoveDir(stamp))
                }
                Answer::Done(_) => Step::Finished(Eviction::Removed(self.victim.take())),
                Answer::Failed(Fault::Missing | Fault::Taken) if self.rounds < ROUNDS => {
                    self.rounds += 1;
                    self.begin(now)
                }
                Answer::Failed(fault) => Step::Finished(Eviction::Failed(fault)),
                _ => self.begin(now),
            };
        }
        let Some(mut look) = self.look.take() else {
            return self.begin(now);
        };
        if let Answer::Failed(fault) = answer
            && !look.is_asking()
        {
            return Step::Finished(Eviction::Failed(fault));
        }
        match look.resume(now, answer) {
            Step::Perform(operation) => {
                self.look = Some(look);
                Step::Perform(operation)
            }
            Step::Finished(view) => self.judged(now, view),
        }
    }
}

impl Machine for Evict {
    type Outcome = Eviction;

    fn start(&mut self, now: Now) -> Step<Eviction> {
        self.done = None;
        let step = self.begin(now);
        self.wake_first(step)
    }

    fn resume(&mut self, now: Now, answer: Answer) -> Step<Eviction> {
        match self.done.take() {
            Some(outcome) => Step::Finished(outcome),
            None => {
                let step = self.go_on(now, answer);
                self.wake_first(step)
            }
        }
    }
}

impl Evict {
    /// Wakes the first waiter if this step has broken the lock, which is free then.
    fn wake_first(&mut self, step: Step<Eviction>) -> Step<Eviction> {
        match step {
            Step::Finished(outcome @ (Eviction::Removed(_) | Eviction::Remains(..))) => {
                self.done = Some(outcome);
                Step::Perform(Operation::WakeFirst)
            }
            step => step,
        }
    }
}
