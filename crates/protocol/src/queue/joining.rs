//! Joining the queue: taking a place, finding who is ahead, and removing dead tickets.

use alloc::vec::Vec;
use core::time::Duration;

use super::limits::{ENTERING_TIME, MAX_ORDERS, MAX_REMOVALS, NAP};
use super::{Next, Phase, Queue, Waited, tickets};
use crate::acquisition::Blocker;
use crate::entry::Owner;
use crate::operation::{Answer, Fault, Handoff, Operation, Wake, WakeSource};
use crate::ticket::Ticket;
use crate::time::Now;
use crate::verdict::Liveness;

/// How a waiter takes its place.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(super) enum Joining {
    /// Its ticket is gone. Lists the queue, to choose an order behind all others.
    Numbering,
    /// Creates its ticket.
    Entering,
    /// Lists the queue, to find who is ahead.
    FindingPlace,
    /// Gives its place up for one behind these tickets.
    Renumbering(Vec<Ticket>),
    /// Asks whether the waiter ahead, which has not opened its ticket, is alive; these are all tickets.
    Judging(Vec<Ticket>),
    /// Sleeps until the waiter ahead may have opened its ticket.
    Napping,
    /// Removes a ticket whose waiter is gone or was passed over.
    Expelling,
    /// It is first: opens the bell.
    Listening,
}

impl Queue {
    pub(super) fn resume_joining(&mut self, phase: Joining, now: Now, answer: Answer) -> Next {
        match (phase, answer) {
            (Joining::Numbering, Answer::Queue(queue)) => self.enter(now, &queue),
            (Joining::Entering, Answer::Done(_)) => {
                self.in_queue = true;
                self.find_place()
            }
            // There can be no queue (a full disk, a folder without write permission): wait all the same.
            (Joining::Numbering | Joining::Entering, _) => self.wait_without_queue(now),
            (Joining::FindingPlace, answer) => self.placed(now, &tickets(answer)),
            (Joining::Renumbering(queue), _) => {
                self.in_queue = false;
                self.enter(now, &queue)
            }
            (Joining::Judging(queue), answer) => match (answer, self.ahead.clone()) {
                (Answer::Liveness(Liveness::Gone), Some(ahead)) => {
                    self.expel(Joining::Expelling, &queue, ahead)
                }
                _ => self.nap(now),
            },
            (Joining::Napping, Answer::Woken(wake)) if wake != Wake::Time || self.is_over(now) => {
                self.woken(now, wake)
            }
            (Joining::Napping, _) => self.find_place(),
            // The sticky bit keeps the ticket, or it cannot be reached: it would stay for ever.
            (Joining::Expelling, Answer::Failed(fault)) if fault != Fault::Missing => {
                self.wait_without_queue(now)
            }
            (Joining::Expelling, _) => self.find_place(),
            (Joining::Listening, _) => {
                self.vacant = None;
                self.try_now(now)
            }
        }
    }

    /// Queues again.
    pub(super) fn enter_again(&mut self) -> Next {
        self.perform(Joining::Numbering, Operation::ListQueue)
    }

    pub(super) fn find_place(&mut self) -> Next {
        self.perform(Joining::FindingPlace, Operation::ListQueue)
    }

    /// Becomes the first waiter.
    pub(super) fn listen(&mut self) -> Next {
        self.perform(Joining::Listening, Operation::Listen)
    }

    /// Takes a place behind these tickets. They need not be all: whether there is a larger one is seen
    /// when our own is there.
    pub(super) fn enter(&mut self, now: Now, queue: &[Ticket]) -> Next {
        self.own_ticket = self.own_ticket.behind(queue, now);
        self.orders_left = if self.orders_left == 0 { MAX_ORDERS } else { self.orders_left - 1 };
        self.perform(Joining::Entering, Operation::Enter(self.own_ticket.clone()))
    }

    /// Finds our place among these tickets.
    pub(super) fn placed(&mut self, now: Now, queue: &[Ticket]) -> Next {
        self.stand_among(queue);
        // A waiter that took a larger order before our ticket was there cannot know of ours, and may
        // listen to the same ticket as we would: so we go behind it.
        if self.orders_left > 1 && queue.iter().any(|ticket| *ticket > self.own_ticket) {
            let handoff = self.ahead.take().map_or(Handoff::First, Handoff::Behind);
            let leave = Operation::Leave(self.own_ticket.clone(), handoff);
            return self.perform(Joining::Renumbering(queue.to_vec()), leave);
        }
        self.orders_left = 0;
        let Some(ahead) = self.ahead.clone() else {
            return self.listen();
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
                ..MAX_REMOVALS => self.expel(Joining::Expelling, queue, ahead),
                _ => self.wait_without_queue(now),
            }
        } else if is_silent && ahead.origin.is_same_pids(&self.here.origin) {
            let owner = Owner::One(ahead.process);
            self.perform(Joining::Judging(queue.to_vec()), Operation::AskLiveness(owner))
        } else if is_silent {
            self.nap(now)
        } else {
            self.sleep(now)
        }
    }

    /// Sleeps a little: the waiter ahead has made its ticket and not yet opened it.
    fn nap(&mut self, now: Now) -> Next {
        self.sleep_for(Joining::Napping, now, WakeSource::Nothing, NAP)
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
    pub(super) fn expel(
        &mut self,
        phase: impl Into<Phase>,
        queue: &[Ticket],
        ticket: Ticket,
    ) -> Next {
        let handoff = match queue.iter().filter(|other| **other < ticket).max() {
            Some(before) => Handoff::Behind(before.clone()),
            None => Handoff::First,
        };
        self.perform(phase, Operation::Expel(ticket, handoff))
    }

    /// Waits by looking again and again: there can be no queue, or others do not respect it.
    pub(super) fn wait_without_queue(&mut self, now: Now) -> Next {
        self.no_queue = true;
        self.ahead = None;
        self.try_now(now)
    }
}
