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
    /// One without a name.
    ///
    /// # Errors
    /// When the system has no more.
    pub fn new() -> Result<Event, Errno> {
        // SAFETY: no security attributes and no name are allowed.
        let handle = unsafe { CreateEventW(null(), 1, 0, null()) };
        Event::owned(handle)
    }

    /// A new one of this name.
    ///
    /// # Errors
    /// [`Errno::EXIST`] when there is one already, whoever made it.
    pub fn named(name: &str) -> Result<Event, Errno> {
        let name = wide(name);
        // SAFETY: the name ends in a zero and lives as long as the call.
        let handle = unsafe { CreateEventW(null(), 1, 0, name.as_ptr()) };
        // SAFETY: it has no conditions; nothing was called since.
        let existed = unsafe { GetLastError() } == ERROR_ALREADY_EXISTS;
        let event = Event::owned(handle)?;
        if existed { Err(Errno::EXIST) } else { Ok(event) }
    }

    /// Somebody's of this name.
    ///
    /// # Errors
    /// [`Errno::NOENT`] when nobody has one, [`Errno::ACCESS`] when it is not for us.
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
        // SAFETY: the call gave a handle that is nobody else's.
        Ok(Event(unsafe { OwnedHandle::from_raw_handle(handle) }))
    }

    /// Wakes all who sleep on it, now and later.
    pub fn set(&self) {
        // SAFETY: the handle is open and an event's.
        unsafe { SetEvent(self.0.as_raw_handle()) };
    }

    /// Makes it as new again.
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

/// Sleeps until one of these (at most 64) is set, or a process among them has ended, so long at most:
/// the first of those that are.
#[must_use]
pub fn sleep_on(on: &[BorrowedHandle<'_>], up_to: Duration) -> Option<usize> {
    // One round of the clock is the shortest sleep; never less than asked for.
    let millis = u32::try_from(up_to.as_nanos().div_ceil(1_000_000)).unwrap_or(u32::MAX - 1);
    let handles: Vec<_> = on.iter().take(64).map(AsRawHandle::as_raw_handle).collect();
    if handles.is_empty() {
        std::thread::sleep(Duration::from_millis(millis.into()));
        return None;
    }
    let count = u32::try_from(handles.len()).unwrap_or(64);
    // SAFETY: there are so many handles, open as long as they are borrowed.
    let woken = unsafe { WaitForMultipleObjects(count, handles.as_ptr(), 0, millis) };
    (woken.wrapping_sub(WAIT_OBJECT_0) < count).then_some((woken - WAIT_OBJECT_0) as usize)
}
