//! A hold: the state that a guard shares with the renewer. It decides about the lock's deadline,
//! renewals and loss; [`Guard`](crate::Guard) is its public interface.

use std::collections::HashMap;
use std::path::Path;
use std::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError, Weak};
use std::time::Duration;

use lockbydir_protocol::{MAX_TIMEOUT, MIN_TIMEOUT, Nonce, Owner, RenewRequest, margin};

use crate::engine::{Engine, Holding};
use crate::error::Error;
use crate::key::Key;
use crate::os::clock;
use crate::os::fork_local::{ForkGeneration, ForkLocal};
use crate::os::simulated;
use crate::renewer::{self, Next, Renewable, millis};
use crate::settings::{OnLost, Settings};
use crate::status::{Holder, people_duration, printable};
use crate::trace;

/// The state that a guard and its renewer share.
pub(crate) struct Hold {
    engine: Arc<dyn Engine>,
    key: Key,
    /// The process that acquired the lock: a forked child has a copy of this, but does not hold the
    /// lock.
    made_in: ForkGeneration,
    /// When the lock counts as over. Boot clock, in milliseconds.
    deadline: AtomicU64,
    /// The timeout in force, in milliseconds.
    timeout: AtomicU64,
    /// The number of the slot, if this is one of a semaphore; else 0.
    slot: AtomicU32,
    /// Until when a release leaves the lock held. Boot clock, in milliseconds.
    held_until: AtomicU64,
    /// When the renewer renews next. Boot clock, in milliseconds.
    due: AtomicU64,
    /// When the renewal in progress began; 0 if there is none. Boot clock, in milliseconds.
    calling: AtomicU64,
    /// Readers may hold the lock together with this hold.
    is_shared: AtomicBool,
    /// The lock is renewed automatically.
    renews: AtomicBool,
    /// Losses are reported.
    reports: bool,
    /// The guard is released, handed over or dropped: nobody renews the lock any more.
    is_over: AtomicBool,
    is_reported: AtomicBool,
    /// How many guards have it; zero once the last one has been released.
    guards: AtomicUsize,
    state: Mutex<Held>,
    /// Separate from `state`, which is locked during a call to the engine: a loss must be reported
    /// in time even if a renewal hangs.
    loss: Mutex<Option<Why>>,
    lost: Condvar,
    /// How many threads wait for the loss. If there are none, nobody is to be notified, which saves
    /// a system call.
    waiting: AtomicUsize,
    /// Why the last renewal failed; `None` once a renewal has succeeded. Separate for the same
    /// reason.
    failure: Mutex<Option<String>>,
    on_lost: Option<OnLost>,
}

struct Held {
    holding: Box<dyn Holding>,
    /// Released or handed over.
    has_ended: bool,
}

/// Why a lock was lost.
#[derive(Clone)]
enum Why {
    Taken(Option<Holder>),
    TooLate(String),
    /// It is not renewed automatically, and its timeout is over.
    Expired,
}

/// The longest time between two tries to renew after a try has failed.
const LONGEST_RETRY: Duration = Duration::from_secs(1);
/// A renewal that has taken this long while the machine was awake counts as not answering.
const LONGEST_GRACE: Duration = Duration::from_millis(500);

/// The holds of this process, by the nonces of their keys: the guard must notice a renewal by key.
static HOLDS: ForkLocal<Mutex<HashMap<Nonce, Weak<Hold>>>> = ForkLocal::new();

fn holds() -> MutexGuard<'static, HashMap<Nonce, Weak<Hold>>> {
    HOLDS.get_or_make(Mutex::default).lock().unwrap_or_else(PoisonError::into_inner)
}

/// Returns the hold of a guard of this process that has this key.
pub(crate) fn of(key: &Key) -> Option<Arc<Hold>> {
    holds().get(&key.nonce()).and_then(Weak::upgrade).filter(|hold| hold.key == *key)
}

