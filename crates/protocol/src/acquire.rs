//! Acquiring: install, take, or take over. One start of the machine is one try; between tries it
//! remembers what it watched.

use alloc::boxed::Box;
use alloc::string::String;
use core::hash::{Hash, Hasher};
use core::time::Duration;

use crate::entry::{Entry, MAX_NAME, MAX_TOKEN, Nonce, Owner, State, whole_millis};
use crate::operation::{
    Answer, Fault, Foreign, Listing, Machine, Now, Observation, Operation, Stamp, Step, TORN_LOOKS,
};
use crate::release::{Release, Released};
use crate::text::{Host, Label};
use crate::verdict::{
    Evidence, Facts, Liveness, LocalContext, Question, Verdict, Watch, age, is_older, judge,
    timestamp_granularity,
};

/// What is to be acquired, and by whom.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct AcquireRequest {
    /// Fresh random bits.
    pub nonce: Nonce,
    /// How long the lock shall last.
    pub timeout: Duration,
    /// Keep the directory for ever?
    pub fenced: bool,
    /// Who must live for the lock to live.
    pub owner: Owner,
    /// For people.
    pub host: Host,
    /// For people.
    pub label: Label,
    /// Will a renewal name a second process? Where names are short, room is kept for it.
    pub names_child: bool,
}

/// How a lock was got.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum AcquiredFrom {
    /// There was none.
    Free,
    /// From an open lock, left by this entry.
    HandedOver(Entry),
    /// Taken over from this entry, whose timeout had passed.
    AfterExpiry(Entry, Evidence),
    /// Taken over from this entry, whose holder was dead.
    AfterDeath(Entry, Evidence),
    /// There was a bare directory, at least this old. It was over by our own timeout, so we removed it;
    /// its maker is unknown and may live.
    AfterBare(Duration),
}

/// How old the bare directory was that we removed; none once something else was seen there. It is only
/// reported, and no step depends on it: so it makes no difference between two machines.
#[derive(Clone, Copy, Debug, Default)]
struct RemovedBare(Option<Duration>);

impl PartialEq for RemovedBare {
    fn eq(&self, _: &RemovedBare) -> bool {
        true
    }
}

impl Eq for RemovedBare {}

impl Hash for RemovedBare {
    fn hash<H: Hasher>(&self, _: &mut H) {}
}

/// What is in the way.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Blocker {
    /// A living holder; on our boot clock it may expire at `until`.
    Held {
        /// Its entry.
        entry: Entry,
        /// Boot clock.
        until: Duration,
    },
    /// Another user's directory, which is not shared with us.
    Stranger(u32),
    /// A bare directory, and what litters it.
    Bare(Option<String>),
    /// A bare directory that is old and could not be removed.
    Remains(Fault),
    /// Others were faster, or a call failed in a way that may pass.
    Busy(Fault),
}

/// How a try ended.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Acquisition {
    /// Ours, under this entry.
    Got(Entry, AcquiredFrom),
    /// Not now.
    Blocked(Blocker),
    /// It belongs to another user.
    Stranger(u32),
    /// Not ours to touch.
    Foreign(Foreign),
    /// Its entry could need a name of so many bytes, and the file system has no such names.
    NameTooLong(usize),
    /// It cannot be done.
    Failed(Fault),
}

/// The machine.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Acquire {
    wish: AcquireRequest,
    here: LocalContext,
    shortcut: Option<Entry>,
    watch: Option<Watch>,
    bare: Option<(Stamp, Duration)>,
    removed_bare: RemovedBare,
    names: u32,
    rounds: u8,
    /// How often our entry was renewed before it could be handed out.
    renewed: u8,
    torn: u8,
    doing: Phase,
    giving_back: Option<Box<Release>>,
    mine: Option<(Entry, AcquiredFrom)>,
    /// The count in the name that got its number last, once D was there.
    numbered: Option<u32>,
    fault: Option<Fault>,
    /// How the try ends once the stage is cleared away.
    parting: Option<Acquisition>,
    /// The entry for which the file system's clock was read: once is enough, since from then on
    /// it is watched.
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

