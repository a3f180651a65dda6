//! Lets the main thread sleep until a signal arrives, without polling. The interpreter's own handler
//! of a signal writes the signal's number to the wakeup descriptor (`signal.set_wakeup_fd`),
//! whichever thread it runs on; here that is a pipe, which the main thread polls.

use std::cell::Cell;
use std::io::{PipeReader, PipeWriter, Read, Write, pipe};
use std::os::fd::{AsFd, AsRawFd};
use std::sync::Arc;

use lockbydir::engine::ForkGeneration;
use pyo3::exceptions::{PyOSError, PyValueError};
use pyo3::prelude::*;
use pyo3::types::{PyBytes, PyDict};
use rustix::event::{PollFd, PollFlags, poll};
use rustix::fs::{OFlags, fcntl_setfl};

/// The value that stands for no wakeup descriptor.
const NONE: i32 = -1;

/// What the interpreter does when the wakeup descriptor takes no more.
#[derive(Clone, Copy, PartialEq, Eq)]
enum WhenFull {
    /// Nothing: a full pipe of ours wakes the main thread all the same.
    Ignore,
    /// It prints a warning. This is its default, which others get back: what they have chosen cannot
    /// be found out.
    Warn,
}

/// While it lives, signals wake the main thread from [`sleep`](Signals::sleep). The wakeup descriptor
/// that was set before, by asyncio for example, receives all that it would have received, and is
/// put back at the end.
pub(crate) struct Signals<'py> {
    py: Python<'py>,
    reader: PipeReader,
    writer: Arc<PipeWriter>,
    /// The wakeup descriptor that was set before.
    before: Cell<i32>,
    /// The process that made the pipe: a forked child has the same pipe, and must not read what is
    /// meant for its parent.
    made_in: ForkGeneration,
}

/// Wakes the main thread when it is dropped, from another thread.
pub(crate) struct WakeMain(Arc<PipeWriter>);

impl Drop for WakeMain {
    fn drop(&mut self) {
        // No signal has this number. If the pipe is full, the main thread is awake.
        let _ = (&*self.0).write(&[0]);
    }
}

impl<'py> Signals<'py> {
    /// Returns `None` in a thread that handles no signals: in any but the main thread of the main
    /// interpreter. Runs the handlers of signals that arrived before.
    pub(crate) fn catch(py: Python<'py>) -> PyResult<Option<Signals<'py>>> {
        let (reader, writer) = pipe()?;
        fcntl_setfl(&reader, OFlags::NONBLOCK).map_err(std::io::Error::from)?;
        fcntl_setfl(&writer, OFlags::NONBLOCK).map_err(std::io::Error::from)?;
        let before = match set_wakeup_fd(py, writer.as_raw_fd(), WhenFull::Ignore) {
            Ok(before) => before,
            Err(error) if error.is_instance_of::<PyValueError>(py) => return Ok(None),
            Err(error) => return Err(error),
        };
        let before = Cell::new(before);
        let made_in = ForkGeneration::current();
        let signals = Signals { py, reader, writer: Arc::new(writer), before, made_in };
        py.check_signals()?;
        Ok(Some(signals))
    }

    pub(crate) fn wake_main(&self) -> WakeMain {
        WakeMain(self.writer.clone())
    }

    /// Sleeps until a signal arrives or a [`WakeMain`] is dropped, then runs the handlers of the
    /// signals; returns the exception that one raised. If a handler forks, it returns in the child
    /// too, where this value can only be dropped.
    pub(crate) fn sleep(&self) -> PyResult<()> {
        let reader = self.reader.as_fd();
        self.py.detach(|| {
            // After a failure or an interruption the pipe is empty, and the caller sleeps again.
            let _ = poll(&mut [PollFd::from_borrowed_fd(reader, PollFlags::IN)], None);
        });
        self.pass_on()?;
        self.py.check_signals()?;
        // A handler may have set another wakeup descriptor, or none.
        let own = self.writer.as_raw_fd();
        if self.made_in.is_current() {
            let found = set_wakeup_fd(self.py, own, WhenFull::Ignore)?;
            if found != own {
                self.before.set(found);
            }
        }
        Ok(())
    }

    pub(crate) fn is_of_this_process(&self) -> bool {
        self.made_in.is_current()
    }

    /// Writes the number of a signal to the descriptor that was set before, as the interpreter would
    /// have done.
    fn pass_on_one(&self, number: u8) -> PyResult<()> {
        let before = self.before.get();
        if before == NONE {
            return Ok(());
        }
        let number = PyBytes::new(self.py, &[number]);
        match self.py.import("os")?.call_method1("write", (before, number)) {
            // If it is full or closed, the interpreter could not have written to it either.
            Err(error) if !error.is_instance_of::<PyOSError>(self.py) => Err(error),
            _ => Ok(()),
        }
    }

    /// Empties the pipe, and passes the signals on.
    fn pass_on(&self) -> PyResult<()> {
        let mut numbers = [0; 256];
        loop {
            let length = match (&self.reader).read(&mut numbers) {
                Ok(0) | Err(_) => return Ok(()),
                Ok(length) => length,
            };
            for number in numbers[..length].iter().filter(|number| **number != 0) {
                self.pass_on_one(*number)?;
            }
        }
    }
}

impl Drop for Signals<'_> {
    fn drop(&mut self) {
        // It may have been closed meanwhile.
        let put_back = |fd| set_wakeup_fd(self.py, fd, WhenFull::Warn);
        let is_put_back = put_back(self.before.get()).or_else(|_| put_back(NONE)).is_ok();
        if is_put_back && self.made_in.is_current() {
            // What arrived since the last sleep. The interpreter handles it as soon as Python runs.
            let _ = self.pass_on();
        }
    }
}

/// Sets the wakeup descriptor, and returns the one that was set before. It is a native function, in
/// which Python handles no signals.
fn set_wakeup_fd(py: Python<'_>, fd: i32, full: WhenFull) -> PyResult<i32> {
    let options = PyDict::new(py);
    options.set_item("warn_on_full_buffer", full == WhenFull::Warn)?;
    py.import("signal")?.getattr("set_wakeup_fd")?.call((fd,), Some(&options))?.extract()
}
