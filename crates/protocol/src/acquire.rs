//! Acquiring: install, take, or take over. One start of the machine is one try; between tries the
//! machine keeps what it has watched.

use alloc::boxed::Box;
use alloc::string::String;
use core::time::Duration;

use crate::acquisition::{AcquireRequest, AcquiredFrom, Acquisition, Blocker, RemovedBare};
use crate::entry::{Entry, MAX_NAME, MAX_TOKEN, State, whole_millis};
use crate::operation::{
    Answer, Fault, Foreign, Listing, Machine, Observation, Operation, Step, TORN_LOOKS,
};
use crate::release::{Release, Released};
use crate::time::{Now, Stamp, age, is_older, timestamp_granularity};
use crate::verdict::{Facts, Liveness, LocalContext, Question, Verdict, Watch, judge};

/// The machine that acquires a lock.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Acquire {
    request: AcquireRequest,
    here: LocalContext,
    shortcut: Option<Entry>,
    watch: Option<Watch>,
    bare: Option<(Stamp, Duration)>,
    removed_bare: RemovedBare,
    names: u32,
    rounds: u8,
    /// How often our entry was renewed before it could be returned.
    renewed: u8,
    torn: u8,
    doing: Phase,
    giving_back: Option<Box<Release>>,
    mine: Option<(Entry, AcquiredFrom)>,
    /// The renewal count of the name whose token was last chosen while D was known to be there.
    numbered: Option<u32>,
    fault: Option<Fault>,
    /// How the try ends once the stage is removed.
    outcome: Option<Acquisition>,
    /// The entry for which the file system's clock was read: once is enough, since the entry is
    /// watched from then on.
    clocked: Option<Entry>,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash)]
enum Phase {
    Looking,
    Staging,
    Installing,
    Unstaging,
    Renaming,
    Judging { entry: Entry, modified: Stamp, life: Option<Liveness> },
    AgeingBare { modified: Stamp, litter: Option<String> },
    RemovingBare { litter: Option<String> },
}

type Next = Step<Acquisition>;

/// Why an entry cannot be named.
enum NoName {
    TokenExhausted,
    /// The longest name would need this many bytes.
    TooLong(usize),
}

impl NoName {
    fn into_step(self) -> Next {
        Step::Finished(match self {
            NoName::TokenExhausted => Acquisition::Foreign(Foreign::Exhausted),
            NoName::TooLong(needed) => Acquisition::NameTooLong(needed),
        })
    }
}

/// The most lost races within one try, and the most renewals of a lock that was won too slowly; then the
/// try ends, and the next one goes on. Few, so that a try is short.
const ROUNDS: u8 = 4;

impl Acquire {
    /// Creates a machine for one acquisition. `shortcut` is an open entry that this handle left
    /// behind and that may be taken without a look.
    #[must_use]
    pub fn new(request: AcquireRequest, here: LocalContext, shortcut: Option<Entry>) -> Acquire {
        Acquire {
            request,
            here,
            shortcut,
            watch: None,
            bare: None,
            removed_bare: RemovedBare::default(),
            names: 0,
            rounds: 0,
            renewed: 0,
            torn: 0,
            doing: Phase::Looking,
            giving_back: None,
            mine: None,
            numbered: None,
            fault: None,
            outcome: None,
            clocked: None,
        }
    }

    /// Returns how old an empty directory of this change time may become: as old as one of ours may.
    pub(crate) fn bare_timeout(&self, modified: Stamp) -> Duration {
        self.request.timeout + timestamp_granularity(modified)
    }

    /// Returns the change time of the bare directory that was seen last.
    pub(crate) fn bare_stamp(&self) -> Option<Stamp> {
        self.bare.map(|(stamp, _)| stamp)
    }

    fn look(&mut self) -> Next {
        self.doing = Phase::Looking;
        Step::Perform(Operation::Look)
    }

    fn blocked(blocker: Blocker) -> Next {
        Step::Finished(Acquisition::Blocked(blocker))
    }

    /// Returns a name of this acquisition that was never used before.
    fn name(&mut self, now: Now, previous: Option<&Entry>) -> Result<Entry, NoName> {
        let entry = self.next_name(now, previous)?;
        self.names += 1;
        Ok(entry)
    }

    fn next_name(&self, now: Now, previous: Option<&Entry>) -> Result<Entry, NoName> {
        let token = previous.map_or(micros(now), |entry| micros(now).max(entry.token + 1));
        let entry = Entry {
            state: State::Held,
            fenced: self.request.fenced || previous.is_some_and(|entry| entry.fenced),
            token,
            nonce: self.request.nonce,
            renewals: self.names,
            timeout: whole_millis(self.request.timeout),
            stamp: whole_millis(now.boot),
            origin: self.here.origin,
            owner: self.request.owner,
            host: self.request.host,
            label: self.request.label.clone(),
        };
        if token > MAX_TOKEN {
            return Err(NoName::TokenExhausted);
        }
        entry.fit_to_grow(self.here.longest_name, self.request.names_child).map_err(NoName::TooLong)
    }

