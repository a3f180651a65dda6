//! The sandbox, the folder in which the doctor works: creates, lists, empties and removes it. Every
//! name in it begins with `probe-`, and nothing else is ever removed. All calls use handles: where
//! any user may move directories, another one may be in its place.

use std::collections::BTreeSet;
use std::ffi::{OsStr, OsString};
use std::path::{Path, PathBuf};
use std::time::Duration;

use lockbydir_protocol::{Nonce, Stamp};

use crate::os::syscalls::{
    about, createat, list_of, mkdir, open_to_list_at, rename, rename_new, renameat, rmdir, rmdirat,
    unlinkat,
};
use crate::os::{Errno, FileKind, FileOwner, Handle, open_folder, path_in};
use crate::os::{clock, random};

/// The beginning of a sandbox's name; a nonce follows.
const PREFIX: &str = "lockbydir-doctor.";
/// What follows the nonce if the sandbox waits for another host.
const MEETING_SUFFIX: &str = ".peer";
/// The beginning of all names in it.
const PROBE_PREFIX: &str = "probe-";
/// A sandbox whose last change is longer ago than this was left by a crash.
const STALE: Duration = Duration::from_secs(600);
/// The deepest nesting in a sandbox: a lock directory, and a stage that a server may have moved
/// into it.
const DEEPEST: u8 = 3;

/// The name, before its nonce, of the file that asks to be let in.
pub(super) const HELLO: &str = "probe-hello.";

/// The folder of one examination.
pub(super) struct Sandbox {
    path: PathBuf,
    parent: Handle,
    name: OsString,
    open: Handle,
    /// Whether this value removes the folder.
    is_own: bool,
}

impl Sandbox {
    /// Creates a sandbox in this folder.
    pub(super) fn make(dir: &Path) -> Result<Sandbox, Errno> {
        Sandbox::make_named(dir, format!("{PREFIX}{}", random::nonce()))
    }

    /// Creates a sandbox that waits for another host.
    pub(super) fn make_to_meet(dir: &Path) -> Result<Sandbox, Errno> {
        Sandbox::make_named(dir, format!("{PREFIX}{}{MEETING_SUFFIX}", random::nonce()))
    }

