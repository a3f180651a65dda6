//! The lock directory D in memory: what each operation does to it, at one moment. It knows nothing
//! of lies; those are told on top of it.

use std::time::Duration;

use lockbydir_protocol::{
    Answer, Entry, Fault, Foreign, Listing, Observation, Operation, Stamp, State,
};

use crate::mutant::Mutant;

/// D, if it is there.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub(crate) struct Disk {
    pub(crate) inside: Option<Inside>,
    /// What was there before the last change, for looks that are stale or torn.
    pub(crate) before: Option<Option<Inside>>,
}

/// What is in D.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub(crate) struct Inside {
    pub(crate) entry: Option<Entry>,
    /// Somebody else's file.
    pub(crate) foreign: bool,
    /// Stages that a server moved into D, a bit for each contender.
    pub(crate) litter: u8,
    /// The tick of the last change: as coarse as a real kernel's change times.
    pub(crate) changed: u16,
    /// Is it the very directory that the plain `mkdir` made?
    pub(crate) is_bare_made: bool,
    /// Who made it, where that matters.
    pub(crate) made_by: usize,
    /// Who has emptied this very directory and has it open still: a bit each.
    pub(crate) emptied_by: u8,
}

impl Inside {
    /// Does its maker, who alone may, remove it just now? Or did, when it crashed?
    pub(crate) fn is_being_removed(&self) -> bool {
        self.is_empty() && self.emptied_by >> self.made_by & 1 == 1
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.entry.is_none() && !self.foreign && self.litter == 0
    }
}

/// When and by whom.
#[derive(Clone, Copy)]
pub(crate) struct At {
    pub(crate) time: u16,
    pub(crate) tick: Duration,
    pub(crate) is_sticky: bool,
    pub(crate) mutant: Option<Mutant>,
}

impl At {
    /// The file system's clock, which is never at a whole second: it does not round.
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

    /// Nobody has it: absent, or open.
    pub(crate) fn is_vacant(&self) -> bool {
        match &self.inside {
            None => true,
            Some(inside) => inside.entry.as_ref().is_some_and(|entry| entry.state == State::Open),
        }
    }

    /// Does what is asked of D by `who`. `has_handle`: it has a directory open that it emptied.
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
            // Stages are nobody else's, so their files need not be here.
            _ => Answer::Done(None),
        }
    }

    /// Changes what is in D, and makes D if it is not there.
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

    /// Removes D, whatever is in it.
    pub(crate) fn vanish(&mut self) {
        self.remember();
        self.inside = None;
    }

    fn look(&self, at: At) -> Observation {
        let mut sight = sight_of(self.inside.as_ref(), at);
        if let Observation::Directory(listing) = &mut sight
            && at.is(Mutant::AdoptsForeign)
        {
            listing.foreign = None;
        }
        sight
    }

    /// Is this name in D? `by_another`: for one who takes it from somebody else.
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
        // The directory that was emptied is gone, and this is another one.
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

/// What one who looks sees.
pub(crate) fn sight_of(inside: Option<&Inside>, at: At) -> Observation {
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

/// A listing that was read while an entry was renamed: it shows both names, or none.
pub(crate) fn torn(disk: &Disk, both: bool, at: At) -> Observation {
    let mut sight = sight_of(disk.inside.as_ref(), at);
    if let (Observation::Directory(listing), Some(Some(before))) = (&mut sight, &disk.before) {
        match both {
            true => listing.entries.extend(before.entry.clone()),
            false => listing.entries.clear(),
        }
    }
    sight
}
