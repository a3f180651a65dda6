//! Metadata of open files and directories.

use std::ffi::OsString;
use std::os::windows::ffi::OsStringExt;
use std::os::windows::io::{AsRawHandle, BorrowedHandle};
use std::path::PathBuf;

use windows_sys::Wdk::Storage::FileSystem::{
    FILE_INFORMATION_CLASS, FileAttributeTagInformation, FileBasicInformation, FileNameInformation,
    FileStandardInformation, NtQueryInformationFile,
};
use windows_sys::Win32::Storage::FileSystem::{
    FILE_ATTRIBUTE_DIRECTORY, FILE_ATTRIBUTE_REPARSE_POINT, FILE_ATTRIBUTE_TAG_INFO,
    FILE_BASIC_INFO, FILE_STANDARD_INFO, GetFinalPathNameByHandleW,
};
use windows_sys::Win32::System::IO::IO_STATUS_BLOCK;

use crate::{Errno, Owner};

/// The kind of a thing in the file system.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// A file.
    File,
    /// A directory.
    Directory,
    /// A symbolic link, a junction, a mount point: a name for something elsewhere.
    Link,
}

/// Metadata of a file or directory.
#[derive(Clone, Copy, Debug)]
pub struct Facts {
    /// Its kind.
    pub kind: Kind,
    /// When it was last written to, in nanoseconds since 1970; programs can set this.
    pub modified: i128,
    /// When it was last changed in any way, in nanoseconds since 1970. On a file system without such a time
    /// (FAT), when it was last written to.
    pub changed: i128,
    /// Its owner.
    pub owner: Owner,
    /// Whether it has no name any more, or loses it when it is closed.
    pub is_removed: bool,
}

impl Kind {
    /// Returns the kind of a thing with these attributes and, for a reparse point, this tag.
    pub(crate) fn of(attributes: u32, tag: u32) -> Kind {
        /// The bit of a tag that marks a name surrogate: a name for something elsewhere.
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

/// Queries the kernel about an open file. The result is the structure that belongs to this class.
///
/// # Safety
/// `T` must be the structure of the class, and any bytes must be a valid `T`.
unsafe fn ask<T: Default>(
    file: BorrowedHandle<'_>,
    class: FILE_INFORMATION_CLASS,
) -> Result<T, Errno> {
    let mut information = T::default();
    let mut block = IO_STATUS_BLOCK::default();
    // SAFETY: there is room for the structure.
    let status = unsafe {
        NtQueryInformationFile(
            file.as_raw_handle(),
            &mut block,
            (&raw mut information).cast(),
            size_of::<T>() as u32,
            class,
        )
    };
    if status < 0 { Err(Errno::of_status(status)) } else { Ok(information) }
}

pub(crate) fn kind(file: BorrowedHandle<'_>) -> Result<Kind, Errno> {
    // SAFETY: this is the structure of this class.
    let tag: FILE_ATTRIBUTE_TAG_INFO = unsafe { ask(file, FileAttributeTagInformation) }?;
    Ok(Kind::of(tag.FileAttributes, tag.ReparseTag))
}

/// Returns the present name of an open file: the last part of its path.
pub(crate) fn own_name(file: BorrowedHandle<'_>) -> Result<OsString, Errno> {
    let mut buffer = vec![0_u64; 16 * 1024];
    let mut block = IO_STATUS_BLOCK::default();
    let length = u32::try_from(buffer.len() * 8).unwrap_or(u32::MAX);
    // SAFETY: the buffer has this size.
    let status = unsafe {
        NtQueryInformationFile(
            file.as_raw_handle(),
            &mut block,
            buffer.as_mut_ptr().cast(),
            length,
            FileNameInformation,
        )
    };
    if status < 0 {
        return Err(Errno::of_status(status));
    }
    // The buffer contains the length in bytes, then the path.
    let start = buffer.as_ptr().cast::<u16>();
    // SAFETY: both are within the buffer: a path has 65,534 bytes at most.
    let path = unsafe {
        let length = (*buffer.as_ptr().cast::<u32>()).min(length - 8) as usize / 2;
        std::slice::from_raw_parts(start.add(2), length)
    };
    let last = path.rsplit(|unit| *unit == 0x5C).next().unwrap_or_default();
    Ok(OsString::from_wide(last))
}

/// Returns the metadata of an open file or directory.
///
/// # Errors
/// Errors of the system.
pub fn about(file: BorrowedHandle<'_>) -> Result<Facts, Errno> {
    /// Units of 100 ns from 1601 to 1970.
    const EPOCH: i128 = 116_444_736_000_000_000;
    let since_1970 = |units| (i128::from(units) - EPOCH) * 100;
    // SAFETY: these are the structures of these classes.
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

/// Returns the path of an open directory, independent of the name that it was opened by.
///
/// # Errors
/// Errors of the system.
pub fn final_path(dir: BorrowedHandle<'_>) -> Result<PathBuf, Errno> {
    let mut path = vec![0_u16; 33 * 1024];
    let room = u32::try_from(path.len()).unwrap_or(0);
    // SAFETY: the buffer has this size.
    let length =
        unsafe { GetFinalPathNameByHandleW(dir.as_raw_handle(), path.as_mut_ptr(), room, 0) };
    match path.get(..length as usize) {
        Some(path) if length > 0 => Ok(OsString::from_wide(path).into()),
        _ => Err(Errno::last()),
    }
}
