//! What `/proc` shows of a process that may wait for others: its threads, its children, the files that
//! it has open. Whatever is not certain is `None`.

use std::ffi::OsStr;
use std::fs;
use std::os::unix::ffi::OsStrExt;
use std::path::PathBuf;

use super::proc_file::ProcFile;

/// The most files that a process may have open to be examined.
const MAX_FILES: usize = 256;
/// The most threads of a process that are examined.
const MAX_THREADS: usize = 16;

/// Returns the names of a process's threads, as the kernel shortens them.
pub(crate) fn threads_of(pid: u32) -> Option<Vec<String>> {
    let mut names = Vec::new();
    for task in fs::read_dir(format!("/proc/{pid}/task")).ok()? {
        let id = task.ok()?.file_name();
        let file = ProcFile::open(&format!("/proc/{pid}/task/{}/comm", id.to_str()?))?;
        let name = file.read(&mut [0; 128])?.trim_ascii_end().to_owned();
        names.push(String::from_utf8_lossy(&name).into_owned());
        if names.len() > MAX_THREADS {
            return None;
        }
    }
    Some(names)
}

/// Returns the children of a process with one thread.
pub(crate) fn children_of(pid: u32) -> Option<Vec<u32>> {
    let mut content = Vec::new();
    for task in fs::read_dir(format!("/proc/{pid}/task")).ok()? {
        let id = task.ok()?.file_name();
        let list = fs::read(format!("/proc/{pid}/task/{}/children", id.to_str()?)).ok()?;
        content.extend_from_slice(&list);
    }
    let list = str::from_utf8(&content).ok()?;
    list.split_ascii_whitespace().map(|pid| pid.parse().ok()).collect()
}

/// Returns true if the first thread of a process waits for a child to end.
pub(crate) fn waits_for_children(pid: u32) -> bool {
    let file = ProcFile::open(&format!("/proc/{pid}/wchan"));
    file.is_some_and(|file| file.read(&mut [0; 64]) == Some(&b"do_wait"[..]))
}

/// Returns the path of an open file of a process whose path satisfies `is_it`.
pub(crate) fn open_file_of(pid: u32, is_it: impl Fn(&OsStr) -> bool) -> Option<Option<PathBuf>> {
    for (number, file) in fs::read_dir(format!("/proc/{pid}/fd")).ok()?.enumerate() {
        if number == MAX_FILES {
            return None;
        }
        let handle = file.ok()?.path();
        // A file that was closed meanwhile is none of them.
        let Ok(path) = rustix::fs::readlink(&handle, Vec::with_capacity(512)) else { continue };
        let path = OsStr::from_bytes(path.as_bytes());
        if path.as_bytes().starts_with(b"/") && is_it(path) && is_same_file(&handle, path) {
            return Some(Some(path.into()));
        }
    }
    Some(None)
}

/// Returns true if a handle is on the file that is at this path for us: the process may have other
/// mounts.
fn is_same_file(handle: &std::path::Path, path: &OsStr) -> bool {
    use std::os::unix::fs::MetadataExt;

    let number = |found: fs::Metadata| (found.dev(), found.ino());
    let (open, named) = (fs::metadata(handle).map(number), fs::symlink_metadata(path).map(number));
    matches!((open, named), (Ok(open), Ok(named)) if open == named)
}
