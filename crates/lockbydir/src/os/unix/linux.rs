//! What only Linux does so.

use std::ffi::OsStr;
use std::fs;
use std::os::fd::{AsFd, AsRawFd};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use rustix::event::{EventfdFlags, PollFd, PollFlags, Timespec, eventfd, poll};
use rustix::fs::{AtFlags, CWD, FileType, Mode, OFlags, StatxAttributes, StatxFlags};
use rustix::process::{Pid, PidfdFlags, pidfd_open};
use rustix::time::ClockId;

use super::{Errno, Handle};
use crate::os::{FileSystem, LONGEST_NAME, Mount};

/// The clock that runs while the machine is suspended.
pub(super) const BOOT_CLOCK: ClockId = ClockId::Boottime;

/// A handle that can neither read nor write.
pub(super) const NEITHER: OFlags = OFlags::PATH;

/// What the file system of this folder is like, by one call.
pub(crate) fn file_system_of(folder: &Path) -> FileSystem {
    let Ok(stat) = rustix::fs::statfs(folder) else {
        return FileSystem { is_local: false, longest_name: LONGEST_NAME };
    };
    let longest_name = match usize::try_from(stat.f_namelen) {
        // Some say nothing.
        Ok(0) | Err(_) => LONGEST_NAME,
        Ok(length) => length,
    };
    FileSystem { is_local: is_local_kind(stat.f_type as u64), longest_name }
}

pub(crate) fn is_local(folder: &Path) -> bool {
    file_system_of(folder).is_local
}

/// File systems that a single kernel owns: whoever wrote there under another boot is dead.
fn is_local_kind(kind: u64) -> bool {
    const EXT: u64 = 0xEF53;
    const XFS: u64 = 0x5846_5342;
    const BTRFS: u64 = 0x9123_683E;
    const TMPFS: u64 = 0x0102_1994;
    const RAMFS: u64 = 0x8584_58F6;
    const OVERLAY: u64 = 0x794C_7630;
    const F2FS: u64 = 0xF2F5_2010;
    const ZFS: u64 = 0x2FC1_2FC1;
    matches!(kind, EXT | XFS | BTRFS | TMPFS | RAMFS | OVERLAY | F2FS | ZFS)
}

/// Is it known to do what a lock needs: by one kernel's own rules, or measured (NFS)?
pub(crate) fn is_known(folder: &Path) -> bool {
    const NFS: u64 = 0x6969;
    is_local(folder) || rustix::fs::statfs(folder).is_ok_and(|stat| stat.f_type as u64 == NFS)
}

/// The file system of a folder, as `mount` tells of it.
pub(crate) fn mount_of(folder: &Path) -> Option<Mount> {
    let folder = fs::canonicalize(folder).ok()?;
    let mounts = fs::read_to_string("/proc/self/mountinfo").ok()?;
    Mount::among(&mounts, folder.as_os_str().as_bytes())
}

/// Tells one mount from another: its device, and where the kernel has it (6.8) a number that is
/// given once, for that of a device is given again.
pub(crate) fn mount_number(folder: &Path) -> Option<(u64, u64)> {
    const NUMBER_GIVEN_ONCE: StatxFlags = StatxFlags::from_bits_retain(0x4000);
    let asked = rustix::fs::statx(CWD, folder, AtFlags::empty(), NUMBER_GIVEN_ONCE);
    let number = asked.ok().filter(|told| told.stx_mask & NUMBER_GIVEN_ONCE.bits() != 0);
    let device = fs::metadata(folder).ok()?.dev();
    Some((device, number.map_or(0, |told| told.stx_mnt_id)))
}

/// A path to what is in this directory, whatever has taken its place meanwhile.
pub(crate) fn path_in(dir: &Handle, name: &OsStr) -> PathBuf {
    PathBuf::from(format!("/proc/self/fd/{}", dir.as_raw_fd())).join(name)
}

/// Is this directory our own, whatever numbers say? Only its owner may leave its time of access
/// alone.
pub(super) fn is_own(dir: impl AsFd) -> bool {
    const QUIETLY: OFlags = OFlags::RDONLY.union(OFlags::DIRECTORY).union(OFlags::CLOEXEC);
    rustix::fs::openat(dir, ".", QUIETLY | OFlags::NOATIME, Mode::empty()).err()
        != Some(Errno::PERM)
}

/// Is something mounted just there?
pub(crate) fn is_mount(path: &Path) -> Result<bool, Errno> {
    let about = rustix::fs::statx(CWD, path, AtFlags::SYMLINK_NOFOLLOW, StatxFlags::empty())?;
    Ok(about.stx_attributes.contains(StatxAttributes::MOUNT_ROOT))
}

pub(crate) fn mkfifoat(dir: &Handle, name: &Path, mode: u32) -> Result<(), Errno> {
    rustix::fs::mknodat(dir, name, FileType::Fifo, Mode::from_raw_mode(mode), 0)
}

