//! The contents of a directory.

use std::ffi::OsString;
use std::os::windows::ffi::OsStringExt;
use std::os::windows::io::{AsHandle, AsRawHandle, BorrowedHandle};

use windows_sys::Win32::Storage::FileSystem::{
    FILE_ID_BOTH_DIR_INFO, FileIdBothDirectoryInfo, FileIdBothDirectoryRestartInfo,
    GetFileInformationByHandleEx,
};

use crate::Errno;
use crate::facts::Kind;

/// An iterator over the contents of a directory, without itself and its parent.
#[derive(Debug)]
pub struct Names<D> {
    dir: D,
    buffer: Vec<u64>,
    is_begun: bool,
    /// The offset of the next entry in the buffer; `None` when the buffer must be filled again.
    at: Option<usize>,
}

/// An entry of a directory.
#[derive(Debug)]
pub struct Name {
    /// Its name.
    pub name: OsString,
    /// What it is.
    pub kind: Kind,
}

impl<D: AsHandle> Names<D> {
    /// Lists a directory that was opened to be listed. A handle can be listed only once.
    pub fn of(dir: D) -> Names<D> {
        Names { dir, buffer: vec![0; 1024], is_begun: false, at: None }
    }

    /// The directory.
    pub fn dir(&self) -> BorrowedHandle<'_> {
        self.dir.as_handle()
    }
}

impl<D: AsHandle> Iterator for Names<D> {
    type Item = Result<Name, Errno>;

    fn next(&mut self) -> Option<Result<Name, Errno>> {
        loop {
            let at = match self.at {
                Some(at) => at,
                None => match self.ask() {
                    Ok(()) => 0,
                    Err(Errno(18)) => return None,
                    Err(errno) => return Some(Err(errno)),
                },
            };
            let name_at = at + std::mem::offset_of!(FILE_ID_BOTH_DIR_INFO, FileName);
            let room = self.buffer.len() * 8;
            if name_at > room {
                return None;
            }
            let start = self.buffer.as_ptr();
            // SAFETY: the kernel puts whole structures into the buffer, each aligned to 8 bytes, and
            // its name behind it; a length that would lead out of the buffer is cut.
            let (next, tag, attributes, name) = unsafe {
                let one = start.byte_add(at).cast::<FILE_ID_BOTH_DIR_INFO>();
                let length = ((*one).FileNameLength as usize).min(room - name_at) / 2;
                let name =
                    std::slice::from_raw_parts(start.byte_add(name_at).cast::<u16>(), length);
                // For a reparse point this size field contains its tag.
                ((*one).NextEntryOffset as usize, (*one).EaSize, (*one).FileAttributes, name)
            };
            self.at = (next > 0).then_some(at + next);
            let name = OsString::from_wide(name);
            if name == "." || name == ".." {
                continue;
            }
            let kind = Kind::of(attributes, tag);
            return Some(Ok(Name { name, kind }));
        }
    }
}

impl<D: AsHandle> Names<D> {
    fn ask(&mut self) -> Result<(), Errno> {
        let class =
            if self.is_begun { FileIdBothDirectoryInfo } else { FileIdBothDirectoryRestartInfo };
        self.is_begun = true;
        let room = u32::try_from(self.buffer.len() * 8).unwrap_or(0);
        // SAFETY: the buffer has this size, and is aligned for the structure.
        let done = unsafe {
            GetFileInformationByHandleEx(
                self.dir.as_handle().as_raw_handle(),
                class,
                self.buffer.as_mut_ptr().cast(),
                room,
            )
        };
        if done == 0 { Err(Errno::last()) } else { Ok(()) }
    }
}
