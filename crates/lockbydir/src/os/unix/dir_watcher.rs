//! Hearing what happens in many folders, where the kernel tells of it.

use std::ffi::{OsStr, OsString};
use std::mem::MaybeUninit;
use std::os::fd::AsFd;
use std::os::unix::ffi::OsStrExt;
use std::path::Path;

use rustix::fs::inotify::{self, CreateFlags, ReadFlags, Reader, WatchFlags};

use super::{Errno, Handle, Source};

/// Hears of names that come and go in folders.
pub(crate) struct DirWatcher(Handle);

/// Something that was heard.
pub(crate) enum Heard {
    /// This name has come into the folder of this number; is it a folder's?
    AcquiredFrom(i32, OsString, bool),
    /// This name has gone from it; or was it moved, perhaps within it?
    Went(i32, OsString, bool),
    /// The folder is gone, and its number with it.
    Ended(i32),
    /// More happened than could be kept.
    Overflow,
}

impl DirWatcher {
    /// Each process and each user has a few at most.
    pub(crate) fn new() -> Result<DirWatcher, Errno> {
        inotify::init(CreateFlags::CLOEXEC | CreateFlags::NONBLOCK).map(DirWatcher)
    }

    /// Listens to a folder that is no link, too, and says its number.
    pub(crate) fn listen(&self, folder: &Path) -> Result<i32, Errno> {
        const WHAT: WatchFlags = WatchFlags::CREATE
            .union(WatchFlags::DELETE)
            .union(WatchFlags::MOVED_FROM)
            .union(WatchFlags::MOVED_TO)
            .union(WatchFlags::ONLYDIR)
            .union(WatchFlags::DONT_FOLLOW);
        inotify::add_watch(&self.0, folder, WHAT)
    }

    pub(crate) fn forget(&self, number: i32) {
        let _ = inotify::remove_watch(&self.0, number);
    }

    /// All that was heard since, in its order.
    pub(crate) fn heard(&self, tell: &mut dyn FnMut(Heard)) {
        let mut room = [MaybeUninit::uninit(); 64 * 1024];
        let mut reader = Reader::new(&self.0, &mut room);
        while let Ok(event) = reader.next() {
            let name = || {
                let name = event.file_name().map_or(&b""[..], |name| name.to_bytes());
                OsStr::from_bytes(name).to_owned()
            };
            let (what, number) = (event.events(), event.wd());
            if what.contains(ReadFlags::QUEUE_OVERFLOW) {
                tell(Heard::Overflow);
            } else if what.contains(ReadFlags::IGNORED) {
                tell(Heard::Ended(number));
            } else if what.intersects(ReadFlags::CREATE | ReadFlags::MOVED_TO) {
                tell(Heard::AcquiredFrom(number, name(), what.contains(ReadFlags::ISDIR)));
            } else if what.intersects(ReadFlags::DELETE | ReadFlags::MOVED_FROM) {
                tell(Heard::Went(number, name(), what.contains(ReadFlags::MOVED_FROM)));
            }
        }
    }

    pub(crate) fn source(&self) -> Source<'_> {
        self.0.as_fd()
    }
}
