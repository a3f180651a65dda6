//! The raw calls on the file system: each is one system call, made here and nowhere else, and each
//! is shown to the [`World`](crate::testing::World) of a test, where there is one. Decides nothing.

use std::ffi::CStr;
use std::os::fd::OwnedFd;
use std::path::Path;
use std::time::Duration;

use rustix::event::{PollFd, Timespec};
use rustix::fs::{
    self, AtFlags, CWD, DirEntry, FileType, Gid, Mode, OFlags, RenameFlags, Stat, StatFs,
};
use rustix::io::{self, Errno};

use crate::clock;
use crate::testing::{self, Kind, ask, change};

pub(crate) fn open(path: &Path, how: OFlags) -> Result<OwnedFd, Errno> {
    ask(Kind::Open, path, || fs::open(path, how, Mode::empty()))
}

pub(crate) fn openat(dir: &OwnedFd, name: &Path, how: OFlags) -> Result<OwnedFd, Errno> {
    ask(Kind::Open, name, || fs::openat(dir, name, how, Mode::empty()))
}

/// Of a link itself.
pub(crate) fn stat(path: &Path) -> Result<Stat, Errno> {
    ask(Kind::Stat, path, || fs::statat(CWD, path, AtFlags::SYMLINK_NOFOLLOW))
}

pub(crate) fn fstat(fd: &OwnedFd) -> Result<Stat, Errno> {
    ask(Kind::Stat, Path::new(""), || fs::fstat(fd))
}

pub(crate) fn statfs(path: &Path) -> Result<StatFs, Errno> {
    ask(Kind::Stat, path, || fs::statfs(path))
}

pub(crate) fn mkdir(path: &Path, mode: Mode) -> Result<(), Errno> {
    change(Kind::MakeDir, path, None, || fs::mkdir(path, mode))
}

/// A new, empty file.
pub(crate) fn createat(dir: &OwnedFd, name: &Path, mode: Mode) -> Result<(), Errno> {
    const NEW: OFlags = OFlags::WRONLY
        .union(OFlags::CREATE)
        .union(OFlags::EXCL)
        .union(OFlags::NOFOLLOW)
        .union(OFlags::CLOEXEC);
    change(Kind::MakeFile, name, None, || fs::openat(dir, name, NEW, mode).map(drop))
}

pub(crate) fn mkfifoat(dir: &OwnedFd, name: &Path, mode: Mode) -> Result<(), Errno> {
    change(Kind::MakePipe, name, None, || fs::mknodat(dir, name, FileType::Fifo, mode, 0))
}

pub(crate) fn fchmod(fd: &OwnedFd, mode: Mode) -> Result<(), Errno> {
    change(Kind::Widen, Path::new(""), None, || fs::fchmod(fd, mode))
}

/// Gives it to a group.
pub(crate) fn fchown(fd: &OwnedFd, group: Gid) -> Result<(), Errno> {
    change(Kind::Widen, Path::new(""), None, || fs::fchown(fd, None, Some(group)))
}

pub(crate) fn rename(from: &Path, to: &Path) -> Result<(), Errno> {
    change(Kind::Install, from, Some(to), || fs::rename(from, to))
}

/// Refuses to replace anything.
pub(crate) fn rename_new(from: &Path, to: &Path) -> Result<(), Errno> {
    change(Kind::Install, from, Some(to), || {
        fs::renameat_with(CWD, from, CWD, to, RenameFlags::NOREPLACE)
    })
}

/// Within one directory.
pub(crate) fn renameat(dir: &OwnedFd, from: &Path, to: &Path) -> Result<(), Errno> {
    change(Kind::Rename, from, Some(to), || fs::renameat(dir, from, dir, to))
}

pub(crate) fn unlink(path: &Path) -> Result<(), Errno> {
    change(Kind::Unlink, path, None, || fs::unlink(path))
}

pub(crate) fn unlinkat(dir: &OwnedFd, name: &Path) -> Result<(), Errno> {
    change(Kind::Unlink, name, None, || fs::unlinkat(dir, name, AtFlags::empty()))
}

pub(crate) fn rmdir(path: &Path) -> Result<(), Errno> {
    change(Kind::RemoveDir, path, None, || fs::rmdir(path))
}

pub(crate) fn rmdirat(dir: &OwnedFd, name: &Path) -> Result<(), Errno> {
    change(Kind::RemoveDir, name, None, || fs::unlinkat(dir, name, AtFlags::REMOVEDIR))
}

pub(crate) fn read(pipe: &OwnedFd, into: &mut [u8]) -> Result<usize, Errno> {
    ask(Kind::Read, Path::new(""), || io::read(pipe, &mut *into))
}

pub(crate) fn write(pipe: &OwnedFd, what: &[u8]) -> Result<usize, Errno> {
    ask(Kind::Write, Path::new(""), || io::write(pipe, what))
}

/// What is in a directory but itself and its parent.
pub(crate) struct Names(fs::Dir);

pub(crate) fn list(dir: OwnedFd) -> Result<Names, Errno> {
    let mut dir = Some(dir);
    ask(Kind::List, Path::new(""), || dir.take().map_or(Err(Errno::BADF), fs::Dir::new)).map(Names)
}

/// The same, of a handle that is needed further.
pub(crate) fn list_of(dir: &OwnedFd) -> Result<Names, Errno> {
    ask(Kind::List, Path::new(""), || fs::Dir::read_from(dir)).map(Names)
}

impl Names {
    pub(crate) fn stat(&self) -> Result<Stat, Errno> {
        ask(Kind::Stat, Path::new(""), || self.0.stat())
    }
}

impl Iterator for Names {
    type Item = Result<DirEntry, Errno>;

    fn next(&mut self) -> Option<Result<DirEntry, Errno>> {
        let is_own = |name: &CStr| matches!(name.to_bytes(), b"." | b"..");
        loop {
            match self.0.read()? {
                Ok(found) if is_own(found.file_name()) => {}
                Ok(found) if testing::is_hidden(found.file_name()) => {}
                found => return Some(found),
            }
        }
    }
}

/// Sleeps until one of these has something to tell, or until this time of the boot clock.
pub(crate) fn poll(polled: &mut [PollFd<'_>], until: Duration) {
    let mut poll_for = |rest: Duration| {
        let timeout = Timespec {
            tv_sec: i64::try_from(rest.as_secs()).unwrap_or(i64::MAX),
            tv_nsec: i64::from(rest.subsec_nanos()),
        };
        matches!(rustix::event::poll(polled, Some(&timeout)), Ok(1..))
    };
    match testing::world() {
        Some(world) => world.sleep(until, &mut || poll_for(Duration::ZERO)),
        None => {
            poll_for(until.saturating_sub(clock::boot()));
        }
    }
}

/// A thread of the library's own.
pub(crate) fn thread(name: &str, work: impl FnOnce() + Send + 'static) -> Result<(), Errno> {
    let mut work = Some(work);
    ask(Kind::Thread, Path::new(name), || {
        let Some(work) = work.take() else { return Err(Errno::AGAIN) };
        let builder = std::thread::Builder::new().name(name.into());
        builder.spawn(work).map(drop).map_err(|_| Errno::AGAIN)
    })
}
