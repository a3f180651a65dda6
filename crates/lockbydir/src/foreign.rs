//! What is in a lock directory and is no entry: listed, and removed when a person says so. Plain
//! files and empty directories that are directly in it, each by the name that was listed; no link is
//! followed, nothing is emptied, and nothing that is mounted is touched.

use std::ffi::{OsStr, OsString};
use std::fmt;
use std::path::{Path, PathBuf};

use lockbydir_protocol::Entry;

use crate::directory::executor::Directory;
use crate::error::Error;
use crate::os::syscalls::{about, about_path, is_mount, list_of, open_to_list, open_to_list_at};
use crate::os::syscalls::{rmdirat, unlinkat};
use crate::os::{Errno, FileKind, Handle, fault, path_in};
use crate::status::printable;

/// More than these are not listed: a lock directory holds a few names at most.
const MOST_THINGS: usize = 64;

/// A thing in a lock directory that is no entry of a lock: [`Lock::foreign_things`](crate::Lock::foreign_things).
///
/// [`Display`](fmt::Display) is its name, harmless to a terminal, and what it is.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct ForeignThing {
    /// Its name in the directory.
    pub name: OsString,
    /// What it is.
    pub kind: ForeignKind,
}

/// What kind of thing is in a lock directory.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum ForeignKind {
    /// A plain file.
    File,
    /// A directory with nothing in it.
    EmptyDirectory,
    /// Anything else, which is not removed: a directory that is not empty, a link, a mount, a pipe.
    Other,
}

impl ForeignThing {
    /// Is it a thing that [`Lock::remove_foreign_things`](crate::Lock::remove_foreign_things) removes?
    #[must_use]
    pub fn is_removable(&self) -> bool {
        self.kind != ForeignKind::Other
    }
}

impl fmt::Display for ForeignThing {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let what = match self.kind {
            ForeignKind::File => "a file",
            ForeignKind::EmptyDirectory => "an empty directory",
            ForeignKind::Other => "neither a plain file nor an empty directory",
        };
        write!(f, "`{}` ({what})", printable(&self.name))
    }
}

impl Directory {
    /// What is in it but entries, sorted by name; nothing where it is no directory.
    pub(crate) fn foreign_things(&self) -> Result<Vec<ForeignThing>, Error> {
        let listed = self.open_own().and_then(|dir| match dir {
            Some(dir) => things_in(&dir),
            None => Ok(Vec::new()),
        });
        listed.map_err(|errno| Error::fault("list", self.path(), fault(errno)))
    }

    /// Removes these, or none if one of them cannot be removed.
    pub(crate) fn remove_foreign_things(&self, things: &[ForeignThing]) -> Result<(), Error> {
        let failed =
            |name: &OsStr, errno| Error::fault("remove", &self.path().join(name), fault(errno));
        let opened = self.open_own().map_err(|errno| failed(OsStr::new(""), errno))?;
        let Some(dir) = opened else { return Ok(()) };
        for thing in things {
            match kind_of(&dir, &thing.name) {
                Ok(kind) if kind == thing.kind && thing.is_removable() => {}
                Ok(_) => return Err(Error::not_removable(self.path(), thing)),
                Err(Errno::NOENT) => {}
                Err(errno) => return Err(failed(&thing.name, errno)),
            }
        }
        for thing in things {
            let name = Path::new(&thing.name);
            let removed = match thing.kind {
                // Neither call follows a link, removes what is full, or what is mounted on.
                ForeignKind::EmptyDirectory => rmdirat(&dir, name),
                _ => unlinkat(&dir, name),
            };
            match removed {
                Ok(()) | Err(Errno::NOENT) => {}
                Err(errno) => return Err(failed(&thing.name, errno)),
            }
        }
        Ok(())
    }

    /// Opened, if it is a directory, no mount, and ours or shared on purpose.
    fn open_own(&self) -> Result<Option<Handle>, Errno> {
        let dir = match open_to_list(self.path()) {
            Ok(dir) => dir,
            Err(Errno::NOENT | Errno::NOTDIR | Errno::LOOP) => return Ok(None),
            Err(errno) => return Err(errno),
        };
        if self.stranger(&about(&dir)?).is_some() {
            return Err(Errno::PERM);
        }
        Ok((!is_mount(self.path())?).then_some(dir))
    }
}

fn things_in(dir: &Handle) -> Result<Vec<ForeignThing>, Errno> {
    let mut things = Vec::new();
    for found in list_of(dir)?.take(MOST_THINGS) {
        let found = found?;
        if found.text().and_then(Entry::parse).is_none() {
            let name = found.name();
            things.push(ForeignThing { kind: kind_of(dir, &name)?, name });
        }
    }
    things.sort_by(|a, b| a.name.cmp(&b.name));
    Ok(things)
}

fn kind_of(dir: &Handle, name: &OsStr) -> Result<ForeignKind, Errno> {
    let path: PathBuf = path_in(dir, name);
    let about = about_path(&path)?;
    if is_mount(&path)? {
        return Ok(ForeignKind::Other);
    }
    Ok(match about.kind {
        FileKind::File => ForeignKind::File,
        FileKind::Directory => match open_to_list_at(dir, name.as_ref()) {
            Ok(inner) if list_of(&inner)?.next().is_none() => ForeignKind::EmptyDirectory,
            _ => ForeignKind::Other,
        },
        _ => ForeignKind::Other,
    })
}
