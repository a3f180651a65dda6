//! What a place is like, as far as Windows is asked; calls that only `doctor` tries, and that are
//! not here.

use std::path::Path;

use lockbydir_windows as windows;

use super::{Errno, Handle, about, is_local, open_folder};
use crate::os::{Mount, Trust};

/// The file system of a folder, as far as it is asked for.
pub(crate) fn mount_of(folder: &Path) -> Option<Mount> {
    let [source, options] = [String::new(), String::new()];
    windows::keeps_times(folder).then(|| Mount { kind: "NTFS or ReFS".into(), source, options })
}

/// Nothing that tells one mount from another for certain.
pub(crate) fn mount_number(_folder: &Path) -> Option<(u64, u64)> {
    None
}

/// Is it known to do what a lock needs?
pub(crate) fn is_known(folder: &Path) -> bool {
    is_local(folder) || windows::keeps_times(folder)
}

/// Who may move what is in a folder, as its owner says.
pub(crate) fn trust(folder: &Path) -> Result<Trust, Errno> {
    let owner = about(&open_folder(folder)?)?.owner;
    Ok(Trust { owner, mode: None, is_world_writable_without_sticky: false })
}

/// May we remove this directory from its folder? Here no sticky bit keeps others' things; what a list
/// of rights forbids shows when it is tried.
pub(crate) fn is_removable(_path: &Path, _folder: &Path) -> Result<bool, Errno> {
    Ok(true)
}

/// There is no flock(2).
pub(crate) fn flock(_dir: &Handle, _name: &Path) -> Result<Option<Handle>, Errno> {
    Err(Errno::NOTSUP)
}
