//! The rule for a process that tries once where others queue (docs/protocol.md, "Patience zero"), stated
//! independently of the machines and checked against the true state of the world: no waiter is passed over
//! that did not have a whole moment as the first in the queue of a free lock; and a try ends.

use std::time::Duration;

use lockbydir_protocol::{Entry, Operation, PASS_OVER_AFTER, State};

use crate::contender::Contender;
use crate::mutant::Mutant;
use crate::one_try::Front;
use crate::state::Moment;
use crate::world::World;

/// The number of waiters for which one try may pause.
const PAUSES: u8 = 4;

impl World {
    /// Whether some process tries once where others may queue.
    pub(crate) fn has_tries(&self) -> bool {
        self.has_queue && self.plans.iter().any(|plan| plan.patience == Some(0))
    }

    /// Whether this process tries only once.
    pub(crate) fn tries_once(&self, person: &Contender) -> bool {
        self.has_tries() && person.plan.patience == Some(0)
    }

    /// Whether this entry may be taken.
    pub(crate) fn is_takable(&self, entry: &Entry, moment: &Moment) -> bool {
        let now = self.boot(0, moment.time);
        entry.state == State::Open || now >= entry.expires_at() || self.is_dead(entry, moment)
    }

    /// Records which waiter is first now.
    pub(crate) fn watch_the_front(&self, moment: &mut Moment) {
        if !self.has_tries() {
            return;
        }
        let free = match &moment.disk.inside {
            None => Some((None, None)),
            Some(inside) => match &inside.entry {
                Some(entry) => self.is_takable(entry, moment).then(|| (Some(entry.clone()), None)),
                None => Some((None, Some(inside.changed))),
            },
        };
        let first = moment.queue.tickets().min().cloned().filter(|_| free.is_some());
        let is_known = (&moment.front.first, &moment.front.free) == (&first, &free);
        let since = match (is_known, &first) {
            (true, _) => moment.front.since,
            (false, None) => 0,
            (false, Some(_)) => moment.time,
        };
        moment.front = Front { first, free, since };
    }

    /// Whether this process is a mutant whose pauses have no length.
    pub(crate) fn is_hasty(&self, person: &Contender) -> bool {
        self.mutant == Some(Mutant::PassesOverAtOnce)
            && self.tries_once(person)
            && person.one_try.pauses > 0
    }

    /// Records that the process looks at D.
    pub(crate) fn try_looks(&self, id: usize, moment: &mut Moment) {
        let Front { first, since, .. } = moment.front.clone();
        let was_left_alone = self.tick * u32::from(moment.time - since) >= PASS_OVER_AFTER;
        moment.people[id]
            .change(|person| person.one_try.is_late = first.filter(|_| was_left_alone));
    }

    /// Whether the process may do this: pass over a waiter, or pause.
    pub(crate) fn may_try(&self, id: usize, operation: &Operation, moment: &mut Moment) -> bool {
        let now = self.boot(id, moment.time);
        moment.people[id].change(|person| match operation {
            Operation::Expel(ticket, _) => person.one_try.is_late.take().as_ref() == Some(ticket),
            Operation::Sleep(_, until) => {
                person.one_try.pauses += 1;
                until.saturating_sub(now) <= PASS_OVER_AFTER && person.one_try.pauses <= PAUSES
            }
            _ => true,
        })
    }

    /// Returns the longest time that a try may take if it is never slow.
    pub(crate) fn longest_try() -> Duration {
        PASS_OVER_AFTER * u32::from(PAUSES)
    }
}
