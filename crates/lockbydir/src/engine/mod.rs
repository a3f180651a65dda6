//! The interface for crates that provide an engine. An *engine* keeps locks. The directory is one,
//! in this library; others are registered for the scheme of a URL, so that
//! `Lock::new("SCHEME://...")` works with everything that a lock on a directory can do.
//!
//! An engine keeps the promises of docs/protocol.md in its own way. [`Lock`](crate::Lock) and
//! [`Guard`](crate::Guard) do what is the same for all engines: they validate the options of a
//! lock, let the threads and tasks of a process queue among themselves, count the deadline, renew
//! in a thread, report losses, and prevent a forked child from using its parent's lock.
//!
//! The terms are those of the protocol, and are exported here; times are on the [boot clock](boot).
//! A method that is added to [`Engine`] or [`Holding`] in a later version has a default.

mod registry;

use std::path::Path;
use std::time::Duration;

pub use lockbydir_protocol::{
    AcquireRequest, Host, Label, Liveness, Nonce, Origin, Owner, Process, RenewRequest, margin,
};

pub(crate) use crate::directory::engine::LockDirectory;
pub(crate) use registry::registered;

use crate::error::Error;
use crate::key::Key;
pub use crate::os::fork_local::{ForkGeneration, ForkLocal};
use crate::os::{clock, process};
use crate::status::{Broken, How, Status};
pub use crate::waiter::Wait;
pub use registry::{Opened, Scheme, is_url, register, shown};

/// One lock, by its name. Many threads use it at once, and so do forked children of the process
/// that opened it: data that threads share under a mutex belongs in a [`ForkLocal`].
pub trait Engine: Send + Sync {
    /// Returns which lock this is: an absolute path, or a URL without secrets and query; it ends in
    /// `.lockdir`. Threads of a process that want a lock of the same path share one local queue.
    fn path(&self) -> &Path;

    /// Returns true if readers can hold the lock together
    /// ([`shared`](AcquireRequest::shared)). By default they cannot, and such a request is refused
    /// before it reaches the engine.
    fn can_share(&self) -> bool {
        false
    }

    /// Waits for the lock as `wait` allows, and acquires it; without patience this is one try. A
    /// failed call leaves nothing behind that could be granted later. Only one thread or task of a
    /// process at a time waits here for the lock of this path.
    ///
    /// # Errors
    /// [`Wait::given_up`] if patience is over, [`Wait::interrupted`] if the wait was interrupted;
    /// [`Unavailable`](crate::ErrorKind::Unavailable) if the engine is out of reach; other errors
    /// as they occur.
    fn acquire(
        &self,
        request: AcquireRequest,
        wait: &mut Wait<'_>,
    ) -> Result<(Box<dyn Holding>, How), Error>;

    /// Returns what can be seen of the lock.
    ///
    /// # Errors
    /// If the lock cannot be examined.
    fn status(&self) -> Result<Status, Error>;

    /// Returns the status if this key has the lock: the status may also be that the holding has
    /// expired, or that its processes are dead, as long as nobody has taken the lock. The default
    /// compares tokens.
    ///
    /// # Errors
    /// As for [`status`](Engine::status).
    fn status_of(&self, key: Key) -> Result<Option<Status>, Error> {
        let status = self.status()?;
        Ok(Some(status)
            .filter(|status| status.holder.is_some() && status.token == Some(key.token())))
    }

    /// Returns the status for a waiter or for an error message, where the failure of a look would be
    /// of no use.
    fn glance(&self) -> Status {
        self.status().unwrap_or_else(|_| Status::new(self.path(), self.path()))
    }

    /// Returns true if a new waiter would have to wait.
    ///
    /// # Errors
    /// As for [`status`](Engine::status); also for a lock that nobody could acquire.
    fn is_locked(&self) -> Result<bool, Error>;

    /// Ends an expired or dead holding; with `force`, any holding.
    ///
    /// # Errors
    /// If it cannot be done; a holder that is alive is not an error.
    fn evict(&self, force: bool) -> Result<Broken, Error>;