    fn take(&mut self, now: Now, from: Entry, acquired_from: AcquiredFrom) -> Next {
        let to = match self.name(now, Some(&from)) {
            Ok(to) => to,
            Err(why) => return why.into_step(),
        };
        self.numbered = Some(to.renewals);
        self.mine = Some((to.clone(), acquired_from));
        self.doing = Phase::Renaming;
        Step::Perform(Operation::Rename(from, to))
    }

    /// Handles the answer "done" to the call that makes the lock ours.
    fn done(&mut self, now: Now) -> Next {
        if !self.here.is_local {
            // Some servers answer "done" for a call that they did not perform: the directory
            // decides, not the answer. If it does not show our entry, that was a lost race.
            self.fault = Some(Fault::Taken);
            return self.look();
        }
        match self.mine.clone() {
            Some((entry, acquired_from)) => self.settle(now, entry, acquired_from),
            None => self.look(),
        }
    }

    /// Returns how we acquired the lock, if this is an entry that we have published.
    fn published(&self, entry: &Entry) -> Option<AcquiredFrom> {
        if entry.nonce != self.request.nonce || entry.state != State::Held {
            return None;
        }
        match &self.mine {
            Some((_, from)) => Some(from.clone()),
            // It was given up because a look did not show it: the server lied, or the listing was torn.
            None => {
                (!self.here.is_local && entry.renewals < self.names).then_some(AcquiredFrom::Free)
            }
        }
    }

    /// Returns our entry, which the directory holds, unless the call took so long that less than half
    /// of the timeout is left: then renews first, which proves that nobody held in between.
    fn settle(&mut self, now: Now, entry: Entry, acquired_from: AcquiredFrom) -> Next {
        // A staged entry got its token before the install, and others may have held and left
        // meanwhile: now that D is there, it takes a token that is larger than all of theirs.
        let raised = match self.numbered {
            Some(numbered) if numbered == entry.renewals => entry.token,
            _ => micros(now).max(entry.token),
        };
        if now.boot < entry.stamp + entry.timeout / 2 && raised == entry.token {
            let acquired_from = match (acquired_from, self.removed_bare) {
                (AcquiredFrom::Free, RemovedBare(Some(age))) => AcquiredFrom::AfterBare(age),
                (acquired_from, _) => acquired_from,
            };
            return Step::Finished(Acquisition::Got(entry, acquired_from));
        }
        if self.renewed == ROUNDS {
            return self.give_back(now, entry);
        }
        self.renewed += 1;
        let next = entry.next(State::Held, now.boot, &self.here.origin);
        let fresh = Entry { renewals: self.names, token: raised, ..next };
        let fresh = fresh.fit(self.here.longest_name);
        self.names += 1;
        self.numbered = Some(fresh.renewals);
        self.mine = Some((fresh.clone(), acquired_from));
        self.doing = Phase::Renaming;
        Step::Perform(Operation::Rename(entry, fresh))
    }

    /// Releases the entry, which is ours but too late to be used, so that it does not keep others
    /// waiting.
    fn give_back(&mut self, now: Now, entry: Entry) -> Next {
        self.mine = None;
        let mut release = Release::new(entry, false, self.here);
        let step = release.start(now);
        self.giving_back(release, step)
    }

    fn giving_back(&mut self, release: Release, step: Step<Released>) -> Next {
        match step {
            Step::Perform(operation) => {
                self.giving_back = Some(Box::new(release));
                Step::Perform(operation)
            }
            Step::Finished(_) => Self::blocked(Blocker::Busy(Fault::Taken)),
        }
    }

