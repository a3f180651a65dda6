//! Processes, and the identity of this boot.

use std::os::windows::io::{AsHandle, AsRawHandle, BorrowedHandle, FromRawHandle, OwnedHandle};
use std::path::PathBuf;

use windows_sys::Wdk::System::SystemInformation::{
    NtQuerySystemInformation, SystemProcessInformation,
};
use windows_sys::Win32::Foundation::{FILETIME, WAIT_OBJECT_0};
use windows_sys::Win32::System::SystemInformation::{
    ComputerNamePhysicalDnsHostname, GetComputerNameExW,
};
use windows_sys::Win32::System::Threading::{
    GetCurrentProcess, GetProcessId, GetProcessTimes, OpenProcess,
    PROCESS_QUERY_LIMITED_INFORMATION, PROCESS_SYNCHRONIZE, QueryFullProcessImageNameW,
    TerminateProcess, WaitForSingleObject,
};
use windows_sys::Win32::System::WindowsProgramming::SYSTEM_PROCESS_INFORMATION;

use crate::Errno;

/// Milliseconds from 1601, the origin of Windows' times, to 1970.
const EPOCH: u64 = 11_644_473_600_000;

/// A process that existed when it was opened.
#[derive(Debug)]
pub struct Process(OwnedHandle);

impl Process {
    /// Opens the process that has this PID now.
    ///
    /// # Errors
    /// [`Errno::INVAL`] when there is none; [`Errno::ACCESS`] when this process may not open it.
    pub fn open(pid: u32) -> Result<Process, Errno> {
        let rights = PROCESS_QUERY_LIMITED_INFORMATION | PROCESS_SYNCHRONIZE;
        // SAFETY: the call has no preconditions.
        let handle = unsafe { OpenProcess(rights, 0, pid) };
        if handle.is_null() {
            return Err(Errno::last());
        }
        // SAFETY: the call returned a handle that nothing else owns.
        let process = Process(unsafe { OwnedHandle::from_raw_handle(handle) });
        // `OpenProcess` ignores the last two bits of a PID, so the PID is compared.
        // SAFETY: the handle is open and that of a process.
        match unsafe { GetProcessId(process.0.as_raw_handle()) } {
            found if found == pid => Ok(process),
            _ => Err(Errno::INVAL),
        }
    }

    /// Returns when the process was made, in milliseconds since 1970, by the wall clock of that moment.
    #[must_use]
    pub fn start(&self) -> Option<u64> {
        let mut times = [FILETIME::default(); 4];
        let [made, ended, kernel, user] = &mut times;
        // SAFETY: the handle is open and that of a process, and there is room for four times.
        let done =
            unsafe { GetProcessTimes(self.0.as_raw_handle(), made, ended, kernel, user) } != 0;
        let ticks = u64::from(made.dwHighDateTime) << 32 | u64::from(made.dwLowDateTime);
        (done && ticks != 0).then(|| (ticks / 10_000).saturating_sub(EPOCH))
    }

    /// Whether the process has ended.
    #[must_use]
    pub fn has_ended(&self) -> bool {
        // SAFETY: the handle is open and that of a process.
        unsafe { WaitForSingleObject(self.0.as_raw_handle(), 0) == WAIT_OBJECT_0 }
    }

    /// Returns the program that the process runs.
    #[must_use]
    pub fn program(&self) -> Option<PathBuf> {
        let mut name = [0_u16; 1024];
        let mut length = 1024;
        // SAFETY: the handle is open and that of a process, and the buffer has this size.
        let done = unsafe {
            QueryFullProcessImageNameW(self.0.as_raw_handle(), 0, name.as_mut_ptr(), &mut length)
        };
        let name = name.get(..length as usize).filter(|_| done != 0)?;
        Some(PathBuf::from(String::from_utf16_lossy(name)))
    }
}

impl AsHandle for Process {
    fn as_handle(&self) -> BorrowedHandle<'_> {
        self.0.as_handle()
    }
}

/// Ends this process at once: nothing is flushed or dropped.
pub fn crash() {
    // SAFETY: the call only ends this process.
    unsafe { TerminateProcess(GetCurrentProcess(), 9) };
}

/// Returns a number that distinguishes this boot from all others: when its first process was made. Windows
/// made that process at boot, and nobody can end it without ending Windows. Setting the clock does not
/// change the number. It is 0 if it is unknown.
///
/// The first process is `smss.exe`, or `services.exe` if no `smss.exe` is visible. The search follows the
/// order in which the kernel made the processes, so a later process of that name is not taken for it.
#[must_use]
pub fn boot_id() -> u64 {
    let made = processes();
    let first = |name: &str| made.iter().find(|(found, _)| found.eq_ignore_ascii_case(name));
    first("smss.exe").or_else(|| first("services.exe")).map_or(0, |(_, made)| made.cast_unsigned())
}

/// Returns the names of all processes and when they were made, in the kernel's order.
fn processes() -> Vec<(String, i64)> {
    let mut buffer: Vec<u64> = vec![0; 16 * 1024];
    let length = loop {
        let room = buffer.len() * 8;
        let mut length = 0;
        // SAFETY: the buffer has this size.
        let status = unsafe {
            NtQuerySystemInformation(
                SystemProcessInformation,
                buffer.as_mut_ptr().cast(),
                u32::try_from(room).unwrap_or(0),
                &mut length,
            )
        };
        match status {
            0.. => break room.min(length.max(1) as usize),
            _ if room < 1 << 26 => buffer.resize(buffer.len() * 2, 0),
            _ => return Vec::new(),
        }
    };
    let mut found = Vec::new();
    let mut at = 0;
    while at + size_of::<SYSTEM_PROCESS_INFORMATION>() <= length {
        // SAFETY: a whole structure is in the filled part of the buffer; the kernel aligns each.
        let one: SYSTEM_PROCESS_INFORMATION = unsafe {
            buffer.as_ptr().byte_add(at).cast::<SYSTEM_PROCESS_INFORMATION>().read_unaligned()
        };
        let name = &one.ImageName;
        let text = if name.Buffer.is_null() {
            &[]
        } else {
            // SAFETY: the kernel put the name into the same buffer, which is still alive.
            unsafe { std::slice::from_raw_parts(name.Buffer, usize::from(name.Length) / 2) }
        };
        // The creation time has no name in the public structure, but has its place in it.
        let made = one.Reserved1.get(24..32).and_then(|bytes| bytes.try_into().ok());
        found.push((String::from_utf16_lossy(text), made.map_or(0, i64::from_ne_bytes)));
        if one.NextEntryOffset == 0 {
            break;
        }
        at += one.NextEntryOffset as usize;
    }
    found
}

/// Returns the computer's name.
#[must_use]
pub fn host() -> String {
    let mut name = [0_u16; 256];
    let mut length = 256;
    let kind = ComputerNamePhysicalDnsHostname;
    // SAFETY: the buffer has this size.
    let done = unsafe { GetComputerNameExW(kind, name.as_mut_ptr(), &mut length) };
    let name = name.get(..length as usize).filter(|_| done != 0).unwrap_or_default();
    String::from_utf16_lossy(name)
}
