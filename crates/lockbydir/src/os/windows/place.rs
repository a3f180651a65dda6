//! The properties of a folder, as far as Windows reports them. Calls that only `doctor` uses are
//! not available here.

use std::path::Path;

use lockbydir_windows as windows;

use super::{Errno, Handle, about, is_local, open_folder};
use crate::os::{Mount, Trust};

/// Returns the file system of a folder, if it is NTFS or ReFS.
pub(crate) fn mount_of(folder: &Path) -> Option<Mount> {
    let [source, options] = [String::new(), String::new()];
    windows::keeps_times(folder).then(|| Mount { kind: "NTFS or ReFS".into(), source, options })
}

/// Returns `None`: nothing distinguishes one mount from another for certain.
pub(crate) fn mount_number(_folder: &Path) -> Option<(u64, u64)> {
    None
}

/// Returns true if the file system is known to do what a lock needs.
pub(crate) fn is_known(folder: &Path) -> bool {
    is_local(folder) || windows::keeps_times(folder)
}

/// Returns who may move the entries of a folder, by its owner.
pub(crate) fn trust(folder: &Path) -> Result<Trust, Errno> {
    let owner = about(&open_folder(folder)?)?.owner();
    Ok(Trust { owner, mode: None, is_world_writable_without_sticky: false })
}

/// Returns true if we may remove this directory from its folder. There is no sticky bit that
/// protects other users' files here; if an access control list forbids the removal, the attempt
/// shows it.
pub(crate) fn is_removable(_path: &Path, _folder: &Path) -> Result<bool, Errno> {
    Ok(true)
}

/// Always fails: there is no flock(2).
pub(crate) fn flock(_dir: &Handle, _name: &Path) -> Result<Option<Handle>, Errno> {
    Err(Errno::NOTSUP)
}
