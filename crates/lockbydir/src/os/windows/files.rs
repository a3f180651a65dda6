//! Files. Permissions come from the folder: a mode says only whether the lock is shared on purpose.

use std::ffi::{OsStr, OsString};
use std::io;
use std::os::windows::io::{AsHandle, OwnedHandle};
use std::path::{Path, PathBuf};

use lockbydir_protocol::{Fault, Stamp};
use lockbydir_windows::{self as windows, Access, Facts, Kind, Name, Owner};

use crate::os::{FileKind, FileOwner, FileSystem, LONGEST_NAME, Metadata};

pub use lockbydir_windows::Errno;

/// An open file or directory.
pub(crate) type Handle = OwnedHandle;

/// The error number of a thing that is taken, for people: "the directory is not empty".
pub(crate) const NOT_PERMITTED: i32 = -1;
pub(crate) const TAKEN: i32 = 145;

/// The error number of a name that is too long.
pub(crate) const NAME_TOO_LONG: i32 = 206;

/// Can files be given to a group?
pub(crate) const HAS_GROUPS: bool = false;

/// Why no lock's name can end in this part.
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

/// What this error is to the protocol.
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

/// Is it an error of a file system that has no such call?
pub(crate) fn is_no_such_call(errno: Errno) -> bool {
    matches!(errno, Errno::INVAL | Errno::NOTSUP)
}

/// Is it an error of a process, a user or a system that has no more handles, watches or memory?
pub(crate) fn is_exhausted(errno: Errno) -> bool {
    matches!(errno, Errno::MFILE | Errno::NOMEM | Errno::NOSPC)
}

pub(crate) fn errno_of(error: &io::Error) -> Option<Errno> {
    error.raw_os_error().map(Errno::from_raw_os_error)
}

/// What the file system of this folder is like. The names of all that Windows has are of 254
/// characters at least.
pub(crate) fn file_system_of(folder: &Path) -> FileSystem {
    FileSystem { is_local: is_local(folder), longest_name: LONGEST_NAME }
}

/// Does this kernel alone own the file system: whoever wrote there under another boot is dead?
pub(crate) fn is_local(folder: &Path) -> bool {
    windows::is_local(folder)
}

/// A directory, to list what is in it.
pub(crate) fn open_to_list(path: &Path) -> Result<Handle, Errno> {
    windows::open_dir(None, path, Access::List)
}

pub(crate) fn open_to_list_at(dir: &Handle, name: &Path) -> Result<Handle, Errno> {
    windows::open_dir(Some(dir.as_handle()), name, Access::List)
}

/// A directory, to change what is in it.
pub(crate) fn open_to_change(path: &Path) -> Result<Handle, Errno> {
    windows::open_dir(None, path, Access::Change)
}

/// A folder, to walk through it; it may be a link.
pub(crate) fn open_folder(path: &Path) -> Result<Handle, Errno> {
    match open_to_list(path) {
        Err(Errno::LOOP) => {
            let real = std::fs::canonicalize(path).map_err(|_| Errno::LOOP)?;
            open_to_list(&real)
        }
        done => done,
    }
}

/// A folder in this one, which is no link.
pub(crate) fn open_folder_at(dir: &Handle, name: &OsStr) -> Result<Handle, Errno> {
    open_to_list_at(dir, name.as_ref())
}

/// A path to what is in this directory, whatever it was opened by.
pub(crate) fn path_in(dir: &Handle, name: &OsStr) -> PathBuf {
    // Without a path nothing is found, and so nothing removed.
    windows::final_path(dir.as_handle()).unwrap_or_default().join(name)
}

/// Of a link itself.
pub(crate) fn about_path(path: &Path) -> Result<Metadata, Errno> {
    windows::about_path(path).map(told)
}

pub(crate) fn about(fd: &Handle) -> Result<Metadata, Errno> {
    windows::about(fd.as_handle()).map(told)
}

fn told(facts: Facts) -> Metadata {
    Metadata {
        kind: kind(facts.kind),
        modified: Stamp(facts.modified),
        changed: Stamp(facts.changed),
        owner: match facts.owner {
            Owner::Ours => FileOwner::Ours,
            Owner::Administrators => FileOwner::Administrators,
            Owner::Another(user) => FileOwner::Strangers(user),
        },
        // There is no mode that could say so.
        is_shared: false,
        keeps_owner_out: false,
        is_removed: facts.is_removed,
    }
}

/// The name of a user, and the mode of what they own there, for people: neither is known here.
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

/// Is something mounted just there? Such a thing is a link here, and refused as one.
pub(crate) fn is_mount(_path: &Path) -> Result<bool, Errno> {
    Ok(false)
}

pub(crate) fn mkdir(path: &Path, _mode: u32) -> Result<(), Errno> {
    windows::make_dir(path)
}

/// A new, empty file.
pub(crate) fn createat(dir: &Handle, name: &Path, _mode: u32) -> Result<(), Errno> {
    windows::create_file(dir.as_handle(), name.as_os_str()).map(drop)
}

/// The same, kept open: nobody else can open it to write.
pub(crate) fn create_and_keep_at(dir: &Handle, name: &Path) -> Result<Handle, Errno> {
    windows::create_file(dir.as_handle(), name.as_os_str())
}

/// Opens a file to write.
pub(crate) fn open_to_write_at(dir: &Handle, name: &Path) -> Result<Handle, Errno> {
    windows::open_file(dir.as_handle(), name.as_os_str())
}

pub(crate) fn fchmod(_fd: &Handle, _mode: u32) -> Result<(), Errno> {
    Ok(())
}

/// There are no groups: no lock that asks for one gets so far.
pub(crate) fn fchown(_fd: &Handle, _group: u32) -> Result<(), Errno> {
    Err(Errno::NOTSUP)
}

/// Never replaces anything here.
pub(crate) fn rename(from: &Path, to: &Path) -> Result<(), Errno> {
    windows::rename_path(from, to)
}

/// Refuses to replace anything.
pub(crate) fn rename_new(from: &Path, to: &Path) -> Result<(), Errno> {
    windows::rename_path(from, to)
}

/// Within one directory.
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

/// What is in a directory but itself and its parent.
pub(crate) struct Names(windows::Names<Handle>);

impl Names {
    pub(crate) fn of(dir: Handle) -> Result<Names, Errno> {
        Ok(Names(windows::Names::of(dir)))
    }

    /// The same, of a handle that is needed further.
    pub(crate) fn of_open(dir: &Handle) -> Result<Names, Errno> {
        dir.try_clone().map_err(|_| Errno::AGAIN).and_then(Names::of)
    }

    /// Of the directory itself.
    pub(crate) fn about(&self) -> Result<Metadata, Errno> {
        windows::about(self.0.dir()).map(told)
    }
}

impl Iterator for Names {
    type Item = Result<Found, Errno>;

    fn next(&mut self) -> Option<Result<Found, Errno>> {
        Some(self.0.next()?.map(Found))
    }
}

/// One of them.
pub(crate) struct Found(Name);

impl Found {
    pub(crate) fn kind(&self) -> FileKind {
        kind(self.0.kind)
    }

    /// Its name, where that is text.
    pub(crate) fn text(&self) -> Option<&str> {
        self.0.name.to_str()
    }

    pub(crate) fn name(&self) -> OsString {
        self.0.name.clone()
    }

    /// For people.
    pub(crate) fn printable(&self) -> String {
        crate::status::printable_bytes(self.0.name.to_string_lossy().as_bytes())
    }
}
