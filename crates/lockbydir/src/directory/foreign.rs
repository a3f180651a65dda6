//! Things in a lock directory that are not entries: lists them, and removes them when a person asks
//! for it. Removes only plain files and empty directories that are directly in it, each by the name
//! that was listed; follows no link, empties no directory, and touches nothing that is mounted.

use std::ffi::OsStr;
use std::path::{Path, PathBuf};

use lockbydir_protocol::Entry;

use crate::directory::executor::Directory;
use crate::error::Error;
use crate::foreign::{ForeignKind, ForeignThing};
use crate::os::syscalls::{about, about_path, is_mount, list_of, open_to_list, open_to_list_at};
use crate::os::syscalls::{rmdirat, unlinkat};
use crate::os::{Errno, FileKind, Handle, fault, path_in};

/// The most things that are listed: a lock directory holds a few names at most.
const MAX_THINGS: usize = 64;

impl Directory {
    /// Returns what is in the directory besides entries, sorted by name; nothing if the path is not
    /// a directory.
    pub(crate) fn foreign_things(&self) -> Result<Vec<ForeignThing>, Error> {
        let listed = self.open_own().and_then(|dir| match dir {
            Some(dir) => things_in(&dir),
            None => Ok(Vec::new()),
        });
        listed.map_err(|errno| Error::fault("list", self.path(), fault(errno)))
    }

    /// Removes these things, or none if one of them cannot be removed.
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
                // Neither call follows a link, and neither removes a directory that is not empty or
                // a mount point.
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

    /// Opens the lock directory if it is a directory, not a mount point, and ours or shared on
    /// purpose.
    fn open_own(&self) -> Result<Option<Handle>, Errno> {
        let dir = match open_to_list(self.path()) {
            Ok(dir) => dir,
            Err(Errno::NOENT | Errno::NOTDIR | Errno::LOOP) => return Ok(None),
            Err(errno) => return Err(errno),
        };
        if self.other_user(&about(&dir)?).is_some() {
            return Err(Errno::PERM);
        }
        Ok((!is_mount(self.path())?).then_some(dir))
    }
}

fn things_in(dir: &Handle) -> Result<Vec<ForeignThing>, Errno> {
    let mut things = Vec::new();
    for found in list_of(dir)?.take(MAX_THINGS) {
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