/// Why an entry gets no name.
enum NoName {
    TokenExhausted,
    /// The bytes that its longest name needs.
    TooLong(usize),
}

impl NoName {
    fn ends(self) -> Next {
        Step::Finished(match self {
            NoName::TokenExhausted => Acquisition::Foreign(Foreign::Exhausted),
            NoName::TooLong(needed) => Acquisition::NameTooLong(needed),
        })
    }
}

/// Lost races, or renewals of what was won too slowly, within one try before it is left to the
/// next.
const ROUNDS: u8 = 4;

impl Acquire {
    /// A machine for one acquisition. `shortcut` is an open entry that this handle left behind
    /// and that may be taken without a look.
    #[must_use]
    pub fn new(wish: AcquireRequest, here: LocalContext, shortcut: Option<Entry>) -> Acquire {
        Acquire {
            wish,
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
            parting: None,
            clocked: None,
        }
    }

    /// How old an empty directory of this change time may become: as old as ours would.
    pub(crate) fn bare_timeout(&self, modified: Stamp) -> Duration {
        self.wish.timeout + timestamp_granularity(modified)
    }

    /// The change time of the bare directory that was seen last.
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

    /// A name of this acquisition that was never used before.
    fn name(&mut self, now: Now, previous: Option<&Entry>) -> Result<Entry, NoName> {
        let entry = self.next_name(now, previous)?;
        self.names += 1;
        Ok(entry)
    }

    fn next_name(&self, now: Now, previous: Option<&Entry>) -> Result<Entry, NoName> {
        let token = previous.map_or(micros(now), |entry| micros(now).max(entry.token + 1));
        let entry = Entry {
            state: State::Held,
            fenced: self.wish.fenced || previous.is_some_and(|entry| entry.fenced),
            token,
            nonce: self.wish.nonce,
            renewals: self.names,
            timeout: whole_millis(self.wish.timeout),
            stamp: whole_millis(now.boot),
            origin: self.here.origin,
            owner: self.wish.owner,
            host: self.wish.host,
            label: self.wish.label.clone(),
        };
        if token > MAX_TOKEN {
            return Err(NoName::TokenExhausted);
        }
        entry.fit_to_grow(self.here.longest_name, self.wish.names_child).map_err(NoName::TooLong)
    }

    fn take(&mut self, now: Now, from: Entry, came: AcquiredFrom) -> Next {
        let to = match self.name(now, Some(&from)) {
            Ok(to) => to,
            Err(why) => return why.ends(),
        };
        self.numbered = Some(to.renewals);
        self.mine = Some((to.clone(), came));
        self.doing = Phase::Renaming;
        Step::Perform(Operation::Rename(from, to))
    }

    /// The call that makes the lock ours has answered "done".
    fn published(&mut self, now: Now) -> Next {
        if !self.here.is_local {
            // Some servers say so of a thing not done: believe the directory, not the answer. If
            // it does not show our entry, that was a lost race.
            self.fault = Some(Fault::Taken);
            return self.look();
        }
        match self.mine.clone() {
            Some((entry, came)) => self.settle(now, entry, came),
            None => self.look(),
        }
    }

