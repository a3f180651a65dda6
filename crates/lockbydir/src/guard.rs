//! A guard: the proof of a holding, and the three ways to end it: `drop` tries to release the lock,
//! `release` reports the result, `keep` hands the holding over to its key.

use std::path::Path;
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use lockbydir_protocol::{Owner, RenewRequest};

use crate::engine::{Engine, Holding};
use crate::error::Error;
use crate::hold::Hold;
use crate::key::Key;
use crate::reentrant;
use crate::renewer;
use crate::settings::{Settings, check_timeout, living};
use crate::status::How;
use crate::trace;

/// Proof that the lock is held, until its deadline.
///
/// The lock is released when the guard is dropped, so keep it in a variable with a name (`_guard`,
/// not `_`) as long as the work lasts. A forked child's copy does nothing.
#[must_use = "the lock is released when its guard is dropped, here at once: keep it in a variable like `_guard`"]
pub struct Guard {
    hold: Arc<Hold>,
    how: How,
    key: Key,
    /// Whether it was the last guard of its holding when it was released; unset before that.
    was_last: OnceLock<bool>,
}

pub(crate) fn hold(
    settings: &Settings,
    engine: Arc<dyn Engine>,
    holding: Box<dyn Holding>,
    how: How,
) -> Result<Guard, Error> {
    let key = holding.key();
    let hold = Hold::new(settings, engine, holding);
    let guard = Guard { hold, how, key, was_last: OnceLock::new() };
    if !settings.begins_renewals_later
        && guard.hold.has_renewer()
        && let Err(errno) = renewer::join(guard.hold.clone())
        && guard.hold.needs_renewer()
    {
        // Without renewals the lock would be lost in the middle of the work.
        let error = Error::no_renewer(guard.path(), errno.into());
        drop(guard);
        return Err(error);
    }
    trace::acquired(guard.path(), guard.token(), &guard.how);
    Ok(guard)
}

/// The guards of one holding: more than one if the lock is [reentrant](crate::Lock::reentrant).
impl Guard {
    /// Creates another guard of a holding, which counts like the first; `None` if the holding is over.
    pub(crate) fn of(hold: &Arc<Hold>, how: &How) -> Option<Guard> {
        let (hold, how, key) = (hold.clone(), how.clone(), hold.key());
        hold.add_guard().then(|| Guard { hold, how, key, was_last: OnceLock::new() })
    }

    /// Creates another guard of the same holding; `None` if the holding is over.
    #[doc(hidden)]
    #[must_use]
    pub fn again(&self) -> Option<Guard> {
        Guard::of(&self.hold, &self.how).filter(|_| self.was_last.get().is_none())
    }

    /// Remembers that the calling thread or task has the holding.
    pub(crate) fn remember(&self) {
        reentrant::remember(self.path(), &self.hold, &self.how);
    }

    /// Releases the holding, if no other guard has it. A guard counts once, however often this is
    /// called.
    fn leave(&self) -> Result<(), Error> {
        match self.was_last.get_or_init(|| self.hold.remove_guard()) {
            true => self.hold.release(),
            false => Ok(()),
        }
    }
}

impl Guard {
    /// Returns the fencing token: larger than that of every earlier holding.
    #[must_use]
    pub fn token(&self) -> u64 {
        self.key.token()
    }

    /// Returns how the lock was acquired, and from whom.
    #[must_use]
    pub fn how(&self) -> &How {
        &self.how
    }

    /// Returns the key, which renews and releases this holding from anywhere.
    #[must_use]
    pub fn key(&self) -> Key {
        self.key
    }

    /// Returns the number of the slot, from 1 on, if this is one of a
    /// [`Semaphore`](crate::Semaphore).
    #[must_use]
    pub fn slot(&self) -> Option<u32> {
        self.hold.slot()
    }

    pub(crate) fn in_slot(self, slot: u32) -> Guard {
        self.hold.set_slot(slot);
        self
    }

    /// Returns the lock directory, or the URL of a lock that another engine keeps.
    #[must_use]
    pub fn path(&self) -> &Path {
        self.hold.path()
    }

    /// Returns how long a renewal lasts. This is the timeout in force, which may be longer than the
    /// one that was requested.
    #[must_use]
    pub fn timeout(&self) -> Duration {
        self.hold.timeout()
    }

