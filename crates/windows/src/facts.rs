//! What is known of a file or directory that is open.

use std::ffi::OsString;
use std::os::windows::ffi::OsStringExt;
use std::os::windows::io::{AsHandle, AsRawHandle, BorrowedHandle};
use std::path::{Path, PathBuf};

use windows_sys::Wdk::Storage::FileSystem::{
    FILE_INFORMATION_CLASS, FILE_OPEN, FileAttributeTagInformation, FileBasicInformation,
    FileNameInformation, FileStandardInformation, NtQueryInformationFile,
};
use windows_sys::Win32::Storage::FileSystem::{
    FILE_ATTRIBUTE_DIRECTORY, FILE_ATTRIBUTE_REPARSE_POINT, FILE_ATTRIBUTE_TAG_INFO,
    FILE_BASIC_INFO, FILE_READ_ATTRIBUTES, FILE_STANDARD_INFO, GetFinalPathNameByHandleW,
    READ_CONTROL,
};
use windows_sys::Win32::System::IO::IO_STATUS_BLOCK;

use crate::open::{ALL, How, native, open};
use crate::{Errno, Owner};

/// What kind of thing it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// A file.
    File,
    /// A directory.
    Directory,
    /// A symbolic link, a junction, a mount point: a name for something elsewhere.
    Link,
}

/// What is known of a file or directory.
#[derive(Clone, Copy, Debug)]
pub struct Facts {
    /// What it is.
    pub kind: Kind,
    /// When it was last written to, in nanoseconds since 1970; programs set this.
    pub modified: i128,
    /// When it was last changed in any way, in nanoseconds since 1970. Where the file system has no
    /// such time (FAT), when it was last written to.
    pub changed: i128,
    /// Whom it belongs to.
    pub owner: Owner,
    /// Has it no name any more, or loses it when it is closed?
    pub is_removed: bool,
}

impl Kind {
    /// Of a thing with these attributes; of a reparse point, with this tag.
    pub(crate) fn of(attributes: u32, tag: u32) -> Kind {
        /// The bit of a tag that says so.
        const IS_ANOTHER_NAME: u32 = 0x2000_0000;
        let is = |attribute| attributes & attribute != 0;
        if is(FILE_ATTRIBUTE_REPARSE_POINT) && tag & IS_ANOTHER_NAME != 0 {
            Kind::Link
        } else if is(FILE_ATTRIBUTE_DIRECTORY) {
            Kind::Directory
        } else {
            Kind::File
        }
    }
}

/// What the kernel tells of an open file, as the structure that belongs to this class.
///
/// # Safety
/// The structure must be the one of the class, and any bytes must be one.
unsafe fn ask<T: Default>(
    file: BorrowedHandle<'_>,
    class: FILE_INFORMATION_CLASS,
) -> Result<T, Errno> {
    let mut told = T::default();
    let mut block = IO_STATUS_BLOCK::default();
    // SAFETY: there is room for the structure.
    let status = unsafe {
        NtQueryInformationFile(
            file.as_raw_handle(),
            &mut block,
            (&raw mut told).cast(),
            size_of::<T>() as u32,
            class,
        )
    };
    if status < 0 { Err(Errno::of_status(status)) } else { Ok(told) }
}

pub(crate) fn kind(file: BorrowedHandle<'_>) -> Result<Kind, Errno> {
    // SAFETY: it is the structure of this class.
    let tag: FILE_ATTRIBUTE_TAG_INFO = unsafe { ask(file, FileAttributeTagInformation) }?;
    Ok(Kind::of(tag.FileAttributes, tag.ReparseTag))
}

/// The name that an open file has now: the last part of its path.
pub(crate) fn own_name(file: BorrowedHandle<'_>) -> Result<OsString, Errno> {
    let mut told = vec![0_u64; 16 * 1024];
    let mut block = IO_STATUS_BLOCK::default();
    let length = u32::try_from(told.len() * 8).unwrap_or(u32::MAX);
    // SAFETY: there is so much room.
    let status = unsafe {
        NtQueryInformationFile(
            file.as_raw_handle(),
            &mut block,
            told.as_mut_ptr().cast(),
            length,
            FileNameInformation,
        )
    };
    if status < 0 {
        return Err(Errno::of_status(status));
    }
    // First its length in bytes, then the path.
    let start = told.as_ptr().cast::<u16>();
    // SAFETY: both are within what there is room for: a path has 65,534 bytes at most.
    let path = unsafe {
        let length = (*told.as_ptr().cast::<u32>()).min(length - 8) as usize / 2;
        std::slice::from_raw_parts(start.add(2), length)
    };
    let last = path.rsplit(|unit| *unit == 0x5C).next().unwrap_or_default();
    Ok(OsString::from_wide(last))
}

/// What is known of an open file or directory.
///
/// # Errors
/// Those of the system.
pub fn about(file: BorrowedHandle<'_>) -> Result<Facts, Errno> {
    /// Units of 100 ns from 1601 to 1970.
    const EPOCH: i128 = 116_444_736_000_000_000;
    let since_1970 = |units| (i128::from(units) - EPOCH) * 100;
    // SAFETY: they are the structures of these classes.
    let (times, names): (FILE_BASIC_INFO, FILE_STANDARD_INFO) =
        unsafe { (ask(file, FileBasicInformation)?, ask(file, FileStandardInformation)?) };
    Ok(Facts {
        kind: kind(file)?,
        modified: since_1970(times.LastWriteTime),
        changed: since_1970(match times.ChangeTime {
            0 => times.LastWriteTime,
            changed => changed,
        }),
        owner: Owner::of(file),
        is_removed: names.DeletePending || names.NumberOfLinks == 0,
    })
}

/// The same by its path; of a link itself.
///
/// # Errors
/// Those of the system.
pub fn about_path(path: &Path) -> Result<Facts, Errno> {
    let how = |rights| How { rights, share: ALL, disposition: FILE_OPEN, options: 0 };
    let mut name = native(path)?;
    let full = open(None, &mut name, &how(FILE_READ_ATTRIBUTES | READ_CONTROL));
    let found = match full {
        Err(Errno::ACCESS) => open(None, &mut name, &how(FILE_READ_ATTRIBUTES)),
        full => full,
    };
    about(found?.as_handle())
}

/// The path of an open directory, whatever it was opened by.
///
/// # Errors
/// Those of the system.
pub fn final_path(dir: BorrowedHandle<'_>) -> Result<PathBuf, Errno> {
    let mut path = vec![0_u16; 33 * 1024];
    let room = u32::try_from(path.len()).unwrap_or(0);
    // SAFETY: there is so much room.
    let length =
        unsafe { GetFinalPathNameByHandleW(dir.as_raw_handle(), path.as_mut_ptr(), room, 0) };
    match path.get(..length as usize) {
        Some(path) if length > 0 => Ok(OsString::from_wide(path).into()),
        _ => Err(Errno::last()),
    }
}
