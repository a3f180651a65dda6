//! What is foreign in a lock's place, and the sentences about it. Looks at nothing.

use std::ffi::OsString;
use std::fmt;

use lockbydir_protocol::Foreign;

use crate::printable::printable;

/// A thing in a lock directory that is not an entry of a lock: see
/// [`Lock::foreign_things`](crate::Lock::foreign_things).
///
/// [`Display`](fmt::Display) shows its name, made safe for a terminal, and what it is.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct ForeignThing {
    /// Its name in the directory.
    pub name: OsString,
    /// Its kind.
    pub kind: ForeignKind,
}

/// The kind of a thing in a lock directory.
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
    /// Returns true if [`Lock::remove_foreign_things`](crate::Lock::remove_foreign_things) can
    /// remove it.
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

/// Returns why the directory of another user is foreign, for people.
pub(crate) fn other_user_reason(uid: u32) -> String {
    format!("unusable: it belongs to user {uid}")
}

/// Returns why a thing is foreign, for people.
pub(crate) fn foreign_reason(why: &Foreign) -> String {
    match why {
        Foreign::Symlink => "it is a symbolic link, which is never followed".into(),
        Foreign::NotADirectory => "it is not a directory".into(),
        Foreign::Holds(name) => format!("it holds `{name}`, which is not ours"),
        Foreign::TwoEntries => "it holds two entries at once".into(),
        Foreign::TooMany => "it holds more files than a lock directory can".into(),
        Foreign::Exhausted => "its token has reached the largest value".into(),
    }
}
