//! How long a waiter waits, and the report about its wait. Waits for nothing.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use crate::status::Status;

/// How long a waiter waits for a lock.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Patience(Option<Duration>);

impl Patience {
    /// One try.
    pub const NONE: Patience = Patience(Some(Duration::ZERO));
    /// Without a limit, until the lock is acquired.
    pub const FOREVER: Patience = Patience(None);

    /// Returns the duration; `None` if there is no limit.
    #[must_use]
    pub fn duration(&self) -> Option<Duration> {
        self.0
    }
}

impl From<Duration> for Patience {
    fn from(duration: Duration) -> Patience {
        Patience(Some(duration))
    }
}

impl From<Option<Duration>> for Patience {
    /// `None` is [`FOREVER`](Patience::FOREVER).
    fn from(duration: Option<Duration>) -> Patience {
        Patience(duration)
    }
}

/// The report about a wait that goes to [`Lock::on_wait`](crate::Lock::on_wait).
#[derive(Debug)]
#[non_exhaustive]
pub struct Waiting<'a> {
    /// The lock directory, or the URL of a lock that another engine keeps.
    pub path: &'a Path,
    /// The lock's status: what blocks it, and who waits.
    pub status: &'a Status,
    /// Our place in the queue (`status.queue`), from 1; `None` while we have no ticket.
    pub place: Option<usize>,
    /// How long the wait has lasted.
    pub waited: Duration,
    /// How long the wait may last in all.
    pub patience: Patience,
}

/// The callback that reports how a wait stands.
pub(crate) type OnWait = Arc<dyn Fn(&Waiting<'_>) + Send + Sync>;
