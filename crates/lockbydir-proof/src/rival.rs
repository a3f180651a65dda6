//! The rival: how the first version of lockbydir locks and breaks a timed-out lock.
//!
//! Look at the age of the directory; too old: `rmdir` it, by its name; then `mkdir`. Between the
//! look and the `rmdir` the directory may have become another holder's, and nothing notices. It is
//! here so that a test which passes for our lock can be shown to fail for this one.

use std::{fs, io, path::Path, time::Duration};

/// One try to lock: true if `directory` was made by this very call.
///
/// # Errors
/// Everything but "it is locked", or was just a moment ago.
pub fn try_acquire(directory: &Path, timeout: Duration) -> io::Result<bool> {
    if let Ok(found) = fs::symlink_metadata(directory) {
        if found.modified()?.elapsed().unwrap_or_default() < timeout {
            return Ok(false);
        }
        match fs::remove_dir(directory) {
            Ok(()) => {}
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            Err(error) => return Err(error),
        }
    }
    match fs::create_dir(directory) {
        Ok(()) => Ok(true),
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => Ok(false),
        Err(error) => Err(error),
    }
}

/// Unlocks: `rmdir` by the name, whoever made it.
///
/// # Errors
/// Those of `rmdir`.
pub fn release(directory: &Path) -> io::Result<()> {
    fs::remove_dir(directory)
}
