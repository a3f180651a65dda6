//! Renewing: the same holding under a new name with a new stamp. A renewal that succeeds late proves
//! that nobody held in between, since another holder would have renamed the entry.

use core::time::Duration;

use crate::entry::{Entry, Nonce, Owner, Process, State, whole_millis};
use crate::operation::{Answer, Fault, Machine, Observation, Operation, Step, TORN_LOOKS};
use crate::time::Now;
use crate::verdict::LocalContext;

/// What a renewal changes besides the stamp.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct RenewRequest {
    /// The new timeout; none: unchanged.
    pub timeout: Option<Duration>,
    /// The new owner; none: unchanged.
    pub owner: Option<Owner>,
}

/// How a renewal ended.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Renewal {
    /// The lock is ours, under this entry.
    Renewed(Entry),
    /// The lock is not ours any more; the entry of the present holder, where there is one.
    Lost(Option<Entry>),
    /// A process holds the lock under this entry and relies on a longer timeout; nothing is changed.
    Shorter(Entry),
    /// A call failed, or whether it was done is unknown; the lock may still be ours.
    Failed(Fault),
}

/// The machine that renews a holding. It may be started again after a failure.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Renew {
    nonce: Nonce,
    /// The process that renews by key; none: the holder itself.
    by: Option<Process>,
    known: Option<Entry>,
    sent: Option<Entry>,
    request: RenewRequest,
    here: LocalContext,
    names: u32,
    torn: u8,
    fault: Option<Fault>,
}

impl Renew {
    /// Creates a machine that renews the holding of this entry.
    #[must_use]
    pub fn new(mine: Entry, request: RenewRequest, here: LocalContext) -> Renew {
        let names = mine.renewals;
        Renew { known: Some(mine.clone()), names, ..Renew::by_nonce(mine.nonce, request, here) }
    }

    /// Creates a machine that renews the caller's own holding, which has this nonce.
    #[must_use]
    pub fn by_nonce(nonce: Nonce, request: RenewRequest, here: LocalContext) -> Renew {
        let by = None;
        Renew { nonce, by, known: None, sent: None, request, here, names: 0, torn: 0, fault: None }
    }

    /// Creates a machine that renews the holding with this nonce, for the process `by`, which has its
    /// key. The holder does not learn of it. So a holding of other processes keeps its timeout or gets a
    /// longer one.
    #[must_use]
    pub fn by_key(nonce: Nonce, request: RenewRequest, here: LocalContext, by: Process) -> Renew {
        Renew { by: Some(by), ..Renew::by_nonce(nonce, request, here) }
    }

    /// Returns true if the holder relies on a longer timeout than this renewal would set.
    fn is_shorter(&self, than: &Entry) -> bool {
        let (Some(by), Some(timeout)) = (self.by, self.request.timeout) else {
            return false;
        };
        let is_ours = than.origin.is_same_pids(&self.here.origin)
            && than.owner.processes().any(|process| process == by);
        than.owner != Owner::Nobody && !is_ours && whole_millis(timeout) < than.timeout
    }

    fn rename(&mut self, now: Now, from: Entry) -> Step<Renewal> {
        self.names = self.names.max(from.renewals).wrapping_add(1);
        let next = from.next(State::Held, now.boot, &self.here.origin);
        let mut to = Entry { renewals: self.names, ..next };
        to.timeout = self.request.timeout.map_or(to.timeout, whole_millis);
        to.owner = self.request.owner.unwrap_or(to.owner);
        let to = to.fit(self.here.longest_name);
        self.known = None;
        self.sent = Some(to.clone());
        Step::Perform(Operation::Rename(from, to))
    }

    fn seen(&mut self, now: Now, sight: Observation) -> Step<Renewal> {
        let Observation::Directory(listing) = sight else {
            return Step::Finished(Renewal::Lost(None));
        };
        let mine = |entry: &&Entry| entry.nonce == self.nonce && entry.state == State::Held;
        // A torn listing may show a renamed entry under both names; the later name is the true one.
        let found = listing.entries.iter().filter(mine).max_by_key(|entry| entry.renewals);
        match (found.cloned(), &self.sent, self.fault.take()) {
            (Some(entry), Some(sent), _) if entry == *sent => {
                self.known = Some(entry.clone());
                self.sent = None;
                Step::Finished(Renewal::Renewed(entry))
            }
            // Not done, since somebody with the key has renewed it meanwhile: continues from that name.
            (Some(entry), Some(sent), Some(Fault::Missing))
                if entry.renewals >= sent.renewals && self.torn < TORN_LOOKS =>
            {
                if self.is_shorter(&entry) {
                    self.sent = None;
                    return Step::Finished(Renewal::Shorter(entry));
                }
                self.torn += 1;
                self.rename(now, entry)
            }
            (Some(entry), Some(_), Some(fault)) => {
                self.known = Some(entry);
                self.sent = None;
                Step::Finished(Renewal::Failed(fault))
            }
            // The server answers "done" again and again, and does not do it.
            (Some(entry), Some(_), None) if self.torn == TORN_LOOKS => {
                self.known = Some(entry);
                self.sent = None;
                Step::Finished(Renewal::Failed(Fault::Taken))
            }
            (Some(entry), ..) if self.is_shorter(&entry) => {
                self.sent = None;
                Step::Finished(Renewal::Shorter(entry))
            }
            (Some(entry), sent, _) => {
                self.torn += u8::from(sent.is_some());
                self.rename(now, entry)
            }
            (None, _, fault) if listing.entries.len() != 1 && self.torn < TORN_LOOKS => {
                self.torn += 1;
                self.fault = fault;
                Step::Perform(Operation::Look)
            }
            (None, ..) => Step::Finished(Renewal::Lost(
                listing.entries.into_iter().find(|entry| entry.state == State::Held),
            )),
        }
    }
}

impl Machine for Renew {
    type Outcome = Renewal;

    fn start(&mut self, now: Now) -> Step<Renewal> {
        self.torn = 0;
        self.fault = None;
        match self.known.take() {
            Some(mine) => self.rename(now, mine),
            None => Step::Perform(Operation::Look),
        }
    }

    fn resume(&mut self, now: Now, answer: Answer) -> Step<Renewal> {
        match (answer, &self.sent) {
            (Answer::Seen(sight), _) => self.seen(now, sight),
            (Answer::Done(_), Some(sent)) if self.here.is_local => {
                let sent = sent.clone();
                self.sent = None;
                self.known = Some(sent.clone());
                Step::Finished(Renewal::Renewed(sent))
            }
            (Answer::Failed(fault), Some(_)) if self.fault.is_none() => {
                self.fault = Some(fault);
                Step::Perform(Operation::Look)
            }
            (Answer::Failed(fault), _) => {
                Step::Finished(Renewal::Failed(self.fault.take().unwrap_or(fault)))
            }
            _ => Step::Perform(Operation::Look),
        }
    }
}
