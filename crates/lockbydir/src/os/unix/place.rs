//! The properties of a folder: who may change it; and a call that only `doctor` uses. The type of
//! the file system is queried in a different way on each Unix.

use std::os::unix::fs::MetadataExt;
use std::path::Path;

use rustix::fs::{self, Access, AtFlags, CWD, FlockOperation, Mode, OFlags};
use rustix::process::geteuid;

use super::files::{NOBODY, metadata_from};
use super::{Errno, Handle};
use crate::os::{FileOwner, Trust};

/// Returns who may move the entries of a folder, by its owner and mode.
pub(crate) fn trust(folder: &Path) -> Result<Trust, Errno> {
    let owner = metadata_from(&fs::stat(folder)?).owner();
    let known = std::fs::metadata(folder).map_err(|_| Errno::IO)?;
    let mode = known.mode() & 0o7777;
    Ok(Trust { owner, mode: Some(mode), is_world_writable_without_sticky: mode & 0o1002 == 0o002 })
}

/// Returns true if nobody but ourselves and administrators may move what we create in a folder of
/// this mode and owner. Other users whom an access control list permits to write show in the bits of
/// the group.
pub(super) fn is_guarded(mode: u32, uid: u32) -> bool {
    const STICKY: u32 = 0o1000;
    let own = geteuid().as_raw();
    (mode & 0o022 == 0 || mode & STICKY != 0) && (uid == 0 || uid == own && uid != NOBODY)
}

/// Returns true if we may remove this directory from its folder, by owners and modes. Root may,
/// wherever it may write.
pub(crate) fn is_removable(path: &Path, folder: &Path) -> Result<bool, Errno> {
    let writes = Access::WRITE_OK | Access::EXEC_OK;
    match fs::accessat(CWD, folder, writes, AtFlags::EACCESS) {
        Ok(()) => {}
        Err(Errno::ACCESS | Errno::PERM) => return Ok(false),
        Err(errno) => return Err(errno),
    }
    let is_ours = |owner| owner == FileOwner::Ours || geteuid().is_root();
    if is_ours(metadata_from(&fs::statat(CWD, path, AtFlags::SYMLINK_NOFOLLOW)?).owner()) {
        return Ok(true);
    }
    let folder = fs::stat(folder)?;
    let is_sticky = Mode::from_raw_mode(folder.st_mode).contains(Mode::SVTX);
    Ok(!is_sticky || is_ours(metadata_from(&folder).owner()))
}

/// Locks a file by flock(2) as long as the handle lives; returns `None` if another process has
/// locked it.
pub(crate) fn flock(dir: &Handle, name: &Path) -> Result<Option<Handle>, Errno> {
    let file = fs::openat(dir, name, OFlags::RDWR | OFlags::CLOEXEC, Mode::empty())?;
    match fs::flock(&file, FlockOperation::NonBlockingLockExclusive) {
        Ok(()) => Ok(Some(file)),
        Err(Errno::AGAIN) => Ok(None),
        Err(errno) => Err(errno),
    }
}
