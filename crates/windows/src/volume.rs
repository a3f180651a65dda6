//! Facts about volumes.

use std::path::Path;
use std::ptr::null_mut;

use windows_sys::Win32::Storage::FileSystem::{
    GetDriveTypeW, GetVolumeInformationW, GetVolumeNameForVolumeMountPointW, GetVolumePathNameW,
};
use windows_sys::Win32::System::WindowsProgramming::{DRIVE_FIXED, DRIVE_RAMDISK};

use crate::wide;

/// Whether the file system of this folder is local to this kernel: NTFS or ReFS on a fixed disk of this
/// computer, known to its mount manager.
#[must_use]
pub fn is_local(folder: &Path) -> bool {
    let Some(root) = root(folder) else { return false };
    // SAFETY: the root ends in a zero.
    let kind = unsafe { GetDriveTypeW(root.as_ptr()) };
    let mut volume = [0_u16; 64];
    // SAFETY: the root ends in a zero, and the buffer has this size.
    let is_known =
        unsafe { GetVolumeNameForVolumeMountPointW(root.as_ptr(), volume.as_mut_ptr(), 64) } != 0;
    matches!(kind, DRIVE_FIXED | DRIVE_RAMDISK) && is_known && has_times(&root)
}

/// Whether the file system of this folder stamps a directory whenever its contents change. FAT does not.
#[must_use]
pub fn keeps_times(folder: &Path) -> bool {
    root(folder).is_some_and(|root| has_times(&root))
}

fn has_times(root: &[u16]) -> bool {
    let mut name = [0_u16; 64];
    // SAFETY: the root ends in a zero, and the buffer has this size; the other values are not requested.
    let done = unsafe {
        GetVolumeInformationW(
            root.as_ptr(),
            null_mut(),
            0,
            null_mut(),
            null_mut(),
            null_mut(),
            name.as_mut_ptr(),
            64,
        )
    };
    let length = name.iter().position(|&unit| unit == 0).unwrap_or(0);
    done != 0 && matches!(&*String::from_utf16_lossy(&name[..length]), "NTFS" | "ReFS")
}

/// Returns the path where the volume of this folder is mounted.
fn root(folder: &Path) -> Option<Vec<u16>> {
    let folder = wide(folder);
    let mut root = vec![0_u16; folder.len() + 4];
    let room = u32::try_from(root.len()).ok()?;
    // SAFETY: the folder ends in a zero, and the buffer has this size.
    let done = unsafe { GetVolumePathNameW(folder.as_ptr(), root.as_mut_ptr(), room) };
    (done != 0).then_some(root)
}
