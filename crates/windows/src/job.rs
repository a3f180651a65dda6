//! Jobs: a process and all that it starts, ended as one.

use std::os::windows::io::{AsRawHandle, BorrowedHandle, FromRawHandle, OwnedHandle};
use std::ptr::null;

use windows_sys::Win32::Foundation::INVALID_HANDLE_VALUE;
use windows_sys::Win32::System::Console::{CTRL_BREAK_EVENT, GenerateConsoleCtrlEvent};
use windows_sys::Win32::System::Diagnostics::ToolHelp::{
    CreateToolhelp32Snapshot, TH32CS_SNAPTHREAD, THREADENTRY32, Thread32First, Thread32Next,
};
use windows_sys::Win32::System::JobObjects::{
    AssignProcessToJobObject, CreateJobObjectW, JOB_OBJECT_LIMIT_KILL_ON_JOB_CLOSE,
    JOBOBJECT_EXTENDED_LIMIT_INFORMATION, JobObjectExtendedLimitInformation,
    SetInformationJobObject, TerminateJobObject,
};
use windows_sys::Win32::System::Threading::{OpenThread, ResumeThread, THREAD_SUSPEND_RESUME};

use crate::Errno;

/// A job whose processes end with it: when the last handle is closed, also by a crash.
#[derive(Debug)]
pub struct Job(OwnedHandle);

impl Job {
    /// Makes an empty job.
    ///
    /// # Errors
    /// When the system has no resources for another one.
    pub fn new() -> Result<Job, Errno> {
        // SAFETY: neither attributes nor a name are needed.
        let handle = unsafe { CreateJobObjectW(null(), null()) };
        if handle.is_null() {
            return Err(Errno::last());
        }
        // SAFETY: the call returned a handle that nothing else owns.
        let job = Job(unsafe { OwnedHandle::from_raw_handle(handle) });
        let mut limits = JOBOBJECT_EXTENDED_LIMIT_INFORMATION::default();
        limits.BasicLimitInformation.LimitFlags = JOB_OBJECT_LIMIT_KILL_ON_JOB_CLOSE;
        let size = size_of::<JOBOBJECT_EXTENDED_LIMIT_INFORMATION>() as u32;
        // SAFETY: `limits` is the structure of this class, and has this size.
        let done = unsafe {
            SetInformationJobObject(
                job.0.as_raw_handle(),
                JobObjectExtendedLimitInformation,
                (&raw const limits).cast(),
                size,
            )
        };
        if done == 0 { Err(Errno::last()) } else { Ok(job) }
    }

    /// Puts a process into the job, and with it all that it will start.
    ///
    /// # Errors
    /// When the process has ended, or is in a job that allows no nested job.
    pub fn take(&self, process: BorrowedHandle<'_>) -> Result<(), Errno> {
        // SAFETY: both handles are open.
        let done =
            unsafe { AssignProcessToJobObject(self.0.as_raw_handle(), process.as_raw_handle()) };
        if done == 0 { Err(Errno::last()) } else { Ok(()) }
    }

    /// Ends all processes of the job at once, with this exit code.
    pub fn end(&self, code: u32) {
        // SAFETY: the handle is open and a job's.
        unsafe { TerminateJobObject(self.0.as_raw_handle(), code) };
    }
}

/// Resumes a process that was started suspended: all its threads, of which it has one.
///
/// # Errors
/// When no thread of it can be resumed.
pub fn resume(pid: u32) -> Result<(), Errno> {
    // SAFETY: the call has no preconditions.
    let threads = unsafe { CreateToolhelp32Snapshot(TH32CS_SNAPTHREAD, 0) };
    if threads == INVALID_HANDLE_VALUE {
        return Err(Errno::last());
    }
    // SAFETY: the call returned a handle that nothing else owns.
    let threads = unsafe { OwnedHandle::from_raw_handle(threads) };
    let mut one = THREADENTRY32 { dwSize: size_of::<THREADENTRY32>() as u32, ..Default::default() };
    let mut resumed = Err(Errno::NOENT);
    // SAFETY: the handle is open and the structure has its size in it.
    let mut more = unsafe { Thread32First(threads.as_raw_handle(), &mut one) };
    while more != 0 {
        if one.th32OwnerProcessID == pid {
            // SAFETY: the call has no preconditions.
            let thread = unsafe { OpenThread(THREAD_SUSPEND_RESUME, 0, one.th32ThreadID) };
            if !thread.is_null() {
                // SAFETY: the call returned a handle that nothing else owns.
                let thread = unsafe { OwnedHandle::from_raw_handle(thread) };
                // SAFETY: the handle is open and a thread's.
                if unsafe { ResumeThread(thread.as_raw_handle()) } != u32::MAX {
                    resumed = Ok(());
                }
            }
        }
        // SAFETY: as above.
        more = unsafe { Thread32Next(threads.as_raw_handle(), &mut one) };
    }
    resumed
}

/// Asks the processes of this group, which share the console of this process, to end. Returns false if
/// they cannot be asked: this process has no console, or they have none.
pub fn interrupt_group(pid: u32) -> bool {
    // SAFETY: the call has no preconditions.
    unsafe { GenerateConsoleCtrlEvent(CTRL_BREAK_EVENT, pid) != 0 }
}
