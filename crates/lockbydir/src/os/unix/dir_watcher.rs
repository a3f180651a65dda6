//! A directory watcher for many folders, on a kernel that notifies of changes.

use std::ffi::{OsStr, OsString};
use std::mem::MaybeUninit;
use std::os::fd::AsFd;
use std::os::unix::ffi::OsStrExt;
use std::path::Path;

use rustix::fs::inotify::{self, CreateFlags, ReadFlags, Reader, WatchFlags};

use super::{Errno, Handle, Source};

/// Reports the names that are added to and removed from folders.
pub(crate) struct DirWatcher(Handle);

/// A change that the kernel has reported.
pub(crate) enum DirEvent {
    /// This name was added to the folder of this number; whether it is a directory's.
    Added(i32, OsString, bool),
    /// This name was removed from it; whether it was moved away, perhaps within the folder.
    Removed(i32, OsString, bool),
    /// The folder is gone, and its number is no longer valid.
    Ended(i32),
    /// Events were lost because the kernel's queue was full.
    Overflow,
}

impl DirWatcher {
    /// Creates a watcher. The system limits their number per process and per user.
    pub(crate) fn new() -> Result<DirWatcher, Errno> {
        inotify::init(CreateFlags::CLOEXEC | CreateFlags::NONBLOCK).map(DirWatcher)
    }

    /// Watches a folder, which must not be a link, in addition to others, and returns its number.
    pub(crate) fn watch(&self, folder: &Path) -> Result<i32, Errno> {
        const WHAT: WatchFlags = WatchFlags::CREATE
            .union(WatchFlags::DELETE)
            .union(WatchFlags::MOVED_FROM)
            .union(WatchFlags::MOVED_TO)
            .union(WatchFlags::ONLYDIR)
            .union(WatchFlags::DONT_FOLLOW);
        inotify::add_watch(&self.0, folder, WHAT)
    }

    pub(crate) fn unwatch(&self, number: i32) {
        let _ = inotify::remove_watch(&self.0, number);
    }

    /// Reports all events since the last call, in order.
    pub(crate) fn read_events(&self, report: &mut dyn FnMut(DirEvent)) {
        let mut room = [MaybeUninit::uninit(); 64 * 1024];
        let mut reader = Reader::new(&self.0, &mut room);
        while let Ok(event) = reader.next() {
            let name = || {
                let name = event.file_name().map_or(&b""[..], |name| name.to_bytes());
                OsStr::from_bytes(name).to_owned()
            };
            let (what, number) = (event.events(), event.wd());
            if what.contains(ReadFlags::QUEUE_OVERFLOW) {
                report(DirEvent::Overflow);
            } else if what.contains(ReadFlags::IGNORED) {
                report(DirEvent::Ended(number));
            } else if what.intersects(ReadFlags::CREATE | ReadFlags::MOVED_TO) {
                report(DirEvent::Added(number, name(), what.contains(ReadFlags::ISDIR)));
            } else if what.intersects(ReadFlags::DELETE | ReadFlags::MOVED_FROM) {
                report(DirEvent::Removed(number, name(), what.contains(ReadFlags::MOVED_FROM)));
            }
        }
    }

    pub(crate) fn source(&self) -> Source<'_> {
        self.0.as_fd()
    }
}
