//! Waiting: a ticket in the queue beside D, one sleep at a time, until the lock is acquired or patience
//! is over. The first waiter listens to the bell that a release rings; each other waiter sleeps on the
//! ticket ahead of it. Safety never depends on the queue: only [`Acquire`] takes the lock.
//!
//! This file has the state, the tries, and which part comes next; each part is a file with its phases.

mod behind;
mod joining;
mod leaving;
pub(crate) mod limits;
mod one_try;
mod sleeping;

use alloc::vec::Vec;
use core::mem;
use core::time::Duration;

use self::behind::Behind;
use self::joining::Joining;
use self::leaving::Leaving;
use self::limits::{MAX_BROKEN_TRIES, PACE, SHORTEST_INTERVAL};
use self::one_try::OneTry;
use crate::acquire::Acquire;
use crate::acquisition::{Acquisition, Blocker};
use crate::entry::Entry;
use crate::operation::{Answer, Fault, Machine, Operation, Step};
use crate::ticket::Ticket;
use crate::time::{Now, Stamp};
use crate::verdict::LocalContext;

/// How waiting ended.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Waited {
    /// A try ended with this outcome; never [`Acquisition::Blocked`] or [`Acquisition::Stranger`].
    Ended(Acquisition),
    /// Patience is over; this blocked the last try.
    Over(Blocker),
    /// Somebody interrupted the wait.
    Interrupted,
}

/// The machine that waits for a lock.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Queue {
    acquire: Acquire,
    here: LocalContext,
    /// When patience is over, on the boot clock; none: never.
    until: Option<Duration>,
    phase: Phase,
    /// What blocked the last try.
    blocker: Option<Blocker>,
    /// The change time of the bare D at the last try.
    bare: Option<Stamp>,
    /// How many tries in a row have ended with a [`Fault::Broken`].
    broken: u8,
    /// How the wait ends when we have left the queue.
    outcome: Option<Waited>,

    // The place in the queue.
    /// Our identity; its order is that of our last ticket.
    own_ticket: Ticket,
    in_queue: bool,
    /// There can be no queue, or others do not respect it.
    no_queue: bool,
    /// Whether the directory is another user's: waiters for it are in a queue of that user.
    is_other_users: bool,
    /// The waiter next ahead of us; without patience, the first waiter.
    ahead: Option<Ticket>,
    /// The waiter ahead that is gone without a handoff; its ticket may still be there.
    silent: Option<Ticket>,
    /// How many tickets the queue had at the last listing.
    count: u32,
    /// Our number in the queue; the first waiter has 1.
    place: u32,
    /// How many orders we may still take, the present one included; 0 when our place is settled.
    orders_left: u8,
    /// How often somebody has removed our ticket.
    expulsions: u8,
    /// How many dead tickets we have tried to remove since our last sleep.
    removed: u8,

    // When we look again.
    /// The pause until the next look where nothing reports a change.
    pause: Duration,
    /// The longest such pause.
    poll_interval: Duration,

    // What we saw behind other waiters.
    /// The free lock that the last look saw, and since when it is free.
    vacant: Option<(Seen, Duration)>,
    /// An entry without a stamp of our clock, or a bare D, and since when it was seen unchanged.
    watched: Option<(Seen, Duration)>,
    /// For how many more waiters a try without patience pauses, to let them take the lock.
    passes: u8,
}

/// What is at D's path: nothing, an entry, or an empty directory with this change time.
type Seen = (Option<Entry>, Option<Stamp>);

/// The part of the wait whose operation is answered next.
#[expect(clippy::large_enum_variant, reason = "one exists at a time")]
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
enum Phase {
    /// Lists the queue before the first try: only if nobody is in it, the try comes first.
    Arriving,
    /// Without patience: leaves a free lock to the first waiter for a moment.
    OneTry(OneTry),
    /// Tries to acquire the lock.
    Trying,
    /// Takes a place in the queue.
    Joining(Joining),
    /// Sleeps until something is reported or a look is due.
    Sleeping,
    /// Checks whether the waiters ahead leave a free lock.
    Behind(Behind),
    /// Leaves the queue, at the end.
    Leaving(Leaving),
}

impl From<OneTry> for Phase {
    fn from(phase: OneTry) -> Phase {
        Phase::OneTry(phase)
    }
}

impl From<Joining> for Phase {
    fn from(phase: Joining) -> Phase {
        Phase::Joining(phase)
    }
}

impl From<Behind> for Phase {
    fn from(phase: Behind) -> Phase {
        Phase::Behind(phase)
    }
}

impl From<Leaving> for Phase {
    fn from(phase: Leaving) -> Phase {
        Phase::Leaving(phase)
    }
}

type Next = Step<Waited>;

