//! A guard: the proof of holding, and its three ends. Drop tries, `release` reports, `keep`
//! hands over.

use std::path::Path;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use lockbydir_protocol::{Owner, Terms, margin};

use crate::engine::{Engine, Holding};
use crate::error::Error;
use crate::key::Key;
use crate::own::ForkGeneration;
use crate::settings::{OnLost, Settings, check_timeout, living};
use crate::status::{Holder, How, printable};
use crate::{clock, keeper};

/// Proof that the lock is held, until its deadline. Dropping it releases the lock; a forked
/// child's copy does nothing.
#[must_use = "the lock is released when its guard is dropped"]
pub struct Guard {
    hold: Arc<Hold>,
    how: How,
    key: Key,
}

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
    holding: Box<dyn Holding>,
    /// Why the last renewal failed, if it did.
    failed: Option<String>,
}

/// Why a lock was lost.
#[derive(Clone)]
enum Why {
    Taken(Option<Holder>),
    TooLate(Option<String>),
}

pub(crate) fn hold(
    settings: &Settings,
    engine: Arc<dyn Engine>,
    holding: Box<dyn Holding>,
    how: How,
) -> Guard {
    let key = holding.key();
    let hold = Arc::new(Hold {
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
    });
    if settings.renews {
        keeper::start(hold.clone());
    }
    Guard { hold, how, key }
}

impl Guard {
    /// The fencing token: larger than that of every holding before.
    #[must_use]
    pub fn token(&self) -> u64 {
        self.key.token()
    }

    /// How the lock was got, and from whom.
    #[must_use]
    pub fn how(&self) -> &How {
        &self.how
    }

    /// What renews and releases this holding from anywhere.
    #[must_use]
    pub fn key(&self) -> Key {
        self.key
    }

    /// The lock directory, or the URL of a lock that another engine keeps.
    #[must_use]
    pub fn path(&self) -> &Path {
        self.hold.path()
    }

    /// How long a renewal lasts: as it is in force, which may be longer than what was asked for.
    #[must_use]
    pub fn timeout(&self) -> Duration {
        self.hold.timeout()
    }

    /// How long the lock is still held for certain, on a clock that runs in suspend. A little
    /// shorter than until others may take it. Zero when it is over or lost, and in a forked child.
    #[must_use]
    pub fn remaining(&self) -> Duration {
        self.hold.remaining()
    }

    /// Is the lock still held, as far as its deadline and its keeper tell? Reads a clock only. Never
    /// in a forked child.
    #[must_use]
    pub fn is_held(&self) -> bool {
        !self.remaining().is_zero()
    }

    /// Renews the lock: its timeout counts anew. Succeeds even late, if nobody took the lock.
    ///
    /// # Errors
    /// [`Error::is_lost`] when the lock is somebody else's or gone; any other kind when the
    /// renewal failed and may be tried again.
    pub fn renew(&self) -> Result<(), Error> {
        self.hold.renew(Terms::default())
    }

    /// Gives the lock a new timeout, counted from now. A shorter one counts whether this succeeds
    /// or not.
    ///
    /// # Errors
    /// As for [`renew`](Guard::renew); [`ErrorKind::Usage`](crate::ErrorKind::Usage) for a
    /// timeout out of range.
    pub fn set_timeout(&self, timeout: Duration) -> Result<(), Error> {
        let timeout = Some(check_timeout(timeout)?);
        self.hold.renew(Terms { timeout, owner: None })
    }

    /// Names a second process: the lock counts as dead only when this one is gone too.
    ///
    /// # Errors
    /// As for [`renew`](Guard::renew); [`ErrorKind::Usage`](crate::ErrorKind::Usage) if there is
    /// no such process.
    pub fn name_child(&self, pid: u32) -> Result<(), Error> {
        let child = living(pid)?;
        let first = self.hold.state().holding.owner().processes().next();
        let owner = first.map_or(Owner::One(child), |first| Owner::Two(first, child));
        self.hold.renew(Terms { timeout: None, owner: Some(owner) })
    }

    /// Why the lock is lost, if it is known to be. In a forked child: that it never held the lock
    /// ([`ErrorKind::Usage`](crate::ErrorKind::Usage)).
    #[must_use]
    pub fn lost(&self) -> Option<Error> {
        if let Err(error) = self.hold.check_process() {
            return Some(error);
        }
        self.hold.loss().as_ref().map(|why| self.hold.lost_error(why))
    }

    /// Waits until the lock is known to be lost, or about to be over; false when neither
    /// happened within `up_to`.
    #[must_use]
    pub fn wait_lost(&self, up_to: Duration) -> bool {
        self.hold.wait_lost(up_to)
    }

    /// Releases the lock.
    ///
    /// # Errors
    /// [`Error::is_lost`] when it was ours no more; other kinds when it could not be released,
    /// or its emptied directory could not be removed.
    pub fn release(self) -> Result<(), Error> {
        self.finish()
    }

    /// Hands the holding over: it is neither released nor renewed any more, and its key tells
    /// which one it is.
    #[must_use = "only the key can release the lock"]
    pub fn keep(self) -> Key {
        self.hold.end();
        self.key
    }

    fn finish(&self) -> Result<(), Error> {
        let Some(mut state) = self.hold.end() else {
            return Ok(());
        };
        state.holding.release()
    }
}

impl Drop for Guard {
    fn drop(&mut self) {
        // Nobody is there to be told; what is left behind lapses.
        let _ = self.finish();
    }
}

impl std::fmt::Debug for Guard {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Guard")
            .field("path", &self.path())
            .field("token", &self.token())
            .field("remaining", &self.remaining())
            .finish_non_exhaustive()
    }
}

/// How long before its deadline a holder is told that the lock cannot be kept.
pub(crate) fn notice(timeout: Duration) -> Duration {
    timeout / 4
}

impl Hold {
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

    fn path(&self) -> &Path {
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
    fn check_process(&self) -> Result<(), Error> {
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
    fn end(&self) -> Option<MutexGuard<'_, Held>> {
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
