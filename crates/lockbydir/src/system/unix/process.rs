//! Processes, their start times, boot and namespaces. Reads `/proc` and asks the kernel.

use std::fs;

use lockbydir_protocol::Process;
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::io::Errno;
use rustix::process::{Pid, PidfdFlags, pidfd_open, test_kill_process};

use super::Handle;

/// The program a PID of our namespace runs, for people.
pub(crate) fn command(pid: u32) -> Option<String> {
    let name = fs::read(format!("/proc/{pid}/comm")).ok()?;
    Some(crate::status::printable_bytes(name.trim_ascii_end()))
}

/// Is this process gone for certain?
pub(crate) fn is_gone(process: Process) -> bool {
    let Some(pid) = i32::try_from(process.pid).ok().and_then(Pid::from_raw) else {
        return false;
    };
    if test_kill_process(pid) == Err(Errno::SRCH) {
        return true;
    }
    if let Some(start) = start_of(process.pid)
        && process.start != 0
        && start != process.start
    {
        return true; // Another process that was given the same PID.
    }
    // A pidfd polls readable once the whole process ended, reaped or not. The state letter in
    // /proc would also call a process dead whose first thread alone has ended.
    Life::of(process.pid).is_some_and(|life| life.has_ended())
}

/// A handle on a process, which tells of its end.
pub(crate) struct Life(pub(super) Handle);

impl Life {
    pub(crate) fn of(pid: u32) -> Option<Life> {
        let pid = i32::try_from(pid).ok().and_then(Pid::from_raw)?;
        pidfd_open(pid, PidfdFlags::empty()).ok().map(Life)
    }

    pub(crate) fn has_ended(&self) -> bool {
        let mut polled = [PollFd::new(&self.0, PollFlags::IN)];
        let instant = Timespec { tv_sec: 0, tv_nsec: 0 };
        matches!(poll(&mut polled, Some(&instant)), Ok(1..))
    }
}

/// Can this be a PID?
pub(crate) fn is_pid(pid: u32) -> bool {
    pid != 0 && i32::try_from(pid).is_ok()
}

/// What tells a process from an earlier one that had its PID.
pub(crate) fn start_of(pid: u32) -> Option<u64> {
    let stat = fs::read(format!("/proc/{pid}/stat")).ok()?;
    // The program's name, in parentheses, may hold anything; the last one closes it.
    let close = stat.iter().rposition(|&byte| byte == b')')?;
    let rest = std::str::from_utf8(&stat[close + 1..]).ok()?;
    rest.split_ascii_whitespace().nth(19)?.parse().ok()
}

/// What tells this boot from all others; 0 where it can't be read.
pub(crate) fn boot_id() -> u64 {
    let id = fs::read_to_string("/proc/sys/kernel/random/boot_id").unwrap_or_default();
    let digits: String = id.chars().filter(char::is_ascii_hexdigit).take(16).collect();
    u64::from_str_radix(&digits, 16).unwrap_or(0)
}

/// Whose boot clock we read; 0 where it can't be told.
pub(crate) fn time_space() -> u32 {
    namespace("time")
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

/// The host's name.
pub(crate) fn host() -> String {
    rustix::system::uname().nodename().to_string_lossy().into_owned()
}

/// Ends this process at once, as a crash does.
pub(crate) fn crash() {
    let _ = rustix::process::kill_process(rustix::process::getpid(), rustix::process::Signal::KILL);
}

/// Stops this process until somebody continues it.
pub(crate) fn stop() {
    let _ = rustix::process::kill_process(rustix::process::getpid(), rustix::process::Signal::STOP);
}
