//! Inspection of a lock directory: what it contains. Opens it anew each time and follows no
//! symbolic link. Changes nothing and judges nothing.

use std::ffi::OsStr;

use lockbydir_protocol::{Answer, Entry, Foreign, Listing, Nonce, Observation};

use crate::directory::executor::{Directory, EXTENSION};
use crate::os::syscalls::{about_path, list, open_to_list};
use crate::os::{Errno, FileKind, FileOwner, Handle, Metadata, fault};

/// A lock directory with more names than this is foreign.
const MAX_NAMES: usize = 64;

impl Directory {
    pub(crate) fn look(&self) -> Answer {
        let fd = match open_to_list(self.path()) {
            Ok(fd) => fd,
            Err(Errno::NOENT) => return Answer::Seen(Observation::Absent),
            Err(errno) => return self.look_from_outside(errno),
        };
        match self.listing(fd) {
            Ok(sight) => Answer::Seen(sight),
            Err(errno) => Answer::Failed(fault(errno)),
        }
    }

    /// Examines what is at the path if it could not be opened as a directory of ours.
    fn look_from_outside(&self, errno: Errno) -> Answer {
        let about = match about_path(self.path()) {
            Ok(about) => about,
            Err(Errno::NOENT) => return Answer::Seen(Observation::Absent),
            Err(errno) => return Answer::Failed(fault(errno)),
        };
        match about.kind {
            FileKind::Symlink => Answer::Seen(Observation::Foreign(Foreign::Symlink)),
            FileKind::Directory => {
                match self.other_user(&about).or_else(|| administrator(&about)) {
                    Some(uid) if errno == Errno::ACCESS => {
                        Answer::Seen(Observation::Directory(Listing {
                            entries: Vec::new(),
                            foreign: None,
                            litter: None,
                            modified: about.changed,
                            stranger: Some(uid),
                        }))
                    }
                    _ => Answer::Failed(fault(errno)),
                }
            }
            _ => Answer::Seen(Observation::Foreign(Foreign::NotADirectory)),
        }
    }

    fn listing(&self, fd: Handle) -> Result<Observation, Errno> {
        let (mut entries, mut foreign, mut litter) = (Vec::new(), None, None);
        let mut seen = 0;
        let mut names = list(fd)?;
        for found in names.by_ref() {
            let found = match found {
                Ok(found) => found,
                // The directory was removed during the listing.
                Err(Errno::NOENT) => break,
                Err(errno) => return Err(errno),
            };
            seen += 1;
            if seen > MAX_NAMES {
                foreign = Some(Foreign::TooMany);
                break;
            }
            let is_file = matches!(found.kind(), FileKind::File | FileKind::Unknown);
            match found.text().and_then(Entry::parse) {
                Some(entry) if is_file => entries.push(entry),
                _ if is_litter(&found.name()) => litter = Some(found.printable()),
                _ => {
                    foreign.get_or_insert(Foreign::Holds(found.printable()));
                }
            }
        }
        let about = names.about()?;
        let (modified, stranger) = (about.changed, self.other_user(&about));
        Ok(Observation::Directory(Listing { entries, foreign, litter, modified, stranger }))
    }

    /// Returns the owner if it is another user who could let two hold the lock processes: neither we
    /// nor root, and we were not configured to share the lock.
    pub(crate) fn other_user(&self, about: &Metadata) -> Option<u32> {
        match about.owner() {
            FileOwner::Strangers(user) => {
                let shared = self.mode() & 0o022 != 0 || self.only_looks && about.is_shared;
                (!shared).then_some(user)
            }
            FileOwner::Ours | FileOwner::Administrators => None,
        }
    }
}

/// Returns root's number if root is the owner: root is trusted, but may still keep us out.
fn administrator(about: &Metadata) -> Option<u32> {
    (cfg!(unix) && matches!(about.owner(), FileOwner::Administrators)).then_some(0)
}

/// Returns true if this is the name of a stage: a lock directory's name and a nonce.
pub(crate) fn is_stage_name(name: &OsStr) -> bool {
    nonce_of_stage(name).is_some()
}

/// Returns the nonce in the name of a stage.
pub(crate) fn nonce_of_stage(name: &OsStr) -> Option<Nonce> {
    let bytes = name.as_encoded_bytes();
    let dot = bytes.iter().rposition(|&byte| byte == b'.')?;
    let nonce = std::str::from_utf8(&bytes[dot + 1..]).ok().and_then(Nonce::parse);
    nonce.filter(|_| bytes[..dot].ends_with(EXTENSION.as_bytes()))
}

/// Returns true for the files that servers, file browsers and sync tools leave everywhere, without
/// any person's intent.
fn is_litter(name: &OsStr) -> bool {
    const BEGINNINGS: [&[u8]; 6] =
        [b".nfs", b".fuse_hidden", b".smbdelete", b"._", b".syncthing.", b"~syncthing~"];
    const NAMES: [&[u8]; 13] = [
        b".DS_Store",
        b"Thumbs.db",
        b"ehthumbs.db",
        b"desktop.ini",
        b"Desktop.ini",
        b".directory",
        b".localized",
        b".apdisk",
        b".AppleDouble",
        b".dropbox",
        b".dropbox.attr",
        b"@eaDir",
        b"Icon\r",
    ];
    let bytes = name.as_encoded_bytes();
    BEGINNINGS.iter().any(|beginning| bytes.starts_with(beginning))
        || NAMES.contains(&bytes)
        || is_stage_name(name)
        || is_conflict_copy(bytes)
}

/// Returns true for the copies that Syncthing (`.sync-conflict-`), Dropbox, Nextcloud and ownCloud
/// (`conflicted copy`) make of an entry that two hosts have renamed.
fn is_conflict_copy(name: &[u8]) -> bool {
    const MARKS: [&[u8]; 2] = [b".sync-conflict-", b"conflicted copy"];
    let is_in = |mark: &[u8]| name.windows(mark.len()).any(|part| part == mark);
    name.starts_with(b"v1.") && MARKS.into_iter().any(is_in)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_leftovers_of_browsers_and_sync_tools_are_litter() {
        let entry = "v1.held.p.17.00000000000000000000000007.0.10000.5.000000000000001f.00000002.\
                     00000003.811-12345.web1.-";
        for name in [
            ".nfs0001",
            ".fuse_hidden0001",
            ".smbdeleteAAA0",
            "._jobs",
            ".DS_Store",
            "Thumbs.db",
            "desktop.ini",
            ".directory",
            "@eaDir",
            "Icon\r",
            ".syncthing.jobs.tmp",
            &entry.replace(".web1", ".sync-conflict-20261129-120000-ABCDEFG.web1"),
            &format!("{entry} (web1's conflicted copy 2026-11-29)"),
            &format!("{entry} (conflicted copy 2026-11-29 120000)"),
            "jobs.lockdir.00000000000000000000000007",
        ] {
            assert!(is_litter(name.as_ref()), "{name}");
        }
        for name in [
            entry,
            "notes",
            "pid",
            "owner.json",
            "nfs",
            ".nf",
            "directory",
            "DESKTOP.INI.txt",
            "notes.sync-conflict-20261129-120000-ABCDEFG.txt",
            "notes (conflicted copy)",
            "v1.held.p.17 (1)",
        ] {
            assert!(!is_litter(name.as_ref()), "{name}");
        }
    }
}
