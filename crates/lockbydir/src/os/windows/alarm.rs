//! An alarm that wakes a sleeping thread: an event of the kernel.

use std::os::windows::io::{AsHandle, BorrowedHandle};

use lockbydir_windows::Event;

use super::ProcessHandle;

/// Wakes the threads that sleep on it when any thread raises it.
#[derive(Debug)]
pub(crate) struct Alarm(Event);

impl Alarm {
    pub(crate) fn new() -> Option<Alarm> {
        Event::new().ok().map(Alarm)
    }

    pub(crate) fn raise(&self) {
        self.0.set();
    }

    pub(crate) fn lower(&self) {
        self.0.reset();
    }

    pub(crate) fn source(&self) -> Source<'_> {
        self.0.as_handle()
    }
}

impl ProcessHandle {
    pub(crate) fn source(&self) -> Source<'_> {
        self.0.as_handle()
    }
}

/// Something that a thread can sleep on.
pub(crate) type Source<'a> = BorrowedHandle<'a>;

pub(crate) use lockbydir_windows::sleep_on;