    /// Returns how long the lock is still held for certain, on a clock that runs during suspend.
    /// This is a little shorter than the time until others may take it. Zero if the lock is over or
    /// lost, and in a forked child.
    #[must_use]
    pub fn remaining(&self) -> Duration {
        self.hold.remaining()
    }

    /// Returns true if the lock is still held, as far as its deadline and its renewer show. Reads
    /// only a clock. Always false in a forked child.
    #[must_use]
    pub fn is_held(&self) -> bool {
        !self.remaining().is_zero()
    }

    /// Returns true if readers may hold the lock together with this guard: it was acquired by
    /// [`acquire_shared`](crate::Lock::acquire_shared), or [downgraded](Guard::downgrade). A lock
    /// that is over keeps its kind.
    #[must_use]
    pub fn is_shared(&self) -> bool {
        self.hold.is_shared()
    }

    /// Makes an exclusive holding a reader's: from now on other readers may join, and nobody else
    /// has held the lock in between. Does nothing if it is shared already.
    ///
    /// # Errors
    /// As for [`renew`](Guard::renew); [`ErrorKind::Usage`](crate::ErrorKind::Usage) if the lock's
    /// engine cannot share it.
    pub fn downgrade(&self) -> Result<(), Error> {
        self.hold.downgrade()
    }

    /// Makes a reader's holding exclusive, if there is no other reader at this moment; returns false
    /// if there is one, and then changes nothing. It never waits: two readers that waited for
    /// each other's end would wait for ever. Returns true if the holding is exclusive already.
    ///
    /// # Errors
    /// As for [`renew`](Guard::renew).
    pub fn try_upgrade(&self) -> Result<bool, Error> {
        self.hold.try_upgrade()
    }

    /// Renews the lock: its timeout starts anew. Succeeds even late, if nobody took the lock: that
    /// proves that nobody held it in between. After success the lock is held again, whatever
    /// [`lost`](Guard::lost) returned before, and is renewed automatically again, if it was before.
    ///
    /// After a pause (a stopped process, suspend) or while a file system is frozen, continue like
    /// this: stop the work when [`remaining`](Guard::remaining) is zero, call `renew`, and continue
    /// if it succeeded. The call waits for a renewal that is in progress.
    ///
    /// # Errors
    /// [`Error::is_lost`] if the lock is somebody else's or gone; any other kind if the renewal
    /// failed and may be tried again.
    pub fn renew(&self) -> Result<(), Error> {
        self.hold.renew(RenewRequest::default())
    }

    /// Gives the lock a new timeout, counted from now. A shorter timeout takes effect even if this
    /// call fails.
    ///
    /// # Errors
    /// As for [`renew`](Guard::renew); [`ErrorKind::Usage`](crate::ErrorKind::Usage) for a
    /// timeout out of range.
    pub fn set_timeout(&self, timeout: Duration) -> Result<(), Error> {
        let timeout = Some(check_timeout(timeout)?);
        self.hold.renew(RenewRequest { timeout, owner: None })
    }

    /// Adds a second process: the lock counts as dead only when that process is gone too.
    ///
    /// # Errors
    /// As for [`renew`](Guard::renew); [`ErrorKind::Usage`](crate::ErrorKind::Usage) if there is
    /// no such process.
    pub fn name_child(&self, pid: u32) -> Result<(), Error> {
        let child = living(pid)?;
        let first = self.hold.owner().processes().next();
        let owner = first.map_or(Owner::One(child), |first| Owner::Two(first, child));
        self.hold.renew(RenewRequest { timeout: None, owner: Some(owner) })
    }

    /// Returns why the lock is lost, if it is known to be. In a forked child the error says that
    /// the child never held the lock ([`ErrorKind::Usage`](crate::ErrorKind::Usage)).
    #[must_use]
    pub fn lost(&self) -> Option<Error> {
        if let Err(error) = self.hold.check_process() {
            return Some(error);
        }
        self.hold.lost()
    }

    /// Returns why the last renewal failed, automatic or not; `None` once a renewal has succeeded.
    /// The lock is still held until its deadline, and automatic renewals are tried again until
    /// then.
    #[must_use]
    pub fn renewal_failure(&self) -> Option<String> {
        self.hold.renewal_failure()
    }

