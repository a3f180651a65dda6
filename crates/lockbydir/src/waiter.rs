//! Waiting for a lock: the only loop that waits. It polls, at first every millisecond and later
//! every fifty, and wakes when a holder's timeout ends.

use std::path::Path;
use std::sync::atomic::Ordering;
use std::thread;
use std::time::Duration;

use lockbydir_protocol::{Acquire, Acquisition, Blocker, Came, Entry, Fault, Wish};

use crate::clock;
use crate::dir::Directory;
use crate::error::{Error, ErrorKind};
use crate::lock::Settings;
use crate::status::{Status, printable};

/// How long one waits for a lock.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Patience(Option<Duration>);

impl Patience {
    /// One try.
    pub const NONE: Patience = Patience(Some(Duration::ZERO));
    /// Until the lock is had.
    pub const FOREVER: Patience = Patience(None);

    /// The duration; none for ever.
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

/// What a waiter is told while it waits.
#[derive(Debug)]
#[non_exhaustive]
pub struct Waiting<'a> {
    /// The lock directory.
    pub path: &'a Path,
    /// What is in the way.
    pub status: &'a Status,
    /// How long it has waited.
    pub waited: Duration,
    /// How long it will.
    pub patience: Patience,
}

/// Shortest and longest pause between two looks.
const PAUSES: (Duration, Duration) = (Duration::from_millis(1), Duration::from_millis(50));
/// Waiting is told after this, and then this often.
const TOLD: (Duration, Duration) = (Duration::from_millis(500), Duration::from_millis(100));

/// Tries until the lock is had or patience is over.
pub(crate) fn acquire(
    settings: &Settings,
    directory: &Directory,
    wish: Wish,
    shortcut: Option<Entry>,
    patience: Patience,
) -> Result<(Entry, Came), Error> {
    let started = clock::boot();
    let mut jitter = Jitter(wish.nonce.0 as u64 | 1);
    let mut machine = Acquire::new(wish, directory.here(), shortcut);
    let mut pause = PAUSES.0;
    let mut tell_at = TOLD.0;
    let path = directory.path();
    loop {
        let blocker = match directory.run(&mut machine) {
            Acquisition::Got(entry, came) => return Ok((entry, came)),
            Acquisition::Blocked(blocker) => blocker,
            Acquisition::Stranger(uid) => return Err(Error::stranger(path, uid)),
            Acquisition::Foreign(why) => return Err(Error::foreign(path, &why)),
            Acquisition::Failed(fault) => return Err(Error::fault("acquire", path, fault)),
        };
        let now = clock::boot();
        let waited = now.saturating_sub(started);
        let rest = patience.duration().map_or(Duration::MAX, |all| all.saturating_sub(waited));
        if rest.is_zero() {
            return Err(given_up(settings, directory, blocker, waited));
        }
        if settings.interrupt.as_ref().is_some_and(|flag| flag.load(Ordering::Relaxed)) {
            let message = format!("the wait for {} was interrupted", printable(path));
            return Err(Error::new(ErrorKind::Interrupted, message).at(path));
        }
        if let Some(told) = settings.on_wait.as_ref().filter(|_| waited >= tell_at) {
            tell_at = waited + TOLD.1;
            let (_, status) = settings.look(directory);
            told(&Waiting { path, status: &status, waited, patience });
        }
        let until_lapse = match blocker {
            Blocker::Held { until, .. } => until.saturating_sub(now).max(PAUSES.0),
            _ => Duration::MAX,
        };
        thread::sleep(jitter.around(pause).min(rest).min(until_lapse));
        pause = (pause * 3 / 2).min(PAUSES.1);
    }
}

/// Why patience ended: somebody holds the lock, or a call kept failing.
fn given_up(
    settings: &Settings,
    directory: &Directory,
    blocker: Blocker,
    waited: Duration,
) -> Error {
    match blocker {
        Blocker::Busy(fault) if !matches!(fault, Fault::Missing | Fault::Taken) => {
            Error::fault("acquire", directory.path(), fault)
        }
        _ => {
            let (_, status) = settings.look(directory);
            Error::patience_over(directory.path(), &status.blocked(), status.holder.clone(), waited)
        }
    }
}

/// One look, for people.
pub(crate) fn status(settings: &Settings, directory: &Directory) -> Result<Status, Error> {
    let (view, status) = settings.look(directory);
    match view.fault {
        Some(fault) => Err(Error::fault("look at", directory.path(), fault)),
        None => Ok(status),
    }
}

/// Spreads pauses, so that waiters do not march in step (xorshift).
struct Jitter(u64);

impl Jitter {
    /// Between three quarters of the pause and the pause.
    fn around(&mut self, pause: Duration) -> Duration {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        let part = u32::try_from(self.0 % 256).unwrap_or(0);
        pause * (768 + part) / 1024
    }
}
