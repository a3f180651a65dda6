//! Sleeping on several things at once, and being woken by another thread.

use std::os::fd::{AsFd, BorrowedFd};
use std::time::Duration;

use rustix::event::{PollFd, PollFlags, Timespec, poll};

use super::{Handle, ProcessHandle, alarm};

/// Raised from any thread, it wakes whoever sleeps on it.
#[derive(Debug)]
pub(crate) struct Alarm {
    /// By which it is raised, if that is another handle.
    raise: Option<Handle>,
    hear: Handle,
}

impl Alarm {
    pub(crate) fn new() -> Option<Alarm> {
        alarm().ok().map(|(raise, hear)| Alarm { raise, hear })
    }

    pub(crate) fn raise(&self) {
        let _ = rustix::io::write(self.raise.as_ref().unwrap_or(&self.hear), &1u64.to_ne_bytes());
    }

    pub(crate) fn lower(&self) {
        // All that it was raised: one number, or as many as were written.
        while matches!(rustix::io::read(&self.hear, &mut [0; 64]), Ok(64)) {}
    }

    pub(crate) fn source(&self) -> Source<'_> {
        self.hear.as_fd()
    }
}

impl ProcessHandle {
    pub(crate) fn source(&self) -> Source<'_> {
        self.0.as_fd()
    }
}

/// What one sleeps on.
pub(crate) type Source<'a> = BorrowedFd<'a>;

/// Sleeps until one of these has something to tell, so long at most: which one is the first?
pub(crate) fn sleep_on(on: &[Source<'_>], up_to: Duration) -> Option<usize> {
    let mut polled: Vec<PollFd<'_>> = on.iter().map(|fd| PollFd::new(fd, PollFlags::IN)).collect();
    let timeout = Timespec {
        tv_sec: i64::try_from(up_to.as_secs()).unwrap_or(i64::MAX),
        tv_nsec: i64::from(up_to.subsec_nanos()),
    };
    let _ = poll(&mut polled, Some(&timeout));
    polled.iter().position(|fd| !fd.revents().is_empty())
}
