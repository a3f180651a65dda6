//! A hold: what a guard and the threads that attend it share. Its deadline, its renewals and its
//! loss are decided here; [`Guard`](crate::Guard) is the face of it.

use std::collections::HashMap;
use std::path::Path;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError, Weak};
use std::time::{Duration, Instant};

use lockbydir_protocol::{Nonce, Owner, RenewRequest, margin};

use crate::engine::{Engine, Holding};
use crate::error::Error;
use crate::key::Key;
use crate::os::clock;
use crate::os::fork_local::{ForkGeneration, ForkLocal};
use crate::settings::{OnLost, Settings};
use crate::status::{Holder, people_duration, printable};

/// What the guard and its keeper share.
pub(crate) struct Hold {
    engine: Arc<dyn Engine>,
    key: Key,
    /// A forked child has a copy of this, and does not hold the lock.
    made_in: ForkGeneration,
    /// Boot clock, milliseconds: from then on it counts as over.
    deadline: AtomicU64,
    /// Milliseconds.
    timeout: AtomicU64,
    /// Boot clock, milliseconds: when the renewal began that is under way; 0 where none is.
    calling: AtomicU64,
    /// The guard is released, handed over or dropped: nobody renews any more.
    is_over: AtomicBool,
    is_told: AtomicBool,
    state: Mutex<Held>,
    changed: Condvar,
    /// Apart from the state, which is locked while a call to the engine lasts: a loss must be told
    /// in time though a renewal hangs.
    loss: Mutex<Option<Why>>,
    lost: Condvar,
    /// Why the last renewal failed; none once one has succeeded. Apart for the same reason.
    failure: Mutex<Option<String>>,
    on_lost: Option<OnLost>,
}

struct Held {
    holding: Box<dyn Holding>,
    /// Boot clock: when the renewer acts next.
    due: Duration,
    /// Released or handed over.
    has_ended: bool,
}

/// Why a lock was lost.
#[derive(Clone)]
enum Why {
    Taken(Option<Holder>),
    TooLate(String),
}

/// The clock that wakes us stops in suspend: never sleep longer.
const LONGEST_SLEEP: Duration = Duration::from_millis(500);
/// The longest time between two tries to renew after one has failed.
const LONGEST_RETRY: Duration = Duration::from_secs(1);
/// A renewal that takes so long, awake, does not answer.
const LONGEST_GRACE: Duration = Duration::from_millis(500);

/// The holds of this process, by the nonces of their keys: a renewal by key must be seen by the guard.
static HOLDS: ForkLocal<Mutex<HashMap<Nonce, Weak<Hold>>>> = ForkLocal::new();

fn holds() -> MutexGuard<'static, HashMap<Nonce, Weak<Hold>>> {
    HOLDS.get_or_make(Mutex::default).lock().unwrap_or_else(PoisonError::into_inner)
}

/// The hold of a guard of this process that has this key.
pub(crate) fn of(key: &Key) -> Option<Arc<Hold>> {
    holds().get(&key.nonce()).and_then(Weak::upgrade).filter(|hold| hold.key == *key)
}

/// How long before its deadline a holder that waits for its loss learns that the lock may be lost.
fn notice(timeout: Duration) -> Duration {
    timeout / 4
}

impl Hold {
    pub(crate) fn new(
        settings: &Settings,
        engine: Arc<dyn Engine>,
        holding: Box<dyn Holding>,
    ) -> Arc<Hold> {
        let due = clock::boot() + holding.timeout() / 3;
        let key = holding.key();
        let hold = Arc::new(Hold {
            key,
            engine,
            made_in: ForkGeneration::current(),
            deadline: AtomicU64::new(millis(holding.deadline())),
            timeout: AtomicU64::new(millis(holding.timeout())),
            is_over: AtomicBool::new(false),
            is_told: AtomicBool::new(false),
            calling: AtomicU64::new(0),
            state: Mutex::new(Held { holding, due, has_ended: false }),
            changed: Condvar::new(),
            loss: Mutex::new(None),
            lost: Condvar::new(),
            failure: Mutex::new(None),
            on_lost: settings.on_lost.clone(),
        });
        holds().insert(key.nonce(), Arc::downgrade(&hold));
        hold
    }

