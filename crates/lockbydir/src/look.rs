//! Looks at a lock directory, opened anew each time, no symbolic link followed: what is there?
//! Changes nothing and judges nobody.

use std::ffi::{CStr, OsStr};
use std::os::fd::OwnedFd;
use std::os::unix::ffi::OsStrExt;

use lockbydir_protocol::{Answer, Entry, Foreign, Listing, Nonce, Sight, Stamp};
use rustix::fs::{FileType, Stat};
use rustix::io::Errno;

use crate::call::{list, open, stat};
use crate::dir::{Directory, EXTENSION, LOOK, fault};

/// More names than this in a lock directory make it foreign.
const MOST_NAMES: usize = 64;

impl Directory {
    pub(crate) fn look(&self) -> Answer {
        let fd = match open(self.path(), LOOK) {
            Ok(fd) => fd,
            Err(Errno::NOENT) => return Answer::Seen(Sight::Absent),
            Err(errno) => return self.look_from_outside(errno),
        };
        match self.listing(fd) {
            Ok(sight) => Answer::Seen(sight),
            Err(errno) => Answer::Failed(fault(errno)),
        }
    }

    /// It could not be opened as a directory of ours: what is it?
    fn look_from_outside(&self, errno: Errno) -> Answer {
        let stat = match stat(self.path()) {
            Ok(stat) => stat,
            Err(Errno::NOENT) => return Answer::Seen(Sight::Absent),
            Err(errno) => return Answer::Failed(fault(errno)),
        };
        match FileType::from_raw_mode(stat.st_mode) {
            FileType::Symlink => Answer::Seen(Sight::Foreign(Foreign::Symlink)),
            FileType::Directory => match self.stranger(&stat) {
                Some(uid) if errno == Errno::ACCESS => Answer::Seen(Sight::Directory(Listing {
                    entries: Vec::new(),
                    foreign: None,
                    litter: None,
                    modified: changed(&stat),
                    stranger: Some(uid),
                })),
                _ => Answer::Failed(fault(errno)),
            },
            _ => Answer::Seen(Sight::Foreign(Foreign::NotADirectory)),
        }
    }

    fn listing(&self, fd: OwnedFd) -> Result<Sight, Errno> {
        let (mut entries, mut foreign, mut litter) = (Vec::new(), None, None);
        let mut seen = 0;
        let mut names = list(fd)?;
        for found in names.by_ref() {
            let found = match found {
                Ok(found) => found,
                // Removed while we read it.
                Err(Errno::NOENT) => break,
                Err(errno) => return Err(errno),
            };
            let name = found.file_name();
            seen += 1;
            if seen > MOST_NAMES {
                foreign = Some(Foreign::TooMany);
                break;
            }
            let is_file = matches!(found.file_type(), FileType::RegularFile | FileType::Unknown);
            match name.to_str().ok().and_then(Entry::parse) {
                Some(entry) if is_file => entries.push(entry),
                _ if is_litter(name) => {
                    litter = Some(crate::status::printable_bytes(name.to_bytes()));
                }
                _ => {
                    let name = crate::status::printable_bytes(name.to_bytes());
                    foreign.get_or_insert(Foreign::Holds(name));
                }
            }
        }
        let stat = names.stat()?;
        let (modified, stranger) = (changed(&stat), self.stranger(&stat));
        Ok(Sight::Directory(Listing { entries, foreign, litter, modified, stranger }))
    }

    /// The owner, where it is somebody who could give the lock to two: neither we nor root, and
    /// we were not told to share.
    pub(crate) fn stranger(&self, stat: &Stat) -> Option<u32> {
        let shared =
            self.mode().bits() & 0o022 != 0 || self.only_looks && stat.st_mode & 0o022 != 0;
        let own = rustix::process::geteuid().as_raw();
        (stat.st_uid != own && stat.st_uid != 0 && !shared).then_some(stat.st_uid)
    }
}

/// Is this what an attempt's own directory is called: a lock directory's name and a nonce?
pub(crate) fn is_stage_name(name: &OsStr) -> bool {
    let bytes = name.as_bytes();
    bytes.iter().rposition(|&byte| byte == b'.').is_some_and(|dot| {
        bytes[..dot].ends_with(EXTENSION.as_bytes())
            && std::str::from_utf8(&bytes[dot + 1..]).ok().and_then(Nonce::parse).is_some()
    })
}

fn is_litter(name: &CStr) -> bool {
    let name = name.to_bytes();
    name.starts_with(b".nfs")
        || name.starts_with(b".fuse_hidden")
        || is_stage_name(OsStr::from_bytes(name))
        || matches!(name, b".DS_Store" | b"Thumbs.db")
}

pub(crate) fn changed(stat: &Stat) -> Stamp {
    Stamp(i128::from(stat.st_mtime) * 1_000_000_000 + i128::from(stat.st_mtime_nsec))
}
