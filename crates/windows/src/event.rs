//! Events, and sleeping on them.

use std::os::windows::io::{AsHandle, AsRawHandle, BorrowedHandle, FromRawHandle, OwnedHandle};
use std::ptr::null;
use std::time::Duration;

use windows_sys::Win32::Foundation::{ERROR_ALREADY_EXISTS, GetLastError, WAIT_OBJECT_0};
use windows_sys::Win32::System::Threading::{
    CreateEventW, EVENT_MODIFY_STATE, OpenEventW, ResetEvent, SYNCHRONIZATION_SYNCHRONIZE,
    SetEvent, WaitForMultipleObjects,
};

use crate::{Errno, wide};

/// An event of the kernel: it stays set until it is reset.
#[derive(Debug)]
pub struct Event(OwnedHandle);

impl Event {
    /// Makes an event without a name.
    ///
    /// # Errors
    /// When the system has no resources for another one.
    pub fn new() -> Result<Event, Errno> {
        // SAFETY: no security attributes and no name are allowed.
        let handle = unsafe { CreateEventW(null(), 1, 0, null()) };
        Event::owned(handle)
    }

    /// Makes a new event with this name.
    ///
    /// # Errors
    /// [`Errno::EXIST`] when there is one already, of any process.
    pub fn named(name: &str) -> Result<Event, Errno> {
        let name = wide(name);
        // SAFETY: the name ends in a zero and lives as long as the call.
        let handle = unsafe { CreateEventW(null(), 1, 0, name.as_ptr()) };
        // SAFETY: the call has no preconditions; no other call was made since.
        let existed = unsafe { GetLastError() } == ERROR_ALREADY_EXISTS;
        let event = Event::owned(handle)?;
        if existed { Err(Errno::EXIST) } else { Ok(event) }
    }

    /// Opens the event with this name, of any process.
    ///
    /// # Errors
    /// [`Errno::NOENT`] when there is none, [`Errno::ACCESS`] when this process may not open it.
    pub fn open(name: &str) -> Result<Event, Errno> {
        let name = wide(name);
        let rights = EVENT_MODIFY_STATE | SYNCHRONIZATION_SYNCHRONIZE;
        // SAFETY: the name ends in a zero and lives as long as the call.
        let handle = unsafe { OpenEventW(rights, 0, name.as_ptr()) };
        Event::owned(handle)
    }

    fn owned(handle: *mut core::ffi::c_void) -> Result<Event, Errno> {
        if handle.is_null() {
            return Err(Errno::last());
        }
        // SAFETY: the call returned a handle that nothing else owns.
        Ok(Event(unsafe { OwnedHandle::from_raw_handle(handle) }))
    }

    /// Sets the event: wakes all that sleep on it, now and until it is reset.
    pub fn set(&self) {
        // SAFETY: the handle is open and an event's.
        unsafe { SetEvent(self.0.as_raw_handle()) };
    }

    /// Resets the event to its initial state.
    pub fn reset(&self) {
        // SAFETY: the handle is open and an event's.
        unsafe { ResetEvent(self.0.as_raw_handle()) };
    }
}

impl AsHandle for Event {
    fn as_handle(&self) -> BorrowedHandle<'_> {
        self.0.as_handle()
    }
}

/// Sleeps until one of these events (at most 64) is set, or a process among them has ended, but at most
/// this long. Returns the index of the first of those; `None` after a timeout.
#[must_use]
pub fn sleep_on(on: &[BorrowedHandle<'_>], up_to: Duration) -> Option<usize> {
    // Rounds up: a sleep is never shorter than asked for, and has whole milliseconds.
    let millis = u32::try_from(up_to.as_nanos().div_ceil(1_000_000)).unwrap_or(u32::MAX - 1);
    let handles: Vec<_> = on.iter().take(64).map(AsRawHandle::as_raw_handle).collect();
    if handles.is_empty() {
        std::thread::sleep(Duration::from_millis(millis.into()));
        return None;
    }
    let count = u32::try_from(handles.len()).unwrap_or(64);
    // SAFETY: `count` is the number of handles, which are open as long as they are borrowed.
    let woken = unsafe { WaitForMultipleObjects(count, handles.as_ptr(), 0, millis) };
    (woken.wrapping_sub(WAIT_OBJECT_0) < count).then_some((woken - WAIT_OBJECT_0) as usize)
}
