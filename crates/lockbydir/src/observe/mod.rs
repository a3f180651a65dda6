//! Observation of locks. An observer reports what happens to the locks of a folder: who acquires,
//! waits for and releases them, from what can be seen in the folder. It changes nothing there, and
//! no lock waits for it.
//!
//! ```
//! # let folder = tempfile::tempdir().unwrap();
//! use std::time::Duration;
//! use lockbydir::Lock;
//! use lockbydir::observe::{Observer, What};
//!
//! let mut observer = Observer::of(folder.path())?;
//! let guard = Lock::new(folder.path().join("jobs")).acquire()?;
//! let events = observer.next(Duration::from_secs(5))?;
//! assert!(events.iter().any(|event| matches!(event.what, What::Acquired { .. })));
//! # drop(guard);
//! # Ok::<(), lockbydir::Error>(())
//! ```
//!
//! # What it sees, and what not
//! - On a local file system the kernel notifies of each change (Linux). Directories that appear and
//!   vanish within the time of a look cannot be examined: those holdings are counted
//!   ([`What::Missed`]), each once. Of holdings that follow one another in one directory before the
//!   observer watches it, those between the first and the last leave no trace. A wait that ends as
//!   fast is not seen.
//! - Notifications would slow down a lock that changes hands several hundred times a second. Such a
//!   lock counts as [busy](What::Busy): the observer then looks at it ten times a second, and
//!   counts its holdings during 20 ms of each second. This costs 1 to 2 % of the lock's speed
//!   (`cargo bench -p lockbydir-bench --bench observe`).
//! - On shared file systems, and on systems other than Linux, the observer only looks, ten times a
//!   second: what happens between two looks is neither seen nor counted. It looks at the locks of
//!   an [engine](crate::engine) twice a second.
//! - It cannot see who removes a lock. A lock that was removed while its holder lived counts as
//!   released, even if it was broken by force, or its timeout was over.
//! - A lock of another host counts as expired after it was watched for its whole timeout.
//! - A holder counts as dead, or its timeout as over, if its lock is still there after that was
//!   found, or if the kernel reports that another process took the lock from it. Where the observer
//!   only looks, a holder that was replaced between two looks counts as one that released.
//! - A waiter that leaves the queue may have given up, died, or had the lock for a moment. An
//!   uncertain departure is reported as [gone](Departure::Gone): if the process had ended before it
//!   could be examined, or belongs to another host; or if the lock was free at that time, or not
//!   watched all the time. If the process is alive, it might come back, so the observer waits for
//!   it: for one second, or for ten if nobody held the lock.
//! - An empty directory, or a foreign thing, is reported as such after it has been there for 0.2 s.
//! - A lock that has not been there for a minute is forgotten; later it is reported as new.
//! - An engine that is out of reach is reported ([`What::Unreachable`]), and queried until it
//!   answers.
//!
//! This file has the observer of a folder or of names. `history.rs` derives what happened from
//! successive observations, `waiting.rs` does so for waiters, `watched.rs` looks at one lock,
//! `folder.rs` receives the notifications of many, `sampling.rs` counts the holdings of busy locks,
//! `remote.rs` looks at the locks of other engines, and `event.rs` defines the events.

mod event;
mod folder;
mod history;
mod holders;
mod remote;
mod sampling;
mod waiting;
mod watched;

use std::collections::BTreeSet;
use std::path::Path;
use std::time::Duration;

pub use self::event::{Contender, Departure, Event, Gained, What};
use self::folder::Folders;
use self::remote::RemoteObserver;
use crate::engine::is_url;
use crate::error::Error;
use crate::lock::Lock;
use crate::os::clock;
use crate::os::syscalls::sleep_on;

/// An observer, which sees what happens to locks.
#[derive(Debug)]
pub struct Observer {
    folders: Option<Folders>,
    remotes: Vec<RemoteObserver>,
}

impl Observer {
    /// Observes all locks below a folder, or below a URL that an [engine](crate::engine) keeps.
    ///
    /// # Errors
    /// If the folder cannot be read; [`ErrorKind::Unavailable`](crate::ErrorKind::Unavailable) if
    /// the engine is out of reach.
    pub fn of(folder: impl AsRef<Path>) -> Result<Observer, Error> {
        let folder = folder.as_ref();
        if is_url(folder) {
            let remote = RemoteObserver::open(folder.to_owned(), true)?;
            return Ok(Observer { folders: None, remotes: vec![remote] });
        }
        // Absolute, as locks report their paths.
        let root = std::path::absolute(folder).map_err(|cause| Error::io("read", folder, cause))?;
        let folders = Folders::open(vec![root], None)?;
        Ok(Observer { folders: Some(folders), remotes: Vec::new() })
    }

    /// Observes these locks, wherever they are. They need not exist yet.
    ///
    /// # Errors
    /// As for [`of`](Observer::of); [`ErrorKind::Usage`](crate::ErrorKind::Usage) if one of the
    /// names is not valid for a lock.
    pub fn of_locks<P: AsRef<Path>>(names: impl IntoIterator<Item = P>) -> Result<Observer, Error> {
        let (mut roots, mut only, mut remotes) = (BTreeSet::new(), BTreeSet::new(), Vec::new());
        for name in names {
            let name = name.as_ref();
            if is_url(name) {
                remotes.push(RemoteObserver::open(name.to_owned(), false)?);
                continue;
            }
            let path = Lock::new(name).path()?;
            roots.extend(path.parent().map(Path::to_owned));
            only.insert(path);
        }
        let is_any = !only.is_empty();
        let open = || Folders::open(roots.into_iter().collect(), Some(only));
        Ok(Observer { folders: is_any.then(open).transpose()?, remotes })
    }

    /// Returns which limit of the system keeps the observer from seeing everything, and what
    /// follows from that, if there is one. The observer keeps trying.
    #[must_use]
    pub fn limit(&self) -> Option<&'static str> {
        Some(self.folders.as_ref()?.limit()?.why())
    }

    /// Returns true if everything has been reported that was there when the observer was created.
    /// What is [bare](What::Bare) or [foreign](What::Foreign) is reported a moment later than what
    /// is held.
    #[must_use]
    pub fn is_whole(&self) -> bool {
        self.folders.as_ref().is_none_or(Folders::is_whole)
            && self.remotes.iter().all(|remote| remote.next_look() > Duration::ZERO)
    }

    /// Waits until something happens, for `up_to` at most, and returns the events in order.
    ///
    /// # Errors
    /// If a folder can no longer be read, or an engine refuses.
    pub fn next(&mut self, up_to: Duration) -> Result<Vec<Event>, Error> {
        let until = clock::boot() + up_to;
        loop {
            let mut events = Vec::new();
            for remote in &mut self.remotes {
                events.extend(remote.look()?);
            }
            let looks = self.remotes.iter().map(RemoteObserver::next_look).min();
            // With events to report there is no pause.
            let pause = match events.is_empty() {
                true => looks.map_or(until, |look| look.min(until)),
                false => Duration::ZERO,
            };
            match &mut self.folders {
                Some(folders) => events.extend(folders.next(pause)?),
                None => drop(sleep_on(&[], pause)),
            }
            if !events.is_empty() || clock::boot() >= until {
                return Ok(events);
            }
        }
    }
}
