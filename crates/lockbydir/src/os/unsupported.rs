//! A directory watcher for systems without notifications, where changes are found only by looking.

use std::ffi::OsString;
use std::path::Path;

use super::{Errno, Source};

/// The watcher, which does not exist here.
pub(crate) enum DirWatcher {}

/// The events, which never occur here.
#[expect(dead_code, reason = "it is heard on another system")]
pub(crate) enum DirEvent {
    Added(i32, OsString, bool),
    Removed(i32, OsString, bool),
    Ended(i32),
    Overflow,
}

impl DirWatcher {
    pub(crate) fn new() -> Result<DirWatcher, Errno> {
        Err(Errno::NOTSUP)
    }

    pub(crate) fn watch(&self, _folder: &Path) -> Result<i32, Errno> {
        match *self {}
    }

    pub(crate) fn unwatch(&self, _number: i32) {
        match *self {}
    }

    pub(crate) fn read_events(&self, _report: &mut dyn FnMut(DirEvent)) {
        match *self {}
    }

    pub(crate) fn source(&self) -> Source<'_> {
        match *self {}
    }
}
