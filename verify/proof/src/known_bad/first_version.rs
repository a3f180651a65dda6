//! The first version of lockbydir: how it locks, and breaks a timed-out lock.
//!
//! It looks at the age of the directory; if it is too old, it calls `rmdir` by its name; then `mkdir`.
//! Between the look and the `rmdir` the directory may have become another holder's, and nothing notices.

use std::{fs, io, path::PathBuf, time::Duration};

use super::{Rival, is_taken};

/// A lock of the first version.
#[derive(Clone, Debug)]
pub struct FirstVersion {
    /// The directory that is the lock.
    pub directory: PathBuf,
    /// The age at which the lock expires.
    pub timeout: Duration,
}

impl Rival for FirstVersion {
    fn try_acquire(&self) -> io::Result<bool> {
        if let Ok(found) = fs::symlink_metadata(&self.directory) {
            if found.modified()?.elapsed().unwrap_or_default() < self.timeout {
                return Ok(false);
            }
            match fs::remove_dir(&self.directory) {
                Err(error) if !is_taken(&error) => return Err(error),
                _ => {}
            }
        }
        match fs::create_dir(&self.directory) {
            Ok(()) => Ok(true),
            Err(error) if is_taken(&error) => Ok(false),
            Err(error) => Err(error),
        }
    }

    fn release(&self) -> io::Result<()> {
        fs::remove_dir(&self.directory)
    }
}
