//! The raw calls on the file system. Each is one system call, made here and nowhere else, and each
//! goes through the [`World`](crate::os::simulated::World) of a test, if there is one. Decides
//! nothing.

use std::path::Path;
use std::time::Duration;

#[cfg(unix)]
use crate::os::PipeEnd;
use crate::os::clock;
use crate::os::simulated::{self, Kind, ask, change};
use crate::os::{self, Errno, FileSystem, Folder, Found, Handle, Metadata};

pub(crate) fn open_to_list(path: &Path) -> Result<Handle, Errno> {
    ask(Kind::Open, path, || os::open_to_list(path))
}

pub(crate) fn open_to_list_at(dir: &Handle, name: &Path) -> Result<Handle, Errno> {
    ask(Kind::Open, name, || os::open_to_list_at(dir, name))
}

pub(crate) fn open_to_change(path: &Path) -> Result<Handle, Errno> {
    ask(Kind::Open, path, || os::open_to_change(path))
}

/// Returns the metadata of a path; for a symbolic link, that of the link itself.
pub(crate) fn about_path(path: &Path) -> Result<Metadata, Errno> {
    ask(Kind::Stat, path, || os::about_path(path)).map(dated)
}

pub(crate) fn about(fd: &Handle) -> Result<Metadata, Errno> {
    ask(Kind::Stat, Path::new(""), || os::about(fd)).map(dated)
}

/// Uses the modification time as the change time in a test's world. Such a world has its own clock,
/// and can set only modification times by it.
fn dated(about: Metadata) -> Metadata {
    match simulated::world() {
        Some(_) => Metadata { changed: about.modified, ..about },
        None => about,
    }
}

/// Returns true if we may remove this directory from its folder.
pub(crate) fn is_removable(path: &Path, folder: &Path) -> Result<bool, Errno> {
    ask(Kind::Stat, path, || os::is_removable(path, folder))
}

/// Returns true if something is mounted at this path.
pub(crate) fn is_mount(path: &Path) -> Result<bool, Errno> {
    ask(Kind::Stat, path, || os::is_mount(path))
}

/// Returns the properties of a folder. A test's world has a file system of its own.
pub(crate) fn folder_at(folder: &Path) -> Folder {
    simulated::count(Kind::Folder);
    let folder = os::folder_at(folder);
    match simulated::world() {
        Some(world) => {
            let (is_local, longest_name) = (world.is_local(), world.longest_name());
            Folder { file_system: FileSystem { is_local, longest_name }, ..folder }
        }
        None => folder,
    }
}

pub(crate) fn mkdir(path: &Path, mode: u32) -> Result<(), Errno> {
    change(Kind::MakeDir, path, None, || os::mkdir(path, mode))
}

/// Creates a new, empty file.
pub(crate) fn createat(dir: &Handle, name: &Path, mode: u32) -> Result<(), Errno> {
    change(Kind::MakeFile, name, None, || os::createat(dir, name, mode))
}

/// Creates a new, empty file on a file system that this kernel alone owns.
pub(crate) fn create_locally_at(dir: &Handle, name: &Path, mode: u32) -> Result<(), Errno> {
    change(Kind::MakeFile, name, None, || os::create_locally_at(dir, name, mode))
}

pub(crate) fn fchmod(fd: &Handle, mode: u32) -> Result<(), Errno> {
    change(Kind::Widen, Path::new(""), None, || os::fchmod(fd, mode))
}

/// Sets the group.
pub(crate) fn fchown(fd: &Handle, group: u32) -> Result<(), Errno> {
    change(Kind::Widen, Path::new(""), None, || os::fchown(fd, group))
}

pub(crate) fn rename(from: &Path, to: &Path) -> Result<(), Errno> {
    change(Kind::Install, from, Some(to), || os::rename(from, to))
}

/// Renames a path; refuses to replace anything.
pub(crate) fn rename_new(from: &Path, to: &Path) -> Result<(), Errno> {
    change(Kind::Install, from, Some(to), || os::rename_new(from, to))
}

/// Renames an entry within one directory.
pub(crate) fn renameat(dir: &Handle, from: &Path, to: &Path) -> Result<(), Errno> {
    change(Kind::Rename, from, Some(to), || os::renameat(dir, from, to))
}

pub(crate) fn unlink(path: &Path) -> Result<(), Errno> {
    change(Kind::Unlink, path, None, || os::unlink(path))
}

