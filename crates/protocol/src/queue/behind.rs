//! Behind the first waiter: the others check whether the lock is free and nobody takes it, and then pass
//! the first waiter over.

use core::time::Duration;

use super::joining::Joining;
use super::limits::PASS_OVER_AFTER;
use super::{Next, Queue, Seen, tickets};
use crate::entry::{Entry, State};
use crate::operation::{Answer, Observation, Operation};
use crate::ticket::Ticket;
use crate::time::Now;

/// What a waiter behind others checks when a look is due.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(super) enum Behind {
    /// Lists the queue: a waiter of another kernel cannot report that it is gone.
    CheckingPlace,
    /// Looks whether the lock is free.
    Looking,
    /// Lists the queue, to pass the first waiter over.
    PassingOver,
}

impl Queue {
    pub(super) fn resume_behind(&mut self, phase: Behind, now: Now, answer: Answer) -> Next {
        match (phase, answer) {
            (Behind::CheckingPlace, Answer::Queue(queue)) => self.checked(now, &queue),
            (Behind::CheckingPlace, _) => self.look_for_vacancy(),
            (Behind::Looking, Answer::Seen(sight)) => self.looked(now, sight),
            (Behind::Looking, _) => self.sleep(now),
            (Behind::PassingOver, answer) => self.pass_over(&tickets(answer)),
        }
    }

    /// Checks first whether the waiter ahead, of another kernel, is still there.
    pub(super) fn check_place(&mut self) -> Next {
        self.perform(Behind::CheckingPlace, Operation::ListQueue)
    }

    /// Checks whether the lock is free and the first waiter does not take it.
    pub(super) fn look_for_vacancy(&mut self) -> Next {
        self.perform(Behind::Looking, Operation::Look)
    }

    fn checked(&mut self, now: Now, queue: &[Ticket]) -> Next {
        let before = self.ahead.take();
        self.stand_among(queue);
        match self.ahead == before {
            true => self.look_for_vacancy(),
            false => self.placed(now, queue),
        }
    }

    /// Checks whether D is free and the first waiter does not take it. Whether the holder is alive is
    /// left to the first waiter: this look is for the others, and must be cheap.
    fn looked(&mut self, now: Now, sight: Observation) -> Next {
        let (seen, since) = match sight {
            Observation::Absent => ((None, None), now.boot),
            Observation::Foreign(_) => ((None, None), Duration::MAX),
            Observation::Directory(listing) => match listing.entries.into_iter().next() {
                Some(entry) if self.has_our_clock(&entry, now) => {
                    let since = match entry.state {
                        State::Open => entry.stamp,
                        State::Held => entry.expires_at(),
                    };
                    ((Some(entry), None), since)
                }
                Some(entry) if entry.state == State::Open => ((Some(entry), None), now.boot),
                Some(entry) => {
                    let timeout = entry.timeout;
                    self.watch(now, (Some(entry), None), timeout)
                }
                None => {
                    let timeout = self.acquire.bare_timeout(listing.modified);
                    self.watch(now, (None, Some(listing.modified)), timeout)
                }
            },
        };
        if since > now.boot {
            self.vacant = None;
            return self.sleep(now);
        }
        // Only the same vacancy as at the last look counts on: an open entry may be another by now.
        let (_, since) = match self.vacant.take().filter(|(known, _)| *known == seen) {
            Some(known) => known,
            None => (seen.clone(), since),
        };
        if now.boot.saturating_sub(since) < PASS_OVER_AFTER {
            self.vacant = Some((seen, since));
            return self.sleep(now);
        }
        // The next waiter gets the full time, too.
        self.vacant = Some((seen, now.boot));
        self.perform(Behind::PassingOver, Operation::ListQueue)
    }

    /// Returns true if the entry's stamp is of our clock; a stamp from the future is not
    /// (docs/protocol.md, "The verdict").
    fn has_our_clock(&self, entry: &Entry, now: Now) -> bool {
        self.here.origin.is_same_clock(&entry.origin) && entry.stamp <= now.boot
    }

    /// Watches an entry without a stamp of our clock, or a bare D, which is free when it was seen
    /// unchanged for its timeout; returns when that is.
    fn watch(&mut self, now: Now, seen: Seen, timeout: Duration) -> (Seen, Duration) {
        let known = self.watched.take().filter(|(known, _)| *known == seen);
        let since = known.map_or(now.boot, |(_, since)| since);
        self.watched = Some((seen.clone(), since));
        (seen, since.saturating_add(timeout))
    }

    /// Passes the first waiter over, which had its time to take the lock: the next waiter is first.
    fn pass_over(&mut self, queue: &[Ticket]) -> Next {
        self.stand_among(queue);
        match queue.iter().min() {
            Some(first) if *first < self.own_ticket => {
                let first = first.clone();
                self.expel(Joining::Expelling, queue, first)
            }
            _ => self.listen(),
        }
    }
}