    /// The directory holds our entry. Hand it out, unless the call took so long that little of
    /// the timeout is left: then renew first, which proves that nobody held in between.
    fn settle(&mut self, now: Now, entry: Entry, came: AcquiredFrom) -> Next {
        // An entry that was staged got its number before others may have held and left: now that
        // D is there, it takes one that is larger than all of theirs.
        let raised = match self.numbered {
            Some(numbered) if numbered == entry.renewals => entry.token,
            _ => micros(now).max(entry.token),
        };
        if now.boot < entry.stamp + entry.timeout / 2 && raised == entry.token {
            let came = match (came, self.removed_bare) {
                (AcquiredFrom::Free, RemovedBare(Some(age))) => AcquiredFrom::AfterBare(age),
                (came, _) => came,
            };
            return Step::Finished(Acquisition::Got(entry, came));
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
        self.mine = Some((fresh.clone(), came));
        self.doing = Phase::Renaming;
        Step::Perform(Operation::Rename(entry, fresh))
    }

    /// It is ours and comes to nothing, so it must not keep others waiting.
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
            Observation::Foreign(why) => return self.part(Acquisition::Foreign(why)),
            Observation::Directory(listing) => listing,
        };
        if let Some(uid) = listing.stranger {
            return self.part(Acquisition::Stranger(uid));
        }
        let ours = |entry: &&Entry| entry.nonce == self.wish.nonce && entry.state == State::Held;
        if let (Some(entry), Some((_, came))) = (listing.entries.iter().find(ours), &self.mine) {
            let (entry, came) = (entry.clone(), came.clone());
            if listing.entries.len() == 1 {
                return self.settle(now, entry, came);
            }
        }
        if let Some(why) = listing.foreign {
            return self.part(Acquisition::Foreign(why));
        }
        if listing.entries.len() > 1 {
            self.torn += 1;
            return if self.torn > TORN_LOOKS {
                self.part(Acquisition::Foreign(Foreign::TwoEntries))
            } else {
                self.look()
            };
        }
        self.torn = 0;
        self.removed_bare = RemovedBare(None);
        if let Some((entry, AcquiredFrom::Free)) = &self.mine {
            // The install lost; clear our stage away before anything else.
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

    /// Ends the try with this; first our stage is cleared away, if there is one.
    fn part(&mut self, outcome: Acquisition) -> Next {
        match self.mine.take() {
            Some((entry, AcquiredFrom::Free)) => {
                self.parting = Some(outcome);
                self.doing = Phase::Unstaging;
                Step::Perform(Operation::Unstage(entry))
            }
            _ => Step::Finished(outcome),
        }
    }

    /// After a lost race: is it time to leave this to the next try?
    fn give_way(&mut self) -> Option<Fault> {
        let fault = self.fault.take()?;
        self.rounds += 1;
        (self.rounds > ROUNDS || !matches!(fault, Fault::Missing | Fault::Taken)).then_some(fault)
    }

    fn absent(&mut self, now: Now) -> Next {
        if let Some((entry, AcquiredFrom::Free)) = &self.mine {
            // Not installed, and nothing in the way: the stage must go before a new try.
            let entry = entry.clone();
            self.mine = None;
            self.doing = Phase::Unstaging;
            return Step::Perform(Operation::Unstage(entry));
        }
        self.mine = None;
        match self.fault.take() {
            // A true refusal shows when nothing is in the way.
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
            Err(why) => return why.ends(),
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
        self.parting = None;
        // Nobody waits for a lock that cannot be kept.
        if self.here.longest_name < MAX_NAME
            && let Err(why) = self.next_name(now, None)
        {
            return why.ends();
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
                    // Whether the install was done cannot be seen: unstaging takes back only
                    // what is still staged.
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
            (Phase::Installing | Phase::Renaming, Answer::Done(_)) => self.published(now),
            (Phase::Installing | Phase::Renaming, Answer::Failed(fault)) => {
                self.fault = Some(fault);
                self.look()
            }
            (Phase::Unstaging, _) => match (self.parting.take(), self.mine.take(), self.fault) {
                (Some(outcome), ..) => Step::Finished(outcome),
                (None, Some(mine), Some(fault)) => {
                    // What was installed all the same, the next try finds to be ours.
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
            // No file clock to be had: then only watching can tell.
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
                // Counts as a round: it may be there again, or still.
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

/// Microseconds since 1970: where numbers start.
fn micros(now: Now) -> u64 {
    u64::try_from(now.wall.as_micros()).unwrap_or(u64::MAX).min(MAX_TOKEN / 2)
}

/// Some faults may pass while patience lasts; the others end the wait.
fn failed(fault: Fault) -> Next {
    Step::Finished(match fault {
        Fault::Missing | Fault::Taken | Fault::Full { .. } => {
            Acquisition::Blocked(Blocker::Busy(fault))
        }
        fault => Acquisition::Failed(fault),
    })
}