pub(crate) fn unlinkat(dir: &Handle, name: &Path) -> Result<(), Errno> {
    change(Kind::Unlink, name, None, || os::unlinkat(dir, name))
}

pub(crate) fn rmdir(path: &Path) -> Result<(), Errno> {
    change(Kind::RemoveDir, path, None, || os::rmdir(path))
}

pub(crate) fn rmdirat(dir: &Handle, name: &Path) -> Result<(), Errno> {
    change(Kind::RemoveDir, name, None, || os::rmdirat(dir, name))
}

/// Creates a new, empty file that nobody else can open for writing while it is open.
#[cfg(windows)]
pub(crate) fn create_and_keep_at(dir: &Handle, name: &Path) -> Result<Handle, Errno> {
    let mut made = None;
    change(Kind::MakeFile, name, None, || {
        made = Some(os::create_and_keep_at(dir, name)?);
        Ok(())
    })?;
    made.ok_or(Errno::IO)
}

#[cfg(windows)]
pub(crate) fn open_to_write_at(dir: &Handle, name: &Path) -> Result<Handle, Errno> {
    ask(Kind::Open, name, || os::open_to_write_at(dir, name))
}

#[cfg(unix)]
pub(crate) fn mkfifoat(dir: &Handle, name: &Path, mode: u32) -> Result<(), Errno> {
    change(Kind::MakePipe, name, None, || os::mkfifoat(dir, name, mode))
}

#[cfg(unix)]
pub(crate) fn open_pipe_at(dir: &Handle, name: &Path, end: PipeEnd) -> Result<Handle, Errno> {
    ask(Kind::Open, name, || os::open_pipe_at(dir, name, end))
}

#[cfg(unix)]
pub(crate) fn reopen_to_write(pipe: &Handle) -> Result<Handle, Errno> {
    ask(Kind::Open, Path::new(""), || os::reopen_to_write(pipe))
}

#[cfg(unix)]
pub(crate) fn read(pipe: &Handle, into: &mut [u8]) -> Result<usize, Errno> {
    ask(Kind::Read, Path::new(""), || os::read(pipe, into))
}

#[cfg(unix)]
pub(crate) fn write(pipe: &Handle, what: &[u8]) -> Result<usize, Errno> {
    ask(Kind::Write, Path::new(""), || os::write(pipe, what))
}

/// The entries of a directory, without `.` and `..`.
pub(crate) struct Names(os::Names);

pub(crate) fn list(dir: Handle) -> Result<Names, Errno> {
    let mut dir = Some(dir);
    let taken_once = || dir.take().map_or(Err(Errno::BADF), os::Names::of);
    ask(Kind::List, Path::new(""), taken_once).map(Names)
}

/// Lists a directory like [`list`], without consuming its handle.
pub(crate) fn list_of(dir: &Handle) -> Result<Names, Errno> {
    ask(Kind::List, Path::new(""), || os::Names::of_open(dir)).map(Names)
}

impl Names {
    /// Returns the metadata of the directory itself.
    pub(crate) fn about(&self) -> Result<Metadata, Errno> {
        ask(Kind::Stat, Path::new(""), || self.0.about()).map(dated)
    }
}

impl Iterator for Names {
    type Item = Result<Found, Errno>;

    fn next(&mut self) -> Option<Result<Found, Errno>> {
        loop {
            match self.0.next()? {
                Ok(_) if simulated::is_hidden() => {}
                found => return Some(found),
            }
        }
    }
}

/// Sleeps until one of these sources is ready, and returns its index; or until this time of the
/// boot clock.
pub(crate) fn sleep_on(on: &[os::Source<'_>], until: Duration) -> Option<usize> {
    simulated::count(Kind::Sleep);
    match simulated::world() {
        Some(world) => {
            let mut ready = None;
            world.sleep(until, &mut || {
                ready = os::sleep_on(on, Duration::ZERO);
                ready.is_some()
            });
            ready
        }
        None => os::sleep_on(on, until.saturating_sub(clock::boot())),
    }
}

/// Starts a thread of the library.
pub(crate) fn thread(name: &str, work: impl FnOnce() + Send + 'static) -> Result<(), Errno> {
    let mut work = Some(work);
    ask(Kind::Thread, Path::new(name), || {
        let Some(work) = work.take() else { return Err(Errno::AGAIN) };
        let builder = std::thread::Builder::new().name(name.into());
        builder.spawn(work).map(drop).map_err(|_| Errno::AGAIN)
    })
}
