//! The parts that are specific to Linux.

use std::ffi::OsStr;
use std::fs;
use std::os::fd::{AsFd, AsRawFd};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use rustix::event::{EventfdFlags, PollFd, PollFlags, Timespec, eventfd, poll};
use rustix::fs::{AtFlags, CWD, FileType, Mode, OFlags, Statx, StatxAttributes, StatxFlags};
use rustix::process::{Pid, PidfdFlags, pidfd_open};
use rustix::time::ClockId;

use super::proc_file::ProcFile;
use super::{Errno, Handle, is_guarded};
use crate::os::boot_local::BootLocal;
use crate::os::{FileSystem, Folder, LONGEST_NAME, Mount};

/// The clock that runs while the machine is suspended.
pub(super) const BOOT_CLOCK: ClockId = ClockId::Boottime;

/// Flags of a handle that can neither read nor write.
pub(super) const NEITHER: OFlags = OFlags::PATH;

/// The number of a mount that the kernel never gives to another one (6.8).
const NUMBER_GIVEN_ONCE: StatxFlags = StatxFlags::from_bits_retain(0x4000);

/// Returns the properties of a folder: by one call if its mount is the one that was last asked for,
/// and two or three otherwise.
pub(crate) fn folder_at(folder: &Path) -> Folder {
    static LAST: BootLocal<(u64, FileSystem)> = BootLocal::new();

    let asked = StatxFlags::TYPE | StatxFlags::MODE | StatxFlags::UID | NUMBER_GIVEN_ONCE;
    let about = rustix::fs::statx(CWD, folder, AtFlags::empty(), asked).ok();
    let mount = about.as_ref().and_then(number_in);
    let known = LAST.get().filter(|(known, _)| mount == Some(*known));
    let found = known.map(|(_, found)| found).or_else(|| file_system_of(folder));
    if let (None, Some(mount), Some(found)) = (known, mount, found) {
        LAST.set((mount, found));
    }
    let unknown = FileSystem { is_local: false, longest_name: LONGEST_NAME };
    let file_system = found.unwrap_or(unknown);
    let is_guarded = |about: Statx| is_guarded(u32::from(about.stx_mode), about.stx_uid);
    Folder { file_system, is_guarded: about.is_some_and(is_guarded) }
}

/// Returns the properties of the file system of this folder, if they can be found out.
fn file_system_of(folder: &Path) -> Option<FileSystem> {
    let stat = rustix::fs::statfs(folder).ok()?;
    let longest_name = match usize::try_from(stat.f_namelen) {
        // Some file systems report nothing.
        Ok(0) | Err(_) => LONGEST_NAME,
        Ok(length) => length,
    };
    Some(FileSystem { is_local: is_local_kind(stat.f_type as u64), longest_name })
}

pub(crate) fn is_local(folder: &Path) -> bool {
    file_system_of(folder).is_some_and(|found| found.is_local)
}

/// Returns true for the file systems that a single kernel owns: a process that wrote there under
/// another boot is dead.
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

/// Returns true if the file system is known to do what a lock needs: because one kernel owns it, or
/// because it was measured (NFS).
pub(crate) fn is_known(folder: &Path) -> bool {
    const NFS: u64 = 0x6969;
    is_local(folder) || rustix::fs::statfs(folder).is_ok_and(|stat| stat.f_type as u64 == NFS)
}

/// Returns the file system of a folder, as `mount` describes it.
pub(crate) fn mount_of(folder: &Path) -> Option<Mount> {
    let folder = fs::canonicalize(folder).ok()?;
    let mounts = fs::read_to_string("/proc/self/mountinfo").ok()?;
    Mount::among(&mounts, folder.as_os_str().as_bytes())
}

/// Returns what distinguishes one mount from another: its device, and the number that the kernel
/// never reuses, if it has one. Device numbers are reused.
pub(crate) fn mount_number(folder: &Path) -> Option<(u64, u64)> {
    let number = number_given_once(CWD, folder, AtFlags::empty());
    let device = fs::metadata(folder).ok()?.dev();
    Some((device, number.unwrap_or(0)))
}

/// Returns the number of the mount of this file, which the kernel never gives to another mount, if it
/// has such numbers (6.8).
pub(super) fn number_given_once(dir: impl AsFd, name: &Path, flags: AtFlags) -> Option<u64> {
    number_in(&rustix::fs::statx(dir, name, flags, NUMBER_GIVEN_ONCE).ok()?)
}

fn number_in(answer: &Statx) -> Option<u64> {
    (answer.stx_mask & NUMBER_GIVEN_ONCE.bits() != 0).then_some(answer.stx_mnt_id)
}

/// Returns a path to an entry of this directory, even if another directory has taken its place
/// meanwhile.
pub(crate) fn path_in(dir: &Handle, name: &OsStr) -> PathBuf {
    PathBuf::from(format!("/proc/self/fd/{}", dir.as_raw_fd())).join(name)
}

/// Returns true if this directory is our own, whatever the user numbers say. Only the owner of a
/// directory may open it without an update of its access time (`O_NOATIME`).
pub(super) fn is_own(dir: impl AsFd) -> bool {
    const QUIETLY: OFlags = OFlags::RDONLY.union(OFlags::DIRECTORY).union(OFlags::CLOEXEC);
    rustix::fs::openat(dir, ".", QUIETLY | OFlags::NOATIME, Mode::empty()).err()
        != Some(Errno::PERM)
}

