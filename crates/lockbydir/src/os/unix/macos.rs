//! What macOS does in its own way. It is type-checked; nobody has run it yet.

use std::ffi::{OsStr, OsString};
use std::os::fd::AsFd;
use std::os::unix::ffi::OsStringExt;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use rustix::fs::OFlags;
use rustix::io::FdFlags;
use rustix::time::ClockId;
use sysctl::Sysctl;
use sysinfo::{Pid, ProcessRefreshKind, ProcessesToUpdate, System};

use super::{Errno, Handle};
use crate::os::{FileSystem, LONGEST_NAME, Mount};

/// Its monotonic clock counts sleep, unlike that of Linux.
pub(super) const BOOT_CLOCK: ClockId = ClockId::Monotonic;

/// There is no such handle: this one can read.
pub(super) const NEITHER: OFlags = OFlags::empty();

/// What the file system of this folder is like.
pub(crate) fn file_system_of(folder: &Path) -> FileSystem {
    let told = rustix::fs::statvfs(folder).ok().and_then(|stat| stat.f_namemax.try_into().ok());
    FileSystem {
        is_local: is_local(folder),
        longest_name: told.filter(|length| *length > 0).unwrap_or(LONGEST_NAME),
    }
}

/// File systems that a single kernel owns: whoever wrote there under another boot is dead.
pub(crate) fn is_local(folder: &Path) -> bool {
    mount_of(folder).is_some_and(|mount| matches!(&*mount.kind, "apfs" | "hfs"))
}

/// Is it known to do what a lock needs: by one kernel's own rules, or measured (NFS)?
pub(crate) fn is_known(folder: &Path) -> bool {
    mount_of(folder).is_some_and(|mount| matches!(&*mount.kind, "apfs" | "hfs" | "nfs"))
}

/// The file system of a folder.
pub(crate) fn mount_of(folder: &Path) -> Option<Mount> {
    let stat = rustix::fs::statfs(folder).ok()?;
    let text = |chars: &[i8]| {
        let bytes = chars.iter().map(|byte| byte.cast_unsigned()).take_while(|byte| *byte != 0);
        String::from_utf8_lossy(&bytes.collect::<Vec<u8>>()).into_owned()
    };
    let (kind, source) = (text(&stat.f_fstypename), text(&stat.f_mntfromname));
    Some(Mount { kind, source, options: String::new() })
}

/// Tells one mount from another.
pub(crate) fn mount_number(folder: &Path) -> Option<(u64, u64)> {
    std::fs::metadata(folder).ok().map(|known| (known.dev(), 0))
}

/// A path to what is in this directory. It is that of this moment: here a handle cannot be walked
/// through.
pub(crate) fn path_in(dir: &Handle, name: &OsStr) -> PathBuf {
    let path = rustix::fs::getpath(dir).map(|path| OsString::from_vec(path.into_bytes()));
    // What has no path any more has nothing in it.
    path.map_or_else(|_| PathBuf::from("/dev/null"), PathBuf::from).join(name)
}

/// Is this directory our own? Numbers of users are the same for all here.
pub(super) fn is_own(_dir: impl AsFd) -> bool {
    true
}

/// Is something mounted just there? Here that is not told.
pub(crate) fn is_mount(_path: &Path) -> Result<bool, Errno> {
    Ok(false)
}

pub(crate) fn mkfifoat(dir: &Handle, name: &Path, mode: u32) -> Result<(), Errno> {
    let mode = nix::sys::stat::Mode::from_bits_truncate(u16::try_from(mode).unwrap_or(0o600));
    nix::unistd::mkfifo(&path_in(dir, name.as_os_str()), mode)
        .map_err(|errno| Errno::from_raw_os_error(errno as i32))
}

/// A pipe without a name cannot be opened again here: who listens to it hears by looking.
pub(crate) fn reopen_to_write(_pipe: &Handle) -> Result<Handle, Errno> {
    Err(Errno::NOTSUP)
}

/// Does the clock count from the kernel's boot?
pub(crate) fn counts_from_boot(_time_space: u32) -> bool {
    true
}

/// A handle to raise an alarm by, and one that it is heard on.
pub(super) fn alarm() -> Result<(Option<Handle>, Handle), Errno> {
    let (hear, raise) = rustix::pipe::pipe()?;
    for end in [&hear, &raise] {
        rustix::io::fcntl_setfd(end, FdFlags::CLOEXEC)?;
        rustix::fs::fcntl_setfl(end, OFlags::NONBLOCK)?;
    }
    Ok((Some(raise), hear))
}

/// A handle on a process, which tells of its end: here there is none, and looks tell.
pub(crate) struct ProcessHandle(pub(super) Handle);

impl ProcessHandle {
    pub(crate) fn of(_pid: u32) -> Option<ProcessHandle> {
        None
    }

    pub(crate) fn has_ended(&self) -> bool {
        false
    }
}

/// The program a PID runs, for people.
pub(crate) fn command(pid: u32) -> Option<String> {
    asked(pid, |process| crate::status::printable_bytes(process.name().as_encoded_bytes()))
}

/// What tells a process from an earlier one that had its PID: the second in which it was made.
pub(crate) fn start_of(pid: u32) -> Option<u64> {
    asked(pid, sysinfo::Process::start_time)
}

fn asked<T>(pid: u32, what: impl FnOnce(&sysinfo::Process) -> T) -> Option<T> {
    let mut system = System::new();
    let pid = Pid::from_u32(pid);
    let only = ProcessesToUpdate::Some(&[pid]);
    system.refresh_processes_specifics(only, true, ProcessRefreshKind::nothing());
    system.process(pid).map(what)
}

/// What tells this boot from all others; 0 where it can't be read.
pub(crate) fn boot_id() -> u64 {
    let id = sysctl::Ctl::new("kern.bootsessionuuid").and_then(|id| id.value_string());
    super::process::boot_number(&id.unwrap_or_default())
}

/// Whose boot clock we read: there is one.
pub(crate) fn time_space() -> u32 {
    1
}

/// Whose PIDs we see: there is one kind.
pub(crate) fn pid_space() -> u32 {
    1
}
