//! A directory watcher for systems that notify of nothing: there, only looks find changes.

use std::ffi::OsString;
use std::path::Path;

use super::{Errno, Source};

/// There are none.
pub(crate) enum DirWatcher {}

/// What nobody hears.
#[expect(dead_code, reason = "it is heard on another system")]
pub(crate) enum Heard {
    AcquiredFrom(i32, OsString, bool),
    Went(i32, OsString, bool),
    Ended(i32),
    Overflow,
}

impl DirWatcher {
    pub(crate) fn new() -> Result<DirWatcher, Errno> {
        Err(Errno::NOTSUP)
    }

    pub(crate) fn listen(&self, _folder: &Path) -> Result<i32, Errno> {
        match *self {}
    }

    pub(crate) fn forget(&self, _number: i32) {
        match *self {}
    }

    pub(crate) fn heard(&self, _tell: &mut dyn FnMut(Heard)) {
        match *self {}
    }

    pub(crate) fn source(&self) -> Source<'_> {
        match *self {}
    }
}