    /// Renews the holding of this key, whoever acquired it, with a new timeout if one is given.
    ///
    /// # Errors
    /// [`Error::lost`] if the key no longer holds the lock.
    fn renew(&self, key: Key, timeout: Option<Duration>) -> Result<(), Error>;

    /// Releases the holding of this key, whoever acquired it.
    ///
    /// # Errors
    /// [`Error::lost`] if the key no longer holds the lock.
    fn release(&self, key: Key) -> Result<(), Error>;
}

/// One holding, from its acquisition on. Its guard calls it from one thread at a time, and never in
/// a forked child. Dropping it does not release the lock, since a holding whose guard is kept is
/// dropped too.
pub trait Holding: Send {
    /// Returns what identifies the holding; the same as long as it lasts.
    fn key(&self) -> Key;

    /// Returns from which time of the boot clock on the holder counts the holding as over. It is
    /// counted from before the call that published the holding, less the
    /// [margin]: nobody else may hold the lock before it.
    fn deadline(&self) -> Duration;

    /// Returns how long a renewal lasts. An engine may grant more than was requested.
    fn timeout(&self) -> Duration;

    /// Returns whose life the holding depends on.
    fn owner(&self) -> Owner;

    /// Returns true if others may hold the lock at the same time: a reader's holding.
    fn is_shared(&self) -> bool {
        false
    }

    /// Makes an exclusive holding a shared one, in one step that lets nobody else in before; does
    /// nothing if it is shared already. Key, deadline and timeout stay as they are.
    ///
    /// # Errors
    /// As for [`renew`](Holding::renew); [`Usage`](crate::ErrorKind::Usage) by default: the engine
    /// has no shared holdings.
    fn downgrade(&mut self) -> Result<(), Error> {
        Err(Error::cannot_share(None))
    }

    /// Makes a shared holding an exclusive one if nobody shares it at this moment; returns false if
    /// somebody does, and then changes nothing. Returns true if it is exclusive already.
    ///
    /// # Errors
    /// As for [`renew`](Holding::renew). By default an exclusive holding is never an error.
    fn try_upgrade(&mut self) -> Result<bool, Error> {
        match self.is_shared() {
            false => Ok(true),
            true => Err(Error::cannot_share(None)),
        }
    }

    /// Renews the holding as requested; also late, if nobody has taken the lock. May block, but not
    /// much longer than until the deadline. After success, key, deadline and timeout describe the
    /// renewed holding.
    ///
    /// A call whose answer was lost may have taken effect: the next call finds out, and counts the
    /// holding as lost only if somebody or something has ended it.
    ///
    /// # Errors
    /// [`Error::lost`] if the holding has ended; any other kind if the renewal failed and may be
    /// tried again.
    fn renew(&mut self, request: RenewRequest) -> Result<(), Error>;

    /// Ends the holding. It is called again after an error other than a loss: if the first call has
    /// taken effect after all, although its answer was late, the second call does not report a
    /// loss.
    ///
    /// # Errors
    /// [`Error::lost`] if the holding had ended before; others if it could not be released.
    fn release(&mut self) -> Result<(), Error>;
}

/// Returns the time since boot, on the clock that runs while the machine is suspended.
#[must_use]
pub fn boot() -> Duration {
    clock::boot()
}

/// Returns this process as the protocol identifies it, and the origin of its clock and PIDs. A
/// forked child gets its own.
#[must_use]
pub fn here() -> (Origin, Process) {
    process::here()
}

/// Returns the host's name.
#[must_use]
pub fn host() -> String {
    process::host()
}

/// Returns whether all of the owner's processes are gone. Valid only if their PIDs are ours: see
/// [`Origin::is_same_pids`].
#[must_use]
pub fn life(owner: Owner) -> Liveness {
    process::life(owner)
}

/// Returns the program that a PID of our namespace runs, for people; safe for a terminal.
#[must_use]
pub fn command(pid: u32) -> Option<String> {
    process::command(pid)
}