/// Returns whether the hold of this nonce is renewed automatically, if it is of this process.
#[cfg(target_os = "linux")]
pub(crate) fn is_renewed(nonce: Nonce) -> Option<bool> {
    holds().get(&nonce).and_then(Weak::upgrade).map(|hold| hold.renews.load(Ordering::SeqCst))
}

/// Returns how long before the deadline `wait_lost` reports that the lock may be lost.
fn notice(timeout: Duration) -> Duration {
    timeout / 4
}

impl Hold {
    pub(crate) fn new(
        settings: &Settings,
        engine: Arc<dyn Engine>,
        holding: Box<dyn Holding>,
    ) -> Arc<Hold> {
        let due = AtomicU64::new(millis(clock::boot() + holding.timeout() / 3));
        let key = holding.key();
        let hold = Arc::new(Hold {
            key,
            engine,
            made_in: ForkGeneration::current(),
            deadline: AtomicU64::new(millis(holding.deadline())),
            timeout: AtomicU64::new(millis(holding.timeout())),
            is_shared: AtomicBool::new(holding.is_shared()),
            slot: AtomicU32::new(0),
            held_until: AtomicU64::new(0),
            is_over: AtomicBool::new(false),
            is_reported: AtomicBool::new(false),
            guards: AtomicUsize::new(1),
            due,
            calling: AtomicU64::new(0),
            renews: AtomicBool::new(settings.renews()),
            reports: settings.on_lost.is_some() || trace::REPORTS && simulated::world().is_none(),
            state: Mutex::new(Held { holding, has_ended: false }),
            loss: Mutex::new(None),
            lost: Condvar::new(),
            waiting: AtomicUsize::new(0),
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

    pub(crate) fn is_shared(&self) -> bool {
        self.is_shared.load(Ordering::Relaxed)
    }

    pub(crate) fn downgrade(&self) -> Result<(), Error> {
        self.change_kind(|holding| holding.downgrade())
    }

    pub(crate) fn try_upgrade(&self) -> Result<bool, Error> {
        self.change_kind(|holding| holding.try_upgrade())
    }

    /// Lets others share the holding, or nobody any more.
    fn change_kind<T>(
        &self,
        change: impl FnOnce(&mut dyn Holding) -> Result<T, Error>,
    ) -> Result<T, Error> {
        self.check_process()?;
        let mut state = self.state();
        self.check_taken()?;
        if state.has_ended {
            return Err(Error::lost(self.path(), None));
        }
        let changed = change(&mut *state.holding);
        self.is_shared.store(state.holding.is_shared(), Ordering::Relaxed);
        match &changed {
            Ok(_) => self.deadline.store(millis(state.holding.deadline()), Ordering::Relaxed),
            Err(error) if error.is_lost() => self.lose_to_another(error),
            Err(_) => {}
        }
        changed
    }

    fn loss(&self) -> MutexGuard<'_, Option<Why>> {
        self.loss.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Counts the lock as lost and wakes the threads that wait for that.
    fn lose(&self, why: Why) {
        self.loss().get_or_insert(why);
        self.notify();
    }

    /// Wakes the threads that wait for the loss, if there are any.
    fn notify(&self) {
        if self.waiting.load(Ordering::SeqCst) > 0 {
            self.lost.notify_all();
        }
    }

    pub(crate) fn path(&self) -> &Path {
        self.engine.path()
    }

    pub(crate) fn timeout(&self) -> Duration {
        Duration::from_millis(self.timeout.load(Ordering::Relaxed))
    }

    pub(crate) fn remaining(&self) -> Duration {
        // The process is checked first: in a forked child the mutex of the loss may stay locked
        // forever.
        if !self.made_in.is_current() || self.loss().is_some() {
            return Duration::ZERO;
        }
        self.before_deadline()
    }

    /// Returns an error in a forked child: its copy of the guard holds nothing.
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

    /// Ends the guard's part: from now on nobody renews. Returns `None` if the lock is released or
    /// handed over, or if this is a forked child.
    fn end(&self) -> Option<MutexGuard<'_, Held>> {
        if !self.made_in.is_current() {
            return None;
        }
        let state = self.state();
        self.is_over.store(true, Ordering::SeqCst);
        if self.has_renewer() {
            renewer::leave(self);
        }
        self.notify();
        (!state.has_ended).then_some(state)
    }

    pub(crate) fn key(&self) -> Key {
        self.key
    }

    /// Counts another guard; returns false if the lock is released, lost or over.
    pub(crate) fn add_guard(&self) -> bool {
        let is_held = !self.remaining().is_zero() && !self.is_over();
        let one_more = |guards| (guards > 0).then_some(guards + 1);
        let order = Ordering::SeqCst;
        is_held && self.guards.fetch_update(order, order, one_more).is_ok()
    }

    /// Counts one guard less; returns true if none is left.
    pub(crate) fn remove_guard(&self) -> bool {
        self.guards.fetch_sub(1, Ordering::SeqCst) == 1
    }

    /// Releases the lock. After a failure this may be tried again; once the lock is over, it does
    /// nothing.
    pub(crate) fn release(&self) -> Result<(), Error> {
        let Some(mut state) = self.end() else {
            return Ok(());
        };
        let released = match self.must_stay() {
            Some(rest) if !state.holding.is_shared() => self.leave_held(&mut *state.holding, rest),
            _ => state.holding.release(),
        };
        state.has_ended = released.as_ref().err().is_none_or(Error::is_lost);
        if state.has_ended {
            holds().remove(&self.key.nonce());
        }
        if released.is_ok() {
            trace::released(self.path(), self.key.token());
        }
        released
    }

    pub(crate) fn slot(&self) -> Option<u32> {
        Some(self.slot.load(Ordering::Relaxed)).filter(|slot| *slot != 0)
    }

    pub(crate) fn set_slot(&self, slot: u32) {
        self.slot.store(slot, Ordering::Relaxed);
    }

    /// Returns how long the lock must stay held although it is released; `None` if it need not.
    fn must_stay(&self) -> Option<Duration> {
        let until = Duration::from_millis(self.held_until.load(Ordering::Relaxed));
        if until.is_zero() {
            return None;
        }
        let rest = until.saturating_sub(clock::boot());
        // Entries have whole milliseconds, and a stamp is rounded down.
        (!rest.is_zero()).then(|| rest.saturating_add(Duration::from_millis(2)))
    }

    /// Releases the lock in the way that leaves it held for this long: without a process, and nobody
    /// renews it.
    fn leave_held(&self, holding: &mut dyn Holding, rest: Duration) -> Result<(), Error> {
        self.check_taken()?;
        let timeout = Some(rest.clamp(MIN_TIMEOUT, MAX_TIMEOUT));
        holding.renew(RenewRequest { timeout, owner: Some(Owner::Nobody) })
    }

    /// Lets a release before this time has passed leave the lock held until then.
    pub(crate) fn hold_at_least(&self, at_least: Duration) {
        let until = millis(clock::boot().saturating_add(at_least));
        // Of a reentrant lock, the first acquisition counts.
        let _ = self.held_until.compare_exchange(0, until, Ordering::Relaxed, Ordering::Relaxed);
    }

    /// Lets the next release free the lock at once.
    pub(crate) fn end_at_once(&self) {
        self.held_until.store(0, Ordering::Relaxed);
    }

    /// Hands the holding over to its key.
    pub(crate) fn keep(&self) {
        if let Some(mut state) = self.end() {
            state.has_ended = true;
            holds().remove(&self.key.nonce());
        }
    }

    /// Fails if it is known that the holding was ended by others.
    fn check_taken(&self) -> Result<(), Error> {
        match &*self.loss() {
            Some(why @ Why::Taken(_)) => Err(self.lost_error(why)),
            _ => Ok(()),
        }
    }

    /// Counts the lock as lost to the holder that this error names, whatever was known before.
    fn lose_to_another(&self, error: &Error) {
        self.loss().take();
        self.lose(Why::Taken(error.holder().cloned()));
    }

    fn failure(&self) -> MutexGuard<'_, Option<String>> {
        self.failure.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Returns why the last renewal failed.
    pub(crate) fn renewal_failure(&self) -> Option<String> {
        // As for the loss: in a forked child this mutex may stay locked forever.
        self.made_in.is_current().then(|| self.failure().clone()).flatten()
    }

    pub(crate) fn renew(&self, request: RenewRequest) -> Result<(), Error> {
        self.renew_begun(request, |_| ())
    }

    /// Renews the lock, and passes the time of the start to `begin` before it calls the engine.
    fn renew_begun(
        &self,
        request: RenewRequest,
        begin: impl FnOnce(Duration),
    ) -> Result<(), Error> {
        self.check_process()?;
        let mut state = self.state();
        self.check_taken()?;
        let begun = clock::boot();
        begin(begun);
        if let Some(timeout) = request.timeout {
            // Others obey a shorter timeout as soon as the call publishes it, even if its answer is
            // late or lost. So this process obeys it too, counted from before that call.
            let sooner = begun.saturating_add(timeout).saturating_sub(margin(timeout));
            self.deadline.fetch_min(millis(sooner), Ordering::Relaxed);
            self.notify();
        }
        self.calling.store(millis(begun).max(1), Ordering::Relaxed);
        let renewed = state.holding.renew(request);
        self.calling.store(0, Ordering::Relaxed);
        match &renewed {
            Ok(()) => {
                let timeout = state.holding.timeout();
                self.deadline.store(millis(state.holding.deadline()), Ordering::Relaxed);
                self.timeout.store(millis(timeout), Ordering::Relaxed);
                self.due.store(millis(begun + timeout / 3), Ordering::Relaxed);
                *self.loss() = None;
                *self.failure() = None;
                self.is_reported.store(false, Ordering::Release);
            }
            Err(error) if error.is_lost() => self.lose_to_another(error),
            Err(error) => {
                let cause = cause(error);
                trace::renewal_failed(self.path(), &cause);
                *self.failure() = Some(cause);
                let timeout = request.timeout.unwrap_or(Duration::MAX).min(self.timeout());
                let retry = (timeout / 20).min(LONGEST_RETRY);
                // A try that began before the deadline is repeated at the deadline at the latest.
                let rest = match millis(begun) < self.deadline.load(Ordering::Relaxed) {
                    true => self.before_deadline(),
                    false => retry,
                };
                self.due.store(millis(clock::boot() + retry.min(rest)), Ordering::Relaxed);
            }
        }
        // The renewer still sleeps until the previous time.
        if self.has_renewer() {
            renewer::reschedule(self);
        }
        renewed
    }

    /// Returns true if the renewer has something to do for this hold.
    pub(crate) fn has_renewer(&self) -> bool {
        self.renews() || self.reports
    }

    fn renews(&self) -> bool {
        self.renews.load(Ordering::SeqCst)
    }

    /// Ends automatic renewals; a loss is still reported.
    pub(crate) fn end_renewals(&self) {
        self.renews.store(false, Ordering::SeqCst);
        match self.reports {
            true => renewer::reschedule(self),
            false => renewer::leave(self),
        }
    }

    /// Returns true if the program relies on the renewer.
    pub(crate) fn needs_renewer(&self) -> bool {
        self.renews() || self.on_lost.is_some()
    }

    fn is_reported(&self) -> bool {
        self.is_reported.load(Ordering::Acquire)
    }

    /// Returns true if the guard has ended.
    fn is_over(&self) -> bool {
        self.is_over.load(Ordering::SeqCst)
    }

    /// Counts the lock as lost because it could not be renewed in time, unless another thread has
    /// renewed it since.
    fn give_up(&self, cause: String) {
        if !self.is_over() && self.before_deadline().is_zero() {
            self.lose(Why::TooLate(cause));
            self.report_loss();
        }
    }

    /// Waits until the lock is known to be lost, is about to end, or the guard has ended; returns
    /// false if none of that happens within `up_to`.
    pub(crate) fn wait_lost(&self, up_to: Duration) -> bool {
        if !self.made_in.is_current() {
            return true;
        }
        self.waiting.fetch_add(1, Ordering::SeqCst);
        let is_lost = self.wait_lost_until(clock::boot().saturating_add(up_to));
        self.waiting.fetch_sub(1, Ordering::SeqCst);
        is_lost
    }

    fn wait_lost_until(&self, until: Duration) -> bool {
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

    /// Returns why the lock is lost, if it is known to be.
    pub(crate) fn lost(&self) -> Option<Error> {
        let known = self.loss().clone();
        let has_expired = || !self.renews() && !self.is_over() && self.before_deadline().is_zero();
        let why = known.or_else(|| has_expired().then_some(Why::Expired))?;
        Some(self.lost_error(&why))
    }

    fn lost_error(&self, why: &Why) -> Error {
        match why {
            Why::Taken(holder) => Error::lost(self.path(), holder.clone()),
            Why::TooLate(cause) => Error::too_late(self.path(), cause),
            Why::Expired => Error::expired(self.path(), self.timeout()),
        }
    }
}

impl Renewable for Hold {
    /// Returns what the renewer does for this hold.
    fn next(&self) -> Next {
        if self.is_over() {
            return Next::Nothing;
        }
        let deadline = self.deadline.load(Ordering::Relaxed);
        match (&*self.loss(), self.calling.load(Ordering::Relaxed)) {
            (Some(Why::Taken(_)), _) if self.reports && !self.is_reported() => Next::Report,
            // A renewal by another thread may still revive it, which is then rescheduled.
            (Some(_), _) => Next::Nothing,
            (None, call) if call != 0 && self.reports => Next::Answer { call, deadline },
            (None, _) if self.renews() => Next::Renew(self.due.load(Ordering::Relaxed)),
            (None, _) => Next::Expire(deadline),
        }
    }

    /// Returns how long a renewal may take before it counts as not answering, in milliseconds.
    fn grace(&self) -> u64 {
        millis((self.timeout() / 8).min(LONGEST_GRACE))
    }

    /// Renews the lock for the renewer. A renewal that fails is tried again until the deadline; the
    /// lock is lost when one that began at the deadline or later has failed.
    fn renew_in_time(&self) {
        let mut is_late = false;
        let renewed = self.renew_begun(RenewRequest::default(), |begun| {
            is_late = millis(begun) >= self.deadline.load(Ordering::Relaxed);
        });
        match renewed {
            Err(error) if error.is_lost() => self.report_loss(),
            Err(error) if is_late => self.give_up(cause(&error)),
            _ => {}
        }
    }

    /// Reports that the timeout of a lock that is not renewed automatically is over, unless it has
    /// been renewed since.
    fn expire(&self) {
        if !self.is_over() && self.before_deadline().is_zero() {
            self.lose(Why::Expired);
            self.report_loss();
        }
    }

    /// Reports the loss, once.
    fn report_loss(&self) {
        let why = self.loss().clone();
        let Some(why) = why.filter(|_| !self.is_over()) else { return };
        if self.reports && !self.is_reported.swap(true, Ordering::AcqRel) {
            let error = self.lost_error(&why);
            trace::lost(&error);
            if let Some(on_lost) = &self.on_lost {
                on_lost(&error);
            }
        }
    }

    /// Does the same because the renewal in progress does not answer.
    fn give_up_unanswered(&self) {
        let begun = match self.calling.load(Ordering::Relaxed) {
            0 => return,
            begun => Duration::from_millis(begun),
        };
        let waited = people_duration(clock::boot().saturating_sub(begun));
        self.give_up(format!("the renewal call has not returned for {waited}"));
    }
}

impl Drop for Hold {
    fn drop(&mut self) {
        if self.made_in.is_current() {
            holds().remove(&self.key.nonce());
        }
    }
}

/// Returns the cause of an error in a few words.
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
