//! Waiting: a ticket in the queue beside D, one sleep at a time, until the lock is acquired or patience
//! is over. The first waiter listens to the bell that a release rings; each other waiter sleeps on the
//! ticket ahead of it. Safety never depends on the queue: only [`Acquire`] takes the lock.

pub(crate) mod limits;
mod one_try;
mod other_hosts;
mod placing;
mod vacancy;

use alloc::vec::Vec;
use core::time::Duration;

use self::limits::{
    FIRST_INTERVAL, INTERVAL_PER_TICKET, MAX_BROKEN_TRIES, MAX_EXPULSIONS, OTHERS_INTERVAL, PACE,
    PASS_OVER_AFTER, SHORTEST_INTERVAL,
};
use crate::acquire::Acquire;
use crate::acquisition::{Acquisition, Blocker};
use crate::entry::{Entry, Owner, State};
use crate::inspect::Inspect;
use crate::operation::{
    Answer, Fault, Handoff, Machine, Now, Observation, Operation, Stamp, Step, Wake, WakeSource,
};
use crate::release::Release;
use crate::ticket::Ticket;
use crate::verdict::{Liveness, LocalContext};

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
    /// Our identity; its order is that of our last ticket.
    own_ticket: Ticket,
    /// When patience is over, on the boot clock; none: never.
    until: Option<Duration>,
    in_queue: bool,
    /// How many orders we may still take, the present one included; 0 when our place is settled.
    orders_left: u8,
    expulsions: u8,
    /// How many dead tickets we have tried to remove since our last sleep.
    removed: u8,
    /// How many tries in a row have ended with a [`Fault::Broken`].
    broken: u8,
    no_queue: bool,
    /// Whether the directory is another user's: waiters for it are in a queue of that user.
    is_other_users: bool,
    ahead: Option<Ticket>,
    count: u32,
    place: u32,
    pause: Duration,
    /// The longest pause between two looks.
    poll_interval: Duration,
    blocker: Option<Blocker>,
    /// For how many more waiters a try without patience pauses, to let them take the lock.
    passes: u8,
    /// The change time of the bare D at the last try.
    bare: Option<Stamp>,
    /// The free lock that the last look saw, and since when it is free.
    vacant: Option<(Seen, Duration)>,
    /// An entry without a stamp of our clock, or a bare D, and since when it was seen unchanged.
    watched: Option<(Seen, Duration)>,
    /// The waiter ahead that is gone without a handoff; its ticket may still be there.
    silent: Option<Ticket>,
    outcome: Option<Waited>,
    doing: Phase,
}

/// What is at D's path: nothing, an entry, or an empty directory with this change time.
type Seen = (Option<Entry>, Option<Stamp>);

#[expect(clippy::large_enum_variant, reason = "one exists at a time")]
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
enum Phase {
    Arriving,
    AskingWaiters,
    Glancing(Inspect),
    Pausing,
    Overtaking,
    Dismissing,
    Overtaken,
    Trying,
    Numbering,
    Entering,
    Placing,
    Renumbering(Vec<Ticket>),
    Judging(Vec<Ticket>),
    Napping,
    Listening,
    Sleeping,
    Checking,
    Looking,
    Passing,
    Expelling,
    Leaving,
    Emptying,
    Closing,
    Tidying(Option<Release>),
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
            own_ticket,
            until,
            in_queue: false,
            orders_left: 0,
            expulsions: 0,
            removed: 0,
            broken: 0,
            no_queue: false,
            is_other_users: false,
            ahead: None,
            count: 0,
            place: 0,
            pause: SHORTEST_INTERVAL,
            poll_interval: PACE,
            blocker: None,
            passes: one_try::PASSES,
            bare: None,
            vacant: None,
            watched: None,
            silent: None,
            outcome: None,
            doing: Phase::Arriving,
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

