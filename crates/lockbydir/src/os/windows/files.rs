//! File operations. Permissions come from the folder: a mode says only whether the lock is shared
//! on purpose.

use std::ffi::{OsStr, OsString};
use std::io;
use std::os::windows::io::{AsHandle, OwnedHandle};
use std::path::{Path, PathBuf};

use lockbydir_protocol::{Fault, Stamp};
use lockbydir_windows::{self as windows, Access, Facts, Kind, Name, Owner};

use crate::os::{FileKind, FileOwner, FileSystem, Folder, LONGEST_NAME, Metadata};

pub use lockbydir_windows::Errno;

/// An open file or directory.
pub(crate) type Handle = OwnedHandle;

/// The error number of a thing that is taken, for people: "the directory is not empty".
/// `NOT_PERMITTED` never occurs here.
pub(crate) const NOT_PERMITTED: i32 = -1;
pub(crate) const TAKEN: i32 = 145;

/// The error number of a name that is too long.
pub(crate) const NAME_TOO_LONG: i32 = 206;

/// Whether a directory can be renamed while a handle of it is open.
pub(crate) const RENAMES_OPEN_DIRECTORIES: bool = false;

/// Whether files can be given to a group.
pub(crate) const HAS_GROUPS: bool = false;

/// Returns why no lock's name can end in this part, if that is so.
pub(crate) fn refuses_name(last: &OsStr) -> Option<&'static str> {
    const DEVICES: [&str; 6] = ["con", "prn", "aux", "nul", "conin$", "conout$"];
    let text = last.to_string_lossy().to_lowercase();
    let stem = text.split('.').next().unwrap_or_default().trim_end();
    let number = stem.strip_prefix("com").or_else(|| stem.strip_prefix("lpt"));
    let is_port = number.is_some_and(|number| {
        number.chars().count() == 1
            && number.contains(|c| "0123456789\u{b9}\u{b2}\u{b3}".contains(c))
    });
    if text.ends_with(['.', ' ']) {
        Some("Windows leaves dots and spaces out at its end")
    } else if DEVICES.contains(&stem) || is_port {
        Some("on Windows it is a device's")
    } else if text
        .contains(|c: char| matches!(c, '<' | '>' | ':' | '"' | '|' | '?' | '*') || c < ' ')
    {
        Some(
            "Windows has no such file names: < > : \" | ? * and control characters are not allowed",
        )
    } else {
        None
    }
}

/// Returns what this error means to the protocol.
pub(crate) fn fault(errno: Errno) -> Fault {
    let code = errno.raw_os_error();
    match errno {
        Errno::NOENT => Fault::Missing,
        Errno::EXIST | Errno::NOTEMPTY | Errno::BUSY | Errno::GOING | Errno::XDEV => Fault::Taken,
        Errno::ACCESS | Errno::PERM => Fault::Denied { code },
        Errno::NOSPC | Errno::DQUOT | Errno::INTR | Errno::AGAIN => Fault::Full { code },
        Errno::ROFS => Fault::ReadOnly { code },
        Errno::NOTDIR | Errno::NAMETOOLONG | Errno::LOOP => Fault::NoPlace { code },
        _ => Fault::Broken { code },
    }
}

/// Returns true if the error means that the file system does not support the call.
pub(crate) fn is_no_such_call(errno: Errno) -> bool {
    matches!(errno, Errno::INVAL | Errno::NOTSUP)
}

/// Returns true if the error means that a process, user or system has no more handles, watches or
/// memory.
pub(crate) fn is_exhausted(errno: Errno) -> bool {
    matches!(errno, Errno::MFILE | Errno::NOMEM | Errno::NOSPC)
}

pub(crate) fn errno_of(error: &io::Error) -> Option<Errno> {
    error.raw_os_error().map(Errno::from_raw_os_error)
}

/// Returns the properties of a folder. All file systems of Windows allow names of at least 254
/// characters. Who may move what is in it is not known.
pub(crate) fn folder_at(folder: &Path) -> Folder {
    let file_system = FileSystem { is_local: is_local(folder), longest_name: LONGEST_NAME };
    Folder { file_system, is_guarded: false }
}

/// Returns true if this kernel alone owns the file system: then a process that wrote there under
/// another boot is dead.
pub(crate) fn is_local(folder: &Path) -> bool {
    windows::is_local(folder)
}

/// Opens a directory to list its entries.
pub(crate) fn open_to_list(path: &Path) -> Result<Handle, Errno> {
    windows::open_dir(None, path, Access::List)
}

pub(crate) fn open_to_list_at(dir: &Handle, name: &Path) -> Result<Handle, Errno> {
    windows::open_dir(Some(dir.as_handle()), name, Access::List)
}

/// Opens a directory to change its entries.
pub(crate) fn open_to_change(path: &Path) -> Result<Handle, Errno> {
    windows::open_dir(None, path, Access::Change)
}

/// Opens a folder to walk through it; it may be a link.
pub(crate) fn open_folder(path: &Path) -> Result<Handle, Errno> {
    match open_to_list(path) {
        Err(Errno::LOOP) => {
            let real = std::fs::canonicalize(path).map_err(|_| Errno::LOOP)?;
            open_to_list(&real)
        }
        done => done,
    }
}

/// Opens a folder in this one; it must not be a link.
pub(crate) fn open_folder_at(dir: &Handle, name: &OsStr) -> Result<Handle, Errno> {
    open_to_list_at(dir, name.as_ref())
}

/// Returns a path to an entry of this directory, whatever path the directory was opened by.
pub(crate) fn path_in(dir: &Handle, name: &OsStr) -> PathBuf {
    // Without a path nothing is found, so nothing is removed.
    windows::final_path(dir.as_handle()).unwrap_or_default().join(name)
}

