//! Who lives, and where we are: processes, their start times, boot and namespaces. Reads
//! `/proc` and asks the kernel; decides nothing.

use std::fs;
use std::os::fd::OwnedFd;

use lockbydir_protocol::{Life, Origin, Owner, Process};
use rustix::event::{PollFd, PollFlags, poll};
use rustix::io::Errno;
use rustix::process::{Pid, PidfdFlags, pidfd_open, test_kill_process};

use crate::own::Own;
use crate::testing;

/// This process as the protocol knows it. A forked child finds its own.
pub(crate) fn here() -> (Origin, Process) {
    static KNOWN: Own<(Origin, Process)> = Own::new();

    if let Some(world) = testing::world() {
        return world.here();
    }
    *KNOWN.get_or_make(|| {
        let origin = Origin { boot: boot(), time: namespace("time"), pids: namespace("pid") };
        (origin, process(std::process::id()))
    })
}

/// A process and its start time.
pub(crate) fn process(pid: u32) -> Process {
    Process { pid, start: start_of(pid).unwrap_or(0) }
}

/// The program a PID of our namespace runs, for people.
pub(crate) fn command(pid: u32) -> Option<String> {
    let name = fs::read(format!("/proc/{pid}/comm")).ok()?;
    Some(crate::status::printable_bytes(name.trim_ascii_end()))
}

/// Are all of the owner's processes gone?
pub(crate) fn life(owner: Owner) -> Life {
    let mut processes = owner.processes().peekable();
    if processes.peek().is_some() && processes.all(is_gone) { Life::Gone } else { Life::Alive }
}

fn is_gone(process: Process) -> bool {
    if let Some(world) = testing::world() {
        return world.is_gone(process);
    }
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
    pidfd_open(pid, PidfdFlags::empty()).is_ok_and(|pidfd| has_ended(&pidfd))
}

/// Has the process of this pidfd ended?
pub(crate) fn has_ended(pidfd: &OwnedFd) -> bool {
    let mut polled = [PollFd::new(pidfd, PollFlags::IN)];
    let instant = rustix::event::Timespec { tv_sec: 0, tv_nsec: 0 };
    matches!(poll(&mut polled, Some(&instant)), Ok(1..))
}

/// A handle on the first of the owner's processes that lives; it polls readable at its end.
pub(crate) fn first_living(owner: Owner) -> Option<OwnedFd> {
    if testing::world().is_some() {
        return None;
    }
    owner.processes().find_map(|process| {
        let pid = i32::try_from(process.pid).ok().and_then(Pid::from_raw)?;
        let pidfd = pidfd_open(pid, PidfdFlags::empty()).ok()?;
        (!is_gone(process)).then_some(pidfd)
    })
}

fn start_of(pid: u32) -> Option<u64> {
    let stat = fs::read(format!("/proc/{pid}/stat")).ok()?;
    // The program's name, in parentheses, may hold anything; the last one closes it.
    let close = stat.iter().rposition(|&byte| byte == b')')?;
    let rest = std::str::from_utf8(&stat[close + 1..]).ok()?;
    rest.split_ascii_whitespace().nth(19)?.parse().ok()
}

fn boot() -> u64 {
    let id = fs::read_to_string("/proc/sys/kernel/random/boot_id").unwrap_or_default();
    let digits: String = id.chars().filter(char::is_ascii_hexdigit).take(16).collect();
    u64::from_str_radix(&digits, 16).unwrap_or(0)
}

/// The number of one of our namespaces; 0 where it can't be read.
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
    if let Some(world) = testing::world() {
        return world.host();
    }
    static HOST: Own<String> = Own::new();
    HOST.get_or_make(|| rustix::system::uname().nodename().to_string_lossy().into_owned()).clone()
}
