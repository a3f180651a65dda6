//! Sleeping on several sources at once, and being woken by another thread.

use std::os::fd::{AsFd, BorrowedFd};
use std::time::Duration;

use rustix::event::{PollFd, PollFlags, Timespec, poll};

use super::{Handle, ProcessHandle, alarm};

/// Wakes the threads that sleep on it when any thread raises it.
#[derive(Debug)]
pub(crate) struct Alarm {
    /// The handle that raises it, if that is a separate one.
    raise: Option<Handle>,
    read_end: Handle,
}

impl Alarm {
    pub(crate) fn new() -> Option<Alarm> {
        alarm().ok().map(|(raise, read_end)| Alarm { raise, read_end })
    }

    pub(crate) fn raise(&self) {
        let _ =
            rustix::io::write(self.raise.as_ref().unwrap_or(&self.read_end), &1u64.to_ne_bytes());
    }

    pub(crate) fn lower(&self) {
        // Reads everything that was written: one number, or as many as it was raised times.
        while matches!(rustix::io::read(&self.read_end, &mut [0; 64]), Ok(64)) {}
    }

    pub(crate) fn source(&self) -> Source<'_> {
        self.read_end.as_fd()
    }
}

impl ProcessHandle {
    pub(crate) fn source(&self) -> Source<'_> {
        self.0.as_fd()
    }
}

/// Something that a thread can sleep on.
pub(crate) type Source<'a> = BorrowedFd<'a>;

/// Sleeps until one of these sources is ready, for `up_to` at most; returns the index of the first
/// that is ready.
pub(crate) fn sleep_on(on: &[Source<'_>], up_to: Duration) -> Option<usize> {
    let mut polled: Vec<PollFd<'_>> = on.iter().map(|fd| PollFd::new(fd, PollFlags::IN)).collect();
    let timeout = Timespec {
        tv_sec: i64::try_from(up_to.as_secs()).unwrap_or(i64::MAX),
        tv_nsec: i64::from(up_to.subsec_nanos()),
    };
    let _ = poll(&mut polled, Some(&timeout));
    polled.iter().position(|fd| !fd.revents().is_empty())
}
