//! A guard: the proof of holding, and its three ends. Drop tries, `release` reports, `keep`
//! hands over.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use lockbydir_protocol::{Owner, RenewRequest};

use crate::engine::{Engine, Holding};
use crate::error::Error;
use crate::hold::Hold;
use crate::key::Key;
use crate::renewer;
use crate::settings::{Settings, check_timeout, living};
use crate::status::How;

/// Proof that the lock is held, until its deadline.
///
/// The lock is released when the guard is dropped, so keep it in a variable with a name (`_guard`,
/// not `_`) as long as the work lasts. A forked child's copy does nothing.
#[must_use = "the lock is released when its guard is dropped, here at once: keep it in a variable like `_guard`"]
pub struct Guard {
    hold: Arc<Hold>,
    how: How,
    key: Key,
}

pub(crate) fn hold(
    settings: &Settings,
    engine: Arc<dyn Engine>,
    holding: Box<dyn Holding>,
    how: How,
) -> Result<Guard, Error> {
    let key = holding.key();
    let hold = Hold::new(settings, engine, holding);
    let guard = Guard { hold, how, key };
    if settings.renews
        && let Err(errno) = renewer::start(&guard.hold)
    {
        // What nobody renews would be lost in the middle of the work.
        let error = Error::no_renewer(guard.path(), errno.into());
        drop(guard);
        return Err(error);
    }
    Ok(guard)
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

    /// Renews the lock: its timeout counts anew. Succeeds even late, if nobody took the lock: that
    /// proves that nobody held it in between. After success the lock is held again, whatever
    /// [`lost`](Guard::lost) said before, and is renewed automatically again, if it was.
    ///
    /// After a pause (a stopped process, suspend) or while a file system is frozen, this is how to
    /// go on: stop the work when [`remaining`](Guard::remaining) is zero, renew, and go on if that
    /// succeeded. It waits for a renewal that is under way.
    ///
    /// # Errors
    /// [`Error::is_lost`] when the lock is somebody else's or gone; any other kind when the
    /// renewal failed and may be tried again.
    pub fn renew(&self) -> Result<(), Error> {
        self.hold.renew(RenewRequest::default())
    }

    /// Gives the lock a new timeout, counted from now. A shorter one counts whether this succeeds
    /// or not.
    ///
    /// # Errors
    /// As for [`renew`](Guard::renew); [`ErrorKind::Usage`](crate::ErrorKind::Usage) for a
    /// timeout out of range.
    pub fn set_timeout(&self, timeout: Duration) -> Result<(), Error> {
        let timeout = Some(check_timeout(timeout)?);
        self.hold.renew(RenewRequest { timeout, owner: None })
    }

    /// Names a second process: the lock counts as dead only when this one is gone too.
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

    /// Why the lock is lost, if it is known to be. In a forked child: that it never held the lock
    /// ([`ErrorKind::Usage`](crate::ErrorKind::Usage)).
    #[must_use]
    pub fn lost(&self) -> Option<Error> {
        if let Err(error) = self.hold.check_process() {
            return Some(error);
        }
        self.hold.lost()
    }

    /// Why the last renewal failed, automatic or not; none once one has succeeded. The lock is held until
    /// its deadline all the same, and automatic renewals are tried again until then.
    #[must_use]
    pub fn renewal_failure(&self) -> Option<String> {
        self.hold.renewal_failure()
    }

    /// Waits until the lock is known to be lost, or about to be over; false when neither
    /// happened within `up_to`. True is no proof of a loss: where [`lost`](Guard::lost) is `None`, or
    /// its reason is [`RenewalFailed`](crate::LostReason::RenewalFailed), [`renew`](Guard::renew) may
    /// still succeed. True in a forked child.
    #[must_use]
    pub fn wait_lost(&self, up_to: Duration) -> bool {
        self.hold.wait_lost(up_to)
    }

    /// Releases the lock. When that fails, dropping the guard has tried once more.
    ///
    /// # Errors
    /// [`Error::is_lost`] when it was ours no more; other kinds when it could not be released,
    /// or its emptied directory could not be removed.
    pub fn release(self) -> Result<(), Error> {
        self.hold.release()
    }

    /// As [`release`](Guard::release), for those who keep the guard: after an error that is no loss
    /// the lock is still held until its deadline, no more renewed, and this may be tried again. Once
    /// it was released, lost or kept, nothing is done.
    ///
    /// # Errors
    /// As for [`release`](Guard::release).
    pub fn release_by_ref(&self) -> Result<(), Error> {
        self.hold.release()
    }

    /// Hands the holding over: it is neither released nor renewed any more, and its key tells
    /// which one it is.
    #[must_use = "only the key can release the lock"]
    pub fn keep(self) -> Key {
        self.hold.keep();
        self.key
    }
}

impl Drop for Guard {
    fn drop(&mut self) {
        // Nobody is there to be told; what is left behind expires.
        let _ = self.hold.release();
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
