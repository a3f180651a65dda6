//! A hold: what a guard and the threads that attend it share. Its deadline, its renewals and its
//! loss are decided here; [`Guard`](crate::Guard) is the face of it.

use std::path::Path;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use lockbydir_protocol::{Terms, margin};

use crate::clock;
use crate::engine::{Engine, Holding};
use crate::error::Error;
use crate::own::ForkGeneration;
use crate::settings::{OnLost, Settings};
use crate::status::{Holder, printable};

/// What the guard and its keeper share.
pub(crate) struct Hold {
    engine: Arc<dyn Engine>,
    /// A forked child has a copy of this, and does not hold the lock.
    made_in: ForkGeneration,
    /// Boot clock, milliseconds: from then on it counts as over.
    deadline: AtomicU64,
    /// Milliseconds.
    timeout: AtomicU64,
    is_over: AtomicBool,
    is_told: AtomicBool,
    state: Mutex<Held>,
    changed: Condvar,
    /// Apart from the state, which is locked while a call to the engine lasts: a loss must be told
    /// in time though a renewal hangs.
    loss: Mutex<Option<Why>>,
    lost: Condvar,
    on_lost: Option<OnLost>,
}

pub(crate) struct Held {
    pub(crate) holding: Box<dyn Holding>,
    /// Why the last renewal failed, if it did.
    failed: Option<String>,
}

/// Why a lock was lost.
#[derive(Clone)]
enum Why {
    Taken(Option<Holder>),
    TooLate(Option<String>),
}

/// How long before its deadline a holder is told that the lock cannot be kept.
pub(crate) fn notice(timeout: Duration) -> Duration {
    timeout / 4
}

impl Hold {
    pub(crate) fn new(
        settings: &Settings,
        engine: Arc<dyn Engine>,
        holding: Box<dyn Holding>,
    ) -> Hold {
        Hold {
            engine,
            made_in: ForkGeneration::current(),
            deadline: AtomicU64::new(millis(holding.deadline())),
            timeout: AtomicU64::new(millis(holding.timeout())),
            is_over: AtomicBool::new(false),
            is_told: AtomicBool::new(false),
            state: Mutex::new(Held { holding, failed: None }),
            changed: Condvar::new(),
            loss: Mutex::new(None),
            lost: Condvar::new(),
            on_lost: settings.on_lost.clone(),
        }
    }

