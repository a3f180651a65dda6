//! The lock directory D in memory: what each operation does to it, at one moment. Lies are not part of
//! this module: the caller adds them to the answers.

use std::time::Duration;

use lockbydir_protocol::{
    Answer, Entry, Fault, Foreign, Listing, Observation, Operation, Stamp, State,
};

use crate::mutant::Mutant;

/// The lock directory D, if it exists.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub(crate) struct Disk {
    pub(crate) inside: Option<Inside>,
    /// The contents before the last change, for looks that are stale or torn.
    pub(crate) before: Option<Option<Inside>>,
}

/// The contents of D.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub(crate) struct Inside {
    pub(crate) entry: Option<Entry>,
    /// Whether it contains a file of somebody else.
    pub(crate) foreign: bool,
    /// Stages that a server moved into D, one bit for each contender.
    pub(crate) litter: u8,
    /// The tick of the last change: as coarse as a real kernel's change times.
    pub(crate) changed: u16,
    /// Whether it is the same directory that the plain `mkdir` made.
    pub(crate) is_bare_made: bool,
    /// The contender that made it, where that matters.
    pub(crate) made_by: usize,
    /// The contenders that have emptied this same directory and still have it open, one bit each.
    pub(crate) emptied_by: u8,
}

impl Inside {
    /// Whether the contender that made it, the only one that may, is removing it now, or was when it crashed.
    pub(crate) fn is_being_removed(&self) -> bool {
        self.is_empty() && self.emptied_by >> self.made_by & 1 == 1
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.entry.is_none() && !self.foreign && self.litter == 0
    }
}

/// The time of an operation, and the rules that apply to it.
#[derive(Clone, Copy)]
pub(crate) struct At {
    pub(crate) time: u16,
    pub(crate) tick: Duration,
    pub(crate) is_sticky: bool,
    pub(crate) mutant: Option<Mutant>,
}

impl At {
    /// Returns the file system's clock, which is never at a whole second: it does not round.
    pub(crate) fn stamp(self, time: u16) -> Stamp {
        Stamp(i128::from(time) * i128::try_from(self.tick.as_nanos()).unwrap_or(i128::MAX) + 1)
    }

    fn is(self, mutant: Mutant) -> bool {
        self.mutant == Some(mutant)
    }
}

impl Disk {
    pub(crate) fn entry(&self) -> Option<&Entry> {
        self.inside.as_ref()?.entry.as_ref()
    }

    pub(crate) fn held(&self) -> Option<&Entry> {
        self.entry().filter(|entry| entry.state == State::Held)
    }

    pub(crate) fn is_foreign(&self) -> bool {
        self.inside.as_ref().is_some_and(|inside| inside.foreign)
    }

    /// Whether nobody has the lock: D is absent, or open.
    pub(crate) fn is_vacant(&self) -> bool {
        match &self.inside {
            None => true,
            Some(inside) => inside.entry.as_ref().is_some_and(|entry| entry.state == State::Open),
        }
    }

    /// Performs an operation of `who` on D. `has_handle`: it has a directory open that it emptied.
    pub(crate) fn perform(
        &mut self,
        who: usize,
        operation: &Operation,
        has_handle: bool,
        at: At,
    ) -> Answer {
        match operation {
            Operation::Look => Answer::Seen(self.look(at)),
            Operation::Install(entry) => match self.inside {
                Some(_) if !at.is(Mutant::InstallReplaces) => Answer::Failed(Fault::Taken),
                _ => {
                    let entry = Some(entry.clone());
                    let made_by = if at.is_sticky { who } else { 0 };
                    self.change(at.time, |inside| {
                        *inside = Inside { entry, made_by, ..Inside::default() };
                    });
                    Answer::Done(None)
                }
            },
            Operation::Rename(from, to) => {
                if !self.has(from, to.nonce != from.nonce, at) {
                    return Answer::Failed(Fault::Missing);
                }
                let renews = from.nonce == to.nonce && from.state == to.state;
                let name = if renews && at.is(Mutant::RenewsInPlace) { from } else { to };
                self.change(at.time, |inside| inside.entry = Some(name.clone()));
                Answer::Done(None)
            }
            Operation::Unlink(entry) => {
                let any = at.is(Mutant::ReleasesByPath) && self.entry().is_some();
                if !any && !self.has(entry, false, at) {
                    return Answer::Failed(Fault::Missing);
                }
                self.change(at.time, |inside| {
                    inside.entry = None;
                    inside.emptied_by |= 1 << who;
                });
                Answer::Done(Some(at.stamp(at.time)))
            }
            Operation::RemoveDir(seen) => self.remove(who, *seen, has_handle, at),
            Operation::Reopen(entry) => {
                let is_ours = self.inside.as_ref().is_some_and(|d| d.emptied_by >> who & 1 == 1);
                if !is_ours || self.entry().is_some() {
                    return Answer::Failed(Fault::Missing);
                }
                self.change(at.time, |inside| inside.entry = Some(entry.clone()));
                Answer::Done(None)
            }
            Operation::ReadFileClock => Answer::FileClock(at.stamp(at.time)),
            // Nobody else uses a stage, so its files need not be here.
            _ => Answer::Done(None),
        }
    }

