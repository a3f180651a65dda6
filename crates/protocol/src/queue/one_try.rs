//! A try without patience where waiters queue: it gives the first waiter time to take a free lock, and
//! then passes it over, as waiters do. Otherwise a stopped waiter would keep a free lock from everybody
//! who only tries.

use alloc::boxed::Box;
use core::time::Duration;

use super::limits::PASS_OVER_AFTER;
use super::{Next, Queue, Seen, Waited, tickets};
use crate::acquisition::Blocker;
use crate::entry::State;
use crate::inspect::{Inspect, View};
use crate::operation::{
    Answer, Fault, Listing, Machine, Observation, Operation, Step, Wake, WakeSource,
};
use crate::ticket::Ticket;
use crate::time::{Now, is_older};
use crate::verdict::Verdict;

/// For how many waiters one try pauses. Each costs [`PASS_OVER_AFTER`], so a try ends within half a
/// second. The next try passes over more waiters.
pub(super) const PASSES: u8 = 4;

/// How a try without patience gets past the waiters.
#[expect(clippy::large_enum_variant, reason = "one exists at a time")]
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(super) enum OneTry {
    /// Asks whether there is a living waiter in the queue.
    AskingWaiters,
    /// Looks whether the lock is free although somebody waits.
    Looking(Inspect),
    /// Leaves the free lock to the first waiter.
    Pausing,
    /// The first waiter had its time. Lists the queue: is it the same waiter still?
    Overtaking,
    /// Removes the ticket of that waiter.
    Expelling,
    /// Lists the queue, to find the next waiter.
    FindingNext,
}

impl Queue {
    pub(super) fn resume_one_try(&mut self, phase: OneTry, now: Now, answer: Answer) -> Next {
        match (phase, answer) {
            (OneTry::AskingWaiters, Answer::Somebody(true)) => self.look_around(now),
            (OneTry::AskingWaiters, _) => self.try_now(now),
            (OneTry::Looking(mut look), answer) => {
                let step = look.resume(now, answer);
                self.looking(now, look, step)
            }
            (OneTry::Pausing, Answer::Woken(Wake::Interrupted)) => self.end(Waited::Interrupted),
            (OneTry::Pausing, _) => self.look_around(now),
            (OneTry::Overtaking, answer) => self.overtake(now, &tickets(answer)),
            // The ticket cannot be removed and would stay for ever: the try goes on without regard to it.
            (OneTry::Expelling, Answer::Failed(fault)) if fault != Fault::Missing => {
                self.try_now(now)
            }
            (OneTry::Expelling, _) => self.perform(OneTry::FindingNext, Operation::ListQueue),
            (OneTry::FindingNext, answer) => self.overtaken(now, &tickets(answer)),
        }
    }

    /// Asks whether anybody in this queue is alive.
    pub(super) fn ask_for_waiters(&mut self, queue: &[Ticket]) -> Next {
        self.ahead = queue.iter().min().cloned();
        self.perform(OneTry::AskingWaiters, Operation::HasWaiters)
    }

    fn look_around(&mut self, now: Now) -> Next {
        let mut look = Inspect::new(self.here);
        let step = look.start(now);
        self.looking(now, look, step)
    }

    fn looking(&mut self, now: Now, look: Inspect, step: Step<View>) -> Next {
        match step {
            Step::Perform(operation) => self.perform(OneTry::Looking(look), operation),
            Step::Finished(view) => self.looked_around(now, &view),
        }
    }

    fn looked_around(&mut self, now: Now, view: &View) -> Next {
        if let Some(fault) = view.fault {
            return self.give_up(Blocker::Busy(fault));
        }
        let seen = match &view.sight {
            Observation::Absent => (None, None),
            // The try itself reports why the lock is not ours to take.
            Observation::Foreign(_) | Observation::Directory(Listing { stranger: Some(_), .. }) => {
                return self.try_now(now);
            }
            Observation::Directory(listing) => match self.vacancy(listing, view) {
                Ok(vacancy) => vacancy,
                Err(blocker) => return self.give_up(*blocker),
            },
        };
        match self.vacant.take() {
            None => self.pause_for_first(now, seen),
            // Others take the lock and release it: if every vacancy caused a pause, a try might never end.
            Some((known, _)) if known != seen => self.give_up(Blocker::Busy(Fault::Taken)),
            Some((_, since)) if now.boot.saturating_sub(since) < PASS_OVER_AFTER => {
                self.pause(seen, since)
            }
            Some(known) => {
                self.vacant = Some(known);
                self.perform(OneTry::Overtaking, Operation::ListQueue)
            }
        }
    }

    /// Returns the free lock; as the error, what blocks it.
    fn vacancy(&self, listing: &Listing, view: &View) -> Result<Seen, Box<Blocker>> {
        let Some(entry) = listing.entries.first().cloned() else {
            let timeout = self.acquire.bare_timeout(listing.modified);
            let is_old =
                view.file_clock.is_some_and(|clock| is_older(listing.modified, clock, timeout));
            return match is_old {
                true => Ok((None, Some(listing.modified))),
                false => Err(Box::new(Blocker::Bare(listing.litter.clone()))),
            };
        };
        match (entry.state, view.verdict) {
            (State::Held, Some(Verdict::Live { until })) => {
                Err(Box::new(Blocker::Held { entry, until }))
            }
            _ => Ok((Some(entry), None)),
        }
    }

    /// Leaves the lock to the first waiter, from now on, since it may be the first only since now.
    fn pause_for_first(&mut self, now: Now, seen: Seen) -> Next {
        if self.passes == 0 {
            return self.give_up(Blocker::Busy(Fault::Taken));
        }
        self.passes -= 1;
        self.pause(seen, now.boot)
    }

    fn pause(&mut self, seen: Seen, since: Duration) -> Next {
        self.vacant = Some((seen, since));
        let sleep = Operation::Sleep(WakeSource::Nothing, since.saturating_add(PASS_OVER_AFTER));
        self.perform(OneTry::Pausing, sleep)
    }

    /// Passes the first waiter over, which had its time, if it was already first before that.
    fn overtake(&mut self, now: Now, queue: &[Ticket]) -> Next {
        match queue.iter().min().cloned() {
            Some(first) if self.ahead.as_ref() == Some(&first) => {
                self.expel(OneTry::Expelling, queue, first)
            }
            _ => self.overtaken(now, queue),
        }
    }

    /// Gives the new first waiter its time, or tries at once if there is none.
    fn overtaken(&mut self, now: Now, queue: &[Ticket]) -> Next {
        self.ahead = queue.iter().min().cloned();
        match (self.ahead.is_some(), self.vacant.take()) {
            (true, Some((seen, _))) => self.pause_for_first(now, seen),
            _ => self.try_now(now),
        }
    }

    fn give_up(&mut self, blocker: Blocker) -> Next {
        self.blocker = Some(blocker.clone());
        self.end(Waited::Over(blocker))
    }
}
