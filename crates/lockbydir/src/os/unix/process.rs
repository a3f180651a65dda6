//! Processes, and whether they are alive.

use std::rc::Rc;

use lockbydir_protocol::Process;
use rustix::io::Errno;
use rustix::process::{Pid, test_kill_process};

use super::{ProcessHandle, start_of};
use crate::os::process::Watch;

pub(crate) use lockbydir_unix::fork_generation;

/// Returns whether this process is alive.
pub(crate) fn watch(process: Process) -> Watch {
    let handle = ProcessHandle::of(process.pid);
    let has_ended = match &handle {
        // A pidfd polls readable once the whole process has ended, reaped or not. By the state
        // letter in /proc, a process would count as dead when only its first thread has ended.
        Some(handle) => handle.has_ended(),
        None => is_unused(process.pid),
    };
    // The start time is read after the handle was opened: if it is that of the process, the process
    // had the PID at that moment, and the handle is on it and not on another that got its PID.
    if has_ended || is_another(process) {
        return Watch::Gone;
    }
    handle.map_or(Watch::Unwatched, |handle| Watch::Living(Rc::new(handle)))
}

/// Returns true if no process has this PID for certain.
fn is_unused(pid: u32) -> bool {
    let pid = i32::try_from(pid).ok().and_then(Pid::from_raw);
    pid.is_some_and(|pid| test_kill_process(pid) == Err(Errno::SRCH))
}

/// Returns true if the PID of this process belongs to another one for certain.
fn is_another(process: Process) -> bool {
    process.start != 0 && start_of(process.pid).is_some_and(|start| start != process.start)
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
