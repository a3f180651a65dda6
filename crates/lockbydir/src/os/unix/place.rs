//! What a place is like: who may change it, and a call that only `doctor` tries. What kind of file
//! system it is, each Unix tells in its own way.

use std::os::unix::fs::MetadataExt;
use std::path::Path;

use rustix::fs::{self, Access, AtFlags, CWD, FlockOperation, Mode, OFlags};
use rustix::process::geteuid;

use super::files::told;
use super::{Errno, Handle};
use crate::os::{FileOwner, Trust};

/// Who may move what is in a folder, as its owner and mode say.
pub(crate) fn trust(folder: &Path) -> Result<Trust, Errno> {
    let owner = told(&fs::stat(folder)?).owner;
    let known = std::fs::metadata(folder).map_err(|_| Errno::IO)?;
    let mode = known.mode() & 0o7777;
    Ok(Trust { owner, mode: Some(mode), is_world_writable_without_sticky: mode & 0o1002 == 0o002 })
}

/// May we remove this directory from its folder, as owners and modes say? Who is root may, wherever
/// it may write.
pub(crate) fn is_removable(path: &Path, folder: &Path) -> Result<bool, Errno> {
    let writes = Access::WRITE_OK | Access::EXEC_OK;
    match fs::accessat(CWD, folder, writes, AtFlags::EACCESS) {
        Ok(()) => {}
        Err(Errno::ACCESS | Errno::PERM) => return Ok(false),
        Err(errno) => return Err(errno),
    }
    let is_ours = |owner| owner == FileOwner::Ours || geteuid().is_root();
    if is_ours(told(&fs::statat(CWD, path, AtFlags::SYMLINK_NOFOLLOW)?).owner) {
        return Ok(true);
    }
    let folder = fs::stat(folder)?;
    let is_sticky = Mode::from_raw_mode(folder.st_mode).contains(Mode::SVTX);
    Ok(!is_sticky || is_ours(told(&folder).owner))
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