    fn seen(&mut self, now: Now, sight: Observation) -> Next {
        let listing = match sight {
            Observation::Absent => return self.absent(now),
            Observation::Foreign(why) => return self.end_try(Acquisition::Foreign(why)),
            Observation::Directory(listing) => listing,
        };
        if let Some(uid) = listing.stranger {
            return self.end_try(Acquisition::Stranger(uid));
        }
        if let [entry] = &*listing.entries
            && let Some(from) = self.published(entry)
        {
            return self.settle(now, entry.clone(), from);
        }
        if let Some(why) = listing.foreign {
            return self.end_try(Acquisition::Foreign(why));
        }
        if listing.entries.len() > 1 {
            self.torn += 1;
            return if self.torn > TORN_LOOKS {
                self.end_try(Acquisition::Foreign(Foreign::TwoEntries))
            } else {
                self.look()
            };
        }
        self.torn = 0;
        self.removed_bare = RemovedBare(None);
        if let Some((entry, AcquiredFrom::Free)) = &self.mine {
            // The install lost; our stage is removed before anything else.
            let entry = entry.clone();
            self.mine = None;
            self.doing = Phase::Unstaging;
            return Step::Perform(Operation::Unstage(entry));
        }
        self.mine = None;
        if let Some(fault) = self.give_way() {
            return Self::blocked(Blocker::Busy(fault));
        }
        match listing.entries.first().cloned() {
            None => self.bare(now, listing),
            Some(entry) if entry.state == State::Open => {
                self.take(now, entry.clone(), AcquiredFrom::HandedOver(entry))
            }
            Some(entry) => {
                let modified = listing.modified;
                self.doing = Phase::Judging { entry, modified, life: None };
                self.judged(now, None)
            }
        }
    }

    /// Ends the try with this outcome; removes our stage first, if there is one.
    fn end_try(&mut self, outcome: Acquisition) -> Next {
        match self.mine.take() {
            Some((entry, AcquiredFrom::Free)) => {
                self.outcome = Some(outcome);
                self.doing = Phase::Unstaging;
                Step::Perform(Operation::Unstage(entry))
            }
            _ => Step::Finished(outcome),
        }
    }

    /// After a lost race, returns the fault that ends this try; none if it goes on.
    fn give_way(&mut self) -> Option<Fault> {
        let fault = self.fault.take()?;
        self.rounds += 1;
        (self.rounds > ROUNDS || !matches!(fault, Fault::Missing | Fault::Taken)).then_some(fault)
    }

    fn absent(&mut self, now: Now) -> Next {
        if let Some((entry, AcquiredFrom::Free)) = &self.mine {
            // Not installed, and D is absent: the stage is removed before a new try.
            let entry = entry.clone();
            self.mine = None;
            self.doing = Phase::Unstaging;
            return Step::Perform(Operation::Unstage(entry));
        }
        self.mine = None;
        match self.fault.take() {
            // D is absent, so it did not cause the fault: the refusal is real.
            Some(fault @ (Fault::Denied { .. } | Fault::Broken { .. })) => {
                return Step::Finished(Acquisition::Failed(fault));
            }
            Some(fault) => {
                self.rounds += 1;
                if self.rounds > ROUNDS {
                    return Self::blocked(Blocker::Busy(fault));
                }
            }
            None => {}
        }
        let entry = match self.name(now, None) {
            Ok(entry) => entry,
            Err(why) => return why.into_step(),
        };
        self.mine = Some((entry.clone(), AcquiredFrom::Free));
        self.doing = Phase::Staging;
        Step::Perform(Operation::Stage(entry))
    }

    fn bare(&mut self, now: Now, listing: Listing) -> Next {
        let since = match self.bare {
            Some((stamp, since)) if stamp == listing.modified => since,
            _ => now.boot,
        };
        self.bare = Some((listing.modified, since));
        let age = now.boot.saturating_sub(since);
        if age >= self.bare_timeout(listing.modified) {
            return self.remove_bare(listing.modified, age, listing.litter);
        }
        self.doing = Phase::AgeingBare { modified: listing.modified, litter: listing.litter };
        Step::Perform(Operation::ReadFileClock)
    }

    fn remove_bare(&mut self, modified: Stamp, age: Duration, litter: Option<String>) -> Next {
        self.removed_bare = RemovedBare(Some(age));
        self.doing = Phase::RemovingBare { litter };
        Step::Perform(Operation::RemoveDir(modified))
    }

    fn judged(&mut self, now: Now, file_clock: Option<Stamp>) -> Next {
        let Phase::Judging { entry, modified, life } = self.doing.clone() else {
            return self.look();
        };
        let watched = Watch::on(&mut self.watch, &entry, now);
        let facts = Facts { now, watched, modified, life, file_clock };
        match judge(&entry, &self.here, &facts) {
            Verdict::Ask(Question::Liveness(owner)) => Step::Perform(Operation::AskLiveness(owner)),
            Verdict::Ask(Question::FileClock) if self.clocked.as_ref() == Some(&entry) => {
                self.judged(now, Some(modified))
            }
            Verdict::Ask(Question::FileClock) => {
                self.clocked = Some(entry);
                Step::Perform(Operation::ReadFileClock)
            }
            Verdict::Live { until } => Self::blocked(Blocker::Held { entry, until }),
            Verdict::Expired(evidence) => {
                self.take(now, entry.clone(), AcquiredFrom::AfterExpiry(entry, evidence))
            }
            Verdict::Dead(evidence) => {
                self.take(now, entry.clone(), AcquiredFrom::AfterDeath(entry, evidence))
            }
        }
    }
}