    /// Changes the contents of D, and creates D if it is absent.
    pub(crate) fn change(&mut self, time: u16, change: impl FnOnce(&mut Inside)) {
        self.remember();
        let inside = self.inside.get_or_insert_default();
        change(inside);
        inside.changed = time;
    }

    fn remember(&mut self) {
        if let Some(before) = &mut self.before {
            before.clone_from(&self.inside);
        }
    }

    /// Removes D with all its contents.
    pub(crate) fn vanish(&mut self) {
        self.remember();
        self.inside = None;
    }

    fn look(&self, at: At) -> Observation {
        let mut observation = observation_of(self.inside.as_ref(), at);
        if let Observation::Directory(listing) = &mut observation
            && at.is(Mutant::AdoptsForeign)
        {
            listing.foreign = None;
        }
        observation
    }

    /// Whether D contains this name. `by_another`: asked for a process that takes it from another.
    fn has(&self, name: &Entry, by_another: bool, at: At) -> bool {
        self.entry().is_some_and(|entry| match at.mutant {
            Some(Mutant::BreaksByFixedName) if by_another => true,
            Some(Mutant::RenewsInPlace) => (entry.nonce, entry.state) == (name.nonce, name.state),
            Some(Mutant::JudgesByItsOwnTimeout) => {
                Entry { timeout: name.timeout, ..entry.clone() } == *name
            }
            _ => entry == name,
        })
    }

    fn remove(&mut self, who: usize, seen: Stamp, has_handle: bool, at: At) -> Answer {
        let Some(inside) = &self.inside else {
            return Answer::Failed(Fault::Missing);
        };
        // The directory that was emptied is gone, and this is a different one.
        let is_another = has_handle && inside.emptied_by >> who & 1 == 0;
        let is_changed = !inside.is_empty() || at.stamp(inside.changed) != seen;
        match at.mutant {
            Some(Mutant::EmptyDirectoryStays) => return Answer::Failed(Fault::Taken),
            Some(Mutant::RemovesByPath) => {}
            _ if is_another => return Answer::Failed(Fault::Missing),
            _ if is_changed => return Answer::Failed(Fault::Taken),
            _ if at.is_sticky && inside.made_by != who => {
                return Answer::Failed(Fault::Denied { code: 1 });
            }
            _ => {}
        }
        self.vanish();
        Answer::Done(None)
    }
}

/// Returns what a look at this directory shows.
pub(crate) fn observation_of(inside: Option<&Inside>, at: At) -> Observation {
    let Some(inside) = inside else {
        return Observation::Absent;
    };
    Observation::Directory(Listing {
        entries: inside.entry.iter().cloned().collect(),
        foreign: inside.foreign.then(|| Foreign::Holds("precious".into())),
        litter: (inside.litter != 0).then(|| "a stage".into()),
        modified: at.stamp(inside.changed),
        stranger: None,
    })
}

/// Returns a listing that was read during the rename of an entry: it shows both names, or none.
pub(crate) fn torn(disk: &Disk, both: bool, at: At) -> Observation {
    let mut observation = observation_of(disk.inside.as_ref(), at);
    if let (Observation::Directory(listing), Some(Some(before))) = (&mut observation, &disk.before)
    {
        match both {
            true => listing.entries.extend(before.entry.clone()),
            false => listing.entries.clear(),
        }
    }
    observation
}
