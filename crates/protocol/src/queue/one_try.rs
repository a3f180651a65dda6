//! A try without patience where waiters queue: it gives the first waiter time to take a free lock, and
//! then passes it over, as waiters do. Otherwise a stopped waiter would keep a free lock from everybody
//! who only tries.

use alloc::boxed::Box;
use core::time::Duration;

use super::limits::PASS_OVER_AFTER;
use super::{Next, Phase, Queue, Seen};
use crate::acquisition::Blocker;
use crate::entry::State;
use crate::inspect::{Inspect, View};
use crate::operation::{Fault, Listing, Machine, Now, Observation, Operation, Step, WakeSource};
use crate::ticket::Ticket;
use crate::verdict::{Verdict, is_older};

/// For how many waiters one try pauses. Each costs [`PASS_OVER_AFTER`], so a try ends within half a
/// second. The next try passes over more waiters.
pub(super) const PASSES: u8 = 4;

impl Queue {
    /// Looks whether the lock is free although somebody waits.
    pub(super) fn glance(&mut self, now: Now) -> Next {
        let mut look = Inspect::new(self.here);
        let step = look.start(now);
        self.glancing(now, look, step)
    }

    pub(super) fn glancing(&mut self, now: Now, look: Inspect, step: Step<View>) -> Next {
        match step {
            Step::Perform(operation) => self.perform(Phase::Glancing(look), operation),
            Step::Finished(view) => self.glanced(now, &view),
        }
    }

    fn glanced(&mut self, now: Now, view: &View) -> Next {
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
                self.perform(Phase::Overtaking, Operation::ListQueue)
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
        self.perform(Phase::Pausing, sleep)
    }

    /// Passes the first waiter over, which had its time, if it was already first before that.
    pub(super) fn overtake(&mut self, now: Now, queue: &[Ticket]) -> Next {
        match queue.iter().min().cloned() {
            Some(first) if self.ahead.as_ref() == Some(&first) => {
                let next = self.expel(queue, first);
                self.doing = Phase::Dismissing;
                next
            }
            _ => self.overtaken(now, queue),
        }
    }

    /// Gives the new first waiter its time, or tries at once if there is none.
    pub(super) fn overtaken(&mut self, now: Now, queue: &[Ticket]) -> Next {
        self.ahead = queue.iter().min().cloned();
        match (self.ahead.is_some(), self.vacant.take()) {
            (true, Some((seen, _))) => self.pause_for_first(now, seen),
            _ => self.try_now(now),
        }
    }

    fn give_up(&mut self, blocker: Blocker) -> Next {
        self.blocker = Some(blocker.clone());
        self.end(super::Waited::Over(blocker))
    }
}