    fn perform(&mut self, doing: Phase, operation: Operation) -> Next {
        self.doing = doing;
        Step::Perform(operation)
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
            self.perform(Phase::Numbering, Operation::ListQueue)
        }
    }

    /// Returns true if nobody reports changes to us.
    fn has_no_queue(&self) -> bool {
        self.no_queue || self.is_other_users && !self.in_queue
    }

    fn sleep(&mut self, now: Now) -> Next {
        let (source, pause) = match (&self.ahead, &self.blocker) {
            (Some(_), _) if self.vacant.is_some() => (self.wake_source(), PASS_OVER_AFTER),
            // A waiter on another host cannot notify the next waiter here that it is first now.
            (Some(ahead), _) if self.place == 2 && !self.reaches(&ahead.origin) => {
                (WakeSource::Nothing, self.poll_interval.min(OTHERS_INTERVAL.0))
            }
            (Some(_), _) => {
                let share = INTERVAL_PER_TICKET * self.count;
                (self.wake_source(), share.clamp(OTHERS_INTERVAL.0, OTHERS_INTERVAL.1))
            }
            (None, Some(Blocker::Held { entry, until })) => {
                let pause = match (self.has_no_queue(), self.reaches(&entry.origin)) {
                    (true, _) => self.pause,
                    (false, true) => FIRST_INTERVAL,
                    (false, false) => self.poll_interval,
                };
                let (origin, here) = (&entry.origin, &self.here.origin);
                // As in the verdict: start times count from the boot of a time namespace.
                let owner = match (origin.is_same_pids(here), origin.is_same_clock(here)) {
                    (true, true) => entry.owner,
                    (true, false) => entry.owner.any_start(),
                    (false, _) => Owner::Nobody,
                };
                let expiry = until.saturating_sub(now.boot).max(SHORTEST_INTERVAL);
                (
                    if self.has_no_queue() { WakeSource::Nothing } else { WakeSource::Bell(owner) },
                    pause.min(expiry),
                )
            }
            (None, _) => {
                let source = if self.has_no_queue() {
                    WakeSource::Nothing
                } else {
                    WakeSource::Bell(Owner::Nobody)
                };
                (source, self.pause)
            }
        };
        self.removed = 0;
        self.pause = (self.pause * 3 / 2).min(self.poll_interval);
        self.sleep_for(Phase::Sleeping, now, source, pause)
    }

    /// Sleeps for this pause, but no longer than patience lasts.
    fn sleep_for(&mut self, doing: Phase, now: Now, source: WakeSource, pause: Duration) -> Next {
        let wake = now.boot.saturating_add(pause);
        let wake = self.until.map_or(wake, |until| until.min(wake));
        self.perform(doing, Operation::Sleep(source, wake))
    }

    fn wake_source(&self) -> WakeSource {
        match &self.ahead {
            Some(ahead) if self.reaches(&ahead.origin) => WakeSource::Ticket(ahead.clone()),
            _ => WakeSource::Nothing,
        }
    }

    fn woken(&mut self, now: Now, wake: Wake) -> Next {
        match (wake, &self.ahead) {
            (Wake::Interrupted, _) => self.end(Waited::Interrupted),
            (_, _) if self.is_over(now) => {
                let blocker = self.blocker.clone().unwrap_or(Blocker::Busy(Fault::Taken));
                self.end(Waited::Over(blocker))
            }
            (Wake::Expelled, _) => {
                self.in_queue = false;
                self.ahead = None;
                self.expulsions = self.expulsions.saturating_add(1);
                if self.expulsions >= MAX_EXPULSIONS {
                    return self.wait_without_queue(now);
                }
                self.perform(Phase::Numbering, Operation::ListQueue)
            }
            (Wake::HandoffReceived(Handoff::First), Some(_)) => {
                self.ahead = None;
                self.place = 1;
                self.perform(Phase::Listening, Operation::Listen)
            }
            (Wake::HandoffReceived(Handoff::Behind(ticket)), Some(ahead)) if ticket < *ahead => {
                self.ahead = Some(ticket);
                self.sleep(now)
            }
            (Wake::PeerGone | Wake::HandoffReceived(_), Some(ahead)) => {
                self.silent = Some(ahead.clone());
                self.perform(Phase::Placing, Operation::ListQueue)
            }
            (_, Some(ahead)) if !self.reaches(&ahead.origin) => {
                self.perform(Phase::Checking, Operation::ListQueue)
            }
            // Checks whether the lock is free and the first waiter does not take it.
            (_, Some(_)) => self.perform(Phase::Looking, Operation::Look),
            (_, None) => self.try_now(now),
        }
    }

    fn end(&mut self, outcome: Waited) -> Next {
        self.outcome = Some(outcome);
        if !self.in_queue {
            return self.finish();
        }
        let handoff = match self.ahead.clone() {
            Some(ahead) => Handoff::Behind(ahead),
            None => Handoff::First,
        };
        self.perform(Phase::Leaving, Operation::Leave(self.own_ticket.clone(), handoff))
    }

    fn finish(&mut self) -> Next {
        self.in_queue = false;
        self.doing = Phase::Arriving;
        Step::Finished(self.outcome.take().unwrap_or(Waited::Interrupted))
    }

    /// Our ticket is removed. The last waiter that leaves without the lock removes the queue. Every
    /// waiter without the lock checks that, even one that was not first: the waiter ahead may have left
    /// meanwhile in the belief that we come next.
    fn left(&mut self) -> Next {
        self.in_queue = false;
        match self.outcome {
            Some(Waited::Ended(Acquisition::Got(..))) => self.finish(),
            _ => self.perform(Phase::Emptying, Operation::ListQueue),
        }
    }

    /// Releases a lock that was opened for us at the last moment: the queue is closed, so nobody else
    /// knows of it.
    fn tidied(&mut self, now: Now, sight: Observation) -> Next {
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
                match release.start(now) {
                    Step::Perform(operation) => {
                        self.perform(Phase::Tidying(Some(release)), operation)
                    }
                    Step::Finished(_) => self.finish(),
                }
            }
            _ => self.finish(),
        }
    }
}

