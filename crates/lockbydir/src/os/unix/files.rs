//! File operations. Calls are relative to the handle of a directory, and follow no symbolic link.

use std::ffi::{CStr, OsStr, OsString};
use std::io;
use std::os::fd::AsFd;
use std::os::unix::ffi::OsStrExt;
use std::path::Path;

use lockbydir_protocol::{Fault, Stamp};
use rustix::fs::{self, AtFlags, CWD, FileType, Gid, Mode, OFlags, RenameFlags, Stat};

use super::{NEITHER, create_unopened, is_own};
use crate::os::{FileKind, FileOwner, Metadata};

pub use rustix::io::Errno;

/// An open directory or pipe.
pub(crate) type Handle = std::os::fd::OwnedFd;

/// The error numbers of a call that is not permitted, and of a thing that is taken, for people.
pub(crate) const NOT_PERMITTED: i32 = Errno::PERM.raw_os_error();
pub(crate) const TAKEN: i32 = Errno::NOTEMPTY.raw_os_error();

/// The error number of a name that is too long.
pub(crate) const NAME_TOO_LONG: i32 = Errno::NAMETOOLONG.raw_os_error();

/// Whether a directory can be renamed while a handle of it is open.
pub(crate) const RENAMES_OPEN_DIRECTORIES: bool = true;

/// Whether files can be given to a group.
pub(crate) const HAS_GROUPS: bool = true;

const LOOK: OFlags =
    OFlags::RDONLY.union(OFlags::DIRECTORY).union(OFlags::NOFOLLOW).union(OFlags::CLOEXEC);
/// Flags of a handle that can change the entries of a directory, but not list them.
const CHANGE: OFlags = LOOK.union(NEITHER);
/// Flags of a handle that can list a folder; the folder itself may be a link.
const FOLDER: OFlags = OFlags::RDONLY.union(OFlags::DIRECTORY).union(OFlags::CLOEXEC);
const PIPE: OFlags = OFlags::NONBLOCK.union(OFlags::NOFOLLOW).union(OFlags::CLOEXEC);

/// Returns why no lock's name can end in this part, if that is so.
pub(crate) fn refuses_name(_last: &OsStr) -> Option<&'static str> {
    None
}

/// Returns what this error means to the protocol.
pub(crate) fn fault(errno: Errno) -> Fault {
    let code = errno.raw_os_error();
    match errno {
        Errno::NOENT => Fault::Missing,
        Errno::EXIST | Errno::NOTEMPTY | Errno::BUSY | Errno::XDEV | Errno::STALE => Fault::Taken,
        Errno::ACCESS | Errno::PERM => Fault::Denied { code },
        Errno::NOSPC | Errno::DQUOT => Fault::Full { code },
        Errno::INTR | Errno::AGAIN | Errno::MFILE | Errno::NFILE | Errno::NOMEM => {
            Fault::Full { code }
        }
        Errno::ROFS => Fault::ReadOnly { code },
        Errno::NOTDIR | Errno::NAMETOOLONG | Errno::LOOP => Fault::NoPlace { code },
        _ => Fault::Broken { code },
    }
}

/// Returns true if the error means that the file system does not support the call.
pub(crate) fn is_no_such_call(errno: Errno) -> bool {
    matches!(errno, Errno::INVAL | Errno::NOSYS | Errno::NOTSUP)
}

/// Returns true if the error means that a process, user or system has no more handles, watches or
/// memory.
pub(crate) fn is_exhausted(errno: Errno) -> bool {
    matches!(errno, Errno::MFILE | Errno::NFILE | Errno::NOMEM | Errno::NOSPC)
}

pub(crate) fn errno_of(error: &io::Error) -> Option<Errno> {
    Errno::from_io_error(error)
}

/// Opens a directory to list its entries.
pub(crate) fn open_to_list(path: &Path) -> Result<Handle, Errno> {
    fs::open(path, LOOK, Mode::empty())
}

pub(crate) fn open_to_list_at(dir: &Handle, name: &Path) -> Result<Handle, Errno> {
    fs::openat(dir, name, LOOK, Mode::empty())
}

/// Opens a directory to change its entries.
pub(crate) fn open_to_change(path: &Path) -> Result<Handle, Errno> {
    fs::open(path, CHANGE, Mode::empty())
}

/// Opens a folder to walk through it; it may be a link.
pub(crate) fn open_folder(path: &Path) -> Result<Handle, Errno> {
    fs::open(path, FOLDER, Mode::empty())
}

