//! Releasing: leave (unlink the entry, remove the directory), or open the lock in place.

use alloc::boxed::Box;
use alloc::string::String;
use alloc::vec::Vec;
use core::mem;
use core::time::Duration;

use crate::entry::{Entry, Nonce, State};
use crate::operation::{
    Answer, Fault, Foreign, Listing, Machine, Observation, Operation, Step, TORN_LOOKS,
};
use crate::time::{Now, Stamp};
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
///
/// First it asks whether somebody waits, and whether we may remove D: if somebody does, or we may not,
/// the lock is opened in place. When the lock is free, it rings the bell in any case: a waiter may have
/// arrived between that question and the release. If the bell of a lock that was opened for a waiter has no
/// listener, the waiter may have given up in between: the open lock is removed like any other.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Release {
    nonce: Nonce,
    state: State,
    here: LocalContext,
    /// The caller wants the lock to be opened in place.
    stay: bool,
    /// The entry is kept: the caller wants that, somebody waits, or we may not remove D.
    keeps_entry: bool,
    /// Somebody waited when we asked.
    had_waiters: bool,
    /// The deadline of the entry that was given, on our clock. A key on another host may have renewed it.
    own_deadline: Duration,
    /// Our entry, where its name is known.
    known: Option<Entry>,
    /// The last call that was to let the lock go, also one of an earlier start.
    sent: Option<Call>,
    /// The first fault since the start.
    fault: Option<Fault>,
    torn: u8,
    phase: Phase,
}

/// A call that lets the lock go.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
enum Call {
    /// Renames the first entry to the second, which is open.
    Open(Entry, Entry),
    Unlink(Entry),
}

impl Call {
    fn entry(&self) -> &Entry {
        match self {
            Call::Open(mine, _) | Call::Unlink(mine) => mine,
        }
    }
}

/// The operation whose answer comes next.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
enum Phase {
    /// Asks whether somebody waits.
    AskingWaiters,
    /// Nobody waits. Asks whether we may remove D, which would otherwise stay, empty, and block everybody.
    AskingRemovable,
    /// Looks for our entry, whose name is unknown, or for what the last call has done.
    Looking,
    /// Performs the last call.
    LettingGo,
    /// Removes D, which is empty.
    Removing,
    /// D was not removed, because of this fault: looks whose it is now, or what keeps it.
    LookingAtRemains(Fault),
    /// Creates this open entry in D, which could not be removed: because of this fault, or of litter of
    /// this name.
    Reopening(Entry, Fault, Option<String>),
    /// The lock is free. Wakes the first waiter.
    Waking(Released),
    /// Removes a queue in which nobody listens: perhaps all its waiters are gone.
    ClosingQueue(Released),
    /// Removes this open entry, which was kept for waiters, unless somebody waits now.
    Tidying(Box<Release>, Entry),
}

type Next = Step<Released>;

impl Release {
    /// Creates a machine that releases the holding of this entry, or removes this open entry. With
    /// `stay` the lock is opened in place; a fenced lock always is.
    #[must_use]
    pub fn new(mine: Entry, stay: bool, here: LocalContext) -> Release {
        Release {
            state: mine.state,
            own_deadline: mine.deadline(),
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
            here,
            stay,
            keeps_entry: false,
            had_waiters: false,
            own_deadline: Duration::ZERO,
            known: None,
            sent: None,
            fault: None,
            torn: 0,
            phase: Phase::AskingWaiters,
        }
    }

    fn perform(&mut self, phase: Phase, operation: Operation) -> Next {
        self.phase = phase;
        Step::Perform(operation)
    }

    fn look(&mut self) -> Next {
        self.perform(Phase::Looking, Operation::Look)
    }

    /// The lock is free: wakes the first waiter before the release ends with this outcome.
    fn free(&mut self, outcome: Released) -> Next {
        self.perform(Phase::Waking(outcome), Operation::WakeFirst)
    }

    fn begin(&mut self, now: Now, keeps_entry: bool) -> Next {
        self.keeps_entry = keeps_entry;
        self.fault = None;
        self.torn = 0;
        match self.known.take() {
            // An open entry is left to the waiters, or to the users who may remove D.
            Some(open) if keeps_entry && open.state == State::Open => {
                self.known = Some(open.clone());
                Step::Finished(Released::Opened(open))
            }
            Some(mine) => self.let_go(now, mine),
            None => self.look(),
        }
    }

    fn let_go(&mut self, now: Now, mine: Entry) -> Next {
        // The token of a fenced lock must not be lost. A D that we may not remove would stay, empty, and
        // block everybody.
        match (mine.state, self.keeps_entry || mine.fenced) {
            (State::Held, true) => {
                let open = self.opened(now, &mine);
                self.sent = Some(Call::Open(mine.clone(), open.clone()));
                self.perform(Phase::LettingGo, Operation::Rename(mine, open))
            }
            (State::Open, true) => self.free(Released::Opened(mine)),
            (_, false) => {
                self.sent = Some(Call::Unlink(mine.clone()));
                self.perform(Phase::LettingGo, Operation::Unlink(mine))
            }
        }
    }

