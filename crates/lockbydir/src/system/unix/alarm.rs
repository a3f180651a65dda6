//! What wakes a sleeping thread: a descriptor that polls readable, and the poll itself.

use std::os::fd::{AsFd, BorrowedFd};
use std::time::Duration;

use rustix::event::{EventfdFlags, PollFd, PollFlags, Timespec, eventfd, poll};

use super::{Handle, Life};

/// Raised from any thread, it wakes whoever sleeps on it.
#[derive(Debug)]
pub(crate) struct Alarm(Handle);

impl Alarm {
    pub(crate) fn new() -> Option<Alarm> {
        eventfd(0, EventfdFlags::CLOEXEC | EventfdFlags::NONBLOCK).ok().map(Alarm)
    }

    pub(crate) fn raise(&self) {
        let _ = rustix::io::write(&self.0, &1u64.to_ne_bytes());
    }

    pub(crate) fn lower(&self) {
        let _ = rustix::io::read(&self.0, &mut [0; 8]);
    }

    pub(crate) fn source(&self) -> Source<'_> {
        self.0.as_fd()
    }
}

impl Life {
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
