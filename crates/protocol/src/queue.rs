//! Waiting: a ticket in the queue beside D, one sleep at a time, until the lock is had or patience
//! is over. Who is not first sleeps on the ticket ahead; the first listens to the bell that a
//! release rings. Safety never depends on any of it: only [`Acquire`] takes the lock.

mod one_try;
mod other_hosts;
mod vacancy;

use alloc::vec::Vec;
use core::time::Duration;

use crate::acquire::{Acquire, Acquisition, Blocker};
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
    /// With this; never [`Acquisition::Blocked`] or [`Acquisition::Stranger`].
    Ended(Acquisition),
    /// Patience is over; what was in the way at last.
    Over(Blocker),
    /// Somebody asked to end it.
    Interrupted,
}

/// A lock that is free for this long is not wanted by the first in the queue: it is passed over.
pub const PASS_OVER_AFTER: Duration = Duration::from_millis(100);
/// A ticket that is older and that nobody has open is no newcomer's.
const ENTERING: Duration = Duration::from_secs(1);
/// Numbers that a newcomer takes at most.
const LATE: u8 = 8;
/// Who was put out of the queue so often waits without a ticket.
const EXPULSIONS: u8 = 4;
/// And who has removed so many of the dead at one go, or tried to.
const DEAD: u8 = 16;
/// Tries in a row that may end with an error of the disk: it may fail once, and a dead one is reported soon.
const BROKEN: u8 = 8;
/// How long a newcomer is given to open its ticket, again and again.
const NAP: Duration = Duration::from_millis(5);
/// Between two looks of the first in the queue, where a release rings.
const FIRST: Duration = Duration::from_secs(1);
/// Between two looks of all others together: so the cost does not grow with the queue.
const SHARE: Duration = Duration::from_millis(20);
/// Shortest and longest time between two looks of one that is not first.
const OTHERS: (Duration, Duration) = (Duration::from_millis(100), Duration::from_secs(10));
/// Shortest time between two looks where nothing tells of a change.
const SHORTEST: Duration = Duration::from_millis(1);
/// Longest such time, unless one asks for another.
pub const PACE: Duration = Duration::from_millis(50);

/// The machine.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Queue {
    acquire: Acquire,
    here: LocalContext,
    /// Who we are; its order is that of our last ticket.
    own_ticket: Ticket,
    /// Boot clock; none for ever.
    until: Option<Duration>,
    in_queue: bool,
    /// How often a larger number may still be found in the queue when ours is new.
    late: u8,
    expulsions: u8,
    /// How many tickets of the dead we have tried to remove since we slept.
    removed: u8,
    /// How many tries in a row have ended with an error of the disk.
    broken: u8,
    no_queue: bool,
    /// The directory is another user's: whoever waits for that stands in a queue of theirs.
    is_strangers: bool,
    ahead: Option<Ticket>,
    count: u32,
    place: u32,
    pause: Duration,
    /// Longest pause.
    poll_interval: Duration,
    blocker: Option<Blocker>,
    /// How many waiters a try without patience may still give a moment to.
    passes: u8,
    /// The change time of the bare D at the last try.
    bare: Option<Stamp>,
    /// What was free at the last look, and since when.
    vacant: Option<(Seen, Duration)>,
    /// What tells no time that we could read, and since when it was seen unchanged.
    watched: Option<(Seen, Duration)>,
    /// The one ahead that is gone without a word; its ticket may still be there.
    silent: Option<Ticket>,
    outcome: Option<Waited>,
    doing: Phase,
}

/// What is at D's path: nothing, an entry, or an empty directory that was changed then.
type Seen = (Option<Entry>, Option<Stamp>);

#[expect(clippy::large_enum_variant, reason = "one exists at a time")]
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
enum Phase {
    Arriving,
    Knocking,
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
    /// Waits for what `acquire` acquires, as this one, until this time of the boot clock.
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
            late: 0,
            expulsions: 0,
            removed: 0,
            broken: 0,
            no_queue: false,
            is_strangers: false,
            ahead: None,
            count: 0,
            place: 0,
            pause: SHORTEST,
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

    /// Looks at least this often where nothing tells of a change; by default every [`PACE`].
    #[must_use]
    pub fn poll_interval(self, poll_interval: Duration) -> Queue {
        Queue { poll_interval: poll_interval.max(SHORTEST), ..self }
    }

    /// What was in the way at the last try.
    #[must_use]
    pub fn blocker(&self) -> Option<&Blocker> {
        self.blocker.as_ref()
    }