    fn make_named(dir: &Path, name: String) -> Result<Sandbox, Errno> {
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

    /// Opens a sandbox that another thread, process or host of the same user has created.
    pub(super) fn enter(path: &Path) -> Result<Sandbox, Errno> {
        let name = path.file_name().filter(|name| is_sandbox_name(name)).ok_or(Errno::NOENT)?;
        let parent = open_folder(path.parent().unwrap_or(Path::new(".")))?;
        let open = open_own(&parent, name)?;
        let name = name.to_owned();
        Ok(Sandbox { path: path.to_owned(), parent, name, open, is_own: false })
    }

    /// Returns its path, for another process.
    pub(super) fn path(&self) -> &Path {
        &self.path
    }

    pub(super) fn name(&self) -> &str {
        self.name.to_str().unwrap_or_default()
    }

    pub(super) fn parent(&self) -> &Handle {
        &self.parent
    }

    /// Returns a path to the entry of this name.
    pub(super) fn at(&self, name: &str) -> PathBuf {
        path_in(&self.open, name.as_ref())
    }

    pub(super) fn create(&self, name: &str) -> Result<(), Errno> {
        createat(&self.open, name.as_ref(), 0o600)
    }

    /// Creates a directory that contains this file.
    pub(super) fn create_full(&self, name: &str, inside: &str) -> Result<(), Errno> {
        mkdir(&self.at(name), 0o700)?;
        createat(&self.enter_dir(name)?, inside.as_ref(), 0o600)
    }

    pub(super) fn create_empty(&self, name: &str) -> Result<(), Errno> {
        mkdir(&self.at(name), 0o700)
    }

    /// Opens a directory in it, to change or list its entries.
    pub(super) fn enter_dir(&self, name: &str) -> Result<Handle, Errno> {
        open_to_list_at(&self.open, name.as_ref())
    }

    pub(super) fn open(&self) -> &Handle {
        &self.open
    }

    /// Renames a file in the same way as an entry.
    pub(super) fn rename(&self, from: &str, to: &str) -> Result<(), Errno> {
        renameat(&self.open, from.as_ref(), to.as_ref())
    }

    /// Renames a directory in the way in which a lock is installed if there is no better call.
    pub(super) fn rename_dir(&self, from: &str, to: &str) -> Result<(), Errno> {
        rename(&self.at(from), &self.at(to))
    }

    /// Renames a directory in the way in which a lock is installed.
    pub(super) fn install(&self, from: &str, to: &str) -> Result<(), Errno> {
        rename_new(&self.at(from), &self.at(to))
    }

    pub(super) fn remove(&self, name: &str) -> Result<(), Errno> {
        unlinkat(&self.open, name.as_ref())
    }

    pub(super) fn remove_dir(&self, name: &str) -> Result<(), Errno> {
        rmdir(&self.at(name))
    }

    /// Lists it through a handle that is opened anew, in the same way as a lock directory.
    pub(super) fn list(&self) -> Result<BTreeSet<String>, Errno> {
        listed(&open_to_list_at(&self.parent, self.name.as_ref())?)
    }

    /// Lists a directory in it in the same way.
    pub(super) fn list_in(&self, name: &str) -> Result<BTreeSet<String>, Errno> {
        listed(&open_to_list_at(&self.open, name.as_ref())?)
    }

    /// Removes entries that begin with `start`; what cannot be removed now is removed at the end.
    pub(super) fn sweep(&self, start: &str) {
        // Lists through a new handle, since an old one may show what was there before; removes
        // through our own handle, whatever has taken its place.
        if let Ok(anew) = open_to_list_at(&self.parent, self.name.as_ref()) {
            empty(&self.open, &anew, start, DEEPEST);
        }
    }
}

impl Drop for Sandbox {
    fn drop(&mut self) {
        if self.is_own {
            // The last message of a peer may arrive during the removal, and a listing may be out of
            // date.
            let pauses = [0, 0, 10, 100, 1000, 3000].map(Duration::from_millis);
            let _ = pauses.into_iter().any(|pause| {
                std::thread::sleep(pause);
                self.sweep(PROBE_PREFIX);
                !matches!(rmdirat(&self.parent, self.name.as_ref()), Err(Errno::NOTEMPTY))
            });
        }
    }
}

/// Returns true if this is the name of a doctor's sandbox.
pub(crate) fn is_sandbox_name(name: &OsStr) -> bool {
    let nonce = name.to_str().and_then(|name| name.strip_prefix(PREFIX));
    nonce
        .map(|nonce| nonce.strip_suffix(MEETING_SUFFIX).unwrap_or(nonce))
        .and_then(Nonce::parse)
        .is_some()
}

/// Returns true if this is the name of a sandbox that waits for another host.
pub(super) fn is_meeting_name(name: &str) -> bool {
    name.ends_with(MEETING_SUFFIX) && is_sandbox_name(name.as_ref())
}

/// Returns true if its last change was a short time before `now`.
pub(super) fn is_recent(open: &Handle, now: Stamp) -> Result<bool, Errno> {
    let stale = i128::try_from(STALE.as_nanos()).unwrap_or(i128::MAX);
    Ok(now.0 - about(open)?.modified.0 < stale)
}

/// Removes a sandbox that a crashed doctor has left, if it is ours and old.
pub(crate) fn remove_left(parent: &Handle, name: &Path) -> bool {
    let remove = || {
        let open = open_own(parent, name.as_os_str())?;
        if is_recent(&open, Stamp(wall()))? {
            return Err(Errno::BUSY);
        }
        empty(&open, &open, PROBE_PREFIX, DEEPEST);
        rmdirat(parent, name)
    };
    remove().is_ok()
}

fn open_own(parent: &Handle, name: &OsStr) -> Result<Handle, Errno> {
    let open = open_to_list_at(parent, name.as_ref())?;
    if about(&open)?.owner() == FileOwner::Ours { Ok(open) } else { Err(Errno::PERM) }
}

/// Opens the sandbox that we have just created. It must be empty, except for messages of a host
/// that has already found it and wants to meet.
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

/// Removes entries that begin with `start`, as listed through `list`, and in such directories
/// everything that is named like ours.
fn empty(dir: &Handle, list: &Handle, start: &str, deeper: u8) {
    let Ok(names) = list_of(list) else { return };
    let is_ours = |name: &OsStr| {
        name.to_str().is_some_and(|name| name.starts_with(PROBE_PREFIX) && name.starts_with(start))
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
                empty(&inner, &inner, PROBE_PREFIX, deeper - 1);
            }
            let _ = rmdirat(dir, name);
        } else {
            let _ = unlinkat(dir, name);
        }
    }
}

/// Returns our own clock in the unit of stamps.
pub(super) fn wall() -> i128 {
    i128::try_from(clock::now().wall.as_nanos()).unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn opened(kind: &str, inside: &[&str]) -> Option<Errno> {
        let folder = tempfile::tempdir().unwrap();
        let name = format!("{PREFIX}{}{kind}", random::nonce());
        std::fs::create_dir(folder.path().join(&name)).unwrap();
        for word in inside {
            std::fs::write(folder.path().join(&name).join(word), "").unwrap();
        }
        open_new(&open_folder(folder.path()).unwrap(), &name).err()
    }

    #[test]
    fn early_hellos_in_a_new_sandbox_are_accepted() {
        let hello = format!("{HELLO}{}", random::nonce());

        assert_eq!(opened(MEETING_SUFFIX, &[]), None);
        assert_eq!(opened(MEETING_SUFFIX, &[&hello, &format!("{HELLO}other")]), None);
    }

    #[test]
    fn a_new_sandbox_with_anything_else_is_refused() {
        let hello = format!("{HELLO}{}", random::nonce());

        assert_eq!(opened("", &[]), None);
        assert_eq!(opened("", &[&hello]), Some(Errno::PERM), "nobody is awaited there");
        assert_eq!(opened(MEETING_SUFFIX, &[&hello, "probe-welcome.other"]), Some(Errno::PERM));
        assert_eq!(opened(MEETING_SUFFIX, &["notes"]), Some(Errno::PERM));
    }
}
