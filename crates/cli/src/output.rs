//! Prints messages and results. Messages go to standard error through a thread of their own, so that
//! a process that holds a lock or ends a command never waits for a full pipe or a stopped terminal; a
//! closed output causes no panic. Results go to standard output.

use std::collections::VecDeque;
use std::io::{self, ErrorKind, IsTerminal, Write, stderr, stdout};
use std::sync::mpsc::{RecvTimeoutError, sync_channel};
use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use crate::descriptors;
use crate::exit::{Failure, IO};

/// Limits how long the program waits at its end for unwritten messages.
const AT_END: Duration = Duration::from_secs(1);
/// Limits one wait in the middle of the program: a living reader needs less.
const LONGEST_PAUSE: Duration = Duration::from_millis(100);
/// Limits the number of unwritten messages. If there are more, nobody reads them: they are dropped.
const MOST_UNWRITTEN: usize = 64;
/// The pause before another try to write to an output that another process made non-blocking.
const RETRY: Duration = Duration::from_millis(10);
/// Clears the line of the cursor.
const CLEAR: &str = "\r\x1b[K";

static MESSAGES: Mutex<Messages> = Mutex::new(Messages {
    unwritten: VecDeque::new(),
    is_writing: false,
    is_started: false,
    has_live_queue: false,
});
static CHANGED: Condvar = Condvar::new();

struct Messages {
    unwritten: VecDeque<String>,
    /// The thread is in a write, which may block for ever.
    is_writing: bool,
    is_started: bool,
    has_live_queue: bool,
}

impl Messages {
    fn is_idle(&self) -> bool {
        self.unwritten.is_empty() && !self.is_writing
    }

    fn push(&mut self, text: String) {
        if !self.is_started {
            let started =
                thread::Builder::new().name("lockbydir-note".into()).spawn(write_messages);
            self.is_started = started.is_ok();
        }
        if !self.is_started {
            // No thread can be started now, so the message is written only if that does not block.
            if descriptors::is_writable(&stderr()) {
                let _ = stderr().write_all(text.as_bytes());
            }
        } else if self.unwritten.len() < MOST_UNWRITTEN {
            self.unwritten.push_back(text);
            CHANGED.notify_all();
        }
    }
}

fn messages() -> MutexGuard<'static, Messages> {
    MESSAGES.lock().unwrap_or_else(PoisonError::into_inner)
}

fn write_messages() {
    let mut messages = messages();
    loop {
        match messages.unwritten.pop_front() {
            None => messages = CHANGED.wait(messages).unwrap_or_else(PoisonError::into_inner),
            Some(text) => {
                messages.is_writing = true;
                drop(messages);
                // An error is ignored: there is no other output to report it on.
                let _ = write_all(&mut stderr(), text.as_bytes());
                messages = self::messages();
                messages.is_writing = false;
                CHANGED.notify_all();
            }
        }
    }
}

/// Writes all bytes, even if another process made this output non-blocking.
fn write_all(out: &mut impl Write, mut bytes: &[u8]) -> io::Result<()> {
    while !bytes.is_empty() {
        match out.write(bytes) {
            Ok(0) => return Err(ErrorKind::WriteZero.into()),
            Ok(written) => bytes = &bytes[written..],
            Err(error) if error.kind() == ErrorKind::Interrupted => {}
            Err(error) if error.kind() == ErrorKind::WouldBlock => thread::sleep(RETRY),
            Err(error) => return Err(error),
        }
    }
    Ok(())
}

/// Queues a message for standard error; does not wait until it is written.
pub(crate) fn note(message: impl std::fmt::Display) {
    messages().push(format!("lockbydir: {message}\n"));
}

/// Queues a text for standard error as it is; does not wait until it is written.
pub(crate) fn plain(text: impl Into<String>) {
    messages().push(text.into());
}

/// Redraws the live line of a waiter, unless an earlier text is still unwritten.
pub(crate) fn live(line: &str) {
    let mut messages = messages();
    if messages.is_idle() {
        messages.has_live_queue = true;
        messages.push(format!("\r{line}\x1b[K"));
    }
}

