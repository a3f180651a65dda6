//! Looks at a lock directory, opened anew each time, no symbolic link followed: what is there?
//! Changes nothing and judges nobody.

use std::ffi::OsStr;

use lockbydir_protocol::{Answer, Entry, Foreign, Listing, Nonce, Sight};

use crate::call::{about_path, list, open_to_list};
use crate::dir::{Directory, EXTENSION};
use crate::system::{About, Errno, FileKind, Handle, Whose, fault};

/// More names than this in a lock directory make it foreign.
const MOST_NAMES: usize = 64;

impl Directory {
    pub(crate) fn look(&self) -> Answer {
        let fd = match open_to_list(self.path()) {
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
        let about = match about_path(self.path()) {
            Ok(about) => about,
            Err(Errno::NOENT) => return Answer::Seen(Sight::Absent),
            Err(errno) => return Answer::Failed(fault(errno)),
        };
        match about.kind {
            FileKind::Symlink => Answer::Seen(Sight::Foreign(Foreign::Symlink)),
            FileKind::Directory => match self.stranger(&about) {
                Some(uid) if errno == Errno::ACCESS => Answer::Seen(Sight::Directory(Listing {
                    entries: Vec::new(),
                    foreign: None,
                    litter: None,
                    modified: about.changed,
                    stranger: Some(uid),
                })),
                _ => Answer::Failed(fault(errno)),
            },
            _ => Answer::Seen(Sight::Foreign(Foreign::NotADirectory)),
        }
    }

    fn listing(&self, fd: Handle) -> Result<Sight, Errno> {
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
            seen += 1;
            if seen > MOST_NAMES {
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
        let (modified, stranger) = (about.changed, self.stranger(&about));
        Ok(Sight::Directory(Listing { entries, foreign, litter, modified, stranger }))
    }

    /// The owner, where it is somebody who could give the lock to two: neither we nor root, and
    /// we were not told to share.
    pub(crate) fn stranger(&self, about: &About) -> Option<u32> {
        match about.owner {
            Whose::Strangers(user) => {
                let shared = self.mode() & 0o022 != 0 || self.only_looks && about.is_shared;
                (!shared).then_some(user)
            }
            Whose::Ours | Whose::Administrators => None,
        }
    }
}

/// Is this what an attempt's own directory is called: a lock directory's name and a nonce?
pub(crate) fn is_stage_name(name: &OsStr) -> bool {
    let bytes = name.as_encoded_bytes();
    bytes.iter().rposition(|&byte| byte == b'.').is_some_and(|dot| {
        bytes[..dot].ends_with(EXTENSION.as_bytes())
            && std::str::from_utf8(&bytes[dot + 1..]).ok().and_then(Nonce::parse).is_some()
    })
}

fn is_litter(name: &OsStr) -> bool {
    let bytes = name.as_encoded_bytes();
    bytes.starts_with(b".nfs")
        || bytes.starts_with(b".fuse_hidden")
        || is_stage_name(name)
        || matches!(bytes, b".DS_Store" | b"Thumbs.db")
}
