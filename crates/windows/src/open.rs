//! Opening and making files and directories with the native calls: they take a name relative to an open
//! directory, and distinguish errors that are all "access denied" in Win32. No reparse point is followed
//! in the last part of a path.

use std::ffi::OsStr;
use std::os::windows::ffi::OsStrExt;
use std::os::windows::io::{AsHandle, AsRawHandle, BorrowedHandle, FromRawHandle, OwnedHandle};
use std::path::Path;
use std::ptr::{null, null_mut};
use std::time::{Duration, Instant};

use windows_sys::Wdk::Foundation::OBJECT_ATTRIBUTES;
use windows_sys::Wdk::Storage::FileSystem::{
    FILE_CREATE, FILE_DIRECTORY_FILE, FILE_NON_DIRECTORY_FILE, FILE_OPEN, FILE_OPEN_REPARSE_POINT,
    FILE_SYNCHRONOUS_IO_NONALERT, NtCreateFile,
};
use windows_sys::Win32::Foundation::{HANDLE, OBJ_CASE_INSENSITIVE, UNICODE_STRING};
use windows_sys::Win32::Storage::FileSystem::{
    DELETE, FILE_ATTRIBUTE_NORMAL, FILE_LIST_DIRECTORY, FILE_READ_ATTRIBUTES, FILE_SHARE_DELETE,
    FILE_SHARE_READ, FILE_SHARE_WRITE, FILE_TRAVERSE, FILE_WRITE_DATA, READ_CONTROL, SYNCHRONIZE,
};
use windows_sys::Win32::System::IO::IO_STATUS_BLOCK;

use crate::Errno;
use crate::facts::{Kind, kind, own_name};

/// The purpose for which a directory is opened.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Access {
    /// To list it, and to read its owner.
    List,
    /// To change its contents.
    Change,
}

/// How long a call retries while a thing is open elsewhere. Others may have it open for a moment: a process
/// that is about to change it too, a virus scanner, an indexer.
pub(crate) const RETRY_FOR: Duration = Duration::from_millis(200);
/// How long a move of a directory retries: it fails while any process has a thing within it open.
pub(crate) const RETRY_LONGER_FOR: Duration = Duration::from_secs(2);

/// Repeats a call while it fails with an error that may pass, for up to `limit` after the first one.
pub(crate) fn again<T>(
    limit: Duration,
    is_passing: impl Fn(Errno) -> bool,
    mut call: impl FnMut() -> Result<T, Errno>,
) -> Result<T, Errno> {
    let mut since = None;
    loop {
        match call() {
            Err(errno) if is_passing(errno) => {
                if since.get_or_insert_with(Instant::now).elapsed() > limit {
                    return Err(errno);
                }
                std::thread::sleep(Duration::from_millis(1));
            }
            done => return done,
        }
    }
}

pub(crate) fn is_busy(errno: Errno) -> bool {
    matches!(errno, Errno::BUSY | Errno::GOING)
}