impl Queue {
    /// Creates a machine that waits for what `acquire` acquires, as the waiter of `own_ticket`, until
    /// this time of the boot clock.
    #[must_use]
    pub fn new(
        acquire: Acquire,
        own_ticket: Ticket,
        here: LocalContext,
        until: Option<Duration>,
    ) -> Queue {
        Queue {
            acquire,
            here,
            until,
            phase: Phase::Arriving,
            blocker: None,
            bare: None,
            broken: 0,
            outcome: None,
            own_ticket,
            in_queue: false,
            no_queue: false,
            is_other_users: false,
            ahead: None,
            silent: None,
            count: 0,
            place: 0,
            orders_left: 0,
            expulsions: 0,
            removed: 0,
            pause: SHORTEST_INTERVAL,
            poll_interval: PACE,
            vacant: None,
            watched: None,
            passes: one_try::PASSES,
        }
    }

    /// Sets how often the waiter looks at least where nothing reports a change; by default every
    /// [`PACE`].
    #[must_use]
    pub fn poll_interval(self, poll_interval: Duration) -> Queue {
        Queue { poll_interval: poll_interval.max(SHORTEST_INTERVAL), ..self }
    }

    /// Returns what blocked the last try.
    #[must_use]
    pub fn blocker(&self) -> Option<&Blocker> {
        self.blocker.as_ref()
    }

    /// Returns our ticket, while we are in the queue.
    #[must_use]
    pub fn ticket(&self) -> Option<&Ticket> {
        self.in_queue.then_some(&self.own_ticket)
    }

    fn is_over(&self, now: Now) -> bool {
        self.until.is_some_and(|until| now.boot >= until)
    }

    fn perform(&mut self, phase: impl Into<Phase>, operation: Operation) -> Next {
        self.phase = phase.into();
        Step::Perform(operation)
    }

    fn arrived(&mut self, now: Now, answer: Answer) -> Next {
        match tickets(answer) {
            queue if queue.is_empty() => self.try_now(now),
            queue if self.is_over(now) => self.ask_for_waiters(&queue),
            queue => self.enter(now, &queue),
        }
    }

    fn try_now(&mut self, now: Now) -> Next {
        let step = self.acquire.start(now);
        self.trying(now, step)
    }

    fn trying(&mut self, now: Now, step: Step<Acquisition>) -> Next {
        match step {
            Step::Perform(operation) => self.perform(Phase::Trying, operation),
            Step::Finished(Acquisition::Failed(fault @ Fault::Broken { .. }))
                if self.broken < MAX_BROKEN_TRIES && !self.is_over(now) =>
            {
                self.broken += 1;
                self.blocked(now, Blocker::Busy(fault))
            }
            Step::Finished(Acquisition::Blocked(blocker)) => {
                self.broken = 0;
                self.blocked(now, blocker)
            }
            // The path is free when the other user releases the lock.
            Step::Finished(Acquisition::Stranger(uid)) => self.blocked(now, Blocker::Stranger(uid)),
            Step::Finished(outcome) => self.end(Waited::Ended(outcome)),
        }
    }

    fn blocked(&mut self, now: Now, blocker: Blocker) -> Next {
        self.is_other_users = matches!(blocker, Blocker::Stranger(_));
        self.blocker = Some(blocker.clone());
        // Plain `mkdir` lockers look every few milliseconds: while a bare D changes hands, so do we.
        let bare = self.acquire.bare_stamp().filter(|_| matches!(blocker, Blocker::Bare(_)));
        if bare.is_some() && bare != self.bare {
            self.pause = SHORTEST_INTERVAL;
        }
        self.bare = bare;
        if self.is_over(now) {
            self.end(Waited::Over(blocker))
        } else if self.in_queue || self.has_no_queue() {
            self.sleep(now)
        } else {
            // The queue was empty when we arrived.
            self.enter(now, &[])
        }
    }

    /// Returns true if nobody reports changes to us.
    fn has_no_queue(&self) -> bool {
        self.no_queue || self.is_other_users && !self.in_queue
    }
}

impl Machine for Queue {
    type Outcome = Waited;

    fn start(&mut self, _now: Now) -> Next {
        self.perform(Phase::Arriving, Operation::ListQueue)
    }

    fn resume(&mut self, now: Now, answer: Answer) -> Next {
        match mem::replace(&mut self.phase, Phase::Arriving) {
            Phase::Arriving => self.arrived(now, answer),
            Phase::OneTry(phase) => self.resume_one_try(phase, now, answer),
            Phase::Trying => {
                let step = self.acquire.resume(now, answer);
                self.trying(now, step)
            }
            Phase::Joining(phase) => self.resume_joining(phase, now, answer),
            Phase::Sleeping => self.slept(now, answer),
            Phase::Behind(phase) => self.resume_behind(phase, now, answer),
            Phase::Leaving(phase) => self.resume_leaving(phase, now, answer),
        }
    }
}

/// Returns the tickets of this listing; none where it failed.
fn tickets(answer: Answer) -> Vec<Ticket> {
    match answer {
        Answer::Queue(queue) => queue,
        _ => Vec::new(),
    }
}