    /// Our ticket, while we are in the queue.
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
                if self.broken < BROKEN && !self.is_over(now) =>
            {
                self.broken += 1;
                self.blocked(now, Blocker::Busy(fault))
            }
            Step::Finished(Acquisition::Blocked(blocker)) => {
                self.broken = 0;
                self.blocked(now, blocker)
            }
            // Its release makes the path free.
            Step::Finished(Acquisition::Stranger(uid)) => self.blocked(now, Blocker::Stranger(uid)),
            Step::Finished(outcome) => self.end(Waited::Ended(outcome)),
        }
    }

    fn blocked(&mut self, now: Now, blocker: Blocker) -> Next {
        self.is_strangers = matches!(blocker, Blocker::Stranger(_));
        self.blocker = Some(blocker.clone());
        // Plain lockers look every few milliseconds: where theirs changes hands, so do we.
        let bare = self.acquire.bare_stamp().filter(|_| matches!(blocker, Blocker::Bare(_)));
        if bare.is_some() && bare != self.bare {
            self.pause = SHORTEST;
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

    fn enter(&mut self, now: Now, queue: &[Ticket]) -> Next {
        self.own_ticket = self.own_ticket.behind(queue, now);
        self.late = if self.late == 0 { LATE } else { self.late - 1 };
        self.perform(Phase::Entering, Operation::Enter(self.own_ticket.clone()))
    }

    /// Where we stand among these.
    fn placed(&mut self, now: Now, queue: &[Ticket]) -> Next {
        self.stand_among(queue);
        // Who took a larger number before ours was there cannot know of ours, and may listen to
        // the very one that we would: so we go behind it.
        if self.late > 1 && queue.iter().any(|ticket| *ticket > self.own_ticket) {
            let word = self.ahead.take().map_or(Handoff::First, Handoff::Behind);
            let old = self.own_ticket.clone();
            return self.perform(Phase::Renumbering(queue.to_vec()), Operation::Leave(old, word));
        }
        self.late = 0;
        let Some(ahead) = self.ahead.clone() else {
            return self.perform(Phase::Listening, Operation::Listen);
        };
        let is_silent = self.silent.take().as_ref() == Some(&ahead);
        let age = now.wall.saturating_sub(Duration::from_micros(ahead.order));
        let is_gone = self.is_dead(&ahead) || is_silent && age >= ENTERING;
        if is_gone && self.is_over(now) {
            let blocker = self.blocker.clone().unwrap_or(Blocker::Busy(Fault::Taken));
            self.end(Waited::Over(blocker))
        } else if is_gone {
            // There may be thousands of them, or one that the sticky bit keeps; and meanwhile
            // nobody looks at D.
            self.removed = self.removed.saturating_add(1);
            match self.removed {
                ..DEAD => self.expel(queue, ahead),
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

    /// The one ahead has made its ticket and not yet opened it.
    fn nap(&mut self, now: Now) -> Next {
        self.sleep_for(Phase::Napping, now, WakeSource::Nothing, NAP)
    }

    fn stand_among(&mut self, queue: &[Ticket]) {
        let before = queue.iter().filter(|ticket| **ticket < self.own_ticket);
        self.count = u32::try_from(queue.len()).unwrap_or(u32::MAX);
        self.place = u32::try_from(before.clone().count()).unwrap_or(u32::MAX).saturating_add(1);
        self.ahead = before.max().cloned();
    }

    /// Did it die with an earlier boot of our own kernel?
    fn is_dead(&self, ticket: &Ticket) -> bool {
        let same = ticket.origin.is_same_boot(&self.here.origin);
        self.here.is_local && !same && self.here.is_before_boot(ticket)
    }

    /// Removes a ticket, and says to the one behind it where it stands now.
    fn expel(&mut self, queue: &[Ticket], ticket: Ticket) -> Next {
        let word = match queue.iter().filter(|other| **other < ticket).max() {
            Some(before) => Handoff::Behind(before.clone()),
            None => Handoff::First,
        };
        self.perform(Phase::Expelling, Operation::Expel(ticket, word))
    }

    /// No queue to be had, or none that is kept: look again and again.
    fn wait_without_queue(&mut self, now: Now) -> Next {
        self.no_queue = true;
        self.ahead = None;
        self.try_now(now)
    }

    /// Nobody tells us of a change.
    fn has_no_queue(&self) -> bool {
        self.no_queue || self.is_strangers && !self.in_queue
    }

    fn sleep(&mut self, now: Now) -> Next {
        let (ear, pause) = match (&self.ahead, &self.blocker) {
            (Some(_), _) if self.vacant.is_some() => (self.ear(), PASS_OVER_AFTER),
            // Who waits elsewhere tells nobody here that the next one is first now.
            (Some(ahead), _) if self.place == 2 && !self.hears(&ahead.origin) => {
                (WakeSource::Nothing, self.poll_interval.min(OTHERS.0))
            }
            (Some(_), _) => (self.ear(), (SHARE * self.count).clamp(OTHERS.0, OTHERS.1)),
            (None, Some(Blocker::Held { entry, until })) => {
                let pause = match (self.has_no_queue(), self.hears(&entry.origin)) {
                    (true, _) => self.pause,
                    (false, true) => FIRST,
                    (false, false) => self.poll_interval,
                };
                let (origin, here) = (&entry.origin, &self.here.origin);
                // As the verdict asks: start times count from the boot of a time namespace.
                let owner = match (origin.is_same_pids(here), origin.is_same_clock(here)) {
                    (true, true) => entry.owner,
                    (true, false) => entry.owner.any_start(),
                    (false, _) => Owner::Nobody,
                };
                let expiry = until.saturating_sub(now.boot).max(SHORTEST);
                (
                    if self.has_no_queue() { WakeSource::Nothing } else { WakeSource::Bell(owner) },
                    pause.min(expiry),
                )
            }
            (None, _) => {
                let ear = if self.has_no_queue() {
                    WakeSource::Nothing
                } else {
                    WakeSource::Bell(Owner::Nobody)
                };
                (ear, self.pause)
            }
        };
        self.removed = 0;
        self.pause = (self.pause * 3 / 2).min(self.poll_interval);
        self.sleep_for(Phase::Sleeping, now, ear, pause)
    }

    /// No longer than patience lasts.
    fn sleep_for(&mut self, doing: Phase, now: Now, ear: WakeSource, pause: Duration) -> Next {
        let wake = now.boot.saturating_add(pause);
        let wake = self.until.map_or(wake, |until| until.min(wake));
        self.perform(doing, Operation::Sleep(ear, wake))
    }

    fn ear(&self) -> WakeSource {
        match &self.ahead {
            Some(ahead) if self.hears(&ahead.origin) => WakeSource::Ticket(ahead.clone()),
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
                if self.expulsions >= EXPULSIONS {
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
            (_, Some(ahead)) if !self.hears(&ahead.origin) => {
                self.perform(Phase::Checking, Operation::ListQueue)
            }
            // Is the lock free, and the first in the queue does not take it?
            (_, Some(_)) => self.perform(Phase::Looking, Operation::Look),
            (_, None) => self.try_now(now),
        }
    }

    fn end(&mut self, outcome: Waited) -> Next {
        self.outcome = Some(outcome);
        if !self.in_queue {
            return self.finish();
        }
        let word = match self.ahead.clone() {
            Some(ahead) => Handoff::Behind(ahead),
            None => Handoff::First,
        };
        self.perform(Phase::Leaving, Operation::Leave(self.own_ticket.clone(), word))
    }

    fn finish(&mut self) -> Next {
        self.in_queue = false;
        self.doing = Phase::Arriving;
        Step::Finished(self.outcome.take().unwrap_or(Waited::Interrupted))
    }

    /// Our ticket is gone. Whoever was the last and did not get the lock leaves nothing behind: also
    /// one who stood behind another, which may have left meanwhile, taking us for its heir.
    fn left(&mut self) -> Next {
        self.in_queue = false;
        match self.outcome {
            Some(Waited::Ended(Acquisition::Got(..))) => self.finish(),
            _ => self.perform(Phase::Emptying, Operation::ListQueue),
        }
    }

    /// The queue is closed. If the lock was opened for us at the last moment, nobody else knows.
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
                    self.perform(Phase::Knocking, Operation::HasWaiters)
                }
                false => self.enter(now, &queue),
            },
            (Phase::Knocking, Answer::Somebody(true)) => self.glance(now),
            (Phase::Glancing(mut look), answer) => {
                let step = look.resume(now, answer);
                self.glancing(now, look, step)
            }
            (Phase::Pausing, Answer::Woken(Wake::Interrupted)) => self.end(Waited::Interrupted),
            (Phase::Pausing, _) => self.glance(now),
            (Phase::Overtaking, answer) => self.overtake(now, &queue(&answer)),
            // It cannot be removed, and would stand there for ever.
            (Phase::Dismissing, Answer::Failed(fault)) if fault != Fault::Missing => {
                self.try_now(now)
            }
            (Phase::Dismissing, _) => self.perform(Phase::Overtaken, Operation::ListQueue),
            (Phase::Overtaken, answer) => self.overtaken(now, &queue(&answer)),
            (Phase::Arriving | Phase::Knocking, _) => self.try_now(now),
            (Phase::Trying, answer) => {
                let step = self.acquire.resume(now, answer);
                self.trying(now, step)
            }
            (Phase::Numbering, Answer::Queue(queue)) => self.enter(now, &queue),
            (Phase::Entering, Answer::Done(_)) => {
                self.in_queue = true;
                self.perform(Phase::Placing, Operation::ListQueue)
            }
            // No queue to be had (a full disk, a folder that may not be written): wait all the same.
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
            // Who stood ahead of us elsewhere may have gone.
            (Phase::Checking, Answer::Queue(queue)) => self.checked(now, &queue),
            (Phase::Checking, _) => self.perform(Phase::Looking, Operation::Look),
            (Phase::Looking, Answer::Seen(sight)) => self.looked(now, sight),
            (Phase::Looking, _) => self.sleep(now),
            (Phase::Passing, answer) => self.pass_over(&queue(&answer)),
            // The sticky bit keeps it, or it cannot be reached: it would stand there for ever.
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
