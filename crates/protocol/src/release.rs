//! Releasing: leave (unlink the entry, remove the directory), or open the lock in place.

use alloc::string::String;

use crate::entry::{Entry, Nonce, State};
use crate::operation::{
    Answer, Fault, Foreign, Machine, Now, Observation, Operation, Step, TORN_LOOKS,
};
use crate::verdict::LocalContext;

/// How a release ended.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Released {
    /// The lock is free, and the directory is removed.
    Left,
    /// The lock is free, and the directory stays with this open entry.
    Opened(Entry),
    /// We no longer hold the lock, but the directory could not be removed: it blocks others until it is
    /// old, or as long as it contains the file of this name.
    Remains(Fault, Option<String>),
    /// The lock was not ours any more; the entry of the present holder, where there is one.
    Lost(Option<Entry>),
    /// A call failed; the lock may still be ours.
    Failed(Fault),
}

/// The machine that releases a lock. It may be started again after a failure.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Release {
    nonce: Nonce,
    state: State,
    known: Option<Entry>,
    stay: bool,
    here: LocalContext,
    tried: Option<Entry>,
    sent: Option<Entry>,
    fault: Option<Fault>,
    torn: u8,
    removing: bool,
    checking: bool,
    /// The open entry that we create in D, which litter keeps from being removed.
    reopening: Option<Entry>,
    litter: Option<String>,
    /// The lock is opened in place: somebody waits, or we may not remove D.
    stays_in_place: bool,
    queue_step: QueueStep,
}

/// What the release does at present for the waiters in the queue.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
enum QueueStep {
    /// Nothing: it releases the lock.
    Releasing,
    AskingWaiters,
    /// Nobody waits. Asks whether we may remove D, which would otherwise stay, empty, and block everybody.
    AskingRemovable,
    Waking(Released),
    Closing(Released),
}

impl Release {
    /// Creates a machine that releases the holding of this entry, or removes this open entry. With
    /// `stay` the lock is opened in place; a fenced lock always is.
    #[must_use]
    pub fn new(mine: Entry, stay: bool, here: LocalContext) -> Release {
        Release {
            state: mine.state,
            known: Some(mine.clone()),
            ..Self::by_nonce(mine.nonce, stay, here)
        }
    }

    /// Creates a machine that releases the holding with this nonce.
    #[must_use]
    pub fn by_nonce(nonce: Nonce, stay: bool, here: LocalContext) -> Release {
        Release {
            nonce,
            state: State::Held,
            known: None,
            stay,
            here,
            tried: None,
            sent: None,
            fault: None,
            torn: 0,
            removing: false,
            checking: false,
            reopening: None,
            litter: None,
            stays_in_place: false,
            queue_step: QueueStep::Releasing,
        }
    }

    fn let_go(&mut self, now: Now, mine: Entry) -> Step<Released> {
        self.tried = Some(mine.clone());
        self.known = None;
        if mine.state == State::Held && (self.stay || self.stays_in_place || mine.fenced) {
            let open = mine.next(State::Open, now.boot, &self.here.origin);
            let open = open.fit(self.here.longest_name);
            self.sent = Some(open.clone());
            Step::Perform(Operation::Rename(mine, open))
        } else if mine.fenced || self.stays_in_place {
            // The token of a fenced lock must not be lost. A D that we may not remove would stay,
            // empty, and block everybody.
            Step::Finished(Released::Opened(mine))
        } else {
            self.sent = None;
            Step::Perform(Operation::Unlink(mine))
        }
    }