    pub(crate) fn state(&self) -> MutexGuard<'_, Held> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn wait<'a>(
        &self,
        state: MutexGuard<'a, Held>,
        up_to: Duration,
    ) -> MutexGuard<'a, Held> {
        wait(&self.changed, state, up_to)
    }

    fn loss(&self) -> MutexGuard<'_, Option<Why>> {
        self.loss.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Counts the lock as lost and wakes whoever waits for that.
    fn lose(&self, why: Why) {
        self.loss().get_or_insert(why);
        self.lost.notify_all();
        self.changed.notify_all();
    }

    pub(crate) fn path(&self) -> &Path {
        self.engine.path()
    }

    pub(crate) fn timeout(&self) -> Duration {
        Duration::from_millis(self.timeout.load(Ordering::Relaxed))
    }

    pub(crate) fn remaining(&self) -> Duration {
        // First: in a forked child somebody may have the loss locked for ever.
        if !self.made_in.is_current() || self.loss().is_some() {
            return Duration::ZERO;
        }
        self.before_deadline()
    }

    /// Refuses a forked child: its copy of the guard holds nothing.
    pub(crate) fn check_process(&self) -> Result<(), Error> {
        if self.made_in.is_current() {
            return Ok(());
        }
        Err(Error::usage(format!(
            "a forked child does not hold its parent's lock {}; let it acquire the lock itself",
            printable(self.path())
        )))
    }

    fn before_deadline(&self) -> Duration {
        Duration::from_millis(self.deadline.load(Ordering::Relaxed)).saturating_sub(clock::boot())
    }

    /// Ends the guard's part once; none if it has ended, or this is a forked child.
    pub(crate) fn end(&self) -> Option<MutexGuard<'_, Held>> {
        if !self.made_in.is_current() {
            return None;
        }
        let state = self.state();
        if self.is_over.swap(true, Ordering::AcqRel) {
            return None;
        }
        self.changed.notify_all();
        self.lost.notify_all();
        Some(state)
    }

    pub(crate) fn renew(&self, terms: Terms) -> Result<(), Error> {
        self.check_process()?;
        let mut state = self.state();
        if let Some(why @ Why::Taken(_)) = &*self.loss() {
            return Err(self.lost_error(why));
        }
        if let Some(timeout) = terms.timeout {
            // Others obey a shorter one from the call that publishes it on, though its answer may
            // be late or lost: so do we, from before that call.
            let sooner = clock::boot().saturating_add(timeout).saturating_sub(margin(timeout));
            self.deadline.fetch_min(millis(sooner), Ordering::Relaxed);
        }
        state.failed = None;
        let renewed = state.holding.renew(terms);
        match &renewed {
            Ok(()) => {
                self.deadline.store(millis(state.holding.deadline()), Ordering::Relaxed);
                self.timeout.store(millis(state.holding.timeout()), Ordering::Relaxed);
                *self.loss() = None;
            }
            Err(error) if error.is_lost() => {
                self.loss().take();
                self.lose(Why::Taken(error.holder().cloned()));
            }
            Err(error) => state.failed = Some(cause(error)),
        }
        renewed
    }

    pub(crate) fn has_somebody_to_tell(&self) -> bool {
        self.on_lost.is_some()
    }

    /// Has the guard come to its end?
    pub(crate) fn is_over(&self) -> bool {
        self.is_over.load(Ordering::Acquire)
    }

    /// Counts the lock as lost, since it could not be renewed in time, and tells so once.
    pub(crate) fn give_up(&self) {
        if self.is_over() {
            return;
        }
        // A renewal that hangs has the state to itself; then there is no failure to tell of yet.
        let failed = self.state.try_lock().ok().and_then(|state| state.failed.clone());
        self.lose(Why::TooLate(failed));
        let why = self.loss().clone();
        if let (Some(told), Some(why)) = (&self.on_lost, why)
            && !self.is_told.swap(true, Ordering::AcqRel)
        {
            told(&self.lost_error(&why));
        }
    }

    /// Waits until the lock is known to be lost, or about to be over, or the guard has come to
    /// its end; false when none of that happened within `up_to`.
    pub(crate) fn wait_lost(&self, up_to: Duration) -> bool {
        if !self.made_in.is_current() {
            return true;
        }
        let until = clock::boot().saturating_add(up_to);
        let mut loss = self.loss();
        loop {
            let now = clock::boot();
            let warning = self.before_deadline().saturating_sub(notice(self.timeout()));
            if loss.is_some() || warning.is_zero() || self.is_over() {
                return true;
            }
            if now >= until {
                return false;
            }
            let pause = warning.min(until - now).min(Duration::from_millis(200));
            loss = wait(&self.lost, loss, pause);
        }
    }

    /// Why the lock is lost, if it is known to be.
    pub(crate) fn lost(&self) -> Option<Error> {
        self.loss().as_ref().map(|why| self.lost_error(why))
    }

    fn lost_error(&self, why: &Why) -> Error {
        match why {
            Why::Taken(holder) => Error::lost(self.path(), holder.clone()),
            Why::TooLate(failed) => Error::too_late(self.path(), failed.as_deref()),
        }
    }
}

/// In few words, why it failed.
fn cause(error: &Error) -> String {
    std::error::Error::source(error).map_or_else(|| error.to_string(), ToString::to_string)
}

fn wait<'a, T>(
    condition: &Condvar,
    guard: MutexGuard<'a, T>,
    up_to: Duration,
) -> MutexGuard<'a, T> {
    condition.wait_timeout(guard, up_to).unwrap_or_else(PoisonError::into_inner).0
}

fn millis(time: Duration) -> u64 {
    u64::try_from(time.as_millis()).unwrap_or(u64::MAX)
}
