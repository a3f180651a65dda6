//! The locks that the torture can use: adapters give ours and others the same interface.

use std::{error::Error, time::Duration};

use lockbydir::{Guard, How, Interrupt, Lock};
use lockbydir_protocol::margin;

/// A result whose error is anything that can fail in a worker.
pub type Outcome<T> = Result<T, Box<dyn Error>>;

/// A lock that can be waited for.
pub trait Contender {
    /// Waits for the lock; returns `None` when patience is over or the wait was interrupted.
    ///
    /// # Errors
    /// Any other error that the lock reports.
    fn acquire(
        &mut self,
        patience: Duration,
        interrupt: &Interrupt,
    ) -> Outcome<Option<Box<dyn Hold>>>;
}

/// A lock that is held.
pub trait Hold {
    /// The fencing token.
    fn token(&self) -> u64;
    /// How the lock was acquired, in one word.
    fn how(&self) -> &'static str;
    /// The time from its publication to its deadline.
    fn lasts(&self) -> Duration;
    /// The time until its deadline; zero when it is over.
    fn remaining(&self) -> Duration;
    /// Restarts the timeout.
    fn renew(&mut self) -> Answer;
    /// Releases the lock.
    fn release(self: Box<Self>) -> Answer;
}

/// The result of a renewal or a release.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Answer {
    /// It was done.
    Done,
    /// The lock belonged to another holder, or was gone.
    Lost,
    /// This lock has no such operation.
    Unable,
    /// It failed, for this reason.
    Failed(String),
}

/// Our lock.
#[derive(Debug)]
pub struct Ours {
    /// The lock with all its options.
    pub lock: Lock,
    /// Its timeout.
    pub timeout: Duration,
}

impl Contender for Ours {
    fn acquire(
        &mut self,
        patience: Duration,
        interrupt: &Interrupt,
    ) -> Outcome<Option<Box<dyn Hold>>> {
        let waiting = self.lock.clone().patience(patience).interrupt(interrupt.clone());
        match waiting.acquire() {
            Ok(guard) => Ok(Some(Box::new(OurHold { guard, timeout: self.timeout }))),
            Err(error) if error.is_patience_over() => Ok(None),
            Err(error) if error.kind() == lockbydir::ErrorKind::Interrupted => Ok(None),
            Err(error) => Err(error.into()),
        }
    }
}

struct OurHold {
    guard: Guard,
    timeout: Duration,
}

impl Hold for OurHold {
    fn token(&self) -> u64 {
        self.guard.token()
    }

    fn how(&self) -> &'static str {
        how(&self.guard)
    }

    fn lasts(&self) -> Duration {
        self.timeout - margin(self.timeout)
    }

    fn remaining(&self) -> Duration {
        self.guard.remaining()
    }

    fn renew(&mut self) -> Answer {
        answer(self.guard.renew())
    }

    fn release(self: Box<Self>) -> Answer {
        answer(self.guard.release())
    }
}

fn answer(result: Result<(), lockbydir::Error>) -> Answer {
    match result {
        Ok(()) => Answer::Done,
        Err(error) if error.is_lost() => Answer::Lost,
        Err(error) => Answer::Failed(error.to_string()),
    }
}

/// Returns how a lock was acquired, in one word.
#[must_use]
pub fn how(guard: &Guard) -> &'static str {
    match guard.how() {
        How::Free => "free",
        How::HandedOver(_) => "handed-over",
        How::AfterExpiry(_) => "after-expiry",
        How::AfterDeath(_) => "after-death",
        _ => "unknown",
    }
}