    fn state(&self) -> MutexGuard<'_, Held> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn owner(&self) -> Owner {
        self.state().holding.owner()
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

    /// Ends the guard's part: from now on nobody renews. None if the lock is released or handed over,
    /// or this is a forked child.
    fn end(&self) -> Option<MutexGuard<'_, Held>> {
        if !self.made_in.is_current() {
            return None;
        }
        let state = self.state();
        self.is_over.store(true, Ordering::Release);
        self.changed.notify_all();
        self.lost.notify_all();
        (!state.has_ended).then_some(state)
    }

    /// Releases the lock. After a failure it may be tried again; once it is over, nothing is done.
    pub(crate) fn release(&self) -> Result<(), Error> {
        let Some(mut state) = self.end() else {
            return Ok(());
        };
        let released = state.holding.release();
        state.has_ended = released.as_ref().err().is_none_or(Error::is_lost);
        if state.has_ended {
            holds().remove(&self.key.nonce());
        }
        released
    }

    /// Hands the holding over.
    pub(crate) fn keep(&self) {
        if let Some(mut state) = self.end() {
            state.has_ended = true;
            holds().remove(&self.key.nonce());
        }
    }

    fn failure(&self) -> MutexGuard<'_, Option<String>> {
        self.failure.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Why the last renewal failed.
    pub(crate) fn renewal_failure(&self) -> Option<String> {
        // As for the loss: in a forked child somebody may have it locked for ever.
        self.made_in.is_current().then(|| self.failure().clone()).flatten()
    }

    /// A renewal by the renewer. An error says why one that began at the deadline or later has failed: so
    /// the lock is lost. An earlier one is tried again.
    pub(crate) fn renew_in_time(&self) -> Result<(), String> {
        let mut is_late = false;
        match self.renew_begun(RenewRequest::default(), |begun| {
            is_late = millis(begun) >= self.deadline.load(Ordering::Relaxed);
        }) {
            Err(error) if is_late && !error.is_lost() => Err(cause(&error)),
            _ => Ok(()),
        }
    }

    pub(crate) fn renew(&self, terms: RenewRequest) -> Result<(), Error> {
        self.renew_begun(terms, |_| ())
    }

    /// Renews; says when, before it calls the engine.
    fn renew_begun(&self, terms: RenewRequest, begin: impl FnOnce(Duration)) -> Result<(), Error> {
        self.check_process()?;
        let mut state = self.state();
        if let Some(why @ Why::Taken(_)) = &*self.loss() {
            return Err(self.lost_error(why));
        }
        let begun = clock::boot();
        begin(begun);
        if let Some(timeout) = terms.timeout {
            // Others obey a shorter one from the call that publishes it on, though its answer may
            // be late or lost: so do we, from before that call.
            let sooner = begun.saturating_add(timeout).saturating_sub(margin(timeout));
            self.deadline.fetch_min(millis(sooner), Ordering::Relaxed);
            self.lost.notify_all();
        }
        self.calling.store(millis(begun).max(1), Ordering::Relaxed);
        let renewed = state.holding.renew(terms);
        self.calling.store(0, Ordering::Relaxed);
        match &renewed {
            Ok(()) => {
                let timeout = state.holding.timeout();
                self.deadline.store(millis(state.holding.deadline()), Ordering::Relaxed);
                self.timeout.store(millis(timeout), Ordering::Relaxed);
                state.due = begun + timeout / 3;
                *self.loss() = None;
                *self.failure() = None;
                self.is_told.store(false, Ordering::Release);
            }
            Err(error) if error.is_lost() => {
                self.loss().take();
                self.lose(Why::Taken(error.holder().cloned()));
            }
            Err(error) => {
                *self.failure() = Some(cause(error));
                let timeout = terms.timeout.unwrap_or(Duration::MAX).min(self.timeout());
                let retry = (timeout / 20).min(LONGEST_RETRY);
                // Before the deadline, again at the deadline at the latest.
                let rest = match millis(begun) < self.deadline.load(Ordering::Relaxed) {
                    true => self.before_deadline(),
                    false => retry,
                };
                state.due = clock::boot() + retry.min(rest);
            }
        }
        // The renewer sleeps by what was due before.
        self.changed.notify_all();
        renewed
    }

    /// Waits until a renewal is due; false when there will be none any more.
    pub(crate) fn wait_due(&self) -> bool {
        let mut state = self.state();
        loop {
            let rest = state.due.saturating_sub(clock::boot());
            let is_kept = match &*self.loss() {
                Some(Why::Taken(_)) => return false,
                // A renewal by somebody else may still revive it.
                Some(Why::TooLate(_)) => false,
                None => true,
            };
            if self.is_over() {
                return false;
            }
            if is_kept && rest.is_zero() {
                return true;
            }
            let pause = if is_kept { rest.min(LONGEST_SLEEP) } else { LONGEST_SLEEP };
            state = wait(&self.changed, state, pause);
        }
    }

    /// Waits until a renewal does not answer and the deadline is past; false when the lock is over.
    ///
    /// While the whole process is paused, no call can answer. So time counts only as far as we were
    /// awake in it, and a call that answers soon after a pause has done no harm.
    pub(crate) fn wait_unanswered(&self) -> bool {
        let (mut call, mut seen) = (0, Duration::ZERO);
        let mut loss = self.loss();
        loop {
            if self.is_over() || matches!(*loss, Some(Why::Taken(_))) {
                return false;
            }
            let timeout = self.timeout();
            let grace = (timeout / 8).min(LONGEST_GRACE);
            let rest = self.before_deadline();
            let under_way = self.calling.load(Ordering::Relaxed);
            if call != under_way {
                (call, seen) = (under_way, Duration::ZERO);
            }
            let is_hanging = call != 0 && seen >= grace;
            if loss.is_none() && is_hanging && rest.is_zero() {
                return true;
            }
            let pause = match &*loss {
                None => rest.saturating_sub(grace).clamp(grace / 4, LONGEST_SLEEP),
                Some(_) => LONGEST_SLEEP,
            };
            let begun = Instant::now();
            loss = wait(&self.lost, loss, pause);
            seen += begun.elapsed().min(pause);
        }
    }

    pub(crate) fn has_somebody_to_tell(&self) -> bool {
        self.on_lost.is_some()
    }

    /// Has the guard come to its end?
    fn is_over(&self) -> bool {
        self.is_over.load(Ordering::Acquire)
    }

    /// Counts the lock as lost, since it could not be renewed in time; unless somebody else has renewed
    /// it since.
    pub(crate) fn give_up(&self, cause: String) {
        if !self.is_over() && self.before_deadline().is_zero() {
            self.lose(Why::TooLate(cause));
            self.report_loss();
        }
    }

    /// The same, since the renewal that is under way does not answer.
    pub(crate) fn give_up_unanswered(&self) {
        let begun = match self.calling.load(Ordering::Relaxed) {
            0 => return,
            begun => Duration::from_millis(begun),
        };
        let waited = people_duration(clock::boot().saturating_sub(begun));
        self.give_up(format!("the renewal has not answered for {waited}"));
    }

    /// Reports the loss to whoever asked for that, once.
    pub(crate) fn report_loss(&self) {
        let why = self.loss().clone();
        if let (Some(on_lost), Some(why)) = (&self.on_lost, why)
            && !self.is_over()
            && !self.is_told.swap(true, Ordering::AcqRel)
        {
            on_lost(&self.lost_error(&why));
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
            Why::TooLate(cause) => Error::too_late(self.path(), cause),
        }
    }
}

impl Drop for Hold {
    fn drop(&mut self) {
        if self.made_in.is_current() {
            holds().remove(&self.key.nonce());
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
