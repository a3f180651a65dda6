//! Processes, their start times, and this boot.

use std::rc::Rc;

use lockbydir_protocol::Process;
use lockbydir_windows::Errno;

use crate::os::process::Watch;

#[cfg(feature = "simulated")]
pub(crate) use lockbydir_windows::crash;
pub(crate) use lockbydir_windows::{boot_id, host};

/// The number of the only PID namespace and the only boot clock. It is not 0, since 0 means
/// unknown.
const ONLY: u32 = 1;

/// Returns the program that a PID runs, for people.
pub(crate) fn command(pid: u32) -> Option<String> {
    let program = lockbydir_windows::Process::open(pid).ok()?.program()?;
    let name = program.file_stem()?.to_string_lossy().into_owned();
    Some(crate::status::printable_bytes(name.as_bytes()))
}

/// Returns whether this process is alive. A process that we may not examine counts as alive.
pub(crate) fn watch(process: Process) -> Watch {
    let found = match lockbydir_windows::Process::open(process.pid) {
        Err(Errno::INVAL) => return Watch::Gone,
        Err(_) => return Watch::Unwatched,
        Ok(found) => found,
    };
    // Another process may have got the same PID.
    let start = if process.start == 0 { 0 } else { found.start().unwrap_or(0) };
    let is_another = start != 0 && start != process.start;
    match is_another || found.has_ended() {
        true => Watch::Gone,
        false => Watch::Living(Rc::new(ProcessHandle(found))),
    }
}

/// A handle on a process, which is signaled when the process ends.
pub(crate) struct ProcessHandle(pub(super) lockbydir_windows::Process);

impl ProcessHandle {
    pub(crate) fn has_ended(&self) -> bool {
        self.0.has_ended()
    }
}

/// Returns true if this can be a PID.
pub(crate) fn is_pid(pid: u32) -> bool {
    pid != 0
}

/// Returns the start time of a process, which distinguishes it from an earlier process with the
/// same PID.
pub(crate) fn start_of(pid: u32) -> Option<u64> {
    lockbydir_windows::Process::open(pid).ok()?.start()
}

/// Returns the number of the namespace of our boot clock.
pub(crate) fn time_space() -> u32 {
    ONLY
}

/// Returns the number of our PID namespace.
pub(crate) fn pid_space() -> u32 {
    ONLY
}

/// Returns a constant: there is no fork here, so no child shares what a process has made.
pub(crate) fn fork_generation() -> u64 {
    1
}

/// Does nothing: a process cannot be stopped here.
#[cfg(feature = "simulated")]
pub(crate) fn stop() {}
