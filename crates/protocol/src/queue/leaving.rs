//! Leaving the queue, when the lock is acquired or the wait is over. The last waiter that leaves without
//! the lock removes the queue, and a lock that was opened for it meanwhile.

use super::{Next, Phase, Queue, Waited};
use crate::acquisition::Acquisition;
use crate::entry::State;
use crate::operation::{Answer, Handoff, Machine, Observation, Operation, Step};
use crate::release::{Release, Released};
use crate::time::Now;

/// How far a waiter has left the queue.
#[expect(clippy::large_enum_variant, reason = "one exists at a time")]
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(super) enum Leaving {
    /// Removes its ticket, and sends its place to the waiter behind it.
    RemovingTicket,
    /// Lists the queue: is it empty?
    ListingOthers,
    /// Removes the queue, which is empty.
    ClosingQueue,
    /// Looks whether the lock was opened for it at the last moment.
    Looking,
    /// Releases that lock.
    Releasing(Release),
}

impl Queue {
    pub(super) fn resume_leaving(&mut self, phase: Leaving, now: Now, answer: Answer) -> Next {
        match (phase, answer) {
            (Leaving::RemovingTicket, _) => self.left(),
            (Leaving::ListingOthers, Answer::Queue(queue)) if queue.is_empty() => {
                self.perform(Leaving::ClosingQueue, Operation::CloseQueue)
            }
            (Leaving::ClosingQueue, _) => self.perform(Leaving::Looking, Operation::Look),
            (Leaving::Looking, Answer::Seen(sight)) => self.tidy(now, sight),
            (Leaving::Releasing(mut release), answer) => {
                let step = release.resume(now, answer);
                self.releasing(release, step)
            }
            (Leaving::ListingOthers | Leaving::Looking, _) => self.finish(),
        }
    }

    /// Ends the wait with this outcome; leaves the queue first.
    pub(super) fn end(&mut self, outcome: Waited) -> Next {
        self.outcome = Some(outcome);
        if !self.in_queue {
            return self.finish();
        }
        let handoff = match self.ahead.clone() {
            Some(ahead) => Handoff::Behind(ahead),
            None => Handoff::First,
        };
        self.perform(Leaving::RemovingTicket, Operation::Leave(self.own_ticket.clone(), handoff))
    }

    fn finish(&mut self) -> Next {
        self.in_queue = false;
        self.phase = Phase::Arriving;
        Step::Finished(self.outcome.take().unwrap_or(Waited::Interrupted))
    }

    /// Our ticket is removed. The last waiter that leaves without the lock removes the queue. Every
    /// waiter without the lock checks that, even one that was not first: the waiter ahead may have left
    /// meanwhile in the belief that we come next.
    fn left(&mut self) -> Next {
        self.in_queue = false;
        match self.outcome {
            Some(Waited::Ended(Acquisition::Got(..))) => self.finish(),
            _ => self.perform(Leaving::ListingOthers, Operation::ListQueue),
        }
    }

    /// Releases a lock that was opened for us at the last moment: the queue is closed, so nobody else
    /// knows of it.
    fn tidy(&mut self, now: Now, sight: Observation) -> Next {
        let Observation::Directory(listing) = sight else {
            return self.finish();
        };
        match listing.entries.first() {
            Some(entry)
                if entry.state == State::Open
                    && !entry.fenced
                    && listing.stranger.is_none()
                    && listing.foreign.is_none() =>
            {
                let mut release = Release::new(entry.clone(), false, self.here);
                let step = release.start(now);
                self.releasing(release, step)
            }
            _ => self.finish(),
        }
    }

    fn releasing(&mut self, release: Release, step: Step<Released>) -> Next {
        match step {
            Step::Perform(operation) => self.perform(Leaving::Releasing(release), operation),
            Step::Finished(_) => self.finish(),
        }
    }
}