/// Returns an absolute path as the kernel names it: it may have any length, and no part of it means a
/// device.
pub(crate) fn native(path: &Path) -> Result<Vec<u16>, Errno> {
    let path = std::path::absolute(path).map_err(|_| Errno::NAMETOOLONG)?;
    let units: Vec<u16> = path.as_os_str().encode_wide().collect();
    let begins_with = |text: &str| units.iter().copied().take(text.len()).eq(text.encode_utf16());
    let (prefix, rest) = if begins_with(r"\\?\") || begins_with(r"\\.\") {
        (r"\??\", &units[4..])
    } else if begins_with(r"\\") {
        (r"\??\UNC\", &units[2..])
    } else {
        (r"\??\", &units[..])
    };
    Ok(prefix.encode_utf16().chain(rest.iter().copied()).collect())
}

/// The arguments of an open.
pub(crate) struct How {
    pub(crate) rights: u32,
    pub(crate) share: u32,
    pub(crate) disposition: u32,
    pub(crate) options: u32,
}

pub(crate) const ALL: u32 = FILE_SHARE_READ | FILE_SHARE_WRITE | FILE_SHARE_DELETE;

pub(crate) fn open(
    dir: Option<BorrowedHandle<'_>>,
    name: &mut [u16],
    how: &How,
) -> Result<OwnedHandle, Errno> {
    let bytes = u16::try_from(name.len() * 2).map_err(|_| Errno::NAMETOOLONG)?;
    let name = UNICODE_STRING { Length: bytes, MaximumLength: bytes, Buffer: name.as_mut_ptr() };
    let attributes = OBJECT_ATTRIBUTES {
        Length: size_of::<OBJECT_ATTRIBUTES>() as u32,
        RootDirectory: dir.map_or(null_mut(), |dir| dir.as_raw_handle()),
        ObjectName: &name,
        Attributes: OBJ_CASE_INSENSITIVE,
        SecurityDescriptor: null(),
        SecurityQualityOfService: null(),
    };
    let mut handle: HANDLE = null_mut();
    let mut block = IO_STATUS_BLOCK::default();
    // SAFETY: all pointers are valid during the call; there are no extended attributes.
    let status = unsafe {
        NtCreateFile(
            &mut handle,
            how.rights | SYNCHRONIZE,
            &attributes,
            &mut block,
            null(),
            FILE_ATTRIBUTE_NORMAL,
            how.share,
            how.disposition,
            how.options | FILE_SYNCHRONOUS_IO_NONALERT | FILE_OPEN_REPARSE_POINT,
            null(),
            0,
        )
    };
    if status < 0 {
        return Err(Errno::of_status(status));
    }
    // SAFETY: the call returned a handle that nothing else owns.
    Ok(unsafe { OwnedHandle::from_raw_handle(handle) })
}

fn open_at(dir: BorrowedHandle<'_>, name: &OsStr, how: &How) -> Result<OwnedHandle, Errno> {
    let mut name: Vec<u16> = name.encode_wide().collect();
    // A separator would lead to another directory, a colon to a stream.
    if name.is_empty() || name.iter().any(|unit| [0, 0x2F, 0x3A, 0x5C].contains(unit)) {
        return Err(Errno::NAMETOOLONG);
    }
    open(Some(dir), &mut name, how)
}

pub(crate) fn opened(
    dir: Option<BorrowedHandle<'_>>,
    path: &Path,
    how: &How,
) -> Result<OwnedHandle, Errno> {
    match dir {
        Some(dir) => open_at(dir, path.as_os_str(), how),
        None => open(None, &mut native(path)?, how),
    }
}

/// Opens a directory that is not a link.
///
/// # Errors
/// [`Errno::LOOP`] when it is a link, [`Errno::NOTDIR`] when it is a file.
pub fn open_dir(
    dir: Option<BorrowedHandle<'_>>,
    path: &Path,
    access: Access,
) -> Result<OwnedHandle, Errno> {
    let rights = match access {
        Access::List => FILE_LIST_DIRECTORY | FILE_TRAVERSE | FILE_READ_ATTRIBUTES | READ_CONTROL,
        Access::Change => FILE_TRAVERSE | FILE_READ_ATTRIBUTES,
    };
    let how = How { rights, share: ALL, disposition: FILE_OPEN, options: FILE_DIRECTORY_FILE };
    let found = again(RETRY_FOR, is_busy, || opened(dir, path, &how))?;
    no_link(found)
}

pub(crate) fn no_link(found: OwnedHandle) -> Result<OwnedHandle, Errno> {
    match kind(found.as_handle())? {
        Kind::Link => Err(Errno::LOOP),
        _ => Ok(found),
    }
}

/// Makes a new directory, with the permissions that it inherits from its folder.
///
/// # Errors
/// [`Errno::EXIST`] when the name is taken.
pub fn make_dir(path: &Path) -> Result<(), Errno> {
    let how = How {
        rights: FILE_READ_ATTRIBUTES,
        share: ALL,
        disposition: FILE_CREATE,
        options: FILE_DIRECTORY_FILE,
    };
    again(RETRY_FOR, is_busy, || open(None, &mut native(path)?, &how)).map(drop)
}

/// Makes a new, empty file and opens it to write. As long as it is open, no other process can open it to
/// write.
///
/// # Errors
/// [`Errno::EXIST`] when the name is taken.
pub fn create_file(dir: BorrowedHandle<'_>, name: &OsStr) -> Result<OwnedHandle, Errno> {
    let how = How {
        rights: FILE_WRITE_DATA | FILE_READ_ATTRIBUTES,
        share: FILE_SHARE_READ | FILE_SHARE_DELETE,
        disposition: FILE_CREATE,
        options: FILE_NON_DIRECTORY_FILE,
    };
    open_at(dir, name, &how)
}

/// Opens a file in this directory to write.
///
/// # Errors
/// [`Errno::BUSY`] when a process has it open and lets no other write.
pub fn open_file(dir: BorrowedHandle<'_>, name: &OsStr) -> Result<OwnedHandle, Errno> {
    let how = |rights| How {
        rights,
        share: ALL,
        disposition: FILE_OPEN,
        options: FILE_NON_DIRECTORY_FILE,
    };
    open_at(dir, name, &how(FILE_WRITE_DATA)).map_err(|errno| {
        // A removed file may still be open and not shared. An open that only reads attributes is always
        // shared, so it distinguishes that case.
        match open_at(dir, name, &how(FILE_READ_ATTRIBUTES)) {
            Err(gone @ (Errno::NOENT | Errno::GOING)) => gone,
            _ => errno,
        }
    })
}

/// Opens a file so that no other process can move or remove it meanwhile, and checks that it still has this
/// name. Windows renames the file that a handle stands for, whatever its name is by then: without the
/// check, two processes that rename the same name at once would both succeed.
pub(crate) fn seize(dir: BorrowedHandle<'_>, name: &OsStr) -> Result<OwnedHandle, Errno> {
    let how = How {
        rights: DELETE | FILE_READ_ATTRIBUTES,
        share: FILE_SHARE_READ | FILE_SHARE_WRITE,
        disposition: FILE_OPEN,
        options: FILE_NON_DIRECTORY_FILE,
    };
    let seized = again(RETRY_FOR, |errno| errno == Errno::BUSY, || open_at(dir, name, &how))?;
    if own_name(seized.as_handle())? == name { Ok(seized) } else { Err(Errno::NOENT) }
}
