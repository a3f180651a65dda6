//! Metadata of what is at a path, whatever it is.

use std::os::windows::io::AsHandle;
use std::path::Path;

use windows_sys::Wdk::Storage::FileSystem::FILE_OPEN;
use windows_sys::Win32::Storage::FileSystem::{FILE_READ_ATTRIBUTES, READ_CONTROL};

use crate::Errno;
use crate::facts::{Facts, about};
use crate::open::{ALL, How, native, open};

/// Returns the metadata of the thing at a path; for a link, those of the link itself.
///
/// # Errors
/// Errors of the system.
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
