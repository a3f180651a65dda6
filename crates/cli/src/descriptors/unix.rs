//! Descriptors on Unix.
//!
//! Before `main` the standard library opens `/dev/null` in place of a standard output that was
//! closed at the start. A key that is printed there is lost although the write succeeds; and many
//! callers open `/dev/null` there on purpose, which looks just the same later. So a function that
//! runs even earlier inspects the descriptor.

use std::os::fd::AsFd;
use std::sync::atomic::{AtomicBool, Ordering};

use rustix::event::{PollFd, PollFlags, Timespec, poll};

static IS_STDOUT_CLOSED: AtomicBool = AtomicBool::new(false);

extern "C" fn inspect_stdout() {
    let found = rustix::io::fcntl_getfd(rustix::stdio::stdout());
    IS_STDOUT_CLOSED.store(found == Err(rustix::io::Errno::BADF), Ordering::Relaxed);
}

// SAFETY: the section holds pointers to functions that are called before `main`, with arguments that
// this function ignores. It uses no part of the standard library that is set up later: it makes one
// system call and stores a boolean.
#[expect(
    unsafe_code,
    reason = "the only way to see a descriptor before the standard library opens it"
)]
#[used]
#[cfg_attr(target_os = "macos", unsafe(link_section = "__DATA,__mod_init_func"))]
#[cfg_attr(not(target_os = "macos"), unsafe(link_section = ".init_array"))]
static BEFORE_MAIN: extern "C" fn() = inspect_stdout;

/// Whether standard output was closed when this program started.
pub(crate) fn is_stdout_closed() -> bool {
    IS_STDOUT_CLOSED.load(Ordering::Relaxed)
}

/// Whether `out` takes a short text without blocking.
pub(crate) fn is_writable(out: &impl AsFd) -> bool {
    let mut asked = [PollFd::new(out, PollFlags::OUT)];
    let at_once = Timespec { tv_sec: 0, tv_nsec: 0 };
    poll(&mut asked, Some(&at_once)).is_ok() && asked[0].revents().contains(PollFlags::OUT)
}