    fn opened(&self, now: Now, mine: &Entry) -> Entry {
        mine.next(State::Open, now.boot, &self.here.origin).fit(self.here.longest_name)
    }

    /// Handles the answer "done" to the last call; `emptied` is D's change time after an unlink.
    fn done(&mut self, emptied: Option<Stamp>) -> Next {
        match (&self.sent, emptied) {
            (Some(Call::Open(_, open)), _) if self.here.is_local => {
                let open = open.clone();
                self.free(Released::Opened(open))
            }
            (Some(Call::Unlink(_)), Some(emptied)) => self.remove(emptied),
            (Some(Call::Unlink(_)), None) => self.free(Released::Remains(Fault::Taken, None)),
            // Some servers answer "done" for a call that they did not perform.
            _ => self.look(),
        }
    }

    fn failed(&mut self, fault: Fault) -> Next {
        match self.fault {
            Some(first) => Step::Finished(Released::Failed(first)),
            None => {
                self.fault = Some(fault);
                self.look()
            }
        }
    }

    fn seen(&mut self, now: Now, sight: Observation) -> Next {
        let is_directory = matches!(sight, Observation::Directory(_));
        let (entries, modified) = match (sight, self.fault) {
            (Observation::Directory(listing), _) => (listing.entries, Some(listing.modified)),
            (Observation::Foreign(_), Some(fault)) if fault != Fault::Missing => {
                return Step::Finished(Released::Failed(fault));
            }
            _ => (Vec::new(), None),
        };
        // A break may have opened the lock under the same name as we would have given it.
        if let Some(Call::Open(_, open)) = &self.sent
            && !self.is_refused()
            && entries.contains(open)
        {
            let open = open.clone();
            return self.free(Released::Opened(open));
        }
        let mine = |entry: &&Entry| entry.nonce == self.nonce && entry.state == self.state;
        match entries.iter().filter(mine).max_by_key(|entry| entry.renewals) {
            Some(entry) => self.still_there(now, entry.clone()),
            None if entries.len() != 1 && is_directory && self.torn < TORN_LOOKS => {
                self.torn += 1;
                self.look()
            }
            None => self.gone(now, &entries, modified),
        }
    }

    /// Decides what happened to our entry, which is there: it was renewed meanwhile, or the last call was
    /// not done.
    fn still_there(&mut self, now: Now, entry: Entry) -> Next {
        let failure = match (&self.sent, self.fault) {
            (Some(call), Some(fault)) if *call.entry() == entry => Some(fault),
            // The server answers "done" again and again, and does not do it.
            (Some(_), fault) if self.torn == TORN_LOOKS => Some(fault.unwrap_or(Fault::Taken)),
            _ => None,
        };
        match failure {
            Some(fault) => {
                self.known = Some(entry);
                Step::Finished(Released::Failed(fault))
            }
            None => {
                self.torn += u8::from(self.sent.is_some());
                self.let_go(now, entry)
            }
        }
    }

    /// Decides what happened to our entry, which is not there: either we removed it, and the reply was
    /// lost or the next holder was faster than our look, or we had lost the lock before.
    fn gone(&mut self, now: Now, entries: &[Entry], modified: Option<Stamp>) -> Next {
        let in_time = self.sent.as_ref().filter(|call| now.boot < self.deadline(call.entry()));
        match (in_time, modified) {
            (Some(_), _) if self.is_refused() => Self::lost(entries),
            (Some(Call::Unlink(_)), Some(emptied)) if entries.is_empty() => self.remove(emptied),
            (Some(_), _) => self.free(Released::Left),
            (None, _) => Self::lost(entries),
        }
    }

    /// Returns the deadline of our entry, on our clock. Another clock may have stamped its last name; a
    /// renewal by key never shortens the holding of a process.
    fn deadline(&self, entry: &Entry) -> Duration {
        match entry.origin.is_same_clock(&self.here.origin) {
            true => entry.deadline(),
            false => self.own_deadline,
        }
    }

    /// Returns true if the first call has certainly found no entry of its name.
    fn is_refused(&self) -> bool {
        self.here.is_local && self.fault == Some(Fault::Missing)
    }

    fn lost(entries: &[Entry]) -> Next {
        let holder = entries.iter().find(|entry| entry.state == State::Held).cloned();
        Step::Finished(Released::Lost(holder))
    }

    fn remove(&mut self, emptied: Stamp) -> Next {
        self.perform(Phase::Removing, Operation::RemoveDir(emptied))
    }

