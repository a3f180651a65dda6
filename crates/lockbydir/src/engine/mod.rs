//! For crates that bring an engine: a lock is kept by an *engine*. The directory is one, here in
//! the library; others are registered for the scheme of a URL, so that
//! `Lock::new("SCHEME://...")` works with all that a lock on a directory can do.
//!
//! An engine keeps the promises of docs/protocol.md in its own way. [`Lock`](crate::Lock) and
//! [`Guard`](crate::Guard) do what is the same for all: they check what a lock was told, let the
//! threads and tasks of a process queue among themselves, count the deadline, renew by a
//! thread, tell of losses, and keep a forked child's hands off its parent's lock.
//!
//! The words are those of `lockbydir_protocol`; times are on the [boot clock](boot).

mod registry;

use std::path::Path;
use std::time::Duration;

use lockbydir_protocol::{AcquireRequest, Liveness, Origin, Owner, Process, RenewRequest};

pub(crate) use crate::directory::engine::LockDirectory;
pub(crate) use registry::registered;

use crate::error::Error;
use crate::key::Key;
pub use crate::os::fork_local::{ForkGeneration, ForkLocal};
use crate::os::{clock, process};
use crate::status::{Broken, How, Status};
pub use crate::waiter::Wait;
pub use registry::{Opened, Scheme, is_url, register, shown};

/// One lock, by its name. Used by many threads at once, and by forked children of the process
/// that opened it: what threads share under a lock belongs in an [`ForkLocal`].
pub trait Engine: Send + Sync {
    /// Which lock it is: an absolute path, or a URL without secrets and query; it ends in
    /// `.lockdir`. Threads of a process that want a lock of the same path stand in one line.
    fn path(&self) -> &Path;

    /// Waits for the lock as `wait` allows, and holds it; with no patience it is one try. When it
    /// fails, nothing is left behind that could be granted later. One thread or task of a process
    /// at a time waits here for the lock of this path.
    ///
    /// # Errors
    /// [`Wait::given_up`] when patience is over, [`Wait::interrupted`] when the wait was ended;
    /// [`Unavailable`](crate::ErrorKind::Unavailable) when the engine is out of reach; others as
    /// they come.
    fn acquire(
        &self,
        wish: AcquireRequest,
        wait: &mut Wait<'_>,
    ) -> Result<(Box<dyn Holding>, How), Error>;

    /// What can be seen of the lock.
    ///
    /// # Errors
    /// When it cannot be looked at.
    fn status(&self) -> Result<Status, Error>;

    /// The same for those who wait or have given up, whom a failed look tells nothing of use.
    fn glance(&self) -> Status {
        self.status().unwrap_or_else(|_| Status::new(self.path(), self.path()))
    }

    /// Must the next one wait?
    ///
    /// # Errors
    /// As for [`status`](Engine::status), and for what nobody could acquire.
    fn is_locked(&self) -> Result<bool, Error>;

    /// Ends an expired or dead holding, or by force any.
    ///
    /// # Errors
    /// When it cannot be done; that the holder lives is an answer.
    fn evict(&self, force: bool) -> Result<Broken, Error>;

    /// Renews the holding of this key, whoever acquired it, with a new timeout if there is one.
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

/// One holding, from its acquisition on. Its guard calls it from one thread at a time, and never
/// in a forked child. Dropping it releases nothing: a holding that is kept is dropped too.
pub trait Holding: Send {
    /// What identifies it; the same as long as it lasts.
    fn key(&self) -> Key;

    /// From this time of the boot clock on its holder counts it as over. Counted from before the
    /// call that published it, less the [margin](lockbydir_protocol::margin): nobody else may
    /// hold the lock before.
    fn deadline(&self) -> Duration;

    /// How long a renewal lasts. An engine may grant more than was asked for.
    fn timeout(&self) -> Duration;

    /// Whose life it depends on.
    fn owner(&self) -> Owner;

    /// Renews it on these terms; late too, if nobody has taken the lock. May block, at most until
    /// about the deadline. After success, key, deadline and timeout tell how it is now.
    ///
    /// A call whose answer did not come may have been done: the next one finds out, and counts
    /// the holding as lost only when somebody or something has ended it.
    ///
    /// # Errors
    /// [`Error::lost`] when it is ended; any other kind when it failed and may be tried again.
    fn renew(&mut self, terms: RenewRequest) -> Result<(), Error>;

    /// Ends it. Called again after an error that is no loss: what the first call has done after all,
    /// its answer being late, is then no loss.
    ///
    /// # Errors
    /// [`Error::lost`] when it was ended before; others when it could not be released.
    fn release(&mut self) -> Result<(), Error>;
}

/// Time since boot, on the clock that runs while the machine is suspended.
#[must_use]
pub fn boot() -> Duration {
    clock::boot()
}

/// This process as the protocol knows it, and whose clock and PIDs it has. A forked child finds
/// its own.
#[must_use]
pub fn here() -> (Origin, Process) {
    process::here()
}

/// The host's name.
#[must_use]
pub fn host() -> String {
    process::host()
}

/// Are all of the owner's processes gone? Only where their PIDs are ours:
/// [`Origin::is_same_pids`].
#[must_use]
pub fn life(owner: Owner) -> Liveness {
    process::life(owner)
}

/// The program a PID of our namespace runs, for people; harmless to a terminal.
#[must_use]
pub fn command(pid: u32) -> Option<String> {
    process::command(pid)
}