/// Opens a folder in this one; it must not be a link.
pub(crate) fn open_folder_at(dir: &Handle, name: &OsStr) -> Result<Handle, Errno> {
    fs::openat(dir, name, FOLDER | OFlags::NOFOLLOW, Mode::empty())
}

/// Returns the metadata of a path; for a symbolic link, that of the link itself.
pub(crate) fn about_path(path: &Path) -> Result<Metadata, Errno> {
    fs::statat(CWD, path, AtFlags::SYMLINK_NOFOLLOW).map(|stat| metadata_from(&stat))
}

pub(crate) fn about(fd: &Handle) -> Result<Metadata, Errno> {
    about_open(fd, &fs::fstat(fd)?)
}

fn about_open(fd: impl AsFd, stat: &Stat) -> Result<Metadata, Errno> {
    let is_others = stat.st_uid == NOBODY && !is_own(fd);
    Ok(Metadata { user: FileUser { uid: stat.st_uid, is_others }, ..metadata_from(stat) })
}

/// The user that a file belongs to, by number.
pub(crate) struct FileUser {
    uid: u32,
    /// Whether it is another user although it may have our number.
    is_others: bool,
}

impl FileUser {
    pub(crate) fn owner(&self) -> FileOwner {
        match self.uid {
            uid if self.is_others => FileOwner::Strangers(uid),
            uid if uid == rustix::process::geteuid().as_raw() => FileOwner::Ours,
            0 => FileOwner::Administrators,
            uid => FileOwner::Strangers(uid),
        }
    }
}

/// The number that a user namespace shows for all users without a number in it; it may also be our
/// own.
pub(super) const NOBODY: u32 = 65534;

pub(super) fn metadata_from(stat: &Stat) -> Metadata {
    Metadata {
        kind: kind(FileType::from_raw_mode(stat.st_mode)),
        modified: stamp(stat.st_mtime, stat.st_mtime_nsec),
        changed: stamp(stat.st_ctime, stat.st_ctime_nsec),
        user: FileUser { uid: stat.st_uid, is_others: false },
        is_shared: stat.st_mode & 0o022 != 0,
        keeps_owner_out: stat.st_mode & 0o700 != 0o700,
        is_removed: stat.st_nlink == 0,
    }
}

/// Returns the name of a user, and the mode of their file at this path, for people.
pub(crate) fn owner_and_mode(path: &Path, uid: u32) -> (Option<String>, Option<u32>) {
    let users = std::fs::read_to_string("/etc/passwd").unwrap_or_default();
    let named = users.lines().find_map(|line| {
        let mut fields = line.split(':');
        let name = fields.next()?;
        (fields.nth(1)?.parse() == Ok(uid)).then(|| name.to_owned())
    });
    let stat = fs::statat(CWD, path, AtFlags::SYMLINK_NOFOLLOW).ok();
    (named, stat.map(|stat| low_bits(stat.st_mode)))
}

/// Returns the permission bits of a mode. The type of this field differs between systems.
fn low_bits(mode: impl Into<u32>) -> u32 {
    mode.into() & 0o777
}

/// Combines seconds and nanoseconds. The types of these fields differ between systems.
fn stamp(seconds: impl Into<i128>, nanoseconds: impl Into<i128>) -> Stamp {
    Stamp(seconds.into() * 1_000_000_000 + nanoseconds.into())
}

fn kind(of: FileType) -> FileKind {
    match of {
        FileType::RegularFile => FileKind::File,
        FileType::Directory => FileKind::Directory,
        FileType::Symlink => FileKind::Symlink,
        FileType::Fifo => FileKind::Pipe,
        FileType::Unknown => FileKind::Unknown,
        _ => FileKind::Other,
    }
}

/// Converts a mode to the width that the system uses.
fn permissions(mode: u32) -> Mode {
    Mode::from_bits_truncate(mode as _)
}

pub(crate) fn mkdir(path: &Path, mode: u32) -> Result<(), Errno> {
    fs::mkdir(path, permissions(mode))
}

/// Creates a new, empty file.
pub(crate) fn createat(dir: &Handle, name: &Path, mode: u32) -> Result<(), Errno> {
    const NEW: OFlags = OFlags::WRONLY
        .union(OFlags::CREATE)
        .union(OFlags::EXCL)
        .union(OFlags::NOFOLLOW)
        .union(OFlags::CLOEXEC);
    fs::openat(dir, name, NEW, permissions(mode)).map(drop)
}