/// Returns true if something is mounted at this path.
pub(crate) fn is_mount(path: &Path) -> Result<bool, Errno> {
    let about = rustix::fs::statx(CWD, path, AtFlags::SYMLINK_NOFOLLOW, StatxFlags::empty())?;
    Ok(about.stx_attributes.contains(StatxAttributes::MOUNT_ROOT))
}

/// Creates a new, empty file by one call, which needs no handle of it.
pub(super) fn create_unopened(dir: &Handle, name: &Path, mode: u32) -> Result<(), Errno> {
    rustix::fs::mknodat(dir, name, FileType::RegularFile, Mode::from_raw_mode(mode), 0)
}

pub(crate) fn mkfifoat(dir: &Handle, name: &Path, mode: u32) -> Result<(), Errno> {
    rustix::fs::mknodat(dir, name, FileType::Fifo, Mode::from_raw_mode(mode), 0)
}

/// Opens the same pipe for writing, even if its name was removed.
pub(crate) fn reopen_to_write(pipe: &Handle) -> Result<Handle, Errno> {
    let again = format!("/proc/self/fd/{}", pipe.as_raw_fd());
    rustix::fs::open(again, OFlags::WRONLY | OFlags::NONBLOCK | OFlags::CLOEXEC, Mode::empty())
}

/// Returns true if the clock counts from the kernel's boot. In a time namespace of its own it does
/// not.
pub(crate) fn counts_from_boot(time_space: u32) -> bool {
    /// The number of the first time namespace, which is the same on every kernel.
    const FIRST: u32 = 0xEFFF_FFFA;
    time_space == FIRST
}

/// Creates an alarm: a handle to raise it, if that differs from the handle to sleep on, and the
/// latter.
pub(super) fn alarm() -> Result<(Option<Handle>, Handle), Errno> {
    eventfd(0, EventfdFlags::CLOEXEC | EventfdFlags::NONBLOCK).map(|both| (None, both))
}

/// A handle on a process, which becomes readable when the process ends.
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

/// The name that the process between `lockbydir run` and its command gives itself.
const SUPERVISOR: &[u8] = b"run-supervisor";

/// Returns the program that a PID of our namespace runs, for people. For a supervisor, this is its
/// command.
pub(crate) fn command(pid: u32) -> Option<String> {
    let name_of = |pid: u32| {
        let file = ProcFile::open(&format!("/proc/{pid}/comm"))?;
        let name = file.read(&mut [0; 128])?.trim_ascii_end().to_owned();
        Some(name).filter(|_| file.is_of_our_pids())
    };
    let name = name_of(pid)?;
    let command = || {
        // The first number is enough.
        let mut buffer = [0; 64];
        let children = ProcFile::open(&format!("/proc/{pid}/task/{pid}/children"))?;
        let children = str::from_utf8(children.read(&mut buffer)?).ok()?;
        name_of(children.split(' ').next()?.parse().ok()?)
    };
    let name = if name == SUPERVISOR { command().unwrap_or(name) } else { name };
    Some(crate::status::printable_bytes(&name))
}

/// Returns the start time of a process, which distinguishes it from an earlier process with the
/// same PID.
pub(crate) fn start_of(pid: u32) -> Option<u64> {
    /// Where the start time is, counted from the parenthesis that closes the program's name.
    const START: usize = 19;
    // Numbers have at most 20 digits, and names at most 64 bytes, which may be escaped: 22 fields
    // have at most 718 bytes. What follows them may be cut off.
    let mut buffer = [0; 1024];
    let file = ProcFile::open(&format!("/proc/{pid}/stat"))?;
    let stat = file.read(&mut buffer)?;
    // The program's name, in parentheses, may contain anything; the last parenthesis closes it.
    let close = stat.iter().rposition(|&byte| byte == b')')?;
    let rest = str::from_utf8(&stat[close + 1..]).ok()?;
    let start = rest.split_ascii_whitespace().nth(START)?.parse().ok()?;
    file.is_of_our_pids().then_some(start)
}

/// Returns a number that identifies this boot; 0 if it cannot be read.
pub(crate) fn boot_id() -> u64 {
    let mut buffer = [0; 64];
    let file = ProcFile::open("/proc/sys/kernel/random/boot_id");
    let id = file.as_ref().and_then(|file| str::from_utf8(file.read(&mut buffer)?).ok());
    id.map_or(0, super::process::boot_number)
}

/// Returns the number of the time namespace of our boot clock; 0 if it is unknown. A lock may
/// outlive the time namespace in which it was made, and the kernel gives the number of a namespace
/// that is gone to a later one, with another clock. So only the first namespace, which always
/// remains, is reported.
pub(crate) fn time_space() -> u32 {
    Some(namespace("time")).filter(|&number| counts_from_boot(number)).unwrap_or(0)
}

/// Returns the number of our PID namespace; 0 if it is unknown.
pub(crate) fn pid_space() -> u32 {
    namespace("pid")
}

/// Returns the number of one of our namespaces.
fn namespace(kind: &str) -> u32 {
    /// Longer than any such link, `time:[4026531834]`, so that one call reads it.
    const LINK: usize = 64;
    rustix::fs::readlink(format!("/proc/self/ns/{kind}"), Vec::with_capacity(LINK))
        .ok()
        .and_then(|link| {
            let link = link.to_str().ok()?;
            link.split_once('[')?.1.strip_suffix(']')?.parse().ok()
        })
        .unwrap_or(0)
}