/// Returns the metadata of a path; for a symbolic link, that of the link itself.
pub(crate) fn about_path(path: &Path) -> Result<Metadata, Errno> {
    windows::about_path(path).map(metadata_from)
}

pub(crate) fn about(fd: &Handle) -> Result<Metadata, Errno> {
    windows::about(fd.as_handle()).map(metadata_from)
}

/// The user that a file belongs to.
pub(crate) struct FileUser(FileOwner);

impl FileUser {
    pub(crate) fn owner(&self) -> FileOwner {
        self.0
    }
}

fn metadata_from(facts: Facts) -> Metadata {
    Metadata {
        kind: kind(facts.kind),
        modified: Stamp(facts.modified),
        changed: Stamp(facts.changed),
        user: FileUser(match facts.owner {
            Owner::Ours => FileOwner::Ours,
            Owner::Administrators => FileOwner::Administrators,
            Owner::Another(user) => FileOwner::Strangers(user),
        }),
        // There is no mode that could indicate it.
        is_shared: false,
        keeps_owner_out: false,
        is_removed: facts.is_removed,
    }
}

/// Returns the name of a user, and the mode of their file at this path, for people: neither is
/// known here.
pub(crate) fn owner_and_mode(_: &Path, _: u32) -> (Option<String>, Option<u32>) {
    (None, None)
}

fn kind(of: Kind) -> FileKind {
    match of {
        Kind::File => FileKind::File,
        Kind::Directory => FileKind::Directory,
        Kind::Link => FileKind::Symlink,
    }
}

/// Returns true if something is mounted at this path. Here a mount point is a link, and is refused
/// as one.
pub(crate) fn is_mount(_path: &Path) -> Result<bool, Errno> {
    Ok(false)
}

pub(crate) fn mkdir(path: &Path, _mode: u32) -> Result<(), Errno> {
    windows::make_dir(path)
}

/// Creates a new, empty file.
pub(crate) fn createat(dir: &Handle, name: &Path, _mode: u32) -> Result<(), Errno> {
    windows::create_file(dir.as_handle(), name.as_os_str()).map(drop)
}

/// Creates a new, empty file and keeps it open: nobody else can open it for writing.
pub(crate) fn create_and_keep_at(dir: &Handle, name: &Path) -> Result<Handle, Errno> {
    windows::create_file(dir.as_handle(), name.as_os_str())
}

/// Opens a file for writing.
pub(crate) fn open_to_write_at(dir: &Handle, name: &Path) -> Result<Handle, Errno> {
    windows::open_file(dir.as_handle(), name.as_os_str())
}

pub(crate) use createat as create_locally_at;

pub(crate) fn fchmod(_fd: &Handle, _mode: u32) -> Result<(), Errno> {
    Ok(())
}

/// Always fails, since there are no groups. A lock that asks for a group is refused before this
/// call.
pub(crate) fn fchown(_fd: &Handle, _group: u32) -> Result<(), Errno> {
    Err(Errno::NOTSUP)
}

/// Renames a path; never replaces anything here.
pub(crate) fn rename(from: &Path, to: &Path) -> Result<(), Errno> {
    windows::rename_path(from, to)
}

/// Renames a path; refuses to replace anything.
pub(crate) fn rename_new(from: &Path, to: &Path) -> Result<(), Errno> {
    windows::rename_path(from, to)
}

/// Renames an entry within one directory.
pub(crate) fn renameat(dir: &Handle, from: &Path, to: &Path) -> Result<(), Errno> {
    windows::rename_within(dir.as_handle(), from.as_os_str(), to.as_os_str())
}

pub(crate) fn unlink(path: &Path) -> Result<(), Errno> {
    windows::remove_file(None, path)
}

pub(crate) fn unlinkat(dir: &Handle, name: &Path) -> Result<(), Errno> {
    windows::remove_file(Some(dir.as_handle()), name)
}

pub(crate) fn rmdir(path: &Path) -> Result<(), Errno> {
    windows::remove_dir(None, path)
}

pub(crate) fn rmdirat(dir: &Handle, name: &Path) -> Result<(), Errno> {
    windows::remove_dir(Some(dir.as_handle()), name)
}

/// The entries of a directory, without `.` and `..`.
pub(crate) struct Names(windows::Names<Handle>);

impl Names {
    pub(crate) fn of(dir: Handle) -> Result<Names, Errno> {
        Ok(Names(windows::Names::of(dir)))
    }

    /// Lists a directory like [`of`](Names::of), without consuming its handle.
    pub(crate) fn of_open(dir: &Handle) -> Result<Names, Errno> {
        dir.try_clone().map_err(|_| Errno::AGAIN).and_then(Names::of)
    }

    /// Returns the metadata of the directory itself.
    pub(crate) fn about(&self) -> Result<Metadata, Errno> {
        windows::about(self.0.dir()).map(metadata_from)
    }
}

impl Iterator for Names {
    type Item = Result<Found, Errno>;

    fn next(&mut self) -> Option<Result<Found, Errno>> {
        Some(self.0.next()?.map(Found))
    }
}

/// An entry of a directory.
pub(crate) struct Found(Name);

impl Found {
    pub(crate) fn kind(&self) -> FileKind {
        kind(self.0.kind)
    }

    /// Returns its name, if that is valid Unicode.
    pub(crate) fn text(&self) -> Option<&str> {
        self.0.name.to_str()
    }

    pub(crate) fn name(&self) -> OsString {
        self.0.name.clone()
    }

    /// Returns its name for people.
    pub(crate) fn printable(&self) -> String {
        crate::status::printable_bytes(self.0.name.to_string_lossy().as_bytes())
    }
}