/// Creates a new, empty file on a file system that this kernel alone owns.
pub(crate) fn create_locally_at(dir: &Handle, name: &Path, mode: u32) -> Result<(), Errno> {
    match create_unopened(dir, name, mode) {
        // A sandbox may permit only the other call.
        Err(Errno::PERM | Errno::NOSYS) => createat(dir, name, mode),
        done => done,
    }
}

pub(crate) fn fchmod(fd: &Handle, mode: u32) -> Result<(), Errno> {
    fs::fchmod(fd, permissions(mode))
}

/// Sets the group.
pub(crate) fn fchown(fd: &Handle, group: u32) -> Result<(), Errno> {
    fs::fchown(fd, None, Some(Gid::from_raw(group)))
}

pub(crate) fn rename(from: &Path, to: &Path) -> Result<(), Errno> {
    fs::rename(from, to)
}

/// Renames a path; refuses to replace anything.
pub(crate) fn rename_new(from: &Path, to: &Path) -> Result<(), Errno> {
    fs::renameat_with(CWD, from, CWD, to, RenameFlags::NOREPLACE)
}

/// Renames an entry within one directory.
pub(crate) fn renameat(dir: &Handle, from: &Path, to: &Path) -> Result<(), Errno> {
    fs::renameat(dir, from, dir, to)
}

pub(crate) fn unlink(path: &Path) -> Result<(), Errno> {
    fs::unlink(path)
}

pub(crate) fn unlinkat(dir: &Handle, name: &Path) -> Result<(), Errno> {
    fs::unlinkat(dir, name, AtFlags::empty())
}

pub(crate) fn rmdir(path: &Path) -> Result<(), Errno> {
    fs::rmdir(path)
}

pub(crate) fn rmdirat(dir: &Handle, name: &Path) -> Result<(), Errno> {
    fs::unlinkat(dir, name, AtFlags::REMOVEDIR)
}

/// What a pipe is opened for.
#[derive(Clone, Copy)]
pub(crate) enum PipeEnd {
    Read,
    Write,
    Both,
    /// Neither reading nor writing, until it is opened again.
    Hold,
}

/// Opens the file of this name, without waiting for the other end; it may not be a pipe.
pub(crate) fn open_pipe_at(dir: &Handle, name: &Path, end: PipeEnd) -> Result<Handle, Errno> {
    let how = match end {
        PipeEnd::Read => OFlags::RDONLY,
        PipeEnd::Write => OFlags::WRONLY,
        PipeEnd::Both => OFlags::RDWR,
        PipeEnd::Hold => NEITHER,
    };
    fs::openat(dir, name, how | PIPE, Mode::empty())
}

pub(crate) fn read(pipe: &Handle, into: &mut [u8]) -> Result<usize, Errno> {
    rustix::io::read(pipe, &mut *into)
}

pub(crate) fn write(pipe: &Handle, what: &[u8]) -> Result<usize, Errno> {
    rustix::io::write(pipe, what)
}

/// The entries of a directory, without `.` and `..`.
pub(crate) struct Names(fs::Dir);

impl Names {
    pub(crate) fn of(dir: Handle) -> Result<Names, Errno> {
        fs::Dir::new(dir).map(Names)
    }

    /// Lists a directory like [`of`](Names::of), without consuming its handle.
    pub(crate) fn of_open(dir: &Handle) -> Result<Names, Errno> {
        fs::Dir::read_from(dir).map(Names)
    }

    /// Returns the metadata of the directory itself.
    pub(crate) fn about(&self) -> Result<Metadata, Errno> {
        about_open(self.0.fd()?, &self.0.stat()?)
    }
}

impl Iterator for Names {
    type Item = Result<Found, Errno>;

    fn next(&mut self) -> Option<Result<Found, Errno>> {
        let is_own = |name: &CStr| matches!(name.to_bytes(), b"." | b"..");
        loop {
            match self.0.read()? {
                Ok(found) if is_own(found.file_name()) => {}
                found => return Some(found.map(Found)),
            }
        }
    }
}

/// An entry of a directory.
pub(crate) struct Found(fs::DirEntry);

impl Found {
    pub(crate) fn kind(&self) -> FileKind {
        kind(self.0.file_type())
    }

    /// Returns its name, if that is valid UTF-8.
    pub(crate) fn text(&self) -> Option<&str> {
        self.0.file_name().to_str().ok()
    }

    pub(crate) fn name(&self) -> OsString {
        OsStr::from_bytes(self.0.file_name().to_bytes()).to_owned()
    }

    /// Returns its name for people.
    pub(crate) fn printable(&self) -> String {
        crate::status::printable_bytes(self.0.file_name().to_bytes())
    }
}
