//! Processes, their start times, and this boot.

use lockbydir_protocol::Process;
use lockbydir_windows::Errno;

pub(crate) use lockbydir_windows::{boot_id, crash, host};

/// There is one space of PIDs and one boot clock. It has a number all the same: 0 is unknown.
const ONLY: u32 = 1;

/// The program that a PID runs, for people.
pub(crate) fn command(pid: u32) -> Option<String> {
    let program = lockbydir_windows::Process::open(pid).ok()?.program()?;
    let name = program.file_stem()?.to_string_lossy().into_owned();
    Some(crate::status::printable_bytes(name.as_bytes()))
}

/// Is this process gone for certain? One that is not for us to look at is not.
pub(crate) fn is_gone(process: Process) -> bool {
    match lockbydir_windows::Process::open(process.pid) {
        Err(errno) => errno == Errno::INVAL,
        Ok(found) => {
            let start = found.start().unwrap_or(0);
            // Another process that was given the same PID.
            let is_another = start != 0 && process.start != 0 && start != process.start;
            is_another || found.has_ended()
        }
    }
}

/// A handle on a process, which tells of its end.
pub(crate) struct ProcessHandle(pub(super) lockbydir_windows::Process);

impl ProcessHandle {
    pub(crate) fn of(pid: u32) -> Option<ProcessHandle> {
        lockbydir_windows::Process::open(pid).ok().map(ProcessHandle)
    }

    pub(crate) fn has_ended(&self) -> bool {
        self.0.has_ended()
    }
}

/// Can this be a PID?
pub(crate) fn is_pid(pid: u32) -> bool {
    pid != 0
}

/// What tells a process from an earlier one that had its PID.
pub(crate) fn start_of(pid: u32) -> Option<u64> {
    lockbydir_windows::Process::open(pid).ok()?.start()
}

/// Whose boot clock we read.
pub(crate) fn time_space() -> u32 {
    ONLY
}

/// Whose PIDs we see.
pub(crate) fn pid_space() -> u32 {
    ONLY
}

/// There is no fork here: a process has no child that shares what it has made.
pub(crate) fn fork_generation() -> u64 {
    1
}

/// There is no such thing as stopping a process here: nothing happens.
pub(crate) fn stop() {}
