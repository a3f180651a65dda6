//! Renaming and removing: of all processes that change the same name, exactly one succeeds.

use std::ffi::OsStr;
use std::os::windows::ffi::OsStrExt;
use std::os::windows::io::{AsHandle, AsRawHandle, BorrowedHandle, OwnedHandle};
use std::path::Path;
use std::ptr::null_mut;

use windows_sys::Wdk::Storage::FileSystem::{
    FILE_DIRECTORY_FILE, FILE_DISPOSITION_DELETE, FILE_DISPOSITION_POSIX_SEMANTICS,
    FILE_INFORMATION_CLASS, FILE_OPEN, FILE_RENAME_INFORMATION, FileDispositionInformation,
    FileRenameInformation, NtSetInformationFile,
};
use windows_sys::Win32::Storage::FileSystem::{DELETE, FILE_READ_ATTRIBUTES};
use windows_sys::Win32::System::IO::IO_STATUS_BLOCK;

use crate::Errno;
use crate::about_path::about_path;
use crate::open::{
    ALL, Access, How, RETRY_FOR, RETRY_LONGER_FOR, again, is_busy, native, no_link, open, open_dir,
    opened, seize,
};

/// Renames a file within a directory, without replacing anything. Of all processes that rename the same
/// name, exactly one succeeds.
///
/// # Errors
/// [`Errno::NOENT`] when it does not exist (any more), [`Errno::EXIST`] when the other name is taken,
/// [`Errno::BUSY`] when a process keeps it open and does not share it.
pub fn rename_within(dir: BorrowedHandle<'_>, from: &OsStr, to: &OsStr) -> Result<(), Errno> {
    let seized = seize(dir, from).map_err(gone)?;
    rename(seized.as_handle(), Some(dir), &to.encode_wide().collect::<Vec<_>>())
}

/// Renames a directory (not a link), without replacing anything.
///
/// # Errors
/// As for [`rename_within`]; [`Errno::ACCESS`] also when a process keeps a thing within it open.
pub fn rename_path(from: &Path, to: &Path) -> Result<(), Errno> {
    let how = How {
        rights: DELETE | FILE_READ_ATTRIBUTES,
        share: ALL,
        disposition: FILE_OPEN,
        options: FILE_DIRECTORY_FILE,
    };
    let target = native(to)?;
    again(
        RETRY_LONGER_FOR,
        |errno| errno == Errno::ACCESS,
        || {
            let found = again(RETRY_FOR, is_busy, || open(None, &mut native(from)?, &how))?;
            match rename(no_link(found)?.as_handle(), None, &target) {
                // Some file systems report a taken name like this.
                Err(Errno::ACCESS) if about_path(to).is_ok() => Err(Errno::EXIST),
                done => done,
            }
        },
    )
}

fn rename(
    file: BorrowedHandle<'_>,
    dir: Option<BorrowedHandle<'_>>,
    to: &[u16],
) -> Result<(), Errno> {
    let at = std::mem::offset_of!(FILE_RENAME_INFORMATION, FileName);
    let length = (at + to.len() * 2).max(size_of::<FILE_RENAME_INFORMATION>());
    let mut buffer = vec![0_u64; length.div_ceil(8)];
    let information = buffer.as_mut_ptr().cast::<FILE_RENAME_INFORMATION>();
    let bytes = u32::try_from(to.len() * 2).map_err(|_| Errno::NAMETOOLONG)?;
    // SAFETY: the buffer has room for the structure and for the whole name behind it. Its zeros mean
    // that nothing is replaced.
    unsafe {
        (*information).RootDirectory = dir.map_or(null_mut(), |dir| dir.as_raw_handle());
        (*information).FileNameLength = bytes;
        let name = buffer.as_mut_ptr().byte_add(at).cast::<u16>();
        std::ptr::copy_nonoverlapping(to.as_ptr(), name, to.len());
    }
    set(file, FileRenameInformation, &buffer, length)
}

/// Removes a file. Of all processes that remove or rename the same name, exactly one succeeds.
///
/// # Errors
/// As for [`rename_within`].
pub fn remove_file(dir: Option<BorrowedHandle<'_>>, path: &Path) -> Result<(), Errno> {
    let parent;
    let (dir, name) = match (dir, path.parent(), path.file_name()) {
        (Some(dir), ..) => (dir, path.as_os_str()),
        (None, Some(folder), Some(name)) => {
            parent = open_dir(None, folder, Access::Change)?;
            (parent.as_handle(), name)
        }
        _ => return Err(Errno::NOENT),
    };
    remove(seize(dir, name).map_err(gone)?)
}

/// Maps `GOING` to `NOENT`: a file whose removal is pending counts as removed.
fn gone(errno: Errno) -> Errno {
    if errno == Errno::GOING { Errno::NOENT } else { errno }
}

/// Removes an empty directory that is not a link.
///
/// # Errors
/// [`Errno::NOTEMPTY`] when it is not empty.
pub fn remove_dir(dir: Option<BorrowedHandle<'_>>, path: &Path) -> Result<(), Errno> {
    let how = How {
        rights: DELETE | FILE_READ_ATTRIBUTES,
        share: ALL,
        disposition: FILE_OPEN,
        options: FILE_DIRECTORY_FILE,
    };
    let found = again(RETRY_FOR, |errno| errno == Errno::BUSY, || opened(dir, path, &how));
    match no_link(found.map_err(gone)?) {
        Err(Errno::LOOP) => Err(Errno::NOTDIR),
        found => remove(found?),
    }
}

fn remove(file: OwnedHandle) -> Result<(), Errno> {
    /// `FileDispositionInformationEx`, which `windows-sys` does not name here; it exists since Windows 10.
    const DISPOSITION_EX: FILE_INFORMATION_CLASS = 64;
    // The name is free at once, even if others have the file open.
    let flags = u64::from(FILE_DISPOSITION_DELETE | FILE_DISPOSITION_POSIX_SEMANTICS);
    match set(file.as_handle(), DISPOSITION_EX, &[flags], 4) {
        // An older system, or a file system without this: the name is free when all have closed the file.
        Err(Errno::INVAL | Errno::NOTSUP | Errno(1) | Errno(120)) => {
            set(file.as_handle(), FileDispositionInformation, &[1], 1)
        }
        done => done,
    }
}

fn set(
    file: BorrowedHandle<'_>,
    class: FILE_INFORMATION_CLASS,
    buffer: &[u64],
    length: usize,
) -> Result<(), Errno> {
    let mut block = IO_STATUS_BLOCK::default();
    let length = u32::try_from(length.min(buffer.len() * 8)).map_err(|_| Errno::NAMETOOLONG)?;
    // SAFETY: the buffer has at least this length, and is aligned for any structure.
    let status = unsafe {
        NtSetInformationFile(
            file.as_raw_handle(),
            &mut block,
            buffer.as_ptr().cast(),
            length,
            class,
        )
    };
    if status < 0 { Err(Errno::of_status(status)) } else { Ok(()) }
}
