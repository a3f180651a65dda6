//! The folder that the doctor works in: made, looked at, emptied, removed. Everything in it is called
//! `probe-...`, and nothing that is called otherwise is ever removed. All goes by handles: where
//! anybody may move directories, another may be in its place.

use std::collections::BTreeSet;
use std::ffi::{OsStr, OsString};
use std::path::{Path, PathBuf};
use std::time::Duration;

use lockbydir_protocol::{Nonce, Stamp};

use super::stamps::wall;
use crate::key;
use crate::os::syscalls::{
    about, createat, list_of, mkdir, open_to_list_at, rename, rename_new, renameat, rmdir, rmdirat,
    unlinkat,
};
use crate::os::{Errno, FileKind, FileOwner, Handle, open_folder, path_in};

/// What such a folder's name begins with; a nonce follows.
const ROOM: &str = "lockbydir-doctor.";
/// What follows the nonce where another host is awaited.
const MEETING: &str = ".peer";
/// What all in it begins with.
const PROBE: &str = "probe-";
/// A room that was changed last so long ago was left by a crash.
const STALE: Duration = Duration::from_secs(600);
/// Folders within folders: a lock directory, and a stage that a server may have moved into it.
const DEEPEST: u8 = 3;

/// What the file is called, before its nonce, that asks to be let in.
pub(super) const HELLO: &str = "probe-hello.";

/// The folder of one examination.
pub(super) struct Sandbox {
    path: PathBuf,
    parent: Handle,
    name: OsString,
    open: Handle,
    /// Ours to remove.
    is_own: bool,
}

impl Sandbox {
    /// A new one in this folder.
    pub(super) fn make(dir: &Path) -> Result<Sandbox, Errno> {
        Sandbox::make_called(dir, format!("{ROOM}{}", key::nonce()))
    }

    /// A new one where another host is awaited.
    pub(super) fn make_to_meet(dir: &Path) -> Result<Sandbox, Errno> {
        Sandbox::make_called(dir, format!("{ROOM}{}{MEETING}", key::nonce()))
    }

    fn make_called(dir: &Path, name: String) -> Result<Sandbox, Errno> {
        let parent = open_folder(dir)?;
        let path = path_in(&parent, name.as_ref());
        mkdir(&path, 0o700)?;
        match open_new(&parent, &name) {
            Ok(open) => {
                let path = dir.join(&name);
                Ok(Sandbox { path, parent, name: name.into(), open, is_own: true })
            }
            Err(errno) => {
                let _ = rmdir(&path);
                Err(errno)
            }
        }
    }

    /// One that another thread, process or host of the same user has made.
    pub(super) fn enter(path: &Path) -> Result<Sandbox, Errno> {
        let name = path.file_name().filter(|name| is_room_name(name)).ok_or(Errno::NOENT)?;
        let parent = open_folder(path.parent().unwrap_or(Path::new(".")))?;
        let open = open_own(&parent, name)?;
        let name = name.to_owned();
        Ok(Sandbox { path: path.to_owned(), parent, name, open, is_own: false })
    }

    /// For another process.
    pub(super) fn path(&self) -> &Path {
        &self.path
    }

    pub(super) fn name(&self) -> &str {
        self.name.to_str().unwrap_or_default()
    }

    pub(super) fn parent(&self) -> &Handle {
        &self.parent
    }

    /// A path to what is called so in it.
    pub(super) fn at(&self, name: &str) -> PathBuf {
        path_in(&self.open, name.as_ref())
    }

    pub(super) fn create(&self, name: &str) -> Result<(), Errno> {
        createat(&self.open, name.as_ref(), 0o600)
    }

    /// A directory with this in it.
    pub(super) fn create_full(&self, name: &str, inside: &str) -> Result<(), Errno> {
        mkdir(&self.at(name), 0o700)?;
        createat(&self.enter_dir(name)?, inside.as_ref(), 0o600)
    }

    pub(super) fn create_empty(&self, name: &str) -> Result<(), Errno> {
        mkdir(&self.at(name), 0o700)
    }

    /// A directory in it, to change or list what is in that.
    pub(super) fn enter_dir(&self, name: &str) -> Result<Handle, Errno> {
        open_to_list_at(&self.open, name.as_ref())
    }

    pub(super) fn open(&self) -> &Handle {
        &self.open
    }

    /// As an entry is renamed.
    pub(super) fn rename(&self, from: &str, to: &str) -> Result<(), Errno> {
        renameat(&self.open, from.as_ref(), to.as_ref())
    }

    /// As a lock is installed where nothing else is to be had.
    pub(super) fn rename_dir(&self, from: &str, to: &str) -> Result<(), Errno> {
        rename(&self.at(from), &self.at(to))
    }

    /// As a lock is installed.
    pub(super) fn install(&self, from: &str, to: &str) -> Result<(), Errno> {
        rename_new(&self.at(from), &self.at(to))
    }

    pub(super) fn remove(&self, name: &str) -> Result<(), Errno> {
        unlinkat(&self.open, name.as_ref())
    }

    pub(super) fn remove_dir(&self, name: &str) -> Result<(), Errno> {
        rmdir(&self.at(name))
    }

    /// What is in it, by a handle that is opened anew, as a lock is looked at.
    pub(super) fn list(&self) -> Result<BTreeSet<String>, Errno> {
        listed(&open_to_list_at(&self.parent, self.name.as_ref())?)
    }

    /// What is in a directory in it, likewise.
    pub(super) fn list_in(&self, name: &str) -> Result<BTreeSet<String>, Errno> {
        listed(&open_to_list_at(&self.open, name.as_ref())?)
    }