    /// Begins automatic renewals that [`Lock::begins_renewals_later`](crate::Lock::begins_renewals_later)
    /// has put off, at a third of the timeout at the latest. Does nothing for a lock that has none.
    ///
    /// # Errors
    /// If no thread can be started for them; the call may be repeated.
    #[doc(hidden)]
    pub fn begin_renewals(&self) -> Result<(), Error> {
        self.hold.check_process()?;
        match self.hold.has_renewer() {
            true => renewer::join(self.hold.clone())
                .map_err(|errno| Error::no_renewer(self.path(), errno.into())),
            false => Ok(()),
        }
    }

    /// Returns the guard as its caller gets it. From here on
    /// [`Lock::at_least`](crate::Lock::at_least) counts: a lock that is released before, because the
    /// caller has given up or did not get another one, is free at once.
    pub(crate) fn handed_over(self, settings: &Settings) -> Guard {
        if !settings.at_least.is_zero() {
            self.hold.hold_at_least(settings.at_least);
        }
        self
    }

    /// Lets the next release free the lock at once, whatever [`Lock::at_least`](crate::Lock::at_least)
    /// said: the work has not begun.
    #[doc(hidden)]
    pub fn end_at_once(&self) {
        self.hold.end_at_once();
    }

    /// Ends automatic renewals: from its next renewal on, the lock has a fixed timeout.
    pub(crate) fn end_renewals(&self) {
        self.hold.end_renewals();
    }

    /// Waits until the lock is known to be lost or is about to end; returns false if neither
    /// happens within `up_to`. True does not prove a loss: if [`lost`](Guard::lost) is `None`, or
    /// its reason is [`RenewalFailed`](crate::LostReason::RenewalFailed) or
    /// [`Expired`](crate::LostReason::Expired), [`renew`](Guard::renew) may still succeed. True in a forked child.
    #[must_use]
    pub fn wait_lost(&self, up_to: Duration) -> bool {
        self.hold.wait_lost(up_to)
    }

    /// Releases the lock. If that fails, the drop of the guard has already tried once more.
    ///
    /// # Errors
    /// [`Error::is_lost`] if the lock was no longer ours; other kinds if it could not be released,
    /// or if its emptied directory could not be removed.
    pub fn release(self) -> Result<(), Error> {
        self.leave()
    }

    /// Releases the lock like [`release`](Guard::release), in async code on tokio (feature
    /// `tokio`): on another thread, since a file system or a server may take its time. If the
    /// future is dropped, the release goes on.
    ///
    /// ```
    /// # let folder = tempfile::tempdir().unwrap();
    /// # let name = folder.path().join("jobs");
    /// # tokio::runtime::Builder::new_current_thread().enable_time().build().unwrap().block_on(async {
    /// let lock = lockbydir::Lock::new(&name);
    /// lock.acquire_async().await?.release_async().await?;
    /// assert!(!lock.is_locked()?);
    /// # Ok::<(), lockbydir::Error>(()) }).unwrap();
    /// ```
    ///
    /// # Errors
    /// As for [`release`](Guard::release).
    #[cfg(feature = "tokio")]
    pub async fn release_async(self) -> Result<(), Error> {
        let path = self.path().to_owned();
        match tokio::task::spawn_blocking(move || self.release()).await {
            Ok(released) => released,
            // The runtime is shutting down; the guard has been dropped, and has released the lock.
            Err(cause) => Err(Error::io("release", &path, std::io::Error::other(cause))),
        }
    }

    /// Releases the lock like [`release`](Guard::release), without consuming the guard. After an
    /// error other than a loss, the lock is still held until its deadline, is no longer renewed,
    /// and the release may be tried again. If the lock was already released, lost or kept, the call
    /// does nothing.
    ///
    /// # Errors
    /// As for [`release`](Guard::release).
    pub fn release_by_ref(&self) -> Result<(), Error> {
        self.leave()
    }

    /// Hands the holding over to its key, which it returns: the guard neither releases nor renews
    /// it any more.
    #[must_use = "only the key can release the lock"]
    pub fn keep(self) -> Key {
        self.hold.keep();
        self.key
    }
}

impl Drop for Guard {
    fn drop(&mut self) {
        // An error cannot be reported from here; a lock that could not be released expires.
        let _ = self.leave();
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