impl Machine for Acquire {
    type Outcome = Acquisition;

    fn start(&mut self, now: Now) -> Next {
        self.rounds = 0;
        self.renewed = 0;
        self.torn = 0;
        self.fault = None;
        self.outcome = None;
        // A lock whose name cannot fit is refused at once, rather than waited for.
        if self.here.longest_name < MAX_NAME
            && let Err(why) = self.next_name(now, None)
        {
            return why.into_step();
        }
        match self.shortcut.take() {
            Some(entry) => self.take(now, entry.clone(), AcquiredFrom::HandedOver(entry)),
            None => self.look(),
        }
    }

    fn resume(&mut self, now: Now, answer: Answer) -> Next {
        if let Some(mut release) = self.giving_back.take() {
            let step = release.resume(now, answer);
            return self.giving_back(*release, step);
        }
        match (self.doing.clone(), answer) {
            (_, Answer::Seen(sight)) => self.seen(now, sight),
            (Phase::Looking, Answer::Failed(fault)) => match &self.mine {
                Some((entry, AcquiredFrom::Free)) => {
                    // Whether the install was done cannot be seen: unstaging removes only what is
                    // still staged.
                    let entry = entry.clone();
                    self.fault = Some(fault);
                    self.doing = Phase::Unstaging;
                    Step::Perform(Operation::Unstage(entry))
                }
                _ => failed(fault),
            },
            (Phase::Staging, Answer::Done(_)) => match &self.mine {
                Some((entry, _)) => {
                    self.doing = Phase::Installing;
                    Step::Perform(Operation::Install(entry.clone()))
                }
                None => self.look(),
            },
            (Phase::Staging, Answer::Failed(fault)) => {
                self.mine = None;
                failed(fault)
            }
            (Phase::Installing | Phase::Renaming, Answer::Done(_)) => self.done(now),
            (Phase::Installing | Phase::Renaming, Answer::Failed(fault)) => {
                self.fault = Some(fault);
                self.look()
            }
            (Phase::Unstaging, _) => match (self.outcome.take(), self.mine.take(), self.fault) {
                (Some(outcome), ..) => Step::Finished(outcome),
                (None, Some(mine), Some(fault)) => {
                    // If it was installed all the same, the next try finds that it is ours.
                    self.mine = Some(mine);
                    failed(fault)
                }
                _ => self.look(),
            },
            (Phase::Judging { entry, modified, .. }, Answer::Liveness(life)) => {
                self.doing = Phase::Judging { entry, modified, life: Some(life) };
                self.judged(now, None)
            }
            (Phase::Judging { .. }, Answer::FileClock(clock)) => self.judged(now, Some(clock)),
            // The file system's clock cannot be read: only watching shows an expiry then.
            (Phase::Judging { modified, .. }, Answer::Failed(_)) => {
                self.judged(now, Some(modified))
            }
            (Phase::AgeingBare { modified, litter }, Answer::FileClock(clock)) => {
                if is_older(modified, clock, self.bare_timeout(modified)) {
                    self.remove_bare(modified, age(modified, clock), litter)
                } else {
                    Self::blocked(Blocker::Bare(litter))
                }
            }
            (Phase::AgeingBare { litter, .. }, _) => Self::blocked(Blocker::Bare(litter)),
            (Phase::RemovingBare { .. }, Answer::Done(_)) => {
                self.bare = None;
                // Counts as a round: D may be there again, or still.
                self.fault = Some(Fault::Taken);
                self.look()
            }
            (Phase::RemovingBare { litter }, answer) => {
                self.removed_bare = RemovedBare(None);
                Self::blocked(match answer {
                    Answer::Failed(fault @ Fault::Denied { .. }) => Blocker::Remains(fault),
                    _ => Blocker::Bare(litter),
                })
            }
            _ => self.look(),
        }
    }
}

/// Returns the microseconds since 1970, from which tokens start.
fn micros(now: Now) -> u64 {
    u64::try_from(now.wall.as_micros()).unwrap_or(u64::MAX).min(MAX_TOKEN / 2)
}

/// Ends the try after this fault: some faults may pass while patience lasts, the others end the wait.
fn failed(fault: Fault) -> Next {
    Step::Finished(match fault {
        Fault::Missing | Fault::Taken | Fault::Full { .. } => {
            Acquisition::Blocked(Blocker::Busy(fault))
        }
        fault => Acquisition::Failed(fault),
    })
}