    /// Removes what begins so; what cannot be removed now goes at the end.
    pub(super) fn sweep(&self, start: &str) {
        // Listed anew, since a handle that is kept may show what was there before; removed by ours,
        // whatever has taken its place.
        if let Ok(anew) = open_to_list_at(&self.parent, self.name.as_ref()) {
            empty(&self.open, &anew, start, DEEPEST);
        }
    }
}

impl Drop for Sandbox {
    fn drop(&mut self) {
        if self.is_own {
            // Another one's last word may come while it is swept; and a listing may be old.
            let pauses = [0, 0, 10, 100, 1000, 3000].map(Duration::from_millis);
            let _ = pauses.into_iter().any(|pause| {
                std::thread::sleep(pause);
                self.sweep(PROBE);
                !matches!(rmdirat(&self.parent, self.name.as_ref()), Err(Errno::NOTEMPTY))
            });
        }
    }
}

/// Is this what the doctor's folder is called?
pub(crate) fn is_room_name(name: &OsStr) -> bool {
    let nonce = name.to_str().and_then(|name| name.strip_prefix(ROOM));
    nonce.map(|nonce| nonce.strip_suffix(MEETING).unwrap_or(nonce)).and_then(Nonce::parse).is_some()
}

/// Is this where another host is awaited?
pub(super) fn is_meeting_name(name: &str) -> bool {
    name.ends_with(MEETING) && is_room_name(name.as_ref())
}

/// Was it changed a short while before this time?
pub(super) fn is_recent(open: &Handle, now: Stamp) -> Result<bool, Errno> {
    let stale = i128::try_from(STALE.as_nanos()).unwrap_or(i128::MAX);
    Ok(now.0 - about(open)?.modified.0 < stale)
}

/// Removes a folder that a crashed doctor has left, if it is ours and old.
pub(crate) fn remove_left(parent: &Handle, name: &Path) -> bool {
    let remove = || {
        let open = open_own(parent, name.as_os_str())?;
        if is_recent(&open, Stamp(wall()))? {
            return Err(Errno::BUSY);
        }
        empty(&open, &open, PROBE, DEEPEST);
        rmdirat(parent, name)
    };
    remove().is_ok()
}

fn open_own(parent: &Handle, name: &OsStr) -> Result<Handle, Errno> {
    let open = open_to_list_at(parent, name.as_ref())?;
    if about(&open)?.owner == FileOwner::Ours { Ok(open) } else { Err(Errno::PERM) }
}

/// The one that we have just made: nothing is in it but the words of who has found it already and
/// wants to meet.
fn open_new(parent: &Handle, name: &str) -> Result<Handle, Errno> {
    let open = open_own(parent, name.as_ref())?;
    let is_word = |found: &str| is_meeting_name(name) && found.starts_with(HELLO);
    if listed(&open)?.iter().all(|found| is_word(found)) { Ok(open) } else { Err(Errno::PERM) }
}

fn listed(dir: &Handle) -> Result<BTreeSet<String>, Errno> {
    let text = |found: Result<crate::os::Found, Errno>| {
        found.map(|found| found.name().to_string_lossy().into_owned())
    };
    list_of(dir)?.map(text).collect()
}

/// Removes what begins so, of what a list shows, and what is called like ours in such directories.
fn empty(dir: &Handle, list: &Handle, start: &str, deeper: u8) {
    let Ok(names) = list_of(list) else { return };
    let is_ours = |name: &OsStr| {
        name.to_str().is_some_and(|name| name.starts_with(PROBE) && name.starts_with(start))
    };
    let found: Vec<_> = names
        .map_while(Result::ok)
        .map(|found| (found.name(), found.kind()))
        .filter(|(name, _)| is_ours(name))
        .collect();
    for (name, kind) in found {
        let name = Path::new(&name);
        let is_maybe_dir = matches!(kind, FileKind::Directory | FileKind::Unknown);
        if is_maybe_dir && let Ok(inner) = open_to_list_at(dir, name) {
            if deeper > 0 {
                empty(&inner, &inner, PROBE, deeper - 1);
            }
            let _ = rmdirat(dir, name);
        } else {
            let _ = unlinkat(dir, name);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn opened(kind: &str, inside: &[&str]) -> Option<Errno> {
        let folder = tempfile::tempdir().unwrap();
        let name = format!("{ROOM}{}{kind}", key::nonce());
        std::fs::create_dir(folder.path().join(&name)).unwrap();
        for word in inside {
            std::fs::write(folder.path().join(&name).join(word), "").unwrap();
        }
        open_new(&open_folder(folder.path()).unwrap(), &name).err()
    }

    #[test]
    fn who_knocks_before_a_new_room_is_looked_at_is_no_intruder() {
        let hello = format!("{HELLO}{}", key::nonce());

        assert_eq!(opened(MEETING, &[]), None);
        assert_eq!(opened(MEETING, &[&hello, &format!("{HELLO}other")]), None);
    }

    #[test]
    fn a_new_room_with_anything_else_in_it_is_refused() {
        let hello = format!("{HELLO}{}", key::nonce());

        assert_eq!(opened("", &[]), None);
        assert_eq!(opened("", &[&hello]), Some(Errno::PERM), "nobody is awaited there");
        assert_eq!(opened(MEETING, &[&hello, "probe-welcome.other"]), Some(Errno::PERM));
        assert_eq!(opened(MEETING, &["notes"]), Some(Errno::PERM));
    }
}
