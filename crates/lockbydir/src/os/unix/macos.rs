//! The parts that are specific to macOS. They are type-checked; nobody has run them yet.

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

use super::{Errno, Handle, is_guarded};
use crate::os::{FileSystem, Folder, LONGEST_NAME, Mount};

/// The monotonic clock of macOS counts sleep, unlike that of Linux.
pub(super) const BOOT_CLOCK: ClockId = ClockId::Monotonic;

/// Flags of a handle that can neither read nor write. macOS has none, so this one can read.
pub(super) const NEITHER: OFlags = OFlags::empty();

/// Returns the properties of a folder.
pub(crate) fn folder_at(folder: &Path) -> Folder {
    let reported = rustix::fs::statvfs(folder).ok().and_then(|stat| stat.f_namemax.try_into().ok());
    let file_system = FileSystem {
        is_local: is_local(folder),
        longest_name: reported.filter(|length| *length > 0).unwrap_or(LONGEST_NAME),
    };
    let about = rustix::fs::stat(folder);
    let is_guarded = about.is_ok_and(|about| is_guarded(about.st_mode.into(), about.st_uid));
    Folder { file_system, is_guarded }
}

/// Creates a new, empty file. Only root may do that without a handle of it.
pub(super) fn create_unopened(dir: &Handle, name: &Path, mode: u32) -> Result<(), Errno> {
    super::createat(dir, name, mode)
}

/// Returns true if a single kernel owns the file system: then a process that wrote there under
/// another boot is dead.
pub(crate) fn is_local(folder: &Path) -> bool {
    mount_of(folder).is_some_and(|mount| matches!(&*mount.kind, "apfs" | "hfs"))
}

/// Returns true if the file system is known to do what a lock needs: because one kernel owns it, or
/// because it was measured (NFS).
pub(crate) fn is_known(folder: &Path) -> bool {
    mount_of(folder).is_some_and(|mount| matches!(&*mount.kind, "apfs" | "hfs" | "nfs"))
}

/// Returns the file system of a folder.
pub(crate) fn mount_of(folder: &Path) -> Option<Mount> {
    let stat = rustix::fs::statfs(folder).ok()?;
    let text = |chars: &[i8]| {
        let bytes = chars.iter().map(|byte| byte.cast_unsigned()).take_while(|byte| *byte != 0);
        String::from_utf8_lossy(&bytes.collect::<Vec<u8>>()).into_owned()
    };
    let (kind, source) = (text(&stat.f_fstypename), text(&stat.f_mntfromname));
    Some(Mount { kind, source, options: String::new() })
}

/// Returns a number that distinguishes one mount from another.
pub(crate) fn mount_number(folder: &Path) -> Option<(u64, u64)> {
    std::fs::metadata(folder).ok().map(|known| (known.dev(), 0))
}

/// Returns a path to an entry of this directory. It is the path at this moment: here a path cannot
/// go through a handle.
pub(crate) fn path_in(dir: &Handle, name: &OsStr) -> PathBuf {
    let path = rustix::fs::getpath(dir).map(|path| OsString::from_vec(path.into_bytes()));
    // A directory that has no path any more has no entries.
    path.map_or_else(|_| PathBuf::from("/dev/null"), PathBuf::from).join(name)
}

/// Returns true if this directory is our own. User numbers mean the same to all processes here.
pub(super) fn is_own(_dir: impl AsFd) -> bool {
    true
}

/// Returns true if something is mounted at this path. Here the system does not report it.
pub(crate) fn is_mount(_path: &Path) -> Result<bool, Errno> {
    Ok(false)
}

pub(crate) fn mkfifoat(dir: &Handle, name: &Path, mode: u32) -> Result<(), Errno> {
    let mode = nix::sys::stat::Mode::from_bits_truncate(u16::try_from(mode).unwrap_or(0o600));
    nix::unistd::mkfifo(&path_in(dir, name.as_os_str()), mode)
        .map_err(|errno| Errno::from_raw_os_error(errno as i32))
}

/// Always fails: here a pipe without a name cannot be opened again. Its reader notices changes by
/// looking.
pub(crate) fn reopen_to_write(_pipe: &Handle) -> Result<Handle, Errno> {
    Err(Errno::NOTSUP)
}

/// Returns true if the clock counts from the kernel's boot.
pub(crate) fn counts_from_boot(_time_space: u32) -> bool {
    true
}

/// Creates an alarm: a handle to raise it, and a handle to sleep on.
pub(super) fn alarm() -> Result<(Option<Handle>, Handle), Errno> {
    let (read_end, raise) = rustix::pipe::pipe()?;
    for end in [&read_end, &raise] {
        rustix::io::fcntl_setfd(end, FdFlags::CLOEXEC)?;
        rustix::fs::fcntl_setfl(end, OFlags::NONBLOCK)?;
    }
    Ok((Some(raise), read_end))
}

/// A handle on a process, which would notify of its end. There is none here; waiters notice the end
/// by looking.
pub(crate) struct ProcessHandle(pub(super) Handle);

impl ProcessHandle {
    pub(crate) fn of(_pid: u32) -> Option<ProcessHandle> {
        None
    }

    pub(crate) fn has_ended(&self) -> bool {
        false
    }
}

/// Returns the program that a PID runs, for people.
pub(crate) fn command(pid: u32) -> Option<String> {
    query(pid, |process| crate::status::printable_bytes(process.name().as_encoded_bytes()))
}

/// Returns the start time of a process in seconds, which distinguishes it from an earlier process
/// with the same PID.
pub(crate) fn start_of(pid: u32) -> Option<u64> {
    query(pid, sysinfo::Process::start_time)
}

fn query<T>(pid: u32, what: impl FnOnce(&sysinfo::Process) -> T) -> Option<T> {
    let mut system = System::new();
    let pid = Pid::from_u32(pid);
    let only = ProcessesToUpdate::Some(&[pid]);
    system.refresh_processes_specifics(only, true, ProcessRefreshKind::nothing());
    system.process(pid).map(what)
}

/// Returns a number that identifies this boot; 0 if it cannot be read.
pub(crate) fn boot_id() -> u64 {
    let id = sysctl::Ctl::new("kern.bootsessionuuid").and_then(|id| id.value_string());
    super::process::boot_number(&id.unwrap_or_default())
}

/// Returns the number of the namespace of our boot clock: there is only one.
pub(crate) fn time_space() -> u32 {
    1
}

/// Returns the number of our PID namespace: there is only one.
pub(crate) fn pid_space() -> u32 {
    1
}
