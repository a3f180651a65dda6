//! Waiting behind a waiter of another kernel, which cannot report that it is gone.

use super::{Next, Phase, Queue};
use crate::entry::Origin;
use crate::operation::{Now, Operation};
use crate::ticket::Ticket;

impl Queue {
    /// Returns true if our pipes reach processes of this origin. Pipes work within one kernel: what
    /// other kernels do is only seen.
    pub(super) fn reaches(&self, origin: &Origin) -> bool {
        origin.is_same_boot(&self.here.origin)
    }

    /// If our place is unchanged, checks whether the lock is free and the first waiter does not take it.
    pub(super) fn checked(&mut self, now: Now, queue: &[Ticket]) -> Next {
        let before = self.ahead.take();
        self.stand_among(queue);
        match self.ahead == before {
            true => self.perform(Phase::Looking, Operation::Look),
            false => self.placed(now, queue),
        }
    }
}