/// Removes the live line, if there is one.
pub(crate) fn live_over() {
    let mut messages = messages();
    if std::mem::take(&mut messages.has_live_queue) {
        messages.push(CLEAR.into());
    }
}

/// Waits until all messages are written, so that the command's own output follows them. Waits at most
/// for `LONGEST_PAUSE` or a tenth of `timeout`, whichever is shorter, since the lock is already held.
pub(crate) fn settle(timeout: Duration) {
    let mut messages = wait_idle(messages(), LONGEST_PAUSE.min(timeout / 10));
    // If it were written later, it would clear a line of the command's output.
    messages.unwritten.retain(|text| text != CLEAR);
}

/// Waits at the end of the program for unwritten messages, for `AT_END` at most.
pub(crate) fn end() {
    let messages = messages();
    if messages.is_started {
        drop(wait_idle(messages, AT_END));
    }
}

fn wait_idle(
    mut messages: MutexGuard<'static, Messages>,
    up_to: Duration,
) -> MutexGuard<'static, Messages> {
    let until = Instant::now() + up_to;
    while messages.is_started && !messages.is_idle() {
        let rest = until.saturating_duration_since(Instant::now());
        if rest.is_zero() {
            break;
        }
        messages = CHANGED.wait_timeout(messages, rest).unwrap_or_else(PoisonError::into_inner).0;
    }
    messages
}

/// Prints panics as messages, like all others.
pub(crate) fn print_panics() {
    std::panic::set_hook(Box::new(|info| {
        use std::backtrace::{Backtrace, BacktraceStatus};
        let backtrace = Backtrace::capture();
        note(info);
        if backtrace.status() == BacktraceStatus::Captured {
            plain(backtrace.to_string());
        }
        // Unwinding may release a lock next, so this wait is short.
        drop(wait_idle(messages(), LONGEST_PAUSE));
    }));
}

/// Writes to standard output and waits as long as its reader takes; a reader that is gone is not an
/// error. For verbs that hold no lock.
pub(crate) fn print(text: &str) -> Result<u8, Failure> {
    has_reader(text).map(|_| 0)
}

/// Writes like [`print`]; returns false if the reader is gone.
pub(crate) fn has_reader(text: &str) -> Result<bool, Failure> {
    match write(text) {
        Err(error) if error.kind() == ErrorKind::BrokenPipe => Ok(false),
        Err(error) => Err(Failure::new(IO, format!("cannot print: {error}"))),
        Ok(()) => Ok(true),
    }
}

/// Writes to standard output, and waits while `may_wait` returns true; it is called about every
/// `LONGEST_PAUSE`. After [`ErrorKind::TimedOut`] the text may still be written later.
pub(crate) fn print_while(text: String, mut may_wait: impl FnMut() -> bool) -> io::Result<()> {
    let (sender, written) = sync_channel(1);
    thread::Builder::new().name("output".into()).spawn(move || sender.send(write(&text)))?;
    loop {
        match written.recv_timeout(LONGEST_PAUSE) {
            Ok(done) => return done,
            Err(RecvTimeoutError::Disconnected) => return Err(ErrorKind::Other.into()),
            Err(RecvTimeoutError::Timeout) if may_wait() => {}
            Err(RecvTimeoutError::Timeout) => {
                return Err(io::Error::new(ErrorKind::TimedOut, "nobody reads it"));
            }
        }
    }
}

/// Writes to standard output.
pub(crate) fn write(text: &str) -> io::Result<()> {
    if text.is_empty() {
        return Ok(());
    }
    if descriptors::is_stdout_closed() {
        return Err(io::Error::other("standard output is closed"));
    }
    let mut out = stdout().lock();
    write_all(&mut out, text.as_bytes())?;
    loop {
        match out.flush() {
            Err(error) if error.kind() == ErrorKind::WouldBlock => thread::sleep(RETRY),
            done => return done,
        }
    }
}

/// Whether text on `out` may have colours: `out` is a terminal, and `NO_COLOR` is not set.
pub(crate) fn has_colours(out: &impl IsTerminal) -> bool {
    let is_set = |name| std::env::var_os(name).is_some_and(|value| !value.is_empty());
    out.is_terminal() && !is_set("NO_COLOR")
}