    fn removed(&mut self, answer: &Answer) -> Next {
        match answer {
            // D was changed since: it is another lock, or litter keeps it from being removed. Or we may
            // not remove it any more.
            Answer::Failed(fault) if *fault != Fault::Missing => {
                self.perform(Phase::LookingAtRemains(*fault), Operation::Look)
            }
            // We have removed D, or somebody else has.
            _ => self.free(Released::Left),
        }
    }

    fn remains(&mut self, now: Now, because: Fault, answer: Answer) -> Next {
        match answer {
            Answer::Seen(Observation::Directory(listing)) if listing.entries.is_empty() => {
                self.empty(now, because, listing)
            }
            Answer::Failed(fault) if fault != Fault::Missing => {
                self.free(Released::Remains(fault, None))
            }
            // Somebody else removed D, or has installed a lock there: D is theirs now.
            _ => self.free(Released::Left),
        }
    }

    /// D is still there and empty. If nothing of others keeps it, it gets an open entry, since an empty D
    /// that stays would block everybody. Only the process that emptied D creates an entry in it, so
    /// there are never two.
    fn empty(&mut self, now: Now, because: Fault, listing: Listing) -> Next {
        match (listing.foreign, listing.litter, &self.sent) {
            (Some(Foreign::Holds(name)), ..) => self.free(Released::Remains(because, Some(name))),
            (None, litter, Some(call)) if litter.is_some() || because != Fault::Taken => {
                let open = self.opened(now, call.entry());
                let reopening = Phase::Reopening(open.clone(), because, litter);
                self.perform(reopening, Operation::Reopen(open))
            }
            (_, litter, _) => self.free(Released::Remains(because, litter)),
        }
    }
}

impl Release {
    /// The lock is free, and nobody was woken. If it was opened for waiters, they may have given up before,
    /// when they could not know of the open entry.
    fn nobody_woken(&mut self, now: Now, outcome: Released) -> Next {
        match outcome {
            Released::Opened(open) if self.had_waiters && !open.fenced => {
                let mut tidy = Box::new(Release::new(open.clone(), false, self.here));
                let step = tidy.start(now);
                self.tidying(tidy, open, step)
            }
            outcome => Step::Finished(outcome),
        }
    }

    fn tidying(&mut self, tidy: Box<Release>, open: Entry, step: Next) -> Next {
        match step {
            Step::Perform(operation) => self.perform(Phase::Tidying(tidy, open), operation),
            // The lock was released all the same.
            Step::Finished(Released::Lost(_) | Released::Failed(_)) => {
                Step::Finished(Released::Opened(open))
            }
            finished @ Step::Finished(_) => finished,
        }
    }
}

impl Machine for Release {
    type Outcome = Released;

    fn start(&mut self, now: Now) -> Next {
        let is_fenced = self.known.as_ref().is_some_and(|mine| mine.fenced);
        if self.state == State::Held && (self.stay || is_fenced) {
            // Nobody asks whether we may remove D. So whatever entry of ours a look finds stays, too.
            return self.begin(now, true);
        }
        self.perform(Phase::AskingWaiters, Operation::HasWaiters)
    }

    fn resume(&mut self, now: Now, answer: Answer) -> Next {
        match (mem::replace(&mut self.phase, Phase::Looking), answer) {
            (Phase::AskingWaiters, Answer::Somebody(true)) => {
                self.had_waiters = true;
                self.begin(now, true)
            }
            (Phase::AskingWaiters, _) => {
                self.perform(Phase::AskingRemovable, Operation::AskRemovable)
            }
            (Phase::AskingRemovable, answer) => self.begin(now, answer == Answer::Removable(false)),
            (Phase::Looking, Answer::Seen(sight)) => self.seen(now, sight),
            (Phase::LettingGo, Answer::Done(emptied)) => self.done(emptied),
            (Phase::Looking | Phase::LettingGo, Answer::Failed(fault)) => self.failed(fault),
            (Phase::Looking | Phase::LettingGo, _) => self.look(),
            (Phase::Removing, answer) => self.removed(&answer),
            (Phase::LookingAtRemains(because), answer) => self.remains(now, because, answer),
            (Phase::Reopening(open, ..), Answer::Done(_)) => self.free(Released::Opened(open)),
            (Phase::Reopening(_, fault, litter), _) => self.free(Released::Remains(fault, litter)),
            (Phase::Waking(outcome), Answer::Failed(Fault::Taken)) => {
                self.perform(Phase::ClosingQueue(outcome), Operation::CloseQueue)
            }
            (Phase::Waking(outcome), Answer::Failed(_)) | (Phase::ClosingQueue(outcome), _) => {
                self.nobody_woken(now, outcome)
            }
            (Phase::Waking(outcome), _) => Step::Finished(outcome),
            (Phase::Tidying(mut tidy, open), answer) => {
                let step = tidy.resume(now, answer);
                self.tidying(tidy, open, step)
            }
        }
    }
}
