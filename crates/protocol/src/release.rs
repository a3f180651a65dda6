//! Releasing: leave (unlink the entry, remove the directory), or open it in place.

use alloc::string::String;

use crate::entry::{Entry, Nonce, State};
use crate::operation::{
    Answer, Fault, Foreign, Machine, Now, Observation, Operation, Step, TORN_LOOKS,
};
use crate::verdict::LocalContext;

/// How a release ended.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Released {
    /// Free, and nothing is left.
    Left,
    /// Free, and the directory stays with this open entry.
    Opened(Entry),
    /// Free of us, but the directory could not be removed: it blocks others until it is old,
    /// or as long as it holds the thing of this name.
    Remains(Fault, Option<String>),
    /// It was ours no more; who holds it now, where somebody does.
    Lost(Option<Entry>),
    /// It failed; the lock may still be ours.
    Failed(Fault),
}

/// The machine. It may be started again after a failure.
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
    /// The open entry that is made in a D that litter keeps from vanishing.
    reopening: Option<Entry>,
    litter: Option<String>,
    /// Open it in place: somebody waits, or we may not remove D.
    stays_in_place: bool,
    telling: Telling,
}

/// What is done for those in the queue.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
enum Telling {
    NotYet,
    Knocking,
    /// Nobody waits. Would D stay behind, empty, and keep everybody out?
    Asking,
    Ringing(Released),
    Closing(Released),
}

impl Release {
    /// Releases the holding of this entry (or removes this open one). `stay` opens it in place;
    /// a fenced lock always stays.
    #[must_use]
    pub fn new(mine: Entry, stay: bool, here: LocalContext) -> Release {
        Release {
            state: mine.state,
            known: Some(mine.clone()),
            ..Self::by_nonce(mine.nonce, stay, here)
        }
    }

    /// Releases whatever holding has this nonce.
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
            telling: Telling::NotYet,
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
            // Its number must not be lost; or D would stay behind, empty, and keep everybody out.
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
        // A break may have opened it under the very name we meant to give it.
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
            // A server that calls a thing done again and again, and has not done it.
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

    /// Our entry is not there. Were it we who removed it, and the reply was lost, or the next one
    /// was faster than our look?
    fn gone(
        &mut self,
        now: Now,
        entries: &[Entry],
        modified: Option<crate::operation::Stamp>,
        fault: Option<Fault>,
    ) -> Step<Released> {
        let doubtful = match fault {
            // Said to be done, or sent by an earlier start of the machine.
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
                    // Only who has emptied D puts something in again, so there are never two.
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
            // Somebody else removed it, or made something of it: it is theirs now.
            Answer::Done(_) | Answer::Failed(Fault::Missing) if self.removing => {
                Step::Finished(Released::Left)
            }
            // Changed since: somebody's lock, or litter that keeps it from vanishing.
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

/// First a look whether somebody waits, or whether we may not remove D: then the lock is opened in
/// place. When it is free, the bell is rung: also for one who came between that look and the release.
impl Machine for Release {
    type Outcome = Released;

    fn start(&mut self, now: Now) -> Step<Released> {
        let is_open = self.state == State::Open;
        if !is_open && (self.stay || self.known.as_ref().is_some_and(|mine| mine.fenced)) {
            return self.let_go_and_tell(now);
        }
        self.telling = Telling::Knocking;
        Step::Perform(Operation::HasWaiters)
    }

    fn resume(&mut self, now: Now, answer: Answer) -> Step<Released> {
        match core::mem::replace(&mut self.telling, Telling::NotYet) {
            Telling::NotYet => {
                let step = self.go_on(now, answer);
                self.tell(step)
            }
            Telling::Knocking if answer != Answer::Somebody(true) => {
                self.telling = Telling::Asking;
                Step::Perform(Operation::AskRemovable)
            }
            Telling::Knocking => self.leave_or_open(now, true),
            Telling::Asking => self.leave_or_open(now, answer == Answer::Removable(false)),
            // There is a queue, and nobody listens: perhaps all in it are gone.
            Telling::Ringing(outcome) if answer == Answer::Failed(Fault::Taken) => {
                self.telling = Telling::Closing(outcome);
                Step::Perform(Operation::CloseQueue)
            }
            Telling::Ringing(outcome) => Step::Finished(outcome),
            Telling::Closing(outcome) => Step::Finished(outcome),
        }
    }
}

impl Release {
    fn leave_or_open(&mut self, now: Now, stays_in_place: bool) -> Step<Released> {
        self.stays_in_place = stays_in_place;
        match (self.state, &self.known) {
            // An open one is theirs who wait now, or of those who may remove it.
            (State::Open, Some(open)) if stays_in_place => {
                Step::Finished(Released::Opened(open.clone()))
            }
            _ => self.let_go_and_tell(now),
        }
    }

    fn let_go_and_tell(&mut self, now: Now) -> Step<Released> {
        self.telling = Telling::NotYet;
        let step = self.begin(now);
        self.tell(step)
    }

    /// What ended in a free lock is told to the first in the queue.
    fn tell(&mut self, step: Step<Released>) -> Step<Released> {
        let outcome = match step {
            Step::Finished(
                outcome @ (Released::Opened(_) | Released::Left | Released::Remains(..)),
            ) => outcome,
            step => return step,
        };
        self.telling = Telling::Ringing(outcome);
        Step::Perform(Operation::WakeFirst)
    }
}
