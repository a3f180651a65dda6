//! Processes, and whether they are alive.

use lockbydir_protocol::Process;
use rustix::io::Errno;
use rustix::process::{Pid, test_kill_process};

use super::{ProcessHandle, start_of};

pub(crate) use lockbydir_unix::fork_generation;

/// Returns true if this process is gone for certain.
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
        return true; // Another process that got the same PID.
    }
    // A pidfd polls readable once the whole process has ended, reaped or not. By the state letter
    // in /proc, a process would count as dead when only its first thread has ended.
    ProcessHandle::of(process.pid).is_some_and(|life| life.has_ended())
}

/// Returns true if this can be a PID.
pub(crate) fn is_pid(pid: u32) -> bool {
    pid != 0 && i32::try_from(pid).is_ok()
}

/// Returns the number of a boot, from its identifier.
pub(super) fn boot_number(id: &str) -> u64 {
    let digits: String = id.chars().filter(char::is_ascii_hexdigit).take(16).collect();
    u64::from_str_radix(&digits, 16).unwrap_or(0)
}

/// Returns the host's name.
pub(crate) fn host() -> String {
    rustix::system::uname().nodename().to_string_lossy().into_owned()
}

/// Ends this process at once, as a crash does.
#[cfg(feature = "simulated")]
pub(crate) fn crash() {
    let _ = rustix::process::kill_process(rustix::process::getpid(), rustix::process::Signal::KILL);
}

/// Stops this process until somebody continues it.
#[cfg(feature = "simulated")]
pub(crate) fn stop() {
    let _ = rustix::process::kill_process(rustix::process::getpid(), rustix::process::Signal::STOP);
}
