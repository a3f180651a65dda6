//! The lock file of many shell scripts: "stat, then unlink, then `O_EXCL`".
//!
//! The file is made with `O_CREAT|O_EXCL`. If it is there and older than the timeout, it is unlinked and
//! made again. Between the look and the unlink the file may have become another holder's.

use std::{
    fs::{self, OpenOptions},
    io,
    path::PathBuf,
    time::Duration,
};

use super::{Rival, is_taken};

/// A lock file with an age.
#[derive(Clone, Debug)]
pub struct StatUnlink {
    /// The file that is the lock.
    pub file: PathBuf,
    /// The age from which on it counts as left behind.
    pub timeout: Duration,
}

impl Rival for StatUnlink {
    fn try_acquire(&self) -> io::Result<bool> {
        match fs::symlink_metadata(&self.file) {
            Ok(found) if found.modified()?.elapsed().unwrap_or_default() < self.timeout => {
                return Ok(false);
            }
            Ok(_) => match fs::remove_file(&self.file) {
                Err(error) if !is_taken(&error) => return Err(error),
                _ => {}
            },
            Err(_) => {}
        }
        match OpenOptions::new().write(true).create_new(true).open(&self.file) {
            Ok(_) => Ok(true),
            Err(error) if is_taken(&error) => Ok(false),
            Err(error) => Err(error),
        }
    }

    fn release(&self) -> io::Result<()> {
        fs::remove_file(&self.file)
    }
}
