//! What a try without patience does where waiters stand in line: it gives the first one its moment,
//! and passes it over as the others do. Else a stopped waiter keeps a free lock from all who only try.

use alloc::boxed::Box;
use core::time::Duration;

use super::{Doing, MOMENT, Next, Queue, Seen};
use crate::acquire::Blocker;
use crate::entry::State;
use crate::inspect::{Inspect, View};
use crate::operation::{Ear, Fault, Listing, Machine, Now, Operation, Sight, Step};
use crate::ticket::Ticket;
use crate::verdict::{Verdict, is_older};

/// How many waiters one try passes over: each costs a moment, so a try ends within half a second. The
/// next try passes over more.
pub(super) const PASSES: u8 = 4;

impl Queue {
    /// Somebody waits. Is the lock free all the same?
    pub(super) fn glance(&mut self, now: Now) -> Next {
        let mut look = Inspect::new(self.here);
        let step = look.start(now);
        self.glancing(now, look, step)
    }

    pub(super) fn glancing(&mut self, now: Now, look: Inspect, step: Step<View>) -> Next {
        match step {
            Step::Perform(operation) => self.perform(Doing::Glancing(look), operation),
            Step::Finished(view) => self.glanced(now, &view),
        }
    }

    fn glanced(&mut self, now: Now, view: &View) -> Next {
        if let Some(fault) = view.fault {
            return self.give_up(Blocker::Busy(fault));
        }
        let (seen, since) = match &view.sight {
            Sight::Absent => ((None, None), now.boot),
            // The try itself says why it is not ours.
            Sight::Foreign(_) | Sight::Directory(Listing { stranger: Some(_), .. }) => {
                return self.try_now(now);
            }
            Sight::Directory(listing) => match self.vacancy(now, listing, view) {
                Ok(vacancy) => vacancy,
                Err(blocker) => return self.give_up(*blocker),
            },
        };
        let known = self.vacant.take().filter(|(known, _)| *known == seen);
        let (_, since) = known.unwrap_or((seen.clone(), since));
        if now.boot.saturating_sub(since) < MOMENT {
            return self.give_a_moment(seen, since);
        }
        // The next one gets a moment of its own.
        self.vacant = Some((seen, now.boot));
        self.perform(Doing::Overtaking, Operation::ListLine)
    }

    /// What is free, and since when; else what is in the way.
    fn vacancy(
        &self,
        now: Now,
        listing: &Listing,
        view: &View,
    ) -> Result<(Seen, Duration), Box<Blocker>> {
        let Some(entry) = listing.entries.first().cloned() else {
            let timeout = self.acquire.bare_timeout(listing.modified);
            let is_old =
                view.file_clock.is_some_and(|clock| is_older(listing.modified, clock, timeout));
            return match is_old {
                true => Ok(((None, Some(listing.modified)), now.boot)),
                false => Err(Box::new(Blocker::Bare(listing.litter.clone()))),
            };
        };
        let since = match (entry.state, view.verdict) {
            (State::Open, _) => entry.stamp,
            (State::Held, Some(Verdict::Lapsed(_))) => entry.lapses_at(),
            (State::Held, Some(Verdict::Live { until })) => {
                return Err(Box::new(Blocker::Held { entry, until }));
            }
            (State::Held, _) => now.boot,
        };
        let since = if self.tells_time(&entry, now) { since } else { now.boot };
        Ok(((Some(entry), None), since))
    }

    /// Until then it is left to the first in line.
    fn give_a_moment(&mut self, seen: Seen, since: Duration) -> Next {
        self.vacant = Some((seen, since));
        let moment = Operation::Sleep(Ear::Nothing, since.saturating_add(MOMENT));
        self.perform(Doing::Pausing, moment)
    }

    /// The first in line had its moment.
    pub(super) fn overtake(&mut self, now: Now, line: &[Ticket]) -> Next {
        match (line.iter().min().cloned(), self.passes) {
            (None, _) => self.try_now(now),
            (Some(_), 0) => self.give_up(Blocker::Busy(Fault::Taken)),
            (Some(first), _) => {
                self.passes -= 1;
                let next = self.expel(line, first);
                self.doing = Doing::Dismissing;
                next
            }
        }
    }

    /// The first one's ticket is gone. Does somebody else stand there?
    pub(super) fn overtaken(&mut self, now: Now, line: &[Ticket]) -> Next {
        match self.vacant.clone() {
            Some((seen, _)) if !line.is_empty() => self.give_a_moment(seen, now.boot),
            _ => self.try_now(now),
        }
    }

    fn give_up(&mut self, blocker: Blocker) -> Next {
        self.blocker = Some(blocker.clone());
        self.end(super::Waited::Over(blocker))
    }
}
