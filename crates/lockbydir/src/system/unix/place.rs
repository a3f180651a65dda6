//! What a place is like: who may change it, and a call that only `doctor` tries. What kind of file
//! system it is, each Unix tells in its own way.

use std::os::unix::fs::MetadataExt;
use std::path::Path;

use rustix::fs::{self, FlockOperation, Mode, OFlags};

use super::files::told;
use super::{Errno, Handle};
use crate::system::Trust;

/// Who may move what is in a folder, as its owner and mode say.
pub(crate) fn trust(folder: &Path) -> Result<Trust, Errno> {
    let owner = told(&fs::stat(folder)?).owner;
    let known = std::fs::metadata(folder).map_err(|_| Errno::IO)?;
    let mode = known.mode() & 0o7777;
    Ok(Trust { owner, mode: Some(mode), is_lawless: mode & 0o1002 == 0o002 })
}

/// Locks a file by flock(2) as long as the handle lives; none: somebody else has locked it.
pub(crate) fn flock(dir: &Handle, name: &Path) -> Result<Option<Handle>, Errno> {
    let file = fs::openat(dir, name, OFlags::RDWR | OFlags::CLOEXEC, Mode::empty())?;
    match fs::flock(&file, FlockOperation::NonBlockingLockExclusive) {
        Ok(()) => Ok(Some(file)),
        Err(Errno::AGAIN) => Ok(None),
        Err(errno) => Err(errno),
    }
}
