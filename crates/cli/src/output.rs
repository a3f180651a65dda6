//! What this program prints. Messages go to standard error through a thread of their own, so that
//! nobody who holds a lock or ends a command waits for a full pipe or a stopped terminal; an output
//! that is gone is no panic. What was asked for goes to standard output.

use std::collections::VecDeque;
use std::io::{self, ErrorKind, IsTerminal, Write, stderr, stdout};
use std::sync::mpsc::{RecvTimeoutError, sync_channel};
use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use crate::descriptors;
use crate::exit::{Failure, IO};

/// What is still unwritten at the end of the program has this long.
const AT_END: Duration = Duration::from_secs(1);
/// A wait in the middle of the program takes at most this long: a reader that lives needs less.
const LONGEST_PAUSE: Duration = Duration::from_millis(100);
/// More unwritten messages than this are not kept: nobody reads them.
const MOST_UNWRITTEN: usize = 64;
/// An output that another process made non-blocking is tried again after this.
const RETRY: Duration = Duration::from_millis(10);
/// Clears the line that the cursor is in.
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
    /// The thread is within a write, perhaps for ever.
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
            let started = thread::Builder::new().name("messages".into()).spawn(write_messages);
            self.is_started = started.is_ok();
        }
        if !self.is_started {
            // No thread can be started now: only what needs no wait is written.
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
                // Where messages cannot be written, nobody can be notified of that either.
                let _ = write_all(&mut stderr(), text.as_bytes());
                messages = self::messages();
                messages.is_writing = false;
                CHANGED.notify_all();
            }
        }
    }
}

/// Writes all of it, also where another process made this output non-blocking.
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

/// Prints a message on standard error, soon; does not wait for it.
pub(crate) fn note(message: impl std::fmt::Display) {
    messages().push(format!("lockbydir: {message}\n"));
}

/// Prints this on standard error as it is, soon; does not wait for it.
pub(crate) fn plain(text: impl Into<String>) {
    messages().push(text.into());
}

/// Draws the live line of a waiter anew, if the one before has been written.
pub(crate) fn live(line: &str) {
    let mut messages = messages();
    if messages.is_idle() {
        messages.has_live_queue = true;
        messages.push(format!("\r{line}\x1b[K"));
    }
}

/// Takes the live line away, if there is one.
pub(crate) fn live_over() {
    let mut messages = messages();
    if std::mem::take(&mut messages.has_live_queue) {
        messages.push(CLEAR.into());
    }
}

/// Waits a moment until all messages are written, so that the command's own output comes after them:
/// for a small part of `timeout` at most, since the lock is held already.
pub(crate) fn settle(timeout: Duration) {
    let mut messages = wait_idle(messages(), LONGEST_PAUSE.min(timeout / 10));
    // Written later, this would clear a line of the command.
    messages.unwritten.retain(|text| text != CLEAR);
}

/// At the end of the program: waits for messages that are not written yet, but not for ever.
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

/// A panic is printed as every other message.
pub(crate) fn print_panics() {
    std::panic::set_hook(Box::new(|info| {
        use std::backtrace::{Backtrace, BacktraceStatus};
        let backtrace = Backtrace::capture();
        note(info);
        if backtrace.status() == BacktraceStatus::Captured {
            plain(backtrace.to_string());
        }
        // What is dropped next may release a lock.
        drop(wait_idle(messages(), LONGEST_PAUSE));
    }));
}

/// Writes to standard output, as long as its reader takes; a reader that went away is no error.
/// For verbs that hold no lock.
pub(crate) fn print(text: &str) -> Result<u8, Failure> {
    has_reader(text).map(|_| 0)
}

/// As [`print`]; false when its reader went away.
pub(crate) fn has_reader(text: &str) -> Result<bool, Failure> {
    match write(text) {
        Err(error) if error.kind() == ErrorKind::BrokenPipe => Ok(false),
        Err(error) => Err(Failure::new(IO, format!("cannot print: {error}"))),
        Ok(()) => Ok(true),
    }
}

/// Writes to standard output as long as `may_wait` says so, asked about every `LONGEST_PAUSE`.
/// After [`ErrorKind::TimedOut`] it may be written all the same, later.
pub(crate) fn print_while(text: String, mut may_wait: impl FnMut() -> bool) -> io::Result<()> {
    let (tell, written) = sync_channel(1);
    thread::Builder::new().name("output".into()).spawn(move || tell.send(write(&text)))?;
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

/// Is what is printed there seen in colours?
pub(crate) fn has_colours(out: &impl IsTerminal) -> bool {
    let is_set = |name| std::env::var_os(name).is_some_and(|value| !value.is_empty());
    out.is_terminal() && !is_set("NO_COLOR")
}
