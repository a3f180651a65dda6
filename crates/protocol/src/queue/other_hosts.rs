//! What those do who stand behind one of another kernel, which cannot tell them that it is gone.

use super::{Next, Phase, Queue};
use crate::entry::Origin;
use crate::operation::{Now, Operation};
use crate::ticket::Ticket;

impl Queue {
    /// Pipes end at the kernel: what others do elsewhere is only seen.
    pub(super) fn hears(&self, origin: &Origin) -> bool {
        origin.is_same_boot(&self.here.origin)
    }

    /// If we stand where we stood: is the lock free, and the first in the queue does not take it?
    pub(super) fn checked(&mut self, now: Now, queue: &[Ticket]) -> Next {
        let before = self.ahead.take();
        self.stand_among(queue);
        match self.ahead == before {
            true => self.perform(Phase::Looking, Operation::Look),
            false => self.placed(now, queue),
        }
    }
}