    fn seen(&mut self, now: Now, sight: Observation) -> Step<Released> {
        let torn_or_bare = matches!(sight, Observation::Directory(_));
        let (entries, modified) = match (sight, self.fault) {
            (Observation::Directory(listing), _) => (listing.entries, Some(listing.modified)),
            (Observation::Foreign(_), Some(fault)) if fault != Fault::Missing => {
                return Step::Finished(Released::Failed(fault));
            }
            _ => (alloc::vec::Vec::new(), None),
        };
        // A break may have opened the lock under the same name as we would have given it.
        let exact = self.here.is_local && self.fault == Some(Fault::Missing);
        if let Some(open) = self.sent.as_ref().filter(|open| !exact && entries.contains(open)) {
            return Step::Finished(Released::Opened(open.clone()));
        }
        let mine = |entry: &&Entry| entry.nonce == self.nonce && entry.state == self.state;
        let found = entries.iter().filter(mine).max_by_key(|entry| entry.renewals).cloned();
        match (found, self.fault) {
            (Some(entry), Some(fault)) if self.tried.as_ref() == Some(&entry) => {
                self.known = Some(entry);
                self.fault = None;
                Step::Finished(Released::Failed(fault))
            }
            // The server answers "done" again and again, and does not do it.
            (Some(entry), fault) if self.tried.is_some() && self.torn == TORN_LOOKS => {
                self.known = Some(entry);
                self.fault = None;
                Step::Finished(Released::Failed(fault.unwrap_or(Fault::Taken)))
            }
            (Some(entry), _) => {
                self.torn += u8::from(self.tried.is_some());
                self.let_go(now, entry)
            }
            (None, _) if entries.len() != 1 && torn_or_bare && self.torn < TORN_LOOKS => {
                self.torn += 1;
                Step::Perform(Operation::Look)
            }
            (None, fault) => self.gone(now, &entries, modified, fault),
        }
    }

    /// Decides what happened to our entry, which is not there: either we removed it, and the reply was
    /// lost or the next holder was faster than our look, or we had lost the lock before.
    fn gone(
        &mut self,
        now: Now,
        entries: &[Entry],
        modified: Option<crate::operation::Stamp>,
        fault: Option<Fault>,
    ) -> Step<Released> {
        let doubtful = match fault {
            // The answer was "done", or an earlier start of the machine sent the call.
            None => self.tried.is_some(),
            Some(Fault::Missing) => !self.here.is_local,
            Some(_) => true,
        };
        let in_time = self.tried.as_ref().is_some_and(|mine| now.boot < mine.deadline());
        if !(doubtful && in_time) {
            let holder = entries.iter().find(|entry| entry.state == State::Held).cloned();
            return Step::Finished(Released::Lost(holder));
        }
        match modified {
            Some(stamp) if entries.is_empty() && self.sent.is_none() => {
                self.removing = true;
                Step::Perform(Operation::RemoveDir(stamp))
            }
            _ => Step::Finished(Released::Left),
        }
    }
}

impl Release {
    fn begin(&mut self, now: Now) -> Step<Released> {
        self.torn = 0;
        self.fault = None;
        self.removing = false;
        self.checking = false;
        self.reopening = None;
        match self.known.take() {
            Some(mine) => self.let_go(now, mine),
            None => Step::Perform(Operation::Look),
        }
    }

    fn go_on(&mut self, now: Now, answer: Answer) -> Step<Released> {
        if let Some(open) = self.reopening.take() {
            return Step::Finished(match answer {
                Answer::Done(_) => Released::Opened(open),
                _ => Released::Remains(Fault::Taken, self.litter.take()),
            });
        }
        match answer {
            Answer::Seen(Observation::Directory(listing))
                if self.checking && listing.entries.is_empty() =>
            {
                let held_by = match (listing.foreign, listing.litter, &self.tried) {
                    (Some(Foreign::Holds(name)), ..) => Some(name),
                    // Only the process that emptied D creates an entry in it, so there are never two.
                    (None, Some(litter), Some(mine)) => {
                        let open = mine.next(State::Open, now.boot, &self.here.origin);
                        let open = open.fit(self.here.longest_name);
                        self.litter = Some(litter);
                        self.reopening = Some(open.clone());
                        return Step::Perform(Operation::Reopen(open));
                    }
                    (_, litter, _) => litter,
                };
                Step::Finished(Released::Remains(Fault::Taken, held_by))
            }
            Answer::Seen(_) if self.checking => Step::Finished(Released::Left),
            Answer::Seen(sight) => self.seen(now, sight),
            // Somebody else removed D, or has installed a lock there: D is theirs now.
            Answer::Done(_) | Answer::Failed(Fault::Missing) if self.removing => {
                Step::Finished(Released::Left)
            }
            // D was changed since: it is another lock, or litter keeps it from being removed.
            Answer::Failed(Fault::Taken) if self.removing && !self.checking => {
                self.checking = true;
                Step::Perform(Operation::Look)
            }
            Answer::Failed(fault) if self.removing => {
                Step::Finished(Released::Remains(fault, None))
            }
            Answer::Done(stamp) => match (self.sent.take(), stamp) {
                (Some(open), _) if self.here.is_local => Step::Finished(Released::Opened(open)),
                (Some(open), _) => {
                    self.sent = Some(open);
                    Step::Perform(Operation::Look)
                }
                (None, Some(stamp)) => {
                    self.removing = true;
                    Step::Perform(Operation::RemoveDir(stamp))
                }
                (None, None) => Step::Finished(Released::Remains(Fault::Taken, None)),
            },
            Answer::Failed(fault) if self.fault.is_none() => {
                self.fault = Some(fault);
                Step::Perform(Operation::Look)
            }
            Answer::Failed(fault) => Step::Finished(Released::Failed(self.fault.unwrap_or(fault))),
            _ => Step::Perform(Operation::Look),
        }
    }
}