/// The same pipe, to write to, whatever became of its name.
pub(crate) fn reopen_to_write(pipe: &Handle) -> Result<Handle, Errno> {
    let again = format!("/proc/self/fd/{}", pipe.as_raw_fd());
    rustix::fs::open(again, OFlags::WRONLY | OFlags::NONBLOCK | OFlags::CLOEXEC, Mode::empty())
}

/// Does the clock count from the kernel's boot? In a time namespace of its own it does not.
pub(crate) fn counts_from_boot(time_space: u32) -> bool {
    /// The number of the first time namespace, the same on every kernel.
    const FIRST: u32 = 0xEFFF_FFFA;
    time_space == FIRST
}

/// A handle to raise an alarm by, if it is another one than that it is heard on, and that one.
pub(super) fn alarm() -> Result<(Option<Handle>, Handle), Errno> {
    eventfd(0, EventfdFlags::CLOEXEC | EventfdFlags::NONBLOCK).map(|both| (None, both))
}

/// A handle on a process, which tells of its end.
pub(crate) struct ProcessHandle(pub(super) Handle);

impl ProcessHandle {
    pub(crate) fn of(pid: u32) -> Option<ProcessHandle> {
        let pid = i32::try_from(pid).ok().and_then(Pid::from_raw)?;
        pidfd_open(pid, PidfdFlags::empty()).ok().map(ProcessHandle)
    }

    pub(crate) fn has_ended(&self) -> bool {
        let mut polled = [PollFd::new(&self.0, PollFlags::IN)];
        let instant = Timespec { tv_sec: 0, tv_nsec: 0 };
        matches!(poll(&mut polled, Some(&instant)), Ok(1..))
    }
}

/// What the process between `lockbydir run` and its command calls itself.
const SUPERVISOR: &[u8] = b"run-supervisor";

/// The program a PID of our namespace runs, for people: below a supervisor, the command.
pub(crate) fn command(pid: u32) -> Option<String> {
    let name_of = |pid: u32| fs::read(format!("/proc/{pid}/comm")).ok();
    let name = name_of(pid).filter(|_| is_proc_of_our_pids())?;
    let command = || {
        let children = fs::read_to_string(format!("/proc/{pid}/task/{pid}/children")).ok()?;
        name_of(children.split(' ').next()?.parse().ok()?)
    };
    let is_supervisor = name.trim_ascii_end() == SUPERVISOR;
    let name = if is_supervisor { command().unwrap_or(name) } else { name };
    Some(crate::status::printable_bytes(name.trim_ascii_end()))
}

/// What tells a process from an earlier one that had its PID.
pub(crate) fn start_of(pid: u32) -> Option<u64> {
    let stat = fs::read(format!("/proc/{pid}/stat")).ok()?;
    // The program's name, in parentheses, may hold anything; the last one closes it.
    let close = stat.iter().rposition(|&byte| byte == b')')?;
    let rest = std::str::from_utf8(&stat[close + 1..]).ok()?;
    rest.split_ascii_whitespace().nth(19)?.parse().ok().filter(|_| is_proc_of_our_pids())
}

/// Does `/proc` show the PIDs of our own namespace? A process may be put into another one and keep
/// the `/proc` of the one before: there, its PIDs are other processes.
fn is_proc_of_our_pids() -> bool {
    let Ok(status) = fs::read("/proc/self/status") else { return false };
    let status = String::from_utf8_lossy(&status);
    let field = |name: &str| status.lines().find_map(|line| line.strip_prefix(name));
    // Our PID in each namespace from that of this /proc down to ours.
    let pids = field("NSpid:").or_else(|| field("Pid:")).unwrap_or_default();
    pids.trim() == std::process::id().to_string()
}

/// What tells this boot from all others; 0 where it can't be read.
pub(crate) fn boot_id() -> u64 {
    let id = fs::read_to_string("/proc/sys/kernel/random/boot_id").unwrap_or_default();
    super::process::boot_number(&id)
}

/// Whose boot clock we read; 0 where it can't be told. A lock may outlive the time namespace that it
/// was made in, and the kernel gives the number of one that is gone to the next one, of another
/// clock: so only the first one is told, which stays.
pub(crate) fn time_space() -> u32 {
    Some(namespace("time")).filter(|&number| counts_from_boot(number)).unwrap_or(0)
}

/// Whose PIDs we see; 0 where it can't be told.
pub(crate) fn pid_space() -> u32 {
    namespace("pid")
}

/// The number of one of our namespaces.
fn namespace(kind: &str) -> u32 {
    fs::read_link(format!("/proc/self/ns/{kind}"))
        .ok()
        .and_then(|link| {
            let link = link.to_str()?;
            link.split_once('[')?.1.strip_suffix(']')?.parse().ok()
        })
        .unwrap_or(0)
}
