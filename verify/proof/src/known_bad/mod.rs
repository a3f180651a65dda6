//! Locks that are known to be bad: a test that ours passes must fail for them.
//!
//! Each has the flaw that its documentation describes, and is used as fairly as ours: a process counts as a
//! holder only before its own deadline, with the margin that ours has. `proper-lockfile` is the real
//! package; its adapter is `verify/rivals/workers/torture.js`.

mod etcd;
mod first_version;
mod stat_unlink;
mod utimes_lease;

use std::{
    io, thread,
    time::{Duration, Instant},
};

use lockbydir::Interrupt;
use lockbydir_protocol::margin;

use crate::{
    clock,
    torture::contender::{Answer, Contender, Hold, Outcome},
};

pub use etcd::{Deaf, LookThenPut};
pub use first_version::FirstVersion;
pub use stat_unlink::StatUnlink;
pub use utimes_lease::UtimesLease;

/// A lock that is tried again and again until it is acquired.
pub trait Rival: Clone + 'static {
    /// Tries once; returns true if the lock is ours now.
    ///
    /// # Errors
    /// Everything except that the lock is held, or was a moment ago.
    fn try_acquire(&self) -> io::Result<bool>;

    /// Restarts the timeout, if this lock can; returns false if it cannot.
    ///
    /// # Errors
    /// "Not found" when the lock is gone.
    fn renew(&self) -> io::Result<bool> {
        Ok(false)
    }

    /// Releases the lock.
    ///
    /// # Errors
    /// "Not found" when the lock is gone.
    fn release(&self) -> io::Result<()>;
}

/// The interval between tries of these locks: the shortest that the first version permitted.
const PAUSE: Duration = Duration::from_millis(2);

/// A rival in the torture: it waits by trying.
#[derive(Debug)]
pub struct Polled<R> {
    rival: R,
    timeout: Duration,
}

impl<R: Rival> Polled<R> {
    /// Returns an adapter whose locks last for this timeout.
    pub fn new(rival: R, timeout: Duration) -> Self {
        Self { rival, timeout }
    }
}

impl<R: Rival> Contender for Polled<R> {
    fn acquire(&mut self, patience: Duration, over: &Interrupt) -> Outcome<Option<Box<dyn Hold>>> {
        let begun = Instant::now();
        while begun.elapsed() < patience && !over.is_raised() {
            let asked = clock::now();
            if self.rival.try_acquire()? {
                let (rival, timeout) = (self.rival.clone(), self.timeout);
                return Ok(Some(Box::new(Polling { rival, timeout, token: clock::now(), asked })));
            }
            // Not to synchronise: this is how these locks wait.
            thread::sleep(PAUSE);
        }
        Ok(None)
    }
}

struct Polling<R> {
    rival: R,
    timeout: Duration,
    /// The time of the acquisition: these locks have no numbers.
    token: u64,
    /// A moment before the call from which the timeout counts.
    asked: u64,
}

impl<R: Rival> Polling<R> {
    fn age(&self) -> Duration {
        Duration::from_nanos(clock::now() - self.asked)
    }
}

impl<R: Rival> Hold for Polling<R> {
    fn token(&self) -> u64 {
        self.token
    }

    fn how(&self) -> &'static str {
        "free"
    }

    fn lasts(&self) -> Duration {
        self.timeout - margin(self.timeout)
    }

    fn remaining(&self) -> Duration {
        self.lasts().saturating_sub(self.age())
    }

    fn renew(&mut self) -> Answer {
        let asked = clock::now();
        match self.rival.renew() {
            Ok(true) => {
                self.asked = asked;
                Answer::Done
            }
            Ok(false) => Answer::Unable,
            Err(error) => answer(&error),
        }
    }

    fn release(self: Box<Self>) -> Answer {
        // A lock that may belong to another by now is left alone.
        if self.age() >= self.timeout {
            return Answer::Lost;
        }
        self.rival.release().map_or_else(|error| answer(&error), |()| Answer::Done)
    }
}

fn answer(error: &io::Error) -> Answer {
    match error.kind() {
        io::ErrorKind::NotFound => Answer::Lost,
        _ => Answer::Failed(error.to_string()),
    }
}

/// Returns true for an error that means that another process was first.
fn is_taken(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::AlreadyExists | io::ErrorKind::NotFound)
}