/// First asks whether somebody waits, and whether we may remove D: if somebody does, or we may not, the
/// lock is opened in place. When the lock is free, it rings the bell in any case: a waiter may have arrived
/// between that question and the release.
impl Machine for Release {
    type Outcome = Released;

    fn start(&mut self, now: Now) -> Step<Released> {
        let is_open = self.state == State::Open;
        if !is_open && (self.stay || self.known.as_ref().is_some_and(|mine| mine.fenced)) {
            // Nobody asks whether we may remove D. So whatever entry of ours a look finds stays, too.
            self.stays_in_place = true;
            return self.let_go_and_wake(now);
        }
        self.queue_step = QueueStep::AskingWaiters;
        Step::Perform(Operation::HasWaiters)
    }

    fn resume(&mut self, now: Now, answer: Answer) -> Step<Released> {
        match core::mem::replace(&mut self.queue_step, QueueStep::Releasing) {
            QueueStep::Releasing => {
                let step = self.go_on(now, answer);
                self.wake_first(step)
            }
            QueueStep::AskingWaiters if answer != Answer::Somebody(true) => {
                self.queue_step = QueueStep::AskingRemovable;
                Step::Perform(Operation::AskRemovable)
            }
            QueueStep::AskingWaiters => self.leave_or_open(now, true),
            QueueStep::AskingRemovable => {
                self.leave_or_open(now, answer == Answer::Removable(false))
            }
            // There is a queue, and nobody listens: perhaps all its waiters are gone.
            QueueStep::Waking(outcome) if answer == Answer::Failed(Fault::Taken) => {
                self.queue_step = QueueStep::Closing(outcome);
                Step::Perform(Operation::CloseQueue)
            }
            QueueStep::Waking(outcome) => Step::Finished(outcome),
            QueueStep::Closing(outcome) => Step::Finished(outcome),
        }
    }
}

impl Release {
    fn leave_or_open(&mut self, now: Now, stays_in_place: bool) -> Step<Released> {
        self.stays_in_place = stays_in_place;
        match (self.state, &self.known) {
            // An open entry is left to the waiters, or to the users who may remove D.
            (State::Open, Some(open)) if stays_in_place => {
                Step::Finished(Released::Opened(open.clone()))
            }
            _ => self.let_go_and_wake(now),
        }
    }

    fn let_go_and_wake(&mut self, now: Now) -> Step<Released> {
        self.queue_step = QueueStep::Releasing;
        let step = self.begin(now);
        self.wake_first(step)
    }

    /// Wakes the first waiter if this step ends in a free lock.
    fn wake_first(&mut self, step: Step<Released>) -> Step<Released> {
        let outcome = match step {
            Step::Finished(
                outcome @ (Released::Opened(_) | Released::Left | Released::Remains(..)),
            ) => outcome,
            step => return step,
        };
        self.queue_step = QueueStep::Waking(outcome);
        Step::Perform(Operation::WakeFirst)
    }
}
