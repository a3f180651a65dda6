//! Looking at a lock without changing it.

use crate::entry::State;
use crate::operation::{
    Answer, Fault, Foreign, Listing, Machine, Observation, Operation, Step, TORN_LOOKS,
};
use crate::time::{Now, Stamp};
use crate::verdict::{Facts, Liveness, LocalContext, Question, Verdict, judge};

/// The state of a lock as a look found it.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct View {
    /// What is at D's path.
    pub sight: Observation,
    /// The verdict on the holder, where there is one.
    pub verdict: Option<Verdict>,
    /// The time of the file system's clock, where it was needed.
    pub file_clock: Option<Stamp>,
    /// Why the look failed.
    pub fault: Option<Fault>,
    /// The listing of a directory that shows several entries, look after look.
    pub torn: Option<Listing>,
}

/// The machine that looks at a lock.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Inspect {
    here: LocalContext,
    seen: Option<Listing>,
    life: Option<Liveness>,
    torn: u8,
}

impl Inspect {
    /// Creates a machine that looks once.
    #[must_use]
    pub fn new(here: LocalContext) -> Inspect {
        Inspect { here, seen: None, life: None, torn: 0 }
    }

    /// Returns true if it has seen the directory and only asks further questions.
    pub(crate) fn is_asking(&self) -> bool {
        self.seen.is_some()
    }

    fn judged(&mut self, now: Now, file_clock: Option<Stamp>) -> Step<View> {
        let Some(listing) = &self.seen else {
            return Step::Perform(Operation::Look);
        };
        let mut verdict = None;
        match listing.entries.first() {
            None if file_clock.is_none() => return Step::Perform(Operation::ReadFileClock),
            Some(entry) if entry.state == State::Held => {
                let watched = core::time::Duration::ZERO;
                let (modified, life) = (listing.modified, self.life);
                let facts = Facts { now, watched, modified, life, file_clock };
                match judge(entry, &self.here, &facts) {
                    Verdict::Ask(Question::Liveness(owner)) => {
                        return Step::Perform(Operation::AskLiveness(owner));
                    }
                    Verdict::Ask(Question::FileClock) => {
                        return Step::Perform(Operation::ReadFileClock);
                    }
                    known => verdict = Some(known),
                }
            }
            _ => {}
        }
        let sight = Observation::Directory(listing.clone());
        Step::Finished(View { sight, verdict, file_clock, fault: None, torn: None })
    }
}

impl Machine for Inspect {
    type Outcome = View;

    fn start(&mut self, _now: Now) -> Step<View> {
        *self = Inspect::new(self.here);
        Step::Perform(Operation::Look)
    }

    fn resume(&mut self, now: Now, answer: Answer) -> Step<View> {
        let plain =
            |sight, fault| View { sight, verdict: None, file_clock: None, fault, torn: None };
        match answer {
            Answer::Seen(Observation::Directory(listing)) if listing.entries.len() > 1 => {
                self.torn += 1;
                if self.torn > TORN_LOOKS {
                    let view = plain(Observation::Foreign(Foreign::TwoEntries), None);
                    return Step::Finished(View { torn: Some(listing), ..view });
                }
                Step::Perform(Operation::Look)
            }
            Answer::Seen(Observation::Directory(Listing { foreign: Some(why), .. })) => {
                Step::Finished(plain(Observation::Foreign(why), None))
            }
            Answer::Seen(Observation::Directory(listing)) => {
                self.seen = Some(listing);
                self.judged(now, None)
            }
            Answer::Seen(sight) => Step::Finished(plain(sight, None)),
            Answer::Liveness(life) => {
                self.life = Some(life);
                self.judged(now, None)
            }
            Answer::FileClock(clock) => self.judged(now, Some(clock)),
            Answer::Failed(fault) => match &self.seen {
                // The file system's clock cannot be read: the entry counts as fresh.
                Some(listing) => {
                    let modified = listing.modified;
                    self.judged(now, Some(modified))
                }
                None => Step::Finished(plain(Observation::Absent, Some(fault))),
            },
            _ => Step::Perform(Operation::Look),
        }
    }
}