impl Machine for Queue {
    type Outcome = Waited;

    fn start(&mut self, _now: Now) -> Next {
        self.perform(Phase::Arriving, Operation::ListQueue)
    }

    fn resume(&mut self, now: Now, answer: Answer) -> Next {
        let queue = |answer: &Answer| match answer {
            Answer::Queue(queue) => queue.clone(),
            _ => Vec::new(),
        };
        match (self.doing.clone(), answer) {
            (Phase::Arriving, Answer::Queue(queue)) if !queue.is_empty() => match self.is_over(now)
            {
                true => {
                    self.ahead = queue.iter().min().cloned();
                    self.perform(Phase::AskingWaiters, Operation::HasWaiters)
                }
                false => self.enter(now, &queue),
            },
            (Phase::AskingWaiters, Answer::Somebody(true)) => self.glance(now),
            (Phase::Glancing(mut look), answer) => {
                let step = look.resume(now, answer);
                self.glancing(now, look, step)
            }
            (Phase::Pausing, Answer::Woken(Wake::Interrupted)) => self.end(Waited::Interrupted),
            (Phase::Pausing, _) => self.glance(now),
            (Phase::Overtaking, answer) => self.overtake(now, &queue(&answer)),
            // The ticket cannot be removed and would stay for ever: the try goes on without regard to it.
            (Phase::Dismissing, Answer::Failed(fault)) if fault != Fault::Missing => {
                self.try_now(now)
            }
            (Phase::Dismissing, _) => self.perform(Phase::Overtaken, Operation::ListQueue),
            (Phase::Overtaken, answer) => self.overtaken(now, &queue(&answer)),
            (Phase::Arriving | Phase::AskingWaiters, _) => self.try_now(now),
            (Phase::Trying, answer) => {
                let step = self.acquire.resume(now, answer);
                self.trying(now, step)
            }
            (Phase::Numbering, Answer::Queue(queue)) => self.enter(now, &queue),
            (Phase::Entering, Answer::Done(_)) => {
                self.in_queue = true;
                self.perform(Phase::Placing, Operation::ListQueue)
            }
            // There can be no queue (a full disk, a folder without write permission): wait all the same.
            (Phase::Numbering | Phase::Entering, _) => self.wait_without_queue(now),
            (Phase::Renumbering(queue), _) => {
                self.in_queue = false;
                self.enter(now, &queue)
            }
            (Phase::Placing, answer) => self.placed(now, &queue(&answer)),
            (Phase::Judging(queue), answer) => match (answer, self.ahead.clone()) {
                (Answer::Liveness(Liveness::Gone), Some(ahead)) => self.expel(&queue, ahead),
                _ => self.nap(now),
            },
            (Phase::Napping, Answer::Woken(wake)) if wake != Wake::Time || self.is_over(now) => {
                self.woken(now, wake)
            }
            (Phase::Napping, _) => self.perform(Phase::Placing, Operation::ListQueue),
            (Phase::Listening, _) => {
                self.vacant = None;
                self.try_now(now)
            }
            (Phase::Sleeping, Answer::Woken(wake)) => self.woken(now, wake),
            (Phase::Sleeping, _) => self.try_now(now),
            // The waiter ahead of us on another host may be gone.
            (Phase::Checking, Answer::Queue(queue)) => self.checked(now, &queue),
            (Phase::Checking, _) => self.perform(Phase::Looking, Operation::Look),
            (Phase::Looking, Answer::Seen(sight)) => self.looked(now, sight),
            (Phase::Looking, _) => self.sleep(now),
            (Phase::Passing, answer) => self.pass_over(&queue(&answer)),
            // The sticky bit keeps the ticket, or it cannot be reached: it would stay for ever.
            (Phase::Expelling, Answer::Failed(fault)) if fault != Fault::Missing => {
                self.wait_without_queue(now)
            }
            (Phase::Expelling, _) => self.perform(Phase::Placing, Operation::ListQueue),
            (Phase::Leaving, _) => self.left(),
            (Phase::Emptying, Answer::Queue(queue)) if queue.is_empty() => {
                self.perform(Phase::Closing, Operation::CloseQueue)
            }
            (Phase::Emptying, _) => self.finish(),
            (Phase::Closing, _) => self.perform(Phase::Tidying(None), Operation::Look),
            (Phase::Tidying(None), Answer::Seen(sight)) => self.tidied(now, sight),
            (Phase::Tidying(None), _) => self.finish(),
            (Phase::Tidying(Some(mut release)), answer) => match release.resume(now, answer) {
                Step::Perform(operation) => self.perform(Phase::Tidying(Some(release)), operation),
                Step::Finished(_) => self.finish(),
            },
        }
    }
}
