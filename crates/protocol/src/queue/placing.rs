//! A place in the queue: taking it, finding who is ahead, and removing dead tickets.

use core::time::Duration;

use super::limits::{ENTERING_TIME, MAX_ORDERS, MAX_REMOVALS, NAP};
use super::{Next, Phase, Queue, Waited};
use crate::acquisition::Blocker;
use crate::entry::Owner;
use crate::operation::{Fault, Handoff, Now, Operation, WakeSource};
use crate::ticket::Ticket;

impl Queue {
    pub(super) fn enter(&mut self, now: Now, queue: &[Ticket]) -> Next {
        self.own_ticket = self.own_ticket.behind(queue, now);
        self.orders_left = if self.orders_left == 0 { MAX_ORDERS } else { self.orders_left - 1 };
        self.perform(Phase::Entering, Operation::Enter(self.own_ticket.clone()))
    }

    /// Finds our place among these tickets.
    pub(super) fn placed(&mut self, now: Now, queue: &[Ticket]) -> Next {
        self.stand_among(queue);
        // A waiter that took a larger order before our ticket was there cannot know of ours, and may
        // listen to the same ticket as we would: so we go behind it.
        if self.orders_left > 1 && queue.iter().any(|ticket| *ticket > self.own_ticket) {
            let handoff = self.ahead.take().map_or(Handoff::First, Handoff::Behind);
            let leave = Operation::Leave(self.own_ticket.clone(), handoff);
            return self.perform(Phase::Renumbering(queue.to_vec()), leave);
        }
        self.orders_left = 0;
        let Some(ahead) = self.ahead.clone() else {
            return self.perform(Phase::Listening, Operation::Listen);
        };
        let is_silent = self.silent.take().as_ref() == Some(&ahead);
        let age = now.wall.saturating_sub(Duration::from_micros(ahead.order));
        let is_gone = self.is_dead(&ahead) || is_silent && age >= ENTERING_TIME;
        if is_gone && self.is_over(now) {
            let blocker = self.blocker.clone().unwrap_or(Blocker::Busy(Fault::Taken));
            self.end(Waited::Over(blocker))
        } else if is_gone {
            // There may be thousands of dead tickets, or one that the sticky bit keeps; and nobody
            // looks at D while we remove them.
            self.removed = self.removed.saturating_add(1);
            match self.removed {
                ..MAX_REMOVALS => self.expel(queue, ahead),
                _ => self.wait_without_queue(now),
            }
        } else if is_silent && ahead.origin.is_same_pids(&self.here.origin) {
            let owner = Owner::One(ahead.process);
            self.perform(Phase::Judging(queue.to_vec()), Operation::AskLiveness(owner))
        } else if is_silent {
            self.nap(now)
        } else {
            self.sleep(now)
        }
    }

    /// Sleeps a little: the waiter ahead has made its ticket and not yet opened it.
    pub(super) fn nap(&mut self, now: Now) -> Next {
        self.sleep_for(Phase::Napping, now, WakeSource::Nothing, NAP)
    }

    pub(super) fn stand_among(&mut self, queue: &[Ticket]) {
        let before = queue.iter().filter(|ticket| **ticket < self.own_ticket);
        self.count = u32::try_from(queue.len()).unwrap_or(u32::MAX);
        self.place = u32::try_from(before.clone().count()).unwrap_or(u32::MAX).saturating_add(1);
        self.ahead = before.max().cloned();
    }

    /// Returns true if the waiter died with an earlier boot of our own kernel.
    pub(super) fn is_dead(&self, ticket: &Ticket) -> bool {
        let same = ticket.origin.is_same_boot(&self.here.origin);
        self.here.is_local && !same && self.here.is_before_boot(ticket)
    }

    /// Removes a ticket, and sends the waiter behind it its new place.
    pub(super) fn expel(&mut self, queue: &[Ticket], ticket: Ticket) -> Next {
        let handoff = match queue.iter().filter(|other| **other < ticket).max() {
            Some(before) => Handoff::Behind(before.clone()),
            None => Handoff::First,
        };
        self.perform(Phase::Expelling, Operation::Expel(ticket, handoff))
    }

    /// Waits by looking again and again: there can be no queue, or others do not respect it.
    pub(super) fn wait_without_queue(&mut self, now: Now) -> Next {
        self.no_queue = true;
        self.ahead = None;
        self.try_now(now)
    }
}
